/* pretok.h: pre-tokenizers: how text is cut into the pieces that BPE never merges across.
 *
 * A pre-tokenizer is a short list of stages, each of which cuts every piece of the stage before;
 * the known patterns are linear scanners, other regular expressions go to PCRE2 under limits.
 */
#ifndef HOLD_TOKENIZER_PRETOK_H
#define HOLD_TOKENIZER_PRETOK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/hash.h"
#include "base/status.h"
#include "tokenizer/normalize.h"

struct hold_pretok;

/* By GGUF name ("smollm", "gpt-2", "llama-bpe", "qwen2" ...); unknown names: EUNSUPPORTED. */
int hold_pretok_named(struct hold_pretok **out, const char *name, struct hold_error *err);
/* From tokenizer.json's "pre_tokenizer"; null cuts nothing.  `where` starts messages. */
int hold_pretok_json(struct hold_pretok **out, const json_t *spec, const char *where,
                     struct hold_error *err);
void hold_pretok_free(struct hold_pretok *p);
/* Whether ByteLevel is part of it: pieces are of bytes. */
bool hold_pretok_is_bytes(const struct hold_pretok *p);
/* What is done to the text before it is cut (Metaspace, ByteLevel's add_prefix_space). */
const struct hold_normalizer *hold_pretok_lead(const struct hold_pretok *p);
/* Add the rules to a hash. */
void hold_pretok_hash(const struct hold_pretok *p, struct hold_hash *hash);

/* Called for each piece text[begin, end) in order. */
struct hold_pretok_sink {
    int (*piece)(void *user, size_t begin, size_t end, struct hold_error *err);
    void *user;
};
/* Cut n bytes of valid UTF-8. */
int hold_pretok_run(const struct hold_pretok *p, const char *text, size_t n,
                    const struct hold_pretok_sink *sink, struct hold_error *err);

/* Linear scanners (pretok_scan.c): the end of the piece that begins at `at`, always > at. */
size_t hold_scan_gpt2(const unsigned char *text, size_t at, size_t n);
size_t hold_scan_llama(const unsigned char *text, size_t at, size_t n);
size_t hold_scan_qwen(const unsigned char *text, size_t at, size_t n);
/* The scanner for a pattern that has one, else NULL. */
struct hold_scanner {
    const char *name, *pattern;
    size_t (*scan)(const unsigned char *text, size_t at, size_t n);
};
const struct hold_scanner *hold_scanner_find(const char *pattern);

/* The items of a class that make up \p{name}, n bytes of name, appended to *out (properties.c):
 * general categories but C and Cn, and scripts.  False: another kind of property. */
bool hold_property_items(const char *name, size_t n, struct hold_str *out);

/* PCRE2 (pretok_regex.c).  Only syntax that means the same in Oniguruma is taken, and classes
 * within classes; patterns that can match nothing are refused. */
struct hold_regex;
int hold_regex_new(struct hold_regex **out, const char *pattern, const char *where,
                   struct hold_error *err);
void hold_regex_free(struct hold_regex *r);
/* Steps that one text may still cost; start with hold_regex_budget(bytes of text). */
size_t hold_regex_budget(size_t n);
/* First match in text[at, n): *found, *begin, *end.  Over budget: EDATA. */
int hold_regex_find(const struct hold_regex *r, const char *text, size_t at, size_t n,
                    size_t *budget, bool *found, size_t *begin, size_t *end,
                    struct hold_error *err);

#endif
