/* rows.c: kernels that work row by row: norms, rotary embedding, SwiGLU, gather and scatter.
 * Threads share out rows, or blocks of columns where rows are summed, so no result depends on how
 * many there are. */
#include "device/cpu/isa.h"

enum { COLUMN_BLOCK = 64, ROW_CHUNK = 64, MAX_HALF = 512 };

static void rmsnorm_forward(struct hold_device *d, int64_t rows, int64_t cols, float eps,
                            struct hold_ptr x_, int64_t ldx, struct hold_ptr gain_,
                            struct hold_ptr y_, int64_t ldy, struct hold_ptr rstd_) {
    const float *x0 = hold_f32(x_), *gain = hold_f32(gain_);
    float *y0 = hold_f32(y_), *rstd = hold_f32(rstd_);
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *cols))
    for (int64_t i = 0; i < rows; i++) {
        const float *x = x0 + i * ldx;
        float *y = y0 + i * ldy;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < cols; j++)
            sum += x[j] * x[j];
        float r = 1.0f / sqrtf(sum / (float)cols + eps);
        rstd[i] = r;
#pragma omp simd
        for (int64_t j = 0; j < cols; j++)
            y[j] = gain[j] * (x[j] * r);
    }
}

/* dgain += sum over rows of dy * x * rstd.  Each block of columns walks all rows, chunk by chunk,
 * so that long sums keep their small digits. */
static void rmsnorm_dgain(struct hold_device *d, int64_t rows, int64_t cols, const float *x,
                          int64_t ldx, const float *rstd, const float *dy, int64_t lddy,
                          float *dgain) {
    int64_t blocks = (cols + COLUMN_BLOCK - 1) / COLUMN_BLOCK;
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *cols))
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * COLUMN_BLOCK, left = cols - first;
        int64_t n = left < COLUMN_BLOCK ? left : COLUMN_BLOCK;
        for (int64_t chunk = 0; chunk < rows; chunk += ROW_CHUNK) {
            int64_t end = chunk + ROW_CHUNK < rows ? chunk + ROW_CHUNK : rows;
            float sum[COLUMN_BLOCK] = {0};
            for (int64_t i = chunk; i < end; i++) {
                const float *xi = x + i * ldx + first, *di = dy + i * lddy + first;
                float r = rstd[i];
#pragma omp simd
                for (int64_t j = 0; j < n; j++)
                    sum[j] += di[j] * (xi[j] * r);
            }
            for (int64_t j = 0; j < n; j++)
                dgain[first + j] += sum[j];
        }
    }
}

static void rmsnorm_backward(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x_,
                             int64_t ldx, struct hold_ptr gain_, struct hold_ptr rstd_,
                             struct hold_ptr dy_, int64_t lddy, bool add, struct hold_ptr dx_,
                             int64_t lddx, struct hold_ptr dgain) {
    const float *x0 = hold_f32(x_), *gain = hold_f32(gain_), *rstd = hold_f32(rstd_);
    const float *dy0 = hold_f32(dy_);
    float *dx0 = hold_f32(dx_);
    /* First, as dx may be dy. */
    if (!hold_ptr_null(dgain))
        rmsnorm_dgain(d, rows, cols, x0, ldx, rstd, dy0, lddy, hold_f32(dgain));
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *cols))
    for (int64_t i = 0; i < rows; i++) {
        const float *x = x0 + i * ldx, *dy = dy0 + i * lddy;
        float *dx = dx0 + i * lddx, r = rstd[i], sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < cols; j++)
            sum += dy[j] * gain[j] * x[j];
        float c = sum * r * r * r / (float)cols;
        if (add) {
#pragma omp simd
            for (int64_t j = 0; j < cols; j++)
                dx[j] += r * (dy[j] * gain[j]) - c * x[j];
        } else {
#pragma omp simd
            for (int64_t j = 0; j < cols; j++)
                dx[j] = r * (dy[j] * gain[j]) - c * x[j];
        }
    }
}

