/* vaccine.c: perturbation-aware alignment: learn refusals under the embedding drift that hurts
 * most.
 *
 * Paper: Huang, Hu, Liu, "Vaccine: Perturbation-aware Alignment for Large Language Models against
 * Harmful Fine-tuning Attack", arXiv 2402.01109, alg. 1, eq. 4.
 *
 *     G_l   = dL/de_l               at the output e_l of every layer's attention module
 *     N     = sqrt(sum_l ||G_l||^2) over layers, rows and channels of the whole batch
 *     eps_l = rho G_l / (N + 1e-7)  constant
 *     theta steps on dL(e_1 + eps_1, ..., e_L + eps_L)/dtheta, the same batch
 *
 * Deviations.  There are no padding positions here, so none enters N.  `noise` replaces eps by
 * Gaussian noise of the same norm: a control, not in the paper.
 */
#include "methods/method.h"

struct state {
    double rho;
    bool noise;
    struct hold_tap_store *drift; /* G_l of the batch */
};

static int prepare(struct hold_run *run, void *state, struct hold_error *err) {
    struct state *s = state;
    return hold_tap_store_new(run, HOLD_AT_ATTENTION, &s->drift, err);
}

static int step(struct hold_run *run, void *state, struct hold_error *err) {
    struct state *s = state;
    struct hold_pass pass = {.collect = true, .buffer = HOLD_GRAD};
    int rc = hold_run_chosen(run, &pass.examples, err);
    if (rc < 0)
        return rc;
    if (s->rho == 0.0)
        return hold_run_pass(run, &pass, NULL, err);
    struct hold_tap_use use = {.store = s->drift, .mode = HOLD_TAP_READ_GRAD};
    pass.taps = &use;
    pass.n_taps = 1;
    rc = hold_run_pass(run, &pass, NULL, err);
    if (rc < 0)
        return rc;
    double norm = hold_tap_store_norm(run, s->drift); /* N */
    if (s->noise)
        rc = hold_tap_store_noise(run, s->drift, err);
    hold_buffer_zero(run, HOLD_GRAD); /* the first gradient only shows the way */
    use.mode = HOLD_TAP_ADD;
    use.scale = s->rho / (norm + 1e-7);
    return rc < 0 ? rc : hold_run_pass(run, &pass, NULL, err);
}

static void release(struct hold_run *run, void *state) {
    struct state *s = state;
    hold_tap_store_free(run, s->drift);
}

static const struct hold_option options[] = {
    HOLD_REAL(struct state, rho, 2, 0, 1e6, "norm of the embedding drift"),
    HOLD_BOOL(struct state, noise, false, "Gaussian drift of the same norm instead (a control)"),
    {0},
};

static const struct hold_hooks hooks = {
    .name = "vaccine",
    .rows_only = true,
    .passes = 2,
    .prepare = prepare,
    .step = step,
    .release = release,
};

const struct hold_method hold_method_vaccine = {
    .name = "vaccine",
    .title = "Aligns under the hidden-embedding drift that raises the loss most.",
    .paper = "arXiv 2402.01109",
    .where = "alg. 1, eq. 4",
    .stage = HOLD_STAGE_ALIGN,
    .version = 2,
    .options = options,
    .state_size = sizeof(struct state),
    .neutral = "rho=0",
    .hooks = &hooks,
};
