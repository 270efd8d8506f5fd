/* vocab_gguf.c: tokenizers as GGUF metadata. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "formats/vocab.h"

static int no_memory(const struct hold_model_files *from, struct hold_error *err) {
    return hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the tokenizer", from->path);
}

static int parse(json_t **out, const char *text, const struct hold_model_files *from,
                 struct hold_error *err) {
    *out = json_loads(text, JSON_DECODE_ANY, NULL);
    return *out ? HOLD_OK : no_memory(from, err);
}

/* Does the tokenizer cut texts by these rules? */
static int follows(const struct hold_model_files *from, const char *normalizer,
                   const char *pre_tokenizer, bool *same, struct hold_error *err) {
    json_t *normal = NULL, *pre = NULL;
    int rc = parse(&normal, normalizer, from, err);
    if (!rc) {
        rc = parse(&pre, pre_tokenizer, from, err);
    }
    if (!rc) {
        rc = hold_tokenizer_follows(from->tokenizer, normal, pre, same, err);
    }
    json_decref(normal);
    json_decref(pre);
    return rc;
}

/* ---- pieces ---- */

/* The pieces up to the embedding's rows; ids that no piece has become unused ones, as llama.cpp's
 * converter names them. */
struct pieces {
    const char **texts;
    int32_t *types;
    struct hold_arena arena; /* names of unused pieces */
};

static void pieces_release(struct pieces *p) {
    hold_free(p->texts);
    hold_free(p->types);
    hold_arena_release(&p->arena);
}

static int32_t type_number(const struct hold_tokenizer *t, int32_t id) {
    enum { NORMAL = 1, UNKNOWN, CONTROL, USER, UNUSED, BYTE };
    if (hold_tokenizer_kind(t) == HOLD_VOCAB_SPM && id == hold_tokenizer_unknown(t)) {
        return UNKNOWN;
    }
    switch (hold_tokenizer_type(t, id)) {
    case HOLD_PIECE_CONTROL:
        return CONTROL;
    case HOLD_PIECE_USER:
        return USER;
    case HOLD_PIECE_BYTE:
        return BYTE;
    case HOLD_PIECE_UNUSED:
        return UNUSED;
    case HOLD_PIECE_UNKNOWN:
        return UNKNOWN;
    case HOLD_PIECE_NORMAL:
        break;
    }
    return NORMAL;
}

static int collect_pieces(struct pieces *p, const struct hold_model_files *from, int64_t vocab,
                          struct hold_error *err) {
    void *texts = NULL, *types = NULL;
    int rc = hold_new(&texts, (size_t)vocab, sizeof *p->texts, "a list of pieces", err);
    p->texts = texts;
    if (!rc) {
        rc = hold_new(&types, (size_t)vocab, sizeof *p->types, "a list of pieces", err);
    }
    p->types = types;
    for (int32_t i = 0; !rc && i < vocab; i++) {
        const char *text = hold_tokenizer_piece(from->tokenizer, i);
        if (text == NULL) {
            char name[24];
            snprintf(name, sizeof name, "[PAD%d]", i);
            text = hold_arena_strdup(&p->arena, name);
        }
        p->texts[i] = text;
        p->types[i] = type_number(from->tokenizer, i);
        rc = text ? HOLD_OK : no_memory(from, err);
    }
    return rc;
}

/* ---- byte-level ---- */

static int find_pre(const char **out, const struct hold_model_files *from, struct hold_error *err) {
    for (int i = 0; i < HOLD_PRE_RULES; i++) {
        const struct hold_pre_rules *r = &hold_pre_rules[i];
        bool same = false;
        int rc = follows(from, r->normalizer, r->pre_tokenizer, &same, err);
        if (rc) {
            return rc;
        }
        if (same && hold_tokenizer_ignores_merges(from->tokenizer) == r->ignore_merges) {
            *out = r->pre;
            return HOLD_OK;
        }
    }
    return hold_fail(
        err, HOLD_EUNSUPPORTED,
        "%s: a pre-tokenizer that GGUF has no known name for (tokenizer.ggml.pre); "
        "expected that of smollm, gpt-2, mpt, llama-bpe, dbrx, qwen2, stablelm2 or tekken",
        from->path);
}

