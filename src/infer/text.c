/* text.c: ids to valid UTF-8, and where stop strings begin. */
#include <string.h>

#include "infer/parts.h"

void hold_text_clean(const char *bytes, size_t n, struct hold_str *out) {
    for (size_t i = 0; i < n;) {
        unsigned char first = (unsigned char)bytes[i];
        bool whole = false;
        size_t len = hold_utf8_part(bytes + i, n - i, &whole);
        if (!whole && i + len == n && first >= 0xC2 && first <= 0xF4)
            return; /* cut: more may follow */
        if (whole && first != '\0')
            hold_str_add_bytes(out, bytes + i, len);
        else
            hold_str_add(out, "\xEF\xBF\xBD");
        i += len;
    }
}

int hold_text_decode(const struct hold_tokenizer *t, const int32_t *ids, int64_t n,
                     struct hold_str *raw, struct hold_str *out, struct hold_error *err) {
    int32_t size = hold_tokenizer_size(t);
    hold_str_clear(raw);
    hold_str_clear(out);
    for (int64_t i = 0; i < n;) {
        int64_t end = i;
        while (end < n && ids[end] < size)
            end++;
        int rc = hold_tokenizer_decode_part(t, ids + i, (size_t)(end - i), false, i == 0, raw, err);
        if (rc < 0)
            return rc;
        i = end + 1; /* a padded vocabulary's ids have no text */
    }
    if (raw->len > 0)
        hold_text_clean(raw->data, raw->len, out);
    int rc = hold_str_check(raw, err);
    return rc < 0 ? rc : hold_str_check(out, err);
}

int64_t hold_text_stop(const struct hold_str *text, size_t from,
                       const struct hold_generate_options *options) {
    const char *first = NULL;
    for (int i = 0; i < options->n_stop && from < text->len; i++) {
        const char *at =
            memmem(text->data + from, text->len - from, options->stop[i], strlen(options->stop[i]));
        if (at != NULL && (first == NULL || at < first))
            first = at;
    }
    return first == NULL ? -1 : first - text->data;
}

size_t hold_text_held(const struct hold_str *text, const struct hold_generate_options *options) {
    size_t held = 0;
    for (int i = 0; i < options->n_stop; i++) {
        size_t len = strlen(options->stop[i]) - 1;
        for (len = len < text->len ? len : text->len; len > held; len--)
            if (memcmp(text->data + text->len - len, options->stop[i], len) == 0)
                held = len;
    }
    return held;
}
