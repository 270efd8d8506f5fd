/* template_eval.c: expressions evaluated. */
#include <math.h>
#include <string.h>

#include "tokenizer/template_internal.h"
#include "tokenizer/unicode.h"

static int lookup(struct hold_jinja *r, const char *name, struct hold_value *out) {
    for (const struct hold_scope *s = r->scope; s != NULL; s = s->parent) {
        for (size_t i = s->n; i-- > 0;) {
            if (strcmp(s->variables[i].name, name) == 0) {
                *out = s->variables[i].value;
                return hold_jinja_steps(r, s->n / 16);
            }
        }
    }
    const struct hold_function *f = hold_global_find(name);
    *out = f != NULL ? (struct hold_value){.kind = HOLD_VALUE_FUNCTION, .function = f}
                     : hold_value_undefined(name);
    return HOLD_OK;
}

static int bind_method(struct hold_jinja *r, const struct hold_value *self,
                       const struct hold_function *f, struct hold_value *out) {
    struct hold_method *m = NULL;
    int rc = hold_jinja_alloc(r, 1, sizeof *m, &m);
    if (rc == HOLD_OK) {
        *m = (struct hold_method){*self, f};
        *out = (struct hold_value){.kind = HOLD_VALUE_METHOD, .method = m};
    }
    return rc;
}

static int undefined_error(struct hold_jinja *r, const struct hold_value *v) {
    return hold_jinja_fail(r, HOLD_EDATA, "\"%.*s\" is undefined", v->len < 80 ? (int)v->len : 80,
                           v->text);
}

int hold_jinja_attribute(struct hold_jinja *r, const struct hold_value *self, const char *name,
                         struct hold_value *out) {
    bool found = false;
    const struct hold_function *method = NULL;
    switch (self->kind) {
    case HOLD_VALUE_UNDEFINED:
        return undefined_error(r, self);
    case HOLD_VALUE_TEXT:
        method = hold_text_method(name);
        break;
    case HOLD_VALUE_DICT:
        method = hold_dict_method(name);
        break;
    case HOLD_VALUE_LOOP: {
        int rc = hold_loop_attribute(r, self, name, out, &found);
        if (rc != HOLD_OK || found) {
            return rc;
        }
        break;
    }
    default:
        break;
    }
    if (method != NULL) {
        return bind_method(r, self, method, out);
    }
    if (self->kind == HOLD_VALUE_DICT || self->kind == HOLD_VALUE_SPACE) {
        struct hold_value key = hold_value_text(name, strlen(name), 0);
        const struct hold_value *value = NULL;
        int rc = hold_value_find(r, self->dict, &key, &value);
        if (rc != HOLD_OK || value != NULL) {
            *out = value != NULL ? *value : hold_value_none();
            return rc;
        }
    }
    *out = hold_value_undefined(name);
    return HOLD_OK;
}

int hold_jinja_item(struct hold_jinja *r, const struct hold_value *self,
                    const struct hold_value *index, struct hold_value *out) {
    int64_t i = 0;
    if (self->kind == HOLD_VALUE_UNDEFINED) {
        return undefined_error(r, self);
    }
    if (self->kind == HOLD_VALUE_DICT) {
        const struct hold_value *value = NULL;
        int rc = hold_value_find(r, self->dict, index, &value);
        if (rc != HOLD_OK || value != NULL) {
            *out = value != NULL ? *value : hold_value_none();
            return rc;
        }
    } else if (hold_value_integer(index, &i)) {
        bool list = self->kind == HOLD_VALUE_LIST || self->kind == HOLD_VALUE_TUPLE;
        size_t n = list ? self->list->n : self->kind == HOLD_VALUE_TEXT ? hold_text_count(self) : 0;
        i += i < 0 ? (int64_t)n : 0;
        if (i < 0 || (uint64_t)i >= n) {
            *out = hold_value_undefined("an index out of range");
            return HOLD_OK;
        }
        if (list) {
            *out = self->list->items[i];
            return HOLD_OK;
        }
        return hold_text_slice(r, self, i, 1, 1, out);
    }
    if (index->kind == HOLD_VALUE_TEXT) {
        const char *name = NULL;
        int rc = hold_value_name(r, index, "an index", &name);
        return rc == HOLD_OK ? hold_jinja_attribute(r, self, name, out) : rc;
    }
    *out = hold_value_undefined("an element");
    return HOLD_OK;
}

