/* commands.c: the table of commands, sorted by name. */
#include "cli/commands.h"

const struct hold_command *const hold_commands[] = {
    &hold_cmd_generate,
    &hold_cmd_train,
    NULL,
};
