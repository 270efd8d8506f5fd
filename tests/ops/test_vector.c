/* test_vector.c: elementwise kernels, sums, dropout and optimizer steps. */
#include "ops.h"

static void elementwise_body(struct hold_device *d) {
    static const int64_t shapes[][3] = {{1, 1, 1}, {7, 33, 40}, {64, 640, 640}, {300, 100, 101}};
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
        int64_t rows = shapes[s][0], cols = shapes[s][1], ld = shapes[s][2], n = rows * ld;
        float *x, *y, *z;
        struct hold_ptr px = device_matrix(d, rows, cols, ld, 1, &x);
        struct hold_ptr py = device_matrix(d, rows, cols, ld, 2, &y);
        struct hold_ptr pz = device_matrix(d, rows, cols, ld, 3, &z);
        struct hold_ptr dots = device_bytes(d, rows * 8, NULL);
        d->k->row_dots(d, rows, cols, px, ld, py, ld, dots);
        d->k->axpby(d, rows, cols, 0.5f, px, ld, -2, py, ld);
        for (int64_t i = 0; i < n; i++) /* b == 0 must not read */
            z[i] = z[i] == GAP_VALUE ? GAP_VALUE : NAN;
        d->k->write(d, pz, z, n * 4);
        d->k->axpby(d, rows, cols, 3, px, ld, 0, pz, ld);
        d->k->multiply(d, rows, cols, py, ld, px, ld);
        float *a = host_floats(d, n, py), *b = host_floats(d, n, pz), *c = host_floats(d, n, px);
        double *sums = host_bytes(d, rows * 8, dots);
        for (int64_t i = 0; i < rows; i++) {
            double sum = 0;
            for (int64_t j = 0; j < cols; j++) {
                int64_t at = i * ld + j;
                double xi = (double)x[at], yi = (double)y[at];
                sum += xi * yi;
                expect_close("axpby", at, (double)a[at], 0.5 * xi - 2 * yi, 1e-6);
                expect_close("ax", at, (double)b[at], 3 * xi, 1e-6);
                expect_close("multiply", at, (double)c[at], xi * (double)a[at], 1e-6);
            }
            expect_close("row_dots", i, sums[i], sum, 1e-13);
        }
        expect_gaps("axpby", a, rows, cols, ld);
        expect_gaps("ax", b, rows, cols, ld);
        expect_gaps("multiply", c, rows, cols, ld);
        float *const owned[] = {x, y, z, a, b, c};
        for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
            free(owned[i]);
        free(sums);
    }
}
static void test_elementwise(void **state) {
    (void)state;
    each_device(elementwise_body);
}

static void sums_body(struct hold_device *d) {
    static const int64_t sizes[] = {0, 1, 15, 1024, 1025, 300000};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        int64_t n = sizes[s];
        float *x, *y;
        struct hold_ptr px = device_random(d, n, 1, &x), py = device_random(d, n, 2, &y);
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += (double)x[i] * (double)y[i];
        expect_close("dot", n, d->k->dot(d, n, px, py), sum, 1e-12);
        assert_true(d->k->dot(d, n, px, py) == d->k->dot(d, n, px, py));
        assert_int_equal(d->k->count_nonfinite(d, n, px), 0);
        if (n < 15) {
            free(x);
            free(y);
            continue;
        }
        x[0] = NAN;
        x[n / 2] = -INFINITY;
        x[n - 1] = INFINITY;
        d->k->write(d, px, x, n * 4);
        assert_int_equal(d->k->count_nonfinite(d, n, px), 3);
        free(x);
        free(y);
    }
}
static void test_sums(void **state) {
    (void)state;
    each_device(sums_body);
}

/* The share kept, the scale, the same mask for the same key, another for another, and a mask that
 * is a function of the row's number alone. */
static void dropout_body(struct hold_device *d) {
    enum { ROWS = 64, COLS = 500, LD = 505 };
    const float p = 0.3f;
    float *x;
    struct hold_ptr px = device_matrix(d, ROWS, COLS, LD, 1, &x);
    struct hold_ptr whole = device_floats(d, (int64_t)ROWS * LD, x);
    d->k->dropout(d, ROWS, COLS, p, 7, 3, 10, whole, LD);
    float *a = host_floats(d, (int64_t)ROWS * LD, whole);
    int kept = 0;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLS; j++) {
            float found = a[i * LD + j];
            kept += found != 0;
            if (found != 0)
                expect_close("scale", j, (double)found, (double)(x[i * LD + j] / (1 - p)), 1e-6);
        }
    assert_true(fabs(kept / (double)(ROWS * COLS) - 0.7) < 0.015);
    expect_gaps("dropout", a, ROWS, COLS, LD);
    /* the mask is the one that base/rng.h's stream defines */
    for (int i = 0; i < ROWS; i++) {
        struct hold_rng r;
        hold_rng_init(&r, 7, "dropout", 3, (uint64_t)(10 + i));
        for (int j = 0; j < COLS; j++)
            assert_int_equal(hold_rng_u32(&r) >= (uint32_t)((double)p * 4294967296.0),
                             a[i * LD + j] != 0);
    }
    /* in two calls */
    d->k->dropout(d, 20, COLS, p, 7, 3, 10, px, LD);
    d->k->dropout(d, ROWS - 20, COLS, p, 7, 3, 30, hold_at_f32(px, 20 * LD), LD);
    float *b = host_floats(d, (int64_t)ROWS * LD, px);
    assert_memory_equal(a, b, (size_t)ROWS * LD * 4);
    /* another step */
    d->k->write(d, px, x, (int64_t)ROWS * LD * 4);
    d->k->dropout(d, ROWS, COLS, p, 7, 4, 10, px, LD);
    float *c = host_floats(d, (int64_t)ROWS * LD, px);
    int differs = 0;
    for (int i = 0; i < ROWS * LD; i++)
        differs += (a[i] == 0) != (c[i] == 0);
    assert_true(differs > ROWS * COLS / 4);
    d->k->write(d, px, x, (int64_t)ROWS * LD * 4);
    d->k->dropout(d, ROWS, COLS, 0, 7, 4, 10, px, LD); /* nothing is dropped */
    float *e = host_floats(d, (int64_t)ROWS * LD, px);
    assert_memory_equal(e, x, (size_t)ROWS * LD * 4);
    float *const owned[] = {x, a, b, c, e};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        free(owned[i]);
}
static void test_dropout(void **state) {
    (void)state;
    each_device(dropout_body);
}

