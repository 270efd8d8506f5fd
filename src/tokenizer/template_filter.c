/* template_filter.c: filters and tests by name. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/template_internal.h"

/* The parameters of a filter or test after `self`. */
#define FILTER(name)                                                     \
    static int name(struct hold_jinja *r, const struct hold_value *self, \
                    const struct hold_value *const *args, struct hold_value *out)

FILTER(filter_length) {
    (void)args;
    size_t n = 0;
    switch (self->kind) {
    case HOLD_VALUE_UNDEFINED:
        break;
    case HOLD_VALUE_TEXT:
        n = hold_text_count(self);
        break;
    case HOLD_VALUE_LIST:
    case HOLD_VALUE_TUPLE:
        n = self->list->n;
        break;
    case HOLD_VALUE_DICT:
        n = self->dict->n;
        break;
    default:
        return hold_jinja_fail(r, HOLD_EDATA, "length of %s", hold_value_kind(self));
    }
    *out = hold_value_int((int64_t)n);
    return HOLD_OK;
}

FILTER(filter_trim) {
    int rc = hold_value_str(r, self, out);
    if (rc == HOLD_OK) {
        *out = hold_text_strip(out, args[0], true, true);
        rc = hold_jinja_steps(r, out->len / 256);
    }
    return rc;
}

FILTER(filter_string) {
    (void)args;
    return hold_value_str(r, self, out);
}

static int cased(struct hold_jinja *r, const struct hold_value *self, char how,
                 struct hold_value *out) {
    struct hold_value text;
    int rc = hold_value_str(r, self, &text);
    return rc == HOLD_OK ? hold_text_case(r, &text, how, out) : rc;
}

FILTER(filter_lower) {
    (void)args;
    return cased(r, self, 'l', out);
}

FILTER(filter_upper) {
    (void)args;
    return cased(r, self, 'u', out);
}

FILTER(filter_capitalize) {
    (void)args;
    return cased(r, self, 'c', out);
}

FILTER(filter_title) {
    (void)args;
    return cased(r, self, 't', out);
}

FILTER(filter_default) {
    bool missing = self->kind == HOLD_VALUE_UNDEFINED ||
                   (args[1] != NULL && hold_value_truth(args[1]) && !hold_value_truth(self));
    (void)r;
    *out = !missing ? *self : args[0] != NULL ? *args[0] : hold_value_text("", 0, 0);
    return HOLD_OK;
}

FILTER(filter_list) {
    (void)args;
    struct hold_list items = {0};
    int rc = hold_value_items(r, self, &items);
    rc = rc == HOLD_OK ? hold_value_list(r, HOLD_VALUE_LIST, items.n, out) : rc;
    for (size_t i = 0; rc == HOLD_OK && i < items.n; i++) {
        out->list->items[i] = items.items[i];
    }
    return rc;
}

FILTER(filter_items) {
    (void)args;
    if (self->kind == HOLD_VALUE_UNDEFINED) {
        return hold_value_list(r, HOLD_VALUE_LIST, 0, out);
    }
    if (self->kind != HOLD_VALUE_DICT) {
        return hold_jinja_fail(r, HOLD_EDATA, "items of %s, expected a dict",
                               hold_value_kind(self));
    }
    return hold_dict_method("items")->call(r, self, NULL, out);
}

/* The attribute path `name` ("a.b.0") of an item. */
static int path_of(struct hold_jinja *r, const struct hold_value *item,
                   const struct hold_value *name, struct hold_value *out) {
    *out = *item;
    if (name->kind != HOLD_VALUE_TEXT) {
        return hold_jinja_item(r, item, name, out);
    }
    int rc = HOLD_OK;
    for (size_t at = 0; rc == HOLD_OK && at <= name->len;) {
        size_t end = at;
        bool digits = true;
        int64_t number = 0;
        while (end < name->len && name->text[end] != '.') {
            char c = name->text[end++];
            digits = digits && c >= '0' && c <= '9' && number < 1000000;
            number = digits ? number * 10 + (c - '0') : 0;
        }
        struct hold_value part = hold_text_part(name, at, end), from = *out;
        if (digits && end > at) {
            part = hold_value_int(number);
        }
        rc = hold_jinja_item(r, &from, &part, out);
        at = end + 1;
    }
    return rc;
}

