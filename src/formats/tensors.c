/* tensors.c: block sizes of the stored types, their conversion to f32, and look-up by name. */
#include "formats/tensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Stored values are little-endian and are read by memcpy. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a little-endian machine is needed");

static const struct {
    const char *name;
    int block; /* elements */
    int bytes; /* of one block */
} TYPES[HOLD_ST_COUNT] = {
    [HOLD_ST_F32] = {"F32", 1, 4},       [HOLD_ST_F16] = {"F16", 1, 2},
    [HOLD_ST_BF16] = {"BF16", 1, 2},     [HOLD_ST_Q4_0] = {"Q4_0", 32, 18},
    [HOLD_ST_Q4_1] = {"Q4_1", 32, 20},   [HOLD_ST_Q5_0] = {"Q5_0", 32, 22},
    [HOLD_ST_Q5_1] = {"Q5_1", 32, 24},   [HOLD_ST_Q8_0] = {"Q8_0", 32, 34},
    [HOLD_ST_Q4_K] = {"Q4_K", 256, 144}, [HOLD_ST_Q5_K] = {"Q5_K", 256, 176},
    [HOLD_ST_Q6_K] = {"Q6_K", 256, 210}, [HOLD_ST_F64] = {"F64", 1, 8},
    [HOLD_ST_I32] = {"I32", 1, 4},       [HOLD_ST_I64] = {"I64", 1, 8},
    [HOLD_ST_U8] = {"U8", 1, 1},
};

const char *hold_stored_type_name(enum hold_stored_type type) {
    return (unsigned)type < HOLD_ST_COUNT ? TYPES[type].name : "?";
}

int64_t hold_stored_block(enum hold_stored_type type) {
    return TYPES[type].block;
}

uint64_t hold_stored_bytes(enum hold_stored_type type, int64_t n) {
    if (n < 0 || n % TYPES[type].block != 0) {
        return 0;
    }
    uint64_t blocks = (uint64_t)n / (uint64_t)TYPES[type].block, bytes;
    return __builtin_mul_overflow(blocks, (uint64_t)TYPES[type].bytes, &bytes) ? 0 : bytes;
}

int64_t hold_stored_count(const struct hold_stored *t) {
    return t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
}

int hold_stored_measure(struct hold_stored *t, const char *where, struct hold_error *err) {
    int64_t count = 1;
    for (int i = 0; i < 4; i++) {
        int64_t d = i < t->n_dims ? t->dim[i] : 1;
        t->dim[i] = d;
        if (d < 0 || (d > 0 && count > INT64_MAX / d)) {
            return hold_fail(err, HOLD_EFORMAT, "%s: tensor %s: the shape's product is too large",
                             where, t->name);
        }
        count *= d;
    }
    int64_t row = t->n_dims > 0 ? t->dim[t->n_dims - 1] : 1;
    if (row % TYPES[t->type].block != 0) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: tensor %s: rows of %lld elements, expected a multiple of %d for %s",
                         where, t->name, (long long)row, TYPES[t->type].block, TYPES[t->type].name);
    }
    t->bytes = hold_stored_bytes(t->type, count);
    if (t->bytes == 0 && count != 0) {
        return hold_fail(err, HOLD_EFORMAT, "%s: tensor %s: the size in bytes is too large", where,
                         t->name);
    }
    return HOLD_OK;
}

/* ---- half precision ---- */

static uint32_t float_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float bits_float(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

float hold_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000U) << 16, exponent = (h >> 10) & 0x1FU,
             mantissa = h & 0x3FFU;
    if (exponent == 0x1F) {
        return bits_float(sign | 0x7F800000U | mantissa << 13);
    }
    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24, exact in f32 */
        float value = (float)mantissa * 0x1p-24F;
        return bits_float(float_bits(value) | sign);
    }
    return bits_float(sign | (exponent + 112U) << 23 | mantissa << 13);
}

uint16_t hold_f32_to_f16(float x) {
    uint32_t bits = float_bits(x), magnitude = bits & 0x7FFFFFFFU;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000U);
    if (magnitude > 0x7F800000U) {
        return (uint16_t)(sign | 0x7E00U);
    }
    if (magnitude >= 0x477FF000U) { /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7C00U);
    }
    uint32_t kept, rest, half;
    if (magnitude < 0x38800000U) { /* below 2^-14: a subnormal, in units of 2^-24 */
        uint32_t shift = 126U - (magnitude >> 23);
        if (shift > 24) {
            return sign;
        }
        uint32_t mantissa = (magnitude & 0x7FFFFFU) | 0x800000U;
        kept = mantissa >> shift;
        rest = mantissa & ((1U << shift) - 1U);
        half = 1U << (shift - 1U);
    } else {
        kept = (magnitude - 0x38000000U) >> 13;
        rest = magnitude & 0x1FFFU;
        half = 0x1000U;
    }
    kept += rest > half || (rest == half && (kept & 1U)) ? 1U : 0U;
    return (uint16_t)(sign | kept);
}

