/* batch.c: builds the forest of a batch and splits examples into micro-batches. */
#include "data/batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* ---- what both layouts share ---- */

static int check_examples(const struct hold_example *const *examples, int32_t n,
                          struct hold_error *err) {
    int64_t tokens = 0;
    if (n < 1)
        return hold_fail(err, HOLD_EDATA, "a batch of %d examples, expected at least one", (int)n);
    for (int32_t e = 0; e < n; e++) {
        const struct hold_example *x = examples[e];
        if (x->n < 1)
            return hold_fail(err, HOLD_EDATA, "row %lld has no tokens", (long long)x->row);
        if (!isfinite(x->weight))
            return hold_fail(err, HOLD_EDATA, "row %lld has a weight that is not a finite number",
                             (long long)x->row);
        for (int32_t t = 1; t < x->n; t++)
            if (!isfinite(x->target_weight[t]))
                return hold_fail(err, HOLD_EDATA,
                                 "row %lld: the weight of token %d is not a finite number",
                                 (long long)x->row, (int)t);
        tokens += x->n;
        if (tokens > INT32_MAX)
            return hold_fail(err, HOLD_EDATA, "a batch of more than %d tokens", INT32_MAX);
    }
    return HOLD_OK;
}

int32_t hold_example_shared(const struct hold_example *a, const struct hold_example *b) {
    int32_t n = a->n < b->n ? a->n : b->n, i = 0;
    while (i < n && a->ids[i] == b->ids[i])
        i++;
    return i;
}

/* Lexicographic by ids, a prefix before what it is a prefix of; equal paths by index. */
static int compare_paths(const void *pa, const void *pb, void *user) {
    const struct hold_example *const *examples = user;
    int32_t ia = *(const int32_t *)pa, ib = *(const int32_t *)pb;
    const struct hold_example *a = examples[ia], *b = examples[ib];
    int32_t same = hold_example_shared(a, b);
    if (same < a->n && same < b->n)
        return a->ids[same] < b->ids[same] ? -1 : 1;
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    return ia < ib ? -1 : ia > ib;
}

static void sort_paths(const struct hold_example *const *examples, int32_t n, int32_t *order) {
    for (int32_t i = 0; i < n; i++)
        order[i] = i;
    /* The comparison only reads through the pointer that qsort_r takes as non-const. */
    qsort_r(order, (size_t)n, sizeof(*order), compare_paths, (void *)(uintptr_t)examples);
}

/* Memory of the batch, or for the time of its building. */
static int get(struct hold_batch *b, void **out, size_t n, size_t size, const char *what,
               struct hold_error *err) {
    if (b->arena == NULL)
        return hold_new(out, n, size, what, err);
    size_t bytes;
    *out = hold_mul_size(n, size, &bytes) ? hold_arena_alloc(b->arena, bytes) : NULL;
    return *out == NULL ? hold_fail(err, HOLD_ENOMEMORY, "not enough memory for %s", what)
                        : HOLD_OK;
}

static void put_back(const struct hold_batch *b, void *p) {
    if (b->arena == NULL)
        hold_free(p);
}

/* ---- the forest of layout tree ---- */

/* A node of the compressed trie: tokens [start, end) of the path of example `source`.  Node 0 is
 * the empty path above all roots. */
struct node {
    int32_t parent, start, end, source;
    int32_t first_child, last_child, next;
    int32_t segment; /* -1 until it has its place in the batch */
    bool attached;
};

struct forest {
    struct node *node; /* at most 2n + 1 */
    int32_t n_nodes;
    int32_t *leaf; /* node in which each example ends, n */
};

static int32_t add_node(struct forest *f, int32_t parent, int32_t start, int32_t end,
                        int32_t source) {
    f->node[f->n_nodes] = (struct node){parent, start, end, source, -1, -1, -1, -1, false};
    return f->n_nodes++;
}

/* Insert the examples in sorted order: the next path leaves the current one at depth `shared`, so
 * only the nodes on the current path are touched.  A node ends where paths part or one ends. */
static void grow_trie(struct forest *f, const struct hold_example *const *examples, int32_t n,
                      const int32_t *order) {
    int32_t top = add_node(f, -1, 0, 0, -1);
    for (int32_t i = 0; i < n; i++) {
        int32_t e = order[i];
        int32_t shared = i ? hold_example_shared(examples[order[i - 1]], examples[e]) : 0;
        while (f->node[top].end > shared) {
            struct node *t = &f->node[top];
            if (t->start < shared) {
                int32_t upper = add_node(f, t->parent, t->start, shared, t->source);
                t->start = shared;
                t->parent = upper;
                top = upper;
            } else {
                top = t->parent;
            }
        }
        if (examples[e]->n > shared)
            top = add_node(f, top, shared, examples[e]->n, e);
        f->leaf[e] = top;
    }
}

