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

/* One register of f32, and the number of registers that a block product may hold. */
#if defined(__AVX512F__)
enum { VEC = 16, BLOCK_VECS = 4 };
#elif defined(__AVX2__)
enum { VEC = 8, BLOCK_VECS = 2 };
#else
enum { VEC = 4, BLOCK_VECS = 2 };
#endif
typedef float vec __attribute__((vector_size(4 * VEC)));
typedef float vec_unaligned __attribute__((vector_size(4 * VEC), aligned(4), may_alias));

static inline vec vec_load(const float *p) {
    return *(const vec_unaligned *)p;
}
static inline void vec_store(float *p, vec v) {
    *(vec_unaligned *)p = v;
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

#endif
