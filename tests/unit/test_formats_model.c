/* test_formats_model.c: whole models: a transformers folder and the same model as GGUF, what is
 * refused of both, content ids, and folders written by us. */
#include "test_formats_common.h"

#include <math.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "formats/hf.h"

#define TINY GOLDEN "tiny-llama"
#define TINY_GGUF GOLDEN "tiny-llama.gguf"

/* Tensor i as f32 in Hugging Face's order of rows; free() it. */
static float *values_of(const struct hold_model_files *f, int64_t i) {
    struct hold_error err = {0};
    const struct hold_stored *t = &f->tensors[i];
    int64_t n = hold_stored_count(t), head = f->shape.head_dim;
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    assert_ok(hold_stored_to_f32(t, 0, n, x, &err), &err);
    if (f->permuted_qk && (strstr(t->name, "q_proj") || strstr(t->name, "k_proj"))) {
        float *scratch = malloc((size_t)(head * t->dim[1]) * sizeof *scratch);
        hold_unpermute_rows(x, t->dim[0] / head, head, t->dim[1], scratch);
        free(scratch);
    }
    return x;
}

static void assert_same_values(const struct hold_model_files *a, const struct hold_model_files *b) {
    assert_int_equal(a->n_tensors, b->n_tensors);
    for (int64_t i = 0; i < a->n_tensors; i++) {
        assert_string_equal(a->tensors[i].name, b->tensors[i].name);
        float *x = values_of(a, i), *y = values_of(b, i);
        assert_memory_equal(x, y, (size_t)hold_stored_count(&a->tensors[i]) * sizeof *x);
        free(x);
        free(y);
    }
}

static void assert_ids(const struct hold_model_files *f, const char *text, const json_t *expected) {
    struct hold_error err = {0};
    struct hold_ids ids = {0};
    assert_ok(hold_tokenizer_encode(f->tokenizer, text, strlen(text), true, &ids, &err), &err);
    assert_int_equal(ids.len, json_array_size(expected));
    for (size_t i = 0; i < ids.len; i++) {
        assert_int_equal(ids.data[i], json_integer_value(json_array_get(expected, i)));
    }
    hold_ids_release(&ids);
}

static void assert_tiny(const struct hold_model_files *f) {
    const struct hold_shape *s = &f->shape;
    assert_true(s->n_layers == 2 && s->d_model == 24 && s->n_heads == 4 && s->n_kv_heads == 2);
    assert_true(s->head_dim == 6 && s->d_ff == 40 && s->vocab == 288 && s->max_positions == 128);
    assert_true(s->rope_theta == 50000 && s->tied);
    assert_true(fabs(s->norm_eps - 1e-5) < 1e-12);
    assert_string_equal(f->bos_token, "<|im_start|>");
    assert_string_equal(f->eos_token, "<|im_end|>");
    assert_int_equal(f->n_eos_ids, 1);
    assert_int_equal(f->eos_ids[0], 2);
    assert_true(hold_starts(f->chat_template, "{% for message in messages %}"));
    assert_true(hold_ends(f->chat_template, "{% endif %}"));
    assert_int_equal(strlen(f->content_id), 64);
    assert_int_equal(f->n_tensors, 20);
}

static void test_folder(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_model_files f;
    json_t *expected = load_json(GOLDEN "expected.json");
    assert_ok(hold_model_files_open(&f, TINY, &err), &err);
    assert_tiny(&f);
    assert_false(f.permuted_qk);
    const json_t *model = json_object_get(expected, "model");
    assert_int_equal(json_object_size(model), 20);
    for (int64_t i = 0; i < f.n_tensors; i++) {
        float *x = values_of(&f, i);
        assert_summary(json_object_get(model, f.tensors[i].name), f.tensors[i].dim[0],
                       f.tensors[i].dim[1], x);
        free(x);
    }
    assert_ids(&f, json_string_value(json_object_get(expected, "text")),
               json_object_get(expected, "ids"));
    hold_model_files_release(&f);
    json_decref(expected);
}

/* The gguf package's file, q and k permuted, gives the same numbers bit for bit. */
static void test_gguf_equals_folder(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_model_files f, g;
    json_t *expected = load_json(GOLDEN "expected.json");
    assert_ok(hold_model_files_open(&f, TINY, &err), &err);
    assert_ok(hold_model_files_open(&g, TINY_GGUF, &err), &err);
    assert_tiny(&g);
    assert_true(g.permuted_qk);
    assert_same_values(&f, &g);
    assert_string_equal(f.chat_template, g.chat_template);
    assert_string_not_equal(f.content_id, g.content_id);
    assert_ids(&g, json_string_value(json_object_get(expected, "text")),
               json_object_get(expected, "ids"));
    hold_model_files_release(&f);
    hold_model_files_release(&g);
    json_decref(expected);
}

static void test_unpermute(void **state) {
    (void)state;
    /* Two heads of 4 rows and 1 column; GGUF keeps row i beside row i + 2. */
    float w[8] = {0, 2, 1, 3, 10, 12, 11, 13}, scratch[4];
    const float expected[8] = {0, 1, 2, 3, 10, 11, 12, 13};
    hold_unpermute_rows(w, 2, 4, 1, scratch);
    assert_memory_equal(w, expected, sizeof w);
}

/* ---- damaged folders ---- */

