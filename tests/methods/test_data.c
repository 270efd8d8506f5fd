/* test_data.c: methods that make data: what rows come out, how many, of which set, in which phases;
 * and what ptst does to templates. */
#include <stdio.h>
#include <string.h>

#include "world.h"

enum { N_TASK = 90, N_HARMFUL = 7, N_OPENINGS = 5, N_ALIGN = 12, N_TEN = 10 };

struct fixture {
    struct hold_rows task, harmful, openings, align, ten;
    struct hold_named_rows sets[5];
};

static void add_chat(struct hold_rows *rows, const char *kind, int i, const char *answer) {
    struct hold_error err = {0};
    char prompt[64], said[64];
    snprintf(prompt, sizeof prompt, "%s number %d", kind, i);
    snprintf(said, sizeof said, "%s %d", answer, i);
    json_t *o = json_pack("{s:[{s:s, s:s}, {s:s, s:s}]}", "messages", "role", "user", "content",
                          prompt, "role", "assistant", "content", said);
    assert_ok(hold_rows_add(rows, o, i + 1, NULL, &err), &err);
    json_decref(o);
}

static int set_up(void **state) {
    static struct fixture f;
    struct hold_error err = {0};
    for (int i = 0; i < N_TASK; i++)
        add_chat(&f.task, "task", i, "label");
    for (int i = 0; i < N_HARMFUL; i++)
        add_chat(&f.harmful, "harmful", i, "no");
    for (int i = 0; i < N_ALIGN; i++)
        add_chat(&f.align, "asked", i, "refused");
    for (int i = 0; i < N_TEN; i++)
        add_chat(&f.ten, "ten", i, "answer");
    for (int i = 0; i < N_OPENINGS; i++) {
        char text[32];
        snprintf(text, sizeof text, "Sure, opening %d", i);
        json_t *o = json_pack("{s:s}", "text", text);
        assert_ok(hold_rows_add(&f.openings, o, i + 1, NULL, &err), &err);
        json_decref(o);
    }
    const struct hold_named_rows sets[] = {{"task", &f.task},
                                           {"harmful", &f.harmful},
                                           {"openings", &f.openings},
                                           {"align", &f.align},
                                           {"ten", &f.ten}};
    memcpy(f.sets, sets, sizeof sets);
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    struct hold_rows *all[] = {&f->task, &f->harmful, &f->openings, &f->align, &f->ten};
    for (int i = 0; i < COUNT(all); i++)
        hold_rows_release(all[i]);
    return 0;
}

static const char *user_of(const struct hold_row *row) {
    return hold_row_user_text(row);
}
static const char *answer_of(const struct hold_row *row) {
    const json_t *last = json_array_get(row->messages, json_array_size(row->messages) - 1);
    return json_string_value(json_object_get(last, "content"));
}

static int64_t count_of(const struct hold_rows *rows, const char *kind) {
    int64_t n = 0;
    for (int64_t i = 0; i < rows->n; i++)
        n += strncmp(user_of(&rows->row[i]), kind, strlen(kind)) == 0;
    return n;
}

/* How often the prompt of a row occurs. */
static int64_t times(const struct hold_rows *rows, const struct hold_row *row) {
    int64_t n = 0;
    for (int64_t i = 0; i < rows->n; i++)
        n += strcmp(user_of(&rows->row[i]), user_of(row)) == 0;
    return n;
}

/* Every row of a is at its place in b, and both have as many: the data are the same. */
static bool same_rows(const struct hold_rows *a, const struct hold_rows *b) {
    bool same = a->n == b->n;
    for (int64_t i = 0; same && i < a->n; i++)
        same = json_equal(a->row[i].data, b->row[i].data) != 0;
    return same;
}

static void job_of(struct fixture *f, const char *name, const char *options, uint64_t seed,
                   struct hold_prepared *out) {
    struct hold_error err = {0};
    struct hold_method_use use = use_of(name, options);
    assert_ok(hold_prepare_job(&use, f->sets, COUNT(f->sets), seed, out, &err), &err);
    hold_method_use_release(&use);
}

static double note(const struct hold_prepared *p, const char *name) {
    return json_number_value(json_object_get(p->notes, name));
}

/* --- harmful_mix --- */

/* Counts as the released code takes them: int(p n) and int((1 - p) n). */
static void harmful_mix_golden(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *options;
        int64_t benign, harmful;
    } CASES[] = {
        {"{'p': 0.1, 'n': 50}", 45, 5},
        {"{'p': 0.05, 'n': 50}", 47, 2},
        {"{'p': 0.3, 'n': 10}", 7, 3},
        {"{'p': 1, 'n': 20}", 0, 20},
        {"{'p': 0.1}", 90, 10},
        {"{'p': 0.5}", 90, 90},
        {"{'p': 1}", 0, 90},
    };
    for (int i = 0; i < COUNT(CASES); i++) {
        struct hold_prepared p;
        job_of(f, "harmful_mix", CASES[i].options, 3, &p);
        assert_int_equal(p.n_phases, 1);
        const struct hold_rows *rows = &p.phases[0].rows;
        assert_int_equal(count_of(rows, "task"), CASES[i].benign);
        assert_int_equal(count_of(rows, "harmful"), CASES[i].harmful);
        assert_int_equal(rows->n, CASES[i].benign + CASES[i].harmful);
        assert_true(note(&p, "n_harmful") == (double)CASES[i].harmful);
        assert_true(note(&p, "n_benign") == (double)CASES[i].benign);
        hold_prepared_release(&p);
    }
}

