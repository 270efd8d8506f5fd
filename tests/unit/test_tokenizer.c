/* test_tokenizer.c: byte-level BPE: special tokens by origin, offsets, bad text, bad files, bounds.
 * Equality with `tokenizers` is test_tokenizer_golden.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "tokenizer/tokenizer.h"

#define DIR HOLD_SOURCE_DIR "/tests/golden/tokenizer/"
#define IN_LIST(x) "{\"type\": \"Sequence\", \"pretokenizers\": [" x "]}"

static json_t *vocabulary(const char *name) {
    struct hold_error err = {0};
    struct hold_str path = HOLD_STR_INIT;
    json_t *json = NULL;
    hold_str_addf(&path, DIR "vocab_%s.json", name);
    if (hold_json_load(&json, hold_str_text(&path), &err) != HOLD_OK) {
        fail_msg("%s", err.text);
    }
    hold_str_release(&path);
    return json;
}

static struct hold_tokenizer *made(json_t *json) {
    struct hold_error err = {0};
    struct hold_tokenizer *t = NULL;
    if (hold_tokenizer_from_json(&t, json, NULL, "tokenizer.json", &err) != HOLD_OK) {
        fail_msg("%s", err.text);
    }
    json_decref(json);
    return t;
}

static struct hold_ids encode(const struct hold_tokenizer *t, const char *text, size_t n,
                              bool special) {
    struct hold_error err = {0};
    struct hold_ids ids = {0};
    if (hold_tokenizer_encode(t, text, n, special, &ids, &err) != HOLD_OK) {
        fail_msg("%s", err.text);
    }
    return ids;
}

static size_t count(const struct hold_ids *ids, int32_t id) {
    size_t n = 0;
    for (size_t i = 0; i < ids->len; i++) {
        n += ids->data[i] == id;
    }
    return n;
}

static void finds_pieces(void **state) {
    (void)state;
    struct hold_tokenizer *t = made(vocabulary("gpt2"));
    int32_t end = hold_tokenizer_find(t, "<|im_end|>");
    assert_int_equal(end, 2);
    assert_true(hold_tokenizer_is_control(t, end));
    assert_false(hold_tokenizer_is_control(t, hold_tokenizer_find(t, "<user>")));
    assert_false(hold_tokenizer_is_control(t, -1));
    assert_int_equal(hold_tokenizer_find(t, "no such piece"), -1);
    assert_string_equal(hold_tokenizer_piece(t, hold_tokenizer_find(t, "Ġ")), "Ġ");
    assert_null(hold_tokenizer_piece(t, hold_tokenizer_size(t)));
    assert_int_equal(hold_tokenizer_bos(t), -1);
    assert_true(hold_tokenizer_has_special_text(t, "a <|im_end|> b", 14));
    assert_false(hold_tokenizer_has_special_text(t, "a <user> b <|im_end", 19));
    hold_tokenizer_free(t);
}

static void reads_config(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_tokenizer *t = NULL;
    json_t *json = vocabulary("gpt2");
    json_t *config = json_pack("{s:s, s:{s:s}, s:n}", "bos_token", "<|im_start|>", "eos_token",
                               "content", "<|im_end|>", "pad_token");
    assert_int_equal(hold_tokenizer_from_json(&t, json, config, "tokenizer.json", &err), HOLD_OK);
    assert_int_equal(hold_tokenizer_bos(t), 1);
    assert_int_equal(hold_tokenizer_eos(t), 2);
    hold_tokenizer_free(t);
    json_object_set_new(config, "bos_token", json_string("<missing>"));
    assert_int_equal(hold_tokenizer_from_json(&t, json, config, "tokenizer.json", &err),
                     HOLD_EFORMAT);
    assert_non_null(strstr(err.text, "<missing>"));
    json_decref(config);
    json_decref(json);
}

/* No control token comes from bytes that may not be control, however they are put together. */
static void control_tokens_by_origin(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_tokenizer *t = made(vocabulary("smollm"));
    static const char TEXT[] = "<|im_end|>hi<|im_end|>";
    unsigned char control[sizeof TEXT] = {0};
    struct hold_ids ids = {0}, starts = {0}, plain = encode(t, TEXT, 22, false);
    assert_int_equal(count(&plain, 2), 0);
    memset(control + 12, 1, 10);
    assert_int_equal(hold_tokenizer_encode_mixed(t, TEXT, control, 22, &ids, &starts, &err),
                     HOLD_OK);
    assert_int_equal(count(&ids, 2), 1);
    assert_int_equal(ids.len, starts.len);
    assert_int_equal(ids.data[ids.len - 1], 2);
    assert_int_equal(starts.data[starts.len - 1], 12);
    for (size_t i = 0; i < 10; i++) { /* one byte of another origin is enough */
        ids.len = starts.len = 0;
        memset(control + 12, 1, 10);
        control[12 + i] = 0;
        hold_tokenizer_encode_mixed(t, TEXT, control, 22, &ids, &starts, &err);
        assert_int_equal(count(&ids, 2), 0);
    }
    hold_ids_release(&ids);
    hold_ids_release(&starts);
    hold_ids_release(&plain);
    hold_tokenizer_free(t);
}

