/* unigram.h: SentencePiece's unigram model: the most likely row of pieces, by Viterbi.
 *
 * Kudo 2018, "Subword Regularization", section 3; the tie rules are those of Hugging Face
 * `tokenizers` (the earliest start wins, which is the longest last piece).
 */
#ifndef HOLD_TOKENIZER_UNIGRAM_H
#define HOLD_TOKENIZER_UNIGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct hold_unigram;

/* A piece that text can become. */
struct hold_unigram_piece {
    const char *text;
    uint32_t len; /* 1 to HOLD_UNIGRAM_PIECE_MAX bytes */
    int32_t id;
    double score; /* log probability, finite */
};
enum { HOLD_UNIGRAM_PIECE_MAX = 256 };

/* Copies what it needs. */
int hold_unigram_new(struct hold_unigram **out, const struct hold_unigram_piece *pieces, size_t n,
                     struct hold_error *err);
void hold_unigram_free(struct hold_unigram *u);

/* Called for each piece of the best row in order: text[begin, end) is the piece `id`, or, id -1, a
 * run of characters that no piece covers. */
struct hold_unigram_sink {
    int (*piece)(void *user, int32_t id, size_t begin, size_t end, struct hold_error *err);
    void *user;
};
/* Cut n bytes of valid UTF-8.  O(n times the longest piece). */
int hold_unigram_run(const struct hold_unigram *u, const char *text, size_t n,
                     const struct hold_unigram_sink *sink, struct hold_error *err);

#endif
