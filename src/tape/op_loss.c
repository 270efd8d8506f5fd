/* op_loss.c: losses over hidden rows, block by block: the logits of all rows never exist at once.
 *
 * Each loss computes its value and the gradient of its source in one go (its coefficient is known
 * when it is recorded), keeps that gradient, and its backward row adds it to the source.
 */
#include "tape/ops.h"

enum { BLOCK_ROWS = 256 }; /* of logits: 256 x 49152 f32 are 50 MB */

/* The loss's node: its saved tensor is d loss / d source, made here; its value is empty. */
static struct hold_node *loss_node(struct hold_tape *t, struct hold_node *source) {
    struct hold_tensor none = {.data = source->value.data, .rows = 0, .cols = 0};
    struct hold_node *n = hold_node_new(t, HOLD_OP_LOSS, source, NULL, none);
    if (n == &t->dead)
        return NULL;
    if (source->wants_grad)
        n->saved_tensor = hold_tape_matrix(t, source->value.rows, source->value.cols);
    return t->status < 0 ? NULL : n;
}

void hold_loss_backward(struct hold_tape *t, struct hold_node *n) {
    bool fresh;
    struct hold_grad *g = hold_grad_target(t, n->source[0], &fresh);
    if (g == NULL)
        return;
    struct hold_tensor dx = hold_grad_tensor(g), s = n->saved_tensor;
    hold_k(t)->axpby(t->device, dx.rows, dx.cols, 1.0f, s.data, s.ld, fresh ? 0.0f : 1.0f, dx.data,
                     dx.ld);
}

static void head_forward(struct hold_tape *t, const struct hold_param *head, struct hold_tensor h,
                         struct hold_tensor logits) {
    const struct hold_kernels *k = hold_k(t);
    if (head->weight != NULL)
        k->weight_forward(t->device, head->weight, h.rows, h.data, h.ld, 0.0f, logits.data,
                          logits.ld);
    else
        k->gemm_live(t->device, false, false, true, h.rows, head->value.rows, head->value.cols,
                     h.data, h.ld, head->value.data, head->value.ld, 0.0f, logits.data, logits.ld);
}

/* dh = dlogits head;  dhead += dlogits' h. */
static void head_backward(struct hold_tape *t, const struct hold_param *head, struct hold_tensor h,
                          struct hold_tensor dlogits, struct hold_tensor dh) {
    const struct hold_kernels *k = hold_k(t);
    int64_t vocab = head->value.rows, cols = head->value.cols;
    if (!hold_ptr_null(dh.data)) {
        if (head->weight != NULL)
            k->weight_backward(t->device, head->weight, h.rows, dlogits.data, dlogits.ld, 0.0f,
                               dh.data, dh.ld);
        else
            k->gemm_live(t->device, false, false, false, h.rows, cols, vocab, dlogits.data,
                         dlogits.ld, head->value.data, head->value.ld, 0.0f, dh.data, dh.ld);
    }
    struct hold_ptr d = hold_param_grad(t, head);
    if (!hold_ptr_null(d))
        k->gemm_live(t->device, false, true, false, vocab, cols, h.rows, dlogits.data, dlogits.ld,
                     h.data, h.ld, 1.0f, d, cols);
}

static struct hold_tensor rows_or_none(struct hold_tensor t, int64_t first, int64_t n) {
    return hold_ptr_null(t.data) ? t : hold_tensor_rows(t, first, n);
}

/* Log-probabilities alone: of a prepared head's products nothing else is kept. */
static void measure_labels(struct hold_tape *t, struct hold_tensor h, const struct hold_param *head,
                           const struct hold_loss_labels *labels, double *logp) {
    const struct hold_kernels *k = hold_k(t);
    int64_t n = labels->n_labels, ints = (int64_t)sizeof(int32_t);
    struct hold_space_mark mark = hold_space_mark(t->space);
    struct hold_ptr out = hold_tape_matrix(t, n, 2).data; /* doubles */
    struct hold_labels all = {
        .first = hold_tape_upload(t, labels->first, (labels->n_rows + 1) * ints),
        .target = hold_tape_upload(t, labels->target, n * ints),
    };
    if (t->status == HOLD_OK) {
        k->weight_logp(t->device, head->weight, labels->n_rows, h.data, h.ld, &all, out);
        k->read(t->device, logp, out, n * (int64_t)sizeof(double));
    }
    hold_space_rewind(t->space, mark);
}

