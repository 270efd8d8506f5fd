/* peft.c: LoRA adapters in PEFT's folder layout, read and written. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "formats/hf.h"
#include "formats/shape.h"

enum { MAX_RANK = 1 << 16 };

static const char PREFIX[] = "base_model.model.";
static const char *const FACTOR[2] = {".lora_A.weight", ".lora_B.weight"};
static const char CONFIG_FILE[] = "adapter_config.json";
static const char WEIGHTS_FILE[] = "adapter_model.safetensors";
static const char PROFILE_FILE[] = "inference.json";

static int no_memory(const char *where, struct hold_error *err) {
    return hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the adapter", where);
}

/* ---- adapter_config.json ---- */

/* Absent, null, false, empty: nothing asked for. */
static bool is_off(const json_t *value) {
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static int refuse_extras(const json_t *config, const char *where, struct hold_error *err) {
    static const char *const OFF[] = {
        "use_dora",
        "use_rslora",
        "use_qalora",
        "use_bdlora",
        "rank_pattern",
        "alpha_pattern",
        "modules_to_save",
        "layer_replication",
        "fan_in_fan_out",
        "lora_bias",
        "target_parameters",
        "trainable_token_indices",
        "arrow_config",
        "kasa_config",
        "velora_config",
        "monteclora_config",
        "alora_invocation_tokens",
    };
    for (size_t i = 0; i < sizeof OFF / sizeof *OFF; i++) {
        if (!is_off(json_object_get(config, OFF[i]))) {
            return hold_fail(err, HOLD_EUNSUPPORTED, "%s: %s is not supported", where, OFF[i]);
        }
    }
    const json_t *start = json_object_get(config, "init_lora_weights");
    const char *start_name = json_string_value(start);
    if (start_name && strcmp(start_name, "gaussian") != 0 && strcmp(start_name, "eva") != 0 &&
        strcmp(start_name, "orthogonal") != 0) {
        return hold_fail(err, HOLD_EUNSUPPORTED,
                         "%s: init_lora_weights \"%s\" is not supported (it may change the base)",
                         where, start_name);
    }
    const char *kind = NULL, *bias = NULL;
    int rc = hold_json_text_or(config, "peft_type", "(missing)", &kind, where, err);
    if (!rc && strcmp(kind, "LORA") != 0) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED,
                       "%s: peft_type \"%s\" is not supported; expected \"LORA\"", where, kind);
    }
    if (!rc) {
        rc = hold_json_text_or(config, "bias", "none", &bias, where, err);
    }
    if (!rc && strcmp(bias, "none") != 0) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED,
                       "%s: bias \"%s\" is not supported; expected \"none\"", where, bias);
    }
    return rc;
}

static int read_config(struct hold_adapter *a, const json_t *config, const char *where,
                       struct hold_error *err) {
    const char *base = NULL;
    if (!json_is_object(config)) {
        return hold_fail(err, HOLD_EFORMAT, "%s: not an object", where);
    }
    int rc = refuse_extras(config, where, err);
    if (!rc) {
        rc = hold_json_get_int(config, "r", &a->r, where, err);
    }
    if (!rc && (a->r < 1 || a->r > MAX_RANK)) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: r: found %lld, expected 1 to %d", where,
                       (long long)a->r, MAX_RANK);
    }
    if (!rc) {
        rc = hold_json_get_real(config, "lora_alpha", &a->alpha, where, err);
    }
    if (!rc && !(a->alpha > 0 && a->alpha < 1e9)) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: lora_alpha: found %g, expected a number above 0",
                       where, a->alpha);
    }
    if (!rc) {
        rc = hold_json_real_or(config, "lora_dropout", 0, &a->dropout, where, err);
    }
    if (!rc && !(a->dropout >= 0 && a->dropout < 1)) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: lora_dropout: found %g, expected 0 to 1", where,
                       a->dropout);
    }
    if (!rc) {
        rc = hold_json_text_or(config, "base_model_name_or_path", NULL, &base, where, err);
    }
    if (!rc && base) {
        a->base_model = hold_strdup(base);
        rc = a->base_model ? HOLD_OK : no_memory(where, err);
    }
    return rc;
}

/* ---- the factors ---- */

