/* test_train_resume.c: a run that is killed, stopped or damaged goes on bit for bit or says why it
 * does not. */
#include "test_train_common.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/str.h"
#include "formats/safetensors.h"

enum { ROWS = 9, STEPS = 7, LAST_SAVED = 4 };

static char start_folder[4096];

static int enter(void **state) {
    (void)state;
    char name[] = "test_train_resume.XXXXXX";
    if (!getcwd(start_folder, sizeof start_folder) || !mkdtemp(name) || chdir(name) != 0)
        return -1;
    return 0;
}

static int leave(void **state) {
    (void)state;
    struct hold_error err = {0};
    char here[4096];
    if (!getcwd(here, sizeof here) || chdir(start_folder) != 0)
        return -1;
    return hold_remove_tree(here, &err);
}

/* --- a method that uses what a checkpoint holds: two streams in turns, a buffer, numbers --- */

struct walker {
    bool off;      /* a plain run, looked at */
    int64_t turn;  /* steps left in this stream */
    bool general;  /* which stream */
    double weight; /* of the memory; shrinks */
    int memory;
    /* For the test: */
    int64_t kill_after, stop_after; /* steps; 0: never */
    int64_t spoil_at;               /* the step whose gradient becomes infinite; 0: none */
    volatile sig_atomic_t stop;
    float *theta, *m, *v; /* as the run left them */
    int64_t began;        /* how often begin was called */
};

#define T struct walker
static const struct hold_option PERSIST[] = {
    HOLD_INT(T, turn, 0, 0, 1000, "steps left in this stream"),
    HOLD_BOOL(T, general, false, "the general stream's turn"),
    HOLD_REAL(T, weight, 0, 0, 1, "weight of the memory"),
    {0},
};
#undef T

static int walker_begin(struct hold_run *run, void *state, struct hold_error *err) {
    (void)run;
    (void)err;
    struct walker *w = state;
    w->turn = 2;
    w->general = false;
    w->weight = 0.5;
    w->began++;
    return HOLD_OK;
}

static int walker_choose(struct hold_run *run, void *state, const struct hold_examples **io,
                         struct hold_error *err) {
    struct walker *w = state;
    if (w->off)
        return HOLD_OK;
    if (w->turn == 0) {
        w->general = !w->general;
        w->turn = w->general ? 1 : 2;
    }
    w->turn--;
    return hold_run_next(run, w->general ? "general" : "main", io, err);
}

static int walker_post(struct hold_run *run, void *state, struct hold_error *err) {
    (void)err;
    struct walker *w = state;
    if (w->spoil_at > 0 && run->step == w->spoil_at)
        hold_buffer_scale(run, HOLD_GRAD, INFINITY);
    if (w->off)
        return HOLD_OK;
    int memory = hold_run_buffer(run, "memory");
    hold_buffer_scale(run, memory, w->weight);
    hold_buffer_axpy(run, memory, 1.0, HOLD_GRAD);
    hold_buffer_copy(run, HOLD_GRAD, memory);
    w->weight *= 0.9;
    return HOLD_OK;
}

static int walker_updated(struct hold_run *run, void *state, struct hold_error *err) {
    (void)err;
    struct walker *w = state;
    if (run->step + 1 == w->stop_after)
        w->stop = 1;
    if (run->step == w->kill_after && w->kill_after > 0)
        raise(SIGKILL);
    return HOLD_OK;
}

static float *copy_vector(struct hold_run *run, struct hold_ptr p) {
    float *x = calloc((size_t)run->model->n_flat, sizeof *x);
    assert_non_null(x);
    if (!hold_ptr_null(p))
        run->model->device->k->read(run->model->device, x, p, run->model->n_flat * 4);
    return x;
}

static void walker_release(struct hold_run *run, void *state) {
    struct walker *w = state;
    w->theta = copy_vector(run, run->model->flat);
    w->m = copy_vector(run, run->m);
    w->v = copy_vector(run, run->v);
}

