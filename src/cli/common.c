/* common.c: devices and models as the common options name them. */
#include <string.h>

#include "base/file.h"
#include "cli/cli.h"
#include "formats/hf.h"
#include "lab/lab.h"

int hold_cli_device(struct hold_cli *cli, struct hold_device **out, struct hold_error *err) {
    return hold_cpu_new(out, cli->ctx.threads, cli->common.isa, err);
}

int hold_cli_model(struct hold_cli *cli, const char *model, const char *adapter,
                   struct hold_device *device, struct hold_model *out, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    struct hold_adapter a = {0};
    bool loaded = false, read = false;
    int rc = hold_model_locate(hold_str_text(&cli->models), model, &path, err);
    if (rc == HOLD_OK)
        rc = hold_model_load(out, hold_str_text(&path), device, &cli->ctx, err);
    loaded = rc == HOLD_OK;
    if (rc == HOLD_OK && adapter != NULL && adapter[0] != '\0') {
        rc = hold_adapter_read(&a, adapter, err);
        read = rc == HOLD_OK;
        if (rc == HOLD_OK)
            rc = hold_model_merge(out, &a, &cli->ctx, err);
    }
    if (read)
        hold_adapter_release(&a);
    if (rc < 0 && loaded)
        hold_model_release(out);
    hold_str_release(&path);
    return rc;
}

struct hold_renderer hold_cli_renderer(const struct hold_model *m, int64_t max_length) {
    return (struct hold_renderer){
        .tokenizer = m->tokenizer,
        .chat = m->chat,
        .bos_token = m->bos_token,
        .eos_token = m->eos_token,
        .system = json_string_value(json_object_get(m->profile, "system")),
        .prefix = json_string_value(json_object_get(m->profile, "prefix")),
        .max_length = (int32_t)max_length,
    };
}
