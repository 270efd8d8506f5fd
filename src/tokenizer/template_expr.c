/* template_expr.c: tokens to expressions, by Jinja's grammar. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tokenizer/template_internal.h"

int hold_parse_fail(struct hold_parser *p, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return hold_fail(p->err, HOLD_EFORMAT, "%s:%d: %s", p->name, p->at->line, text);
}

bool hold_parse_is(const struct hold_parser *p, enum hold_lexeme kind, const char *text) {
    return p->at->kind == kind && (text == NULL || (strlen(text) == p->at->len &&
                                                    memcmp(text, p->at->text, p->at->len) == 0));
}

static bool is_sign(const struct hold_parser *p, const char *text) {
    return hold_parse_is(p, HOLD_LEX_SIGN, text);
}

static bool is_word(const struct hold_parser *p, const char *text) {
    return hold_parse_is(p, HOLD_LEX_NAME, text);
}

bool hold_parse_skip(struct hold_parser *p, enum hold_lexeme kind, const char *text) {
    bool yes = hold_parse_is(p, kind, text);
    p->at += yes ? 1 : 0;
    return yes;
}

static void describe(const struct hold_parser *p, char out[64]) {
    static const char *const KINDS[] = {"text", "{{", "}}", "{%", "%}"};
    const struct hold_lex *t = p->at;
    switch (t->kind) {
    case HOLD_LEX_END:
        snprintf(out, 64, "the end of the template");
        break;
    case HOLD_LEX_INT:
    case HOLD_LEX_REAL:
        snprintf(out, 64, "a number");
        break;
    case HOLD_LEX_NAME:
    case HOLD_LEX_TEXT:
    case HOLD_LEX_SIGN:
        snprintf(out, 64, "\"%.*s\"", t->len < 40 ? (int)t->len : 40, t->text);
        break;
    default:
        snprintf(out, 64, "\"%s\"", KINDS[t->kind]);
    }
}

int hold_parse_expect(struct hold_parser *p, enum hold_lexeme kind, const char *text) {
    if (hold_parse_skip(p, kind, text)) {
        return HOLD_OK;
    }
    char found[64];
    describe(p, found);
    const char *want = text;
    if (want == NULL) {
        want = kind == HOLD_LEX_NAME      ? "a name"
               : kind == HOLD_LEX_TAG_END ? "%}"
               : kind == HOLD_LEX_OUT_END ? "}}"
                                          : "an expression";
    }
    return hold_parse_fail(p, "found %s, expected %s", found, want);
}

int hold_parse_name(struct hold_parser *p, const char **out) {
    const struct hold_lex *t = p->at;
    int rc = hold_parse_expect(p, HOLD_LEX_NAME, NULL);
    if (rc == HOLD_OK) {
        *out = hold_arena_strndup(p->arena, t->text, t->len);
        rc = *out == NULL ? hold_fail(p->err, HOLD_ENOMEMORY, "out of memory for a template")
                          : HOLD_OK;
    }
    return rc;
}

struct hold_node *hold_parse_new(struct hold_parser *p, enum hold_node_kind kind) {
    struct hold_node *n = hold_arena_alloc(p->arena, sizeof *n);
    if (n == NULL) {
        hold_fail(p->err, HOLD_ENOMEMORY, "out of memory for a template");
        return NULL;
    }
    n->kind = kind;
    n->line = p->at->line;
    n->height = 1;
    return n;
}

static void grow(struct hold_node *n, const struct hold_node *child) {
    if (child != NULL && child->height >= n->height) {
        n->height = child->height + 1;
    }
}

int hold_parse_height(struct hold_parser *p, struct hold_node *n) {
    const struct hold_node *const single[] = {n->a, n->b, n->c, n->d};
    const struct hold_node *const lists[] = {n->items, n->body, n->other};
    for (size_t i = 0; i < 4; i++) {
        grow(n, single[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        for (const struct hold_node *c = lists[i]; c != NULL; c = c->next) {
            grow(n, c);
        }
    }
    return n->height <= HOLD_TREE_MAX
               ? HOLD_OK
               : hold_parse_fail(p, "an expression of more than %d levels", HOLD_TREE_MAX);
}

/* New node over a and b in *out. */
static int join(struct hold_parser *p, enum hold_node_kind kind, struct hold_node *a,
                struct hold_node *b, struct hold_node **out) {
    struct hold_node *n = hold_parse_new(p, kind);
    if (n == NULL) {
        return p->err->code;
    }
    n->a = a;
    n->b = b;
    *out = n;
    return hold_parse_height(p, n);
}

