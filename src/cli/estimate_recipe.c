/* estimate_recipe.c: memory and time of a recipe's stages, from a few measured steps and answers.
 *
 * Every stage is counted as if nothing of it were in the store yet.
 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/training.h"
#include "lab/plan.h"

enum { MEASURED_ROWS = 8 };

struct work {
    struct hold_cli *cli;
    int64_t measured_steps;
    struct hold_recipe recipe;
    bool is_read, is_planned, is_measured;
    struct hold_lab lab;
    struct hold_plan plan;
    struct hold_training t; /* model; rows and set: of the stage in hand */
    struct hold_train_speed speed;
    double answer_seconds; /* of a token of an answer, in a batch */
    double seconds, most_bytes;
    double loaded_bytes; /* of the process with the model */
    double kept_bytes;   /* what libraries keep once they have computed: code, stacks of threads */
    double stage_bytes;  /* of the stage in hand without that; 0: not known */
    json_t *stages;
};

static int open_all(struct work *w, int n_args, char **args, struct hold_error *err) {
    struct hold_cli *cli = w->cli;
    struct hold_str path = HOLD_STR_INIT;
    int rc = hold_cli_recipe_path(&path, args[0], err);
    if (rc == HOLD_OK)
        rc = hold_recipe_read(&w->recipe, hold_str_text(&path), (const char *const *)args + 1,
                              n_args - 1, err);
    hold_str_release(&path);
    w->is_read = rc == HOLD_OK;
    if (rc == HOLD_OK)
        rc = hold_cli_device(cli, &w->t.device, err);
    w->lab = (struct hold_lab){.ctx = &cli->ctx,
                               .device = w->t.device,
                               .models_dir = hold_str_text(&cli->models),
                               .version = HOLD_VERSION};
    if (rc == HOLD_OK)
        rc = hold_store_open(&w->lab.store, hold_str_text(&cli->store), &cli->ctx, err);
    if (rc == HOLD_OK) {
        rc = hold_plan_make(&w->plan, &w->lab, &w->recipe, err);
        w->is_planned = true;
    }
    if (rc == HOLD_OK)
        rc = hold_cli_model(cli, hold_str_text(&w->plan.model_path), NULL, w->t.device, &w->t.model,
                            err);
    w->loaded_bytes = (double)hold_current_memory();
    return rc;
}

static int add_stage(struct work *w, const struct hold_plan_node *n, int64_t steps, double tokens,
                     double seconds, struct hold_error *err) {
    double bytes = w->stage_bytes > 0 ? w->stage_bytes + w->kept_bytes : 0;
    w->seconds += seconds;
    w->most_bytes = bytes > w->most_bytes ? bytes : w->most_bytes;
    json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:f, s:I}", "stage", n->name, "arm",
                          n->arm == NULL ? "" : n->arm->name, "steps", (json_int_t)steps, "tokens",
                          (json_int_t)tokens, "seconds", seconds, "peak_bytes", (json_int_t)bytes);
    return o != NULL && json_array_append_new(w->stages, o) == 0
               ? HOLD_OK
               : hold_fail(err, HOLD_ENOMEMORY, "no memory for an estimate");
}

/* Seconds of a set's answers; the first set that is asked for is measured. */
static int answers(struct work *w, const struct hold_eval_set *set, double *seconds,
                   struct hold_error *err) {
    struct hold_rows some = set->data->rows;
    struct hold_generated *g = NULL;
    struct hold_ctx quiet = w->cli->ctx;
    quiet.progress = NULL;
    int rc = HOLD_OK;
    some.n = some.n < MEASURED_ROWS ? some.n : MEASURED_ROWS;
    if (w->answer_seconds <= 0 && some.n > 0) {
        double begun = hold_clock_now();
        rc = hold_lab_answers(&w->t.model, &some, set->max_tokens, &quiet, &g, err);
        w->answer_seconds = (hold_clock_now() - begun) / (double)(some.n * set->max_tokens);
        if (rc == HOLD_OK)
            hold_generated_free(g, some.n);
        hold_free(g);
    }
    *seconds = w->answer_seconds * (double)(set->data->rows.n * set->max_tokens);
    return rc;
}

/* Beside what the recipe's process has loaded by then. */
static int size_stage(struct work *w, const struct hold_plan_node *n, struct hold_train_work *work,
                      struct hold_error *err) {
    int64_t step = 0, vectors = 0;
    int rc = hold_stage_train_foretell(&w->plan, n, &w->t.model, &step, &vectors, work, err);
    double trained = 4.0 * (double)w->t.model.n_flat;
    w->stage_bytes = w->loaded_bytes + trained + (double)step + (double)vectors;
    return rc;
}

