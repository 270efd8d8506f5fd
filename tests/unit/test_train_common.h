/* test_train_common.h: the tiny golden model with trainables, rows that share prefixes, and runs
 * that can be looked into: what tests of the model and of the training loop share. */
#ifndef TEST_TRAIN_COMMON_H
#define TEST_TRAIN_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above it. */
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "train/run.h"

#define MAYBE __attribute__((unused)) static
#define FORMATS HOLD_SOURCE_DIR "/tests/golden/formats"
#define ENGINE HOLD_SOURCE_DIR "/tests/golden/engine"
#define COUNT(a) (int64_t)(sizeof(a) / sizeof((a)[0]))

MAYBE void assert_ok(int rc, const struct hold_error *err) {
    if (rc != HOLD_OK)
        fail_msg("%s", err->text);
}

MAYBE void assert_refused(int rc, int code, const struct hold_error *err, const char *part) {
    if (rc != code || strstr(err->text, part) == NULL)
        fail_msg("found %d \"%s\", expected %d \"...%s...\"", rc, err->text, code, part);
}

/* --- a model --- */

struct tiny {
    struct hold_device *device;
    struct hold_model model;
};

MAYBE void load_adapter(struct hold_adapter *a) {
    struct hold_error err = {0};
    assert_ok(hold_adapter_read(a, FORMATS "/tiny-llama-adapter", &err), &err);
}

/* A model on a new device; tuning "lora": with the adapter as its trained parts, "full", or NULL.
 */
MAYBE void tiny_open_as(struct tiny *t, const char *path, const char *adapter, const char *tuning,
                        int threads, const char *isa, const char *dtype) {
    struct hold_error err = {0};
    assert_ok(hold_cpu_new(&t->device, threads, isa, &err), &err);
    assert_ok(hold_device_set_dtype(t->device, dtype, &err), &err);
    assert_ok(hold_model_load(&t->model, path, t->device, NULL, &err), &err);
    if (tuning != NULL && strcmp(tuning, "full") == 0)
        assert_ok(hold_model_make_full(&t->model, &err), &err);
    if (tuning != NULL && strcmp(tuning, "lora") == 0) {
        struct hold_adapter a;
        assert_ok(hold_adapter_read(&a, adapter, &err), &err);
        struct hold_lora_config c = {.r = a.r, .alpha = a.alpha, .target_modules = "all-linear"};
        assert_ok(hold_model_add_lora(&t->model, &c, &err), &err);
        assert_ok(hold_model_set_lora(&t->model, &a, &err), &err);
        hold_adapter_release(&a);
    }
}

MAYBE void tiny_open_at(struct tiny *t, const char *path, const char *adapter, const char *tuning,
                        int threads) {
    tiny_open_as(t, path, adapter, tuning, threads, NULL, "f32");
}

/* The tiny model with the golden adapter. */
MAYBE void tiny_open(struct tiny *t, const char *tuning, int threads) {
    tiny_open_at(t, FORMATS "/tiny-llama", FORMATS "/tiny-llama-adapter", tuning, threads);
}

MAYBE void tiny_close(struct tiny *t) {
    hold_model_release(&t->model);
    hold_device_free(t->device);
}

MAYBE float *read_flat(const struct tiny *t, struct hold_ptr p) {
    float *x = malloc((size_t)t->model.n_flat * sizeof *x);
    assert_non_null(x);
    t->device->k->read(t->device, x, p, t->model.n_flat * 4);
    return x;
}

/* --- rows --- */

MAYBE void set_release(struct hold_set *s) {
    for (int64_t i = 0; i < s->n; i++) {
        free(s->example[i].ids);
        free(s->example[i].target_weight);
    }
    free(s->example);
}

MAYBE void set_new(struct hold_set *s, int64_t n) {
    *s = (struct hold_set){.n = n, .example = calloc((size_t)n, sizeof *s->example)};
    assert_non_null(s->example);
}

MAYBE struct hold_example *example_new(struct hold_set *s, int64_t i, int32_t n) {
    struct hold_example *x = &s->example[i];
    *x = (struct hold_example){.n = n, .weight = 1.0f, .row = i};
    x->ids = calloc((size_t)n, sizeof *x->ids);
    x->target_weight = calloc((size_t)n, sizeof *x->target_weight);
    assert_true(x->ids != NULL && x->target_weight != NULL);
    return x;
}

