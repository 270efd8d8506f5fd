/* train.h: the one training loop, and the primitives that methods are written in.
 *
 * A run trains the trainables of a model (`theta`, one flat vector) on streams of examples.  Plain
 * training is: next batch, pass, gradient posts, clip, optimizer.  A method says how it differs
 * through hooks; everything it may use is declared in the second half of this file.
 *
 * Micro-batching is the pass's business alone: a pass covers a whole batch, splits it by a function
 * of resolved options only, and normalises every term over the whole batch.
 */
#ifndef HOLD_TRAIN_TRAIN_H
#define HOLD_TRAIN_TRAIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/ctx.h"
#include "base/option.h"
#include "base/status.h"
#include "data/batch.h"
#include "data/render.h"
#include "model/model.h"

/* --- configuration: Hugging Face's names --- */

struct hold_train_config {
    const char *tuning; /* "lora" or "full" */
    int64_t lora_r;
    double lora_alpha, lora_dropout;
    const char *lora_target_modules;
    double num_train_epochs;
    int64_t max_steps; /* > 0 wins over epochs */
    double learning_rate;
    const char *lr_scheduler_type; /* "linear", "cosine", "constant" */
    double warmup_ratio;
    int64_t per_device_train_batch_size, gradient_accumulation_steps;
    const char *optim; /* "adamw", "sgd" */
    double weight_decay, adam_beta1, adam_beta2, adam_epsilon, momentum;
    double max_grad_norm; /* 0: no clipping */
    int64_t max_length;
    int64_t seed;
    const char *layout; /* "tree", "rows" */
    int64_t micro_batch_tokens;
    const char *eval_strategy; /* "no", "steps", "epoch" */
    int64_t eval_steps;
    bool load_best_model_at_end;
    const char *metric_for_best_model; /* "eval_loss" */
    int64_t early_stopping_patience;   /* 0: never */
    double early_stopping_threshold;
    bool gradient_checkpointing; /* blocks are made again in backward: same bytes, less memory */
    int64_t logging_steps, save_steps, probe_steps; /* 0: never (save: at the end only) */
};
/* The table behind CLI flags, recipe keys, manifest and specs. */
extern const struct hold_option hold_train_options[];

/* The options that a result depends on, for specs: without those that change no byte, and without
 * those of evaluation where there is none.  The caller's reference; NULL when memory is out. */
json_t *hold_train_identity(const struct hold_train_config *c);

/* --- hooks: how a method differs; NULL means the plain behaviour --- */

struct hold_run;
struct hold_examples; /* one step's examples of one stream */
struct hold_terms;    /* the loss terms of one pass, being collected */

enum hold_need {                           /* streams a method needs besides the main one */
                 HOLD_NEED_ALIGN = 1 << 0, /* harmful prompt -> refusal */
                 HOLD_NEED_HARMFUL =
                     1 << 1, /* harmful prompt -> compliant stand-in (the defender's own) */
                 HOLD_NEED_GENERAL = 1 << 2, /* ordinary prompt -> ordinary answer */
                 HOLD_NEED_BEFORE = 1 << 3   /* of an edit: the model before alignment */
};

struct hold_hooks {
    const char *name;
    unsigned needs;             /* enum hold_need */
    bool rows_only;             /* true for layout `rows` only */
    double passes;              /* forward+backward passes a step, for estimates (1: as plain) */
    double once;                /* passes over each row of a stream, made once (references) */
    unsigned once_of;           /* that stream, as `needs` names it; 0: the main one */
    const char *const *buffers; /* names of gradient-shaped buffers, NULL-ended; in checkpoints */
    const struct hold_option *persist; /* fields of the state that a checkpoint keeps */

