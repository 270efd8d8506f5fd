/* forward.c: the way of tokens through the decoder, with its taps. */
#include <math.h>
#include <string.h>

#include "model/parts.h"

struct walk {
    struct hold_model *m;
    struct hold_tape *t;
    const struct hold_tokens *tokens;
    const struct hold_tapper *tapper;
    const struct hold_cache *cache;
    struct hold_attention plan, local; /* local: of sliding layers */
    struct hold_ptr ids, positions, slots, out_rows;
    struct hold_tensor carry[2]; /* residual stream between blocks when nothing is recorded */
};

static struct hold_node *tap(const struct walk *w, enum hold_site site, int layer, int kind,
                             struct hold_node *n) {
    if (w->tapper == NULL || (w->tapper->sites & (1u << site)) == 0 || n == &w->t->dead)
        return n;
    return w->tapper->at(w->tapper->user, w->t, site, layer, kind, n);
}

static struct hold_node *linear(const struct walk *w, int layer, enum hold_linear_kind kind,
                                struct hold_node *x) {
    return tap(w, HOLD_AT_LINEAR, layer, (int)kind,
               hold_linear(w->t, x, &w->m->layers[layer].linear[kind]));
}

/* Only label rows need the work after the last attention, unless a tap wants whole blocks. */
static bool last_block_may_shrink(const struct walk *w) {
    unsigned whole = (1u << HOLD_AT_ATTENTION) | (1u << HOLD_AT_MLP) | (1u << HOLD_AT_BLOCK) |
                     (1u << HOLD_AT_FINAL) | (1u << HOLD_AT_LINEAR);
    return w->tokens->out_rows != NULL &&
           (w->tapper == NULL || w->tapper->out_rows_suffice || (w->tapper->sites & whole) == 0);
}

/* From fused queries, keys and values to what the heads read. */
static struct hold_node *attention(const struct walk *w, int l, struct hold_node *qkv) {
    struct hold_model *m = w->m;
    const struct hold_shape *s = &m->shape;
    const struct hold_layer *layer = &m->layers[l];
    bool slides = hold_shape_slides(s, l);
    const struct hold_attention *plan = slides ? &w->local : &w->plan;
    if (hold_shape_traits(s)->head_norm)
        qkv = hold_headnorm(w->t, qkv, s->n_heads, s->n_kv_heads, &layer->norm_q, &layer->norm_k,
                            (float)s->norm_eps);
    qkv = hold_rope(w->t, qkv, s->n_heads + s->n_kv_heads, s->head_dim, w->positions,
                    slides ? m->inv_freq_local : m->inv_freq);
    return w->cache == NULL
               ? hold_attention(w->t, qkv, plan)
               : hold_attention_cached(w->t, qkv, plan, w->cache->k[l], w->cache->v[l], w->slots);
}

static struct hold_node *block(const struct walk *w, int l, struct hold_node *x) {
    struct hold_model *m = w->m;
    struct hold_tape *t = w->t;
    const struct hold_layer *layer = &m->layers[l];
    const struct hold_shape *s = &m->shape;
    const struct hold_traits *traits = hold_shape_traits(s);
    float eps = (float)s->norm_eps;

    struct hold_node *h = hold_rmsnorm(t, x, &layer->norm_attention, eps);
    struct hold_node *a = attention(w, l, linear(w, l, HOLD_QKV, h));
    if (l == s->n_layers - 1 && last_block_may_shrink(w)) {
        a = hold_gather(t, a, w->out_rows, w->tokens->n_out);
        x = hold_gather(t, x, w->out_rows, w->tokens->n_out);
    }
    a = tap(w, HOLD_AT_ATTENTION, l, 0, linear(w, l, HOLD_O, a));
    if (traits->post_norms)
        a = hold_rmsnorm(t, a, &layer->norm_after_attention, eps);
    x = hold_add(t, x, a);
    h = linear(w, l, HOLD_GATE_UP, hold_rmsnorm(t, x, &layer->norm_mlp, eps));
    h = traits->gelu ? hold_geglu(t, h) : hold_swiglu(t, h);
    h = tap(w, HOLD_AT_MLP, l, 0, linear(w, l, HOLD_DOWN, h));
    if (traits->post_norms)
        h = hold_rmsnorm(t, h, &layer->norm_after_mlp, eps);
    return hold_add(t, x, h);
}

struct again {
    struct walk walk;
    int layer;
};

