/* commands.h: every command's descriptor; the table is in commands.c. */
#ifndef HOLD_CLI_COMMANDS_H
#define HOLD_CLI_COMMANDS_H

#include "cli/cli.h"

extern const struct hold_command hold_cmd_chat;
extern const struct hold_command hold_cmd_compare;
extern const struct hold_command hold_cmd_data_check;
extern const struct hold_command hold_cmd_data_show;
extern const struct hold_command hold_cmd_data_stats;
extern const struct hold_command hold_cmd_doctor;
extern const struct hold_command hold_cmd_estimate;
extern const struct hold_command hold_cmd_eval;
extern const struct hold_command hold_cmd_generate;
extern const struct hold_command hold_cmd_list;
extern const struct hold_command hold_cmd_logits;
extern const struct hold_command hold_cmd_loss;
extern const struct hold_command hold_cmd_model_convert;
extern const struct hold_command hold_cmd_model_info;
extern const struct hold_command hold_cmd_model_init;
extern const struct hold_command hold_cmd_model_merge;
extern const struct hold_command hold_cmd_model_verify;
extern const struct hold_command hold_cmd_run;
extern const struct hold_command hold_cmd_show;
extern const struct hold_command hold_cmd_store_gc;
extern const struct hold_command hold_cmd_store_ls;
extern const struct hold_command hold_cmd_store_pin;
extern const struct hold_command hold_cmd_store_verify;
extern const struct hold_command hold_cmd_template;
extern const struct hold_command hold_cmd_tokenize;
extern const struct hold_command hold_cmd_train;

#endif
