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
    const char *arm;
    int64_t rounds, seed;
};
static const struct hold_option options[] = {
    HOLD_TEXT(T, arm, "", NULL, "compare this arm of both sides; given again: these"),
    HOLD_INT(T, rounds, 10000, 100, 1000000, "resamples of the bootstrap"),
    HOLD_INT(T, seed, 1, 0, 9007199254740991, "of the bootstrap"),
    {0},
};
#undef T

/* One side: its rows, each under a key that names the prompt. */
struct side {
    const char *word;
    char *path, *arm; /* arm: the one behind the colon, or NULL */
    json_t *arms;     /* name -> set -> {key -> {"verdict","prompt"}}, in the file's order */
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

/* The object under a key, made when it is not there; NULL: no memory. */
static json_t *inner_object(json_t *o, const char *key) {
    json_t *inner = json_object_get(o, key);
    if (inner == NULL && json_object_set_new(o, key, json_object()) == 0)
        inner = json_object_get(o, key);
    return inner;
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
    if (s->arm != NULL && strcmp(s->arm, arm) != 0)
        return HOLD_OK;
    json_t *of_set = inner_object(inner_object(s->arms, arm), set);
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
    s->arms = json_object();
    int rc = s->arms == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for rows") : split(s, err);
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
    if (rc == HOLD_OK && json_object_size(s->arms) == 0)
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

/* One score over the prompts that both arms have; appended to `out` unless there are none. */
static int compare_score(const struct options *o, const struct hold_cli_score *c,
                         const json_t *arm_a, const json_t *arm_b, json_t *out,
                         struct hold_error *err) {
    json_t *a = json_object_get(arm_a, c->set), *b = json_object_get(arm_b, c->set);
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
    int bad = 0;
    if (rc == HOLD_OK)
        json_object_foreach(a, key, row) {
            const json_t *other = json_object_get(b, key);
            const char *prompt = json_string_value(json_object_get(row, "prompt"));
            if (other == NULL)
                continue;
            if (json_object_get(prompts, prompt) == NULL)
                bad |= json_object_set_new(prompts, prompt, json_integer((json_int_t)n));
            x[n] = hold_cli_score_value(c, json_string_value(json_object_get(row, "verdict")));
            y[n] = hold_cli_score_value(c, json_string_value(json_object_get(other, "verdict")));
            group[n++] = json_integer_value(json_object_get(prompts, prompt));
        }
    struct hold_interval d = {0};
    if (rc == HOLD_OK && bad != 0)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for pairs");
    if (rc == HOLD_OK && n > 0)
        rc = hold_paired_bootstrap(x, y, group, n, o->rounds, (uint64_t)o->seed, 0.95, &d, err);
    if (rc == HOLD_OK && n > 0)
        rc = hold_interval_widen(x, y, group, n, 0.95, &d, err);
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

/* --- which arm meets which --- */

static const char *only_name(const json_t *arms) {
    return json_object_iter_key(json_object_iter((json_t *)arms));
}

/* "released, poisoned, lisa ..." */
static void list_names(const json_t *arms, char *out, size_t cap) {
    const char *name;
    json_t *arm;
    size_t at = 0;
    out[0] = '\0';
    json_object_foreach((json_t *)arms, name, arm) {
        if (at + 80 > cap) {
            snprintf(out + at, cap - at, " ...");
            return;
        }
        at += (size_t)snprintf(out + at, cap - at, "%s%.64s", at == 0 ? "" : ", ", name);
    }
}

static int add_pair(json_t *pairs, const char *a, const char *b, struct hold_error *err) {
    json_t *pair = json_pack("{s:s, s:s, s:[]}", "a", a, "b", b, "differences");
    return json_array_append_new(pairs, pair) == 0
               ? HOLD_OK
               : hold_fail(err, HOLD_ENOMEMORY, "no memory for a comparison");
}

static int add_wanted(const char *wanted, const struct side s[2], json_t *pairs,
                      struct hold_error *err) {
    int rc = HOLD_OK;
    while (rc == HOLD_OK && *wanted != '\0') {
        char name[256], known[512];
        size_t n = strcspn(wanted, "\n");
        snprintf(name, sizeof name, "%.*s", (int)(n < 255 ? n : 255), wanted);
        for (int i = 0; rc == HOLD_OK && i < 2; i++)
            if (json_object_get(s[i].arms, name) == NULL) {
                list_names(s[i].arms, known, sizeof known);
                rc = hold_fail(err, HOLD_ENOTFOUND, "%s: no rows of an arm '%s'; it has %s",
                               s[i].path, name, known);
            }
        if (rc == HOLD_OK)
            rc = add_pair(pairs, name, name, err);
        wanted += n + (wanted[n] == '\n');
    }
    return rc;
}

/* Two arms meet whatever they are called; of several those meet that have one name. */
static int pair_arms(struct hold_cli *cli, const struct options *o, const struct side s[2],
                     json_t *pairs, struct hold_error *err) {
    size_t n[2] = {json_object_size(s[0].arms), json_object_size(s[1].arms)};
    const char *name;
    json_t *arm;
    char known[512];
    int rc = HOLD_OK;
    if (o->arm[0] != '\0')
        return add_wanted(o->arm, s, pairs, err);
    if (n[0] == 1 && n[1] == 1)
        return add_pair(pairs, only_name(s[0].arms), only_name(s[1].arms), err);
    if (n[0] == 1 || n[1] == 1) {
        const struct side *several = &s[n[0] == 1];
        list_names(several->arms, known, sizeof known);
        return hold_fail(err, HOLD_EUSAGE, "%s has several arms (%s): say %s:ARM", several->path,
                         known, several->word);
    }
    json_object_foreach(s[0].arms, name,
                        arm) if (rc == HOLD_OK && json_object_get(s[1].arms, name) != NULL) rc =
        add_pair(pairs, name, name, err);
    size_t both = json_array_size(pairs);
    if (rc == HOLD_OK && both == 0)
        return hold_fail(err, HOLD_EDATA, "%s and %s have no arm of one name", s[0].word,
                         s[1].word);
    if (rc == HOLD_OK && n[0] + n[1] > 2 * both)
        hold_log(&cli->ctx, HOLD_WARN, "compare", "%s left out: only one side has them",
                 hold_cli_count((int64_t)(n[0] + n[1] - 2 * both), "arm").text);
    return rc;
}

/* --- output --- */

static void print_pair(struct hold_table *t, const json_t *pair, bool several) {
    const json_t *list = json_object_get(pair, "differences");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *d = json_array_get(list, i);
        if (several)
            hold_table_cell(t, "%s", json_string_value(json_object_get(pair, "a")));
        hold_table_cell(t, "%s", json_string_value(json_object_get(d, "score")));
        hold_table_cell(t, "%.1f%%", 100 * real_of(d, "a"));
        hold_table_cell(t, "%.1f%%", 100 * real_of(d, "b"));
        hold_table_cell(t, "%+.1f points", 100 * real_of(d, "difference"));
        hold_table_cell(t, "%+.1f to %+.1f", 100 * real_of(d, "lo"), 100 * real_of(d, "hi"));
        hold_table_cell(t, "%lld", (long long)json_integer_value(json_object_get(d, "n")));
    }
}

/* The head names the two arms, or with several pairs the two sides. */
static int print_differences(const json_t *pairs, const struct side s[2], struct hold_error *err) {
    bool several = json_array_size(pairs) > 1;
    const json_t *first = json_array_get(pairs, 0);
    struct hold_table t = {.cols = several ? 7 : 6};
    if (several)
        hold_table_cell(&t, "arm");
    hold_table_cell(&t, "score");
    for (int i = 0; i < 2; i++)
        hold_table_cell(&t, "%s",
                        several ? s[i].word
                                : json_string_value(json_object_get(first, i == 0 ? "a" : "b")));
    hold_table_cell(&t, "difference");
    hold_table_cell(&t, "95%% interval");
    hold_table_cell(&t, "n");
    for (size_t i = 0; i < json_array_size(pairs); i++)
        print_pair(&t, json_array_get(pairs, i), several);
    return hold_table_print(&t, err);
}

/* {"pairs": [{"a","b","differences"}]}; of one pair its members stand at the top too. */
static int print_json(json_t *pairs, struct hold_error *err) {
    json_t *o = json_array_size(pairs) == 1 ? json_copy(json_array_get(pairs, 0)) : json_object();
    if (o == NULL || json_object_set(o, "pairs", pairs) != 0) {
        json_decref(o);
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a comparison");
    }
    return hold_cli_print_json(o, err);
}

static int compare_pair(const struct options *o, const struct side s[2], json_t *pair,
                        struct hold_error *err) {
    json_t *out = json_object_get(pair, "differences");
    const json_t *a = json_object_get(s[0].arms, json_string_value(json_object_get(pair, "a")));
    const json_t *b = json_object_get(s[1].arms, json_string_value(json_object_get(pair, "b")));
    int rc = HOLD_OK;
    for (const struct hold_cli_score *c = hold_cli_scores; rc == HOLD_OK && c->key != NULL; c++)
        rc = compare_score(o, c, a, b, out, err);
    if (rc == HOLD_OK && json_array_size(out) == 0)
        rc = hold_fail(err, HOLD_EDATA, "%s and %s have no prompt in common", s[0].word, s[1].word);
    return rc;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    struct side s[2] = {{.word = args[0]}, {.word = args[1]}};
    const struct options *o = opts;
    json_t *pairs = json_array();
    (void)n_args;
    int rc = pairs == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a comparison") : HOLD_OK;
    for (int i = 0; rc == HOLD_OK && i < 2; i++)
        rc = read_side(cli, &s[i], err);
    if (rc == HOLD_OK)
        rc = pair_arms(cli, o, s, pairs, err);
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(pairs); i++)
        rc = compare_pair(o, s, json_array_get(pairs, i), err);
    if (rc == HOLD_OK)
        rc = cli->common.json ? print_json(pairs, err) : print_differences(pairs, s, err);
    for (int i = 0; i < 2; i++) {
        hold_free(s[i].path);
        hold_free(s[i].arm);
        json_decref(s[i].arms);
    }
    json_decref(pairs);
    return rc;
}

const struct hold_command hold_cmd_compare = {
    .name = "compare",
    .summary = "two arms, runs or evaluations on the same prompts, paired",
    .usage =
        "A B [--arm NAME ...]      each a folder with rows.jsonl or such a file, or one arm of it: "
        "runs/demo:lisa",
    .example = "  holdfast compare runs/demo:lisa runs/demo:poisoned\n"
               "  holdfast compare runs/demo runs/demo --arm lisa",
    .many = " arm ",
    .options = options,
    .size = sizeof(struct options),
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
