/* test_data_batch.c: forests and splits against a plain reading of their definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "data/batch.h"

enum { N_MAX = 24, LEN_MAX = 12 };

struct world {
    struct hold_example example[N_MAX];
    const struct hold_example *list[N_MAX];
    int32_t ids[N_MAX][LEN_MAX];
    float weights[N_MAX][LEN_MAX];
    int32_t n;
};

/* A few ids only, so that prefixes are often shared and rows often equal. */
static void draw(struct world *w, uint64_t seed) {
    struct hold_rng rng;
    hold_rng_init(&rng, seed, "test_data_batch", 0, 0);
    w->n = 1 + (int32_t)hold_rng_below(&rng, N_MAX);
    uint64_t vocab = 1 + hold_rng_below(&rng, 4);
    for (int32_t e = 0; e < w->n; e++) {
        int32_t len = 1 + (int32_t)hold_rng_below(&rng, LEN_MAX);
        for (int32_t t = 0; t < len; t++) {
            w->ids[e][t] = (int32_t)hold_rng_below(&rng, vocab);
            w->weights[e][t] = (float)hold_rng_below(&rng, 3) / 2.0F;
        }
        w->example[e] =
            (struct hold_example){len, w->ids[e], w->weights[e], 0.5F + (float)e, 1000 + e};
        w->list[e] = &w->example[e];
    }
}

static void set_row(struct world *w, int32_t e, int32_t len, const int32_t *ids) {
    memcpy(w->ids[e], ids, (size_t)len * sizeof(*ids));
    for (int32_t t = 0; t < len; t++)
        w->weights[e][t] = 1.0F;
    w->example[e] = (struct hold_example){len, w->ids[e], w->weights[e], 1.0F, e};
    w->list[e] = &w->example[e];
    if (w->n <= e)
        w->n = e + 1;
}

/* Token rows of example e's path, in order; returns how many. */
static int32_t path_of(const struct hold_batch *b, int32_t e, int32_t out[LEN_MAX]) {
    int32_t stack[LEN_MAX], depth = 0, n = 0;
    for (int32_t s = b->examples[e].segment; s >= 0; s = b->segments[s].parent) {
        assert_true(depth < LEN_MAX);
        stack[depth++] = s;
    }
    while (depth > 0) {
        const struct hold_segment *g = &b->segments[stack[--depth]];
        for (int32_t i = 0; i < g->len; i++) {
            assert_true(n < LEN_MAX);
            out[n++] = g->first + i;
        }
    }
    return n;
}

static void check_segments(const struct hold_batch *b) {
    int32_t next = 0;
    for (int32_t s = 0; s < b->n_segments; s++) {
        assert_int_equal(b->segments[s].first, next);
        assert_true(b->segments[s].len > 0);
        assert_true(b->segments[s].parent < s && b->segments[s].parent >= -1);
        next += b->segments[s].len;
    }
    assert_int_equal(next, b->n_tokens);
}

static void check_labels(const struct hold_batch *b, const struct world *w) {
    int32_t seen = 0;
    double sum = 0;
    for (int32_t k = 1; k < b->n_labels; k++) {
        const struct hold_label *p = &b->labels[k - 1], *q = &b->labels[k];
        assert_true(p->row < q->row || (p->row == q->row && p->example < q->example));
    }
    for (int32_t e = 0; e < w->n; e++) {
        int32_t rows[LEN_MAX], n = path_of(b, e, rows), own = 0;
        const struct hold_example *x = w->list[e];
        assert_int_equal(n, x->n);
        for (int32_t t = 0; t < n; t++) {
            assert_int_equal(b->ids[rows[t]], x->ids[t]);
            assert_int_equal(b->positions[rows[t]], t);
        }
        for (int32_t t = 1; t < n; t++) {
            if (!(x->target_weight[t] > 0))
                continue;
            int32_t hits = 0;
            for (int32_t k = 0; k < b->n_labels; k++) {
                const struct hold_label *l = &b->labels[k];
                if (l->example == e && l->row == rows[t - 1]) {
                    hits++;
                    assert_int_equal(l->target, x->ids[t]);
                    assert_true(l->weight >= x->target_weight[t] &&
                                l->weight <= x->target_weight[t]);
                }
            }
            assert_int_equal(hits, 1);
            own++;
            sum += (double)x->target_weight[t] * (double)x->weight;
        }
        assert_int_equal(b->examples[e].n_labels, own);
        assert_int_equal(b->examples[e].n_tokens, n);
        assert_int_equal(b->examples[e].row, x->row);
        seen += own;
    }
    assert_int_equal(seen, b->n_labels);
    assert_true(b->label_weight >= sum && b->label_weight <= sum);
}

