/* recipe.c: the top of a recipe: seeds, scenario, the provider's and the customer's sides, what is
 * evaluated. */
#include "lab/recipe.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "lab/recipe_parts.h"

enum { RECIPE_BYTES_MAX = 1 << 20, SEEDS_MAX = 64 };

const char *hold_eval_name(enum hold_eval_kind k) {
    static const char *const NAMES[] = {"harmful", "over_refusal", "ordinary",
                                        "task",    "perplexity",   "probe"};
    _Static_assert(sizeof NAMES / sizeof *NAMES == HOLD_EVAL_COUNT, "one name for every set");
    return k < HOLD_EVAL_COUNT ? NAMES[k] : "?";
}

/* --- small values --- */

static int read_name(struct hold_recipe *r, const struct hold_view *root, struct hold_error *err) {
    struct hold_view v = hold_view_get(root, "name");
    if (v.value == NULL)
        return hold_view_fail(root, err, "'name' is missing");
    int rc = hold_view_text(&v, &r->name, err);
    if (rc < 0)
        return rc;
    size_t n = strlen(r->name);
    if (n == 0 || n > 64 || r->name[0] == '.' ||
        strspn(r->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != n)
        return hold_view_fail(&v, err, "found '%s', expected letters, digits, '-', '_' and '.'",
                              r->name);
    struct hold_view title = hold_view_get(root, "title");
    r->title = r->name;
    return title.value == NULL ? HOLD_OK : hold_view_text(&title, &r->title, err);
}

static int read_seeds(struct hold_recipe *r, const struct hold_view *root, struct hold_error *err) {
    struct hold_view v = hold_view_get(root, "seed");
    size_t n = json_is_array(v.value) ? json_array_size(v.value) : 1;
    if (n == 0 || n > SEEDS_MAX)
        return hold_view_fail(&v, err, "found %zu seeds, expected 1 to %d", n, SEEDS_MAX);
    void *memory = NULL;
    int rc = hold_new(&memory, n, sizeof *r->seeds, "seeds", err);
    r->seeds = memory;
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        struct hold_view one = json_is_array(v.value) ? hold_view_at(&v, i) : v;
        int64_t seed = 1;
        if (one.value != NULL)
            rc = hold_view_int(&one, 0, 9007199254740991, &seed, err);
        for (int k = 0; rc == HOLD_OK && k < r->n_seeds; k++)
            if (r->seeds[k] == seed)
                rc = hold_view_fail(&one, err, "seed %lld is given twice", (long long)seed);
        if (rc == HOLD_OK)
            r->seeds[r->n_seeds++] = seed;
    }
    return rc;
}

static int read_scenario(struct hold_recipe *r, const struct hold_view *root,
                         struct hold_error *err) {
    struct hold_view v = hold_view_get(root, "scenario");
    const char *word = "service";
    int rc = v.value == NULL ? HOLD_OK : hold_view_text(&v, &word, err);
    if (rc == HOLD_OK && strcmp(word, "service") != 0 && strcmp(word, "open_weights") != 0)
        rc = hold_view_fail(&v, err, "found '%s', expected service or open_weights", word);
    r->open_weights = rc == HOLD_OK && strcmp(word, "open_weights") == 0;
    return rc;
}

/* A path is tried beside the recipe first: a checked-in model is found from any folder. */
static int read_model(struct hold_recipe *r, const struct hold_view *root, struct hold_error *err) {
    struct hold_view v = hold_view_get(root, "model");
    struct hold_str path = HOLD_STR_INIT;
    if (v.value == NULL)
        return hold_view_fail(root, err, "'model' is missing");
    int rc = hold_view_text(&v, &r->model, err);
    if (rc == HOLD_OK)
        rc = hold_recipe_beside(r, r->model, &path, err);
    if (rc == HOLD_OK && strchr(r->model, '/') != NULL && hold_exists(hold_str_text(&path))) {
        r->model = hold_arena_strdup(&r->arena, hold_str_text(&path));
        rc = r->model == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a recipe") : HOLD_OK;
    }
    hold_str_release(&path);
    return rc;
}

/* --- lists of sets --- */