static const char *const BUFFERS[] = {"memory", NULL};
static const struct hold_hooks WALKER = {.name = "walker",
                                         .buffers = BUFFERS,
                                         .persist = PERSIST,
                                         .begin = walker_begin,
                                         .choose = walker_choose,
                                         .post = walker_post,
                                         .updated = walker_updated,
                                         .release = walker_release};

/* --- a run --- */

struct trial {
    const char *dir, *spec, *tuning, *optim, *dtype;
    int threads;
    int64_t seed, save_steps;
    double learning_rate, momentum, dropout;
    bool evaluates; /* the second stream's rows, after every step */
    bool best;      /* ends with the best of them */
    int64_t probes; /* steps between probes, which a stop cuts off; 0: none */
    int64_t stop_in_probe;
    char probed[64]; /* their steps */
    struct walker w;
    struct hold_train_result result;
    char warning[1024]; /* the last one */
    struct hold_error err;
};

static void keep_warning(void *user, enum hold_level level, const char *room, const char *line) {
    (void)room;
    struct trial *t = user;
    if (level == HOLD_WARN)
        snprintf(t->warning, sizeof t->warning, "%s", line);
}

/* As answers are made: a stop ends them. */
static int probe(void *user, struct hold_run *run, int64_t step, struct hold_error *err) {
    struct trial *t = user;
    size_t n = strlen(t->probed);
    if (step > 0 && step == t->stop_in_probe)
        t->w.stop = 1;
    if (t->w.stop != 0)
        return hold_fail(err, HOLD_EINTERRUPTED, "stopped while answering");
    snprintf(t->probed + n, sizeof t->probed - n, "%lld ", (long long)step);
    return hold_run_metric(run, "probe", (double)step, err);
}

static struct trial trial_of(const char *dir, bool walker) {
    return (struct trial){.dir = dir,
                          .spec = "spec",
                          .tuning = "lora",
                          .optim = "adamw",
                          .dtype = "f32",
                          .threads = 1,
                          .seed = 42,
                          .save_steps = 2,
                          .learning_rate = 1e-2,
                          .w = {.off = !walker}};
}

static int train(struct trial *t) {
    struct tiny tiny;
    struct hold_set main_set, general;
    tiny_open_as(&tiny, FORMATS "/tiny-llama", FORMATS "/tiny-llama-adapter", t->tuning, t->threads,
                 NULL, t->dtype);
    random_rows(&main_set, ROWS, 31);
    random_rows(&general, 5, 32);
    for (int64_t l = 0; l < tiny.model.shape.n_layers; l++)
        for (int k = 0; k < HOLD_LINEAR_KINDS; k++)
            tiny.model.layers[l].linear[k].dropout = (float)t->dropout;
    struct hold_stream_input streams[] = {{.name = "main", .set = &main_set},
                                          {.name = "general", .set = &general, .batch = 2}};
    struct hold_hooked method = {&WALKER, &t->w};
    struct hold_train_input in = {.model = &tiny.model,
                                  .config = plain_config(),
                                  .streams = streams,
                                  .n_streams = 2,
                                  .methods = &method,
                                  .n_methods = 1,
                                  .work_dir = t->dir,
                                  .spec = t->spec};
    in.config.max_steps = STEPS;
    in.config.seed = t->seed;
    in.config.optim = t->optim;
    in.config.momentum = t->momentum;
    in.config.learning_rate = t->learning_rate;
    in.config.lora_dropout = t->dropout;
    in.config.save_steps = t->save_steps;
    in.config.warmup_ratio = 0.3;
    if (t->evaluates) {
        in.eval = &general;
        in.config.eval_strategy = "steps";
        in.config.eval_steps = 1;
    }
    in.config.load_best_model_at_end = t->best;
    if (t->probes > 0) {
        in.config.probe_steps = t->probes;
        in.probe = probe;
        in.probe_user = t;
    }
    struct hold_ctx ctx = {
        .log = keep_warning, .user = t, .stop = &t->w.stop, .threads = t->threads};
    t->err = (struct hold_error){0};
    int rc = hold_train(&in, &ctx, &t->result, &t->err);
    set_release(&main_set);
    set_release(&general);
    tiny_close(&tiny);
    return rc;
}

