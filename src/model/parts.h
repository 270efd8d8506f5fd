/* parts.h: which Hugging Face modules make up each fused matrix; shared inside this room. */
#ifndef HOLD_MODEL_PARTS_H
#define HOLD_MODEL_PARTS_H

#include "model/model.h"

struct hold_part {
    const char *module;  /* "self_attn.q_proj" */
    const char *leaf;    /* "q_proj" */
    int64_t first, rows; /* of the fused matrix */
};
/* The parts of a kind of linear layer for a shape; returns their number (1 to 3). */
int hold_model_parts(const struct hold_shape *s, enum hold_linear_kind kind,
                     struct hold_part parts[HOLD_LORA_PARTS]);
/* Rows and columns of the fused matrix. */
void hold_model_fused(const struct hold_shape *s, enum hold_linear_kind kind, int64_t *out,
                      int64_t *in);

#endif
