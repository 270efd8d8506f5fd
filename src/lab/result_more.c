/* result_more.c: what a report shows besides scores: curves, answers, settings, the machine. */
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "lab/lab_parts.h"

enum { SAMPLES = 4 };

static int no_memory(struct hold_error *err) {
    return hold_fail(err, HOLD_ENOMEMORY, "no memory for a report");
}

/* --- curves --- */

/* Points [step + offset, value] of one name of metrics.jsonl, appended; the last step seen. */
static int add_points(const json_t *lines, const char *name, int64_t offset, json_t *list,
                      int64_t *last) {
    int bad = 0;
    for (size_t i = 0; bad == 0 && i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        const char *key = json_string_value(json_object_get(line, "name"));
        int64_t step = json_integer_value(json_object_get(line, "step"));
        if (key == NULL || strcmp(key, name) != 0)
            continue;
        *last = step > *last ? step : *last;
        bad |= json_array_append_new(
            list, json_pack("[I, O]", (json_int_t)(step + offset), json_object_get(line, "value")));
    }
    return bad;
}

/* One curve of a stage; a tuning stage of several phases counts its steps on. */
static int add_curve(struct hold_plan *p, const struct hold_arm_plan *a, enum hold_stage stage,
                     json_t *curves, struct hold_error *err) {
    json_t *loss = json_array(), *eval = json_array(), *safety = json_array();
    int64_t offset = 0;
    int rc = loss == NULL || eval == NULL || safety == NULL ? no_memory(err) : HOLD_OK;
    for (int i = 0; rc == HOLD_OK && i < a->n; i++) {
        const struct hold_plan_node *n = &p->nodes[a->nodes[i]];
        json_t *lines = NULL;
        int64_t last = 0;
        if (n->kind != HOLD_NODE_TRAIN || n->stage != stage)
            continue;
        rc = hold_artifact_lines(p, n->content, "log/metrics.jsonl", &lines, err);
        if (rc == HOLD_OK && (add_points(lines, "train/loss", offset, loss, &last) != 0 ||
                              add_points(lines, "eval/loss", offset, eval, &last) != 0 ||
                              add_points(lines, "safety/harmful", offset, safety, &last) != 0))
            rc = no_memory(err);
        offset += last;
        json_decref(lines);
    }
    json_t *o = json_pack("{s:s, s:I, s:O, s:O}", "stage", hold_stage_name(stage), "seed",
                          (json_int_t)a->seed, "loss", loss, "safety", safety);
    if (rc == HOLD_OK && json_array_size(eval) > 0 && json_object_set(o, "eval_loss", eval) != 0)
        rc = no_memory(err);
    if (rc == HOLD_OK && json_array_size(loss) > 0 && json_array_append(curves, o) != 0)
        rc = no_memory(err);
    json_decref(o);
    json_decref(loss);
    json_decref(eval);
    json_decref(safety);
    return rc;
}

int hold_report_curves(struct hold_plan *p, int first, json_t *arm, struct hold_error *err) {
    json_t *curves = json_array();
    int rc = curves == NULL ? no_memory(err) : HOLD_OK;
    for (int s = 0; rc == HOLD_OK && s < p->recipe->n_seeds; s++) {
        rc = add_curve(p, &p->arms[first + s], HOLD_STAGE_ALIGN, curves, err);
        if (rc == HOLD_OK)
            rc = add_curve(p, &p->arms[first + s], HOLD_STAGE_TUNE, curves, err);
    }
    if (rc == HOLD_OK && json_object_set(arm, "curves", curves) != 0)
        rc = no_memory(err);
    json_decref(curves);
    return rc;
}

/* --- answers --- */