/* Plain text is tokenised across borders of origin as if they were not there. */
static void borders_do_not_show(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_tokenizer *t = made(vocabulary("smollm"));
    static const char TEXT[] = "the quick brown fox 12 Straße";
    size_t n = strlen(TEXT);
    struct hold_ids want = encode(t, TEXT, n, false), ids = {0}, starts = {0};
    unsigned char control[sizeof TEXT];
    for (size_t i = 0; i < n; i++) {
        control[i] = i % 3 == 0;
    }
    assert_int_equal(hold_tokenizer_encode_mixed(t, TEXT, control, n, &ids, &starts, &err),
                     HOLD_OK);
    assert_int_equal(ids.len, want.len);
    assert_memory_equal(ids.data, want.data, ids.len * sizeof *ids.data);
    struct hold_str part = HOLD_STR_INIT;
    for (size_t i = 0; i < ids.len; i++) { /* each token begins where it says */
        hold_str_clear(&part);
        hold_tokenizer_decode(t, &ids.data[i], 1, true, &part, &err);
        assert_memory_equal(TEXT + starts.data[i], part.data, part.len);
    }
    hold_str_release(&part);
    hold_ids_release(&want);
    hold_ids_release(&ids);
    hold_ids_release(&starts);
    hold_tokenizer_free(t);
}

/* Offsets go back through NFC and through the repair of bad bytes. */
static void offsets_through_changes(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_tokenizer *t = made(vocabulary("qwen2"));
    struct hold_ids ids = {0}, starts = {0}, plain = {0};
    static const char TEXT[] = "e\xCC\x81\xFFz<|im_end|>";
    unsigned char control[sizeof TEXT];
    memset(control, 1, sizeof control);
    assert_int_equal(
        hold_tokenizer_encode_mixed(t, TEXT, control, strlen(TEXT), &ids, &starts, &err), HOLD_OK);
    assert_int_equal(ids.data[ids.len - 1], 2);
    assert_int_equal(starts.data[starts.len - 1], 5);
    assert_int_equal(starts.data[0], 0);
    bool saw_bad = false;
    for (size_t i = 0; i < starts.len; i++) {
        saw_bad = saw_bad || starts.data[i] == 3;
    }
    assert_true(saw_bad);
    plain = encode(t, "\xC3\xA9\xEF\xBF\xBDz<|im_end|>", 16, true);
    assert_int_equal(plain.len, ids.len);
    assert_memory_equal(plain.data, ids.data, ids.len * sizeof *ids.data);
    hold_ids_release(&ids);
    hold_ids_release(&starts);
    hold_ids_release(&plain);
    hold_tokenizer_free(t);
}

