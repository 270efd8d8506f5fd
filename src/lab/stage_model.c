/* stage_model.c: models by content: importing, loading a base and its adapters, profiles. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "formats/hf.h"
#include "lab/lab_parts.h"

/* --- model.json --- */

static int read_model_json(struct hold_lab *lab, const char *content, json_t **out,
                           struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    hold_store_artifact(lab->store, content, &path);
    hold_str_add(&path, "/model.json");
    int rc = hold_json_load(out, hold_str_text(&path), err);
    if (rc == HOLD_ENOTFOUND)
        rc = hold_fail(err, HOLD_ENOTFOUND, "artifact %.12s is not a model", content);
    hold_str_release(&path);
    return rc;
}

static int parse_chain(const json_t *o, const char *content, struct hold_chain *out,
                       struct hold_error *err) {
    *out = (struct hold_chain){.n = 0};
    const char *base = json_string_value(json_object_get(o, "base"));
    if (base == NULL) { /* an import or a whole folder: its own base */
        snprintf(out->base, sizeof out->base, "%s", content);
        return HOLD_OK;
    }
    const json_t *list = json_object_get(o, "adapters");
    if (!hold_is_id(base) || json_array_size(list) > HOLD_MAX_CHAIN)
        return hold_fail(err, HOLD_EFORMAT, "artifact %.12s: model.json names no chain", content);
    snprintf(out->base, sizeof out->base, "%s", base);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *a = json_string_value(json_array_get(list, i));
        if (a != NULL && strcmp(a, "self") == 0)
            a = content;
        if (!hold_is_id(a))
            return hold_fail(err, HOLD_EFORMAT, "artifact %.12s: adapter %zu is no id", content, i);
        snprintf(out->adapter[out->n++], HOLD_HASH_HEX, "%s", a);
    }
    return HOLD_OK;
}

int hold_lab_chain(struct hold_lab *lab, const char *content, struct hold_chain *out,
                   json_t **profile, struct hold_error *err) {
    json_t *o = NULL;
    *profile = NULL;
    int rc = read_model_json(lab, content, &o, err);
    if (rc == HOLD_OK)
        rc = parse_chain(o, content, out, err);
    const json_t *p = json_object_get(o, "profile");
    if (rc == HOLD_OK && json_is_object(p))
        *profile = json_incref((json_t *)p);
    json_decref(o);
    return rc;
}

int hold_write_model_json(const char *dir, const struct hold_chain *chain, const json_t *profile,
                          struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    json_t *list = json_array(), *o = json_object();
    int bad = list == NULL || o == NULL;
    for (int i = 0; bad == 0 && chain != NULL && i < chain->n; i++)
        bad |= json_array_append_new(list, json_string(chain->adapter[i]));
    if (bad == 0 && chain != NULL) {
        bad |= json_array_append_new(list, json_string("self"));
        bad |= json_object_set_new(o, "base", json_string(chain->base));
        bad |= json_object_set(o, "adapters", list);
    } else if (bad == 0) {
        bad |= json_object_set_new(o, "folder", json_true());
    }
    if (bad == 0 && profile != NULL)
        bad |= json_object_set(o, "profile", (json_t *)profile);
    hold_path_join(&path, dir, "model.json");
    int rc = bad != 0 ? hold_fail(err, HOLD_ENOMEMORY, "no memory for model.json")
                      : hold_json_save(hold_str_text(&path), o, err);
    json_decref(list);
    json_decref(o);
    hold_str_release(&path);
    return rc;
}

/* --- loading --- */

int hold_lab_base_path(struct hold_lab *lab, const char *content, struct hold_str *out,
                       struct hold_error *err) {
    json_t *o = NULL, *manifest = NULL;
    struct hold_str path = HOLD_STR_INIT;
    int rc = read_model_json(lab, content, &o, err);
    if (rc == HOLD_OK && json_object_get(o, "files") == NULL) {
        hold_store_artifact(lab->store, content, &path);
    } else if (rc == HOLD_OK && lab->base_path != NULL && strcmp(lab->base_content, content) == 0) {
        hold_str_add(&path, lab->base_path);
    } else if (rc == HOLD_OK) {
        rc = hold_store_manifest(lab->store, content, &manifest, err);
        const char *hint = json_string_value(json_object_get(manifest, "path"));
        if (rc == HOLD_OK && (hint == NULL || !hold_exists(hint)))
            rc = hold_fail(err, HOLD_ENOTFOUND,
                           "the model's files were imported from %s and are not there any more",
                           hint == NULL ? "a place that is not known" : hint);
        if (rc == HOLD_OK)
            hold_str_add(&path, hint);
    }
    if (rc == HOLD_OK)
        rc = hold_str_check(&path, err);
    if (rc == HOLD_OK)
        hold_str_add(out, hold_str_text(&path));
    json_decref(o);
    json_decref(manifest);
    hold_str_release(&path);
    return rc < 0 ? rc : hold_str_check(out, err);
}

static int load_base(struct hold_lab *lab, const char *content, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    json_t *o = NULL;
    int rc = hold_lab_base_path(lab, content, &path, err);
    if (rc == HOLD_OK)
        rc = hold_model_load(&lab->model, hold_str_text(&path), lab->device, lab->ctx, err);
    if (rc == HOLD_OK) {
        lab->is_loaded = true;
        lab->loaded = (struct hold_chain){.n = 0};
        snprintf(lab->loaded.base, sizeof lab->loaded.base, "%s", content);
        rc = read_model_json(lab, content, &o, err);
    }
    const char *files = json_string_value(json_object_get(o, "files"));
    if (rc == HOLD_OK && files != NULL && strcmp(files, lab->model.content_id) != 0)
        rc = hold_fail(err, HOLD_EFORMAT,
                       "%s: is not the model that was imported (hash %.12s, expected %.12s)",
                       hold_str_text(&path), lab->model.content_id, files);
    json_decref(o);
    hold_str_release(&path);
    return rc;
}

