/* cmd_data.c: `holdfast data check|show`: what a file of rows holds and what would be trained. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "data/folder.h"

static const char *side_name(enum hold_side side) {
    return side == HOLD_SIDE_CHOSEN ? "chosen" : side == HOLD_SIDE_REJECTED ? "rejected" : "";
}

/* --- check --- */

#define T struct check_options
struct check_options {
    const char *model;
    int64_t max_length;
};
static const struct hold_option check_options[] = {
    {"model", "MODEL whose tokens and template are checked too; empty: neither", HOLD_OPT_TEXT,
     offsetof(T, model), 0, 0, 0, "", NULL, 'm'},
    HOLD_INT(T, max_length, 1024, 8, 1000000, "tokens of a row that training will keep"),
    {0},
};
#undef T

/* Findings in the order of lines, errors before warnings of the same line. */
static int by_line(const void *pa, const void *pb) {
    const struct hold_issue *a = pa, *b = pb;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    return (int)b->error - (int)a->error;
}

/* How many rows of which format: {"sharegpt": 3}. */
static json_t *count_formats(const struct hold_rows *rows) {
    json_t *out = json_object();
    int bad = 0;
    for (int64_t i = 0; out != NULL && i < rows->n; i++) {
        const char *name = hold_row_format_name(rows->row[i].format);
        json_int_t n = json_integer_value(json_object_get(out, name));
        bad |= json_object_set_new(out, name, json_integer(n + 1));
    }
    return hold_json_whole(out, bad);
}

static int check_json(const struct hold_issues *s, const char *path, const struct hold_rows *rows,
                      struct hold_error *err) {
    json_t *list = json_array();
    int bad = 0;
    for (int64_t i = 0; list != NULL && i < s->n; i++) {
        const struct hold_issue *x = &s->item[i];
        bad |= json_array_append_new(list, json_pack("{s:b, s:s, s:I, s:s}", "error", (int)x->error,
                                                     "rule", x->rule, "line", (json_int_t)x->line,
                                                     "text", x->text));
    }
    list = hold_json_whole(list, bad);
    return hold_cli_print_json(
        json_pack("{s:o, s:I, s:o, s:I, s:I, s:o}", "file", hold_cli_json_text(path, strlen(path)),
                  "rows", (json_int_t)rows->n, "formats", count_formats(rows), "errors",
                  (json_int_t)s->n_errors, "warnings", (json_int_t)s->n_warnings, "issues", list),
        err);
}

static int check_text(const struct hold_issues *s, const char *path, const struct hold_rows *rows,
                      struct hold_error *err) {
    struct hold_str out = HOLD_STR_INIT;
    json_t *formats = count_formats(rows), *n;
    const char *name;
    for (int64_t i = 0; i < s->n; i++)
        hold_str_addf(&out, "%s\n", s->item[i].text);
    int64_t more = s->n_errors + s->n_warnings - s->n;
    if (more > 0)
        hold_str_addf(&out, "%s: %lld more findings\n", path, (long long)more);
    hold_str_addf(&out, "%s: %s, %s, %s", path, hold_cli_count(rows->n, "row").text,
                  hold_cli_count(s->n_errors, "error").text,
                  hold_cli_count(s->n_warnings, "warning").text);
    const char *before = " (";
    json_object_foreach(formats, name, n) {
        hold_str_addf(&out, "%s%s", before, name);
        if (json_object_size(formats) > 1)
            hold_str_addf(&out, " %lld", (long long)json_integer_value(n));
        before = ", ";
    }
    hold_str_add(&out, json_object_size(formats) > 0 ? ")\n" : "\n");
    int rc = hold_cli_write("", &out, err);
    hold_str_release(&out);
    json_decref(formats);
    return rc;
}

/* r NULL: without a model.  *errors grows by those of the file. */
static int check_file(struct hold_cli *cli, const char *path, const struct hold_renderer *r,
                      int64_t *errors, struct hold_error *err) {
    struct hold_rows rows = {0};
    struct hold_issues issues = {0};
    int rc = hold_rows_read(&rows, path, &issues, err);
    if (rc == HOLD_OK)
        rc = hold_check_rows(r, &rows, &issues, err);
    if (rc == HOLD_OK && issues.n > 1)
        qsort(issues.item, (size_t)issues.n, sizeof *issues.item, by_line);
    if (rc == HOLD_OK)
        rc = cli->common.json ? check_json(&issues, path, &rows, err)
                              : check_text(&issues, path, &rows, err);
    *errors += issues.n_errors;
    hold_issues_release(&issues);
    hold_rows_release(&rows);
    return rc;
}

