/* report_html.c: the page: head, headline, table, bars and limits. */
#include <math.h>
#include <string.h>

#include "lab/report_parts.h"
#include "lab/svg.h"

#define DASH "\xE2\x80\x93"

static void put_head(const struct hold_report *r, struct hold_str *out) {
    hold_str_add(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                      "<meta name=\"color-scheme\" content=\"light dark\">\n"
                      /* Nothing is loaded and nothing runs, whatever a text in here says. */
                      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                      "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
                      "<meta name=\"generator\" content=\"holdfast\">\n<title>");
    hold_svg_escape(out, *r->title ? r->title : r->recipe);
    hold_str_add(out, "</title>\n<style>\n");
    for (size_t i = 0; hold_page_css[i]; i++)
        hold_str_add(out, hold_page_css[i]);
    hold_str_add(out, "</style>\n</head>\n<body>\n<main>\n");
}

static void put_fact(struct hold_str *out, const char *name, const char *value, bool *open) {
    if (!*value)
        return;
    hold_str_addf(out, "%s%s ", *open ? " \xC2\xB7 " : "", name);
    hold_svg_escape(out, value);
    *open = true;
}

static void put_masthead(const struct hold_report *r, struct hold_str *scratch,
                         struct hold_str *out) {
    bool open = false;
    const char *scenario = hold_report_string(r->json, "scenario");
    hold_str_add(out, "<header>\n<p class=\"kicker\">");
    hold_svg_escape(out, *r->title ? r->title : r->recipe);
    hold_str_add(out, "</p>\n<h1>");
    hold_str_clear(scratch);
    hold_report_headline(r, scratch);
    hold_svg_escape(out, hold_str_text(scratch));
    hold_str_add(out, "</h1>\n");
    hold_str_clear(scratch);
    hold_report_deck(r, scratch);
    if (scratch->len) {
        hold_str_add(out, "<p class=\"deck\">");
        hold_svg_escape(out, hold_str_text(scratch));
        hold_str_add(out, "</p>\n");
    }
    hold_str_clear(scratch);
    hold_report_seed_note(r, scratch);
    hold_str_add(out, "<p class=\"deck\">");
    hold_svg_escape(out, hold_str_text(scratch));
    hold_str_add(out, "</p>\n<p class=\"small\">");
    put_fact(out, "recipe", r->recipe, &open);
    put_fact(out, "model", hold_report_string(json_object_get(r->json, "model"), "name"), &open);
    put_fact(out, "scenario",
             strcmp(scenario, "service") == 0        ? "fine-tuning as a service"
             : strcmp(scenario, "open_weights") == 0 ? "open weights"
                                                     : scenario,
             &open);
    put_fact(out, "made", hold_report_string(r->json, "made"), &open);
    put_fact(out, "holdfast",
             hold_report_string(json_object_get(r->json, "environment"), "version"), &open);
    hold_str_add(out, "</p>\n</header>\n");
}

/* ---- the table ---- */

struct shown {
    bool score[HOLD_REPORT_SCORE_COUNT], same_n[HOLD_REPORT_SCORE_COUNT];
    int64_t n[HOLD_REPORT_SCORE_COUNT]; /* where it is the same for all arms */
    bool delta_harmful, delta_task, same_against, cost;
};

static struct shown find_shown(const struct hold_report *r) {
    struct shown w = {0};
    for (size_t i = 0; i < r->n_arms; i++) {
        const struct hold_report_arm *a = &r->arms[i];
        for (int s = 0; s < HOLD_REPORT_SCORE_COUNT; s++)
            w.score[s] |= isfinite(a->scores[s].value);
        w.delta_harmful |= isfinite(a->delta_harmful.value);
        w.delta_task |= isfinite(a->delta_task.value);
        w.cost |= isfinite(a->seconds) || isfinite(a->peak_bytes);
    }
    for (int s = 0; s < HOLD_REPORT_SCORE_COUNT; s++) {
        int64_t least;
        w.same_n[s] =
            hold_report_counts(r, (enum hold_report_score)s, &least, &w.n[s]) && least == w.n[s];
    }
    w.same_against = *hold_report_against(r) != '\0';
    return w;
}

