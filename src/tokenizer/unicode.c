/* unicode.c: UTF-8 decoding, character classes and composition. */
#include "tokenizer/unicode.h"

#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"

int32_t hold_unicode_next(const unsigned char *text, size_t *at) {
    const unsigned char *p = text + *at;
    if (p[0] < 0x80) {
        *at += 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *at += 2;
        return (p[0] & 0x1F) << 6 | (p[1] & 0x3F);
    }
    if (p[0] < 0xF0) {
        *at += 3;
        return (p[0] & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    }
    *at += 4;
    return (p[0] & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}

size_t hold_unicode_grapheme(const unsigned char *text, size_t n, size_t at) {
    utf8proc_int32_t state = 0;
    int32_t last = hold_unicode_next(text, &at);
    while (at < n) {
        size_t next = at;
        int32_t c = hold_unicode_next(text, &next);
        if (utf8proc_grapheme_break_stateful(last, c, &state)) {
            return at;
        }
        last = c;
        at = next;
    }
    return n;
}

struct range {
    int32_t first, last;
};

/* Letters and numbers of Unicode 16 that Unicode 15 had not assigned. */
static const struct range NEW_LETTERS[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3},
    {0x10D4A, 0x10D65}, {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389},
    {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7},
    {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0}, {0x13460, 0x143FA},
    {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
    {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D},
};
static const struct range NEW_NUMBERS[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x16130, 0x16139},
    {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1E5F1, 0x1E5FA},
};
/* Unicode 17. */
static const struct range NEWER_NUMBERS[] = {{0x11DE0, 0x11DE9}, {0x16FF4, 0x16FF6}};

static bool within(const struct range *ranges, size_t n, int32_t c) {
    for (size_t i = 0; i < n; i++) {
        if (c >= ranges[i].first && c <= ranges[i].last) {
            return true;
        }
    }
    return false;
}
#define WITHIN(ranges, c) within((ranges), sizeof(ranges) / sizeof((ranges)[0]), (c))

enum hold_class hold_unicode_class(int32_t c) {
    if (c < 128) {
        int32_t lower = c | 0x20;
        return lower >= 'a' && lower <= 'z'           ? HOLD_CLASS_LETTER
               : c == ' ' || (c >= '\t' && c <= '\r') ? HOLD_CLASS_SPACE
               : c >= '0' && c <= '9'                 ? HOLD_CLASS_NUMBER
                                                      : HOLD_CLASS_OTHER;
    }
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return HOLD_CLASS_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return HOLD_CLASS_NUMBER;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return HOLD_CLASS_SPACE;
    case UTF8PROC_CATEGORY_CC:
        return c == 0x85 ? HOLD_CLASS_SPACE : HOLD_CLASS_OTHER;
    case UTF8PROC_CATEGORY_CN:
        return WITHIN(NEW_LETTERS, c)   ? HOLD_CLASS_LETTER
               : WITHIN(NEW_NUMBERS, c) ? HOLD_CLASS_NUMBER
                                        : HOLD_CLASS_OTHER;
    default:
        return HOLD_CLASS_OTHER;
    }
}

bool hold_unicode_numeric(int32_t c) {
    return hold_unicode_class(c) == HOLD_CLASS_NUMBER ||
           (c >= NEWER_NUMBERS[0].first && WITHIN(NEWER_NUMBERS, c));
}

