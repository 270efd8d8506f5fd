/* test_eval_stats.c: Wilson intervals, the paired bootstrap and perplexity against known values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "eval/eval.h"

enum { MANY = 400, ROUNDS = 4000 };

static void near(double found, double expected, double within) {
    if (!(fabs(found - expected) <= within))
        fail_msg("found %.12g, expected %.12g within %g", found, expected, within);
}

/* With z = 1.959963984540054 (95%) and p = k/n:
 *   centre = (p + z^2/2n) / (1 + z^2/n), half = z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n).
 * 5 of 10: centre .5, half = z sqrt(.025 + .0096036...) / 1.38414588... = .2634067...
 * 0 of 10: upper end = (z^2/n) / (1 + z^2/n) = .38414588 / 1.38414588 = .27753279...
 * 81 of 263: the example of R. Newcombe, Statistics in Medicine 17 (1998), table I: .2553 to .3662.
 */
static void wilson_known_values(void **state) {
    (void)state;
    struct hold_interval w = hold_wilson(5, 10, 0.95);
    near(w.value, 0.5, 0);
    near(w.lo, 0.236593090512564, 1e-12);
    near(w.hi, 0.763406909487436, 1e-12);
    w = hold_wilson(0, 10, 0.95);
    near(w.lo, 0, 0);
    near(w.hi, 0.277532799862889, 1e-12);
    w = hold_wilson(10, 10, 0.95);
    near(w.lo, 0.722467200137111, 1e-12);
    near(w.hi, 1, 0);
    w = hold_wilson(81, 263, 0.95);
    near(w.lo, 0.2553, 5e-5);
    near(w.hi, 0.3662, 5e-5);
    assert_int_equal(w.n, 263);
    struct hold_interval narrow = hold_wilson(81, 263, 0.90);
    assert_true(narrow.lo > w.lo && narrow.hi < w.hi);
}

static void wilson_of_nothing(void **state) {
    (void)state;
    struct hold_interval w = hold_wilson(0, 0, 0.95);
    assert_true(isnan(w.value));
    near(w.lo, 0, 0);
    near(w.hi, 1, 0);
}

/* a - b is 1 for a quarter of the pairs and 0 elsewhere: mean .25, standard error of the mean
 * sqrt(.25 * .75 / 400) = .0216506, so the 95% interval is close to .25 -+ 1.96 * .0216506 =
 * .2076 to .2924; the bootstrap's own noise at 4000 rounds is below .003. */
static void bootstrap_matches_normal_theory(void **state) {
    (void)state;
    double a[MANY], b[MANY];
    for (int i = 0; i < MANY; i++) {
        b[i] = i % 2;
        a[i] = b[i] + (i % 4 == 0);
    }
    struct hold_interval out;
    struct hold_error err = {0};
    assert_int_equal(hold_paired_bootstrap(a, b, NULL, MANY, ROUNDS, 7, 0.95, &out, &err), 0);
    near(out.value, 0.25, 1e-12);
    near(out.lo, 0.2076, 0.006);
    near(out.hi, 0.2924, 0.006);
    assert_int_equal(out.n, MANY);
    struct hold_interval again, other;
    assert_int_equal(hold_paired_bootstrap(a, b, NULL, MANY, ROUNDS, 7, 0.95, &again, &err), 0);
    assert_memory_equal(&again, &out, sizeof(out));
    assert_int_equal(hold_paired_bootstrap(a, b, NULL, MANY, ROUNDS, 8, 0.5, &other, &err), 0);
    assert_true(other.hi - other.lo < out.hi - out.lo);
}

/* The pairs of one group move together: four equal copies of each prompt carry the information of
 * one, so the interval is twice as wide (sqrt 4) as if the pairs were independent. */
static void bootstrap_keeps_groups_together(void **state) {
    (void)state;
    double a[MANY], b[MANY] = {0};
    int64_t groups[MANY];
    for (int i = 0; i < MANY; i++) {
        groups[i] = 1000 - i / 4;
        a[i] = (i / 4) % 4 == 0;
    }
    struct hold_interval grouped, single;
    struct hold_error err = {0};
    assert_int_equal(hold_paired_bootstrap(a, b, groups, MANY, ROUNDS, 1, 0.95, &grouped, &err), 0);
    assert_int_equal(hold_paired_bootstrap(a, b, NULL, MANY, ROUNDS, 1, 0.95, &single, &err), 0);
    near(grouped.value, single.value, 1e-12);
    near((grouped.hi - grouped.lo) / (single.hi - single.lo), 2, 0.15);
}

