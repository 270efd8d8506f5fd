/* csv.c: CSV and TSV rows as objects of strings.  libcsv does the quoting; here are names, lines,
 * limits.
 */
#include <csv.h>
#include <jansson.h>
#include <string.h>

#include "base/mem.h"
#include "data/read.h"

enum { COLUMNS_MAX = 1024, BLOCK = 64 * 1024, SHOWN = 64 };

struct table {
    struct hold_rows *rows;
    struct hold_issues *issues;
    struct hold_error *err;
    struct csv_parser parser;
    bool tabs;           /* TSV */
    json_t *names;       /* the first row; NULL before it ended */
    json_t *cells;       /* of the row being read: at most COLUMNS_MAX */
    size_t n_cells;      /* all of them */
    long row_line;       /* where the row being read began */
    bool row_ended;      /* in the line being fed */
    bool after_end;      /* and more of that line came after it: a bare carriage return */
    bool out_of_memory;  /* call backs cannot return it */
    bool header_refused; /* without names no row can be read */
};

/* ---- what libcsv calls ---- */

/* RFC 4180: spaces are part of a cell.  libcsv's own rule would cut them off. */
static int not_space(unsigned char c) {
    (void)c;
    return 0;
}

static void take_cell(void *bytes, size_t n, void *user) {
    struct table *t = user;
    if (t->row_ended) {
        t->after_end = true;
        return;
    }
    if (++t->n_cells > COLUMNS_MAX)
        return;
    if (json_array_append_new(t->cells, json_stringn(n ? bytes : "", n)))
        t->out_of_memory = true;
}

static void end_row(int end, void *user) {
    struct table *t = user;
    (void)end;
    t->row_ended = true;
}

/* ---- rows ---- */

static int no_memory(struct table *t) {
    return hold_fail(t->err, HOLD_ENOMEMORY, "%s:%ld: not enough memory for a row", t->rows->path,
                     t->row_line);
}

