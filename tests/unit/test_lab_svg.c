/* test_lab_svg.c: the report's drawings: escapes, axes, shapes and labels that keep clear. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lab/svg.h"

static void test_svg_escape(void **state) {
    (void)state;
    struct hold_str out = HOLD_STR_INIT;
    hold_svg_escape(&out, "a\xC3\xA4\xF0\x9F\x98\x80\xFF\xC3(\xED\xA0\x80\xF5");
    assert_string_equal(
        hold_str_text(&out),
        "a\xC3\xA4\xF0\x9F\x98\x80&#xFFFD;&#xFFFD;(&#xFFFD;&#xFFFD;&#xFFFD;&#xFFFD;");
    hold_str_clear(&out);
    hold_svg_escape(&out, "cut \xE2\x80"); /* ends inside a sequence */
    assert_string_equal(hold_str_text(&out), "cut &#xFFFD;&#xFFFD;");
    hold_str_release(&out);
}

/* ---- drawings ---- */

static void test_axis(void **state) {
    (void)state;
    struct hold_svg_axis a = hold_svg_axis_make(0, 100, 10, 0, 500);
    assert_true(fabs(a.lo) < 1e-9 && fabs(a.hi - 100) < 1e-9 && fabs(a.step - 10) < 1e-9);
    assert_true(fabs(hold_svg_at(&a, 50) - 250) < 1e-9);
    assert_true(fabs(hold_svg_at(&a, 1e9) - 500) < 1e-9); /* kept on the axis */
    a = hold_svg_axis_make(0.13, 2.61, 4, 0, 100);
    assert_true(fabs(a.lo) < 1e-9 && fabs(a.hi - 3) < 1e-9 && fabs(a.step - 1) < 1e-9);
    static const double odd[][2] = {{NAN, NAN}, {INFINITY, -INFINITY}, {5, 5}, {-1e308, 1e308},
                                    {3, -3},    {1e-300, 2e-300}};
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
        a = hold_svg_axis_make(odd[i][0], odd[i][1], 5, 0, 100);
        assert_true(isfinite(a.lo) && isfinite(a.hi) && a.hi > a.lo && a.step > 0);
        assert_true(isfinite(hold_svg_at(&a, odd[i][0] > 0 ? odd[i][0] : 0)));
    }
}

/* Ten arms on nearly one point: no label stands on another, and all are inside. */
static void test_labels_keep_clear(void **state) {
    (void)state;
    struct hold_svg_label labels[10];
    struct hold_svg_box bounds = {0, 0, 760, 470};
    for (int i = 0; i < 10; i++)
        labels[i] = (struct hold_svg_label){
            .x = 700 + i % 3, .y = 30 + 2 * (i % 4), .width = 70, .height = 14};
    hold_svg_place_labels(labels, 10, NULL, 0, bounds);
    for (int i = 0; i < 10; i++) {
        assert_true(labels[i].left >= 0 && labels[i].left + 70 <= 760);
        assert_true(labels[i].top >= 0 && labels[i].top + 14 <= 470);
        for (int j = 0; j < i; j++) {
            double dx = fabs(labels[i].left - labels[j].left);
            double dy = fabs(labels[i].top - labels[j].top);
            assert_true(dx >= 70 || dy >= 14);
        }
    }
}

/* A drawing has a name and a description, and its numbers are plain. */
static void test_shapes(void **state) {
    (void)state;
    struct hold_str out = HOLD_STR_INIT;
    const double points[] = {0, 1, 2.25, 3};
    hold_svg_begin(&out, "id", "chart", 10, 20, "a < b", "\"c\"");
    hold_svg_path(&out, "line", points, 2);
    hold_svg_path(&out, "none", points, 0);
    hold_svg_text(&out, "t", 1, 2, "end", "x & y");
    hold_svg_mark(&out, HOLD_SVG_CIRCLE, "mark", 1, 2, 3, "tip <");
    hold_svg_end(&out);
    assert_string_equal(
        hold_str_text(&out),
        "<svg class=\"chart\" viewBox=\"0 0 10 20\" role=\"img\" "
        "aria-labelledby=\"id-t id-d\">\n<title id=\"id-t\">a &lt; b</title>\n"
        "<desc id=\"id-d\">&quot;c&quot;</desc>\n"
        "<polyline class=\"line\" points=\"0.0,1.0 2.2,3.0\"/>\n"
        "<text class=\"t\" x=\"1.0\" y=\"2.0\" text-anchor=\"end\">x &amp; y</text>\n"
        "<g class=\"mark\"><title>tip &lt;</title>"
        "<circle cx=\"1.0\" cy=\"2.0\" r=\"3.0\"/></g>\n</svg>\n");
    hold_str_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_svg_escape),
        cmocka_unit_test(test_axis),
        cmocka_unit_test(test_labels_keep_clear),
        cmocka_unit_test(test_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