static int merge_one(struct hold_lab *lab, const char *content, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    struct hold_adapter a = {0};
    hold_store_artifact(lab->store, content, &path);
    int rc = hold_adapter_read(&a, hold_str_text(&path), err);
    hold_str_release(&path);
    if (rc < 0)
        return rc;
    rc = hold_model_merge(&lab->model, &a, lab->ctx, err);
    hold_adapter_release(&a);
    if (rc == HOLD_OK)
        memcpy(lab->loaded.adapter[lab->loaded.n++], content, HOLD_HASH_HEX);
    return rc;
}

/* The loaded model is the beginning of the wanted one: merging goes on from there, and the bytes
 * are those of merging from the start. */
static bool is_beginning(const struct hold_lab *lab, const struct hold_chain *chain) {
    if (!lab->is_loaded || strcmp(lab->loaded.base, chain->base) != 0 || lab->loaded.n > chain->n)
        return false;
    for (int i = 0; i < lab->loaded.n; i++)
        if (strcmp(lab->loaded.adapter[i], chain->adapter[i]) != 0)
            return false;
    return true;
}

int hold_lab_load(struct hold_lab *lab, const struct hold_chain *chain, const json_t *profile,
                  struct hold_error *err) {
    int rc = HOLD_OK;
    if (!is_beginning(lab, chain)) {
        hold_lab_release(lab);
        rc = load_base(lab, chain->base, err);
    }
    while (rc == HOLD_OK && lab->loaded.n < chain->n)
        rc = merge_one(lab, chain->adapter[lab->loaded.n], err);
    if (rc < 0) {
        hold_lab_release(lab);
        return rc;
    }
    json_decref(lab->model.profile);
    lab->model.profile = profile == NULL ? NULL : json_incref((json_t *)profile);
    return HOLD_OK;
}

int hold_lab_load_named(struct hold_lab *lab, const char *id, struct hold_error *err) {
    char content[HOLD_HASH_HEX];
    struct hold_chain chain;
    json_t *profile = NULL;
    int rc = hold_store_look_up(lab->store, id, content, err);
    if (rc == HOLD_OK)
        rc = hold_lab_chain(lab, content, &chain, &profile, err);
    if (rc == HOLD_OK)
        rc = hold_lab_load(lab, &chain, profile, err);
    json_decref(profile);
    return rc;
}

void hold_lab_release(struct hold_lab *lab) {
    if (lab->is_loaded)
        hold_model_release(&lab->model);
    lab->is_loaded = false;
}

/* --- profiles --- */

int hold_profile_of(const json_t *parent, const struct hold_method_list *methods,
                    const char **train_system, json_t **out, struct hold_error *err) {
    struct hold_profiles p = {0};
    for (int i = 0; i < methods->n; i++)
        if (methods->use[i].method->profile != NULL)
            methods->use[i].method->profile(methods->use[i].state, &p);
    *train_system = p.train_system;
    *out = NULL;
    if (p.infer_system == NULL) {
        *out = parent == NULL ? NULL : json_incref((json_t *)parent);
        return HOLD_OK;
    }
    json_t *o = parent == NULL ? json_object() : json_deep_copy(parent);
    if (o == NULL || json_object_set_new(o, "system", json_string(p.infer_system)) != 0) {
        json_decref(o);
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a profile");
    }
    *out = o;
    return HOLD_OK;
}

int hold_write_adapter(struct hold_work *w, struct hold_adapter *a, const json_t *profile,
                       struct hold_error *err) {
    /* The base by its hash: a path would make the bytes depend on where the model lies. */
    char *base = hold_strdup(a->base_hash == NULL ? "" : a->base_hash);
    if (base == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for an adapter");
    hold_free(a->base_model);
    a->base_model = base;
    json_decref(a->profile);
    a->profile = profile == NULL ? NULL : json_incref((json_t *)profile);
    return hold_adapter_write(a, hold_work_files(w), err);
}

/* --- the import stage --- */

json_t *hold_spec_import(const struct hold_plan *p, const struct hold_plan_node *n) {
    (void)n;
    return json_pack("{s:s, s:i, s:s}", "kind", "import", "version", (int)HOLD_IMPORT_VERSION,
                     "files", p->model_files);
}

int hold_stage_import(struct hold_plan *p, const struct hold_plan_node *n, struct hold_work *w,
                      json_t *manifest, const struct hold_ctx *ctx, struct hold_error *err) {
    (void)n;
    (void)ctx;
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, hold_work_files(w), "model.json");
    json_t *o = json_pack("{s:s, s:O*}", "files", p->model_files, "profile", p->model_profile);
    int rc = o == NULL || json_object_set_new(manifest, "path",
                                              json_string(hold_str_text(&p->model_path))) != 0
                 ? hold_fail(err, HOLD_ENOMEMORY, "no memory for model.json")
                 : hold_json_save(hold_str_text(&path), o, err);
    json_decref(o);
    hold_str_release(&path);
    return rc;
}
