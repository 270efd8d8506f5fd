/* stats.c: intervals that say how far a number may be trusted, and perplexity. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "eval/eval.h"

/* Inverse of the normal distribution: bisection on erfc, which is exact to the last digits and
 * needs no table of coefficients. */
static double normal_quantile(double p) {
    double lo = -40, hi = 40;
    for (int i = 0; i < 200 && lo < hi; i++) {
        double mid = 0.5 * (lo + hi);
        if (0.5 * erfc(-mid / sqrt(2.0)) < p)
            lo = mid;
        else
            hi = mid;
    }
    return 0.5 * (lo + hi);
}

/* E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
 * (1927): centre (p + z^2/2n) / (1 + z^2/n), half width z sqrt(pq/n + z^2/4n^2) / (1 + z^2/n). */
static struct hold_interval wilson_share(double p, int64_t n, double confidence) {
    double z = normal_quantile(0.5 + 0.5 * confidence), m = (double)n;
    double scale = 1 + z * z / m, centre = (p + z * z / (2 * m)) / scale;
    double half = z * sqrt(p * (1 - p) / m + z * z / (4 * m * m)) / scale;
    /* At the ends the formula gives 0 and 1 but for rounding. */
    return (struct hold_interval){.value = p,
                                  .lo = p <= 0 ? 0 : fmax(0, centre - half),
                                  .hi = p >= 1 ? 1 : fmin(1, centre + half),
                                  .n = n};
}

struct hold_interval hold_wilson(int64_t k, int64_t n, double confidence) {
    if (n <= 0)
        return (struct hold_interval){.value = NAN, .lo = 0, .hi = 1, .n = 0};
    return wilson_share((double)k / (double)n, n, confidence);
}

/* One unit of resampling: a pair, or all pairs of a group. */
struct cluster {
    int64_t group, n;
    double sum;
};

static int by_group(const void *a, const void *b) {
    const struct cluster *x = a, *y = b;
    return (x->group > y->group) - (x->group < y->group);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Pairs without NAN, merged by group; returns the number of clusters. */
static int64_t clusters_make(struct cluster *c, const double *a, const double *b,
                             const int64_t *groups, int64_t n) {
    int64_t pairs = 0, merged = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(a[i]) && !isnan(b[i]))
            c[pairs++] = (struct cluster){groups ? groups[i] : i, 1, a[i] - b[i]};
    qsort(c, (size_t)pairs, sizeof(*c), by_group);
    for (int64_t i = 0; i < pairs; i++) {
        if (merged > 0 && c[merged - 1].group == c[i].group) {
            c[merged - 1].n++;
            c[merged - 1].sum += c[i].sum;
        } else {
            c[merged++] = c[i];
        }
    }
    return merged;
}

static double mean_of_resample(const struct cluster *c, int64_t n, struct hold_rng *rng) {
    double sum = 0;
    int64_t pairs = 0;
    for (int64_t i = 0; i < n; i++) {
        const struct cluster *drawn = &c[hold_rng_below(rng, (uint64_t)n)];
        sum += drawn->sum;
        pairs += drawn->n;
    }
    return sum / (double)pairs;
}

/* Linear interpolation between order statistics (R's type 7). */
static double quantile(const double *sorted, int64_t n, double q) {
    double at = q * (double)(n - 1);
    int64_t i = (int64_t)at;
    if (i + 1 >= n)
        return sorted[n - 1];
    return sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]);
}

