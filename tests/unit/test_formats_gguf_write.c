/* test_formats_gguf_write.c: numbers as gguf's quantize makes them, the container read back, and
 * what a fault leaves behind; tokenizers of every known kind told to GGUF and read back. */
#include "test_formats_common.h"

#include <math.h>

#include "formats/vocab.h"

/* ---- numbers ---- */

static unsigned hex(const char *text, int digits) {
    char part[9] = {0};
    memcpy(part, text, (size_t)digits);
    return (unsigned)strtoul(part, NULL, 16);
}

static void test_quantize_golden(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum hold_stored_type type;
    } TYPES[] = {{"F16", HOLD_ST_F16}, {"BF16", HOLD_ST_BF16}, {"Q8_0", HOLD_ST_Q8_0}};
    json_t *golden = load_json(GOLDEN "quantize.json");
    const char *numbers = json_string_value(json_object_get(golden, "numbers"));
    int64_t n = (int64_t)strlen(numbers) / 8;
    float *x = calloc((size_t)n, sizeof *x);
    uint8_t *out = malloc((size_t)n * 4);
    assert_true(x != NULL && out != NULL && n == 9 * 32);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = hex(numbers + 8 * i, 8);
        memcpy(&x[i], &bits, sizeof bits);
    }
    for (size_t k = 0; k < sizeof TYPES / sizeof *TYPES; k++) {
        const char *bytes = json_string_value(json_object_get(golden, TYPES[k].name));
        size_t size = (size_t)hold_stored_bytes(TYPES[k].type, n);
        assert_int_equal(strlen(bytes), 2 * size);
        assert_int_equal(hold_stored_from_f32(TYPES[k].type, x, n, out), -1);
        for (size_t i = 0; i < size; i++) {
            if (out[i] != hex(bytes + 2 * i, 2)) {
                fail_msg("%s: byte %zu is %02x, expected %.2s", TYPES[k].name, i, out[i],
                         bytes + 2 * i);
            }
        }
    }
    assert_int_equal(hold_stored_from_f32(HOLD_ST_F32, x, n, out), -1);
    assert_memory_equal(out, x, (size_t)n * sizeof *x);
    free(x);
    free(out);
    json_decref(golden);
}

/* The largest number that each type holds, and the next one that it does not. */
static void test_quantize_borders(void **state) {
    (void)state;
    static const struct {
        enum hold_stored_type type;
        float fits, too_large;
    } CASES[] = {{HOLD_ST_F32, 3.4e38F, INFINITY},
                 {HOLD_ST_F16, 65519.0F, 65520.0F},
                 {HOLD_ST_BF16, 3.3895e38F, 3.4e38F},
                 {HOLD_ST_Q8_0, 127.0F * 65519.0F, 127.0F * 65520.0F},
                 {HOLD_ST_Q8_0, 1e-42F, NAN}}; /* a scale whose inverse no float holds */
    for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++) {
        float x[64] = {0};
        uint8_t out[256];
        x[40] = -CASES[k].fits;
        assert_int_equal(hold_stored_from_f32(CASES[k].type, x, 64, out), -1);
        x[40] = -CASES[k].too_large;
        assert_int_equal(hold_stored_from_f32(CASES[k].type, x, 64, out), 40);
        x[40] = NAN;
        assert_int_equal(hold_stored_from_f32(CASES[k].type, x, 64, out), 40);
    }
}

/* ---- the container ---- */

/* Three tensors; the second is longer than what is converted at a time, and no row of it ends with
 * a piece. */
enum { ROWS = 5, COLS = 8224, N_TENSORS = 3 };
static const struct hold_to_store TENSORS[N_TENSORS] = {
    {"norm", HOLD_ST_F32, 1, {3, 1, 1, 1}, NULL},
    {"matrix", HOLD_ST_Q8_0, 2, {ROWS, COLS, 1, 1}, NULL},
    {"half", HOLD_ST_F16, 3, {2, 3, 5, 1}, NULL},
};

static float number_at(int64_t tensor, int64_t i) {
    return (float)((i * 37 + tensor * 11) % 255 - 127) * 0.25F; /* exact in each of the types */
}

