/* tokenizer.c: text to ids and back. */
#include "tokenizer/tokenizer.h"

#include <string.h>

#include "base/mem.h"
#include "tokenizer/internal.h"
#include "tokenizer/unicode.h"

int hold_ids_push(struct hold_ids *ids, int32_t id, struct hold_error *err) {
    if (ids->len == ids->cap) {
        size_t cap = ids->cap == 0 ? 64 : ids->cap, bytes = 0;
        if (!hold_add_size(cap, ids->cap, &cap) || !hold_mul_size(cap, sizeof *ids->data, &bytes)) {
            return hold_fail(err, HOLD_ENOMEMORY, "%zu ids are too many", ids->len);
        }
        int32_t *data = hold_realloc(ids->data, bytes);
        if (data == NULL) {
            return hold_fail(err, HOLD_ENOMEMORY, "out of memory for %zu ids", cap);
        }
        ids->data = data;
        ids->cap = cap;
    }
    ids->data[ids->len++] = id;
    return HOLD_OK;
}

void hold_ids_release(struct hold_ids *ids) {
    hold_free(ids->data);
    *ids = (struct hold_ids){0};
}

/* One call's state. The text in work is `text`; byte i of it is byte origin(i) of the caller's. */
struct encoder {
    const struct hold_tokenizer *t;
    struct hold_ids *ids, *starts;
    struct hold_word word;
    const char *text;     /* of the current section */
    const size_t *normal; /* section byte -> section byte before NFC, or NULL */
    size_t base;          /* where the section begins */
    bool mapped;          /* somebody asks where bytes came from */
    const size_t *repair; /* whole text byte -> caller's byte, or NULL */
};

static size_t origin(const struct encoder *e, size_t i) {
    size_t at = e->base + (e->normal != NULL ? e->normal[i] : i);
    return e->repair != NULL ? e->repair[at] : at;
}

/* Emit id, which begins at byte i of the section. */
static int emit(struct encoder *e, int32_t id, size_t i, struct hold_error *err) {
    if (id >= e->t->rows) {
        return hold_fail(err, HOLD_EDATA, "token '%.80s' has id %d, but the embedding %d rows",
                         e->t->text[id], id, e->t->rows);
    }
    int rc = hold_ids_push(e->ids, id, err);
    if (rc == HOLD_OK && e->starts != NULL) {
        rc = hold_ids_push(e->starts, (int32_t)origin(e, i), err);
    }
    return rc;
}

/* The symbols that text[begin, end) starts as, of a byte-level vocabulary. */
static int byte_symbols(struct encoder *e, size_t begin, size_t end, struct hold_error *err) {
    const struct hold_tokenizer *t = e->t;
    struct hold_word *w = &e->word;
    int rc = hold_word_reserve(w, end - begin, err);
    if (rc != HOLD_OK) {
        return rc;
    }
    w->n = 0;
    for (size_t i = begin; i < end; i++) {
        int32_t id = t->byte_ids[(unsigned char)e->text[i]];
        if (id < 0) {
            bool fused = t->fuse_unk && w->n > 0 && w->ids[w->n - 1] == t->unk;
            id = fused ? -1 : t->unk;
        }
        if (id >= 0) {
            w->ids[w->n] = id;
            w->starts[w->n++] = (uint32_t)(i - begin);
        }
    }
    return HOLD_OK;
}

/* BPE of one word. */
static int encode_word(struct encoder *e, size_t begin, size_t end, struct hold_error *err) {
    const struct hold_tokenizer *t = e->t;
    struct hold_word *w = &e->word;
    int rc = t->chars ? hold_chars_symbols(t, e->text, begin, end, w, err)
                      : byte_symbols(e, begin, end, err);
    if (rc == HOLD_OK) {
        rc = hold_word_merge(w, &t->pairs, err);
    }
    for (size_t i = 0; rc == HOLD_OK && i < w->n; i++) {
        rc = emit(e, w->ids[i], begin + w->starts[i], err);
    }
    return rc;
}

/* One piece of a unigram row, text[begin, end) of the pre-token at e->text. */
static int unigram_piece(void *user, int32_t id, size_t begin, size_t end, struct hold_error *err) {
    struct encoder *e = user;
    const struct hold_tokenizer *t = e->t;
    if (id >= 0) {
        return emit(e, id, begin, err);
    }
    bool bytes = t->byte_fallback;
    for (size_t i = begin; bytes && i < end; i++) {
        bytes = t->byte_ids[(unsigned char)e->text[i]] >= 0;
    }
    int rc = HOLD_OK;
    for (size_t i = begin; rc == HOLD_OK && bytes && i < end; i++) {
        rc = emit(e, t->byte_ids[(unsigned char)e->text[i]], i, err);
    }
    return rc == HOLD_OK && !bytes && t->unk >= 0 ? emit(e, t->unk, begin, err) : rc;
}

