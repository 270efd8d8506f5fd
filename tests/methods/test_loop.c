/* test_loop.c: what the training loop promises of every method, whole model and low-rank: no
 * allocation in a step, steady memory, the same bytes with recompute and after an interruption, the
 * same gradient from `tree` and `rows` and from one micro-batch and many, no more FLOP than the
 * declared passes, and its memory foretold.
 *
 * Every allocation of the process is counted, the C library's own included, but for what oneDNN and
 * OpenMP take and give back inside one call.  Where a sanitizer owns the allocator there is nothing
 * to count.
 */
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "train/run.h"
#include "world.h"

static _Thread_local long allocations;

#if defined(__SANITIZE_ADDRESS__)
enum { COUNTED = 0 };
#else
enum { COUNTED = 1 };
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);

static void count(const void *caller) {
    Dl_info who;
    if (dladdr(caller, &who) != 0 && who.dli_fname != NULL &&
        (strstr(who.dli_fname, "libdnnl") != NULL || strstr(who.dli_fname, "libgomp") != NULL))
        return;
    allocations++;
}
#define COUNT_CALLER count(__builtin_return_address(0))

void *malloc(size_t n) {
    COUNT_CALLER;
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    COUNT_CALLER;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    COUNT_CALLER;
    return __libc_realloc(p, n);
}
void *aligned_alloc(size_t align, size_t n) {
    COUNT_CALLER;
    return __libc_memalign(align, n);
}
int posix_memalign(void **out, size_t align, size_t n) {
    COUNT_CALLER;
    *out = __libc_memalign(align, n);
    return *out == NULL ? ENOMEM : 0;
}
#endif

/* --- a run of one method --- */

enum { STEPS = 24, WARM = 11 }; /* by then every row was seen once, in every stream */

struct spy {
    volatile sig_atomic_t stop;
    int64_t stop_at, from; /* allocations are counted from this step on */
    long before, after;
    int64_t step_bytes, life_bytes, at_start;
    int64_t early_memory, late_memory; /* VmRSS a tenth of the way, and at the end */
    double flop;                       /* of all steps but the first */
    int64_t grad_step;                 /* 0: no gradient is kept */
    float *grad;                       /* n_flat of them */
    int64_t n_flat;
};

static int updated(struct hold_run *run, void *state, struct hold_error *err) {
    struct spy *s = state;
    (void)err;
    if (run->step == s->from)
        s->before = allocations;
    s->after = allocations;
    if (run->step == run->steps / 10)
        s->early_memory = hold_current_memory();
    if (run->step + 1 == run->steps)
        s->late_memory = hold_current_memory();
    if (s->stop_at > 0 && run->step + 1 == s->stop_at)
        s->stop = 1;
    struct hold_device *d = run->model->device;
    s->flop = run->step == 0 ? -hold_device_flop(d) : s->flop;
    if (run->step + 1 == run->steps)
        s->flop += hold_device_flop(d);
    if (s->grad_step > 0 && run->step == s->grad_step) {
        s->n_flat = run->model->n_flat;
        s->grad = hold_calloc((size_t)s->n_flat, sizeof *s->grad);
        assert_non_null(s->grad);
        d->k->read(d, s->grad, run->buffers[HOLD_GRAD].data, s->n_flat * 4);
    }
    return HOLD_OK;
}

static void release(struct hold_run *run, void *state) {
    struct spy *s = state;
    int64_t chunks = 0;
    for (int i = 0; i < run->space.n_chunks; i++)
        chunks += run->space.bytes[i];
    s->step_bytes = run->space.high;
    s->life_bytes =
        hold_device_bytes(run->model->device, NULL) - s->at_start - chunks + run->host_bytes;
}

static const struct hold_hooks SPY = {.name = "spy", .updated = updated, .release = release};

struct trial {
    const struct hold_method *method; /* NULL: plain */
    const char *dir;
    bool recompute, evaluate, full, rows;
    int64_t steps; /* 0: STEPS */
    int64_t micro; /* tokens of a micro-batch; 0: several a step */
    bool sgd, count;
    double counted, used; /* FLOP of the whole run, foretold and real; with `count` */
    struct spy spy;
    struct hold_train_result result;
    struct hold_adapter adapter; /* low-rank */
    float *theta;                /* full */
    int64_t n_theta;
    int64_t foretold_step, foretold_life;
};

static void trial_release(struct trial *t) {
    hold_adapter_release(&t->adapter);
    hold_free(t->theta);
    hold_free(t->spy.grad);
}

