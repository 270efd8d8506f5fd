/* attention.c: attention over runs of queries and spans of keys, forward and backward, without a
 * matrix of probabilities (Dao et al., "FlashAttention", 2022, algorithms 1 and 4).
 *
 * The query heads that share a key head are stacked as rows of one tile, so a tile of keys is
 * packed once for all of them.  Forward: a thread owns (queries, key head).  Backward: the queries
 * are cut into parts of like work; a thread owns (part, key head) and adds to dk and dv.  A key
 * that several parts see has a private row a part; these are added in the order of parts. */
#include "device/cpu/isa.h"

#include "device/cpu/attention.h"
#include "device/cpu/decode.h"

enum { FEW_ROWS = 6, EDGE_ROWS = 24, EDGE_KEYS = 24, MIN_SHARES = 12 };

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

/* s(rows, KEYS) = q k' for few rows, where packing keys would cost more than the product: VEC keys
 * at a time, whose sums are folded together by a transpose. */
static void few_scores(const struct problem *p, int64_t rows, const float *q, int64_t n,
                       const float *keys, int64_t ldk, float *s) {
    for (int64_t i = 0; i < n; i += VEC)
        for (int64_t r = 0; r < rows; r++) {
            const float *query = q + r * p->dim_padded;
            vec sum[VEC];
#pragma GCC unroll 16
            for (int l = 0; l < VEC; l++) {
                /* Past the last key the last one is read again; its scores are not seen. */
                const float *key = keys + (i + l < n ? i + l : n - 1) * ldk;
                sum[l] = vec_load(query) * vec_load(key);
                for (int64_t j = VEC; j < p->dim_padded; j += VEC)
                    sum[l] += vec_load(query + j) * vec_load(key + j);
            }
            vec_transpose(sum);
            vec total = sum[0];
#pragma GCC unroll 16
            for (int l = 1; l < VEC; l++)
                total += sum[l];
            vec_store(s + r * KEYS + i, total);
        }
}

/* Take one row of scores into the running softmax: s becomes exp(s - new maximum), zero where the
 * query does not see; o and the sum are brought to the new maximum. */
