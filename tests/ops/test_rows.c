/* test_rows.c: row kernels against f64, their gradients against central differences. */
#include "ops.h"

/* (rows, cols): one register and less, odd tails, many rows (threads), the model's own width. */
static const int64_t SHAPES[][2] = {{1, 1}, {3, 7}, {5, 16}, {67, 33}, {130, 576}};
enum { SHAPE_COUNT = sizeof(SHAPES) / sizeof(SHAPES[0]) };
static const float EPS = 1e-5f;

/* --- forward --- */

static void norm_shape(struct hold_device *d, int64_t rows, int64_t cols) {
    int64_t ldx = cols + 3, ldy = cols + 1;
    float *x, *gain;
    struct hold_ptr px = device_matrix(d, rows, cols, ldx, 1, &x);
    struct hold_ptr pg = device_random(d, cols, 2, &gain), pr = device_floats(d, rows, NULL);
    struct hold_ptr py = device_matrix(d, rows, cols, ldy, 3, NULL);
    d->k->rmsnorm_forward(d, rows, cols, EPS, px, ldx, pg, py, ldy, pr);
    float *y = host_floats(d, rows * ldy, py), *rstd = host_floats(d, rows, pr);
    for (int64_t i = 0; i < rows; i++) {
        double sum = 0;
        for (int64_t j = 0; j < cols; j++)
            sum += (double)x[i * ldx + j] * (double)x[i * ldx + j];
        double r = 1 / sqrt(sum / (double)cols + (double)EPS);
        expect_close("rstd", i, (double)rstd[i], r, 1e-6);
        for (int64_t j = 0; j < cols; j++)
            expect_close("y", i * ldy + j, (double)y[i * ldy + j],
                         (double)gain[j] * (double)x[i * ldx + j] * r, 1e-6);
    }
    expect_gaps("y", y, rows, cols, ldy);
    free(x);
    free(gain);
    free(y);
    free(rstd);
}

static void swiglu_shape(struct hold_device *d, int64_t rows, int64_t cols) {
    int64_t ldx = 2 * cols + 5, ldy = cols + 2;
    float *x;
    struct hold_ptr px = device_matrix(d, rows, 2 * cols, ldx, 1, &x);
    struct hold_ptr py = device_matrix(d, rows, cols, ldy, 2, NULL);
    x[0] = -200; /* silu is 0 there, not NaN */
    x[cols / 2] = 200;
    d->k->write(d, px, x, rows * ldx * 4);
    d->k->swiglu_forward(d, rows, cols, px, ldx, py, ldy);
    float *y = host_floats(d, rows * ldy, py);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            double g = (double)x[i * ldx + j], u = (double)x[i * ldx + cols + j];
            expect_close("y", i * ldy + j, (double)y[i * ldy + j], g / (1 + exp(-g)) * u, 1e-6);
        }
    expect_gaps("y", y, rows, cols, ldy);
    free(x);
    free(y);
}

static void forward_body(struct hold_device *d) {
    for (int i = 0; i < SHAPE_COUNT; i++) {
        norm_shape(d, SHAPES[i][0], SHAPES[i][1]);
        swiglu_shape(d, SHAPES[i][0], SHAPES[i][1]);
    }
}
static void test_forward(void **state) {
    (void)state;
    each_device(forward_body);
}

/* --- rotary embedding --- */

static void rope_body(struct hold_device *d) {
    enum { ROWS = 40, HEADS = 5, DIM = 64, LD = HEADS * DIM + 7 };
    int32_t positions[ROWS];
    float inv_freq[DIM / 2], *x;
    for (int i = 0; i < ROWS; i++)
        positions[i] = i < 20 ? i : i * 971; /* up to 37869 */
    for (int j = 0; j < DIM / 2; j++)
        inv_freq[j] = (float)pow(100000, -2.0 * j / DIM);
    struct hold_ptr px = device_matrix(d, ROWS, HEADS * DIM, LD, 1, &x);
    struct hold_ptr pp = device_bytes(d, sizeof(positions), positions);
    struct hold_ptr pf = device_floats(d, DIM / 2, inv_freq);
    d->k->rope(d, ROWS, HEADS, DIM, pp, pf, false, px, LD);
    float *y = host_floats(d, (int64_t)ROWS * LD, px);
    for (int i = 0; i < ROWS; i++)
        for (int h = 0; h < HEADS; h++)
            for (int j = 0; j < DIM / 2; j++) {
                double angle = (double)((float)positions[i] * inv_freq[j]); /* rounded to f32 */
                int64_t low = (int64_t)i * LD + h * DIM + j, high = low + DIM / 2;
                double a = (double)x[low], b = (double)x[high], c = cos(angle), s = sin(angle);
                expect_close("low", low, (double)y[low], a * c - b * s, 3e-7);
                expect_close("high", high, (double)y[high], b * c + a * s, 3e-7);
            }
    expect_gaps("x", y, ROWS, HEADS * DIM, LD);
    free(y);
    d->k->rope(d, ROWS, HEADS, DIM, pp, pf, true, px, LD); /* and back */
    y = host_floats(d, (int64_t)ROWS * LD, px);
    for (int64_t i = 0; i < (int64_t)ROWS * LD; i++)
        expect_close("back", i, (double)y[i], (double)x[i], 1e-6);
    free(y);
    free(x);
}
static void test_rope(void **state) {
    (void)state;
    each_device(rope_body);
}