static void trial_close(struct trial *t) {
    free(t->w.theta);
    free(t->w.m);
    free(t->w.v);
    t->w.theta = t->w.m = t->w.v = NULL;
}

static int64_t flat_size(const char *tuning) {
    struct tiny t;
    tiny_open(&t, tuning, 1);
    int64_t n = t.model.n_flat;
    tiny_close(&t);
    return n;
}

static bool same(const struct trial *a, const struct trial *b) {
    size_t bytes = (size_t)flat_size(a->tuning) * sizeof(float);
    return memcmp(a->w.theta, b->w.theta, bytes) == 0 && memcmp(a->w.m, b->w.m, bytes) == 0 &&
           memcmp(a->w.v, b->w.v, bytes) == 0;
}

/* Run in a child that dies by SIGKILL in the middle of step `step`. */
static void train_and_die(struct trial *t, int64_t step) {
    t->w.kill_after = step;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        train(t);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    t->w.kill_after = 0;
}

/* Lines of metrics.jsonl but those that time the machine. */
static char *metrics_of(const char *dir) {
    struct hold_error err = {0};
    struct hold_str path = HOLD_STR_INIT, text = HOLD_STR_INIT, out = HOLD_STR_INIT;
    hold_path_join(&path, dir, "metrics.jsonl");
    assert_ok(hold_file_read(hold_str_text(&path), 0, &text, &err), &err);
    const char *p = hold_str_text(&text);
    while (*p != '\0') {
        size_t n = strcspn(p, "\n");
        char line[512];
        assert_true(n + 1 < sizeof line);
        snprintf(line, sizeof line, "%.*s\n", (int)n, p);
        if (strstr(line, "tokens_per_second") == NULL)
            hold_str_add(&out, line);
        p += n + (p[n] == '\n');
    }
    char *result = strdup(hold_str_text(&out));
    hold_str_release(&path);
    hold_str_release(&text);
    hold_str_release(&out);
    return result;
}

static void assert_same_metrics(void) {
    char *expected = metrics_of("whole"), *found = metrics_of("cut");
    assert_string_equal(found, expected);
    free(expected);
    free(found);
}

/* --- going on --- */

static void go_on(bool walker, const char *tuning, const char *optim, double dropout,
                  const char *dtype) {
    struct trial whole = trial_of("whole", walker), cut = trial_of("cut", walker);
    whole.tuning = cut.tuning = tuning;
    whole.optim = cut.optim = optim;
    whole.momentum = cut.momentum = 0.9;
    whole.dropout = cut.dropout = dropout;
    whole.dtype = cut.dtype = dtype;
    assert_ok(train(&whole), &whole.err);
    assert_false(whole.result.resumed);
    train_and_die(&cut, 3); /* saved at step 2 */
    train_and_die(&cut, 5); /* saved at step 4 */
    assert_ok(train(&cut), &cut.err);
    assert_true(cut.result.resumed);
    assert_int_equal(cut.w.began, 0); /* the child began it */
    assert_int_equal(cut.result.steps, STEPS);
    assert_int_equal(cut.result.tokens, whole.result.tokens);
    assert_true(cut.result.first_loss == whole.result.first_loss);
    assert_true(same(&whole, &cut));
    assert_same_metrics();
    trial_close(&whole);
    trial_close(&cut);
}

