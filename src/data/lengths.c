/* lengths.c: sizes of rows in a few numbers. */
#include "data/lengths.h"

#include <stdlib.h>

enum { STEP = 64 };

static int by_size(const void *pa, const void *pb) {
    int64_t a = *(const int64_t *)pa, b = *(const int64_t *)pb;
    return (a > b) - (a < b);
}

/* n sizes are at most some 10^9, so that the product fits. */
static int64_t at_share(const int64_t *sorted, int64_t n, int64_t percent) {
    return sorted[(n * percent + 99) / 100 - 1];
}

struct hold_lengths hold_lengths_of(int64_t *sizes, int64_t n) {
    double sum = 0;
    qsort(sizes, (size_t)n, sizeof(*sizes), by_size);
    for (int64_t i = 0; i < n; i++)
        sum += (double)sizes[i];
    return (struct hold_lengths){.min = sizes[0],
                                 .p50 = at_share(sizes, n, 50),
                                 .p90 = at_share(sizes, n, 90),
                                 .p95 = at_share(sizes, n, 95),
                                 .p99 = at_share(sizes, n, 99),
                                 .max = sizes[n - 1],
                                 .mean = sum / (double)n};
}

int64_t hold_lengths_bin_end(int bin) {
    return (int64_t)HOLD_LENGTH_FIRST << bin;
}

void hold_lengths_bins(const int64_t *sizes, int64_t n, int64_t bins[HOLD_LENGTH_BINS]) {
    for (int k = 0; k < HOLD_LENGTH_BINS; k++)
        bins[k] = 0;
    for (int64_t i = 0; i < n; i++) {
        int k = 0;
        while (k < HOLD_LENGTH_BINS - 1 && sizes[i] > hold_lengths_bin_end(k))
            k++;
        bins[k]++;
    }
}

int64_t hold_lengths_limit(const int64_t *sorted, int64_t n) {
    int64_t size = at_share(sorted, n, 99);
    return size <= STEP ? STEP : (size + STEP - 1) / STEP * STEP;
}