static json_t *full_row(const struct hold_arm_plan *a, enum hold_eval_kind k,
                        const struct hold_row *data, const json_t *row) {
    json_t *o = json_pack("{s:s, s:I, s:s}", "arm", a->arm->name, "seed", (json_int_t)a->seed,
                          "set", hold_eval_name(k));
    if (o == NULL || json_object_update(o, (json_t *)row) != 0 ||
        json_object_set_new(o, "prompt", json_string(hold_row_user_text(data))) != 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static int add_rows(struct hold_book *b, int arm, enum hold_eval_kind k, json_t *all,
                    json_t *samples, struct hold_error *err) {
    const struct hold_arm_plan *a = &b->p->arms[arm];
    const struct hold_eval_set *set = &b->p->recipe->eval[k];
    bool first = arm % b->p->recipe->n_seeds == 0;
    const json_t *rows = NULL;
    int rc = hold_book_rows(b, a->evals[k], &rows, err);
    for (size_t j = 0; rc == HOLD_OK && j < json_array_size(rows); j++) {
        json_t *o = full_row(a, k, &set->data->rows.row[j], json_array_get(rows, j));
        int bad = o == NULL || json_array_append(all, o) != 0;
        if (bad == 0 && j < SAMPLES && first)
            bad |= json_array_append(samples, o);
        json_decref(o);
        rc = bad != 0 ? no_memory(err) : HOLD_OK;
    }
    return rc;
}

int hold_report_rows(struct hold_book *b, json_t *report, struct hold_error *err) {
    json_t *all = json_array(), *arms = json_object_get(report, "arms");
    int n_seeds = b->p->recipe->n_seeds;
    int rc = all == NULL ? no_memory(err) : HOLD_OK;
    for (int i = 0; rc == HOLD_OK && i < b->p->n_arms; i++) {
        json_t *samples = json_array();
        for (int k = 0; rc == HOLD_OK && samples != NULL && k < HOLD_EVAL_PERPLEXITY; k++)
            rc = add_rows(b, i, (enum hold_eval_kind)k, all, samples, err);
        if (rc == HOLD_OK && i % n_seeds == 0 &&
            json_object_set(json_array_get(arms, (size_t)(i / n_seeds)), "samples", samples) != 0)
            rc = no_memory(err);
        json_decref(samples);
    }
    if (rc == HOLD_OK && json_object_set(report, "rows", all) != 0)
        rc = no_memory(err);
    json_decref(all);
    return rc;
}

/* --- settings --- */

static json_t *data_json(const struct hold_recipe *r) {
    json_t *list = json_array();
    int bad = list == NULL;
    for (int i = 0; bad == 0 && i < r->n_data; i++) {
        const struct hold_data_set *d = &r->data[i];
        const json_t *said = json_object_get(json_object_get(r->source, "data"), d->name);
        json_t *files = json_object_get(said, "files");
        json_t *o = json_pack("{s:s, s:s, s:I, s:s, s:o}", "name", d->name, "owner",
                              hold_owner_name(d->owner), "rows", (json_int_t)d->rows.n,
                              "content_id", d->content_id, "files",
                              json_is_array(files) ? json_incref(files) : json_pack("[O]", files));
        if (d->source != NULL)
            bad |= json_object_set_new(o, "source", json_string(d->source));
        if (d->licence != NULL)
            bad |= json_object_set_new(o, "licence", json_string(d->licence));
        bad |= json_array_append_new(list, o);
    }
    if (bad == 0)
        return list;
    json_decref(list);
    return NULL;
}

/* The options of a stage but its seed, which every replicate sets (see "seeds"). */
static json_t *config_json(const struct hold_train_config *c) {
    json_t *o = hold_options_to_json(hold_train_options, c);
    json_object_del(o, "seed");
    return o;
}

static json_t *train_json(const struct hold_recipe *r) {
    json_t *o = json_object();
    int bad = o == NULL;
    for (int i = 0; bad == 0 && i < r->n_arms; i++) {
        const struct hold_arm *a = &r->arms[i];
        json_t *one = json_object();
        if (a->align.n > 0)
            bad |= json_object_set_new(one, "align", config_json(&a->align_train));
        if (a->attack.n > 0)
            bad |= json_object_set_new(one, "customer", config_json(&a->customer_train));
        bad |= json_object_set_new(o, a->name, one);
    }
    if (bad == 0)
        return o;
    json_decref(o);
    return NULL;
}

int hold_report_settings(struct hold_plan *p, json_t *report, struct hold_error *err) {
    char machine[128], now[32];
    struct hold_lab *lab = p->lab;
    if (gethostname(machine, sizeof machine) != 0)
        machine[0] = '\0';
    machine[sizeof machine - 1] = '\0';
    hold_clock_iso(now);
    json_t *environment =
        json_pack("{s:s, s:s, s:s, s:i, s:s, s:I, s:s}", "version",
                  lab->version == NULL ? "" : lab->version, "isa", hold_device_isa(lab->device),
                  "dtype", hold_device_dtype(lab->device), "threads", lab->device->threads,
                  "machine", machine, "memory_bytes", (json_int_t)hold_memory_limit(), "date", now);
    int bad = json_object_set(report, "settings", p->recipe->source);
    bad |= json_object_set_new(report, "training", train_json(p->recipe));
    bad |= json_object_set_new(report, "data", data_json(p->recipe));
    bad |= json_object_set_new(report, "environment", environment);
    bad |= json_object_set_new(report, "commands", json_array());
    return bad == 0 ? HOLD_OK : no_memory(err);
}
