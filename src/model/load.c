/* load.c: a model's files onto a device, matrix by matrix. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/model.h"
#include "model/parts.h"

int hold_model_parts(const struct hold_shape *s, enum hold_linear_kind kind,
                     struct hold_part parts[HOLD_LORA_PARTS]) {
    int64_t q = s->n_heads * s->head_dim, kv = s->n_kv_heads * s->head_dim;
    switch (kind) {
    case HOLD_QKV:
        parts[0] = (struct hold_part){"self_attn.q_proj", "q_proj", 0, q};
        parts[1] = (struct hold_part){"self_attn.k_proj", "k_proj", q, kv};
        parts[2] = (struct hold_part){"self_attn.v_proj", "v_proj", q + kv, kv};
        return 3;
    case HOLD_O:
        parts[0] = (struct hold_part){"self_attn.o_proj", "o_proj", 0, s->d_model};
        return 1;
    case HOLD_GATE_UP:
        parts[0] = (struct hold_part){"mlp.gate_proj", "gate_proj", 0, s->d_ff};
        parts[1] = (struct hold_part){"mlp.up_proj", "up_proj", s->d_ff, s->d_ff};
        return 2;
    case HOLD_DOWN:
    case HOLD_LINEAR_KINDS:
        break;
    }
    parts[0] = (struct hold_part){"mlp.down_proj", "down_proj", 0, s->d_model};
    return 1;
}

void hold_model_fused(const struct hold_shape *s, enum hold_linear_kind kind, int64_t *out,
                      int64_t *in) {
    struct hold_part parts[HOLD_LORA_PARTS];
    int n = hold_model_parts(s, kind, parts);
    *out = 0;
    for (int i = 0; i < n; i++)
        *out += parts[i].rows;
    *in = kind == HOLD_O ? s->n_heads * s->head_dim : kind == HOLD_DOWN ? s->d_ff : s->d_model;
}

int hold_model_norms(const struct hold_shape *s, struct hold_layer *layer,
                     struct hold_layer_norm norms[HOLD_LAYER_NORMS]) {
    const struct hold_traits *t = hold_shape_traits(s);
    int n = 0;
    norms[n++] = (struct hold_layer_norm){"input_layernorm", &layer->norm_attention, s->d_model};
    norms[n++] = (struct hold_layer_norm){t->post_norms ? "pre_feedforward_layernorm"
                                                        : "post_attention_layernorm",
                                          &layer->norm_mlp, s->d_model};
    if (t->post_norms) {
        norms[n++] = (struct hold_layer_norm){"post_attention_layernorm",
                                              &layer->norm_after_attention, s->d_model};
        norms[n++] = (struct hold_layer_norm){"post_feedforward_layernorm", &layer->norm_after_mlp,
                                              s->d_model};
    }
    if (t->head_norm) {
        norms[n++] = (struct hold_layer_norm){"self_attn.q_norm", &layer->norm_q, s->head_dim};
        norms[n++] = (struct hold_layer_norm){"self_attn.k_norm", &layer->norm_k, s->head_dim};
    }
    return n;
}

struct loader {
    struct hold_model *m;
    const struct hold_model_files *files; /* NULL: only sizes (a dry model) */
    float *host;                          /* some rows of a tensor */
    int64_t host_cap;
    int64_t bad;
    char first_bad[128];
};

static int host_room(struct loader *ld, int64_t n, struct hold_error *err) {
    if (n <= ld->host_cap)
        return HOLD_OK;
    float *p = hold_realloc(ld->host, (size_t)n * sizeof *p);
    if (p == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a tensor of %lld elements",
                         (long long)n);
    ld->host = p;
    ld->host_cap = n;
    return HOLD_OK;
}

static int new_param(struct loader *ld, const char *name, int64_t rows, int64_t cols,
                     struct hold_param *out, struct hold_error *err) {
    *out = (struct hold_param){.name = name, .flat = -1};
    out->value = hold_tensor_at((struct hold_ptr){0}, rows, cols);
    struct hold_device *d = ld->m->device;
    return d->k->alloc(d, rows * cols * 4, &out->value.data, err);
}

