/* gguf_model.c: a model as one GGUF file: its shape as metadata, its tensors under GGUF's names in
 * GGUF's order of rows. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "formats/gguf_write.h"
#include "formats/shape.h"
#include "formats/vocab.h"

/* ---- metadata ---- */

struct full_key {
    char text[96];
};
static struct full_key key_of(const struct hold_shape *s, const char *key) {
    struct full_key k;
    snprintf(k.text, sizeof k.text, "%s.%s", hold_shape_traits(s)->gguf, key);
    return k;
}

/* What general.* says of a whole file's types (llama.cpp's enum llama_ftype). */
static uint32_t file_type(enum hold_stored_type type) {
    switch (type) {
    case HOLD_ST_F16:
        return 1;
    case HOLD_ST_Q8_0:
        return 7;
    case HOLD_ST_BF16:
        return 32;
    default:
        return 0;
    }
}

/* What a GGUF source says of itself besides (name, licence, authors) stays. */
static int add_general(struct hold_gguf_keys *keys, const struct hold_gguf_model *m,
                       struct hold_error *err) {
    static const char *const OURS[] = {"general.architecture", "general.type", "general.file_type",
                                       "general.quantization_version", "general.alignment"};
    hold_gguf_add_text(keys, OURS[0], hold_shape_traits(m->shape)->gguf);
    hold_gguf_add_text(keys, OURS[1], "model");
    hold_gguf_add_int(keys, OURS[2], file_type(m->type));
    hold_gguf_add_int(keys, OURS[3], 2);
    struct hold_gguf_entry entry;
    for (int64_t i = 0; m->from->gguf && hold_gguf_entry(m->from->gguf, i, &entry); i++) {
        bool ours = !hold_starts(entry.key, "general.");
        for (size_t k = 0; k < sizeof OURS / sizeof *OURS; k++) {
            ours = ours || strcmp(entry.key, OURS[k]) == 0;
        }
        if (!ours) {
            hold_gguf_add_entry(keys, &entry);
        }
    }
    if (m->merged_id != NULL && m->merged_id[0] != '\0') {
        hold_gguf_add_text(keys, HOLD_MERGED_KEY, m->merged_id);
    }
    struct hold_str profile = HOLD_STR_INIT;
    int rc = m->profile != NULL ? hold_json_canonical(m->profile, &profile, err) : HOLD_OK;
    if (!rc && m->profile != NULL) {
        hold_gguf_add_text(keys, HOLD_PROFILE_KEY, hold_str_text(&profile));
    }
    hold_str_release(&profile);
    return rc;
}

/* The scale of scores follows from the shape: GGUF has no key for it. */
static int check_scalar(const struct hold_shape *s, const char *path, struct hold_error *err) {
    double told = hold_shape_gguf_scalar(s);
    return s->query_scalar == told
               ? HOLD_OK
               : hold_fail(err, HOLD_EUNSUPPORTED,
                           "%s: query_pre_attn_scalar %g cannot be told in GGUF; expected %g for "
                           "this shape",
                           path, s->query_scalar, told);
}

/* Gemma: a window that no layer uses is told as one, for the file must have one. */
static void add_window(struct hold_gguf_keys *keys, const struct hold_shape *s) {
    if (s->family == HOLD_GEMMA3) {
        bool slides = s->window > 0;
        hold_gguf_add_int(keys, key_of(s, "attention.sliding_window").text,
                          (uint32_t)(slides ? s->window : s->max_positions));
        hold_gguf_add_int(keys, key_of(s, "attention.sliding_window_pattern").text,
                          (uint32_t)(slides ? s->global_every : 1));
        hold_gguf_add_real(keys, key_of(s, "rope.freq_base_swa").text, s->local_theta);
    } else if (s->window > 0) {
        hold_gguf_add_int(keys, key_of(s, "attention.sliding_window").text, (uint32_t)s->window);
    }
}

