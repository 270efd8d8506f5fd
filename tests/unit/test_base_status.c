/* test_base_status.c: the table of codes and the grammar of messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above it. */
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/status.h"
#include "base/str.h"

static void codes_are_distinct_and_named(void **state) {
    (void)state;
    static const int CODES[] = {
#define CODE(name, code, short_name, text, http, exit) HOLD_##name,
        HOLD_STATUSES(CODE)
#undef CODE
    };
    enum { N = sizeof(CODES) / sizeof(CODES[0]) };
    for (size_t i = 0; i < N; i++) {
        assert_true(CODES[i] <= 0);
        assert_true(strlen(hold_status_text(CODES[i])) > 0);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(CODES[i], CODES[j]);
            assert_string_not_equal(hold_status_name(CODES[i]), hold_status_name(CODES[j]));
        }
    }
}

static void rows_read_as_written(void **state) {
    (void)state;
    assert_string_equal(hold_status_name(HOLD_OK), "ok");
    assert_int_equal(hold_status_http(HOLD_OK), 200);
    assert_int_equal(hold_status_exit(HOLD_OK), 0);
    assert_string_equal(hold_status_name(HOLD_EDATA), "data");
    assert_int_equal(hold_status_http(HOLD_EBUSY), 409);
    assert_int_equal(hold_status_exit(HOLD_EGATE), 3);
    assert_int_equal(hold_status_exit(HOLD_EINTERRUPTED), 130);
}

static void unknown_codes_are_internal(void **state) {
    (void)state;
    assert_string_equal(hold_status_name(-999), "internal");
    assert_string_equal(hold_status_name(7), "internal");
    assert_int_equal(hold_status_http(-999), 500);
    assert_int_equal(hold_status_exit(-999), 1);
}

static void fail_writes_and_returns(void **state) {
    (void)state;
    struct hold_error err = {0};
    assert_int_equal(hold_fail(&err, HOLD_EDATA, "%s:%ld: found %d", "a.json", 12L, 5), HOLD_EDATA);
    assert_int_equal(err.code, HOLD_EDATA);
    assert_string_equal(err.text, "a.json:12: found 5");
}

static void fail_may_quote_the_message_it_replaces(void **state) {
    (void)state;
    struct hold_error err = {0};
    hold_fail(&err, HOLD_EDATA, "inner");
    hold_fail(&err, HOLD_EFORMAT, "outer: %s", err.text);
    assert_string_equal(err.text, "outer: inner");
}

static void messages_are_one_harmless_line(void **state) {
    (void)state;
    struct hold_error err = {0};
    hold_fail(&err, HOLD_EDATA, "found '%s'", "a\nb\tc\r\x1b[31m\x7f\xff\xc2\x9b z\xc3\xa9");
    assert_string_equal(err.text, "found 'a\\nb\\tc\\r\\x1b[31m\\x7f\\xff\\x9b z\xc3\xa9'");
}

static void long_messages_are_cut_between_characters(void **state) {
    (void)state;
    struct hold_error err = {0};
    char text[3 * HOLD_ERROR_TEXT];
    for (int shift = 0; shift < 2; shift++) {
        /* Two-byte letters, whose cut would fall inside one for one of the shifts. */
        memset(text, 0, sizeof(text));
        memset(text, 'x', (size_t)shift);
        for (size_t i = (size_t)shift; i + 3 < sizeof(text); i += 2)
            memcpy(text + i, "\xc3\xa9", 2);
        hold_fail(&err, HOLD_EDATA, "%s", text);
        size_t n = strlen(err.text);
        assert_true(n < HOLD_ERROR_TEXT);
        assert_true(n >= HOLD_ERROR_TEXT - 8);
        assert_int_equal(hold_utf8_check(err.text, n), -1);
        assert_null(strchr(err.text, '\\'));
    }
}

static void errno_picks_the_code(void **state) {
    (void)state;
    static const struct {
        int number, code;
    } CASES[] = {{ENOENT, HOLD_ENOTFOUND}, {ENOSPC, HOLD_ENOSPACE},  {EDQUOT, HOLD_ENOSPACE},
                 {EFBIG, HOLD_ENOSPACE},   {ENOMEM, HOLD_ENOMEMORY}, {EACCES, HOLD_EIO}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct hold_error err = {0};
        assert_int_equal(hold_fail_errno(&err, CASES[i].number, "f"), CASES[i].code);
        assert_int_equal(err.code, CASES[i].code);
    }
}

static void errno_says_why(void **state) {
    (void)state;
    struct hold_error err = {0};
    hold_fail_errno(&err, ENOENT, "%s/%d", "dir", 3);
    assert_string_equal(err.text, "dir/3: no such file or directory");
    hold_fail_errno(&err, 99999, "f");
    assert_string_equal(err.text, "f: system error 99999");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_distinct_and_named),
        cmocka_unit_test(rows_read_as_written),
        cmocka_unit_test(unknown_codes_are_internal),
        cmocka_unit_test(fail_writes_and_returns),
        cmocka_unit_test(fail_may_quote_the_message_it_replaces),
        cmocka_unit_test(messages_are_one_harmless_line),
        cmocka_unit_test(long_messages_are_cut_between_characters),
        cmocka_unit_test(errno_picks_the_code),
        cmocka_unit_test(errno_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
