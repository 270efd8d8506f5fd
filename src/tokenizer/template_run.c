/* template_run.c: templates compiled and run: statements, scopes, budgets, output. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tokenizer/template_internal.h"

enum { STOPPED_BREAK = 1, STOPPED_CONTINUE = 2 }; /* what a body returns besides an error */

struct hold_template {
    struct hold_arena arena;
    char *source;     /* as given */
    const char *name; /* in the arena */
    struct hold_node *body;
    bool has_generation;
};

int hold_jinja_fail(struct hold_jinja *r, int code, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return hold_fail(r->err, code, "%s:%d: %s", r->name, r->line, text);
}

int hold_jinja_steps(struct hold_jinja *r, size_t n) {
    r->steps += n;
    return r->steps <= HOLD_STEPS_MAX
               ? HOLD_OK
               : hold_jinja_fail(r, HOLD_EDATA, "the template takes more than %d steps",
                                 HOLD_STEPS_MAX);
}

int hold_jinja_enter(struct hold_jinja *r) {
    return ++r->depth <= HOLD_TREE_MAX + HOLD_NEST_MAX
               ? HOLD_OK
               : hold_jinja_fail(r, HOLD_EDATA, "the template runs deeper than %d levels",
                                 HOLD_TREE_MAX + HOLD_NEST_MAX);
}

int hold_jinja_alloc(struct hold_jinja *r, size_t n, size_t size, void *out) {
    size_t bytes = 0;
    bool fits = hold_mul_size(n, size, &bytes) && hold_add_size(bytes, 63, &bytes);
    bytes &= ~(size_t)63; /* as the arena rounds */
    fits = fits && bytes <= HOLD_MEMORY_MAX - r->memory;
    if (!fits) {
        return hold_jinja_fail(r, HOLD_EDATA, "the template takes more than %d MiB of memory",
                               HOLD_MEMORY_MAX >> 20);
    }
    r->memory += bytes;
    void *p = hold_arena_alloc(&r->arena, bytes);
    if (p == NULL) {
        return hold_jinja_fail(r, HOLD_ENOMEMORY, "out of memory for a template");
    }
    memcpy(out, &p, sizeof p);
    return HOLD_OK;
}

int hold_sink_add(struct hold_jinja *r, struct hold_sink *s, const char *text, size_t len,
                  const uint32_t *tags, uint32_t tag) {
    int rc = hold_jinja_steps(r, len / 256);
    if (rc != HOLD_OK || len == 0) {
        return rc;
    }
    if (len > HOLD_OUTPUT_MAX - s->len) {
        return hold_jinja_fail(r, HOLD_EDATA, "the template makes more than %d MiB of text",
                               HOLD_OUTPUT_MAX >> 20);
    }
    if (s->len + len > s->cap) {
        size_t cap = 2 * s->cap > s->len + len ? 2 * s->cap : s->len + len + 64;
        char *data = hold_realloc(s->data, cap);
        s->data = data != NULL ? data : s->data;
        uint32_t *all = hold_realloc(s->tags, cap * sizeof *all);
        s->tags = all != NULL ? all : s->tags;
        if (data == NULL || all == NULL) {
            return hold_jinja_fail(r, HOLD_ENOMEMORY, "out of memory for a template");
        }
        s->cap = cap;
    }
    memcpy(s->data + s->len, text, len);
    for (size_t i = 0; i < len; i++) {
        s->tags[s->len + i] = tags != NULL ? tags[i] : tag;
    }
    s->len += len;
    return HOLD_OK;
}

int hold_sink_value(struct hold_jinja *r, struct hold_sink *s, const struct hold_value *v) {
    return hold_sink_add(r, s, v->text, v->len, v->tags, v->tag);
}