static int enter(struct hold_parser *p) {
    return ++p->depth <= HOLD_NEST_MAX
               ? HOLD_OK
               : hold_parse_fail(p, "nested deeper than %d levels", HOLD_NEST_MAX);
}

/* A comma-separated list up to `close`, the opening bracket read already; pairs for dicts. */
static int parse_list(struct hold_parser *p, const char *close, bool pairs,
                      struct hold_node **first) {
    struct hold_node **tail = first;
    bool any = false;
    int rc = HOLD_OK;
    while (rc == HOLD_OK && !is_sign(p, close)) {
        if (any) {
            rc = hold_parse_expect(p, HOLD_LEX_SIGN, ",");
            if (rc != HOLD_OK || is_sign(p, close)) {
                break;
            }
        }
        rc = hold_parse_expression(p, true, tail);
        if (rc == HOLD_OK && pairs) {
            tail = &(*tail)->next;
            rc = hold_parse_expect(p, HOLD_LEX_SIGN, ":");
            if (rc == HOLD_OK) {
                rc = hold_parse_expression(p, true, tail);
            }
        }
        if (rc == HOLD_OK) {
            tail = &(*tail)->next;
        }
        any = true;
    }
    return rc == HOLD_OK ? hold_parse_expect(p, HOLD_LEX_SIGN, close) : rc;
}

static int parse_word(struct hold_parser *p, struct hold_node *n) {
    const char *name = NULL;
    int rc = hold_parse_name(p, &name);
    if (rc != HOLD_OK) {
        return rc;
    }
    if (strcmp(name, "true") == 0 || strcmp(name, "True") == 0) {
        n->value = hold_value_bool(true);
    } else if (strcmp(name, "false") == 0 || strcmp(name, "False") == 0) {
        n->value = hold_value_bool(false);
    } else if (strcmp(name, "none") == 0 || strcmp(name, "None") == 0) {
        n->value = hold_value_none();
    } else {
        n->kind = HOLD_NODE_NAME;
        n->name = name;
    }
    return HOLD_OK;
}

/* Adjacent strings are one. */
static int parse_texts(struct hold_parser *p, struct hold_node *n) {
    size_t len = 0;
    const struct hold_lex *first = p->at;
    while (p->at->kind == HOLD_LEX_TEXT) {
        len += p->at++->len;
    }
    char *text = hold_arena_alloc(p->arena, len + 1);
    if (text == NULL) {
        return hold_fail(p->err, HOLD_ENOMEMORY, "out of memory for a template");
    }
    size_t at = 0;
    for (const struct hold_lex *t = first; t < p->at; t++) {
        memcpy(text + at, t->text, t->len);
        at += t->len;
    }
    n->value = hold_value_text(text, len, 0);
    return HOLD_OK;
}

static int parse_primary(struct hold_parser *p, struct hold_node **out) {
    struct hold_node *n = hold_parse_new(p, HOLD_NODE_CONST);
    if (n == NULL) {
        return p->err->code;
    }
    *out = n;
    const struct hold_lex *t = p->at;
    switch (t->kind) {
    case HOLD_LEX_NAME:
        return parse_word(p, n);
    case HOLD_LEX_TEXT:
        return parse_texts(p, n);
    case HOLD_LEX_INT:
    case HOLD_LEX_REAL:
        n->value = t->kind == HOLD_LEX_INT ? hold_value_int(t->integer) : hold_value_real(t->real);
        p->at++;
        return HOLD_OK;
    default:
        break;
    }
    if (!is_sign(p, "(") && !is_sign(p, "[") && !is_sign(p, "{")) {
        return hold_parse_expect(p, HOLD_LEX_TEXT, "an expression");
    }
    int rc = enter(p);
    char open = *t->text;
    p->at++;
    if (rc == HOLD_OK && open == '(') {
        if (is_sign(p, ")")) {
            n->kind = HOLD_NODE_TUPLE;
        } else {
            rc = hold_parse_tuple(p, true, out);
        }
        rc = rc == HOLD_OK ? hold_parse_expect(p, HOLD_LEX_SIGN, ")") : rc;
    } else if (rc == HOLD_OK) {
        n->kind = open == '[' ? HOLD_NODE_LIST : HOLD_NODE_DICT;
        rc = parse_list(p, open == '[' ? "]" : "}", open == '{', &n->items);
        rc = rc == HOLD_OK ? hold_parse_height(p, n) : rc;
    }
    p->depth--;
    return rc;
}

