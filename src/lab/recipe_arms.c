/* recipe_arms.c: arms: which methods at which stage, with which options, against which arm. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "lab/recipe_parts.h"

enum { ARMS_MAX = 1000, METHODS_MAX = 16 };

/* --- training options --- */

/* Every key of the object is an option of the table, set with its own place in messages. */
static int set_options(const struct hold_view *v, const struct hold_option *rows, void *target,
                       struct hold_error *err) {
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)v->value, key, item) {
        char where[512];
        struct hold_view one = hold_view_get(v, key);
        hold_view_where(&one, where);
        int rc = hold_options_set_json(rows, target, key, item, where, err);
        if (rc < 0)
            return rc;
    }
    return HOLD_OK;
}

static int set_train(const struct hold_view *v, struct hold_train_config *c,
                     struct hold_error *err) {
    if (v->value == NULL)
        return HOLD_OK;
    if (!json_is_object(v->value))
        return hold_view_fail(v, err, "found %s, expected training options",
                              hold_json_kind(v->value));
    struct hold_view seed = hold_view_get(v, "seed"), probe = hold_view_get(v, "probe_steps");
    if (seed.value != NULL)
        return hold_view_fail(&seed, err, "the seed is the recipe's own key 'seed'");
    if (probe.value != NULL)
        return hold_view_fail(&probe, err, "probes are asked for by evaluate.probe.every");
    int rc = set_options(v, hold_train_options, c, err);
    struct hold_view targets = hold_view_get(v, "lora_target_modules");
    struct hold_error inner = {0};
    if (rc == HOLD_OK && targets.value != NULL &&
        hold_model_check_targets(c->lora_target_modules, &inner) < 0)
        rc = hold_view_fail(&targets, err, "%s", inner.text);
    return rc;
}

/* Defaults, the stage's `train`, the arm's override. */
static int read_train(const struct hold_view *root, const char *side, const struct hold_view *arm,
                      const char *key, struct hold_train_config *c, struct hold_error *err) {
    struct hold_view stage = hold_view_get(root, side);
    struct hold_view train = hold_view_get(&stage, "train"), own = hold_view_get(arm, key);
    hold_options_defaults(hold_train_options, c);
    int rc = set_train(&train, c, err);
    return rc < 0 ? rc : set_train(&own, c, err);
}

/* --- methods --- */

static json_t *describe(const struct hold_method_use *u) {
    return json_pack("{s:s, s:i, s:o}", "name", u->method->name, "version", u->method->version,
                     "options", hold_options_to_json(u->method->options, u->state));
}

static int add_method(struct hold_method_list *list, enum hold_stage stage, const char *name,
                      const struct hold_view *v, const json_t *options, struct hold_error *err) {
    char where[512];
    const struct hold_method *m = NULL;
    struct hold_error inner = {0};
    int rc = hold_method_look_up(name, &m, &inner);
    if (rc < 0)
        return hold_view_fail(v, err, "%s", inner.text);
    if (m->stage != stage)
        return hold_view_fail(v, err, "'%s' is a method of the stage %s, not of %s", name,
                              hold_stage_name(m->stage), hold_stage_name(stage));
    for (int i = 0; i < list->n; i++)
        if (list->use[i].method == m)
            return hold_view_fail(v, err, "'%s' is given twice", name);
    if (list->n == METHODS_MAX)
        return hold_view_fail(v, err, "more than %d methods", METHODS_MAX);
    if (options != NULL && !json_is_object(options) && !json_is_null(options))
        return hold_view_fail(v, err, "found %s, expected the options of '%s'",
                              hold_json_kind(options), name);
    hold_view_where(v, where);
    struct hold_method_use *u = &list->use[list->n];
    rc = hold_method_use_new(u, m, NULL, where, err);
    if (rc < 0)
        return rc;
    list->n++;
    if (json_is_object(options))
        rc = set_options(v, m->options, u->state, err);
    if (rc < 0)
        return rc;
    json_t *d = describe(u);
    return json_array_append_new(list->described, d) == 0
               ? HOLD_OK
               : hold_fail(err, HOLD_ENOMEMORY, "no memory for methods");
}

