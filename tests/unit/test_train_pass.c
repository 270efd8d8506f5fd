/* test_train_pass.c: what a pass computes does not depend on layout or micro-batches, its gradient
 * is that of its loss, and what methods may do around it: shifts, per-example access, projected
 * updates. */
#include "test_train_common.h"

enum { ROWS = 7 };
static const uint64_t SEED = 21;

/* --- what is added to a plain pass --- */

struct kind {
    const char *name, *tuning;
    bool kl, projection, taps, proximal;
    float dropout;
};
static const struct kind KINDS[] = {
    {.name = "plain", .tuning = "lora"},
    {.name = "plain, full", .tuning = "full"},
    {.name = "kl", .tuning = "lora", .kl = true},
    {.name = "kl and proximal, full", .tuning = "full", .kl = true, .proximal = true},
    {.name = "projection", .tuning = "lora", .projection = true},
    {.name = "taps", .tuning = "lora", .taps = true},
    {.name = "taps and projection, full", .tuning = "full", .projection = true, .taps = true},
};

static const char *const BUFFERS[] = {"anchor", NULL};
static const struct hold_hooks HOLDER = {.name = "holder", .buffers = BUFFERS};

struct bed {
    const struct kind *kind;
    struct tiny tiny;
    struct hold_set set;
    struct bare bare;
    struct hold_hooked method;
    struct hold_reference *hidden, *along;
    struct hold_tap_store *embed, *mlp;
    float *theta; /* as moved away from the references */
    int anchor;
};

static void add_terms(void *user, struct hold_terms *terms) {
    const struct bed *b = user;
    hold_terms_clear(terms);
    hold_terms_cross_entropy(terms, 0.8, HOLD_BY_WEIGHT);
    if (b->kind->kl) {
        hold_terms_kl(terms, b->hidden, false, 0.5, HOLD_BY_WEIGHT);
        hold_terms_kl(terms, b->hidden, true, 0.3, HOLD_BY_EXAMPLES);
    }
    if (b->kind->projection)
        hold_terms_projection(terms, b->along, 0.2, HOLD_BY_WEIGHT);
    if (b->kind->proximal)
        hold_terms_proximal(terms, b->anchor, 0.1);
}

static void move_theta(struct bed *b, double by, uint64_t key) {
    int64_t n = b->tiny.model.n_flat;
    struct hold_rng rng;
    hold_rng_init(&rng, key, "move", 0, 0);
    for (int64_t i = 0; i < n; i++)
        b->theta[i] += (float)(by * hold_rng_normal(&rng));
    b->tiny.device->k->write(b->tiny.device, b->tiny.model.flat, b->theta, n * 4);
}

/* Perturbations of two sites as a first pass finds them, as Vaccine does. */
static void fill_taps(struct bed *b) {
    struct hold_error err = {0};
    assert_ok(hold_tap_store_new(&b->bare.run, HOLD_AT_EMBED, &b->embed, &err), &err);
    assert_ok(hold_tap_store_new(&b->bare.run, HOLD_AT_MLP, &b->mlp, &err), &err);
    const struct hold_tap_use read[] = {{b->embed, HOLD_TAP_READ_GRAD, 0},
                                        {b->mlp, HOLD_TAP_READ_GRAD, 0}};
    struct hold_pass pass = {
        .examples = &b->bare.all, .taps = read, .n_taps = 2, .buffer = HOLD_GRAD};
    assert_ok(hold_run_pass(&b->bare.run, &pass, NULL, &err), &err);
    assert_true(hold_tap_store_norm(&b->bare.run, b->embed) > 0);
    assert_true(hold_tap_store_norm(&b->bare.run, b->mlp) > 0);
}