static struct hold_node *make_block(const void *user, struct hold_tape *t, struct hold_node *x) {
    (void)t;
    const struct again *a = user;
    return block(&a->walk, a->layer, x);
}

/* With recompute every block is made again in backward. */
static struct hold_node *one_block(const struct walk *w, int l, struct hold_node *x) {
    struct hold_tape *t = w->t;
    if (!t->recompute || !t->recording)
        return tap(w, HOLD_AT_BLOCK, l, 0, block(w, l, x));
    struct again *a = hold_arena_alloc(&t->host, sizeof *a);
    if (a == NULL)
        return hold_tape_dead(t, HOLD_ENOMEMORY, "no memory for a block");
    *a = (struct again){*w, l};
    bool shrinks = l == w->m->shape.n_layers - 1 && last_block_may_shrink(w);
    int64_t rows = shrinks ? w->tokens->n_out : w->tokens->n;
    return tap(w, HOLD_AT_BLOCK, l, 0, hold_again(t, x, rows, make_block, a));
}

/* Nothing is recorded: keep only the residual stream and give the block's memory back. */
static struct hold_node *carry_over(const struct walk *w, int l, struct hold_node *x,
                                    struct hold_space_mark mark) {
    if (w->t->recording || x == &w->t->dead)
        return x;
    struct hold_tensor to = w->carry[l % 2];
    to.rows = x->value.rows;
    w->t->device->k->axpby(w->t->device, to.rows, to.cols, 1.0f, x->value.data, x->value.ld, 0.0f,
                           to.data, to.ld);
    hold_space_rewind(w->t->space, mark);
    return hold_leaf(w->t, to, false);
}

static struct hold_ptr upload_ints(struct hold_tape *t, const int32_t *v, int64_t n) {
    return hold_tape_upload(t, v, n * (int64_t)sizeof *v);
}

static void upload_plan(struct hold_tape *t, struct hold_attention *plan, int64_t n_runs,
                        const struct hold_query_run *runs, int64_t n_spans,
                        const struct hold_span *spans, const int32_t *tree_first) {
    int64_t max_keys = 1;
    for (int64_t i = 0; i < n_runs; i++) {
        int64_t sum = 0;
        for (int32_t j = 0; j < runs[i].n_spans; j++)
            sum += spans[runs[i].first_span + j].len;
        max_keys = sum > max_keys ? sum : max_keys;
    }
    plan->n_runs = n_runs;
    plan->n_spans = n_spans;
    plan->runs = hold_tape_upload(t, runs, n_runs * (int64_t)sizeof *runs);
    plan->spans = hold_tape_upload(t, spans, n_spans * (int64_t)sizeof *spans);
    plan->tree_first = upload_ints(t, tree_first, plan->n_trees + 1);
    plan->max_keys = max_keys;
}

static void upload_window(struct walk *w) {
    struct hold_tape *t = w->t;
    struct hold_windowed out;
    struct hold_error err = {0};
    int rc = hold_model_window(w->tokens, w->m->shape.window, &t->host, &out, &err);
    if (rc == HOLD_OK)
        upload_plan(t, &w->local, out.n_runs, out.runs, out.n_spans, out.spans, out.tree_first);
    else if (t->status == HOLD_OK) {
        t->status = rc;
        t->error = err;
    }
}

static void upload(struct walk *w, const int32_t *slot) {
    const struct hold_tokens *k = w->tokens;
    const struct hold_shape *s = &w->m->shape;
    struct hold_tape *t = w->t;
    w->ids = upload_ints(t, k->ids, k->n);
    w->positions = upload_ints(t, k->positions, k->n);
    if (slot != NULL)
        w->slots = upload_ints(t, slot, k->n);
    if (k->out_rows != NULL)
        w->out_rows = upload_ints(t, k->out_rows, k->n_out);
    w->plan = (struct hold_attention){
        .n_heads = s->n_heads,
        .n_kv_heads = s->n_kv_heads,
        .head_dim = s->head_dim,
        .scale = 1.0f / sqrtf((float)s->query_scalar),
        .n_trees = k->n_trees,
        .n_queries = k->n,
        .n_keys = k->n_keys,
    };
    upload_plan(t, &w->plan, k->n_runs, k->runs, k->n_spans, k->spans, k->tree_first);
    w->local = w->plan;
    if (s->window > 0 && hold_model_exceeds(k, s->window))
        upload_window(w);
    if (!t->recording)
        for (int i = 0; i < 2; i++)
            w->carry[i] = hold_tape_matrix(t, k->n, s->d_model);
}