FILTER(filter_join) {
    struct hold_list items = {0};
    struct hold_sink s = {0};
    struct hold_value between = hold_value_text("", 0, 0), part;
    int rc = hold_value_items(r, self, &items);
    if (rc == HOLD_OK && args[0] != NULL) {
        rc = hold_value_str(r, args[0], &between);
    }
    for (size_t i = 0; rc == HOLD_OK && i < items.n; i++) {
        part = items.items[i];
        if (args[1] != NULL && args[1]->kind != HOLD_VALUE_NONE) {
            rc = path_of(r, &items.items[i], args[1], &part);
        }
        rc = rc == HOLD_OK ? hold_value_str(r, &part, &part) : rc;
        rc = rc == HOLD_OK && i > 0 ? hold_sink_value(r, &s, &between) : rc;
        rc = rc == HOLD_OK ? hold_sink_value(r, &s, &part) : rc;
    }
    rc = rc == HOLD_OK ? hold_sink_take(r, &s, out) : rc;
    hold_sink_release(&s);
    return rc;
}

FILTER(filter_replace) {
    struct hold_value text, old, fresh;
    int64_t count = -1;
    if (args[0] == NULL || args[1] == NULL) {
        return hold_jinja_fail(r, HOLD_EDATA, "replace takes two texts");
    }
    if (args[2] != NULL && args[2]->kind != HOLD_VALUE_NONE &&
        !hold_value_integer(args[2], &count)) {
        return hold_jinja_fail(r, HOLD_EDATA, "replace: count is %s", hold_value_kind(args[2]));
    }
    int rc = hold_value_str(r, self, &text);
    rc = rc == HOLD_OK ? hold_value_str(r, args[0], &old) : rc;
    rc = rc == HOLD_OK ? hold_value_str(r, args[1], &fresh) : rc;
    return rc == HOLD_OK ? hold_text_replace(r, &text, &old, &fresh, count, out) : rc;
}

FILTER(filter_int) {
    double real = 0;
    int64_t integer = 0;
    *out = args[0] != NULL ? *args[0] : hold_value_int(0);
    if (hold_value_integer(self, &integer)) {
        *out = hold_value_int(integer);
        return HOLD_OK;
    }
    bool number = self->kind == HOLD_VALUE_REAL;
    if (number) {
        real = self->real;
    } else if (self->kind == HOLD_VALUE_TEXT) {
        struct hold_value bare = hold_text_strip(self, NULL, true, true);
        const char *text = NULL;
        int rc = hold_value_name(r, &bare, "a number", &text);
        if (rc != HOLD_OK) {
            return rc;
        }
        number = hold_parse_real(text, &real);
    }
    if (number && fabs(real) < 9007199254740992.0) {
        *out = hold_value_int((int64_t)real);
    }
    return HOLD_OK;
}

FILTER(filter_indent) {
    struct hold_value text, lines, pad = hold_value_text("    ", 4, 0), blanks;
    struct hold_sink s = {0};
    int64_t width = 4;
    bool first = args[1] != NULL && hold_value_truth(args[1]);
    bool blank = args[2] != NULL && hold_value_truth(args[2]);
    int rc = hold_value_str(r, self, &text);
    if (rc == HOLD_OK && args[0] != NULL && args[0]->kind == HOLD_VALUE_TEXT) {
        pad = *args[0];
    } else if (rc == HOLD_OK) {
        const struct hold_value one = hold_value_text(" ", 1, 0);
        if (args[0] != NULL && !hold_value_integer(args[0], &width)) {
            return hold_jinja_fail(r, HOLD_EDATA, "indent by %s", hold_value_kind(args[0]));
        }
        blanks = hold_value_int(width);
        rc = hold_jinja_binary(r, "*", &one, &blanks, &pad);
    }
    /* Jinja adds a new line before it splits, so text that ends in one keeps an empty last line. */
    const struct hold_value end = hold_value_text("\n", 1, text.tag);
    rc = rc == HOLD_OK ? hold_jinja_binary(r, "+", &text, &end, &text) : rc;
    rc = rc == HOLD_OK ? hold_text_lines(r, &text, &lines) : rc;
    if (rc != HOLD_OK) {
        return rc;
    }
    for (size_t i = 0; rc == HOLD_OK && i < lines.list->n; i++) {
        struct hold_value line = lines.list->items[i];
        bool padded = i == 0 ? first : line.len > 0 || blank;
        rc = i > 0 ? hold_sink_add(r, &s, "\n", 1, NULL, text.tag) : HOLD_OK;
        rc = rc == HOLD_OK && padded ? hold_sink_value(r, &s, &pad) : rc;
        rc = rc == HOLD_OK ? hold_sink_value(r, &s, &line) : rc;
    }
    rc = rc == HOLD_OK ? hold_sink_take(r, &s, out) : rc;
    hold_sink_release(&s);
    return rc;
}

