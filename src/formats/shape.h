/* shape.h: the shape of a decoder from GGUF metadata or config.json and back, and the list of its
 * tensors under both files' names. */
#ifndef HOLD_FORMATS_SHAPE_H
#define HOLD_FORMATS_SHAPE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "formats/hf.h"

/* Read and check.  What this engine does not compute (other architectures and rope scalings, other
 * biases, experts, soft caps, quantised configs) is EUNSUPPORTED by its name; numbers out of bounds
 * are EFORMAT by their key.  From GGUF, `tied` is left false: the tensors tell. */
int hold_shape_from_gguf(struct hold_shape *out, const struct hold_gguf *g, const char *where,
                         struct hold_error *err);
int hold_shape_from_config(struct hold_shape *out, const json_t *config, const char *where,
                           struct hold_error *err);
/* The query_scalar that a GGUF file of this shape means: no key tells it. */
double hold_shape_gguf_scalar(const struct hold_shape *s);
/* Llama 3's rope scaling from the head_dim / 2 divisors that GGUF keeps as a tensor; divisors of
 * another kind are EUNSUPPORTED. */
int hold_shape_rope_from_divisors(struct hold_shape *s, const float *divisors, const char *where,
                                  struct hold_error *err);
/* config.json as the family's class in transformers reads it; dtype: "float32". New reference, NULL
 * when memory is out. */
json_t *hold_shape_to_config(const struct hold_shape *shape, const char *dtype);

/* The tensors of a model: embedding, each layer's, last norm, and the head when it is not tied. */
struct hold_part {
    char hf[96], gguf[64];
    int n_dims;
    int64_t dim[2];
    float fresh; /* a vector in an untrained model: 1 a gain, 0 a bias or a gain's w of 1 + w */
};
int64_t hold_part_count(const struct hold_shape *shape);
void hold_part_get(const struct hold_shape *shape, int64_t i, struct hold_part *out);

/* --- shared by shape's files --- */

/* The whole numbers of a shape, their keys in both files (GGUF's after "ARCHITECTURE.") and their
 * bounds. */
struct hold_shape_field {
    size_t offset;
    const char *gguf, *hf;
    int64_t max;
};
enum { HOLD_SHAPE_FIELDS = 8 };
extern const struct hold_shape_field hold_shape_fields[HOLD_SHAPE_FIELDS];
static inline int64_t *hold_shape_field(struct hold_shape *s, const struct hold_shape_field *f) {
    return (int64_t *)(void *)((char *)s + f->offset);
}
int hold_shape_check_field(struct hold_shape *s, const struct hold_shape_field *f,
                           const char *where, bool gguf, struct hold_error *err);
/* Checks between fields, the same for both files. */
int hold_shape_check(const struct hold_shape *s, bool gguf, const char *where,
                     struct hold_error *err);
/* The family of that model_type (or, gguf, of that general.architecture); HOLD_FAMILIES: none. */
enum hold_family hold_shape_family(const char *name, bool gguf);
/* The families' names for a message: "llama, mistral, ..." */
void hold_shape_family_names(bool gguf, char *out, size_t size);
/* The dimension of a head when no key gives it; 0 (out of bounds) when it does not divide. */
static inline int64_t hold_shape_head_dim(const struct hold_shape *s) {
    return s->n_heads > 0 && s->d_model % s->n_heads == 0 ? s->d_model / s->n_heads : 0;
}

#endif
