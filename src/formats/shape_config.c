/* shape_config.c: a model's shape from config.json, with every number checked before it sizes
 * anything, and back. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "formats/shape.h"

static int check_kind(const json_t *config, enum hold_family *family, const char *where,
                      struct hold_error *err) {
    const char *kind = NULL;
    if (!json_is_object(config)) {
        return hold_fail(err, HOLD_EFORMAT, "%s: not an object", where);
    }
    int rc = hold_json_text_or(config, "model_type", "(missing)", &kind, where, err);
    if (rc) {
        return rc;
    }
    *family = hold_shape_family(kind, false);
    if (*family == HOLD_FAMILIES) {
        char names[96];
        hold_shape_family_names(false, names, sizeof names);
        return hold_fail(err, HOLD_EUNSUPPORTED,
                         "%s: model_type \"%s\" is not supported; expected %s", where, kind, names);
    }
    const struct hold_shape shape = {.family = *family};
    const char *expected = hold_shape_traits(&shape)->architecture;
    const char *name =
        json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    if (name && strcmp(name, expected) != 0) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED, "%s: architecture %s is not supported; expected %s",
                       where, name, expected);
    }
    return rc;
}

/* Keys that must be absent, null or false. */
static int refuse_extras(const json_t *config, const char *where, struct hold_error *err) {
    static const char *const BIASES[] = {"attention_bias", "mlp_bias"};
    static const char *const FLAGS[] = {"use_sliding_window", "use_bidirectional_attention"};
    static const char *const ABSENT[] = {"quantization_config", "attn_logit_softcapping",
                                         "final_logit_softcapping"};
    bool on = false;
    for (size_t i = 0; i < 4; i++) {
        const char *key = i < 2 ? BIASES[i] : FLAGS[i - 2];
        int rc = hold_json_bool_or(config, key, false, &on, where, err);
        if (rc) {
            return rc;
        }
        if (on) {
            return hold_fail(err, HOLD_EUNSUPPORTED,
                             i < 2 ? "%s: biases (%s) are not supported"
                                   : "%s: %s is not supported",
                             where, key);
        }
    }
    for (size_t i = 0; i < sizeof ABSENT / sizeof *ABSENT; i++) {
        const json_t *value = json_object_get(config, ABSENT[i]);
        if (value && !json_is_null(value)) {
            return hold_fail(err, HOLD_EUNSUPPORTED, "%s: %s is not supported", where, ABSENT[i]);
        }
    }
    double rotary = 1;
    int rc = hold_json_real_or(config, "partial_rotary_factor", 1, &rotary, where, err);
    if (!rc && (rotary < 1 || rotary > 1)) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED, "%s: partial_rotary_factor %g is not supported",
                       where, rotary);
    }
    return rc;
}

static int check_activation(const json_t *config, const struct hold_traits *t, const char *where,
                            struct hold_error *err) {
    const char *key = t->gelu ? "hidden_activation" : "hidden_act";
    const char *expected = t->gelu ? "gelu_pytorch_tanh" : "silu", *found = NULL;
    int rc = hold_json_text_or(config, key, expected, &found, where, err);
    if (!rc && strcmp(found, expected) != 0) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED, "%s: %s \"%s\" is not supported; expected \"%s\"",
                       where, key, found, expected);
    }
    return rc;
}

