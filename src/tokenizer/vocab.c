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
        *total += 3 * n + 1; /* text, bytes, and the name of a listed added token */
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

/* A piece of characters: its bytes, and its name unless no text can become it. */
static int fill_chars_piece(struct hold_tokenizer *t, const struct hold_vocab *v, int32_t i,
                            size_t n, bool listed, struct hold_error *err) {
    char *out = (char *)t->bytes[i];
    int byte = hold_byte_piece(t->text[i], n);
    if (t->types[i] == HOLD_PIECE_NORMAL && byte >= 0 && v->byte_fallback) {
        t->types[i] = HOLD_PIECE_BYTE; /* tokenizer.json does not tell */
    }
    if (t->types[i] == HOLD_PIECE_BYTE) {
        if (byte < 0) {
            return hold_fail(err, HOLD_EFORMAT,
                             "piece %d is a byte, but its text is \"%.80s\", expected <0x00> to "
                             "<0xFF>",
                             i, t->text[i]);
        }
        if (t->byte_ids[byte] < 0) {
            t->byte_ids[byte] = i;
        }
        bool decoded = t->decoder.byte_runs; /* else its text is shown as it is */
        t->n_bytes[i] = decoded ? 1 : (uint32_t)n;
        memcpy(out, t->text[i], t->n_bytes[i]);
        out[0] = decoded ? (char)byte : out[0];
        return HOLD_OK;
    }
    if (strlen(t->text[i]) != n) {
        return hold_fail(err, HOLD_EFORMAT, "piece %d has a NUL byte", i);
    }
    t->n_bytes[i] = (uint32_t)hold_chars_bytes(t->text[i], n, out);
    if (t->types[i] != HOLD_PIECE_NORMAL && !listed) {
        return HOLD_OK;
    }
    int32_t old = -1;
    int rc = hold_names_put(&t->names, t->text[i], n, i, &old, err);
    return rc == HOLD_OK && old >= 0
               ? hold_fail(err, HOLD_EFORMAT, "pieces %d and %d are the same", old, i)
               : rc;
}

