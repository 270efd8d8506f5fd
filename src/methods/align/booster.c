/* booster.c: make one harmful step gain little.
 *
 * Paper: Huang et al., "Booster: Tackling Harmful Fine-tuning for Large Language Models via
 * Attenuating Harmful Perturbation", arXiv 2409.01586, alg. 1, eq. 3.
 *
 *     L_al(theta) + lambda (L_h(theta) - L_h(theta - alpha n(grad L_h(theta))))
 *
 *     g1 = grad L_h(theta)                    n(g) = g / (||g|| + 1e-7), one norm over everything
 *     g2 = grad L_h(theta - alpha n(g1))      the same harmful batch
 *     g0 = grad L_al(theta)
 *     theta steps on g0 + lambda (g1 - g2)    the Jacobian of the inner step is taken as identity
 *
 * Deviations.  theta is restored from a copy, where the released code adds back what it subtracted.
 * With lambda or alpha 0 nothing of the harmful loss is left, so its passes are not made.
 */
#include "methods/method.h"

struct state {
    double lambda, alpha;
    const struct hold_examples *harmful; /* of this step */
};

/* Adds scale times the gradient of the harmful loss where theta is now. */
static int harmful_pass(struct hold_run *run, const struct state *s, int buffer, double scale,
                        struct hold_error *err) {
    struct hold_pass pass = {.examples = s->harmful, .buffer = buffer, .scale = scale};
    return hold_run_pass(run, &pass, NULL, err);
}

static int after_one_step(struct hold_run *run, void *user, struct hold_error *err) {
    const struct state *s = user;
    return harmful_pass(run, s, HOLD_GRAD, -s->lambda, err);
}

static int step(struct hold_run *run, void *state, struct hold_error *err) {
    struct state *s = state;
    int g1 = hold_run_buffer(run, "booster.g1");
    bool active = s->lambda != 0.0 && s->alpha != 0.0;
    int rc = HOLD_OK;
    if (active) {
        rc = hold_run_next(run, "harmful", &s->harmful, err);
        hold_buffer_zero(run, g1);
        if (rc == HOLD_OK)
            rc = harmful_pass(run, s, g1, 1.0, err);
        if (rc == HOLD_OK)
            rc = hold_run_shifted(run, g1, -s->alpha / (hold_buffer_norm(run, g1) + 1e-7),
                                  after_one_step, s, err);
    }
    struct hold_pass pass = {.collect = true, .buffer = HOLD_GRAD};
    if (rc == HOLD_OK)
        rc = hold_run_chosen(run, &pass.examples, err);
    if (rc == HOLD_OK)
        rc = hold_run_pass(run, &pass, NULL, err);
    if (rc == HOLD_OK && active)
        hold_buffer_axpy(run, HOLD_GRAD, s->lambda, g1);
    return rc;
}

static const struct hold_option options[] = {
    HOLD_REAL(struct state, lambda, 5, 0, 1e6, "weight of the harmful gain"),
    HOLD_REAL(struct state, alpha, 0.1, 0, 1e6, "length of the simulated harmful step"),
    {0},
};

static const char *const buffers[] = {"booster.g1", NULL};
static const struct hold_hooks hooks = {
    .name = "booster",
    .needs = HOLD_NEED_HARMFUL,
    .passes = 3,
    .buffers = buffers,
    .step = step,
};

const struct hold_method hold_method_booster = {
    .name = "booster",
    .title = "Aligns so that one simulated harmful step lowers the harmful loss little.",
    .paper = "arXiv 2409.01586",
    .where = "alg. 1, eq. 3",
    .stage = HOLD_STAGE_ALIGN,
    .version = 2,
    .options = options,
    .state_size = sizeof(struct state),
    .neutral = "lambda=0",
    .hooks = &hooks,
};
