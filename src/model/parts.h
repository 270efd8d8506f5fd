/* parts.h: which Hugging Face modules make up each fused matrix, a layer's norms, and windows of
 * attention; shared inside this room. */
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

/* Prepare a frozen matrix; fine: as struct hold_linear's. */
int hold_model_prepare(struct hold_model *m, struct hold_param *p, bool fine,
                       struct hold_error *err);

/* EINTERNAL when the model is lean. */
int hold_model_has_numbers(const struct hold_model *m, struct hold_error *err);

/* The norms of a layer that its family has: their names ("input_layernorm") and where they are. */
enum { HOLD_LAYER_NORMS = 6 };
struct hold_layer_norm {
    const char *leaf;
    struct hold_param *param;
    int64_t cols;
};
int hold_model_norms(const struct hold_shape *s, struct hold_layer *layer,
                     struct hold_layer_norm norms[HOLD_LAYER_NORMS]);

/* Runs, spans and trees of tokens whose queries see at most `window` keys: a run that would see
 * more is cut into runs of single queries.  In `arena`. */
struct hold_windowed {
    int64_t n_runs, n_spans;
    struct hold_query_run *runs;
    struct hold_span *spans;
    int32_t *tree_first;
};
/* Does any query of `tokens` see more keys than `window`? */
bool hold_model_exceeds(const struct hold_tokens *tokens, int64_t window);
int hold_model_window(const struct hold_tokens *tokens, int64_t window, struct hold_arena *arena,
                      struct hold_windowed *out, struct hold_error *err);

#endif
