/* shape.h: the shape of a llama-family decoder from GGUF metadata or config.json and back, and the
 * list of its tensors under both files' names. */
#ifndef HOLD_FORMATS_SHAPE_H
#define HOLD_FORMATS_SHAPE_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"
#include "formats/hf.h"

/* Read and check.  What this engine does not compute (other architectures, rope scaling, biases,
 * sliding windows, experts, quantised configs) is EUNSUPPORTED by its name; numbers out of bounds
 * are EFORMAT by their key.  From GGUF, `tied` is left false: the tensors tell. */
int hold_shape_from_gguf(struct hold_shape *out, const struct hold_gguf *g, const char *where,
                         struct hold_error *err);
int hold_shape_from_config(struct hold_shape *out, const json_t *config, const char *where,
                           struct hold_error *err);
/* config.json as transformers' LlamaForCausalLM reads it; dtype: "float32". New reference, NULL
 * when memory is out. */
json_t *hold_shape_to_config(const struct hold_shape *shape, const char *dtype);

/* The tensors of a model: embedding, each layer's, last norm, and the head when it is not tied. */
struct hold_part {
    char hf[96], gguf[64];
    int n_dims;
    int64_t dim[2];
};
int64_t hold_part_count(const struct hold_shape *shape);
void hold_part_get(const struct hold_shape *shape, int64_t i, struct hold_part *out);

#endif