static int encode_unigram(struct encoder *e, size_t begin, size_t end, struct hold_error *err) {
    const struct hold_unigram_sink sink = {unigram_piece, e};
    const char *text = e->text;
    const size_t *normal = e->normal;
    size_t base = e->base;
    e->text = text + begin;
    e->normal = normal != NULL ? normal + begin : NULL;
    e->base = normal != NULL ? base : base + begin;
    int rc = hold_unigram_run(e->t->unigram, e->text, end - begin, &sink, err);
    e->text = text;
    e->normal = normal;
    e->base = base;
    return rc;
}

/* One pre-token. */
static int encode_piece(void *user, size_t begin, size_t end, struct hold_error *err) {
    struct encoder *e = user;
    const struct hold_tokenizer *t = e->t;
    if (t->ignore_merges) {
        int32_t whole = hold_names_get(&t->names, e->text + begin, end - begin);
        if (whole >= 0) {
            return emit(e, whole, begin, err);
        }
    }
    if (t->unigram != NULL) {
        return encode_unigram(e, begin, end, err);
    }
    int rc = HOLD_OK;
    for (size_t at = begin, to = end; rc == HOLD_OK && at < end; at = to) {
        to = t->chars ? hold_chars_word(t, e->text, at, end) : end;
        rc = encode_word(e, at, to, err);
    }
    return rc;
}

/* What lies between added tokens: text[0, n) of the section, whose offsets e->base and e->normal
 * tell. */
static int encode_fragment(struct encoder *e, const char *text, size_t n, bool first,
                           struct hold_error *err) {
    const struct hold_pretok_sink sink = {encode_piece, e};
    const struct hold_normalizer *lead = hold_pretok_lead(e->t->pretok);
    const size_t *normal = e->normal;
    if (hold_normalizer_empty(lead) || n == 0) {
        e->text = text;
        return hold_pretok_run(e->t->pretok, text, n, &sink, err);
    }
    struct hold_normal led;
    int rc = hold_normalizer_run(lead, text, n, first, e->mapped, &led, err);
    if (rc == HOLD_OK) {
        for (size_t i = 0; led.from != NULL && normal != NULL && i < led.n; i++) {
            led.from[i] = normal[led.from[i]];
        }
        e->text = led.text;
        e->normal = led.from != NULL ? led.from : normal;
        rc = hold_pretok_run(e->t->pretok, led.text, led.n, &sink, err);
    }
    e->normal = normal;
    hold_normal_release(&led);
    return rc;
}

/* Text without control tokens: added tokens that are looked for after normalisation, and between
 * them the pre-tokenizer.  `allowed` is for this section. */
static int encode_normal(struct encoder *e, const char *text, size_t n,
                         const struct hold_added_search *how, struct hold_error *err) {
    const size_t base = e->base, *normal = e->normal;
    const struct hold_added *token = NULL;
    struct hold_added_place at = {0};
    int rc = HOLD_OK;
    do {
        size_t done = at.done, begin = n;
        token =
            e->t->has_normalized ? hold_added_next(e->t->added, how, text, n, &at, &begin) : NULL;
        if (begin > done) { /* offsets of the piece are counted from its own beginning */
            e->normal = normal != NULL ? normal + done : NULL;
            e->base = normal != NULL ? base : base + done;
            rc = encode_fragment(e, text + done, begin - done, base == 0 && done == 0, err);
        }
        e->normal = normal;
        e->base = base;
        if (rc == HOLD_OK && token != NULL) {
            rc = emit(e, token->id, begin, err);
        }
    } while (rc == HOLD_OK && token != NULL);
    return rc;
}

/* A section between control tokens: text[0, n) at offset e->base. */
static int encode_section(struct encoder *e, const char *text, size_t n,
                          const unsigned char *allowed, bool all, struct hold_error *err) {
    struct hold_added_search how = {.normalized = true, .allowed = allowed, .all = all};
    e->normal = NULL;
    if (hold_normalizer_empty(e->t->normalizer) || n == 0) {
        return encode_normal(e, text, n, &how, err);
    }
    struct hold_normal normal;
    unsigned char *mask = NULL;
    int rc = hold_normalizer_run(e->t->normalizer, text, n, e->base == 0, e->mapped, &normal, err);
    if (rc == HOLD_OK && allowed != NULL && normal.from != NULL) {
        rc = hold_new((void **)&mask, normal.n + 1, 1, "control mask", err);
        /* A normalised byte may be control where all that it was made of may. */
        for (size_t i = 0; rc == HOLD_OK && i < normal.n; i++) {
            size_t from = normal.from[i], to = normal.to[i];
            mask[i] = to == from || memchr(allowed + from, 0, to - from) == NULL;
        }
        how.allowed = mask;
    }
    if (rc == HOLD_OK) {
        e->normal = normal.from;
        rc = encode_normal(e, normal.text, normal.n, &how, err);
    }
    e->normal = NULL;
    hold_normal_release(&normal);
    hold_free(mask);
    return rc;
}

