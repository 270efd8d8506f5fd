/* rows.c: the shapes of rows: which keys make which format, and rows as lists of messages. */
#include "data/rows.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "data/read.h"

enum { SHOWN = 64, PLACE = 96 };

static const char *const ROLES[] = {"system", "user", "assistant", "tool"};
static const char *const KEYS[] = {"messages", "conversations", "instruction", "input", "output",
                                   "prompt",   "completion",    "text",        "role",  "content"};
enum { N_ROLES = sizeof(ROLES) / sizeof(ROLES[0]), N_KEYS = sizeof(KEYS) / sizeof(KEYS[0]) };

/* ---- what is wrong with a row ---- */

/* The rule is a constant word; the text goes to err without its place in the file. */
struct fault {
    const char *rule;
    struct hold_error *err;
};

static int bad(struct fault *f, const char *rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int bad(struct fault *f, const char *rule, const char *format, ...) {
    char text[HOLD_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    hold_vformat(text, sizeof(text), format, args);
    va_end(args);
    f->rule = rule;
    return hold_fail(f->err, HOLD_EDATA, "%s", text);
}

static int no_memory(struct fault *f) {
    return hold_fail(f->err, HOLD_ENOMEMORY, "not enough memory for a row");
}

static const char *kind(const json_t *value) {
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

/* ": did you mean" for a word of the file; "" when nothing is near. */
static const char *hint(char out[PLACE], const char *word, const char *const *names, size_t n) {
    const char *near = hold_nearest(word, names, n);
    out[0] = '\0';
    if (near)
        snprintf(out, PLACE, " (did you mean \"%s\"?)", near);
    return out;
}

static bool has(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value);
}

static int need_text(struct fault *f, const char *place, const json_t *value) {
    if (!value)
        return bad(f, "missing_key", "%s: missing", place);
    if (!json_is_string(value))
        return bad(f, "wrong_type", "%s: is %s, expected text", place, kind(value));
    if (strlen(json_string_value(value)) != json_string_length(value))
        return bad(f, "nul_character", "%s: contains a NUL character", place);
    return HOLD_OK;
}

/* ---- messages ---- */

/* [{"type": "text", "text": "..."}, ...] joined into one new string. */
static int join_parts(struct fault *f, const char *place, const json_t *parts, json_t **out) {
    struct hold_str joined = HOLD_STR_INIT;
    size_t i, n = json_array_size(parts);
    int status = HOLD_OK;
    for (i = 0; i < n && !status; i++) {
        char inner[2 * PLACE];
        const json_t *part = json_array_get(parts, i);
        snprintf(inner, sizeof(inner), "%s[%zu]", place, i);
        if (!json_is_object(part)) {
            status = bad(f, "wrong_type", "%s: is %s, expected {\"type\": \"text\", \"text\": ...}",
                         inner, kind(part));
            break;
        }
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type || strcmp(type, "text") != 0) {
            char shown[SHOWN];
            hold_visible(shown, sizeof(shown), type ? type : "");
            status = bad(f, "not_text", "%s.type: \"%s\" is not supported, expected \"text\"",
                         inner, shown);
            break;
        }
        snprintf(inner, sizeof(inner), "%s[%zu].text", place, i);
        status = need_text(f, inner, json_object_get(part, "text"));
        if (!status)
            hold_str_add(&joined, json_string_value(json_object_get(part, "text")));
    }
    if (!status) {
        *out = joined.out_of_memory ? NULL : json_stringn(hold_str_text(&joined), joined.len);
        status = *out ? HOLD_OK : no_memory(f);
    }
    hold_str_release(&joined);
    return status;
}

static int check_role(struct fault *f, const char *place, const json_t *message) {
    char inner[PLACE + 8], shown[SHOWN], meant[PLACE];
    const json_t *role = json_object_get(message, "role");
    snprintf(inner, sizeof(inner), "%s.role", place);
    if (!role && has(message, "from"))
        return bad(f, "missing_key", "%s: missing (found \"from\")", inner);
    int status = need_text(f, inner, role);
    if (status)
        return status;
    const char *word = json_string_value(role);
    for (size_t i = 0; i < N_ROLES; i++)
        if (!strcmp(word, ROLES[i]))
            return HOLD_OK;
    hold_visible(shown, sizeof(shown), word);
    return bad(f, "unknown_role", "%s: \"%s\" is not a role%s", inner, shown,
               hint(meant, word, ROLES, N_ROLES));
}

static int check_weight(struct fault *f, const char *place, const json_t *message) {
    const json_t *weight = json_object_get(message, "weight");
    if (!weight || json_is_null(weight))
        return HOLD_OK;
    if (!json_is_number(weight))
        return bad(f, "wrong_type", "%s.weight: is %s, expected a number", place, kind(weight));
    if (!(json_number_value(weight) >= 0) || !isfinite((float)json_number_value(weight)))
        return bad(f, "bad_weight", "%s.weight: is %g, expected a number >= 0", place,
                   json_number_value(weight));
    return HOLD_OK;
}

/* Append one checked message to `list`.  The user's own object is kept, with all its keys, unless
 * its content has to be joined. */
static int add_message(struct fault *f, const char *place, json_t *message, json_t *list) {
    if (!json_is_object(message))
        return bad(f, "wrong_type", "%s: is %s, expected an object with role and content", place,
                   kind(message));
    int status = check_role(f, place, message);
    if (!status)
        status = check_weight(f, place, message);
    if (status)
        return status;
    char inner[PLACE + 8];
    snprintf(inner, sizeof(inner), "%s.content", place);
    json_t *content = json_object_get(message, "content"), *joined = NULL;
    if (!json_is_array(content)) {
        status = need_text(f, inner, content);
        if (status)
            return status;
        return json_array_append(list, message) ? no_memory(f) : HOLD_OK;
    }
    status = join_parts(f, inner, content, &joined);
    if (status)
        return status;
    json_t *copy = json_copy(message);
    if (!copy) {
        json_decref(joined);
        return no_memory(f);
    }
    if (json_object_set_new(copy, "content", joined) || json_array_append(list, copy))
        status = no_memory(f);
    json_decref(copy);
    return status;
}

static int add_messages(struct fault *f, const char *name, const json_t *from, json_t *list) {
    size_t n = json_array_size(from);
    if (!json_is_array(from))
        return bad(f, "wrong_type", "%s: is %s, expected a list of messages", name, kind(from));
    if (!n)
        return bad(f, "no_messages", "%s: is an empty list", name);
    for (size_t i = 0; i < n; i++) {
        char place[PLACE];
        snprintf(place, sizeof(place), "%s[%zu]", name, i);
        int status = add_message(f, place, json_array_get(from, i), list);
        if (status)
            return status;
    }
    return HOLD_OK;
}

static int add_said(struct fault *f, json_t *list, const char *role, const char *text) {
    json_t *message = json_pack("{s:s, s:s}", "role", role, "content", text);
    return !message || json_array_append_new(list, message) ? no_memory(f) : HOLD_OK;
}

/* ---- formats ---- */

/* A key that may hold a text or, in newer sets, a list of messages; `role` is who says the text. */
static int add_side(struct fault *f, const json_t *data, const char *key, const char *role,
                    json_t *list) {
    const json_t *value = json_object_get(data, key);
    if (json_is_array(value))
        return add_messages(f, key, value, list);
    int status = need_text(f, key, value);
    return status ? status : add_said(f, list, role, json_string_value(value));
}

/* ShareGPT's speakers and the roles they are; NULL: a call of a tool, which has no text form that
 * every template agrees on. */
static const char *const SPEAKERS[] = {"human",  "user", "gpt",         "assistant",
                                       "system", "tool", "observation", "function_call"};
static const char *const SPEAKER_ROLES[] = {"user",   "user", "assistant", "assistant",
                                            "system", "tool", "tool",      NULL};
enum { N_SPEAKERS = sizeof(SPEAKERS) / sizeof(SPEAKERS[0]) };

/* {"from": SPEAKER, "value": TEXT, "weight"?: W} as a message with role and content. */
static int add_turn(struct fault *f, const char *place, const json_t *turn, json_t *list) {
    char inner[PLACE + 8], shown[SHOWN], meant[PLACE];
    size_t k = 0;
    if (!json_is_object(turn))
        return bad(f, "wrong_type", "%s: is %s, expected an object with from and value", place,
                   kind(turn));
    snprintf(inner, sizeof(inner), "%s.from", place);
    int status = need_text(f, inner, json_object_get(turn, "from"));
    if (status)
        return status;
    const char *from = json_string_value(json_object_get(turn, "from"));
    while (k < N_SPEAKERS && strcmp(SPEAKERS[k], from) != 0)
        k++;
    if (k == N_SPEAKERS) {
        hold_visible(shown, sizeof(shown), from);
        return bad(f, "unknown_role", "%s: \"%s\" is not a speaker%s", inner, shown,
                   hint(meant, from, SPEAKERS, N_SPEAKERS));
    }
    if (!SPEAKER_ROLES[k])
        return bad(f, "not_text", "%s: \"%s\" is a call of a tool, which is not supported", inner,
                   from);
    snprintf(inner, sizeof(inner), "%s.value", place);
    status = need_text(f, inner, json_object_get(turn, "value"));
    if (!status)
        status = check_weight(f, place, turn);
    if (!status)
        status =
            add_said(f, list, SPEAKER_ROLES[k], json_string_value(json_object_get(turn, "value")));
    json_t *weight = json_object_get(turn, "weight");
    if (!status && has(turn, "weight") &&
        json_object_set(json_array_get(list, json_array_size(list) - 1), "weight", weight))
        status = no_memory(f);
    return status;
}

/* "conversations": [{"from", "value"}, ...], and "system" where a row has it beside them. */
static int add_conversation(struct fault *f, const json_t *data, json_t *list) {
    const json_t *turns = json_object_get(data, "conversations");
    if (!json_is_array(turns))
        return bad(f, "wrong_type", "conversations: is %s, expected a list", kind(turns));
    if (!json_array_size(turns))
        return bad(f, "no_messages", "conversations: is an empty list");
    int status = HOLD_OK;
    if (has(data, "system")) {
        const json_t *system = json_object_get(data, "system");
        status = need_text(f, "system", system);
        if (!status && json_string_length(system))
            status = add_said(f, list, "system", json_string_value(system));
    }
    for (size_t i = 0; i < json_array_size(turns) && !status; i++) {
        char place[PLACE];
        snprintf(place, sizeof(place), "conversations[%zu]", i);
        status = add_turn(f, place, json_array_get(turns, i), list);
    }
    return status;
}

/* "history": [["question", "answer"], ...], what was said before an Alpaca row. */
static int add_history(struct fault *f, const json_t *history, json_t *list) {
    if (!json_is_array(history))
        return bad(f, "wrong_type", "history: is %s, expected a list of pairs", kind(history));
    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *pair = json_array_get(history, i);
        char place[PLACE];
        snprintf(place, sizeof(place), "history[%zu]", i);
        if (json_array_size(pair) != 2)
            return bad(f, "wrong_type", "%s: expected a list of two texts", place);
        for (size_t side = 0; side < 2; side++) {
            snprintf(place, sizeof(place), "history[%zu][%zu]", i, side);
            const json_t *text = json_array_get(pair, side);
            int status = need_text(f, place, text);
            if (!status)
                status = add_said(f, list, side ? "assistant" : "user", json_string_value(text));
            if (status)
                return status;
        }
    }
    return HOLD_OK;
}

