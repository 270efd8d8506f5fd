/* run.c: walk the plan: find or make every stage, say what is going on and how long it will take.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "lab/lab_parts.h"

/* --- talk: the stage's progress with the arm's name and the whole run's remaining time --- */

struct talk {
    struct hold_plan *plan;
    const struct hold_ctx *outer;
    struct hold_ctx ctx; /* lent to stages */
    const struct hold_plan_node *node;
    int at, n;          /* nodes behind us, in all */
    double begun;       /* this stage */
    double eta, eta_at; /* what the stage last said, and when; eta < 0: nothing yet */
    double seconds[HOLD_NODE_EVALUATE + 1], units[HOLD_NODE_EVALUATE + 1]; /* learnt so far */
};

/* Seconds a unit of a kind; what one kind has taught serves the others until they teach. */
static double rate(const struct talk *t, enum hold_node_kind kind) {
    double s = 0.0, u = 0.0;
    if (t->units[kind] > 0)
        return t->seconds[kind] / t->units[kind];
    for (int k = 0; k <= HOLD_NODE_EVALUATE; k++) {
        s += t->seconds[k];
        u += t->units[k];
    }
    return u > 0 ? s / u : -1.0;
}

static double rest_of_run(const struct talk *t, double this_stage) {
    double sum = this_stage;
    for (int i = 0; i < t->plan->n_nodes; i++) {
        const struct hold_plan_node *n = &t->plan->nodes[i];
        double r = rate(t, n->kind);
        if (n->done || n == t->node || n->units <= 0)
            continue;
        if (r < 0)
            return -1.0;
        sum += n->units * r;
    }
    return sum;
}

static void forward_log(void *user, enum hold_level level, const char *room, const char *line) {
    const struct talk *t = user;
    if (t->outer->log != NULL)
        t->outer->log(t->outer->user, level, room, line);
}

/* Seconds that this stage still needs.  What a training stage does between its steps (probes)
 * knows only its own time: the last word of the steps counts. */
static double rest_of_stage(struct talk *t, const char *what, double eta, double now) {
    const struct hold_plan_node *n = t->node;
    bool inner = n->kind == HOLD_NODE_TRAIN && strcmp(what, "training") != 0;
    if (!inner && eta >= 0) {
        t->eta = eta;
        t->eta_at = now;
    }
    if (t->eta >= 0)
        return t->eta > now - t->eta_at ? t->eta - (now - t->eta_at) : 0.0;
    double r = rate(t, n->kind), elapsed = now - t->begun;
    return r < 0 ? -1.0 : n->units * r > elapsed ? n->units * r - elapsed : 0.0;
}

static void forward_progress(void *user, const char *what, int64_t done, int64_t total,
                             const char *status, double eta) {
    struct talk *t = user;
    const struct hold_plan_node *n = t->node;
    char text[256];
    if (t->outer->progress == NULL)
        return;
    bool probing = n->kind == HOLD_NODE_TRAIN && strcmp(what, "generating") == 0;
    snprintf(text, sizeof text, "[%d/%d] %.60s: %.40s: %.60s", t->at + 1, t->n, n->arm->name,
             n->name, probing ? "probing" : what);
    double now = hold_clock_now(), own = rest_of_stage(t, what, eta, now);
    /* The stage itself is the first to teach a rate. */
    struct talk guess = *t;
    if (own >= 0 && n->units > 0 && guess.units[n->kind] <= 0) {
        guess.units[n->kind] = n->units;
        guess.seconds[n->kind] = now - t->begun + own;
    }
    t->outer->progress(t->outer->user, text, done, total, status,
                       own < 0 ? -1.0 : rest_of_run(&guess, own));
}

static void learn(struct talk *t, const struct hold_plan_node *n) {
    if (n->units <= 0 || n->seconds <= 0)
        return;
    t->seconds[n->kind] += n->seconds;
    t->units[n->kind] += n->units;
}

/* --- one stage --- */

static json_t *spec_of(const struct hold_plan *p, const struct hold_plan_node *n) {
    switch (n->kind) {
    case HOLD_NODE_IMPORT:
        return hold_spec_import(p, n);
    case HOLD_NODE_TRAIN:
        return hold_spec_train(p, n);
    case HOLD_NODE_EDIT:
        return hold_spec_edit(p, n);
    case HOLD_NODE_EVALUATE:
        return hold_spec_evaluate(p, n);
    }
    return NULL;
}

/* The peak that follows is this stage's alone, where the kernel allows it. */
static void reset_peak(void) {
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = write(fd, "5", 1);
    (void)n;
    close(fd);
}

