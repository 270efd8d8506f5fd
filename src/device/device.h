/* device.h: the device seam: one table of kernels over opaque buffers and sizes.
 *
 * Everything that computes on tensors goes through this table; code above src/device never touches
 * element data (a test device keeps its memory inaccessible outside kernels).  A second device is a
 * second folder; the CPU is its oracle.
 *
 * Conventions.  Matrices are row-major f32 unless said otherwise: (rows, cols) with a leading
 * dimension `ld` in elements.  `dx` is the gradient of `x`.  "=" kernels overwrite their output,
 * "+=" kernels add to it; each comment says which.  Kernels return nothing: the first failure
 * sticks to the device and `sync` reports it.  Reductions run in a fixed order: the same inputs,
 * threads and instruction set give the same bytes; up to six threads all kernels but gemm and
 * weight_backward (where a library may split a sum) give the same bytes whatever the threads.  One
 * host thread at a time uses a device.
 */
#ifndef HOLD_DEVICE_DEVICE_H
#define HOLD_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

/* An address in device memory; at == 0 is null.  Not to be dereferenced above src/device. */
struct hold_ptr {
    uint64_t at;
};
static inline struct hold_ptr hold_at(struct hold_ptr p, int64_t bytes) {
    return (struct hold_ptr){p.at + (uint64_t)bytes};
}
static inline struct hold_ptr hold_at_f32(struct hold_ptr p, int64_t elements) {
    return hold_at(p, elements * 4);
}
static inline bool hold_ptr_null(struct hold_ptr p) {
    return p.at == 0;
}

/* Which keys a run of query tokens sees.  Queries [first, first + n) are consecutive tokens of one
 * segment.  They see spans [first_span, first_span + n_spans): ranges of key rows, in order of
 * depth; all but the last wholly, the last causally: query i sees its first len - n + i + 1 keys.
 */
struct hold_query_run {
    int32_t first, n, first_span, n_spans;
};
struct hold_span {
    int32_t first, len;
};
/* Attention's shape and its plan, all arrays in device memory.  Runs are ordered so that runs that
 * share keys are neighbours: tree t holds runs [tree_first[t], tree_first[t+1]); no key row is seen
 * from two trees.  Backward accumulates key gradients within a tree in run order. */
struct hold_attention {
    int64_t n_heads, n_kv_heads, head_dim;
    float scale;
    int64_t n_runs, n_spans, n_trees;
    struct hold_ptr runs;       /* n_runs struct hold_query_run */
    struct hold_ptr spans;      /* n_spans struct hold_span */
    struct hold_ptr tree_first; /* n_trees + 1 int32 */
    int64_t n_queries, n_keys;  /* rows of q/out and of k/v */
    int64_t max_keys;           /* most keys that one query sees */
};

struct hold_device;
struct hold_weight; /* a frozen matrix prepared for fast products; opaque, owned by the device */

/* Label entries of a block of logits, in CSR form by row: labels [first[i], first[i+1]) belong to
 * logits row i. */
struct hold_labels {
    struct hold_ptr first;  /* rows + 1 int32 */
    struct hold_ptr target; /* int32 ids */
    struct hold_ptr weight; /* f32 */
};

/* A matrix (out, in) as small integers: element (o, i) is q * scale + min of its group of
 * consecutive inputs, rounded after each operation; on the host.  bits 4: q is at least `lowest`
 * and at most lowest + 15, and lowest is 0 where there are minima; bits 8: any q. */
struct hold_levels {
    int bits, lowest;
    int64_t group;      /* 16 or 32; divides in */
    const int8_t *q;    /* (out, in) */
    const float *scale; /* (out, in / group) */
    const float *min;   /* the same, or NULL: nothing is added */
};

