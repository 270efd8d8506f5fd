/* plan.c: a batch's forest as the attention plan and label list that a forward pass wants. */
#include "model/model.h"

static void *cut(struct hold_arena *arena, int64_t n, size_t size) {
    return hold_arena_alloc(arena, (size_t)(n > 0 ? n : 1) * size);
}

/* Spans of a segment: its ancestors from the root down, then itself; ranges that touch are one. */
static int64_t put_spans(const struct hold_batch *b, int32_t segment, struct hold_span *out) {
    int64_t depth = 0;
    for (int32_t s = segment; s >= 0; s = b->segments[s].parent)
        depth++;
    int64_t i = depth;
    for (int32_t s = segment; s >= 0; s = b->segments[s].parent)
        out[--i] = (struct hold_span){b->segments[s].first, b->segments[s].len};
    int64_t n = 0;
    for (i = 0; i < depth; i++) {
        if (n > 0 && out[n - 1].first + out[n - 1].len == out[i].first)
            out[n - 1].len += out[i].len;
        else
            out[n++] = out[i];
    }
    return n;
}

static int plan_labels(const struct hold_batch *b, struct hold_arena *arena,
                       struct hold_planned *out, struct hold_error *err) {
    int64_t n_rows = 0;
    for (int32_t e = 0; e < b->n_labels; e++)
        n_rows += e == 0 || b->labels[e].row != b->labels[e - 1].row;
    int32_t *rows = cut(arena, n_rows, sizeof *rows);
    int32_t *first = cut(arena, n_rows + 1, sizeof *first);
    int32_t *target = cut(arena, b->n_labels, sizeof *target);
    int32_t *example = cut(arena, b->n_labels, sizeof *example);
    float *weight = cut(arena, b->n_labels, sizeof *weight);
    if (rows == NULL || first == NULL || target == NULL || example == NULL || weight == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a batch's labels");
    int64_t r = -1;
    for (int32_t e = 0; e < b->n_labels; e++) {
        const struct hold_label *l = &b->labels[e];
        if (r < 0 || rows[r] != l->row) {
            rows[++r] = l->row;
            first[r] = e;
        }
        target[e] = l->target;
        example[e] = l->example;
        weight[e] = l->weight * b->examples[l->example].weight;
    }
    first[n_rows] = b->n_labels;
    out->tokens.out_rows = rows;
    out->tokens.n_out = n_rows;
    out->labels = (struct hold_loss_labels){n_rows, b->n_labels, first, target, weight};
    out->label_example = example;
    return HOLD_OK;
}

int hold_model_plan(const struct hold_batch *b, struct hold_arena *arena, struct hold_planned *out,
                    struct hold_error *err) {
    int64_t n_spans = 0, n_trees = 0;
    for (int32_t s = 0; s < b->n_segments; s++) {
        for (int32_t p = s; p >= 0; p = b->segments[p].parent)
            n_spans++;
        n_trees += b->segments[s].parent < 0;
    }
    struct hold_query_run *runs = cut(arena, b->n_segments, sizeof *runs);
    struct hold_span *spans = cut(arena, n_spans, sizeof *spans);
    int32_t *tree_first = cut(arena, n_trees + 1, sizeof *tree_first);
    if (runs == NULL || spans == NULL || tree_first == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a batch's attention plan");
    int64_t span = 0, tree = 0;
    for (int32_t s = 0; s < b->n_segments; s++) {
        if (b->segments[s].parent < 0)
            tree_first[tree++] = s;
        int64_t n = put_spans(b, s, spans + span);
        runs[s] = (struct hold_query_run){b->segments[s].first, b->segments[s].len, (int32_t)span,
                                          (int32_t)n};
        span += n;
    }
    tree_first[n_trees] = b->n_segments;
    *out = (struct hold_planned){.tokens = {
                                     .n = b->n_tokens,
                                     .ids = b->ids,
                                     .positions = b->positions,
                                     .n_runs = b->n_segments,
                                     .n_spans = span,
                                     .n_trees = n_trees,
                                     .runs = runs,
                                     .spans = spans,
                                     .tree_first = tree_first,
                                     .n_keys = b->n_tokens,
                                 }};
    return plan_labels(b, arena, out, err);
}
