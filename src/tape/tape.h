/* tape.h: reverse-mode differentiation over device matrices.
 *
 * An op runs its forward kernel when it is called and leaves a node behind; hold_tape_backward
 * walks the nodes in reverse and lets each op's row of the table push its gradient to its sources.
 * Gradients of parameters go straight into one flat vector that the caller names.
 *
 * Building never fails half-way: the first error sticks to the tape, later ops return the dead
 * node, and hold_tape_check reports it.  LAW: grads add: a backward row adds to what a source
 * already holds.  Nothing recorded outlives a reset.
 */
#ifndef HOLD_TAPE_TAPE_H
#define HOLD_TAPE_TAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "tensor/tensor.h"

/* A named matrix of a model.  Trainable: `flat` is its first element in the flat vectors of
 * trainables, gradients and moments.  Frozen matrices carry a prepared weight. */
struct hold_param {
    const char *name; /* for messages; owned by the model */
    struct hold_tensor value;
    struct hold_weight *weight; /* prepared; NULL: use value by gemm */
    int64_t flat;               /* -1: frozen */
    struct hold_ptr offset;     /* of a norm: what is added to value for its gain; null: nothing */
};

/* The low-rank part of some rows of a linear layer:  y[out_first..] += scale * (x A') B'. */
struct hold_lora {
    int64_t out_first, out_n; /* rows of W it belongs to */
    struct hold_param a;      /* (r, in) */
    struct hold_param b;      /* (out_n, r) */
};
enum { HOLD_LORA_PARTS = 3 };
/* y(rows,out) = x(rows,in) W' + bias + low-rank parts.  The parts' A matrices lie one after another
 * in memory and in the flat vectors, so that x A' of all parts is one product. */
struct hold_linear {
    struct hold_param w;    /* (out, in) */
    struct hold_param bias; /* (1, out); without rows: none */
    int n_lora;
    struct hold_lora lora[HOLD_LORA_PARTS];
    int64_t r;
    float scale;
    bool fine;            /* in bf16 the forward product of W is nearly exact (weight_refine) */
    float dropout;        /* on the low-rank input, one mask for all parts */
    uint64_t dropout_key; /* tells layers apart */
};

enum hold_op_kind {
    HOLD_OP_LEAF,
    HOLD_OP_EMBED,
    HOLD_OP_GATHER,
    HOLD_OP_LINEAR,
    HOLD_OP_RMSNORM,
    HOLD_OP_HEADNORM,
    HOLD_OP_ROPE,
    HOLD_OP_ATTENTION,
    HOLD_OP_SWIGLU,
    HOLD_OP_GEGLU,
    HOLD_OP_ADD,
    HOLD_OP_SHIFT,
    HOLD_OP_SCALE,
    HOLD_OP_AGAIN,
    HOLD_OP_LOSS,
    HOLD_OP_COUNT
};

struct hold_grad; /* a gradient matrix that several nodes may share until one of them adds to it */

enum { HOLD_NODE_SOURCES = 2 };
struct hold_node {
    enum hold_op_kind op;
    struct hold_node *source[HOLD_NODE_SOURCES];
    struct hold_tensor value;
    struct hold_grad *grad; /* NULL until something flows into it */
    bool wants_grad;
    bool keep; /* a tap reads value later: no in-place op may overwrite it */
    /* Called when the node's gradient is complete, before it is passed on; may be NULL. */
    void (*on_grad)(void *user, struct hold_node *node, struct hold_tensor grad);
    void *on_grad_user;
    const struct hold_param *param;   /* EMBED, RMSNORM */
    const struct hold_linear *linear; /* LINEAR */
    struct hold_ptr saved[2];         /* what forward keeps for backward */
    struct hold_tensor saved_tensor;  /* LINEAR: x A'; LOSS: gradient of its source */
    const void *plan; /* ATTENTION, ROPE, HEADNORM, AGAIN: owned by the tape's host arena */
    float eps;        /* SCALE: the factor */
    struct hold_node *next_older;
};