/* Merges "left right", in one array. */
static int add_merges(struct hold_gguf_keys *keys, const struct hold_model_files *from,
                      struct hold_error *err) {
    const struct hold_tokenizer *t = from->tokenizer;
    struct hold_merge *merges = NULL;
    struct hold_arena arena;
    void *memory = NULL;
    size_t n = 0;
    hold_arena_init(&arena, 0);
    int rc = hold_tokenizer_merges(t, &merges, &n, err);
    if (!rc) {
        rc = hold_new(&memory, n + 1, sizeof(char *), "a list of merges", err);
    }
    const char **texts = memory;
    for (size_t i = 0; !rc && i < n; i++) {
        const char *left = hold_tokenizer_piece(t, merges[i].left);
        const char *right = hold_tokenizer_piece(t, merges[i].right);
        size_t size = strlen(left) + strlen(right) + 2;
        char *text = hold_arena_alloc(&arena, size);
        if (text == NULL) {
            rc = no_memory(from, err);
        } else {
            snprintf(text, size, "%s %s", left, right);
            texts[i] = text;
        }
    }
    if (!rc) {
        hold_gguf_add_texts(keys, "tokenizer.ggml.merges", texts, (int64_t)n);
    }
    hold_free(memory);
    hold_free(merges);
    hold_arena_release(&arena);
    return rc;
}

static int add_byte_level(struct hold_gguf_keys *keys, const struct hold_model_files *from,
                          struct hold_error *err) {
    const char *pre = NULL;
    int rc = find_pre(&pre, from, err);
    if (!rc) {
        hold_gguf_add_text(keys, "tokenizer.ggml.pre", pre);
        rc = add_merges(keys, from, err);
    }
    return rc;
}

/* ---- SentencePiece ---- */

#define BLANK "\xE2\x96\x81" /* U+2581 */
#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" BLANK "\"}"
#define PREPEND "{\"type\":\"Prepend\",\"prepend\":\"" BLANK "\"}"
#define SEQUENCE(list) "{\"type\":\"Sequence\",\"normalizers\":[" list "]}"
#define METASPACE(scheme)                                                                \
    "{\"type\":\"Metaspace\",\"replacement\":\"" BLANK "\",\"prepend_scheme\":\"" scheme \
    "\",\"split\":false}"
#define AT_SPACES                                                                             \
    "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":\"MergedWithPrevious\"," \
    "\"invert\":false}"

/* What SentencePiece does to blanks, in the ways that tokenizer.json says it. */
static int find_prefix(bool *prefix, const struct hold_model_files *from, struct hold_error *err) {
    static const struct {
        const char *normalizer, *pre_tokenizer;
        bool prefix;
    } RULES[] = {
        {SEQUENCE(PREPEND "," REPLACE), "null", true},
        {SEQUENCE(REPLACE), "null", false},
        {REPLACE, AT_SPACES, false},
        {"null", METASPACE("first"), true},
        {"null", METASPACE("always"), true},
        {"null", METASPACE("never"), false},
    };
    for (size_t i = 0; i < sizeof RULES / sizeof *RULES; i++) {
        bool same = false;
        int rc = follows(from, RULES[i].normalizer, RULES[i].pre_tokenizer, &same, err);
        if (rc || same) {
            *prefix = RULES[i].prefix;
            return rc;
        }
    }
    return hold_fail(err, HOLD_EUNSUPPORTED,
                     "%s: a normalizer or pre-tokenizer that a SentencePiece vocabulary of GGUF "
                     "does not have",
                     from->path);
}

/* Each piece that merges make scores the lower the later they come, pieces that none makes lowest:
 * the order of the pieces is all that scores can say. */
static int score_pieces(float *scores, int64_t vocab, const struct hold_model_files *from,
                        const struct hold_merge *merges, size_t n, struct hold_error *err) {
    const struct hold_tokenizer *t = from->tokenizer;
    struct hold_str text = HOLD_STR_INIT;
    int32_t rank = 0;
    int rc = HOLD_OK;
    for (size_t i = 0; !rc && i < n; i++) {
        hold_str_clear(&text);
        hold_str_add(&text, hold_tokenizer_piece(t, merges[i].left));
        hold_str_add(&text, hold_tokenizer_piece(t, merges[i].right));
        rc = hold_str_check(&text, err);
        int32_t id = rc ? -1 : hold_tokenizer_find(t, hold_str_text(&text));
        if (id >= 0 && scores[id] == 0) {
            scores[id] = -(float)++rank;
        }
    }
    for (int64_t i = 0; i < vocab; i++) {
        scores[i] = scores[i] < 0 ? scores[i] : -(float)(rank + 1);
    }
    hold_str_release(&text);
    return rc;
}

