/* preference.c: rows that hold a better and a worse answer, in the layouts that are in use; one
 * side of them as an ordinary row.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "data/read.h"
#include "data/shape.h"

enum { PLACE = HOLD_SHAPE_PLACE };

/* The keys of the two answers, and of what stands before them. */
static const char *const SIDES[][2] = {{"chosen", "rejected"},
                                       {"chosen_response", "rejected_response"},
                                       {"preferred_output", "non_preferred_output"},
                                       {"preferred_completion", "non_preferred_completion"}};
enum { N_SIDES = sizeof(SIDES) / sizeof(SIDES[0]), FIRST_OF_OPENAI = 2 };
static const char *const ASKED[] = {"prompt", "question", "instruction"};
enum { N_ASKED = sizeof(ASKED) / sizeof(ASKED[0]) };
/* All keys that become messages, which the row of one side has no more. */
static const char *const USED[] = {"conversations", "prompt", "question", "instruction",
                                   "input",         "system", "messages", "completion",
                                   "text",          "tools",  "functions"};
enum { N_USED = sizeof(USED) / sizeof(USED[0]) };

static int side_keys(const json_t *data) {
    for (int k = 0; k < N_SIDES; k++)
        if (hold_shape_has(data, SIDES[k][0]) && hold_shape_has(data, SIDES[k][1]))
            return k;
    return -1;
}

static const char *asked_key(const json_t *data) {
    for (size_t i = 0; i < N_ASKED; i++)
        if (hold_shape_has(data, ASKED[i]))
            return ASKED[i];
    return NULL;
}

/* ---- transcripts of Anthropic's HH-RLHF: "\n\nHuman: ... \n\nAssistant: ..." ---- */

static const char *const SPEAKERS[] = {"Human:", "Assistant:"};
static const char *const SPEAKER_ROLES[] = {"user", "assistant"};

static const char *past_space(const char *p) {
    while (*p != '\0' && strchr(" \t\r\n", *p))
        p++;
    return p;
}

static bool is_transcript(const json_t *value) {
    return json_is_string(value) && hold_starts(past_space(json_string_value(value)), SPEAKERS[0]);
}

/* Where the empty line before the next turn begins; NULL: the text ends first. */
static const char *next_turn(const char *p) {
    for (; *p != '\0'; p++)
        if (p[0] == '\n' && p[1] == '\n' &&
            (hold_starts(p + 2, SPEAKERS[0]) || hold_starts(p + 2, SPEAKERS[1])))
            return p;
    return NULL;
}

/* The turns of a transcript; a last one of the assistant that is empty is its turn to answer. */
static int add_transcript(struct hold_fault *f, const char *text, json_t *list) {
    const char *word = past_space(text), *next;
    int status = HOLD_OK;
    for (; word && !status; word = next ? next + 2 : NULL) {
        int who = hold_starts(word, SPEAKERS[0]) ? 0 : 1;
        const char *from = past_space(word + strlen(SPEAKERS[who]));
        next = next_turn(word);
        const char *end = next ? next : from + strlen(from);
        while (end > from && strchr(" \t\r\n", end[-1]))
            end--;
        if (end < from)
            end = from;
        if (!next && who && end == from)
            break;
        json_t *message = json_pack("{s:s, s:s%}", "role", SPEAKER_ROLES[who], "content", from,
                                    (size_t)(end - from));
        if (!message || json_array_append_new(list, message))
            status = hold_shape_no_memory(f);
    }
    return status;
}

/* ---- layouts ---- */

/* {"messages": [...], "chosen": ..., "rejected": ...}: what was said before both answers, unless
 * these are whole conversations and the messages another copy of one. */
static bool messages_ask(const json_t *data) {
    int k = side_keys(data);
    if (k < 0 || asked_key(data) || hold_shape_has(data, "conversations") ||
        !hold_shape_has(data, "messages"))
        return false;
    const json_t *chosen = json_object_get(data, SIDES[k][0]), *first = json_array_get(chosen, 0);
    return !json_is_array(chosen) || hold_shape_is_role(first, "assistant") ||
           hold_shape_is_role(first, "tool");
}