struct hold_kernels {
    /* --- memory --- */
    /* 64-byte aligned, contents undefined; 0 bytes give a distinct address.  release takes what
     * alloc gave, or null; what was not released dies with the device. */
    int (*alloc)(struct hold_device *d, int64_t bytes, struct hold_ptr *out,
                 struct hold_error *err);
    void (*release)(struct hold_device *d, struct hold_ptr p);
    void (*write)(struct hold_device *d, struct hold_ptr dst, const void *src, int64_t bytes);
    void (*read)(struct hold_device *d, void *dst, struct hold_ptr src, int64_t bytes);
    void (*copy)(struct hold_device *d, struct hold_ptr dst, struct hold_ptr src, int64_t bytes);
    void (*zero)(struct hold_device *d, struct hold_ptr dst, int64_t bytes);
    int (*sync)(struct hold_device *d,
                struct hold_error *err); /* reports and clears the sticky error */

    /* --- matrix products --- */
    /* C(m,n) = alpha op(A)(m,k) op(B)(k,n) + beta C; op(X) = X' when t is set. beta == 0 does not
     * read C. */
    void (*gemm)(struct hold_device *d, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                 float alpha, struct hold_ptr a, int64_t lda, struct hold_ptr b, int64_t ldb,
                 float beta, struct hold_ptr c, int64_t ldc);
    /* The same for products of a weight that is trained, with alpha 1 and beta 0 or 1: in the
     * device's dtype; fine: as weight_refine says. */
    void (*gemm_live)(struct hold_device *d, bool fine, bool ta, bool tb, int64_t m, int64_t n,
                      int64_t k, struct hold_ptr a, int64_t lda, struct hold_ptr b, int64_t ldb,
                      float beta, struct hold_ptr c, int64_t ldc);
    /* Prepare W (out, in; f32 host or device rows at w, ld = in) for products in the device's
     * dtype.  The device may pack or convert (the CPU holds packed copies, counted in its bytes);
     * in f32 it also borrows w, which must outlive the handle and not change; in bf16 w is not
     * looked at again.  weight_free takes NULL too. */
    int (*weight_new)(struct hold_device *d, struct hold_ptr w, int64_t out, int64_t in,
                      struct hold_weight **handle, struct hold_error *err);
    void (*weight_free)(struct hold_device *d, struct hold_weight *w);
    /* In bf16 make the forward product of handle, prepared from the same w, nearly exact: both
     * operands are sums of two bf16 numbers, of which all but the product of the small ones count
     * (three times the work).  In f32 there is nothing to do. */
    int (*weight_refine)(struct hold_device *d, struct hold_weight *handle, struct hold_ptr w,
                         struct hold_error *err);
    /* y(m,out) = x(m,in) W' + beta y  and  dx(m,in) = dy(m,out) W + beta dx; beta is 0 or 1.  A row
     * of y has the same bytes whatever m is. */
    void (*weight_forward)(struct hold_device *d, const struct hold_weight *w, int64_t m,
                           struct hold_ptr x, int64_t ldx, float beta, struct hold_ptr y,
                           int64_t ldy);
    void (*weight_backward)(struct hold_device *d, const struct hold_weight *w, int64_t m,
                            struct hold_ptr dy, int64_t lddy, float beta, struct hold_ptr dx,
                            int64_t lddx);
    /* Let products of few rows read W as these levels, which are a fraction of its bytes: the bytes
     * of y stay the same.  *taken is false, and nothing changed, where the device has no use for
     * them or they are not W to the byte.  They are copied; what weight_new packed may be given
     * back. */
    int (*weight_levels)(struct hold_device *d, struct hold_weight *w,
                         const struct hold_levels *levels, bool *taken, struct hold_error *err);
    /* y's products, of which only this is kept.  argmax: as argmax of y, to the byte.  logp: as
     * cross_entropy of y without grad, but that the exponentials are summed in f64 over stretches
     * of the vocabulary, each relative to its own largest: not the same last bits. */
    void (*weight_argmax)(struct hold_device *d, const struct hold_weight *w, int64_t m,
                          struct hold_ptr x, int64_t ldx, struct hold_ptr id, struct hold_ptr gap);
    void (*weight_logp)(struct hold_device *d, const struct hold_weight *w, int64_t m,
                        struct hold_ptr x, int64_t ldx, const struct hold_labels *labels,
                        struct hold_ptr logp);

