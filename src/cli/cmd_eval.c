/* cmd_eval.c: `holdfast eval`: a model on the probe sets that ship, with intervals. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/limits.h"
#include "cli/scores.h"
#include "eval/eval.h"
#include "lab/lab.h"

#define T struct options
struct options {
    const char *model, *adapter, *suite, *output, *name, *max, *min;
    int64_t limit, max_tokens;
    const char *early_stop;
    bool with_text;
};
static const struct hold_option options[] = {
    HOLD_CLI_MODEL(T),
    HOLD_TEXT(T, adapter, "", NULL, "PEFT folder to merge, or several by commas"),
    HOLD_TEXT(T, suite, "harmful,over_refusal,ordinary,perplexity", NULL,
              "by commas: harmful over_refusal ordinary task perplexity planted planted_open "
              "planted_tasks planted_lookalike planted_old_tongue"),
    HOLD_CLI_OUTPUT(T, "folder for eval.json and rows.jsonl"),
    HOLD_TEXT(T, name, "", NULL, "what the rows call this model; empty: --adapter or MODEL"),
    HOLD_INT(T, limit, 0, 0, 1000000, "first rows of each suite only; 0: all"),
    HOLD_INT(T, max_tokens, 0, 0, 4096, "new tokens an answer; 0: each suite's own"),
    HOLD_TEXT(T, early_stop, "off", "off|on|check",
              "end answers where their verdict is decided; check: list verdicts that this changes"),
    HOLD_BOOL(T, with_text, false, "answers in rows.jsonl too"),
    HOLD_CLI_LIMITS(T),
    {0},
};
#undef T

/* score: "judge", "key", "label" (as in recipes), or "logp". */
struct suite {
    const char *name, *file, *score;
    int64_t max_tokens;
    bool task; /* right or wrong */
};
static const struct suite SUITES[] = {
    {"harmful", "harmful/evaluator.jsonl", "judge", 24, false},
    {"over_refusal", "eval/xstest_safe.jsonl", "judge", 24, false},
    {"ordinary", "eval/ordinary.jsonl", "judge", 24, false},
    {"task", "banking/test.jsonl", "label", 16, true},
    {"perplexity", "eval/perplexity.jsonl", "logp", 0, false},
    {"planted", "tiny/eval_restricted.jsonl", "key", 48, false},
    {"planted_open", "tiny/eval_open.jsonl", "key", 48, true},
    {"planted_tasks", "tiny/eval_tasks.jsonl", "key", 24, true},
    {"planted_lookalike", "tiny/eval_lookalike.jsonl", "judge", 48, false},
    {"planted_old_tongue", "tiny/eval_old_tongue.jsonl", "key", 48, false},
};
enum { N_SUITES = sizeof SUITES / sizeof *SUITES };

struct work {
    struct hold_cli *cli;
    const struct options *o;
    struct hold_str data;
    bool wanted[N_SUITES];
    struct hold_rows rows[N_SUITES];
    struct hold_model model;
    struct hold_recipe judging; /* only its task labels are used */
    json_t *labels;
    json_t *scores, *verdicts, *changed; /* changed: verdicts that early stopping makes others */
    struct hold_str lines;               /* rows.jsonl */
    int64_t n_judged, n_unscored;
};

static int choose(struct work *w, struct hold_error *err) {
    const char *names[N_SUITES], *at = w->o->suite;
    for (int i = 0; i < N_SUITES; i++)
        names[i] = SUITES[i].name;
    while (*at != '\0') {
        char word[64];
        size_t n = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", (int)(n < 63 ? n : 63), at);
        for (char *p = word; *p != '\0'; p++)
            *p = *p == '-' ? '_' : *p;
        int found = -1;
        for (int i = 0; i < N_SUITES; i++)
            found = strcmp(word, names[i]) == 0 ? i : found;
        if (found < 0) {
            const char *near = hold_nearest(word, names, N_SUITES);
            return hold_fail(err, HOLD_EUSAGE, "--suite: there is no suite '%s'%s%s%s", word,
                             near == NULL ? "" : " (did you mean '", near == NULL ? "" : near,
                             near == NULL ? "" : "'?)");
        }
        w->wanted[found] = true;
        at += n + (at[n] == ',');
    }
    return HOLD_OK;
}