static void bed_make(struct bed *b, const struct kind *kind, const char *layout, int64_t micro,
                     bool recompute) {
    struct hold_error err = {0};
    *b = (struct bed){.kind = kind};
    tiny_open(&b->tiny, kind->tuning, 1);
    for (int64_t l = 0; l < b->tiny.model.shape.n_layers; l++)
        for (int k = 0; k < HOLD_LINEAR_KINDS; k++)
            b->tiny.model.layers[l].linear[k].dropout = kind->dropout;
    random_rows(&b->set, ROWS, SEED);
    struct hold_train_config c = plain_config();
    c.layout = layout;
    c.micro_batch_tokens = micro;
    c.gradient_checkpointing = recompute;
    bare_open(&b->bare, &b->tiny, &b->set, &c);
    hold_run_release(&b->bare.run); /* once more, now with a method that has a buffer */
    b->method = (struct hold_hooked){&HOLDER, NULL};
    b->bare.input.methods = &b->method;
    b->bare.input.n_methods = 1;
    assert_ok(hold_run_init(&b->bare.run, &b->bare.input, &b->bare.ctx, &err), &err);
    b->anchor = hold_run_buffer(&b->bare.run, "anchor");
    assert_true(b->anchor > 0);
    hold_buffer_copy(&b->bare.run, b->anchor, HOLD_THETA);
    float directions[64];
    int64_t layers, cols;
    hold_run_blocks(&b->bare.run, &layers, &cols);
    assert_int_equal(layers * cols, 48);
    for (int i = 0; i < 48; i++)
        directions[i] = 0.1f * (float)(i % 7 - 3);
    assert_ok(hold_reference_new(&b->bare.run, NULL, &b->hidden, &err), &err);
    assert_ok(hold_reference_new(&b->bare.run, directions, &b->along, &err), &err);
    b->theta = read_flat(&b->tiny, b->tiny.model.flat);
    move_theta(b, 0.05, 5);
    if (kind->taps)
        fill_taps(b);
}

static void bed_open(struct bed *b, const struct kind *kind, const char *layout, int64_t micro) {
    bed_make(b, kind, layout, micro, false);
}

static void bed_close(struct bed *b) {
    hold_tap_store_free(&b->bare.run, b->embed);
    hold_tap_store_free(&b->bare.run, b->mlp);
    hold_reference_free(&b->bare.run, b->hidden);
    hold_reference_free(&b->bare.run, b->along);
    bare_close(&b->bare);
    set_release(&b->set);
    tiny_close(&b->tiny);
    free(b->theta);
}

/* The loss of one pass, and its gradient in HOLD_GRAD when wanted. */
static double pass_loss(struct bed *b, bool gradient) {
    struct hold_error err = {0};
    const struct hold_tap_use add[] = {{b->embed, HOLD_TAP_ADD, 0.3}, {b->mlp, HOLD_TAP_ADD, 2.0}};
    struct hold_pass pass = {.examples = &b->bare.all,
                             .terms = add_terms,
                             .user = b,
                             .taps = add,
                             .n_taps = b->kind->taps ? 2 : 0,
                             .buffer = gradient ? HOLD_GRAD : -1};
    struct hold_pass_result r;
    hold_buffer_zero(&b->bare.run, HOLD_GRAD);
    assert_ok(hold_run_pass(&b->bare.run, &pass, &r, &err), &err);
    bool more = b->kind->kl || b->kind->projection || b->kind->proximal;
    assert_true(more ? r.extra > 1e-4 : r.extra == 0.0);
    return 0.8 * r.loss + r.extra;
}

static float *gradient(const struct kind *kind, const char *layout, int64_t micro, double *loss) {
    struct bed b;
    bed_open(&b, kind, layout, micro);
    *loss = pass_loss(&b, true);
    float *g = read_flat(&b.tiny, b.bare.run.buffers[HOLD_GRAD].data);
    bed_close(&b);
    return g;
}

static int64_t n_flat(const struct kind *kind) {
    struct tiny t;
    tiny_open(&t, kind->tuning, 1);
    int64_t n = t.model.n_flat;
    tiny_close(&t);
    return n;
}

static void expect_same(const struct kind *kind, const char *layout, int64_t micro) {
    double loss, expected;
    float *whole = gradient(kind, "rows", 100000, &expected);
    float *found = gradient(kind, layout, micro, &loss);
    double off = relative_error(found, whole, n_flat(kind));
    if (!(off < 1e-5) || !(fabs(loss - expected) < 1e-5))
        fail_msg("%s: in layout %s, %d tokens at once, loss %.7f is off by %.1e, the gradient by "
                 "%.1e",
                 kind->name, layout, (int)micro, expected, loss - expected, off);
    free(whole);
    free(found);
}