FILTER(filter_first) {
    (void)args;
    struct hold_list items = {0};
    int rc = hold_value_items(r, self, &items);
    *out = items.n > 0 ? items.items[0] : hold_value_undefined("the first item of nothing");
    return rc;
}

FILTER(filter_last) {
    (void)args;
    struct hold_list items = {0};
    int rc = hold_value_items(r, self, &items);
    *out =
        items.n > 0 ? items.items[items.n - 1] : hold_value_undefined("the last item of nothing");
    return rc;
}

FILTER(filter_reverse) {
    (void)args;
    struct hold_value back = hold_value_int(-1);
    const struct hold_value *const bounds[3] = {NULL, NULL, &back};
    if (self->kind == HOLD_VALUE_DICT) {
        struct hold_value keys;
        int rc = filter_list(r, self, args, &keys);
        return rc == HOLD_OK ? hold_jinja_slice(r, &keys, bounds, out) : rc;
    }
    return hold_jinja_slice(r, self, bounds, out);
}

/* A merge sort of items by keys: stable, and a comparison may fail. */
static int sort_items(struct hold_jinja *r, struct hold_entry *items, struct hold_entry *scratch,
                      size_t n, bool reverse) {
    if (n < 2) {
        return HOLD_OK;
    }
    size_t half = n / 2, i = 0, j = half;
    int rc = sort_items(r, items, scratch, half, reverse);
    rc = rc == HOLD_OK ? sort_items(r, items + half, scratch, n - half, reverse) : rc;
    for (size_t k = 0; rc == HOLD_OK && k < n; k++) {
        bool right = i == half;
        if (i < half && j < n) {
            rc = hold_jinja_compare(r, reverse ? ">" : "<", &items[j].key, &items[i].key, &right);
        }
        rc = rc == HOLD_OK ? hold_jinja_steps(r, 1) : rc;
        scratch[k] = right ? items[j++] : items[i++];
    }
    if (rc == HOLD_OK) {
        memcpy(items, scratch, n * sizeof *items);
    }
    return rc;
}

/* Sort key: without case unless `sensitive`. */
static int sort_key(struct hold_jinja *r, const struct hold_value *v, bool sensitive,
                    struct hold_value *out) {
    *out = *v;
    return v->kind == HOLD_VALUE_TEXT && !sensitive ? hold_text_case(r, v, 'l', out) : HOLD_OK;
}

/* Items, each under its key in keys[], sorted into a new list. */
static int sorted(struct hold_jinja *r, const struct hold_list *items,
                  const struct hold_value *keys, bool reverse, struct hold_value *out) {
    struct hold_entry *entries = NULL, *scratch = NULL;
    int rc = hold_jinja_alloc(r, items->n + 1, sizeof *entries, &entries);
    rc = rc == HOLD_OK ? hold_jinja_alloc(r, items->n + 1, sizeof *scratch, &scratch) : rc;
    for (size_t i = 0; rc == HOLD_OK && i < items->n; i++) {
        entries[i] = (struct hold_entry){keys[i], items->items[i]};
    }
    rc = rc == HOLD_OK ? sort_items(r, entries, scratch, items->n, reverse) : rc;
    rc = rc == HOLD_OK ? hold_value_list(r, HOLD_VALUE_LIST, items->n, out) : rc;
    for (size_t i = 0; rc == HOLD_OK && i < items->n; i++) {
        out->list->items[i] = entries[i].value;
    }
    return rc;
}

FILTER(filter_dictsort) {
    struct hold_value pairs, *keys = NULL;
    bool sensitive = args[0] != NULL && hold_value_truth(args[0]);
    bool by_value = args[1] != NULL && hold_value_is(args[1], "value");
    if (self->kind != HOLD_VALUE_DICT) {
        return hold_jinja_fail(r, HOLD_EDATA, "dictsort of %s", hold_value_kind(self));
    }
    int rc = filter_items(r, self, args, &pairs);
    rc = rc == HOLD_OK ? hold_jinja_alloc(r, pairs.list->n + 1, sizeof *keys, &keys) : rc;
    for (size_t i = 0; rc == HOLD_OK && i < pairs.list->n; i++) {
        rc = sort_key(r, &pairs.list->items[i].list->items[by_value ? 1 : 0], sensitive, &keys[i]);
    }
    bool reverse = args[2] != NULL && hold_value_truth(args[2]);
    return rc == HOLD_OK ? sorted(r, pairs.list, keys, reverse, out) : rc;
}

