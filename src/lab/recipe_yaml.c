/* recipe_yaml.c: YAML to JSON with the place of every value; the only file that sees libyaml. */
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "lab/recipe_parts.h"

enum { DEPTH_MAX = 32, VALUES_MAX = 100000 };

struct reader {
    yaml_document_t *doc;
    struct hold_places *places;
    int64_t values; /* aliases counted as often as they are used */
    struct hold_error *err;
};

int hold_places_add(struct hold_places *p, const char *path, long line, long column,
                    struct hold_error *err) {
    if (p->n == p->cap) {
        size_t cap = p->cap == 0 ? 256 : p->cap * 2;
        struct hold_place *grown = hold_realloc(p->place, cap * sizeof *grown);
        if (grown == NULL)
            return hold_fail(err, HOLD_ENOMEMORY, "no memory for a recipe");
        p->place = grown;
        p->cap = cap;
    }
    const char *copy = hold_arena_strdup(p->arena, path);
    if (copy == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a recipe");
    p->place[p->n++] = (struct hold_place){copy, line, column};
    return HOLD_OK;
}

static int fail_at(struct reader *r, const yaml_node_t *node, const char *what) {
    return hold_fail(r->err, HOLD_EUSAGE, "%s:%ld:%ld: %s", r->places->file,
                     (long)node->start_mark.line + 1, (long)node->start_mark.column + 1, what);
}

json_t *hold_yaml_scalar(const char *text, size_t n) {
    char word[64];
    double real;
    int64_t whole;
    if (n < sizeof word && memchr(text, '\0', n) == NULL) {
        memcpy(word, text, n);
        word[n] = '\0';
        if (n == 0 || strcmp(word, "null") == 0 || strcmp(word, "~") == 0)
            return json_null();
        if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0)
            return json_boolean(word[0] == 't');
        if (strspn(word, "+-0123456789") == n && hold_parse_int(word, &whole))
            return json_integer(whole);
        if (hold_parse_real(word, &real))
            return json_real(real);
    }
    return json_stringn(text, n);
}

static int convert(struct reader *r, int index, const char *path, int depth, json_t **out);

static int convert_scalar(struct reader *r, const yaml_node_t *node, json_t **out) {
    const char *text = (const char *)node->data.scalar.value;
    size_t n = node->data.scalar.length;
    if (memchr(text, '\0', n) != NULL)
        return fail_at(r, node, "found a NUL character");
    *out = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? hold_yaml_scalar(text, n)
                                                              : json_stringn(text, n);
    return *out != NULL ? HOLD_OK : hold_fail(r->err, HOLD_ENOMEMORY, "no memory for a recipe");
}

static int convert_list(struct reader *r, const yaml_node_t *node, const char *path, int depth,
                        json_t **out) {
    char inner[HOLD_PLACE_TEXT];
    *out = json_array();
    int rc = *out == NULL ? hold_fail(r->err, HOLD_ENOMEMORY, "no memory for a recipe") : HOLD_OK;
    for (yaml_node_item_t *i = node->data.sequence.items.start;
         rc == HOLD_OK && i < node->data.sequence.items.top; i++) {
        json_t *item = NULL;
        int k = (int)(i - node->data.sequence.items.start);
        const yaml_node_t *at = yaml_document_get_node(r->doc, *i);
        snprintf(inner, sizeof inner, "%s%s%d", path, path[0] == '\0' ? "" : ".", k);
        rc = hold_places_add(r->places, inner, (long)at->start_mark.line + 1,
                             (long)at->start_mark.column + 1, r->err);
        if (rc == HOLD_OK)
            rc = convert(r, *i, inner, depth + 1, &item);
        if (rc == HOLD_OK && json_array_append_new(*out, item) != 0)
            rc = hold_fail(r->err, HOLD_ENOMEMORY, "no memory for a recipe");
    }
    return rc;
}

