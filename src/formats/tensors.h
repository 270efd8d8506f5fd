/* tensors.h: a named tensor as a file stores it, and its conversion to f32. */
#ifndef HOLD_FORMATS_TENSORS_H
#define HOLD_FORMATS_TENSORS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum hold_stored_type {
    HOLD_ST_F32,
    HOLD_ST_F16,
    HOLD_ST_BF16,
    HOLD_ST_Q4_0,
    HOLD_ST_Q4_1,
    HOLD_ST_Q5_0,
    HOLD_ST_Q5_1,
    HOLD_ST_Q8_0,
    HOLD_ST_Q4_K,
    HOLD_ST_Q5_K,
    HOLD_ST_Q6_K,
    HOLD_ST_F64,
    HOLD_ST_I32,
    HOLD_ST_I64,
    HOLD_ST_U8,
    HOLD_ST_COUNT
};

struct hold_stored {
    const char *name;
    enum hold_stored_type type;
    int n_dims;
    int64_t dim[4];   /* outermost first; unused are 1 */
    const void *data; /* mapped; not aligned for every type */
    uint64_t bytes;
};

const char *hold_stored_type_name(enum hold_stored_type type); /* "Q4_1" */
/* Elements and bytes of one block, and bytes of n elements (0: not a multiple of the block). */
int64_t hold_stored_block(enum hold_stored_type type);
uint64_t hold_stored_bytes(enum hold_stored_type type, int64_t n);
int64_t hold_stored_count(const struct hold_stored *t); /* elements */
/* Elements [first, first + n) (multiples of the block) to f32. Formulas as in ggml: value-exact.
 * Integer types are refused.  A NaN or infinite scale gives such values: the loader checks them. */
int hold_stored_to_f32(const struct hold_stored *t, int64_t first, int64_t n, float *out,
                       struct hold_error *err);
/* The reverse for F32, F16, BF16 and Q8_0: n numbers (a multiple of the block) to n's bytes at
 * `out`, rounded to nearest even; Q8_0 as ggml's quantize_row_q8_0_ref does, bit for bit.  The
 * index of the first number that is not finite or that the type cannot hold (F16: 65520 and above;
 * BF16: what rounds to infinity; Q8_0: 127 * 65520 and above), or -1; what is at `out` then is not
 * to be used. */
int64_t hold_stored_from_f32(enum hold_stored_type type, const float *x, int64_t n, void *out);
/* A quantised tensor's values as small integers: value i is, as to_f32 computes it to the byte,
 * q[i] * scale[i / group] + min[i / group], the sum only where the type has a minimum; q is at
 * least `lowest` and less than lowest + 2^bits.  false: the type is not of this kind. */
struct hold_stored_levels {
    int group, lowest, bits;
    bool min;
};
bool hold_stored_levels(const struct hold_stored *t, struct hold_stored_levels *out);
/* All of such a tensor's: q has its count, scale and min (zeros where there is none) count / group
 * entries. */
void hold_stored_take_levels(const struct hold_stored *t, int8_t *q, float *scale, float *min);
/* Look-up by name in a list; NULL when missing. Linear; call once per tensor. */
const struct hold_stored *hold_stored_find(const struct hold_stored *list, int64_t n,
                                           const char *name);

/* For many look-ups: pointers to the n tensors in name order (hold_free them); a name that is there
 * twice is refused, `where` starts the message.  O(n log n); a find is O(log n). */
int hold_stored_sort(const struct hold_stored *list, int64_t n, const char *where,
                     const struct hold_stored ***out, struct hold_error *err);
const struct hold_stored *hold_stored_sorted_find(const struct hold_stored *const *sorted,
                                                  int64_t n, const char *name);
/* Fill `bytes` (and unused dims) from type, n_dims and dim; refuses shapes whose product or size
 * overflows and rows that are not a multiple of the block. */
int hold_stored_measure(struct hold_stored *t, const char *where, struct hold_error *err);

/* f32 <-> f16/bf16, round to nearest even. */
uint16_t hold_f32_to_f16(float x);
float hold_f16_to_f32(uint16_t h);
uint16_t hold_f32_to_bf16(float x);
float hold_bf16_to_f32(uint16_t h);

#endif
