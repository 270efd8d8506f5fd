/* bf16.c: matrix products of operands rounded to bf16: packing, the order of blocks, and the
 * portable multiplication that emulates the instructions. */
#include "device/cpu/isa.h"

#include "device/cpu/bf16.h"
#include "device/cpu/block.h"

enum { TILE = HOLD_BF16_TILE, WORDS = HOLD_BF16_WORDS, DEEP = HOLD_BF16_DEEP };
enum { PANEL = HOLD_BF16_PANEL };

/* Steps of k that one pass over C takes, bytes of A that stay in a core's cache meanwhile, and of B
 * that no core's cache keeps from one product to the next. */
enum { MOST_STEPS = 64, NEAR_BYTES = 768 << 10, FAR_BYTES = 16 << 20 };

static int64_t count(int64_t n, int64_t each) {
    return (n + each - 1) / each;
}

/* A fine product takes each operand as a large part, which is what rounding leaves, and a small
 * part, what rounding lost, itself rounded.  It is an ordinary product over three times as many
 * terms: A as its large, small, large part after one another, B as its large, large, small. */
enum { FINE_PARTS = 3 };

/* To nearest, ties to even; a NaN stays one. */
static inline uint32_t round_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint32_t up = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : up;
}

static inline float small_part(float x) {
    uint32_t bits = round_bits(x) << 16;
    float large;
    memcpy(&large, &bits, 4);
    return x - large;
}

/* --- tiles --- */

/* to[r][p] = x(r, 2p) and x(r, 2p + 1): pairs along the rows of x. */
static void tile_along(const float *x, int64_t ld, uint32_t to[WORDS]) {
    for (int r = 0; r < TILE; r++)
        for (int p = 0; p < TILE; p++)
            to[r * TILE + p] = round_bits(x[r * ld + 2 * p]) | round_bits(x[r * ld + 2 * p + 1])
                                                                   << 16;
}

/* to[p][c] = x(2p, c) and x(2p + 1, c): pairs across the rows of x. */
static void tile_across(const float *x, int64_t ld, uint32_t to[WORDS]) {
    for (int p = 0; p < TILE; p++)
        for (int c = 0; c < TILE; c++)
            to[p * TILE + c] = round_bits(x[2 * p * ld + c]) | round_bits(x[(2 * p + 1) * ld + c])
                                                                   << 16;
}

static void turn(const uint32_t from[WORDS], uint32_t to[WORDS]) {
    for (int i = 0; i < TILE; i += VEC)
        for (int j = 0; j < TILE; j += VEC) {
            vec r[VEC];
#pragma GCC unroll 16
            for (int l = 0; l < VEC; l++)
                memcpy(&r[l], from + (i + l) * TILE + j, sizeof(vec));
            vec_transpose(r);
#pragma GCC unroll 16
            for (int l = 0; l < VEC; l++)
                memcpy(to + (j + l) * TILE + i, &r[l], sizeof(vec));
        }
}

/* One tile of the matrix X(16 rows of the tile's long side ...): `along`: k runs along the rows of
 * x, which are the product's other index; else across.  `pairs_first`: the tile's rows are pairs
 * (of B), else the other index (of A).  others, deep: how many of each x has. */
static void pack_tile(bool small, bool along, bool pairs_first, int64_t others, int64_t deep,
                      const float *x, int64_t ld, uint32_t to[WORDS]) {
    _Alignas(64) float part[DEEP * DEEP];
    _Alignas(64) uint32_t words[WORDS];
    int64_t rows = along ? others : deep, cols = along ? deep : others;
    int64_t most_rows = along ? TILE : DEEP, most_cols = along ? DEEP : TILE;
    if (small || rows < most_rows || cols < most_cols) {
        memset(part, 0, sizeof part);
        rows = rows < most_rows ? rows : most_rows;
        cols = cols < most_cols ? cols : most_cols;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++)
                part[i * DEEP + j] = small ? small_part(x[i * ld + j]) : x[i * ld + j];
        x = part;
        ld = DEEP;
    }
    bool turned = along == pairs_first;
    (along ? tile_along : tile_across)(x, ld, turned ? words : to);
    if (turned)
        turn(words, to);
}

/* --- packing --- */

/* B and A as they are given: op(X), fine or not. */
struct operand {
    bool t;
    const float *x;
    int64_t ld;
};

static int64_t steps_of(bool fine, int64_t k) {
    return count(k, DEEP) * (fine ? FINE_PARTS : 1);
}

