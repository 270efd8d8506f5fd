/* parts.h: what the files of this room share: the forest of prompts, text, sampling, the engine. */
#ifndef HOLD_INFER_PARTS_H
#define HOLD_INFER_PARTS_H

#include "infer/generate.h"

/* --- forest.c: prompts with their shared prefixes once, and the cache slots of their tokens ---
 *
 * A prompt's last token belongs to the row that decodes it, so that several rows may go on from
 * one prompt; the forest holds all tokens before it. */
struct hold_prefix {
    int32_t parent, first, len; /* as struct hold_segment */
    int32_t filled;             /* its first tokens whose keys are in the cache */
    bool placed;                /* its tokens have slots */
    int64_t users;              /* rows that see it and have not ended */
};
struct hold_forest {
    struct hold_batch batch; /* ids and positions of the tokens */
    int64_t n;               /* prompts */
    struct hold_prefix *prefix;
    int32_t *leaf;    /* n: last prefix of each prompt; -1: a prompt of one token */
    int64_t *order;   /* n: prompts depth first, so that neighbours share */
    int32_t *slot;    /* of each token of the forest */
    int32_t *path;    /* scratch: as many entries as the longest path has prefixes */
    int32_t *pending; /* prefixes placed but not yet filled: [pending_first, pending_end) */
    int64_t pending_first, pending_end, pending_tokens;
    unsigned char *used; /* n_slots */
    int64_t n_slots, n_free, lowest_free, first_slot;
};
/* rows_each: rows that go on from each prompt. */
int hold_forest_build(struct hold_forest *f, const struct hold_ids *prompts, int64_t n,
                      int64_t rows_each, struct hold_error *err);
void hold_forest_release(struct hold_forest *f);
/* Slots that keep `window` neighbouring prompts in the cache at once, and some to spare. */
int64_t hold_forest_need(const struct hold_forest *f, int64_t window);
/* Take n_slots cache slots, numbered from first_slot on, for the forest's tokens. */
int hold_forest_open(struct hold_forest *f, int64_t first_slot, int64_t n_slots,
                     struct hold_error *err);
/* Give slots to the path of a leaf and queue what must be filled; false: not enough are free. */
bool hold_forest_place(struct hold_forest *f, int32_t leaf);
/* A row has ended: prefixes that nobody needs any more give their slots back. */
void hold_forest_leave(struct hold_forest *f, int32_t leaf);
static inline bool hold_forest_ready(const struct hold_forest *f, int32_t leaf) {
    return leaf < 0 || f->prefix[leaf].filled == f->prefix[leaf].len;
}
/* Tokens on the path of a leaf. */
int64_t hold_forest_depth(const struct hold_forest *f, int32_t leaf);

struct hold_span_list {
    struct hold_span *item;
    int64_t n, cap;
};
/* Append slots [first, first + len) to the spans of one run, which begin at `start`; what touches
 * the last of them becomes part of it. */
int hold_spans_add(struct hold_span_list *s, int64_t start, int32_t first, int32_t len,
                   struct hold_error *err);
/* Append the path of `leaf`, of the leaf itself only the first `upto` tokens. */
int hold_forest_spans(struct hold_forest *f, int32_t leaf, int32_t upto, struct hold_span_list *s,
                      struct hold_error *err);

/* --- sample.c --- */
struct hold_sampler {
    const struct hold_generate_options *options;
    int64_t vocab;
    struct hold_candidate {
        double weight;
        int32_t id;
    } * candidate; /* vocab */
};
int hold_sampler_init(struct hold_sampler *s, const struct hold_generate_options *options,
                      int64_t vocab, struct hold_error *err);
void hold_sampler_release(struct hold_sampler *s);
/* The token at `position` of `row` for its logits; -1: no logit is finite. */
int32_t hold_sampler_pick(struct hold_sampler *s, const float *logits, int64_t row,
                          int64_t position);

/* --- text.c --- */
/* Append n bytes as valid UTF-8 without NUL (see struct hold_generated). */
void hold_text_clean(const char *bytes, size_t n, struct hold_str *out);
/* Replace `out` by the text of ids.  raw: scratch. */
int hold_text_decode(const struct hold_tokenizer *t, const int32_t *ids, int64_t n,
                     struct hold_str *raw, struct hold_str *out, struct hold_error *err);
/* Where the first stop string begins, at or after `from`; -1: nowhere. */
int64_t hold_text_stop(const struct hold_str *text, size_t from,
                       const struct hold_generate_options *options);
/* Bytes at the end of text that may be the beginning of a stop string. */
size_t hold_text_held(const struct hold_str *text, const struct hold_generate_options *options);

/* --- engine.c --- */
struct hold_piece {
    int (*say)(void *user, const char *text, size_t n); /* NULL: nobody listens */
    void *user;
};
/* As hold_generate, options already checked and filled in; out is zeroed.  piece: for one row. */
int hold_engine_run(struct hold_model *m, const struct hold_ids *prompts, int64_t n,
                    const struct hold_generate_options *options, const struct hold_piece *piece,
                    const struct hold_ctx *ctx, struct hold_generated *out, struct hold_error *err);

#endif
