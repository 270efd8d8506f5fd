/* cpu.h: the CPU device's parts to one another; private to src/device. */
#ifndef HOLD_DEVICE_CPU_CPU_H
#define HOLD_DEVICE_CPU_CPU_H

#include <stdint.h>

#include "device/device.h"
#include "device/state.h"

struct hold_cpu_block; /* an allocation's header, in cpu.c */

enum { HOLD_CPU_SCRATCHES = 3 };

/* Products by our own kernels (gemm.c), of the device's instruction set. */
struct hold_cpu_products {
    /* Bytes of a frozen weight (out, in) packed for packed_product, and the packing. */
    int64_t (*packed_bytes)(int64_t out, int64_t in);
    void (*pack)(struct hold_device *d, const float *w, int64_t out, int64_t in, float *to);
    /* y(m, out) = x(m, in) W' + beta y; beta is 0 or 1. */
    void (*packed_product)(struct hold_device *d, const float *packed, int64_t m, int64_t out,
                           int64_t in, const float *x, int64_t ldx, float beta, float *y,
                           int64_t ldy);
    /* As struct hold_kernels.gemm. */
    void (*gemm)(struct hold_device *d, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                 float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                 float *c, int64_t ldc);
};

/* The same for operands rounded to bf16 (bf16.c). */
struct hold_bf16_unit;
struct hold_cpu_bf16_products {
    /* Bytes of B(k, n) packed, and the packing; tb: B' is what lies at b.  fine: as
     * struct hold_kernels.weight_refine. */
    int64_t (*packed_bytes)(bool fine, int64_t n, int64_t k);
    void (*pack)(struct hold_device *d, bool fine, bool tb, int64_t n, int64_t k, const float *b,
                 int64_t ldb, uint32_t *to);
    /* y(m, n) = x(m, k) B + beta y; beta is 0 or 1. */
    void (*packed_product)(struct hold_device *d, bool fine, const uint32_t *packed, int64_t m,
                           int64_t n, int64_t k, const float *x, int64_t ldx, float beta, float *y,
                           int64_t ldy);
    /* As struct hold_kernels.gemm_live. */
    void (*live_product)(struct hold_device *d, bool fine, bool ta, bool tb, int64_t m, int64_t n,
                         int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                         float beta, float *c, int64_t ldc);
    const struct hold_bf16_unit *emulation; /* of this instruction set */
};

/* Products of few rows with a weight of levels (levels.c). */
enum { HOLD_CPU_FEW = 8 };
struct hold_cpu_form { /* of struct hold_levels */
    int bits, lowest;
    int64_t group;
    bool min;
};
struct hold_cpu_levels {
    /* Bytes of the levels of `out` outputs packed for `product`; 0: shapes it cannot take. */
    int64_t (*bytes)(int64_t out, int64_t in, const struct hold_cpu_form *f);
    /* Pack them; false: they are not w(out, in). */
    bool (*pack)(struct hold_device *d, const float *w, int64_t out, int64_t in,
                 const struct hold_levels *x, char *to);
    /* y(m, out) = x(m, in) W' + beta y, m <= HOLD_CPU_FEW, to the bytes of packed_product. */
    void (*product)(struct hold_device *d, const struct hold_cpu_form *f, const char *packed,
                    int64_t m, int64_t out, int64_t in, const float *x, int64_t ldx, float beta,
                    float *y, int64_t ldy);
};

/* What is wanted of a head's products with m rows, as struct hold_kernels' weight_argmax and
 * weight_logp (head.c). */
struct hold_cpu_head {
    void (*argmax)(struct hold_device *d, const struct hold_weight *w, int64_t out, int64_t m,
                   const float *x, int64_t ldx, int32_t *id, float *gap);
    void (*logp)(struct hold_device *d, const struct hold_weight *w, int64_t out, int64_t m,
                 const float *x, int64_t ldx, const struct hold_labels *labels, double *logp);
};

