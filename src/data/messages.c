/* messages.c: lists of messages and turns as users write them, checked and made alike. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "data/shape.h"

enum { PLACE = HOLD_SHAPE_PLACE, SHOWN = HOLD_SHAPE_SHOWN };

static const char *const ROLES[] = {"system", "developer", "user", "assistant", "tool", "function"};
enum { N_ROLES = sizeof(ROLES) / sizeof(ROLES[0]) };

/* ---- what is wrong with a row ---- */

int hold_shape_bad(struct hold_fault *f, const char *rule, const char *format, ...) {
    char text[HOLD_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    hold_vformat(text, sizeof(text), format, args);
    va_end(args);
    f->rule = rule;
    return hold_fail(f->err, HOLD_EDATA, "%s", text);
}

int hold_shape_no_memory(struct hold_fault *f) {
    return hold_fail(f->err, HOLD_ENOMEMORY, "not enough memory for a row");
}

const char *hold_shape_kind(const json_t *value) {
    if (!value)
        return "missing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "text";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        break;
    }
    return "null";
}

const char *hold_shape_hint(char out[HOLD_SHAPE_PLACE], const char *word, const char *const *names,
                            size_t n) {
    const char *near = hold_nearest(word, names, n);
    out[0] = '\0';
    if (near)
        snprintf(out, PLACE, " (did you mean \"%s\"?)", near);
    return out;
}

bool hold_shape_has(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value);
}

int hold_shape_text(struct hold_fault *f, const char *place, const json_t *value) {
    if (!value)
        return hold_shape_bad(f, "missing_key", "%s: missing", place);
    if (!json_is_string(value))
        return hold_shape_bad(f, "wrong_type", "%s: is %s, expected text", place,
                              hold_shape_kind(value));
    if (strlen(json_string_value(value)) != json_string_length(value))
        return hold_shape_bad(f, "nul_character", "%s: contains a NUL character", place);
    return HOLD_OK;
}

bool hold_shape_is_role(const json_t *message, const char *role) {
    const char *word = json_string_value(json_object_get(message, "role"));
    return word && !strcmp(word, role);
}

/* ---- messages ---- */

/* [{"type": "text", "text": "..."}, ...] joined into one new string. */
static int join_parts(struct hold_fault *f, const char *place, const json_t *parts, json_t **out) {
    struct hold_str joined = HOLD_STR_INIT;
    size_t i, n = json_array_size(parts);
    int status = HOLD_OK;
    for (i = 0; i < n && !status; i++) {
        char inner[2 * PLACE];
        const json_t *part = json_array_get(parts, i);
        snprintf(inner, sizeof(inner), "%s[%zu]", place, i);
        if (!json_is_object(part)) {
            status = hold_shape_bad(f, "wrong_type",
                                    "%s: is %s, expected {\"type\": \"text\", \"text\": ...}",
                                    inner, hold_shape_kind(part));
            break;
        }
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type || strcmp(type, "text") != 0) {
            char shown[SHOWN];
            hold_visible(shown, sizeof(shown), type ? type : "");
            status = hold_shape_bad(
                f, "not_text", "%s.type: \"%s\" is not supported, expected \"text\"", inner, shown);
            break;
        }
        snprintf(inner, sizeof(inner), "%s[%zu].text", place, i);
        status = hold_shape_text(f, inner, json_object_get(part, "text"));
        if (!status)
            hold_str_add(&joined, json_string_value(json_object_get(part, "text")));
    }
    if (!status) {
        *out = joined.out_of_memory ? NULL : json_stringn(hold_str_text(&joined), joined.len);
        status = *out ? HOLD_OK : hold_shape_no_memory(f);
    }
    hold_str_release(&joined);
    return status;
}