static const char *const FILES[] = {"config.json",           "generation_config.json",
                                    "model.safetensors",     "tokenizer.json",
                                    "tokenizer_config.json", "chat_template.jinja"};

static void copy_file(const char *name) {
    struct hold_error err = {0};
    char from[4096], to[64];
    snprintf(from, sizeof from, "%s/%s", TINY, name);
    snprintf(to, sizeof to, "m/%s", name);
    assert_ok(hold_copy_file(from, to, &err), &err);
}

/* A fresh copy of the tiny model in "m". */
static void copy_tiny(void) {
    struct hold_error err = {0};
    if (hold_is_dir("m")) {
        assert_ok(hold_remove_tree("m", &err), &err);
    }
    assert_int_equal(mkdir("m", 0755), 0);
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        copy_file(FILES[i]);
    }
}

/* Set one key of a JSON file of "m" to a value's text; NULL removes it. */
static void set_key(const char *path, const char *key, const char *value) {
    struct hold_error err = {0};
    struct hold_str text = HOLD_STR_INIT;
    json_error_t at;
    assert_ok(hold_file_read(path, 0, &text, &err), &err);
    json_t *object = json_loads(text.data, JSON_DECODE_INT_AS_REAL, &at);
    json_t *plain = json_loads(text.data, 0, &at); /* NULL for tokenizer_config.json's 10^30 */
    json_t *use = plain ? plain : object;
    assert_non_null(use);
    if (value) {
        json_object_set_new(use, key, json_loads(value, JSON_DECODE_ANY, NULL));
    } else {
        json_object_del(use, key);
    }
    assert_ok(hold_json_save(path, use, &err), &err);
    json_decref(object);
    json_decref(plain);
    hold_str_release(&text);
}

static void refuse(const char *path, int code, const char *part) {
    struct hold_error err = {0};
    struct hold_model_files f;
    int rc = hold_model_files_open(&f, path, &err);
    assert_refused(rc, code, &err, part);
    assert_null(f.tensors);
}

