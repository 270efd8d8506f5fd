/* cmd_model.c: `holdfast model info|verify|merge|convert`: model files looked at and rewritten. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "formats/hf.h"
#include "lab/lab.h"

/* --- info --- */

#define T struct info_options
struct info_options {
    bool tensors;
};
static const struct hold_option info_options[] = {
    HOLD_BOOL(T, tensors, false, "list every tensor"),
    {0},
};
#undef T

static json_t *shape_json(const struct hold_shape *s) {
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:b}", "family",
                     hold_shape_traits(s)->model_type, "n_layers", (json_int_t)s->n_layers,
                     "d_model", (json_int_t)s->d_model, "n_heads", (json_int_t)s->n_heads,
                     "n_kv_heads", (json_int_t)s->n_kv_heads, "head_dim", (json_int_t)s->head_dim,
                     "d_ff", (json_int_t)s->d_ff, "vocab", (json_int_t)s->vocab, "max_positions",
                     (json_int_t)s->max_positions, "rope_theta", s->rope_theta, "norm_eps",
                     s->norm_eps, "tied", (int)s->tied);
}

static json_t *types_json(const struct hold_model_files *f, int64_t *numbers, uint64_t *bytes) {
    json_t *types = json_object();
    int bad = 0;
    for (int64_t i = 0; types != NULL && i < f->n_tensors; i++) {
        const struct hold_stored *t = &f->tensors[i];
        const char *name = hold_stored_type_name(t->type);
        json_int_t n = json_integer_value(json_object_get(types, name));
        bad |= json_object_set_new(types, name, json_integer(n + 1));
        *numbers += hold_stored_count(t);
        *bytes += t->bytes;
    }
    return hold_json_whole(types, bad);
}

static json_t *tensors_json(const struct hold_model_files *f) {
    json_t *list = json_array();
    int bad = 0;
    for (int64_t i = 0; list != NULL && i < f->n_tensors; i++) {
        const struct hold_stored *t = &f->tensors[i];
        json_t *dims = json_array();
        for (int d = 0; d < t->n_dims; d++)
            bad |= json_array_append_new(dims, json_integer(t->dim[d]));
        bad |=
            json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", t->name, "type",
                                                  hold_stored_type_name(t->type), "shape", dims));
    }
    return hold_json_whole(list, bad);
}

static json_t *text_or_null(const char *text) {
    return text == NULL ? json_null() : json_string(text);
}

static json_t *info_json(const struct hold_text_side *t, bool tensors) {
    const struct hold_model_files *f = &t->files;
    char template_hash[HOLD_HASH_HEX] = "", tokenizer_hash[HOLD_HASH_HEX];
    int64_t numbers = 0;
    uint64_t bytes = 0;
    if (f->chat_template != NULL)
        hold_hash_bytes(f->chat_template, strlen(f->chat_template), template_hash);
    hold_tokenizer_hash(f->tokenizer, tokenizer_hash);
    json_t *types = types_json(f, &numbers, &bytes), *ends = json_array();
    int bad = 0;
    for (int i = 0; i < f->n_eos_ids; i++)
        bad |= json_array_append_new(ends, json_integer(f->eos_ids[i]));
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:o, s:I, s:I, s:o, s:I, s:o, s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:O?}",
        "path", f->path, "format", f->gguf != NULL ? "gguf" : "huggingface", "content_id",
        f->content_id, "merged_id", text_or_null(f->merged_id[0] == '\0' ? NULL : f->merged_id),
        "parameters", (json_int_t)numbers, "bytes", (json_int_t)bytes, "types", types, "tensors",
        (json_int_t)f->n_tensors, "shape", shape_json(&f->shape), "tokens",
        (int)hold_tokenizer_size(f->tokenizer), "tokenizer_sha256", tokenizer_hash, "bos_token",
        text_or_null(f->bos_token), "eos_token", text_or_null(f->eos_token), "eos_ids", ends,
        "chat_template", text_or_null(f->chat_template), "chat_template_sha256",
        text_or_null(f->chat_template == NULL ? NULL : template_hash), "profile", f->profile);
    if (o != NULL && tensors)
        bad |= json_object_set_new(o, "tensor_list", tensors_json(f));
    return hold_json_whole(o, bad);
}