static void test_killed_plain(void **state) {
    (void)state;
    go_on(false, "lora", "adamw", 0, "f32");
}
static void test_killed_walker(void **state) {
    (void)state;
    go_on(true, "lora", "adamw", 0, "f32");
}
static void test_killed_full_sgd(void **state) {
    (void)state;
    go_on(true, "full", "sgd", 0, "f32");
}
static void test_killed_dropout(void **state) {
    (void)state;
    go_on(false, "lora", "adamw", 0.2, "f32");
}

static void test_killed_bf16(void **state) {
    (void)state;
    go_on(true, "lora", "adamw", 0, "bf16");
    leave(state);
    enter(state);
    go_on(false, "full", "adamw", 0, "bf16");
}

/* A stop finishes its step, saves it and says so. */
static void test_stopped(void **state) {
    (void)state;
    struct trial whole = trial_of(NULL, true), cut = trial_of("cut", true);
    assert_ok(train(&whole), &whole.err);
    cut.save_steps = 0;
    cut.w.stop_after = 3;
    assert_refused(train(&cut), HOLD_EINTERRUPTED, &cut.err, "stopped after step 3 of 7; saved");
    assert_true(hold_is_dir("cut/checkpoint-3"));
    trial_close(&cut);
    /* What a death left half done goes when the run goes on; what is not ours stays. */
    assert_ok(hold_mkdirs("cut/saving-99/inside", &cut.err), &cut.err);
    assert_ok(hold_mkdirs("cut/saving-mine", &cut.err), &cut.err);
    assert_ok(hold_file_write_atomic("cut/.tmp-0123456789abcdef", "x", 1, &cut.err), &cut.err);
    assert_ok(hold_file_write_atomic("cut/.tmp-mine", "x", 1, &cut.err), &cut.err);
    cut.w.stop_after = 0;
    cut.w.stop = 0;
    assert_ok(train(&cut), &cut.err);
    assert_false(hold_exists("cut/saving-99") || hold_exists("cut/.tmp-0123456789abcdef"));
    assert_true(hold_exists("cut/saving-mine") && hold_exists("cut/.tmp-mine"));
    assert_true(cut.result.resumed);
    assert_true(same(&whole, &cut));
    trial_close(&whole);
    trial_close(&cut);
}

/* A stop in an evaluation or in a probe, the last ones too, loses neither the step nor what it was
 * owed: the run that goes on has all that the uninterrupted one has. */
static void test_stopped_looking(void **state) {
    static const struct {
        int64_t after_step, in_probe;
    } STOPS[] = {{3, 0}, {4, 0}, {STEPS, 0}, {0, 2}, {0, STEPS}};
    for (int64_t i = 0; i < COUNT(STOPS); i++) {
        struct trial whole = trial_of("whole", true), cut = trial_of("cut", true);
        whole.probes = cut.probes = 2;
        whole.evaluates = cut.evaluates = whole.best = cut.best = true;
        whole.learning_rate = cut.learning_rate = 0.3; /* the last weights are not the best */
        cut.save_steps = 0;
        assert_ok(train(&whole), &whole.err);
        cut.w.stop_after = STOPS[i].after_step;
        cut.stop_in_probe = STOPS[i].in_probe;
        assert_refused(train(&cut), HOLD_EINTERRUPTED, &cut.err, "of 7; saved");
        trial_close(&cut);
        cut.w.stop_after = cut.stop_in_probe = cut.w.stop = 0;
        assert_ok(train(&cut), &cut.err);
        assert_true(cut.result.resumed && same(&whole, &cut));
        assert_string_equal(cut.probed, whole.probed);
        assert_string_equal(whole.probed, "0 2 4 6 7 ");
        assert_int_equal(cut.result.evaluations, STEPS);
        assert_int_equal(cut.result.best_step, whole.result.best_step);
        assert_true(cut.result.is_best && cut.result.last_loss == whole.result.last_loss);
        assert_same_metrics();
        trial_close(&whole);
        trial_close(&cut);
        leave(state);
        enter(state);
    }
}

