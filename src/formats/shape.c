/* shape.c: what the families are, the checks of a shape's numbers, its rotary frequencies, and the
 * list of its tensors. */
#include "formats/shape.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct hold_traits TRAITS[HOLD_FAMILIES] = {
    [HOLD_LLAMA] = {.model_type = "llama",
                    .architecture = "LlamaForCausalLM",
                    .gguf = "llama",
                    .norm_eps = 1e-6},
    [HOLD_MISTRAL] = {.model_type = "mistral",
                      .architecture = "MistralForCausalLM",
                      .gguf = "llama",
                      .norm_eps = 1e-6},
    [HOLD_QWEN2] = {.model_type = "qwen2",
                    .architecture = "Qwen2ForCausalLM",
                    .gguf = "qwen2",
                    .qkv_bias = true,
                    .norm_eps = 1e-6},
    [HOLD_QWEN3] = {.model_type = "qwen3",
                    .architecture = "Qwen3ForCausalLM",
                    .gguf = "qwen3",
                    .head_norm = true,
                    .head_dim = 128,
                    .norm_eps = 1e-6},
    [HOLD_GEMMA3] = {.model_type = "gemma3_text",
                     .architecture = "Gemma3ForCausalLM",
                     .gguf = "gemma3",
                     .head_norm = true,
                     .gelu = true,
                     .post_norms = true,
                     .offset_gain = true,
                     .scaled_embed = true,
                     .head_dim = 256,
                     .norm_eps = 1e-6,
                     .tied = true},
};

const struct hold_traits *hold_shape_traits(const struct hold_shape *s) {
    return &TRAITS[s->family];
}

bool hold_shape_slides(const struct hold_shape *s, int64_t l) {
    return s->window > 0 && (s->global_every == 0 || (l + 1) % s->global_every != 0);
}

enum hold_family hold_shape_family(const char *name, bool gguf) {
    int i = 0;
    while (i < HOLD_FAMILIES && strcmp(name, gguf ? TRAITS[i].gguf : TRAITS[i].model_type) != 0) {
        i++;
    }
    return (enum hold_family)i;
}

void hold_shape_family_names(bool gguf, char *out, size_t size) {
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < HOLD_FAMILIES && n < size; i++) {
        const char *name = gguf ? TRAITS[i].gguf : TRAITS[i].model_type;
        if (i > 0 && gguf && strcmp(name, TRAITS[i - 1].gguf) == 0) {
            continue;
        }
        const char *glue = i == 0 ? "" : i == HOLD_FAMILIES - 1 ? " or " : ", ";
        n += (size_t)snprintf(out + n, size - n, "%s%s", glue, name);
    }
}

/* ---- the numbers ---- */

const struct hold_shape_field hold_shape_fields[HOLD_SHAPE_FIELDS] = {
    {offsetof(struct hold_shape, n_layers), "block_count", "num_hidden_layers", 1000},
    {offsetof(struct hold_shape, d_model), "embedding_length", "hidden_size", 1 << 18},
    {offsetof(struct hold_shape, n_heads), "attention.head_count", "num_attention_heads", 1 << 14},
    {offsetof(struct hold_shape, n_kv_heads), "attention.head_count_kv", "num_key_value_heads",
     1 << 14},
    {offsetof(struct hold_shape, head_dim), "attention.key_length", "head_dim", 1 << 14},
    {offsetof(struct hold_shape, d_ff), "feed_forward_length", "intermediate_size", 1 << 20},
    {offsetof(struct hold_shape, vocab), "vocab_size", "vocab_size", 1 << 24},
    {offsetof(struct hold_shape, max_positions), "context_length", "max_position_embeddings",
     1 << 30},
};

/* A key for a message: config.json's, or GGUF's behind the architecture's name. */
struct key {
    char text[96];
};
static struct key key_of(const struct hold_shape *s, bool gguf, const char *in_gguf,
                         const char *in_hf) {
    struct key k;
    snprintf(k.text, sizeof k.text, "%s%s%s", gguf ? TRAITS[s->family].gguf : "", gguf ? "." : "",
             gguf ? in_gguf : in_hf);
    return k;
}

int hold_shape_check_field(struct hold_shape *s, const struct hold_shape_field *f,
                           const char *where, bool gguf, struct hold_error *err) {
    int64_t value = *hold_shape_field(s, f);
    if (value < 1 || value > f->max) {
        return hold_fail(err, HOLD_EFORMAT, "%s: %s: found %lld, expected 1 to %lld", where,
                         key_of(s, gguf, f->gguf, f->hf).text, (long long)value, (long long)f->max);
    }
    return HOLD_OK;
}