/* Five steps of AdamW against the same steps in f64. */
static void adamw_body(struct hold_device *d) {
    enum { N = 20003, STEPS = 5 };
    const double lr = 1e-2, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, decay = 0.1;
    float *w;
    struct hold_ptr pw = device_random(d, N, 1, &w), pg = device_floats(d, N, NULL);
    struct hold_ptr pm = device_floats(d, N, NULL), pv = device_floats(d, N, NULL);
    d->k->zero(d, pm, N * 4);
    d->k->zero(d, pv, N * 4);
    double *rw = calloc(N, 8), *rm = calloc(N, 8), *rv = calloc(N, 8);
    for (int i = 0; i < N; i++)
        rw[i] = (double)w[i];
    for (int t = 1; t <= STEPS; t++) {
        float *g = random_floats(N, 10 + (uint64_t)t);
        double c1 = 1 - pow(beta1, t), c2 = 1 - pow(beta2, t);
        g[5] = 0;
        d->k->write(d, pg, g, N * 4);
        d->k->adamw(d, N, pw, pg, pm, pv, lr, beta1, beta2, eps, decay, c1, c2);
        for (int i = 0; i < N; i++) {
            double gi = (double)g[i];
            rw[i] -= lr * decay * rw[i];
            rm[i] = beta1 * rm[i] + (1 - beta1) * gi;
            rv[i] = beta2 * rv[i] + (1 - beta2) * gi * gi;
            rw[i] -= lr * (rm[i] / c1) / (sqrt(rv[i] / c2) + eps);
        }
        free(g);
    }
    float *fw = host_floats(d, N, pw), *fm = host_floats(d, N, pm), *fv = host_floats(d, N, pv);
    for (int i = 0; i < N; i++) {
        expect_close("w", i, (double)fw[i], rw[i], 1e-6);
        expect_close("m", i, (double)fm[i], rm[i], 1e-6);
        expect_close("v", i, (double)fv[i], rv[i], 1e-6);
    }
    float *const owned[] = {w, fw, fm, fv};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        free(owned[i]);
    free(rw);
    free(rm);
    free(rv);
}
static void test_adamw(void **state) {
    (void)state;
    each_device(adamw_body);
}

static void sgd_body(struct hold_device *d) {
    enum { N = 20003 };
    float *w, *g, *buf;
    struct hold_ptr pg = device_random(d, N, 2, &g);
    for (int with = 0; with <= 1; with++) {
        struct hold_ptr pw = device_random(d, N, 1, &w), pb = device_random(d, N, 3, &buf);
        d->k->sgd(d, N, pw, pg, with ? pb : (struct hold_ptr){0}, 0.1, 0.9, 0.01);
        float *fw = host_floats(d, N, pw), *fb = host_floats(d, N, pb);
        for (int i = 0; i < N; i++) {
            double step = (double)g[i] + 0.01 * (double)w[i];
            step += with ? 0.9 * (double)buf[i] : 0;
            expect_close("w", i, (double)fw[i], (double)w[i] - 0.1 * step, 1e-6);
            expect_close("buf", i, (double)fb[i], with ? step : (double)buf[i], 1e-6);
        }
        float *const owned[] = {w, buf, fw, fb};
        for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
            free(owned[i]);
    }
    free(g);
}
static void test_sgd(void **state) {
    (void)state;
    each_device(sgd_body);
}

/* torch.optim.AdamW(lr=3e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, foreach=False) of
 * torch 2.x after 3 steps from w = sin(i), g = cos(3 i + t): values by adamw_golden.py. */
static void torch_body(struct hold_device *d) {
#include "adamw_golden.inc"
    enum { N = sizeof(GOLDEN_W) / sizeof(GOLDEN_W[0]) };
    float w[N], g[N];
    for (int i = 0; i < N; i++)
        w[i] = (float)sin(i);
    struct hold_ptr pw = device_floats(d, N, w), pg = device_floats(d, N, NULL);
    struct hold_ptr pm = device_floats(d, N, NULL), pv = device_floats(d, N, NULL);
    d->k->zero(d, pm, N * 4);
    d->k->zero(d, pv, N * 4);
    for (int t = 1; t <= 3; t++) {
        for (int i = 0; i < N; i++)
            g[i] = (float)cos(3 * i + t);
        d->k->write(d, pg, g, N * 4);
        d->k->adamw(d, N, pw, pg, pm, pv, 3e-3, 0.9, 0.95, 1e-8, 0.1, 1 - pow(0.9, t),
                    1 - pow(0.95, t));
    }
    float *found = host_floats(d, N, pw);
    for (int i = 0; i < N; i++) /* one rounding of the last step or two */
        expect_close("w", i, (double)found[i], (double)GOLDEN_W[i], 1.2e-7);
    free(found);
}
static void test_torch(void **state) {
    (void)state;
    each_device(torch_body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elementwise), cmocka_unit_test(test_sums),
        cmocka_unit_test(test_dropout),     cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_sgd),         cmocka_unit_test(test_torch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