static void test_config_refused(void **state) {
    (void)state;
    static const struct {
        const char *key, *value;
        int code;
        const char *part;
    } CASES[] = {
        {"model_type", "\"mamba\"", HOLD_EUNSUPPORTED,
         "model_type \"mamba\" is not supported; expected llama, mistral, qwen2, qwen3 or "
         "gemma3_text"},
        {"model_type", "\"qwen2\"", HOLD_EUNSUPPORTED, "expected Qwen2ForCausalLM"},
        {"model_type", NULL, HOLD_EUNSUPPORTED, "model_type \"(missing)\""},
        {"architectures", "[\"LlamaForSequenceClassification\"]", HOLD_EUNSUPPORTED,
         "architecture LlamaForSequenceClassification"},
        {"rope_parameters", "{\"rope_type\":\"llama3\",\"factor\":8}", HOLD_EDATA,
         "low_freq_factor"},
        {"rope_parameters", "{\"rope_type\":\"yarn\",\"factor\":8}", HOLD_EUNSUPPORTED,
         "rope scaling \"yarn\" is not supported"},
        {"rope_scaling", "{\"type\":\"dynamic\",\"factor\":2}", HOLD_EUNSUPPORTED,
         "rope scaling \"dynamic\" is not supported"},
        {"rope_scaling", "{\"type\":\"linear\",\"factor\":0.5}", HOLD_EFORMAT,
         "rope scaling: a factor of 0.5, expected 1 or more"},
        {"rope_scaling", "5", HOLD_EFORMAT, "rope_scaling: not an object"},
        {"attention_bias", "true", HOLD_EUNSUPPORTED, "biases (attention_bias)"},
        {"mlp_bias", "true", HOLD_EUNSUPPORTED, "biases (mlp_bias)"},
        {"sliding_window", "4096", HOLD_EUNSUPPORTED, "sliding_window is not supported"},
        {"quantization_config", "{\"bits\":4}", HOLD_EUNSUPPORTED, "quantization_config is not"},
        {"hidden_act", "\"gelu\"", HOLD_EUNSUPPORTED, "hidden_act \"gelu\" is not supported"},
        {"partial_rotary_factor", "0.5", HOLD_EUNSUPPORTED, "partial_rotary_factor 0.5"},
        {"num_attention_heads", "0", HOLD_EFORMAT, "num_attention_heads: found 0, expected 1"},
        {"num_key_value_heads", "0", HOLD_EFORMAT, "num_key_value_heads: found 0"},
        {"num_key_value_heads", "3", HOLD_EFORMAT, "a divisor of the 4 heads"},
        {"num_hidden_layers", "2147483648", HOLD_EFORMAT, "num_hidden_layers: found 2147483648"},
        {"num_hidden_layers", "1000", HOLD_EFORMAT, "20 tensors, expected 9002 for 1000 layers"},
        {"num_hidden_layers", "-1", HOLD_EFORMAT, "num_hidden_layers: found -1"},
        {"num_hidden_layers", "1", HOLD_EUNSUPPORTED, "this tensor is not supported"},
        {"hidden_size", "9223372036854775807", HOLD_EFORMAT, "hidden_size: found 9223"},
        {"hidden_size", "\"24\"", HOLD_EDATA, "hidden_size: found"},
        {"hidden_size", NULL, HOLD_EDATA, "hidden_size"},
        {"head_dim", "5", HOLD_EFORMAT, "head_dim: found 5, expected an even number"},
        {"head_dim", "0", HOLD_EFORMAT, "head_dim: found 0"},
        {"hidden_size", "26", HOLD_EFORMAT, "found shape (288, 24), expected (288, 26)"},
        {"vocab_size", "287", HOLD_EFORMAT,
         "tensor model.embed_tokens.weight: found shape (288, 24), expected (287, 24)"},
        {"vocab_size", "0", HOLD_EFORMAT, "vocab_size: found 0"},
        {"intermediate_size", "41", HOLD_EFORMAT, "gate_proj.weight: found shape (40, 24)"},
        {"max_position_embeddings", "0", HOLD_EFORMAT, "max_position_embeddings: found 0"},
        {"rope_parameters", "{\"rope_theta\":0}", HOLD_EFORMAT, "rope_theta: found 0"},
        {"rope_parameters", "{\"rope_theta\":-1e4}", HOLD_EFORMAT, "rope_theta: found -10000"},
        {"rope_parameters", "{\"rope_theta\":1e300}", HOLD_EFORMAT, "rope_theta: found 1e+300"},
        {"rms_norm_eps", "0", HOLD_EFORMAT, "rms_norm_eps: found 0"},
        {"rms_norm_eps", "-1e-5", HOLD_EFORMAT, "rms_norm_eps: found -1e-05"},
        {"tie_word_embeddings", "false", HOLD_EFORMAT, "20 tensors, expected 21"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        copy_tiny();
        set_key("m/config.json", CASES[i].key, CASES[i].value);
        refuse("m", CASES[i].code, CASES[i].part);
    }
    /* What is found in a vocabulary is told with the model. */
    copy_tiny();
    set_key("m/tokenizer.json", "normalizer", "{\"type\":\"Nmt\"}");
    refuse("m", HOLD_EUNSUPPORTED, "m: normalizer Nmt is not supported");
    put_text("m/config.json", "{\"rope_theta\": NaN}");
    refuse("m", HOLD_EDATA, "m/config.json:1:");
    put_text("m/config.json", "[]");
    refuse("m", HOLD_EFORMAT, "m/config.json: not an object");
}

/* A token that was added beyond the embedding does no harm until a text has it, as Gemma 3's
 * placeholder of images. */
static void test_added_beyond(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_model_files f;
    struct hold_ids ids = {0};
    struct hold_str text = HOLD_STR_INIT;
    json_error_t at;
    copy_tiny();
    assert_ok(hold_file_read("m/tokenizer.json", 0, &text, &err), &err);
    json_t *tokenizer = json_loads(text.data, 0, &at);
    json_t *added = json_object_get(tokenizer, "added_tokens");
    json_array_append_new(added, json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", 288, "content",
                                           "<image>", "single_word", 0, "lstrip", 0, "rstrip", 0,
                                           "normalized", 0, "special", 1));
    assert_ok(hold_json_save("m/tokenizer.json", tokenizer, &err), &err);
    assert_ok(hold_model_files_open(&f, "m", &err), &err);
    assert_int_equal(hold_tokenizer_size(f.tokenizer), 289);
    assert_int_equal(hold_tokenizer_own_size(f.tokenizer), 288);
    assert_ok(hold_tokenizer_encode(f.tokenizer, "an <image>", 10, false, &ids, &err), &err);
    assert_refused(hold_tokenizer_encode(f.tokenizer, "an <image>", 10, true, &ids, &err),
                   HOLD_EDATA, &err, "token '<image>' has id 288, but the embedding 288 rows");
    hold_model_files_release(&f);
    /* Every text is to begin with it. */
    set_key("m/tokenizer_config.json", "bos_token", "\"<image>\"");
    set_key("m/tokenizer_config.json", "add_bos_token", "true");
    refuse("m", HOLD_EFORMAT, "begin or end with token 288, but the embedding has 288 rows");
    copy_tiny();
    /* A piece of the vocabulary itself. */
    json_object_set_new(json_object_get(json_object_get(tokenizer, "model"), "vocab"), "zq",
                        json_integer(288));
    json_array_remove(added, json_array_size(added) - 1);
    assert_ok(hold_json_save("m/tokenizer.json", tokenizer, &err), &err);
    refuse("m", HOLD_EFORMAT, "the tokenizer has 289 pieces, but the embedding 288 rows");
    json_decref(tokenizer);
    hold_ids_release(&ids);
    hold_str_release(&text);
}

static void test_config_defaults(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_model_files f;
    copy_tiny();
    /* transformers 4 has rope_theta at the top and rope_scaling null. */
    set_key("m/config.json", "rope_parameters", NULL);
    set_key("m/config.json", "rope_theta", "1234.5");
    set_key("m/config.json", "rope_scaling", "null");
    set_key("m/config.json", "head_dim", NULL);
    set_key("m/config.json", "max_position_embeddings", NULL);
    set_key("m/config.json", "rms_norm_eps", NULL);
    assert_ok(hold_model_files_open(&f, "m", &err), &err);
    assert_true(f.shape.rope_theta == 1234.5 && f.shape.norm_eps == 1e-6);
    assert_true(f.shape.head_dim == 6 && f.shape.max_positions == 2048);
    hold_model_files_release(&f);
    set_key("m/config.json", "num_key_value_heads", NULL); /* as many as heads */
    refuse("m", HOLD_EFORMAT, "k_proj.weight: found shape (12, 24), expected (24, 24)");
}

