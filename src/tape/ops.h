/* ops.h: what the op files of this room share: making nodes, and the backward rows of the table. */
#ifndef HOLD_TAPE_OPS_H
#define HOLD_TAPE_OPS_H

#include "tape/tape.h"

/* A new node with the given value shape; its memory is cut unless `value` says where it lies. */
struct hold_node *hold_node_new(struct hold_tape *t, enum hold_op_kind op, struct hold_node *a,
                                struct hold_node *b, struct hold_tensor value);
/* A norm's gain as it multiplies: value, or value + offset in memory of the tape. */
struct hold_ptr hold_gain(struct hold_tape *t, const struct hold_param *p);
static inline const struct hold_kernels *hold_k(const struct hold_tape *t) {
    return t->device->k;
}

void hold_embed_backward(struct hold_tape *t, struct hold_node *n);
void hold_gather_backward(struct hold_tape *t, struct hold_node *n);
void hold_linear_backward(struct hold_tape *t, struct hold_node *n);
void hold_rmsnorm_backward(struct hold_tape *t, struct hold_node *n);
void hold_headnorm_backward(struct hold_tape *t, struct hold_node *n);
void hold_rope_backward(struct hold_tape *t, struct hold_node *n);
void hold_attention_backward(struct hold_tape *t, struct hold_node *n);
void hold_swiglu_backward(struct hold_tape *t, struct hold_node *n);
void hold_geglu_backward(struct hold_tape *t, struct hold_node *n);
void hold_add_backward(struct hold_tape *t, struct hold_node *n);
void hold_shift_backward(struct hold_tape *t, struct hold_node *n);
void hold_scale_backward(struct hold_tape *t, struct hold_node *n);
void hold_again_backward(struct hold_tape *t, struct hold_node *n);
void hold_loss_backward(struct hold_tape *t, struct hold_node *n);

#endif