static int make(struct talk *t, struct hold_plan_node *n, struct hold_work *w, json_t *manifest,
                struct hold_error *err) {
    struct hold_plan *p = t->plan;
    switch (n->kind) {
    case HOLD_NODE_IMPORT:
        return hold_stage_import(p, n, w, manifest, &t->ctx, err);
    case HOLD_NODE_TRAIN:
        return hold_stage_train(p, n, w, manifest, &t->ctx, err);
    case HOLD_NODE_EDIT:
        return hold_stage_edit(p, n, w, manifest, &t->ctx, err);
    case HOLD_NODE_EVALUATE:
        return hold_stage_evaluate(p, n, w, manifest, &t->ctx, err);
    }
    return hold_fail(err, HOLD_EINTERNAL, "a stage of no kind");
}

static int publish(struct talk *t, struct hold_plan_node *n, struct hold_work *w, json_t *manifest,
                   struct hold_error *err) {
    struct hold_lab *lab = t->plan->lab;
    n->seconds = hold_clock_now() - t->begun;
    int bad = json_object_set_new(manifest, "seconds", json_real(n->seconds));
    bad |= json_object_set_new(manifest, "units", json_real(n->units));
    bad |= json_object_set_new(manifest, "peak_bytes", json_integer(hold_peak_memory()));
    bad |= json_object_set_new(manifest, "isa", json_string(hold_device_isa(lab->device)));
    bad |= json_object_set_new(manifest, "dtype", json_string(hold_device_dtype(lab->device)));
    bad |= json_object_set_new(manifest, "threads", json_integer(lab->device->threads));
    bad |= json_object_set_new(manifest, "version",
                               json_string(lab->version == NULL ? "" : lab->version));
    if (bad != 0) {
        hold_work_drop(w, HOLD_ENOMEMORY, "no memory for a manifest");
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a manifest");
    }
    int rc = hold_work_publish(w, manifest, lab->force, n->content, err);
    if (rc != HOLD_EBUSY)
        return rc;
    /* Another process took it over while this one stood still: its result is as good. */
    bool found = false;
    struct hold_error e = {0};
    if (hold_store_find(lab->store, n->id, n->content, &found, &e) == HOLD_OK && found) {
        hold_log(t->outer, HOLD_WARN, "lab", "%s", err->text);
        return HOLD_OK;
    }
    return rc;
}

static int make_new(struct talk *t, struct hold_plan_node *n, struct hold_work *w, json_t *spec,
                    struct hold_error *err) {
    json_t *manifest =
        json_pack("{s:s, s:s, s:s, s:O}", "kind", json_string_value(json_object_get(spec, "kind")),
                  "name", n->name, "arm", n->arm->name, "spec", spec);
    int rc =
        manifest == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a manifest") : HOLD_OK;
    reset_peak();
    if (rc == HOLD_OK)
        rc = make(t, n, w, manifest, err);
    if (rc == HOLD_OK)
        rc = publish(t, n, w, manifest, err);
    else
        hold_work_drop(w, rc, err->text);
    t->plan->lab->made += rc == HOLD_OK;
    json_decref(manifest);
    return rc;
}

/* What a found stage took when it was made also tells how long its like will take. */
static void recall(struct talk *t, struct hold_plan_node *n) {
    json_t *manifest = NULL;
    struct hold_error e = {0};
    if (hold_store_spec_manifest(t->plan->lab->store, n->id, &manifest, &e) == HOLD_OK)
        n->seconds = json_number_value(json_object_get(manifest, "seconds"));
    json_decref(manifest);
}

static unsigned work_flags(const struct hold_lab *lab, bool force, bool wait) {
    return (force ? (unsigned)HOLD_WORK_REMAKE : 0) | (lab->retry ? (unsigned)HOLD_WORK_RETRY : 0) |
           (wait ? 0 : (unsigned)HOLD_WORK_TRY);
}

/* EBUSY without `wait`: another process is making it. */
static int run_node(struct talk *t, struct hold_plan_node *n, bool wait, struct hold_error *err) {
    struct hold_lab *lab = t->plan->lab;
    struct hold_work *w = NULL;
    bool found = false;
    json_t *spec = spec_of(t->plan, n);
    t->begun = hold_clock_now();
    t->eta = -1.0;
    int rc = spec == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a spec")
                          : hold_spec_id(spec, n->id, err);
    /* An import costs nothing and its content is the spec's: force has nothing to make again. */
    bool force = lab->force && n->kind != HOLD_NODE_IMPORT;
    if (rc == HOLD_OK && !force)
        rc = hold_store_find(lab->store, n->id, n->content, &found, err);
    if (rc == HOLD_OK && !found)
        rc = hold_store_work(lab->store, n->id, work_flags(lab, force, wait), &w, n->content,
                             &found, err);
    if (rc == HOLD_OK && found) {
        lab->found++;
        n->found = true;
        recall(t, n);
    } else if (rc == HOLD_OK) {
        rc = make_new(t, n, w, spec, err);
    }
    if (rc == HOLD_OK && n->kind == HOLD_NODE_IMPORT) {
        memcpy(lab->base_content, n->content, sizeof lab->base_content);
        lab->base_path = hold_str_text(&t->plan->model_path);
    }
    json_decref(spec);
    return rc;
}

