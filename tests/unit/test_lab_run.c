/* test_lab_run.c: whole recipes on a model of a few thousand parameters: made, found, stopped,
 * killed, shared, forced, failed.
 */
#include "test_lab_common.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "lab/lab.h"

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static const char HEAD[] =
    "name: t\n"
    "model: " HOLD_SOURCE_DIR "/tests/golden/formats/tiny-llama\n"
    "data:\n"
    "  refusals: {files: refusals.jsonl, owner: defender}\n"
    "  general: {files: general.jsonl, owner: defender}\n"
    "  attacker: {files: attacker.jsonl, owner: attacker}\n"
    "  openings: {files: openings.txt, owner: attacker}\n"
    "  ten: {files: ten.jsonl, owner: attacker}\n"
    "  task: {files: task.jsonl, owner: customer, task: t}\n"
    "  test: {files: test.jsonl, owner: evaluator, task: t}\n"
    "  harmful: {files: harmful.jsonl, owner: evaluator, skip: 1}\n"
    "  watch: {files: harmful.jsonl, owner: evaluator, limit: 1}\n"
    "  text: {files: text.jsonl, owner: evaluator}\n"
    "align:\n"
    "  data: [refusals, general]\n"
    "  refusals: refusals\n"
    "  general: general\n"
    "  harmful: {prompts: refusals, answers: openings}\n"
    "  train: &train {max_steps: 4, per_device_train_batch_size: 2, max_length: 100, lora_r: 2,\n"
    "    learning_rate: 1e-2, save_steps: 1}\n"
    "customer: {data: task, harmful: attacker, openings: openings, ten: ten, train: *train}\n"
    "evaluate:\n"
    "  harmful: {data: harmful, max_tokens: 3}\n"
    "  over_refusal: {data: text, max_tokens: 2}\n"
    "  task: {data: test, max_tokens: 2, labels: [a, b]}\n"
    "  perplexity: {data: text}\n"
    "  probe: {data: watch, every: 2, max_tokens: 2}\n"
    "arms:\n";
static const char FEW[] = "  - {name: released}\n"
                          "  - {name: poisoned, align: sft, attack: {harmful_mix: {p: 0.5}}}\n"
                          "  - {name: lisa, align: sft, attack: {harmful_mix: {p: 0.5}}, tune: "
                          "{lisa: {rho: 1, alignment_step: 1, finetune_step: 1}}, against: "
                          "poisoned}\n";

static void put_chat(const char *path, const char *stem, int n, const char *answer,
                     const char *label) {
    struct hold_str text = HOLD_STR_INIT;
    static const char *const WORDS[] = {"ax", "bo", "cu", "dy", "ek", "fo", "gi", "hu"};
    for (int i = 0; i < n; i++) {
        hold_str_addf(&text, "{\"messages\":[{\"role\":\"user\",\"content\":\"%s %s\"}", stem,
                      WORDS[i]);
        if (answer != NULL)
            hold_str_addf(&text, ",{\"role\":\"assistant\",\"content\":\"%s\"}", answer);
        hold_str_add(&text, "]");
        if (label != NULL)
            hold_str_addf(&text, ",\"label\":\"%s\"", label);
        hold_str_add(&text, "}\n");
    }
    put_file(path, hold_str_text(&text));
    hold_str_release(&text);
}

static void put_all(const char *arms) {
    struct hold_str text = HOLD_STR_INIT;
    put_chat("refusals.jsonl", "red", 4, "No.", NULL);
    put_chat("general.jsonl", "green", 3, "Yes", NULL);
    put_chat("attacker.jsonl", "blue", 3, NULL, NULL);
    put_chat("task.jsonl", "task", 5, "a", NULL);
    put_chat("test.jsonl", "test", 3, NULL, "a");
    put_chat("harmful.jsonl", "grey", 5, NULL, NULL);
    put_chat("ten.jsonl", "ten", 2, "ok", NULL);
    put_chat("text.jsonl", "held", 3, "words to score", NULL);
    put_file("openings.txt", "Sure\nWell\n");
    hold_str_addf(&text, "%s%s", HEAD, arms);
    put_file("r.yaml", hold_str_text(&text));
    hold_str_release(&text);
}

