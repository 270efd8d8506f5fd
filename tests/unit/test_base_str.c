/* test_base_str.c: growing strings, numbers without a locale, UTF-8, nearest words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above it. */
#include <cmocka.h>

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"

static void appending_grows(void **state) {
    (void)state;
    struct hold_str s = HOLD_STR_INIT;
    assert_string_equal(hold_str_text(&s), "");
    for (int i = 0; i < 1000; i++)
        hold_str_addf(&s, "%03d", i);
    assert_int_equal(s.len, 3000);
    assert_memory_equal(s.data + 2997, "999", 4);
    hold_str_cut(&s, 6);
    hold_str_cut(&s, 100);
    hold_str_add(&s, "-");
    hold_str_add_bytes(&s, "\0z", 2);
    hold_str_add_char(&s, '!');
    assert_int_equal(s.len, 10);
    assert_memory_equal(s.data, "000001-\0z!", 11);
    hold_str_clear(&s);
    assert_string_equal(hold_str_text(&s), "");
    hold_str_release(&s);
    assert_null(s.data);
}

static void take_gives_ownership(void **state) {
    (void)state;
    struct hold_str s = HOLD_STR_INIT;
    hold_str_add(&s, "mine");
    char *text = hold_str_take(&s);
    assert_string_equal(text, "mine");
    assert_null(s.data);
    hold_free(text);
    text = hold_str_take(&s);
    assert_string_equal(text, "");
    hold_free(text);
}

static void running_out_is_marked_and_reported(void **state) {
    (void)state;
    for (int64_t at = 1; at < 8; at++) {
        struct hold_str s = HOLD_STR_INIT;
        struct hold_error err = {0};
        hold_mem_fail_at(at);
        for (int i = 0; i < 100; i++)
            hold_str_addf(&s, "%d and some more text to grow it;", i);
        hold_mem_fail_at(0);
        bool failed = s.out_of_memory;
        size_t len = s.len;
        hold_str_add(&s, "later");
        assert_int_equal(hold_str_check(&s, &err), failed ? HOLD_ENOMEMORY : HOLD_OK);
        assert_int_equal(s.len, failed ? len : len + 5);
        assert_true(failed == (at <= 7));
        /* Whole or nothing: a path's start names another folder. */
        assert_int_equal(strlen(hold_str_text(&s)), s.len);
        assert_true(!failed || s.len == 0);
        if (failed)
            assert_null(hold_str_take(&s));
        hold_str_release(&s);
    }
    struct hold_str s = HOLD_STR_INIT;
    assert_false(hold_str_reserve(&s, SIZE_MAX));
    hold_str_clear(&s);
    hold_str_add(&s, "again");
    assert_string_equal(hold_str_text(&s), "again");
    hold_str_release(&s);
}

static void assert_real_text(double value, const char *expected) {
    struct hold_str s = HOLD_STR_INIT;
    hold_str_add_real(&s, value);
    assert_string_equal(hold_str_text(&s), expected);
    hold_str_release(&s);
}

static void reals_are_shortest(void **state) {
    (void)state;
    assert_real_text(0.0, "0");
    assert_real_text(-0.0, "-0");
    assert_real_text(1.0, "1");
    assert_real_text(0.1, "0.1");
    assert_real_text(-2.5, "-2.5");
    assert_real_text(0.05, "0.05");
    assert_real_text(0.001, "0.001");
    assert_real_text(2e-4, "2e-4");
    assert_real_text(1.5e-7, "1.5e-7");
    assert_real_text(100.0, "100");
    assert_real_text(123456.75, "123456.75");
    assert_real_text(1e15, "1000000000000000");
    assert_real_text(1e16, "1e16");
    assert_real_text(0.1 + 0.2, "0.30000000000000004");
    assert_real_text(1.0 / 3.0, "0.3333333333333333");
    assert_real_text(DBL_MAX, "1.7976931348623157e308");
    assert_real_text(5e-324, "4.94065645841247e-324");
    assert_real_text((double)INFINITY, "inf");
    assert_real_text((double)-INFINITY, "-inf");
    assert_real_text((double)NAN, "nan");
}

static void reals_read_back(void **state) {
    (void)state;
    struct hold_rng r;
    struct hold_str s = HOLD_STR_INIT;
    hold_rng_init(&r, 1, "reals", 0, 0);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = hold_rng_u64(&r);
        double value, back = 0;
        memcpy(&value, &bits, sizeof(value));
        if (i % 2)
            value = floor(hold_rng_real(&r) * 1e7) / 1e4;
        if (!isfinite(value))
            continue;
        hold_str_clear(&s);
        hold_str_add_real(&s, value);
        assert_true(hold_parse_real(hold_str_text(&s), &back));
        assert_memory_equal(&back, &value, sizeof(value));
        assert_true(strlen(hold_str_text(&s)) <= 24);
    }
    hold_str_release(&s);
}

