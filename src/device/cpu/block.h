/* block.h: the small dense product of which attention is made. */
#ifndef HOLD_DEVICE_CPU_BLOCK_H
#define HOLD_DEVICE_CPU_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* C(m,n) = or += (add) A(m,k) B(k,n).  A's element (i,p) is a[i * a_row + p * a_col]; B and C are
 * row-major with leading dimensions ldb, ldc; n is a multiple of VEC.  No alias. */
#define hold_block_product HOLD_ISA_NAME(hold_block_product)
void hold_block_product(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                        int64_t a_col, const float *b, int64_t ldb, bool add, float *c,
                        int64_t ldc);

/* The same for one panel B(k, BLOCK_VECS * VEC) of many that lie one after the other in memory, too
 * many for the cache: asks for what comes next while it computes. */
#define hold_block_stream HOLD_ISA_NAME(hold_block_stream)
void hold_block_stream(int64_t m, int64_t k, const float *a, int64_t lda, const float *b, bool add,
                       float *c, int64_t ldc);

#endif
