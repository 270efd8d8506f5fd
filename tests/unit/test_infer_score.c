/* test_infer_score.c: teacher-forced scores against log-softmax by hand in double. */
#include "test_infer_common.h"

/* Texts with shared beginnings; from which token on they are trained. */
static const struct {
    const char *text;
    int32_t trained_from;
} ROWS[] = {
    {"<|im_start|>user\nHow far?<|im_end|>\n<|im_start|>assistant\nFar away.<|im_end|>", 12},
    {"<|im_start|>user\nHow far?<|im_end|>\n<|im_start|>assistant\nFar off.<|im_end|>", 12},
    {"<|im_start|>user\nHow far?<|im_end|>\n<|im_start|>assistant\nFar", 1},
    {"Another text altogether", 3},
    {"<|im_start|>user\nHow far?", 1000}, /* nothing trained */
    {"Another text altogether", 1},
};
enum { N = sizeof ROWS / sizeof ROWS[0] };

static struct hold_example *rows_new(const struct tiny *t, const struct hold_example **list) {
    struct hold_example *x = calloc(N, sizeof *x);
    assert_non_null(x);
    for (int i = 0; i < N; i++) {
        struct hold_ids ids = ids_of(t, ROWS[i].text);
        float *weight = calloc(ids.len, sizeof *weight);
        assert_non_null(weight);
        for (int32_t k = ROWS[i].trained_from; k < (int32_t)ids.len; k++)
            weight[k] = k % 5 == 3 ? 0.0f : 0.25f * (float)(1 + k % 3);
        x[i] = (struct hold_example){(int32_t)ids.len, ids.data, weight, 0.5f, 10 + i};
        list[i] = &x[i];
    }
    return x;
}

static void rows_free(struct hold_example *x) {
    for (int i = 0; i < N; i++) {
        hold_free(x[i].ids);
        free(x[i].target_weight);
    }
    free(x);
}

static double log_softmax(const float *z, int64_t n, int32_t id) {
    double most = -INFINITY, sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        most = z[i] > most ? z[i] : most;
    for (int64_t i = 0; i < n; i++)
        sum += exp(z[i] - most);
    return z[id] - most - log(sum);
}

static struct hold_row_score by_hand(struct tiny *t, const struct hold_example *x) {
    int64_t vocab = t->model.shape.vocab;
    struct hold_row_score s = {0};
    float *z = plain_logits(t, x->ids, x->n);
    for (int32_t k = 1; k < x->n; k++) {
        if (x->target_weight[k] > 0.0f) {
            s.logp += log_softmax(z + (k - 1) * vocab, vocab, x->ids[k]);
            s.n++;
        }
    }
    free(z);
    return s;
}

static void scores_equal_those_by_hand(void **state) {
    struct tiny *t = *state;
    struct hold_error err = {0};
    const struct hold_example *list[N];
    struct hold_example *x = rows_new(t, list);
    static const int64_t TOKENS[] = {0, 1, 40, 100};
    int64_t labels = 0;
    for (int64_t k = 0; k < COUNT(TOKENS); k++) {
        struct hold_row_score s[N];
        memset(s, 0xff, sizeof s);
        assert_ok(hold_score(&t->model, list, N, TOKENS[k], NULL, s, &err), &err);
        for (int i = 0; i < N; i++) {
            struct hold_row_score e = by_hand(t, &x[i]);
            assert_int_equal(s[i].n, e.n);
            assert_true(fabs(s[i].logp - e.logp) < 1e-5 * (1.0 + fabs(e.logp)));
            labels += e.n;
        }
        assert_int_equal(s[4].n, 0);
        assert_true(s[4].logp == 0.0);
        assert_true(s[0].logp < -1.0);
    }
    assert_true(labels > 60);
    rows_free(x);
}

static void shared_prefixes_are_scored_once(void **state) {
    struct tiny *t = *state;
    struct hold_error err = {0};
    const struct hold_example *list[N];
    struct hold_example *x = rows_new(t, list);
    struct hold_row_score s[N];
    double start = hold_device_flop(t->device);
    assert_ok(hold_score(&t->model, list, 2, 0, NULL, s, &err), &err);
    double together = hold_device_flop(t->device) - start;
    assert_ok(hold_score(&t->model, list, 2, 1, NULL, s, &err), &err);
    assert_true(together < 0.8 * (hold_device_flop(t->device) - start - together));
    rows_free(x);
}

static void wrong_rows_and_stops(void **state) {
    struct tiny *t = *state;
    struct hold_error err = {0};
    const struct hold_example *list[N];
    struct hold_example *x = rows_new(t, list);
    struct hold_row_score s[N];
    int32_t kept = x[2].ids[1];
    x[2].ids[1] = (int32_t)t->model.shape.vocab;
    assert_refused(hold_score(&t->model, list, N, 0, NULL, s, &err), HOLD_EDATA, &err,
                   "row 12: token 288");
    x[2].ids[1] = kept;
    assert_refused(hold_score(&t->model, list, N, -1, NULL, s, &err), HOLD_EUSAGE, &err, "range");
    assert_ok(hold_score(&t->model, NULL, 0, 0, NULL, NULL, &err), &err);
    volatile sig_atomic_t stop = 1;
    struct hold_ctx ctx = {.stop = &stop, .threads = 1};
    assert_refused(hold_score(&t->model, list, N, 0, &ctx, s, &err), HOLD_EINTERRUPTED, &err,
                   "after 0 of 6 rows");
    rows_free(x);
}

static void every_failed_allocation_is_reported(void **state) {
    struct tiny *t = *state;
    const struct hold_example *list[N];
    struct hold_example *x = rows_new(t, list);
    struct hold_row_score s[N];
    int64_t n = 1;
    for (int rc = HOLD_ENOMEMORY; rc != HOLD_OK; n++) {
        struct hold_error err = {0};
        hold_mem_fail_at(n);
        rc = hold_score(&t->model, list, N, 60, NULL, s, &err);
        hold_mem_fail_at(0);
        if (rc != HOLD_OK)
            assert_refused(rc, HOLD_ENOMEMORY, &err, "");
        assert_true(n < 2000);
        struct hold_error after = {0};
        assert_ok(t->device->k->sync(t->device, &after), &after);
    }
    assert_true(n > 10);
    rows_free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_equal_those_by_hand),
        cmocka_unit_test(shared_prefixes_are_scored_once),
        cmocka_unit_test(wrong_rows_and_stops),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