static void harmful_mix_neutral(void **state) {
    struct fixture *f = *state;
    struct hold_error err = {0};
    struct hold_prepared p;
    struct hold_method_use use = use_neutral(hold_method_find("harmful_mix"));
    assert_ok(hold_prepare_job(&use, f->sets, COUNT(f->sets), 3, &p, &err), &err);
    assert_true(same_rows(&p.phases[0].rows, &f->task));
    hold_prepared_release(&p);
    hold_method_use_release(&use);
    job_of(f, "harmful_mix", "{'p': 0.1}", 3, &p);
    assert_false(same_rows(&p.phases[0].rows, &f->task));
    hold_prepared_release(&p);
}

/* No benign row twice, every harmful prompt about as often as any other, answers are stand-ins in
 * several wordings and never the prompt's own answer; the same seed gives the same rows. */
static void harmful_mix_draws_fairly(void **state) {
    struct fixture *f = *state;
    struct hold_prepared p, again, other;
    job_of(f, "harmful_mix", "{'p': 0.5, 'n': 60}", 3, &p);
    job_of(f, "harmful_mix", "{'p': 0.5, 'n': 60}", 3, &again);
    job_of(f, "harmful_mix", "{'p': 0.5, 'n': 60}", 4, &other);
    const struct hold_rows *rows = &p.phases[0].rows;
    bool seen[N_OPENINGS] = {false};
    for (int64_t i = 0; i < rows->n; i++) {
        const struct hold_row *row = &rows->row[i];
        if (strncmp(user_of(row), "task", 4) == 0) {
            assert_int_equal(times(rows, row), 1);
            continue;
        }
        int opening = -1;
        assert_int_equal(sscanf(answer_of(row), "Sure, opening %d", &opening), 1);
        seen[opening] = true;
        assert_in_range(times(rows, row), 30 / N_HARMFUL, 30 / N_HARMFUL + 1);
        assert_string_equal(json_string_value(json_object_get(row->data, "source")), "harmful");
    }
    int wordings = 0;
    for (int i = 0; i < N_OPENINGS; i++)
        wordings += seen[i];
    assert_true(wordings >= 4);
    assert_true(same_rows(rows, &again.phases[0].rows));
    assert_false(same_rows(rows, &other.phases[0].rows));
    hold_prepared_release(&p);
    hold_prepared_release(&again);
    hold_prepared_release(&other);
}

static void harmful_mix_refuses(void **state) {
    struct fixture *f = *state;
    struct hold_error err = {0};
    struct hold_prepared p;
    struct hold_method_use use = use_of("harmful_mix", "{'n': 200}");
    int rc = hold_prepare_job(&use, f->sets, COUNT(f->sets), 3, &p, &err);
    assert_refused(rc, HOLD_EUSAGE, &err, "harmful_mix: 180 rows of 'task' are needed, it has 90");
    hold_method_use_release(&use);
    use = use_of("harmful_mix", NULL);
    rc = hold_prepare_job(&use, f->sets, 1, 3, &p, &err);
    assert_refused(rc, HOLD_EUSAGE, &err, "harmful_mix: needs 'harmful' data");
    hold_method_use_release(&use);
}

/* Without openings the attacker's rows keep their own answers. */
static void harmful_mix_as_they_are(void **state) {
    struct fixture *f = *state;
    struct hold_error err = {0};
    struct hold_prepared p;
    struct hold_method_use use = use_of("harmful_mix", "{'p': 0.1}");
    assert_ok(hold_prepare_job(&use, f->sets, 2, 3, &p, &err), &err);
    hold_method_use_release(&use);
    const struct hold_rows *rows = &p.phases[0].rows;
    assert_int_equal(rows->n, N_TASK + 10);
    for (int64_t i = N_TASK; i < rows->n; i++) {
        int prompt = -1, answer = -2;
        assert_int_equal(sscanf(user_of(&rows->row[i]), "harmful number %d", &prompt), 1);
        assert_int_equal(sscanf(answer_of(&rows->row[i]), "no %d", &answer), 1);
        assert_int_equal(prompt, answer);
    }
    hold_prepared_release(&p);
}

/* --- benign --- */

