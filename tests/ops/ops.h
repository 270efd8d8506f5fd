/* ops.h: what the kernel tests share: every device of this machine, random arrays, comparison with
 * references in f64, gradients by central differences. */
#ifndef HOLD_TESTS_OPS_OPS_H
#define HOLD_TESTS_OPS_OPS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "device/device.h"

/* Run body on every instruction set of this machine with one and with three threads, and on the
 * guarded device. */
static inline void each_device(void (*body)(struct hold_device *d)) {
    static const char *const isas[] = {"portable", "avx2", "avx512"};
    int ran = 0;
    for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++)
        for (int threads = 1; threads <= 3; threads += 2) {
            struct hold_error err = {0};
            struct hold_device *d;
            int code = hold_cpu_new(&d, threads, isas[i], &err);
            if (code == HOLD_EUSAGE && i > 0)
                continue; /* this machine has no such set */
            assert_int_equal(code, HOLD_OK);
            assert_string_equal(hold_device_isa(d), isas[i]);
            body(d);
            assert_int_equal(d->k->sync(d, &err), HOLD_OK);
            hold_device_free(d);
            ran++;
        }
    assert_true(ran >= 2);
    struct hold_error err = {0};
    struct hold_device *d;
    assert_int_equal(hold_cpu_new_guarded(&d, 2, &err), HOLD_OK);
    body(d);
    assert_int_equal(d->k->sync(d, &err), HOLD_OK);
    hold_device_free(d);
}

/* n random normals of the stream `key`. */
static inline float *random_floats(int64_t n, uint64_t key) {
    float *x = malloc(((size_t)n + 1) * sizeof(float));
    struct hold_rng r;
    hold_rng_init(&r, key, "test", 0, 0);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)hold_rng_normal(&r);
    return x;
}

static inline struct hold_ptr device_bytes(struct hold_device *d, int64_t bytes, const void *from) {
    struct hold_ptr p;
    struct hold_error err = {0};
    assert_int_equal(d->k->alloc(d, bytes, &p, &err), HOLD_OK);
    if (from)
        d->k->write(d, p, from, bytes);
    return p;
}
static inline struct hold_ptr device_floats(struct hold_device *d, int64_t n, const float *from) {
    return device_bytes(d, n * 4, from);
}
/* n random normals on the device, and on the host in *host (the caller frees) unless NULL. */
static inline struct hold_ptr device_random(struct hold_device *d, int64_t n, uint64_t key,
                                            float **host) {
    float *x = random_floats(n, key);
    struct hold_ptr p = device_floats(d, n, x);
    if (host)
        *host = x;
    else
        free(x);
    return p;
}
static inline void *host_bytes(struct hold_device *d, int64_t bytes, struct hold_ptr p) {
    void *x = malloc((size_t)bytes + 1);
    d->k->read(d, x, p, bytes);
    return x;
}
static inline float *host_floats(struct hold_device *d, int64_t n, struct hold_ptr p) {
    return host_bytes(d, n * 4, p);
}

static inline void expect_close(const char *what, int64_t at, double found, double expected,
                                double tolerance) {
    if (fabs(found - expected) <= tolerance * (1 + fabs(expected)))
        return;
    fail_msg("%s[%ld]: found %.9g, expected %.9g", what, (long)at, found, expected);
}

/* A value that no kernel may change: it stands between the rows of strided matrices. */
#define GAP_VALUE 12345.5f
static inline void expect_gaps(const char *what, const float *x, int64_t rows, int64_t cols,
                               int64_t ld) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = cols; j < ld; j++)
            if (x[i * ld + j] != GAP_VALUE)
                fail_msg("%s: a kernel wrote between rows, at (%ld, %ld)", what, (long)i, (long)j);
}
/* A random (rows, cols) matrix with GAP_VALUE between its rows. */
static inline struct hold_ptr device_matrix(struct hold_device *d, int64_t rows, int64_t cols,
                                            int64_t ld, uint64_t key, float **host) {
    float *x = random_floats(rows * ld, key);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = cols; j < ld; j++)
            x[i * ld + j] = GAP_VALUE;
    struct hold_ptr p = device_floats(d, rows * ld, x);
    if (host)
        *host = x;
    else
        free(x);
    return p;
}

/* Compare found[i] with d loss / d x[i] by central differences; loss is in f64 throughout. */
static inline void expect_gradient(const char *what, double (*loss)(const double *x, void *user),
                                   void *user, double *x, int64_t n, const float *found,
                                   double tolerance) {
    const double h = 1e-5;
    for (int64_t i = 0; i < n; i++) {
        double keep = x[i];
        x[i] = keep + h;
        double up = loss(x, user);
        x[i] = keep - h;
        double down = loss(x, user);
        x[i] = keep;
        expect_close(what, i, (double)found[i], (up - down) / (2 * h), tolerance);
    }
}

#endif
