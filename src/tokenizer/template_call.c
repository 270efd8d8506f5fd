/* template_call.c: calls: macros, functions, methods of dicts, the loop variable. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "tokenizer/template_internal.h"

enum { ARGS_MAX = 64, RANGE_MAX = 100000 };

int hold_jinja_arguments(struct hold_jinja *r, const struct hold_node *first,
                         struct hold_args *out) {
    size_t n = 0, named = 0;
    for (const struct hold_node *a = first; a != NULL; a = a->next) {
        named += a->kind == HOLD_NODE_KEYWORD;
        n += a->kind != HOLD_NODE_KEYWORD;
    }
    *out = (struct hold_args){0};
    if (n + named == 0) {
        return HOLD_OK;
    }
    if (n + named > ARGS_MAX) {
        return hold_jinja_fail(r, HOLD_EDATA, "more than %d arguments", ARGS_MAX);
    }
    struct hold_value *items = NULL;
    const char **names = NULL;
    int rc = hold_jinja_alloc(r, n + named, sizeof *items, &items);
    rc = rc == HOLD_OK ? hold_jinja_alloc(r, named + 1, sizeof *names, &names) : rc;
    size_t place = 0, keyword = 0;
    for (const struct hold_node *a = first; rc == HOLD_OK && a != NULL; a = a->next) {
        if (a->kind == HOLD_NODE_KEYWORD) {
            names[keyword] = a->name;
            rc = hold_jinja_eval(r, a->a, &items[n + keyword++]);
        } else {
            rc = hold_jinja_eval(r, a, &items[place++]);
        }
    }
    *out = (struct hold_args){items, n, names, items + n, named};
    return rc;
}

/* Index of `name` in the comma list `params`, -1: not there. */
static int param_index(const char *params, const char *name) {
    size_t n = strlen(name);
    int index = 0;
    for (const char *p = params; *p != '\0'; index++) {
        size_t len = strcspn(p, ",");
        if (len == n && memcmp(p, name, n) == 0) {
            return index;
        }
        p += len + (p[len] == ',' ? 1 : 0);
    }
    return -1;
}

static int param_count(const char *params) {
    int count = *params != '\0' ? 1 : 0;
    for (const char *p = params; *p != '\0'; p++) {
        count += *p == ',';
    }
    return count;
}

int hold_jinja_apply(struct hold_jinja *r, const struct hold_function *f,
                     const struct hold_value *self, const struct hold_args *args,
                     struct hold_value *out) {
    if (f->raw != NULL) {
        return f->raw(r, self, args, out);
    }
    const struct hold_value *bound[8] = {NULL};
    int count = param_count(f->params);
    if (args->n > (size_t)count) {
        return hold_jinja_fail(r, HOLD_EDATA, "\"%s\" takes at most %d arguments, found %zu",
                               f->name, count, args->n);
    }
    for (size_t i = 0; i < args->n; i++) {
        bound[i] = &args->items[i];
    }
    for (size_t i = 0; i < args->n_named; i++) {
        int at = param_index(f->params, args->names[i]);
        if (at < 0 || bound[at] != NULL) {
            return hold_jinja_fail(r, HOLD_EDATA, "\"%s\" does not take the argument \"%s\" here",
                                   f->name, args->names[i]);
        }
        bound[at] = &args->named[i];
    }
    return f->call(r, self, bound, out);
}

/* The scope of a macro's body: its parameters by place, by name, by default. */
static int bind_macro(struct hold_jinja *r, const struct hold_node *n,
                      const struct hold_args *args) {
    size_t place = 0, used = 0;
    int rc = HOLD_OK;
    for (const struct hold_node *p = n->items; rc == HOLD_OK && p != NULL; p = p->next, place++) {
        struct hold_value v = hold_value_undefined(p->name);
        bool given = place < args->n;
        if (given) {
            v = args->items[place];
        }
        for (size_t i = 0; i < args->n_named; i++) {
            if (strcmp(args->names[i], p->name) == 0) {
                if (given) {
                    return hold_jinja_fail(r, HOLD_EDATA, "macro \"%s\" got \"%s\" twice", n->name,
                                           p->name);
                }
                v = args->named[i];
                given = true;
                used++;
            }
        }
        if (!given && p->a != NULL) {
            rc = hold_jinja_eval(r, p->a, &v);
        }
        rc = rc == HOLD_OK ? hold_jinja_set(r, p->name, &v) : rc;
    }
    if (rc == HOLD_OK && (args->n > place || used < args->n_named)) {
        rc =
            hold_jinja_fail(r, HOLD_EDATA, "macro \"%s\" does not take so many arguments", n->name);
    }
    return rc;
}

