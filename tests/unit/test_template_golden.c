/* test_template_golden.c: templates rendered as jinja2 does, set up as in `transformers`.
 *
 * Replays tests/golden/tokenizer/templates.jsonl, or the file given as argument (a longer one by
 * make_templates.py --count N --out FILE) with the templates of a second argument's folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "tokenizer/template.h"

enum { NOW = 1764000000 };
static const char *golden = HOLD_SOURCE_DIR "/tests/golden/tokenizer/templates.jsonl";
static const char *templates = HOLD_SOURCE_DIR "/tests/golden/tokenizer/templates";

static struct hold_template *load(const char *name) {
    struct hold_error err = {0};
    struct hold_str path = HOLD_STR_INIT, source = HOLD_STR_INIT;
    struct hold_template *t = NULL;
    hold_str_addf(&path, "%s/%s", templates, name);
    if (hold_file_read(hold_str_text(&path), 0, &source, &err) != HOLD_OK ||
        hold_template_new(&t, hold_str_text(&source), name, &err) != HOLD_OK) {
        print_message("%s\n", err.text);
    }
    hold_str_release(&path);
    hold_str_release(&source);
    return t;
}

static const char *const VOCABS[] = {"smollm", "llama2", "unigram"};
enum { N_VOCABS = sizeof VOCABS / sizeof VOCABS[0] };
static struct hold_tokenizer *vocabs[N_VOCABS];

static int load_vocabs(void **state) {
    (void)state;
    for (int i = 0; i < N_VOCABS; i++) {
        struct hold_error err = {0};
        json_t *json = NULL;
        char path[512];
        snprintf(path, sizeof path, "%s/tests/golden/tokenizer/vocab_%s.json", HOLD_SOURCE_DIR,
                 VOCABS[i]);
        if (hold_json_load(&json, path, &err) != HOLD_OK ||
            hold_tokenizer_from_json(&vocabs[i], json, NULL, path, &err) != HOLD_OK) {
            fail_msg("%s", err.text);
        }
        json_decref(json);
    }
    return 0;
}

static int free_vocabs(void **state) {
    (void)state;
    for (int i = 0; i < N_VOCABS; i++) {
        hold_tokenizer_free(vocabs[i]);
    }
    return 0;
}

/* Whether every control token of the rendered text is the template's own, and none a message's. */
static bool control_is_the_templates(const struct hold_tokenizer *t, const struct hold_rendered *r,
                                     size_t *seen) {
    struct hold_error err = {0};
    struct hold_ids ids = {0}, starts = {0};
    unsigned char *control = test_malloc(r->text.len + 1);
    bool good = true;
    for (size_t i = 0; i < r->text.len; i++) {
        control[i] = r->message[i] == HOLD_FROM_TEMPLATE;
    }
    assert_int_equal(hold_tokenizer_encode_mixed(t, hold_str_text(&r->text), control, r->text.len,
                                                 &ids, &starts, &err),
                     HOLD_OK);
    for (size_t i = 0; i < ids.len; i++) {
        if (hold_tokenizer_is_control(t, ids.data[i])) {
            size_t n = strlen(hold_tokenizer_piece(t, ids.data[i]));
            size_t at = (size_t)starts.data[i];
            good = good && at + n <= r->text.len && memchr(control + at, 0, n) == NULL;
            ++*seen;
        }
    }
    test_free(control);
    hold_ids_release(&ids);
    hold_ids_release(&starts);
    return good;
}

static size_t control_tokens;

/* One line of the golden file; false: not as jinja2. */
static bool replay(const struct hold_template *t, const json_t *row, long line) {
    struct hold_error err = {0};
    struct hold_rendered out;
    const json_t *want = json_object_get(row, "text");
    const struct hold_render_options options = {
        .add_generation_prompt = json_is_true(json_object_get(row, "add_generation_prompt")),
        .bos_token = "<s>",
        .eos_token = "</s>",
        .extra = json_object_get(row, "extra"),
        .now = NOW};
    int rc = hold_template_render(t, json_object_get(row, "messages"), &options, &out, &err);
    if (want == NULL) {
        if (rc == HOLD_OK) {
            print_message("line %ld: rendered, jinja2 says: %s\n", line,
                          json_string_value(json_object_get(row, "error")));
        }
        hold_rendered_release(&out);
        return rc != HOLD_OK;
    }
    if (rc != HOLD_OK) {
        print_message("line %ld: %s\n", line, err.text);
        return false;
    }
    size_t n = json_string_length(want), same = 0;
    const char *text = json_string_value(want), *got = hold_str_text(&out.text);
    while (same < n && same < out.text.len && text[same] == got[same]) {
        same++;
    }
    bool equal = n == out.text.len && same == n;
    if (!equal) {
        size_t from = same < 40 ? 0 : same - 40;
        print_message("line %ld: differs at byte %zu\n  jinja2: %.120s\n  ours:   %.120s\n", line,
                      same, text + from, got + from);
    }
    for (int i = 0; i < N_VOCABS; i++) {
        if (!control_is_the_templates(vocabs[i], &out, &control_tokens)) {
            print_message("line %ld: %s: a control token from a message\n", line, VOCABS[i]);
            equal = false;
        }
    }
    hold_rendered_release(&out);
    return equal;
}

static void renders_as_jinja2(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str all = HOLD_STR_INIT;
    struct hold_template *t = NULL;
    char name[256] = "";
    long line = 0, wrong = 0;
    if (hold_file_read(golden, 0, &all, &err) != HOLD_OK) {
        fail_msg("%s", err.text);
    }
    for (const char *p = all.data, *end = NULL; p < all.data + all.len; p = end + 1) {
        json_t *row = NULL;
        end = strchr(p, '\n');
        if (hold_json_parse(&row, p, (size_t)(end - p), golden, ++line, &err) != HOLD_OK) {
            fail_msg("%s", err.text);
        }
        const char *wanted = json_string_value(json_object_get(row, "template"));
        if (strcmp(wanted, name) != 0) {
            hold_template_free(t);
            t = load(wanted);
            snprintf(name, sizeof name, "%s", wanted);
        }
        wrong += t != NULL && replay(t, row, line) ? 0 : 1;
        json_decref(row);
    }
    hold_template_free(t);
    hold_str_release(&all);
    print_message("%ld renderings, %ld differ\n", line, wrong);
    assert_true(line >= 50);
    assert_true(control_tokens > 0);
    assert_int_equal(wrong, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(renders_as_jinja2)};
    if (argc > 1) {
        golden = argv[1];
    }
    if (argc > 2) {
        templates = argv[2];
    }
    return cmocka_run_group_tests(tests, load_vocabs, free_vocabs);
}
