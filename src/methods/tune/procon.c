/* procon.c: hold the projection on the refusal direction where it was.
 *
 * Paper: Du et al., "Anchoring Refusal Direction: Mitigating Safety Risks in Tuning via Projection
 * Constraint", arXiv 2509.06795.
 *
 *     r_l = unit(mean h_l(last prompt token, harmful) - mean h_l(last prompt token, benign))
 *     L   = CE + alpha sum_l mean_j (r_l . h_l,j - r_l . h0_l,j)^2
 *
 * r_l and h0 are of theta0, j runs over the rows that predict trained tokens.
 *
 * Deviations.  (1) The mean over trained tokens stands where the card has their sum, so that alpha
 * does not depend on the batch.  (2) h is the residual stream after each block.  (3) Benign rows
 * are the defender's general rows.  (4) The warm-up form keeps alpha for the first `warmup_share`
 * of the steps and drops it then; its extra safety rows are safeinstr's business.
 */
#include <math.h>
#include <stdlib.h>

#include "methods/method.h"

struct state {
    double alpha, warmup_share;
    int64_t probes;
    struct hold_reference *start;
};

/* False: no layer tells the two means apart. */
static bool to_unit_differences(int64_t layers, int64_t cols, const double *a, const double *b,
                                float *r) {
    bool any = false;
    for (int64_t l = 0; l < layers; l++) {
        double norm = 0.0;
        for (int64_t c = 0; c < cols; c++) {
            double d = a[l * cols + c] - b[l * cols + c];
            norm += d * d;
        }
        any = any || norm > 0.0;
        norm = norm > 0.0 ? sqrt(norm) : 1.0;
        for (int64_t c = 0; c < cols; c++)
            r[l * cols + c] = (float)((a[l * cols + c] - b[l * cols + c]) / norm);
    }
    return any;
}

static int prepare(struct hold_run *run, void *state, struct hold_error *err) {
    struct state *s = state;
    if (s->alpha == 0.0 || s->warmup_share == 0.0)
        return HOLD_OK;
    int64_t layers, cols;
    hold_run_blocks(run, &layers, &cols);
    double *harmful = NULL, *benign = NULL;
    float *r = NULL;
    int rc = hold_run_doubles(run, layers * cols, &harmful, err);
    if (rc == HOLD_OK)
        rc = hold_run_doubles(run, layers * cols, &benign, err);
    if (rc == HOLD_OK)
        rc = hold_run_floats(run, layers * cols, &r, err);
    if (rc == HOLD_OK)
        rc = hold_run_mean_blocks(run, "align", s->probes, harmful, err);
    if (rc == HOLD_OK)
        rc = hold_run_mean_blocks(run, "general", s->probes, benign, err);
    if (rc < 0)
        return rc;
    if (!to_unit_differences(layers, cols, harmful, benign, r))
        return hold_fail(err, HOLD_EUSAGE,
                         "procon: refusals and general rows give no direction; expected two kinds "
                         "of rows, are they the same?");
    return hold_reference_new(run, r, &s->start, err);
}

static int terms(struct hold_run *run, void *state, struct hold_terms *terms,
                 struct hold_error *err) {
    const struct state *s = state;
    (void)err;
    double share = (double)hold_run_step(run) / (double)hold_run_steps(run);
    if (s->alpha > 0.0 && share < s->warmup_share)
        hold_terms_projection(terms, s->start, s->alpha, HOLD_BY_WEIGHT);
    return HOLD_OK;
}

static void release(struct hold_run *run, void *state) {
    struct state *s = state;
    hold_reference_free(run, s->start);
}

static const struct hold_option options[] = {
    HOLD_REAL(struct state, alpha, 0.1, 0, 1e6, "weight of the projection's drift"),
    HOLD_REAL(struct state, warmup_share, 1, 0, 1, "share of the steps that keep the term"),
    HOLD_INT(struct state, probes, 64, 1, 100000, "rows of each kind behind the direction"),
    {0},
};

static const struct hold_hooks hooks = {
    .name = "procon",
    .needs = HOLD_NEED_ALIGN | HOLD_NEED_GENERAL,
    .rows_only = true,
    .passes = 1,
    .once = 0.5, /* the reference's forward pass: half a pass, where the weights below the adapter
                    have no gradient */
    .prepare = prepare,
    .terms = terms,
    .release = release,
};

const struct hold_method hold_method_procon = {
    .name = "procon",
    .title = "Keeps hidden states' projection on the refusal direction where it was.",
    .paper = "arXiv 2509.06795",
    .where = "sec. 4",
    .stage = HOLD_STAGE_TUNE,
    .version = 2,
    .options = options,
    .state_size = sizeof(struct state),
    .neutral = "alpha=0",
    .hooks = &hooks,
};