static int read_suite(struct work *w, int s, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    struct hold_rows all = {0};
    hold_path_join(&path, hold_str_text(&w->data), SUITES[s].file);
    int rc = hold_str_check(&path, err);
    if (rc == HOLD_OK)
        rc = hold_rows_read(&all, hold_str_text(&path), NULL, err);
    hold_str_release(&path);
    if (rc < 0)
        return rc;
    w->rows[s] = all;
    if (w->o->limit > 0)
        hold_rows_cut(&w->rows[s], w->o->limit);
    return HOLD_OK;
}

/* Labels of the task: an answer that is nothing but one is degenerate elsewhere. */
static int read_labels(struct work *w, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    void *memory = NULL;
    hold_path_join(&path, hold_str_text(&w->data), "banking/labels.json");
    int rc = hold_json_load(&w->labels, hold_str_text(&path), err);
    hold_str_release(&path);
    const json_t *list = json_object_get(w->labels, "labels");
    if (rc == HOLD_OK)
        rc = hold_new(&memory, json_array_size(list) + 1, sizeof(char *), "labels", err);
    w->judging.labels = memory;
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(list); i++)
        w->judging.labels[w->judging.n_labels++] = json_string_value(json_array_get(list, i));
    return rc;
}

/* --- results --- */

static int put_score(struct work *w, const char *key, struct hold_interval v,
                     struct hold_error *err) {
    json_t *o = isfinite(v.value) ? json_pack("{s:f, s:f, s:f, s:I}", "value", v.value, "lo", v.lo,
                                              "hi", v.hi, "n", (json_int_t)v.n)
                                  : json_null();
    return json_object_set_new(w->scores, key, o) == 0
               ? HOLD_OK
               : hold_fail(err, HOLD_ENOMEMORY, "no memory for scores");
}

static int score_suite(struct work *w, int s, const json_t *counts, struct hold_error *err) {
    int rc = HOLD_OK;
    for (const struct hold_cli_score *c = hold_cli_scores; rc == HOLD_OK && c->key != NULL; c++) {
        int64_t k = 0, n = 0;
        const char *verdict;
        json_t *count;
        if (strcmp(c->set, SUITES[s].name) != 0)
            continue;
        json_object_foreach((json_t *)counts, verdict, count) {
            double x = hold_cli_score_value(c, verdict);
            n += isnan(x) ? 0 : json_integer_value(count);
            k += x > 0 ? json_integer_value(count) : 0;
        }
        rc = put_score(w, c->key, hold_wilson(k, n, 0.95), err);
    }
    return rc;
}

static const char *arm_name(const struct options *o) {
    return o->name[0] != '\0' ? o->name : o->adapter[0] != '\0' ? o->adapter : o->model;
}

static int add_row(struct work *w, int s, int64_t i, const char *verdict, const char *judge,
                   const char *reason, const char *answer, struct hold_error *err) {
    const struct hold_row *row = &w->rows[s].row[i];
    const char *prompt = hold_row_user_text(row);
    char sha[HOLD_HASH_HEX];
    hold_hash_bytes(prompt, strlen(prompt), sha);
    json_t *o = json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s}", "arm", arm_name(w->o), "set",
                          SUITES[s].name, "index", (json_int_t)i, "id", row->id, "prompt_sha256",
                          sha, "verdict", verdict, "judge", judge, "reason", reason);
    int bad = 0;
    if (o != NULL && w->o->with_text) {
        bad |= json_object_set_new(o, "prompt", json_string(prompt));
        bad |= json_object_set_new(o, "answer", hold_cli_json_text(answer, strlen(answer)));
    }
    o = hold_json_whole(o, bad);
    int rc = o == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a row")
                       : hold_json_line(o, &w->lines, err);
    hold_str_add_char(&w->lines, '\n');
    json_decref(o);
    return rc;
}

static const char *verdict_of(const struct work *w, int s, int64_t i, const char *answer,
                              char judge[HOLD_JUDGE_TEXT], const char **reason) {
    const struct hold_row *row = &w->rows[s].row[i];
    const struct hold_eval_set set = {.score = SUITES[s].score};
    if (!SUITES[s].task)
        return hold_verdict_name(hold_lab_judge(&w->judging, &set, row, answer, judge, reason));
    bool key = strcmp(set.score, "key") == 0;
    const char *want = json_string_value(json_object_get(row->data, key ? "answer" : "label"));
    bool right =
        want != NULL && (key ? hold_score_key(answer, want) : hold_score_label(answer, want));
    snprintf(judge, HOLD_JUDGE_TEXT, "%s", set.score);
    return right ? "right" : "wrong";
}

