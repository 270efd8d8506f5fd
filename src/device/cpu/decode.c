/* decode.c: attention of one query to keys in a cache, read where they lie: a decoding row's keys
 * are many short stretches, and gathering them costs more than what is computed with them.  The
 * order of every sum is attention.c's for few rows, so a row has the same bytes. */
#include "device/cpu/isa.h"

#include "device/cpu/attention.h"
#include "device/cpu/decode.h"

enum { FEW = 6, MAX_VECS = 8 };

bool hold_decode_fits(const struct problem *p, const struct hold_query_run *run) {
    return run->n == 1 && p->group <= FEW && p->dim == p->dim_padded && p->dim <= MAX_VECS * VEC;
}

/* The next keys of a run: where they are in its spans. */
struct place {
    const struct hold_span *span;
    int32_t at; /* keys of the span that are behind us */
};

/* Rows of the next n keys. */
static void next_rows(struct place *place, int64_t n, int32_t *rows) {
    for (int64_t i = 0; i < n;) {
        int64_t left = place->span->len - place->at, take = left < n - i ? left : n - i;
        int32_t first = place->span->first + place->at;
        for (int64_t j = 0; j < take; j++)
            rows[i + j] = first + (int32_t)j;
        i += take;
        place->at += (int32_t)take;
        if (place->at == place->span->len) {
            place->span++;
            place->at = 0;
        }
    }
}

/* s(group, KEYS) = scaled q k' with n keys; past the last key the last one is read again. */
static inline __attribute__((always_inline)) void scores(int64_t vecs, int64_t group,
                                                         const float *q, int64_t n, const float *k,
                                                         int64_t ldk, const int32_t *rows,
                                                         float *s) {
    const int64_t dim = vecs * VEC;
    for (int64_t i = 0; i < n; i += VEC) {
        const float *key[VEC];
        for (int l = 0; l < VEC; l++)
            key[l] = k + rows[i + l < n ? i + l : n - 1] * ldk;
        for (int64_t r = 0; r < group; r++) {
            vec sum[VEC];
#pragma GCC unroll 16
            for (int l = 0; l < VEC; l++)
                sum[l] = vec_load(q + r * dim) * vec_load(key[l]);
            for (int64_t j = VEC; j < dim; j += VEC) {
                vec part = vec_load(q + r * dim + j);
#pragma GCC unroll 16
                for (int l = 0; l < VEC; l++)
                    sum[l] += part * vec_load(key[l] + j);
            }
            vec_transpose(sum);
            vec total = sum[0];
#pragma GCC unroll 16
            for (int l = 1; l < VEC; l++)
                total += sum[l];
            vec_store(s + r * KEYS + i, total);
        }
    }
}

/* s becomes exp(s - new maximum), and the sum and o are brought to the new maximum. */
static void soften(int64_t n, float *s, float *most, float *sum, int64_t dim, float *o) {
    int64_t wide = round_up(n, VEC);
    for (int64_t j = n; j < wide; j++)
        s[j] = -INFINITY;
    vec top = (vec){0} + *most, total = (vec){0};
    for (int64_t j = 0; j < wide; j += VEC)
        top = vec_max(vec_load(s + j), top);
    top = (vec){0} + vec_top(top);
    for (int64_t j = 0; j < wide; j += VEC) {
        vec e = vec_exp(vec_load(s + j) - top);
        vec_store(s + j, e);
        total += e;
    }
    float shrink = fast_exp(*most - top[0]);
    *sum = *sum * shrink + vec_sum(total);
    *most = top[0];
    if (shrink == 1.0f)
        return;
    for (int64_t j = 0; j < dim; j += VEC)
        vec_store(o + j, shrink * vec_load(o + j));
}

/* `count` rows of o(group, dim) += s v, `vecs` registers of each; both are constants where inlined.
 */
static inline __attribute__((always_inline)) void mix_part(int count, int vecs, int64_t dim,
                                                           const float *s, int64_t n,
                                                           const float *v, int64_t ldv,
                                                           const int32_t *rows, float *o) {
    vec sum[3][4];
#pragma GCC unroll 3
    for (int r = 0; r < count; r++)
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++)
            sum[r][l] = (vec){0};
    for (int64_t i = 0; i < n; i++) {
        const float *value = v + rows[i] * ldv;
#pragma GCC unroll 3
        for (int r = 0; r < count; r++)
#pragma GCC unroll 4
            for (int l = 0; l < vecs; l++)
                sum[r][l] += s[r * KEYS + i] * vec_load(value + l * VEC);
    }
#pragma GCC unroll 3
    for (int r = 0; r < count; r++)
#pragma GCC unroll 4
        for (int l = 0; l < vecs; l++)
            vec_store(o + r * dim + l * VEC, sum[r][l] + vec_load(o + r * dim + l * VEC));
}

/* o(group, dim) += s v. */
static void mix(int64_t group, int64_t dim, const float *s, int64_t n, const float *v, int64_t ldv,
                const int32_t *rows, float *o) {
    int64_t j = 0;
    for (; j + 4 * VEC <= dim; j += 4 * VEC) {
        int64_t r = 0;
        for (; r + 3 <= group; r += 3)
            mix_part(3, 4, dim, s + r * KEYS, n, v + j, ldv, rows, o + r * dim + j);
        for (; r < group; r++)
            mix_part(1, 4, dim, s + r * KEYS, n, v + j, ldv, rows, o + r * dim + j);
    }
    for (; j < dim; j += VEC)
        for (int64_t r = 0; r < group; r++)
            mix_part(1, 1, dim, s + r * KEYS, n, v + j, ldv, rows, o + r * dim + j);
}

void hold_decode_query(const struct problem *p, const struct hold_query_run *run, int64_t keys,
                       int64_t head) {
    _Alignas(64) float q[FEW * MAX_VECS * VEC], o[FEW * MAX_VECS * VEC], s[FEW * KEYS];
    float most[FEW], sum[FEW];
    int32_t rows[KEYS];
    struct place place = {p->spans + run->first_span, 0};
    const float *from = p->q + run->first * p->ldq + head * p->group * p->dim;
    const float *k = p->k + head * p->dim, *v = p->v + head * p->dim;
    int64_t size = p->group * p->dim, vecs = p->dim / VEC;
    for (int64_t j = 0; j < size; j++)
        q[j] = p->a->scale * from[j];
    memset(o, 0, (size_t)size * sizeof(float));
    for (int64_t r = 0; r < p->group; r++) {
        most[r] = -INFINITY;
        sum[r] = 0;
    }
    for (int64_t key = 0; key < keys; key += KEYS) {
        int64_t n = keys - key < KEYS ? keys - key : KEYS;
        next_rows(&place, n, rows);
        if (vecs == 4)
            scores(4, p->group, q, n, k, p->ldk, rows, s);
        else
            scores(vecs, p->group, q, n, k, p->ldk, rows, s);
        for (int64_t r = 0; r < p->group; r++)
            soften(n, s + r * KEYS, most + r, sum + r, p->dim, o + r * p->dim);
        mix(p->group, p->dim, s, n, v, p->ldv, rows, o);
    }
    for (int64_t r = 0; r < p->group; r++) {
        int64_t h = head * p->group + r;
        float *to = p->out + run->first * p->ldo + h * p->dim, inverse = 1.0f / sum[r];
        for (int64_t j = 0; j < p->dim; j++)
            to[j] = o[r * p->dim + j] * inverse;
        p->lse[run->first * p->a->n_heads + h] = most[r] + logf(sum[r]);
    }
}
