/* json.c: jansson with places in messages, canonical text and typed look-ups. */
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

enum { DEPTH_MAX = 2048 }; /* jansson's own limit when it reads */

/* ---- reading ---- */

/* Without memory jansson finds faults in text that has none; they are others the next time. */
json_t *hold_json_read(const char *bytes, size_t n, size_t flags, json_error_t *at) {
    flags |= JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    json_t *value = json_loadb(bytes, n, flags, at);
    if (value || json_error_code(at) == json_error_out_of_memory)
        return value;
    json_error_t again;
    json_t *second = json_loadb(bytes, n, flags, &again);
    if (second || at->text[0] == '\0' || again.position != at->position ||
        strcmp(again.text, at->text) != 0)
        at->text[JSON_ERROR_TEXT_LENGTH - 1] = json_error_out_of_memory;
    json_decref(second);
    return NULL;
}

int hold_json_parse(json_t **out, const char *bytes, size_t n, const char *name, long first_line,
                    struct hold_error *err) {
    json_error_t at;
    *out = hold_json_read(bytes ? bytes : "", n, 0, &at);
    if (*out)
        return HOLD_OK;
    if (json_error_code(&at) == json_error_out_of_memory)
        return hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory to read JSON", name);
    long line = first_line + (at.line > 0 ? at.line - 1 : 0);
    return hold_fail(err, HOLD_EDATA, "%s:%ld:%d: %s", name, line, at.column > 0 ? at.column : 1,
                     at.text);
}

int hold_json_load(json_t **out, const char *path, struct hold_error *err) {
    struct hold_str text = HOLD_STR_INIT;
    *out = NULL;
    int rc = hold_file_read(path, 0, &text, err);
    if (!rc) {
        /* Editors on Windows begin a UTF-8 file with a byte order mark. */
        size_t skip = text.len >= 3 && hold_starts(text.data, "\xEF\xBB\xBF") ? 3 : 0;
        rc = hold_json_parse(out, hold_str_text(&text) + skip, text.len - skip, path, 1, err);
    }
    hold_str_release(&text);
    return rc;
}

json_t *hold_json_whole(json_t *value, int bad) {
    if (bad == 0)
        return value;
    json_decref(value);
    return NULL;
}

/* ---- writing ----
 * jansson 2.14 writes 0.1 as 0.10000000000000001, so the text is made here: every face shows the
 * shortest number that reads back. */

struct style {
    bool pretty, sorted;
};

static int emit(const json_t *value, struct style style, int depth, struct hold_str *out,
                struct hold_error *err);

static void emit_text(const char *text, size_t n, struct hold_str *out) {
    hold_str_add_char(out, '"');
    size_t start = 0; /* of the stretch that needs no escape */
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        hold_str_add_bytes(out, text + start, i - start);
        start = i + 1;
        /* The escapes of RFC 8259 that are one letter: each character and how it is written. */
        const char *letter = c ? strchr("\"\"\\\\\bb\ff\nn\rr\tt", c) : NULL;
        if (letter) {
            hold_str_add_char(out, '\\');
            hold_str_add_char(out, letter[1]);
        } else {
            hold_str_addf(out, "\\u%04x", c);
        }
    }
    hold_str_add_bytes(out, text + start, n - start);
    hold_str_add_char(out, '"');
}

static void emit_real(double value, struct hold_str *out) {
    size_t start = out->len;
    hold_str_add_real(out, value);
    /* "1" would be read back as an integer. */
    if (!out->out_of_memory && !strpbrk(out->data + start, ".e"))
        hold_str_add(out, ".0");
}

static void new_line(struct style style, int depth, struct hold_str *out) {
    if (!style.pretty)
        return;
    hold_str_add_char(out, '\n');
    for (int i = 0; i < depth; i++)
        hold_str_add(out, "  ");
}

