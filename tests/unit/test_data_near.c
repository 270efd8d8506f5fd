/* test_data_near.c: near duplicates against comparing every pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "data/rows.h"

enum { N_MAX = 60, WORDS_MAX = 12, VOCAB = 14 };

static void add_text(struct hold_rows *rows, const char *text) {
    struct hold_error err = {0};
    json_t *data = json_pack("{s:s}", "prompt", text);
    assert_int_equal(hold_rows_add(rows, data, 1, NULL, &err), HOLD_OK);
    json_decref(data);
}

/* Rows of few words out of few, and the words of each as bits. */
static void draw(struct hold_rows *rows, unsigned bits[N_MAX], uint64_t seed, uint64_t which) {
    struct hold_rng rng;
    hold_rng_init(&rng, seed, "test_data_near", which, 0);
    int64_t n = 1 + (int64_t)hold_rng_below(&rng, N_MAX);
    for (int64_t i = 0; i < n; i++) {
        struct hold_str text = HOLD_STR_INIT;
        uint64_t words = hold_rng_below(&rng, WORDS_MAX);
        bits[i] = 0;
        for (uint64_t w = 0; w < words; w++) {
            unsigned word = (unsigned)hold_rng_below(&rng, VOCAB);
            bits[i] |= 1U << word;
            hold_str_addf(&text, "W%u, ", word);
        }
        add_text(rows, hold_str_text(&text));
        hold_str_release(&text);
    }
}

struct pairs {
    double value[N_MAX][N_MAX];
    int64_t last, count, stop_at;
};

static int take(void *user, int64_t i, int64_t j, double jaccard) {
    struct pairs *p = user;
    assert_true(i * N_MAX + j > p->last);
    p->last = i * N_MAX + j;
    p->value[i][j] = jaccard;
    return ++p->count == p->stop_at;
}

static void against_all_pairs(void **state) {
    (void)state;
    static const double THRESHOLDS[] = {0.7, 0.5, 1.0, 0.05, 1.0 / 3, 0.8};
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct hold_rows a = {0}, b = {0};
        struct hold_error err = {0};
        unsigned bits_a[N_MAX], bits_b[N_MAX];
        draw(&a, bits_a, seed, 0);
        draw(&b, bits_b, seed, 1);
        double threshold = THRESHOLDS[seed % 6];
        bool self = seed % 4 == 3;
        struct pairs *p = calloc(1, sizeof(*p));
        p->last = -1;
        assert_int_equal(hold_rows_near(&a, self ? &a : &b, threshold, take, p, &err), HOLD_OK);
        for (int64_t i = 0; i < a.n; i++)
            for (int64_t j = 0; j < (self ? a.n : b.n); j++) {
                unsigned x = bits_a[i], y = self ? bits_a[j] : bits_b[j];
                double both = __builtin_popcount(x & y), either = __builtin_popcount(x | y);
                bool near = both > 0 && both >= threshold * either - 1e-12 && (!self || i < j);
                double expected = near ? both / either : 0;
                assert_true(p->value[i][j] >= expected && p->value[i][j] <= expected);
            }
        free(p);
        hold_rows_release(&a);
        hold_rows_release(&b);
    }
}

static void without_instruction(void **state) {
    (void)state;
    struct hold_rows rows = {0};
    struct hold_error err = {0};
    struct pairs p = {.last = -1};
    static const char *const TEXTS[] = {"my card was stolen", "where is my refund"};
    for (int i = 0; i < 2; i++) {
        struct hold_str text = HOLD_STR_INIT;
        hold_str_addf(&text, "Name the topic of this message in a few words:\n\n%s", TEXTS[i]);
        json_t *data = json_pack("{s:s, s:s}", "prompt", hold_str_text(&text), "instruction",
                                 "Name the topic of this message in a few words:");
        assert_int_equal(hold_rows_add(&rows, data, 1, NULL, &err), HOLD_OK);
        json_decref(data);
        hold_str_release(&text);
    }
    assert_int_equal(hold_rows_near(&rows, &rows, 0.5, take, &p, &err), HOLD_OK);
    assert_int_equal(p.count, 0);
    hold_rows_release(&rows);
}

static void stops_and_refuses(void **state) {
    (void)state;
    struct hold_rows rows = {0}, empty = {0};
    struct hold_error err = {0};
    for (int i = 0; i < 5; i++)
        add_text(&rows, "the same words");
    struct pairs p = {.last = -1, .stop_at = 3};
    assert_int_equal(hold_rows_near(&rows, &rows, 0.7, take, &p, &err), HOLD_OK);
    assert_int_equal(p.count, 3);
    assert_int_equal(hold_rows_near(&rows, &empty, 0.7, take, &p, &err), HOLD_OK);
    assert_int_equal(hold_rows_near(&empty, &rows, 0.7, take, &p, &err), HOLD_OK);
    assert_int_equal(hold_rows_near(&empty, &empty, 0.7, take, &p, &err), HOLD_OK);
    assert_int_equal(p.count, 3);
    assert_int_equal(hold_rows_near(&rows, &rows, 0, take, &p, &err), HOLD_EUSAGE);
    assert_int_equal(hold_rows_near(&rows, &rows, 1.5, take, &p, &err), HOLD_EUSAGE);
    for (int64_t at = 1, status = HOLD_ENOMEMORY; status; at++) {
        assert_true(at < 60);
        struct pairs q = {.last = -1};
        hold_mem_fail_at(at);
        status = hold_rows_near(&rows, &rows, 0.7, take, &q, &err);
        hold_mem_fail_at(0);
        assert_true(status == HOLD_OK || status == HOLD_ENOMEMORY);
    }
    hold_rows_release(&rows);
}

static int count(void *user, int64_t i, int64_t j, double jaccard) {
    (void)i;
    (void)j;
    (void)jaccard;
    ++*(int64_t *)user;
    return 0;
}

/* 2000 x 2000 rows of 20 words out of 3000 with one planted copy each: below a second. */
static void large(void **state) {
    (void)state;
    struct hold_rows a = {0}, b = {0};
    struct hold_error err = {0};
    struct hold_rng rng;
    int64_t pairs = 0;
    hold_rng_init(&rng, 1, "large", 0, 0);
    for (int i = 0; i < 2000; i++) {
        struct hold_str text = HOLD_STR_INIT;
        for (int w = 0; w < 20; w++)
            hold_str_addf(&text, "w%u ", (unsigned)hold_rng_below(&rng, 3000));
        add_text(&a, hold_str_text(&text));
        hold_str_add(&text, "more");
        add_text(&b, hold_str_text(&text));
        hold_str_release(&text);
    }
    clock_t start = clock();
    assert_int_equal(hold_rows_near(&a, &b, 0.7, count, &pairs, &err), HOLD_OK);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 1.0);
    assert_int_equal(pairs, 2000);
    hold_rows_release(&a);
    hold_rows_release(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_all_pairs),
        cmocka_unit_test(without_instruction),
        cmocka_unit_test(stops_and_refuses),
        cmocka_unit_test(large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
