/* test_loop.c: what the training loop promises of every method: no allocation in a step, steady
 * memory, the same bytes with recompute and after an interruption while it evaluates, and its
 * memory foretold.
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
    bool recompute, evaluate;
    int64_t steps; /* 0: STEPS */
    struct spy spy;
    struct hold_train_result result;
    struct hold_adapter adapter;
    int64_t foretold_step, foretold_life;
};

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

static int run_trial(struct bed *b, struct trial *t, struct hold_error *err) {
    struct hold_stream_input streams[] = {{.name = "main", .set = &b->main},
                                          {.name = "align", .set = &b->align},
                                          {.name = "harmful", .set = &b->harmful},
                                          {.name = "general", .set = &b->general}};
    struct hold_hooked hooked[2];
    struct hold_method_use use = {0}, spare = {0};
    struct hold_ctx ctx = {.threads = 1, .stop = &t->spy.stop};
    struct hold_train_input in = {.model = &b->world.model,
                                  .config = config_of(t),
                                  .streams = streams,
                                  .n_streams = COUNT(streams),
                                  .methods = hooked,
                                  .eval = t->evaluate ? &b->eval : NULL,
                                  .work_dir = t->dir,
                                  .spec = "spec"};
    struct hold_lora_config c = {
        .r = in.config.lora_r, .alpha = in.config.lora_alpha, .target_modules = "all-linear"};
    assert_ok(hold_model_add_lora(&b->world.model, &c, err), err);
    if (t->method != NULL) {
        use = use_made(t->method, NULL);
        spare = use_made(t->method, NULL);
        hooked[in.n_methods++] = (struct hold_hooked){t->method->hooks, spare.state};
    }
    assert_ok(hold_train_size(&in, &t->foretold_step, &t->foretold_life, err), err);
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
    int rc = hold_train(&in, &ctx, &t->result, err);
    if (rc == HOLD_OK)
        assert_ok(hold_model_get_lora(&b->world.model, &t->adapter, err), err);
    hold_model_drop_lora(&b->world.model);
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
        hold_adapter_release(&t.adapter);
        assert_ok(hold_remove_tree("log", &err), &err);
    }
}

static void test_recompute(void **state) {
    const struct hold_method *m;
    for (int i = 0; next_method(&i, &m);) {
        struct trial with = {.method = m, .recompute = true}, without = {.method = m};
        do_trial(*state, &with);
        do_trial(*state, &without);
        if (!adapter_same(&with.adapter, &without.adapter))
            fail_msg("%s: recompute changes the result", name_of(m));
        assert_true(with.spy.step_bytes < without.spy.step_bytes);
        hold_adapter_release(&with.adapter);
        hold_adapter_release(&without.adapter);
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
            if (!adapter_same(&rest.adapter, &whole.adapter) ||
                rest.result.steps != whole.result.steps ||
                rest.result.best_step != whole.result.best_step ||
                rest.result.evaluations != whole.result.evaluations ||
                rest.result.stopped_early != whole.result.stopped_early)
                fail_msg("%s: stopped at step %d, ends at %d of %d, best %d of %d", name_of(m),
                         (int)at, (int)rest.result.steps, (int)whole.result.steps,
                         (int)rest.result.best_step, (int)whole.result.best_step);
            hold_adapter_release(&rest.adapter);
            assert_ok(hold_remove_tree("cut", &err), &err);
        }
        hold_adapter_release(&whole.adapter);
    }
    assert_true(stopped_early > 0);
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
            hold_adapter_release(&t.adapter);
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
        hold_adapter_release(&t.adapter);
        assert_ok(hold_remove_tree("long", &err), &err);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_allocation), cmocka_unit_test(test_recompute),
        cmocka_unit_test(test_interrupted),   cmocka_unit_test(test_foretold),
        cmocka_unit_test(test_steady),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