/* Of several keys one may be a misspelt method, laid beside the right one by an override. */
static int check_words(const struct hold_view *v, struct hold_error *err) {
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)v->value, key, item) {
        const struct hold_method *m = NULL;
        struct hold_error inner = {0};
        struct hold_view one = hold_view_get(v, key);
        if (hold_method_look_up(key, &m, &inner) < 0)
            return hold_view_fail(&one, err, "%s", inner.text);
    }
    return HOLD_OK;
}

/* "name" or {name: {options}} */
static int add_entry(struct hold_method_list *list, enum hold_stage stage,
                     const struct hold_view *v, struct hold_error *err) {
    if (json_is_string(v->value))
        return add_method(list, stage, json_string_value(v->value), v, NULL, err);
    int rc = json_object_size(v->value) > 1 ? check_words(v, err) : HOLD_OK;
    if (rc < 0)
        return rc;
    if (!json_is_object(v->value) || json_object_size(v->value) != 1)
        return hold_view_fail(v, err,
                              "found %s, expected a method: name, {name: {options}} or a list",
                              json_is_object(v->value) ? "several keys" : hold_json_kind(v->value));
    const char *name = json_object_iter_key(json_object_iter((json_t *)v->value));
    struct hold_view inner = hold_view_get(v, name);
    return add_method(list, stage, name, &inner, json_object_get(v->value, name), err);
}

static int read_methods(struct hold_method_list *list, enum hold_stage stage,
                        const struct hold_view *arm, struct hold_error *err) {
    struct hold_view v = hold_view_get(arm, hold_stage_name(stage));
    void *memory = NULL;
    int rc = hold_new(&memory, METHODS_MAX, sizeof *list->use, "methods", err);
    list->use = memory;
    list->described = json_array();
    if (rc == HOLD_OK && list->described == NULL)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for methods");
    if (rc < 0 || v.value == NULL)
        return rc;
    if (!json_is_array(v.value))
        return add_entry(list, stage, &v, err);
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(v.value); i++) {
        struct hold_view one = hold_view_at(&v, i);
        rc = add_entry(list, stage, &one, err);
    }
    return rc;
}

/* --- what goes together --- */

static int check_owner(const struct hold_method_list *list, const struct hold_view *v,
                       struct hold_error *err) {
    const char *owner = NULL;
    for (int i = 0; i < list->n; i++) {
        const struct hold_method *m = list->use[i].method;
        if (m->hooks == NULL || m->hooks->step == NULL)
            continue;
        if (owner != NULL)
            return hold_view_fail(v, err,
                                  "'%s' and '%s' both own the pass plan of a step; use one of them",
                                  owner, m->name);
        owner = m->name;
    }
    return HOLD_OK;
}

static int check_needs(const struct hold_recipe *r, const struct hold_arm *a,
                       const struct hold_method_list *list, const struct hold_view *v,
                       struct hold_error *err) {
    const struct {
        unsigned need;
        bool given;
        const char *what;
    } NEEDS[] = {{HOLD_NEED_ALIGN, r->refusals[0] >= 0, "refusals: give align.refusals"},
                 {HOLD_NEED_HARMFUL, r->defender_harmful[0] >= 0,
                  "the defender's own harmful rows: give align.harmful"},
                 {HOLD_NEED_GENERAL, r->general[0] >= 0, "general rows: give align.general"},
                 {HOLD_NEED_BEFORE, a->align.n > 0,
                  "the model before alignment: give the arm an alignment"}};
    for (int i = 0; i < list->n; i++) {
        const struct hold_method *m = list->use[i].method;
        unsigned needs = m->needs | (m->hooks == NULL ? 0 : m->hooks->needs) |
                         (m->more_needs == NULL ? 0 : m->more_needs(list->use[i].state));
        for (size_t k = 0; k < sizeof NEEDS / sizeof *NEEDS; k++)
            if ((needs & NEEDS[k].need) != 0 && !NEEDS[k].given)
                return hold_view_fail(v, err, "'%s' needs %s", m->name, NEEDS[k].what);
    }
    return HOLD_OK;
}