/* The stored tensor `name`, which must have n numbers. */
static int find_tensor(const struct loader *ld, const char *name, int64_t n,
                       const struct hold_stored **out, struct hold_error *err) {
    const struct hold_stored *t = hold_stored_find(ld->files->tensors, ld->files->n_tensors, name);
    *out = t;
    if (t == NULL)
        return hold_fail(err, HOLD_EFORMAT, "%s: tensor '%s' is missing", ld->files->path, name);
    if (hold_stored_count(t) != n)
        return hold_fail(err, HOLD_EFORMAT, "%s: tensor '%s' has %lld elements, expected %lld",
                         ld->files->path, name, (long long)hold_stored_count(t), (long long)n);
    return HOLD_OK;
}

/* Read numbers [first, first + n) of a stored tensor to ld->host, which has room for `more` after
 * them. */
static int read_numbers(struct loader *ld, const struct hold_stored *t, int64_t first, int64_t n,
                        int64_t more, struct hold_error *err) {
    int rc = host_room(ld, n + more, err);
    if (rc == HOLD_OK)
        rc = hold_stored_to_f32(t, first, n, ld->host, err);
    if (rc < 0)
        return rc;
    int64_t bad = 0;
    for (int64_t i = 0; i < n; i++)
        bad += !isfinite(ld->host[i]);
    if (bad > 0 && ld->bad == 0)
        snprintf(ld->first_bad, sizeof ld->first_bad, "%s", t->name);
    ld->bad += bad;
    return HOLD_OK;
}

/* Fill rows [first, first + rows) of a parameter from the stored tensor `name`, some rows at a
 * time: what is read is still in cache when it is written. */
static int fill(struct loader *ld, struct hold_param *p, int64_t first, int64_t rows,
                const char *name, int64_t unpermute_heads, struct hold_error *err) {
    enum { AT_A_TIME = 1 << 17 }; /* numbers */
    if (ld->files == NULL)
        return HOLD_OK;
    int64_t head_dim = ld->m->shape.head_dim, cols = p->value.cols;
    bool permuted = unpermute_heads > 0 && ld->files->permuted_qk;
    const struct hold_stored *t;
    int rc = find_tensor(ld, name, rows * cols, &t, err);
    int64_t some = permuted ? rows : (AT_A_TIME + cols - 1) / cols;
    for (int64_t r = 0; rc == HOLD_OK && r < rows; r += some) {
        int64_t n = rows - r < some ? rows - r : some;
        rc = read_numbers(ld, t, r * cols, n * cols, permuted ? head_dim * cols : 0, err);
        if (rc < 0)
            break;
        if (permuted)
            hold_unpermute_rows(ld->host, unpermute_heads, head_dim, cols, ld->host + n * cols);
        struct hold_device *d = ld->m->device;
        d->k->write(d, hold_at_f32(p->value.data, (first + r) * cols), ld->host, n * cols * 4);
    }
    return rc;
}

/* Fill columns [first, first + n) of a vector: a norm's gain or a part of a bias. */
static int fill_vector(struct loader *ld, struct hold_param *p, int64_t first, int64_t n,
                       const char *name, bool gain, struct hold_error *err) {
    if (ld->files == NULL)
        return HOLD_OK;
    const struct hold_stored *t;
    int rc = find_tensor(ld, name, n, &t, err);
    if (rc == HOLD_OK)
        rc = read_numbers(ld, t, 0, n, 0, err);
    if (rc < 0)
        return rc;
    for (int64_t i = 0; gain && ld->files->raised_gains && i < n; i++)
        ld->host[i] -= 1.0f;
    struct hold_device *d = ld->m->device;
    d->k->write(d, hold_at_f32(p->value.data, first), ld->host, n * 4);
    return HOLD_OK;
}

static int load_norm(struct loader *ld, const char *leaf, const char *name, int64_t cols,
                     struct hold_param *p, struct hold_error *err) {
    int rc = new_param(ld, leaf, 1, cols, p, err);
    p->offset = ld->m->ones;
    return rc < 0 ? rc : fill_vector(ld, p, 0, cols, name, true, err);
}

static int load_bias(struct loader *ld, int64_t l, const struct hold_part *parts, int n,
                     struct hold_linear *lin, struct hold_error *err) {
    char name[128];
    int rc = new_param(ld, "bias", 1, lin->w.value.rows, &lin->bias, err);
    for (int i = 0; rc == HOLD_OK && i < n; i++) {
        snprintf(name, sizeof name, "model.layers.%lld.%s.bias", (long long)l, parts[i].module);
        rc = fill_vector(ld, &lin->bias, parts[i].first, parts[i].rows, name, false, err);
    }
    return rc;
}

