/* template_internal.h: tokens, syntax tree, values and run state of the template engine. */
#ifndef HOLD_TOKENIZER_TEMPLATE_INTERNAL_H
#define HOLD_TOKENIZER_TEMPLATE_INTERNAL_H

#include "base/mem.h"
#include "tokenizer/template.h"

enum {
    HOLD_SOURCE_MAX = 1 << 20, /* bytes of a template */
    HOLD_NEST_MAX = 64,        /* nesting of statements, parentheses, macro calls */
    HOLD_TREE_MAX = 600,       /* height of the syntax tree: long chains of operators */
    HOLD_STEPS_MAX = 1000000,
    HOLD_OUTPUT_MAX = 4 << 20,
    HOLD_MEMORY_MAX = 256 << 20
};

/* Where bytes come from, packed: 0 the template; else message + 1, or HOLD_TAG_OTHER. */
#define HOLD_TAG_MESSAGE 0x00FFFFFFu
#define HOLD_TAG_OTHER 0x00FFFFFFu      /* tools, documents and other variables */
#define HOLD_TAG_SAID 0x01000000u       /* a field of a message other than its role and name */
#define HOLD_TAG_GENERATION 0x02000000u /* within a generation block */
#define HOLD_TAG_CALL 0x04000000u       /* with SAID: of the message's tool_calls */

/* ---- lexer ---- */
enum hold_lexeme {
    HOLD_LEX_DATA,
    HOLD_LEX_OUT_BEGIN,
    HOLD_LEX_OUT_END,
    HOLD_LEX_TAG_BEGIN,
    HOLD_LEX_TAG_END,
    HOLD_LEX_NAME,
    HOLD_LEX_TEXT,
    HOLD_LEX_INT,
    HOLD_LEX_REAL,
    HOLD_LEX_SIGN, /* operator or bracket: `text`, 1 or 2 bytes */
    HOLD_LEX_END
};
struct hold_lex {
    enum hold_lexeme kind;
    int line;
    const char *text;
    size_t len;
    int64_t integer;
    double real;
};
/* All tokens of source (newlines already normalised) into the arena, ended by HOLD_LEX_END. */
int hold_template_lex(struct hold_arena *arena, const char *source, size_t n, const char *name,
                      struct hold_lex **out, struct hold_error *err);

/* ---- values ---- */
enum hold_kind {
    HOLD_VALUE_UNDEFINED, /* text: what is undefined, for messages */
    HOLD_VALUE_NONE,
    HOLD_VALUE_BOOL,
    HOLD_VALUE_INT,
    HOLD_VALUE_REAL,
    HOLD_VALUE_TEXT,
    HOLD_VALUE_LIST,
    HOLD_VALUE_TUPLE,
    HOLD_VALUE_DICT,
    HOLD_VALUE_SPACE, /* a namespace: a dict whose attributes can be set */
    HOLD_VALUE_LOOP,
    HOLD_VALUE_MACRO,
    HOLD_VALUE_FUNCTION,
    HOLD_VALUE_METHOD
};
struct hold_value {
    enum hold_kind kind;
    uint32_t tag; /* origin; of text without `tags`, of all bytes */
    union {
        bool truth;
        int64_t integer;
        double real;
        struct {
            const char *text;
            size_t len;
            const uint32_t *tags; /* len origins, or NULL */
        };
        struct hold_list *list;
        struct hold_dict *dict;
        struct hold_loop *loop;
        struct hold_macro *macro;
        const struct hold_function *function;
        struct hold_method *method;
    };
};
struct hold_list {
    size_t n;
    struct hold_value *items;
};
struct hold_dict {
    size_t n, cap;
    struct hold_entry {
        struct hold_value key, value;
    } * entries;
};
struct hold_loop {
    const struct hold_list *items;
    size_t index, depth;
    struct hold_value changed; /* last arguments of loop.changed, UNDEFINED at first */
};
struct hold_macro {
    const struct hold_node *node;
    struct hold_scope *scope; /* where it was defined */
};
struct hold_args {
    const struct hold_value *items;
    size_t n;
    const char *const *names; /* keywords */
    const struct hold_value *named;
    size_t n_named;
};
struct hold_jinja;
/* A built-in filter, test, function or method: `self` is what it is applied to. Its parameters
 * arrive by place in args[], NULL where not given; `raw` ones take the arguments as they are. */