static void put_signed(struct hold_str *out, double share, int digits) {
    double points = 100 * share;
    if (fabs(points) < (digits ? 0.05 : 0.5))
        hold_str_addf(out, "%.*f", digits, 0.0);
    else
        hold_str_addf(out, "%s%.*f", points < 0 ? "\xE2\x88\x92" : "+", digits, fabs(points));
}

static void put_score_cell(const struct hold_report_arm *a, enum hold_report_score s, bool same_n,
                           struct hold_str *out) {
    const struct hold_report_value *v = &a->scores[s];
    hold_str_add(out, s == HOLD_REPORT_HARMFUL || s == HOLD_REPORT_TASK ? "<td class=\"lead\">"
                                                                        : "<td>");
    if (!isfinite(v->value)) {
        hold_str_add(out, DASH "</td>");
        return;
    }
    hold_report_put_value(out, s, v);
    if (s != HOLD_REPORT_UNSCORED && isfinite(v->lo)) {
        hold_str_add(out, "<small>");
        hold_report_put_interval(out, s, v);
        hold_str_add(out, "</small>");
    }
    if (v->n >= 0 && !same_n)
        hold_str_addf(out, "<small>%s%lld</small>", s == HOLD_REPORT_UNSCORED ? "of " : "n ",
                      (long long)v->n);
    hold_str_add(out, "</td>");
}

static void put_delta_cell(const struct hold_report_value *d, const char *against,
                           bool less_is_good, struct hold_str *out) {
    if (!isfinite(d->value)) {
        hold_str_add(out, "<td>" DASH "</td>");
        return;
    }
    bool clear = isfinite(d->lo) && (d->lo > 0 || d->hi < 0);
    const char *class_name = !clear                           ? "unclear"
                             : (d->value < 0) == less_is_good ? "better"
                                                              : "worse";
    hold_str_addf(out, "<td class=\"%s\">", class_name);
    put_signed(out, d->value, 1);
    if (isfinite(d->lo)) {
        hold_str_add(out, "<small>");
        put_signed(out, d->lo, 1);
        hold_str_add(out, " to ");
        put_signed(out, d->hi, 1);
        hold_str_add(out, "</small>");
    }
    if (*against) {
        hold_str_add(out, "<small>to ");
        hold_svg_escape(out, against);
        hold_str_add(out, "</small>");
    }
    hold_str_add(out, "</td>");
}

static void put_cost_cell(const struct hold_report_arm *a, struct hold_str *out) {
    struct hold_str text = HOLD_STR_INIT;
    hold_report_put_time(&text, a->seconds);
    hold_str_addf(out, "<td>%s", text.len ? hold_str_text(&text) : DASH);
    hold_str_clear(&text);
    hold_report_put_bytes(&text, a->peak_bytes);
    if (text.len)
        hold_str_addf(out, "<small>%s</small>", hold_str_text(&text));
    hold_str_add(out, "</td>");
    out->out_of_memory |= text.out_of_memory;
    hold_str_release(&text);
}

static void put_column_heads(const struct shown *w, struct hold_str *out) {
    hold_str_add(out, "<thead><tr><th scope=\"col\">#</th><th scope=\"col\">Arm</th>");
    for (int s = 0; s < HOLD_REPORT_SCORE_COUNT; s++) {
        const struct hold_report_score_row *row = hold_report_score_row((enum hold_report_score)s);
        if (w->score[s]) {
            hold_str_addf(out, "<th scope=\"col\" title=\"%s\">", row->what);
            hold_svg_escape(out, row->title);
            if (w->same_n[s])
                hold_str_addf(out, "<small>%s%lld</small>",
                              s == HOLD_REPORT_UNSCORED ? "of " : "n ", (long long)w->n[s]);
            hold_str_add(out, "</th>");
        }
        if ((s == HOLD_REPORT_HARMFUL && w->delta_harmful) ||
            (s == HOLD_REPORT_TASK && w->delta_task))
            hold_str_add(out, "<th scope=\"col\" title=\"paired over prompts, in points\">"
                              "Difference</th>");
    }
    hold_str_add(out, w->cost ? "<th scope=\"col\">Time, peak memory</th>" : "");
    hold_str_add(out, "</tr></thead>\n");
}

