/* test_model_golden.c: logits, gradients and training runs of the tiny models against PyTorch in
 * float64 (tests/golden/engine/make_golden.py, and make_families.py for a model of each family). */
#include "test_train_common.h"

#include "formats/safetensors.h"
#include "infer/generate.h"

struct golden {
    json_t *json;
    struct hold_safetensors *file;
    struct hold_set set;
    char model[512], adapter[600];
};

static int open_at(void **state, const char *folder, const char *model, const char *adapter) {
    struct golden *g = calloc(1, sizeof *g);
    struct hold_error err = {0};
    char path[600];
    assert_non_null(g);
    snprintf(g->model, sizeof g->model, "%s", model);
    snprintf(g->adapter, sizeof g->adapter, "%s", adapter);
    snprintf(path, sizeof path, "%s/golden.json", folder);
    assert_ok(hold_json_load(&g->json, path, &err), &err);
    snprintf(path, sizeof path, "%s/golden.safetensors", folder);
    assert_ok(hold_safetensors_open(&g->file, path, &err), &err);
    const json_t *rows = json_object_get(g->json, "rows");
    set_new(&g->set, (int64_t)json_array_size(rows));
    for (int64_t i = 0; i < g->set.n; i++) {
        const json_t *row = json_array_get(rows, (size_t)i), *ids = json_object_get(row, "ids");
        const json_t *weights = json_object_get(row, "target_weight");
        struct hold_example *x = example_new(&g->set, i, (int32_t)json_array_size(ids));
        x->weight = (float)json_number_value(json_object_get(row, "weight"));
        for (int32_t t = 0; t < x->n; t++) {
            x->ids[t] = (int32_t)json_integer_value(json_array_get(ids, (size_t)t));
            x->target_weight[t] = (float)json_number_value(json_array_get(weights, (size_t)t));
        }
    }
    *state = g;
    return 0;
}

static int open_golden(void **state) {
    return open_at(state, ENGINE, FORMATS "/tiny-llama", FORMATS "/tiny-llama-adapter");
}

static void golden_open(const struct golden *g, struct tiny *t, const char *tuning) {
    tiny_open_at(t, g->model, g->adapter, tuning, 1);
}

static int close_golden(void **state) {
    struct golden *g = *state;
    json_decref(g->json);
    hold_safetensors_free(g->file);
    set_release(&g->set);
    free(g);
    return 0;
}

static float *tensor(const struct golden *g, const char *name, int64_t expected) {
    struct hold_error err = {0};
    int64_t n = 0;
    const struct hold_stored *list = hold_safetensors_tensors(g->file, &n);
    const struct hold_stored *t = hold_stored_find(list, n, name);
    if (t == NULL)
        fail_msg("there is no golden tensor %s", name);
    assert_int_equal(hold_stored_count(t), expected);
    float *x = malloc((size_t)expected * sizeof *x);
    assert_non_null(x);
    assert_ok(hold_stored_to_f32(t, 0, expected, x, &err), &err);
    return x;
}

/* --- logits --- */

/* Logits of all tokens of all rows, in one forward pass. */
static float *all_logits(struct tiny *t, const struct hold_set *set, enum hold_layout layout,
                         int64_t *n) {
    const struct hold_example *list[8];
    assert_true(set->n <= COUNT(list));
    for (int64_t i = 0; i < set->n; i++)
        list[i] = &set->example[i];
    return logits_of_rows(t, list, (int32_t)set->n, layout, n);
}

static void expect_logits(const struct golden *g, struct tiny *t, const char *name) {
    int64_t n = 0;
    float *found = all_logits(t, &g->set, HOLD_ROWS, &n);
    float *expected = tensor(g, name, n * t->model.shape.vocab);
    double worst = 0;
    for (int64_t i = 0; i < n * t->model.shape.vocab; i++)
        worst = fmax(worst, fabs((double)found[i] - (double)expected[i]));
    print_message("%s: worst difference %.1e\n", name, worst);
    assert_true(worst < 2e-5); /* a tiny model: a tenth of what the real one may differ */
    free(found);
    free(expected);
}

static void test_logits(void **state) {
    const struct golden *g = *state;
    struct hold_error err = {0};
    struct tiny t;
    golden_open(g, &t, NULL);
    expect_logits(g, &t, "logits/full");
    struct hold_adapter a; /* written by peft */
    assert_ok(hold_adapter_read(&a, g->adapter, &err), &err);
    assert_ok(hold_model_merge(&t.model, &a, NULL, &err), &err);
    expect_logits(g, &t, "logits/lora");
    hold_adapter_release(&a);
    tiny_close(&t);

    golden_open(g, &t, "lora");
    expect_logits(g, &t, "logits/lora");
    assert_ok(hold_model_fold_lora(&t.model, &err), &err);
    expect_logits(g, &t, "logits/lora");
    tiny_close(&t);

    golden_open(g, &t, "lora");
    hold_model_drop_lora(&t.model);
    expect_logits(g, &t, "logits/full");
    tiny_close(&t);

    golden_open(g, &t, "full"); /* no frozen copy of a weight is left */
    int64_t bytes = hold_device_bytes(t.device, NULL);
    assert_true(bytes < t.model.n_flat * 4 + 4096);
    expect_logits(g, &t, "logits/full");
    tiny_close(&t);
}

