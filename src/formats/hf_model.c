/* hf_model.c: opens a model, from a GGUF file or a Hugging Face folder, as one description. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "formats/hf.h"
#include "formats/magic.h"
#include "formats/shape.h"
#include "formats/vocab.h"

/* ---- tensors ---- */

static int copy_text(char **out, const char *text, const char *where, struct hold_error *err) {
    hold_free(*out);
    *out = text ? hold_strdup(text) : NULL;
    return !text || *out ? HOLD_OK : hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory", where);
}

/* What is wrong with a tensor that a model of its family does not have. */
static int refuse_unknown(const struct hold_model_files *f, const char *name,
                          struct hold_error *err) {
    const char *what = "this tensor";
    if (hold_ends(name, ".bias")) {
        what = "a bias";
    } else if (strcmp(name, "rope_freqs.weight") == 0) {
        what = "this rope scaling";
    } else if (strstr(name, "q_norm") || strstr(name, "k_norm")) {
        what = "a norm of queries and keys";
    } else if (strstr(name, "expert") || strstr(name, "_exps")) {
        what = "a mixture of experts";
    }
    return hold_fail(err, HOLD_EUNSUPPORTED, "%s: tensor %s: %s is not supported", f->path, name,
                     what);
}

/* Llama 3's rope scaling comes as a tensor in GGUF. */
static int take_rope(struct hold_model_files *f, const struct hold_stored *t,
                     struct hold_error *err) {
    float *divisors = NULL;
    void *memory = NULL;
    int64_t n = f->shape.head_dim / 2;
    if (hold_stored_count(t) != n || t->type != HOLD_ST_F32) {
        return hold_fail(err, HOLD_EFORMAT, "%s: tensor %s: expected %lld F32 numbers", f->path,
                         t->name, (long long)n);
    }
    int rc = hold_new(&memory, (size_t)n, sizeof *divisors, "rotary frequencies", err);
    divisors = memory;
    if (!rc) {
        rc = hold_stored_to_f32(t, 0, n, divisors, err);
    }
    if (!rc) {
        rc = hold_shape_rope_from_divisors(&f->shape, divisors, f->path, err);
    }
    hold_free(memory);
    return rc;
}

/* Tensors outside the list of parts: old buffers are passed over, a head beside a tied embedding
 * must be the embedding. */
static int check_rest(struct hold_model_files *f, const struct hold_stored *list, int64_t n,
                      const bool *used, struct hold_error *err) {
    for (int64_t i = 0; i < n; i++) {
        if (used[i] || hold_ends(list[i].name, ".rotary_emb.inv_freq")) {
            continue;
        }
        if (f->gguf && strcmp(hold_shape_traits(&f->shape)->gguf, "llama") == 0 &&
            f->shape.rope.kind == HOLD_ROPE_PLAIN &&
            strcmp(list[i].name, "rope_freqs.weight") == 0) {
            int rc = take_rope(f, &list[i], err);
            if (rc) {
                return rc;
            }
            continue;
        }
        if (!f->gguf && f->shape.tied && strcmp(list[i].name, "lm_head.weight") == 0) {
            const struct hold_stored *embedding = &f->tensors[0];
            if (list[i].type == embedding->type && list[i].bytes == embedding->bytes &&
                memcmp(list[i].data, embedding->data, (size_t)embedding->bytes) == 0) {
                continue;
            }
            return hold_fail(err, HOLD_EFORMAT,
                             "%s: tensor lm_head.weight differs from the embedding, but "
                             "tie_word_embeddings is true",
                             f->path);
        }
        return refuse_unknown(f, list[i].name, err);
    }
    return HOLD_OK;
}