    /* --- rows --- */
    /* y = gain * x / sqrt(mean(x^2) + eps) =; rstd(rows) = */
    void (*rmsnorm_forward)(struct hold_device *d, int64_t rows, int64_t cols, float eps,
                            struct hold_ptr x, int64_t ldx, struct hold_ptr gain, struct hold_ptr y,
                            int64_t ldy, struct hold_ptr rstd);
    /* dx = or += (add), and may be dy; dgain(cols) += when not null, summed over rows in fixed
     * chunks. */
    void (*rmsnorm_backward)(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                             int64_t ldx, struct hold_ptr gain, struct hold_ptr rstd,
                             struct hold_ptr dy, int64_t lddy, bool add, struct hold_ptr dx,
                             int64_t lddx, struct hold_ptr dgain);
    /* The same on each of `heads` consecutive heads of each row, with one gain (head_dim) for all;
     * rstd: (rows, heads).  dx =, and may be dy; dgain += when not null. */
    void (*headnorm_forward)(struct hold_device *d, int64_t rows, int64_t heads, int64_t head_dim,
                             float eps, struct hold_ptr x, int64_t ldx, struct hold_ptr gain,
                             struct hold_ptr y, int64_t ldy, struct hold_ptr rstd);
    void (*headnorm_backward)(struct hold_device *d, int64_t rows, int64_t heads, int64_t head_dim,
                              struct hold_ptr x, int64_t ldx, struct hold_ptr gain,
                              struct hold_ptr rstd, struct hold_ptr dy, int64_t lddy,
                              struct hold_ptr dx, int64_t lddx, struct hold_ptr dgain);
    /* x row i += v for every row; and sum(cols) += all rows of x, in fixed chunks. */
    void (*rows_add)(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr v,
                     struct hold_ptr x, int64_t ldx);
    void (*rows_sum)(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                     int64_t ldx, struct hold_ptr sum);
    /* Rotary embedding, half-split pairs (j, j + head_dim/2) as in Hugging Face, in place on
     * `heads` consecutive heads of each row; angle = position * inv_freq[j] in f32 as transformers
     * computes it; inverse rotates back (the backward pass).  positions: int32, one a row. */
    void (*rope)(struct hold_device *d, int64_t rows, int64_t heads, int64_t head_dim,
                 struct hold_ptr positions, struct hold_ptr inv_freq, bool inverse,
                 struct hold_ptr x, int64_t ldx);
    /* out(n_queries, n_heads*head_dim) =, lse(n_queries, n_heads) = log-sum-exp of scaled scores.
     * Query head h uses key head h / (n_heads / n_kv_heads).  head_dim <= 256 and at most 128 heads
     * a key head. */
    void (*attention_forward)(struct hold_device *d, const struct hold_attention *a,
                              struct hold_ptr q, int64_t ldq, struct hold_ptr k, int64_t ldk,
                              struct hold_ptr v, int64_t ldv, struct hold_ptr out, int64_t ldo,
                              struct hold_ptr lse);
    /* dq =, dk =, dv = (every row of n_queries / n_keys is written).  out, lse: of forward. */
    void (*attention_backward)(struct hold_device *d, const struct hold_attention *a,
                               struct hold_ptr q, int64_t ldq, struct hold_ptr k, int64_t ldk,
                               struct hold_ptr v, int64_t ldv, struct hold_ptr out, int64_t ldo,
                               struct hold_ptr lse, struct hold_ptr dout, int64_t lddo,
                               struct hold_ptr dq, int64_t lddq, struct hold_ptr dk, int64_t lddk,
                               struct hold_ptr dv, int64_t lddv);
    /* x: (rows, 2*cols), gate then up.  y(rows, cols) = silu(gate) * up =;  dx = */
    void (*swiglu_forward)(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                           int64_t ldx, struct hold_ptr y, int64_t ldy);
    void (*swiglu_backward)(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                            int64_t ldx, struct hold_ptr dy, int64_t lddy, struct hold_ptr dx,
                            int64_t lddx);
    /* The same with gelu(gate) = gate / 2 (1 + tanh(sqrt(2 / pi) (gate + 0.044715 gate^3))). */
    void (*geglu_forward)(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                          int64_t ldx, struct hold_ptr y, int64_t ldy);
    void (*geglu_backward)(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                           int64_t ldx, struct hold_ptr dy, int64_t lddy, struct hold_ptr dx,
                           int64_t lddx);
    /* out row i = table row ids[i] =;  put: table row ids[i] = x row i (ids distinct);
     * scatter: table row ids[i] += x row i, in order of i. ids: int32 in device memory. */
    void (*rows_gather)(struct hold_device *d, int64_t n, int64_t cols, struct hold_ptr table,
                        int64_t ldt, struct hold_ptr ids, struct hold_ptr out, int64_t ldo);
    void (*rows_put)(struct hold_device *d, int64_t n, int64_t cols, struct hold_ptr x, int64_t ldx,
                     struct hold_ptr ids, struct hold_ptr table, int64_t ldt);
    void (*rows_scatter)(struct hold_device *d, int64_t n, int64_t cols, struct hold_ptr x,
                         int64_t ldx, struct hold_ptr ids, struct hold_ptr table, int64_t ldt);
    /* y = a x + b y (b == 0 does not read y), and y = y * x, over (rows, cols). */
    void (*axpby)(struct hold_device *d, int64_t rows, int64_t cols, float a, struct hold_ptr x,
                  int64_t ldx, float b, struct hold_ptr y, int64_t ldy);
    void (*multiply)(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                     int64_t ldx, struct hold_ptr y, int64_t ldy);
    /* out[i] (f64) = sum_j x(i,j) y(i,j); f64 accumulation in fixed chunks. */
    void (*row_dots)(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                     int64_t ldx, struct hold_ptr y, int64_t ldy, struct hold_ptr out);
    /* x row i *= s[i]; s: f32 in device memory. */
    void (*rows_scale)(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr s,
                       struct hold_ptr x, int64_t ldx);
    /* Inverted dropout by Philox keyed (seed, purpose "dropout", step, first_row + i):
     * x(i,j) = kept ? x(i,j) / (1 - p) : 0, in place; calling it again with the same key on a
     * gradient applies the same mask. */
    void (*dropout)(struct hold_device *d, int64_t rows, int64_t cols, float p, uint64_t seed,
                    uint64_t step, int64_t first_row, struct hold_ptr x, int64_t ldx);

