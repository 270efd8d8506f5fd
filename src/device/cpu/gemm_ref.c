/* gemm_ref.c: matrix products by plain loops: the oracle that the fast ones are tested against. */
#include "device/cpu/cpu.h"

/* Column j of a row of C at a time, in f64: slow, but its error is one rounding. */
static float element(bool ta, bool tb, int64_t i, int64_t j, int64_t k, const float *a, int64_t lda,
                     const float *b, int64_t ldb) {
    double sum = 0;
    for (int64_t p = 0; p < k; p++)
        sum += (double)(ta ? a[p * lda + i] : a[i * lda + p]) *
               (double)(tb ? b[j * ldb + p] : b[p * ldb + j]);
    return (float)sum;
}

void hold_gemm_ref(int threads, bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha,
                   const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                   int64_t ldc) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float product = alpha * element(ta, tb, i, j, k, a, lda, b, ldb);
            float *at = c + i * ldc + j;
            *at = beta == 0 ? product : product + beta * *at;
        }
}