static int check_role(struct hold_fault *f, const char *place, const json_t *message) {
    char inner[PLACE + 8], shown[SHOWN], meant[PLACE];
    const json_t *role = json_object_get(message, "role");
    snprintf(inner, sizeof(inner), "%s.role", place);
    if (!role && hold_shape_has(message, "from"))
        return hold_shape_bad(f, "missing_key", "%s: missing (found \"from\")", inner);
    int status = hold_shape_text(f, inner, role);
    if (status)
        return status;
    const char *word = json_string_value(role);
    for (size_t i = 0; i < N_ROLES; i++)
        if (!strcmp(word, ROLES[i]))
            return HOLD_OK;
    hold_visible(shown, sizeof(shown), word);
    return hold_shape_bad(f, "unknown_role", "%s: \"%s\" is not a role%s", inner, shown,
                          hold_shape_hint(meant, word, ROLES, N_ROLES));
}

static int check_weight(struct hold_fault *f, const char *place, const json_t *message) {
    const json_t *weight = json_object_get(message, "weight");
    if (!weight || json_is_null(weight))
        return HOLD_OK;
    if (!json_is_number(weight))
        return hold_shape_bad(f, "wrong_type", "%s.weight: is %s, expected a number", place,
                              hold_shape_kind(weight));
    if (!(json_number_value(weight) >= 0) || !isfinite((float)json_number_value(weight)))
        return hold_shape_bad(f, "bad_weight", "%s.weight: is %g, expected a number >= 0", place,
                              json_number_value(weight));
    return HOLD_OK;
}

/* The content of a message's own copy as one text; an assistant that calls tools may say none. */
static int take_content(struct hold_fault *f, const char *place, json_t *message) {
    char inner[PLACE + 8];
    json_t *content = json_object_get(message, "content"), *joined = NULL;
    snprintf(inner, sizeof(inner), "%s.content", place);
    if ((!content || json_is_null(content)) && hold_shape_has_calls(message))
        return HOLD_OK;
    if (!json_is_array(content))
        return hold_shape_text(f, inner, content);
    int status = join_parts(f, inner, content, &joined);
    if (!status && json_object_set_new(message, "content", joined))
        status = hold_shape_no_memory(f);
    return status;
}

/* The user's own keys are kept, in a copy of the message. */
int hold_shape_message(struct hold_fault *f, const char *place, json_t *message, json_t *list) {
    if (!json_is_object(message))
        return hold_shape_bad(f, "wrong_type",
                              "%s: is %s, expected an object with role and content", place,
                              hold_shape_kind(message));
    int status = check_role(f, place, message);
    if (!status)
        status = check_weight(f, place, message);
    if (status)
        return status;
    json_t *copy = json_copy(message);
    status = copy ? hold_shape_calls(f, place, copy) : hold_shape_no_memory(f);
    if (!status)
        status = take_content(f, place, copy);
    /* The older name of a tool's answer. */
    if (!status && hold_shape_is_role(copy, "function") &&
        json_object_set_new(copy, "role", json_string("tool")))
        status = hold_shape_no_memory(f);
    if (!status && json_array_append(list, copy))
        status = hold_shape_no_memory(f);
    json_decref(copy);
    return status;
}

int hold_shape_messages(struct hold_fault *f, const char *name, const json_t *from, json_t *list) {
    size_t n = json_array_size(from);
    if (!json_is_array(from))
        return hold_shape_bad(f, "wrong_type", "%s: is %s, expected a list of messages", name,
                              hold_shape_kind(from));
    if (!n)
        return hold_shape_bad(f, "no_messages", "%s: is an empty list", name);
    for (size_t i = 0; i < n; i++) {
        char place[PLACE];
        snprintf(place, sizeof(place), "%s[%zu]", name, i);
        int status = hold_shape_message(f, place, json_array_get(from, i), list);
        if (status)
            return status;
    }
    return HOLD_OK;
}

int hold_shape_said(struct hold_fault *f, json_t *list, const char *role, const char *text) {
    json_t *message = json_pack("{s:s, s:s}", "role", role, "content", text);
    return !message || json_array_append_new(list, message) ? hold_shape_no_memory(f) : HOLD_OK;
}