    /* --- flat vectors: sums in f64, in fixed chunks; return on the host --- */
    double (*dot)(struct hold_device *d, int64_t n, struct hold_ptr x, struct hold_ptr y);
    int64_t (*count_nonfinite)(struct hold_device *d, int64_t n, struct hold_ptr x);

    /* --- losses over a block of logits (rows, vocab) --- */
    /* For every label e of row i: logp[e] = logits(i, target) - logsumexp(i) = (f64).  With grad:
     * logits(i,.) becomes coef * sum_e w_e (softmax(i,.) - onehot(target_e)): the gradient of
     * coef * sum_e w_e * (-logp_e), in place. */
    void (*cross_entropy)(struct hold_device *d, int64_t rows, int64_t vocab,
                          struct hold_ptr logits, int64_t ld, const struct hold_labels *labels,
                          float coef, bool grad, struct hold_ptr logp);
    /* Row i: kl[i] (f64) = KL(ref_i || p_i) or, when reverse, KL(p_i || ref_i), p =
     * softmax(logits), ref = softmax(ref_logits).  With grad logits(i,.) becomes coef * w_i *
     * dKL/dlogits in place. */
    void (*kl)(struct hold_device *d, int64_t rows, int64_t vocab, struct hold_ptr logits,
               int64_t ld, struct hold_ptr ref_logits, int64_t ldr, struct hold_ptr weight,
               float coef, bool reverse, bool grad, struct hold_ptr kl);
    /* Per row: id (int32) of the largest logit (the lowest id of equals) = and the gap (f32) to the
     * second largest =. */
    void (*argmax)(struct hold_device *d, int64_t rows, int64_t vocab, struct hold_ptr logits,
                   int64_t ld, struct hold_ptr id, struct hold_ptr gap);

