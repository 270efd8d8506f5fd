/* test_lab_store.c: one store and several processes: finding, leases, takeover, failures, cleaning.
 */
#include "test_lab_common.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lab/store.h"

static struct hold_ctx quiet = {.threads = 1};

static struct hold_store *open_store(void) {
    struct hold_error err = {0};
    struct hold_store *s = NULL;
    assert_ok(hold_store_open(&s, "store", &quiet, &err));
    return s;
}

static json_t *spec_named(const char *word) {
    return json_pack("{s:s, s:s}", "kind", "test", "word", word);
}

static void id_of(const char *word, char id[HOLD_HASH_HEX]) {
    struct hold_error err = {0};
    json_t *spec = spec_named(word);
    assert_ok(hold_spec_id(spec, id, &err));
    json_decref(spec);
}

/* The file "text" of the work's folder, then published. */
static int publish_text(struct hold_work *w, const char *word, const char *text, bool replace,
                        char content[HOLD_HASH_HEX], struct hold_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/text", hold_work_files(w));
    int rc = hold_file_write_atomic(path, text, strlen(text), err);
    json_t *spec = spec_named(word);
    json_t *manifest = json_pack("{s:s, s:s, s:o}", "kind", "test", "name", word, "spec", spec);
    if (rc == HOLD_OK)
        rc = hold_work_publish(w, manifest, replace, content, err);
    else
        hold_work_drop(w, rc, err->text);
    json_decref(manifest);
    return rc;
}

static void make_text(struct hold_store *s, const char *word, const char *text,
                      char content[HOLD_HASH_HEX]) {
    struct hold_error err = {0};
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX];
    bool found = false;
    id_of(word, id);
    assert_ok(hold_store_work(s, id, 0, &w, content, &found, &err));
    assert_false(found);
    assert_ok(publish_text(w, word, text, false, content, &err));
}

static bool is_there(struct hold_store *s, const char *word, char content[HOLD_HASH_HEX]) {
    struct hold_error err = {0};
    char id[HOLD_HASH_HEX];
    bool found = false;
    id_of(word, id);
    assert_ok(hold_store_find(s, id, content, &found, &err));
    return found;
}

/* --- ids --- */

static void key_order_and_number_form_do_not_change_an_id(void **state) {
    (void)state;
    struct hold_error err = {0};
    char a[HOLD_HASH_HEX], b[HOLD_HASH_HEX], c[HOLD_HASH_HEX];
    json_t *x =
        json_pack("{s:s, s:f, s:{s:i, s:i}}", "kind", "train", "rate", 0.1, "o", "a", 1, "b", 2);
    json_t *y =
        json_pack("{s:{s:i, s:i}, s:f, s:s}", "o", "b", 2, "a", 1, "rate", 0.1, "kind", "train");
    json_t *z =
        json_pack("{s:{s:i, s:i}, s:f, s:s}", "o", "b", 2, "a", 1, "rate", 0.2, "kind", "train");
    assert_ok(hold_spec_id(x, a, &err));
    assert_ok(hold_spec_id(y, b, &err));
    assert_ok(hold_spec_id(z, c, &err));
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    json_decref(x);
    json_decref(y);
    json_decref(z);
}

static void content_is_of_the_files_and_not_of_times(void **state) {
    (void)state;
    char a[HOLD_HASH_HEX], b[HOLD_HASH_HEX], c[HOLD_HASH_HEX];
    struct hold_store *s = open_store();
    make_text(s, "one", "same bytes", a);
    make_text(s, "two", "same bytes", b);
    make_text(s, "three", "other bytes", c);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    assert_true(is_there(s, "two", c));
    assert_string_equal(a, c);
    hold_store_close(s);
}

static void each_spec_keeps_its_own_manifest(void **state) {
    (void)state;
    struct hold_error err = {0};
    char content[HOLD_HASH_HEX], id[HOLD_HASH_HEX];
    json_t *m = NULL;
    struct hold_store *s = open_store();
    make_text(s, "one", "same bytes", content);
    make_text(s, "two", "same bytes", content);
    id_of("two", id);
    assert_ok(hold_store_spec_manifest(s, id, &m, &err));
    assert_string_equal(json_string_value(json_object_get(m, "name")), "two");
    assert_string_equal(json_string_value(json_object_get(m, "content")), content);
    assert_string_equal(json_string_value(json_object_get(m, "id")), id);
    json_decref(m);
    hold_store_close(s);
}