/* What a stage's training asks of evaluation rows is there. */
static int check_eval(const struct hold_arm *a, const struct hold_train_config *c, const char *side,
                      const int *rows, const struct hold_view *v, struct hold_error *err) {
    bool evaluates = strcmp(c->eval_strategy, "no") != 0;
    if (evaluates && rows[0] < 0)
        return hold_view_fail(v, err, "arm '%s': eval_strategy %s needs rows: give %s.eval_data",
                              a->name, c->eval_strategy, side);
    if (!evaluates && (c->load_best_model_at_end || c->early_stopping_patience > 0))
        return hold_view_fail(v, err, "arm '%s': %s needs eval_strategy steps or epoch", a->name,
                              c->load_best_model_at_end ? "load_best_model_at_end"
                                                        : "early_stopping_patience");
    return HOLD_OK;
}

static int check_arm(const struct hold_recipe *r, const struct hold_arm *a,
                     const struct hold_view *v, struct hold_error *err) {
    if (a->attack.n > 1)
        return hold_view_fail(v, err, "arm '%s' has %d attacks, expected one", a->name,
                              a->attack.n);
    if (r->open_weights && (a->tune.n > 0 || a->repair.n > 0)) {
        const struct hold_method_list *l = a->tune.n > 0 ? &a->tune : &a->repair;
        return hold_view_fail(v, err,
                              "arm '%s': with open weights the attacker tunes and keeps the model: "
                              "'%s' (%s) cannot act; only alignment can",
                              a->name, l->use[0].method->name,
                              hold_stage_name(l->use[0].method->stage));
    }
    if (a->attack.n == 0 && (a->tune.n > 0 || a->repair.n > 0))
        return hold_view_fail(v, err,
                              "arm '%s': a defense of %s acts on a customer's job; give 'attack'",
                              a->name, a->tune.n > 0 ? "tune" : "repair");
    if (a->align.n > 0 && r->align_data[0] < 0)
        return hold_view_fail(v, err, "arm '%s': alignment needs rows: give align.data", a->name);
    if (a->repair.n > 0 && strcmp(a->customer_train.tuning, "full") == 0)
        return hold_view_fail(v, err, "arm '%s': '%s' repairs an adapter; tuning is full", a->name,
                              a->repair.use[0].method->name);
    const struct hold_method_list *lists[] = {&a->align, &a->tune, &a->repair};
    int rc =
        a->align.n > 0 ? check_eval(a, &a->align_train, "align", r->align_eval, v, err) : HOLD_OK;
    if (rc == HOLD_OK && a->attack.n > 0)
        rc = check_eval(a, &a->customer_train, "customer", r->customer_eval, v, err);
    for (size_t i = 0; rc == HOLD_OK && i < 3; i++) {
        rc = check_owner(lists[i], v, err);
        if (rc == HOLD_OK)
            rc = check_needs(r, a, lists[i], v, err);
    }
    return rc;
}

/* What only the plan finds out is told with the arm's place too. */
static int note_place(struct hold_recipe *r, struct hold_arm *a, const struct hold_view *v,
                      struct hold_error *err) {
    char where[512];
    hold_view_where(v, where);
    a->where = hold_arena_strdup(&r->arena, where);
    return a->where == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a recipe") : HOLD_OK;
}

