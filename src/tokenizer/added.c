/* added.c: a trie over the added tokens. */
#include "tokenizer/added.h"

#include <string.h>

#include "base/mem.h"
#include "tokenizer/unicode.h"

enum { ADDED_MAX = 100000, TEXT_MAX = 1024 };

struct node {
    int32_t child, sibling; /* 0: none; node 0 is the root */
    int32_t token;          /* index, -1: none */
    unsigned char byte;
};

struct hold_added_set {
    struct hold_arena arena;
    struct hold_added *list;
    size_t n;
    struct node *nodes;
    int32_t n_nodes;
    int32_t first[256]; /* children of the root */
};

void hold_added_free(struct hold_added_set *s) {
    if (s != NULL) {
        hold_free(s->nodes);
        hold_arena_release(&s->arena);
        hold_free(s);
    }
}

static int32_t step(const struct hold_added_set *s, int32_t at, unsigned char byte) {
    if (at == 0) {
        return s->first[byte];
    }
    int32_t next = s->nodes[at].child;
    while (next != 0 && s->nodes[next].byte != byte) {
        next = s->nodes[next].sibling;
    }
    return next;
}

static int insert(struct hold_added_set *s, size_t index, struct hold_error *err) {
    const struct hold_added *t = &s->list[index];
    int32_t at = 0;
    for (const char *p = t->text; *p != '\0'; p++) {
        unsigned char byte = (unsigned char)*p;
        int32_t next = step(s, at, byte);
        if (next == 0) {
            next = s->n_nodes++;
            s->nodes[next] = (struct node){.byte = byte, .token = -1};
            if (at == 0) {
                s->first[byte] = next;
            } else {
                s->nodes[next].sibling = s->nodes[at].child;
                s->nodes[at].child = next;
            }
        }
        at = next;
    }
    if (s->nodes[at].token >= 0) {
        return hold_fail(err, HOLD_EFORMAT, "added token \"%s\" (id %d) is there twice", t->text,
                         t->id);
    }
    s->nodes[at].token = (int32_t)index;
    return HOLD_OK;
}

int hold_added_new(struct hold_added_set **out, const struct hold_added *list, size_t n,
                   struct hold_error *err) {
    *out = NULL;
    if (n > ADDED_MAX) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%zu added tokens, at most %d are taken", n,
                         ADDED_MAX);
    }
    struct hold_added_set *s = NULL;
    size_t bytes = 1;
    int rc = hold_new((void **)&s, 1, sizeof *s, "added tokens", err);
    if (rc == HOLD_OK) {
        hold_arena_init(&s->arena, 0);
    }
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        size_t len = strlen(list[i].text);
        bytes += len;
        if (len == 0 || len > TEXT_MAX) {
            rc = hold_fail(err, HOLD_EFORMAT, "added token %d has %zu bytes, expected 1 to %d",
                           list[i].id, len, TEXT_MAX);
        }
    }
    if (rc == HOLD_OK) {
        rc = hold_new((void **)&s->nodes, bytes, sizeof *s->nodes, "added tokens", err);
    }
    if (rc == HOLD_OK) {
        s->list = hold_arena_alloc(&s->arena, (n + 1) * sizeof *s->list);
        if (s->list == NULL) {
            rc = hold_fail(err, HOLD_ENOMEMORY, "out of memory for added tokens");
        }
        s->n_nodes = 1;
    }
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        s->list[i] = list[i];
        s->list[i].text = hold_arena_strdup(&s->arena, list[i].text);
        s->n = i + 1;
        rc = s->list[i].text == NULL ? hold_fail(err, HOLD_ENOMEMORY, "out of memory for tokens")
                                     : insert(s, i, err);
    }
    if (rc != HOLD_OK) {
        hold_added_free(s);
        return rc;
    }
    *out = s;
    return HOLD_OK;
}

void hold_added_hash(const struct hold_added_set *s, struct hold_hash *hash) {
    for (size_t i = 0; i < s->n; i++) {
        const struct hold_added *t = &s->list[i];
        int32_t row[5] = {t->id, t->special, t->lstrip, t->rstrip, t->normalized};
        hold_hash_add(hash, row, sizeof row);
        hold_hash_add(hash, t->text, strlen(t->text) + 1);
    }
}

const struct hold_added *hold_added_find(const struct hold_added_set *s, const char *text) {
    int32_t at = *text == '\0' ? 0 : s->first[(unsigned char)*text];
    for (const char *p = text + 1; at != 0 && *p != '\0'; p++) {
        at = step(s, at, (unsigned char)*p);
    }
    return at == 0 || s->nodes[at].token < 0 ? NULL : &s->list[s->nodes[at].token];
}

/* The longest token at text[at] that the search allows, or NULL. */
static const struct hold_added *longest(const struct hold_added_set *s,
                                        const struct hold_added_search *how, const char *text,
                                        size_t at, size_t n, size_t *end) {
    const struct hold_added *best = NULL;
    bool allowed = true; /* every byte so far may belong to a special token */
    int32_t node = 0;
    for (size_t i = at; i < n; i++) {
        node = step(s, node, (unsigned char)text[i]);
        if (node == 0) {
            break;
        }
        allowed = allowed && (how->all || (how->allowed != NULL && how->allowed[i] != 0));
        int32_t token = s->nodes[node].token;
        if (token >= 0 && s->list[token].normalized == how->normalized &&
            (allowed || !s->list[token].special)) {
            best = &s->list[token];
            *end = i + 1;
        }
    }
    return best;
}

/* Where the blanks from text[from] end; a run is walked along once. */
static size_t blanks_end(struct hold_added_place *at, const unsigned char *bytes, size_t from,
                         size_t n) {
    size_t end = from;
    if (from >= at->blanks && from < at->blanks_end) {
        return at->blanks_end;
    }
    for (size_t next = from; end < n; end = next) {
        if (hold_unicode_class(hold_unicode_next(bytes, &next)) != HOLD_CLASS_SPACE) {
            break;
        }
    }
    at->blanks = from;
    at->blanks_end = end;
    return end;
}

const struct hold_added *hold_added_next(const struct hold_added_set *s,
                                         const struct hold_added_search *how, const char *text,
                                         size_t n, struct hold_added_place *at, size_t *begin) {
    const unsigned char *bytes = (const unsigned char *)text;
    for (size_t i = at->next; i < n; i++) {
        size_t end = n;
        const struct hold_added *t =
            s->first[bytes[i]] != 0 ? longest(s, how, text, i, n, &end) : NULL;
        if (t == NULL) {
            continue;
        }
        *begin = i;
        while (t->lstrip && *begin > at->done) {
            size_t back = *begin - 1;
            while (back > at->done && (bytes[back] & 0xC0) == 0x80) {
                back--;
            }
            size_t next = back;
            if (hold_unicode_class(hold_unicode_next(bytes, &next)) != HOLD_CLASS_SPACE) {
                break;
            }
            *begin = back;
        }
        at->next = end;
        at->done = t->rstrip ? blanks_end(at, bytes, end, n) : end;
        return t;
    }
    return NULL;
}