int hold_jinja_slice(struct hold_jinja *r, const struct hold_value *self,
                     const struct hold_value *const bounds[3], struct hold_value *out) {
    bool list = self->kind == HOLD_VALUE_LIST || self->kind == HOLD_VALUE_TUPLE;
    if (self->kind == HOLD_VALUE_UNDEFINED) {
        return undefined_error(r, self);
    }
    if (!list && self->kind != HOLD_VALUE_TEXT) {
        *out = hold_value_undefined("a slice");
        return HOLD_OK;
    }
    int64_t n = (int64_t)(list ? self->list->n : hold_text_count(self)), given[3] = {0, 0, 1};
    bool have[3] = {false, false, false};
    for (int k = 0; k < 3; k++) {
        if (bounds[k] != NULL && bounds[k]->kind != HOLD_VALUE_NONE) {
            have[k] = hold_value_integer(bounds[k], &given[k]);
            if (!have[k]) {
                return hold_jinja_fail(r, HOLD_EDATA, "a slice bound is %s, expected an integer",
                                       hold_value_kind(bounds[k]));
            }
        }
    }
    int64_t step = given[2];
    if (step == 0 || step == INT64_MIN) {
        return hold_jinja_fail(r, HOLD_EDATA, "a slice step is zero or out of range");
    }
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
    int64_t ends[2] = {step > 0 ? low : high, step > 0 ? high : low};
    for (int k = 0; k < 2; k++) {
        if (have[k]) {
            int64_t at = given[k] < 0 ? given[k] + n : given[k];
            ends[k] = at < low ? low : at > high ? high : at;
        }
    }
    int64_t span = step > 0 ? ends[1] - ends[0] : ends[0] - ends[1];
    int64_t stride = step > 0 ? step : -step, count = span > 0 ? (span - 1) / stride + 1 : 0;
    if (!list) {
        return hold_text_slice(r, self, ends[0], step, count, out);
    }
    int rc = hold_value_list(r, self->kind, (size_t)count, out);
    for (int64_t i = 0; rc == HOLD_OK && i < count; i++) {
        out->list->items[i] = self->list->items[ends[0] + i * step];
    }
    return rc;
}

static int add_lists(struct hold_jinja *r, const struct hold_value *a, const struct hold_value *b,
                     struct hold_value *out) {
    int rc = hold_value_list(r, a->kind, a->list->n + b->list->n, out);
    for (size_t i = 0; rc == HOLD_OK && i < out->list->n; i++) {
        out->list->items[i] = i < a->list->n ? a->list->items[i] : b->list->items[i - a->list->n];
    }
    return rc;
}

/* a repeated `times`. */
static int repeat(struct hold_jinja *r, const struct hold_value *a, int64_t times,
                  struct hold_value *out) {
    struct hold_sink s = {0};
    int rc = HOLD_OK;
    for (int64_t i = 0; rc == HOLD_OK && i < times && a->len > 0; i++) {
        rc = hold_jinja_steps(r, 1);
        rc = rc == HOLD_OK ? hold_sink_value(r, &s, a) : rc;
    }
    rc = rc == HOLD_OK ? hold_sink_take(r, &s, out) : rc;
    hold_sink_release(&s);
    return rc;
}

