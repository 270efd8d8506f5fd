/* mem.h: host memory: checked allocation with fault injection, and arenas.
 *
 * All host memory of the library comes through here.  Lifetimes: what lives as long as a step, a
 * run or a process is cut from an arena and never freed alone; everything else has one owner and
 * git's verbs (_init, _release, _clear, _free).
 */
#ifndef HOLD_BASE_MEM_H
#define HOLD_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Like malloc/calloc/realloc/free, NULL when memory is out.  `hold_calloc` checks n * size. */
void *hold_malloc(size_t bytes);
void *hold_calloc(size_t n, size_t size);
void *hold_realloc(void *p, size_t bytes);
void hold_free(void *p);
char *hold_strdup(const char *text);
char *hold_strndup(const char *text, size_t n);

/* Tests only: the n-th allocation from now fails (1: the next), or for n < 0 the -n-th and all
 * after it; 0 switches off.  Thread-local.  Returns how far a count of n > 0 had still to go; 0: it
 * had been reached, or there was none. */
int64_t hold_mem_fail_at(int64_t n);

/* Allocation that reports: *out gets zeroed memory or the call fails with ENOMEMORY naming what. */
int hold_new(void **out, size_t n, size_t size, const char *what, struct hold_error *err);

/* true and *out = a * b (or a + b) when it fits in size_t. */
bool hold_mul_size(size_t a, size_t b, size_t *out);
bool hold_add_size(size_t a, size_t b, size_t *out);

/* A growing arena of chunks.  hold_arena_alloc returns zeroed, 64-byte aligned memory, NULL when
 * out.  A mark remembers a height; rewinding to it frees (keeps for reuse) what came after. */
struct hold_arena_chunk;
struct hold_arena {
    struct hold_arena_chunk *first, *current;
    size_t chunk_bytes;
};
struct hold_arena_mark {
    struct hold_arena_chunk *chunk;
    size_t used;
};
void hold_arena_init(struct hold_arena *a, size_t chunk_bytes); /* 0: 64 KiB; allocates nothing */
void *hold_arena_alloc(struct hold_arena *a, size_t bytes);
char *hold_arena_strdup(struct hold_arena *a, const char *text);
char *hold_arena_strndup(struct hold_arena *a, const char *text, size_t n);
struct hold_arena_mark hold_arena_mark(const struct hold_arena *a);
void hold_arena_rewind(struct hold_arena *a, struct hold_arena_mark mark);
void hold_arena_release(struct hold_arena *a);

#endif