/* Arguments in parentheses into n->items; keywords behind places. */
static int parse_arguments(struct hold_parser *p, struct hold_node *n) {
    int rc = hold_parse_expect(p, HOLD_LEX_SIGN, "(");
    struct hold_node **tail = &n->items;
    bool any = false, named = false;
    rc = rc == HOLD_OK ? enter(p) : rc;
    while (rc == HOLD_OK && !is_sign(p, ")")) {
        if (any) {
            rc = hold_parse_expect(p, HOLD_LEX_SIGN, ",");
            if (rc != HOLD_OK || is_sign(p, ")")) {
                break;
            }
        }
        any = true;
        if (is_sign(p, "*") || is_sign(p, "**")) {
            return hold_parse_fail(p, "unpacked arguments (*args) are not supported");
        }
        bool keyword = p->at->kind == HOLD_LEX_NAME && p->at[1].kind == HOLD_LEX_SIGN &&
                       p->at[1].len == 1 && p->at[1].text[0] == '=';
        if (!keyword && named) {
            return hold_parse_fail(p, "an argument by place after one by name");
        }
        if (keyword) {
            struct hold_node *k = hold_parse_new(p, HOLD_NODE_KEYWORD);
            if (k == NULL) {
                return p->err->code;
            }
            rc = hold_parse_name(p, &k->name);
            p->at++;
            rc = rc == HOLD_OK ? hold_parse_expression(p, true, &k->a) : rc;
            rc = rc == HOLD_OK ? hold_parse_height(p, k) : rc;
            *tail = k;
            named = true;
        } else {
            rc = hold_parse_expression(p, true, tail);
        }
        if (rc == HOLD_OK) {
            tail = &(*tail)->next;
        }
    }
    p->depth--;
    rc = rc == HOLD_OK ? hold_parse_expect(p, HOLD_LEX_SIGN, ")") : rc;
    return rc == HOLD_OK ? hold_parse_height(p, n) : rc;
}

/* a[...]: an index or a slice, the bracket read already. */
static int parse_subscript(struct hold_parser *p, struct hold_node *n) {
    struct hold_node **const parts[] = {&n->b, &n->c, &n->d};
    int rc = enter(p);
    for (int k = 0; rc == HOLD_OK && k < 3; k++) {
        if (!is_sign(p, ":") && !is_sign(p, "]")) {
            rc = hold_parse_expression(p, true, parts[k]);
        }
        if (rc != HOLD_OK || !is_sign(p, ":") || k == 2) {
            break;
        }
        n->kind = HOLD_NODE_SLICE;
        p->at++;
    }
    p->depth--;
    if (rc == HOLD_OK && n->kind == HOLD_NODE_ITEM && n->b == NULL) {
        rc = hold_parse_fail(p, "an index is missing");
    }
    rc = rc == HOLD_OK ? hold_parse_expect(p, HOLD_LEX_SIGN, "]") : rc;
    return rc == HOLD_OK ? hold_parse_height(p, n) : rc;
}

/* .name, [index] and (arguments) behind *node. */
static int parse_postfix(struct hold_parser *p, struct hold_node **node) {
    int rc = HOLD_OK;
    while (rc == HOLD_OK) {
        struct hold_node *n = NULL;
        if (is_sign(p, ".")) {
            rc = join(p, HOLD_NODE_ATTR, *node, NULL, &n);
            p->at++;
            if (rc == HOLD_OK && p->at->kind == HOLD_LEX_INT) {
                n->kind = HOLD_NODE_ITEM;
                rc = parse_primary(p, &n->b);
            } else if (rc == HOLD_OK) {
                rc = hold_parse_name(p, &n->name);
            }
        } else if (is_sign(p, "[")) {
            rc = join(p, HOLD_NODE_ITEM, *node, NULL, &n);
            p->at++;
            rc = rc == HOLD_OK ? parse_subscript(p, n) : rc;
        } else if (is_sign(p, "(")) {
            rc = join(p, HOLD_NODE_CALL, *node, NULL, &n);
            rc = rc == HOLD_OK ? parse_arguments(p, n) : rc;
        } else {
            break;
        }
        *node = n;
    }
    return rc;
}

