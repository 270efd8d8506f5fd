/* mem.c: checked allocation, fault injection and arenas. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { ARENA_ALIGN = 64, ARENA_DEFAULT_CHUNK = 64 * 1024 };

/* The only writable state of the library, and it is for tests: how many allocations of this thread
 * are left until one fails, or below 0 until all do; 0 when off. */
static _Thread_local int64_t fail_countdown;

int64_t hold_mem_fail_at(int64_t n) {
    int64_t left = fail_countdown > 0 ? fail_countdown : 0;
    fail_countdown = n;
    return left;
}

static bool must_fail(void) {
    if (fail_countdown >= 0)
        return fail_countdown > 0 && --fail_countdown == 0;
    if (fail_countdown == -1)
        return true;
    fail_countdown++;
    return false;
}

void *hold_malloc(size_t bytes) {
    if (must_fail())
        return NULL;
    return malloc(bytes ? bytes : 1);
}

void *hold_calloc(size_t n, size_t size) {
    size_t bytes;
    if (must_fail() || !hold_mul_size(n, size, &bytes))
        return NULL;
    return calloc(1, bytes ? bytes : 1);
}

void *hold_realloc(void *p, size_t bytes) {
    if (must_fail())
        return NULL;
    return realloc(p, bytes ? bytes : 1);
}

void hold_free(void *p) {
    free(p);
}

char *hold_strndup(const char *text, size_t n) {
    size_t len = strnlen(text, n), bytes;
    if (!hold_add_size(len, 1, &bytes))
        return NULL;
    char *copy = hold_malloc(bytes);
    if (!copy)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *hold_strdup(const char *text) {
    return hold_strndup(text, strlen(text));
}

int hold_new(void **out, size_t n, size_t size, const char *what, struct hold_error *err) {
    *out = hold_calloc(n, size);
    if (*out)
        return HOLD_OK;
    return hold_fail(err, HOLD_ENOMEMORY, "not enough memory for %s: %zu of %zu bytes each", what,
                     n, size);
}

bool hold_mul_size(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

bool hold_add_size(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

/* One block of memory: this header, padding up to the alignment, then `cap` bytes. */
struct hold_arena_chunk {
    struct hold_arena_chunk *next;
    unsigned char *data; /* aligned */
    size_t cap, used;    /* both multiples of ARENA_ALIGN */
};

void hold_arena_init(struct hold_arena *a, size_t chunk_bytes) {
    *a = (struct hold_arena){.chunk_bytes = chunk_bytes ? chunk_bytes : ARENA_DEFAULT_CHUNK};
}

static struct hold_arena_chunk *chunk_new(size_t cap) {
    size_t total;
    if (!hold_add_size(cap, sizeof(struct hold_arena_chunk) + ARENA_ALIGN, &total))
        return NULL;
    struct hold_arena_chunk *c = hold_malloc(total);
    if (!c)
        return NULL;
    uintptr_t start = (uintptr_t)(c + 1);
    size_t skip = (ARENA_ALIGN - start % ARENA_ALIGN) % ARENA_ALIGN;
    *c = (struct hold_arena_chunk){.data = (unsigned char *)(c + 1) + skip, .cap = cap};
    return c;
}

/* Make `current` a chunk with room for `bytes`: this one, one kept by a rewind, or a new one. */
static bool make_room(struct hold_arena *a, size_t bytes) {
    struct hold_arena_chunk *c = a->current;
    if (c && c->cap - c->used >= bytes)
        return true;
    for (c = c ? c->next : a->first; c; c = c->next) {
        c->used = 0;
        a->current = c;
        if (c->cap >= bytes)
            return true;
    }
    size_t cap = a->chunk_bytes - a->chunk_bytes % ARENA_ALIGN;
    c = chunk_new(bytes > cap ? bytes : cap);
    if (!c)
        return false;
    /* The walk above ended at the last chunk, so the new one goes behind it. */
    if (a->current)
        a->current->next = c;
    else
        a->first = c;
    a->current = c;
    return true;
}

void *hold_arena_alloc(struct hold_arena *a, size_t bytes) {
    size_t padded;
    if (!hold_add_size(bytes ? bytes : 1, ARENA_ALIGN - 1, &padded))
        return NULL;
    padded -= padded % ARENA_ALIGN;
    if (!make_room(a, padded))
        return NULL;
    void *p = a->current->data + a->current->used;
    a->current->used += padded;
    return memset(p, 0, padded);
}

char *hold_arena_strndup(struct hold_arena *a, const char *text, size_t n) {
    size_t len = strnlen(text, n), bytes;
    if (!hold_add_size(len, 1, &bytes))
        return NULL;
    char *copy = hold_arena_alloc(a, bytes);
    if (copy)
        memcpy(copy, text, len);
    return copy;
}

char *hold_arena_strdup(struct hold_arena *a, const char *text) {
    return hold_arena_strndup(a, text, strlen(text));
}

struct hold_arena_mark hold_arena_mark(const struct hold_arena *a) {
    return (struct hold_arena_mark){a->current, a->current ? a->current->used : 0};
}

void hold_arena_rewind(struct hold_arena *a, struct hold_arena_mark mark) {
    a->current = mark.chunk;
    if (mark.chunk)
        mark.chunk->used = mark.used;
}

void hold_arena_release(struct hold_arena *a) {
    for (struct hold_arena_chunk *c = a->first, *next; c; c = next) {
        next = c->next;
        hold_free(c);
    }
    a->first = a->current = NULL;
}
