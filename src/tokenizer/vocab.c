/* vocab.c: making a tokenizer: pieces to bytes, merges to ids, every name and number checked. */
#include <string.h>

#include "base/mem.h"
#include "tokenizer/internal.h"
#include "tokenizer/unicode.h"

enum { PIECE_MAX = 4096, PIECES_MAX = 4 << 20 };

int hold_alphabet_byte(int32_t c) {
    /* Printable Latin-1 stands for itself; the 68 other bytes are U+0100 and on, in order. */
    if ((c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255)) {
        return c;
    }
    if (c >= 256 && c < 256 + 33) {
        return c - 256;
    }
    if (c >= 256 + 33 && c < 256 + 67) {
        return c - 256 - 33 + 127;
    }
    return c == 256 + 67 ? 173 : -1;
}

/* Bytes of `text` (n bytes of UTF-8 in the byte alphabet) into out; the count, or -1 when a
 * character is not of the alphabet. */
static long alphabet_decode(const char *text, size_t n, char *out) {
    long count = 0;
    for (size_t at = 0; at < n;) {
        int byte = hold_alphabet_byte(hold_unicode_next((const unsigned char *)text, &at));
        if (byte < 0) {
            return -1;
        }
        out[count++] = (char)byte;
    }
    return count;
}

static size_t piece_length(const struct hold_vocab *v, int32_t i) {
    return v->lengths != NULL ? (size_t)v->lengths[i] : strlen(v->pieces[i]);
}

static enum hold_piece_type piece_type(const struct hold_vocab *v, int32_t i) {
    return v->types != NULL ? v->types[i] : HOLD_PIECE_NORMAL;
}

/* Sizes of all pieces checked and summed. */
static int check_pieces(const struct hold_vocab *v, size_t *total, struct hold_error *err) {
    if (v->n_pieces <= 0 || v->n_pieces > PIECES_MAX) {
        return hold_fail(err, HOLD_EFORMAT, "vocabulary of %d pieces, expected 1 to %d",
                         v->n_pieces, PIECES_MAX);
    }
    *total = 0;
    for (int32_t i = 0; i < v->n_pieces; i++) {
        if (v->pieces[i] == NULL) {
            continue;
        }
        if (v->lengths != NULL && v->lengths[i] < 0) {
            return hold_fail(err, HOLD_EFORMAT, "piece %d has a negative length", i);
        }
        size_t n = piece_length(v, i);
        if (n > PIECE_MAX) {
            return hold_fail(err, HOLD_EFORMAT, "piece %d has %zu bytes, at most %d are taken", i,
                             n, PIECE_MAX);
        }
        if (hold_utf8_check(v->pieces[i], n) >= 0) {
            return hold_fail(err, HOLD_EFORMAT, "piece %d is not valid UTF-8", i);
        }
        *total += 2 * n + 1;
    }
    const int32_t ids[] = {v->bos, v->eos, v->unk, v->pad};
    static const char *const NAMES[] = {"bos", "eos", "unknown", "padding"};
    for (int k = 0; k < 4; k++) {
        if (ids[k] < -1 || ids[k] >= v->n_pieces) {
            return hold_fail(err, HOLD_EFORMAT, "%s token id %d is out of range, %d pieces",
                             NAMES[k], ids[k], v->n_pieces);
        }
    }
    return HOLD_OK;
}

/* Texts and bytes of all pieces, and the table of those that text can become. */
static int fill_pieces(struct hold_tokenizer *t, const struct hold_vocab *v,
                       struct hold_error *err) {
    char *p = t->blob;
    for (int32_t i = 0; i < t->n; i++) {
        enum hold_piece_type type = piece_type(v, i);
        t->types[i] = (unsigned char)type;
        if (v->pieces[i] == NULL) {
            continue;
        }
        size_t n = piece_length(v, i);
        memcpy(p, v->pieces[i], n);
        t->text[i] = p;
        p += n + 1;
        t->bytes[i] = p;
        bool literal = type == HOLD_PIECE_CONTROL || type == HOLD_PIECE_USER;
        long count = literal ? -1 : alphabet_decode(t->text[i], n, p);
        if (count < 0) {
            memcpy(p, t->text[i], n);
            t->n_bytes[i] = (uint32_t)n;
            p += n;
            continue;
        }
        t->n_bytes[i] = (uint32_t)count;
        p += count;
        int32_t old = -1;
        int rc = hold_names_put(&t->names, t->bytes[i], (size_t)count, i, &old, err);
        if (rc == HOLD_OK && old >= 0) {
            rc = hold_fail(err, HOLD_EFORMAT, "pieces %d and %d are the same", old, i);
        }
        if (rc != HOLD_OK) {
            return rc;
        }
    }
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        t->byte_ids[b] = hold_names_get(&t->names, &byte, 1);
    }
    return HOLD_OK;
}