/* Children in the order in which the examples, as given, first need them. */
static void attach_children(struct forest *f, int32_t n) {
    f->node[0].attached = true;
    for (int32_t e = 0; e < n; e++) {
        for (int32_t v = f->leaf[e]; !f->node[v].attached; v = f->node[v].parent) {
            struct node *parent = &f->node[f->node[v].parent];
            f->node[v].attached = true;
            if (parent->last_child < 0)
                parent->first_child = v;
            else
                f->node[parent->last_child].next = v;
            parent->last_child = v;
        }
    }
}

static int32_t next_in_depth(const struct forest *f, int32_t v) {
    if (f->node[v].first_child >= 0)
        return f->node[v].first_child;
    while (v > 0 && f->node[v].next < 0)
        v = f->node[v].parent;
    return v > 0 ? f->node[v].next : -1;
}

/* Write segments, ids and positions in depth-first order. */
static void lay_forest(struct hold_batch *b, struct forest *f,
                       const struct hold_example *const *examples) {
    for (int32_t v = next_in_depth(f, 0); v >= 0; v = next_in_depth(f, v)) {
        struct node *x = &f->node[v];
        int32_t len = x->end - x->start;
        x->segment = b->n_segments++;
        b->segments[x->segment] =
            (struct hold_segment){f->node[x->parent].segment, b->n_tokens, len};
        memcpy(b->ids + b->n_tokens, examples[x->source]->ids + x->start,
               (size_t)len * sizeof(*b->ids));
        for (int32_t i = 0; i < len; i++)
            b->positions[b->n_tokens + i] = x->start + i;
        b->n_tokens += len;
    }
}

static int build_tree(struct hold_batch *b, const struct hold_example *const *examples, int32_t n,
                      struct hold_error *err) {
    struct forest f = {0};
    int32_t *order = NULL;
    size_t nodes = 2 * (size_t)n + 1, tokens = 1;
    int status = get(b, (void **)&f.node, nodes, sizeof(*f.node), "the tree of a batch", err);
    if (!status)
        status = get(b, (void **)&f.leaf, (size_t)n, sizeof(*f.leaf), "the tree of a batch", err);
    if (!status)
        status = get(b, (void **)&order, (size_t)n, sizeof(*order), "the tree of a batch", err);
    if (status)
        goto cleanup;
    sort_paths(examples, n, order);
    grow_trie(&f, examples, n, order);
    attach_children(&f, n);
    tokens = 0;
    for (int32_t v = 1; v < f.n_nodes; v++)
        tokens += (size_t)(f.node[v].end - f.node[v].start);
    status =
        get(b, (void **)&b->segments, (size_t)f.n_nodes, sizeof(*b->segments), "segments", err);
    if (!status)
        status = get(b, (void **)&b->ids, tokens, sizeof(*b->ids), "token ids", err);
    if (!status)
        status = get(b, (void **)&b->positions, tokens, sizeof(*b->positions), "positions", err);
    if (status)
        goto cleanup;
    lay_forest(b, &f, examples);
    for (int32_t e = 0; e < n; e++)
        b->examples[e].segment = f.node[f.leaf[e]].segment;
cleanup:
    put_back(b, f.node);
    put_back(b, f.leaf);
    put_back(b, order);
    return status;
}

/* ---- layout rows ---- */

static int build_rows(struct hold_batch *b, const struct hold_example *const *examples, int32_t n,
                      struct hold_error *err) {
    size_t tokens = (size_t)b->row_tokens;
    int status = get(b, (void **)&b->segments, (size_t)n, sizeof(*b->segments), "segments", err);
    if (!status)
        status = get(b, (void **)&b->ids, tokens, sizeof(*b->ids), "token ids", err);
    if (!status)
        status = get(b, (void **)&b->positions, tokens, sizeof(*b->positions), "positions", err);
    if (status)
        return status;
    for (int32_t e = 0; e < n; e++) {
        const struct hold_example *x = examples[e];
        b->segments[e] = (struct hold_segment){-1, b->n_tokens, x->n};
        b->examples[e].segment = e;
        memcpy(b->ids + b->n_tokens, x->ids, (size_t)x->n * sizeof(*b->ids));
        for (int32_t t = 0; t < x->n; t++)
            b->positions[b->n_tokens + t] = t;
        b->n_tokens += x->n;
    }
    b->n_segments = n;
    return HOLD_OK;
}

/* ---- labels ---- */

static bool is_label(const struct hold_example *x, int32_t t) {
    return x->target_weight[t] < 0 || x->target_weight[t] > 0;
}

/* Call sites walk an example's path from its last segment up; `place` holds, per token row, the
 * next free label slot, so that labels come out sorted by row and, in a row, by example. */
static void put_labels(struct hold_batch *b, const struct hold_example *x, int32_t e,
                       int32_t *place) {
    for (int32_t s = b->examples[e].segment; s >= 0; s = b->segments[s].parent) {
        const struct hold_segment *g = &b->segments[s];
        for (int32_t i = 0; i < g->len; i++) {
            int32_t row = g->first + i, t = b->positions[row] + 1;
            if (t < x->n && is_label(x, t))
                b->labels[place[row]++] =
                    (struct hold_label){row, x->ids[t], x->target_weight[t], e};
        }
    }
}

