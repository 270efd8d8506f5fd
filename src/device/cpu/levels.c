/* levels.c: products of few rows with a weight of small integers, which become numbers in
 * registers: few rows wait for memory, and these are a sixth to a quarter of the f32 copy's bytes.
 *
 * Packed: tiles of VEC outputs, a lane each.  A tile holds its groups of inputs in order: VEC
 * scales, VEC minima where there are any, and a register of lanes for each input, in bytes or, two
 * inputs to a byte, in nibbles.  So a row's sums run over its inputs in the order of the f32
 * product, in the same pieces: the same bytes. */
#include "device/cpu/isa.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum { DEEP = 256 /* as in gemm.c */, SOON = 2048 };
enum kind { NIBBLES, NIBBLES_MIN, BYTES, BYTES_MIN };

static enum kind kind_of(const struct hold_cpu_form *f) {
    if (f->bits == 4)
        return f->min ? NIBBLES_MIN : NIBBLES;
    return f->min ? BYTES_MIN : BYTES;
}

static int64_t group_bytes(const struct hold_cpu_form *f) {
    return VEC * ((f->min ? 8 : 4) + f->group * f->bits / 8);
}

static int64_t levels_bytes(int64_t out, int64_t in, const struct hold_cpu_form *f) {
    bool known = (f->bits == 4 && (!f->min || f->lowest == 0)) || f->bits == 8;
    if (!known || (f->group != 16 && f->group != 32) || in % f->group != 0 || out % VEC != 0)
        return 0;
    return out / VEC * (in / f->group) * group_bytes(f);
}

/* --- packing --- */

static float value_of(int8_t q, float scale, const float *min, int64_t at) {
    float x = (float)q * scale;
    return min ? x + min[at] : x;
}

/* Is the value the weight's own?  A zero's sign makes no difference to a sum. */
static bool is_value(int8_t q, float scale, const float *min, int64_t at, float w) {
    return value_of(q, scale, min, at) == w;
}

static bool pack_group(const struct hold_levels *x, int64_t tile, int64_t in, int64_t g,
                       const float *w, char *to) {
    int64_t groups = in / x->group;
    float *scale = (float *)(void *)to, *min = scale + VEC;
    uint8_t *q = (uint8_t *)(x->min ? min + VEC : min);
    bool good = true;
    for (int64_t l = 0; l < VEC; l++) {
        int64_t o = tile * VEC + l, at = o * groups + g;
        scale[l] = x->scale[at];
        if (x->min)
            min[l] = x->min[at];
        for (int64_t j = 0; j < x->group; j++) {
            int64_t k = g * x->group + j;
            int8_t value = x->q[o * in + k];
            good = good && is_value(value, scale[l], x->min, at, w[o * in + k]);
            if (x->bits == 8) {
                q[j * VEC + l] = (uint8_t)value;
                continue;
            }
            int nibble = value - x->lowest;
            uint8_t *byte = q + j / 2 * VEC + l;
            good = good && nibble >= 0 && nibble < 16;
            *byte = (uint8_t)(j % 2 == 0 ? nibble & 15 : *byte | nibble << 4);
        }
    }
    return good;
}

static bool levels_pack(struct hold_device *d, const float *w, int64_t out, int64_t in,
                        const struct hold_levels *x, char *to) {
    struct hold_cpu_form f = {x->bits, x->lowest, x->group, x->min != NULL};
    int64_t tiles = out / VEC, groups = in / x->group, bytes = group_bytes(&f), bad = 0;
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, out *in)) reduction(+ : bad)
    for (int64_t t = 0; t < tiles; t++)
        for (int64_t g = 0; g < groups; g++)
            bad += !pack_group(x, t, in, g, w, to + (t * groups + g) * bytes);
    return bad == 0;
}

/* --- products --- */

typedef int8_t few_bytes __attribute__((vector_size(VEC), aligned(1), may_alias));
typedef uint8_t few_nibbles __attribute__((vector_size(VEC), aligned(1), may_alias));

static inline vec fuse(vec a, vec b, vec c) {
#if defined(__AVX512F__)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__FP_FAST_FMAF)
    for (int l = 0; l < VEC; l++)
        c[l] = __builtin_fmaf(a[l], b[l], c[l]);
    return c;
#else
    return a * b + c;
#endif
}

static inline vec_int nibble_lanes(const uint8_t *q) {
#if defined(__AVX512F__)
    return (vec_int)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)q));
#elif defined(__AVX2__)
    return (vec_int)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)q));
#else
    return __builtin_convertvector(*(const few_nibbles *)q, vec_int);
#endif
}

static inline vec_int byte_lanes(const uint8_t *q) {
#if defined(__AVX512F__)
    return (vec_int)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)q));
#elif defined(__AVX2__)
    return (vec_int)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)q));
#else
    return __builtin_convertvector(*(const few_bytes *)q, vec_int);
#endif
}

/* The numbers of two inputs, pair number `pair` of a group. */
static inline __attribute__((always_inline)) void
numbers(enum kind kind, const uint8_t *q, int64_t pair, vec scale, vec min, vec lowest, vec w[2]) {
    vec_int a, b;
    if (kind == NIBBLES || kind == NIBBLES_MIN) {
        vec_int both = nibble_lanes(q + pair * VEC);
        a = both & 15;
        b = both >> 4;
    } else {
        a = byte_lanes(q + 2 * pair * VEC);
        b = byte_lanes(q + (2 * pair + 1) * VEC);
    }
    w[0] = __builtin_convertvector(a, vec);
    w[1] = __builtin_convertvector(b, vec);
    if (kind == NIBBLES) {
        w[0] += lowest;
        w[1] += lowest;
    }
    w[0] *= scale;
    w[1] *= scale;
    if (kind == NIBBLES_MIN || kind == BYTES_MIN) {
        w[0] += min;
        w[1] += min;
    }
}

