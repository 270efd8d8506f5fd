/* template_text.c: text operations; each keeps for every byte where it came from. */
#include <string.h>
#include <utf8proc.h>

#include "tokenizer/template_internal.h"
#include "tokenizer/unicode.h"

size_t hold_text_count(const struct hold_value *v) {
    size_t count = 0;
    for (size_t i = 0; i < v->len; i++) {
        count += ((unsigned char)v->text[i] & 0xC0) != 0x80;
    }
    return count;
}

struct hold_value hold_text_part(const struct hold_value *v, size_t from, size_t to) {
    struct hold_value out = hold_value_text(v->text + from, to - from, v->tag);
    out.tags = v->tags != NULL ? v->tags + from : NULL;
    return out;
}

/* Offset of the character before `at`. */
static size_t back(const struct hold_value *v, size_t at) {
    do {
        at--;
    } while (at > 0 && ((unsigned char)v->text[at] & 0xC0) == 0x80);
    return at;
}

static int32_t code_at(const struct hold_value *v, size_t *at) {
    return hold_unicode_next((const unsigned char *)v->text, at);
}

/* Python's str.isspace. */
static bool is_blank(int32_t c) {
    return hold_unicode_class(c) == HOLD_CLASS_SPACE || (c >= 0x1C && c <= 0x1F);
}

static bool stripped(const struct hold_value *chars, int32_t c) {
    if (chars == NULL || chars->kind != HOLD_VALUE_TEXT) {
        return is_blank(c);
    }
    for (size_t at = 0; at < chars->len;) {
        if (code_at(chars, &at) == c) {
            return true;
        }
    }
    return false;
}

struct hold_value hold_text_strip(const struct hold_value *v, const struct hold_value *chars,
                                  bool left, bool right) {
    size_t from = 0, to = v->len;
    while (left && from < to) {
        size_t next = from;
        if (!stripped(chars, code_at(v, &next))) {
            break;
        }
        from = next;
    }
    while (right && to > from) {
        size_t at = back(v, to), next = at;
        if (!stripped(chars, code_at(v, &next))) {
            break;
        }
        to = at;
    }
    return hold_text_part(v, from, to);
}

/* Offset of the character with index `index`, from offset `at` which has index `from`. */
static size_t seek(const struct hold_value *v, size_t at, int64_t from, int64_t index) {
    while (from < index && at < v->len) {
        code_at(v, &at);
        from++;
    }
    while (from > index && at > 0) {
        at = back(v, at);
        from--;
    }
    return at;
}

int hold_text_slice(struct hold_jinja *r, const struct hold_value *v, int64_t start, int64_t step,
                    int64_t count, struct hold_value *out) {
    int rc = hold_jinja_steps(r, v->len / 256);
    if (count <= 0) {
        *out = hold_text_part(v, 0, 0);
        return rc;
    }
    size_t at = seek(v, 0, 0, start);
    if (step == 1) {
        *out = hold_text_part(v, at, seek(v, at, start, start + count));
        return rc;
    }
    struct hold_sink s = {0};
    for (int64_t i = 0; rc == HOLD_OK && i < count; i++) {
        size_t end = at;
        code_at(v, &end);
        struct hold_value part = hold_text_part(v, at, end);
        rc = hold_sink_value(r, &s, &part);
        at = i + 1 < count ? seek(v, at, start + i * step, start + (i + 1) * step) : at;
    }
    rc = rc == HOLD_OK ? hold_sink_take(r, &s, out) : rc;
    hold_sink_release(&s);
    return rc;
}

enum letter_case { CASE_LOWER, CASE_UPPER, CASE_TITLE };

/* Append c in another case, with the origin of the character it is made of.  Of the mappings to
 * more than one character only those of sharp s, n with apostrophe and I with dot are known. */
