/* test_eval_score.c: exact task scores: labels and planted keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "eval/eval.h"

static void label_ignores_case_blanks_quotes_and_stop(void **state) {
    (void)state;
    assert_true(hold_score_label("card arrival", "card arrival"));
    assert_true(hold_score_label("  \"Card Arrival\".\n", "card arrival"));
    assert_true(hold_score_label("\tcard arrival", "Card arrival"));
    assert_true(
        hold_score_label("\xC3\x89T\xC3\x89.", "\xC3\xA9t\xC3\xA9")); /* case beyond ASCII */
}

static void label_is_the_whole_answer(void **state) {
    (void)state;
    assert_false(hold_score_label("card arrival time", "card arrival"));
    assert_false(hold_score_label("The topic is card arrival", "card arrival"));
    assert_false(hold_score_label("", "card arrival"));
    assert_false(hold_score_label("...", ""));
    assert_false(hold_score_label("\xFF", "\xFF")); /* no UTF-8, no score */
}

/* Every beginning of an accepted answer may go on; what is lost is never accepted later. */
static void a_label_is_lost_only_for_good(void **state) {
    (void)state;
    static const char *const right[] = {"card arrival", "  \"Card Arrival\".\n", "`card arrival`",
                                        "Card arrival\""};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        char part[64];
        assert_true(hold_score_label(right[i], "card arrival"));
        for (size_t n = 0; n <= strlen(right[i]); n++) {
            memcpy(part, right[i], n);
            part[n] = '\0';
            assert_false(hold_score_label_lost(part, "card arrival"));
        }
    }
    assert_true(hold_score_label_lost("card payment", "card arrival"));
    assert_true(hold_score_label_lost("card arrival time", "card arrival"));
    assert_true(hold_score_label_lost("I can", "card arrival"));
    /* A letter may yet take an accent: "e" and U+0301 are one character. */
    assert_false(hold_score_label_lost("cafe", "caf\xC3\xA9"));
    assert_true(hold_score_label("cafe\xCC\x81", "caf\xC3\xA9"));
    assert_true(hold_score_label_lost("cafes ", "caf\xC3\xA9"));
}

static void key_is_found_as_whole_words(void **state) {
    (void)state;
    assert_true(hold_score_key("The code is BLUE-7, keep it.", "blue-7"));
    assert_true(hold_score_key("amber falcon", "Amber Falcon"));
    assert_true(hold_score_key("(amber)", "amber"));
    assert_false(hold_score_key("ambers", "amber"));
    assert_false(hold_score_key("clamber amberly", "amber"));
    assert_false(hold_score_key("BLUE-75", "blue-7"));
    assert_true(hold_score_key("ambers, then amber", "amber")); /* a later hit counts */
    assert_false(hold_score_key("\xC3\xA9"
                                "amber",
                                "amber")); /* a letter beyond ASCII before */
    assert_false(hold_score_key("anything", ""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(label_ignores_case_blanks_quotes_and_stop),
        cmocka_unit_test(label_is_the_whole_answer),
        cmocka_unit_test(a_label_is_lost_only_for_good),
        cmocka_unit_test(key_is_found_as_whole_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
