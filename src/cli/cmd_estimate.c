/* cmd_estimate.c: `holdfast estimate`: memory and time of a training before it starts. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/training.h"

#define T struct options
struct options {
    struct hold_train_config train; /* first: hold_train_options are over it */
    const char *model, *adapter, *data, *eval_data, *preference;
    int64_t measured_steps;
};
static const struct hold_option options[] = {
    HOLD_CLI_MODEL(T),
    HOLD_TEXT(T, adapter, "", NULL, "PEFT folder to merge before training, or several by commas"),
    HOLD_TEXT(T, data, "", NULL, "rows: JSONL, JSON array or CSV; given again: more of them"),
    HOLD_CLI_PREFERENCE(T),
    HOLD_TEXT(T, eval_data, "", NULL, "rows to take the loss of while training"),
    HOLD_INT(T, measured_steps, 2, 1, 100, "steps that are made to measure the time"),
    {0},
};
#undef T

static void memory_cell(struct hold_table *t, const char *name, double bytes) {
    char text[32];
    hold_cli_bytes(text, bytes);
    hold_table_cell(t, "%s", name);
    hold_table_cell(t, "%s", text);
}

static int print_estimate(const json_t *e, struct hold_error *err) {
    struct hold_table t = {.cols = 2};
    const char *name;
    json_t *v;
    hold_table_cell(&t, "what");
    hold_table_cell(&t, "estimate");
    json_object_foreach((json_t *)e, name, v) {
        if (hold_ends(name, "_bytes")) {
            memory_cell(&t, name, json_number_value(v));
            continue;
        }
        hold_table_cell(&t, "%s", name);
        if (json_is_boolean(v))
            hold_table_cell(&t, "%s", json_is_true(v) ? "yes" : "no");
        else
            hold_table_cell(&t, json_is_integer(v) ? "%.0f" : "%.1f", json_number_value(v));
    }
    return hold_table_print(&t, err);
}

static int estimate(struct hold_cli *cli, struct hold_training *t, const struct options *o,
                    struct hold_error *err) {
    int64_t step = 0, vectors = 0, limit = hold_memory_limit();
    int64_t model = hold_device_bytes(t->device, NULL), loaded = hold_current_memory();
    int64_t steps = hold_train_steps(&o->train, t->rows.n);
    int64_t batch = o->train.per_device_train_batch_size * o->train.gradient_accumulation_steps;
    double tokens = (double)t->set.n_tokens / (double)t->set.n * (double)batch * (double)steps;
    double each = 0;
    int rc = hold_training_size(t, &o->train, &step, &vectors, err);
    double peak = (double)(loaded + step + vectors);
    bool fits = limit <= 0 || peak <= (double)limit;
    if (rc == HOLD_OK && fits)
        rc = hold_training_measure(t, cli, &o->train, o->measured_steps, &each, err);
    if (rc < 0)
        return rc;
    json_t *e =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I}", "model_bytes", (json_int_t)model,
                  "step_bytes", (json_int_t)step, "vector_bytes", (json_int_t)vectors, "peak_bytes",
                  (json_int_t)peak, "limit_bytes", (json_int_t)limit, "fits", (int)fits, "rows",
                  (json_int_t)t->rows.n, "steps", (json_int_t)steps);
    int bad = 0;
    if (e != NULL && fits) {
        bad |= json_object_set_new(e, "tokens", json_integer((json_int_t)tokens));
        bad |= json_object_set_new(e, "tokens_per_second", json_real(each > 0 ? 1 / each : 0));
        bad |= json_object_set_new(e, "seconds", json_real(each * tokens));
    }
    e = hold_json_whole(e, bad);
    if (e == NULL)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for an estimate");
    else
        rc = cli->common.json ? hold_cli_print_json(json_incref(e), err) : print_estimate(e, err);
    json_decref(e);
    return rc;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    struct options *o = opts;
    struct hold_training t = {0};
    if (n_args > 0)
        return hold_estimate_recipe(cli, n_args, args, o->measured_steps, err);
    if (o->data[0] == '\0')
        return hold_fail(err, HOLD_EUSAGE, "--data FILE or a recipe is missing");
    struct hold_training_files files = {.model = o->model,
                                        .adapter = o->adapter,
                                        .data = o->data,
                                        .eval_data = o->eval_data,
                                        .preference = o->preference};
    int rc = hold_training_folders(cli, &files, &o->train, err);
    if (rc == HOLD_OK)
        rc = hold_training_open(&t, cli, &files, &o->train, hold_cli_now(), err);
    if (rc == HOLD_OK)
        rc = estimate(cli, &t, o, err);
    hold_training_close(&t);
    return rc;
}

const struct hold_command hold_cmd_estimate = {
    .name = "estimate",
    .summary = "memory and time of a training or recipe, from measured steps",
    .usage = "RECIPE.yaml [key=value ...] | -m MODEL --data FILE [training options]",
    .example = "  holdfast estimate --data rows.jsonl --num-train-epochs 3",
    .options = options,
    .size = sizeof(struct options),
    .max_args = -1,
    .many = " data ",
    .run = run,
    .more = hold_train_options,
};
