/* guarded.c: a CPU device whose memory has no access outside kernels: whoever above the seam
 * touches element data dies at once.  Every wrapper opens all blocks, calls, closes. */
#include "device/cpu/cpu.h"

/* One wrapper; `params` and `args` are bracketed lists.  P(x) is a pointer into device memory. */
#define GUARD(name, params, args)             \
    static void guarded_##name params {       \
        hold_cpu_protect(hold_cpu(d), true);  \
        hold_cpu(d)->plain.name args;         \
        hold_cpu_protect(hold_cpu(d), false); \
    }
#define GUARD_VALUE(type, name, params, args)      \
    static type guarded_##name params {            \
        hold_cpu_protect(hold_cpu(d), true);       \
        type value = hold_cpu(d)->plain.name args; \
        hold_cpu_protect(hold_cpu(d), false);      \
        return value;                              \
    }
#define D struct hold_device *d
#define P(x) struct hold_ptr x
#define M(x) struct hold_ptr x, int64_t ld##x /* a matrix */

GUARD(write, (D, P(dst), const void *src, int64_t bytes), (d, dst, src, bytes))
GUARD(read, (D, void *dst, P(src), int64_t bytes), (d, dst, src, bytes))
GUARD(copy, (D, P(dst), P(src), int64_t bytes), (d, dst, src, bytes))
GUARD(zero, (D, P(dst), int64_t bytes), (d, dst, bytes))
GUARD(gemm,
      (D, bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, M(a), M(b), float beta,
       M(c)),
      (d, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc))
GUARD(gemm_live,
      (D, bool fine, bool ta, bool tb, int64_t m, int64_t n, int64_t k, M(a), M(b), float beta,
       M(c)),
      (d, fine, ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc))
GUARD_VALUE(int, weight_refine, (D, struct hold_weight *handle, P(w), struct hold_error *err),
            (d, handle, w, err))
GUARD_VALUE(int, weight_new,
            (D, P(w), int64_t out, int64_t in, struct hold_weight **handle, struct hold_error *err),
            (d, w, out, in, handle, err))
GUARD(weight_forward, (D, const struct hold_weight *w, int64_t m, M(x), float beta, M(y)),
      (d, w, m, x, ldx, beta, y, ldy))
GUARD(weight_backward, (D, const struct hold_weight *w, int64_t m, M(dy), float beta, M(dx)),
      (d, w, m, dy, lddy, beta, dx, lddx))
GUARD(rmsnorm_forward, (D, int64_t rows, int64_t cols, float eps, M(x), P(gain), M(y), P(rstd)),
      (d, rows, cols, eps, x, ldx, gain, y, ldy, rstd))
GUARD(rmsnorm_backward,
      (D, int64_t rows, int64_t cols, M(x), P(gain), P(rstd), M(dy), bool add, M(dx), P(dgain)),
      (d, rows, cols, x, ldx, gain, rstd, dy, lddy, add, dx, lddx, dgain))
GUARD(headnorm_forward,
      (D, int64_t rows, int64_t heads, int64_t head_dim, float eps, M(x), P(gain), M(y), P(rstd)),
      (d, rows, heads, head_dim, eps, x, ldx, gain, y, ldy, rstd))
GUARD(headnorm_backward,
      (D, int64_t rows, int64_t heads, int64_t head_dim, M(x), P(gain), P(rstd), M(dy), M(dx),
       P(dgain)),
      (d, rows, heads, head_dim, x, ldx, gain, rstd, dy, lddy, dx, lddx, dgain))
GUARD(rows_add, (D, int64_t rows, int64_t cols, P(v), M(x)), (d, rows, cols, v, x, ldx))
GUARD(rows_sum, (D, int64_t rows, int64_t cols, M(x), P(sum)), (d, rows, cols, x, ldx, sum))
GUARD(rope,
      (D, int64_t rows, int64_t heads, int64_t head_dim, P(positions), P(inv_freq), bool inverse,
       M(x)),
      (d, rows, heads, head_dim, positions, inv_freq, inverse, x, ldx))
GUARD(attention_forward,
      (D, const struct hold_attention *a, M(q), M(k), M(v), P(out), int64_t ldo, P(lse)),
      (d, a, q, ldq, k, ldk, v, ldv, out, ldo, lse))
GUARD(attention_backward,
      (D, const struct hold_attention *a, M(q), M(k), M(v), P(out), int64_t ldo, P(lse), P(dout),
       int64_t lddo, M(dq), M(dk), M(dv)),
      (d, a, q, ldq, k, ldk, v, ldv, out, ldo, lse, dout, lddo, dq, lddq, dk, lddk, dv, lddv))
GUARD(swiglu_forward, (D, int64_t rows, int64_t cols, M(x), M(y)), (d, rows, cols, x, ldx, y, ldy))
GUARD(swiglu_backward, (D, int64_t rows, int64_t cols, M(x), M(dy), M(dx)),
      (d, rows, cols, x, ldx, dy, lddy, dx, lddx))
GUARD(geglu_forward, (D, int64_t rows, int64_t cols, M(x), M(y)), (d, rows, cols, x, ldx, y, ldy))
GUARD(geglu_backward, (D, int64_t rows, int64_t cols, M(x), M(dy), M(dx)),
      (d, rows, cols, x, ldx, dy, lddy, dx, lddx))
