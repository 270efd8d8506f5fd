/* benign.c: an honest customer's data, which can undo alignment all the same.
 *
 * Paper: Qi et al., "Fine-tuning Aligned Language Models Compromises Safety, Even When Users Do Not
 * Intend To!", arXiv 2310.03693, risk level 3: plain SFT on benign rows.
 *
 * Deviations.  The paper removes refusal-like rows from Alpaca and Dolly by a keyword script; the
 * rows given here are taken as they are.
 */
#include "methods/method.h"

struct state {
    int64_t n;
};

static int job(struct hold_prepare *p, void *state, struct hold_error *err) {
    const struct state *s = state;
    int64_t task = hold_prepare_count(p, "task");
    if (task < 1)
        return hold_fail(err, HOLD_EUSAGE, "needs 'task' data");
    int64_t n = s->n > 0 ? s->n : task;
    int rc = hold_prepare_sample(p, "task", n, err);
    return rc < 0 ? rc : hold_prepare_note(p, "n_benign", (double)n, err);
}

static const struct hold_option options[] = {
    HOLD_INT(struct state, n, 0, 0, 8192, "rows; 0: all of the task"),
    {0},
};

const struct hold_method hold_method_benign = {
    .name = "benign",
    .title = "Trains on the user's benign rows alone.",
    .paper = "arXiv 2310.03693",
    .where = "sec. 4.3",
    .stage = HOLD_STAGE_ATTACK,
    .version = 2,
    .options = options,
    .state_size = sizeof(struct state),
    .job = job,
};
