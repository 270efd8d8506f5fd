/* stage_edit.c: a repair: the tuned adapter changed on the host, beside the models around it. */
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "lab/lab_parts.h"

json_t *hold_spec_edit(const struct hold_plan *p, const struct hold_plan_node *n) {
    json_t *sets = json_object();
    int bad = sets == NULL;
    if (bad == 0 && p->refusals.n > 0)
        bad |= json_object_set_new(sets, "align", json_string(p->refusals_id));
    if (bad == 0 && p->harmful.n > 0)
        bad |= json_object_set_new(sets, "harmful", json_string(p->harmful_id));
    if (bad == 0 && p->general.n > 0)
        bad |= json_object_set_new(sets, "general", json_string(p->general_id));
    if (bad != 0) {
        json_decref(sets);
        return NULL;
    }
    return json_pack(
        "{s:s, s:i, s:O, s:s, s:s, s:I, s:o, s:I, s:s}", "kind", "edit", "version",
        (int)HOLD_EDIT_VERSION, "method", json_array_get(n->methods->described, (size_t)n->method),
        "model", p->nodes[n->model].content, "before",
        n->before < 0 ? "" : p->nodes[n->before].content, "seed", (json_int_t)n->seed, "sets", sets,
        "max_length", (json_int_t)n->config.max_length, "dtype", hold_device_dtype(p->lab->device));
}

/* The model before alignment is loaded beside the aligned one. */
static int load_before(struct hold_plan *p, const struct hold_plan_node *n,
                       struct hold_model *before, bool *loaded, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    struct hold_chain chain;
    json_t *profile = NULL;
    *loaded = false;
    if (n->before < 0)
        return HOLD_OK;
    int rc = hold_lab_chain(p->lab, p->nodes[n->before].content, &chain, &profile, err);
    if (rc == HOLD_OK && chain.n > 0)
        rc = hold_fail(err, HOLD_EINTERNAL, "the model before alignment has adapters");
    if (rc == HOLD_OK)
        rc = hold_lab_base_path(p->lab, chain.base, &path, err);
    if (rc == HOLD_OK)
        rc = hold_model_load(before, hold_str_text(&path), p->lab->device, p->lab->ctx, err);
    *loaded = rc == HOLD_OK;
    json_decref(profile);
    hold_str_release(&path);
    return rc;
}

static int read_adapter(struct hold_plan *p, const struct hold_plan_node *n,
                        struct hold_chain *chain, json_t **profile, struct hold_adapter *a,
                        struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    int rc = hold_lab_chain(p->lab, p->nodes[n->model].content, chain, profile, err);
    if (rc == HOLD_OK && chain->n == 0)
        rc = hold_fail(err, HOLD_EUSAGE, "'%s' repairs an adapter; the tuned model has none",
                       n->methods->use[n->method].method->name);
    if (rc == HOLD_OK) {
        hold_store_artifact(p->lab->store, chain->adapter[--chain->n], &path);
        rc = hold_adapter_read(a, hold_str_text(&path), err);
    }
    hold_str_release(&path);
    return rc;
}

static int edit(struct hold_plan *p, const struct hold_plan_node *n, struct hold_adapter *a,
                struct hold_model *before, json_t *notes, const struct hold_ctx *ctx,
                struct hold_error *err) {
    struct hold_named_rows sets[3];
    int n_sets = 0;
    if (p->refusals.n > 0)
        sets[n_sets++] = (struct hold_named_rows){"align", &p->refusals};
    if (p->harmful.n > 0)
        sets[n_sets++] = (struct hold_named_rows){"harmful", &p->harmful};
    if (p->general.n > 0)
        sets[n_sets++] = (struct hold_named_rows){"general", &p->general};
    struct hold_edit_input input = {.adapter = a,
                                    .base = before,
                                    .aligned = &p->lab->model,
                                    .sets = sets,
                                    .n_sets = n_sets,
                                    .max_length = n->config.max_length,
                                    .seed = (uint64_t)n->seed,
                                    .notes = notes};
    return hold_edit_run(&n->methods->use[n->method], &input, ctx, err);
}

int hold_stage_edit(struct hold_plan *p, const struct hold_plan_node *n, struct hold_work *w,
                    json_t *manifest, const struct hold_ctx *ctx, struct hold_error *err) {
    struct hold_chain chain;
    struct hold_adapter a = {0};
    struct hold_model before = {0};
    json_t *profile = NULL, *notes = json_object();
    bool loaded = false, read = false;
    int rc = notes == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for notes") : HOLD_OK;
    if (rc == HOLD_OK)
        rc = read_adapter(p, n, &chain, &profile, &a, err);
    read = rc == HOLD_OK;
    if (rc == HOLD_OK)
        rc = hold_lab_load(p->lab, &chain, profile, err);
    if (rc == HOLD_OK)
        rc = load_before(p, n, &before, &loaded, err);
    if (rc == HOLD_OK)
        rc = edit(p, n, &a, loaded ? &before : NULL, notes, ctx, err);
    if (rc == HOLD_OK)
        rc = hold_write_adapter(w, &a, profile, err);
    if (rc == HOLD_OK)
        rc = hold_write_model_json(hold_work_files(w), &chain, profile, err);
    if (rc == HOLD_OK && json_object_set(manifest, "notes", notes) != 0)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for a manifest");
    if (loaded)
        hold_model_release(&before);
    if (read)
        hold_adapter_release(&a);
    json_decref(profile);
    json_decref(notes);
    return rc;
}
