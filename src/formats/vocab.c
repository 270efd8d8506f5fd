/* vocab.c: vocabularies from GGUF metadata, and written as tokenizer.json. */
#include "formats/vocab.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

static int read_kind(struct hold_vocab *v, const struct hold_gguf *g, const char *where,
                     struct hold_error *err) {
    static const struct {
        const char *name;
        enum hold_vocab_kind kind;
    } KINDS[] = {{"gpt2", HOLD_VOCAB_BPE}, {"llama", HOLD_VOCAB_SPM}, {"t5", HOLD_VOCAB_UNIGRAM}};
    const char *name = NULL;
    int rc = hold_gguf_text_or(g, "tokenizer.ggml.model", "(missing)", &name, err);
    if (rc) {
        return rc;
    }
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        if (strcmp(name, KINDS[i].name) == 0) {
            v->kind = KINDS[i].kind;
            return HOLD_OK;
        }
    }
    return hold_fail(err, HOLD_EUNSUPPORTED,
                     "%s: tokenizer.ggml.model \"%s\" is not supported; expected gpt2, llama or t5",
                     where, name);
}

/* An array beside the pieces must be as long as they are. */
static int check_length(const char *key, int64_t n, const struct hold_vocab *v, const char *where,
                        struct hold_error *err) {
    if (n != v->n_pieces) {
        return hold_fail(err, HOLD_EFORMAT, "%s: %s: %lld items, expected %d (one for each piece)",
                         where, key, (long long)n, v->n_pieces);
    }
    return HOLD_OK;
}

static int read_types(struct hold_vocab *v, enum hold_piece_type **types, const struct hold_gguf *g,
                      const char *where, struct hold_error *err) {
    static const char KEY[] = "tokenizer.ggml.token_type";
    static const enum hold_piece_type TYPES[] = {
        HOLD_PIECE_NORMAL, HOLD_PIECE_NORMAL, HOLD_PIECE_UNKNOWN, HOLD_PIECE_CONTROL,
        HOLD_PIECE_USER,   HOLD_PIECE_UNUSED, HOLD_PIECE_BYTE,
    };
    const int32_t *items;
    int64_t n;
    if (!hold_gguf_has(g, KEY)) {
        return HOLD_OK;
    }
    int rc = hold_gguf_ints(g, KEY, &items, &n, err);
    if (!rc) {
        rc = check_length(KEY, n, v, where, err);
    }
    void *memory = NULL;
    if (!rc) {
        rc = hold_new(&memory, (size_t)n, sizeof **types, "the types of the pieces", err);
    }
    if (rc) {
        return rc;
    }
    *types = memory;
    v->types = memory;
    for (int64_t i = 0; i < n; i++) {
        if (items[i] < 0 || (size_t)items[i] >= sizeof TYPES / sizeof *TYPES) {
            return hold_fail(err, HOLD_EFORMAT, "%s: %s: item %lld is %d, expected 0 to 6", where,
                             KEY, (long long)i, items[i]);
        }
        (*types)[i] = TYPES[items[i]];
    }
    return HOLD_OK;
}

static int read_merges(struct hold_vocab *v, const struct hold_gguf *g, struct hold_error *err) {
    const int32_t *lengths;
    int64_t n = 0;
    int rc = hold_gguf_texts(g, "tokenizer.ggml.merges", &v->merges, &lengths, &n, err);
    v->n_merges = (int32_t)n; /* the reader keeps counts below 2^26 */
    return rc;
}

static int read_scores(struct hold_vocab *v, const struct hold_gguf *g, const char *where,
                       struct hold_error *err) {
    static const char KEY[] = "tokenizer.ggml.scores";
    int64_t n = 0;
    int rc = hold_gguf_reals(g, KEY, &v->scores, &n, err);
    return rc ? rc : check_length(KEY, n, v, where, err);
}

/* Normalisation rules that a SentencePiece model may carry and that are not followed here. */
static int check_rules(const struct hold_gguf *g, const char *where, struct hold_error *err) {
    int64_t extra = 0;
    if (hold_gguf_has(g, "tokenizer.ggml.precompiled_charsmap")) {
        return hold_fail(err, HOLD_EUNSUPPORTED,
                         "%s: tokenizer.ggml.precompiled_charsmap is not supported", where);
    }
    int rc = hold_gguf_int_or(g, "tokenizer.ggml.remove_extra_whitespaces", 0, &extra, err);
    return rc == HOLD_OK && extra != 0
               ? hold_fail(err, HOLD_EUNSUPPORTED,
                           "%s: tokenizer.ggml.remove_extra_whitespaces is not supported", where)
               : rc;
}