    /* Once, before the first step; not after a resume (buffers and persist are restored then). */
    int (*begin)(struct hold_run *run, void *state, struct hold_error *err);
    /* Once in every process, before begin: what is not in a checkpoint (references, directions). */
    int (*prepare)(struct hold_run *run, void *state, struct hold_error *err);
    /* Chain: choose this step's examples; *io holds the choice so far (NULL: main stream's next).
     */
    int (*choose)(struct hold_run *run, void *state, const struct hold_examples **io,
                  struct hold_error *err);
    /* Chain: add loss terms to the pass over the chosen examples. */
    int (*terms)(struct hold_run *run, void *state, struct hold_terms *terms,
                 struct hold_error *err);
    /* Exclusive: the whole pass plan of a step; leaves the gradient in HOLD_GRAD. */
    int (*step)(struct hold_run *run, void *state, struct hold_error *err);
    /* Chain: change the gradient in HOLD_GRAD before clipping and the optimizer. */
    int (*post)(struct hold_run *run, void *state, struct hold_error *err);
    /* Chain: after the optimizer; may change HOLD_THETA. */
    int (*updated)(struct hold_run *run, void *state, struct hold_error *err);
    /* Always, also after a failed prepare. */
    void (*release)(struct hold_run *run, void *state);
};

/* --- a training stage --- */

struct hold_stream_input {
    const char *name; /* "main", "align", "harmful", "general" */
    const struct hold_set *set;
    int64_t batch; /* examples a step; 0: the run's */
};
struct hold_hooked {
    const struct hold_hooks *hooks;
    void *state;
};
struct hold_train_input {
    struct hold_model *model; /* loaded, adapters merged, trainables made */
    struct hold_train_config config;
    const struct hold_stream_input *streams;
    int n_streams;
    const struct hold_hooked *methods;
    int n_methods;
    int64_t reserve_bytes;       /* of a step, taken as one block; 0: blocks as they are needed */
    const struct hold_set *eval; /* rows whose loss eval_strategy asks for; NULL: none */
    const char *work_dir;        /* checkpoints and metrics.jsonl; NULL: none */
    const char *spec; /* identity of the run (a hash): a checkpoint of another is refused */
    /* Called at step 0, every probe_steps and at the end, between steps; may be NULL. */
    int (*probe)(void *user, struct hold_run *run, int64_t step, struct hold_error *err);
    void *probe_user;
};
struct hold_train_result {
    int64_t steps, tokens; /* tokens as the user counts them */
    double first_loss, last_loss, seconds;
    bool resumed;
    /* With evaluation: */
    int64_t evaluations, best_step;
    double eval_loss, best_eval_loss; /* the last one, the lowest */
    bool stopped_early, is_best;      /* is_best: theta is best_step's */
};
/* Run to the end (or to a stop: the step is finished, a checkpoint saved, EINTERRUPTED).  A
 * non-finite loss or gradient ends the run with EDIVERGED naming the step and its rows; the last
 * checkpoint stays. */
int hold_train(const struct hold_train_input *input, const struct hold_ctx *ctx,
               struct hold_train_result *result, struct hold_error *err);

/* Most bytes one step needs, and what lives as long as the run (gradient, moments, methods'
 * buffers, taps, references) beside the model with its trainables: by a dry run of the methods'
 * own steps over the run's largest batches.  The methods' states are used: give copies. */
int hold_train_size(const struct hold_train_input *input, int64_t *step_bytes,
                    int64_t *vector_bytes, struct hold_error *err);

/* ENOMEMORY when so much more does not fit: what it needs, what there is, what to change. */
int hold_train_check_room(const char *what, const struct hold_train_config *c, int64_t step_bytes,
                          int64_t vector_bytes, struct hold_error *err);

/* What a whole run does, counted on the dry device: exact up to 128 steps, beyond that by four
 * blocks of steps.  FLOP: as hold_device_flop counts them, with attention.  The methods' states are
 * used: give copies. */
struct hold_train_work {
    int64_t steps, evaluations, checkpoints; /* checkpoints: without what a stop saves */
    double tokens;                           /* of the steps' rows, as the user counts them */
    double flop, eval_flop;                  /* of preparing and all steps; of all evaluations */
};
int hold_train_count(const struct hold_train_input *input, struct hold_train_work *out,
                     struct hold_error *err);

