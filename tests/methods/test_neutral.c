/* test_neutral.c: at the setting named by `neutral` a method is the identity, bit for bit; the
 * split into micro-batches changes no gradient; and methods compose. */
#include <math.h>
#include <string.h>

#include "world.h"

struct fixture {
    struct world world;
    struct hold_set main, align, harmful, general;
};

static int set_up(void **state) {
    static struct fixture f;
    world_open(&f.world);
    f.main = set_random(1, 21);
    f.align = set_random(2, 10);
    f.harmful = set_random(3, 10);
    f.general = set_random(4, 10);
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    hold_set_release(&f->main);
    hold_set_release(&f->align);
    hold_set_release(&f->harmful);
    hold_set_release(&f->general);
    world_close(&f->world);
    return 0;
}

static struct job fixture_job(const struct fixture *f) {
    struct job j = job_new();
    j.config.optim = "adamw";
    j.config.learning_rate = 5e-3;
    job_stream(&j, "main", &f->main);
    job_stream(&j, "align", &f->align);
    job_stream(&j, "harmful", &f->harmful);
    job_stream(&j, "general", &f->general);
    return j;
}

static bool rows_only(const struct hold_method *m) {
    return m->hooks != NULL && m->hooks->rows_only;
}

/* Does the run with `b` end in the same bytes as the run with `a`?  Both in layout `rows` when one
 * of them needs it, and as `tree` otherwise. */
static bool same_run(struct fixture *f, struct job *a, struct job *b) {
    struct outcome x, y;
    bool rows = false;
    for (int i = 0; i < a->n_uses; i++)
        rows = rows || rows_only(a->uses[i].method);
    for (int i = 0; i < b->n_uses; i++)
        rows = rows || rows_only(b->uses[i].method);
    a->config.layout = b->config.layout = rows ? "rows" : "tree";
    job_do(&f->world, a, &x);
    job_do(&f->world, b, &y);
    bool same = adapter_same(&x.adapter, &y.adapter) && memcmp(x.loss, y.loss, sizeof x.loss) == 0;
    outcome_release(&x);
    outcome_release(&y);
    job_release(a);
    job_release(b);
    return same;
}

/* Neutral equals plain, and the given setting does not: so the comparison can tell. */
static void check_neutral(void **state, const char *name, const char *active) {
    struct fixture *f = *state;
    struct job plain = fixture_job(f), other = fixture_job(f);
    job_use(&other, use_neutral(hold_method_find(name)));
    assert_true(same_run(f, &plain, &other));
    plain = fixture_job(f);
    other = fixture_job(f);
    job_use(&other, use_of(name, active));
    assert_false(same_run(f, &plain, &other));
}

static void vaccine_neutral(void **state) {
    check_neutral(state, "vaccine", "{'rho': 0.1}");
}
static void booster_neutral(void **state) {
    check_neutral(state, "booster", "{'lambda': 0.1}");
}
static void lisa_neutral(void **state) {
    check_neutral(state, "lisa", "{'rho': 0.1, 'alignment_step': 0}");
    check_neutral(state, "lisa", "{'rho': 0, 'alignment_step': 1, 'finetune_step': 4}");
}
static void safegrad_neutral(void **state) {
    check_neutral(state, "safegrad", "{'rho': 0.1, 'surgery': false}");
}
static void procon_neutral(void **state) {
    check_neutral(state, "procon", "{'alpha': 0.05}");
}
/* sft has no hook at all: the stage that names it is the plain run. */
static void sft_is_plain(void **state) {
    struct fixture *f = *state;
    struct job plain = fixture_job(f), other = fixture_job(f);
    job_use(&other, use_of("sft", NULL));
    assert_true(same_run(f, &plain, &other));
}

/* --- micro-batches --- */

static void check_split(void **state, const char *name, const char *options) {
    struct fixture *f = *state;
    struct outcome x, y;
    struct job j = fixture_job(f);
    j.config.optim = "sgd";
    j.config.learning_rate = 0.01;
    j.config.layout = "rows";
    j.grad_step = 3; /* pulls and drifts are zero in the first step */
    j.config.per_device_train_batch_size = 8;
    if (name != NULL)
        job_use(&j, use_of(name, options));
    j.config.micro_batch_tokens = 4096;
    job_do(&f->world, &j, &x);
    j.config.micro_batch_tokens = 16; /* two rows of six at most: four parts or more of eight */
    job_do(&f->world, &j, &y);
    double off = 0.0, size = 0.0;
    assert_true(x.n_flat > 0 && x.n_flat == y.n_flat);
    for (int64_t i = 0; i < x.n_flat; i++) {
        double d = (double)x.grad[i] - (double)y.grad[i];
        off += d * d;
        size += (double)x.grad[i] * (double)x.grad[i];
    }
    if (!(sqrt(off) <= 1e-5 * sqrt(size)))
        fail_msg("%s: gradients differ by %.3g", name, sqrt(off / size));
    outcome_release(&x);
    outcome_release(&y);
    job_release(&j);
}

