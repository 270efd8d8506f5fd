/* isa.h: what the files compiled once per instruction set share: names, vectors, exp.
 * HOLD_ISA is the set's name, given by the build. */
#ifndef HOLD_DEVICE_CPU_ISA_H
#define HOLD_DEVICE_CPU_ISA_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "device/cpu/cpu.h"

#define HOLD_ISA_JOIN2(name, isa) name##_##isa
#define HOLD_ISA_JOIN(name, isa) HOLD_ISA_JOIN2(name, isa)
#define HOLD_ISA_NAME(name) HOLD_ISA_JOIN(name, HOLD_ISA)

/* One register of f32 (HOLD_LANES lists f(lane, s) for each lane), and the number of registers
 * that a row of a block product holds. */
#if defined(__AVX512F__)
enum { VEC = 16, BLOCK_VECS = 4 };
#define HOLD_LANES(f, s)                                                                      \
    f(0, s), f(1, s), f(2, s), f(3, s), f(4, s), f(5, s), f(6, s), f(7, s), f(8, s), f(9, s), \
        f(10, s), f(11, s), f(12, s), f(13, s), f(14, s), f(15, s)
#elif defined(__AVX2__)
enum { VEC = 8, BLOCK_VECS = 2 };
#define HOLD_LANES(f, s) f(0, s), f(1, s), f(2, s), f(3, s), f(4, s), f(5, s), f(6, s), f(7, s)
#else
enum { VEC = 4, BLOCK_VECS = 2 };
#define HOLD_LANES(f, s) f(0, s), f(1, s), f(2, s), f(3, s)
#endif
typedef float vec __attribute__((vector_size(4 * VEC)));
typedef int32_t vec_int __attribute__((vector_size(4 * VEC)));
typedef uint32_t vec_bits __attribute__((vector_size(4 * VEC)));
typedef float vec_unaligned __attribute__((vector_size(4 * VEC), aligned(4), may_alias));

static inline vec vec_load(const float *p) {
    return *(const vec_unaligned *)p;
}
static inline void vec_store(float *p, vec v) {
    *(vec_unaligned *)p = v;
}
static inline vec vec_select(vec_int mask, vec yes, vec no) {
    return (vec)((mask & (vec_int)yes) | (~mask & (vec_int)no));
}
static inline vec vec_max(vec a, vec b) {
    return vec_select(a > b, a, b);
}

/* Lane l takes lane l ^ s: folding by halves leaves the whole sum or maximum in every lane. */
#define HOLD_XOR(l, s) ((l) ^ (s))
#define HOLD_SWAP(v, s) __builtin_shufflevector(v, v, HOLD_LANES(HOLD_XOR, s))
static inline float vec_sum(vec v) {
#if defined(__AVX512F__)
    v += HOLD_SWAP(v, 8);
#endif
#if defined(__AVX2__)
    v += HOLD_SWAP(v, 4);
#endif
    v += HOLD_SWAP(v, 2);
    v += HOLD_SWAP(v, 1);
    return v[0];
}
static inline float vec_top(vec v) {
#if defined(__AVX512F__)
    v = vec_max(v, HOLD_SWAP(v, 8));
#endif
#if defined(__AVX2__)
    v = vec_max(v, HOLD_SWAP(v, 4));
#endif
    v = vec_max(v, HOLD_SWAP(v, 2));
    v = vec_max(v, HOLD_SWAP(v, 1));
    return v[0];
}

/* Transpose VEC registers as a square, by exchanging off-diagonal blocks of s x s. */
#define HOLD_LOW(l, s) (((l) & (s)) ? VEC + (l) - (s) : (l))
#define HOLD_HIGH(l, s) (((l) & (s)) ? VEC + (l) : (l) + (s))
#define HOLD_EXCHANGE(r, s)                                                     \
    _Pragma("GCC unroll 16") for (int i = 0; i < VEC; i++) if (!(i & (s))) {    \
        vec a = (r)[i], b = (r)[i + (s)];                                       \
        (r)[i] = __builtin_shufflevector(a, b, HOLD_LANES(HOLD_LOW, s));        \
        (r)[i + (s)] = __builtin_shufflevector(a, b, HOLD_LANES(HOLD_HIGH, s)); \
    }
static inline void vec_transpose(vec r[VEC]) {
#if defined(__AVX512F__)
    HOLD_EXCHANGE(r, 8)
#endif
#if defined(__AVX2__)
    HOLD_EXCHANGE(r, 4)
#endif
    HOLD_EXCHANGE(r, 2)
    HOLD_EXCHANGE(r, 1)
}

/* to(cols, ldt) = scale * the transpose of x(rows, ldx). */
static inline void transpose(int64_t rows, int64_t cols, const float *x, int64_t ldx, float scale,
                             float *to, int64_t ldt) {
    int64_t i = 0;
    for (; i + VEC <= rows; i += VEC) {
        int64_t j = 0;
        for (; j + VEC <= cols; j += VEC) {
            vec r[VEC];
#pragma GCC unroll 16
            for (int l = 0; l < VEC; l++)
                r[l] = scale * vec_load(x + (i + l) * ldx + j);
            vec_transpose(r);
#pragma GCC unroll 16
            for (int l = 0; l < VEC; l++)
                vec_store(to + (j + l) * ldt + i, r[l]);
        }
        for (; j < cols; j++)
            for (int l = 0; l < VEC; l++)
                to[j * ldt + i + l] = scale * x[(i + l) * ldx + j];
    }
    for (; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            to[j * ldt + i] = scale * x[i * ldx + j];
}

static inline int64_t round_up(int64_t n, int64_t to) {
    return (n + to - 1) / to * to;
}

/* a * b + c, fused where the instruction set can. */
static inline float fused(float a, float b, float c) {
#if defined(__FMA__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

/* e^x within 2 ulp for x >= -86.6; below that 0 (true values are under 3e-38).  Overflow gives
 * infinity, NaN stays NaN.  Branch-free, so loops over it become vector code.  Reduction to
 * |r| <= ln2 / 2 and minimax polynomial as in Cephes' expf (S. Moshier). */
static inline float fast_exp(float x) {
    const float low = -86.6f, high = 88.7228317f, magic = 12582912.0f; /* 1.5 * 2^23 */
    float y = x > high ? high : x;
    y = y < low ? low : y;
    float shifted = fused(y, 1.44269504f, magic);
    float n = shifted - magic;
    float r = fused(n, -0.693359375f, y);
    r = fused(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = fused(p, r, 1.3981999507e-3f);
    p = fused(p, r, 8.3334519073e-3f);
    p = fused(p, r, 4.1665795894e-2f);
    p = fused(p, r, 1.6666665459e-1f);
    p = fused(p, r, 5.0000001201e-1f);
    p = fused(p, r * r, r) + 1.0f;
    /* The low bits of `shifted` are n; 2^n is put together in two steps as n = 128 has no f32. */
    uint32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (bits + 126u) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    float value = p * scale * 2.0f;
    value = x > high ? INFINITY : value;
    return x < low ? 0.0f : value;
}

/* The same for a register of x <= 0 (or a rounding above): no overflow to look after. */
static inline vec vec_exp(vec x) {
    const float low = -86.6f, magic = 12582912.0f;
    vec_int in = x >= low;
    vec y = vec_max(x, (vec){0} + low);
    vec shifted = y * 1.44269504f + magic;
    vec n = shifted - magic;
    vec r = y - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    vec scale = (vec)(((vec_bits)shifted + 127u) << 23);
    return (vec)((vec_int)(p * scale) & in);
}

#endif