int hold_sink_take(struct hold_jinja *r, struct hold_sink *s, struct hold_value *out) {
    char *text = NULL;
    uint32_t *tags = NULL;
    bool uniform = true;
    for (size_t i = 1; uniform && i < s->len; i++) {
        uniform = s->tags[i] == s->tags[0];
    }
    int rc = hold_jinja_alloc(r, s->len + 1, 1, &text);
    if (rc == HOLD_OK && !uniform) {
        rc = hold_jinja_alloc(r, s->len, sizeof *tags, &tags);
    }
    if (rc != HOLD_OK) {
        return rc;
    }
    if (s->len > 0) {
        memcpy(text, s->data, s->len);
    }
    if (tags != NULL) {
        memcpy(tags, s->tags, s->len * sizeof *tags);
    }
    *out = hold_value_text(text, s->len, s->len > 0 ? s->tags[0] : 0);
    out->tags = tags;
    return HOLD_OK;
}

void hold_sink_release(struct hold_sink *s) {
    hold_free(s->data);
    hold_free(s->tags);
    *s = (struct hold_sink){0};
}

int hold_jinja_scope(struct hold_jinja *r, struct hold_scope *parent, struct hold_scope **out) {
    int rc = hold_jinja_alloc(r, 1, sizeof **out, out);
    if (rc == HOLD_OK) {
        (*out)->parent = parent;
    }
    return rc;
}

int hold_jinja_set(struct hold_jinja *r, const char *name, const struct hold_value *value) {
    struct hold_scope *s = r->scope;
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->variables[i].name, name) == 0) {
            s->variables[i].value = *value;
            return HOLD_OK;
        }
    }
    if (s->n == s->cap) {
        struct hold_variable *variables = NULL;
        size_t cap = s->cap == 0 ? 8 : 2 * s->cap;
        int rc = hold_jinja_alloc(r, cap, sizeof *variables, &variables);
        if (rc != HOLD_OK) {
            return rc;
        }
        if (s->n > 0) {
            memcpy(variables, s->variables, s->n * sizeof *variables);
        }
        s->variables = variables;
        s->cap = cap;
    }
    s->variables[s->n++] = (struct hold_variable){name, *value};
    return HOLD_OK;
}

static int assign(struct hold_jinja *r, const struct hold_node *target,
                  const struct hold_value *value) {
    struct hold_value space;
    if (target->kind == HOLD_NODE_NAME) {
        return hold_jinja_set(r, target->name, value);
    }
    if (target->kind == HOLD_NODE_TARGET_ATTR) {
        int rc = hold_jinja_eval(r, target->a, &space);
        if (rc == HOLD_OK && space.kind != HOLD_VALUE_SPACE) {
            rc =
                hold_jinja_fail(r, HOLD_EDATA, "cannot set an attribute of %s, only of a namespace",
                                hold_value_kind(&space));
        }
        struct hold_value key = hold_value_text(target->name, strlen(target->name), 0);
        return rc == HOLD_OK ? hold_value_put(r, space.dict, &key, value) : rc;
    }
    if (target->kind != HOLD_NODE_TUPLE) {
        return hold_jinja_fail(r, HOLD_EFORMAT, "cannot assign to this");
    }
    struct hold_list items = {0};
    int rc = hold_value_items(r, value, &items);
    size_t i = 0;
    for (const struct hold_node *t = target->items; rc == HOLD_OK && t != NULL; t = t->next, i++) {
        rc = i < items.n
                 ? assign(r, t, &items.items[i])
                 : hold_jinja_fail(r, HOLD_EDATA, "too few values to unpack, found %zu", items.n);
    }
    return rc == HOLD_OK && i < items.n
               ? hold_jinja_fail(r, HOLD_EDATA, "too many values to unpack, expected %zu", i)
               : rc;
}

int hold_jinja_capture(struct hold_jinja *r, const struct hold_node *body, struct hold_value *out) {
    struct hold_sink sink = {0}, *before = r->sink;
    struct hold_scope *scope = r->scope;
    int rc = hold_jinja_scope(r, scope, &r->scope);
    r->sink = &sink;
    rc = rc == HOLD_OK ? hold_jinja_body(r, body) : rc;
    r->sink = before;
    r->scope = scope;
    if (rc == STOPPED_BREAK || rc == STOPPED_CONTINUE) {
        rc = hold_jinja_fail(r, HOLD_EDATA, "break or continue across a block");
    }
    rc = rc == HOLD_OK ? hold_sink_take(r, &sink, out) : rc;
    hold_sink_release(&sink);
    return rc;
}

