/* tools.c: tools and calls of tools as OpenAI's lines, Hugging Face and ShareGPT write them, made
 * into the one form that chat templates expect.
 */
#include <stdio.h>
#include <string.h>

#include "data/shape.h"

enum { PLACE = HOLD_SHAPE_PLACE, SHOWN = HOLD_SHAPE_SHOWN };

static bool is_blank(const char *text) {
    return text[strspn(text, " \t\r\n")] == '\0';
}

/* JSON that stands in a text.  New reference, NULL: it is none. */
static json_t *parse(const char *text) {
    return json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
}

/* Arguments are an object, or a text that holds one; none at all are the empty object. */
static int take_arguments(struct hold_fault *f, const char *place, json_t *function) {
    json_t *arguments = json_object_get(function, "arguments"), *made = NULL;
    if (json_is_object(arguments))
        return HOLD_OK;
    if (!arguments || json_is_null(arguments) ||
        (json_is_string(arguments) && is_blank(json_string_value(arguments)))) {
        made = json_object();
        if (!made)
            return hold_shape_no_memory(f);
    } else if (json_is_string(arguments)) {
        made = parse(json_string_value(arguments));
    } else {
        return hold_shape_bad(f, "wrong_type",
                              "%s.arguments: is %s, expected an object, or a text that holds one",
                              place, hold_shape_kind(arguments));
    }
    if (!json_is_object(made)) {
        json_decref(made);
        return hold_shape_bad(f, "bad_arguments", "%s.arguments: the text is not a JSON object",
                              place);
    }
    return json_object_set_new(function, "arguments", made) ? hold_shape_no_memory(f) : HOLD_OK;
}

/* {"name", "arguments"}, wrapped or not, as a call.  New reference. */
static int make_call(struct hold_fault *f, const char *place, const json_t *from, json_t **out) {
    char inner[2 * PLACE];
    if (!json_is_object(from))
        return hold_shape_bad(f, "wrong_type", "%s: is %s, expected a call of a tool", place,
                              hold_shape_kind(from));
    const json_t *type = json_object_get(from, "type");
    const char *word = json_string_value(type);
    if (hold_shape_has(from, "type") && (!word || strcmp(word, "function") != 0))
        return hold_shape_bad(f, "not_function", "%s.type: is not \"function\"", place);
    json_t *inside = json_object_get(from, "function");
    bool wrapped = json_is_object(inside);
    json_t *function = json_copy(wrapped ? inside : (json_t *)(uintptr_t)from);
    json_t *call = wrapped ? json_copy((json_t *)(uintptr_t)from) : json_object();
    int status = function && call ? HOLD_OK : hold_shape_no_memory(f);
    if (!status && !wrapped)
        json_object_del(function, "type");
    snprintf(inner, sizeof(inner), "%s%s.name", place, wrapped ? ".function" : "");
    if (!status)
        status = hold_shape_text(f, inner, json_object_get(function, "name"));
    snprintf(inner, sizeof(inner), "%s%s", place, wrapped ? ".function" : "");
    if (!status)
        status = take_arguments(f, inner, function);
    if (!status && (json_object_set_new(call, "type", json_string("function")) ||
                    json_object_set(call, "function", function)))
        status = hold_shape_no_memory(f);
    json_decref(function);
    if (status)
        json_decref(call);
    else
        *out = call;
    return status;
}

/* A list of calls, or one alone.  New reference. */
static int make_calls(struct hold_fault *f, const char *place, const json_t *from, json_t **out) {
    json_t *list = json_array();
    int status = list ? HOLD_OK : hold_shape_no_memory(f);
    bool many = json_is_array(from);
    size_t n = many ? json_array_size(from) : 1;
    for (size_t i = 0; i < n && !status; i++) {
        char inner[PLACE + 24];
        json_t *call = NULL;
        if (many)
            snprintf(inner, sizeof(inner), "%s[%zu]", place, i);
        else
            snprintf(inner, sizeof(inner), "%s", place);
        status = make_call(f, inner, many ? json_array_get(from, i) : from, &call);
        if (!status && json_array_append_new(list, call))
            status = hold_shape_no_memory(f);
    }
    if (status)
        json_decref(list);
    else
        *out = list;
    return status;
}

bool hold_shape_has_calls(const json_t *message) {
    return json_array_size(json_object_get(message, "tool_calls")) > 0;
}

