/* charsmap.h: SentencePiece's compiled map of characters ("Precompiled" in tokenizer.json): a
 * double-array trie from short texts to what stands for them.
 */
#ifndef HOLD_TOKENIZER_CHARSMAP_H
#define HOLD_TOKENIZER_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/hash.h"
#include "base/status.h"

struct hold_charsmap;

/* From base64: the trie's size in bytes (32 bits, little endian), its units (32 bits each, as
 * darts-clone writes them), then the replacements, each ended by a NUL.  `where` starts messages
 * (EFORMAT).  The caller owns *out. */
int hold_charsmap_new(struct hold_charsmap **out, const char *base64, const char *where,
                      struct hold_error *err);
void hold_charsmap_free(struct hold_charsmap *m);
void hold_charsmap_hash(const struct hold_charsmap *m, struct hold_hash *hash);
/* What stands for text[0, n), valid UTF-8: the replacement of the shortest beginning of it that the
 * map knows, as `tokenizers` has it.  False: the map knows none.  *to belongs to m, NUL-terminated,
 * valid UTF-8. */
bool hold_charsmap_find(const struct hold_charsmap *m, const char *text, size_t n, const char **to);

#endif
