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

/* The length of an escape, p at its backslash. */
static size_t escape_length(const char *p) {
    const char *end = (p[1] == 'p' || p[1] == 'P') && p[2] == '{' ? strchr(p, '}') : NULL;
    return end != NULL ? (size_t)(end - p) + 1 : 2;
}

/* One escape of n bytes, p at its backslash. */
static int translate_escape(const char *p, size_t n, bool in_class, const char *where,
                            struct hold_str *out, struct hold_error *err) {
    bool property = p[1] == 'p' || p[1] == 'P', negated = p[1] == 'S' || p[1] == 'D' || p[1] == 'P';
    if (p[1] == '\0' || !same_escape(p[1]) || (in_class && negated) || (property && n <= 4)) {
        return refuse(where, "an escape", p, err);
    }
    if (!property && strchr("sSdD", p[1]) == NULL) {
        hold_str_add_bytes(out, p, n);
        return HOLD_OK;
    }
    hold_str_add(out, in_class ? "" : negated ? "[^" : "[");
    if (p[1] == 's' || p[1] == 'S') {
        hold_str_add(out, BLANKS);
    } else if (!hold_property_items(property ? p + 3 : "Nd", property ? n - 4 : 2, out)) {
        return refuse(where, "a property", p, err);
    }
    hold_str_add(out, in_class ? "" : "]");
    return HOLD_OK;
}

/* A class within a class adds its characters; its brackets, p at one of them, can go where no range
 * would come of it. */
static bool can_flatten(const char *p) {
    return *p == '[' ? p[-1] != '-' && p[1] != '\0' && strchr("^:-]", p[1]) == NULL
                     : p[-1] != '-' && p[1] != '-';
}

/* The pattern for PCRE2. It uses only what both engines read alike, else the offender is named. */
static int translate(const char *pattern, const char *where, struct hold_str *out,
                     struct hold_error *err) {
    int depth = 0; /* of classes */
    int rc = HOLD_OK;
    for (const char *p = pattern; rc == HOLD_OK && *p != '\0'; p++) {
        if (*p == '\\') {
            size_t n = escape_length(p);
            rc = translate_escape(p, n, depth > 0, where, out, err);
            p += n - 1;
            continue;
        }
        bool inner = (depth > 0 && *p == '[') || (depth > 1 && *p == ']');
        if ((inner && !can_flatten(p)) || (depth > 0 && *p == '&' && p[1] == '&')) {
            rc = refuse(where, "a class within a class", p, err);
        } else if (depth == 0 && *p == '(' && p[1] == '*') {
            rc = refuse(where, "a verb", p, err);
        } else if (depth == 0 && *p == '(' && p[1] == '?' &&
                   (p[2] == '\0' || strchr(":!=<>i#", p[2]) == NULL ||
                    (p[2] == 'i' && p[3] != ':'))) {
            rc = refuse(where, "a group", p, err);
        } else if (*p == '[' && depth == 0) {
            size_t skip = p[1] == '^' ? 1 : 0;
            skip += p[1 + skip] == ']' ? 1 : 0; /* a bracket that comes first is itself */
            hold_str_add_bytes(out, p, skip + 1);
            p += skip;
            depth = 1;
            continue;
        }
        if (!inner) {
            hold_str_add_char(out, *p);
        }
        depth += depth == 0 ? 0 : *p == '[' ? 1 : *p == ']' ? -1 : 0;
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