static int convert_map(struct reader *r, const yaml_node_t *node, const char *path, int depth,
                       json_t **out) {
    char inner[HOLD_PLACE_TEXT];
    *out = json_object();
    int rc = *out == NULL ? hold_fail(r->err, HOLD_ENOMEMORY, "no memory for a recipe") : HOLD_OK;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start;
         rc == HOLD_OK && p < node->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(r->doc, p->key);
        if (key->type != YAML_SCALAR_NODE)
            return fail_at(r, key, "a key must be a word");
        const char *word = (const char *)key->data.scalar.value;
        if (key->data.scalar.length > 120 || strlen(word) != key->data.scalar.length ||
            hold_utf8_check(word, strlen(word)) >= 0)
            return fail_at(r, key, "a key must be a word of at most 120 bytes");
        if (json_object_get(*out, word) != NULL)
            return hold_fail(r->err, HOLD_EUSAGE, "%s:%ld:%ld: key '%s' is given twice",
                             r->places->file, (long)key->start_mark.line + 1,
                             (long)key->start_mark.column + 1, word);
        json_t *item = NULL;
        snprintf(inner, sizeof inner, "%s%s%s", path, path[0] == '\0' ? "" : ".", word);
        rc = hold_places_add(r->places, inner, (long)key->start_mark.line + 1,
                             (long)key->start_mark.column + 1, r->err);
        if (rc == HOLD_OK)
            rc = convert(r, p->value, inner, depth + 1, &item);
        if (rc == HOLD_OK && json_object_set_new(*out, word, item) != 0)
            rc = hold_fail(r->err, HOLD_ENOMEMORY, "no memory for a recipe");
    }
    return rc;
}

static bool has_tag(const yaml_node_t *node) {
    const char *tag = (const char *)node->tag;
    return tag != NULL && strcmp(tag, YAML_STR_TAG) != 0 && strcmp(tag, YAML_SEQ_TAG) != 0 &&
           strcmp(tag, YAML_MAP_TAG) != 0;
}

static int convert(struct reader *r, int index, const char *path, int depth, json_t **out) {
    const yaml_node_t *node = yaml_document_get_node(r->doc, index);
    *out = NULL;
    if (depth > DEPTH_MAX)
        return fail_at(r, node, "is nested too deep (an alias of itself?)");
    if (++r->values > VALUES_MAX)
        return fail_at(r, node, "the recipe has more than 100000 values (aliases of aliases?)");
    if (has_tag(node))
        return fail_at(r, node, "tags (!...) are not supported");
    int rc = HOLD_OK;
    if (node->type == YAML_SCALAR_NODE)
        rc = convert_scalar(r, node, out);
    else if (node->type == YAML_SEQUENCE_NODE)
        rc = convert_list(r, node, path, depth, out);
    else
        rc = convert_map(r, node, path, depth, out);
    if (rc < 0) {
        json_decref(*out);
        *out = NULL;
    }
    return rc;
}

static int syntax(const yaml_parser_t *parser, const struct hold_places *places,
                  struct hold_error *err) {
    if (parser->error == YAML_MEMORY_ERROR)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a recipe");
    return hold_fail(err, HOLD_EUSAGE, "%s:%ld:%ld: not YAML: %s", places->file,
                     (long)parser->problem_mark.line + 1, (long)parser->problem_mark.column + 1,
                     parser->problem == NULL ? "unknown problem" : parser->problem);
}

static int read_document(yaml_parser_t *parser, struct hold_places *places, json_t **out,
                         struct hold_error *err) {
    yaml_document_t doc, second;
    if (yaml_parser_load(parser, &doc) == 0)
        return syntax(parser, places, err);
    struct reader r = {.doc = &doc, .places = places, .err = err};
    int rc = HOLD_OK;
    if (yaml_document_get_root_node(&doc) == NULL)
        rc = hold_fail(err, HOLD_EUSAGE, "%s:1:1: the recipe is empty", places->file);
    else
        rc = convert(&r, 1, "", 0, out);
    yaml_document_delete(&doc);
    if (rc < 0)
        return rc;
    if (yaml_parser_load(parser, &second) == 0) {
        rc = syntax(parser, places, err);
    } else {
        const yaml_node_t *root = yaml_document_get_root_node(&second);
        if (root != NULL)
            rc = hold_fail(err, HOLD_EUSAGE, "%s:%ld:1: a second document begins, expected one",
                           places->file, (long)root->start_mark.line + 1);
        yaml_document_delete(&second);
    }
    if (rc < 0) {
        json_decref(*out);
        *out = NULL;
    }
    return rc;
}

int hold_yaml_read(const char *text, size_t n, struct hold_places *places, json_t **out,
                   struct hold_error *err) {
    yaml_parser_t parser;
    *out = NULL;
    long bad = hold_utf8_check(text, n);
    if (bad >= 0)
        return hold_fail(err, HOLD_EUSAGE, "%s: byte %ld is not UTF-8", places->file, bad);
    if (yaml_parser_initialize(&parser) == 0)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a recipe");
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
    int rc = read_document(&parser, places, out, err);
    yaml_parser_delete(&parser);
    return rc;
}
