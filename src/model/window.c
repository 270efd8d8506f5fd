/* window.c: sliding windows as an attention plan: queries that see whole paths of keys become
 * queries that see the last `window` keys of theirs. */
#include "model/parts.h"

/* Keys that the last query of a run sees; the first sees n - 1 fewer. */
static int64_t most_seen(const struct hold_tokens *k, const struct hold_query_run *run) {
    int64_t sum = 0;
    for (int32_t i = 0; i < run->n_spans; i++)
        sum += k->spans[run->first_span + i].len;
    return sum;
}

bool hold_model_exceeds(const struct hold_tokens *k, int64_t window) {
    for (int64_t i = 0; i < k->n_runs; i++)
        if (most_seen(k, &k->runs[i]) > window)
            return true;
    return false;
}

/* Queries of a run that see at most `window` keys stay together; every other is a run of its own,
 * as its window begins one key after the one before. */
static int64_t whole_queries(const struct hold_tokens *k, const struct hold_query_run *run,
                             int64_t window) {
    int64_t over = most_seen(k, run) - window;
    return over <= 0 ? run->n : over >= run->n ? 0 : run->n - over;
}

/* The spans of queries [first, first + n) of a run, less the keys before the window. */
static int32_t put_spans(const struct hold_tokens *k, const struct hold_query_run *run,
                         int64_t first, int64_t n, int64_t window, struct hold_span *out) {
    int64_t cut = run->n - (first + n); /* keys after the last of these queries */
    int64_t skip = most_seen(k, run) - cut - window;
    int32_t n_spans = 0;
    for (int32_t i = 0; i < run->n_spans; i++) {
        struct hold_span s = k->spans[run->first_span + i];
        if (i == run->n_spans - 1)
            s.len -= (int32_t)cut;
        if (skip >= s.len) {
            skip -= s.len;
            continue;
        }
        if (skip > 0) {
            s.first += (int32_t)skip;
            s.len -= (int32_t)skip;
            skip = 0;
        }
        out[n_spans++] = s;
    }
    return n_spans;
}

static void put_run(struct hold_windowed *out, const struct hold_tokens *k,
                    const struct hold_query_run *run, int64_t first, int64_t n, int64_t window) {
    int32_t n_spans = put_spans(k, run, first, n, window, out->spans + out->n_spans);
    out->runs[out->n_runs++] = (struct hold_query_run){run->first + (int32_t)first, (int32_t)n,
                                                       (int32_t)out->n_spans, n_spans};
    out->n_spans += n_spans;
}

int hold_model_window(const struct hold_tokens *k, int64_t window, struct hold_arena *arena,
                      struct hold_windowed *out, struct hold_error *err) {
    int64_t runs = 0, spans = 0;
    for (int64_t i = 0; i < k->n_runs; i++) {
        int64_t whole = whole_queries(k, &k->runs[i], window);
        int64_t pieces = (whole > 0) + k->runs[i].n - whole;
        runs += pieces;
        spans += pieces * k->runs[i].n_spans;
    }
    *out = (struct hold_windowed){
        .runs = hold_arena_alloc(arena, (size_t)(runs + 1) * sizeof *out->runs),
        .spans = hold_arena_alloc(arena, (size_t)(spans + 1) * sizeof *out->spans),
        .tree_first = hold_arena_alloc(arena, (size_t)(k->n_trees + 1) * sizeof *out->tree_first)};
    if (out->runs == NULL || out->spans == NULL || out->tree_first == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a plan of sliding attention");
    for (int64_t t = 0; t < k->n_trees; t++) {
        out->tree_first[t] = (int32_t)out->n_runs;
        for (int64_t i = k->tree_first[t]; i < k->tree_first[t + 1]; i++) {
            const struct hold_query_run *run = &k->runs[i];
            int64_t whole = whole_queries(k, run, window);
            if (whole > 0)
                put_run(out, k, run, 0, whole, window);
            for (int64_t q = whole; q < run->n; q++)
                put_run(out, k, run, q, 1, window);
        }
    }
    out->tree_first[k->n_trees] = (int32_t)out->n_runs;
    return HOLD_OK;
}
