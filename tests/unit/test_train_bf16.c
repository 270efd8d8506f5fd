/* test_train_bf16.c: training in bf16 against training in f32, and against PyTorch's autocast on
 * the same rows (tests/golden/engine/make_golden_bf16.py). */
#include "test_train_common.h"

/* The bars: the whole gradient's cosine and relative error, any tensor's error, the loss. */
static const double COSINE = 0.999, WHOLE = 3e-2, TENSOR = 8e-2, LOSS = 0.01;

static const char *const ISAS[] = {"portable", "avx2", "avx512", "avx512_bf16", "amx"};

static bool has_isa(const char *isa) {
    struct hold_device *d;
    struct hold_error err = {0};
    int rc = hold_cpu_new(&d, 1, isa, &err);
    hold_device_free(rc == HOLD_OK ? d : NULL);
    return rc == HOLD_OK;
}

static void open_as(struct tiny *t, const char *tuning, const char *isa, const char *dtype) {
    tiny_open_as(t, FORMATS "/tiny-llama", FORMATS "/tiny-llama-adapter", tuning, 1, isa, dtype);
}

static double cosine(const float *a, const float *b, int64_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

/* --- gradients --- */

static void golden_rows(struct hold_set *set) {
    struct hold_error err = {0};
    json_t *json = NULL;
    assert_ok(hold_json_load(&json, ENGINE "/golden.json", &err), &err);
    const json_t *rows = json_object_get(json, "rows");
    set_new(set, (int64_t)json_array_size(rows));
    for (int64_t i = 0; i < set->n; i++) {
        const json_t *row = json_array_get(rows, (size_t)i), *ids = json_object_get(row, "ids");
        const json_t *weights = json_object_get(row, "target_weight");
        struct hold_example *x = example_new(set, i, (int32_t)json_array_size(ids));
        x->weight = (float)json_number_value(json_object_get(row, "weight"));
        for (int32_t t = 0; t < x->n; t++) {
            x->ids[t] = (int32_t)json_integer_value(json_array_get(ids, (size_t)t));
            x->target_weight[t] = (float)json_number_value(json_array_get(weights, (size_t)t));
        }
    }
    json_decref(json);
}

/* The gradient of all rows, and the model it is of. */
static float *gradient(struct tiny *t, const struct hold_set *set, const char *tuning,
                       const char *isa, const char *dtype, double *loss) {
    struct hold_error err = {0};
    struct hold_train_config c = plain_config();
    struct hold_pass_result r;
    struct bare b;
    open_as(t, tuning, isa, dtype);
    bare_open(&b, t, set, &c);
    struct hold_pass pass = {.examples = &b.all, .buffer = HOLD_GRAD};
    assert_ok(hold_run_pass(&b.run, &pass, &r, &err), &err);
    *loss = r.loss;
    float *grad = read_flat(t, b.run.buffers[HOLD_GRAD].data);
    bare_close(&b);
    return grad;
}

struct compare {
    const float *found, *expected;
    const json_t *autocast; /* of each tensor */
    double worst;
    int64_t tensors, better;
};

static void compare_tensor(struct compare *c, const char *name, int64_t flat, int64_t n) {
    double off = relative_error(c->found + flat, c->expected + flat, n);
    const json_t *theirs = json_object_get(c->autocast, name);
    if (theirs == NULL)
        fail_msg("PyTorch has no gradient of %s", name);
    if (!(off <= TENSOR) || !(off <= json_number_value(theirs)))
        fail_msg("%s: the gradient is off by %.2e, PyTorch's by %.2e", name, off,
                 json_number_value(theirs));
    c->worst = fmax(c->worst, off);
    c->tensors++;
}

static int compare_named(void *user, const struct hold_named *named, struct hold_error *err) {
    (void)err;
    compare_tensor(user, named->name, named->flat, named->value.rows * named->value.cols);
    return HOLD_OK;
}

static void compare_lora(struct compare *c, const struct hold_model *m) {
    char name[160];
    for (int64_t l = 0; l < m->shape.n_layers; l++)
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++)
            for (int i = 0; i < m->layers[l].linear[kind].n_lora; i++) {
                const struct hold_lora *lora = &m->layers[l].linear[kind].lora[i];
                const struct hold_param *p[] = {&lora->a, &lora->b};
                for (int k = 0; k < 2; k++) {
                    snprintf(name, sizeof name, "model.layers.%d.%s.lora_%c.weight", (int)l,
                             p[k]->name, "AB"[k]);
                    compare_tensor(c, name, p[k]->flat, p[k]->value.rows * p[k]->value.cols);
                }
            }
}

