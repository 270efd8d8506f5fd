/* safetensors.h: safetensors files and sharded folders, read (mapped, header checked: exact cover,
 * no overlap, no gap) and written atomically. */
#ifndef HOLD_FORMATS_SAFETENSORS_H
#define HOLD_FORMATS_SAFETENSORS_H

#include <jansson.h>
#include <stdint.h>

#include "base/file.h"
#include "base/status.h"
#include "formats/tensors.h"

struct hold_safetensors;
/* A file, or a folder with model.safetensors or model.safetensors.index.json and its shards.
 * Inside a folder no symbolic link is followed, but those of Hugging Face's cache
 * ("../../blobs/HASH"). */
int hold_safetensors_open(struct hold_safetensors **out, const char *path, struct hold_error *err);
void hold_safetensors_free(struct hold_safetensors *s);
const struct hold_stored *hold_safetensors_tensors(const struct hold_safetensors *s, int64_t *n);
/* The string "__metadata__" object of the (first) file, or NULL; borrowed. */
const json_t *hold_safetensors_metadata(const struct hold_safetensors *s);
/* The files' own bytes, sorted by name; name is without folder; NULL past the last. Borrowed. */
const struct hold_map *hold_safetensors_file(const struct hold_safetensors *s, int64_t i,
                                             const char **name);

/* What to write: data is f32 in memory, converted to `type` (F32, F16, BF16) on the way, or taken
 * as it is for I32/I64/U8/F64. */
struct hold_to_store {
    const char *name;
    enum hold_stored_type type;
    int n_dims;
    int64_t dim[4];
    const void *data;
};
/* Atomic.  A number that F16 or BF16 cannot hold (hold_stored_from_f32) is EDATA naming the tensor.
 * Tensors are written in the given order; metadata (string values) may be NULL.  Names
 * that are there twice are refused. */
int hold_safetensors_write(const char *path, const struct hold_to_store *tensors, int64_t n,
                           const json_t *metadata, struct hold_error *err);
/* The same for F32 tensors that are not in host memory: numbers [first, first + n) of tensor i are
 * asked for piece by piece; `data` is not looked at. */
struct hold_store_source {
    void (*fetch)(void *user, int64_t i, int64_t first, int64_t n, float *out);
    void *user;
};
int hold_safetensors_write_from(const char *path, const struct hold_to_store *tensors, int64_t n,
                                const struct hold_store_source *source, const json_t *metadata,
                                struct hold_error *err);

#endif
