/* rng.c: Philox 4x32-10 and what is drawn from it. */
#include "base/rng.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"

enum { ROUNDS = 10 };

/* J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
 * section 3.3 and table 2 (multipliers and Weyl constants of Philox 4x32). */
static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t x[4] = {counter[0], counter[1], counter[2], counter[3]};
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * x[0];
        uint64_t b = (uint64_t)0xCD9E8D57u * x[2];
        x[0] = (uint32_t)(b >> 32) ^ x[1] ^ k0;
        x[1] = (uint32_t)b;
        x[2] = (uint32_t)(a >> 32) ^ x[3] ^ k1;
        x[3] = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    memcpy(out, x, sizeof(x));
}

static void split(uint64_t value, uint32_t out[2]) {
    out[0] = (uint32_t)value;
    out[1] = (uint32_t)(value >> 32);
}

/* 256 bits name a stream and Philox has room for 192, 64 of which count blocks.  Two Philox calls
 * fold them: (seed, purpose) gives a key; under that key (step, row) is mapped one-to-one to 128
 * bits, which become the stream's key and the upper half of its counter.  So within one seed and
 * purpose no two (step, row) can ever share a block. */
void hold_rng_init(struct hold_rng *r, uint64_t seed, const char *purpose, uint64_t step,
                   uint64_t row) {
    uint32_t key[2], counter[4], mixed[4];
    split(seed, key);
    split(hold_fnv(purpose, strlen(purpose)), counter);
    counter[2] = counter[3] = 0;
    philox(counter, key, mixed);
    key[0] = mixed[0];
    key[1] = mixed[1];
    split(step, counter);
    split(row, counter + 2);
    philox(counter, key, mixed);
    *r = (struct hold_rng){.key = {mixed[0], mixed[1]}, .counter = {0, 0, mixed[2], mixed[3]}};
}

uint32_t hold_rng_u32(struct hold_rng *r) {
    if (r->left == 0) {
        philox(r->counter, r->key, r->out);
        r->left = 4;
        if (++r->counter[0] == 0)
            r->counter[1]++;
    }
    return r->out[4 - r->left--];
}

uint64_t hold_rng_u64(struct hold_rng *r) {
    uint64_t low = hold_rng_u32(r);
    return low | (uint64_t)hold_rng_u32(r) << 32;
}

uint64_t hold_rng_below(struct hold_rng *r, uint64_t n) {
    /* 2^64 mod n: values under it are drawn again, so that the rest is a multiple of n. */
    uint64_t excess = (0 - n) % n, x;
    do
        x = hold_rng_u64(r);
    while (x < excess);
    return x % n;
}

double hold_rng_real(struct hold_rng *r) {
    return (double)(hold_rng_u64(r) >> 11) * 0x1p-53;
}

double hold_rng_normal(struct hold_rng *r) {
    const double two_pi = 6.283185307179586;
    double radius = sqrt(-2.0 * log(1.0 - hold_rng_real(r))); /* 1 - u is in (0, 1] */
    return radius * cos(two_pi * hold_rng_real(r));
}

void hold_rng_shuffle(struct hold_rng *r, uint32_t *items, uint32_t n) {
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)hold_rng_below(r, i);
        uint32_t swap = items[i - 1];
        items[i - 1] = items[j];
        items[j] = swap;
    }
}
