/* safe_lora.c: project the tuned update onto the alignment's own subspace, where it strays from it.
 *
 * Paper: Hsu et al., "Safe LoRA: the Silver Lining of Reducing Safety Risks when Fine-tuning Large
 * Language Models", arXiv 2405.16833, eq. 2-3.
 *
 *     V   = W_aligned - W_base                 per module, out x in
 *     C   = V V' / ||V||_F                     (mode paper)
 *     rho = cos(vec(C B A), vec(B A))
 *     B <- C B   where rho <= threshold, or for the n modules of lowest rho
 *
 * C is never formed: C B = V (V' B) / ||V||_F, and with G = A A'
 *     <CBA, BA> = tr((CB)' B G),  ||BA||^2 = tr(B' B G),  ||CBA||^2 = tr((CB)' CB G).
 *
 * Deviations.  (1) C is no projector: mode `paper` scales what it keeps by ||V||, which nearly
 * zeroes it on a lightly aligned model; mode `unit` divides V V' by its top eigenvalue instead
 * and keeps the selection, which is scale free; mode `proj` takes the projector
 * U_k U_k' on the fewest left singular vectors of V that hold 90% of ||V||^2, and B' = C B.  (2)
 * The released code rounds rho to five digits before comparing; here it is compared as it is.  (3)
 * Modules are paired by name. (4) V = 0 leaves the module alone.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "methods/method.h"

struct state {
    const char *select, *mode;
    double threshold;
    int64_t n;
};

struct candidate {
    int64_t pair;
    double rho;
    float *cb; /* (out, r) */
};

static double trace_with_gram(const float *x, const float *y, const float *gram, int64_t rows,
                              int64_t r) {
    double sum = 0.0; /* tr(X' Y G) = sum_i x_i . (G y_i), G symmetric */
    for (int64_t i = 0; i < rows; i++)
        for (int64_t a = 0; a < r; a++) {
            double gy = 0.0;
            for (int64_t b = 0; b < r; b++)
                gy += (double)gram[a * r + b] * (double)y[i * r + b];
            sum += (double)x[i * r + a] * gy;
        }
    return sum;
}

static double frobenius(const float *v, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    return sqrt(sum);
}

/* cb = C B in the scale of the mode; v: (out, in), u: room of the same size for a basis. */
static int apply(struct hold_editor *e, const struct state *s, const struct hold_lora_pair *p,
                 const float *v, double norm, float *u, float *cb, struct hold_error *err) {
    static const double SHARE = 0.9;
    const float *left = v;
    int64_t k = p->in;
    double scale = norm;
    float *between = NULL;
    int rc = HOLD_OK;
    if (strcmp(s->mode, "unit") == 0) {
        rc = hold_edit_top_eigenvalue(e, v, p->out, p->in, &scale, err);
    } else if (strcmp(s->mode, "proj") == 0) {
        rc = hold_edit_left_basis(e, v, p->out, p->in, SHARE, u, &k, err);
        left = u;
        scale = 1.0;
    }
    if (rc == HOLD_OK)
        rc = hold_edit_floats(e, k * p->r, &between, err);
    if (rc == HOLD_OK)
        rc = hold_edit_multiply(e, true, false, k, p->r, p->out, 1.0f, left, p->b, 0.0f, between,
                                err);
    return rc < 0 ? rc
                  : hold_edit_multiply(e, false, false, p->out, p->r, k, (float)(1.0 / scale), left,
                                       between, 0.0f, cb, err);
}