static void reals_are_parsed_strictly(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double value;
    } GOOD[] = {{"0", 0},  {"1e-4", 1e-4},   {"-1.5E+3", -1500}, {".5", .5},    {"5.", 5},
                {"+2", 2}, {"1e308", 1e308}, {"007", 7},         {"1e-400", 0}, {"-0", 0}};
    static const char *const BAD[] = {"",    " 1",       "1 ",    "1x",       "0x10", "nan",
                                      "inf", "-inf",     ".",     "e5",       "1e",   "1e+",
                                      "--1", "1,5",      "1e400", "infinity", "1_0",  "1.2.3",
                                      "1\n", "\xD9\xA1", "+",     "1e5.5"};
    double value;
    for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
        value = -1;
        assert_true(hold_parse_real(GOOD[i].text, &value));
        assert_true(value >= GOOD[i].value && value <= GOOD[i].value);
    }
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
        assert_false(hold_parse_real(BAD[i], &value));
}

static void integers_are_parsed_strictly(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } GOOD[] = {{"0", 0},
                {"-12", -12},
                {"+3", 3},
                {"1e3", 1000},
                {"2.0", 2},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN}};
    static const char *const BAD[] = {
        "", "1.5", "9223372036854775808", "1e30", "0x1", "1 ", "-", "nan", "12abc", " 1"};
    int64_t value;
    for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
        assert_true(hold_parse_int(GOOD[i].text, &value));
        assert_true(value == GOOD[i].value);
    }
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
        assert_false(hold_parse_int(BAD[i], &value));
    assert_false(hold_real_to_int((double)NAN, &value));
    assert_false(hold_real_to_int(1e300, &value));
}

static bool has_comma(const char *name) {
    return setlocale(LC_ALL, name) && strcmp(localeconv()->decimal_point, ",") == 0;
}

/* A locale whose decimal point is a comma: the machine's, or one compiled for this test. */
static bool use_comma_locale(void) {
    static const char *const NAMES[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "nl_NL.UTF-8", "ru_RU.UTF-8"};
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        if (has_comma(NAMES[i]))
            return true;
    struct hold_error err = {0};
    if (hold_mkdirs("test_base_str.locale", &err) == HOLD_OK &&
        system("localedef -i de_DE -f UTF-8 ./test_base_str.locale/de_DE.UTF-8") == 0 &&
        setenv("LOCPATH", "test_base_str.locale", 1) == 0 && has_comma("de_DE.UTF-8"))
        return true;
    setlocale(LC_ALL, "C");
    return false;
}

static void the_locale_does_not_matter(void **state) {
    (void)state;
    if (!use_comma_locale())
        skip();
    double value = 0;
    struct hold_error err = {0};
    struct hold_str s = HOLD_STR_INIT;
    assert_true(hold_parse_real("1.5", &value));
    assert_true(value > 1.4 && value < 1.6);
    assert_false(hold_parse_real("1,5", &value));
    hold_str_addf(&s, "%.2f ", 2.5);
    hold_str_add_real(&s, 0.25);
    hold_fail(&err, HOLD_EDATA, "%.1f", 3.5);
    setlocale(LC_ALL, "C");
    hold_remove_tree("test_base_str.locale", &(struct hold_error){0});
    assert_string_equal(hold_str_text(&s), "2.50 0.25");
    assert_string_equal(err.text, "3.5");
    hold_str_release(&s);
}

static void prefixes_and_suffixes(void **state) {
    (void)state;
    assert_true(hold_starts("model.gguf", "model"));
    assert_true(hold_starts("x", ""));
    assert_false(hold_starts("mod", "model"));
    assert_true(hold_ends("model.gguf", ".gguf"));
    assert_true(hold_ends("x", ""));
    assert_false(hold_ends("f", ".gguf"));
    assert_false(hold_ends("model.ggufx", ".gguf"));
}