int hold_model_prepare(struct hold_model *m, struct hold_param *p, bool fine,
                       struct hold_error *err) {
    const struct hold_kernels *k = m->device->k;
    int rc = k->weight_new(m->device, p->value.data, p->value.rows, p->value.cols, &p->weight, err);
    return rc < 0 || !fine ? rc : k->weight_refine(m->device, p->weight, p->value.data, err);
}

/* Where bf16's rounding costs most: an error of a query or a key is multiplied by the other and
 * moves whole rows of attention, and the early layers' down_proj makes the few very large numbers
 * that the residual stream carries to the end. */
static bool wants_fine(const struct hold_shape *s, int64_t l, int kind) {
    return kind == HOLD_QKV || (kind == HOLD_DOWN && 2 * l < s->n_layers);
}

int hold_model_has_numbers(const struct hold_model *m, struct hold_error *err) {
    return m->lean ? hold_fail(err, HOLD_EINTERNAL, "the model was loaded without its weights")
                   : HOLD_OK;
}

/* A lean model's prepared matrix is all there is of it. */
static void let_go(struct hold_model *m, struct hold_param *p) {
    if (!m->lean)
        return;
    m->device->k->release(m->device, p->value.data);
    p->value.data = (struct hold_ptr){0};
}

static int load_layer(struct loader *ld, int64_t l, struct hold_error *err) {
    struct hold_model *m = ld->m;
    const struct hold_shape *s = &m->shape;
    struct hold_layer *layer = &m->layers[l];
    char name[128];
    struct hold_layer_norm norms[HOLD_LAYER_NORMS];
    int n_norms = hold_model_norms(s, layer, norms);
    for (int i = 0; i < n_norms; i++) {
        snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)l, norms[i].leaf);
        int rc = load_norm(ld, norms[i].leaf, name, norms[i].cols, norms[i].param, err);
        if (rc < 0)
            return rc;
    }
    for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++) {
        struct hold_linear *lin = &layer->linear[kind];
        struct hold_part parts[HOLD_LORA_PARTS];
        int n = hold_model_parts(s, (enum hold_linear_kind)kind, parts);
        int64_t out, in;
        hold_model_fused(s, (enum hold_linear_kind)kind, &out, &in);
        int rc = new_param(ld, parts[0].module, out, in, &lin->w, err);
        lin->fine = wants_fine(s, l, kind);
        lin->dropout_key = (uint64_t)(l * HOLD_LINEAR_KINDS + kind + 1) * 0x9E3779B97F4A7C15u;
        for (int i = 0; rc == HOLD_OK && i < n; i++) {
            snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)l,
                     parts[i].module);
            int64_t heads = kind == HOLD_QKV && i < 2 ? parts[i].rows / s->head_dim : 0;
            rc = fill(ld, &lin->w, parts[i].first, parts[i].rows, name, heads, err);
        }
        if (rc == HOLD_OK)
            rc = hold_model_prepare(m, &lin->w, lin->fine, err);
        if (rc == HOLD_OK)
            let_go(m, &lin->w);
        if (rc == HOLD_OK && kind == HOLD_QKV && hold_shape_traits(s)->qkv_bias)
            rc = load_bias(ld, l, parts, n, lin, err);
        if (rc < 0)
            return rc;
    }
    return HOLD_OK;
}

/* The ones that gains of the form 1 + w want; heads and rows take as many as they need. */
static int load_ones(struct loader *ld, struct hold_error *err) {
    struct hold_model *m = ld->m;
    const struct hold_shape *s = &m->shape;
    int64_t n = s->d_model > s->head_dim ? s->d_model : s->head_dim;
    if (!hold_shape_traits(s)->offset_gain)
        return HOLD_OK;
    int rc = host_room(ld, n, err);
    if (rc == HOLD_OK)
        rc = m->device->k->alloc(m->device, n * 4, &m->ones, err);
    if (rc < 0)
        return rc;
    for (int64_t i = 0; i < n; i++)
        ld->host[i] = 1.0f;
    m->device->k->write(m->device, m->ones, ld->host, n * 4);
    return HOLD_OK;
}