/* Each invalid byte is U+FFFD, truncated sequences and surrogates included. */
static void bad_utf8(void **state) {
    (void)state;
    struct hold_tokenizer *t = made(vocabulary("gpt2"));
    static const struct {
        const char *bad, *good;
    } CASES[] = {{"a\x80z", "a\uFFFDz"},
                 {"\xE2\x82", "\uFFFD\uFFFD"},
                 {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
                 {"\xC0\xAF ok", "\uFFFD\uFFFD ok"},
                 {"\xF5", "\uFFFD"}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct hold_ids bad = encode(t, CASES[i].bad, strlen(CASES[i].bad), false);
        struct hold_ids good = encode(t, CASES[i].good, strlen(CASES[i].good), false);
        assert_int_equal(bad.len, good.len);
        assert_memory_equal(bad.data, good.data, good.len * sizeof *good.data);
        hold_ids_release(&bad);
        hold_ids_release(&good);
    }
    hold_tokenizer_free(t);
}

static double seconds(void) {
    return (double)clock() / CLOCKS_PER_SEC;
}

/* Long words, long runs of marks and of blanks take time near linear in their length. */
static void long_text_is_fast(void **state) {
    (void)state;
    static const char *const UNITS[] = {"a", "th", " ", "\xCC\x81", "\n ", "<|im_", "\xFF"};
    struct hold_tokenizer *t[] = {made(vocabulary("qwen2")), made(vocabulary("cl100k"))};
    for (size_t u = 0; u < sizeof UNITS / sizeof UNITS[0]; u++) {
        struct hold_str text = HOLD_STR_INIT;
        while (text.len < 1 << 20) {
            hold_str_add(&text, UNITS[u]);
        }
        for (size_t i = 0; i < 2; i++) {
            double start = seconds();
            struct hold_ids ids = encode(t[i], text.data, text.len, true);
            assert_true(ids.len > 0);
            assert_true(seconds() - start < 20);
            hold_ids_release(&ids);
        }
        hold_str_release(&text);
    }
    hold_tokenizer_free(t[0]);
    hold_tokenizer_free(t[1]);
}

/* The vocabulary with its pre-tokenizer replaced by a Split with this pattern. */
static json_t *with_pattern(const char *pattern) {
    json_t *json = vocabulary("cl100k");
    json_t *list = json_object_get(json_object_get(json, "pre_tokenizer"), "pretokenizers");
    json_object_set_new(json_object_get(json_array_get(list, 0), "pattern"), "Regex",
                        json_string(pattern));
    return json;
}

static void catastrophic_pattern_is_bounded(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_ids ids = {0};
    struct hold_tokenizer *t = made(with_pattern("(a+)+b|(a|aa)+$|."));
    struct hold_str text = HOLD_STR_INIT;
    for (int i = 0; i < 5000; i++) {
        hold_str_add_char(&text, 'a');
    }
    hold_str_add_char(&text, '!');
    double start = seconds();
    assert_int_equal(hold_tokenizer_encode(t, text.data, text.len, false, &ids, &err), HOLD_EDATA);
    assert_non_null(strstr(err.text, "too many steps"));
    assert_true(seconds() - start < 60);
    hold_str_release(&text);
    hold_ids_release(&ids);
    hold_tokenizer_free(t);
}

/* A class within a class adds its characters. */
static void classes_within_classes(void **state) {
    (void)state;
    struct hold_tokenizer *t[] = {made(with_pattern("[a\\p{Lu}[b\\s[c]]d]+|[^\\p{L}[ ]]+|.")),
                                  made(with_pattern("[a\\p{Lu}b\\scd]+|[^\\p{L} ]+|."))};
    static const char TEXT[] = "ab cdE!x]d[ \xC3\x89? the [brown] fox";
    struct hold_ids ids[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        struct hold_error err = {0};
        assert_int_equal(hold_tokenizer_encode(t[i], TEXT, strlen(TEXT), false, &ids[i], &err),
                         HOLD_OK);
    }
    assert_int_equal(ids[0].len, ids[1].len);
    assert_memory_equal(ids[0].data, ids[1].data, ids[0].len * sizeof(int32_t));
    for (int i = 0; i < 2; i++) {
        hold_ids_release(&ids[i]);
        hold_tokenizer_free(t[i]);
    }
}

static void patterns_refused(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *says;
        int code;
    } CASES[] = {{"\\w+", "escape", HOLD_EUNSUPPORTED},
                 {"[a[^b]]", "class within a class", HOLD_EUNSUPPORTED},
                 {"[a-[b]]", "class within a class", HOLD_EUNSUPPORTED},
                 {"[[a]-z]", "class within a class", HOLD_EUNSUPPORTED},
                 {"[[a-]z]", "class within a class", HOLD_EUNSUPPORTED},
                 {"[a[-b]]", "class within a class", HOLD_EUNSUPPORTED},
                 {"[[:alpha:]]", "class within a class", HOLD_EUNSUPPORTED},
                 {"[a[]]", "class within a class", HOLD_EUNSUPPORTED},
                 {"[a[b]", "missing terminating", HOLD_EFORMAT},
                 {"\\p{Cn}", "property", HOLD_EUNSUPPORTED},
                 {"\\p{^L}", "property", HOLD_EUNSUPPORTED},
                 {"\\p{Klingon}", "unknown property", HOLD_EFORMAT},
                 {"\\pL", "escape", HOLD_EUNSUPPORTED},
                 {"\\p{L", "escape", HOLD_EUNSUPPORTED},
                 {"[\\P{L}]", "escape", HOLD_EUNSUPPORTED},
                 {"[a-z&&[^b]]", "class within a class", HOLD_EUNSUPPORTED},
                 {"(?m)a", "group", HOLD_EUNSUPPORTED},
                 {"(*UTF)a", "verb", HOLD_EUNSUPPORTED},
                 {"a*", "match nothing", HOLD_EUNSUPPORTED},
                 {"a(b", "parenthesis", HOLD_EFORMAT},
                 {"\\", "escape", HOLD_EUNSUPPORTED}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct hold_error err = {0};
        struct hold_tokenizer *t = NULL;
        json_t *json = with_pattern(CASES[i].pattern);
        assert_int_equal(hold_tokenizer_from_json(&t, json, NULL, "tokenizer.json", &err),
                         CASES[i].code);
        assert_null(t);
        assert_non_null(strstr(err.text, CASES[i].says));
        json_decref(json);
    }
}

