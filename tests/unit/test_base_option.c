/* test_base_option.c: one table of options by all its faces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above it. */
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/option.h"

struct sample {
    double learning_rate, scale, shift;
    int64_t steps, seed;
    bool dry_run, verbose;
    const char *dtype, *name;
};

static const struct hold_option ROWS[] = {
    HOLD_REAL(struct sample, learning_rate, 2e-4, 0, 1, "step size"),
    HOLD_REAL(struct sample, scale, 1, 0, (double)INFINITY, "factor"),
    HOLD_REAL(struct sample, shift, -1, -(double)INFINITY, 0, "offset"),
    HOLD_INT(struct sample, steps, 100, 1, 1e6, "optimizer steps"),
    {"seed", "random seed", HOLD_OPT_INT, offsetof(struct sample, seed), 42, 0, 9e15, NULL, NULL,
     's'},
    HOLD_BOOL(struct sample, dry_run, 0, "only say what would be done"),
    HOLD_BOOL(struct sample, verbose, 1, "talk"),
    HOLD_TEXT(struct sample, dtype, "f32", "f32|bf16|f16", "storage type"),
    HOLD_TEXT(struct sample, name, NULL, NULL, "name of the run"),
    {0},
};

static struct sample fresh(void) {
    struct sample s;
    memset(&s, 0xA5, sizeof(s));
    hold_options_defaults(ROWS, &s);
    return s;
}

static bool equal(double a, double b) {
    return a >= b && a <= b;
}

static void defaults_fill_every_field(void **state) {
    (void)state;
    struct sample s = fresh();
    assert_true(equal(s.learning_rate, 2e-4));
    assert_true(equal(s.scale, 1));
    assert_int_equal(s.steps, 100);
    assert_int_equal(s.seed, 42);
    assert_false(s.dry_run);
    assert_true(s.verbose);
    assert_string_equal(s.dtype, "f32");
    assert_null(s.name);
    hold_options_defaults(NULL, &s);
    assert_int_equal(s.steps, 100);
}

static void names_come_in_both_spellings(void **state) {
    (void)state;
    assert_ptr_equal(hold_options_find(ROWS, "learning_rate"), &ROWS[0]);
    assert_ptr_equal(hold_options_find(ROWS, "learning-rate"), &ROWS[0]);
    assert_null(hold_options_find(ROWS, "learning"));
    assert_null(hold_options_find(ROWS, "learning_rates"));
    assert_null(hold_options_find(ROWS, ""));
    assert_null(hold_options_find(NULL, "seed"));
}

static void text_sets_values(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct sample s = fresh();
    assert_int_equal(hold_options_set_text(ROWS, &s, "learning-rate", "1e-4", "w", &err), HOLD_OK);
    assert_true(equal(s.learning_rate, 1e-4));
    assert_int_equal(hold_options_set_text(ROWS, &s, "steps", "7", "w", &err), HOLD_OK);
    assert_int_equal(s.steps, 7);
    assert_int_equal(hold_options_set_text(ROWS, &s, "steps", "1e3", "w", &err), HOLD_OK);
    assert_int_equal(s.steps, 1000);
    assert_int_equal(hold_options_set_text(ROWS, &s, "dtype", "f16", "w", &err), HOLD_OK);
    assert_string_equal(s.dtype, "f16");
    assert_int_equal(hold_options_set_text(ROWS, &s, "name", "any thing", "w", &err), HOLD_OK);
    assert_string_equal(s.name, "any thing");
    static const char *const YES[] = {"true", "yes", "on"}, *const NO[] = {"false", "no", "off"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(hold_options_set_text(ROWS, &s, "dry_run", YES[i], "w", &err), HOLD_OK);
        assert_true(s.dry_run);
        assert_int_equal(hold_options_set_text(ROWS, &s, "dry_run", NO[i], "w", &err), HOLD_OK);
        assert_false(s.dry_run);
    }
}

static void assert_text_refused(const char *name, const char *text, const char *where,
                                const char *message) {
    struct hold_error err = {0};
    struct sample s = fresh(), before = s;
    assert_int_equal(hold_options_set_text(ROWS, &s, name, text, where, &err), HOLD_EUSAGE);
    assert_string_equal(err.text, message);
    assert_memory_equal(&s, &before, sizeof(s)); /* nothing is half set */
}