static int project(struct hold_editor *e, const struct state *s, int64_t i, float *v, float *u,
                   struct candidate *c, struct hold_error *err) {
    struct hold_lora_pair *p = hold_edit_pair(e, i);
    float *gram = NULL;
    int rc = hold_edit_floats(e, p->out * p->r, &c->cb, err);
    if (rc == HOLD_OK)
        rc = hold_edit_floats(e, p->r * p->r, &gram, err);
    if (rc == HOLD_OK)
        rc = hold_edit_alignment(e, i, v, err);
    if (rc < 0)
        return rc;
    double norm = frobenius(v, p->out * p->in);
    c->pair = norm > 0.0 ? i : -1;
    if (norm == 0.0)
        return HOLD_OK;
    rc = apply(e, s, p, v, norm, u, c->cb, err);
    if (rc == HOLD_OK)
        rc = hold_edit_multiply(e, false, true, p->r, p->r, p->in, 1.0f, p->a, p->a, 0.0f, gram,
                                err);
    if (rc < 0)
        return rc;
    double dot = trace_with_gram(c->cb, p->b, gram, p->out, p->r);
    double ba = trace_with_gram(p->b, p->b, gram, p->out, p->r);
    double cba = trace_with_gram(c->cb, c->cb, gram, p->out, p->r);
    /* No update: nothing to project.  No overlap with the alignment at all: cosine 0. */
    c->rho = ba <= 0.0 ? 1.0 : cba > 0.0 ? dot / sqrt(ba * cba) : 0.0;
    return HOLD_OK;
}

static int lower_rho(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->rho != y->rho)
        return x->rho < y->rho ? -1 : 1;
    return x->pair < y->pair ? -1 : 1;
}

static int edit(struct hold_editor *e, void *state, struct hold_error *err) {
    const struct state *s = state;
    int64_t n = hold_edit_pairs(e), most = 0, replaced = 0;
    for (int64_t i = 0; i < n; i++) {
        const struct hold_lora_pair *p = hold_edit_pair(e, i);
        most = p->out * p->in > most ? p->out * p->in : most;
    }
    bool by_number = strcmp(s->select, "number") == 0;
    if (by_number && s->n == 0)
        return hold_edit_note(e, "n_projected", 0.0, err);
    float *v = NULL, *u = NULL;
    int rc = hold_edit_floats(e, most, &v, err);
    if (rc == HOLD_OK && strcmp(s->mode, "proj") == 0)
        rc = hold_edit_floats(e, most, &u, err);
    struct candidate *list = hold_calloc((size_t)n + 1, sizeof *list);
    if (rc == HOLD_OK && list == NULL)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for %lld modules", (long long)n);
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++)
        rc = project(e, s, i, v, u, &list[i], err);
    if (rc == HOLD_OK)
        qsort(list, (size_t)n, sizeof *list, lower_rho);
    for (int64_t k = 0; rc == HOLD_OK && k < n; k++) {
        if (list[k].pair < 0)
            continue;
        if (by_number ? replaced >= s->n : list[k].rho > s->threshold)
            break;
        struct hold_lora_pair *p = hold_edit_pair(e, list[k].pair);
        memcpy(p->b, list[k].cb, (size_t)(p->out * p->r) * sizeof *p->b);
        replaced++;
    }
    hold_free(list);
    return rc < 0 ? rc : hold_edit_note(e, "n_projected", (double)replaced, err);
}

static const struct hold_option options[] = {
    HOLD_TEXT(struct state, select, "number", "number|threshold", "how modules are picked"),
    HOLD_INT(struct state, n, 10, 0, 100000, "modules of lowest cosine to project (number)"),
    HOLD_REAL(struct state, threshold, 0.5, -1, 1, "project where the cosine is at most this"),
    HOLD_TEXT(struct state, mode, "paper", "paper|unit|proj", "how the projection is scaled"),
    {0},
};

const struct hold_method hold_method_safe_lora = {
    .name = "safe_lora",
    .title = "Projects the tuned update onto the alignment's subspace where it strays.",
    .paper = "arXiv 2405.16833",
    .where = "eq. 2-3",
    .stage = HOLD_STAGE_REPAIR,
    .version = 1,
    .options = options,
    .state_size = sizeof(struct state),
    .neutral = "select=number,n=0",
    .separate_adapter = true,
    .edit = edit,
    .needs = HOLD_NEED_BEFORE,
};
