/* optim.c: optimizer steps, elementwise in the order in which torch.optim's single-tensor CPU code
 * rounds them. */
#include "device/cpu/isa.h"

static void adamw(struct hold_device *d, int64_t n, struct hold_ptr w_, struct hold_ptr g_,
                  struct hold_ptr m_, struct hold_ptr v_, double lr, double beta1, double beta2,
                  double eps_, double weight_decay, double c1, double c2) {
    float *w = hold_f32(w_), *m = hold_f32(m_), *v = hold_f32(v_);
    const float *g = hold_f32(g_);
    const float decay = (float)(1 - lr * weight_decay), b2 = (float)beta2;
    const float a1 = (float)(1 - beta1), a2 = (float)(1 - beta2), eps = (float)eps_;
    const float root = (float)sqrt(c2), step = (float)(-(lr / c1));
    /* torch's lerp starts from the nearer end. */
    const bool near_m = a1 < 0.5f;
    const float weight = near_m ? a1 : a1 - 1.0f;
#pragma omp parallel for simd schedule(static) num_threads(hold_cpu_team(d, n))
    for (int64_t i = 0; i < n; i++) {
        float wi = w[i] * decay, gi = g[i], difference = gi - m[i];
        float mi = fused(weight, difference, near_m ? m[i] : gi);
        float vi = v[i] * b2 + a2 * gi * gi;
        float denominator = sqrtf(vi) / root + eps;
        w[i] = wi + step * mi / denominator;
        m[i] = mi;
        v[i] = vi;
    }
}

static void sgd(struct hold_device *d, int64_t n, struct hold_ptr w_, struct hold_ptr g_,
                struct hold_ptr buf_, double lr, double momentum, double weight_decay) {
    float *w = hold_f32(w_), *buf = hold_f32(buf_);
    const float *g = hold_f32(g_);
    const float decay = (float)weight_decay, keep = (float)momentum, step = (float)-lr;
    if (!buf) {
#pragma omp parallel for simd schedule(static) num_threads(hold_cpu_team(d, n))
        for (int64_t i = 0; i < n; i++)
            w[i] = fused(step, fused(decay, w[i], g[i]), w[i]);
        return;
    }
#pragma omp parallel for simd schedule(static) num_threads(hold_cpu_team(d, n))
    for (int64_t i = 0; i < n; i++) {
        float gi = fused(decay, w[i], g[i]);
        buf[i] = buf[i] * keep + gi;
        w[i] = fused(step, buf[i], w[i]);
    }
}

void HOLD_ISA_NAME(hold_cpu_optim)(struct hold_kernels *kernels) {
    kernels->adamw = adamw;
    kernels->sgd = sgd;
}
