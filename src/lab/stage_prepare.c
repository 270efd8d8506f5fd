/* stage_prepare.c: rows before training: joined sets, an attack's job, what data hooks make of it.
 *
 * A prepared artifact holds phases.json and rows-K.jsonl for each phase.
 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "lab/lab_parts.h"

/* --- streams of the recipe --- */

static int join(const struct hold_recipe *r, const int *sets, struct hold_rows *out,
                char id[HOLD_HASH_HEX], struct hold_error *err) {
    int rc = HOLD_OK;
    for (int k = 0; rc == HOLD_OK && sets[k] >= 0; k++) {
        const struct hold_rows *rows = &r->data[sets[k]].rows;
        if (out->path == NULL)
            out->path = hold_strdup(rows->path == NULL ? r->data[sets[k]].name : rows->path);
        for (int64_t i = 0; rc == HOLD_OK && i < rows->n; i++)
            rc = hold_rows_share(out, &rows->row[i], err);
    }
    return rc < 0 ? rc : hold_rows_id(out, id, err);
}

/* The defender's own harmful rows: as they are, or prompts with stand-in answers in turn. */
static int join_harmful(struct hold_plan *p, struct hold_error *err) {
    const struct hold_recipe *r = p->recipe;
    if (r->defender_openings < 0)
        return join(r, r->defender_harmful, &p->harmful, p->harmful_id, err);
    const struct hold_rows *answers = &r->data[r->defender_openings].rows;
    int rc = HOLD_OK;
    for (int k = 0; rc == HOLD_OK && r->defender_harmful[k] >= 0; k++) {
        const struct hold_rows *rows = &r->data[r->defender_harmful[k]].rows;
        for (int64_t i = 0; rc == HOLD_OK && i < rows->n; i++) {
            const struct hold_row *a = &answers->row[p->harmful.n % answers->n];
            json_t *o = json_pack("{s:[{s:s, s:s}, {s:s, s:s}], s:s}", "messages", "role", "user",
                                  "content", hold_row_user_text(&rows->row[i]), "role", "assistant",
                                  "content", a->text == NULL ? "" : a->text, "id", rows->row[i].id);
            rc = o == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for rows")
                           : hold_rows_add(&p->harmful, o, rows->row[i].line, NULL, err);
            json_decref(o);
        }
    }
    return rc < 0 ? rc : hold_rows_id(&p->harmful, p->harmful_id, err);
}

int hold_plan_streams(struct hold_plan *p, struct hold_error *err) {
    const struct hold_recipe *r = p->recipe;
    int rc = join(r, r->align_data, &p->align_main, p->align_main_id, err);
    if (rc == HOLD_OK)
        rc = join(r, r->refusals, &p->refusals, p->refusals_id, err);
    if (rc == HOLD_OK)
        rc = join(r, r->general, &p->general, p->general_id, err);
    if (rc == HOLD_OK)
        rc = join(r, r->task, &p->task, p->task_id, err);
    if (rc == HOLD_OK)
        rc = join(r, r->align_eval, &p->align_eval, p->align_eval_id, err);
    if (rc == HOLD_OK)
        rc = join(r, r->customer_eval, &p->customer_eval, p->customer_eval_id, err);
    return rc < 0 ? rc : join_harmful(p, err);
}

/* --- the stage --- */

struct sets {
    int n;
    struct hold_named_rows item[8];
    const char *id[8];
};

static void add_set(struct sets *s, const char *name, const struct hold_rows *rows,
                    const char *id) {
    if (rows == NULL || rows->n == 0)
        return;
    s->item[s->n] = (struct hold_named_rows){name, rows};
    s->id[s->n++] = id;
}

static const struct hold_data_set *set_at(const struct hold_recipe *r, int i) {
    return i < 0 ? NULL : &r->data[i];
}

static void add_data(struct sets *s, const char *name, const struct hold_data_set *d) {
    if (d != NULL)
        add_set(s, name, &d->rows, d->content_id);
}

