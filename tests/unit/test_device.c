/* test_device.c: the device seam itself: choice of kernels, memory, counters, the sticky error,
 * the guarded device, the dry device. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "device/device.h"

static void test_choice(void **state) {
    (void)state;
    struct hold_device *d;
    struct hold_error err = {0};
    assert_int_equal(hold_cpu_new(&d, 1, "portable", &err), HOLD_OK);
    assert_string_equal(hold_device_isa(d), "portable");
    assert_string_equal(d->name, "cpu");
    hold_device_free(d);
    assert_int_equal(hold_cpu_new(&d, 2, "auto", &err), HOLD_OK);
    assert_int_equal(d->threads, 2);
    hold_device_free(d);
    assert_int_equal(hold_cpu_new(&d, 1, "sse9", &err), HOLD_EUSAGE);
    assert_null(d);
    assert_non_null(strstr(err.text, "sse9"));
    assert_int_equal(hold_cpu_new(&d, 0, NULL, &err), HOLD_EUSAGE);
    assert_int_equal(hold_cpu_new(&d, 100000, NULL, &err), HOLD_EUSAGE);
    hold_device_free(NULL);
}

/* No table has a hole. */
static void expect_full(const struct hold_device *d) {
    void (*const *entries)(void) = (void (*const *)(void))(const void *)d->k;
    for (size_t i = 0; i < sizeof(*d->k) / sizeof(entries[0]); i++)
        if (!entries[i])
            fail_msg("%s: kernel number %zu is missing", d->name, i);
}
static void test_full(void **state) {
    (void)state;
    static const char *const isas[] = {"portable", "avx2", "avx512"};
    struct hold_device *d;
    struct hold_error err = {0};
    for (int i = 0; i < 3; i++)
        if (hold_cpu_new(&d, 1, isas[i], &err) == HOLD_OK) {
            expect_full(d);
            hold_device_free(d);
        }
    assert_int_equal(hold_cpu_new_guarded(&d, 1, &err), HOLD_OK);
    expect_full(d);
    hold_device_free(d);
    assert_int_equal(hold_dry_new(&d, &err), HOLD_OK);
    expect_full(d);
    hold_device_free(d);
}

/* alloc, release and the counters, on every kind of device. */
static void memory_of(struct hold_device *d) {
    struct hold_error err = {0};
    struct hold_ptr p[4];
    static const int64_t sizes[] = {0, 1, 5000, 20 << 20};
    int64_t peak, sum = 0;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(d->k->alloc(d, sizes[i], &p[i], &err), HOLD_OK);
        assert_false(hold_ptr_null(p[i]));
        assert_int_equal(p[i].at % 64, 0);
        sum += sizes[i];
        assert_int_equal(hold_device_bytes(d, &peak), sum);
        assert_int_equal(peak, sum);
    }
    d->k->zero(d, p[3], sizes[3]);
    d->k->release(d, p[1]);
    d->k->release(d, p[3]);
    assert_int_equal(hold_device_bytes(d, &peak), 5000);
    assert_int_equal(peak, sum);
    d->k->release(d, p[0]);
    d->k->release(d, (struct hold_ptr){0}); /* nothing */
    assert_int_equal(hold_device_bytes(d, NULL), 5000);
    assert_int_equal(d->k->alloc(d, -1, &p[0], &err) < 0, 1);
    assert_int_equal(d->k->alloc(d, INT64_MAX - 10, &p[0], &err), HOLD_ENOMEMORY);
    assert_true(hold_ptr_null(p[0]));
    hold_device_free(d); /* frees the block that is left: the sanitizers look */
}
static void test_memory(void **state) {
    (void)state;
    struct hold_device *d;
    struct hold_error err = {0};
    assert_int_equal(hold_cpu_new(&d, 2, NULL, &err), HOLD_OK);
    memory_of(d);
    assert_int_equal(hold_cpu_new_guarded(&d, 2, &err), HOLD_OK);
    memory_of(d);
    assert_int_equal(hold_dry_new(&d, &err), HOLD_OK);
    memory_of(d);
}

/* Every allocation that fails is reported and nothing is lost. */
static void test_memory_out(void **state) {
    (void)state;
    struct hold_device *d;
    struct hold_ptr p;
    struct hold_weight *w;
    struct hold_error err = {0};
    hold_mem_fail_at(1);
    assert_int_equal(hold_cpu_new(&d, 1, NULL, &err), HOLD_ENOMEMORY);
    hold_mem_fail_at(1);
    assert_int_equal(hold_dry_new(&d, &err), HOLD_ENOMEMORY);
    assert_int_equal(hold_cpu_new(&d, 1, NULL, &err), HOLD_OK);
    for (int n = 1; n <= 2; n++) {
        hold_mem_fail_at(n);
        assert_int_equal(d->k->alloc(d, 100, &p, &err), HOLD_ENOMEMORY);
        assert_non_null(strstr(err.text, "100 bytes"));
    }
    hold_mem_fail_at(1);
    assert_int_equal(d->k->weight_new(d, p, 1, 1, &w, &err), HOLD_ENOMEMORY);
    hold_mem_fail_at(0);
    assert_int_equal(hold_device_bytes(d, NULL), 0);
    hold_device_free(d);
}

