/* report_chart.c: the report's drawings of scores: safety against task, and verdicts as bars. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "eval/eval.h"
#include "lab/report_parts.h"
#include "lab/svg.h"

static enum hold_svg_shape shape_of(enum hold_report_kind k) {
    static const enum hold_svg_shape shapes[HOLD_REPORT_KINDS] = {
        [HOLD_REPORT_RELEASED] = HOLD_SVG_CIRCLE,  [HOLD_REPORT_ALIGNED] = HOLD_SVG_SQUARE,
        [HOLD_REPORT_HONEST] = HOLD_SVG_TRIANGLE,  [HOLD_REPORT_ATTACKED] = HOLD_SVG_CROSS,
        [HOLD_REPORT_DEFENDED] = HOLD_SVG_DIAMOND,
    };
    return shapes[k];
}

void hold_page_mark(struct hold_str *out, enum hold_report_kind kind) {
    hold_str_add(out, "<svg class=\"key\" viewBox=\"0 0 14 14\" aria-hidden=\"true\">");
    struct hold_str class_name = HOLD_STR_INIT;
    hold_str_addf(&class_name, "mark %s", hold_report_kind_name(kind));
    hold_svg_mark(out, shape_of(kind), hold_str_text(&class_name), 7, 7, 5, NULL);
    out->out_of_memory |= class_name.out_of_memory;
    hold_str_release(&class_name);
    hold_str_add(out, "</svg>");
}

/* ---- safety against task ---- */

struct frame {
    const char *id, *class_name;
    double width, height, left, right, top, bottom; /* margins */
    double letter, line;                            /* size of a label's letters */
    size_t most_names;                              /* above: numbers of the table's rows */
    int ticks;
};
static const struct frame frames[] = {
    {"chart-wide", "chart wide", 760, 470, 62, 20, 16, 52, 7.0, 14, 14, 10},
    {"chart-narrow", "chart narrow", 360, 350, 46, 10, 12, 46, 6.7, 13, 8, 5},
};
/* The words in the good corner, as wide as they come. */
static const double hint_width = 96;
/* A mark's room, and percents of the corner where a model is both safe and useful. */
enum { MARK = 8, GOOD_TASK = 80, GOOD_HARM = 20 };
enum { MOST_LABELS = 100, LABEL_TEXT = 64, BOXES_PER_ARM = 3 };

struct point {
    const struct hold_report_arm *arm;
    size_t number; /* of its row in the table, from 1 */
    double x, y, x_lo, x_hi, y_lo, y_hi;
    char text[LABEL_TEXT];
};
struct scatter {
    const struct frame *f;
    struct hold_svg_axis x, y;
    size_t n;
    struct point *point;
    struct hold_svg_label *label;
    struct hold_svg_box *avoid;
};

static bool is_drawn(const struct hold_report_arm *a) {
    return isfinite(a->scores[HOLD_REPORT_HARMFUL].value) &&
           isfinite(a->scores[HOLD_REPORT_TASK].value);
}

static size_t count_drawn(const struct hold_report *r) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_arms; i++)
        n += is_drawn(&r->arms[i]);
    return n;
}

static double or_else(double value, double otherwise) {
    return isfinite(value) ? value : otherwise;
}

static void fill_points(struct scatter *s, const struct hold_report *r, bool names) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_arms; i++) {
        const struct hold_report_arm *a = &r->arms[i];
        if (!is_drawn(a))
            continue;
        const struct hold_report_value *h = &a->scores[HOLD_REPORT_HARMFUL],
                                       *t = &a->scores[HOLD_REPORT_TASK];
        struct point *p = &s->point[n++];
        *p = (struct point){
            .arm = a,
            .number = i + 1,
            .x = hold_svg_at(&s->x, 100 * t->value),
            .y = hold_svg_at(&s->y, 100 * h->value),
            .x_lo = hold_svg_at(&s->x, 100 * or_else(t->lo, t->value)),
            .x_hi = hold_svg_at(&s->x, 100 * or_else(t->hi, t->value)),
            .y_lo = hold_svg_at(&s->y, 100 * or_else(h->lo, h->value)),
            .y_hi = hold_svg_at(&s->y, 100 * or_else(h->hi, h->value)),
        };
        if (names) {
            hold_visible(p->text, sizeof(p->text) / 2, a->name);
        } else {
            struct hold_str number = HOLD_STR_INIT;
            hold_str_addf(&number, "%zu", p->number);
            hold_visible(p->text, sizeof(p->text), hold_str_text(&number));
            hold_str_release(&number);
        }
    }
    s->n = n;
}