struct hold_tape {
    struct hold_device *device;
    struct hold_space *space;
    struct hold_arena host;
    bool recording;  /* false: forward only, nothing is kept */
    bool recompute;  /* what hold_again is for is wanted; the model looks at it */
    bool rehearsing; /* forward only, but as in training (dropout): backward makes it again */
    struct hold_ptr
        flat_grads;      /* f32; where gradients of trainable parameters are added; null: nowhere */
    uint64_t seed, step; /* key of dropout */
    int64_t first_row;   /* of this micro-batch, for dropout */
    struct hold_node *newest;
    struct hold_grad *free_grads;
    struct hold_node dead;
    int status; /* sticky */
    struct hold_error error;
};

void hold_tape_init(struct hold_tape *t, struct hold_device *device, struct hold_space *space);
/* Forget all nodes and rewind the space to `mark` (take it before recording). */
void hold_tape_reset(struct hold_tape *t, struct hold_space_mark mark);
void hold_tape_release(struct hold_tape *t);
int hold_tape_check(struct hold_tape *t,
                    struct hold_error *err); /* the sticky error, device's too */
/* Record a wrong caller or a failed call; returns the dead node. */
struct hold_node *hold_tape_dead(struct hold_tape *t, int code, const char *what);
/* Gradients of everything from the recorded losses (their coefficients are already inside). */
int hold_tape_backward(struct hold_tape *t, struct hold_error *err);

/* Cut a matrix from the tape's space; on failure the error sticks and data is null. */
struct hold_tensor hold_tape_matrix(struct hold_tape *t, int64_t rows, int64_t cols);
/* Copy host integers or floats to device memory cut from the tape's space. */
struct hold_ptr hold_tape_upload(struct hold_tape *t, const void *data, int64_t bytes);

/* --- ops; sizes in comments, T tokens --- */
struct hold_node *hold_leaf(struct hold_tape *t, struct hold_tensor value, bool wants_grad);
/* (T, C) = rows `ids` (T int32 on the device) of the embedding (V, C). */
struct hold_node *hold_embed(struct hold_tape *t, const struct hold_param *table,
                             struct hold_ptr ids, int64_t n);
/* (n, C) = rows `ids` of x. */
struct hold_node *hold_gather(struct hold_tape *t, struct hold_node *x, struct hold_ptr ids,
                              int64_t n);
struct hold_node *hold_linear(struct hold_tape *t, struct hold_node *x,
                              const struct hold_linear *linear);
struct hold_node *hold_rmsnorm(struct hold_tape *t, struct hold_node *x,
                               const struct hold_param *gain, float eps);
/* RMS norm of each head of q (n_heads of them) and k (n_kv_heads) with their own gains (1,
 * head_dim); the rest of each row, v, passes.  qkv as in hold_attention. */
struct hold_node *hold_headnorm(struct hold_tape *t, struct hold_node *qkv, int64_t n_heads,
                                int64_t n_kv_heads, const struct hold_param *q_gain,
                                const struct hold_param *k_gain, float eps);
/* Rotate the first `heads` heads of each row; in place unless x->keep. */
struct hold_node *hold_rope(struct hold_tape *t, struct hold_node *x, int64_t heads,
                            int64_t head_dim, struct hold_ptr positions, struct hold_ptr inv_freq);
/* qkv (T, (n_heads + 2 n_kv_heads) head_dim) -> (T, n_heads head_dim). */
struct hold_node *hold_attention(struct hold_tape *t, struct hold_node *qkv,
                                 const struct hold_attention *plan);
/* The same with keys and values kept in a cache: rows of qkv are first put at `slots` of k and v
 * (slots, n_kv_heads head_dim); forward only. */
struct hold_node *hold_attention_cached(struct hold_tape *t, struct hold_node *qkv,
                                        const struct hold_attention *plan, struct hold_tensor k,
                                        struct hold_tensor v, struct hold_ptr slots);
