/* shape.c: model shapes from metadata, with every number checked before it sizes anything. */
#include "formats/shape.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

/* The whole numbers of a shape, their keys in both files and their bounds. */
static const struct field {
    size_t offset;
    const char *gguf, *hf;
    int64_t max;
} FIELDS[] = {
    {offsetof(struct hold_shape, n_layers), "llama.block_count", "num_hidden_layers", 1000},
    {offsetof(struct hold_shape, d_model), "llama.embedding_length", "hidden_size", 1 << 18},
    {offsetof(struct hold_shape, n_heads), "llama.attention.head_count", "num_attention_heads",
     1 << 14},
    {offsetof(struct hold_shape, n_kv_heads), "llama.attention.head_count_kv",
     "num_key_value_heads", 1 << 14},
    {offsetof(struct hold_shape, head_dim), "llama.attention.key_length", "head_dim", 1 << 14},
    {offsetof(struct hold_shape, d_ff), "llama.feed_forward_length", "intermediate_size", 1 << 20},
    {offsetof(struct hold_shape, vocab), "llama.vocab_size", "vocab_size", 1 << 24},
    {offsetof(struct hold_shape, max_positions), "llama.context_length", "max_position_embeddings",
     1 << 30},
};
enum { N_FIELDS = sizeof FIELDS / sizeof *FIELDS };

static int64_t *field_of(struct hold_shape *s, const struct field *f) {
    return (int64_t *)(void *)((char *)s + f->offset);
}

static int check_field(struct hold_shape *s, const struct field *f, const char *key,
                       const char *where, struct hold_error *err) {
    int64_t value = *field_of(s, f);
    if (value < 1 || value > f->max) {
        return hold_fail(err, HOLD_EFORMAT, "%s: %s: found %lld, expected 1 to %lld", where, key,
                         (long long)value, (long long)f->max);
    }
    return HOLD_OK;
}

/* Checks between fields, the same for both files; key i is FIELDS[i].gguf or .hf. */
static int check(struct hold_shape *s, bool gguf, const char *where, struct hold_error *err) {
    if (s->n_heads % s->n_kv_heads != 0) {
        return hold_fail(
            err, HOLD_EFORMAT, "%s: %s: found %lld, expected a divisor of the %lld heads", where,
            gguf ? FIELDS[3].gguf : FIELDS[3].hf, (long long)s->n_kv_heads, (long long)s->n_heads);
    }
    if (s->head_dim % 2 != 0) {
        return hold_fail(err, HOLD_EFORMAT, "%s: %s: found %lld, expected an even number", where,
                         gguf ? FIELDS[4].gguf : FIELDS[4].hf, (long long)s->head_dim);
    }
    if (!(s->rope_theta > 0 && s->rope_theta < 1e15)) {
        return hold_fail(err, HOLD_EFORMAT, "%s: %s: found %g, expected a number above 0", where,
                         gguf ? "llama.rope.freq_base" : "rope_theta", s->rope_theta);
    }
    if (!(s->norm_eps > 0 && s->norm_eps < 1)) {
        return hold_fail(err, HOLD_EFORMAT, "%s: %s: found %g, expected a number between 0 and 1",
                         where, gguf ? "llama.attention.layer_norm_rms_epsilon" : "rms_norm_eps",
                         s->norm_eps);
    }
    return HOLD_OK;
}

/* The dimension of a head when no key gives it; 0 (out of bounds) when it does not divide. */
static int64_t default_head_dim(const struct hold_shape *s) {
    return s->n_heads > 0 && s->d_model % s->n_heads == 0 ? s->d_model / s->n_heads : 0;
}

/* ---- GGUF ---- */

