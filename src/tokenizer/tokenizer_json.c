/* tokenizer_json.c: Hugging Face tokenizer.json (BPE and Unigram) to a vocabulary. */
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "tokenizer/internal.h"

/* Ids may leave this many holes in all; real files leave none or a few. */
enum { HOLES_MAX = 65536 };

struct reader {
    const char *where;
    struct hold_arena arena; /* merges given as pairs */
    struct hold_vocab vocab;
    const char **pieces;
    int32_t *lengths;
    enum hold_piece_type *types;
    bool *listed; /* in model.vocab */
    const char **merges;
    json_t *pieces_by_text; /* of Unigram: the list as BPE has it; owned */
    double *weights;
    struct hold_added *added;
    size_t n_added;
};

static void reader_release(struct reader *r) {
    hold_arena_release(&r->arena);
    hold_free(r->pieces);
    hold_free(r->lengths);
    hold_free(r->types);
    hold_free(r->listed);
    hold_free(r->merges);
    hold_free(r->weights);
    json_decref(r->pieces_by_text);
    hold_free(r->added);
}

/* Refuse a key of the model whose value is not the one we know how to follow. */
static int refuse_unless_empty(const struct reader *r, const json_t *model, const char *key,
                               struct hold_error *err) {
    const json_t *v = json_object_get(model, key);
    bool empty = v == NULL || json_is_null(v) || json_is_false(v) ||
                 (json_is_number(v) && json_number_value(v) == 0) ||
                 (json_is_string(v) && json_string_length(v) == 0);
    return empty
               ? HOLD_OK
               : hold_fail(err, HOLD_EUNSUPPORTED, "%s: model.%s is not supported", r->where, key);
}

static int check_model(struct reader *r, const json_t *model, struct hold_error *err) {
    const char *type = NULL;
    int rc = hold_json_text_or(model, "type", "BPE", &type, r->where, err);
    if (rc != HOLD_OK) {
        return rc;
    }
    if (strcmp(type, "Unigram") == 0) {
        r->vocab.kind = HOLD_VOCAB_UNIGRAM;
        return json_is_array(json_object_get(model, "vocab"))
                   ? HOLD_OK
                   : hold_fail(err, HOLD_EFORMAT, "%s: model.vocab is not a list", r->where);
    }
    if (strcmp(type, "BPE") != 0) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s: model type %s is not supported", r->where,
                         type);
    }
    static const char *const KEYS[] = {"dropout", "continuing_subword_prefix",
                                       "end_of_word_suffix"};
    for (size_t i = 0; rc == HOLD_OK && i < sizeof KEYS / sizeof KEYS[0]; i++) {
        rc = refuse_unless_empty(r, model, KEYS[i], err);
    }
    if (rc == HOLD_OK && !json_is_object(json_object_get(model, "vocab"))) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: model.vocab is not an object", r->where);
    }
    if (rc == HOLD_OK && !json_is_array(json_object_get(model, "merges"))) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: model.merges is not a list", r->where);
    }
    return rc;
}

/* Unigram's list of [piece, score], as an object of ids and an array of scores. */
static int read_unigram(struct reader *r, const json_t *list, struct hold_error *err) {
    size_t n = json_array_size(list);
    r->pieces_by_text = json_object();
    int rc = r->pieces_by_text == NULL ? hold_fail(err, HOLD_ENOMEMORY, "out of memory for pieces")
                                       : HOLD_OK;
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        const json_t *item = json_array_get(list, i);
        const char *text = json_string_value(json_array_get(item, 0));
        if (text == NULL || json_array_size(item) != 2 ||
            !json_is_number(json_array_get(item, 1))) {
            rc = hold_fail(err, HOLD_EFORMAT, "%s: model.vocab[%zu] is not a piece and its score",
                           r->where, i);
        } else if (json_object_get(r->pieces_by_text, text) != NULL) {
            rc = hold_fail(err, HOLD_EFORMAT, "%s: model.vocab[%zu]: \"%.80s\" is there twice",
                           r->where, i, text);
        } else if (json_object_set_new(r->pieces_by_text, text, json_integer((json_int_t)i)) != 0) {
            rc = hold_fail(err, HOLD_ENOMEMORY, "out of memory for pieces");
        }
    }
    return rc;
}

