/* bpe.c: byte pair encoding: hash tables of pieces and pairs, and merging. */
#include "tokenizer/bpe.h"

#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

static size_t table_size(size_t n) {
    size_t size = 16;
    while (size < n * 2 && size < SIZE_MAX / 4) {
        size *= 2;
    }
    return size;
}

int hold_names_init(struct hold_names *t, size_t n, struct hold_error *err) {
    size_t size = table_size(n);
    t->mask = size - 1;
    return hold_new((void **)&t->slots, size, sizeof *t->slots, "vocabulary", err);
}

void hold_names_release(struct hold_names *t) {
    hold_free(t->slots);
    *t = (struct hold_names){0};
}

static size_t name_slot(const struct hold_names *t, const char *key, size_t len) {
    uint64_t hash = hold_fnv(key, len);
    return (size_t)(hash ^ hash >> 32) & t->mask;
}

int hold_names_put(struct hold_names *t, const char *key, size_t len, int32_t id, int32_t *old,
                   struct hold_error *err) {
    size_t at = name_slot(t, key, len);
    for (int probes = 0; probes < HOLD_PROBES_MAX; probes++, at = (at + 1) & t->mask) {
        struct hold_name *slot = &t->slots[at];
        if (slot->key == NULL) {
            *slot = (struct hold_name){key, (uint32_t)len, id};
            *old = -1;
            return HOLD_OK;
        }
        if (slot->len == len && memcmp(slot->key, key, len) == 0) {
            *old = slot->id;
            return HOLD_OK;
        }
    }
    return hold_fail(err, HOLD_EFORMAT, "vocabulary: pieces collide, piece %d", id);
}

int32_t hold_names_get(const struct hold_names *t, const char *key, size_t len) {
    if (t->slots == NULL) {
        return -1;
    }
    size_t at = name_slot(t, key, len);
    for (int probes = 0; probes < HOLD_PROBES_MAX && t->slots[at].key != NULL;
         probes++, at = (at + 1) & t->mask) {
        if (t->slots[at].len == len && memcmp(t->slots[at].key, key, len) == 0) {
            return t->slots[at].id;
        }
    }
    return -1;
}

int hold_pairs_init(struct hold_pairs *t, size_t n, struct hold_error *err) {
    size_t size = table_size(n);
    t->mask = size - 1;
    t->shift = 64;
    for (size_t bits = size; bits > 1; bits /= 2) {
        t->shift--;
    }
    int rc = hold_new((void **)&t->slots, size, sizeof *t->slots, "merges", err);
    for (size_t i = 0; rc == HOLD_OK && i < size; i++) {
        t->slots[i].key = UINT64_MAX;
    }
    return rc;
}

void hold_pairs_release(struct hold_pairs *t) {
    hold_free(t->slots);
    *t = (struct hold_pairs){0};
}

int hold_pairs_put(struct hold_pairs *t, int32_t left, int32_t right, int32_t rank, int32_t id,
                   struct hold_error *err) {
    uint64_t key = hold_pair_key(left, right);
    size_t at = hold_pair_slot(t, key);
    for (int probes = 0; probes < HOLD_PROBES_MAX; probes++, at = (at + 1) & t->mask) {
        struct hold_pair *slot = &t->slots[at];
        if (slot->key == UINT64_MAX || slot->key == key) {
            *slot = (struct hold_pair){key, rank, id};
            return HOLD_OK;
        }
    }
    return hold_fail(err, HOLD_EFORMAT, "merges: pairs collide, merge %d", rank);
}

int hold_word_reserve(struct hold_word *w, size_t n, struct hold_error *err) {
    if (n <= w->cap) {
        return HOLD_OK;
    }
    if (n > INT32_MAX) {
        return hold_fail(err, HOLD_EDATA, "a word of %zu bytes, at most %d are taken", n,
                         INT32_MAX);
    }
    size_t cap = n < 64 ? 64 : n;
    int32_t *ids = hold_realloc(w->ids, cap * sizeof *ids);
    if (ids != NULL) {
        w->ids = ids;
    }
    uint32_t *starts = hold_realloc(w->starts, cap * sizeof *starts);
    if (starts != NULL) {
        w->starts = starts;
    }
    if (ids == NULL || starts == NULL) {
        return hold_fail(err, HOLD_ENOMEMORY, "out of memory for a word of %zu bytes", n);
    }
    w->cap = cap;
    return HOLD_OK;
}

void hold_word_release(struct hold_word *w) {
    hold_free(w->ids);
    hold_free(w->starts);
    hold_free(w->scratch);
    *w = (struct hold_word){0};
}

enum { SHORT = 40 };