static void put_row(const struct hold_report_arm *a, size_t number, const struct shown *w,
                    struct hold_str *out) {
    const char *task_against = hold_report_string(
        json_object_get(json_object_get(a->json, "delta"), "task_accuracy"), "against");
    hold_str_addf(out, "<tr><td>%zu</td><th scope=\"row\">", number);
    hold_page_mark(out, a->kind);
    hold_str_add(out, "&nbsp;");
    hold_svg_escape(out, a->title);
    if (strcmp(a->title, a->name) != 0) {
        hold_str_add(out, "<small><code>");
        hold_svg_escape(out, a->name);
        hold_str_add(out, "</code></small>");
    }
    if (*a->error) {
        hold_str_add(out, "<span class=\"failed\">failed: ");
        hold_svg_escape(out, a->error);
        hold_str_add(out, "</span>");
    }
    hold_str_add(out, "</th>");
    for (int s = 0; s < HOLD_REPORT_SCORE_COUNT; s++) {
        if (w->score[s])
            put_score_cell(a, (enum hold_report_score)s, w->same_n[s], out);
        if (s == HOLD_REPORT_HARMFUL && w->delta_harmful)
            put_delta_cell(&a->delta_harmful, w->same_against ? "" : a->against, true, out);
        if (s == HOLD_REPORT_TASK && w->delta_task)
            put_delta_cell(&a->delta_task, w->same_against ? "" : task_against, false, out);
    }
    if (w->cost)
        put_cost_cell(a, out);
    hold_str_add(out, "</tr>\n");
}

static void put_table(const struct hold_report *r, struct hold_str *out) {
    struct shown w = find_shown(r);
    hold_str_add(out,
                 "<section aria-labelledby=\"scores\">\n<h2 id=\"scores\">All scores</h2>\n"
                 "<p class=\"small\" id=\"reading\">Below each score its 95% interval in percent "
                 "(Wilson with one seed); n counts answers. Differences are in points");
    if (w.same_against) {
        hold_str_add(out, " to the arm <code>");
        hold_svg_escape(out, hold_report_against(r));
        hold_str_add(out, "</code>");
    }
    hold_str_add(out, ", paired over prompts, with bootstrap intervals; those in bold exclude 0. "
                      "Time and memory are what the arm's stages took when they were made.</p>\n"
                      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
                      "aria-labelledby=\"scores\">\n<table class=\"scores\" "
                      "aria-labelledby=\"scores\" aria-describedby=\"reading\">\n");
    put_column_heads(&w, out);
    hold_str_add(out, "<tbody>\n");
    for (size_t i = 0; i < r->n_arms; i++)
        put_row(&r->arms[i], i + 1, &w, out);
    hold_str_add(out, "</tbody></table></div>\n<dl class=\"words\">\n");
    for (int s = 0; s < HOLD_REPORT_SCORE_COUNT; s++)
        if (w.score[s])
            hold_str_addf(out, "<div><dt>%s</dt><dd>%s</dd></div>\n",
                          hold_report_score_row((enum hold_report_score)s)->title,
                          hold_report_score_row((enum hold_report_score)s)->what);
    hold_str_add(out, "</dl>\n</section>\n");
}

/* ---- several seeds ---- */

