/* test_head.c: what is kept of a head's products against the kernels that read written logits. */
#include "ops.h"

enum { ROWS = 261, OUT = 2345, IN = 40 };

struct bed {
    struct hold_weight *head;
    struct hold_ptr x, logits;
    float *z; /* the logits on the host */
};

/* A head some of whose outputs are equal, x some of whose rows are large, zero and NaN. */
static struct bed make_bed(struct hold_device *d) {
    struct bed b;
    struct hold_error err = {0};
    float *w = random_floats(OUT * IN, 1), *x = random_floats(ROWS * IN, 2);
    memcpy(w + 900 * IN, w + 7 * IN, IN * 4);
    memcpy(w + (OUT - 1) * IN, w + 600 * IN, IN * 4);
    for (int j = 0; j < IN; j++) {
        x[3 * IN + j] = 3 * w[7 * IN + j];
        x[4 * IN + j] = 3 * w[600 * IN + j];
        x[5 * IN + j] = 0;
        x[6 * IN + j] = NAN;
        x[7 * IN + j] *= 20;
    }
    assert_int_equal(d->k->weight_new(d, device_floats(d, OUT * IN, w), OUT, IN, &b.head, &err),
                     HOLD_OK);
    b.x = device_floats(d, ROWS * IN, x);
    b.logits = device_floats(d, ROWS * OUT, NULL);
    d->k->weight_forward(d, b.head, ROWS, b.x, IN, 0, b.logits, OUT);
    b.z = host_floats(d, ROWS * OUT, b.logits);
    free(w);
    free(x);
    return b;
}

static void argmax_body(struct hold_device *d) {
    struct bed b = make_bed(d);
    struct hold_ptr id = device_bytes(d, ROWS * 4, NULL), gap = device_floats(d, ROWS, NULL);
    struct hold_ptr id2 = device_bytes(d, ROWS * 4, NULL), gap2 = device_floats(d, ROWS, NULL);
    d->k->argmax(d, ROWS, OUT, b.logits, OUT, id, gap);
    double flop = hold_device_flop(d);
    d->k->weight_argmax(d, b.head, ROWS, b.x, IN, id2, gap2);
    assert_true(hold_device_flop(d) - flop == 2.0 * ROWS * OUT * IN);
    int32_t *expected = host_bytes(d, ROWS * 4, id), *found = host_bytes(d, ROWS * 4, id2);
    float *gaps = host_floats(d, ROWS, gap), *found_gaps = host_floats(d, ROWS, gap2);
    assert_memory_equal(found, expected, ROWS * 4);
    for (int i = 0; i < ROWS; i++)
        assert_true(found_gaps[i] == gaps[i] || (i == 6 && isnan(found_gaps[i])));
    assert_int_equal(found[3], 7); /* the first of two equals */
    assert_true(found_gaps[3] == 0);
    assert_int_equal(found[4], 600);
    /* A row alone, and in a batch. */
    d->k->weight_argmax(d, b.head, 1, hold_at_f32(b.x, 10 * IN), IN, id2, gap2);
    float *one = host_floats(d, 1, gap2);
    assert_true(one[0] == gaps[10]);
    free(expected);
    free(found);
    free(gaps);
    free(found_gaps);
    free(one);
    free(b.z);
    d->k->weight_free(d, b.head);
}
static void test_argmax(void **state) {
    (void)state;
    each_device(argmax_body);
    struct hold_error err = {0};
    struct hold_device *d;
    assert_int_equal(hold_cpu_new(&d, 2, NULL, &err), HOLD_OK);
    assert_int_equal(hold_device_set_dtype(d, "bf16", &err), HOLD_OK);
    argmax_body(d);
    hold_device_free(d);
}

static void logp_body(struct hold_device *d) {
    static int32_t first[ROWS + 1], target[2 * ROWS];
    struct bed b = make_bed(d);
    int32_t n = 0;
    for (int i = 0; i < ROWS; i++) { /* none, one or two labels a row */
        for (int e = 0; e < i % 3; e++)
            target[n++] = (i * 7919 + e * 104729) % OUT;
        first[i + 1] = n;
    }
    struct hold_labels l = {.first = device_bytes(d, sizeof first, first),
                            .target = device_bytes(d, n * 4, target)};
    struct hold_ptr out = device_bytes(d, n * 8, NULL);
    d->k->weight_logp(d, b.head, ROWS, b.x, IN, &l, out);
    double *found = host_bytes(d, n * 8, out);
    for (int i = 0; i < ROWS; i++) {
        const float *z = b.z + (int64_t)i * OUT;
        double most = -INFINITY, sum = 0;
        for (int j = 0; j < OUT; j++)
            most = fmax(most, (double)z[j]);
        for (int j = 0; j < OUT; j++)
            sum += exp((double)z[j] - most);
        for (int e = first[i]; e < first[i + 1]; e++) {
            double expected = (double)z[target[e]] - most - log(sum);
            if (fabs(found[e] - expected) > 1e-6 * fmax(1, fabs(expected)))
                fail_msg("row %d: found %.9g, expected %.9g", i, found[e], expected);
        }
    }
    free(found);
    free(b.z);
    d->k->weight_free(d, b.head);
}
static void test_logp(void **state) {
    (void)state;
    each_device(logp_body);
}

/* A NaN among the inputs is seen. */
static void nan_body(struct hold_device *d) {
    struct bed b = make_bed(d);
    static const int32_t first[] = {0, 1}, target[] = {5};
    struct hold_labels l = {.first = device_bytes(d, sizeof first, first),
                            .target = device_bytes(d, sizeof target, target)};
    struct hold_ptr out = device_bytes(d, 8, NULL);
    d->k->weight_logp(d, b.head, 1, hold_at_f32(b.x, 6 * IN), IN, &l, out);
    double *found = host_bytes(d, 8, out);
    assert_true(isnan(found[0]));
    free(found);
    free(b.z);
    d->k->weight_free(d, b.head);
}
static void test_nan(void **state) {
    (void)state;
    each_device(nan_body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_argmax),
        cmocka_unit_test(test_logp),
        cmocka_unit_test(test_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
