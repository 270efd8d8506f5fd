/* dry.c: a device without memory or arithmetic: addresses are handed out and bytes and FLOP are
 * counted, so that a step can be sized before it runs. */
#include "device/device.h"

#include <string.h>

#include "base/mem.h"
#include "device/state.h"

struct dry {
    struct hold_device_state state;
    struct hold_kernels kernels;
    uint64_t next; /* the next address; never reused */
    struct dry_block {
        uint64_t at;
        int64_t bytes;
    } * blocks; /* live ones, in no order */
    size_t n_blocks, cap;
};

static struct dry *dry(struct hold_device *d) {
    return (struct dry *)(void *)d;
}

static int dry_alloc(struct hold_device *d, int64_t bytes, struct hold_ptr *out,
                     struct hold_error *err) {
    struct dry *self = dry(d);
    *out = (struct hold_ptr){0};
    if (bytes < 0 || (uint64_t)bytes > INT64_MAX - self->next)
        return hold_fail(err, HOLD_ENOMEMORY, "dry device: %lld bytes do not fit an address space",
                         (long long)bytes);
    if (self->n_blocks == self->cap) {
        size_t cap = self->cap ? 2 * self->cap : 64;
        struct dry_block *grown = hold_realloc(self->blocks, cap * sizeof(*grown));
        if (!grown)
            return hold_fail(err, HOLD_ENOMEMORY, "dry device: no memory for its list of blocks");
        self->blocks = grown;
        self->cap = cap;
    }
    self->blocks[self->n_blocks++] = (struct dry_block){self->next, bytes};
    out->at = self->next;
    self->next += ((uint64_t)bytes / 64 + 1) * 64;
    hold_device_count(d, bytes);
    return HOLD_OK;
}

static void dry_release(struct hold_device *d, struct hold_ptr p) {
    struct dry *self = dry(d);
    for (size_t i = 0; i < self->n_blocks; i++)
        if (self->blocks[i].at == p.at) {
            hold_device_count(d, -self->blocks[i].bytes);
            self->blocks[i] = self->blocks[--self->n_blocks];
            return;
        }
}

struct hold_weight {
    int64_t out, in;
    struct hold_ptr packed; /* counted, as the CPU device packs */
};

static int dry_weight_new(struct hold_device *d, struct hold_ptr w, int64_t out, int64_t in,
                          struct hold_weight **handle, struct hold_error *err) {
    (void)w;
    void *memory;
    *handle = NULL;
    int code = hold_new(&memory, 1, sizeof(**handle), "a weight's handle", err);
    if (code)
        return code;
    struct hold_weight *self = memory;
    *self = (struct hold_weight){.out = out, .in = in};
    /* One copy of four bytes a number, or two of two bytes. */
    code = dry_alloc(d, out * in * (int64_t)sizeof(float), &self->packed, err);
    if (code) {
        hold_free(self);
        return code;
    }
    *handle = self;
    return HOLD_OK;
}

static void dry_weight_free(struct hold_device *d, struct hold_weight *w) {
    if (w)
        dry_release(d, w->packed);
    hold_free(w);
}

static int dry_weight_refine(struct hold_device *d, struct hold_weight *handle, struct hold_ptr w,
                             struct hold_error *err) {
    (void)d;
    (void)handle;
    (void)w;
    (void)err;
    return HOLD_OK;
}

