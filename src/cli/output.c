/* output.c: results to files and standard output, tables for people, lines of input. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"

/* --- files and standard output --- */

static bool is_stdout(const char *path) {
    return path == NULL || path[0] == '\0' || strcmp(path, "-") == 0;
}

/* A device or a pipe: cannot be replaced, only written into. */
static bool is_stream(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
}

int hold_cli_check_output(const char *path, struct hold_error *err) {
    if (is_stdout(path))
        return HOLD_OK;
    if (hold_is_dir(path))
        return hold_fail(err, HOLD_EUSAGE, "%s: is a folder, expected a file to write", path);
    if (is_stream(path))
        return access(path, W_OK) == 0 ? HOLD_OK : hold_fail_errno(err, errno, "%s", path);
    struct hold_str dir = HOLD_STR_INIT;
    const char *slash = strrchr(path, '/');
    hold_str_add(&dir, slash == NULL ? "." : slash == path ? "/" : "");
    if (slash != NULL && slash != path)
        hold_str_add_bytes(&dir, path, (size_t)(slash - path));
    int rc = hold_str_check(&dir, err);
    if (rc == HOLD_OK && !hold_is_dir(hold_str_text(&dir)))
        rc = hold_fail(err, HOLD_ENOTFOUND, "%s: the folder %s does not exist", path,
                       hold_str_text(&dir));
    else if (rc == HOLD_OK && access(hold_str_text(&dir), W_OK) != 0)
        rc = hold_fail_errno(err, errno, "%s: cannot be written", path);
    hold_str_release(&dir);
    return rc;
}

static int write_stream(FILE *f, const char *name, const struct hold_str *text,
                        struct hold_error *err) {
    if (fwrite(hold_str_text(text), 1, text->len, f) != text->len || fflush(f) != 0)
        return hold_fail_errno(err, errno, "%s: writing failed", name);
    return HOLD_OK;
}

int hold_cli_write(const char *path, const struct hold_str *text, struct hold_error *err) {
    int rc = hold_str_check(text, err);
    if (rc < 0)
        return rc;
    if (is_stdout(path))
        return write_stream(stdout, "standard output", text, err);
    if (!is_stream(path))
        return hold_file_write_atomic(path, hold_str_text(text), text->len, err);
    FILE *f = fopen(path, "w");
    if (f == NULL)
        return hold_fail_errno(err, errno, "%s", path);
    rc = write_stream(f, path, text, err);
    if (fclose(f) != 0 && rc == HOLD_OK)
        rc = hold_fail_errno(err, errno, "%s: writing failed", path);
    return rc;
}

int hold_cli_print_json(json_t *value, struct hold_error *err) {
    struct hold_str line = HOLD_STR_INIT;
    int rc = value == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for the output")
                           : hold_json_line(value, &line, err);
    hold_str_add_char(&line, '\n');
    if (rc == HOLD_OK)
        rc = hold_cli_write("", &line, err);
    hold_str_release(&line);
    json_decref(value);
    return rc;
}

json_t *hold_cli_json_text(const char *bytes, size_t n) {
    if (hold_utf8_check(bytes, n) < 0)
        return json_stringn(bytes, n);
    struct hold_str clean = HOLD_STR_INIT;
    for (size_t i = 0; i < n;) {
        bool whole = false;
        size_t len = hold_utf8_part(bytes + i, n - i, &whole);
        if (whole)
            hold_str_add_bytes(&clean, bytes + i, len);
        else
            hold_str_add(&clean, "\xEF\xBF\xBD");
        i += len;
    }
    json_t *value = clean.out_of_memory ? NULL : json_stringn(hold_str_text(&clean), clean.len);
    hold_str_release(&clean);
    return value;
}

int hold_cli_check_new_dir(const char *dir, struct hold_error *err) {
    char **names = NULL;
    size_t n = 0;
    if (dir[0] == '\0')
        return hold_fail(err, HOLD_EUSAGE, "-o DIR is missing: where should the result go?");
    if (!hold_exists(dir))
        return HOLD_OK;
    if (!hold_is_dir(dir))
        return hold_fail(err, HOLD_EUSAGE, "%s: exists and is not a folder", dir);
    int rc = hold_dir_list(dir, &names, &n, err);
    bool used = false;
    for (size_t i = 0; i < n; i++)
        used = used || !hold_is_debris(names[i]);
    hold_names_free(names, n);
    if (rc == HOLD_OK && used)
        rc = hold_fail(err, HOLD_EUSAGE, "%s: exists and is not empty", dir);
    return rc;
}

/* --- tables --- */