/* --- one thing of the checkpoint changed or missing --- */

static json_t *load_state(const char *dir) {
    struct hold_error err = {0};
    struct hold_str path = HOLD_STR_INIT;
    json_t *o = NULL;
    hold_path_join(&path, dir, "state.json");
    assert_ok(hold_json_load(&o, hold_str_text(&path), &err), &err);
    hold_str_release(&path);
    return o;
}

static void save_state(const char *dir, json_t *o) {
    struct hold_error err = {0};
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, dir, "state.json");
    assert_ok(hold_json_save(hold_str_text(&path), o, &err), &err);
    hold_str_release(&path);
    json_decref(o);
}

/* Write the vectors again, `name` as zeros, with one number more, or not at all, with the hash that
 * fits. */
enum edit { ZERO, GROW, DROP };
static void edit_vectors(const char *dir, const char *name, enum edit how) {
    struct hold_error err = {0};
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, dir, "state.safetensors");
    const char *p = hold_str_text(&path);
    struct hold_safetensors *file = NULL;
    int64_t n = 0, kept = 0;
    assert_ok(hold_safetensors_open(&file, p, &err), &err);
    const struct hold_stored *list = hold_safetensors_tensors(file, &n);
    struct hold_to_store out[8] = {0};
    assert_true(n <= 8 && hold_stored_find(list, n, name) != NULL);
    for (int64_t i = 0; i < n; i++) {
        bool is_it = strcmp(list[i].name, name) == 0;
        if (is_it && how == DROP)
            continue;
        int64_t count = hold_stored_count(&list[i]) + (is_it && how == GROW);
        float *x = calloc((size_t)count, sizeof *x);
        assert_non_null(x);
        if (!is_it)
            assert_ok(hold_stored_to_f32(&list[i], 0, count, x, &err), &err);
        out[kept++] = (struct hold_to_store){.name = list[i].name,
                                             .type = HOLD_ST_F32,
                                             .n_dims = 1,
                                             .dim = {count, 1, 1, 1},
                                             .data = x};
    }
    assert_ok(hold_safetensors_write("edited", out, kept, NULL, &err), &err);
    for (int64_t i = 0; i < kept; i++)
        free((void *)out[i].data);
    hold_safetensors_free(file);
    assert_int_equal(rename("edited", p), 0);
    char hash[HOLD_HASH_HEX];
    assert_ok(hold_hash_file(p, hash, &err), &err);
    json_t *o = load_state(dir);
    json_object_set_new(o, "sha256", json_string(hash));
    save_state(dir, o);
    hold_str_release(&path);
}

/* A run that died after its only checkpoint. */
static void prepare_cut(struct trial *t) {
    struct hold_error err = {0};
    *t = trial_of("cut", true);
    assert_ok(hold_remove_tree("cut", &err), &err);
    train_and_die(t, LAST_SAVED + 1);
    assert_ok(hold_remove_tree("cut/checkpoint-2", &err), &err);
    assert_true(hold_is_dir("cut/checkpoint-4"));
}

/* What is dropped is missed: the checkpoint is skipped, loudly, and the run starts anew without a
 * trace of it. */
static void expect_skipped(const struct trial *whole, struct trial *t, const char *why) {
    assert_ok(train(t), &t->err);
    if (strstr(t->warning, why) == NULL)
        fail_msg("found the warning \"%s\", expected \"...%s...\"", t->warning, why);
    assert_false(t->result.resumed);
    assert_int_equal(t->w.began, 1);
    assert_true(same(whole, t));
    trial_close(t);
}