/* Write the tiny model's tensors into "m" with `drop` left out and `more` put behind. */
static void put_tensors(const struct hold_model_files *f, int64_t drop,
                        const struct hold_to_store *more) {
    struct hold_error err = {0};
    struct hold_to_store list[32];
    int64_t n = 0;
    for (int64_t i = 0; i < f->n_tensors; i++) {
        const struct hold_stored *t = &f->tensors[i];
        if (i != drop) {
            list[n++] = (struct hold_to_store){
                t->name, t->type, t->n_dims, {t->dim[0], t->dim[1], 1, 1}, t->data};
        }
    }
    if (more) {
        list[n++] = *more;
    }
    assert_ok(hold_safetensors_write("m/model.safetensors", list, n, NULL, &err), &err);
}

static void test_tensors(void **state) {
    (void)state;
    static float zeros[288 * 24];
    static const struct {
        const char *name, *part;
    } EXTRA[] = {
        {"model.layers.0.self_attn.q_proj.bias", "q_proj.bias: a bias is not supported"},
        {"model.layers.1.self_attn.q_norm.weight", "a norm of queries and keys is not supported"},
        {"model.layers.0.mlp.experts.0.w1.weight", "a mixture of experts is not supported"},
        {"score.weight", "tensor score.weight: this tensor is not supported"},
        {"model.layers.2.input_layernorm.weight", "this tensor is not supported"},
    };
    struct hold_error err = {0};
    struct hold_model_files f, g;
    assert_ok(hold_model_files_open(&f, TINY, &err), &err);
    copy_tiny();
    put_tensors(&f, 7, NULL);
    refuse("m", HOLD_EFORMAT, "19 tensors, expected 20");
    struct hold_to_store more = {"x", HOLD_ST_F32, 1, {24}, zeros};
    put_tensors(&f, 7, &more);
    refuse("m", HOLD_EFORMAT, "tensor model.layers.0.mlp.gate_proj.weight is missing");
    more.name = f.tensors[7].name;
    more.n_dims = 2;
    more.dim[0] = 24;
    more.dim[1] = 40;
    put_tensors(&f, 7, &more);
    refuse("m", HOLD_EFORMAT, "gate_proj.weight: found shape (24, 40), expected (40, 24)");
    more.type = HOLD_ST_I32;
    put_tensors(&f, 7, &more);
    refuse("m", HOLD_EFORMAT, "gate_proj.weight: found type I32, expected real numbers");
    for (size_t i = 0; i < sizeof EXTRA / sizeof *EXTRA; i++) {
        more = (struct hold_to_store){EXTRA[i].name, HOLD_ST_F32, 1, {24}, zeros};
        put_tensors(&f, -1, &more);
        refuse("m", HOLD_EUNSUPPORTED, EXTRA[i].part);
    }
    /* Passed over: an old buffer, and a tied head that is the embedding. */
    more = (struct hold_to_store){
        "model.layers.0.self_attn.rotary_emb.inv_freq", HOLD_ST_F32, 1, {3}, zeros};
    put_tensors(&f, -1, &more);
    assert_ok(hold_model_files_open(&g, "m", &err), &err);
    hold_model_files_release(&g);
    more = (struct hold_to_store){"lm_head.weight", HOLD_ST_F32, 2, {288, 24}, f.tensors[0].data};
    put_tensors(&f, -1, &more);
    assert_ok(hold_model_files_open(&g, "m", &err), &err);
    assert_int_equal(g.n_tensors, 20);
    hold_model_files_release(&g);
    more.data = zeros;
    put_tensors(&f, -1, &more);
    refuse("m", HOLD_EFORMAT, "lm_head.weight differs from the embedding");
    /* Not tied: the head counts. */
    set_key("m/config.json", "tie_word_embeddings", "false");
    assert_ok(hold_model_files_open(&g, "m", &err), &err);
    assert_int_equal(g.n_tensors, 21);
    assert_string_equal(g.tensors[20].name, "lm_head.weight");
    assert_false(g.shape.tied);
    hold_model_files_release(&g);
    hold_model_files_release(&f);
}

/* ---- templates and tokens ---- */

