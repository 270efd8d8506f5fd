/* tokenizer.h: text <-> token ids by byte-level BPE, SentencePiece BPE or SentencePiece unigram.
 *
 * A tokenizer is made from a vocabulary description that a file format filled in (GGUF metadata,
 * tokenizer.json); after that it is immutable and may be shared by threads.  It reproduces Hugging
 * Face `tokenizers` built from the same pieces, merges and pre-tokenizer.
 */
#ifndef HOLD_TOKENIZER_TOKENIZER_H
#define HOLD_TOKENIZER_TOKENIZER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

enum hold_piece_type {
    HOLD_PIECE_NORMAL,
    HOLD_PIECE_CONTROL,
    HOLD_PIECE_USER,
    HOLD_PIECE_BYTE,
    HOLD_PIECE_UNUSED,
    HOLD_PIECE_UNKNOWN
};
enum hold_vocab_kind { HOLD_VOCAB_BPE, HOLD_VOCAB_SPM, HOLD_VOCAB_UNIGRAM };

/* What a file says about a vocabulary.  All arrays and strings are borrowed by
 * hold_tokenizer_new for the time of the call only. */
struct hold_vocab {
    enum hold_vocab_kind kind;
    int32_t n_pieces;
    const char *const *pieces;         /* n_pieces; byte-level pieces in the GPT-2 byte alphabet */
    const int32_t *lengths;            /* bytes of each piece, or NULL: NUL-terminated */
    const enum hold_piece_type *types; /* n_pieces, or NULL: all normal */
    const float *scores;               /* SPM, UNIGRAM (GGUF); else NULL */
    const double *weights;             /* UNIGRAM (tokenizer.json): its scores, NAN: none; NULL */
    int32_t n_merges;
    const char *const *merges;     /* "left right"; BPE, and SPM without scores */
    const char *pre;               /* pre-tokenizer by GGUF name ("smollm", "gpt-2", "llama-bpe",
                                      "qwen2", "mpt" ...; NULL or "default": gpt-2). "qwen2" and
                                      "mpt" also normalise to NFC, as their own tokenizers do */
    const json_t *pre_json;        /* tokenizer.json's "pre_tokenizer", or NULL; borrowed */
    const json_t *normalizer_json; /* tokenizer.json's "normalizer", or NULL; borrowed */
    bool ignore_merges;            /* whole pre-token in the vocabulary wins (Llama 3) */
    bool add_space_prefix, byte_fallback; /* SPM, UNIGRAM */
    int32_t bos, eos, unk, pad;           /* -1: none */
    bool add_bos, add_eos;                /* when special tokens are on */
};

struct hold_tokenizer;
int hold_tokenizer_new(struct hold_tokenizer **out, const struct hold_vocab *vocab,
                       struct hold_error *err);
/* From the text of a Hugging Face tokenizer.json (and tokenizer_config.json for bos/eos; may be
 * NULL). */
int hold_tokenizer_from_json(struct hold_tokenizer **out, const json_t *tokenizer,
                             const json_t *config, const char *where, struct hold_error *err);
void hold_tokenizer_free(struct hold_tokenizer *t);

/* A growing list of ids; zero it to start, hold_ids_release to end. */
struct hold_ids {
    int32_t *data;
    size_t len, cap;
};
int hold_ids_push(struct hold_ids *ids, int32_t id, struct hold_error *err);
void hold_ids_release(struct hold_ids *ids);

/* Append the ids of n bytes of text.  Control tokens in the text are recognised only with
 * `special`; otherwise they are ordinary text.  Added tokens that are not special (GGUF type
 * USER) are recognised always, as in `tokenizers`.  No BOS or EOS is added.  Invalid UTF-8: each
 * invalid byte is taken as U+FFFD (documented in docs/formats.md).  A byte that the vocabulary has
 * no piece for becomes tokenizer.json's unk_token unless that is a control token; else, as in
 * `tokenizers`, nothing (SmolLM2 lacks six ASCII control characters and the lead bytes of
 * unassigned planes). */
int hold_tokenizer_encode(const struct hold_tokenizer *t, const char *text, size_t n, bool special,
                          struct hold_ids *out, struct hold_error *err);

/* The same for text of mixed origin: byte i may belong to a special token only where control[i] is
 * non-zero; plain text is tokenised across origin borders, as `transformers` does on the joined
 * string.  `starts` (may be NULL) receives for every new id the offset of its first byte. */