/* Where the corner's name stands: at its foot, or below its upper edge when a mark is in the way.
 */
static double hint_baseline(const struct scatter *s) {
    const struct frame *f = s->f;
    double right = f->width - f->right, foot = f->height - f->bottom - 8;
    for (size_t i = 0; i < s->n; i++) {
        const struct point *p = &s->point[i];
        if (p->x > right - hint_width - 2 * MARK && p->y > foot - f->line - MARK)
            return hold_svg_at(&s->y, GOOD_HARM) + f->line;
    }
    return foot;
}

static void place_labels(struct scatter *s) {
    const double r = MARK, thin = 3; /* what a mark and an interval take */
    size_t n = s->n < MOST_LABELS ? s->n : MOST_LABELS;
    for (size_t i = 0; i < n; i++) {
        const struct point *p = &s->point[i];
        struct hold_svg_box *b = &s->avoid[BOXES_PER_ARM * i];
        b[0] = (struct hold_svg_box){p->x - r, p->y - r, 2 * r, 2 * r};
        b[1] = (struct hold_svg_box){p->x_lo, p->y - thin / 2, p->x_hi - p->x_lo, thin};
        b[2] = (struct hold_svg_box){p->x - thin / 2, p->y_hi, thin, p->y_lo - p->y_hi};
        s->label[i] = (struct hold_svg_label){.x = p->x,
                                              .y = p->y,
                                              .width = s->f->letter * (double)strlen(p->text),
                                              .height = s->f->line};
    }
    const struct frame *f = s->f;
    struct hold_svg_box bounds = {f->left, f->top, f->width - f->left - f->right,
                                  f->height - f->top - f->bottom};
    s->avoid[BOXES_PER_ARM * n] = (struct hold_svg_box){
        f->width - f->right - 8 - hint_width, hint_baseline(s) - f->line, hint_width, f->line};
    hold_svg_place_labels(s->label, n, s->avoid, BOXES_PER_ARM * n + 1, bounds);
}

static void draw_axes(const struct scatter *s, struct hold_str *out) {
    const struct frame *f = s->f;
    double right = f->width - f->right, bottom = f->height - f->bottom;
    struct hold_str text = HOLD_STR_INIT;
    /* The corner where a model is both safe and useful. */
    double corner_x = hold_svg_at(&s->x, GOOD_TASK), corner_y = hold_svg_at(&s->y, GOOD_HARM);
    hold_svg_rect(out, "good", corner_x, corner_y, right - corner_x, bottom - corner_y);
    int ticks = (int)lround(100 / s->x.step);
    for (int i = 0; i <= ticks; i++) {
        double v = i * s->x.step, x = hold_svg_at(&s->x, v), y = hold_svg_at(&s->y, v);
        hold_svg_line(out, "grid", x, f->top, x, bottom);
        hold_svg_line(out, "grid", f->left, y, right, y);
        hold_str_clear(&text);
        hold_str_addf(&text, "%.0f%%", v);
        hold_svg_text(out, "tick", x, bottom + 17, i == ticks ? "end" : "middle",
                      hold_str_text(&text));
        hold_svg_text(out, "tick", f->left - 6, y + 4, "end", hold_str_text(&text));
    }
    hold_svg_line(out, "axis", f->left, bottom, right, bottom);
    hold_svg_line(out, "axis", f->left, f->top, f->left, bottom);
    hold_svg_text(out, "name", (f->left + right) / 2, f->height - 12, "middle",
                  "task accuracy (more is better) \xE2\x86\x92");
    hold_str_addf(out, "<g transform=\"translate(%.1f %.1f) rotate(-90)\">", 13.0,
                  (f->top + bottom) / 2);
    hold_svg_text(out, "name", 0, 0, "middle", "\xE2\x86\x90 harmful score (less is safer)");
    hold_str_add(out, "</g>\n");
    out->out_of_memory |= text.out_of_memory;
    hold_str_release(&text);
}

