/* taps.c: a site's rows of a whole batch, whatever micro-batches it was split into; watching
 * linear layers example by example; and the projection terms that hang on block outputs. */
#include <math.h>

#include "base/rng.h"
#include "train/run.h"

struct hold_tap_store {
    enum hold_site site;
    int64_t layers, cols;
    int64_t rows, cap;      /* row tokens of the batch it holds, and room */
    struct hold_ptr *layer; /* (cap, cols) each */
};

int hold_tap_store_new(struct hold_run *run, enum hold_site site, struct hold_tap_store **out,
                       struct hold_error *err) {
    void *p = NULL, *layers = NULL;
    int64_t n = site == HOLD_AT_EMBED || site == HOLD_AT_FINAL ? 1 : run->model->shape.n_layers;
    if (site == HOLD_AT_LINEAR)
        return hold_fail(err, HOLD_EINTERNAL, "linear layers are watched, not stored");
    int rc = hold_new(&p, 1, sizeof(struct hold_tap_store), "a tap", err);
    if (rc == HOLD_OK)
        rc = hold_new(&layers, (size_t)n, sizeof(struct hold_ptr), "a tap", err);
    if (rc < 0) {
        hold_free(p);
        return rc;
    }
    struct hold_tap_store *s = p;
    *s = (struct hold_tap_store){
        .site = site, .layers = n, .cols = run->model->shape.d_model, .layer = layers};
    *out = s;
    return HOLD_OK;
}

static void drop_rows(struct hold_run *run, struct hold_tap_store *s) {
    struct hold_device *d = run->model->device;
    for (int64_t l = 0; l < s->layers; l++) {
        if (!hold_ptr_null(s->layer[l]))
            d->k->release(d, s->layer[l]);
        s->layer[l] = (struct hold_ptr){0};
    }
    s->cap = 0;
}

void hold_tap_store_free(struct hold_run *run, struct hold_tap_store *s) {
    if (s == NULL)
        return;
    drop_rows(run, s);
    hold_free(s->layer);
    hold_free(s);
}

/* The most rows a batch of the stream can have: its longest examples together. */
static int64_t most_rows(const struct hold_stream *s) {
    int64_t longest = 0, all = 0;
    for (int64_t i = 0; i < s->set->n; i++) {
        longest = s->set->example[i].n > longest ? s->set->example[i].n : longest;
        all += s->set->example[i].n;
    }
    int64_t most = longest * s->batch;
    return most < all ? most : all;
}

/* Room once for every batch: memory that no batch touches is never there. */
static int make_room(struct hold_run *run, struct hold_tap_store *s,
                     const struct hold_examples *examples, int64_t rows, struct hold_error *err) {
    struct hold_device *d = run->model->device;
    s->rows = rows;
    if (rows > s->cap) {
        drop_rows(run, s);
        int64_t most = most_rows(&run->streams[examples->stream]), cap = rows > most ? rows : most;
        if (run->sizing)
            cap = rows;
        for (int64_t l = 0; l < s->layers; l++) {
            int rc = d->k->alloc(d, cap * s->cols * 4, &s->layer[l], err);
            if (rc < 0)
                return rc;
        }
        s->cap = cap;
    }
    /* Rows that no micro-batch writes (examples without labels) must read as zero. */
    for (int64_t l = 0; l < s->layers; l++)
        d->k->zero(d, s->layer[l], rows * s->cols * 4);
    return HOLD_OK;
}

double hold_tap_store_norm(struct hold_run *run, const struct hold_tap_store *s) {
    struct hold_device *d = run->model->device;
    double sum = 0.0;
    for (int64_t l = 0; l < s->layers; l++)
        sum += d->k->dot(d, s->rows * s->cols, s->layer[l], s->layer[l]);
    return sqrt(sum);
}

