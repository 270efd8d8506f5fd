/* model.h: decoders of the families of formats/hf.h on a device: loading, low-rank adapters, the
 * forward pass with taps, and writing them back.
 *
 * Frozen matrices are prepared weights; everything trained lies in one flat f32 vector (`flat`), so
 * that snapshots, norms and optimizer steps are single kernels over it.
 */
#ifndef HOLD_MODEL_MODEL_H
#define HOLD_MODEL_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/ctx.h"
#include "base/status.h"
#include "data/batch.h"
#include "data/render.h"
#include "formats/hf.h"
#include "tape/tape.h"
#include "tokenizer/template.h"

enum hold_linear_kind { HOLD_QKV, HOLD_O, HOLD_GATE_UP, HOLD_DOWN, HOLD_LINEAR_KINDS };

struct hold_layer {
    struct hold_param norm_attention, norm_mlp; /* (1, C): of what goes in */
    /* Of what comes out (1, C), and of each head of q and k (1, head_dim); without rows: none. */
    struct hold_param norm_after_attention, norm_after_mlp, norm_q, norm_k;
    struct hold_linear linear[HOLD_LINEAR_KINDS];
};

struct hold_lora_config {
    int64_t r;
    double alpha, dropout;
    const char *target_modules; /* "all-linear", or names joined by commas: "q_proj,v_proj" */
    uint64_t seed;
};

struct hold_model {
    struct hold_device *device;
    struct hold_shape shape;
    struct hold_param embed, head, norm; /* head == embed's values when tied */
    struct hold_layer *layers;
    struct hold_ptr inv_freq, inv_freq_local; /* head_dim / 2 f32; local: of sliding layers */
    struct hold_ptr ones;                     /* what is added to gains; null: nothing */
    char *names;                              /* memory of all parameter names */

    /* Trainables: masters in one flat vector; 0 and null when nothing is trained. */
    struct hold_ptr flat;
    int64_t n_flat;
    int64_t n_decayed; /* its first numbers, those of matrices; gains and biases follow */
    bool lora, full;
    bool lean; /* frozen matrices are prepared only */
    struct hold_lora_config lora_config;

    /* Text side; owned. */
    struct hold_tokenizer *tokenizer;
    struct hold_template *chat;
    char *bos_token, *eos_token;
    int32_t eos_ids[8];
    int n_eos_ids;
    json_t *profile; /* inference profile: {"system":..,"prefix":..}, or NULL */
    char *path;      /* where it came from, for messages */
    char content_id[65];
    int n_merged;       /* adapters merged since the files were read */
    char merged_id[65]; /* of what was written from a model (merged, converted): the content_id that
                           model had, which adapters trained on it name; empty: none */
};

/* Load MODEL (GGUF file or Hugging Face folder) onto a device, f32.  Weights with NaN or Inf are
 * refused with their count and the first tensor's name. */
int hold_model_load(struct hold_model *m, const char *path, struct hold_device *device,
                    const struct hold_ctx *ctx, struct hold_error *err);
/* The same for forward passes and low-rank training alone: where the device keeps all that it needs
 * of a prepared matrix (bf16), the f32 numbers of frozen matrices are let go as soon as it has
 * them.  What would need them (merge, fold, full tuning, writing) then fails: EINTERNAL. */
int hold_model_load_lean(struct hold_model *m, const char *path, struct hold_device *device,
                         const struct hold_ctx *ctx, struct hold_error *err);
/* Read the matrices once more where the file stores them in blocks of 4 to 8 bits, and let products
 * of few rows read those (weight_levels): decoding one or a few rows then waits for less memory,
 * and answers stay the same to the byte.  Matrices that are stored otherwise, or that an adapter
 * has changed, stay as they are; *n: how many matrices read levels now. */
int hold_model_read_levels(struct hold_model *m, int64_t *n, struct hold_error *err);
void hold_model_release(struct hold_model *m);

/* How the model's rows are rendered: its tokenizer and template, its inference profile, the
 * vocabulary's BOS and EOS.  max_length in tokens; 0: no limit. */
struct hold_renderer hold_model_renderer(const struct hold_model *m, int64_t max_length);

/* A model of the same shape whose parameters are only counted: for sizing on a dry device. */
int hold_model_dry(struct hold_model *out, const struct hold_model *like, struct hold_device *dry,
                   struct hold_error *err);

/* W += alpha / r * B A for every pair, on the device.  The adapter must fit by names and shapes.  A
 * base hash that is neither content_id nor merged_id is refused, none is accepted with a warning.
 * The adapter's profile becomes the model's, and content_id becomes that of the merged model (a
 * hash of both), so that adapters trained on it are known from those of the bare base. */
int hold_model_merge(struct hold_model *m, const struct hold_adapter *a, const struct hold_ctx *ctx,
                     struct hold_error *err);

/* Every name of the list ("all-linear", or by commas) is a linear layer: EUSAGE with "did you
 * mean".
 */
int hold_model_check_targets(const char *targets, struct hold_error *err);
/* Add fresh low-rank parts to the named linear layers: A ~ U(-1/sqrt(in), 1/sqrt(in)) (PEFT's
 * kaiming_uniform with a = sqrt 5), keyed by (seed, module), B = 0.  They are the trainables. */
int hold_model_add_lora(struct hold_model *m, const struct hold_lora_config *config,
                        struct hold_error *err);
/* Make every matrix, bias and gain trainable instead (full fine-tuning). */
int hold_model_make_full(struct hold_model *m, struct hold_error *err);
/* Set the low-rank parts from an adapter of the same r, alpha and modules (the flow `continue`);
 * one with others, more or fewer is refused by name. */