static void a_prefix_names_one_stage(void **state) {
    (void)state;
    struct hold_error err = {0};
    char content[HOLD_HASH_HEX], id[HOLD_HASH_HEX], found[HOLD_HASH_HEX], prefix[9];
    struct hold_store *s = open_store();
    make_text(s, "one", "text", content);
    id_of("one", id);
    snprintf(prefix, sizeof prefix, "%.8s", id);
    assert_ok(hold_store_look_up(s, prefix, found, &err));
    assert_string_equal(found, content);
    snprintf(prefix, sizeof prefix, "%.8s", content);
    assert_ok(hold_store_look_up(s, prefix, found, &err));
    assert_string_equal(found, content);
    assert_int_equal(hold_store_look_up(s, "000000", found, &err), HOLD_ENOTFOUND);
    assert_int_equal(hold_store_look_up(s, "demo", found, &err), HOLD_ENOTFOUND);
    hold_store_close(s);
}

/* --- several processes --- */

/* In a child: what it returns is its exit status. */
static pid_t in_child(int (*run)(void)) {
    fflush(stdout);
    fflush(stderr);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(run());
    return pid;
}

static int status_of(pid_t pid) {
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void wait_for(const char *path) {
    for (int i = 0; i < 2000 && !hold_exists(path); i++)
        usleep(5000);
    assert_true(hold_exists(path));
}

static int make_slowly(void) {
    struct hold_error err = {0};
    struct hold_store *s = NULL;
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX];
    bool found = false;
    json_t *spec = spec_named("shared");
    if (hold_store_open(&s, "store", &quiet, &err) < 0 || hold_spec_id(spec, id, &err) < 0 ||
        hold_store_work(s, id, 0, &w, content, &found, &err) < 0 || found)
        return 1;
    if (hold_file_write_atomic("working", "", 0, &err) < 0)
        return 2;
    usleep(300000);
    return publish_text(w, "shared", "by the child", false, content, &err) == HOLD_OK ? 0 : 3;
}

static void one_process_makes_the_other_waits_and_finds(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX], mine[HOLD_HASH_HEX];
    bool found = false;
    pid_t child = in_child(make_slowly);
    wait_for("working");
    struct hold_store *s = open_store();
    id_of("shared", id);
    assert_ok(hold_store_work(s, id, 0, &w, content, &found, &err));
    assert_true(found);
    assert_null(w);
    assert_int_equal(status_of(child), 0);
    assert_true(is_there(s, "shared", mine));
    assert_string_equal(mine, content);
    hold_store_close(s);
}

static volatile sig_atomic_t stop_now = 1;

static void waiting_ends_when_it_is_stopped(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX];
    bool found = false;
    pid_t child = in_child(make_slowly);
    wait_for("working");
    struct hold_ctx ctx = {.threads = 1, .stop = &stop_now};
    struct hold_store *s = NULL;
    assert_ok(hold_store_open(&s, "store", &ctx, &err));
    id_of("shared", id);
    assert_int_equal(hold_store_work(s, id, 0, &w, content, &found, &err), HOLD_EINTERRUPTED);
    hold_store_close(s);
    assert_int_equal(status_of(child), 0);
}

/* Takes the lease, leaves a whole checkpoint, a half one and a log, and is killed. */
static int die_at_work(void) {
    struct hold_error err = {0};
    struct hold_store *s = NULL;
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX], path[4096];
    bool found = false;
    json_t *spec = spec_named("shared");
    if (hold_store_open(&s, "store", &quiet, &err) < 0 || hold_spec_id(spec, id, &err) < 0 ||
        hold_store_work(s, id, 0, &w, content, &found, &err) < 0)
        return 1;
    static const char *const FILES[] = {"checkpoint-5", "saving-1"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", hold_work_checkpoints(w), FILES[i]);
        if (hold_mkdirs(path, &err) < 0)
            return 2;
    }
    snprintf(path, sizeof path, "%s/checkpoint-5/state", hold_work_checkpoints(w));
    if (hold_file_write_atomic(path, "step 5", 6, &err) < 0)
        return 3;
    snprintf(path, sizeof path, "%s/metrics.jsonl", hold_work_checkpoints(w));
    if (hold_file_write_atomic(path, "{}\n", 3, &err) < 0)
        return 4;
    if (hold_file_write_atomic("working", "", 0, &err) < 0)
        return 5;
    pause();
    return 6;
}