/* A kernel that finds no scratch: the error sticks, the first one wins, sync reports it once. */
static void test_sticky(void **state) {
    (void)state;
    struct hold_device *d;
    struct hold_error err = {0};
    assert_int_equal(hold_cpu_new(&d, 1, NULL, &err), HOLD_OK);
    struct hold_query_run run = {0, 1, 0, 1};
    struct hold_span span = {0, 1};
    struct hold_attention a = {.n_heads = 1,
                               .n_kv_heads = 1,
                               .head_dim = 16,
                               .scale = 1,
                               .n_runs = 1,
                               .n_spans = 1,
                               .n_trees = 1,
                               .n_queries = 1,
                               .n_keys = 1,
                               .max_keys = 1};
    struct hold_ptr x;
    assert_int_equal(d->k->alloc(d, 64, &x, &err), HOLD_OK);
    assert_int_equal(d->k->alloc(d, sizeof(run), &a.runs, &err), HOLD_OK);
    assert_int_equal(d->k->alloc(d, sizeof(span), &a.spans, &err), HOLD_OK);
    d->k->write(d, a.runs, &run, sizeof(run));
    d->k->write(d, a.spans, &span, sizeof(span));
    d->k->zero(d, x, 64);
    hold_mem_fail_at(1);
    d->k->attention_forward(d, &a, x, 16, x, 16, x, 16, x, 16, x);
    hold_mem_fail_at(0);
    a.head_dim = 5000;
    d->k->attention_forward(d, &a, x, 16, x, 16, x, 16, x, 16, x);
    assert_int_equal(d->k->sync(d, &err), HOLD_ENOMEMORY);
    assert_int_equal(d->k->sync(d, &err), HOLD_OK);
    hold_device_free(d);
}

static void test_peak(void **state) {
    (void)state;
    struct hold_device *d;
    struct hold_error err = {0};
    assert_int_equal(hold_cpu_new(&d, 1, NULL, &err), HOLD_OK);
    double peak = hold_device_peak_gflops(d);
    assert_true(peak > 0.5 && peak < 10000);
    hold_device_free(d);
    assert_int_equal(hold_dry_new(&d, &err), HOLD_OK);
    assert_true(hold_device_peak_gflops(d) == 0);
    hold_device_free(d);
}

/* --- guarded --- */

/* How a child ended that touched the first element of a device block, by load or by store. */
static int touch(struct hold_ptr p, int store) {
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL); /* cmocka's and the sanitizers' handlers would report */
        volatile float *x = (volatile float *)(uintptr_t)p.at;
        if (store)
            *x = 1;
        _exit(*x == 12345 ? 1 : 0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void test_guarded(void **state) {
    (void)state;
    struct hold_device *d;
    struct hold_error err = {0};
    struct hold_ptr x, y;
    float host[4] = {1, 2, 3, 4}, sum[4];
    assert_int_equal(hold_cpu_new(&d, 1, NULL, &err), HOLD_OK);
    assert_int_equal(d->k->alloc(d, 16, &x, &err), HOLD_OK);
    assert_true(WIFEXITED(touch(x, 1))); /* the plain device lets it pass */
    hold_device_free(d);
    assert_int_equal(hold_cpu_new_guarded(&d, 2, &err), HOLD_OK);
    assert_int_equal(d->k->alloc(d, 16, &x, &err), HOLD_OK);
    assert_int_equal(d->k->alloc(d, 16, &y, &err), HOLD_OK);
    for (int round = 0; round < 2; round++) { /* before and after kernels ran */
        for (int store = 0; store <= 1; store++) {
            int status = touch(x, store);
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
        }
        d->k->write(d, x, host, sizeof(host));
        d->k->copy(d, y, x, sizeof(host));
        d->k->axpby(d, 1, 4, 2, x, 4, 1, y, 4);
        d->k->read(d, sum, y, sizeof(sum));
        for (int i = 0; i < 4; i++)
            assert_true(sum[i] == 3 * host[i]);
        assert_true(d->k->dot(d, 4, x, y) == 90);
    }
    hold_device_free(d);
}

/* --- dry --- */

static void test_dry(void **state) {
    (void)state;
    struct hold_device *d;
    struct hold_error err = {0};
    struct hold_ptr x, y;
    struct hold_weight *w;
    assert_int_equal(hold_dry_new(&d, &err), HOLD_OK);
    assert_int_equal(d->k->alloc(d, INT64_C(1) << 50, &x, &err), HOLD_OK); /* more than any RAM */
    assert_int_equal(d->k->alloc(d, 100, &y, &err), HOLD_OK);
    assert_true(y.at >= x.at + (UINT64_C(1) << 50));
    d->k->zero(d, x, INT64_C(1) << 50);
    d->k->gemm(d, false, true, 10, 20, 30, 1, x, 30, y, 30, 0, x, 20);
    assert_int_equal(d->k->weight_new(d, x, 7, 5, &w, &err), HOLD_OK);
    d->k->weight_forward(d, w, 3, x, 5, 0, y, 7);
    d->k->weight_backward(d, w, 3, y, 7, 0, x, 5);
    d->k->weight_free(d, w);
    assert_true(hold_device_flop(d) == 2.0 * (10 * 20 * 30 + 2 * 3 * 7 * 5));
    assert_true(d->k->dot(d, 1000, x, y) == 0);
    assert_int_equal(d->k->count_nonfinite(d, 1000, x), 0);
    char bytes[3] = {1, 2, 3};
    d->k->read(d, bytes, x, 3);
    assert_true(bytes[0] == 0 && bytes[2] == 0);
    assert_int_equal(d->k->sync(d, &err), HOLD_OK);
    hold_device_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),  cmocka_unit_test(test_full),
        cmocka_unit_test(test_memory),  cmocka_unit_test(test_memory_out),
        cmocka_unit_test(test_sticky),  cmocka_unit_test(test_peak),
        cmocka_unit_test(test_guarded), cmocka_unit_test(test_dry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
