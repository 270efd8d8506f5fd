/* loop.c: the one training loop: options, schedule, step, log, probe, save. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "train/run.h"

#define T struct hold_train_config
const struct hold_option hold_train_options[] = {
    HOLD_TEXT(T, tuning, "lora", "lora|full", "what is trained"),
    HOLD_INT(T, lora_r, 16, 1, 1024, "rank of the low-rank parts"),
    HOLD_REAL(T, lora_alpha, 32, 0, 1e6, "scale of the low-rank parts times r"),
    HOLD_REAL(T, lora_dropout, 0, 0, 0.95, "share of low-rank inputs dropped"),
    HOLD_TEXT(T, lora_target_modules, "all-linear", NULL, "modules, by commas, or all-linear"),
    HOLD_REAL(T, num_train_epochs, 1, 0.001, 10000, "passes over the rows"),
    HOLD_INT(T, max_steps, 0, 0, 100000000, "optimizer steps; above 0 wins over epochs"),
    HOLD_REAL(T, learning_rate, 2e-4, 0, 100, "peak learning rate"),
    HOLD_TEXT(T, lr_scheduler_type, "linear", "linear|cosine|constant", "schedule after warm-up"),
    HOLD_REAL(T, warmup_ratio, 0, 0, 1, "share of steps with a rising rate"),
    HOLD_INT(T, per_device_train_batch_size, 8, 1, 4096, "rows of a batch"),
    HOLD_INT(T, gradient_accumulation_steps, 1, 1, 4096, "batches of a step"),
    HOLD_TEXT(T, optim, "adamw", "adamw|sgd", "optimizer"),
    HOLD_REAL(T, weight_decay, 0, 0, 100, "decoupled weight decay (sgd: L2)"),
    HOLD_REAL(T, adam_beta1, 0.9, 0, 1, "first moment's memory"),
    HOLD_REAL(T, adam_beta2, 0.999, 0, 1, "second moment's memory"),
    HOLD_REAL(T, adam_epsilon, 1e-8, 0, 1, "added to the root of the second moment"),
    HOLD_REAL(T, momentum, 0, 0, 1, "of sgd"),
    HOLD_REAL(T, max_grad_norm, 1, 0, 1e9, "gradient norm to clip at; 0: never"),
    HOLD_INT(T, max_length, 1024, 8, 1000000, "tokens of a row; longer rows are cut and counted"),
    HOLD_INT(T, seed, 42, 0, 9007199254740991, "of order, initialisation and dropout"),
    HOLD_TEXT(T, layout, "tree", "tree|rows", "shared prefixes once, or every row whole"),
    HOLD_INT(T, micro_batch_tokens, 768, 16, 1000000, "tokens computed at once"),
    HOLD_BOOL(T, gradient_checkpointing, false, "make blocks again in backward: less memory"),
    HOLD_INT(T, logging_steps, 1, 1, 1000000, "steps between rows of the log"),
    HOLD_INT(T, save_steps, 50, 0, 100000000, "steps between checkpoints; 0: only at a stop"),
    HOLD_INT(T, probe_steps, 0, 0, 100000000, "steps between probes; 0: start and end"),
    {0},
};
#undef T

int64_t hold_train_steps(const struct hold_train_config *c, int64_t n_rows) {
    if (c->max_steps > 0)
        return c->max_steps;
    int64_t whole = c->per_device_train_batch_size * c->gradient_accumulation_steps;
    int64_t an_epoch = (n_rows + whole - 1) / whole;
    int64_t steps = (int64_t)ceil(c->num_train_epochs * (double)an_epoch - 1e-9);
    return steps > 0 ? steps : 1;
}

double hold_train_rate(const struct hold_train_config *c, int64_t step, int64_t steps) {
    int64_t warm = (int64_t)ceil(c->warmup_ratio * (double)steps);
    if (step < warm)
        return c->learning_rate * (double)step / (double)(warm > 0 ? warm : 1);
    if (strcmp(c->lr_scheduler_type, "constant") == 0)
        return c->learning_rate;
    double rest = steps > warm ? (double)(steps - warm) : 1.0;
    double done = (double)(step - warm) / rest;
    if (strcmp(c->lr_scheduler_type, "cosine") == 0)
        return c->learning_rate * 0.5 * (1.0 + cos(3.14159265358979323846 * done));
    return c->learning_rate * (done < 1.0 ? 1.0 - done : 0.0);
}

int hold_run_metric(struct hold_run *run, const char *name, double value, struct hold_error *err) {
    if (run->metrics == NULL || !isfinite(value)) /* JSON has no word for what is not a number */
        return HOLD_OK;
    struct hold_str row = HOLD_STR_INIT;
    hold_str_addf(&row, "{\"step\":%lld,\"name\":\"%s\",\"value\":", (long long)run->step, name);
    hold_str_add_real(&row, value);
    hold_str_add(&row, "}\n");
    int rc = hold_str_check(&row, err);
    if (rc == HOLD_OK && fwrite(row.data, 1, row.len, run->metrics) != row.len)
        rc = hold_fail_errno(err, errno, "metrics.jsonl: writing failed");
    hold_str_release(&row);
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

