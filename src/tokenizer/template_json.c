/* template_json.c: values as text, the way Python writes them: repr and json.dumps. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "tokenizer/template_internal.h"
#include "tokenizer/unicode.h"

static int add(struct hold_jinja *r, struct hold_sink *s, const char *text, uint32_t tag) {
    return hold_sink_add(r, s, text, strlen(text), NULL, tag);
}

static int deep(struct hold_jinja *r, int depth) {
    int rc = hold_jinja_steps(r, 1);
    return rc == HOLD_OK && depth > HOLD_NEST_MAX
               ? hold_jinja_fail(r, HOLD_EDATA, "values nested deeper than %d levels",
                                 HOLD_NEST_MAX)
               : rc;
}

int hold_value_add_real(struct hold_jinja *r, struct hold_sink *s, double real, uint32_t tag) {
    if (isnan(real)) {
        return add(r, s, "nan", tag);
    }
    if (isinf(real)) {
        return add(r, s, real < 0 ? "-inf" : "inf", tag);
    }
    /* The shortest digits that read back as the same number, laid out as Python does. */
    struct hold_str shortest = HOLD_STR_INIT;
    hold_str_add_real(&shortest, fabs(real));
    char digits[32] = "";
    size_t n = 0;
    int point = 0, exponent = 0;
    bool seen = false;
    for (const char *p = hold_str_text(&shortest); *p != '\0'; p++) {
        if (*p == 'e') {
            exponent = (int)strtol(p + 1, NULL, 10);
            break;
        }
        seen = seen || *p == '.';
        if (*p == '.' || (*p == '0' && n == 0)) {
            point -= seen && *p == '0' ? 1 : 0; /* a leading zero behind the point */
        } else if (n + 1 < sizeof digits) {
            digits[n++] = *p;
            point += seen ? 0 : 1;
        }
    }
    hold_str_release(&shortest);
    while (n > 1 && digits[n - 1] == '0') {
        n--;
    }
    digits[n] = '\0';
    exponent += point - 1; /* of the first digit */
    char text[64] = "0.0";
    if (n > 0 && (exponent < -4 || exponent >= 16)) {
        snprintf(text, sizeof text, "%c%s%se%c%02d", digits[0], n > 1 ? "." : "", digits + 1,
                 exponent < 0 ? '-' : '+', abs(exponent));
    } else if (n > 0 && exponent < 0) {
        snprintf(text, sizeof text, "0.%.*s%s", -exponent - 1, "0000", digits);
    } else if (n > 0 && (int)n <= exponent + 1) {
        snprintf(text, sizeof text, "%s%.*s.0", digits, exponent + 1 - (int)n, "0000000000000000");
    } else if (n > 0) {
        snprintf(text, sizeof text, "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
    }
    int rc = signbit(real) ? add(r, s, "-", tag) : HOLD_OK;
    return rc == HOLD_OK ? add(r, s, text, tag) : rc;
}

static bool printable(int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return c == ' ';
    default:
        return true;
    }
}