static void a_killed_owner_is_taken_over_from_its_checkpoint(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX], path[4096];
    bool found = false;
    pid_t child = in_child(die_at_work);
    wait_for("working");
    kill(child, SIGKILL);
    assert_int_equal(status_of(child), 1000 + SIGKILL);
    struct hold_store *s = open_store();
    id_of("shared", id);
    double begun = hold_clock_now();
    assert_ok(hold_store_work(s, id, 0, &w, content, &found, &err));
    assert_false(found);
    /* Its process is gone: nobody waits for the lease's time. */
    assert_true(hold_clock_now() - begun < 10.0);
    snprintf(path, sizeof path, "%s/checkpoint-5/state", hold_work_checkpoints(w));
    assert_true(hold_exists(path));
    snprintf(path, sizeof path, "%s/metrics.jsonl", hold_work_checkpoints(w));
    assert_true(hold_exists(path));
    snprintf(path, sizeof path, "%s/saving-1", hold_work_checkpoints(w));
    assert_false(hold_exists(path));
    assert_ok(publish_text(w, "shared", "by the taker", false, content, &err));
    snprintf(path, sizeof path, "store/work/%s", id);
    assert_false(hold_exists(path));
    hold_store_close(s);
}

/* Stops itself in the middle; when it goes on it must not publish. */
static int sleep_at_work(void) {
    struct hold_error err = {0};
    struct hold_store *s = NULL;
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX];
    bool found = false;
    json_t *spec = spec_named("shared");
    if (hold_store_open(&s, "store", &quiet, &err) < 0 || hold_spec_id(spec, id, &err) < 0)
        return 1;
    hold_store_set_lease(s, 0.6);
    if (hold_store_work(s, id, 0, &w, content, &found, &err) < 0 || found)
        return 2;
    raise(SIGSTOP);
    int rc = publish_text(w, "shared", "by the sleeper", false, content, &err);
    return rc == HOLD_EBUSY ? 0 : rc == HOLD_OK ? 3 : 4;
}

static void a_stopped_owner_that_lost_its_lease_cannot_publish(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX], now[HOLD_HASH_HEX];
    bool found = false;
    int status = 0;
    pid_t child = in_child(sleep_at_work);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    struct hold_store *s = open_store();
    hold_store_set_lease(s, 0.6);
    id_of("shared", id);
    assert_ok(hold_store_work(s, id, 0, &w, content, &found, &err));
    assert_false(found);
    /* It wakes before the taker has published, and finds the lease another's. */
    kill(child, SIGCONT);
    assert_int_equal(status_of(child), 0);
    assert_false(is_there(s, "shared", now));
    assert_ok(publish_text(w, "shared", "by the taker", false, content, &err));
    assert_true(is_there(s, "shared", now));
    assert_string_equal(now, content);
    hold_store_close(s);
}

static int own_quietly(void) {
    struct hold_error err = {0};
    struct hold_store *s = NULL;
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX];
    bool found = false;
    json_t *spec = spec_named("shared");
    if (hold_store_open(&s, "store", &quiet, &err) < 0 || hold_spec_id(spec, id, &err) < 0)
        return 1;
    hold_store_set_lease(s, 1.5);
    if (hold_store_work(s, id, 0, &w, content, &found, &err) < 0 || found)
        return 2;
    if (hold_file_write_atomic("working", "", 0, &err) < 0)
        return 3;
    usleep(4500000); /* three leases: only the heartbeat keeps it */
    return publish_text(w, "shared", "by the owner", false, content, &err) == HOLD_OK ? 0 : 4;
}