/* One file or several, a list joined by newlines. */
static int check_files(struct hold_cli *cli, const char *files, const struct hold_renderer *r,
                       int64_t *errors, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    int rc = HOLD_OK;
    while (rc == HOLD_OK && hold_files_next(&files, &path)) {
        rc = hold_str_check(&path, err);
        if (rc == HOLD_OK)
            rc = check_file(cli, hold_str_text(&path), r, errors, err);
    }
    hold_str_release(&path);
    return rc;
}

/* The folder's files of all splits; rows to train on must be there. */
static int check_folder(struct hold_cli *cli, const char *dir, const struct hold_renderer *r,
                        int64_t *errors, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    int rc = HOLD_OK;
    for (int k = 0; rc == HOLD_OK && k < HOLD_SPLIT_COUNT; k++) {
        rc = hold_folder_find(dir, (enum hold_split)k, k == HOLD_SPLIT_TRAIN, &path, err);
        if (rc == HOLD_OK)
            rc = check_files(cli, hold_str_text(&path), r, errors, err);
    }
    hold_str_release(&path);
    return rc;
}

static int check(struct hold_cli *cli, void *opts, int n_args, char **args,
                 struct hold_error *err) {
    const struct check_options *o = opts;
    struct hold_text_side text = {0};
    struct hold_renderer renderer, *r = NULL;
    int64_t errors = 0;
    int rc = HOLD_OK;
    (void)n_args;
    if (o->model[0] != '\0') {
        rc = hold_cli_text_side(cli, o->model, &text, err);
        renderer = hold_cli_text_renderer(&text, o->max_length);
        r = &renderer;
    }
    if (rc == HOLD_OK)
        rc = hold_is_dir(args[0]) ? check_folder(cli, args[0], r, &errors, err)
                                  : check_file(cli, args[0], r, &errors, err);
    if (rc == HOLD_OK && errors > 0)
        rc = hold_fail(err, HOLD_EDATA, "%s: %s", args[0], hold_cli_count(errors, "error").text);
    hold_cli_text_release(&text);
    return rc;
}

const struct hold_command hold_cmd_data_check = {
    .name = "data check",
    .summary = "find bad rows before training",
    .usage = "FILE|DIR [-m MODEL]",
    .example = "  echo '{\"prompt\":\"Hi\",\"completion\":\"Hello.\"}' | holdfast data check -",
    .options = check_options,
    .size = sizeof(struct check_options),
    .min_args = 1,
    .max_args = 1,
    .run = check,
};

/* --- show --- */

#define T struct show_options
struct show_options {
    const char *model, *split, *color;
    int64_t row, limit;
};
static const struct hold_option show_options[] = {
    HOLD_CLI_MODEL(T),
    HOLD_INT(T, row, 0, 0, 9007199254740991, "first row to show, from 0"),
    HOLD_INT(T, limit, 3, 1, 1000000, "rows to show"),
    HOLD_TEXT(T, split, "train", "train|valid|test", "which rows of a folder"),
    HOLD_TEXT(T, color, "auto", "auto|always|never",
              "colours in place of marks; auto: on a terminal without NO_COLOR"),
    {0},
};
#undef T

struct view {
    const struct hold_renderer *r;
    bool json, colour;
    struct hold_str out;
};

static int row_json(struct view *v, const struct hold_row *row, const struct hold_row_tokens *t,
                    int64_t index, struct hold_error *err) {
    json_t *list = json_array();
    int bad = 0;
    for (size_t i = 0; list != NULL && i < t->ids.len; i++) {
        const char *piece = hold_tokenizer_piece(v->r->tokenizer, t->ids.data[i]);
        bad |=
            json_array_append_new(list, json_pack("{s:i, s:o, s:f}", "id", (int)t->ids.data[i],
                                                  "piece", hold_cli_json_text(piece, strlen(piece)),
                                                  "weight", (double)hold_row_token_weight(t, i)));
    }
    list = hold_json_whole(list, bad);
    json_t *o =
        json_pack("{s:I, s:I, s:s, s:o}", "index", (json_int_t)index, "line", (json_int_t)row->line,
                  "format", hold_row_format_name(row->format), "tokens", list);
    if (o != NULL && row->side != HOLD_SIDE_ONLY)
        o = hold_json_whole(o, json_object_set_new(o, "side", json_string(side_name(row->side))));
    int rc = o == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a row")
                       : hold_json_line(o, &v->out, err);
    json_decref(o);
    hold_str_add_char(&v->out, '\n');
    return rc;
}

