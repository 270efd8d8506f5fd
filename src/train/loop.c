/* loop.c: the one training loop: step, log, evaluate, probe, save. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "train/run.h"

int hold_run_metric(struct hold_run *run, const char *name, double value, struct hold_error *err) {
    if (run->metrics == NULL || !isfinite(value)) /* JSON has no word for what is not a number */
        return HOLD_OK;
    struct hold_str *row = &run->line; /* kept: nothing is allocated for a row */
    hold_str_clear(row);
    hold_str_addf(row, "{\"step\":%lld,\"name\":\"%s\",\"value\":", (long long)run->step, name);
    hold_str_add_real(row, value);
    hold_str_add(row, "}\n");
    int rc = hold_str_check(row, err);
    if (rc == HOLD_OK && fwrite(row->data, 1, row->len, run->metrics) != row->len)
        rc = hold_fail_errno(err, errno, "metrics.jsonl: writing failed");
    return rc;
}

static int plain_step(struct hold_run *run, struct hold_error *err) {
    struct hold_pass pass = {.collect = true, .buffer = HOLD_GRAD};
    int rc = hold_run_chosen(run, &pass.examples, err);
    struct hold_pass_result r;
    if (rc == HOLD_OK)
        rc = hold_run_pass(run, &pass, &r, err);
    return rc;
}

static int make_gradient(struct hold_run *run, struct hold_error *err) {
    const struct hold_train_input *in = run->input;
    hold_buffer_zero(run, HOLD_GRAD);
    run->chosen = NULL;
    run->have_last = false;
    int rc = HOLD_OK;
    bool owned = false;
    for (int i = 0; rc == HOLD_OK && i < in->n_methods; i++)
        if (in->methods[i].hooks->step != NULL) {
            owned = true;
            rc = in->methods[i].hooks->step(run, in->methods[i].state, err);
        }
    if (rc == HOLD_OK && !owned)
        rc = plain_step(run, err);
    for (int i = 0; rc == HOLD_OK && i < in->n_methods; i++)
        if (in->methods[i].hooks->post != NULL)
            rc = in->methods[i].hooks->post(run, in->methods[i].state, err);
    return rc;
}

static int diverged(struct hold_run *run, const char *what, double value, struct hold_error *err) {
    char rows[256] = "";
    size_t at = 0;
    for (int32_t i = 0; run->chosen != NULL && i < run->chosen->n && at + 24 < sizeof rows; i++)
        at += (size_t)snprintf(rows + at, sizeof rows - at, "%s%lld", i == 0 ? "" : ", ",
                               (long long)run->chosen->item[i]->row);
    return hold_fail(err, HOLD_EDIVERGED,
                     "step %lld: the %s is %g; rows %s; the last checkpoint is kept",
                     (long long)run->step, what, isnan(value) ? fabs(value) : value, rows);
}

/* One optimizer step of the trained numbers [from, to). */
static void update(struct hold_run *run, double rate, int64_t from, int64_t to, double decay) {
    const struct hold_train_config *c = &run->config;
    struct hold_device *d = run->model->device;
    int64_t n = to - from;
    struct hold_ptr none = {0}, w = hold_at_f32(run->model->flat, from);
    struct hold_ptr g = hold_at_f32(run->buffers[HOLD_GRAD].data, from);
    if (strcmp(c->optim, "sgd") == 0) {
        d->k->sgd(d, n, w, g, c->momentum > 0 ? hold_at_f32(run->m, from) : none, rate, c->momentum,
                  decay);
    } else {
        double t = (double)(run->step + 1);
        d->k->adamw(d, n, w, g, hold_at_f32(run->m, from), hold_at_f32(run->v, from), rate,
                    c->adam_beta1, c->adam_beta2, c->adam_epsilon, decay,
                    1.0 - pow(c->adam_beta1, t), 1.0 - pow(c->adam_beta2, t));
    }
}

static int apply(struct hold_run *run, double *norm, double *rate, struct hold_error *err) {
    const struct hold_train_config *c = &run->config;
    struct hold_device *d = run->model->device;
    *norm = hold_buffer_norm(run, HOLD_GRAD);
    if (run->have_last && !isfinite(run->last.loss))
        return diverged(run, "loss", run->last.loss, err);
    if (!isfinite(*norm))
        return diverged(run, "gradient norm", *norm, err);
    if (c->max_grad_norm > 0 && *norm > c->max_grad_norm)
        hold_buffer_scale(run, HOLD_GRAD, c->max_grad_norm / (*norm + 1e-6));
    *rate = hold_train_rate(c, run->step, run->steps);
    /* Gains and biases do not decay, as in transformers' Trainer. */
    update(run, *rate, 0, run->model->n_decayed, c->weight_decay);
    if (run->model->n_decayed < run->model->n_flat)
        update(run, *rate, run->model->n_decayed, run->model->n_flat, 0);
    int rc = d->k->sync(d, err);
    const struct hold_train_input *in = run->input;
    for (int i = 0; rc == HOLD_OK && i < in->n_methods; i++)
        if (in->methods[i].hooks->updated != NULL)
            rc = in->methods[i].hooks->updated(run, in->methods[i].state, err);
    return rc;
}

