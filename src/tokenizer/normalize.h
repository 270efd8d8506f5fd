/* normalize.h: normalizers: steps that change text before it is cut, each byte of the result
 * knowing which bytes it came from.
 */
#ifndef HOLD_TOKENIZER_NORMALIZE_H
#define HOLD_TOKENIZER_NORMALIZE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/hash.h"
#include "base/status.h"
#include "base/str.h"

struct hold_normalizer;

enum hold_normalize_kind {
    HOLD_NORMALIZE_NFC,
    HOLD_NORMALIZE_NFD,
    HOLD_NORMALIZE_COMPAT, /* each character by its compatibility decomposition */
    HOLD_NORMALIZE_LOWERCASE,
    HOLD_NORMALIZE_CHARSMAP,      /* SentencePiece's compiled map (charsmap.h) */
    HOLD_NORMALIZE_REPLACE,       /* every `pattern`, a literal, by `text` */
    HOLD_NORMALIZE_REPLACE_REGEX, /* every match of `pattern` by `text` */
    HOLD_NORMALIZE_PREPEND,       /* `text` before a text that is not empty */
    HOLD_NORMALIZE_LEAD,          /* the same, unless it begins with `text` */
    HOLD_NORMALIZE_LEAD_FIRST,    /* the same, only at the beginning of the whole text */
    HOLD_NORMALIZE_STRIP_LEFT,
    HOLD_NORMALIZE_STRIP_RIGHT
};

int hold_normalizer_new(struct hold_normalizer **out, struct hold_error *err);
void hold_normalizer_free(struct hold_normalizer *n);
/* Append a step; pattern and text (NULL: none) are copied.  `where` starts messages. */
int hold_normalizer_add(struct hold_normalizer *n, enum hold_normalize_kind kind,
                        const char *pattern, const char *text, const char *where,
                        struct hold_error *err);
/* Append what tokenizer.json's "normalizer" says; null adds nothing. */
int hold_normalizer_add_json(struct hold_normalizer *n, const json_t *spec, struct hold_error *err);
bool hold_normalizer_empty(const struct hold_normalizer *n);
/* Whether NFC is the one and only step. */
bool hold_normalizer_is_nfc(const struct hold_normalizer *n);
void hold_normalizer_hash(const struct hold_normalizer *n, struct hold_hash *hash);

/* Byte i of the result came from the bytes from[i] to to[i] of the text; from and to are NULL when
 * nothing changed or nobody asked. */
struct hold_normal {
    const char *text; /* the text itself when nothing changed, else that of `store` */
    size_t n;
    struct hold_str store;
    size_t *from, *to;
};
/* Normalise n bytes of valid UTF-8; `first`: they begin the whole text; `mapped`: fill from and to.
 * The caller releases *out, also after an error. */
int hold_normalizer_run(const struct hold_normalizer *s, const char *text, size_t n, bool first,
                        bool mapped, struct hold_normal *out, struct hold_error *err);
void hold_normal_release(struct hold_normal *n);

#endif
