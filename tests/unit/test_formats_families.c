/* test_formats_families.c: shapes of the families from config.json and back, what of them is
 * refused, and Llama 3's rope scaling from GGUF's divisors. */
#include "test_formats_common.h"

#include "formats/shape.h"

static json_t *family_config(const char *name) {
    char path[512];
    struct hold_error err = {0};
    json_t *config = NULL;
    snprintf(path, sizeof path, HOLD_SOURCE_DIR "/tests/golden/engine/families/%s/config.json",
             name);
    assert_ok(hold_json_load(&config, path, &err), &err);
    return config;
}

/* What a family's own config may not say, and what it means when it says less. */
static void test_families(void **state) {
    (void)state;
    static const struct {
        const char *family, *key, *value;
        int code;
        const char *part;
    } CASES[] = {
        {"llama3", "rope_parameters",
         "{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":4,"
         "\"original_max_position_embeddings\":32}",
         HOLD_EFORMAT, "frequency factors 4 to 4 of 32 positions make no sense"},
        {"mistral", "sliding_window", "0", HOLD_EFORMAT, "sliding_window: found -1"},
        {"qwen2", "use_sliding_window", "true", HOLD_EUNSUPPORTED,
         "use_sliding_window is not supported"},
        {"qwen3", "attention_bias", "true", HOLD_EUNSUPPORTED, "biases (attention_bias)"},
        {"gemma3", "final_logit_softcapping", "30.0", HOLD_EUNSUPPORTED,
         "final_logit_softcapping is not supported"},
        {"gemma3", "attn_logit_softcapping", "50.0", HOLD_EUNSUPPORTED,
         "attn_logit_softcapping is not supported"},
        {"gemma3", "use_bidirectional_attention", "true", HOLD_EUNSUPPORTED,
         "use_bidirectional_attention is not supported"},
        {"gemma3", "hidden_activation", "\"gelu\"", HOLD_EUNSUPPORTED,
         "hidden_activation \"gelu\" is not supported; expected \"gelu_pytorch_tanh\""},
        {"gemma3", "query_pre_attn_scalar", "0", HOLD_EFORMAT, "query_pre_attn_scalar: found 0"},
        {"gemma3", "layer_types", "[\"full_attention\"]", HOLD_EFORMAT,
         "layer_types: 1 items, expected 3"},
        {"gemma3", "layer_types", "[\"sliding_attention\",\"full_attention\",\"full_attention\"]",
         HOLD_EUNSUPPORTED, "\"full_attention\" for layer 3 is not supported"},
        {"gemma3", "layer_types", "[1,2,3]", HOLD_EUNSUPPORTED, "\"(no text)\" for layer 1"},
        {"gemma3", "rope_parameters",
         "{\"full_attention\":{},\"sliding_attention\":{\"rope_type\":\"linear\",\"factor\":2}}",
         HOLD_EUNSUPPORTED, "sliding_attention with a scaling of its own"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct hold_error err = {0};
        struct hold_shape shape;
        json_t *config = family_config(CASES[i].family);
        json_object_set_new(config, CASES[i].key,
                            json_loads(CASES[i].value, JSON_DECODE_ANY, NULL));
        int rc = hold_shape_from_config(&shape, config, "c", &err);
        assert_refused(rc, CASES[i].code, &err, CASES[i].part);
        json_decref(config);
    }
    /* Gemma's published files leave out most of what is the class's default. */
    struct hold_error err = {0};
    struct hold_shape s;
    json_t *config = family_config("gemma3");
    static const char *const KEYS[] = {"layer_types",           "rope_parameters",
                                       "sliding_window",        "tie_word_embeddings",
                                       "query_pre_attn_scalar", "head_dim"};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++)
        json_object_del(config, KEYS[i]);
    assert_ok(hold_shape_from_config(&s, config, "c", &err), &err);
    assert_true(s.tied && s.window == 4096 && s.global_every == 6 && s.head_dim == 256);
    assert_true(s.rope_theta == 1e6 && s.local_theta == 1e4 && s.query_scalar == 256);
    assert_true(hold_shape_slides(&s, 0) && hold_shape_slides(&s, 4) && !hold_shape_slides(&s, 5));
    json_decref(config);
}

/* What is written of a family is read back as the same shape. */
static void test_families_round(void **state) {
    (void)state;
    static const char *const NAMES[] = {"llama3", "llama_linear", "mistral",
                                        "qwen2",  "qwen3",        "gemma3"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        struct hold_error err = {0};
        struct hold_shape s, back;
        json_t *config = family_config(NAMES[i]);
        if (strcmp(NAMES[i], "gemma3") == 0)
            json_object_set_new(config, "query_pre_attn_scalar", json_real(12.5));
        assert_ok(hold_shape_from_config(&s, config, "c", &err), &err);
        json_t *written = hold_shape_to_config(&s, "float32");
        assert_non_null(written);
        assert_ok(hold_shape_from_config(&back, written, "written", &err), &err);
        assert_true(s.family == back.family && s.window == back.window &&
                    s.global_every == back.global_every && s.tied == back.tied);
        assert_true(s.rope.kind == back.rope.kind && s.rope.factor == back.rope.factor &&
                    s.rope.low == back.rope.low && s.rope.high == back.rope.high &&
                    s.rope.original == back.rope.original);
        assert_true(s.rope_theta == back.rope_theta && s.local_theta == back.local_theta &&
                    s.query_scalar == back.query_scalar && s.head_dim == back.head_dim);
        json_decref(written);
        json_decref(config);
    }
}

/* Divisors that no choice of Llama 3's numbers gives are refused. */
static void test_rope_divisors(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_shape s = {.head_dim = 8, .rope_theta = 1e4};
    const float strange[] = {1, 3, 2, 8}, plain[] = {1, 1, 1, 1}, negative[] = {-1, -1, -1, -1};
    assert_refused(hold_shape_rope_from_divisors(&s, strange, "c", &err), HOLD_EUNSUPPORTED, &err,
                   "these divisors are not Llama 3's rope scaling");
    assert_refused(hold_shape_rope_from_divisors(&s, negative, "c", &err), HOLD_EUNSUPPORTED, &err,
                   "these divisors");
    assert_ok(hold_shape_rope_from_divisors(&s, plain, "c", &err), &err);
    float a[4], b[4];
    struct hold_shape bare = {.head_dim = 8, .rope_theta = 1e4};
    hold_shape_inv_freq(&s, false, a);
    hold_shape_inv_freq(&bare, false, b);
    assert_memory_equal(a, b, sizeof a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_families_round),
        cmocka_unit_test(test_rope_divisors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
