/* rng.h: counter-based random numbers (Philox 4x32-10; Salmon et al. 2011), keyed by
 * (seed, purpose, step, row): a value depends on its key alone, never on what was drawn before by
 * others, so threads and resuming cannot change it. */
#ifndef HOLD_BASE_RNG_H
#define HOLD_BASE_RNG_H

#include <stdint.h>

struct hold_rng {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t out[4];
    int left; /* words of out not yet used */
};
void hold_rng_init(struct hold_rng *r, uint64_t seed, const char *purpose, uint64_t step,
                   uint64_t row);
uint32_t hold_rng_u32(struct hold_rng *r);
uint64_t hold_rng_u64(struct hold_rng *r);
uint64_t hold_rng_below(struct hold_rng *r,
                        uint64_t n);        /* uniform in 0..n-1, without bias; n > 0 */
double hold_rng_real(struct hold_rng *r);   /* uniform in [0, 1) with 53 bits */
double hold_rng_normal(struct hold_rng *r); /* standard normal, Box-Muller */
void hold_rng_shuffle(struct hold_rng *r, uint32_t *items, uint32_t n); /* Fisher-Yates */

#endif
