/* commands.h: every command's descriptor; the table is in commands.c. */
#ifndef HOLD_CLI_COMMANDS_H
#define HOLD_CLI_COMMANDS_H

#include "cli/cli.h"

extern const struct hold_command hold_cmd_generate;
extern const struct hold_command hold_cmd_train;

#endif
