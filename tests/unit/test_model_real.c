/* test_model_real.c: the default model (its path in HOLD_TEST_MODEL; skipped without) against
 * PyTorch: logits of 20 chats and gradients of an adapter
 * (tests/golden/engine/make_golden_real.py).
 */
#include "test_train_common.h"

#include "formats/safetensors.h"

/* The bars: logits against transformers in f32 and float64, and a tensor's gradient. */
static const double LOGIT_BAR = 2e-4, GRADIENT_BAR = 1e-4;

struct golden {
    json_t *json;
    struct hold_safetensors *file;
    struct tiny t;
    float *grad; /* of test_gradients, in f32 */
    double loss;
};

static int open_golden(void **state) {
    static struct golden g;
    const char *path = getenv("HOLD_TEST_MODEL");
    struct hold_error err = {0};
    *state = NULL;
    if (path == NULL || *path == '\0')
        return 0;
    assert_ok(hold_json_load(&g.json, ENGINE "/golden_real.json", &err), &err);
    assert_ok(hold_safetensors_open(&g.file, ENGINE "/golden_real.safetensors", &err), &err);
    assert_ok(hold_cpu_new(&g.t.device, 2, NULL, &err), &err);
    assert_ok(hold_model_load(&g.t.model, path, g.t.device, NULL, &err), &err);
    *state = &g;
    return 0;
}

static int close_golden(void **state) {
    struct golden *g = *state;
    if (g == NULL)
        return 0;
    json_decref(g->json);
    free(g->grad);
    hold_safetensors_free(g->file);
    tiny_close(&g->t);
    return 0;
}

static struct golden *golden_or_skip(void **state) {
    if (*state == NULL) {
        print_message("skipped: HOLD_TEST_MODEL names no model\n");
        skip();
    }
    return *state;
}

static float *tensor(const struct golden *g, const char *name, int64_t *n) {
    struct hold_error err = {0};
    int64_t count = 0;
    const struct hold_stored *list = hold_safetensors_tensors(g->file, &count);
    const struct hold_stored *t = hold_stored_find(list, count, name);
    if (t == NULL)
        fail_msg("there is no golden tensor %s", name);
    *n = hold_stored_count(t);
    float *x = malloc((size_t)*n * sizeof *x);
    assert_non_null(x);
    assert_ok(hold_stored_to_f32(t, 0, *n, x, &err), &err);
    return x;
}

static int32_t integer(const json_t *list, int64_t i) {
    return (int32_t)json_integer_value(json_array_get(list, (size_t)i));
}

static void example_of(struct hold_set *s, int64_t i, const json_t *ids, const json_t *weights) {
    struct hold_example *x = example_new(s, i, (int32_t)json_array_size(ids));
    for (int32_t t = 0; t < x->n; t++) {
        x->ids[t] = integer(ids, t);
        if (weights != NULL)
            x->target_weight[t] = (float)json_number_value(json_array_get(weights, (size_t)t));
    }
}

/* --- logits --- */

static float *logits_of(struct tiny *t, const struct hold_example *x) {
    struct hold_error err = {0};
    struct hold_space space;
    struct hold_tape tape;
    struct hold_arena arena;
    struct hold_batch batch;
    struct hold_planned planned;
    hold_space_init(&space, t->device);
    hold_tape_init(&tape, t->device, &space);
    hold_arena_init(&arena, 0);
    assert_ok(hold_batch_build(&batch, &x, 1, HOLD_ROWS, &err), &err);
    assert_ok(hold_model_plan(&batch, &arena, &planned, &err), &err);
    planned.tokens.out_rows = NULL;
    float *out = malloc((size_t)x->n * (size_t)t->model.shape.vocab * sizeof *out);
    assert_non_null(out);
    struct hold_node *h = hold_model_forward(&t->model, &tape, &planned.tokens, NULL, NULL, NULL);
    assert_ok(hold_model_logits(&t->model, &tape, h, out, &err), &err);
    hold_batch_release(&batch);
    hold_tape_release(&tape);
    hold_space_release(&space);
    hold_arena_release(&arena);
    return out;
}

