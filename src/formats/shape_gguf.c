/* shape_gguf.c: a model's shape from GGUF metadata, with every number checked before it sizes
 * anything. */
#include <stdio.h>
#include <string.h>

#include "formats/shape.h"

/* What is read from: the file and the name that its architecture puts before its keys. */
struct source {
    const struct hold_gguf *g;
    const char *arch, *where;
};
struct full_key {
    char text[96];
};
static struct full_key key_of(const struct source *s, const char *key) {
    struct full_key k;
    snprintf(k.text, sizeof k.text, "%s.%s", s->arch, key);
    return k;
}
static int get_int(const struct source *s, const char *key, int64_t def, int64_t *out,
                   struct hold_error *err) {
    return hold_gguf_int_or(s->g, key_of(s, key).text, def, out, err);
}
static int get_real(const struct source *s, const char *key, double def, double *out,
                    struct hold_error *err) {
    return hold_gguf_real_or(s->g, key_of(s, key).text, def, out, err);
}

/* Integers and reals that must have the one value that is computed. */
static int refuse_extras(const struct source *s, const struct hold_shape *shape,
                         struct hold_error *err) {
    const struct {
        const char *key;
        int64_t only;
    } ints[] = {{"expert_count", 0},
                {"attention.sliding_window", shape->window},
                {"rope.dimension_count", shape->head_dim},
                {"attention.value_length", shape->head_dim}};
    static const char *const ZERO[] = {"attn_logit_softcapping", "final_logit_softcapping",
                                       "attention.scale", "rope.scaling.yarn_ext_factor"};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        int64_t value;
        int rc = get_int(s, ints[i].key, ints[i].only, &value, err);
        if (rc) {
            return rc;
        }
        if (value != ints[i].only) {
            return i < 2 ? hold_fail(err, HOLD_EUNSUPPORTED, "%s: %s = %lld is not supported",
                                     s->where, key_of(s, ints[i].key).text, (long long)value)
                         : hold_fail(err, HOLD_EUNSUPPORTED,
                                     "%s: %s = %lld is not supported; expected the head dimension "
                                     "%lld",
                                     s->where, key_of(s, ints[i].key).text, (long long)value,
                                     (long long)shape->head_dim);
        }
    }
    for (size_t i = 0; i < sizeof ZERO / sizeof *ZERO; i++) {
        double value;
        int rc = get_real(s, ZERO[i], 0, &value, err);
        if (rc) {
            return rc;
        }
        if (value < 0 || value > 0) {
            return hold_fail(err, HOLD_EUNSUPPORTED, "%s: %s = %g is not supported", s->where,
                             key_of(s, ZERO[i]).text, value);
        }
    }
    return HOLD_OK;
}

static int read_rope(const struct source *s, struct hold_shape *out, struct hold_error *err) {
    const char *kind = NULL;
    double linear = 1, factor = 1;
    int rc = get_real(s, "rope.freq_base", 10000, &out->rope_theta, err);
    if (!rc) {
        rc = hold_gguf_text_or(s->g, key_of(s, "rope.scaling.type").text, "none", &kind, err);
    }
    if (!rc) {
        rc = get_real(s, "rope.scale_linear", 1, &linear, err); /* of old files */
    }
    if (!rc) {
        rc = get_real(s, "rope.scaling.factor", linear, &factor, err);
    }
    if (rc) {
        return rc;
    }
    bool is_linear = strcmp(kind, "linear") == 0;
    if (!is_linear && strcmp(kind, "none") != 0) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s: rope scaling \"%s\" is not supported",
                         s->where, kind);
    }
    if (is_linear || linear < 1 || linear > 1) {
        out->rope = (struct hold_rope){.kind = HOLD_ROPE_LINEAR, .factor = factor};
    }
    return HOLD_OK;
}

/* Gemma 3's largest model scales scores by another number than the head's dimension. */
double hold_shape_gguf_scalar(const struct hold_shape *s) {
    enum { LAYERS_OF_27B = 62 };
    return s->family == HOLD_GEMMA3 && s->n_layers == LAYERS_OF_27B
               ? (double)s->d_model / (double)s->n_heads
               : (double)s->head_dim;
}

/* Which layers slide, a bool for each; only a regular pattern is known. */
static int read_pattern_list(const struct source *s, const char *key, struct hold_shape *out,
                             struct hold_error *err) {
    const int32_t *slides;
    int64_t n = 0, first = 0;
    int rc = hold_gguf_ints(s->g, key, &slides, &n, err);
    if (!rc && n < out->n_layers) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: %s: %lld items, expected %lld", s->where, key,
                       (long long)n, (long long)out->n_layers);
    }
    for (int64_t l = 0; !rc && l < out->n_layers && first == 0; l++) {
        first = slides[l] == 0 ? l + 1 : 0;
    }
    out->global_every = first;
    for (int64_t l = 0; !rc && l < out->n_layers; l++) {
        if ((slides[l] != 0) != (first == 0 || (l + 1) % first != 0)) {
            rc = hold_fail(err, HOLD_EUNSUPPORTED,
                           "%s: %s: item %lld is not supported; expected a layer that sees all "
                           "keys after every so many sliding ones",
                           s->where, key, (long long)l);
        }
    }
    return rc;
}

