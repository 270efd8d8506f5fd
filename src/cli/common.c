/* common.c: devices and models as the common options name them. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "formats/hf.h"
#include "formats/shape.h"
#include "lab/lab.h"

int hold_cli_device(struct hold_cli *cli, struct hold_device **out, struct hold_error *err) {
    const char *dtype = cli->common.dtype;
    int rc = hold_cpu_new(out, cli->ctx.threads, cli->common.isa, err);
    /* The machine does not choose the type: the same command gives the same model anywhere. */
    if (rc == HOLD_OK)
        rc = hold_device_set_dtype(*out, strcmp(dtype, "auto") == 0 ? "f32" : dtype, err);
    return rc;
}

void hold_cli_bytes(char out[32], double bytes) {
    if (bytes >= 1e9)
        snprintf(out, 32, "%.2f GB", bytes / 1e9);
    else if (bytes >= 1e6)
        snprintf(out, 32, "%.0f MB", bytes / 1e6);
    else
        snprintf(out, 32, "%.0f kB", bytes / 1e3);
}

/* Numbers in the tensors of a model's files, without reading or hashing them; 0: unknown. */
static int64_t count_numbers(const char *path) {
    struct hold_error ignored = {0};
    struct hold_gguf *g = NULL;
    struct hold_safetensors *s = NULL;
    const struct hold_stored *list = NULL;
    int64_t n = 0, sum = 0;
    /* What is wrong with the files is for the loader to say. */
    if (hold_is_dir(path) ? hold_safetensors_open(&s, path, &ignored) == HOLD_OK
                          : hold_gguf_open(&g, path, &ignored) == HOLD_OK)
        list = s != NULL ? hold_safetensors_tensors(s, &n) : hold_gguf_tensors(g, &n);
    for (int64_t i = 0; i < n; i++)
        sum += hold_stored_count(&list[i]);
    hold_gguf_free(g);
    hold_safetensors_free(s);
    return sum;
}

int hold_cli_check_memory(const char *what, double bytes, struct hold_error *err) {
    char need[32], have[32];
    int64_t room = hold_memory_room();
    double used = (double)hold_current_memory();
    if (room <= 0 || bytes <= (double)room)
        return HOLD_OK;
    hold_cli_bytes(need, bytes + used);
    hold_cli_bytes(have, (double)room + used);
    return hold_fail(err, HOLD_ENOMEMORY, "%s needs about %s of memory, this process may use %s",
                     what, need, have);
}

/* At least six digits of an id, in a store that is there. */
static bool may_be_stage(const struct hold_cli *cli, const char *model) {
    size_t n = strlen(model);
    return n >= 6 && n <= 64 && strspn(model, "0123456789abcdef") == n &&
           hold_is_dir(hold_str_text(&cli->store));
}

struct stage {
    struct hold_lab lab;
    struct hold_chain chain;
    json_t *profile;
};

static int open_stage(struct hold_cli *cli, const char *id, struct hold_device *device,
                      struct stage *s, struct hold_error *err) {
    char content[HOLD_HASH_HEX];
    *s = (struct stage){.lab = {.ctx = &cli->ctx,
                                .device = device,
                                .models_dir = hold_str_text(&cli->models),
                                .version = HOLD_VERSION}};
    int rc = hold_store_open(&s->lab.store, hold_str_text(&cli->store), &cli->ctx, err);
    if (rc == HOLD_OK)
        rc = hold_store_look_up(s->lab.store, id, content, err);
    return rc == HOLD_OK ? hold_lab_chain(&s->lab, content, &s->chain, &s->profile, err) : rc;
}

static void close_stage(struct stage *s) {
    hold_lab_release(&s->lab);
    json_decref(s->profile);
    if (s->lab.store != NULL)
        hold_store_close(s->lab.store);
}

/* The model of a stage: its base and the adapters over it. */
static int load_stage(struct hold_cli *cli, const char *id, struct hold_device *device,
                      struct hold_model *out, struct hold_error *err) {
    struct stage s;
    int rc = open_stage(cli, id, device, &s, err);
    if (rc == HOLD_OK)
        rc = hold_lab_load(&s.lab, &s.chain, s.profile, err);
    if (rc == HOLD_OK) { /* taken over */
        *out = s.lab.model;
        s.lab.is_loaded = false;
    }
    close_stage(&s);
    return rc;
}

static int load_files(const char *path, struct hold_cli *cli, struct hold_device *device, bool lean,
                      struct hold_model *out, struct hold_error *err) {
    /* Each matrix is held as it is and packed for the kernels, in f32 or twice in bf16; a lean
     * model in bf16 holds the packed ones alone. */
    bool half = lean && strcmp(hold_device_dtype(device), "bf16") == 0;
    int rc = hold_cli_check_memory(path, (half ? 4.0 : 8.0) * (double)count_numbers(path), err);
    if (rc == HOLD_OK)
        rc = (lean ? hold_model_load_lean : hold_model_load)(out, path, device, &cli->ctx, err);
    return rc;
}

enum { MAX_ADAPTERS = 8 };

/* Read the folders of a list "A,B": merged in this order. */
static int read_adapters(const char *list, struct hold_adapter out[MAX_ADAPTERS], int *n,
                         struct hold_error *err) {
    int rc = HOLD_OK;
    *n = 0;
    for (const char *at = list == NULL ? "" : list; rc == HOLD_OK && *at != '\0';) {
        size_t len = strcspn(at, ",");
        char *dir = hold_strndup(at, len);
        if (dir == NULL)
            rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for a path");
        else if (len == 0)
            rc = hold_fail(err, HOLD_EUSAGE, "--adapter: '%s' names an empty folder", list);
        else if (*n == MAX_ADAPTERS)
            rc = hold_fail(err, HOLD_EUSAGE, "--adapter: more than %d folders", MAX_ADAPTERS);
        else
            rc = hold_adapter_read(&out[*n], dir, err);
        *n += rc == HOLD_OK;
        hold_free(dir);
        at += len + (at[len] == ',');
    }
    return rc;
}

