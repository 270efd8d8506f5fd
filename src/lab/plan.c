/* plan.c: a recipe's arms as a graph of stages: what two arms share is one node. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "formats/hf.h"
#include "lab/lab_parts.h"

/* --- nodes --- */

/* The node of a key, made when it is new. */
static int intern(struct hold_plan *p, struct hold_plan_node *n, const json_t *what, int *out,
                  struct hold_error *err) {
    int rc = hold_spec_id(what, n->key, err);
    for (int i = 0; rc == HOLD_OK && i < p->n_nodes; i++)
        if (strcmp(p->nodes[i].key, n->key) == 0) {
            *out = i;
            return HOLD_OK;
        }
    if (rc == HOLD_OK && p->n_nodes == p->cap_nodes) {
        int cap = p->cap_nodes == 0 ? 64 : p->cap_nodes * 2;
        void *grown = hold_realloc(p->nodes, (size_t)cap * sizeof *p->nodes);
        if (grown == NULL)
            return hold_fail(err, HOLD_ENOMEMORY, "no memory for a plan");
        p->nodes = grown;
        p->cap_nodes = cap;
    }
    if (rc < 0)
        return rc;
    *out = p->n_nodes;
    p->nodes[p->n_nodes++] = *n;
    return HOLD_OK;
}

static const char *key_of(const struct hold_plan *p, int node) {
    return node < 0 ? "" : p->nodes[node].key;
}

static int add_node(struct hold_plan *p, struct hold_plan_node *n, json_t *what, int *out,
                    struct hold_error *err) {
    int rc = what == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a plan")
                          : intern(p, n, what, out, err);
    json_decref(what);
    return rc;
}

static int append(struct hold_arm_plan *a, int node, struct hold_error *err) {
    if (a->n == HOLD_ARM_NODES)
        return hold_fail(err, HOLD_EUSAGE, "arm '%s' has more than %d stages", a->arm->name,
                         HOLD_ARM_NODES);
    a->nodes[a->n++] = node;
    return HOLD_OK;
}

static int last(const struct hold_arm_plan *a) {
    return a->nodes[a->n - 1];
}

/* --- sizes, for the remaining time: tokens are about four bytes of text --- */

static double text_tokens(const struct hold_rows *rows) {
    double bytes = 0.0;
    for (int64_t i = 0; i < rows->n; i++) {
        const struct hold_row *row = &rows->row[i];
        bytes += row->text == NULL ? 0.0 : (double)strlen(row->text);
        for (size_t k = 0; k < json_array_size(row->messages); k++) {
            const json_t *m = json_array_get(row->messages, k);
            bytes += (double)json_string_length(json_object_get(m, "content"));
        }
        bytes += 60.0; /* a template's own words */
    }
    return bytes / 4.0;
}

static const struct hold_rows *once_rows(const struct hold_plan *p, const struct hold_plan_node *n,
                                         const struct hold_hooks *h) {
    return h->once_of == HOLD_NEED_ALIGN     ? &p->refusals
           : h->once_of == HOLD_NEED_HARMFUL ? &p->harmful
           : h->once_of == HOLD_NEED_GENERAL ? &p->general
                                             : n->rows;
}

static double train_units(const struct hold_plan *p, const struct hold_plan_node *n) {
    int64_t steps = hold_train_steps(&n->config, n->rows->n);
    double batch =
        (double)(n->config.per_device_train_batch_size * n->config.gradient_accumulation_steps);
    double taken = (double)steps * batch, passes = 1.0, once = 0.0;
    for (int i = 0; i < n->methods->n; i++) {
        const struct hold_hooks *h = n->methods->use[i].method->hooks;
        if (h != NULL && h->passes > 1.0)
            passes += h->passes - 1.0;
        if (h == NULL || !(h->once > 0.0))
            continue;
        /* No row twice, and none that the steps do not come to. */
        const struct hold_rows *rows = once_rows(p, n, h);
        double share = rows->n > 0 ? taken / (double)rows->n : 0.0;
        once += h->once * text_tokens(rows) * (share < 1.0 ? share : 1.0);
    }
    double a_row = n->rows->n > 0 ? text_tokens(n->rows) / (double)n->rows->n : 0.0;
    double units = 3.0 * (passes * taken * a_row + once);
    if (n->eval_rows != NULL) { /* an epoch's step count is not known here: as with steps */
        double times = (double)(steps / n->config.eval_steps + 1);
        units += times * text_tokens(n->eval_rows);
    }
    const struct hold_eval_set *probe = &p->recipe->eval[HOLD_EVAL_PROBE];
    if (probe->data != NULL)
        units += (double)(steps / probe->every + 2) *
                 (text_tokens(&probe->data->rows) +
                  2.0 * (double)(probe->data->rows.n * probe->max_tokens));
    return units;
}