static int add_cased(struct hold_jinja *r, struct hold_sink *s, int32_t c, enum letter_case to,
                     uint32_t tag) {
    static const struct {
        int32_t from;
        const char *to[3];
    } LONGER[] = {{0xDF, {NULL, "SS", "Ss"}},
                  {0x149, {NULL, "\xCA\xBCN", "\xCA\xBCN"}},
                  {0x130, {"i\xCC\x87", NULL, NULL}}};
    for (size_t i = 0; i < sizeof LONGER / sizeof LONGER[0]; i++) {
        if (LONGER[i].from == c && LONGER[i].to[to] != NULL) {
            return hold_sink_add(r, s, LONGER[i].to[to], strlen(LONGER[i].to[to]), NULL, tag);
        }
    }
    utf8proc_uint8_t bytes[4];
    int32_t mapped = to == CASE_LOWER   ? utf8proc_tolower(c)
                     : to == CASE_UPPER ? utf8proc_toupper(c)
                                        : utf8proc_totitle(c);
    utf8proc_ssize_t n = utf8proc_encode_char(mapped, bytes);
    return hold_sink_add(r, s, (const char *)bytes, (size_t)n, NULL, tag);
}

/* Jinja's title: words begin behind blanks and - ( { [ <. */
static bool begins_word(int32_t before) {
    return is_blank(before) || (before < 0x80 && before > 0 && strchr("-({[<", before) != NULL);
}

/* Unicode's Cased: letters with case, and what Other_Lowercase adds to them. */
static bool is_cased(int32_t c) {
    static const int32_t OTHERS[][2] = {
        {0xAA, 0xAA},     {0xBA, 0xBA},     {0x2B0, 0x2B8},   {0x2C0, 0x2C1},   {0x2E0, 0x2E4},
        {0x345, 0x345},   {0x37A, 0x37A},   {0x1D2C, 0x1D6A}, {0x1D78, 0x1D78}, {0x1D9B, 0x1DBF},
        {0x2071, 0x2071}, {0x207F, 0x207F}, {0x2090, 0x209C}, {0x2160, 0x217F}, {0x24B6, 0x24E9}};
    utf8proc_category_t category = utf8proc_category(c);
    bool cased = category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
                 category == UTF8PROC_CATEGORY_LT;
    for (size_t i = 0; !cased && i < sizeof OTHERS / sizeof OTHERS[0]; i++) {
        cased = c >= OTHERS[i][0] && c <= OTHERS[i][1];
    }
    return cased;
}

int hold_text_case(struct hold_jinja *r, const struct hold_value *v, char how,
                   struct hold_value *out) {
    struct hold_sink s = {0};
    int32_t before = -1;
    int rc = HOLD_OK;
    for (size_t at = 0; rc == HOLD_OK && at < v->len;) {
        uint32_t tag = v->tags != NULL ? v->tags[at] : v->tag;
        int32_t c = code_at(v, &at);
        bool upper = how == 'u' || (how == 't' && (before < 0 || begins_word(before)));
        bool title =
            (how == 'c' && before < 0) || (how == 'p' && (before < 0 || !is_cased(before)));
        rc = add_cased(r, &s, c, upper ? CASE_UPPER : title ? CASE_TITLE : CASE_LOWER, tag);
        before = c;
    }
    rc = rc == HOLD_OK ? hold_sink_take(r, &s, out) : rc;
    hold_sink_release(&s);
    return rc;
}

/* Offset of `what` in v from `at`, or v->len + 1. */
static size_t find_text(const struct hold_value *v, size_t at, const struct hold_value *what) {
    if (what->len == 0) {
        return at;
    }
    const char *hit = memmem(v->text + at, v->len - at, what->text, what->len);
    return hit != NULL ? (size_t)(hit - v->text) : v->len + 1;
}

