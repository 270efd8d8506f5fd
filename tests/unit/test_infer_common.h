/* test_infer_common.h: the tiny golden model on a CPU device, prompts, and the plain way to
 * logits: a forward pass over the whole row without a cache. */
#ifndef TEST_INFER_COMMON_H
#define TEST_INFER_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above it. */
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "infer/parts.h"

#define MAYBE __attribute__((unused)) static
#define TINY HOLD_SOURCE_DIR "/tests/golden/formats/tiny-llama"
#define COUNT(a) (int64_t)(sizeof(a) / sizeof((a)[0]))

struct tiny {
    struct hold_device *device;
    struct hold_model model;
};

MAYBE void assert_ok(int rc, const struct hold_error *err) {
    if (rc != HOLD_OK)
        fail_msg("%s", err->text);
}

MAYBE void assert_refused(int rc, int code, const struct hold_error *err, const char *part) {
    if (rc != code || strstr(err->text, part) == NULL)
        fail_msg("found %d \"%s\", expected %d \"...%s...\"", rc, err->text, code, part);
}

MAYBE void tiny_open(struct tiny *t, bool guarded) {
    struct hold_error err = {0};
    assert_ok(guarded ? hold_cpu_new_guarded(&t->device, 1, &err)
                      : hold_cpu_new(&t->device, 1, NULL, &err),
              &err);
    assert_ok(hold_model_load(&t->model, TINY, t->device, NULL, &err), &err);
    /* Random weights end a turn at random; tests that want an end name their own. */
    t->model.n_eos_ids = 1;
    t->model.eos_ids[0] = -1;
}

MAYBE void tiny_close(struct tiny *t) {
    hold_model_release(&t->model);
    hold_device_free(t->device);
}

MAYBE int set_up(void **state) {
    static struct tiny tiny;
    tiny_open(&tiny, false);
    *state = &tiny;
    return 0;
}

MAYBE int tear_down(void **state) {
    tiny_close(*state);
    return 0;
}

MAYBE struct hold_ids ids_of(const struct tiny *t, const char *text) {
    struct hold_error err = {0};
    struct hold_ids ids = {0};
    assert_ok(hold_tokenizer_encode(t->model.tokenizer, text, strlen(text), true, &ids, &err),
              &err);
    return ids;
}

MAYBE struct hold_ids *prompts_of(const struct tiny *t, const char *const *texts, int64_t n) {
    struct hold_ids *p = calloc((size_t)n, sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i < n; i++)
        p[i] = ids_of(t, texts[i]);
    return p;
}

MAYBE void prompts_free(struct hold_ids *p, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        hold_ids_release(&p[i]);
    free(p);
}

/* Logits (n, V) of all tokens of a row, to be freed. */
MAYBE float *plain_logits(struct tiny *t, const int32_t *ids, int32_t n) {
    struct hold_error err = {0};
    struct hold_space space;
    struct hold_tape tape;
    struct hold_arena arena;
    float *weight = calloc((size_t)n, sizeof *weight);
    float *out = malloc((size_t)n * (size_t)t->model.shape.vocab * sizeof *out);
    int32_t *own = malloc((size_t)n * sizeof *own);
    assert_true(weight != NULL && out != NULL && own != NULL);
    memcpy(own, ids, (size_t)n * sizeof *own);
    struct hold_example x = {.n = n, .ids = own, .target_weight = weight, .weight = 1.0f};
    const struct hold_example *list = &x;
    struct hold_batch batch;
    struct hold_planned planned;
    hold_space_init(&space, t->device);
    hold_tape_init(&tape, t->device, &space);
    hold_arena_init(&arena, 0);
    assert_ok(hold_batch_build(&batch, &list, 1, HOLD_ROWS, &err), &err);
    assert_ok(hold_model_plan(&batch, &arena, &planned, &err), &err);
    planned.tokens.out_rows = NULL;
    struct hold_node *h = hold_model_forward(&t->model, &tape, &planned.tokens, NULL, NULL, NULL);
    assert_ok(hold_model_logits(&t->model, &tape, h, out, &err), &err);
    hold_batch_release(&batch);
    hold_tape_release(&tape);
    hold_space_release(&space);
    hold_arena_release(&arena);
    free(weight);
    free(own);
    return out;
}

#endif