enum hold_row_format hold_shape_preference(const json_t *data) {
    int k = side_keys(data);
    if (k >= FIRST_OF_OPENAI)
        return json_is_object(json_object_get(data, "input")) ? HOLD_ROW_PAIR_OPENAI
                                                              : HOLD_ROW_FORMAT_COUNT;
    const char *asked = asked_key(data);
    if (k >= 0 && (is_transcript(json_object_get(data, SIDES[k][0])) ||
                   (asked && is_transcript(json_object_get(data, asked)))))
        return HOLD_ROW_PAIR_TRANSCRIPT;
    if (k >= 0)
        return asked || hold_shape_has(data, "conversations") || messages_ask(data)
                   ? HOLD_ROW_PAIR_PROMPT
                   : HOLD_ROW_PAIR_WHOLE;
    if (hold_shape_has(data, "prompt") && hold_shape_has(data, "completion") &&
        json_is_boolean(json_object_get(data, "label")))
        return HOLD_ROW_JUDGED;
    return HOLD_ROW_FORMAT_COUNT;
}

/* What stands before both answers; may be nothing. */
static int add_prompt(struct hold_fault *f, const json_t *data, json_t *list) {
    const char *asked = asked_key(data);
    int status = hold_shape_system(f, data, list);
    if (!status && hold_shape_has(data, "conversations"))
        return hold_shape_turns(f, "conversations", json_object_get(data, "conversations"), list);
    if (!status && messages_ask(data))
        return hold_shape_messages(f, "messages", json_object_get(data, "messages"), list);
    if (status || !asked)
        return status;
    const json_t *value = json_object_get(data, asked);
    if (json_is_array(value))
        return hold_shape_messages(f, asked, value, list);
    status = hold_shape_text(f, asked, value);
    if (status)
        return status;
    if (is_transcript(value))
        return add_transcript(f, json_string_value(value), list);
    struct hold_str user = HOLD_STR_INIT;
    hold_str_add(&user, json_string_value(value));
    const json_t *input = json_object_get(data, "input");
    if (!strcmp(asked, "instruction") && json_is_string(input) && json_string_length(input))
        hold_str_addf(&user, "%s%s", user.len ? "\n\n" : "", json_string_value(input));
    status = user.out_of_memory ? hold_shape_no_memory(f)
                                : hold_shape_said(f, list, "user", hold_str_text(&user));
    hold_str_release(&user);
    return status;
}

static bool begins_with(const json_t *list, const json_t *start) {
    size_t n = json_array_size(start);
    if (json_array_size(list) < n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!json_equal(json_array_get(list, i), json_array_get(start, i)))
            return false;
    return true;
}

/* The messages of an answer behind the prompt.  Some sets repeat the prompt in each answer. */
static int join(struct hold_fault *f, const char *key, const json_t *prompt, const json_t *said,
                json_t *list) {
    const json_t *first = json_array_get(said, 0);
    bool whole = !hold_shape_is_role(first, "assistant") && !hold_shape_is_role(first, "tool");
    size_t n = json_array_size(prompt), asks = 0;
    for (size_t i = 0; i < n; i++)
        asks += hold_shape_is_role(json_array_get(prompt, i), "user");
    /* Behind a system text alone an answer is a whole conversation, with or without that text. */
    bool repeated = whole && n && begins_with(said, prompt);
    bool system = n && hold_shape_is_role(json_array_get(prompt, 0), "system");
    json_t *rest = json_copy((json_t *)(uintptr_t)prompt);
    if (!rest || (system && json_array_remove(rest, 0))) {
        json_decref(rest);
        return hold_shape_no_memory(f);
    }
    bool but_system = system && whole && begins_with(said, rest);
    json_decref(rest);
    if (whole && asks && !repeated && !but_system)
        return hold_shape_bad(f, "other_prompt",
                              "%s: begins with another message than the prompt's", key);
    size_t keep = repeated ? 0 : but_system ? 1 : n;
    for (size_t i = 0; i < keep; i++)
        if (json_array_append(list, json_array_get(prompt, i)))
            return hold_shape_no_memory(f);
    return json_array_extend(list, (json_t *)(uintptr_t)said) ? hold_shape_no_memory(f) : HOLD_OK;
}

