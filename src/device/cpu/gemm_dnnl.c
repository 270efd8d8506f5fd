/* gemm_dnnl.c: matrix products by oneDNN; the only file that knows it.
 *
 * LAW: no signal handler runs on a thread that is inside oneDNN.  Its generated kernels (2.6.3)
 * keep data below the stack pointer, beyond the 128 bytes that the kernel spares; the frame of a
 * handler lands on them, and the heap is corrupt.  So signals wait while this thread is inside, and
 * OpenMP's threads are made with signals blocked (hold_cpu_new).
 */
#include "device/cpu/cpu.h"

#include <dnnl.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>

void hold_cpu_gemm_dnnl(struct hold_device *d, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                        float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                        float beta, float *c, int64_t ldc) {
    /* oneDNN takes as many threads as OpenMP would; the setting is this thread's own. */
    int before = omp_get_max_threads();
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    if (before != d->threads)
        omp_set_num_threads(d->threads);
    dnnl_status_t status =
        dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    if (before != d->threads)
        omp_set_num_threads(before);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (status != dnnl_success)
        hold_device_stick(d, status == dnnl_out_of_memory ? HOLD_ENOMEMORY : HOLD_EINTERNAL,
                          "oneDNN: product of %lld x %lld x %lld failed with status %d",
                          (long long)m, (long long)n, (long long)k, (int)status);
}
