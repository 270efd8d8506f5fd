/* reference.c: the model as it was, frozen, and what loss terms need of it, cached by row.
 *
 * The weights below theta never change within a run, so a reference is a copy of theta; a row that
 * is not in the cache yet is computed once with theta swapped for the copy.
 */
#include <string.h>

#include "train/run.h"

struct cached {
    int64_t first; /* of the row's labels in the stream's */
    bool filled;
};
struct cache { /* of a stream; made when a pass first asks for it, for all its rows at once */
    struct cached *row;
    float *hidden; /* (labels, C), or NULL */
    double *dots;  /* (labels, layers), or NULL */
};
struct hold_reference {
    int64_t cols, layers;
    struct hold_ptr theta;
    struct hold_ptr directions; /* (layers, C) on the device; null: hidden rows are cached */
    struct hold_ptr now;        /* theta while it is swapped for the copy */
    struct cache cache[HOLD_MAX_STREAMS];
};

int hold_reference_new(struct hold_run *run, const float *directions, struct hold_reference **out,
                       struct hold_error *err) {
    void *p = NULL;
    int rc = hold_new(&p, 1, sizeof(struct hold_reference), "a reference", err);
    if (rc < 0)
        return rc;
    struct hold_reference *r = p;
    *out = r;
    r->cols = run->model->shape.d_model;
    r->layers = run->model->shape.n_layers;
    struct hold_device *d = run->model->device;
    rc = d->k->alloc(d, run->model->n_flat * 4, &r->theta, err);
    if (rc == HOLD_OK)
        rc = d->k->alloc(d, run->model->n_flat * 4, &r->now, err);
    if (rc == HOLD_OK)
        d->k->copy(d, r->theta, run->model->flat, run->model->n_flat * 4);
    if (rc == HOLD_OK && directions != NULL) {
        int64_t bytes = run->model->shape.n_layers * run->model->shape.d_model * 4;
        rc = d->k->alloc(d, bytes, &r->directions, err);
        if (rc == HOLD_OK)
            d->k->write(d, r->directions, directions, bytes);
    }
    if (rc < 0) {
        hold_reference_free(run, r);
        *out = NULL;
    }
    return rc;
}

void hold_reference_free(struct hold_run *run, struct hold_reference *r) {
    if (r == NULL)
        return;
    for (int i = 0; i < run->n_streams; i++) {
        hold_free(r->cache[i].row);
        hold_free(r->cache[i].hidden);
        hold_free(r->cache[i].dots);
    }
    struct hold_device *d = run->model->device;
    if (!hold_ptr_null(r->theta))
        d->k->release(d, r->theta);
    if (!hold_ptr_null(r->now))
        d->k->release(d, r->now);
    if (!hold_ptr_null(r->directions))
        d->k->release(d, r->directions);
    hold_free(r);
}

const float *hold_reference_hidden(const struct hold_reference *r, int stream, int64_t row,
                                   int32_t ordinal) {
    const struct cache *c = &r->cache[stream];
    return c->hidden + (c->row[row].first + ordinal) * r->cols;
}

double hold_reference_dot(const struct hold_reference *r, int stream, int64_t row, int32_t ordinal,
                          int64_t layer) {
    const struct cache *c = &r->cache[stream];
    return c->dots[(c->row[row].first + ordinal) * r->layers + layer];
}

struct hold_tensor hold_reference_direction(const struct hold_reference *r, int64_t layer) {
    return hold_tensor_at(hold_at_f32(r->directions, layer * r->cols), 1, r->cols);
}

struct hold_param hold_reference_head(const struct hold_run *run, const struct hold_reference *r) {
    struct hold_param head = run->model->head;
    if (head.flat >= 0) {
        head.value.data = hold_at_f32(r->theta, head.flat);
        head.weight = NULL;
        head.flat = -1;
    }
    return head;
}

/* --- filling --- */

struct filling {
    struct hold_run *run;
    struct hold_reference *r;
    const struct hold_planned *planned;
    double *dots; /* (labels, layers), host */
    int status;
    struct hold_error *err;
};

static struct hold_node *see_block(void *user, struct hold_tape *t, enum hold_site site, int layer,
                                   int kind, struct hold_node *node) {
    (void)site;
    (void)kind;
    struct filling *f = user;
    int64_t n = f->planned->labels.n_rows;
    struct hold_space_mark mark = hold_space_mark(t->space);
    struct hold_ptr rows =
        hold_tape_upload(t, f->planned->tokens.out_rows, n * (int64_t)sizeof(int32_t));
    struct hold_tensor x = hold_tape_matrix(t, n, f->r->cols);
    struct hold_ptr out = hold_tape_matrix(t, n, 2).data; /* doubles */
    double *host = hold_arena_alloc(&t->host, (size_t)n * sizeof *host);
    if (host == NULL || t->status < 0) {
        f->status = hold_fail(f->err, HOLD_ENOMEMORY, "no memory for a reference");
        return node;
    }
    struct hold_device *d = t->device;
    d->k->rows_gather(d, n, f->r->cols, node->value.data, node->value.ld, rows, x.data, x.ld);
    d->k->row_dots(d, n, f->r->cols, x.data, x.ld, hold_reference_direction(f->r, layer).data, 0,
                   out);
    d->k->read(d, host, out, n * (int64_t)sizeof *host);
    for (int64_t i = 0; i < n; i++)
        f->dots[i * f->r->layers + layer] = host[i];
    hold_space_rewind(t->space, mark);
    return node;
}