/* (T, 2F) -> (T, F) = silu(gate) * up. */
struct hold_node *hold_swiglu(struct hold_tape *t, struct hold_node *x);
/* The same with gelu(gate), by its tanh form. */
struct hold_node *hold_geglu(struct hold_tape *t, struct hold_node *x);
/* x + y; in y's place when y is the output of a linear layer or a norm, unless y->keep. */
struct hold_node *hold_add(struct hold_tape *t, struct hold_node *x, struct hold_node *y);
/* c x. */
struct hold_node *hold_scale(struct hold_tape *t, struct hold_node *x, float c);
/* x + c * constant. */
struct hold_node *hold_shift(struct hold_tape *t, struct hold_node *x, float c,
                             struct hold_tensor constant);

/* A piece of the graph that is run once without being recorded and made again in backward, so that
 * only its result is kept meanwhile (Chen et al., arXiv 1604.06174).  make(user, tape, x) builds
 * the piece on x; it must compute the same both times, its result has `rows` rows as wide as x's,
 * and *user (copied by the caller into memory that lives until the tape is reset) is all it depends
 * on.  Gradients are byte for byte those of the piece recorded at once. */
typedef struct hold_node *hold_make(const void *user, struct hold_tape *t, struct hold_node *x);
struct hold_node *hold_again(struct hold_tape *t, struct hold_node *x, int64_t rows,
                             hold_make *make, const void *user);

/* --- losses: forward and the gradient of their source in one go, block by block, so that logits
 * of all rows never exist at once.  Results are added on the host. --- */
struct hold_loss_labels {
    int64_t n_rows, n_labels; /* hidden rows and label entries */
    const int32_t *first;     /* n_rows + 1, host */
    const int32_t *target;    /* n_labels, host */
    const float *weight;      /* n_labels, host */
};
/* coef * sum of weight * (-log p(target)).  hidden: (n_rows, C); head: (V, C) embedding or lm_head.
 * logp: n_labels doubles on the host, or NULL.  *sum += coef-free weighted sum. */
void hold_loss_cross_entropy(struct hold_tape *t, struct hold_node *hidden,
                             const struct hold_param *head, const struct hold_loss_labels *labels,
                             float coef, double *logp, double *sum);
/* coef * sum_i weight_i KL(ref_i || p_i) (reverse: KL(p_i || ref_i)); ref hidden rows (n_rows, C)
 * go through ref_head.  weight: n_rows floats on the host.  *sum += weighted sum without coef. */
void hold_loss_kl(struct hold_tape *t, struct hold_node *hidden, const struct hold_param *head,
                  struct hold_tensor ref_hidden, const struct hold_param *ref_head,
                  const float *weight, bool reverse, float coef, double *sum);
/* coef * sum_i weight_i (x_i . direction - ref_i)^2; x: (n, C); direction (1, C) on the device;
 * weight, ref: n floats / doubles on the host.  dots (n doubles, host, may be NULL) receives
 * x_i . direction. */
void hold_loss_projection(struct hold_tape *t, struct hold_node *x, struct hold_tensor direction,
                          const float *weight, const double *ref, float coef, double *dots,
                          double *sum);

/* For op files: the gradient matrix of a node to add to (*fresh: it holds nothing yet, so the
 * kernel must overwrite); NULL when the node wants none. */
struct hold_grad *hold_grad_target(struct hold_tape *t, struct hold_node *node, bool *fresh);
/* Give `grad` of one node to another without copying; adds when the other already has one. */
void hold_grad_share(struct hold_tape *t, struct hold_node *from, struct hold_node *to);
struct hold_tensor hold_grad_tensor(const struct hold_grad *g);
/* Address of a parameter's gradient in the flat vector; null when it is frozen. */
struct hold_ptr hold_param_grad(const struct hold_tape *t, const struct hold_param *p);

#endif
