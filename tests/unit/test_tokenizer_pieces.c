/* test_tokenizer_pieces.c: SentencePiece vocabularies: scores, byte fallback, decoding, origins of
 * control tokens, bad files and bounds.  Equality with the peers is test_tokenizer_golden.c's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "formats/vocab.h"
#include "tokenizer/bpe.h"
#include "tokenizer/tokenizer.h"

#define DIR HOLD_SOURCE_DIR "/tests/golden/tokenizer/"
#define BLANK "\xE2\x96\x81"

/* <unk> <s> </s> <user>, the 256 bytes, then what a test adds. */
enum { USER = 3, BYTES = 4, FIRST = BYTES + 256, ROOM = 1200 };
struct pieces {
    struct hold_vocab v;
    const char *text[ROOM];
    enum hold_piece_type types[ROOM];
    float scores[ROOM];
    char names[256][8];
};

static void start(struct pieces *p, enum hold_vocab_kind kind) {
    static const char *const HEAD[] = {"<unk>", "<s>", "</s>", "<us er>"};
    static const enum hold_piece_type TYPES[] = {HOLD_PIECE_UNKNOWN, HOLD_PIECE_CONTROL,
                                                 HOLD_PIECE_CONTROL, HOLD_PIECE_USER};
    *p = (struct pieces){.v = {.kind = kind,
                               .n_pieces = FIRST,
                               .pre = "default",
                               .add_space_prefix = true,
                               .byte_fallback = true,
                               .bos = 1,
                               .eos = 2,
                               .unk = 0,
                               .pad = -1}};
    for (int i = 0; i < FIRST; i++) {
        if (i >= BYTES) {
            snprintf(p->names[i - BYTES], sizeof p->names[0], "<0x%02X>", i - BYTES);
        }
        p->text[i] = i < BYTES ? HEAD[i] : p->names[i - BYTES];
        p->types[i] = i < BYTES ? TYPES[i] : HOLD_PIECE_BYTE;
    }
    p->v.pieces = p->text;
    p->v.types = p->types;
    p->v.scores = p->scores;
}

static int32_t add(struct pieces *p, const char *text, float score) {
    int32_t id = p->v.n_pieces++;
    p->text[id] = text;
    p->types[id] = HOLD_PIECE_NORMAL;
    p->scores[id] = score;
    return id;
}

static struct hold_tokenizer *made(const struct pieces *p) {
    struct hold_error err = {0};
    struct hold_tokenizer *t = NULL;
    if (hold_tokenizer_new(&t, &p->v, &err) != HOLD_OK) {
        fail_msg("%s", err.text);
    }
    return t;
}

static struct hold_tokenizer *from_file(const char *name) {
    struct hold_error err = {0};
    struct hold_tokenizer *t = NULL;
    json_t *json = NULL;
    char path[512];
    snprintf(path, sizeof path, DIR "vocab_%s.json", name);
    if (hold_json_load(&json, path, &err) != HOLD_OK ||
        hold_tokenizer_from_json(&t, json, NULL, name, &err) != HOLD_OK) {
        fail_msg("%s", err.text);
    }
    json_decref(json);
    return t;
}