int hold_shape_calls(struct hold_fault *f, const char *place, json_t *message) {
    char inner[PLACE + 16];
    json_t *calls = json_object_get(message, "tool_calls"), *made = NULL;
    bool has = calls && !json_is_null(calls) && (!json_is_array(calls) || json_array_size(calls));
    bool older = hold_shape_has(message, "function_call");
    if (has && !json_is_array(calls))
        return hold_shape_bad(f, "wrong_type", "%s.tool_calls: is %s, expected a list", place,
                              hold_shape_kind(calls));
    snprintf(inner, sizeof(inner), "%s.%s", place, has ? "tool_calls" : "function_call");
    if ((has || older) && !hold_shape_is_role(message, "assistant"))
        return hold_shape_bad(f, "wrong_role", "%s: only the assistant calls tools", inner);
    if (has && older)
        return hold_shape_bad(f, "two_keys", "%s: has both tool_calls and function_call", place);
    int status = HOLD_OK;
    if (has || older)
        status =
            make_calls(f, inner, has ? calls : json_object_get(message, "function_call"), &made);
    if (status)
        return status;
    /* An empty list or null would be calls to templates that ask whether the key is there. */
    json_object_del(message, "tool_calls");
    json_object_del(message, "function_call");
    return made && json_object_set_new(message, "tool_calls", made) ? hold_shape_no_memory(f)
                                                                    : HOLD_OK;
}

int hold_shape_calls_text(struct hold_fault *f, const char *place, const char *text, json_t **out) {
    json_t *value = parse(text);
    if (!json_is_object(value) && !json_array_size(value)) {
        json_decref(value);
        return hold_shape_bad(f, "bad_arguments",
                              "%s: the text of a function_call is not a JSON object, or a list of "
                              "them",
                              place);
    }
    int status = make_calls(f, place, value, out);
    json_decref(value);
    return status;
}

/* ---- tools ---- */

/* A tool as templates expect it: OpenAI's {"type": "function", "function": {...}}; a bare function
 * is wrapped, other objects (a server's own tools) stay.  New reference. */
static int make_tool(struct hold_fault *f, const char *place, json_t *from, json_t **out) {
    char inner[2 * PLACE];
    if (!json_is_object(from))
        return hold_shape_bad(f, "wrong_type", "%s: is %s, expected an object", place,
                              hold_shape_kind(from));
    json_t *function = json_object_get(from, "function");
    bool bare = !hold_shape_has(from, "type") && !function;
    if (!bare && !json_is_object(function)) {
        *out = json_incref(from);
        return HOLD_OK;
    }
    snprintf(inner, sizeof(inner), "%s%s.name", place, bare ? "" : ".function");
    int status = hold_shape_text(f, inner, json_object_get(bare ? from : function, "name"));
    if (status)
        return status;
    *out = bare ? json_pack("{s:s, s:O}", "type", "function", "function", from) : json_incref(from);
    return *out ? HOLD_OK : hold_shape_no_memory(f);
}

/* `from`: a list of tools, or a text that holds one. */
static int make_tools(struct hold_fault *f, const char *name, json_t *from, json_t **out) {
    json_t *read = NULL, *list = NULL;
    if (json_is_string(from)) {
        if (is_blank(json_string_value(from)))
            return HOLD_OK;
        read = parse(json_string_value(from));
        if (!json_is_array(read)) {
            json_decref(read);
            return hold_shape_bad(f, "wrong_type", "%s: the text is not a JSON list", name);
        }
        from = read;
    } else if (!json_is_array(from)) {
        return hold_shape_bad(f, "wrong_type", "%s: is %s, expected a list of tools", name,
                              hold_shape_kind(from));
    }
    int status = HOLD_OK;
    if (json_array_size(from)) {
        list = json_array();
        status = list ? HOLD_OK : hold_shape_no_memory(f);
    }
    for (size_t i = 0; i < json_array_size(from) && !status; i++) {
        char place[PLACE];
        json_t *tool = NULL;
        snprintf(place, sizeof(place), "%s[%zu]", name, i);
        status = make_tool(f, place, json_array_get(from, i), &tool);
        if (!status && json_array_append_new(list, tool))
            status = hold_shape_no_memory(f);
    }
    json_decref(read);
    if (status)
        json_decref(list);
    else
        *out = list;
    return status;
}

int hold_shape_tools(struct hold_fault *f, const json_t *data, json_t **out) {
    const json_t *parallel = json_object_get(data, "parallel_tool_calls");
    bool tools = hold_shape_has(data, "tools"), functions = hold_shape_has(data, "functions");
    *out = NULL;
    if (tools && functions)
        return hold_shape_bad(f, "two_keys", "the row has both tools and functions");
    if (parallel && !json_is_null(parallel) && !json_is_boolean(parallel))
        return hold_shape_bad(f, "wrong_type", "parallel_tool_calls: is %s, expected true or false",
                              hold_shape_kind(parallel));
    if (!tools && !functions)
        return HOLD_OK;
    const char *name = tools ? "tools" : "functions";
    return make_tools(f, name, json_object_get(data, name), out);
}