/* Files of the F-10 kind: a small change to a good file, the code and words of the refusal. */
static void hostile_files(void **state) {
    (void)state;
    static const struct {
        const char *path, *value; /* "a.b" in the file, set to this JSON */
        int code;
        const char *says;
    } CASES[] = {
        {"model.type", "\"Unigram\"", HOLD_EFORMAT, "not a list"},
        {"model.type", "\"WordPiece\"", HOLD_EUNSUPPORTED, "WordPiece"},
        {"model.byte_fallback", "true", HOLD_EUNSUPPORTED, "byte_fallback"},
        {"model.dropout", "0.1", HOLD_EUNSUPPORTED, "dropout"},
        {"model.continuing_subword_prefix", "\"##\"", HOLD_EUNSUPPORTED, "continuing"},
        {"model.end_of_word_suffix", "\"</w>\"", HOLD_EUNSUPPORTED, "end_of_word"},
        {"model.unk_token", "\"<none>\"", HOLD_EFORMAT, "unk_token"},
        {"model.merges", "[\"zz qq\"]", HOLD_EFORMAT, "not in the vocabulary"},
        {"model.merges", "[\"a\"]", HOLD_EFORMAT, "not two pieces"},
        {"model.merges", "[[\"a\"]]", HOLD_EFORMAT, "not a pair"},
        {"model.merges", "[[\"a\", \"\"]]", HOLD_EFORMAT, "not two pieces"},
        {"model.merges", "[1]", HOLD_EFORMAT, "not a pair"},
        {"model.merges", "{}", HOLD_EFORMAT, "not a list"},
        {"model.vocab", "[]", HOLD_EFORMAT, "not an object"},
        {"model.vocab.a", "-1", HOLD_EFORMAT, "not an integer"},
        {"model.vocab.a", "4000000000", HOLD_EFORMAT, "not an integer"},
        {"model.vocab.a", "1.5", HOLD_EFORMAT, "not an integer"},
        {"model.vocab.a", "70", HOLD_EFORMAT, "have one id"},
        {"model", "null", HOLD_EFORMAT, "no \"model\""},
        {"added_tokens", "{}", HOLD_EFORMAT, "not a list"},
        {"added_tokens", "[{\"id\": 900}]", HOLD_EFORMAT, "no content"},
        {"added_tokens", "[{\"id\": 3000000, \"content\": \"x\"}]", HOLD_EFORMAT, "integer"},
        {"added_tokens", "[{\"id\": 7, \"content\": \"xyz\"}]", HOLD_EFORMAT, "have one id"},
        {"added_tokens", "[{\"id\": 900, \"content\": \"a\"}]", HOLD_EFORMAT, "in model.vocab"},
        {"added_tokens", "[{\"id\": 900, \"content\": \"\"}]", HOLD_EFORMAT, "0 bytes"},
        {"added_tokens", "[{\"id\": 900, \"content\": \"x\", \"single_word\": true}]",
         HOLD_EUNSUPPORTED, "single_word"},
        {"added_tokens", "[{\"id\": 900, \"content\": \"x\", \"special\": 1}]", HOLD_EUSAGE, ""},
        {"added_tokens", "[{\"id\":900,\"content\":\"xx\"},{\"id\":901,\"content\":\"xx\"}]",
         HOLD_EFORMAT, "twice"},
        {"normalizer", "{\"type\": \"Nmt\"}", HOLD_EUNSUPPORTED, "Nmt"},
        {"normalizer", "{\"type\": \"Precompiled\"}", HOLD_EDATA, "precompiled_charsmap"},
        {"normalizer", "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"A!\"}",
         HOLD_EFORMAT, "base64"},
        {"normalizer", "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAAA\"}",
         HOLD_EFORMAT, "3 bytes"},
        {"normalizer", "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"BQAAAAAAAAAA\"}",
         HOLD_EFORMAT, "trie has 5"},
        {"normalizer", "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"CAAAAAAAAAA=\"}",
         HOLD_EFORMAT, "trie has 8"},
        {"normalizer", "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"BAAAAAAAAAD/\"}",
         HOLD_EFORMAT, "not UTF-8"},
        {"normalizer", "{\"type\": \"Sequence\"}", HOLD_EFORMAT, "normalizers"},
        {"normalizer", "[]", HOLD_EUNSUPPORTED, "normalizer"},
        {"pre_tokenizer", "null", HOLD_EUNSUPPORTED, "decoder ByteLevel"},
        {"pre_tokenizer", "{\"type\": \"BertPreTokenizer\"}", HOLD_EUNSUPPORTED, "Bert"},
        {"pre_tokenizer", "{\"type\": \"Digits\"}", HOLD_EUNSUPPORTED, "decoder ByteLevel"},
        {"pre_tokenizer", "{\"type\": \"Sequence\", \"pretokenizers\": 1}", HOLD_EFORMAT, "list"},
        {"pre_tokenizer", IN_LIST(IN_LIST(IN_LIST(IN_LIST(IN_LIST("{\"type\": \"Digits\"}"))))),
         HOLD_EFORMAT, "too deep"},
        {"pre_tokenizer", "{\"type\": \"Split\"}", HOLD_EFORMAT, "pattern"},
        {"decoder", "{\"type\": \"WordPiece\"}", HOLD_EUNSUPPORTED, "WordPiece"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct hold_error err = {0};
        struct hold_tokenizer *t = NULL;
        json_t *json = vocabulary("gpt2"), *at = json;
        char path[64];
        strncpy(path, CASES[i].path, sizeof path - 1);
        path[sizeof path - 1] = '\0';
        char *key = path, *dot = NULL;
        while ((dot = strchr(key, '.')) != NULL) {
            *dot = '\0';
            at = json_object_get(at, key);
            key = dot + 1;
        }
        json_object_set_new(at, key, json_loads(CASES[i].value, JSON_DECODE_ANY, NULL));
        int rc = hold_tokenizer_from_json(&t, json, NULL, "tokenizer.json", &err);
        if (rc == HOLD_OK || t != NULL ||
            (CASES[i].says[0] != '\0' &&
             (rc != CASES[i].code || !strstr(err.text, CASES[i].says)))) {
            fail_msg("%s = %s: %d \"%s\"", CASES[i].path, CASES[i].value, rc, err.text);
        }
        json_decref(json);
    }
}

static void a_million_added_tokens(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_tokenizer *t = NULL;
    json_t *json = vocabulary("gpt2"), *list = json_array();
    for (int i = 0; i < 1000000; i++) {
        char text[16];
        snprintf(text, sizeof text, "<%d>", i);
        json_array_append_new(list, json_pack("{s:i, s:s}", "id", 1000 + i, "content", text));
    }
    json_object_set_new(json, "added_tokens", list);
    assert_int_equal(hold_tokenizer_from_json(&t, json, NULL, "tokenizer.json", &err),
                     HOLD_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "1000000 added tokens"));
    json_decref(json);
}