/* A row of the table; an object is a row for each of its members, so that no row is wide. */
static void info_row(struct hold_table *t, const char *key, const json_t *value) {
    struct hold_error ignored = {0};
    struct hold_str line = HOLD_STR_INIT;
    const char *text = json_string_value(value), *inner;
    json_t *member;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)value, inner, member) {
            hold_str_clear(&line);
            hold_str_addf(&line, "%s.%s", key, inner);
            info_row(t, hold_str_text(&line), member);
            t->out_of_memory = t->out_of_memory || line.out_of_memory;
        }
    } else {
        int rc = text != NULL ? HOLD_OK : hold_json_line(value, &line, &ignored);
        hold_table_cell(t, "%s", key);
        hold_table_cell(t, "%s", text != NULL ? text : hold_str_text(&line));
        t->out_of_memory = t->out_of_memory || rc < 0;
    }
    hold_str_release(&line);
}

/* Values as a table; texts of several lines and lists of tensors follow it. */
static int info_text(const json_t *info, struct hold_error *err) {
    struct hold_table t = {.cols = 2};
    const char *key;
    json_t *value;
    hold_table_cell(&t, "what");
    hold_table_cell(&t, "value");
    json_object_foreach((json_t *)info, key, value) {
        if (strcmp(key, "tensor_list") != 0 && strcmp(key, "chat_template") != 0)
            info_row(&t, key, value);
    }
    int rc = hold_table_print(&t, err);
    const json_t *list = json_object_get(info, "tensor_list");
    struct hold_table tensors = {.cols = 3};
    if (rc < 0 || list == NULL)
        return rc;
    printf("\n");
    hold_table_cell(&tensors, "tensor");
    hold_table_cell(&tensors, "type");
    hold_table_cell(&tensors, "shape");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *x = json_array_get(list, i);
        struct hold_str dims = HOLD_STR_INIT;
        int line = hold_json_line(json_object_get(x, "shape"), &dims, err);
        rc = rc < 0 ? rc : line;
        hold_table_cell(&tensors, "%s", json_string_value(json_object_get(x, "name")));
        hold_table_cell(&tensors, "%s", json_string_value(json_object_get(x, "type")));
        hold_table_cell(&tensors, "%s", hold_str_text(&dims));
        hold_str_release(&dims);
    }
    int printed = hold_table_print(&tensors, err);
    return rc < 0 ? rc : printed;
}

int hold_cli_model_info(struct hold_cli *cli, const char *model, bool tensors,
                        struct hold_error *err) {
    struct hold_text_side text = {0};
    int rc = hold_cli_text_side(cli, model, &text, err);
    if (rc < 0)
        return rc;
    json_t *o = info_json(&text, tensors);
    if (o == NULL)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for what the model is");
    else
        rc = cli->common.json ? hold_cli_print_json(json_incref(o), err) : info_text(o, err);
    json_decref(o);
    hold_cli_text_release(&text);
    return rc;
}

static int info(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    const struct info_options *o = opts;
    return hold_cli_model_info(cli, n_args > 0 ? args[0] : HOLD_DEFAULT_MODEL, o->tensors, err);
}

const struct hold_command hold_cmd_model_info = {
    .name = "model info",
    .summary = "what a model is: hashes, shape, types, tokenizer, template",
    .usage = "[MODEL] [--tensors]",
    .example = "  holdfast model info smollm2-135m-instruct",
    .options = info_options,
    .size = sizeof(struct info_options),
    .max_args = 1,
    .run = info,
};

/* --- verify --- */

#define T struct verify_options
struct verify_options {
    const char *content_id;
};
static const struct hold_option verify_options[] = {
    HOLD_TEXT(T, content_id, "", NULL, "content id that the model must have"),
    {0},
};
#undef T

static int verify_adapter(const char *dir, struct hold_error *err) {
    struct hold_adapter a = {0};
    int rc = hold_adapter_read(&a, dir, err);
    if (rc == HOLD_OK) {
        printf("%s: adapter of %lld matrices, r %lld: good\n", dir, (long long)a.n_pairs,
               (long long)a.r);
        hold_adapter_release(&a);
    }
    return rc;
}