struct hold_function {
    const char *name;
    const char *params; /* "a,b,c", at most 8 */
    int (*call)(struct hold_jinja *r, const struct hold_value *self,
                const struct hold_value *const *args, struct hold_value *out);
    int (*raw)(struct hold_jinja *r, const struct hold_value *self, const struct hold_args *args,
               struct hold_value *out);
};
struct hold_method {
    struct hold_value self;
    const struct hold_function *function;
};

/* ---- syntax tree ---- */
enum hold_node_kind {
    /* expressions */
    HOLD_NODE_CONST,
    HOLD_NODE_NAME,
    HOLD_NODE_LIST,  /* items */
    HOLD_NODE_TUPLE, /* items */
    HOLD_NODE_DICT,  /* items: key, value, key, value ... */
    HOLD_NODE_ATTR,  /* a.name */
    HOLD_NODE_ITEM,  /* a[b] */
    HOLD_NODE_SLICE, /* a[b:c:d], each of b, c, d may be NULL */
    HOLD_NODE_CALL,  /* a(items) */
    HOLD_NODE_FILTER,
    HOLD_NODE_TEST,
    HOLD_NODE_NOT,
    HOLD_NODE_NEG,
    HOLD_NODE_POS,
    HOLD_NODE_BINARY,  /* a op b */
    HOLD_NODE_COMPARE, /* a, then items with their op */
    HOLD_NODE_AND,
    HOLD_NODE_OR,
    HOLD_NODE_CONCAT,      /* items */
    HOLD_NODE_COND,        /* b if a else c; c may be NULL */
    HOLD_NODE_KEYWORD,     /* name=a in a call */
    HOLD_NODE_TARGET_ATTR, /* name.attr as the target of set */
    /* statements */
    HOLD_NODE_DATA,       /* text of the template */
    HOLD_NODE_OUTPUT,     /* {{ a }} */
    HOLD_NODE_IF,         /* items: BRANCH */
    HOLD_NODE_BRANCH,     /* a (NULL: else) and body */
    HOLD_NODE_FOR,        /* target a, iterable b, condition c or NULL; body, other */
    HOLD_NODE_SET,        /* target a, value b */
    HOLD_NODE_SET_BLOCK,  /* target a, filters b (innermost subject NULL) or NULL; body */
    HOLD_NODE_MACRO,      /* name; items: parameters (NAME, a default or NULL); body */
    HOLD_NODE_FILTERED,   /* filters b; body */
    HOLD_NODE_GENERATION, /* body */
    HOLD_NODE_BREAK,
    HOLD_NODE_CONTINUE
};
struct hold_node {
    enum hold_node_kind kind;
    int line, height;
    char op[3]; /* of BINARY and COMPARE: "+", "//", "<=", "in", "ni" (not in) ... */
    const char *name;
    struct hold_value value;
    struct hold_node *a, *b, *c, *d;
    struct hold_node *items, *body, *other; /* first of a list */
    struct hold_node *next;
    const struct hold_function *function; /* of FILTER and TEST; NULL: not known */
};

struct hold_parser {
    struct hold_arena *arena;
    const struct hold_lex *at;
    const char *name;
    int depth;
    bool has_generation;
    struct hold_error *err;
};
int hold_parse_body(struct hold_parser *p, struct hold_node **out);
/* Expressions (template_expr.c). */
int hold_parse_expression(struct hold_parser *p, bool conditional, struct hold_node **out);
int hold_parse_tuple(struct hold_parser *p, bool conditional, struct hold_node **out);
int hold_parse_target(struct hold_parser *p, bool with_attr, struct hold_node **out);
int hold_parse_filters(struct hold_parser *p, struct hold_node *subject, bool inline_start,
                       struct hold_node **out);
