/* test_levels.c: products of few rows that read levels have the bytes of the f32 product. */
#include "ops.h"

enum { OUT = 576, IN = 608, MOST = 130 };

struct form {
    int bits, lowest, span; /* q is one of `span` values */
    int64_t group;
    bool min;
};
static const struct form FORMS[] = {
    {4, -8, 16, 32, false},  {4, 0, 16, 32, true},     {4, 0, 16, 16, true},
    {8, -16, 32, 32, false}, {8, -128, 256, 32, true}, {8, -32, 64, 16, false},
};

struct host {
    int8_t *q;
    float *scale, *min, *w;
    struct hold_levels levels;
};

static struct host make_levels(struct form f) {
    int64_t groups = IN / f.group;
    struct host h = {malloc(OUT * IN),
                     random_floats(OUT * groups, 3),
                     random_floats(OUT * groups, 4),
                     malloc(OUT * IN * 4),
                     {0}};
    for (int64_t i = 0; i < OUT * IN; i++) {
        float scale = h.scale[i / f.group], min = h.min[i / f.group];
        h.q[i] = (int8_t)(f.lowest + (int)(((uint64_t)i * 2654435761U >> 7) % (uint64_t)f.span));
        volatile float product = (float)h.q[i] * scale; /* rounded after each operation */
        h.w[i] = f.min ? product + min : product;
    }
    h.levels = (struct hold_levels){f.bits, f.lowest, f.group, h.q, h.scale, f.min ? h.min : NULL};
    return h;
}

static void free_levels(struct host *h) {
    free(h->q);
    free(h->scale);
    free(h->min);
    free(h->w);
}

static void products(struct hold_device *d, struct hold_weight *w, struct hold_ptr x, float beta,
                     const float *before, int64_t m, float **out) {
    struct hold_ptr y = device_floats(d, MOST * OUT, before);
    d->k->weight_forward(d, w, m, x, IN, beta, y, OUT);
    *out = host_floats(d, MOST * OUT, y);
    d->k->release(d, y);
}

static void one_form(struct hold_device *d, struct form f) {
    struct hold_error err = {0};
    struct host h = make_levels(f);
    struct hold_ptr w = device_floats(d, OUT * IN, h.w);
    struct hold_ptr x = device_random(d, MOST * IN, 5, NULL);
    float *before = random_floats(MOST * OUT, 6);
    struct hold_weight *plain, *few;
    bool taken = false;
    assert_int_equal(d->k->weight_new(d, w, OUT, IN, &plain, &err), HOLD_OK);
    assert_int_equal(d->k->weight_new(d, w, OUT, IN, &few, &err), HOLD_OK);
    int64_t peak, bytes = hold_device_bytes(d, &peak);
    assert_int_equal(d->k->weight_levels(d, few, &h.levels, &taken, &err), HOLD_OK);
    assert_true(taken);
    /* An eighth or a quarter of f32, and scales. */
    assert_true(hold_device_bytes(d, &peak) - bytes <= OUT * IN * (f.bits + 4) / 8 - OUT * IN * 4);
    static const int64_t COUNTS[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 47, 48, 130}; /* few and many */
    for (size_t c = 0; c < sizeof COUNTS / sizeof COUNTS[0]; c++) {
        int64_t m = COUNTS[c];
        for (int beta = 0; beta <= 1; beta++) {
            float *a, *b;
            products(d, plain, x, (float)beta, before, m, &a);
            products(d, few, x, (float)beta, before, m, &b);
            assert_memory_equal(a, b, MOST * OUT * 4);
            free(a);
            free(b);
        }
    }
    struct hold_ptr id = device_bytes(d, MOST * 4, NULL), gap = device_bytes(d, MOST * 4, NULL);
    float gaps[2][MOST];
    for (int64_t m = 1; m <= MOST; m += MOST - 1) {
        d->k->weight_argmax(d, plain, m, x, IN, id, gap);
        d->k->read(d, gaps[0], gap, m * 4);
        d->k->weight_argmax(d, few, m, x, IN, id, gap);
        d->k->read(d, gaps[1], gap, m * 4);
        assert_memory_equal(gaps[0], gaps[1], (size_t)m * 4);
    }
    d->k->weight_free(d, plain);
    d->k->weight_free(d, few);
    free(before);
    free_levels(&h);
}
static void forms_body(struct hold_device *d) {
    for (size_t i = 0; i < sizeof(FORMS) / sizeof(FORMS[0]); i++)
        one_form(d, FORMS[i]);
}
static void test_forms(void **state) {
    (void)state;
    each_device(forms_body);
}

/* Levels that are not the weight's (an adapter was merged) change nothing, nor do shapes that the
 * kernels do not take. */
static void refused_body(struct hold_device *d) {
    struct hold_error err = {0};
    struct host h = make_levels(FORMS[1]);
    bool taken = true;
    struct hold_weight *w;
    int64_t peak;
    h.w[OUT * IN - 1] += 1;
    struct hold_ptr at = device_floats(d, OUT * IN, h.w);
    assert_int_equal(d->k->weight_new(d, at, OUT, IN, &w, &err), HOLD_OK);
    int64_t bytes = hold_device_bytes(d, &peak);
    assert_int_equal(d->k->weight_levels(d, w, &h.levels, &taken, &err), HOLD_OK);
    assert_false(taken);
    assert_true(hold_device_bytes(d, &peak) == bytes);
    d->k->weight_free(d, w);
    assert_int_equal(d->k->weight_new(d, at, OUT - 1, IN, &w, &err), HOLD_OK);
    taken = true;
    assert_int_equal(d->k->weight_levels(d, w, &h.levels, &taken, &err), HOLD_OK);
    assert_false(taken);
    d->k->weight_free(d, w);
    free_levels(&h);
}
static void test_refused(void **state) {
    (void)state;
    each_device(refused_body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