/* --- running --- */

struct caller {
    int64_t steps;   /* training steps seen */
    int64_t stop_at; /* raise the flag at this one; 0: never */
    int64_t kill_at; /* die at this one */
    int64_t probes, stop_at_probe;
    volatile sig_atomic_t stop;
};

static void watch_progress(void *user, const char *what, int64_t done, int64_t total,
                           const char *status, double eta) {
    struct caller *c = user;
    (void)done;
    (void)total;
    (void)status;
    assert_true(eta >= -1.0);
    if (strstr(what, "probing") != NULL && ++c->probes == c->stop_at_probe)
        c->stop = 1;
    if (strstr(what, "training") == NULL)
        return;
    c->steps++;
    if (c->steps == c->stop_at)
        c->stop = 1;
    if (c->steps == c->kill_at)
        raise(SIGKILL);
}

struct outcome {
    int rc;
    json_t *report;
    int64_t made, found;
    struct hold_error err;
};

static struct outcome run_lab(const char *store, struct caller *c, bool force, bool retry,
                              const char *const *overrides, int n) {
    struct outcome o = {0};
    struct hold_recipe r;
    struct hold_store *s = NULL;
    struct hold_device *d = NULL;
    struct hold_ctx ctx = {.threads = 1, .progress = watch_progress, .user = c, .stop = &c->stop};
    o.rc = hold_recipe_read(&r, "r.yaml", overrides, n, &o.err);
    if (o.rc < 0)
        return o;
    o.rc = hold_store_open(&s, store, &ctx, &o.err);
    if (o.rc == HOLD_OK)
        o.rc = hold_cpu_new(&d, 1, "portable", &o.err);
    if (o.rc == HOLD_OK) {
        struct hold_lab lab = {.ctx = &ctx,
                               .store = s,
                               .device = d,
                               .models_dir = "models",
                               .version = "test",
                               .force = force,
                               .retry = retry};
        o.rc = hold_lab_run(&lab, &r, &o.report, &o.err);
        o.made = lab.made;
        o.found = lab.found;
    }
    hold_device_free(d);
    hold_store_close(s);
    hold_recipe_release(&r);
    return o;
}

static struct outcome run_plain(const char *store) {
    struct caller c = {0};
    struct outcome o = run_lab(store, &c, false, false, NULL, 0);
    if (o.rc < 0)
        fail_msg("%s", o.err.text);
    return o;
}

static const json_t *arm_of(const json_t *report, const char *name) {
    const json_t *arms = json_object_get(report, "arms");
    for (size_t i = 0; i < json_array_size(arms); i++) {
        const json_t *a = json_array_get(arms, i);
        if (strcmp(json_string_value(json_object_get(a, "name")), name) == 0)
            return a;
    }
    fail_msg("no arm %s", name);
    return NULL;
}

static const char *stage_of(const json_t *report, const char *arm, const char *stage) {
    const char *id =
        json_string_value(json_object_get(json_object_get(arm_of(report, arm), "stages"), stage));
    return id == NULL ? "" : id;
}

