/* test_tokenizer_golden.c: ids equal those of the `tokenizers` crate.
 *
 * Small vocabularies under twelve pre-tokenizers always; SmolLM2's own when HOLD_TEST_MODEL names a
 * GGUF file of it (the real-model tier). Data: tests/golden/tokenizer/make_vocabs.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "formats/hf.h"
#include "tokenizer/tokenizer.h"

#define DIR HOLD_SOURCE_DIR "/tests/golden/tokenizer/"

static struct hold_tokenizer *load(const char *name) {
    struct hold_error err = {0};
    struct hold_str path = HOLD_STR_INIT;
    struct hold_tokenizer *t = NULL;
    json_t *json = NULL;
    hold_str_addf(&path, DIR "vocab_%s.json", name);
    if (hold_json_load(&json, hold_str_text(&path), &err) != HOLD_OK ||
        hold_tokenizer_from_json(&t, json, NULL, name, &err) != HOLD_OK) {
        fail_msg("%s", err.text);
    }
    json_decref(json);
    hold_str_release(&path);
    return t;
}

/* Whether the ids of text are `want`, and decode to `decoded` (NULL: do not look). */
static bool check(const struct hold_tokenizer *t, const char *name, const json_t *text,
                  bool special, const json_t *want, const json_t *decoded, long line) {
    struct hold_error err = {0};
    struct hold_ids ids = {0};
    struct hold_str back = HOLD_STR_INIT;
    size_t n = json_string_length(text), same = 0;
    if (hold_tokenizer_encode(t, json_string_value(text), n, special, &ids, &err) != HOLD_OK ||
        hold_tokenizer_decode(t, ids.data, ids.len, false, &back, &err) != HOLD_OK) {
        fail_msg("%s", err.text);
    }
    while (same < ids.len && same < json_array_size(want) &&
           json_integer_value(json_array_get(want, same)) == ids.data[same]) {
        same++;
    }
    bool equal = same == ids.len && same == json_array_size(want);
    bool round = decoded == NULL || (back.len == json_string_length(decoded) &&
                                     strcmp(hold_str_text(&back), json_string_value(decoded)) == 0);
    if (!equal || !round) {
        print_message("line %ld, %s: %s at %zu\n", line, name,
                      equal ? "decodes to another text" : "differs", same);
    }
    hold_ids_release(&ids);
    hold_str_release(&back);
    return equal && round;
}

/* Call on each row of a JSON-lines file. */
static long each_row(const char *path, void (*row)(void *user, const json_t *row, long line),
                     void *user) {
    struct hold_error err = {0};
    struct hold_str all = HOLD_STR_INIT;
    long line = 0;
    if (hold_file_read(path, 0, &all, &err) != HOLD_OK) {
        fail_msg("%s", err.text);
    }
    for (const char *p = all.data, *end = NULL; p < all.data + all.len; p = end + 1) {
        json_t *json = NULL;
        end = strchr(p, '\n');
        if (hold_json_parse(&json, p, (size_t)(end - p), path, ++line, &err) != HOLD_OK) {
            fail_msg("%s", err.text);
        }
        row(user, json, line);
        json_decref(json);
    }
    hold_str_release(&all);
    return line;
}

static const char *const KINDS[] = {"gpt2",  "smollm", "llama3",  "qwen2", "cl100k",  "o200k",
                                    "mixed", "llama2", "mistral", "gemma", "unigram", "charsmap"};
enum { N_KINDS = sizeof KINDS / sizeof KINDS[0] };

struct small {
    struct hold_tokenizer *t[N_KINDS];
    long wrong;
};

static void small_row(void *user, const json_t *row, long line) {
    struct small *s = user;
    bool special = json_is_true(json_object_get(row, "special"));
    for (int i = 0; i < N_KINDS; i++) {
        const json_t *want = json_object_get(json_object_get(row, "ids"), KINDS[i]);
        const json_t *text = json_object_get(row, "text");
        const json_t *decoded = json_object_get(json_object_get(row, "decoded"), KINDS[i]);
        decoded = decoded == NULL ? text : decoded; /* the text itself, unless the file tells */
        assert_true(json_is_array(want));
        s->wrong +=
            check(s->t[i], KINDS[i], text, special, want, special ? NULL : decoded, line) ? 0 : 1;
    }
}

static void small_vocabularies(void **state) {
    (void)state;
    struct small s = {0};
    for (int i = 0; i < N_KINDS; i++) {
        s.t[i] = load(KINDS[i]);
    }
    long lines = each_row(DIR "lines.jsonl", small_row, &s);
    for (int i = 0; i < N_KINDS; i++) {
        hold_tokenizer_free(s.t[i]);
    }
    assert_true(lines > 50);
    assert_int_equal(s.wrong, 0);
}

struct real {
    const struct hold_tokenizer *t;
    long wrong;
};

static void real_row(void *user, const json_t *row, long line) {
    struct real *r = user;
    r->wrong += check(r->t, "smollm2", json_object_get(row, "text"), false,
                      json_object_get(row, "ids"), NULL, line)
                    ? 0
                    : 1;
}

static void smollm2(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_model_files files;
    const char *path = getenv("HOLD_TEST_MODEL");
    if (path == NULL || !hold_exists(path)) {
        skip();
    }
    if (hold_model_files_open(&files, path, &err) != HOLD_OK) {
        fail_msg("%s", err.text);
    }
    struct real r = {.t = files.tokenizer};
    assert_int_equal(each_row(DIR "smollm2.jsonl", real_row, &r), 120);
    assert_int_equal(r.wrong, 0);
    hold_model_files_release(&files);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_vocabularies),
        cmocka_unit_test(smollm2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