/* The two sides do not see each other's rows. */
static struct sets attacker_sets(const struct hold_plan *p) {
    const struct hold_recipe *r = p->recipe;
    struct sets s = {.n = 0};
    add_set(&s, "task", &p->task, p->task_id);
    add_data(&s, "harmful", set_at(r, r->attacker_harmful));
    add_data(&s, "openings", set_at(r, r->openings));
    add_data(&s, "ten", set_at(r, r->ten));
    return s;
}

static struct sets defender_sets(const struct hold_plan *p) {
    struct sets s = {.n = 0};
    add_set(&s, "align", &p->refusals, p->refusals_id);
    add_set(&s, "general", &p->general, p->general_id);
    add_set(&s, "harmful", &p->harmful, p->harmful_id);
    return s;
}

static int add_ids(json_t *o, const char *key, const struct sets *s) {
    json_t *ids = json_object();
    int bad = ids == NULL;
    for (int i = 0; bad == 0 && i < s->n; i++)
        bad |= json_object_set_new(ids, s->item[i].name, json_string(s->id[i]));
    return bad | json_object_set_new(o, key, ids);
}

bool hold_has_data_hook(const struct hold_method_list *l) {
    for (int i = 0; i < l->n; i++)
        if (l->use[i].method->data != NULL)
            return true;
    return false;
}

static json_t *spec_of(const struct hold_plan *p, const struct hold_method_use *attack,
                       const struct hold_method_list *methods, int64_t seed) {
    struct sets outside = attacker_sets(p), inside = defender_sets(p);
    json_t *o = json_pack("{s:s, s:i, s:I}", "kind", "prepare", "version",
                          (int)HOLD_PREPARE_VERSION, "seed", (json_int_t)seed);
    json_t *hooks = json_array();
    int bad = o == NULL || hooks == NULL;
    if (bad == 0 && attack != NULL) {
        bad |= json_object_set_new(
            o, "attack",
            json_pack("{s:s, s:i, s:o}", "name", attack->method->name, "version",
                      attack->method->version, "options",
                      hold_options_to_json(attack->method->options, attack->state)));
        bad |= add_ids(o, "customer", &outside);
    } else if (bad == 0) {
        bad |= json_object_set_new(o, "rows", json_string(p->align_main_id));
    }
    for (int i = 0; bad == 0 && i < methods->n; i++)
        if (methods->use[i].method->data != NULL)
            bad |= json_array_append(hooks, json_array_get(methods->described, (size_t)i));
    if (bad == 0 && hold_has_data_hook(methods)) {
        bad |= json_object_set(o, "methods", hooks);
        bad |= add_ids(o, "provider", &inside);
    }
    json_decref(hooks);
    if (bad == 0)
        return o;
    json_decref(o);
    return NULL;
}

static int add_notes(json_t *to, const json_t *from, struct hold_error *err) {
    if (from != NULL && json_object_update(to, (json_t *)from) != 0)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for notes");
    return HOLD_OK;
}

static int apply_hooks(const struct hold_plan *p, const struct hold_method_list *methods,
                       int64_t seed, struct hold_phase_rows *phase, json_t *notes,
                       struct hold_error *err) {
    struct sets inside = defender_sets(p);
    int rc = HOLD_OK;
    for (int i = 0; rc == HOLD_OK && i < methods->n; i++) {
        struct hold_prepared made = {0};
        if (methods->use[i].method->data == NULL)
            continue;
        rc = hold_prepare_data(&methods->use[i], &phase->rows, inside.item, inside.n,
                               (uint64_t)seed, &made, err);
        if (rc == HOLD_OK)
            rc = add_notes(notes, made.notes, err);
        if (rc == HOLD_OK && made.n_phases > 0) {
            struct hold_rows old = phase->rows;
            phase->rows = made.phases[0].rows;
            made.phases[0].rows = old;
        }
        hold_prepared_release(&made);
    }
    return rc;
}