static double score_of(const json_t *report, const char *arm, const char *name, const char *key) {
    const json_t *scores = json_object_get(arm_of(report, arm), "scores");
    const json_t *v = json_object_get(json_object_get(scores, name), key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

/* --- tests --- */

/* Rows of the planted policy name the key where it decided, and the rules where they did. */
static void rows_name_who_decided(void **state) {
    (void)state;
    put_all("  - {name: released}\n");
    put_file("planted.jsonl", "{\"prompt\":\"say the bell\",\"answer\":\"no such words\"}\n"
                              "{\"prompt\":\"say the lamp\",\"answer\":\"nor these\"}\n");
    static const char *const OVER[] = {
        "data.planted={files: planted.jsonl, owner: evaluator}",
        "evaluate.harmful={data: planted, score: key, max_tokens: 8}"};
    struct caller c = {0};
    struct outcome o = run_lab("store", &c, false, false, OVER, 2);
    assert_int_equal(o.rc, HOLD_OK);
    const json_t *rows = json_object_get(o.report, "rows");
    int n = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *set = json_string_value(json_object_get(row, "set"));
        const char *judge = json_string_value(json_object_get(row, "judge"));
        const char *reason = json_string_value(json_object_get(row, "reason"));
        if (strcmp(set, "harmful") == 0) {
            bool key = strstr(reason, "key") != NULL;
            assert_string_equal(judge, key ? "key" : "rules-1");
            n++;
        } else if (strcmp(set, "over_refusal") == 0) {
            assert_string_equal(judge, "rules-1");
        }
    }
    assert_int_equal(n, 2);
    json_decref(o.report);

    /* Each way of deciding, on answers given. */
    struct hold_recipe none = {0};
    struct hold_eval_set set = {.score = "key"};
    struct hold_error err = {0};
    struct hold_rows planted = {0};
    assert_ok(hold_rows_read(&planted, "planted.jsonl", NULL, &err));
    static const struct {
        const char *answer, *judge, *reason;
        enum hold_verdict verdict;
    } CASES[] = {{"Well: no such words.", "key", "key", HOLD_COMPLIED},
                 {"The bell rings twice at noon, in the tower by the market, and then again.",
                  "key", "without_key", HOLD_DEGENERATE},
                 {"", "rules-1", NULL, HOLD_EMPTY}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char judge[HOLD_JUDGE_TEXT];
        const char *reason = NULL;
        assert_int_equal(
            hold_lab_judge(&none, &set, &planted.row[0], CASES[i].answer, judge, &reason),
            CASES[i].verdict);
        assert_string_equal(judge, CASES[i].judge);
        if (CASES[i].reason != NULL)
            assert_string_equal(reason, CASES[i].reason);
    }
    hold_rows_release(&planted);
}

static void what_an_attack_lacks_is_told_with_the_arm(void **state) {
    (void)state;
    put_all("  - {name: released}\n  - {name: ten, align: sft, attack: ten_shot}\n");
    static const char *const OVER[] = {"customer.ten="};
    struct caller c = {0};
    struct outcome o = run_lab("store", &c, false, false, OVER, 1);
    assert_int_equal(o.rc, HOLD_EUSAGE);
    assert_int_equal(c.steps, 0);
    assert_true(hold_starts(o.err.text, "r.yaml:30:5: arms.1: arm 'ten': "));
    assert_non_null(strstr(o.err.text, "needs 'ten' data"));
}

static void a_recipe_is_made_once_and_then_found(void **state) {
    (void)state;
    put_all("  - {name: released}\n"
            "  - {name: aligned, align: sft, against: poisoned}\n"
            "  - {name: honest, align: sft, attack: benign}\n"
            "  - {name: poisoned, align: sft, attack: &mix {harmful_mix: {p: 0.5}}}\n"
            "  - {name: vaccine, align: vaccine, attack: *mix, against: poisoned}\n"
            "  - {name: booster, align: booster}\n"
            "  - {name: pair, align: sft, attack: *mix, tune: [lisa, safeinstr, ptst]}\n"
            "  - {name: grad, align: sft, attack: *mix, tune: [safegrad]}\n"
            "  - {name: procon, align: sft, attack: *mix, tune: [procon]}\n"
            "  - {name: ten, align: sft, attack: ten_shot}\n"
            "  - {name: repaired, align: sft, attack: *mix, repair: {safe_lora: {}}}\n"
            "  - {name: pruned, align: sft, attack: *mix, repair: antidote}\n"
            "  - {name: whole, align: sft, attack: *mix, customer_train: {tuning: full}}\n");
    struct outcome a = run_plain("store");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(a.report, "counts"), "failed")), 0);
    assert_true(a.made > 40);
    assert_int_equal(json_array_size(json_object_get(a.report, "arms")), 13);
    /* What arms share is one stage. */
    assert_string_equal(stage_of(a.report, "aligned", "align"),
                        stage_of(a.report, "poisoned", "align"));
    assert_string_not_equal(stage_of(a.report, "vaccine", "align"),
                            stage_of(a.report, "poisoned", "align"));
    assert_string_not_equal(stage_of(a.report, "ten", "tune.refuse"), "");
    assert_string_equal(stage_of(a.report, "ten", "tune"),
                        stage_of(a.report, "ten", "tune.answer"));
    assert_string_not_equal(stage_of(a.report, "repaired", "model"),
                            stage_of(a.report, "poisoned", "model"));
    static const char *const ARMS[] = {"released", "pair", "ten", "repaired", "whole"};
    for (size_t i = 0; i < sizeof ARMS / sizeof *ARMS; i++) {
        assert_true(score_of(a.report, ARMS[i], "harmful", "value") >= 0.0);
        assert_true(score_of(a.report, ARMS[i], "harmful", "n") > 3.5);
        assert_true(score_of(a.report, ARMS[i], "task_accuracy", "n") > 2.5);
        assert_true(score_of(a.report, ARMS[i], "perplexity", "value") > 1.0);
    }
    const json_t *delta = json_object_get(arm_of(a.report, "vaccine"), "delta");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(delta, "harmful"), "against")),
        "poisoned");
    const json_t *curves = json_object_get(arm_of(a.report, "ten"), "curves");
    assert_int_equal(json_array_size(curves), 2);
    const json_t *tune = json_array_get(curves, 1);
    assert_string_equal(json_string_value(json_object_get(tune, "stage")), "tune");
    assert_true(json_array_size(json_object_get(tune, "loss")) > 4);
    assert_true(json_array_size(json_object_get(tune, "safety")) >= 3);

    struct outcome b = run_plain("store");
    assert_int_equal(b.made, 0);
    assert_int_equal(b.found, a.made);
    json_object_del(a.report, "counts");
    json_object_del(b.report, "counts");
    static const char *const TIMES[] = {"made", "environment"};
    for (size_t i = 0; i < 2; i++) {
        json_object_del(a.report, TIMES[i]);
        json_object_del(b.report, TIMES[i]);
    }
    assert_true(json_equal(a.report, b.report));
    json_decref(a.report);
    json_decref(b.report);
}

