/* test_bf16.c: products of rounded operands against sums in f64, on everything that multiplies
 * them: the emulation of every instruction set and the machine's own instructions. */
#include <signal.h>
#include <sys/time.h>

#include "ops.h"

/* Instruction sets and what multiplies bf16 in each; the later ones are not on every machine. */
static const struct {
    const char *isa, *unit;
} UNITS[] = {
    {"portable", "emulated"},       {"avx2", "emulated"}, {"avx512", "emulated"},
    {"avx512_bf16", "avx512_bf16"}, {"amx", "amx"},
};

static void each_unit(void (*body)(struct hold_device *d)) {
    struct hold_error err = {0};
    struct hold_device *d;
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++)
        for (int threads = 1; threads <= 3; threads += 2) {
            int rc = hold_cpu_new(&d, threads, UNITS[i].isa, &err);
            if (rc == HOLD_EUSAGE && i > 0)
                continue; /* this machine has no such set */
            assert_int_equal(rc, HOLD_OK);
            assert_string_equal(hold_device_dtype(d), "f32");
            assert_int_equal(hold_device_set_dtype(d, "bf16", &err), HOLD_OK);
            assert_string_equal(hold_device_dtype(d), "bf16");
            assert_string_equal(hold_device_bf16_unit(d), UNITS[i].unit);
            body(d);
            assert_int_equal(d->k->sync(d, &err), HOLD_OK);
            hold_device_free(d);
        }
    assert_int_equal(hold_cpu_new_guarded(&d, 2, &err), HOLD_OK);
    assert_int_equal(hold_device_set_dtype(d, "bf16", &err), HOLD_OK);
    body(d);
    assert_int_equal(d->k->sync(d, &err), HOLD_OK);
    hold_device_free(d);
}

/* A copy rounded to nearest, ties to even, by arithmetic: eight significant bits. */
static float *rounded(const float *x, int64_t n) {
    float *to = malloc((size_t)n * sizeof *to + 1);
    for (int64_t i = 0; i < n; i++) {
        int exponent;
        double f = frexp((double)x[i], &exponent);
        to[i] = (float)ldexp(nearbyint(ldexp(f, 8)), exponent - 8);
    }
    return to;
}

struct shape {
    int64_t m, n, k;
};

/* op(A) op(B) of rounded matrices, and the sum of the products' sizes. */
static double product(bool ta, bool tb, struct shape s, int64_t i, int64_t j, const float *a,
                      int64_t lda, const float *b, int64_t ldb, double *size) {
    double sum = 0;
    *size = 0;
    for (int64_t p = 0; p < s.k; p++) {
        double x = (double)(ta ? a[p * lda + i] : a[i * lda + p]) *
                   (double)(tb ? b[j * ldb + p] : b[p * ldb + j]);
        sum += x;
        *size += fabs(x);
    }
    return sum;
}

/* Sums in f32, in some order: each of k additions may lose half a unit of 24 bits, and the errors
 * of random terms add as their root. */
static void expect_sum(const char *what, int64_t at, float found, double expected, double size,
                       int64_t k) {
    double bound = ldexp(size, -24) * (2 + sqrt((double)k)) + ldexp(fabs(expected), -23);
    if (!(fabs((double)found - expected) <= bound))
        fail_msg("%s[%ld]: found %.9g, expected %.9g within %.3g", what, (long)at, (double)found,
                 expected, bound);
}

