/* pretok_regex.c: pre-tokenizer patterns without a scanner, matched by PCRE2 under limits. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "tokenizer/pretok.h"

enum { PATTERN_MAX = 4096 };
/* A match is first tried with FIRST steps; each further try, with 16 times more, is paid from the
 * text's budget.  So a text costs at most FIRST steps a byte and the budget. */
enum { FIRST = 1000, BUDGET_BASE = 1 << 26, BUDGET_PER_BYTE = 256 };

struct hold_regex {
    pcre2_code *code;
    char *where;
};

/* Escapes that Oniguruma and PCRE2 understand alike (with UTF and UCP). */
static bool same_escape(char c) {
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) {
        return strchr("pPsSdDrntfx", c) != NULL;
    }
    return (unsigned char)c < 0x80;
}

static int refuse(const char *where, const char *what, const char *at, struct hold_error *err) {
    return hold_fail(err, HOLD_EUNSUPPORTED,
                     "%s: pattern uses %s at \"%.8s\", which is not supported", where, what, at);
}

/* PCRE2 still counts U+180E among the blanks, Oniguruma does not: \s is written out. */
#define BLANKS "\\t-\\r \\x{85}\\p{Z}"

/* Letters and numbers of Unicode 15 and 16, which Oniguruma knows and the PCRE2 of Unicode 14 does
 * not. */
static const char NEW_LETTERS[] =
    "\\x{1C89}-\\x{1C8A}\\x{A7CB}-\\x{A7CD}\\x{A7DA}-\\x{A7DC}\\x{105C0}-\\x{105F3}"
    "\\x{10D4A}-\\x{10D65}\\x{10D6F}-\\x{10D85}\\x{10EC2}-\\x{10EC4}\\x{1123F}-\\x{11240}"
    "\\x{11380}-\\x{11389}\\x{1138B}\\x{1138E}\\x{11390}-\\x{113B5}\\x{113B7}\\x{113D1}"
    "\\x{113D3}\\x{11BC0}-\\x{11BE0}\\x{11F02}\\x{11F04}-\\x{11F10}\\x{11F12}-\\x{11F33}"
    "\\x{1342F}\\x{13441}-\\x{13446}\\x{13460}-\\x{143FA}\\x{16100}-\\x{1611D}\\x{16D40}-\\x{16D6C}"
    "\\x{18CFF}\\x{1B132}\\x{1B155}\\x{1DF25}-\\x{1DF2A}\\x{1E030}-\\x{1E06D}\\x{1E4D0}-\\x{1E4EB}"
    "\\x{1E5D0}-\\x{1E5ED}\\x{1E5F0}\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}";
static const char NEW_NUMBERS[] =
    "\\x{10D40}-\\x{10D49}\\x{116D0}-\\x{116E3}\\x{11BF0}-\\x{11BF9}\\x{11F50}-\\x{11F59}"
    "\\x{16130}-\\x{16139}\\x{16D70}-\\x{16D79}\\x{1CCF0}-\\x{1CCF9}\\x{1D2C0}-\\x{1D2D3}"
    "\\x{1E4F0}-\\x{1E4F9}\\x{1E5F1}-\\x{1E5FA}";

static bool is_wide_class(const char *p) {
    return strncmp(p, "\\p{L}", 5) == 0 || strncmp(p, "\\p{N}", 5) == 0;
}

/* One escape, p at its backslash; of \p{L} and \p{N} all of it. */
static int translate_escape(const char *p, bool in_class, const char *where, struct hold_str *out,
                            struct hold_error *err) {
    if (p[1] == '\0' || !same_escape(p[1]) || (in_class && p[1] == 'S')) {
        return refuse(where, "an escape", p, err);
    }
    if (p[1] == 's' && in_class) {
        hold_str_add(out, BLANKS);
    } else if (p[1] == 's' || p[1] == 'S') {
        hold_str_add(out, p[1] == 's' ? "[" BLANKS "]" : "[^" BLANKS "]");
    } else if (is_wide_class(p)) {
        hold_str_add(out, in_class ? "" : "[");
        hold_str_add(out, p[3] == 'L' ? NEW_LETTERS : NEW_NUMBERS);
        hold_str_add_bytes(out, p, 5);
        hold_str_add(out, in_class ? "" : "]");
    } else {
        hold_str_add_bytes(out, p, 2);
    }
    return HOLD_OK;
}