/* Short words: the ranks of all neighbours in a row, searched anew after each merge. */
static void merge_short(struct hold_word *w, const struct hold_pairs *pairs) {
    const struct hold_pair *pair[SHORT]; /* of symbol i and i + 1, NULL: none */
    int32_t *ids = w->ids;
    size_t n = w->n;
    for (size_t i = 0; i + 1 < n; i++) {
        pair[i] = hold_pairs_get(pairs, ids[i], ids[i + 1]);
    }
    for (;;) {
        size_t best = n;
        int32_t rank = INT32_MAX;
        for (size_t i = 0; i + 1 < n; i++) {
            if (pair[i] != NULL && pair[i]->rank < rank) {
                rank = pair[i]->rank;
                best = i;
            }
        }
        if (best == n) {
            break;
        }
        ids[best] = pair[best]->id;
        size_t tail = n - best - 2;
        memmove(ids + best + 1, ids + best + 2, tail * sizeof *ids);
        memmove(w->starts + best + 1, w->starts + best + 2, tail * sizeof *w->starts);
        if (tail > 0) {
            memmove(pair + best, pair + best + 1, tail * sizeof *pair);
        }
        n--;
        if (best + 1 < n) {
            pair[best] = hold_pairs_get(pairs, ids[best], ids[best + 1]);
        }
        if (best > 0) {
            pair[best - 1] = hold_pairs_get(pairs, ids[best - 1], ids[best]);
        }
    }
    w->n = n;
}

/* Long words: a heap of candidate merges over a linked list of symbols. */
struct candidate {
    int32_t rank, id;
    uint32_t at;
};
struct merger {
    struct candidate *heap;
    size_t n;
    uint32_t *next, *prev; /* UINT32_MAX: none */
};

static inline bool before(const struct candidate *a, const struct candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void push(struct merger *m, struct candidate c) {
    size_t i = m->n++;
    while (i > 0 && before(&c, &m->heap[(i - 1) / 2])) {
        m->heap[i] = m->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    m->heap[i] = c;
}

static struct candidate pop(struct merger *m) {
    struct candidate top = m->heap[0], last = m->heap[--m->n];
    size_t i = 0;
    for (size_t child = 1; child < m->n; child = 2 * i + 1) {
        if (child + 1 < m->n && before(&m->heap[child + 1], &m->heap[child])) {
            child++;
        }
        if (!before(&m->heap[child], &last)) {
            break;
        }
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

static void offer(struct merger *m, const struct hold_word *w, const struct hold_pairs *pairs,
                  uint32_t at) {
    if (at != UINT32_MAX && m->next[at] != UINT32_MAX) {
        const struct hold_pair *p = hold_pairs_get(pairs, w->ids[at], w->ids[m->next[at]]);
        if (p != NULL) {
            push(m, (struct candidate){p->rank, p->id, at});
        }
    }
}

static int merge_long(struct hold_word *w, const struct hold_pairs *pairs, struct hold_error *err) {
    size_t n = w->n;
    /* Each symbol offers once at the start and each merge twice: at most 3 n candidates. */
    size_t bytes = n * (3 * sizeof(struct candidate) + 2 * sizeof(uint32_t));
    if (bytes > w->scratch_bytes) {
        hold_free(w->scratch);
        w->scratch_bytes = 0;
        int rc = hold_new(&w->scratch, 1, bytes, "a long word", err);
        if (rc != HOLD_OK) {
            return rc;
        }
        w->scratch_bytes = bytes;
    }
    struct merger m = {.heap = w->scratch};
    m.next = (uint32_t *)(m.heap + 3 * n);
    m.prev = m.next + n;
    for (size_t i = 0; i < n; i++) {
        m.next[i] = i + 1 < n ? (uint32_t)(i + 1) : UINT32_MAX;
        m.prev[i] = i > 0 ? (uint32_t)(i - 1) : UINT32_MAX;
    }
    for (size_t i = 0; i < n; i++) {
        offer(&m, w, pairs, (uint32_t)i);
    }
    while (m.n > 0) {
        struct candidate c = pop(&m);
        uint32_t right = w->ids[c.at] < 0 ? UINT32_MAX : m.next[c.at];
        if (right == UINT32_MAX) {
            continue;
        }
        /* Stale unless the same merge is still there: the text of a symbol only grows, so an equal
         * result means equal halves. */
        const struct hold_pair *p = hold_pairs_get(pairs, w->ids[c.at], w->ids[right]);
        if (p == NULL || p->id != c.id) {
            continue;
        }
        w->ids[c.at] = c.id;
        w->ids[right] = -1;
        m.next[c.at] = m.next[right];
        if (m.next[right] != UINT32_MAX) {
            m.prev[m.next[right]] = c.at;
        }
        offer(&m, w, pairs, m.prev[c.at]);
        offer(&m, w, pairs, c.at);
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (w->ids[i] >= 0) {
            w->ids[kept] = w->ids[i];
            w->starts[kept++] = w->starts[i];
        }
    }
    w->n = kept;
    return HOLD_OK;
}

int hold_word_merge(struct hold_word *w, const struct hold_pairs *pairs, struct hold_error *err) {
    if (pairs->slots == NULL || w->n < 2) {
        return HOLD_OK;
    }
    if (w->n > SHORT) {
        return merge_long(w, pairs, err);
    }
    merge_short(w, pairs);
    return HOLD_OK;
}