static int write_phases(const struct hold_prepared *made, const json_t *notes, struct hold_work *w,
                        struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    json_t *list = json_array();
    int rc = list == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for phases") : HOLD_OK;
    for (int i = 0; rc == HOLD_OK && i < made->n_phases; i++) {
        const struct hold_phase *f = &made->phases[i].phase;
        hold_str_clear(&path);
        hold_str_addf(&path, "%s/rows-%d.jsonl", hold_work_files(w), i);
        rc = hold_rows_write(&made->phases[i].rows, hold_str_text(&path), err);
        json_t *o =
            json_pack("{s:s, s:f, s:f, s:I, s:I, s:s}", "name", f->name == NULL ? "tune" : f->name,
                      "learning_rate", f->learning_rate, "num_train_epochs", f->num_train_epochs,
                      "max_steps", (json_int_t)f->max_steps, "batch", (json_int_t)f->batch, "flow",
                      f->flow == NULL ? "merge_new" : f->flow);
        if (rc == HOLD_OK && json_array_append_new(list, o) != 0)
            rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for phases");
    }
    json_t *all = json_pack("{s:O, s:O}", "phases", list, "notes", notes);
    hold_path_join(&path, hold_work_files(w), "phases.json");
    if (rc == HOLD_OK)
        rc = all == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for phases")
                         : hold_json_save(hold_str_text(&path), all, err);
    json_decref(all);
    json_decref(list);
    hold_str_release(&path);
    return rc;
}

static int make(const struct hold_plan *p, const struct hold_method_use *attack,
                const struct hold_method_list *methods, int64_t seed, struct hold_work *w,
                struct hold_error *err) {
    struct hold_prepared made = {0};
    struct sets outside = attacker_sets(p);
    json_t *notes = json_object();
    int rc = notes == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for notes") : HOLD_OK;
    if (rc == HOLD_OK && attack != NULL) {
        rc = hold_prepare_job(attack, outside.item, outside.n, (uint64_t)seed, &made, err);
    } else if (rc == HOLD_OK) {
        void *memory = NULL;
        rc = hold_new(&memory, 1, sizeof *made.phases, "a phase", err);
        made.phases = memory;
        made.n_phases = rc == HOLD_OK ? 1 : 0;
        for (int64_t i = 0; rc == HOLD_OK && i < p->align_main.n; i++)
            rc = hold_rows_add(&made.phases[0].rows, p->align_main.row[i].data, i + 1, NULL, err);
    }
    if (rc == HOLD_OK)
        rc = add_notes(notes, made.notes, err);
    for (int i = 0; rc == HOLD_OK && i < made.n_phases; i++)
        rc = apply_hooks(p, methods, seed, &made.phases[i], notes, err);
    if (rc == HOLD_OK)
        rc = write_phases(&made, notes, w, err);
    hold_prepared_release(&made);
    json_decref(notes);
    return rc;
}

/* --- reading it back --- */

