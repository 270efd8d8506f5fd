/* run.h: what the files of this room share: the run and its parts. */
#ifndef HOLD_TRAIN_RUN_H
#define HOLD_TRAIN_RUN_H

#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "train/train.h"

enum { HOLD_MAX_STREAMS = 8, HOLD_MAX_BUFFERS = 16, HOLD_MAX_TERMS = 16 };

struct hold_examples {
    int stream; /* index in the run */
    int32_t n;
    const struct hold_example **item;
};

struct hold_place { /* of a batch in a stream */
    int64_t epoch, position;
};
enum { HOLD_SIZED_BATCHES = 6 };

struct hold_stream {
    const char *name;
    const struct hold_set *set;
    int64_t batch;
    int64_t epoch, position; /* of the next example; both in checkpoints */
    int64_t ordered_epoch;   /* epoch that `order` is of; -1: none */
    uint32_t *order;
    struct hold_examples current;
    /* A sizing run goes round these, the batches that need the most memory. */
    struct hold_place sized[HOLD_SIZED_BATCHES];
    int n_sized, next_sized;
};

struct hold_buffer {
    const char *name;
    struct hold_ptr data;
};

enum hold_term_kind { HOLD_TERM_CE, HOLD_TERM_KL, HOLD_TERM_PROJECTION, HOLD_TERM_PROXIMAL };
struct hold_term {
    enum hold_term_kind kind;
    double coef;
    enum hold_normaliser by;
    struct hold_reference *ref;
    bool reverse;
    int buffer;
};
struct hold_terms {
    int n;
    struct hold_term item[HOLD_MAX_TERMS];
    bool overflow;
};

/* Evaluation so far; all of it is in checkpoints. */
struct hold_evaluated {
    int64_t n, best_step;
    int64_t since; /* evaluations since one that was better by more than the threshold */
    double last, best;
};

/* What a step that was made has not had yet: a stop may come in between, and the run that goes on
 * makes up for it. */
enum hold_owed { HOLD_OWES_NOTHING, HOLD_OWES_EVALUATION, HOLD_OWES_PROBE, HOLD_OWED_COUNT };

struct hold_run {
    const struct hold_train_input *input;
    struct hold_train_config config;
    const struct hold_ctx *ctx;
    struct hold_model *model;
    struct hold_space space;
    struct hold_tape tape;
    struct hold_arena host; /* of one pass */
    struct hold_arena life; /* of the run: methods' memory */
    int n_streams;
    struct hold_stream streams[HOLD_MAX_STREAMS];
    int n_buffers;
    struct hold_buffer buffers[HOLD_MAX_BUFFERS];
    struct hold_ptr m, v;    /* moments; SGD: m is the momentum buffer */
    struct hold_ptr saved;   /* theta while it is shifted */
    struct hold_ptr scratch; /* of proximal terms, made on first use */
    bool shifted;
    enum hold_layout layout;
    int64_t step, steps;
    enum hold_owed owed;                /* after the step before; in checkpoints */
    const struct hold_examples *chosen; /* of this step, NULL: not yet */
    struct hold_pass_result last;       /* sums over this step's passes on the chosen examples */
    bool have_last;
    struct hold_evaluated evaluated;
    int best;                  /* buffer of the best theta; -1: not kept */
    struct hold_examples rows; /* of the evaluation set, a chunk at a time */
    FILE *metrics;
    struct hold_str line;  /* of metrics */
    bool sizing;           /* a dry run: nothing is looked at */
    int64_t host_bytes;    /* of references' caches, as far as the run fills them */
    bool counting;         /* of sizing: the work counts, also of what is made once */
    double attention_flop; /* sizing: what the dry device cannot count */
    struct hold_made_once {
        double flop;
        int64_t rows, caches;
    } once[HOLD_MAX_STREAMS]; /* of references: what was made so far, of each stream's rows */
    struct hold_train_result result;
};

/* run.c */
int hold_run_init(struct hold_run *run, const struct hold_train_input *input,
                  const struct hold_ctx *ctx, struct hold_error *err);