/* One description of a rotary embedding: {"rope_type": "llama3", "factor": 8, ...}. */
static int read_rope_object(const json_t *rope, double *theta, struct hold_rope *out,
                            const char *where, const char *key, struct hold_error *err) {
    if (!json_is_object(rope)) {
        return hold_fail(err, HOLD_EFORMAT, "%s: %s: not an object", where, key);
    }
    const char *kind = NULL;
    int rc = hold_json_text_or(rope, "type", "default", &kind, where, err);
    if (!rc) {
        rc = hold_json_text_or(rope, "rope_type", kind, &kind, where, err);
    }
    if (!rc) {
        rc = hold_json_real_or(rope, "rope_theta", *theta, theta, where, err);
    }
    if (rc || strcmp(kind, "default") == 0) {
        return rc;
    }
    bool llama3 = strcmp(kind, "llama3") == 0;
    if (!llama3 && strcmp(kind, "linear") != 0) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s: rope scaling \"%s\" is not supported", where,
                         kind);
    }
    out->kind = llama3 ? HOLD_ROPE_LLAMA3 : HOLD_ROPE_LINEAR;
    rc = hold_json_get_real(rope, "factor", &out->factor, where, err);
    if (!rc && llama3) {
        rc = hold_json_get_real(rope, "low_freq_factor", &out->low, where, err);
    }
    if (!rc && llama3) {
        rc = hold_json_get_real(rope, "high_freq_factor", &out->high, where, err);
    }
    if (!rc && llama3) {
        rc = hold_json_get_real(rope, "original_max_position_embeddings", &out->original, where,
                                err);
    }
    return rc;
}

/* rope_theta stands alone (transformers 4) or in rope_parameters (5), there by kind of layer when
 * layers differ; a scaling stands in rope_scaling or in rope_parameters. */
static int read_rope(const json_t *config, struct hold_shape *s, const char *where,
                     struct hold_error *err) {
    static const char *const PLACES[] = {"rope_scaling", "rope_parameters"};
    bool gemma = s->family == HOLD_GEMMA3;
    int rc =
        hold_json_real_or(config, "rope_theta", gemma ? 1e6 : 10000, &s->rope_theta, where, err);
    if (!rc && gemma) {
        rc = hold_json_real_or(config, "rope_local_base_freq", 10000, &s->local_theta, where, err);
    }
    for (size_t i = 0; !rc && i < sizeof PLACES / sizeof *PLACES; i++) {
        const json_t *rope = json_object_get(config, PLACES[i]);
        if (!rope || json_is_null(rope)) {
            continue;
        }
        const json_t *full = json_object_get(rope, "full_attention");
        const json_t *sliding = json_object_get(rope, "sliding_attention");
        rc = read_rope_object(full ? full : rope, &s->rope_theta, &s->rope, where, PLACES[i], err);
        if (!rc && sliding) {
            struct hold_rope local = {0};
            rc = read_rope_object(sliding, &s->local_theta, &local, where, PLACES[i], err);
            if (!rc && (!gemma || local.kind != HOLD_ROPE_PLAIN)) {
                rc = hold_fail(err, HOLD_EUNSUPPORTED,
                               "%s: %s: sliding_attention with a scaling of its own is not "
                               "supported",
                               where, PLACES[i]);
            }
        }
    }
    return rc;
}

/* layer_types says which layers slide; only a regular pattern is known. */
static int read_layer_types(const json_t *config, struct hold_shape *s, const char *where,
                            struct hold_error *err) {
    const json_t *types = json_object_get(config, "layer_types");
    if (!types || json_is_null(types)) {
        return HOLD_OK;
    }
    int64_t n = (int64_t)json_array_size(types), first = 0;
    if (n != s->n_layers) {
        return hold_fail(err, HOLD_EFORMAT, "%s: layer_types: %lld items, expected %lld", where,
                         (long long)n, (long long)s->n_layers);
    }
    for (int64_t l = 0; l < n && first == 0; l++) {
        const char *type = json_string_value(json_array_get(types, (size_t)l));
        first = type && strcmp(type, "full_attention") == 0 ? l + 1 : 0;
    }
    s->global_every = first;
    if (first == 1) { /* no layer slides */
        s->global_every = 0;
        s->window = 0;
    }
    for (int64_t l = 0; l < n; l++) {
        const char *type = json_string_value(json_array_get(types, (size_t)l));
        bool slides = first == 0 || (l + 1) % first != 0;
        if (!type || strcmp(type, slides ? "sliding_attention" : "full_attention") != 0) {
            return hold_fail(err, HOLD_EUNSUPPORTED,
                             "%s: layer_types: \"%s\" for layer %lld is not supported; expected a "
                             "full_attention layer after every so many sliding_attention ones",
                             where, type ? type : "(no text)", (long long)l + 1);
        }
    }
    if (first != 1 && s->window == 0) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: layer_types: sliding layers, but sliding_window is missing", where);
    }
    return HOLD_OK;
}

