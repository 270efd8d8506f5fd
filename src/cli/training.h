/* training.h: what `train` and `estimate` do before the first step: rows checked, model loaded. */
#ifndef HOLD_CLI_TRAINING_H
#define HOLD_CLI_TRAINING_H

#include "cli/cli.h"
#include "train/train.h"

struct hold_training {
    struct hold_device *device;
    struct hold_model model; /* with its trainables */
    struct hold_rows rows, eval_rows;
    struct hold_set set, eval_set; /* eval_set: empty without evaluation */
    struct hold_stream_input stream;
    int64_t step_bytes; /* as hold_training_check_memory found it; 0: not yet */
};
struct hold_training_files {
    const char *model, *adapter, *data, *eval_data; /* adapter, eval_data: "" or NULL for none */
    const char *preference;                         /* "refuse", "chosen", "rejected" */
    bool no_evaluation; /* eval_strategy no was asked for, and is not only the default */
};
/* Folders among the files become their files of rows to train on; where no other rows to evaluate
 * on are given theirs are taken, after each epoch unless eval_strategy says otherwise (no: they are
 * left alone).  The texts belong to the cli's arena. */
int hold_training_folders(struct hold_cli *cli, struct hold_training_files *files,
                          struct hold_train_config *c, struct hold_error *err);
/* Rows with errors are refused before the model is loaded onto the device; warnings are told with
 * their counts, and so are rows to evaluate on that are trained on.  `now`: Unix time that
 * templates see. */
int hold_training_open(struct hold_training *t, struct hold_cli *cli,
                       const struct hold_training_files *files, const struct hold_train_config *c,
                       int64_t now, struct hold_error *err);
/* What hold_train is given, without a folder and a spec; it points into t. */
struct hold_train_input hold_training_input(struct hold_training *t,
                                            const struct hold_train_config *c);
void hold_training_close(struct hold_training *t);
/* Bytes of one step and of gradient and moments. */
int hold_training_size(struct hold_training *t, const struct hold_train_config *c,
                       int64_t *step_bytes, int64_t *vector_bytes, struct hold_error *err);
/* ENOMEMORY when a step would not fit beside what is loaded. */
int hold_training_check_memory(struct hold_training *t, const struct hold_train_config *c,
                               struct hold_error *err);
/* hold_train_measure on the loaded model, which is not what it was afterwards. */
int hold_training_measure(struct hold_training *t, struct hold_cli *cli,
                          const struct hold_train_config *c, int64_t n_steps,
                          struct hold_train_speed *speed, struct hold_error *err);

/* estimate_recipe.c: prints memory and time of all stages of a recipe. */
int hold_estimate_recipe(struct hold_cli *cli, int n_args, char **args, int64_t measured_steps,
                         struct hold_error *err);

#endif
