/* render.c: rows to tokenised examples: the template's text, which tokens are trained, the cut. */
#include "data/render.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "data/read.h"

/* ---- messages as a job changes them ---- */

static int no_memory(struct hold_error *err) {
    return hold_fail(err, HOLD_ENOMEMORY, "not enough memory to render a row");
}

static bool is_role(const json_t *message, const char *role) {
    const char *word = json_string_value(json_object_get(message, "role"));
    return word && !strcmp(word, role);
}

static int put_system(const char *system, json_t *list, struct hold_error *err) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (is_role(json_array_get(list, i), "system") ||
            is_role(json_array_get(list, i), "developer"))
            return HOLD_OK;
    json_t *message = json_pack("{s:s, s:s}", "role", "system", "content", system);
    return !message || json_array_insert_new(list, 0, message) ? no_memory(err) : HOLD_OK;
}

/* Put the prefix before the last user text; the row's own message is left as it is. */
static int put_prefix(const char *prefix, json_t *list, struct hold_error *err) {
    size_t i = json_array_size(list);
    while (i > 0 && !is_role(json_array_get(list, i - 1), "user"))
        i--;
    if (!i)
        return HOLD_OK;
    const json_t *old = json_array_get(list, i - 1);
    const char *said = json_string_value(json_object_get(old, "content"));
    struct hold_str text = HOLD_STR_INIT;
    hold_str_add(&text, prefix);
    hold_str_add(&text, said ? said : "");
    json_t *message = text.out_of_memory ? NULL : json_copy((json_t *)(uintptr_t)old);
    json_t *content = message ? json_stringn(hold_str_text(&text), text.len) : NULL;
    hold_str_release(&text);
    if (!content || json_object_set_new(message, "content", content)) {
        json_decref(message);
        return no_memory(err);
    }
    return json_array_set_new(list, i - 1, message) ? no_memory(err) : HOLD_OK;
}

/* A developer's messages as the system's: OpenAI's newer name, which most templates do not know. */
static int rename_developers(json_t *list, struct hold_error *err) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *old = json_array_get(list, i);
        if (!is_role(old, "developer"))
            continue;
        json_t *message = json_copy((json_t *)(uintptr_t)old);
        if (!message || json_object_set_new(message, "role", json_string("system"))) {
            json_decref(message);
            return no_memory(err);
        }
        if (json_array_set_new(list, i, message))
            return no_memory(err);
    }
    return HOLD_OK;
}

/* The messages with the job's system text and prefix.  New reference. */
static int adapt_messages(const struct hold_renderer *r, const json_t *messages, json_t **out,
                          struct hold_error *err) {
    json_t *list = json_copy((json_t *)(uintptr_t)messages);
    int status = list ? HOLD_OK : no_memory(err);
    if (!status && r->chat && !strstr(hold_template_source(r->chat), "developer"))
        status = rename_developers(list, err);
    if (!status && r->system)
        status = put_system(r->system, list, err);
    if (!status && r->prefix && *r->prefix)
        status = put_prefix(r->prefix, list, err);
    if (status)
        json_decref(list);
    else
        *out = list;
    return status;
}

/* ---- tokens ---- */

static bool is_blank(const char *text) {
    return text[strspn(text, " \t\r\n")] == '\0';
}

/* Of what there are bytes in a rendering: tools; for each message bits HOLD_SAID_TEXT and
 * HOLD_SAID_CALL. */
struct traces {
    bool tools;
    unsigned char *said;
};

static int find_traces(const struct hold_rendered *text, size_t n, struct traces *out,
                       struct hold_error *err) {
    int status = hold_new((void **)&out->said, n + 1, 1, "messages", err);
    for (size_t at = 0; at < text->text.len && !status; at++) {
        int32_t i = text->message[at];
        out->tools = out->tools || i == HOLD_FROM_OTHER;
        if (i >= 0)
            out->said[i] |= text->said[at];
    }
    return status;
}

/* A template without a place for tools passes over them without a word: what the model would then
 * learn is to call tools that it was never shown. */
static int check_tools(const struct hold_rendered *text, const json_t *messages,
                       const json_t *tools, struct hold_error *err) {
    struct traces found = {0};
    size_t n = json_array_size(messages), i = 0;
    int status = find_traces(text, n, &found, err);
    if (!status && tools && !found.tools)
        status = hold_fail(err, HOLD_EDATA,
                           "the row has tools, and the model's chat template leaves them out");
    for (; i < n && !status; i++) {
        const json_t *message = json_array_get(messages, i);
        const char *content = json_string_value(json_object_get(message, "content"));
        bool calls = json_array_size(json_object_get(message, "tool_calls")) > 0;
        bool speaks = content && !is_blank(content);
        const char *lost = NULL;
        if (calls && !(found.said[i] & HOLD_SAID_CALL))
            lost = "calls a tool, and the model's chat template leaves the call out";
        else if (calls && speaks && !(found.said[i] & HOLD_SAID_TEXT))
            lost =
                "calls a tool, and the model's chat template leaves out what it says beside that";
        else if (is_role(message, "tool") && speaks && !found.said[i])
            lost = "is a tool's answer, and the model's chat template leaves it out";
        if (lost)
            status = hold_fail(err, HOLD_EDATA, "message %zu %s", i + 1, lost);
    }
    hold_free(found.said);
    return status;
}