static int refuse_gguf_extras(const struct hold_gguf *g, const struct hold_shape *s,
                              const char *where, struct hold_error *err) {
    static const char *const ZERO[] = {"llama.expert_count", "llama.attention.sliding_window"};
    for (size_t i = 0; i < sizeof ZERO / sizeof *ZERO; i++) {
        int64_t value;
        int rc = hold_gguf_int_or(g, ZERO[i], 0, &value, err);
        if (rc) {
            return rc;
        }
        if (value != 0) {
            return hold_fail(err, HOLD_EUNSUPPORTED, "%s: %s = %lld is not supported", where,
                             ZERO[i], (long long)value);
        }
    }
    const char *scaling = NULL;
    double linear = 1;
    int rc = hold_gguf_text_or(g, "llama.rope.scaling.type", "none", &scaling, err);
    if (!rc) {
        rc = hold_gguf_real_or(g, "llama.rope.scale_linear", 1, &linear, err);
    }
    if (!rc && (strcmp(scaling, "none") != 0 || !(linear == 1))) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED, "%s: rope scaling \"%s\" is not supported", where,
                       strcmp(scaling, "none") != 0 ? scaling : "linear");
    }
    static const char *const SAME[] = {"llama.rope.dimension_count",
                                       "llama.attention.value_length"};
    for (size_t i = 0; !rc && i < sizeof SAME / sizeof *SAME; i++) {
        int64_t value;
        rc = hold_gguf_int_or(g, SAME[i], s->head_dim, &value, err);
        if (!rc && value != s->head_dim) {
            rc = hold_fail(err, HOLD_EUNSUPPORTED,
                           "%s: %s = %lld is not supported; expected the head dimension %lld",
                           where, SAME[i], (long long)value, (long long)s->head_dim);
        }
    }
    return rc;
}

static int check_gguf_kind(const struct hold_gguf *g, const char *where, struct hold_error *err) {
    const char *kind = NULL, *arch = NULL;
    int64_t parts = 1;
    int rc = hold_gguf_text_or(g, "general.type", "model", &kind, err);
    if (!rc && strcmp(kind, "model") != 0) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s: general.type is \"%s\", expected \"model\"",
                         where, kind);
    }
    if (!rc) {
        rc = hold_gguf_text_or(g, "general.architecture", NULL, &arch, err);
    }
    if (!rc && (!arch || strcmp(arch, "llama") != 0)) {
        return hold_fail(err, HOLD_EUNSUPPORTED,
                         "%s: general.architecture \"%s\" is not supported; expected \"llama\"",
                         where, arch ? arch : "(missing)");
    }
    if (!rc) {
        rc = hold_gguf_int_or(g, "split.count", 1, &parts, err);
    }
    if (!rc && parts > 1) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED,
                       "%s: a model split in %lld files is not supported; merge it first", where,
                       (long long)parts);
    }
    return rc;
}

int hold_shape_from_gguf(struct hold_shape *out, const struct hold_gguf *g, const char *where,
                         struct hold_error *err) {
    *out = (struct hold_shape){0};
    int rc = check_gguf_kind(g, where, err);
    for (int i = 0; !rc && i < N_FIELDS; i++) {
        int64_t *field = field_of(out, &FIELDS[i]);
        int64_t def = 0; /* none */
        if (field == &out->n_kv_heads) {
            def = out->n_heads;
        } else if (field == &out->head_dim) {
            def = default_head_dim(out);
        } else if (field == &out->vocab) {
            const char *const *pieces;
            const int32_t *lengths;
            rc = hold_gguf_texts(g, "tokenizer.ggml.tokens", &pieces, &lengths, &def, err);
        }
        if (!rc) {
            rc = hold_gguf_int_or(g, FIELDS[i].gguf, def, field, err);
        }
        if (!rc && def == 0 && !hold_gguf_has(g, FIELDS[i].gguf)) {
            rc = hold_fail(err, HOLD_EFORMAT, "%s: metadata key %s is missing", where,
                           FIELDS[i].gguf);
        }
        if (!rc) {
            rc = check_field(out, &FIELDS[i], FIELDS[i].gguf, where, err);
        }
    }
    if (!rc) {
        rc = hold_gguf_real_or(g, "llama.rope.freq_base", 10000, &out->rope_theta, err);
    }
    if (!rc) {
        rc = hold_gguf_real_or(g, "llama.attention.layer_norm_rms_epsilon", 0, &out->norm_eps, err);
    }
    if (!rc) {
        rc = check(out, true, where, err);
    }
    return rc ? rc : refuse_gguf_extras(g, out, where, err);
}

/* ---- config.json ---- */