/* Escape of c in a Python string with this quote, "" when it stands for itself. */
static void repr_escape(int32_t c, char quote, char out[12]) {
    out[0] = '\0';
    if (c == quote || c == '\\') {
        snprintf(out, 12, "\\%c", (char)c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
        snprintf(out, 12, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    } else if (!printable(c)) {
        const char *form = c < 0x100     ? "\\x%02" PRIx32
                           : c < 0x10000 ? "\\u%04" PRIx32
                                         : "\\U%08" PRIx32;
        snprintf(out, 12, form, (uint32_t)c);
    }
}

/* Escape of c in JSON. */
static void json_escape(int32_t c, bool ascii, char out[16]) {
    static const char FROM[] = "\"\\\b\f\n\r\t", TO[] = "\"\\bfnrt";
    const char *known = c > 0 && c < 0x80 ? strchr(FROM, c) : NULL;
    out[0] = '\0';
    if (known != NULL) {
        snprintf(out, 16, "\\%c", TO[known - FROM]);
    } else if (c < 0x20 || (ascii && c > 0x7E && c < 0x10000)) {
        snprintf(out, 16, "\\u%04" PRIx32, (uint32_t)c);
    } else if (ascii && c >= 0x10000) {
        uint32_t v = (uint32_t)c - 0x10000;
        snprintf(out, 16, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xD800 + (v >> 10),
                 0xDC00 + (v & 0x3FF));
    }
}

/* v in quotes; `json` 0: repr, 1: JSON, 2: JSON in ASCII. */
static int add_quoted(struct hold_jinja *r, struct hold_sink *s, const struct hold_value *v,
                      int json) {
    bool single = memchr(v->text, '\'', v->len) != NULL, both = memchr(v->text, '"', v->len);
    char quote = json != 0 || (single && !both) ? '"' : '\'', text[2] = {quote, '\0'};
    char escape[16];
    size_t from = 0;
    int rc = add(r, s, text, v->tag);
    for (size_t at = 0; rc == HOLD_OK && at < v->len;) {
        size_t begin = at;
        int32_t c = hold_unicode_next((const unsigned char *)v->text, &at);
        if (json != 0) {
            json_escape(c, json == 2, escape);
        } else {
            repr_escape(c, quote, escape);
        }
        if (escape[0] != '\0') {
            struct hold_value part = hold_text_part(v, from, begin);
            rc = hold_sink_value(r, s, &part);
            rc = rc == HOLD_OK ? add(r, s, escape, v->tags ? v->tags[begin] : v->tag) : rc;
            from = at;
        }
    }
    struct hold_value rest = hold_text_part(v, from, v->len);
    rc = rc == HOLD_OK ? hold_sink_value(r, s, &rest) : rc;
    return rc == HOLD_OK ? add(r, s, text, v->tag) : rc;
}

static int repr_list(struct hold_jinja *r, struct hold_sink *s, const struct hold_value *v,
                     int depth) {
    bool tuple = v->kind == HOLD_VALUE_TUPLE;
    int rc = add(r, s, tuple ? "(" : "[", v->tag);
    for (size_t i = 0; rc == HOLD_OK && i < v->list->n; i++) {
        rc = i > 0 ? add(r, s, ", ", v->tag) : HOLD_OK;
        rc = rc == HOLD_OK ? hold_value_repr(r, s, &v->list->items[i], depth + 1) : rc;
    }
    rc = rc == HOLD_OK && tuple && v->list->n == 1 ? add(r, s, ",", v->tag) : rc;
    return rc == HOLD_OK ? add(r, s, tuple ? ")" : "]", v->tag) : rc;
}

static int repr_dict(struct hold_jinja *r, struct hold_sink *s, const struct hold_value *v,
                     int depth) {
    int rc = add(r, s, "{", v->tag);
    for (size_t i = 0; rc == HOLD_OK && i < v->dict->n; i++) {
        rc = i > 0 ? add(r, s, ", ", v->tag) : HOLD_OK;
        rc = rc == HOLD_OK ? hold_value_repr(r, s, &v->dict->entries[i].key, depth + 1) : rc;
        rc = rc == HOLD_OK ? add(r, s, ": ", v->tag) : rc;
        rc = rc == HOLD_OK ? hold_value_repr(r, s, &v->dict->entries[i].value, depth + 1) : rc;
    }
    return rc == HOLD_OK ? add(r, s, "}", v->tag) : rc;
}

int hold_value_repr(struct hold_jinja *r, struct hold_sink *s, const struct hold_value *v,
                    int depth) {
    char number[32];
    int rc = deep(r, depth);
    if (rc != HOLD_OK) {
        return rc;
    }
    switch (v->kind) {
    case HOLD_VALUE_UNDEFINED:
        return add(r, s, "Undefined", v->tag);
    case HOLD_VALUE_NONE:
        return add(r, s, "None", v->tag);
    case HOLD_VALUE_BOOL:
        return add(r, s, v->truth ? "True" : "False", v->tag);
    case HOLD_VALUE_INT:
        snprintf(number, sizeof number, "%" PRId64, v->integer);
        return add(r, s, number, v->tag);
    case HOLD_VALUE_REAL:
        return hold_value_add_real(r, s, v->real, v->tag);
    case HOLD_VALUE_TEXT:
        return add_quoted(r, s, v, 0);
    case HOLD_VALUE_LIST:
    case HOLD_VALUE_TUPLE:
        return repr_list(r, s, v, depth);
    case HOLD_VALUE_DICT:
        return repr_dict(r, s, v, depth);
    default:
        return hold_jinja_fail(r, HOLD_EDATA, "%s cannot be written as text", hold_value_kind(v));
    }
}

/* How json.dumps lays out its text. */
struct layout {
    bool ascii, sort;
    struct hold_value indent;    /* of one level; UNDEFINED: all on one line */
    struct hold_value item, key; /* separators */
};

static int dump(struct hold_jinja *r, struct hold_sink *s, const struct hold_value *v,
                const struct layout *l, int depth);

/* A new line and the indentation of `depth` levels. */
static int new_line(struct hold_jinja *r, struct hold_sink *s, const struct layout *l, int depth,
                    uint32_t tag) {
    if (l->indent.kind == HOLD_VALUE_UNDEFINED) {
        return HOLD_OK;
    }
    int rc = add(r, s, "\n", tag);
    for (int i = 0; rc == HOLD_OK && i < depth; i++) {
        rc = hold_sink_value(r, s, &l->indent);
    }
    return rc;
}

static int dump_list(struct hold_jinja *r, struct hold_sink *s, const struct hold_value *v,
                     const struct layout *l, int depth) {
    if (v->list->n == 0) {
        return add(r, s, "[]", v->tag);
    }
    int rc = add(r, s, "[", v->tag);
    for (size_t i = 0; rc == HOLD_OK && i < v->list->n; i++) {
        rc = i > 0 ? add(r, s, l->item.text, v->tag) : HOLD_OK;
        rc = rc == HOLD_OK ? new_line(r, s, l, depth + 1, v->tag) : rc;
        rc = rc == HOLD_OK ? dump(r, s, &v->list->items[i], l, depth + 1) : rc;
    }
    rc = rc == HOLD_OK ? new_line(r, s, l, depth, v->tag) : rc;
    return rc == HOLD_OK ? add(r, s, "]", v->tag) : rc;
}

static int dump_key(struct hold_jinja *r, struct hold_sink *s, const struct hold_value *key,
                    const struct layout *l) {
    if (key->kind == HOLD_VALUE_TEXT) {
        return add_quoted(r, s, key, l->ascii ? 2 : 1);
    }
    if (key->kind > HOLD_VALUE_REAL || key->kind == HOLD_VALUE_UNDEFINED) {
        return hold_jinja_fail(r, HOLD_EDATA, "tojson: a key is %s", hold_value_kind(key));
    }
    int rc = add(r, s, "\"", key->tag);
    rc = rc == HOLD_OK ? dump(r, s, key, l, 0) : rc;
    return rc == HOLD_OK ? add(r, s, "\"", key->tag) : rc;
}

static int by_key(const void *a, const void *b) {
    const struct hold_value *x = &((const struct hold_entry *)a)->key,
                            *y = &((const struct hold_entry *)b)->key;
    size_t n = x->len < y->len ? x->len : y->len;
    int first = n > 0 ? memcmp(x->text, y->text, n) : 0;
    return first != 0 ? first : (x->len > y->len) - (x->len < y->len);
}

static int dump_dict(struct hold_jinja *r, struct hold_sink *s, const struct hold_value *v,
                     const struct layout *l, int depth) {
    size_t n = v->dict->n;
    struct hold_entry *entries = v->dict->entries;
    int rc = HOLD_OK;
    if (n == 0) {
        return add(r, s, "{}", v->tag);
    }
    if (l->sort) {
        rc = hold_jinja_alloc(r, n, sizeof *entries, &entries);
        for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
            entries[i] = v->dict->entries[i];
            if (entries[i].key.kind != HOLD_VALUE_TEXT) {
                rc = hold_jinja_fail(r, HOLD_EDATA, "tojson: sort_keys needs keys of text");
            }
        }
        if (rc == HOLD_OK) {
            qsort(entries, n, sizeof *entries, by_key);
        }
    }
    rc = rc == HOLD_OK ? add(r, s, "{", v->tag) : rc;
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        rc = i > 0 ? add(r, s, l->item.text, v->tag) : HOLD_OK;
        rc = rc == HOLD_OK ? new_line(r, s, l, depth + 1, v->tag) : rc;
        rc = rc == HOLD_OK ? dump_key(r, s, &entries[i].key, l) : rc;
        rc = rc == HOLD_OK ? add(r, s, l->key.text, v->tag) : rc;
        rc = rc == HOLD_OK ? dump(r, s, &entries[i].value, l, depth + 1) : rc;
    }
    rc = rc == HOLD_OK ? new_line(r, s, l, depth, v->tag) : rc;
    return rc == HOLD_OK ? add(r, s, "}", v->tag) : rc;
}