static void micro_batches_change_nothing(void **state) {
    check_split(state, NULL, NULL);
    check_split(state, "sft", NULL);
    check_split(state, "vaccine", "{'rho': 2}");
    check_split(state, "booster", "{'lambda': 5, 'alpha': 0.1}");
    check_split(state, "lisa", "{'rho': 1, 'alignment_step': 2, 'finetune_step': 3}");
    check_split(state, "safegrad", NULL);
    check_split(state, "procon", "{'alpha': 1}");
}

/* --- composition --- */

static const char *const ACTIVE[][2] = {
    {"lisa", "{'rho': 1, 'alignment_step': 1, 'finetune_step': 2}"},
    {"safegrad", "{'rho': 0.5}"},
    {"procon", "{'alpha': 0.5}"},
};

static void neutral_company_changes_nothing(void **state) {
    struct fixture *f = *state;
    for (int x = 0; x < COUNT(ACTIVE); x++)
        for (int y = 0; y < COUNT(ACTIVE); y++)
            for (int first = 0; x != y && first < 2; first++) {
                struct job alone = fixture_job(f), both = fixture_job(f);
                job_use(&alone, use_of(ACTIVE[x][0], ACTIVE[x][1]));
                if (first == 0)
                    job_use(&both, use_neutral(hold_method_find(ACTIVE[y][0])));
                job_use(&both, use_of(ACTIVE[x][0], ACTIVE[x][1]));
                if (first == 1)
                    job_use(&both, use_neutral(hold_method_find(ACTIVE[y][0])));
                if (!same_run(f, &alone, &both))
                    fail_msg("%s changes with a neutral %s", ACTIVE[x][0], ACTIVE[y][0]);
            }
}

/* Two that work are neither of the two alone. */
static void company_counts(void **state) {
    struct fixture *f = *state;
    for (int x = 0; x < COUNT(ACTIVE); x++)
        for (int y = 0; y < COUNT(ACTIVE); y++) {
            if (x == y)
                continue;
            struct job alone = fixture_job(f), both = fixture_job(f);
            job_use(&alone, use_of(ACTIVE[x][0], ACTIVE[x][1]));
            job_use(&both, use_of(ACTIVE[x][0], ACTIVE[x][1]));
            job_use(&both, use_of(ACTIVE[y][0], ACTIVE[y][1]));
            assert_false(same_run(f, &alone, &both));
        }
}

static void second_owner_is_refused(void **state) {
    struct fixture *f = *state;
    struct hold_error err = {0};
    struct outcome out;
    struct job j = fixture_job(f);
    job_use(&j, use_of("vaccine", NULL));
    job_use(&j, use_of("booster", NULL));
    int rc = job_run(&f->world, &j, &out, &err);
    assert_refused(rc, HOLD_EUSAGE, &err,
                   "'vaccine' and 'booster' both own the pass plan of a step");
    job_release(&j);
}

/* A direction between equal rows is none; the term would silently do nothing. */
static void procon_without_a_direction(void **state) {
    struct fixture *f = *state;
    struct hold_error err = {0};
    struct outcome out;
    struct job j = fixture_job(f);
    for (int i = 0; i < j.n_streams; i++)
        if (strcmp(j.streams[i].name, "general") == 0)
            j.streams[i].set = &f->align;
    job_use(&j, use_of("procon", NULL));
    int rc = job_run(&f->world, &j, &out, &err);
    assert_refused(rc, HOLD_EUSAGE, &err, "procon: refusals and general rows give no direction");
    job_release(&j);
}

static void missing_data_is_named(void **state) {
    struct fixture *f = *state;
    struct outcome out;
    static const char *const CASES[][2] = {
        {"lisa", "lisa: needs 'align' data, none was given"},
        {"booster", "booster: needs 'harmful' data, none was given"},
        {"procon", "procon: needs 'align' data, none was given"},
        {"safegrad", "safegrad: needs 'align' data, none was given"},
    };
    for (int i = 0; i < COUNT(CASES); i++) {
        struct hold_error err = {0};
        struct job j = fixture_job(f);
        j.n_streams = 1;
        job_use(&j, use_of(CASES[i][0], NULL));
        int rc = job_run(&f->world, &j, &out, &err);
        assert_refused(rc, HOLD_EUSAGE, &err, CASES[i][1]);
        job_release(&j);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vaccine_neutral),
        cmocka_unit_test(booster_neutral),
        cmocka_unit_test(lisa_neutral),
        cmocka_unit_test(safegrad_neutral),
        cmocka_unit_test(procon_neutral),
        cmocka_unit_test(sft_is_plain),
        cmocka_unit_test(micro_batches_change_nothing),
        cmocka_unit_test(neutral_company_changes_nothing),
        cmocka_unit_test(company_counts),
        cmocka_unit_test(second_owner_is_refused),
        cmocka_unit_test(procon_without_a_direction),
        cmocka_unit_test(missing_data_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