/* Texts and bytes of all pieces, and the table of those that text can become. */
static int fill_pieces(struct hold_tokenizer *t, const struct hold_vocab *v,
                       const struct hold_tokenizer_extra *extra, struct hold_error *err) {
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
        bool listed = type == HOLD_PIECE_USER && extra->listed != NULL && extra->listed[i];
        if (t->chars) {
            int rc = fill_chars_piece(t, v, i, n, listed, err);
            if (rc != HOLD_OK) {
                return rc;
            }
            p += t->n_bytes[i];
            continue;
        }
        if (literal) {
            memcpy(p, t->text[i], n);
            t->n_bytes[i] = (uint32_t)n;
            p += n;
        }
        const char *name = p;
        long count = literal && !listed ? -1 : alphabet_decode(t->text[i], n, p);
        if (count < 0 && !literal) {
            memcpy(p, t->text[i], n);
            t->n_bytes[i] = (uint32_t)n;
            p += n;
        }
        if (count < 0) {
            continue;
        }
        t->n_bytes[i] = literal ? t->n_bytes[i] : (uint32_t)count;
        p += count;
        int32_t old = -1;
        int rc = hold_names_put(&t->names, name, (size_t)count, i, &old, err);
        if (rc == HOLD_OK && old >= 0) {
            rc = hold_fail(err, HOLD_EFORMAT, "pieces %d and %d are the same", old, i);
        }
        if (rc != HOLD_OK) {
            return rc;
        }
    }
    for (int b = 0; !t->chars && b < 256; b++) {
        char byte = (char)b;
        t->byte_ids[b] = hold_names_get(&t->names, &byte, 1);
    }
    if (t->chars) {
        hold_chars_prepare(t);
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
    int32_t ids[3] = {-1, -1, -1};
    char bytes[2 * PIECE_MAX];
    size_t split = (size_t)(space - merge);
    long left = (long)split, right = (long)(n - split - 1);
    if (t->chars) {
        memcpy(bytes, merge, split);
        memcpy(bytes + split, space + 1, n - split - 1);
    } else {
        left = alphabet_decode(merge, split, bytes);
        right = left < 0 ? -1 : alphabet_decode(space + 1, n - split - 1, bytes + left);
    }
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

static void hash_all(struct hold_tokenizer *t, const struct hold_vocab *v) {
    struct hold_hash hash;
    hold_hash_init(&hash);
    static const char VERSION[] = "holdfast tokenizer 1";
    hold_hash_add(&hash, VERSION, sizeof VERSION);
    bool nfc = hold_normalizer_is_nfc(t->normalizer);
    int32_t head[8] = {t->n,   nfc,    t->ignore_merges, t->fuse_unk,
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
    if (t->chars) {
        int32_t rules[5] = {(int32_t)v->kind, t->byte_fallback, t->decoder.byte_runs,
                            t->decoder.strip_all, (int32_t)t->decoder.strip};
        hold_hash_add(&hash, rules, sizeof rules);
    }
    for (int32_t i = 0; t->chars && i < t->n; i++) {
        double score = v->weights != NULL  ? v->weights[i]
                       : v->scores != NULL ? (double)v->scores[i]
                                           : 0;
        hold_hash_add(&hash, &score, sizeof score);
    }
    if (!nfc) {
        hold_normalizer_hash(t->normalizer, &hash);
    }
    hold_pretok_hash(t->pretok, &hash);
    hold_added_hash(t->added, &hash);
    hold_hash_end(&hash, t->hash);
}

/* Normalizer and pre-tokenizer; from them follows what pieces are made of. */
static int build_rules(struct hold_tokenizer *t, const struct hold_vocab *v,
                       struct hold_error *err) {
    int rc = hold_normalizer_new(&t->normalizer, err);
    if (rc == HOLD_OK) {
        rc = hold_normalizer_add_json(t->normalizer, v->normalizer_json, err);
    }
    bool json = v->pre_json != NULL;
    if (rc == HOLD_OK && (json || v->kind != HOLD_VOCAB_BPE)) {
        rc = hold_pretok_json(&t->pretok, v->pre_json, "pre_tokenizer", err);
    } else if (rc == HOLD_OK) {
        rc = hold_pretok_named(&t->pretok, v->pre != NULL ? v->pre : "default", err);
    }
    if (rc != HOLD_OK) {
        return rc;
    }
    t->chars = !hold_pretok_is_bytes(t->pretok);
    /* The own tokenizers of these normalise; a GGUF file has no place to say so. */
    bool nfc = !json && !t->chars && v->pre != NULL &&
               (strcmp(v->pre, "qwen2") == 0 || strcmp(v->pre, "deepseek-r1-qwen") == 0 ||
                strcmp(v->pre, "mpt") == 0);
    if (nfc) {
        rc = hold_normalizer_add(t->normalizer, HOLD_NORMALIZE_NFC, NULL, NULL, v->pre, err);
    }
    if (rc == HOLD_OK && v->add_space_prefix) {
        rc = hold_normalizer_add(t->normalizer, HOLD_NORMALIZE_PREPEND, NULL, HOLD_BLANK,
                                 "normalizer", err);
    }
    if (rc == HOLD_OK && v->scores != NULL) {
        rc = hold_normalizer_add(t->normalizer, HOLD_NORMALIZE_REPLACE, " ", HOLD_BLANK,
                                 "normalizer", err);
    }
    return rc;
}

/* The added tokens; those that are looked for after normalisation are normalised themselves. */
static int build_added(struct hold_tokenizer *t, const struct hold_tokenizer_extra *extra,
                       struct hold_error *err) {
    struct hold_added *list = NULL;
    struct hold_normal *normal = NULL;
    size_t n = extra->n_added;
    int rc = hold_new((void **)&list, n + 1, sizeof *list, "added tokens", err);
    if (rc == HOLD_OK) {
        rc = hold_new((void **)&normal, n + 1, sizeof *normal, "added tokens", err);
    }
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        list[i] = extra->added[i];
        t->has_normalized = t->has_normalized || list[i].normalized;
        if (list[i].normalized && !extra->normal) {
            rc = hold_normalizer_run(t->normalizer, list[i].text, strlen(list[i].text), true, false,
                                     &normal[i], err);
            list[i].text = rc == HOLD_OK ? normal[i].text : "";
        }
    }
    if (rc == HOLD_OK) {
        rc = hold_added_new(&t->added, list, n, err);
    }
    for (size_t i = 0; normal != NULL && i < n; i++) {
        hold_normal_release(&normal[i]);
    }
    hold_free(normal);
    hold_free(list);
    return rc;
}

/* How pieces join: merges, scores, or a unigram model. */
static int build_joins(struct hold_tokenizer *t, const struct hold_vocab *v,
                       struct hold_error *err) {
    if (v->kind == HOLD_VOCAB_UNIGRAM) {
        return hold_chars_unigram(t, v, err);
    }
    if (v->scores != NULL) {
        return hold_chars_merges(t, v, err);
    }
    int rc = hold_pairs_init(&t->pairs, (size_t)v->n_merges, err);
    for (int32_t i = 0; rc == HOLD_OK && i < v->n_merges; i++) {
        rc = add_merge(t, v->merges[i], i, err);
    }
    return rc;
}

static int build(struct hold_tokenizer *t, const struct hold_vocab *v,
                 const struct hold_tokenizer_extra *extra, struct hold_error *err) {
    size_t total = 0;
    int rc = check_pieces(v, &total, err);
    if (rc == HOLD_OK) {
        rc = build_rules(t, v, err);
    }
    if (rc == HOLD_OK && extra->where != NULL) {
        rc = hold_decoder_json(&t->decoder, extra->decoder_json, !t->chars, extra->where, err);
    }
    if (rc == HOLD_OK && !t->chars && v->kind != HOLD_VOCAB_BPE) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED, "a unigram vocabulary of bytes is not supported");
    }
    if (rc == HOLD_OK && !t->chars && v->byte_fallback) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED, "byte_fallback with ByteLevel is not supported");
    }
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
        rc = fill_pieces(t, v, extra, err);
    }
    if (rc == HOLD_OK) {
        rc = build_joins(t, v, err);
    }
    return rc == HOLD_OK ? build_added(t, extra, err) : rc;
}