static bool same_end(const struct trial *a, const struct trial *b) {
    return a->full ? a->n_theta == b->n_theta &&
                         memcmp(a->theta, b->theta, (size_t)a->n_theta * sizeof *a->theta) == 0
                   : adapter_same(&a->adapter, &b->adapter);
}

struct bed {
    struct world world;
    struct hold_set main, align, harmful, general, eval;
};

static struct hold_train_config config_of(const struct trial *t) {
    struct job j = job_new();
    struct hold_train_config c = j.config;
    c.optim = "adamw";
    c.learning_rate = 5e-3;
    c.max_steps = t->steps > 0 ? t->steps : STEPS;
    c.save_steps = t->steps > 0 ? 500 : 0;
    c.micro_batch_tokens = 32; /* several micro-batches a step */
    if (t->micro > 0)
        c.micro_batch_tokens = t->micro;
    if (t->sgd) { /* AdamW's first steps are signs, which hide a gradient's size */
        c.optim = "sgd";
        c.learning_rate = 0.01;
    }
    c.layout = t->rows ? "rows" : "tree";
    c.tuning = t->full ? "full" : "lora";
    c.gradient_checkpointing = t->recompute;
    if (t->evaluate) {
        c.eval_strategy = "steps";
        c.eval_steps = 3;
        c.load_best_model_at_end = true;
        c.early_stopping_patience = 3;
        c.learning_rate = 0.05; /* it does get worse */
    }
    return c;
}

/* Options at which a method does in a few steps all that it ever does. */
static struct hold_method_use busy(const struct hold_method *m) {
    static const char *const BUSY[][2] = {{"lisa", "{'alignment_step': 2, 'finetune_step': 3}"}};
    const char *options = NULL;
    for (int i = 0; i < COUNT(BUSY); i++)
        if (strcmp(BUSY[i][0], m->name) == 0)
            options = BUSY[i][1];
    return use_made(m, options);
}

/* What the run trains, on the bed's model: low-rank parts, or a copy of the whole. */
static int make_trainables(struct bed *b, const struct trial *t, const struct hold_train_config *c,
                           struct hold_model *model, struct hold_error *err) {
    struct hold_lora_config lora = {
        .r = c->lora_r, .alpha = c->lora_alpha, .target_modules = "all-linear"};
    if (!t->full)
        return hold_model_add_lora(model, &lora, err);
    int rc = hold_model_load(model, TINY, b->world.device, &b->world.ctx, err);
    return rc == HOLD_OK ? hold_model_make_full(model, err) : rc;
}

static int run_trial(struct bed *b, struct trial *t, struct hold_error *err) {
    struct hold_stream_input streams[] = {{.name = "main", .set = &b->main},
                                          {.name = "align", .set = &b->align},
                                          {.name = "harmful", .set = &b->harmful},
                                          {.name = "general", .set = &b->general}};
    struct hold_hooked hooked[2];
    struct hold_method_use use = {0}, spare = {0};
    struct hold_ctx ctx = {.threads = 1, .stop = &t->spy.stop};
    struct hold_model whole = {0}, *model = t->full ? &whole : &b->world.model;
    struct hold_train_input in = {.model = model,
                                  .config = config_of(t),
                                  .streams = streams,
                                  .n_streams = COUNT(streams),
                                  .methods = hooked,
                                  .eval = t->evaluate ? &b->eval : NULL,
                                  .work_dir = t->dir,
                                  .spec = "spec"};
    assert_ok(make_trainables(b, t, &in.config, model, err), err);
    if (t->method != NULL) {
        use = busy(t->method);
        spare = busy(t->method);
        hooked[in.n_methods++] = (struct hold_hooked){t->method->hooks, spare.state};
    }
    assert_ok(hold_train_size(&in, &t->foretold_step, &t->foretold_life, err), err);
    if (t->count) {
        struct hold_method_use counted = busy(t->method);
        struct hold_train_work work;
        hooked[0].state = counted.state;
        assert_ok(hold_train_count(&in, &work, err), err);
        t->counted = work.flop;
        hold_method_use_release(&counted);
    }
    if (t->method != NULL)
        hooked[0].state = use.state;
    hooked[in.n_methods++] = (struct hold_hooked){&SPY, &t->spy};
    /* The spy is released last and sees what is left beside the methods' own: look before. */
    if (t->method != NULL) {
        struct hold_hooked method = hooked[0];
        hooked[0] = hooked[1];
        hooked[1] = method;
    }
    t->spy.at_start = hold_device_bytes(b->world.device, NULL);
    t->used = -hold_device_flop(b->world.device);
    int rc = hold_train(&in, &ctx, &t->result, err);
    t->used += hold_device_flop(b->world.device);
    if (rc == HOLD_OK && !t->full)
        assert_ok(hold_model_get_lora(model, &t->adapter, err), err);
    if (rc == HOLD_OK && t->full) {
        t->theta = hold_calloc((size_t)model->n_flat, sizeof *t->theta);
        t->n_theta = model->n_flat;
        assert_non_null(t->theta);
        model->device->k->read(model->device, t->theta, model->flat, model->n_flat * 4);
    }
    if (t->full)
        hold_model_release(&whole);
    else
        hold_model_drop_lora(model);
    if (t->method != NULL) {
        hold_method_use_release(&use);
        hold_method_use_release(&spare);
    }
    return rc;
}