/* Scores by id, once all ids are known; added tokens beyond the list have none (NAN). */
static int read_weights(struct reader *r, const json_t *list, struct hold_error *err) {
    int rc = hold_new((void **)&r->weights, (size_t)r->vocab.n_pieces, sizeof *r->weights, "scores",
                      err);
    for (size_t i = 0; rc == HOLD_OK && i < (size_t)r->vocab.n_pieces; i++) {
        const json_t *score = json_array_get(json_array_get(list, i), 1);
        r->weights[i] = score != NULL ? json_number_value(score) : (double)NAN;
    }
    r->vocab.weights = r->weights;
    return rc;
}

/* An id as JSON gives it: an integer in 0 ... most. */
static int read_id(const struct reader *r, const json_t *value, const char *what, int64_t most,
                   int32_t *out, struct hold_error *err) {
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > most) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: the id of \"%.80s\" is not an integer in 0 to %lld", r->where, what,
                         (long long)most);
    }
    *out = (int32_t)json_integer_value(value);
    return HOLD_OK;
}

/* Place a piece at its id; two pieces cannot have one. */
static int place(struct reader *r, int32_t id, const char *text, size_t n,
                 enum hold_piece_type type, struct hold_error *err) {
    if (r->pieces[id] != NULL &&
        ((size_t)r->lengths[id] != n || memcmp(r->pieces[id], text, n) != 0)) {
        return hold_fail(err, HOLD_EFORMAT, "%s: \"%.80s\" and \"%.80s\" have one id, %d", r->where,
                         r->pieces[id], text, id);
    }
    r->pieces[id] = text;
    r->lengths[id] = (int32_t)n;
    r->types[id] = type;
    return HOLD_OK;
}

static int read_vocab(struct reader *r, const json_t *vocab, const json_t *added,
                      struct hold_error *err) {
    size_t most = json_object_size(vocab) + json_array_size(added) + HOLES_MAX;
    int rc = HOLD_OK;
    if (most > INT32_MAX / 2) {
        return hold_fail(err, HOLD_EFORMAT, "%s: %zu pieces are too many", r->where, most);
    }
    int32_t top = -1, id = 0;
    const char *key = NULL;
    const json_t *value = NULL;
    json_object_foreach((json_t *)vocab, key, value) {
        rc = read_id(r, value, key, (int64_t)most, &id, err);
        if (rc != HOLD_OK) {
            return rc;
        }
        top = id > top ? id : top;
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *item = json_array_get(added, i);
        const char *text = json_string_value(json_object_get(item, "content"));
        if (text == NULL) {
            return hold_fail(err, HOLD_EFORMAT, "%s: added_tokens[%zu] has no content", r->where,
                             i);
        }
        rc = read_id(r, json_object_get(item, "id"), text, (int64_t)most, &id, err);
        if (rc != HOLD_OK) {
            return rc;
        }
        top = id > top ? id : top;
    }
    size_t n = (size_t)(top + 1);
    rc = hold_new((void **)&r->pieces, n, sizeof *r->pieces, "vocabulary", err);
    if (rc == HOLD_OK) {
        rc = hold_new((void **)&r->lengths, n, sizeof *r->lengths, "vocabulary", err);
    }
    if (rc == HOLD_OK) {
        rc = hold_new((void **)&r->types, n, sizeof *r->types, "vocabulary", err);
    }
    if (rc == HOLD_OK) {
        rc = hold_new((void **)&r->listed, n, sizeof *r->listed, "vocabulary", err);
    }
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        r->types[i] = HOLD_PIECE_UNUSED;
    }
    if (rc != HOLD_OK) {
        return rc;
    }
    json_object_foreach((json_t *)vocab, key, value) {
        id = (int32_t)json_integer_value(value);
        rc = place(r, id, key, strlen(key), HOLD_PIECE_NORMAL, err);
        r->listed[id] = true;
        if (rc != HOLD_OK) {
            return rc;
        }
    }
    r->vocab.n_pieces = top + 1;
    r->vocab.pieces = r->pieces;
    r->vocab.lengths = r->lengths;
    r->vocab.types = r->types;
    return HOLD_OK;
}