/* Valid UTF-8, with control tokens where `allowed` (or `all`) says. */
static int encode_valid(struct encoder *e, const char *text, size_t n, const unsigned char *allowed,
                        bool all, struct hold_error *err) {
    const struct hold_added_search how = {.allowed = allowed, .all = all};
    const struct hold_added *token = NULL;
    struct hold_added_place at = {0};
    int rc = HOLD_OK;
    do {
        size_t done = at.done, begin = n;
        token = hold_added_next(e->t->added, &how, text, n, &at, &begin);
        if (begin > done) {
            e->base = done;
            rc = encode_section(e, text + done, begin - done,
                                allowed != NULL ? allowed + done : NULL, all, err);
        }
        if (rc == HOLD_OK && token != NULL) {
            e->base = begin;
            rc = emit(e, token->id, 0, err);
        }
    } while (rc == HOLD_OK && token != NULL);
    return rc;
}

static int encode(const struct hold_tokenizer *t, const char *text, const unsigned char *control,
                  bool all, size_t n, struct hold_ids *out, struct hold_ids *starts,
                  struct hold_error *err) {
    struct encoder e = {
        .t = t, .ids = out, .starts = starts, .mapped = starts != NULL || control != NULL};
    struct hold_str repaired = HOLD_STR_INIT;
    size_t *from = NULL;
    unsigned char *mask = NULL;
    int rc = HOLD_OK;
    if (starts != NULL && n > INT32_MAX) {
        return hold_fail(err, HOLD_EDATA, "a text of %zu bytes, at most %d are taken", n,
                         INT32_MAX);
    }
    if (hold_utf8_check(text, n) >= 0) {
        rc = hold_unicode_repair(text, n, &repaired, &from, err);
        if (rc == HOLD_OK && control != NULL) {
            rc = hold_new((void **)&mask, repaired.len + 1, 1, "control mask", err);
            for (size_t i = 0; rc == HOLD_OK && i < repaired.len; i++) {
                mask[i] = control[from[i]];
            }
            control = mask;
        }
        e.repair = from;
        text = hold_str_text(&repaired);
        n = repaired.len;
    }
    if (rc == HOLD_OK) {
        rc = encode_valid(&e, text, n, control, all, err);
    }
    hold_word_release(&e.word);
    hold_str_release(&repaired);
    hold_free(from);
    hold_free(mask);
    return rc;
}

int hold_tokenizer_encode(const struct hold_tokenizer *t, const char *text, size_t n, bool special,
                          struct hold_ids *out, struct hold_error *err) {
    return encode(t, text, NULL, special, n, out, NULL, err);
}

int hold_tokenizer_encode_mixed(const struct hold_tokenizer *t, const char *text,
                                const unsigned char *control, size_t n, struct hold_ids *out,
                                struct hold_ids *starts, struct hold_error *err) {
    return encode(t, text, control, false, n, out, starts, err);
}

int32_t hold_tokenizer_size(const struct hold_tokenizer *t) {
    return t->n;
}

int32_t hold_tokenizer_own_size(const struct hold_tokenizer *t) {
    int32_t n = t->n;
    while (n > 0 && (t->text[n - 1] == NULL || hold_added_find(t->added, t->text[n - 1]) != NULL)) {
        n--;
    }
    return n;
}

void hold_tokenizer_set_rows(struct hold_tokenizer *t, int32_t rows) {
    t->rows = rows;
}

int32_t hold_tokenizer_bos(const struct hold_tokenizer *t) {
    return t->bos;
}

int32_t hold_tokenizer_eos(const struct hold_tokenizer *t) {
    return t->eos;
}

int32_t hold_tokenizer_unknown(const struct hold_tokenizer *t) {
    return t->named_unk;
}

int32_t hold_tokenizer_padding(const struct hold_tokenizer *t) {
    return t->pad;
}

bool hold_tokenizer_ignores_merges(const struct hold_tokenizer *t) {
    return t->ignore_merges;
}