/* A key is PREFIX module FACTOR[k]: its module (new text in *module), and k. */
static int split_key(const char *key, char **module, int *k, const char *where,
                     struct hold_error *err) {
    size_t n = strlen(key);
    for (*k = 0; *k < 2; ++*k) {
        size_t head = sizeof PREFIX - 1, tail = strlen(FACTOR[*k]);
        if (hold_starts(key, PREFIX) && hold_ends(key, FACTOR[*k]) && n > head + tail) {
            *module = hold_strndup(key + head, n - head - tail);
            return *module ? HOLD_OK : no_memory(where, err);
        }
    }
    return hold_fail(err, HOLD_EUNSUPPORTED,
                     "%s: tensor %s is not supported; expected %sMODULE%s or %s", where, key,
                     PREFIX, FACTOR[0], FACTOR[1]);
}

static int read_factor(const struct hold_stored *t, float **out, const char *where,
                       struct hold_error *err) {
    void *memory = NULL;
    int64_t n = hold_stored_count(t);
    int rc = hold_new(&memory, (size_t)n, sizeof **out, "an adapter's factor", err);
    if (rc) {
        return rc;
    }
    *out = memory;
    rc = hold_stored_to_f32(t, 0, n, *out, err);
    for (int64_t i = 0; !rc && i < n; i++) {
        if (!isfinite((*out)[i])) {
            rc = hold_fail(err, HOLD_EFORMAT, "%s: tensor %s: element %lld is not finite", where,
                           t->name, (long long)i);
        }
    }
    return rc;
}

/* A and B of one module stand side by side in name order. */
static int read_pair(struct hold_lora_pair *pair, int64_t r, const struct hold_stored *a,
                     const struct hold_stored *b, const char *where, struct hold_error *err) {
    char *other = NULL;
    int k = 0, rc = split_key(a->name, &pair->module, &k, where, err);
    if (rc) {
        return rc;
    }
    if (k == 0 && b) {
        rc = split_key(b->name, &other, &k, where, err);
        if (rc) {
            return rc;
        }
    }
    bool together = k == 1 && other && strcmp(pair->module, other) == 0;
    hold_free(other);
    if (!together || !b) {
        return hold_fail(err, HOLD_EFORMAT, "%s: tensor %s: its other factor is missing", where,
                         a->name);
    }
    if (a->n_dims != 2 || b->n_dims != 2 || a->dim[0] != r || b->dim[1] != r || a->dim[1] < 1 ||
        b->dim[0] < 1) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: %s: found A (%lld, %lld) and B (%lld, %lld), expected (%lld, inputs) "
                         "and (outputs, %lld)",
                         where, pair->module, (long long)a->dim[0], (long long)a->dim[1],
                         (long long)b->dim[0], (long long)b->dim[1], (long long)r, (long long)r);
    }
    pair->r = r;
    pair->in = a->dim[1];
    pair->out = b->dim[0];
    rc = read_factor(a, &pair->a, where, err);
    return rc ? rc : read_factor(b, &pair->b, where, err);
}

static int read_weights(struct hold_adapter *a, const char *path, struct hold_error *err) {
    struct hold_safetensors *file = NULL;
    const struct hold_stored **sorted = NULL;
    void *pairs = NULL;
    int64_t n = 0;
    int rc = hold_safetensors_open(&file, path, err);
    if (rc) {
        return rc;
    }
    const struct hold_stored *list = hold_safetensors_tensors(file, &n);
    rc = hold_stored_sort(list, n, path, &sorted, err);
    if (!rc && n == 0) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: no tensors", path);
    }
    if (!rc) {
        rc = hold_new(&pairs, (size_t)(n + 1) / 2, sizeof *a->pairs, "an adapter", err);
    }
    if (!rc) {
        a->pairs = pairs;
        a->n_pairs = (n + 1) / 2;
    }
    for (int64_t i = 0; !rc && i < n; i += 2) {
        rc = read_pair(&a->pairs[i / 2], a->r, sorted[i], i + 1 < n ? sorted[i + 1] : NULL, path,
                       err);
    }
    const char *hash =
        json_string_value(json_object_get(hold_safetensors_metadata(file), "holdfast_base"));
    if (!rc && hash) {
        if (strlen(hash) != HOLD_HASH_HEX - 1 ||
            strspn(hash, "0123456789abcdef") != HOLD_HASH_HEX - 1) {
            rc = hold_fail(err, HOLD_EFORMAT, "%s: holdfast_base is not a SHA-256", path);
        } else {
            a->base_hash = hold_strdup(hash);
            rc = a->base_hash ? HOLD_OK : no_memory(path, err);
        }
    }
    hold_free(sorted);
    hold_safetensors_free(file);
    return rc;
}