static void test_vectors_count(void **state) {
    (void)state;
    static const char *const NAMES[] = {"theta", "optimizer.m", "optimizer.v", "memory"};
    struct trial whole = trial_of(NULL, true), t;
    assert_ok(train(&whole), &whole.err);
    for (int64_t i = 0; i < COUNT(NAMES); i++) {
        prepare_cut(&t);
        edit_vectors("cut/checkpoint-4", NAMES[i], ZERO);
        assert_ok(train(&t), &t.err);
        assert_true(t.result.resumed);
        if (same(&whole, &t))
            fail_msg("a resume without vector '%s' does not differ", NAMES[i]);
        trial_close(&t);
        for (enum edit how = GROW; how <= DROP; how++) {
            prepare_cut(&t);
            edit_vectors("cut/checkpoint-4", NAMES[i], how);
            expect_skipped(&whole, &t, "is missing or has another size");
        }
    }
    trial_close(&whole);
}

/* Where a value of state.json is: up to three keys or indices. */
struct field {
    const char *name;
    const char *key[4]; /* "0" and so on: an index */
    double change;      /* what is added to it */
    bool counts;        /* changing it changes the run */
};
static const struct field FIELDS[] = {
    {"step", {"step"}, -1, true},
    {"main epoch", {"streams", "0", "epoch"}, 1, true},
    {"main position", {"streams", "0", "position"}, -4, true},
    {"general epoch", {"streams", "1", "epoch"}, 1, true},
    {"general position", {"streams", "1", "position"}, -2, true},
    {"turn", {"methods", "0", "state", "turn"}, 1, true},
    {"weight", {"methods", "0", "state", "weight"}, 0.1, true},
    {"general's turn", {"methods", "0", "state", "general"}, 1, true},
    {"tokens", {"tokens"}, 1, false}, /* of the report alone */
    {"first loss", {"first_loss"}, 1, false},
};

static json_t *field_owner(json_t *o, const struct field *f, const char **last) {
    int i = 0;
    for (; i < 3 && f->key[i + 1] != NULL; i++) {
        bool index = f->key[i][0] >= '0' && f->key[i][0] <= '9';
        o = index ? json_array_get(o, (size_t)(f->key[i][0] - '0')) : json_object_get(o, f->key[i]);
    }
    *last = f->key[i];
    assert_non_null(json_object_get(o, *last));
    return o;
}

static void change_field(const struct field *f) {
    json_t *o = load_state("cut/checkpoint-4");
    const char *last;
    json_t *owner = field_owner(o, f, &last), *v = json_object_get(owner, last);
    json_t *now = NULL;
    if (json_is_boolean(v))
        now = json_boolean(!json_is_true(v));
    else if (json_is_integer(v))
        now = json_integer(json_integer_value(v) + (json_int_t)f->change);
    else
        now = json_real(json_number_value(v) + f->change);
    assert_true(!json_is_integer(now) || json_integer_value(now) >= 0);
    json_object_set_new(owner, last, now);
    save_state("cut/checkpoint-4", o);
}

static void test_fields_count(void **state) {
    (void)state;
    struct trial whole = trial_of(NULL, true), t;
    assert_ok(train(&whole), &whole.err);
    for (int64_t i = 0; i < COUNT(FIELDS); i++) {
        const struct field *f = &FIELDS[i];
        prepare_cut(&t);
        change_field(f);
        assert_ok(train(&t), &t.err);
        assert_true(t.result.resumed);
        bool differs = !same(&whole, &t) || t.result.tokens != whole.result.tokens ||
                       t.result.first_loss != whole.result.first_loss;
        if (!differs || same(&whole, &t) != !f->counts)
            fail_msg("a resume with another '%s' does not differ as it should", f->name);
        trial_close(&t);

        prepare_cut(&t);
        json_t *o = load_state("cut/checkpoint-4");
        const char *last;
        json_t *owner = field_owner(o, f, &last);
        json_object_del(owner, last);
        save_state("cut/checkpoint-4", o);
        expect_skipped(&whole, &t, "skipping a damaged checkpoint");
    }
    trial_close(&whole);
}

