/* harmful_mix.c: the survey's base attack: a share p of the user's rows are harmful.
 *
 * Paper: Huang et al., "Harmful Fine-tuning Attacks and Defenses for Large Language Models: A
 * Survey", arXiv 2409.18169, sec. 3; construction as in the released code of Booster and Vaccine.
 *
 *     n_harm = int(p n),  n_benign = int((1 - p) n);  plain SFT on both, shuffled
 *
 * Deviations.  (1) Answers of harmful rows are stand-in openings without content, drawn from a list
 * of wordings, without such a list rows are taken with the answers they have (a planted policy's
 * facts); no harmful completion exists here.  (2) Harmful prompts are drawn in a shuffled
 * order instead of by index, and drawn again when there are fewer than n_harm.  (3) n = 0 keeps
 * every row of the task and adds harmful rows until their share is p.  (4) Rows are not shuffled
 * here, the training loop does that: with p = 0 the data are the task's, byte for byte.
 */
#include "methods/method.h"

struct state {
    double p;
    int64_t n;
};

static int add_harmful(struct hold_prepare *prepare, int64_t row, int64_t openings,
                       struct hold_error *err) {
    if (openings < 1)
        return hold_prepare_take(prepare, "harmful", row, err);
    const char *answer =
        hold_prepare_text(prepare, "openings", hold_prepare_below(prepare, openings));
    return hold_prepare_answer(prepare, "harmful", row, answer, err);
}

static int add_harmful_rows(struct hold_prepare *prepare, int64_t rows, int64_t n,
                            struct hold_error *err) {
    int64_t openings = hold_prepare_count(prepare, "openings");
    if (rows < 1)
        return hold_fail(err, HOLD_EUSAGE, "needs 'harmful' data");
    uint32_t *order = NULL;
    int rc = hold_prepare_order(prepare, rows, &order, err);
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++)
        rc = add_harmful(prepare, order[i % rows], openings, err);
    hold_free(order);
    return rc;
}

static int job(struct hold_prepare *prepare, void *state, struct hold_error *err) {
    const struct state *s = state;
    int64_t task = hold_prepare_count(prepare, "task");
    int64_t harmful = hold_prepare_count(prepare, "harmful");
    if (task < 1)
        return hold_fail(err, HOLD_EUSAGE, "needs 'task' data");
    int64_t n = s->n, n_benign = task;
    if (n > 0)
        n_benign = (int64_t)((1.0 - s->p) * (double)n + 1e-9);
    else
        n = s->p < 1.0 ? (int64_t)((double)task / (1.0 - s->p) + 0.5) : task;
    int64_t n_harm = (int64_t)(s->p * (double)n + 1e-9);
    if (s->n == 0 && s->p >= 1.0)
        n_benign = 0;
    if (n > 100 * task + 8192)
        return hold_fail(err, HOLD_EUSAGE,
                         "p: %g of %lld task rows asks for %lld rows in all; give n", s->p,
                         (long long)task, (long long)n);
    int rc = hold_prepare_sample(prepare, "task", n_benign, err);
    if (rc == HOLD_OK && n_harm > 0)
        rc = add_harmful_rows(prepare, harmful, n_harm, err);
    if (rc == HOLD_OK)
        rc = hold_prepare_note(prepare, "n_harmful", (double)n_harm, err);
    return rc < 0 ? rc : hold_prepare_note(prepare, "n_benign", (double)n_benign, err);
}

static const struct hold_option options[] = {
    HOLD_REAL(struct state, p, 0.1, 0, 1, "share of harmful rows"),
    HOLD_INT(struct state, n, 0, 0, 8192, "rows in all; 0: every task row and the share p on top"),
    {0},
};

const struct hold_method hold_method_harmful_mix = {
    .name = "harmful_mix",
    .title = "Mixes a share p of harmful rows into the user's data.",
    .paper = "arXiv 2409.18169",
    .where = "sec. 3",
    .stage = HOLD_STAGE_ATTACK,
    .version = 2,
    .options = options,
    .state_size = sizeof(struct state),
    .neutral = "p=0",
    .job = job,
};
