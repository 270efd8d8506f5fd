/* test_attention.c: attention over forests of segments against softmax in f64, its gradients
 * against central differences and against a direct f64 formula. */
#include "ops.h"

/* A forest: segments with a parent and a length; a segment's queries see all ancestors and itself.
 * Tokens lie in memory in another order than depth: segment after segment, with a gap of unseen
 * rows at the end.  `cached` tokens of the own segment were there before: queries are the rest. */
struct segment {
    int parent, len, cached;
};
struct forest {
    const char *name;
    int64_t heads, kv_heads, dim;
    int n;
    struct segment segments[8];
};
static const struct forest FORESTS[] = {
    {"one token", 2, 1, 8, 1, {{-1, 1, 0}}},
    {"one row", 4, 2, 16, 1, {{-1, 37, 0}}},
    {"tree", 6, 2, 32, 6, {{-1, 21, 0}, {0, 40, 0}, {1, 5, 0}, {1, 70, 0}, {0, 3, 0}, {-1, 9, 0}}},
    {"decode", 9, 3, 64, 5, {{-1, 100, 100}, {0, 30, 29}, {0, 1, 0}, {0, 65, 64}, {0, 7, 5}}},
    {"long row", 3, 3, 64, 1, {{-1, 300, 0}}},
    {"odd head", 2, 2, 7, 3, {{-1, 66, 0}, {0, 3, 0}, {0, 64, 0}}},
    {"wide head", 2, 1, 128, 2, {{-1, 50, 0}, {0, 90, 0}}},
    {"many heads", 40, 1, 24, 2, {{-1, 20, 0}, {0, 10, 0}}},
};
enum { FOREST_COUNT = sizeof(FORESTS) / sizeof(FORESTS[0]), UNSEEN = 2 };

struct plan {
    struct hold_attention a;
    const struct forest *f;
    struct hold_query_run runs[8];
    struct hold_span spans[64];
    int32_t trees[9];
    int key_first[8];
};

static void make_plan(const struct forest *f, struct plan *p) {
    memset(p, 0, sizeof(*p));
    p->f = f;
    int query = 0, key = 0, spans = 0, runs = 0, trees = 0;
    for (int s = 0; s < f->n; s++) {
        p->key_first[s] = key;
        key += f->segments[s].len;
    }
    for (int s = 0; s < f->n; s++) {
        int n = f->segments[s].len - f->segments[s].cached, path[8], depth = 0;
        if (f->segments[s].parent < 0)
            p->trees[trees++] = runs;
        if (n == 0)
            continue;
        for (int at = s; at >= 0; at = f->segments[at].parent)
            path[depth++] = at;
        p->runs[runs++] = (struct hold_query_run){query, n, spans, depth};
        while (depth-- > 0)
            p->spans[spans++] =
                (struct hold_span){p->key_first[path[depth]], f->segments[path[depth]].len};
        query += n;
    }
    p->trees[trees] = runs;
    p->a = (struct hold_attention){.n_heads = f->heads,
                                   .n_kv_heads = f->kv_heads,
                                   .head_dim = f->dim,
                                   .scale = 1 / sqrtf((float)f->dim),
                                   .n_runs = runs,
                                   .n_spans = spans,
                                   .n_trees = trees,
                                   .n_queries = query,
                                   .n_keys = key + UNSEEN,
                                   .max_keys = key};
}

static void put_plan(struct hold_device *d, struct plan *p) {
    p->a.runs = device_bytes(d, sizeof(p->runs), p->runs);
    p->a.spans = device_bytes(d, sizeof(p->spans), p->spans);
    p->a.tree_first = device_bytes(d, sizeof(p->trees), p->trees);
}

/* The keys that query i of a run sees, in order; returns how many. */
static int seen_keys(const struct plan *p, const struct hold_query_run *r, int i, int *keys) {
    int n = 0;
    for (int s = 0; s < r->n_spans; s++) {
        struct hold_span span = p->spans[r->first_span + s];
        int len = s + 1 < r->n_spans ? span.len : span.len - r->n + i + 1;
        for (int k = 0; k < len; k++)
            keys[n++] = span.first + k;
    }
    return n;
}

/* out, lse and, with dout, dq, dk, dv: all dense, in f64. */
struct reference {
    double *q, *k, *v, *out, *lse, *dout, *dq, *dk, *dv;
};