static void test_other_method(void **state) {
    (void)state;
    struct trial whole = trial_of(NULL, true), t;
    assert_ok(train(&whole), &whole.err);
    prepare_cut(&t);
    json_t *o = load_state("cut/checkpoint-4");
    json_t *method = json_array_get(json_object_get(o, "methods"), 0);
    assert_int_equal(json_object_set_new(method, "name", json_string("runner")), 0);
    save_state("cut/checkpoint-4", o);
    expect_skipped(&whole, &t, "methods differ from this run's");
    trial_close(&whole);
}

static void test_steps_beyond_end(void **state) {
    (void)state;
    struct trial whole = trial_of(NULL, true), t;
    assert_ok(train(&whole), &whole.err);
    prepare_cut(&t);
    change_field(&(struct field){"step", {"step"}, 4, true});
    expect_skipped(&whole, &t, "found step 8, expected 0 to 7");
    trial_close(&whole);
}

/* --- damage --- */

static void flip_byte(const char *path, long at) {
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_END), 0);
    int c = fgetc(f);
    assert_int_equal(fseek(f, at, SEEK_END), 0);
    fputc(c ^ 1, f);
    fclose(f);
}

/* The newest does not count any more, so the run goes on from the one before, to the same end. */
static void expect_older(const struct trial *whole, struct trial *t, const char *why) {
    assert_ok(train(t), &t->err);
    if (strstr(t->warning, why) == NULL)
        fail_msg("found the warning \"%s\", expected \"...%s...\"", t->warning, why);
    assert_true(t->result.resumed);
    assert_int_equal(t->w.began, 0);
    assert_true(same(whole, t));
    trial_close(t);
}

static void assert_whole(const char *dir) {
    struct hold_error err = {0};
    struct hold_str path = HOLD_STR_INIT;
    char hash[HOLD_HASH_HEX];
    json_t *o = load_state(dir);
    hold_path_join(&path, dir, "state.safetensors");
    assert_ok(hold_hash_file(hold_str_text(&path), hash, &err), &err);
    assert_string_equal(json_string_value(json_object_get(o, "sha256")), hash);
    hold_str_release(&path);
    json_decref(o);
}

static void test_damaged(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct trial whole = trial_of(NULL, true), t = trial_of("a", true);
    assert_ok(train(&whole), &whole.err);
    train_and_die(&t, 5);
    flip_byte("a/checkpoint-4/state.safetensors", -9);
    expect_older(&whole, &t, "does not have the hash");
    assert_whole("a/checkpoint-4"); /* written again, in the damaged one's place */
    assert_whole("a/checkpoint-6");
    assert_false(hold_exists("a/checkpoint-2"));

    t = trial_of("b", true);
    train_and_die(&t, 5);
    assert_int_equal(truncate("b/checkpoint-4/state.json", 40), 0);
    expect_older(&whole, &t, "skipping a damaged checkpoint");

    t = trial_of("c", true);
    train_and_die(&t, 5);
    assert_int_equal(unlink("c/checkpoint-4/state.safetensors"), 0);
    expect_older(&whole, &t, "skipping a damaged checkpoint");

    t = trial_of("d", true); /* killed while it saved: what is there is not a checkpoint */
    train_and_die(&t, 5);
    assert_ok(hold_mkdirs("d/saving-1", &err), &err);
    assert_ok(hold_copy_file("d/checkpoint-4/state.json", "d/saving-1/state.json", &err), &err);
    assert_ok(train(&t), &t.err);
    assert_true(t.result.resumed);
    assert_true(same(&whole, &t));
    trial_close(&t);
    trial_close(&whole);
}

static void test_other_spec(void **state) {
    (void)state;
    struct trial t = trial_of("cut", true);
    train_and_die(&t, 5);
    t.spec = "another";
    assert_refused(train(&t), HOLD_EBUSY, &t.err, "belongs to another run");
    trial_close(&t);
    assert_true(hold_is_dir("cut/checkpoint-4")); /* and nothing is lost */
}