struct hold_node *hold_model_forward(struct hold_model *m, struct hold_tape *t,
                                     const struct hold_tokens *tokens,
                                     const struct hold_tapper *tapper,
                                     const struct hold_cache *cache, const int32_t *slot) {
    struct walk w = {.m = m, .t = t, .tokens = tokens, .tapper = tapper, .cache = cache};
    upload(&w, slot);
    struct hold_node *x = hold_embed(t, &m->embed, w.ids, tokens->n);
    if (hold_shape_traits(&m->shape)->scaled_embed)
        x = hold_scale(t, x, sqrtf((float)m->shape.d_model));
    x = tap(&w, HOLD_AT_EMBED, 0, 0, x);
    for (int l = 0; l < m->shape.n_layers && t->status == HOLD_OK; l++) {
        struct hold_space_mark mark = hold_space_mark(t->space);
        x = carry_over(&w, l, one_block(&w, l, x), mark);
    }
    if (t->status < 0)
        return &t->dead;
    if (tokens->out_rows != NULL && !last_block_may_shrink(&w))
        x = hold_gather(t, x, w.out_rows, tokens->n_out);
    x = hold_rmsnorm(t, x, &m->norm, (float)m->shape.norm_eps);
    return tap(&w, HOLD_AT_FINAL, (int)m->shape.n_layers, 0, x);
}

int hold_model_logits(struct hold_model *m, struct hold_tape *t, const struct hold_node *hidden,
                      float *out, struct hold_error *err) {
    enum { BLOCK = 256 };
    int64_t vocab = m->head.value.rows, rows = hidden->value.rows;
    int rc = hold_tape_check(t, err);
    if (rc < 0)
        return rc;
    struct hold_space_mark mark = hold_space_mark(t->space);
    struct hold_tensor z = hold_tape_matrix(t, rows < BLOCK ? rows : BLOCK, vocab);
    const struct hold_kernels *k = t->device->k;
    for (int64_t i = 0; i < rows && t->status == HOLD_OK; i += BLOCK) {
        int64_t n = rows - i < BLOCK ? rows - i : BLOCK;
        struct hold_tensor h = hold_tensor_rows(hidden->value, i, n);
        if (m->head.weight != NULL)
            k->weight_forward(t->device, m->head.weight, n, h.data, h.ld, 0.0f, z.data, z.ld);
        else
            k->gemm_live(t->device, false, false, true, n, vocab, h.cols, h.data, h.ld,
                         m->head.value.data, m->head.value.ld, 0.0f, z.data, z.ld);
        k->read(t->device, out + i * vocab, z.data, n * vocab * (int64_t)sizeof *out);
    }
    hold_space_rewind(t->space, mark);
    return hold_tape_check(t, err);
}

int hold_cache_new(struct hold_cache *c, const struct hold_model *m, int64_t slots,
                   struct hold_error *err) {
    int64_t n = m->shape.n_layers, cols = m->shape.n_kv_heads * m->shape.head_dim;
    *c = (struct hold_cache){.slots = slots};
    void *p = NULL;
    int rc = hold_new(&p, (size_t)n * 2, sizeof(struct hold_tensor), "a key/value cache", err);
    if (rc < 0)
        return rc;
    c->k = p;
    c->v = c->k + n;
    for (int64_t l = 0; l < n; l++) {
        struct hold_ptr a = {0}, b = {0};
        rc = m->device->k->alloc(m->device, slots * cols * 4, &a, err);
        c->k[l] = hold_tensor_at(a, slots, cols);
        if (rc == HOLD_OK)
            rc = m->device->k->alloc(m->device, slots * cols * 4, &b, err);
        c->v[l] = hold_tensor_at(b, slots, cols);
        if (rc < 0) {
            hold_cache_release(c, m);
            return rc;
        }
    }
    return HOLD_OK;
}

void hold_cache_release(struct hold_cache *c, const struct hold_model *m) {
    for (int64_t l = 0; c->k != NULL && l < m->shape.n_layers; l++) {
        if (!hold_ptr_null(c->k[l].data))
            m->device->k->release(m->device, c->k[l].data);
        if (!hold_ptr_null(c->v[l].data))
            m->device->k->release(m->device, c->v[l].data);
    }
    hold_free(c->k);
    *c = (struct hold_cache){0};
}
