/* gguf.h: GGUF v2/v3 files, read: mapped, every size checked before use, every tensor inside the
 * file and next to its neighbour, nothing after the last one. */
#ifndef HOLD_FORMATS_GGUF_H
#define HOLD_FORMATS_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "base/status.h"
#include "formats/tensors.h"

struct hold_gguf;
int hold_gguf_open(struct hold_gguf **out, const char *path, struct hold_error *err);
void hold_gguf_free(struct hold_gguf *g);
const struct hold_map *hold_gguf_map(const struct hold_gguf *g); /* the file's own bytes */

/* Metadata by key.  The _or forms give the default when the key is missing; a value of another
 * type is always an error naming file and key. */
bool hold_gguf_has(const struct hold_gguf *g, const char *key);
bool hold_gguf_is_array(const struct hold_gguf *g, const char *key);
int hold_gguf_int_or(const struct hold_gguf *g, const char *key, int64_t def, int64_t *out,
                     struct hold_error *err); /* any integer type, or bool */
int hold_gguf_real_or(const struct hold_gguf *g, const char *key, double def, double *out,
                      struct hold_error *err);
int hold_gguf_text_or(const struct hold_gguf *g, const char *key, const char *def, const char **out,
                      struct hold_error *err); /* NUL-terminated copy owned by g */
/* Arrays (of bools as integers 0 and 1): count and borrowed items; a missing key is ENOTFOUND.
 * Texts are NUL-terminated copies owned by g. */
int hold_gguf_texts(const struct hold_gguf *g, const char *key, const char *const **items,
                    const int32_t **lengths, int64_t *n, struct hold_error *err);
int hold_gguf_ints(const struct hold_gguf *g, const char *key, const int32_t **items, int64_t *n,
                   struct hold_error *err);
int hold_gguf_reals(const struct hold_gguf *g, const char *key, const float **items, int64_t *n,
                    struct hold_error *err);

/* Metadata entry i in file order, for copying into another file: its key, the number of its type
 * and the bytes of its value as the file has them (an array's with its own head); false past the
 * last.  All is owned by g. */
struct hold_gguf_entry {
    const char *key;
    uint32_t type;
    const void *bytes;
    size_t n;
};
bool hold_gguf_entry(const struct hold_gguf *g, int64_t i, struct hold_gguf_entry *out);

/* All tensors, in file order; borrowed, data mapped. Shapes are outermost first (rows, cols):
 * GGUF's order reversed. */
const struct hold_stored *hold_gguf_tensors(const struct hold_gguf *g, int64_t *n);

#endif
