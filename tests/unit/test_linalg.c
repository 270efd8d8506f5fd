/* test_linalg.c: eigenvalues, orthonormal columns and leading singular vectors, by their defining
 * equations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above it. */
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tensor/linalg.h"

static int set_up(void **state) {
    struct hold_error err = {0};
    struct hold_device *d = NULL;
    assert_int_equal(hold_cpu_new(&d, 1, NULL, &err), HOLD_OK);
    *state = d;
    return 0;
}

static int tear_down(void **state) {
    hold_device_free(*state);
    return 0;
}

static float *random_matrix(int64_t rows, int64_t cols, uint64_t seed) {
    struct hold_rng rng;
    hold_rng_init(&rng, seed, "test/matrix", 0, 0);
    float *m = hold_calloc((size_t)(rows * cols), sizeof *m);
    assert_non_null(m);
    for (int64_t i = 0; i < rows * cols; i++)
        m[i] = (float)hold_rng_normal(&rng);
    return m;
}

/* A = V diag(values) V', V orthonormal, values descending: for random, diagonal, equal and tiny. */
static void check_eigen(const double *a, int64_t n) {
    struct hold_error err = {0};
    size_t room = (size_t)(n * n) + 1;
    double *copy = hold_calloc(room, sizeof *copy), *v = hold_calloc(room, sizeof *v);
    double *values = hold_calloc((size_t)n + 1, sizeof *values), size = 1e-300;
    assert_true(copy != NULL && v != NULL && values != NULL);
    memcpy(copy, a, (size_t)(n * n) * sizeof *copy);
    for (int64_t i = 0; i < n * n; i++)
        size = fmax(size, fabs(a[i]));
    assert_int_equal(hold_eigen_symmetric(copy, n, values, v, &err), HOLD_OK);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double product = 0.0, dot = 0.0;
            for (int64_t k = 0; k < n; k++) {
                product += v[i * n + k] * values[k] * v[j * n + k];
                dot += v[k * n + i] * v[k * n + j];
            }
            assert_true(fabs(product - a[i * n + j]) <= 1e-12 * (double)n * size);
            assert_true(fabs(dot - (i == j ? 1.0 : 0.0)) <= 1e-12 * (double)n);
        }
    for (int64_t k = 1; k < n; k++)
        assert_true(values[k - 1] >= values[k]);
    hold_free(copy);
    hold_free(v);
    hold_free(values);
}

static void eigenvalues(void **state) {
    (void)state;
    enum { N = 23 };
    double a[N * N] = {0};
    float *m = random_matrix(N, N, 1);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            a[i * N + j] = (double)m[i * N + j] + (double)m[j * N + i];
    check_eigen(a, N);
    for (int i = 0; i < N * N; i++)
        a[i] *= 1e-150;
    check_eigen(a, N);
    memset(a, 0, sizeof a);
    check_eigen(a, N);
    for (int i = 0; i < N; i++)
        a[i * N + i] = i % 3;
    check_eigen(a, N);
    double one[1] = {-2.5};
    check_eigen(one, 1);
    hold_free(m);

    /* Known: the second difference of length 5 has eigenvalues 2 - 2 cos(k pi / 6). */
    struct hold_error err = {0};
    double d[25] = {0}, values[5], v[25];
    for (int i = 0; i < 5; i++) {
        d[i * 5 + i] = 2.0;
        if (i > 0)
            d[i * 5 + i - 1] = d[(i - 1) * 5 + i] = -1.0;
    }
    assert_int_equal(hold_eigen_symmetric(d, 5, values, v, &err), HOLD_OK);
    for (int k = 0; k < 5; k++)
        assert_true(fabs(values[k] - (2.0 - 2.0 * cos((5 - k) * acos(-1.0) / 6.0))) < 1e-12);
}

static void orthonormal_columns(void **state) {
    (void)state;
    enum { ROWS = 40, COLS = 9 };
    float *x = random_matrix(ROWS, COLS, 2);
    for (int i = 0; i < ROWS; i++) {
        x[i * COLS + 4] = 2.0f * x[i * COLS + 1] - x[i * COLS + 3]; /* depends on others */
        x[i * COLS + 6] = 0.0f;
        x[i * COLS + 7] = x[i * COLS + 0] + 1e-3f * x[i * COLS + 7]; /* nearly depends */
    }
    assert_int_equal(hold_orthonormal_columns(x, ROWS, COLS), 7);
    for (int a = 0; a < COLS; a++)
        for (int b = 0; b < COLS; b++) {
            double dot = 0.0;
            for (int i = 0; i < ROWS; i++)
                dot += (double)x[i * COLS + a] * (double)x[i * COLS + b];
            double expected = a == b && a != 4 && a != 6 ? 1.0 : 0.0;
            assert_true(fabs(dot - expected) < 1e-5);
        }
    hold_free(x);
}

