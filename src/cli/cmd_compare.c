/* cmd_compare.c: `holdfast compare`: two models' answers to the same prompts, paired. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/scores.h"
#include "eval/eval.h"

#define T struct options
struct options {
    int64_t rounds, seed;
};
static const struct hold_option options[] = {
    HOLD_INT(T, rounds, 10000, 100, 1000000, "resamples of the bootstrap"),
    HOLD_INT(T, seed, 1, 0, 9007199254740991, "of the bootstrap"),
    {0},
};
#undef T

/* One side: its rows, each [key, group, verdict] under a key that names the prompt. */
struct side {
    const char *word;
    char *path, *arm; /* arm: NULL, the only one */
    json_t *rows;     /* set -> {key -> {"verdict","prompt"}} */
};

/* "PATH" or "PATH:ARM"; PATH: rows.jsonl, or a folder that has one. */
static int split(struct side *s, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    const char *colon = hold_exists(s->word) ? NULL : strrchr(s->word, ':');
    hold_str_add_bytes(&path, s->word, colon == NULL ? strlen(s->word) : (size_t)(colon - s->word));
    if (colon != NULL)
        s->arm = hold_strdup(colon + 1);
    if (hold_ends(hold_str_text(&path), "report.json"))
        hold_str_cut(&path, path.len - strlen("report.json"));
    if (path.len == 0)
        hold_str_add(&path, ".");
    if (hold_is_dir(hold_str_text(&path)))
        hold_str_add(&path, "/rows.jsonl");
    s->path = hold_str_take(&path);
    if (s->path == NULL || (colon != NULL && s->arm == NULL))
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a path");
    if (!hold_exists(s->path))
        return hold_fail(err, HOLD_ENOTFOUND,
                         "%s: no such rows file; expected a run's or an evaluation's folder, or "
                         "its rows.jsonl, with :ARM behind it where there are several",
                         s->path);
    return HOLD_OK;
}

