/* forest.c: prompts as a forest of prefixes, each token of which has at most one cache slot. */
#include "infer/parts.h"

#include <string.h>

#include "base/mem.h"

/* The forest of all prompts but their last tokens; leaf[] gets each prompt's last segment. */
static int build_batch(struct hold_forest *f, const struct hold_ids *prompts,
                       struct hold_error *err) {
    void *list = NULL, *pointers = NULL, *zeros = NULL;
    size_t longest = 1;
    for (int64_t i = 0; i < f->n; i++)
        longest = prompts[i].len > longest ? prompts[i].len : longest;
    int rc = hold_new(&list, (size_t)f->n, sizeof(struct hold_example), "prompts", err);
    if (rc == HOLD_OK)
        rc = hold_new(&pointers, (size_t)f->n, sizeof(struct hold_example *), "prompts", err);
    if (rc == HOLD_OK)
        rc = hold_new(&zeros, longest, sizeof(float), "prompts", err);
    struct hold_example *example = list;
    const struct hold_example **pointer = pointers;
    int32_t count = 0;
    for (int64_t i = 0; rc == HOLD_OK && i < f->n; i++) {
        f->leaf[i] = prompts[i].len > 1 ? count : -1;
        if (prompts[i].len < 2)
            continue;
        example[count] = (struct hold_example){.n = (int32_t)prompts[i].len - 1,
                                               .ids = prompts[i].data,
                                               .target_weight = zeros,
                                               .weight = 1.0f,
                                               .row = i};
        pointer[count] = &example[count];
        count++;
    }
    if (rc == HOLD_OK && count > 0)
        rc = hold_batch_build(&f->batch, pointer, count, HOLD_TREE, err);
    for (int64_t i = 0; rc == HOLD_OK && i < f->n; i++)
        if (f->leaf[i] >= 0)
            f->leaf[i] = f->batch.examples[f->leaf[i]].segment;
    hold_free(list);
    hold_free(pointers);
    hold_free(zeros);
    return rc;
}

/* A stable counting sort of prompts by leaf: segments stand depth first already. */
static int sort_prompts(struct hold_forest *f, struct hold_error *err) {
    void *p = NULL;
    int rc = hold_new(&p, (size_t)f->batch.n_segments + 2, sizeof(int64_t), "prompts", err);
    if (rc < 0)
        return rc;
    int64_t *first = p;
    for (int64_t i = 0; i < f->n; i++)
        first[f->leaf[i] + 2]++;
    for (int32_t s = 0; s <= f->batch.n_segments; s++)
        first[s + 1] += first[s];
    for (int64_t i = 0; i < f->n; i++)
        f->order[first[f->leaf[i] + 1]++] = i;
    hold_free(first);
    return HOLD_OK;
}

static int longest_path(const struct hold_forest *f) {
    int most = 1;
    for (int64_t i = 0; i < f->n; i++) {
        int depth = 0;
        for (int32_t s = f->leaf[i]; s >= 0; s = f->prefix[s].parent)
            depth++;
        most = depth > most ? depth : most;
    }
    return most;
}

int hold_forest_build(struct hold_forest *f, const struct hold_ids *prompts, int64_t n,
                      int64_t rows_each, struct hold_error *err) {
    void *leaf = NULL, *order = NULL, *prefix = NULL, *slot = NULL, *path = NULL, *pending = NULL;
    *f = (struct hold_forest){.n = n};
    int rc = hold_new(&leaf, (size_t)n, sizeof *f->leaf, "prompts", err);
    f->leaf = leaf;
    if (rc == HOLD_OK)
        rc = hold_new(&order, (size_t)n, sizeof *f->order, "prompts", err);
    f->order = order;
    if (rc == HOLD_OK)
        rc = build_batch(f, prompts, err);
    if (rc == HOLD_OK)
        rc = sort_prompts(f, err);
    size_t segments = (size_t)f->batch.n_segments + 1, tokens = (size_t)f->batch.n_tokens + 1;
    if (rc == HOLD_OK)
        rc = hold_new(&prefix, segments, sizeof *f->prefix, "prompts", err);
    f->prefix = prefix;
    if (rc == HOLD_OK)
        rc = hold_new(&pending, segments, sizeof *f->pending, "prompts", err);
    f->pending = pending;
    if (rc == HOLD_OK)
        rc = hold_new(&slot, tokens, sizeof *f->slot, "prompts", err);
    f->slot = slot;
    for (int32_t s = 0; rc == HOLD_OK && s < f->batch.n_segments; s++)
        f->prefix[s] = (struct hold_prefix){.parent = f->batch.segments[s].parent,
                                            .first = f->batch.segments[s].first,
                                            .len = f->batch.segments[s].len};
    if (rc == HOLD_OK)
        rc = hold_new(&path, (size_t)longest_path(f), sizeof *f->path, "prompts", err);
    f->path = path;
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++)
        for (int32_t s = f->leaf[i]; s >= 0; s = f->prefix[s].parent)
            f->prefix[s].users += rows_each;
    if (rc < 0)
        hold_forest_release(f);
    return rc;
}

void hold_forest_release(struct hold_forest *f) {
    hold_batch_release(&f->batch);
    hold_free(f->prefix);
    hold_free(f->leaf);
    hold_free(f->order);
    hold_free(f->slot);
    hold_free(f->path);
    hold_free(f->pending);
    hold_free(f->used);
    *f = (struct hold_forest){0};
}