static int check_config_kind(const json_t *config, const char *where, struct hold_error *err) {
    const char *kind = NULL;
    if (!json_is_object(config)) {
        return hold_fail(err, HOLD_EFORMAT, "%s: not an object", where);
    }
    int rc = hold_json_text_or(config, "model_type", "(missing)", &kind, where, err);
    if (!rc && strcmp(kind, "llama") != 0) {
        return hold_fail(err, HOLD_EUNSUPPORTED,
                         "%s: model_type \"%s\" is not supported; expected \"llama\"", where, kind);
    }
    const json_t *list = json_object_get(config, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    if (!rc && name && strcmp(name, "LlamaForCausalLM") != 0) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED,
                       "%s: architecture %s is not supported; expected LlamaForCausalLM", where,
                       name);
    }
    return rc;
}

static int refuse_config_extras(const json_t *config, const char *where, struct hold_error *err) {
    static const char *const FLAGS[] = {"attention_bias", "mlp_bias"};
    static const char *const ABSENT[] = {"sliding_window", "quantization_config"};
    bool on = false;
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++) {
        int rc = hold_json_bool_or(config, FLAGS[i], false, &on, where, err);
        if (rc) {
            return rc;
        }
        if (on) {
            return hold_fail(err, HOLD_EUNSUPPORTED, "%s: biases (%s) are not supported", where,
                             FLAGS[i]);
        }
    }
    for (size_t i = 0; i < sizeof ABSENT / sizeof *ABSENT; i++) {
        const json_t *value = json_object_get(config, ABSENT[i]);
        if (value && !json_is_null(value)) {
            return hold_fail(err, HOLD_EUNSUPPORTED, "%s: %s is not supported", where, ABSENT[i]);
        }
    }
    const char *activation = NULL;
    double rotary = 1;
    int rc = hold_json_text_or(config, "hidden_act", "silu", &activation, where, err);
    if (!rc && strcmp(activation, "silu") != 0) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED,
                       "%s: hidden_act \"%s\" is not supported; expected \"silu\"", where,
                       activation);
    }
    if (!rc) {
        rc = hold_json_real_or(config, "partial_rotary_factor", 1, &rotary, where, err);
    }
    if (!rc && !(rotary == 1)) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED, "%s: partial_rotary_factor %g is not supported",
                       where, rotary);
    }
    return rc;
}

/* rope_theta stands alone (transformers 4) or in rope_parameters (5); a scaling stands in
 * rope_scaling or in rope_parameters. */
static int read_rope(const json_t *config, double *theta, const char *where,
                     struct hold_error *err) {
    static const char *const PLACES[] = {"rope_scaling", "rope_parameters"};
    int rc = hold_json_real_or(config, "rope_theta", 10000, theta, where, err);
    for (size_t i = 0; !rc && i < sizeof PLACES / sizeof *PLACES; i++) {
        const json_t *rope = json_object_get(config, PLACES[i]);
        if (!rope || json_is_null(rope)) {
            continue;
        }
        if (!json_is_object(rope)) {
            return hold_fail(err, HOLD_EFORMAT, "%s: %s: not an object", where, PLACES[i]);
        }
        const char *kind = NULL;
        rc = hold_json_text_or(rope, "type", "default", &kind, where, err);
        if (!rc) {
            rc = hold_json_text_or(rope, "rope_type", kind, &kind, where, err);
        }
        if (!rc && strcmp(kind, "default") != 0) {
            rc = hold_fail(err, HOLD_EUNSUPPORTED, "%s: rope scaling \"%s\" is not supported",
                           where, kind);
        }
        if (!rc) {
            rc = hold_json_real_or(rope, "rope_theta", *theta, theta, where, err);
        }
    }
    return rc;
}

int hold_shape_from_config(struct hold_shape *out, const json_t *config, const char *where,
                           struct hold_error *err) {
    *out = (struct hold_shape){0};
    int rc = check_config_kind(config, where, err);
    for (int i = 0; !rc && i < N_FIELDS; i++) {
        int64_t *field = field_of(out, &FIELDS[i]);
        int64_t def = -1;
        if (field == &out->n_kv_heads) {
            def = out->n_heads;
        } else if (field == &out->head_dim) {
            def = default_head_dim(out);
        } else if (field == &out->max_positions) {
            def = 2048;
        }
        rc = def < 0 ? hold_json_get_int(config, FIELDS[i].hf, field, where, err)
                     : hold_json_int_or(config, FIELDS[i].hf, def, field, where, err);
        if (!rc) {
            rc = check_field(out, &FIELDS[i], FIELDS[i].hf, where, err);
        }
    }
    if (!rc) {
        rc = hold_json_real_or(config, "rms_norm_eps", 1e-6, &out->norm_eps, where, err);
    }
    if (!rc) {
        rc = hold_json_bool_or(config, "tie_word_embeddings", false, &out->tied, where, err);
    }
    if (!rc) {
        rc = read_rope(config, &out->rope_theta, where, err);
    }
    if (!rc) {
        rc = refuse_config_extras(config, where, err);
    }
    return rc ? rc : check(out, false, where, err);
}

