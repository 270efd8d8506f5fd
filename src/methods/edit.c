/* edit.c: repairs: the tuned adapter on the host, the models around it on the device. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "methods/stage.h"
#include "tensor/linalg.h"

struct sweep { /* mean squares of one set, for every pair */
    const char *set;
    double **a_in, **b_in;
    int64_t tokens;
};
enum { MAX_SWEEPS = 4 };

struct hold_editor {
    const struct hold_edit_input *in;
    const struct hold_ctx *ctx;
    struct hold_arena arena;
    int n_sweeps;
    struct sweep sweeps[MAX_SWEEPS];
};

int64_t hold_edit_pairs(const struct hold_editor *e) {
    return e->in->adapter->n_pairs;
}
struct hold_lora_pair *hold_edit_pair(struct hold_editor *e, int64_t i) {
    return &e->in->adapter->pairs[i];
}
double hold_edit_scale(const struct hold_editor *e, int64_t i) {
    return e->in->adapter->alpha / (double)e->in->adapter->pairs[i].r;
}
uint64_t hold_edit_seed(const struct hold_editor *e) {
    return e->in->seed;
}

int hold_edit_note(struct hold_editor *e, const char *name, double value, struct hold_error *err) {
    return json_object_set_new(e->in->notes, name, json_real(value)) == 0
               ? HOLD_OK
               : hold_fail(err, HOLD_ENOMEMORY, "no memory for a note");
}

int hold_edit_floats(struct hold_editor *e, int64_t n, float **out, struct hold_error *err) {
    *out = hold_arena_alloc(&e->arena, (size_t)(n > 0 ? n : 1) * sizeof **out);
    return *out == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for an edit") : HOLD_OK;
}

int hold_edit_alignment(struct hold_editor *e, int64_t i, float *v, struct hold_error *err) {
    const struct hold_lora_pair *p = hold_edit_pair(e, i);
    struct hold_tensor aligned, base;
    if (e->in->base == NULL)
        return hold_fail(err, HOLD_EUSAGE,
                         "needs the model before alignment; this arm has no alignment stage");
    if (!hold_model_find(e->in->aligned, p->module, &aligned) ||
        !hold_model_find(e->in->base, p->module, &base))
        return hold_fail(err, HOLD_EFORMAT, "module '%s' is not in the model", p->module);
    int64_t n = p->out * p->in;
    struct hold_arena_mark mark = hold_arena_mark(&e->arena);
    float *w = NULL;
    int rc = hold_edit_floats(e, n, &w, err);
    if (rc < 0)
        return rc;
    struct hold_device *d = e->in->aligned->device;
    d->k->read(d, v, aligned.data, n * 4);
    d->k->read(d, w, base.data, n * 4);
    for (int64_t k = 0; k < n; k++)
        v[k] -= w[k];
    hold_arena_rewind(&e->arena, mark);
    return HOLD_OK;
}

int hold_edit_multiply(struct hold_editor *e, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                       float alpha, const float *a, const float *b, float beta, float *c,
                       struct hold_error *err) {
    return hold_multiply(e->in->aligned->device, ta, tb, m, n, k, alpha, a, b, beta, c, err);
}

int hold_edit_left_basis(struct hold_editor *e, const float *v, int64_t out, int64_t in,
                         double share, float *u, int64_t *k, struct hold_error *err) {
    return hold_left_basis(e->in->aligned->device, v, out, in, share, u, k, err);
}

int hold_edit_top_eigenvalue(struct hold_editor *e, const float *v, int64_t out, int64_t in,
                             double *value, struct hold_error *err) {
    return hold_top_eigenvalue(e->in->aligned->device, v, out, in, value, err);
}

/* --- activations --- */

struct squares {
    struct hold_editor *e;
    struct sweep *s;
    const int64_t *pair_of; /* of each low-rank part in the model's order; -1: none */
    int64_t part;           /* of the linear layer being seen */
    float *host;
    int64_t cap;
    int status;
    struct hold_error *err;
};