static int call_macro(struct hold_jinja *r, const struct hold_macro *m,
                      const struct hold_args *args, struct hold_value *out) {
    struct hold_scope *before = r->scope;
    int loops = r->loops, line = r->line;
    if (r->calls == HOLD_NEST_MAX) {
        return hold_jinja_fail(r, HOLD_EDATA, "macro calls nested deeper than %d", HOLD_NEST_MAX);
    }
    r->calls++;
    r->loops = 0;
    int rc = hold_jinja_scope(r, m->scope, &r->scope);
    rc = rc == HOLD_OK ? bind_macro(r, m->node, args) : rc;
    rc = rc == HOLD_OK ? hold_jinja_capture(r, m->node->body, out) : rc;
    r->scope = before;
    r->loops = loops;
    r->calls--;
    if (rc == HOLD_OK) {
        r->line = line;
    }
    return rc;
}

int hold_jinja_call(struct hold_jinja *r, const struct hold_value *callee,
                    const struct hold_args *args, struct hold_value *out) {
    switch (callee->kind) {
    case HOLD_VALUE_MACRO:
        return call_macro(r, callee->macro, args, out);
    case HOLD_VALUE_FUNCTION:
        return hold_jinja_apply(r, callee->function, callee, args, out);
    case HOLD_VALUE_METHOD:
        return hold_jinja_apply(r, callee->method->function, &callee->method->self, args, out);
    case HOLD_VALUE_UNDEFINED:
        return hold_jinja_fail(r, HOLD_EDATA, "\"%.*s\" is not a function or method known here",
                               callee->len < 80 ? (int)callee->len : 80, callee->text);
    default:
        return hold_jinja_fail(r, HOLD_EDATA, "%s is called", hold_value_kind(callee));
    }
}

static int call_range(struct hold_jinja *r, const struct hold_value *self,
                      const struct hold_value *const *args, struct hold_value *out) {
    int64_t v[3] = {0, 0, 1};
    (void)self;
    for (int i = 0; i < 3; i++) {
        if (args[i] != NULL && !hold_value_integer(args[i], &v[i])) {
            return hold_jinja_fail(r, HOLD_EDATA, "range of %s", hold_value_kind(args[i]));
        }
    }
    if (args[0] == NULL || v[2] == 0) {
        return hold_jinja_fail(r, HOLD_EDATA, "range without an end, or with step 0");
    }
    int64_t from = args[1] != NULL ? v[0] : 0, to = args[1] != NULL ? v[1] : v[0];
    /* In double, so that no difference overflows; near the bound it is exact. */
    double span = v[2] > 0 ? (double)to - (double)from : (double)from - (double)to;
    double stride = v[2] > 0 ? (double)v[2] : -(double)v[2];
    if (span / stride > RANGE_MAX) {
        return hold_jinja_fail(r, HOLD_EDATA, "range of more than %d numbers", RANGE_MAX);
    }
    size_t n = span > 0 ? (size_t)ceil(span / stride) : 0;
    int rc = hold_jinja_steps(r, n / 16);
    rc = rc == HOLD_OK ? hold_value_list(r, HOLD_VALUE_LIST, n, out) : rc;
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        out->list->items[i] = hold_value_int(from + (int64_t)i * v[2]);
    }
    return rc;
}

/* dict(...) and namespace(...): a dict to begin with, then keywords. */
static int fill_dict(struct hold_jinja *r, const struct hold_args *args, struct hold_value *out) {
    int rc = hold_value_dict(r, args->n_named, out);
    if (args->n > 1 || (args->n == 1 && args->items[0].kind != HOLD_VALUE_DICT)) {
        return hold_jinja_fail(r, HOLD_EDATA, "expected a dict and keywords as arguments");
    }
    for (size_t i = 0; rc == HOLD_OK && args->n == 1 && i < args->items[0].dict->n; i++) {
        const struct hold_entry *e = &args->items[0].dict->entries[i];
        rc = hold_value_put(r, out->dict, &e->key, &e->value);
    }
    for (size_t i = 0; rc == HOLD_OK && i < args->n_named; i++) {
        struct hold_value key = hold_value_text(args->names[i], strlen(args->names[i]), 0);
        rc = hold_value_put(r, out->dict, &key, &args->named[i]);
    }
    return rc;
}

static int call_dict(struct hold_jinja *r, const struct hold_value *self,
                     const struct hold_args *args, struct hold_value *out) {
    (void)self;
    return fill_dict(r, args, out);
}

static int call_namespace(struct hold_jinja *r, const struct hold_value *self,
                          const struct hold_args *args, struct hold_value *out) {
    (void)self;
    int rc = fill_dict(r, args, out);
    out->kind = HOLD_VALUE_SPACE;
    return rc;
}