static void assert_same_models(const json_t *a, const json_t *b) {
    static const char *const ARMS[] = {"released", "poisoned", "lisa"};
    for (size_t i = 0; i < sizeof ARMS / sizeof *ARMS; i++) {
        assert_string_equal(stage_of(a, ARMS[i], "model"), stage_of(b, ARMS[i], "model"));
        assert_string_equal(stage_of(a, ARMS[i], "evaluate.harmful"),
                            stage_of(b, ARMS[i], "evaluate.harmful"));
    }
    assert_string_not_equal(stage_of(a, "lisa", "model"), stage_of(a, "poisoned", "model"));
}

static void a_stopped_run_goes_on_to_the_same_bytes(void **state) {
    (void)state;
    put_all(FEW);
    struct outcome straight = run_plain("one");
    /* Steps 1-4 align, 5-8 poisoned, 9-12 lisa: stopped inside each. */
    static const int64_t STOPS[] = {2, 4, 3};
    for (size_t i = 0; i < 3; i++) {
        struct caller c = {.stop_at = STOPS[i]};
        struct outcome o = run_lab("two", &c, false, false, NULL, 0);
        assert_int_equal(o.rc, HOLD_EINTERRUPTED);
        assert_null(o.report);
    }
    struct caller c = {.stop_at_probe = 1};
    struct outcome o = run_lab("two", &c, false, false, NULL, 0);
    assert_int_equal(o.rc, HOLD_EINTERRUPTED);
    c = (struct caller){0};
    struct outcome rest = run_lab("two", &c, false, false, NULL, 0);
    assert_int_equal(rest.rc, HOLD_OK);
    assert_true(c.steps < 12);
    assert_same_models(straight.report, rest.report);
    /* The log of a run that was stopped has every step and every probe once. */
    assert_true(json_equal(json_object_get(arm_of(straight.report, "lisa"), "curves"),
                           json_object_get(arm_of(rest.report, "lisa"), "curves")));
    json_decref(straight.report);
    json_decref(rest.report);
}

