/* cmd_data.c: `holdfast data check|show|stats`: what a file of rows holds and what would be
 * trained.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"

static const char *const FORMATS[HOLD_ROW_FORMAT_COUNT] = {
    "messages", "sharegpt", "alpaca", "prompt/completion", "text", "prompt"};

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

static int check_json(const struct hold_issues *s, int64_t rows, struct hold_error *err) {
    json_t *list = json_array();
    int bad = 0;
    for (int64_t i = 0; list != NULL && i < s->n; i++) {
        const struct hold_issue *x = &s->item[i];
        bad |= json_array_append_new(list, json_pack("{s:b, s:s, s:I, s:s}", "error", (int)x->error,
                                                     "rule", x->rule, "line", (json_int_t)x->line,
                                                     "text", x->text));
    }
    list = hold_json_whole(list, bad);
    return hold_cli_print_json(json_pack("{s:I, s:I, s:I, s:o}", "rows", (json_int_t)rows, "errors",
                                         (json_int_t)s->n_errors, "warnings",
                                         (json_int_t)s->n_warnings, "issues", list),
                               err);
}

static int check_text(const struct hold_issues *s, const char *path, int64_t rows,
                      struct hold_error *err) {
    struct hold_str out = HOLD_STR_INIT;
    for (int64_t i = 0; i < s->n; i++)
        hold_str_addf(&out, "%s\n", s->item[i].text);
    int64_t more = s->n_errors + s->n_warnings - s->n;
    if (more > 0)
        hold_str_addf(&out, "%s: %lld more findings\n", path, (long long)more);
    hold_str_addf(&out, "%s: %s, %s, %s\n", path, hold_cli_count(rows, "row").text,
                  hold_cli_count(s->n_errors, "error").text,
                  hold_cli_count(s->n_warnings, "warning").text);
    int rc = hold_cli_write("", &out, err);
    hold_str_release(&out);
    return rc;
}

static int check(struct hold_cli *cli, void *opts, int n_args, char **args,
                 struct hold_error *err) {
    const struct check_options *o = opts;
    struct hold_text_side text = {0};
    struct hold_rows rows = {0};
    struct hold_issues issues = {0};
    struct hold_renderer r;
    (void)n_args;
    bool render = o->model[0] != '\0';
    int rc = render ? hold_cli_text_side(cli, o->model, &text, err) : HOLD_OK;
    if (rc == HOLD_OK)
        rc = hold_rows_read(&rows, args[0], &issues, err);
    if (render)
        r = hold_cli_text_renderer(&text, o->max_length);
    if (rc == HOLD_OK)
        rc = hold_check_rows(render ? &r : NULL, &rows, &issues, err);
    if (rc == HOLD_OK && issues.n > 1)
        qsort(issues.item, (size_t)issues.n, sizeof *issues.item, by_line);
    if (rc == HOLD_OK)
        rc = cli->common.json ? check_json(&issues, rows.n, err)
                              : check_text(&issues, args[0], rows.n, err);
    if (rc == HOLD_OK && issues.n_errors > 0)
        rc = hold_fail(err, HOLD_EDATA, "%s: %s", args[0],
                       hold_cli_count(issues.n_errors, "error").text);
    hold_issues_release(&issues);
    hold_rows_release(&rows);
    hold_cli_text_release(&text);
    return rc;
}

const struct hold_command hold_cmd_data_check = {
    .name = "data check",
    .summary = "find bad rows before training",
    .usage = "FILE [-m MODEL]",
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
    const char *model;
    int64_t row, limit;
};
static const struct hold_option show_options[] = {
    HOLD_CLI_MODEL(T),
    HOLD_INT(T, row, 0, 0, 9007199254740991, "first row to show, from 0"),
    HOLD_INT(T, limit, 3, 1, 1000000, "rows to show"),
    {0},
};
#undef T

static int row_json(const struct hold_renderer *r, const struct hold_row_tokens *t, int64_t index,
                    long line, struct hold_str *out, struct hold_error *err) {
    json_t *list = json_array();
    int bad = 0;
    for (size_t i = 0; list != NULL && i < t->ids.len; i++) {
        const char *piece = hold_tokenizer_piece(r->tokenizer, t->ids.data[i]);
        bad |=
            json_array_append_new(list, json_pack("{s:i, s:o, s:f}", "id", (int)t->ids.data[i],
                                                  "piece", hold_cli_json_text(piece, strlen(piece)),
                                                  "weight", (double)hold_row_token_weight(t, i)));
    }
    list = hold_json_whole(list, bad);
    json_t *o = json_pack("{s:I, s:I, s:o}", "index", (json_int_t)index, "line", (json_int_t)line,
                          "tokens", list);
    int rc = o == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a row")
                       : hold_json_line(o, out, err);
    json_decref(o);
    hold_str_add_char(out, '\n');
    return rc;
}

/* The row's text, what is trained between marks (colours on a terminal). */
static int row_text(const struct hold_renderer *r, const struct hold_row_tokens *t, int64_t index,
                    long line, struct hold_str *out, struct hold_error *err) {
    bool colour = hold_cli_colour(STDOUT_FILENO);
    const char *on = colour ? "\033[1;32m" : "\xE2\x9F\xA6",
               *off = colour ? "\033[0m" : "\xE2\x9F\xA7";
    size_t trained = 0;
    for (size_t i = 0; i < t->ids.len; i++)
        trained += hold_row_token_weight(t, i) > 0;
    hold_str_addf(out, "row %lld (line %ld): %zu tokens, %zu trained (%s)\n", (long long)index,
                  line, t->ids.len, trained,
                  colour ? "green" : "\xE2\x9F\xA6like this\xE2\x9F\xA7");
    bool inside = false;
    int rc = HOLD_OK;
    for (size_t i = 0, end; rc == HOLD_OK && i < t->ids.len; i = end) {
        bool is = hold_row_token_weight(t, i) > 0;
        if (is != inside)
            hold_str_add(out, is ? on : off);
        inside = is;
        /* Tokens of one kind are decoded together: a character may be spread over several. */
        for (end = i + 1; end < t->ids.len && (hold_row_token_weight(t, end) > 0) == is; end++)
            ;
        rc = hold_tokenizer_decode_part(r->tokenizer, t->ids.data + i, end - i, true, i == 0, out,
                                        err);
    }
    hold_str_add(out, inside ? off : "");
    hold_str_add(out, "\n\n");
    return rc;
}

