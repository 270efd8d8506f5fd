/* internal.h: what the files of the tokenizer share and nobody else sees. */
#ifndef HOLD_TOKENIZER_INTERNAL_H
#define HOLD_TOKENIZER_INTERNAL_H

#include "tokenizer/added.h"
#include "tokenizer/bpe.h"
#include "tokenizer/normalize.h"
#include "tokenizer/pretok.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unigram.h"

/* How pieces become text beyond their bytes. */
struct hold_decoder {
    bool byte_runs; /* a run of byte pieces that is not UTF-8: each byte is U+FFFD */
    bool strip_all; /* of the first piece's blanks none is text (Metaspace), ... */
    size_t strip;   /* ... or at most so many at the beginning of the text are not */
};

struct hold_tokenizer {
    int32_t n;
    char *blob;              /* all texts and bytes below */
    const char **text;       /* n; NUL-terminated; NULL: no such id */
    const char **bytes;      /* n; what the piece stands for */
    uint32_t *n_bytes;       /* n */
    unsigned char *types;    /* n; enum hold_piece_type */
    bool chars;              /* SentencePiece: pieces are of characters, not of bytes */
    struct hold_names names; /* bytes (or text, of chars) -> id; without control and added tokens */
    int32_t byte_ids[256];   /* -1: the vocabulary has no piece for the byte */
    int32_t ascii[128];      /* of chars: ids of one-character pieces, -1: none */
    bool glued[256];         /* of chars: some piece has U+2581 behind this byte */
    struct hold_unigram *unigram; /* NULL: BPE */
    struct hold_normalizer *normalizer;
    struct hold_decoder decoder;
    struct hold_pairs pairs;
    struct hold_pretok *pretok;
    struct hold_added_set *added;
    bool has_normalized; /* some added token is looked for after normalisation */
    bool ignore_merges, fuse_unk, byte_fallback, add_bos, add_eos;
    int32_t bos, eos, unk;
    int32_t rows;           /* of the embedding; INT32_MAX: not told */
    int32_t named_unk, pad; /* as the file says, whatever they are good for */
    char hash[65];
};

/* What tokenizer.json says beyond a vocabulary. */
struct hold_tokenizer_extra {
    const struct hold_added *added; /* literal; each is a CONTROL or USER piece of the vocabulary */
    size_t n_added;
    /* n_pieces: which pieces the model lists itself.  An added token that it lists is also what
     * merges make, unless it is a CONTROL piece.  NULL: no added token is. */
    const bool *listed;
    bool fuse_unk;
    bool normal; /* the added tokens that are looked for after normalisation are normal already */
    struct hold_decoder decoder;
    const json_t *decoder_json; /* instead, with `where` to start messages; needs the JSON's own */
    const char *where;          /* NULL: `decoder` holds */
};
/* As hold_tokenizer_new, with the added tokens told apart. */
int hold_tokenizer_build(struct hold_tokenizer **out, const struct hold_vocab *vocab,
                         const struct hold_tokenizer_extra *extra, struct hold_error *err);

/* "decoder" of tokenizer.json (decode.c); byte_level: of a byte-level vocabulary. */
int hold_decoder_json(struct hold_decoder *out, const json_t *spec, bool byte_level,
                      const char *where, struct hold_error *err);

/* SentencePiece pieces (chars.c). */
#define HOLD_BLANK "\xE2\x96\x81" /* U+2581, which stands for a space */
/* The byte that "<0x41>" names, or -1. */
int hold_byte_piece(const char *text, size_t n);
/* The text that a piece stands for: U+2581 is a space.  The count of bytes written to out. */
size_t hold_chars_bytes(const char *text, size_t n, char *out);
/* Fill ascii and glued from names, which is complete. */
void hold_chars_prepare(struct hold_tokenizer *t);
/* Merges of a vocabulary that has scores instead: two pieces whose texts make up a third merge, the
 * higher its score the earlier. */
int hold_chars_merges(struct hold_tokenizer *t, const struct hold_vocab *v, struct hold_error *err);
/* The unigram model of a vocabulary's scores. */
int hold_chars_unigram(struct hold_tokenizer *t, const struct hold_vocab *v,
                       struct hold_error *err);
/* Where the word that begins at `at` ends: no piece reaches over its end. */
size_t hold_chars_word(const struct hold_tokenizer *t, const char *text, size_t at, size_t n);
/* The symbols that text[begin, end) starts as: pieces of characters, else of bytes, else the
 * unknown piece. */
int hold_chars_symbols(const struct hold_tokenizer *t, const char *text, size_t begin, size_t end,
                       struct hold_word *w, struct hold_error *err);

/* The byte that a character of the GPT-2 byte alphabet stands for, or -1. */
int hold_alphabet_byte(int32_t c);

#endif