/* Apply a chain of filters whose innermost subject is missing to a value. */
static int filter_chain(struct hold_jinja *r, const struct hold_node *filter,
                        struct hold_value *value) {
    struct hold_args args = {0};
    struct hold_value out;
    int rc = filter->a != NULL ? filter_chain(r, filter->a, value) : HOLD_OK;
    if (rc == HOLD_OK && filter->function == NULL) {
        rc = hold_jinja_fail(r, HOLD_EUNSUPPORTED, "filter \"%s\" is not known", filter->name);
    }
    rc = rc == HOLD_OK ? hold_jinja_arguments(r, filter->items, &args) : rc;
    rc = rc == HOLD_OK ? hold_jinja_apply(r, filter->function, value, &args, &out) : rc;
    if (rc == HOLD_OK) {
        *value = out;
    }
    return rc;
}

/* The items of a loop that its condition lets through. */
static int loop_items(struct hold_jinja *r, const struct hold_node *n, struct hold_list *items) {
    struct hold_value over, yes;
    struct hold_scope *outer = r->scope;
    int rc = hold_jinja_eval(r, n->b, &over);
    rc = rc == HOLD_OK ? hold_value_items(r, &over, items) : rc;
    if (rc != HOLD_OK || n->c == NULL) {
        return rc;
    }
    struct hold_list kept = {0};
    rc = hold_jinja_alloc(r, items->n + 1, sizeof *kept.items, &kept.items);
    rc = rc == HOLD_OK ? hold_jinja_scope(r, outer, &r->scope) : rc;
    for (size_t i = 0; rc == HOLD_OK && i < items->n; i++) {
        rc = hold_jinja_steps(r, 1);
        rc = rc == HOLD_OK ? assign(r, n->a, &items->items[i]) : rc;
        rc = rc == HOLD_OK ? hold_jinja_eval(r, n->c, &yes) : rc;
        if (rc == HOLD_OK && hold_value_truth(&yes)) {
            kept.items[kept.n++] = items->items[i];
        }
    }
    r->scope = outer;
    *items = kept;
    return rc;
}

static int run_for(struct hold_jinja *r, const struct hold_node *n) {
    struct hold_list items = {0};
    struct hold_scope *outer = r->scope, *inner = NULL;
    struct hold_loop *loop = NULL;
    int rc = loop_items(r, n, &items);
    rc = rc == HOLD_OK ? hold_jinja_alloc(r, 1, sizeof *loop, &loop) : rc;
    if (rc != HOLD_OK) {
        return rc;
    }
    *loop = (struct hold_loop){.items = &items, .depth = r->loop_depth};
    const struct hold_value value = {.kind = HOLD_VALUE_LOOP, .loop = loop};
    r->loops++;
    for (size_t i = 0; rc == HOLD_OK && i < items.n; i++) {
        loop->index = i;
        if (inner == NULL || inner->kept) {
            rc = hold_jinja_scope(r, outer, &inner);
        } else {
            inner->n = 0;
        }
        r->scope = rc == HOLD_OK ? inner : outer;
        rc = rc == HOLD_OK ? hold_jinja_steps(r, 1) : rc;
        rc = rc == HOLD_OK ? hold_jinja_set(r, "loop", &value) : rc;
        rc = rc == HOLD_OK ? assign(r, n->a, &items.items[i]) : rc;
        rc = rc == HOLD_OK ? hold_jinja_body(r, n->body) : rc;
        if (rc == STOPPED_CONTINUE) {
            rc = HOLD_OK;
        }
    }
    r->loops--;
    r->scope = outer;
    loop->items = NULL; /* the loop variable may outlive the loop, its items do not */
    if (rc == STOPPED_BREAK) {
        return HOLD_OK;
    }
    if (rc == HOLD_OK && items.n == 0 && n->other != NULL) {
        rc = hold_jinja_scope(r, outer, &r->scope);
        rc = rc == HOLD_OK ? hold_jinja_body(r, n->other) : rc;
        r->scope = outer;
    }
    return rc;
}

