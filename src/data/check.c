/* check.c: findings about rows before any training: what would be trained, and what would not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "data/read.h"
#include "data/render.h"

enum { PLACE = 64 };

struct check {
    const struct hold_renderer *r;
    const struct hold_rows *rows;
    struct hold_issues *issues;
    struct hold_error *err;
    int64_t *earlier; /* per row: the first row with its id, or itself */
    bool told_pairs;
};

static int find(struct check *c, bool error, const char *rule, int64_t i, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static int find(struct check *c, bool error, const char *rule, int64_t i, const char *format, ...) {
    char text[HOLD_ERROR_TEXT];
    long line = c->rows->row[i].line;
    va_list args;
    va_start(args, format);
    hold_vformat(text, sizeof(text), format, args);
    va_end(args);
    return hold_issues_add(c->issues, error, rule, line, c->err, "%s:%ld: %s: %s",
                           hold_row_file(&c->rows->row[i]), line, error ? "error" : "warning",
                           text);
}

/* ---- duplicates ---- */

static int compare_ids(const void *pa, const void *pb, void *user) {
    const struct hold_row *row = user;
    int64_t a = *(const int64_t *)pa, b = *(const int64_t *)pb;
    int order = strcmp(row[a].id, row[b].id);
    return order ? order : (a > b) - (a < b);
}

/* Rows whose text has no letter or digit share one id without being equal: they are left out. */
static int find_earlier(struct check *c) {
    char none[HOLD_HASH_HEX];
    const struct hold_row *row = c->rows->row;
    int64_t n = c->rows->n, *order = NULL;
    int status =
        hold_new((void **)&c->earlier, (size_t)n, sizeof(*order), "a list of duplicates", c->err);
    if (!status)
        status =
            hold_new((void **)&order, (size_t)n, sizeof(*order), "a list of duplicates", c->err);
    if (status)
        return status;
    hold_hash_bytes("", 0, none);
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, (size_t)n, sizeof(*order), compare_ids, c->rows->row);
    for (int64_t k = 0; k < n; k++) {
        int64_t i = order[k];
        bool same = k && !strcmp(row[i].id, row[order[k - 1]].id) &&
                    strncmp(row[i].id, none, sizeof(row[i].id) - 1) != 0;
        c->earlier[i] = same ? c->earlier[order[k - 1]] : i;
    }
    hold_free(order);
    return HOLD_OK;
}

/* ---- one row ---- */

/* The user's name of a message of a row: its path in the row's own keys. */
static void name_message(char out[PLACE], const struct hold_row *row, size_t index) {
    bool last = index + 1 == json_array_size(row->messages);
    bool before = index + 2 == json_array_size(row->messages);
    /* A ShareGPT row's "system" stands beside its turns. */
    size_t beside = json_array_size(row->messages) -
                    json_array_size(json_object_get(row->data, "conversations"));
    if (row->side != HOLD_SIDE_ONLY)
        snprintf(out, PLACE, "%s",
                 row->format != HOLD_ROW_JUDGED && index < (size_t)row->shared ? "prompt"
                 : row->side == HOLD_SIDE_CHOSEN                               ? "chosen"
                                                                               : "rejected");
    else if (row->format == HOLD_ROW_ALPACA && (last || before))
        snprintf(out, PLACE, "%s", last ? "output" : "instruction");
    else if (row->format == HOLD_ROW_PROMPT_COMPLETION && (last || before))
        snprintf(out, PLACE, "%s", last ? "completion" : "prompt");
    else if (row->format == HOLD_ROW_PROMPT)
        snprintf(out, PLACE, "prompt");
    else if (row->format == HOLD_ROW_SHAREGPT && index < beside)
        snprintf(out, PLACE, "system");
    else if (row->format == HOLD_ROW_SHAREGPT)
        snprintf(out, PLACE, "conversations[%zu].value", index - beside);
    else
        snprintf(out, PLACE, "messages[%zu].content", index);
}

static bool is_blank(const char *text) {
    return text[strspn(text, " \t\r\n")] == '\0';
}

