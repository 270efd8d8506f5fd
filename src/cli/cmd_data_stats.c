/* cmd_data_stats.c: `holdfast data stats`: how many rows of which kind, how long, what is cut. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "data/lengths.h"

enum { BAR = 40 };

#define T struct options
struct options {
    const char *model, *split;
    int64_t max_length;
};
static const struct hold_option options[] = {
    {"model", "MODEL whose tokens are counted; empty: none", HOLD_OPT_TEXT, offsetof(T, model), 0,
     0, 0, "", NULL, 'm'},
    HOLD_TEXT(T, split, "train", "train|valid|test", "which rows of a folder"),
    HOLD_INT(T, max_length, 1024, 8, 1000000, "tokens of a row that training will keep"),
    {0},
};
#undef T

/* What is counted of rows, or of one side of pairs. */
struct counts {
    int64_t n, tokens, trained, cut, cut_trained, untrained;
    int64_t *characters, *turns, *n_tokens, *n_trained; /* n each */
};

static int64_t characters(const char *text) {
    int64_t n = 0;
    for (; text != NULL && *text != '\0'; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static int counts_new(struct counts *c, int64_t n, struct hold_error *err) {
    int64_t **list[] = {&c->characters, &c->turns, &c->n_tokens, &c->n_trained};
    int rc = HOLD_OK;
    for (size_t i = 0; rc == HOLD_OK && i < sizeof list / sizeof *list; i++)
        rc = hold_new((void **)list[i], (size_t)n + 1, sizeof(int64_t), "sizes", err);
    return rc;
}

static void counts_release(struct counts *c) {
    hold_free(c->characters);
    hold_free(c->turns);
    hold_free(c->n_tokens);
    hold_free(c->n_trained);
}

static int count_tokens(struct counts *c, const struct hold_renderer *r, int64_t max_length,
                        const struct hold_row *row, const char *path, struct hold_error *err) {
    struct hold_row_tokens t = {0};
    char where[HOLD_ERROR_TEXT / 2];
    snprintf(where, sizeof where, "%s:%ld", path, row->line);
    int rc = hold_render_row(r, row, where, &t, err);
    if (rc < 0)
        return rc;
    int64_t n = (int64_t)t.ids.len, trained = 0;
    for (int64_t i = 0; i < n; i++) {
        bool is = hold_row_token_weight(&t, (size_t)i) > 0;
        trained += is;
        c->cut_trained += is && i >= max_length;
    }
    c->n_tokens[c->n] = n;
    c->n_trained[c->n] = trained;
    c->tokens += n;
    c->trained += trained;
    c->cut += n > max_length;
    c->untrained += trained == 0;
    hold_row_tokens_release(&t);
    return HOLD_OK;
}

/* r NULL: no tokens. */
static int count_row(struct counts *c, const struct hold_renderer *r, int64_t max_length,
                     const struct hold_row *row, const char *path, struct hold_error *err) {
    int rc = r == NULL ? HOLD_OK : count_tokens(c, r, max_length, row, path, err);
    c->characters[c->n] = characters(row->text);
    for (size_t k = 0; k < json_array_size(row->messages); k++) {
        const json_t *message = json_array_get(row->messages, k);
        c->characters[c->n] += characters(json_string_value(json_object_get(message, "content")));
    }
    c->turns[c->n++] = (int64_t)json_array_size(row->messages);
    return rc;
}

static json_t *spread(int64_t *sizes, int64_t n) {
    struct hold_lengths s = hold_lengths_of(sizes, n);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "min", (json_int_t)s.min, "p50",
                     (json_int_t)s.p50, "p90", (json_int_t)s.p90, "p95", (json_int_t)s.p95, "p99",
                     (json_int_t)s.p99, "max", (json_int_t)s.max, "mean", s.mean);
}

/* [{"to", "rows"}], from the first bin that has rows to the last. */
static json_t *histogram(const int64_t *sizes, int64_t n) {
    int64_t bins[HOLD_LENGTH_BINS];
    json_t *list = json_array();
    int bad = 0;
    hold_lengths_bins(sizes, n, bins);
    int first = 0, last = HOLD_LENGTH_BINS - 1;
    while (bins[first] == 0)
        first++;
    while (bins[last] == 0)
        last--;
    for (int k = first; list != NULL && k <= last; k++)
        bad |= json_array_append_new(list, json_pack("{s:I, s:I}", "to",
                                                     (json_int_t)hold_lengths_bin_end(k), "rows",
                                                     (json_int_t)bins[k]));
    return hold_json_whole(list, bad);
}

static int64_t count_whole(const int64_t *sorted, int64_t n, int64_t limit) {
    while (n > 0 && sorted[n - 1] > limit)
        n--;
    return n;
}

/* The counts as keys of `out`. */
static int put_counts(struct counts *c, bool tokens, int64_t max_length, json_t *out,
                      struct hold_error *err) {
    int bad = json_object_set_new(out, "characters", spread(c->characters, c->n)) ||
              json_object_set_new(out, "turns", spread(c->turns, c->n));
    if (tokens && !bad) {
        bad = json_object_set_new(out, "tokens", spread(c->n_tokens, c->n)) ||
              json_object_set_new(out, "trained", spread(c->n_trained, c->n));
        int64_t limit = hold_lengths_limit(c->n_tokens, c->n);
        double n = (double)c->n;
        json_t *more = json_pack(
            "{s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:f, s:o}", "tokens_in_all",
            (json_int_t)c->tokens, "tokens_trained", (json_int_t)c->trained, "rows_untrained",
            (json_int_t)c->untrained, "max_length", (json_int_t)max_length, "rows_cut",
            (json_int_t)c->cut, "share_cut", (double)c->cut / n, "trained_cut",
            (json_int_t)c->cut_trained, "suggested_max_length", (json_int_t)limit,
            "suggested_whole", (double)count_whole(c->n_tokens, c->n, limit) / n, "histogram",
            histogram(c->n_tokens, c->n));
        bad = bad || more == NULL || json_object_update(out, more);
        json_decref(more);
    }
    return bad ? hold_fail(err, HOLD_ENOMEMORY, "no memory for statistics") : HOLD_OK;
}

static int add_one(json_t *object, const char *key) {
    json_int_t n = json_integer_value(json_object_get(object, key));
    return json_object_set_new(object, key, json_integer(n + 1));
}

static int count_kinds(const struct hold_rows *rows, json_t *out, struct hold_error *err) {
    json_t *formats = json_object(), *roles = json_object();
    int64_t tools = 0;
    int bad = 0;
    for (int64_t i = 0; i < rows->n; i++) {
        const struct hold_row *row = &rows->row[i];
        bad |= add_one(formats, hold_row_format_name(row->format));
        tools += row->tools != NULL;
        for (int side = 0; side < 2; side++) {
            const json_t *list = side ? row->rejected : row->messages;
            /* What both sides of a pair begin with is counted once. */
            for (size_t k = side ? (size_t)row->shared : 0; k < json_array_size(list); k++)
                bad |= add_one(roles,
                               json_string_value(json_object_get(json_array_get(list, k), "role")));
        }
    }
    bad |= json_object_set_new(out, "rows", json_integer(rows->n));
    bad |= json_object_set_new(out, "formats", formats);
    bad |= json_object_set_new(out, "messages", roles);
    bad |= json_object_set_new(out, "rows_with_tools", json_integer(tools));
    return bad ? hold_fail(err, HOLD_ENOMEMORY, "no memory for statistics") : HOLD_OK;
}

/* Rows that are of one side, counted into `out` itself or into out[key]. */
static int count_side(const struct hold_rows *rows, enum hold_side side, const char *key,
                      const struct hold_renderer *r, int64_t max_length, json_t *out,
                      struct hold_error *err) {
    struct counts c = {0};
    int rc = counts_new(&c, rows->n, err);
    for (int64_t i = 0; rc == HOLD_OK && i < rows->n; i++) {
        struct hold_row one = hold_row_side(&rows->row[i], side);
        if (one.side == side && (side != HOLD_SIDE_ONLY || rows->row[i].side == side))
            rc = count_row(&c, r, max_length, &one, hold_row_file(&one), err);
    }
    json_t *into = key == NULL ? json_incref(out) : json_object();
    if (rc == HOLD_OK && into == NULL)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for statistics");
    if (rc == HOLD_OK && c.n > 0) {
        if (key != NULL)
            json_object_set_new(into, "rows", json_integer(c.n));
        rc = put_counts(&c, r != NULL, max_length, into, err);
        if (rc == HOLD_OK && key != NULL && json_object_set(out, key, into) != 0)
            rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for statistics");
    }
    json_decref(into);
    counts_release(&c);
    return rc;
}

/* --- for people --- */

static void add_kinds(const json_t *out, const char *key, struct hold_str *text) {
    const char *name;
    json_t *n;
    bool first = true;
    json_object_foreach(json_object_get(out, key), name, n) {
        hold_str_addf(text, "%s%s %lld", first ? "" : ", ", name, (long long)json_integer_value(n));
        first = false;
    }
}

static int print_spreads(const json_t *c, struct hold_error *err) {
    static const char *const KEYS[] = {"characters", "turns", "tokens", "trained"};
    static const char *const COLUMNS[] = {"min", "p50", "p90", "p95", "p99", "max", "mean"};
    struct hold_table t = {.cols = 8};
    hold_table_cell(&t, "a row");
    for (int k = 0; k < 7; k++)
        hold_table_cell(&t, "%s", COLUMNS[k]);
    for (int i = 0; i < 4; i++) {
        const json_t *s = json_object_get(c, KEYS[i]);
        if (s == NULL)
            continue;
        hold_table_cell(&t, "%s", KEYS[i]);
        for (int k = 0; k < 6; k++)
            hold_table_cell(&t, "%lld",
                            (long long)json_integer_value(json_object_get(s, COLUMNS[k])));
        hold_table_cell(&t, "%.1f", json_real_value(json_object_get(s, "mean")));
    }
    return hold_table_print(&t, err);
}

static void add_histogram(const json_t *bins, struct hold_str *text) {
    int64_t most = 1, from = 1;
    size_t i;
    json_t *bin;
    json_array_foreach(bins, i, bin) {
        int64_t n = json_integer_value(json_object_get(bin, "rows"));
        most = n > most ? n : most;
    }
    hold_str_add(text, "\ntokens           rows\n");
    json_array_foreach(bins, i, bin) {
        int64_t n = json_integer_value(json_object_get(bin, "rows"));
        int64_t to = json_integer_value(json_object_get(bin, "to"));
        from = to == HOLD_LENGTH_FIRST ? 0 : to / 2 + 1;
        hold_str_addf(text, "%7lld-%-7lld %7lld ", (long long)from, (long long)to, (long long)n);
        /* A bin with rows has a mark, however few they are. */
        for (int64_t k = 0; k < (n * BAR + most - 1) / most; k++)
            hold_str_add_char(text, '#');
        hold_str_add_char(text, '\n');
    }
}

static long long whole(const json_t *c, const char *key) {
    return (long long)json_integer_value(json_object_get(c, key));
}

static int print_counts(const json_t *c, struct hold_error *err) {
    struct hold_str text = HOLD_STR_INIT;
    int rc = print_spreads(c, err);
    if (rc == HOLD_OK && json_object_get(c, "tokens") != NULL) {
        hold_str_addf(&text, "%lld tokens in all, %lld trained\n", whole(c, "tokens_in_all"),
                      whole(c, "tokens_trained"));
        hold_str_addf(
            &text,
            "max_length %lld: %lld rows are cut (%.1f%%), and %lld trained tokens with them\n",
            whole(c, "max_length"), whole(c, "rows_cut"),
            100 * json_real_value(json_object_get(c, "share_cut")), whole(c, "trained_cut"));
        hold_str_addf(&text, "--max-length %lld keeps %.1f%% of the rows whole\n",
                      whole(c, "suggested_max_length"),
                      100 * json_real_value(json_object_get(c, "suggested_whole")));
        if (whole(c, "rows_untrained") > 0)
            hold_str_addf(&text, "%lld rows have no trained token\n", whole(c, "rows_untrained"));
        add_histogram(json_object_get(c, "histogram"), &text);
        rc = hold_cli_write("", &text, err);
    }
    hold_str_release(&text);
    return rc;
}

static int print_stats(const json_t *out, struct hold_error *err) {
    static const char *const SIDES[] = {"chosen", "rejected"};
    struct hold_str text = HOLD_STR_INIT;
    hold_str_addf(&text, "rows: %lld (", whole(out, "rows"));
    add_kinds(out, "formats", &text);
    hold_str_add(&text, ")\nmessages: ");
    add_kinds(out, "messages", &text);
    if (whole(out, "rows_with_tools") > 0)
        hold_str_addf(&text, "\nrows with tools: %lld", whole(out, "rows_with_tools"));
    hold_str_add(&text, "\n");
    int rc = hold_cli_write("", &text, err);
    if (rc == HOLD_OK && json_object_get(out, "characters") != NULL)
        rc = print_counts(out, err);
    for (int k = 0; rc == HOLD_OK && k < 2; k++) {
        const json_t *side = json_object_get(out, SIDES[k]);
        if (side == NULL)
            continue;
        hold_str_clear(&text);
        hold_str_addf(&text, "\n%s: %lld rows\n", SIDES[k], whole(side, "rows"));
        rc = hold_cli_write("", &text, err);
        if (rc == HOLD_OK)
            rc = print_counts(side, err);
    }
    hold_str_release(&text);
    return rc;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    const struct options *o = opts;
    struct hold_text_side text = {0};
    struct hold_rows rows = {0};
    struct hold_renderer renderer, *r = NULL;
    struct hold_str path = HOLD_STR_INIT;
    json_t *out = json_object();
    (void)n_args;
    int rc = out == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for statistics")
                         : hold_cli_split(args[0], o->split, &path, err);
    if (rc == HOLD_OK)
        rc = hold_cli_rows(cli, &rows, hold_str_text(&path), NULL, NULL, err);
    if (rc == HOLD_OK && o->model[0] != '\0') {
        rc = hold_cli_text_side(cli, o->model, &text, err);
        renderer = hold_cli_text_renderer(&text, 0);
        r = &renderer;
    }
    if (rc == HOLD_OK)
        rc = count_kinds(&rows, out, err);
    if (rc == HOLD_OK)
        rc = count_side(&rows, HOLD_SIDE_ONLY, NULL, r, o->max_length, out, err);
    if (rc == HOLD_OK)
        rc = count_side(&rows, HOLD_SIDE_CHOSEN, "chosen", r, o->max_length, out, err);
    if (rc == HOLD_OK)
        rc = count_side(&rows, HOLD_SIDE_REJECTED, "rejected", r, o->max_length, out, err);
    if (rc == HOLD_OK)
        rc = cli->common.json ? hold_cli_print_json(json_incref(out), err) : print_stats(out, err);
    json_decref(out);
    hold_str_release(&path);
    hold_rows_release(&rows);
    hold_cli_text_release(&text);
    return rc;
}

const struct hold_command hold_cmd_data_stats = {
    .name = "data stats",
    .summary = "counts and lengths of rows, and with a model their tokens and what is cut",
    .usage = "FILE|DIR [-m MODEL] [--max-length N]",
    .example = "  echo '{\"prompt\":\"Hi\",\"completion\":\"Hello.\"}' | holdfast data stats -",
    .options = options,
    .size = sizeof(struct options),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
