/* rows.c: the shapes of rows: which keys make which format, and rows as lists of messages. */
#include "data/rows.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "data/read.h"
#include "data/shape.h"

enum { SHOWN = HOLD_SHAPE_SHOWN, PLACE = HOLD_SHAPE_PLACE };

static const char *const KEYS[] = {"messages", "conversations", "instruction", "input",
                                   "output",   "prompt",        "completion",  "text",
                                   "role",     "content",       "chosen",      "rejected"};
enum { N_KEYS = sizeof(KEYS) / sizeof(KEYS[0]) };

static const char *const FORMATS[][2] = {
    {"messages", "messages"},
    {"sharegpt", "conversations"},
    {"alpaca", "instruction, output"},
    {"prompt/completion", "prompt, completion"},
    {"text", "text"},
    {"prompt", "prompt"},
    {"pair/prompt", "prompt, chosen, rejected"},
    {"pair/whole", "chosen, rejected"},
    {"pair/transcript", "Human: and Assistant: in chosen, rejected"},
    {"pair/openai", "input, preferred and non-preferred output"},
    {"judged", "prompt, completion, a label that is true or false"}};
_Static_assert(sizeof(FORMATS) / sizeof(FORMATS[0]) == HOLD_ROW_FORMAT_COUNT, "a name for each");

/* ---- formats ---- */

/* A key that may hold a text or, in newer sets, a list of messages; `role` is who says the text. */
static int add_side(struct hold_fault *f, const json_t *data, const char *key, const char *role,
                    json_t *list) {
    const json_t *value = json_object_get(data, key);
    if (json_is_array(value))
        return hold_shape_messages(f, key, value, list);
    int status = hold_shape_text(f, key, value);
    return status ? status : hold_shape_said(f, list, role, json_string_value(value));
}

/* "conversations": [{"from", "value"}, ...], and "system" where a row has it beside them. */
static int add_conversation(struct hold_fault *f, const json_t *data, json_t *list) {
    int status = hold_shape_system(f, data, list);
    return status
               ? status
               : hold_shape_turns(f, "conversations", json_object_get(data, "conversations"), list);
}

/* "history": [["question", "answer"], ...], what was said before an Alpaca row. */
static int add_history(struct hold_fault *f, const json_t *history, json_t *list) {
    if (!json_is_array(history))
        return hold_shape_bad(f, "wrong_type", "history: is %s, expected a list of pairs",
                              hold_shape_kind(history));
    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *pair = json_array_get(history, i);
        char place[PLACE];
        snprintf(place, sizeof(place), "history[%zu]", i);
        if (json_array_size(pair) != 2)
            return hold_shape_bad(f, "wrong_type", "%s: expected a list of two texts", place);
        for (size_t side = 0; side < 2; side++) {
            snprintf(place, sizeof(place), "history[%zu][%zu]", i, side);
            const json_t *text = json_array_get(pair, side);
            int status = hold_shape_text(f, place, text);
            if (!status)
                status =
                    hold_shape_said(f, list, side ? "assistant" : "user", json_string_value(text));
            if (status)
                return status;
        }
    }
    return HOLD_OK;
}

/* instruction, input (may be missing), output, and system and history where a row has them. */
static int add_alpaca(struct hold_fault *f, const json_t *data, json_t *list) {
    struct hold_str user = HOLD_STR_INIT;
    const json_t *instruction = json_object_get(data, "instruction");
    const json_t *input = json_object_get(data, "input");
    const json_t *output = json_object_get(data, "output");
    int status = hold_shape_text(f, "instruction", instruction);
    if (!status && hold_shape_has(data, "input"))
        status = hold_shape_text(f, "input", input);
    if (!status)
        status = hold_shape_text(f, "output", output);
    if (!status)
        status = hold_shape_system(f, data, list);
    if (!status && hold_shape_has(data, "history"))
        status = add_history(f, json_object_get(data, "history"), list);
    if (status)
        return status;
    hold_str_add(&user, json_string_value(instruction));
    if (hold_shape_has(data, "input") && json_string_length(input)) {
        if (user.len)
            hold_str_add(&user, "\n\n");
        hold_str_add(&user, json_string_value(input));
    }
    status = user.out_of_memory ? hold_shape_no_memory(f)
                                : hold_shape_said(f, list, "user", hold_str_text(&user));
    hold_str_release(&user);
    return status ? status : hold_shape_said(f, list, "assistant", json_string_value(output));
}