struct hold_cpu {
    struct hold_device_state state;
    struct hold_kernels kernels; /* the table that state.device.k shows */
    struct hold_kernels plain;   /* guarded device: the kernels behind the wrappers */
    struct hold_cpu_products products;
    struct hold_cpu_bf16_products bf16_products;
    const struct hold_bf16_unit *bf16; /* what they multiply with */
    struct hold_cpu_head head;
    struct hold_cpu_levels levels;
    /* products.gemm; or, where the build has it and the device has the machine's best instruction
     * set (which is what a library picks for itself), the library's. */
    void (*gemm)(struct hold_device *d, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                 float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                 float *c, int64_t ldc);
    bool guarded;
    struct hold_cpu_block *blocks; /* all that is not yet released */
    struct hold_cpu_scratch {
        void *raw;
        int64_t bytes;
    } scratch[HOLD_CPU_SCRATCHES]; /* kept between kernels, grow only */
};

static inline struct hold_cpu *hold_cpu(struct hold_device *d) {
    return (struct hold_cpu *)(void *)d;
}
static inline float *hold_f32(struct hold_ptr p) {
    return (float *)(uintptr_t)p.at; /* NOLINT(performance-no-int-to-ptr): the seam ends here */
}
static inline uint32_t *hold_u32(struct hold_ptr p) {
    return (uint32_t *)(uintptr_t)p.at; /* NOLINT(performance-no-int-to-ptr) */
}
static inline double *hold_f64(struct hold_ptr p) {
    return (double *)(uintptr_t)p.at; /* NOLINT(performance-no-int-to-ptr) */
}
static inline int32_t *hold_i32(struct hold_ptr p) {
    return (int32_t *)(uintptr_t)p.at; /* NOLINT(performance-no-int-to-ptr) */
}
static inline void *hold_any(struct hold_ptr p) {
    return (void *)(uintptr_t)p.at; /* NOLINT(performance-no-int-to-ptr) */
}

/* Threads for a kernel that touches `elements` numbers: waking a team costs some microseconds. */
static inline int hold_cpu_team(const struct hold_device *d, int64_t elements) {
    return elements < 16384 ? 1 : d->threads;
}

/* At least `bytes` of scratch number `which`, 64-byte aligned, valid until the next call with the
 * same number; NULL (and the device's error set) when memory is out. */
void *hold_cpu_scratch(struct hold_device *d, int which, int64_t bytes);

/* y(m, n) = x(m, in) times the weight's outputs [first, first + n): the bytes of weight_forward.
 * `first` is a multiple of 512. */
void hold_cpu_columns(struct hold_device *d, const struct hold_weight *w, int64_t first, int64_t n,
                      int64_t m, const float *x, int64_t ldx, float *y, int64_t ldy);

/* Must calls for this weight come one after the other, since they share scratch? */
bool hold_cpu_columns_alone(const struct hold_weight *w);

/* oneDNN's product on plain pointers (gemm_dnnl.c), m, n and k above 0, otherwise as struct
 * hold_kernels.gemm; in builds with HOLD_DNNL only. */
void hold_cpu_gemm_dnnl(struct hold_device *d, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                        float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                        float beta, float *c, int64_t ldc);

/* Replace every kernel of cpu->kernels by a wrapper that opens memory, calls cpu->plain, closes. */
void hold_cpu_guard(struct hold_cpu *cpu);
void hold_cpu_protect(struct hold_cpu *cpu, bool open);

/* One set of entry points an instruction set: each writes its kernels into the table. */
#define HOLD_CPU_ISA(isa)                                              \
    void hold_cpu_rows_##isa(struct hold_kernels *kernels);            \
    void hold_cpu_attention_##isa(struct hold_kernels *kernels);       \
    void hold_cpu_loss_##isa(struct hold_kernels *kernels);            \
    void hold_cpu_optim_##isa(struct hold_kernels *kernels);           \
    void hold_cpu_vector_##isa(struct hold_kernels *kernels);          \
    void hold_cpu_products_##isa(struct hold_cpu_products *products);  \
    void hold_cpu_bf16_##isa(struct hold_cpu_bf16_products *products); \
    void hold_cpu_head_##isa(struct hold_cpu_head *head);              \
    void hold_cpu_levels_##isa(struct hold_cpu_levels *levels);        \
    double hold_cpu_peak_##isa(struct hold_device *d);
HOLD_CPU_ISA(portable)
#if defined(__x86_64__)
HOLD_CPU_ISA(avx2)
HOLD_CPU_ISA(avx512)
#endif

#endif