    /* --- optimizer steps over flat vectors, as torch.optim computes them --- */
    /* AdamW (decoupled decay): w -= lr*wd*w; m,v updated; w -= lr * (m/c1) / (sqrt(v/c2) + eps),
     * c1 = 1 - beta1^t, c2 = 1 - beta2^t given by the caller. */
    void (*adamw)(struct hold_device *d, int64_t n, struct hold_ptr w, struct hold_ptr g,
                  struct hold_ptr m, struct hold_ptr v, double lr, double beta1, double beta2,
                  double eps, double weight_decay, double c1, double c2);
    /* SGD: g' = g + wd*w; buf = momentum*buf + g' (null buf: none); w -= lr * buf. */
    void (*sgd)(struct hold_device *d, int64_t n, struct hold_ptr w, struct hold_ptr g,
                struct hold_ptr buf, double lr, double momentum, double weight_decay);
};

struct hold_device {
    const char *name; /* "cpu" */
    const struct hold_kernels *k;
    int threads;
};

/* --- the CPU device (cpu/) --- */
/* isa: NULL or "auto" picks the best the machine has; "portable", "avx2", "avx512" force one
 * (EUSAGE when the machine lacks it), and one that is not the best keeps oneDNN out: all products
 * are our own then.  bf16 is emulated in those; "avx512_bf16" and "amx" are avx512 with these
 * instructions for bf16.  The caller owns *out. */
int hold_cpu_new(struct hold_device **out, int threads, const char *isa, struct hold_error *err);
/* As above, but its memory is inaccessible outside kernels (mprotect): for tests of the seam. */
int hold_cpu_new_guarded(struct hold_device **out, int threads, struct hold_error *err);
/* Kernels that do nothing and memory that is only counted: sizes a step before it runs. */
int hold_dry_new(struct hold_device **out, struct hold_error *err);
void hold_device_free(struct hold_device *d);
/* The type of products with frozen weights that are prepared from now on, and of gemm_live:
 *   f32   of a new device
 *   bf16  both operands are rounded to bf16 (to nearest, ties to even) as they enter a product;
 *         sums and results are f32.  Where the machine has no instructions for it the rounded
 *         operands are multiplied in f32: the same numbers up to the order of sums.
 * All else is f32 in either.  Another name is EUSAGE. */
int hold_device_set_dtype(struct hold_device *d, const char *dtype, struct hold_error *err);
const char *hold_device_dtype(const struct hold_device *d); /* "f32" or "bf16" */
/* What multiplies bf16 on d: "amx", "avx512_bf16" or "emulated". */
const char *hold_device_bf16_unit(const struct hold_device *d);
/* Bytes held now and the most ever held through alloc. */
int64_t hold_device_bytes(const struct hold_device *d, int64_t *peak);
/* "avx512", "avx2" or "portable": part of a run's manifest. */
const char *hold_device_isa(const struct hold_device *d);
/* GFLOP/s of f32 fused multiply-adds from registers on d's threads, measured now (~0.2 s). */
double hold_device_peak_gflops(struct hold_device *d);
/* The same of the instruction that bf16 products use, operands in registers. */
double hold_device_peak_bf16_gflops(struct hold_device *d);
/* FLOP that gemm, weight products and attention (4 a visible query-key pair and element forward, 8
 * backward; recompute left out) were asked for since creation.  The dry device cannot read
 * attention's plan and leaves it out. */
double hold_device_flop(const struct hold_device *d);

#endif