struct hold_node *hold_parse_new(struct hold_parser *p, enum hold_node_kind kind);
int hold_parse_fail(struct hold_parser *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool hold_parse_is(const struct hold_parser *p, enum hold_lexeme kind, const char *text);
bool hold_parse_skip(struct hold_parser *p, enum hold_lexeme kind, const char *text);
int hold_parse_expect(struct hold_parser *p, enum hold_lexeme kind, const char *text);
int hold_parse_name(struct hold_parser *p, const char **out);
int hold_parse_height(struct hold_parser *p, struct hold_node *n);

/* ---- run ---- */
struct hold_scope {
    struct hold_scope *parent;
    struct hold_variable {
        const char *name;
        struct hold_value value;
    } * variables;
    size_t n, cap;
    bool kept; /* a macro remembers it */
};
/* Bytes with their origins, growing on the heap. */
struct hold_sink {
    char *data;
    uint32_t *tags;
    size_t len, cap;
};
struct hold_jinja {
    struct hold_arena arena;
    const char *name;
    int line; /* of the node at work */
    size_t steps, memory;
    int depth, calls;
    const struct hold_render_options *options;
    struct hold_scope *scope;
    struct hold_sink *sink;
    int loops;         /* loops around the statement */
    size_t loop_depth; /* loop.depth0 of the next loop */
    struct hold_error *err;
};
int hold_jinja_fail(struct hold_jinja *r, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int hold_jinja_steps(struct hold_jinja *r, size_t n); /* pay n steps */
int hold_jinja_enter(struct hold_jinja *r);           /* one level deeper; r->depth-- to leave */
int hold_jinja_alloc(struct hold_jinja *r, size_t n, size_t size, void *out); /* *(void **)out */
int hold_jinja_eval(struct hold_jinja *r, const struct hold_node *n, struct hold_value *out);
int hold_jinja_body(struct hold_jinja *r, const struct hold_node *first);
int hold_jinja_capture(struct hold_jinja *r, const struct hold_node *body, struct hold_value *out);
int hold_jinja_scope(struct hold_jinja *r, struct hold_scope *parent, struct hold_scope **out);
int hold_jinja_set(struct hold_jinja *r, const char *name, const struct hold_value *value);
/* Evaluate a call's arguments and call `function` on self; `callee` a value. */
int hold_jinja_arguments(struct hold_jinja *r, const struct hold_node *first,
                         struct hold_args *out);
int hold_jinja_apply(struct hold_jinja *r, const struct hold_function *f,
                     const struct hold_value *self, const struct hold_args *args,
                     struct hold_value *out);
int hold_jinja_call(struct hold_jinja *r, const struct hold_value *callee,
                    const struct hold_args *args, struct hold_value *out);
int hold_jinja_attribute(struct hold_jinja *r, const struct hold_value *self, const char *name,
                         struct hold_value *out);
int hold_jinja_item(struct hold_jinja *r, const struct hold_value *self,
                    const struct hold_value *index, struct hold_value *out);
int hold_jinja_slice(struct hold_jinja *r, const struct hold_value *self,
                     const struct hold_value *const bounds[3], struct hold_value *out);
int hold_jinja_binary(struct hold_jinja *r, const char *op, const struct hold_value *a,
                      const struct hold_value *b, struct hold_value *out);
int hold_jinja_compare(struct hold_jinja *r, const char *op, const struct hold_value *a,
                       const struct hold_value *b, bool *out);

/* Sinks. */
int hold_sink_add(struct hold_jinja *r, struct hold_sink *s, const char *text, size_t len,
                  const uint32_t *tags, uint32_t tag);
int hold_sink_value(struct hold_jinja *r, struct hold_sink *s, const struct hold_value *text);
int hold_sink_take(struct hold_jinja *r, struct hold_sink *s, struct hold_value *out);
void hold_sink_release(struct hold_sink *s);

/* Values (template_value.c). */
struct hold_value hold_value_none(void);
struct hold_value hold_value_undefined(const char *what);
struct hold_value hold_value_bool(bool truth);
struct hold_value hold_value_int(int64_t integer);
struct hold_value hold_value_real(double real);
struct hold_value hold_value_text(const char *text, size_t len, uint32_t tag);
const char *hold_value_kind(const struct hold_value *v);
bool hold_value_truth(const struct hold_value *v);
bool hold_value_number(const struct hold_value *v, double *out);   /* bool, int, real */
bool hold_value_integer(const struct hold_value *v, int64_t *out); /* bool, int */
bool hold_value_is(const struct hold_value *v, const char *text);  /* text equal to */
int hold_value_equal(struct hold_jinja *r, const struct hold_value *a, const struct hold_value *b,
                     bool *out);
int hold_value_list(struct hold_jinja *r, enum hold_kind kind, size_t n, struct hold_value *out);
int hold_value_dict(struct hold_jinja *r, size_t cap, struct hold_value *out);
int hold_value_put(struct hold_jinja *r, struct hold_dict *d, const struct hold_value *key,
                   const struct hold_value *value);
int hold_value_find(struct hold_jinja *r, const struct hold_dict *d, const struct hold_value *key,
                    const struct hold_value **out); /* NULL: not there */
/* Items that a loop over v sees, as a list; not iterable: an error. */
int hold_value_items(struct hold_jinja *r, const struct hold_value *v, struct hold_list *out);
int hold_value_json(struct hold_jinja *r, const json_t *json, uint32_t tag, int depth,
                    struct hold_value *out);
/* str(v). */
int hold_value_str(struct hold_jinja *r, const struct hold_value *v, struct hold_value *out);
/* The text of v for C: NUL-terminated, in the arena; not a text: an error naming `what`. */
int hold_value_name(struct hold_jinja *r, const struct hold_value *v, const char *what,
                    const char **out);
/* Python's repr(v), and json.dumps (template_json.c). */
int hold_value_repr(struct hold_jinja *r, struct hold_sink *s, const struct hold_value *v,
                    int depth);
int hold_value_add_real(struct hold_jinja *r, struct hold_sink *s, double real, uint32_t tag);
extern const struct hold_function hold_template_tojson;

/* Text (template_text.c). */
size_t hold_text_count(const struct hold_value *v); /* code points */
struct hold_value hold_text_part(const struct hold_value *v, size_t from, size_t to); /* bytes */
struct hold_value hold_text_strip(const struct hold_value *v, const struct hold_value *chars,
                                  bool left, bool right);
int hold_text_slice(struct hold_jinja *r, const struct hold_value *v, int64_t start, int64_t step,
                    int64_t count, struct hold_value *out);
/* how: 'l' lower, 'u' upper, 'c' Python's capitalize, 'p' its title, 't' Jinja's title. */
int hold_text_case(struct hold_jinja *r, const struct hold_value *v, char how,
                   struct hold_value *out);
int hold_text_replace(struct hold_jinja *r, const struct hold_value *v,
                      const struct hold_value *old, const struct hold_value *new_text,
                      int64_t count, struct hold_value *out);
int hold_text_lines(struct hold_jinja *r, const struct hold_value *v, struct hold_value *out);
const struct hold_function *hold_text_method(const char *name);

/* Tables by name; NULL when there is none. */
const struct hold_function *hold_filter_find(const char *name);
const struct hold_function *hold_test_find(const char *name);
const struct hold_function *hold_global_find(const char *name);
const struct hold_function *hold_dict_method(const char *name);
int hold_loop_attribute(struct hold_jinja *r, const struct hold_value *self, const char *name,
                        struct hold_value *out, bool *found);

#endif
