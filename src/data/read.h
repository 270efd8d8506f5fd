/* read.h: what the readers of row files share inside this room. */
#ifndef HOLD_DATA_READ_H
#define HOLD_DATA_READ_H

#include <stddef.h>

#include "base/status.h"
#include "data/rows.h"

/* The limit on one line of JSON Lines and on one row of CSV, in bytes. */
#define HOLD_ROW_BYTES_MAX ((size_t)64 << 20)

/* A bad row: "PATH:LINE[:COLUMN]: error: TEXT" (column 0: left out) becomes an issue, and the call
 * is HOLD_OK, or with issues NULL the error itself, and the call is EDATA. */
int hold_rows_fault(const struct hold_rows *rows, struct hold_issues *issues, const char *rule,
                    long line, long column, const char *text, struct hold_error *err);

/* The same of a row that was read, with the file it stands in. */
int hold_row_fault(const struct hold_row *row, struct hold_issues *issues, const char *rule,
                   const char *text, struct hold_error *err);

/* As hold_rows_add, with the file and line of another row. */
int hold_rows_add_at(struct hold_rows *rows, json_t *data, const struct hold_row *place,
                     struct hold_issues *issues, struct hold_error *err);

/* What to say of a row of preferences where one answer is needed. */
void hold_row_pair_text(const struct hold_row *row, char out[HOLD_ERROR_TEXT]);

/* The column, in characters and from 1, of the byte at `at` when `start` begins its line. */
long hold_rows_column(const char *start, const char *at);

/* CSV after RFC 4180 (quotes, quotes doubled inside, line ends CRLF or LF) by libcsv, or with
 * `tabs` TSV: cells between tabs, in which a quote is a character; a first row of names is
 * required.  `bytes` are valid UTF-8 without NUL bytes and without a byte order mark.
 */
int hold_rows_read_csv(struct hold_rows *rows, const char *bytes, size_t n, bool tabs,
                       struct hold_issues *issues, struct hold_error *err);

#endif