static int open_model(struct hold_cli *cli, const char *model, const char *adapter,
                      struct hold_device *device, bool lean, struct hold_model *out,
                      struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    struct hold_adapter adapters[MAX_ADAPTERS] = {0};
    int n = 0;
    /* An adapter that cannot be read is known before a model is loaded for minutes. */
    int rc = read_adapters(adapter, adapters, &n, err);
    bool unread = rc < 0, loaded = false;
    if (rc == HOLD_OK)
        rc = hold_model_locate(hold_str_text(&cli->models), model, &path, err);
    if (rc == HOLD_OK)
        rc = load_files(hold_str_text(&path), cli, device, lean && n == 0, out, err);
    else if (rc == HOLD_ENOTFOUND && !unread && may_be_stage(cli, model))
        rc = load_stage(cli, model, device, out, err);
    loaded = rc == HOLD_OK;
    for (int i = 0; rc == HOLD_OK && i < n; i++)
        rc = hold_model_merge(out, &adapters[i], &cli->ctx, err);
    for (int i = 0; i < n; i++)
        hold_adapter_release(&adapters[i]);
    if (rc < 0 && loaded)
        hold_model_release(out);
    hold_str_release(&path);
    return rc;
}

int hold_cli_model(struct hold_cli *cli, const char *model, const char *adapter,
                   struct hold_device *device, struct hold_model *out, struct hold_error *err) {
    return open_model(cli, model, adapter, device, false, out, err);
}

int hold_cli_model_lean(struct hold_cli *cli, const char *model, const char *adapter,
                        struct hold_device *device, struct hold_model *out,
                        struct hold_error *err) {
    return open_model(cli, model, adapter, device, true, out, err);
}

int hold_cli_open(struct hold_cli *cli, const char *model, const char *adapter,
                  struct hold_device **device, struct hold_model *out, struct hold_error *err) {
    int rc = hold_cli_device(cli, device, err);
    return rc < 0 ? rc : hold_cli_model_lean(cli, model, adapter, *device, out, err);
}

struct hold_renderer hold_cli_renderer(const struct hold_model *m, int64_t max_length) {
    struct hold_renderer r = hold_model_renderer(m, max_length);
    r.now = hold_cli_now();
    return r;
}

int hold_cli_text_side(struct hold_cli *cli, const char *model, struct hold_text_side *out,
                       struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    *out = (struct hold_text_side){0};
    int rc = hold_model_locate(hold_str_text(&cli->models), model, &path, err);
    if (rc == HOLD_ENOTFOUND && may_be_stage(cli, model)) {
        struct stage s;
        rc = open_stage(cli, model, NULL, &s, err);
        if (rc == HOLD_OK)
            rc = hold_lab_base_path(&s.lab, s.chain.base, &path, err);
        close_stage(&s);
    }
    if (rc == HOLD_OK)
        rc = hold_model_files_open(&out->files, hold_str_text(&path), err);
    if (rc == HOLD_OK && out->files.chat_template != NULL) {
        rc = hold_template_new(&out->chat, out->files.chat_template, hold_str_text(&path), err);
        if (rc < 0)
            hold_model_files_release(&out->files);
    }
    hold_str_release(&path);
    return rc;
}

void hold_cli_text_release(struct hold_text_side *t) {
    hold_template_free(t->chat);
    hold_model_files_release(&t->files);
    *t = (struct hold_text_side){0};
}

struct hold_renderer hold_cli_text_renderer(const struct hold_text_side *t, int64_t max_length) {
    const struct hold_tokenizer *tokenizer = t->files.tokenizer; /* NULL: not opened */
    return (struct hold_renderer){
        .tokenizer = tokenizer,
        .chat = t->chat,
        .bos_token = t->files.bos_token,
        .eos_token = t->files.eos_token,
        .system = json_string_value(json_object_get(t->files.profile, "system")),
        .prefix = json_string_value(json_object_get(t->files.profile, "prefix")),
        .max_length = (int32_t)max_length,
        .now = hold_cli_now(),
        .add_bos = tokenizer != NULL && hold_tokenizer_adds_bos(tokenizer),
        .add_eos = tokenizer != NULL && hold_tokenizer_adds_eos(tokenizer),
    };
}

void hold_cli_add_ids(const struct hold_ids *ids, struct hold_str *out) {
    hold_str_add_char(out, '[');
    for (size_t i = 0; i < ids->len; i++)
        hold_str_addf(out, i == 0 ? "%d" : ",%d", (int)ids->data[i]);
    hold_str_add_char(out, ']');
}

int hold_cli_take_ids(const json_t *value, int64_t vocab, const char *where, struct hold_ids *ids,
                      struct hold_error *err) {
    if (!json_is_array(value))
        return hold_fail(err, HOLD_EDATA, "%s: found %s, expected an array of ids", where,
                         hold_json_kind(value));
    int rc = HOLD_OK;
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(value); i++) {
        const json_t *x = json_array_get(value, i);
        if (!json_is_integer(x))
            return hold_fail(err, HOLD_EDATA, "%s: [%zu]: found %s, expected an id", where, i,
                             hold_json_kind(x));
        json_int_t id = json_integer_value(x);
        if (id < 0 || id >= vocab)
            return hold_fail(err, HOLD_EDATA, "%s: [%zu]: %lld is no id, expected 0 to %lld", where,
                             i, (long long)id, (long long)vocab - 1);
        rc = hold_ids_push(ids, (int32_t)id, err);
    }
    return rc;
}
