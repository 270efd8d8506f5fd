/* lab_parts.h: what the files of the lab share: the stages and the report of a plan. */
#ifndef HOLD_LAB_LAB_PARTS_H
#define HOLD_LAB_LAB_PARTS_H

#include "lab/plan.h"

/* Numerics versions of the stages: raised when results change. */
enum {
    HOLD_IMPORT_VERSION = 1,
    HOLD_PREPARE_VERSION = 1,
    HOLD_TRAIN_VERSION = 2,
    HOLD_EDIT_VERSION = 1,
    HOLD_EVALUATE_VERSION = 1,
    HOLD_TOKENIZER_VERSION = 1
};

/* stage_prepare.c */
int hold_plan_streams(struct hold_plan *p, struct hold_error *err);
/* *out: index of the prepared stage.  attack NULL: `rows` are what the methods' data hooks get. */
int hold_stage_prepare(struct hold_plan *p, const struct hold_method_use *attack,
                       const struct hold_method_list *methods, int64_t seed, int *out,
                       struct hold_error *err);
bool hold_has_data_hook(const struct hold_method_list *l);

/* One stage of a kind: its spec (new reference), and its files made into the work's folder with
 * facts for the manifest added.  ctx: progress of this stage. */
json_t *hold_spec_import(const struct hold_plan *p, const struct hold_plan_node *n);
json_t *hold_spec_train(const struct hold_plan *p, const struct hold_plan_node *n);
json_t *hold_spec_edit(const struct hold_plan *p, const struct hold_plan_node *n);
json_t *hold_spec_evaluate(const struct hold_plan *p, const struct hold_plan_node *n);
int hold_stage_import(struct hold_plan *p, const struct hold_plan_node *n, struct hold_work *w,
                      json_t *manifest, const struct hold_ctx *ctx, struct hold_error *err);
int hold_stage_train(struct hold_plan *p, const struct hold_plan_node *n, struct hold_work *w,
                     json_t *manifest, const struct hold_ctx *ctx, struct hold_error *err);
int hold_stage_edit(struct hold_plan *p, const struct hold_plan_node *n, struct hold_work *w,
                    json_t *manifest, const struct hold_ctx *ctx, struct hold_error *err);
int hold_stage_evaluate(struct hold_plan *p, const struct hold_plan_node *n, struct hold_work *w,
                        json_t *manifest, const struct hold_ctx *ctx, struct hold_error *err);

int hold_write_model_json(const char *dir, const struct hold_chain *chain, const json_t *profile,
                          struct hold_error *err);
/* The parent's profile with what the methods change; new reference, NULL in *out: none. */
int hold_profile_of(const json_t *parent, const struct hold_method_list *methods,
                    const char **train_system, json_t **out, struct hold_error *err);
/* Adapter folder of the work: the pairs, base named by content, profile beside them. */
int hold_write_adapter(struct hold_work *w, struct hold_adapter *a, const json_t *profile,
                       struct hold_error *err);

/* result.c: the report of a finished plan. */
struct hold_book { /* rows of evaluations, each read once */
    struct hold_plan *p;
    json_t **rows; /* of each node: an array, or NULL */
};
int hold_book_rows(struct hold_book *b, int node, const json_t **out, struct hold_error *err);
/* The JSON lines of a file of an artifact, *out NULL when there is no such file. */
int hold_artifact_lines(struct hold_plan *p, const char *content, const char *file, json_t **out,
                        struct hold_error *err);
int hold_plan_report(struct hold_plan *p, json_t **report, struct hold_error *err);
/* result_more.c: an arm's "curves"; "rows" and the arms' "samples"; settings, data, machine. */
int hold_report_curves(struct hold_plan *p, int first, json_t *arm, struct hold_error *err);
int hold_report_rows(struct hold_book *b, json_t *report, struct hold_error *err);
int hold_report_settings(struct hold_plan *p, json_t *report, struct hold_error *err);

#endif