int hold_run_one_step(struct hold_run *run, struct hold_error *err) {
    double norm, rate;
    int rc = make_gradient(run, err);
    return rc == HOLD_OK ? apply(run, &norm, &rate, err) : rc;
}

static int report(struct hold_run *run, double norm, double rate, double step_seconds,
                  double total_seconds, int64_t start, struct hold_error *err) {
    const struct hold_pass_result *l = &run->last;
    double speed = step_seconds > 0 ? (double)l->row_tokens / step_seconds : 0.0;
    int rc = HOLD_OK;
    if (run->step % run->config.logging_steps == 0 || run->step + 1 == run->steps) {
        rc = hold_run_metric(run, "train/loss", l->loss, err);
        if (rc == HOLD_OK && l->extra != 0.0)
            rc = hold_run_metric(run, "train/extra_loss", l->extra, err);
        if (rc == HOLD_OK)
            rc = hold_run_metric(run, "train/grad_norm", norm, err);
        if (rc == HOLD_OK)
            rc = hold_run_metric(run, "train/learning_rate", rate, err);
        if (rc == HOLD_OK)
            rc = hold_run_metric(run, "train/tokens_per_second", speed, err);
    }
    if (run->ctx->progress != NULL) {
        char status[192], eval[48] = "";
        if (run->evaluated.n > 0)
            snprintf(eval, sizeof eval, "  eval %.4f (best %.4f)", run->evaluated.last,
                     run->evaluated.best);
        snprintf(status, sizeof status, "loss %.4f%s  lr %.2e  grad %.3g  %.0f tok/s  %.1f GB",
                 l->loss, eval, rate, norm, speed, (double)hold_current_memory() / 1e9);
        int64_t done = run->step + 1;
        double eta = total_seconds / (double)(done - start) * (double)(run->steps - done);
        run->ctx->progress(run->ctx->user, "training", done, run->steps, status, eta);
    }
    return rc;
}

static int probe(struct hold_run *run, struct hold_error *err) {
    const struct hold_train_input *in = run->input;
    return in->probe == NULL ? HOLD_OK : in->probe(in->probe_user, run, run->step, err);
}

static bool probe_due(const struct hold_run *run, bool ended) {
    int64_t every = run->config.probe_steps;
    return ended || (every > 0 && run->step % every == 0);
}

static int save_due(struct hold_run *run, bool stopping, struct hold_error *err) {
    if (run->input->work_dir == NULL)
        return HOLD_OK;
    int64_t every = run->config.save_steps;
    if (stopping || (every > 0 && run->step % every == 0 && run->step < run->steps))
        return hold_checkpoint_save(run, err);
    return HOLD_OK;
}

/* After a step: evaluate; at the end take the best weights, so that the last probe sees them.  What
 * was cut off stays owed. */
static int look_back(struct hold_run *run, bool *ended, struct hold_error *err) {
    bool enough = hold_evaluation_enough(run);
    int rc = HOLD_OK;
    if (run->owed == HOLD_OWES_EVALUATION)
        rc = hold_evaluation_step(run, &enough, err);
    if (rc < 0)
        return rc;
    run->owed = HOLD_OWES_PROBE;
    *ended = enough || run->step == run->steps;
    if (enough && run->step < run->steps) {
        run->result.stopped_early = true;
        hold_log(run->ctx, HOLD_INFO, "train",
                 "step %lld of %lld: early stop, eval_loss %.4f; the best was %.4f at step %lld",
                 (long long)run->step, (long long)run->steps, run->evaluated.last,
                 run->evaluated.best, (long long)run->evaluated.best_step);
    }
    if (*ended)
        hold_evaluation_take_best(run);
    if (probe_due(run, *ended))
        rc = probe(run, err);
    if (rc == HOLD_OK)
        run->owed = HOLD_OWES_NOTHING;
    return rc;
}

