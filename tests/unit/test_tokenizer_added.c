/* test_tokenizer_added.c: added tokens as `tokenizers` treats them: those that the model lists too,
 * and blanks that one token takes along and another is made of.  The ids are its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tokenizer/tokenizer.h"

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
static const char TOKENIZER[] =
    "{\"added_tokens\":["
    "{\"id\":4,\"content\":\"ab\"},{\"id\":7,\"content\":\"<r>\",\"rstrip\":true},"
    "{\"id\":8,\"content\":\"  \"},{\"id\":9,\"content\":\"<l>\",\"lstrip\":true},"
    "{\"id\":10,\"content\":\" \\n\",\"rstrip\":true}],"
    "\"normalizer\":{\"type\":\"Lowercase\"},\"pre_tokenizer\":" BYTE_LEVEL
    ",\"decoder\":" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,"
    "\"\u0120\":3,\"ab\":4,\"abc\":5,\"\u010A\":6},\"merges\":[\"a b\",\"ab c\"]}}";

static struct hold_tokenizer *made(void) {
    struct hold_error err = {0};
    struct hold_tokenizer *t = NULL;
    json_error_t at;
    json_t *json = json_loads(TOKENIZER, 0, &at);
    assert_non_null(json);
    if (hold_tokenizer_from_json(&t, json, NULL, "tokenizer.json", &err) != HOLD_OK) {
        fail_msg("%s", err.text);
    }
    json_decref(json);
    return t;
}

static void ids_are_those_of_the_peer(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int32_t ids[6];
        size_t n;
    } CASES[] = {
        {"ABC", {5}, 1}, /* no added token before normalisation: the model makes its pieces */
        {"AB", {4}, 1},
        {"abc", {4, 2}, 2},
        {"cab", {2, 4}, 2},
        {"a<r>  c", {0, 7, 8, 2}, 4}, /* <r> takes the blanks along, which are a token too */
        {"<r>   c", {7, 8, 3, 2}, 4},
        {"c  <l>a", {2, 8, 9, 0}, 4},
        {"<r>  <l>a", {7, 8, 9, 0}, 4},
        {"<r> \n \n  a", {7, 10, 10, 8, 0}, 5},
        {"<r>   ", {7, 8, 3}, 3},
        {"<r> a", {7, 0}, 2},
        {"a <l> a", {0, 9, 3, 0}, 4},
    };
    struct hold_tokenizer *t = made();
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct hold_error err = {0};
        struct hold_ids ids = {0}, starts = {0};
        size_t n = strlen(CASES[i].text);
        unsigned char control[32] = {0};
        assert_int_equal(hold_tokenizer_encode(t, CASES[i].text, n, false, &ids, &err), HOLD_OK);
        if (ids.len != CASES[i].n || memcmp(ids.data, CASES[i].ids, ids.len * 4) != 0) {
            fail_msg("\"%s\": other ids", CASES[i].text);
        }
        ids.len = 0;
        assert_int_equal(
            hold_tokenizer_encode_mixed(t, CASES[i].text, control, n, &ids, &starts, &err),
            HOLD_OK);
        assert_int_equal(ids.len, CASES[i].n);
        for (size_t k = 0; k < starts.len; k++) {
            assert_true(starts.data[k] >= (k > 0 ? starts.data[k - 1] : 0));
            assert_true(starts.data[k] < (int32_t)n);
        }
        hold_ids_release(&ids);
        hold_ids_release(&starts);
    }
    hold_tokenizer_free(t);
}

/* Each " \n" takes all blanks behind it along, and all of them are tokens themselves. */
static void long_runs_of_blanks_are_fast(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str text = HOLD_STR_INIT;
    struct hold_ids ids = {0};
    struct hold_tokenizer *t = made();
    while (text.len < 1 << 19) {
        hold_str_add(&text, " \n");
    }
    double from = (double)clock() / CLOCKS_PER_SEC;
    assert_int_equal(hold_tokenizer_encode(t, text.data, text.len, false, &ids, &err), HOLD_OK);
    double took = (double)clock() / CLOCKS_PER_SEC - from;
    assert_int_equal(ids.len, text.len / 2);
    if (took > 5) { /* about a hundredth of a second */
        fail_msg("%zu blanks took %.1f s", text.len, took);
    }
    hold_ids_release(&ids);
    hold_str_release(&text);
    hold_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_the_peer),
        cmocka_unit_test(long_runs_of_blanks_are_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