int hold_shape_system(struct hold_fault *f, const json_t *data, json_t *list) {
    const json_t *system = json_object_get(data, "system");
    if (!hold_shape_has(data, "system"))
        return HOLD_OK;
    int status = hold_shape_text(f, "system", system);
    return status || !json_string_length(system)
               ? status
               : hold_shape_said(f, list, "system", json_string_value(system));
}

/* ---- ShareGPT ---- */

/* The speakers and the roles they are; NULL: the assistant calls a tool. */
static const char *const SPEAKERS[] = {"human",  "user", "gpt",         "assistant",
                                       "system", "tool", "observation", "function_call"};
static const char *const SPEAKER_ROLES[] = {"user",   "user", "assistant", "assistant",
                                            "system", "tool", "tool",      NULL};
enum { N_SPEAKERS = sizeof(SPEAKERS) / sizeof(SPEAKERS[0]) };

static int add_call(struct hold_fault *f, const char *place, const char *text, json_t *list) {
    json_t *calls = NULL;
    int status = hold_shape_calls_text(f, place, text, &calls);
    if (status)
        return status;
    json_t *message =
        json_pack("{s:s, s:n, s:o}", "role", "assistant", "content", "tool_calls", calls);
    return !message || json_array_append_new(list, message) ? hold_shape_no_memory(f) : HOLD_OK;
}

/* {"from": SPEAKER, "value": TEXT, "weight"?: W} as a message with role and content. */
int hold_shape_turn(struct hold_fault *f, const char *place, const json_t *turn, json_t *list) {
    char inner[PLACE + 8], shown[SHOWN], meant[PLACE];
    size_t k = 0;
    if (!json_is_object(turn))
        return hold_shape_bad(f, "wrong_type", "%s: is %s, expected an object with from and value",
                              place, hold_shape_kind(turn));
    snprintf(inner, sizeof(inner), "%s.from", place);
    int status = hold_shape_text(f, inner, json_object_get(turn, "from"));
    if (status)
        return status;
    const char *from = json_string_value(json_object_get(turn, "from"));
    while (k < N_SPEAKERS && strcmp(SPEAKERS[k], from) != 0)
        k++;
    if (k == N_SPEAKERS) {
        hold_visible(shown, sizeof(shown), from);
        return hold_shape_bad(f, "unknown_role", "%s: \"%s\" is not a speaker%s", inner, shown,
                              hold_shape_hint(meant, from, SPEAKERS, N_SPEAKERS));
    }
    snprintf(inner, sizeof(inner), "%s.value", place);
    status = hold_shape_text(f, inner, json_object_get(turn, "value"));
    if (!status)
        status = check_weight(f, place, turn);
    if (status)
        return status;
    const char *value = json_string_value(json_object_get(turn, "value"));
    status = SPEAKER_ROLES[k] ? hold_shape_said(f, list, SPEAKER_ROLES[k], value)
                              : add_call(f, inner, value, list);
    json_t *weight = json_object_get(turn, "weight");
    if (!status && hold_shape_has(turn, "weight") &&
        json_object_set(json_array_get(list, json_array_size(list) - 1), "weight", weight))
        status = hold_shape_no_memory(f);
    return status;
}

int hold_shape_turns(struct hold_fault *f, const char *name, const json_t *turns, json_t *list) {
    int status = HOLD_OK;
    if (!json_is_array(turns))
        return hold_shape_bad(f, "wrong_type", "%s: is %s, expected a list", name,
                              hold_shape_kind(turns));
    if (!json_array_size(turns))
        return hold_shape_bad(f, "no_messages", "%s: is an empty list", name);
    for (size_t i = 0; i < json_array_size(turns) && !status; i++) {
        char place[PLACE];
        snprintf(place, sizeof(place), "%s[%zu]", name, i);
        status = hold_shape_turn(f, place, json_array_get(turns, i), list);
    }
    return status;
}