int hold_text_replace(struct hold_jinja *r, const struct hold_value *v,
                      const struct hold_value *old, const struct hold_value *new_text,
                      int64_t count, struct hold_value *out) {
    struct hold_sink s = {0};
    size_t at = 0, begin = 0;
    int rc = HOLD_OK;
    for (; rc == HOLD_OK && count != 0; count--) {
        size_t hit = find_text(v, at, old);
        if (hit > v->len) {
            break;
        }
        struct hold_value part = hold_text_part(v, begin, hit);
        rc = hold_jinja_steps(r, 1);
        rc = rc == HOLD_OK ? hold_sink_value(r, &s, &part) : rc;
        rc = rc == HOLD_OK ? hold_sink_value(r, &s, new_text) : rc;
        begin = at = hit + old->len;
        if (old->len == 0) { /* between all characters */
            if (at == v->len) {
                break;
            }
            code_at(v, &at);
        }
    }
    struct hold_value rest = hold_text_part(v, begin, v->len);
    rc = rc == HOLD_OK ? hold_sink_value(r, &s, &rest) : rc;
    rc = rc == HOLD_OK ? hold_sink_take(r, &s, out) : rc;
    hold_sink_release(&s);
    return rc;
}

/* A list that grows by doubling. */
struct parts {
    struct hold_value *items;
    size_t n, cap;
};

static int add_part(struct hold_jinja *r, struct parts *p, struct hold_value part) {
    if (p->n == p->cap) {
        struct hold_value *items = NULL;
        size_t cap = p->cap == 0 ? 8 : 2 * p->cap;
        int rc = hold_jinja_alloc(r, cap, sizeof *items, &items);
        if (rc != HOLD_OK) {
            return rc;
        }
        if (p->n > 0) {
            memcpy(items, p->items, p->n * sizeof *items);
        }
        p->items = items;
        p->cap = cap;
    }
    p->items[p->n++] = part;
    return hold_jinja_steps(r, 1);
}

static int finish_parts(struct hold_jinja *r, const struct parts *p, struct hold_value *out) {
    int rc = hold_value_list(r, HOLD_VALUE_LIST, 0, out);
    if (rc == HOLD_OK) {
        *out->list = (struct hold_list){p->n, p->items};
    }
    return rc;
}

static int split_blanks(struct hold_jinja *r, const struct hold_value *v, int64_t most,
                        struct parts *p) {
    int rc = HOLD_OK;
    for (size_t at = 0; rc == HOLD_OK;) {
        struct hold_value rest = hold_text_part(v, at, v->len);
        rest = hold_text_strip(&rest, NULL, true, false);
        at = v->len - rest.len;
        if (rest.len == 0) {
            break;
        }
        size_t end = at, next = at;
        while (next < v->len && !is_blank(code_at(v, &next))) {
            end = next;
        }
        if (most == 0) {
            return add_part(r, p, rest);
        }
        rc = add_part(r, p, hold_text_part(v, at, end));
        at = end;
        most--;
    }
    return rc;
}

static int text_split(struct hold_jinja *r, const struct hold_value *self,
                      const struct hold_value *const *args, struct hold_value *out) {
    int64_t most = -1;
    struct parts p = {0};
    int rc = HOLD_OK;
    if (args[1] != NULL && !hold_value_integer(args[1], &most)) {
        return hold_jinja_fail(r, HOLD_EDATA, "split: maxsplit is %s", hold_value_kind(args[1]));
    }
    if (args[0] == NULL || args[0]->kind == HOLD_VALUE_NONE) {
        rc = split_blanks(r, self, most, &p);
        return rc == HOLD_OK ? finish_parts(r, &p, out) : rc;
    }
    if (args[0]->kind != HOLD_VALUE_TEXT || args[0]->len == 0) {
        return hold_jinja_fail(r, HOLD_EDATA, "split by %s",
                               args[0]->len == 0 ? "empty text" : hold_value_kind(args[0]));
    }
    size_t at = 0;
    for (; rc == HOLD_OK && most != 0; most--) {
        size_t hit = find_text(self, at, args[0]);
        if (hit > self->len) {
            break;
        }
        rc = add_part(r, &p, hold_text_part(self, at, hit));
        at = hit + args[0]->len;
    }
    rc = rc == HOLD_OK ? add_part(r, &p, hold_text_part(self, at, self->len)) : rc;
    return rc == HOLD_OK ? finish_parts(r, &p, out) : rc;
}