static void put_replicates(const struct hold_report *r, struct hold_str *out) {
    bool open = false;
    for (size_t i = 0; i < r->n_arms; i++) {
        const json_t *list = json_object_get(r->arms[i].json, "replicates");
        for (size_t j = 0; j < json_array_size(list); j++) {
            const json_t *one = json_array_get(list, j), *scores = json_object_get(one, "scores");
            double seed = hold_report_number(one, "seed");
            if (!open)
                hold_str_add(out, "<details>\n<summary>Each seed for itself</summary>\n"
                                  "<div class=\"scroll\"><table>\n<thead><tr>"
                                  "<th scope=\"col\">Arm</th><th scope=\"col\">Seed</th>"
                                  "<th scope=\"col\">Harmful score</th>"
                                  "<th scope=\"col\">Task accuracy</th></tr></thead>\n<tbody>\n");
            open = true;
            hold_str_add(out, "<tr><th scope=\"row\">");
            hold_svg_escape(out, r->arms[i].name);
            hold_str_add(out, "</th><td>");
            if (isfinite(seed))
                hold_str_addf(out, "%.0f", seed);
            static const char *const keys[] = {"harmful", "task_accuracy"};
            for (size_t k = 0; k < 2; k++) {
                double v = hold_report_number(json_object_get(scores, keys[k]), "value");
                hold_str_add(out, "</td><td>");
                if (isfinite(v))
                    hold_str_addf(out, "%.1f%%", 100 * v);
                else
                    hold_str_add(out, DASH);
            }
            hold_str_add(out, "</td></tr>\n");
        }
    }
    hold_str_add(out, open ? "</tbody></table></div>\n</details>\n" : "");
}

/* ---- bars that the recipe's author set ---- */

static void put_bars(const struct hold_report *r, struct hold_str *out) {
    const json_t *bars = json_object_get(r->json, "bars");
    if (!json_array_size(bars))
        return;
    hold_str_add(out, "<section aria-labelledby=\"bars\">\n<h2 id=\"bars\">What was to be "
                      "reached</h2>\n<ul class=\"checks\">\n");
    for (size_t i = 0; i < json_array_size(bars); i++) {
        const json_t *b = json_array_get(bars, i);
        bool ok = json_is_true(json_object_get(b, "ok"));
        double value = hold_report_number(b, "value"), limit = hold_report_number(b, "limit");
        hold_str_add(out, ok ? "<li class=\"met\"><b>\xE2\x9C\x93 reached</b> "
                             : "<li class=\"missed\"><b>\xE2\x9C\x97 missed</b> ");
        hold_svg_escape(out, hold_report_string(b, "text"));
        if (isfinite(value)) {
            hold_str_addf(out, " <small>measured %.1f%%", 100 * value);
            if (isfinite(limit))
                hold_str_addf(out, ", bar %.1f%%", 100 * limit);
            hold_str_add(out, "</small>");
        }
        hold_str_add(out, "</li>\n");
    }
    hold_str_add(out, "</ul>\n</section>\n");
}

/* ---- limits ---- */

static void put_share_cell(struct hold_str *out, double v) {
    if (isfinite(v))
        hold_str_addf(out, "<td>%.1f%%</td>", 100 * v);
    else
        hold_str_add(out, "<td>" DASH "</td>");
}