json_t *hold_shape_to_config(const struct hold_shape *shape, const char *dtype) {
    struct hold_shape s = *shape;
    json_t *config =
        json_pack("{s:[s], s:s, s:s, s:b, s:b, s:b, s:s, s:f, s:f, s:n}", "architectures",
                  "LlamaForCausalLM", "model_type", "llama", "hidden_act", "silu", "attention_bias",
                  0, "mlp_bias", 0, "tie_word_embeddings", (int)s.tied, "torch_dtype", dtype,
                  "rope_theta", s.rope_theta, "rms_norm_eps", s.norm_eps, "rope_scaling");
    for (int i = 0; config && i < N_FIELDS; i++) {
        if (json_object_set_new(config, FIELDS[i].hf, json_integer(*field_of(&s, &FIELDS[i])))) {
            json_decref(config);
            return NULL;
        }
    }
    return config;
}

/* ---- the tensors ---- */

enum size { ONE, MODEL, HEADS, KV_HEADS, FF };

static const struct {
    const char *hf, *gguf;
    enum size rows, cols; /* cols ONE: a vector */
} LAYER[] = {
    {"input_layernorm", "attn_norm", MODEL, ONE},
    {"self_attn.q_proj", "attn_q", HEADS, MODEL},
    {"self_attn.k_proj", "attn_k", KV_HEADS, MODEL},
    {"self_attn.v_proj", "attn_v", KV_HEADS, MODEL},
    {"self_attn.o_proj", "attn_output", MODEL, HEADS},
    {"post_attention_layernorm", "ffn_norm", MODEL, ONE},
    {"mlp.gate_proj", "ffn_gate", FF, MODEL},
    {"mlp.up_proj", "ffn_up", FF, MODEL},
    {"mlp.down_proj", "ffn_down", MODEL, FF},
};
enum { PER_LAYER = sizeof LAYER / sizeof *LAYER };

int64_t hold_part_count(const struct hold_shape *shape) {
    return shape->n_layers * PER_LAYER + (shape->tied ? 2 : 3);
}

void hold_part_get(const struct hold_shape *shape, int64_t i, struct hold_part *out) {
    const int64_t sizes[] = {1, shape->d_model, shape->n_heads * shape->head_dim,
                             shape->n_kv_heads * shape->head_dim, shape->d_ff};
    int64_t last = shape->n_layers * PER_LAYER + 1;
    *out = (struct hold_part){.n_dims = 2, .dim = {shape->vocab, shape->d_model}};
    if (i == 0) {
        snprintf(out->hf, sizeof out->hf, "model.embed_tokens.weight");
        snprintf(out->gguf, sizeof out->gguf, "token_embd.weight");
    } else if (i == last) {
        snprintf(out->hf, sizeof out->hf, "model.norm.weight");
        snprintf(out->gguf, sizeof out->gguf, "output_norm.weight");
        out->n_dims = 1;
        out->dim[0] = shape->d_model;
        out->dim[1] = 1;
    } else if (i > last) {
        snprintf(out->hf, sizeof out->hf, "lm_head.weight");
        snprintf(out->gguf, sizeof out->gguf, "output.weight");
    } else {
        int64_t layer = (i - 1) / PER_LAYER, k = (i - 1) % PER_LAYER;
        snprintf(out->hf, sizeof out->hf, "model.layers.%lld.%s.weight", (long long)layer,
                 LAYER[k].hf);
        snprintf(out->gguf, sizeof out->gguf, "blk.%lld.%s.weight", (long long)layer,
                 LAYER[k].gguf);
        out->n_dims = LAYER[k].cols == ONE ? 1 : 2;
        out->dim[0] = sizes[LAYER[k].rows];
        out->dim[1] = sizes[LAYER[k].cols];
    }
}
