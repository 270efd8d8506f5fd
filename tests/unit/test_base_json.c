/* test_base_json.c: reading with places, canonical text, typed look-ups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above it. */
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

static json_t *parse(const char *text) {
    struct hold_error err = {0};
    json_t *value = NULL;
    if (hold_json_parse(&value, text, strlen(text), "t", 1, &err))
        fail_msg("%s", err.text);
    return value;
}

static void assert_refused(const char *text, const char *part) {
    struct hold_error err = {0};
    json_t *value = (json_t *)&err;
    assert_int_equal(hold_json_parse(&value, text, strlen(text), "rows.jsonl", 1, &err),
                     HOLD_EDATA);
    assert_null(value);
    assert_int_equal(strncmp(err.text, "rows.jsonl:", 11), 0);
    if (!strstr(err.text, part))
        fail_msg("%s: no '%s'", err.text, part);
}

static void bad_text_is_refused(void **state) {
    (void)state;
    assert_refused("", ":1:");
    assert_refused("{\"a\": 1, \"a\": 2}", "duplicate");
    assert_refused("{\"a\": {\"b\": 1, \"b\": 2}}", "duplicate");
    assert_refused("{\"a\": 1} x", "end of file expected");
    assert_refused("[1, 2", "']' expected");
    assert_refused("{'a': 1}", "'}' expected");
    assert_refused("\"\xff\"", "unable to decode byte 0xff");
    assert_refused("\"\\ud800\"", "invalid Unicode");
    assert_refused("\"a\\u0000b\"", "\\u0000");
    assert_refused("[1e999]", "overflow");
    assert_refused("[99999999999999999999]", "integer");
    assert_refused("[nan]", "invalid token");
    assert_refused("[01]", "invalid token");
}

static void the_place_counts_from_the_first_line(void **state) {
    (void)state;
    struct hold_error err = {0};
    json_t *value;
    const char *text = "{\"a\": 1,\n \"b\": }";
    assert_int_equal(hold_json_parse(&value, text, strlen(text), "f.jsonl", 41, &err), HOLD_EDATA);
    assert_int_equal(strncmp(err.text, "f.jsonl:42:7: ", 14), 0);
    assert_int_equal(hold_json_parse(&value, NULL, 0, "f.jsonl", 3, &err), HOLD_EDATA);
    assert_int_equal(strncmp(err.text, "f.jsonl:3:", 10), 0);
}

static void depth_is_bounded(void **state) {
    (void)state;
    struct hold_str deep = HOLD_STR_INIT;
    for (int i = 0; i < 100000; i++)
        hold_str_add_char(&deep, '[');
    assert_refused(hold_str_text(&deep), "depth");
    hold_str_clear(&deep);
    for (int i = 0; i < 2000; i++)
        hold_str_add_char(&deep, '[');
    for (int i = 0; i < 2000; i++)
        hold_str_add_char(&deep, ']');
    json_t *value = parse(hold_str_text(&deep));
    struct hold_error err = {0};
    struct hold_str out = HOLD_STR_INIT;
    assert_int_equal(hold_json_line(value, &out, &err), HOLD_OK);
    assert_string_equal(hold_str_text(&out), hold_str_text(&deep));
    for (int i = 0; i < 100; i++)
        value = json_pack("[o]", value);
    assert_int_equal(hold_json_line(value, &out, &err), HOLD_EDATA);
    json_decref(value);
    hold_str_release(&out);
    hold_str_release(&deep);
}

static void assert_canonical(const char *text, const char *expected) {
    struct hold_error err = {0};
    struct hold_str out = HOLD_STR_INIT;
    json_t *value = parse(text);
    assert_int_equal(hold_json_canonical(value, &out, &err), HOLD_OK);
    assert_string_equal(hold_str_text(&out), expected);
    /* Reading it back gives the same value and the same text. */
    json_t *back = parse(hold_str_text(&out));
    assert_true(json_equal(value, back));
    hold_str_clear(&out);
    assert_int_equal(hold_json_canonical(back, &out, &err), HOLD_OK);
    assert_string_equal(hold_str_text(&out), expected);
    json_decref(back);
    json_decref(value);
    hold_str_release(&out);
}