/* n rows of 4 to 12 tokens; two of three start alike; weights of tokens and rows differ, the first
 * two tokens are not trained. */
MAYBE void random_rows(struct hold_set *s, int64_t n, uint64_t seed) {
    set_new(s, n);
    for (int64_t i = 0; i < n; i++) {
        struct hold_rng own, shared;
        hold_rng_init(&own, seed, "rows", 0, (uint64_t)i);
        hold_rng_init(&shared, seed, "shared", 0, 0);
        int32_t same = i % 3 == 0 ? 0 : 3;
        struct hold_example *x = example_new(s, i, 4 + (int32_t)hold_rng_below(&own, 9));
        x->weight = i % 4 == 1 ? 0.5f : 1.0f;
        for (int32_t t = 0; t < x->n; t++) {
            x->ids[t] = 3 + (int32_t)hold_rng_below(t < same ? &shared : &own, 280);
            if (t >= 2)
                x->target_weight[t] = t % 3 == 0 ? 0.25f : 1.0f;
        }
    }
}

/* --- logits --- */

/* Logits (tokens, V) of the rows in a layout; the caller frees. */
MAYBE float *logits_of_rows(struct tiny *t, const struct hold_example *const *rows, int32_t n_rows,
                            enum hold_layout layout, int64_t *tokens) {
    struct hold_error err = {0};
    struct hold_space space;
    struct hold_tape tape;
    struct hold_arena arena;
    struct hold_batch batch;
    struct hold_planned planned;
    hold_space_init(&space, t->device);
    hold_tape_init(&tape, t->device, &space);
    hold_arena_init(&arena, 0);
    assert_ok(hold_batch_build(&batch, rows, n_rows, layout, &err), &err);
    assert_ok(hold_model_plan(&batch, &arena, &planned, &err), &err);
    planned.tokens.out_rows = NULL;
    *tokens = batch.n_tokens;
    float *out = malloc((size_t)(batch.n_tokens * t->model.shape.vocab) * sizeof *out);
    assert_non_null(out);
    struct hold_node *h = hold_model_forward(&t->model, &tape, &planned.tokens, NULL, NULL, NULL);
    assert_ok(hold_model_logits(&t->model, &tape, h, out, &err), &err);
    hold_batch_release(&batch);
    hold_tape_release(&tape);
    hold_space_release(&space);
    hold_arena_release(&arena);
    return out;
}

MAYBE float *logits_of_row(struct tiny *t, const struct hold_example *row) {
    int64_t tokens;
    return logits_of_rows(t, &row, 1, HOLD_ROWS, &tokens);
}

/* --- runs --- */

MAYBE struct hold_train_config plain_config(void) {
    struct hold_train_config c;
    hold_options_defaults(hold_train_options, &c);
    c.learning_rate = 5e-3;
    c.per_device_train_batch_size = 4;
    c.max_steps = 6;
    c.save_steps = 0;
    return c;
}

/* A run that is looked into without the loop. */
struct bare {
    struct hold_train_input input;
    struct hold_stream_input stream[4];
    struct hold_examples all; /* every row of the main stream */
    struct hold_ctx ctx;
    struct hold_run run;
};

MAYBE void bare_open(struct bare *b, struct tiny *t, const struct hold_set *set,
                     const struct hold_train_config *c) {
    struct hold_error err = {0};
    *b = (struct bare){.ctx = {.threads = 1}};
    b->stream[0] = (struct hold_stream_input){.name = "main", .set = set};
    b->input = (struct hold_train_input){
        .model = &t->model, .config = *c, .streams = b->stream, .n_streams = 1};
    assert_ok(hold_run_init(&b->run, &b->input, &b->ctx, &err), &err);
    b->all.n = (int32_t)set->n;
    b->all.item = calloc((size_t)set->n, sizeof *b->all.item);
    assert_non_null(b->all.item);
    for (int64_t i = 0; i < set->n; i++)
        b->all.item[i] = &set->example[i];
}

MAYBE void bare_close(struct bare *b) {
    free(b->all.item);
    hold_run_release(&b->run);
}

/* Norm of the difference over the norm of `expected`. */
MAYBE double relative_error(const float *found, const float *expected, int64_t n) {
    double off = 0, all = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)found[i] - (double)expected[i];
        off += d * d;
        all += (double)expected[i] * (double)expected[i];
    }
    return sqrt(off) / (all > 0 ? sqrt(all) : 1.0);
}

#endif