static void do_trial(struct bed *b, struct trial *t) {
    struct hold_error err = {0};
    assert_ok(run_trial(b, t, &err), &err);
}

static int set_up(void **state) {
    static struct bed b;
    world_open(&b.world);
    b.main = set_random(1, 21);
    b.align = set_random(2, 10);
    b.harmful = set_random(3, 10);
    b.general = set_random(4, 10);
    b.eval = set_random(5, 9);
    char folder[] = "test_loop.XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    *state = &b;
    return 0;
}

static int tear_down(void **state) {
    struct bed *b = *state;
    struct hold_error err = {0};
    char *here = getcwd(NULL, 0);
    assert_non_null(here);
    assert_int_equal(chdir(".."), 0);
    assert_ok(hold_remove_tree(here, &err), &err);
    free(here);
    hold_set_release(&b->main);
    hold_set_release(&b->align);
    hold_set_release(&b->harmful);
    hold_set_release(&b->general);
    hold_set_release(&b->eval);
    world_close(&b->world);
    return 0;
}

/* Plain training, then every method that trains. */
static bool next_method(int *i, const struct hold_method **m) {
    for (; *i == 0 || hold_methods[*i - 1] != NULL; ++*i) {
        *m = *i == 0 ? NULL : hold_methods[*i - 1];
        if (*m == NULL || (*m)->hooks != NULL)
            return ++*i, true;
    }
    return false;
}

static const char *name_of(const struct hold_method *m) {
    return m == NULL ? "plain" : m->name;
}

/* --- the promises --- */

static void test_no_allocation(void **state) {
    const struct hold_method *m;
    if (!COUNTED)
        skip();
    for (int i = 0; next_method(&i, &m);) {
        struct hold_error err = {0};
        struct trial t = {.method = m, .dir = "log", .spy.from = WARM};
        do_trial(*state, &t);
        if (t.spy.after != t.spy.before)
            fail_msg("%s: %ld allocations in %d steps", name_of(m), t.spy.after - t.spy.before,
                     STEPS - 1 - WARM);
        assert_true(t.spy.before > 0); /* the counter counts */
        trial_release(&t);
        assert_ok(hold_remove_tree("log", &err), &err);
    }
}

static void test_recompute(void **state) {
    const struct hold_method *m;
    for (int i = 0; next_method(&i, &m);)
        for (int full = 0; full < 2; full++) {
            struct trial with = {.method = m, .full = full, .recompute = true};
            struct trial without = {.method = m, .full = full};
            do_trial(*state, &with);
            do_trial(*state, &without);
            if (!same_end(&with, &without))
                fail_msg("%s: recompute changes the result", name_of(m));
            assert_true(with.spy.step_bytes < without.spy.step_bytes);
            trial_release(&with);
            trial_release(&without);
        }
}

/* Interrupted at every step in turn, a run that evaluates ends as one that is not: the same bytes,
 * the same best step, the same early stop. */
