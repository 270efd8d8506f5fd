/* folder_write.c: writes a model as a Hugging Face folder that transformers loads. */
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "formats/hf.h"
#include "formats/shape.h"
#include "formats/vocab.h"

static int no_memory(const char *dir, struct hold_error *err) {
    return hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the model's folder", dir);
}

static int save(const char *dir, const char *name, const json_t *value, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, dir, name);
    int rc = hold_str_check(&path, err);
    if (!rc) {
        rc = value ? hold_json_save(hold_str_text(&path), value, err) : no_memory(dir, err);
    }
    hold_str_release(&path);
    return rc;
}

/* One id as a number, several as a list, none as null. */
static json_t *ids_json(const int32_t *ids, int n) {
    if (n == 0) {
        return json_null();
    }
    if (n == 1) {
        return json_integer(ids[0]);
    }
    json_t *list = json_array();
    int bad = 0;
    for (int i = 0; i < n; i++) {
        bad |= json_array_append_new(list, json_integer(ids[i]));
    }
    return hold_json_whole(list, bad);
}

static json_t *bos_json(const struct hold_model_files *from) {
    int32_t id = from->bos_token ? hold_tokenizer_find(from->tokenizer, from->bos_token) : -1;
    return ids_json(&id, id >= 0);
}

static int write_generation(const char *dir, const struct hold_model_files *from,
                            struct hold_error *err) {
    json_t *value = json_pack("{s:o, s:o}", "bos_token_id", bos_json(from), "eos_token_id",
                              ids_json(from->eos_ids, from->n_eos_ids));
    int rc = save(dir, "generation_config.json", value, err);
    json_decref(value);
    return rc;
}

static int write_config(const char *dir, const struct hold_model_files *from,
                        const struct hold_to_store *tensors, int64_t n, struct hold_error *err) {
    struct hold_shape shape = from->shape;
    shape.tied = true;
    for (int64_t i = 0; i < n; i++) {
        shape.tied = shape.tied && strcmp(tensors[i].name, "lm_head.weight") != 0;
    }
    enum hold_stored_type type = n > 0 ? tensors[0].type : HOLD_ST_F32;
    json_t *config = hold_shape_to_config(&shape, type == HOLD_ST_F16    ? "float16"
                                                  : type == HOLD_ST_BF16 ? "bfloat16"
                                                                         : "float32");
    int rc = HOLD_OK;
    if (!config || json_object_set_new(config, "bos_token_id", bos_json(from)) ||
        json_object_set_new(config, "eos_token_id", ids_json(from->eos_ids, from->n_eos_ids))) {
        rc = no_memory(dir, err);
    }
    if (!rc) {
        rc = save(dir, "config.json", config, err);
    }
    json_decref(config);
    return rc;
}

/* Copy the tokenizer's files of a folder; *generation: generation_config.json was among them. */
static int copy_tokenizer(const char *dir, const struct hold_model_files *from, bool *generation,
                          struct hold_error *err) {
    static const char *const NAMES[] = {
        "tokenizer.json",      "tokenizer_config.json", "special_tokens_map.json",
        "chat_template.jinja", "chat_template.json",    "generation_config.json",
    };
    struct hold_str source = HOLD_STR_INIT, target = HOLD_STR_INIT;
    int rc = HOLD_OK;
    for (size_t i = 0; !rc && i < sizeof NAMES / sizeof *NAMES; i++) {
        hold_path_join(&source, from->path, NAMES[i]);
        hold_path_join(&target, dir, NAMES[i]);
        rc = source.out_of_memory || target.out_of_memory ? no_memory(dir, err) : HOLD_OK;
        bool there = !rc && hold_exists(hold_str_text(&source));
        if (there) {
            rc = hold_copy_file(hold_str_text(&source), hold_str_text(&target), err);
        }
        *generation = there; /* the last of the list */
    }
    hold_str_release(&source);
    hold_str_release(&target);
    return rc;
}

static const char *piece(const struct hold_vocab *v, int32_t id) {
    return id >= 0 ? v->pieces[id] : NULL;
}

/* Rebuild the tokenizer's files from a GGUF vocabulary. */
static int write_tokenizer(const char *dir, const struct hold_model_files *from,
                           struct hold_error *err) {
    struct hold_vocab v;
    enum hold_piece_type *types = NULL;
    json_t *tokenizer = NULL, *config = NULL;
    int rc = hold_vocab_from_gguf(&v, &types, from->gguf, from->path, err);
    if (!rc) {
        rc = hold_vocab_to_json(&tokenizer, &v, from->path, err);
    }
    if (!rc) {
        rc = save(dir, "tokenizer.json", tokenizer, err);
    }
    if (!rc) {
        config =
            json_pack("{s:s, s:s?, s:s?, s:s?, s:s?, s:b, s:b, s:b, s:I, s:s*}", "tokenizer_class",
                      "PreTrainedTokenizerFast", "bos_token", piece(&v, v.bos), "eos_token",
                      piece(&v, v.eos), "unk_token", piece(&v, v.unk), "pad_token",
                      piece(&v, v.pad), "add_bos_token", (int)v.add_bos, "add_prefix_space", 0,
                      "clean_up_tokenization_spaces", 0, "model_max_length",
                      (json_int_t)from->shape.max_positions, "chat_template", from->chat_template);
        rc = save(dir, "tokenizer_config.json", config, err);
    }
    json_decref(config);
    json_decref(tokenizer);
    hold_free(types);
    return rc;
}

int hold_model_folder_write(const char *dir, const struct hold_model_files *from,
                            const struct hold_to_store *tensors, int64_t n,
                            struct hold_error *err) {
    struct hold_str weights = HOLD_STR_INIT;
    bool generation = false;
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    hold_path_join(&weights, dir, "model.safetensors");
    int rc = metadata && !weights.out_of_memory ? hold_mkdirs(dir, err) : no_memory(dir, err);
    if (!rc) {
        rc = from->gguf ? write_tokenizer(dir, from, err)
                        : copy_tokenizer(dir, from, &generation, err);
    }
    if (!rc && !generation) {
        rc = write_generation(dir, from, err);
    }
    if (!rc) {
        rc = hold_safetensors_write(hold_str_text(&weights), tensors, n, metadata, err);
    }
    if (!rc) { /* last: a folder without config.json is no model */
        rc = write_config(dir, from, tensors, n, err);
    }
    json_decref(metadata);
    hold_str_release(&weights);
    return rc;
}

int hold_identity_write(const char *dir, const char *merged_id, const json_t *profile,
                        struct hold_error *err) {
    bool has_id = merged_id && *merged_id;
    if (!has_id && !profile) {
        return HOLD_OK;
    }
    json_t *value = json_pack("{s:s*, s:O*}", "merged_id", has_id ? merged_id : NULL, "profile",
                              (json_t *)(uintptr_t)profile);
    int rc = save(dir, HOLD_IDENTITY_FILE, value, err);
    json_decref(value);
    return rc;
}
