/* added.h: special and added tokens, found in text before anything else happens to it. */
#ifndef HOLD_TOKENIZER_ADDED_H
#define HOLD_TOKENIZER_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"

struct hold_added {
    int32_t id;
    const char *text; /* NUL-terminated, not empty */
    bool special;     /* a control token: only where the caller allows it */
    bool lstrip, rstrip;
    bool normalized; /* looked for after normalisation */
};

struct hold_added_set;
/* Copies the list. At most 100,000 tokens of at most 1,024 bytes. */
int hold_added_new(struct hold_added_set **out, const struct hold_added *list, size_t n,
                   struct hold_error *err);
void hold_added_free(struct hold_added_set *s);
void hold_added_hash(const struct hold_added_set *s, struct hold_hash *hash);
/* Token by its exact text; NULL when there is none. */
const struct hold_added *hold_added_find(const struct hold_added_set *s, const char *text);

/* A search: which of the two passes, and where special tokens may lie: at bytes i with allowed[i]
 * non-zero, or everywhere (allowed NULL and all), or nowhere. */
struct hold_added_search {
    bool normalized;
    const unsigned char *allowed;
    bool all;
};
/* Leftmost longest token in text[at, n): it and its span, blanks around it included as its flags
 * say (never before `at`).  NULL: none. */
const struct hold_added *hold_added_next(const struct hold_added_set *s,
                                         const struct hold_added_search *how, const char *text,
                                         size_t at, size_t n, size_t *begin, size_t *end);

#endif
