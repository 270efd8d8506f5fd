/* kernels.c: how near the CPU's kernels come to the machine's own peak, at SmolLM2-135M's shapes.
 *
 *     cmake --build --preset release --target bench_kernels
 *     build/release/src/device/bench_kernels [auto|avx512|avx2|portable] [threads] [part] [bf16]
 *
 * Each line: the best of many calls within a third of a second, by the wall clock, or with one
 * thread by its own CPU time, so that neighbours on a shared machine disturb little.  GFLOP/s count
 * what the result needs; GB/s what must be read and written.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/ctx.h"
#include "base/rng.h"
#include "device/device.h"

enum { WIDTH = 576, HEADS = 9, KV_HEADS = 3, DIM = 64, FFN = 1536, VOCAB = 49152 };

struct bench {
    struct hold_device *d;
    double peak;
};

static struct hold_ptr floats(struct hold_device *d, int64_t n) {
    struct hold_ptr p;
    struct hold_error err = {0};
    if (d->k->alloc(d, n * 4, &p, &err)) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    float *x = malloc((size_t)n * 4);
    struct hold_rng r;
    hold_rng_init(&r, 1, "bench", 0, 0);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)hold_rng_u32(&r) * 0x1p-32f - 0.5f;
    d->k->write(d, p, x, n * 4);
    free(x);
    return p;
}

static double clock_of(const struct hold_device *d) {
    struct timespec t;
    clock_gettime(d->threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Best seconds of one call of `body`. */
static double best_of(void (*body)(struct hold_device *d, void *user), struct hold_device *d,
                      void *user) {
    double end = hold_clock_now() + 0.35, best = INFINITY;
    for (int i = 0; i < 3 || hold_clock_now() < end; i++) {
        double start = clock_of(d);
        body(d, user);
        double seconds = clock_of(d) - start;
        best = seconds < best ? seconds : best;
    }
    return best;
}

static void show(struct bench *b, const char *name, double seconds, double flop, double bytes) {
    double gflops = flop / seconds * 1e-9;
    printf("%-44s %9.3f ms", name, seconds * 1e3);
    if (flop > 0)
        printf(" %8.1f GFLOP/s %5.1f%%", gflops, 100 * gflops / b->peak);
    if (bytes > 0)
        printf(" %8.1f GB/s", bytes / seconds * 1e-9);
    printf("\n");
    fflush(stdout);
}

struct product {
    bool ta, tb, backward;
    int64_t m, n, k;
    struct hold_ptr a, b, c;
    const struct hold_weight *w;
};
static void gemm_body(struct hold_device *d, void *user) {
    const struct product *p = user;
    d->k->gemm(d, p->ta, p->tb, p->m, p->n, p->k, 1, p->a, p->ta ? p->m : p->k, p->b,
               p->tb ? p->k : p->n, 0, p->c, p->n);
}
static void weight_body(struct hold_device *d, void *user) {
    const struct product *p = user;
    if (p->backward)
        d->k->weight_backward(d, p->w, p->m, p->a, p->k, 0, p->c, p->n);
    else
        d->k->weight_forward(d, p->w, p->m, p->a, p->k, 0, p->c, p->n);
}

static void weights(struct bench *b) {
    static const int64_t shapes[][3] = {
        {960, 576, 0}, {576, 576, 0}, {3072, 576, 0}, {576, 1536, 0}, {49152, 576, 128}};
    static const int64_t rows[] = {1, 8, 32, 64, 256, 1024};
    struct hold_device *d = b->d;
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
        int64_t out = shapes[s][0], in = shapes[s][1];
        struct hold_ptr w = floats(d, out * in);
        struct hold_weight *handle;
        struct hold_error err;
        if (d->k->weight_new(d, w, out, in, &handle, &err))
            exit(1);
        for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
            int64_t m = rows[r];
            if (shapes[s][2] && m > shapes[s][2])
                m = shapes[s][2];
            struct hold_ptr x = floats(d, m * in), y = floats(d, m * out);
            for (int back = 0; back <= 1; back++) {
                struct product p = {.backward = back,
                                    .m = m,
                                    .n = back ? in : out,
                                    .k = back ? out : in,
                                    .a = back ? y : x,
                                    .c = back ? x : y,
                                    .w = handle};
                char name[64];
                snprintf(name, sizeof(name), "weight_%s %" PRId64 " x (%" PRId64 ", %" PRId64 ")",
                         back ? "backward" : "forward", m, out, in);
                double seconds = best_of(weight_body, d, &p);
                show(b, name, seconds, 2.0 * (double)(m * out * in),
                     m <= 8 ? 4.0 * (double)(out * in) : 0);
            }
            d->k->release(d, x);
            d->k->release(d, y);
            if (shapes[s][2] && rows[r] >= shapes[s][2])
                break;
        }
        d->k->weight_free(d, handle);
        d->k->release(d, w);
    }
}