static int integer_math(struct hold_jinja *r, const char *op, int64_t a, int64_t b,
                        struct hold_value *out) {
    int64_t result = 0;
    bool over = false;
    switch (op[0]) {
    case '+':
        over = __builtin_add_overflow(a, b, &result);
        break;
    case '-':
        over = __builtin_sub_overflow(a, b, &result);
        break;
    case '*':
        if (op[1] == '*') {
            result = 1;
            for (int64_t i = 0; !over && i < b && i < 64; i++) {
                over = __builtin_mul_overflow(result, a, &result);
            }
            over = over || b < 0 || b > 63;
        } else {
            over = __builtin_mul_overflow(a, b, &result);
        }
        break;
    default:
        if (b == 0) {
            return hold_jinja_fail(r, HOLD_EDATA, "division by zero");
        }
        over = a == INT64_MIN && b == -1;
        if (!over) {
            int64_t rest = a % b; /* Python rounds down */
            bool down = rest != 0 && (rest < 0) != (b < 0);
            result = op[0] == '%' ? rest + (down ? b : 0) : a / b - (down ? 1 : 0);
        }
    }
    if (over) {
        return hold_jinja_fail(r, HOLD_EDATA, "an integer does not fit 64 bits");
    }
    *out = hold_value_int(result);
    return HOLD_OK;
}

static int real_math(struct hold_jinja *r, const char *op, double a, double b,
                     struct hold_value *out) {
    double result = 0;
    if ((op[0] == '/' || op[0] == '%') && b == 0) {
        return hold_jinja_fail(r, HOLD_EDATA, "division by zero");
    }
    switch (op[0]) {
    case '+':
        result = a + b;
        break;
    case '-':
        result = a - b;
        break;
    case '*':
        result = op[1] == '*' ? pow(a, b) : a * b;
        break;
    case '/':
        result = op[1] == '/' ? floor(a / b) : a / b;
        break;
    default:
        result = fmod(a, b);
        result += result != 0 && (result < 0) != (b < 0) ? b : 0;
    }
    *out = hold_value_real(result);
    return HOLD_OK;
}

int hold_jinja_binary(struct hold_jinja *r, const char *op, const struct hold_value *a,
                      const struct hold_value *b, struct hold_value *out) {
    int64_t i = 0, j = 0;
    double x = 0, y = 0;
    bool plus = op[0] == '+', times = op[0] == '*' && op[1] == '\0';
    bool divide = op[0] == '/' && op[1] == '\0';
    if (a->kind == HOLD_VALUE_UNDEFINED || b->kind == HOLD_VALUE_UNDEFINED) {
        return undefined_error(r, a->kind == HOLD_VALUE_UNDEFINED ? a : b);
    }
    if (plus && a->kind == HOLD_VALUE_TEXT && b->kind == HOLD_VALUE_TEXT) {
        struct hold_sink s = {0};
        int rc = hold_sink_value(r, &s, a);
        rc = rc == HOLD_OK ? hold_sink_value(r, &s, b) : rc;
        rc = rc == HOLD_OK ? hold_sink_take(r, &s, out) : rc;
        hold_sink_release(&s);
        return rc;
    }
    if (plus && a->kind == b->kind && (a->kind == HOLD_VALUE_LIST || a->kind == HOLD_VALUE_TUPLE)) {
        return add_lists(r, a, b, out);
    }
    if (times && a->kind == HOLD_VALUE_TEXT && hold_value_integer(b, &j)) {
        return repeat(r, a, j, out);
    }
    if (times && b->kind == HOLD_VALUE_TEXT && hold_value_integer(a, &i)) {
        return repeat(r, b, i, out);
    }
    bool integers = hold_value_integer(a, &i) && hold_value_integer(b, &j) && !divide;
    if (integers && !(op[0] == '*' && op[1] == '*' && j < 0)) {
        return integer_math(r, op, i, j, out);
    }
    if (hold_value_number(a, &x) && hold_value_number(b, &y)) {
        return real_math(r, op, x, y, out);
    }
    return hold_jinja_fail(r, HOLD_EDATA, "\"%s\" between %s and %s", op, hold_value_kind(a),
                           hold_value_kind(b));
}