static void a_heartbeat_keeps_a_long_lease(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX];
    bool found = false;
    pid_t child = in_child(own_quietly);
    wait_for("working");
    struct hold_store *s = open_store();
    hold_store_set_lease(s, 1.5);
    id_of("shared", id);
    assert_ok(hold_store_work(s, id, 0, &w, content, &found, &err));
    assert_true(found);
    assert_int_equal(status_of(child), 0);
    hold_store_close(s);
}

/* --- failures --- */

static int fail_with(struct hold_store *s, const char *word, int code, unsigned flags,
                     struct hold_error *err) {
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX];
    bool found = false;
    id_of(word, id);
    int rc = hold_store_work(s, id, flags, &w, content, &found, err);
    if (rc == HOLD_OK)
        hold_work_drop(w, code, "rows.jsonl:3: it is bad");
    return rc;
}

static void a_deterministic_failure_is_remembered_until_asked(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_store *s = open_store();
    assert_ok(fail_with(s, "bad", HOLD_EDIVERGED, 0, &err));
    assert_int_equal(fail_with(s, "bad", HOLD_EDATA, 0, &err), HOLD_EDIVERGED);
    assert_non_null(strstr(err.text, "rows.jsonl:3: it is bad"));
    assert_non_null(strstr(err.text, "--retry-failed"));
    assert_ok(fail_with(s, "bad", HOLD_EIO, HOLD_WORK_RETRY, &err));
    /* An accident is not remembered. */
    assert_ok(fail_with(s, "bad", HOLD_ENOMEMORY, 0, &err));
    assert_ok(fail_with(s, "bad", HOLD_EINTERRUPTED, 0, &err));
    hold_store_close(s);
}

static void an_interrupted_owner_leaves_its_checkpoints(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX], path[4096];
    bool found = false;
    struct hold_store *s = open_store();
    id_of("later", id);
    assert_ok(hold_store_work(s, id, 0, &w, content, &found, &err));
    snprintf(path, sizeof path, "%s/checkpoint-7", hold_work_checkpoints(w));
    assert_ok(hold_mkdirs(path, &err));
    hold_work_drop(w, HOLD_EINTERRUPTED, "stopped");
    assert_ok(hold_store_work(s, id, 0, &w, content, &found, &err));
    snprintf(path, sizeof path, "%s/checkpoint-7", hold_work_checkpoints(w));
    assert_true(hold_is_dir(path));
    hold_work_drop(w, HOLD_EINTERRUPTED, "stopped");
    hold_store_close(s);
}

static void force_replaces_the_pointer_alone(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], old[HOLD_HASH_HEX], content[HOLD_HASH_HEX];
    bool found = false;
    struct hold_store *s = open_store();
    make_text(s, "one", "first", old);
    id_of("one", id);
    assert_ok(hold_store_work(s, id, HOLD_WORK_REMAKE, &w, content, &found, &err));
    assert_false(found);
    assert_ok(publish_text(w, "one", "second", true, content, &err));
    assert_string_not_equal(content, old);
    assert_true(is_there(s, "one", content));
    assert_string_not_equal(content, old);
    struct hold_str path = HOLD_STR_INIT;
    hold_store_artifact(s, old, &path);
    assert_true(hold_is_dir(hold_str_text(&path)));
    hold_str_release(&path);
    hold_store_close(s);
}

/* --- damage --- */

static void a_damaged_artifact_is_not_found_and_is_made_again(void **state) {
    (void)state;
    struct hold_error err = {0};
    char content[HOLD_HASH_HEX], again[HOLD_HASH_HEX], path[4096];
    struct hold_store *s = open_store();
    make_text(s, "one", "good", content);
    hold_store_close(s);
    snprintf(path, sizeof path, "store/artifact/%s/text", content);
    put_file(path, "evil");
    s = open_store();
    assert_false(is_there(s, "one", again));
    int64_t n = 0, bad = 0;
    assert_ok(hold_store_verify(s, &n, &bad, &err));
    assert_int_equal(n, 1);
    assert_int_equal(bad, 1);
    make_text(s, "one", "good", again);
    assert_string_equal(again, content);
    assert_true(is_there(s, "one", again));
    assert_ok(hold_store_verify(s, &n, &bad, &err));
    assert_int_equal(bad, 0);
    hold_store_close(s);
}