/* LoRA's products: x A' (narrow n), t B' (narrow k), and their gradients (narrow m or n, long k).
 */
static void adapters(struct bench *b) {
    static const struct {
        bool ta, tb;
        int64_t m, n, k;
    } shapes[] = {
        {false, true, 1024, 16, 576},  {false, true, 1024, 48, 576},  {false, true, 1024, 16, 1536},
        {false, true, 1024, 960, 16},  {false, true, 1024, 3072, 32}, {false, false, 1024, 16, 960},
        {false, false, 1024, 576, 48}, {true, false, 16, 576, 1024},  {true, false, 48, 576, 1024},
        {true, false, 960, 16, 1024},  {true, false, 3072, 16, 1024}, {true, false, 960, 576, 1024},
        {false, true, 256, 16, 576},   {false, true, 256, 960, 16},   {true, false, 16, 576, 256},
    };
    struct hold_device *d = b->d;
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
        struct product p = {.ta = shapes[s].ta,
                            .tb = shapes[s].tb,
                            .m = shapes[s].m,
                            .n = shapes[s].n,
                            .k = shapes[s].k};
        p.a = floats(d, p.m * p.k);
        p.b = floats(d, p.k * p.n);
        p.c = floats(d, p.m * p.n);
        char name[64];
        snprintf(name, sizeof(name), "gemm %s%s %" PRId64 " x %" PRId64 " x %" PRId64,
                 p.ta ? "T" : "N", p.tb ? "T" : "N", p.m, p.n, p.k);
        show(b, name, best_of(gemm_body, d, &p), 2.0 * (double)(p.m * p.n * p.k),
             4.0 * (double)(p.m * p.k + p.k * p.n + p.m * p.n));
        d->k->release(d, p.a);
        d->k->release(d, p.b);
        d->k->release(d, p.c);
    }
}

/* A forest as training sees it: `trees` roots of `root` tokens, each with `leaves` leaf segments of
 * `leaf` tokens; or decoding, where every leaf has one query. */
struct forest {
    struct hold_attention a;
    struct hold_ptr q, kv, out, lse, dq, dkv;
    bool backward;
};
static void attention_body(struct hold_device *d, void *user) {
    const struct forest *f = user;
    int64_t narrow = 2 * KV_HEADS * DIM;
    struct hold_ptr v = hold_at_f32(f->kv, KV_HEADS * DIM);
    if (f->backward)
        d->k->attention_backward(d, &f->a, f->q, WIDTH, f->kv, narrow, v, narrow, f->out, WIDTH,
                                 f->lse, f->out, WIDTH, f->dq, WIDTH, f->dkv, narrow,
                                 hold_at_f32(f->dkv, KV_HEADS * DIM), narrow);
    else
        d->k->attention_forward(d, &f->a, f->q, WIDTH, f->kv, narrow, v, narrow, f->out, WIDTH,
                                f->lse);
}
static void one_forest(struct bench *b, const char *what, int trees, int root, int leaves, int leaf,
                       bool decode) {
    struct hold_device *d = b->d;
    struct hold_query_run runs[512];
    struct hold_span spans[1024];
    int32_t first[64];
    int queries = 0, keys = 0, n_runs = 0, n_spans = 0;
    for (int t = 0; t < trees; t++) {
        int root_key = keys;
        first[t] = n_runs;
        if (!decode && root) {
            spans[n_spans] = (struct hold_span){root_key, root};
            runs[n_runs++] = (struct hold_query_run){queries, root, n_spans++, 1};
            queries += root;
        }
        keys += root;
        for (int l = 0; l < leaves; l++) {
            int n = decode ? 1 : leaf, depth = root ? 2 : 1;
            runs[n_runs++] = (struct hold_query_run){queries, n, n_spans, depth};
            if (root)
                spans[n_spans++] = (struct hold_span){root_key, root};
            spans[n_spans++] = (struct hold_span){keys, leaf};
            queries += n;
            keys += leaf;
        }
    }
    first[trees] = n_runs;
    struct forest f = {.a = {.n_heads = HEADS,
                             .n_kv_heads = KV_HEADS,
                             .head_dim = DIM,
                             .scale = 0.125f,
                             .n_runs = n_runs,
                             .n_spans = n_spans,
                             .n_trees = trees,
                             .n_queries = queries,
                             .n_keys = keys,
                             .max_keys = root + leaf}};
    f.a.runs = floats(d, n_runs * 4);
    f.a.spans = floats(d, n_spans * 2);
    f.a.tree_first = floats(d, trees + 1);
    d->k->write(d, f.a.runs, runs, n_runs * (int64_t)sizeof(runs[0]));
    d->k->write(d, f.a.spans, spans, n_spans * (int64_t)sizeof(spans[0]));
    d->k->write(d, f.a.tree_first, first, (trees + 1) * 4);
    f.q = floats(d, (int64_t)queries * WIDTH);
    f.out = floats(d, (int64_t)queries * WIDTH);
    f.dq = floats(d, (int64_t)queries * WIDTH);
    f.lse = floats(d, (int64_t)queries * HEADS);
    f.kv = floats(d, (int64_t)keys * 2 * KV_HEADS * DIM);
    f.dkv = floats(d, (int64_t)keys * 2 * KV_HEADS * DIM);
    for (int back = 0; back <= (decode ? 0 : 1); back++) {
        f.backward = back;
        double before = hold_device_flop(d);
        attention_body(d, &f);
        double flop = hold_device_flop(d) - before;
        char name[64];
        snprintf(name, sizeof(name), "attention %s %s", back ? "backward" : "forward", what);
        show(b, name, best_of(attention_body, d, &f), flop, 0);
    }
}

