/* rows.c: rows of one file or several, and counts in words. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* `from` behind `to`; from is used up. */
static int append(struct hold_rows *to, struct hold_rows *from, struct hold_error *err) {
    int rc = HOLD_OK;
    for (int64_t i = 0; rc == HOLD_OK && i < from->n; i++)
        rc = hold_rows_add(to, from->row[i].data, from->row[i].line, NULL, err);
    hold_rows_release(from);
    return rc;
}

int hold_cli_rows(struct hold_rows *out, const char *files, struct hold_issues *issues,
                  struct hold_error *err) {
    int rc = HOLD_OK;
    bool first = true;
    while (rc == HOLD_OK && *files != '\0') {
        size_t n = strcspn(files, "\n");
        char *path = hold_strndup(files, n);
        struct hold_rows rows = {0};
        rc = path == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a path")
                          : hold_rows_read(&rows, path, issues, err);
        hold_free(path);
        if (rc == HOLD_OK && first)
            *out = rows; /* most are one file */
        else if (rc == HOLD_OK)
            rc = append(out, &rows, err);
        first = false;
        files += n + (files[n] == '\n');
    }
    return rc;
}

struct hold_count hold_cli_count(int64_t n, const char *word) {
    struct hold_count c;
    snprintf(c.text, sizeof c.text, "%lld %s%s", (long long)n, word, n == 1 ? "" : "s");
    return c;
}