struct source {
    int64_t asked, bad_tensor, bad_at;
    volatile sig_atomic_t stop;
    int64_t stop_after; /* calls; 0: never */
    int progress;
    int64_t done, total;
};

static void fetch(void *user, int64_t i, int64_t first, int64_t n, float *out) {
    struct source *s = user;
    s->asked++;
    s->stop = s->stop_after > 0 && s->asked >= s->stop_after;
    for (int64_t k = 0; k < n; k++) {
        out[k] =
            i == s->bad_tensor && first + k == s->bad_at ? 65520.0F * 128 : number_at(i, first + k);
    }
}

static void progress(void *user, const char *what, int64_t done, int64_t total, const char *status,
                     double eta) {
    struct source *s = user;
    assert_string_equal(what, "writing");
    assert_string_equal(status, "");
    assert_true(eta < 0 && done > s->done && done <= total);
    s->progress++;
    s->done = done;
    s->total = total;
}

static void add_keys(struct hold_gguf_keys *k) {
    static const char *const TEXTS[] = {"", "a", "\xE2\x96\x81"};
    static const int32_t INTS[] = {-1, 7};
    static const float REALS[] = {0.5F, -3.0F};
    hold_gguf_add_text(k, "general.architecture", "llama");
    hold_gguf_add_int(k, "an.int", 4000000000U);
    hold_gguf_add_bool(k, "a.bool", true);
    hold_gguf_add_real(k, "a.real", 0.1);
    hold_gguf_add_texts(k, "texts", TEXTS, 3);
    hold_gguf_add_ints(k, "ints", INTS, 2);
    hold_gguf_add_reals(k, "reals", REALS, 2);
}

static int write_file(const char *path, struct source *s, const struct hold_ctx *ctx,
                      struct hold_error *err) {
    struct hold_gguf_keys keys = {0};
    const struct hold_store_source source = {fetch, s};
    add_keys(&keys);
    int rc = hold_gguf_write(path, &keys, TENSORS, N_TENSORS, &source, ctx, err);
    hold_gguf_keys_release(&keys);
    return rc;
}

static void assert_keys(const struct hold_gguf *g) {
    struct hold_error err = {0};
    const char *text = NULL;
    const char *const *texts;
    const int32_t *lengths, *ints;
    const float *reals;
    int64_t x = 0, n = 0;
    double real = 0;
    assert_ok(hold_gguf_text_or(g, "general.architecture", NULL, &text, &err), &err);
    assert_string_equal(text, "llama");
    assert_ok(hold_gguf_int_or(g, "an.int", 0, &x, &err), &err);
    assert_true(x == 4000000000);
    assert_ok(hold_gguf_int_or(g, "a.bool", 0, &x, &err), &err);
    assert_int_equal(x, 1);
    assert_ok(hold_gguf_real_or(g, "a.real", 0, &real, &err), &err);
    assert_true(real == (double)0.1F);
    assert_ok(hold_gguf_texts(g, "texts", &texts, &lengths, &n, &err), &err);
    assert_true(n == 3 && lengths[0] == 0 && lengths[2] == 3);
    assert_string_equal(texts[1], "a");
    assert_ok(hold_gguf_ints(g, "ints", &ints, &n, &err), &err);
    assert_true(n == 2 && ints[0] == -1 && ints[1] == 7);
    assert_ok(hold_gguf_reals(g, "reals", &reals, &n, &err), &err);
    assert_true(n == 2 && reals[0] == 0.5F && reals[1] == -3.0F);
    assert_true(hold_gguf_is_array(g, "ints") && !hold_gguf_is_array(g, "an.int"));
    assert_false(hold_gguf_is_array(g, "missing"));
}

