/* vector.c: elementwise kernels, sums over flat vectors, dropout, and the peak of the machine. */
#include "device/cpu/isa.h"

#include "base/ctx.h"
#include "base/rng.h"

enum { SUM_PARTS = 256, SUM_ALIGN = 1024, PEAK_CHAINS = 12, DROPOUT_BLOCKS = 64 };

/* (rows, cols) without gaps is one long row, which is shared out in equal parts. */
struct shape {
    int64_t rows, cols, ldx, ldy;
};
static struct shape flatten(int64_t rows, int64_t cols, int64_t ldx, int64_t ldy) {
    const int64_t part = 4096;
    if (ldx != cols || ldy != cols || (rows * cols) % part != 0)
        return (struct shape){rows, cols, ldx, ldy};
    return (struct shape){rows * cols / part, part, part, part};
}

static void axpby(struct hold_device *d, int64_t rows, int64_t cols, float a, struct hold_ptr x_,
                  int64_t ldx, float b, struct hold_ptr y_, int64_t ldy) {
    const float *x0 = hold_f32(x_);
    float *y0 = hold_f32(y_);
    struct shape s = flatten(rows, cols, ldx, ldy);
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *cols))
    for (int64_t i = 0; i < s.rows; i++) {
        const float *x = x0 + i * s.ldx;
        float *y = y0 + i * s.ldy;
        if (b == 0) {
#pragma omp simd
            for (int64_t j = 0; j < s.cols; j++)
                y[j] = a * x[j];
        } else {
#pragma omp simd
            for (int64_t j = 0; j < s.cols; j++)
                y[j] = a * x[j] + b * y[j];
        }
    }
}

static void multiply(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x_,
                     int64_t ldx, struct hold_ptr y_, int64_t ldy) {
    const float *x0 = hold_f32(x_);
    float *y0 = hold_f32(y_);
    struct shape s = flatten(rows, cols, ldx, ldy);
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *cols))
    for (int64_t i = 0; i < s.rows; i++) {
        const float *x = x0 + i * s.ldx;
        float *y = y0 + i * s.ldy;
#pragma omp simd
        for (int64_t j = 0; j < s.cols; j++)
            y[j] *= x[j];
    }
}

static double dot_part(int64_t n, const float *x, const float *y) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++)
        sum += (double)x[j] * (double)y[j];
    return sum;
}

static void row_dots(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x_,
                     int64_t ldx, struct hold_ptr y_, int64_t ldy, struct hold_ptr out_) {
    const float *x = hold_f32(x_), *y = hold_f32(y_);
    double *out = hold_f64(out_);
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *cols))
    for (int64_t i = 0; i < rows; i++)
        out[i] = dot_part(cols, x + i * ldx, y + i * ldy);
}

/* Blocks [first, first + DROPOUT_BLOCKS) of the stream: 4 words a block, as hold_rng_u32 gives them
 * one by one (base/rng.c has the source), but many blocks at once in vector registers. */
static void philox_words(const struct hold_rng *r, uint32_t first, uint32_t words[][4]) {
#pragma omp simd
    for (uint32_t b = 0; b < DROPOUT_BLOCKS; b++) {
        uint32_t x0 = first + b, x1 = r->counter[1], x2 = r->counter[2], x3 = r->counter[3];
        uint32_t k0 = r->key[0], k1 = r->key[1];
        for (int round = 0; round < 10; round++) {
            uint64_t m = (uint64_t)0xD2511F53u * x0, n = (uint64_t)0xCD9E8D57u * x2;
            x0 = (uint32_t)(n >> 32) ^ x1 ^ k0;
            x1 = (uint32_t)n;
            x2 = (uint32_t)(m >> 32) ^ x3 ^ k1;
            x3 = (uint32_t)m;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        words[b][0] = x0;
        words[b][1] = x1;
        words[b][2] = x2;
        words[b][3] = x3;
    }
}

/* A row's stream gives one 32-bit word an element, in order of columns: kept when the word is not
 * below p * 2^32. */
static void dropout(struct hold_device *d, int64_t rows, int64_t cols, float p, uint64_t seed,
                    uint64_t step, int64_t first_row, struct hold_ptr x_, int64_t ldx) {
    enum { WORDS = 4 * DROPOUT_BLOCKS };
    if (p <= 0)
        return;
    float *x0 = hold_f32(x_), scale = p < 1 ? 1.0f / (1.0f - p) : 0;
    double limit = (double)p * 4294967296.0;
    uint32_t threshold = limit < 4294967295.0 ? (uint32_t)limit : UINT32_MAX;
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, 2 * rows * cols))
    for (int64_t i = 0; i < rows; i++) {
        struct hold_rng rng;
        uint32_t words[DROPOUT_BLOCKS][4];
        hold_rng_init(&rng, seed, "dropout", step, (uint64_t)(first_row + i));
        for (int64_t j = 0; j < cols; j += WORDS) {
            int64_t n = cols - j < WORDS ? cols - j : WORDS;
            float *x = x0 + i * ldx + j;
            philox_words(&rng, (uint32_t)(j / 4), words);
            const uint32_t *word = words[0];
            for (int64_t l = 0; l < n; l++)
                x[l] = word[l] >= threshold ? x[l] * scale : 0.0f;
        }
    }
}

