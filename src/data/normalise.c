/* normalise.c: the text that identifies a row: letters and digits in lower case, single spaces. */
#include <stdbool.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "data/rows.h"

enum {
    SIGMA = 0x3A3,
    SMALL_SIGMA = 0x3C3,
    FINAL_SIGMA = 0x3C2,
    DOTTED_I = 0x130,
    COMBINING_DOT = 0x307
};

/* ---- properties ---- */

/* Python's str.isalnum for one character: every N* character has a numeric value. */
static bool is_alnum(utf8proc_int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return true;
    default:
        return false;
    }
}

/* The derived property Case_Ignorable (Unicode 3.13, D136). */
static bool is_case_ignorable(utf8proc_int32_t c) {
    static const utf8proc_int32_t WORD_MIDDLE[] = {0x27,   0x2E,   0x3A,   0xB7,   0x387,  0x55F,
                                                   0x5F4,  0x2018, 0x2019, 0x2024, 0x2027, 0xFE13,
                                                   0xFE52, 0xFE55, 0xFF07, 0xFF0E, 0xFF1A};
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        for (size_t i = 0; i < sizeof(WORD_MIDDLE) / sizeof(WORD_MIDDLE[0]); i++)
            if (c == WORD_MIDDLE[i])
                return true;
        return false;
    }
}

/* The derived property Cased (D135) of characters that are not Case_Ignorable and that NFKC
 * leaves: the letters, and the negative circled and squared capitals. */
static bool is_cased(utf8proc_int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
        return true;
    default:
        return (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
    }
}

/* ---- NFKC ---- */

/* utf8proc sorts a run of combining marks by insertion; a hostile run is cut into pieces of this
 * length so that time stays linear. */
enum { MARKS_MAX = 128 };
static const utf8proc_option_t NFKC = UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_COMPOSE;

static bool may_reorder(utf8proc_int32_t c) {
    /* The halfwidth voiced sound marks are letters that decompose into combining marks. */
    if (c == 0xFF9E || c == 0xFF9F)
        return true;
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
           category == UTF8PROC_CATEGORY_ME;
}

/* Bytes of the next piece of the text; *bad: it is not UTF-8. */
static size_t piece_bytes(const utf8proc_uint8_t *text, size_t n, bool *bad) {
    size_t at = 0, marks = 0;
    while (at < n && marks < MARKS_MAX) {
        utf8proc_int32_t c;
        utf8proc_ssize_t taken = utf8proc_iterate(text + at, (utf8proc_ssize_t)(n - at), &c);
        if (taken < 1) {
            *bad = true;
            return 0;
        }
        marks = may_reorder(c) ? marks + 1 : 0;
        at += (size_t)taken;
    }
    return at;
}

struct chars {
    utf8proc_int32_t *c;
    size_t n, cap;
};

/* Append the characters of the NFKC form of one piece. */
static int compose_piece(struct chars *s, const utf8proc_uint8_t *text, size_t n,
                         struct hold_error *err) {
    utf8proc_ssize_t need = utf8proc_decompose(text, (utf8proc_ssize_t)n, NULL, 0, NFKC);
    if (need < 0)
        return hold_fail(err, HOLD_EDATA, "cannot normalise a text: %s", utf8proc_errmsg(need));
    size_t cap = s->cap, bytes;
    while (cap - s->n < (size_t)need)
        cap = cap ? 2 * cap : 256;
    if (cap > s->cap) {
        utf8proc_int32_t *grown =
            hold_mul_size(cap, sizeof(*grown), &bytes) ? hold_realloc(s->c, bytes) : NULL;
        if (!grown)
            return hold_fail(err, HOLD_ENOMEMORY, "not enough memory to normalise a text");
        s->c = grown;
        s->cap = cap;
    }
    utf8proc_int32_t *at = s->c + s->n;
    utf8proc_decompose(text, (utf8proc_ssize_t)n, at, need, NFKC);
    s->n += (size_t)utf8proc_normalize_utf32(at, need, NFKC);
    return HOLD_OK;
}

static int compose(struct chars *s, const char *text, struct hold_error *err) {
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)text;
    size_t n = strlen(text);
    bool wrong = false;
    int status = HOLD_OK;
    while (n && !status) {
        size_t bytes = piece_bytes(p, n, &wrong);
        if (wrong)
            return hold_fail(err, HOLD_EDATA, "cannot normalise a text that is not UTF-8");
        status = compose_piece(s, p, bytes, err);
        p += bytes;
        n -= bytes;
    }
    return status;
}

/* ---- lower case ---- */

/* Unicode's Final_Sigma: behind a cased letter and not before one, looking over what is
 * Case_Ignorable.  A sigma ends the search of the one before, so all searches together are
 * linear. */
static bool is_final_sigma(const struct chars *s, size_t at, bool after_cased) {
    size_t next = at + 1;
    while (next < s->n && is_case_ignorable(s->c[next]))
        next++;
    return after_cased && (next == s->n || !is_cased(s->c[next]));
}

struct writer {
    struct hold_str *out;
    size_t start; /* of this text in out */
    bool space;   /* one is due before the next letter or digit */
};

static void put(struct writer *w, utf8proc_int32_t c) {
    utf8proc_uint8_t bytes[4];
    if (!is_alnum(c)) {
        w->space = true;
        return;
    }
    if (w->space && w->out->len > w->start)
        hold_str_add_char(w->out, ' ');
    w->space = false;
    hold_str_add_bytes(w->out, bytes, (size_t)utf8proc_encode_char(c, bytes));
}

/* Python's str.lower: the simple mapping but for the two characters that have a longer or a
 * context-dependent one. */
static void put_lower(const struct chars *s, struct writer *w) {
    bool after_cased = false;
    for (size_t i = 0; i < s->n; i++) {
        utf8proc_int32_t c = s->c[i];
        if (c == SIGMA) {
            put(w, is_final_sigma(s, i, after_cased) ? FINAL_SIGMA : SMALL_SIGMA);
        } else if (c == DOTTED_I) {
            put(w, 'i');
            put(w, COMBINING_DOT);
        } else {
            put(w, utf8proc_tolower(c));
        }
        if (!is_case_ignorable(c))
            after_cased = is_cased(c);
    }
}

/* ---- interface ---- */

/* A task's instruction stands before the text and is followed by space. */
static const char *after_instruction(const char *text, const char *instruction) {
    if (!instruction || !*instruction || !hold_starts(text, instruction))
        return text;
    const char *rest = text + strlen(instruction);
    return *rest == '\n' || *rest == ' ' || *rest == '\t' || *rest == '\r' ? rest : text;
}

int hold_row_normalise(const char *text, const char *instruction, struct hold_str *out,
                       struct hold_error *err) {
    struct chars composed = {0};
    struct writer w = {out, out->len, false};
    int status = compose(&composed, after_instruction(text, instruction), err);
    if (!status) {
        put_lower(&composed, &w);
        status = hold_str_check(out, err);
    }
    hold_free(composed.c);
    return status;
}
