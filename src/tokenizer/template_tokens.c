/* template_tokens.c: rendered text to ids, and which of them the assistant said. */
#include <string.h>

#include "base/mem.h"
#include "tokenizer/template.h"

/* For each byte of a generation block the message it belongs to: that of the next byte of the
 * block which names one, else of the last; -1: none. */
static void fill_blocks(const struct hold_rendered *r, int32_t *out) {
    int32_t near = -1;
    for (size_t i = r->text.len; i-- > 0;) {
        near = r->generation[i] == 0 ? -1 : r->message[i] >= 0 ? r->message[i] : near;
        out[i] = near;
    }
    for (size_t i = 0; i < r->text.len; i++) {
        near = r->generation[i] == 0 ? -1 : out[i] >= 0 ? out[i] : near;
        out[i] = near;
    }
}

static bool is_assistant(const json_t *messages, int32_t index) {
    const char *role =
        json_string_value(json_object_get(json_array_get(messages, (size_t)index), "role"));
    return role != NULL && strcmp(role, "assistant") == 0;
}

/* The assistant message that said the token whose first byte is `at`, or -1. */
static int32_t speaker(const struct hold_tokenizer *tok, const struct hold_rendered *r,
                       const json_t *messages, int32_t id, size_t at) {
    /* An end of turn belongs to the content that it directly follows. */
    size_t from = hold_tokenizer_is_control(tok, id) && at > 0 ? at - 1 : at;
    bool said = r->said[from] != 0 && r->message[from] >= 0;
    return said && is_assistant(messages, r->message[from]) ? r->message[from] : -1;
}

int hold_template_tokenize(const struct hold_tokenizer *tok, const struct hold_rendered *r,
                           const json_t *messages, struct hold_ids *ids, struct hold_ids *said,
                           struct hold_error *err) {
    size_t n = r->text.len, first = ids->len;
    unsigned char *control = NULL;
    int32_t *blocks = NULL;
    struct hold_ids starts = {0};
    int rc = hold_new((void **)&control, n + 1, 1, "control mask", err);
    if (rc == HOLD_OK && r->has_generation) {
        rc = hold_new((void **)&blocks, n + 1, sizeof *blocks, "generation blocks", err);
    }
    if (rc != HOLD_OK) {
        goto cleanup;
    }
    if (blocks != NULL) {
        fill_blocks(r, blocks);
    }
    for (size_t i = 0; i < n; i++) {
        control[i] = r->message[i] == HOLD_FROM_TEMPLATE;
    }
    rc = hold_tokenizer_encode_mixed(tok, hold_str_text(&r->text), control, n, ids, &starts, err);
    for (size_t i = 0; rc == HOLD_OK && said != NULL && i < starts.len; i++) {
        size_t at = (size_t)starts.data[i];
        int32_t who = blocks != NULL ? blocks[at]
                      : r->owner != NULL && r->owner[at] >= 0
                          ? r->owner[at]
                          : speaker(tok, r, messages, ids->data[first + i], at);
        rc = hold_ids_push(said, who, err);
    }
cleanup:
    hold_ids_release(&starts);
    hold_free(control);
    hold_free(blocks);
    return rc;
}