static void canonical_text_is_one_per_value(void **state) {
    (void)state;
    assert_canonical("{ \"b\" : 1, \"a\" : [ true , null ] , \"B\":{} }",
                     "{\"B\":{},\"a\":[true,null],\"b\":1}");
    assert_canonical("[]", "[]");
    assert_canonical("false", "false");
    assert_canonical("[0.1, 1.0, 1e-4, 1E5, 2.50, -0.0, 1e300, 7]",
                     "[0.1,1.0,1e-4,100000.0,2.5,-0.0,1e300,7]");
    assert_canonical("9223372036854775807", "9223372036854775807");
    assert_canonical("\"\\u00e9\\n\\t\\r\\b\\f\\u0001\\u007f\\/\\\"\\\\\"",
                     "\"\xC3\xA9\\n\\t\\r\\b\\f\\u0001\x7f/\\\"\\\\\"");
    assert_canonical("{\"k\\n\\u00e9\":\"\\ud83d\\ude00\"}",
                     "{\"k\\n\xC3\xA9\":\"\xF0\x9F\x98\x80\"}");
}

static void a_line_keeps_the_order(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str out = HOLD_STR_INIT;
    json_t *value = parse("{\"z\":1,\"a\":{\"y\":0.1,\"b\":[]}}");
    hold_str_add(&out, "> ");
    assert_int_equal(hold_json_line(value, &out, &err), HOLD_OK);
    assert_string_equal(hold_str_text(&out), "> {\"z\":1,\"a\":{\"y\":0.1,\"b\":[]}}");
    json_decref(value);
    hold_str_release(&out);
}

static void saved_files_are_pretty_and_load_again(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str text = HOLD_STR_INIT;
    json_t *value = parse("{\"z\":1,\"a\":[0.1,\"x\"],\"e\":{},\"f\":[]}"), *back = NULL;
    assert_int_equal(hold_json_save("test_base_json.json", value, &err), HOLD_OK);
    assert_int_equal(hold_file_read("test_base_json.json", 0, &text, &err), HOLD_OK);
    assert_string_equal(hold_str_text(&text),
                        "{\n  \"z\": 1,\n  \"a\": [\n    0.1,\n    \"x\"\n  ],\n  \"e\": {},\n"
                        "  \"f\": []\n}\n");
    assert_int_equal(hold_json_load(&back, "test_base_json.json", &err), HOLD_OK);
    assert_true(json_equal(value, back));
    json_decref(back);
    const char *marked = "\xEF\xBB\xBF[1]";
    assert_int_equal(hold_file_write_atomic("test_base_json.json", marked, 6, &err), HOLD_OK);
    assert_int_equal(hold_json_load(&back, "test_base_json.json", &err), HOLD_OK);
    assert_int_equal(json_array_size(back), 1);
    json_decref(back);
    unlink("test_base_json.json");
    assert_int_equal(hold_json_load(&back, "test_base_json.json", &err), HOLD_ENOTFOUND);
    assert_null(back);
    json_decref(value);
    hold_str_release(&text);
}

static void writing_survives_no_memory(void **state) {
    (void)state;
    json_t *value = parse("{\"a\":{\"b\":[1,2,{\"c\":\"some text that is long enough to grow a "
                          "string more than once, and then a little more of it\"}]},\"d\":0.5}");
    for (int64_t at = 1;; at++) {
        struct hold_error err = {0};
        struct hold_str out = HOLD_STR_INIT;
        hold_mem_fail_at(at);
        int rc = hold_json_canonical(value, &out, &err);
        hold_mem_fail_at(0);
        hold_str_release(&out);
        if (rc == HOLD_OK) {
            assert_true(at > 4);
            break;
        }
        assert_int_equal(rc, HOLD_ENOMEMORY);
    }
    struct hold_error err = {0};
    struct hold_str out = HOLD_STR_INIT;
    assert_int_equal(hold_json_line(NULL, &out, &err), HOLD_ENOMEMORY);
    hold_str_release(&out);
    json_decref(value);
}

