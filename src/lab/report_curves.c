/* report_curves.c: training curves as small multiples: loss, beside it that of evaluation rows, and
 * the safety probe. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "lab/report_parts.h"
#include "lab/svg.h"

/* A panel shows one stage of one arm: a line for each seed.  The same training in several arms (a
 * stage is made once) is drawn once. */
enum { MOST_POINTS = 240, SMOOTH_OVER = 15, TITLE_TEXT = 160 };

struct panel {
    const struct hold_report_arm *arm;
    const char *stage;
    size_t shared; /* further arms with the same curves */
};
struct plot {
    const char *key, *id, *heading, *what;
    const char *beside, *what_beside; /* a second list in the same panel; NULL: none */
    bool share;
    double width, height, left, right, top, bottom;
};
static const struct plot plots[] = {
    {"loss", "loss", "Training loss",
     "Thin: each step. Thick: running mean. All panels of a stage share one scale.", "eval_loss",
     " Dots: loss of the evaluation rows, which are not trained on.", false, 260, 150, 36, 10, 10,
     26},
    {"safety", "probe", "Safety probe",
     "Harmful score on a few held-out prompts while training; a probe is small, so its steps are "
     "coarse.",
     NULL, NULL, true, 260, 150, 36, 10, 10, 26},
};
static const char *const stages[] = {"align", "tune"};

static const json_t *curves_of(const struct hold_report_arm *a) {
    return json_object_get(a->json, "curves");
}

static bool get_point(const json_t *list, size_t i, double *step, double *value) {
    const json_t *pair = json_array_get(list, i), *x = json_array_get(pair, 0),
                 *y = json_array_get(pair, 1);
    if (!json_is_number(x) || !json_is_number(y))
        return false;
    *step = json_number_value(x);
    *value = json_number_value(y);
    return isfinite(*step) && isfinite(*value);
}

static bool has_stage(const struct hold_report_arm *a, const char *stage, const char *key) {
    const json_t *curves = curves_of(a);
    double step, value;
    for (size_t i = 0; i < json_array_size(curves); i++) {
        const json_t *c = json_array_get(curves, i), *list = json_object_get(c, key);
        if (strcmp(hold_report_string(c, "stage"), stage) != 0)
            continue;
        for (size_t j = 0; j < json_array_size(list); j++)
            if (get_point(list, j, &step, &value))
                return true;
    }
    return false;
}

/* The same stage id, or, where ids are not said, never. */
static bool same_training(const struct hold_report_arm *a, const struct hold_report_arm *b,
                          const char *stage) {
    json_t *x = json_object_get(json_object_get(a->json, "stages"), stage);
    json_t *y = json_object_get(json_object_get(b->json, "stages"), stage);
    return x && y && json_equal(x, y);
}

static size_t find_panels(const struct hold_report *r, const char *stage, const char *key,
                          struct panel *panels) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_arms; i++) {
        const struct hold_report_arm *a = &r->arms[i];
        if (!has_stage(a, stage, key))
            continue;
        size_t known = 0;
        while (known < n && !same_training(panels[known].arm, a, stage))
            known++;
        if (known < n)
            panels[known].shared++;
        else
            panels[n++] = (struct panel){.arm = a, .stage = stage};
    }
    return n;
}

/* Widen the range by all lines of a list. */
static void find_range(const struct panel *panels, size_t n, const char *key, double range[4]) {
    for (size_t p = 0; p < n; p++) {
        const json_t *curves = curves_of(panels[p].arm);
        for (size_t i = 0; i < json_array_size(curves); i++) {
            const json_t *c = json_array_get(curves, i), *list = json_object_get(c, key);
            if (strcmp(hold_report_string(c, "stage"), panels[p].stage) != 0)
                continue;
            double x, y;
            for (size_t j = 0; j < json_array_size(list); j++) {
                if (!get_point(list, j, &x, &y))
                    continue;
                range[0] = fmin(range[0], x);
                range[1] = fmax(range[1], x);
                range[2] = fmin(range[2], y);
                range[3] = fmax(range[3], y);
            }
        }
    }
}

/* One list as at most MOST_POINTS points, each the mean of as many neighbours as needed. */
static size_t thin_out(const json_t *list, double *steps, double *values) {
    size_t all = json_array_size(list), n = 0;
    size_t each = (all + MOST_POINTS - 1) / MOST_POINTS;
    for (size_t i = 0; i < all && n < MOST_POINTS; i += each) {
        double sum_x = 0, sum_y = 0, x, y;
        size_t count = 0;
        for (size_t j = i; j < i + each && j < all; j++) {
            if (!get_point(list, j, &x, &y))
                continue;
            sum_x += x;
            sum_y += y;
            count++;
        }
        if (!count)
            continue;
        steps[n] = sum_x / (double)count;
        values[n++] = sum_y / (double)count;
    }
    return n;
}

static void smooth(const double *values, double *out, size_t n) {
    size_t half = SMOOTH_OVER / 2;
    for (size_t i = 0; i < n; i++) {
        size_t first = i > half ? i - half : 0, last = i + half < n ? i + half : n - 1;
        double sum = 0;
        for (size_t j = first; j <= last; j++)
            sum += values[j];
        out[i] = sum / (double)(last - first + 1);
    }
}