/* A name or a list of names; out is ended by -1. */
static int read_sets(const struct hold_recipe *r, const struct hold_view *v, int *out,
                     struct hold_error *err) {
    size_t n = v->value == NULL ? 0 : json_is_array(v->value) ? json_array_size(v->value) : 1;
    int rc = HOLD_OK;
    if (n >= HOLD_MAX_SETS)
        return hold_view_fail(v, err, "found %zu sets, expected at most %d", n, HOLD_MAX_SETS - 1);
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        struct hold_view one = json_is_array(v->value) ? hold_view_at(v, i) : *v;
        rc = hold_recipe_set(r, &one, &out[i], err);
    }
    out[n] = -1;
    return rc;
}

static int read_one_set(const struct hold_recipe *r, const struct hold_view *v, int *out,
                        struct hold_error *err) {
    *out = -1;
    return v->value == NULL ? HOLD_OK : hold_recipe_set(r, v, out, err);
}

/* Stand-in answers are texts: a row of a chat has its own answer and cannot be one. */
static int check_texts(const struct hold_recipe *r, const struct hold_view *v, int set,
                       struct hold_error *err) {
    for (int64_t i = 0; set >= 0 && i < r->data[set].rows.n; i++) {
        const struct hold_row *row = &r->data[set].rows.row[i];
        if (row->text == NULL)
            return hold_view_fail(v, err,
                                  "'%s': %s:%ld: found a chat row, expected a text row (a line of "
                                  "a .txt file, or {\"text\": ...})",
                                  r->data[set].name, hold_row_file(row), row->line);
    }
    return HOLD_OK;
}

/* Rows that are trained on whole end in an answer. */
static int check_answered(const struct hold_recipe *r, const struct hold_view *v, const int *sets,
                          struct hold_error *err) {
    for (int k = 0; sets[k] >= 0; k++)
        for (int64_t i = 0; i < r->data[sets[k]].rows.n; i++) {
            const struct hold_row *row = &r->data[sets[k]].rows.row[i];
            size_t n = json_array_size(row->messages);
            const json_t *last = n == 0 ? NULL : json_array_get(row->messages, n - 1);
            const char *role = json_string_value(json_object_get(last, "role"));
            if (row->text == NULL && (role == NULL || strcmp(role, "assistant") != 0))
                return hold_view_fail(v, err, "'%s': %s:%ld: has no answer to train on",
                                      r->data[sets[k]].name, hold_row_file(row), row->line);
        }
    return HOLD_OK;
}

/* Who may use a set: the defender not the attacker's prompts, nobody the evaluator's. */
static int check_owner(const struct hold_recipe *r, const struct hold_view *v, const int *sets,
                       unsigned allowed, const char *who, struct hold_error *err) {
    for (int i = 0; sets[i] >= 0; i++) {
        const struct hold_data_set *d = &r->data[sets[i]];
        if ((allowed & (1u << d->owner)) == 0)
            return hold_view_fail(v, err, "'%s' belongs to the %s; %s cannot use it", d->name,
                                  hold_owner_name(d->owner), who);
    }
    return HOLD_OK;
}

static int read_align(struct hold_recipe *r, const struct hold_view *root, struct hold_error *err) {
    static const char *const KEYS[] = {"data",      "refusals", "general", "harmful",
                                       "eval_data", "train",    NULL};
    static const char *const HARMFUL[] = {"prompts", "answers", NULL};
    static const unsigned DEFENDER = 1u << HOLD_OWNER_DEFENDER;
    struct hold_view v = hold_view_get(root, "align");
    if (v.value == NULL)
        return HOLD_OK;
    int rc = hold_view_keys(&v, KEYS, err);
    if (rc < 0)
        return rc;
    struct {
        const char *key;
        int *out;
    } lists[] = {{"data", r->align_data},
                 {"refusals", r->refusals},
                 {"general", r->general},
                 {"eval_data", r->align_eval}};
    for (size_t i = 0; rc == HOLD_OK && i < sizeof lists / sizeof *lists; i++) {
        struct hold_view one = hold_view_get(&v, lists[i].key);
        rc = read_sets(r, &one, lists[i].out, err);
        if (rc == HOLD_OK)
            rc = check_owner(r, &one, lists[i].out, DEFENDER, "the defender", err);
        if (rc == HOLD_OK)
            rc = check_answered(r, &one, lists[i].out, err);
    }
    struct hold_view harmful = hold_view_get(&v, "harmful");
    if (rc < 0 || harmful.value == NULL)
        return rc;
    rc = hold_view_keys(&harmful, HARMFUL, err);
    if (rc < 0)
        return rc;
    struct hold_view prompts = hold_view_get(&harmful, "prompts");
    struct hold_view answers = hold_view_get(&harmful, "answers");
    rc = read_sets(r, &prompts, r->defender_harmful, err);
    if (rc == HOLD_OK)
        rc = check_owner(r, &prompts, r->defender_harmful, DEFENDER, "the defender", err);
    if (rc == HOLD_OK)
        rc = read_one_set(r, &answers, &r->defender_openings, err);
    if (rc == HOLD_OK && answers.value == NULL)
        rc = check_answered(r, &prompts, r->defender_harmful, err);
    return rc < 0 ? rc : check_texts(r, &answers, r->defender_openings, err);
}