/* Distinct non-empty prefixes: what a tree must hold, by comparing every pair. */
static int32_t count_prefixes(const struct world *w, const int32_t *order, int32_t from,
                              int32_t to) {
    int32_t count = 0;
    for (int32_t i = from; i < to; i++) {
        const struct hold_example *x = w->list[order ? order[i] : i];
        for (int32_t len = 1; len <= x->n; len++) {
            bool fresh = true;
            for (int32_t j = from; j < i && fresh; j++) {
                const struct hold_example *y = w->list[order ? order[j] : j];
                fresh = y->n < len || memcmp(x->ids, y->ids, (size_t)len * sizeof(*x->ids)) != 0;
            }
            count += fresh;
        }
    }
    return count;
}

static void build_random(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 500; seed++) {
        struct world w = {0};
        struct hold_batch rows, tree;
        struct hold_error err = {0};
        draw(&w, seed);
        assert_int_equal(hold_batch_build(&rows, w.list, w.n, HOLD_ROWS, &err), HOLD_OK);
        assert_int_equal(hold_batch_build(&tree, w.list, w.n, HOLD_TREE, &err), HOLD_OK);
        check_segments(&rows);
        check_segments(&tree);
        check_labels(&rows, &w);
        check_labels(&tree, &w);
        assert_int_equal(rows.n_segments, w.n);
        assert_int_equal(rows.n_tokens, rows.row_tokens);
        assert_int_equal(tree.row_tokens, rows.row_tokens);
        assert_int_equal(tree.n_tokens, count_prefixes(&w, NULL, 0, w.n));
        assert_true(tree.label_weight >= rows.label_weight &&
                    tree.label_weight <= rows.label_weight);
        hold_batch_release(&rows);
        hold_batch_release(&tree);
    }
}

/* A segment ends only where paths part or an example ends, so no segment could be longer. */
static void build_whole_segments(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct world w = {0};
        struct hold_batch b;
        struct hold_error err = {0};
        draw(&w, seed);
        assert_int_equal(hold_batch_build(&b, w.list, w.n, HOLD_TREE, &err), HOLD_OK);
        for (int32_t s = 0; s < b.n_segments; s++) {
            int32_t children = 0, ends = 0;
            for (int32_t c = s + 1; c < b.n_segments; c++)
                children += b.segments[c].parent == s;
            for (int32_t e = 0; e < w.n; e++)
                ends += b.examples[e].segment == s;
            assert_true(ends > 0 || children > 1);
        }
        hold_batch_release(&b);
    }
}

/* Children stand in the order in which the examples first need them, depth first. */
static void build_order(void **state) {
    (void)state;
    struct world w = {0};
    struct hold_batch b;
    struct hold_error err = {0};
    set_row(&w, 0, 3, (int32_t[]){7, 5, 9});
    set_row(&w, 1, 2, (int32_t[]){3, 3});
    set_row(&w, 2, 3, (int32_t[]){7, 5, 2});
    set_row(&w, 3, 2, (int32_t[]){7, 5});
    set_row(&w, 4, 2, (int32_t[]){7, 1});
    assert_int_equal(hold_batch_build(&b, w.list, w.n, HOLD_TREE, &err), HOLD_OK);
    const int32_t ids[] = {7, 5, 9, 2, 1, 3, 3}, positions[] = {0, 1, 2, 2, 1, 0, 1};
    const int32_t parents[] = {-1, 0, 1, 1, 0, -1}, lens[] = {1, 1, 1, 1, 1, 2};
    assert_int_equal(b.n_tokens, 7);
    assert_int_equal(b.n_segments, 6);
    assert_memory_equal(b.ids, ids, sizeof(ids));
    assert_memory_equal(b.positions, positions, sizeof(positions));
    for (int32_t s = 0; s < 6; s++) {
        assert_int_equal(b.segments[s].parent, parents[s]);
        assert_int_equal(b.segments[s].len, lens[s]);
    }
    assert_int_equal(b.examples[3].segment, 1);
    assert_int_equal(b.row_tokens, 12);
    /* Token 0 carries the labels of rows 0, 2, 3 (target 5) and 4 (target 1). */
    assert_int_equal(b.n_labels, 7);
    const int32_t targets[] = {5, 5, 5, 1, 9, 2, 3}, examples[] = {0, 2, 3, 4, 0, 2, 1};
    for (int32_t k = 0; k < 7; k++) {
        assert_int_equal(b.labels[k].target, targets[k]);
        assert_int_equal(b.labels[k].example, examples[k]);
    }
    hold_batch_release(&b);
}