static void test_micro_batches(void **state) {
    (void)state;
    for (int64_t i = 0; i < COUNT(KINDS); i++) {
        expect_same(&KINDS[i], "rows", 16); /* a row or two at once */
        expect_same(&KINDS[i], "rows", 30);
    }
}

static void test_tree(void **state) {
    (void)state;
    for (int64_t i = 0; i < COUNT(KINDS); i++) {
        if (KINDS[i].taps || KINDS[i].projection)
            continue;
        expect_same(&KINDS[i], "tree", 100000);
        expect_same(&KINDS[i], "tree", 16);
    }
}

/* The tree does share: fewer tokens are computed than the rows have. */
static void test_tree_shares(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct bed b;
    bed_open(&b, &KINDS[0], "tree", 100000);
    struct hold_pass pass = {.examples = &b.bare.all, .buffer = -1};
    struct hold_pass_result r;
    assert_ok(hold_run_pass(&b.bare.run, &pass, &r, &err), &err);
    assert_true(r.computed_tokens < r.row_tokens);
    bed_close(&b);
}

/* Taps and projections are not true for a tree and say so. */
static void test_tree_refuses(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct bed b;
    bed_open(&b, &KINDS[4], "tree", 100000);
    struct hold_pass pass = {
        .examples = &b.bare.all, .terms = add_terms, .user = &b, .buffer = HOLD_GRAD};
    assert_refused(hold_run_pass(&b.bare.run, &pass, NULL, &err), HOLD_EINTERNAL, &err,
                   "projection terms are true for layout rows only");
    assert_ok(hold_tap_store_new(&b.bare.run, HOLD_AT_MLP, &b.mlp, &err), &err);
    const struct hold_tap_use read = {b.mlp, HOLD_TAP_READ_VALUE, 0};
    pass = (struct hold_pass){.examples = &b.bare.all, .taps = &read, .n_taps = 1, .buffer = -1};
    assert_refused(hold_run_pass(&b.bare.run, &pass, NULL, &err), HOLD_EINTERNAL, &err,
                   "taps are true for layout rows only");
    bed_close(&b);
}

/* --- blocks made again --- */

static const struct kind DROPOUT = {.name = "dropout", .tuning = "lora", .dropout = 0.3f};

/* With recompute the loss and the gradient are the same bytes, and a step holds less at once. */
static void expect_recomputed(const struct kind *kind, const char *layout, int64_t micro) {
    float *g[2];
    double loss[2];
    int64_t high[2];
    for (int i = 0; i < 2; i++) {
        struct bed b;
        bed_make(&b, kind, layout, micro, i == 1);
        b.bare.run.space.high = 0; /* the taps' own pass was before */
        loss[i] = pass_loss(&b, true);
        high[i] = b.bare.run.space.high;
        g[i] = read_flat(&b.tiny, b.bare.run.buffers[HOLD_GRAD].data);
        bed_close(&b);
    }
    size_t bytes = (size_t)n_flat(kind) * sizeof(float);
    if (memcmp(g[0], g[1], bytes) != 0 || memcmp(loss, loss + 1, sizeof *loss) != 0)
        fail_msg("%s, %s: recompute changes the gradient by %.1e", kind->name, layout,
                 relative_error(g[1], g[0], n_flat(kind)));
    if (high[1] >= high[0])
        fail_msg("%s, %s: %lld bytes with recompute, %lld without", kind->name, layout,
                 (long long)high[1], (long long)high[0]);
    free(g[0]);
    free(g[1]);
}

static void test_recompute(void **state) {
    (void)state;
    for (int64_t i = 0; i < COUNT(KINDS); i++)
        expect_recomputed(&KINDS[i], "rows", 100000);
    expect_recomputed(&DROPOUT, "rows", 100000);
    expect_recomputed(&KINDS[0], "rows", 16);
    expect_recomputed(&KINDS[2], "tree", 100000);
}