static int take_part(struct hold_model_files *f, int64_t i, const struct hold_stored *const *sorted,
                     int64_t n, const struct hold_stored **found, struct hold_error *err) {
    struct hold_part part;
    hold_part_get(&f->shape, i, &part);
    const char *name = f->gguf ? part.gguf : part.hf;
    const struct hold_stored *t = hold_stored_sorted_find(sorted, n, name);
    if (!t) {
        return hold_fail(err, HOLD_EFORMAT, "%s: tensor %s is missing", f->path, name);
    }
    if (t->type > HOLD_ST_F64) {
        return hold_fail(err, HOLD_EFORMAT, "%s: tensor %s: found type %s, expected real numbers",
                         f->path, name, hold_stored_type_name(t->type));
    }
    if (t->n_dims != part.n_dims || t->dim[0] != part.dim[0] || t->dim[1] != part.dim[1]) {
        return hold_fail(
            err, HOLD_EFORMAT, "%s: tensor %s: found shape (%lld, %lld), expected (%lld, %lld)%s",
            f->path, name, (long long)t->dim[0], (long long)t->dim[1], (long long)part.dim[0],
            (long long)part.dim[1], i == 0 ? ": vocabulary size, width" : "");
    }
    f->tensors[i] = *t;
    f->tensors[i].name = NULL;
    char *copy = hold_strdup(part.hf);
    f->tensors[i].name = copy;
    *found = t;
    return copy ? HOLD_OK : hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory", f->path);
}

/* Every part of the shape from the file's list, and nothing else in it. */
static int take_tensors(struct hold_model_files *f, const struct hold_stored *list, int64_t n,
                        struct hold_error *err) {
    const struct hold_stored **sorted = NULL, *found = NULL;
    void *tensors = NULL, *used = NULL;
    int rc = hold_stored_sort(list, n, f->path, &sorted, err);
    if (rc) {
        return rc;
    }
    if (f->gguf) {
        f->shape.tied = !hold_stored_sorted_find(sorted, n, "output.weight");
    }
    int64_t parts = hold_part_count(&f->shape);
    if (parts > n) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: %lld tensors, expected %lld for %lld layers",
                       f->path, (long long)n, (long long)parts, (long long)f->shape.n_layers);
        goto cleanup;
    }
    rc = hold_new(&tensors, (size_t)parts, sizeof *f->tensors, "a list of tensors", err);
    f->tensors = tensors;
    f->n_tensors = rc ? 0 : parts;
    if (!rc) {
        rc = hold_new(&used, (size_t)n, sizeof(bool), "a list of tensors", err);
    }
    for (int64_t i = 0; !rc && i < parts; i++) {
        rc = take_part(f, i, sorted, n, &found, err);
        if (!rc) {
            ((bool *)used)[found - list] = true;
        }
    }
    if (!rc) {
        rc = check_rest(f, list, n, used, err);
    }
cleanup:
    hold_free(used);
    hold_free(sorted);
    return rc;
}

/* ---- what both kinds of files say about tokens ---- */

/* What is wrong with a vocabulary is found without knowing its file. */
static int name_file(const struct hold_model_files *f, int rc, struct hold_error *err) {
    if (rc && !hold_starts(err->text, f->path)) {
        const struct hold_error found = *err;
        return hold_fail(err, rc, "%s: %s", f->path, found.text);
    }
    return rc;
}

/* Tokens that were added beyond the embedding (Gemma 3's placeholder of images, a padding token)
 * are no fault of the model; a text that has one is refused when it is tokenised. */
static int check_tokenizer(const struct hold_model_files *f, struct hold_error *err) {
    int32_t n = hold_tokenizer_own_size(f->tokenizer);
    if (n > f->shape.vocab) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: the tokenizer has %d pieces, but the embedding %lld rows", f->path, n,
                         (long long)f->shape.vocab);
    }
    hold_tokenizer_set_rows(f->tokenizer, (int32_t)f->shape.vocab);
    return HOLD_OK;
}

static int add_eos(struct hold_model_files *f, int64_t id, const char *where,
                   struct hold_error *err) {
    const int most = sizeof f->eos_ids / sizeof *f->eos_ids;
    if (id < 0 || id >= f->shape.vocab) {
        return hold_fail(err, HOLD_EFORMAT, "%s: found %lld, expected a token id below %lld", where,
                         (long long)id, (long long)f->shape.vocab);
    }
    for (int i = 0; i < f->n_eos_ids; i++) {
        if (f->eos_ids[i] == id) {
            return HOLD_OK;
        }
    }
    if (f->n_eos_ids == most) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s: more than %d ids", where, most);
    }
    f->eos_ids[f->n_eos_ids++] = (int32_t)id;
    return HOLD_OK;
}

/* ---- GGUF ---- */