static void look_ups_give_typed_values(void **state) {
    (void)state;
    struct hold_error err = {0};
    json_t *o = parse("{\"i\":5,\"r\":0.5,\"t\":\"x\",\"b\":true,\"n\":null,\"w\":1e3,\"h\":2.5}");
    int64_t i = 0;
    double r = 0;
    const char *t = NULL;
    bool b = false;
    assert_int_equal(hold_json_get_int(o, "i", &i, "c", &err), HOLD_OK);
    assert_int_equal(i, 5);
    assert_int_equal(hold_json_get_int(o, "w", &i, "c", &err), HOLD_OK);
    assert_int_equal(i, 1000);
    assert_int_equal(hold_json_get_real(o, "i", &r, "c", &err), HOLD_OK);
    assert_true(r > 4.9 && r < 5.1);
    assert_int_equal(hold_json_get_text(o, "t", &t, "c", &err), HOLD_OK);
    assert_string_equal(t, "x");
    assert_int_equal(hold_json_bool_or(o, "b", false, &b, "c", &err), HOLD_OK);
    assert_true(b);
    /* Missing and null take the default. */
    static const char *const GONE[] = {"n", "absent"};
    for (int k = 0; k < 2; k++) {
        assert_int_equal(hold_json_int_or(o, GONE[k], 7, &i, "c", &err), HOLD_OK);
        assert_int_equal(i, 7);
        assert_int_equal(hold_json_real_or(o, GONE[k], 0.25, &r, "c", &err), HOLD_OK);
        assert_true(r > 0.2 && r < 0.3);
        assert_int_equal(hold_json_text_or(o, GONE[k], "d", &t, "c", &err), HOLD_OK);
        assert_string_equal(t, "d");
        assert_int_equal(hold_json_bool_or(o, GONE[k], true, &b, "c", &err), HOLD_OK);
        assert_true(b);
        assert_int_equal(hold_json_get_int(o, GONE[k], &i, "c", &err), HOLD_EDATA);
        assert_int_equal(hold_json_get_real(o, GONE[k], &r, "c", &err), HOLD_EDATA);
        assert_int_equal(hold_json_get_text(o, GONE[k], &t, "c", &err), HOLD_EDATA);
    }
    assert_string_equal(err.text, "c: absent: found nothing, expected text");
    json_decref(o);
}

static void look_ups_refuse_wrong_types(void **state) {
    (void)state;
    struct hold_error err = {0};
    json_t *o = parse("{\"h\":2.5,\"t\":\"5\",\"b\":true,\"i\":1,\"big\":1e300}");
    int64_t i;
    double r;
    const char *t;
    bool b;
    assert_int_equal(hold_json_get_int(o, "h", &i, "config.json", &err), HOLD_EDATA);
    assert_string_equal(err.text, "config.json: h: found a number, expected an integer");
    assert_int_equal(hold_json_int_or(o, "t", 1, &i, "c", &err), HOLD_EDATA);
    assert_string_equal(err.text, "c: t: found text, expected an integer");
    assert_int_equal(hold_json_int_or(o, "b", 1, &i, "c", &err), HOLD_EDATA);
    assert_int_equal(hold_json_int_or(o, "big", 1, &i, "c", &err), HOLD_EDATA);
    assert_int_equal(hold_json_real_or(o, "t", 1, &r, "c", &err), HOLD_EDATA);
    assert_int_equal(hold_json_text_or(o, "i", "", &t, "c", &err), HOLD_EDATA);
    assert_int_equal(hold_json_bool_or(o, "i", true, &b, "c", &err), HOLD_EDATA);
    assert_string_equal(err.text, "c: i: found an integer, expected true or false");
    json_t *array = json_array();
    assert_int_equal(hold_json_int_or(array, "i", 1, &i, "c", &err), HOLD_EDATA);
    assert_string_equal(err.text, "c: found an array, expected an object with \"i\"");
    assert_int_equal(hold_json_get_text(NULL, "i", &t, "c", &err), HOLD_EDATA);
    json_decref(array);
    json_decref(o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_text_is_refused),
        cmocka_unit_test(the_place_counts_from_the_first_line),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(canonical_text_is_one_per_value),
        cmocka_unit_test(a_line_keeps_the_order),
        cmocka_unit_test(saved_files_are_pretty_and_load_again),
        cmocka_unit_test(writing_survives_no_memory),
        cmocka_unit_test(look_ups_give_typed_values),
        cmocka_unit_test(look_ups_refuse_wrong_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
