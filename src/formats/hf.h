/* hf.h: Hugging Face folders: config.json to a model shape, PEFT adapters, and the neutral model
 * description that GGUF and Hugging Face files are both turned into. */
#ifndef HOLD_FORMATS_HF_H
#define HOLD_FORMATS_HF_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "tokenizer/tokenizer.h"

/* The families that are computed.  GGUF has Mistral as llama: without a window it is read as that.
 */
enum hold_family { HOLD_LLAMA, HOLD_MISTRAL, HOLD_QWEN2, HOLD_QWEN3, HOLD_GEMMA3, HOLD_FAMILIES };

/* What a family computes besides llama's. */
struct hold_traits {
    const char *model_type, *architecture; /* in config.json */
    const char *gguf;                      /* general.architecture */
    bool qkv_bias;                         /* of q, k and v */
    bool head_norm;                        /* an RMS norm on each head of q and k */
    bool gelu;                             /* the gate's activation is GELU (tanh), not SiLU */
    bool post_norms;                       /* norms also on the outputs of attention and MLP */
    bool offset_gain;                      /* norms multiply by 1 + w */
    bool scaled_embed;                     /* embeddings are multiplied by sqrt(d_model) */
    int64_t head_dim;                      /* when config.json gives none; 0: d_model / n_heads */
    double norm_eps;                       /* when config.json gives none */
    bool tied;                             /* when config.json does not say */
};

/* Frequencies of the rotary embedding: as theta gives them, all divided by `factor`, or Llama 3's
 * (the slow ones divided, with a smooth change between two wavelengths of `original` positions). */
enum hold_rope_kind { HOLD_ROPE_PLAIN, HOLD_ROPE_LINEAR, HOLD_ROPE_LLAMA3 };
struct hold_rope {
    enum hold_rope_kind kind;
    double factor, low, high, original;
};

/* The shape of a decoder of one of the families. */
struct hold_shape {
    int64_t n_layers, d_model, n_heads, n_kv_heads, head_dim, d_ff, vocab, max_positions;
    double rope_theta, norm_eps;
    bool tied; /* the head is the embedding */
    enum hold_family family;
    struct hold_rope rope;
    int64_t window;       /* keys, its own included, that a sliding layer's query sees; 0: all */
    int64_t global_every; /* with a window: layers n, 2n, ... (from 1) see all keys; 0: none does */
    double local_theta;   /* rope of sliding layers (unscaled); 0: as that of all layers */
    double query_scalar;  /* scores are q k / sqrt(query_scalar) */
};
const struct hold_traits *hold_shape_traits(const struct hold_shape *s);
/* Does layer `l` (from 0) see only a window? */
bool hold_shape_slides(const struct hold_shape *s, int64_t l);
/* Inverse frequencies of head_dim / 2 pairs in f32 as transformers computes them; local: of sliding
 * layers. */
void hold_shape_inv_freq(const struct hold_shape *s, bool local, float *out);

/* Where what Holdfast writes keeps merged_id and the inference profile: a file of a folder, and
 * keys of a GGUF file (the profile as JSON text). */
#define HOLD_IDENTITY_FILE "holdfast.json"
#define HOLD_MERGED_KEY "holdfast.merged_id"
#define HOLD_PROFILE_KEY "holdfast.profile"

/* A model's files, opened: shape, tensors under Hugging Face names
 * ("model.layers.0.self_attn.q_proj.weight"), tokenizer, template. */
struct hold_model_files {
    char *path;
    struct hold_shape shape;
    int64_t n_tensors;
    struct hold_stored *tensors; /* owned array; names are Hugging Face names (owned) */
    /* GGUF of llama architecture stores q and k permuted for its rope; true: rows of q_proj and
     * k_proj must be un-permuted by the loader (hold_unpermute_rows). */
    bool permuted_qk;
    /* GGUF of Gemma holds 1 + w of every norm; true: the loader subtracts it. */
    bool raised_gains;
    struct hold_tokenizer *tokenizer;
    char *chat_template;         /* NULL: none */
    char *bos_token, *eos_token; /* text or NULL */
    int32_t eos_ids[8];
    int n_eos_ids;       /* ids that end generation (generation_config or metadata) */
    char merged_id[65];  /* of what was written from a model (merged, converted): the content_id
                            which  that model had; empty: none */
    json_t *profile;     /* inference profile that was written with the model, or NULL */
    char content_id[65]; /* SHA-256 over the files' own bytes (weights, tokenizer, template,
                            profile) */
    struct hold_gguf *gguf;
    struct hold_safetensors *safetensors;
};
/* MODEL is a GGUF file or a Hugging Face folder.  Anything that is not of these families is refused
 * by the name of what is missing; other formats (pickle, zip, ONNX, HDF5) by their magic.
 * Checks every tensor's presence and shape against the shape. */
int hold_model_files_open(struct hold_model_files *out, const char *path, struct hold_error *err);
/* EDATA when a file of weights has been written to since it was opened: what was read then is not
 * what content_id names. */
int hold_model_files_check(const struct hold_model_files *f, struct hold_error *err);
void hold_model_files_release(struct hold_model_files *f);

/* f32 rows of q or k (heads * head_dim, cols) from GGUF's order to Hugging Face's, in place;
 * scratch: head_dim * cols floats. */
void hold_unpermute_rows(float *w, int64_t heads, int64_t head_dim, int64_t cols, float *scratch);

/* A PEFT LoRA adapter in memory, f32. Factors by module name without prefix
 * ("model.layers.0.self_attn.q_proj"). */
struct hold_lora_pair {
    char *module;
    int64_t out, in, r;
    float *a; /* (r, in) */
    float *b; /* (out, r) */
};
struct hold_adapter {
    int64_t r;
    double alpha, dropout;
    char *base_model; /* base_model_name_or_path, or NULL */
    char *base_hash;  /* content id of the base, kept as "holdfast_base" in the metadata of
                         adapter_model.safetensors (peft warns of unknown keys in
                         adapter_config.json); NULL: not ours */
    json_t *profile;  /* our inference profile beside the adapter (inference.json), or NULL */
    int64_t n_pairs;
    struct hold_lora_pair *pairs; /* sorted by module name */
};
/* Scale of a pair is alpha / r.  Rejects DoRA, rsLoRA, rank_pattern, biases and modules_to_save by
 * name, tensors that are no LoRA factor, non-finite values, wrong shapes. */
int hold_adapter_read(struct hold_adapter *out, const char *dir, struct hold_error *err);
/* Each pair is one of the shape's linear layers with its sizes, and the base hash, when there is
 * one, is content_id.  `path` starts the messages. */
int hold_adapter_fits(const struct hold_adapter *a, const struct hold_shape *shape,
                      const char *content_id, const char *path, struct hold_error *err);
/* Writes adapter_model.safetensors (PEFT keys, f32), with a profile inference.json, and last
 * adapter_config.json, into an existing folder. */
int hold_adapter_write(const struct hold_adapter *a, const char *dir, struct hold_error *err);
void hold_adapter_release(struct hold_adapter *a);

/* Write a whole model folder (config.json, model.safetensors of the given tensors under Hugging
 * Face names, tokenizer files copied from `from` or rebuilt from its GGUF vocabulary). */
int hold_model_folder_write(const char *dir, const struct hold_model_files *from,
                            const struct hold_to_store *tensors, int64_t n, struct hold_error *err);
/* Write the folder's HOLD_IDENTITY_FILE; merged_id NULL or "", profile NULL: none.  Nothing to say:
 * no file. */
int hold_identity_write(const char *dir, const char *merged_id, const json_t *profile,
                        struct hold_error *err);

#endif
