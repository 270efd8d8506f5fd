/* cmd_generate.c: `holdfast generate`: answers to a file of prompts, in input order. */
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "data/render.h"

struct options {
    const char *model, *adapter, *prompts, *output, *stop;
    int64_t max_tokens, seed, batch, top_k;
    double temperature, top_p;
};

static const struct hold_option options[] = {
    HOLD_CLI_MODEL(struct options),
    HOLD_TEXT(struct options, adapter, "", NULL, "PEFT folder to merge, or several by commas"),
    HOLD_TEXT(struct options, prompts, "-", NULL, "JSON lines of {\"prompt\"} or {\"messages\"}"),
    HOLD_CLI_OUTPUT(struct options, "file to write; empty: standard output"),
    HOLD_INT(struct options, max_tokens, 128, 1, 1000000, "new tokens a row"),
    HOLD_REAL(struct options, temperature, 0, 0, 100, "0: greedy"),
    HOLD_REAL(struct options, top_p, 1, 0, 1, "mass that is sampled from"),
    HOLD_INT(struct options, top_k, 0, 0, 1000000, "candidates that are sampled from; 0: all"),
    HOLD_INT(struct options, seed, 42, 0, 9007199254740991, "of sampling"),
    HOLD_TEXT(struct options, stop, "", NULL, "text before which an answer ends"),
    HOLD_INT(struct options, batch, 128, 1, 4096, "rows decoded together"),
    {0},
};

/* A text to go on with begins as the vocabulary asks. */
static int start_text(const struct hold_tokenizer *t, const char *text, struct hold_ids *ids,
                      struct hold_error *err) {
    int32_t bos = hold_tokenizer_adds_bos(t) ? hold_tokenizer_bos(t) : -1;
    int rc = bos >= 0 ? hold_ids_push(ids, bos, err) : HOLD_OK;
    return rc < 0 ? rc : hold_tokenizer_encode(t, text, strlen(text), false, ids, err);
}

static int render_prompts(const struct hold_model *m, const struct hold_rows *rows,
                          struct hold_ids *ids, struct hold_error *err) {
    struct hold_renderer r = hold_cli_renderer(m, 0);
    for (int64_t i = 0; i < rows->n; i++) {
        const struct hold_row *row = &rows->row[i];
        int rc = row->messages != NULL
                     ? hold_render_prompt(&r, row->messages, row->tools, &ids[i], err)
                     : start_text(m->tokenizer, row->text, &ids[i], err);
        if (rc < 0)
            return rc;
    }
    return HOLD_OK;
}

static int write_answers(const struct hold_generated *g, int64_t n, const char *path,
                         struct hold_error *err) {
    struct hold_str out = HOLD_STR_INIT;
    int rc = HOLD_OK;
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++) {
        json_t *o =
            json_pack("{s:I, s:s, s:I, s:s}", "index", (json_int_t)i, "text", g[i].text, "tokens",
                      (json_int_t)g[i].n_ids, "finish_reason", hold_finish_name(g[i].finish));
        rc = o == NULL
                 ? hold_fail(err, HOLD_EINTERNAL, "row %lld: its text is not UTF-8", (long long)i)
                 : hold_json_line(o, &out, err);
        hold_str_add_char(&out, '\n');
        json_decref(o);
    }
    if (rc == HOLD_OK)
        rc = hold_cli_write(path, &out, err);
    hold_str_release(&out);
    return rc;
}

/* Many tokens of few rows are worth reading the matrices once more. */
static int read_levels(const struct options *o, int64_t rows, struct hold_model *m,
                       struct hold_error *err) {
    enum { FEW = 8, MANY = 100 };
    int64_t n;
    bool few = rows <= FEW || (o->batch > 0 && o->batch <= FEW);
    return few && o->max_tokens * rows >= MANY * FEW ? hold_model_read_levels(m, &n, err) : HOLD_OK;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    const struct options *o = opts;
    (void)n_args;
    (void)args;
    struct hold_device *device = NULL;
    struct hold_model model = {0};
    struct hold_rows rows = {0};
    void *ids = NULL, *out = NULL;
    int64_t made = 0;
    int rc = hold_cli_check_output(o->output, err);
    if (rc == HOLD_OK)
        rc = hold_rows_read(&rows, o->prompts, NULL, err);
    if (rc == HOLD_OK && rows.n == 0)
        rc = hold_fail(err, HOLD_EDATA, "%s: no prompts", o->prompts);
    if (rc == HOLD_OK)
        rc = hold_cli_open(cli, o->model, o->adapter, &device, &model, err);
    if (rc == HOLD_OK)
        rc = read_levels(o, rows.n, &model, err);
    if (rc == HOLD_OK)
        rc = hold_new(&ids, (size_t)rows.n, sizeof(struct hold_ids), "prompts", err);
    if (rc == HOLD_OK)
        rc = hold_new(&out, (size_t)rows.n, sizeof(struct hold_generated), "answers", err);
    if (rc == HOLD_OK)
        rc = render_prompts(&model, &rows, ids, err);
    if (rc == HOLD_OK) {
        struct hold_generate_options g = {.max_tokens = o->max_tokens,
                                          .temperature = o->temperature,
                                          .top_p = o->top_p,
                                          .top_k = o->top_k,
                                          .seed = (uint64_t)o->seed,
                                          .batch = o->batch,
                                          .stop = &o->stop,
                                          .n_stop = o->stop[0] != '\0'};
        rc = hold_generate(&model, ids, rows.n, &g, &cli->ctx, out, err);
        made = rc == HOLD_OK || rc == HOLD_EINTERRUPTED ? rows.n : 0;
    }
    hold_cli_clear(cli);
    /* What an interrupted run had is written too; its rows say so. */
    if (made > 0) {
        struct hold_error later = {0};
        int written = write_answers(out, rows.n, o->output, rc == HOLD_OK ? err : &later);
        rc = rc == HOLD_OK ? written : rc;
    }
    hold_generated_free(out, made);
    hold_free(out);
    for (int64_t i = 0; ids != NULL && i < rows.n; i++)
        hold_ids_release((struct hold_ids *)ids + i);
    hold_free(ids);
    hold_rows_release(&rows);
    hold_model_release(&model);
    hold_device_free(device);
    return rc;
}

const struct hold_command hold_cmd_generate = {
    .name = "generate",
    .summary = "answer a file of prompts, batched",
    .usage = "-m MODEL [--adapter DIR] --prompts FILE.jsonl [-o OUT.jsonl]",
    .example = "  echo '{\"prompt\":\"Name three colours.\"}' | holdfast generate --max-tokens 32",
    .options = options,
    .size = sizeof(struct options),
    .max_args = 0,
    .run = run,
};