static int by_pair(const void *a, const void *b) {
    const struct hold_merge *x = a, *y = b;
    return x->left != y->left ? (x->left > y->left) - (x->left < y->left)
                              : (x->right > y->right) - (x->right < y->right);
}

/* Are both lists the same merges, those of one rank of the second in any order?  It is sorted for
 * that. */
static int compare_merges(const struct hold_merge *list, struct hold_merge *ranked, size_t n,
                          bool *same, struct hold_error *err) {
    void *memory = NULL;
    int rc = hold_new(&memory, n + 1, sizeof *list, "merges", err);
    struct hold_merge *copy = memory;
    *same = !rc;
    if (!rc) {
        memcpy(copy, list, n * sizeof *list);
    }
    for (size_t i = 0; *same && i < n;) {
        size_t k = i + 1;
        while (k < n && ranked[k].rank == ranked[i].rank) {
            k++;
        }
        qsort(copy + i, k - i, sizeof *copy, by_pair);
        qsort(ranked + i, k - i, sizeof *ranked, by_pair);
        for (; *same && i < k; i++) {
            *same = by_pair(&copy[i], &ranked[i]) == 0;
        }
    }
    hold_free(memory);
    return rc;
}

/* Do the scores mean the merges that there are, no other ones, and in this order? */
static int check_scores(const struct hold_model_files *from, const struct pieces *p, int64_t vocab,
                        const float *scores, const struct hold_merge *merges, size_t n,
                        struct hold_error *err) {
    const struct hold_tokenizer *t = from->tokenizer;
    struct hold_tokenizer *other = NULL;
    struct hold_merge *meant = NULL;
    void *types = NULL;
    size_t count = 0;
    int rc = hold_new(&types, (size_t)vocab, sizeof(enum hold_piece_type), "types of pieces", err);
    enum hold_piece_type *kinds = types;
    for (int32_t i = 0; !rc && i < vocab; i++) {
        kinds[i] = hold_tokenizer_type(t, i);
    }
    struct hold_vocab v = {.kind = HOLD_VOCAB_SPM,
                           .n_pieces = (int32_t)vocab,
                           .pieces = p->texts,
                           .types = types,
                           .scores = scores,
                           .byte_fallback = hold_tokenizer_falls_back(t),
                           .bos = -1,
                           .eos = -1,
                           .unk = -1,
                           .pad = -1};
    if (!rc) {
        rc = hold_tokenizer_new(&other, &v, err);
    }
    if (!rc) {
        rc = hold_tokenizer_merges(other, &meant, &count, err);
    }
    bool same = !rc && count == n;
    if (same) {
        rc = compare_merges(merges, meant, n, &same, err);
    }
    hold_free(meant);
    hold_free(types);
    hold_tokenizer_free(other);
    return rc || same ? rc
                      : hold_fail(err, HOLD_EUNSUPPORTED,
                                  "%s: merges that are not those of a SentencePiece vocabulary: no "
                                  "scores of pieces mean them",
                                  from->path);
}

static int add_spm(struct hold_gguf_keys *keys, const struct hold_model_files *from,
                   const struct pieces *p, int64_t vocab, struct hold_error *err) {
    struct hold_merge *merges = NULL;
    void *scores = NULL;
    size_t n = 0;
    bool prefix = false;
    int rc = find_prefix(&prefix, from, err);
    if (!rc && !hold_tokenizer_falls_back(from->tokenizer)) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED,
                       "%s: a SentencePiece vocabulary of GGUF falls back to bytes, this one "
                       "(byte_fallback false) does not",
                       from->path);
    }
    if (!rc) {
        rc = hold_tokenizer_merges(from->tokenizer, &merges, &n, err);
    }
    if (!rc) {
        rc = hold_new(&scores, (size_t)vocab, sizeof(float), "scores of pieces", err);
    }
    if (!rc) {
        rc = score_pieces(scores, vocab, from, merges, n, err);
    }
    if (!rc) {
        rc = check_scores(from, p, vocab, scores, merges, n, err);
    }
    if (!rc) {
        hold_gguf_add_text(keys, "tokenizer.ggml.pre", "default");
        hold_gguf_add_reals(keys, "tokenizer.ggml.scores", scores, vocab);
        hold_gguf_add_bool(keys, "tokenizer.ggml.add_space_prefix", prefix);
    }
    hold_free(merges);
    hold_free(scores);
    return rc;
}

