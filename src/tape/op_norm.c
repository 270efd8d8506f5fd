/* op_norm.c: RMS norms: of whole rows, and of the heads of queries and keys. */
#include "tape/ops.h"

struct hold_ptr hold_gain(struct hold_tape *t, const struct hold_param *p) {
    if (hold_ptr_null(p->offset))
        return p->value.data;
    const struct hold_kernels *k = hold_k(t);
    int64_t n = p->value.cols;
    struct hold_tensor sum = hold_tape_matrix(t, 1, n);
    if (t->status < 0)
        return sum.data;
    k->axpby(t->device, 1, n, 1.0f, p->value.data, n, 0.0f, sum.data, n);
    k->axpby(t->device, 1, n, 1.0f, p->offset, n, 1.0f, sum.data, n);
    return sum.data;
}

struct hold_node *hold_rmsnorm(struct hold_tape *t, struct hold_node *x,
                               const struct hold_param *gain, float eps) {
    struct hold_tensor shape = {.rows = x->value.rows, .cols = x->value.cols};
    struct hold_node *y = hold_node_new(t, HOLD_OP_RMSNORM, x, NULL, shape);
    if (y == &t->dead)
        return y;
    y->param = gain;
    y->eps = eps;
    y->wants_grad = t->recording && (x->wants_grad || gain->flat >= 0);
    y->saved[0] = hold_tape_matrix(t, shape.rows, 1).data;
    y->saved[1] = hold_gain(t, gain);
    if (t->status < 0)
        return &t->dead;
    hold_k(t)->rmsnorm_forward(t->device, shape.rows, shape.cols, eps, x->value.data, x->value.ld,
                               y->saved[1], y->value.data, y->value.ld, y->saved[0]);
    return y;
}

void hold_rmsnorm_backward(struct hold_tape *t, struct hold_node *n) {
    struct hold_node *x = n->source[0];
    struct hold_tensor dy = hold_grad_tensor(n->grad);
    bool fresh = true;
    struct hold_grad *g = hold_grad_target(t, x, &fresh);
    struct hold_tensor dx = {0};
    if (g != NULL)
        dx = hold_grad_tensor(g);
    else /* the gain alone is trained: the kernel still wants a place for dx */
        dx = hold_tape_matrix(t, dy.rows, dy.cols);
    if (t->status < 0)
        return;
    hold_k(t)->rmsnorm_backward(t->device, dy.rows, dy.cols, x->value.data, x->value.ld,
                                n->saved[1], n->saved[0], dy.data, dy.ld, !fresh, dx.data, dx.ld,
                                hold_param_grad(t, n->param));
}

/* --- heads --- */

struct head_part {
    int64_t first, heads; /* first column, number of heads */
    const struct hold_param *gain;
    struct hold_ptr factor, rstd; /* the gain as it multiplies; (T, heads) */
};
struct head_plan {
    int64_t head_dim;
    struct head_part part[2]; /* q, k */
};

struct hold_node *hold_headnorm(struct hold_tape *t, struct hold_node *x, int64_t n_heads,
                                int64_t n_kv_heads, const struct hold_param *q_gain,
                                const struct hold_param *k_gain, float eps) {
    const struct hold_kernels *k = hold_k(t);
    int64_t dim = q_gain->value.cols, rows = x->value.rows;
    struct hold_tensor shape = {.rows = rows, .cols = x->value.cols};
    struct hold_node *y = hold_node_new(t, HOLD_OP_HEADNORM, x, NULL, shape);
    struct head_plan *p = y == &t->dead ? NULL : hold_arena_alloc(&t->host, sizeof *p);
    if (p == NULL)
        return hold_tape_dead(t, HOLD_ENOMEMORY, "no memory for a plan of head norms");
    *p = (struct head_plan){dim,
                            {{.first = 0, .heads = n_heads, .gain = q_gain},
                             {.first = n_heads * dim, .heads = n_kv_heads, .gain = k_gain}}};
    y->plan = p;
    y->wants_grad = t->recording && (x->wants_grad || q_gain->flat >= 0 || k_gain->flat >= 0);
    for (int i = 0; i < 2; i++) {
        p->part[i].factor = hold_gain(t, p->part[i].gain);
        p->part[i].rstd = hold_tape_matrix(t, rows, p->part[i].heads).data;
    }
    if (t->status < 0)
        return &t->dead;
    int64_t v = (n_heads + n_kv_heads) * dim;
    k->axpby(t->device, rows, shape.cols - v, 1.0f, hold_at_f32(x->value.data, v), x->value.ld,
             0.0f, hold_at_f32(y->value.data, v), y->value.ld);
    for (int i = 0; i < 2; i++) {
        const struct head_part *h = &p->part[i];
        k->headnorm_forward(t->device, rows, h->heads, dim, eps,
                            hold_at_f32(x->value.data, h->first), x->value.ld, h->factor,
                            hold_at_f32(y->value.data, h->first), y->value.ld, h->rstd);
    }
    return y;
}

void hold_headnorm_backward(struct hold_tape *t, struct hold_node *n) {
    const struct head_plan *p = n->plan;
    struct hold_node *x = n->source[0];
    /* Nobody reads this node's gradient after us: it becomes its source's where it lies. */
    bool fresh;
    struct hold_grad *own = hold_grad_target(t, n, &fresh);
    if (own == NULL)
        return;
    struct hold_tensor dy = hold_grad_tensor(own);
    for (int i = 0; i < 2; i++) {
        const struct head_part *h = &p->part[i];
        struct hold_ptr d = hold_at_f32(dy.data, h->first);
        hold_k(t)->headnorm_backward(t->device, dy.rows, h->heads, p->head_dim,
                                     hold_at_f32(x->value.data, h->first), x->value.ld, h->factor,
                                     h->rstd, d, dy.ld, d, dy.ld, hold_param_grad(t, h->gain));
    }
    hold_grad_share(t, n, x);
}
