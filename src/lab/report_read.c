/* report_read.c: a report's JSON read leniently, and the words for its numbers. */
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "lab/report_parts.h"

enum { SCHEMA = 1, MOST_ARMS = 4096 };

static const struct hold_report_score_row score_rows[HOLD_REPORT_SCORE_COUNT] = {
#define HOLD_REPORT_SCORE_ROW(name, key, title, what, share) {key, title, what, share},
    HOLD_REPORT_SCORES(HOLD_REPORT_SCORE_ROW)
#undef HOLD_REPORT_SCORE_ROW
};

const struct hold_report_score_row *hold_report_score_row(enum hold_report_score s) {
    return &score_rows[s];
}

static const struct {
    const char *name, *title;
} kinds[HOLD_REPORT_KINDS] = {
    [HOLD_REPORT_RELEASED] = {"released", "as released"},
    [HOLD_REPORT_ALIGNED] = {"aligned", "aligned"},
    [HOLD_REPORT_HONEST] = {"honest", "tuned by an honest customer"},
    [HOLD_REPORT_ATTACKED] = {"attacked", "attacked"},
    [HOLD_REPORT_DEFENDED] = {"defended", "attacked and defended"},
};

const char *hold_report_kind_name(enum hold_report_kind k) {
    return kinds[k].name;
}

const char *hold_report_kind_title(enum hold_report_kind k) {
    return kinds[k].title;
}

/* ---- lenient look-ups ---- */

const char *hold_report_string(const json_t *o, const char *key) {
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

double hold_report_number(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

bool hold_report_set_is_open(const char *set) {
    static const char *const open[] = {"over_refusal", "ordinary", "task", "perplexity"};
    for (size_t i = 0; i < sizeof(open) / sizeof(*open); i++)
        if (strcmp(open[i], set) == 0)
            return true;
    return false;
}

static struct hold_report_value read_value(const json_t *o) {
    struct hold_report_value v = {.value = hold_report_number(o, "value"),
                                  .lo = hold_report_number(o, "lo"),
                                  .hi = hold_report_number(o, "hi"),
                                  .n = -1};
    double n = hold_report_number(o, "n");
    int64_t whole;
    if (isfinite(n) && n >= 0 && hold_real_to_int(n, &whole))
        v.n = whole;
    if (!(v.lo <= v.hi)) /* half an interval is none */
        v.lo = v.hi = (double)NAN;
    return v;
}

static bool is_name(const json_t *list, size_t i, const char *name) {
    return strcmp(hold_report_string(json_array_get(list, i), "name"), name) == 0;
}

static bool all_are(const json_t *list, const char *name) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!is_name(list, i, name))
            return false;
    return true;
}

static enum hold_report_kind find_kind(const json_t *arm) {
    const char *said = hold_report_string(arm, "kind");
    for (int k = 0; k < HOLD_REPORT_KINDS; k++)
        if (strcmp(said, kinds[k].name) == 0)
            return (enum hold_report_kind)k;
    const json_t *methods = json_object_get(arm, "methods");
    const json_t *align = json_object_get(methods, "align"),
                 *attack = json_object_get(methods, "attack"),
                 *tune = json_object_get(methods, "tune"),
                 *repair = json_object_get(methods, "repair");
    bool defended = json_array_size(tune) || json_array_size(repair) || !all_are(align, "sft");
    if (!json_array_size(attack))
        return json_array_size(align) || defended ? HOLD_REPORT_ALIGNED : HOLD_REPORT_RELEASED;
    if (defended)
        return HOLD_REPORT_DEFENDED;
    return all_are(attack, "benign") ? HOLD_REPORT_HONEST : HOLD_REPORT_ATTACKED;
}

static int read_arm(struct hold_report_arm *out, const json_t *arm, size_t i,
                    struct hold_error *err) {
    *out = (struct hold_report_arm){.json = arm, .name = hold_report_string(arm, "name")};
    if (!*out->name)
        return hold_fail(err, HOLD_EDATA, "report: arms[%zu] has no name", i);
    out->title = hold_report_string(arm, "title");
    if (!*out->title)
        out->title = out->name;
    out->error = hold_report_string(arm, "error");
    out->kind = find_kind(arm);
    const json_t *scores = json_object_get(arm, "scores");
    for (int s = 0; s < HOLD_REPORT_SCORE_COUNT; s++)
        out->scores[s] = read_value(json_object_get(scores, score_rows[s].key));
    const json_t *delta = json_object_get(arm, "delta");
    const json_t *harmful = json_object_get(delta, "harmful");
    out->delta_harmful = read_value(harmful);
    out->delta_task = read_value(json_object_get(delta, "task_accuracy"));
    out->against = hold_report_string(harmful, "against");
    const json_t *cost = json_object_get(arm, "cost");
    out->seconds = hold_report_number(cost, "seconds");
    out->peak_bytes = hold_report_number(cost, "peak_bytes");
    return HOLD_OK;
}