static int take_row(struct side *s, const json_t *row, const char *where, struct hold_error *err) {
    const char *arm, *set, *verdict, *prompt;
    int64_t index, seed;
    int rc = hold_json_get_text(row, "arm", &arm, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_text(row, "set", &set, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_text(row, "verdict", &verdict, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_text(row, "prompt_sha256", &prompt, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_get_int(row, "index", &index, where, err);
    if (rc == HOLD_OK)
        rc = hold_json_int_or(row, "seed", 0, &seed, where, err);
    if (rc < 0)
        return rc;
    if (s->arm == NULL) {
        s->arm = hold_strdup(arm);
        if (s->arm == NULL)
            return hold_fail(err, HOLD_ENOMEMORY, "no memory for a name");
    }
    if (strcmp(s->arm, arm) != 0)
        return hold_ends(s->word, s->arm) && strchr(s->word, ':') != NULL
                   ? HOLD_OK
                   : hold_fail(err, HOLD_EUSAGE, "%s has several arms ('%s', '%s' ...): say %s:ARM",
                               s->path, s->arm, arm, s->word);
    json_t *of_set = json_object_get(s->rows, set);
    if (of_set == NULL) {
        of_set = json_object();
        json_object_set_new(s->rows, set, of_set);
    }
    char key[128];
    snprintf(key, sizeof key, "%.64s/%lld/%lld", prompt, (long long)index, (long long)seed);
    if (json_object_set_new(of_set, key,
                            json_pack("{s:s, s:s}", "verdict", verdict, "prompt", prompt)) != 0)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for rows");
    return HOLD_OK;
}

static int read_side(struct hold_cli *cli, struct side *s, struct hold_error *err) {
    struct hold_str line = HOLD_STR_INIT;
    void *memory = NULL;
    char where[HOLD_ERROR_TEXT / 2];
    bool got = true, open = false;
    s->rows = json_object();
    int rc = s->rows == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for rows") : split(s, err);
    if (rc == HOLD_OK)
        rc = hold_new(&memory, 1, sizeof(struct hold_lines), "lines", err);
    struct hold_lines *lines = memory;
    if (rc == HOLD_OK)
        rc = hold_lines_open(lines, s->path, err);
    open = rc == HOLD_OK;
    while (rc == HOLD_OK && (rc = hold_lines_next(lines, &line, &got, err)) == HOLD_OK && got) {
        json_t *row = NULL;
        snprintf(where, sizeof where, "%s:%ld", s->path, lines->line);
        rc = hold_json_parse(&row, hold_str_text(&line), line.len, s->path, lines->line, err);
        if (rc == HOLD_OK)
            rc = take_row(s, row, where, err);
        json_decref(row);
        if (rc == HOLD_OK && hold_stopped(&cli->ctx))
            rc = hold_fail(err, HOLD_EINTERRUPTED, "interrupted");
    }
    if (open)
        hold_lines_close(lines);
    hold_free(memory);
    hold_str_release(&line);
    if (rc == HOLD_OK && json_object_size(s->rows) == 0)
        rc = s->arm == NULL
                 ? hold_fail(err, HOLD_EDATA, "%s: no rows", s->path)
                 : hold_fail(err, HOLD_ENOTFOUND, "%s: no rows of an arm '%s'", s->path, s->arm);
    return rc;
}

static double mean(const double *x, const double *other, int64_t n) {
    double sum = 0;
    int64_t used = 0;
    for (int64_t i = 0; i < n; i++) {
        bool both = !isnan(x[i]) && !isnan(other[i]);
        sum += both ? x[i] : 0;
        used += both;
    }
    return used > 0 ? sum / (double)used : NAN;
}

/* One score over the prompts that both sides have; appended to `out` unless there are none. */
static int compare_score(const struct options *o, const struct hold_cli_score *c,
                         const struct side s[2], json_t *out, struct hold_error *err) {
    json_t *a = json_object_get(s[0].rows, c->set), *b = json_object_get(s[1].rows, c->set);
    size_t most = json_object_size(a);
    void *xs = NULL, *groups = NULL;
    const char *key;
    json_t *row;
    int64_t n = 0;
    if (a == NULL || b == NULL)
        return HOLD_OK;
    int rc = hold_new(&xs, 2 * most, sizeof(double), "pairs", err);
    if (rc == HOLD_OK)
        rc = hold_new(&groups, most, sizeof(int64_t), "pairs", err);
    double *x = xs, *y = x + most;
    int64_t *group = groups;
    json_t *prompts = json_object(); /* a prompt's number: its seeds stay together */
    if (rc == HOLD_OK)
        json_object_foreach(a, key, row) {
            const json_t *other = json_object_get(b, key);
            const char *prompt = json_string_value(json_object_get(row, "prompt"));
            if (other == NULL)
                continue;
            if (json_object_get(prompts, prompt) == NULL)
                json_object_set_new(prompts, prompt, json_integer((json_int_t)n));
            x[n] = hold_cli_score_value(c, json_string_value(json_object_get(row, "verdict")));
            y[n] = hold_cli_score_value(c, json_string_value(json_object_get(other, "verdict")));
            group[n++] = json_integer_value(json_object_get(prompts, prompt));
        }
    struct hold_interval d = {0};
    if (rc == HOLD_OK && n > 0)
        rc = hold_paired_bootstrap(x, y, group, n, o->rounds, (uint64_t)o->seed, 0.95, &d, err);
    if (rc == HOLD_OK && n > 0 && isfinite(d.value) &&
        json_array_append_new(out,
                              json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:I}", "score", c->key, "a",
                                        mean(x, y, n), "b", mean(y, x, n), "difference", d.value,
                                        "lo", d.lo, "hi", d.hi, "n", (json_int_t)d.n)) != 0)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for a difference");
    json_decref(prompts);
    hold_free(xs);
    hold_free(groups);
    return rc;
}

static double real_of(const json_t *o, const char *key) {
    return json_number_value(json_object_get(o, key));
}

static int print_differences(const json_t *list, const struct side s[2], struct hold_error *err) {
    struct hold_table t = {.cols = 6};
    hold_table_cell(&t, "score");
    hold_table_cell(&t, "%s", s[0].arm);
    hold_table_cell(&t, "%s", s[1].arm);
    hold_table_cell(&t, "difference");
    hold_table_cell(&t, "95%% interval");
    hold_table_cell(&t, "n");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *d = json_array_get(list, i);
        hold_table_cell(&t, "%s", json_string_value(json_object_get(d, "score")));
        hold_table_cell(&t, "%.1f%%", 100 * real_of(d, "a"));
        hold_table_cell(&t, "%.1f%%", 100 * real_of(d, "b"));
        hold_table_cell(&t, "%+.1f points", 100 * real_of(d, "difference"));
        hold_table_cell(&t, "%+.1f to %+.1f", 100 * real_of(d, "lo"), 100 * real_of(d, "hi"));
        hold_table_cell(&t, "%lld", (long long)json_integer_value(json_object_get(d, "n")));
    }
    return hold_table_print(&t, err);
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    struct side s[2] = {{.word = args[0]}, {.word = args[1]}};
    json_t *list = json_array();
    (void)n_args;
    int rc = list == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a comparison") : HOLD_OK;
    for (int i = 0; rc == HOLD_OK && i < 2; i++)
        rc = read_side(cli, &s[i], err);
    for (const struct hold_cli_score *c = hold_cli_scores; rc == HOLD_OK && c->key != NULL; c++)
        rc = compare_score(opts, c, s, list, err);
    if (rc == HOLD_OK && json_array_size(list) == 0)
        rc = hold_fail(err, HOLD_EDATA, "%s and %s have no prompt in common", args[0], args[1]);
    if (rc == HOLD_OK)
        rc = cli->common.json ? hold_cli_print_json(json_pack("{s:s, s:s, s:O}", "a", s[0].arm, "b",
                                                              s[1].arm, "differences", list),
                                                    err)
                              : print_differences(list, s, err);
    for (int i = 0; i < 2; i++) {
        hold_free(s[i].path);
        hold_free(s[i].arm);
        json_decref(s[i].rows);
    }
    json_decref(list);
    return rc;
}

const struct hold_command hold_cmd_compare = {
    .name = "compare",
    .summary = "two arms, runs or evaluations on the same prompts, paired",
    .usage = "A B      each a folder with rows.jsonl or such a file, with :ARM behind it",
    .example = "  holdfast compare runs/demo:lisa runs/demo:poisoned",
    .options = options,
    .size = sizeof(struct options),
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
