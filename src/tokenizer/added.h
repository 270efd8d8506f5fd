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
/* Where a search of a text is; zero it to start.  Blanks that a token takes along are searched on
 * for tokens, as in `tokenizers`, so `done` may lie before or after `next`. */
struct hold_added_place {
    size_t next;               /* where the last match ended */
    size_t done;               /* where the text behind the last token begins */
    size_t blanks, blanks_end; /* a run of blanks that was walked along */
};
/* The next token of text[0, n), leftmost longest, and where it begins: the text before it is that
 * from the old `done` to *begin, if any.  Blanks around a token are its own as its flags say (those
 * before it not below `done`).  NULL: none. */
const struct hold_added *hold_added_next(const struct hold_added_set *s,
                                         const struct hold_added_search *how, const char *text,
                                         size_t n, struct hold_added_place *at, size_t *begin);

#endif