/* One merge, "left right". */
static int add_merge(struct hold_tokenizer *t, const char *merge, int32_t rank,
                     struct hold_error *err) {
    const char *space = strchr(merge, ' ');
    size_t n = strlen(merge);
    if (space == NULL || space == merge || space[1] == '\0' || strchr(space + 1, ' ') != NULL) {
        return hold_fail(err, HOLD_EFORMAT, "merge %d: \"%.80s\" is not two pieces", rank, merge);
    }
    if (n > 2 * PIECE_MAX || hold_utf8_check(merge, n) >= 0) {
        return hold_fail(err, HOLD_EFORMAT, "merge %d is too long or not valid UTF-8", rank);
    }
    char bytes[2 * PIECE_MAX];
    size_t split = (size_t)(space - merge);
    long left = alphabet_decode(merge, split, bytes);
    long right = left < 0 ? -1 : alphabet_decode(space + 1, n - split - 1, bytes + left);
    int32_t ids[3] = {-1, -1, -1};
    if (right >= 0) {
        ids[0] = hold_names_get(&t->names, bytes, (size_t)left);
        ids[1] = hold_names_get(&t->names, bytes + left, (size_t)right);
        ids[2] = hold_names_get(&t->names, bytes, (size_t)(left + right));
    }
    for (int k = 0; k < 3; k++) {
        if (ids[k] < 0) {
            static const char *const SIDES[] = {"left piece", "right piece", "result"};
            return hold_fail(err, HOLD_EFORMAT,
                             "merge %d: \"%.80s\": its %s is not in the vocabulary", rank, merge,
                             SIDES[k]);
        }
    }
    return hold_pairs_put(&t->pairs, ids[0], ids[1], rank, ids[2], err);
}

/* "normalizer": null, NFC, or a Sequence of them. */
static int read_normalizer(struct hold_tokenizer *t, const json_t *spec, int depth,
                           struct hold_error *err) {
    if (spec == NULL || json_is_null(spec)) {
        return HOLD_OK;
    }
    const char *type = json_string_value(json_object_get(spec, "type"));
    const json_t *list = json_object_get(spec, "normalizers");
    if (type != NULL && strcmp(type, "NFC") == 0) {
        t->nfc = true;
        return HOLD_OK;
    }
    if (type == NULL || strcmp(type, "Sequence") != 0) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "normalizer %s is not supported",
                         type != NULL ? type : "without a type");
    }
    if (!json_is_array(list) || depth >= 4) {
        return hold_fail(err, HOLD_EFORMAT,
                         "normalizer Sequence without a list \"normalizers\", or too deep");
    }
    int rc = HOLD_OK;
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(list); i++) {
        rc = read_normalizer(t, json_array_get(list, i), depth + 1, err);
    }
    return rc;
}

static void hash_all(struct hold_tokenizer *t, const struct hold_vocab *v) {
    struct hold_hash hash;
    hold_hash_init(&hash);
    static const char VERSION[] = "holdfast tokenizer 1";
    hold_hash_add(&hash, VERSION, sizeof VERSION);
    int32_t head[8] = {t->n,   t->nfc, t->ignore_merges, t->fuse_unk,
                       t->bos, t->eos, t->unk,           v->n_merges};
    hold_hash_add(&hash, head, sizeof head);
    for (int32_t i = 0; i < t->n; i++) {
        hold_hash_add(&hash, &t->types[i], 1);
        const char *text = hold_tokenizer_piece(t, i);
        hold_hash_add(&hash, text != NULL ? text : "", text != NULL ? strlen(text) + 1 : 1);
    }
    for (int32_t i = 0; i < v->n_merges; i++) {
        hold_hash_add(&hash, v->merges[i], strlen(v->merges[i]) + 1);
    }
    hold_pretok_hash(t->pretok, &hash);
    hold_added_hash(t->added, &hash);
    hold_hash_end(&hash, t->hash);
}

