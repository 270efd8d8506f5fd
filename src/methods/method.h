/* method.h: all of ours that a file under methods/ may include.
 *
 * To add a method:
 *  1. copy the nearest neighbour in the same stage folder (attack, align, tune, repair), rename the
 *     stem: file, symbol hold_method_STEM, recipe word, page and test share it;
 *  2. write the opening comment (what it does, paper and equation, the update rule in ASCII, every
 *     deviation and why), the state, the hooks, the option table, the descriptor last;
 *  3. add one line hold_method(STAGE STEM) to src/methods/CMakeLists.txt;
 *  4. run tools/newpage STEM and fill in docs/methods/STEM.md: idea, deviations;
 *  5. add recipes/methods/STEM.yaml, whose first comment line is the command that runs it;
 *  6. add the test rows in tests/methods: golden steps, one behaviour, the neutral setting.
 *
 * Everything in a method's file is static but the descriptor.
 */
#ifndef HOLD_METHODS_METHOD_H
#define HOLD_METHODS_METHOD_H

#include "base/mem.h"
#include "train/train.h"

enum hold_stage {
    HOLD_STAGE_ATTACK,
    HOLD_STAGE_ALIGN,
    HOLD_STAGE_TUNE,
    HOLD_STAGE_REPAIR,
    HOLD_STAGE_COUNT
};
const char *hold_stage_name(enum hold_stage s); /* "attack", "align", "tune", "repair" */

struct hold_prepare;
struct hold_editor;

/* Templates that a method changes: texts are borrowed from its state (options) or static. */
struct hold_profiles {
    const char *train_system; /* system prompt of training rows without one; NULL: as it is */
    const char *infer_system; /* of the model's inference profile; NULL: as it is */
};

/* A NULL hook means the plain behaviour; most methods fill one or two. */
struct hold_method {
    const char *name;  /* = file name = recipe word = CLI word */
    const char *title; /* one sentence with a full stop */
    const char *paper; /* "arXiv 2402.01109" */
    const char *where; /* "alg. 1, eq. 4" */
    enum hold_stage stage;
    int version;                       /* numerics: raised when results change */
    const struct hold_option *options; /* ends in a zero row; NULL: none */
    size_t state_size;                 /* zeroed, defaults and options set, then hooks */
    const char *neutral;   /* "rho=0": the setting at which it is the identity; NULL: none exists */
    bool separate_adapter; /* needs the tuned adapter apart: the flow `continue` is refused */

    /* attack: the user's job as phases of data and requested hyper-parameters */
    int (*job)(struct hold_prepare *p, void *state, struct hold_error *err);
    /* align, tune: change the rows of a phase before training (mix, filter, rewrite) */
    int (*data)(struct hold_prepare *p, void *state, struct hold_error *err);
    /* align, tune: other templates in training or inference */
    void (*profile)(void *state, struct hold_profiles *profiles);
    /* align, tune: the training loop's differences */
    const struct hold_hooks *hooks;
    /* repair: adapter to adapter */
    int (*edit)(struct hold_editor *e, void *state, struct hold_error *err);
    unsigned needs; /* enum hold_need of data and edit hooks (hooks->needs is for training) */
    unsigned (*more_needs)(const void *state); /* what its options ask for besides; may be NULL */
};
extern const struct hold_method *const hold_methods[];        /* NULL-ended, written by the build */
const struct hold_method *hold_method_find(const char *name); /* NULL: no such */
/* ENOTFOUND with "did you mean". */
int hold_method_look_up(const char *name, const struct hold_method **out, struct hold_error *err);

/* ---------------- data hooks: rows in, rows out ---------------- */

/* Named sets: "task" (the customer's rows), "harmful" (prompts of this side's harmful rows),
 * "align" (harmful prompt -> refusal), "general" (ordinary rows), "openings" (stand-in answers,
 * text rows), "job" (in a data hook: the phase's rows as they are so far).  Count; -1: not given.
 */