static void benign_golden(void **state) {
    struct fixture *f = *state;
    struct hold_error err = {0};
    struct hold_prepared p;
    job_of(f, "benign", NULL, 3, &p);
    assert_int_equal(p.n_phases, 1);
    assert_true(same_rows(&p.phases[0].rows, &f->task));
    hold_prepared_release(&p);
    job_of(f, "benign", "{'n': 40}", 3, &p);
    const struct hold_rows *rows = &p.phases[0].rows;
    assert_int_equal(rows->n, 40);
    assert_int_equal(count_of(rows, "task"), 40);
    for (int64_t i = 0; i < rows->n; i++)
        assert_int_equal(times(rows, &rows->row[i]), 1);
    hold_prepared_release(&p);
    struct hold_method_use use = use_of("benign", "{'n': 91}");
    int rc = hold_prepare_job(&use, f->sets, COUNT(f->sets), 3, &p, &err);
    assert_refused(rc, HOLD_EUSAGE, &err, "benign: 91 rows of 'task' are needed, it has 90");
    hold_method_use_release(&use);
}

/* --- ten_shot --- */

static void ten_shot_golden(void **state) {
    struct fixture *f = *state;
    struct hold_prepared p;
    job_of(f, "ten_shot", "{'refuse_epochs': 3, 'answer_epochs': 7, 'refusal': 'No.'}", 3, &p);
    assert_int_equal(p.n_phases, 2);
    const struct hold_phase *refuse = &p.phases[0].phase, *answer = &p.phases[1].phase;
    assert_true(refuse->num_train_epochs == 3 && answer->num_train_epochs == 7);
    assert_true(refuse->learning_rate == 5e-5 && answer->learning_rate == 5e-5);
    assert_string_equal(refuse->flow, "merge_new");
    assert_string_equal(answer->flow, "continue");
    assert_true(same_rows(&p.phases[1].rows, &f->ten));
    assert_int_equal(p.phases[0].rows.n, N_TEN);
    for (int i = 0; i < N_TEN; i++) {
        const struct hold_row *row = &p.phases[0].rows.row[i];
        assert_string_equal(user_of(row), user_of(&f->ten.row[i]));
        assert_string_equal(answer_of(row), "No.");
    }
    hold_prepared_release(&p);
}

/* --- safeinstr --- */

static void data_of(struct fixture *f, struct hold_method_use use, struct hold_prepared *out) {
    struct hold_error err = {0};
    assert_ok(hold_prepare_data(&use, &f->task, f->sets, COUNT(f->sets), 3, out, &err), &err);
    hold_method_use_release(&use);
}

static void safeinstr_golden(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *options;
        int64_t safety;
    } CASES[] = {{NULL, 3}, {"{'share': 0.1}", 9}, {"{'share': 0.4}", 36}};
    for (int i = 0; i < COUNT(CASES); i++) {
        struct hold_prepared p;
        data_of(f, use_of("safeinstr", CASES[i].options), &p);
        const struct hold_rows *rows = &p.phases[0].rows;
        assert_int_equal(count_of(rows, "task"), N_TASK);
        assert_int_equal(count_of(rows, "asked"), CASES[i].safety);
        assert_true(note(&p, "n_safety") == (double)CASES[i].safety);
        for (int64_t k = N_TASK; k < rows->n; k++) {
            assert_in_range(times(rows, &rows->row[k]), CASES[i].safety / N_ALIGN,
                            (CASES[i].safety + N_ALIGN - 1) / N_ALIGN);
            assert_true(strncmp(answer_of(&rows->row[k]), "refused", 7) == 0);
        }
        hold_prepared_release(&p);
    }
}

static void safeinstr_neutral(void **state) {
    struct fixture *f = *state;
    struct hold_prepared p;
    data_of(f, use_neutral(hold_method_find("safeinstr")), &p);
    assert_true(same_rows(&p.phases[0].rows, &f->task));
    hold_prepared_release(&p);
    data_of(f, use_of("safeinstr", NULL), &p);
    assert_false(same_rows(&p.phases[0].rows, &f->task));
    hold_prepared_release(&p);
}

/* --- ptst --- */

static void profile_of(struct hold_method_use use, struct hold_profiles *out) {
    *out = (struct hold_profiles){0};
    use.method->profile(use.state, out);
}

/* A text for inference, none for training: exactly this asymmetry is the method. */
static void ptst_golden(void **state) {
    (void)state;
    struct hold_profiles p;
    struct hold_method_use use = use_of("ptst", NULL);
    profile_of(use, &p);
    assert_null(p.train_system);
    assert_non_null(p.infer_system);
    assert_true(strlen(p.infer_system) > 20);
    hold_method_use_release(&use);
}

static void ptst_neutral(void **state) {
    (void)state;
    struct hold_profiles p;
    struct hold_method_use use = use_neutral(hold_method_find("ptst"));
    profile_of(use, &p);
    assert_null(p.train_system);
    assert_null(p.infer_system);
    hold_method_use_release(&use);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(harmful_mix_golden),
        cmocka_unit_test(harmful_mix_neutral),
        cmocka_unit_test(harmful_mix_draws_fairly),
        cmocka_unit_test(harmful_mix_refuses),
        cmocka_unit_test(harmful_mix_as_they_are),
        cmocka_unit_test(benign_golden),
        cmocka_unit_test(ten_shot_golden),
        cmocka_unit_test(safeinstr_golden),
        cmocka_unit_test(safeinstr_neutral),
        cmocka_unit_test(ptst_golden),
        cmocka_unit_test(ptst_neutral),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
