/* block.c: products of small blocks that are in cache: a tile of C stays in registers. */
#include "device/cpu/isa.h"

#include "device/cpu/block.h"

enum { BLOCK_ROWS = 6, TALL_ROWS = 12, LINE = 16, SOON = 4096, STEPS = 4 };

/* One step of k: sum += a column of A times a row of B. */
static inline __attribute__((always_inline)) void step(int rows, int vecs, const float *restrict a,
                                                       int64_t a_row, const float *restrict b,
                                                       vec sum[TALL_ROWS][BLOCK_VECS]) {
    vec row[BLOCK_VECS];
#pragma GCC unroll 8
    for (int j = 0; j < vecs; j++)
        row[j] = vec_load(b + j * VEC);
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        float x = a[i * a_row];
#pragma GCC unroll 8
        for (int j = 0; j < vecs; j++)
            sum[i][j] += x * row[j];
    }
}

/* One tile of `rows` x `vecs` registers, and with every STEPS steps of k a request for `lines`
 * cache lines from `next` on; all three are constants where this is inlined.  What is added to is
 * added last, so that long sums in pieces keep their small digits. */
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
    int64_t p = 0;
    for (; p + STEPS <= k; p += STEPS) {
#pragma GCC unroll 16
        for (int l = 0; l < lines; l++)
            __builtin_prefetch(next + (p / STEPS * lines + l) * LINE, 0, 2);
#pragma GCC unroll 4
        for (int l = 0; l < STEPS; l++)
            step(rows, vecs, a + (p + l) * a_col, a_row, b + (p + l) * ldb, sum);
    }
    for (; p < k; p++)
        step(rows, vecs, a + p * a_col, a_row, b + p * ldb, sum);
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

/* The first tiles of a panel, which together ask for the whole next one, each for `lines` lines
 * every STEPS steps.  Returns how many rows they have. */
static inline __attribute__((always_inline)) int64_t ask(int lines, int64_t k, const float *a,
                                                         int64_t lda, const float *b, bool add,
                                                         float *c, int64_t ldc) {
    const int64_t panel = BLOCK_VECS * VEC;
    const int64_t tiles = STEPS * PANEL_LINES / lines;
    for (int64_t t = 0; t < tiles; t++)
        tile(BLOCK_ROWS, BLOCK_VECS, lines, k, a + t * BLOCK_ROWS * lda, lda, 1, b, panel, add,
             c + t * BLOCK_ROWS * ldc, ldc, b + k * panel + t * (k / STEPS) * lines * LINE);
    return tiles * BLOCK_ROWS;
}

void hold_block_stream(int64_t m, int64_t k, const float *a, int64_t lda, const float *b, bool add,
                       float *c, int64_t ldc) {
    const int64_t panel = BLOCK_VECS * VEC, tiles = m / BLOCK_ROWS;
    int64_t i = BLOCK_ROWS;
    if (tiles <= PANEL_LINES) {
        /* Few rows: the panel itself comes from memory, and the first tile asks a little ahead. */
        if (m < BLOCK_ROWS) {
            rest(BLOCK_VECS, STEPS * PANEL_LINES, m, k, a, lda, 1, b, panel, add, c, ldc, b + SOON);
            return;
        }
        tile(BLOCK_ROWS, BLOCK_VECS, STEPS * PANEL_LINES, k, a, lda, 1, b, panel, add, c, ldc,
             b + SOON);
    } else if (tiles >= STEPS * PANEL_LINES) {
        /* A core has few requests in flight, and its own loads need them too: as far apart as they
         * can be. */
        i = ask(1, k, a, lda, b, add, c, ldc);
    } else if (2 * tiles >= STEPS * PANEL_LINES) {
        i = ask(2, k, a, lda, b, add, c, ldc);
    } else {
        i = ask(STEPS, k, a, lda, b, add, c, ldc);
    }
    stripe(BLOCK_VECS, m - i, k, a + i * lda, lda, 1, b, panel, add, c + i * ldc, ldc);
}