/* Tiles [from, from + steps) along k of row of tiles `row` of A(m, k): to(steps, WORDS). */
static void pack_row(bool fine, int64_t m, int64_t k, int64_t row, int64_t from, int64_t steps,
                     struct operand a, uint32_t *to) {
    int64_t i = row * TILE, whole = count(k, DEEP);
    for (int64_t s = from; s < from + steps; s++, to += WORDS) {
        int64_t p = s % whole * DEEP;
        pack_tile(fine && s / whole == 1, !a.t, false, m - i, k - p,
                  a.t ? a.x + p * a.ld + i : a.x + i * a.ld + p, a.ld, to);
    }
}

/* The same of panel `panel` of B(k, n): to(steps, 2, WORDS). */
static void pack_panel(bool fine, int64_t n, int64_t k, int64_t panel, int64_t from, int64_t steps,
                       struct operand b, uint32_t *to) {
    int64_t whole = count(k, DEEP);
    for (int64_t s = from; s < from + steps; s++)
        for (int64_t t = 0; t < PANEL / TILE; t++, to += WORDS) {
            int64_t j = panel * PANEL + t * TILE, p = s % whole * DEEP;
            if (j < n)
                pack_tile(fine && s / whole == 2, b.t, true, n - j, k - p,
                          b.t ? b.x + j * b.ld + p : b.x + p * b.ld + j, b.ld, to);
            else
                memset(to, 0, WORDS * sizeof *to);
        }
}

static int64_t packed_bytes(bool fine, int64_t n, int64_t k) {
    return count(n, PANEL) * steps_of(fine, k) * PANEL * DEEP * 2;
}

static void pack(struct hold_device *d, bool fine, bool tb, int64_t n, int64_t k, const float *b,
                 int64_t ldb, uint32_t *to) {
    int64_t panels = count(n, PANEL), steps = steps_of(fine, k);
    int64_t words = steps * (PANEL / TILE) * WORDS;
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, n *k))
    for (int64_t p = 0; p < panels; p++)
        pack_panel(fine, n, k, p, 0, steps, (struct operand){tb, b, ldb}, to + p * words);
}

/* --- products --- */

/* Rows of tiles of a block of A: few enough to stay near, and as many for every thread. */
static int64_t block_rows(const struct hold_device *d, int64_t rows, int64_t panels,
                          int64_t steps) {
    int64_t most = NEAR_BYTES / (steps * WORDS * 4);
    most = most < 2 ? 2 : most;
    int64_t blocks = count(rows, most);
    if (blocks * panels < 16 * d->threads && rows >= 4 * d->threads)
        blocks = round_up(blocks, d->threads);
    return round_up(count(rows, blocks), 2);
}

/* C(m, n) = or += A B.  Rows of A are packed once for all panels; B is packed here, too, unless
 * `packed` holds it.  Long sums are made in passes over C. */
static void product(struct hold_device *d, bool fine, int64_t m, int64_t n, int64_t k,
                    struct operand a, const uint32_t *packed, struct operand b, bool add, float *c,
                    int64_t ldc) {
    const struct hold_bf16_unit *unit = hold_cpu(d)->bf16;
    int64_t all = steps_of(fine, k), passes = count(all, MOST_STEPS), most = count(all, passes);
    int64_t rows = count(m, TILE), panels = count(n, PANEL), a_row = most * WORDS;
    int64_t b_panel = (packed ? all : most) * (PANEL / TILE) * WORDS;
    uint32_t *near_a = hold_cpu_scratch(d, 0, rows * a_row * 4);
    uint32_t *near_b = packed || !near_a ? NULL : hold_cpu_scratch(d, 1, panels * b_panel * 4);
    if (!near_a || (!packed && !near_b))
        return;
    int64_t tall = block_rows(d, rows, panels, most), blocks = count(rows, tall);
    bool far = panels * most * PANEL * DEEP * 2 > FAR_BYTES;
#pragma omp parallel num_threads(hold_cpu_team(d, n *k))
    {
        if (unit->enter)
            unit->enter();
        for (int64_t from = 0; from < all; from += most) {
            int64_t steps = all - from < most ? all - from : most;
            const uint32_t *panel0 = packed ? packed + from * (PANEL / TILE) * WORDS : near_b;
#pragma omp for schedule(static) nowait
            for (int64_t r = 0; r < rows; r++)
                pack_row(fine, m, k, r, from, steps, a, near_a + r * a_row);
            if (!packed) {
#pragma omp for schedule(static) nowait
                for (int64_t p = 0; p < panels; p++)
                    pack_panel(fine, n, k, p, from, steps, b, near_b + p * b_panel);
            }
#pragma omp barrier
#pragma omp for collapse(2) schedule(static)
            for (int64_t block = 0; block < blocks; block++)
                for (int64_t p = 0; p < panels; p++) {
                    int64_t first = block * tall * TILE, wide = n - p * PANEL;
                    int64_t height = m - first < tall * TILE ? m - first : tall * TILE;
                    unit->product(height, wide < PANEL ? wide : PANEL, steps,
                                  near_a + block * tall * a_row, a_row, panel0 + p * b_panel,
                                  add || from > 0, c + first * ldc + p * PANEL, ldc,
                                  far && p + 1 < panels ? panel0 + (p + 1) * b_panel : NULL);
                }
        }
        if (unit->leave)
            unit->leave();
    }
}

