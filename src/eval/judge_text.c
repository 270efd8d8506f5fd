/* judge_text.c: an answer cut into lower-case words, clauses and a few counts. */
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "eval/judge_parts.h"

/* Longest special token we take away, and the most bytes a contraction grows by. */
enum { MAX_MARKER = 40, MAX_WORD = 64, GROW = 8 };

static const char *const markers[] = {
    "</s>",
    "<s>",
    "<pad>",
    "<unk>",
    "<eos>",
    "<bos>",
    "<mask>",
    "[pad]",
    "[eos]",
    "[bos]",
    "[inst]",
    "[/inst]",
    "<<sys>>",
    "<</sys>>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<endoftext>",
    "### response:",
    "### instruction:",
    "### input:",
    NULL,
};

/* n't and its kin; the longest endings first.  `replace` is the whole word's new form, or, when it
 * starts with '+', a second word. */
static const struct {
    const char *ending, *replace;
} contractions[] = {
    {"can't", "cannot"}, {"cant", "cannot"},  {"won't", "will+not"}, {"shan't", "shall+not"},
    {"ain't", "is+not"}, {"let's", "let+us"}, {"dont", "do+not"},    {"wont", "will+not"},
    {"n't", "+not"},     {"'m", "+am"},       {"'ll", "+will"},      {"'ve", "+have"},
    {"'d", "+would"},    {"'re", "+are"},     {"'s", "+is"},
};

struct reader {
    struct hold_judge_text *t;
    const char *at;
    char *pool;
    uint32_t word_flags, segment_flags;
    size_t list_marks;
    bool line_start, quoted, single, in_code;
};

static utf8proc_int32_t peek(const char *at, size_t *bytes) {
    utf8proc_int32_t c = 0;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)at, -1, &c);
    *bytes = n > 0 ? (size_t)n : 1;
    return n > 0 ? c : 0xFFFD;
}

static bool is_word_char(utf8proc_int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
        return true;
    default:
        return false;
    }
}

/* Scripts without blanks: every character is a word of its own. */
static bool is_ideograph(utf8proc_int32_t c) {
    return (c >= 0x2E80 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) || c >= 0x20000;
}

static bool is_blank(utf8proc_int32_t c) {
    utf8proc_category_t k = utf8proc_category(c);
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || k == UTF8PROC_CATEGORY_ZS ||
           k == UTF8PROC_CATEGORY_ZL || k == UTF8PROC_CATEGORY_ZP || k == UTF8PROC_CATEGORY_CF ||
           k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_MN || c == 0x2800 || c == 0x3164;
}

static void segment_close(struct reader *r, uint32_t flags) {
    struct hold_judge_text *t = r->t;
    struct hold_judge_segment *s = &t->segment[t->n_segments];
    s->n = t->n_words - s->first;
    if (s->n > 0 || (r->segment_flags & HOLD_SEG_STAND_IN)) {
        s->flags = r->segment_flags | flags;
        t->n_segments++;
        t->segment[t->n_segments] = (struct hold_judge_segment){.first = t->n_words};
        r->segment_flags = r->in_code ? HOLD_SEG_CODE : 0;
    }
}

/* "can" "not" is "cannot", so that tables need one form. */
static void word_put(struct reader *r, const char *text, size_t n, uint32_t flags) {
    struct hold_judge_text *t = r->t;
    if (n == 3 && memcmp(text, "not", 3) == 0 && t->n_words > 0 &&
        strcmp(t->word[t->n_words - 1].text, "can") == 0) {
        t->word[t->n_words - 1].text = "cannot";
        return;
    }
    bool breaks = (n == 3 && memcmp(text, "but", 3) == 0) ||
                  ((flags & HOLD_WORD_COMMA) && ((n == 3 && memcmp(text, "yet", 3) == 0) ||
                                                 (n == 2 && memcmp(text, "so", 2) == 0) ||
                                                 (n == 7 && memcmp(text, "however", 7) == 0) ||
                                                 (n == 6 && memcmp(text, "though", 6) == 0)));
    if (breaks && !(flags & HOLD_WORD_QUOTED))
        segment_close(r, 0);
    memcpy(r->pool, text, n);
    r->pool[n] = 0;
    t->word[t->n_words++] = (struct hold_judge_word){r->pool, flags};
    r->pool += n + 1;
    r->word_flags = 0;
    t->terminated = false;
}