/* ---- the folder ---- */

static int missing_weights(const char *dir, const char *path, struct hold_error *err) {
    struct hold_str pickle = HOLD_STR_INIT;
    hold_path_join(&pickle, dir, "adapter_model.bin");
    int rc = hold_str_check(&pickle, err);
    if (!rc && hold_exists(hold_str_text(&pickle))) {
        rc = hold_fail(err, HOLD_EFORMAT,
                       "%s: a Python pickle, which is never read; expected %s (convert it first)",
                       hold_str_text(&pickle), WEIGHTS_FILE);
    } else if (!rc) {
        rc = hold_fail(err, HOLD_ENOTFOUND, "%s: no such file", path);
    }
    hold_str_release(&pickle);
    return rc;
}

int hold_adapter_read(struct hold_adapter *out, const char *dir, struct hold_error *err) {
    struct hold_str config_path = HOLD_STR_INIT, weights = HOLD_STR_INIT, profile = HOLD_STR_INIT;
    json_t *config = NULL;
    *out = (struct hold_adapter){0};
    hold_path_join(&config_path, dir, CONFIG_FILE);
    hold_path_join(&weights, dir, WEIGHTS_FILE);
    hold_path_join(&profile, dir, PROFILE_FILE);
    int rc = config_path.out_of_memory || weights.out_of_memory || profile.out_of_memory
                 ? no_memory(dir, err)
                 : hold_json_load(&config, hold_str_text(&config_path), err);
    if (!rc) {
        rc = read_config(out, config, hold_str_text(&config_path), err);
    }
    if (!rc && !hold_exists(hold_str_text(&weights))) {
        rc = missing_weights(dir, hold_str_text(&weights), err);
    }
    if (!rc) {
        rc = read_weights(out, hold_str_text(&weights), err);
    }
    if (!rc && hold_exists(hold_str_text(&profile))) {
        rc = hold_json_load(&out->profile, hold_str_text(&profile), err);
    }
    if (!rc && out->profile && !json_is_object(out->profile)) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: not an object", hold_str_text(&profile));
    }
    json_decref(config);
    hold_str_release(&config_path);
    hold_str_release(&weights);
    hold_str_release(&profile);
    if (rc) {
        hold_adapter_release(out);
    }
    return rc;
}

int hold_adapter_fits(const struct hold_adapter *a, const struct hold_shape *shape,
                      const char *content_id, const char *path, struct hold_error *err) {
    if (a->base_hash && strcmp(a->base_hash, content_id) != 0) {
        return hold_fail(
            err, HOLD_EDATA,
            "%s: the adapter was made for the model with content id %.12s, found %.12s", path,
            a->base_hash, content_id);
    }
    int64_t n = hold_part_count(shape);
    for (int64_t i = 0, found = 0; i < a->n_pairs; i++, found = 0) {
        const struct hold_lora_pair *pair = &a->pairs[i];
        size_t length = strlen(pair->module);
        struct hold_part part;
        /* The embedding (part 0) is no linear layer. */
        for (int64_t k = 1; !found && k < n; k++) {
            hold_part_get(shape, k, &part);
            found = part.n_dims == 2 && strncmp(part.hf, pair->module, length) == 0 &&
                    strcmp(part.hf + length, ".weight") == 0;
        }
        if (!found) {
            return hold_fail(err, HOLD_EDATA, "%s: the model has no linear layer %s", path,
                             pair->module);
        }
        if (pair->out != part.dim[0] || pair->in != part.dim[1]) {
            return hold_fail(
                err, HOLD_EDATA,
                "%s: %s: the adapter's layer is (%lld, %lld), the model's (%lld, %lld)", path,
                pair->module, (long long)pair->out, (long long)pair->in, (long long)part.dim[0],
                (long long)part.dim[1]);
        }
    }
    return HOLD_OK;
}

/* ---- writing ---- */