int64_t hold_forest_depth(const struct hold_forest *f, int32_t leaf) {
    return leaf < 0 ? 0 : f->batch.positions[f->prefix[leaf].first] + (int64_t)f->prefix[leaf].len;
}

/* Tokens of prompt order[i] that the prompt before it lacks.  Prompts stand depth first, so they
 * are also those that no earlier prompt has. */
static int64_t new_tokens(const struct hold_forest *f, int64_t i) {
    int32_t last = i > 0 ? f->leaf[f->order[i - 1]] : -1;
    int64_t sum = 0;
    /* A segment that is new stands after the last one of the prompt before. */
    for (int32_t s = f->leaf[f->order[i]]; s > last; s = f->prefix[s].parent)
        sum += f->prefix[s].len;
    return sum;
}

int64_t hold_forest_need(const struct hold_forest *f, int64_t window) {
    int64_t most = 0, longest = 0, added = 0;
    for (int64_t i = 0; i < f->n; i++) {
        /* `added`: new tokens of the prompts in the window but its first. */
        added += i > 0 ? new_tokens(f, i) : 0;
        int64_t start = i - window + 1;
        if (start > 0)
            added -= new_tokens(f, start);
        int64_t depth = hold_forest_depth(f, f->leaf[f->order[start > 0 ? start : 0]]);
        most = depth + added > most ? depth + added : most;
        depth = hold_forest_depth(f, f->leaf[i]);
        longest = depth > longest ? depth : longest;
    }
    /* Rows that stay long hold their path while the window moves on. */
    int64_t need = most + most / 4 + longest;
    return need < f->batch.n_tokens ? need : f->batch.n_tokens;
}

int hold_forest_open(struct hold_forest *f, int64_t first_slot, int64_t n_slots,
                     struct hold_error *err) {
    void *p = NULL;
    int rc = hold_new(&p, (size_t)n_slots + 1, 1, "cache slots", err);
    f->used = p;
    f->first_slot = first_slot;
    f->n_slots = f->n_free = n_slots;
    return rc;
}

/* The lowest free slots, so that neighbours in the text are mostly neighbours in the cache. */
static void place(struct hold_forest *f, int32_t s) {
    struct hold_prefix *x = &f->prefix[s];
    int64_t at = f->lowest_free;
    for (int32_t i = 0; i < x->len; i++) {
        while (f->used[at])
            at++;
        f->used[at] = 1;
        f->slot[x->first + i] = (int32_t)(f->first_slot + at++);
    }
    f->lowest_free = at;
    f->n_free -= x->len;
    x->placed = true;
    f->pending[f->pending_end++] = s;
    f->pending_tokens += x->len;
}

bool hold_forest_place(struct hold_forest *f, int32_t leaf) {
    int64_t need = 0, n = 0;
    for (int32_t s = leaf; s >= 0 && !f->prefix[s].placed; s = f->prefix[s].parent) {
        need += f->prefix[s].len;
        f->path[n++] = s;
    }
    if (need > f->n_free)
        return false;
    while (n > 0) /* from the root down: LAW: a parent is filled before its children */
        place(f, f->path[--n]);
    return true;
}

void hold_forest_leave(struct hold_forest *f, int32_t leaf) {
    for (int32_t s = leaf; s >= 0; s = f->prefix[s].parent) {
        struct hold_prefix *x = &f->prefix[s];
        if (--x->users > 0)
            continue;
        for (int32_t i = 0; i < x->len; i++) {
            int64_t at = f->slot[x->first + i] - f->first_slot;
            f->used[at] = 0;
            f->lowest_free = at < f->lowest_free ? at : f->lowest_free;
        }
        f->n_free += x->len;
    }
}

int hold_spans_add(struct hold_span_list *s, int64_t start, int32_t first, int32_t len,
                   struct hold_error *err) {
    if (s->n > start && s->item[s->n - 1].first + s->item[s->n - 1].len == first) {
        s->item[s->n - 1].len += len;
        return HOLD_OK;
    }
    if (s->n == s->cap) {
        int64_t cap = s->cap > 0 ? 2 * s->cap : 256;
        struct hold_span *p = hold_realloc(s->item, (size_t)cap * sizeof *p);
        if (p == NULL)
            return hold_fail(err, HOLD_ENOMEMORY, "no memory for an attention plan");
        s->item = p;
        s->cap = cap;
    }
    s->item[s->n++] = (struct hold_span){first, len};
    return HOLD_OK;
}

int hold_forest_spans(struct hold_forest *f, int32_t leaf, int32_t upto, struct hold_span_list *s,
                      struct hold_error *err) {
    int64_t n = 0, start = s->n;
    for (int32_t p = leaf; p >= 0; p = f->prefix[p].parent)
        f->path[n++] = p;
    while (n > 0) {
        const struct hold_prefix *x = &f->prefix[f->path[--n]];
        int32_t len = n > 0 ? x->len : upto;
        for (int32_t i = 0; i < len; i++) {
            int rc = hold_spans_add(s, start, f->slot[x->first + i], 1, err);
            if (rc < 0)
                return rc;
        }
    }
    return HOLD_OK;
}