static void one_live(struct hold_device *d, struct shape s, bool ta, bool tb, float beta,
                     int64_t gap) {
    int64_t a_rows = ta ? s.k : s.m, a_cols = ta ? s.m : s.k;
    int64_t b_rows = tb ? s.n : s.k, b_cols = tb ? s.k : s.n;
    int64_t lda = a_cols + gap, ldb = b_cols + gap, ldc = s.n + gap;
    float *a, *b, *c, nan = NAN;
    struct hold_ptr pa = device_matrix(d, a_rows, a_cols, lda, 1, &a);
    struct hold_ptr pb = device_matrix(d, b_rows, b_cols, ldb, 2, &b);
    struct hold_ptr pc = device_matrix(d, s.m, s.n, ldc, 3, &c);
    for (int64_t i = 0; beta == 0 && i < s.m; i++) /* must not be read */
        for (int64_t j = 0; j < s.n; j++)
            d->k->write(d, hold_at_f32(pc, i * ldc + j), &nan, 4);
    double flop = hold_device_flop(d), size;
    d->k->gemm_live(d, false, ta, tb, s.m, s.n, s.k, pa, lda, pb, ldb, beta, pc, ldc);
    assert_true(hold_device_flop(d) - flop == 2.0 * (double)(s.m * s.n * s.k));
    float *found = host_floats(d, s.m * ldc, pc);
    float *ra = rounded(a, a_rows * lda), *rb = rounded(b, b_rows * ldb);
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.n; j++) {
            double expected = product(ta, tb, s, i, j, ra, lda, rb, ldb, &size);
            if (beta != 0) {
                expected += (double)c[i * ldc + j];
                size += fabs((double)c[i * ldc + j]);
            }
            expect_sum("c", i * ldc + j, found[i * ldc + j], expected, size, s.k);
        }
    expect_gaps("c", found, s.m, s.n, ldc);
    free(a);
    free(b);
    free(c);
    free(ra);
    free(rb);
    free(found);
    d->k->release(d, pa);
    d->k->release(d, pb);
    d->k->release(d, pc);
}

static void live_body(struct hold_device *d) {
    static const struct shape shapes[] = {
        {1, 1, 1},    {3, 5, 7},     {17, 33, 65},  {64, 48, 16},  {129, 16, 96},
        {5, 300, 1},  {200, 20, 3},  {16, 31, 40},  {48, 64, 257}, {31, 32, 700},
        {33, 64, 64}, {15, 96, 127}, {70, 40, 129}, {2, 2, 4200},  {96, 130, 2100},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = 0; t < 4; t++)
            for (int beta = 0; beta <= 1; beta++)
                one_live(d, shapes[i], t & 1, t & 2, (float)beta, 3 * beta);
}
static void test_live(void **state) {
    (void)state;
    each_unit(live_body);
}

static void one_weight(struct hold_device *d, int64_t m, int64_t out, int64_t in, float beta) {
    int64_t ldx = in + 4, ldy = out + 8;
    float *w, *x, *y;
    struct hold_ptr pw = device_random(d, out * in, 1, &w);
    struct hold_ptr px = device_matrix(d, m, in, ldx, 2, &x);
    struct hold_ptr py = device_matrix(d, m, out, ldy, 3, &y);
    struct hold_weight *handle;
    struct hold_error err = {0};
    double size;
    assert_int_equal(d->k->weight_new(d, pw, out, in, &handle, &err), HOLD_OK);
    d->k->release(d, pw); /* not looked at again */
    double flop = hold_device_flop(d);
    d->k->weight_forward(d, handle, m, px, ldx, beta, py, ldy);
    assert_true(hold_device_flop(d) - flop == 2.0 * (double)(m * out * in));
    float *found = host_floats(d, m * ldy, py);
    float *rw = rounded(w, out * in), *rx = rounded(x, m * ldx), *ry = rounded(found, m * ldy);
    struct shape s = {m, out, in};
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < out; j++) {
            double before = (double)(beta * y[i * ldy + j]);
            double expected = product(false, true, s, i, j, rx, ldx, rw, in, &size) + before;
            expect_sum("y", i * ldy + j, found[i * ldy + j], expected, size + fabs(before), in);
        }
    expect_gaps("y", found, m, out, ldy);
    /* dx, with the forward's y as dy */
    d->k->weight_backward(d, handle, m, py, ldy, beta, px, ldx);
    float *dx = host_floats(d, m * ldx, px);
    s = (struct shape){m, in, out};
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < in; j++) {
            double before = (double)(beta * x[i * ldx + j]);
            double expected = product(false, false, s, i, j, ry, ldy, rw, in, &size) + before;
            expect_sum("dx", i * ldx + j, dx[i * ldx + j], expected, size + fabs(before), out);
        }
    expect_gaps("dx", dx, m, in, ldx);
    d->k->weight_free(d, handle);
    free(w);
    free(rw);
    free(rx);
    free(ry);
    free(x);
    free(y);
    free(found);
    free(dx);
    d->k->release(d, px);
    d->k->release(d, py);
}

