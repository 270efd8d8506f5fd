/* attention.c: attention over runs of queries and spans of keys, forward and backward, without a
 * matrix of probabilities (Dao et al., "FlashAttention", 2022, algorithms 1 and 4).
 *
 * The query heads that share a key head are stacked as rows of one tile, so a tile of keys is
 * packed once for all of them.  Forward: a thread owns (queries, key head).  Backward: the queries
 * are cut into parts of like work; a thread owns (part, key head) and adds to dk and dv.  A key
 * that several parts see has a private row a part; these are added in the order of parts. */
#include "device/cpu/isa.h"

#include "device/cpu/attention.h"

enum { FEW_ROWS = 6, MIN_SHARES = 12 };

/* Checks sizes and fills what both directions need; false: the device has the error. */
static bool begin(struct hold_device *d, struct problem *p, const struct hold_attention *a) {
    p->a = a;
    p->runs = hold_any(a->runs);
    p->spans = hold_any(a->spans);
    p->group = a->n_heads / a->n_kv_heads;
    p->dim = a->head_dim;
    p->dim_padded = round_up(a->head_dim, VEC);
    if (p->dim <= MAX_DIM && p->group <= ROWS)
        return true;
    hold_device_stick(d, HOLD_EUNSUPPORTED,
                      "attention: head size %lld (at most %d), %lld heads a key head (at most %d)",
                      (long long)p->dim, MAX_DIM, (long long)p->group, ROWS);
    return false;
}

static int64_t run_keys(const struct problem *p, const struct hold_query_run *run) {
    int64_t keys = 0;
    for (int64_t s = 0; s < run->n_spans; s++)
        keys += p->spans[run->first_span + s].len;
    return keys;
}

/* Cut every run into units of at most ROWS rows; NULL when scratch is out.  `extra` bytes of
 * scratch follow the units at *rest. */
static struct unit *make_units(struct hold_device *d, const struct problem *p, int64_t *count,
                               int64_t extra, void **rest) {
    int64_t most = ROWS / p->group, n = 0;
    for (int64_t r = 0; r < p->a->n_runs; r++)
        n += (p->runs[r].n + most - 1) / most;
    int64_t bytes = round_up(n * (int64_t)sizeof(struct unit), 64);
    char *memory = hold_cpu_scratch(d, 0, bytes + extra);
    if (!memory)
        return NULL;
    struct unit *units = (struct unit *)(void *)memory;
    *rest = memory + bytes;
    *count = n;
    n = 0;
    double pairs = 0;
    for (int64_t r = 0; r < p->a->n_runs; r++) {
        const struct hold_query_run *run = p->runs + r;
        int64_t keys = run_keys(p, run);
        pairs += (double)run->n * ((double)keys - 0.5 * (run->n - 1));
        for (int64_t first = 0; first < run->n; first += most) {
            int64_t left = run->n - first;
            units[n++] = (struct unit){(int32_t)r, (int32_t)first,
                                       (int32_t)(left < most ? left : most), keys};
        }
    }
    hold_cpu(d)->state.flop += (p->dout ? 8.0 : 4.0) * pairs * (double)(p->a->n_heads * p->dim);
    return units;
}

static float vec_sum(vec v) {
    float sum = 0;
#pragma GCC unroll 16
    for (int i = 0; i < VEC; i++)
        sum += v[i];
    return sum;
}

/* s(rows, KEYS) = q k' for few rows, where packing keys would cost more than the product. */
static void few_scores(const struct problem *p, int64_t rows, const float *q, const int32_t *at,
                       int64_t n, int64_t head, float *s) {
    for (int64_t i = 0; i < n; i++) {
        const float *key = p->k + at[i] * p->ldk + head * p->dim;
        for (int64_t r = 0; r < rows; r++) {
            const float *query = q + r * p->dim_padded;
            vec sum = (vec){0};
            int64_t j = 0;
            for (; j + VEC <= p->dim; j += VEC)
                sum += vec_load(query + j) * vec_load(key + j);
            float total = vec_sum(sum);
            for (; j < p->dim; j++)
                total += query[j] * key[j];
            s[r * KEYS + i] = total;
        }
    }
}