/* The pattern for PCRE2. It uses only what both engines read alike, else the offender is named. */
static int translate(const char *pattern, const char *where, struct hold_str *out,
                     struct hold_error *err) {
    bool in_class = false;
    int rc = HOLD_OK;
    for (const char *p = pattern; rc == HOLD_OK && *p != '\0'; p++) {
        if (*p == '\\') {
            rc = translate_escape(p, in_class, where, out, err);
            p += is_wide_class(p) ? 4 : 1;
            continue;
        }
        if (in_class && (*p == '[' || (*p == '&' && p[1] == '&'))) {
            rc = refuse(where, "a class within a class", p, err);
        } else if (!in_class && *p == '(' && p[1] == '*') {
            rc = refuse(where, "a verb", p, err);
        } else if (!in_class && *p == '(' && p[1] == '?' &&
                   (p[2] == '\0' || strchr(":!=<>i#", p[2]) == NULL ||
                    (p[2] == 'i' && p[3] != ':'))) {
            rc = refuse(where, "a group", p, err);
        } else if (*p == '[' && !in_class) {
            in_class = true;
            size_t skip = p[1] == '^' ? 1 : 0;
            skip += p[1 + skip] == ']' ? 1 : 0; /* a bracket that comes first is itself */
            hold_str_add_bytes(out, p, skip);
            p += skip;
        } else if (*p == ']') {
            in_class = false;
        }
        hold_str_add_char(out, *p);
    }
    return rc == HOLD_OK ? hold_str_check(out, err) : rc;
}

int hold_regex_new(struct hold_regex **out, const char *pattern, const char *where,
                   struct hold_error *err) {
    *out = NULL;
    if (strlen(pattern) > PATTERN_MAX) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s: pattern of %zu bytes, at most %d are taken",
                         where, strlen(pattern), PATTERN_MAX);
    }
    struct hold_str translated = HOLD_STR_INIT;
    struct hold_regex *r = NULL;
    int rc = translate(pattern, where, &translated, err);
    if (rc == HOLD_OK) {
        rc = hold_new((void **)&r, 1, sizeof *r, "pattern", err);
    }
    if (rc != HOLD_OK) {
        hold_str_release(&translated);
        return rc;
    }
    int code = 0;
    PCRE2_SIZE offset = 0;
    r->code = pcre2_compile((PCRE2_SPTR)hold_str_text(&translated), translated.len,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, NULL);
    hold_str_release(&translated);
    r->where = hold_strdup(where);
    if (r->code == NULL) {
        char text[200] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
        rc = hold_fail(err, HOLD_EFORMAT, "%s: pattern, offset %zu: %s", where, (size_t)offset,
                       text);
    } else if (r->where == NULL) {
        rc = hold_fail(err, HOLD_ENOMEMORY, "out of memory for a pattern");
    } else {
        uint32_t empty = 0;
        pcre2_pattern_info(r->code, PCRE2_INFO_MATCHEMPTY, &empty);
        if (empty != 0) {
            rc = hold_fail(err, HOLD_EUNSUPPORTED,
                           "%s: pattern can match nothing, which is not supported", where);
        }
    }
    if (rc != HOLD_OK) {
        hold_regex_free(r);
        return rc;
    }
    *out = r;
    return HOLD_OK;
}

void hold_regex_free(struct hold_regex *r) {
    if (r != NULL) {
        pcre2_code_free(r->code);
        hold_free(r->where);
        hold_free(r);
    }
}

size_t hold_regex_budget(size_t n) {
    return n > (SIZE_MAX - BUDGET_BASE) / BUDGET_PER_BYTE ? SIZE_MAX
                                                          : BUDGET_BASE + n * BUDGET_PER_BYTE;
}

int hold_regex_find(const struct hold_regex *r, const char *text, size_t at, size_t n,
                    size_t *budget, bool *found, size_t *begin, size_t *end,
                    struct hold_error *err) {
    *found = false;
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(r->code, NULL);
    int rc = HOLD_OK;
    if (limits == NULL || data == NULL) {
        rc = hold_fail(err, HOLD_ENOMEMORY, "out of memory for a pattern");
        goto cleanup;
    }
    pcre2_set_heap_limit(limits, 64 * 1024); /* KiB */
    int got = PCRE2_ERROR_MATCHLIMIT;
    for (size_t steps = FIRST;; steps *= 16) {
        pcre2_set_match_limit(limits, (uint32_t)steps);
        pcre2_set_depth_limit(limits, (uint32_t)steps);
        got = pcre2_match(r->code, (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK, data, limits);
        bool over = got == PCRE2_ERROR_MATCHLIMIT || got == PCRE2_ERROR_DEPTHLIMIT;
        if (!over || steps * 16 > *budget || steps > UINT32_MAX / 16) {
            break;
        }
        *budget -= steps * 16;
    }
    if (got >= 0) {
        const PCRE2_SIZE *spans = pcre2_get_ovector_pointer(data);
        *found = true;
        *begin = spans[0];
        *end = spans[1];
    } else if (got != PCRE2_ERROR_NOMATCH) {
        rc = hold_fail(err, HOLD_EDATA,
                       "%s: pattern needs too many steps at byte %zu of a text of %zu bytes",
                       r->where, at, n);
    }
cleanup:
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
    return rc;
}
