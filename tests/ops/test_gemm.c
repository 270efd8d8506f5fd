/* test_gemm.c: matrix products and frozen weights against sums in f64. */
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "ops.h"

struct shape {
    int64_t m, n, k;
};
static const struct shape SHAPES[] = {
    {1, 1, 1},   {3, 5, 7},    {17, 33, 65},  {64, 48, 16},  {129, 16, 96}, {1, 960, 576},
    {5, 300, 1}, {200, 20, 3}, {16, 576, 40}, {48, 64, 257}, {96, 24, 700}, {2, 2, 0},
};
enum { SHAPE_COUNT = sizeof(SHAPES) / sizeof(SHAPES[0]) };

static double product(bool ta, bool tb, struct shape s, int64_t i, int64_t j, const float *a,
                      int64_t lda, const float *b, int64_t ldb) {
    double sum = 0;
    for (int64_t p = 0; p < s.k; p++)
        sum += (double)(ta ? a[p * lda + i] : a[i * lda + p]) *
               (double)(tb ? b[j * ldb + p] : b[p * ldb + j]);
    return sum;
}

static void one_gemm(struct hold_device *d, struct shape s, bool ta, bool tb, float alpha,
                     float beta, int64_t gap) {
    int64_t a_rows = ta ? s.k : s.m, a_cols = ta ? s.m : s.k;
    int64_t b_rows = tb ? s.n : s.k, b_cols = tb ? s.k : s.n;
    int64_t lda = a_cols + gap, ldb = b_cols + gap, ldc = s.n + gap;
    lda = lda ? lda : 1;
    ldb = ldb ? ldb : 1;
    float *a, *b, *c;
    struct hold_ptr pa = device_matrix(d, a_rows, a_cols, lda, 1, &a);
    struct hold_ptr pb = device_matrix(d, b_rows, b_cols, ldb, 2, &b);
    struct hold_ptr pc = device_matrix(d, s.m, s.n, ldc, 3, &c);
    if (beta == 0) { /* must not be read */
        float nan = NAN;
        for (int64_t i = 0; i < s.m; i++)
            for (int64_t j = 0; j < s.n; j++)
                d->k->write(d, hold_at_f32(pc, i * ldc + j), &nan, 4);
    }
    d->k->gemm(d, ta, tb, s.m, s.n, s.k, alpha, pa, lda, pb, ldb, beta, pc, ldc);
    float *found = host_floats(d, s.m * ldc, pc);
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.n; j++) {
            double expected = (double)alpha * product(ta, tb, s, i, j, a, lda, b, ldb);
            if (beta != 0)
                expected += (double)beta * (double)c[i * ldc + j];
            expect_close("c", i * ldc + j, (double)found[i * ldc + j], expected,
                         3e-6 * (2 + sqrt((double)s.k)));
        }
    expect_gaps("c", found, s.m, s.n, ldc);
    free(a);
    free(b);
    free(c);
    free(found);
    d->k->release(d, pa);
    d->k->release(d, pb);
    d->k->release(d, pc);
}

static void gemm_body(struct hold_device *d) {
    for (int i = 0; i < SHAPE_COUNT; i++)
        for (int t = 0; t < 4; t++) {
            one_gemm(d, SHAPES[i], t & 1, t & 2, 1, 0, 0);
            one_gemm(d, SHAPES[i], t & 1, t & 2, 0.5f, 1, 3);
            one_gemm(d, SHAPES[i], t & 1, t & 2, -2, 0.25f, 8);
        }
    one_gemm(d, (struct shape){0, 4, 4}, false, false, 1, 0, 0);
    one_gemm(d, (struct shape){4, 0, 4}, false, true, 1, 1, 0);
}
static void test_gemm(void **state) {
    (void)state;
    each_device(gemm_body);
}

static void one_weight(struct hold_device *d, int64_t m, int64_t out, int64_t in, float beta) {
    int64_t ldx = in + 4, ldy = out + 8;
    float *w, *x, *y;
    struct hold_ptr pw = device_random(d, out * in, 1, &w);
    struct hold_ptr px = device_matrix(d, m, in, ldx, 2, &x);
    struct hold_ptr py = device_matrix(d, m, out, ldy, 3, &y);
    struct hold_weight *handle;
    struct hold_error err = {0};
    assert_int_equal(d->k->weight_new(d, pw, out, in, &handle, &err), HOLD_OK);
    double flop = hold_device_flop(d);
    double tolerance = 3e-6 * (2 + sqrt((double)in));
    d->k->weight_forward(d, handle, m, px, ldx, beta, py, ldy);
    assert_true(hold_device_flop(d) - flop == 2.0 * (double)(m * out * in));
    float *found = host_floats(d, m * ldy, py);
    struct shape s = {m, out, in};
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < out; j++)
            expect_close("y", i * ldy + j, (double)found[i * ldy + j],
                         product(false, true, s, i, j, x, ldx, w, in) +
                             (double)(beta * y[i * ldy + j]),
                         tolerance);
    expect_gaps("y", found, m, out, ldy);
    /* dx, with the forward's y as dy */
    d->k->weight_backward(d, handle, m, py, ldy, beta, px, ldx);
    float *dx = host_floats(d, m * ldx, px);
    s = (struct shape){m, in, out};
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < in; j++) {
            double expected = product(false, false, s, i, j, found, ldy, w, in);
            expected += (double)(beta * x[i * ldx + j]);
            expect_close("dx", i * ldx + j, (double)dx[i * ldx + j] / sqrt((double)(in * out)),
                         expected / sqrt((double)(in * out)), 2e-5);
        }
    expect_gaps("dx", dx, m, in, ldx);
    d->k->weight_free(d, handle);
    free(w);
    free(x);
    free(y);
    free(found);
    free(dx);
    d->k->release(d, pw);
    d->k->release(d, px);
    d->k->release(d, py);
}