void hold_run_release(struct hold_run *run);
/* The saved vector, made on first use. */
int hold_run_saved(struct hold_run *run, struct hold_error *err);

/* loop.c: what a run is made of, for the loop and for sizing. */
int hold_run_prepare(struct hold_run *run, struct hold_error *err);
int hold_run_one_step(struct hold_run *run, struct hold_error *err); /* gradient and optimizer */
void hold_run_finish(struct hold_run *run); /* lets the methods release what they made */

/* evaluate.c: rows and memory for evaluation; a run without it allocates nothing. */
int hold_evaluation_open(struct hold_run *run, struct hold_error *err);
/* Patience is at its end. */
bool hold_evaluation_enough(const struct hold_run *run);
/* After a step: take the loss when it is due.  *enough: patience is at its end.  EINTERRUPTED: a
 * stop was asked for, and nothing was taken. */
int hold_evaluation_step(struct hold_run *run, bool *enough, struct hold_error *err);
/* How often the loss is taken in a whole run. */
int64_t hold_evaluations(const struct hold_run *run);
/* At the end: the best theta becomes the run's, when it was asked for. */
void hold_evaluation_take_best(struct hold_run *run);

/* stream.c */
int hold_stream_index(const struct hold_run *run, const char *name);
/* The order in which an epoch takes the set's examples (longest first in a dry run). */
void hold_stream_order(const struct hold_run *run, const struct hold_stream *s, int64_t epoch,
                       uint32_t *order);
int hold_stream_restore(struct hold_run *run, const char *name, int64_t epoch, int64_t position,
                        struct hold_error *err);

/* reference.c: make sure the cache holds every example; then look up by (stream, row, ordinal of
 * the label within its example). */
int hold_reference_fill(struct hold_run *run, struct hold_reference *r,
                        const struct hold_examples *examples, struct hold_error *err);
const float *hold_reference_hidden(const struct hold_reference *r, int stream, int64_t row,
                                   int32_t ordinal);
double hold_reference_dot(const struct hold_reference *r, int stream, int64_t row, int32_t ordinal,
                          int64_t layer);
struct hold_tensor hold_reference_direction(const struct hold_reference *r, int64_t layer);
/* The head that goes with the cached hidden rows: the model's, or its copy where it is trained. */
struct hold_param hold_reference_head(const struct hold_run *run, const struct hold_reference *r);

/* pass.c: sizing: a forward pass's attention, and with a recording tape its backward's. */
void hold_count_attention(struct hold_run *run, const struct hold_tokens *tokens);
/* All FLOP so far. */
double hold_run_flop(const struct hold_run *run);
/* pass.c: ordinal of every label within its example, in the arena; NULL: no memory. */
int32_t *hold_label_ordinals(const struct hold_batch *b, struct hold_arena *arena);

/* taps.c */
struct hold_part_view { /* a micro-batch as taps see it */
    struct hold_run *run;
    const struct hold_pass *pass;
    const struct hold_batch *batch;
    const struct hold_planned *planned;
    const int64_t *offset;      /* of each example of the pass in a store */
    const int32_t *order;       /* examples of the pass in this micro-batch */
    struct hold_ptr store_rows; /* int32 for each token: its row in a store */
    struct hold_ptr label_rows; /* the same for each row that carries labels */
    const struct hold_terms *terms;
    double term_scale;      /* what projection terms multiply their coefficient with */
    const int32_t *ordinal; /* of each label within its example */
    double *extra;
    double label_weight; /* normalisers over the whole pass */
    int32_t n_examples;
    int status;
    struct hold_error *err;
};
int hold_taps_begin(struct hold_run *run, const struct hold_pass *pass, struct hold_error *err);
struct hold_tapper hold_taps_tapper(struct hold_part_view *view);
double hold_terms_normaliser(enum hold_normaliser by, double label_weight, int32_t n_examples);

/* checkpoint.c */
int hold_checkpoint_save(struct hold_run *run, struct hold_error *err);
/* *found: a checkpoint of this spec was loaded and run->step set to the step to go on with. */
int hold_checkpoint_load(struct hold_run *run, bool *found, struct hold_error *err);

#endif