/* --- backward: a table of f64 forwards, each dotted with dy --- */

struct sizes {
    int64_t rows, cols;
    const float *dy;
};
/* x: (rows, cols), then gain */
static double norm_loss(const double *x, void *user) {
    const struct sizes *s = user;
    const double *gain = x + s->rows * s->cols;
    double loss = 0;
    for (int64_t i = 0; i < s->rows; i++) {
        const double *row = x + i * s->cols;
        double sum = 0;
        for (int64_t j = 0; j < s->cols; j++)
            sum += row[j] * row[j];
        double r = 1 / sqrt(sum / (double)s->cols + (double)EPS);
        for (int64_t j = 0; j < s->cols; j++)
            loss += (double)s->dy[i * s->cols + j] * gain[j] * row[j] * r;
    }
    return loss;
}
static int64_t norm_inputs(const struct sizes *s) {
    return s->rows * s->cols + s->cols;
}
static void norm_kernel(struct hold_device *d, const struct sizes *s, struct hold_ptr x,
                        struct hold_ptr dy, struct hold_ptr dx) {
    struct hold_ptr gain = hold_at_f32(x, s->rows * s->cols);
    struct hold_ptr dgain = hold_at_f32(dx, s->rows * s->cols);
    struct hold_ptr rstd = device_floats(d, s->rows, NULL);
    struct hold_ptr y = device_floats(d, s->rows * s->cols, NULL);
    d->k->zero(d, dgain, s->cols * 4);
    d->k->rmsnorm_forward(d, s->rows, s->cols, EPS, x, s->cols, gain, y, s->cols, rstd);
    d->k->rmsnorm_backward(d, s->rows, s->cols, x, s->cols, gain, rstd, dy, s->cols, false, dx,
                           s->cols, dgain);
}

/* x: (rows, 2 cols) */
static double swiglu_loss(const double *x, void *user) {
    const struct sizes *s = user;
    double loss = 0;
    for (int64_t i = 0; i < s->rows; i++)
        for (int64_t j = 0; j < s->cols; j++) {
            double g = x[2 * i * s->cols + j], u = x[(2 * i + 1) * s->cols + j];
            loss += (double)s->dy[i * s->cols + j] * g / (1 + exp(-g)) * u;
        }
    return loss;
}
static int64_t swiglu_inputs(const struct sizes *s) {
    return 2 * s->rows * s->cols;
}
static void swiglu_kernel(struct hold_device *d, const struct sizes *s, struct hold_ptr x,
                          struct hold_ptr dy, struct hold_ptr dx) {
    d->k->swiglu_backward(d, s->rows, s->cols, x, 2 * s->cols, dy, s->cols, dx, 2 * s->cols);
}