static int unknown_format(struct hold_fault *f, json_t *data) {
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
            hold_shape_hint(meant, key, KEYS, N_KEYS);
    }
    int status;
    if (hold_shape_has(data, "instruction"))
        status = hold_shape_bad(f, "missing_key",
                                "output: missing (a row with instruction needs output)");
    else if (hold_shape_has(data, "completion"))
        status = hold_shape_bad(f, "missing_key",
                                "prompt: missing (a row with completion needs prompt)");
    else if (hold_shape_has(data, "chosen") || hold_shape_has(data, "rejected"))
        status = hold_shape_bad(f, "missing_key", "%s: missing (a row with %s needs it)",
                                hold_shape_has(data, "chosen") ? "rejected" : "chosen",
                                hold_shape_has(data, "chosen") ? "chosen" : "rejected");
    else
        status = hold_shape_bad(
            f, "unknown_format",
            "found %s%s, expected messages, or conversations, or instruction and output, or "
            "prompt and completion, or text, or prompt, or chosen and rejected%s",
            found.len ? "the keys " : "no keys", hold_str_text(&found), meant);
    hold_str_release(&found);
    return status;
}

/* UltraFeedback's layout and its like: a question and several answers with their scores. */
static int check_scored(struct hold_fault *f, const json_t *data) {
    const json_t *list = json_object_get(data, "completions");
    if (!json_is_array(list))
        return HOLD_OK;
    return hold_shape_bad(f, "scored_completions",
                          "completions: several scored answers are not read (found %zu): make a "
                          "row of prompt, chosen and rejected of two of them, or of prompt and "
                          "completion of the best",
                          json_array_size(list));
}

/* The first format, in this order, whose keys are all there; null counts as not there. */
static bool detect(const json_t *data, enum hold_row_format *out) {
    *out = hold_shape_preference(data);
    if (*out != HOLD_ROW_FORMAT_COUNT)
        return true;
    if (hold_shape_has(data, "messages"))
        *out = HOLD_ROW_MESSAGES;
    else if (hold_shape_has(data, "conversations"))
        *out = HOLD_ROW_SHAREGPT;
    else if (hold_shape_has(data, "instruction") && hold_shape_has(data, "output"))
        *out = HOLD_ROW_ALPACA;
    else if (hold_shape_has(data, "prompt") && hold_shape_has(data, "completion"))
        *out = HOLD_ROW_PROMPT_COMPLETION;
    else if (hold_shape_has(data, "text"))
        *out = HOLD_ROW_TEXT;
    else if (hold_shape_has(data, "prompt") && !hold_shape_has(data, "chosen") &&
             !hold_shape_has(data, "rejected"))
        *out = HOLD_ROW_PROMPT;
    else
        return false;
    return true;
}

static int fill_content(struct hold_fault *f, struct hold_row *row) {
    const json_t *data = row->data;
    if (row->format == HOLD_ROW_TEXT) {
        row->text = json_string_value(json_object_get(data, "text"));
        return hold_shape_text(f, "text", json_object_get(data, "text"));
    }
    if (row->format >= HOLD_ROW_PAIR_PROMPT)
        return hold_shape_pair(f, row);
    row->messages = json_array();
    if (!row->messages)
        return hold_shape_no_memory(f);
    if (row->format == HOLD_ROW_MESSAGES)
        return hold_shape_messages(f, "messages", json_object_get(data, "messages"), row->messages);
    if (row->format == HOLD_ROW_SHAREGPT)
        return add_conversation(f, data, row->messages);
    if (row->format == HOLD_ROW_ALPACA)
        return add_alpaca(f, data, row->messages);
    int status = add_side(f, data, "prompt", "user", row->messages);
    if (!status && row->format == HOLD_ROW_PROMPT_COMPLETION)
        status = add_side(f, data, "completion", "assistant", row->messages);
    return status;
}

