/* linalg.c: the little dense linear algebra that edits of weights need, without a LAPACK. */
#include "tensor/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tensor/tensor.h"

/* --- symmetric eigenvalues --- */

static double off_diagonal(const double *a, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++)
            sum += a[i * n + j] * a[i * n + j];
    return sum;
}

/* Rows p and q of x (n, n) turned by (c, s). */
static void turn_rows(double *x, int64_t n, int64_t p, int64_t q, double c, double s) {
    for (int64_t i = 0; i < n; i++) {
        double xp = x[p * n + i], xq = x[q * n + i];
        x[p * n + i] = c * xp - s * xq;
        x[q * n + i] = s * xp + c * xq;
    }
}

/* One rotation that makes a(p, q) zero; `rows` holds the eigenvectors as rows. */
static void rotate(double *a, double *rows, int64_t n, int64_t p, int64_t q) {
    double apq = a[p * n + q];
    if (apq == 0.0)
        return;
    double theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
    double t = (theta >= 0.0 ? 1.0 : -1.0) / (fabs(theta) + sqrt(theta * theta + 1.0));
    double c = 1.0 / sqrt(t * t + 1.0), s = t * c;
    turn_rows(a, n, p, q, c, s);
    for (int64_t i = 0; i < n; i++) {
        double ap = a[i * n + p], aq = a[i * n + q];
        a[i * n + p] = c * ap - s * aq;
        a[i * n + q] = s * ap + c * aq;
    }
    turn_rows(rows, n, p, q, c, s);
}

struct eigen {
    double value;
    int64_t row;
};

static int larger_value(const void *a, const void *b) {
    const struct eigen *x = a, *y = b;
    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    return x->row < y->row ? -1 : 1;
}

int hold_eigen_symmetric(double *a, int64_t n, double *values, double *vectors,
                         struct hold_error *err) {
    enum { SWEEPS = 40 };
    void *p = NULL, *o = NULL;
    int rc = hold_new(&p, (size_t)(n * n) + 1, sizeof(double), "eigenvectors", err);
    if (rc == HOLD_OK)
        rc = hold_new(&o, (size_t)n + 1, sizeof(struct eigen), "eigenvalues", err);
    double *rows = p, total = 0.0;
    struct eigen *order = o;
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++)
        rows[i * n + i] = 1.0;
    for (int64_t i = 0; rc == HOLD_OK && i < n * n; i++)
        total += a[i] * a[i];
    for (int sweep = 0; rc == HOLD_OK && sweep < SWEEPS; sweep++) {
        if (off_diagonal(a, n) <= 1e-28 * total)
            break;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = i + 1; j < n; j++)
                rotate(a, rows, n, i, j);
    }
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++)
        order[i] = (struct eigen){a[i * n + i], i};
    if (rc == HOLD_OK && n > 1)
        qsort(order, (size_t)n, sizeof *order, larger_value);
    for (int64_t k = 0; rc == HOLD_OK && k < n; k++) {
        values[k] = order[k].value;
        for (int64_t i = 0; i < n; i++)
            vectors[i * n + k] = rows[order[k].row * n + i];
    }
    hold_free(rows);
    hold_free(order);
    return rc;
}

/* --- orthonormal columns --- */

static double column_dot(const float *x, int64_t rows, int64_t cols, int64_t a, int64_t b) {
    double sum = 0.0;
    for (int64_t i = 0; i < rows; i++)
        sum += (double)x[i * cols + a] * (double)x[i * cols + b];
    return sum;
}

int64_t hold_orthonormal_columns(float *x, int64_t rows, int64_t cols) {
    int64_t kept = 0;
    for (int64_t j = 0; j < cols; j++) {
        double before = sqrt(column_dot(x, rows, cols, j, j));
        for (int round = 0; round < 2; round++)
            for (int64_t b = 0; b < j; b++) {
                double d = column_dot(x, rows, cols, b, j);
                for (int64_t i = 0; d != 0.0 && i < rows; i++)
                    x[i * cols + j] -= (float)(d * (double)x[i * cols + b]);
            }
        double norm = sqrt(column_dot(x, rows, cols, j, j));
        bool depends = !(norm > 1e-6 * before);
        for (int64_t i = 0; i < rows; i++)
            x[i * cols + j] = depends ? 0.0f : (float)((double)x[i * cols + j] / norm);
        kept += depends ? 0 : 1;
    }
    return kept;
}

/* --- products on a device --- */

int hold_multiply(struct hold_device *d, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                  float alpha, const float *a, const float *b, float beta, float *c,
                  struct hold_error *err) {
    struct hold_space space;
    hold_space_init(&space, d);
    struct hold_ptr da = {0}, db = {0}, dc = {0};
    int rc = hold_space_cut(&space, m * k * 4, &da, err);
    if (rc == HOLD_OK)
        rc = hold_space_cut(&space, k * n * 4, &db, err);
    if (rc == HOLD_OK)
        rc = hold_space_cut(&space, m * n * 4, &dc, err);
    if (rc == HOLD_OK) {
        d->k->write(d, da, a, m * k * 4);
        d->k->write(d, db, b, k * n * 4);
        if (beta != 0.0f)
            d->k->write(d, dc, c, m * n * 4);
        d->k->gemm(d, ta, tb, m, n, k, alpha, da, ta ? m : k, db, tb ? k : n, beta, dc, n);
        d->k->read(d, c, dc, m * n * 4);
        rc = d->k->sync(d, err);
    }
    hold_space_release(&space);
    return rc;
}