/* Seconds of a FLOP, by n_steps real steps that stand for all; what they train is spoilt, and
 * nothing is evaluated.  The
 * largest step comes first and is not counted: first_seconds is what it took more than another. */
struct hold_train_speed {
    double seconds_a_flop, first_seconds;
};
int hold_train_measure(const struct hold_train_input *input, const struct hold_ctx *ctx,
                       int64_t n_steps, struct hold_train_speed *out, struct hold_error *err);

/* Make in the model what a configuration trains: low-rank parts, or all of it. */
int hold_train_make(struct hold_model *m, const struct hold_train_config *c,
                    struct hold_error *err);

/* Steps that a configuration makes over n main rows. */
int64_t hold_train_steps(const struct hold_train_config *c, int64_t n_rows);
/* Learning rate at a step (0-based), as transformers' schedulers: linear/cosine decay to 0 after a
 * linear warm-up over ceil(warmup_ratio * steps). */
double hold_train_rate(const struct hold_train_config *c, int64_t step, int64_t steps);

/* ============================ primitives for methods ============================ */

struct hold_model *hold_run_model(struct hold_run *run);
int64_t hold_run_step(const struct hold_run *run);  /* 0-based, of this phase */
int64_t hold_run_steps(const struct hold_run *run); /* in all */
const struct hold_ctx *hold_run_ctx(const struct hold_run *run);
const struct hold_train_config *hold_run_config(const struct hold_run *run);
/* A row of metrics.jsonl at this step. */
int hold_run_metric(struct hold_run *run, const char *name, double value, struct hold_error *err);

/* Blocks of the model and width of the residual stream. */
void hold_run_blocks(const struct hold_run *run, int64_t *layers, int64_t *cols);
/* Memory that lives as long as the run, zeroed. */
int hold_run_doubles(struct hold_run *run, int64_t n, double **out, struct hold_error *err);
int hold_run_floats(struct hold_run *run, int64_t n, float **out, struct hold_error *err);

/* --- streams --- */
/* Next examples of a named stream: endless, reshuffled every epoch by (seed, name, epoch).  Valid
 * until the stream's next call; may be passed several times.  NULL name: main. */
int hold_run_next(struct hold_run *run, const char *stream, const struct hold_examples **out,
                  struct hold_error *err);
/* This step's choice: the chain of `choose` hooks over the main stream, made once a step. */
int hold_run_chosen(struct hold_run *run, const struct hold_examples **out, struct hold_error *err);
bool hold_run_has_stream(const struct hold_run *run, const char *stream);

/* --- buffers: gradient-shaped, f32 --- */
enum { HOLD_GRAD = 0, HOLD_THETA = 1 }; /* HOLD_THETA: the masters themselves */
/* A buffer that the method declared in `buffers`; -1: it did not. */
int hold_run_buffer(struct hold_run *run, const char *name);
void hold_buffer_zero(struct hold_run *run, int b);
void hold_buffer_copy(struct hold_run *run, int to, int from);
void hold_buffer_axpy(struct hold_run *run, int y, double a, int x); /* y += a x */
void hold_buffer_scale(struct hold_run *run, int y, double a);
double hold_buffer_dot(struct hold_run *run, int x, int y);
double hold_buffer_norm(struct hold_run *run, int x);

/* theta += c * buffer for the time of the call of `inside`; theta is restored bit for bit on every
 * path.  Calls do not nest. */
int hold_run_shifted(struct hold_run *run, int buffer, double c,
                     int (*inside)(struct hold_run *run, void *user, struct hold_error *err),
                     void *user, struct hold_error *err);

/* --- taps: a site's rows of a whole batch, keyed by (example, token), kept across passes and
 * independent of the micro-batch split; layout rows only --- */
struct hold_tap_store;
int hold_tap_store_new(struct hold_run *run, enum hold_site site, struct hold_tap_store **out,
                       struct hold_error *err);