static void test_template_places(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_model_files f;
    copy_tiny();
    set_key("m/tokenizer_config.json", "chat_template", "\"other\"");
    assert_ok(hold_model_files_open(&f, "m", &err), &err);
    assert_true(hold_starts(f.chat_template, "{% for")); /* the file goes first */
    hold_model_files_release(&f);
    assert_int_equal(unlink("m/chat_template.jinja"), 0);
    assert_ok(hold_model_files_open(&f, "m", &err), &err);
    assert_string_equal(f.chat_template, "other");
    hold_model_files_release(&f);
    set_key(
        "m/tokenizer_config.json", "chat_template",
        "[{\"name\":\"tool_use\",\"template\":\"t\"},{\"name\":\"default\",\"template\":\"d\"}]");
    assert_ok(hold_model_files_open(&f, "m", &err), &err);
    assert_string_equal(f.chat_template, "d");
    hold_model_files_release(&f);
    set_key("m/tokenizer_config.json", "chat_template",
            "[{\"name\":\"tool_use\",\"template\":\"t\"}]");
    refuse("m", HOLD_EFORMAT, "no list with a template named \"default\"");
    set_key("m/tokenizer_config.json", "chat_template", NULL);
    assert_ok(hold_model_files_open(&f, "m", &err), &err);
    assert_null(f.chat_template);
    put_text("m/chat_template.json", "{\"chat_template\":\"of a processor\"}");
    char without[65];
    memcpy(without, f.content_id, sizeof without);
    hold_model_files_release(&f);
    assert_ok(hold_model_files_open(&f, "m", &err), &err);
    assert_string_equal(f.chat_template, "of a processor");
    assert_string_not_equal(f.content_id, without); /* what is read is hashed */
    hold_model_files_release(&f);
    set_key("m/tokenizer_config.json", "chat_template", "\"other\"");
    assert_ok(hold_model_files_open(&f, "m", &err), &err);
    assert_string_equal(f.chat_template, "other");
    hold_model_files_release(&f);
    set_key("m/tokenizer_config.json", "chat_template", NULL);
    put_text("m/chat_template.json", "{\"chat_template\":7}");
    refuse("m", HOLD_EFORMAT, "m/chat_template.json: chat_template: no string");
    put_text("m/chat_template.json", "[");
    refuse("m", HOLD_EDATA, "m/chat_template.json:1:1");
    assert_int_equal(unlink("m/chat_template.json"), 0);
    put_bytes("m/chat_template.jinja", "a\xFF", 2);
    refuse("m", HOLD_EFORMAT, "chat_template.jinja: not UTF-8 text");
    put_bytes("m/chat_template.jinja", "a\0b", 3);
    refuse("m", HOLD_EFORMAT, "chat_template.jinja: not UTF-8 text");
}

static void test_tokens(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_model_files f;
    copy_tiny();
    set_key("m/generation_config.json", "eos_token_id", "[2,0,2]");
    assert_ok(hold_model_files_open(&f, "m", &err), &err);
    assert_int_equal(f.n_eos_ids, 2);
    assert_int_equal(f.eos_ids[1], 0);
    hold_model_files_release(&f);
    set_key("m/generation_config.json", "eos_token_id", "288");
    refuse("m", HOLD_EFORMAT, "eos_token_id: found 288, expected a token id below 288");
    set_key("m/generation_config.json", "eos_token_id", "[1,2,3,4,5,6,7,8,9]");
    refuse("m", HOLD_EUNSUPPORTED, "more than 8 ids");
    set_key("m/generation_config.json", "eos_token_id", "\"2\"");
    refuse("m", HOLD_EFORMAT, "eos_token_id: not an integer");
    assert_int_equal(unlink("m/generation_config.json"), 0);
    set_key("m/config.json", "eos_token_id", "1");
    assert_ok(hold_model_files_open(&f, "m", &err), &err);
    assert_int_equal(f.eos_ids[0], 1);
    hold_model_files_release(&f);
    set_key("m/config.json", "eos_token_id", NULL);
    set_key("m/tokenizer_config.json", "eos_token", "{\"content\":\"<|endoftext|>\"}");
    set_key("m/tokenizer_config.json", "bos_token", NULL);
    put_text("m/special_tokens_map.json", "{\"bos_token\":\"<|endoftext|>\"}");
    assert_ok(hold_model_files_open(&f, "m", &err), &err);
    assert_string_equal(f.eos_token, "<|endoftext|>");
    assert_string_equal(f.bos_token, "<|endoftext|>");
    assert_int_equal(f.n_eos_ids, 1);
    assert_int_equal(f.eos_ids[0], 0);
    hold_model_files_release(&f);
}

/* What a folder asks to add to a text on its own. */
static void test_adds(void **state) {
    (void)state;
#define TEMPLATE(single) "{\"type\":\"TemplateProcessing\",\"single\":[" single "]}"
#define SPECIAL "{\"SpecialToken\":{\"id\":\"<|im_start|>\",\"type_id\":0}}"
#define BODY "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
    static const struct {
        const char *processor, *add_bos, *add_eos;
        bool bos, eos;
    } CASES[] = {
        {"null", NULL, NULL, false, false},
        {TEMPLATE(BODY), NULL, NULL, false, false},
        {TEMPLATE(SPECIAL "," BODY), NULL, NULL, true, false},
        {TEMPLATE(SPECIAL "," BODY "," SPECIAL), NULL, "false", true, false},
        {"{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"}," TEMPLATE(
             BODY "," SPECIAL) "]}",
         NULL, NULL, false, true},
        {"null", "true", "null", true, false},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct hold_error err = {0};
        struct hold_model_files f;
        copy_tiny();
        set_key("m/tokenizer.json", "post_processor", CASES[i].processor);
        set_key("m/tokenizer_config.json", "add_bos_token", CASES[i].add_bos);
        set_key("m/tokenizer_config.json", "add_eos_token", CASES[i].add_eos);
        if (i == 0) { /* a folder may lack it */
            assert_int_equal(unlink("m/tokenizer_config.json"), 0);
        }
        assert_ok(hold_model_files_open(&f, "m", &err), &err);
        assert_true(hold_tokenizer_adds_bos(f.tokenizer) == CASES[i].bos &&
                    hold_tokenizer_adds_eos(f.tokenizer) == CASES[i].eos);
        hold_model_files_release(&f);
    }
}

