/* generate.c: generation's entry points: what options may say, and the life of results. */
#include "infer/generate.h"

#include <math.h>
#include <string.h>

#include "infer/parts.h"

enum { DEFAULT_BATCH = 128 };

const char *hold_finish_name(enum hold_finish f) {
    static const char *const NAMES[] = {"stop", "length", "interrupted", "decided"};
    return NAMES[f];
}

static int check_options(const struct hold_generate_options *o, struct hold_error *err) {
    if (o->max_tokens < 1)
        return hold_fail(err, HOLD_EUSAGE, "max_tokens: found %lld, expected at least 1",
                         (long long)o->max_tokens);
    if (!(o->temperature >= 0.0) || isinf(o->temperature))
        return hold_fail(err, HOLD_EUSAGE, "temperature: expected a finite number, 0 or more");
    if (!(o->top_p >= 0.0 && o->top_p <= 1.0))
        return hold_fail(err, HOLD_EUSAGE, "top_p: expected a number from 0 to 1");
    if (o->top_k < 0 || o->batch < 0 || o->n < 0)
        return hold_fail(err, HOLD_EUSAGE, "top_k, batch and n: expected 0 or more");
    for (int i = 0; i < o->n_stop; i++)
        if (o->stop[i][0] == '\0' || hold_utf8_check(o->stop[i], strlen(o->stop[i])) >= 0)
            return hold_fail(err, HOLD_EUSAGE,
                             "stop string %d: expected UTF-8 text that is not empty", i + 1);
    return HOLD_OK;
}

static int run(struct hold_model *m, const struct hold_ids *prompts, int64_t n,
               const struct hold_generate_options *options, const struct hold_piece *piece,
               const struct hold_ctx *ctx, struct hold_generated *out, struct hold_error *err) {
    struct hold_generate_options o = *options;
    int rc = check_options(&o, err);
    if (rc < 0)
        return rc;
    o.batch = o.batch == 0 ? DEFAULT_BATCH : o.batch;
    o.n = o.n == 0 ? 1 : o.n;
    if (n < 0 || n > INT32_MAX || o.n > INT32_MAX / (n + 1))
        return hold_fail(err, HOLD_EUSAGE, "%lld prompts of %lld samples are too many",
                         (long long)n, (long long)o.n);
    if (n == 0)
        return HOLD_OK;
    memset(out, 0, (size_t)(n * o.n) * sizeof *out);
    rc = hold_engine_run(m, prompts, n, &o, piece, ctx, out, err);
    if (rc < 0 && rc != HOLD_EINTERRUPTED)
        hold_generated_free(out, n * o.n);
    return rc;
}

int hold_generate(struct hold_model *m, const struct hold_ids *prompts, int64_t n,
                  const struct hold_generate_options *options, const struct hold_ctx *ctx,
                  struct hold_generated *out, struct hold_error *err) {
    return run(m, prompts, n, options, NULL, ctx, out, err);
}

void hold_generated_free(struct hold_generated *g, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        hold_free(g[i].ids);
        hold_free(g[i].text);
        g[i] = (struct hold_generated){0};
    }
}

int hold_generate_stream(struct hold_model *m, const struct hold_ids *prompt,
                         const struct hold_generate_options *options,
                         int (*piece)(void *user, const char *text, size_t n), void *user,
                         const struct hold_ctx *ctx, struct hold_generated *out,
                         struct hold_error *err) {
    struct hold_piece listener = {piece, user};
    struct hold_generate_options one = *options;
    one.n = 1;
    return run(m, prompt, 1, &one, &listener, ctx, out, err);
}