static double log_sum_exp(const float *x, int64_t n) {
    double most = (double)x[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        most = fmax(most, (double)x[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - most);
    return most + log(sum);
}

static void test_logits(void **state) {
    struct golden *g = golden_or_skip(state);
    const json_t *chats = json_object_get(g->json, "chats");
    const json_t *picked = json_object_get(g->json, "picked");
    int64_t n_chats = (int64_t)json_array_size(chats), vocab = g->t.model.shape.vocab;
    int64_t n_exact, n_torch, n_lse;
    float *exact = tensor(g, "exact", &n_exact), *torch = tensor(g, "torch", &n_torch);
    assert_int_equal(n_chats, 20);
    assert_int_equal(n_exact, n_torch);
    int64_t each = n_exact / n_chats;
    double off_exact = 0, off_torch = 0, off_lse = 0;
    for (int64_t i = 0; i < n_chats; i++) {
        struct hold_set s;
        set_new(&s, 1);
        example_of(&s, 0, json_array_get(chats, (size_t)i), NULL);
        float *z = logits_of(&g->t, &s.example[0]);
        const json_t *places = json_array_get(picked, (size_t)i);
        assert_int_equal(json_array_size(places), 2 * each);
        for (int64_t k = 0; k < each; k++) {
            double found = (double)z[integer(places, 2 * k) * vocab + integer(places, 2 * k + 1)];
            off_exact = fmax(off_exact, fabs(found - (double)exact[i * each + k]));
            off_torch = fmax(off_torch, fabs(found - (double)torch[i * each + k]));
        }
        char name[32];
        snprintf(name, sizeof name, "lse/%d", (int)i);
        float *lse = tensor(g, name, &n_lse);
        assert_int_equal(n_lse, s.example[0].n);
        for (int64_t t = 0; t < n_lse; t++)
            off_lse = fmax(off_lse, fabs(log_sum_exp(z + t * vocab, vocab) - (double)lse[t]));
        free(lse);
        free(z);
        set_release(&s);
    }
    print_message(
        "logits are off by at most %.1e of float64 and %.1e of f32, log-sum-exp by %.1e\n",
        off_exact, off_torch, off_lse);
    assert_true(off_exact < LOGIT_BAR);
    assert_true(off_torch < LOGIT_BAR);
    assert_true(off_lse < LOGIT_BAR);
    free(exact);
    free(torch);
}

/* --- gradients --- */

/* The maker's `splitmix`: uniform in [-1, 1). */
static double splitmix(uint64_t i) {
    uint64_t z = (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return 2.0 * ((double)(z >> 11) * 0x1p-53) - 1.0;
}

static void draw(struct hold_device *d, const struct hold_param *p, double scale, uint64_t *at) {
    int64_t n = p->value.rows * p->value.cols;
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(splitmix((*at)++) * scale);
    d->k->write(d, p->value.data, x, n * 4);
    free(x);
}

static void draw_adapter(struct hold_model *m, double b_scale) {
    uint64_t at = 0;
    for (int64_t l = 0; l < m->shape.n_layers; l++)
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++) {
            struct hold_linear *lin = &m->layers[l].linear[kind];
            for (int i = 0; i < lin->n_lora; i++) {
                draw(m->device, &lin->lora[i].a, 1 / sqrt((double)lin->w.value.cols), &at);
                draw(m->device, &lin->lora[i].b, b_scale, &at);
            }
        }
}

struct compare {
    const float *norms, *samples, *grad;
    const json_t *places;
    int64_t i;
    double worst_norm, worst;
};

/* Off over norm, both of the sampled entries. */
static void compare_tensor(struct compare *c, const struct hold_param *p) {
    const json_t *places = json_array_get(c->places, (size_t)c->i);
    int64_t n = (int64_t)json_array_size(places);
    const float *expected = c->samples + c->i * n;
    const float *grad = c->grad + p->flat;
    double norm = 0, off = 0, all = 0;
    for (int64_t i = 0; i < p->value.rows * p->value.cols; i++)
        norm += (double)grad[i] * (double)grad[i];
    for (int64_t k = 0; k < n; k++) {
        double d = (double)grad[integer(places, k)] - (double)expected[k];
        off += d * d;
        all += (double)expected[k] * (double)expected[k];
    }
    double want = (double)c->norms[c->i];
    double of_norm = fabs(sqrt(norm) - want) / want, of_samples = sqrt(off / all);
    if (!(of_norm < GRADIENT_BAR) || !(of_samples < GRADIENT_BAR))
        fail_msg("tensor %d (%s): the norm is off by %.2e, the samples by %.2e", (int)c->i, p->name,
                 of_norm, of_samples);
    c->worst_norm = fmax(c->worst_norm, of_norm);
    c->worst = fmax(c->worst, of_samples);
    c->i++;
}

/* The gradient of the golden rows for the golden adapter, which is added to t's model. */
static float *adapter_gradient(const struct golden *g, struct tiny *t, double *loss) {
    struct hold_error err = {0};
    struct hold_lora_config lora = {.r = json_integer_value(json_object_get(g->json, "rank")),
                                    .alpha = json_number_value(json_object_get(g->json, "alpha")),
                                    .target_modules = "all-linear"};
    assert_ok(hold_model_add_lora(&t->model, &lora, &err), &err);
    draw_adapter(&t->model, json_number_value(json_object_get(g->json, "b_scale")));
    const json_t *rows = json_object_get(g->json, "rows");
    struct hold_set set;
    set_new(&set, (int64_t)json_array_size(rows));
    for (int64_t i = 0; i < set.n; i++) {
        const json_t *row = json_array_get(rows, (size_t)i);
        example_of(&set, i, json_object_get(row, "ids"), json_object_get(row, "target_weight"));
        set.example[i].weight = (float)json_number_value(json_object_get(row, "weight"));
    }
    struct bare b;
    struct hold_train_config c = plain_config();
    bare_open(&b, t, &set, &c);
    struct hold_pass pass = {.examples = &b.all, .buffer = HOLD_GRAD};
    struct hold_pass_result r;
    assert_ok(hold_run_pass(&b.run, &pass, &r, &err), &err);
    *loss = r.loss;
    float *grad = read_flat(t, b.run.buffers[HOLD_GRAD].data);
    bare_close(&b);
    set_release(&set);
    return grad;
}

static void test_gradients(void **state) {
    struct golden *g = golden_or_skip(state);
    struct hold_model *m = &g->t.model;
    double loss;
    float *grad = adapter_gradient(g, &g->t, &loss);
    double off_loss = fabs(loss - json_number_value(json_object_get(g->json, "loss")));
    assert_true(off_loss < 1e-5);
    int64_t n_norms, n_samples;
    float *norms = tensor(g, "grad/norms", &n_norms),
          *samples = tensor(g, "grad/samples", &n_samples);
    struct compare cmp = {.norms = norms,
                          .samples = samples,
                          .grad = grad,
                          .places = json_object_get(g->json, "places")};
    for (int64_t l = 0; l < m->shape.n_layers; l++)
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++)
            for (int i = 0; i < m->layers[l].linear[kind].n_lora; i++) {
                compare_tensor(&cmp, &m->layers[l].linear[kind].lora[i].a);
                compare_tensor(&cmp, &m->layers[l].linear[kind].lora[i].b);
            }
    assert_int_equal(cmp.i, n_norms);
    print_message("loss off by %.1e; of %d gradients norms by at most %.1e, samples by %.1e\n",
                  off_loss, (int)cmp.i, cmp.worst_norm, cmp.worst);
    free(norms);
    free(samples);
    g->grad = grad;
    g->loss = loss;
}

/* --- bf16: against f32, and no worse than PyTorch's autocast (golden_bf16.json) --- */

struct near {
    const json_t *autocast; /* its error of each tensor */
    const float *found, *expected;
    double worst, worst_ratio;
    int64_t n, worse; /* worse: than autocast */
};

static void compare_bf16(struct near *c, int64_t layer, const struct hold_param *p, char factor) {
    char name[160];
    snprintf(name, sizeof name, "model.layers.%d.%s.%c", (int)layer, p->name, factor);
    double off =
        relative_error(c->found + p->flat, c->expected + p->flat, p->value.rows * p->value.cols);
    double theirs = json_number_value(json_object_get(c->autocast, name));
    if (!(off <= 8e-2) || !(theirs > 0))
        fail_msg("%s: the gradient is off by %.2e, PyTorch's by %.2e", name, off, theirs);
    c->worst = fmax(c->worst, off);
    c->worst_ratio = fmax(c->worst_ratio, off / theirs);
    c->worse += off > theirs;
    c->n++;
}

static void test_bf16(void **state) {
    struct golden *g = golden_or_skip(state);
    struct hold_error err = {0};
    json_t *json = NULL;
    struct tiny t;
    double loss;
    assert_non_null(g->grad); /* of the test before */
    assert_ok(hold_json_load(&json, ENGINE "/golden_bf16.json", &err), &err);
    const json_t *golden = json_object_get(json, "real");
    tiny_open_as(&t, getenv("HOLD_TEST_MODEL"), NULL, NULL, 2, NULL, "bf16");
    float *found = adapter_gradient(g, &t, &loss);
    int64_t n = t.model.n_flat;
    double off = relative_error(found, g->grad, n), near = 0, a = 0, b = 0;
    for (int64_t i = 0; i < n; i++) {
        near += (double)found[i] * (double)g->grad[i];
        a += (double)found[i] * (double)found[i];
        b += (double)g->grad[i] * (double)g->grad[i];
    }
    near /= sqrt(a * b);
    print_message("bf16 by %s: loss %.5f, in f32 %.5f; gradient off by %.2e (autocast %.2e), "
                  "cosine %.6f\n",
                  hold_device_bf16_unit(t.device), loss, g->loss, off,
                  json_number_value(json_object_get(golden, "whole")), near);
    assert_true(fabs(loss - g->loss) <= 0.01 * g->loss);
    assert_true(near >= 0.999);
    assert_true(off <= 3e-2);
    assert_true(off <= json_number_value(json_object_get(golden, "whole")));
    struct near c = {
        .autocast = json_object_get(golden, "tensors"), .found = found, .expected = g->grad};
    for (int64_t l = 0; l < t.model.shape.n_layers; l++)
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++)
            for (int i = 0; i < t.model.layers[l].linear[kind].n_lora; i++) {
                const struct hold_lora *p = &t.model.layers[l].linear[kind].lora[i];
                compare_bf16(&c, l, &p->a, 'a');
                compare_bf16(&c, l, &p->b, 'b');
            }
    print_message("a tensor is off by at most %.2e; %d of %d are worse than autocast's, by at most "
                  "%.2f times\n",
                  c.worst, (int)c.worse, (int)c.n, c.worst_ratio);
    assert_int_equal(c.n, json_object_size(c.autocast));
    assert_int_equal(c.worse, 0);
    free(found);
    tiny_close(&t);
    json_decref(json);
}