/* Take one row of scores into the running softmax: s becomes exp(s - new maximum), zero where the
 * query does not see; o and the sum are brought to the new maximum. */
static void soft_row(int64_t seen, int64_t n, float *s, float *most, float *sum, int64_t dim,
                     float *o) {
    for (int64_t j = seen; j < n; j++)
        s[j] = -INFINITY;
    float top = *most, total = 0;
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < n; j++)
        top = s[j] > top ? s[j] : top;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < n; j++) {
        s[j] = fast_exp(s[j] - top);
        total += s[j];
    }
    float shrink = fast_exp(*most - top);
    *sum = *sum * shrink + total;
    *most = top;
    if (shrink == 1.0f)
        return;
#pragma omp simd
    for (int64_t j = 0; j < dim; j++)
        o[j] *= shrink;
}

static void forward_unit(const struct problem *p, const struct unit *u, int64_t head) {
    _Alignas(64) float q[ROWS * MAX_DIM], o[ROWS * MAX_DIM], s[ROWS * KEYS];
    _Alignas(64) float packed[KEYS * MAX_DIM], values[KEYS * MAX_DIM];
    float most[ROWS], sum[ROWS];
    int32_t at[KEYS];
    const struct hold_query_run *run = p->runs + u->run;
    int64_t rows = u->n * p->group, dim = p->dim_padded, keys = keys_seen(p, u, rows - 1);
    gather_queries(p, u, head, p->q, p->ldq, p->a->scale, q);
    memset(o, 0, (size_t)(rows * dim) * sizeof(float));
    for (int64_t r = 0; r < rows; r++) {
        most[r] = -INFINITY;
        sum[r] = 0;
    }
    for (int64_t key = 0; key < keys; key += KEYS) {
        int64_t n = keys - key < KEYS ? keys - key : KEYS, wide = round_up(n, VEC), skip = 0;
        key_rows(p, run, key, n, at);
        while (keys_seen(p, u, skip) <= key)
            skip++;
        const float *qs = q + skip * dim;
        if (rows - skip <= FEW_ROWS) {
            few_scores(p, rows - skip, qs, at, n, head, s);
        } else {
            gather_keys_transposed(p, at, n, head, p->k, p->ldk, packed);
            hold_block_product(rows - skip, wide, p->dim, qs, dim, 1, packed, KEYS, false, s, KEYS);
        }
        for (int64_t r = skip; r < rows; r++) {
            int64_t seen = keys_seen(p, u, r) - key;
            soft_row(seen < n ? seen : n, wide, s + (r - skip) * KEYS, most + r, sum + r, dim,
                     o + r * dim);
        }
        const float *v = values;
        int64_t ldv = dim;
        if (dim == p->dim && at[n - 1] - at[0] == n - 1) { /* one stretch: read where it lies */
            v = p->v + at[0] * p->ldv + head * p->dim;
            ldv = p->ldv;
        } else {
            gather_keys(p, at, n, head, p->v, p->ldv, values);
        }
        hold_block_product(rows - skip, dim, n, s, KEYS, 1, v, ldv, true, o + skip * dim, dim);
    }
    for (int64_t r = 0; r < rows; r++) {
        int64_t query = run->first + u->first + r / p->group;
        int64_t h = head * p->group + r % p->group;
        float *to = p->out + query * p->ldo + h * p->dim, inverse = 1.0f / sum[r];
        for (int64_t j = 0; j < p->dim; j++)
            to[j] = o[r * dim + j] * inverse;
        p->lse[query * p->a->n_heads + h] = most[r] + logf(sum[r]);
    }
}