static bool has_calls(const json_t *messages) {
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (json_array_size(json_object_get(json_array_get(messages, i), "tool_calls")))
            return true;
    return false;
}

/* Ids, and the message that says each as trained text (-1: none). */
static int tokenize_chat(const struct hold_renderer *r, const json_t *messages, const json_t *tools,
                         bool for_answer, struct hold_row_tokens *out, struct hold_error *err) {
    struct hold_rendered text = {0};
    struct hold_render_options options = {.add_generation_prompt = for_answer,
                                          .bos_token = r->bos_token,
                                          .eos_token = r->eos_token,
                                          .now = r->now};
    if (!r->chat)
        return hold_fail(err, HOLD_EDATA, "the row is a chat, and the model has no chat template");
    json_t *extra = tools ? json_pack("{s:O}", "tools", tools) : NULL;
    options.extra = extra;
    int status = tools && !extra ? no_memory(err)
                                 : hold_template_render(r->chat, messages, &options, &text, err);
    if (status == HOLD_EDATA && has_calls(messages) &&
        !strstr(hold_template_source(r->chat), "tool_calls"))
        status = hold_fail(err, HOLD_EDATA,
                           "the row calls a tool, and the model's chat template has no place for "
                           "calls");
    if (!status)
        status = check_tools(&text, messages, tools, err);
    if (!status && !for_answer)
        status =
            hold_template_own_calls(r->chat, messages, &options, &text, &out->inexact_calls, err);
    if (!status)
        status = hold_template_tokenize(r->tokenizer, &text, messages, &out->ids,
                                        for_answer ? NULL : &out->said, err);
    hold_rendered_release(&text);
    json_decref(extra);
    return status;
}

static int tokenize_text(const struct hold_renderer *r, const char *text, struct hold_ids *ids,
                         struct hold_error *err) {
    int32_t bos = hold_tokenizer_bos(r->tokenizer), eos = hold_tokenizer_eos(r->tokenizer);
    int status = r->add_bos && bos >= 0 ? hold_ids_push(ids, bos, err) : HOLD_OK;
    if (!status)
        status = hold_tokenizer_encode(r->tokenizer, text, strlen(text), false, ids, err);
    if (!status && r->add_eos && eos >= 0)
        status = hold_ids_push(ids, eos, err);
    return status;
}

static float message_weight(const json_t *messages, size_t index) {
    const json_t *weight = json_object_get(json_array_get(messages, index), "weight");
    return json_is_number(weight) ? (float)json_number_value(weight) : 1.0F;
}

static int fill_example(const struct hold_row_tokens *tokens, int32_t max_length,
                        struct hold_example *out, bool *cut, struct hold_error *err) {
    size_t n = tokens->ids.len;
    *cut = max_length > 0 && n > (size_t)max_length;
    if (*cut)
        n = (size_t)max_length;
    int status = hold_new((void **)&out->ids, n, sizeof(*out->ids), "the tokens of a row", err);
    if (!status)
        status = hold_new((void **)&out->target_weight, n, sizeof(*out->target_weight),
                          "the weights of a row", err);
    if (status)
        return status;
    if (n > 0) /* no tokens: the source is NULL */
        memcpy(out->ids, tokens->ids.data, n * sizeof(*out->ids));
    for (size_t t = 0; t < n; t++)
        out->target_weight[t] = hold_row_token_weight(tokens, t);
    out->n = (int32_t)n;
    return HOLD_OK;
}

int hold_render_row(const struct hold_renderer *r, const struct hold_row *row, const char *where,
                    struct hold_row_tokens *out, struct hold_error *err) {
    int status;
    *out = (struct hold_row_tokens){0};
    if (row->side == HOLD_SIDE_BOTH) {
        char text[HOLD_ERROR_TEXT];
        hold_row_pair_text(row, text);
        return hold_fail(err, HOLD_EDATA, "%s: error: %s", where, text);
    }
    if (row->messages) {
        status = adapt_messages(r, row->messages, &out->messages, err);
        if (!status)
            status = tokenize_chat(r, out->messages, row->tools, false, out, err);
    } else {
        status = tokenize_text(r, row->text ? row->text : "", &out->ids, err);
    }
    if (!status && !out->ids.len)
        status = hold_fail(err, HOLD_EDATA, "the row has no tokens");
    if (!status && out->ids.len > INT32_MAX)
        status = hold_fail(err, HOLD_EDATA, "the row has more than %d tokens", INT32_MAX);
    if (!status)
        return HOLD_OK;
    hold_row_tokens_release(out);
    return hold_fail(err, status, "%s: error: %s", where, err->text);
}