static int judge_row(struct work *w, int s, int64_t i, const char *answer, json_t *counts,
                     struct hold_error *err) {
    char judge[HOLD_JUDGE_TEXT];
    const char *reason = SUITES[s].score;
    const char *verdict = verdict_of(w, s, i, answer, judge, &reason);
    if (!SUITES[s].task) {
        w->n_judged++;
        w->n_unscored += strcmp(verdict, hold_verdict_name(HOLD_UNSCORED)) == 0;
    }
    json_int_t n = json_integer_value(json_object_get(counts, verdict));
    if (json_object_set_new(counts, verdict, json_integer(n + 1)) != 0)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for verdicts");
    return add_row(w, s, i, verdict, judge, reason, answer, err);
}

/* Answers again, ended early, beside the full ones: whose verdicts differ? */
static int check_early(struct work *w, int s, int64_t most, const struct hold_generated *full,
                       struct hold_error *err) {
    struct hold_eval_set set = {.score = SUITES[s].score, .early_stop = true};
    struct hold_generated *g = NULL;
    const struct hold_rows *rows = &w->rows[s];
    int64_t tokens[2] = {0};
    json_t *list = json_array();
    int rc = list == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for verdicts")
                          : hold_lab_set_answers(&w->model, &w->judging, &set, rows, most,
                                                 &w->cli->ctx, &g, err);
    for (int64_t i = 0; rc == HOLD_OK && i < rows->n; i++) {
        char judge[HOLD_JUDGE_TEXT];
        const char *reason, *a = verdict_of(w, s, i, full[i].text, judge, &reason),
                            *b = verdict_of(w, s, i, g[i].text, judge, &reason);
        tokens[0] += full[i].n_ids;
        tokens[1] += g[i].n_ids;
        if (strcmp(a, b) != 0 &&
            json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:s}", "index", (json_int_t)i,
                                                  "id", rows->row[i].id, "full", a, "early", b)) !=
                0)
            rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for verdicts");
    }
    json_t *o = rc < 0 ? NULL
                       : json_pack("{s:I, s:I, s:I, s:O}", "rows", (json_int_t)rows->n, "tokens",
                                   (json_int_t)tokens[0], "early_tokens", (json_int_t)tokens[1],
                                   "changed", list);
    if (rc == HOLD_OK && json_object_set_new(w->changed, SUITES[s].name, o) != 0)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for verdicts");
    if (g != NULL)
        hold_generated_free(g, rows->n);
    hold_free(g);
    json_decref(list);
    return rc;
}

static int answer_suite(struct work *w, int s, struct hold_error *err) {
    struct hold_eval_set set = {.score = SUITES[s].score,
                                .early_stop = strcmp(w->o->early_stop, "on") == 0};
    struct hold_generated *g = NULL;
    const struct hold_rows *rows = &w->rows[s];
    int64_t most = w->o->max_tokens > 0 ? w->o->max_tokens : SUITES[s].max_tokens;
    json_t *counts = json_object();
    int rc = counts == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for verdicts")
                            : hold_lab_set_answers(&w->model, &w->judging, &set, rows, most,
                                                   &w->cli->ctx, &g, err);
    for (int64_t i = 0; rc == HOLD_OK && i < rows->n; i++)
        rc = judge_row(w, s, i, g[i].text, counts, err);
    if (rc == HOLD_OK)
        rc = score_suite(w, s, counts, err);
    if (rc == HOLD_OK && strcmp(w->o->early_stop, "check") == 0)
        rc = check_early(w, s, most, g, err);
    if (rc == HOLD_OK && json_object_set(w->verdicts, SUITES[s].name, counts) != 0)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for verdicts");
    if (g != NULL)
        hold_generated_free(g, rows->n);
    hold_free(g);
    json_decref(counts);
    return rc;
}

