/* charsmap.c: reading SentencePiece's compiled map of characters and looking texts up in it. */
#include "tokenizer/charsmap.h"

#include <sodium.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

enum { BASE64_MAX = 1 << 25, HEAD = 4, UNIT = 4 };

struct hold_charsmap {
    unsigned char *bytes; /* owned: what the base64 says, and a NUL */
    size_t n_bytes;
    size_t n_units;   /* of the trie, which begins at bytes + HEAD */
    const char *text; /* replacements */
    size_t n_text;
};

static uint32_t word(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int read_parts(struct hold_charsmap *m, const char *where, struct hold_error *err) {
    size_t trie = m->n_bytes >= HEAD ? word(m->bytes) : 0;
    if (trie == 0 || trie % UNIT != 0 || trie > m->n_bytes - HEAD) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: precompiled_charsmap of %zu bytes says that its trie has %zu", where,
                         m->n_bytes, trie);
    }
    m->n_units = trie / UNIT;
    m->text = (const char *)m->bytes + HEAD + trie;
    m->n_text = m->n_bytes - HEAD - trie;
    if (hold_utf8_check(m->text, m->n_text) >= 0) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: precompiled_charsmap: the replacements are not UTF-8", where);
    }
    return HOLD_OK;
}

int hold_charsmap_new(struct hold_charsmap **out, const char *base64, const char *where,
                      struct hold_error *err) {
    struct hold_charsmap *m = NULL;
    size_t n = strlen(base64), most = n / 4 * 3 + 3;
    *out = NULL;
    if (n > BASE64_MAX) {
        return hold_fail(err, HOLD_EFORMAT, "%s: precompiled_charsmap of more than %d bytes", where,
                         BASE64_MAX);
    }
    int rc = hold_new((void **)&m, 1, sizeof *m, "map of characters", err);
    if (rc == HOLD_OK) {
        rc = hold_new((void **)&m->bytes, most + 1, 1, "map of characters", err);
    }
    const char *end = NULL;
    if (rc == HOLD_OK && (sodium_base642bin(m->bytes, most, base64, n, NULL, &m->n_bytes, &end,
                                            sodium_base64_VARIANT_ORIGINAL) != 0 ||
                          end != base64 + n)) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: precompiled_charsmap is not base64", where);
    }
    if (rc == HOLD_OK) {
        m->bytes[m->n_bytes] = 0;
        rc = read_parts(m, where, err);
    }
    if (rc != HOLD_OK) {
        hold_charsmap_free(m);
        return rc;
    }
    *out = m;
    return HOLD_OK;
}

void hold_charsmap_free(struct hold_charsmap *m) {
    if (m != NULL) {
        hold_free(m->bytes);
        hold_free(m);
    }
}

void hold_charsmap_hash(const struct hold_charsmap *m, struct hold_hash *hash) {
    hold_hash_add(hash, m->bytes, m->n_bytes);
}

/* Fields of a unit of darts-clone's double array. */
static uint32_t label(uint32_t unit) {
    return unit & (UINT32_C(1) << 31 | 0xFF);
}
static uint32_t offset(uint32_t unit) {
    return unit >> 10 << ((unit & UINT32_C(1) << 9) >> 6);
}
static bool has_leaf(uint32_t unit) {
    return (unit >> 8 & 1) != 0;
}
static uint32_t value(uint32_t unit) {
    return unit & ((UINT32_C(1) << 31) - 1);
}

bool hold_charsmap_find(const struct hold_charsmap *m, const char *text, size_t n,
                        const char **to) {
    const unsigned char *trie = m->bytes + HEAD;
    uint32_t at = offset(word(trie));
    for (size_t i = 0; i < n && text[i] != '\0'; i++) {
        at ^= (unsigned char)text[i];
        if (at >= m->n_units) {
            return false;
        }
        uint32_t unit = word(trie + (size_t)at * UNIT);
        if (label(unit) != (unsigned char)text[i]) {
            return false;
        }
        at ^= offset(unit);
        if (has_leaf(unit)) {
            size_t from = at < m->n_units ? value(word(trie + (size_t)at * UNIT)) : m->n_text;
            /* Inside a character: no replacement that a map's maker wrote. */
            if (from >= m->n_text || ((unsigned char)m->text[from] & 0xC0) == 0x80) {
                return false;
            }
            *to = m->text + from;
            return true;
        }
    }
    return false;
}