static void soft_row(int64_t seen, int64_t n, float *s, float *most, float *sum, int64_t dim,
                     float *o) {
    for (int64_t j = seen; j < n; j++)
        s[j] = -INFINITY;
    vec top = (vec){0} + *most, total = (vec){0};
    for (int64_t j = 0; j < n; j += VEC)
        top = vec_max(vec_load(s + j), top);
    top = (vec){0} + vec_top(top);
    for (int64_t j = 0; j < n; j += VEC) {
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

/* Rows [r, end) of a tile are taken together: all when they see all its keys, else a few, so that
 * little is computed on the far side of the causal edge. */
static int64_t rows_end(const struct problem *p, const struct unit *u, int64_t r, int64_t rows,
                        int64_t keys) {
    return keys_seen(p, u, r) >= keys || rows - r < EDGE_ROWS ? rows : r + EDGE_ROWS;
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void forward_unit(const struct problem *p, const struct unit *u, int64_t head) {
    _Alignas(64) float q[ROWS * MAX_DIM], o[ROWS * MAX_DIM], s[ROWS * KEYS];
    _Alignas(64) float packed[KEYS * MAX_DIM], space_k[KEYS * MAX_DIM], space_v[KEYS * MAX_DIM];
    float most[ROWS], sum[ROWS];
    int32_t at[KEYS];
    const struct hold_query_run *run = p->runs + u->run;
    int64_t rows = u->n * p->group, dim = p->dim_padded, keys = keys_seen(p, u, rows - 1),
            first = 0;
    gather_queries(p, u, head, p->q, p->ldq, p->a->scale, q);
    memset(o, 0, (size_t)(rows * dim) * sizeof(float));
    for (int64_t r = 0; r < rows; r++) {
        most[r] = -INFINITY;
        sum[r] = 0;
    }
    for (int64_t key = 0; key < keys; key += KEYS) {
        int64_t n = smaller(keys - key, KEYS), ldk, ldv;
        bool stretch = key_rows(p, run, key, n, at);
        while (keys_seen(p, u, first) <= key)
            first++;
        const float *k = view_keys(p, at, n, stretch, head, p->k, p->ldk, space_k, &ldk);
        const float *v = view_keys(p, at, n, stretch, head, p->v, p->ldv, space_v, &ldv);
        bool few = rows - first <= FEW_ROWS;
        if (!few)
            transpose_keys(p, n, k, ldk, packed);
        for (int64_t r = first, end; r < rows; r = end) {
            end = rows_end(p, u, r, rows, key + n);
            int64_t cols = smaller(n, keys_seen(p, u, end - 1) - key), wide = round_up(cols, VEC);
            if (few)
                few_scores(p, end - r, q + r * dim, cols, k, ldk, s);
            else
                hold_block_product(end - r, wide, p->dim, q + r * dim, dim, 1, packed, KEYS, false,
                                   s, KEYS);
            for (int64_t i = r; i < end; i++)
                soft_row(smaller(cols, keys_seen(p, u, i) - key), wide, s + (i - r) * KEYS,
                         most + i, sum + i, dim, o + i * dim);
            hold_block_product(end - r, dim, cols, s, KEYS, 1, v, ldv, true, o + r * dim, dim);
        }
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
        for (int64_t head = 0; head < a->n_kv_heads; head++) {
            const struct hold_query_run *run = p.runs + units[i].run;
            if (hold_decode_fits(&p, run))
                hold_decode_query(&p, run, units[i].keys, head);
            else
                forward_unit(&p, units + i, head);
        }
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
        float *to_k =
            slot < 0 ? p->dk + at[i] * p->lddk + offset : sink->private_rows + 2 * slot * p->dim;
        float *to_v = slot < 0 ? p->dv + at[i] * p->lddv + offset : to_k + p->dim;
        add_row(p->dim, dk + i * p->dim_padded, to_k);
        add_row(p->dim, dv + i * p->dim_padded, to_v);
    }
}

/* s becomes p = exp(s - lse), zero where not seen; ds = p * (dp - delta) takes dp's place; both are
 * zero from n to `wide`. */
static void backward_row(int64_t seen, int64_t n, int64_t wide, float lse, float delta, float *s,
                         float *dp) {
    for (int64_t j = seen; j < n; j++)
        s[j] = -INFINITY;
    for (int64_t j = 0; j < n; j += VEC) {
        vec e = vec_exp(vec_load(s + j) - lse);
        vec_store(s + j, e);
        vec_store(dp + j, e * (vec_load(dp + j) - delta));
    }
    for (int64_t j = n; j < wide; j += VEC) {
        vec_store(s + j, (vec){0});
        vec_store(dp + j, (vec){0});
    }
}

/* A unit's queries, and what backward knows of each. */
struct queries {
    _Alignas(64) float q[ROWS * MAX_DIM];
    _Alignas(64) float dout[ROWS * MAX_DIM];
    _Alignas(64) float dq[ROWS * MAX_DIM];
    float lse[ROWS], delta[ROWS];
};

static void load_queries(const struct problem *p, const struct unit *u, int64_t head,
                         struct queries *x) {
    int64_t rows = u->n * p->group, dim = p->dim_padded;
    gather_queries(p, u, head, p->q, p->ldq, p->a->scale, x->q);
    gather_queries(p, u, head, p->dout, p->lddo, 1, x->dout);
    memset(x->dq, 0, (size_t)(rows * dim) * sizeof(float));
    for (int64_t r = 0; r < rows; r++) {
        int64_t query = p->runs[u->run].first + u->first + r / p->group;
        int64_t h = head * p->group + r % p->group;
        const float *o = p->out + query * p->ldo + h * p->dim;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < p->dim; j++)
            sum += o[j] * x->dout[r * dim + j];
        x->delta[r] = sum;
        x->lse[r] = p->lse[query * p->a->n_heads + h];
    }
}

static void backward_unit(const struct problem *p, const struct unit *u, int64_t head,
                          const struct sink *sink) {
    struct queries x;
    _Alignas(64) float s[ROWS * KEYS], dp[ROWS * KEYS];
    _Alignas(64) float packed_k[KEYS * MAX_DIM], packed_v[KEYS * MAX_DIM], space[KEYS * MAX_DIM];
    _Alignas(64) float dk[KEYS * MAX_DIM], dv[KEYS * MAX_DIM];
    int32_t at[KEYS];
    const struct hold_query_run *run = p->runs + u->run;
    int64_t rows = u->n * p->group, dim = p->dim_padded, keys = keys_seen(p, u, rows - 1),
            first = 0;
    load_queries(p, u, head, &x);
    for (int64_t key = 0; key < keys; key += KEYS) {
        int64_t n = smaller(keys - key, KEYS), ld;
        bool stretch = key_rows(p, run, key, n, at);
        while (keys_seen(p, u, first) <= key)
            first++;
        const float *from = view_keys(p, at, n, stretch, head, p->v, p->ldv, space, &ld);
        transpose_keys(p, n, from, ld, packed_v);
        from = view_keys(p, at, n, stretch, head, p->k, p->ldk, space, &ld);
        transpose_keys(p, n, from, ld, packed_k);
        for (int64_t r = first, end; r < rows; r = end) {
            end = rows_end(p, u, r, rows, key + n);
            int64_t cols = smaller(n, keys_seen(p, u, end - 1) - key), wide = round_up(cols, VEC);
            float *sr = s + r * KEYS, *dpr = dp + r * KEYS;
            hold_block_product(end - r, wide, p->dim, x.q + r * dim, dim, 1, packed_k, KEYS, false,
                               sr, KEYS);
            hold_block_product(end - r, wide, p->dim, x.dout + r * dim, dim, 1, packed_v, KEYS,
                               false, dpr, KEYS);
            for (int64_t i = r; i < end; i++)
                backward_row(smaller(cols, keys_seen(p, u, i) - key), wide, round_up(n, VEC),
                             x.lse[i], x.delta[i], s + i * KEYS, dp + i * KEYS);
            hold_block_product(end - r, dim, cols, dpr, KEYS, 1, from, ld, true, x.dq + r * dim,
                               dim);
        }
        /* The first key of a stretch is the one that most queries see. */
        for (int64_t j = 0, r = first; j < n; j += EDGE_KEYS) {
            int64_t some = smaller(n - j, EDGE_KEYS);
            while (keys_seen(p, u, r) <= key + j)
                r++;
            hold_block_product(some, dim, rows - r, dp + r * KEYS + j, 1, KEYS, x.q + r * dim, dim,
                               false, dk + j * dim, dim);
            hold_block_product(some, dim, rows - r, s + r * KEYS + j, 1, KEYS, x.dout + r * dim,
                               dim, false, dv + j * dim, dim);
        }
        put_key_gradients(p, sink, head, at, n, dk, dv);
    }
    for (int64_t r = 0; r < rows; r++) {
        float *to = p->dq + (run->first + u->first + r / p->group) * p->lddq +
                    (head * p->group + r % p->group) * p->dim;
        for (int64_t j = 0; j < p->dim; j++)
            to[j] = p->a->scale * x.dq[r * dim + j];
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
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, parts *heads *stride))
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
    if (shared && !(rows = hold_cpu_scratch(d, 1, parts * heads * stride * (int64_t)sizeof(float))))
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