static int add_shape(struct hold_gguf_keys *keys, const struct hold_shape *shape, const char *path,
                     struct hold_error *err) {
    struct hold_shape s = *shape;
    int rc = check_scalar(&s, path, err);
    for (int i = 0; i < HOLD_SHAPE_FIELDS; i++) {
        const struct hold_shape_field *f = &hold_shape_fields[i];
        hold_gguf_add_int(keys, key_of(&s, f->gguf).text, (uint32_t)*hold_shape_field(&s, f));
    }
    hold_gguf_add_int(keys, key_of(&s, "attention.value_length").text, (uint32_t)s.head_dim);
    hold_gguf_add_int(keys, key_of(&s, "rope.dimension_count").text, (uint32_t)s.head_dim);
    hold_gguf_add_real(keys, key_of(&s, "attention.layer_norm_rms_epsilon").text, s.norm_eps);
    hold_gguf_add_real(keys, key_of(&s, "rope.freq_base").text, s.rope_theta);
    if (s.rope.kind == HOLD_ROPE_LINEAR) {
        hold_gguf_add_text(keys, key_of(&s, "rope.scaling.type").text, "linear");
        hold_gguf_add_real(keys, key_of(&s, "rope.scaling.factor").text, s.rope.factor);
    }
    add_window(keys, &s);
    return rc;
}

/* ---- tensors ---- */

/* How a tensor of the file comes from one of the model. */
struct from {
    int64_t index; /* in the model's list; -1: the rope's divisors */
    int64_t cols;
    bool permuted, raised;
};
struct layout {
    const struct hold_gguf_model *m;
    const char *path;
    int64_t n;
    struct hold_to_store *tensors;
    struct from *from;
    struct hold_part *parts; /* the names */
    float *divisors;         /* head_dim / 2, or NULL */
};

static void layout_release(struct layout *l) {
    hold_free(l->tensors);
    hold_free(l->from);
    hold_free(l->parts);
    hold_free(l->divisors);
}

static void fetch(void *user, int64_t i, int64_t first, int64_t n, float *out) {
    const struct layout *l = user;
    const struct from *f = &l->from[i];
    const struct hold_store_source *source = &l->m->source;
    int64_t half = l->m->shape->head_dim / 2;
    if (f->index < 0) {
        memcpy(out, l->divisors + first, (size_t)n * sizeof *out);
        return;
    }
    if (!f->permuted) {
        source->fetch(source->user, f->index, first, n, out);
    }
    for (int64_t at = first; f->permuted && at < first + n;) { /* piece of a row by piece */
        int64_t row = at / f->cols, col = at % f->cols, in_head = row % (2 * half);
        int64_t took = f->cols - col < first + n - at ? f->cols - col : first + n - at;
        int64_t theirs = row - in_head + in_head % 2 * half + in_head / 2;
        source->fetch(source->user, f->index, theirs * f->cols + col, took, out + (at - first));
        at += took;
    }
    for (int64_t k = 0; f->raised && k < n; k++) {
        out[k] += 1.0F;
    }
}