void hold_loss_cross_entropy(struct hold_tape *t, struct hold_node *hidden,
                             const struct hold_param *head, const struct hold_loss_labels *labels,
                             float coef, double *logp, double *sum) {
    if (hidden == &t->dead || labels->n_rows == 0 || t->status < 0)
        return;
    const struct hold_kernels *k = hold_k(t);
    struct hold_node *n = loss_node(t, hidden);
    if (n == NULL)
        return;
    double *out = logp;
    if (out == NULL)
        out = hold_arena_alloc(&t->host, (size_t)(labels->n_labels + 1) * sizeof *out);
    bool grad = t->recording && (hidden->wants_grad || head->flat >= 0);
    if (out != NULL && !grad && head->weight != NULL) {
        measure_labels(t, hidden->value, head, labels, out);
        for (int64_t e = 0; t->status == HOLD_OK && e < labels->n_labels; e++)
            *sum -= (double)labels->weight[e] * out[e];
        return;
    }
    int64_t vocab = head->value.rows;
    int64_t block = labels->n_rows < BLOCK_ROWS ? labels->n_rows : BLOCK_ROWS;
    struct hold_space_mark mark = hold_space_mark(t->space);
    struct hold_tensor logits = hold_tape_matrix(t, block, vocab);
    struct hold_ptr logp_dev = hold_tape_matrix(t, labels->n_labels, 2).data; /* doubles */
    struct hold_ptr targets =
        hold_tape_upload(t, labels->target, labels->n_labels * (int64_t)sizeof(int32_t));
    struct hold_ptr weights =
        hold_tape_upload(t, labels->weight, labels->n_labels * (int64_t)sizeof(float));
    int32_t *first = hold_arena_alloc(&t->host, (size_t)(block + 1) * sizeof *first);
    struct hold_ptr first_dev = hold_tape_matrix(t, block + 1, 1).data;
    if (first == NULL || out == NULL || t->status < 0) {
        hold_tape_dead(t, HOLD_ENOMEMORY, "no memory for a loss");
        return;
    }
    for (int64_t row = 0; row < labels->n_rows; row += block) {
        int64_t m = labels->n_rows - row < block ? labels->n_rows - row : block;
        int32_t base = labels->first[row];
        for (int64_t i = 0; i <= m; i++)
            first[i] = labels->first[row + i] - base;
        k->write(t->device, first_dev, first, (m + 1) * (int64_t)sizeof *first);
        struct hold_labels part = {first_dev, hold_at(targets, base * (int64_t)sizeof(int32_t)),
                                   hold_at(weights, base * (int64_t)sizeof(float))};
        struct hold_tensor h = hold_tensor_rows(hidden->value, row, m);
        struct hold_tensor z = hold_tensor_rows(logits, 0, m);
        head_forward(t, head, h, z);
        k->cross_entropy(t->device, m, vocab, z.data, z.ld, &part, coef, grad,
                         hold_at(logp_dev, base * (int64_t)sizeof(double)));
        if (grad)
            head_backward(t, head, h, z, rows_or_none(n->saved_tensor, row, m));
    }
    k->read(t->device, out, logp_dev, labels->n_labels * (int64_t)sizeof(double));
    for (int64_t e = 0; e < labels->n_labels; e++)
        *sum -= (double)labels->weight[e] * out[e];
    hold_space_rewind(t->space, mark);
}