/* Gemma 3: the layers' pattern is fixed in old files, a number (0: all slide) or a list in others.
 */
static int read_gemma(const struct source *s, struct hold_shape *out, struct hold_error *err) {
    struct full_key pattern = key_of(s, "attention.sliding_window_pattern");
    int rc = get_int(s, "attention.sliding_window", 0, &out->window, err);
    if (!rc && hold_gguf_is_array(s->g, pattern.text)) {
        rc = read_pattern_list(s, pattern.text, out, err);
    } else if (!rc) {
        rc = hold_gguf_int_or(s->g, pattern.text, 6, &out->global_every, err);
    }
    if (!rc && out->global_every < 0) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: %s: found %lld, expected 0 or more", s->where,
                       pattern.text, (long long)out->global_every);
    }
    if (!rc) {
        rc = get_real(s, "rope.freq_base_swa", 10000, &out->local_theta, err);
    }
    if (!rc && out->window < 1) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: %s: found %lld, expected 1 or more", s->where,
                       key_of(s, "attention.sliding_window").text, (long long)out->window);
    }
    return rc;
}

static int check_kind(struct source *s, enum hold_family *family, struct hold_error *err) {
    const char *kind = NULL;
    int64_t parts = 1;
    int rc = hold_gguf_text_or(s->g, "general.type", "model", &kind, err);
    if (!rc && strcmp(kind, "model") != 0) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s: general.type is \"%s\", expected \"model\"",
                         s->where, kind);
    }
    if (!rc) {
        rc = hold_gguf_text_or(s->g, "general.architecture", NULL, &s->arch, err);
    }
    if (rc) {
        return rc;
    }
    *family = s->arch ? hold_shape_family(s->arch, true) : HOLD_FAMILIES;
    if (*family == HOLD_FAMILIES) {
        char names[96];
        hold_shape_family_names(true, names, sizeof names);
        return hold_fail(err, HOLD_EUNSUPPORTED,
                         "%s: general.architecture \"%s\" is not supported; expected %s", s->where,
                         s->arch ? s->arch : "(missing)", names);
    }
    rc = hold_gguf_int_or(s->g, "split.count", 1, &parts, err);
    if (!rc && parts > 1) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED,
                       "%s: a model split in %lld files is not supported; merge it first", s->where,
                       (long long)parts);
    }
    return rc;
}

static int read_field(const struct source *s, struct hold_shape *out,
                      const struct hold_shape_field *f, struct hold_error *err) {
    int64_t *field = hold_shape_field(out, f), def = 0; /* none */
    int rc = HOLD_OK;
    if (field == &out->n_kv_heads) {
        def = out->n_heads;
    } else if (field == &out->head_dim) {
        def = hold_shape_head_dim(out);
    } else if (field == &out->vocab) {
        const char *const *pieces;
        const int32_t *lengths;
        rc = hold_gguf_texts(s->g, "tokenizer.ggml.tokens", &pieces, &lengths, &def, err);
    }
    if (!rc) {
        rc = get_int(s, f->gguf, def, field, err);
    }
    if (!rc && def == 0 && !hold_gguf_has(s->g, key_of(s, f->gguf).text)) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: metadata key %s is missing", s->where,
                       key_of(s, f->gguf).text);
    }
    return rc ? rc : hold_shape_check_field(out, f, s->where, true, err);
}

int hold_shape_from_gguf(struct hold_shape *out, const struct hold_gguf *g, const char *where,
                         struct hold_error *err) {
    *out = (struct hold_shape){0};
    struct source s = {.g = g, .where = where};
    enum hold_family family = HOLD_FAMILIES;
    int rc = check_kind(&s, &family, err);
    if (rc) {
        return rc;
    }
    out->family = family;
    for (int i = 0; !rc && i < HOLD_SHAPE_FIELDS; i++) {
        rc = read_field(&s, out, &hold_shape_fields[i], err);
    }
    out->query_scalar = hold_shape_gguf_scalar(out);
    if (!rc) {
        rc = get_real(&s, "attention.layer_norm_rms_epsilon", 0, &out->norm_eps, err);
    }
    if (!rc) {
        rc = read_rope(&s, out, err);
    }
    if (!rc && family == HOLD_GEMMA3) {
        rc = read_gemma(&s, out, err);
    }
    if (!rc && family == HOLD_LLAMA) { /* Mistral's files are llama's, with a window */
        rc = get_int(&s, "attention.sliding_window", 0, &out->window, err);
        out->family = out->window != 0 ? HOLD_MISTRAL : HOLD_LLAMA;
    }
    if (!rc) {
        rc = hold_shape_check(out, true, where, err);
    }
    return rc ? rc : refuse_extras(&s, out, err);
}