static int call_raise(struct hold_jinja *r, const struct hold_value *self,
                      const struct hold_value *const *args, struct hold_value *out) {
    struct hold_value text = hold_value_text("", 0, 0);
    (void)self;
    (void)out;
    int rc = args[0] != NULL ? hold_value_str(r, args[0], &text) : HOLD_OK;
    return rc == HOLD_OK ? hold_jinja_fail(r, HOLD_EDATA, "the template says: %.*s",
                                           text.len < 400 ? (int)text.len : 400, text.text)
                         : rc;
}

/* One directive of strftime; `plain`: without leading zeros ("%-d"). */
static bool add_time(struct hold_str *s, const struct tm *t, char what, bool plain) {
    static const char *const MONTHS[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};
    static const char *const DAYS[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};
    const char *month = MONTHS[t->tm_mon], *day = DAYS[t->tm_wday];
    int hour = t->tm_hour % 12 == 0 ? 12 : t->tm_hour % 12;
    const struct {
        char what;
        int value, width;
    } NUMBERS[] = {{'d', t->tm_mday, 2},       {'m', t->tm_mon + 1, 2}, {'Y', t->tm_year + 1900, 4},
                   {'y', t->tm_year % 100, 2}, {'H', t->tm_hour, 2},    {'I', hour, 2},
                   {'M', t->tm_min, 2},        {'S', t->tm_sec, 2},     {'j', t->tm_yday + 1, 3}};
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        if (NUMBERS[i].what == what) {
            hold_str_addf(s, "%0*d", plain ? 1 : NUMBERS[i].width, NUMBERS[i].value);
            return true;
        }
    }
    switch (what) {
    case 'B':
        hold_str_add(s, month);
        return true;
    case 'b':
        hold_str_add_bytes(s, month, 3);
        return true;
    case 'A':
        hold_str_add(s, day);
        return true;
    case 'a':
        hold_str_add_bytes(s, day, 3);
        return true;
    case 'p':
        hold_str_add(s, t->tm_hour < 12 ? "AM" : "PM");
        return true;
    case '%':
        hold_str_add_char(s, '%');
        return true;
    default:
        return false;
    }
}

static int call_strftime(struct hold_jinja *r, const struct hold_value *self,
                         const struct hold_value *const *args, struct hold_value *out) {
    const char *format = NULL;
    struct tm t;
    time_t now = (time_t)r->options->now;
    (void)self;
    if (args[0] == NULL || gmtime_r(&now, &t) == NULL) {
        return hold_jinja_fail(r, HOLD_EDATA, "strftime_now without a format");
    }
    int rc = hold_value_name(r, args[0], "the format", &format);
    struct hold_str s = HOLD_STR_INIT;
    for (const char *p = format; rc == HOLD_OK && *p != '\0'; p++) {
        if (*p != '%') {
            hold_str_add_char(&s, *p);
            continue;
        }
        bool plain = p[1] == '-';
        p += plain ? 2 : 1;
        if (!add_time(&s, &t, *p, plain)) {
            rc = hold_jinja_fail(r, HOLD_EUNSUPPORTED, "strftime_now: %%%.1s is not supported", p);
        }
    }
    char *copy = NULL;
    rc = rc == HOLD_OK ? hold_str_check(&s, r->err) : rc;
    rc = rc == HOLD_OK ? hold_jinja_alloc(r, s.len + 1, 1, &copy) : rc;
    if (rc == HOLD_OK) {
        memcpy(copy, hold_str_text(&s), s.len);
        *out = hold_value_text(copy, s.len, 0);
    }
    hold_str_release(&s);
    return rc;
}

static int dict_list(struct hold_jinja *r, const struct hold_value *self, char what,
                     struct hold_value *out) {
    int rc = hold_value_list(r, HOLD_VALUE_LIST, self->dict->n, out);
    for (size_t i = 0; rc == HOLD_OK && i < self->dict->n; i++) {
        const struct hold_entry *e = &self->dict->entries[i];
        struct hold_value *item = &out->list->items[i];
        if (what == 'i') {
            rc = hold_value_list(r, HOLD_VALUE_TUPLE, 2, item);
            if (rc == HOLD_OK) {
                item->tag = self->tag;
                item->list->items[0] = e->key;
                item->list->items[1] = e->value;
            }
        } else {
            *item = what == 'k' ? e->key : e->value;
        }
    }
    return rc;
}

static int dict_items(struct hold_jinja *r, const struct hold_value *self,
                      const struct hold_value *const *args, struct hold_value *out) {
    (void)args;
    return dict_list(r, self, 'i', out);
}

static int dict_keys(struct hold_jinja *r, const struct hold_value *self,
                     const struct hold_value *const *args, struct hold_value *out) {
    (void)args;
    return dict_list(r, self, 'k', out);
}

