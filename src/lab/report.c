/* report.c: the report's files: what may be shown, and all of them at once. */
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "lab/lab.h"
#include "lab/report_parts.h"

/* ---- what may be shown ---- */

static size_t characters(const char *text) {
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static int set_new(json_t *object, const char *key, json_t *value, struct hold_error *err) {
    if (!value || json_object_set_new(object, key, value))
        return hold_fail(err, HOLD_ENOMEMORY, "not enough memory for the report");
    return HOLD_OK;
}

/* In place of a withheld answer stands its length. */
static int withhold_answer(json_t *sample, struct hold_error *err) {
    const char *answer = json_string_value(json_object_get(sample, "answer"));
    if (!answer || hold_report_set_is_open(hold_report_string(sample, "set")))
        return HOLD_OK;
    int rc = set_new(sample, "answer_chars", json_integer((json_int_t)characters(answer)), err);
    if (!rc)
        json_object_del(sample, "answer");
    return rc;
}

/* report.json: a copy without the rows and without what is withheld.  New reference. */
static int make_public(const json_t *report, bool with_text, json_t **out, struct hold_error *err) {
    *out = json_deep_copy(report);
    if (!*out)
        return hold_fail(err, HOLD_ENOMEMORY, "not enough memory for the report");
    json_object_del(*out, "rows");
    json_t *arms = json_object_get(*out, "arms");
    int rc = HOLD_OK;
    for (size_t i = 0; i < json_array_size(arms) && !rc && !with_text; i++) {
        json_t *samples = json_object_get(json_array_get(arms, i), "samples");
        for (size_t j = 0; j < json_array_size(samples) && !rc; j++)
            rc = withhold_answer(json_array_get(samples, j), err);
    }
    return rc;
}

/* Texts that say nothing of a prompt or an answer. */
static bool is_row_key(const char *key) {
    static const char *const keys[] = {"arm",    "seed",          "set",     "index", "id",
                                       "finish", "prompt_sha256", "verdict", "judge", "reason"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static int put_row(const json_t *row, bool with_text, struct hold_str *out,
                   struct hold_error *err) {
    json_t *shown = json_object(), *value;
    const char *key;
    int rc = shown ? HOLD_OK : hold_fail(err, HOLD_ENOMEMORY, "not enough memory for the rows");
    json_t *walk = (json_t *)(uintptr_t)row;
    json_object_foreach(walk, key, value) {
        bool harmless = json_is_number(value) || json_is_boolean(value) || json_is_null(value) ||
                        (is_row_key(key) && json_is_string(value));
        if (!rc && (with_text || harmless))
            rc = set_new(shown, key, json_incref(value), err);
    }
    if (!rc)
        rc = hold_json_line(shown, out, err);
    hold_str_add_char(out, '\n');
    json_decref(shown);
    return rc;
}

static int make_rows(const json_t *rows, bool with_text, struct hold_str *out,
                     struct hold_error *err) {
    int rc = HOLD_OK;
    for (size_t i = 0; i < json_array_size(rows) && !rc; i++) {
        const json_t *row = json_array_get(rows, i);
        if (!json_is_object(row))
            return hold_fail(err, HOLD_EDATA, "report: rows[%zu] is %s, expected an object", i,
                             hold_json_kind(row));
        rc = put_row(row, with_text, out, err);
    }
    return rc ? rc : hold_str_check(out, err);
}

/* ---- all files at once ---- */

enum { ROWS, MARKDOWN, HTML, FILES };
static const char *const file_names[FILES] = {"rows.jsonl", "report.md", "report.html"};

/* Everything is on the disk under temporary names before the first file is put in place, so that a
 * full disk leaves an old report whole. */
static int write_files(const char *dir, const json_t *public, const struct hold_str text[FILES],
                       bool has_rows, struct hold_error *err) {
    struct hold_writer w[FILES] = {{0}};
    struct hold_str path = HOLD_STR_INIT;
    int rc = HOLD_OK;
    for (int f = 0; f < FILES && !rc; f++) {
        if (f == ROWS && !has_rows)
            continue;
        hold_path_join(&path, dir, file_names[f]);
        if (!(rc = hold_str_check(&path, err)) &&
            !(rc = hold_writer_open(&w[f], hold_str_text(&path), err)))
            rc = hold_writer_put(&w[f], hold_str_text(&text[f]), text[f].len, err);
    }
    if (!rc)
        rc = hold_report_mark_folder(dir, err);
    if (!rc) {
        hold_path_join(&path, dir, "report.json");
        rc = hold_str_check(&path, err);
        if (!rc)
            rc = hold_json_save(hold_str_text(&path), public, err);
    }
    for (int f = 0; f < FILES; f++) {
        if (!rc && (f != ROWS || has_rows))
            rc = hold_writer_commit(&w[f], err);
        hold_writer_drop(&w[f]);
    }
    hold_str_release(&path);
    return rc;
}

int hold_report_write(const json_t *report, const char *dir, bool with_text,
                      struct hold_error *err) {
    struct hold_report r = {0};
    struct hold_str text[FILES] = {HOLD_STR_INIT, HOLD_STR_INIT, HOLD_STR_INIT};
    json_t *public = NULL;
    const json_t *rows = json_object_get(report, "rows");
    bool is_new = !hold_exists(dir), made = false;
    int rc;
    if ((rc = hold_report_read(&r, report, err)) ||
        (rc = hold_report_check_folder(dir, NULL, err)) ||
        (rc = make_public(report, with_text, &public, err)) ||
        (rc = make_rows(rows, with_text, &text[ROWS], err)) ||
        (rc = hold_report_markdown(&r, &text[MARKDOWN], err)) ||
        (rc = hold_report_html(&r, with_text, &text[HTML], err)) || (rc = hold_mkdirs(dir, err)))
        goto cleanup;
    made = is_new;
    rc = write_files(dir, public, text, rows != NULL, err);
cleanup:
    if (rc && made)
        rmdir(dir); /* stays when anything is in it */
    for (int f = 0; f < FILES; f++)
        hold_str_release(&text[f]);
    json_decref(public);
    hold_report_release(&r);
    return rc;
}