static int read_ids(struct hold_vocab *v, const struct hold_gguf *g, const char *where,
                    struct hold_error *err) {
    const struct {
        const char *key;
        int32_t *out;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", &v->bos},
        {"tokenizer.ggml.eos_token_id", &v->eos},
        {"tokenizer.ggml.unknown_token_id", &v->unk},
        {"tokenizer.ggml.padding_token_id", &v->pad},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        int64_t id;
        int rc = hold_gguf_int_or(g, ids[i].key, -1, &id, err);
        if (rc) {
            return rc;
        }
        if (id == 0xFFFFFFFF) { /* -1 as some converters store it */
            id = -1;
        }
        if (id < -1 || id >= v->n_pieces) {
            return hold_fail(err, HOLD_EFORMAT, "%s: %s: found %lld, expected less than %d pieces",
                             where, ids[i].key, (long long)id, v->n_pieces);
        }
        *ids[i].out = (int32_t)id;
    }
    return HOLD_OK;
}

/* Switches whose defaults depend on the kind and the pre-tokenizer, as in llama.cpp. */
static int read_switches(struct hold_vocab *v, const struct hold_gguf *g, struct hold_error *err) {
    bool bpe = v->kind == HOLD_VOCAB_BPE, tekken = bpe && strcmp(v->pre, "tekken") == 0;
    bool llama3 = bpe && (strcmp(v->pre, "llama-bpe") == 0 || strcmp(v->pre, "llama3") == 0 ||
                          strcmp(v->pre, "llama-v3") == 0);
    const struct {
        const char *key;
        bool def, *out;
    } switches[] = {
        {"tokenizer.ggml.add_bos_token", v->kind == HOLD_VOCAB_SPM || llama3 || tekken,
         &v->add_bos},
        {"tokenizer.ggml.add_eos_token", v->kind == HOLD_VOCAB_UNIGRAM, &v->add_eos},
        {"tokenizer.ggml.add_space_prefix", !bpe, &v->add_space_prefix},
    };
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        int64_t on;
        int rc = hold_gguf_int_or(g, switches[i].key, switches[i].def, &on, err);
        if (rc) {
            return rc;
        }
        *switches[i].out = on != 0;
    }
    v->ignore_merges = llama3 || tekken;
    v->byte_fallback = v->kind == HOLD_VOCAB_SPM;
    return HOLD_OK;
}

int hold_vocab_from_gguf(struct hold_vocab *out, enum hold_piece_type **types,
                         const struct hold_gguf *g, const char *where, struct hold_error *err) {
    *out = (struct hold_vocab){.bos = -1, .eos = -1, .unk = -1, .pad = -1};
    *types = NULL;
    int64_t n = 0;
    int rc = read_kind(out, g, where, err);
    if (!rc) {
        rc = hold_gguf_texts(g, "tokenizer.ggml.tokens", &out->pieces, &out->lengths, &n, err);
    }
    if (!rc && n == 0) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: tokenizer.ggml.tokens is empty", where);
    }
    out->n_pieces = (int32_t)n;
    if (!rc) {
        rc = read_types(out, types, g, where, err);
    }
    if (!rc) {
        rc = out->kind == HOLD_VOCAB_BPE ? read_merges(out, g, err)
                                         : read_scores(out, g, where, err);
    }
    if (!rc) {
        rc = hold_gguf_text_or(g, "tokenizer.ggml.pre", "default", &out->pre, err);
    }
    if (!rc && out->kind != HOLD_VOCAB_BPE) {
        rc = check_rules(g, where, err);
    }
    if (!rc) {
        rc = read_ids(out, g, where, err);
    }
    return rc ? rc : read_switches(out, g, err);
}

/* ---- tokenizer.json ---- */

#define BYTE_LEVEL(regex)                                                             \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_" \
    "regex\":" regex "}"
#define SPLIT(pattern)                                      \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern \
    "\"},\"behavior\":\"Isolated\",\"invert\":false}"

#define LETTERS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|"
#define SPACES                                                                       \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|" \
    "\\\\s+"
#define SPLIT_LEVEL(numbers)                                                                   \
    "{\"type\":\"Sequence\",\"pretokenizers\":[" SPLIT(LETTERS numbers SPACES) "," BYTE_LEVEL( \
        "false") "]}"