static void test_content_id(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_model_files f, g;
    struct hold_str text = HOLD_STR_INIT;
    assert_ok(hold_model_files_open(&f, TINY, &err), &err);
    copy_tiny();
    assert_ok(hold_model_files_open(&g, "m", &err), &err);
    assert_string_equal(f.content_id, g.content_id); /* where it lies does not matter */
    hold_model_files_release(&g);
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char path[64];
        copy_tiny();
        snprintf(path, sizeof path, "m/%s", FILES[i]);
        hold_str_clear(&text);
        assert_ok(hold_file_read(path, 0, &text, &err), &err);
        if (strcmp(FILES[i], "model.safetensors") == 0) {
            text.data[text.len - 1] ^= 1;
        } else {
            hold_str_add(&text, " ");
        }
        put_bytes(path, text.data, text.len);
        assert_ok(hold_model_files_open(&g, "m", &err), &err);
        assert_string_not_equal(f.content_id, g.content_id);
        hold_model_files_release(&g);
    }
    hold_model_files_release(&f);
    char hex[65];
    assert_ok(hold_model_files_open(&g, TINY_GGUF, &err), &err);
    assert_ok(hold_hash_file(TINY_GGUF, hex, &err), &err);
    assert_string_equal(g.content_id, hex);
    hold_model_files_release(&g);
    hold_str_release(&text);
}

/* ---- damaged GGUF ---- */

static struct hold_str gguf;

/* Overwrite n bytes behind a metadata key and its type in the tiny GGUF, and write it. */
static void patch(const char *key, size_t skip, const void *bytes, size_t n) {
    struct hold_error err = {0};
    hold_str_clear(&gguf);
    assert_ok(hold_file_read(TINY_GGUF, 0, &gguf, &err), &err);
    char *at = memmem(gguf.data, gguf.len, key, strlen(key));
    assert_non_null(at);
    memcpy(at + strlen(key) + skip, bytes, n);
    put_bytes("p.gguf", gguf.data, gguf.len);
}