static void attention_forward(struct hold_device *d, const struct hold_attention *a,
                              struct hold_ptr q, int64_t ldq, struct hold_ptr k, int64_t ldk,
                              struct hold_ptr v, int64_t ldv, struct hold_ptr out, int64_t ldo,
                              struct hold_ptr lse) {
    struct problem p = {.q = hold_f32(q),
                        .k = hold_f32(k),
                        .v = hold_f32(v),
                        .out = hold_f32(out),
                        .lse = hold_f32(lse),
                        .ldq = ldq,
                        .ldk = ldk,
                        .ldv = ldv,
                        .ldo = ldo};
    int64_t n_units;
    void *rest;
    if (!begin(d, &p, a))
        return;
    const struct unit *units = make_units(d, &p, &n_units, 0, &rest);
    if (!units)
        return;
    /* Units are independent, so the order in which threads take them changes nothing. */
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(d->threads)
    for (int64_t i = 0; i < n_units; i++)
        for (int64_t head = 0; head < a->n_kv_heads; head++)
            forward_unit(&p, units + i, head);
}

/* Where a part's gradients of keys go: the rows of dk and dv, or private rows. */
struct sink {
    const int32_t *slot; /* per key row: private row's number, or -1 */
    float *private_rows; /* of this part and key head: (slots, 2, dim) */
};

static void add_row(int64_t n, const float *from, float *to) {
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        to[j] += from[j];
}

static void put_key_gradients(const struct problem *p, const struct sink *sink, int64_t head,
                              const int32_t *at, int64_t n, const float *dk, const float *dv) {
    for (int64_t i = 0; i < n; i++) {
        int64_t slot = sink->slot[at[i]], offset = head * p->dim;
        float *to_k = slot < 0 ? p->dk + at[i] * p->lddk + offset
                               : sink->private_rows + 2 * slot * p->dim;
        float *to_v = slot < 0 ? p->dv + at[i] * p->lddv + offset : to_k + p->dim;
        add_row(p->dim, dk + i * p->dim_padded, to_k);
        add_row(p->dim, dv + i * p->dim_padded, to_v);
    }
}

/* s becomes p = exp(s - lse), zero where not seen; ds = p * (dp - delta) takes dp's place. */
static void backward_row(int64_t seen, int64_t n, float lse, float delta, float *s, float *dp) {
    for (int64_t j = seen; j < n; j++)
        s[j] = -INFINITY;
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        float e = fast_exp(s[j] - lse);
        s[j] = e;
        dp[j] = e * (dp[j] - delta);
    }
}

static void backward_unit(const struct problem *p, const struct unit *u, int64_t head,
                          const struct sink *sink) {
    _Alignas(64) float q[ROWS * MAX_DIM], dout[ROWS * MAX_DIM], dq[ROWS * MAX_DIM];
    _Alignas(64) float s[ROWS * KEYS], dp[ROWS * KEYS], packed[KEYS * MAX_DIM];
    _Alignas(64) float keys[KEYS * MAX_DIM], dk[KEYS * MAX_DIM], dv[KEYS * MAX_DIM];
    float lse[ROWS], delta[ROWS];
    int32_t at[KEYS];
    const struct hold_query_run *run = p->runs + u->run;
    int64_t rows = u->n * p->group, dim = p->dim_padded, end = keys_seen(p, u, rows - 1);
    int64_t first = run->first + u->first;
    gather_queries(p, u, head, p->q, p->ldq, p->a->scale, q);
    gather_queries(p, u, head, p->dout, p->lddo, 1, dout);
    memset(dq, 0, (size_t)(rows * dim) * sizeof(float));
    for (int64_t r = 0; r < rows; r++) {
        int64_t query = first + r / p->group, h = head * p->group + r % p->group;
        const float *o = p->out + query * p->ldo + h * p->dim;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < p->dim; j++)
            sum += o[j] * dout[r * dim + j];
        delta[r] = sum;
        lse[r] = p->lse[query * p->a->n_heads + h];
    }
    for (int64_t key = 0; key < end; key += KEYS) {
        int64_t n = end - key < KEYS ? end - key : KEYS, wide = round_up(n, VEC), skip = 0;
        key_rows(p, run, key, n, at);
        while (keys_seen(p, u, skip) <= key)
            skip++;
        int64_t left = rows - skip;
        const float *qs = q + skip * dim, *ds = dout + skip * dim;
        gather_keys_transposed(p, at, n, head, p->k, p->ldk, packed);
        hold_block_product(left, wide, p->dim, qs, dim, 1, packed, KEYS, false, s, KEYS);
        gather_keys_transposed(p, at, n, head, p->v, p->ldv, packed);
        hold_block_product(left, wide, p->dim, ds, dim, 1, packed, KEYS, false, dp, KEYS);
        for (int64_t r = skip; r < rows; r++) {
            int64_t seen = keys_seen(p, u, r) - key, row = (r - skip) * KEYS;
            backward_row(seen < n ? seen : n, wide, lse[r], delta[r], s + row, dp + row);
        }
        gather_keys(p, at, n, head, p->k, p->ldk, keys);
        hold_block_product(left, dim, n, dp, KEYS, 1, keys, dim, true, dq + skip * dim, dim);
        hold_block_product(n, dim, left, dp, 1, KEYS, qs, dim, false, dk, dim);
        hold_block_product(n, dim, left, s, 1, KEYS, ds, dim, false, dv, dim);
        put_key_gradients(p, sink, head, at, n, dk, dv);
    }
    for (int64_t r = 0; r < rows; r++) {
        float *to = p->dq + (first + r / p->group) * p->lddq +
                    (head * p->group + r % p->group) * p->dim;
        for (int64_t j = 0; j < p->dim; j++)
            to[j] = p->a->scale * dq[r * dim + j];
    }
}

