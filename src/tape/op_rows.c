/* op_rows.c: ops that pick, add, shift and scale rows: embed, gather, add, shift, scale. */
#include "tape/ops.h"

struct hold_node *hold_embed(struct hold_tape *t, const struct hold_param *table,
                             struct hold_ptr ids, int64_t n) {
    struct hold_tensor shape = {.rows = n, .cols = table->value.cols};
    struct hold_node *y = hold_node_new(t, HOLD_OP_EMBED, NULL, NULL, shape);
    if (y == &t->dead)
        return y;
    y->param = table;
    y->saved[0] = ids;
    y->wants_grad = t->recording && table->flat >= 0;
    hold_k(t)->rows_gather(t->device, n, y->value.cols, table->value.data, table->value.ld, ids,
                           y->value.data, y->value.ld);
    return y;
}

void hold_embed_backward(struct hold_tape *t, struct hold_node *n) {
    struct hold_ptr d = hold_param_grad(t, n->param);
    if (hold_ptr_null(d))
        return;
    struct hold_tensor dy = hold_grad_tensor(n->grad);
    hold_k(t)->rows_scatter(t->device, dy.rows, dy.cols, dy.data, dy.ld, n->saved[0], d,
                            n->param->value.cols);
}

struct hold_node *hold_gather(struct hold_tape *t, struct hold_node *x, struct hold_ptr ids,
                              int64_t n) {
    struct hold_tensor shape = {.rows = n, .cols = x->value.cols};
    struct hold_node *y = hold_node_new(t, HOLD_OP_GATHER, x, NULL, shape);
    if (y == &t->dead)
        return y;
    y->saved[0] = ids;
    hold_k(t)->rows_gather(t->device, n, y->value.cols, x->value.data, x->value.ld, ids,
                           y->value.data, y->value.ld);
    return y;
}

void hold_gather_backward(struct hold_tape *t, struct hold_node *n) {
    bool fresh;
    struct hold_grad *g = hold_grad_target(t, n->source[0], &fresh);
    if (g == NULL)
        return;
    struct hold_tensor dx = hold_grad_tensor(g), dy = hold_grad_tensor(n->grad);
    if (fresh)
        hold_k(t)->zero(t->device, dx.data, dx.rows * dx.cols * 4);
    hold_k(t)->rows_scatter(t->device, dy.rows, dy.cols, dy.data, dy.ld, n->saved[0], dx.data,
                            dx.ld);
}

struct hold_node *hold_add(struct hold_tape *t, struct hold_node *x, struct hold_node *y) {
    if (x->value.rows != y->value.rows || x->value.cols != y->value.cols)
        return hold_tape_dead(t, HOLD_EINTERNAL, "add: shapes differ");
    /* The output of a linear layer or a norm is nobody's but ours: the sum takes its place. */
    bool takes = (y->op == HOLD_OP_LINEAR || y->op == HOLD_OP_RMSNORM) && !y->keep;
    struct hold_tensor sum = {.rows = x->value.rows, .cols = x->value.cols};
    if (takes)
        sum = y->value;
    struct hold_node *z = hold_node_new(t, HOLD_OP_ADD, x, y, sum);
    if (z == &t->dead)
        return z;
    const struct hold_kernels *k = hold_k(t);
    struct hold_node *added = takes ? x : y;
    if (!takes)
        k->axpby(t->device, sum.rows, sum.cols, 1.0f, x->value.data, x->value.ld, 0.0f,
                 z->value.data, z->value.ld);
    k->axpby(t->device, sum.rows, sum.cols, 1.0f, added->value.data, added->value.ld, 1.0f,
             z->value.data, z->value.ld);
    return z;
}

void hold_add_backward(struct hold_tape *t, struct hold_node *n) {
    hold_grad_share(t, n, n->source[0]);
    hold_grad_share(t, n, n->source[1]);
}

struct hold_node *hold_shift(struct hold_tape *t, struct hold_node *x, float c,
                             struct hold_tensor constant) {
    if (x->value.rows != constant.rows || x->value.cols != constant.cols)
        return hold_tape_dead(t, HOLD_EINTERNAL, "shift: shapes differ");
    struct hold_tensor shape = {.rows = x->value.rows, .cols = x->value.cols};
    struct hold_node *z = hold_node_new(t, HOLD_OP_SHIFT, x, NULL, shape);
    if (z == &t->dead)
        return z;
    const struct hold_kernels *k = hold_k(t);
    k->axpby(t->device, shape.rows, shape.cols, 1.0f, x->value.data, x->value.ld, 0.0f,
             z->value.data, z->value.ld);
    k->axpby(t->device, shape.rows, shape.cols, c, constant.data, constant.ld, 1.0f, z->value.data,
             z->value.ld);
    return z;
}

void hold_shift_backward(struct hold_tape *t, struct hold_node *n) {
    hold_grad_share(t, n, n->source[0]);
}

struct hold_node *hold_scale(struct hold_tape *t, struct hold_node *x, float c) {
    struct hold_tensor shape = {.rows = x->value.rows, .cols = x->value.cols};
    struct hold_node *y = hold_node_new(t, HOLD_OP_SCALE, x, NULL, shape);
    if (y == &t->dead)
        return y;
    y->eps = c;
    hold_k(t)->axpby(t->device, shape.rows, shape.cols, c, x->value.data, x->value.ld, 0.0f,
                     y->value.data, y->value.ld);
    return y;
}

void hold_scale_backward(struct hold_tape *t, struct hold_node *n) {
    bool fresh;
    struct hold_grad *g = hold_grad_target(t, n->source[0], &fresh);
    if (g == NULL)
        return;
    struct hold_tensor dx = hold_grad_tensor(g), dy = hold_grad_tensor(n->grad);
    hold_k(t)->axpby(t->device, dx.rows, dx.cols, n->eps, dy.data, dy.ld, fresh ? 0.0f : 1.0f,
                     dx.data, dx.ld);
}
