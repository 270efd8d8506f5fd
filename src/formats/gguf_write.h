/* gguf_write.h: GGUF v3 files, written: the container (metadata, then tensors converted on the way
 * to the disk) and a whole model as llama.cpp's own converter lays it out.
 */
#ifndef HOLD_FORMATS_GGUF_WRITE_H
#define HOLD_FORMATS_GGUF_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"
#include "base/status.h"
#include "base/str.h"
#include "formats/gguf.h"
#include "formats/hf.h"
#include "formats/safetensors.h"
#include "formats/tensors.h"

/* --- metadata --- */

/* Metadata as it will stand in the file; zero it to start.  Adding never fails half-way: memory
 * that ran out is told by hold_gguf_write.  A key is added once. */
struct hold_gguf_keys {
    struct hold_str bytes;
    uint64_t n; /* keys */
};
void hold_gguf_keys_release(struct hold_gguf_keys *k);
void hold_gguf_add_int(struct hold_gguf_keys *k, const char *key, uint32_t value);
void hold_gguf_add_bool(struct hold_gguf_keys *k, const char *key, bool value);
void hold_gguf_add_real(struct hold_gguf_keys *k, const char *key, double value); /* as float32 */
void hold_gguf_add_text(struct hold_gguf_keys *k, const char *key, const char *value);
/* Arrays of n items. */
void hold_gguf_add_ints(struct hold_gguf_keys *k, const char *key, const int32_t *items, int64_t n);
void hold_gguf_add_reals(struct hold_gguf_keys *k, const char *key, const float *items, int64_t n);
void hold_gguf_add_texts(struct hold_gguf_keys *k, const char *key, const char *const *items,
                         int64_t n);
/* An entry of another file as it stands there. */
void hold_gguf_add_entry(struct hold_gguf_keys *k, const struct hold_gguf_entry *entry);

/* --- the file --- */

/* Write `path` atomically and whole: header, keys, and the n tensors in the given order, each at a
 * multiple of 32 bytes.  Types are F32, F16, BF16 and Q8_0; dims are outermost first, as
 * hold_stored has them.  Numbers [first, first + count) of tensor i are asked of `source` piece by
 * piece; `data` of a tensor is not looked at.  The same input gives the same bytes.
 *
 * Errors, with nothing left at `path`: ENOSPACE before the first byte when the file system has less
 * room than the file needs; EDATA naming the tensor when a number is not finite or does not fit its
 * type; EINTERRUPTED when ctx says stop.  ctx may be NULL. */
int hold_gguf_write(const char *path, const struct hold_gguf_keys *keys,
                    const struct hold_to_store *tensors, int64_t n,
                    const struct hold_store_source *source, const struct hold_ctx *ctx,
                    struct hold_error *err);

/* --- a model --- */

struct hold_gguf_model {
    const struct hold_shape *shape;
    const struct hold_model_files *from; /* its tokenizer, template and general.* keys are taken */
    enum hold_stored_type type;          /* F32, F16, BF16 or Q8_0: of matrices */
    const char *merged_id;               /* kept as "holdfast.merged_id"; NULL or "": none */
    const json_t *profile;               /* kept as "holdfast.profile"; NULL: none */
    /* The model's tensors under Hugging Face names, rows in Hugging Face's order, gains of 1 + w as
     * w; only the name is looked at, the numbers come from the source. */
    const struct hold_to_store *tensors;
    int64_t n_tensors;
    struct hold_store_source source;
};
/* Write a model as one GGUF file.  As llama.cpp's converter does it: vectors (norms, biases) are
 * F32 and matrices of `type`, embedding and head too; Q8_0 matrices whose rows are no multiple of
 * 32 become F16, which is logged; q and k of the architecture llama are permuted, Gemma's gains
 * raised by 1, Llama 3's rope scaling becomes rope_freqs.weight, a tied head is left out.
 *
 * Refused as EUNSUPPORTED by name: what GGUF has no key for (a query_pre_attn_scalar that does not
 * follow from the shape, a rope scaling of Llama 3's kind with other factors than its own or in
 * another architecture), and tokenizers as hold_vocab_to_gguf says.  Other errors as
 * hold_gguf_write. */
int hold_model_gguf_write(const char *path, const struct hold_gguf_model *model,
                          const struct hold_ctx *ctx, struct hold_error *err);

#endif
