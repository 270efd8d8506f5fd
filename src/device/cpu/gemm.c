/* gemm.c: matrix products of our own, made of block products.  Every element of C is summed in one
 * order, whatever the threads and however many rows there are: a row computed in a batch has the
 * bytes of the row computed alone. */
#include "device/cpu/isa.h"

#include "device/cpu/block.h"

enum { PANEL = BLOCK_VECS * VEC, DEEP = 256, BLOCK = 96, HIGH = 192, TILE_ROWS = 6 };

/* Wide products: columns packed at a time, rows of A packed at a time, and their leading dimension,
 * which keeps rows apart in the cache's sets however far apart they lie in A. */
enum { WIDE = 1024, PITCH = DEEP + 16, LEAST_PANELS = 4, LEAST_ROWS = 48 };

/* A frozen weight (out, in) as panels of PANEL outputs: panel p holds (in, PANEL), the transpose of
 * its rows, zeros past the last output. */
static int64_t packed_bytes(int64_t out, int64_t in) {
    return round_up(out, PANEL) * in * (int64_t)sizeof(float);
}

static void pack(struct hold_device *d, const float *w, int64_t out, int64_t in, float *to) {
    int64_t panels = (out + PANEL - 1) / PANEL;
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, out *in))
    for (int64_t p = 0; p < panels; p++) {
        int64_t left = out - p * PANEL, n = left < PANEL ? left : PANEL;
        float *panel = to + p * PANEL * in;
        if (n < PANEL)
            memset(panel, 0, (size_t)(PANEL * in) * sizeof(float));
        transpose(n, in, w + p * PANEL * in, in, 1, panel, PANEL);
    }
}

/* c(m, n) = or += space(m, PANEL). */
static void put_columns(int64_t m, int64_t n, const float *space, bool add, float *c, int64_t ldc) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * ldc + j] = space[i * PANEL + j] + (add ? c[i * ldc + j] : 0);
}

/* How m rows are cut into blocks of at most BLOCK: as many for every thread unless there are panels
 * enough to go round or too few rows to cut, and whole tiles, shared out evenly: threads end
 * together. */
struct cuts {
    int64_t m, tiles, blocks;
};

static struct cuts cut_rows(const struct hold_device *d, int64_t m, int64_t panels) {
    struct cuts c = {m, (m + TILE_ROWS - 1) / TILE_ROWS, (m + BLOCK - 1) / BLOCK};
    if (c.blocks * panels < 32 * d->threads && m >= LEAST_ROWS * d->threads)
        c.blocks = round_up(c.blocks, d->threads);
    return c;
}

/* The same for a weight's panels, which come from memory: where they go round evenly, one block of
 * up to HIGH rows, so that each panel is fetched by one thread only. */
static struct cuts cut_few_rows(const struct hold_device *d, int64_t m, int64_t panels) {
    int64_t share = round_up(panels, d->threads);
    if (m > HIGH || 20 * (share - panels) > share)
        return cut_rows(d, m, panels);
    return (struct cuts){m, (m + TILE_ROWS - 1) / TILE_ROWS, 1};
}

/* The first row of block b; of block `blocks`: the end. */
static int64_t cut_at(const struct cuts *c, int64_t b) {
    return b == c->blocks ? c->m : c->tiles * b / c->blocks * TILE_ROWS;
}