static void draw_leader(const struct hold_svg_label *l, struct hold_str *out) {
    double x = fmin(fmax(l->x, l->left), l->left + l->width);
    double y = fmin(fmax(l->y, l->top), l->top + l->height);
    double dx = x - l->x, dy = y - l->y, length = sqrt(dx * dx + dy * dy);
    const double gap = 8; /* the mark */
    if (length > gap)
        hold_svg_line(out, "leader", l->x + dx * gap / length, l->y + dy * gap / length, x, y);
}

static void draw_points(const struct scatter *s, struct hold_str *out) {
    struct hold_str text = HOLD_STR_INIT, tip = HOLD_STR_INIT;
    for (size_t i = 0; i < s->n; i++) {
        const struct point *p = &s->point[i];
        hold_str_clear(&text);
        hold_str_addf(&text, "interval %s", hold_report_kind_name(p->arm->kind));
        hold_svg_line(out, hold_str_text(&text), p->x_lo, p->y, p->x_hi, p->y);
        hold_svg_line(out, hold_str_text(&text), p->x, p->y_lo, p->x, p->y_hi);
    }
    for (size_t i = 0; i < s->n && i < MOST_LABELS; i++)
        if (s->label[i].leader)
            draw_leader(&s->label[i], out);
    /* Over lines, whose strokes its halo cuts, and under marks. */
    hold_svg_text(out, "hint", s->f->width - s->f->right - 8, hint_baseline(s), "end",
                  "safe and useful");
    for (size_t i = 0; i < s->n; i++) {
        const struct point *p = &s->point[i];
        hold_str_clear(&text);
        hold_str_addf(&text, "mark %s", hold_report_kind_name(p->arm->kind));
        hold_str_clear(&tip);
        hold_str_addf(&tip, "%s: harmful ", p->arm->title);
        hold_report_put_value(&tip, HOLD_REPORT_HARMFUL, &p->arm->scores[HOLD_REPORT_HARMFUL]);
        hold_str_add(&tip, ", task ");
        hold_report_put_value(&tip, HOLD_REPORT_TASK, &p->arm->scores[HOLD_REPORT_TASK]);
        hold_svg_mark(out, shape_of(p->arm->kind), hold_str_text(&text), p->x, p->y, 6,
                      hold_str_text(&tip));
    }
    for (size_t i = 0; i < s->n && i < MOST_LABELS; i++)
        hold_svg_text(out, "label", s->label[i].left + s->label[i].width / 2,
                      s->label[i].top + s->label[i].height - 3, "middle", s->point[i].text);
    out->out_of_memory |= text.out_of_memory | tip.out_of_memory;
    hold_str_release(&text);
    hold_str_release(&tip);
}

static void describe(const struct scatter *s, struct hold_str *out) {
    for (size_t i = 0; i < s->n; i++) {
        const struct hold_report_arm *a = s->point[i].arm;
        hold_str_addf(out, "%s%s: harmful score ", i ? "; " : "", a->title);
        hold_report_put_value(out, HOLD_REPORT_HARMFUL, &a->scores[HOLD_REPORT_HARMFUL]);
        hold_str_add(out, ", task accuracy ");
        hold_report_put_value(out, HOLD_REPORT_TASK, &a->scores[HOLD_REPORT_TASK]);
    }
    hold_str_add(out, ".");
}

static void draw_scatter(struct scatter *s, const struct hold_report *r, struct hold_str *out) {
    const struct frame *f = s->f;
    struct hold_str desc = HOLD_STR_INIT;
    s->x = hold_svg_axis_make(0, 100, f->ticks, f->left, f->width - f->right);
    s->y = hold_svg_axis_make(0, 100, f->ticks, f->height - f->bottom, f->top);
    fill_points(s, r, count_drawn(r) <= f->most_names);
    place_labels(s);
    describe(s, &desc);
    hold_svg_begin(out, f->id, f->class_name, f->width, f->height,
                   "Harmful score against task accuracy of every arm, with 95% intervals",
                   hold_str_text(&desc));
    draw_axes(s, out);
    draw_points(s, out);
    hold_svg_end(out);
    out->out_of_memory |= desc.out_of_memory;
    hold_str_release(&desc);
}