static int check_rope(const struct hold_shape *s, const char *where, struct hold_error *err) {
    const struct hold_rope *r = &s->rope;
    if (r->kind == HOLD_ROPE_PLAIN) {
        return HOLD_OK;
    }
    if (!(r->factor >= 1 && r->factor < 1e6)) {
        return hold_fail(err, HOLD_EFORMAT, "%s: rope scaling: a factor of %g, expected 1 or more",
                         where, r->factor);
    }
    if (r->kind == HOLD_ROPE_LLAMA3 && !(r->low > 0 && r->high > r->low && r->high < 1e6 &&
                                         r->original >= 1 && r->original < 1e9)) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: rope scaling: frequency factors %g to %g of %g positions make no "
                         "sense",
                         where, r->low, r->high, r->original);
    }
    return HOLD_OK;
}

int hold_shape_check(const struct hold_shape *s, bool gguf, const char *where,
                     struct hold_error *err) {
    if (s->n_heads % s->n_kv_heads != 0) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: %s: found %lld, expected a divisor of the %lld heads", where,
                         key_of(s, gguf, hold_shape_fields[3].gguf, hold_shape_fields[3].hf).text,
                         (long long)s->n_kv_heads, (long long)s->n_heads);
    }
    if (s->head_dim % 2 != 0) {
        return hold_fail(err, HOLD_EFORMAT, "%s: %s: found %lld, expected an even number", where,
                         key_of(s, gguf, hold_shape_fields[4].gguf, hold_shape_fields[4].hf).text,
                         (long long)s->head_dim);
    }
    const double thetas[] = {s->rope_theta, s->local_theta == 0 ? 1 : s->local_theta};
    for (int i = 0; i < 2; i++) {
        if (!(thetas[i] > 0 && thetas[i] < 1e15)) {
            return hold_fail(err, HOLD_EFORMAT, "%s: %s: found %g, expected a number above 0",
                             where, key_of(s, gguf, "rope.freq_base", "rope_theta").text,
                             thetas[i]);
        }
    }
    if (!(s->norm_eps > 0 && s->norm_eps < 1)) {
        return hold_fail(
            err, HOLD_EFORMAT, "%s: %s: found %g, expected a number between 0 and 1", where,
            key_of(s, gguf, "attention.layer_norm_rms_epsilon", "rms_norm_eps").text, s->norm_eps);
    }
    if (s->window < 0 || s->window > 1 << 30) {
        return hold_fail(err, HOLD_EFORMAT, "%s: %s: found %lld, expected 1 or more", where,
                         key_of(s, gguf, "attention.sliding_window", "sliding_window").text,
                         (long long)s->window);
    }
    if (!(s->query_scalar > 0 && s->query_scalar < 1e9)) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: query_pre_attn_scalar: found %g, expected a number above 0", where,
                         s->query_scalar);
    }
    return check_rope(s, where, err);
}

/* ---- rotary frequencies ---- */

static float llama3_frequency(const struct hold_rope *r, float f) {
    const float pi = 3.14159274f;
    float wavelength = 2 * pi / f;
    if (wavelength < (float)(r->original / r->high)) {
        return f;
    }
    if (wavelength > (float)(r->original / r->low)) {
        return f / (float)r->factor;
    }
    float smooth = ((float)r->original / wavelength - (float)r->low) / (float)(r->high - r->low);
    return (1 - smooth) * f / (float)r->factor + smooth * f;
}

void hold_shape_inv_freq(const struct hold_shape *s, bool local, float *out) {
    double theta = local && s->local_theta > 0 ? s->local_theta : s->rope_theta;
    bool scaled = !(local && s->local_theta > 0);
    for (int64_t j = 0; j < s->head_dim / 2; j++) {
        float exponent = (float)(2 * j) / (float)s->head_dim;
        float f = 1.0f / powf((float)theta, exponent);
        if (scaled && s->rope.kind == HOLD_ROPE_LINEAR) {
            f = f / (float)s->rope.factor;
        } else if (scaled && s->rope.kind == HOLD_ROPE_LLAMA3) {
            f = llama3_frequency(&s->rope, f);
        }
        out[j] = f;
    }
}

/* The divisors hold the factor as their largest; only the length of old is to be found. */
int hold_shape_rope_from_divisors(struct hold_shape *s, const float *divisors, const char *where,
                                  struct hold_error *err) {
    enum { MOST = 1 << 13 };
    float found[MOST] = {0};
    int64_t n = s->head_dim / 2;
    double largest = 0;
    for (int64_t j = 0; j < n; j++) {
        largest = divisors[j] > (float)largest ? (double)divisors[j] : largest;
    }
    for (double original = 1 << 20; original >= 1 && n <= MOST && largest >= 1 && largest < 1e6;
         original /= 2) {
        struct hold_shape try = *s;
        try.rope = (struct hold_rope){HOLD_ROPE_LLAMA3, largest, 1, 4, original};
        hold_shape_inv_freq(&try, false, found);
        bool same = true;
        for (int64_t j = 0; same && j < n; j++) {
            float bare = 1.0f / powf((float)s->rope_theta, (float)(2 * j) / (float)s->head_dim);
            same = fabsf(found[j] * divisors[j] - bare) <= 2e-5f * bare;
        }
        if (same) {
            s->rope = try.rope;
            return HOLD_OK;
        }
    }
    return hold_fail(err, HOLD_EUNSUPPORTED,
                     "%s: tensor rope_freqs.weight: these divisors are not Llama 3's rope scaling",
                     where);
}

