/* template_value.c: values of templates: made, compared, looked up, turned into text. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tokenizer/template_internal.h"
#include "tokenizer/unicode.h"

struct hold_value hold_value_none(void) {
    return (struct hold_value){.kind = HOLD_VALUE_NONE};
}

struct hold_value hold_value_undefined(const char *what) {
    return (struct hold_value){.kind = HOLD_VALUE_UNDEFINED, .text = what, .len = strlen(what)};
}

struct hold_value hold_value_bool(bool truth) {
    return (struct hold_value){.kind = HOLD_VALUE_BOOL, .truth = truth};
}

struct hold_value hold_value_int(int64_t integer) {
    return (struct hold_value){.kind = HOLD_VALUE_INT, .integer = integer};
}

struct hold_value hold_value_real(double real) {
    return (struct hold_value){.kind = HOLD_VALUE_REAL, .real = real};
}

struct hold_value hold_value_text(const char *text, size_t len, uint32_t tag) {
    return (struct hold_value){.kind = HOLD_VALUE_TEXT, .tag = tag, .text = text, .len = len};
}

const char *hold_value_kind(const struct hold_value *v) {
    static const char *const KINDS[] = {
        "undefined", "none",   "a boolean",   "an integer", "a float", "text",       "a list",
        "a tuple",   "a dict", "a namespace", "a loop",     "a macro", "a function", "a method"};
    return KINDS[v->kind];
}

bool hold_value_truth(const struct hold_value *v) {
    switch (v->kind) {
    case HOLD_VALUE_UNDEFINED:
    case HOLD_VALUE_NONE:
        return false;
    case HOLD_VALUE_BOOL:
        return v->truth;
    case HOLD_VALUE_INT:
        return v->integer != 0;
    case HOLD_VALUE_REAL:
        return v->real != 0;
    case HOLD_VALUE_TEXT:
        return v->len > 0;
    case HOLD_VALUE_LIST:
    case HOLD_VALUE_TUPLE:
        return v->list->n > 0;
    case HOLD_VALUE_DICT:
        return v->dict->n > 0;
    default:
        return true;
    }
}

bool hold_value_integer(const struct hold_value *v, int64_t *out) {
    if (v->kind == HOLD_VALUE_INT || v->kind == HOLD_VALUE_BOOL) {
        *out = v->kind == HOLD_VALUE_INT ? v->integer : v->truth;
        return true;
    }
    return false;
}

bool hold_value_number(const struct hold_value *v, double *out) {
    int64_t integer = 0;
    if (hold_value_integer(v, &integer)) {
        *out = (double)integer;
        return true;
    }
    *out = v->kind == HOLD_VALUE_REAL ? v->real : 0;
    return v->kind == HOLD_VALUE_REAL;
}

bool hold_value_is(const struct hold_value *v, const char *text) {
    return v->kind == HOLD_VALUE_TEXT && v->len == strlen(text) &&
           memcmp(v->text, text, v->len) == 0;
}

static int equal(struct hold_jinja *r, const struct hold_value *a, const struct hold_value *b,
                 int depth, bool *out);

static int equal_dicts(struct hold_jinja *r, const struct hold_dict *a, const struct hold_dict *b,
                       int depth, bool *out) {
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++) {
        const struct hold_value *other = NULL;
        int rc = hold_value_find(r, b, &a->entries[i].key, &other);
        if (rc != HOLD_OK) {
            return rc;
        }
        *out = other != NULL;
        rc = *out ? equal(r, &a->entries[i].value, other, depth, out) : HOLD_OK;
        if (rc != HOLD_OK) {
            return rc;
        }
    }
    return HOLD_OK;
}

static int equal(struct hold_jinja *r, const struct hold_value *a, const struct hold_value *b,
                 int depth, bool *out) {
    double x = 0, y = 0;
    int64_t i = 0, j = 0;
    int rc = hold_jinja_steps(r, 1);
    *out = false;
    if (rc != HOLD_OK) {
        return rc;
    }
    if (depth > HOLD_NEST_MAX) {
        return hold_jinja_fail(r, HOLD_EDATA, "values nested deeper than %d levels", HOLD_NEST_MAX);
    }
    if (hold_value_integer(a, &i) && hold_value_integer(b, &j)) {
        *out = i == j;
        return HOLD_OK;
    }
    if (hold_value_number(a, &x) && hold_value_number(b, &y)) {
        *out = x == y;
        return HOLD_OK;
    }
    if (a->kind != b->kind) {
        return HOLD_OK;
    }
    switch (a->kind) {
    case HOLD_VALUE_UNDEFINED:
    case HOLD_VALUE_NONE:
        *out = true;
        return HOLD_OK;
    case HOLD_VALUE_TEXT:
        *out = a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
        return hold_jinja_steps(r, a->len / 256);
    case HOLD_VALUE_LIST:
    case HOLD_VALUE_TUPLE:
        *out = a->list->n == b->list->n;
        for (size_t k = 0; rc == HOLD_OK && *out && k < a->list->n; k++) {
            rc = equal(r, &a->list->items[k], &b->list->items[k], depth + 1, out);
        }
        return rc;
    case HOLD_VALUE_DICT:
        return equal_dicts(r, a->dict, b->dict, depth + 1, out);
    default:
        *out = a->dict == b->dict; /* the same object */
        return HOLD_OK;
    }
}