static void add_squares(struct squares *q, struct hold_device *d, struct hold_tensor x,
                        double *sum) {
    int64_t n = x.rows * x.ld;
    if (n > q->cap) {
        float *p = hold_realloc(q->host, (size_t)n * sizeof *p);
        if (p == NULL) {
            q->status = hold_fail(q->err, HOLD_ENOMEMORY, "no memory for activations");
            return;
        }
        q->host = p;
        q->cap = n;
    }
    /* The last row may end before ld when x is a column range. */
    d->k->read(d, q->host, x.data, ((x.rows - 1) * x.ld + x.cols) * 4);
    for (int64_t i = 0; i < x.rows; i++)
        for (int64_t c = 0; c < x.cols; c++)
            sum[c] += (double)q->host[i * x.ld + c] * (double)q->host[i * x.ld + c];
}

static struct hold_node *see(void *user, struct hold_tape *t, enum hold_site site, int layer,
                             int kind, struct hold_node *node) {
    (void)site;
    (void)layer;
    (void)kind;
    struct squares *q = user;
    const struct hold_linear *l = node->linear;
    for (int i = 0; i < l->n_lora && q->status == HOLD_OK; i++, q->part++) {
        int64_t pair = q->pair_of[q->part];
        if (pair < 0)
            continue;
        add_squares(q, t->device, node->source[0]->value, q->s->a_in[pair]);
        if (q->status == HOLD_OK)
            add_squares(q, t->device, hold_tensor_cols(node->saved_tensor, i * l->r, l->r),
                        q->s->b_in[pair]);
    }
    return node;
}

static int sweep_rows(struct hold_editor *e, struct sweep *s, const int64_t *pair_of,
                      const struct hold_rows *rows, struct hold_error *err) {
    struct hold_model *m = e->in->aligned;
    struct hold_renderer r = hold_model_renderer(m, e->in->max_length);
    struct hold_set set = {0};
    struct hold_space space;
    struct hold_tape tape;
    struct hold_arena host;
    hold_space_init(&space, m->device);
    hold_tape_init(&tape, m->device, &space);
    hold_arena_init(&host, 0);
    struct squares q = {.e = e, .s = s, .pair_of = pair_of, .err = err};
    struct hold_tapper tapper = {.user = &q, .at = see, .sites = 1u << HOLD_AT_LINEAR};
    int rc = hold_render_set(&r, rows, &set, NULL, err);
    for (int64_t i = 0; rc == HOLD_OK && i < set.n; i++) {
        const struct hold_example *x = &set.example[i];
        struct hold_batch batch = {0};
        struct hold_planned planned = {0};
        hold_arena_rewind(&host, (struct hold_arena_mark){0});
        rc = hold_batch_build(&batch, &x, 1, HOLD_ROWS, err);
        if (rc == HOLD_OK)
            rc = hold_model_plan(&batch, &host, &planned, err);
        if (rc == HOLD_OK) {
            q.part = 0;
            s->tokens += x->n;
            struct hold_space_mark mark = hold_space_mark(&space);
            hold_model_forward(m, &tape, &planned.tokens, &tapper, NULL, NULL);
            rc = q.status < 0 ? q.status : hold_tape_check(&tape, err);
            hold_tape_reset(&tape, mark);
        }
        hold_batch_release(&batch);
    }
    hold_free(q.host);
    hold_set_release(&set);
    hold_tape_release(&tape);
    hold_space_release(&space);
    hold_arena_release(&host);
    return rc;
}

static const struct hold_rows *find_rows(const struct hold_editor *e, const char *set) {
    for (int i = 0; i < e->in->n_sets; i++)
        if (strcmp(e->in->sets[i].name, set) == 0)
            return e->in->sets[i].rows;
    return NULL;
}

/* --- the adapter on the model --- */