static void headnorm_forward(struct hold_device *d, int64_t rows, int64_t heads, int64_t head_dim,
                             float eps, struct hold_ptr x_, int64_t ldx, struct hold_ptr gain_,
                             struct hold_ptr y_, int64_t ldy, struct hold_ptr rstd_) {
    const float *x0 = hold_f32(x_), *gain = hold_f32(gain_);
    float *y0 = hold_f32(y_), *rstd = hold_f32(rstd_);
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *heads *head_dim))
    for (int64_t i = 0; i < rows * heads; i++) {
        const float *x = x0 + i / heads * ldx + i % heads * head_dim;
        float *y = y0 + i / heads * ldy + i % heads * head_dim, sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < head_dim; j++)
            sum += x[j] * x[j];
        float r = 1.0f / sqrtf(sum / (float)head_dim + eps);
        rstd[i] = r;
#pragma omp simd
        for (int64_t j = 0; j < head_dim; j++)
            y[j] = gain[j] * (x[j] * r);
    }
}

/* As rmsnorm_dgain, over the heads of all rows. */
static void headnorm_dgain(struct hold_device *d, int64_t rows, int64_t heads, int64_t head_dim,
                           const float *x0, int64_t ldx, const float *rstd, const float *dy0,
                           int64_t lddy, float *dgain) {
    int64_t blocks = (head_dim + COLUMN_BLOCK - 1) / COLUMN_BLOCK, all = rows * heads;
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, all *head_dim))
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * COLUMN_BLOCK, left = head_dim - first;
        int64_t n = left < COLUMN_BLOCK ? left : COLUMN_BLOCK;
        for (int64_t chunk = 0; chunk < all; chunk += ROW_CHUNK) {
            int64_t end = chunk + ROW_CHUNK < all ? chunk + ROW_CHUNK : all;
            float sum[COLUMN_BLOCK] = {0};
            for (int64_t i = chunk; i < end; i++) {
                int64_t at = i % heads * head_dim + first;
                const float *x = x0 + i / heads * ldx + at, *dy = dy0 + i / heads * lddy + at;
                float r = rstd[i];
#pragma omp simd
                for (int64_t j = 0; j < n; j++)
                    sum[j] += dy[j] * (x[j] * r);
            }
            for (int64_t j = 0; j < n; j++)
                dgain[first + j] += sum[j];
        }
    }
}

static void headnorm_backward(struct hold_device *d, int64_t rows, int64_t heads, int64_t head_dim,
                              struct hold_ptr x_, int64_t ldx, struct hold_ptr gain_,
                              struct hold_ptr rstd_, struct hold_ptr dy_, int64_t lddy,
                              struct hold_ptr dx_, int64_t lddx, struct hold_ptr dgain) {
    const float *x0 = hold_f32(x_), *gain = hold_f32(gain_), *rstd = hold_f32(rstd_);
    const float *dy0 = hold_f32(dy_);
    float *dx0 = hold_f32(dx_);
    /* First, as dx may be dy. */
    if (!hold_ptr_null(dgain))
        headnorm_dgain(d, rows, heads, head_dim, x0, ldx, rstd, dy0, lddy, hold_f32(dgain));
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *heads *head_dim))
    for (int64_t i = 0; i < rows * heads; i++) {
        int64_t row = i / heads, at = i % heads * head_dim;
        const float *x = x0 + row * ldx + at, *dy = dy0 + row * lddy + at;
        float *dx = dx0 + row * lddx + at, r = rstd[i], sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < head_dim; j++)
            sum += dy[j] * gain[j] * x[j];
        float c = sum * r * r * r / (float)head_dim;
#pragma omp simd
        for (int64_t j = 0; j < head_dim; j++)
            dx[j] = r * (dy[j] * gain[j]) - c * x[j];
    }
}

