/* template_parse.c: tokens to statements. */
#include <string.h>

#include "tokenizer/template_internal.h"

static bool at_word(const struct hold_parser *p, const char *word) {
    return hold_parse_is(p, HOLD_LEX_NAME, word);
}

static bool skip_word(struct hold_parser *p, const char *word) {
    return hold_parse_skip(p, HOLD_LEX_NAME, word);
}

static int end_tag(struct hold_parser *p) {
    return hold_parse_expect(p, HOLD_LEX_TAG_END, NULL);
}

static int parse_until(struct hold_parser *p, const char *const *ends, struct hold_node **out);

/* The rest of the opening tag, then statements up to {% with one of the words `ends` (NULL-ended);
 * the word stays unread. */
static int parse_block(struct hold_parser *p, const char *const *ends, struct hold_node **out) {
    hold_parse_skip(p, HOLD_LEX_SIGN, ":");
    int rc = end_tag(p);
    return rc == HOLD_OK ? parse_until(p, ends, out) : rc;
}

/* A block with one end word, which is read too. */
static int parse_to(struct hold_parser *p, const char *end, struct hold_node **out) {
    const char *const ends[] = {end, NULL};
    int rc = parse_block(p, ends, out);
    p->at += rc == HOLD_OK ? 1 : 0;
    return rc;
}

static int parse_if(struct hold_parser *p, struct hold_node *n) {
    static const char *const ENDS[] = {"elif", "else", "endif", NULL};
    struct hold_node **tail = &n->items;
    int rc = HOLD_OK;
    n->kind = HOLD_NODE_IF;
    for (bool last = false; rc == HOLD_OK && !last; tail = &(*tail)->next) {
        struct hold_node *branch = hold_parse_new(p, HOLD_NODE_BRANCH);
        if (branch == NULL) {
            return p->err->code;
        }
        *tail = branch;
        rc = hold_parse_tuple(p, false, &branch->a);
        rc = rc == HOLD_OK ? parse_block(p, ENDS, &branch->body) : rc;
        rc = rc == HOLD_OK ? hold_parse_height(p, branch) : rc;
        last = rc == HOLD_OK && !skip_word(p, "elif");
    }
    if (rc == HOLD_OK && skip_word(p, "else")) {
        struct hold_node *branch = hold_parse_new(p, HOLD_NODE_BRANCH);
        if (branch == NULL) {
            return p->err->code;
        }
        *tail = branch;
        rc = parse_to(p, "endif", &branch->body);
        return rc == HOLD_OK ? hold_parse_height(p, branch) : rc;
    }
    return rc == HOLD_OK ? hold_parse_expect(p, HOLD_LEX_NAME, "endif") : rc;
}

static int parse_for(struct hold_parser *p, struct hold_node *n) {
    static const char *const ENDS[] = {"else", "endfor", NULL};
    n->kind = HOLD_NODE_FOR;
    int rc = hold_parse_target(p, false, &n->a);
    rc = rc == HOLD_OK ? hold_parse_expect(p, HOLD_LEX_NAME, "in") : rc;
    rc = rc == HOLD_OK ? hold_parse_tuple(p, false, &n->b) : rc;
    if (rc == HOLD_OK && skip_word(p, "if")) {
        rc = hold_parse_expression(p, true, &n->c);
    }
    if (rc == HOLD_OK && at_word(p, "recursive")) {
        rc = hold_parse_fail(p, "recursive loops are not supported");
    }
    rc = rc == HOLD_OK ? parse_block(p, ENDS, &n->body) : rc;
    if (rc == HOLD_OK && skip_word(p, "else")) {
        return parse_to(p, "endfor", &n->other);
    }
    return rc == HOLD_OK ? hold_parse_expect(p, HOLD_LEX_NAME, "endfor") : rc;
}

static int parse_set(struct hold_parser *p, struct hold_node *n) {
    n->kind = HOLD_NODE_SET;
    int rc = hold_parse_target(p, true, &n->a);
    if (rc == HOLD_OK && hold_parse_skip(p, HOLD_LEX_SIGN, "=")) {
        return hold_parse_tuple(p, true, &n->b);
    }
    n->kind = HOLD_NODE_SET_BLOCK;
    rc = rc == HOLD_OK ? hold_parse_filters(p, NULL, false, &n->b) : rc;
    return rc == HOLD_OK ? parse_to(p, "endset", &n->body) : rc;
}