/* rsplit with a separator; without maxsplit it is split. */
static int text_rsplit(struct hold_jinja *r, const struct hold_value *self,
                       const struct hold_value *const *args, struct hold_value *out) {
    int64_t most = -1;
    struct parts p = {0};
    if (args[1] == NULL || !hold_value_integer(args[1], &most) || most < 0) {
        return text_split(r, self, args, out);
    }
    if (args[0] == NULL || args[0]->kind != HOLD_VALUE_TEXT || args[0]->len == 0) {
        return hold_jinja_fail(r, HOLD_EDATA, "rsplit needs a separator with maxsplit");
    }
    size_t end = self->len, n = args[0]->len;
    int rc = HOLD_OK;
    for (size_t at = end; rc == HOLD_OK && most > 0 && at >= n;) {
        if (memcmp(self->text + at - n, args[0]->text, n) == 0) {
            rc = add_part(r, &p, hold_text_part(self, at, end));
            end = at = at - n;
            most--;
        } else {
            at--;
        }
    }
    rc = rc == HOLD_OK ? add_part(r, &p, hold_text_part(self, 0, end)) : rc;
    for (size_t i = 0; i < p.n / 2; i++) {
        struct hold_value swap = p.items[i];
        p.items[i] = p.items[p.n - 1 - i];
        p.items[p.n - 1 - i] = swap;
    }
    return rc == HOLD_OK ? finish_parts(r, &p, out) : rc;
}

int hold_text_lines(struct hold_jinja *r, const struct hold_value *v, struct hold_value *out) {
    struct parts p = {0};
    size_t from = 0;
    int rc = HOLD_OK;
    for (size_t at = 0; rc == HOLD_OK && at < v->len;) {
        size_t end = at;
        int32_t c = code_at(v, &at);
        bool line_end = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                        c == 0x2028 || c == 0x2029;
        if (line_end) {
            at += c == '\r' && at < v->len && v->text[at] == '\n' ? 1 : 0;
            rc = add_part(r, &p, hold_text_part(v, from, end));
            from = at;
        }
    }
    if (rc == HOLD_OK && from < v->len) {
        rc = add_part(r, &p, hold_text_part(v, from, v->len));
    }
    return rc == HOLD_OK ? finish_parts(r, &p, out) : rc;
}

static int text_lines(struct hold_jinja *r, const struct hold_value *self,
                      const struct hold_value *const *args, struct hold_value *out) {
    (void)args;
    return hold_text_lines(r, self, out);
}

/* startswith and endswith: a text, or any of a tuple. */
static int at_edge(struct hold_jinja *r, const struct hold_value *self,
                   const struct hold_value *what, bool start, struct hold_value *out) {
    struct hold_list one = {1, (struct hold_value *)what};
    const struct hold_list *list = &one;
    bool yes = false;
    if (what == NULL || (what->kind != HOLD_VALUE_TEXT && what->kind != HOLD_VALUE_TUPLE)) {
        return hold_jinja_fail(r, HOLD_EDATA, "startswith and endswith take text, found %s",
                               what != NULL ? hold_value_kind(what) : "nothing");
    }
    list = what->kind == HOLD_VALUE_TUPLE ? what->list : list;
    for (size_t i = 0; !yes && i < list->n; i++) {
        const struct hold_value *w = &list->items[i];
        if (w->kind != HOLD_VALUE_TEXT) {
            return hold_jinja_fail(r, HOLD_EDATA, "startswith and endswith take text, found %s",
                                   hold_value_kind(w));
        }
        yes = w->len <= self->len &&
              memcmp(start ? self->text : self->text + self->len - w->len, w->text, w->len) == 0;
    }
    *out = hold_value_bool(yes);
    return HOLD_OK;
}

static int text_startswith(struct hold_jinja *r, const struct hold_value *self,
                           const struct hold_value *const *args, struct hold_value *out) {
    return at_edge(r, self, args[0], true, out);
}

static int text_endswith(struct hold_jinja *r, const struct hold_value *self,
                         const struct hold_value *const *args, struct hold_value *out) {
    return at_edge(r, self, args[0], false, out);
}