/* Rows times `tiles` neighbouring tiles; rows, tiles and kind are constants where inlined. */
static inline __attribute__((always_inline)) void
stripe(int rows, int tiles, enum kind kind, const struct hold_cpu_form *f, const char *packed,
       int64_t in, const float *x, int64_t ldx, bool add, float *y, int64_t ldy) {
    const int64_t bytes = group_bytes(f), tile = in / f->group * bytes, pairs = f->group / 2;
    const bool has_min = kind == NIBBLES_MIN || kind == BYTES_MIN;
    const vec lowest = (vec){0} + (float)f->lowest;
    for (int64_t from = 0; from < in; from += DEEP) {
        int64_t end = from + DEEP < in ? from + DEEP : in;
        vec sum[HOLD_CPU_FEW][4];
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int t = 0; t < tiles; t++)
                sum[i][t] = (vec){0};
        for (int64_t k = from; k < end; k += f->group) {
            vec scale[4], min[4];
            const char *group = packed + k / f->group * bytes;
#pragma GCC unroll 4
            for (int t = 0; t < tiles; t++) {
                const float *head = (const float *)(const void *)(group + t * tile);
                scale[t] = vec_load(head);
                min[t] = has_min ? vec_load(head + VEC) : (vec){0};
                for (int64_t b = 0; b < bytes; b += 64)
                    __builtin_prefetch(group + t * tile + SOON + b, 0, 2);
            }
            for (int64_t p = 0; p < pairs; p++) {
                const float *at = x + k + 2 * p;
#pragma GCC unroll 4
                for (int t = 0; t < tiles; t++) {
                    vec w[2];
                    numbers(kind, (const uint8_t *)group + t * tile + VEC * (has_min ? 8 : 4), p,
                            scale[t], min[t], lowest, w);
#pragma GCC unroll 8
                    for (int i = 0; i < rows; i++)
                        sum[i][t] = fuse((vec){0} + at[i * ldx], w[0], sum[i][t]);
#pragma GCC unroll 8
                    for (int i = 0; i < rows; i++)
                        sum[i][t] = fuse((vec){0} + at[i * ldx + 1], w[1], sum[i][t]);
                }
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int t = 0; t < tiles; t++) {
                float *to = y + i * ldy + t * VEC;
                vec_store(to, add || from > 0 ? sum[i][t] + vec_load(to) : sum[i][t]);
            }
    }
}

/* Tiles at once: as many sums in flight as registers allow. */
#define TILES(rows) (VEC == 16 && (rows) <= 4 ? 4 : (rows) <= 3 ? 2 : VEC == 16 ? 2 : 1)

#define STRIPES(kind, rows)                                                                     \
    static void stripes_##kind##_##rows(const struct hold_cpu_form *f, const char *packed,      \
                                        int64_t tiles, int64_t in, const float *x, int64_t ldx, \
                                        bool add, float *y, int64_t ldy) {                      \
        int64_t tile = in / f->group * group_bytes(f), t = 0;                                   \
        for (; t + TILES(rows) <= tiles; t += TILES(rows))                                      \
            stripe(rows, TILES(rows), kind, f, packed + t * tile, in, x, ldx, add, y + t * VEC, \
                   ldy);                                                                        \
        for (; t < tiles; t++)                                                                  \
            stripe(rows, 1, kind, f, packed + t * tile, in, x, ldx, add, y + t * VEC, ldy);     \
    }
/* The declaration at the end takes the semicolon. */
#define KINDS(rows)            \
    STRIPES(NIBBLES, rows)     \
    STRIPES(NIBBLES_MIN, rows) \
    STRIPES(BYTES, rows)       \
    STRIPES(BYTES_MIN, rows)   \
    struct hold_cpu_form
KINDS(1);
KINDS(2);
KINDS(3);
KINDS(4);
KINDS(5);
KINDS(6);
KINDS(7);
KINDS(8);

#define OF_KIND(rows)                                                             \
    {                                                                             \
        stripes_NIBBLES_##rows, stripes_NIBBLES_MIN_##rows, stripes_BYTES_##rows, \
            stripes_BYTES_MIN_##rows                                              \
    }
static void (*const PRODUCTS[HOLD_CPU_FEW][4])(const struct hold_cpu_form *f, const char *packed,
                                               int64_t tiles, int64_t in, const float *x,
                                               int64_t ldx, bool add, float *y, int64_t ldy) = {
    OF_KIND(1), OF_KIND(2), OF_KIND(3), OF_KIND(4), OF_KIND(5), OF_KIND(6), OF_KIND(7), OF_KIND(8),
};

static void levels_product(struct hold_device *d, const struct hold_cpu_form *f, const char *packed,
                           int64_t m, int64_t out, int64_t in, const float *x, int64_t ldx,
                           float beta, float *y, int64_t ldy) {
    enum { SHARE = 8 }; /* tiles that a thread takes together */
    int64_t tiles = out / VEC, shares = (tiles + SHARE - 1) / SHARE;
    int64_t tile = in / f->group * group_bytes(f);
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, out *in))
    for (int64_t s = 0; s < shares; s++) {
        int64_t first = s * SHARE, n = tiles - first < SHARE ? tiles - first : SHARE;
        PRODUCTS[m - 1][kind_of(f)](f, packed + first * tile, n, in, x, ldx, beta != 0,
                                    y + first * VEC, ldy);
    }
}

void HOLD_ISA_NAME(hold_cpu_levels)(struct hold_cpu_levels *levels) {
    *levels = (struct hold_cpu_levels){levels_bytes, levels_pack, levels_product};
}