/* --- adapters written by us --- */

static void test_adapter(void **state) {
    const struct golden *g = *state;
    struct hold_error err = {0};
    struct tiny t;
    char dir[] = "test_model_golden.XXXXXX";
    assert_non_null(mkdtemp(dir));
    golden_open(g, &t, "lora");
    struct hold_adapter a, back;
    assert_ok(hold_model_get_lora(&t.model, &a, &err), &err);
    assert_int_equal(a.n_pairs, 2 * 7);
    assert_string_equal(a.base_hash, t.model.content_id);
    assert_ok(hold_adapter_write(&a, dir, &err), &err);
    hold_adapter_release(&a);
    tiny_close(&t);

    golden_open(g, &t, NULL);
    assert_ok(hold_adapter_read(&back, dir, &err), &err);
    assert_ok(hold_model_merge(&t.model, &back, NULL, &err), &err);
    expect_logits(g, &t, "logits/lora");
    /* One of another base, or for another matrix, is refused and changes nothing. */
    back.base_hash[0] = back.base_hash[0] == 'a' ? 'b' : 'a';
    assert_refused(hold_model_merge(&t.model, &back, NULL, &err), HOLD_EFORMAT, &err,
                   "it was trained on a base with hash");
    expect_logits(g, &t, "logits/lora");
    hold_adapter_release(&back);
    tiny_close(&t);

    golden_open(g, &t, NULL);
    struct hold_lora_config c = {.r = 3, .alpha = 8, .target_modules = "q_proj,down_proj"};
    assert_ok(hold_model_add_lora(&t.model, &c, &err), &err);
    expect_logits(g, &t, "logits/full"); /* B is zero */
    load_adapter(&back);
    assert_refused(hold_model_set_lora(&t.model, &back, &err), HOLD_EFORMAT, &err,
                   "of rank 4, expected 24x24 of rank 3");
    /* Of the same rank, but with modules that are not trained here, or another alpha. */
    hold_model_drop_lora(&t.model);
    c.r = back.r;
    c.alpha = back.alpha;
    assert_ok(hold_model_add_lora(&t.model, &c, &err), &err);
    assert_refused(hold_model_set_lora(&t.model, &back, &err), HOLD_EFORMAT, &err,
                   "is not among the lora_target_modules");
    back.alpha *= 2;
    assert_refused(hold_model_set_lora(&t.model, &back, &err), HOLD_EFORMAT, &err,
                   "adapter: lora_alpha is 16, the training's is 8");
    hold_adapter_release(&back);
    hold_model_drop_lora(&t.model);
    c.target_modules = "q_proj,dwn_proj";
    assert_refused(hold_model_add_lora(&t.model, &c, &err), HOLD_EUSAGE, &err,
                   "'dwn_proj' is not a linear layer (did you mean 'down_proj'?)");
    tiny_close(&t);
    assert_ok(hold_remove_tree(dir, &err), &err);
}

/* --- gradients --- */

struct compare {
    const struct golden *g;
    const float *grad;
    double worst;
    int64_t tensors;
};

static void compare_tensor(struct compare *c, const char *name, int64_t flat, int64_t n) {
    float *expected = tensor(c->g, name, n);
    double off = relative_error(c->grad + flat, expected, n);
    if (!(off < 1e-5)) /* a tenth of what the issue allows */
        fail_msg("%s: the gradient is off by %.2e", name, off);
    c->worst = fmax(c->worst, off);
    c->tensors++;
    free(expected);
}

static int compare_named(void *user, const struct hold_named *named, struct hold_error *err) {
    (void)err;
    char name[160];
    snprintf(name, sizeof name, "full/%s", named->name);
    compare_tensor(user, name, named->flat, named->value.rows * named->value.cols);
    return HOLD_OK;
}

static void compare_lora(struct compare *c, const struct hold_model *m) {
    char name[160];
    for (int64_t l = 0; l < m->shape.n_layers; l++)
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++) {
            const struct hold_linear *lin = &m->layers[l].linear[kind];
            for (int i = 0; i < lin->n_lora; i++) {
                const struct hold_param *p[] = {&lin->lora[i].a, &lin->lora[i].b};
                for (int k = 0; k < 2; k++) {
                    snprintf(name, sizeof name, "lora/model.layers.%d.%s.lora_%c.weight", (int)l,
                             p[k]->name, "AB"[k]);
                    compare_tensor(c, name, p[k]->flat, p[k]->value.rows * p[k]->value.cols);
                }
            }
        }
}

