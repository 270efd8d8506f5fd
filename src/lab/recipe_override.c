/* recipe_override.c: `key=value` from the command line, laid over the recipe's JSON.
 *
 * Lists are entered by name: of an arm, or of a method in a composition; a method that stands as a
 * bare word becomes {word: {}} when an option of it is set.
 */
#include <string.h>

#include "base/json.h"
#include "lab/recipe_parts.h"

static int no_memory(struct hold_error *err) {
    return hold_fail(err, HOLD_ENOMEMORY, "no memory for an override");
}

/* "1,2,3" for seed; [..] and {..} as YAML; else a scalar. */
static int parse_value(const char *key, const char *text, const struct hold_places *places,
                       json_t **out, struct hold_error *err) {
    struct hold_str list = HOLD_STR_INIT;
    if (strcmp(key, "seed") == 0 && strchr(text, ',') != NULL) {
        hold_str_addf(&list, "[%s]", text);
        text = hold_str_text(&list);
    }
    int rc = HOLD_OK;
    if (text[0] == '[' || text[0] == '{') {
        struct hold_places inner = {.arena = places->arena, .file = "override"};
        rc = hold_yaml_read(text, strlen(text), &inner, out, err);
        hold_free(inner.place);
    } else if (hold_utf8_check(text, strlen(text)) >= 0) {
        rc = hold_fail(err, HOLD_EUSAGE, "override: the value is not UTF-8");
    } else {
        *out = hold_yaml_scalar(text, strlen(text));
        rc = *out == NULL ? no_memory(err) : HOLD_OK;
    }
    hold_str_release(&list);
    return rc;
}

/* A container's slot: object and key, or array and index. */
struct slot {
    json_t *container;
    const char *key;
    size_t index;
};

static json_t *slot_value(const struct slot *s) {
    return json_is_array(s->container) ? json_array_get(s->container, s->index)
                                       : json_object_get(s->container, s->key);
}

static int slot_set(const struct slot *s, json_t *value, struct hold_error *err) {
    int bad = json_is_array(s->container) ? json_array_set_new(s->container, s->index, value)
                                          : json_object_set_new(s->container, s->key, value);
    return bad == 0 ? HOLD_OK : no_memory(err);
}

static bool is_word(const json_t *value, const char *word) {
    return json_is_string(value) && strcmp(json_string_value(value), word) == 0;
}

static int not_an_object(const char *key, const json_t *value, const char *next,
                         struct hold_error *err) {
    const char *word = json_string_value(value);
    const char *near = word == NULL ? NULL : hold_nearest(next, &word, 1);
    return hold_fail(err, HOLD_EUSAGE,
                     "override: '%s' is not an object, '%s' cannot be set in it%s%s%s", key, next,
                     near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

/* The value in the slot as something that can be entered. */
static int open_slot(const struct slot *s, const char *next, json_t **out, struct hold_error *err) {
    json_t *value = slot_value(s);
    int rc = HOLD_OK;
    if (is_word(value, next))
        rc = slot_set(s, json_pack("{s:{}}", next), err);
    else if (value == NULL || json_is_null(value))
        rc = slot_set(s, json_object(), err);
    else if (!json_is_object(value) && !json_is_array(value))
        rc = not_an_object(s->key, value, next, err);
    *out = slot_value(s);
    return rc;
}

/* The words by which the items of a list can be named. */
static size_t item_names(const json_t *list, const char **out, size_t most) {
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(list) && n < most; i++) {
        json_t *item = json_array_get(list, i), *name = json_object_get(item, "name");
        const char *word = json_string_value(name != NULL ? name : item);
        if (word == NULL) /* {method: {options}} */
            word = json_object_iter_key(json_object_iter(item));
        if (word != NULL)
            out[n++] = word;
    }
    return n;
}

/* The item of a list that a word names. */
static int find_item(json_t *list, const char *word, const char *shown, struct slot *out,
                     bool *consumed, struct hold_error *err) {
    *consumed = true;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = json_array_get(list, i);
        *out = (struct slot){.container = list, .key = shown, .index = i};
        if (is_word(json_object_get(item, "name"), word))
            return HOLD_OK;
        *consumed = false; /* the item holds the word as its key */
        if (is_word(item, word) || json_object_get(item, word) != NULL)
            return HOLD_OK;
        *consumed = true;
    }
    const char *names[256], *near = hold_nearest(word, names, item_names(list, names, 256));
    return hold_fail(err, HOLD_EUSAGE, "override: there is no '%s' in '%s'%s%s%s", word, shown,
                     near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

/* One step down: `word` in what the slot holds.  *at: the path so far, with indices; an object that
 * is made on the way stands on the command line. */
static int descend(json_t *root, struct slot *slot, const char *word, struct hold_str *at,
                   struct hold_places *places, struct hold_error *err) {
    json_t *into = root;
    bool consumed = false;
    int rc = HOLD_OK;
    if (slot->key != NULL && slot_value(slot) == NULL)
        rc = hold_places_add(places, hold_str_text(at), 0, 0, err);
    if (rc == HOLD_OK && slot->key != NULL)
        rc = open_slot(slot, word, &into, err);
    if (rc == HOLD_OK && json_is_array(into)) {
        rc = find_item(into, word, slot->key, slot, &consumed, err);
        if (rc < 0)
            return rc;
        hold_str_addf(at, ".%zu", slot->index);
        if (consumed) {
            slot->key = word;
            return HOLD_OK;
        }
        rc = open_slot(slot, word, &into, err);
    }
    hold_str_addf(at, "%s%s", at->len == 0 ? "" : ".", word);
    *slot = (struct slot){.container = into, .key = word};
    return rc;
}

int hold_recipe_override(json_t *root, const char *override, struct hold_places *places,
                         struct hold_error *err) {
    char path[HOLD_PLACE_TEXT];
    const char *equals = strchr(override, '=');
    size_t n = equals == NULL ? 0 : (size_t)(equals - override);
    if (n == 0 || n >= sizeof path)
        return hold_fail(err, HOLD_EUSAGE, "override '%s': expected key=value", override);
    memcpy(path, override, n);
    path[n] = '\0';
    json_t *value = NULL;
    struct hold_str at = HOLD_STR_INIT;
    struct slot slot = {.container = root};
    int rc = parse_value(path, equals + 1, places, &value, err);
    for (char *rest = path; rc == HOLD_OK && rest != NULL;) {
        char *word = strsep(&rest, ".");
        rc = word[0] == '\0' ? hold_fail(err, HOLD_EUSAGE,
                                         "override '%s': a part of the key is empty", override)
                             : descend(root, &slot, word, &at, places, err);
    }
    if (rc == HOLD_OK) {
        rc = slot_set(&slot, value, err);
        value = NULL;
    }
    /* Line 0: the command line. */
    if (rc == HOLD_OK)
        rc = hold_places_add(places, hold_str_text(&at), 0, 0, err);
    json_decref(value);
    hold_str_release(&at);
    return rc;
}
