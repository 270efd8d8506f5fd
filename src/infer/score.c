/* score.c: log-probabilities of given answers: a forward pass over trees, nothing recorded. */
#include <string.h>

#include "infer/parts.h"

enum { DEFAULT_TOKENS = 4096 };

struct scorer {
    struct hold_model *m;
    struct hold_space space;
    struct hold_tape tape;
    struct hold_arena host;
    struct hold_row_score *out;
};

/* Rows order[0..n) of `rows` in one pass. */
static int score_part(struct scorer *s, const struct hold_example *const *rows,
                      const int32_t *order, int32_t n, struct hold_error *err) {
    struct hold_batch batch = {0};
    struct hold_planned planned = {0};
    struct hold_tape *t = &s->tape;
    hold_arena_rewind(&s->host, (struct hold_arena_mark){0});
    const struct hold_example **list = hold_arena_alloc(&s->host, (size_t)n * sizeof *list);
    if (list == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a pass");
    for (int32_t i = 0; i < n; i++)
        list[i] = rows[order[i]];
    int rc = hold_batch_build(&batch, list, n, HOLD_TREE, err);
    if (rc == HOLD_OK)
        rc = hold_model_plan(&batch, &s->host, &planned, err);
    if (rc == HOLD_OK && planned.labels.n_labels > 0) {
        double sum = 0.0;
        double *logp = hold_arena_alloc(&s->host, (size_t)batch.n_labels * sizeof *logp);
        struct hold_space_mark mark = hold_space_mark(&s->space);
        if (logp == NULL) {
            rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for a pass");
        } else {
            struct hold_node *h = hold_model_forward(s->m, t, &planned.tokens, NULL, NULL, NULL);
            hold_loss_cross_entropy(t, h, &s->m->head, &planned.labels, 1.0f, logp, &sum);
            rc = hold_tape_check(t, err);
        }
        hold_tape_reset(t, mark);
        for (int32_t e = 0; rc == HOLD_OK && e < batch.n_labels; e++) {
            struct hold_row_score *o = &s->out[order[planned.label_example[e]]];
            o->logp += logp[e];
            o->n++;
        }
    }
    hold_batch_release(&batch);
    return rc;
}

static int check_ids(const struct hold_model *m, const struct hold_example *const *rows, int64_t n,
                     struct hold_error *err) {
    for (int64_t i = 0; i < n; i++)
        for (int32_t t = 0; t < rows[i]->n; t++)
            if (rows[i]->ids[t] < 0 || rows[i]->ids[t] >= m->shape.vocab)
                return hold_fail(
                    err, HOLD_EDATA, "row %lld: token %d is outside the vocabulary of %lld",
                    (long long)rows[i]->row, (int)rows[i]->ids[t], (long long)m->shape.vocab);
    return HOLD_OK;
}

int hold_score(struct hold_model *m, const struct hold_example *const *rows, int64_t n,
               int64_t batch_tokens, const struct hold_ctx *ctx, struct hold_row_score *out,
               struct hold_error *err) {
    struct scorer s = {.m = m, .out = out};
    void *order = NULL, *first = NULL;
    int32_t n_parts = 0;
    if (n < 0 || n > INT32_MAX || batch_tokens < 0 || batch_tokens > INT32_MAX)
        return hold_fail(err, HOLD_EUSAGE, "score: %lld rows, %lld tokens a pass are out of range",
                         (long long)n, (long long)batch_tokens);
    if (n == 0)
        return HOLD_OK;
    memset(out, 0, (size_t)n * sizeof *out);
    hold_space_init(&s.space, m->device);
    hold_tape_init(&s.tape, m->device, &s.space);
    hold_arena_init(&s.host, 0);
    int rc = check_ids(m, rows, n, err);
    if (rc == HOLD_OK)
        rc = hold_new(&order, (size_t)n, sizeof(int32_t), "scores", err);
    if (rc == HOLD_OK)
        rc = hold_new(&first, (size_t)n + 1, sizeof(int32_t), "scores", err);
    if (rc == HOLD_OK)
        rc = hold_batch_split(rows, (int32_t)n, HOLD_TREE,
                              batch_tokens == 0 ? DEFAULT_TOKENS : (int32_t)batch_tokens, order,
                              first, &n_parts, err);
    const int32_t *begin = first;
    for (int32_t i = 0; rc == HOLD_OK && i < n_parts; i++) {
        if (hold_stopped(ctx))
            rc = hold_fail(err, HOLD_EINTERRUPTED, "scoring stopped after %d of %lld rows",
                           (int)begin[i], (long long)n);
        else
            rc = score_part(&s, rows, (const int32_t *)order + begin[i], begin[i + 1] - begin[i],
                            err);
        if (rc == HOLD_OK && ctx != NULL && ctx->progress != NULL)
            ctx->progress(ctx->user, "scoring", begin[i + 1], n, "", -1.0);
    }
    hold_tape_release(&s.tape);
    hold_space_release(&s.space);
    hold_arena_release(&s.host);
    hold_free(order);
    hold_free(first);
    return rc;
}