/* Everything is read: sizes and tensors are checked by the loader, NaN and infinity too. */
static int verify(struct hold_cli *cli, void *opts, int n_args, char **args,
                  struct hold_error *err) {
    const struct verify_options *o = opts;
    const char *name = n_args > 0 ? args[0] : HOLD_DEFAULT_MODEL;
    struct hold_device *device = NULL;
    struct hold_model model = {0};
    struct hold_str config = HOLD_STR_INIT;
    hold_path_join(&config, name, "adapter_config.json");
    bool adapter = hold_exists(hold_str_text(&config));
    hold_str_release(&config);
    if (adapter)
        return verify_adapter(name, err);
    int rc = hold_cli_device(cli, &device, err);
    if (rc == HOLD_OK)
        rc = hold_cli_model(cli, name, NULL, device, &model, err);
    if (rc == HOLD_OK && o->content_id[0] != '\0' && strcmp(o->content_id, model.content_id) != 0)
        rc = hold_fail(err, HOLD_EFORMAT, "%s: content id %s, expected %s", name, model.content_id,
                       o->content_id);
    if (rc == HOLD_OK && cli->common.json)
        rc = hold_cli_print_json(json_pack("{s:s, s:s, s:b}", "path", model.path, "content_id",
                                           model.content_id, "good", 1),
                                 err);
    else if (rc == HOLD_OK)
        printf("%s: %s: good\n", model.path, model.content_id);
    hold_model_release(&model);
    hold_device_free(device);
    return rc;
}

const struct hold_command hold_cmd_model_verify = {
    .name = "model verify",
    .summary = "read a model or adapter wholly: sizes, numbers, hash",
    .usage = "[MODEL|ADAPTER] [--content-id ID]",
    .example = "  holdfast model verify smollm2-135m-instruct",
    .options = verify_options,
    .size = sizeof(struct verify_options),
    .max_args = 1,
    .run = verify,
};

/* --- merge, convert --- */

#define T struct write_options
#define DTYPES "f32|f16|bf16|q8_0"
struct write_options {
    const char *adapter, *output, *dtype;
};
static const struct hold_option merge_options[] = {
    HOLD_TEXT(T, adapter, "", NULL, "PEFT folder to merge, or several by commas"),
    HOLD_CLI_OUTPUT(T, "Hugging Face folder to make, or a GGUF file (its name ends in .gguf)"),
    HOLD_TEXT(T, dtype, "f32", DTYPES, "type of the written weights; q8_0 in GGUF files only"),
    {0},
};
static const struct hold_option convert_options[] = {
    HOLD_CLI_OUTPUT(T, "Hugging Face folder to make, or a GGUF file (its name ends in .gguf)"),
    HOLD_TEXT(T, dtype, "f32", DTYPES, "type of the written weights; q8_0 in GGUF files only"),
    {0},
};
#undef T

static int check_disk(const struct hold_model *m, enum hold_stored_type type, const char *dir,
                      struct hold_error *err) {
    char need[32], have[32];
    uint64_t left = hold_disk_free(dir);
    const struct hold_shape *s = &m->shape;
    double numbers = (double)hold_model_matrix_params(m) + (double)(s->vocab * s->d_model);
    double bytes = numbers * (type == HOLD_ST_F32 ? 4 : 2);
    if (left == 0 || bytes < (double)left)
        return HOLD_OK;
    hold_cli_bytes(need, bytes);
    hold_cli_bytes(have, (double)left);
    return hold_fail(err, HOLD_ENOSPACE, "%s: the model needs up to %s, %s are free", dir, need,
                     have);
}

int hold_cli_write_model(const struct hold_model *m, const char *from, enum hold_stored_type type,
                         const char *dir, struct hold_error *err) {
    struct hold_model_files files = {0};
    struct hold_str temp = HOLD_STR_INIT;
    /* "DIR/" and "DIR" are one folder. */
    hold_str_add(&temp, dir);
    while (temp.len > 1 && hold_ends(hold_str_text(&temp), "/"))
        hold_str_cut(&temp, temp.len - 1);
    char *target = hold_strdup(hold_str_text(&temp));
    hold_str_addf(&temp, ".%ld.part", (long)getpid());
    const char *part = hold_str_text(&temp);
    int rc = target == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a path")
                            : hold_str_check(&temp, err);
    if (rc == HOLD_OK)
        rc = check_disk(m, type, target, err);
    if (rc == HOLD_OK)
        rc = hold_model_files_open(&files, from, err);
    if (rc == HOLD_OK) {
        rc = hold_mkdirs(part, err);
        if (rc == HOLD_OK)
            rc = hold_model_write(m, &files, type, part, err);
        if (rc == HOLD_OK)
            rc = hold_identity_write(part, hold_model_known_as(m), m->profile, err);
        if (rc == HOLD_OK && hold_is_dir(target))
            rmdir(target); /* an empty one; anything else makes the renaming fail */
        if (rc == HOLD_OK)
            rc = hold_rename_new(part, target, err);
        struct hold_error later = {0};
        if (rc < 0)
            hold_remove_tree(part, &later);
        hold_model_files_release(&files);
    }
    hold_free(target);
    hold_str_release(&temp);
    return rc;
}

