/* stage.h: how the floor above runs the data and edit hooks of methods. */
#ifndef HOLD_METHODS_STAGE_H
#define HOLD_METHODS_STAGE_H

#include "data/rows.h"
#include "methods/method.h"

/* A method with its options set; state is owned. */
struct hold_method_use {
    const struct hold_method *method;
    void *state;
};
/* Defaults, then `options` (JSON object, may be NULL); `where` starts messages ("recipe.yaml: arms
 * .vaccine"). */
int hold_method_use_new(struct hold_method_use *out, const struct hold_method *m,
                        const json_t *options, const char *where, struct hold_error *err);
void hold_method_use_release(struct hold_method_use *u);

struct hold_named_rows {
    const char *name;
    const struct hold_rows *rows;
};
struct hold_phase_rows {
    struct hold_phase phase;
    struct hold_rows rows; /* owned */
};
struct hold_prepared {
    int n_phases;
    struct hold_phase_rows *phases;
    json_t *notes; /* object, owned */
};
/* Run an attack's job hook. */
int hold_prepare_job(const struct hold_method_use *attack, const struct hold_named_rows *sets,
                     int n_sets, uint64_t seed, struct hold_prepared *out, struct hold_error *err);
/* Run a method's data hook over rows; out->n_phases is 1. */
int hold_prepare_data(const struct hold_method_use *method, const struct hold_rows *rows,
                      const struct hold_named_rows *sets, int n_sets, uint64_t seed,
                      struct hold_prepared *out, struct hold_error *err);
void hold_prepared_release(struct hold_prepared *p);

/* Run a repair's edit hook on `adapter` in place.  base: path of the model before alignment and the
 * adapters that make the aligned one from it, as loaded models: `aligned` has everything below the
 * tuned adapter merged; `base` may be NULL. */
struct hold_edit_input {
    struct hold_adapter *adapter;
    struct hold_model *base, *aligned; /* on the same device */
    const struct hold_named_rows *sets;
    int n_sets;
    int64_t max_length;
    uint64_t seed;
    json_t *notes; /* object to add to; borrowed */
};
int hold_edit_run(const struct hold_method_use *repair, const struct hold_edit_input *input,
                  const struct hold_ctx *ctx, struct hold_error *err);

#endif
