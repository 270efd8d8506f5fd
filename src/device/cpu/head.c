/* head.c: what is wanted of the output head's products, taken a stretch of the vocabulary at a time
 * while it is in cache: the logits never lie in memory. */
#include "device/cpu/isa.h"

enum { COLUMNS = 512, ROWS = 128, SCRATCH = 1 };

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* --- the best --- */

/* The largest logit so far, the first of equals, and the largest of the others. */
struct best {
    float most, second;
    int32_t id; /* -1: none */
};

static void best_add(struct best *b, float x, int32_t id) {
    if (x > b->most || (b->id < 0 && x == b->most)) {
        b->second = b->most;
        b->most = x;
        b->id = id;
    } else if (x > b->second) {
        b->second = x;
    }
}

/* Logits x[0..n) of the ids from `first` on.  NaN is passed over. */
static void best_scan(struct best *b, int64_t n, const float *x, int32_t first) {
    vec top = (vec){0} - INFINITY;
    int64_t j = 0;
    for (; j + VEC <= n; j += VEC)
        top = vec_max(vec_load(x + j), top);
    float most = vec_top(top);
    if (b->id < 0 || most > b->most) {
        /* A new best: the scan by elements sees all there is to see. */
        for (int64_t i = 0; i < j; i++)
            best_add(b, x[i], first + (int32_t)i);
    } else if (most > b->second) {
        b->second = most;
    }
    for (; j < n; j++)
        best_add(b, x[j], first + (int32_t)j);
}

static struct best best_join(struct best a, struct best b) {
    if (b.id < 0 || (a.id >= 0 && b.most <= a.most)) {
        a.second = b.id >= 0 && b.most > a.second ? b.most : a.second;
        return a;
    }
    b.second = a.id >= 0 && a.most > b.second ? a.most : b.second;
    return b;
}

static void head_argmax(struct hold_device *d, const struct hold_weight *w, int64_t out, int64_t m,
                        const float *x, int64_t ldx, int32_t *id, float *gap) {
    const bool alone = hold_cpu_columns_alone(w);
    int64_t stretches = (out + COLUMNS - 1) / COLUMNS, teams = smaller(stretches, d->threads);
    struct best *all = hold_cpu_scratch(d, SCRATCH, teams * ROWS * (int64_t)sizeof(struct best));
    if (!all)
        return;
    for (int64_t row = 0; row < m; row += ROWS) {
        int64_t rows = smaller(m - row, ROWS);
        /* Neighbouring stretches, one best: which is the same however the vocabulary is cut. */
#pragma omp parallel for schedule(static) num_threads((int)teams) if (!alone)
        for (int64_t t = 0; t < teams; t++) {
            _Alignas(64) float z[ROWS * COLUMNS];
            struct best *own = all + t * ROWS;
            for (int64_t i = 0; i < rows; i++)
                own[i] = (struct best){-INFINITY, -INFINITY, -1};
            for (int64_t s = stretches * t / teams; s < stretches * (t + 1) / teams; s++) {
                int64_t first = s * COLUMNS, n = smaller(out - first, COLUMNS);
                hold_cpu_columns(d, w, first, n, rows, x + row * ldx, ldx, z, COLUMNS);
                for (int64_t i = 0; i < rows; i++)
                    best_scan(own + i, n, z + i * COLUMNS, (int32_t)first);
            }
        }
        for (int64_t i = 0; i < rows; i++) {
            struct best b = all[i];
            for (int64_t t = 1; t < teams; t++)
                b = best_join(b, all[t * ROWS + i]);
            id[row + i] = b.id < 0 ? 0 : b.id;
            gap[row + i] = b.most - b.second;
        }
    }
}

/* --- log-probabilities --- */

/* A row's stretch: its largest logit, and the sum of exp(logit - most). */
struct sum {
    float most, sum;
};

static struct sum sum_stretch(int64_t n, const float *x) {
    vec top = (vec){0} - INFINITY;
    int64_t j = 0;
    for (; j + VEC <= n; j += VEC)
        top = vec_max(vec_load(x + j), top);
    struct sum s = {vec_top(top), 0};
    for (; j < n; j++)
        s.most = x[j] > s.most ? x[j] : s.most;
    /* Nothing but minus infinity (and NaN, which must be seen) adds nothing. */
    float most = s.most > -INFINITY ? s.most : 0, sum = 0;
#pragma omp simd reduction(+ : sum)
    for (j = 0; j < n; j++)
        sum += fast_exp(x[j] - most);
    s.sum = sum;
    return s;
}

/* log of the sum of exp over all stretches, `step` apart. */
static double log_sum(int64_t stretches, const struct sum *s, int64_t step) {
    float most = -INFINITY;
    double total = 0;
    for (int64_t c = 0; c < stretches; c++)
        most = s[c * step].most > most ? s[c * step].most : most;
    for (int64_t c = 0; c < stretches; c++)
        if (s[c * step].sum != 0)
            total += (double)s[c * step].sum * exp((double)s[c * step].most - (double)most);
    return (double)most + log(total);
}

static void head_logp(struct hold_device *d, const struct hold_weight *w, int64_t out, int64_t m,
                      const float *x, int64_t ldx, const struct hold_labels *labels, double *logp) {
    const int32_t *begin = hold_i32(labels->first), *target = hold_i32(labels->target);
    const bool alone = hold_cpu_columns_alone(w);
    int64_t stretches = (out + COLUMNS - 1) / COLUMNS;
    struct sum *sums = hold_cpu_scratch(d, SCRATCH, stretches * ROWS * (int64_t)sizeof(struct sum));
    if (!sums)
        return;
    for (int64_t row = 0; row < m; row += ROWS) {
        int64_t rows = smaller(m - row, ROWS);
        const int32_t *label = begin + row;
#pragma omp parallel for schedule(static) num_threads(d->threads) if (!alone)
        for (int64_t s = 0; s < stretches; s++) {
            _Alignas(64) float z[ROWS * COLUMNS];
            int64_t first = s * COLUMNS, n = smaller(out - first, COLUMNS);
            hold_cpu_columns(d, w, first, n, rows, x + row * ldx, ldx, z, COLUMNS);
            for (int64_t i = 0; i < rows; i++) {
                for (int32_t e = label[i]; e < label[i + 1]; e++)
                    if (target[e] >= first && target[e] < first + n)
                        logp[e] = (double)z[i * COLUMNS + target[e] - first];
                if (label[i] < label[i + 1])
                    sums[s * ROWS + i] = sum_stretch(n, z + i * COLUMNS);
            }
        }
        for (int64_t i = 0; i < rows; i++) {
            if (label[i] == label[i + 1])
                continue;
            double lse = log_sum(stretches, sums + i, ROWS);
            for (int32_t e = label[i]; e < label[i + 1]; e++)
                logp[e] -= lse;
        }
    }
}

void HOLD_ISA_NAME(hold_cpu_head)(struct hold_cpu_head *head) {
    *head = (struct hold_cpu_head){head_argmax, head_logp};
}