static int read_added(struct reader *r, const json_t *vocab, const json_t *list,
                      struct hold_error *err) {
    size_t n = json_array_size(list);
    int rc = hold_new((void **)&r->added, n + 1, sizeof *r->added, "added tokens", err);
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        const json_t *item = json_array_get(list, i);
        struct hold_added *t = &r->added[i];
        bool word = false;
        t->id = (int32_t)json_integer_value(json_object_get(item, "id"));
        t->text = json_string_value(json_object_get(item, "content"));
        const struct {
            const char *key;
            bool *out;
        } FLAGS[] = {{"special", &t->special},
                     {"lstrip", &t->lstrip},
                     {"rstrip", &t->rstrip},
                     {"normalized", &t->normalized},
                     {"single_word", &word}};
        for (size_t k = 0; rc == HOLD_OK && k < sizeof FLAGS / sizeof FLAGS[0]; k++) {
            rc = hold_json_bool_or(item, FLAGS[k].key, false, FLAGS[k].out, r->where, err);
        }
        if (rc == HOLD_OK && word) {
            rc = hold_fail(err, HOLD_EUNSUPPORTED,
                           "%s: added token \"%.80s\": single_word is not supported", r->where,
                           t->text);
        }
        const json_t *known = json_object_get(vocab, t->text);
        if (rc == HOLD_OK && known != NULL && json_integer_value(known) != t->id) {
            rc = hold_fail(err, HOLD_EFORMAT,
                           "%s: added token \"%.80s\" has id %d, but %lld in model.vocab", r->where,
                           t->text, t->id, (long long)json_integer_value(known));
        }
        if (rc == HOLD_OK) {
            rc = place(r, t->id, t->text, strlen(t->text),
                       t->special ? HOLD_PIECE_CONTROL : HOLD_PIECE_USER, err);
        }
    }
    r->n_added = n;
    return rc;
}

/* Merges are "left right" or ["left", "right"]. */
static int read_merges(struct reader *r, const json_t *list, struct hold_error *err) {
    size_t n = json_array_size(list);
    if (n > INT32_MAX) {
        return hold_fail(err, HOLD_EFORMAT, "%s: %zu merges are too many", r->where, n);
    }
    int rc = hold_new((void **)&r->merges, n + 1, sizeof *r->merges, "merges", err);
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        const json_t *item = json_array_get(list, i);
        const char *left = json_string_value(json_array_get(item, 0));
        const char *right = json_string_value(json_array_get(item, 1));
        if (json_is_string(item)) {
            r->merges[i] = json_string_value(item);
        } else if (left != NULL && right != NULL && json_array_size(item) == 2) {
            size_t a = strlen(left), b = strlen(right);
            char *merge = hold_arena_alloc(&r->arena, a + b + 2);
            if (merge == NULL) {
                return hold_fail(err, HOLD_ENOMEMORY, "out of memory for merges");
            }
            memcpy(merge, left, a);
            merge[a] = ' ';
            memcpy(merge + a + 1, right, b + 1);
            r->merges[i] = merge;
        } else {
            rc = hold_fail(err, HOLD_EFORMAT, "%s: model.merges[%zu] is not a pair of pieces",
                           r->where, i);
        }
    }
    r->vocab.merges = r->merges;
    r->vocab.n_merges = (int32_t)n;
    return rc;
}

/* Id of a text among all pieces: model.vocab, then the added tokens. */
static int32_t find_id(const struct reader *r, const json_t *vocab, const char *text) {
    for (size_t i = 0; i < r->n_added; i++) {
        if (strcmp(r->added[i].text, text) == 0) {
            return r->added[i].id;
        }
    }
    const json_t *known = json_object_get(vocab, text);
    return known != NULL ? (int32_t)json_integer_value(known) : -1;
}

/* A token named in tokenizer_config.json: text, {"content": text}, or null. */
static int config_token(const struct reader *r, const json_t *config, const json_t *vocab,
                        const char *key, int32_t *out, struct hold_error *err) {
    const json_t *value = json_object_get(config, key);
    *out = -1;
    if (value == NULL || json_is_null(value)) {
        return HOLD_OK;
    }
    const char *text = json_is_object(value) ? json_string_value(json_object_get(value, "content"))
                                             : json_string_value(value);
    if (text == NULL) {
        return hold_fail(err, HOLD_EFORMAT, "tokenizer_config.json: %s is not a token", key);
    }
    *out = find_id(r, vocab, text);
    return *out >= 0
               ? HOLD_OK
               : hold_fail(err, HOLD_EFORMAT, "tokenizer_config.json: %s \"%.80s\" is not in %s",
                           key, text, r->where);
}

static int read_config(struct reader *r, const json_t *config, const json_t *vocab, const char *unk,
                       struct hold_error *err) {
    int32_t unused = -1;
    int rc = config_token(r, config, vocab, "bos_token", &r->vocab.bos, err);
    if (rc == HOLD_OK) {
        rc = config_token(r, config, vocab, "eos_token", &r->vocab.eos, err);
    }
    if (rc == HOLD_OK) {
        rc = config_token(r, config, vocab, "pad_token", &unused, err);
    }
    r->vocab.pad = unused;
    r->vocab.unk = unk != NULL ? find_id(r, vocab, unk) : -1;
    if (rc == HOLD_OK && unk != NULL && r->vocab.unk < 0) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: model.unk_token \"%.80s\" is not in the vocabulary",
                       r->where, unk);
    }
    return rc;
}