int hold_value_equal(struct hold_jinja *r, const struct hold_value *a, const struct hold_value *b,
                     bool *out) {
    return equal(r, a, b, 0, out);
}

int hold_value_list(struct hold_jinja *r, enum hold_kind kind, size_t n, struct hold_value *out) {
    struct hold_list *list = NULL;
    int rc = hold_jinja_alloc(r, 1, sizeof *list, &list);
    if (rc == HOLD_OK && n > 0) {
        rc = hold_jinja_alloc(r, n, sizeof *list->items, &list->items);
    }
    if (rc == HOLD_OK) {
        list->n = n;
        *out = (struct hold_value){.kind = kind, .list = list};
    }
    return rc;
}

int hold_value_dict(struct hold_jinja *r, size_t cap, struct hold_value *out) {
    struct hold_dict *dict = NULL;
    int rc = hold_jinja_alloc(r, 1, sizeof *dict, &dict);
    if (rc == HOLD_OK && cap > 0) {
        rc = hold_jinja_alloc(r, cap, sizeof *dict->entries, &dict->entries);
    }
    if (rc == HOLD_OK) {
        dict->cap = cap;
        *out = (struct hold_value){.kind = HOLD_VALUE_DICT, .dict = dict};
    }
    return rc;
}

/* Index of a key, d->n when it is not there. */
static int find_index(struct hold_jinja *r, const struct hold_dict *d, const struct hold_value *key,
                      size_t *out) {
    bool same = false;
    size_t i = 0;
    for (; i < d->n; i++) {
        const struct hold_value *k = &d->entries[i].key;
        if (k->kind == HOLD_VALUE_TEXT && key->kind == HOLD_VALUE_TEXT) {
            same = k->len == key->len && memcmp(k->text, key->text, k->len) == 0;
        } else {
            int rc = hold_value_equal(r, k, key, &same);
            if (rc != HOLD_OK) {
                return rc;
            }
        }
        if (same) {
            break;
        }
    }
    *out = i;
    return hold_jinja_steps(r, d->n / 16);
}

int hold_value_find(struct hold_jinja *r, const struct hold_dict *d, const struct hold_value *key,
                    const struct hold_value **out) {
    size_t i = 0;
    int rc = find_index(r, d, key, &i);
    *out = rc == HOLD_OK && i < d->n ? &d->entries[i].value : NULL;
    return rc;
}

int hold_value_put(struct hold_jinja *r, struct hold_dict *d, const struct hold_value *key,
                   const struct hold_value *value) {
    size_t i = 0;
    int rc = find_index(r, d, key, &i);
    if (rc != HOLD_OK) {
        return rc;
    }
    if (i < d->n) {
        d->entries[i].value = *value;
        return HOLD_OK;
    }
    if (d->n == d->cap) {
        struct hold_entry *entries = NULL;
        size_t cap = d->cap == 0 ? 8 : 2 * d->cap;
        rc = hold_jinja_alloc(r, cap, sizeof *entries, &entries);
        if (rc != HOLD_OK) {
            return rc;
        }
        if (d->n > 0) {
            memcpy(entries, d->entries, d->n * sizeof *entries);
        }
        d->entries = entries;
        d->cap = cap;
    }
    d->entries[d->n++] = (struct hold_entry){*key, *value};
    return HOLD_OK;
}