static int show(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    const struct show_options *o = opts;
    struct hold_text_side text = {0};
    struct hold_rows rows = {0};
    struct hold_str out = HOLD_STR_INIT;
    char where[HOLD_ERROR_TEXT / 2];
    (void)n_args;
    int rc = hold_rows_read(&rows, args[0], NULL, err);
    if (rc == HOLD_OK && o->row >= rows.n)
        rc = hold_fail(err, HOLD_EUSAGE, "--row: %lld is out of range, %s has %lld rows",
                       (long long)o->row, args[0], (long long)rows.n);
    if (rc == HOLD_OK)
        rc = hold_cli_text_side(cli, o->model, &text, err);
    struct hold_renderer r = hold_cli_text_renderer(&text, 0);
    for (int64_t i = o->row; rc == HOLD_OK && i < rows.n && i - o->row < o->limit; i++) {
        struct hold_row_tokens t = {0};
        long line = rows.row[i].line;
        snprintf(where, sizeof where, "%s:%ld", args[0], line);
        rc = hold_render_row(&r, &rows.row[i], where, &t, err);
        if (rc == HOLD_OK)
            rc = cli->common.json ? row_json(&r, &t, i, line, &out, err)
                                  : row_text(&r, &t, i, line, &out, err);
        hold_row_tokens_release(&t);
    }
    if (rc == HOLD_OK)
        rc = hold_cli_write("", &out, err);
    hold_str_release(&out);
    hold_rows_release(&rows);
    hold_cli_text_release(&text);
    return rc;
}