static int text_strip(struct hold_jinja *r, const struct hold_value *self,
                      const struct hold_value *const *args, struct hold_value *out) {
    *out = hold_text_strip(self, args[0], true, true);
    return hold_jinja_steps(r, self->len / 256);
}

static int text_lstrip(struct hold_jinja *r, const struct hold_value *self,
                       const struct hold_value *const *args, struct hold_value *out) {
    *out = hold_text_strip(self, args[0], true, false);
    return hold_jinja_steps(r, self->len / 256);
}

static int text_rstrip(struct hold_jinja *r, const struct hold_value *self,
                       const struct hold_value *const *args, struct hold_value *out) {
    *out = hold_text_strip(self, args[0], false, true);
    return hold_jinja_steps(r, self->len / 256);
}

static int text_lower(struct hold_jinja *r, const struct hold_value *self,
                      const struct hold_value *const *args, struct hold_value *out) {
    (void)args;
    return hold_text_case(r, self, 'l', out);
}

static int text_upper(struct hold_jinja *r, const struct hold_value *self,
                      const struct hold_value *const *args, struct hold_value *out) {
    (void)args;
    return hold_text_case(r, self, 'u', out);
}

static int text_capitalize(struct hold_jinja *r, const struct hold_value *self,
                           const struct hold_value *const *args, struct hold_value *out) {
    (void)args;
    return hold_text_case(r, self, 'c', out);
}

static int text_title(struct hold_jinja *r, const struct hold_value *self,
                      const struct hold_value *const *args, struct hold_value *out) {
    (void)args;
    return hold_text_case(r, self, 'p', out);
}

static int text_replace(struct hold_jinja *r, const struct hold_value *self,
                        const struct hold_value *const *args, struct hold_value *out) {
    int64_t count = -1;
    if (args[0] == NULL || args[1] == NULL || args[0]->kind != HOLD_VALUE_TEXT ||
        args[1]->kind != HOLD_VALUE_TEXT || (args[2] && !hold_value_integer(args[2], &count))) {
        return hold_jinja_fail(r, HOLD_EDATA, "replace takes two texts and a count");
    }
    return hold_text_replace(r, self, args[0], args[1], count, out);
}

static int text_join(struct hold_jinja *r, const struct hold_value *self,
                     const struct hold_value *const *args, struct hold_value *out) {
    struct hold_list items = {0};
    struct hold_sink s = {0};
    if (args[0] == NULL) {
        return hold_jinja_fail(r, HOLD_EDATA, "join without a list");
    }
    int rc = hold_value_items(r, args[0], &items);
    for (size_t i = 0; rc == HOLD_OK && i < items.n; i++) {
        if (items.items[i].kind != HOLD_VALUE_TEXT) {
            rc = hold_jinja_fail(r, HOLD_EDATA, "join of %s, expected text",
                                 hold_value_kind(&items.items[i]));
        }
        rc = rc == HOLD_OK && i > 0 ? hold_sink_value(r, &s, self) : rc;
        rc = rc == HOLD_OK ? hold_sink_value(r, &s, &items.items[i]) : rc;
    }
    rc = rc == HOLD_OK ? hold_sink_take(r, &s, out) : rc;
    hold_sink_release(&s);
    return rc;
}

static int text_find(struct hold_jinja *r, const struct hold_value *self,
                     const struct hold_value *const *args, struct hold_value *out) {
    if (args[0] == NULL || args[0]->kind != HOLD_VALUE_TEXT) {
        return hold_jinja_fail(r, HOLD_EDATA, "find takes text");
    }
    size_t hit = find_text(self, 0, args[0]);
    struct hold_value head = hold_text_part(self, 0, hit <= self->len ? hit : 0);
    *out = hold_value_int(hit <= self->len ? (int64_t)hold_text_count(&head) : -1);
    return hold_jinja_steps(r, self->len / 256);
}

