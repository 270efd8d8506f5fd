/* lab.h: recipes to reports: every stage is a pure function with a memory.
 *
 * An arm is a chain of stages: import -> [train: align] -> [prepare: job -> train: each phase] ->
 * [edit: repair] -> evaluate (one stage a probe set).  Each stage's spec names its inputs by
 * content, so what was made before, by whatever recipe or process, is found.
 */
#ifndef HOLD_LAB_LAB_H
#define HOLD_LAB_LAB_H

#include <jansson.h>
#include <stdbool.h>

#include "base/ctx.h"
#include "device/device.h"
#include "eval/eval.h"
#include "lab/recipe.h"
#include "lab/store.h"
#include "model/model.h"

struct hold_lab {
    const struct hold_ctx *ctx;
    struct hold_store *store;
    struct hold_device *device;
    const char *models_dir; /* where names of models are looked up */
    bool force;             /* make every stage again */
    bool retry;             /* forget remembered failures */
    /* The model loaded last, so that stages in a row need not load it again. */
    char loaded[HOLD_HASH_HEX];
    struct hold_model model;
    int64_t made, found; /* stages */
};

/* Make (or find) all that a recipe asks for; *report is the whole result as report.json documents
 * it (new reference), with curves, samples and settings besides the stable keys. */
int hold_lab_run(struct hold_lab *lab, const struct hold_recipe *recipe, json_t **report,
                 struct hold_error *err);
void hold_lab_release(struct hold_lab *lab); /* the loaded model */

/* Path of MODEL: a file or folder as it is, a name under models_dir (with or without ".gguf");
 * ENOTFOUND with what to do. Appends to out. */
int hold_model_locate(const char *models_dir, const char *model, struct hold_str *out,
                      struct hold_error *err);

/* Write report.json, report.md, report.html, rows.jsonl into dir (made if needed; an existing
 * folder that is not a run's own is refused).  Answers to harmful prompts appear only with_text. */
int hold_report_write(const json_t *report, const char *dir, bool with_text,
                      struct hold_error *err);
/* The table of the report as text for a terminal; appends to out. */
int hold_report_table(const json_t *report, struct hold_str *out, struct hold_error *err);

#endif