static int read_phase(struct hold_plan *p, const json_t *o, const char *where,
                      struct hold_phase *out, struct hold_error *err) {
    const char *name = NULL, *flow = NULL;
    int rc = hold_json_get_text(o, "name", &name, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_text(o, "flow", &flow, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_real(o, "learning_rate", &out->learning_rate, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_real(o, "num_train_epochs", &out->num_train_epochs, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_int(o, "max_steps", &out->max_steps, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_int(o, "batch", &out->batch, where, err);
    if (rc < 0)
        return rc;
    out->name = hold_arena_strdup(&p->arena, name);
    out->flow = hold_arena_strdup(&p->arena, flow);
    return out->name == NULL || out->flow == NULL
               ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a phase")
               : HOLD_OK;
}

static int read_back(struct hold_plan *p, struct hold_prepared_stage *s, struct hold_error *err) {
    struct hold_str dir = HOLD_STR_INIT, path = HOLD_STR_INIT;
    json_t *o = NULL;
    void *phases = NULL, *ids = NULL;
    hold_store_artifact(p->lab->store, s->content, &dir);
    hold_path_join(&path, hold_str_text(&dir), "phases.json");
    int rc = hold_json_load(&o, hold_str_text(&path), err);
    const json_t *list = json_object_get(o, "phases");
    size_t n = json_array_size(list);
    if (rc == HOLD_OK)
        rc = hold_new(&phases, n + 1, sizeof *s->phases, "phases", err);
    if (rc == HOLD_OK)
        rc = hold_new(&ids, n + 1, sizeof *s->rows_id, "phases", err);
    s->phases = phases;
    s->rows_id = ids;
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        rc = read_phase(p, json_array_get(list, i), hold_str_text(&path), &s->phases[i].phase, err);
        struct hold_str file = HOLD_STR_INIT;
        hold_str_addf(&file, "%s/rows-%zu.jsonl", hold_str_text(&dir), i);
        if (rc == HOLD_OK)
            rc = hold_rows_read(&s->phases[i].rows, hold_str_text(&file), NULL, err);
        hold_str_release(&file);
        s->n_phases = (int)i + 1; /* released with what it holds */
        if (rc == HOLD_OK)
            rc = hold_rows_id(&s->phases[i].rows, s->rows_id[i], err);
    }
    s->notes = json_incref(json_object_get(o, "notes"));
    json_decref(o);
    hold_str_release(&dir);
    hold_str_release(&path);
    return rc;
}

static int new_prepared(struct hold_plan *p, struct hold_error *err) {
    if (p->n_prepared == p->cap_prepared) {
        int cap = p->cap_prepared == 0 ? 16 : p->cap_prepared * 2;
        void *grown = hold_realloc(p->prepared, (size_t)cap * sizeof *p->prepared);
        if (grown == NULL)
            return hold_fail(err, HOLD_ENOMEMORY, "no memory for a plan");
        p->prepared = grown;
        p->cap_prepared = cap;
    }
    p->prepared[p->n_prepared] = (struct hold_prepared_stage){.n_phases = 0};
    return HOLD_OK;
}

/* Find it or make it; the outcome is in *s. */
static int find_or_make(struct hold_plan *p, struct hold_prepared_stage *s, json_t *spec,
                        const struct hold_method_use *attack,
                        const struct hold_method_list *methods, int64_t seed,
                        struct hold_error *err) {
    struct hold_lab *lab = p->lab;
    struct hold_work *w = NULL;
    bool found = false;
    int rc = lab->force ? HOLD_OK : hold_store_find(lab->store, s->id, s->content, &found, err);
    if (rc == HOLD_OK && !found)
        rc = hold_store_work(lab->store, s->id,
                             (lab->force ? (unsigned)HOLD_WORK_REMAKE : 0) |
                                 (lab->retry ? (unsigned)HOLD_WORK_RETRY : 0),
                             &w, s->content, &found, err);
    if (rc < 0 || found) {
        lab->found += found;
        return rc;
    }
    rc = make(p, attack, methods, seed, w, err);
    json_t *manifest =
        json_pack("{s:s, s:s, s:O}", "kind", "prepare", "name", "prepare", "spec", spec);
    if (rc == HOLD_OK && manifest == NULL)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for a manifest");
    if (rc == HOLD_OK)
        rc = hold_work_publish(w, manifest, lab->force, s->content, err);
    else
        hold_work_drop(w, rc, err->text);
    json_decref(manifest);
    lab->made += rc == HOLD_OK;
    return rc;
}

int hold_stage_prepare(struct hold_plan *p, const struct hold_method_use *attack,
                       const struct hold_method_list *methods, int64_t seed, int *out,
                       struct hold_error *err) {
    char id[HOLD_HASH_HEX];
    json_t *spec = spec_of(p, attack, methods, seed);
    int rc = spec == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a spec")
                          : hold_spec_id(spec, id, err);
    for (int i = 0; rc == HOLD_OK && i < p->n_prepared; i++)
        if (strcmp(p->prepared[i].id, id) == 0) {
            *out = i;
            json_decref(spec);
            return HOLD_OK;
        }
    if (rc == HOLD_OK)
        rc = new_prepared(p, err);
    if (rc == HOLD_OK) {
        struct hold_prepared_stage *s = &p->prepared[p->n_prepared];
        memcpy(s->id, id, sizeof s->id);
        *out = p->n_prepared++;
        rc = find_or_make(p, s, spec, attack, methods, seed, err);
        if (rc == HOLD_OK)
            rc = read_back(p, s, err);
    }
    json_decref(spec);
    return rc;
}