static void test_container(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_gguf *g = NULL;
    struct source s = {.bad_tensor = -1};
    const struct hold_ctx ctx = {.progress = progress, .user = &s, .threads = 1};
    int64_t n = 0;
    assert_ok(write_file("a.gguf", &s, &ctx, &err), &err);
    assert_true(s.progress == N_TENSORS && s.done == s.total);
    assert_int_equal(hold_file_size("a.gguf"), s.total);
    assert_ok(hold_gguf_open(&g, "a.gguf", &err), &err);
    assert_keys(g);
    const struct hold_stored *list = hold_gguf_tensors(g, &n);
    assert_int_equal(n, N_TENSORS);
    const uint8_t *bytes = hold_gguf_map(g)->data;
    for (int64_t i = 0; i < n; i++) {
        int64_t count = hold_stored_count(&list[i]);
        float *x = calloc((size_t)count, sizeof *x);
        assert_string_equal(list[i].name, TENSORS[i].name);
        assert_true(list[i].type == TENSORS[i].type && list[i].n_dims == TENSORS[i].n_dims);
        assert_memory_equal(list[i].dim, TENSORS[i].dim, sizeof list[i].dim);
        assert_int_equal(((const uint8_t *)list[i].data - bytes) % 32, 0);
        assert_ok(hold_stored_to_f32(&list[i], 0, count, x, &err), &err);
        for (int64_t k = 0; k < count; k++) {
            double off = fabs((double)x[k] - (double)number_at(i, k));
            assert_true(list[i].type == HOLD_ST_Q8_0 ? off < 0.13 : off == 0);
        }
        free(x);
    }
    hold_gguf_free(g);
    /* The same again is the same file. */
    struct hold_str a = HOLD_STR_INIT, b = HOLD_STR_INIT;
    s = (struct source){.bad_tensor = -1};
    assert_ok(write_file("b.gguf", &s, NULL, &err), &err);
    assert_ok(hold_file_read("a.gguf", 0, &a, &err), &err);
    assert_ok(hold_file_read("b.gguf", 0, &b, &err), &err);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    hold_str_release(&a);
    hold_str_release(&b);
}

/* Entries of a file go into another one as they are. */
static void test_entries(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_gguf *g = NULL;
    struct hold_gguf_keys keys = {0};
    struct hold_gguf_entry entry;
    struct source s = {.bad_tensor = -1};
    const struct hold_store_source source = {fetch, &s};
    int64_t n = 0;
    assert_ok(write_file("a.gguf", &s, NULL, &err), &err);
    assert_ok(hold_gguf_open(&g, "a.gguf", &err), &err);
    while (hold_gguf_entry(g, n, &entry)) {
        hold_gguf_add_entry(&keys, &entry);
        n++;
    }
    assert_int_equal(n, 7);
    assert_false(hold_gguf_entry(g, -1, &entry));
    hold_gguf_free(g);
    assert_ok(hold_gguf_write("b.gguf", &keys, TENSORS, 1, &source, NULL, &err), &err);
    hold_gguf_keys_release(&keys);
    assert_ok(hold_gguf_open(&g, "b.gguf", &err), &err);
    assert_keys(g);
    hold_gguf_free(g);
}

static void assert_nothing_left(void) {
    struct hold_error err = {0};
    char **names = NULL;
    size_t n = 0;
    assert_ok(hold_dir_list(".", &names, &n, &err), &err);
    if (n != 0) {
        fail_msg("%s was left behind", names[0]);
    }
    hold_names_free(names, n);
}

static void test_faults(void **state) {
    (void)state;
    struct hold_error err = {0};
    /* In the second piece of the second tensor. */
    struct source s = {.bad_tensor = 1, .bad_at = 32800};
    assert_refused(write_file("a.gguf", &s, NULL, &err), HOLD_EDATA, &err,
                   "a.gguf: tensor matrix: element 32800 is 8.38656e+06, which Q8_0 cannot hold");
    assert_nothing_left();
    s = (struct source){.bad_tensor = -1, .stop_after = 3};
    const struct hold_ctx ctx = {.stop = &s.stop, .threads = 1};
    assert_refused(write_file("a.gguf", &s, &ctx, &err), HOLD_EINTERRUPTED, &err, "nothing was");
    assert_int_equal(s.asked, 3);
    assert_nothing_left();
    struct hold_gguf_keys keys = {0};
    struct hold_to_store t = TENSORS[1];
    const struct hold_store_source source = {fetch, &s};
    t.type = HOLD_ST_Q4_0;
    assert_refused(hold_gguf_write("a.gguf", &keys, &t, 1, &source, NULL, &err), HOLD_EUNSUPPORTED,
                   &err, "tensor matrix: type Q4_0 cannot be written");
    t.type = HOLD_ST_Q8_0;
    t.dim[1] = 33;
    assert_refused(hold_gguf_write("a.gguf", &keys, &t, 1, &source, NULL, &err), HOLD_EFORMAT, &err,
                   "rows of 33 elements");
    t.type = HOLD_ST_F32;
    t.dim[0] = INT64_MAX / 33 / 8; /* more than any disk has */
    assert_refused(hold_gguf_write("a.gguf", &keys, &t, 1, &source, NULL, &err), HOLD_ENOSPACE,
                   &err, "MB are free");
    assert_nothing_left();
    for (int64_t k = 1;; k++) {
        s = (struct source){.bad_tensor = -1};
        hold_mem_fail_at(k);
        int rc = write_file("a.gguf", &s, NULL, &err);
        hold_mem_fail_at(0);
        if (rc == HOLD_OK) {
            assert_true(k > 4);
            break;
        }
        assert_int_equal(rc, HOLD_ENOMEMORY);
        assert_nothing_left();
    }
}

