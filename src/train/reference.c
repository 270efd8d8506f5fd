/* reference.c: the model as it was, frozen, and what loss terms need of it, cached by row.
 *
 * The weights below theta never change within a run, so a reference is a copy of theta; rows that
 * are not in the cache yet are computed once with theta swapped for the copy.
 *
 * LAW: a row is computed in the company that it has in its stream's first epoch, whenever that is:
 * so a resumed run, whose cache is empty, finds the same bytes, and a pass over a batch of the
 * first epoch at theta = theta0 makes the very rows that it is compared with.
 */
#include <string.h>

#include "train/run.h"

struct cached {
    int64_t first;  /* of the row's labels in the stream's */
    uint32_t place; /* in the first epoch */
    bool filled;
};
struct cache { /* of a stream; made when a pass first asks for it, for all its rows at once */
    struct cached *row;
    uint32_t *order; /* rows of the first epoch, in its order */
    float *hidden;   /* (labels, C), or NULL */
    double *dots;    /* (labels, layers), or NULL */
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
        hold_free(r->cache[i].order);
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
    struct cache *cache;
    const struct hold_batch *batch;
    const struct hold_planned *planned;
    const int32_t *ordinal;   /* of each label within its example */
    struct hold_ptr out_rows; /* int32: rows that carry labels */
    int status;
    struct hold_error *err;
};

/* Where label entry e of the batch stands in the cache. */
static int64_t slot(const struct filling *f, int32_t e) {
    int64_t row = f->batch->examples[f->planned->label_example[e]].row;
    return f->cache->row[row].first + f->ordinal[e];
}

static struct hold_node *see_block(void *user, struct hold_tape *t, enum hold_site site, int layer,
                                   int kind, struct hold_node *node) {
    (void)site;
    (void)kind;
    struct filling *f = user;
    const struct hold_loss_labels *labels = &f->planned->labels;
    int64_t n = labels->n_rows;
    struct hold_space_mark mark = hold_space_mark(t->space);
    bool whole = node->value.rows == f->batch->n_tokens; /* of the last block: label rows only */
    struct hold_tensor x = whole ? hold_tape_matrix(t, n, f->r->cols) : node->value;
    struct hold_ptr out = hold_tape_matrix(t, n, 2).data; /* doubles */
    double *host = hold_arena_alloc(&t->host, (size_t)n * sizeof *host);
    if (host == NULL || t->status < 0) {
        f->status = hold_fail(f->err, HOLD_ENOMEMORY, "no memory for a reference");
        return node;
    }
    struct hold_device *d = t->device;
    if (whole)
        d->k->rows_gather(d, n, f->r->cols, node->value.data, node->value.ld, f->out_rows, x.data,
                          x.ld);
    d->k->row_dots(d, n, f->r->cols, x.data, x.ld, hold_reference_direction(f->r, layer).data, 0,
                   out);
    d->k->read(d, host, out, n * (int64_t)sizeof *host);
    for (int64_t i = 0; i < n; i++)
        for (int32_t e = labels->first[i]; e < labels->first[i + 1]; e++)
            f->cache->dots[slot(f, e) * f->r->layers + layer] = host[i];
    hold_space_rewind(t->space, mark);
    return node;
}

static void keep_hidden(struct filling *f, const struct hold_node *h, float *host) {
    const struct hold_loss_labels *labels = &f->planned->labels;
    struct hold_device *d = f->run->model->device;
    int64_t cols = f->r->cols;
    d->k->read(d, host, h->value.data, labels->n_rows * cols * 4);
    for (int64_t i = 0; i < labels->n_rows; i++)
        for (int32_t e = labels->first[i]; e < labels->first[i + 1]; e++)
            memcpy(f->cache->hidden + slot(f, e) * cols, host + i * cols,
                   (size_t)cols * sizeof *host);
}

