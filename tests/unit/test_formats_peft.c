/* test_formats_peft.c: LoRA adapters: one written by peft read, ours written and read again, and
 * what is refused. */
#include "test_formats_common.h"

#include <math.h>
#include <sys/stat.h>

#include "formats/hf.h"

#define ADAPTER GOLDEN "tiny-llama-adapter"
static const char ID[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static const struct hold_shape TINY = {.n_layers = 2,
                                       .d_model = 24,
                                       .n_heads = 4,
                                       .n_kv_heads = 2,
                                       .head_dim = 6,
                                       .d_ff = 40,
                                       .vocab = 288,
                                       .max_positions = 128,
                                       .rope_theta = 5e4,
                                       .norm_eps = 1e-5,
                                       .tied = true};

static void test_from_peft(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_adapter a;
    json_t *expected = load_json(GOLDEN "expected.json");
    const json_t *summary = json_object_get(expected, "adapter");
    assert_ok(hold_adapter_read(&a, ADAPTER, &err), &err);
    assert_int_equal(a.r, 4);
    assert_true(a.alpha == 8 && a.dropout == 0.05);
    assert_string_equal(a.base_model, "tiny-llama");
    assert_null(a.base_hash);
    assert_null(a.profile);
    assert_int_equal(a.n_pairs, 14);
    assert_int_equal(2 * (size_t)a.n_pairs, json_object_size(summary));
    for (int64_t i = 0; i < a.n_pairs; i++) {
        const struct hold_lora_pair *p = &a.pairs[i];
        char key[128];
        snprintf(key, sizeof key, "%s.lora_A.weight", p->module);
        assert_summary(json_object_get(summary, key), p->r, p->in, p->a);
        snprintf(key, sizeof key, "%s.lora_B.weight", p->module);
        assert_summary(json_object_get(summary, key), p->out, p->r, p->b);
        assert_true(i == 0 || strcmp(a.pairs[i - 1].module, p->module) < 0);
    }
    assert_ok(hold_adapter_fits(&a, &TINY, ID, "x", &err), &err);
    hold_adapter_release(&a);
    json_decref(expected);
}

static void test_round_trip(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_adapter a, b;
    assert_ok(hold_adapter_read(&a, ADAPTER, &err), &err);
    a.base_hash = hold_strdup(ID);
    a.profile = json_pack("{s:s, s:[i,i]}", "system", "be safe", "list", 1, 2);
    a.alpha = 6.5;
    assert_ok(hold_adapter_write(&a, ".", &err), &err);
    assert_ok(hold_adapter_read(&b, ".", &err), &err);
    assert_int_equal(b.r, a.r);
    assert_true(b.alpha == 6.5 && b.dropout == a.dropout);
    assert_string_equal(b.base_model, a.base_model);
    assert_string_equal(b.base_hash, ID);
    assert_true(json_equal(a.profile, b.profile));
    assert_int_equal(b.n_pairs, a.n_pairs);
    for (int64_t i = 0; i < a.n_pairs; i++) {
        const struct hold_lora_pair *x = &a.pairs[i], *y = &b.pairs[i];
        assert_string_equal(x->module, y->module);
        assert_int_equal(x->in, y->in);
        assert_int_equal(x->out, y->out);
        assert_memory_equal(x->a, y->a, (size_t)(x->r * x->in) * sizeof *x->a);
        assert_memory_equal(x->b, y->b, (size_t)(x->r * x->out) * sizeof *x->b);
    }
    assert_ok(hold_adapter_fits(&b, &TINY, ID, "x", &err), &err);
    hold_adapter_release(&a);
    hold_adapter_release(&b);
}

/* The minimum that peft, vLLM and others ask for, and nothing peft would warn of. */
static void test_config_file(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_adapter a;
    assert_ok(hold_adapter_read(&a, ADAPTER, &err), &err);
    hold_free(a.base_model);
    a.base_model = NULL;
    assert_ok(hold_adapter_write(&a, ".", &err), &err);
    json_t *config = load_json("adapter_config.json");
    json_t *wanted = json_pack(
        "{s:s, s:s, s:n, s:i, s:i, s:f, s:[s,s,s,s,s,s,s], s:s, s:b, s:b, s:b, s:b, s:n, s:b, "
        "s:{}, "
        "s:{}, s:n}",
        "peft_type", "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", "r", 4,
        "lora_alpha", 8, "lora_dropout", 0.05, "target_modules", "down_proj", "gate_proj", "k_proj",
        "o_proj", "q_proj", "up_proj", "v_proj", "bias", "none", "fan_in_fan_out", 0,
        "inference_mode", 1, "use_rslora", 0, "use_dora", 0, "modules_to_save", "init_lora_weights",
        1, "rank_pattern", "alpha_pattern", "revision");
    assert_non_null(wanted);
    assert_true(json_equal(config, wanted));
    json_decref(config);

    /* Not the same layers in each kind of module: full names. */
    struct hold_lora_pair last = a.pairs[a.n_pairs - 1];
    a.n_pairs--;
    assert_ok(hold_adapter_write(&a, ".", &err), &err);
    a.n_pairs++;
    config = load_json("adapter_config.json");
    const json_t *targets = json_object_get(config, "target_modules");
    assert_int_equal(json_array_size(targets), 13);
    for (size_t i = 0; i < 13; i++) {
        const char *name = json_string_value(json_array_get(targets, i));
        assert_string_equal(name, a.pairs[i].module);
        assert_string_not_equal(name, last.module);
    }
    json_decref(config);
    json_decref(wanted);
    hold_adapter_release(&a);
}

static void copy(const char *name) {
    struct hold_error err = {0};
    struct hold_str from = HOLD_STR_INIT;
    hold_path_join(&from, ADAPTER, name);
    assert_ok(hold_copy_file(hold_str_text(&from), name, &err), &err);
    hold_str_release(&from);
}

static void refuse_here(int code, const char *part) {
    struct hold_error err = {0};
    struct hold_adapter a;
    assert_refused(hold_adapter_read(&a, ".", &err), code, &err, part);
    assert_null(a.pairs);
}

static void test_config_refused(void **state) {
    (void)state;
    static const struct {
        const char *key, *value;
        int code;
        const char *part;
    } CASES[] = {
        {"use_dora", "true", HOLD_EUNSUPPORTED, "use_dora is not supported"},
        {"use_rslora", "true", HOLD_EUNSUPPORTED, "use_rslora is not supported"},
        {"rank_pattern", "{\"q_proj\":8}", HOLD_EUNSUPPORTED, "rank_pattern is not supported"},
        {"alpha_pattern", "{\"q_proj\":8}", HOLD_EUNSUPPORTED, "alpha_pattern is not supported"},
        {"modules_to_save", "[\"lm_head\"]", HOLD_EUNSUPPORTED, "modules_to_save is not"},
        {"fan_in_fan_out", "true", HOLD_EUNSUPPORTED, "fan_in_fan_out is not supported"},
        {"layer_replication", "[[0,1]]", HOLD_EUNSUPPORTED, "layer_replication is not"},
        {"trainable_token_indices", "[1]", HOLD_EUNSUPPORTED, "trainable_token_indices is"},
        {"bias", "\"all\"", HOLD_EUNSUPPORTED, "bias \"all\" is not supported"},
        {"peft_type", "\"IA3\"", HOLD_EUNSUPPORTED, "peft_type \"IA3\" is not supported"},
        {"init_lora_weights", "\"pissa\"", HOLD_EUNSUPPORTED, "\"pissa\" is not supported"},
        {"r", "0", HOLD_EFORMAT, "r: found 0"},
        {"r", "-4", HOLD_EFORMAT, "r: found -4"},
        {"r", "9223372036854775807", HOLD_EFORMAT, "r: found 9223372036854775807"},
        {"r", "8", HOLD_EFORMAT, "found A (4, "},
        {"r", "\"4\"", HOLD_EDATA, "r: found"},
        {"lora_alpha", "0", HOLD_EFORMAT, "lora_alpha: found 0"},
        {"lora_alpha", "-1", HOLD_EFORMAT, "lora_alpha: found -1"},
        {"lora_alpha", "1e300", HOLD_EFORMAT, "lora_alpha: found"},
        {"lora_alpha", "null", HOLD_EDATA, "lora_alpha"},
        {"lora_dropout", "1.5", HOLD_EFORMAT, "lora_dropout: found 1.5"},
    };
    copy("adapter_model.safetensors");
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct hold_error err = {0};
        json_t *config = load_json(ADAPTER "/adapter_config.json");
        json_object_set_new(config, CASES[i].key,
                            json_loads(CASES[i].value, JSON_DECODE_ANY, NULL));
        assert_ok(hold_json_save("adapter_config.json", config, &err), &err);
        json_decref(config);
        refuse_here(CASES[i].code, CASES[i].part);
    }
    put_text("adapter_config.json", "{\"lora_alpha\": NaN}");
    refuse_here(HOLD_EDATA, "adapter_config.json:1:");
    put_text("adapter_config.json", "[]");
    refuse_here(HOLD_EFORMAT, "adapter_config.json: not an object");
    assert_int_equal(unlink("adapter_config.json"), 0);
    refuse_here(HOLD_ENOTFOUND, "adapter_config.json");
}