#define UPPER "\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}"
#define LOWER "\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}"
#define MISTRAL                                                                      \
    "{\"type\":\"Sequence\",\"pretokenizers\":[" SPLIT(                              \
        "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[" UPPER "]*[" LOWER                          \
        "]+|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[" UPPER "]+[" LOWER                       \
        "]*|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|" \
        "\\\\s+(?!\\\\S)|\\\\s+") "," BYTE_LEVEL("false") "]}"
#define NFC "{\"type\":\"NFC\"}"
#define LLAMA3 SPLIT_LEVEL("\\\\p{N}{1,3}")
#define QWEN2 SPLIT_LEVEL("\\\\p{N}")

const struct hold_pre_rules hold_pre_rules[HOLD_PRE_RULES] = {
    {"smollm", "null",
     "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":"
     "true}," BYTE_LEVEL("true") "]}",
     false},
    {"gpt-2", "null", BYTE_LEVEL("true"), false},
    {"mpt", NFC, BYTE_LEVEL("true"), false},
    {"llama-bpe", "null", LLAMA3, true},
    {"dbrx", "null", LLAMA3, false},
    {"qwen2", NFC, QWEN2, false},
    {"stablelm2", "null", QWEN2, false},
    {"tekken", "null", MISTRAL, true},
};

/* Texts and ids of the pieces: an object has each text once, and no text that holds a NUL. */
static int pieces_json(json_t **out, const struct hold_vocab *v, const char *where,
                       struct hold_error *err) {
    *out = json_object();
    for (int32_t i = 0; *out && i < v->n_pieces; i++) {
        const char *text = v->pieces[i];
        const json_t *other = json_object_get(*out, text);
        if (v->lengths && strlen(text) != (size_t)v->lengths[i]) {
            return hold_fail(err, HOLD_EUNSUPPORTED,
                             "%s: piece %d holds a NUL byte, which tokenizer.json cannot say",
                             where, i);
        }
        if (other) {
            return hold_fail(err, HOLD_EUNSUPPORTED,
                             "%s: pieces %lld and %d are both \"%.80s\", which tokenizer.json "
                             "cannot say",
                             where, (long long)json_integer_value(other), i, text);
        }
        if (json_object_set_new(*out, text, json_integer(i))) {
            json_decref(*out);
            *out = NULL;
        }
    }
    return *out ? HOLD_OK
                : hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for tokenizer.json", where);
}

/* Added tokens and merges.  Every json_..._new call takes its value over even when memory is out;
 * the caller sees that by the sizes. */
static json_t *merges_json(const struct hold_vocab *v) {
    json_t *merges = json_array();
    for (int32_t i = 0; merges && i < v->n_merges; i++) {
        if (json_array_append_new(merges, json_string(v->merges[i]))) {
            json_decref(merges);
            return NULL;
        }
    }
    return merges;
}

/* SentencePiece looks for its own symbols in the normalised text, where each space is U+2581.
 * `tokenizers` would put a prefix that the normalizer adds before the symbol's text as well: with
 * one they are looked for in the text as it is. */
static json_t *added_json(const struct hold_vocab *v) {
    bool normalized = v->kind == HOLD_VOCAB_SPM && !v->add_space_prefix;
    json_t *added = json_array();
    for (int32_t i = 0; added && v->types && i < v->n_pieces; i++) {
        enum hold_piece_type type = v->types[i];
        if (type != HOLD_PIECE_CONTROL && type != HOLD_PIECE_USER && type != HOLD_PIECE_UNKNOWN) {
            continue;
        }
        json_t *entry =
            json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", i, "content", v->pieces[i],
                      "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized",
                      normalized && type == HOLD_PIECE_USER, "special", type != HOLD_PIECE_USER);
        if (json_array_append_new(added, entry)) {
            json_decref(added);
            return NULL;
        }
    }
    return added;
}

#define BLANK "\xE2\x96\x81" /* U+2581 */

/* Scores as the merges that they mean; a ["left", "right"] each, for pieces may hold spaces. */
static int scores_json(json_t **out, const struct hold_vocab *v, struct hold_error *err) {
    struct hold_tokenizer *t = NULL;
    struct hold_merge *merges = NULL;
    size_t n = 0;
    *out = json_array();
    int rc = hold_tokenizer_new(&t, v, err);
    if (!rc) {
        rc = hold_tokenizer_merges(t, &merges, &n, err);
    }
    for (size_t i = 0; !rc && i < n; i++) {
        json_t *pair = json_pack("[s, s]", v->pieces[merges[i].left], v->pieces[merges[i].right]);
        if (!pair || json_array_append_new(*out, pair)) {
            rc = hold_fail(err, HOLD_ENOMEMORY, "not enough memory for merges");
        }
    }
    hold_free(merges);
    hold_tokenizer_free(t);
    return rc;
}

