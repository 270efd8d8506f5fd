/* attention.h: what attention's two directions share: tiles of queries and keys. */
#ifndef HOLD_DEVICE_CPU_ATTENTION_H
#define HOLD_DEVICE_CPU_ATTENTION_H

#include "device/cpu/block.h"

/* A tile: query rows (the queries of one key head, all its query heads) by keys. */
enum { ROWS = 128, KEYS = 64, MAX_DIM = 256 };

/* The call's arguments, as pointers. */
struct problem {
    const struct hold_attention *a;
    const struct hold_query_run *runs;
    const struct hold_span *spans;
    const float *q, *k, *v, *dout;
    float *out, *lse, *dq, *dk, *dv;
    int64_t ldq, ldk, ldv, ldo, lddo, lddq, lddk, lddv;
    int64_t group, dim, dim_padded; /* query heads a key head; head_dim, and up to full registers */
};

/* Queries [first, first + n) of a run; keys: how many its run sees in all; work: products. */
struct unit {
    int32_t run, first, n;
    int64_t keys;
};

/* Keys of a run, spans joined: key number i is row rows[i - from] of k and v.  Returns whether the
 * rows are one stretch of memory. */
static inline bool key_rows(const struct problem *p, const struct hold_query_run *run, int64_t from,
                            int64_t n, int32_t *rows) {
    int64_t span = run->first_span;
    bool stretch = true;
    while (from >= p->spans[span].len)
        from -= p->spans[span++].len;
    for (int64_t i = 0; i < n; i++) {
        while (from >= p->spans[span].len) {
            span++;
            from = 0;
        }
        rows[i] = p->spans[span].first + (int32_t)from++;
        stretch = stretch && rows[i] == rows[0] + i;
    }
    return stretch;
}

/* How many keys the unit's query at row r of its tile sees. */
static inline int64_t keys_seen(const struct problem *p, const struct unit *u, int64_t r) {
    return u->keys - p->runs[u->run].n + u->first + r / p->group + 1;
}

/* to(row, dim_padded) = scale * the unit's rows of x (queries x heads), zeros in the padding. */
static inline void gather_queries(const struct problem *p, const struct unit *u, int64_t head,
                                  const float *x, int64_t ld, float scale, float *to) {
    int64_t rows = u->n * p->group, first = p->runs[u->run].first + u->first;
    for (int64_t r = 0; r < rows; r++) {
        const float *from =
            x + (first + r / p->group) * ld + (head * p->group + r % p->group) * p->dim;
        float *row = to + r * p->dim_padded;
        for (int64_t j = 0; j < p->dim; j++)
            row[j] = scale * from[j];
        for (int64_t j = p->dim; j < p->dim_padded; j++)
            row[j] = 0;
    }
}

/* to(n, dim_padded) = rows of x at one key head. */
static inline void gather_keys(const struct problem *p, const int32_t *rows, int64_t n,
                               int64_t head, const float *x, int64_t ld, float *to) {
    for (int64_t i = 0; i < n; i++) {
        const float *from = x + rows[i] * ld + head * p->dim;
        float *row = to + i * p->dim_padded;
        for (int64_t j = 0; j < p->dim; j++)
            row[j] = from[j];
        for (int64_t j = p->dim; j < p->dim_padded; j++)
            row[j] = 0;
    }
}

/* to(dim, KEYS) = the transpose of n contiguous rows of dim; zeros up to full registers. */
static inline void transpose_keys(const struct problem *p, int64_t n, const float *x, int64_t ld,
                                  float *to) {
    transpose(n, p->dim, x, ld, 1, to, KEYS);
    for (int64_t j = 0; j < p->dim; j++)
        for (int64_t i = n; i < round_up(n, VEC); i++)
            to[j * KEYS + i] = 0;
}

/* The n rows of x at one key head: where they lie when they are one stretch of whole registers,
 * else gathered in `space`.  *ld: the leading dimension of what is returned. */
static inline const float *view_keys(const struct problem *p, const int32_t *rows, int64_t n,
                                     bool stretch, int64_t head, const float *x, int64_t ldx,
                                     float *space, int64_t *ld) {
    if (stretch && p->dim == p->dim_padded) {
        *ld = ldx;
        return x + rows[0] * ldx + head * p->dim;
    }
    *ld = p->dim_padded;
    gather_keys(p, rows, n, head, x, ldx, space);
    return space;
}

#endif