/* ---- both ---- */

/* Special ids.  GGUF has places for three that end generation: the tokenizer's own and two more. */
static void add_ids(struct hold_gguf_keys *keys, const struct hold_model_files *from,
                    int64_t vocab) {
    static const char *const ENDS[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const struct hold_tokenizer *t = from->tokenizer;
    int32_t eos = hold_tokenizer_eos(t);
    if (eos < 0 && from->n_eos_ids > 0) {
        eos = from->eos_ids[0];
    }
    const struct {
        const char *key;
        int32_t id;
    } ids[] = {{"tokenizer.ggml.bos_token_id", hold_tokenizer_bos(t)},
               {"tokenizer.ggml.eos_token_id", eos},
               {"tokenizer.ggml.unknown_token_id", hold_tokenizer_unknown(t)},
               {"tokenizer.ggml.padding_token_id", hold_tokenizer_padding(t)}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (ids[i].id >= 0 && ids[i].id < vocab) {
            hold_gguf_add_int(keys, ids[i].key, (uint32_t)ids[i].id);
        }
    }
    size_t n = 0;
    for (int i = 0; i < from->n_eos_ids && n < sizeof ENDS / sizeof *ENDS; i++) {
        if (from->eos_ids[i] != eos) {
            hold_gguf_add_int(keys, ENDS[n++], (uint32_t)from->eos_ids[i]);
        }
    }
    hold_gguf_add_bool(keys, "tokenizer.ggml.add_bos_token", hold_tokenizer_adds_bos(t));
    hold_gguf_add_bool(keys, "tokenizer.ggml.add_eos_token", hold_tokenizer_adds_eos(t));
}

static void copy_keys(struct hold_gguf_keys *keys, const struct hold_gguf *g) {
    struct hold_gguf_entry entry;
    for (int64_t i = 0; hold_gguf_entry(g, i, &entry); i++) {
        if (hold_starts(entry.key, "tokenizer.")) {
            hold_gguf_add_entry(keys, &entry);
        }
    }
}

int hold_vocab_to_gguf(struct hold_gguf_keys *keys, const struct hold_model_files *from,
                       int64_t vocab, struct hold_error *err) {
    if (from->gguf) {
        copy_keys(keys, from->gguf);
        return HOLD_OK;
    }
    enum hold_vocab_kind kind = hold_tokenizer_kind(from->tokenizer);
    if (kind == HOLD_VOCAB_UNIGRAM) {
        return hold_fail(err, HOLD_EUNSUPPORTED,
                         "%s: a Unigram tokenizer cannot be written as GGUF; expected byte-level "
                         "BPE or SentencePiece BPE",
                         from->path);
    }
    struct pieces p = {0};
    hold_arena_init(&p.arena, 0);
    int rc = collect_pieces(&p, from, vocab, err);
    if (!rc) {
        hold_gguf_add_text(keys, "tokenizer.ggml.model", kind == HOLD_VOCAB_BPE ? "gpt2" : "llama");
        hold_gguf_add_texts(keys, "tokenizer.ggml.tokens", p.texts, vocab);
        hold_gguf_add_ints(keys, "tokenizer.ggml.token_type", p.types, vocab);
        rc = kind == HOLD_VOCAB_BPE ? add_byte_level(keys, from, err)
                                    : add_spm(keys, from, &p, vocab, err);
    }
    if (!rc) {
        add_ids(keys, from, vocab);
        if (from->chat_template) {
            hold_gguf_add_text(keys, "tokenizer.chat_template", from->chat_template);
        }
    }
    pieces_release(&p);
    return rc;
}