static void a_damaged_pointer_is_passed_over(void **state) {
    (void)state;
    char content[HOLD_HASH_HEX], id[HOLD_HASH_HEX], path[4096];
    struct hold_store *s = open_store();
    make_text(s, "one", "good", content);
    id_of("one", id);
    snprintf(path, sizeof path, "store/spec/%s.json", id);
    static const char *const BAD[] = {"{", "{}", "[]", "{\"content\":\"../../etc\"}", ""};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        put_file(path, BAD[i]);
        assert_false(is_there(s, "one", content));
    }
    hold_store_close(s);
}

/* What names a file must be an id, and a file of the store is small. */
static void hostile_names_and_sizes_are_refused(void **state) {
    (void)state;
    struct hold_error err = {0};
    char content[HOLD_HASH_HEX], id[HOLD_HASH_HEX], path[4096];
    json_t *o = NULL;
    struct hold_store *s = open_store();
    make_text(s, "one", "good", content);
    id_of("one", id);
    put_file("outside.json", "{}");
    assert_int_equal(mkdir("outside", 0777), 0);
    put_file("outside/manifest.json", "{}");
    assert_int_equal(hold_store_spec_manifest(s, "../../outside", &o, &err), HOLD_EFORMAT);
    assert_string_equal(err.text, "store/spec: '../../outside' is no id (64 digits of 0-9 a-f)");
    assert_int_equal(hold_store_manifest(s, "../../outside", &o, &err), HOLD_EFORMAT);
    assert_string_equal(err.text,
                        "store/artifact: '../../outside' is no id (64 digits of 0-9 a-f)");
    snprintf(path, sizeof path, "store/artifact/%s/manifest.json", content);
    put_file(path, "[]");
    assert_int_equal(hold_store_manifest(s, content, &o, &err), HOLD_EFORMAT);
    assert_non_null(strstr(err.text, "manifest.json: not an object"));
    assert_int_equal(truncate(path, 1 << 30), 0);
    assert_int_equal(hold_store_manifest(s, content, &o, &err), HOLD_EDATA);
    assert_non_null(
        strstr(err.text, "manifest.json: found 1073741824 bytes, expected at most 67108864"));
    snprintf(path, sizeof path, "store/spec/%s.json", id);
    assert_int_equal(truncate(path, 1 << 30), 0);
    assert_int_equal(hold_store_spec_manifest(s, id, &o, &err), HOLD_EDATA);
    assert_non_null(strstr(err.text, ".json: found 1073741824 bytes, expected at most 67108864"));
    assert_false(is_there(s, "one", content));
    hold_store_close(s);
}

static int publish_on_a_full_disk(void) {
    struct hold_error err = {0};
    struct hold_store *s = NULL;
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX], path[4096];
    bool found = false;
    char text[8192];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    json_t *spec = spec_named("big");
    if (hold_store_open(&s, "store", &quiet, &err) < 0 || hold_spec_id(spec, id, &err) < 0 ||
        hold_store_work(s, id, 0, &w, content, &found, &err) < 0)
        return 1;
    snprintf(path, sizeof path, "%s/checkpoint-1", hold_work_checkpoints(w));
    if (hold_mkdirs(path, &err) < 0)
        return 2;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit small = {4096, 4096};
    if (setrlimit(RLIMIT_FSIZE, &small) != 0)
        return 3;
    return publish_text(w, "big", text, false, content, &err) == HOLD_ENOSPACE ? 0 : 4;
}

static void a_full_disk_leaves_no_artifact_and_the_checkpoints(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX], path[4096];
    bool found = false;
    char **names = NULL;
    size_t n = 9;
    assert_int_equal(status_of(in_child(publish_on_a_full_disk)), 0);
    assert_ok(hold_dir_list("store/artifact", &names, &n, &err));
    hold_names_free(names, n);
    assert_int_equal(n, 0);
    struct hold_store *s = open_store();
    assert_false(is_there(s, "big", content));
    id_of("big", id);
    assert_ok(hold_store_work(s, id, 0, &w, content, &found, &err));
    snprintf(path, sizeof path, "%s/checkpoint-1", hold_work_checkpoints(w));
    assert_true(hold_is_dir(path));
    assert_ok(publish_text(w, "big", "room again", false, content, &err));
    hold_store_close(s);
}