static void test_interrupted(void **state) {
    const struct hold_method *m;
    int stopped_early = 0;
    for (int i = 0; next_method(&i, &m);) {
        struct hold_error err = {0};
        struct trial whole = {.method = m, .evaluate = true};
        do_trial(*state, &whole);
        assert_true(whole.result.evaluations > 1 && whole.result.is_best);
        stopped_early += whole.result.stopped_early;
        for (int64_t at = 1; at < whole.result.steps; at += m == NULL ? 1 : 4) {
            struct trial cut = {.method = m, .evaluate = true, .dir = "cut", .spy.stop_at = at};
            assert_refused(run_trial(*state, &cut, &err), HOLD_EINTERRUPTED, &err, "saved");
            struct trial rest = {.method = m, .evaluate = true, .dir = "cut"};
            do_trial(*state, &rest);
            assert_true(rest.result.resumed);
            if (!same_end(&rest, &whole) || rest.result.steps != whole.result.steps ||
                rest.result.best_step != whole.result.best_step ||
                rest.result.evaluations != whole.result.evaluations ||
                rest.result.stopped_early != whole.result.stopped_early)
                fail_msg("%s: stopped at step %d, ends at %d of %d, best %d of %d", name_of(m),
                         (int)at, (int)rest.result.steps, (int)whole.result.steps,
                         (int)rest.result.best_step, (int)whole.result.best_step);
            trial_release(&rest);
            assert_ok(hold_remove_tree("cut", &err), &err);
        }
        trial_release(&whole);
    }
    assert_true(stopped_early > 0);
}

/* The same of training the whole model, cut once amid the second epoch of every stream, when caches
 * are full, and in either layout. */
static void test_interrupted_full(void **state) {
    const struct hold_method *m;
    for (int i = 0; next_method(&i, &m);)
        for (int rows = 0; rows < 2; rows++) {
            struct hold_error err = {0};
            struct trial whole = {.method = m, .full = true, .rows = rows};
            struct trial cut = {.method = m, .full = true, .rows = rows, .dir = "cut"};
            struct trial rest = cut;
            cut.spy.stop_at = 8;
            do_trial(*state, &whole);
            assert_refused(run_trial(*state, &cut, &err), HOLD_EINTERRUPTED, &err, "saved");
            do_trial(*state, &rest);
            assert_true(rest.result.resumed);
            if (!same_end(&rest, &whole))
                fail_msg("%s: a resumed run ends in other bytes", name_of(m));
            trial_release(&whole);
            trial_release(&rest);
            assert_ok(hold_remove_tree("cut", &err), &err);
        }
}

/* Relative distance of two runs' gradients in the same step. */
static double off(const struct trial *a, const struct trial *b) {
    double d = 0.0, size = 0.0;
    assert_true(a->spy.grad != NULL && b->spy.grad != NULL && a->spy.n_flat == b->spy.n_flat);
    for (int64_t i = 0; i < a->spy.n_flat; i++) {
        double x = a->spy.grad[i], y = b->spy.grad[i];
        d += (x - y) * (x - y);
        size += x * x;
    }
    assert_true(size > 0.0);
    return sqrt(d / size);
}

/* Pulls, drifts and references are zero in the first step: look at a later one. */
static void same_gradient(struct bed *b, struct trial one, struct trial other, const char *what) {
    one.spy.grad_step = other.spy.grad_step = 6;
    one.sgd = other.sgd = true;
    one.steps = other.steps = 7;
    do_trial(b, &one);
    do_trial(b, &other);
    if (!(off(&one, &other) <= 1e-5))
        fail_msg("%s%s: %s: gradients differ by %.3g", name_of(one.method),
                 one.full ? ", full" : "", what, off(&one, &other));
    trial_release(&one);
    trial_release(&other);
}

static void test_split(void **state) {
    const struct hold_method *m;
    for (int i = 0; next_method(&i, &m);)
        for (int k = 0; k < 4; k++) {
            struct trial one = {.method = m, .full = k & 1, .rows = k & 2, .micro = 4096};
            struct trial other = one;
            other.micro = 16; /* every row alone, or two of the shortest */
            same_gradient(*state, one, other, "one micro-batch and many");
        }
}

static void test_layouts(void **state) {
    const struct hold_method *m;
    for (int i = 0; next_method(&i, &m);)
        for (int full = 0; full < 2; full++) {
            struct trial tree = {.method = m, .full = full}, rows = tree;
            rows.rows = true;
            same_gradient(*state, tree, rows, "tree and rows");
        }
}

/* Rows that a first epoch takes just once, in the same batches from every stream: the dearest case,
 * as whatever is computed once for a row is computed then.  The first step is not counted, and is
 * no cheaper than the others. */