FILTER(filter_sort) {
    struct hold_list items = {0};
    struct hold_value *keys = NULL, part;
    bool reverse = args[0] != NULL && hold_value_truth(args[0]);
    bool sensitive = args[1] != NULL && hold_value_truth(args[1]);
    int rc = hold_value_items(r, self, &items);
    rc = rc == HOLD_OK ? hold_jinja_alloc(r, items.n + 1, sizeof *keys, &keys) : rc;
    for (size_t i = 0; rc == HOLD_OK && i < items.n; i++) {
        part = items.items[i];
        if (args[2] != NULL && args[2]->kind != HOLD_VALUE_NONE) {
            rc = path_of(r, &items.items[i], args[2], &part);
        }
        rc = rc == HOLD_OK ? sort_key(r, &part, sensitive, &keys[i]) : rc;
    }
    return rc == HOLD_OK ? sorted(r, &items, keys, reverse, out) : rc;
}

FILTER(filter_unique) {
    struct hold_list items = {0};
    struct hold_value key, seen;
    bool sensitive = args[0] != NULL && hold_value_truth(args[0]);
    size_t kept = 0;
    int rc = hold_value_items(r, self, &items);
    rc = rc == HOLD_OK ? hold_value_dict(r, 8, &seen) : rc;
    rc = rc == HOLD_OK ? hold_value_list(r, HOLD_VALUE_LIST, items.n, out) : rc;
    for (size_t i = 0; rc == HOLD_OK && i < items.n; i++) {
        const struct hold_value *before = NULL;
        struct hold_value part = items.items[i];
        if (args[1] != NULL && args[1]->kind != HOLD_VALUE_NONE) {
            rc = path_of(r, &items.items[i], args[1], &part);
        }
        rc = rc == HOLD_OK ? sort_key(r, &part, sensitive, &key) : rc;
        rc = rc == HOLD_OK ? hold_value_find(r, seen.dict, &key, &before) : rc;
        if (rc == HOLD_OK && before == NULL) {
            rc = hold_value_put(r, seen.dict, &key, &key);
            out->list->items[kept++] = items.items[i];
        }
    }
    if (rc == HOLD_OK) {
        out->list->n = kept;
    }
    return rc;
}

/* The smallest or the greatest item, the first of equals; undefined when there is none. */
static int extreme(struct hold_jinja *r, const struct hold_value *self,
                   const struct hold_value *const *args, const char *order,
                   struct hold_value *out) {
    struct hold_list items = {0};
    struct hold_value best = {0}, key = {0}, part;
    bool sensitive = args[0] != NULL && hold_value_truth(args[0]);
    int rc = hold_value_items(r, self, &items);
    *out = (struct hold_value){.kind = HOLD_VALUE_UNDEFINED};
    for (size_t i = 0; rc == HOLD_OK && i < items.n; i++) {
        bool better = i == 0;
        part = items.items[i];
        if (args[1] != NULL && args[1]->kind != HOLD_VALUE_NONE) {
            rc = path_of(r, &items.items[i], args[1], &part);
        }
        rc = rc == HOLD_OK ? sort_key(r, &part, sensitive, &key) : rc;
        if (rc == HOLD_OK && i > 0) {
            rc = hold_jinja_compare(r, order, &key, &best, &better);
        }
        if (rc == HOLD_OK && better) {
            best = key;
            *out = items.items[i];
        }
    }
    return rc;
}

FILTER(filter_min) {
    return extreme(r, self, args, "<", out);
}

FILTER(filter_max) {
    return extreme(r, self, args, ">", out);
}

/* What map and the choosing filters go through: nothing when the value is false, as in jinja2. */
static int pass_items(struct hold_jinja *r, const struct hold_value *self, struct hold_list *out) {
    *out = (struct hold_list){0};
    return hold_value_truth(self) ? hold_value_items(r, self, out) : HOLD_OK;
}