static void rows_add(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr v_,
                     struct hold_ptr x_, int64_t ldx) {
    const float *v = hold_f32(v_);
    float *x0 = hold_f32(x_);
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *cols))
    for (int64_t i = 0; i < rows; i++) {
        float *x = x0 + i * ldx;
#pragma omp simd
        for (int64_t j = 0; j < cols; j++)
            x[j] += v[j];
    }
}

static void rows_sum(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x_,
                     int64_t ldx, struct hold_ptr out_) {
    const float *x0 = hold_f32(x_);
    float *out = hold_f32(out_);
    int64_t blocks = (cols + COLUMN_BLOCK - 1) / COLUMN_BLOCK;
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *cols))
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * COLUMN_BLOCK, left = cols - first;
        int64_t n = left < COLUMN_BLOCK ? left : COLUMN_BLOCK;
        for (int64_t chunk = 0; chunk < rows; chunk += ROW_CHUNK) {
            int64_t end = chunk + ROW_CHUNK < rows ? chunk + ROW_CHUNK : rows;
            float sum[COLUMN_BLOCK] = {0};
            for (int64_t i = chunk; i < end; i++) {
                const float *x = x0 + i * ldx + first;
#pragma omp simd
                for (int64_t j = 0; j < n; j++)
                    sum[j] += x[j];
            }
            for (int64_t j = 0; j < n; j++)
                out[first + j] += sum[j];
        }
    }
}

/* Sine and cosine of an f32 angle, correct to the last f32 digit for |x| < 1e6: reduced in f64 by
 * a two-part pi / 2, then Taylor's series on |r| <= pi / 4 up to r^13 and r^14.  Branch-free. */
static inline void sine_cosine(float x, float *sine, float *cosine) {
    const double magic = 6755399441055744.0; /* 1.5 * 2^52 */
    double shifted = (double)x * 0.63661977236758134308 + magic;
    double n = shifted - magic;
    double r = ((double)x - n * 1.57079632679489655800) - n * 6.12323399573676603587e-17;
    double z = r * r;
    double s =
        r + r * z *
                (-1.0 / 6 +
                 z * (1.0 / 120 +
                      z * (-1.0 / 5040 +
                           z * (1.0 / 362880 + z * (-1.0 / 39916800 + z * (1.0 / 6227020800.0))))));
    double c =
        1.0 + z * (-0.5 + z * (1.0 / 24 +
                               z * (-1.0 / 720 +
                                    z * (1.0 / 40320 + z * (-1.0 / 3628800 +
                                                            z * (1.0 / 479001600.0 +
                                                                 z * (-1.0 / 87178291200.0)))))));
    uint64_t bits;
    memcpy(&bits, &shifted, 8);
    double even_s = bits & 1 ? c : s, even_c = bits & 1 ? s : c;
    *sine = (float)(bits & 2 ? -even_s : even_s);
    *cosine = (float)((bits + 1) & 2 ? -even_c : even_c);
}

static void rope(struct hold_device *d, int64_t rows, int64_t heads, int64_t head_dim,
                 struct hold_ptr positions_, struct hold_ptr inv_freq_, bool inverse,
                 struct hold_ptr x_, int64_t ldx) {
    const int32_t *positions = hold_i32(positions_);
    const float *inv_freq = hold_f32(inv_freq_);
    float *x0 = hold_f32(x_);
    int64_t half = head_dim / 2;
    if (half > MAX_HALF) {
        hold_device_stick(d, HOLD_EUNSUPPORTED, "rotary embedding: head size %lld is above %d",
                          (long long)head_dim, 2 * MAX_HALF);
        return;
    }
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *heads *head_dim))
    for (int64_t i = 0; i < rows; i++) {
        float sines[MAX_HALF], cosines[MAX_HALF];
        float position = (float)positions[i], sign = inverse ? -1.0f : 1.0f;
#pragma omp simd
        for (int64_t j = 0; j < half; j++) {
            float s, c;
            sine_cosine(position * inv_freq[j], &s, &c);
            sines[j] = sign * s;
            cosines[j] = c;
        }
        for (int64_t h = 0; h < heads; h++) {
            float *low = x0 + i * ldx + h * head_dim, *high = low + half;
#pragma omp simd
            for (int64_t j = 0; j < half; j++) {
                float a = low[j], b = high[j];
                low[j] = a * cosines[j] - b * sines[j];
                high[j] = b * cosines[j] + a * sines[j];
            }
        }
    }
}