static void bad_text_is_refused_with_the_reason(void **state) {
    (void)state;
    assert_text_refused("learning_rate", "7", "--learning-rate",
                        "--learning-rate: 7 is out of range, expected 0 to 1");
    assert_text_refused("scale", "-1", "--scale",
                        "--scale: -1 is out of range, expected at least 0");
    assert_text_refused("shift", "1", "--shift", "--shift: 1 is out of range, expected at most 0");
    assert_text_refused("steps", "0", "r.yaml:3: steps",
                        "r.yaml:3: steps: 0 is out of range, expected 1 to 1000000");
    assert_text_refused("steps", "1.5", "s", "s: found '1.5', expected a whole number");
    assert_text_refused("learning_rate", "0.1x", "l", "l: found '0.1x', expected a number");
    assert_text_refused("learning_rate", "0x1p-3", "l", "l: found '0x1p-3', expected a number");
    assert_text_refused("learning_rate", "nan", "l", "l: found 'nan', expected a number");
    assert_text_refused("scale", "inf", "l", "l: found 'inf', expected a number");
    assert_text_refused("learning_rate", "", "l", "l: found '', expected a number");
    assert_text_refused("learning_rate", "0,5", "l", "l: found '0,5', expected a number");
    assert_text_refused("dry_run", "maybe", "d", "d: found 'maybe', expected true or false");
    assert_text_refused("dtype", "f64", "t", "t: found 'f64', expected one of f32|bf16|f16");
    assert_text_refused("dtype", "f", "t", "t: found 'f', expected one of f32|bf16|f16");
    assert_text_refused("dtype", "f32|bf16", "t",
                        "t: found 'f32|bf16', expected one of f32|bf16|f16");
}

static void unknown_names_are_answered_in_kind(void **state) {
    (void)state;
    assert_text_refused("learning-rat", "1", "--learning-rat",
                        "--learning-rat: unknown option, did you mean --learning-rate?");
    assert_text_refused("learning_rat", "1", "r.yaml:2: learning_rat",
                        "r.yaml:2: learning_rat: unknown option, did you mean learning_rate?");
    assert_text_refused("colour", "1", "--colour", "--colour: unknown option");
    struct hold_error err = {0};
    struct sample s;
    assert_int_equal(hold_options_set_text(NULL, &s, "x", "1", "--x", &err), HOLD_EUSAGE);
    assert_string_equal(err.text, "--x: unknown option");
    for (int64_t at = 1; at <= 2; at++) {
        hold_mem_fail_at(at); /* no suggestion then, but still the answer */
        assert_text_refused("sed", "1", "--sed", "--sed: unknown option");
        hold_mem_fail_at(0);
    }
}

static int set_json(struct sample *s, const char *name, const char *text, struct hold_error *err) {
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    int rc = hold_options_set_json(ROWS, s, name, value, name, err);
    if (!json_is_string(value)) /* TEXT borrows */
        json_decref(value);
    return rc;
}

static void json_sets_values(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct sample s = fresh();
    assert_int_equal(set_json(&s, "learning_rate", "0.5", &err), HOLD_OK);
    assert_true(equal(s.learning_rate, 0.5));
    assert_int_equal(set_json(&s, "learning_rate", "1", &err), HOLD_OK);
    assert_true(equal(s.learning_rate, 1));
    assert_int_equal(set_json(&s, "steps", "12", &err), HOLD_OK);
    assert_int_equal(s.steps, 12);
    assert_int_equal(set_json(&s, "steps", "1e3", &err), HOLD_OK);
    assert_int_equal(s.steps, 1000);
    assert_int_equal(set_json(&s, "dry_run", "true", &err), HOLD_OK);
    assert_true(s.dry_run);
    assert_int_equal(set_json(&s, "name", "null", &err), HOLD_OK);
    assert_null(s.name);
    /* What YAML leaves as text. */
    json_t *text = json_string("1e-4"), *word = json_string("off"), *name = json_string("bf16");
    assert_int_equal(hold_options_set_json(ROWS, &s, "learning_rate", text, "w", &err), HOLD_OK);
    assert_true(equal(s.learning_rate, 1e-4));
    assert_int_equal(hold_options_set_json(ROWS, &s, "dry_run", word, "w", &err), HOLD_OK);
    assert_false(s.dry_run);
    assert_int_equal(hold_options_set_json(ROWS, &s, "dtype", name, "w", &err), HOLD_OK);
    assert_ptr_equal(s.dtype, json_string_value(name));
    json_decref(text);
    json_decref(word);
    json_decref(name);
}

static void assert_json_refused(const char *name, const char *text, const char *message) {
    struct hold_error err = {0};
    struct sample s = fresh(), before = s;
    assert_int_equal(set_json(&s, name, text, &err), HOLD_EUSAGE);
    assert_string_equal(err.text, message);
    assert_memory_equal(&s, &before, sizeof(s));
}

static void bad_json_is_refused_with_the_reason(void **state) {
    (void)state;
    assert_json_refused("learning_rate", "7.5",
                        "learning_rate: 7.5 is out of range, expected 0 to 1");
    assert_json_refused("learning_rate", "true", "learning_rate: found true, expected a number");
    assert_json_refused("learning_rate", "[1]", "learning_rate: found an array, expected a number");
    assert_json_refused("steps", "2.5", "steps: found 2.5, expected a whole number");
    assert_json_refused("steps", "-3", "steps: -3 is out of range, expected 1 to 1000000");
    assert_json_refused("steps", "null", "steps: found null, expected a whole number");
    assert_json_refused("dry_run", "1", "dry_run: found an integer, expected true or false");
    assert_json_refused("dtype", "16", "dtype: found an integer, expected text");
    assert_json_refused("dtype", "null", "dtype: found null, expected text");
    assert_json_refused("step", "1", "step: unknown option, did you mean steps?");
}