static int contains(struct hold_jinja *r, const struct hold_value *item,
                    const struct hold_value *box, bool *out) {
    int rc = HOLD_OK;
    *out = false;
    if (box->kind == HOLD_VALUE_TEXT) {
        if (item->kind != HOLD_VALUE_TEXT) {
            return hold_jinja_fail(r, HOLD_EDATA, "%s in text, expected text",
                                   hold_value_kind(item));
        }
        *out = item->len == 0 || memmem(box->text, box->len, item->text, item->len) != NULL;
        return hold_jinja_steps(r, box->len / 256);
    }
    if (box->kind == HOLD_VALUE_DICT) {
        const struct hold_value *value = NULL;
        rc = hold_value_find(r, box->dict, item, &value);
        *out = value != NULL;
        return rc;
    }
    struct hold_list items = {0};
    rc = hold_value_items(r, box, &items);
    for (size_t i = 0; rc == HOLD_OK && !*out && i < items.n; i++) {
        rc = hold_value_equal(r, item, &items.items[i], out);
    }
    return rc;
}

static int order(struct hold_jinja *r, const char *op, const struct hold_value *a,
                 const struct hold_value *b, int *out) {
    double x = 0, y = 0;
    int64_t i = 0, j = 0;
    if (a->kind == HOLD_VALUE_UNDEFINED || b->kind == HOLD_VALUE_UNDEFINED) {
        return undefined_error(r, a->kind == HOLD_VALUE_UNDEFINED ? a : b);
    }
    if (hold_value_integer(a, &i) && hold_value_integer(b, &j)) {
        *out = (i > j) - (i < j);
        return HOLD_OK;
    }
    if (hold_value_number(a, &x) && hold_value_number(b, &y)) {
        *out = (x > y) - (x < y);
        return HOLD_OK;
    }
    if (a->kind == HOLD_VALUE_TEXT && b->kind == HOLD_VALUE_TEXT) {
        size_t n = a->len < b->len ? a->len : b->len;
        int first = n > 0 ? memcmp(a->text, b->text, n) : 0;
        *out = first != 0 ? first : (a->len > b->len) - (a->len < b->len);
        return hold_jinja_steps(r, n / 256);
    }
    return hold_jinja_fail(r, HOLD_EDATA, "\"%s\" between %s and %s", op, hold_value_kind(a),
                           hold_value_kind(b));
}

int hold_jinja_compare(struct hold_jinja *r, const char *op, const struct hold_value *a,
                       const struct hold_value *b, bool *out) {
    int sign = 0, rc = HOLD_OK;
    if (op[0] == '=' || op[0] == '!') {
        rc = hold_value_equal(r, a, b, out);
        *out = *out == (op[0] == '=');
        return rc;
    }
    if (op[0] == 'i' || op[0] == 'n') {
        rc = contains(r, a, b, out);
        *out = *out == (op[0] == 'i');
        return rc;
    }
    rc = order(r, op, a, b, &sign);
    *out = (op[0] == '<' && sign < 0) || (op[0] == '>' && sign > 0) || (op[1] == '=' && sign == 0);
    return rc;
}

static int eval_items(struct hold_jinja *r, const struct hold_node *n, struct hold_value *out) {
    size_t count = 0;
    for (const struct hold_node *c = n->items; c != NULL; c = c->next) {
        count++;
    }
    int rc =
        n->kind == HOLD_NODE_DICT
            ? hold_value_dict(r, count / 2, out)
            : hold_value_list(r, n->kind == HOLD_NODE_TUPLE ? HOLD_VALUE_TUPLE : HOLD_VALUE_LIST,
                              count, out);
    size_t i = 0;
    for (const struct hold_node *c = n->items; rc == HOLD_OK && c != NULL; c = c->next) {
        if (n->kind != HOLD_NODE_DICT) {
            rc = hold_jinja_eval(r, c, &out->list->items[i++]);
            continue;
        }
        struct hold_value key, value;
        rc = hold_jinja_eval(r, c, &key);
        c = c->next;
        rc = rc == HOLD_OK ? hold_jinja_eval(r, c, &value) : rc;
        rc = rc == HOLD_OK ? hold_value_put(r, out->dict, &key, &value) : rc;
    }
    return rc;
}