static void packed_product(struct hold_device *d, const float *packed, int64_t m, int64_t out,
                           int64_t in, const float *x0, int64_t ldx, float beta, float *y0,
                           int64_t ldy) {
    int64_t panels = (out + PANEL - 1) / PANEL;
    const struct cuts cuts = cut_few_rows(d, m, panels);
    /* Neighbours share a block of rows, which stays in cache while panels pass by. */
#pragma omp parallel for collapse(2) schedule(static) num_threads(hold_cpu_team(d, out *in))
    for (int64_t b = 0; b < cuts.blocks; b++)
        for (int64_t p = 0; p < panels; p++) {
            _Alignas(64) float space[HIGH * PANEL];
            int64_t first = cut_at(&cuts, b), rows = cut_at(&cuts, b + 1) - first;
            int64_t n = out - p * PANEL;
            const float *x = x0 + first * ldx, *panel = packed + p * PANEL * in;
            float *y = y0 + first * ldy + p * PANEL;
            /* Long sums in pieces keep their small digits. */
            for (int64_t from = 0; from < in; from += DEEP) {
                int64_t deep = in - from < DEEP ? in - from : DEEP;
                const float *part = panel + from * PANEL;
                if (n >= PANEL) {
                    hold_block_stream(rows, deep, x + from, ldx, part, from > 0 || beta != 0, y,
                                      ldy);
                } else {
                    hold_block_stream(rows, deep, x + from, ldx, part, from > 0, space, PANEL);
                }
            }
            if (n < PANEL)
                put_columns(rows, n, space, beta != 0, y, ldy);
        }
}

/* to(k, PANEL) = alpha * n columns of op(B) from row `from` on; zeros up to whole registers. */
static void pack_panel(bool tb, int64_t from, int64_t k, int64_t column, int64_t n, float alpha,
                       const float *b, int64_t ldb, float *to) {
    if (tb) {
        transpose(n, k, b + column * ldb + from, ldb, alpha, to, PANEL);
    } else if (n == PANEL) {
        for (int64_t p = 0; p < k; p++)
#pragma GCC unroll 8
            for (int64_t j = 0; j < PANEL; j += VEC)
                vec_store(to + p * PANEL + j, alpha * vec_load(b + (from + p) * ldb + column + j));
    } else {
        for (int64_t p = 0; p < k; p++)
            for (int64_t j = 0; j < n; j++)
                to[p * PANEL + j] = alpha * b[(from + p) * ldb + column + j];
    }
    for (int64_t p = 0; p < k; p++)
        for (int64_t j = n; j < round_up(n, VEC); j++)
            to[p * PANEL + j] = 0;
}

static void scale_matrix(struct hold_device *d, int64_t m, int64_t n, float beta, float *c,
                         int64_t ldc) {
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, m *n))
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
}

/* c(rows, width) = or += a(rows, deep) panel(deep, PANEL), a packed. */
static void panel_product(int64_t rows, int64_t width, int64_t deep, const float *a,
                          const float *panel, bool add, float *c, int64_t ldc) {
    if (width % VEC == 0) {
        hold_block_product(rows, width, deep, a, PITCH, 1, panel, PANEL, add, c, ldc);
        return;
    }
    _Alignas(64) float space[BLOCK * PANEL];
    hold_block_product(rows, round_up(width, VEC), deep, a, PITCH, 1, panel, PANEL, false, space,
                       PANEL);
    put_columns(rows, width, space, add, c, ldc);
}

/* Many rows, columns and terms: a stretch of B is packed once for all rows, and a block of A once
 * for all columns of the stretch, so that both are read from near caches (Goto and van de Geijn,
 * "Anatomy of high-performance matrix multiplication", 2008). */
