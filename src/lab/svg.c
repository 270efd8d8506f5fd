/* svg.c: shapes, axes and label placement for the report's drawings. */
#include "lab/svg.h"

#include <math.h>
#include <string.h>

/* ---- text ---- */

/* Length of the UTF-8 sequence at p, 0 when it is none. */
static size_t sequence_length(const unsigned char *p) {
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (p[0] > 0xF4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return n > 1 && hold_utf8_check(p, n) >= 0 ? 0 : n;
}

static const char *entity(unsigned char c) {
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

/* Characters that reorder the text around them would let an answer disguise itself. */
static bool is_direction_mark(const unsigned char *p) {
    if (p[0] == 0xE2 && p[1] == 0x80)
        return p[2] >= 0xAA && p[2] <= 0xAE;                             /* U+202A..202E */
    return p[0] == 0xE2 && p[1] == 0x81 && p[2] >= 0xA6 && p[2] <= 0xA9; /* U+2066..2069 */
}

static void escape_sequence(struct hold_str *out, const unsigned char *p, size_t n) {
    if (n == 1) {
        const char *name = entity(p[0]);
        if (name)
            hold_str_add(out, name);
        else if (p[0] == 0x7F)
            hold_str_add(out, "&#x2421;");
        else if (p[0] < 0x20 && p[0] != '\n' && p[0] != '\t')
            hold_str_addf(out, "&#x%X;", 0x2400U + p[0]); /* the picture of the control */
        else
            hold_str_add_char(out, (char)p[0]);
    } else if ((p[0] == 0xC2 && p[1] < 0xA0) || is_direction_mark(p)) {
        hold_str_add(out, "&#xFFFD;");
    } else {
        hold_str_add_bytes(out, p, n);
    }
}

void hold_svg_escape(struct hold_str *out, const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    while (*p) {
        size_t n = sequence_length(p);
        if (n)
            escape_sequence(out, p, n);
        else
            hold_str_add(out, "&#xFFFD;");
        p += n ? n : 1;
    }
}

/* ---- shapes ---- */

void hold_svg_begin(struct hold_str *out, const char *id, const char *class_name, double width,
                    double height, const char *title, const char *desc) {
    hold_str_addf(out,
                  "<svg class=\"%s\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
                  "aria-labelledby=\"%s-t %s-d\">\n<title id=\"%s-t\">",
                  class_name, width, height, id, id, id);
    hold_svg_escape(out, title);
    hold_str_addf(out, "</title>\n<desc id=\"%s-d\">", id);
    hold_svg_escape(out, desc);
    hold_str_add(out, "</desc>\n");
}

void hold_svg_end(struct hold_str *out) {
    hold_str_add(out, "</svg>\n");
}

void hold_svg_line(struct hold_str *out, const char *class_name, double x1, double y1, double x2,
                   double y2) {
    hold_str_addf(out, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
                  class_name, x1, y1, x2, y2);
}

void hold_svg_rect(struct hold_str *out, const char *class_name, double x, double y, double width,
                   double height) {
    hold_str_addf(out,
                  "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
                  class_name, x, y, width, height);
}

void hold_svg_text(struct hold_str *out, const char *class_name, double x, double y,
                   const char *anchor, const char *text) {
    hold_str_addf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", class_name,
                  x, y, anchor);
    hold_svg_escape(out, text);
    hold_str_add(out, "</text>\n");
}

void hold_svg_path(struct hold_str *out, const char *class_name, const double *points, size_t n) {
    if (n == 0)
        return;
    hold_str_addf(out, "<polyline class=\"%s\" points=\"", class_name);
    for (size_t i = 0; i < n; i++)
        hold_str_addf(out, i ? " %.1f,%.1f" : "%.1f,%.1f", points[2 * i], points[2 * i + 1]);
    hold_str_add(out, "\"/>\n");
}

void hold_svg_mark(struct hold_str *out, enum hold_svg_shape shape, const char *class_name,
                   double x, double y, double r, const char *title) {
    hold_str_addf(out, "<g class=\"%s\">", class_name);
    if (title) {
        hold_str_add(out, "<title>");
        hold_svg_escape(out, title);
        hold_str_add(out, "</title>");
    }
    double s = r * 0.9, d = r * 1.25, h = r * 0.95;
    switch (shape) {
    case HOLD_SVG_CIRCLE:
        hold_str_addf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"/>", x, y, r);
        break;
    case HOLD_SVG_SQUARE:
        hold_str_addf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", x - s,
                      y - s, 2 * s, 2 * s);
        break;
    case HOLD_SVG_TRIANGLE:
        hold_str_addf(out, "<path d=\"M%.1f %.1fL%.1f %.1fL%.1f %.1fZ\"/>", x, y - d, x + d, y + h,
                      x - d, y + h);
        break;
    case HOLD_SVG_CROSS:
        hold_str_addf(out,
                      "<path class=\"stroke\" d=\"M%.1f %.1fL%.1f %.1fM%.1f %.1fL%.1f %.1f\"/>",
                      x - s, y - s, x + s, y + s, x - s, y + s, x + s, y - s);
        break;
    case HOLD_SVG_DIAMOND:
        hold_str_addf(out, "<path d=\"M%.1f %.1fL%.1f %.1fL%.1f %.1fL%.1f %.1fZ\"/>", x, y - d,
                      x + d, y, x, y + d, x - d, y);
        break;
    }
    hold_str_add(out, "</g>\n");
}

