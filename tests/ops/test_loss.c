/* test_loss.c: cross entropy, KL and argmax against f64, gradients against central differences. */
#include "ops.h"

static double lse(const float *x, int64_t n) {
    double most = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++)
        most = fmax(most, (double)x[j]);
    for (int64_t j = 0; j < n; j++)
        sum += exp((double)x[j] - most);
    return most + log(sum);
}

/* Labels of `rows` rows: row i has i % 3 of them. */
struct labels {
    int32_t first[64], target[128];
    float weight[128];
    int n;
};
static struct labels make_labels(int rows, int vocab) {
    struct labels l = {.n = 0};
    for (int i = 0; i < rows; i++) {
        for (int e = 0; e < (i + 1) % 3; e++, l.n++) {
            l.target[l.n] = (i * 7919 + e * 104729) % vocab;
            l.weight[l.n] = 0.5f + 0.25f * (float)((i + e) % 5);
        }
        l.first[i + 1] = l.n;
    }
    return l;
}
static struct hold_labels put_labels(struct hold_device *d, const struct labels *l) {
    return (struct hold_labels){device_bytes(d, sizeof(l->first), l->first),
                                device_bytes(d, sizeof(l->target), l->target),
                                device_bytes(d, sizeof(l->weight), l->weight)};
}

static void entropy_shape(struct hold_device *d, int rows, int vocab, float spread) {
    int64_t ld = vocab + 3;
    const float coef = 0.125f;
    struct labels l = make_labels(rows, vocab);
    struct hold_labels pl = put_labels(d, &l);
    float *x = random_floats(rows * ld, 1);
    for (int64_t i = 0; i < rows * ld; i++)
        x[i] = i % ld < vocab ? 40 + spread * x[i] : GAP_VALUE;
    struct hold_ptr px = device_floats(d, rows * ld, x);
    struct hold_ptr only = device_bytes(d, l.n * 8, NULL), with = device_bytes(d, l.n * 8, NULL);
    d->k->cross_entropy(d, rows, vocab, px, ld, &pl, coef, false, only);
    float *same = host_floats(d, rows * ld, px);
    assert_memory_equal(same, x, (size_t)(rows * ld) * 4);
    d->k->cross_entropy(d, rows, vocab, px, ld, &pl, coef, true, with);
    float *grad = host_floats(d, rows * ld, px);
    double *a = host_bytes(d, l.n * 8, only), *b = host_bytes(d, l.n * 8, with);
    for (int i = 0; i < rows; i++) {
        double whole = lse(x + i * ld, vocab), weights = 0;
        double *g = calloc((size_t)vocab, sizeof(double));
        for (int e = l.first[i]; e < l.first[i + 1]; e++) {
            double expected = (double)x[i * ld + l.target[e]] - whole;
            if (fabs(a[e] - expected) > 1e-6 || fabs(b[e] - expected) > 1e-6)
                fail_msg("logp %d: found %.9g and %.9g, expected %.9g", e, a[e], b[e], expected);
            weights += (double)l.weight[e];
            g[l.target[e]] -= (double)(coef * l.weight[e]);
        }
        for (int j = 0; j < vocab; j++) {
            g[j] += (double)coef * weights * exp((double)x[i * ld + j] - whole);
            expect_close("gradient", i * ld + j, (double)grad[i * ld + j], g[j], 2e-7);
        }
        free(g);
    }
    expect_gaps("gradient", grad, rows, vocab, ld);
    free(x);
    free(same);
    free(grad);
    free(a);
    free(b);
}
static void entropy_body(struct hold_device *d) {
    entropy_shape(d, 1, 1, 1);
    entropy_shape(d, 7, 5, 3);
    entropy_shape(d, 40, 777, 8);
    entropy_shape(d, 5, 49152, 2);
    entropy_shape(d, 3, 2000, 60); /* exponentials underflow */
}
static void test_entropy(void **state) {
    (void)state;
    each_device(entropy_body);
}

static double kl_reference(const float *x, const float *r, int64_t n, bool reverse) {
    double lx = lse(x, n), lr = lse(r, n), sum = 0;
    for (int64_t j = 0; j < n; j++) {
        double p = (double)x[j] - lx, q = (double)r[j] - lr;
        sum += reverse ? exp(p) * (p - q) : exp(q) * (q - p);
    }
    return sum;
}
static void kl_shape(struct hold_device *d, int rows, int vocab, float distance, bool reverse) {
    int64_t ldx = vocab + 2, ldr = vocab + 5;
    const float coef = 0.5f;
    float *noise = random_floats(rows * ldx, 1), *r, *w;
    struct hold_ptr pr = device_matrix(d, rows, vocab, ldr, 2, &r);
    float *x = malloc((size_t)(rows * ldx) * 4);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < ldx; j++)
            x[i * ldx + j] =
                j < vocab ? r[i * ldr + j] + distance * noise[i * ldx + j] + 5 : GAP_VALUE;
    struct hold_ptr px = device_floats(d, rows * ldx, x), pw = device_random(d, rows, 3, &w);
    struct hold_ptr only = device_bytes(d, rows * 8, NULL), with = device_bytes(d, rows * 8, NULL);
    d->k->kl(d, rows, vocab, px, ldx, pr, ldr, pw, coef, reverse, false, only);
    float *same = host_floats(d, rows * ldx, px);
    assert_memory_equal(same, x, (size_t)(rows * ldx) * 4);
    d->k->kl(d, rows, vocab, px, ldx, pr, ldr, pw, coef, reverse, true, with);
    double *a = host_bytes(d, rows * 8, only), *b = host_bytes(d, rows * 8, with);
    float *grad = host_floats(d, rows * ldx, px);
    for (int i = 0; i < rows; i++) {
        const float *xi = x + i * ldx, *ri = r + i * ldr;
        double value = kl_reference(xi, ri, vocab, reverse), lx = lse(xi, vocab);
        double lr = lse(ri, vocab), c = (double)(coef * w[i]);
        expect_close("kl", i, a[i], value, 1e-6);
        expect_close("kl with gradient", i, b[i], value, 1e-6);
        for (int j = 0; j < vocab; j++) {
            double p = (double)xi[j] - lx, q = (double)ri[j] - lr;
            double g = reverse ? exp(p) * (p - q - value) : exp(p) - exp(q);
            expect_close("gradient", i * ldx + j, (double)grad[i * ldx + j], c * g, 1e-6);
        }
    }
    expect_gaps("gradient", grad, rows, vocab, ldx);
    float *const owned[] = {noise, r, w, x, same, grad};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        free(owned[i]);
    free(a);
    free(b);
}
static void kl_body(struct hold_device *d) {
    for (int reverse = 0; reverse <= 1; reverse++) {
        kl_shape(d, 1, 1, 1, reverse);
        kl_shape(d, 9, 37, 2, reverse);
        kl_shape(d, 40, 700, 0.01f, reverse);
        kl_shape(d, 2, 49152, 1, reverse);
    }
}
static void test_kl(void **state) {
    (void)state;
    each_device(kl_body);
}

