/* run.c: a run's making and unmaking, and the buffer primitives. */
#include <math.h>
#include <string.h>

#include "train/run.h"

enum { HOST_CHUNK = 1 << 20 }; /* what a pass notes on the host: one chunk nearly always */

static int new_vector(struct hold_run *run, struct hold_ptr *out, struct hold_error *err) {
    struct hold_device *d = run->model->device;
    int64_t bytes = run->model->n_flat * 4;
    int rc = d->k->alloc(d, bytes, out, err);
    if (rc == HOLD_OK)
        d->k->zero(d, *out, bytes);
    return rc;
}

static int add_buffer(struct hold_run *run, const char *name, struct hold_error *err) {
    for (int i = 0; i < run->n_buffers; i++)
        if (strcmp(run->buffers[i].name, name) == 0)
            return hold_fail(err, HOLD_EUSAGE, "two methods use a buffer named '%s'", name);
    if (run->n_buffers == HOLD_MAX_BUFFERS)
        return hold_fail(err, HOLD_EUSAGE, "more than %d buffers are declared", HOLD_MAX_BUFFERS);
    struct hold_buffer *b = &run->buffers[run->n_buffers++];
    *b = (struct hold_buffer){.name = name};
    return new_vector(run, &b->data, err);
}

static int add_method(struct hold_run *run, const struct hold_hooks *h, struct hold_error *err) {
    static const struct {
        unsigned need;
        const char *stream;
    } NEEDS[] = {
        {HOLD_NEED_ALIGN, "align"}, {HOLD_NEED_HARMFUL, "harmful"}, {HOLD_NEED_GENERAL, "general"}};
    for (size_t i = 0; i < sizeof NEEDS / sizeof *NEEDS; i++)
        if ((h->needs & NEEDS[i].need) != 0 && !hold_run_has_stream(run, NEEDS[i].stream))
            return hold_fail(err, HOLD_EUSAGE, "%s: needs '%s' data, none was given", h->name,
                             NEEDS[i].stream);
    if (h->rows_only && run->layout != HOLD_ROWS)
        run->layout = HOLD_ROWS;
    for (const char *const *b = h->buffers; b != NULL && *b != NULL; b++) {
        int rc = add_buffer(run, *b, err);
        if (rc < 0)
            return rc;
    }
    return HOLD_OK;
}

static int one_step_owner(const struct hold_train_input *in, struct hold_error *err) {
    const char *owner = NULL;
    for (int i = 0; i < in->n_methods; i++) {
        const struct hold_hooks *h = in->methods[i].hooks;
        if (h->step == NULL)
            continue;
        if (owner != NULL)
            return hold_fail(err, HOLD_EUSAGE,
                             "'%s' and '%s' both own the pass plan of a step; use one of them",
                             owner, h->name);
        owner = h->name;
    }
    return HOLD_OK;
}

static int add_streams(struct hold_run *run, struct hold_error *err) {
    const struct hold_train_input *in = run->input;
    if (in->n_streams > HOLD_MAX_STREAMS)
        return hold_fail(err, HOLD_EUSAGE, "more than %d streams", HOLD_MAX_STREAMS);
    int64_t whole =
        run->config.per_device_train_batch_size * run->config.gradient_accumulation_steps;
    for (int i = 0; i < in->n_streams; i++) {
        const struct hold_stream_input *s = &in->streams[i];
        if (s->set->n == 0)
            return hold_fail(err, HOLD_EDATA, "stream '%s' has no rows", s->name);
        struct hold_stream *t = &run->streams[run->n_streams++];
        *t = (struct hold_stream){.name = s->name,
                                  .set = s->set,
                                  .batch = s->batch > 0 ? s->batch : whole,
                                  .ordered_epoch = -1};
        void *order = NULL, *items = NULL;
        int rc = hold_new(&order, (size_t)s->set->n, sizeof *t->order, "a stream's order", err);
        t->order = order;
        if (rc == HOLD_OK)
            rc = hold_new(&items, (size_t)t->batch, sizeof *t->current.item, "a batch", err);
        t->current = (struct hold_examples){.stream = i, .item = items};
        if (rc < 0)
            return rc;
    }
    if (!hold_run_has_stream(run, "main"))
        return hold_fail(err, HOLD_EINTERNAL, "a run needs a stream 'main'");
    return HOLD_OK;
}

int hold_run_init(struct hold_run *run, const struct hold_train_input *input,
                  const struct hold_ctx *ctx, struct hold_error *err) {
    *run = (struct hold_run){
        .input = input, .config = input->config, .ctx = ctx, .model = input->model};
    if (run->model->n_flat == 0)
        return hold_fail(err, HOLD_EINTERNAL, "the model has nothing to train");
    hold_space_init(&run->space, run->model->device);
    int rc = input->reserve_bytes > 0 ? hold_space_reserve(&run->space, input->reserve_bytes, err)
                                      : HOLD_OK;
    hold_tape_init(&run->tape, run->model->device, &run->space);
    hold_arena_init(&run->host, HOST_CHUNK);
    hold_arena_init(&run->life, 0);
    run->layout = strcmp(run->config.layout, "rows") == 0 || run->config.lora_dropout > 0
                      ? HOLD_ROWS
                      : HOLD_TREE;
    if (rc == HOLD_OK)
        rc = one_step_owner(input, err);
    if (rc == HOLD_OK)
        rc = add_streams(run, err);
    if (rc == HOLD_OK)
        rc = add_buffer(run, "grad", err);
    if (rc < 0)
        return rc;
    run->buffers[run->n_buffers++] =
        (struct hold_buffer){.name = "theta", .data = run->model->flat};
    for (int i = 0; rc == HOLD_OK && i < input->n_methods; i++)
        rc = add_method(run, input->methods[i].hooks, err);
    if (rc == HOLD_OK)
        rc = hold_evaluation_open(run, err);
    if (rc == HOLD_OK && run->config.load_best_model_at_end) {
        rc = add_buffer(run, "best", err);
        run->best = run->n_buffers - 1;
    }
    if (rc == HOLD_OK)
        rc = new_vector(run, &run->m, err);
    if (rc == HOLD_OK && strcmp(run->config.optim, "adamw") == 0)
        rc = new_vector(run, &run->v, err);
    run->steps =
        hold_train_steps(&run->config, run->streams[hold_stream_index(run, "main")].set->n);
    return rc;
}

