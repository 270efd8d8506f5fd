/* config.c: a training's options under Hugging Face's names, its steps and its schedule. */
#include <math.h>
#include <string.h>

#include "train/train.h"

#define T struct hold_train_config
const struct hold_option hold_train_options[] = {
    HOLD_TEXT(T, tuning, "lora", "lora|full", "what is trained"),
    HOLD_INT(T, lora_r, 16, 1, 1024, "rank of the low-rank parts"),
    HOLD_REAL(T, lora_alpha, 32, 0, 1e6, "scale of the low-rank parts times r"),
    HOLD_REAL(T, lora_dropout, 0, 0, 0.95, "share of low-rank inputs dropped"),
    HOLD_TEXT(T, lora_target_modules, "all-linear", NULL, "modules, by commas, or all-linear"),
    HOLD_REAL(T, num_train_epochs, 1, 0.001, 10000, "passes over the rows"),
    HOLD_INT(T, max_steps, 0, 0, 100000000, "optimizer steps; above 0 wins over epochs"),
    HOLD_REAL(T, learning_rate, 2e-4, 0, 100, "peak learning rate"),
    HOLD_TEXT(T, lr_scheduler_type, "linear", "linear|cosine|constant", "schedule after warm-up"),
    HOLD_REAL(T, warmup_ratio, 0, 0, 1, "share of steps with a rising rate"),
    HOLD_INT(T, per_device_train_batch_size, 8, 1, 4096, "rows of a batch"),
    HOLD_INT(T, gradient_accumulation_steps, 1, 1, 4096, "batches of a step"),
    HOLD_TEXT(T, optim, "adamw", "adamw|sgd", "optimizer"),
    HOLD_REAL(T, weight_decay, 0, 0, 100, "decoupled weight decay (sgd: L2) of matrices"),
    HOLD_REAL(T, adam_beta1, 0.9, 0, 0.999999, "first moment's memory"),
    HOLD_REAL(T, adam_beta2, 0.999, 0, 0.999999, "second moment's memory"),
    HOLD_REAL(T, adam_epsilon, 1e-8, 1e-30, 1, "added to the root of the second moment"),
    HOLD_REAL(T, momentum, 0, 0, 1, "of sgd"),
    HOLD_REAL(T, max_grad_norm, 1, 0, 1e9, "gradient norm to clip at; 0: never"),
    HOLD_INT(T, max_length, 1024, 8, 1000000, "tokens of a row; longer rows are cut and counted"),
    HOLD_INT(T, seed, 42, 0, 9007199254740991, "of order, initialisation and dropout"),
    HOLD_TEXT(T, layout, "tree", "tree|rows", "shared prefixes once, or every row whole"),
    HOLD_INT(T, micro_batch_tokens, 768, 16, 1000000, "tokens computed at once"),
    HOLD_BOOL(T, gradient_checkpointing, false, "make blocks again in backward: less memory"),
    HOLD_TEXT(T, eval_strategy, "no", "no|steps|epoch", "when the evaluation rows' loss is taken"),
    HOLD_INT(T, eval_steps, 50, 1, 100000000, "steps between evaluations, at strategy steps"),
    HOLD_BOOL(T, load_best_model_at_end, false, "end with the weights of the lowest eval_loss"),
    HOLD_TEXT(T, metric_for_best_model, "eval_loss", "eval_loss", "what best means"),
    HOLD_INT(T, early_stopping_patience, 0, 0, 1000000,
             "stop after so many evaluations in a row without a better one; 0: never"),
    HOLD_REAL(T, early_stopping_threshold, 0, 0, 1e6, "a better one is better by more than this"),
    HOLD_INT(T, logging_steps, 1, 1, 1000000, "steps between rows of the log"),
    HOLD_INT(T, save_steps, 50, 0, 100000000, "steps between checkpoints; 0: only at a stop"),
    HOLD_INT(T, probe_steps, 0, 0, 100000000, "steps between probes; 0: start and end"),
    {0},
};
#undef T

json_t *hold_train_identity(const struct hold_train_config *c) {
    static const char *const EVALUATION[] = {"eval_strategy",           "eval_steps",
                                             "load_best_model_at_end",  "metric_for_best_model",
                                             "early_stopping_patience", "early_stopping_threshold"};
    json_t *o = hold_options_to_json(hold_train_options, c);
    json_object_del(o, "save_steps");
    json_object_del(o, "gradient_checkpointing");
    if (strcmp(c->eval_strategy, "no") == 0)
        for (size_t i = 0; i < sizeof EVALUATION / sizeof *EVALUATION; i++)
            json_object_del(o, EVALUATION[i]);
    return o;
}

int hold_train_make(struct hold_model *m, const struct hold_train_config *c,
                    struct hold_error *err) {
    if (strcmp(c->tuning, "full") == 0)
        return hold_model_make_full(m, err);
    struct hold_lora_config lora = {.r = c->lora_r,
                                    .alpha = c->lora_alpha,
                                    .dropout = c->lora_dropout,
                                    .target_modules = c->lora_target_modules,
                                    .seed = (uint64_t)c->seed};
    return hold_model_add_lora(m, &lora, err);
}

int64_t hold_train_steps(const struct hold_train_config *c, int64_t n_rows) {
    if (c->max_steps > 0)
        return c->max_steps;
    int64_t whole = c->per_device_train_batch_size * c->gradient_accumulation_steps;
    int64_t an_epoch = (n_rows + whole - 1) / whole;
    int64_t steps = (int64_t)ceil(c->num_train_epochs * (double)an_epoch - 1e-9);
    return steps > 0 ? steps : 1;
}

double hold_train_rate(const struct hold_train_config *c, int64_t step, int64_t steps) {
    int64_t warm = (int64_t)ceil(c->warmup_ratio * (double)steps);
    if (step < warm)
        return c->learning_rate * (double)step / (double)(warm > 0 ? warm : 1);
    if (strcmp(c->lr_scheduler_type, "constant") == 0)
        return c->learning_rate;
    double rest = steps > warm ? (double)(steps - warm) : 1.0;
    double done = (double)(step - warm) / rest;
    if (strcmp(c->lr_scheduler_type, "cosine") == 0)
        return c->learning_rate * 0.5 * (1.0 + cos(3.14159265358979323846 * done));
    return c->learning_rate * (done < 1.0 ? 1.0 - done : 0.0);
}
