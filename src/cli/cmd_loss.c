/* cmd_loss.c: `holdfast loss`: log-probability of a file's trained tokens, row by row. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "eval/eval.h"

#define T struct options
struct options {
    const char *model, *adapter, *data, *preference;
    int64_t max_length;
};
static const struct hold_option options[] = {
    HOLD_CLI_MODEL(T),
    HOLD_TEXT(T, adapter, "", NULL, "PEFT folder to merge, or several by commas"),
    HOLD_TEXT(T, data, "-", NULL, "rows: JSONL, JSON array, CSV or TSV; given again: more of them"),
    HOLD_CLI_PREFERENCE(T),
    HOLD_INT(T, max_length, 0, 0, 1000000, "tokens of a row; 0: what the model takes"),
    {0},
};
#undef T

static int print_scores(const struct hold_row_score *score, int64_t n, struct hold_error *err) {
    struct hold_str out = HOLD_STR_INIT;
    double sum = 0;
    int64_t tokens = 0;
    int rc = HOLD_OK;
    for (int64_t i = 0; i < n; i++) {
        hold_str_addf(&out, "{\"index\":%lld,\"tokens\":%lld,\"logp\":", (long long)i,
                      (long long)score[i].n);
        hold_str_add_real(&out, score[i].logp);
        hold_str_add(&out, "}\n");
        sum += score[i].logp;
        tokens += score[i].n;
    }
    json_t *total =
        json_pack("{s:b, s:I, s:I, s:f, s:f, s:f}", "total", 1, "rows", (json_int_t)n, "tokens",
                  (json_int_t)tokens, "logp", sum, "loss", tokens > 0 ? -sum / (double)tokens : 0.0,
                  "perplexity", tokens > 0 ? hold_perplexity(sum, tokens) : 1.0);
    rc = total == NULL ? hold_fail(err, HOLD_EDATA, "the loss is not a finite number")
                       : hold_json_line(total, &out, err);
    json_decref(total);
    hold_str_add_char(&out, '\n');
    if (rc == HOLD_OK)
        rc = hold_cli_write("", &out, err);
    hold_str_release(&out);
    return rc;
}

static int score(struct hold_cli *cli, struct hold_model *m, const struct hold_set *set,
                 struct hold_error *err) {
    void *list = NULL, *scores = NULL;
    int rc = hold_new(&list, (size_t)set->n, sizeof(struct hold_example *), "rows", err);
    if (rc == HOLD_OK)
        rc = hold_new(&scores, (size_t)set->n, sizeof(struct hold_row_score), "scores", err);
    const struct hold_example **rows = list;
    for (int64_t i = 0; rc == HOLD_OK && i < set->n; i++)
        rows[i] = &set->example[i];
    if (rc == HOLD_OK)
        rc = hold_score(m, rows, set->n, 0, &cli->ctx, scores, err);
    hold_cli_clear(cli);
    if (rc == HOLD_OK)
        rc = print_scores(scores, set->n, err);
    hold_free(list);
    hold_free(scores);
    return rc;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    const struct options *o = opts;
    (void)n_args;
    (void)args;
    struct hold_device *device = NULL;
    struct hold_model model = {0};
    struct hold_rows rows = {0};
    struct hold_set set = {0};
    int rc = hold_cli_rows(cli, &rows, o->data, o->preference, NULL, err);
    if (rc == HOLD_OK && rows.n == 0)
        rc = hold_fail(err, HOLD_EDATA, "%s: no rows", o->data);
    if (rc == HOLD_OK)
        rc = hold_cli_open(cli, o->model, o->adapter, &device, &model, err);
    if (rc == HOLD_OK) {
        int64_t most = model.shape.max_positions;
        struct hold_renderer r = hold_cli_renderer(
            &model, o->max_length > 0 && o->max_length < most ? o->max_length : most);
        rc = hold_render_set(&r, &rows, &set, NULL, err);
    }
    if (rc == HOLD_OK && set.n_cut > 0)
        hold_log(&cli->ctx, HOLD_WARN, "loss", "%lld rows were cut at the most tokens of a row",
                 (long long)set.n_cut);
    if (rc == HOLD_OK)
        rc = score(cli, &model, &set, err);
    hold_set_release(&set);
    hold_rows_release(&rows);
    hold_model_release(&model);
    hold_device_free(device);
    return rc;
}

const struct hold_command hold_cmd_loss = {
    .name = "loss",
    .summary = "log-probability of a file's trained tokens",
    .usage = "-m MODEL [--adapter DIR] --data FILE",
    .example = "  echo '{\"prompt\":\"Two and two?\",\"completion\":\"Four.\"}' | holdfast loss",
    .options = options,
    .size = sizeof(struct options),
    .max_args = 0,
    .many = " data ",
    .run = run,
};
