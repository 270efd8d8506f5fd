/* test_model_others.c: real models of other families (GGUF files in the folder HOLD_TEST_OTHERS;
 * each skipped where it is not) against PyTorch in float64: logits of 10 texts
 * (tests/golden/engine/make_golden_models.py).
 */
#include "test_train_common.h"

/* Against float64; PyTorch in float32 is off by about as much. */
static const double LOGIT_BAR = 5e-4;

static double worst_of_row(struct tiny *t, const json_t *row, int64_t *n) {
    const json_t *ids = json_object_get(row, "ids"), *logits = json_object_get(row, "logits");
    struct hold_set s;
    set_new(&s, 1);
    struct hold_example *x = example_new(&s, 0, (int32_t)json_array_size(ids));
    for (int32_t i = 0; i < x->n; i++)
        x->ids[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    float *z = logits_of_row(t, x);
    double worst = 0;
    for (size_t k = 0; k < json_array_size(logits); k++) {
        const json_t *one = json_array_get(logits, k);
        int64_t at = json_integer_value(json_array_get(one, 0)) * t->model.shape.vocab +
                     json_integer_value(json_array_get(one, 1));
        double off = fabs((double)z[at] - json_number_value(json_array_get(one, 2)));
        worst = fmax(worst, off);
        ++*n;
    }
    free(z);
    set_release(&s);
    return worst;
}

static void expect_model(const char *name) {
    const char *folder = getenv("HOLD_TEST_OTHERS");
    struct hold_error err = {0};
    struct tiny t;
    char path[1024];
    json_t *golden = NULL;
    snprintf(path, sizeof path, "%s/%s.gguf", folder == NULL ? "" : folder, name);
    if (folder == NULL || *folder == '\0' || !hold_exists(path)) {
        print_message("skipped: HOLD_TEST_OTHERS has no %s.gguf\n", name);
        skip();
    }
    assert_ok(hold_cpu_new(&t.device, 2, NULL, &err), &err);
    assert_ok(hold_model_load(&t.model, path, t.device, NULL, &err), &err);
    snprintf(path, sizeof path, ENGINE "/models/%s.json", name);
    assert_ok(hold_json_load(&golden, path, &err), &err);
    const json_t *rows = json_object_get(golden, "rows");
    assert_int_equal(json_array_size(rows), 10);
    double worst = 0;
    int64_t n = 0;
    for (size_t i = 0; i < json_array_size(rows); i++)
        worst = fmax(worst, worst_of_row(&t, json_array_get(rows, i), &n));
    print_message("%s: %d logits are off by at most %.1e (PyTorch in float32: %.1e)\n", name,
                  (int)n, worst, json_number_value(json_object_get(golden, "torch_off")));
    assert_true(n >= 400);
    assert_true(worst < LOGIT_BAR);
    json_decref(golden);
    tiny_close(&t);
}

static void test_gemma(void **state) {
    (void)state;
    expect_model("gemma-3-270m");
}

static void test_qwen(void **state) {
    (void)state;
    expect_model("qwen2.5-coder-0.5b-instruct");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemma),
        cmocka_unit_test(test_qwen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