static void attention(struct bench *b) {
    one_forest(b, "4 rows of 256", 4, 0, 1, 256, false);
    one_forest(b, "1 tree: 40 + 32 x 30", 1, 40, 32, 30, false);
    one_forest(b, "1 tree: 200 + 8 x 100", 1, 200, 8, 100, false);
    one_forest(b, "1 row of 1024", 1, 0, 1, 1024, false);
    one_forest(b, "decode 64 x (40 + 60)", 1, 40, 64, 60, true);
    one_forest(b, "decode 64 x 300", 1, 0, 64, 300, true);
}

/* Everything that is bound by memory or by exponentials, at 1024 rows. */
struct rows {
    struct hold_ptr x, y, z, gain, rstd, positions, inv_freq;
    struct hold_labels labels;
    int64_t rows;
};
static void norm_forward_body(struct hold_device *d, void *user) {
    const struct rows *r = user;
    d->k->rmsnorm_forward(d, r->rows, WIDTH, 1e-5f, r->x, WIDTH, r->gain, r->y, WIDTH, r->rstd);
}
static void norm_backward_body(struct hold_device *d, void *user) {
    const struct rows *r = user;
    d->k->rmsnorm_backward(d, r->rows, WIDTH, r->x, WIDTH, r->gain, r->rstd, r->y, WIDTH, true,
                           r->z, WIDTH, (struct hold_ptr){0});
}
static void swiglu_forward_body(struct hold_device *d, void *user) {
    const struct rows *r = user;
    d->k->swiglu_forward(d, r->rows, FFN, r->x, 2 * FFN, r->y, FFN);
}
static void swiglu_backward_body(struct hold_device *d, void *user) {
    const struct rows *r = user;
    d->k->swiglu_backward(d, r->rows, FFN, r->x, 2 * FFN, r->y, FFN, r->z, 2 * FFN);
}
static void rope_body(struct hold_device *d, void *user) {
    const struct rows *r = user;
    d->k->rope(d, r->rows, HEADS + KV_HEADS, DIM, r->positions, r->inv_freq, false, r->x, 960);
}
static void axpby_body(struct hold_device *d, void *user) {
    const struct rows *r = user;
    d->k->axpby(d, r->rows, WIDTH, 1, r->x, WIDTH, 1, r->y, WIDTH);
}
static void entropy_body(struct hold_device *d, void *user) {
    const struct rows *r = user;
    d->k->cross_entropy(d, 128, VOCAB, r->x, VOCAB, &r->labels, 0.01f, true, r->rstd);
}
static void kl_body(struct hold_device *d, void *user) {
    const struct rows *r = user;
    d->k->kl(d, 128, VOCAB, r->x, VOCAB, r->y, VOCAB, r->gain, 0.01f, false, true, r->rstd);
}
static void argmax_body(struct hold_device *d, void *user) {
    const struct rows *r = user;
    d->k->argmax(d, 64, VOCAB, r->x, VOCAB, r->positions, r->rstd);
}
static void dot_body(struct hold_device *d, void *user) {
    const struct rows *r = user;
    d->k->dot(d, 5000000, r->x, r->y);
}
static void adamw_body(struct hold_device *d, void *user) {
    const struct rows *r = user;
    d->k->adamw(d, 1000000, r->x, r->y, r->z, hold_at_f32(r->z, 1000000), 1e-4, 0.9, 0.999, 1e-8, 0,
                0.5, 0.5);
}
static void dropout_body(struct hold_device *d, void *user) {
    const struct rows *r = user;
    d->k->dropout(d, r->rows, WIDTH, 0.1f, 1, 2, 3, r->x, WIDTH);
}
static void rows(struct bench *b) {
    struct hold_device *d = b->d;
    struct rows r = {.rows = 1024};
    int64_t most = 128 * (int64_t)VOCAB;
    int32_t ids[1024], first[1025];
    for (int i = 0; i < 1024; i++) {
        ids[i] = i;
        first[i] = i;
    }
    r.x = floats(d, most);
    r.y = floats(d, most);
    r.z = floats(d, most);
    r.gain = floats(d, WIDTH);
    r.rstd = floats(d, 4096);
    r.positions = floats(d, 1024);
    r.inv_freq = floats(d, DIM / 2);
    r.labels = (struct hold_labels){floats(d, 1025), floats(d, 1024), floats(d, 1024)};
    d->k->write(d, r.positions, ids, sizeof(ids));
    d->k->write(d, r.labels.target, ids, sizeof(ids));
    d->k->write(d, r.labels.first, first, sizeof(first));
    double n = 1024.0 * WIDTH, ffn = 1024.0 * FFN;
    show(b, "rmsnorm forward 1024 x 576", best_of(norm_forward_body, d, &r), 0, 8 * n);
    show(b, "rmsnorm backward (+=) 1024 x 576", best_of(norm_backward_body, d, &r), 0, 16 * n);
    show(b, "swiglu forward 1024 x 1536", best_of(swiglu_forward_body, d, &r), 0, 12 * ffn);
    show(b, "swiglu backward 1024 x 1536", best_of(swiglu_backward_body, d, &r), 0, 20 * ffn);
    show(b, "rope 1024 x 12 heads", best_of(rope_body, d, &r), 0, 8 * 1024.0 * 768);
    show(b, "axpby 1024 x 576", best_of(axpby_body, d, &r), 0, 12 * n);
    show(b, "dropout 1024 x 576", best_of(dropout_body, d, &r), 0, 8 * n);
    show(b, "dot 5M", best_of(dot_body, d, &r), 0, 40e6);
    show(b, "adamw 1M", best_of(adamw_body, d, &r), 0, 28e6);
    show(b, "cross_entropy with gradient 128 x 49152", best_of(entropy_body, d, &r), 0,
         8.0 * (double)most);
    show(b, "kl with gradient 128 x 49152", best_of(kl_body, d, &r), 0, 12.0 * (double)most);
    show(b, "argmax 64 x 49152", best_of(argmax_body, d, &r), 0, 2.0 * (double)most);
}

