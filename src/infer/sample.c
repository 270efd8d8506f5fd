/* sample.c: one token drawn from a row of logits: temperature, then top-k, then top-p. */
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "infer/parts.h"

int hold_sampler_init(struct hold_sampler *s, const struct hold_generate_options *options,
                      int64_t vocab, struct hold_error *err) {
    void *p = NULL;
    *s = (struct hold_sampler){.options = options, .vocab = vocab};
    int rc = hold_new(&p, (size_t)vocab, sizeof *s->candidate, "sampling", err);
    s->candidate = p;
    return rc;
}

void hold_sampler_release(struct hold_sampler *s) {
    hold_free(s->candidate);
    s->candidate = NULL;
}

/* Best first; equals by id. */
static int compare(const void *pa, const void *pb) {
    const struct hold_candidate *a = pa, *b = pb;
    if (a->weight > b->weight || a->weight < b->weight)
        return a->weight > b->weight ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* Move what is at least `floor` to the front, in order of ids; returns how many. */
static int64_t split(struct hold_candidate *c, int64_t n, double floor) {
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++) {
        if (c[i].weight < floor)
            continue;
        struct hold_candidate swap = c[k];
        c[k++] = c[i];
        c[i] = swap;
    }
    return k;
}

/* The best of all candidates, sorted: at least `k` of them when k > 0, and of at least the weight
 * `mass`.  Only a front that is enough is sorted, since the whole vocabulary is far larger. */
static int64_t sort_front(struct hold_candidate *c, int64_t n, int64_t k, double mass) {
    double floor = 0.1;
    for (;; floor = floor > 1e-30 ? floor * floor : 0.0) {
        int64_t front = split(c, n, floor);
        double sum = 0.0;
        for (int64_t i = 0; i < front; i++)
            sum += c[i].weight;
        if (front < n && (front < k || sum < mass))
            continue;
        qsort(c, (size_t)front, sizeof *c, compare);
        return front;
    }
}

/* Keep the first candidates that together reach `mass`. */
static int64_t keep_mass(const struct hold_candidate *c, int64_t n, double mass, double *total) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += c[i].weight;
        if (sum >= mass) {
            *total = sum;
            return i + 1;
        }
    }
    *total = sum;
    return n;
}

int32_t hold_sampler_pick(struct hold_sampler *s, const float *logits, int64_t row,
                          int64_t position) {
    const struct hold_generate_options *o = s->options;
    struct hold_candidate *c = s->candidate;
    int64_t n = s->vocab;
    float most = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        most = logits[i] > most ? logits[i] : most;
    if (!isfinite(most))
        return -1;
    double total = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double x = ((double)logits[i] - (double)most) / o->temperature;
        double w = x > -700.0 ? exp(x) : 0.0; /* a NaN logit is never drawn */
        c[i] = (struct hold_candidate){w, (int32_t)i};
        total += w;
    }
    bool by_k = o->top_k > 0 && o->top_k<n, by_p = o->top_p> 0.0 && o->top_p < 1.0;
    if (by_k || by_p) {
        n = sort_front(c, n, by_k ? o->top_k : 0, by_p ? o->top_p * total : 0.0);
        if (by_k) {
            n = n < o->top_k ? n : o->top_k;
            total = 0.0;
            for (int64_t i = 0; i < n; i++)
                total += c[i].weight;
        }
        if (by_p)
            n = keep_mass(c, n, o->top_p * total, &total);
    }
    struct hold_rng rng;
    hold_rng_init(&rng, o->seed, "sample", (uint64_t)position, (uint64_t)row);
    double at = hold_rng_real(&rng) * total, sum = 0.0;
    int64_t last = 0;
    for (int64_t i = 0; i < n; i++) {
        if (c[i].weight > 0.0)
            last = i; /* rounding may leave `at` just above the whole sum */
        sum += c[i].weight;
        if (sum > at)
            return c[i].id;
    }
    return c[last].id;
}