/* --- gated products: y = act(gate) * up, row by row --- */

typedef void gated_row(int64_t cols, const float *gate, const float *up, float *y);
/* dgate = dy * up * act'(gate), dup = dy * act(gate). */
typedef void gated_row_back(int64_t cols, const float *gate, const float *up, const float *dy,
                            float *dgate, float *dup);

static void silu_row(int64_t cols, const float *gate, const float *up, float *y) {
#pragma omp simd
    for (int64_t j = 0; j < cols; j++)
        y[j] = gate[j] / (1.0f + fast_exp(-gate[j])) * up[j];
}

static void silu_row_back(int64_t cols, const float *gate, const float *up, const float *dy,
                          float *dgate, float *dup) {
#pragma omp simd
    for (int64_t j = 0; j < cols; j++) {
        float g = gate[j], u = up[j], s = 1.0f / (1.0f + fast_exp(-g));
        float silu = g * s;
        dgate[j] = dy[j] * u * (s + silu * (1.0f - s));
        dup[j] = dy[j] * silu;
    }
}

/* gelu(x) = x sigmoid(2 u), as (1 + tanh u) / 2 = sigmoid(2 u). */
static const float GELU_C = 1.59576912f /* 2 sqrt(2 / pi) */, GELU_A = 0.044715f;

static void gelu_row(int64_t cols, const float *gate, const float *up, float *y) {
#pragma omp simd
    for (int64_t j = 0; j < cols; j++) {
        float g = gate[j], u = GELU_C * g * (1.0f + GELU_A * g * g);
        y[j] = g / (1.0f + fast_exp(-u)) * up[j];
    }
}

static void gelu_row_back(int64_t cols, const float *gate, const float *up, const float *dy,
                          float *dgate, float *dup) {
#pragma omp simd
    for (int64_t j = 0; j < cols; j++) {
        float g = gate[j], w = GELU_A * g * g;
        float s = 1.0f / (1.0f + fast_exp(-GELU_C * g * (1.0f + w)));
        float slope = s + g * s * (1.0f - s) * GELU_C * (1.0f + 3.0f * w);
        dgate[j] = dy[j] * up[j] * slope;
        dup[j] = dy[j] * (g * s);
    }
}

static void gated_forward(struct hold_device *d, gated_row *row, int64_t rows, int64_t cols,
                          const float *x, int64_t ldx, float *y, int64_t ldy) {
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *cols))
    for (int64_t i = 0; i < rows; i++)
        row(cols, x + i * ldx, x + i * ldx + cols, y + i * ldy);
}

static void gated_backward(struct hold_device *d, gated_row_back *row, int64_t rows, int64_t cols,
                           const float *x, int64_t ldx, const float *dy, int64_t lddy, float *dx,
                           int64_t lddx) {
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *cols))
    for (int64_t i = 0; i < rows; i++)
        row(cols, x + i * ldx, x + i * ldx + cols, dy + i * lddy, dx + i * lddx,
            dx + i * lddx + cols);
}

static void swiglu_forward(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                           int64_t ldx, struct hold_ptr y, int64_t ldy) {
    gated_forward(d, silu_row, rows, cols, hold_f32(x), ldx, hold_f32(y), ldy);
}

static void swiglu_backward(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                            int64_t ldx, struct hold_ptr dy, int64_t lddy, struct hold_ptr dx,
                            int64_t lddx) {
    gated_backward(d, silu_row_back, rows, cols, hold_f32(x), ldx, hold_f32(dy), lddy, hold_f32(dx),
                   lddx);
}

