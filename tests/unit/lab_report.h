/* lab_report.h: what the tests of the report share: the sample, a folder of the test's own, texts.
 */
#ifndef HOLD_TESTS_LAB_REPORT_H
#define HOLD_TESTS_LAB_REPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "lab/lab.h"
#include "lab/report_parts.h"

static char root[] = "hold_report_XXXXXX"; /* in the folder the test runs in */

static inline json_t *sample_report(void) {
    struct hold_error err = {0};
    json_t *report = NULL;
    int rc = hold_json_load(&report, HOLD_SOURCE_DIR "/tests/unit/data/report_sample.json", &err);
    if (rc)
        fail_msg("%s", err.text);
    return report;
}

static inline json_t *parse(const char *text) {
    struct hold_error err = {0};
    json_t *json = NULL;
    if (hold_json_parse(&json, text, strlen(text), "test", 1, &err))
        fail_msg("%s", err.text);
    return json;
}

static inline char *folder(const char *name) {
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, root, name);
    return hold_str_take(&path);
}

static inline char *read_text(const char *dir, const char *name) {
    struct hold_error err = {0};
    struct hold_str path = HOLD_STR_INIT, text = HOLD_STR_INIT;
    hold_path_join(&path, dir, name);
    if (hold_file_read(hold_str_text(&path), 0, &text, &err))
        fail_msg("%s", err.text);
    hold_str_release(&path);
    return hold_str_take(&text);
}

static inline bool there_is(const char *dir, const char *name) {
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, dir, name);
    bool found = hold_exists(hold_str_text(&path));
    hold_str_release(&path);
    return found;
}

static inline void write_report(const json_t *report, const char *dir, bool with_text) {
    struct hold_error err = {0};
    if (hold_report_write(report, dir, with_text, &err))
        fail_msg("%s", err.text);
}

/* The page of a report; free with hold_free. */
static inline char *page_of(const json_t *report, const char *name, bool with_text) {
    char *dir = folder(name);
    write_report(report, dir, with_text);
    char *html = read_text(dir, "report.html");
    hold_free(dir);
    return html;
}

static inline char *table_of(const json_t *report) {
    struct hold_error err = {0};
    struct hold_str out = HOLD_STR_INIT;
    if (hold_report_table(report, &out, &err))
        fail_msg("%s", err.text);
    return hold_str_take(&out);
}

static inline void assert_has(const char *text, const char *part) {
    if (!strstr(text, part))
        fail_msg("found no \"%s\"", part);
}

static inline int make_root(void **state) {
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static inline int remove_root(void **state) {
    (void)state;
    struct hold_error err = {0};
    return hold_remove_tree(root, &err);
}

#endif