/* Nothing of a row may steer the terminal: control characters but the end of a line and the tab are
 * made visible, and so are bytes that are no UTF-8. */
static int add_visible(struct hold_str *out, const struct hold_str *text, struct hold_error *err) {
    void *memory = NULL;
    size_t n = text->len, cap = 4 * n + 1;
    int rc = hold_new(&memory, cap, 1, "a row", err);
    char *shown = memory;
    for (size_t i = 0; rc == HOLD_OK && i < n;) {
        const char *p = text->data + i;
        size_t k = strcspn(p, "\n\t");
        if (k > 0) { /* up to a NUL, as hold_visible */
            char kept = p[k];
            text->data[i + k] = '\0';
            hold_visible(shown, cap, p);
            text->data[i + k] = kept;
            hold_str_add(out, shown);
        } else {
            hold_str_add(out, *p == '\0' ? "\\x00" : *p == '\n' ? "\n" : "\t");
            k = 1;
        }
        i += k;
    }
    hold_free(memory);
    return rc;
}

/* How a token is shown: by whether it is trained, and whether it is a control token. */
enum look { PLAIN, CONTROL, TRAINED, TRAINED_CONTROL };
static const char *const COLOURS[] = {"", "\033[2m", "\033[32m", "\033[1;32m"};

static enum look look_of(const struct view *v, const struct hold_row_tokens *t, size_t i) {
    bool control = hold_tokenizer_is_control(v->r->tokenizer, t->ids.data[i]);
    if (hold_row_token_weight(t, i) > 0)
        return control ? TRAINED_CONTROL : TRAINED;
    return control ? CONTROL : PLAIN;
}

/* "system, user, assistant (calls f, g), tool". */
static void add_roles(struct hold_str *out, const json_t *messages) {
    char shown[64];
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *message = json_array_get(messages, i);
        const json_t *calls = json_object_get(message, "tool_calls");
        hold_str_addf(out, "%s%s", i > 0 ? ", " : "",
                      json_string_value(json_object_get(message, "role")));
        for (size_t k = 0; k < json_array_size(calls); k++) {
            const json_t *function = json_object_get(json_array_get(calls, k), "function");
            hold_visible(shown, sizeof shown, json_string_value(json_object_get(function, "name")));
            hold_str_addf(out, "%s%s", k > 0 ? ", " : " (calls ", shown);
        }
        hold_str_add(out, json_array_size(calls) > 0 ? ")" : "");
    }
}

static void add_head(struct view *v, const struct hold_row *row, const struct hold_row_tokens *t,
                     int64_t index) {
    size_t trained = 0;
    for (size_t i = 0; i < t->ids.len; i++)
        trained += hold_row_token_weight(t, i) > 0;
    hold_str_addf(&v->out, "row %lld (line %ld, %s)%s%s: %zu tokens, %zu trained (%s)\n",
                  (long long)index, row->line, hold_row_format_name(row->format),
                  row->side == HOLD_SIDE_ONLY ? "" : " ", side_name(row->side), t->ids.len, trained,
                  v->colour ? "\033[32mlike this\033[0m; \033[2mcontrol tokens\033[0m"
                            : "\xE2\x9F\xA6like this\xE2\x9F\xA7");
    if (t->messages == NULL)
        return;
    add_roles(&v->out, t->messages);
    if (row->tools != NULL)
        hold_str_addf(&v->out, "; %s",
                      hold_cli_count((int64_t)json_array_size(row->tools), "tool").text);
    hold_str_add(&v->out, "\n");
}