/* ---- tokenizers ---- */

#define TOKENIZERS HOLD_SOURCE_DIR "/tests/golden/tokenizer/"

static struct hold_tokenizer *vocabulary(const char *name, const char *key, const char *value) {
    struct hold_error err = {0};
    struct hold_tokenizer *t = NULL;
    char path[512];
    snprintf(path, sizeof path, TOKENIZERS "vocab_%s.json", name);
    json_t *json = load_json(path);
    if (key != NULL) {
        json_object_set_new(strcmp(key, "normalizer") == 0 ? json : json_object_get(json, "model"),
                            key, json_loads(value, JSON_DECODE_ANY, NULL));
    }
    assert_ok(hold_tokenizer_from_json(&t, json, NULL, name, &err), &err);
    json_decref(json);
    return t;
}

/* Told to a GGUF file of `vocab` pieces, and read back from it. */
static int through_gguf(const struct hold_model_files *from, int64_t vocab,
                        struct hold_tokenizer **out, struct hold_vocab *v, struct hold_gguf **g,
                        struct hold_error *err) {
    struct hold_gguf_keys keys = {0};
    enum hold_piece_type *types = NULL;
    *g = NULL;
    *out = NULL;
    int rc = hold_vocab_to_gguf(&keys, from, vocab, err);
    struct source s = {.bad_tensor = -1};
    const struct hold_store_source source = {fetch, &s};
    if (rc == HOLD_OK) {
        rc = hold_gguf_write("v.gguf", &keys, TENSORS, 1, &source, NULL, err);
    }
    hold_gguf_keys_release(&keys);
    if (rc != HOLD_OK) {
        return rc;
    }
    assert_ok(hold_gguf_open(g, "v.gguf", err), err);
    assert_ok(hold_vocab_from_gguf(v, &types, *g, "v.gguf", err), err);
    assert_ok(hold_tokenizer_new(out, v, err), err);
    free(types);
    v->types = NULL;
    return rc;
}

/* Every golden line is cut as before; the count of those that GGUF can tell. */
static long compare_lines(const struct hold_tokenizer *a, const struct hold_tokenizer *b) {
    struct hold_error err = {0};
    struct hold_str all = HOLD_STR_INIT;
    long lines = 0, told = 0;
    assert_ok(hold_file_read(TOKENIZERS "lines.jsonl", 0, &all, &err), &err);
    for (const char *p = all.data, *end = NULL; p < all.data + all.len; p = end + 1) {
        json_t *json = NULL;
        struct hold_ids x = {0}, y = {0};
        end = strchr(p, '\n');
        assert_ok(hold_json_parse(&json, p, (size_t)(end - p), "lines", ++lines, &err), &err);
        const json_t *text = json_object_get(json, "text");
        bool special = json_is_true(json_object_get(json, "special"));
        size_t n = json_string_length(text);
        assert_ok(hold_tokenizer_encode(a, json_string_value(text), n, special, &x, &err), &err);
        assert_ok(hold_tokenizer_encode(b, json_string_value(text), n, special, &y, &err), &err);
        /* GGUF has no place for the blanks that a token takes along, nor for tokens that are
         * looked for in the normalised text. */
        static const char *const ONLY_JSON[] = {"<mask>", "<sep>", "Lo\xCC\x88we"};
        bool differs = false;
        for (size_t k = 0; k < sizeof ONLY_JSON / sizeof *ONLY_JSON; k++) {
            differs = differs || strstr(json_string_value(text), ONLY_JSON[k]) != NULL;
        }
        told += !differs;
        if (!differs && (x.len != y.len || memcmp(x.data, y.data, x.len * sizeof *x.data) != 0)) {
            fail_msg("line %ld is cut otherwise: %s", lines, json_string_value(text));
        }
        hold_ids_release(&x);
        hold_ids_release(&y);
        json_decref(json);
    }
    hold_str_release(&all);
    return told;
}