/* instruction, input (may be missing), output, and system and history where a row has them. */
static int add_alpaca(struct fault *f, const json_t *data, json_t *list) {
    struct hold_str user = HOLD_STR_INIT;
    const json_t *instruction = json_object_get(data, "instruction");
    const json_t *input = json_object_get(data, "input");
    const json_t *output = json_object_get(data, "output");
    int status = need_text(f, "instruction", instruction);
    if (!status && has(data, "input"))
        status = need_text(f, "input", input);
    if (!status)
        status = need_text(f, "output", output);
    if (!status && has(data, "system")) {
        const json_t *system = json_object_get(data, "system");
        status = need_text(f, "system", system);
        if (!status && json_string_length(system))
            status = add_said(f, list, "system", json_string_value(system));
    }
    if (!status && has(data, "history"))
        status = add_history(f, json_object_get(data, "history"), list);
    if (status)
        return status;
    hold_str_add(&user, json_string_value(instruction));
    if (has(data, "input") && json_string_length(input)) {
        if (user.len)
            hold_str_add(&user, "\n\n");
        hold_str_add(&user, json_string_value(input));
    }
    status = user.out_of_memory ? no_memory(f) : add_said(f, list, "user", hold_str_text(&user));
    hold_str_release(&user);
    return status ? status : add_said(f, list, "assistant", json_string_value(output));
}