static int dump(struct hold_jinja *r, struct hold_sink *s, const struct hold_value *v,
                const struct layout *l, int depth) {
    int rc = deep(r, depth);
    if (rc != HOLD_OK) {
        return rc;
    }
    switch (v->kind) {
    case HOLD_VALUE_NONE:
        return add(r, s, "null", v->tag);
    case HOLD_VALUE_BOOL:
        return add(r, s, v->truth ? "true" : "false", v->tag);
    case HOLD_VALUE_REAL:
        if (isnan(v->real) || isinf(v->real)) {
            return add(r, s,
                       isnan(v->real) ? "NaN"
                       : v->real < 0  ? "-Infinity"
                                      : "Infinity",
                       v->tag);
        }
        return hold_value_add_real(r, s, v->real, v->tag);
    case HOLD_VALUE_INT:
        return hold_value_repr(r, s, v, depth);
    case HOLD_VALUE_TEXT:
        return add_quoted(r, s, v, l->ascii ? 2 : 1);
    case HOLD_VALUE_LIST:
    case HOLD_VALUE_TUPLE:
        return dump_list(r, s, v, l, depth);
    case HOLD_VALUE_DICT:
        return dump_dict(r, s, v, l, depth);
    default:
        return hold_jinja_fail(r, HOLD_EDATA, "tojson of %s%s%.*s", hold_value_kind(v),
                               v->kind == HOLD_VALUE_UNDEFINED ? ": " : "",
                               v->kind == HOLD_VALUE_UNDEFINED ? (int)v->len : 0,
                               v->kind == HOLD_VALUE_UNDEFINED ? v->text : "");
    }
}