static void test_gguf_refused(void **state) {
    (void)state;
    static const struct {
        const char *key;
        uint32_t value;
        int code;
        const char *part;
    } CASES[] = {
        {"llama.block_count", 0, HOLD_EFORMAT, "llama.block_count: found 0"},
        {"llama.block_count", 0x80000000, HOLD_EFORMAT, "llama.block_count: found 2147483648"},
        {"llama.block_count", 3, HOLD_EFORMAT, "20 tensors, expected 29 for 3 layers"},
        {"llama.block_count", 1, HOLD_EUNSUPPORTED, "tensor blk.1."},
        {"llama.attention.head_count", 0, HOLD_EFORMAT, "llama.attention.head_count: found 0"},
        {"llama.attention.head_count_kv", 0, HOLD_EFORMAT, "head_count_kv: found 0"},
        {"llama.attention.head_count_kv", 3, HOLD_EFORMAT, "a divisor of the 4 heads"},
        {"llama.attention.head_count", 8, HOLD_EFORMAT, "found 3, expected an even number"},
        {"llama.embedding_length", 0, HOLD_EFORMAT, "llama.embedding_length: found 0"},
        {"llama.embedding_length", 25, HOLD_EFORMAT, "llama.attention.key_length is missing"},
        {"llama.embedding_length", 32, HOLD_EUNSUPPORTED,
         "llama.rope.dimension_count = 6 is not supported; expected the head dimension 8"},
        {"llama.feed_forward_length", 41, HOLD_EFORMAT, "ffn_gate.weight: found shape (40, 24)"},
        {"llama.context_length", 0, HOLD_EFORMAT, "llama.context_length: found 0"},
        {"llama.vocab_size", 287, HOLD_EFORMAT, "tensor token_embd.weight: found shape (288, 24)"},
        {"llama.rope.dimension_count", 4, HOLD_EUNSUPPORTED, "llama.rope.dimension_count = 4"},
        {"llama.rope.freq_base", 0x7FC00000, HOLD_EFORMAT, "llama.rope.freq_base: found nan"},
        {"llama.rope.freq_base", 0x7F800000, HOLD_EFORMAT, "llama.rope.freq_base: found inf"},
        {"llama.rope.freq_base", 0, HOLD_EFORMAT, "llama.rope.freq_base: found 0"},
        {"llama.attention.layer_norm_rms_epsilon", 0, HOLD_EFORMAT, "rms_epsilon: found 0"},
        {"llama.attention.layer_norm_rms_epsilon", 0xB727C5AC, HOLD_EFORMAT,
         "rms_epsilon: found -"},
        {"llama.attention.layer_norm_rms_epsilon", 0x7FC00000, HOLD_EFORMAT, "found nan"},
        {"tokenizer.ggml.bos_token_id", 288, HOLD_EFORMAT, "bos_token_id: found 288"},
        {"tokenizer.ggml.eos_token_id", 1000, HOLD_EFORMAT, "eos_token_id: found 1000"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct hold_str key = HOLD_STR_INIT;
        /* The key with the type behind it: no other key begins with it. */
        hold_str_add(&key, CASES[i].key);
        patch(hold_str_text(&key), 4, &CASES[i].value, sizeof CASES[i].value);
        refuse("p.gguf", CASES[i].code, CASES[i].part);
        hold_str_release(&key);
    }
    patch("general.architecture", 12, "mamba", 5);
    refuse("p.gguf", HOLD_EUNSUPPORTED, "general.architecture \"mamba\" is not supported");
    patch("general.type", 12, "mmpro", 5);
    refuse("p.gguf", HOLD_EUNSUPPORTED, "general.type is \"mmpro\"");
    patch("general.architecture", 12, "llam\xFF", 5);
    refuse("p.gguf", HOLD_EFORMAT, "general.architecture: the string is not UTF-8");
    patch("tokenizer.ggml.model", 12, "bert", 4);
    refuse("p.gguf", HOLD_EUNSUPPORTED, "tokenizer.ggml.model \"bert\" is not supported");
    patch("llama.rope.freq_bas", 0, "f", 1); /* the key is gone: the default */
    struct hold_error err = {0};
    struct hold_model_files f;
    assert_ok(hold_model_files_open(&f, "p.gguf", &err), &err);
    assert_true(f.shape.rope_theta == 10000);
    hold_model_files_release(&f);
    patch("llama.feed_forward_lengt", 0, "g", 1);
    refuse("p.gguf", HOLD_EFORMAT, "metadata key llama.feed_forward_length is missing");
    patch("blk.0.attn_q.weigh", 0, "x", 1);
    refuse("p.gguf", HOLD_EFORMAT, "tensor blk.0.attn_q.weight is missing");
    int32_t type = 9;
    patch("tokenizer.ggml.token_type", 16, &type, sizeof type);
    refuse("p.gguf", HOLD_EFORMAT, "tokenizer.ggml.token_type: item 0 is 9");
    hold_str_release(&gguf);
}

static void test_other_kinds(void **state) {
    (void)state;
    struct hold_error err = {0};
    refuse("missing", HOLD_ENOTFOUND, "missing");
    put_bytes("x.bin", "\x80\x02}q\1X\5\0\0\0", 10);
    refuse("x.bin", HOLD_EFORMAT, "x.bin: this is a Python pickle; expected a GGUF file");
    put_bytes("x.pt", "PK\003\004\24\0\0\0\10\0\0\0", 12);
    refuse("x.pt", HOLD_EFORMAT, "x.pt: this is a zip archive");
    refuse(TINY "/model.safetensors", HOLD_EFORMAT, "expected the folder that holds it");
    put_text("x.txt", "hello, I am not a model");
    refuse("x.txt", HOLD_EFORMAT, "x.txt: byte 0: found 68 65 6c 6c, expected \"GGUF\"");
    put_text("empty", "");
    refuse("empty", HOLD_EFORMAT, "empty");
    assert_ok(hold_mkdirs("folder", &err), &err);
    refuse("folder", HOLD_EFORMAT, "folder: no config.json; expected a GGUF file or a");
    refuse(GOLDEN "tiny-llama-adapter", HOLD_EFORMAT, "an adapter; expected a model");
    copy_tiny();
    assert_int_equal(unlink("m/tokenizer.json"), 0);
    refuse("m", HOLD_ENOTFOUND, "m/tokenizer.json");
    copy_tiny();
    assert_int_equal(unlink("m/model.safetensors"), 0);
    put_text("m/pytorch_model.bin", "x");
    refuse("m", HOLD_EFORMAT, "pickle (pytorch_model.bin)");
}

/* ---- writing ---- */

static void write_folder(const struct hold_model_files *f, const char *dir,
                         enum hold_stored_type type) {
    struct hold_error err = {0};
    struct hold_to_store *list = calloc((size_t)f->n_tensors, sizeof *list);
    for (int64_t i = 0; i < f->n_tensors; i++) {
        const struct hold_stored *t = &f->tensors[i];
        list[i] = (struct hold_to_store){
            t->name, type, t->n_dims, {t->dim[0], t->dim[1], 1, 1}, values_of(f, i)};
    }
    assert_ok(hold_model_folder_write(dir, f, list, f->n_tensors, &err), &err);
    for (int64_t i = 0; i < f->n_tensors; i++) {
        free((void *)(uintptr_t)list[i].data);
    }
    free(list);
}

/* A written folder opens as the same model, with the same tokens, from either kind of file. */
static void test_folder_write(void **state) {
    (void)state;
    static const char *const FROM[] = {TINY, TINY_GGUF};
    static const char TEXT[] = "<|im_start|>user\nIs 12345 safe?  It's\n\n<|im_end|>";
    for (int k = 0; k < 2; k++) {
        struct hold_error err = {0};
        struct hold_model_files f, g;
        struct hold_ids a = {0}, b = {0};
        const char *dir = k ? "deep/from-gguf" : "from-folder";
        assert_ok(hold_model_files_open(&f, FROM[k], &err), &err);
        write_folder(&f, dir, HOLD_ST_F32);
        assert_ok(hold_model_files_open(&g, dir, &err), &err);
        assert_tiny(&g);
        assert_same_values(&f, &g);
        assert_string_equal(f.chat_template, g.chat_template);
        assert_ok(hold_tokenizer_encode(f.tokenizer, TEXT, strlen(TEXT), true, &a, &err), &err);
        assert_ok(hold_tokenizer_encode(g.tokenizer, TEXT, strlen(TEXT), true, &b, &err), &err);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len * sizeof *a.data);
        assert_int_equal(a.data[0], 1);
        assert_int_equal(a.data[a.len - 1], 2);
        hold_ids_release(&a);
        hold_ids_release(&b);
        hold_model_files_release(&g);
        write_folder(&f, "half", HOLD_ST_BF16);
        json_t *config = load_json("half/config.json");
        assert_string_equal(json_string_value(json_object_get(config, "torch_dtype")), "bfloat16");
        assert_int_equal(json_integer_value(json_object_get(config, "bos_token_id")), 1);
        assert_int_equal(json_integer_value(json_object_get(config, "eos_token_id")), 2);
        json_decref(config);
        assert_ok(hold_model_files_open(&g, "half", &err), &err);
        assert_int_equal(g.tensors[0].type, HOLD_ST_BF16);
        hold_model_files_release(&g);
        hold_model_files_release(&f);
    }
}