static double evaluate_units(const struct hold_eval_set *set) {
    double new_tokens = (double)(set->data->rows.n * set->max_tokens);
    return text_tokens(&set->data->rows) + 2.0 * new_tokens;
}

/* --- stages of an arm --- */

static int add_import(struct hold_plan *p, struct hold_arm_plan *a, struct hold_error *err) {
    struct hold_plan_node n = {
        .kind = HOLD_NODE_IMPORT, .name = "import", .model = -1, .before = -1, .arm = a->arm};
    int node = -1;
    int rc = add_node(p, &n, json_pack("{s:s}", "import", p->model_files), &node, err);
    return rc < 0 ? rc : append(a, node, err);
}

static int add_train(struct hold_plan *p, struct hold_arm_plan *a, struct hold_plan_node *n,
                     struct hold_error *err) {
    n->kind = HOLD_NODE_TRAIN;
    n->model = last(a);
    n->before = -1;
    n->arm = a->arm;
    n->seed = a->seed;
    n->config.seed = a->seed;
    const struct hold_eval_set *probe = &p->recipe->eval[HOLD_EVAL_PROBE];
    n->config.probe_steps = probe->data == NULL ? 0 : probe->every;
    if (strcmp(n->config.eval_strategy, "no") != 0) {
        bool aligns = n->stage == HOLD_STAGE_ALIGN;
        n->eval_rows = aligns ? &p->align_eval : &p->customer_eval;
        n->eval_rows_id = aligns ? p->align_eval_id : p->customer_eval_id;
    }
    n->units = train_units(p, n);
    int node = -1;
    int rc = add_node(p, n,
                      json_pack("{s:s, s:s, s:s, s:b, s:O, s:o, s:s}", "train", n->name, "model",
                                key_of(p, n->model), "rows", n->rows_id, "continue",
                                (int)n->goes_on, "methods", n->methods->described, "options",
                                hold_options_to_json(hold_train_options, &n->config), "stage",
                                hold_stage_name(n->stage)),
                      &node, err);
    return rc < 0 ? rc : append(a, node, err);
}

static int add_alignment(struct hold_plan *p, struct hold_arm_plan *a, struct hold_error *err) {
    const struct hold_arm *arm = a->arm;
    struct hold_plan_node n = {.name = "align",
                               .stage = HOLD_STAGE_ALIGN,
                               .methods = &arm->align,
                               .config = arm->align_train,
                               .rows = &p->align_main};
    memcpy(n.rows_id, p->align_main_id, sizeof n.rows_id);
    if (hold_has_data_hook(&arm->align)) {
        int i = -1;
        int rc = hold_stage_prepare(p, NULL, &arm->align, a->seed, &i, err);
        if (rc < 0)
            return rc;
        a->prepared[0] = i;
        n.rows = &p->prepared[i].phases[0].rows;
        memcpy(n.rows_id, p->prepared[i].rows_id[0], sizeof n.rows_id);
    }
    return add_train(p, a, &n, err);
}

/* What a phase asks for over the customer's configuration. */
static void apply_phase(struct hold_train_config *c, const struct hold_phase *f) {
    if (f->learning_rate > 0)
        c->learning_rate = f->learning_rate;
    if (f->num_train_epochs > 0) {
        c->num_train_epochs = f->num_train_epochs;
        c->max_steps = 0;
    }
    if (f->max_steps > 0)
        c->max_steps = f->max_steps;
    if (f->batch > 0)
        c->per_device_train_batch_size = f->batch;
}