static void packed_product(struct hold_device *d, bool fine, const uint32_t *packed, int64_t m,
                           int64_t n, int64_t k, const float *x, int64_t ldx, float beta, float *y,
                           int64_t ldy) {
    product(d, fine, m, n, k, (struct operand){false, x, ldx}, packed, (struct operand){0},
            beta != 0, y, ldy);
}

static void live_product(struct hold_device *d, bool fine, bool ta, bool tb, int64_t m, int64_t n,
                         int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                         float beta, float *c, int64_t ldc) {
    product(d, fine, m, n, k, (struct operand){ta, a, lda}, NULL, (struct operand){tb, b, ldb},
            beta != 0, c, ldc);
}

/* --- emulation --- */

enum { SOME_STEPS = 8, PITCH = SOME_STEPS * DEEP + 16 };

static inline float low_half(uint32_t word) {
    uint32_t bits = word << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
static inline float high_half(uint32_t word) {
    uint32_t bits = word & 0xffff0000u;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* to(steps * DEEP, PANEL) */
static void expand_panel(int64_t steps, const uint32_t *b, float *to) {
    for (int64_t s = 0; s < steps; s++)
        for (int64_t t = 0; t < PANEL / TILE; t++, b += WORDS)
            for (int64_t p = 0; p < TILE; p++)
                for (int64_t c = 0; c < TILE; c++) {
                    float *at = to + (s * DEEP + 2 * p) * PANEL + t * TILE + c;
                    at[0] = low_half(b[p * TILE + c]);
                    at[PANEL] = high_half(b[p * TILE + c]);
                }
}

/* to(TILE, PITCH) */
static void expand_row(int64_t steps, const uint32_t *a, float *to) {
    for (int64_t s = 0; s < steps; s++, a += WORDS)
        for (int64_t r = 0; r < TILE; r++)
            for (int64_t p = 0; p < TILE; p++) {
                to[r * PITCH + s * DEEP + 2 * p] = low_half(a[r * TILE + p]);
                to[r * PITCH + s * DEEP + 2 * p + 1] = high_half(a[r * TILE + p]);
            }
}

static void emulated(int64_t m, int64_t n, int64_t steps, const uint32_t *a, int64_t a_row,
                     const uint32_t *b, bool add, float *c, int64_t ldc, const uint32_t *next) {
    (void)next;
    _Alignas(64) float panel[SOME_STEPS * DEEP * PANEL], row[TILE * PITCH], space[TILE * PANEL];
    for (int64_t from = 0; from < steps; from += SOME_STEPS) {
        int64_t some = steps - from < SOME_STEPS ? steps - from : SOME_STEPS;
        expand_panel(some, b + from * (PANEL / TILE) * WORDS, panel);
        for (int64_t i = 0; i < m; i += TILE) {
            int64_t rows = m - i < TILE ? m - i : TILE;
            bool more = add || from > 0;
            float *at = c + i * ldc;
            expand_row(some, a + i / TILE * a_row + from * WORDS, row);
            if (n == PANEL) {
                hold_block_product(rows, PANEL, some * DEEP, row, PITCH, 1, panel, PANEL, more, at,
                                   ldc);
                continue;
            }
            hold_block_product(rows, PANEL, some * DEEP, row, PITCH, 1, panel, PANEL, false, space,
                               PANEL);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t j = 0; j < n; j++)
                    at[r * ldc + j] = space[r * PANEL + j] + (more ? at[r * ldc + j] : 0);
        }
    }
}

static const struct hold_bf16_unit emulation = {.name = "emulated", .product = emulated};

void HOLD_ISA_NAME(hold_cpu_bf16)(struct hold_cpu_bf16_products *products) {
    *products = (struct hold_cpu_bf16_products){packed_bytes, pack, packed_product, live_product,
                                                &emulation};
}
