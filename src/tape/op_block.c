/* op_block.c: the ops of a decoder block besides its linear layers and the norms: rope, attention,
 * swiglu and geglu. */
#include "tape/ops.h"

struct rope_plan {
    int64_t heads, head_dim;
    struct hold_ptr positions, inv_freq;
};

struct hold_node *hold_rope(struct hold_tape *t, struct hold_node *x, int64_t heads,
                            int64_t head_dim, struct hold_ptr positions, struct hold_ptr inv_freq) {
    struct hold_tensor shape = x->value;
    if (x->keep)
        shape = (struct hold_tensor){.rows = x->value.rows, .cols = x->value.cols};
    struct hold_node *y = hold_node_new(t, HOLD_OP_ROPE, x, NULL, shape);
    struct rope_plan *p = y == &t->dead ? NULL : hold_arena_alloc(&t->host, sizeof *p);
    if (p == NULL)
        return hold_tape_dead(t, HOLD_ENOMEMORY, "no memory for a rope plan");
    *p = (struct rope_plan){heads, head_dim, positions, inv_freq};
    y->plan = p;
    if (x->keep)
        hold_k(t)->axpby(t->device, shape.rows, shape.cols, 1.0f, x->value.data, x->value.ld, 0.0f,
                         y->value.data, y->value.ld);
    hold_k(t)->rope(t->device, y->value.rows, heads, head_dim, positions, inv_freq, false,
                    y->value.data, y->value.ld);
    return y;
}

void hold_rope_backward(struct hold_tape *t, struct hold_node *n) {
    const struct rope_plan *p = n->plan;
    /* Nobody reads this node's gradient after us, so it is rotated where it lies and handed on; one
     * that others share is copied first. */
    bool fresh;
    struct hold_grad *own = hold_grad_target(t, n, &fresh);
    if (own == NULL)
        return;
    struct hold_tensor dy = hold_grad_tensor(own);
    hold_k(t)->rope(t->device, dy.rows, p->heads, p->head_dim, p->positions, p->inv_freq, true,
                    dy.data, dy.ld);
    hold_grad_share(t, n, n->source[0]);
}

struct hold_node *hold_attention(struct hold_tape *t, struct hold_node *qkv,
                                 const struct hold_attention *plan) {
    int64_t q = plan->n_heads * plan->head_dim, kv = plan->n_kv_heads * plan->head_dim;
    if (qkv != &t->dead && (qkv->value.cols != q + 2 * kv || qkv->value.rows != plan->n_queries ||
                            plan->n_keys != plan->n_queries))
        return hold_tape_dead(t, HOLD_EINTERNAL, "attention: the plan does not fit its input");
    struct hold_tensor shape = {.rows = qkv->value.rows, .cols = q};
    struct hold_node *y = hold_node_new(t, HOLD_OP_ATTENTION, qkv, NULL, shape);
    if (y == &t->dead)
        return y;
    struct hold_attention *own = hold_arena_alloc(&t->host, sizeof *own);
    y->saved[0] = hold_tape_matrix(t, shape.rows, plan->n_heads).data;
    if (own == NULL || t->status < 0)
        return hold_tape_dead(t, HOLD_ENOMEMORY, "no memory for an attention plan");
    *own = *plan;
    y->plan = own;
    struct hold_ptr base = qkv->value.data;
    int64_t ld = qkv->value.ld;
    hold_k(t)->attention_forward(t->device, own, base, ld, hold_at_f32(base, q), ld,
                                 hold_at_f32(base, q + kv), ld, y->value.data, y->value.ld,
                                 y->saved[0]);
    return y;
}

void hold_attention_backward(struct hold_tape *t, struct hold_node *n) {
    const struct hold_attention *p = n->plan;
    int64_t q = p->n_heads * p->head_dim, kv = p->n_kv_heads * p->head_dim;
    struct hold_node *x = n->source[0];
    bool fresh;
    struct hold_grad *g = hold_grad_target(t, x, &fresh);
    if (g == NULL)
        return;
    if (!fresh) { /* qkv has one consumer in every model we build */
        hold_tape_dead(t, HOLD_EINTERNAL, "attention: its input has another consumer");
        return;
    }
    struct hold_tensor dy = hold_grad_tensor(n->grad), d = hold_grad_tensor(g);
    struct hold_ptr base = x->value.data;
    int64_t ld = x->value.ld;
    hold_k(t)->attention_backward(t->device, p, base, ld, hold_at_f32(base, q), ld,
                                  hold_at_f32(base, q + kv), ld, n->value.data, n->value.ld,
                                  n->saved[0], dy.data, dy.ld, d.data, d.ld, hold_at_f32(d.data, q),
                                  d.ld, hold_at_f32(d.data, q + kv), d.ld);
}