/* Qwen's sliding_window counts only with use_sliding_window, which is refused. */
static int read_window(const json_t *config, struct hold_shape *s, const char *where,
                       struct hold_error *err) {
    int rc = HOLD_OK;
    if (s->family == HOLD_LLAMA) {
        const json_t *value = json_object_get(config, "sliding_window");
        return value && !json_is_null(value)
                   ? hold_fail(err, HOLD_EUNSUPPORTED,
                               "%s: sliding_window is not supported for model_type \"llama\"",
                               where)
                   : HOLD_OK;
    }
    if (s->family == HOLD_MISTRAL || s->family == HOLD_GEMMA3) {
        const json_t *value = json_object_get(config, "sliding_window");
        bool given = value && !json_is_null(value);
        if (given || s->family == HOLD_GEMMA3) {
            rc = hold_json_int_or(config, "sliding_window", 4096, &s->window, where, err);
            if (!rc && s->window < 1) {
                s->window = -1; /* refused by the check of the whole shape */
            }
        }
    }
    if (!rc && s->family == HOLD_GEMMA3) {
        rc = hold_json_int_or(config, "sliding_window_pattern", 6, &s->global_every, where, err);
        if (!rc && s->global_every < 1) {
            rc = hold_fail(err, HOLD_EFORMAT,
                           "%s: sliding_window_pattern: found %lld, expected 1 or more", where,
                           (long long)s->global_every);
        }
        if (!rc) {
            rc = hold_json_real_or(config, "query_pre_attn_scalar", 256, &s->query_scalar, where,
                                   err);
        }
    }
    return rc ? rc : read_layer_types(config, s, where, err);
}

static int read_field(const json_t *config, struct hold_shape *out,
                      const struct hold_shape_field *f, const char *where, struct hold_error *err) {
    const struct hold_traits *t = hold_shape_traits(out);
    int64_t *field = hold_shape_field(out, f), def = -1; /* needed */
    if (field == &out->n_kv_heads) {
        def = out->n_heads;
    } else if (field == &out->head_dim) {
        def = t->head_dim > 0 ? t->head_dim : hold_shape_head_dim(out);
    } else if (field == &out->max_positions) {
        def = 2048;
    }
    int rc = def < 0 ? hold_json_get_int(config, f->hf, field, where, err)
                     : hold_json_int_or(config, f->hf, def, field, where, err);
    return rc ? rc : hold_shape_check_field(out, f, where, false, err);
}

int hold_shape_from_config(struct hold_shape *out, const json_t *config, const char *where,
                           struct hold_error *err) {
    *out = (struct hold_shape){0};
    enum hold_family family = HOLD_FAMILIES;
    int rc = check_kind(config, &family, where, err);
    if (rc) {
        return rc;
    }
    out->family = family;
    const struct hold_traits *t = hold_shape_traits(out);
    for (int i = 0; !rc && i < HOLD_SHAPE_FIELDS; i++) {
        rc = read_field(config, out, &hold_shape_fields[i], where, err);
    }
    out->query_scalar = (double)out->head_dim;
    if (!rc) {
        rc = hold_json_real_or(config, "rms_norm_eps", t->norm_eps, &out->norm_eps, where, err);
    }
    if (!rc) {
        rc = hold_json_bool_or(config, "tie_word_embeddings", t->tied, &out->tied, where, err);
    }
    if (!rc) {
        rc = read_rope(config, out, where, err);
    }
    if (!rc) {
        rc = read_window(config, out, where, err);
    }
    if (!rc) {
        rc = refuse_extras(config, where, err);
    }
    if (!rc) {
        rc = check_activation(config, t, where, err);
    }
    return rc ? rc : hold_shape_check(out, false, where, err);
}