static int apply(struct hold_run *run, double *norm, double *rate, struct hold_error *err) {
    const struct hold_train_config *c = &run->config;
    struct hold_device *d = run->model->device;
    int64_t n = run->model->n_flat;
    *norm = hold_buffer_norm(run, HOLD_GRAD);
    if (run->have_last && !isfinite(run->last.loss))
        return diverged(run, "loss", run->last.loss, err);
    if (!isfinite(*norm))
        return diverged(run, "gradient norm", *norm, err);
    if (c->max_grad_norm > 0 && *norm > c->max_grad_norm)
        hold_buffer_scale(run, HOLD_GRAD, c->max_grad_norm / (*norm + 1e-6));
    *rate = hold_train_rate(c, run->step, run->steps);
    struct hold_ptr g = run->buffers[HOLD_GRAD].data;
    if (strcmp(c->optim, "sgd") == 0) {
        struct hold_ptr none = {0};
        d->k->sgd(d, n, run->model->flat, g, c->momentum > 0 ? run->m : none, *rate, c->momentum,
                  c->weight_decay);
    } else {
        double t = (double)(run->step + 1);
        d->k->adamw(d, n, run->model->flat, g, run->m, run->v, *rate, c->adam_beta1, c->adam_beta2,
                    c->adam_epsilon, c->weight_decay, 1.0 - pow(c->adam_beta1, t),
                    1.0 - pow(c->adam_beta2, t));
    }
    int rc = d->k->sync(d, err);
    const struct hold_train_input *in = run->input;
    for (int i = 0; rc == HOLD_OK && i < in->n_methods; i++)
        if (in->methods[i].hooks->updated != NULL)
            rc = in->methods[i].hooks->updated(run, in->methods[i].state, err);
    return rc;
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
        char status[160];
        snprintf(status, sizeof status, "loss %.4f  lr %.2e  grad %.3g  %.0f tok/s  %.1f GB",
                 l->loss, rate, norm, speed, (double)hold_current_memory() / 1e9);
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

static bool probe_due(const struct hold_run *run) {
    int64_t every = run->config.probe_steps;
    return run->step == run->steps || (every > 0 && run->step % every == 0);
}

static int save_due(struct hold_run *run, bool stopping, struct hold_error *err) {
    if (run->input->work_dir == NULL)
        return HOLD_OK;
    int64_t every = run->config.save_steps;
    if (stopping || (every > 0 && run->step % every == 0 && run->step < run->steps))
        return hold_checkpoint_save(run, err);
    return HOLD_OK;
}

static int steps(struct hold_run *run, struct hold_error *err) {
    double begun = hold_clock_now();
    int64_t start = run->step;
    int rc = run->step == 0 ? probe(run, err) : HOLD_OK;
    while (rc == HOLD_OK && run->step < run->steps) {
        double t0 = hold_clock_now(), norm = 0.0, rate = 0.0;
        rc = make_gradient(run, err);
        if (rc == HOLD_OK)
            rc = apply(run, &norm, &rate, err);
        if (rc < 0)
            break;
        double now = hold_clock_now();
        if (run->step == 0)
            run->result.first_loss = run->last.loss;
        run->result.last_loss = run->last.loss;
        run->result.tokens += run->last.row_tokens;
        rc = report(run, norm, rate, now - t0, now - begun, start, err);
        run->step++;
        if (rc == HOLD_OK && probe_due(run))
            rc = probe(run, err);
        /* A probe that was interrupted costs its answers, not the step before it. */
        bool cut = rc == HOLD_EINTERRUPTED && run->step < run->steps;
        if (cut)
            rc = HOLD_OK;
        bool stopping = (cut || hold_stopped(run->ctx)) && run->step < run->steps;
        if (rc == HOLD_OK)
            rc = save_due(run, stopping, err);
        if (rc == HOLD_OK && stopping)
            rc = hold_fail(err, HOLD_EINTERRUPTED, "stopped after step %lld of %lld%s",
                           (long long)run->step, (long long)run->steps,
                           run->input->work_dir == NULL ? "" : "; saved");
    }
    run->result.steps = run->step;
    run->result.seconds = hold_clock_now() - begun;
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

static int prepare(struct hold_run *run, struct hold_error *err) {
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

int hold_train(const struct hold_train_input *input, const struct hold_ctx *ctx,
               struct hold_train_result *result, struct hold_error *err) {
    struct hold_run run;
    int rc = hold_run_init(&run, input, ctx, err);
    if (rc == HOLD_OK)
        rc = prepare(&run, err);
    if (rc == HOLD_OK)
        rc = steps(&run, err);
    for (int i = 0; i < input->n_methods; i++)
        if (input->methods[i].hooks->release != NULL)
            input->methods[i].hooks->release(&run, input->methods[i].state);
    if (run.metrics != NULL && fflush(run.metrics) != 0 && rc == HOLD_OK)
        rc = hold_fail_errno(err, errno, "metrics.jsonl: writing failed");
    if (result != NULL)
        *result = run.result;
    hold_run_release(&run);
    return rc;
}
