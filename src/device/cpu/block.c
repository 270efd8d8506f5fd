/* block.c: products of small blocks that are in cache: a tile of C stays in registers. */
#include "device/cpu/isa.h"

#include "device/cpu/block.h"

enum { BLOCK_ROWS = 6, TALL_ROWS = 12, LINE = 16, SOON = 4096 };

/* One tile of `rows` x `vecs` registers, and with each step of k a request for `lines` cache lines
 * from `next` on; all three are constants where this is inlined.  What is added to is added last,
 * so that long sums in pieces keep their small digits. */
static inline __attribute__((always_inline)) void tile(int rows, int vecs, int lines, int64_t k,
                                                       const float *restrict a, int64_t a_row,
                                                       int64_t a_col, const float *restrict b,
                                                       int64_t ldb, bool add, float *restrict c,
                                                       int64_t ldc, const float *next) {
    vec sum[TALL_ROWS][BLOCK_VECS];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vecs; j++) {
            sum[i][j] = (vec){0};
            __builtin_prefetch(c + i * ldc + j * VEC, 1);
        }
    for (int64_t p = 0; p < k; p++) {
        vec row[BLOCK_VECS];
#pragma GCC unroll 8
        for (int l = 0; l < lines; l++)
            __builtin_prefetch(next + (p * lines + l) * LINE, 0, 2);
#pragma GCC unroll 8
        for (int j = 0; j < vecs; j++)
            row[j] = vec_load(b + p * ldb + j * VEC);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            float x = a[i * a_row + p * a_col];
#pragma GCC unroll 8
            for (int j = 0; j < vecs; j++)
                sum[i][j] += x * row[j];
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vecs; j++)
            vec_store(c + i * ldc + j * VEC,
                      add ? sum[i][j] + vec_load(c + i * ldc + j * VEC) : sum[i][j]);
}

/* The rows that are left over after full tiles. */
static inline __attribute__((always_inline)) void rest(int vecs, int lines, int64_t m, int64_t k,
                                                       const float *a, int64_t a_row, int64_t a_col,
                                                       const float *b, int64_t ldb, bool add,
                                                       float *c, int64_t ldc, const float *next) {
    switch (m) {
    case 5:
        tile(5, vecs, lines, k, a, a_row, a_col, b, ldb, add, c, ldc, next);
        break;
    case 4:
        tile(4, vecs, lines, k, a, a_row, a_col, b, ldb, add, c, ldc, next);
        break;
    case 3:
        tile(3, vecs, lines, k, a, a_row, a_col, b, ldb, add, c, ldc, next);
        break;
    case 2:
        tile(2, vecs, lines, k, a, a_row, a_col, b, ldb, add, c, ldc, next);
        break;
    case 1:
        tile(1, vecs, lines, k, a, a_row, a_col, b, ldb, add, c, ldc, next);
        break;
    default:
        break;
    }
}

/* All rows of a stripe of `vecs` registers' width. */
static inline __attribute__((always_inline)) void stripe(int vecs, int64_t m, int64_t k,
                                                         const float *a, int64_t a_row,
                                                         int64_t a_col, const float *b, int64_t ldb,
                                                         bool add, float *c, int64_t ldc) {
    int64_t i = 0;
    /* A narrow stripe needs more rows for as many independent sums. */
    if (vecs == 1)
        for (; i + TALL_ROWS <= m; i += TALL_ROWS)
            tile(TALL_ROWS, 1, 0, k, a + i * a_row, a_row, a_col, b, ldb, add, c + i * ldc, ldc, b);
    for (; i + BLOCK_ROWS <= m; i += BLOCK_ROWS)
        tile(BLOCK_ROWS, vecs, 0, k, a + i * a_row, a_row, a_col, b, ldb, add, c + i * ldc, ldc, b);
    rest(vecs, 0, m - i, k, a + i * a_row, a_row, a_col, b, ldb, add, c + i * ldc, ldc, b);
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

/* Lines of a panel a step of k, at least one. */
enum { PANEL_LINES = BLOCK_VECS * VEC < LINE ? 1 : BLOCK_VECS * VEC / LINE };

void hold_block_stream(int64_t m, int64_t k, const float *a, int64_t lda, const float *b, bool add,
                       float *c, int64_t ldc) {
    const int64_t panel = BLOCK_VECS * VEC;
    int64_t i = 0;
    if (m < (PANEL_LINES + 1) * BLOCK_ROWS) {
        /* Few rows: the panel itself comes from memory, and the first tile asks a little ahead. */
        if (m < BLOCK_ROWS) {
            rest(BLOCK_VECS, PANEL_LINES, m, k, a, lda, 1, b, panel, add, c, ldc, b + SOON);
            return;
        }
        tile(BLOCK_ROWS, BLOCK_VECS, PANEL_LINES, k, a, lda, 1, b, panel, add, c, ldc, b + SOON);
        i = BLOCK_ROWS;
    } else {
        /* The first tiles ask for the next panel, a line a step. */
        for (int t = 0; t < PANEL_LINES; t++, i += BLOCK_ROWS)
            tile(BLOCK_ROWS, BLOCK_VECS, 1, k, a + i * lda, lda, 1, b, panel, add, c + i * ldc, ldc,
                 b + k * panel + t * k * LINE);
    }
    stripe(BLOCK_VECS, m - i, k, a + i * lda, lda, 1, b, panel, add, c + i * ldc, ldc);
}