static int read_customer(struct hold_recipe *r, const struct hold_view *root,
                         struct hold_error *err) {
    static const char *const KEYS[] = {"data",      "harmful", "openings", "ten",
                                       "eval_data", "train",   NULL};
    static const unsigned OUTSIDE = 1u << HOLD_OWNER_CUSTOMER | 1u << HOLD_OWNER_ATTACKER;
    struct hold_view v = hold_view_get(root, "customer");
    if (v.value == NULL)
        return HOLD_OK;
    int rc = hold_view_keys(&v, KEYS, err);
    struct {
        const char *key;
        int *out;
    } lists[] = {{"data", r->task}, {"eval_data", r->customer_eval}};
    for (size_t i = 0; rc == HOLD_OK && i < sizeof lists / sizeof *lists; i++) {
        struct hold_view one = hold_view_get(&v, lists[i].key);
        rc = read_sets(r, &one, lists[i].out, err);
        if (rc == HOLD_OK)
            rc = check_owner(r, &one, lists[i].out, OUTSIDE, "the customer", err);
        if (rc == HOLD_OK)
            rc = check_answered(r, &one, lists[i].out, err);
    }
    struct {
        const char *key;
        int *out;
    } ones[] = {{"harmful", &r->attacker_harmful}, {"openings", &r->openings}, {"ten", &r->ten}};
    for (size_t i = 0; rc == HOLD_OK && i < sizeof ones / sizeof *ones; i++) {
        struct hold_view one = hold_view_get(&v, ones[i].key);
        rc = read_one_set(r, &one, ones[i].out, err);
        int list[2] = {*ones[i].out, -1};
        if (rc == HOLD_OK)
            rc = check_owner(r, &one, list, OUTSIDE, "the customer", err);
        if (rc == HOLD_OK && ones[i].out == &r->openings)
            rc = check_texts(r, &one, r->openings, err);
        if (rc == HOLD_OK && ones[i].out == &r->ten)
            rc = check_answered(r, &one, list, err);
    }
    int harmful[2] = {r->attacker_harmful, -1};
    struct hold_view own = hold_view_get(&v, "harmful");
    return rc < 0 || r->openings >= 0 ? rc : check_answered(r, &own, harmful, err);
}

/* --- evaluation --- */

static int read_score(struct hold_eval_set *set, enum hold_eval_kind k, const struct hold_view *v,
                      struct hold_error *err) {
    struct hold_view score = hold_view_get(v, "score");
    bool task = k == HOLD_EVAL_TASK;
    set->score = task ? "label" : "judge";
    int rc = score.value == NULL ? HOLD_OK : hold_view_text(&score, &set->score, err);
    if (rc == HOLD_OK && strcmp(set->score, "key") != 0 &&
        strcmp(set->score, task ? "label" : "judge") != 0)
        rc = hold_view_fail(&score, err, "found '%s', expected %s or key", set->score,
                            task ? "label" : "judge");
    return rc;
}