/* The percentile method of Efron and Tibshirani, "An introduction to the bootstrap", ch. 13. */
int hold_paired_bootstrap(const double *a, const double *b, const int64_t *groups, int64_t n,
                          int64_t rounds, uint64_t seed, double confidence,
                          struct hold_interval *out, struct hold_error *err) {
    struct cluster *c = NULL;
    double *means = NULL;
    int rc = HOLD_OK;
    *out = (struct hold_interval){.value = NAN, .lo = NAN, .hi = NAN, .n = 0};
    if (n < 0 || rounds < 1)
        return hold_fail(err, HOLD_EUSAGE,
                         "bootstrap: found %lld values and %lld rounds, expected "
                         "none or more and at least one",
                         (long long)n, (long long)rounds);
    if (!(confidence > 0 && confidence < 1))
        return hold_fail(err, HOLD_EUSAGE,
                         "bootstrap: found confidence %g, expected a number between 0 and 1",
                         confidence);
    if ((rc = hold_new((void **)&c, (size_t)n + 1, sizeof(*c), "bootstrap", err)) != HOLD_OK ||
        (rc = hold_new((void **)&means, (size_t)rounds, sizeof(*means), "bootstrap", err)) !=
            HOLD_OK)
        goto cleanup;
    int64_t clusters = clusters_make(c, a, b, groups, n);
    if (clusters == 0)
        goto cleanup;
    double sum = 0;
    for (int64_t i = 0; i < clusters; i++) {
        sum += c[i].sum;
        out->n += c[i].n;
    }
    out->value = sum / (double)out->n;
    for (int64_t round = 0; round < rounds; round++) {
        struct hold_rng rng;
        hold_rng_init(&rng, seed, "bootstrap", (uint64_t)round, 0);
        means[round] = mean_of_resample(c, clusters, &rng);
    }
    qsort(means, (size_t)rounds, sizeof(*means), by_value);
    out->lo = quantile(means, rounds, 0.5 - 0.5 * confidence);
    out->hi = quantile(means, rounds, 0.5 + 0.5 * confidence);
cleanup:
    hold_free(means);
    hold_free(c);
    return rc;
}

/* --- where resampling is blind --- */

/* Prompts with a hit, or without one, below which a resample too often holds none of them. */
static const double FEW = 5;

static bool is_edge(double share, double n) {
    return share * n < FEW || (1 - share) * n < FEW;
}

int hold_interval_widen(const double *a, const double *b, const int64_t *groups, int64_t n,
                        double confidence, struct hold_interval *v, struct hold_error *err) {
    void *memory = NULL;
    if (v->n == 0)
        return HOLD_OK;
    int rc = hold_new(&memory, (size_t)n + 1, sizeof(struct cluster), "an interval", err);
    if (rc < 0)
        return rc;
    int64_t prompts = clusters_make(memory, a, b == NULL ? a : b, groups, n), pairs = 0;
    double up = 0, down = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = b == NULL ? a[i] : a[i] - b[i];
        if (isnan(d))
            continue;
        pairs++;
        up += fmax(d, 0);
        down += fmax(-d, 0);
    }
    hold_free(memory);
    if (pairs == 0)
        return HOLD_OK;
    up /= (double)pairs;
    down /= (double)pairs;
    double m = (double)prompts, differ = up + down;
    /* !(lo < hi): no width, or no interval at all. */
    if (v->lo < v->hi && !is_edge(b == NULL ? up : differ, m))
        return HOLD_OK;
    struct hold_interval u = wilson_share(up, prompts, confidence);
    double lo = u.lo, hi = u.hi;
    if (b != NULL) {
        struct hold_interval w = wilson_share(down, prompts, confidence);
        lo = fmax(-1, up - down - hypot(up - u.lo, w.hi - down));
        hi = fmin(1, up - down + hypot(u.hi - up, down - w.lo));
    }
    v->lo = fmin(v->lo, lo); /* fmin and fmax pass over NAN */
    v->hi = fmax(v->hi, hi);
    return HOLD_OK;
}

double hold_perplexity(double sum_logp, int64_t n) {
    return n > 0 ? exp(-sum_logp / (double)n) : NAN;
}

/* --- prompts crossed with training seeds --- */

/* Sums and counts by (group, replicate); groups renumbered 0.. in order of their ids. */
struct cell {
    double sum;
    int64_t n;
};

static int64_t cells_make(struct cell *cells, struct cluster *order, const double *a,
                          const double *b, const int64_t *groups, const int64_t *replicates,
                          int64_t n, int64_t n_replicates) {
    int64_t g = -1;
    for (int64_t i = 0; i < n; i++)
        order[i] = (struct cluster){groups[i], i, 0};
    qsort(order, (size_t)n, sizeof(*order), by_group);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = order[i].n;
        g += i == 0 || order[i].group != order[i - 1].group;
        if (isnan(a[at]) || isnan(b[at]))
            continue;
        struct cell *c = &cells[g * n_replicates + replicates[at]];
        c->sum += a[at] - b[at];
        c->n++;
    }
    return g + 1;
}