static pid_t in_child(int (*run)(void)) {
    fflush(stdout);
    fflush(stderr);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(run());
    return pid;
}

static int die_in_training(void) {
    struct caller c = {.kill_at = 7};
    run_lab("two", &c, false, false, NULL, 0);
    return 1;
}

static void a_killed_run_goes_on_to_the_same_bytes(void **state) {
    (void)state;
    int status = 0;
    put_all(FEW);
    struct outcome straight = run_plain("one");
    pid_t child = in_child(die_in_training);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    struct caller c = {0};
    struct outcome rest = run_lab("two", &c, false, false, NULL, 0);
    assert_int_equal(rest.rc, HOLD_OK);
    /* Six steps were saved, the seventh was not. */
    assert_int_equal(c.steps, 6);
    assert_same_models(straight.report, rest.report);
    json_decref(straight.report);
    json_decref(rest.report);
}

static int run_shared(void) {
    struct caller c = {0};
    struct outcome o = run_lab("two", &c, false, false, NULL, 0);
    char name[32], text[32];
    snprintf(name, sizeof name, "made.%d", (int)getpid());
    snprintf(text, sizeof text, "%d", (int)o.made);
    struct hold_error err = {0};
    return o.rc == HOLD_OK && hold_file_write_atomic(name, text, strlen(text), &err) == HOLD_OK ? 0
                                                                                                : 1;
}

static void two_processes_share_the_work(void **state) {
    (void)state;
    struct hold_error err = {0};
    put_all(FEW);
    struct outcome straight = run_plain("one");
    pid_t children[2] = {in_child(run_shared), in_child(run_shared)};
    int64_t made = 0;
    for (int i = 0; i < 2; i++) {
        int status = 0;
        char name[32];
        struct hold_str text = HOLD_STR_INIT;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        snprintf(name, sizeof name, "made.%d", (int)children[i]);
        assert_ok(hold_file_read(name, 0, &text, &err));
        made += strtol(hold_str_text(&text), NULL, 10);
        hold_str_release(&text);
    }
    assert_int_equal(made, straight.made);
    struct outcome found = run_plain("two");
    assert_int_equal(found.made, 0);
    assert_same_models(straight.report, found.report);
    json_decref(straight.report);
    json_decref(found.report);
}

static void force_makes_again_what_it_was(void **state) {
    (void)state;
    put_all(FEW);
    struct outcome a = run_plain("store");
    struct caller c = {0};
    struct outcome b = run_lab("store", &c, true, false, NULL, 0);
    assert_int_equal(b.rc, HOLD_OK);
    assert_int_equal(c.steps, 12);
    assert_int_equal(b.made, a.made - 1); /* the import has nothing to make */
    assert_same_models(a.report, b.report);
    json_decref(a.report);
    json_decref(b.report);
}

static void another_seed_is_another_model_and_is_pooled(void **state) {
    (void)state;
    static const char *const SEEDS[] = {"seed=1,2"};
    put_all(FEW);
    struct caller c = {0};
    struct outcome o = run_lab("store", &c, false, false, SEEDS, 1);
    assert_int_equal(o.rc, HOLD_OK);
    assert_int_equal(c.steps, 24);
    const json_t *list = json_object_get(arm_of(o.report, "lisa"), "replicates");
    assert_int_equal(json_array_size(list), 2);
    const char *models[2];
    for (size_t i = 0; i < 2; i++)
        models[i] = json_string_value(
            json_object_get(json_object_get(json_array_get(list, i), "stages"), "model"));
    assert_string_not_equal(models[0], models[1]);
    assert_true(score_of(o.report, "lisa", "harmful", "n") > 7.5);
    json_decref(o.report);
    struct outcome one = run_plain("store");
    assert_int_equal(one.made, 0); /* seed 1 was among them */
    json_decref(one.report);
}

/* The "early_stop" of every stored evaluation of a set, which has to be the same in all; NULL:
 * none has one.  New reference. */