int64_t hold_prepare_count(const struct hold_prepare *p, const char *set);
/* Append row `index` of a set to the output as it is. */
int hold_prepare_take(struct hold_prepare *p, const char *set, int64_t index,
                      struct hold_error *err);
/* Append n rows of a set, drawn without repetition, in the set's own order: all of them is the set
 * as it is. */
int hold_prepare_sample(struct hold_prepare *p, const char *set, int64_t n, struct hold_error *err);
/* Append a row made of the set's prompt `index` (its user turn) and an answer. */
int hold_prepare_answer(struct hold_prepare *p, const char *set, int64_t index, const char *answer,
                        struct hold_error *err);
/* Text of a text row; borrowed. */
const char *hold_prepare_text(const struct hold_prepare *p, const char *set, int64_t index);
/* Uniform in 0..n-1, from the stage's seed and the method's name. */
int64_t hold_prepare_below(struct hold_prepare *p, int64_t n);
/* An order of 0..n-1, shuffled by the same stream; to be freed with hold_free. */
int hold_prepare_order(struct hold_prepare *p, int64_t n, uint32_t **out, struct hold_error *err);
/* In a job hook: what is appended from now on belongs to a new phase. */
struct hold_phase {
    const char *name;
    double learning_rate, num_train_epochs; /* 0: as the recipe says */
    int64_t max_steps, batch;               /* 0: as the recipe says */
    const char *flow; /* "merge_new" or "continue": how this phase's adapter starts from the last */
};
int hold_prepare_phase(struct hold_prepare *p, const struct hold_phase *phase,
                       struct hold_error *err);
/* An entry of the stage's manifest and of the report ("n_harmful"). */
int hold_prepare_note(struct hold_prepare *p, const char *name, double value,
                      struct hold_error *err);

/* ---------------- edit hook: the tuned adapter, the models around it ---------------- */

/* Low-rank pairs of the tuned adapter; a and b may be changed in place. */
int64_t hold_edit_pairs(const struct hold_editor *e);
struct hold_lora_pair *hold_edit_pair(struct hold_editor *e, int64_t i);
double hold_edit_scale(const struct hold_editor *e, int64_t i); /* alpha / r */
/* V = W_aligned - W_base of the pair's module: out * in floats (host). EUSAGE when the recipe has
 * no model before alignment. */
int hold_edit_alignment(struct hold_editor *e, int64_t i, float *v, struct hold_error *err);
/* Mean squares over the tokens of a set's rows ("harmful": prompt and stand-in answer; "general")
 * of the inputs of the pair's factors: a_in (in), b_in (r).  One forward sweep serves all pairs and
 * is kept. */
int hold_edit_input_squares(struct hold_editor *e, const char *set, int64_t i, double *a_in,
                            double *b_in, struct hold_error *err);
/* C(m,n) = alpha op(A) op(B) + beta C over host matrices, row-major without gaps. */
int hold_edit_multiply(struct hold_editor *e, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                       float alpha, const float *a, const float *b, float beta, float *c,
                       struct hold_error *err);
/* Orthonormal columns of u (out, *k): the fewest leading left singular vectors of v (out, in) that
 * hold at least `share` of ||v||^2; u has room for out * min(out, in).  v = 0: *k = 0. */
int hold_edit_left_basis(struct hold_editor *e, const float *v, int64_t out, int64_t in,
                         double share, float *u, int64_t *k, struct hold_error *err);
/* The largest eigenvalue of v v', v (out, in). */
int hold_edit_top_eigenvalue(struct hold_editor *e, const float *v, int64_t out, int64_t in,
                             double *value, struct hold_error *err);
/* Memory for the time of the edit, zeroed. */
int hold_edit_floats(struct hold_editor *e, int64_t n, float **out, struct hold_error *err);
uint64_t hold_edit_seed(const struct hold_editor *e);
int hold_edit_note(struct hold_editor *e, const char *name, double value, struct hold_error *err);

#endif
