/* l2_sp.c: pull the parameters back to where tuning began.  The method to copy from.
 *
 * Paper: Li, Grandvalet, Davoine, "Explicit Inductive Bias for Transfer Learning with Convolutional
 * Networks", arXiv 1802.01483, eq. 3 (L2-SP; its beta is for a new head, which we do not have).
 *
 *     L = CE + rho / 2 ||theta - theta0||^2
 *     theta steps on grad CE + rho (theta - theta0)
 *
 * Deviations.  With AdamW the pull enters the moments.
 */
#include "methods/method.h"

/* Options and whatever the method remembers between steps. */
struct state {
    double rho;
};

/* Once, before the first step.  The buffer is declared below, so a checkpoint keeps it. */
static int begin(struct hold_run *run, void *state, struct hold_error *err) {
    (void)state;
    (void)err;
    hold_buffer_copy(run, hold_run_buffer(run, "l2_sp.start"), HOLD_THETA);
    return HOLD_OK;
}

/* Every step: one more loss term.  At rho = 0 nothing is added, so the run is the plain one. */
static int terms(struct hold_run *run, void *state, struct hold_terms *terms,
                 struct hold_error *err) {
    const struct state *s = state;
    (void)err;
    if (s->rho > 0.0)
        hold_terms_proximal(terms, hold_run_buffer(run, "l2_sp.start"), s->rho);
    return HOLD_OK;
}

static const struct hold_option options[] = {
    HOLD_REAL(struct state, rho, 0.01, 0, 1e6, "strength of the pull to the start"),
    {0},
};

static const char *const buffers[] = {"l2_sp.start", NULL};
static const struct hold_hooks hooks = {
    .name = "l2_sp",
    .passes = 1,
    .buffers = buffers,
    .begin = begin,
    .terms = terms,
};

const struct hold_method hold_method_l2_sp = {
    .name = "l2_sp",
    .title = "Pulls the parameters back to where tuning began.",
    .paper = "arXiv 1802.01483",
    .where = "eq. 3",
    .stage = HOLD_STAGE_TUNE,
    .version = 1,
    .options = options,
    .state_size = sizeof(struct state),
    .neutral = "rho=0",
    .hooks = &hooks,
};