/* A method that looks at the user's adapter alone needs it to be one, over the aligned model. */
static int check_flows(const struct hold_arm *arm, const struct hold_prepared_stage *job,
                       struct hold_error *err) {
    const struct hold_method_list *lists[] = {&arm->tune, &arm->repair};
    int fresh = 0;
    for (int i = 0; i < job->n_phases; i++)
        fresh += strcmp(job->phases[i].phase.flow, "continue") != 0;
    bool goes_on = job->n_phases > 0 && strcmp(job->phases[0].phase.flow, "continue") == 0;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < lists[k]->n; i++) {
            const struct hold_method *m = lists[k]->use[i].method;
            if (!m->separate_adapter)
                continue;
            if (goes_on)
                return hold_fail(err, HOLD_EUSAGE,
                                 "'%s' needs the user's adapter apart; '%s' continues the "
                                 "provider's (flow continue)",
                                 m->name, arm->attack.use[0].method->name);
            if (fresh > 1)
                return hold_fail(err, HOLD_EUSAGE,
                                 "'%s' works on one adapter of the user; '%s' leaves %d", m->name,
                                 arm->attack.use[0].method->name, fresh);
        }
    return HOLD_OK;
}

static int add_job(struct hold_plan *p, struct hold_arm_plan *a, struct hold_error *err) {
    const struct hold_arm *arm = a->arm;
    int i = -1;
    int rc = hold_stage_prepare(p, &arm->attack.use[0], &arm->tune, a->seed, &i, err);
    if (rc < 0)
        return rc;
    a->prepared[1] = i;
    const struct hold_prepared_stage *job = &p->prepared[i];
    rc = check_flows(arm, job, err);
    for (int k = 0; rc == HOLD_OK && k < job->n_phases; k++) {
        const struct hold_phase *f = &job->phases[k].phase;
        struct hold_str name = HOLD_STR_INIT;
        hold_str_add(&name, "tune");
        if (job->n_phases > 1)
            hold_str_addf(&name, ".%s", f->name);
        struct hold_plan_node n = {.name = hold_arena_strdup(&p->arena, hold_str_text(&name)),
                                   .stage = HOLD_STAGE_TUNE,
                                   .methods = &arm->tune,
                                   .config = arm->customer_train,
                                   .rows = &job->phases[k].rows,
                                   .goes_on = strcmp(f->flow, "continue") == 0};
        hold_str_release(&name);
        memcpy(n.rows_id, job->rows_id[k], sizeof n.rows_id);
        apply_phase(&n.config, f);
        rc = n.name == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a plan")
                            : add_train(p, a, &n, err);
    }
    return rc;
}

static int add_repairs(struct hold_plan *p, struct hold_arm_plan *a, int before,
                       struct hold_error *err) {
    const struct hold_arm *arm = a->arm;
    int rc = HOLD_OK;
    for (int i = 0; rc == HOLD_OK && i < arm->repair.n; i++) {
        struct hold_str name = HOLD_STR_INIT;
        hold_str_add(&name, "repair");
        if (arm->repair.n > 1)
            hold_str_addf(&name, ".%s", arm->repair.use[i].method->name);
        struct hold_plan_node n = {.kind = HOLD_NODE_EDIT,
                                   .name = hold_arena_strdup(&p->arena, hold_str_text(&name)),
                                   .model = last(a),
                                   .before = before,
                                   .arm = arm,
                                   .seed = a->seed,
                                   .methods = &arm->repair,
                                   .method = i,
                                   .config = arm->customer_train};
        hold_str_release(&name);
        int node = -1;
        n.units = text_tokens(&p->harmful) + 2000.0;
        rc = n.name == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a plan")
                            : add_node(p, &n,
                                       json_pack("{s:O, s:s, s:s, s:I}", "edit",
                                                 json_array_get(arm->repair.described, (size_t)i),
                                                 "model", key_of(p, n.model), "before",
                                                 key_of(p, before), "seed", (json_int_t)a->seed),
                                       &node, err);
        if (rc == HOLD_OK)
            rc = append(a, node, err);
    }
    return rc;
}