float hold_row_token_weight(const struct hold_row_tokens *tokens, size_t t) {
    if (!t)
        return 0.0F;
    if (!tokens->messages)
        return 1.0F;
    int32_t message = tokens->said.data[t];
    return message < 0 ? 0.0F : message_weight(tokens->messages, (size_t)message);
}

void hold_row_tokens_release(struct hold_row_tokens *tokens) {
    json_decref(tokens->messages);
    hold_ids_release(&tokens->ids);
    hold_ids_release(&tokens->said);
    *tokens = (struct hold_row_tokens){0};
}

int hold_render_example(const struct hold_renderer *r, const struct hold_row *row, int64_t index,
                        const char *where, struct hold_example *out, bool *cut,
                        struct hold_error *err) {
    struct hold_row_tokens tokens;
    *out = (struct hold_example){.weight = 1.0F, .row = index};
    *cut = false;
    int status = hold_render_row(r, row, where, &tokens, err);
    if (!status)
        status = fill_example(&tokens, r->max_length, out, cut, err);
    hold_row_tokens_release(&tokens);
    if (status)
        hold_example_release(out);
    return status;
}

void hold_example_release(struct hold_example *e) {
    hold_free(e->ids);
    hold_free(e->target_weight);
    *e = (struct hold_example){0};
}

int hold_render_prompt(const struct hold_renderer *r, const json_t *messages, const json_t *tools,
                       struct hold_ids *out, struct hold_error *err) {
    struct hold_row_tokens tokens = {.ids = *out}; /* appended to */
    json_t *list = NULL;
    int status = adapt_messages(r, messages, &list, err);
    size_t n = status ? 0 : json_array_size(list);
    if (n && is_role(json_array_get(list, n - 1), "assistant") && json_array_remove(list, n - 1))
        status = no_memory(err);
    if (!status)
        status = tokenize_chat(r, list, tools, true, &tokens, err);
    *out = tokens.ids;
    json_decref(list);
    return status;
}

/* ---- sets ---- */

static int64_t count_trained(const struct hold_example *e) {
    int64_t n = 0;
    for (int32_t t = 1; t < e->n; t++)
        n += e->target_weight[t] > 0;
    return n;
}

/* One row of a set.  What is wrong with it becomes an issue, or the error of the call. */
static int render_into(const struct hold_renderer *r, const struct hold_rows *rows, int64_t i,
                       struct hold_set *set, struct hold_issues *issues, struct hold_error *err) {
    struct hold_str where = HOLD_STR_INIT;
    struct hold_example *e = &set->example[i];
    bool cut = false;
    hold_str_addf(&where, "%s:%ld", hold_row_file(&rows->row[i]), rows->row[i].line);
    int status = hold_str_check(&where, err);
    if (!status)
        status = hold_render_example(r, &rows->row[i], i, hold_str_text(&where), e, &cut, err);
    if (status && status != HOLD_ENOMEMORY && issues)
        status =
            hold_issues_add(issues, true, "not_rendered", rows->row[i].line, err, "%s", err->text);
    hold_str_release(&where);
    if (status || !e->n)
        return status;
    int64_t trained = count_trained(e);
    set->n_cut += cut;
    set->n_tokens += e->n;
    set->n_trained += trained;
    if (trained)
        return HOLD_OK;
    return hold_row_fault(&rows->row[i], issues, "no_trained_token",
                          cut ? "the row has no trained token within max_length"
                              : "the row has no trained token",
                          err);
}

int hold_render_set(const struct hold_renderer *r, const struct hold_rows *rows,
                    struct hold_set *out, struct hold_issues *issues, struct hold_error *err) {
    struct hold_set set = {.n = rows->n};
    *out = (struct hold_set){0};
    int status = hold_new((void **)&set.example, rows->n ? (size_t)rows->n : 1,
                          sizeof(*set.example), "the rows of a set", err);
    for (int64_t i = 0; i < rows->n && !status; i++)
        status = render_into(r, rows, i, &set, issues, err);
    if (status)
        hold_set_release(&set);
    else
        *out = set;
    return status;
}

void hold_set_release(struct hold_set *s) {
    for (int64_t i = 0; s->example && i < s->n; i++)
        hold_example_release(&s->example[i]);
    hold_free(s->example);
    *s = (struct hold_set){0};
}
