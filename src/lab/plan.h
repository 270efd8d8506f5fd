/* plan.h: a recipe's arms as a graph of stages, each made once whoever asks for it.
 *
 * The lab walks it; `estimate` only counts it.
 */
#ifndef HOLD_LAB_PLAN_H
#define HOLD_LAB_PLAN_H

#include "lab/lab.h"

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
    const struct hold_rows *eval_rows; /* whose loss the configuration asks for; NULL: none */
    const char *eval_rows_id;
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
    json_t *model_profile;           /* what was written with them, or NULL */
    struct hold_str model_path;
    /* Whole streams of the recipe, joined: owned. */
    struct hold_rows align_main, refusals, general, harmful, task, align_eval, customer_eval;
    char align_main_id[HOLD_HASH_HEX], refusals_id[HOLD_HASH_HEX], general_id[HOLD_HASH_HEX],
        harmful_id[HOLD_HASH_HEX], task_id[HOLD_HASH_HEX], align_eval_id[HOLD_HASH_HEX],
        customer_eval_id[HOLD_HASH_HEX];
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

/* What hold_train_size and hold_train_count say of the stage on a loaded model that has the stage's
 * trainables. */
int hold_stage_train_foretell(struct hold_plan *p, const struct hold_plan_node *n,
                              struct hold_model *m, int64_t *step, int64_t *vectors,
                              struct hold_train_work *work, struct hold_error *err);

#endif
