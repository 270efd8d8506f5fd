/* template_lex.c: template source to tokens, with Jinja's rules for whitespace around tags
 * (trim_blocks and lstrip_blocks on, as in `transformers`). */
#include <string.h>

#include "base/str.h"
#include "tokenizer/template_internal.h"
#include "tokenizer/unicode.h"

struct lexer {
    struct hold_arena *arena;
    const char *source, *name;
    size_t n, at;
    int line;
    bool line_starting; /* the last tag ended in a new line, or there was none yet */
    struct hold_lex *out;
    size_t len, cap;
    struct hold_error *err;
};

static int fail(struct lexer *l, const char *what) {
    return hold_fail(l->err, HOLD_EFORMAT, "%s:%d: %s", l->name, l->line, what);
}

static int push(struct lexer *l, struct hold_lex token) {
    if (l->len == l->cap) {
        size_t cap = l->cap == 0 ? 256 : 2 * l->cap;
        struct hold_lex *out = hold_arena_alloc(l->arena, cap * sizeof *out);
        if (out == NULL) {
            return hold_fail(l->err, HOLD_ENOMEMORY, "out of memory for a template");
        }
        if (l->len > 0) {
            memcpy(out, l->out, l->len * sizeof *out);
        }
        l->out = out;
        l->cap = cap;
    }
    token.line = l->line;
    l->out[l->len++] = token;
    return HOLD_OK;
}

/* Move over n bytes, counting lines. */
static void advance(struct lexer *l, size_t n) {
    for (size_t i = 0; i < n; i++) {
        l->line += l->source[l->at + i] == '\n';
    }
    l->at += n;
}

static bool looking_at(const struct lexer *l, const char *text) {
    size_t n = strlen(text);
    return l->n - l->at >= n && memcmp(l->source + l->at, text, n) == 0;
}

/* Python's str.isspace for one character. */
static bool is_blank(int32_t c) {
    return hold_unicode_class(c) == HOLD_CLASS_SPACE || (c >= 0x1C && c <= 0x1F);
}

static size_t skip_blanks(const struct lexer *l, size_t at) {
    while (at < l->n) {
        size_t next = at;
        if (!is_blank(hold_unicode_next((const unsigned char *)l->source, &next))) {
            break;
        }
        at = next;
    }
    return at;
}

/* Text [begin, end) without the blanks at its end. */
static size_t strip_end(const struct lexer *l, size_t begin, size_t end) {
    while (end > begin) {
        size_t at = end - 1;
        while (at > begin && ((unsigned char)l->source[at] & 0xC0) == 0x80) {
            at--;
        }
        size_t next = at;
        if (!is_blank(hold_unicode_next((const unsigned char *)l->source, &next))) {
            break;
        }
        end = at;
    }
    return end;
}

/* Text [begin, end) before a tag of `kind`, whose sign is '-', '+' or 0: where it ends when the
 * whitespace rules were applied. */
static size_t data_end(const struct lexer *l, size_t begin, size_t end, char kind, char sign) {
    if (sign == '-') {
        return strip_end(l, begin, end);
    }
    if (sign == '+' || kind == '{') {
        return end;
    }
    size_t start = end;
    while (start > begin && l->source[start - 1] != '\n') {
        start--;
    }
    bool whole_line = start > begin || l->line_starting;
    return whole_line && strip_end(l, start, end) == start ? start : end;
}

/* After a closing delimiter: what it swallows, by its sign and kind. */
static void close_tag(struct lexer *l, size_t delimiter, char kind, char sign) {
    size_t end = l->at + delimiter;
    if (sign == '-') {
        end = skip_blanks(l, end);
    } else if (sign != '+' && kind != '{' && end < l->n && l->source[end] == '\n') {
        end++;
    }
    advance(l, end - l->at);
    l->line_starting = l->source[l->at - 1] == '\n';
}

static int lex_comment(struct lexer *l) {
    const char *close = memmem(l->source + l->at, l->n - l->at, "#}", 2);
    if (close == NULL) {
        return fail(l, "comment without its end \"#}\"");
    }
    size_t end = (size_t)(close - l->source);
    char sign = end > l->at ? l->source[end - 1] : 0;
    sign = sign == '-' || sign == '+' ? sign : 0;
    advance(l, end - l->at);
    close_tag(l, 2, '#', sign);
    return HOLD_OK;
}