int hold_tap_store_noise(struct hold_run *run, struct hold_tap_store *s, struct hold_error *err) {
    struct hold_device *d = run->model->device;
    double target = hold_tap_store_norm(run, s);
    int64_t n = s->rows * s->cols;
    hold_arena_rewind(&run->host, (struct hold_arena_mark){0}); /* no pass is under way */
    float *host = hold_arena_alloc(&run->host, (size_t)n * sizeof *host);
    if (host == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for noise");
    for (int64_t l = 0; l < s->layers; l++) {
        struct hold_rng rng;
        hold_rng_init(&rng, (uint64_t)run->config.seed, "tap_noise", (uint64_t)run->step,
                      (uint64_t)l);
        for (int64_t i = 0; i < n; i++)
            host[i] = (float)hold_rng_normal(&rng);
        d->k->write(d, s->layer[l], host, n * 4);
    }
    double norm = hold_tap_store_norm(run, s);
    float scale = norm > 0 ? (float)(target / norm) : 0.0f;
    for (int64_t l = 0; l < s->layers; l++)
        d->k->axpby(d, 1, n, 0.0f, s->layer[l], n, scale, s->layer[l], n);
    return HOLD_OK;
}

int hold_taps_begin(struct hold_run *run, const struct hold_pass *pass, struct hold_error *err) {
    if ((pass->n_taps > 0 || pass->watch != NULL) && run->layout != HOLD_ROWS)
        return hold_fail(err, HOLD_EINTERNAL, "taps are true for layout rows only");
    int64_t rows = 0;
    for (int32_t i = 0; i < pass->examples->n; i++)
        rows += pass->examples->item[i]->n;
    for (int i = 0; i < pass->n_taps; i++) {
        if (pass->taps[i].mode == HOLD_TAP_ADD) {
            if (pass->taps[i].store->rows != rows)
                return hold_fail(err, HOLD_EINTERNAL, "a tap is added to another batch");
            continue;
        }
        int rc = make_room(run, pass->taps[i].store, pass->examples, rows, err);
        if (rc < 0)
            return rc;
    }
    return HOLD_OK;
}

/* --- inside a forward pass --- */

struct on_grad {
    struct hold_part_view *view;
    struct hold_tap_store *store;
    int layer;
    enum hold_linear_kind kind;
};

/* Where the rows of a node stand in a store: behind the last attention there may be those only that
 * carry labels.  What is not there has no way to the loss: its gradient is zero, and adding to it
 * changes nothing. */
static struct hold_ptr places(const struct hold_part_view *v, struct hold_tensor rows) {
    return rows.rows == v->batch->n_tokens ? v->store_rows : v->label_rows;
}

static void put(struct hold_part_view *v, struct hold_tap_store *s, int layer,
                struct hold_tensor rows) {
    struct hold_device *d = v->run->model->device;
    d->k->rows_put(d, rows.rows, rows.cols, rows.data, rows.ld, places(v, rows),
                   s->layer[s->layers == 1 ? 0 : layer], s->cols);
}

static void store_grad(void *user, struct hold_node *node, struct hold_tensor grad) {
    (void)node;
    struct on_grad *g = user;
    put(g->view, g->store, g->layer, grad);
}

/* In layout rows, example i of the micro-batch is segment i: its rows are contiguous. */
static void see_linear(void *user, struct hold_node *node, struct hold_tensor grad) {
    struct on_grad *g = user;
    struct hold_part_view *v = g->view;
    for (int32_t i = 0; i < v->batch->n_examples && v->status == HOLD_OK; i++) {
        const struct hold_segment *s = &v->batch->segments[v->batch->examples[i].segment];
        v->status =
            v->pass->watch->see(v->pass->watch->user, v->run, g->layer, g->kind, v->order[i],
                                hold_tensor_rows(node->source[0]->value, s->first, s->len),
                                hold_tensor_rows(grad, s->first, s->len), v->err);
    }
}

static void watch_grad(struct hold_part_view *v, struct hold_tape *t, struct hold_node *node,
                       void (*on)(void *, struct hold_node *, struct hold_tensor),
                       struct on_grad g) {
    struct on_grad *own = hold_arena_alloc(&t->host, sizeof *own);
    if (own == NULL) {
        v->status = hold_fail(v->err, HOLD_ENOMEMORY, "no memory for a tap");
        return;
    }
    *own = g;
    node->on_grad = on;
    node->on_grad_user = own;
}

static struct hold_node *use_tap(struct hold_part_view *v, struct hold_tape *t,
                                 const struct hold_tap_use *u, int layer, struct hold_node *node) {
    struct hold_tap_store *s = u->store;
    struct hold_device *d = v->run->model->device;
    if (u->mode == HOLD_TAP_READ_VALUE) {
        put(v, s, layer, node->value);
    } else if (u->mode == HOLD_TAP_READ_GRAD) {
        node->wants_grad = node->wants_grad || t->recording;
        watch_grad(v, t, node, store_grad, (struct on_grad){v, s, layer, 0});
    } else {
        struct hold_tensor rows = hold_tape_matrix(t, node->value.rows, s->cols);
        if (t->status < 0)
            return &t->dead;
        d->k->rows_gather(d, rows.rows, s->cols, s->layer[s->layers == 1 ? 0 : layer], s->cols,
                          places(v, rows), rows.data, rows.ld);
        node = hold_shift(t, node, (float)u->scale, rows);
    }
    return node;
}

static void add_projection(struct hold_part_view *v, struct hold_tape *t,
                           const struct hold_term *term, int layer, struct hold_node *node) {
    const struct hold_loss_labels *labels = &v->planned->labels;
    double *ref = hold_arena_alloc(&t->host, (size_t)labels->n_rows * sizeof *ref);
    if (ref == NULL) {
        v->status = hold_fail(v->err, HOLD_ENOMEMORY, "no memory for a projection term");
        return;
    }
    for (int64_t i = 0; i < labels->n_rows; i++) { /* layout rows: one label a row */
        int32_t e = labels->first[i];
        ref[i] = hold_reference_dot(term->ref, v->pass->examples->stream,
                                    v->batch->examples[v->planned->label_example[e]].row,
                                    v->ordinal[e], layer);
    }
    struct hold_node *x = node;
    if (node->value.rows == v->batch->n_tokens) {
        struct hold_ptr rows = hold_tape_upload(t, v->planned->tokens.out_rows,
                                                labels->n_rows * (int64_t)sizeof(int32_t));
        x = hold_gather(t, node, rows, labels->n_rows);
    }
    double norm = hold_terms_normaliser(term->by, v->label_weight, v->n_examples);
    double coef = v->term_scale * term->coef / norm, sum = 0.0;
    hold_loss_projection(t, x, hold_reference_direction(term->ref, layer), labels->weight, ref,
                         (float)coef, NULL, &sum);
    *v->extra += coef * sum;
}

/* Before the forward pass: what is cut inside a block that is not recorded goes with it. */
static void upload_rows(struct hold_part_view *v, struct hold_tape *t) {
    const struct hold_tokens *tokens = &v->planned->tokens;
    int32_t *rows = hold_arena_alloc(&t->host, (size_t)v->batch->n_tokens * sizeof *rows);
    int32_t *label_rows = hold_arena_alloc(&t->host, (size_t)tokens->n_out * sizeof *label_rows);
    if (rows == NULL || label_rows == NULL) {
        v->status = hold_fail(v->err, HOLD_ENOMEMORY, "no memory for a tap");
        return;
    }
    for (int32_t i = 0; i < v->batch->n_examples; i++) {
        const struct hold_segment *s = &v->batch->segments[v->batch->examples[i].segment];
        for (int32_t k = 0; k < s->len; k++)
            rows[s->first + k] = (int32_t)(v->offset[v->order[i]] + k);
    }
    for (int64_t i = 0; i < tokens->n_out; i++)
        label_rows[i] = rows[tokens->out_rows[i]];
    v->store_rows = hold_tape_upload(t, rows, v->batch->n_tokens * (int64_t)sizeof(int32_t));
    v->label_rows = hold_tape_upload(t, label_rows, tokens->n_out * (int64_t)sizeof(int32_t));
}

static struct hold_node *at_site(void *user, struct hold_tape *t, enum hold_site site, int layer,
                                 int kind, struct hold_node *node) {
    struct hold_part_view *v = user;
    for (int i = 0; i < v->pass->n_taps; i++)
        if (v->pass->taps[i].store->site == site)
            node = use_tap(v, t, &v->pass->taps[i], layer, node);
    if (site == HOLD_AT_LINEAR && v->pass->watch != NULL && t->recording)
        watch_grad(v, t, node, see_linear,
                   (struct on_grad){v, NULL, layer, (enum hold_linear_kind)kind});
    if (site == HOLD_AT_BLOCK)
        for (int i = 0; i < v->terms->n; i++)
            if (v->terms->item[i].kind == HOLD_TERM_PROJECTION)
                add_projection(v, t, &v->terms->item[i], layer, node);
    return node;
}

struct hold_tapper hold_taps_tapper(struct hold_part_view *v) {
    struct hold_tapper t = {.user = v, .at = at_site, .out_rows_suffice = v->pass->watch == NULL};
    if (v->pass->n_taps > 0)
        upload_rows(v, &v->run->tape);
    for (int i = 0; i < v->pass->n_taps; i++) {
        t.sites |= 1u << v->pass->taps[i].store->site;
        /* Values are wanted of every row. */
        t.out_rows_suffice = t.out_rows_suffice && v->pass->taps[i].mode != HOLD_TAP_READ_VALUE;
    }
    if (v->pass->watch != NULL)
        t.sites |= 1u << HOLD_AT_LINEAR;
    for (int i = 0; i < v->terms->n; i++)
        if (v->terms->item[i].kind == HOLD_TERM_PROJECTION)
            t.sites |= 1u << HOLD_AT_BLOCK;
    return t;
}