/* Every row must carry what its score is made from. */
static int check_rows(const struct hold_eval_set *set, enum hold_eval_kind k,
                      const struct hold_view *v, struct hold_error *err) {
    const struct hold_rows *rows = &set->data->rows;
    bool key = strcmp(set->score, "key") == 0, label = strcmp(set->score, "label") == 0;
    for (int64_t i = 0; i < rows->n; i++) {
        const struct hold_row *row = &rows->row[i];
        if (k != HOLD_EVAL_PERPLEXITY && row->messages == NULL && row->text == NULL)
            return hold_view_fail(v, err, "%s:%ld: holds no prompt", hold_row_file(row), row->line);
        const char *field = key ? "answer" : "label";
        if ((key || label) && !json_is_string(json_object_get(row->data, field)))
            return hold_view_fail(v, err, "%s:%ld: has no \"%s\", which score: %s needs",
                                  hold_row_file(row), row->line, field, set->score);
    }
    return HOLD_OK;
}

static int read_eval(struct hold_recipe *r, const struct hold_view *parent, enum hold_eval_kind k,
                     struct hold_error *err) {
    static const char *const JUDGED[] = {"data", "max_tokens", "score", "early_stop", NULL};
    static const char *const TASK[] = {"data", "max_tokens", "score", "labels", "early_stop", NULL};
    static const char *const TEXT[] = {"data", NULL};
    static const char *const PROBE[] = {"data", "max_tokens", "score", "every", NULL};
    struct hold_eval_set *set = &r->eval[k];
    struct hold_view v = hold_view_get(parent, hold_eval_name(k));
    if (v.value == NULL)
        return HOLD_OK;
    int rc = hold_view_keys(&v,
                            k == HOLD_EVAL_TASK         ? TASK
                            : k == HOLD_EVAL_PERPLEXITY ? TEXT
                            : k == HOLD_EVAL_PROBE      ? PROBE
                                                        : JUDGED,
                            err);
    if (rc < 0)
        return rc;
    struct hold_view data = hold_view_get(&v, "data"), every = hold_view_get(&v, "every");
    struct hold_view most = hold_view_get(&v, "max_tokens"), labels = hold_view_get(&v, "labels");
    int index[2] = {-1, -1};
    if (data.value == NULL)
        return hold_view_fail(&v, err, "'data' is missing");
    set->max_tokens = k == HOLD_EVAL_TASK || k == HOLD_EVAL_PROBE ? 16 : 24;
    set->every = 10;
    rc = hold_recipe_set(r, &data, &index[0], err);
    if (rc == HOLD_OK)
        rc = check_owner(r, &data, index, 1u << HOLD_OWNER_EVALUATOR, "evaluation", err);
    if (rc == HOLD_OK && most.value != NULL)
        rc = hold_view_int(&most, 1, 4096, &set->max_tokens, err);
    struct hold_view early = hold_view_get(&v, "early_stop");
    if (rc == HOLD_OK && early.value != NULL)
        rc = json_is_boolean(early.value)
                 ? HOLD_OK
                 : hold_view_fail(&early, err, "'early_stop' is not true or false");
    set->early_stop = json_is_true(early.value);
    if (rc == HOLD_OK && every.value != NULL)
        rc = hold_view_int(&every, 1, 1000000, &set->every, err);
    if (rc == HOLD_OK && labels.value != NULL)
        rc = hold_recipe_labels(r, &labels, err);
    if (rc == HOLD_OK && k == HOLD_EVAL_PERPLEXITY)
        set->score = "log-probability";
    else if (rc == HOLD_OK)
        rc = read_score(set, k, &v, err);
    if (rc < 0)
        return rc;
    set->data = &r->data[index[0]];
    return check_rows(set, k, &data, err);
}

static int read_evaluate(struct hold_recipe *r, const struct hold_view *root,
                         struct hold_error *err) {
    const char *names[HOLD_EVAL_COUNT + 1] = {NULL};
    struct hold_view v = hold_view_get(root, "evaluate");
    if (v.value == NULL)
        return HOLD_OK;
    for (int k = 0; k < HOLD_EVAL_COUNT; k++)
        names[k] = hold_eval_name((enum hold_eval_kind)k);
    int rc = hold_view_keys(&v, names, err);
    for (int k = 0; rc == HOLD_OK && k < HOLD_EVAL_COUNT; k++)
        rc = read_eval(r, &v, (enum hold_eval_kind)k, err);
    const struct hold_data_set *probe = r->eval[HOLD_EVAL_PROBE].data;
    for (int k = 0; rc == HOLD_OK && probe != NULL && k < HOLD_EVAL_PROBE; k++)
        if (r->eval[k].data == probe)
            rc = hold_view_fail(&v, err,
                                "probe and %s use the same set '%s': what is watched in training "
                                "cannot be what is reported",
                                hold_eval_name((enum hold_eval_kind)k), probe->name);
    return rc;
}