/* Each set of rules is what our reader takes its name for: lines are cut the same. */
static void test_rules(void **state) {
    (void)state;
    for (int i = 0; i < HOLD_PRE_RULES; i++) {
        const struct hold_pre_rules *r = &hold_pre_rules[i];
        struct hold_error err = {0};
        struct hold_vocab v;
        struct hold_gguf *g = NULL;
        struct hold_tokenizer *t = NULL;
        struct hold_model_files f = {.path = "m"};
        json_t *json = load_json(TOKENIZERS "vocab_o200k.json");
        json_object_set_new(json, "normalizer", json_loads(r->normalizer, JSON_DECODE_ANY, NULL));
        json_object_set_new(json, "pre_tokenizer", json_loads(r->pre_tokenizer, 0, NULL));
        json_object_set_new(json_object_get(json, "model"), "ignore_merges",
                            json_boolean(r->ignore_merges));
        assert_ok(hold_tokenizer_from_json(&f.tokenizer, json, NULL, r->pre, &err), &err);
        json_decref(json);
        assert_ok(through_gguf(&f, hold_tokenizer_size(f.tokenizer), &t, &v, &g, &err), &err);
        assert_string_equal(v.pre, r->pre);
        assert_true(compare_lines(f.tokenizer, t) > 50);
        hold_tokenizer_free(t);
        hold_tokenizer_free(f.tokenizer);
        hold_gguf_free(g);
    }
}

static void test_byte_level(void **state) {
    (void)state;
    static const struct {
        const char *name, *key, *value, *pre;
    } CASES[] = {{"gpt2", NULL, NULL, "gpt-2"},
                 {"gpt2", "normalizer", "{\"type\":\"NFC\"}", "mpt"},
                 {"smollm", NULL, NULL, "smollm"},
                 {"qwen2", NULL, NULL, "qwen2"},
                 {"qwen2", "normalizer", "null", "stablelm2"},
                 {"llama3", "ignore_merges", "true", "llama-bpe"},
                 {"llama3", "ignore_merges", "false", "dbrx"}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct hold_error err = {0};
        struct hold_vocab v;
        struct hold_gguf *g = NULL;
        struct hold_tokenizer *t = NULL;
        struct hold_model_files f = {.path = "m",
                                     .tokenizer =
                                         vocabulary(CASES[i].name, CASES[i].key, CASES[i].value),
                                     .n_eos_ids = 3,
                                     .eos_ids = {2, 1, 5},
                                     .chat_template = "{{ 1 }}"};
        int32_t n = hold_tokenizer_size(f.tokenizer);
        hold_tokenizer_set_adds(f.tokenizer, i % 2 == 0, false);
        assert_ok(through_gguf(&f, n + 3, &t, &v, &g, &err), &err);
        assert_string_equal(v.pre, CASES[i].pre);
        assert_int_equal(v.n_pieces, n + 3);
        char pad[24];
        snprintf(pad, sizeof pad, "[PAD%d]", n + 2);
        assert_string_equal(v.pieces[n + 2], pad);
        assert_int_equal(hold_tokenizer_type(t, n + 2), HOLD_PIECE_UNUSED);
        assert_true(v.add_bos == (i % 2 == 0) && !v.add_eos && v.bos == -1 && v.eos == 2);
        int64_t eot = 0, eom = 0;
        const char *chat = NULL;
        assert_ok(hold_gguf_int_or(g, "tokenizer.ggml.eot_token_id", -1, &eot, &err), &err);
        assert_ok(hold_gguf_int_or(g, "tokenizer.ggml.eom_token_id", -1, &eom, &err), &err);
        assert_ok(hold_gguf_text_or(g, "tokenizer.chat_template", NULL, &chat, &err), &err);
        assert_true(eot == 1 && eom == 5);
        assert_string_equal(chat, "{{ 1 }}");
        assert_true(compare_lines(f.tokenizer, t) > 50);
        hold_tokenizer_free(t);
        hold_tokenizer_free(f.tokenizer);
        hold_gguf_free(g);
    }
}