/* Kernels: D is the device, P(x) a pointer, M(x) a matrix.  What they are given is not looked at.
 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define D struct hold_device *d
#define P(x) struct hold_ptr x
#define M(x) struct hold_ptr x, int64_t ld##x

static void dry_write(D, P(dst), const void *src, int64_t bytes) {
}
static void dry_read(D, void *dst, P(src), int64_t bytes) {
    memset(dst, 0, (size_t)bytes);
}
static void dry_copy(D, P(dst), P(src), int64_t bytes) {
}
static void dry_zero(D, P(dst), int64_t bytes) {
}
static void count_product(D, int64_t m, int64_t n, int64_t k) {
    hold_device_state(d)->flop += 2.0 * (double)m * (double)n * (double)k;
}
static void dry_gemm(D, bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, M(a), M(b),
                     float beta, M(c)) {
    count_product(d, m, n, k);
}
static void dry_gemm_live(D, bool fine, bool ta, bool tb, int64_t m, int64_t n, int64_t k, M(a),
                          M(b), float beta, M(c)) {
    count_product(d, m, n, k);
}
static void dry_weight_forward(D, const struct hold_weight *w, int64_t m, M(x), float beta, M(y)) {
    count_product(d, m, w->out, w->in);
}
static int dry_weight_levels(D, struct hold_weight *w, const struct hold_levels *levels,
                             bool *taken, struct hold_error *err) {
    *taken = false;
    return HOLD_OK;
}
static void dry_weight_argmax(D, const struct hold_weight *w, int64_t m, M(x), P(id), P(gap)) {
    count_product(d, m, w->out, w->in);
}
static void dry_weight_logp(D, const struct hold_weight *w, int64_t m, M(x),
                            const struct hold_labels *labels, P(logp)) {
    count_product(d, m, w->out, w->in);
}
static void dry_weight_backward(D, const struct hold_weight *w, int64_t m, M(dy), float beta,
                                M(dx)) {
    count_product(d, m, w->out, w->in);
}
static void dry_rmsnorm_forward(D, int64_t rows, int64_t cols, float eps, M(x), P(gain), M(y),
                                P(rstd)) {
}
static void dry_rmsnorm_backward(D, int64_t rows, int64_t cols, M(x), P(gain), P(rstd), M(dy),
                                 bool add, M(dx), P(dgain)) {
}
static void dry_headnorm_forward(D, int64_t rows, int64_t heads, int64_t head_dim, float eps, M(x),
                                 P(gain), M(y), P(rstd)) {
}
static void dry_headnorm_backward(D, int64_t rows, int64_t heads, int64_t head_dim, M(x), P(gain),
                                  P(rstd), M(dy), M(dx), P(dgain)) {
}
static void dry_rows_add(D, int64_t rows, int64_t cols, P(v), M(x)) {
}
static void dry_rows_sum(D, int64_t rows, int64_t cols, M(x), P(sum)) {
}
static void dry_rope(D, int64_t rows, int64_t heads, int64_t head_dim, P(positions), P(inv_freq),
                     bool inverse, M(x)) {
}
static void dry_attention_forward(D, const struct hold_attention *a, M(q), M(k), M(v), P(out),
                                  int64_t ldo, P(lse)) {
}
static void dry_attention_backward(D, const struct hold_attention *a, M(q), M(k), M(v), P(out),
                                   int64_t ldo, P(lse), P(dout), int64_t lddo, M(dq), M(dk),
                                   M(dv)) {
}
static void dry_swiglu_forward(D, int64_t rows, int64_t cols, M(x), M(y)) {
}
static void dry_swiglu_backward(D, int64_t rows, int64_t cols, M(x), M(dy), M(dx)) {
}
static void dry_rows_gather(D, int64_t n, int64_t cols, P(table), int64_t ldt, P(ids), P(out),
                            int64_t ldo) {
}
static void dry_rows_put(D, int64_t n, int64_t cols, M(x), P(ids), P(table), int64_t ldt) {
}
static void dry_axpby(D, int64_t rows, int64_t cols, float a, M(x), float b, M(y)) {
}
static void dry_multiply(D, int64_t rows, int64_t cols, M(x), M(y)) {
}
static void dry_row_dots(D, int64_t rows, int64_t cols, M(x), M(y), P(out)) {
}
static void dry_rows_scale(D, int64_t rows, int64_t cols, P(s), M(x)) {
}
static void dry_dropout(D, int64_t rows, int64_t cols, float p, uint64_t seed, uint64_t step,
                        int64_t first_row, M(x)) {
}
static double dry_dot(D, int64_t n, P(x), P(y)) {
    return 0;
}
static int64_t dry_count_nonfinite(D, int64_t n, P(x)) {
    return 0;
}
static void dry_cross_entropy(D, int64_t rows, int64_t vocab, P(logits), int64_t ld,
                              const struct hold_labels *labels, float coef, bool grad, P(logp)) {
}
static void dry_kl(D, int64_t rows, int64_t vocab, P(logits), int64_t ld, P(ref_logits),
                   int64_t ldr, P(weight), float coef, bool reverse, bool grad, P(kl)) {
}
static void dry_argmax(D, int64_t rows, int64_t vocab, P(logits), int64_t ld, P(id), P(gap)) {
}
static void dry_adamw(D, int64_t n, P(w), P(g), P(m), P(v), double lr, double beta1, double beta2,
                      double eps, double weight_decay, double c1, double c2) {
}
static void dry_sgd(D, int64_t n, P(w), P(g), P(buf), double lr, double momentum,
                    double weight_decay) {
}
#pragma GCC diagnostic pop

static void dry_destroy(struct hold_device *d) {
    hold_free(dry(d)->blocks);
    hold_free(d);
}

int hold_dry_new(struct hold_device **out, struct hold_error *err) {
    void *memory;
    *out = NULL;
    int code = hold_new(&memory, 1, sizeof(struct dry), "the dry device", err);
    if (code)
        return code;
    struct dry *self = memory;
    self->kernels = (struct hold_kernels){
        .alloc = dry_alloc,
        .release = dry_release,
        .write = dry_write,
        .read = dry_read,
        .copy = dry_copy,
        .zero = dry_zero,
        .sync = hold_device_sync,
        .gemm = dry_gemm,
        .gemm_live = dry_gemm_live,
        .weight_new = dry_weight_new,
        .weight_free = dry_weight_free,
        .weight_refine = dry_weight_refine,
        .weight_levels = dry_weight_levels,
        .weight_forward = dry_weight_forward,
        .weight_argmax = dry_weight_argmax,
        .weight_logp = dry_weight_logp,
        .weight_backward = dry_weight_backward,
        .rmsnorm_forward = dry_rmsnorm_forward,
        .rmsnorm_backward = dry_rmsnorm_backward,
        .headnorm_forward = dry_headnorm_forward,
        .headnorm_backward = dry_headnorm_backward,
        .rows_add = dry_rows_add,
        .rows_sum = dry_rows_sum,
        .rope = dry_rope,
        .attention_forward = dry_attention_forward,
        .attention_backward = dry_attention_backward,
        .swiglu_forward = dry_swiglu_forward,
        .swiglu_backward = dry_swiglu_backward,
        .geglu_forward = dry_swiglu_forward,
        .geglu_backward = dry_swiglu_backward,
        .rows_gather = dry_rows_gather,
        .rows_put = dry_rows_put,
        .rows_scatter = dry_rows_put,
        .axpby = dry_axpby,
        .multiply = dry_multiply,
        .row_dots = dry_row_dots,
        .rows_scale = dry_rows_scale,
        .dropout = dry_dropout,
        .dot = dry_dot,
        .count_nonfinite = dry_count_nonfinite,
        .cross_entropy = dry_cross_entropy,
        .kl = dry_kl,
        .argmax = dry_argmax,
        .adamw = dry_adamw,
        .sgd = dry_sgd,
    };
    self->next = 4096;
    self->state.isa = "none";
    self->state.bf16_unit = "none";
    self->state.destroy = dry_destroy;
    self->state.device = (struct hold_device){"dry", &self->kernels, 1};
    *out = &self->state.device;
    return HOLD_OK;
}