static int text_count(struct hold_jinja *r, const struct hold_value *self,
                      const struct hold_value *const *args, struct hold_value *out) {
    int64_t count = 0;
    if (args[0] == NULL || args[0]->kind != HOLD_VALUE_TEXT || args[0]->len == 0) {
        return hold_jinja_fail(r, HOLD_EDATA, "count takes text");
    }
    for (size_t at = find_text(self, 0, args[0]); at <= self->len;
         at = find_text(self, at + args[0]->len, args[0])) {
        count++;
    }
    *out = hold_value_int(count);
    return hold_jinja_steps(r, self->len / 256);
}

/* The number of the argument that a field names, or -1; *at moves behind its "}". */
static int64_t format_field(const struct hold_value *self, size_t *at, size_t automatic) {
    size_t i = *at + 1;
    int64_t number = 0;
    while (i < self->len && self->text[i] >= '0' && self->text[i] <= '9' && number < 100) {
        number = number * 10 + (self->text[i++] - '0');
    }
    if (i >= self->len || self->text[i] != '}') {
        return -1;
    }
    number = i == *at + 1 ? (int64_t)automatic : number;
    *at = i + 1;
    return number;
}

/* str.format with fields {} or {0}; no names, attributes, conversions or widths. */
static int text_format(struct hold_jinja *r, const struct hold_value *self,
                       const struct hold_args *args, struct hold_value *out) {
    struct hold_sink s = {0};
    size_t automatic = 0, plain = 0;
    int rc = hold_jinja_steps(r, self->len / 256);
    for (size_t at = 0; rc == HOLD_OK && at <= self->len;) {
        char c = at < self->len ? self->text[at] : '\0';
        if (at < self->len && c != '{' && c != '}') {
            at++;
            continue;
        }
        bool twice = at + 1 < self->len && self->text[at + 1] == c;
        struct hold_value part = hold_text_part(self, plain, at + (twice ? 1 : 0)), text;
        rc = hold_sink_value(r, &s, &part);
        if (at == self->len) {
            break;
        }
        if (twice) {
            at += 2;
        } else {
            size_t from = at;
            int64_t number = c == '{' ? format_field(self, &at, automatic) : -1;
            if (number < 0) {
                rc = hold_jinja_fail(r, HOLD_EDATA, "format takes the fields {} and {N} only");
            } else if ((size_t)number >= args->n || args->n_named > 0) {
                rc = hold_jinja_fail(r, HOLD_EDATA, "format: no argument %lld", (long long)number);
            }
            automatic += at - from == 2;
            rc = rc == HOLD_OK ? hold_value_str(r, &args->items[number], &text) : rc;
            rc = rc == HOLD_OK ? hold_sink_value(r, &s, &text) : rc;
        }
        plain = at;
    }
    rc = rc == HOLD_OK ? hold_sink_take(r, &s, out) : rc;
    hold_sink_release(&s);
    return rc;
}

const struct hold_function *hold_text_method(const char *name) {
    static const struct hold_function METHODS[] = {
        {"split", "sep,maxsplit", text_split, NULL},
        {"rsplit", "sep,maxsplit", text_rsplit, NULL},
        {"splitlines", "", text_lines, NULL},
        {"startswith", "prefix", text_startswith, NULL},
        {"endswith", "suffix", text_endswith, NULL},
        {"strip", "chars", text_strip, NULL},
        {"lstrip", "chars", text_lstrip, NULL},
        {"rstrip", "chars", text_rstrip, NULL},
        {"lower", "", text_lower, NULL},
        {"upper", "", text_upper, NULL},
        {"capitalize", "", text_capitalize, NULL},
        {"title", "", text_title, NULL},
        {"replace", "old,new,count", text_replace, NULL},
        {"join", "list", text_join, NULL},
        {"find", "what", text_find, NULL},
        {"count", "what", text_count, NULL},
        {"format", "", NULL, text_format},
    };
    for (size_t i = 0; i < sizeof METHODS / sizeof METHODS[0]; i++) {
        if (strcmp(METHODS[i].name, name) == 0) {
            return &METHODS[i];
        }
    }
    return NULL;
}
