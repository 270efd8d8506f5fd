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
    HOLD_INT(T, measured_steps, 4, 1, 100, "steps that are made to measure the time"),
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

/* What a checkpoint and the result are written at, when nothing else is known. */
static const double WRITTEN_A_SECOND = 400e6;

/* What was found out about a training. */
struct found {
    double start_seconds;          /* of what stands before the first step */
    int64_t loaded, step, vectors; /* bytes */
    double peak;
    bool fits;
    struct hold_train_work work;
    struct hold_train_speed speed;
};

static double save_seconds(const struct hold_training *t, const struct found *f) {
    /* A checkpoint holds theta and what lives as long as the run, but for the gradient. */
    double result = (double)(t->model.n_flat * (int64_t)sizeof(float));
    double checkpoint = (double)f->vectors;
    return ((double)f->work.checkpoints * checkpoint + result) / WRITTEN_A_SECOND;
}

static int add_times(json_t *e, const struct hold_training *t, const struct found *f) {
    double steps = f->speed.first_seconds + f->speed.seconds_a_flop * f->work.flop;
    double eval = f->speed.seconds_a_flop * f->work.eval_flop, save = save_seconds(t, f);
    return json_object_update_new(
        e, json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "tokens", (json_int_t)f->work.tokens,
                     "tokens_per_second", steps > 0 ? f->work.tokens / steps : 0.0, "start_seconds",
                     f->start_seconds, "step_seconds", steps, "eval_seconds", eval, "save_seconds",
                     save, "seconds", f->start_seconds + steps + eval + save));
}

static int print_found(struct hold_cli *cli, const struct hold_training *t, const struct found *f,
                       struct hold_error *err) {
    json_t *e =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I}", "model_bytes",
                  (json_int_t)hold_device_bytes(t->device, NULL), "step_bytes", (json_int_t)f->step,
                  "vector_bytes", (json_int_t)f->vectors, "peak_bytes", (json_int_t)f->peak,
                  "limit_bytes", (json_int_t)hold_memory_limit(), "fits", (int)f->fits, "rows",
                  (json_int_t)t->rows.n, "steps", (json_int_t)f->work.steps);
    int rc = HOLD_OK;
    if (e == NULL || (f->fits && add_times(e, t, f) != 0))
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for an estimate");
    else
        rc = cli->common.json ? hold_cli_print_json(json_incref(e), err) : print_estimate(e, err);
    json_decref(e);
    return rc;
}

static int estimate(struct hold_cli *cli, struct hold_training *t, const struct options *o,
                    double begun, struct hold_error *err) {
    struct found f = {.loaded = hold_current_memory()};
    int64_t limit = hold_memory_limit(), loading = hold_peak_memory();
    struct hold_train_input input = hold_training_input(t, &o->train);
    int rc = hold_training_size(t, &o->train, &f.step, &f.vectors, err);
    f.start_seconds = hold_clock_now() - begun;
    f.peak = (double)(f.loaded + f.step + f.vectors);
    f.peak = f.peak > (double)loading ? f.peak : (double)loading;
    f.fits = limit <= 0 || f.peak <= (double)limit;
    if (rc == HOLD_OK)
        rc = hold_train_count(&input, &f.work, err);
    if (rc == HOLD_OK && f.fits) {
        rc = hold_training_measure(t, cli, &o->train, o->measured_steps, &f.speed, err);
        /* What has stayed is the libraries': code that they made, stacks of threads. */
        int64_t kept = hold_current_memory() - f.loaded;
        f.peak += kept > 0 ? (double)kept : 0.0;
    }
    return rc < 0 ? rc : print_found(cli, t, &f, err);
}

/* A recipe says all that the training's options say. */
static int only_recipe(const struct hold_cli *cli, struct hold_error *err) {
    for (size_t i = 0; i < cli->given.n; i++) {
        const char *name = cli->given.row[i]->name;
        bool common = hold_options_find(hold_common_options, name) != NULL;
        if (!common && strcmp(name, "measured_steps") != 0)
            return hold_fail(err, HOLD_EUSAGE,
                             "%s: has no effect on a recipe; set it in the recipe, or behind it as "
                             "key=value",
                             hold_cli_flag(name).text);
    }
    return HOLD_OK;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    struct options *o = opts;
    struct hold_training t = {0};
    double begun = hold_clock_now();
    if (n_args > 0) {
        int no = only_recipe(cli, err);
        return no < 0 ? no : hold_estimate_recipe(cli, n_args, args, o->measured_steps, err);
    }
    if (o->data[0] == '\0')
        return hold_fail(err, HOLD_EUSAGE, "--data FILE or a recipe is missing");
    struct hold_training_files files = {.model = o->model,
                                        .adapter = o->adapter,
                                        .data = o->data,
                                        .eval_data = o->eval_data,
                                        .preference = o->preference,
                                        .no_evaluation = hold_cli_is_given(cli, "eval_strategy")};
    int rc = hold_training_folders(cli, &files, &o->train, err);
    if (rc == HOLD_OK)
        rc = hold_training_open(&t, cli, &files, &o->train, hold_cli_now(), err);
    if (rc == HOLD_OK)
        rc = estimate(cli, &t, o, begun, err);
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