/* The parts depend on n alone and are added in order, whatever the threads. */
static double dot(struct hold_device *d, int64_t n, struct hold_ptr x_, struct hold_ptr y_) {
    const float *x = hold_f32(x_), *y = hold_f32(y_);
    double sums[SUM_PARTS] = {0}, total = 0;
    int64_t part = (n / SUM_PARTS / SUM_ALIGN + 1) * SUM_ALIGN, parts = (n + part - 1) / part;
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, n))
    for (int64_t i = 0; i < parts; i++) {
        int64_t left = n - i * part;
        sums[i] = dot_part(left < part ? left : part, x + i * part, y + i * part);
    }
    for (int64_t i = 0; i < parts; i++)
        total += sums[i];
    return total;
}

static int64_t count_nonfinite(struct hold_device *d, int64_t n, struct hold_ptr x_) {
    const float *x = hold_f32(x_);
    int64_t count = 0;
#pragma omp parallel for simd schedule(static) reduction(+ : count) num_threads(hold_cpu_team(d, n))
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        count += (bits & 0x7f800000u) == 0x7f800000u;
    }
    return count;
}

/* Independent chains of multiply-adds that stay in registers: enough of them to hide the latency
 * of one on every port. */
static double peak_loop(int64_t rounds) {
    vec sum[PEAK_CHAINS], scale = (vec){0} + 0.999f, step = (vec){0} + 0.001f;
#pragma GCC unroll 16
    for (int c = 0; c < PEAK_CHAINS; c++)
        sum[c] = (vec){0} + (float)c;
    for (int64_t i = 0; i < rounds; i++) {
#pragma GCC unroll 16
        for (int c = 0; c < PEAK_CHAINS; c++)
            sum[c] = sum[c] * scale + step;
    }
    double total = 0;
    for (int c = 0; c < PEAK_CHAINS; c++)
        for (int l = 0; l < VEC; l++)
            total += (double)sum[c][l];
    return total;
}

/* Each thread's best of many short runs, added: a neighbour that takes a core for some milliseconds
 * does not make the machine look slow. */
double HOLD_ISA_NAME(hold_cpu_peak)(struct hold_device *d) {
    const int64_t rounds = 50000;
    const double long_enough = 0.2;
    double total = 0, sink = 0;
#pragma omp parallel reduction(+ : total, sink) num_threads(d->threads)
    {
        double begin = hold_clock_now(), now = begin, best = INFINITY;
        while (now - begin < long_enough) {
            double start = now;
            int64_t n = rounds;
            __asm__ volatile("" : "+r"(n)); /* or the compiler would run it once for all */
            sink += peak_loop(n);
            now = hold_clock_now();
            best = now - start < best ? now - start : best;
        }
        total += 2e-9 * (double)rounds * PEAK_CHAINS * VEC / best;
    }
    return sink > 0 ? total : 0; /* sink is positive: a reason to compute it */
}

void HOLD_ISA_NAME(hold_cpu_vector)(struct hold_kernels *kernels) {
    kernels->axpby = axpby;
    kernels->multiply = multiply;
    kernels->row_dots = row_dots;
    kernels->dropout = dropout;
    kernels->dot = dot;
    kernels->count_nonfinite = count_nonfinite;
}