static void assert_ids(const struct hold_tokenizer *t, const char *text, bool special,
                       const int32_t *want, size_t n) {
    struct hold_error err = {0};
    struct hold_ids ids = {0};
    assert_int_equal(hold_tokenizer_encode(t, text, strlen(text), special, &ids, &err), HOLD_OK);
    assert_int_equal(ids.len, n);
    if (n > 0) {
        assert_memory_equal(ids.data, want, n * sizeof *want);
    }
    hold_ids_release(&ids);
}
#define IDS(t, text, special, ...)                                     \
    assert_ids((t), (text), (special), (const int32_t[]){__VA_ARGS__}, \
               sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

/* The pair whose result scores best merges first, of equals the leftmost. */
static void scores_rank_merges(void **state) {
    (void)state;
    struct pieces p;
    start(&p, HOLD_VOCAB_SPM);
    int32_t blank = add(&p, BLANK, -9), a = add(&p, "a", -9), b = add(&p, "b", -9);
    int32_t ab = add(&p, "ab", -1), blank_a = add(&p, BLANK "a", -2), aa = add(&p, "aa", -2);
    struct hold_tokenizer *t = made(&p);
    IDS(t, "ab", false, blank, ab);
    IDS(t, "a b", false, blank_a, blank, b);
    IDS(t, "aaa", false, blank_a, aa); /* not blank, aa, a */
    IDS(t, "b\xC3\xA9", false, blank, b, BYTES + 0xC3, BYTES + 0xA9);
    hold_tokenizer_free(t);
    p.scores[blank_a] = -0.5F;
    t = made(&p);
    IDS(t, "ab", false, blank_a, b);
    hold_tokenizer_free(t);
    (void)a;
}

/* Special pieces only where allowed; the vocabulary's own symbols always, after spaces are U+2581;
 * each text between special pieces gets its blank, as llama.cpp does. */
static void symbols_and_control(void **state) {
    (void)state;
    struct pieces p;
    start(&p, HOLD_VOCAB_SPM);
    int32_t blank = add(&p, BLANK, -1), a = add(&p, "a", -1);
    struct hold_tokenizer *t = made(&p);
    IDS(t, "<s>a", true, 1, blank, a);
    IDS(t, "<s>", false, blank, BYTES + '<', BYTES + 's', BYTES + '>');
    IDS(t, "a<us er>a", false, blank, a, USER, a);
    IDS(t, "a</s>a", true, blank, a, 2, blank, a);
    assert_ids(t, "", true, NULL, 0);
    assert_int_equal(hold_tokenizer_find(t, "<0x41>"), BYTES + 0x41);
    assert_int_equal(hold_tokenizer_find(t, "a"), a);
    hold_tokenizer_free(t);
}

static void assert_decodes(const struct hold_tokenizer *t, const int32_t *ids, size_t n, int mode,
                           const char *want) {
    struct hold_error err = {0};
    struct hold_str out = HOLD_STR_INIT;
    int rc = mode == 0 ? hold_tokenizer_decode(t, ids, n, false, &out, &err)
                       : hold_tokenizer_decode_part(t, ids, n, false, mode == 1, &out, &err);
    assert_int_equal(rc, HOLD_OK);
    assert_string_equal(hold_str_text(&out), want);
    hold_str_release(&out);
}

static void decodes(void **state) {
    (void)state;
    struct pieces p;
    start(&p, HOLD_VOCAB_SPM);
    int32_t blank = add(&p, BLANK, -1), a = add(&p, BLANK "a", -1);
    struct hold_tokenizer *t = made(&p);
    const int32_t text[] = {1, a, blank, a, 0, 2};
    assert_decodes(t, text, 6, 0, "a  a"); /* one blank goes, and the unknown and control pieces */
    assert_decodes(t, text, 6, 1, "a  a");
    assert_decodes(t, text, 6, 2, " a  a");
    const int32_t cut[] = {BYTES + 'x', BYTES + 0xE2, BYTES + 0x96, a, BYTES + 0xC3, BYTES + 0xA9};
    assert_decodes(t, cut, 6, 0, "\uFFFD\uFFFD\uFFFD a\u00E9"); /* the whole run, as `tokenizers` */
    assert_decodes(t, cut, 6, 2, "x\xE2\x96 a\u00E9");          /* bytes, for who waits for more */
    hold_tokenizer_free(t);
}

/* Viterbi: the best sum of scores, unknown characters in one run, bytes where they are. */
static void unigram_takes_the_best_row(void **state) {
    (void)state;
    struct pieces p;
    start(&p, HOLD_VOCAB_UNIGRAM);
    p.v.byte_fallback = false;
    int32_t blank = add(&p, BLANK, -1), a = add(&p, "a", -2), b = add(&p, "b", -2);
    int32_t ab = add(&p, "ab", -5), abab = add(&p, "abab", -7);
    struct hold_tokenizer *t = made(&p);
    IDS(t, "ab", false, blank, a, b); /* -4 beats -5 */
    IDS(t, "abab", false, blank, abab);
    IDS(t, "xya", false, blank, 0, a);
    hold_tokenizer_free(t);
    p.v.byte_fallback = true;
    t = made(&p);
    IDS(t, "xya", false, blank, BYTES + 'x', BYTES + 'y', a);
    hold_tokenizer_free(t);
    (void)ab;
}

/* Written as tokenizer.json, read again: the same ids. */
static void written_as_json(void **state) {
    (void)state;
    static const char *const TEXTS[] = {"ab a aab",  "<us er>b", "  b\xC3\xA9", "aaaa <s>",
                                        "<s>a</s>b", "",         "baba ab aba", "<us" BLANK "er>b"};
    for (int prefix = 0; prefix < 2; prefix++) {
        struct pieces p;
        struct hold_error err = {0};
        struct hold_tokenizer *back = NULL;
        json_t *json = NULL;
        start(&p, HOLD_VOCAB_SPM);
        p.v.add_space_prefix = prefix == 1;
        add(&p, BLANK, -9), add(&p, "a", -9.5F), add(&p, "b", -10);
        add(&p, "ab", -1), add(&p, BLANK "a", -2), add(&p, BLANK "ab", -3), add(&p, "aa", -4);
        struct hold_tokenizer *t = made(&p);
        assert_int_equal(hold_vocab_to_json(&json, &p.v, "x.gguf", &err), HOLD_OK);
        if (hold_tokenizer_from_json(&back, json, NULL, "tokenizer.json", &err) != HOLD_OK) {
            fail_msg("%s", err.text);
        }
        for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
            struct hold_ids ids = {0};
            struct hold_str one = HOLD_STR_INIT, two = HOLD_STR_INIT;
            /* After <us er> tokenizers prepends a blank, SentencePiece does not. */
            if (prefix == 1 && TEXTS[i][0] == '<' && TEXTS[i][1] == 'u') {
                continue;
            }
            for (int special = 0; special < 2; special++) {
                ids.len = 0;
                assert_int_equal(
                    hold_tokenizer_encode(t, TEXTS[i], strlen(TEXTS[i]), special == 1, &ids, &err),
                    HOLD_OK);
                assert_ids(back, TEXTS[i], special == 1, ids.data, ids.len);
            }
            assert_int_equal(hold_tokenizer_decode(t, ids.data, ids.len, false, &one, &err), 0);
            assert_int_equal(hold_tokenizer_decode(back, ids.data, ids.len, false, &two, &err), 0);
            assert_string_equal(hold_str_text(&one), hold_str_text(&two));
            hold_ids_release(&ids);
            hold_str_release(&one);
            hold_str_release(&two);
        }
        json_decref(json);
        hold_tokenizer_free(t);
        hold_tokenizer_free(back);
    }
}