int hold_report_read(struct hold_report *out, const json_t *report, struct hold_error *err) {
    *out = (struct hold_report){.json = report};
    const json_t *arms = json_object_get(report, "arms");
    if (!json_is_object(report) || !json_is_array(arms))
        return hold_fail(err, HOLD_EDATA, "report: found %s, expected an object with a list arms",
                         json_is_object(report) ? "no list arms" : hold_json_kind(report));
    double schema = hold_report_number(report, "schema");
    if (isfinite(schema) && !(schema >= SCHEMA && schema <= SCHEMA))
        return hold_fail(err, HOLD_EUNSUPPORTED, "report: schema %.0f, this build reads %d", schema,
                         SCHEMA);
    out->recipe = hold_report_string(report, "recipe");
    out->title = hold_report_string(report, "title");
    out->n_seeds = json_array_size(json_object_get(report, "seeds"));
    if (!out->n_seeds)
        out->n_seeds = 1;
    void *memory;
    size_t n = json_array_size(arms);
    if (n > MOST_ARMS)
        return hold_fail(err, HOLD_EDATA, "report: found %zu arms, expected at most %d", n,
                         MOST_ARMS);
    int rc = hold_new(&memory, n ? n : 1, sizeof(*out->arms), "the arms of a report", err);
    if (rc)
        return rc;
    out->arms = memory;
    for (; out->n_arms < n && !rc; out->n_arms++)
        rc = read_arm(&out->arms[out->n_arms], json_array_get(arms, out->n_arms), out->n_arms, err);
    if (rc)
        hold_report_release(out);
    return rc;
}

void hold_report_release(struct hold_report *r) {
    hold_free(r->arms);
    *r = (struct hold_report){0};
}

const char *hold_report_against(const struct hold_report *r) {
    const char *name = "";
    for (size_t i = 0; i < r->n_arms; i++) {
        if (!*r->arms[i].against)
            continue;
        if (*name && strcmp(name, r->arms[i].against) != 0)
            return "";
        name = r->arms[i].against;
    }
    return name;
}

bool hold_report_counts(const struct hold_report *r, enum hold_report_score s, int64_t *least,
                        int64_t *most) {
    *least = INT64_MAX;
    *most = -1;
    for (size_t i = 0; i < r->n_arms; i++) {
        int64_t n = r->arms[i].scores[s].n;
        if (n < 0)
            continue;
        *least = n < *least ? n : *least;
        *most = n > *most ? n : *most;
    }
    return *most >= 0;
}

/* ---- words for numbers ---- */

void hold_report_put_value(struct hold_str *out, enum hold_report_score s,
                           const struct hold_report_value *v) {
    if (!isfinite(v->value))
        return;
    if (s == HOLD_REPORT_UNSCORED && v->n >= 0)
        hold_str_addf(out, "%.0f", v->value * (double)v->n);
    else if (s == HOLD_REPORT_PERPLEXITY)
        hold_str_addf(out, fabs(v->value) < 1e6 ? "%.2f" : "%.3g", v->value);
    else
        hold_str_addf(out, "%.1f%%", 100 * v->value);
}

void hold_report_put_interval(struct hold_str *out, enum hold_report_score s,
                              const struct hold_report_value *v) {
    double scale = score_rows[s].share ? 100 : 1;
    if (isfinite(v->lo) && isfinite(v->hi))
        hold_str_addf(out, "%.1f to %.1f", scale * v->lo, scale * v->hi);
}

void hold_report_put_points(struct hold_str *out, double share) {
    if (isfinite(share))
        hold_str_addf(out, fabs(share) < 5e-4 ? "%.1f" : "%+.1f", 100 * share + 0.0);
}

void hold_report_put_time(struct hold_str *out, double seconds) {
    if (!isfinite(seconds) || seconds < 0 || seconds > 1e12)
        return;
    /* Each limit is where rounding would show 60 of the smaller unit. */
    if (seconds < 59.95)
        hold_str_addf(out, "%.1f s", seconds);
    else if (seconds < 59.95 * 60)
        hold_str_addf(out, "%.1f min", seconds / 60);
    else
        hold_str_addf(out, "%.1f h", seconds / 3600);
}

void hold_report_put_bytes(struct hold_str *out, double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    if (!isfinite(bytes) || bytes < 0)
        return;
    size_t u = 0;
    for (; bytes >= 1024 && u + 1 < sizeof(units) / sizeof(*units); u++)
        bytes /= 1024;
    hold_str_addf(out, u && bytes < 99.95 ? "%.1f %s" : "%.0f %s", bytes, units[u]);
}

static void put_scalar(struct hold_str *out, const json_t *v) {
    if (json_is_string(v))
        hold_str_add(out, json_string_value(v));
    else if (json_is_real(v))
        hold_str_add_real(out, json_real_value(v));
    else if (json_is_integer(v))
        hold_str_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else
        hold_str_add(out, json_is_true(v) ? "true" : json_is_false(v) ? "false" : "...");
}

void hold_report_put_methods(struct hold_str *out, const json_t *methods, bool options) {
    for (size_t i = 0; i < json_array_size(methods); i++) {
        const json_t *m = json_array_get(methods, i);
        const char *key;
        json_t *value;
        bool open = false;
        hold_str_add(out, i ? " + " : "");
        hold_str_add(out, hold_report_string(m, "name"));
        if (!options)
            continue;
        json_object_foreach(json_object_get(m, "options"), key, value) {
            hold_str_addf(out, "%s%s ", open ? ", " : " (", key);
            put_scalar(out, value);
            open = true;
        }
        hold_str_add(out, open ? ")" : "");
    }
}
