/* test_infer_parts.c: sampling against its distribution, and text made safe. */
#include "test_infer_common.h"

/* Frequencies of many draws against expected shares (0: never drawn). */
static void assert_shares(const struct hold_generate_options *o, const float *logits,
                          const double *share, int n) {
    enum { DRAWS = 40000 };
    struct hold_error err = {0};
    struct hold_sampler s;
    int64_t count[16] = {0};
    assert_ok(hold_sampler_init(&s, o, n, &err), &err);
    for (int64_t i = 0; i < DRAWS; i++) {
        int32_t id = hold_sampler_pick(&s, logits, i / 200, i % 200);
        assert_in_range(id, 0, n - 1);
        assert_int_equal(id, hold_sampler_pick(&s, logits, i / 200, i % 200));
        count[id]++;
    }
    for (int k = 0; k < n; k++) {
        double sd = sqrt(share[k] * (1.0 - share[k]) / DRAWS);
        double off = fabs((double)count[k] / DRAWS - share[k]);
        if (off > 4.5 * sd)
            fail_msg("id %d was drawn %ld times, expected a share of %g", k, (long)count[k],
                     share[k]);
    }
    hold_sampler_release(&s);
}

static void draws_follow_the_distribution(void **state) {
    (void)state;
    /* Weights 1, 4, 2, 2, 1 over 10. */
    const float z[] = {0.0f, 1.38629436f, 0.69314718f, 0.69314718f, 0.0f};
    struct {
        struct hold_generate_options o;
        double share[5];
    } cases[] = {
        {{.temperature = 1.0}, {0.1, 0.4, 0.2, 0.2, 0.1}},
        {{.temperature = 0.5}, {1 / 26.0, 16 / 26.0, 4 / 26.0, 4 / 26.0, 1 / 26.0}},
        {{.temperature = 1.0, .top_k = 2}, {0, 4 / 6.0, 2 / 6.0, 0, 0}}, /* ties: lower id */
        {{.temperature = 1.0, .top_k = 4}, {1 / 9.0, 4 / 9.0, 2 / 9.0, 2 / 9.0, 0}},
        {{.temperature = 1.0, .top_k = 99}, {0.1, 0.4, 0.2, 0.2, 0.1}},
        {{.temperature = 1.0, .top_p = 0.3}, {0, 1, 0, 0, 0}},
        {{.temperature = 1.0, .top_p = 0.5}, {0, 4 / 6.0, 2 / 6.0, 0, 0}},
        {{.temperature = 1.0, .top_p = 0.7}, {0, 0.5, 0.25, 0.25, 0}},
        /* Of the best two, 4 of 6 are not yet 0.7. */
        {{.temperature = 1.0, .top_p = 0.7, .top_k = 2}, {0, 4 / 6.0, 2 / 6.0, 0, 0}},
        {{.temperature = 1.0, .top_p = 0.6, .top_k = 2}, {0, 1, 0, 0, 0}},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        cases[i].o.seed = (uint64_t)i;
        assert_shares(&cases[i].o, z, cases[i].share, 5);
    }
}

/* Far below the best, as most of a real vocabulary: the front must still be found. */
static void tails_are_cut_right(void **state) {
    (void)state;
    const float z[] = {-30.0f, -80.0f, 0.0f, -60.0f, -30.0f, -3.0f};
    struct hold_generate_options o = {.temperature = 30.0, .top_k = 4};
    double w[] = {exp(-1.0), 0, 1.0, 0, exp(-1.0), exp(-0.1)};
    double sum = w[0] + w[2] + w[4] + w[5];
    for (int i = 0; i < 6; i++)
        w[i] /= sum;
    assert_shares(&o, z, w, 6);
    struct hold_generate_options cold = {.temperature = 1.0, .top_k = 5};
    assert_shares(&cold, z,
                  (double[]){0, 0, 1.0 / (1.0 + exp(-3.0)), 0, 0, exp(-3.0) / (1.0 + exp(-3.0))},
                  6);
}

static void odd_logits(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_generate_options o = {.temperature = 1.0};
    struct hold_sampler s;
    assert_ok(hold_sampler_init(&s, &o, 4, &err), &err);
    assert_int_equal(hold_sampler_pick(&s, (float[]){NAN, NAN, NAN, NAN}, 0, 0), -1);
    assert_int_equal(
        hold_sampler_pick(&s, (float[]){-INFINITY, -INFINITY, -INFINITY, -INFINITY}, 0, 0), -1);
    assert_int_equal(hold_sampler_pick(&s, (float[]){-INFINITY, 2.0f, NAN, -INFINITY}, 0, 0), 1);
    hold_sampler_release(&s);
}