static void geglu_forward(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                          int64_t ldx, struct hold_ptr y, int64_t ldy) {
    gated_forward(d, gelu_row, rows, cols, hold_f32(x), ldx, hold_f32(y), ldy);
}

static void geglu_backward(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr x,
                           int64_t ldx, struct hold_ptr dy, int64_t lddy, struct hold_ptr dx,
                           int64_t lddx) {
    gated_backward(d, gelu_row_back, rows, cols, hold_f32(x), ldx, hold_f32(dy), lddy, hold_f32(dx),
                   lddx);
}

static void rows_gather(struct hold_device *d, int64_t n, int64_t cols, struct hold_ptr table_,
                        int64_t ldt, struct hold_ptr ids_, struct hold_ptr out_, int64_t ldo) {
    const float *table = hold_f32(table_);
    const int32_t *ids = hold_i32(ids_);
    float *out = hold_f32(out_);
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, n *cols))
    for (int64_t i = 0; i < n; i++)
        memcpy(out + i * ldo, table + ids[i] * ldt, (size_t)cols * sizeof(float));
}

static void rows_put(struct hold_device *d, int64_t n, int64_t cols, struct hold_ptr x_,
                     int64_t ldx, struct hold_ptr ids_, struct hold_ptr table_, int64_t ldt) {
    const float *x = hold_f32(x_);
    const int32_t *ids = hold_i32(ids_);
    float *table = hold_f32(table_);
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, n *cols))
    for (int64_t i = 0; i < n; i++)
        memcpy(table + ids[i] * ldt, x + i * ldx, (size_t)cols * sizeof(float));
}

/* Ids may repeat, so threads take columns and each keeps the order of i. */
static void rows_scatter(struct hold_device *d, int64_t n, int64_t cols, struct hold_ptr x_,
                         int64_t ldx, struct hold_ptr ids_, struct hold_ptr table_, int64_t ldt) {
    const float *x0 = hold_f32(x_);
    const int32_t *ids = hold_i32(ids_);
    float *table = hold_f32(table_);
    int64_t blocks = (cols + COLUMN_BLOCK - 1) / COLUMN_BLOCK;
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, n *cols))
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * COLUMN_BLOCK, left = cols - first;
        int64_t width = left < COLUMN_BLOCK ? left : COLUMN_BLOCK;
        for (int64_t i = 0; i < n; i++) {
            const float *x = x0 + i * ldx + first;
            float *row = table + ids[i] * ldt + first;
#pragma omp simd
            for (int64_t j = 0; j < width; j++)
                row[j] += x[j];
        }
    }
}

static void rows_scale(struct hold_device *d, int64_t rows, int64_t cols, struct hold_ptr s_,
                       struct hold_ptr x_, int64_t ldx) {
    const float *s = hold_f32(s_);
    float *x0 = hold_f32(x_);
#pragma omp parallel for schedule(static) num_threads(hold_cpu_team(d, rows *cols))
    for (int64_t i = 0; i < rows; i++) {
        float *x = x0 + i * ldx, c = s[i];
#pragma omp simd
        for (int64_t j = 0; j < cols; j++)
            x[j] *= c;
    }
}

void HOLD_ISA_NAME(hold_cpu_rows)(struct hold_kernels *kernels) {
    kernels->rmsnorm_forward = rmsnorm_forward;
    kernels->rmsnorm_backward = rmsnorm_backward;
    kernels->rope = rope;
    kernels->swiglu_forward = swiglu_forward;
    kernels->swiglu_backward = swiglu_backward;
    kernels->headnorm_forward = headnorm_forward;
    kernels->headnorm_backward = headnorm_backward;
    kernels->rows_add = rows_add;
    kernels->rows_sum = rows_sum;
    kernels->geglu_forward = geglu_forward;
    kernels->geglu_backward = geglu_backward;
    kernels->rows_gather = rows_gather;
    kernels->rows_put = rows_put;
    kernels->rows_scatter = rows_scatter;
    kernels->rows_scale = rows_scale;
}
