/* option.c: reading, writing and describing values by an option table. */
#include "base/option.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

enum { HELP_COLUMN_MAX = 34 };

static bool is_end(const struct hold_option *row) {
    return !row || row->type == HOLD_OPT_END;
}

static void *field(const struct hold_option *row, void *target) {
    return (char *)target + row->offset;
}

static const void *field_const(const struct hold_option *row, const void *target) {
    return (const char *)target + row->offset;
}

static double row_real(const struct hold_option *row, const void *target) {
    return *(const double *)field_const(row, target);
}

static int64_t row_int(const struct hold_option *row, const void *target) {
    return *(const int64_t *)field_const(row, target);
}

static bool row_bool(const struct hold_option *row, const void *target) {
    return *(const bool *)field_const(row, target);
}

static const char *row_text(const struct hold_option *row, const void *target) {
    return *(const char *const *)field_const(row, target);
}

void hold_options_defaults(const struct hold_option *rows, void *target) {
    for (const struct hold_option *row = rows; !is_end(row); row++) {
        switch (row->type) {
        case HOLD_OPT_REAL:
            *(double *)field(row, target) = row->def;
            break;
        case HOLD_OPT_INT:
            *(int64_t *)field(row, target) = (int64_t)row->def;
            break;
        case HOLD_OPT_BOOL:
            *(bool *)field(row, target) = row->def > 0;
            break;
        case HOLD_OPT_TEXT:
            *(const char **)field(row, target) = row->text;
            break;
        default:
            break;
        }
    }
}

/* ---- names ---- */

static bool same_name(const char *a, const char *b) {
    for (; *a && *b; a++, b++)
        if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_')))
            return false;
    return *a == *b;
}

const struct hold_option *hold_options_find(const struct hold_option *rows, const char *name) {
    for (const struct hold_option *row = rows; !is_end(row); row++)
        if (same_name(row->name, name))
            return row;
    return NULL;
}

/* Append the name as it is written on a command line. */
static void add_kebab(struct hold_str *out, const char *name) {
    for (; *name; name++)
        hold_str_add_char(out, *name == '_' ? '-' : *name);
}

static const char *nearest_row(const struct hold_option *rows, const char *name) {
    size_t n = 0;
    while (rows && !is_end(&rows[n]))
        n++;
    const char **names = hold_calloc(n, sizeof(*names));
    char *word = hold_strdup(name);
    const char *best = NULL;
    if (names && word) {
        for (size_t i = 0; i < n; i++)
            names[i] = rows[i].name;
        for (char *p = word; *p; p++)
            *p = *p == '-' ? '_' : *p;
        best = hold_nearest(word, names, n);
    }
    hold_free(word);
    hold_free((void *)names);
    return best;
}

static int unknown_name(const struct hold_option *rows, const char *name, const char *where,
                        struct hold_error *err) {
    const char *best = nearest_row(rows, name);
    if (!best)
        return hold_fail(err, HOLD_EUSAGE, "%s: unknown option", where);
    /* Whoever wrote --like-this is answered like this. */
    bool command_line = hold_starts(where, "--");
    struct hold_str shown = HOLD_STR_INIT;
    hold_str_add(&shown, command_line ? "--" : "");
    if (command_line)
        add_kebab(&shown, best);
    else
        hold_str_add(&shown, best);
    hold_fail(err, HOLD_EUSAGE, "%s: unknown option, did you mean %s?", where,
              hold_str_text(&shown));
    hold_str_release(&shown);
    return HOLD_EUSAGE;
}

/* ---- values ---- */

static int out_of_range(const struct hold_option *row, const char *found, const char *where,
                        struct hold_error *err) {
    struct hold_str range = HOLD_STR_INIT;
    if (isinf(row->max)) {
        hold_str_add(&range, "at least ");
        hold_str_add_real(&range, row->min);
    } else if (isinf(row->min)) {
        hold_str_add(&range, "at most ");
        hold_str_add_real(&range, row->max);
    } else {
        hold_str_add_real(&range, row->min);
        hold_str_add(&range, " to ");
        hold_str_add_real(&range, row->max);
    }
    hold_fail(err, HOLD_EUSAGE, "%s: %s is out of range, expected %s", where, found,
              hold_str_text(&range));
    hold_str_release(&range);
    return HOLD_EUSAGE;
}

static bool in_range(const struct hold_option *row, double value) {
    return value >= row->min && value <= row->max;
}

static int store_real(const struct hold_option *row, void *target, double value, const char *found,
                      const char *where, struct hold_error *err) {
    if (!in_range(row, value))
        return out_of_range(row, found, where, err);
    *(double *)field(row, target) = value;
    return HOLD_OK;
}

