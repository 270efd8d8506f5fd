/* normalize.c: the steps of a normalizer, made from tokenizer.json and run in a row. */
#include "tokenizer/normalize.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/pretok.h"
#include "tokenizer/unicode.h"

enum { STEPS_MAX = 16, DEPTH_MAX = 4, TEXT_MAX = 64 };
/* All steps together make at most so many bytes of a text of n; what real files have makes a dozen
 * of each byte at most, what steps made to feed each other make has no end. */
enum { GROW_BASE = 4096, GROW_PER_BYTE = 64 };

struct step {
    enum hold_normalize_kind kind;
    char *pattern, *text; /* owned */
    struct hold_regex *regex;
    struct hold_charsmap *map;
};

struct hold_normalizer {
    struct step steps[STEPS_MAX];
    int n;
};

int hold_normalizer_new(struct hold_normalizer **out, struct hold_error *err) {
    *out = NULL;
    return hold_new((void **)out, 1, sizeof **out, "normalizer", err);
}

void hold_normalizer_free(struct hold_normalizer *n) {
    if (n != NULL) {
        for (int i = 0; i < n->n; i++) {
            hold_free(n->steps[i].pattern);
            hold_free(n->steps[i].text);
            hold_regex_free(n->steps[i].regex);
            hold_charsmap_free(n->steps[i].map);
        }
        hold_free(n);
    }
}

bool hold_normalizer_empty(const struct hold_normalizer *n) {
    return n->n == 0;
}

bool hold_normalizer_is_nfc(const struct hold_normalizer *n) {
    return n->n == 1 && n->steps[0].kind == HOLD_NORMALIZE_NFC;
}

void hold_normalizer_hash(const struct hold_normalizer *n, struct hold_hash *hash) {
    for (int i = 0; i < n->n; i++) {
        const struct step *s = &n->steps[i];
        unsigned char kind = (unsigned char)s->kind;
        const char *pattern = s->pattern != NULL ? s->pattern : "";
        const char *text = s->text != NULL ? s->text : "";
        hold_hash_add(hash, &kind, 1);
        hold_hash_add(hash, pattern, strlen(pattern) + 1);
        hold_hash_add(hash, text, strlen(text) + 1);
        if (s->map != NULL) {
            hold_charsmap_hash(s->map, hash);
        }
    }
}

int hold_normalizer_add(struct hold_normalizer *n, enum hold_normalize_kind kind,
                        const char *pattern, const char *text, const char *where,
                        struct hold_error *err) {
    if (n->n == STEPS_MAX) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s: more than %d normalizers", where, STEPS_MAX);
    }
    if (text != NULL && strlen(text) > TEXT_MAX) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s: a replacement of more than %d bytes", where,
                         TEXT_MAX);
    }
    struct step *s = &n->steps[n->n];
    *s = (struct step){.kind = kind};
    n->n++;
    if ((pattern != NULL && (s->pattern = hold_strdup(pattern)) == NULL) ||
        (text != NULL && (s->text = hold_strdup(text)) == NULL)) {
        return hold_fail(err, HOLD_ENOMEMORY, "out of memory for a normalizer");
    }
    return kind == HOLD_NORMALIZE_REPLACE_REGEX ? hold_regex_new(&s->regex, pattern, where, err)
                                                : HOLD_OK;
}