static int eval_concat(struct hold_jinja *r, const struct hold_node *n, struct hold_value *out) {
    struct hold_sink s = {0};
    struct hold_value part, text;
    int rc = HOLD_OK;
    for (const struct hold_node *c = n->items; rc == HOLD_OK && c != NULL; c = c->next) {
        rc = hold_jinja_eval(r, c, &part);
        rc = rc == HOLD_OK ? hold_value_str(r, &part, &text) : rc;
        rc = rc == HOLD_OK ? hold_sink_value(r, &s, &text) : rc;
    }
    rc = rc == HOLD_OK ? hold_sink_take(r, &s, out) : rc;
    hold_sink_release(&s);
    return rc;
}

static int eval_compare(struct hold_jinja *r, const struct hold_node *n, struct hold_value *out) {
    struct hold_value left, right;
    bool yes = true;
    int rc = hold_jinja_eval(r, n->a, &left);
    for (const struct hold_node *c = n->items; rc == HOLD_OK && yes && c != NULL; c = c->next) {
        rc = hold_jinja_eval(r, c->a, &right);
        rc = rc == HOLD_OK ? hold_jinja_compare(r, c->op, &left, &right, &yes) : rc;
        left = right;
    }
    *out = hold_value_bool(yes);
    return rc;
}

/* Filters and tests: the function applied to a, with the node's arguments. */
static int eval_applied(struct hold_jinja *r, const struct hold_node *n, struct hold_value *out) {
    struct hold_value self;
    struct hold_args args = {0};
    if (n->function == NULL) {
        return hold_jinja_fail(r, HOLD_EUNSUPPORTED, "%s \"%s\" is not known",
                               n->kind == HOLD_NODE_FILTER ? "filter" : "test", n->name);
    }
    int rc = hold_jinja_eval(r, n->a, &self);
    rc = rc == HOLD_OK ? hold_jinja_arguments(r, n->items, &args) : rc;
    return rc == HOLD_OK ? hold_jinja_apply(r, n->function, &self, &args, out) : rc;
}

static int eval_sign(struct hold_jinja *r, const struct hold_node *n, struct hold_value *out) {
    struct hold_value v, zero = hold_value_int(0);
    int rc = hold_jinja_eval(r, n->a, &v);
    if (rc == HOLD_OK && v.kind == HOLD_VALUE_REAL) {
        *out = hold_value_real(n->kind == HOLD_NODE_NEG ? -v.real : v.real);
        return HOLD_OK;
    }
    return rc == HOLD_OK
               ? hold_jinja_binary(r, n->kind == HOLD_NODE_NEG ? "-" : "+", &zero, &v, out)
               : rc;
}

static int eval_slice(struct hold_jinja *r, const struct hold_node *n, struct hold_value *out) {
    const struct hold_node *const nodes[3] = {n->b, n->c, n->d};
    struct hold_value self, bounds[3];
    const struct hold_value *given[3] = {NULL, NULL, NULL};
    int rc = hold_jinja_eval(r, n->a, &self);
    for (int k = 0; rc == HOLD_OK && k < 3; k++) {
        if (nodes[k] != NULL) {
            rc = hold_jinja_eval(r, nodes[k], &bounds[k]);
            given[k] = &bounds[k];
        }
    }
    return rc == HOLD_OK ? hold_jinja_slice(r, &self, given, out) : rc;
}

