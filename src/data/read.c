/* read.c: row files as bytes: JSON Lines, a JSON array, and which of the formats a file is. */
#include "data/read.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "data/rows.h"
#include "data/unpack.h"

struct reader {
    struct hold_rows *rows;
    struct hold_issues *issues;
    struct hold_error *err;
    const char *base; /* the file's first byte, for offsets in messages */
};

long hold_rows_column(const char *start, const char *at) {
    long column = 1;
    for (const char *p = start; p < at; p++)
        column += ((unsigned char)*p & 0xC0) != 0x80;
    return column;
}

static int fault(struct reader *r, const char *rule, long line, long column, const char *text) {
    return hold_rows_fault(r->rows, r->issues, rule, line, column, text, r->err);
}

/* ---- bytes that no row may hold ---- */

/* *at: the first byte of [p, p + n) that is NUL or not UTF-8; NULL when there is none. */
static const char *first_bad_byte(const char *p, size_t n) {
    const char *nul = memchr(p, '\0', n);
    long invalid = hold_utf8_check(p, nul ? (size_t)(nul - p) : n);
    return invalid >= 0 ? p + invalid : nul;
}

static int bad_byte(struct reader *r, long line, const char *line_start, const char *at) {
    struct hold_str text = HOLD_STR_INIT;
    long long offset = at - r->base;
    if (*at)
        hold_str_addf(&text, "byte 0x%02x at offset %lld of the file is not UTF-8",
                      (unsigned)(unsigned char)*at, offset);
    else
        hold_str_addf(&text, "NUL byte at offset %lld of the file, expected UTF-8 text", offset);
    int status = fault(r, *at ? "not_utf8" : "nul_byte", line, hold_rows_column(line_start, at),
                       hold_str_text(&text));
    hold_str_release(&text);
    return status;
}

/* ---- JSON ---- */

/* jansson's words, made ours where a user may not know the parser's terms. */
static const char *json_words(const json_error_t *at) {
    switch (json_error_code(at)) {
    case json_error_end_of_input_expected:
        return "text after the end of the JSON value";
    case json_error_stack_overflow:
        return "JSON nested deeper than 2048 levels";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "\\u0000 inside a string";
    default:
        return at->text;
    }
}

static int json_fault(struct reader *r, const json_error_t *at, long line, const char *line_start,
                      const char *start) {
    if (json_error_code(at) == json_error_out_of_memory)
        return hold_fail(r->err, HOLD_ENOMEMORY, "%s:%ld: not enough memory to read JSON",
                         r->rows->path, line);
    long column = at->column > 0 ? at->column : 1;
    if (at->line > 1)
        line += at->line - 1;
    else
        column += hold_rows_column(line_start, start) - 1;
    const char *rule = json_error_code(at) == json_error_duplicate_key ? "duplicate_key" : "syntax";
    return fault(r, rule, line, column, json_words(at));
}

static int read_line(struct reader *r, const char *start, size_t n, long line) {
    json_error_t at;
    if (n > HOLD_ROW_BYTES_MAX)
        return fault(r, "line_too_long", line, 0, "line longer than 64 MiB");
    const char *wrong = first_bad_byte(start, n);
    if (wrong)
        return bad_byte(r, line, start, wrong);
    json_t *data = hold_json_read(start, n, 0, &at);
    if (!data)
        return json_fault(r, &at, line, start, start);
    int status = hold_rows_add(r->rows, data, line, r->issues, r->err);
    json_decref(data);
    return status;
}

static bool is_blank(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r", p[i]) || !p[i])
            return false;
    return true;
}

static int read_lines(struct reader *r, const char *p, const char *end) {
    int status = HOLD_OK;
    for (long line = 1; p < end && !status; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((stop ? stop : end) - p);
        if (!is_blank(p, n))
            status = read_line(r, p, n, line);
        p = stop ? stop + 1 : end;
    }
    return status;
}

/* Where a reader of a whole document stands. */
struct cursor {
    const char *p, *end, *line_start;
    long line;
};

static void step_over(struct cursor *c, const char *to) {
    for (; c->p < to; c->p++)
        if (*c->p == '\n') {
            c->line++;
            c->line_start = c->p + 1;
        }
}

