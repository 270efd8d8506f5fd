/* vocab.h: a tokenizer's vocabulary out of GGUF metadata, and as Hugging Face's tokenizer.json. */
#ifndef HOLD_FORMATS_VOCAB_H
#define HOLD_FORMATS_VOCAB_H

#include <jansson.h>

#include "base/status.h"
#include "formats/gguf.h"
#include "tokenizer/tokenizer.h"

/* Fill `out` with what g says; strings are borrowed from g.  `types` is allocated and stays the
 * caller's (hold_free). */
int hold_vocab_from_gguf(struct hold_vocab *out, enum hold_piece_type **types,
                         const struct hold_gguf *g, const char *where, struct hold_error *err);
/* The vocabulary as tokenizer.json (byte-level BPE only).  New reference. */
int hold_vocab_to_json(json_t **out, const struct hold_vocab *v, const char *where,
                       struct hold_error *err);

#endif