static double crossed_mean(const struct cell *cells, int64_t n_groups, int64_t n_replicates,
                           const int64_t *times, struct hold_rng *rng) {
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < n_groups; i++) {
        int64_t g = rng == NULL ? i : (int64_t)hold_rng_below(rng, (uint64_t)n_groups);
        for (int64_t r = 0; r < n_replicates; r++) {
            const struct cell *c = &cells[g * n_replicates + r];
            sum += (double)times[r] * c->sum;
            count += times[r] * c->n;
        }
    }
    return count > 0 ? sum / (double)count : NAN;
}

int hold_crossed_bootstrap(const double *a, const double *b, const int64_t *groups,
                           const int64_t *replicates, int64_t n, int64_t n_replicates,
                           int64_t rounds, uint64_t seed, double confidence,
                           struct hold_interval *out, struct hold_error *err) {
    if (n_replicates <= 1)
        return hold_paired_bootstrap(a, b, groups, n, rounds, seed, confidence, out, err);
    struct cluster *order = NULL;
    struct cell *cells = NULL;
    double *means = NULL;
    int64_t *times = NULL;
    *out = (struct hold_interval){.value = NAN, .lo = NAN, .hi = NAN, .n = 0};
    int rc = rounds < 1 || !(confidence > 0 && confidence < 1)
                 ? hold_fail(err, HOLD_EUSAGE, "bootstrap: found %lld rounds and confidence %g",
                             (long long)rounds, confidence)
                 : HOLD_OK;
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++)
        if (replicates[i] < 0 || replicates[i] >= n_replicates)
            rc = hold_fail(err, HOLD_EUSAGE, "bootstrap: replicate %lld is out of range",
                           (long long)replicates[i]);
    if (rc == HOLD_OK)
        rc = hold_new((void **)&order, (size_t)n + 1, sizeof(*order), "bootstrap", err);
    if (rc == HOLD_OK)
        rc = hold_new((void **)&cells, (size_t)(n * n_replicates) + 1, sizeof(*cells), "bootstrap",
                      err);
    if (rc == HOLD_OK)
        rc = hold_new((void **)&means, (size_t)rounds, sizeof(*means), "bootstrap", err);
    if (rc == HOLD_OK)
        rc = hold_new((void **)&times, (size_t)n_replicates, sizeof(*times), "bootstrap", err);
    if (rc < 0)
        goto cleanup;
    int64_t n_groups = cells_make(cells, order, a, b, groups, replicates, n, n_replicates);
    for (int64_t i = 0; i < n_groups * n_replicates; i++)
        out->n += cells[i].n;
    if (out->n == 0)
        goto cleanup;
    for (int64_t r = 0; r < n_replicates; r++)
        times[r] = 1;
    out->value = crossed_mean(cells, n_groups, n_replicates, times, NULL);
    int64_t kept = 0;
    for (int64_t round = 0; round < rounds; round++) {
        struct hold_rng rng;
        hold_rng_init(&rng, seed, "bootstrap", (uint64_t)round, 1);
        for (int64_t r = 0; r < n_replicates; r++)
            times[r] = 0;
        for (int64_t r = 0; r < n_replicates; r++)
            times[hold_rng_below(&rng, (uint64_t)n_replicates)]++;
        double mean = crossed_mean(cells, n_groups, n_replicates, times, &rng);
        if (!isnan(mean)) /* a resample of nothing but missing values says nothing */
            means[kept++] = mean;
    }
    qsort(means, (size_t)kept, sizeof(*means), by_value);
    out->lo = kept > 0 ? quantile(means, kept, 0.5 - 0.5 * confidence) : NAN;
    out->hi = kept > 0 ? quantile(means, kept, 0.5 + 0.5 * confidence) : NAN;
cleanup:
    hold_free(order);
    hold_free(cells);
    hold_free(means);
    hold_free(times);
    return rc;
}
