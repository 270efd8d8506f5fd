/* avx512_bf16.c: bf16 products by vdpbf16ps (AVX-512 BF16). */
#include "device/cpu/bf16.h"

#include <cpuid.h>
#include <immintrin.h>
#include <stddef.h>

enum { TILE = HOLD_BF16_TILE, WORDS = HOLD_BF16_WORDS, PANEL = HOLD_BF16_PANEL, ROWS = 8 };

static inline __m512bh as_pairs(__m512i x) {
    return (__m512bh)x;
}

/* C(rows, n) for `rows` rows of one row of tiles from `a` on; a constant where this is inlined. */
static inline __attribute__((always_inline)) void rows_product(int rows, int64_t n, int64_t steps,
                                                               const uint32_t *a, const uint32_t *b,
                                                               bool add, float *c, int64_t ldc) {
    __mmask16 left = (__mmask16)(n >= TILE ? 0xffffu : (1u << n) - 1);
    __mmask16 right = (__mmask16)(n >= PANEL ? 0xffffu : n > TILE ? (1u << (n - TILE)) - 1 : 0u);
    __m512 sum[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    for (int64_t s = 0; s < steps; s++, a += WORDS, b += 2 * WORDS)
        for (int p = 0; p < TILE; p++) {
            __m512i b0 = _mm512_load_si512(b + p * TILE);
            __m512i b1 = _mm512_load_si512(b + WORDS + p * TILE);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                __m512i x = _mm512_set1_epi32((int)a[r * TILE + p]);
                sum[r][0] = _mm512_dpbf16_ps(sum[r][0], as_pairs(x), as_pairs(b0));
                sum[r][1] = _mm512_dpbf16_ps(sum[r][1], as_pairs(x), as_pairs(b1));
            }
        }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        float *at = c + r * ldc;
        if (add) {
            sum[r][0] = _mm512_add_ps(sum[r][0], _mm512_maskz_loadu_ps(left, at));
            sum[r][1] = _mm512_add_ps(sum[r][1], _mm512_maskz_loadu_ps(right, at + TILE));
        }
        _mm512_mask_storeu_ps(at, left, sum[r][0]);
        _mm512_mask_storeu_ps(at + TILE, right, sum[r][1]);
    }
}

static void product(int64_t m, int64_t n, int64_t steps, const uint32_t *a, int64_t a_row,
                    const uint32_t *b, bool add, float *c, int64_t ldc) {
    int64_t i = 0;
    for (; i + ROWS <= m; i += ROWS)
        rows_product(ROWS, n, steps, a + i / TILE * a_row + i % TILE * TILE, b, add, c + i * ldc,
                     ldc);
    for (; i < m; i++)
        rows_product(1, n, steps, a + i / TILE * a_row + i % TILE * TILE, b, add, c + i * ldc, ldc);
}

static double peak_loop(int64_t rounds) {
    __m512 sum[2 * ROWS];
    __m512i x = _mm512_setzero_si512();
    for (int i = 0; i < 2 * ROWS; i++)
        sum[i] = _mm512_setzero_ps();
    for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 16
        for (int j = 0; j < 2 * ROWS; j++)
            sum[j] = _mm512_dpbf16_ps(sum[j], as_pairs(x), as_pairs(x));
#pragma GCC unroll 16
        for (int j = 0; j < 2 * ROWS; j++)
            __asm__ volatile("" : "+v"(sum[j]));
    }
    return 2.0 * ROWS * TILE * 2 * 2 * (double)rounds;
}

const struct hold_bf16_unit *hold_bf16_avx512(void) {
    static const struct hold_bf16_unit unit = {
        .name = "avx512_bf16", .product = product, .peak_loop = peak_loop};
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5) != 0 ? &unit : NULL;
}