static int unknown_format(struct fault *f, json_t *data) {
    struct hold_str found = HOLD_STR_INIT;
    char meant[PLACE] = "", shown[SHOWN];
    const char *key;
    json_t *value;
    size_t n = 0;
    json_object_foreach(data, key, value) {
        if (n++ >= 8)
            break;
        hold_visible(shown, sizeof(shown), key);
        hold_str_addf(&found, "%s\"%s\"", found.len ? ", " : "", shown);
        if (!meant[0])
            hint(meant, key, KEYS, N_KEYS);
    }
    int status;
    if (has(data, "instruction"))
        status = bad(f, "missing_key", "output: missing (a row with instruction needs output)");
    else if (has(data, "completion"))
        status = bad(f, "missing_key", "prompt: missing (a row with completion needs prompt)");
    else
        status = bad(f, "unknown_format",
                     "found %s%s, expected messages, or conversations, or instruction and output, "
                     "or prompt and "
                     "completion, or text, or prompt%s",
                     found.len ? "the keys " : "no keys", hold_str_text(&found), meant);
    hold_str_release(&found);
    return status;
}

/* The first format, in this order, whose keys are all there; null counts as not there. */
static bool detect(const json_t *data, enum hold_row_format *out) {
    if (has(data, "messages"))
        *out = HOLD_ROW_MESSAGES;
    else if (has(data, "conversations"))
        *out = HOLD_ROW_SHAREGPT;
    else if (has(data, "instruction") && has(data, "output"))
        *out = HOLD_ROW_ALPACA;
    else if (has(data, "prompt") && has(data, "completion"))
        *out = HOLD_ROW_PROMPT_COMPLETION;
    else if (has(data, "text"))
        *out = HOLD_ROW_TEXT;
    else if (has(data, "prompt"))
        *out = HOLD_ROW_PROMPT;
    else
        return false;
    return true;
}