static int fill_id(struct hold_fault *f, struct hold_row *row) {
    struct hold_str plain = HOLD_STR_INIT;
    char hex[HOLD_HASH_HEX];
    /* In Alpaca rows and pairs the instruction is the question itself, not a task's heading. */
    const json_t *instruction =
        row->format == HOLD_ROW_ALPACA || row->format >= HOLD_ROW_PAIR_PROMPT
            ? NULL
            : json_object_get(row->data, "instruction");
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

const char *hold_row_format_name(enum hold_row_format format) {
    return format < HOLD_ROW_FORMAT_COUNT ? FORMATS[format][0] : "?";
}

const char *hold_row_format_about(enum hold_row_format format) {
    return format < HOLD_ROW_FORMAT_COUNT ? FORMATS[format][1] : "?";
}

static void release_row(struct hold_row *row) {
    json_decref(row->messages);
    json_decref(row->rejected);
    json_decref(row->tools);
    json_decref(row->data);
    json_decref(row->file);
    *row = (struct hold_row){0};
}

static int make_row(struct hold_fault *f, json_t *data, long line, struct hold_row *row) {
    *row = (struct hold_row){.data = json_incref(data), .line = line};
    int status;
    if (!json_is_object(data))
        status = hold_shape_bad(f, "not_an_object", "the row is %s, expected an object",
                                hold_shape_kind(data));
    else if (!detect(data, &row->format))
        status = check_scored(f, data) ? HOLD_EDATA : unknown_format(f, data);
    else if (row->format == HOLD_ROW_PROMPT && check_scored(f, data))
        status = HOLD_EDATA;
    else
        status = fill_content(f, row);
    if (!status && row->messages)
        status = hold_shape_tools(
            f, row->format == HOLD_ROW_PAIR_OPENAI ? json_object_get(data, "input") : data,
            &row->tools);
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

/* Rows of one file share its name.  New reference; NULL: no memory. */
static json_t *file_of(const struct hold_rows *rows) {
    const char *path = rows->path ? rows->path : "rows";
    json_t *last = rows->n ? rows->row[rows->n - 1].file : NULL;
    return last && !strcmp(json_string_value(last), path) ? json_incref(last)
                                                          : json_string_nocheck(path);
}

const char *hold_row_file(const struct hold_row *row) {
    return row->file ? json_string_value(row->file) : "rows";
}

int hold_rows_share(struct hold_rows *rows, const struct hold_row *row, struct hold_error *err) {
    int status = make_room(rows, err);
    if (!status && !rows->path) {
        rows->path = hold_strdup(hold_row_file(row));
        status =
            rows->path ? HOLD_OK : hold_fail(err, HOLD_ENOMEMORY, "not enough memory for rows");
    }
    if (status)
        return status;
    struct hold_row *to = &rows->row[rows->n++];
    *to = *row;
    json_incref(to->messages);
    json_incref(to->rejected);
    json_incref(to->tools);
    json_incref(to->data);
    json_incref(to->file);
    return HOLD_OK;
}

int hold_rows_add_at(struct hold_rows *rows, json_t *data, const struct hold_row *place,
                     struct hold_issues *issues, struct hold_error *err) {
    struct hold_fault f = {"", err};
    struct hold_row row;
    int status = make_row(&f, data, place->line, &row);
    if (status == HOLD_EDATA) {
        char text[HOLD_ERROR_TEXT];
        memcpy(text, err->text, sizeof(text));
        return hold_row_fault(place, issues, f.rule, text, err);
    }
    if (status)
        return status;
    row.file = json_incref(place->file);
    status = make_room(rows, err);
    if (status)
        release_row(&row);
    else
        rows->row[rows->n++] = row;
    return status;
}

int hold_rows_add(struct hold_rows *rows, json_t *data, long line, struct hold_issues *issues,
                  struct hold_error *err) {
    struct hold_row place = {.line = line, .file = file_of(rows)};
    int status = place.file ? hold_rows_add_at(rows, data, &place, issues, err)
                            : hold_fail(err, HOLD_ENOMEMORY, "not enough memory for rows");
    json_decref(place.file);
    return status;
}

void hold_rows_cut(struct hold_rows *rows, int64_t n) {
    while (rows->n > n)
        release_row(&rows->row[--rows->n]);
}

void hold_rows_release(struct hold_rows *rows) {
    hold_rows_cut(rows, 0);
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
