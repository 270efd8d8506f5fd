/* stage_train.c: a training stage: model and rows in, an adapter (or a whole model) out.
 *
 * Files: the adapter (or the model folder), model.json; log/metrics.jsonl and log/probes.jsonl,
 * which are no part of the content.
 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "formats/hf.h"
#include "lab/lab_parts.h"

enum { KEPT_CHECKPOINTS = 3 }; /* two whole ones and the one being written */

/* --- spec --- */

struct stream {
    unsigned need;
    const char *name;
    const struct hold_rows *rows;
    const char *id;
};
enum { N_STREAMS = 3 };

static void list_streams(const struct hold_plan *p, struct stream out[N_STREAMS]) {
    out[0] = (struct stream){HOLD_NEED_ALIGN, "align", &p->refusals, p->refusals_id};
    out[1] = (struct stream){HOLD_NEED_HARMFUL, "harmful", &p->harmful, p->harmful_id};
    out[2] = (struct stream){HOLD_NEED_GENERAL, "general", &p->general, p->general_id};
}

static unsigned needs_of(const struct hold_plan_node *n) {
    unsigned needs = 0;
    for (int i = 0; i < n->methods->n; i++)
        if (n->methods->use[i].method->hooks != NULL)
            needs |= n->methods->use[i].method->hooks->needs;
    return needs;
}

static int add_probe(json_t *spec, const struct hold_eval_set *probe) {
    if (probe->data == NULL)
        return 0;
    return json_object_set_new(spec, "probe",
                               json_pack("{s:s, s:I, s:s, s:i}", "data", probe->data->content_id,
                                         "max_tokens", (json_int_t)probe->max_tokens, "score",
                                         probe->score, "judge", hold_judge_version));
}