static void bootstrap_leaves_out_nan_pairs(void **state) {
    (void)state;
    const double a[] = {1, NAN, 1, 0}, b[] = {0, 0, NAN, 0};
    struct hold_interval out;
    struct hold_error err = {0};
    assert_int_equal(hold_paired_bootstrap(a, b, NULL, 4, 200, 1, 0.95, &out, &err), 0);
    assert_int_equal(out.n, 2);
    near(out.value, 0.5, 1e-12);
    assert_int_equal(hold_paired_bootstrap(a + 1, b + 1, NULL, 2, 200, 1, 0.95, &out, &err), 0);
    assert_int_equal(out.n, 0);
    assert_true(isnan(out.value));
}

static void bootstrap_says_what_is_wrong(void **state) {
    (void)state;
    const double a[] = {1}, b[] = {0};
    struct hold_interval out;
    struct hold_error err = {0};
    assert_int_equal(hold_paired_bootstrap(a, b, NULL, 1, 0, 1, 0.95, &out, &err), HOLD_EUSAGE);
    assert_non_null(strstr(err.text, "0 rounds"));
    assert_int_equal(hold_paired_bootstrap(a, b, NULL, 1, 9, 1, 1.5, &out, &err), HOLD_EUSAGE);
    assert_non_null(strstr(err.text, "1.5"));
    hold_mem_fail_at(2);
    assert_int_equal(hold_paired_bootstrap(a, b, NULL, 1, 9, 1, 0.95, &out, &err), HOLD_ENOMEMORY);
    hold_mem_fail_at(0);
}

/* A model that gives each of n tokens the probability 1/8 has perplexity 8. */
static void perplexity_of_a_uniform_model(void **state) {
    (void)state;
    near(hold_perplexity(-20 * log(8.0), 20), 8, 1e-12);
    near(hold_perplexity(0, 3), 1, 0);
    assert_true(isnan(hold_perplexity(0, 0)));
}

/* Values that are all of one seed's making: 0 in one replicate, 1 in the other.  Prompts alone
 * leave no doubt (every prompt has mean .5); resampling the two seeds gives 0, .5 and 1 with
 * probabilities 1/4, 1/2, 1/4. */
static void crossed_bootstrap_covers_seeds(void **state) {
    (void)state;
    enum { PROMPTS = 50 };
    double a[2 * PROMPTS], b[2 * PROMPTS] = {0};
    int64_t groups[2 * PROMPTS], seeds[2 * PROMPTS];
    struct hold_interval crossed, prompts;
    struct hold_error err = {0};
    for (int64_t i = 0; i < 2 * PROMPTS; i++) {
        groups[i] = i % PROMPTS;
        seeds[i] = i / PROMPTS;
        a[i] = (double)seeds[i];
    }
    assert_int_equal(
        hold_crossed_bootstrap(a, b, groups, seeds, 2 * PROMPTS, 2, 2000, 1, 0.95, &crossed, &err),
        0);
    assert_int_equal(
        hold_paired_bootstrap(a, b, groups, 2 * PROMPTS, 2000, 1, 0.95, &prompts, &err), 0);
    assert_true(crossed.value == 0.5 && crossed.lo == 0.0 && crossed.hi == 1.0);
    assert_true(prompts.value == 0.5 && prompts.lo == 0.5 && prompts.hi == 0.5);
    assert_int_equal(crossed.n, 2 * PROMPTS);
    a[3] = NAN;
    assert_int_equal(
        hold_crossed_bootstrap(a, b, groups, seeds, 2 * PROMPTS, 2, 200, 1, 0.95, &crossed, &err),
        0);
    assert_int_equal(crossed.n, 2 * PROMPTS - 1);
    seeds[0] = 2;
    assert_int_equal(
        hold_crossed_bootstrap(a, b, groups, seeds, 2 * PROMPTS, 2, 200, 1, 0.95, &crossed, &err),
        HOLD_EUSAGE);
}

/* Two seeds of ten prompts, none of them a hit: the seeds of a prompt are not new prompts, so the
 * upper end is that of 0 of 10.  20 of 20 is its mirror image. */
static void widened_share_at_the_edge(void **state) {
    (void)state;
    enum { PROMPTS = 10, N = 2 * PROMPTS };
    double a[N] = {0}, zeros[N] = {0};
    int64_t groups[N], seeds[N];
    struct hold_interval v;
    struct hold_error err = {0};
    for (int64_t i = 0; i < N; i++) {
        groups[i] = i % PROMPTS;
        seeds[i] = i / PROMPTS;
    }
    for (int hit = 0; hit < 2; hit++) {
        for (int i = 0; i < N; i++)
            a[i] = hit;
        assert_int_equal(
            hold_crossed_bootstrap(a, zeros, groups, seeds, N, 2, 200, 1, 0.95, &v, &err), 0);
        assert_true(v.lo == hit && v.hi == hit);
        assert_int_equal(hold_interval_widen(a, NULL, groups, N, 0.95, &v, &err), 0);
        near(v.lo, hit ? 0.722467200137111 : 0, 1e-12);
        near(v.hi, hit ? 1 : 0.277532799862889, 1e-12);
        assert_true(v.value == hit && v.n == N);
    }
    a[0] = NAN; /* prompt 0 has its other seed still: ten prompts */
    v = (struct hold_interval){.value = 1, .lo = 1, .hi = 1, .n = N - 1};
    assert_int_equal(hold_interval_widen(a, NULL, groups, N, 0.95, &v, &err), 0);
    near(v.lo, 0.722467200137111, 1e-12);
    a[PROMPTS] = NAN; /* nine; 9 of 9: 9 / (9 + z^2) */
    v = (struct hold_interval){.value = 1, .lo = 1, .hi = 1, .n = N - 2};
    assert_int_equal(hold_interval_widen(a, NULL, groups, N, 0.95, &v, &err), 0);
    near(v.lo, 9 / (9 + 3.841458820694124), 1e-12);
}

