/* linalg.h: the little dense linear algebra that edits of weights need, without a LAPACK.
 *
 * Matrices are row-major on the host; the large products go to a device.
 */
#ifndef HOLD_TENSOR_LINALG_H
#define HOLD_TENSOR_LINALG_H

#include <stdint.h>

#include "base/status.h"
#include "device/device.h"

/* Eigenvalues of a symmetric matrix a (n, n), largest first, and its eigenvectors as the columns of
 * `vectors` (n, n), by cyclic Jacobi rotations (Golub and Van Loan, 8.5).  a is destroyed. */
int hold_eigen_symmetric(double *a, int64_t n, double *values, double *vectors,
                         struct hold_error *err);

/* Make the columns of x (rows, cols) orthonormal from left to right (modified Gram-Schmidt, twice).
 * A column that depends on those before it (less than 1e-6 of its length is left) becomes zero.
 * Returns how many are not. */
int64_t hold_orthonormal_columns(float *x, int64_t rows, int64_t cols);

/* C(m,n) = alpha op(A) op(B) + beta C of host matrices by the device's gemm; op(X) = X' when t is
 * set. */
int hold_multiply(struct hold_device *d, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                  float alpha, const float *a, const float *b, float beta, float *c,
                  struct hold_error *err);

/* The fewest leading left singular vectors of v (rows, cols) whose squared singular values sum to
 * at least `share` of all, 0 < share < 1: *k of them, as the first *k columns of u (rows, *k), by
 * subspace iteration from a fixed random start on a block that grows until it holds them with room
 * to spare (Halko, Martinsson, Tropp, arXiv 0909.4061, alg. 4.4).  u has room for rows * min(rows,
 * cols).  v = 0 gives *k = 0. */
int hold_left_basis(struct hold_device *d, const float *v, int64_t rows, int64_t cols, double share,
                    float *u, int64_t *k, struct hold_error *err);

/* The largest eigenvalue of v v', that is the square of v's (rows, cols) largest singular value, by
 * the same iteration. */
int hold_top_eigenvalue(struct hold_device *d, const float *v, int64_t rows, int64_t cols,
                        double *value, struct hold_error *err);

#endif