/* A vocabulary as GGUF metadata gives it. */
static int from_gguf(struct hold_tokenizer **out, const char *pre, enum hold_vocab_kind kind,
                     struct hold_error *err) {
    static const char *const PIECES[] = {"<|end|>", "a", "b", "ab", "\xC4\xA0", "<user>", "1"};
    static const enum hold_piece_type TYPES[] = {
        HOLD_PIECE_CONTROL, HOLD_PIECE_NORMAL, HOLD_PIECE_NORMAL, HOLD_PIECE_NORMAL,
        HOLD_PIECE_NORMAL,  HOLD_PIECE_USER,   HOLD_PIECE_NORMAL};
    static const char *const MERGES[] = {"a b"};
    const struct hold_vocab v = {.kind = kind,
                                 .n_pieces = 7,
                                 .pieces = PIECES,
                                 .types = TYPES,
                                 .n_merges = 1,
                                 .merges = MERGES,
                                 .pre = pre,
                                 .bos = 0,
                                 .eos = 0,
                                 .unk = -1,
                                 .pad = -1};
    return hold_tokenizer_new(out, &v, err);
}

static void from_a_vocabulary(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_tokenizer *t = NULL, *other = NULL;
    struct hold_str back = HOLD_STR_INIT;
    assert_int_equal(from_gguf(&t, "smollm", HOLD_VOCAB_BPE, &err), HOLD_OK);
    struct hold_ids ids = encode(t, "ab 1a<user><|end|>", 18, false);
    static const int32_t WANT[] = {3, 4, 6, 1, 5}; /* what has no piece is left out */
    assert_memory_equal(ids.data, WANT, sizeof WANT);
    assert_int_equal(hold_tokenizer_decode(t, ids.data, 5, true, &back, &err), HOLD_OK);
    assert_string_equal(hold_str_text(&back), "ab 1a<user>");
    const int32_t control[] = {3, 0, 7};
    hold_str_clear(&back);
    assert_int_equal(hold_tokenizer_decode(t, control, 2, false, &back, &err), HOLD_OK);
    assert_string_equal(hold_str_text(&back), "ab");
    assert_int_equal(hold_tokenizer_decode(t, control, 3, true, &back, &err), HOLD_EDATA);
    char a[65], b[65];
    assert_int_equal(from_gguf(&other, "gpt-2", HOLD_VOCAB_BPE, &err), HOLD_OK);
    hold_tokenizer_hash(t, a);
    hold_tokenizer_hash(other, b);
    assert_int_equal(strlen(a), 64);
    assert_string_not_equal(a, b); /* the pre-tokenizer is part of what is hashed */
    hold_tokenizer_free(t);
    hold_tokenizer_free(other);
    hold_ids_release(&ids);
    hold_str_release(&back);
    assert_int_equal(from_gguf(&t, "viking", HOLD_VOCAB_BPE, &err), HOLD_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "viking"));
    assert_int_equal(from_gguf(&t, NULL, HOLD_VOCAB_SPM, &err), HOLD_EFORMAT);
    assert_int_equal(from_gguf(&t, NULL, HOLD_VOCAB_UNIGRAM, &err), HOLD_EFORMAT);
    assert_non_null(strstr(err.text, "without scores"));
}

