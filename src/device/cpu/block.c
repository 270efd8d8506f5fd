/* block.c: products of small blocks that are in cache: a tile of C stays in registers. */
#include "device/cpu/isa.h"

#include "device/cpu/block.h"

enum { BLOCK_ROWS = 6 };

/* One tile of `rows` x `vecs` registers; both are constants where this is inlined. */
static inline __attribute__((always_inline)) void
tile(int rows, int vecs, int64_t k, const float *restrict a, int64_t a_row, int64_t a_col,
     const float *restrict b, int64_t ldb, bool add, float *restrict c, int64_t ldc) {
    vec sum[BLOCK_ROWS][BLOCK_VECS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vecs; j++)
            sum[i][j] = add ? vec_load(c + i * ldc + j * VEC) : (vec){0};
    for (int64_t p = 0; p < k; p++) {
        vec row[BLOCK_VECS];
#pragma GCC unroll 8
        for (int j = 0; j < vecs; j++)
            row[j] = vec_load(b + p * ldb + j * VEC);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            float x = a[i * a_row + p * a_col];
#pragma GCC unroll 8
            for (int j = 0; j < vecs; j++)
                sum[i][j] += x * row[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vecs; j++)
            vec_store(c + i * ldc + j * VEC, sum[i][j]);
}

/* All rows of a stripe of `vecs` registers' width. */
static inline __attribute__((always_inline)) void
stripe(int vecs, int64_t m, int64_t k, const float *a, int64_t a_row, int64_t a_col, const float *b,
       int64_t ldb, bool add, float *c, int64_t ldc) {
    int64_t i = 0;
    for (; i + BLOCK_ROWS <= m; i += BLOCK_ROWS)
        tile(BLOCK_ROWS, vecs, k, a + i * a_row, a_row, a_col, b, ldb, add, c + i * ldc, ldc);
    a += i * a_row;
    c += i * ldc;
    switch (m - i) {
    case 5:
        tile(5, vecs, k, a, a_row, a_col, b, ldb, add, c, ldc);
        break;
    case 4:
        tile(4, vecs, k, a, a_row, a_col, b, ldb, add, c, ldc);
        break;
    case 3:
        tile(3, vecs, k, a, a_row, a_col, b, ldb, add, c, ldc);
        break;
    case 2:
        tile(2, vecs, k, a, a_row, a_col, b, ldb, add, c, ldc);
        break;
    case 1:
        tile(1, vecs, k, a, a_row, a_col, b, ldb, add, c, ldc);
        break;
    default:
        break;
    }
}

void hold_block_product(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                        int64_t a_col, const float *b, int64_t ldb, bool add, float *c,
                        int64_t ldc) {
    int64_t j = 0;
    for (; j + BLOCK_VECS * VEC <= n; j += BLOCK_VECS * VEC)
        stripe(BLOCK_VECS, m, k, a, a_row, a_col, b + j, ldb, add, c + j, ldc);
    if (BLOCK_VECS > 2 && j + 2 * VEC <= n) {
        stripe(2, m, k, a, a_row, a_col, b + j, ldb, add, c + j, ldc);
        j += 2 * VEC;
    }
    if (j + VEC <= n)
        stripe(1, m, k, a, a_row, a_col, b + j, ldb, add, c + j, ldc);
}
