/* vocab.h: a tokenizer's vocabulary out of GGUF metadata, and as Hugging Face's tokenizer.json. */
#ifndef HOLD_FORMATS_VOCAB_H
#define HOLD_FORMATS_VOCAB_H

#include <jansson.h>

#include "base/status.h"
#include "formats/gguf.h"
#include "formats/gguf_write.h"
#include "formats/hf.h"
#include "tokenizer/tokenizer.h"

/* Fill `out` with what g says; strings are borrowed from g.  `types` is allocated and stays the
 * caller's (hold_free). */
int hold_vocab_from_gguf(struct hold_vocab *out, enum hold_piece_type **types,
                         const struct hold_gguf *g, const char *where, struct hold_error *err);
/* A tokenizer as metadata: the tokenizer.* keys of a GGUF file as they are, or what a folder's
 * tokenizer.json and template say, with unused pieces up to `vocab` (the embedding's rows).
 * EUNSUPPORTED by name: a pre-tokenizer that GGUF has no name for that is known here, Unigram, and
 * merges that no scores of pieces could mean. */
int hold_vocab_to_gguf(struct hold_gguf_keys *keys, const struct hold_model_files *from,
                       int64_t vocab, struct hold_error *err);

/* Rules of byte-level vocabularies by the name that GGUF has for them, as tokenizer.json says them
 * ("normalizer" and "pre_tokenizer"). */
struct hold_pre_rules {
    const char *pre, *normalizer, *pre_tokenizer;
    bool ignore_merges;
};
enum { HOLD_PRE_RULES = 8 };
extern const struct hold_pre_rules hold_pre_rules[HOLD_PRE_RULES];

/* The vocabulary as tokenizer.json: byte-level BPE and SentencePiece BPE.  New reference.
 * EUNSUPPORTED by name: Unigram, a pre-tokenizer without rules above, pieces that JSON cannot hold
 * (two of one text, a NUL). */
int hold_vocab_to_json(json_t **out, const struct hold_vocab *v, const char *where,
                       struct hold_error *err);

#endif