static int run_if(struct hold_jinja *r, const struct hold_node *n) {
    struct hold_value v;
    for (const struct hold_node *b = n->items; b != NULL; b = b->next) {
        int rc = b->a != NULL ? hold_jinja_eval(r, b->a, &v) : HOLD_OK;
        if (rc != HOLD_OK) {
            return rc;
        }
        if (b->a == NULL || hold_value_truth(&v)) {
            return hold_jinja_body(r, b->body);
        }
    }
    return HOLD_OK;
}

static int run_macro(struct hold_jinja *r, const struct hold_node *n) {
    struct hold_macro *m = NULL;
    int rc = hold_jinja_alloc(r, 1, sizeof *m, &m);
    if (rc != HOLD_OK) {
        return rc;
    }
    *m = (struct hold_macro){n, r->scope};
    for (struct hold_scope *s = r->scope; s != NULL; s = s->parent) {
        s->kept = true;
    }
    const struct hold_value value = {.kind = HOLD_VALUE_MACRO, .macro = m};
    return hold_jinja_set(r, n->name, &value);
}

/* Blocks whose text is caught first: set, filter, generation. */
static int run_caught(struct hold_jinja *r, const struct hold_node *n) {
    struct hold_value text;
    int rc = hold_jinja_capture(r, n->body, &text);
    if (rc == HOLD_OK && n->b != NULL) {
        rc = filter_chain(r, n->b, &text);
    }
    if (rc != HOLD_OK || n->kind == HOLD_NODE_SET_BLOCK) {
        return rc == HOLD_OK ? assign(r, n->a, &text) : rc;
    }
    rc = hold_value_str(r, &text, &text);
    size_t from = r->sink->len;
    rc = rc == HOLD_OK ? hold_sink_value(r, r->sink, &text) : rc;
    for (size_t i = from; n->kind == HOLD_NODE_GENERATION && i < r->sink->len; i++) {
        r->sink->tags[i] |= HOLD_TAG_GENERATION;
    }
    return rc;
}

static int run_statement(struct hold_jinja *r, const struct hold_node *n) {
    struct hold_value v;
    int rc = HOLD_OK;
    switch (n->kind) {
    case HOLD_NODE_DATA:
        return hold_sink_value(r, r->sink, &n->value);
    case HOLD_NODE_OUTPUT:
        rc = hold_jinja_eval(r, n->a, &v);
        rc = rc == HOLD_OK ? hold_value_str(r, &v, &v) : rc;
        return rc == HOLD_OK ? hold_sink_value(r, r->sink, &v) : rc;
    case HOLD_NODE_IF:
        return run_if(r, n);
    case HOLD_NODE_FOR:
        r->loop_depth++;
        rc = run_for(r, n);
        r->loop_depth--;
        return rc;
    case HOLD_NODE_SET:
        rc = hold_jinja_eval(r, n->b, &v);
        return rc == HOLD_OK ? assign(r, n->a, &v) : rc;
    case HOLD_NODE_SET_BLOCK:
    case HOLD_NODE_FILTERED:
    case HOLD_NODE_GENERATION:
        return run_caught(r, n);
    case HOLD_NODE_MACRO:
        return run_macro(r, n);
    case HOLD_NODE_BREAK:
    case HOLD_NODE_CONTINUE:
        if (r->loops == 0) {
            return hold_jinja_fail(r, HOLD_EFORMAT, "break or continue outside a loop");
        }
        return n->kind == HOLD_NODE_BREAK ? STOPPED_BREAK : STOPPED_CONTINUE;
    default:
        return hold_jinja_fail(r, HOLD_EINTERNAL, "a value where a statement is expected");
    }
}

int hold_jinja_body(struct hold_jinja *r, const struct hold_node *first) {
    int rc = hold_jinja_enter(r);
    for (const struct hold_node *n = first; rc == HOLD_OK && n != NULL; n = n->next) {
        r->line = n->line;
        rc = hold_jinja_steps(r, 1);
        rc = rc == HOLD_OK ? run_statement(r, n) : rc;
    }
    r->depth--;
    return rc;
}