static void weight_body(struct hold_device *d) {
    static const int64_t counts[] = {1, 2, 7, 8, 31, 33, 130};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        for (int beta = 0; beta <= 1; beta++) {
            one_weight(d, counts[i], 96, 80, (float)beta);
            one_weight(d, counts[i], 37, 19, (float)beta);
            one_weight(d, counts[i], 192, 64, (float)beta);
        }
    one_weight(d, 40, 960, 576, 0);
}
static void test_weight(void **state) {
    (void)state;
    each_device(weight_body);
}

/* The same bytes each time, at shapes where a library may split a sum. */
static void same_body(struct hold_device *d) {
    struct shape s = {24, 16, 5000};
    struct hold_ptr a = device_random(d, s.m * s.k, 1, NULL);
    struct hold_ptr b = device_random(d, s.k * s.n, 2, NULL);
    struct hold_ptr c = device_floats(d, s.m * s.n, NULL);
    float *first = NULL;
    for (int i = 0; i < 5; i++) {
        d->k->gemm(d, false, false, s.m, s.n, s.k, 1, a, s.k, b, s.n, 0, c, s.n);
        float *again = host_floats(d, s.m * s.n, c);
        if (first) {
            assert_memory_equal(first, again, (size_t)(s.m * s.n) * 4);
            free(again);
        } else {
            first = again;
        }
    }
    free(first);
}
static void test_same(void **state) {
    (void)state;
    each_device(same_body);
}

/* A row of a frozen product has the same bytes in any batch: what makes batched decoding equal to
 * single decoding. */
static void batch_body(struct hold_device *d) {
    enum { M = 200, OUT = 330, IN = 96 };
    struct hold_ptr w = device_random(d, OUT * IN, 1, NULL), x = device_random(d, M * IN, 2, NULL);
    struct hold_ptr whole = device_floats(d, M * OUT, NULL), one = device_floats(d, M * OUT, NULL);
    struct hold_weight *handle;
    struct hold_error err = {0};
    assert_int_equal(d->k->weight_new(d, w, OUT, IN, &handle, &err), HOLD_OK);
    d->k->weight_forward(d, handle, M, x, IN, 0, whole, OUT);
    for (int64_t i = 0, n = 1; i < M; i += n, n = n % 7 + 1) /* in batches of 1 to 7 */
        d->k->weight_forward(d, handle, i + n < M ? n : M - i, hold_at_f32(x, i * IN), IN, 0,
                             hold_at_f32(one, i * OUT), OUT);
    float *a = host_floats(d, M * OUT, whole), *b = host_floats(d, M * OUT, one);
    assert_memory_equal(a, b, M * OUT * 4);
    d->k->weight_free(d, handle);
    free(a);
    free(b);
}
static void test_batch(void **state) {
    (void)state;
    each_device(batch_body);
}

static volatile sig_atomic_t alarms;

/* A frame of some kilobytes, as a real handler's: what a kernel left below the stack pointer goes.
 */
static void on_alarm(int sig) {
    char frame[8192];
    (void)sig;
    memset(frame, 0xAB, sizeof frame);
    __asm__ volatile("" ::"r"(frame) : "memory");
    alarms++;
}

/* LAW of gemm_dnnl.c: a handler may run at any moment of a product and changes nothing. */
static void test_signals(void **state) {
    (void)state;
    enum { M = 256, N = 576, K = 960, ROUNDS = 60 };
    struct hold_error err = {0};
    struct hold_device *d = NULL;
    struct hold_ptr a, b, c;
    assert_int_equal(hold_cpu_new(&d, 2, NULL, &err), HOLD_OK);
    assert_int_equal(d->k->alloc(d, M * K * 4, &a, &err), HOLD_OK);
    assert_int_equal(d->k->alloc(d, N * K * 4, &b, &err), HOLD_OK);
    assert_int_equal(d->k->alloc(d, M * N * 4, &c, &err), HOLD_OK);
    float *x = malloc(N * K * sizeof *x), *first = malloc(M * N * sizeof *x);
    float *again = malloc(M * N * sizeof *x);
    assert_non_null(x);
    assert_non_null(first);
    assert_non_null(again);
    for (int i = 0; i < N * K; i++)
        x[i] = (float)(i % 13) - 6.0f;
    d->k->write(d, a, x, M * K * 4);
    d->k->write(d, b, x, N * K * 4);
    d->k->gemm(d, false, false, M, N, K, 1.0f, a, K, b, N, 0.0f, c, N);
    d->k->read(d, first, c, M * N * 4);
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, before;
    struct itimerval timer = {{0, 300}, {0, 300}}, off = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &timer, NULL);
    for (int i = 0; i < ROUNDS || (alarms == 0 && i < 100 * ROUNDS); i++) {
        d->k->gemm(d, false, false, M, N, K, 1.0f, a, K, b, N, 0.0f, c, N);
        d->k->read(d, again, c, M * N * 4);
        assert_memory_equal(first, again, M * N * sizeof *first);
    }
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_true(alarms > 0);
    free(x);
    free(first);
    free(again);
    d->k->release(d, a);
    d->k->release(d, b);
    d->k->release(d, c);
    hold_device_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),  cmocka_unit_test(test_weight),  cmocka_unit_test(test_same),
        cmocka_unit_test(test_batch), cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
