/* amx.c: bf16 products by Intel's tile registers (AMX), where the machine and the kernel let us.
 *
 * A thread's tiles are configured as it enters a product's region and released as it leaves, so
 * that nobody else on the thread meets our configuration and task switches stay cheap.  A signal
 * handler may run at any moment: the kernel saves the tiles in its frame.
 */
#include "device/cpu/bf16.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <immintrin.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef ARCH_REQ_XCOMP_PERM
#define ARCH_REQ_XCOMP_PERM 0x1023
#endif

enum { TILE = HOLD_BF16_TILE, WORDS = HOLD_BF16_WORDS, PANEL = HOLD_BF16_PANEL, LINE = 64 };

/* The compilers' tile instructions do not say that they read memory: what was stored before this is
 * there when they do. */
static inline void settle(void) {
    __asm__ volatile("" ::: "memory");
}

/* Tiles 0 to 3: sums; 4 and 5: of A; 6 and 7: of B; all 16 rows of 64 bytes. */
static void enter(void) {
    _Alignas(64) struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = LINE;
        config.rows[i] = TILE;
    }
    settle();
    _tile_loadconfig(&config);
}

static void leave(void) {
    _tile_release();
}

/* C(32, 32) = or += over steps; with each step `lines` cache lines of the next panel are asked for,
 * from `next` on. */
static inline void square(int64_t steps, const uint32_t *a, int64_t a_row, const uint32_t *b,
                          bool add, float *c, int64_t ldc, const uint32_t *next, int64_t lines) {
    size_t stride = (size_t)ldc * sizeof(float);
    if (add) {
        _tile_loadd(0, c, stride);
        _tile_loadd(1, c + TILE, stride);
        _tile_loadd(2, c + TILE * ldc, stride);
        _tile_loadd(3, c + TILE * ldc + TILE, stride);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t s = 0; s < steps; s++, a += WORDS, b += 2 * WORDS, next += 2 * WORDS) {
        for (int64_t l = 0; l < lines; l++)
            _mm_prefetch((const char *)(next + l * TILE), _MM_HINT_T1);
        _tile_loadd(6, b, LINE);
        _tile_loadd(4, a, LINE);
        _tile_loadd(7, b + WORDS, LINE);
        _tile_loadd(5, a + a_row, LINE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, stride);
    _tile_stored(1, c + TILE, stride);
    _tile_stored(2, c + TILE * ldc, stride);
    _tile_stored(3, c + TILE * ldc + TILE, stride);
}

/* C(16, 32), for a last row of tiles without a second one. */
static inline void half(int64_t steps, const uint32_t *a, const uint32_t *b, bool add, float *c,
                        int64_t ldc) {
    size_t stride = (size_t)ldc * sizeof(float);
    if (add) {
        _tile_loadd(0, c, stride);
        _tile_loadd(1, c + TILE, stride);
    } else {
        _tile_zero(0);
        _tile_zero(1);
    }
    for (int64_t s = 0; s < steps; s++, a += WORDS, b += 2 * WORDS) {
        _tile_loadd(4, a, LINE);
        _tile_loadd(6, b, LINE);
        _tile_loadd(7, b + WORDS, LINE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
    }
    _tile_stored(0, c, stride);
    _tile_stored(1, c + TILE, stride);
}

static void copy_block(int64_t m, int64_t n, const float *from, int64_t ld_from, float *to,
                       int64_t ld_to) {
    for (int64_t i = 0; i < m; i++)
        memcpy(to + i * ld_to, from + i * ld_from, (size_t)n * sizeof *to);
}

static void product(int64_t m, int64_t n, int64_t steps, const uint32_t *a, int64_t a_row,
                    const uint32_t *b, bool add, float *c, int64_t ldc, const uint32_t *next) {
    _Alignas(64) float space[PANEL * PANEL];
    /* The blocks of rows share the asking for the next panel. */
    int64_t squares = (m + PANEL - 1) / PANEL, lines = (PANEL + squares - 1) / squares;
    for (int64_t i = 0; i < m; i += PANEL, a += 2 * a_row, c += PANEL * ldc) {
        int64_t asked = i / PANEL * lines, ask = PANEL - asked < lines ? PANEL - asked : lines;
        const uint32_t *at = next ? next + asked * TILE : b;
        ask = next && ask > 0 ? ask : 0;
        int64_t rows = m - i < PANEL ? m - i : PANEL;
        if (rows == PANEL && n == PANEL) {
            square(steps, a, a_row, b, add, c, ldc, at, ask);
            continue;
        }
        if (add)
            copy_block(rows, n, c, ldc, space, PANEL);
        settle();
        if (rows > TILE)
            square(steps, a, a_row, b, add, space, PANEL, at, ask);
        else
            half(steps, a, b, add, space, PANEL);
        copy_block(rows, n, space, PANEL, c, ldc);
    }
}

/* Four sums at a time, as in square. */
static double peak_loop(int64_t rounds) {
    _Alignas(64) static const uint32_t zeros[WORDS];
    enter();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, zeros, LINE);
    _tile_loadd(5, zeros, LINE);
    _tile_loadd(6, zeros, LINE);
    _tile_loadd(7, zeros, LINE);
    for (int64_t i = 0; i < rounds; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    leave();
    return 4.0 * TILE * TILE * 2 * TILE * (double)rounds;
}

/* The processor has the instructions, the kernel keeps the registers, this process may use them
 * (Linux asks for that since its version 5.16). */
static bool usable(void) {
    enum { TILE_STATES = 3 << 17, TILE_DATA = 18 };
    const unsigned has = 1u << 22 | 1u << 24; /* AMX-BF16, AMX-TILE */
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & has) != has)
        return false;
    __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (a & TILE_STATES) == TILE_STATES &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
}

const struct hold_bf16_unit *hold_bf16_amx(void) {
    static const struct hold_bf16_unit unit = {"amx", enter, leave, product, peak_loop};
    return usable() ? &unit : NULL;
}