/* Part bounds over units, by work: part i holds units [bounds[i], bounds[i+1]). */
static void cut_parts(const struct problem *p, const struct unit *units, int64_t n_units,
                      int64_t parts, int64_t *bounds) {
    double total = 0, sum = 0;
    for (int64_t i = 0; i < n_units; i++)
        total += (double)units[i].n * (double)keys_seen(p, units + i, 0);
    int64_t part = 0;
    bounds[0] = 0;
    for (int64_t i = 0; i < n_units; i++) {
        while (part + 1 < parts && sum >= total * (double)(part + 1) / (double)parts)
            bounds[++part] = i;
        sum += (double)units[i].n * (double)keys_seen(p, units + i, 0);
    }
    while (part < parts)
        bounds[++part] = n_units;
}

/* slot[key] = a number for each key row that more than one part sees, else -1; returns how many. */
static int64_t find_shared(const struct problem *p, const struct unit *units, int64_t parts,
                           const int64_t *bounds, int32_t *slot) {
    enum { NOBODY = -1, SEVERAL = -2 };
    for (int64_t i = 0; i < p->a->n_keys; i++)
        slot[i] = NOBODY;
    for (int64_t part = 0; part < parts; part++)
        for (int64_t i = bounds[part]; i < bounds[part + 1]; i++) {
            const struct hold_query_run *run = p->runs + units[i].run;
            if (i > bounds[part] && units[i - 1].run == units[i].run)
                continue;
            for (int64_t s = run->first_span; s < run->first_span + run->n_spans; s++)
                for (int32_t k = p->spans[s].first; k < p->spans[s].first + p->spans[s].len; k++)
                    if (slot[k] != part)
                        slot[k] = slot[k] == NOBODY ? (int32_t)part : SEVERAL;
        }
    int32_t shared = 0;
    for (int64_t i = 0; i < p->a->n_keys; i++)
        slot[i] = slot[i] == SEVERAL ? shared++ : -1;
    return shared;
}

static void zero_rows(int threads, int64_t rows, int64_t cols, float *x, int64_t ld) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < rows; i++)
        memset(x + i * ld, 0, (size_t)cols * sizeof(float));
}

static void add_private(struct hold_device *d, const struct problem *p, int64_t parts,
                        int64_t shared, const int32_t *slot, const float *rows) {
    int64_t heads = p->a->n_kv_heads, stride = shared * 2 * p->dim;
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, parts * heads * stride))
    for (int64_t key = 0; key < p->a->n_keys; key++) {
        if (slot[key] < 0)
            continue;
        for (int64_t part = 0; part < parts; part++)
            for (int64_t head = 0; head < heads; head++) {
                const float *from = rows + (part * heads + head) * stride + slot[key] * 2 * p->dim;
                add_row(p->dim, from, p->dk + key * p->lddk + head * p->dim);
                add_row(p->dim, from + p->dim, p->dv + key * p->lddv + head * p->dim);
            }
    }
}

