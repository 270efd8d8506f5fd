/* lengths.h: how long rows are: percentiles, a histogram, and the limit that keeps most of them. */
#ifndef HOLD_DATA_LENGTHS_H
#define HOLD_DATA_LENGTHS_H

#include <stdint.h>

/* Percentiles by nearest rank: the smallest size that at least that share of the rows does not
 * exceed. */
struct hold_lengths {
    int64_t min, p50, p90, p95, p99, max;
    double mean;
};
/* Of n > 0 sizes >= 0, which are sorted in place. */
struct hold_lengths hold_lengths_of(int64_t *sizes, int64_t n);

/* Rows by size in bins that double: bin 0 holds 0 to 16, bin k those above up to 16 * 2^k, the last
 * bin all that are larger. */
enum { HOLD_LENGTH_BINS = 20, HOLD_LENGTH_FIRST = 16 };
void hold_lengths_bins(const int64_t *sizes, int64_t n, int64_t bins[HOLD_LENGTH_BINS]);
int64_t hold_lengths_bin_end(int bin); /* its largest size */

/* The smallest multiple of 64 that keeps 99 of 100 rows whole, from n > 0 sorted sizes. */
int64_t hold_lengths_limit(const int64_t *sorted, int64_t n);

#endif