static bool has_answer(const struct hold_row *row) {
    for (size_t i = 0; i < json_array_size(row->messages); i++) {
        const json_t *message = json_array_get(row->messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        const char *content = json_string_value(json_object_get(message, "content"));
        if (role && !strcmp(role, "assistant") &&
            ((content && !is_blank(content)) ||
             json_array_size(json_object_get(message, "tool_calls"))))
            return true;
    }
    return false;
}

/* Is there the text of a special token in any string of the value?  jansson read it, so its nesting
 * is bounded. */
static bool has_special(const struct hold_tokenizer *t, const json_t *value) {
    const char *key, *text = json_string_value(value);
    json_t *item;
    size_t i;
    if (text)
        return hold_tokenizer_has_special_text(t, text, strlen(text));
    json_object_foreach((json_t *)(uintptr_t)value, key, item) {
        if (hold_tokenizer_has_special_text(t, key, strlen(key)) || has_special(t, item))
            return true;
    }
    json_array_foreach(value, i, item) {
        if (has_special(t, item))
            return true;
    }
    return false;
}

static int tell_special(struct check *c, int64_t i, const char *place) {
    return find(c, false, "special_token_text", i,
                "%s: holds the text of a special token, which is taken as plain text", place);
}

static int check_special(struct check *c, int64_t i, const struct hold_row *row) {
    const struct hold_tokenizer *t = c->r->tokenizer;
    size_t n = json_array_size(row->messages);
    int status = HOLD_OK;
    if (row->text && hold_tokenizer_has_special_text(t, row->text, strlen(row->text)))
        status = tell_special(c, i, "text");
    if (!status && row->tools && has_special(t, row->tools))
        status = tell_special(c, i, "tools");
    /* What both sides of a pair begin with is looked at once. */
    size_t first = row->side == HOLD_SIDE_REJECTED ? (size_t)row->shared : 0;
    for (size_t k = first; k < n && !status; k++) {
        char place[PLACE];
        const json_t *message = json_array_get(row->messages, k);
        const json_t *calls = json_object_get(message, "tool_calls");
        name_message(place, row, k);
        if (has_special(t, json_object_get(message, "content")))
            status = tell_special(c, i, place);
        if (!status && calls && has_special(t, calls)) {
            snprintf(place, sizeof(place), "messages[%zu].tool_calls", k);
            status = tell_special(c, i, place);
        }
    }
    return status;
}

/* Token t is the last trained one of its message. */
static int check_end(struct check *c, int64_t i, const struct hold_row *row,
                     const struct hold_row_tokens *tokens, size_t t) {
    /* A system message of the job stands before the row's own. */
    size_t added = json_array_size(tokens->messages) - json_array_size(row->messages);
    char place[PLACE];
    if (hold_tokenizer_is_control(c->r->tokenizer, tokens->ids.data[t]))
        return HOLD_OK;
    name_message(place, row, (size_t)tokens->said.data[t] - added);
    return find(c, false, "missing_end_of_turn", i,
                "%s: no end-of-turn token is trained after the answer", place);
}

/* Every trained answer should end in a control token, or the model never learns to stop. */
static int check_ends(struct check *c, int64_t i, const struct hold_row *row,
                      const struct hold_row_tokens *tokens) {
    size_t last = 0; /* the last trained token before t; 0: none */
    int status = HOLD_OK;
    if (!tokens->messages)
        return HOLD_OK;
    for (size_t t = 1; t < tokens->ids.len && !status; t++) {
        if (!(hold_row_token_weight(tokens, t) > 0))
            continue;
        if (last && tokens->said.data[last] != tokens->said.data[t])
            status = check_end(c, i, row, tokens, last);
        last = t;
    }
    return last && !status ? check_end(c, i, row, tokens, last) : status;
}

static int check_cut(struct check *c, int64_t i, const struct hold_row_tokens *tokens) {
    size_t kept = 0, lost = 0;
    int32_t limit = c->r->max_length;
    for (size_t t = 0; t < tokens->ids.len; t++)
        if (hold_row_token_weight(tokens, t) > 0)
            *(limit > 0 && t >= (size_t)limit ? &lost : &kept) += 1;
    if (!kept && !lost)
        return find(c, true, "no_trained_token", i, "the row has no trained token");
    if (!kept)
        return find(c, true, "no_trained_token", i,
                    "no trained token is left: the row has %zu tokens, and the first trained one "
                    "comes after max_length %d",
                    tokens->ids.len, (int)limit);
    if (lost)
        return find(c, false, "truncated_answer", i,
                    "the answer is cut: %zu of %zu trained tokens come after max_length %d", lost,
                    kept + lost, (int)limit);
    return HOLD_OK;
}

static int check_tokens(struct check *c, int64_t i, const struct hold_row *row) {
    struct hold_row_tokens tokens = {0};
    struct hold_str where = HOLD_STR_INIT;
    int status = check_special(c, i, row);
    if (status)
        return status;
    hold_str_addf(&where, "%s:%ld", hold_row_file(row), row->line);
    status = hold_str_check(&where, c->err);
    if (!status)
        status = hold_render_row(c->r, row, hold_str_text(&where), &tokens, c->err);
    if (!status) {
        status = check_cut(c, i, &tokens);
        if (!status)
            status = check_ends(c, i, row, &tokens);
        if (!status && tokens.inexact_calls)
            status = find(c, false, "call_not_trained", i,
                          "what the chat template writes around a tool's call is not trained");
    } else if (status != HOLD_ENOMEMORY) {
        status =
            hold_issues_add(c->issues, true, "not_rendered", row->line, c->err, "%s", c->err->text);
    }
    hold_row_tokens_release(&tokens);
    hold_str_release(&where);
    return status;
}

static int check_side(struct check *c, int64_t i, const struct hold_row *row) {
    if (row->messages && !has_answer(row))
        return find(c, true, "no_assistant_text", i, "the row has no assistant text%s",
                    row->side == HOLD_SIDE_ONLY     ? ""
                    : row->side == HOLD_SIDE_CHOSEN ? " (chosen)"
                                                    : " (rejected)");
    return c->r ? check_tokens(c, i, row) : HOLD_OK;
}

static int check_pair(struct check *c, int64_t i) {
    const struct hold_row *row = &c->rows->row[i];
    int status = HOLD_OK;
    if (!c->told_pairs) {
        char text[HOLD_ERROR_TEXT];
        hold_row_pair_text(row, text);
        status = find(c, false, "preference_rows", i, "%s", text);
        c->told_pairs = true;
    }
    bool same = row->messages
                    ? json_equal(row->messages, row->rejected)
                    : row->text && row->rejected_text && !strcmp(row->text, row->rejected_text);
    if (!status && row->side == HOLD_SIDE_BOTH && same)
        status = find(c, false, "same_answers", i, "chosen and rejected are the same");
    return status;
}

static int check_row(struct check *c, int64_t i) {
    const struct hold_row *row = &c->rows->row[i];
    int status = HOLD_OK;
    if (c->earlier[i] != i) {
        const struct hold_row *first = &c->rows->row[c->earlier[i]];
        if (!strcmp(hold_row_file(first), hold_row_file(row)))
            status =
                find(c, false, "duplicates", i, "the row asks the same as line %ld", first->line);
        else
            status = find(c, false, "duplicates", i, "the row asks the same as %s:%ld",
                          hold_row_file(first), first->line);
    }
    if (!status && row->side != HOLD_SIDE_ONLY)
        status = check_pair(c, i);
    struct hold_row one = hold_row_side(row, HOLD_SIDE_CHOSEN);
    if (!status)
        status = check_side(c, i, &one);
    one = hold_row_side(row, HOLD_SIDE_REJECTED);
    return !status && row->side == HOLD_SIDE_BOTH ? check_side(c, i, &one) : status;
}

int hold_check_rows(const struct hold_renderer *r, const struct hold_rows *rows,
                    struct hold_issues *issues, struct hold_error *err) {
    struct check c = {r, rows, issues, err, NULL, false};
    if (!rows->n)
        return issues->n_errors
                   ? HOLD_OK
                   : hold_rows_fault(rows, issues, "empty_file", 1, 0, "the file has no rows", err);
    int status = find_earlier(&c);
    for (int64_t i = 0; i < rows->n && !status; i++)
        status = check_row(&c, i);
    hold_free(c.earlier);
    return status;
}