static void skip_space(struct cursor *c) {
    const char *p = c->p;
    while (p < c->end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++;
    step_over(c, p);
}

static int fault_here(struct reader *r, const struct cursor *c, const char *text) {
    return fault(r, "syntax", c->line, hold_rows_column(c->line_start, c->p), text);
}

/* One element at a time, so that every row knows its line.  After a syntax error the elements
 * cannot be told apart any more: it ends the reading. */
static int read_array(struct reader *r, struct cursor *c) {
    c->p++;
    skip_space(c);
    bool more = c->p >= c->end || *c->p != ']';
    while (more) {
        json_error_t at;
        if (c->p >= c->end)
            return fault_here(r, c, "the file ends inside the list of rows");
        json_t *data = hold_json_read(c->p, (size_t)(c->end - c->p), JSON_DISABLE_EOF_CHECK, &at);
        if (!data)
            return json_fault(r, &at, c->line, c->line_start, c->p);
        int status = hold_rows_add(r->rows, data, c->line, r->issues, r->err);
        json_decref(data);
        if (status)
            return status;
        step_over(c, c->p + at.position);
        skip_space(c);
        if (c->p >= c->end)
            continue;
        if (*c->p != ',' && *c->p != ']')
            return fault_here(r, c, "expected \",\" or \"]\" after a row of the list");
        more = *c->p == ',';
        if (more) {
            c->p++;
            skip_space(c);
        }
    }
    c->p++;
    skip_space(c);
    return c->p < c->end ? fault_here(r, c, "text after the end of the list of rows") : HOLD_OK;
}

/* ---- files ---- */

/* The name ends so, before .gz or .zst where it has one. */
static bool ends_in(const char *path, const char *suffix) {
    size_t n = strlen(path), m = strlen(suffix);
    if (n >= 3 && !strcasecmp(path + n - 3, ".gz"))
        n -= 3;
    else if (n >= 4 && !strcasecmp(path + n - 4, ".zst"))
        n -= 4;
    return n >= m && !strncasecmp(path + n - m, suffix, m);
}

/* The name decides where it can: .csv, .tsv, .jsonl, .ndjson.  Else a list is JSON, an object a
 * line of JSON Lines; standard input that begins with neither is CSV. */
static int read_text(struct reader *r, const char *path, const char *text, size_t n) {
    struct cursor c = {text, text + n, text, 1};
    bool lines = ends_in(path, ".jsonl") || ends_in(path, ".ndjson");
    bool tabs = ends_in(path, ".tsv"), csv = tabs || ends_in(path, ".csv");
    if (!lines && !csv) {
        skip_space(&c);
        if (c.p >= c.end)
            return HOLD_OK;
        lines = *c.p != '[';
        csv = !strcmp(path, "-") && *c.p != '[' && *c.p != '{';
    }
    if (lines && !csv)
        return read_lines(r, text, text + n);
    const char *wrong = first_bad_byte(text, n);
    if (wrong) {
        step_over(&c, wrong);
        return bad_byte(r, c.line, c.line_start, wrong);
    }
    return csv ? hold_rows_read_csv(r->rows, text, n, tabs, r->issues, r->err) : read_array(r, &c);
}

static bool is_utf16(const struct hold_str *s) {
    return s->len >= 2 && (!memcmp(s->data, "\xFF\xFE", 2) || !memcmp(s->data, "\xFE\xFF", 2));
}

static int read_file(struct reader *r, const char *path, struct hold_str *bytes) {
    int status = hold_data_unpack(bytes, r->err);
    if (status == HOLD_EDATA) {
        char text[HOLD_ERROR_TEXT];
        memcpy(text, r->err->text, sizeof(text));
        return fault(r, "bad_archive", 1, 0, text);
    }
    if (status)
        return status;
    r->base = hold_str_text(bytes);
    if (is_utf16(bytes))
        return fault(r, "not_utf8", 1, 1, "the file is UTF-16, expected UTF-8");
    size_t skip = bytes->len >= 3 && !memcmp(bytes->data, "\xEF\xBB\xBF", 3) ? 3 : 0;
    status = bytes->len ? read_text(r, path, r->base + skip, bytes->len - skip) : HOLD_OK;
    if (!status && !r->rows->n && !(r->issues && r->issues->n_errors))
        status = fault(r, "empty_file", 1, 0, "the file has no rows");
    return status;
}

int hold_rows_read(struct hold_rows *out, const char *path, struct hold_issues *issues,
                   struct hold_error *err) {
    struct reader r = {out, issues, err, NULL};
    struct hold_str bytes = HOLD_STR_INIT;
    *out = (struct hold_rows){0};
    out->path = hold_strdup(strcmp(path, "-") ? path : "<stdin>");
    if (!out->path)
        return hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory to read it", path);
    int status = hold_is_dir(path) ? hold_fail(err, HOLD_EDATA,
                                               "%s: is a folder, expected one of its files", path)
                                   : hold_file_read(path, 0, &bytes, err);
    if (!status)
        status = read_file(&r, path, &bytes);
    hold_str_release(&bytes);
    if (status)
        hold_rows_release(out);
    return status;
}