/* indent: a number of blanks, a text, or none. */
static int read_indent(struct hold_jinja *r, const struct hold_value *v, struct layout *l) {
    static const char BLANKS[] = "                                "; /* 32 */
    int64_t width = 0;
    if (v == NULL || v->kind == HOLD_VALUE_NONE) {
        return HOLD_OK;
    }
    l->item = hold_value_text(",", 1, 0);
    if (v->kind == HOLD_VALUE_TEXT) {
        l->indent = *v;
        return HOLD_OK;
    }
    if (!hold_value_integer(v, &width) || width > 32) {
        return hold_jinja_fail(r, HOLD_EDATA, "tojson: indent is %s, expected a small integer",
                               hold_value_kind(v));
    }
    l->indent = hold_value_text(BLANKS, width > 0 ? (size_t)width : 0, 0);
    return HOLD_OK;
}

static int tojson(struct hold_jinja *r, const struct hold_value *self,
                  const struct hold_value *const *args, struct hold_value *out) {
    struct layout l = {.ascii = args[0] != NULL && hold_value_truth(args[0]),
                       .sort = args[3] != NULL && hold_value_truth(args[3]),
                       .indent = hold_value_undefined("indent"),
                       .item = hold_value_text(", ", 2, 0),
                       .key = hold_value_text(": ", 2, 0)};
    struct hold_sink s = {0};
    const char *text = NULL;
    int rc = read_indent(r, args[1], &l);
    if (rc == HOLD_OK && args[2] != NULL && args[2]->kind != HOLD_VALUE_NONE) {
        bool pair = (args[2]->kind == HOLD_VALUE_TUPLE || args[2]->kind == HOLD_VALUE_LIST) &&
                    args[2]->list->n == 2;
        rc = pair ? hold_value_name(r, &args[2]->list->items[0], "a separator", &text)
                  : hold_jinja_fail(r, HOLD_EDATA, "tojson: separators are not two texts");
        l.item.text = rc == HOLD_OK ? text : l.item.text;
        rc =
            rc == HOLD_OK ? hold_value_name(r, &args[2]->list->items[1], "a separator", &text) : rc;
        l.key.text = rc == HOLD_OK ? text : l.key.text;
    }
    rc = rc == HOLD_OK ? dump(r, &s, self, &l, 0) : rc;
    rc = rc == HOLD_OK ? hold_sink_take(r, &s, out) : rc;
    hold_sink_release(&s);
    return rc;
}

const struct hold_function hold_template_tojson = {
    "tojson", "ensure_ascii,indent,separators,sort_keys", tojson, NULL};