int hold_tokenizer_encode_mixed(const struct hold_tokenizer *t, const char *text,
                                const unsigned char *control, size_t n, struct hold_ids *out,
                                struct hold_ids *starts, struct hold_error *err);

/* Append the text of ids as `tokenizers` decodes it; control tokens are left out unless `special`.
 * SentencePiece: a blank that encoding puts before the text is taken away, and a run of byte pieces
 * that is not valid UTF-8 is U+FFFD for each byte. Unknown ids: EDATA. */
int hold_tokenizer_decode(const struct hold_tokenizer *t, const int32_t *ids, size_t n,
                          bool special, struct hold_str *out, struct hold_error *err);

/* The same for ids that come in parts: the bytes of each piece whatever they are, so that a caller
 * can hold back what is not a whole character yet; `first`: the ids begin the text. */
int hold_tokenizer_decode_part(const struct hold_tokenizer *t, const int32_t *ids, size_t n,
                               bool special, bool first, struct hold_str *out,
                               struct hold_error *err);

int32_t hold_tokenizer_size(const struct hold_tokenizer *t);
/* The ids up to the last piece that is no added token. */
int32_t hold_tokenizer_own_size(const struct hold_tokenizer *t);
/* The embedding's rows: from then on a text that has a token beyond them is refused (EDATA). */
void hold_tokenizer_set_rows(struct hold_tokenizer *t, int32_t rows);
int32_t hold_tokenizer_bos(const struct hold_tokenizer *t);
int32_t hold_tokenizer_eos(const struct hold_tokenizer *t);
/* The pieces that the file names for what the vocabulary lacks and for padding; -1: none. */
int32_t hold_tokenizer_unknown(const struct hold_tokenizer *t);
int32_t hold_tokenizer_padding(const struct hold_tokenizer *t);
/* Does the vocabulary ask for BOS before, EOS after a text on its own? */
bool hold_tokenizer_adds_bos(const struct hold_tokenizer *t);
bool hold_tokenizer_adds_eos(const struct hold_tokenizer *t);
/* Say it of a vocabulary from tokenizer.json, whose model and pieces do not. */
void hold_tokenizer_set_adds(struct hold_tokenizer *t, bool bos, bool eos);
/* A piece that no plain text becomes; so not the one for what the vocabulary lacks. */
bool hold_tokenizer_is_control(const struct hold_tokenizer *t, int32_t id);
enum hold_vocab_kind hold_tokenizer_kind(const struct hold_tokenizer *t);
/* UNUSED out of range. */
enum hold_piece_type hold_tokenizer_type(const struct hold_tokenizer *t, int32_t id);
/* *same: these rules, "normalizer" and "pre_tokenizer" of a tokenizer.json (JSON null: none), do to
 * a text what t does before it looks for pieces. */
int hold_tokenizer_follows(const struct hold_tokenizer *t, const json_t *normalizer,
                           const json_t *pre_tokenizer, bool *same, struct hold_error *err);
/* Whether a whole pre-token that is a piece is taken as it is, and whether a character without a
 * piece falls back to those of its bytes. */
bool hold_tokenizer_ignores_merges(const struct hold_tokenizer *t);
bool hold_tokenizer_falls_back(const struct hold_tokenizer *t);
/* Id of a piece by its exact text ("<|im_end|>"), -1 when there is none. */
int32_t hold_tokenizer_find(const struct hold_tokenizer *t, const char *piece);
const char *hold_tokenizer_piece(const struct hold_tokenizer *t,
                                 int32_t id); /* borrowed, NULL out of range */
/* The merges, the earliest first: two pieces that become one.  Of a vocabulary of scores these are
 * what the scores mean.  The caller frees *out. */
struct hold_merge {
    int32_t rank, left, right;
};
int hold_tokenizer_merges(const struct hold_tokenizer *t, struct hold_merge **out, size_t *n,
                          struct hold_error *err);
/* True when text contains a special token's text (a data warning). */
bool hold_tokenizer_has_special_text(const struct hold_tokenizer *t, const char *text, size_t n);
/* SHA-256 over pieces, types, merges and rules: part of stage specs. */
void hold_tokenizer_hash(const struct hold_tokenizer *t, char hex[65]);

#endif