/* Pieces that tokenizer.json cannot hold are not written as others. */
static void not_written_as_json(void **state) {
    (void)state;
    for (int kind = HOLD_VOCAB_BPE; kind <= HOLD_VOCAB_SPM; kind++) {
        struct pieces p;
        struct hold_error err = {0};
        static int32_t lengths[ROOM];
        json_t *json = NULL;
        start(&p, (enum hold_vocab_kind)kind);
        p.v.pre = "gpt-2";
        add(&p, "a", -1);
        int32_t twice = add(&p, "a", -2);
        p.types[twice] = HOLD_PIECE_UNUSED;
        assert_int_equal(hold_vocab_to_json(&json, &p.v, "x.gguf", &err), HOLD_EUNSUPPORTED);
        assert_string_equal(
            err.text, "x.gguf: pieces 260 and 261 are both \"a\", which tokenizer.json cannot say");
        assert_null(json);
        for (int32_t i = 0; i < p.v.n_pieces; i++) {
            lengths[i] = (int32_t)strlen(p.text[i]);
        }
        p.text[twice] = "b\0c";
        lengths[twice] = 3;
        p.v.lengths = lengths;
        assert_int_equal(hold_vocab_to_json(&json, &p.v, "x.gguf", &err), HOLD_EUNSUPPORTED);
        assert_string_equal(err.text,
                            "x.gguf: piece 261 holds a NUL byte, which tokenizer.json cannot say");
        assert_null(json);
    }
}