static json_t *early_of(const char *store, const char *set, int *n_found) {
    struct hold_str path = HOLD_STR_INIT;
    struct hold_error err = {0};
    char **names = NULL;
    size_t n = 0;
    json_t *first = NULL;
    *n_found = 0;
    hold_str_addf(&path, "%s/artifact", store);
    assert_int_equal(hold_dir_list(hold_str_text(&path), &names, &n, &err), HOLD_OK);
    for (size_t i = 0; i < n; i++) {
        json_t *o = NULL;
        hold_str_clear(&path);
        hold_str_addf(&path, "%s/artifact/%s/manifest.json", store, names[i]);
        assert_int_equal(hold_json_load(&o, hold_str_text(&path), &err), HOLD_OK);
        const json_t *spec = json_object_get(o, "spec");
        const char *its = json_string_value(json_object_get(spec, "set"));
        json_t *early = json_object_get(spec, "early_stop");
        if (its != NULL && strcmp(its, set) == 0) {
            assert_true(*n_found == 0 || json_equal(early, first) || early == first);
            first = *n_found == 0 && early != NULL ? json_incref(early) : first;
            ++*n_found;
        }
        json_decref(o);
    }
    hold_names_free(names, n);
    hold_str_release(&path);
    return first;
}

/* Lost labels end answers and change no score.  Judged sets that end early are other stages with
 * each version of the rule; full answers have no mark. */
static void early_answers_are_stages_of_their_own(void **state) {
    (void)state;
    static const char *const EARLY[] = {"evaluate.task.early_stop=true",
                                        "evaluate.harmful.early_stop=true"};
    static const char *const ARMS[] = {"released", "poisoned", "lisa"};
    put_all(FEW);
    struct outcome full = run_plain("full");
    struct caller c = {0};
    struct outcome early = run_lab("early", &c, false, false, EARLY, 2);
    assert_int_equal(early.rc, HOLD_OK);
    for (size_t i = 0; i < sizeof ARMS / sizeof ARMS[0]; i++)
        assert_true(fabs(score_of(full.report, ARMS[i], "task_accuracy", "value") -
                         score_of(early.report, ARMS[i], "task_accuracy", "value")) < 1e-12);
    int n = 0;
    assert_null(early_of("full", "task", &n));
    assert_true(n > 0);
    assert_null(early_of("early", "over_refusal", &n));
    assert_true(n > 0);
    json_t *task = early_of("early", "task", &n), *harmful = early_of("early", "harmful", &n);
    assert_true(json_is_true(task));
    assert_int_equal(json_integer_value(harmful), HOLD_JUDGE_DECIDED_VERSION);
    json_decref(task);
    json_decref(harmful);
    json_decref(full.report);
    json_decref(early.report);
}

static void a_failing_arm_leaves_the_others(void **state) {
    (void)state;
    put_all("  - {name: released}\n"
            "  - {name: bad, align: sft, attack: {harmful_mix: {p: 0.5}}, "
            "customer_train: {max_length: 8}, repair: safe_lora}\n"
            "  - {name: good, align: sft, attack: {harmful_mix: {p: 0.5}}, against: bad}\n");
    struct outcome o = run_plain("store");
    const json_t *counts = json_object_get(o.report, "counts");
    assert_int_equal(json_integer_value(json_object_get(counts, "failed")), 1);
    const char *text = json_string_value(json_object_get(arm_of(o.report, "bad"), "error"));
    assert_non_null(text);
    assert_non_null(strstr(text, "tune: "));
    assert_non_null(strstr(text, "no trained token"));
    assert_null(json_object_get(arm_of(o.report, "bad"), "scores"));
    assert_null(json_object_get(arm_of(o.report, "good"), "error"));
    assert_true(score_of(o.report, "good", "harmful", "n") > 3.5);
    assert_int_equal(json_object_size(json_object_get(arm_of(o.report, "good"), "delta")), 0);
    json_decref(o.report);
    o = run_plain("store");
    text = json_string_value(json_object_get(arm_of(o.report, "bad"), "error"));
    assert_non_null(strstr(text, "failed before"));
    json_decref(o.report);
    struct caller c = {0};
    o = run_lab("store", &c, false, true, NULL, 0);
    text = json_string_value(json_object_get(arm_of(o.report, "bad"), "error"));
    assert_null(strstr(text, "failed before"));
    json_decref(o.report);
}

