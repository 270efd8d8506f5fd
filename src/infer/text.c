/* text.c: ids to valid UTF-8, and where stop strings begin. */
#include <string.h>

#include "infer/parts.h"

/* A lead byte's number of further bytes and the range of the first of them (Unicode 15, table
 * 3-7); need < 0: no lead byte. */
struct lead {
    int need;
    unsigned char low, high;
};

static struct lead lead_of(unsigned char b) {
    if (b < 0x80)
        return (struct lead){0, 0, 0};
    if (b < 0xC2 || b > 0xF4)
        return (struct lead){-1, 0, 0};
    if (b < 0xE0)
        return (struct lead){1, 0x80, 0xBF};
    if (b < 0xF0)
        return (struct lead){2, b == 0xE0 ? 0xA0 : 0x80, b == 0xED ? 0x9F : 0xBF};
    return (struct lead){3, b == 0xF0 ? 0x90 : 0x80, b == 0xF4 ? 0x8F : 0xBF};
}

void hold_text_clean(const char *bytes, size_t n, struct hold_str *out) {
    static const char REPLACEMENT[] = "\xEF\xBF\xBD";
    size_t i = 0;
    while (i < n) {
        struct lead lead = lead_of((unsigned char)bytes[i]);
        size_t len = 1;
        bool valid = lead.need >= 0 && bytes[i] != '\0';
        for (int k = 0; valid && k < lead.need; k++) {
            if (i + len == n)
                return; /* cut: more may follow */
            unsigned char b = (unsigned char)bytes[i + len];
            valid = k == 0 ? b >= lead.low && b <= lead.high : (b & 0xC0) == 0x80;
            len += valid;
        }
        if (valid)
            hold_str_add_bytes(out, bytes + i, len);
        else
            hold_str_add(out, REPLACEMENT); /* one for the longest beginning of a character */
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