/* ---- back ---- */

static json_t *rope_json(const struct hold_rope *r) {
    if (r->kind == HOLD_ROPE_LINEAR) {
        return json_pack("{s:s, s:f}", "rope_type", "linear", "factor", r->factor);
    }
    if (r->kind == HOLD_ROPE_LLAMA3) {
        return json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", r->factor,
                         "low_freq_factor", r->low, "high_freq_factor", r->high,
                         "original_max_position_embeddings", (json_int_t)r->original);
    }
    return json_null();
}

static json_t *layer_types_json(const struct hold_shape *s) {
    json_t *list = json_array();
    int bad = 0;
    for (int64_t l = 0; list && l < s->n_layers; l++) {
        bad |= json_array_append_new(
            list, json_string(hold_shape_slides(s, l) ? "sliding_attention" : "full_attention"));
    }
    return hold_json_whole(list, bad);
}

/* What only some families have. */
static int add_family(json_t *config, const struct hold_shape *s) {
    const struct hold_traits *t = hold_shape_traits(s);
    int bad = 0;
    if (t->gelu) {
        bad |= json_object_set_new(config, "hidden_activation", json_string("gelu_pytorch_tanh"));
    } else {
        bad |= json_object_set_new(config, "hidden_act", json_string("silu"));
    }
    if (!t->qkv_bias && s->family != HOLD_MISTRAL) {
        bad |= json_object_set_new(config, "attention_bias", json_false());
    }
    if (s->family == HOLD_LLAMA) {
        bad |= json_object_set_new(config, "mlp_bias", json_false());
    }
    if (t->qkv_bias || s->family == HOLD_QWEN3) {
        bad |= json_object_set_new(config, "use_sliding_window", json_false());
    }
    if (s->family == HOLD_MISTRAL) {
        bad |= json_object_set_new(config, "sliding_window",
                                   s->window > 0 ? json_integer(s->window) : json_null());
    }
    if (s->family == HOLD_GEMMA3) {
        bad |= json_object_set_new(config, "sliding_window",
                                   json_integer(s->window > 0 ? s->window : s->max_positions));
        bad |= json_object_set_new(config, "layer_types", layer_types_json(s));
        bad |= json_object_set_new(config, "rope_local_base_freq", json_real(s->local_theta));
        /* transformers declares an integer; a whole number is written as one. */
        bad |= json_object_set_new(config, "query_pre_attn_scalar",
                                   floor(s->query_scalar) == s->query_scalar
                                       ? json_integer((json_int_t)s->query_scalar)
                                       : json_real(s->query_scalar));
        bad |= json_object_set_new(config, "attn_logit_softcapping", json_null());
        bad |= json_object_set_new(config, "final_logit_softcapping", json_null());
    }
    return bad;
}

json_t *hold_shape_to_config(const struct hold_shape *shape, const char *dtype) {
    struct hold_shape s = *shape;
    const struct hold_traits *t = hold_shape_traits(&s);
    json_t *config =
        json_pack("{s:[s], s:s}", "architectures", t->architecture, "model_type", t->model_type);
    int bad = config ? add_family(config, &s) : 1;
    bad |= json_object_update_new(
        config, json_pack("{s:b, s:s, s:f, s:f, s:o}", "tie_word_embeddings", (int)s.tied,
                          "torch_dtype", dtype, "rope_theta", s.rope_theta, "rms_norm_eps",
                          s.norm_eps, "rope_scaling", rope_json(&s.rope)));
    for (int i = 0; !bad && i < HOLD_SHAPE_FIELDS; i++) {
        const struct hold_shape_field *f = &hold_shape_fields[i];
        bad |= json_object_set_new(config, f->hf, json_integer(*hold_shape_field(&s, f)));
    }
    if (bad) {
        json_decref(config);
        return NULL;
    }
    return config;
}