/* ---- the tensors ---- */

enum size { ONE, MODEL, HEADS, KV_HEADS, HEAD, FF };
enum only { ALWAYS, WITH_BIAS, WITH_HEAD_NORM, WITH_POST_NORMS, WITHOUT_POST_NORMS };

static const struct {
    const char *hf, *gguf;
    enum size rows, cols; /* cols ONE: a vector */
    enum only only;
} LAYER[] = {
    {"input_layernorm.weight", "attn_norm.weight", MODEL, ONE, ALWAYS},
    {"self_attn.q_proj.weight", "attn_q.weight", HEADS, MODEL, ALWAYS},
    {"self_attn.k_proj.weight", "attn_k.weight", KV_HEADS, MODEL, ALWAYS},
    {"self_attn.v_proj.weight", "attn_v.weight", KV_HEADS, MODEL, ALWAYS},
    {"self_attn.q_proj.bias", "attn_q.bias", HEADS, ONE, WITH_BIAS},
    {"self_attn.k_proj.bias", "attn_k.bias", KV_HEADS, ONE, WITH_BIAS},
    {"self_attn.v_proj.bias", "attn_v.bias", KV_HEADS, ONE, WITH_BIAS},
    {"self_attn.q_norm.weight", "attn_q_norm.weight", HEAD, ONE, WITH_HEAD_NORM},
    {"self_attn.k_norm.weight", "attn_k_norm.weight", HEAD, ONE, WITH_HEAD_NORM},
    {"self_attn.o_proj.weight", "attn_output.weight", MODEL, HEADS, ALWAYS},
    {"post_attention_layernorm.weight", "ffn_norm.weight", MODEL, ONE, WITHOUT_POST_NORMS},
    {"post_attention_layernorm.weight", "post_attention_norm.weight", MODEL, ONE, WITH_POST_NORMS},
    {"pre_feedforward_layernorm.weight", "ffn_norm.weight", MODEL, ONE, WITH_POST_NORMS},
    {"mlp.gate_proj.weight", "ffn_gate.weight", FF, MODEL, ALWAYS},
    {"mlp.up_proj.weight", "ffn_up.weight", FF, MODEL, ALWAYS},
    {"mlp.down_proj.weight", "ffn_down.weight", MODEL, FF, ALWAYS},
    {"post_feedforward_layernorm.weight", "post_ffw_norm.weight", MODEL, ONE, WITH_POST_NORMS},
};
enum { LAYER_ROWS = sizeof LAYER / sizeof *LAYER };

static bool has(const struct hold_shape *s, int row) {
    const struct hold_traits *t = hold_shape_traits(s);
    switch (LAYER[row].only) {
    case WITH_BIAS:
        return t->qkv_bias;
    case WITH_HEAD_NORM:
        return t->head_norm;
    case WITH_POST_NORMS:
        return t->post_norms;
    case WITHOUT_POST_NORMS:
        return !t->post_norms;
    case ALWAYS:
        break;
    }
    return true;
}

static int64_t per_layer(const struct hold_shape *s) {
    int64_t n = 0;
    for (int i = 0; i < LAYER_ROWS; i++) {
        n += has(s, i);
    }
    return n;
}

int64_t hold_part_count(const struct hold_shape *shape) {
    return shape->n_layers * per_layer(shape) + (shape->tied ? 2 : 3);
}

static void layer_part(const struct hold_shape *s, int64_t layer, int64_t k,
                       struct hold_part *out) {
    const int64_t sizes[] = {
        [ONE] = 1,
        [MODEL] = s->d_model,
        [HEADS] = s->n_heads * s->head_dim,
        [KV_HEADS] = s->n_kv_heads * s->head_dim,
        [HEAD] = s->head_dim,
        [FF] = s->d_ff,
    };
    int row = 0;
    for (; !has(s, row) || k > 0; row++) {
        k -= has(s, row);
    }
    snprintf(out->hf, sizeof out->hf, "model.layers.%lld.%s", (long long)layer, LAYER[row].hf);
    snprintf(out->gguf, sizeof out->gguf, "blk.%lld.%s", (long long)layer, LAYER[row].gguf);
    out->n_dims = LAYER[row].cols == ONE ? 1 : 2;
    out->dim[0] = sizes[LAYER[row].rows];
    out->dim[1] = sizes[LAYER[row].cols];
    if (LAYER[row].only == WITH_BIAS) {
        out->fresh = 0;
    }
}

void hold_part_get(const struct hold_shape *shape, int64_t i, struct hold_part *out) {
    int64_t each = per_layer(shape), last = shape->n_layers * each + 1;
    *out = (struct hold_part){.n_dims = 2, .dim = {shape->vocab, shape->d_model}};
    out->fresh = hold_shape_traits(shape)->offset_gain ? 0 : 1;
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
        layer_part(shape, (i - 1) / each, (i - 1) % each, out);
    }
}