static int fill_content(struct fault *f, struct hold_row *row) {
    const json_t *data = row->data;
    if (row->format == HOLD_ROW_TEXT) {
        row->text = json_string_value(json_object_get(data, "text"));
        return need_text(f, "text", json_object_get(data, "text"));
    }
    row->messages = json_array();
    if (!row->messages)
        return no_memory(f);
    if (row->format == HOLD_ROW_MESSAGES)
        return add_messages(f, "messages", json_object_get(data, "messages"), row->messages);
    if (row->format == HOLD_ROW_SHAREGPT)
        return add_conversation(f, data, row->messages);
    if (row->format == HOLD_ROW_ALPACA)
        return add_alpaca(f, data, row->messages);
    int status = add_side(f, data, "prompt", "user", row->messages);
    if (!status && row->format == HOLD_ROW_PROMPT_COMPLETION)
        status = add_side(f, data, "completion", "assistant", row->messages);
    return status;
}

static int fill_id(struct fault *f, struct hold_row *row) {
    struct hold_str plain = HOLD_STR_INIT;
    char hex[HOLD_HASH_HEX];
    /* In Alpaca rows the instruction is the question itself, not a task's heading. */
    const json_t *instruction =
        row->format == HOLD_ROW_ALPACA ? NULL : json_object_get(row->data, "instruction");
    int status =
        hold_row_normalise(hold_row_user_text(row), json_string_value(instruction), &plain, f->err);
    if (!status) {
        hold_hash_bytes(hold_str_text(&plain), plain.len, hex);
        memcpy(row->id, hex, sizeof(row->id) - 1);
        row->id[sizeof(row->id) - 1] = '\0';
    }
    hold_str_release(&plain);
    return status;
}