static int read_gguf_eos(struct hold_model_files *f, struct hold_error *err) {
    static const char *const KEYS[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        int64_t id;
        int rc = hold_gguf_int_or(f->gguf, KEYS[i], -1, &id, err);
        if (!rc && hold_gguf_has(f->gguf, KEYS[i]) && id != 0xFFFFFFFF && id != -1) {
            struct hold_str where = HOLD_STR_INIT;
            hold_str_addf(&where, "%s: %s", f->path, KEYS[i]);
            rc = add_eos(f, id, hold_str_text(&where), err);
            hold_str_release(&where);
        }
        if (rc) {
            return rc;
        }
    }
    return HOLD_OK;
}

static int read_gguf_tokens(struct hold_model_files *f, struct hold_error *err) {
    struct hold_vocab vocab;
    enum hold_piece_type *types = NULL;
    const char *chat = NULL;
    int rc = hold_vocab_from_gguf(&vocab, &types, f->gguf, f->path, err);
    if (!rc && vocab.n_pieces != f->shape.vocab) {
        rc = hold_fail(err, HOLD_EFORMAT,
                       "%s: tokenizer.ggml.tokens has %d pieces, but the vocabulary is %lld",
                       f->path, vocab.n_pieces, (long long)f->shape.vocab);
    }
    if (!rc) {
        rc = name_file(f, hold_tokenizer_new(&f->tokenizer, &vocab, err), err);
    }
    if (!rc) {
        rc = hold_gguf_text_or(f->gguf, "tokenizer.chat_template", NULL, &chat, err);
    }
    if (!rc) {
        rc = copy_text(&f->chat_template, chat, f->path, err);
    }
    if (!rc && vocab.bos >= 0) {
        rc = copy_text(&f->bos_token, vocab.pieces[vocab.bos], f->path, err);
    }
    if (!rc && vocab.eos >= 0) {
        rc = copy_text(&f->eos_token, vocab.pieces[vocab.eos], f->path, err);
    }
    hold_free(types);
    return rc ? rc : read_gguf_eos(f, err);
}

static int take_id(struct hold_model_files *f, const char *id, const char *where,
                   struct hold_error *err) {
    if (id != NULL && !hold_is_id(id)) {
        return hold_fail(err, HOLD_EFORMAT, "%s: merged_id: '%s' is no id", where, id);
    }
    if (id != NULL) {
        memcpy(f->merged_id, id, sizeof f->merged_id);
    }
    return HOLD_OK;
}

/* The inference profile, which is passed on as it is: what is used of it must be texts. */
static int take_profile(struct hold_model_files *f, json_t *profile, const char *where,
                        struct hold_error *err) {
    static const char *const TEXTS[] = {"system", "prefix"};
    const char *text = NULL;
    int rc = HOLD_OK;
    if (!json_is_object(profile)) {
        return hold_fail(err, HOLD_EFORMAT, "%s: profile: not an object", where);
    }
    for (size_t i = 0; !rc && i < sizeof TEXTS / sizeof *TEXTS; i++) {
        rc = hold_json_text_or(profile, TEXTS[i], NULL, &text, where, err);
    }
    f->profile = rc ? NULL : json_incref(profile);
    return rc;
}

static int read_gguf_profile(struct hold_model_files *f, struct hold_error *err) {
    struct hold_str where = HOLD_STR_INIT;
    const char *text = NULL;
    json_t *value = NULL;
    hold_str_addf(&where, "%s: " HOLD_PROFILE_KEY, f->path);
    int rc = hold_str_check(&where, err);
    if (!rc) {
        rc = hold_gguf_text_or(f->gguf, HOLD_PROFILE_KEY, NULL, &text, err);
    }
    if (!rc && text) {
        rc = hold_json_parse(&value, text, strlen(text), hold_str_text(&where), 1, err);
    }
    if (!rc && text) {
        rc = take_profile(f, value, hold_str_text(&where), err);
    }
    json_decref(value);
    hold_str_release(&where);
    return rc;
}