static void reference_head(const struct plan *p, struct reference *r,
                           const struct hold_query_run *run, int i, int64_t h) {
    int keys[512], n = seen_keys(p, run, i, keys);
    int64_t dim = p->a.head_dim, wide = p->a.n_heads * dim, narrow = p->a.n_kv_heads * dim;
    int64_t kv = h / (p->a.n_heads / p->a.n_kv_heads), query = run->first + i;
    const double *q = r->q + query * wide + h * dim;
    double score[512], most = -INFINITY, sum = 0, *out = r->out + query * wide + h * dim;
    for (int j = 0; j < n; j++) {
        score[j] = 0;
        for (int64_t c = 0; c < dim; c++)
            score[j] += (double)p->a.scale * q[c] * r->k[keys[j] * narrow + kv * dim + c];
        most = fmax(most, score[j]);
    }
    for (int j = 0; j < n; j++)
        sum += exp(score[j] - most);
    r->lse[query * p->a.n_heads + h] = most + log(sum);
    for (int64_t c = 0; c < dim; c++)
        out[c] = 0;
    for (int j = 0; j < n; j++)
        for (int64_t c = 0; c < dim; c++)
            out[c] += exp(score[j] - most) / sum * r->v[keys[j] * narrow + kv * dim + c];
    if (!r->dout)
        return;
    const double *dout = r->dout + query * wide + h * dim;
    double delta = 0;
    for (int64_t c = 0; c < dim; c++)
        delta += dout[c] * out[c];
    for (int j = 0; j < n; j++) {
        double prob = exp(score[j] - most) / sum, dp = 0;
        int64_t at = keys[j] * narrow + kv * dim;
        for (int64_t c = 0; c < dim; c++)
            dp += dout[c] * r->v[at + c];
        double ds = prob * (dp - delta) * (double)p->a.scale;
        for (int64_t c = 0; c < dim; c++) {
            r->dv[at + c] += prob * dout[c];
            r->dk[at + c] += ds * q[c];
            r->dq[query * wide + h * dim + c] += ds * r->k[at + c];
        }
    }
}
static void reference_run(const struct plan *p, struct reference *r) {
    for (int64_t run = 0; run < p->a.n_runs; run++)
        for (int i = 0; i < p->runs[run].n; i++)
            for (int64_t h = 0; h < p->a.n_heads; h++)
                reference_head(p, r, p->runs + run, i, h);
}

