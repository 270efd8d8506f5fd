/* template_owner.c: which bytes of a rendered text are an assistant's that calls tools: the call
 * and what the template writes around it.
 */
#include <string.h>

#include "base/mem.h"
#include "tokenizer/template.h"

/* What the template writes before a message depends on who spoke before it, so one rendering for
 * each role tells it for a whole conversation. */
static const char *const ROLES[] = {"", "system", "user", "assistant", "tool"};
enum { N_ROLES = sizeof ROLES / sizeof *ROLES };

struct search {
    const struct hold_template *t;
    const json_t *messages;
    const struct hold_render_options *options;
    struct hold_rendered *r;
    size_t *begin, *end;           /* of what each message says; begin == end: nothing */
    struct hold_str head[N_ROLES]; /* written before an answer behind this role */
    struct hold_str foot;          /* written behind a call */
    bool known[N_ROLES], foot_known;
    struct hold_error *err;
};

static bool calls(const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    return role != NULL && strcmp(role, "assistant") == 0 &&
           json_array_size(json_object_get(message, "tool_calls")) > 0;
}

static int role_index(const json_t *messages, size_t i) {
    const char *role =
        i > 0 ? json_string_value(json_object_get(json_array_get(messages, i - 1), "role")) : "";
    int k = N_ROLES - 1;
    while (k > 0 && (role == NULL || strcmp(role, ROLES[k]) != 0))
        k--;
    return k;
}

/* The text behind the last byte that is not the template's, when the first n messages are rendered.
 * A template may refuse a conversation that ends there: then it is empty. */
static int tail_of(struct search *s, size_t n, bool prompt, struct hold_str *out) {
    struct hold_rendered r = {0};
    struct hold_render_options options = *s->options;
    struct hold_error refused = {0};
    json_t *some = json_array();
    options.add_generation_prompt = prompt;
    int rc = some != NULL ? HOLD_OK : hold_fail(s->err, HOLD_ENOMEMORY, "no memory for messages");
    for (size_t i = 0; rc == HOLD_OK && i < n; i++)
        if (json_array_append(some, json_array_get(s->messages, i)) != 0)
            rc = hold_fail(s->err, HOLD_ENOMEMORY, "no memory for messages");
    if (rc == HOLD_OK && hold_template_render(s->t, some, &options, &r, &refused) == HOLD_OK) {
        size_t at = r.text.len;
        while (at > 0 && r.message[at - 1] == HOLD_FROM_TEMPLATE)
            at--;
        hold_str_add_bytes(out, hold_str_text(&r.text) + at, r.text.len - at);
        rc = hold_str_check(out, s->err);
    }
    hold_rendered_release(&r);
    json_decref(some);
    return rc;
}

static bool matches(const struct search *s, size_t at, size_t limit, const struct hold_str *text) {
    return text->len <= limit - at &&
           memcmp(hold_str_text(&s->r->text) + at, hold_str_text(text), text->len) == 0;
}

/* Where message i begins, behind what a generation prompt would give. */
static int find_start(struct search *s, size_t i, size_t *start, bool *inexact) {
    int k = role_index(s->messages, i), rc = HOLD_OK;
    if (!s->known[k])
        rc = tail_of(s, i, true, &s->head[k]);
    s->known[k] = true;
    size_t before = s->begin[i];
    /* The message's own role and name stand in its head. */
    while (before > 0 && (s->r->message[before - 1] == HOLD_FROM_TEMPLATE ||
                          (s->r->message[before - 1] == (int32_t)i && !s->r->said[before - 1])))
        before--;
    bool good = s->head[k].len > 0 && matches(s, before, s->begin[i], &s->head[k]);
    *start = good ? before + s->head[k].len : s->begin[i];
    *inexact = *inexact || !good;
    return rc;
}

static int find_end(struct search *s, size_t i, size_t *end, bool *inexact) {
    size_t n = s->r->text.len;
    int rc = HOLD_OK;
    *end = s->end[i];
    if (!s->foot_known)
        rc = tail_of(s, i + 1, false, &s->foot);
    s->foot_known = true;
    if (matches(s, *end, n, &s->foot))
        *end += s->foot.len;
    else
        *inexact = true;
    while (*end > s->end[i] && strchr(" \t\r\n", s->r->text.data[*end - 1]) != NULL)
        (*end)--;
    return rc;
}

static void find_said(struct search *s) {
    for (size_t at = 0; at < s->r->text.len; at++) {
        int32_t i = s->r->message[at];
        if (i < 0 || !s->r->said[at])
            continue;
        s->begin[i] = s->end[i] == 0 ? at : s->begin[i];
        s->end[i] = at + 1;
    }
}

int hold_template_own_calls(const struct hold_template *t, const json_t *messages,
                            const struct hold_render_options *options, struct hold_rendered *r,
                            bool *inexact, struct hold_error *err) {
    struct search s = {.t = t, .messages = messages, .options = options, .r = r, .err = err};
    size_t n = json_array_size(messages), first = 0;
    *inexact = false;
    while (first < n && !calls(json_array_get(messages, first)))
        first++;
    if (first == n || r->has_generation)
        return HOLD_OK;
    int rc = hold_new((void **)&s.begin, n, sizeof *s.begin, "messages", err);
    rc = rc == HOLD_OK ? hold_new((void **)&s.end, n, sizeof *s.end, "messages", err) : rc;
    rc = rc == HOLD_OK
             ? hold_new((void **)&r->owner, r->text.len + 1, sizeof *r->owner, "rendered text", err)
             : rc;
    if (rc == HOLD_OK) {
        memset(r->owner, 0xFF, r->text.len * sizeof *r->owner); /* -1 */
        find_said(&s);
    }
    for (size_t i = first; rc == HOLD_OK && i < n; i++) {
        size_t start = 0, end = 0;
        if (s.end[i] == 0 || !calls(json_array_get(messages, i)))
            continue;
        rc = find_start(&s, i, &start, inexact);
        rc = rc == HOLD_OK ? find_end(&s, i, &end, inexact) : rc;
        for (size_t at = start; rc == HOLD_OK && at < end; at++)
            r->owner[at] = (int32_t)i;
    }
    for (int k = 0; k < N_ROLES; k++)
        hold_str_release(&s.head[k]);
    hold_str_release(&s.foot);
    hold_free(s.begin);
    hold_free(s.end);
    return rc;
}
