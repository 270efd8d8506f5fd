/* lisa.c: alternate between alignment rows and the user's, each state pulled back to where the
 * other ended.
 *
 * Paper: Huang et al., "Lisa: Lazy Safety Alignment for Large Language Models against Harmful
 * Fine-tuning Attack", arXiv 2405.18641, alg. 2, eq. 3.
 *
 *     state 1: K1 steps on alignment rows;  state 2: K2 steps on the user's rows
 *     each step: grad of cross entropy + rho (theta - theta_bar)
 *     theta_bar = theta at the last switch, so one copy is enough
 *
 * Deviations.  None from the released code's bookkeeping: state 1 runs first, both count optimizer
 * steps, an alignment batch takes the place of the user's in that step, the pull enters the moments
 * of AdamW.  The stage ends in whatever state its last step falls into; the report names it.
 */
#include "methods/method.h"

struct state {
    double rho;
    int64_t alignment_step, finetune_step;
    int64_t done; /* steps in the present state */
    bool tuning;  /* state 2 */
};

static int begin(struct hold_run *run, void *state, struct hold_error *err) {
    struct state *s = state;
    (void)err;
    s->tuning = s->alignment_step == 0;
    s->done = 0;
    hold_buffer_copy(run, hold_run_buffer(run, "lisa.anchor"), HOLD_THETA);
    return HOLD_OK;
}

static int choose(struct hold_run *run, void *state, const struct hold_examples **io,
                  struct hold_error *err) {
    struct state *s = state;
    if (s->alignment_step == 0)
        return HOLD_OK;
    if (s->done == (s->tuning ? s->finetune_step : s->alignment_step)) {
        s->tuning = !s->tuning;
        s->done = 0;
        hold_buffer_copy(run, hold_run_buffer(run, "lisa.anchor"), HOLD_THETA);
    }
    s->done++;
    return s->tuning ? HOLD_OK : hold_run_next(run, "align", io, err);
}

static int terms(struct hold_run *run, void *state, struct hold_terms *terms,
                 struct hold_error *err) {
    const struct state *s = state;
    (void)err;
    if (s->rho > 0.0)
        hold_terms_proximal(terms, hold_run_buffer(run, "lisa.anchor"), s->rho);
    return HOLD_OK;
}

static const struct hold_option options[] = {
    HOLD_REAL(struct state, rho, 1, 0, 1e6, "strength of the pull to the last switch"),
    HOLD_INT(struct state, alignment_step, 100, 0, 1000000, "steps on alignment rows (K1)"),
    HOLD_INT(struct state, finetune_step, 900, 1, 1000000, "steps on the user's rows (K2)"),
    {0},
};
static const struct hold_option persist[] = {
    HOLD_INT(struct state, done, 0, 0, 1e15, "steps in the present state"),
    HOLD_BOOL(struct state, tuning, false, "in state 2"),
    {0},
};

static const char *const buffers[] = {"lisa.anchor", NULL};
static const struct hold_hooks hooks = {
    .name = "lisa",
    .needs = HOLD_NEED_ALIGN,
    .passes = 1,
    .buffers = buffers,
    .persist = persist,
    .begin = begin,
    .choose = choose,
    .terms = terms,
};

const struct hold_method hold_method_lisa = {
    .name = "lisa",
    .title = "Alternates alignment and user steps under a proximal pull.",
    .paper = "arXiv 2405.18641",
    .where = "alg. 2, eq. 3",
    .stage = HOLD_STAGE_TUNE,
    .version = 1,
    .options = options,
    .state_size = sizeof(struct state),
    .neutral = "rho=0,alignment_step=0",
    .hooks = &hooks,
};
