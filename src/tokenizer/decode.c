/* decode.c: ids to text, and the decoders of tokenizer.json. */
#include <string.h>

#include "base/json.h"
#include "tokenizer/internal.h"

#define REPLACEMENT "\xEF\xBF\xBD"

/* The part of a SentencePiece decoder that one member of a Sequence is, by its place. */
enum part { PART_REPLACE, PART_BYTES, PART_FUSE, PART_STRIP, PART_UNKNOWN };

static enum part part_of(const json_t *item) {
    static const char *const NAMES[] = {"Replace", "ByteFallback", "Fuse", "Strip"};
    const char *type = json_string_value(json_object_get(item, "type"));
    int k = 0;
    while (k < PART_UNKNOWN && (type == NULL || strcmp(type, NAMES[k]) != 0)) {
        k++;
    }
    return (enum part)k;
}

static bool text_is(const json_t *item, const char *key, const char *want) {
    const char *text = json_string_value(json_object_get(item, key));
    return text != NULL && strcmp(text, want) == 0;
}

/* Replace U+2581 by a space, ByteFallback, Fuse and Strip of spaces at the beginning, in this
 * order; all but the first may be missing. */
static int read_sequence(struct hold_decoder *out, const json_t *list, const char *where,
                         struct hold_error *err) {
    int last = -1;
    bool fused = false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *type = json_string_value(json_object_get(item, "type"));
        enum part part = part_of(item);
        bool good = part != PART_UNKNOWN && (int)part > last && (i > 0 || part == PART_REPLACE);
        if (part == PART_REPLACE) {
            good = good && text_is(item, "content", " ") &&
                   text_is(json_object_get(item, "pattern"), "String", HOLD_BLANK);
        } else if (part == PART_STRIP) {
            int64_t start = 0, stop = 0;
            int rc = hold_json_int_or(item, "start", 0, &start, where, err);
            if (rc == HOLD_OK) {
                rc = hold_json_int_or(item, "stop", 0, &stop, where, err);
            }
            if (rc != HOLD_OK) {
                return rc;
            }
            good = good && fused && text_is(item, "content", " ") && start >= 0 && start < 1024 &&
                   stop == 0;
            out->strip = (size_t)start;
        }
        if (!good) {
            return hold_fail(err, HOLD_EUNSUPPORTED,
                             "%s: decoder %s is not supported in this place", where,
                             type != NULL ? type : "without a type");
        }
        fused = fused || part == PART_FUSE;
        out->byte_runs = out->byte_runs || part == PART_BYTES;
        last = (int)part;
    }
    return HOLD_OK;
}

static int read_metaspace(struct hold_decoder *out, const json_t *spec, const char *where,
                          struct hold_error *err) {
    const char *scheme = NULL;
    bool prefix = true;
    int rc = hold_json_text_or(spec, "prepend_scheme", "always", &scheme, where, err);
    if (rc == HOLD_OK) {
        rc = hold_json_bool_or(spec, "add_prefix_space", true, &prefix, where, err);
    }
    if (rc == HOLD_OK && !text_is(spec, "replacement", HOLD_BLANK)) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED, "%s: decoder Metaspace of another replacement",
                       where);
    }
    out->strip_all = rc == HOLD_OK && prefix && strcmp(scheme, "never") != 0;
    return rc;
}

/* ByteLevel, alone or in a Sequence, or missing. */
static int check_byte_level(const json_t *spec, const char *where, struct hold_error *err) {
    const char *type = json_string_value(json_object_get(spec, "type"));
    if (spec == NULL || json_is_null(spec) || text_is(spec, "type", "ByteLevel")) {
        return HOLD_OK;
    }
    const json_t *list = json_object_get(spec, "decoders");
    for (size_t i = 0; text_is(spec, "type", "Sequence") && i < json_array_size(list); i++) {
        const char *inner = json_string_value(json_object_get(json_array_get(list, i), "type"));
        if (inner == NULL || strcmp(inner, "ByteLevel") != 0) {
            return hold_fail(err, HOLD_EUNSUPPORTED, "%s: decoder %s is not supported", where,
                             inner != NULL ? inner : "without a type");
        }
    }
    return text_is(spec, "type", "Sequence")
               ? HOLD_OK
               : hold_fail(err, HOLD_EUNSUPPORTED, "%s: decoder %s is not supported", where,
                           type != NULL ? type : "without a type");
}