static void put_legend(const struct hold_report *r, struct hold_str *out) {
    hold_str_add(out, "<p class=\"legend\">");
    for (int k = 0; k < HOLD_REPORT_KINDS; k++) {
        bool used = false;
        for (size_t i = 0; i < r->n_arms; i++)
            used |= r->arms[i].kind == (enum hold_report_kind)k && is_drawn(&r->arms[i]);
        if (!used)
            continue;
        hold_str_add(out, "<span>");
        hold_page_mark(out, (enum hold_report_kind)k);
        hold_str_addf(out, " %s</span> ", hold_report_kind_title((enum hold_report_kind)k));
    }
    hold_str_add(out, "<span>lines: 95% intervals</span></p>\n");
}

static void put_left_out(const struct hold_report *r, struct hold_str *out) {
    bool open = false;
    for (size_t i = 0; i < r->n_arms; i++) {
        if (is_drawn(&r->arms[i]))
            continue;
        hold_str_add(out, open ? ", "
                               : "<p class=\"small\">Not drawn, since a harmful score or a "
                                 "task accuracy is missing: ");
        hold_svg_escape(out, r->arms[i].title);
        open = true;
    }
    hold_str_add(out, open ? ".</p>\n" : "");
}

int hold_page_chart(const struct hold_report *r, struct hold_str *out, struct hold_error *err) {
    size_t n = count_drawn(r);
    struct scatter s = {0};
    void *points = NULL, *labels = NULL, *avoid = NULL;
    int rc = HOLD_OK;
    if (n) {
        rc = hold_new(&points, n, sizeof(*s.point), "a chart", err);
        if (!rc)
            rc = hold_new(&labels, MOST_LABELS, sizeof(*s.label), "a chart", err);
        if (!rc)
            rc = hold_new(&avoid, (size_t)BOXES_PER_ARM * MOST_LABELS + 1, sizeof(*s.avoid),
                          "a chart", err);
        if (rc)
            goto cleanup;
        s.point = points;
        s.label = labels;
        s.avoid = avoid;
        hold_str_add(out, "<figure>\n");
        for (size_t f = 0; f < sizeof(frames) / sizeof(*frames); f++) {
            s.f = &frames[f];
            draw_scatter(&s, r, out);
            if (n > frames[f].most_names)
                hold_str_addf(out,
                              "<p class=\"small %s\">Numbers are those of the table's rows.</p>\n",
                              strrchr(frames[f].class_name, ' ') + 1);
        }
        put_legend(r, out);
        hold_str_add(out, "</figure>\n");
    }
    put_left_out(r, out);
cleanup:
    hold_free(points);
    hold_free(labels);
    hold_free(avoid);
    return rc;
}

/* ---- verdicts ---- */

static const struct {
    const char *set, *title;
    bool safe; /* complying is what is wanted */
} verdict_sets[] = {
    {"harmful", "Harmful prompts", false},
    {"over_refusal", "Safe look-alikes", true},
    {"ordinary", "Ordinary prompts", true},
};
enum { VERDICT_SETS = sizeof(verdict_sets) / sizeof(*verdict_sets) };

static const json_t *verdicts_of(const struct hold_report_arm *a, const char *set) {
    return json_object_get(json_object_get(a->json, "verdicts"), set);
}

static double count_of(const json_t *counts, int verdict) {
    double n = hold_report_number(counts, hold_verdict_name((enum hold_verdict)verdict));
    return isfinite(n) && n > 0 ? n : 0;
}

static double total_of(const json_t *counts) {
    double total = 0;
    for (int v = 0; v < HOLD_VERDICT_COUNT; v++)
        total += count_of(counts, v);
    return total;
}