static int load_weights(struct loader *ld, struct hold_error *err) {
    struct hold_model *m = ld->m;
    const struct hold_shape *s = &m->shape;
    void *p = NULL;
    int rc = hold_new(&p, (size_t)s->n_layers, sizeof *m->layers, "the layers of a model", err);
    m->layers = p;
    if (rc == HOLD_OK)
        rc = load_ones(ld, err);
    if (rc == HOLD_OK)
        rc = new_param(ld, "embed_tokens", s->vocab, s->d_model, &m->embed, err);
    if (rc == HOLD_OK)
        rc = fill(ld, &m->embed, 0, s->vocab, "model.embed_tokens.weight", 0, err);
    if (rc == HOLD_OK && s->tied)
        m->head = m->embed;
    if (rc == HOLD_OK && !s->tied)
        rc = new_param(ld, "lm_head", s->vocab, s->d_model, &m->head, err);
    if (rc == HOLD_OK && !s->tied)
        rc = fill(ld, &m->head, 0, s->vocab, "lm_head.weight", 0, err);
    if (rc == HOLD_OK)
        rc = hold_model_prepare(m, &m->head, false, err);
    if (rc == HOLD_OK && !s->tied)
        let_go(m, &m->head);
    if (rc == HOLD_OK)
        rc = load_norm(ld, "norm", "model.norm.weight", s->d_model, &m->norm, err);
    for (int64_t l = 0; rc == HOLD_OK && l < s->n_layers; l++)
        rc = load_layer(ld, l, err);
    if (rc == HOLD_OK && ld->bad > 0)
        rc = hold_fail(err, HOLD_EFORMAT,
                       "%s: %lld weights are NaN or infinite, the first in tensor '%s'",
                       ld->files->path, (long long)ld->bad, ld->first_bad);
    return rc;
}

static int load_frequencies(struct hold_model *m, bool local, struct hold_ptr *to,
                            struct hold_error *err) {
    enum { MOST = 512 };
    int64_t half = m->shape.head_dim / 2;
    float inv[MOST];
    if (half > MOST)
        return hold_fail(err, HOLD_EUNSUPPORTED, "heads of width %lld are not supported",
                         (long long)m->shape.head_dim);
    hold_shape_inv_freq(&m->shape, local, inv);
    int rc = m->device->k->alloc(m->device, half * 4, to, err);
    if (rc == HOLD_OK)
        m->device->k->write(m->device, *to, inv, half * 4);
    return rc;
}

static int load_rope(struct hold_model *m, struct hold_error *err) {
    int rc = load_frequencies(m, false, &m->inv_freq, err);
    return rc < 0 ? rc : load_frequencies(m, true, &m->inv_freq_local, err);
}

static int copy_text(char **to, const char *from, struct hold_error *err) {
    if (from == NULL)
        return HOLD_OK;
    *to = hold_strdup(from);
    return *to == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a model's texts") : HOLD_OK;
}

static int take_text_side(struct hold_model *m, struct hold_model_files *f,
                          struct hold_error *err) {
    int rc = copy_text(&m->bos_token, f->bos_token, err);
    if (rc == HOLD_OK)
        rc = copy_text(&m->eos_token, f->eos_token, err);
    if (rc == HOLD_OK && f->chat_template != NULL)
        rc = hold_template_new(&m->chat, f->chat_template, f->path, err);
    if (rc < 0)
        return rc;
    m->tokenizer = f->tokenizer; /* taken over */
    f->tokenizer = NULL;
    m->profile = f->profile;
    f->profile = NULL;
    m->n_eos_ids = f->n_eos_ids;
    memcpy(m->eos_ids, f->eos_ids, sizeof m->eos_ids);
    memcpy(m->content_id, f->content_id, sizeof m->content_id);
    memcpy(m->merged_id, f->merged_id, sizeof m->merged_id);
    return HOLD_OK;
}

static int load(struct hold_model *m, const char *path, struct hold_device *device, bool lean,
                const struct hold_ctx *ctx, struct hold_error *err) {
    *m = (struct hold_model){.device = device, .lean = lean};
    struct hold_model_files files = {0};
    struct loader ld = {.m = m, .files = &files};
    int rc = hold_model_files_open(&files, path, err);
    if (rc < 0)
        return rc;
    hold_log(ctx, HOLD_DEBUG, "model", "loading %s", path);
    m->shape = files.shape;
    rc = copy_text(&m->path, path, err);
    if (rc == HOLD_OK)
        rc = load_weights(&ld, err);
    if (rc == HOLD_OK)
        rc = hold_model_files_check(&files, err);
    if (rc == HOLD_OK)
        rc = load_rope(m, err);
    if (rc == HOLD_OK)
        rc = take_text_side(m, &files, err);
    if (rc == HOLD_OK)
        rc = device->k->sync(device, err);
    hold_free(ld.host);
    hold_model_files_release(&files);
    if (rc < 0)
        hold_model_release(m);
    return rc;
}