/* A SentencePiece BPE vocabulary as transformers writes Llama's and Gemma's. */
static int spm_json(json_t **out, const struct hold_vocab *v, const char *where,
                    struct hold_error *err) {
    static const char PREPEND[] = "{\"type\":\"Prepend\",\"prepend\":\"" BLANK "\"}";
    static const char STRIP[] = "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}";
    json_t *merges = NULL, *pieces = NULL;
    int rc = pieces_json(&pieces, v, where, err);
    if (!rc) {
        rc = scores_json(&merges, v, err);
    }
    if (rc) {
        json_decref(merges);
        json_decref(pieces);
        return rc;
    }
    json_t *normalizer =
        json_pack("{s:s, s:[{s:s, s:{s:s}, s:s}]}", "type", "Sequence", "normalizers", "type",
                  "Replace", "pattern", "String", " ", "content", BLANK);
    json_t *decoder = json_pack("{s:s, s:[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]}", "type", "Sequence",
                                "decoders", "type", "Replace", "pattern", "String", BLANK,
                                "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (v->add_space_prefix) {
        int bad = json_array_insert_new(json_object_get(normalizer, "normalizers"), 0,
                                        json_loads(PREPEND, 0, NULL));
        bad |=
            json_array_append_new(json_object_get(decoder, "decoders"), json_loads(STRIP, 0, NULL));
        decoder = hold_json_whole(decoder, bad);
    }
    json_t *model =
        json_pack("{s:s, s:n, s:s?, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                  "unk_token", v->unk >= 0 ? v->pieces[v->unk] : NULL, "continuing_subword_prefix",
                  "end_of_word_suffix", "fuse_unk", 1, "byte_fallback", 1, "ignore_merges", 0,
                  "vocab", pieces, "merges", merges);
    *out =
        json_pack("{s:s, s:n, s:n, s:o, s:o, s:n, s:n, s:o, s:o}", "version", "1.0", "truncation",
                  "padding", "added_tokens", added_json(v), "normalizer", normalizer,
                  "pre_tokenizer", "post_processor", "decoder", decoder, "model", model);
    return *out ? HOLD_OK
                : hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for tokenizer.json", where);
}

int hold_vocab_to_json(json_t **out, const struct hold_vocab *v, const char *where,
                       struct hold_error *err) {
    *out = NULL;
    if (v->kind == HOLD_VOCAB_SPM) {
        return spm_json(out, v, where, err);
    }
    int k = 0;
    while (v->kind == HOLD_VOCAB_BPE && k < HOLD_PRE_RULES &&
           strcmp(hold_pre_rules[k].pre, v->pre) != 0) {
        k++;
    }
    if (v->kind != HOLD_VOCAB_BPE || k == HOLD_PRE_RULES) {
        return hold_fail(
            err, HOLD_EUNSUPPORTED,
            "%s: a tokenizer of kind %s cannot be written as tokenizer.json; expected "
            "SentencePiece BPE, or byte-level BPE with pre-tokenizer smollm, gpt-2, mpt, "
            "llama-bpe, dbrx, qwen2, stablelm2 or tekken",
            where, v->kind == HOLD_VOCAB_BPE ? v->pre : "unigram");
    }
    json_t *pieces = NULL;
    int rc = pieces_json(&pieces, v, where, err);
    if (rc) {
        json_decref(pieces);
        return rc;
    }
    json_t *model = json_pack(
        "{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
        "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
        "ignore_merges", (int)v->ignore_merges, "vocab", pieces, "merges", merges_json(v));
    json_t *tokenizer =
        json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:n, s:o, s:o}", "version", "1.0", "truncation",
                  "padding", "added_tokens", added_json(v), "normalizer",
                  json_loads(hold_pre_rules[k].normalizer, JSON_DECODE_ANY, NULL), "pre_tokenizer",
                  json_loads(hold_pre_rules[k].pre_tokenizer, 0, NULL), "post_processor", "decoder",
                  json_loads(BYTE_LEVEL("true"), 0, NULL), "model", model);
    if (!tokenizer) {
        return hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for tokenizer.json", where);
    }
    *out = tokenizer;
    return HOLD_OK;
}