/* --- all of it --- */

static int read_root(struct hold_recipe *r, const struct hold_view *root, struct hold_error *err) {
    static const char *const KEYS[] = {"name",  "title",    "seed",     "scenario", "model", "data",
                                       "align", "customer", "evaluate", "arms",     NULL};
    int rc = hold_view_keys(root, KEYS, err);
    if (rc == HOLD_OK)
        rc = read_name(r, root, err);
    if (rc == HOLD_OK)
        rc = read_seeds(r, root, err);
    if (rc == HOLD_OK)
        rc = read_scenario(r, root, err);
    if (rc == HOLD_OK)
        rc = read_model(r, root, err);
    if (rc == HOLD_OK)
        rc = hold_recipe_data(r, root, err);
    if (rc == HOLD_OK)
        rc = read_align(r, root, err);
    if (rc == HOLD_OK)
        rc = read_customer(r, root, err);
    if (rc == HOLD_OK)
        rc = read_evaluate(r, root, err);
    if (rc == HOLD_OK)
        rc = hold_recipe_arms(r, root, err);
    return rc < 0 ? rc : hold_recipe_overlap(r, err);
}

static int read_text(struct hold_recipe *r, const char *path, struct hold_places *places,
                     struct hold_error *err) {
    struct hold_str text = HOLD_STR_INIT;
    int rc = hold_file_read(path, RECIPE_BYTES_MAX, &text, err);
    if (rc == HOLD_OK)
        rc = hold_yaml_read(hold_str_text(&text), text.len, places, &r->source, err);
    if (rc == HOLD_OK && !json_is_object(r->source))
        rc = hold_fail(err, HOLD_EUSAGE, "%s:1:1: found %s, expected a recipe (keys and values)",
                       path, hold_json_kind(r->source));
    hold_str_release(&text);
    return rc;
}

int hold_recipe_read(struct hold_recipe *out, const char *path, const char *const *overrides,
                     int n_overrides, struct hold_error *err) {
    struct hold_recipe *r = out;
    *r = (struct hold_recipe){
        .defender_openings = -1, .attacker_harmful = -1, .openings = -1, .ten = -1};
    r->align_data[0] = r->refusals[0] = r->general[0] = r->defender_harmful[0] = r->task[0] = -1;
    r->align_eval[0] = r->customer_eval[0] = -1;
    hold_arena_init(&r->arena, 0);
    struct hold_places places = {.arena = &r->arena, .file = path};
    r->path = hold_strdup(path);
    int rc = r->path == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a recipe")
                             : read_text(r, path, &places, err);
    for (int i = 0; rc == HOLD_OK && i < n_overrides; i++)
        rc = hold_recipe_override(r->source, overrides[i], &places, err);
    struct hold_view root = {.places = &places, .value = r->source};
    if (rc == HOLD_OK)
        rc = read_root(r, &root, err);
    hold_free(places.place);
    if (rc < 0)
        hold_recipe_release(r);
    return rc;
}

static void release_list(struct hold_method_list *l) {
    for (int i = 0; i < l->n; i++)
        hold_method_use_release(&l->use[i]);
    hold_free(l->use);
    json_decref(l->described);
}

void hold_recipe_release(struct hold_recipe *r) {
    for (int i = 0; i < r->n_arms; i++) {
        release_list(&r->arms[i].align);
        release_list(&r->arms[i].attack);
        release_list(&r->arms[i].tune);
        release_list(&r->arms[i].repair);
    }
    hold_free(r->arms);
    for (int i = 0; i < r->n_data; i++)
        hold_rows_release(&r->data[i].rows);
    hold_free(r->data);
    hold_free(r->seeds);
    hold_free(r->labels);
    hold_free(r->path);
    json_decref(r->source);
    hold_arena_release(&r->arena);
    *r = (struct hold_recipe){0};
}