static struct hold_tokenizer *from_text(const char *text) {
    struct hold_error err = {0};
    struct hold_tokenizer *t = NULL;
    json_error_t at;
    json_t *json = json_loads(text, 0, &at);
    assert_non_null(json);
    if (hold_tokenizer_from_json(&t, json, NULL, "tokenizer.json", &err) != HOLD_OK) {
        fail_msg("%s", err.text);
    }
    json_decref(json);
    return t;
}

#define DECODER                                                    \
    "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"" BLANK \
    "\",\"prepend_scheme\":\"never\"}"

/* Steps that feed each other would make gigabytes of one letter. */
static void normalizer_growth_is_bounded(void **state) {
    (void)state;
#define EIGHT "aaaaaaaa"
#define STEP "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"" EIGHT EIGHT "\"}"
    struct hold_error err = {0};
    struct hold_ids ids = {0};
    struct hold_tokenizer *t = from_text(
        "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" STEP "," STEP "," STEP "," STEP
        "," STEP "," STEP "]}," DECODER ",\"model\":{\"type\":\"Unigram\",\"unk_id\":0,"
        "\"vocab\":[[\"<unk>\",0]]}}");
    assert_int_equal(hold_tokenizer_encode(t, "b", 1, false, &ids, &err), HOLD_OK);
    assert_int_equal(hold_tokenizer_encode(t, "a", 1, false, &ids, &err), HOLD_EDATA);
    assert_string_equal(err.text, "the normalizer makes more than 4160 bytes of a text, at most 64 "
                                  "a byte and 4096 more are taken");
    hold_ids_release(&ids);
    hold_tokenizer_free(t);
}

static const char *const FILES[] = {"llama2", "mistral", "gemma", "unigram", "charsmap"};
enum { N_FILES = sizeof FILES / sizeof FILES[0] };

/* One byte of another origin is enough that a control token is plain text; offsets stay right. */
static void control_tokens_by_origin(void **state) {
    (void)state;
    static const char TEXT[] = "the <|im_end|> fox\xFF \xEF\xAC\x81<|im_end|>";
    enum { SECOND = 23, LEN = 10 };
    for (int f = 0; f < N_FILES; f++) {
        struct hold_error err = {0};
        struct hold_tokenizer *t = from_file(FILES[f]);
        int32_t end = hold_tokenizer_find(t, "<|im_end|>");
        unsigned char control[sizeof TEXT] = {0};
        assert_true(hold_tokenizer_is_control(t, end));
        for (int k = -1; k < LEN; k++) {
            struct hold_ids ids = {0}, starts = {0};
            memset(control + SECOND, 1, LEN);
            if (k >= 0) {
                control[SECOND + k] = 0;
            }
            assert_int_equal(
                hold_tokenizer_encode_mixed(t, TEXT, control, strlen(TEXT), &ids, &starts, &err),
                HOLD_OK);
            size_t seen = 0;
            for (size_t i = 0; i < ids.len; i++) {
                seen += hold_tokenizer_is_control(t, ids.data[i]);
                assert_true(i == 0 || starts.data[i] >= starts.data[i - 1]);
            }
            assert_int_equal(seen, k < 0 ? 1 : 0);
            assert_int_equal(starts.data[0], 0);
            if (k < 0) {
                assert_int_equal(ids.data[ids.len - 1], end);
                assert_int_equal(starts.data[ids.len - 1], SECOND);
            }
            hold_ids_release(&ids);
            hold_ids_release(&starts);
        }
        hold_tokenizer_free(t);
    }
}

static double seconds(void) {
    return (double)clock() / CLOCKS_PER_SEC;
}