/* ---- interface ---- */

static void release_row(struct hold_row *row) {
    json_decref(row->messages);
    json_decref(row->data);
    *row = (struct hold_row){0};
}

static int make_row(struct fault *f, json_t *data, long line, struct hold_row *row) {
    *row = (struct hold_row){.data = json_incref(data), .line = line};
    int status;
    if (!json_is_object(data))
        status = bad(f, "not_an_object", "the row is %s, expected an object", kind(data));
    else if (!detect(data, &row->format))
        status = unknown_format(f, data);
    else
        status = fill_content(f, row);
    if (!status)
        status = fill_id(f, row);
    if (status)
        release_row(row);
    return status;
}

static int make_room(struct hold_rows *rows, struct hold_error *err) {
    size_t bytes;
    if (rows->n < rows->cap)
        return HOLD_OK;
    int64_t cap = rows->cap ? 2 * rows->cap : 64;
    struct hold_row *grown = NULL;
    if (hold_mul_size((size_t)cap, sizeof(*grown), &bytes))
        grown = hold_realloc(rows->row, bytes);
    if (!grown)
        return hold_fail(err, HOLD_ENOMEMORY, "not enough memory for %lld rows", (long long)cap);
    rows->row = grown;
    rows->cap = cap;
    return HOLD_OK;
}

int hold_rows_add(struct hold_rows *rows, json_t *data, long line, struct hold_issues *issues,
                  struct hold_error *err) {
    struct fault f = {"", err};
    struct hold_row row;
    int status = make_row(&f, data, line, &row);
    if (status == HOLD_EDATA) {
        char text[HOLD_ERROR_TEXT];
        memcpy(text, err->text, sizeof(text));
        return hold_rows_fault(rows, issues, f.rule, line, 0, text, err);
    }
    if (status)
        return status;
    status = make_room(rows, err);
    if (status)
        release_row(&row);
    else
        rows->row[rows->n++] = row;
    return status;
}

void hold_rows_release(struct hold_rows *rows) {
    for (int64_t i = 0; i < rows->n; i++)
        release_row(&rows->row[i]);
    hold_free(rows->row);
    hold_free(rows->path);
    *rows = (struct hold_rows){0};
}

int hold_rows_write(const struct hold_rows *rows, const char *path, struct hold_error *err) {
    struct hold_writer writer = {0};
    struct hold_str line = HOLD_STR_INIT;
    int status = hold_writer_open(&writer, path, err);
    for (int64_t i = 0; i < rows->n && !status; i++) {
        hold_str_clear(&line);
        status = hold_json_line(rows->row[i].data, &line, err);
        if (status)
            break;
        hold_str_add_char(&line, '\n');
        status = hold_str_check(&line, err);
        if (!status)
            status = hold_writer_put(&writer, line.data, line.len, err);
    }
    if (!status)
        status = hold_writer_commit(&writer, err);
    hold_writer_drop(&writer);
    hold_str_release(&line);
    return status;
}

const char *hold_row_user_text(const struct hold_row *row) {
    if (!row->messages)
        return row->text ? row->text : "";
    for (size_t i = json_array_size(row->messages); i-- > 0;) {
        const json_t *message = json_array_get(row->messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        const char *content = json_string_value(json_object_get(message, "content"));
        if (role && content && !strcmp(role, "user"))
            return content;
    }
    return "";
}