static void split_random(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 500; seed++) {
        struct world w = {0};
        int32_t order[N_MAX], first[N_MAX + 1], parts;
        struct hold_error err = {0};
        draw(&w, seed);
        enum hold_layout layout = seed % 2 ? HOLD_TREE : HOLD_ROWS;
        int32_t limit = 1 + (int32_t)(seed % 40);
        assert_int_equal(hold_batch_split(w.list, w.n, layout, limit, order, first, &parts, &err),
                         HOLD_OK);
        bool seen[N_MAX] = {false};
        assert_int_equal(first[0], 0);
        assert_int_equal(first[parts], w.n);
        for (int32_t p = 0; p < parts; p++) {
            assert_true(first[p] < first[p + 1]);
            const struct hold_example *part[N_MAX];
            struct hold_batch b;
            int32_t n = first[p + 1] - first[p];
            for (int32_t i = 0; i < n; i++) {
                assert_false(seen[order[first[p] + i]]);
                seen[order[first[p] + i]] = true;
                part[i] = w.list[order[first[p] + i]];
            }
            assert_int_equal(hold_batch_build(&b, part, n, layout, &err), HOLD_OK);
            assert_true(b.n_tokens <= limit || n == 1);
            hold_batch_release(&b);
            /* Greedy: the next example would not have fitted. */
            if (p + 1 < parts) {
                part[n] = w.list[order[first[p + 1]]];
                assert_int_equal(hold_batch_build(&b, part, n + 1, layout, &err), HOLD_OK);
                assert_true(b.n_tokens > limit);
                hold_batch_release(&b);
            }
        }
        for (int32_t i = 0; i < w.n; i++) {
            assert_true(seen[i]);
            if (layout == HOLD_ROWS)
                assert_int_equal(order[i], i);
        }
    }
}

static void refuse(void **state) {
    (void)state;
    struct world w = {0};
    struct hold_batch b;
    struct hold_error err = {0};
    int32_t order[4], first[5], parts;
    set_row(&w, 0, 2, (int32_t[]){1, 2});
    assert_int_equal(hold_batch_build(&b, w.list, 0, HOLD_ROWS, &err), HOLD_EDATA);
    assert_int_equal(hold_batch_split(w.list, 1, HOLD_ROWS, 0, order, first, &parts, &err),
                     HOLD_EUSAGE);
    w.example[0].n = 0;
    assert_int_equal(hold_batch_build(&b, w.list, 1, HOLD_TREE, &err), HOLD_EDATA);
    assert_string_equal(err.text, "row 0 has no tokens");
    set_row(&w, 0, 2, (int32_t[]){1, 2});
    w.weights[0][1] = 1.0F / 0.0F;
    assert_int_equal(hold_batch_build(&b, w.list, 1, HOLD_TREE, &err), HOLD_EDATA);
}

/* Every allocation in turn fails: an error, nothing lost (the sanitizers look), nothing kept. */
static void no_memory(void **state) {
    (void)state;
    struct world w = {0};
    struct hold_batch b;
    draw(&w, 3);
    for (int layout = 0; layout < 2; layout++) {
        int status = HOLD_ENOMEMORY;
        for (int64_t at = 1; status; at++) {
            struct hold_error err = {0};
            assert_true(at < 20);
            hold_mem_fail_at(at);
            status = hold_batch_build(&b, w.list, w.n, layout ? HOLD_TREE : HOLD_ROWS, &err);
            hold_mem_fail_at(0);
            assert_true(status == HOLD_OK || status == HOLD_ENOMEMORY);
            if (status)
                assert_null(b.segments);
        }
        hold_batch_release(&b);
    }
}

/* Many long equal rows: nothing may be quadratic. */
static void build_large(void **state) {
    (void)state;
    enum { ROWS = 2000, LEN = 200 };
    struct hold_error err = {0};
    struct hold_batch b;
    int32_t *ids = calloc((size_t)ROWS * LEN, sizeof(*ids));
    float *weights = calloc((size_t)ROWS * LEN, sizeof(*weights));
    struct hold_example *x = calloc(ROWS, sizeof(*x));
    const struct hold_example **list = calloc(ROWS, sizeof(*list));
    assert_true(ids && weights && x && list);
    for (int32_t e = 0; e < ROWS; e++) {
        ids[(size_t)e * LEN + LEN - 1] = ROWS - e;
        for (int32_t t = 0; t < LEN; t++)
            weights[(size_t)e * LEN + (size_t)t] = 1.0F;
        x[e] =
            (struct hold_example){LEN, ids + (size_t)e * LEN, weights + (size_t)e * LEN, 1.0F, e};
        list[e] = &x[e];
    }
    assert_int_equal(hold_batch_build(&b, list, ROWS, HOLD_TREE, &err), HOLD_OK);
    assert_int_equal(b.n_tokens, LEN - 1 + ROWS);
    assert_int_equal(b.n_labels, ROWS * (LEN - 1));
    assert_int_equal(b.ids[LEN - 1], ROWS);
    hold_batch_release(&b);
    free(ids);
    free(weights);
    free(x);
    free(list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(build_random), cmocka_unit_test(build_whole_segments),
        cmocka_unit_test(build_order),  cmocka_unit_test(split_random),
        cmocka_unit_test(refuse),       cmocka_unit_test(no_memory),
        cmocka_unit_test(build_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