int hold_parse_filters(struct hold_parser *p, struct hold_node *subject, bool inline_start,
                       struct hold_node **out) {
    int rc = HOLD_OK;
    *out = subject;
    while (rc == HOLD_OK && (inline_start || is_sign(p, "|"))) {
        struct hold_node *n = NULL;
        p->at += inline_start ? 0 : 1;
        inline_start = false;
        rc = join(p, HOLD_NODE_FILTER, *out, NULL, &n);
        rc = rc == HOLD_OK ? hold_parse_name(p, &n->name) : rc;
        if (rc == HOLD_OK && is_sign(p, "(")) {
            rc = parse_arguments(p, n);
        }
        if (rc == HOLD_OK) {
            n->function = hold_filter_find(n->name);
            *out = n;
        }
    }
    return rc;
}

/* `is name`, `is not name`, with arguments in parentheses or one without. */
static int parse_test(struct hold_parser *p, struct hold_node **node) {
    struct hold_node *n = NULL;
    p->at++;
    bool negated = hold_parse_skip(p, HOLD_LEX_NAME, "not");
    int rc = join(p, HOLD_NODE_TEST, *node, NULL, &n);
    rc = rc == HOLD_OK ? hold_parse_name(p, &n->name) : rc;
    if (rc != HOLD_OK) {
        return rc;
    }
    n->function = hold_test_find(n->name);
    enum hold_lexeme kind = p->at->kind;
    bool value = kind == HOLD_LEX_TEXT || kind == HOLD_LEX_INT || kind == HOLD_LEX_REAL ||
                 is_sign(p, "[") || is_sign(p, "{");
    value = value || (kind == HOLD_LEX_NAME && !is_word(p, "else") && !is_word(p, "or") &&
                      !is_word(p, "and") && !is_word(p, "is") && !is_word(p, "if"));
    if (is_sign(p, "(")) {
        rc = parse_arguments(p, n);
    } else if (value) {
        rc = parse_primary(p, &n->items);
        rc = rc == HOLD_OK ? parse_postfix(p, &n->items) : rc;
        rc = rc == HOLD_OK ? hold_parse_height(p, n) : rc;
    }
    *node = n;
    return rc == HOLD_OK && negated ? join(p, HOLD_NODE_NOT, n, NULL, node) : rc;
}

static int parse_unary(struct hold_parser *p, bool with_filters, struct hold_node **out) {
    int rc = HOLD_OK;
    if (is_sign(p, "-") || is_sign(p, "+")) {
        struct hold_node *n = NULL, *inner = NULL;
        bool minus = *p->at++->text == '-';
        rc = enter(p);
        rc = rc == HOLD_OK ? parse_unary(p, false, &inner) : rc;
        rc = rc == HOLD_OK ? join(p, minus ? HOLD_NODE_NEG : HOLD_NODE_POS, inner, NULL, &n) : rc;
        p->depth--;
        *out = n;
    } else {
        rc = parse_primary(p, out);
    }
    rc = rc == HOLD_OK ? parse_postfix(p, out) : rc;
    while (rc == HOLD_OK && with_filters) {
        if (is_sign(p, "|")) {
            rc = hold_parse_filters(p, *out, false, out);
        } else if (is_word(p, "is")) {
            rc = parse_test(p, out);
        } else if (is_sign(p, "(")) {
            rc = parse_postfix(p, out);
        } else {
            break;
        }
    }
    return rc;
}