const struct hold_command hold_cmd_data_show = {
    .name = "data show",
    .summary = "rows as the model sees them, and which tokens are trained",
    .usage = "FILE -m MODEL [--row N] [--limit N]",
    .example = "  echo '{\"prompt\":\"Hi\",\"completion\":\"Hello.\"}' | holdfast data show -",
    .options = show_options,
    .size = sizeof(struct show_options),
    .min_args = 1,
    .max_args = 1,
    .run = show,
};

/* --- stats --- */

#define T struct stats_options
struct stats_options {
    const char *model;
    int64_t max_length;
};
static const struct hold_option stats_options[] = {
    {"model", "MODEL whose tokens are counted; empty: none", HOLD_OPT_TEXT, offsetof(T, model), 0,
     0, 0, "", NULL, 'm'},
    HOLD_INT(T, max_length, 1024, 8, 1000000, "tokens of a row that training will keep"),
    {0},
};
#undef T

static int by_size(const void *pa, const void *pb) {
    int64_t a = *(const int64_t *)pa, b = *(const int64_t *)pb;
    return (a > b) - (a < b);
}

/* {"min","median","p95","max","mean"} of n > 0 sizes, which it sorts. */
static json_t *spread(int64_t *sizes, int64_t n) {
    double sum = 0;
    qsort(sizes, (size_t)n, sizeof *sizes, by_size);
    for (int64_t i = 0; i < n; i++)
        sum += (double)sizes[i];
    return json_pack("{s:I, s:I, s:I, s:I, s:f}", "min", (json_int_t)sizes[0], "median",
                     (json_int_t)sizes[n / 2], "p95", (json_int_t)sizes[(n - 1) * 95 / 100], "max",
                     (json_int_t)sizes[n - 1], "mean", sum / (double)n);
}