#define KEY(module, factor) "base_model.model." module ".lora_" factor ".weight"
#define Q "model.layers.0.self_attn.q_proj"
static float values[96];

static void put_weights(const struct hold_to_store *list, int64_t n, const char *hash) {
    struct hold_error err = {0};
    json_t *metadata = hash ? json_pack("{s:s}", "holdfast_base", hash) : NULL;
    assert_ok(hold_safetensors_write("adapter_model.safetensors", list, n, metadata, &err), &err);
    json_decref(metadata);
}

static void test_weights_refused(void **state) {
    (void)state;
    const struct hold_to_store a = {KEY(Q, "A"), HOLD_ST_F32, 2, {4, 24}, values},
                               b = {KEY(Q, "B"), HOLD_ST_F32, 2, {24, 4}, values};
    struct hold_to_store list[3] = {a, b};
    copy("adapter_config.json");
    put_weights(list, 2, NULL);
    struct hold_error err = {0};
    struct hold_adapter good;
    assert_ok(hold_adapter_read(&good, ".", &err), &err);
    assert_int_equal(good.n_pairs, 1);
    hold_adapter_release(&good);

    put_weights(list, 0, NULL);
    refuse_here(HOLD_EFORMAT, "no tensors");
    put_weights(list, 1, NULL);
    refuse_here(HOLD_EFORMAT, "its other factor is missing");
    put_weights(&list[1], 1, NULL);
    refuse_here(HOLD_EFORMAT, "its other factor is missing");
    list[1].name = KEY("model.layers.1.self_attn.q_proj", "B");
    put_weights(list, 2, NULL);
    refuse_here(HOLD_EFORMAT, "its other factor is missing");
    list[1] = b;
    static const char *const FOREIGN[] = {
        "base_model.model.lm_head.weight", KEY(Q, "magnitude_vector"),
        "base_model.model.lora_A.weight", "model.layers.0.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias"};
    for (size_t i = 0; i < sizeof FOREIGN / sizeof *FOREIGN; i++) {
        list[2] = a;
        list[2].name = FOREIGN[i];
        put_weights(list, 3, NULL);
        refuse_here(HOLD_EUNSUPPORTED, "is not supported; expected base_model.model.MODULE");
    }
    static const struct hold_to_store SHAPES[] = {
        {KEY(Q, "B"), HOLD_ST_F32, 2, {4, 24}, values},
        {KEY(Q, "B"), HOLD_ST_F32, 1, {96}, values},
        {KEY(Q, "B"), HOLD_ST_F32, 2, {0, 4}, values},
    };
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++) {
        list[1] = SHAPES[i];
        put_weights(list, 2, NULL);
        refuse_here(HOLD_EFORMAT, "expected (4, inputs) and (outputs, 4)");
    }
    list[1] = b;
    list[0].dim[0] = 2;
    list[0].dim[1] = 48;
    put_weights(list, 2, NULL);
    refuse_here(HOLD_EFORMAT, "found A (2, 48) and B (24, 4)");
    list[0] = a;
    values[5] = NAN;
    put_weights(list, 2, NULL);
    refuse_here(HOLD_EFORMAT, "element 5 is not finite");
    values[5] = -INFINITY;
    put_weights(list, 2, NULL);
    refuse_here(HOLD_EFORMAT, "element 5 is not finite");
    values[5] = 0;
    put_weights(list, 2, "../../etc");
    refuse_here(HOLD_EFORMAT, "holdfast_base is not a SHA-256");
    put_text("inference.json", "[1]");
    put_weights(list, 2, NULL);
    refuse_here(HOLD_EFORMAT, "inference.json: not an object");
}

