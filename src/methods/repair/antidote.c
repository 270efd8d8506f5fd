/* antidote.c: after tuning, zero the weights that carry the harm most.
 *
 * Paper: Huang et al., "Antidote: Post-fine-tuning Safety Alignment for Large Language Models
 * against Harmful Fine-tuning", arXiv 2408.09600, alg. 1; score by Wanda (arXiv 2306.11695, eq. 1).
 *
 *     score_ij = |W_ij| sqrt(mean_t X_tj^2)      X: the layer's inputs over harmful rows
 *     in each output row, the top share dense_ratio by score becomes zero
 *
 * With LoRA the factors A and B are the layers that are scored, as in the released code.
 *
 * Deviations.  (1) One forward sweep of the unpruned model serves all layers; the released code
 * walks block by block with the same unpruned weights, so the inputs are the same.  (2) At least
 * one entry a row is pruned when dense_ratio > 0.  (3) Harmful rows are prompt and stand-in answer.
 * Controls: criterion random, magnitude, activation; calibration on general rows.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "methods/method.h"

struct state {
    double dense_ratio;
    const char *criterion, *calibration;
};

struct scored {
    double score;
    int64_t column;
};

/* Highest score first; the lower column wins among equals, so the order is total. */
static int higher_score(const void *a, const void *b) {
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->column < y->column ? -1 : 1;
}

static double score(const struct state *s, float w, double mean_square, uint64_t key) {
    if (strcmp(s->criterion, "magnitude") == 0)
        return fabs((double)w);
    if (strcmp(s->criterion, "activation") == 0)
        return sqrt(mean_square);
    if (strcmp(s->criterion, "random") == 0) { /* splitmix64 of the place */
        key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9u;
        key = (key ^ (key >> 27)) * 0x94D049BB133111EBu;
        return (double)((key ^ (key >> 31)) >> 11);
    }
    return fabs((double)w) * sqrt(mean_square);
}

static int64_t prune(const struct state *s, float *w, int64_t rows, int64_t cols,
                     const double *mean_square, uint64_t key, struct scored *list) {
    int64_t k = (int64_t)(s->dense_ratio * (double)cols);
    k = k < 1 ? 1 : k;
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t c = 0; c < cols; c++)
            list[c] =
                (struct scored){score(s, w[i * cols + c], mean_square[c],
                                      key + (uint64_t)(i * cols + c + 1) * 0x9E3779B97F4A7C15u),
                                c};
        qsort(list, (size_t)cols, sizeof *list, higher_score);
        for (int64_t c = 0; c < k; c++)
            w[i * cols + list[c].column] = 0.0f;
    }
    return k * rows;
}

static int edit(struct hold_editor *e, void *state, struct hold_error *err) {
    const struct state *s = state;
    int64_t n = hold_edit_pairs(e), widest = 0, pruned = 0;
    if (s->dense_ratio == 0.0)
        return hold_edit_note(e, "n_pruned", 0.0, err);
    for (int64_t i = 0; i < n; i++) {
        const struct hold_lora_pair *p = hold_edit_pair(e, i);
        widest = p->in > widest ? p->in : widest;
        widest = p->r > widest ? p->r : widest;
    }
    double *a_in = hold_calloc((size_t)widest, sizeof *a_in),
           *b_in = hold_calloc((size_t)widest, sizeof *b_in);
    struct scored *list = hold_calloc((size_t)widest, sizeof *list);
    int rc = a_in == NULL || b_in == NULL || list == NULL
                 ? hold_fail(err, HOLD_ENOMEMORY, "no memory for scores")
                 : HOLD_OK;
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++) {
        struct hold_lora_pair *p = hold_edit_pair(e, i);
        rc = hold_edit_input_squares(e, s->calibration, i, a_in, b_in, err);
        if (rc < 0)
            break;
        uint64_t key = hold_edit_seed(e) + (uint64_t)i * 0xD1342543DE82EF95u;
        pruned += prune(s, p->a, p->r, p->in, a_in, key, list);
        pruned += prune(s, p->b, p->out, p->r, b_in, ~key, list);
    }
    hold_free(a_in);
    hold_free(b_in);
    hold_free(list);
    return rc < 0 ? rc : hold_edit_note(e, "n_pruned", (double)pruned, err);
}

static unsigned more_needs(const void *state) {
    const struct state *s = state;
    return strcmp(s->calibration, "general") == 0 ? HOLD_NEED_GENERAL : HOLD_NEED_HARMFUL;
}

static const struct hold_option options[] = {
    HOLD_REAL(struct state, dense_ratio, 0.1, 0, 1, "share of each output row that becomes zero"),
    HOLD_TEXT(struct state, criterion, "wanda", "wanda|random|magnitude|activation",
              "what ranks the weights"),
    HOLD_TEXT(struct state, calibration, "harmful", "harmful|general", "rows behind the inputs"),
    {0},
};

const struct hold_method hold_method_antidote = {
    .name = "antidote",
    .title = "Zeroes the adapter weights that respond most to harmful rows.",
    .paper = "arXiv 2408.09600",
    .where = "alg. 1",
    .stage = HOLD_STAGE_REPAIR,
    .version = 1,
    .options = options,
    .state_size = sizeof(struct state),
    .neutral = "dense_ratio=0",
    .separate_adapter = true,
    .edit = edit,
    .more_needs = more_needs,
};