/* map("filter", ...) or map(attribute=..., default=...). */
static int filter_map(struct hold_jinja *r, const struct hold_value *self,
                      const struct hold_args *args, struct hold_value *out) {
    struct hold_list items = {0};
    const struct hold_value *attribute = NULL, *otherwise = NULL;
    const struct hold_function *f = NULL;
    struct hold_args rest = *args;
    int rc = pass_items(r, self, &items);
    if (rc == HOLD_OK && args->n == 0) {
        for (size_t i = 0; i < args->n_named; i++) {
            attribute = strcmp(args->names[i], "attribute") == 0 ? &args->named[i] : attribute;
            otherwise = strcmp(args->names[i], "default") == 0 ? &args->named[i] : otherwise;
        }
    } else if (rc == HOLD_OK) {
        const char *name = NULL;
        rc = hold_value_name(r, &args->items[0], "the filter of map", &name);
        f = rc == HOLD_OK ? hold_filter_find(name) : NULL;
        rest.items++;
        rest.n--;
    }
    if (rc == HOLD_OK && f == NULL && attribute == NULL) {
        rc = hold_jinja_fail(r, HOLD_EUNSUPPORTED,
                             "map without an attribute or a filter that is "
                             "known");
    }
    rc = rc == HOLD_OK ? hold_value_list(r, HOLD_VALUE_LIST, items.n, out) : rc;
    for (size_t i = 0; rc == HOLD_OK && i < items.n; i++) {
        struct hold_value *to = &out->list->items[i];
        rc = f != NULL ? hold_jinja_apply(r, f, &items.items[i], &rest, to)
                       : path_of(r, &items.items[i], attribute, to);
        if (f == NULL && to->kind == HOLD_VALUE_UNDEFINED && otherwise != NULL) {
            *to = *otherwise;
        }
    }
    return rc;
}

/* select, reject, selectattr, rejectattr: items for which a test says `want`. */
static int choose(struct hold_jinja *r, const struct hold_value *self, const struct hold_args *args,
                  bool by_attribute, bool want, struct hold_value *out) {
    struct hold_list items = {0};
    const struct hold_function *test = NULL;
    struct hold_args rest = *args;
    size_t skip = by_attribute ? 1 : 0, kept = 0;
    int rc = pass_items(r, self, &items);
    if (rc == HOLD_OK && args->n < skip) {
        rc = hold_jinja_fail(r, HOLD_EDATA, "selectattr and rejectattr need an attribute");
    }
    if (rc == HOLD_OK && args->n > skip) {
        const char *name = NULL;
        rc = hold_value_name(r, &args->items[skip], "the test of select", &name);
        test = rc == HOLD_OK ? hold_test_find(name) : NULL;
        if (rc == HOLD_OK && test == NULL) {
            rc = hold_jinja_fail(r, HOLD_EUNSUPPORTED, "test \"%s\" is not known", name);
        }
        skip++;
    }
    if (rest.n > 0) {
        rest.items += skip;
        rest.n -= skip;
    }
    rc = rc == HOLD_OK ? hold_value_list(r, HOLD_VALUE_LIST, items.n, out) : rc;
    for (size_t i = 0; rc == HOLD_OK && i < items.n; i++) {
        struct hold_value v = items.items[i], yes;
        rc = by_attribute ? path_of(r, &items.items[i], &args->items[0], &v) : HOLD_OK;
        yes = v;
        rc = rc == HOLD_OK && test != NULL ? hold_jinja_apply(r, test, &v, &rest, &yes) : rc;
        if (rc == HOLD_OK && hold_value_truth(&yes) == want) {
            out->list->items[kept++] = items.items[i];
        }
    }
    if (rc == HOLD_OK) {
        out->list->n = kept;
    }
    return rc;
}

#define CHOICE(name, by_attribute, want)                                    \
    static int name(struct hold_jinja *r, const struct hold_value *self,    \
                    const struct hold_args *args, struct hold_value *out) { \
        return choose(r, self, args, by_attribute, want, out);              \
    }
CHOICE(filter_select, false, true)
CHOICE(filter_reject, false, false)
CHOICE(filter_selectattr, true, true)
CHOICE(filter_rejectattr, true, false)

/* Tests of a value's kind: the kinds that pass, as bits. */
#define BIT(kind) (1u << HOLD_VALUE_##kind)
#define KIND_TEST(name, bits)                                   \
    FILTER(name) {                                              \
        (void)r;                                                \
        (void)args;                                             \
        *out = hold_value_bool(((bits)&1u << self->kind) != 0); \
        return HOLD_OK;                                         \
    }