static void draw_line(const struct hold_svg_axis *x, const struct hold_svg_axis *y,
                      const double *steps, const double *values, size_t n, const char *class_name,
                      struct hold_str *out) {
    double points[2 * MOST_POINTS];
    for (size_t i = 0; i < n; i++) {
        points[2 * i] = hold_svg_at(x, steps[i]);
        points[2 * i + 1] = hold_svg_at(y, values[i]);
    }
    hold_svg_path(out, class_name, points, n);
}

static void draw_dots(const struct hold_svg_axis *x, const struct hold_svg_axis *y,
                      const double *steps, const double *values, size_t n, const char *kind,
                      struct hold_str *out) {
    for (size_t i = 0; i < n; i++)
        hold_str_addf(out, "<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.2\"/>\n", kind,
                      hold_svg_at(x, steps[i]), hold_svg_at(y, values[i]));
}

/* What was taken now and then: dots, and a thin line between them. */
static void draw_beside(const json_t *list, const struct hold_svg_axis *x,
                        const struct hold_svg_axis *y, struct hold_str *out) {
    double steps[MOST_POINTS] = {0}, values[MOST_POINTS] = {0};
    size_t n = thin_out(list, steps, values);
    if (n > 0) {
        draw_line(x, y, steps, values, n, "curve held", out);
        draw_dots(x, y, steps, values, n, "held", out);
    }
}

static void draw_curve(const struct plot *plot, const json_t *list, const struct hold_svg_axis *x,
                       const struct hold_svg_axis *y, const char *kind, struct hold_str *out) {
    double steps[MOST_POINTS] = {0}, values[MOST_POINTS] = {0}, mean[MOST_POINTS];
    struct hold_str name = HOLD_STR_INIT;
    size_t n = thin_out(list, steps, values);
    hold_str_addf(&name, "curve %s", kind);
    if (plot->share) {
        draw_line(x, y, steps, values, n, hold_str_text(&name), out);
        draw_dots(x, y, steps, values, n, kind, out);
    } else {
        smooth(values, mean, n);
        draw_line(x, y, steps, values, n, "raw", out);
        draw_line(x, y, steps, mean, n, hold_str_text(&name), out);
    }
    out->out_of_memory |= name.out_of_memory;
    hold_str_release(&name);
}

static void draw_axes(const struct plot *plot, const struct hold_svg_axis *x,
                      const struct hold_svg_axis *y, struct hold_str *out) {
    struct hold_str text = HOLD_STR_INIT;
    int rows = (int)lround((y->hi - y->lo) / y->step);
    for (int i = 0; i <= rows; i++) {
        double v = y->lo + i * y->step, at = hold_svg_at(y, v);
        hold_svg_line(out, "grid", plot->left, at, plot->width - plot->right, at);
        hold_str_clear(&text);
        if (plot->share)
            hold_str_addf(&text, "%.0f%%", 100 * v);
        else
            hold_str_addf(&text, "%g", fabs(v) < y->step / 2 ? 0.0 : v);
        hold_svg_text(out, "tick", plot->left - 5, at + 4, "end", hold_str_text(&text));
    }
    /* Round steps as far as they leave room for the last one, which ends the axis. */
    int columns = (int)floor(0.75 * (x->hi - x->lo) / x->step);
    for (int i = 0; i <= columns; i++) {
        double v = x->lo + i * x->step;
        hold_str_clear(&text);
        hold_str_addf(&text, "%g", fabs(v) < x->step / 2 ? 0.0 : v);
        hold_svg_text(out, "tick", hold_svg_at(x, v), plot->height - 8, "middle",
                      hold_str_text(&text));
    }
    hold_str_clear(&text);
    hold_str_addf(&text, "step %g", x->hi);
    hold_svg_text(out, "tick", plot->width - 2, plot->height - 8, "end", hold_str_text(&text));
    hold_svg_line(out, "axis", plot->left, plot->height - plot->bottom, plot->width - plot->right,
                  plot->height - plot->bottom);
    out->out_of_memory |= text.out_of_memory;
    hold_str_release(&text);
}

/* First and last point of the first curve, for those who do not see the drawing. */
static void describe(const struct panel *p, const struct plot *plot, const char *key,
                     struct hold_str *out) {
    const json_t *curves = curves_of(p->arm);
    size_t lines = 0;
    for (size_t i = 0; i < json_array_size(curves); i++) {
        const json_t *c = json_array_get(curves, i), *list = json_object_get(c, key);
        size_t n = json_array_size(list);
        double x0, y0, x1, y1;
        if (strcmp(hold_report_string(c, "stage"), p->stage) != 0 || !n)
            continue;
        if (!lines && get_point(list, 0, &x0, &y0) && get_point(list, n - 1, &x1, &y1)) {
            double scale = plot->share ? 100 : 1;
            hold_str_addf(out, "From %.3g%s at step %.0f to %.3g%s at step %.0f", scale * y0,
                          plot->share ? "%" : "", x0, scale * y1, plot->share ? "%" : "", x1);
        }
        lines++;
    }
    if (lines > 1)
        hold_str_addf(out, " (first of %zu seeds)", lines);
    hold_str_add(out, ".");
}