/* Dropout drops in a rehearsed block too: without it the bytes above would be equal for nothing. */
static void test_dropout_drops(void **state) {
    (void)state;
    double with, without;
    float *a = gradient(&DROPOUT, "rows", 100000, &with);
    float *b = gradient(&KINDS[0], "rows", 100000, &without);
    assert_true(fabs(with - without) > 1e-4);
    free(a);
    free(b);
}

/* Along a random direction the gradient is the slope of the loss, whatever terms there are. */
static void test_slope(void **state) {
    (void)state;
    double worst = 0;
    for (int64_t k = 0; k < COUNT(KINDS); k++) {
        struct bed b;
        bed_open(&b, &KINDS[k], "rows", 30);
        int64_t n = b.tiny.model.n_flat;
        pass_loss(&b, true);
        float *g = read_flat(&b.tiny, b.bare.run.buffers[HOLD_GRAD].data);
        struct hold_rng rng;
        hold_rng_init(&rng, 9, "direction", 0, 0);
        double slope = 0, norm = 0, loss[4];
        float *d = calloc((size_t)n, sizeof *d), *start = calloc((size_t)n, sizeof *start);
        assert_true(d != NULL && start != NULL);
        memcpy(start, b.theta, (size_t)n * sizeof *start);
        for (int64_t i = 0; i < n; i++) { /* half gradient, half random: steep enough to measure */
            norm += (double)g[i] * (double)g[i];
            d[i] = (float)hold_rng_normal(&rng);
        }
        norm = sqrt(norm / (double)n);
        for (int64_t i = 0; i < n; i++) {
            d[i] = (float)(0.0005 * ((double)g[i] / norm + (double)d[i]));
            slope += (double)g[i] * (double)d[i];
        }
        static const float STEPS[] = {-0.5f, -0.25f, 0.25f, 0.5f};
        for (int s = 0; s < 4; s++) {
            for (int64_t i = 0; i < n; i++)
                b.theta[i] = start[i] + STEPS[s] * d[i];
            move_theta(&b, 0.0, 0);
            loss[s] = pass_loss(&b, false);
        }
        double found = (8 * (loss[2] - loss[1]) - (loss[3] - loss[0])) / (12 * 0.25);
        double off = fabs(found - slope) / fabs(slope);
        if (!(off < 2e-4))
            fail_msg("%s: the slope is %.7f, the gradient says %.7f", KINDS[k].name, found, slope);
        worst = fmax(worst, off);
        free(g);
        free(d);
        free(start);
        bed_close(&b);
    }
    print_message("slopes are off by at most %.1e\n", worst);
}

/* --- shifts --- */

static const float *as_before;

static int look(struct hold_run *run, void *user, struct hold_error *err) {
    struct bed *b = user;
    float *now = read_flat(&b->tiny, run->model->flat);
    assert_memory_not_equal(now, as_before, (size_t)run->model->n_flat * sizeof *now);
    free(now);
    pass_loss(b, true);
    struct hold_error inner = {0};
    assert_refused(hold_run_shifted(run, HOLD_GRAD, 1.0, look, user, &inner), HOLD_EINTERNAL,
                   &inner, "shifted already");
    (void)err;
    return HOLD_OK;
}

static int look_and_fail(struct hold_run *run, void *user, struct hold_error *err) {
    look(run, user, err);
    return hold_fail(err, HOLD_EDATA, "stop here");
}

static void test_shifted(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct bed b;
    bed_open(&b, &KINDS[2], "rows", 30);
    struct hold_run *run = &b.bare.run;
    size_t bytes = (size_t)run->model->n_flat * sizeof(float);
    pass_loss(&b, true);
    float *before = read_flat(&b.tiny, run->model->flat);
    as_before = before;
    assert_ok(hold_run_shifted(run, HOLD_GRAD, 0.37, look, &b, &err), &err);
    float *after = read_flat(&b.tiny, run->model->flat);
    assert_memory_equal(before, after, bytes);
    free(after);
    assert_refused(hold_run_shifted(run, HOLD_GRAD, 0.37, look_and_fail, &b, &err), HOLD_EDATA,
                   &err, "stop here");
    after = read_flat(&b.tiny, run->model->flat);
    assert_memory_equal(before, after, bytes);
    free(after);
    free(before);
    bed_close(&b);
}