static int open_gguf(struct hold_model_files *f, struct hold_error *err) {
    int64_t n = 0;
    int rc = hold_gguf_open(&f->gguf, f->path, err);
    if (!rc) {
        rc = hold_shape_from_gguf(&f->shape, f->gguf, f->path, err);
    }
    if (rc) {
        return rc;
    }
    f->permuted_qk = f->shape.family == HOLD_LLAMA || f->shape.family == HOLD_MISTRAL;
    f->raised_gains = hold_shape_traits(&f->shape)->offset_gain;
    const struct hold_stored *list = hold_gguf_tensors(f->gguf, &n);
    rc = take_tensors(f, list, n, err);
    if (!rc) {
        rc = read_gguf_tokens(f, err);
    }
    const char *id = NULL;
    if (!rc) {
        rc = hold_gguf_text_or(f->gguf, HOLD_MERGED_KEY, NULL, &id, err);
    }
    if (!rc) {
        rc = take_id(f, id, f->path, err);
    }
    if (!rc) {
        rc = read_gguf_profile(f, err);
    }
    if (!rc) {
        const struct hold_map *map = hold_gguf_map(f->gguf);
        hold_hash_bytes(map->data, map->bytes, f->content_id);
    }
    return rc;
}

/* ---- Hugging Face folders ---- */

enum small {
    CONFIG,
    GENERATION,
    TOKENIZER,
    TOKENIZER_CONFIG,
    SPECIAL_MAP,
    TEMPLATE,
    TEMPLATE_JSON,
    N_SMALL
};

static const struct {
    const char *name;
    size_t most;
    bool needed;
} SMALL[N_SMALL] = {
    [CONFIG] = {"config.json", 1 << 24, true},
    [GENERATION] = {"generation_config.json", 1 << 24, false},
    [TOKENIZER] = {"tokenizer.json", 1 << 28, true},
    [TOKENIZER_CONFIG] = {"tokenizer_config.json", 1 << 26, false},
    [SPECIAL_MAP] = {"special_tokens_map.json", 1 << 24, false},
    [TEMPLATE] = {"chat_template.jinja", 1 << 22, false},
    [TEMPLATE_JSON] = {"chat_template.json", 1 << 22, false},
};

/* The small files of a folder, each read once: what is parsed is what is hashed. */
struct folder {
    struct hold_str text[N_SMALL], path[N_SMALL];
    json_t *json[N_SMALL];
};

static void release_folder(struct folder *d) {
    for (int i = 0; i < N_SMALL; i++) {
        hold_str_release(&d->text[i]);
        hold_str_release(&d->path[i]);
        json_decref(d->json[i]);
    }
}

/* transformers writes model_max_length as 10^30, which no 64-bit integer holds: whole numbers of 19
 * digits or more outside of strings become reals by an appended ".0". */
static void widen_integers(const struct hold_str *in, struct hold_str *out) {
    bool text = false;
    for (size_t i = 0; i < in->len;) {
        char c = in->data[i];
        size_t n = text && c == '\\' && i + 1 < in->len ? 2 : 1;
        if (!text && (c == '-' || (c >= '0' && c <= '9'))) {
            n = strspn(in->data + i, "-+.0123456789eE");
            hold_str_add_bytes(out, in->data + i, n);
            if (n >= 19 && strcspn(in->data + i, ".eE") >= n) {
                hold_str_add(out, ".0");
            }
            i += n;
            continue;
        }
        text = text != (c == '"');
        hold_str_add_bytes(out, in->data + i, n);
        i += n;
    }
}

static int parse_small(struct folder *d, int i, struct hold_error *err) {
    struct hold_str wide = HOLD_STR_INIT;
    const struct hold_str *text = &d->text[i];
    if (i == TOKENIZER_CONFIG) {
        widen_integers(text, &wide);
        text = &wide;
    }
    int rc = hold_str_check(text, err);
    if (!rc) {
        rc = hold_json_parse(&d->json[i], hold_str_text(text), text->len,
                             hold_str_text(&d->path[i]), 1, err);
    }
    hold_str_release(&wide);
    return rc;
}

static int read_small(struct folder *d, const char *folder, struct hold_error *err) {
    for (int i = 0; i < N_SMALL; i++) {
        hold_path_join(&d->path[i], folder, SMALL[i].name);
        int rc = hold_str_check(&d->path[i], err);
        const char *path = hold_str_text(&d->path[i]);
        if (rc || (!SMALL[i].needed && !hold_exists(path))) {
            if (rc) {
                return rc;
            }
            continue;
        }
        rc = hold_file_read(path, SMALL[i].most, &d->text[i], err);
        if (!rc && i != TEMPLATE) {
            rc = parse_small(d, i, err);
        }
        if (rc) {
            return rc;
        }
    }
    return HOLD_OK;
}