static void weight_body(struct hold_device *d) {
    static const int64_t counts[] = {1, 2, 7, 16, 31, 33, 130};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (int beta = 0; beta <= 1; beta++) {
            one_weight(d, counts[i], 96, 80, (float)beta);
            one_weight(d, counts[i], 37, 19, (float)beta);
            one_weight(d, counts[i], 192, 64, (float)beta);
        }
    one_weight(d, 40, 960, 576, 0);
    one_weight(d, 20, 3000, 32, 1); /* more than one pass over k in backward */
}
static void test_weight(void **state) {
    (void)state;
    each_unit(weight_body);
}

/* A refined weight's forward product, and a fine live one, against the unrounded sums: what is lost
 * is the product of the two small parts and their own rounding, 2^-18 of a term each at most. */
static void one_fine(struct hold_device *d, int64_t m, int64_t out, int64_t in, float beta) {
    float *w, *x, *y;
    struct hold_ptr pw = device_random(d, out * in, 1, &w);
    struct hold_ptr px = device_random(d, m * in, 2, &x), py = device_random(d, m * out, 3, &y);
    struct hold_ptr plive = device_floats(d, m * out, y);
    struct hold_weight *handle;
    struct hold_error err = {0};
    double size;
    assert_int_equal(d->k->weight_new(d, pw, out, in, &handle, &err), HOLD_OK);
    assert_int_equal(d->k->weight_refine(d, handle, pw, &err), HOLD_OK);
    assert_int_equal(d->k->weight_refine(d, handle, pw, &err), HOLD_OK); /* it is already */
    double flop = hold_device_flop(d);
    d->k->weight_forward(d, handle, m, px, in, beta, py, out);
    assert_true(hold_device_flop(d) - flop == 2.0 * (double)(m * out * in)); /* what is needed */
    d->k->gemm_live(d, true, false, true, m, out, in, px, in, pw, in, beta, plive, out);
    float *found = host_floats(d, m * out, py), *live = host_floats(d, m * out, plive);
    struct shape s = {m, out, in};
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < out; j++) {
            double before = (double)(beta * y[i * out + j]);
            double expected = product(false, true, s, i, j, x, in, w, in, &size) + before;
            double bound = ldexp(3 * size, -18);
            bound += ldexp(size + fabs(before), -24) * (2 + sqrt((double)in));
            if (!(fabs((double)found[i * out + j] - expected) <= bound))
                fail_msg("y[%ld,%ld]: found %.9g, expected %.9g within %.3g", (long)i, (long)j,
                         (double)found[i * out + j], expected, bound);
            assert_true(found[i * out + j] == live[i * out + j]);
        }
    d->k->weight_free(d, handle);
    free(w);
    free(x);
    free(y);
    free(found);
    free(live);
    d->k->release(d, pw);
    d->k->release(d, px);
    d->k->release(d, py);
    d->k->release(d, plive);
}

static void fine_body(struct hold_device *d) {
    one_fine(d, 7, 37, 19, 0);
    one_fine(d, 33, 96, 80, 1);
    one_fine(d, 20, 40, 1536, 0);
}
static void test_fine(void **state) {
    (void)state;
    each_unit(fine_body);
}

/* A row of a product has the same bytes in any batch. */
static void batch_body(struct hold_device *d) {
    enum { M = 200, OUT = 330, IN = 96 };
    struct hold_ptr w = device_random(d, OUT * IN, 1, NULL), x = device_random(d, M * IN, 2, NULL);
    struct hold_ptr whole = device_floats(d, M * OUT, NULL), one = device_floats(d, M * OUT, NULL);
    struct hold_weight *handle;
    struct hold_error err = {0};
    assert_int_equal(d->k->weight_new(d, w, OUT, IN, &handle, &err), HOLD_OK);
    d->k->weight_forward(d, handle, M, x, IN, 0, whole, OUT);
    for (int64_t i = 0, n = 1; i < M; i += n, n = n % 37 + 1)
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
    each_unit(batch_body);
}

