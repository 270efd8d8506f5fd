/* test_fixtures.c: two methods that live in the tests only, to hold the contract wide open: one
 * projects the optimizer's update (post and updated hooks), one works with per-example gradients
 * of linear layers (hold_linear_watch). */
#include <math.h>
#include <string.h>

#include "world.h"

struct fixture {
    struct world world;
    struct hold_set main, align;
};

static int set_up(void **state) {
    static struct fixture f;
    world_open(&f.world);
    f.main = set_random(1, 24);
    f.align = set_random(2, 8);
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    hold_set_release(&f->main);
    hold_set_release(&f->align);
    world_close(&f->world);
    return 0;
}

/* --- projected update: theta may not move along g, the alignment gradient of the step --- */

struct projected {
    double strength; /* 1: the whole part along g goes; 0: none */
    double along;    /* largest cosine of an update with g that was left */
};

static int keep_theta(struct hold_run *run, void *state, struct hold_error *err) {
    (void)state;
    int g = hold_run_buffer(run, "projected.g");
    hold_buffer_zero(run, g);
    struct hold_pass pass = {.buffer = g};
    int rc = hold_run_next(run, "align", &pass.examples, err);
    if (rc == HOLD_OK)
        rc = hold_run_pass(run, &pass, NULL, err);
    hold_buffer_copy(run, hold_run_buffer(run, "projected.before"), HOLD_THETA);
    return rc;
}

static int project_update(struct hold_run *run, void *state, struct hold_error *err) {
    struct projected *s = state;
    (void)err;
    int g = hold_run_buffer(run, "projected.g"), before = hold_run_buffer(run, "projected.before");
    double norm = hold_buffer_norm(run, g);
    /* <theta - before, g> without a third buffer. */
    double along = hold_buffer_dot(run, HOLD_THETA, g) - hold_buffer_dot(run, before, g);
    if (s->strength == 0.0 || norm == 0.0)
        return HOLD_OK;
    hold_buffer_axpy(run, HOLD_THETA, -s->strength * along / (norm * norm), g);
    double left = hold_buffer_dot(run, HOLD_THETA, g) - hold_buffer_dot(run, before, g);
    hold_buffer_axpy(run, before, -1.0, HOLD_THETA); /* minus the update */
    s->along = fmax(s->along, fabs(left) / (norm * hold_buffer_norm(run, before)));
    return HOLD_OK;
}

static const char *const projected_buffers[] = {"projected.g", "projected.before", NULL};
static const struct hold_hooks projected_hooks = {
    .name = "projected",
    .needs = HOLD_NEED_ALIGN,
    .passes = 2,
    .buffers = projected_buffers,
    .post = keep_theta,
    .updated = project_update,
};
static const struct hold_option projected_options[] = {
    HOLD_REAL(struct projected, strength, 1, 0, 1, "share of the part along g that goes"),
    {0},
};
static const struct hold_method projected = {
    .name = "projected",
    .title = "Takes from the update what points along the alignment gradient.",
    .stage = HOLD_STAGE_TUNE,
    .version = 1,
    .options = projected_options,
    .state_size = sizeof(struct projected),
    .neutral = "strength=0",
    .hooks = &projected_hooks,
};

static void projected_update(void **state) {
    struct fixture *f = *state;
    struct outcome plain, neutral, out;
    struct job j = job_new();
    j.config.optim = "adamw";
    job_stream(&j, "main", &f->main);
    job_stream(&j, "align", &f->align);
    job_do(&f->world, &j, &plain);
    job_use(&j, use_neutral(&projected));
    job_do(&f->world, &j, &neutral);
    assert_true(adapter_same(&plain.adapter, &neutral.adapter));
    job_release(&j);
    job_use(&j, use_made(&projected, NULL));
    job_do(&f->world, &j, &out);
    assert_false(adapter_same(&plain.adapter, &out.adapter));
    assert_true(((struct projected *)j.uses[0].state)->along < 1e-4);
    job_release(&j);
    outcome_release(&plain);
    outcome_release(&neutral);
    outcome_release(&out);
}

/* --- per-example gradients: squared norms of each example's own gradient of o_proj --- */

enum { MOST = 16 };
struct watching {
    bool watch;
    double square[MOST]; /* of the last step, summed over layers */
    int64_t n;
};

/* ||X' G||^2 of one example: its share of the weight's gradient. */
static int see(void *user, struct hold_run *run, int layer, enum hold_linear_kind kind,
               int64_t example, struct hold_tensor x, struct hold_tensor g,
               struct hold_error *err) {
    struct watching *s = user;
    (void)layer;
    if (kind != HOLD_O)
        return HOLD_OK;
    if (example >= MOST || x.rows != g.rows)
        return hold_fail(err, HOLD_EINTERNAL, "an example that is not there");
    struct hold_device *d = hold_run_model(run)->device;
    float *hx = hold_calloc((size_t)(x.rows * x.ld), sizeof *hx);
    float *hg = hold_calloc((size_t)(g.rows * g.ld), sizeof *hg);
    if (hx == NULL || hg == NULL) {
        hold_free(hx);
        hold_free(hg);
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for rows");
    }
    d->k->read(d, hx, x.data, ((x.rows - 1) * x.ld + x.cols) * 4);
    d->k->read(d, hg, g.data, ((g.rows - 1) * g.ld + g.cols) * 4);
    for (int64_t i = 0; i < x.cols; i++)
        for (int64_t o = 0; o < g.cols; o++) {
            double sum = 0.0;
            for (int64_t t = 0; t < x.rows; t++)
                sum += (double)hx[t * x.ld + i] * (double)hg[t * g.ld + o];
            s->square[example] += sum * sum;
        }
    s->n = example + 1 > s->n ? example + 1 : s->n;
    hold_free(hx);
    hold_free(hg);
    return HOLD_OK;
}