/* A template stands in its own file, or in tokenizer_config.json, or (of processors) in
 * chat_template.json; in JSON as text or as a list of named ones, of which "default" counts. */
static int read_template(struct hold_model_files *f, const struct folder *d,
                         struct hold_error *err) {
    if (d->text[TEMPLATE].data) {
        const struct hold_str *text = &d->text[TEMPLATE];
        if (strlen(text->data) != text->len || hold_utf8_check(text->data, text->len) >= 0) {
            return hold_fail(err, HOLD_EFORMAT, "%s: not UTF-8 text",
                             hold_str_text(&d->path[TEMPLATE]));
        }
        return copy_text(&f->chat_template, text->data, f->path, err);
    }
    enum small place = TOKENIZER_CONFIG;
    const json_t *value = json_object_get(d->json[place], "chat_template");
    if (!value || json_is_null(value)) {
        place = TEMPLATE_JSON;
        value = json_object_get(d->json[place], "chat_template");
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && strcmp(name, "default") == 0) {
            value = json_object_get(item, "template");
            break;
        }
    }
    if (!value || json_is_null(value)) {
        return HOLD_OK;
    }
    if (!json_is_string(value)) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: chat_template: no string and no list with a "
                         "template named \"default\"",
                         hold_str_text(&d->path[place]));
    }
    return copy_text(&f->chat_template, json_string_value(value), f->path, err);
}

/* A special token is a string or an object with "content". */
static int read_special(const struct folder *d, const char *key, char **out, const char *where,
                        struct hold_error *err) {
    const json_t *value = json_object_get(d->json[TOKENIZER_CONFIG], key);
    if (!value) {
        value = json_object_get(d->json[SPECIAL_MAP], key);
    }
    if (json_is_object(value)) {
        value = json_object_get(value, "content");
    }
    return copy_text(out, json_string_value(value), where, err);
}

/* TemplateProcessing, on its own or in a sequence: does a special token stand first, or last? */
static void read_processor(const json_t *processor, bool *first, bool *last) {
    const json_t *list = json_object_get(processor, "processors");
    const json_t *single = json_object_get(processor, "single");
    const char *type = json_string_value(json_object_get(processor, "type"));
    size_t n = json_array_size(single);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_object_get(item, "processors")) { /* of sequences in sequences none is known */
            read_processor(item, first, last);
        }
    }
    if (type && strcmp(type, "TemplateProcessing") == 0 && n > 1) {
        *first = json_object_get(json_array_get(single, 0), "SpecialToken") != NULL;
        *last = json_object_get(json_array_get(single, n - 1), "SpecialToken") != NULL;
    }
}

/* What tokenizer_config.json says wins, as in llama.cpp's converter. */
static int read_adds(struct hold_model_files *f, const struct folder *d, struct hold_error *err) {
    const json_t *begin = json_object_get(d->json[TOKENIZER_CONFIG], "add_bos_token");
    const json_t *end = json_object_get(d->json[TOKENIZER_CONFIG], "add_eos_token");
    bool adds_bos = false, adds_eos = false;
    read_processor(json_object_get(d->json[TOKENIZER], "post_processor"), &adds_bos, &adds_eos);
    adds_bos = json_is_boolean(begin) ? json_is_true(begin) : adds_bos;
    adds_eos = json_is_boolean(end) ? json_is_true(end) : adds_eos;
    int32_t bos = adds_bos ? hold_tokenizer_bos(f->tokenizer) : -1;
    int32_t eos = adds_eos ? hold_tokenizer_eos(f->tokenizer) : -1;
    if (bos >= f->shape.vocab || eos >= f->shape.vocab) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: every text is to begin or end with token %d, but the embedding has "
                         "%lld rows",
                         f->path, bos > eos ? bos : eos, (long long)f->shape.vocab);
    }
    hold_tokenizer_set_adds(f->tokenizer, adds_bos, adds_eos);
    return HOLD_OK;
}