/* A vocabulary that SentencePiece could have trained: every way to cut a piece is a merge. */
static const char SPM[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":1,\"content\":"
    "\"<s>\",\"special\":true}],\"normalizer\":%s,\"pre_tokenizer\":%s,\"decoder\":{\"type\":"
    "\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xE2\x96\x81\"},"
    "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},\"model\":{\"type\":"
    "\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{"
    "\"<unk>\":0,\"<s>\":1,\"<0x41>\":2,\"a\":3,\"b\":4,\"\xE2\x96\x81\":5,\"ab\":6,"
    "\"\xE2\x96\x81\x61\":7,\"aba\":8,\"ba\":9},\"merges\":[\"a b\",%s\"\xE2\x96\x81 a\"%s]}}";
#define ALL_MERGES "\"a ba\",\"ab a\",", ",\"b a\""
#define REPLACE_BLANK \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}"
#define PREPEND_BLANK "{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"}"

static struct hold_tokenizer *spm_tokenizer(const char *normalizer, const char *pre,
                                            const char *first, const char *last) {
    struct hold_error err = {0};
    struct hold_tokenizer *t = NULL;
    char text[4096];
    snprintf(text, sizeof text, SPM, normalizer, pre, first, last);
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    assert_ok(hold_tokenizer_from_json(&t, json, NULL, "t", &err), &err);
    json_decref(json);
    return t;
}

static void test_sentencepiece(void **state) {
    (void)state;
    static const struct {
        const char *normalizer, *pre;
        bool prefix;
    } CASES[] = {
        {"{\"type\":\"Sequence\",\"normalizers\":[" PREPEND_BLANK "," REPLACE_BLANK "]}", "null",
         true},
        {REPLACE_BLANK,
         "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":\"MergedWithPrevious\","
         "\"invert\":false}",
         false},
        {REPLACE_BLANK, "null", false},
        {"null",
         "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\",\"prepend_scheme\":\"first\","
         "\"split\":false}",
         true},
    };
    static const char *const TEXTS[] = {"abab aba", "  baab", "ababa ab aA a", "c", "aba<s>ba"};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct hold_error err = {0};
        struct hold_vocab v;
        struct hold_gguf *g = NULL;
        struct hold_tokenizer *t = NULL;
        struct hold_model_files f = {
            .path = "m", .tokenizer = spm_tokenizer(CASES[i].normalizer, CASES[i].pre, ALL_MERGES)};
        assert_int_equal(hold_tokenizer_kind(f.tokenizer), HOLD_VOCAB_SPM);
        assert_ok(through_gguf(&f, 12, &t, &v, &g, &err), &err);
        assert_true(v.kind == HOLD_VOCAB_SPM && v.unk == 0 && v.eos == -1);
        assert_int_equal(v.add_space_prefix, CASES[i].prefix);
        assert_int_equal(hold_tokenizer_type(t, 0), HOLD_PIECE_UNKNOWN);
        assert_int_equal(hold_tokenizer_type(t, 2), HOLD_PIECE_BYTE);
        assert_true(v.scores[6] > v.scores[8] && v.scores[8] > v.scores[7] &&
                    v.scores[7] > v.scores[9] && v.scores[9] > v.scores[3]);
        for (size_t k = 0; k < sizeof TEXTS / sizeof *TEXTS; k++) {
            struct hold_ids x = {0}, y = {0};
            size_t n = strlen(TEXTS[k]);
            bool special = i != 3; /* Metaspace leads only the beginning, if no blank does */
            if (!special && TEXTS[k][0] == ' ') {
                continue;
            }
            assert_ok(hold_tokenizer_encode(f.tokenizer, TEXTS[k], n, false, &x, &err), &err);
            assert_ok(hold_tokenizer_encode(t, TEXTS[k], n, false, &y, &err), &err);
            if (special) {
                assert_ok(hold_tokenizer_encode(f.tokenizer, TEXTS[k], n, true, &x, &err), &err);
                assert_ok(hold_tokenizer_encode(t, TEXTS[k], n, true, &y, &err), &err);
            }
            if (x.len != y.len || memcmp(x.data, y.data, x.len * sizeof *x.data) != 0) {
                fail_msg("rules %zu: \"%s\" is cut otherwise", i, TEXTS[k]);
            }
            hold_ids_release(&x);
            hold_ids_release(&y);
        }
        hold_tokenizer_free(t);
        hold_tokenizer_free(f.tokenizer);
        hold_gguf_free(g);
    }
}