/* Rounding itself: numbers between, on and beyond ties, the largest, infinities, NaN. */
static void rounding_body(struct hold_device *d) {
    static const struct {
        uint32_t bits, rounded;
    } cases[] = {
        {0x3f800000, 0x3f800000}, {0x3f808000, 0x3f800000}, {0x3f808001, 0x3f810000},
        {0x3f818000, 0x3f820000}, {0x3f817fff, 0x3f810000}, {0xbf818000, 0xbf820000},
        {0x00000000, 0x00000000}, {0x80000000, 0x80000000}, {0x3fffffff, 0x40000000},
        {0x7f7f7fff, 0x7f7f0000}, {0x7f7fffff, 0x7f800000}, {0xff800000, 0xff800000},
        {0x01808000, 0x01800000}, {0x7fc00000, 0x7fc00000}, {0x7f800001, 0x7fc00000},
    };
    enum { N = sizeof cases / sizeof *cases };
    float one = 1, found;
    struct hold_ptr b = device_floats(d, 1, &one), c = device_floats(d, 1, &one);
    for (int i = 0; i < N; i++) {
        struct hold_ptr a = device_bytes(d, 4, &cases[i].bits);
        uint32_t bits;
        d->k->gemm_live(d, false, false, false, 1, 1, 1, a, 1, b, 1, 0, c, 1);
        d->k->read(d, &found, c, 4);
        memcpy(&bits, &found, 4);
        bool nan = (cases[i].rounded & 0x7fffffffu) > 0x7f800000u;
        if (nan ? !isnan(found)
                : (bits << 1 != cases[i].rounded << 1 ||
                   (bits >> 31 != cases[i].bits >> 31 && found != 0)))
            fail_msg("%08x became %08x, expected %08x", cases[i].bits, bits, cases[i].rounded);
        d->k->release(d, a);
    }
    d->k->release(d, b);
    d->k->release(d, c);
}
static void test_rounding(void **state) {
    (void)state;
    each_unit(rounding_body);
}

static void test_names(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_device *d;
    assert_int_equal(hold_cpu_new(&d, 1, NULL, &err), HOLD_OK);
    assert_int_equal(hold_device_set_dtype(d, "f16", &err), HOLD_EUSAGE);
    assert_string_equal(err.text, "dtype: found 'f16', expected f32 or bf16");
    assert_string_equal(hold_device_dtype(d), "f32");
    double peak = hold_device_peak_bf16_gflops(d);
    assert_true(peak > 0.5 && peak < 100000);
    hold_device_free(d);
}

static volatile sig_atomic_t alarms;

/* A frame of some kilobytes, as a real handler's. */
static void on_alarm(int sig) {
    char frame[8192];
    (void)sig;
    memset(frame, 0xAB, sizeof frame);
    __asm__ volatile("" ::"r"(frame) : "memory");
    alarms++;
}

/* A handler may run at any moment of a product, in the middle of tile registers, and changes
 * nothing. */
static void signals_body(struct hold_device *d) {
    enum { M = 200, OUT = 330, IN = 960, ROUNDS = 40 };
    struct hold_error err = {0};
    struct hold_weight *handle;
    struct hold_ptr w = device_random(d, OUT * IN, 1, NULL), x = device_random(d, M * IN, 2, NULL);
    struct hold_ptr y = device_floats(d, M * OUT, NULL);
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, before;
    struct itimerval timer = {{0, 200}, {0, 200}}, off = {{0, 0}, {0, 0}};
    assert_int_equal(d->k->weight_new(d, w, OUT, IN, &handle, &err), HOLD_OK);
    d->k->weight_forward(d, handle, M, x, IN, 0, y, OUT);
    float *first = host_floats(d, M * OUT, y);
    alarms = 0;
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &timer, NULL);
    for (int i = 0; i < ROUNDS || (alarms < 3 && i < 1000 * ROUNDS); i++) {
        d->k->weight_forward(d, handle, M, x, IN, 0, y, OUT);
        float *again = host_floats(d, M * OUT, y);
        assert_memory_equal(first, again, M * OUT * sizeof *first);
        free(again);
    }
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_true(alarms > 0);
    d->k->weight_free(d, handle);
    free(first);
}
static void test_signals(void **state) {
    (void)state;
    each_unit(signals_body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_live),  cmocka_unit_test(test_weight),
        cmocka_unit_test(test_batch), cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_fine),  cmocka_unit_test(test_signals),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