float hold_bf16_to_f32(uint16_t h) {
    return bits_float((uint32_t)h << 16);
}

uint16_t hold_f32_to_bf16(float x) {
    uint32_t bits = float_bits(x);
    if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
        return (uint16_t)(bits >> 16 | 0x40U); /* stays a NaN when the payload is cut */
    }
    return (uint16_t)((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

/* ---- blocks; layouts and order of operations as ggml's dequantize_row_* ---- */

static float half_at(const uint8_t *p) {
    return hold_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* One block taken apart: value i is q[i] * scale[i / group] + min[i / group]. */
struct levels {
    int8_t q[256];
    float scale[16], min[16];
};

static void block_q4_0(const uint8_t *b, struct levels *y) {
    y->scale[0] = half_at(b);
    for (int j = 0; j < 16; j++) {
        y->q[j] = (int8_t)((b[2 + j] & 0x0F) - 8);
        y->q[j + 16] = (int8_t)((b[2 + j] >> 4) - 8);
    }
}

static void block_q4_1(const uint8_t *b, struct levels *y) {
    y->scale[0] = half_at(b);
    y->min[0] = half_at(b + 2);
    for (int j = 0; j < 16; j++) {
        y->q[j] = (int8_t)(b[4 + j] & 0x0F);
        y->q[j + 16] = (int8_t)(b[4 + j] >> 4);
    }
}

/* The fifth bits of a block's 32 values, as the sixteens they stand for. */
static int fifth(uint32_t high, int i) {
    return (int)(high >> i & 1U) << 4;
}

static void block_q5_0(const uint8_t *b, struct levels *y) {
    uint32_t high;
    memcpy(&high, b + 2, sizeof high);
    y->scale[0] = half_at(b);
    for (int j = 0; j < 16; j++) {
        y->q[j] = (int8_t)(((b[6 + j] & 0x0F) | fifth(high, j)) - 16);
        y->q[j + 16] = (int8_t)((b[6 + j] >> 4 | fifth(high, j + 16)) - 16);
    }
}

static void block_q5_1(const uint8_t *b, struct levels *y) {
    uint32_t high;
    memcpy(&high, b + 4, sizeof high);
    y->scale[0] = half_at(b);
    y->min[0] = half_at(b + 2);
    for (int j = 0; j < 16; j++) {
        y->q[j] = (int8_t)((b[8 + j] & 0x0F) | fifth(high, j));
        y->q[j + 16] = (int8_t)(b[8 + j] >> 4 | fifth(high, j + 16));
    }
}

static void block_q8_0(const uint8_t *b, struct levels *y) {
    y->scale[0] = half_at(b);
    memcpy(y->q, b + 2, 32);
}

/* Scale and minimum j (0..7) of a K block, 6 bits each, packed in 12 bytes. */
static void k_scale(const uint8_t *q, int j, float d, float dmin, struct levels *y) {
    int s, m;
    if (j < 4) {
        s = q[j] & 63;
        m = q[j + 4] & 63;
    } else {
        s = (q[j + 4] & 0x0F) | q[j - 4] >> 6 << 4;
        m = q[j + 4] >> 4 | q[j] >> 6 << 4;
    }
    y->scale[j] = d * (float)s;
    y->min[j] = -(dmin * (float)m);
}

static void block_q4_k(const uint8_t *b, struct levels *y) {
    float d = half_at(b), dmin = half_at(b + 2);
    const uint8_t *q = b + 16;
    for (int group = 0; group < 8; group++) {
        const uint8_t *p = q + group / 2 * 32;
        k_scale(b + 4, group, d, dmin, y);
        for (int j = 0; j < 32; j++)
            y->q[group * 32 + j] = (int8_t)(group % 2 == 0 ? p[j] & 0x0F : p[j] >> 4);
    }
}

static void block_q5_k(const uint8_t *b, struct levels *y) {
    float d = half_at(b), dmin = half_at(b + 2);
    const uint8_t *high = b + 16, *q = b + 48;
    for (int group = 0; group < 8; group++) {
        const uint8_t *p = q + group / 2 * 32;
        k_scale(b + 4, group, d, dmin, y);
        for (int j = 0; j < 32; j++) {
            int value = (group % 2 == 0 ? p[j] & 0x0F : p[j] >> 4) | fifth(high[j], group);
            y->q[group * 32 + j] = (int8_t)value;
        }
    }
}

static void block_q6_k(const uint8_t *b, struct levels *y) {
    float d = half_at(b + 208);
    for (int i = 0; i < 16; i++)
        y->scale[i] = d * (float)(int8_t)b[192 + i];
    for (int half = 0; half < 2; half++) {
        const uint8_t *low = b + half * 64, *high = b + 128 + half * 32;
        for (int part = 0; part < 4; part++) { /* 32 values each */
            for (int j = 0; j < 32; j++) {
                uint8_t byte = low[part % 2 * 32 + j];
                int value = (part < 2 ? byte & 0x0F : byte >> 4) | (high[j] >> part * 2 & 3) << 4;
                y->q[half * 128 + part * 32 + j] = (int8_t)(value - 32);
            }
        }
    }
}

static const struct {
    void (*take)(const uint8_t *b, struct levels *y);
    int group, lowest, bits;
    bool min;
} BLOCKS[HOLD_ST_COUNT] = {
    [HOLD_ST_Q4_0] = {block_q4_0, 32, -8, 4, false},
    [HOLD_ST_Q4_1] = {block_q4_1, 32, 0, 4, true},
    [HOLD_ST_Q5_0] = {block_q5_0, 32, -16, 5, false},
    [HOLD_ST_Q5_1] = {block_q5_1, 32, 0, 5, true},
    [HOLD_ST_Q8_0] = {block_q8_0, 32, -128, 8, false},
    [HOLD_ST_Q4_K] = {block_q4_k, 32, 0, 4, true},
    [HOLD_ST_Q5_K] = {block_q5_k, 32, 0, 5, true},
    [HOLD_ST_Q6_K] = {block_q6_k, 16, -32, 6, false},
};

static void expand(enum hold_stored_type type, const struct levels *x, float *y) {
    int64_t group = BLOCKS[type].group, n = TYPES[type].block / group;
    for (int64_t g = 0; g < n; g++)
        for (int64_t j = g * group; j < (g + 1) * group; j++)
            y[j] = BLOCKS[type].min ? (float)x->q[j] * x->scale[g] + x->min[g]
                                    : (float)x->q[j] * x->scale[g];
}

static void plain_to_f32(enum hold_stored_type type, const uint8_t *p, int64_t n, float *out) {
    if (type == HOLD_ST_F32) {
        memcpy(out, p, (size_t)n * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        if (type == HOLD_ST_F64) {
            double value;
            memcpy(&value, p + 8 * i, sizeof value);
            out[i] = (float)value;
        } else {
            uint16_t half;
            memcpy(&half, p + 2 * i, sizeof half);
            out[i] = type == HOLD_ST_F16 ? hold_f16_to_f32(half) : hold_bf16_to_f32(half);
        }
    }
}

int hold_stored_to_f32(const struct hold_stored *t, int64_t first, int64_t n, float *out,
                       struct hold_error *err) {
    if (t->type >= HOLD_ST_I32) {
        return hold_fail(err, HOLD_EFORMAT, "tensor %s: found type %s, expected real numbers",
                         t->name, hold_stored_type_name(t->type));
    }
    int64_t block = TYPES[t->type].block, count = hold_stored_count(t);
    if (first < 0 || n < 0 || n > count || first > count - n || first % block != 0 ||
        n % block != 0) {
        return hold_fail(err, HOLD_EINTERNAL,
                         "tensor %s: elements %lld+%lld asked for of %lld in blocks of %lld",
                         t->name, (long long)first, (long long)n, (long long)count,
                         (long long)block);
    }
    if (n == 0) {
        return HOLD_OK;
    }
    const uint8_t *p = (const uint8_t *)t->data + first / block * TYPES[t->type].bytes;
    if (block == 1) {
        plain_to_f32(t->type, p, n, out);
        return HOLD_OK;
    }
    for (int64_t i = 0; i < n; i += block, p += TYPES[t->type].bytes) {
        struct levels levels;
        BLOCKS[t->type].take(p, &levels);
        expand(t->type, &levels, out + i);
    }
    return HOLD_OK;
}

/* ---- back ---- */

static int64_t halves_from_f32(enum hold_stored_type type, const float *x, int64_t n,
                               uint8_t *out) {
    uint16_t infinity = type == HOLD_ST_F16 ? 0x7C00U : 0x7F80U;
    for (int64_t i = 0; i < n; i++) {
        uint16_t half = type == HOLD_ST_F16 ? hold_f32_to_f16(x[i]) : hold_f32_to_bf16(x[i]);
        if ((half & infinity) == infinity) { /* infinite or no number */
            return i;
        }
        memcpy(out + 2 * i, &half, sizeof half);
    }
    return -1;
}

/* One block: -1, or the index of a number that it cannot hold. */
static int64_t block_from_f32(const float *x, uint8_t *b) {
    float largest = 0;
    int64_t at = 0;
    for (int64_t j = 0; j < 32; j++) {
        if (!isfinite(x[j])) {
            return j;
        }
        if (fabsf(x[j]) > largest) {
            largest = fabsf(x[j]);
            at = j;
        }
    }
    float d = largest / 127, inverse = d > 0 ? 1.0F / d : 0;
    inverse = isfinite(inverse) ? inverse : 0; /* of numbers that a block reads as 0 anyway */
    uint16_t half = hold_f32_to_f16(d);
    if ((half & 0x7C00U) == 0x7C00U) {
        return at;
    }
    memcpy(b, &half, sizeof half);
    for (int j = 0; j < 32; j++) {
        b[2 + j] = (uint8_t)(int8_t)roundf(x[j] * inverse);
    }
    return -1;
}

int64_t hold_stored_from_f32(enum hold_stored_type type, const float *x, int64_t n, void *out) {
    uint8_t *p = out;
    if (type == HOLD_ST_F16 || type == HOLD_ST_BF16) {
        return halves_from_f32(type, x, n, p);
    }
    if (type == HOLD_ST_F32) {
        for (int64_t i = 0; i < n; i++) {
            if (!isfinite(x[i])) {
                return i;
            }
        }
        memcpy(p, x, (size_t)n * sizeof *x);
        return -1;
    }
    for (int64_t i = 0; i < n; i += 32, p += TYPES[HOLD_ST_Q8_0].bytes) {
        int64_t bad = block_from_f32(x + i, p);
        if (bad >= 0) {
            return i + bad;
        }
    }
    return -1;
}

bool hold_stored_levels(const struct hold_stored *t, struct hold_stored_levels *out) {
    if (t->type >= HOLD_ST_COUNT || BLOCKS[t->type].take == NULL)
        return false;
    *out = (struct hold_stored_levels){BLOCKS[t->type].group, BLOCKS[t->type].lowest,
                                       BLOCKS[t->type].bits, BLOCKS[t->type].min};
    return true;
}

void hold_stored_take_levels(const struct hold_stored *t, int8_t *q, float *scale, float *min) {
    int64_t block = TYPES[t->type].block, groups = block / BLOCKS[t->type].group;
    int64_t n = hold_stored_count(t) / block;
    const uint8_t *p = t->data;
    for (int64_t i = 0; i < n; i++, p += TYPES[t->type].bytes) {
        struct levels levels = {.min = {0}};
        BLOCKS[t->type].take(p, &levels);
        memcpy(q + i * block, levels.q, (size_t)block);
        memcpy(scale + i * groups, levels.scale, (size_t)groups * sizeof *scale);
        memcpy(min + i * groups, levels.min, (size_t)groups * sizeof *min);
    }
}

/* ---- look-up ---- */

const struct hold_stored *hold_stored_find(const struct hold_stored *list, int64_t n,
                                           const char *name) {
    for (int64_t i = 0; i < n; i++) {
        if (strcmp(list[i].name, name) == 0) {
            return &list[i];
        }
    }
    return NULL;
}

static int by_name(const void *a, const void *b) {
    const struct hold_stored *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

int hold_stored_sort(const struct hold_stored *list, int64_t n, const char *where,
                     const struct hold_stored ***out, struct hold_error *err) {
    void *memory = NULL;
    int rc = hold_new(&memory, (size_t)n + 1, sizeof **out, "an index of tensor names", err);
    if (rc) {
        return rc;
    }
    const struct hold_stored **sorted = memory;
    for (int64_t i = 0; i < n; i++) {
        sorted[i] = &list[i];
    }
    qsort(sorted, (size_t)n, sizeof *sorted, by_name);
    for (int64_t i = 1; i < n; i++) {
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0) {
            rc = hold_fail(err, HOLD_EFORMAT, "%s: tensor %s is there twice", where,
                           sorted[i]->name);
            hold_free(memory);
            return rc;
        }
    }
    *out = sorted;
    return HOLD_OK;
}

const struct hold_stored *hold_stored_sorted_find(const struct hold_stored *const *sorted,
                                                  int64_t n, const char *name) {
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(sorted[middle]->name, name);
        if (order == 0) {
            return sorted[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}