static int add_replace(struct hold_normalizer *n, const json_t *spec, struct hold_error *err) {
    const json_t *pattern = json_object_get(spec, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *text = json_string_value(json_object_get(pattern, "String"));
    const char *content = json_string_value(json_object_get(spec, "content"));
    if ((regex == NULL) == (text == NULL) || content == NULL || (text != NULL && *text == '\0')) {
        return hold_fail(err, HOLD_EFORMAT,
                         "normalizer Replace without a Regex or String pattern, or content");
    }
    return hold_normalizer_add(
        n, regex != NULL ? HOLD_NORMALIZE_REPLACE_REGEX : HOLD_NORMALIZE_REPLACE,
        regex != NULL ? regex : text, content, "normalizer Replace", err);
}

static int add_strip(struct hold_normalizer *n, const json_t *spec, struct hold_error *err) {
    bool left = false, right = false;
    int rc = hold_json_bool_or(spec, "strip_left", true, &left, "normalizer Strip", err);
    if (rc == HOLD_OK) {
        rc = hold_json_bool_or(spec, "strip_right", true, &right, "normalizer Strip", err);
    }
    if (rc == HOLD_OK && left) {
        rc = hold_normalizer_add(n, HOLD_NORMALIZE_STRIP_LEFT, NULL, NULL, "normalizer", err);
    }
    if (rc == HOLD_OK && right) {
        rc = hold_normalizer_add(n, HOLD_NORMALIZE_STRIP_RIGHT, NULL, NULL, "normalizer", err);
    }
    return rc;
}

static int add_charsmap(struct hold_normalizer *n, const json_t *spec, struct hold_error *err) {
    const char *base64 = NULL;
    int rc =
        hold_json_get_text(spec, "precompiled_charsmap", &base64, "normalizer Precompiled", err);
    if (rc == HOLD_OK) {
        rc = hold_normalizer_add(n, HOLD_NORMALIZE_CHARSMAP, NULL, NULL, "normalizer", err);
    }
    return rc != HOLD_OK
               ? rc
               : hold_charsmap_new(&n->steps[n->n - 1].map, base64, "normalizer Precompiled", err);
}

static int add_json(struct hold_normalizer *n, const json_t *spec, int depth,
                    struct hold_error *err) {
    /* NFKC is NFC of the compatibility decomposition of each character, and so is NFKD of NFD. */
    static const struct {
        const char *name;
        bool compat;
        enum hold_normalize_kind kind;
    } PLAIN[] = {{"NFC", false, HOLD_NORMALIZE_NFC},
                 {"NFD", false, HOLD_NORMALIZE_NFD},
                 {"NFKC", true, HOLD_NORMALIZE_NFC},
                 {"NFKD", true, HOLD_NORMALIZE_NFD},
                 {"Lowercase", false, HOLD_NORMALIZE_LOWERCASE}};
    const char *type = json_string_value(json_object_get(spec, "type"));
    const json_t *list = json_object_get(spec, "normalizers");
    int rc = HOLD_OK;
    for (size_t i = 0; type != NULL && i < sizeof PLAIN / sizeof PLAIN[0]; i++) {
        if (strcmp(PLAIN[i].name, type) == 0) {
            if (PLAIN[i].compat) {
                rc = hold_normalizer_add(n, HOLD_NORMALIZE_COMPAT, NULL, NULL, "normalizer", err);
            }
            return rc != HOLD_OK ? rc
                                 : hold_normalizer_add(n, PLAIN[i].kind, NULL, NULL, type, err);
        }
    }
    if (type != NULL && strcmp(type, "Replace") == 0) {
        return add_replace(n, spec, err);
    }
    if (type != NULL && strcmp(type, "Strip") == 0) {
        return add_strip(n, spec, err);
    }
    if (type != NULL && strcmp(type, "Prepend") == 0) {
        const char *text = NULL;
        rc = hold_json_get_text(spec, "prepend", &text, "normalizer Prepend", err);
        return rc != HOLD_OK
                   ? rc
                   : hold_normalizer_add(n, HOLD_NORMALIZE_PREPEND, NULL, text, type, err);
    }
    if (type != NULL && strcmp(type, "Precompiled") == 0) {
        return add_charsmap(n, spec, err);
    }
    if (type == NULL || strcmp(type, "Sequence") != 0) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "normalizer %s is not supported",
                         type != NULL ? type : "without a type");
    }
    if (!json_is_array(list) || depth >= DEPTH_MAX) {
        return hold_fail(err, HOLD_EFORMAT,
                         "normalizer Sequence without a list \"normalizers\", or too deep");
    }
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(list); i++) {
        rc = add_json(n, json_array_get(list, i), depth + 1, err);
    }
    return rc;
}

int hold_normalizer_add_json(struct hold_normalizer *n, const json_t *spec,
                             struct hold_error *err) {
    return spec == NULL || json_is_null(spec) ? HOLD_OK : add_json(n, spec, 0, err);
}

/* The text that a step writes, from the text that it reads. */
struct writer {
    const struct hold_normal *in;
    struct hold_str text;
    size_t *from, *to, cap, most;
    bool mapped;
};