/* One head of `cols` (even) a row, at position 3 i, frequency 1 / (1 + j); x: (rows, cols) */
static double rope_loss(const double *x, void *user) {
    const struct sizes *s = user;
    int64_t half = s->cols / 2;
    double loss = 0;
    for (int64_t i = 0; i < s->rows; i++)
        for (int64_t j = 0; j < half; j++) {
            double angle = (double)(3 * i) * (double)(float)(1.0 / (double)(1 + j));
            double a = x[i * s->cols + j], b = x[i * s->cols + half + j];
            loss += (double)s->dy[i * s->cols + j] * (a * cos(angle) - b * sin(angle));
            loss += (double)s->dy[i * s->cols + half + j] * (b * cos(angle) + a * sin(angle));
        }
    return loss;
}
static int64_t rope_inputs(const struct sizes *s) {
    return s->rows * s->cols;
}
static void rope_kernel(struct hold_device *d, const struct sizes *s, struct hold_ptr x,
                        struct hold_ptr dy, struct hold_ptr dx) {
    (void)x;
    int32_t positions[64];
    float inv_freq[64];
    for (int64_t i = 0; i < s->rows; i++)
        positions[i] = (int32_t)(3 * i);
    for (int64_t j = 0; j < s->cols / 2; j++)
        inv_freq[j] = (float)(1.0 / (double)(1 + j));
    struct hold_ptr pp = device_bytes(d, sizeof(positions), positions);
    struct hold_ptr pf = device_bytes(d, sizeof(inv_freq), inv_freq);
    d->k->copy(d, dx, dy, s->rows * s->cols * 4);
    d->k->rope(d, s->rows, 1, s->cols, pp, pf, true, dx, s->cols);
}

static const struct {
    const char *name;
    int64_t (*inputs)(const struct sizes *s);
    double (*loss)(const double *x, void *user);
    void (*kernel)(struct hold_device *d, const struct sizes *s, struct hold_ptr x,
                   struct hold_ptr dy, struct hold_ptr dx);
} BACKWARD[] = {
    {"rmsnorm", norm_inputs, norm_loss, norm_kernel},
    {"swiglu", swiglu_inputs, swiglu_loss, swiglu_kernel},
    {"rope", rope_inputs, rope_loss, rope_kernel},
};

static void backward_body(struct hold_device *d) {
    static const int64_t shapes[][2] = {{1, 2}, {3, 8}, {4, 22}, {21, 34}};
    for (size_t c = 0; c < sizeof(BACKWARD) / sizeof(BACKWARD[0]); c++)
        for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
            struct sizes s = {shapes[i][0], shapes[i][1], NULL};
            int64_t n = BACKWARD[c].inputs(&s);
            float *x, *dy;
            struct hold_ptr px = device_random(d, n, 10 + i, &x), dx = device_floats(d, n, NULL);
            struct hold_ptr pdy = device_random(d, s.rows * s.cols, 20 + i, &dy);
            s.dy = dy;
            BACKWARD[c].kernel(d, &s, px, pdy, dx);
            double *at = malloc((size_t)n * sizeof(double));
            for (int64_t j = 0; j < n; j++)
                at[j] = (double)x[j];
            float *found = host_floats(d, n, dx);
            expect_gradient(BACKWARD[c].name, BACKWARD[c].loss, &s, at, n, found, 1e-5);
            free(x);
            free(dy);
            free(at);
            free(found);
        }
}
static void test_backward(void **state) {
    (void)state;
    each_device(backward_body);
}

/* add, a null dgain, dgain's "+=", dx in dy's place, strides: against the dense call. */
static void norm_forms_body(struct hold_device *d) {
    enum { ROWS = 150, COLS = 70, LD = 75 };
    struct hold_ptr x = device_matrix(d, ROWS, COLS, LD, 1, NULL);
    struct hold_ptr gain = device_random(d, COLS, 2, NULL), rstd = device_floats(d, ROWS, NULL);
    struct hold_ptr y = device_floats(d, (int64_t)ROWS * LD, NULL);
    struct hold_ptr dy = device_matrix(d, ROWS, COLS, LD, 3, NULL);
    struct hold_ptr plain = device_matrix(d, ROWS, COLS, LD, 4, NULL);
    float *before, *gain_before;
    struct hold_ptr added = device_matrix(d, ROWS, COLS, LD, 5, &before);
    struct hold_ptr dgain = device_random(d, COLS, 6, &gain_before);
    struct hold_ptr gain_only = device_floats(d, COLS, NULL);
    d->k->rmsnorm_forward(d, ROWS, COLS, EPS, x, LD, gain, y, LD, rstd);
    d->k->rmsnorm_backward(d, ROWS, COLS, x, LD, gain, rstd, dy, LD, false, plain, LD,
                           (struct hold_ptr){0});
    d->k->rmsnorm_backward(d, ROWS, COLS, x, LD, gain, rstd, dy, LD, true, added, LD, dgain);
    d->k->zero(d, gain_only, COLS * 4);
    d->k->rmsnorm_backward(d, ROWS, COLS, x, LD, gain, rstd, dy, LD, false, dy, LD, gain_only);
    float *p = host_floats(d, (int64_t)ROWS * LD, plain);
    float *a = host_floats(d, (int64_t)ROWS * LD, added);
    float *in_place = host_floats(d, (int64_t)ROWS * LD, dy);
    float *g = host_floats(d, COLS, dgain), *g0 = host_floats(d, COLS, gain_only);
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t j = 0; j < COLS; j++) {
            int64_t at = i * LD + j;
            expect_close("added", at, (double)a[at], (double)before[at] + (double)p[at], 1e-6);
            expect_close("in place", at, (double)in_place[at], (double)p[at], 0);
        }
    for (int64_t j = 0; j < COLS; j++)
        expect_close("dgain", j, (double)g[j], (double)gain_before[j] + (double)g0[j], 1e-6);
    expect_gaps("added", a, ROWS, COLS, LD);
    expect_gaps("plain", p, ROWS, COLS, LD);
    float *const owned[] = {before, gain_before, p, a, in_place, g, g0};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        free(owned[i]);
}
static void test_norm_forms(void **state) {
    (void)state;
    each_device(norm_forms_body);
}