/* eos_token_id is a number or a list, in generation_config.json or config.json. */
static int read_eos(struct hold_model_files *f, const struct folder *d, struct hold_error *err) {
    static const enum small PLACES[] = {GENERATION, CONFIG};
    for (size_t i = 0; i < sizeof PLACES / sizeof *PLACES && f->n_eos_ids == 0; i++) {
        const json_t *value = json_object_get(d->json[PLACES[i]], "eos_token_id");
        if (!value || json_is_null(value)) {
            continue;
        }
        struct hold_str where = HOLD_STR_INIT;
        hold_str_addf(&where, "%s: eos_token_id", hold_str_text(&d->path[PLACES[i]]));
        int rc = HOLD_OK;
        size_t n = json_is_array(value) ? json_array_size(value) : 1;
        for (size_t k = 0; !rc && k < n; k++) {
            const json_t *id = json_is_array(value) ? json_array_get(value, k) : value;
            rc = json_is_integer(id)
                     ? add_eos(f, json_integer_value(id), hold_str_text(&where), err)
                     : hold_fail(err, HOLD_EFORMAT, "%s: not an integer", hold_str_text(&where));
        }
        hold_str_release(&where);
        if (rc) {
            return rc;
        }
    }
    int32_t id =
        f->n_eos_ids == 0 && f->eos_token ? hold_tokenizer_find(f->tokenizer, f->eos_token) : -1;
    return id >= 0 ? add_eos(f, id, f->path, err) : HOLD_OK;
}

static void hash_named(struct hold_hash *h, const char *name, const void *bytes, uint64_t n) {
    hold_hash_add(h, name, strlen(name) + 1);
    hold_hash_add(h, &n, sizeof n);
    hold_hash_add(h, bytes, (size_t)n);
}

static int hash_folder(struct hold_model_files *f, const struct folder *d, struct hold_error *err) {
    struct hold_hash h;
    struct hold_str profile = HOLD_STR_INIT;
    const char *name = NULL;
    int rc = f->profile ? hold_json_canonical(f->profile, &profile, err) : HOLD_OK;
    hold_hash_init(&h);
    if (!rc && f->profile) {
        hash_named(&h, HOLD_PROFILE_KEY, hold_str_text(&profile), profile.len);
    }
    hold_str_release(&profile);
    for (int i = 0; i < N_SMALL; i++) {
        if (d->text[i].data) {
            hash_named(&h, SMALL[i].name, d->text[i].data, d->text[i].len);
        }
    }
    for (int64_t i = 0;; i++) {
        const struct hold_map *map = hold_safetensors_file(f->safetensors, i, &name);
        if (!map) {
            break;
        }
        hash_named(&h, name, map->data, map->bytes);
    }
    hold_hash_end(&h, f->content_id);
    return rc;
}

static int read_hf_tokens(struct hold_model_files *f, const struct folder *d,
                          struct hold_error *err) {
    int rc = hold_tokenizer_from_json(&f->tokenizer, d->json[TOKENIZER], d->json[TOKENIZER_CONFIG],
                                      hold_str_text(&d->path[TOKENIZER]), err);
    rc = name_file(f, rc, err);
    if (!rc) {
        rc = check_tokenizer(f, err);
    }
    if (!rc) {
        rc = read_template(f, d, err);
    }
    if (!rc) {
        rc = read_special(d, "bos_token", &f->bos_token, f->path, err);
    }
    if (!rc) {
        rc = read_special(d, "eos_token", &f->eos_token, f->path, err);
    }
    if (!rc) {
        rc = read_adds(f, d, err);
    }
    return rc ? rc : read_eos(f, d, err);
}

static int read_identity(struct hold_model_files *f, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    const char *id = NULL;
    json_t *value = NULL;
    hold_path_join(&path, f->path, HOLD_IDENTITY_FILE);
    int rc = hold_str_check(&path, err);
    const char *where = hold_str_text(&path);
    if (!rc && hold_exists(where)) {
        rc = hold_json_load(&value, where, err);
        if (!rc) {
            rc = hold_json_text_or(value, "merged_id", NULL, &id, where, err);
        }
        if (!rc) {
            rc = take_id(f, id, where, err);
        }
        json_t *profile = json_object_get(value, "profile");
        if (!rc && profile) {
            rc = take_profile(f, profile, where, err);
        }
    }
    json_decref(value);
    hold_str_release(&path);
    return rc;
}