static void backward(struct hold_device *d, struct problem *p) {
    const struct hold_attention *a = p->a;
    int64_t n_units, heads = a->n_kv_heads, queries = 0;
    /* Few enough parts that keys are seldom shared, many enough that threads end together; up to
     * six threads the same number, so that the bytes are the same too. */
    int64_t shares = 2 * d->threads < MIN_SHARES ? MIN_SHARES : 2 * d->threads;
    int64_t parts = (shares + heads - 1) / heads;
    int64_t bounds_bytes = round_up((parts + 1) * (int64_t)sizeof(int64_t), 64);
    int64_t slot_bytes = round_up(a->n_keys * (int64_t)sizeof(int32_t), 64);
    void *rest;
    const struct unit *units = make_units(d, p, &n_units, bounds_bytes + slot_bytes, &rest);
    if (!units)
        return;
    int64_t *bounds = rest;
    int32_t *slot = (int32_t *)(void *)((char *)rest + bounds_bytes);
    cut_parts(p, units, n_units, parts, bounds);
    int64_t shared = find_shared(p, units, parts, bounds, slot);
    int64_t stride = shared * 2 * p->dim; /* of one part and key head */
    float *rows = NULL;
    if (shared &&
        !(rows = hold_cpu_scratch(d, 1, parts * heads * stride * (int64_t)sizeof(float))))
        return;
    zero_rows(d->threads, a->n_keys, heads * p->dim, p->dk, p->lddk);
    zero_rows(d->threads, a->n_keys, heads * p->dim, p->dv, p->lddv);
    for (int64_t r = 0; r < a->n_runs; r++)
        queries += p->runs[r].n;
    if (queries < a->n_queries)
        zero_rows(d->threads, a->n_queries, a->n_heads * p->dim, p->dq, p->lddq);
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(d->threads)
    for (int64_t part = 0; part < parts; part++)
        for (int64_t head = 0; head < heads; head++) {
            struct sink sink = {slot, shared ? rows + (part * heads + head) * stride : NULL};
            if (shared)
                memset(sink.private_rows, 0, (size_t)stride * sizeof(float));
            for (int64_t i = bounds[part]; i < bounds[part + 1]; i++)
                backward_unit(p, units + i, head, &sink);
        }
    if (shared)
        add_private(d, p, parts, shared, slot, rows);
}

static void attention_backward(struct hold_device *d, const struct hold_attention *a,
                               struct hold_ptr q, int64_t ldq, struct hold_ptr k, int64_t ldk,
                               struct hold_ptr v, int64_t ldv, struct hold_ptr out, int64_t ldo,
                               struct hold_ptr lse, struct hold_ptr dout, int64_t lddo,
                               struct hold_ptr dq, int64_t lddq, struct hold_ptr dk, int64_t lddk,
                               struct hold_ptr dv, int64_t lddv) {
    struct problem p = {.q = hold_f32(q),
                        .k = hold_f32(k),
                        .v = hold_f32(v),
                        .out = hold_f32(out),
                        .dout = hold_f32(dout),
                        .lse = hold_f32(lse),
                        .dq = hold_f32(dq),
                        .dk = hold_f32(dk),
                        .dv = hold_f32(dv),
                        .ldq = ldq,
                        .ldk = ldk,
                        .ldv = ldv,
                        .ldo = ldo,
                        .lddo = lddo,
                        .lddq = lddq,
                        .lddk = lddk,
                        .lddv = lddv};
    if (begin(d, &p, a))
        backward(d, &p);
}

void HOLD_ISA_NAME(hold_cpu_attention)(struct hold_kernels *kernels) {
    kernels->attention_forward = attention_forward;
    kernels->attention_backward = attention_backward;
}