/* --- per-example gradients: norms from (input, output gradient) alone --- */

enum { LAYERS = 2 };
struct ghost {
    double square[ROWS][LAYERS][HOLD_LINEAR_KINDS];
};

static float *read_rows(struct hold_device *d, struct hold_tensor t) {
    float *x = malloc((size_t)(t.rows * t.cols) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < t.rows; i++)
        d->k->read(d, x + i * t.cols, hold_at_f32(t.data, i * t.ld), t.cols * 4);
    return x;
}

static double row_dot(const float *x, int64_t cols, int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t k = 0; k < cols; k++)
        sum += (double)x[i * cols + k] * (double)x[j * cols + k];
    return sum;
}

/* |sum_t dy_t x_t'|^2 = sum_st (x_s . x_t)(dy_s . dy_t): no gradient matrix is made. */
static int see(void *user, struct hold_run *run, int layer, enum hold_linear_kind kind,
               int64_t example, struct hold_tensor x, struct hold_tensor dy,
               struct hold_error *err) {
    (void)err;
    struct ghost *g = user;
    float *hx = read_rows(run->model->device, x), *hy = read_rows(run->model->device, dy);
    double sum = 0;
    for (int64_t s = 0; s < x.rows; s++)
        for (int64_t t = 0; t < x.rows; t++)
            sum += row_dot(hx, x.cols, s, t) * row_dot(hy, dy.cols, s, t);
    g->square[example][layer][kind] += sum;
    free(hx);
    free(hy);
    return HOLD_OK;
}

static void by_one(void *user, struct hold_terms *terms) {
    (void)user;
    hold_terms_cross_entropy(terms, 1.0, HOLD_BY_ONE);
}

static void test_per_example(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct bed b;
    struct ghost ghost = {0};
    bed_open(&b, &KINDS[1], "rows", 30); /* several micro-batches */
    struct hold_run *run = &b.bare.run;
    const struct hold_linear_watch watch = {see, &ghost};
    struct hold_pass pass = {
        .examples = &b.bare.all, .terms = by_one, .watch = &watch, .buffer = HOLD_GRAD};
    assert_ok(hold_run_pass(run, &pass, NULL, &err), &err);
    for (int e = 0; e < ROWS; e++) {
        struct hold_examples one = {.n = 1, .item = b.bare.all.item + e};
        pass = (struct hold_pass){.examples = &one, .terms = by_one, .buffer = HOLD_GRAD};
        hold_buffer_zero(run, HOLD_GRAD);
        assert_ok(hold_run_pass(run, &pass, NULL, &err), &err);
        float *g = read_flat(&b.tiny, run->buffers[HOLD_GRAD].data);
        for (int l = 0; l < LAYERS; l++)
            for (int k = 0; k < HOLD_LINEAR_KINDS; k++) {
                const struct hold_param *w = &run->model->layers[l].linear[k].w;
                double sum = 0;
                for (int64_t i = 0; i < w->value.rows * w->value.cols; i++)
                    sum += (double)g[w->flat + i] * (double)g[w->flat + i];
                if (!(fabs(ghost.square[e][l][k] - sum) <= 1e-5 * sum) || sum <= 0)
                    fail_msg("row %d, layer %d, kind %d: squared norm %.8g, a pass of its own "
                             "says %.8g",
                             e, l, k, ghost.square[e][l][k], sum);
            }
        free(g);
    }
    bed_close(&b);
}

/* An error inside the watch ends the pass with it. */
static int see_fails(void *user, struct hold_run *run, int layer, enum hold_linear_kind kind,
                     int64_t example, struct hold_tensor x, struct hold_tensor dy,
                     struct hold_error *err) {
    (void)user, (void)run, (void)layer, (void)kind, (void)x, (void)dy;
    return hold_fail(err, HOLD_EDATA, "row %lld is not wanted", (long long)example);
}