static void assert_fast(const struct hold_tokenizer *t, const char *unit) {
    struct hold_error err = {0};
    struct hold_str text = HOLD_STR_INIT;
    struct hold_ids ids = {0};
    while (text.len < 1 << 20) {
        hold_str_add(&text, unit);
    }
    double from = seconds();
    assert_int_equal(hold_tokenizer_encode(t, text.data, text.len, true, &ids, &err), HOLD_OK);
    double took = seconds() - from;
    if (took > 10) { /* about one second; sanitizers and loaded machines are slower */
        fail_msg("1 MB of \"%s\" took %.1f s", unit, took);
    }
    hold_ids_release(&ids);
    hold_str_release(&text);
}

static void long_text_is_fast(void **state) {
    (void)state;
    static const char *const UNITS[] = {"a",   "th",    " ",   BLANK, "\xF0\x9F\x98\x80",
                                        "\n ", "<|im_", "\xFF"};
    for (int f = 0; f < N_FILES; f++) {
        struct hold_tokenizer *t = from_file(FILES[f]);
        for (size_t u = 0; u < sizeof UNITS / sizeof UNITS[0]; u++) {
            assert_fast(t, UNITS[u]);
        }
        hold_tokenizer_free(t);
    }
}

/* Vocabularies made to be slow: every run of "a" is a piece. */
static void nested_pieces_are_fast(void **state) {
    (void)state;
    static char runs[256][257];
    for (int kind = HOLD_VOCAB_SPM; kind <= HOLD_VOCAB_UNIGRAM; kind++) {
        struct pieces p;
        start(&p, (enum hold_vocab_kind)kind);
        for (int i = 0; i < 256; i++) {
            memset(runs[i], 'a', (size_t)i + 1);
            add(&p, runs[i], -1 - (float)((i * 37) % 256));
        }
        struct hold_tokenizer *t = made(&p);
        assert_fast(t, "a");
        hold_tokenizer_free(t);
    }
}

/* Keys made to stand side by side in the table: a look-up does not walk along all of them. */
static void colliding_names_are_fast(void **state) {
    (void)state;
    enum { KEYS = 1 << 16, MASK = 2 * KEYS - 1, LOOK_UPS = 1 << 17, WIDTH = 10 };
    struct hold_error err = {0};
    struct hold_names names;
    char(*keys)[WIDTH + 1] = calloc(KEYS + 1, sizeof *keys), key[WIDTH + 1];
    int32_t old = -1, left = KEYS;
    assert_non_null(keys);
    assert_int_equal(hold_names_init(&names, KEYS, &err), HOLD_OK);
    assert_int_equal(names.mask, MASK);
    for (int n = 0; left > 0 || keys[KEYS][0] == '\0'; n++) {
        snprintf(key, sizeof key, "%0*d", WIDTH, n);
        uint64_t hash = hold_fnv(key, WIDTH);
        size_t slot = (size_t)(hash ^ hash >> 32) & MASK;
        if (slot < KEYS && keys[slot][0] == '\0') {
            memcpy(keys[slot], key, sizeof key);
            assert_int_equal(hold_names_put(&names, keys[slot], WIDTH, (int32_t)slot, &old, &err),
                             HOLD_OK);
            left--;
        } else if (slot == 0) {
            memcpy(keys[KEYS], key, sizeof key); /* of the first place, and not there */
        }
    }
    double from = seconds();
    for (int i = 0; i < LOOK_UPS; i++) {
        assert_int_equal(hold_names_get(&names, keys[KEYS], WIDTH), -1);
    }
    assert_int_equal(hold_names_get(&names, keys[KEYS - 1], WIDTH), KEYS - 1);
    double took = seconds() - from;
    if (took > 4) { /* about a tenth of a second */
        fail_msg("%d look-ups took %.1f s", LOOK_UPS, took);
    }
    hold_names_release(&names);
    free(keys);
}