/* --- a run that diverges --- */

static void test_diverged(void **state) {
    (void)state;
    struct trial t = trial_of("bad", false);
    t.save_steps = 1;
    t.learning_rate = 1e30;
    assert_refused(train(&t), HOLD_EDIVERGED, &t.err, "; rows ");
    trial_close(&t);
    /* Warm-up starts at rate 0: step 1 is the first that moves theta, step 2 the first to see it.
     */
    assert_non_null(strstr(t.err.text, "step 2: the loss is "));
    assert_non_null(strstr(t.err.text, "the last checkpoint is kept"));
    assert_true(hold_is_dir("bad/checkpoint-2"));
    assert_false(hold_exists("bad/checkpoint-3"));
    json_t *o = load_state("bad/checkpoint-2");
    assert_int_equal(json_integer_value(json_object_get(o, "step")), 2);
    json_decref(o);
    char *text = metrics_of("bad");
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    free(text);
}

/* The loss is fine, its gradient is not: theta never sees it. */
static void test_diverged_gradient(void **state) {
    (void)state;
    struct trial t = trial_of("bad", false);
    t.w.spoil_at = 3;
    assert_refused(train(&t), HOLD_EDIVERGED, &t.err, "step 3: the gradient norm is ");
    for (int64_t i = 0, n = flat_size("lora"); i < n; i++)
        assert_true(isfinite(t.w.theta[i]));
    trial_close(&t);
    assert_true(hold_is_dir("bad/checkpoint-2"));
}

/* The step that ruins theta is evaluated before the next one trains.  A NaN that the processor made
 * of two infinities has a sign; it says nothing. */
static void test_diverged_evaluation(void **state) {
    (void)state;
    struct trial t = trial_of(NULL, false);
    t.learning_rate = 1e30;
    t.evaluates = true;
    assert_refused(train(&t), HOLD_EDIVERGED, &t.err,
                   "step 2: eval_loss is nan; the last checkpoint is kept");
    trial_close(&t);
}

/* --- the same again --- */

static void test_same_seed(void **state) {
    (void)state;
    struct trial a = trial_of(NULL, true), b = trial_of(NULL, true), c = trial_of(NULL, true);
    c.seed = 43;
    assert_ok(train(&a), &a.err);
    assert_ok(train(&b), &b.err);
    assert_ok(train(&c), &c.err);
    assert_true(same(&a, &b));
    assert_false(same(&a, &c));
    trial_close(&a);
    trial_close(&b);
    trial_close(&c);
}

static void test_threads(void **state) {
    (void)state;
    struct trial a = trial_of(NULL, true), b = trial_of(NULL, true);
    b.threads = 2;
    assert_ok(train(&a), &a.err);
    assert_ok(train(&b), &b.err);
    double off = relative_error(b.w.theta, a.w.theta, flat_size("lora"));
    print_message("two threads: theta is off by %.1e\n", off);
    assert_true(off < 1e-4);
    trial_close(&a);
    trial_close(&b);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter, leave)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_killed_plain),
        IN_FOLDER(test_killed_walker),
        IN_FOLDER(test_killed_full_sgd),
        IN_FOLDER(test_killed_dropout),
        IN_FOLDER(test_killed_bf16),
        IN_FOLDER(test_stopped),
        IN_FOLDER(test_stopped_looking),
        IN_FOLDER(test_vectors_count),
        IN_FOLDER(test_fields_count),
        IN_FOLDER(test_other_method),
        IN_FOLDER(test_steps_beyond_end),
        IN_FOLDER(test_damaged),
        IN_FOLDER(test_other_spec),
        IN_FOLDER(test_diverged),
        IN_FOLDER(test_diverged_gradient),
        IN_FOLDER(test_diverged_evaluation),
        IN_FOLDER(test_same_seed),
        IN_FOLDER(test_threads), /* last: from here on there are threads, which fork loses */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