#define ITERABLE (BIT(UNDEFINED) | BIT(TEXT) | BIT(LIST) | BIT(TUPLE) | BIT(DICT))
KIND_TEST(test_defined, ~BIT(UNDEFINED))
KIND_TEST(test_undefined, BIT(UNDEFINED))
KIND_TEST(test_none, BIT(NONE))
KIND_TEST(test_boolean, BIT(BOOL))
KIND_TEST(test_integer, BIT(INT))
KIND_TEST(test_float, BIT(REAL))
KIND_TEST(test_number, BIT(BOOL) | BIT(INT) | BIT(REAL))
KIND_TEST(test_string, BIT(TEXT))
KIND_TEST(test_mapping, BIT(DICT))
KIND_TEST(test_iterable, ITERABLE | BIT(LOOP))
KIND_TEST(test_sequence, ITERABLE)
KIND_TEST(test_callable, BIT(MACRO) | BIT(FUNCTION) | BIT(METHOD) | BIT(UNDEFINED))

FILTER(test_true) {
    (void)r;
    (void)args;
    *out = hold_value_bool(self->kind == HOLD_VALUE_BOOL && self->truth);
    return HOLD_OK;
}

FILTER(test_false) {
    (void)r;
    (void)args;
    *out = hold_value_bool(self->kind == HOLD_VALUE_BOOL && !self->truth);
    return HOLD_OK;
}

/* self % divisor == rest, for odd, even and divisibleby. */
static int remainder_is(struct hold_jinja *r, const struct hold_value *self, int64_t divisor,
                        int64_t rest, struct hold_value *out) {
    int64_t v = 0;
    if (!hold_value_integer(self, &v) || divisor == 0) {
        return hold_jinja_fail(r, HOLD_EDATA, "odd, even and divisibleby take integers, found %s",
                               hold_value_kind(self));
    }
    *out = hold_value_bool((divisor == -1 ? 0 : v % divisor) == rest ||
                           (rest == 1 && v % divisor == -1));
    return HOLD_OK;
}

FILTER(test_odd) {
    (void)args;
    return remainder_is(r, self, 2, 1, out);
}

FILTER(test_even) {
    (void)args;
    return remainder_is(r, self, 2, 0, out);
}

FILTER(test_divisibleby) {
    int64_t divisor = 0;
    if (args[0] != NULL) {
        hold_value_integer(args[0], &divisor);
    }
    return remainder_is(r, self, divisor, 0, out);
}

FILTER(test_sameas) {
    bool same = false;
    if (args[0] == NULL) {
        return hold_jinja_fail(r, HOLD_EDATA, "sameas without a value");
    }
    int rc = args[0]->kind == self->kind ? hold_value_equal(r, self, args[0], &same) : HOLD_OK;
    *out = hold_value_bool(same);
    return rc;
}

/* Text that has letters, all of one case. */
static int one_case(struct hold_jinja *r, const struct hold_value *self, char how,
                    struct hold_value *out) {
    struct hold_value text, same, other;
    bool equal = false, changes = false;
    int rc = hold_value_str(r, self, &text);
    rc = rc == HOLD_OK ? hold_text_case(r, &text, how, &same) : rc;
    rc = rc == HOLD_OK ? hold_text_case(r, &text, how == 'l' ? 'u' : 'l', &other) : rc;
    rc = rc == HOLD_OK ? hold_value_equal(r, &text, &same, &equal) : rc;
    rc = rc == HOLD_OK ? hold_value_equal(r, &text, &other, &changes) : rc;
    *out = hold_value_bool(equal && !changes);
    return rc;
}

FILTER(test_lower) {
    (void)args;
    return one_case(r, self, 'l', out);
}

FILTER(test_upper) {
    (void)args;
    return one_case(r, self, 'u', out);
}

#define COMPARE_TEST(name, op)                                                            \
    FILTER(name) {                                                                        \
        bool yes = false;                                                                 \
        if (args[0] == NULL) {                                                            \
            return hold_jinja_fail(r, HOLD_EDATA, "a comparison without a second value"); \
        }                                                                                 \
        int rc = hold_jinja_compare(r, op, self, args[0], &yes);                          \
        *out = hold_value_bool(yes);                                                      \
        return rc;                                                                        \
    }