/* Left-associative: * / // % at level 0, ** at level 1, unary at level 2. */
static int parse_product(struct hold_parser *p, int level, struct hold_node **out) {
    static const char *const SIGNS[2][4] = {{"*", "/", "//", "%"}, {"**", NULL, NULL, NULL}};
    if (level == 2) {
        return parse_unary(p, true, out);
    }
    int rc = parse_product(p, level + 1, out);
    for (;;) {
        const char *op = NULL;
        for (int k = 0; k < 4 && SIGNS[level][k] != NULL; k++) {
            op = is_sign(p, SIGNS[level][k]) ? SIGNS[level][k] : op;
        }
        if (rc != HOLD_OK || op == NULL) {
            return rc;
        }
        struct hold_node *right = NULL, *n = NULL;
        p->at++;
        rc = parse_product(p, level + 1, &right);
        rc = rc == HOLD_OK ? join(p, HOLD_NODE_BINARY, *out, right, &n) : rc;
        if (rc == HOLD_OK) {
            memcpy(n->op, op, strlen(op) + 1);
            *out = n;
        }
    }
}

static int parse_concat(struct hold_parser *p, struct hold_node **out) {
    int rc = parse_product(p, 0, out);
    if (rc != HOLD_OK || !is_sign(p, "~")) {
        return rc;
    }
    struct hold_node *n = hold_parse_new(p, HOLD_NODE_CONCAT);
    if (n == NULL) {
        return p->err->code;
    }
    n->items = *out;
    struct hold_node **tail = &n->items->next;
    while (rc == HOLD_OK && hold_parse_skip(p, HOLD_LEX_SIGN, "~")) {
        rc = parse_product(p, 0, tail);
        tail = rc == HOLD_OK ? &(*tail)->next : tail;
    }
    *out = n;
    return rc == HOLD_OK ? hold_parse_height(p, n) : rc;
}

static int parse_sum(struct hold_parser *p, struct hold_node **out) {
    int rc = parse_concat(p, out);
    while (rc == HOLD_OK && (is_sign(p, "+") || is_sign(p, "-"))) {
        struct hold_node *right = NULL, *n = NULL;
        char op = *p->at++->text;
        rc = parse_concat(p, &right);
        rc = rc == HOLD_OK ? join(p, HOLD_NODE_BINARY, *out, right, &n) : rc;
        if (rc == HOLD_OK) {
            n->op[0] = op;
            *out = n;
        }
    }
    return rc;
}

static int parse_compare(struct hold_parser *p, struct hold_node **out) {
    static const char *const SIGNS[] = {"==", "!=", "<=", ">=", "<", ">"};
    struct hold_node *n = NULL, **tail = NULL;
    int rc = parse_sum(p, out);
    while (rc == HOLD_OK) {
        const char *op = NULL;
        for (size_t k = 0; op == NULL && k < sizeof SIGNS / sizeof SIGNS[0]; k++) {
            op = is_sign(p, SIGNS[k]) ? SIGNS[k] : NULL;
        }
        if (is_word(p, "in")) {
            op = "in";
        } else if (is_word(p, "not") && p->at[1].kind == HOLD_LEX_NAME && p->at[1].len == 2 &&
                   memcmp(p->at[1].text, "in", 2) == 0) {
            op = "ni";
            p->at++;
        }
        if (op == NULL) {
            break;
        }
        p->at++;
        if (n == NULL) {
            rc = join(p, HOLD_NODE_COMPARE, *out, NULL, &n);
            if (rc != HOLD_OK) {
                return rc;
            }
            *out = n;
            tail = &n->items;
        }
        struct hold_node *right = NULL, *wrap = NULL;
        rc = parse_sum(p, &right);
        rc = rc == HOLD_OK ? join(p, HOLD_NODE_COMPARE, right, NULL, &wrap) : rc;
        if (rc == HOLD_OK) {
            memcpy(wrap->op, op, strlen(op) + 1);
            *tail = wrap;
            tail = &wrap->next;
            rc = hold_parse_height(p, n);
        }
    }
    return rc;
}

static int parse_not(struct hold_parser *p, struct hold_node **out) {
    if (!is_word(p, "not")) {
        return parse_compare(p, out);
    }
    struct hold_node *inner = NULL;
    p->at++;
    int rc = enter(p);
    rc = rc == HOLD_OK ? parse_not(p, &inner) : rc;
    p->depth--;
    return rc == HOLD_OK ? join(p, HOLD_NODE_NOT, inner, NULL, out) : rc;
}

