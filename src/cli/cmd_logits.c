/* cmd_logits.c: `holdfast logits`: the model's logits over given token ids, as safetensors. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "formats/safetensors.h"

#define T struct options
struct options {
    const char *model, *adapter, *ids, *output, *dtype;
};
static const struct hold_option options[] = {
    HOLD_CLI_MODEL(T),
    HOLD_TEXT(T, adapter, "", NULL, "PEFT folder to merge, or several by commas"),
    HOLD_TEXT(T, ids, "-", NULL, "a JSON array of token ids a line"),
    HOLD_CLI_OUTPUT(T,
                    "safetensors file to write: logits.0, logits.1, ... of (tokens, vocabulary)"),
    HOLD_TEXT(T, dtype, "f32", "f32", "type of the logits"),
    {0},
};
#undef T

struct work {
    struct hold_model *m;
    struct hold_space space;
    struct hold_tape tape;
    struct hold_arena host;
    int64_t n;
    struct hold_to_store *tensors;
    char (*names)[32];
};

/* Rows of ids, one a line. */
static int read_ids(const char *path, const struct hold_model *m, struct hold_ids **out, int64_t *n,
                    struct hold_error *err) {
    struct hold_str line = HOLD_STR_INIT;
    void *memory = NULL;
    int64_t cap = 0;
    bool got = true, open = false;
    char where[HOLD_ERROR_TEXT / 2];
    int rc = hold_new(&memory, 1, sizeof(struct hold_lines), "lines", err);
    struct hold_lines *lines = memory;
    if (rc == HOLD_OK)
        rc = hold_lines_open(lines, path, err);
    open = rc == HOLD_OK;
    while (rc == HOLD_OK && (rc = hold_lines_next(lines, &line, &got, err)) == HOLD_OK && got) {
        json_t *value = NULL;
        if (*n == cap) {
            cap = cap == 0 ? 64 : cap * 2;
            struct hold_ids *grown = hold_realloc(*out, (size_t)cap * sizeof *grown);
            if (grown == NULL)
                rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for the ids");
            else
                *out = grown;
        }
        snprintf(where, sizeof where, "%s:%ld", lines->path, lines->line);
        if (rc == HOLD_OK)
            rc = hold_json_parse(&value, hold_str_text(&line), line.len, lines->path, lines->line,
                                 err);
        if (rc == HOLD_OK) {
            (*out)[*n] = (struct hold_ids){0};
            rc = hold_cli_take_ids(value, m->shape.vocab, where, &(*out)[(*n)++], err);
        }
        if (rc == HOLD_OK && json_array_size(value) == 0)
            rc = hold_fail(err, HOLD_EDATA, "%s: no ids", where);
        if (rc == HOLD_OK && (int64_t)json_array_size(value) > m->shape.max_positions)
            rc = hold_fail(err, HOLD_EDATA, "%s: %zu ids, the model takes at most %lld", where,
                           json_array_size(value), (long long)m->shape.max_positions);
        json_decref(value);
    }
    if (rc == HOLD_OK && *n == 0)
        rc = hold_fail(err, HOLD_EDATA, "%s: no ids", lines->path);
    if (open)
        hold_lines_close(lines);
    hold_free(memory);
    hold_str_release(&line);
    return rc;
}