static int emit_array(const json_t *array, struct style style, int depth, struct hold_str *out,
                      struct hold_error *err) {
    size_t n = json_array_size(array);
    hold_str_add_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            hold_str_add_char(out, ',');
        new_line(style, depth + 1, out);
        int rc = emit(json_array_get(array, i), style, depth + 1, out, err);
        if (rc)
            return rc;
    }
    if (n)
        new_line(style, depth, out);
    hold_str_add_char(out, ']');
    return HOLD_OK;
}

struct pair {
    const char *key;
    const json_t *value;
};

static int compare_pairs(const void *a, const void *b) {
    return strcmp(((const struct pair *)a)->key, ((const struct pair *)b)->key);
}

static int emit_object(const json_t *object, struct style style, int depth, struct hold_str *out,
                       struct hold_error *err) {
    size_t n = json_object_size(object), count = 0;
    int rc = HOLD_OK;
    void *memory;
    if ((rc = hold_new(&memory, n, sizeof(struct pair), "the keys of a JSON object", err)))
        return rc;
    struct pair *pairs = memory;
    /* jansson's iterators take a mutable object, and leave it as it is. */
    json_t *walk = (json_t *)(uintptr_t)object;
    for (void *it = json_object_iter(walk); it; it = json_object_iter_next(walk, it))
        pairs[count++] = (struct pair){json_object_iter_key(it), json_object_iter_value(it)};
    if (style.sorted && n)
        qsort(pairs, n, sizeof(*pairs), compare_pairs);
    hold_str_add_char(out, '{');
    for (size_t i = 0; i < n && !rc; i++) {
        if (i)
            hold_str_add_char(out, ',');
        new_line(style, depth + 1, out);
        emit_text(pairs[i].key, strlen(pairs[i].key), out);
        hold_str_add(out, style.pretty ? ": " : ":");
        rc = emit(pairs[i].value, style, depth + 1, out, err);
    }
    if (n)
        new_line(style, depth, out);
    hold_str_add_char(out, '}');
    hold_free(memory);
    return rc;
}

static int emit(const json_t *value, struct style style, int depth, struct hold_str *out,
                struct hold_error *err) {
    if (depth > DEPTH_MAX)
        return hold_fail(err, HOLD_EDATA, "JSON is nested deeper than %d levels", DEPTH_MAX);
    if (!value)
        return hold_fail(err, HOLD_ENOMEMORY, "not enough memory for a JSON value");
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return emit_object(value, style, depth, out, err);
    case JSON_ARRAY:
        return emit_array(value, style, depth, out, err);
    case JSON_STRING:
        emit_text(json_string_value(value), json_string_length(value), out);
        break;
    case JSON_INTEGER:
        hold_str_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        emit_real(json_real_value(value), out);
        break;
    case JSON_TRUE:
        hold_str_add(out, "true");
        break;
    case JSON_FALSE:
        hold_str_add(out, "false");
        break;
    case JSON_NULL:
        hold_str_add(out, "null");
        break;
    }
    return HOLD_OK;
}

static int write_text(const json_t *value, struct style style, struct hold_str *out,
                      struct hold_error *err) {
    int rc = emit(value, style, 0, out, err);
    return rc ? rc : hold_str_check(out, err);
}

int hold_json_canonical(const json_t *value, struct hold_str *out, struct hold_error *err) {
    return write_text(value, (struct style){.sorted = true}, out, err);
}

int hold_json_line(const json_t *value, struct hold_str *out, struct hold_error *err) {
    return write_text(value, (struct style){0}, out, err);
}

int hold_json_save(const char *path, const json_t *value, struct hold_error *err) {
    struct hold_str text = HOLD_STR_INIT;
    int rc = write_text(value, (struct style){.pretty = true}, &text, err);
    if (!rc) {
        hold_str_add_char(&text, '\n');
        rc = hold_str_check(&text, err);
    }
    if (!rc)
        rc = hold_file_write_atomic(path, text.data, text.len, err);
    hold_str_release(&text);
    return rc;
}

/* ---- typed look-ups ---- */

