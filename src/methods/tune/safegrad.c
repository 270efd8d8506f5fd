/* safegrad.c: gradient surgery: the user's gradient may not point against alignment.
 *
 * Paper: "Gradient Surgery for Safe LLM Fine-Tuning" (SafeGrad), arXiv 2508.07172.
 *
 *     g_u = the user's gradient;  g_a = grad KL(P_theta0 || P_theta) on alignment rows
 *     if <g_u, g_a> < 0:  g_u -= <g_u, g_a> / ||g_a||^2 g_a        one dot over all tensors
 *     theta steps on g_u + rho g_a
 *
 * Deviations.  The global dot is used, as in the implementation we read; per-layer surgery is
 * another method.  At theta = theta0 the KL gradient is zero, in f32 it is rounding, whose
 * direction would cut at random: below ||g_a|| = 1e-6 ||g_u|| (there: 1e-8) the step is plain.
 */
#include "methods/method.h"

struct state {
    double rho;
    bool surgery;
    struct hold_reference *start; /* theta0 */
};

static bool idle(const struct state *s) {
    return s->rho == 0.0 && !s->surgery;
}

static int prepare(struct hold_run *run, void *state, struct hold_error *err) {
    struct state *s = state;
    return idle(s) ? HOLD_OK : hold_reference_new(run, NULL, &s->start, err);
}

static void kl(void *user, struct hold_terms *terms) {
    const struct state *s = user;
    hold_terms_kl(terms, s->start, false, 1.0, HOLD_BY_WEIGHT);
}

static int post(struct hold_run *run, void *state, struct hold_error *err) {
    struct state *s = state;
    if (idle(s))
        return HOLD_OK;
    int ga = hold_run_buffer(run, "safegrad.ga");
    hold_buffer_zero(run, ga);
    struct hold_pass pass = {.terms = kl, .user = s, .buffer = ga};
    int rc = hold_run_next(run, "align", &pass.examples, err);
    if (rc == HOLD_OK)
        rc = hold_run_pass(run, &pass, NULL, err);
    if (rc < 0)
        return rc;
    double norm = hold_buffer_norm(run, ga);
    if (norm <= 1e-6 * hold_buffer_norm(run, HOLD_GRAD))
        return HOLD_OK;
    double dot = s->surgery ? hold_buffer_dot(run, HOLD_GRAD, ga) : 0.0;
    double cut = dot < 0.0 ? dot / (norm * norm) : 0.0;
    hold_buffer_axpy(run, HOLD_GRAD, s->rho - cut, ga);
    return HOLD_OK;
}

static void release(struct hold_run *run, void *state) {
    struct state *s = state;
    hold_reference_free(run, s->start);
}

static const struct hold_option options[] = {
    HOLD_REAL(struct state, rho, 1, 0, 1e6, "weight of the alignment gradient"),
    HOLD_BOOL(struct state, surgery, true, "take out the part that points against alignment"),
    {0},
};

static const char *const buffers[] = {"safegrad.ga", NULL};
static const struct hold_hooks hooks = {
    .name = "safegrad",
    .needs = HOLD_NEED_ALIGN,
    .passes = 2,
    .once = 0.5, /* the reference's forward pass: half a pass, where the weights below the adapter
                    have no gradient */
    .once_of = HOLD_NEED_ALIGN,
    .buffers = buffers,
    .prepare = prepare,
    .post = post,
    .release = release,
};

const struct hold_method hold_method_safegrad = {
    .name = "safegrad",
    .title = "Takes from the user's gradient what points against alignment.",
    .paper = "arXiv 2508.07172",
    .where = "sec. 4",
    .stage = HOLD_STAGE_TUNE,
    .version = 2,
    .options = options,
    .state_size = sizeof(struct state),
    .neutral = "rho=0,surgery=false",
    .hooks = &hooks,
};