static int read_arm(struct hold_recipe *r, struct hold_arm *a, const struct hold_view *root,
                    const struct hold_view *v, struct hold_error *err) {
    static const char *const KEYS[] = {"name",   "title",       "align",          "attack",  "tune",
                                       "repair", "align_train", "customer_train", "against", NULL};
    int rc = hold_view_keys(v, KEYS, err);
    if (rc == HOLD_OK)
        rc = note_place(r, a, v, err);
    if (rc < 0)
        return rc;
    struct hold_view name = hold_view_get(v, "name"), title = hold_view_get(v, "title");
    struct hold_view against = hold_view_get(v, "against");
    if (name.value == NULL)
        return hold_view_fail(v, err, "'name' is missing");
    rc = hold_view_text(&name, &a->name, err);
    for (int i = 0; rc == HOLD_OK && i < r->n_arms - 1; i++)
        if (strcmp(r->arms[i].name, a->name) == 0)
            rc = hold_view_fail(&name, err, "two arms are named '%s'", a->name);
    a->title = a->name;
    if (rc == HOLD_OK && title.value != NULL)
        rc = hold_view_text(&title, &a->title, err);
    if (rc == HOLD_OK && against.value != NULL)
        rc = hold_view_text(&against, &a->against, err);
    if (rc == HOLD_OK)
        rc = read_methods(&a->align, HOLD_STAGE_ALIGN, v, err);
    if (rc == HOLD_OK)
        rc = read_methods(&a->attack, HOLD_STAGE_ATTACK, v, err);
    if (rc == HOLD_OK)
        rc = read_methods(&a->tune, HOLD_STAGE_TUNE, v, err);
    if (rc == HOLD_OK)
        rc = read_methods(&a->repair, HOLD_STAGE_REPAIR, v, err);
    if (rc == HOLD_OK)
        rc = read_train(root, "align", v, "align_train", &a->align_train, err);
    if (rc == HOLD_OK)
        rc = read_train(root, "customer", v, "customer_train", &a->customer_train, err);
    return rc < 0 ? rc : check_arm(r, a, v, err);
}

static int check_against(const struct hold_recipe *r, const struct hold_view *arms,
                         struct hold_error *err) {
    for (int i = 0; i < r->n_arms; i++) {
        const char *names[256];
        size_t n = 0;
        bool found = r->arms[i].against == NULL;
        for (int k = 0; k < r->n_arms && n < 256; k++) {
            names[n++] = r->arms[k].name;
            found = found || (k != i && strcmp(r->arms[k].name, r->arms[i].against) == 0);
        }
        if (found)
            continue;
        struct hold_view arm = hold_view_at(arms, (size_t)i), v = hold_view_get(&arm, "against");
        if (strcmp(r->arms[i].against, r->arms[i].name) == 0)
            return hold_view_fail(&v, err, "arm '%s' cannot be compared with itself; name another",
                                  r->arms[i].name);
        const char *near = hold_nearest(r->arms[i].against, names, n);
        return hold_view_fail(&v, err, "'%s' is no other arm%s%s%s", r->arms[i].against,
                              near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    }
    return HOLD_OK;
}

/* Rows that no training looks at were meant to be looked at. */
static int check_eval_used(const struct hold_recipe *r, const struct hold_view *root,
                           struct hold_error *err) {
    const char *const SIDES[] = {"align", "customer"};
    const int *rows[] = {r->align_eval, r->customer_eval};
    for (int s = 0; s < 2; s++) {
        bool used = rows[s][0] < 0;
        for (int i = 0; i < r->n_arms; i++) {
            const struct hold_arm *a = &r->arms[i];
            const struct hold_train_config *c = s == 0 ? &a->align_train : &a->customer_train;
            int n = s == 0 ? a->align.n : a->attack.n;
            used = used || (n > 0 && strcmp(c->eval_strategy, "no") != 0);
        }
        struct hold_view side = hold_view_get(root, SIDES[s]);
        struct hold_view v = hold_view_get(&side, "eval_data");
        if (!used)
            return hold_view_fail(&v, err, "no arm takes their loss: set train.eval_strategy");
    }
    return HOLD_OK;
}

int hold_recipe_arms(struct hold_recipe *r, const struct hold_view *root, struct hold_error *err) {
    struct hold_view arms = hold_view_get(root, "arms");
    size_t n = json_array_size(arms.value);
    if (!json_is_array(arms.value) || n == 0 || n > ARMS_MAX)
        return hold_view_fail(&arms, err, "expected a list of 1 to %d arms", ARMS_MAX);
    void *memory = NULL;
    int rc = hold_new(&memory, n, sizeof *r->arms, "arms", err);
    r->arms = memory;
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        struct hold_view v = hold_view_at(&arms, i);
        r->n_arms++;
        rc = read_arm(r, &r->arms[i], root, &v, err);
    }
    if (rc == HOLD_OK)
        rc = check_eval_used(r, root, err);
    return rc < 0 ? rc : check_against(r, &arms, err);
}