void hold_loss_kl(struct hold_tape *t, struct hold_node *hidden, const struct hold_param *head,
                  struct hold_tensor ref_hidden, const struct hold_param *ref_head,
                  const float *weight, bool reverse, float coef, double *sum) {
    if (hidden == &t->dead || hidden->value.rows == 0 || t->status < 0)
        return;
    const struct hold_kernels *k = hold_k(t);
    int64_t rows = hidden->value.rows, vocab = head->value.rows;
    if (ref_hidden.rows != rows || ref_head->value.rows != vocab) {
        hold_tape_dead(t, HOLD_EINTERNAL, "kl: the reference has another shape");
        return;
    }
    struct hold_node *n = loss_node(t, hidden);
    if (n == NULL)
        return;
    int64_t block = rows < BLOCK_ROWS ? rows : BLOCK_ROWS;
    struct hold_space_mark mark = hold_space_mark(t->space);
    struct hold_tensor p = hold_tape_matrix(t, block, vocab),
                       ref = hold_tape_matrix(t, block, vocab);
    struct hold_ptr kl_dev = hold_tape_matrix(t, rows, 2).data; /* doubles */
    struct hold_ptr w = hold_tape_upload(t, weight, rows * (int64_t)sizeof(float));
    double *out = hold_arena_alloc(&t->host, (size_t)rows * sizeof *out);
    if (out == NULL || t->status < 0) {
        hold_tape_dead(t, HOLD_ENOMEMORY, "no memory for a loss");
        return;
    }
    bool grad = t->recording && (hidden->wants_grad || head->flat >= 0);
    for (int64_t row = 0; row < rows; row += block) {
        int64_t m = rows - row < block ? rows - row : block;
        struct hold_tensor h = hold_tensor_rows(hidden->value, row, m);
        struct hold_tensor z = hold_tensor_rows(p, 0, m), zr = hold_tensor_rows(ref, 0, m);
        head_forward(t, head, h, z);
        head_forward(t, ref_head, hold_tensor_rows(ref_hidden, row, m), zr);
        k->kl(t->device, m, vocab, z.data, z.ld, zr.data, zr.ld,
              hold_at(w, row * (int64_t)sizeof(float)), coef, reverse, grad,
              hold_at(kl_dev, row * (int64_t)sizeof(double)));
        if (grad)
            head_backward(t, head, h, z, rows_or_none(n->saved_tensor, row, m));
    }
    k->read(t->device, out, kl_dev, rows * (int64_t)sizeof(double));
    for (int64_t i = 0; i < rows; i++)
        *sum += (double)weight[i] * out[i];
    hold_space_rewind(t->space, mark);
}

void hold_loss_projection(struct hold_tape *t, struct hold_node *x, struct hold_tensor direction,
                          const float *weight, const double *ref, float coef, double *dots,
                          double *sum) {
    if (x == &t->dead || x->value.rows == 0 || t->status < 0)
        return;
    const struct hold_kernels *k = hold_k(t);
    int64_t rows = x->value.rows, cols = x->value.cols;
    struct hold_node *n = loss_node(t, x);
    if (n == NULL)
        return;
    struct hold_space_mark mark = hold_space_mark(t->space);
    struct hold_ptr dots_dev = hold_tape_matrix(t, rows, 2).data; /* doubles */
    double *out = hold_arena_alloc(&t->host, (size_t)rows * sizeof *out);
    float *slope = hold_arena_alloc(&t->host, (size_t)rows * sizeof *slope);
    if (out == NULL || slope == NULL || t->status < 0) {
        hold_tape_dead(t, HOLD_ENOMEMORY, "no memory for a loss");
        return;
    }
    /* ld 0: the same direction for every row. */
    k->row_dots(t->device, rows, cols, x->value.data, x->value.ld, direction.data, 0, dots_dev);
    k->read(t->device, out, dots_dev, rows * (int64_t)sizeof(double));
    for (int64_t i = 0; i < rows; i++) {
        double gap = out[i] - ref[i];
        *sum += (double)weight[i] * gap * gap;
        slope[i] = (float)(2.0 * (double)coef * (double)weight[i] * gap);
        if (dots != NULL)
            dots[i] = out[i];
    }
    if (!hold_ptr_null(n->saved_tensor.data)) { /* dx_i = slope_i direction: an outer product */
        struct hold_ptr s = hold_tape_upload(t, slope, rows * (int64_t)sizeof(float));
        if (t->status == HOLD_OK)
            k->gemm(t->device, false, false, rows, cols, 1, 1.0f, s, 1, direction.data, cols, 0.0f,
                    n->saved_tensor.data, n->saved_tensor.ld);
    }
    hold_space_rewind(t->space, mark);
}