#define LOST "\xEF\xBF\xBD"

static void text_becomes_valid(void **state) {
    (void)state;
    static const struct {
        const char *in;
        size_t n;
        const char *out;
    } CASES[] = {
        {"plain", 5, "plain"},
        {"", 0, ""},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 9, "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
        {"a\xC3", 2, "a"}, /* cut */
        {"a\xE2\x82", 3, "a"},
        {"a\xF0\x9F\x98", 4, "a"},
        {"a\xE2", 2, "a"},
        {"\xE2\x82z", 3, LOST "z"}, /* not cut but broken: one mark */
        {"\xF0\x9F\x98z", 4, LOST "z"},
        {"\x80z", 2, LOST "z"},
        {"\xC0\x80", 2, LOST LOST}, /* overlong */
        {"\xE0\x80\x80", 3, LOST LOST LOST},
        {"\xED\xA0\x80", 3, LOST LOST LOST}, /* surrogate */
        {"\xF4\x90\x80\x80", 4, LOST LOST LOST LOST},
        {"\xFFz\xFE", 3, LOST "z" LOST},
        {"a\0b", 3, "a" LOST "b"},
    };
    for (int64_t i = 0; i < COUNT(CASES); i++) {
        struct hold_str s = HOLD_STR_INIT;
        hold_text_clean(CASES[i].in, CASES[i].n, &s);
        assert_string_equal(hold_str_text(&s), CASES[i].out);
        hold_str_release(&s);
    }
}

static void stop_strings_are_found_and_awaited(void **state) {
    (void)state;
    static const char *const STOPS[] = {"END", "abab", "\n\n"};
    struct hold_generate_options o = {.stop = STOPS, .n_stop = 3};
    static const struct {
        const char *text;
        size_t from;
        int64_t at;
        size_t held;
    } CASES[] = {
        {"", 0, -1, 0},     {"xyz", 0, -1, 0},  {"xEN", 0, -1, 2},    {"xE", 0, -1, 1},
        {"xEND", 0, 1, 0},  {"xEND", 2, -1, 0}, {"ENDabab", 0, 0, 2}, {"ENDabab", 1, 3, 2},
        {"xaba", 0, -1, 3}, {"xab", 0, -1, 2},  {"xa\n", 0, -1, 1},   {"ababEND", 0, 0, 0},
    };
    for (int64_t i = 0; i < COUNT(CASES); i++) {
        struct hold_str s = HOLD_STR_INIT;
        hold_str_add(&s, CASES[i].text);
        assert_int_equal(hold_text_stop(&s, CASES[i].from, &o), CASES[i].at);
        assert_int_equal(hold_text_held(&s, &o), CASES[i].held);
        hold_str_release(&s);
    }
}

static void text_of_ids(void **state) {
    struct tiny *t = *state;
    struct hold_error err = {0};
    struct hold_str raw = HOLD_STR_INIT, out = HOLD_STR_INIT;
    struct hold_ids ids = ids_of(t, "<|im_start|>caf\xC3\xA9<|im_end|> x");
    assert_ok(hold_text_decode(t->model.tokenizer, ids.data, (int64_t)ids.len, &raw, &out, &err),
              &err);
    assert_string_equal(hold_str_text(&out), "caf\xC3\xA9 x");
    /* Ids of a padded vocabulary say nothing. */
    assert_ok(hold_ids_push(&ids, hold_tokenizer_size(t->model.tokenizer) + 3, &err), &err);
    assert_ok(hold_ids_push(&ids, ids.data[ids.len - 2], &err), &err);
    assert_ok(hold_text_decode(t->model.tokenizer, ids.data, (int64_t)ids.len, &raw, &out, &err),
              &err);
    assert_string_equal(hold_str_text(&out), "caf\xC3\xA9 xx");
    hold_str_release(&raw);
    hold_str_release(&out);
    hold_ids_release(&ids);
}

static void finishes_have_names(void **state) {
    (void)state;
    assert_string_equal(hold_finish_name(HOLD_FINISH_STOP), "stop");
    assert_string_equal(hold_finish_name(HOLD_FINISH_LENGTH), "length");
    assert_string_equal(hold_finish_name(HOLD_FINISH_INTERRUPTED), "interrupted");
    assert_string_equal(hold_finish_name(HOLD_FINISH_DECIDED), "decided");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(tails_are_cut_right),
        cmocka_unit_test(odd_logits),
        cmocka_unit_test(text_becomes_valid),
        cmocka_unit_test(stop_strings_are_found_and_awaited),
        cmocka_unit_test(text_of_ids),
        cmocka_unit_test(finishes_have_names),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