/* The file's blocks of 4 and 8 bits, read in products of few rows: every matrix has them, and
 * hidden states keep their bytes. */
static void test_levels(void **state) {
    struct golden *g = golden_or_skip(state);
    struct hold_model *m = &g->t.model;
    enum { N = 5 };
    static const int32_t ids[N] = {1, 4093, 198, 2683, 359}, positions[N] = {0, 1, 2, 3, 4};
    static const int32_t tree_first[2] = {0, 1};
    static const struct hold_query_run run = {0, N, 0, 1};
    static const struct hold_span span = {0, N};
    struct hold_tokens tokens = {.n = N,
                                 .ids = ids,
                                 .positions = positions,
                                 .n_runs = 1,
                                 .n_spans = 1,
                                 .n_trees = 1,
                                 .runs = &run,
                                 .spans = &span,
                                 .tree_first = tree_first,
                                 .n_keys = N};
    struct hold_error err = {0};
    float *out[2];
    int64_t n = 0;
    for (int i = 0; i < 2; i++) {
        struct hold_space space;
        struct hold_tape tape;
        hold_space_init(&space, m->device);
        hold_tape_init(&tape, m->device, &space);
        out[i] = malloc((size_t)(N * m->shape.vocab) * sizeof **out);
        struct hold_node *h = hold_model_forward(m, &tape, &tokens, NULL, NULL, NULL);
        assert_ok(hold_model_logits(m, &tape, h, out[i], &err), &err);
        hold_tape_release(&tape);
        hold_space_release(&space);
        if (i == 0)
            assert_ok(hold_model_read_levels(m, &n, &err), &err);
    }
    assert_int_equal(n, m->shape.n_layers * HOLD_LINEAR_KINDS + 1);
    assert_memory_equal(out[0], out[1], (size_t)(N * m->shape.vocab) * sizeof **out);
    free(out[0]);
    free(out[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_gradients), /* it adds an adapter */
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