/* New lines as \n, without the last one: what Jinja does to source before anything else. */
static size_t normalise(const char *source, size_t n, char *out) {
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        if (source[i] == '\r') {
            i += i + 1 < n && source[i + 1] == '\n' ? 1 : 0;
            out[len++] = '\n';
        } else {
            out[len++] = source[i];
        }
    }
    return len > 0 && out[len - 1] == '\n' ? len - 1 : len;
}

int hold_template_new(struct hold_template **out, const char *source, const char *name,
                      struct hold_error *err) {
    size_t n = strlen(source);
    struct hold_template *t = NULL;
    struct hold_lex *tokens = NULL;
    *out = NULL;
    if (n > HOLD_SOURCE_MAX) {
        return hold_fail(err, HOLD_EUNSUPPORTED,
                         "%s: a template of %zu bytes, at most %d are taken", name, n,
                         HOLD_SOURCE_MAX);
    }
    long bad = hold_utf8_check(source, n);
    if (bad >= 0) {
        return hold_fail(err, HOLD_EFORMAT, "%s: byte %ld is not valid UTF-8", name, bad);
    }
    int rc = hold_new((void **)&t, 1, sizeof *t, "template", err);
    if (rc != HOLD_OK) {
        return rc;
    }
    hold_arena_init(&t->arena, 0);
    t->source = hold_strdup(source);
    t->name = hold_arena_strdup(&t->arena, name);
    char *clean = hold_arena_alloc(&t->arena, n + 1);
    if (t->source == NULL || t->name == NULL || clean == NULL) {
        rc = hold_fail(err, HOLD_ENOMEMORY, "out of memory for a template");
    }
    if (rc == HOLD_OK) {
        n = normalise(source, n, clean);
        clean[n] = '\0';
        rc = hold_template_lex(&t->arena, clean, n, t->name, &tokens, err);
    }
    if (rc == HOLD_OK) {
        struct hold_parser p = {.arena = &t->arena, .at = tokens, .name = t->name, .err = err};
        rc = hold_parse_body(&p, &t->body);
        t->has_generation = p.has_generation;
    }
    if (rc != HOLD_OK) {
        hold_template_free(t);
        return rc;
    }
    *out = t;
    return HOLD_OK;
}

void hold_template_free(struct hold_template *t) {
    if (t != NULL) {
        hold_arena_release(&t->arena);
        hold_free(t->source);
        hold_free(t);
    }
}

const char *hold_template_source(const struct hold_template *t) {
    return t->source;
}

void hold_rendered_release(struct hold_rendered *r) {
    hold_str_release(&r->text);
    hold_free(r->message);
    hold_free(r->said);
    hold_free(r->generation);
    hold_free(r->owner);
    *r = (struct hold_rendered){0};
}

/* messages as a value: every field of message i carries i, and all but role and name are said. */
static int set_messages(struct hold_jinja *r, const json_t *messages) {
    struct hold_value list, item;
    size_t n = json_array_size(messages);
    int rc = hold_value_list(r, HOLD_VALUE_LIST, n, &list);
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        const json_t *message = json_array_get(messages, i);
        const char *key = NULL;
        const json_t *value = NULL;
        uint32_t tag = (uint32_t)i + 1;
        if (!json_is_object(message)) {
            return hold_jinja_fail(r, HOLD_EDATA, "messages[%zu] is not an object", i);
        }
        rc = hold_value_dict(r, json_object_size(message), &list.list->items[i]);
        list.list->items[i].tag = tag;
        json_object_foreach((json_t *)message, key, value) {
            bool label = strcmp(key, "role") == 0 || strcmp(key, "name") == 0;
            uint32_t said =
                strcmp(key, "tool_calls") == 0 ? HOLD_TAG_SAID | HOLD_TAG_CALL : HOLD_TAG_SAID;
            struct hold_value name = hold_value_text(key, strlen(key), tag);
            rc = rc == HOLD_OK ? hold_value_json(r, value, label ? tag : tag | said, 0, &item) : rc;
            rc = rc == HOLD_OK ? hold_value_put(r, list.list->items[i].dict, &name, &item) : rc;
        }
    }
    return rc == HOLD_OK ? hold_jinja_set(r, "messages", &list) : rc;
}