/* As a user who owns nothing here. */
static int read_only_child(void) {
    struct hold_error err = {0};
    struct hold_store *s = NULL;
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX];
    bool found = false;
    json_t *spec = spec_named("one"), *other = spec_named("two");
    if (geteuid() == 0 && setuid(65534) != 0)
        return 1;
    if (hold_store_open(&s, "store", &quiet, &err) < 0 || hold_spec_id(spec, id, &err) < 0 ||
        hold_store_find(s, id, content, &found, &err) < 0 || !found)
        return 2;
    if (hold_spec_id(other, id, &err) < 0)
        return 3;
    int rc = hold_store_work(s, id, 0, &w, content, &found, &err);
    if (rc != HOLD_EIO || strstr(err.text, "the store cannot be written") == NULL)
        return 4;
    int64_t bytes, n;
    json_t *list = NULL;
    if (hold_store_list(s, &list, &err) < 0 || json_array_size(list) != 1)
        return 5;
    return hold_store_gc(s, 0, false, &bytes, &n, &err) == HOLD_EIO ? 0 : 6;
}

static void a_read_only_store_is_read(void **state) {
    (void)state;
    char content[HOLD_HASH_HEX];
    struct hold_store *s = open_store();
    make_text(s, "one", "good", content);
    hold_store_close(s);
    static const char *const FOLDERS[] = {"spec", "artifact", "failed", "work",
                                          "pin",  "run",      "lock",   "."};
    char path[64];
    for (size_t i = 0; i < sizeof FOLDERS / sizeof *FOLDERS; i++) {
        snprintf(path, sizeof path, "store/%s", FOLDERS[i]);
        assert_int_equal(chmod(path, 0555), 0);
    }
    assert_int_equal(chmod(".", 0755), 0);
    int status = status_of(in_child(read_only_child));
    for (size_t i = sizeof FOLDERS / sizeof *FOLDERS; i > 0; i--) {
        snprintf(path, sizeof path, "store/%s", FOLDERS[i - 1]);
        assert_int_equal(chmod(path, 0755), 0);
    }
    assert_int_equal(status, 0);
}

/* --- housekeeping --- */

/* "leaf" names the content of "root" as an input. */
static void make_pair(struct hold_store *s, char root[HOLD_HASH_HEX], char leaf_id[HOLD_HASH_HEX]) {
    struct hold_error err = {0};
    struct hold_work *w = NULL;
    char content[HOLD_HASH_HEX], path[4096];
    bool found = false;
    make_text(s, "root", "root bytes", root);
    json_t *spec = json_pack("{s:s, s:{s:s}}", "kind", "test", "inputs", "model", root);
    assert_ok(hold_spec_id(spec, leaf_id, &err));
    assert_ok(hold_store_work(s, leaf_id, 0, &w, content, &found, &err));
    snprintf(path, sizeof path, "%s/text", hold_work_files(w));
    put_file(path, "leaf bytes");
    json_t *manifest = json_pack("{s:s, s:s, s:o}", "kind", "test", "name", "leaf", "spec", spec);
    assert_ok(hold_work_publish(w, manifest, false, content, &err));
    json_decref(manifest);
}

static int64_t collect(struct hold_store *s, double days, bool dry) {
    struct hold_error err = {0};
    int64_t bytes = 0, n = 0;
    assert_ok(hold_store_gc(s, days, dry, &bytes, &n, &err));
    assert_true((n > 0) == (bytes > 0));
    return n;
}