int hold_model_set_lora(struct hold_model *m, const struct hold_adapter *a, struct hold_error *err);
/* Read the low-rank parts back; the caller releases *out. */
int hold_model_get_lora(const struct hold_model *m, struct hold_adapter *out,
                        struct hold_error *err);
/* Forget the low-rank parts. */
void hold_model_drop_lora(struct hold_model *m);
/* Fold the low-rank parts into the weights and forget them (the flow `merge_new`). */
int hold_model_fold_lora(struct hold_model *m, struct hold_error *err);

/* Named matrices as Hugging Face names them ("model.layers.3.self_attn.k_proj.weight"), fused ones
 * by their rows: calls back for each in a fixed order. */
struct hold_named {
    char name[128];
    struct hold_tensor value; /* rows of the fused matrix */
    int64_t flat;             /* -1: frozen */
    bool vector;              /* stored as 1-D */
};
int hold_model_each(const struct hold_model *m,
                    int (*each)(void *user, const struct hold_named *named, struct hold_error *err),
                    void *user, struct hold_error *err);
/* Names of linear modules ("model.layers.0.self_attn.q_proj") with their matrix; false: no such,
 * or a lean model. */
bool hold_model_find(const struct hold_model *m, const char *module, struct hold_tensor *out);
/* The frozen weights of a linear layer changed under it: prepare it again. */
int hold_model_refresh(struct hold_model *m, struct hold_error *err);

/* The id that adapters trained on this model name, or may: what is written of it keeps this one. */
const char *hold_model_known_as(const struct hold_model *m);
/* Write the model as a Hugging Face folder (F32, F16 or BF16); `from` gives tokenizer files. */
int hold_model_write(const struct hold_model *m, const struct hold_model_files *from,
                     enum hold_stored_type type, const char *dir, struct hold_error *err);

/* Write the model as one GGUF file (F32, F16, BF16 or Q8_0); `from` gives its tokenizer and
 * template, as formats/gguf_write.h says.  Adapters that fit this model fit the file too. */
int hold_model_write_gguf(const struct hold_model *m, const struct hold_model_files *from,
                          enum hold_stored_type type, const char *path, const struct hold_ctx *ctx,
                          struct hold_error *err);

/* --- forward --- */

/* Places where a tap may look at or change a node.  AT_LINEAR passes a linear layer's output node:
 * its input is source[0]->value, the low-rank middle x A' is saved_tensor. */
enum hold_site {
    HOLD_AT_EMBED,
    HOLD_AT_ATTENTION, /* output of the attention module (after o_proj) */
    HOLD_AT_MLP,       /* output of the MLP (after down_proj) */
    HOLD_AT_BLOCK,     /* residual stream after a block */
    HOLD_AT_FINAL,     /* after the last norm */
    HOLD_AT_LINEAR,
    HOLD_SITE_COUNT
};
struct hold_tapper {
    void *user;
    /* Returns the node to go on with (node itself, or a shifted one).  kind: enum hold_linear_kind
     * at AT_LINEAR, else 0. */
    struct hold_node *(*at)(void *user, struct hold_tape *tape, enum hold_site site, int layer,
                            int kind, struct hold_node *node);
    unsigned sites; /* bit set of sites it wants; others are not called */
    /* Its nodes of the last block may hold out_rows only: what follows its attention touches no
     * other row. */
    bool out_rows_suffice;
};

/* Tokens of one forward pass, on the host, and who sees whom. */
struct hold_tokens {
    int64_t n;
    const int32_t *ids, *positions;
    int64_t n_runs, n_spans, n_trees;
    const struct hold_query_run *runs;
    const struct hold_span *spans;
    const int32_t *tree_first;
    int64_t n_keys;
    /* Rows whose final hidden state is wanted, ascending; NULL: all n. */
    const int32_t *out_rows;
    int64_t n_out;
};
/* Key/value cache: per layer (slots, n_kv_heads head_dim). */
struct hold_cache {
    int64_t slots;
    struct hold_tensor *k, *v; /* n_layers each */
};
int hold_cache_new(struct hold_cache *c, const struct hold_model *m, int64_t slots,
                   struct hold_error *err);
void hold_cache_release(struct hold_cache *c, const struct hold_model *m);

/* Hidden rows after the final norm: (n_out, C).  With a cache, keys and values of token i go to
 * slot slot[i] (host) and spans name slots; forward only.  When the tape does not record, memory of
 * each block is given back at its end.  Errors stick to the tape. */
struct hold_node *hold_model_forward(struct hold_model *m, struct hold_tape *tape,
                                     const struct hold_tokens *tokens,
                                     const struct hold_tapper *tapper,
                                     const struct hold_cache *cache, const int32_t *slot);

/* The plan of a batch: arrays in `arena`; out_rows are the rows that carry labels, labels in CSR
 * form by them (weights are label weight * example weight). */
struct hold_planned {
    struct hold_tokens tokens;
    struct hold_loss_labels labels;
    const int32_t *label_example; /* n_labels: example of each label */
};
int hold_model_plan(const struct hold_batch *batch, struct hold_arena *arena,
                    struct hold_planned *out, struct hold_error *err);

/* Logits (n_out, V) of hidden rows on the host: out is n_out * V floats. */
int hold_model_logits(struct hold_model *m, struct hold_tape *tape, const struct hold_node *hidden,
                      float *out, struct hold_error *err);

/* Parameters in matrices: embedding left out, head counted: the P of MFU. */
int64_t hold_model_matrix_params(const struct hold_model *m);

#endif