bool hold_tokenizer_falls_back(const struct hold_tokenizer *t) {
    return t->byte_fallback;
}

enum hold_vocab_kind hold_tokenizer_kind(const struct hold_tokenizer *t) {
    return !t->chars ? HOLD_VOCAB_BPE : t->unigram ? HOLD_VOCAB_UNIGRAM : HOLD_VOCAB_SPM;
}

enum hold_piece_type hold_tokenizer_type(const struct hold_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->n ? (enum hold_piece_type)t->types[id] : HOLD_PIECE_UNUSED;
}

int hold_tokenizer_follows(const struct hold_tokenizer *t, const json_t *normalizer,
                           const json_t *pre_tokenizer, bool *same, struct hold_error *err) {
    struct hold_normalizer *n = NULL;
    struct hold_pretok *p = NULL;
    struct hold_hash hash;
    char ours[HOLD_HASH_HEX], theirs[HOLD_HASH_HEX];
    *same = false;
    int rc = hold_normalizer_new(&n, err);
    if (rc == HOLD_OK) {
        rc = hold_normalizer_add_json(n, normalizer, err);
    }
    if (rc == HOLD_OK) {
        rc = hold_pretok_json(&p, pre_tokenizer, "pre_tokenizer", err);
    }
    if (rc == HOLD_OK) {
        hold_hash_init(&hash);
        hold_normalizer_hash(t->normalizer, &hash);
        hold_pretok_hash(t->pretok, &hash);
        hold_hash_end(&hash, ours);
        hold_hash_init(&hash);
        hold_normalizer_hash(n, &hash);
        hold_pretok_hash(p, &hash);
        hold_hash_end(&hash, theirs);
        *same = strcmp(ours, theirs) == 0 && hold_pretok_is_bytes(p) != t->chars;
    }
    hold_normalizer_free(n);
    hold_pretok_free(p);
    return rc;
}

void hold_tokenizer_set_adds(struct hold_tokenizer *t, bool bos, bool eos) {
    t->add_bos = bos;
    t->add_eos = eos;
}

bool hold_tokenizer_adds_bos(const struct hold_tokenizer *t) {
    return t->add_bos;
}

bool hold_tokenizer_adds_eos(const struct hold_tokenizer *t) {
    return t->add_eos;
}

bool hold_tokenizer_is_control(const struct hold_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->n && t->types[id] == HOLD_PIECE_CONTROL && id != t->unk;
}

/* Id of a piece of a byte-level vocabulary, by its text in the byte alphabet. */
static int32_t find_bytes(const struct hold_tokenizer *t, const char *piece, size_t n) {
    struct hold_str bytes = HOLD_STR_INIT;
    int32_t id = -1;
    bool valid = hold_utf8_check(piece, n) < 0;
    for (size_t at = 0; valid && at < n;) {
        int byte = hold_alphabet_byte(hold_unicode_next((const unsigned char *)piece, &at));
        valid = byte >= 0;
        hold_str_add_char(&bytes, (char)byte);
    }
    if (valid && !bytes.out_of_memory) {
        id = hold_names_get(&t->names, hold_str_text(&bytes), bytes.len);
    }
    hold_str_release(&bytes);
    return id;
}

int32_t hold_tokenizer_find(const struct hold_tokenizer *t, const char *piece) {
    const struct hold_added *added = hold_added_find(t->added, piece);
    if (added != NULL) {
        return added->id;
    }
    size_t n = strlen(piece);
    int32_t id = t->chars ? hold_names_get(&t->names, piece, n) : find_bytes(t, piece, n);
    /* Byte pieces, and added tokens whose text is another after normalisation. */
    for (int32_t i = 0; id < 0 && i < t->n; i++) {
        if (t->types[i] != HOLD_PIECE_NORMAL && t->text[i] != NULL &&
            strcmp(t->text[i], piece) == 0) {
            id = i;
        }
    }
    return id;
}

const char *hold_tokenizer_piece(const struct hold_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->n ? t->text[id] : NULL;
}

bool hold_tokenizer_has_special_text(const struct hold_tokenizer *t, const char *text, size_t n) {
    for (int pass = 0; pass < 2; pass++) {
        const struct hold_added_search how = {.normalized = pass == 1, .all = true};
        struct hold_added_place at = {0};
        size_t begin = 0;
        const struct hold_added *token = NULL;
        while ((token = hold_added_next(t->added, &how, text, n, &at, &begin)) != NULL) {
            if (token->special) {
                return true;
            }
        }
    }
    return false;
}

void hold_tokenizer_hash(const struct hold_tokenizer *t, char hex[65]) {
    memcpy(hex, t->hash, sizeof t->hash);
}