/* --- leading left singular vectors --- */

static double square_sum(const float *x, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

struct block {
    float *q, *w;     /* (rows, n) and (cols, n) */
    double *gram;     /* (n, n) */
    double *values;   /* n */
    double *rotation; /* (n, n) */
};

static void block_free(struct block *b) {
    hold_free(b->q);
    hold_free(b->w);
    hold_free(b->gram);
    hold_free(b->values);
    hold_free(b->rotation);
}

static int block_new(struct block *b, int64_t rows, int64_t cols, int64_t n,
                     struct hold_error *err) {
    struct {
        void *p;
        size_t n, size;
    } parts[] = {{NULL, (size_t)(rows * n), sizeof(float)},
                 {NULL, (size_t)(cols * n), sizeof(float)},
                 {NULL, (size_t)(n * n), sizeof(double)},
                 {NULL, (size_t)n, sizeof(double)},
                 {NULL, (size_t)(n * n), sizeof(double)}};
    int rc = HOLD_OK;
    for (size_t i = 0; rc == HOLD_OK && i < sizeof parts / sizeof *parts; i++)
        rc = hold_new(&parts[i].p, parts[i].n, parts[i].size, "a subspace", err);
    *b = (struct block){parts[0].p, parts[1].p, parts[2].p, parts[3].p, parts[4].p};
    if (rc < 0) {
        block_free(b);
        *b = (struct block){0};
    }
    return rc;
}

/* Q spans the leading n left singular vectors of v nearly; values are their squared singular
 * values, rotation turns Q's columns into them. */
static int iterate(struct hold_device *d, const float *v, int64_t rows, int64_t cols, int64_t n,
                   struct block *b, struct hold_error *err) {
    enum { ROUNDS = 20 };
    static const double SETTLED = 1e-7;
    struct hold_rng rng;
    hold_rng_init(&rng, 0, "linalg/left_basis", (uint64_t)rows, (uint64_t)cols);
    for (int64_t i = 0; i < cols * n; i++)
        b->w[i] = (float)hold_rng_normal(&rng);
    int rc = HOLD_OK;
    double held = 0.0, before = -1.0; /* ||V' Q||^2, which can only grow */
    for (int k = 0; rc == HOLD_OK && k < ROUNDS && fabs(held - before) > SETTLED * held; k++) {
        rc = hold_multiply(d, false, false, rows, n, cols, 1.0f, v, b->w, 0.0f, b->q, err);
        hold_orthonormal_columns(b->q, rows, n);
        if (rc == HOLD_OK)
            rc = hold_multiply(d, true, false, cols, n, rows, 1.0f, v, b->q, 0.0f, b->w, err);
        before = held;
        held = square_sum(b->w, cols * n);
    }
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++) /* Q' V V' Q = W' W */
        for (int64_t j = i; j < n; j++)
            b->gram[i * n + j] = b->gram[j * n + i] = column_dot(b->w, cols, n, i, j);
    return rc < 0 ? rc : hold_eigen_symmetric(b->gram, n, b->values, b->rotation, err);
}

enum { FIRST_BLOCK = 32, SPARE_COLUMNS = 8 };

int hold_top_eigenvalue(struct hold_device *d, const float *v, int64_t rows, int64_t cols,
                        double *value, struct hold_error *err) {
    int64_t most = rows < cols ? rows : cols, n = FIRST_BLOCK < most ? FIRST_BLOCK : most;
    struct block b;
    *value = 0.0;
    int rc = block_new(&b, rows, cols, n, err);
    if (rc == HOLD_OK)
        rc = iterate(d, v, rows, cols, n, &b, err);
    if (rc == HOLD_OK)
        *value = b.values[0];
    block_free(&b);
    return rc;
}

int hold_left_basis(struct hold_device *d, const float *v, int64_t rows, int64_t cols, double share,
                    float *u, int64_t *k, struct hold_error *err) {
    int64_t most = rows < cols ? rows : cols, n = FIRST_BLOCK < most ? FIRST_BLOCK : most;
    int64_t found = 0;
    double total = square_sum(v, rows * cols);
    *k = 0;
    if (total == 0.0)
        return HOLD_OK;
    for (;; n = 2 * n < most ? 2 * n : most) {
        struct block b;
        int rc = block_new(&b, rows, cols, n, err);
        if (rc == HOLD_OK)
            rc = iterate(d, v, rows, cols, n, &b, err);
        double sum = 0.0;
        /* The last bits of a sum of all values may be missing: the whole block is enough then. */
        for (found = 0; rc == HOLD_OK && found < n && sum < share * total; found++)
            sum += b.values[found];
        bool done = rc < 0 || n == most || found + SPARE_COLUMNS <= n;
        for (int64_t i = 0; rc == HOLD_OK && done && i < rows; i++)
            for (int64_t j = 0; j < found; j++) {
                double x = 0.0;
                for (int64_t l = 0; l < n; l++)
                    x += (double)b.q[i * n + l] * b.rotation[l * n + j];
                u[i * found + j] = (float)x;
            }
        block_free(&b);
        if (done) {
            *k = found;
            return rc;
        }
    }
}
