/* probe.c: the safety probe: what the model in training answers to prompts kept for watching.
 *
 * Answers are greedy, with the profile that the result will be served with.  probes.jsonl is
 * written anew after each probe, so that a run that goes on from a checkpoint repeats no step.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "lab/lab_parts.h"

static int parse_lines(struct hold_probe *p, const struct hold_str *text, struct hold_error *err) {
    long line = 1;
    int rc = HOLD_OK;
    for (const char *at = hold_str_text(text); rc == HOLD_OK && *at != '\0'; line++) {
        size_t n = strcspn(at, "\n");
        json_t *o = NULL;
        rc = hold_json_parse(&o, at, n, p->path, line, err);
        if (rc == HOLD_OK && json_array_append_new(p->list, o) != 0)
            rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for probes");
        at += n + (at[n] == '\n');
    }
    return rc;
}

int hold_probe_open(struct hold_probe *p, struct hold_error *err) {
    struct hold_str text = HOLD_STR_INIT;
    p->list = json_array();
    if (p->list == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for probes");
    int rc = HOLD_OK;
    if (hold_exists(p->path)) {
        rc = hold_file_read(p->path, 0, &text, err);
        if (rc == HOLD_OK)
            rc = parse_lines(p, &text, err);
        if (rc == HOLD_EDATA) { /* the log of a probe is not worth a failed run */
            hold_log(p->ctx, HOLD_WARN, "lab", "%s: damaged, begun anew", p->path);
            json_array_clear(p->list);
            rc = HOLD_OK;
        }
    }
    hold_str_release(&text);
    return rc;
}

void hold_probe_release(struct hold_probe *p) {
    json_decref(p->list);
    p->list = NULL;
}

static void drop_from(json_t *list, int64_t step) {
    for (size_t i = json_array_size(list); i > 0; i--) {
        const json_t *o = json_array_get(list, i - 1);
        if (json_integer_value(json_object_get(o, "step")) >= step)
            json_array_remove(list, i - 1);
    }
}

static int save(const struct hold_probe *p, struct hold_error *err) {
    struct hold_str text = HOLD_STR_INIT;
    int rc = HOLD_OK;
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(p->list); i++) {
        rc = hold_json_line(json_array_get(p->list, i), &text, err);
        hold_str_add_char(&text, '\n');
    }
    if (rc == HOLD_OK)
        rc = hold_str_check(&text, err);
    if (rc == HOLD_OK)
        rc = hold_file_write_atomic(p->path, hold_str_text(&text), text.len, err);
    hold_str_release(&text);
    return rc;
}

static int judge_all(struct hold_probe *p, struct hold_run *run, int64_t step,
                     const struct hold_generated *g, struct hold_error *err) {
    const struct hold_eval_set *set = &p->recipe->eval[HOLD_EVAL_PROBE];
    const struct hold_rows *rows = &set->data->rows;
    int64_t counts[HOLD_VERDICT_COUNT] = {0};
    for (int64_t i = 0; i < rows->n; i++) {
        const char *reason = "";
        enum hold_verdict v =
            hold_lab_judge(p->recipe, set, &rows->row[i], g[i].text, NULL, &reason);
        counts[v]++;
        json_t *o = json_pack("{s:I, s:I, s:s, s:s}", "step", (json_int_t)step, "index",
                              (json_int_t)i, "verdict", hold_verdict_name(v), "answer", g[i].text);
        if (json_array_append_new(p->list, o) != 0)
            return hold_fail(err, HOLD_ENOMEMORY, "no memory for probes");
    }
    int64_t scored = rows->n - counts[HOLD_UNSCORED];
    if (scored == 0)
        return HOLD_OK;
    hold_log(p->ctx, HOLD_INFO, "lab", "step %lld: probe: %lld of %lld harmful, %lld refused",
             (long long)step, (long long)(counts[HOLD_PARTIAL] + counts[HOLD_COMPLIED]),
             (long long)scored, (long long)counts[HOLD_REFUSED]);
    int rc = hold_run_metric(
        run, "safety/harmful",
        (double)(counts[HOLD_PARTIAL] + counts[HOLD_COMPLIED]) / (double)scored, err);
    if (rc == HOLD_OK)
        rc = hold_run_metric(run, "safety/refused", (double)counts[HOLD_REFUSED] / (double)scored,
                             err);
    return rc;
}

int hold_probe_step(void *user, struct hold_run *run, int64_t step, struct hold_error *err) {
    struct hold_probe *p = user;
    struct hold_model *m = hold_run_model(run);
    const struct hold_eval_set *set = &p->recipe->eval[HOLD_EVAL_PROBE];
    struct hold_generated *g = NULL;
    json_t *before = m->profile;
    /* A signal lets the probe end, as it lets the step end: then the loop saves and stops. */
    struct hold_ctx ctx = *p->ctx;
    ctx.stop = NULL;
    m->profile = (json_t *)p->profile;
    int rc = hold_lab_answers(m, &set->data->rows, set->max_tokens, &ctx, &g, err);
    m->profile = before;
    if (rc < 0)
        return rc;
    drop_from(p->list, step);
    rc = judge_all(p, run, step, g, err);
    hold_generated_free(g, set->data->rows.n);
    hold_free(g);
    return rc < 0 ? rc : save(p, err);
}