COMPARE_TEST(test_eq, "==")
COMPARE_TEST(test_ne, "!=")
COMPARE_TEST(test_lt, "<")
COMPARE_TEST(test_le, "<=")
COMPARE_TEST(test_gt, ">")
COMPARE_TEST(test_ge, ">=")
COMPARE_TEST(test_in, "in")

static const struct hold_function FILTERS[] = {
    {"length", "", filter_length, NULL},
    {"count", "", filter_length, NULL},
    {"trim", "chars", filter_trim, NULL},
    {"string", "", filter_string, NULL},
    {"safe", "", filter_string, NULL},
    {"lower", "", filter_lower, NULL},
    {"upper", "", filter_upper, NULL},
    {"capitalize", "", filter_capitalize, NULL},
    {"title", "", filter_title, NULL},
    {"default", "default_value,boolean", filter_default, NULL},
    {"d", "default_value,boolean", filter_default, NULL},
    {"list", "", filter_list, NULL},
    {"items", "", filter_items, NULL},
    {"join", "d,attribute", filter_join, NULL},
    {"replace", "old,new,count", filter_replace, NULL},
    {"int", "default,base", filter_int, NULL},
    {"indent", "width,first,blank", filter_indent, NULL},
    {"first", "", filter_first, NULL},
    {"last", "", filter_last, NULL},
    {"reverse", "", filter_reverse, NULL},
    {"dictsort", "case_sensitive,by,reverse", filter_dictsort, NULL},
    {"sort", "reverse,case_sensitive,attribute", filter_sort, NULL},
    {"unique", "case_sensitive,attribute", filter_unique, NULL},
    {"min", "case_sensitive,attribute", filter_min, NULL},
    {"max", "case_sensitive,attribute", filter_max, NULL},
    {"map", "", NULL, filter_map},
    {"select", "", NULL, filter_select},
    {"reject", "", NULL, filter_reject},
    {"selectattr", "", NULL, filter_selectattr},
    {"rejectattr", "", NULL, filter_rejectattr},
};

static const struct hold_function TESTS[] = {
    {"defined", "", test_defined, NULL},
    {"undefined", "", test_undefined, NULL},
    {"none", "", test_none, NULL},
    {"boolean", "", test_boolean, NULL},
    {"true", "", test_true, NULL},
    {"false", "", test_false, NULL},
    {"integer", "", test_integer, NULL},
    {"float", "", test_float, NULL},
    {"number", "", test_number, NULL},
    {"string", "", test_string, NULL},
    {"mapping", "", test_mapping, NULL},
    {"iterable", "", test_iterable, NULL},
    {"sequence", "", test_sequence, NULL},
    {"callable", "", test_callable, NULL},
    {"odd", "", test_odd, NULL},
    {"even", "", test_even, NULL},
    {"divisibleby", "num", test_divisibleby, NULL},
    {"sameas", "other", test_sameas, NULL},
    {"lower", "", test_lower, NULL},
    {"upper", "", test_upper, NULL},
    {"in", "seq", test_in, NULL},
    {"eq", "other", test_eq, NULL},
    {"equalto", "other", test_eq, NULL},
    {"==", "other", test_eq, NULL},
    {"ne", "other", test_ne, NULL},
    {"!=", "other", test_ne, NULL},
    {"lt", "other", test_lt, NULL},
    {"lessthan", "other", test_lt, NULL},
    {"<", "other", test_lt, NULL},
    {"le", "other", test_le, NULL},
    {"<=", "other", test_le, NULL},
    {"gt", "other", test_gt, NULL},
    {"greaterthan", "other", test_gt, NULL},
    {">", "other", test_gt, NULL},
    {"ge", "other", test_ge, NULL},
    {">=", "other", test_ge, NULL},
};

const struct hold_function *hold_filter_find(const char *name) {
    for (size_t i = 0; i < sizeof FILTERS / sizeof FILTERS[0]; i++) {
        if (strcmp(FILTERS[i].name, name) == 0) {
            return &FILTERS[i];
        }
    }
    return strcmp(name, "tojson") == 0 ? &hold_template_tojson : NULL;
}

const struct hold_function *hold_test_find(const char *name) {
    for (size_t i = 0; i < sizeof TESTS / sizeof TESTS[0]; i++) {
        if (strcmp(TESTS[i].name, name) == 0) {
            return &TESTS[i];
        }
    }
    return NULL;
}