/* The row's text, what is trained between marks, or in colours. */
static int row_text(struct view *v, const struct hold_row *row, const struct hold_row_tokens *t,
                    int64_t index, struct hold_error *err) {
    struct hold_str text = HOLD_STR_INIT;
    bool inside = false;
    int rc = HOLD_OK;
    add_head(v, row, t, index);
    for (size_t i = 0, end; rc == HOLD_OK && i < t->ids.len; i = end) {
        enum look look = look_of(v, t, i);
        if (!v->colour && (look >= TRAINED) != inside)
            hold_str_add(&v->out, inside ? "\xE2\x9F\xA7" : "\xE2\x9F\xA6");
        inside = look >= TRAINED;
        /* Tokens of one kind are decoded together: a character may be spread over several. */
        for (end = i + 1; end < t->ids.len && look_of(v, t, end) == look; end++)
            ;
        hold_str_clear(&text);
        rc = hold_tokenizer_decode_part(v->r->tokenizer, t->ids.data + i, end - i, true, i == 0,
                                        &text, err);
        hold_str_add(&v->out, v->colour ? COLOURS[look] : "");
        if (rc == HOLD_OK)
            rc = add_visible(&v->out, &text, err);
        hold_str_add(&v->out, v->colour && look != PLAIN ? "\033[0m" : "");
    }
    hold_str_add(&v->out, inside && !v->colour ? "\xE2\x9F\xA7" : "");
    hold_str_add(&v->out, "\n\n");
    hold_str_release(&text);
    return rc;
}

static int show_row(struct view *v, const struct hold_row *row, int64_t index,
                    struct hold_error *err) {
    struct hold_row_tokens t = {0};
    char where[HOLD_ERROR_TEXT / 2];
    snprintf(where, sizeof where, "%s:%ld", hold_row_file(row), row->line);
    int rc = hold_render_row(v->r, row, where, &t, err);
    if (rc == HOLD_OK)
        rc = v->json ? row_json(v, row, &t, index, err) : row_text(v, row, &t, index, err);
    hold_row_tokens_release(&t);
    return rc;
}

static int show(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    const struct show_options *o = opts;
    struct hold_text_side text = {0};
    struct hold_rows rows = {0};
    struct hold_str path = HOLD_STR_INIT;
    struct view v = {.json = cli->common.json,
                     .colour = strcmp(o->color, "auto") == 0 ? hold_cli_colour(STDOUT_FILENO)
                                                             : strcmp(o->color, "always") == 0};
    (void)n_args;
    int rc = hold_cli_split(args[0], o->split, &path, err);
    if (rc == HOLD_OK)
        rc = hold_cli_rows(cli, &rows, hold_str_text(&path), NULL, NULL, err);
    if (rc == HOLD_OK && o->row >= rows.n)
        rc = hold_fail(err, HOLD_EUSAGE, "--row: %lld is out of range, %s has %lld rows",
                       (long long)o->row, args[0], (long long)rows.n);
    if (rc == HOLD_OK)
        rc = hold_cli_text_side(cli, o->model, &text, err);
    struct hold_renderer r = hold_cli_text_renderer(&text, 0);
    v.r = &r;
    for (int64_t i = o->row; rc == HOLD_OK && i < rows.n && i - o->row < o->limit; i++) {
        struct hold_row one = hold_row_side(&rows.row[i], HOLD_SIDE_CHOSEN);
        rc = show_row(&v, &one, i, err);
        one = hold_row_side(&rows.row[i], HOLD_SIDE_REJECTED);
        if (rc == HOLD_OK && rows.row[i].side == HOLD_SIDE_BOTH)
            rc = show_row(&v, &one, i, err);
    }
    if (rc == HOLD_OK)
        rc = hold_cli_write("", &v.out, err);
    hold_str_release(&v.out);
    hold_str_release(&path);
    hold_rows_release(&rows);
    hold_cli_text_release(&text);
    return rc;
}

const struct hold_command hold_cmd_data_show = {
    .name = "data show",
    .summary = "rows as the model sees them, and which tokens are trained",
    .usage = "FILE|DIR -m MODEL [--row N] [--limit N] [--color auto|always|never]",
    .example = "  echo '{\"prompt\":\"Hi\",\"completion\":\"Hello.\"}' | holdfast data show -",
    .options = show_options,
    .size = sizeof(struct show_options),
    .min_args = 1,
    .max_args = 1,
    .run = show,
};
