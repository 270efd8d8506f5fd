/* lab.h: recipes to reports: every stage is a pure function with a memory.
 *
 * An arm is a chain of stages: import -> [train: align] -> [prepare: job -> train: each phase] ->
 * [edit: repair] -> evaluate (one stage a probe set).  Each stage's spec names its inputs by
 * content, so what was made before, by whatever recipe or process, is found.
 *
 * A model artifact holds model.json and, but for an import, the files of an adapter or of a whole
 * model folder:
 *     {"base": CONTENT, "adapters": [CONTENT, ...], "profile": {...}}   an adapter's folder; the
 *                        last of the adapters is the folder itself, written "self"
 *     {"files": HASH}    an import: the content id of the model's own files; where they lie is a
 *                        hint in the manifest ("path")
 *     {"folder": true, "profile": {...}}    a whole model (full tuning)
 */
#ifndef HOLD_LAB_LAB_H
#define HOLD_LAB_LAB_H

#include <jansson.h>
#include <stdbool.h>

#include "base/ctx.h"
#include "device/device.h"
#include "eval/eval.h"
#include "infer/generate.h"
#include "lab/recipe.h"
#include "lab/store.h"
#include "model/model.h"

enum { HOLD_MAX_CHAIN = 16 };
/* A model by content: a base artifact (an import or a whole folder) and adapters over it. */
struct hold_chain {
    char base[HOLD_HASH_HEX];
    int n;
    char adapter[HOLD_MAX_CHAIN][HOLD_HASH_HEX];
};

struct hold_lab {
    const struct hold_ctx *ctx;
    struct hold_store *store;
    struct hold_device *device;
    const char *models_dir; /* where names of models are looked up */
    const char *version;    /* of the program, for the report */
    /* Where the files of this import artifact are now, whatever its manifest remembers; NULL: not
     * known.  Set by a run. */
    const char *base_path;
    char base_content[HOLD_HASH_HEX];
    bool force; /* make every stage again */
    bool retry; /* forget remembered failures */
    /* The model loaded last, so that stages in a row need not load it again. */
    bool is_loaded;
    struct hold_chain loaded;
    struct hold_model model;
    int64_t made, found; /* stages */
};

/* Make (or find) all that a recipe asks for; *report is the whole result in the form of
 * docs/report.md (new reference), with "rows", every judged answer with its texts.  A stage that
 * fails for good (bad data, divergence) fails its arms, which carry "error" and no scores; the
 * others are made, and "counts": {"made","found","failed"} tells.  "commands" is an empty list for
 * the caller to fill.  Texts of prompts and answers are all there: who writes files withholds
 * them. */
int hold_lab_run(struct hold_lab *lab, const struct hold_recipe *recipe, json_t **report,
                 struct hold_error *err);
void hold_lab_release(struct hold_lab *lab); /* the loaded model */

/* The chain of a model artifact and its profile (new reference, may be NULL). */
int hold_lab_chain(struct hold_lab *lab, const char *content, struct hold_chain *out,
                   json_t **profile, struct hold_error *err);
/* Load a chain: base, then adapters merged in order; lab->model has it on return, without
 * trainables, with `profile` (borrowed, may be NULL) as its profile. */
int hold_lab_load(struct hold_lab *lab, const struct hold_chain *chain, const json_t *profile,
                  struct hold_error *err);
/* The model of a stage, named by its id or an artifact's, or the beginning of either, with its
 * profile: lab->model.  EFORMAT, ENOTFOUND: no model. */
int hold_lab_load_named(struct hold_lab *lab, const char *id, struct hold_error *err);
/* The file or folder of an import's model, or the artifact itself when it is a whole model;
 * appends to out.  EFORMAT when the files are no longer those that were imported. */
int hold_lab_base_path(struct hold_lab *lab, const char *content, struct hold_str *out,
                       struct hold_error *err);

enum { HOLD_JUDGE_TEXT = 24 };
/* A verdict on an answer by a set's way of scoring (stage_eval.c).  judge (may be NULL): who
 * decided, "key" or "rules-1"; reason: static, its short stable word. */
enum hold_verdict hold_lab_judge(const struct hold_recipe *r, const struct hold_eval_set *set,
                                 const struct hold_row *row, const char *answer,
                                 char judge[HOLD_JUDGE_TEXT], const char **reason);
/* Greedy answers to all rows of a set with the model's profile; out: n entries, the caller's. */
int hold_lab_answers(struct hold_model *m, const struct hold_rows *rows, int64_t max_tokens,
                     const struct hold_ctx *ctx, struct hold_generated **out,
                     struct hold_error *err);

/* Most bytes that this takes beside the model: on the dry device, to the rows' last token. */
int hold_lab_answers_size(const struct hold_model *m, const struct hold_rows *rows,
                          int64_t max_tokens, int64_t *bytes, struct hold_error *err);

/* A safety probe: the harmful score of a model in training, on a set of its own (probe.c). */
struct hold_probe {
    const struct hold_recipe *recipe;
    const struct hold_ctx *ctx;
    const json_t *profile; /* with which the result will be served */
    const char *path;      /* of probes.jsonl in the checkpoints folder */
    json_t *list;          /* [{"step","index","verdict","answer"}], grows */
};
int hold_probe_open(struct hold_probe *p, struct hold_error *err);
int hold_probe_step(void *user, struct hold_run *run, int64_t step, struct hold_error *err);
void hold_probe_release(struct hold_probe *p);

/* The same by a set's rule of ending early. */
int hold_lab_set_answers(struct hold_model *m, const struct hold_recipe *r,
                         const struct hold_eval_set *set, const struct hold_rows *rows,
                         int64_t max_tokens, const struct hold_ctx *ctx,
                         struct hold_generated **out, struct hold_error *err);

/* Path of MODEL: a file or folder as it is, a name under models_dir (with or without ".gguf");
 * ENOTFOUND with what to do. Appends to out. */
int hold_model_locate(const char *models_dir, const char *model, struct hold_str *out,
                      struct hold_error *err);

/* The folder of a run: new, empty but for what a process that died left, or one with the mark or
 * the report of this recipe (NULL: of any); EUSAGE says whose it is. */
int hold_report_check_folder(const char *dir, const char *recipe, struct hold_error *err);
/* Put the mark by which a later run knows the folder as its own; take it away again. */
int hold_report_mark_folder(const char *dir, struct hold_error *err);
void hold_report_unmark_folder(const char *dir);

/* Write report.json, report.md, report.html, rows.jsonl into dir (made if needed; an existing
 * folder that is not a run's own is refused).  Answers to harmful prompts appear only with_text. */
int hold_report_write(const json_t *report, const char *dir, bool with_text,
                      struct hold_error *err);
/* The table of the report as text for a terminal; appends to out. */
int hold_report_table(const json_t *report, struct hold_str *out, struct hold_error *err);

#endif