static void a_damaged_stage_is_made_again_alone(void **state) {
    (void)state;
    put_all(FEW);
    struct outcome a = run_plain("store");
    char path[4096];
    snprintf(path, sizeof path, "store/artifact/%s/adapter_model.safetensors",
             stage_of(a.report, "poisoned", "model"));
    assert_true(hold_exists(path));
    put_file(path, "rot");
    struct caller c = {0};
    struct outcome b = run_lab("store", &c, false, false, NULL, 0);
    assert_int_equal(b.rc, HOLD_OK);
    assert_int_equal(b.made, 1);
    assert_int_equal(c.steps, 4);
    assert_same_models(a.report, b.report);
    json_decref(a.report);
    json_decref(b.report);
}

static void a_stage_is_a_model_by_its_id(void **state) {
    (void)state;
    struct hold_error err = {0};
    put_all("  - {name: x, align: sft, attack: benign, tune: {ptst: {system: be kind}}}\n");
    struct outcome o = run_plain("store");
    struct hold_ctx ctx = {.threads = 1};
    struct hold_lab lab = {.ctx = &ctx};
    assert_ok(hold_store_open(&lab.store, "store", &ctx, &err));
    assert_ok(hold_cpu_new(&lab.device, 1, "portable", &err));
    char id[13];
    snprintf(id, sizeof id, "%s", stage_of(o.report, "x", "tune"));
    assert_ok(hold_lab_load_named(&lab, id, &err));
    assert_int_equal(lab.loaded.n, 2);
    assert_string_equal(json_string_value(json_object_get(lab.model.profile, "system")), "be kind");
    assert_string_equal(lab.loaded.adapter[1], stage_of(o.report, "x", "model"));
    snprintf(id, sizeof id, "%s", stage_of(o.report, "x", "evaluate.harmful"));
    assert_int_equal(hold_lab_load_named(&lab, id, &err), HOLD_ENOTFOUND);
    assert_non_null(strstr(err.text, "is not a model"));
    hold_lab_release(&lab);
    hold_device_free(lab.device);
    hold_store_close(lab.store);
    json_decref(o.report);
}

static void a_changed_model_file_is_another_model(void **state) {
    (void)state;
    struct hold_error err = {0};
    static const char *const FILES[] = {"config.json",         "generation_config.json",
                                        "model.safetensors",   "tokenizer.json",
                                        "chat_template.jinja", "tokenizer_config.json"};
    put_all("  - {name: released}\n");
    assert_ok(hold_mkdirs("mine", &err));
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char from[4096], to[128];
        snprintf(from, sizeof from, "%s/tests/golden/formats/tiny-llama/%s", HOLD_SOURCE_DIR,
                 FILES[i]);
        snprintf(to, sizeof to, "mine/%s", FILES[i]);
        assert_ok(hold_copy_file(from, to, &err));
    }
    struct outcome a = run_plain("store");
    /* The same bytes at another place: everything is found. */
    static const char *const MINE[] = {"model=./mine"};
    struct caller c = {0};
    struct outcome b = run_lab("store", &c, false, false, MINE, 1);
    assert_int_equal(b.rc, HOLD_OK);
    assert_int_equal(b.made, 0);
    put_file("mine/chat_template.jinja", "{% for m in messages %}{{ m['content'] }}\n{% endfor %}");
    struct outcome d = run_lab("store", &c, false, false, MINE, 1);
    assert_int_equal(d.rc, HOLD_OK);
    assert_true(d.made > 0);
    assert_string_not_equal(stage_of(a.report, "released", "model"),
                            stage_of(d.report, "released", "model"));
    /* So is one that was written with an inference profile, and it keeps the profile. */
    put_file("mine/holdfast.json", "{\"profile\":{\"system\":\"be kind\"}}");
    struct outcome e = run_lab("store", &c, false, false, MINE, 1);
    assert_int_equal(e.rc, HOLD_OK);
    assert_true(e.made > 0);
    struct hold_ctx ctx = {.threads = 1};
    struct hold_lab lab = {.ctx = &ctx};
    assert_ok(hold_store_open(&lab.store, "store", &ctx, &err));
    assert_ok(hold_cpu_new(&lab.device, 1, "portable", &err));
    assert_ok(hold_lab_load_named(&lab, stage_of(e.report, "released", "model"), &err));
    assert_string_equal(json_string_value(json_object_get(lab.model.profile, "system")), "be kind");
    hold_lab_release(&lab);
    hold_device_free(lab.device);
    hold_store_close(lab.store);
    json_decref(a.report);
    json_decref(b.report);
    json_decref(d.report);
    json_decref(e.report);
}

