/* recipe_view.c: values of a recipe with their places, and the messages about them. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "lab/recipe_parts.h"

/* The place of the longest known beginning of the path; overrides were added last and win. */
static const struct hold_place *place_of(const struct hold_places *p, const char *path) {
    char text[HOLD_PLACE_TEXT];
    snprintf(text, sizeof text, "%s", path);
    while (text[0] != '\0') {
        for (size_t i = p->n; i > 0; i--)
            if (strcmp(p->place[i - 1].path, text) == 0)
                return &p->place[i - 1];
        char *dot = strrchr(text, '.');
        *(dot == NULL ? text : dot) = '\0';
    }
    return NULL;
}

void hold_view_where(const struct hold_view *v, char out[512]) {
    const struct hold_place *at = place_of(v->places, v->path);
    if (at == NULL)
        snprintf(out, 512, "%.250s: %.240s", v->places->file, v->path[0] ? v->path : "the recipe");
    else if (at->line == 0)
        snprintf(out, 512, "command line: %.240s", v->path);
    else
        snprintf(out, 512, "%.200s:%ld:%ld: %.240s", v->places->file, at->line, at->column,
                 v->path);
}

int hold_view_fail(const struct hold_view *v, struct hold_error *err, const char *format, ...) {
    char where[512], text[HOLD_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    hold_vformat(text, sizeof text, format, args);
    va_end(args);
    hold_view_where(v, where);
    return hold_fail(err, HOLD_EUSAGE, "%s: %s", where, text);
}

static struct hold_view inner(const struct hold_view *v, const char *word) {
    struct hold_view out = {.places = v->places};
    /* Paths are for messages: one that is too long loses its end. */
    snprintf(out.path, sizeof out.path, "%.120s%s%.120s", v->path, v->path[0] == '\0' ? "" : ".",
             word);
    return out;
}

struct hold_view hold_view_get(const struct hold_view *v, const char *key) {
    struct hold_view out = inner(v, key);
    out.value = json_object_get(v->value, key);
    if (json_is_null(out.value))
        out.value = NULL;
    return out;
}

struct hold_view hold_view_at(const struct hold_view *v, size_t i) {
    char word[24];
    snprintf(word, sizeof word, "%zu", i);
    struct hold_view out = inner(v, word);
    out.value = json_array_get(v->value, i);
    return out;
}

int hold_view_keys(const struct hold_view *v, const char *const *names, struct hold_error *err) {
    size_t n = 0;
    while (names[n] != NULL)
        n++;
    if (!json_is_object(v->value))
        return hold_view_fail(v, err, "found %s, expected keys and values",
                              hold_json_kind(v->value));
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)v->value, key, item) {
        bool known = false;
        for (size_t i = 0; i < n && !known; i++)
            known = strcmp(names[i], key) == 0;
        if (known)
            continue;
        const char *near = hold_nearest(key, names, n);
        struct hold_view at = inner(v, key);
        return hold_view_fail(&at, err, "unknown key '%s'%s%s%s", key,
                              near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    }
    return HOLD_OK;
}

int hold_view_text(const struct hold_view *v, const char **out, struct hold_error *err) {
    if (!json_is_string(v->value))
        return hold_view_fail(v, err, "found %s, expected text", hold_json_kind(v->value));
    *out = json_string_value(v->value);
    return HOLD_OK;
}

int hold_view_int(const struct hold_view *v, int64_t lo, int64_t hi, int64_t *out,
                  struct hold_error *err) {
    int64_t value = json_integer_value(v->value);
    if (!json_is_integer(v->value) &&
        !(json_is_real(v->value) && hold_real_to_int(json_real_value(v->value), &value)))
        return hold_view_fail(v, err, "found %s, expected a whole number",
                              hold_json_kind(v->value));
    if (value < lo || value > hi)
        return hold_view_fail(v, err, "found %lld, expected %lld to %lld", (long long)value,
                              (long long)lo, (long long)hi);
    *out = value;
    return HOLD_OK;
}