static int store_int(const struct hold_option *row, void *target, int64_t value, const char *found,
                     const char *where, struct hold_error *err) {
    if (!in_range(row, (double)value))
        return out_of_range(row, found, where, err);
    *(int64_t *)field(row, target) = value;
    return HOLD_OK;
}

/* Is text one of "a|b|c"? */
static bool is_choice(const char *choices, const char *text) {
    size_t len = strlen(text);
    for (const char *p = choices;;) {
        const char *bar = strchrnul(p, '|');
        if ((size_t)(bar - p) == len && memcmp(p, text, len) == 0)
            return true;
        if (!*bar)
            return false;
        p = bar + 1;
    }
}

static int store_text(const struct hold_option *row, void *target, const char *text,
                      const char *where, struct hold_error *err) {
    if (row->choices && !is_choice(row->choices, text))
        return hold_fail(err, HOLD_EUSAGE, "%s: found '%s', expected one of %s", where, text,
                         row->choices);
    *(const char **)field(row, target) = text;
    return HOLD_OK;
}

static int store_bool(const struct hold_option *row, void *target, const char *text,
                      const char *where, struct hold_error *err) {
    static const char *const WORDS[] = {"false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < sizeof(WORDS) / sizeof(WORDS[0]); i++) {
        if (strcmp(text, WORDS[i]) == 0) {
            *(bool *)field(row, target) = i % 2 == 1;
            return HOLD_OK;
        }
    }
    return hold_fail(err, HOLD_EUSAGE, "%s: found '%s', expected true or false", where, text);
}

static int set_row_text(const struct hold_option *row, void *target, const char *text,
                        const char *where, struct hold_error *err) {
    double real;
    int64_t whole;
    switch (row->type) {
    case HOLD_OPT_REAL:
        if (hold_parse_real(text, &real))
            return store_real(row, target, real, text, where, err);
        return hold_fail(err, HOLD_EUSAGE, "%s: found '%s', expected a number", where, text);
    case HOLD_OPT_INT:
        if (hold_parse_int(text, &whole))
            return store_int(row, target, whole, text, where, err);
        return hold_fail(err, HOLD_EUSAGE, "%s: found '%s', expected a whole number", where, text);
    case HOLD_OPT_BOOL:
        return store_bool(row, target, text, where, err);
    case HOLD_OPT_TEXT:
        return store_text(row, target, text, where, err);
    default:
        return hold_fail(err, HOLD_EINTERNAL, "%s: option of unknown type", where);
    }
}

int hold_options_set_text(const struct hold_option *rows, void *target, const char *name,
                          const char *text, const char *where, struct hold_error *err) {
    const struct hold_option *row = hold_options_find(rows, name);
    if (!row)
        return unknown_name(rows, name, where, err);
    return set_row_text(row, target, text, where, err);
}

static const char *expected_of(const struct hold_option *row) {
    switch (row->type) {
    case HOLD_OPT_REAL:
        return "a number";
    case HOLD_OPT_INT:
        return "a whole number";
    case HOLD_OPT_BOOL:
        return "true or false";
    default:
        return "text";
    }
}