static int64_t find(const struct hold_gguf_model *m, const char *name) {
    for (int64_t i = 0; i < m->n_tensors; i++) {
        if (strcmp(m->tensors[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static int add_part(struct layout *l, int64_t i, int64_t *odd, struct hold_error *err) {
    const struct hold_gguf_model *m = l->m;
    const struct hold_traits *traits = hold_shape_traits(m->shape);
    struct hold_part *part = &l->parts[i];
    hold_part_get(m->shape, i, part);
    struct hold_to_store *t = &l->tensors[i];
    struct from *f = &l->from[i];
    *t = (struct hold_to_store){.name = part->gguf,
                                .type = m->type,
                                .n_dims = part->n_dims,
                                .dim = {part->dim[0], part->dim[1], 1, 1}};
    f->index = find(m, part->hf);
    f->cols = part->dim[1];
    if (f->index < 0) {
        return hold_fail(err, HOLD_EINTERNAL, "%s: tensor %s is missing", l->path, part->hf);
    }
    if (part->n_dims == 1) {
        t->type = HOLD_ST_F32;
        f->raised = traits->offset_gain && !hold_ends(part->hf, ".bias");
    } else if (m->type == HOLD_ST_Q8_0 && f->cols % hold_stored_block(HOLD_ST_Q8_0) != 0) {
        t->type = HOLD_ST_F16;
        ++*odd;
    }
    f->permuted = strcmp(traits->gguf, "llama") == 0 &&
                  (hold_ends(part->hf, "q_proj.weight") || hold_ends(part->hf, "k_proj.weight"));
    return HOLD_OK;
}

/* By how much Llama 3's scaling divides each frequency, as llama.cpp's converter computes it: a
 * wavelength is in positions. */
static void fill_divisors(const struct hold_shape *s, float *out) {
    const struct hold_rope *r = &s->rope;
    for (int64_t j = 0; j < s->head_dim / 2; j++) {
        double wavelength =
            2 * acos(-1.0) * pow(s->rope_theta, 2.0 * (double)j / (double)s->head_dim);
        double divisor = 1;
        if (wavelength > r->original / r->low) {
            divisor = r->factor;
        } else if (wavelength >= r->original / r->high) {
            double smooth = (r->original / wavelength - r->low) / (r->high - r->low);
            divisor = 1 / ((1 - smooth) / r->factor + smooth);
        }
        out[j] = (float)divisor;
    }
}

/* Only what the reader finds again in the divisors is written. */
static int add_rope(struct layout *l, struct hold_error *err) {
    const struct hold_shape *s = l->m->shape;
    struct hold_shape read = *s;
    void *memory = NULL;
    read.rope = (struct hold_rope){0};
    if (strcmp(hold_shape_traits(s)->gguf, "llama") != 0) {
        return hold_fail(err, HOLD_EUNSUPPORTED,
                         "%s: Llama 3's rope scaling cannot be told in GGUF for architecture %s",
                         l->path, hold_shape_traits(s)->gguf);
    }
    int rc = hold_new(&memory, (size_t)s->head_dim / 2, sizeof(float), "rotary frequencies", err);
    if (rc) {
        return rc;
    }
    l->divisors = memory;
    fill_divisors(s, l->divisors);
    const struct hold_rope *r = &s->rope, *found = &read.rope;
    if (hold_shape_rope_from_divisors(&read, l->divisors, l->path, err) ||
        found->factor != (double)(float)r->factor || found->low != r->low ||
        found->high != r->high || found->original != r->original) {
        return hold_fail(
            err, HOLD_EUNSUPPORTED,
            "%s: rope scaling \"llama3\" of factor %g, %g to %g of %g positions cannot "
            "be told in GGUF for this shape",
            l->path, r->factor, r->low, r->high, r->original);
    }
    l->tensors[l->n] = (struct hold_to_store){.name = "rope_freqs.weight",
                                              .type = HOLD_ST_F32,
                                              .n_dims = 1,
                                              .dim = {s->head_dim / 2, 1, 1, 1}};
    l->from[l->n++] = (struct from){.index = -1};
    return HOLD_OK;
}

static int lay_out(struct layout *l, const struct hold_ctx *ctx, struct hold_error *err) {
    void *tensors = NULL, *from = NULL, *names = NULL;
    int64_t parts = hold_part_count(l->m->shape), odd = 0;
    size_t room = (size_t)parts + 1;
    int rc = hold_new(&tensors, room, sizeof *l->tensors, "a list of tensors", err);
    l->tensors = tensors;
    if (!rc) {
        rc = hold_new(&from, room, sizeof *l->from, "a list of tensors", err);
    }
    l->from = from;
    if (!rc) {
        rc = hold_new(&names, room, sizeof *l->parts, "a list of tensors", err);
    }
    l->parts = names;
    for (int64_t i = 0; !rc && i < parts; i++) {
        rc = add_part(l, i, &odd, err);
    }
    if (rc) {
        return rc;
    }
    l->n = parts;
    if (odd > 0) {
        hold_log(ctx, HOLD_WARN, "model",
                 "%lld of %lld matrices are written as F16: their rows are no multiple of the 32 "
                 "numbers of a Q8_0 block",
                 (long long)odd, (long long)parts);
    }
    return l->m->shape->rope.kind == HOLD_ROPE_LLAMA3 ? add_rope(l, err) : HOLD_OK;
}

int hold_model_gguf_write(const char *path, const struct hold_gguf_model *model,
                          const struct hold_ctx *ctx, struct hold_error *err) {
    struct layout l = {.m = model, .path = path};
    struct hold_gguf_keys keys = {0};
    int rc = add_general(&keys, model, err);
    if (!rc) {
        rc = add_shape(&keys, model->shape, path, err);
    }
    if (!rc) {
        rc = hold_vocab_to_gguf(&keys, model->from, model->shape->vocab, err);
    }
    if (!rc) {
        rc = lay_out(&l, ctx, err);
    }
    if (!rc) {
        const struct hold_store_source source = {fetch, &l};
        rc = hold_gguf_write(path, &keys, l.tensors, l.n, &source, ctx, err);
    }
    layout_release(&l);
    hold_gguf_keys_release(&keys);
    return rc;
}