void hold_run_release(struct hold_run *run) {
    struct hold_device *d = run->model->device;
    for (int i = 0; i < run->n_streams; i++) {
        hold_free(run->streams[i].order);
        hold_free(run->streams[i].current.item);
    }
    for (int i = 0; i < run->n_buffers; i++)
        if (i != HOLD_THETA && !hold_ptr_null(run->buffers[i].data))
            d->k->release(d, run->buffers[i].data);
    hold_free(run->rows.item);
    hold_str_release(&run->line);
    struct hold_ptr own[] = {run->m, run->v, run->saved, run->scratch};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!hold_ptr_null(own[i]))
            d->k->release(d, own[i]);
    hold_tape_release(&run->tape);
    hold_space_release(&run->space);
    hold_arena_release(&run->host);
    hold_arena_release(&run->life);
    if (run->metrics != NULL)
        fclose(run->metrics);
    run->metrics = NULL;
}

struct hold_model *hold_run_model(struct hold_run *run) {
    return run->model;
}
int64_t hold_run_step(const struct hold_run *run) {
    return run->step;
}
int64_t hold_run_steps(const struct hold_run *run) {
    return run->steps;
}
const struct hold_ctx *hold_run_ctx(const struct hold_run *run) {
    return run->ctx;
}
const struct hold_train_config *hold_run_config(const struct hold_run *run) {
    return &run->config;
}

void hold_run_blocks(const struct hold_run *run, int64_t *layers, int64_t *cols) {
    *layers = run->model->shape.n_layers;
    *cols = run->model->shape.d_model;
}

int hold_run_doubles(struct hold_run *run, int64_t n, double **out, struct hold_error *err) {
    *out = hold_arena_alloc(&run->life, (size_t)n * sizeof **out);
    return *out == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a method") : HOLD_OK;
}

int hold_run_floats(struct hold_run *run, int64_t n, float **out, struct hold_error *err) {
    *out = hold_arena_alloc(&run->life, (size_t)n * sizeof **out);
    return *out == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a method") : HOLD_OK;
}

/* --- buffers --- */

int hold_run_buffer(struct hold_run *run, const char *name) {
    for (int i = 0; i < run->n_buffers; i++)
        if (strcmp(run->buffers[i].name, name) == 0)
            return i;
    return -1;
}

static struct hold_ptr at(struct hold_run *run, int b) {
    return run->buffers[b].data;
}

void hold_buffer_zero(struct hold_run *run, int b) {
    struct hold_device *d = run->model->device;
    d->k->zero(d, at(run, b), run->model->n_flat * 4);
}

void hold_buffer_copy(struct hold_run *run, int to, int from) {
    struct hold_device *d = run->model->device;
    d->k->copy(d, at(run, to), at(run, from), run->model->n_flat * 4);
}

void hold_buffer_axpy(struct hold_run *run, int y, double a, int x) {
    struct hold_device *d = run->model->device;
    int64_t n = run->model->n_flat;
    d->k->axpby(d, 1, n, (float)a, at(run, x), n, 1.0f, at(run, y), n);
}

void hold_buffer_scale(struct hold_run *run, int y, double a) {
    struct hold_device *d = run->model->device;
    int64_t n = run->model->n_flat;
    d->k->axpby(d, 1, n, 0.0f, at(run, y), n, (float)a, at(run, y), n);
}

double hold_buffer_dot(struct hold_run *run, int x, int y) {
    struct hold_device *d = run->model->device;
    return d->k->dot(d, run->model->n_flat, at(run, x), at(run, y));
}

double hold_buffer_norm(struct hold_run *run, int x) {
    return sqrt(hold_buffer_dot(run, x, x));
}

int hold_run_saved(struct hold_run *run, struct hold_error *err) {
    return hold_ptr_null(run->saved) ? new_vector(run, &run->saved, err) : HOLD_OK;
}

int hold_run_shifted(struct hold_run *run, int buffer, double c,
                     int (*inside)(struct hold_run *run, void *user, struct hold_error *err),
                     void *user, struct hold_error *err) {
    if (run->shifted)
        return hold_fail(err, HOLD_EINTERNAL, "theta is shifted already");
    int rc = hold_run_saved(run, err);
    if (rc < 0)
        return rc;
    struct hold_device *d = run->model->device;
    int64_t bytes = run->model->n_flat * 4;
    /* A copy is put back, nothing is subtracted: restoring is exact. */
    d->k->copy(d, run->saved, run->model->flat, bytes);
    hold_buffer_axpy(run, HOLD_THETA, c, buffer);
    run->shifted = true;
    rc = inside(run, user, err);
    run->shifted = false;
    d->k->copy(d, run->model->flat, run->saved, bytes);
    return rc;
}