int hold_decoder_json(struct hold_decoder *out, const json_t *spec, bool byte_level,
                      const char *where, struct hold_error *err) {
    *out = (struct hold_decoder){0};
    if (byte_level) {
        return check_byte_level(spec, where, err);
    }
    if (text_is(spec, "type", "Metaspace")) {
        return read_metaspace(out, spec, where, err);
    }
    if (text_is(spec, "type", "Sequence") &&
        json_array_size(json_object_get(spec, "decoders")) > 0) {
        const json_t *list = json_object_get(spec, "decoders");
        return json_array_size(list) == 1 && text_is(json_array_get(list, 0), "type", "Metaspace")
                   ? read_metaspace(out, json_array_get(list, 0), where, err)
                   : read_sequence(out, list, where, err);
    }
    const char *type = json_string_value(json_object_get(spec, "type"));
    return hold_fail(err, HOLD_EUNSUPPORTED, "%s: decoder %s is not supported", where,
                     type != NULL ? type : "without a type");
}

/* Add the bytes of a run of byte pieces, out[from ...), as they are or as U+FFFD for each. */
static void close_run(struct hold_str *out, size_t from) {
    size_t n = out->len - from;
    if (n == 0 || out->out_of_memory || hold_utf8_check(out->data + from, n) < 0) {
        return;
    }
    hold_str_cut(out, from);
    for (size_t i = 0; i < n; i++) {
        hold_str_add(out, REPLACEMENT);
    }
}

static bool is_skipped(const struct hold_tokenizer *t, int32_t id) {
    return t->types[id] == HOLD_PIECE_CONTROL || (t->chars && t->types[id] == HOLD_PIECE_UNKNOWN);
}

/* Take blanks away from the beginning of the text, which is out[from ...). */
static void strip(struct hold_str *out, size_t from, size_t most) {
    size_t n = 0;
    while (n < most && from + n < out->len && out->data[from + n] == ' ') {
        n++;
    }
    if (n > 0) {
        memmove(out->data + from, out->data + from + n, out->len - from - n);
        hold_str_cut(out, out->len - n);
    }
}

/* The bytes of a piece; `bare`: without its blanks. */
static void add_piece(const struct hold_tokenizer *t, int32_t id, bool bare, struct hold_str *out) {
    if (!bare) {
        hold_str_add_bytes(out, t->bytes[id], t->n_bytes[id]);
        return;
    }
    for (const char *p = t->text[id]; *p != '\0'; p++) {
        if (strncmp(p, HOLD_BLANK, sizeof HOLD_BLANK - 1) == 0) {
            p += sizeof HOLD_BLANK - 2;
        } else {
            hold_str_add_char(out, *p);
        }
    }
}

static int decode(const struct hold_tokenizer *t, const int32_t *ids, size_t n, bool special,
                  bool first, bool whole, struct hold_str *out, struct hold_error *err) {
    const struct hold_decoder *d = &t->decoder;
    size_t from = out->len, run = from; /* where the run of byte pieces begins */
    bool in_run = false, any = false;
    for (size_t i = 0; i < n; i++) {
        int32_t id = ids[i];
        if (id < 0 || id >= t->n || t->text[id] == NULL) {
            return hold_fail(err, HOLD_EDATA, "id %d at %zu is not in the vocabulary of %d pieces",
                             id, i, t->n);
        }
        if (!special && is_skipped(t, id)) {
            continue;
        }
        bool byte = whole && d->byte_runs && t->types[id] == HOLD_PIECE_BYTE;
        if (in_run && !byte) {
            close_run(out, run);
        } else if (byte && !in_run) {
            run = out->len;
        }
        in_run = byte;
        add_piece(t, id, first && !any && d->strip_all, out);
        any = true;
    }
    if (in_run) {
        close_run(out, run);
    }
    if (first && d->strip > 0 && !out->out_of_memory) {
        strip(out, from, d->strip);
    }
    return hold_str_check(out, err);
}

int hold_tokenizer_decode(const struct hold_tokenizer *t, const int32_t *ids, size_t n,
                          bool special, struct hold_str *out, struct hold_error *err) {
    return decode(t, ids, n, special, true, true, out, err);
}

int hold_tokenizer_decode_part(const struct hold_tokenizer *t, const int32_t *ids, size_t n,
                               bool special, bool first, struct hold_str *out,
                               struct hold_error *err) {
    return decode(t, ids, n, special, first, false, out, err);
}
