/* wrap.h: every kernel that touches elements, as a list: for devices that wrap another's.
 *
 *     HOLD_KERNEL_LIST(VOID, VALUE)
 *
 * expands to VOID(name, (parameters), (arguments)) for kernels that return nothing and to
 * VALUE(type, name, (parameters), (arguments)) for the others.  Without alloc, release, sync and
 * weight_free, which touch no element. */
#ifndef HOLD_DEVICE_WRAP_H
#define HOLD_DEVICE_WRAP_H

#include "device/device.h"

#define HOLD_D struct hold_device *d
#define HOLD_P(x) struct hold_ptr x
#define HOLD_M(x) struct hold_ptr x, int64_t ld##x /* a matrix */

#define HOLD_KERNEL_LIST(VOID, VALUE)                                                              \
    VOID(write, (HOLD_D, HOLD_P(dst), const void *src, int64_t bytes), (d, dst, src, bytes))       \
    VOID(read, (HOLD_D, void *dst, HOLD_P(src), int64_t bytes), (d, dst, src, bytes))              \
    VOID(copy, (HOLD_D, HOLD_P(dst), HOLD_P(src), int64_t bytes), (d, dst, src, bytes))            \
    VOID(zero, (HOLD_D, HOLD_P(dst), int64_t bytes), (d, dst, bytes))                              \
    VOID(gemm,                                                                                     \
         (HOLD_D, bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, HOLD_M(a),       \
          HOLD_M(b), float beta, HOLD_M(c)),                                                       \
         (d, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc))                                \
    VOID(gemm_live,                                                                                \
         (HOLD_D, bool fine, bool ta, bool tb, int64_t m, int64_t n, int64_t k, HOLD_M(a),         \
          HOLD_M(b), float beta, HOLD_M(c)),                                                       \
         (d, fine, ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc))                                 \
    VALUE(int, weight_refine,                                                                      \
          (HOLD_D, struct hold_weight * handle, HOLD_P(w), struct hold_error * err),               \
          (d, handle, w, err))                                                                     \
    VALUE(int, weight_new,                                                                         \
          (HOLD_D, HOLD_P(w), int64_t out, int64_t in, struct hold_weight * *handle,               \
           struct hold_error * err),                                                               \
          (d, w, out, in, handle, err))                                                            \
    VALUE(int, weight_levels,                                                                      \
          (HOLD_D, struct hold_weight * w, const struct hold_levels *levels, bool *taken,          \
           struct hold_error *err),                                                                \
          (d, w, levels, taken, err))                                                              \
    VOID(weight_forward,                                                                           \
         (HOLD_D, const struct hold_weight *w, int64_t m, HOLD_M(x), float beta, HOLD_M(y)),       \
         (d, w, m, x, ldx, beta, y, ldy))                                                          \
    VOID(weight_argmax,                                                                            \
         (HOLD_D, const struct hold_weight *w, int64_t m, HOLD_M(x), HOLD_P(id), HOLD_P(gap)),     \
         (d, w, m, x, ldx, id, gap))                                                               \
    VOID(weight_logp,                                                                              \
         (HOLD_D, const struct hold_weight *w, int64_t m, HOLD_M(x),                               \
          const struct hold_labels *labels, HOLD_P(logp)),                                         \
         (d, w, m, x, ldx, labels, logp))                                                          \
    VOID(weight_backward,                                                                          \
         (HOLD_D, const struct hold_weight *w, int64_t m, HOLD_M(dy), float beta, HOLD_M(dx)),     \
         (d, w, m, dy, lddy, beta, dx, lddx))                                                      \
    VOID(rmsnorm_forward,                                                                          \
         (HOLD_D, int64_t rows, int64_t cols, float eps, HOLD_M(x), HOLD_P(gain), HOLD_M(y),       \
          HOLD_P(rstd)),                                                                           \
         (d, rows, cols, eps, x, ldx, gain, y, ldy, rstd))                                         \
    VOID(rmsnorm_backward,                                                                         \
         (HOLD_D, int64_t rows, int64_t cols, HOLD_M(x), HOLD_P(gain), HOLD_P(rstd), HOLD_M(dy),   \
          bool add, HOLD_M(dx), HOLD_P(dgain)),                                                    \
         (d, rows, cols, x, ldx, gain, rstd, dy, lddy, add, dx, lddx, dgain))                      \
    VOID(headnorm_forward,                                                                         \
         (HOLD_D, int64_t rows, int64_t heads, int64_t head_dim, float eps, HOLD_M(x),             \
          HOLD_P(gain), HOLD_M(y), HOLD_P(rstd)),                                                  \
         (d, rows, heads, head_dim, eps, x, ldx, gain, y, ldy, rstd))                              \
    VOID(headnorm_backward,                                                                        \
         (HOLD_D, int64_t rows, int64_t heads, int64_t head_dim, HOLD_M(x), HOLD_P(gain),          \
          HOLD_P(rstd), HOLD_M(dy), HOLD_M(dx), HOLD_P(dgain)),                                    \
         (d, rows, heads, head_dim, x, ldx, gain, rstd, dy, lddy, dx, lddx, dgain))                \
    VOID(rows_add, (HOLD_D, int64_t rows, int64_t cols, HOLD_P(v), HOLD_M(x)),                     \
         (d, rows, cols, v, x, ldx))                                                               \
    VOID(rows_sum, (HOLD_D, int64_t rows, int64_t cols, HOLD_M(x), HOLD_P(sum)),                   \
         (d, rows, cols, x, ldx, sum))                                                             \
    VOID(rope,                                                                                     \
         (HOLD_D, int64_t rows, int64_t heads, int64_t head_dim, HOLD_P(positions),                \
          HOLD_P(inv_freq), bool inverse, HOLD_M(x)),                                              \
         (d, rows, heads, head_dim, positions, inv_freq, inverse, x, ldx))                         \
    VOID(attention_forward,                                                                        \
         (HOLD_D, const struct hold_attention *a, HOLD_M(q), HOLD_M(k), HOLD_M(v), HOLD_P(out),    \
          int64_t ldo, HOLD_P(lse)),                                                               \
         (d, a, q, ldq, k, ldk, v, ldv, out, ldo, lse))                                            \
    VOID(attention_backward,                                                                       \
         (HOLD_D, const struct hold_attention *a, HOLD_M(q), HOLD_M(k), HOLD_M(v), HOLD_P(out),    \
          int64_t ldo, HOLD_P(lse), HOLD_P(dout), int64_t lddo, HOLD_M(dq), HOLD_M(dk),            \
          HOLD_M(dv)),                                                                             \
         (d, a, q, ldq, k, ldk, v, ldv, out, ldo, lse, dout, lddo, dq, lddq, dk, lddk, dv, lddv))  \
    VOID(swiglu_forward, (HOLD_D, int64_t rows, int64_t cols, HOLD_M(x), HOLD_M(y)),               \
         (d, rows, cols, x, ldx, y, ldy))                                                          \
    VOID(swiglu_backward, (HOLD_D, int64_t rows, int64_t cols, HOLD_M(x), HOLD_M(dy), HOLD_M(dx)), \
         (d, rows, cols, x, ldx, dy, lddy, dx, lddx))                                              \
    VOID(geglu_forward, (HOLD_D, int64_t rows, int64_t cols, HOLD_M(x), HOLD_M(y)),                \
         (d, rows, cols, x, ldx, y, ldy))                                                          \
    VOID(geglu_backward, (HOLD_D, int64_t rows, int64_t cols, HOLD_M(x), HOLD_M(dy), HOLD_M(dx)),  \
         (d, rows, cols, x, ldx, dy, lddy, dx, lddx))                                              \
    VOID(rows_gather,                                                                              \
         (HOLD_D, int64_t n, int64_t cols, HOLD_P(table), int64_t ldt, HOLD_P(ids), HOLD_P(out),   \
          int64_t ldo),                                                                            \
         (d, n, cols, table, ldt, ids, out, ldo))                                                  \
    VOID(rows_put,                                                                                 \
         (HOLD_D, int64_t n, int64_t cols, HOLD_M(x), HOLD_P(ids), HOLD_P(table), int64_t ldt),    \
         (d, n, cols, x, ldx, ids, table, ldt))                                                    \
    VOID(rows_scatter,                                                                             \
         (HOLD_D, int64_t n, int64_t cols, HOLD_M(x), HOLD_P(ids), HOLD_P(table), int64_t ldt),    \
         (d, n, cols, x, ldx, ids, table, ldt))                                                    \
    VOID(axpby, (HOLD_D, int64_t rows, int64_t cols, float a, HOLD_M(x), float b, HOLD_M(y)),      \
         (d, rows, cols, a, x, ldx, b, y, ldy))                                                    \
    VOID(multiply, (HOLD_D, int64_t rows, int64_t cols, HOLD_M(x), HOLD_M(y)),                     \
         (d, rows, cols, x, ldx, y, ldy))                                                          \
    VOID(row_dots, (HOLD_D, int64_t rows, int64_t cols, HOLD_M(x), HOLD_M(y), HOLD_P(out)),        \
         (d, rows, cols, x, ldx, y, ldy, out))                                                     \
    VOID(rows_scale, (HOLD_D, int64_t rows, int64_t cols, HOLD_P(s), HOLD_M(x)),                   \
         (d, rows, cols, s, x, ldx))                                                               \
    VOID(dropout,                                                                                  \
         (HOLD_D, int64_t rows, int64_t cols, float p, uint64_t seed, uint64_t step,               \
          int64_t first_row, HOLD_M(x)),                                                           \
         (d, rows, cols, p, seed, step, first_row, x, ldx))                                        \
    VALUE(double, dot, (HOLD_D, int64_t n, HOLD_P(x), HOLD_P(y)), (d, n, x, y))                    \
    VALUE(int64_t, count_nonfinite, (HOLD_D, int64_t n, HOLD_P(x)), (d, n, x))                     \
    VOID(cross_entropy,                                                                            \
         (HOLD_D, int64_t rows, int64_t vocab, HOLD_P(logits), int64_t ld,                         \
          const struct hold_labels *labels, float coef, bool grad, HOLD_P(logp)),                  \
         (d, rows, vocab, logits, ld, labels, coef, grad, logp))                                   \
    VOID(kl,                                                                                       \
         (HOLD_D, int64_t rows, int64_t vocab, HOLD_P(logits), int64_t ld, HOLD_P(ref_logits),     \
          int64_t ldr, HOLD_P(weight), float coef, bool reverse, bool grad, HOLD_P(kl)),           \
         (d, rows, vocab, logits, ld, ref_logits, ldr, weight, coef, reverse, grad, kl))           \
    VOID(argmax,                                                                                   \
         (HOLD_D, int64_t rows, int64_t vocab, HOLD_P(logits), int64_t ld, HOLD_P(id),             \
          HOLD_P(gap)),                                                                            \
         (d, rows, vocab, logits, ld, id, gap))                                                    \
    VOID(adamw,                                                                                    \
         (HOLD_D, int64_t n, HOLD_P(w), HOLD_P(g), HOLD_P(m), HOLD_P(v), double lr, double beta1,  \
          double beta2, double eps, double weight_decay, double c1, double c2),                    \
         (d, n, w, g, m, v, lr, beta1, beta2, eps, weight_decay, c1, c2))                          \
    VOID(sgd,                                                                                      \
         (HOLD_D, int64_t n, HOLD_P(w), HOLD_P(g), HOLD_P(buf), double lr, double momentum,        \
          double weight_decay),                                                                    \
         (d, n, w, g, buf, lr, momentum, weight_decay))

#endif
