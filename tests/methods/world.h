/* world.h: what the tests of methods share: a tiny model, rows, one training run with or without
 * methods, and what is to be seen of it.
 *
 * The tiny model is tests/golden/formats/tiny-llama.  Every run starts from an adapter or a fresh
 * one, keeps the loss and, where asked, the gradient of every step, and ends with the adapter.
 */
#ifndef TEST_METHODS_WORLD_H
#define TEST_METHODS_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above it. */
#include <cmocka.h>

#include "methods/stage.h"

#define TINY HOLD_SOURCE_DIR "/tests/golden/formats/tiny-llama"
#define GOLDEN HOLD_SOURCE_DIR "/tests/methods/golden/"
#define COUNT(a) (int)(sizeof(a) / sizeof((a)[0]))

void assert_ok(int rc, const struct hold_error *err);
void assert_refused(int rc, int code, const struct hold_error *err, const char *part);

struct world {
    struct hold_device *device;
    struct hold_model model;
    struct hold_ctx ctx; /* silent, one thread */
};
void world_open(struct world *w);
void world_open_at(struct world *w, const char *path); /* another model's folder */
void world_close(struct world *w);
int world_set_up(void **state); /* cmocka fixtures: *state is a struct world */
int world_tear_down(void **state);

/* --- rows of token ids --- */

/* Append a row: ids, the first trained token, weight of its trained tokens. */
void set_add(struct hold_set *set, const int32_t *ids, int32_t n, int32_t first, float weight);
/* n random rows over the vocabulary. */
struct hold_set set_random(uint64_t seed, int n);
/* The rows in the places from which a stream of that name takes them in the given order. */
void set_arrange(struct hold_set *set, const char *stream, uint64_t seed);

/* --- adapters --- */

/* {module: {"a": [...], "b": [...]}} */
void adapter_from_json(struct hold_adapter *out, const json_t *o, int64_t r, double alpha);
void adapter_copy(struct hold_adapter *out, const struct hold_adapter *a);
/* Largest over all factors of ||a - b|| / ||b - from||; from NULL: / ||b||. */
double adapter_distance(const struct hold_adapter *a, const struct hold_adapter *b,
                        const struct hold_adapter *from);
bool adapter_same(const struct hold_adapter *a, const struct hold_adapter *b);
double adapter_norm(const struct hold_adapter *a);

/* --- runs --- */

/* A method by name with options as JSON text ("{'rho': 2}" with single quotes); NULL: defaults. */
struct hold_method_use use_of(const char *name, const char *options);
/* The same of a descriptor, which need not be in the list. */
struct hold_method_use use_made(const struct hold_method *m, const char *options);
/* At the setting named by `neutral` ("rho=0,n=0"). */
struct hold_method_use use_neutral(const struct hold_method *m);

enum { MAX_USES = 4, MAX_STREAMS = 8, MAX_STEPS = 2000 };
struct job {
    struct hold_train_config config;
    struct hold_stream_input streams[MAX_STREAMS];
    int n_streams;
    struct hold_method_use uses[MAX_USES]; /* the job's own */
    int n_uses;
    const struct hold_adapter *start; /* NULL: fresh, by the seed */
    int grad_step;                    /* the step whose gradient is kept; -1: none */
    int (*probe)(void *user, struct hold_run *run, int64_t step, struct hold_error *err);
    void *user;
};
/* Plain settings: rank 2, alpha 4, sgd at 0.02 with momentum, batch 4, 6 steps, layout tree. */
struct job job_new(void);
void job_stream(struct job *j, const char *name, const struct hold_set *set);
void job_use(struct job *j, struct hold_method_use use);
void job_release(struct job *j);

struct outcome {
    int steps;
    double loss[MAX_STEPS];
    float *grad; /* of grad_step, n_flat; to be freed */
    int64_t n_flat, computed_tokens;
    struct hold_adapter adapter;
};
int job_run(struct world *w, struct job *j, struct outcome *out, struct hold_error *err);
/* As job_run, and must succeed. */
void job_do(struct world *w, struct job *j, struct outcome *out);
void outcome_release(struct outcome *o);
/* Train and fold the adapter into the model's weights (the flow `merge_new`). */
void job_fold(struct world *w, struct job *j);
/* Fold an adapter of the job's rank into the model's weights. */
void job_fold_adapter(struct world *w, const struct job *j, const struct hold_adapter *adapter);

/* Mean cross entropy of rows, without training: for a probe. */
double mean_loss(struct hold_run *run, const struct hold_set *set);
/* For a probe after the last step: they write over the gradient.  Rise of the stream's loss under
 * the drift of attention outputs of this norm that raises it most (to first order). */
double run_drift_cost(struct hold_run *run, const char *stream, double norm);
/* What one normalised step of this length on the stream's rows takes from their loss. */
double run_step_gain(struct hold_run *run, const char *stream, double length);

#endif