static void test_other_kinds(void **state) {
    (void)state;
    copy("adapter_config.json");
    refuse_here(HOLD_ENOTFOUND, "adapter_model.safetensors");
    put_text("adapter_model.bin", "x");
    refuse_here(HOLD_EFORMAT, "adapter_model.bin: a Python pickle");
    put_bytes("adapter_model.safetensors", "PK\003\004xxxxxxxx", 12);
    refuse_here(HOLD_EFORMAT, "a zip archive");
}

/* Factors in half precision, as some trainers save them. */
static void test_half_factors(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_adapter a;
    values[1] = 1.0F / 3;
    const struct hold_to_store list[] = {{KEY(Q, "A"), HOLD_ST_F16, 2, {4, 24}, values},
                                         {KEY(Q, "B"), HOLD_ST_BF16, 2, {24, 4}, values}};
    copy("adapter_config.json");
    put_weights(list, 2, ID);
    assert_ok(hold_adapter_read(&a, ".", &err), &err);
    assert_true(a.pairs[0].a[1] == hold_f16_to_f32(hold_f32_to_f16(values[1])));
    assert_true(a.pairs[0].b[1] == hold_bf16_to_f32(hold_f32_to_bf16(values[1])));
    assert_string_equal(a.base_hash, ID);
    values[1] = 0;
    hold_adapter_release(&a);
}