/* Golden tensors whose name begins with "TUNING/". */
static int64_t count_golden(const struct golden *g, const char *tuning) {
    int64_t n = 0, found = 0;
    const struct hold_stored *list = hold_safetensors_tensors(g->file, &n);
    size_t len = strlen(tuning);
    for (int64_t i = 0; i < n; i++)
        found += strncmp(list[i].name, tuning, len) == 0 && list[i].name[len] == '/';
    assert_true(found > 0);
    return found;
}

static void expect_gradients(const struct golden *g, const char *tuning, const char *layout,
                             int64_t micro) {
    struct hold_error err = {0};
    struct tiny t;
    struct bare b;
    golden_open(g, &t, tuning);
    struct hold_train_config c = plain_config();
    c.layout = layout;
    c.micro_batch_tokens = micro;
    bare_open(&b, &t, &g->set, &c);
    struct hold_pass pass = {.examples = &b.all, .buffer = HOLD_GRAD};
    struct hold_pass_result r;
    assert_ok(hold_run_pass(&b.run, &pass, &r, &err), &err);
    char key[32];
    snprintf(key, sizeof key, "loss_%s", tuning);
    double expected = json_number_value(json_object_get(g->json, key));
    assert_true(fabs(r.loss - expected) < 1e-5);
    float *grad = read_flat(&t, b.run.buffers[HOLD_GRAD].data);
    struct compare cmp = {.g = g, .grad = grad};
    if (t.model.lora)
        compare_lora(&cmp, &t.model);
    else
        assert_ok(hold_model_each(&t.model, compare_named, &cmp, &err), &err);
    assert_int_equal(cmp.tensors, count_golden(g, tuning));
    print_message("%s, %s, %d tokens at once: loss off by %.1e, gradients by at most %.1e\n",
                  tuning, layout, (int)micro, fabs(r.loss - expected), cmp.worst);
    free(grad);
    bare_close(&b);
    tiny_close(&t);
}

static void test_gradients(void **state) {
    expect_gradients(*state, "lora", "rows", 1024);
    expect_gradients(*state, "lora", "tree", 1024);
    expect_gradients(*state, "lora", "tree", 16);
    expect_gradients(*state, "full", "rows", 16);
    expect_gradients(*state, "full", "tree", 1024);
}

/* --- training runs --- */

struct watch {
    const json_t *losses, *norms, *rates;
    double worst;
    int64_t steps;
};

static double number(const json_t *list, int64_t i) {
    return json_number_value(json_array_get(list, (size_t)i));
}

static int see_gradient(struct hold_run *run, void *state, struct hold_error *err) {
    (void)err;
    struct watch *w = state;
    int64_t i = hold_run_step(run);
    double expected = number(w->norms, i);
    double norm = hold_buffer_norm(run, HOLD_GRAD);
    if (!(fabs(norm - expected) < 1e-3 * expected))
        fail_msg("step %d: gradient norm %.6f, expected %.6f", (int)i, norm, expected);
    double rate = hold_train_rate(hold_run_config(run), i, hold_run_steps(run));
    assert_true(fabs(rate - number(w->rates, i)) < 1e-12);
    double off = fabs(run->last.loss - number(w->losses, i));
    if (!(off < 1e-4))
        fail_msg("step %d: loss %.8f, expected %.8f", (int)i, run->last.loss, number(w->losses, i));
    w->worst = fmax(w->worst, off);
    w->steps++;
    return HOLD_OK;
}
static const struct hold_hooks WATCH = {.name = "watch", .post = see_gradient};

static void one_run(const struct golden *g, const json_t *want) {
    struct hold_error err = {0};
    struct tiny t;
    struct hold_train_config c = plain_config();
    c.per_device_train_batch_size = 1; /* accumulated: every step sees all rows */
    c.gradient_accumulation_steps = g->set.n;
    c.micro_batch_tokens = 32;
    c.max_steps = json_integer_value(json_object_get(want, "steps"));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)want, key, value) {
        if (hold_options_find(hold_train_options, key) != NULL)
            assert_ok(hold_options_set_json(hold_train_options, &c, key, value, key, &err), &err);
    }
    golden_open(g, &t, c.tuning);
    struct watch w = {.losses = json_object_get(want, "losses"),
                      .norms = json_object_get(want, "norms"),
                      .rates = json_object_get(want, "rates")};
    struct hold_stream_input stream = {.name = "main", .set = &g->set};
    struct hold_hooked method = {&WATCH, &w};
    struct hold_train_input in = {.model = &t.model,
                                  .config = c,
                                  .streams = &stream,
                                  .n_streams = 1,
                                  .methods = &method,
                                  .n_methods = 1};
    struct hold_ctx ctx = {.threads = 1};
    struct hold_train_result r;
    assert_ok(hold_train(&in, &ctx, &r, &err), &err);
    assert_int_equal(w.steps, c.max_steps);
    assert_int_equal(r.steps, c.max_steps);
    assert_true(r.last_loss < r.first_loss);
    print_message("%s: losses off by at most %.1e over %d steps\n",
                  json_string_value(json_object_get(want, "name")), w.worst, (int)w.steps);
    tiny_close(&t);
}