void hold_tap_store_free(struct hold_run *run, struct hold_tap_store *s);
double hold_tap_store_norm(struct hold_run *run,
                           const struct hold_tap_store *s); /* over all layers */
/* Replace the stored rows by Gaussian noise of the same total norm (control of Vaccine), keyed by
 * (seed, step). */
int hold_tap_store_noise(struct hold_run *run, struct hold_tap_store *s, struct hold_error *err);
enum hold_tap_mode {
    HOLD_TAP_READ_VALUE, /* store = the site's values */
    HOLD_TAP_READ_GRAD,  /* store = gradients of the pass's loss at the site */
    HOLD_TAP_ADD         /* value += scale * store */
};
struct hold_tap_use {
    struct hold_tap_store *store;
    enum hold_tap_mode mode;
    double scale;
};
/* Per-example access: called in backward for every linear layer and example with the layer's input
 * rows (T_e, in) and the loss's gradient at its output rows (T_e, out). */
struct hold_linear_watch {
    int (*see)(void *user, struct hold_run *run, int layer, enum hold_linear_kind kind,
               int64_t example, struct hold_tensor input, struct hold_tensor grad,
               struct hold_error *err);
    void *user;
};

/* --- references: the model as it is now, frozen; what a term needs of it is cached by row --- */
struct hold_reference;
/* directions: n_layers * d_model floats (host, copied) for projections, or NULL for final hidden
 * rows. */
int hold_reference_new(struct hold_run *run, const float *directions, struct hold_reference **out,
                       struct hold_error *err);
void hold_reference_free(struct hold_run *run, struct hold_reference *r);

/* --- loss terms --- */
enum hold_normaliser {
    HOLD_BY_WEIGHT,   /* sum of label weights: mean over trained tokens */
    HOLD_BY_EXAMPLES, /* number of examples */
    HOLD_BY_ONE
};
/* Cross entropy over the labels; part of every collected pass by default (coefficient 1,
 * HOLD_BY_WEIGHT). */
void hold_terms_cross_entropy(struct hold_terms *t, double coef, enum hold_normaliser by);
void hold_terms_clear(struct hold_terms *t);
/* KL to a reference at the label rows (each once, weighted by its labels' weights). */
void hold_terms_kl(struct hold_terms *t, struct hold_reference *ref, bool reverse, double coef,
                   enum hold_normaliser by);
/* sum over layers and label rows of ((h - h_ref) . direction_l)^2 at block outputs. */
void hold_terms_projection(struct hold_terms *t, struct hold_reference *ref, double coef,
                           enum hold_normaliser by);
/* coef / 2 * ||theta - buffer||^2: of parameters alone, added once a pass. */
void hold_terms_proximal(struct hold_terms *t, int buffer, double coef);

/* --- the pass --- */
struct hold_pass {
    const struct hold_examples *examples;
    /* NULL: plain cross entropy.  collect: also what the methods' `terms` hooks add. */
    void (*terms)(void *user, struct hold_terms *terms);
    void *user;
    bool collect;
    const struct hold_tap_use *taps;
    int n_taps;
    const struct hold_linear_watch *watch;
    int buffer;   /* the gradient is ADDED here; -1: forward only */
    double scale; /* of the whole loss; 0 means 1 */
};
struct hold_pass_result {
    double loss;  /* cross entropy by its normaliser, without coefficient */
    double extra; /* sum of the other terms with their coefficients */
    double label_weight;
    int64_t n_labels, row_tokens, computed_tokens;
};
int hold_run_pass(struct hold_run *run, const struct hold_pass *pass,
                  struct hold_pass_result *result, struct hold_error *err);

/* --- offline statistics --- */
/* Mean over the examples of a stream (at most `limit`, 0: all) of the block outputs at the last
 * prompt token (the row of the first label): out is n_layers * d_model doubles. */
int hold_run_mean_blocks(struct hold_run *run, const char *stream, int64_t limit, double *out,
                         struct hold_error *err);

#endif