static void values_go_round(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str line = HOLD_STR_INIT;
    struct sample s = fresh(), t = fresh();
    s.learning_rate = 0.125;
    s.steps = 5;
    s.dry_run = true;
    s.dtype = "bf16";
    json_t *object = hold_options_to_json(ROWS, &s), *value;
    assert_int_equal(hold_json_line(object, &line, &err), HOLD_OK);
    assert_string_equal(
        hold_str_text(&line),
        "{\"learning_rate\":0.125,\"scale\":1.0,\"shift\":-1.0,\"steps\":5,\"seed\":42,"
        "\"dry_run\":true,\"verbose\":true,\"dtype\":\"bf16\",\"name\":null}");
    const char *key;
    json_object_foreach(object, key, value) {
        assert_int_equal(hold_options_set_json(ROWS, &t, key, value, key, &err), HOLD_OK);
    }
    json_t *again = hold_options_to_json(ROWS, &t);
    assert_true(json_equal(object, again));
    json_decref(again);
    json_decref(object);
    hold_str_release(&line);
    json_t *empty = hold_options_to_json(NULL, NULL);
    assert_int_equal(json_object_size(empty), 0);
    json_decref(empty);
}

static void the_table_describes_itself(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str line = HOLD_STR_INIT;
    json_t *rows = hold_options_describe(ROWS);
    assert_int_equal(json_array_size(rows), 9);
    static const struct {
        size_t row;
        const char *text;
    } EXPECTED[] = {
        {0, "{\"name\":\"learning_rate\",\"type\":\"real\",\"default\":2e-4,\"min\":0.0,"
            "\"max\":1.0,\"choices\":null,\"help\":\"step size\"}"},
        {1, "{\"name\":\"scale\",\"type\":\"real\",\"default\":1.0,\"min\":0.0,\"max\":null,"
            "\"choices\":null,\"help\":\"factor\"}"},
        {3, "{\"name\":\"steps\",\"type\":\"int\",\"default\":100,\"min\":1,\"max\":1000000,"
            "\"choices\":null,\"help\":\"optimizer steps\"}"},
        {6, "{\"name\":\"verbose\",\"type\":\"bool\",\"default\":true,\"min\":null,\"max\":null,"
            "\"choices\":null,\"help\":\"talk\"}"},
        {7, "{\"name\":\"dtype\",\"type\":\"text\",\"default\":\"f32\",\"min\":null,\"max\":null,"
            "\"choices\":[\"f32\",\"bf16\",\"f16\"],\"help\":\"storage type\"}"},
        {8, "{\"name\":\"name\",\"type\":\"text\",\"default\":null,\"min\":null,\"max\":null,"
            "\"choices\":null,\"help\":\"name of the run\"}"},
    };
    for (size_t i = 0; i < sizeof(EXPECTED) / sizeof(EXPECTED[0]); i++) {
        hold_str_clear(&line);
        hold_json_line(json_array_get(rows, EXPECTED[i].row), &line, &err);
        assert_string_equal(hold_str_text(&line), EXPECTED[i].text);
    }
    json_decref(rows);
    hold_str_release(&line);
}

static void help_is_one_line_a_row(void **state) {
    (void)state;
    struct hold_str out = HOLD_STR_INIT;
    hold_options_help(ROWS, &out);
    assert_string_equal(hold_str_text(&out),
                        "  --learning-rate X      step size (default 2e-4)\n"
                        "  --scale X              factor (default 1)\n"
                        "  --shift X              offset (default -1)\n"
                        "  --steps N              optimizer steps (default 100)\n"
                        "  -s, --seed N           random seed (default 42)\n"
                        "  --dry-run              only say what would be done (default false)\n"
                        "  --verbose              talk (default true)\n"
                        "  --dtype f32|bf16|f16   storage type (default f32)\n"
                        "  --name TEXT            name of the run\n");
    hold_str_release(&out);
    hold_options_help(NULL, &out);
    assert_int_equal(out.len, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fill_every_field),
        cmocka_unit_test(names_come_in_both_spellings),
        cmocka_unit_test(text_sets_values),
        cmocka_unit_test(bad_text_is_refused_with_the_reason),
        cmocka_unit_test(unknown_names_are_answered_in_kind),
        cmocka_unit_test(json_sets_values),
        cmocka_unit_test(bad_json_is_refused_with_the_reason),
        cmocka_unit_test(values_go_round),
        cmocka_unit_test(the_table_describes_itself),
        cmocka_unit_test(help_is_one_line_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
