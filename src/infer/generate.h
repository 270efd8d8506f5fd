/* generate.h: batched decoding over a key/value cache: shared prefixes once, greedy and sampled,
 * rows that finish leave the batch and the next ones enter.  Greedy batched decoding equals single
 * decoding except where the two best logits are closer than 1e-4; those steps are counted. */
#ifndef HOLD_INFER_GENERATE_H
#define HOLD_INFER_GENERATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ctx.h"
#include "base/status.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

struct hold_generate_options {
    int64_t max_tokens; /* new tokens a row, > 0; a row also ends where the model's context does */
    double temperature; /* 0: greedy */
    double top_p;       /* 0 or 1: off; otherwise the fewest best tokens of at least this share */
    int64_t top_k;      /* 0: off; taken before top_p */
    uint64_t seed;      /* keyed by (seed, row, position): independent of batch neighbours */
    int64_t batch;      /* rows decoded together; 0: 128; fewer when the cache would not fit */
    const char *const *stop; /* strings (UTF-8), or NULL; the text ends before the first found */
    int n_stop;
    int64_t n; /* samples a row; 0: 1 (for temperature > 0) */
    /* Asked after every token of a row that goes on, with its text so far: is what the caller wants
     * to know of `row` decided?  Then the row ends there, as `decided`.  NULL: rows run to their
     * end. */
    bool (*decided)(void *user, int64_t row, const char *text);
    void *decided_user;
};
enum hold_finish {
    HOLD_FINISH_STOP,
    HOLD_FINISH_LENGTH,
    HOLD_FINISH_INTERRUPTED,
    HOLD_FINISH_DECIDED
};
const char *hold_finish_name(enum hold_finish f); /* "stop", "length", "interrupted", "decided" */

struct hold_generated {
    int32_t *ids; /* without the end-of-turn token; with those that spell a stop string */
    int64_t n_ids;
    /* Decoded, control tokens left out; valid UTF-8: a cut character at the end is dropped, other
     * invalid bytes (and NUL) read as U+FFFD. */
    char *text;
    enum hold_finish finish;
    int64_t close_calls; /* greedy steps whose two best logits were closer than 1e-4 */
};
/* prompts: n id lists, none empty.  out: n entries (n * options->n when > 1), row-major, owned by
 * the caller after success (hold_generated_free).  Order is input order whatever is batched
 * together.  When ctx says stop the call returns EINTERRUPTED and out is owned by the caller just
 * the same: rows that had not ended are `interrupted`, with what they had.  After other errors out
 * holds nothing. */
int hold_generate(struct hold_model *m, const struct hold_ids *prompts, int64_t n,
                  const struct hold_generate_options *options, const struct hold_ctx *ctx,
                  struct hold_generated *out, struct hold_error *err);
void hold_generated_free(struct hold_generated *g, int64_t n);

/* One row, token by token: `piece` gets whole UTF-8 characters as they become known and returns
 * non-zero to stop (the row is then `interrupted`, the call a success).  The pieces joined are
 * out->text.  For chat. */
int hold_generate_stream(struct hold_model *m, const struct hold_ids *prompt,
                         const struct hold_generate_options *options,
                         int (*piece)(void *user, const char *text, size_t n), void *user,
                         const struct hold_ctx *ctx, struct hold_generated *out,
                         struct hold_error *err);

/* Teacher-forced scores: per row the summed log-probability of its trained tokens (whatever their
 * weight) and their number; `out` has n entries.  Shared prefixes are computed once.  At most
 * batch_tokens tokens (0: 4096) go through the model together, but a longer row goes alone. */
struct hold_row_score {
    double logp;
    int64_t n;
};
int hold_score(struct hold_model *m, const struct hold_example *const *rows, int64_t n,
               int64_t batch_tokens, const struct hold_ctx *ctx, struct hold_row_score *out,
               struct hold_error *err);

#endif