static int make_cache(struct hold_run *run, struct hold_reference *r, int stream,
                      struct hold_error *err) {
    struct cache *c = &r->cache[stream];
    const struct hold_stream *s = &run->streams[stream];
    void *rows = NULL, *p = NULL;
    int rc = hold_new(&rows, (size_t)s->set->n, sizeof *c->row, "a reference", err);
    c->row = rows;
    int64_t labels = 0;
    for (int64_t i = 0; rc == HOLD_OK && i < s->set->n; i++) {
        const struct hold_example *x = &s->set->example[i];
        c->row[x->row].first = labels;
        for (int32_t t = 1; t < x->n; t++)
            labels += x->target_weight[t] < 0 || x->target_weight[t] > 0;
    }
    bool project = !hold_ptr_null(r->directions);
    size_t width = (size_t)(project ? r->layers : r->cols);
    size_t size = project ? sizeof(double) : sizeof(float), count = 0;
    if (rc == HOLD_OK && !hold_mul_size((size_t)labels + 1, width, &count))
        rc = hold_fail(err, HOLD_ENOMEMORY, "a reference of %lld labels", (long long)labels);
    if (rc == HOLD_OK)
        rc = hold_new(&p, count, size, "a reference", err);
    if (project)
        c->dots = p;
    else
        c->hidden = p;
    /* Memory that is never written is never there: a short run fills a part only. */
    double share = (double)(run->steps * s->batch) / (double)s->set->n;
    run->host_bytes += (int64_t)((double)(count * size) * (share < 1.0 ? share : 1.0));
    return rc;
}

/* One row, alone: its labels come in the order of its tokens. */
static int fill_one(struct hold_run *run, struct hold_reference *r, const struct hold_example *x,
                    struct cache *c, struct hold_error *err) {
    hold_arena_rewind(&run->host, (struct hold_arena_mark){0});
    struct hold_batch batch = {0};
    struct hold_planned planned = {0};
    int rc = hold_batch_build_in(&batch, &x, 1, HOLD_ROWS, &run->host, err);
    if (rc == HOLD_OK)
        rc = hold_model_plan(&batch, &run->host, &planned, err);
    int64_t n = rc == HOLD_OK ? planned.labels.n_rows : 0;
    bool project = !hold_ptr_null(r->directions);
    int64_t first = c->row[x->row].first;
    if (rc == HOLD_OK && n > 0) {
        struct filling f = {run,     r,  &planned, project ? c->dots + first * r->layers : NULL,
                            HOLD_OK, err};
        struct hold_tapper tapper = {.user = &f, .at = see_block, .sites = 1u << HOLD_AT_BLOCK};
        struct hold_tape *t = &run->tape;
        struct hold_space_mark mark = hold_space_mark(&run->space);
        t->recording = false;
        t->flat_grads = (struct hold_ptr){0};
        struct hold_node *h = hold_model_forward(run->model, t, &planned.tokens,
                                                 project ? &tapper : NULL, NULL, NULL);
        rc = f.status;
        if (rc == HOLD_OK)
            rc = hold_tape_check(t, err);
        if (rc == HOLD_OK && !project)
            t->device->k->read(t->device, c->hidden + first * r->cols, h->value.data,
                               n * r->cols * 4);
        hold_tape_reset(t, mark);
    }
    c->row[x->row].filled = rc == HOLD_OK;
    return rc;
}

int hold_reference_fill(struct hold_run *run, struct hold_reference *r,
                        const struct hold_examples *e, struct hold_error *err) {
    struct cache *c = &r->cache[e->stream];
    int rc = c->row == NULL ? make_cache(run, r, e->stream, err) : HOLD_OK;
    if (rc < 0)
        return rc;
    bool missing = false;
    for (int32_t i = 0; i < e->n; i++)
        missing = missing || !c->row[e->item[i]->row].filled;
    if (!missing)
        return HOLD_OK;
    struct hold_device *d = run->model->device;
    int64_t bytes = run->model->n_flat * 4;
    d->k->copy(d, r->now, run->model->flat, bytes);
    d->k->copy(d, run->model->flat, r->theta, bytes);
    for (int32_t i = 0; rc == HOLD_OK && i < e->n; i++)
        if (!c->row[e->item[i]->row].filled)
            rc = fill_one(run, r, e->item[i], c, err);
    d->k->copy(d, run->model->flat, r->now, bytes);
    return rc;
}