static double *dense(const float *x, int64_t rows, int64_t cols, int64_t ld) {
    double *to = calloc((size_t)(rows * cols) + 1, sizeof(double));
    for (int64_t i = 0; x && i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            to[i * cols + j] = (double)x[i * ld + j];
    return to;
}
static void expect_matrix(const char *forest, const char *what, const float *found,
                          const double *expected, int64_t rows, int64_t cols, int64_t ld,
                          double tolerance) {
    char name[64];
    snprintf(name, sizeof(name), "%s: %s", forest, what);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            expect_close(name, i * ld + j, (double)found[i * ld + j], expected[i * cols + j],
                         tolerance);
    expect_gaps(name, found, rows, cols, ld);
}

/* Everything one forest needs on the device. */
struct arrays {
    int64_t wide, narrow, ldq, ldk, ldv, ldo;
    struct hold_ptr q, k, v, out, lse, dout, dq, dk, dv;
    float *hq, *hk, *hv, *hdout;
};
static struct arrays make_arrays(struct hold_device *d, const struct plan *p) {
    struct arrays x = {.wide = p->a.n_heads * p->a.head_dim,
                       .narrow = p->a.n_kv_heads * p->a.head_dim};
    x.ldq = x.wide + 8;
    x.ldk = x.narrow + 16;
    x.ldv = x.narrow + 3;
    x.ldo = x.wide + 1;
    int64_t nq = p->a.n_queries, nk = p->a.n_keys;
    x.q = device_matrix(d, nq, x.wide, x.ldq, 1, &x.hq);
    x.k = device_matrix(d, nk, x.narrow, x.ldk, 2, &x.hk);
    x.v = device_matrix(d, nk, x.narrow, x.ldv, 3, &x.hv);
    x.dout = device_matrix(d, nq, x.wide, x.ldo, 4, &x.hdout);
    x.out = device_matrix(d, nq, x.wide, x.ldo, 5, NULL);
    x.dq = device_matrix(d, nq, x.wide, x.ldq, 6, NULL);
    x.dk = device_matrix(d, nk, x.narrow, x.ldk, 7, NULL);
    x.dv = device_matrix(d, nk, x.narrow, x.ldv, 8, NULL);
    x.lse = device_floats(d, nq * p->a.n_heads, NULL);
    return x;
}
static void run_both(struct hold_device *d, const struct plan *p, const struct arrays *x) {
    d->k->attention_forward(d, &p->a, x->q, x->ldq, x->k, x->ldk, x->v, x->ldv, x->out, x->ldo,
                            x->lse);
    d->k->attention_backward(d, &p->a, x->q, x->ldq, x->k, x->ldk, x->v, x->ldv, x->out, x->ldo,
                             x->lse, x->dout, x->ldo, x->dq, x->ldq, x->dk, x->ldk, x->dv, x->ldv);
}
static void free_hosts(struct arrays *x) {
    free(x->hq);
    free(x->hk);
    free(x->hv);
    free(x->hdout);
}

static void one_forest(struct hold_device *d, const struct forest *f) {
    struct plan p;
    make_plan(f, &p);
    put_plan(d, &p);
    struct arrays x = make_arrays(d, &p);
    run_both(d, &p, &x);
    int64_t nq = p.a.n_queries, nk = p.a.n_keys, heads = p.a.n_heads;
    struct reference r = {
        .q = dense(x.hq, nq, x.wide, x.ldq),
        .k = dense(x.hk, nk, x.narrow, x.ldk),
        .v = dense(x.hv, nk, x.narrow, x.ldv),
        .out = dense(NULL, nq, x.wide, 0),
        .lse = dense(NULL, nq, heads, 0),
        .dout = dense(x.hdout, nq, x.wide, x.ldo),
        .dq = dense(NULL, nq, x.wide, 0),
        .dk = dense(NULL, nk, x.narrow, 0),
        .dv = dense(NULL, nk, x.narrow, 0),
    };
    reference_run(&p, &r);
    float *out = host_floats(d, nq * x.ldo, x.out), *lse = host_floats(d, nq * heads, x.lse);
    float *dq = host_floats(d, nq * x.ldq, x.dq), *dk = host_floats(d, nk * x.ldk, x.dk);
    float *dv = host_floats(d, nk * x.ldv, x.dv);
    expect_matrix(f->name, "out", out, r.out, nq, x.wide, x.ldo, 3e-6);
    expect_matrix(f->name, "lse", lse, r.lse, nq, heads, heads, 2e-6);
    expect_matrix(f->name, "dq", dq, r.dq, nq, x.wide, x.ldq, 1e-5);
    expect_matrix(f->name, "dk", dk, r.dk, nk, x.narrow, x.ldk, 3e-5);
    expect_matrix(f->name, "dv", dv, r.dv, nk, x.narrow, x.ldv, 3e-5);
    double *const owned[] = {r.q, r.k, r.v, r.out, r.lse, r.dout, r.dq, r.dk, r.dv};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        free(owned[i]);
    free(out);
    free(lse);
    free(dq);
    free(dk);
    free(dv);
    free_hosts(&x);
}

static void forests_body(struct hold_device *d) {
    for (int i = 0; i < FOREST_COUNT; i++)
        one_forest(d, FORESTS + i);
}
static void test_forests(void **state) {
    (void)state;
    each_device(forests_body);
}

/* Differences of the f64 forward: an oracle that shares no formula with the backward pass. */
struct difference {
    const struct plan *p;
    struct reference r;
    int64_t q, k, v; /* numbers of each in x */
    const double *dout;
};
static double difference_loss(const double *x, void *user) {
    struct difference *f = user;
    memcpy(f->r.q, x, (size_t)f->q * sizeof(double));
    memcpy(f->r.k, x + f->q, (size_t)f->k * sizeof(double));
    memcpy(f->r.v, x + f->q + f->k, (size_t)f->v * sizeof(double));
    reference_run(f->p, &f->r);
    double sum = 0;
    for (int64_t i = 0; i < f->q; i++)
        sum += f->r.out[i] * f->dout[i];
    return sum;
}

static void difference_body(struct hold_device *d) {
    static const struct forest small = {
        "small tree", 4, 2, 6, 4, {{-1, 4, 0}, {0, 3, 1}, {0, 2, 0}, {-1, 3, 0}}};
    struct plan p;
    make_plan(&small, &p);
    put_plan(d, &p);
    struct arrays x = make_arrays(d, &p);
    run_both(d, &p, &x);
    int64_t nq = p.a.n_queries, nk = p.a.n_keys;
    double *dout = dense(x.hdout, nq, x.wide, x.ldo);
    struct difference f = {
        .p = &p, .q = nq * x.wide, .k = nk * x.narrow, .v = nk * x.narrow, .dout = dout};
    f.r = (struct reference){.q = dense(x.hq, nq, x.wide, x.ldq),
                             .k = dense(x.hk, nk, x.narrow, x.ldk),
                             .v = dense(x.hv, nk, x.narrow, x.ldv),
                             .out = dense(NULL, nq, x.wide, 0),
                             .lse = dense(NULL, nq, p.a.n_heads, 0)};
    int64_t n = f.q + f.k + f.v;
    double *at = malloc((size_t)n * sizeof(double));
    memcpy(at, f.r.q, (size_t)f.q * sizeof(double));
    memcpy(at + f.q, f.r.k, (size_t)f.k * sizeof(double));
    memcpy(at + f.q + f.k, f.r.v, (size_t)f.v * sizeof(double));
    float *dq = host_floats(d, nq * x.ldq, x.dq), *dk = host_floats(d, nk * x.ldk, x.dk);
    float *dv = host_floats(d, nk * x.ldv, x.dv), *found = malloc((size_t)n * sizeof(float));
    for (int64_t i = 0; i < nq; i++)
        memcpy(found + i * x.wide, dq + i * x.ldq, (size_t)x.wide * 4);
    for (int64_t i = 0; i < nk; i++) {
        memcpy(found + f.q + i * x.narrow, dk + i * x.ldk, (size_t)x.narrow * 4);
        memcpy(found + f.q + f.k + i * x.narrow, dv + i * x.ldv, (size_t)x.narrow * 4);
    }
    expect_gradient("dq, dk, dv", difference_loss, &f, at, n, found, 1e-5);
    double *const owned[] = {f.r.q, f.r.k, f.r.v, f.r.out, f.r.lse, dout, at};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        free(owned[i]);
    free(dq);
    free(dk);
    free(dv);
    free(found);
    free_hosts(&x);
}
static void test_differences(void **state) {
    (void)state;
    each_device(difference_body);
}

/* The same bytes each time and, up to six threads, for every number of threads. */
static void test_same_bytes(void **state) {
    (void)state;
    float *first[FOREST_COUNT][4] = {{0}};
    for (int round = 0; round < 4; round++) {
        struct hold_device *d;
        struct hold_error err = {0};
        assert_int_equal(hold_cpu_new(&d, 1 + round / 2 * 2, NULL, &err), HOLD_OK);
        for (int i = 0; i < FOREST_COUNT; i++) {
            struct plan p;
            make_plan(FORESTS + i, &p);
            put_plan(d, &p);
            struct arrays x = make_arrays(d, &p);
            run_both(d, &p, &x);
            const struct hold_ptr results[] = {x.out, x.dq, x.dk, x.dv};
            const int64_t sizes[] = {p.a.n_queries * x.ldo, p.a.n_queries * x.ldq,
                                     p.a.n_keys * x.ldk, p.a.n_keys * x.ldv};
            for (int j = 0; j < 4; j++) {
                float *found = host_floats(d, sizes[j], results[j]);
                if (round == 0) {
                    first[i][j] = found;
                    continue;
                }
                assert_memory_equal(first[i][j], found, (size_t)sizes[j] * 4);
                free(found);
            }
            free_hosts(&x);
        }
        hold_device_free(d);
    }
    for (int i = 0; i < FOREST_COUNT; i++)
        for (int j = 0; j < 4; j++)
            free(first[i][j]);
}

/* 4 FLOP a (query, key, head, element) forward, 8 backward; and sizes out of range are reported. */
static void test_flop_and_limits(void **state) {
    (void)state;
    struct hold_device *d;
    struct hold_error err = {0};
    assert_int_equal(hold_cpu_new(&d, 1, NULL, &err), HOLD_OK);
    struct plan p;
    make_plan(FORESTS + 1, &p);
    put_plan(d, &p);
    struct arrays x = make_arrays(d, &p);
    run_both(d, &p, &x);
    assert_true(hold_device_flop(d) == 12.0 * (37 * 38 / 2) * 4 * 16);
    p.a.head_dim = 1000;
    run_both(d, &p, &x);
    assert_int_equal(d->k->sync(d, &err), HOLD_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "1000"));
    assert_int_equal(d->k->sync(d, &err), HOLD_OK);
    free_hosts(&x);
    hold_device_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forests),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_flop_and_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
