/* issues.c: findings about a file, kept in a list or turned into the error of a call. */
#include <stdio.h>

#include "base/mem.h"
#include "data/read.h"

static int make_room(struct hold_issues *s, struct hold_error *err) {
    size_t bytes;
    if (s->n < s->cap)
        return HOLD_OK;
    int64_t cap = s->cap ? 2 * s->cap : 16;
    struct hold_issue *grown = NULL;
    if (hold_mul_size((size_t)cap, sizeof(*grown), &bytes))
        grown = hold_realloc(s->item, bytes);
    if (!grown)
        return hold_fail(err, HOLD_ENOMEMORY, "not enough memory for %lld findings",
                         (long long)cap);
    s->item = grown;
    s->cap = cap;
    return HOLD_OK;
}

int hold_issues_add(struct hold_issues *s, bool error, const char *rule, long line,
                    struct hold_error *err, const char *format, ...) {
    int64_t *count = error ? &s->n_errors : &s->n_warnings;
    if (*count >= HOLD_ISSUES_KEPT) {
        *count += 1;
        return HOLD_OK;
    }
    char raw[HOLD_ERROR_TEXT], shown[HOLD_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    hold_vformat(raw, sizeof(raw), format, args);
    va_end(args);
    hold_visible(shown, sizeof(shown), raw);
    int status = make_room(s, err);
    if (status)
        return status;
    char *text = hold_strdup(shown);
    if (!text)
        return hold_fail(err, HOLD_ENOMEMORY, "not enough memory for a finding");
    s->item[s->n++] = (struct hold_issue){error, line, text, rule};
    *count += 1;
    return HOLD_OK;
}

void hold_issues_release(struct hold_issues *s) {
    for (int64_t i = 0; i < s->n; i++)
        hold_free(s->item[i].text);
    hold_free(s->item);
    *s = (struct hold_issues){0};
}

static int fault(const char *path, struct hold_issues *issues, const char *rule, long line,
                 long column, const char *text, struct hold_error *err) {
    char column_text[24] = "";
    if (column > 0)
        snprintf(column_text, sizeof(column_text), ":%ld", column);
    if (issues)
        return hold_issues_add(issues, true, rule, line, err, "%s:%ld%s: error: %s", path, line,
                               column_text, text);
    return hold_fail(err, HOLD_EDATA, "%s:%ld%s: error: %s", path, line, column_text, text);
}

int hold_rows_fault(const struct hold_rows *rows, struct hold_issues *issues, const char *rule,
                    long line, long column, const char *text, struct hold_error *err) {
    return fault(rows->path ? rows->path : "rows", issues, rule, line, column, text, err);
}

int hold_row_fault(const struct hold_row *row, struct hold_issues *issues, const char *rule,
                   const char *text, struct hold_error *err) {
    return fault(hold_row_file(row), issues, rule, row->line, 0, text, err);
}