static void wide_gemm(struct hold_device *d, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                      float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                      bool add, float *c, int64_t ldc) {
    float *packed = hold_cpu_scratch(d, 2, DEEP * WIDE * (int64_t)sizeof(float));
    if (!packed)
        return;
    const struct cuts cuts = cut_rows(d, m, (n < WIDE ? n : WIDE) / PANEL);
#pragma omp parallel num_threads(d->threads)
    for (int64_t left = 0; left < n; left += WIDE)
        for (int64_t from = 0; from < k; from += DEEP) {
            _Alignas(64) float rows[BLOCK * PITCH];
            int64_t wide = n - left < WIDE ? n - left : WIDE, panels = (wide + PANEL - 1) / PANEL;
            int64_t deep = k - from < DEEP ? k - from : DEEP, held = -1;
#pragma omp for schedule(static)
            for (int64_t p = 0; p < panels; p++)
                pack_panel(tb, from, deep, left + p * PANEL,
                           wide - p * PANEL < PANEL ? wide - p * PANEL : PANEL, alpha, b, ldb,
                           packed + p * deep * PANEL);
#pragma omp for collapse(2) schedule(static)
            for (int64_t block = 0; block < cuts.blocks; block++)
                for (int64_t p = 0; p < panels; p++) {
                    int64_t first = cut_at(&cuts, block);
                    int64_t height = cut_at(&cuts, block + 1) - first;
                    if (held != block) {
                        if (ta)
                            transpose(deep, height, a + from * lda + first, lda, 1, rows, PITCH);
                        else
                            for (int64_t i = 0; i < height; i++)
                                memcpy(rows + i * PITCH, a + (first + i) * lda + from,
                                       (size_t)deep * sizeof(float));
                        held = block;
                    }
                    panel_product(height, wide - p * PANEL < PANEL ? wide - p * PANEL : PANEL, deep,
                                  rows, packed + p * deep * PANEL, add || from > 0,
                                  c + first * ldc + left + p * PANEL, ldc);
                }
        }
}

static void gemm(struct hold_device *d, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                 float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                 float *c, int64_t ldc) {
    if ((beta != 0 && beta != 1) || k == 0)
        scale_matrix(d, m, n, beta, c, ldc);
    if (m >= LEAST_ROWS && n >= LEAST_PANELS * PANEL && k >= DEEP / 2) {
        wide_gemm(d, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta != 0, c, ldc);
        return;
    }
    int64_t a_row = ta ? 1 : lda, a_col = ta ? lda : 1;
    int64_t panels = (n + PANEL - 1) / PANEL;
    /* Rows are shared out too when there are few panels, in stretches long enough to be worth the
     * packing of a panel for each. */
    int64_t stretch = panels >= 2 * d->threads ? m : (m + 2 * d->threads - 1) / (2 * d->threads);
    stretch = round_up(stretch < BLOCK ? BLOCK : stretch, BLOCK);
    int64_t stretches = (m + stretch - 1) / stretch;
#pragma omp parallel for collapse(2) schedule(static) num_threads(hold_cpu_team(d, m *n *k / 64))
    for (int64_t p = 0; p < panels; p++)
        for (int64_t s = 0; s < stretches; s++) {
            _Alignas(64) float panel[DEEP * PANEL], space[BLOCK * PANEL];
            int64_t width = n - p * PANEL < PANEL ? n - p * PANEL : PANEL;
            int64_t end = (s + 1) * stretch < m ? (s + 1) * stretch : m;
            for (int64_t from = 0; from < k; from += DEEP) {
                int64_t deep = k - from < DEEP ? k - from : DEEP;
                pack_panel(tb, from, deep, p * PANEL, width, alpha, b, ldb, panel);
                bool add = from > 0 || beta != 0;
                for (int64_t i = s * stretch; i < end; i += BLOCK) {
                    int64_t rows = end - i < BLOCK ? end - i : BLOCK;
                    const float *at = a + i * a_row + from * a_col;
                    float *to = c + i * ldc + p * PANEL;
                    if (width % VEC == 0) {
                        hold_block_product(rows, width, deep, at, a_row, a_col, panel, PANEL, add,
                                           to, ldc);
                    } else {
                        hold_block_product(rows, round_up(width, VEC), deep, at, a_row, a_col,
                                           panel, PANEL, false, space, PANEL);
                        put_columns(rows, width, space, add, to, ldc);
                    }
                }
            }
        }
}

void HOLD_ISA_NAME(hold_cpu_products)(struct hold_cpu_products *products) {
    *products = (struct hold_cpu_products){packed_bytes, pack, packed_product, gemm};
}