const char *hold_json_kind(const json_t *value) {
    if (!value)
        return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "text";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "nothing";
}

static int wrong_type(const json_t *value, const char *key, const char *expected, const char *where,
                      struct hold_error *err) {
    return hold_fail(err, HOLD_EDATA, "%s: %s: found %s, expected %s", where, key,
                     hold_json_kind(value), expected);
}

/* The value of a key; NULL in *value when it is missing or null.  Fails when o is no object. */
static int look_up(const json_t *o, const char *key, const json_t **value, const char *where,
                   struct hold_error *err) {
    *value = NULL;
    if (!json_is_object(o))
        return hold_fail(err, HOLD_EDATA, "%s: found %s, expected an object with \"%s\"", where,
                         hold_json_kind(o), key);
    const json_t *found = json_object_get(o, key);
    if (!json_is_null(found))
        *value = found;
    return HOLD_OK;
}

static int to_int(const json_t *value, const char *key, int64_t *out, const char *where,
                  struct hold_error *err) {
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return HOLD_OK;
    }
    /* Some writers say 1.0 or 1e6 for a whole number. */
    if (json_is_real(value) && hold_real_to_int(json_real_value(value), out))
        return HOLD_OK;
    return wrong_type(value, key, "an integer", where, err);
}

static int to_real(const json_t *value, const char *key, double *out, const char *where,
                   struct hold_error *err) {
    if (!json_is_number(value))
        return wrong_type(value, key, "a number", where, err);
    *out = json_number_value(value);
    return HOLD_OK;
}

static int to_text(const json_t *value, const char *key, const char **out, const char *where,
                   struct hold_error *err) {
    if (!json_is_string(value))
        return wrong_type(value, key, "text", where, err);
    *out = json_string_value(value);
    return HOLD_OK;
}

int hold_json_get_int(const json_t *o, const char *key, int64_t *out, const char *where,
                      struct hold_error *err) {
    const json_t *value;
    int rc = look_up(o, key, &value, where, err);
    return rc ? rc : to_int(value, key, out, where, err);
}

int hold_json_get_real(const json_t *o, const char *key, double *out, const char *where,
                       struct hold_error *err) {
    const json_t *value;
    int rc = look_up(o, key, &value, where, err);
    return rc ? rc : to_real(value, key, out, where, err);
}

int hold_json_get_text(const json_t *o, const char *key, const char **out, const char *where,
                       struct hold_error *err) {
    const json_t *value;
    int rc = look_up(o, key, &value, where, err);
    return rc ? rc : to_text(value, key, out, where, err);
}

int hold_json_int_or(const json_t *o, const char *key, int64_t def, int64_t *out, const char *where,
                     struct hold_error *err) {
    const json_t *value;
    int rc = look_up(o, key, &value, where, err);
    if (!rc && value)
        return to_int(value, key, out, where, err);
    *out = def;
    return rc;
}

int hold_json_real_or(const json_t *o, const char *key, double def, double *out, const char *where,
                      struct hold_error *err) {
    const json_t *value;
    int rc = look_up(o, key, &value, where, err);
    if (!rc && value)
        return to_real(value, key, out, where, err);
    *out = def;
    return rc;
}

int hold_json_text_or(const json_t *o, const char *key, const char *def, const char **out,
                      const char *where, struct hold_error *err) {
    const json_t *value;
    int rc = look_up(o, key, &value, where, err);
    if (!rc && value)
        return to_text(value, key, out, where, err);
    *out = def;
    return rc;
}

int hold_json_bool_or(const json_t *o, const char *key, bool def, bool *out, const char *where,
                      struct hold_error *err) {
    const json_t *value;
    int rc = look_up(o, key, &value, where, err);
    *out = def;
    if (rc || !value)
        return rc;
    if (!json_is_boolean(value))
        return wrong_type(value, key, "true or false", where, err);
    *out = json_is_true(value);
    return HOLD_OK;
}