bool hold_unicode_punctuation(int32_t c) {
    if (c < 128) {
        return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
               (c >= '{' && c <= '~');
    }
    utf8proc_category_t category = utf8proc_category(c);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

void hold_unicode_add(struct hold_str *out, int32_t c) {
    utf8proc_uint8_t bytes[4];
    hold_str_add_bytes(out, bytes, (size_t)utf8proc_encode_char(c, bytes));
}

/* Note for `count` new bytes of *out that they came from `offset`. */
static void note(size_t *map, size_t at, size_t count, size_t offset) {
    for (size_t i = 0; i < count; i++) {
        map[at + i] = offset;
    }
}

int hold_unicode_repair(const char *text, size_t n, struct hold_str *out, size_t **from,
                        struct hold_error *err) {
    *from = NULL;
    size_t bytes = 0; /* U+FFFD takes three bytes for one */
    if (!hold_mul_size(n, 3, &bytes)) {
        return hold_fail(err, HOLD_ENOMEMORY, "text of %zu bytes is too long", n);
    }
    int rc = hold_new((void **)from, bytes + 1, sizeof **from, "text offsets", err);
    for (size_t at = 0; rc == HOLD_OK && at < n;) {
        long bad = hold_utf8_check(text + at, n - at);
        size_t good = bad < 0 ? n - at : (size_t)bad;
        for (size_t i = 0; i < good; i++) {
            (*from)[out->len + i] = at + i;
        }
        hold_str_add_bytes(out, text + at, good);
        at += good;
        if (bad >= 0) {
            note(*from, out->len, 3, at++);
            hold_str_add(out, "\xEF\xBF\xBD");
        }
        rc = hold_str_check(out, err);
    }
    if (rc != HOLD_OK) {
        hold_free(*from);
        *from = NULL;
    }
    return rc;
}

enum { GROUP = 256, EXPAND = 18 }; /* no code point decomposes into more than 18 */

/* Canonical composition of `n` code points in place; the new count, or negative. */
static utf8proc_ssize_t compose(int32_t *codes, utf8proc_ssize_t n) {
    return utf8proc_normalize_utf32(codes, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
}

/* Whether `next` belongs to the group of characters that ends in `last`: a combining mark, or a
 * character that composes with it. */
static bool joins(int32_t last, int32_t next) {
    if (next < 0x300) {
        return false;
    }
    int32_t parts[EXPAND];
    utf8proc_ssize_t n =
        utf8proc_decompose_char(next, parts, EXPAND, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, NULL);
    if (n > 0 && utf8proc_get_property(parts[0])->combining_class != 0) {
        return true;
    }
    int32_t pair[2 * EXPAND] = {last, next};
    return compose(pair, 2) == 1;
}

void hold_unicode_compat(int32_t c, struct hold_str *out) {
    int32_t codes[EXPAND];
    utf8proc_ssize_t n = utf8proc_decompose_char(
        c, codes, EXPAND, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, NULL);
    for (utf8proc_ssize_t i = 0; i < n && i < EXPAND; i++) {
        hold_unicode_add(out, codes[i]);
    }
}

void hold_unicode_lower(int32_t c, struct hold_str *out) {
    if (c == 0x130) { /* the one letter whose lower case is two characters */
        hold_str_add(out, "i\xCC\x87");
    } else {
        hold_unicode_add(out, utf8proc_tolower(c));
    }
}

/* Decompose, order and compose the characters of text[begin..end) onto out. */
static int add_group(const char *text, size_t begin, size_t end, bool decompose,
                     struct hold_str *out, struct hold_error *err) {
    int32_t codes[(GROUP + 1) * 4];
    utf8proc_ssize_t n =
        utf8proc_decompose((const utf8proc_uint8_t *)text + begin, (utf8proc_ssize_t)(end - begin),
                           codes, (GROUP + 1) * 4, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
    if (n < 0 || n > (GROUP + 1) * 4) {
        return hold_fail(err, HOLD_EDATA, "offset %zu: text cannot be normalised", begin);
    }
    n = decompose ? n : compose(codes, n);
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        hold_unicode_add(out, codes[i]);
    }
    return HOLD_OK;
}

/* The end of the group that begins at `at`. */
static size_t group_end(const char *text, size_t n, size_t at) {
    const unsigned char *bytes = (const unsigned char *)text;
    int32_t last = hold_unicode_next(bytes, &at);
    for (int count = 0; at < n && count < GROUP; count++) {
        size_t next = at;
        int32_t c = hold_unicode_next(bytes, &next);
        if (!joins(last, c)) {
            break;
        }
        int32_t pair[2 * EXPAND] = {last, c};
        last = compose(pair, 2) == 1 ? pair[0] : c;
        if (utf8proc_get_property(last)->combining_class != 0) {
            last = 0; /* a mark never composes with what follows it */
        }
        at = next;
    }
    return at;
}

int hold_unicode_normal(const char *text, size_t n, bool decompose, bool *changed,
                        struct hold_str *out, size_t **from, size_t **to, struct hold_error *err) {
    *changed = false;
    *from = *to = NULL;
    size_t plain = 0;
    /* Below U+0300 all is NFC, below U+00C0 all is NFD. */
    unsigned char bound = decompose ? 0xC3 : 0xCC;
    while (plain < n && (unsigned char)text[plain] < bound) {
        plain++;
    }
    if (plain == n) {
        return HOLD_OK;
    }
    size_t cap = 0;
    int rc = HOLD_OK;
    if (!hold_mul_size(n, 3, &cap)) {
        return hold_fail(err, HOLD_ENOMEMORY, "text of %zu bytes is too long", n);
    }
    rc = hold_new((void **)from, cap + 1, sizeof **from, "text offsets", err);
    if (rc == HOLD_OK) {
        rc = hold_new((void **)to, cap + 1, sizeof **to, "text offsets", err);
    }
    for (size_t at = 0; rc == HOLD_OK && at < n;) {
        size_t end = group_end(text, n, at), before = out->len;
        rc = add_group(text, at, end, decompose, out, err);
        if (rc == HOLD_OK) {
            rc = hold_str_check(out, err);
        }
        if (rc == HOLD_OK && out->len > cap) {
            rc = hold_fail(err, HOLD_EDATA, "offset %zu: normal form grows too much", at);
        }
        if (rc == HOLD_OK) {
            note(*from, before, out->len - before, at);
            note(*to, before, out->len - before, end);
        }
        at = end;
    }
    if (rc == HOLD_OK && out->len == n && memcmp(out->data, text, n) == 0) {
        hold_str_clear(out);
    } else if (rc == HOLD_OK) {
        *changed = true;
        return HOLD_OK;
    }
    hold_free(*from);
    hold_free(*to);
    *from = *to = NULL;
    return rc;
}