/* --- gradients once more, by differences of the loss itself --- */

struct small {
    int64_t vocab;
    const struct labels *labels;
    const float *ref;
    double coef;
    int mode; /* 0 cross entropy, 1 KL, 2 reverse KL */
};
static double small_loss(const double *x, void *user) {
    const struct small *s = user;
    double sum = 0, ref = 0, loss = 0;
    for (int64_t j = 0; j < s->vocab; j++) {
        sum += exp(x[j]);
        ref += s->ref ? exp((double)s->ref[j]) : 0;
    }
    if (s->mode == 0)
        for (int e = 0; e < s->labels->n; e++)
            loss -= (double)s->labels->weight[e] * (x[s->labels->target[e]] - log(sum));
    for (int64_t j = 0; s->mode > 0 && j < s->vocab; j++) {
        double p = x[j] - log(sum), q = (double)s->ref[j] - log(ref);
        loss += s->mode == 2 ? exp(p) * (p - q) : exp(q) * (q - p);
    }
    return s->coef * loss;
}
static void differences_body(struct hold_device *d) {
    enum { VOCAB = 21 };
    struct labels l = {.first = {0, 3}, .target = {4, 4, 20}, .weight = {1, 0.5f, 2}, .n = 3};
    struct hold_labels pl = put_labels(d, &l);
    float *ref, one = 1;
    struct hold_ptr pr = device_random(d, VOCAB, 2, &ref), pw = device_floats(d, 1, &one);
    struct hold_ptr value = device_bytes(d, 3 * 8, NULL);
    for (int mode = 0; mode <= 2; mode++) {
        float *x;
        struct hold_ptr px = device_random(d, VOCAB, 1, &x);
        struct small s = {VOCAB, &l, ref, 0.75, mode};
        if (mode == 0)
            d->k->cross_entropy(d, 1, VOCAB, px, VOCAB, &pl, 0.75f, true, value);
        else
            d->k->kl(d, 1, VOCAB, px, VOCAB, pr, VOCAB, pw, 0.75f, mode == 2, true, value);
        double at[VOCAB];
        for (int j = 0; j < VOCAB; j++)
            at[j] = (double)x[j];
        float *found = host_floats(d, VOCAB, px);
        expect_gradient("loss", small_loss, &s, at, VOCAB, found, 2e-6);
        free(found);
        free(x);
    }
    free(ref);
}
static void test_differences(void **state) {
    (void)state;
    each_device(differences_body);
}

static void argmax_body(struct hold_device *d) {
    enum { ROWS = 5, VOCAB = 5000, LD = 5003 };
    float *x;
    struct hold_ptr px = device_matrix(d, ROWS, VOCAB, LD, 1, &x);
    x[0 * LD + 4999] = 50; /* last */
    x[1 * LD + 0] = 50;    /* first, and again: the lowest wins with no gap */
    x[1 * LD + 4000] = 50;
    x[2 * LD + 17] = 8;
    x[2 * LD + 16] = 7.5f;
    for (int j = 0; j < VOCAB; j++) {
        x[3 * LD + j] = -INFINITY;
        x[4 * LD + j] = NAN;
    }
    x[3 * LD + 9] = -3;
    d->k->write(d, px, x, (int64_t)ROWS * LD * 4);
    struct hold_ptr id = device_bytes(d, ROWS * 4, NULL), gap = device_floats(d, ROWS, NULL);
    d->k->argmax(d, ROWS, VOCAB, px, LD, id, gap);
    int32_t *ids = host_bytes(d, ROWS * 4, id);
    float *gaps = host_floats(d, ROWS, gap);
    static const int32_t expected[] = {4999, 0, 17, 9, 0};
    assert_memory_equal(ids, expected, sizeof(expected));
    float second = -INFINITY;
    for (int j = 0; j < VOCAB - 1; j++)
        second = fmaxf(second, x[j]);
    assert_true(gaps[0] == 50 - second);
    assert_true(gaps[1] == 0);
    assert_true(gaps[2] == 0.5f);
    assert_true(gaps[3] == INFINITY);
    free(x);
    free(ids);
    free(gaps);
}
static void test_argmax(void **state) {
    (void)state;
    each_device(argmax_body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entropy),
        cmocka_unit_test(test_kl),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_argmax),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