static void word_expand(struct reader *r, char *text, size_t n, uint32_t flags) {
    for (size_t i = 0; i < sizeof(contractions) / sizeof(contractions[0]); i++) {
        const char *ending = contractions[i].ending, *replace = contractions[i].replace;
        size_t m = strlen(ending);
        bool whole = replace[0] != '+';
        if (n < m || (whole && n != m) || (!whole && n == m) ||
            memcmp(text + n - m, ending, m) != 0)
            continue;
        const char *plus = strchr(replace, '+');
        if (!whole)
            word_put(r, text, n - m, flags);
        else
            word_put(r, replace, plus ? (size_t)(plus - replace) : strlen(replace), flags);
        if (plus)
            word_put(r, plus + 1, strlen(plus + 1), flags & ~(uint32_t)HOLD_WORD_COMMA);
        return;
    }
    word_put(r, text, n, flags);
}

static bool is_apostrophe(utf8proc_int32_t c) {
    return c == '\'' || c == 0x2019 || c == 0x2BC;
}

static void word_read(struct reader *r) {
    char buffer[MAX_WORD + GROW];
    size_t n = 0, bytes;
    bool digits = true;
    utf8proc_int32_t c;
    while ((c = peek(r->at, &bytes)) != 0) {
        size_t after;
        bool inside = is_word_char(c);
        if (!inside && is_apostrophe(c) && n > 0)
            inside = is_word_char(peek(r->at + bytes, &after)) && !digits;
        /* A number keeps its point and its thousands' comma. */
        if (!inside && (c == '.' || c == ',') && digits && n > 0)
            inside = r->at[bytes] >= '0' && r->at[bytes] <= '9';
        if (!inside)
            break;
        utf8proc_uint8_t encoded[4];
        utf8proc_int32_t lower = is_apostrophe(c) ? '\'' : utf8proc_tolower(c);
        size_t m = (size_t)utf8proc_encode_char(lower, encoded);
        if (n + m > MAX_WORD)
            break;
        memcpy(buffer + n, encoded, m);
        n += m;
        if (c >= '0' && c <= '9') {
            r->t->digits++;
        } else if (is_word_char(c)) {
            r->t->letters++;
            digits = false;
        }
        r->at += bytes;
        if (is_ideograph(c))
            break;
    }
    uint32_t flags =
        r->word_flags | (r->quoted ? HOLD_WORD_QUOTED : 0u) | (digits ? HOLD_WORD_NUMBER : 0u);
    word_expand(r, buffer, n, flags);
}

/* Bytes of a special token at p, 0 when there is none. */
static size_t marker_length(const char *p) {
    if (p[0] == '<' && p[1] == '|')
        for (size_t i = 2; i < MAX_MARKER && p[i] != 0 && p[i] != '\n'; i++)
            if (p[i] == '|' && p[i + 1] == '>')
                return i + 2;
    for (size_t i = 0; markers[i]; i++) {
        size_t n = strlen(markers[i]);
        if (strncasecmp(p, markers[i], n) == 0)
            return n;
    }
    return 0;
}

/* A list mark at the start of a line: "1.", "2)", "-", "*", "#".  A number that ends the text is a
 * mark only when it continues the count, so that "42." stays an answer. */
static size_t list_mark_length(struct reader *r) {
    const char *p = r->at;
    size_t n = 0;
    if (p[0] == '-' || p[0] == '*' || p[0] == '#' || p[0] == '>' || p[0] == '+') {
        while (p[n] == p[0])
            n++;
        return p[n] == ' ' || p[n] == 0 || p[n] == '\n' || (p[0] == '*' && n == 2) ? n : 0;
    }
    if (strncmp(p, "\xE2\x80\xA2", 3) == 0)
        return 3;
    size_t value = 0;
    while (n < 3 && p[n] >= '0' && p[n] <= '9')
        value = value * 10 + (size_t)(p[n++] - '0');
    if (n == 0 || n > 2 || (p[n] != '.' && p[n] != ')'))
        return 0;
    n++;
    size_t blanks = strspn(p + n, " \t\r\n");
    if (p[n] != 0 && blanks == 0)
        return 0;
    bool last = p[n + blanks] == 0 || strchr(p + n, '\n') == p + n;
    return !last || value == r->list_marks + 1 ? n : 0;
}