void hold_table_cell(struct hold_table *t, const char *format, ...) {
    struct hold_str text = HOLD_STR_INIT;
    va_list args;
    va_start(args, format);
    hold_str_vaddf(&text, format, args);
    va_end(args);
    if (t->n == t->cap) {
        size_t cap = t->cap == 0 ? 64 : t->cap * 2;
        char **grown = hold_realloc(t->cell, cap * sizeof *grown);
        t->out_of_memory = t->out_of_memory || grown == NULL;
        if (grown != NULL) {
            t->cell = grown;
            t->cap = cap;
        }
    }
    if (t->n < t->cap)
        t->cell[t->n++] = text.len > 0 ? hold_str_take(&text) : hold_strdup("");
    t->out_of_memory = t->out_of_memory || text.out_of_memory;
    hold_str_release(&text);
}

/* Characters, not bytes: continuation bytes take no room. */
static size_t width(const char *text) {
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static void print_row(const struct hold_table *t, size_t first, const size_t *wide,
                      struct hold_str *out) {
    for (int c = 0; c < t->cols; c++) {
        const char *text = t->cell[first + (size_t)c];
        hold_str_addf(out, "| %s", text);
        for (size_t i = width(text); i <= wide[c]; i++)
            hold_str_add_char(out, ' ');
    }
    hold_str_add(out, "|\n");
}

int hold_table_print(struct hold_table *t, struct hold_error *err) {
    enum { MOST = 16 };
    size_t wide[MOST] = {0};
    struct hold_str out = HOLD_STR_INIT;
    for (size_t i = 0; i < t->n; i++)
        t->out_of_memory = t->out_of_memory || t->cell[i] == NULL;
    int rc = t->out_of_memory ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a table") : HOLD_OK;
    size_t cols = (size_t)t->cols, rows = t->n / cols;
    for (size_t i = 0; rc == HOLD_OK && i < rows * cols; i++) {
        size_t w = width(t->cell[i]);
        wide[i % cols] = w > wide[i % cols] ? w : wide[i % cols];
    }
    for (size_t r = 0; rc == HOLD_OK && r < rows; r++) {
        print_row(t, r * cols, wide, &out);
        for (size_t c = 0; r == 0 && c < cols; c++) {
            hold_str_add(&out, "|-");
            for (size_t i = 0; i <= wide[c]; i++)
                hold_str_add_char(&out, '-');
        }
        if (r == 0)
            hold_str_add(&out, "|\n");
    }
    if (rc == HOLD_OK)
        rc = hold_cli_write("", &out, err);
    hold_str_release(&out);
    for (size_t i = 0; i < t->n; i++)
        hold_free(t->cell[i]);
    hold_free(t->cell);
    *t = (struct hold_table){.cols = t->cols};
    return rc;
}

/* --- lines --- */

int hold_lines_open(struct hold_lines *l, const char *path, struct hold_error *err) {
    bool in = strcmp(path, "-") == 0;
    l->path = in ? "standard input" : path;
    l->line = 0;
    l->at = l->n = 0;
    l->end = false;
    l->fd = in ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (l->fd < 0)
        return hold_fail_errno(err, errno, "%s", path);
    if (!in && hold_is_dir(path)) {
        hold_lines_close(l);
        return hold_fail(err, HOLD_EUSAGE, "%s: is a folder, expected a file", path);
    }
    return HOLD_OK;
}

int hold_lines_next(struct hold_lines *l, struct hold_str *line, bool *got,
                    struct hold_error *err) {
    hold_str_clear(line);
    *got = false;
    for (;;) {
        if (l->at == l->n && !l->end) {
            ssize_t n = read(l->fd, l->buffer, sizeof l->buffer);
            if (n < 0 && errno == EINTR)
                return hold_fail(err, HOLD_EINTERRUPTED, "interrupted");
            if (n < 0)
                return hold_fail_errno(err, errno, "%s: reading failed", l->path);
            l->at = 0;
            l->n = (size_t)n;
            l->end = n == 0;
        }
        if (l->at == l->n)
            break;
        const char *from = l->buffer + l->at, *end = memchr(from, '\n', l->n - l->at);
        size_t n = end == NULL ? l->n - l->at : (size_t)(end - from);
        hold_str_add_bytes(line, from, n);
        l->at += n + (end != NULL);
        *got = true;
        if (end != NULL)
            break;
    }
    l->line += *got;
    return hold_str_check(line, err);
}

void hold_lines_close(struct hold_lines *l) {
    if (l->fd > STDIN_FILENO)
        close(l->fd);
    l->fd = -1;
}
