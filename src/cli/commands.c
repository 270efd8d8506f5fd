/* commands.c: the table of commands, sorted by name; a group's commands stand together. */
#include "cli/commands.h"

const struct hold_command *const hold_commands[] = {
    &hold_cmd_chat,          &hold_cmd_compare,      &hold_cmd_data_check,
    &hold_cmd_data_show,     &hold_cmd_data_stats,   &hold_cmd_doctor,
    &hold_cmd_estimate,      &hold_cmd_eval,         &hold_cmd_generate,
    &hold_cmd_list,          &hold_cmd_logits,       &hold_cmd_loss,
    &hold_cmd_model_convert, &hold_cmd_model_info,   &hold_cmd_model_init,
    &hold_cmd_model_merge,   &hold_cmd_model_verify, &hold_cmd_run,
    &hold_cmd_show,          &hold_cmd_store_gc,     &hold_cmd_store_ls,
    &hold_cmd_store_pin,     &hold_cmd_store_verify, &hold_cmd_template,
    &hold_cmd_tokenize,      &hold_cmd_train,        NULL,
};