/* "[name of city]", also cut off by the end of the text: something stands in for content. */
static size_t stand_in_length(const char *p) {
    size_t n = 1, letters = 0;
    while (p[n] != 0 && p[n] != ']' && p[n] != '\n' && n < 80) {
        letters += (p[n] >= 'a' && p[n] <= 'z') || (p[n] >= 'A' && p[n] <= 'Z');
        n++;
    }
    return letters >= 3 && (p[n] == ']' || p[n] == 0) ? n : 0;
}

static void quote_read(struct reader *r, utf8proc_int32_t c) {
    if (c == 0x201C || c == 0xAB || c == 0x201E)
        r->quoted = true;
    else if (c == 0x201D || c == 0xBB)
        r->quoted = false;
    else if (c == '"')
        r->quoted = !r->quoted;
}

/* A single quotation mark opens after a blank and closes before one. */
static void apostrophe_read(struct reader *r, const char *begin, size_t bytes) {
    bool before = r->at > begin && (is_word_char((unsigned char)r->at[-1]) || r->at[-1] == '.' ||
                                    r->at[-1] == '?' || r->at[-1] == '!' || r->at[-1] == ',');
    size_t n;
    bool after = is_word_char(peek(r->at + bytes, &n));
    if (!before && after && !r->quoted)
        r->quoted = r->single = true;
    else if (before && !after && r->single)
        r->quoted = r->single = false;
}

static void symbol_count(struct hold_judge_text *t, utf8proc_int32_t c, const char *at) {
    t->symbols++;
    if (strchr("-*#`>_+.", c < 128 ? c : 'x'))
        t->mark_symbols++;
    if (c == 0xFFFD || (c >= 0x80 && c < 0xA0) || c == 0x20AC || c == 0x2122 || c == 0xBF ||
        c == 0xBD || c == 0xAC)
        t->broken++;
    if (strncmp(at, "{{", 2) == 0 || strncmp(at, "{%", 2) == 0 || strncmp(at, "%s", 2) == 0 ||
        strncmp(at, "%d", 2) == 0 || strncmp(at, "${", 2) == 0 || strncmp(at, "<fill", 5) == 0)
        t->debris++;
    if (c == '=' || c == '{' || c == ';' || (c == '(' && at[1] == ')') || c == '\\')
        t->code_like = true;
    if (c == ',' || c == '\n' || c == '|')
        t->separators++;
    if (c == '=') {
        const char *next = at + 1 + strspn(at + 1, " $");
        t->equations += *next >= '0' && *next <= '9';
    }
    if (c == '.' || c == '!' || c == '?')
        t->terminated = true;
}

static void punctuation_read(struct reader *r, const char *begin) {
    size_t bytes;
    utf8proc_int32_t c = peek(r->at, &bytes);
    char next = r->at[bytes];
    if (!is_blank(c))
        symbol_count(r->t, c, r->at);
    if (c == '\n') {
        r->t->separators++;
        segment_close(r, 0);
        r->segment_flags |= HOLD_SEG_LINE;
        if (r->single || r->at[bytes] == '\n')
            r->quoted = r->single = false;
        r->line_start = true;
    } else if (strncmp(r->at, "```", 3) == 0) {
        segment_close(r, 0);
        r->in_code = !r->in_code;
        r->segment_flags = r->in_code ? HOLD_SEG_CODE : 0;
        bytes = 3;
    } else if (c == '[' && stand_in_length(r->at) > 0) {
        r->segment_flags |= HOLD_SEG_STAND_IN;
    } else if (is_apostrophe(c)) {
        apostrophe_read(r, begin, bytes);
    } else if (c == '.' || c == '!' || c == '?' || c == 0x2026 || c == 0x3002 || c == 0xFF01) {
        if (!is_word_char((unsigned char)next) || c != '.')
            segment_close(r, c == '?' ? HOLD_SEG_QUESTION : 0);
    } else if (c == ':' || c == ';' || c == 0x2014 || c == 0x2013 ||
               (c == '-' && (next == ' ' || next == '-') && r->at > begin && r->at[-1] == ' ')) {
        segment_close(r, c == ':' ? HOLD_SEG_COLON : 0);
    } else if (c == ',') {
        r->word_flags |= HOLD_WORD_COMMA;
    } else {
        quote_read(r, c);
    }
    r->at += bytes;
}