static int open_folder(struct hold_model_files *f, struct hold_error *err) {
    struct folder d = {0};
    int64_t n = 0;
    int rc = read_small(&d, f->path, err);
    if (!rc) {
        rc = hold_shape_from_config(&f->shape, d.json[CONFIG], hold_str_text(&d.path[CONFIG]), err);
    }
    if (!rc) {
        rc = hold_safetensors_open(&f->safetensors, f->path, err);
    }
    if (!rc) {
        const struct hold_stored *list = hold_safetensors_tensors(f->safetensors, &n);
        rc = take_tensors(f, list, n, err);
    }
    if (!rc) {
        rc = read_hf_tokens(f, &d, err);
    }
    if (!rc) {
        rc = read_identity(f, err);
    }
    if (!rc) {
        rc = hash_folder(f, &d, err);
    }
    release_folder(&d);
    return rc;
}

/* ---- either ---- */

/* A folder that lacks config.json may hold something to name. */
static int check_folder(const char *path, struct hold_error *err) {
    struct hold_str config = HOLD_STR_INIT, other = HOLD_STR_INIT;
    hold_path_join(&config, path, "config.json");
    hold_path_join(&other, path, "adapter_config.json");
    int rc = hold_str_check(&config, err);
    if (!rc) {
        rc = hold_str_check(&other, err);
    }
    if (!rc && !hold_exists(hold_str_text(&config))) {
        rc = hold_exists(hold_str_text(&other))
                 ? hold_fail(err, HOLD_EFORMAT,
                             "%s: an adapter; expected a model (give the adapter with --adapter)",
                             path)
                 : hold_fail(err, HOLD_EFORMAT,
                             "%s: no config.json; expected a GGUF file or a Hugging Face folder",
                             path);
    }
    hold_str_release(&config);
    hold_str_release(&other);
    return rc;
}

/* A file is GGUF, or is refused by what it is. */
static int check_file(const char *path, struct hold_error *err) {
    struct hold_map map = {0};
    int rc = hold_map_open(&map, path, err);
    if (!rc) {
        rc = hold_magic_refuse(map.data, map.bytes, path, err);
    }
    if (!rc && map.bytes > 9 && map.data[8] == '{' && memcmp(map.data, "GGUF", 4) != 0) {
        rc = hold_fail(err, HOLD_EFORMAT,
                       "%s: a safetensors file; expected the folder that holds it, with its "
                       "config.json and tokenizer.json",
                       path);
    }
    hold_map_release(&map);
    return rc;
}

int hold_model_files_open(struct hold_model_files *out, const char *path, struct hold_error *err) {
    *out = (struct hold_model_files){0};
    bool folder = hold_is_dir(path);
    int rc = folder ? check_folder(path, err) : check_file(path, err);
    if (!rc) {
        rc = copy_text(&out->path, path, path, err);
    }
    if (!rc) {
        rc = folder ? open_folder(out, err) : open_gguf(out, err);
    }
    if (rc) {
        hold_model_files_release(out);
    }
    return rc;
}

int hold_model_files_check(const struct hold_model_files *f, struct hold_error *err) {
    if (f->gguf) {
        return hold_map_check(hold_gguf_map(f->gguf), err);
    }
    const char *name = NULL;
    const struct hold_map *map = NULL;
    int rc = HOLD_OK;
    for (int64_t i = 0; !rc && (map = hold_safetensors_file(f->safetensors, i, &name)); i++) {
        rc = hold_map_check(map, err);
    }
    return rc;
}

void hold_model_files_release(struct hold_model_files *f) {
    for (int64_t i = 0; i < f->n_tensors; i++) {
        hold_free((char *)(uintptr_t)f->tensors[i].name);
    }
    hold_free(f->tensors);
    hold_tokenizer_free(f->tokenizer);
    hold_free(f->chat_template);
    hold_free(f->bos_token);
    hold_free(f->eos_token);
    json_decref(f->profile);
    hold_free(f->path);
    hold_gguf_free(f->gguf);
    hold_safetensors_free(f->safetensors);
    *f = (struct hold_model_files){0};
}

void hold_unpermute_rows(float *w, int64_t heads, int64_t head_dim, int64_t cols, float *scratch) {
    size_t row = (size_t)cols * sizeof *w;
    for (int64_t h = 0; h < heads; h++) {
        float *head = w + h * head_dim * cols;
        for (int64_t i = 0; i < head_dim; i++) { /* GGUF's pairs stand side by side */
            int64_t to = i % 2 * (head_dim / 2) + i / 2;
            memcpy(scratch + to * cols, head + i * cols, row);
        }
        memcpy(head, scratch, (size_t)head_dim * row);
    }
}