static void expect_near(const char *tuning) {
    struct hold_error err = {0};
    struct hold_set set;
    struct tiny exact;
    double loss;
    json_t *json = NULL;
    assert_ok(hold_json_load(&json, ENGINE "/golden_bf16.json", &err), &err);
    const json_t *golden = json_object_get(json, tuning);
    golden_rows(&set);
    float *expected = gradient(&exact, &set, tuning, NULL, "f32", &loss), *first = NULL;
    int64_t n = exact.model.n_flat;
    for (int64_t i = 0; i < COUNT(ISAS); i++) {
        struct tiny t;
        double found_loss;
        if (!has_isa(ISAS[i]))
            continue;
        float *found = gradient(&t, &set, tuning, ISAS[i], "bf16", &found_loss);
        double off = relative_error(found, expected, n), near = cosine(found, expected, n);
        struct compare cmp = {
            .found = found, .expected = expected, .autocast = json_object_get(golden, "tensors")};
        assert_true(off > 1e-4); /* it is rounded at all */
        assert_true(near >= COSINE);
        assert_true(off <= WHOLE);
        assert_true(off <= json_number_value(json_object_get(golden, "whole")));
        assert_true(fabs(found_loss - loss) <= LOSS * loss);
        if (t.model.lora)
            compare_lora(&cmp, &t.model);
        else
            assert_ok(hold_model_each(&t.model, compare_named, &cmp, &err), &err);
        assert_int_equal(cmp.tensors, json_object_size(cmp.autocast));
        /* The instructions and their emulation differ by the order of f32 sums, and by what that
         * moves over a rounding's edge. */
        if (first == NULL)
            first = found;
        double apart = relative_error(found, first, n);
        print_message("%s, %s: off by %.1e (PyTorch's autocast %.1e), a tensor by at most %.1e, "
                      "cosine %.6f, from portable by %.1e\n",
                      tuning, ISAS[i], off, json_number_value(json_object_get(golden, "whole")),
                      cmp.worst, near, apart);
        assert_true(apart <= off / 2);
        if (found != first)
            free(found);
        tiny_close(&t);
    }
    free(first);
    free(expected);
    tiny_close(&exact);
    set_release(&set);
    json_decref(json);
}

static void test_gradients(void **state) {
    (void)state;
    expect_near("lora");
    expect_near("full");
}

/* --- Booster --- */

/* What the factors would be if they entered the forward pass in bf16. */
static void round_factors(float *theta, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &theta[i], 4);
        bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
        memcpy(&theta[i], &bits, 4);
    }
}

/* g1 - g2 of one harmful batch: the gradient here less that after a step of length alpha. */
static float *difference(const struct hold_set *set, const char *dtype, bool rounded, double alpha,
                         int64_t *n) {
    struct hold_error err = {0};
    struct hold_train_config c = plain_config();
    struct tiny t;
    struct bare b;
    open_as(&t, "lora", NULL, dtype);
    bare_open(&b, &t, set, &c);
    struct hold_pass pass = {.examples = &b.all, .buffer = HOLD_GRAD};
    *n = t.model.n_flat;
    float *theta = read_flat(&t, t.model.flat), *seen = read_flat(&t, t.model.flat);
    if (rounded)
        round_factors(seen, *n);
    t.device->k->write(t.device, t.model.flat, seen, *n * 4);
    assert_ok(hold_run_pass(&b.run, &pass, NULL, &err), &err);
    float *g1 = read_flat(&t, b.run.buffers[HOLD_GRAD].data);
    double norm = 0;
    for (int64_t i = 0; i < *n; i++)
        norm += (double)g1[i] * (double)g1[i];
    for (int64_t i = 0; i < *n; i++)
        theta[i] -= (float)(alpha / (sqrt(norm) + 1e-7) * (double)g1[i]);
    if (rounded)
        round_factors(theta, *n);
    t.device->k->write(t.device, t.model.flat, theta, *n * 4);
    hold_buffer_zero(&b.run, HOLD_GRAD);
    assert_ok(hold_run_pass(&b.run, &pass, NULL, &err), &err);
    float *g2 = read_flat(&t, b.run.buffers[HOLD_GRAD].data);
    for (int64_t i = 0; i < *n; i++)
        g1[i] -= g2[i];
    free(theta);
    free(seen);
    free(g2);
    bare_close(&b);
    tiny_close(&t);
    return g1;
}

static void test_booster(void **state) {
    (void)state;
    struct hold_set set;
    int64_t n;
    golden_rows(&set);
    for (int i = 0; i < 2; i++) {
        const double alpha = i == 0 ? 0.1 : 0.03; /* Booster's default, and a smaller step */
        float *exact = difference(&set, "f32", false, alpha, &n);
        float *found = difference(&set, "bf16", false, alpha, &n);
        float *lost = difference(&set, "bf16", true, alpha, &n);
        double near = cosine(found, exact, n), far = cosine(lost, exact, n);
        print_message("Booster's gradient difference, alpha %.2f: cosine %.4f; with factors in "
                      "bf16 %.4f\n",
                      alpha, near, far);
        assert_true(near >= (i == 0 ? 0.99 : 0.98));
        /* The smaller the step, the more it is the f32 factors that keep it. */
        assert_true(i == 0 || 1 - near < 0.75 * (1 - far));
        free(exact);
        free(found);
        free(lost);
    }
    set_release(&set);
}

