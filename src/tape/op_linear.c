/* op_linear.c: a linear layer with low-rank parts, forward and backward.
 *
 *     u  = drop(x) A'                (T, p r)   all parts at once: their A lie together
 *     y  = x W' + b + scale u_i B_i' (T, out)   part i adds to its own rows of W
 *
 *     du_i = scale dy_i B_i          (T, r)
 *     dB_i += scale dy_i' u_i        (out_i, r)
 *     dA  += du' drop(x)             (p r, in)
 *     dx   = dy W + drop'(du A)      (T, in)
 *     dW  += dy' x                   (out, in)  when W is trained
 *     db  += sum of dy's rows        (1, out)   when b is trained
 */
#include "tape/ops.h"

/* The input of the low-rank parts: x itself, or a copy with dropout applied. */
static struct hold_tensor lora_input(struct hold_tape *t, const struct hold_linear *l,
                                     struct hold_tensor x) {
    if (l->dropout <= 0.0f || !(t->recording || t->rehearsing))
        return x;
    struct hold_tensor d = hold_tape_matrix(t, x.rows, x.cols);
    if (hold_ptr_null(d.data))
        return d;
    const struct hold_kernels *k = hold_k(t);
    k->axpby(t->device, x.rows, x.cols, 1.0f, x.data, x.ld, 0.0f, d.data, d.ld);
    k->dropout(t->device, d.rows, d.cols, l->dropout, t->seed ^ l->dropout_key, t->step,
               t->first_row, d.data, d.ld);
    return d;
}

struct hold_node *hold_linear(struct hold_tape *t, struct hold_node *x,
                              const struct hold_linear *l) {
    const struct hold_kernels *k = hold_k(t);
    int64_t rows = x->value.rows, in = l->w.value.cols, out = l->w.value.rows;
    if (x != &t->dead && x->value.cols != in)
        return hold_tape_dead(t, HOLD_EINTERNAL, "linear: the input has another width than W");
    struct hold_node *y =
        hold_node_new(t, HOLD_OP_LINEAR, x, NULL, (struct hold_tensor){.rows = rows, .cols = out});
    if (y == &t->dead)
        return y;
    y->linear = l;
    bool trains = l->w.flat >= 0 || (l->bias.value.rows > 0 && l->bias.flat >= 0) ||
                  (l->n_lora > 0 && l->lora[0].a.flat >= 0);
    y->wants_grad = t->recording && (x->wants_grad || trains);
    if (l->w.weight != NULL)
        k->weight_forward(t->device, l->w.weight, rows, x->value.data, x->value.ld, 0.0f,
                          y->value.data, y->value.ld);
    else
        k->gemm_live(t->device, l->fine, false, true, rows, out, in, x->value.data, x->value.ld,
                     l->w.value.data, l->w.value.ld, 0.0f, y->value.data, y->value.ld);
    if (l->bias.value.rows > 0)
        k->rows_add(t->device, rows, out, l->bias.value.data, y->value.data, y->value.ld);
    if (l->n_lora == 0)
        return y;
    struct hold_tensor z = lora_input(t, l, x->value);
    struct hold_tensor u = hold_tape_matrix(t, rows, l->n_lora * l->r);
    if (t->status < 0)
        return &t->dead;
    k->gemm(t->device, false, true, rows, u.cols, in, 1.0f, z.data, z.ld, l->lora[0].a.value.data,
            in, 0.0f, u.data, u.ld);
    for (int i = 0; i < l->n_lora; i++) {
        const struct hold_lora *p = &l->lora[i];
        k->gemm(t->device, false, true, rows, p->out_n, l->r, l->scale,
                hold_at_f32(u.data, i * l->r), u.ld, p->b.value.data, l->r, 1.0f,
                hold_at_f32(y->value.data, p->out_first), y->value.ld);
    }
    y->saved_tensor = u;
    y->saved[0] = z.data;
    return y;
}