static void bad_vocabularies(void **state) {
    (void)state;
    static const struct {
        const char *text;
        float score;
        enum hold_piece_type type;
        enum hold_vocab_kind kind;
        int code;
        const char *says;
    } CASES[] = {
        {"x", 0, HOLD_PIECE_BYTE, HOLD_VOCAB_SPM, HOLD_EFORMAT, "is a byte"},
        {"x", -HUGE_VALF, HOLD_PIECE_NORMAL, HOLD_VOCAB_SPM, HOLD_EFORMAT, "not finite"},
        {"x", HUGE_VALF, HOLD_PIECE_NORMAL, HOLD_VOCAB_UNIGRAM, HOLD_EFORMAT, "not finite"},
        {"x", NAN, HOLD_PIECE_NORMAL, HOLD_VOCAB_UNIGRAM, HOLD_EFORMAT, "not finite"},
        {"a", -1, HOLD_PIECE_NORMAL, HOLD_VOCAB_SPM, HOLD_EFORMAT, "are the same"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct pieces p;
        struct hold_error err = {0};
        struct hold_tokenizer *t = NULL;
        start(&p, CASES[i].kind);
        add(&p, "a", -1);
        p.types[add(&p, CASES[i].text, CASES[i].score)] = CASES[i].type;
        assert_int_equal(hold_tokenizer_new(&t, &p.v, &err), CASES[i].code);
        assert_non_null(strstr(err.text, CASES[i].says));
        assert_null(t);
    }
}

/* A small change to a good tokenizer.json, the code and words of the refusal. */
static void hostile_files(void **state) {
    (void)state;
    static const struct {
        const char *file, *path, *value;
        int code;
        const char *says;
    } CASES[] = {
        {"unigram", "model.vocab", "[[\"a\"]]", HOLD_EFORMAT, "not a piece and its score"},
        {"unigram", "model.vocab", "[[\"a\",0],[\"a\",0]]", HOLD_EFORMAT, "is there twice"},
        {"unigram", "model.unk_id", "100000", HOLD_EFORMAT, "unk_id"},
        {"unigram", "pre_tokenizer.prepend_scheme", "\"often\"", HOLD_EFORMAT, "often"},
        {"unigram", "pre_tokenizer.replacement", "\"\"", HOLD_EUNSUPPORTED, "replacement"},
        {"unigram", "decoder.type", "\"WordPiece\"", HOLD_EUNSUPPORTED, "WordPiece"},
        {"gemma", "decoder.decoders", "[{\"type\":\"ByteFallback\"}]", HOLD_EUNSUPPORTED,
         "ByteFallback"},
        {"gemma", "decoder.decoders",
         "[{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\"},\"content\":\" \"}]",
         HOLD_EUNSUPPORTED, "Replace"},
        {"gemma", "decoder", "null", HOLD_EUNSUPPORTED, "decoder"},
        {"gemma", "normalizer.content", "1", HOLD_EFORMAT, "Replace"},
        {"gemma", "normalizer.type", "\"Nmt\"", HOLD_EUNSUPPORTED, "Nmt"},
        {"gemma", "pre_tokenizer", "{\"type\":\"Punctuation\",\"behavior\":\"no\"}", HOLD_EFORMAT,
         "\"no\""},
        {"mistral", "pre_tokenizer",
         "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},{\"type\":\"Metaspace\","
         "\"replacement\":\"_\"}]}",
         HOLD_EUNSUPPORTED, "behind another"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct hold_error err = {0};
        struct hold_tokenizer *t = NULL;
        json_t *json = NULL, *at = NULL;
        char path[512];
        snprintf(path, sizeof path, DIR "vocab_%s.json", CASES[i].file);
        assert_int_equal(hold_json_load(&json, path, &err), HOLD_OK);
        snprintf(path, sizeof path, "%s", CASES[i].path);
        char *dot = strchr(path, '.');
        at = json;
        if (dot != NULL) {
            *dot = '\0';
            at = json_object_get(json, path);
        }
        json_object_set_new(at, dot != NULL ? dot + 1 : path,
                            json_loads(CASES[i].value, JSON_DECODE_ANY, NULL));
        int rc = hold_tokenizer_from_json(&t, json, NULL, "tokenizer.json", &err);
        if (rc != CASES[i].code || t != NULL || !strstr(err.text, CASES[i].says)) {
            fail_msg("%s = %s: %d \"%s\"", CASES[i].path, CASES[i].value, rc, err.text);
        }
        json_decref(json);
    }
}

/* A token that is looked for after normalisation is what it normalises to, and no piece of the
 * unigram model besides (`tokenizers` 0.23). */
static void unigram_knows_no_added_tokens(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_tokenizer *t = NULL;
    json_t *json = NULL;
    assert_int_equal(hold_json_load(&json, DIR "vocab_unigram.json", &err), HOLD_OK);
    json_object_set_new(json, "normalizer",
                        json_pack("{s:s,s:s}", "type", "Prepend", "prepend", "x"));
    size_t n = json_array_size(json_object_get(json_object_get(json, "model"), "vocab"));
    json_array_append_new(json_object_get(json, "added_tokens"),
                          json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", (int)n + 50, "content",
                                    "zz<y>", "single_word", 0, "lstrip", 0, "rstrip", 0,
                                    "normalized", 1, "special", 0));
    assert_int_equal(hold_tokenizer_from_json(&t, json, NULL, "tokenizer.json", &err), HOLD_OK);
    static const struct {
        const char *text;
        size_t times;
    } CASES[] = {{"zz<y>", 1}, {"a zz<y>", 0}, {"a xzz<y>zz<y>", 1}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct hold_ids ids = {0};
        size_t seen = 0;
        assert_int_equal(
            hold_tokenizer_encode(t, CASES[i].text, strlen(CASES[i].text), true, &ids, &err),
            HOLD_OK);
        for (size_t k = 0; k < ids.len; k++) {
            seen += ids.data[k] == (int32_t)n + 50;
        }
        assert_int_equal(seen, CASES[i].times);
        hold_ids_release(&ids);
    }
    hold_tokenizer_free(t);
    json_decref(json);
}

static void memory_runs_out(void **state) {
    (void)state;
    static const char TEXT[] = "the e\xCC\x81\xFF <|im_end|> quick";
    for (int f = 0; f < N_FILES; f++) {
        struct hold_error err = {0};
        json_t *json = NULL;
        char path[512];
        snprintf(path, sizeof path, DIR "vocab_%s.json", FILES[f]);
        assert_int_equal(hold_json_load(&json, path, &err), HOLD_OK);
        int rc = HOLD_ENOMEMORY;
        for (int n = 1; rc != HOLD_OK; n++) {
            struct hold_tokenizer *t = NULL;
            struct hold_ids ids = {0}, starts = {0};
            unsigned char control[sizeof TEXT] = {0};
            hold_mem_fail_at(n);
            rc = hold_tokenizer_from_json(&t, json, NULL, "tokenizer.json", &err);
            if (rc == HOLD_OK) {
                rc = hold_tokenizer_encode_mixed(t, TEXT, control, strlen(TEXT), &ids, &starts,
                                                 &err);
            }
            hold_mem_fail_at(0);
            assert_true(rc == HOLD_OK || rc == HOLD_ENOMEMORY);
            assert_true(n < 4000);
            hold_ids_release(&ids);
            hold_ids_release(&starts);
            hold_tokenizer_free(t);
        }
        json_decref(json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_rank_merges),
        cmocka_unit_test(symbols_and_control),
        cmocka_unit_test(decodes),
        cmocka_unit_test(unigram_takes_the_best_row),
        cmocka_unit_test(unigram_knows_no_added_tokens),
        cmocka_unit_test(written_as_json),
        cmocka_unit_test(not_written_as_json),
        cmocka_unit_test(normalizer_growth_is_bounded),
        cmocka_unit_test(colliding_names_are_fast),
        cmocka_unit_test(control_tokens_by_origin),
        cmocka_unit_test(long_text_is_fast),
        cmocka_unit_test(nested_pieces_are_fast),
        cmocka_unit_test(bad_vocabularies),
        cmocka_unit_test(hostile_files),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