static void draw_panel(const struct plot *plot, const struct panel *p, size_t number,
                       const double range[4], struct hold_str *out) {
    struct hold_str id = HOLD_STR_INIT, title = HOLD_STR_INIT, desc = HOLD_STR_INIT;
    struct hold_svg_axis x =
        hold_svg_axis_make(fmin(range[0], 0), range[1], 4, plot->left, plot->width - plot->right);
    struct hold_svg_axis y =
        plot->share ? hold_svg_axis_make(0, 1, 4, plot->height - plot->bottom, plot->top)
                    : hold_svg_axis_make(fmin(range[2], 0), range[3], 4,
                                         plot->height - plot->bottom, plot->top);
    const char *kind =
        strcmp(p->stage, "align") == 0 ? "aligned" : hold_report_kind_name(p->arm->kind);
    if (range[1] > x.lo)
        x.hi = range[1]; /* the last step is the right edge */
    hold_str_addf(&id, "%s-%s-%zu", plot->id, p->stage, number);
    hold_str_addf(&title, "%s of %s while %s", plot->heading, p->arm->title,
                  strcmp(p->stage, "align") == 0 ? "aligning" : "tuning");
    describe(p, plot, plot->key, &desc);
    if (plot->beside != NULL && has_stage(p->arm, p->stage, plot->beside)) {
        hold_str_add(&desc, " Evaluation rows: ");
        describe(p, plot, plot->beside, &desc);
    }
    hold_str_add(out, "<figure class=\"panel\"><figcaption>");
    hold_svg_escape(out, p->arm->name);
    if (p->shared)
        hold_str_addf(out, " <small>and %zu more</small>", p->shared);
    hold_str_add(out, "</figcaption>\n");
    hold_svg_begin(out, hold_str_text(&id), "small-chart", plot->width, plot->height,
                   hold_str_text(&title), hold_str_text(&desc));
    draw_axes(plot, &x, &y, out);
    const json_t *curves = curves_of(p->arm);
    for (size_t i = 0; i < json_array_size(curves); i++) {
        const json_t *c = json_array_get(curves, i);
        if (strcmp(hold_report_string(c, "stage"), p->stage) != 0)
            continue;
        draw_curve(plot, json_object_get(c, plot->key), &x, &y, kind, out);
        if (plot->beside != NULL)
            draw_beside(json_object_get(c, plot->beside), &x, &y, out);
    }
    hold_svg_end(out);
    hold_str_add(out, "</figure>\n");
    out->out_of_memory |= id.out_of_memory | title.out_of_memory | desc.out_of_memory;
    hold_str_release(&id);
    hold_str_release(&title);
    hold_str_release(&desc);
}

static bool is_anywhere(const struct hold_report *r, const char *key) {
    for (size_t i = 0; key != NULL && i < r->n_arms; i++)
        for (size_t s = 0; s < sizeof(stages) / sizeof(*stages); s++)
            if (has_stage(&r->arms[i], stages[s], key))
                return true;
    return false;
}

static bool draw_plot(const struct hold_report *r, const struct plot *plot, struct panel *panels,
                      struct hold_str *out) {
    bool open = false;
    for (size_t s = 0; s < sizeof(stages) / sizeof(*stages); s++) {
        size_t n = find_panels(r, stages[s], plot->key, panels);
        if (!n)
            continue;
        if (!open)
            hold_str_addf(out, "<h3>%s</h3>\n<p class=\"small\">%s%s</p>\n", plot->heading,
                          plot->what, is_anywhere(r, plot->beside) ? plot->what_beside : "");
        open = true;
        double range[4] = {INFINITY, -INFINITY, INFINITY, -INFINITY};
        find_range(panels, n, plot->key, range);
        if (plot->beside != NULL)
            find_range(panels, n, plot->beside, range);
        hold_str_addf(out, "<h4>%s</h4>\n<div class=\"panels\">\n",
                      s == 0 ? "While aligning" : "While tuning for the customer");
        for (size_t p = 0; p < n; p++)
            draw_panel(plot, &panels[p], p, range, out);
        hold_str_add(out, "</div>\n");
    }
    return open;
}

int hold_page_curves(const struct hold_report *r, struct hold_str *out, struct hold_error *err) {
    void *panels = NULL;
    int rc =
        hold_new(&panels, r->n_arms ? r->n_arms : 1, sizeof(struct panel), "training curves", err);
    if (rc)
        return rc;
    size_t start = out->len;
    bool any = false;
    hold_str_add(out,
                 "<section aria-labelledby=\"training\">\n<h2 id=\"training\">Training</h2>\n");
    for (size_t p = 0; p < sizeof(plots) / sizeof(*plots); p++)
        any |= draw_plot(r, &plots[p], panels, out);
    hold_str_add(out, "</section>\n");
    if (!any && !out->out_of_memory)
        hold_str_cut(out, start);
    hold_free(panels);
    return rc;
}