static int64_t characters(const char *text) {
    int64_t n = 0;
    for (; text != NULL && *text != '\0'; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static int count_rows(const struct hold_rows *rows, json_t *out, struct hold_error *err) {
    json_t *formats = json_object(), *roles = json_object();
    void *memory = NULL;
    int bad = 0;
    int rc = hold_new(&memory, (size_t)rows->n, sizeof(int64_t), "sizes", err);
    int64_t *sizes = memory;
    for (int64_t i = 0; rc == HOLD_OK && i < rows->n; i++) {
        const struct hold_row *row = &rows->row[i];
        const char *format = FORMATS[row->format];
        json_int_t n = json_integer_value(json_object_get(formats, format));
        bad |= json_object_set_new(formats, format, json_integer(n + 1));
        sizes[i] = characters(row->text);
        for (size_t k = 0; k < json_array_size(row->messages); k++) {
            const json_t *message = json_array_get(row->messages, k);
            const char *role = json_string_value(json_object_get(message, "role"));
            sizes[i] += characters(json_string_value(json_object_get(message, "content")));
            n = json_integer_value(json_object_get(roles, role));
            bad |= json_object_set_new(roles, role, json_integer(n + 1));
        }
    }
    if (rc == HOLD_OK &&
        (bad != 0 || json_object_set_new(out, "rows", json_integer(rows->n)) != 0 ||
         json_object_set(out, "formats", formats) != 0 ||
         json_object_set(out, "messages", roles) != 0 ||
         json_object_set_new(out, "characters", spread(sizes, rows->n)) != 0))
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for statistics");
    json_decref(formats);
    json_decref(roles);
    hold_free(memory);
    return rc;
}

static int count_tokens(const struct hold_renderer *whole, int64_t max_length,
                        const struct hold_rows *rows, json_t *out, struct hold_error *err) {
    struct hold_set set = {0};
    void *memory = NULL;
    int64_t cut = 0, trained = 0, tokens = 0;
    int rc = hold_render_set(whole, rows, &set, NULL, err);
    if (rc == HOLD_OK)
        rc = hold_new(&memory, (size_t)rows->n, sizeof(int64_t), "sizes", err);
    int64_t *sizes = memory;
    for (int64_t i = 0; rc == HOLD_OK && i < set.n; i++) {
        const struct hold_example *e = &set.example[i];
        sizes[i] = e->n;
        cut += e->n > max_length;
        for (int32_t t = 0; t < e->n; t++)
            trained += e->target_weight[t] > 0;
        tokens += e->n;
    }
    if (rc == HOLD_OK && (json_object_set_new(out, "tokens", spread(sizes, rows->n)) != 0 ||
                          json_object_set_new(out, "tokens_in_all", json_integer(tokens)) != 0 ||
                          json_object_set_new(out, "tokens_trained", json_integer(trained)) != 0 ||
                          json_object_set_new(out, "rows_cut", json_integer(cut)) != 0))
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for statistics");
    hold_free(memory);
    hold_set_release(&set);
    return rc;
}

/* One line a value: objects inside become "key value, key value". */
static int stats_text(const json_t *stats, struct hold_error *err) {
    struct hold_table t = {.cols = 2};
    const char *key, *name;
    json_t *value, *item;
    hold_table_cell(&t, "what");
    hold_table_cell(&t, "value");
    json_object_foreach((json_t *)stats, key, value) {
        struct hold_str text = HOLD_STR_INIT;
        hold_table_cell(&t, "%s", key);
        if (json_is_integer(value))
            hold_str_addf(&text, "%lld", (long long)json_integer_value(value));
        json_object_foreach(value, name, item) {
            hold_str_addf(&text, "%s%s ", text.len > 0 ? ", " : "", name);
            if (json_is_integer(item))
                hold_str_addf(&text, "%lld", (long long)json_integer_value(item));
            else
                hold_str_addf(&text, "%.1f", json_real_value(item));
        }
        hold_table_cell(&t, "%s", hold_str_text(&text));
        t.out_of_memory = t.out_of_memory || text.out_of_memory;
        hold_str_release(&text);
    }
    return hold_table_print(&t, err);
}

static int stats(struct hold_cli *cli, void *opts, int n_args, char **args,
                 struct hold_error *err) {
    const struct stats_options *o = opts;
    struct hold_text_side text = {0};
    struct hold_rows rows = {0};
    json_t *out = json_object();
    (void)n_args;
    int rc = out == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for statistics")
                         : hold_rows_read(&rows, args[0], NULL, err);
    if (rc == HOLD_OK && rows.n == 0)
        rc = hold_fail(err, HOLD_EDATA, "%s: no rows", args[0]);
    if (rc == HOLD_OK)
        rc = count_rows(&rows, out, err);
    if (rc == HOLD_OK && o->model[0] != '\0') {
        rc = hold_cli_text_side(cli, o->model, &text, err);
        if (rc == HOLD_OK) {
            struct hold_renderer r = hold_cli_text_renderer(&text, 0);
            rc = count_tokens(&r, o->max_length, &rows, out, err);
        }
    }
    if (rc == HOLD_OK)
        rc = cli->common.json ? hold_cli_print_json(json_incref(out), err) : stats_text(out, err);
    json_decref(out);
    hold_rows_release(&rows);
    hold_cli_text_release(&text);
    return rc;
}

const struct hold_command hold_cmd_data_stats = {
    .name = "data stats",
    .summary = "counts, lengths and, with a model, tokens of a file of rows",
    .usage = "FILE [-m MODEL]",
    .example = "  echo '{\"prompt\":\"Hi\",\"completion\":\"Hello.\"}' | holdfast data stats -",
    .options = stats_options,
    .size = sizeof(struct stats_options),
    .min_args = 1,
    .max_args = 1,
    .run = stats,
};