static int fault(struct table *t, const char *rule, long line, long column, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static int fault(struct table *t, const char *rule, long line, long column, const char *format,
                 ...) {
    char text[HOLD_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    hold_vformat(text, sizeof(text), format, args);
    va_end(args);
    return hold_rows_fault(t->rows, t->issues, rule, line, column, text, t->err);
}

static int refuse_header(struct table *t, size_t column, const char *name) {
    char shown[SHOWN];
    t->header_refused = true;
    if (!*name)
        return fault(t, "bad_header", t->row_line, 0, "column %zu has no name", column);
    hold_visible(shown, sizeof(shown), name);
    return fault(t, "bad_header", t->row_line, 0,
                 "column %zu has the name of an earlier column, \"%s\"", column, shown);
}

/* The first row: names that are not empty and differ. */
static int take_header(struct table *t) {
    json_t *seen = json_object();
    int status = seen ? HOLD_OK : no_memory(t);
    for (size_t i = 0; i < t->n_cells && !status && !t->header_refused; i++) {
        const char *name = json_string_value(json_array_get(t->cells, i));
        if (!*name || json_object_get(seen, name))
            status = refuse_header(t, i + 1, name);
        else if (json_object_set_new(seen, name, json_true()))
            status = no_memory(t);
    }
    json_decref(seen);
    if (!status && !t->header_refused)
        t->names = json_incref(t->cells);
    return status;
}

static int take_row(struct table *t) {
    size_t n = json_array_size(t->names);
    if (t->n_cells != n)
        return fault(t, "wrong_columns", t->row_line, 0,
                     "the row has %zu cells, the header has %zu", t->n_cells, n);
    json_t *data = json_object();
    int status = data ? HOLD_OK : no_memory(t);
    for (size_t i = 0; i < n && !status; i++)
        if (json_object_set(data, json_string_value(json_array_get(t->names, i)),
                            json_array_get(t->cells, i)))
            status = no_memory(t);
    if (!status)
        status = hold_rows_add(t->rows, data, t->row_line, t->issues, t->err);
    json_decref(data);
    return status;
}

static int finish_row(struct table *t) {
    if (t->after_end)
        return fault(t, "syntax", t->row_line, 0,
                     "a carriage return that is neither quoted nor part of a line end");
    if (t->n_cells > COLUMNS_MAX)
        return fault(t, "wrong_columns", t->row_line, 0, "the row has %zu cells, the limit is %d",
                     t->n_cells, COLUMNS_MAX);
    return t->names ? take_row(t) : take_header(t);
}

/* ---- lines ---- */

static int reset(struct table *t) {
    csv_free(&t->parser);
    if (csv_init(&t->parser, CSV_STRICT | CSV_STRICT_FINI))
        return no_memory(t);
    csv_set_realloc_func(&t->parser, hold_realloc);
    csv_set_free_func(&t->parser, hold_free);
    csv_set_space_func(&t->parser, not_space);
    if (t->tabs) {
        csv_set_delim(&t->parser, '\t');
        csv_set_quote(&t->parser, '\0'); /* no byte of the file is */
    }
    return HOLD_OK;
}

/* libcsv grows its buffer by a fixed step; the step follows the size, so that growing is linear. */
static void set_step(struct table *t, size_t line_bytes) {
    size_t step = csv_get_buffer_size(&t->parser);
    if (step < line_bytes)
        step = line_bytes;
    csv_set_blk_size(&t->parser, step < BLOCK ? BLOCK : step);
}

static int start_row(struct table *t, long line) {
    t->row_line = line;
    t->row_ended = t->after_end = false;
    t->n_cells = 0;
    json_decref(t->cells);
    t->cells = json_array();
    return t->cells ? HOLD_OK : no_memory(t);
}

/* Feed one line of the file, its end included.  After a misplaced quote the next line starts a new
 * row.  *open tells that the row goes on. */
static int feed_line(struct table *t, const char *p, size_t n, long line, bool *open) {
    set_step(t, n);
    size_t taken = csv_parse(&t->parser, p, n, take_cell, end_row, t);
    int code = csv_error(&t->parser);
    *open = false;
    if (t->out_of_memory || code == CSV_ENOMEM || code == CSV_ETOOBIG)
        return no_memory(t);
    if (code == CSV_EPARSE || taken < n) {
        int status = fault(t, "syntax", line, hold_rows_column(p, p + taken),
                           "a quote inside an unquoted cell, or text after a closing quote");
        t->header_refused = !t->names;
        return status ? status : reset(t);
    }
    if (t->row_ended)
        return finish_row(t);
    *open = true;
    return HOLD_OK;
}

static bool is_blank(const char *p, size_t n) {
    return (n == 1 && *p == '\n') || (n == 1 && *p == '\r') || (n == 2 && !memcmp(p, "\r\n", 2));
}

static int finish_file(struct table *t) {
    if (csv_fini(&t->parser, take_cell, end_row, t))
        return csv_error(&t->parser) == CSV_ENOMEM
                   ? no_memory(t)
                   : fault(t, "syntax", t->row_line, 0,
                           "the row opens a quote that is not closed before the file ends");
    return t->out_of_memory ? no_memory(t) : finish_row(t);
}

static int read_table(struct table *t, const char *p, size_t n) {
    const char *end = p + n, *row_start = p;
    bool open = false;
    int status = reset(t);
    for (long line = 1; p < end && !status && !t->header_refused; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        const char *next = stop ? stop + 1 : end;
        size_t bytes = (size_t)(next - p);
        if (!open && !is_blank(p, bytes)) {
            status = start_row(t, line);
            row_start = p;
            open = true;
        }
        /* A row past the limit is most often a quote that was never closed, so nothing after it
         * can be trusted to be a row. */
        if (open && (size_t)(next - row_start) > HOLD_ROW_BYTES_MAX)
            return fault(t, "line_too_long", t->row_line, 0,
                         "row longer than 64 MiB (is a quote not closed?)");
        if (open && !status)
            status = feed_line(t, p, bytes, line, &open);
        p = next;
    }
    if (!status && open && !t->header_refused)
        status = finish_file(t);
    return status;
}

int hold_rows_read_csv(struct hold_rows *rows, const char *bytes, size_t n, bool tabs,
                       struct hold_issues *issues, struct hold_error *err) {
    struct table t = {.rows = rows, .issues = issues, .err = err, .tabs = tabs, .row_line = 1};
    /* csv_free is safe on a parser without a buffer. */
    csv_init(&t.parser, 0);
    int status = read_table(&t, bytes, n);
    csv_free(&t.parser);
    json_decref(t.names);
    json_decref(t.cells);
    return status;
}