static int dict_values(struct hold_jinja *r, const struct hold_value *self,
                       const struct hold_value *const *args, struct hold_value *out) {
    (void)args;
    return dict_list(r, self, 'v', out);
}

static int dict_get(struct hold_jinja *r, const struct hold_value *self,
                    const struct hold_value *const *args, struct hold_value *out) {
    const struct hold_value *value = NULL;
    if (args[0] == NULL) {
        return hold_jinja_fail(r, HOLD_EDATA, "get without a key");
    }
    int rc = hold_value_find(r, self->dict, args[0], &value);
    *out = value != NULL ? *value : args[1] != NULL ? *args[1] : hold_value_none();
    return rc;
}

static int loop_cycle(struct hold_jinja *r, const struct hold_value *self,
                      const struct hold_args *args, struct hold_value *out) {
    if (args->n == 0) {
        return hold_jinja_fail(r, HOLD_EDATA, "loop.cycle without arguments");
    }
    *out = args->items[self->loop->index % args->n];
    return HOLD_OK;
}

static int loop_changed(struct hold_jinja *r, const struct hold_value *self,
                        const struct hold_args *args, struct hold_value *out) {
    struct hold_value now;
    bool same = false;
    int rc = hold_value_list(r, HOLD_VALUE_TUPLE, args->n, &now);
    for (size_t i = 0; rc == HOLD_OK && i < args->n; i++) {
        now.list->items[i] = args->items[i];
    }
    rc = rc == HOLD_OK ? hold_value_equal(r, &now, &self->loop->changed, &same) : rc;
    if (rc == HOLD_OK) {
        self->loop->changed = now;
        *out = hold_value_bool(!same);
    }
    return rc;
}

int hold_loop_attribute(struct hold_jinja *r, const struct hold_value *self, const char *name,
                        struct hold_value *out, bool *found) {
    static const struct hold_function CYCLE = {"cycle", "", NULL, loop_cycle};
    static const struct hold_function CHANGED = {"changed", "", NULL, loop_changed};
    const struct hold_loop *l = self->loop;
    size_t n = l->items != NULL ? l->items->n : 0, i = l->index;
    const struct {
        const char *name;
        size_t value;
    } NUMBERS[] = {
        {"index", i + 1},         {"index0", i},       {"length", n},           {"revindex", n - i},
        {"revindex0", n - i - 1}, {"depth", l->depth}, {"depth0", l->depth - 1}};
    *found = true;
    for (size_t k = 0; k < sizeof NUMBERS / sizeof NUMBERS[0]; k++) {
        if (strcmp(NUMBERS[k].name, name) == 0) {
            *out = hold_value_int((int64_t)NUMBERS[k].value);
            return HOLD_OK;
        }
    }
    const bool cycle = strcmp(name, "cycle") == 0;
    if (strcmp(name, "first") == 0) {
        *out = hold_value_bool(i == 0);
    } else if (strcmp(name, "last") == 0) {
        *out = hold_value_bool(i + 1 >= n);
    } else if (strcmp(name, "previtem") == 0) {
        *out = i > 0 && i <= n ? l->items->items[i - 1] : hold_value_undefined(name);
    } else if (strcmp(name, "nextitem") == 0) {
        *out = i + 1 < n ? l->items->items[i + 1] : hold_value_undefined(name);
    } else if (cycle || strcmp(name, "changed") == 0) {
        struct hold_method *m = NULL;
        int rc = hold_jinja_alloc(r, 1, sizeof *m, &m);
        if (rc != HOLD_OK) {
            return rc;
        }
        *m = (struct hold_method){*self, cycle ? &CYCLE : &CHANGED};
        *out = (struct hold_value){.kind = HOLD_VALUE_METHOD, .method = m};
    } else {
        *found = false;
    }
    return HOLD_OK;
}

static const struct hold_function *find(const struct hold_function *table, size_t n,
                                        const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

const struct hold_function *hold_global_find(const char *name) {
    static const struct hold_function GLOBALS[] = {
        {"range", "a,b,c", call_range, NULL},
        {"dict", "", NULL, call_dict},
        {"namespace", "", NULL, call_namespace},
        {"raise_exception", "message", call_raise, NULL},
        {"strftime_now", "format", call_strftime, NULL},
    };
    return find(GLOBALS, sizeof GLOBALS / sizeof GLOBALS[0], name);
}

const struct hold_function *hold_dict_method(const char *name) {
    static const struct hold_function METHODS[] = {
        {"items", "", dict_items, NULL},
        {"keys", "", dict_keys, NULL},
        {"values", "", dict_values, NULL},
        {"get", "key,default", dict_get, NULL},
    };
    return find(METHODS, sizeof METHODS / sizeof METHODS[0], name);
}