static const char *leaf_of(const char *module) {
    const char *dot = strrchr(module, '.');
    return dot == NULL ? module : dot + 1;
}

/* The leaves of the adapter's modules, joined by commas, each once. */
static int leaves_of(const struct hold_adapter *a, struct hold_str *out, struct hold_error *err) {
    for (int64_t i = 0; i < a->n_pairs; i++) {
        const char *leaf = leaf_of(a->pairs[i].module);
        bool known = false;
        for (int64_t k = 0; k < i && !known; k++)
            known = strcmp(leaf_of(a->pairs[k].module), leaf) == 0;
        if (!known)
            hold_str_addf(out, "%s%s", out->len == 0 ? "" : ",", leaf);
    }
    return hold_str_check(out, err);
}

static int64_t find_pair(const struct hold_adapter *a, const char *module) {
    for (int64_t i = 0; i < a->n_pairs; i++)
        if (strcmp(a->pairs[i].module, module) == 0)
            return i;
    return -1;
}

/* Lay the adapter over the parts that the model has for its leaves, in the model's order.  A layer
 * that the adapter leaves out keeps B = 0, which is no part at all. */
static int lay_over(struct hold_editor *e, int64_t **pair_of, struct hold_error *err) {
    const struct hold_adapter *a = e->in->adapter;
    struct hold_adapter whole = {0};
    int rc = hold_model_get_lora(e->in->aligned, &whole, err);
    if (rc < 0)
        return rc;
    int64_t found = 0;
    *pair_of = hold_arena_alloc(&e->arena, (size_t)whole.n_pairs * sizeof **pair_of);
    if (*pair_of == NULL)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for an edit");
    for (int64_t k = 0; rc == HOLD_OK && k < whole.n_pairs; k++) {
        struct hold_lora_pair *to = &whole.pairs[k];
        int64_t i = (*pair_of)[k] = find_pair(a, to->module);
        if (i < 0)
            continue;
        const struct hold_lora_pair *from = &a->pairs[i];
        if (from->r != to->r || from->in != to->in || from->out != to->out) {
            rc = hold_fail(err, HOLD_EFORMAT, "module '%s' of the adapter does not fit the model",
                           from->module);
            break;
        }
        memcpy(to->a, from->a, (size_t)(to->r * to->in) * sizeof *to->a);
        memcpy(to->b, from->b, (size_t)(to->out * to->r) * sizeof *to->b);
        found++;
    }
    if (rc == HOLD_OK && found != a->n_pairs)
        rc = hold_fail(err, HOLD_EFORMAT, "%lld modules of the adapter are not in the model",
                       (long long)(a->n_pairs - found));
    if (rc == HOLD_OK)
        rc = hold_model_set_lora(e->in->aligned, &whole, err);
    hold_adapter_release(&whole);
    return rc;
}

static int sweep_with_adapter(struct hold_editor *e, struct sweep *s, const struct hold_rows *rows,
                              struct hold_error *err) {
    struct hold_model *m = e->in->aligned;
    struct hold_str leaves = HOLD_STR_INIT;
    int64_t *pair_of = NULL;
    int rc = leaves_of(e->in->adapter, &leaves, err);
    struct hold_lora_config c = {.r = e->in->adapter->r,
                                 .alpha = e->in->adapter->alpha,
                                 .target_modules = hold_str_text(&leaves)};
    if (rc == HOLD_OK)
        rc = hold_model_add_lora(m, &c, err);
    if (rc == HOLD_OK) {
        rc = lay_over(e, &pair_of, err);
        if (rc == HOLD_OK)
            rc = sweep_rows(e, s, pair_of, rows, err);
        hold_model_drop_lora(m);
    }
    /* The configuration kept the text; the model has no parts that it speaks of any more. */
    m->lora_config.target_modules = NULL;
    hold_str_release(&leaves);
    return rc;
}