struct hold_node *hold_attention_cached(struct hold_tape *t, struct hold_node *qkv,
                                        const struct hold_attention *plan, struct hold_tensor k,
                                        struct hold_tensor v, struct hold_ptr slots) {
    int64_t q = plan->n_heads * plan->head_dim, kv = plan->n_kv_heads * plan->head_dim;
    if (t->recording)
        return hold_tape_dead(t, HOLD_EINTERNAL, "attention: a cache has no backward pass");
    struct hold_tensor shape = {.rows = qkv->value.rows, .cols = q};
    struct hold_node *y = hold_node_new(t, HOLD_OP_ATTENTION, qkv, NULL, shape);
    if (y == &t->dead)
        return y;
    struct hold_ptr lse = hold_tape_matrix(t, shape.rows, plan->n_heads).data;
    if (t->status < 0)
        return &t->dead;
    const struct hold_kernels *kernels = hold_k(t);
    struct hold_ptr base = qkv->value.data;
    int64_t ld = qkv->value.ld, n = qkv->value.rows;
    kernels->rows_put(t->device, n, kv, hold_at_f32(base, q), ld, slots, k.data, k.ld);
    kernels->rows_put(t->device, n, kv, hold_at_f32(base, q + kv), ld, slots, v.data, v.ld);
    kernels->attention_forward(t->device, plan, base, ld, k.data, k.ld, v.data, v.ld, y->value.data,
                               y->value.ld, lse);
    return y;
}

/* --- gated products: (T, 2F) -> (T, F) --- */

typedef void gated_forward(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                           int64_t ldx, struct hold_ptr y, int64_t ldy);
typedef void gated_backward(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                            int64_t ldx, struct hold_ptr dy, int64_t lddy, struct hold_ptr dx,
                            int64_t lddx);

static struct hold_node *gated(struct hold_tape *t, struct hold_node *x, enum hold_op_kind op,
                               gated_forward *forward) {
    struct hold_tensor shape = {.rows = x->value.rows, .cols = x->value.cols / 2};
    struct hold_node *y = hold_node_new(t, op, x, NULL, shape);
    if (y == &t->dead)
        return y;
    forward(t->device, shape.rows, shape.cols, x->value.data, x->value.ld, y->value.data,
            y->value.ld);
    return y;
}

static void gated_back(struct hold_tape *t, struct hold_node *n, gated_backward *backward,
                       const char *taken) {
    struct hold_node *x = n->source[0];
    bool fresh;
    struct hold_grad *g = hold_grad_target(t, x, &fresh);
    if (g == NULL)
        return;
    if (!fresh) { /* the gate's input has one consumer in every model we build */
        hold_tape_dead(t, HOLD_EINTERNAL, taken);
        return;
    }
    struct hold_tensor dy = hold_grad_tensor(n->grad), dx = hold_grad_tensor(g);
    backward(t->device, dy.rows, dy.cols, x->value.data, x->value.ld, dy.data, dy.ld, dx.data,
             dx.ld);
}

struct hold_node *hold_swiglu(struct hold_tape *t, struct hold_node *x) {
    return gated(t, x, HOLD_OP_SWIGLU, hold_k(t)->swiglu_forward);
}

void hold_swiglu_backward(struct hold_tape *t, struct hold_node *n) {
    gated_back(t, n, hold_k(t)->swiglu_backward, "swiglu: its input has another consumer");
}

struct hold_node *hold_geglu(struct hold_tape *t, struct hold_node *x) {
    return gated(t, x, HOLD_OP_GEGLU, hold_k(t)->geglu_forward);
}

void hold_geglu_backward(struct hold_tape *t, struct hold_node *n) {
    gated_back(t, n, hold_k(t)->geglu_backward, "geglu: its input has another consumer");
}