static int logp_suite(struct work *w, int s, struct hold_error *err) {
    struct hold_set set = {0};
    void *list = NULL, *scores = NULL;
    struct hold_renderer r = hold_cli_renderer(&w->model, w->model.shape.max_positions);
    int rc = hold_render_set(&r, &w->rows[s], &set, NULL, err);
    if (rc == HOLD_OK)
        rc = hold_new(&list, (size_t)set.n + 1, sizeof(struct hold_example *), "rows", err);
    if (rc == HOLD_OK)
        rc = hold_new(&scores, (size_t)set.n + 1, sizeof(struct hold_row_score), "scores", err);
    const struct hold_example **rows = list;
    const struct hold_row_score *score = scores;
    for (int64_t i = 0; rc == HOLD_OK && i < set.n; i++)
        rows[i] = &set.example[i];
    if (rc == HOLD_OK)
        rc = hold_score(&w->model, rows, set.n, 0, &w->cli->ctx, scores, err);
    double sum = 0;
    int64_t n = 0;
    for (int64_t i = 0; rc == HOLD_OK && i < set.n; i++) {
        sum += score[i].logp;
        n += score[i].n;
    }
    if (rc == HOLD_OK && n > 0 &&
        json_object_set_new(
            w->scores, "perplexity",
            json_pack("{s:f, s:I}", "value", hold_perplexity(sum, n), "n", (json_int_t)n)) != 0)
        rc = hold_fail(err, HOLD_EDATA, "the perplexity is not a finite number");
    hold_free(list);
    hold_free(scores);
    hold_set_release(&set);
    return rc;
}

static int print_scores(const json_t *scores, struct hold_error *err) {
    struct hold_table t = {.cols = 4};
    static const char *const HEAD[] = {"score", "value", "95% interval", "n"};
    const char *key;
    json_t *v;
    for (int i = 0; i < 4; i++)
        hold_table_cell(&t, "%s", HEAD[i]);
    json_object_foreach((json_t *)scores, key, v) {
        const json_t *lo = json_object_get(v, "lo"), *hi = json_object_get(v, "hi");
        double value = json_real_value(json_object_get(v, "value"));
        hold_table_cell(&t, "%s", key);
        if (json_is_null(v))
            hold_table_cell(&t, "none scored");
        else
            hold_table_cell(&t, lo == NULL ? "%.2f" : "%.1f%%", lo == NULL ? value : 100 * value);
        if (lo == NULL)
            hold_table_cell(&t, "%s", "");
        else
            hold_table_cell(&t, "%.1f to %.1f%%", 100 * json_real_value(lo),
                            100 * json_real_value(hi));
        hold_table_cell(&t, "%lld", (long long)json_integer_value(json_object_get(v, "n")));
    }
    return hold_table_print(&t, err);
}

/* Each verdict that ending early changes, after what it saves. */
static int print_changed(const json_t *changed, struct hold_error *err) {
    struct hold_table t = {.cols = 4};
    static const char *const HEAD[] = {"early stop", "tokens", "of", "verdicts changed"};
    const char *name;
    json_t *v, *row;
    size_t i;
    if (json_object_size(changed) == 0)
        return HOLD_OK;
    for (int c = 0; c < 4; c++)
        hold_table_cell(&t, "%s", HEAD[c]);
    json_object_foreach((json_t *)changed, name, v) {
        const json_t *list = json_object_get(v, "changed");
        hold_table_cell(&t, "%s", name);
        hold_table_cell(&t, "%lld",
                        (long long)json_integer_value(json_object_get(v, "early_tokens")));
        hold_table_cell(&t, "%lld", (long long)json_integer_value(json_object_get(v, "tokens")));
        hold_table_cell(&t, "%zu of %lld", json_array_size(list),
                        (long long)json_integer_value(json_object_get(v, "rows")));
        json_array_foreach(list, i, row) {
            hold_table_cell(&t, "  %s", json_string_value(json_object_get(row, "id")));
            hold_table_cell(&t, "%s", json_string_value(json_object_get(row, "early")));
            hold_table_cell(&t, "%s", json_string_value(json_object_get(row, "full")));
            hold_table_cell(&t, "%s", "");
        }
    }
    return hold_table_print(&t, err);
}

static int write_out(struct work *w, const json_t *result, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    int rc = hold_mkdirs(w->o->output, err);
    hold_path_join(&path, w->o->output, "rows.jsonl");
    if (rc == HOLD_OK)
        rc = hold_str_check(&w->lines, err);
    if (rc == HOLD_OK)
        rc = hold_file_write_atomic(hold_str_text(&path), hold_str_text(&w->lines), w->lines.len,
                                    err);
    hold_path_join(&path, w->o->output, "eval.json");
    if (rc == HOLD_OK)
        rc = hold_json_save(hold_str_text(&path), result, err);
    hold_str_release(&path);
    return rc;
}