static int watched_step(struct hold_run *run, void *state, struct hold_error *err) {
    struct watching *s = state;
    struct hold_linear_watch watch = {.see = see, .user = s};
    struct hold_pass pass = {.collect = true, .buffer = HOLD_GRAD};
    int rc = hold_run_chosen(run, &pass.examples, err);
    memset(s->square, 0, sizeof s->square);
    s->n = 0;
    if (s->watch)
        pass.watch = &watch;
    return rc < 0 ? rc : hold_run_pass(run, &pass, NULL, err);
}

static const struct hold_hooks watching_hooks = {
    .name = "watching", .rows_only = true, .passes = 1, .step = watched_step};
static const struct hold_option watching_options[] = {
    HOLD_BOOL(struct watching, watch, true, "look at examples one by one"),
    {0},
};
static const struct hold_method watching = {
    .name = "watching",
    .title = "Measures every example's own gradient.",
    .stage = HOLD_STAGE_TUNE,
    .version = 1,
    .options = watching_options,
    .state_size = sizeof(struct watching),
    .neutral = "watch=false",
    .hooks = &watching_hooks,
};

/* One step on the rows of `set`, all in one batch; returns squares in the order of rows. */
static int64_t squares_of(struct fixture *f, const struct hold_set *set, int64_t micro,
                          double *squares, struct hold_adapter *adapter) {
    struct outcome out;
    struct job j = job_new();
    j.config.max_steps = 1;
    j.config.layout = "rows";
    j.config.per_device_train_batch_size = set->n;
    j.config.micro_batch_tokens = micro;
    job_stream(&j, "main", set);
    job_use(&j, use_made(&watching, NULL));
    job_do(&f->world, &j, &out);
    const struct watching *s = j.uses[0].state;
    int64_t n = s->n;
    memcpy(squares, s->square, sizeof s->square);
    adapter_copy(adapter, &out.adapter);
    outcome_release(&out);
    job_release(&j);
    return n;
}

/* Watching changes nothing; what it sees of an example is what a batch of that example alone has,
 * times the batch's normaliser, whatever the micro-batches. */
static void per_example_gradients(void **state) {
    struct fixture *f = *state;
    struct hold_set set = set_random(7, 8);
    double whole[MOST], split[MOST], one[MOST];
    struct hold_adapter a, b, c;
    assert_int_equal(squares_of(f, &set, 4096, whole, &a), 8);
    assert_int_equal(squares_of(f, &set, 16, split, &b), 8);
    double weight = 0.0, alone = 0.0, together = 0.0;
    for (int64_t i = 0; i < set.n; i++) {
        assert_true(whole[i] > 0.0);
        assert_true(fabs(whole[i] - split[i]) <= 1e-5 * whole[i]);
        together += whole[i];
        for (int32_t t = 0; t < set.example[i].n; t++)
            weight += (double)set.example[i].target_weight[t];
    }
    for (int64_t i = 0; i < set.n; i++) {
        struct hold_set single = {0};
        const struct hold_example *x = &set.example[i];
        double own = 0.0;
        int32_t first = x->n;
        for (int32_t t = x->n; t-- > 0;)
            if (x->target_weight[t] > 0.0f) {
                own += 1.0;
                first = t;
            }
        set_add(&single, x->ids, x->n, first, 1.0f);
        assert_int_equal(squares_of(f, &single, 4096, one, &c), 1);
        alone += one[0] * own * own / (weight * weight);
        hold_adapter_release(&c);
        hold_set_release(&single);
    }
    assert_true(fabs(alone - together) <= 1e-4 * together);

    struct outcome plain;
    struct job j = job_new();
    j.config.max_steps = 1;
    j.config.layout = "rows";
    j.config.per_device_train_batch_size = set.n;
    job_stream(&j, "main", &set);
    job_do(&f->world, &j, &plain);
    assert_true(adapter_same(&plain.adapter, &a));
    outcome_release(&plain);
    hold_adapter_release(&a);
    hold_adapter_release(&b);
    hold_set_release(&set);
}

/* Both at once: one owns the step, the other's hooks chain. */
static void fixtures_compose(void **state) {
    struct fixture *f = *state;
    struct outcome one, two;
    struct job j = job_new();
    j.config.layout = "rows";
    job_stream(&j, "main", &f->main);
    job_stream(&j, "align", &f->align);
    job_use(&j, use_made(&projected, NULL));
    job_do(&f->world, &j, &one);
    job_use(&j, use_made(&watching, NULL));
    job_do(&f->world, &j, &two);
    assert_true(adapter_same(&one.adapter, &two.adapter));
    outcome_release(&one);
    outcome_release(&two);
    job_release(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(projected_update),
        cmocka_unit_test(per_example_gradients),
        cmocka_unit_test(fixtures_compose),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