static void test_watch_fails(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct bed b;
    bed_open(&b, &KINDS[0], "rows", 30);
    const struct hold_linear_watch watch = {see_fails, NULL};
    struct hold_pass pass = {.examples = &b.bare.all, .watch = &watch, .buffer = HOLD_GRAD};
    assert_refused(hold_run_pass(&b.bare.run, &pass, NULL, &err), HOLD_EDATA, &err,
                   "is not wanted");
    pass_loss(&b, true); /* and the run is whole */
    bed_close(&b);
}

/* --- a method that keeps updates out of a direction --- */

struct projector {
    bool off;
    int before, direction;
    double along; /* sum over steps of |update . direction| */
    double moved;
};

static int projector_begin(struct hold_run *run, void *state, struct hold_error *err) {
    (void)err;
    struct projector *p = state;
    p->before = hold_run_buffer(run, "before");
    p->direction = hold_run_buffer(run, "direction");
    int64_t n = run->model->n_flat;
    float *d = calloc((size_t)n, sizeof *d);
    assert_non_null(d);
    for (int64_t i = 0; i < n; i++)
        d[i] = (float)(i % 5 - 2) / sqrtf(2.0f * (float)n);
    run->model->device->k->write(run->model->device, run->buffers[p->direction].data, d, n * 4);
    free(d);
    hold_buffer_scale(run, p->direction, 1.0 / hold_buffer_norm(run, p->direction));
    return HOLD_OK;
}
static int projector_post(struct hold_run *run, void *state, struct hold_error *err) {
    (void)err;
    const struct projector *p = state;
    hold_buffer_copy(run, p->before, HOLD_THETA);
    return HOLD_OK;
}
static int projector_updated(struct hold_run *run, void *state, struct hold_error *err) {
    (void)err;
    struct projector *p = state;
    double along = hold_buffer_dot(run, HOLD_THETA, p->direction) -
                   hold_buffer_dot(run, p->before, p->direction);
    if (!p->off)
        hold_buffer_axpy(run, HOLD_THETA, -along, p->direction);
    p->along += fabs(hold_buffer_dot(run, HOLD_THETA, p->direction) -
                     hold_buffer_dot(run, p->before, p->direction));
    hold_buffer_axpy(run, p->before, -1.0, HOLD_THETA);
    p->moved += hold_buffer_norm(run, p->before);
    return HOLD_OK;
}

static void run_projector(struct projector *p) {
    static const char *const buffers[] = {"before", "direction", NULL};
    static const struct hold_hooks hooks = {.name = "projector",
                                            .buffers = buffers,
                                            .begin = projector_begin,
                                            .post = projector_post,
                                            .updated = projector_updated};
    struct hold_error err = {0};
    struct tiny t;
    struct hold_set set;
    tiny_open(&t, "lora", 1);
    random_rows(&set, ROWS, SEED);
    struct hold_stream_input stream = {.name = "main", .set = &set};
    struct hold_hooked method = {&hooks, p};
    struct hold_train_input in = {.model = &t.model,
                                  .config = plain_config(),
                                  .streams = &stream,
                                  .n_streams = 1,
                                  .methods = &method,
                                  .n_methods = 1};
    struct hold_ctx ctx = {.threads = 1};
    struct hold_train_result r;
    assert_ok(hold_train(&in, &ctx, &r, &err), &err);
    set_release(&set);
    tiny_close(&t);
}

static void test_projected_update(void **state) {
    (void)state;
    struct projector on = {0}, off = {.off = true};
    run_projector(&on);
    run_projector(&off);
    print_message("update along the direction: %.1e of %.2g; left alone %.1e\n", on.along, on.moved,
                  off.along);
    assert_true(on.moved > 0.1);
    assert_true(on.along < 1e-5 * on.moved);
    assert_true(off.along > 1e-3 * off.moved); /* the bar can fail */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_micro_batches),
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_recompute),
        cmocka_unit_test(test_dropout_drops),
        cmocka_unit_test(test_tree_shares),
        cmocka_unit_test(test_tree_refuses),
        cmocka_unit_test(test_slope),
        cmocka_unit_test(test_shifted),
        cmocka_unit_test(test_per_example),
        cmocka_unit_test(test_watch_fails),
        cmocka_unit_test(test_projected_update),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
