/* unicode.h: UTF-8 and the character classes that pre-tokenizers speak of.
 *
 * Classes follow utf8proc (Unicode 15 in Debian 12) plus the code points assigned in Unicode 16 and
 * 17 that the `tokenizers` crate already knows (Oniguruma of Unicode 16 for regular expressions,
 * Rust's char::is_numeric of Unicode 17 for the Digits pre-tokenizer); compared over all code
 * points with tokenizers 0.23.
 */
#ifndef HOLD_TOKENIZER_UNICODE_H
#define HOLD_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

enum hold_class { HOLD_CLASS_OTHER, HOLD_CLASS_LETTER, HOLD_CLASS_NUMBER, HOLD_CLASS_SPACE };

/* Code point at text[*at] of valid UTF-8; *at moves behind it. */
int32_t hold_unicode_next(const unsigned char *text, size_t *at);
/* Where the extended grapheme cluster ends that begins at `at` < n, in n bytes of valid UTF-8. */
size_t hold_unicode_grapheme(const unsigned char *text, size_t n, size_t at);
/* \p{L}, \p{N}, \s or none of them: the four classes part all code points. */
enum hold_class hold_unicode_class(int32_t c);
/* Rust's char::is_numeric: general categories Nd, Nl and No. */
bool hold_unicode_numeric(int32_t c);
/* ASCII punctuation and the general categories P*. */
bool hold_unicode_punctuation(int32_t c);
/* Append c (a scalar value) as UTF-8. */
void hold_unicode_add(struct hold_str *out, int32_t c);

/* Valid text for n bytes of any kind: *out is a copy in which each invalid byte is U+FFFD, and
 * *from[i] the offset in `text` of the byte that byte i of *out came from. Both owned by the
 * caller (hold_str_release, hold_free). */
int hold_unicode_repair(const char *text, size_t n, struct hold_str *out, size_t **from,
                        struct hold_error *err);

/* Append the full compatibility decomposition of c, not reordered. */
void hold_unicode_compat(int32_t c, struct hold_str *out);
/* Append the lower case of c, as Rust's char::to_lowercase. */
void hold_unicode_lower(int32_t c, struct hold_str *out);

/* NFC (or, with `decompose`, NFD) of n bytes of valid UTF-8.  When the text is normal already,
 * *changed is false and nothing else is written.  Else *out is the normal form and *from[i] the
 * offset in `text` where the group of characters begins that byte i came from, *to[i] the offset
 * where that group ends (all owned by the caller). A run of combining marks is cut into pieces of
 * 256 so that time stays linear. */
int hold_unicode_normal(const char *text, size_t n, bool decompose, bool *changed,
                        struct hold_str *out, size_t **from, size_t **to, struct hold_error *err);

#endif