static void a_pin_keeps_a_stage_and_its_inputs(void **state) {
    (void)state;
    struct hold_error err = {0};
    char root[HOLD_HASH_HEX], leaf[HOLD_HASH_HEX], content[HOLD_HASH_HEX];
    struct hold_store *s = open_store();
    make_pair(s, root, leaf);
    make_text(s, "loose", "nobody needs me", content);
    /* What is fresh may be another process's. */
    assert_int_equal(collect(s, 30, false), 0);
    assert_int_equal(collect(s, 0, true), 3);
    leaf[10] = '\0';
    assert_ok(hold_store_pin(s, leaf, true, &err));
    assert_int_equal(collect(s, 0, false), 1);
    assert_true(is_there(s, "root", content));
    assert_false(is_there(s, "loose", content));
    json_t *list = NULL;
    assert_ok(hold_store_list(s, &list, &err));
    assert_int_equal(json_array_size(list), 2);
    json_decref(list);
    assert_ok(hold_store_pin(s, leaf, false, &err));
    assert_int_equal(collect(s, 0, false), 2);
    hold_store_close(s);
}

static void a_runs_folder_keeps_its_stages_while_it_is_there(void **state) {
    (void)state;
    struct hold_error err = {0};
    char root[HOLD_HASH_HEX], ids[1][HOLD_HASH_HEX], dir[4200], here[4096];
    struct hold_store *s = open_store();
    make_pair(s, root, ids[0]);
    assert_non_null(getcwd(here, sizeof here));
    snprintf(dir, sizeof dir, "%s/run", here);
    assert_ok(hold_mkdirs(dir, &err));
    assert_ok(hold_store_note_run(s, dir, (const char(*)[HOLD_HASH_HEX])ids, 1, &err));
    assert_int_equal(collect(s, 0.5, false), 0);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(collect(s, 0, false), 2);
    hold_store_close(s);
}

static void gc_takes_abandoned_work_and_leaves_live_work(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_work *w = NULL;
    char id[HOLD_HASH_HEX], content[HOLD_HASH_HEX], path[4096];
    bool found = false;
    pid_t child = in_child(die_at_work);
    wait_for("working");
    struct hold_store *s = open_store();
    id_of("shared", id);
    snprintf(path, sizeof path, "store/work/%s", id);
    collect(s, 0, false);
    assert_true(hold_is_dir(path));
    kill(child, SIGKILL);
    assert_int_equal(status_of(child), 1000 + SIGKILL);
    collect(s, 0, false);
    assert_false(hold_exists(path));
    assert_ok(hold_store_work(s, id, 0, &w, content, &found, &err));
    hold_work_drop(w, HOLD_EIO, "");
    hold_store_close(s);
}

static void a_store_needs_a_folder(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_store *s = NULL;
    put_file("plain", "x");
    assert_int_equal(hold_store_open(&s, "plain", &quiet, &err), HOLD_EUSAGE);
    assert_null(s);
}

#define in_folder(f) cmocka_unit_test_setup_teardown(f, enter_folder, leave_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_order_and_number_form_do_not_change_an_id),
        in_folder(content_is_of_the_files_and_not_of_times),
        in_folder(each_spec_keeps_its_own_manifest),
        in_folder(a_prefix_names_one_stage),
        in_folder(one_process_makes_the_other_waits_and_finds),
        in_folder(waiting_ends_when_it_is_stopped),
        in_folder(a_killed_owner_is_taken_over_from_its_checkpoint),
        in_folder(a_stopped_owner_that_lost_its_lease_cannot_publish),
        in_folder(a_heartbeat_keeps_a_long_lease),
        in_folder(a_deterministic_failure_is_remembered_until_asked),
        in_folder(an_interrupted_owner_leaves_its_checkpoints),
        in_folder(force_replaces_the_pointer_alone),
        in_folder(a_damaged_artifact_is_not_found_and_is_made_again),
        in_folder(a_damaged_pointer_is_passed_over),
        in_folder(hostile_names_and_sizes_are_refused),
        in_folder(a_full_disk_leaves_no_artifact_and_the_checkpoints),
        in_folder(a_read_only_store_is_read),
        in_folder(a_pin_keeps_a_stage_and_its_inputs),
        in_folder(a_runs_folder_keeps_its_stages_while_it_is_there),
        in_folder(gc_takes_abandoned_work_and_leaves_live_work),
        in_folder(a_store_needs_a_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