/* Value of n hexadecimal digits at p, or -1. */
static int32_t hex(const char *p, size_t n, size_t left) {
    int32_t value = 0;
    if (left < n) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        int32_t digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
        if (digit < 0 || value > 0x10FFFF) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* One escape of a Python string at p (behind the backslash); appends to out and returns how many
 * bytes it took, 0: an escape that cannot be read. */
static size_t unescape(const char *p, size_t left, struct hold_str *out) {
    static const char FROM[] = "\\'\"abfnrtv", TO[] = "\\'\"\a\b\f\n\r\t\v";
    const char *known = *p != '\0' ? strchr(FROM, *p) : NULL;
    if (known != NULL) {
        hold_str_add_char(out, TO[known - FROM]);
        return 1;
    }
    if (*p == '\n') {
        return 1;
    }
    if (*p >= '0' && *p <= '7') {
        int32_t value = 0;
        size_t n = 0;
        while (n < 3 && n < left && p[n] >= '0' && p[n] <= '7') {
            value = value * 8 + p[n++] - '0';
        }
        hold_unicode_add(out, value);
        return n;
    }
    size_t digits = *p == 'x' ? 2 : *p == 'u' ? 4 : *p == 'U' ? 8 : 0;
    if (digits > 0) {
        int32_t value = hex(p + 1, digits, left - 1);
        if (value < 0 || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
            return 0;
        }
        hold_unicode_add(out, value);
        return 1 + digits;
    }
    if (*p == 'N') {
        return 0;
    }
    hold_str_add_char(out, '\\'); /* Python keeps an unknown escape as it is */
    hold_str_add_char(out, *p);
    return 1;
}

static int lex_text(struct lexer *l) {
    char quote = l->source[l->at];
    size_t begin = l->at + 1, end = begin;
    bool escapes = false;
    while (end < l->n && l->source[end] != quote) {
        escapes = escapes || l->source[end] == '\\';
        end += l->source[end] == '\\' ? 2 : 1;
    }
    if (end >= l->n) {
        return fail(l, "string without its end");
    }
    struct hold_lex token = {.kind = HOLD_LEX_TEXT, .text = l->source + begin, .len = end - begin};
    if (escapes) {
        struct hold_str out = HOLD_STR_INIT;
        for (size_t i = begin; i < end;) {
            if (l->source[i] != '\\') {
                hold_str_add_char(&out, l->source[i++]);
                continue;
            }
            size_t took = unescape(l->source + i + 1, end - i - 1, &out);
            if (took == 0) {
                hold_str_release(&out);
                return fail(l, "string escape that cannot be read");
            }
            i += 1 + took;
        }
        token.text = hold_arena_strndup(l->arena, hold_str_text(&out), out.len);
        token.len = out.len;
        bool lost = out.out_of_memory || token.text == NULL;
        hold_str_release(&out);
        if (lost) {
            return hold_fail(l->err, HOLD_ENOMEMORY, "out of memory for a template");
        }
    }
    int rc = push(l, token);
    advance(l, end + 1 - l->at);
    return rc;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Digits from `at`, with single underscores between them: where they end. */
static size_t skip_digits(const struct lexer *l, size_t at) {
    while (at < l->n && (is_digit(l->source[at]) ||
                         (l->source[at] == '_' && at + 1 < l->n && is_digit(l->source[at + 1])))) {
        at++;
    }
    return at;
}

static int lex_number(struct lexer *l) {
    size_t end = skip_digits(l, l->at), mark = end;
    if (end + 1 < l->n && l->source[end] == '.' && is_digit(l->source[end + 1])) {
        end = skip_digits(l, end + 1);
    }
    if (end < l->n && (l->source[end] == 'e' || l->source[end] == 'E')) {
        size_t sign = end + 1;
        sign += sign < l->n && (l->source[sign] == '+' || l->source[sign] == '-');
        end = sign < l->n && is_digit(l->source[sign]) ? skip_digits(l, sign) : end;
    }
    char digits[64];
    size_t n = 0;
    for (size_t i = l->at; i < end && n + 1 < sizeof digits; i++) {
        if (l->source[i] != '_') {
            digits[n++] = l->source[i];
        }
    }
    digits[n] = '\0';
    struct hold_lex token = {.kind = end > mark ? HOLD_LEX_REAL : HOLD_LEX_INT};
    if (n + 1 == sizeof digits) {
        return fail(l, "number that is too long");
    }
    if (token.kind == HOLD_LEX_REAL && !hold_parse_real(digits, &token.real)) {
        return fail(l, "number that cannot be read");
    }
    for (size_t i = 0; token.kind == HOLD_LEX_INT && i < n; i++) {
        if (__builtin_mul_overflow(token.integer, (int64_t)10, &token.integer) ||
            __builtin_add_overflow(token.integer, (int64_t)(digits[i] - '0'), &token.integer)) {
            return fail(l, "integer that does not fit 64 bits");
        }
    }
    int rc = push(l, token);
    advance(l, end - l->at);
    return rc;
}

static bool is_name(char c, bool first) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80 || (!first && is_digit(c));
}

static int lex_sign(struct lexer *l, char *open, int *depth) {
    static const char *const SIGNS[] = {"==", "!=", "<=", ">=", "**", "//", "+", "-", "*",
                                        "/",  "%",  "<",  ">",  "~",  "|",  "=", ".", ":",
                                        ",",  "(",  ")",  "[",  "]",  "{",  "}"};
    size_t k = 0;
    while (k < sizeof SIGNS / sizeof SIGNS[0] && !looking_at(l, SIGNS[k])) {
        k++;
    }
    if (k == sizeof SIGNS / sizeof SIGNS[0]) {
        return hold_fail(l->err, HOLD_EFORMAT, "%s:%d: found \"%.1s\", expected an expression",
                         l->name, l->line, l->source + l->at);
    }
    char c = SIGNS[k][0];
    if (c == '(' || c == '[' || c == '{') {
        if (*depth == HOLD_NEST_MAX) {
            return hold_fail(l->err, HOLD_EFORMAT, "%s:%d: brackets nested deeper than %d", l->name,
                             l->line, HOLD_NEST_MAX);
        }
        open[(*depth)++] = c;
    } else if (c == ')' || c == ']' || c == '}') {
        char want = c == ')' ? '(' : c == ']' ? '[' : '{';
        if (*depth == 0 || open[*depth - 1] != want) {
            return hold_fail(l->err, HOLD_EFORMAT, "%s:%d: unexpected \"%c\"", l->name, l->line, c);
        }
        (*depth)--;
    }
    int rc = push(
        l, (struct hold_lex){.kind = HOLD_LEX_SIGN, .text = SIGNS[k], .len = strlen(SIGNS[k])});
    advance(l, strlen(SIGNS[k]));
    return rc;
}

/* The inside of {{ }} or {% %}, up to and with its end. */
static int lex_inside(struct lexer *l, char kind) {
    char open[HOLD_NEST_MAX];
    int depth = 0, begin = l->line;
    const char *end = kind == '{' ? "}}" : "%}";
    for (;;) {
        advance(l, skip_blanks(l, l->at) - l->at);
        if (l->at == l->n) {
            return hold_fail(l->err, HOLD_EFORMAT, "%s:%d: tag without its end \"%s\"", l->name,
                             begin, end);
        }
        char c = l->source[l->at];
        char sign = c == '-' || (c == '+' && kind == '%') ? c : 0;
        size_t skip = sign != 0 ? 1 : 0;
        if (depth == 0 && l->n - l->at >= skip + 2 &&
            memcmp(l->source + l->at + skip, end, 2) == 0) {
            int rc = push(
                l, (struct hold_lex){.kind = kind == '{' ? HOLD_LEX_OUT_END : HOLD_LEX_TAG_END});
            close_tag(l, skip + 2, kind, sign);
            return rc;
        }
        int rc = HOLD_OK;
        if (c == '"' || c == '\'') {
            rc = lex_text(l);
        } else if (is_digit(c)) {
            rc = lex_number(l);
        } else if (is_name(c, true)) {
            size_t stop = l->at;
            while (stop < l->n && is_name(l->source[stop], false)) {
                stop++;
            }
            rc =
                push(l, (struct hold_lex){
                            .kind = HOLD_LEX_NAME, .text = l->source + l->at, .len = stop - l->at});
            l->at = stop;
        } else {
            rc = lex_sign(l, open, &depth);
        }
        if (rc != HOLD_OK) {
            return rc;
        }
    }
}

/* Where the next tag begins, or n. */
static size_t next_tag(const struct lexer *l) {
    for (size_t i = l->at; i + 1 < l->n; i++) {
        if (l->source[i] == '{' && strchr("{%#", l->source[i + 1]) != NULL) {
            return i;
        }
    }
    return l->n;
}

int hold_template_lex(struct hold_arena *arena, const char *source, size_t n, const char *name,
                      struct hold_lex **out, struct hold_error *err) {
    struct lexer l = {.arena = arena,
                      .source = source,
                      .name = name,
                      .n = n,
                      .line = 1,
                      .line_starting = true,
                      .err = err};
    int rc = HOLD_OK;
    while (rc == HOLD_OK && l.at < n) {
        size_t tag = next_tag(&l), end = n;
        char kind = tag < n ? source[tag + 1] : 0, sign = tag + 2 < n ? source[tag + 2] : 0;
        sign = sign == '-' || sign == '+' ? sign : 0;
        end = tag < n ? data_end(&l, l.at, tag, kind, sign) : n;
        if (end > l.at) {
            rc = push(&l, (struct hold_lex){
                              .kind = HOLD_LEX_DATA, .text = source + l.at, .len = end - l.at});
        }
        advance(&l, tag - l.at);
        if (rc != HOLD_OK || tag == n) {
            break;
        }
        l.at += sign != 0 ? 3 : 2;
        if (kind == '#') {
            rc = lex_comment(&l);
            continue;
        }
        rc = push(&l,
                  (struct hold_lex){.kind = kind == '{' ? HOLD_LEX_OUT_BEGIN : HOLD_LEX_TAG_BEGIN});
        if (rc == HOLD_OK) {
            rc = lex_inside(&l, kind);
        }
    }
    if (rc == HOLD_OK) {
        rc = push(&l, (struct hold_lex){.kind = HOLD_LEX_END});
    }
    *out = l.out;
    return rc;
}