/* One answer: a text, a message, or a list of messages.  The text behind a transcript's last
 * "Assistant:" begins with the space that follows it. */
static int add_answer(struct hold_fault *f, const struct hold_row *row, const char *key,
                      const json_t *prompt, json_t *list) {
    json_t *value = json_object_get(row->data, key);
    json_t *said = json_array();
    int status = said ? HOLD_OK : hold_shape_no_memory(f);
    const json_t *first = json_is_array(value) ? json_array_get(value, 0) : value;
    bool turns = json_object_get(first, "from") && !json_object_get(first, "role");
    if (!status && json_is_object(value))
        status =
            turns ? hold_shape_turn(f, key, value, said) : hold_shape_message(f, key, value, said);
    else if (!status && json_is_array(value))
        status = turns ? hold_shape_turns(f, key, value, said)
                       : hold_shape_messages(f, key, value, said);
    else if (!status)
        status = hold_shape_text(f, key, value);
    if (!status && is_transcript(value))
        status = add_transcript(f, json_string_value(value), said);
    else if (!status && json_is_string(value))
        status = hold_shape_said(f, said, "assistant",
                                 row->format == HOLD_ROW_PAIR_TRANSCRIPT
                                     ? past_space(json_string_value(value))
                                     : json_string_value(value));
    if (!status)
        status = join(f, key, prompt, said, list);
    json_decref(said);
    return status;
}

/* Messages that both sides begin with; each keeps one of its own. */
static int32_t count_shared(const json_t *a, const json_t *b) {
    size_t n = json_array_size(a), m = json_array_size(b), i = 0;
    while (i + 1 < n && i + 1 < m && json_equal(json_array_get(a, i), json_array_get(b, i)))
        i++;
    return (int32_t)i;
}

/* Two plain texts without a prompt: rows of text, not of a chat. */
static int take_texts(struct hold_fault *f, struct hold_row *row, const char *const *keys) {
    for (int side = 0; side < 2; side++) {
        const json_t *value = json_object_get(row->data, keys[side]);
        int status = hold_shape_text(f, keys[side], value);
        if (status)
            return status;
        *(side ? &row->rejected_text : &row->text) = json_string_value(value);
    }
    return HOLD_OK;
}

static int take_judged(struct hold_fault *f, struct hold_row *row) {
    json_t *prompt = json_array();
    bool good = json_is_true(json_object_get(row->data, "label"));
    int status = prompt ? add_prompt(f, row->data, prompt) : hold_shape_no_memory(f);
    if (!status)
        status = add_answer(f, row, "completion", prompt, row->messages);
    json_decref(prompt);
    row->side = good ? HOLD_SIDE_CHOSEN : HOLD_SIDE_REJECTED;
    return status;
}

int hold_shape_pair(struct hold_fault *f, struct hold_row *row) {
    row->messages = json_array();
    if (!row->messages)
        return hold_shape_no_memory(f);
    if (row->format == HOLD_ROW_JUDGED)
        return take_judged(f, row);
    const char *const *keys = SIDES[side_keys(row->data)];
    row->side = HOLD_SIDE_BOTH;
    if (row->format == HOLD_ROW_PAIR_WHOLE && json_is_string(json_object_get(row->data, keys[0]))) {
        json_decref(row->messages);
        row->messages = NULL;
        return take_texts(f, row, keys);
    }
    json_t *prompt = json_array();
    row->rejected = json_array();
    int status = prompt && row->rejected ? HOLD_OK : hold_shape_no_memory(f);
    const json_t *input = json_object_get(row->data, "input");
    if (!status && row->format == HOLD_ROW_PAIR_OPENAI)
        status =
            hold_shape_messages(f, "input.messages", json_object_get(input, "messages"), prompt);
    else if (!status)
        status = add_prompt(f, row->data, prompt);
    if (!status)
        status = add_answer(f, row, keys[0], prompt, row->messages);
    if (!status)
        status = add_answer(f, row, keys[1], prompt, row->rejected);
    json_decref(prompt);
    row->shared = count_shared(row->messages, row->rejected);
    return status;
}