static void test_fits(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_adapter a;
    struct hold_shape shape = TINY;
    assert_ok(hold_adapter_read(&a, ADAPTER, &err), &err);
    shape.n_layers = 1;
    assert_refused(hold_adapter_fits(&a, &shape, ID, "dir", &err), HOLD_EDATA, &err,
                   "dir: the model has no linear layer model.layers.1.mlp.down_proj");
    shape = TINY;
    shape.d_ff = 48;
    assert_refused(hold_adapter_fits(&a, &shape, ID, "dir", &err), HOLD_EDATA, &err,
                   "the adapter's layer is (24, 40), the model's (24, 48)");
    shape = TINY;
    a.base_hash = hold_strdup(ID);
    a.base_hash[0] = 'f';
    assert_refused(hold_adapter_fits(&a, &shape, ID, "dir", &err), HOLD_EDATA, &err,
                   "content id f123456789ab, found 0123456789ab");
    hold_free(a.base_hash);
    a.base_hash = NULL;
    static const char *const MODULES[] = {"model.embed_tokens",
                                          "model.norm",
                                          "lm_head",
                                          "model.layers.0",
                                          "model.layers.0.input_layernorm",
                                          "model.layers.0.self_attn.q_pro"};
    for (size_t i = 0; i < sizeof MODULES / sizeof *MODULES; i++) {
        hold_free(a.pairs[0].module);
        a.pairs[0].module = hold_strdup(MODULES[i]);
        assert_refused(hold_adapter_fits(&a, &shape, ID, "dir", &err), HOLD_EDATA, &err,
                       "has no linear layer");
    }
    hold_adapter_release(&a);
}

static void test_no_memory(void **state) {
    (void)state;
    bool read = false, written = false;
    struct hold_error err = {0};
    struct hold_adapter a, b;
    assert_ok(hold_adapter_read(&a, ADAPTER, &err), &err);
    a.profile = json_pack("{s:i}", "x", 1);
    for (int64_t k = 1; !read || !written; k++) {
        hold_mem_fail_at(k);
        int rc = hold_adapter_read(&b, ADAPTER, &err);
        hold_mem_fail_at(0);
        assert_true(rc == HOLD_ENOMEMORY || rc == HOLD_OK);
        read = rc == HOLD_OK;
        hold_adapter_release(&b);
        hold_mem_fail_at(k);
        rc = hold_adapter_write(&a, ".", &err);
        hold_mem_fail_at(0);
        assert_true(rc == HOLD_ENOMEMORY || rc == HOLD_OK);
        written = rc == HOLD_OK;
    }
    assert_ok(hold_adapter_read(&b, ".", &err), &err);
    hold_adapter_release(&b);
    hold_adapter_release(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_from_peft, enter, leave),
        cmocka_unit_test_setup_teardown(test_round_trip, enter, leave),
        cmocka_unit_test_setup_teardown(test_config_file, enter, leave),
        cmocka_unit_test_setup_teardown(test_config_refused, enter, leave),
        cmocka_unit_test_setup_teardown(test_weights_refused, enter, leave),
        cmocka_unit_test_setup_teardown(test_other_kinds, enter, leave),
        cmocka_unit_test_setup_teardown(test_half_factors, enter, leave),
        cmocka_unit_test_setup_teardown(test_fits, enter, leave),
        cmocka_unit_test_setup_teardown(test_no_memory, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