static void refuse_tokenizer(struct hold_tokenizer *t, const char *part) {
    struct hold_error err = {0};
    struct hold_gguf_keys keys = {0};
    struct hold_model_files f = {.path = "m", .tokenizer = t};
    assert_refused(hold_vocab_to_gguf(&keys, &f, hold_tokenizer_size(t), &err), HOLD_EUNSUPPORTED,
                   &err, part);
    hold_gguf_keys_release(&keys);
    hold_tokenizer_free(t);
}

static void test_refused(void **state) {
    (void)state;
    static const char PRE[] = "m: a pre-tokenizer that GGUF has no known name for";
    static const char MERGES[] = "m: merges that are not those of a SentencePiece vocabulary";
    refuse_tokenizer(vocabulary("cl100k", NULL, NULL), PRE);
    refuse_tokenizer(vocabulary("o200k", NULL, NULL), PRE);
    refuse_tokenizer(vocabulary("mixed", NULL, NULL), PRE);
    refuse_tokenizer(vocabulary("smollm", "normalizer", "{\"type\":\"NFC\"}"), PRE);
    refuse_tokenizer(vocabulary("gpt2", "ignore_merges", "true"), PRE);
    refuse_tokenizer(vocabulary("unigram", NULL, NULL), "m: a Unigram tokenizer cannot be written");
    refuse_tokenizer(vocabulary("llama2", NULL, NULL), MERGES); /* trained by `tokenizers` */
    refuse_tokenizer(spm_tokenizer(REPLACE_BLANK, "null", "\"ab a\",", ",\"b a\""), MERGES);
    refuse_tokenizer(spm_tokenizer(REPLACE_BLANK, "null", "\"a ba\",", ",\"b a\",\"ab a\""),
                     MERGES);
    refuse_tokenizer(spm_tokenizer("{\"type\":\"NFC\"}", "null", ALL_MERGES),
                     "m: a normalizer or pre-tokenizer that a SentencePiece vocabulary");
}

static void test_tokenizer_memory(void **state) {
    (void)state;
    struct hold_tokenizer *all[] = {vocabulary("smollm", NULL, NULL),
                                    spm_tokenizer(REPLACE_BLANK, "null", ALL_MERGES)};
    for (size_t i = 0; i < 2; i++) {
        for (int64_t k = 1;; k++) {
            struct hold_error err = {0};
            struct hold_gguf_keys keys = {0};
            struct hold_model_files f = {.path = "m", .tokenizer = all[i]};
            hold_mem_fail_at(k);
            int rc = hold_vocab_to_gguf(&keys, &f, 300, &err);
            hold_mem_fail_at(0);
            bool good = rc == HOLD_OK && !keys.bytes.out_of_memory;
            hold_gguf_keys_release(&keys);
            if (good) {
                assert_true(k > 10);
                break;
            }
            assert_true(rc == HOLD_OK || rc == HOLD_ENOMEMORY);
        }
        hold_tokenizer_free(all[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantize_golden),
        cmocka_unit_test(test_quantize_borders),
        cmocka_unit_test_setup_teardown(test_container, enter, leave),
        cmocka_unit_test_setup_teardown(test_entries, enter, leave),
        cmocka_unit_test_setup_teardown(test_faults, enter, leave),
        cmocka_unit_test_setup_teardown(test_rules, enter, leave),
        cmocka_unit_test_setup_teardown(test_byte_level, enter, leave),
        cmocka_unit_test_setup_teardown(test_sentencepiece, enter, leave),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_tokenizer_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