/* Write n bytes that came from in[begin, end). */
static int put(struct writer *w, const char *bytes, size_t n, size_t begin, size_t end,
               struct hold_error *err) {
    size_t at = w->text.len;
    if (n > w->most - at) {
        return hold_fail(err, HOLD_EDATA,
                         "the normalizer makes more than %zu bytes of a text, at most %d a byte "
                         "and %d more are taken",
                         w->most, GROW_PER_BYTE, GROW_BASE);
    }
    hold_str_add_bytes(&w->text, bytes, n);
    if (w->text.out_of_memory) {
        return hold_str_check(&w->text, err);
    }
    if (!w->mapped || n == 0) {
        return HOLD_OK;
    }
    if (at + n > w->cap) {
        size_t cap = (at + n) * 2, size = 0;
        size_t *from = NULL, *to = NULL;
        if (!hold_mul_size(cap, sizeof *from, &size) ||
            (from = hold_realloc(w->from, size)) == NULL) {
            return hold_fail(err, HOLD_ENOMEMORY, "out of memory for text offsets");
        }
        w->from = from;
        if ((to = hold_realloc(w->to, size)) == NULL) {
            return hold_fail(err, HOLD_ENOMEMORY, "out of memory for text offsets");
        }
        w->to = to;
        w->cap = cap;
    }
    const struct hold_normal *in = w->in;
    bool last = begin == in->n;
    size_t from = in->from == NULL ? begin
                  : last           ? (in->n > 0 ? in->to[in->n - 1] : 0)
                                   : in->from[begin];
    size_t to = in->to == NULL ? end : end > begin ? in->to[end - 1] : from;
    for (size_t i = 0; i < n; i++) {
        w->from[at + i] = from;
        w->to[at + i] = to;
    }
    return HOLD_OK;
}

/* Write in[begin, end) as it is. */
static int copy(struct writer *w, size_t begin, size_t end, struct hold_error *err) {
    if (!w->mapped) {
        return put(w, w->in->text + begin, end - begin, begin, end, err);
    }
    int rc = HOLD_OK;
    for (size_t i = begin; rc == HOLD_OK && i < end; i++) {
        rc = put(w, w->in->text + i, 1, i, i + 1, err);
    }
    return rc;
}

static int replace(struct writer *w, const struct step *s, struct hold_error *err) {
    const struct hold_normal *in = w->in;
    size_t len = s->regex == NULL ? strlen(s->pattern) : 0, text = strlen(s->text), at = 0;
    size_t budget = hold_regex_budget(in->n);
    int rc = HOLD_OK;
    while (rc == HOLD_OK && at < in->n) {
        size_t begin = in->n, end = in->n;
        bool found = false;
        if (s->regex != NULL) {
            rc = hold_regex_find(s->regex, in->text, at, in->n, &budget, &found, &begin, &end, err);
        } else {
            const char *hit = len == 1 ? memchr(in->text + at, s->pattern[0], in->n - at)
                                       : memmem(in->text + at, in->n - at, s->pattern, len);
            found = hit != NULL;
            begin = found ? (size_t)(hit - in->text) : in->n;
            end = found ? begin + len : in->n;
        }
        if (!found) {
            begin = end = in->n;
        }
        if (rc == HOLD_OK) {
            rc = copy(w, at, begin, err);
        }
        if (rc == HOLD_OK && found) {
            rc = put(w, s->text, text, begin, end, err);
        }
        at = end;
    }
    return rc;
}

static int each_character(struct writer *w, enum hold_normalize_kind kind, struct hold_error *err) {
    const struct hold_normal *in = w->in;
    int rc = HOLD_OK;
    struct hold_str one = HOLD_STR_INIT;
    for (size_t at = 0, next = 0; rc == HOLD_OK && at < in->n; at = next) {
        int32_t c = hold_unicode_next((const unsigned char *)in->text, &next);
        hold_str_clear(&one);
        if (kind == HOLD_NORMALIZE_COMPAT) {
            hold_unicode_compat(c, &one);
        } else {
            hold_unicode_lower(c, &one);
        }
        rc = hold_str_check(&one, err);
        if (rc == HOLD_OK) {
            rc = put(w, hold_str_text(&one), one.len, at, next, err);
        }
    }
    hold_str_release(&one);
    return rc;
}

/* Short grapheme clusters as a whole, else character by character, as `tokenizers` does it. */
static int map_characters(struct writer *w, const struct step *s, struct hold_error *err) {
    enum { SHORT = 6 };
    const struct hold_normal *in = w->in;
    const unsigned char *bytes = (const unsigned char *)in->text;
    int rc = HOLD_OK;
    for (size_t at = 0, end = 0; rc == HOLD_OK && at < in->n; at = end) {
        const char *to = NULL;
        end = hold_unicode_grapheme(bytes, in->n, at);
        if (end - at < SHORT && hold_charsmap_find(s->map, in->text + at, end - at, &to)) {
            rc = put(w, to, strlen(to), at, end, err);
            continue;
        }
        for (size_t c = at, next = at; rc == HOLD_OK && c < end; c = next) {
            (void)hold_unicode_next(bytes, &next);
            rc = hold_charsmap_find(s->map, in->text + c, next - c, &to)
                     ? put(w, to, strlen(to), c, next, err)
                     : copy(w, c, next, err);
        }
    }
    return rc;
}

