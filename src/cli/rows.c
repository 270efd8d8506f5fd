/* rows.c: rows of one file or several, and counts in words. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/cli.h"
#include "data/folder.h"

/* `from` behind `to`; from is used up. */
static int append(struct hold_rows *to, struct hold_rows *from, struct hold_error *err) {
    int rc = HOLD_OK;
    for (int64_t i = 0; rc == HOLD_OK && i < from->n; i++)
        rc = hold_rows_share(to, &from->row[i], err);
    hold_rows_release(from);
    return rc;
}

static int take_side(struct hold_cli *cli, struct hold_rows *rows, const char *preference,
                     struct hold_issues *issues, struct hold_error *err) {
    enum hold_side side = strcmp(preference, "chosen") == 0     ? HOLD_SIDE_CHOSEN
                          : strcmp(preference, "rejected") == 0 ? HOLD_SIDE_REJECTED
                                                                : HOLD_SIDE_ONLY;
    int64_t left_out = 0;
    int rc = hold_rows_take_side(rows, side, &left_out, issues, err);
    if (rc == HOLD_OK && left_out > 0)
        hold_log(&cli->ctx, HOLD_WARN, "data", "%s: %s left out, whose answer is not the %s one",
                 rows->path, hold_cli_count(left_out, "row").text, preference);
    return rc;
}

int hold_cli_split(const char *path, const char *split, struct hold_str *out,
                   struct hold_error *err) {
    hold_str_clear(out);
    for (int k = 0; hold_is_dir(path) && k < HOLD_SPLIT_COUNT; k++)
        if (strcmp(split, hold_split_name((enum hold_split)k)) == 0)
            return hold_folder_find(path, (enum hold_split)k, true, out, err);
    hold_str_add(out, path);
    return hold_str_check(out, err);
}

int hold_cli_rows(struct hold_cli *cli, struct hold_rows *out, const char *files,
                  const char *preference, struct hold_issues *issues, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    int rc = HOLD_OK;
    bool first = true;
    while (rc == HOLD_OK && hold_files_next(&files, &path)) {
        struct hold_rows rows = {0};
        rc = hold_str_check(&path, err);
        if (rc == HOLD_OK)
            rc = hold_rows_read(&rows, hold_str_text(&path), issues, err);
        if (rc == HOLD_OK && preference != NULL)
            rc = take_side(cli, &rows, preference, issues, err);
        if (rc == HOLD_OK && first)
            *out = rows; /* most are one file */
        else if (rc == HOLD_OK)
            rc = append(out, &rows, err);
        else
            hold_rows_release(&rows);
        first = false;
    }
    hold_str_release(&path);
    return rc;
}

struct hold_count hold_cli_count(int64_t n, const char *word) {
    struct hold_count c;
    snprintf(c.text, sizeof c.text, "%lld %s%s", (long long)n, word, n == 1 ? "" : "s");
    return c;
}
