/* svg.h: drawings as text: a handful of shapes, axes with round ticks, and labels that keep clear
 * of each other.
 *
 * Everything appends to a hold_str.  Coordinates are CSS pixels, y grows downwards.  Colours come
 * from the page's style sheet by class, so that a drawing follows dark mode.
 */
#ifndef HOLD_LAB_SVG_H
#define HOLD_LAB_SVG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

/* Text for HTML, SVG and double-quoted attributes: markup characters become entities, control
 * characters and bytes that are not UTF-8 become visible signs. */
void hold_svg_escape(struct hold_str *out, const char *text);

/* Open a drawing with its accessible name and description; `id` must be unique in the page. */
void hold_svg_begin(struct hold_str *out, const char *id, const char *class_name, double width,
                    double height, const char *title, const char *desc);
void hold_svg_end(struct hold_str *out);
void hold_svg_line(struct hold_str *out, const char *class_name, double x1, double y1, double x2,
                   double y2);
void hold_svg_rect(struct hold_str *out, const char *class_name, double x, double y, double width,
                   double height);
/* anchor: "start", "middle" or "end". */
void hold_svg_text(struct hold_str *out, const char *class_name, double x, double y,
                   const char *anchor, const char *text);
/* points: n pairs of x and y. */
void hold_svg_path(struct hold_str *out, const char *class_name, const double *points, size_t n);

enum hold_svg_shape {
    HOLD_SVG_CIRCLE,
    HOLD_SVG_SQUARE,
    HOLD_SVG_TRIANGLE,
    HOLD_SVG_CROSS,
    HOLD_SVG_DIAMOND
};
/* A mark of about 2r across; title (may be NULL) is its tooltip and accessible name. */
void hold_svg_mark(struct hold_str *out, enum hold_svg_shape shape, const char *class_name,
                   double x, double y, double r, const char *title);

/* An axis from lo to hi with ticks at multiples of step: 1, 2 or 5 times a power of ten. */
struct hold_svg_axis {
    double lo, hi, step;
    double from, to; /* pixels of lo and hi */
};
/* Covers lo..hi (widened when empty or not finite) with at most max_ticks steps. */
struct hold_svg_axis hold_svg_axis_make(double lo, double hi, int max_ticks, double from,
                                        double to);
double hold_svg_at(const struct hold_svg_axis *axis, double value); /* pixel, kept on the axis */

struct hold_svg_box {
    double x, y, width, height;
};
struct hold_svg_label {
    double x, y;          /* the point it belongs to */
    double width, height; /* of its text */
    double left, top;     /* out: where it stands */
    bool leader;          /* out: far enough from its point to need a line to it */
};
/* Find places for n labels inside `bounds`, away from each other and from n_avoid boxes (marks,
 * intervals).  O(n (n + n_avoid)); every label gets the best place there is. */
void hold_svg_place_labels(struct hold_svg_label *labels, size_t n,
                           const struct hold_svg_box *avoid, size_t n_avoid,
                           struct hold_svg_box bounds);

#endif
