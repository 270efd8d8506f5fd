/* internal.h: what the files of the tokenizer share and nobody else sees. */
#ifndef HOLD_TOKENIZER_INTERNAL_H
#define HOLD_TOKENIZER_INTERNAL_H

#include "tokenizer/added.h"
#include "tokenizer/bpe.h"
#include "tokenizer/pretok.h"
#include "tokenizer/tokenizer.h"

struct hold_tokenizer {
    int32_t n;
    char *blob;              /* all texts and bytes below */
    const char **text;       /* n; NUL-terminated; NULL: no such id */
    const char **bytes;      /* n; what the piece stands for */
    uint32_t *n_bytes;       /* n */
    unsigned char *types;    /* n; enum hold_piece_type */
    struct hold_names names; /* bytes -> id; without control and added tokens */
    int32_t byte_ids[256];   /* -1: the vocabulary has no piece for the byte */
    struct hold_pairs pairs;
    struct hold_pretok *pretok;
    struct hold_added_set *added;
    bool has_normalized; /* some added token is looked for after normalisation */
    bool nfc, ignore_merges, fuse_unk, add_bos, add_eos;
    int32_t bos, eos, unk;
    char hash[65];
};

/* As hold_tokenizer_new, with the added tokens told apart: their text is literal, and each is a
 * piece of `vocab` whose type is CONTROL or USER. */
int hold_tokenizer_build(struct hold_tokenizer **out, const struct hold_vocab *vocab,
                         const struct hold_added *added, size_t n_added, bool fuse_unk,
                         struct hold_error *err);

/* The byte that a character of the GPT-2 byte alphabet stands for, or -1. */
int hold_alphabet_byte(int32_t c);

#endif
