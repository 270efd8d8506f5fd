/* batch.h: a batch is a forest of segments, labels are entries.
 *
 * segment: {parent (-1: a root), first token, length}; LAW: a parent stands before its children.
 * token: id, position (= depth along its path).
 * label: {row (token index whose hidden state predicts), target id, weight, example}.
 * example: {weight, stream row id, last segment of its path}.
 *
 * Layout `rows`: every example is one root segment.  Layout `tree`: shared prefixes once; a shared
 * token may carry several labels.  A segment sees its ancestors and itself causally.  Host memory;
 * the model uploads it.
 */
#ifndef HOLD_DATA_BATCH_H
#define HOLD_DATA_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

enum hold_layout { HOLD_ROWS, HOLD_TREE };

/* One tokenised training row.  target_weight[t] is the weight of predicting ids[t] from what is
 * before it (0: not trained; entry 0 is always 0). */
struct hold_example {
    int32_t n;
    int32_t *ids;         /* n */
    float *target_weight; /* n */
    float weight;         /* of the whole example; 1 by default */
    int64_t row;          /* index in its set */
};

/* Tokens that two examples begin with in common. */
int32_t hold_example_shared(const struct hold_example *a, const struct hold_example *b);

struct hold_segment {
    int32_t parent, first, len;
};
struct hold_label {
    int32_t row, target;
    float weight;
    int32_t example;
};
struct hold_batch_example {
    float weight;
    int64_t row;
    int32_t segment;  /* last of its path */
    int32_t n_tokens; /* whole length, shared tokens included */
    int32_t n_labels;
};

struct hold_batch {
    enum hold_layout layout;
    int32_t n_segments, n_tokens, n_labels, n_examples;
    struct hold_segment *segments;
    int32_t *ids, *positions;  /* n_tokens */
    struct hold_label *labels; /* sorted by (row, example) */
    struct hold_batch_example *examples;
    double label_weight;      /* sum over labels of label weight * example weight */
    int64_t row_tokens;       /* tokens as the user counts them: every example whole */
    struct hold_arena *arena; /* where all of it lies; NULL: memory of its own */
};

/* Build from n examples (borrowed, not kept).  `tree` merges equal prefixes: children are ordered
 * by first appearance, the depth-first order of tokens is the batch's order.  An example that is a
 * prefix of another keeps its own labels on the shared tokens. */
int hold_batch_build(struct hold_batch *out, const struct hold_example *const *examples, int32_t n,
                     enum hold_layout layout, struct hold_error *err);
void hold_batch_release(struct hold_batch *b);
/* The same in an arena: nothing is allocated once the arena has grown, and nothing released. */
int hold_batch_build_in(struct hold_batch *out, const struct hold_example *const *examples,
                        int32_t n, enum hold_layout layout, struct hold_arena *arena,
                        struct hold_error *err);

/* Both functions refuse (EDATA): no examples, an example without tokens, a weight that is not
 * finite, more than INT32_MAX tokens. */

/* Split n examples into micro-batches of at most max_tokens tokens in the given layout (an example
 * longer than that stands alone): part i holds examples order[first[i] .. first[i+1]).  In layout
 * tree examples are first sorted so that prefixes stand together.  A function of its arguments
 * only. order: n entries, first: n + 1 entries, both written. */
int hold_batch_split(const struct hold_example *const *examples, int32_t n, enum hold_layout layout,
                     int32_t max_tokens, int32_t *order, int32_t *first, int32_t *n_parts,
                     struct hold_error *err);

#endif