/* --- whole runs --- */

static double final_loss(const char *tuning, const char *dtype, int64_t seed, double *first) {
    struct hold_error err = {0};
    struct hold_set set;
    struct tiny t;
    struct bare b;
    struct hold_pass_result r;
    struct hold_train_result result;
    struct hold_ctx ctx = {.threads = 1};
    struct hold_train_config c = plain_config();
    random_rows(&set, 24, (uint64_t)seed);
    c.max_steps = 40;
    c.seed = seed;
    c.learning_rate = strcmp(tuning, "full") == 0 ? 2e-3 : 1e-2;
    open_as(&t, tuning, NULL, dtype);
    struct hold_stream_input stream = {.name = "main", .set = &set};
    struct hold_train_input in = {
        .model = &t.model, .config = c, .streams = &stream, .n_streams = 1};
    assert_ok(hold_train(&in, &ctx, &result, &err), &err);
    *first = result.first_loss;
    bare_open(&b, &t, &set, &c);
    struct hold_pass pass = {.examples = &b.all, .buffer = HOLD_GRAD};
    assert_ok(hold_run_pass(&b.run, &pass, &r, &err), &err);
    bare_close(&b);
    tiny_close(&t);
    set_release(&set);
    return r.loss;
}

static void test_final_loss(void **state) {
    (void)state;
    static const char *const tunings[] = {"lora", "full"};
    for (int k = 0; k < 2; k++)
        for (int64_t seed = 42; seed < 45; seed++) {
            double first, first_bf16, exact = final_loss(tunings[k], "f32", seed, &first);
            double found = final_loss(tunings[k], "bf16", seed, &first_bf16);
            print_message("%s, seed %d: loss %.4f to %.4f, in bf16 %.4f\n", tunings[k], (int)seed,
                          first, exact, found);
            assert_true(exact < 0.9 * first); /* it learned */
            assert_true(found != exact);
            assert_true(fabs(found - exact) <= LOSS * exact);
        }
}

/* --- a lean model --- */

static double loss_of(struct tiny *t, const struct hold_set *set) {
    struct hold_error err = {0};
    struct hold_train_config c = plain_config();
    struct hold_lora_config lora = {.r = 4, .alpha = 8, .target_modules = "all-linear", .seed = 1};
    struct hold_pass_result r;
    struct bare b;
    assert_ok(hold_model_add_lora(&t->model, &lora, &err), &err);
    bare_open(&b, t, set, &c);
    struct hold_pass pass = {.examples = &b.all, .buffer = HOLD_GRAD};
    assert_ok(hold_run_pass(&b.run, &pass, &r, &err), &err);
    bare_close(&b);
    return r.loss;
}

/* It computes the same from less memory, and refuses what it no longer can. */
static void test_lean(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_set set;
    struct hold_tensor w;
    struct hold_adapter a;
    struct tiny whole, lean;
    golden_rows(&set);
    load_adapter(&a);
    for (int bf16 = 0; bf16 <= 1; bf16++) {
        open_as(&whole, NULL, NULL, bf16 ? "bf16" : "f32");
        open_as(&lean, NULL, NULL, bf16 ? "bf16" : "f32");
        hold_model_release(&lean.model);
        assert_int_equal(hold_device_bytes(lean.device, NULL), 0);
        assert_ok(hold_model_load_lean(&lean.model, FORMATS "/tiny-llama", lean.device, NULL, &err),
                  &err);
        int64_t saved =
            hold_device_bytes(whole.device, NULL) - hold_device_bytes(lean.device, NULL);
        int64_t linear = hold_model_matrix_params(&whole.model) -
                         whole.model.shape.vocab * whole.model.shape.d_model;
        assert_int_equal(saved, bf16 ? 4 * linear : 0); /* in f32 the device borrows them */
        assert_int_equal(hold_model_find(&lean.model, "model.layers.0.mlp.up_proj", &w), !bf16);
        assert_true(loss_of(&whole, &set) == loss_of(&lean, &set));
        if (bf16) {
            const char *no = "loaded without its weights";
            assert_refused(hold_model_fold_lora(&lean.model, &err), HOLD_EINTERNAL, &err, no);
            hold_model_drop_lora(&lean.model);
            assert_refused(hold_model_merge(&lean.model, &a, NULL, &err), HOLD_EINTERNAL, &err, no);
            assert_refused(hold_model_make_full(&lean.model, &err), HOLD_EINTERNAL, &err, no);
            assert_refused(hold_model_refresh(&lean.model, &err), HOLD_EINTERNAL, &err, no);
            assert_refused(hold_model_each(&lean.model, NULL, NULL, &err), HOLD_EINTERNAL, &err,
                           no);
        }
        tiny_close(&whole);
        tiny_close(&lean);
    }
    hold_adapter_release(&a);
    set_release(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_booster),
        cmocka_unit_test(test_final_loss),
        cmocka_unit_test(test_lean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
