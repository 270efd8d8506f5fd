/* gemm_dnnl.c: matrix products by oneDNN; the only file that knows it. */
#include "device/cpu/cpu.h"

#include <dnnl.h>
#include <omp.h>

void hold_cpu_gemm_dnnl(struct hold_device *d, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                        float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                        float beta, float *c, int64_t ldc) {
    /* oneDNN takes as many threads as OpenMP would; the setting is this thread's own. */
    int before = omp_get_max_threads();
    if (before != d->threads)
        omp_set_num_threads(d->threads);
    dnnl_status_t status =
        dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    if (before != d->threads)
        omp_set_num_threads(before);
    if (status != dnnl_success)
        hold_device_stick(d, status == dnnl_out_of_memory ? HOLD_ENOMEMORY : HOLD_EINTERNAL,
                          "oneDNN: product of %lld x %lld x %lld failed with status %d",
                          (long long)m, (long long)n, (long long)k, (int)status);
}