/* ---- axes ---- */

struct hold_svg_axis hold_svg_axis_make(double lo, double hi, int max_ticks, double from,
                                        double to) {
    /* Beyond this the arithmetic of ticks itself would overflow; no score comes near. */
    const double huge = 1e300;
    if (!isfinite(lo) || fabs(lo) > huge)
        lo = 0;
    if (!isfinite(hi) || fabs(hi) > huge || hi <= lo)
        hi = lo + (fabs(lo) > 1 ? fabs(lo) : 1);
    double rough = (hi - lo) / max_ticks;
    double power = pow(10, floor(log10(rough)));
    double parts = rough / power;
    double step = (parts <= 1 ? 1 : parts <= 2 ? 2 : parts <= 5 ? 5 : 10) * power;
    return (struct hold_svg_axis){.lo = floor(lo / step + 1e-9) * step,
                                  .hi = ceil(hi / step - 1e-9) * step,
                                  .step = step,
                                  .from = from,
                                  .to = to};
}

double hold_svg_at(const struct hold_svg_axis *axis, double value) {
    double part = (value - axis->lo) / (axis->hi - axis->lo);
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    return axis->from + part * (axis->to - axis->from);
}

/* ---- labels ---- */

enum { ANGLES = 16, DISTANCES = 9, PASSES = 3 };
static const double distances[DISTANCES] = {9, 16, 26, 38, 52, 70, 92, 118, 150};
/* What a square pixel of overlap costs against a pixel of distance. */
static const double over_label = 6, over_avoid = 1.5, per_distance = 1;

static double overlap(const struct hold_svg_box *a, const struct hold_svg_box *b) {
    double w = fmin(a->x + a->width, b->x + b->width) - fmax(a->x, b->x);
    double h = fmin(a->y + a->height, b->y + b->height) - fmax(a->y, b->y);
    return w > 0 && h > 0 ? w * h : 0;
}

static struct hold_svg_box label_box(const struct hold_svg_label *l) {
    const double air = 2; /* around the letters */
    return (struct hold_svg_box){l->left - air, l->top - air / 2, l->width + 2 * air,
                                 l->height + air};
}

/* Put the label so that its box touches the circle of `distance` around the point. */
static void try_place(struct hold_svg_label *l, int angle, double distance) {
    double turn = 2 * acos(-1.0) * angle / ANGLES;
    double dx = cos(turn), dy = sin(turn);
    double cx = l->x + dx * (distance + l->width / 2);
    double cy = l->y + dy * (distance + l->height / 2);
    l->left = cx - l->width / 2;
    l->top = cy - l->height / 2;
}

static double place_cost(const struct hold_svg_label *labels, size_t n, size_t self, size_t placed,
                         const struct hold_svg_box *avoid, size_t n_avoid,
                         struct hold_svg_box bounds) {
    struct hold_svg_box box = label_box(&labels[self]);
    if (box.x < bounds.x || box.y < bounds.y || box.x + box.width > bounds.x + bounds.width ||
        box.y + box.height > bounds.y + bounds.height)
        return INFINITY;
    double cost = 0;
    for (size_t i = 0; i < n && i < placed; i++) {
        if (i == self)
            continue;
        struct hold_svg_box other = label_box(&labels[i]);
        cost += over_label * overlap(&box, &other);
    }
    for (size_t i = 0; i < n_avoid; i++)
        cost += over_avoid * overlap(&box, &avoid[i]);
    return cost;
}

static void place_one(struct hold_svg_label *labels, size_t n, size_t self, size_t placed,
                      const struct hold_svg_box *avoid, size_t n_avoid,
                      struct hold_svg_box bounds) {
    struct hold_svg_label *l = &labels[self], best = *l;
    double best_cost = INFINITY;
    for (int d = 0; d < DISTANCES; d++) {
        for (int a = 0; a < ANGLES; a++) {
            try_place(l, a, distances[d]);
            double cost = place_cost(labels, n, self, placed, avoid, n_avoid, bounds) +
                          per_distance * (distances[d] - distances[0]);
            if (cost < best_cost) {
                best_cost = cost;
                best = *l;
                best.leader = d > 1;
            }
        }
    }
    if (!isfinite(best_cost)) { /* wider than the drawing: as far left as can be */
        best.left = fmax(bounds.x, fmin(l->x, bounds.x + bounds.width - l->width));
        best.top = fmax(bounds.y, fmin(l->y, bounds.y + bounds.height - l->height));
        best.leader = false;
    }
    *l = best;
}

void hold_svg_place_labels(struct hold_svg_label *labels, size_t n,
                           const struct hold_svg_box *avoid, size_t n_avoid,
                           struct hold_svg_box bounds) {
    for (int pass = 0; pass < PASSES; pass++)
        for (size_t i = 0; i < n; i++)
            place_one(labels, n, i, pass ? n : i, avoid, n_avoid, bounds);
}