static int new_sweep(struct hold_editor *e, const char *set, struct sweep **out,
                     struct hold_error *err) {
    const struct hold_rows *rows = find_rows(e, set);
    if (rows == NULL)
        return hold_fail(err, HOLD_EUSAGE, "needs '%s' data, none was given", set);
    if (e->n_sweeps == MAX_SWEEPS)
        return hold_fail(err, HOLD_EINTERNAL, "more than %d sets in one edit", MAX_SWEEPS);
    struct sweep *s = &e->sweeps[e->n_sweeps];
    int64_t n = hold_edit_pairs(e);
    *s = (struct sweep){.set = set};
    s->a_in = hold_arena_alloc(&e->arena, (size_t)n * sizeof *s->a_in);
    s->b_in = hold_arena_alloc(&e->arena, (size_t)n * sizeof *s->b_in);
    bool full = s->a_in != NULL && s->b_in != NULL;
    for (int64_t i = 0; full && i < n; i++) {
        const struct hold_lora_pair *p = hold_edit_pair(e, i);
        s->a_in[i] = hold_arena_alloc(&e->arena, (size_t)p->in * sizeof **s->a_in);
        s->b_in[i] = hold_arena_alloc(&e->arena, (size_t)p->r * sizeof **s->b_in);
        full = s->a_in[i] != NULL && s->b_in[i] != NULL;
    }
    if (!full)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for an edit");
    int rc = sweep_with_adapter(e, s, rows, err);
    if (rc < 0)
        return rc;
    e->n_sweeps++; /* only a whole sweep is kept */
    *out = s;
    return HOLD_OK;
}

int hold_edit_input_squares(struct hold_editor *e, const char *set, int64_t i, double *a_in,
                            double *b_in, struct hold_error *err) {
    struct sweep *s = NULL;
    for (int k = 0; k < e->n_sweeps; k++)
        if (strcmp(e->sweeps[k].set, set) == 0)
            s = &e->sweeps[k];
    if (s == NULL) {
        int rc = new_sweep(e, set, &s, err);
        if (rc < 0)
            return rc;
    }
    const struct hold_lora_pair *p = hold_edit_pair(e, i);
    double tokens = s->tokens > 0 ? (double)s->tokens : 1.0;
    bool known = true;
    for (int64_t c = 0; c < p->in; c++)
        known = isfinite(a_in[c] = s->a_in[i][c] / tokens) && known;
    for (int64_t c = 0; c < p->r; c++)
        known = isfinite(b_in[c] = s->b_in[i][c] / tokens) && known;
    return known
               ? HOLD_OK
               : hold_fail(err, HOLD_EDATA, "the inputs of module '%s' are not finite", p->module);
}

static bool are_finite(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static int check_finite(const struct hold_adapter *a, const char *when, struct hold_error *err) {
    for (int64_t i = 0; i < a->n_pairs; i++) {
        const struct hold_lora_pair *p = &a->pairs[i];
        if (!are_finite(p->a, p->r * p->in) || !are_finite(p->b, p->out * p->r))
            return hold_fail(err, HOLD_EDATA, "module '%s' of the adapter is not finite %s",
                             p->module, when);
    }
    return HOLD_OK;
}

int hold_edit_run(const struct hold_method_use *repair, const struct hold_edit_input *input,
                  const struct hold_ctx *ctx, struct hold_error *err) {
    struct hold_editor e = {.in = input, .ctx = ctx};
    struct hold_error inner = {0};
    hold_arena_init(&e.arena, (size_t)1 << 20);
    int rc = check_finite(input->adapter, "before the repair", &inner);
    if (rc == HOLD_OK)
        rc = repair->method->edit(&e, repair->state, &inner);
    if (rc == HOLD_OK)
        rc = check_finite(input->adapter, "after the repair", &inner);
    if (rc < 0)
        rc = hold_fail(err, rc, "%s: %s", repair->method->name, inner.text);
    hold_arena_release(&e.arena);
    return rc;
}