static int set_variables(struct hold_jinja *r, const json_t *messages,
                         const struct hold_render_options *o) {
    struct hold_value none = hold_value_none();
    struct hold_value prompt = hold_value_bool(o->add_generation_prompt);
    const char *const names[] = {"bos_token", "eos_token"};
    const char *const tokens[] = {o->bos_token, o->eos_token};
    int rc = hold_jinja_set(r, "tools", &none);
    rc = rc == HOLD_OK ? hold_jinja_set(r, "documents", &none) : rc;
    rc = rc == HOLD_OK ? hold_jinja_set(r, "add_generation_prompt", &prompt) : rc;
    for (int i = 0; rc == HOLD_OK && i < 2; i++) {
        if (tokens[i] != NULL) {
            struct hold_value v = hold_value_text(tokens[i], strlen(tokens[i]), 0);
            rc = hold_jinja_set(r, names[i], &v);
        }
    }
    const char *key = NULL;
    const json_t *value = NULL;
    json_object_foreach((json_t *)o->extra, key, value) {
        struct hold_value v;
        rc = rc == HOLD_OK ? hold_value_json(r, value, HOLD_TAG_OTHER, 0, &v) : rc;
        rc = rc == HOLD_OK ? hold_jinja_set(r, key, &v) : rc;
    }
    return rc == HOLD_OK ? set_messages(r, messages) : rc;
}

/* The sink's bytes and tags as a rendered text. */
static int hand_over(const struct hold_sink *s, struct hold_rendered *out, struct hold_error *err) {
    int rc =
        hold_new((void **)&out->message, s->len + 1, sizeof *out->message, "rendered text", err);
    rc = rc == HOLD_OK ? hold_new((void **)&out->said, s->len + 1, 1, "rendered text", err) : rc;
    rc = rc == HOLD_OK ? hold_new((void **)&out->generation, s->len + 1, 1, "rendered text", err)
                       : rc;
    for (size_t i = 0; rc == HOLD_OK && i < s->len; i++) {
        uint32_t from = s->tags[i] & HOLD_TAG_MESSAGE;
        out->message[i] = from == HOLD_TAG_OTHER ? HOLD_FROM_OTHER : (int32_t)from - 1;
        out->said[i] = (s->tags[i] & HOLD_TAG_SAID) == 0   ? 0
                       : (s->tags[i] & HOLD_TAG_CALL) == 0 ? HOLD_SAID_TEXT
                                                           : HOLD_SAID_CALL;
        out->generation[i] = (s->tags[i] & HOLD_TAG_GENERATION) != 0;
    }
    hold_str_add_bytes(&out->text, s->data != NULL ? s->data : "", s->len);
    return rc == HOLD_OK ? hold_str_check(&out->text, err) : rc;
}

int hold_template_render(const struct hold_template *t, const json_t *messages,
                         const struct hold_render_options *options, struct hold_rendered *out,
                         struct hold_error *err) {
    struct hold_sink sink = {0};
    struct hold_jinja r = {.name = t->name, .options = options, .sink = &sink, .err = err};
    *out = (struct hold_rendered){.has_generation = t->has_generation};
    if (!json_is_array(messages) || json_array_size(messages) >= HOLD_TAG_OTHER - 1) {
        return hold_fail(err, HOLD_EDATA, "%s: messages is not a list of messages", t->name);
    }
    hold_arena_init(&r.arena, 0);
    int rc = hold_jinja_scope(&r, NULL, &r.scope);
    rc = rc == HOLD_OK ? set_variables(&r, messages, options) : rc;
    rc = rc == HOLD_OK ? hold_jinja_body(&r, t->body) : rc;
    rc = rc == HOLD_OK ? hand_over(&sink, out, err) : rc;
    hold_sink_release(&sink);
    hold_arena_release(&r.arena);
    if (rc != HOLD_OK) {
        hold_rendered_release(out);
    }
    return rc;
}