static int parse_macro(struct hold_parser *p, struct hold_node *n) {
    n->kind = HOLD_NODE_MACRO;
    int rc = hold_parse_name(p, &n->name);
    rc = rc == HOLD_OK ? hold_parse_expect(p, HOLD_LEX_SIGN, "(") : rc;
    struct hold_node **tail = &n->items;
    while (rc == HOLD_OK && !hold_parse_skip(p, HOLD_LEX_SIGN, ")")) {
        if (n->items != NULL) {
            rc = hold_parse_expect(p, HOLD_LEX_SIGN, ",");
        }
        struct hold_node *param = hold_parse_new(p, HOLD_NODE_NAME);
        if (param == NULL) {
            return p->err->code;
        }
        rc = rc == HOLD_OK ? hold_parse_name(p, &param->name) : rc;
        if (rc == HOLD_OK && hold_parse_skip(p, HOLD_LEX_SIGN, "=")) {
            rc = hold_parse_expression(p, true, &param->a);
        }
        rc = rc == HOLD_OK ? hold_parse_height(p, param) : rc;
        *tail = param;
        tail = &param->next;
    }
    return rc == HOLD_OK ? parse_to(p, "endmacro", &n->body) : rc;
}

/* One statement, the {% read already, up to before %}. */
static int parse_statement(struct hold_parser *p, struct hold_node **out) {
    struct hold_node *n = hold_parse_new(p, HOLD_NODE_BREAK);
    int rc = HOLD_OK;
    if (n == NULL) {
        return p->err->code;
    }
    *out = n;
    if (++p->depth > HOLD_NEST_MAX) {
        return hold_parse_fail(p, "nested deeper than %d levels", HOLD_NEST_MAX);
    }
    if (skip_word(p, "if")) {
        rc = parse_if(p, n);
    } else if (skip_word(p, "for")) {
        rc = parse_for(p, n);
    } else if (skip_word(p, "set")) {
        rc = parse_set(p, n);
    } else if (skip_word(p, "macro")) {
        rc = parse_macro(p, n);
    } else if (skip_word(p, "filter")) {
        n->kind = HOLD_NODE_FILTERED;
        rc = hold_parse_filters(p, NULL, true, &n->b);
        rc = rc == HOLD_OK ? parse_to(p, "endfilter", &n->body) : rc;
    } else if (skip_word(p, "generation")) {
        n->kind = HOLD_NODE_GENERATION;
        p->has_generation = true;
        rc = parse_to(p, "endgeneration", &n->body);
    } else if (skip_word(p, "continue")) {
        n->kind = HOLD_NODE_CONTINUE;
    } else if (!skip_word(p, "break")) {
        rc = p->at->kind == HOLD_LEX_NAME
                 ? hold_parse_fail(p, "tag \"%.*s\" is not supported here",
                                   p->at->len < 40 ? (int)p->at->len : 40, p->at->text)
                 : hold_parse_expect(p, HOLD_LEX_NAME, NULL);
    }
    p->depth--;
    return rc == HOLD_OK ? hold_parse_height(p, n) : rc;
}

static bool at_end(const struct hold_parser *p, const char *const *ends) {
    for (; ends != NULL && *ends != NULL; ends++) {
        if (at_word(p, *ends)) {
            return true;
        }
    }
    return false;
}

static int parse_until(struct hold_parser *p, const char *const *ends, struct hold_node **out) {
    struct hold_node **tail = out;
    int rc = HOLD_OK;
    while (rc == HOLD_OK && p->at->kind != HOLD_LEX_END) {
        struct hold_node *n = NULL;
        if (p->at->kind == HOLD_LEX_TAG_BEGIN) {
            p->at++;
            if (at_end(p, ends)) {
                return HOLD_OK;
            }
            rc = parse_statement(p, &n);
            rc = rc == HOLD_OK ? end_tag(p) : rc;
        } else if (p->at->kind == HOLD_LEX_OUT_BEGIN) {
            n = hold_parse_new(p, HOLD_NODE_OUTPUT);
            if (n == NULL) {
                return p->err->code;
            }
            p->at++;
            rc = hold_parse_tuple(p, true, &n->a);
            rc = rc == HOLD_OK ? hold_parse_expect(p, HOLD_LEX_OUT_END, NULL) : rc;
            rc = rc == HOLD_OK ? hold_parse_height(p, n) : rc;
        } else {
            n = hold_parse_new(p, HOLD_NODE_DATA);
            if (n == NULL) {
                return p->err->code;
            }
            n->value = hold_value_text(p->at->text, p->at->len, 0);
            p->at++;
        }
        *tail = n;
        tail = rc == HOLD_OK ? &n->next : tail;
    }
    if (rc == HOLD_OK && ends != NULL) {
        while (ends[1] != NULL) {
            ends++; /* the last of them closes the block in any case */
        }
        rc = hold_parse_fail(p, "the template ends without {%% %s %%}", *ends);
    }
    return rc;
}

int hold_parse_body(struct hold_parser *p, struct hold_node **out) {
    return parse_until(p, NULL, out);
}