static int by_text(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* PEFT adapts every module that ends in a target.  Last names ("q_proj") say it shortly when each
 * of them stands in the same number of modules; otherwise full names say exactly which. */
static json_t *target_modules(const struct hold_adapter *a) {
    json_t *targets = json_array();
    const char **names = hold_calloc((size_t)a->n_pairs + 1, sizeof *names);
    int64_t n = a->n_pairs, kinds = 0, first = 0;
    bool even = true;
    for (int64_t i = 0; names && i < n; i++) {
        const char *dot = strrchr(a->pairs[i].module, '.');
        names[i] = dot ? dot + 1 : a->pairs[i].module;
    }
    if (!names || !targets) {
        goto fail;
    }
    qsort(names, (size_t)n, sizeof *names, by_text);
    for (int64_t i = 1, run = 1; i <= n; i++, run++) {
        if (i == n || strcmp(names[i], names[i - 1]) != 0) {
            first = kinds == 0 ? run : first;
            even = even && run == first;
            names[kinds++] = names[i - 1];
            run = 0;
        }
    }
    for (int64_t i = 0; i < (even ? kinds : n); i++) {
        if (json_array_append_new(targets, json_string(even ? names[i] : a->pairs[i].module))) {
            goto fail;
        }
    }
    hold_free(names);
    return targets;
fail:
    hold_free(names);
    json_decref(targets);
    return NULL;
}

static json_t *config_json(const struct hold_adapter *a) {
    /* PEFT declares alpha an integer; a whole number is written as one. */
    json_t *alpha =
        floor(a->alpha) == a->alpha ? json_integer((json_int_t)a->alpha) : json_real(a->alpha);
    return json_pack(
        "{s:s, s:s, s:s?, s:I, s:o, s:f, s:o, s:s, s:b, s:b, s:b, s:b, s:n, s:b, s:{}, "
        "s:{}, s:n}",
        "peft_type", "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", a->base_model,
        "r", (json_int_t)a->r, "lora_alpha", alpha, "lora_dropout", a->dropout, "target_modules",
        target_modules(a), "bias", "none", "fan_in_fan_out", 0, "inference_mode", 1, "use_rslora",
        0, "use_dora", 0, "modules_to_save", "init_lora_weights", 1, "rank_pattern",
        "alpha_pattern", "revision");
}

static int write_json(const char *dir, const char *name, const json_t *value,
                      struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, dir, name);
    int rc = hold_str_check(&path, err);
    if (!rc) {
        rc = hold_json_save(hold_str_text(&path), value, err);
    }
    hold_str_release(&path);
    return rc;
}

static int write_weights(const struct hold_adapter *a, const char *dir, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    size_t n = 2 * (size_t)a->n_pairs;
    struct hold_to_store *list = hold_calloc(n + 1, sizeof *list);
    struct hold_str *names = hold_calloc(n + 1, sizeof *names);
    json_t *metadata = json_pack("{s:s, s:s*}", "format", "pt", "holdfast_base", a->base_hash);
    bool short_of_memory = !list || !names || !metadata;
    hold_path_join(&path, dir, WEIGHTS_FILE);
    for (size_t i = 0; !short_of_memory && i < n; i++) {
        const struct hold_lora_pair *p = &a->pairs[i / 2];
        hold_str_addf(&names[i], "%s%s%s", PREFIX, p->module, FACTOR[i % 2]);
        short_of_memory = names[i].out_of_memory;
        list[i] = (struct hold_to_store){
            .name = hold_str_text(&names[i]),
            .type = HOLD_ST_F32,
            .n_dims = 2,
            .dim = {i % 2 ? p->out : p->r, i % 2 ? p->r : p->in, 1, 1},
            .data = i % 2 ? p->b : p->a,
        };
    }
    int rc = short_of_memory || path.out_of_memory
                 ? no_memory(dir, err)
                 : hold_safetensors_write(hold_str_text(&path), list, (int64_t)n, metadata, err);
    for (size_t i = 0; names && i < n; i++) {
        hold_str_release(&names[i]);
    }
    json_decref(metadata);
    hold_free(names);
    hold_free(list);
    hold_str_release(&path);
    return rc;
}

int hold_adapter_write(const struct hold_adapter *a, const char *dir, struct hold_error *err) {
    json_t *config = config_json(a);
    int rc = config ? write_weights(a, dir, err) : no_memory(dir, err);
    if (!rc && a->profile) {
        rc = write_json(dir, PROFILE_FILE, a->profile, err);
    }
    if (!rc) {
        rc = write_json(dir, CONFIG_FILE, config, err);
    }
    json_decref(config);
    return rc;
}

void hold_adapter_release(struct hold_adapter *a) {
    for (int64_t i = 0; i < a->n_pairs; i++) {
        hold_free(a->pairs[i].module);
        hold_free(a->pairs[i].a);
        hold_free(a->pairs[i].b);
    }
    hold_free(a->pairs);
    hold_free(a->base_model);
    hold_free(a->base_hash);
    json_decref(a->profile);
    *a = (struct hold_adapter){0};
}
