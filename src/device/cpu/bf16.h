/* bf16.h: how operands of bf16 products lie in memory, and what multiplies them.
 *
 * Numbers go in pairs of neighbours along k, the lower one in the low half of a 32-bit word, and
 * words go in tiles of 16 x 16 (one tile register):
 *   A(m, k)  rows of tiles: 16 rows of A by 16 pairs; all tiles of a row of tiles one after another
 *   B(k, n)  panels of HOLD_BF16_PANEL columns: for every 16 pairs the panel's tiles, each 16 pairs
 *            by 16 columns
 * What m, n and k leave of a tile is zeros.
 */
#ifndef HOLD_DEVICE_CPU_BF16_H
#define HOLD_DEVICE_CPU_BF16_H

#include <stdbool.h>
#include <stdint.h>

struct hold_device;

enum {
    HOLD_BF16_TILE = 16, /* rows and words of a tile */
    HOLD_BF16_WORDS = HOLD_BF16_TILE * HOLD_BF16_TILE,
    HOLD_BF16_DEEP = 2 * HOLD_BF16_TILE, /* of k in a tile */
    HOLD_BF16_PANEL = 2 * HOLD_BF16_TILE
};

/* What multiplies: its own file each. */
struct hold_bf16_unit {
    const char *name;
    /* On every thread, around its products; may be NULL. */
    void (*enter)(void);
    void (*leave)(void);
    /* C(m, n) = or += (add) A B over `steps` tiles of k, n <= HOLD_BF16_PANEL; rows of tiles of A
     * are a_row words apart.  A row of C has the same bytes whatever m is.  next: the panel that
     * will be asked for after this one, when it comes from afar, or NULL. */
    void (*product)(int64_t m, int64_t n, int64_t steps, const uint32_t *a, int64_t a_row,
                    const uint32_t *b, bool add, float *c, int64_t ldc, const uint32_t *next);
    /* As hold_device_peak_bf16_gflops of one thread, `rounds` of a loop whose multiply-adds are
     * returned; NULL: that of f32. */
    double (*peak_loop)(int64_t rounds);
};

#if defined(__x86_64__)
/* NULL: not on this machine. */
const struct hold_bf16_unit *hold_bf16_amx(void);
const struct hold_bf16_unit *hold_bf16_avx512(void);
#endif

#endif