/* What becomes of a text that no piece covers. */
static int read_unknown(struct reader *r, const json_t *model, const json_t *vocab,
                        const char **unk, bool *fuse, struct hold_error *err) {
    int rc =
        hold_json_bool_or(model, "byte_fallback", false, &r->vocab.byte_fallback, r->where, err);
    *unk = NULL;
    *fuse = true;
    if (rc != HOLD_OK) {
        return rc;
    }
    if (r->vocab.kind != HOLD_VOCAB_UNIGRAM) {
        rc = hold_json_text_or(model, "unk_token", NULL, unk, r->where, err);
        return rc == HOLD_OK ? hold_json_bool_or(model, "fuse_unk", false, fuse, r->where, err)
                             : rc;
    }
    int64_t id = -1;
    const json_t *value = json_object_get(model, "unk_id");
    if (value != NULL && !json_is_null(value)) {
        rc = hold_json_get_int(model, "unk_id", &id, r->where, err);
        const json_t *item = id >= 0 ? json_array_get(vocab, (size_t)id) : NULL;
        *unk = json_string_value(json_array_get(item, 0));
        if (rc == HOLD_OK && *unk == NULL) {
            rc = hold_fail(err, HOLD_EFORMAT, "%s: model.unk_id %lld is out of range", r->where,
                           (long long)id);
        }
    }
    return rc;
}

/* Pieces, added tokens and how they join. */
static int read_pieces(struct reader *r, const json_t *model, const json_t *added,
                       struct hold_error *err) {
    const json_t *list = json_object_get(model, "vocab");
    bool unigram = r->vocab.kind == HOLD_VOCAB_UNIGRAM;
    int rc = unigram ? read_unigram(r, list, err) : HOLD_OK;
    const json_t *vocab = unigram ? r->pieces_by_text : list;
    if (rc == HOLD_OK) {
        rc = read_vocab(r, vocab, added, err);
    }
    if (rc == HOLD_OK) {
        rc = read_added(r, vocab, added, err);
    }
    if (rc == HOLD_OK) {
        rc = unigram ? read_weights(r, list, err)
                     : read_merges(r, json_object_get(model, "merges"), err);
    }
    return rc;
}

int hold_tokenizer_from_json(struct hold_tokenizer **out, const json_t *tokenizer,
                             const json_t *config, const char *where, struct hold_error *err) {
    *out = NULL;
    struct reader r = {.where = where, .vocab = {.kind = HOLD_VOCAB_BPE}};
    struct hold_tokenizer_extra extra = {0};
    hold_arena_init(&r.arena, 0);
    const json_t *model = json_object_get(tokenizer, "model");
    const json_t *added = json_object_get(tokenizer, "added_tokens");
    const char *unk = NULL;
    int rc = HOLD_OK;
    if (!json_is_object(tokenizer) || !json_is_object(model)) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: no \"model\" object", where);
    } else if (added != NULL && !json_is_null(added) && !json_is_array(added)) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: added_tokens is not a list", where);
    }
    if (rc == HOLD_OK) {
        rc = check_model(&r, model, err);
    }
    if (rc == HOLD_OK) {
        rc = read_unknown(&r, model, json_object_get(model, "vocab"), &unk, &extra.fuse_unk, err);
    }
    if (rc == HOLD_OK) {
        rc = hold_json_bool_or(model, "ignore_merges", false, &r.vocab.ignore_merges, where, err);
    }
    if (rc == HOLD_OK) {
        rc = read_pieces(&r, model, added, err);
    }
    if (rc == HOLD_OK) {
        const json_t *vocab =
            r.pieces_by_text != NULL ? r.pieces_by_text : json_object_get(model, "vocab");
        rc = read_config(&r, config, vocab, unk, err);
    }
    if (rc == HOLD_OK) {
        r.vocab.normalizer_json = json_object_get(tokenizer, "normalizer");
        r.vocab.pre_json = json_object_get(tokenizer, "pre_tokenizer");
        if (r.vocab.pre_json == NULL) {
            r.vocab.pre_json = json_null();
        }
        extra.added = r.added;
        extra.n_added = r.n_added;
        extra.listed = r.listed;
        extra.decoder_json = json_object_get(tokenizer, "decoder");
        extra.where = where;
        rc = hold_tokenizer_build(out, &r.vocab, &extra, err);
    }
    reader_release(&r);
    return rc;
}