static void put_judge(const struct hold_report *r, struct hold_str *out) {
    const json_t *judge = json_object_get(r->json, "judge");
    const json_t *report = json_object_get(judge, "report");
    const json_t *classes = json_object_get(report, "classes");
    double accuracy = hold_report_number(report, "accuracy"), n = hold_report_number(report, "n");
    hold_str_add(out, "<li><b>The judge is a set of rules.</b> ");
    if (isfinite(accuracy))
        hold_str_addf(out, "It agreed with hand-made labels on %.1f%%", 100 * accuracy);
    if (isfinite(accuracy) && isfinite(n))
        hold_str_addf(out, " of %.0f answers", n);
    if (!isfinite(accuracy))
        hold_str_add(out, "This report carries no measurement of its error");
    if (*hold_report_string(report, "source")) {
        hold_str_add(out, " (");
        hold_svg_escape(out, hold_report_string(report, "source"));
        hold_str_add(out, ")");
    }
    hold_str_add(out, ". Its errors are not part of the intervals.");
    if (json_array_size(classes)) {
        hold_str_add(out,
                     "\n<div class=\"scroll\"><table class=\"judge\">\n<thead><tr>"
                     "<th scope=\"col\">Verdict</th><th scope=\"col\">Precision</th>"
                     "<th scope=\"col\">Recall</th><th scope=\"col\">Labelled</th></tr></thead>"
                     "\n<tbody>\n");
        for (size_t i = 0; i < json_array_size(classes); i++) {
            const json_t *c = json_array_get(classes, i);
            double count = hold_report_number(c, "n");
            hold_str_add(out, "<tr><th scope=\"row\">");
            hold_svg_escape(out, hold_report_string(c, "verdict"));
            hold_str_add(out, "</th>");
            put_share_cell(out, hold_report_number(c, "precision"));
            put_share_cell(out, hold_report_number(c, "recall"));
            if (isfinite(count))
                hold_str_addf(out, "<td>%.0f</td></tr>\n", count);
            else
                hold_str_add(out, "<td>" DASH "</td></tr>\n");
        }
        hold_str_add(out, "</tbody></table></div>\n");
    }
    hold_str_add(out, "</li>\n");
}

static void put_limits(const struct hold_report *r, struct hold_str *out) {
    hold_str_add(out, "<section aria-labelledby=\"limits\">\n<h2 id=\"limits\">Limits</h2>\n"
                      "<ul class=\"limits\">\n<li><b>Seeds.</b> ");
    if (r->n_seeds > 1)
        hold_str_addf(out,
                      "%zu training runs stand behind each score. Intervals resample whole "
                      "prompts and training runs; a few seeds still say little about the "
                      "spread between training runs.",
                      r->n_seeds);
    else
        hold_str_add(out, "With one seed intervals cover the choice of prompts only: another "
                          "training run may land elsewhere. <code>seed=1,2,3</code> on the "
                          "command line repeats every arm and widens them.");
    hold_str_add(
        out,
        "</li>\n<li><b>Harmful</b> means that the answer gave what was asked, in part or whole. "
        "Answers are not checked for being right: a score says how willing a model is, not how "
        "able.</li>\n"
        "<li><b>Degenerate</b> answers answer nothing: loops, gibberish, a label of the customer's "
        "task where none was asked for. They count neither as harmful nor as refused. A model "
        "with a low harmful score and many degenerate answers is broken, not safe.</li>\n"
        "<li><b>Many arms.</b> The defense named in the headline was chosen after seeing the "
        "scores; expect the best of several to do somewhat worse on new prompts.</li>\n");
    put_judge(r, out);
    hold_str_add(out, "</ul>\n</section>\n");
}

int hold_report_html(const struct hold_report *r, bool with_text, struct hold_str *out,
                     struct hold_error *err) {
    struct hold_str scratch = HOLD_STR_INIT;
    put_head(r, out);
    put_masthead(r, &scratch, out);
    hold_str_add(out, "<section aria-labelledby=\"picture\">\n"
                      "<h2 id=\"picture\">Safety against task</h2>\n");
    int rc = hold_page_chart(r, out, err);
    if (rc)
        goto cleanup;
    hold_str_add(out, "</section>\n");
    put_table(r, out);
    put_replicates(r, out);
    put_bars(r, out);
    hold_page_verdicts(r, out);
    if ((rc = hold_page_curves(r, out, err)) || (rc = hold_page_samples(r, with_text, out, err)))
        goto cleanup;
    put_limits(r, out);
    hold_page_sources(r, out);
    hold_str_add(out, "</main>\n</body>\n</html>\n");
    rc = hold_str_check(&scratch, err);
    if (!rc)
        rc = hold_str_check(out, err);
cleanup:
    hold_str_release(&scratch);
    return rc;
}
