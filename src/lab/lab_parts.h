/* lab_parts.h: what the files of the lab share: the plan and its nodes, the stages. */
#ifndef HOLD_LAB_LAB_PARTS_H
#define HOLD_LAB_LAB_PARTS_H

#include "lab/lab.h"

/* Numerics versions of the stages: raised when results change. */
enum {
    HOLD_IMPORT_VERSION = 1,
    HOLD_PREPARE_VERSION = 1,
    HOLD_TRAIN_VERSION = 1,
    HOLD_EDIT_VERSION = 1,
    HOLD_EVALUATE_VERSION = 1,
    HOLD_TOKENIZER_VERSION = 1
};

enum hold_node_kind { HOLD_NODE_IMPORT, HOLD_NODE_TRAIN, HOLD_NODE_EDIT, HOLD_NODE_EVALUATE };

/* One stage to make or find. */
struct hold_plan_node {
    enum hold_node_kind kind;
    const char *name;        /* "import", "align", "tune", "repair", "evaluate.harmful" */
    char key[HOLD_HASH_HEX]; /* what it is, by what is above it in the plan: equal keys, one node */
    int model;               /* node whose model goes in; -1: import */
    int before;              /* edit: node of the model before alignment; -1: none */
    const struct hold_arm *arm; /* the first that asks for it */
    int64_t seed;
    const struct hold_method_list *methods; /* of the stage; an edit runs `method` of them */
    int method;
    /* train */
    enum hold_stage stage; /* HOLD_STAGE_ALIGN or HOLD_STAGE_TUNE */
    struct hold_train_config config;
    const struct hold_rows *rows; /* of the stream main; owned by the recipe or the plan */
    char rows_id[HOLD_HASH_HEX];
    bool goes_on; /* the flow `continue`: the last adapter is where it starts */
    /* evaluate */
    enum hold_eval_kind eval;
    double units; /* of work, for the remaining time */
    /* outcome */
    bool done, found;
    int code; /* of a failure, also of an input's */
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX];
    double seconds;
    char error[HOLD_ERROR_TEXT];
};

/* The rows of a job's phases or of an alignment, made by data hooks. */
struct hold_prepared_stage {
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX];
    int n_phases;
    struct hold_phase_rows *phases; /* phase texts lie in the plan's arena */
    char (*rows_id)[HOLD_HASH_HEX];
    json_t *notes;
};

enum { HOLD_ARM_NODES = 24 };
struct hold_arm_plan { /* an arm with one seed */
    const struct hold_arm *arm;
    int64_t seed;
    int n;
    int nodes[HOLD_ARM_NODES];  /* import, trainings, edits; the last is the arm's model */
    int evals[HOLD_EVAL_COUNT]; /* -1: not asked for */
    int prepared[2];            /* indices of prepared stages: alignment's, the job's; -1 */
    int code;                   /* it could not even be planned */
    char error[HOLD_ERROR_TEXT];
};

struct hold_plan {
    struct hold_lab *lab;
    const struct hold_recipe *recipe;
    struct hold_arena arena;
    char model_files[HOLD_HASH_HEX]; /* content id of the model's files */
    struct hold_str model_path;
    /* Whole streams of the recipe, joined: owned. */
    struct hold_rows align_main, refusals, general, harmful, task;
    char align_main_id[HOLD_HASH_HEX], refusals_id[HOLD_HASH_HEX], general_id[HOLD_HASH_HEX],
        harmful_id[HOLD_HASH_HEX], task_id[HOLD_HASH_HEX];
    int n_nodes, cap_nodes;
    struct hold_plan_node *nodes;
    int n_prepared, cap_prepared;
    struct hold_prepared_stage *prepared;
    int n_arms; /* arms times seeds, an arm's seeds together */
    struct hold_arm_plan *arms;
};

/* plan.c: the stages of every arm and seed; data stages are made here, since they say how many
 * phases a job has. */
int hold_plan_make(struct hold_plan *p, struct hold_lab *lab, const struct hold_recipe *recipe,
                   struct hold_error *err);
void hold_plan_release(struct hold_plan *p);
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

/* probe.c: the harmful score of the model in training, on a set of its own. */
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