static void nearest_finds_typing_errors(void **state) {
    (void)state;
    static const char *const NAMES[] = {"learning_rate", "steps", "seed", "batch_size", "rho"};
    assert_string_equal(hold_nearest("learning_rat", NAMES, 5), "learning_rate");
    assert_string_equal(hold_nearest("lerning_rate", NAMES, 5), "learning_rate");
    assert_string_equal(hold_nearest("sede", NAMES, 5), "seed");
    assert_string_equal(hold_nearest("step", NAMES, 5), "steps");
    assert_string_equal(hold_nearest("rho", NAMES, 5), "rho");
    assert_null(hold_nearest("temperature", NAMES, 5));
    assert_null(hold_nearest("zz", NAMES, 5));
    assert_null(hold_nearest("rho", NAMES, 0));
    char word[5000];
    memset(word, 'a', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    assert_null(hold_nearest(word, NAMES, 5));
}

static void utf8_is_checked_by_the_book(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        long bad;
    } CASES[] = {{"", -1},
                 {"plain", -1},
                 {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", -1},
                 {"\xF4\x8F\xBF\xBF", -1},  /* 10FFFF */
                 {"ab\xF4\x90\x80\x80", 2}, /* 110000 */
                 {"\xED\x9F\xBF\xEE\x80\x80", -1},
                 {"\xED\xA0\x80", 0}, /* a surrogate */
                 {"x\xC0\x80", 1},    /* overlong */
                 {"\xC1\xBF", 0},
                 {"\xE0\x9F\xBF", 0},
                 {"\xF0\x8F\xBF\xBF", 0},
                 {"abc\xE2\x82", 3}, /* cut */
                 {"\x80", 0},
                 {"\xC3(", 0},
                 {"\xF5\x80\x80\x80", 0},
                 {"\xFF", 0}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++)
        assert_int_equal(hold_utf8_check(CASES[i].bytes, strlen(CASES[i].bytes)), CASES[i].bad);
    assert_int_equal(hold_utf8_check("a\0b", 3), -1);
}

/* Every code point, against the definition. */
/* As Python's bytes.decode(errors="replace"): one for the longest beginning of a character. */
static void utf8_parts_are_maximal(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        bool whole;
    } CASES[] = {
        {"a", 1, true},
        {"\xC3\xA9x", 2, true},
        {"\xE3\x80x", 2, false},
        {"\xE3\x80\x81", 3, true},
        {"\xF0\x9F\x98", 3, false},
        {"\xF0\x9F\x98\xF0", 3, false},
        {"\xF0\x80\x80", 1, false}, /* F0 90 is the least */
        {"\xED\xA0\x80", 1, false}, /* a surrogate */
        {"\x80\x80", 1, false},
        {"\xC0\x80", 1, false},
        {"\xF5\x80", 1, false},
        {"\xE3", 1, false},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        bool whole = !CASES[i].whole;
        assert_int_equal(hold_utf8_part(CASES[i].bytes, strlen(CASES[i].bytes), &whole),
                         CASES[i].len);
        assert_int_equal(whole, CASES[i].whole);
    }
}

static void utf8_agrees_with_all_code_points(void **state) {
    (void)state;
    for (uint32_t c = 0x80; c < 0x120000; c++) {
        unsigned char b[4];
        size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        for (size_t i = n, rest = c; i-- > 1; rest >>= 6)
            b[i] = (unsigned char)(0x80 | (rest & 0x3F));
        b[0] = (unsigned char)((n == 2 ? 0xC0u : n == 3 ? 0xE0u : 0xF0u) | c >> (6 * (n - 1)));
        bool valid = c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
        if ((hold_utf8_check(b, n) == -1) != valid)
            fail_msg("code point %X", c);
    }
}

static void visible_fits_any_capacity(void **state) {
    (void)state;
    char out[32];
    for (size_t cap = 1; cap <= sizeof(out); cap++) {
        memset(out, 'Z', sizeof(out));
        hold_visible(out, cap, "a\x01\xC3\xA9\n\xFF...");
        assert_true(strlen(out) < cap);
        assert_int_equal(hold_utf8_check(out, strlen(out)), -1);
    }
    assert_string_equal(out, "a\\x01\xC3\xA9\\n\\xff...");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appending_grows),
        cmocka_unit_test(take_gives_ownership),
        cmocka_unit_test(running_out_is_marked_and_reported),
        cmocka_unit_test(reals_are_shortest),
        cmocka_unit_test(reals_read_back),
        cmocka_unit_test(reals_are_parsed_strictly),
        cmocka_unit_test(integers_are_parsed_strictly),
        cmocka_unit_test(the_locale_does_not_matter),
        cmocka_unit_test(prefixes_and_suffixes),
        cmocka_unit_test(nearest_finds_typing_errors),
        cmocka_unit_test(utf8_is_checked_by_the_book),
        cmocka_unit_test(utf8_parts_are_maximal),
        cmocka_unit_test(utf8_agrees_with_all_code_points),
        cmocka_unit_test(visible_fits_any_capacity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