static void count_labels(const struct hold_batch *b, const struct hold_example *x, int32_t e,
                         int32_t *count) {
    for (int32_t s = b->examples[e].segment; s >= 0; s = b->segments[s].parent) {
        const struct hold_segment *g = &b->segments[s];
        for (int32_t i = 0; i < g->len; i++) {
            int32_t row = g->first + i, t = b->positions[row] + 1;
            if (t < x->n && is_label(x, t))
                count[row]++;
        }
    }
}

/* A stable counting sort: linear in tokens and labels. */
static int build_labels(struct hold_batch *b, const struct hold_example *const *examples,
                        struct hold_error *err) {
    int32_t *place = NULL, next = 0;
    int status = get(b, (void **)&place, (size_t)b->n_tokens, sizeof(*place), "labels", err);
    if (status)
        return status;
    for (int32_t e = 0; e < b->n_examples; e++)
        count_labels(b, examples[e], e, place);
    for (int32_t row = 0; row < b->n_tokens; row++) {
        int32_t count = place[row];
        place[row] = next;
        next += count;
    }
    b->n_labels = next;
    status =
        get(b, (void **)&b->labels, next ? (size_t)next : 1, sizeof(*b->labels), "labels", err);
    if (!status)
        for (int32_t e = 0; e < b->n_examples; e++)
            put_labels(b, examples[e], e, place);
    put_back(b, place);
    return status;
}

/* Sums in the order of the examples, so that both layouts give the same bits. */
static void sum_weights(struct hold_batch *b, const struct hold_example *const *examples) {
    for (int32_t e = 0; e < b->n_examples; e++) {
        const struct hold_example *x = examples[e];
        for (int32_t t = 1; t < x->n; t++) {
            if (!is_label(x, t))
                continue;
            b->examples[e].n_labels++;
            b->label_weight += (double)x->target_weight[t] * (double)x->weight;
        }
    }
}

/* ---- interface ---- */

int hold_batch_build(struct hold_batch *out, const struct hold_example *const *examples, int32_t n,
                     enum hold_layout layout, struct hold_error *err) {
    return hold_batch_build_in(out, examples, n, layout, NULL, err);
}

int hold_batch_build_in(struct hold_batch *out, const struct hold_example *const *examples,
                        int32_t n, enum hold_layout layout, struct hold_arena *arena,
                        struct hold_error *err) {
    struct hold_batch b = {.layout = layout, .arena = arena};
    *out = (struct hold_batch){0};
    int status = check_examples(examples, n, err);
    if (!status)
        status =
            get(&b, (void **)&b.examples, (size_t)n, sizeof(*b.examples), "batch examples", err);
    if (status)
        return status;
    b.n_examples = n;
    for (int32_t e = 0; e < n; e++) {
        b.examples[e] = (struct hold_batch_example){examples[e]->weight, examples[e]->row, -1,
                                                    examples[e]->n, 0};
        b.row_tokens += examples[e]->n;
    }
    status =
        layout == HOLD_TREE ? build_tree(&b, examples, n, err) : build_rows(&b, examples, n, err);
    if (!status)
        status = build_labels(&b, examples, err);
    if (status) {
        hold_batch_release(&b);
        return status;
    }
    sum_weights(&b, examples);
    *out = b;
    return HOLD_OK;
}

void hold_batch_release(struct hold_batch *b) {
    if (b->arena != NULL) {
        *b = (struct hold_batch){0};
        return;
    }
    hold_free(b->segments);
    hold_free(b->ids);
    hold_free(b->positions);
    hold_free(b->labels);
    hold_free(b->examples);
    *b = (struct hold_batch){0};
}

int hold_batch_split(const struct hold_example *const *examples, int32_t n, enum hold_layout layout,
                     int32_t max_tokens, int32_t *order, int32_t *first, int32_t *n_parts,
                     struct hold_error *err) {
    int status = check_examples(examples, n, err);
    if (status)
        return status;
    if (max_tokens < 1)
        return hold_fail(err, HOLD_EUSAGE, "micro-batches of %d tokens, expected at least 1",
                         (int)max_tokens);
    if (layout == HOLD_TREE)
        sort_paths(examples, n, order);
    else
        for (int32_t i = 0; i < n; i++)
            order[i] = i;
    int32_t parts = 0;
    int64_t used = 0;
    for (int32_t i = 0; i < n; i++) {
        const struct hold_example *x = examples[order[i]];
        int64_t more = x->n;
        /* In sorted order the longest shared prefix is the one with the neighbour before. */
        if (layout == HOLD_TREE && used)
            more -= hold_example_shared(examples[order[i - 1]], x);
        if (!used || used + more > max_tokens) {
            first[parts++] = i;
            used = x->n;
        } else {
            used += more;
        }
    }
    first[parts] = n;
    *n_parts = parts;
    return HOLD_OK;
}