static int eval_call(struct hold_jinja *r, const struct hold_node *n, struct hold_value *out) {
    struct hold_value callee;
    struct hold_args args = {0};
    int rc = hold_jinja_eval(r, n->a, &callee);
    rc = rc == HOLD_OK ? hold_jinja_arguments(r, n->items, &args) : rc;
    r->line = n->line;
    return rc == HOLD_OK ? hold_jinja_call(r, &callee, &args, out) : rc;
}

/* and, or, not, if-else: what is not needed is not evaluated. */
static int eval_logic(struct hold_jinja *r, const struct hold_node *n, struct hold_value *out) {
    struct hold_value v;
    int rc = hold_jinja_eval(r, n->a, &v);
    if (rc != HOLD_OK) {
        return rc;
    }
    bool yes = hold_value_truth(&v);
    switch (n->kind) {
    case HOLD_NODE_NOT:
        *out = hold_value_bool(!yes);
        return HOLD_OK;
    case HOLD_NODE_COND:
        if (!yes && n->c == NULL) {
            *out = hold_value_undefined("an inline if without else");
            return HOLD_OK;
        }
        return hold_jinja_eval(r, yes ? n->b : n->c, out);
    default:
        if (yes == (n->kind == HOLD_NODE_OR)) {
            *out = v;
            return HOLD_OK;
        }
        return hold_jinja_eval(r, n->b, out);
    }
}

static int eval_two(struct hold_jinja *r, const struct hold_node *n, struct hold_value *out) {
    struct hold_value a, b;
    int rc = hold_jinja_eval(r, n->a, &a);
    rc = rc == HOLD_OK ? hold_jinja_eval(r, n->b, &b) : rc;
    if (rc != HOLD_OK) {
        return rc;
    }
    r->line = n->line;
    return n->kind == HOLD_NODE_ITEM ? hold_jinja_item(r, &a, &b, out)
                                     : hold_jinja_binary(r, n->op, &a, &b, out);
}

static int eval(struct hold_jinja *r, const struct hold_node *n, struct hold_value *out) {
    struct hold_value a;
    int rc = HOLD_OK;
    switch (n->kind) {
    case HOLD_NODE_CONST:
        *out = n->value;
        return HOLD_OK;
    case HOLD_NODE_NAME:
        return lookup(r, n->name, out);
    case HOLD_NODE_LIST:
    case HOLD_NODE_TUPLE:
    case HOLD_NODE_DICT:
        return eval_items(r, n, out);
    case HOLD_NODE_ATTR:
        rc = hold_jinja_eval(r, n->a, &a);
        return rc == HOLD_OK ? hold_jinja_attribute(r, &a, n->name, out) : rc;
    case HOLD_NODE_ITEM:
    case HOLD_NODE_BINARY:
        return eval_two(r, n, out);
    case HOLD_NODE_SLICE:
        return eval_slice(r, n, out);
    case HOLD_NODE_CALL:
        return eval_call(r, n, out);
    case HOLD_NODE_FILTER:
    case HOLD_NODE_TEST:
        return eval_applied(r, n, out);
    case HOLD_NODE_NEG:
    case HOLD_NODE_POS:
        return eval_sign(r, n, out);
    case HOLD_NODE_COMPARE:
        return eval_compare(r, n, out);
    case HOLD_NODE_NOT:
    case HOLD_NODE_AND:
    case HOLD_NODE_OR:
    case HOLD_NODE_COND:
        return eval_logic(r, n, out);
    case HOLD_NODE_CONCAT:
        return eval_concat(r, n, out);
    default:
        return hold_jinja_fail(r, HOLD_EINTERNAL, "a statement where a value is expected");
    }
}

int hold_jinja_eval(struct hold_jinja *r, const struct hold_node *n, struct hold_value *out) {
    r->line = n->line;
    int rc = hold_jinja_steps(r, 1);
    int entered = hold_jinja_enter(r);
    rc = rc == HOLD_OK ? entered : rc;
    rc = rc == HOLD_OK ? eval(r, n, out) : rc;
    r->depth--;
    return rc;
}
