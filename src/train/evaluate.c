/* evaluate.c: the loss of held-out rows while training, early stopping, and the best weights.
 *
 *     eval_loss  mean over all trained tokens of the set of -log p(token), dropout off
 *     better     eval_loss < best - early_stopping_threshold restarts the patience, as in
 *                transformers' EarlyStoppingCallback; best itself is the lowest seen
 *
 * An evaluation is due every eval_steps steps (or every epoch of the main stream) and at the end.
 */
#include <math.h>
#include <string.h>

#include "train/run.h"

enum { CHUNK = 64 }; /* rows of one pass */

int hold_evaluation_open(struct hold_run *run, struct hold_error *err) {
    const struct hold_train_config *c = &run->config;
    const struct hold_set *set = run->input->eval;
    bool wanted = strcmp(c->eval_strategy, "no") != 0;
    run->best = -1;
    if (!wanted) {
        if (c->early_stopping_patience > 0 || c->load_best_model_at_end)
            return hold_fail(err, HOLD_EUSAGE, "%s needs eval_strategy steps or epoch",
                             c->load_best_model_at_end ? "load_best_model_at_end"
                                                       : "early_stopping_patience");
        return HOLD_OK;
    }
    if (set == NULL || set->n == 0)
        return hold_fail(err, HOLD_EUSAGE, "eval_strategy %s needs evaluation rows",
                         c->eval_strategy);
    void *items = NULL;
    int rc = hold_new(&items, CHUNK, sizeof *run->rows.item, "evaluation rows", err);
    run->rows.item = items;
    return rc;
}

/* Steps between evaluations; 0: there are none. */
static int64_t steps_between(const struct hold_run *run) {
    const struct hold_train_config *c = &run->config;
    if (strcmp(c->eval_strategy, "no") == 0)
        return 0;
    if (strcmp(c->eval_strategy, "steps") == 0)
        return c->eval_steps;
    const struct hold_stream *s = &run->streams[hold_stream_index(run, "main")];
    return (s->set->n + s->batch - 1) / s->batch;
}

static bool due(const struct hold_run *run) {
    int64_t every = steps_between(run);
    return every > 0 && (run->step % every == 0 || run->step == run->steps);
}

int64_t hold_evaluations(const struct hold_run *run) {
    int64_t every = steps_between(run);
    return every == 0 ? 0 : (run->steps + every - 1) / every;
}

static int take_loss(struct hold_run *run, double *loss, struct hold_error *err) {
    const struct hold_set *set = run->input->eval;
    double sum = 0.0, weight = 0.0;
    for (int64_t at = 0; at < set->n; at += CHUNK) {
        if (hold_stopped(run->ctx))
            return hold_fail(err, HOLD_EINTERRUPTED, "stopped while evaluating after step %lld",
                             (long long)run->step);
        struct hold_examples *e = &run->rows;
        for (e->n = 0; e->n < CHUNK && at + e->n < set->n; e->n++)
            e->item[e->n] = &set->example[at + e->n];
        struct hold_pass pass = {.examples = e, .buffer = -1};
        struct hold_pass_result r;
        int rc = hold_run_pass(run, &pass, &r, err);
        if (rc < 0)
            return rc;
        sum += r.loss * r.label_weight;
        weight += r.label_weight;
    }
    if (!(weight > 0.0))
        return hold_fail(err, HOLD_EDATA, "the evaluation rows have no trained token");
    *loss = sum / weight;
    if (!isfinite(*loss))
        return hold_fail(err, HOLD_EDIVERGED,
                         "step %lld: eval_loss is %g; the last checkpoint is "
                         "kept",
                         (long long)run->step, fabs(*loss)); /* no sign of a NaN */
    return HOLD_OK;
}

bool hold_evaluation_enough(const struct hold_run *run) {
    int64_t patience = run->config.early_stopping_patience;
    return patience > 0 && run->evaluated.since >= patience;
}

int hold_evaluation_step(struct hold_run *run, bool *enough, struct hold_error *err) {
    const struct hold_train_config *c = &run->config;
    struct hold_evaluated *v = &run->evaluated;
    double loss = 0.0;
    *enough = false;
    if (!due(run))
        return HOLD_OK;
    int rc = take_loss(run, &loss, err);
    if (rc < 0)
        return rc;
    bool restarts = v->n == 0 || loss < v->best - c->early_stopping_threshold;
    v->since = restarts ? 0 : v->since + 1;
    if (v->n == 0 || loss < v->best) {
        v->best = loss;
        v->best_step = run->step;
        if (run->best >= 0)
            hold_buffer_copy(run, run->best, HOLD_THETA);
    }
    v->n++;
    v->last = loss;
    *enough = hold_evaluation_enough(run);
    return hold_run_metric(run, "eval/loss", loss, err);
}

void hold_evaluation_take_best(struct hold_run *run) {
    if (run->best < 0 || run->evaluated.n == 0)
        return;
    hold_buffer_copy(run, HOLD_THETA, run->best);
    run->result.is_best = true;
}