enum hold_stored_type hold_cli_stored_type(const char *dtype) {
    return strcmp(dtype, "f16") == 0    ? HOLD_ST_F16
           : strcmp(dtype, "bf16") == 0 ? HOLD_ST_BF16
           : strcmp(dtype, "q8_0") == 0 ? HOLD_ST_Q8_0
                                        : HOLD_ST_F32;
}

int hold_cli_write_gguf(struct hold_cli *cli, const struct hold_model *m, const char *from,
                        enum hold_stored_type type, const char *path, struct hold_error *err) {
    struct hold_model_files files = {0};
    int rc = hold_model_files_open(&files, from, err);
    if (rc == HOLD_OK)
        rc = hold_model_write_gguf(m, &files, type, path, &cli->ctx, err);
    hold_model_files_release(&files);
    return rc;
}

/* What -o names decides what is written. */
static int check_output(const struct write_options *o, bool *gguf, struct hold_error *err) {
    *gguf = hold_ends(o->output, ".gguf");
    if (!*gguf && strcmp(o->dtype, "q8_0") == 0)
        return hold_fail(err, HOLD_EUSAGE,
                         "--dtype q8_0 is for GGUF files: give -o a name that ends in .gguf");
    if (!*gguf)
        return hold_cli_check_new_dir(o->output, err);
    if (hold_exists(o->output))
        return hold_fail(err, HOLD_EUSAGE, "%s: exists", o->output);
    return hold_cli_check_output(o->output, err);
}

static int write_out(struct hold_cli *cli, const struct write_options *o, const char *name,
                     const char *adapter, struct hold_error *err) {
    struct hold_device *device = NULL;
    struct hold_model model = {0};
    enum hold_stored_type type = hold_cli_stored_type(o->dtype);
    bool gguf = false;
    int rc = check_output(o, &gguf, err);
    if (rc == HOLD_OK)
        rc = hold_cli_device(cli, &device, err);
    if (rc == HOLD_OK)
        rc = hold_cli_model(cli, name, adapter, device, &model, err);
    if (rc == HOLD_OK)
        rc = gguf ? hold_cli_write_gguf(cli, &model, model.path, type, o->output, err)
                  : hold_cli_write_model(&model, model.path, type, o->output, err);
    if (rc == HOLD_OK)
        hold_log(&cli->ctx, HOLD_INFO, "model", "wrote %s", o->output);
    hold_model_release(&model);
    hold_device_free(device);
    return rc;
}

static int merge(struct hold_cli *cli, void *opts, int n_args, char **args,
                 struct hold_error *err) {
    const struct write_options *o = opts;
    if (o->adapter[0] == '\0')
        return hold_fail(err, HOLD_EUSAGE, "--adapter DIR is missing");
    return write_out(cli, o, n_args > 0 ? args[0] : HOLD_DEFAULT_MODEL, o->adapter, err);
}

const struct hold_command hold_cmd_model_merge = {
    .name = "model merge",
    .summary = "fold an adapter into a model and write it as a Hugging Face folder or GGUF file",
    .usage = "[MODEL] --adapter DIR -o DIR|FILE.gguf [--dtype f32|f16|bf16|q8_0]",
    .example = "  holdfast model merge smollm2-135m-instruct --adapter runs/mine -o merged\n"
               "  holdfast model merge --adapter runs/mine --dtype q8_0 -o merged.gguf",
    .options = merge_options,
    .size = sizeof(struct write_options),
    .max_args = 1,
    .run = merge,
};

static int convert(struct hold_cli *cli, void *opts, int n_args, char **args,
                   struct hold_error *err) {
    (void)n_args;
    return write_out(cli, opts, args[0], NULL, err);
}

const struct hold_command hold_cmd_model_convert = {
    .name = "model convert",
    .summary = "write a model as a Hugging Face folder or GGUF file",
    .usage = "MODEL -o DIR|FILE.gguf [--dtype f32|f16|bf16|q8_0]",
    .example = "  holdfast model convert smollm2-135m-instruct --dtype bf16 -o converted\n"
               "  holdfast model convert smollm2-135m-instruct --dtype q8_0 -o model.gguf",
    .options = convert_options,
    .size = sizeof(struct write_options),
    .min_args = 1,
    .max_args = 1,
    .run = convert,
};