int hold_value_items(struct hold_jinja *r, const struct hold_value *v, struct hold_list *out) {
    *out = (struct hold_list){0};
    int rc = HOLD_OK;
    switch (v->kind) {
    case HOLD_VALUE_UNDEFINED:
        return HOLD_OK;
    case HOLD_VALUE_LIST:
    case HOLD_VALUE_TUPLE:
        *out = *v->list;
        return HOLD_OK;
    case HOLD_VALUE_DICT:
        rc = hold_jinja_alloc(r, v->dict->n + 1, sizeof *out->items, &out->items);
        for (size_t i = 0; rc == HOLD_OK && i < v->dict->n; i++) {
            out->items[out->n++] = v->dict->entries[i].key;
        }
        return rc;
    case HOLD_VALUE_TEXT:
        rc = hold_jinja_alloc(r, hold_text_count(v) + 1, sizeof *out->items, &out->items);
        for (size_t at = 0; rc == HOLD_OK && at < v->len;) {
            size_t from = at;
            hold_unicode_next((const unsigned char *)v->text, &at);
            out->items[out->n++] = hold_text_part(v, from, at);
        }
        return rc;
    default:
        return hold_jinja_fail(r, HOLD_EDATA, "%s is not iterable", hold_value_kind(v));
    }
}

int hold_value_json(struct hold_jinja *r, const json_t *json, uint32_t tag, int depth,
                    struct hold_value *out) {
    int rc = HOLD_OK;
    if (depth > HOLD_NEST_MAX) {
        return hold_jinja_fail(r, HOLD_EDATA, "values nested deeper than %d levels", HOLD_NEST_MAX);
    }
    if (json_is_string(json)) {
        *out = hold_value_text(json_string_value(json), json_string_length(json), tag);
    } else if (json_is_integer(json)) {
        *out = hold_value_int(json_integer_value(json));
    } else if (json_is_real(json)) {
        *out = hold_value_real(json_real_value(json));
    } else if (json_is_boolean(json)) {
        *out = hold_value_bool(json_is_true(json));
    } else if (json_is_array(json)) {
        rc = hold_value_list(r, HOLD_VALUE_LIST, json_array_size(json), out);
        for (size_t i = 0; rc == HOLD_OK && i < json_array_size(json); i++) {
            rc = hold_value_json(r, json_array_get(json, i), tag, depth + 1, &out->list->items[i]);
        }
    } else if (json_is_object(json)) {
        const char *key = NULL;
        const json_t *value = NULL;
        rc = hold_value_dict(r, json_object_size(json), out);
        json_object_foreach((json_t *)json, key, value) {
            /* Keys of an object differ, so they are appended without a search. */
            struct hold_entry *e = rc == HOLD_OK ? &out->dict->entries[out->dict->n] : NULL;
            if (e != NULL) {
                e->key = hold_value_text(key, strlen(key), tag);
                rc = hold_value_json(r, value, tag, depth + 1, &e->value);
                out->dict->n++;
            }
        }
    } else {
        *out = hold_value_none();
    }
    out->tag = tag;
    return rc;
}

int hold_value_str(struct hold_jinja *r, const struct hold_value *v, struct hold_value *out) {
    if (v->kind == HOLD_VALUE_TEXT) {
        *out = *v;
        return HOLD_OK;
    }
    struct hold_sink s = {0};
    int rc = v->kind == HOLD_VALUE_UNDEFINED ? HOLD_OK : hold_value_repr(r, &s, v, 0);
    rc = rc == HOLD_OK ? hold_sink_take(r, &s, out) : rc;
    hold_sink_release(&s);
    return rc;
}

int hold_value_name(struct hold_jinja *r, const struct hold_value *v, const char *what,
                    const char **out) {
    if (v->kind != HOLD_VALUE_TEXT) {
        return hold_jinja_fail(r, HOLD_EDATA, "%s is %s, expected text", what, hold_value_kind(v));
    }
    char *copy = NULL;
    int rc = hold_jinja_alloc(r, v->len + 1, 1, &copy);
    if (rc == HOLD_OK) {
        memcpy(copy, v->text, v->len);
        *out = copy;
    }
    return rc;
}