static int parse_and(struct hold_parser *p, struct hold_node **out) {
    int rc = parse_not(p, out);
    while (rc == HOLD_OK && hold_parse_skip(p, HOLD_LEX_NAME, "and")) {
        struct hold_node *right = NULL;
        rc = parse_not(p, &right);
        rc = rc == HOLD_OK ? join(p, HOLD_NODE_AND, *out, right, out) : rc;
    }
    return rc;
}

static int parse_or(struct hold_parser *p, struct hold_node **out) {
    int rc = parse_and(p, out);
    while (rc == HOLD_OK && hold_parse_skip(p, HOLD_LEX_NAME, "or")) {
        struct hold_node *right = NULL;
        rc = parse_and(p, &right);
        rc = rc == HOLD_OK ? join(p, HOLD_NODE_OR, *out, right, out) : rc;
    }
    return rc;
}

int hold_parse_expression(struct hold_parser *p, bool conditional, struct hold_node **out) {
    int rc = enter(p);
    rc = rc == HOLD_OK ? parse_or(p, out) : rc;
    while (rc == HOLD_OK && conditional && hold_parse_skip(p, HOLD_LEX_NAME, "if")) {
        struct hold_node *n = NULL, *test = NULL;
        rc = parse_or(p, &test);
        rc = rc == HOLD_OK ? join(p, HOLD_NODE_COND, test, *out, &n) : rc;
        if (rc == HOLD_OK && hold_parse_skip(p, HOLD_LEX_NAME, "else")) {
            rc = hold_parse_expression(p, true, &n->c);
        }
        rc = rc == HOLD_OK ? hold_parse_height(p, n) : rc;
        *out = n;
    }
    p->depth--;
    return rc;
}

static bool tuple_ends(const struct hold_parser *p) {
    return p->at->kind == HOLD_LEX_OUT_END || p->at->kind == HOLD_LEX_TAG_END || is_sign(p, ")") ||
           is_word(p, "in");
}

static int parse_one_target(struct hold_parser *p, bool with_attr, struct hold_node **out) {
    int rc = parse_primary(p, out);
    if (rc != HOLD_OK) {
        return rc;
    }
    if ((*out)->kind != HOLD_NODE_NAME && (*out)->kind != HOLD_NODE_TUPLE) {
        return hold_parse_fail(p, "cannot assign to this");
    }
    if (with_attr && (*out)->kind == HOLD_NODE_NAME && hold_parse_skip(p, HOLD_LEX_SIGN, ".")) {
        struct hold_node *attr = NULL;
        rc = join(p, HOLD_NODE_TARGET_ATTR, *out, NULL, &attr);
        rc = rc == HOLD_OK ? hold_parse_name(p, &attr->name) : rc;
        *out = attr;
    }
    return rc;
}

/* The comma list behind the first item, when there is one. */
static int finish_tuple(struct hold_parser *p, bool conditional, bool target, bool with_attr,
                        struct hold_node **out) {
    int rc = HOLD_OK;
    if (!is_sign(p, ",")) {
        return HOLD_OK;
    }
    struct hold_node *n = hold_parse_new(p, HOLD_NODE_TUPLE);
    if (n == NULL) {
        return p->err->code;
    }
    n->items = *out;
    struct hold_node **tail = &n->items->next;
    while (rc == HOLD_OK && hold_parse_skip(p, HOLD_LEX_SIGN, ",") && !tuple_ends(p)) {
        rc = target ? parse_one_target(p, with_attr, tail)
                    : hold_parse_expression(p, conditional, tail);
        tail = rc == HOLD_OK ? &(*tail)->next : tail;
    }
    *out = n;
    return rc == HOLD_OK ? hold_parse_height(p, n) : rc;
}

int hold_parse_tuple(struct hold_parser *p, bool conditional, struct hold_node **out) {
    int rc = hold_parse_expression(p, conditional, out);
    return rc == HOLD_OK ? finish_tuple(p, conditional, false, false, out) : rc;
}

int hold_parse_target(struct hold_parser *p, bool with_attr, struct hold_node **out) {
    int rc = parse_one_target(p, with_attr, out);
    return rc == HOLD_OK ? finish_tuple(p, false, true, with_attr, out) : rc;
}