json_t *hold_spec_train(const struct hold_plan *p, const struct hold_plan_node *n) {
    struct stream streams[N_STREAMS];
    list_streams(p, streams);
    json_t *ids = json_object();
    int bad = ids == NULL;
    for (int i = 0; bad == 0 && i < N_STREAMS; i++)
        if ((needs_of(n) & streams[i].need) != 0)
            bad |= json_object_set_new(ids, streams[i].name, json_string(streams[i].id));
    json_t *o =
        bad != 0 ? NULL
                 : json_pack("{s:s, s:i, s:s, s:s, s:s, s:O, s:o, s:O, s:b, s:s, s:i}", "kind",
                             "train", "version", (int)HOLD_TRAIN_VERSION, "stage",
                             hold_stage_name(n->stage), "model", p->nodes[n->model].content, "rows",
                             n->rows_id, "streams", ids, "options", hold_train_identity(&n->config),
                             "methods", n->methods->described, "continue", (int)n->goes_on, "dtype",
                             hold_device_dtype(p->lab->device), "tokenizer",
                             (int)HOLD_TOKENIZER_VERSION);
    json_decref(ids);
    if (o != NULL && n->eval_rows != NULL)
        bad |= json_object_set_new(o, "eval_rows", json_string(n->eval_rows_id));
    if (o != NULL && (bad | add_probe(o, &p->recipe->eval[HOLD_EVAL_PROBE])) != 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

/* --- the model that is trained --- */

struct hooked { /* hooks and their own states */
    int n;
    struct hold_hooked item[16];
};
struct task {
    struct hold_plan *p;
    const struct hold_plan_node *n;
    struct hold_work *w;
    const struct hold_ctx *ctx;
    struct hold_model *model;  /* that is trained */
    struct hold_chain chain;   /* what is merged below */
    char start[HOLD_HASH_HEX]; /* adapter that training starts from; empty: none */
    json_t *profile, *parent_profile;
    const char *train_system;
    struct hold_set sets[N_STREAMS + 1], eval_set; /* eval_set: empty without evaluation */
    struct hold_stream_input streams[N_STREAMS + 1];
    int n_sets;
    struct hooked hooks;
};

static int add_trainables(struct task *t, struct hold_error *err) {
    struct hold_model *m = &t->p->lab->model;
    int rc = hold_train_make(m, &t->n->config, err);
    if (rc < 0 || t->start[0] == '\0')
        return rc;
    struct hold_adapter a = {0};
    struct hold_str path = HOLD_STR_INIT;
    hold_store_artifact(t->p->lab->store, t->start, &path);
    rc = hold_adapter_read(&a, hold_str_text(&path), err);
    hold_str_release(&path);
    if (rc < 0)
        return rc;
    rc = hold_model_set_lora(m, &a, err);
    hold_adapter_release(&a);
    return rc;
}

static int load_model(struct task *t, struct hold_error *err) {
    struct hold_lab *lab = t->p->lab;
    const char *content = t->p->nodes[t->n->model].content;
    int rc = hold_lab_chain(lab, content, &t->chain, &t->parent_profile, err);
    if (rc == HOLD_OK && t->n->goes_on && strcmp(t->n->config.tuning, "lora") == 0) {
        if (t->chain.n == 0)
            return hold_fail(err, HOLD_EUSAGE,
                             "the flow 'continue' needs an adapter to go on with; there is none");
        memcpy(t->start, t->chain.adapter[--t->chain.n], sizeof t->start);
    }
    if (rc == HOLD_OK && t->chain.n == HOLD_MAX_CHAIN)
        rc = hold_fail(err, HOLD_EUSAGE, "more than %d adapters over one model", HOLD_MAX_CHAIN);
    if (rc == HOLD_OK)
        rc = hold_lab_load(lab, &t->chain, t->parent_profile, err);
    if (rc == HOLD_OK)
        rc = hold_profile_of(t->parent_profile, t->n->methods, &t->train_system, &t->profile, err);
    return rc < 0 ? rc : add_trainables(t, err);
}

/* --- rows --- */

static int render(struct task *t, const char *name, const struct hold_rows *rows,
                  struct hold_set *set, struct hold_error *err) {
    struct hold_renderer r = hold_model_renderer(t->model, t->n->config.max_length);
    r.system = t->train_system;
    r.prefix = NULL;
    int rc = hold_render_set(&r, rows, set, NULL, err);
    if (rc == HOLD_OK && set->n_cut > 0)
        hold_log(t->ctx, HOLD_WARN, "lab",
                 "%s: %lld of %lld rows of '%s' are longer than max_length %lld and were cut",
                 t->n->name, (long long)set->n_cut, (long long)set->n, name,
                 (long long)t->n->config.max_length);
    return rc;
}

static int add_stream(struct task *t, const char *name, const struct hold_rows *rows,
                      struct hold_error *err) {
    struct hold_set *set = &t->sets[t->n_sets];
    int rc = render(t, name, rows, set, err);
    if (rc == HOLD_OK)
        t->streams[t->n_sets++] = (struct hold_stream_input){.name = name, .set = set};
    return rc;
}

static int add_streams(struct task *t, struct hold_error *err) {
    struct stream streams[N_STREAMS];
    list_streams(t->p, streams);
    int rc = add_stream(t, "main", t->n->rows, err);
    for (int i = 0; rc == HOLD_OK && i < N_STREAMS; i++)
        if ((needs_of(t->n) & streams[i].need) != 0)
            rc = add_stream(t, streams[i].name, streams[i].rows, err);
    if (rc == HOLD_OK && t->n->eval_rows != NULL)
        rc = render(t, "eval_data", t->n->eval_rows, &t->eval_set, err);
    return rc;
}

static void drop_sets(struct task *t) {
    for (int i = 0; i < t->n_sets; i++)
        hold_set_release(&t->sets[i]);
    hold_set_release(&t->eval_set);
}

/* Hooks change their state, the recipe's is for every stage: each stage works on a copy. */
static int add_hooks(const struct hold_method_list *methods, struct hooked *out,
                     struct hold_error *err) {
    for (int i = 0; i < methods->n; i++) {
        const struct hold_method_use *u = &methods->use[i];
        if (u->method->hooks == NULL)
            continue;
        size_t bytes = u->method->state_size > 0 ? u->method->state_size : 1;
        void *state = NULL;
        int rc = hold_new(&state, 1, bytes, "a method's state", err);
        if (rc < 0)
            return rc;
        memcpy(state, u->state, u->method->state_size);
        out->item[out->n++] = (struct hold_hooked){.hooks = u->method->hooks, .state = state};
    }
    return HOLD_OK;
}

static void drop_hooks(struct hooked *h) {
    for (int i = 0; i < h->n; i++)
        hold_free(h->item[i].state);
    h->n = 0;
}

/* --- is there room? --- */

static struct hold_train_input input_of(const struct task *t, const struct hooked *hooks) {
    return (struct hold_train_input){.model = t->model,
                                     .config = t->n->config,
                                     .streams = t->streams,
                                     .n_streams = t->n_sets,
                                     .methods = hooks->item,
                                     .n_methods = hooks->n,
                                     .eval = t->eval_set.n > 0 ? &t->eval_set : NULL};
}

static int size_of(const struct task *t, int64_t *step, int64_t *vectors, struct hold_error *err) {
    struct hooked own = {0}; /* sizing uses states up */
    int rc = add_hooks(t->n->methods, &own, err);
    struct hold_train_input input = input_of(t, &own);
    if (rc == HOLD_OK)
        rc = hold_train_size(&input, step, vectors, err);
    drop_hooks(&own);
    return rc;
}

static int count(const struct task *t, struct hold_train_work *work, struct hold_error *err) {
    struct hooked own = {0};
    int rc = add_hooks(t->n->methods, &own, err);
    struct hold_train_input input = input_of(t, &own);
    if (rc == HOLD_OK)
        rc = hold_train_count(&input, work, err);
    drop_hooks(&own);
    return rc;
}

int hold_stage_train_foretell(struct hold_plan *p, const struct hold_plan_node *n,
                              struct hold_model *m, int64_t *step, int64_t *vectors,
                              struct hold_train_work *work, struct hold_error *err) {
    struct task t = {.p = p, .n = n, .ctx = p->lab->ctx, .model = m};
    int rc = add_streams(&t, err);
    if (rc == HOLD_OK)
        rc = size_of(&t, step, vectors, err);
    if (rc == HOLD_OK)
        rc = count(&t, work, err);
    drop_sets(&t);
    return rc;
}

static int check_room(const struct task *t, int64_t *step, struct hold_error *err) {
    int64_t vectors = 0;
    int rc = size_of(t, step, &vectors, err);
    if (rc < 0)
        return rc;
    rc = hold_train_check_room(t->n->name, &t->n->config, *step, vectors, err);
    if (rc < 0)
        return rc;
    const char *dir = hold_store_path(t->p->lab->store);
    int64_t disk = vectors * KEPT_CHECKPOINTS;
    int64_t free_bytes = (int64_t)hold_disk_free(dir);
    if (free_bytes > 0 && disk > free_bytes)
        return hold_fail(err, HOLD_ENOSPACE,
                         "%s: %s needs about %.1f MB for checkpoints, %.1f MB are free", dir,
                         t->n->name, (double)disk / 1e6, (double)free_bytes / 1e6);
    return HOLD_OK;
}

/* --- result --- */

static int write_whole(struct task *t, struct hold_error *err) {
    struct hold_lab *lab = t->p->lab;
    struct hold_str path = HOLD_STR_INIT;
    struct hold_model_files files = {0};
    int rc = hold_lab_base_path(lab, t->chain.base, &path, err);
    if (rc == HOLD_OK)
        rc = hold_model_files_open(&files, hold_str_text(&path), err);
    hold_str_release(&path);
    if (rc < 0)
        return rc;
    rc = hold_model_write(&lab->model, &files, HOLD_ST_F32, hold_work_files(t->w), err);
    hold_model_files_release(&files);
    return rc < 0 ? rc : hold_write_model_json(hold_work_files(t->w), NULL, t->profile, err);
}

static int write_result(struct task *t, struct hold_error *err) {
    struct hold_model *m = &t->p->lab->model;
    if (!m->lora)
        return write_whole(t, err);
    struct hold_adapter a = {0};
    int rc = hold_model_get_lora(m, &a, err);
    if (rc < 0)
        return rc;
    rc = hold_write_adapter(t->w, &a, t->profile, err);
    hold_adapter_release(&a);
    return rc < 0 ? rc : hold_write_model_json(hold_work_files(t->w), &t->chain, t->profile, err);
}

static int keep_log(struct task *t, const char *name, struct hold_error *err) {
    struct hold_str from = HOLD_STR_INIT, to = HOLD_STR_INIT;
    hold_path_join(&from, hold_work_checkpoints(t->w), name);
    hold_path_join(&to, hold_work_files(t->w), "log");
    int rc = hold_mkdirs(hold_str_text(&to), err);
    hold_str_addf(&to, "/%s", name);
    if (rc == HOLD_OK && hold_exists(hold_str_text(&from)))
        rc = hold_copy_file(hold_str_text(&from), hold_str_text(&to), err);
    hold_str_release(&from);
    hold_str_release(&to);
    return rc;
}

static int add_facts(json_t *manifest, const struct hold_train_result *r, int64_t rows,
                     struct hold_error *err) {
    json_t *o = json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:b}", "steps", (json_int_t)r->steps,
                          "tokens", (json_int_t)r->tokens, "rows", (json_int_t)rows, "first_loss",
                          r->first_loss, "last_loss", r->last_loss, "train_seconds", r->seconds,
                          "resumed", (int)r->resumed);
    int bad = 0;
    if (o != NULL && r->evaluations > 0)
        bad = json_object_update_new(
            o, json_pack("{s:I, s:f, s:f, s:I, s:b, s:b}", "evaluations",
                         (json_int_t)r->evaluations, "eval_loss", r->eval_loss, "best_eval_loss",
                         r->best_eval_loss, "best_step", (json_int_t)r->best_step, "stopped_early",
                         (int)r->stopped_early, "is_best", (int)r->is_best));
    return json_object_set_new(manifest, "training", o) == 0 && bad == 0
               ? HOLD_OK
               : hold_fail(err, HOLD_ENOMEMORY, "no memory for a manifest");
}

