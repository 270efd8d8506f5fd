/* recipe.h: a recipe (YAML) read, checked and resolved: data with owners, defaults of the stages,
 * and arms.
 *
 *     name: demo                      a word: letters, digits, '-', '_', '.'
 *     title: one line for the report
 *     seed: 1                         or a list: one replicate of every arm for each
 *     scenario: service               or open_weights: then tune and repair are refused
 *     model: smollm2-135m-instruct    MODEL as on the command line; a path is tried beside the
 *                                     recipe first
 *     data:                           named sets of rows; files are relative to the recipe
 *       refusals: {files: [a.jsonl], owner: defender}
 *       probe: {files: e.jsonl, owner: evaluator, limit: 24}    24 rows of a fixed shuffle
 *       evaluator: {files: e.jsonl, owner: evaluator, skip: 24} the others of the same shuffle
 *       task_test: {files: [t.jsonl], owner: evaluator, task: banking}
 *       openings: {files: openings.txt, owner: attacker}        .txt: a text row for each line
 *     align:                          the provider's alignment stage
 *       data: [refusals, general]     what "align" trains on, in one stream
 *       refusals: [refusals]          the stream "align" of tuning defenses (harmful -> refusal)
 *       general: [general]            the stream "general"
 *       harmful: {prompts: [d], answers: openings}   the defender's own harmful rows; without
 *                                     answers the rows are taken as they are
 *       eval_data: held_out           rows whose loss train.eval_strategy asks for
 *       train: {learning_rate: 3e-4}  hold_train_options
 *     customer:
 *       data: [banking, chat]         the set "task"
 *       eval_data: task_held_out
 *       harmful: attacker             the set "harmful" of attacks
 *       openings: openings
 *       ten: ten                      (ten_shot)
 *       train: {...}
 *     evaluate:
 *       harmful: {data: evaluator, max_tokens: 24}
 *       over_refusal: {data: xstest}
 *       ordinary: {data: ordinary}
 *       task: {data: task_test, score: label, labels: banking/labels.json}
 *       perplexity: {data: solutions}
 *       probe: {data: probe, every: 10, max_tokens: 16}
 *     arms:
 *       - {name: released}
 *       - {name: poisoned, align: sft, attack: {harmful_mix: {p: 0.1}}}
 *       - {name: lisa, align: sft, attack: {harmful_mix: {p: 0.1}}, tune: {lisa: {rho: 1}},
 *          against: poisoned}
 *
 * A method is given by name, as {name: {options}}, or as a list of these (composition).  Arms may
 * override `train` of their stages by align_train and customer_train.  Unknown keys are errors with
 * "did you mean" and RECIPE:LINE:COLUMN; so are wrong types, ranges, missing files and methods of
 * another stage.
 */
#ifndef HOLD_LAB_RECIPE_H
#define HOLD_LAB_RECIPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "data/folder.h"
#include "data/rows.h"
#include "methods/stage.h"
#include "train/train.h"

enum hold_owner {
    HOLD_OWNER_DEFENDER,
    HOLD_OWNER_ATTACKER,
    HOLD_OWNER_CUSTOMER,
    HOLD_OWNER_EVALUATOR,
    HOLD_OWNER_COUNT
};

struct hold_data_set {
    const char *name;
    enum hold_owner owner;
    const char *source, *licence; /* for the report; may be NULL */
    const char *task;      /* rows of one task share their wordings: only exact duplicates count */
    enum hold_split split; /* of files that are folders */
    int64_t limit, skip;   /* of a fixed shuffle when either is given; limit 0: all that are left */
    struct hold_rows rows;
    char content_id[65]; /* SHA-256 over the rows as taken */
};

struct hold_method_list {
    int n;
    struct hold_method_use *use; /* in order */
    json_t *described;           /* [{"name","version","options"}], for specs and report */
};

struct hold_arm {
    const char *name, *title;
    const char *against; /* name of the arm that the paired difference is to, or NULL */
    struct hold_method_list align, attack, tune, repair;  /* n == 0: no such stage */
    struct hold_train_config align_train, customer_train; /* resolved; seed is the replicate's */
    const char *where; /* "recipe.yaml:22:5: arms.0", for messages */
};

enum hold_eval_kind {
    HOLD_EVAL_HARMFUL,
    HOLD_EVAL_OVER_REFUSAL,
    HOLD_EVAL_ORDINARY,
    HOLD_EVAL_TASK,
    HOLD_EVAL_PERPLEXITY,
    HOLD_EVAL_PROBE,
    HOLD_EVAL_COUNT
};
struct hold_eval_set {
    const struct hold_data_set *data; /* NULL: not asked for */
    int64_t max_tokens, every;        /* every: steps between probes */
    /* "judge", "key" (planted policy: the row's "answer" occurs) or "label" (tasks: the answer is
     * the row's "label"). */
    const char *score;
    /* Answers end where their verdict is decided (false: never): refusals of "judge" (nearly never
     * another verdict, see hold_judge_decided), wrong labels of "label" (exact). */
    bool early_stop;
};

enum { HOLD_MAX_SETS = 16 }; /* in one list of the recipe */

struct hold_recipe {
    struct hold_arena arena; /* texts */
    char *path;
    const char *name, *title, *model;
    bool open_weights;
    int n_seeds;
    int64_t *seeds;
    int n_data;
    struct hold_data_set *data;
    /* Lists of indices into data, ended by -1; empty lists are {-1}. */
    int align_data[HOLD_MAX_SETS], refusals[HOLD_MAX_SETS], general[HOLD_MAX_SETS];
    int defender_harmful[HOLD_MAX_SETS], task[HOLD_MAX_SETS];
    int align_eval[HOLD_MAX_SETS], customer_eval[HOLD_MAX_SETS]; /* loss taken while training */
    int defender_openings, attacker_harmful, openings, ten;      /* -1: none */
    struct hold_eval_set eval[HOLD_EVAL_COUNT];
    int n_labels;
    const char **labels; /* of the task */
    int n_arms;
    struct hold_arm *arms;
    json_t *source; /* the whole recipe after overrides, for the report */
};

/* Read, apply `overrides` ("seed=1,2,3", "customer.train.learning_rate=1e-4",
 * "arms.lisa.tune.lisa.rho=0.1", "data.evaluator.limit=4"), check everything that can be checked
 * without a model, and load the rows.  Refuses one row or near duplicate in two roles (owners),
 * naming both places. */
int hold_recipe_read(struct hold_recipe *out, const char *path, const char *const *overrides,
                     int n_overrides, struct hold_error *err);
void hold_recipe_release(struct hold_recipe *r);
/* SHA-256 over the rows' data, in order. */
int hold_rows_id(const struct hold_rows *rows, char id[65], struct hold_error *err);
const char *hold_owner_name(enum hold_owner o);
const char *hold_eval_name(enum hold_eval_kind k);

#endif