static int build(struct hold_tokenizer *t, const struct hold_vocab *v,
                 const struct hold_added *added, size_t n_added, struct hold_error *err) {
    size_t total = 0;
    int rc = check_pieces(v, &total, err);
    if (rc != HOLD_OK) {
        return rc;
    }
    t->n = v->n_pieces;
    size_t n = (size_t)t->n;
    const struct {
        void **out;
        size_t n, size;
    } parts[] = {
        {(void **)&t->blob, total + 1, 1},
        {(void **)&t->text, n, sizeof *t->text},
        {(void **)&t->bytes, n, sizeof *t->bytes},
        {(void **)&t->n_bytes, n, sizeof *t->n_bytes},
        {(void **)&t->types, n, 1},
    };
    for (size_t i = 0; rc == HOLD_OK && i < sizeof parts / sizeof parts[0]; i++) {
        rc = hold_new(parts[i].out, parts[i].n, parts[i].size, "vocabulary", err);
    }
    if (rc == HOLD_OK) {
        rc = hold_names_init(&t->names, n, err);
    }
    if (rc == HOLD_OK) {
        rc = fill_pieces(t, v, err);
    }
    if (rc == HOLD_OK) {
        rc = hold_pairs_init(&t->pairs, (size_t)v->n_merges, err);
    }
    for (int32_t i = 0; rc == HOLD_OK && i < v->n_merges; i++) {
        rc = add_merge(t, v->merges[i], i, err);
    }
    if (rc == HOLD_OK) {
        rc = hold_added_new(&t->added, added, n_added, err);
    }
    for (size_t i = 0; rc == HOLD_OK && i < n_added; i++) {
        t->has_normalized = t->has_normalized || added[i].normalized;
    }
    if (rc == HOLD_OK) {
        rc = read_normalizer(t, v->normalizer_json, 0, err);
    }
    if (rc == HOLD_OK && v->pre_json != NULL) {
        rc = hold_pretok_json(&t->pretok, v->pre_json, "pre_tokenizer", err);
    } else if (rc == HOLD_OK) {
        rc = hold_pretok_named(&t->pretok, v->pre != NULL ? v->pre : "default", err);
    }
    return rc;
}

int hold_tokenizer_build(struct hold_tokenizer **out, const struct hold_vocab *v,
                         const struct hold_added *added, size_t n_added, bool fuse_unk,
                         struct hold_error *err) {
    *out = NULL;
    if (v->kind != HOLD_VOCAB_BPE) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s vocabularies are not supported",
                         v->kind == HOLD_VOCAB_SPM ? "SentencePiece BPE" : "unigram");
    }
    struct hold_tokenizer *t = NULL;
    int rc = hold_new((void **)&t, 1, sizeof *t, "tokenizer", err);
    if (rc != HOLD_OK) {
        return rc;
    }
    t->add_bos = v->add_bos;
    t->add_eos = v->add_eos;
    t->bos = v->bos;
    t->eos = v->eos;
    t->unk = -1;
    t->ignore_merges = v->ignore_merges;
    t->fuse_unk = fuse_unk;
    /* Qwen's own tokenizers normalise; a GGUF file has no place to say so. */
    t->nfc = v->pre_json == NULL && v->pre != NULL &&
             (strcmp(v->pre, "qwen2") == 0 || strcmp(v->pre, "deepseek-r1-qwen") == 0);
    rc = build(t, v, added, n_added, err);
    if (rc != HOLD_OK) {
        hold_tokenizer_free(t);
        return rc;
    }
    if (v->unk >= 0 && v->pre_json != NULL && t->types[v->unk] != HOLD_PIECE_CONTROL) {
        t->unk = v->unk;
    }
    hash_all(t, v);
    *out = t;
    return HOLD_OK;
}

int hold_tokenizer_new(struct hold_tokenizer **out, const struct hold_vocab *v,
                       struct hold_error *err) {
    *out = NULL;
    struct hold_added *added = NULL;
    size_t n_added = 0;
    size_t room = v->types != NULL && v->n_pieces > 0 ? (size_t)v->n_pieces : 0;
    int rc = hold_new((void **)&added, room + 1, sizeof *added, "added tokens", err);
    for (size_t i = 0; rc == HOLD_OK && i < room; i++) {
        bool control = v->types[i] == HOLD_PIECE_CONTROL;
        if ((control || v->types[i] == HOLD_PIECE_USER) && v->pieces[i] != NULL) {
            if (v->lengths != NULL && strlen(v->pieces[i]) != (size_t)v->lengths[i]) {
                rc = hold_fail(err, HOLD_EFORMAT, "added token %zu has a NUL byte", i);
            }
            added[n_added++] =
                (struct hold_added){.id = (int32_t)i, .text = v->pieces[i], .special = control};
        }
    }
    if (rc == HOLD_OK) {
        rc = hold_tokenizer_build(out, v, added, n_added, false, err);
    }
    hold_free(added);
    return rc;
}

void hold_tokenizer_free(struct hold_tokenizer *t) {
    if (t == NULL) {
        return;
    }
    hold_free(t->blob);
    hold_free(t->text);
    hold_free(t->bytes);
    hold_free(t->n_bytes);
    hold_free(t->types);
    hold_names_release(&t->names);
    hold_pairs_release(&t->pairs);
    hold_pretok_free(t->pretok);
    hold_added_free(t->added);
    hold_free(t);
}