static void test_runs(void **state) {
    const struct golden *g = *state;
    const json_t *runs = json_object_get(g->json, "runs");
    assert_true(json_array_size(runs) >= 2);
    for (size_t i = 0; i < json_array_size(runs); i++)
        one_run(g, json_array_get(runs, i));
}

/* --- families --- */

static const char *const FAMILIES[] = {"llama3", "llama_linear", "mistral",
                                       "qwen2",  "qwen3",        "gemma3"};

static int open_family(void **state, const char *name) {
    char folder[512], adapter[600];
    snprintf(folder, sizeof folder, ENGINE "/families/%s", name);
    snprintf(adapter, sizeof adapter, "%s/adapter", folder);
    return open_at(state, folder, folder, adapter);
}

/* The same model read from GGUF, and from a folder that we wrote. */
static void test_files(void **state) {
    const struct golden *g = *state;
    struct hold_error err = {0};
    struct tiny t;
    struct hold_model_files files;
    char gguf[600], dir[] = "test_model_families.XXXXXX";
    snprintf(gguf, sizeof gguf, "%s/model.gguf", g->model);
    assert_non_null(mkdtemp(dir));
    tiny_open_at(&t, gguf, NULL, NULL, 1);
    expect_logits(g, &t, "logits/full");
    assert_ok(hold_model_files_open(&files, gguf, &err), &err);
    assert_ok(hold_model_write(&t.model, &files, HOLD_ST_F32, dir, &err), &err);
    hold_model_files_release(&files);
    tiny_close(&t);
    tiny_open_at(&t, dir, NULL, NULL, 1);
    expect_logits(g, &t, "logits/full");
    tiny_close(&t);
    assert_ok(hold_remove_tree(dir, &err), &err);
}

/* Greedy decoding with the cache, rows together and one by one. */
static void test_greedy(void **state) {
    const struct golden *g = *state;
    const json_t *greedy = json_object_get(g->json, "greedy");
    struct hold_error err = {0};
    struct hold_ids prompts[8];
    struct hold_generated out[8];
    struct tiny t;
    golden_open(g, &t, NULL);
    t.model.n_eos_ids = 1;
    t.model.eos_ids[0] = -1; /* nothing ends a row early */
    assert_int_equal(json_array_size(greedy), g->set.n);
    for (int64_t i = 0; i < g->set.n; i++) {
        prompts[i] =
            (struct hold_ids){.data = g->set.example[i].ids, .len = (size_t)g->set.example[i].n};
        assert_true(json_number_value(json_object_get(json_array_get(greedy, (size_t)i), "gap")) >
                    1e-4);
    }
    for (int64_t batch = 1; batch <= g->set.n; batch += g->set.n - 1) {
        struct hold_generate_options o = {.max_tokens = 12, .batch = batch};
        assert_ok(hold_generate(&t.model, prompts, g->set.n, &o, NULL, out, &err), &err);
        for (int64_t i = 0; i < g->set.n; i++) {
            const json_t *expected = json_object_get(json_array_get(greedy, (size_t)i), "new");
            assert_int_equal(out[i].n_ids, json_array_size(expected));
            for (int64_t k = 0; k < out[i].n_ids; k++)
                assert_int_equal(out[i].ids[k],
                                 json_integer_value(json_array_get(expected, (size_t)k)));
        }
        hold_generated_free(out, g->set.n);
    }
    tiny_close(&t);
}

static void test_families(void **state) {
    (void)state;
    for (int64_t i = 0; i < COUNT(FAMILIES); i++) {
        void *g = NULL;
        print_message("--- %s\n", FAMILIES[i]);
        open_family(&g, FAMILIES[i]);
        test_logits(&g);
        test_files(&g);
        test_greedy(&g);
        test_gradients(&g);
        test_runs(&g);
        close_golden(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),    cmocka_unit_test(test_adapter),
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_runs),
        cmocka_unit_test(test_families),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