static void lora_backward(struct hold_tape *t, struct hold_node *n, struct hold_tensor dy,
                          bool *fresh, struct hold_grad *gx) {
    const struct hold_kernels *k = hold_k(t);
    const struct hold_linear *l = n->linear;
    struct hold_tensor u = n->saved_tensor;
    struct hold_tensor du = hold_tape_matrix(t, u.rows, u.cols);
    if (t->status < 0)
        return;
    int64_t in = l->w.value.cols;
    for (int i = 0; i < l->n_lora; i++) {
        const struct hold_lora *p = &l->lora[i];
        struct hold_ptr dyi = hold_at_f32(dy.data, p->out_first);
        k->gemm(t->device, false, false, dy.rows, l->r, p->out_n, l->scale, dyi, dy.ld,
                p->b.value.data, l->r, 0.0f, hold_at_f32(du.data, i * l->r), du.ld);
        struct hold_ptr db = hold_param_grad(t, &p->b);
        if (!hold_ptr_null(db))
            k->gemm(t->device, true, false, p->out_n, l->r, dy.rows, l->scale, dyi, dy.ld,
                    hold_at_f32(u.data, i * l->r), u.ld, 1.0f, db, l->r);
    }
    struct hold_ptr da = hold_param_grad(t, &l->lora[0].a);
    bool dropped = l->dropout > 0.0f;
    int64_t ldz = dropped ? in : n->source[0]->value.ld;
    if (!hold_ptr_null(da))
        k->gemm(t->device, true, false, du.cols, in, du.rows, 1.0f, du.data, du.ld, n->saved[0],
                ldz, 1.0f, da, in);
    if (gx == NULL)
        return;
    struct hold_tensor dx = hold_grad_tensor(gx);
    if (!dropped) {
        k->gemm(t->device, false, false, dx.rows, in, du.cols, 1.0f, du.data, du.ld,
                l->lora[0].a.value.data, in, *fresh ? 0.0f : 1.0f, dx.data, dx.ld);
        *fresh = false;
        return;
    }
    struct hold_tensor dz = hold_tape_matrix(t, dx.rows, in);
    if (t->status < 0)
        return;
    k->gemm(t->device, false, false, dz.rows, in, du.cols, 1.0f, du.data, du.ld,
            l->lora[0].a.value.data, in, 0.0f, dz.data, dz.ld);
    k->dropout(t->device, dz.rows, dz.cols, l->dropout, t->seed ^ l->dropout_key, t->step,
               t->first_row, dz.data, dz.ld);
    k->axpby(t->device, dz.rows, dz.cols, 1.0f, dz.data, dz.ld, *fresh ? 0.0f : 1.0f, dx.data,
             dx.ld);
    *fresh = false;
}

void hold_linear_backward(struct hold_tape *t, struct hold_node *n) {
    const struct hold_kernels *k = hold_k(t);
    const struct hold_linear *l = n->linear;
    struct hold_tensor dy = hold_grad_tensor(n->grad), x = n->source[0]->value;
    int64_t in = l->w.value.cols, out = l->w.value.rows;
    struct hold_ptr dw = hold_param_grad(t, &l->w);
    if (!hold_ptr_null(dw))
        k->gemm_live(t->device, false, true, false, out, in, dy.rows, dy.data, dy.ld, x.data, x.ld,
                     1.0f, dw, in);
    struct hold_ptr db = {0};
    if (l->bias.value.rows > 0)
        db = hold_param_grad(t, &l->bias);
    if (!hold_ptr_null(db))
        k->rows_sum(t->device, dy.rows, out, dy.data, dy.ld, db);
    bool fresh = true;
    struct hold_grad *gx = hold_grad_target(t, n->source[0], &fresh);
    if (l->n_lora > 0)
        lora_backward(t, n, dy, &fresh, gx);
    if (gx == NULL || t->status < 0)
        return;
    struct hold_tensor dx = hold_grad_tensor(gx);
    float beta = fresh ? 0.0f : 1.0f;
    if (l->w.weight != NULL)
        k->weight_backward(t->device, l->w.weight, dy.rows, dy.data, dy.ld, beta, dx.data, dx.ld);
    else
        k->gemm_live(t->device, false, false, false, dy.rows, in, out, dy.data, dy.ld,
                     l->w.value.data, l->w.value.ld, beta, dx.data, dx.ld);
}