static int set_row_number(const struct hold_option *row, void *target, const json_t *value,
                          const char *where, struct hold_error *err) {
    struct hold_str found = HOLD_STR_INIT;
    int64_t whole = json_integer_value(value);
    double real = json_number_value(value);
    int rc;
    if (json_is_integer(value))
        hold_str_addf(&found, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        hold_str_add_real(&found, real);
    const char *text = hold_str_text(&found);
    if (row->type == HOLD_OPT_REAL)
        rc = store_real(row, target, real, text, where, err);
    else if (json_is_integer(value) || hold_real_to_int(real, &whole))
        rc = store_int(row, target, whole, text, where, err);
    else
        rc = hold_fail(err, HOLD_EUSAGE, "%s: found %s, expected a whole number", where, text);
    hold_str_release(&found);
    return rc;
}

int hold_options_set_json(const struct hold_option *rows, void *target, const char *name,
                          const json_t *value, const char *where, struct hold_error *err) {
    const struct hold_option *row = hold_options_find(rows, name);
    if (!row)
        return unknown_name(rows, name, where, err);
    if (json_is_string(value))
        return set_row_text(row, target, json_string_value(value), where, err);
    if (json_is_number(value) && (row->type == HOLD_OPT_REAL || row->type == HOLD_OPT_INT))
        return set_row_number(row, target, value, where, err);
    if (json_is_boolean(value) && row->type == HOLD_OPT_BOOL) {
        *(bool *)field(row, target) = json_is_true(value);
        return HOLD_OK;
    }
    /* What hold_options_to_json writes for a text that was never set. */
    if (json_is_null(value) && row->type == HOLD_OPT_TEXT && !row->text) {
        *(const char **)field(row, target) = NULL;
        return HOLD_OK;
    }
    return hold_fail(err, HOLD_EUSAGE, "%s: found %s, expected %s", where, hold_json_kind(value),
                     expected_of(row));
}

/* ---- faces ---- */

static json_t *text_or_null(const char *text) {
    return text ? json_string(text) : json_null();
}

/* JSON has no infinity: an open bound is null. */
static json_t *real_or_null(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *value_json(const struct hold_option *row, const void *target) {
    switch (row->type) {
    case HOLD_OPT_REAL:
        return real_or_null(row_real(row, target));
    case HOLD_OPT_INT:
        return json_integer(row_int(row, target));
    case HOLD_OPT_BOOL:
        return json_boolean(row_bool(row, target));
    default:
        return text_or_null(row_text(row, target));
    }
}

json_t *hold_options_to_json(const struct hold_option *rows, const void *target) {
    json_t *object = json_object();
    for (const struct hold_option *row = rows; object && !is_end(row); row++) {
        if (json_object_set_new(object, row->name, value_json(row, target)) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static const char *type_name(const struct hold_option *row) {
    switch (row->type) {
    case HOLD_OPT_REAL:
        return "real";
    case HOLD_OPT_INT:
        return "int";
    case HOLD_OPT_BOOL:
        return "bool";
    default:
        return "text";
    }
}

/* An int row's bound or default: a whole number where one fits, 9e18 as it is. */
static json_t *number_json(const struct hold_option *row, double value) {
    int64_t whole;
    if (row->type == HOLD_OPT_INT && hold_real_to_int(value, &whole))
        return json_integer(whole);
    return real_or_null(value);
}

static json_t *choices_json(const char *choices) {
    if (!choices)
        return json_null();
    json_t *array = json_array();
    for (const char *p = choices; array;) {
        const char *bar = strchrnul(p, '|');
        if (json_array_append_new(array, json_stringn(p, (size_t)(bar - p))) != 0) {
            json_decref(array);
            return NULL;
        }
        if (!*bar)
            break;
        p = bar + 1;
    }
    return array;
}

static json_t *describe_row(const struct hold_option *row) {
    bool number = row->type == HOLD_OPT_REAL || row->type == HOLD_OPT_INT;
    json_t *def = number                       ? number_json(row, row->def)
                  : row->type == HOLD_OPT_BOOL ? json_boolean(row->def > 0)
                                               : text_or_null(row->text);
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:s}", "name", row->name, "type",
                     type_name(row), "default", def, "min",
                     number ? number_json(row, row->min) : json_null(), "max",
                     number ? number_json(row, row->max) : json_null(), "choices",
                     choices_json(row->choices), "help", row->help);
}

json_t *hold_options_describe(const struct hold_option *rows) {
    json_t *array = json_array();
    for (const struct hold_option *row = rows; array && !is_end(row); row++) {
        if (json_array_append_new(array, describe_row(row)) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* "  -s, --seed N" */
static void help_left(const struct hold_option *row, struct hold_str *out) {
    if (row->letter)
        hold_str_addf(out, "  -%c, --", row->letter);
    else
        hold_str_add(out, "  --");
    add_kebab(out, row->name);
    if (row->type == HOLD_OPT_REAL)
        hold_str_add(out, " X");
    else if (row->type == HOLD_OPT_INT)
        hold_str_add(out, " N");
    else if (row->type == HOLD_OPT_TEXT)
        hold_str_addf(out, " %s", row->choices ? row->choices : "TEXT");
}

static void help_default(const struct hold_option *row, struct hold_str *out) {
    if (row->type == HOLD_OPT_TEXT && (!row->text || !*row->text))
        return;
    hold_str_add(out, " (default ");
    if (row->type == HOLD_OPT_TEXT)
        hold_str_add(out, row->text);
    else if (row->type == HOLD_OPT_BOOL)
        hold_str_add(out, row->def > 0 ? "true" : "false");
    else
        hold_str_add_real(out, row->def);
    hold_str_add_char(out, ')');
}

void hold_options_help(const struct hold_option *rows, struct hold_str *out) {
    struct hold_str left = HOLD_STR_INIT;
    size_t column = 0;
    for (const struct hold_option *row = rows; !is_end(row); row++) {
        hold_str_clear(&left);
        help_left(row, &left);
        if (left.len > column && left.len <= HELP_COLUMN_MAX)
            column = left.len;
    }
    for (const struct hold_option *row = rows; !is_end(row); row++) {
        size_t start = out->len;
        help_left(row, out);
        while (!out->out_of_memory && out->len - start < column)
            hold_str_add_char(out, ' ');
        hold_str_addf(out, "   %s", row->help);
        help_default(row, out);
        hold_str_add_char(out, '\n');
    }
    hold_str_release(&left);
}