GUARD(rows_gather, (D, int64_t n, int64_t cols, P(table), int64_t ldt, P(ids), P(out), int64_t ldo),
      (d, n, cols, table, ldt, ids, out, ldo))
GUARD(rows_put, (D, int64_t n, int64_t cols, M(x), P(ids), P(table), int64_t ldt),
      (d, n, cols, x, ldx, ids, table, ldt))
GUARD(rows_scatter, (D, int64_t n, int64_t cols, M(x), P(ids), P(table), int64_t ldt),
      (d, n, cols, x, ldx, ids, table, ldt))
GUARD(axpby, (D, int64_t rows, int64_t cols, float a, M(x), float b, M(y)),
      (d, rows, cols, a, x, ldx, b, y, ldy))
GUARD(multiply, (D, int64_t rows, int64_t cols, M(x), M(y)), (d, rows, cols, x, ldx, y, ldy))
GUARD(row_dots, (D, int64_t rows, int64_t cols, M(x), M(y), P(out)),
      (d, rows, cols, x, ldx, y, ldy, out))
GUARD(rows_scale, (D, int64_t rows, int64_t cols, P(s), M(x)), (d, rows, cols, s, x, ldx))
GUARD(dropout,
      (D, int64_t rows, int64_t cols, float p, uint64_t seed, uint64_t step, int64_t first_row,
       M(x)),
      (d, rows, cols, p, seed, step, first_row, x, ldx))
GUARD_VALUE(double, dot, (D, int64_t n, P(x), P(y)), (d, n, x, y))
GUARD_VALUE(int64_t, count_nonfinite, (D, int64_t n, P(x)), (d, n, x))
GUARD(cross_entropy,
      (D, int64_t rows, int64_t vocab, P(logits), int64_t ld, const struct hold_labels *labels,
       float coef, bool grad, P(logp)),
      (d, rows, vocab, logits, ld, labels, coef, grad, logp))
GUARD(kl,
      (D, int64_t rows, int64_t vocab, P(logits), int64_t ld, P(ref_logits), int64_t ldr, P(weight),
       float coef, bool reverse, bool grad, P(kl)),
      (d, rows, vocab, logits, ld, ref_logits, ldr, weight, coef, reverse, grad, kl))
GUARD(argmax, (D, int64_t rows, int64_t vocab, P(logits), int64_t ld, P(id), P(gap)),
      (d, rows, vocab, logits, ld, id, gap))
GUARD(adamw,
      (D, int64_t n, P(w), P(g), P(m), P(v), double lr, double beta1, double beta2, double eps,
       double weight_decay, double c1, double c2),
      (d, n, w, g, m, v, lr, beta1, beta2, eps, weight_decay, c1, c2))
GUARD(sgd, (D, int64_t n, P(w), P(g), P(buf), double lr, double momentum, double weight_decay),
      (d, n, w, g, buf, lr, momentum, weight_decay))

/* alloc, release, sync and weight_free touch no element. */
void hold_cpu_guard(struct hold_cpu *cpu) {
    cpu->plain = cpu->kernels;
    cpu->kernels = (struct hold_kernels){
        .alloc = cpu->plain.alloc,
        .release = cpu->plain.release,
        .write = guarded_write,
        .read = guarded_read,
        .copy = guarded_copy,
        .zero = guarded_zero,
        .sync = cpu->plain.sync,
        .gemm = guarded_gemm,
        .gemm_live = guarded_gemm_live,
        .weight_new = guarded_weight_new,
        .weight_free = cpu->plain.weight_free,
        .weight_refine = guarded_weight_refine,
        .weight_forward = guarded_weight_forward,
        .weight_backward = guarded_weight_backward,
        .rmsnorm_forward = guarded_rmsnorm_forward,
        .rmsnorm_backward = guarded_rmsnorm_backward,
        .headnorm_forward = guarded_headnorm_forward,
        .headnorm_backward = guarded_headnorm_backward,
        .rows_add = guarded_rows_add,
        .rows_sum = guarded_rows_sum,
        .rope = guarded_rope,
        .attention_forward = guarded_attention_forward,
        .attention_backward = guarded_attention_backward,
        .swiglu_forward = guarded_swiglu_forward,
        .swiglu_backward = guarded_swiglu_backward,
        .geglu_forward = guarded_geglu_forward,
        .geglu_backward = guarded_geglu_backward,
        .rows_gather = guarded_rows_gather,
        .rows_put = guarded_rows_put,
        .rows_scatter = guarded_rows_scatter,
        .axpby = guarded_axpby,
        .multiply = guarded_multiply,
        .row_dots = guarded_row_dots,
        .rows_scale = guarded_rows_scale,
        .dropout = guarded_dropout,
        .dot = guarded_dot,
        .count_nonfinite = guarded_count_nonfinite,
        .cross_entropy = guarded_cross_entropy,
        .kl = guarded_kl,
        .argmax = guarded_argmax,
        .adamw = guarded_adamw,
        .sgd = guarded_sgd,
    };
}