/* One step and what follows it.  A stop saves the step, with what it is owed. */
static int whole_step(struct hold_run *run, double begun, int64_t start, bool *ended,
                      struct hold_error *err) {
    double t0 = hold_clock_now(), norm = 0.0, rate = 0.0, before = run->result.seconds;
    int rc = make_gradient(run, err);
    if (rc == HOLD_OK)
        rc = apply(run, &norm, &rate, err);
    if (rc < 0)
        return rc;
    double now = hold_clock_now();
    if (run->step == 0)
        run->result.first_loss = run->last.loss;
    run->result.last_loss = run->last.loss;
    run->result.tokens += run->last.row_tokens;
    rc = report(run, norm, rate, now - t0, now - begun, start, err);
    run->step++;
    run->owed = HOLD_OWES_EVALUATION;
    if (rc == HOLD_OK)
        rc = look_back(run, ended, err);
    bool cut = rc == HOLD_EINTERRUPTED;
    bool stopping = cut || (hold_stopped(run->ctx) && !*ended);
    run->result.seconds = before + hold_clock_now() - t0;
    if ((rc == HOLD_OK && !*ended) || cut)
        rc = save_due(run, stopping, err);
    if (rc == HOLD_OK && stopping)
        rc = hold_fail(err, HOLD_EINTERRUPTED, "stopped after step %lld of %lld%s",
                       (long long)run->step, (long long)run->steps,
                       run->input->work_dir == NULL ? "" : "; saved");
    return rc;
}

static int steps(struct hold_run *run, struct hold_error *err) {
    double begun = hold_clock_now();
    int64_t start = run->step;
    bool ended = false;
    int rc = run->step == 0 ? probe(run, err) : HOLD_OK;
    if (rc == HOLD_OK && run->owed != HOLD_OWES_NOTHING)
        rc = look_back(run, &ended, err);
    run->result.seconds += hold_clock_now() - begun;
    while (rc == HOLD_OK && !ended && run->step < run->steps)
        rc = whole_step(run, begun, start, &ended, err);
    run->result.steps = run->step;
    run->result.evaluations = run->evaluated.n;
    run->result.best_step = run->evaluated.best_step;
    run->result.eval_loss = run->evaluated.last;
    run->result.best_eval_loss = run->evaluated.best;
    return rc;
}

static int open_metrics(struct hold_run *run, struct hold_error *err) {
    if (run->input->work_dir == NULL || run->metrics != NULL)
        return HOLD_OK;
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, run->input->work_dir, "metrics.jsonl");
    run->metrics = fopen(hold_str_text(&path), "w");
    int rc = run->metrics == NULL
                 ? hold_fail_errno(err, errno, "%s: cannot be written", hold_str_text(&path))
                 : HOLD_OK;
    hold_str_release(&path);
    return rc;
}

int hold_run_prepare(struct hold_run *run, struct hold_error *err) {
    const struct hold_train_input *in = run->input;
    int rc = HOLD_OK;
    /* References are of theta at the start, so they are made before a checkpoint is laid over it.
     */
    for (int i = 0; rc == HOLD_OK && i < in->n_methods; i++)
        if (in->methods[i].hooks->prepare != NULL)
            rc = in->methods[i].hooks->prepare(run, in->methods[i].state, err);
    bool found = false;
    if (rc == HOLD_OK && in->work_dir != NULL)
        rc = hold_checkpoint_load(run, &found, err);
    run->result.resumed = found;
    if (rc == HOLD_OK)
        rc = open_metrics(run, err);
    for (int i = 0; rc == HOLD_OK && !found && i < in->n_methods; i++)
        if (in->methods[i].hooks->begin != NULL)
            rc = in->methods[i].hooks->begin(run, in->methods[i].state, err);
    return rc;
}

void hold_run_finish(struct hold_run *run) {
    for (int i = 0; i < run->input->n_methods; i++)
        if (run->input->methods[i].hooks->release != NULL)
            run->input->methods[i].hooks->release(run, run->input->methods[i].state);
}

int hold_train(const struct hold_train_input *input, const struct hold_ctx *ctx,
               struct hold_train_result *result, struct hold_error *err) {
    struct hold_run run;
    int rc = hold_run_init(&run, input, ctx, err);
    if (rc == HOLD_OK)
        rc = hold_run_prepare(&run, err);
    if (rc == HOLD_OK)
        rc = steps(&run, err);
    hold_run_finish(&run);
    if (run.metrics != NULL && fflush(run.metrics) != 0 && rc == HOLD_OK)
        rc = hold_fail_errno(err, errno, "metrics.jsonl: writing failed");
    if (result != NULL)
        *result = run.result;
    hold_run_release(&run);
    return rc;
}
