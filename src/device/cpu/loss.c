/* loss.c: losses over blocks of logits.  Sums of exponentials run in f32 over short chunks whose
 * totals are added in f64, so that log-probabilities agree with an f64 computation to 1e-6. */
#include "device/cpu/isa.h"

enum { CHUNK = 512 };

/* NaN is passed over, except that nothing but NaN gives minus infinity. */
static float row_max(int64_t n, const float *x) {
    vec top = (vec){0} - INFINITY;
    int64_t j = 0;
    for (; j + VEC <= n; j += VEC)
        top = vec_max(vec_load(x + j), top);
    float most = vec_top(top);
    for (; j < n; j++)
        most = x[j] > most ? x[j] : most;
    return most;
}

/* sum_j exp(x_j - most); with `keep` each exponential takes its x's place. */
static double sum_exp(int64_t n, float *x, float most, bool keep) {
    double total = 0;
    for (int64_t first = 0; first < n; first += CHUNK) {
        int64_t end = first + CHUNK < n ? first + CHUNK : n;
        float sum = 0;
        if (keep) {
#pragma omp simd reduction(+ : sum)
            for (int64_t j = first; j < end; j++) {
                float e = fast_exp(x[j] - most);
                x[j] = e;
                sum += e;
            }
        } else {
#pragma omp simd reduction(+ : sum)
            for (int64_t j = first; j < end; j++)
                sum += fast_exp(x[j] - most);
        }
        total += (double)sum;
    }
    return total;
}

static void scale_row(int64_t n, float *x, float c) {
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        x[j] *= c;
}

static void cross_entropy(struct hold_device *d, int64_t rows, int64_t vocab,
                          struct hold_ptr logits_, int64_t ld, const struct hold_labels *labels,
                          float coef, bool grad, struct hold_ptr logp_) {
    const int32_t *first = hold_i32(labels->first), *target = hold_i32(labels->target);
    const float *weight = hold_f32(labels->weight);
    float *logits = hold_f32(logits_);
    double *logp = hold_f64(logp_);
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *vocab))
    for (int64_t i = 0; i < rows; i++) {
        float *x = logits + i * ld;
        int32_t begin = first[i], end = first[i + 1];
        if (begin == end) {
            if (grad)
                memset(x, 0, (size_t)vocab * sizeof(float));
            continue;
        }
        /* The labels' own logits are read before the row is overwritten. */
        for (int32_t e = begin; e < end; e++)
            logp[e] = (double)x[target[e]];
        float most = row_max(vocab, x);
        double sum = sum_exp(vocab, x, most, grad), lse = (double)most + log(sum), total = 0;
        for (int32_t e = begin; e < end; e++) {
            logp[e] -= lse;
            total += grad ? (double)coef * (double)weight[e] : 0;
        }
        if (!grad)
            continue;
        scale_row(vocab, x, (float)(total / sum));
        for (int32_t e = begin; e < end; e++)
            x[target[e]] -= coef * weight[e];
    }
}

/* One row of KL.  With lp = (x - most_x) - log sum_x and lr likewise, both directions need the
 * mean of the difference of logits, t = (x - most_x) - (r - most_r), under ref or under p. */
struct kl_row {
    float most, ref_most;
    double sum, ref_sum, shift; /* shift = log sum_x - log sum_r */
};

static struct kl_row kl_measure(int64_t n, float *x, float *r) {
    struct kl_row k = {.most = row_max(n, x), .ref_most = row_max(n, r)};
    k.sum = sum_exp(n, x, k.most, false);
    k.ref_sum = sum_exp(n, r, k.ref_most, false);
    k.shift = log(k.sum) - log(k.ref_sum);
    return k;
}

static inline float larger(float a, float b) {
    return a < b ? b : a;
}

static double kl_mean_difference(int64_t n, const float *x, const float *r, struct kl_row k,
                                 bool under_p) {
    double total = 0;
    for (int64_t first = 0; first < n; first += CHUNK) {
        int64_t end = first + CHUNK < n ? first + CHUNK : n;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = first; j < end; j++) {
            /* A logit of minus infinity has no mass; 0 * inf must not spoil the sum. */
            float a = larger(x[j] - k.most, -1e30f), b = larger(r[j] - k.ref_most, -1e30f);
            sum += fast_exp(under_p ? a : b) * (a - b);
        }
        total += (double)sum;
    }
    return total / (under_p ? k.sum : k.ref_sum);
}

static void kl_gradient(int64_t n, float *x, const float *r, struct kl_row k, bool reverse,
                        double value, float c) {
    const float inverse = (float)(1 / k.sum), ref_inverse = (float)(1 / k.ref_sum);
    const float offset = (float)(k.shift + value);
    if (reverse) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) {
            float a = x[j] - k.most, b = r[j] - k.ref_most, p = fast_exp(a) * inverse;
            x[j] = p > 0 ? c * p * (a - b - offset) : 0;
        }
    } else {
#pragma omp simd
        for (int64_t j = 0; j < n; j++)
            x[j] =
                c * (fast_exp(x[j] - k.most) * inverse - fast_exp(r[j] - k.ref_most) * ref_inverse);
    }
}

static void kl(struct hold_device *d, int64_t rows, int64_t vocab, struct hold_ptr logits_,
               int64_t ld, struct hold_ptr ref_logits, int64_t ldr, struct hold_ptr weight_,
               float coef, bool reverse, bool grad, struct hold_ptr kl_) {
    float *logits = hold_f32(logits_), *ref = hold_f32(ref_logits);
    const float *weight = hold_f32(weight_);
    double *out = hold_f64(kl_);
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *vocab))
    for (int64_t i = 0; i < rows; i++) {
        float *x = logits + i * ld, *r = ref + i * ldr;
        struct kl_row k = kl_measure(vocab, x, r);
        double mean = kl_mean_difference(vocab, x, r, k, reverse);
        double value = reverse ? mean - k.shift : k.shift - mean;
        out[i] = value;
        if (grad)
            kl_gradient(vocab, x, r, k, reverse, value, coef * weight[i]);
    }
}

static void argmax(struct hold_device *d, int64_t rows, int64_t vocab, struct hold_ptr logits_,
                   int64_t ld, struct hold_ptr id_, struct hold_ptr gap_) {
    const float *logits = hold_f32(logits_);
    int32_t *id = hold_i32(id_);
    float *gap = hold_f32(gap_);
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *vocab))
    for (int64_t i = 0; i < rows; i++) {
        const float *x = logits + i * ld;
        float most = row_max(vocab, x);
        int64_t at = 0;
        while (at < vocab && x[at] != most)
            at++;
        at = at < vocab ? at : 0; /* every logit is NaN */
        float before = row_max(at, x), after = row_max(vocab - at - 1, x + at + 1);
        id[i] = (int32_t)at;
        gap[i] = most - (before > after ? before : after);
    }
}

void HOLD_ISA_NAME(hold_cpu_loss)(struct hold_kernels *kernels) {
    kernels->cross_entropy = cross_entropy;
    kernels->kl = kl;
    kernels->argmax = argmax;
}