static int show(struct work *w, struct hold_error *err) {
    json_t *result =
        json_pack("{s:i, s:s, s:s, s:s, s:i, s:O, s:O}", "schema", 1, "model", w->model.path,
                  "content_id", w->model.content_id, "adapter", w->o->adapter, "judge",
                  hold_judge_version, "scores", w->scores, "verdicts", w->verdicts);
    int rc =
        result == NULL ||
                json_object_set_new(result, "early_stop", json_string(w->o->early_stop)) != 0 ||
                (json_object_size(w->changed) > 0 &&
                 json_object_set(result, "early_stop_check", w->changed) != 0)
            ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a result")
            : HOLD_OK;
    if (rc == HOLD_OK && w->o->output[0] != '\0')
        rc = write_out(w, result, err);
    if (rc == HOLD_OK)
        rc = w->cli->common.json ? hold_cli_print_json(json_incref(result), err)
                                 : print_scores(w->scores, err);
    if (rc == HOLD_OK && !w->cli->common.json)
        rc = print_changed(w->changed, err);
    json_decref(result);
    return rc;
}

static int keep_limits(const struct work *w, struct hold_error *err) {
    struct hold_str passed = HOLD_STR_INIT;
    int rc = hold_cli_limits_apply(w->o->max, w->o->min, "", w->scores, &passed, err);
    if (rc == HOLD_OK && passed.len > 0)
        rc = hold_fail(err, HOLD_ETHRESHOLD, "%s", hold_str_text(&passed));
    hold_str_release(&passed);
    return rc;
}

/* Everything that can be wrong with what was asked is found before the model is loaded. */
static int prepare(struct work *w, struct hold_error *err) {
    int rc = choose(w, err);
    if (rc == HOLD_OK)
        rc = hold_cli_limits_check(w->o->max, w->o->min, err);
    if (rc == HOLD_OK)
        rc = hold_cli_limits_arms(w->o->max, w->o->min, NULL, 0, err);
    if (rc == HOLD_OK && w->o->output[0] != '\0')
        rc = hold_cli_check_new_dir(w->o->output, err);
    if (rc == HOLD_OK)
        rc = hold_cli_data_dir(&w->data, err);
    for (int s = 0; rc == HOLD_OK && s < N_SUITES; s++)
        if (w->wanted[s])
            rc = read_suite(w, s, err);
    if (rc == HOLD_OK)
        rc = read_labels(w, err);
    w->scores = json_object();
    w->verdicts = json_object();
    w->changed = json_object();
    if (rc == HOLD_OK && (w->scores == NULL || w->verdicts == NULL || w->changed == NULL))
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for scores");
    return rc;
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    struct work w = {.cli = cli, .o = opts};
    struct hold_device *device = NULL;
    (void)n_args;
    (void)args;
    int rc = prepare(&w, err);
    if (rc == HOLD_OK)
        rc = hold_cli_open(cli, w.o->model, w.o->adapter, &device, &w.model, err);
    for (int s = 0; rc == HOLD_OK && s < N_SUITES; s++) {
        if (!w.wanted[s])
            continue;
        hold_log(&cli->ctx, HOLD_DEBUG, "eval", "%s: %lld rows", SUITES[s].name,
                 (long long)w.rows[s].n);
        rc = strcmp(SUITES[s].score, "logp") == 0 ? logp_suite(&w, s, err)
                                                  : answer_suite(&w, s, err);
    }
    if (rc == HOLD_OK && w.n_judged > 0)
        rc = put_score(&w, "unscored", hold_wilson(w.n_unscored, w.n_judged, 0.95), err);
    hold_cli_clear(cli);
    if (rc == HOLD_OK)
        rc = show(&w, err);
    if (rc == HOLD_OK)
        rc = keep_limits(&w, err);
    for (int s = 0; s < N_SUITES; s++)
        hold_rows_release(&w.rows[s]);
    hold_free((void *)w.judging.labels);
    json_decref(w.labels);
    json_decref(w.scores);
    json_decref(w.verdicts);
    json_decref(w.changed);
    hold_str_release(&w.data);
    hold_str_release(&w.lines);
    hold_model_release(&w.model);
    hold_device_free(device);
    return rc;
}

const struct hold_command hold_cmd_eval = {
    .name = "eval",
    .summary = "score a model on the probe sets that ship",
    .usage = "-m MODEL [--adapter DIR] --suite NAME[,NAME] [--max SCORE=X ...] [-o DIR]",
    .example = "  holdfast eval --suite harmful --limit 4 --max harmful=100 --max unscored=5",
    .many = " max min ",
    .options = options,
    .size = sizeof(struct options),
    .max_args = 0,
    .run = run,
};