/* Logits of one row into out (tokens, vocabulary). */
static int forward(struct work *w, const struct hold_ids *ids, float *out, struct hold_error *err) {
    struct hold_batch batch = {0};
    struct hold_planned planned = {0};
    hold_arena_rewind(&w->host, (struct hold_arena_mark){0});
    float *weight = hold_arena_alloc(&w->host, ids->len * sizeof *weight);
    if (weight == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a row");
    struct hold_example row = {
        .n = (int32_t)ids->len, .ids = ids->data, .target_weight = weight, .weight = 1.0f};
    const struct hold_example *list = &row;
    int rc = hold_batch_build(&batch, &list, 1, HOLD_ROWS, err);
    if (rc == HOLD_OK)
        rc = hold_model_plan(&batch, &w->host, &planned, err);
    if (rc == HOLD_OK) {
        planned.tokens.out_rows = NULL; /* every token's, not only those before a label */
        planned.tokens.n_out = planned.tokens.n;
        struct hold_space_mark mark = hold_space_mark(&w->space);
        struct hold_node *hidden =
            hold_model_forward(w->m, &w->tape, &planned.tokens, NULL, NULL, NULL);
        rc = hold_model_logits(w->m, &w->tape, hidden, out, err);
        hold_tape_reset(&w->tape, mark);
    }
    hold_batch_release(&batch);
    return rc;
}

static int all_rows(struct hold_cli *cli, struct work *w, const struct hold_ids *ids, int64_t n,
                    struct hold_error *err) {
    double bytes = 0;
    for (int64_t i = 0; i < n; i++)
        bytes += 4.0 * (double)ids[i].len * (double)w->m->shape.vocab;
    int rc = hold_cli_check_memory("the logits", bytes, err);
    void *tensors = NULL, *names = NULL;
    if (rc == HOLD_OK)
        rc = hold_new(&tensors, (size_t)n, sizeof *w->tensors, "a list of tensors", err);
    w->tensors = tensors;
    if (rc == HOLD_OK)
        rc = hold_new(&names, (size_t)n, sizeof *w->names, "a list of tensors", err);
    w->names = names;
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++) {
        void *out = NULL;
        size_t rows = ids[i].len, vocab = (size_t)w->m->shape.vocab;
        rc = hold_new(&out, rows * vocab, sizeof(float), "logits", err);
        if (rc < 0)
            break;
        snprintf(w->names[i], sizeof w->names[i], "logits.%lld", (long long)i);
        w->tensors[i] = (struct hold_to_store){.name = w->names[i],
                                               .type = HOLD_ST_F32,
                                               .n_dims = 2,
                                               .dim = {(int64_t)rows, (int64_t)vocab, 1, 1},
                                               .data = out};
        w->n = i + 1;
        rc = forward(w, &ids[i], out, err);
        hold_cli_progress(cli, "logits", i + 1, n, "", -1.0);
        if (rc == HOLD_OK && hold_stopped(&cli->ctx))
            rc = hold_fail(err, HOLD_EINTERRUPTED, "interrupted; nothing was written");
    }
    return rc;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    const struct options *o = opts;
    (void)n_args;
    (void)args;
    struct hold_device *device = NULL;
    struct hold_model model = {0};
    struct hold_ids *ids = NULL;
    int64_t n = 0;
    if (o->output[0] == '\0' || strcmp(o->output, "-") == 0)
        return hold_fail(err, HOLD_EUSAGE, "-o OUT.safetensors is missing");
    int rc = hold_cli_check_output(o->output, err);
    if (rc == HOLD_OK)
        rc = hold_cli_open(cli, o->model, o->adapter, &device, &model, err);
    if (rc == HOLD_OK)
        rc = read_ids(o->ids, &model, &ids, &n, err);
    if (rc == HOLD_OK) {
        struct work w = {.m = &model};
        hold_space_init(&w.space, device);
        hold_tape_init(&w.tape, device, &w.space);
        w.tape.recording = false;
        hold_arena_init(&w.host, 0);
        rc = all_rows(cli, &w, ids, n, err);
        if (rc == HOLD_OK)
            rc = hold_safetensors_write(o->output, w.tensors, w.n, NULL, err);
        for (int64_t i = 0; i < w.n; i++)
            hold_free((void *)w.tensors[i].data);
        hold_free(w.tensors);
        hold_free(w.names);
        hold_tape_release(&w.tape);
        hold_space_release(&w.space);
        hold_arena_release(&w.host);
    }
    for (int64_t i = 0; i < n; i++)
        hold_ids_release(&ids[i]);
    hold_free(ids);
    hold_model_release(&model);
    hold_device_free(device);
    return rc;
}

const struct hold_command hold_cmd_logits = {
    .name = "logits",
    .summary = "a model's logits over given token ids",
    .usage = "-m MODEL [--adapter DIR] --ids FILE -o OUT.safetensors",
    .example = "  printf 'Hello world\\n' | holdfast tokenize | holdfast logits -o "
               "logits.safetensors",
    .options = options,
    .size = sizeof(struct options),
    .max_args = 0,
    .run = run,
};