/* --- moving rows --- */

static void move_body(struct hold_device *d) {
    enum { TABLE = 90, N = 60, COLS = 333, LDT = 340, LDX = 335 };
    int32_t ids[N], distinct[N];
    for (int i = 0; i < N; i++) {
        ids[i] = (i * 37 + i / 7) % 11; /* repeats */
        distinct[i] = (i * 37) % TABLE;
    }
    float *table, *x, *target;
    struct hold_ptr pt = device_matrix(d, TABLE, COLS, LDT, 1, &table);
    struct hold_ptr px = device_matrix(d, N, COLS, LDX, 2, &x);
    struct hold_ptr out = device_matrix(d, N, COLS, LDX, 3, NULL);
    struct hold_ptr sum = device_matrix(d, TABLE, COLS, LDT, 4, &target);
    struct hold_ptr pi = device_bytes(d, sizeof(ids), ids);
    struct hold_ptr pd = device_bytes(d, sizeof(distinct), distinct);
    d->k->rows_gather(d, N, COLS, pt, LDT, pi, out, LDX);
    d->k->rows_scatter(d, N, COLS, px, LDX, pi, sum, LDT);
    d->k->rows_put(d, N, COLS, px, LDX, pd, pt, LDT);
    float *gathered = host_floats(d, (int64_t)N * LDX, out);
    float *summed = host_floats(d, (int64_t)TABLE * LDT, sum);
    float *put = host_floats(d, (int64_t)TABLE * LDT, pt);
    for (int i = 0; i < N; i++)
        assert_memory_equal(gathered + i * LDX, table + ids[i] * LDT, COLS * 4);
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < COLS; j++)
            target[ids[i] * LDT + j] += x[i * LDX + j]; /* the same order: the same bytes */
        memcpy(table + distinct[i] * LDT, x + i * LDX, COLS * 4);
    }
    assert_memory_equal(summed, target, (size_t)TABLE * LDT * 4);
    assert_memory_equal(put, table, (size_t)TABLE * LDT * 4);
    expect_gaps("gathered", gathered, N, COLS, LDX);
    float *const owned[] = {table, x, target, gathered, summed, put};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        free(owned[i]);
}
static void test_move(void **state) {
    (void)state;
    each_device(move_body);
}

static void scale_body(struct hold_device *d) {
    enum { ROWS = 80, COLS = 250, LD = 251 };
    float *x, *s;
    struct hold_ptr px = device_matrix(d, ROWS, COLS, LD, 1, &x);
    struct hold_ptr ps = device_random(d, ROWS, 2, &s);
    d->k->rows_scale(d, ROWS, COLS, ps, px, LD);
    float *y = host_floats(d, (int64_t)ROWS * LD, px);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLS; j++)
            assert_true(y[i * LD + j] == x[i * LD + j] * s[i]);
    expect_gaps("x", y, ROWS, COLS, LD);
    free(x);
    free(s);
    free(y);
}
static void test_scale(void **state) {
    (void)state;
    each_device(scale_body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),  cmocka_unit_test(test_rope),
        cmocka_unit_test(test_backward), cmocka_unit_test(test_norm_forms),
        cmocka_unit_test(test_move),     cmocka_unit_test(test_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