static void test_passes(void **state) {
    const struct hold_method *m;
    struct bed b = {.world = ((struct bed *)*state)->world};
    struct {
        const char *name;
        struct hold_set *set;
    } sets[] = {
        {"main", &b.main}, {"align", &b.align}, {"harmful", &b.harmful}, {"general", &b.general}};
    uint64_t seed = (uint64_t)job_new().config.seed;
    for (int i = 0; i < COUNT(sets); i++) {
        /* General rows stand behind a direction only; they must not be the same. */
        *sets[i].set = set_random(sets[i].set == &b.general ? 2 : 1, 4 * STEPS);
        set_arrange(sets[i].set, sets[i].name, seed);
    }
    for (int i = 0; next_method(&i, &m);) {
        if (m == NULL)
            continue;
        struct trial plain = {.rows = m->hooks->rows_only}, own = {.method = m};
        do_trial(&b, &plain);
        do_trial(&b, &own);
        double passes = m->hooks->passes + m->hooks->once; /* every row is there once */
        double over = own.spy.flop / (passes * plain.spy.flop) - 1.0;
        print_message("%s: %.2f passes declared, %+.2f%% FLOP\n", m->name, passes, 100.0 * over);
        if (!(over <= 0.05 && over >= -0.25))
            fail_msg("%s: %.2f passes are declared, FLOP are %+.1f%% over", m->name, passes,
                     100.0 * over);
        trial_release(&plain);
        trial_release(&own);
    }
    for (int i = 0; i < COUNT(sets); i++)
        hold_set_release(sets[i].set);
}

/* A run of many epochs: a reference is made once for each row, in whatever steps it is counted. */
static void test_counted(void **state) {
    struct bed b = {.world = ((struct bed *)*state)->world};
    struct hold_set *sets[] = {&b.main, &b.align, &b.harmful, &b.general};
    const struct hold_method *m;
    for (int i = 0; i < COUNT(sets); i++)
        *sets[i] = set_random((uint64_t)i + 1, 250);
    for (int i = 0; next_method(&i, &m);) {
        if (m == NULL)
            continue;
        struct trial t = {.method = m, .count = true, .steps = 300};
        do_trial(&b, &t);
        print_message("%s: %.4g FLOP counted, %.4g used\n", m->name, t.counted, t.used);
        if (!(t.counted > 0.97 * t.used && t.counted < 1.03 * t.used))
            fail_msg("%s: %.4g FLOP are counted, %.4g were used", m->name, t.counted, t.used);
        trial_release(&t);
    }
    for (int i = 0; i < COUNT(sets); i++)
        hold_set_release(sets[i]);
}

static void test_foretold(void **state) {
    const struct hold_method *m;
    for (int i = 0; next_method(&i, &m);) {
        for (int k = 0; k < 4; k++) {
            struct trial t = {.method = m, .recompute = k & 1, .evaluate = k & 2};
            do_trial(*state, &t);
            double step = (double)t.foretold_step / (double)t.spy.step_bytes;
            double life = (double)t.foretold_life / (double)t.spy.life_bytes;
            print_message("%s%s%s: step %.3f, life %.3f of what was used (%lld, %lld bytes)\n",
                          name_of(m), t.recompute ? ", recompute" : "",
                          t.evaluate ? ", evaluation" : "", step, life, (long long)t.spy.step_bytes,
                          (long long)t.spy.life_bytes);
            assert_true(step > 0.9 && step < 1.1);
            assert_true(life > 0.9 && life < 1.1);
            trial_release(&t);
        }
    }
}

/* Ten thousand steps with a log and checkpoints: no page more than after the first thousand but the
 * few that the allocator rounds. */
static void test_steady(void **state) {
    const struct hold_method *m = hold_method_find("vaccine");
    if (!COUNTED)
        skip(); /* a sanitizer keeps what was freed */
    /* The kernel may join pages to a huge one at any time, which counts as 2 MB more. */
    assert_int_equal(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
    for (int i = 0; i < 2; i++) {
        struct hold_error err = {0};
        struct trial t = {.method = i == 0 ? NULL : m, .dir = "long", .steps = 10000};
        do_trial(*state, &t);
        int64_t more = t.spy.late_memory - t.spy.early_memory;
        print_message("%s: %.1f MB after 1000 steps, %+.0f KB after 10000\n", name_of(t.method),
                      (double)t.spy.early_memory / 1e6, (double)more / 1e3);
        assert_true(t.spy.early_memory > 0 && more < 256 * 1024);
        trial_release(&t);
        assert_ok(hold_remove_tree("long", &err), &err);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_allocation), cmocka_unit_test(test_recompute),
        cmocka_unit_test(test_interrupted),   cmocka_unit_test(test_interrupted_full),
        cmocka_unit_test(test_split),         cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_passes),        cmocka_unit_test(test_counted),
        cmocka_unit_test(test_foretold),      cmocka_unit_test(test_steady),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