/* A text wholly inside one pair of quotation marks is not a quotation. */
static void unquote_all(struct hold_judge_text *t) {
    for (size_t i = 0; i < t->n_words; i++)
        if (!(t->word[i].flags & HOLD_WORD_QUOTED))
            return;
    for (size_t i = 0; i < t->n_words; i++)
        t->word[i].flags &= ~(uint32_t)HOLD_WORD_QUOTED;
}

/* Mis-decoded UTF-8 shows as these letters next to symbols. */
static bool is_mojibake_letter(utf8proc_int32_t c) {
    return c == 0xC3 || c == 0xC2 || c == 0xE2 || c == 0xEF;
}

/* What is counted on the raw code points: mis-decoded bytes and the longest run. */
static void raw_count(struct hold_judge_text *t, const char *text) {
    utf8proc_int32_t previous = 0;
    size_t run = 0, n;
    for (const char *p = text; *p; p += n) {
        utf8proc_int32_t c = peek(p, &n);
        if (is_mojibake_letter(c) && (unsigned char)p[n] >= 0x80)
            t->broken++;
        run = c == previous ? run + 1 : 1;
        previous = c;
        if (!is_blank(c) && run > t->longest_run)
            t->longest_run = run;
    }
}

int hold_judge_text_read(struct hold_judge_text *t, const char *text) {
    size_t bytes = strlen(text);
    *t = (struct hold_judge_text){0};
    /* A byte makes at most two words and a segment; a word adds its NUL and at most "not". */
    t->pool = hold_malloc(bytes * GROW + GROW);
    t->word = hold_calloc(bytes * 2 + 2, sizeof(*t->word));
    t->segment = hold_calloc(bytes + 2, sizeof(*t->segment));
    if (!t->pool || !t->word || !t->segment) {
        hold_judge_text_release(t);
        return -1;
    }
    struct reader r = {.t = t, .at = text, .pool = t->pool, .line_start = true};
    r.segment_flags = HOLD_SEG_LINE;
    raw_count(t, text);
    size_t n;
    while (*r.at) {
        if ((n = marker_length(r.at)) > 0) {
            segment_close(&r, 0);
            r.at += n;
            continue;
        }
        if (r.line_start && !r.in_code && (n = list_mark_length(&r)) > 0) {
            r.list_marks += r.at[0] >= '0' && r.at[0] <= '9';
            t->symbols += n;
            t->mark_symbols += n;
            r.segment_flags |= HOLD_SEG_LIST;
            r.at += n;
            r.line_start = false;
            continue;
        }
        utf8proc_int32_t c = peek(r.at, &n);
        r.line_start = r.line_start && is_blank(c);
        bool picture = utf8proc_category(c) == UTF8PROC_CATEGORY_SO && c >= 0x2190 && c != 0xFFFD;
        if (picture) {
            word_put(&r, r.at, n, r.word_flags);
            r.at += n;
            continue;
        }
        if (is_word_char(c) && !is_blank(c)) {
            word_read(&r);
            continue;
        }
        punctuation_read(&r, text);
    }
    segment_close(&r, 0);
    unquote_all(t);
    return 0;
}

void hold_judge_text_release(struct hold_judge_text *t) {
    hold_free(t->pool);
    hold_free(t->word);
    hold_free(t->segment);
    *t = (struct hold_judge_text){0};
}
