/* generate.h: batched decoding over a key/value cache: shared prefixes once, greedy and sampled,
 * rows that finish leave the batch.  Greedy batched decoding equals single decoding except where
 * the two best logits are closer than 1e-4; those steps are counted. */
#ifndef HOLD_INFER_GENERATE_H
#define HOLD_INFER_GENERATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ctx.h"
#include "base/status.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

struct hold_generate_options {
    int64_t max_tokens;      /* new tokens a row */
    double temperature;      /* 0: greedy */
    double top_p;            /* 1: off */
    int64_t top_k;           /* 0: off */
    uint64_t seed;           /* keyed by (seed, row, position): independent of batch neighbours */
    int64_t batch;           /* rows decoded together; 0: 64 */
    const char *const *stop; /* strings, or NULL; the text ends before the first found */
    int n_stop;
    int64_t n; /* samples a row; 0: 1 (for temperature > 0) */
};
enum hold_finish { HOLD_FINISH_STOP, HOLD_FINISH_LENGTH, HOLD_FINISH_INTERRUPTED };
const char *hold_finish_name(enum hold_finish f); /* "stop", "length", "interrupted" */

struct hold_generated {
    int32_t *ids; /* without the end-of-turn token */
    int64_t n_ids;
    char *text; /* decoded, control tokens left out; valid UTF-8 (a cut character is dropped) */
    enum hold_finish finish;
    int64_t close_calls; /* greedy steps whose two best logits were closer than 1e-4 */
};
/* prompts: n id lists.  out: n entries (n * options->n when > 1), row-major, owned by the caller
 * after success (hold_generated_free).  Order is input order whatever is batched together. */
int hold_generate(struct hold_model *m, const struct hold_ids *prompts, int64_t n,
                  const struct hold_generate_options *options, const struct hold_ctx *ctx,
                  struct hold_generated *out, struct hold_error *err);
void hold_generated_free(struct hold_generated *g, int64_t n);

/* One row, token by token: `piece` gets whole UTF-8 characters as they become known and returns
 * non-zero to stop.  For chat. */
int hold_generate_stream(struct hold_model *m, const struct hold_ids *prompt,
                         const struct hold_generate_options *options,
                         int (*piece)(void *user, const char *text, size_t n), void *user,
                         const struct hold_ctx *ctx, struct hold_generated *out,
                         struct hold_error *err);

/* Teacher-forced scores: per row the summed log-probability of its trained tokens and their
 * number; `out` has n entries. Shared prefixes are computed once. */
struct hold_row_score {
    double logp;
    int64_t n;
};
int hold_score(struct hold_model *m, const struct hold_example *const *rows, int64_t n,
               int64_t batch_tokens, const struct hold_ctx *ctx, struct hold_row_score *out,
               struct hold_error *err);

#endif