static int add_evaluations(struct hold_plan *p, struct hold_arm_plan *a, struct hold_error *err) {
    static const char *const NAMES[] = {"evaluate.harmful", "evaluate.over_refusal",
                                        "evaluate.ordinary", "evaluate.task",
                                        "evaluate.perplexity"};
    int rc = HOLD_OK;
    for (int k = 0; rc == HOLD_OK && k < HOLD_EVAL_PROBE; k++) {
        const struct hold_eval_set *set = &p->recipe->eval[k];
        if (set->data == NULL)
            continue;
        struct hold_plan_node n = {.kind = HOLD_NODE_EVALUATE,
                                   .name = NAMES[k],
                                   .model = last(a),
                                   .before = -1,
                                   .arm = a->arm,
                                   .eval = (enum hold_eval_kind)k,
                                   .units = evaluate_units(set)};
        rc = add_node(p, &n,
                      json_pack("{s:s, s:s}", "evaluate", NAMES[k], "model", key_of(p, n.model)),
                      &a->evals[k], err);
    }
    return rc;
}

static int plan_arm(struct hold_plan *p, struct hold_arm_plan *a, struct hold_error *err) {
    for (int k = 0; k < HOLD_EVAL_COUNT; k++)
        a->evals[k] = -1;
    a->prepared[0] = a->prepared[1] = -1;
    int rc = add_import(p, a, err);
    int before = rc == HOLD_OK && a->arm->align.n > 0 ? last(a) : -1;
    if (rc == HOLD_OK && a->arm->align.n > 0)
        rc = add_alignment(p, a, err);
    if (rc == HOLD_OK && a->arm->attack.n > 0)
        rc = add_job(p, a, err);
    if (rc == HOLD_OK)
        rc = add_repairs(p, a, before, err);
    return rc < 0 ? rc : add_evaluations(p, a, err);
}

/* --- the whole plan --- */

static int find_model(struct hold_plan *p, struct hold_error *err) {
    struct hold_model_files files = {0};
    int rc = hold_model_locate(p->lab->models_dir, p->recipe->model, &p->model_path, err);
    if (rc == HOLD_OK)
        rc = hold_model_files_open(&files, hold_str_text(&p->model_path), err);
    if (rc < 0)
        return rc;
    memcpy(p->model_files, files.content_id, sizeof p->model_files);
    p->model_profile = json_incref(files.profile);
    hold_model_files_release(&files);
    return HOLD_OK;
}

int hold_plan_make(struct hold_plan *p, struct hold_lab *lab, const struct hold_recipe *recipe,
                   struct hold_error *err) {
    *p = (struct hold_plan){.lab = lab, .recipe = recipe};
    hold_arena_init(&p->arena, 0);
    void *memory = NULL;
    int n = recipe->n_arms * recipe->n_seeds;
    int rc = find_model(p, err);
    if (rc == HOLD_OK)
        rc = hold_plan_streams(p, err);
    if (rc == HOLD_OK)
        rc = hold_new(&memory, (size_t)n, sizeof *p->arms, "a plan", err);
    p->arms = memory;
    for (int i = 0; rc == HOLD_OK && i < n; i++) {
        struct hold_arm_plan *a = &p->arms[p->n_arms++];
        struct hold_error inner = {0};
        a->arm = &recipe->arms[i / recipe->n_seeds];
        a->seed = recipe->seeds[i % recipe->n_seeds];
        rc = plan_arm(p, a, &inner);
        if (rc < 0)
            rc = hold_fail(err, rc, "%s: arm '%s': %s", a->arm->where, a->arm->name, inner.text);
    }
    if (rc < 0)
        hold_plan_release(p);
    return rc;
}

void hold_plan_release(struct hold_plan *p) {
    for (int i = 0; i < p->n_prepared; i++) {
        struct hold_prepared_stage *s = &p->prepared[i];
        for (int k = 0; k < s->n_phases; k++)
            hold_rows_release(&s->phases[k].rows);
        hold_free(s->phases);
        hold_free(s->rows_id);
        json_decref(s->notes);
    }
    struct hold_rows *rows[] = {&p->align_main, &p->refusals,   &p->general,      &p->harmful,
                                &p->task,       &p->align_eval, &p->customer_eval};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        hold_rows_release(rows[i]);
    hold_free(p->prepared);
    hold_free(p->nodes);
    hold_free(p->arms);
    hold_str_release(&p->model_path);
    json_decref(p->model_profile);
    hold_arena_release(&p->arena);
    *p = (struct hold_plan){0};
}