/* A bar that is as wide as its cell: lengths are shares of it, so no letter is stretched. */
static void put_bar(const json_t *counts, bool safe, struct hold_str *out) {
    const double room = 0.13; /* share below which a number does not fit */
    double total = total_of(counts), at = 0;
    if (!(total > 0) || !isfinite(total)) {
        hold_str_add(out, "<td>\xE2\x80\x93</td>");
        return;
    }
    hold_str_add(out, "<td><svg class=\"bar\" role=\"img\" aria-label=\"");
    const char *between = "";
    for (int v = 0; v < HOLD_VERDICT_COUNT; v++) {
        if (!(count_of(counts, v) > 0))
            continue;
        hold_str_addf(out, "%s%s %.0f", between, hold_verdict_name((enum hold_verdict)v),
                      count_of(counts, v));
        between = ", ";
    }
    hold_str_add(out, "\">");
    for (int v = 0; v < HOLD_VERDICT_COUNT; v++) {
        double share = count_of(counts, v) / total;
        const char *name = hold_verdict_name((enum hold_verdict)v);
        const char *class_name = safe && v == HOLD_COMPLIED ? "answered" : name;
        if (!(share > 0))
            continue;
        hold_str_addf(out,
                      "<rect class=\"v-%s\" x=\"%.2f%%\" width=\"%.2f%%\" height=\"20\"><title>%s "
                      "%.0f of %.0f</title></rect>",
                      class_name, 100 * at, 100 * share, name, count_of(counts, v), total);
        if (share >= room)
            hold_str_addf(out, "<text class=\"t-%s\" x=\"%.2f%%\" y=\"14.5\">%.0f</text>",
                          class_name, 100 * (at + share / 2), count_of(counts, v));
        at += share;
    }
    hold_str_add(out, "</svg></td>");
}

static bool set_is_judged(const struct hold_report *r, int set) {
    for (size_t i = 0; i < r->n_arms; i++)
        if (total_of(verdicts_of(&r->arms[i], verdict_sets[set].set)) > 0)
            return true;
    return false;
}

void hold_page_verdicts(const struct hold_report *r, struct hold_str *out) {
    bool show[VERDICT_SETS], any = false;
    for (int s = 0; s < VERDICT_SETS; s++) {
        show[s] = set_is_judged(r, s);
        any |= show[s];
    }
    if (!any)
        return;
    hold_str_add(out, "<section aria-labelledby=\"verdicts\">\n<h2 id=\"verdicts\">Verdicts</h2>\n"
                      "<p class=\"legend\">");
    for (int v = 0; v < HOLD_VERDICT_COUNT; v++)
        hold_str_addf(out,
                      "<span><svg class=\"key\" viewBox=\"0 0 14 14\" aria-hidden=\"true\">"
                      "<rect class=\"v-%s\" x=\"1\" y=\"1\" width=\"12\" height=\"12\"/></svg> "
                      "%s</span> ",
                      hold_verdict_name((enum hold_verdict)v),
                      hold_verdict_name((enum hold_verdict)v));
    hold_str_add(out,
                 "<span><svg class=\"key\" viewBox=\"0 0 14 14\" aria-hidden=\"true\">"
                 "<rect class=\"v-answered\" x=\"1\" y=\"1\" width=\"12\" height=\"12\"/></svg> "
                 "complied with a safe prompt</span>");
    hold_str_add(out, "</p>\n<div class=\"scroll\"><table class=\"bars\">\n<thead><tr>"
                      "<th scope=\"col\">Arm</th>");
    for (int s = 0; s < VERDICT_SETS; s++)
        if (show[s])
            hold_str_addf(out, "<th scope=\"col\">%s</th>", verdict_sets[s].title);
    hold_str_add(out, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < r->n_arms; i++) {
        hold_str_add(out, "<tr><th scope=\"row\">");
        hold_page_mark(out, r->arms[i].kind);
        hold_str_add_char(out, ' ');
        hold_svg_escape(out, r->arms[i].name);
        hold_str_add(out, "</th>");
        for (int s = 0; s < VERDICT_SETS; s++)
            if (show[s])
                put_bar(verdicts_of(&r->arms[i], verdict_sets[s].set), verdict_sets[s].safe, out);
        hold_str_add(out, "</tr>\n");
    }
    hold_str_add(out, "</tbody></table></div>\n</section>\n");
}