static const struct {
    const char *name;
    void (*run)(struct bench *b);
} PARTS[] = {
    {"weights", weights}, {"adapters", adapters}, {"attention", attention}, {"rows", rows}};

int main(int argc, char **argv) {
    struct bench b;
    struct hold_error err = {0};
    int64_t threads = 2;
    if (argc > 2 && !hold_parse_int(argv[2], &threads)) {
        fprintf(stderr, "usage: bench_kernels [auto|avx512|avx2|portable] [threads] "
                        "[weights|adapters|attention|rows|all] [bf16]\n");
        return 2;
    }
    if (hold_cpu_new(&b.d, (int)threads, argc > 1 ? argv[1] : NULL, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    b.peak = hold_device_peak_gflops(b.d);
    if (argc > 4 && hold_device_set_dtype(b.d, argv[4], &err) == HOLD_OK &&
        strcmp(argv[4], "bf16") == 0) {
        b.peak = hold_device_peak_bf16_gflops(b.d);
        printf("bf16 by %s, ", hold_device_bf16_unit(b.d));
    }
    printf("%s, %d threads: peak %.1f GFLOP/s\n", hold_device_isa(b.d), b.d->threads, b.peak);
    const char *part = argc > 3 ? argv[3] : "";
    for (size_t i = 0; i < sizeof(PARTS) / sizeof(PARTS[0]); i++)
        if (!*part || strcmp(part, "all") == 0 || strcmp(part, PARTS[i].name) == 0)
            PARTS[i].run(&b);
    if (b.d->k->sync(b.d, &err))
        fprintf(stderr, "%s\n", err.text);
    hold_device_free(b.d);
    return 0;
}