static int training(struct work *w, const struct hold_plan_node *n, struct hold_error *err) {
    struct hold_renderer r = hold_model_renderer(&w->t.model, n->config.max_length);
    struct hold_model *m = &w->t.model;
    struct hold_train_work all = {0};
    double probes = 0, one = 0;
    int rc = hold_render_set(&r, n->rows, &w->t.set, NULL, err);
    if (rc == HOLD_OK && m->n_flat == 0)
        rc = hold_train_make(m, &n->config, err);
    if (rc == HOLD_OK)
        rc = size_stage(w, n, &all, err);
    double limit = (double)hold_memory_limit();
    if (rc == HOLD_OK && !w->is_measured && (limit <= 0 || w->stage_bytes <= limit)) {
        double before = (double)hold_current_memory();
        rc = hold_training_measure(&w->t, w->cli, &n->config, w->measured_steps, &w->speed, err);
        double kept = (double)hold_current_memory() - before;
        w->kept_bytes = kept > 0 ? kept : 0;
        w->is_measured = true;
    }
    const struct hold_eval_set *probe = &w->recipe.eval[HOLD_EVAL_PROBE];
    if (rc == HOLD_OK && probe->data != NULL) {
        probes = probe->every > 0 ? (double)(all.steps / probe->every) + 2 : 2;
        rc = answers(w, probe, &one, err);
    }
    if (m->lora)
        hold_model_drop_lora(m);
    hold_set_release(&w->t.set);
    double seconds = w->speed.first_seconds + w->speed.seconds_a_flop * (all.flop + all.eval_flop) +
                     probes * one;
    return rc < 0 ? rc : add_stage(w, n, all.steps, all.tokens, seconds, err);
}

static int evaluation(struct work *w, const struct hold_plan_node *n, struct hold_error *err) {
    const struct hold_eval_set *set = &w->recipe.eval[n->eval];
    double seconds = 0;
    w->stage_bytes = 0;
    if (n->eval != HOLD_EVAL_PERPLEXITY) {
        int64_t bytes = 0;
        int rc = hold_lab_answers_size(&w->t.model, &set->data->rows, set->max_tokens, &bytes, err);
        w->stage_bytes = w->loaded_bytes + (double)bytes;
        if (rc == HOLD_OK)
            rc = answers(w, set, &seconds, err);
        return rc < 0 ? rc : add_stage(w, n, 0, 0, seconds, err);
    }
    struct hold_renderer r = hold_model_renderer(&w->t.model, w->t.model.shape.max_positions);
    int rc = hold_render_set(&r, &set->data->rows, &w->t.set, NULL, err);
    double tokens = (double)w->t.set.n_tokens;
    hold_set_release(&w->t.set);
    double flop = 2.0 * (double)hold_model_matrix_params(&w->t.model) * tokens; /* forward */
    return rc < 0 ? rc : add_stage(w, n, 0, tokens, w->speed.seconds_a_flop * flop, err);
}

static int print_all(const struct work *w, struct hold_error *err) {
    char text[32];
    double limit = (double)hold_memory_limit();
    if (w->cli->common.json)
        return hold_cli_print_json(
            json_pack("{s:O, s:f, s:I, s:I, s:b}", "stages", w->stages, "seconds", w->seconds,
                      "peak_bytes", (json_int_t)w->most_bytes, "limit_bytes", (json_int_t)limit,
                      "fits", limit <= 0 || w->most_bytes <= limit),
            err);
    struct hold_table t = {.cols = 5};
    static const char *const HEAD[] = {"stage", "first arm", "steps", "tokens", "seconds"};
    for (int i = 0; i < 5; i++)
        hold_table_cell(&t, "%s", HEAD[i]);
    for (size_t i = 0; i < json_array_size(w->stages); i++) {
        const json_t *s = json_array_get(w->stages, i);
        hold_table_cell(&t, "%s", json_string_value(json_object_get(s, "stage")));
        hold_table_cell(&t, "%s", json_string_value(json_object_get(s, "arm")));
        hold_table_cell(&t, "%lld", (long long)json_integer_value(json_object_get(s, "steps")));
        hold_table_cell(&t, "%lld", (long long)json_integer_value(json_object_get(s, "tokens")));
        hold_table_cell(&t, "%.1f", json_real_value(json_object_get(s, "seconds")));
    }
    int rc = hold_table_print(&t, err);
    hold_cli_bytes(text, w->most_bytes);
    if (rc == HOLD_OK)
        printf("\nin all: %.1f minutes, %s of memory at most%s\n", w->seconds / 60, text,
               limit > 0 && w->most_bytes > limit ? ", which is more than this process may use"
                                                  : "");
    return rc;
}

int hold_estimate_recipe(struct hold_cli *cli, int n_args, char **args, int64_t measured_steps,
                         struct hold_error *err) {
    double begun = hold_clock_now();
    struct work w = {.cli = cli, .measured_steps = measured_steps, .stages = json_array()};
    int rc = w.stages == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for an estimate")
                              : open_all(&w, n_args, args, err);
    w.seconds = hold_clock_now() - begun; /* a run starts as this has started */
    /* Trainings first: what they measure serves the evaluations too. */
    for (int i = 0; rc == HOLD_OK && i < w.plan.n_nodes; i++)
        if (w.plan.nodes[i].kind == HOLD_NODE_TRAIN)
            rc = training(&w, &w.plan.nodes[i], err);
    for (int i = 0; rc == HOLD_OK && i < w.plan.n_nodes; i++)
        if (w.plan.nodes[i].kind == HOLD_NODE_EVALUATE)
            rc = evaluation(&w, &w.plan.nodes[i], err);
    if (rc == HOLD_OK)
        rc = print_all(&w, err);
    if (w.is_planned)
        hold_plan_release(&w.plan);
    hold_lab_release(&w.lab);
    if (w.lab.store != NULL)
        hold_store_close(w.lab.store);
    if (w.is_read)
        hold_recipe_release(&w.recipe);
    json_decref(w.stages);
    hold_training_close(&w.t);
    return rc;
}