/* 5 of 10 is no edge: the bootstrap's interval stands.  4 of 10 is one, and the union keeps what
 * the bootstrap found wider: Wilson's 4 of 10 is .1682 to .6873. */
static void widened_share_elsewhere(void **state) {
    (void)state;
    const double a[] = {1, 1, 1, 1, 1, 0, 0, 0, 0, 0}, b[] = {1, 1, 1, 1, 0, 0, 0, 0, 0, 0};
    struct hold_interval v = {.value = 0.5, .lo = 0.4, .hi = 0.6, .n = 10};
    struct hold_error err = {0};
    assert_int_equal(hold_interval_widen(a, NULL, NULL, 10, 0.95, &v, &err), 0);
    assert_true(v.lo == 0.4 && v.hi == 0.6);
    v = (struct hold_interval){.value = 0.4, .lo = 0.1, .hi = 0.6, .n = 10};
    assert_int_equal(hold_interval_widen(b, NULL, NULL, 10, 0.95, &v, &err), 0);
    near(v.lo, 0.1, 0);
    near(v.hi, 0.6873, 5e-5);
}

/* No difference in 10 pairs: each discordant share is at most .2775.  All ten differ one way:
 * 1 - sqrt(2) .2775 = .6075 to 1.  Ten of twenty differ: no edge. */
static void widened_difference(void **state) {
    (void)state;
    enum { N = 20 };
    double a[N], b[N];
    struct hold_interval v;
    struct hold_error err = {0};
    for (int i = 0; i < N; i++)
        a[i] = b[i] = i % 2;
    assert_int_equal(hold_paired_bootstrap(a, b, NULL, 10, 200, 1, 0.95, &v, &err), 0);
    assert_true(v.lo == 0 && v.hi == 0);
    assert_int_equal(hold_interval_widen(a, b, NULL, 10, 0.95, &v, &err), 0);
    near(v.lo, -0.277532799862889, 1e-12);
    near(v.hi, 0.277532799862889, 1e-12);
    for (int i = 0; i < N; i++)
        b[i] = (a[i] = 1) - 1;
    v = (struct hold_interval){.value = 1, .lo = 1, .hi = 1, .n = 10};
    assert_int_equal(hold_interval_widen(a, b, NULL, 10, 0.95, &v, &err), 0);
    near(v.lo, 1 - sqrt(2) * 0.277532799862889, 1e-12);
    near(v.hi, 1, 0);
    for (int i = 0; i < N; i++)
        b[i] = i % 2;
    v = (struct hold_interval){.value = 0.5, .lo = 0.4, .hi = 0.6, .n = N};
    assert_int_equal(hold_interval_widen(a, b, NULL, N, 0.95, &v, &err), 0);
    assert_true(v.lo == 0.4 && v.hi == 0.6);
    v = (struct hold_interval){.value = NAN, .lo = NAN, .hi = NAN, .n = 0};
    assert_int_equal(hold_interval_widen(a, b, NULL, 0, 0.95, &v, &err), 0);
    assert_true(isnan(v.lo) && isnan(v.hi));
    v.n = 1;
    hold_mem_fail_at(1);
    assert_int_equal(hold_interval_widen(a, b, NULL, 1, 0.95, &v, &err), HOLD_ENOMEMORY);
    hold_mem_fail_at(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crossed_bootstrap_covers_seeds),
        cmocka_unit_test(wilson_known_values),
        cmocka_unit_test(wilson_of_nothing),
        cmocka_unit_test(bootstrap_matches_normal_theory),
        cmocka_unit_test(bootstrap_keeps_groups_together),
        cmocka_unit_test(bootstrap_leaves_out_nan_pairs),
        cmocka_unit_test(bootstrap_says_what_is_wrong),
        cmocka_unit_test(perplexity_of_a_uniform_model),
        cmocka_unit_test(widened_share_at_the_edge),
        cmocka_unit_test(widened_share_elsewhere),
        cmocka_unit_test(widened_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
