/* test_train_size.c: what is foretold of a run (memory of its largest step, FLOP, tokens,
 * evaluations) beside what the very same run then uses. */
#include "test_train_common.h"

struct used {
    int64_t step_bytes;
    double flop;
    struct hold_train_result result;
};

/* Sees the run before it is taken down. */
static void look(struct hold_run *run, void *state) {
    struct used *u = state;
    u->step_bytes = run->space.high;
    u->flop = hold_device_flop(run->model->device) - u->flop;
}

static const struct hold_hooks LOOK = {.name = "look", .release = look};

struct trial {
    const char *tuning;
    int64_t rows, steps; /* steps 0: one epoch */
    int64_t micro;
    bool recompute, evaluates, shared;
    const char *layout;
};

/* Rows of 40 tokens that differ in the last two: a batch of them is hardly larger than one. */
static void shared_rows(struct hold_set *s, int64_t n) {
    set_new(s, n);
    for (int64_t i = 0; i < n; i++) {
        struct hold_example *x = example_new(s, i, 40);
        for (int32_t t = 0; t < x->n; t++)
            x->ids[t] = 3 + t + (t >= 38 ? (int32_t)(i % 200) : 0);
        x->target_weight[38] = x->target_weight[39] = 1.0f;
    }
}

static void try(const struct trial *t) {
    struct hold_error err = {0};
    struct hold_ctx ctx = {.threads = 1};
    struct tiny tiny;
    struct hold_set set, eval;
    struct used used = {0};
    struct hold_hooked method = {&LOOK, &used};
    tiny_open(&tiny, t->tuning, 1);
    if (t->shared)
        shared_rows(&set, t->rows);
    else
        random_rows(&set, t->rows, 71);
    random_rows(&eval, 9, 72);
    struct hold_stream_input stream = {.name = "main", .set = &set};
    struct hold_train_input in = {
        .model = &tiny.model, .config = plain_config(), .streams = &stream, .n_streams = 1};
    in.config.max_steps = t->steps;
    in.config.micro_batch_tokens = t->micro;
    in.config.layout = t->layout == NULL ? "tree" : t->layout;
    in.config.gradient_checkpointing = t->recompute;
    in.config.save_steps = 7;
    if (t->evaluates) {
        in.eval = &eval;
        in.config.eval_strategy = "steps";
        in.config.eval_steps = 5;
    }
    int64_t step = 0, vectors = 0;
    struct hold_train_work work;
    assert_ok(hold_train_size(&in, &step, &vectors, &err), &err);
    assert_ok(hold_train_count(&in, &work, &err), &err);
    in.methods = &method;
    in.n_methods = 1;
    used.flop = hold_device_flop(tiny.device);
    assert_ok(hold_train(&in, &ctx, &used.result, &err), &err);

    print_message("%s, %lld rows, %lld steps: step %lld of %lld bytes, %.4g of %.4g FLOP\n",
                  t->tuning, (long long)t->rows, (long long)work.steps, (long long)step,
                  (long long)used.step_bytes, work.flop + work.eval_flop, used.flop);
    assert_int_equal(step, used.step_bytes);
    assert_int_equal(work.steps, used.result.steps);
    assert_int_equal(work.evaluations, used.result.evaluations);
    assert_int_equal(work.checkpoints, (used.result.steps - 1) / 7);
    double exact = work.steps <= 128 ? 1e-9 : 0.03;
    double flop = (work.flop + work.eval_flop) / used.flop;
    double tokens = work.tokens / (double)used.result.tokens;
    assert_true(flop > 1 - exact && flop < 1 + exact);
    assert_true(tokens > 1 - exact && tokens < 1 + exact);
    set_release(&set);
    set_release(&eval);
    tiny_close(&tiny);
}

static void test_foretold(void **state) {
    (void)state;
    static const struct trial TRIALS[] = {
        {.tuning = "lora", .rows = 30, .micro = 768},
        {.tuning = "lora", .rows = 30, .micro = 20},
        {.tuning = "lora", .rows = 30, .micro = 20, .layout = "rows"},
        {.tuning = "lora", .rows = 30, .micro = 24, .recompute = true},
        {.tuning = "full", .rows = 30, .micro = 768},
        {.tuning = "lora", .rows = 31, .micro = 768, .evaluates = true},
        {.tuning = "lora", .rows = 31, .steps = 100, .micro = 24, .evaluates = true},
        {.tuning = "lora", .rows = 64, .micro = 768, .shared = true},
        {.tuning = "lora", .rows = 64, .micro = 50, .shared = true},
        {.tuning = "lora", .rows = 101, .steps = 400, .micro = 32},
    };
    for (int64_t i = 0; i < COUNT(TRIALS); i++)
        try(&TRIALS[i]);
}

/* A run that is told its step's size takes it as one block and never another. */
static void test_reserved(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct tiny tiny;
    struct hold_set set;
    tiny_open(&tiny, "lora", 1);
    random_rows(&set, 40, 73);
    struct hold_train_config c = plain_config();
    struct bare b;
    int64_t step = 0, vectors = 0;
    bare_open(&b, &tiny, &set, &c);
    assert_ok(hold_train_size(&b.input, &step, &vectors, &err), &err);
    bare_close(&b);
    b.input.reserve_bytes = step;
    assert_ok(hold_run_init(&b.run, &b.input, &b.ctx, &err), &err);
    for (int i = 0; i < 10; i++) {
        assert_ok(hold_run_one_step(&b.run, &err), &err);
        b.run.step++;
    }
    assert_int_equal(b.run.space.n_chunks, 1);
    assert_true(b.run.space.bytes[0] >= step && b.run.space.bytes[0] < step + 64);
    assert_true(b.run.space.high <= step);
    hold_run_release(&b.run);
    set_release(&set);
    tiny_close(&tiny);
}

static void test_measured(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_ctx ctx = {.threads = 1};
    struct tiny tiny;
    struct hold_set set;
    tiny_open(&tiny, "lora", 1);
    random_rows(&set, 40, 74);
    struct hold_stream_input stream = {.name = "main", .set = &set};
    struct hold_train_input in = {
        .model = &tiny.model, .config = plain_config(), .streams = &stream, .n_streams = 1};
    /* Evaluation is foretold by FLOP: its rows are not asked for here. */
    in.config.eval_strategy = "steps";
    in.config.load_best_model_at_end = true;
    for (int64_t n = 1; n < 4; n++) {
        struct hold_train_speed speed;
        assert_ok(hold_train_measure(&in, &ctx, n, &speed, &err), &err);
        assert_true(speed.seconds_a_flop > 0 && speed.seconds_a_flop < 1e-3);
        assert_true(speed.first_seconds >= 0 && speed.first_seconds < 60);
    }
    volatile sig_atomic_t stop = 1;
    ctx.stop = &stop;
    struct hold_train_speed speed;
    assert_refused(hold_train_measure(&in, &ctx, 2, &speed, &err), HOLD_EINTERRUPTED, &err,
                   "stopped");
    set_release(&set);
    tiny_close(&tiny);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foretold),
        cmocka_unit_test(test_reserved),
        cmocka_unit_test(test_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
