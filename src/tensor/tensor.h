/* tensor.h: views of device matrices, and the space they are cut from.
 *
 * Everything the tape computes on is a matrix: rows are tokens (or hidden rows, or output
 * features), columns are channels; heads lie side by side in the columns.
 */
#ifndef HOLD_TENSOR_TENSOR_H
#define HOLD_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "device/device.h"

/* An f32 matrix (rows, cols) in device memory; ld is the distance of rows in elements.  Owns
 * nothing. */
struct hold_tensor {
    struct hold_ptr data;
    int64_t rows, cols, ld;
};
static inline struct hold_tensor hold_tensor_at(struct hold_ptr data, int64_t rows, int64_t cols) {
    return (struct hold_tensor){data, rows, cols, cols};
}
/* Columns [first, first + n) of t. */
static inline struct hold_tensor hold_tensor_cols(struct hold_tensor t, int64_t first, int64_t n) {
    return (struct hold_tensor){hold_at_f32(t.data, first), t.rows, n, t.ld};
}
/* Rows [first, first + n) of t. */
static inline struct hold_tensor hold_tensor_rows(struct hold_tensor t, int64_t first, int64_t n) {
    return (struct hold_tensor){hold_at_f32(t.data, first * t.ld), n, t.cols, t.ld};
}

/* A space is an arena in device memory: a few big chunks, cut from the front, rewound as a whole.
 * After the first steps have sized it nothing is allocated any more. */
enum { HOLD_SPACE_CHUNKS = 64 };
struct hold_space {
    struct hold_device *device;
    int n_chunks, chunk;
    int64_t used; /* of the current chunk */
    int64_t bytes[HOLD_SPACE_CHUNKS];
    struct hold_ptr base[HOLD_SPACE_CHUNKS];
    int64_t high; /* most bytes ever in use at once, alignment included */
};
struct hold_space_mark {
    int chunk;
    int64_t used;
};
void hold_space_init(struct hold_space *s, struct hold_device *device); /* allocates nothing */
/* `bytes` of device memory, 64-byte aligned, uninitialised. */
int hold_space_cut(struct hold_space *s, int64_t bytes, struct hold_ptr *out,
                   struct hold_error *err);
/* Make sure that `bytes` can be cut from an empty space without a further allocation. */
int hold_space_reserve(struct hold_space *s, int64_t bytes, struct hold_error *err);
struct hold_space_mark hold_space_mark(const struct hold_space *s);
void hold_space_rewind(struct hold_space *s, struct hold_space_mark mark);
void hold_space_release(struct hold_space *s);

#endif