int hold_model_load(struct hold_model *m, const char *path, struct hold_device *device,
                    const struct hold_ctx *ctx, struct hold_error *err) {
    return load(m, path, device, false, ctx, err);
}

int hold_model_load_lean(struct hold_model *m, const char *path, struct hold_device *device,
                         const struct hold_ctx *ctx, struct hold_error *err) {
    return load(m, path, device, strcmp(hold_device_dtype(device), "bf16") == 0, ctx, err);
}

int hold_model_dry(struct hold_model *out, const struct hold_model *like, struct hold_device *dry,
                   struct hold_error *err) {
    *out = (struct hold_model){.device = dry, .shape = like->shape};
    struct loader ld = {.m = out};
    int rc = load_weights(&ld, err);
    if (rc == HOLD_OK)
        rc = load_rope(out, err);
    if (rc == HOLD_OK && like->lora)
        rc = hold_model_add_lora(out, &like->lora_config, err);
    if (rc == HOLD_OK && like->full)
        rc = hold_model_make_full(out, err);
    if (rc < 0)
        hold_model_release(out);
    return rc;
}

static void drop_param(struct hold_model *m, struct hold_param *p) {
    if (p->weight != NULL)
        m->device->k->weight_free(m->device, p->weight);
    if (p->flat < 0 && !hold_ptr_null(p->value.data))
        m->device->k->release(m->device, p->value.data);
    *p = (struct hold_param){.flat = -1};
}

void hold_model_release(struct hold_model *m) {
    if (m->device == NULL)
        return;
    if (m->shape.tied) { /* the head shares the embedding's memory, not its prepared weight */
        if (m->head.weight != NULL)
            m->device->k->weight_free(m->device, m->head.weight);
    } else {
        drop_param(m, &m->head);
    }
    drop_param(m, &m->embed);
    drop_param(m, &m->norm);
    for (int64_t l = 0; m->layers != NULL && l < m->shape.n_layers; l++) {
        struct hold_layer_norm norms[HOLD_LAYER_NORMS];
        int n = hold_model_norms(&m->shape, &m->layers[l], norms);
        for (int i = 0; i < n; i++)
            drop_param(m, norms[i].param);
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++) {
            drop_param(m, &m->layers[l].linear[kind].w);
            drop_param(m, &m->layers[l].linear[kind].bias);
        }
    }
    const struct hold_ptr own[] = {m->inv_freq, m->inv_freq_local, m->ones, m->flat};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!hold_ptr_null(own[i]))
            m->device->k->release(m->device, own[i]);
    hold_free(m->layers);
    hold_free(m->names);
    hold_tokenizer_free(m->tokenizer);
    hold_template_free(m->chat);
    hold_free(m->bos_token);
    hold_free(m->eos_token);
    hold_free(m->path);
    json_decref(m->profile);
    *m = (struct hold_model){0};
}

struct hold_renderer hold_model_renderer(const struct hold_model *m, int64_t max_length) {
    return (struct hold_renderer){
        .tokenizer = m->tokenizer,
        .chat = m->chat,
        .bos_token = m->bos_token,
        .eos_token = m->eos_token,
        .system = json_string_value(json_object_get(m->profile, "system")),
        .prefix = json_string_value(json_object_get(m->profile, "prefix")),
        .max_length = (int32_t)max_length,
        .add_bos = hold_tokenizer_adds_bos(m->tokenizer),
        .add_eos = hold_tokenizer_adds_eos(m->tokenizer),
    };
}

int64_t hold_model_matrix_params(const struct hold_model *m) {
    int64_t sum = m->shape.vocab * m->shape.d_model;
    for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++) {
        int64_t out, in;
        hold_model_fused(&m->shape, (enum hold_linear_kind)kind, &out, &in);
        sum += m->shape.n_layers * out * in;
    }
    return sum;
}