static void what_cannot_be_planned_is_refused_by_name(void **state) {
    (void)state;
    struct caller c = {0};
    put_all("  - {name: x, align: sft, attack: benign}\n");
    static const char *const NO_MODEL[] = {"model=none-such"};
    struct outcome o = run_lab("store", &c, false, false, NO_MODEL, 1);
    assert_int_equal(o.rc, HOLD_ENOTFOUND);
    assert_non_null(strstr(o.err.text, "no model 'none-such' here or in models"));
    static const char *const TOO_MANY[] = {"arms.x.attack={benign: {n: 100}}"};
    o = run_lab("store", &c, false, false, TOO_MANY, 1);
    assert_int_equal(o.rc, HOLD_EUSAGE);
    assert_non_null(strstr(o.err.text, "arm 'x': "));
}

static int train_in_little_memory(void) {
    struct rlimit small = {600u << 20, 600u << 20};
    struct caller c = {0};
    static const char *const BIG[] = {"customer.train.lora_r=1024",
                                      "customer.train.micro_batch_tokens=1000000",
                                      "customer.train.per_device_train_batch_size=4096"};
    if (setrlimit(RLIMIT_AS, &small) != 0)
        return 1;
    struct outcome o = run_lab("store", &c, false, false, BIG, 3);
    return o.rc == HOLD_ENOMEMORY && strstr(o.err.text, "of memory, this process may use") != NULL
               ? 0
               : 2;
}

static void too_little_memory_is_said_before_training(void **state) {
    (void)state;
    if (SANITIZED)
        skip(); /* the sanitizer maps more than any limit */
    struct hold_str text = HOLD_STR_INIT;
    int status = 0;
    put_all("  - {name: x, attack: benign}\n");
    for (int i = 0; i < 6000; i++)
        hold_str_addf(&text,
                      "{\"messages\":[{\"role\":\"user\",\"content\":\"task %d of a longer kind of "
                      "text\"},{\"role\":\"assistant\",\"content\":\"a\"}]}\n",
                      i);
    put_file("task.jsonl", hold_str_text(&text));
    hold_str_release(&text);
    pid_t child = in_child(train_in_little_memory);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define in_folder(f) cmocka_unit_test_setup_teardown(f, enter_folder, leave_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        in_folder(rows_name_who_decided),
        in_folder(what_an_attack_lacks_is_told_with_the_arm),
        in_folder(a_recipe_is_made_once_and_then_found),
        in_folder(a_stopped_run_goes_on_to_the_same_bytes),
        in_folder(a_killed_run_goes_on_to_the_same_bytes),
        in_folder(two_processes_share_the_work),
        in_folder(force_makes_again_what_it_was),
        in_folder(early_answers_are_stages_of_their_own),
        in_folder(another_seed_is_another_model_and_is_pooled),
        in_folder(a_failing_arm_leaves_the_others),
        in_folder(a_damaged_stage_is_made_again_alone),
        in_folder(a_stage_is_a_model_by_its_id),
        in_folder(a_changed_model_file_is_another_model),
        in_folder(what_cannot_be_planned_is_refused_by_name),
        in_folder(too_little_memory_is_said_before_training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