/* v = sum of s_k q_k p_k' with random orthonormal q and p. */
static float *with_singular_values(int64_t rows, int64_t cols, const double *s, int64_t n,
                                   float **left) {
    float *q = random_matrix(rows, n, 3), *p = random_matrix(cols, n, 4);
    float *v = hold_calloc((size_t)(rows * cols), sizeof *v);
    assert_non_null(v);
    assert_int_equal(hold_orthonormal_columns(q, rows, n), n);
    assert_int_equal(hold_orthonormal_columns(p, cols, n), n);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            for (int64_t k = 0; k < n; k++)
                v[i * cols + j] += (float)(s[k] * (double)q[i * n + k] * (double)p[j * n + k]);
    hold_free(p);
    *left = q;
    return v;
}

/* The span of u is that of the first k columns of q: ||q_k' u||_F^2 = k. */
static void check_basis(struct hold_device *d, int64_t rows, int64_t cols, const double *s,
                        int64_t n, double share, int64_t expected) {
    struct hold_error err = {0};
    float *q = NULL, *v = with_singular_values(rows, cols, s, n, &q);
    int64_t most = rows < cols ? rows : cols, k = -1;
    float *u = hold_calloc((size_t)(rows * most), sizeof *u);
    assert_non_null(u);
    assert_int_equal(hold_left_basis(d, v, rows, cols, share, u, &k, &err), HOLD_OK);
    assert_int_equal(k, expected);
    double overlap = 0.0;
    for (int64_t a = 0; a < k; a++)
        for (int64_t b = 0; b < k; b++) {
            double dot = 0.0, own = 0.0;
            for (int64_t i = 0; i < rows; i++) {
                dot += (double)q[i * n + a] * (double)u[i * k + b];
                own += (double)u[i * k + a] * (double)u[i * k + b];
            }
            overlap += dot * dot;
            assert_true(fabs(own - (a == b ? 1.0 : 0.0)) < 1e-5);
        }
    assert_true(fabs(overlap - (double)k) < 1e-4 * (double)k);
    double top = 0.0;
    assert_int_equal(hold_top_eigenvalue(d, v, rows, cols, &top, &err), HOLD_OK);
    assert_true(fabs(top - s[0] * s[0]) < 1e-5 * s[0] * s[0]);
    hold_free(q);
    hold_free(v);
    hold_free(u);
}

static void left_basis(void **state) {
    struct hold_device *d = *state;
    static const double few[] = {3.0, 2.0, 1.0, 0.5}; /* squares 9, 4, 1, 0.25 of 14.25 */
    check_basis(d, 50, 70, few, 4, 0.90, 2);
    check_basis(d, 70, 50, few, 4, 0.95, 3);
    check_basis(d, 50, 50, few, 4, 0.99, 4);
    check_basis(d, 50, 50, few, 4, 0.01, 1);
    check_basis(d, 4, 9, few, 4, 0.90, 2);
    double many[60]; /* flat, so that the first block does not hold the share */
    for (int k = 0; k < 60; k++)
        many[k] = k < 40 ? 1.0 + 0.01 * (40 - k) : 0.1;
    check_basis(d, 80, 60, many, 60, 0.99, 40);
}

static void nothing_has_no_basis(void **state) {
    struct hold_error err = {0};
    float v[12] = {0}, u[12];
    int64_t k = -1;
    double top = -1.0;
    assert_int_equal(hold_left_basis(*state, v, 3, 4, 0.9, u, &k, &err), HOLD_OK);
    assert_int_equal(k, 0);
    assert_int_equal(hold_top_eigenvalue(*state, v, 3, 4, &top, &err), HOLD_OK);
    assert_true(top == 0.0);
}

static void products(void **state) {
    struct hold_error err = {0};
    const float a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, 0, 2, 1, 0, 1};
    float c[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    /* (2,3) (3,2) */
    assert_int_equal(hold_multiply(*state, false, false, 2, 2, 3, 1.0f, a, b, 0.0f, c, &err), 0);
    const float ab[] = {5, 5, 14, 11};
    assert_memory_equal(c, ab, sizeof ab);
    /* op(A) = A' of (2,3): (3,2) times op(B) = B' of (3,2): (2,3), twice, on ones. */
    for (int i = 0; i < 9; i++)
        c[i] = 1.0f;
    assert_int_equal(hold_multiply(*state, true, true, 3, 3, 2, 2.0f, a, b, 1.0f, c, &err), 0);
    const float ata[] = {3, 13, 9, 5, 19, 11, 7, 25, 13};
    for (int i = 0; i < 9; i++)
        assert_true(fabsf(c[i] - ata[i]) < 1e-5f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eigenvalues), cmocka_unit_test(orthonormal_columns),
        cmocka_unit_test(left_basis),  cmocka_unit_test(nothing_has_no_basis),
        cmocka_unit_test(products),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
