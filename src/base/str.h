/* str.h: a growing byte string.  Appending never fails half-way: when memory runs out the string
 * is marked and empty, later appends do nothing, and hold_str_check reports it once. */
#ifndef HOLD_BASE_STR_H
#define HOLD_BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct hold_str {
    char *data; /* always NUL-terminated once anything was appended; NULL before */
    size_t len, cap;
    bool out_of_memory;
};
#define HOLD_STR_INIT \
    { 0 }

void hold_str_add(struct hold_str *s, const char *text);
void hold_str_add_bytes(struct hold_str *s, const void *bytes, size_t n);
void hold_str_add_char(struct hold_str *s, char c);
void hold_str_addf(struct hold_str *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void hold_str_vaddf(struct hold_str *s, const char *format, va_list args);
/* Shortest decimal that reads back as the same double: "0.1", "2e-4", "1e20", "12"; "nan", "inf".
 */
void hold_str_add_real(struct hold_str *s, double value);
/* Make room for `extra` more bytes and a NUL; false (and marked) when memory is out. */
bool hold_str_reserve(struct hold_str *s, size_t extra);
void hold_str_cut(struct hold_str *s, size_t len); /* shorten to len */
void hold_str_clear(struct hold_str *s);           /* length 0, mark off, memory kept */
void hold_str_release(struct hold_str *s);
const char *hold_str_text(const struct hold_str *s); /* never NULL: "" when empty */
/* The text itself, which the caller owns (hold_free), NULL when memory ran out; s is empty after.
 */
char *hold_str_take(struct hold_str *s);
int hold_str_check(const struct hold_str *s, struct hold_error *err);

/* Small helpers over C strings. */
bool hold_starts(const char *text, const char *prefix);
bool hold_ends(const char *text, const char *suffix);
/* Levenshtein distance, for "did you mean"; NULL when no candidate is near (distance <= 1/3 of the
 * length + 1).  `names` holds n strings. */
const char *hold_nearest(const char *word, const char *const *names, size_t n);
/* First invalid UTF-8 byte's offset, or -1 when all n bytes are valid (rejects surrogates,
 * overlong forms and code points above 10FFFF). */
long hold_utf8_check(const void *bytes, size_t n);
/* How many of n >= 1 bytes are one character (whole), or else the longest beginning of one, at
 * least 1: what Unicode, Python and Rust replace by a single U+FFFD. */
size_t hold_utf8_part(const void *bytes, size_t n, bool *whole);

/* Text and numbers, whatever the locale of the process. */
/* As vsnprintf. */
int hold_vformat(char *out, size_t cap, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
/* Copy text so that it is one harmless line of valid UTF-8: control characters and invalid bytes
 * become \n, \t or \xNN; cut at cap - 1 bytes, never inside a character.  cap > 0. */
void hold_visible(char *out, size_t cap, const char *text);
/* The whole text must be one decimal number ("12", "-0.5", "1e-4"): no space around it, no hex, no
 * nan or inf, no overflow.  hold_parse_int also takes integral forms such as "1e3" or "2.0". */
bool hold_parse_real(const char *text, double *out);
bool hold_parse_int(const char *text, int64_t *out);
/* true when value is a whole number within +-2^53, then also in *out. */
bool hold_real_to_int(double value, int64_t *out);

#endif