static int train(struct task *t, json_t *manifest, struct hold_error *err) {
    struct hold_train_result result = {0};
    struct hold_str probes = HOLD_STR_INIT;
    struct hold_probe probe = {.recipe = t->p->recipe, .ctx = t->ctx, .profile = t->profile};
    bool probing = t->p->recipe->eval[HOLD_EVAL_PROBE].data != NULL;
    struct hold_train_input input = input_of(t, &t->hooks);
    input.work_dir = hold_work_checkpoints(t->w);
    input.spec = t->n->id;
    input.probe = probing ? hold_probe_step : NULL;
    input.probe_user = &probe;
    hold_path_join(&probes, hold_work_checkpoints(t->w), "probes.jsonl");
    probe.path = hold_str_text(&probes);
    int rc = check_room(t, &input.reserve_bytes, err);
    if (rc == HOLD_OK && probing)
        rc = hold_probe_open(&probe, err);
    if (rc == HOLD_OK)
        rc = hold_train(&input, t->ctx, &result, err);
    if (rc == HOLD_OK)
        rc = write_result(t, err);
    if (rc == HOLD_OK)
        rc = keep_log(t, "metrics.jsonl", err);
    if (rc == HOLD_OK && probing)
        rc = keep_log(t, "probes.jsonl", err);
    if (rc == HOLD_OK)
        rc = add_facts(manifest, &result, t->n->rows->n, err);
    hold_probe_release(&probe);
    hold_str_release(&probes);
    return rc;
}

int hold_stage_train(struct hold_plan *p, const struct hold_plan_node *n, struct hold_work *w,
                     json_t *manifest, const struct hold_ctx *ctx, struct hold_error *err) {
    struct task t = {.p = p, .n = n, .w = w, .ctx = ctx, .model = &p->lab->model};
    int rc = load_model(&t, err);
    if (rc == HOLD_OK)
        rc = add_streams(&t, err);
    if (rc == HOLD_OK)
        rc = add_hooks(n->methods, &t.hooks, err);
    if (rc == HOLD_OK)
        rc = train(&t, manifest, err);
    /* What was merged below is as before; a model trained as a whole is another one now. */
    if (p->lab->is_loaded && p->lab->model.full)
        hold_lab_release(p->lab);
    else if (p->lab->is_loaded)
        hold_model_drop_lora(&p->lab->model);
    drop_sets(&t);
    drop_hooks(&t.hooks);
    json_decref(t.profile);
    json_decref(t.parent_profile);
    return rc;
}
