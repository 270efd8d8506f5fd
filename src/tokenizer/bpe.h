/* bpe.h: byte pair encoding over ids: which pair of pieces merges into which, and how early. */
#ifndef HOLD_TOKENIZER_BPE_H
#define HOLD_TOKENIZER_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Tables are at most half full; a longer walk than this means keys made to collide: no key is put
 * farther from its place, so none is looked for farther. */
enum { HOLD_PROBES_MAX = 1024 };

/* Byte strings to ids: open addressing. Keys are borrowed. */
struct hold_names {
    struct hold_name {
        const char *key;
        uint32_t len;
        int32_t id;
    } * slots;
    size_t mask;
};
int hold_names_init(struct hold_names *t, size_t n, struct hold_error *err);
void hold_names_release(struct hold_names *t);
/* *old is the id that the key had (-1: new); it keeps that id. */
int hold_names_put(struct hold_names *t, const char *key, size_t len, int32_t id, int32_t *old,
                   struct hold_error *err);
int32_t hold_names_get(const struct hold_names *t, const char *key, size_t len); /* -1: none */

/* Pairs of ids to (rank, merged id). */
struct hold_pairs {
    struct hold_pair {
        uint64_t key; /* left << 32 | right; all ones: empty */
        int32_t rank, id;
    } * slots;
    size_t mask;
    int shift;
};
int hold_pairs_init(struct hold_pairs *t, size_t n, struct hold_error *err);
void hold_pairs_release(struct hold_pairs *t);
/* A pair that is there already takes the new rank, as in `tokenizers`. */
int hold_pairs_put(struct hold_pairs *t, int32_t left, int32_t right, int32_t rank, int32_t id,
                   struct hold_error *err);

static inline uint64_t hold_pair_key(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* Fibonacci hashing: the top bits of key times 2^64 / golden ratio. */
static inline size_t hold_pair_slot(const struct hold_pairs *t, uint64_t key) {
    return (size_t)((key ^ key >> 29) * UINT64_C(0x9E3779B97F4A7C15) >> t->shift);
}

/* NULL: no such pair. */
static inline const struct hold_pair *hold_pairs_get(const struct hold_pairs *t, int32_t left,
                                                     int32_t right) {
    uint64_t key = hold_pair_key(left, right);
    size_t at = hold_pair_slot(t, key);
    for (int probes = 0; probes < HOLD_PROBES_MAX; probes++, at = (at + 1) & t->mask) {
        const struct hold_pair *slot = &t->slots[at];
        if (slot->key == key) {
            return slot;
        }
        if (slot->key == UINT64_MAX) {
            break;
        }
    }
    return NULL;
}

/* A word being merged: n symbols, each an id and the offset of its first byte. */
struct hold_word {
    int32_t *ids;
    uint32_t *starts;
    size_t n, cap;
    void *scratch; /* of long words */
    size_t scratch_bytes;
};
int hold_word_reserve(struct hold_word *w, size_t n, struct hold_error *err);
void hold_word_release(struct hold_word *w);
/* Merge until no pair of neighbours is known: always the pair of lowest rank, the leftmost of
 * equals. O(n log n). */
int hold_word_merge(struct hold_word *w, const struct hold_pairs *pairs, struct hold_error *err);

#endif