/* ---- one side ---- */

struct hold_row hold_row_side(const struct hold_row *row, enum hold_side side) {
    struct hold_row out = *row;
    if (row->side != HOLD_SIDE_BOTH)
        return out;
    if (side == HOLD_SIDE_REJECTED) {
        out.messages = row->rejected;
        out.text = row->rejected_text;
    }
    out.side = side;
    out.rejected = NULL;
    out.rejected_text = NULL;
    return out;
}

/* The row of one side as a user would write it; other keys stay.  New reference. */
static json_t *side_data(const struct hold_row *row) {
    json_t *out = json_object(), *value;
    const char *key;
    int bad = !out;
    if (row->messages)
        bad = bad || json_object_set(out, "messages", row->messages);
    else
        bad = bad || json_object_set_new(out, "text", json_string(row->text));
    if (row->tools)
        bad = bad || json_object_set(out, "tools", row->tools);
    json_object_foreach(row->data, key, value) {
        bool used = false;
        for (size_t i = 0; i < N_USED; i++)
            used = used || !strcmp(key, USED[i]);
        for (size_t i = 0; i < N_SIDES; i++)
            used = used || !strcmp(key, SIDES[i][0]) || !strcmp(key, SIDES[i][1]);
        if (!used)
            bad = bad || json_object_set(out, key, value);
    }
    if (!bad)
        return out;
    json_decref(out);
    return NULL;
}

void hold_row_pair_text(const struct hold_row *row, char out[HOLD_ERROR_TEXT]) {
    snprintf(out, HOLD_ERROR_TEXT,
             "a row of preferences (%s), of which one answer is taken: --preference chosen or "
             "rejected (`preference` of a set in a recipe)",
             hold_row_format_about(row->format));
}

int hold_rows_take_side(struct hold_rows *rows, enum hold_side side, int64_t *left_out,
                        struct hold_issues *issues, struct hold_error *err) {
    struct hold_rows out = {0};
    int64_t n = 0, first = 0;
    *left_out = 0;
    while (first < rows->n && rows->row[first].side == HOLD_SIDE_ONLY)
        first++;
    if (first == rows->n)
        return HOLD_OK;
    if (side != HOLD_SIDE_CHOSEN && side != HOLD_SIDE_REJECTED) {
        char text[HOLD_ERROR_TEXT];
        hold_row_pair_text(&rows->row[first], text);
        return hold_row_fault(&rows->row[first], issues, "preference_row", text, err);
    }
    out.path = hold_strdup(rows->path ? rows->path : "rows");
    int status = out.path ? HOLD_OK : hold_fail(err, HOLD_ENOMEMORY, "not enough memory for rows");
    for (int64_t i = 0; i < rows->n && !status; i++) {
        struct hold_row one = hold_row_side(&rows->row[i], side);
        if (one.side != HOLD_SIDE_ONLY && one.side != side) {
            n++;
            continue;
        }
        if (one.side == HOLD_SIDE_ONLY) {
            status = hold_rows_share(&out, &one, err);
            continue;
        }
        json_t *data = side_data(&one);
        status = data ? hold_rows_add_at(&out, data, &one, issues, err)
                      : hold_fail(err, HOLD_ENOMEMORY, "not enough memory for rows");
        json_decref(data);
    }
    if (!status && !out.n && !(issues && issues->n_errors))
        status = hold_rows_fault(rows, issues, "empty_file", 1, 0,
                                 "no row has the side that is asked for", err);
    if (status) {
        hold_rows_release(&out);
        return status;
    }
    hold_rows_release(rows);
    *rows = out;
    *left_out = n;
    return HOLD_OK;
}