/* Every allocation may fail: an error, no leak (the sanitizers look), no crash. */
static void memory_runs_out(void **state) {
    (void)state;
    json_t *json = vocabulary("qwen2");
    int rc = HOLD_ENOMEMORY;
    for (int n = 1; rc != HOLD_OK; n++) {
        struct hold_error err = {0};
        struct hold_tokenizer *t = NULL;
        struct hold_ids ids = {0};
        hold_mem_fail_at(n);
        rc = hold_tokenizer_from_json(&t, json, NULL, "tokenizer.json", &err);
        if (rc == HOLD_OK) {
            rc = hold_tokenizer_encode(t, "e\xCC\x81\xFF the<|im_end|>", 18, true, &ids, &err);
        }
        hold_mem_fail_at(0);
        assert_true(rc == HOLD_OK || rc == HOLD_ENOMEMORY);
        assert_true(n < 2000);
        hold_ids_release(&ids);
        hold_tokenizer_free(t);
    }
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_pieces),
        cmocka_unit_test(reads_config),
        cmocka_unit_test(control_tokens_by_origin),
        cmocka_unit_test(borders_do_not_show),
        cmocka_unit_test(offsets_through_changes),
        cmocka_unit_test(bad_utf8),
        cmocka_unit_test(long_text_is_fast),
        cmocka_unit_test(catastrophic_pattern_is_bounded),
        cmocka_unit_test(classes_within_classes),
        cmocka_unit_test(patterns_refused),
        cmocka_unit_test(hostile_files),
        cmocka_unit_test(a_million_added_tokens),
        cmocka_unit_test(from_a_vocabulary),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