/* A vocabulary whose pre-tokenizer is not known is not written wrongly. */
static void test_folder_write_refused(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_model_files f;
    patch("tokenizer.ggml.pre", 12, "falcon", 6);
    hold_str_release(&gguf);
    int rc = hold_model_files_open(&f, "p.gguf", &err);
    if (rc == HOLD_OK) { /* the tokenizer may know it */
        assert_refused(hold_model_folder_write("out", &f, NULL, 0, &err), HOLD_EUNSUPPORTED, &err,
                       "falcon cannot be written as tokenizer.json");
        assert_false(hold_exists("out/config.json"));
    } else {
        assert_int_equal(rc, HOLD_EUNSUPPORTED);
    }
    hold_model_files_release(&f);
}

static void test_no_memory(void **state) {
    (void)state;
    static const char *const FROM[] = {TINY, TINY_GGUF};
    for (int i = 0; i < 2; i++) {
        for (int64_t k = 1;; k += k < 100 ? 1 : 7) {
            struct hold_error err = {0};
            struct hold_model_files f;
            hold_mem_fail_at(k);
            int rc = hold_model_files_open(&f, FROM[i], &err);
            hold_mem_fail_at(0);
            hold_model_files_release(&f);
            if (rc == HOLD_OK) {
                assert_true(k > 20);
                break;
            }
            assert_int_equal(rc, HOLD_ENOMEMORY);
        }
    }
}

/* ---- the real model ---- */

static void test_real_model(void **state) {
    (void)state;
    const char *path = getenv("HOLD_TEST_MODEL");
    if (!path) {
        skip();
    }
    struct hold_error err = {0};
    struct hold_model_files f;
    assert_ok(hold_model_files_open(&f, path, &err), &err);
    assert_string_equal(f.content_id,
                        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
    const struct hold_shape *s = &f.shape;
    assert_true(s->n_layers == 30 && s->d_model == 576 && s->n_heads == 9 && s->n_kv_heads == 3);
    assert_true(s->head_dim == 64 && s->d_ff == 1536 && s->vocab == 49152);
    assert_true(s->rope_theta == 100000 && s->tied && f.n_tensors == 272);
    assert_int_equal(f.n_eos_ids, 1);
    assert_int_equal(f.eos_ids[0], 2);
    assert_int_equal(hold_tokenizer_find(f.tokenizer, "<|im_end|>"), 2);
    /* Values as transformers' own GGUF loader dequantises them (all were compared bit for bit). */
    static const struct {
        int64_t tensor, at;
        double value, sum;
    } EXPECTED[] = {
        {0, 0, -0.10654449462890625, -15353.04449415207},
        {0, 49152 * 576 - 1, -0.0417022705078125, -15353.04449415207},
        {2, 0, -0.0963134765625, 59.22322082519531}, /* layer 0, q_proj */
        {2, 576 * 33 + 5, -0.06280517578125, 59.22322082519531},
    };
    for (size_t i = 0; i < sizeof EXPECTED / sizeof *EXPECTED; i++) {
        float *x = values_of(&f, EXPECTED[i].tensor);
        double sum = 0;
        for (int64_t k = 0; k < hold_stored_count(&f.tensors[EXPECTED[i].tensor]); k++) {
            sum += (double)x[k];
        }
        assert_true((double)x[EXPECTED[i].at] == EXPECTED[i].value);
        assert_true(fabs(sum - EXPECTED[i].sum) < 1e-6);
        free(x);
    }
    hold_model_files_release(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_folder, enter, leave),
        cmocka_unit_test_setup_teardown(test_gguf_equals_folder, enter, leave),
        cmocka_unit_test_setup_teardown(test_unpermute, enter, leave),
        cmocka_unit_test_setup_teardown(test_config_refused, enter, leave),
        cmocka_unit_test_setup_teardown(test_config_defaults, enter, leave),
        cmocka_unit_test_setup_teardown(test_added_beyond, enter, leave),
        cmocka_unit_test_setup_teardown(test_tensors, enter, leave),
        cmocka_unit_test_setup_teardown(test_template_places, enter, leave),
        cmocka_unit_test_setup_teardown(test_adds, enter, leave),
        cmocka_unit_test_setup_teardown(test_tokens, enter, leave),
        cmocka_unit_test_setup_teardown(test_content_id, enter, leave),
        cmocka_unit_test_setup_teardown(test_gguf_refused, enter, leave),
        cmocka_unit_test_setup_teardown(test_other_kinds, enter, leave),
        cmocka_unit_test_setup_teardown(test_folder_write, enter, leave),
        cmocka_unit_test_setup_teardown(test_folder_write_refused, enter, leave),
        cmocka_unit_test_setup_teardown(test_no_memory, enter, leave),
        cmocka_unit_test_setup_teardown(test_real_model, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