static int make_cache(struct hold_run *run, struct hold_reference *r, int stream,
                      struct hold_error *err) {
    struct cache *c = &r->cache[stream];
    const struct hold_stream *s = &run->streams[stream];
    void *rows = NULL, *order = NULL, *p = NULL;
    int rc = hold_new(&rows, (size_t)s->set->n, sizeof *c->row, "a reference", err);
    if (rc == HOLD_OK)
        rc = hold_new(&order, (size_t)s->set->n, sizeof *c->order, "a reference", err);
    c->row = rows;
    c->order = order;
    if (rc < 0)
        return rc;
    hold_stream_order(run, s, 0, c->order);
    for (int64_t i = 0; i < s->set->n; i++)
        c->row[s->set->example[c->order[i]].row].place = (uint32_t)i;
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

/* Projections come with layout rows, but theirs are the same of a tree, and cheaper. */
static enum hold_layout layout_of(const struct hold_run *run, const struct hold_reference *r) {
    return hold_ptr_null(r->directions) ? run->layout : HOLD_TREE;
}

/* Rows of one micro-batch. */
static int fill_part(struct hold_run *run, struct hold_reference *r, struct cache *c,
                     const struct hold_example **list, int32_t n, struct hold_error *err) {
    struct hold_arena_mark host = hold_arena_mark(&run->host);
    struct hold_batch batch = {0};
    struct hold_planned planned = {0};
    int rc = hold_batch_build_in(&batch, list, n, layout_of(run, r), &run->host, err);
    if (rc == HOLD_OK)
        rc = hold_model_plan(&batch, &run->host, &planned, err);
    if (rc == HOLD_OK && planned.labels.n_rows > 0) {
        bool project = !hold_ptr_null(r->directions);
        int32_t *ordinal = hold_label_ordinals(&batch, &run->host);
        float *hidden = project ? NULL
                                : hold_arena_alloc(&run->host, (size_t)planned.labels.n_rows *
                                                                   (size_t)r->cols * sizeof(float));
        if (ordinal == NULL || (!project && hidden == NULL))
            return hold_fail(err, HOLD_ENOMEMORY, "no memory for a reference");
        struct hold_tape *t = &run->tape;
        struct hold_space_mark mark = hold_space_mark(&run->space);
        struct filling f = {
            .run = run,
            .r = r,
            .cache = c,
            .batch = &batch,
            .planned = &planned,
            .ordinal = ordinal,
            .out_rows = hold_tape_upload(t, planned.tokens.out_rows, planned.tokens.n_out * 4),
            .err = err};
        struct hold_tapper tapper = {
            .user = &f, .at = see_block, .sites = 1u << HOLD_AT_BLOCK, .out_rows_suffice = true};
        t->recording = false;
        t->flat_grads = (struct hold_ptr){0};
        hold_count_attention(run, &planned.tokens);
        struct hold_node *h = hold_model_forward(run->model, t, &planned.tokens,
                                                 project ? &tapper : NULL, NULL, NULL);
        rc = f.status;
        if (rc == HOLD_OK)
            rc = hold_tape_check(t, err);
        if (rc == HOLD_OK && !project)
            keep_hidden(&f, h, hidden);
        hold_tape_reset(t, mark);
    }
    for (int32_t i = 0; i < n; i++)
        c->row[list[i]->row].filled = rc == HOLD_OK;
    hold_arena_rewind(&run->host, host);
    return rc;
}

/* A batch of the first epoch. */
static int fill_batch(struct hold_run *run, struct hold_reference *r, struct cache *c,
                      const struct hold_stream *s, int64_t first, struct hold_error *err) {
    int32_t n = (int32_t)(s->batch < s->set->n - first ? s->batch : s->set->n - first);
    hold_arena_rewind(&run->host, (struct hold_arena_mark){0});
    size_t room = (size_t)n;
    const struct hold_example **all = hold_arena_alloc(&run->host, room * sizeof *all),
                              **list = hold_arena_alloc(&run->host, room * sizeof *list);
    int32_t *order = hold_arena_alloc(&run->host, room * sizeof *order),
            *part = hold_arena_alloc(&run->host, (room + 1) * sizeof *part), n_parts = 0;
    if (all == NULL || list == NULL || order == NULL || part == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a reference");
    for (int32_t i = 0; i < n; i++)
        all[i] = &s->set->example[c->order[first + i]];
    int rc = hold_batch_split(all, n, layout_of(run, r), (int32_t)run->config.micro_batch_tokens,
                              order, part, &n_parts, err);
    for (int32_t i = 0; rc == HOLD_OK && i < n; i++)
        list[i] = all[order[i]];
    for (int32_t i = 0; rc == HOLD_OK && i < n_parts; i++)
        rc = fill_part(run, r, c, list + part[i], part[i + 1] - part[i], err);
    run->once[s - run->streams].rows += n;
    return rc;
}

int hold_reference_fill(struct hold_run *run, struct hold_reference *r,
                        const struct hold_examples *e, struct hold_error *err) {
    struct cache *c = &r->cache[e->stream];
    const struct hold_stream *s = &run->streams[e->stream];
    struct hold_made_once *once = &run->once[e->stream];
    int rc = HOLD_OK;
    if (c->row == NULL) {
        rc = make_cache(run, r, e->stream, err);
        once->caches++;
    }
    if (rc < 0)
        return rc;
    bool missing = false;
    for (int32_t i = 0; i < e->n; i++)
        missing = missing || !c->row[e->item[i]->row].filled;
    if (!missing)
        return HOLD_OK;
    struct hold_device *d = run->model->device;
    int64_t bytes = run->model->n_flat * 4;
    double before = hold_run_flop(run);
    d->k->copy(d, r->now, run->model->flat, bytes);
    d->k->copy(d, run->model->flat, r->theta, bytes);
    for (int32_t i = 0; rc == HOLD_OK && i < e->n; i++) {
        const struct cached *row = &c->row[e->item[i]->row];
        if (!row->filled)
            rc = fill_batch(run, r, c, s, row->place - row->place % s->batch, err);
    }
    d->k->copy(d, run->model->flat, r->now, bytes);
    once->flop += hold_run_flop(run) - before;
    return rc;
}