int hold_tokenizer_build(struct hold_tokenizer **out, const struct hold_vocab *v,
                         const struct hold_tokenizer_extra *extra, struct hold_error *err) {
    *out = NULL;
    if ((v->kind == HOLD_VOCAB_SPM && v->scores == NULL) ||
        (v->kind == HOLD_VOCAB_UNIGRAM && v->scores == NULL && v->weights == NULL)) {
        return hold_fail(err, HOLD_EFORMAT, "SentencePiece vocabulary without scores");
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
    t->rows = INT32_MAX;
    t->named_unk = v->unk;
    t->pad = v->pad;
    t->ignore_merges = v->ignore_merges;
    t->byte_fallback = v->byte_fallback;
    t->fuse_unk = extra->fuse_unk;
    t->decoder = extra->decoder;
    memset(t->byte_ids, 0xFF, sizeof t->byte_ids);
    rc = build(t, v, extra, err);
    if (rc != HOLD_OK) {
        hold_tokenizer_free(t);
        return rc;
    }
    /* What a byte-level vocabulary lacks never becomes a control token. */
    if (v->unk >= 0 &&
        (t->chars || (v->pre_json != NULL && t->types[v->unk] != HOLD_PIECE_CONTROL))) {
        t->unk = v->unk;
    }
    hash_all(t, v);
    *out = t;
    return HOLD_OK;
}

/* SentencePiece looks for its own symbols in text whose spaces are U+2581 already. */
static const char *symbol_text(struct hold_arena *arena, const char *text) {
    size_t n = strlen(text), count = 0;
    char *out = hold_arena_alloc(arena, n * 3 + 1);
    for (size_t i = 0; out != NULL && i < n; i++) {
        if (text[i] == ' ') {
            memcpy(out + count, HOLD_BLANK, 3);
            count += 3;
        } else {
            out[count++] = text[i];
        }
    }
    return out;
}

int hold_tokenizer_new(struct hold_tokenizer **out, const struct hold_vocab *v,
                       struct hold_error *err) {
    *out = NULL;
    struct hold_added *added = NULL;
    struct hold_arena arena;
    bool spm = v->kind != HOLD_VOCAB_BPE;
    struct hold_tokenizer_extra extra = {
        .fuse_unk = spm,
        .normal = true,
        .decoder = {.byte_runs = spm, .strip = spm && v->add_space_prefix ? 1 : 0}};
    size_t room = v->types != NULL && v->n_pieces > 0 ? (size_t)v->n_pieces : 0;
    hold_arena_init(&arena, 0);
    int rc = hold_new((void **)&added, room + 1, sizeof *added, "added tokens", err);
    for (size_t i = 0; rc == HOLD_OK && i < room; i++) {
        bool control =
            v->types[i] == HOLD_PIECE_CONTROL || (spm && v->types[i] == HOLD_PIECE_UNKNOWN);
        bool user = v->types[i] == HOLD_PIECE_USER;
        if (!(control || user) || v->pieces[i] == NULL) {
            continue;
        }
        if (v->lengths != NULL && strlen(v->pieces[i]) != (size_t)v->lengths[i]) {
            rc = hold_fail(err, HOLD_EFORMAT, "added token %zu has a NUL byte", i);
        }
        const char *text =
            rc == HOLD_OK && spm && user ? symbol_text(&arena, v->pieces[i]) : v->pieces[i];
        if (text == NULL) {
            rc = hold_fail(err, HOLD_ENOMEMORY, "out of memory for added tokens");
        }
        added[extra.n_added++] = (struct hold_added){
            .id = (int32_t)i, .text = text, .special = control, .normalized = spm && user};
    }
    extra.added = added;
    if (rc == HOLD_OK) {
        rc = hold_tokenizer_build(out, v, &extra, err);
    }
    hold_arena_release(&arena);
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
    hold_normalizer_free(t->normalizer);
    hold_unigram_free(t->unigram);
    hold_pretok_free(t->pretok);
    hold_added_free(t->added);
    hold_free(t);
}
