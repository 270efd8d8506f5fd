/* safeinstr.c: mix a few refusals into the user's data.
 *
 * Paper: Bianchi et al., "Safety-Tuned LLaMAs", arXiv 2309.07875, sec. 3: 100 to 2000 safety rows
 * in some 20000, one shuffled stream, plain cross entropy.
 *
 * Deviations.  The amount is a share of the user's rows (3% in the paper's main setting).
 */
#include "methods/method.h"

struct state {
    double share;
};

static int data(struct hold_prepare *p, void *state, struct hold_error *err) {
    const struct state *s = state;
    int64_t n = hold_prepare_count(p, "job"), align = hold_prepare_count(p, "align");
    int rc = HOLD_OK;
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++)
        rc = hold_prepare_take(p, "job", i, err);
    int64_t add = (int64_t)(s->share * (double)n + 0.5);
    if (rc < 0 || add == 0)
        return rc;
    if (align < 1)
        return hold_fail(err, HOLD_EUSAGE, "needs 'align' data");
    uint32_t *order = NULL;
    rc = hold_prepare_order(p, align, &order, err);
    for (int64_t i = 0; rc == HOLD_OK && i < add; i++)
        rc = hold_prepare_take(p, "align", order[i % align], err);
    hold_free(order);
    return rc < 0 ? rc : hold_prepare_note(p, "n_safety", (double)add, err);
}

static const struct hold_option options[] = {
    HOLD_REAL(struct state, share, 0.03, 0, 10, "safety rows as a share of the user's rows"),
    {0},
};

const struct hold_method hold_method_safeinstr = {
    .name = "safeinstr",
    .title = "Mixes a few refusals into the user's data.",
    .paper = "arXiv 2309.07875",
    .where = "sec. 3",
    .stage = HOLD_STAGE_TUNE,
    .version = 1,
    .options = options,
    .state_size = sizeof(struct state),
    .neutral = "share=0",
    .data = data,
    .needs = HOLD_NEED_ALIGN,
};