/* NFC and NFD: normal text is left alone, other text is written group by group. */
static int compose(struct writer *w, bool decompose, struct hold_error *err) {
    const struct hold_normal *in = w->in;
    struct hold_str text = HOLD_STR_INIT;
    size_t *from = NULL, *to = NULL;
    bool changed = false;
    int rc = hold_unicode_normal(in->text, in->n, decompose, &changed, &text, &from, &to, err);
    if (rc == HOLD_OK && !changed) {
        rc = copy(w, 0, in->n, err);
    } else if (rc == HOLD_OK && !w->mapped) {
        rc = put(w, hold_str_text(&text), text.len, 0, in->n, err);
    }
    for (size_t i = 0; rc == HOLD_OK && changed && w->mapped && i < text.len; i++) {
        rc = put(w, text.data + i, 1, from[i], to[i], err);
    }
    hold_str_release(&text);
    hold_free(from);
    hold_free(to);
    return rc;
}

static int strip(struct writer *w, bool left, struct hold_error *err) {
    const struct hold_normal *in = w->in;
    const unsigned char *bytes = (const unsigned char *)in->text;
    size_t begin = 0, end = 0; /* of what is not blank */
    bool any = false;
    for (size_t at = 0, next = 0; at < in->n; at = next) {
        if (hold_unicode_class(hold_unicode_next(bytes, &next)) != HOLD_CLASS_SPACE) {
            begin = any ? begin : at;
            end = next;
            any = true;
        }
    }
    if (!any) {
        return HOLD_OK;
    }
    return left ? copy(w, begin, in->n, err) : copy(w, 0, end, err);
}

static int lead(struct writer *w, const struct step *s, bool wanted, struct hold_error *err) {
    size_t n = strlen(s->text);
    bool there =
        s->kind != HOLD_NORMALIZE_PREPEND && w->in->n >= n && memcmp(w->in->text, s->text, n) == 0;
    int rc = HOLD_OK;
    if (wanted && !there && w->in->n > 0) {
        rc = put(w, s->text, n, 0, 0, err);
    }
    return rc == HOLD_OK ? copy(w, 0, w->in->n, err) : rc;
}

static int write_step(struct writer *w, const struct step *s, bool first, struct hold_error *err) {
    switch (s->kind) {
    case HOLD_NORMALIZE_NFC:
    case HOLD_NORMALIZE_NFD:
        return compose(w, s->kind == HOLD_NORMALIZE_NFD, err);
    case HOLD_NORMALIZE_COMPAT:
    case HOLD_NORMALIZE_LOWERCASE:
        return each_character(w, s->kind, err);
    case HOLD_NORMALIZE_CHARSMAP:
        return map_characters(w, s, err);
    case HOLD_NORMALIZE_REPLACE:
    case HOLD_NORMALIZE_REPLACE_REGEX:
        return replace(w, s, err);
    case HOLD_NORMALIZE_PREPEND:
    case HOLD_NORMALIZE_LEAD:
    case HOLD_NORMALIZE_LEAD_FIRST:
        return lead(w, s, s->kind != HOLD_NORMALIZE_LEAD_FIRST || first, err);
    case HOLD_NORMALIZE_STRIP_LEFT:
    case HOLD_NORMALIZE_STRIP_RIGHT:
        return strip(w, s->kind == HOLD_NORMALIZE_STRIP_LEFT, err);
    }
    return HOLD_OK;
}

int hold_normalizer_run(const struct hold_normalizer *s, const char *text, size_t n, bool first,
                        bool mapped, struct hold_normal *out, struct hold_error *err) {
    *out = (struct hold_normal){.text = text, .n = n};
    int rc = HOLD_OK;
    size_t most = 0;
    if (!hold_mul_size(n, GROW_PER_BYTE, &most) || !hold_add_size(most, GROW_BASE, &most)) {
        return hold_fail(err, HOLD_EDATA, "a text of %zu bytes is too long", n);
    }
    for (int i = 0; rc == HOLD_OK && i < s->n; i++) {
        struct writer w = {.in = out, .mapped = mapped, .most = most};
        rc = write_step(&w, &s->steps[i], first, err);
        if (rc == HOLD_OK && w.text.len == out->n &&
            memcmp(hold_str_text(&w.text), out->text, out->n) == 0) {
            hold_str_release(&w.text); /* nothing changed, and the offsets stay too */
            hold_free(w.from);
            hold_free(w.to);
            continue;
        }
        hold_normal_release(out);
        *out = (struct hold_normal){hold_str_text(&w.text), w.text.len, w.text, w.from, w.to};
    }
    return rc;
}

void hold_normal_release(struct hold_normal *n) {
    hold_str_release(&n->store);
    hold_free(n->from);
    hold_free(n->to);
    n->from = n->to = NULL;
}