/* --- all of them --- */

/* A stage that cannot work out whatever is tried: its arms fail, the others go on. */
static bool fails_alone(int code) {
    return code == HOLD_EDATA || code == HOLD_EDIVERGED || code == HOLD_EFORMAT ||
           code == HOLD_EUSAGE || code == HOLD_EUNSUPPORTED;
}

static bool is_ready(const struct hold_plan *p, const struct hold_plan_node *n) {
    return (n->model < 0 || p->nodes[n->model].done) && (n->before < 0 || p->nodes[n->before].done);
}

static int failed_input(const struct hold_plan *p, const struct hold_plan_node *n) {
    if (n->model >= 0 && p->nodes[n->model].code < 0)
        return n->model;
    return n->before >= 0 && p->nodes[n->before].code < 0 ? n->before : -1;
}

/* *n is done (or failed, with its arms) on return, or EBUSY. */
static int do_node(struct talk *t, struct hold_plan_node *n, bool wait, struct hold_error *err) {
    struct hold_plan *p = t->plan;
    struct hold_error inner = {0};
    int bad = failed_input(p, n), rc = HOLD_OK;
    t->node = n;
    if (bad >= 0) {
        n->code = p->nodes[bad].code;
        snprintf(n->error, sizeof n->error, "%s", p->nodes[bad].error);
    } else {
        rc = run_node(t, n, wait, &inner);
    }
    if (rc < 0 && (!fails_alone(rc) || n->kind == HOLD_NODE_IMPORT))
        return hold_fail(err, rc, "%s: %s: %s", n->arm->name, n->name, inner.text);
    if (rc < 0) {
        n->code = rc;
        snprintf(n->error, sizeof n->error, "%.40s: %.900s", n->name, inner.text);
        hold_log(t->outer, HOLD_ERROR, "lab", "%s: %s", n->arm->name, n->error);
    }
    n->done = true;
    t->at++;
    learn(t, n);
    if (hold_stopped(t->outer) && t->at < t->n)
        return hold_fail(err, HOLD_EINTERRUPTED,
                         "stopped after stage %d of %d; the same command goes on", t->at, t->n);
    return HOLD_OK;
}

/* Stages that another process is making are passed by while there is other work; then waited for.
 */
static int walk(struct talk *t, struct hold_error *err) {
    struct hold_plan *p = t->plan;
    bool wait = false;
    while (t->at < t->n) {
        int before = t->at;
        for (int i = 0; i < p->n_nodes && !(wait && t->at > before); i++) {
            struct hold_plan_node *n = &p->nodes[i];
            if (n->done || !is_ready(p, n))
                continue;
            int rc = do_node(t, n, wait, err);
            if (rc < 0 && rc != HOLD_EBUSY)
                return rc;
        }
        wait = t->at == before;
    }
    return HOLD_OK;
}

int hold_lab_run(struct hold_lab *lab, const struct hold_recipe *recipe, json_t **report,
                 struct hold_error *err) {
    struct hold_plan p;
    *report = NULL;
    int rc = hold_plan_make(&p, lab, recipe, err);
    if (rc < 0)
        return rc;
    struct talk t = {.plan = &p, .outer = lab->ctx, .n = p.n_nodes};
    t.ctx = *lab->ctx;
    t.ctx.user = &t;
    t.ctx.log = forward_log;
    t.ctx.progress = forward_progress;
    hold_log(lab->ctx, HOLD_INFO, "lab", "%s: %d arm%s, %d stage%s", recipe->name, p.n_arms,
             p.n_arms == 1 ? "" : "s", p.n_nodes + p.n_prepared,
             p.n_nodes + p.n_prepared == 1 ? "" : "s");
    rc = walk(&t, err);
    if (rc == HOLD_OK)
        rc = hold_plan_report(&p, report, err);
    hold_lab_release(lab);
    lab->base_path = NULL;
    hold_plan_release(&p);
    return rc;
}
