/* test_train_durable.c: what a loss of power may leave.  The program's own fsync, rename and
 * renameat2 stand before libc's and note what the disk surely has: nothing gets its final name
 * before it is there, and an fsync that failed is final. */
#include "test_train_common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SEEN_MAX = 4096, STEPS = 4 };

/* A file or folder as it was when it was last synced. */
struct synced {
    ino_t inode;
    off_t size;
    struct timespec written;
    bool failed; /* its last fsync failed: no second one may be asked for */
};
static struct {
    struct synced seen[SEEN_MAX];
    int n;
    ino_t pending[SEEN_MAX]; /* folders that hold a new name since they were synced */
    int n_pending;
    int64_t calls, fail_at; /* of fsync */
    char why[512];          /* the first broken rule */
} disk;

static void reset(int64_t fail_at) {
    memset(&disk, 0, sizeof disk);
    disk.fail_at = fail_at;
}

static void broken(const char *rule, const char *path) {
    if (disk.why[0] == '\0')
        snprintf(disk.why, sizeof disk.why, "%s: %s", path, rule);
}

static struct synced *find(ino_t inode) {
    for (int i = 0; i < disk.n; i++)
        if (disk.seen[i].inode == inode)
            return &disk.seen[i];
    return NULL;
}

static void demand_synced(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        return;
    const struct synced *s = find(st.st_ino);
    if (s == NULL || s->failed)
        broken("is not on the disk", path);
    else if (s->written.tv_sec != st.st_mtim.tv_sec || s->written.tv_nsec != st.st_mtim.tv_nsec ||
             (S_ISREG(st.st_mode) && s->size != st.st_size))
        broken("has changed since it was synced", path);
}

/* A folder and what is in it. */
static void demand_tree(const char *path) {
    struct hold_error err = {0};
    char **names = NULL, below[600];
    size_t n = 0;
    demand_synced(path);
    if (!hold_is_dir(path))
        return;
    assert_ok(hold_dir_list(path, &names, &n, &err), &err);
    for (size_t i = 0; i < n; i++) {
        snprintf(below, sizeof below, "%s/%s", path, names[i]);
        demand_tree(below);
    }
    hold_names_free(names, n);
}

/* The checkpoint names as many bytes of the log as the disk has. */
static void demand_log(const char *checkpoint) {
    struct hold_error err = {0};
    char path[600];
    json_t *o = NULL;
    struct stat st;
    snprintf(path, sizeof path, "%s/state.json", checkpoint);
    if (hold_json_load(&o, path, &err) < 0)
        return;
    int64_t bytes = json_integer_value(json_object_get(o, "metrics_bytes"));
    json_decref(o);
    const struct synced *s = stat("run/metrics.jsonl", &st) == 0 ? find(st.st_ino) : NULL;
    if (bytes <= 0 || s == NULL || s->failed || s->size < bytes)
        broken("is saved, but the log that it goes on from is not", checkpoint);
}

static void before_rename(const char *from, const char *to) {
    demand_tree(from);
    if (strstr(to, "/checkpoint-") != NULL)
        demand_log(from);
}

/* The folder around a path holds a new name. */
static void pend(const char *path) {
    char folder[600];
    struct stat st;
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        *slash = '\0';
    if (stat(slash == NULL ? "." : folder, &st) != 0)
        return;
    assert_true(disk.n_pending < SEEN_MAX);
    disk.pending[disk.n_pending++] = st.st_ino;
}

static void settle(ino_t inode) {
    int kept = 0;
    for (int i = 0; i < disk.n_pending; i++)
        if (disk.pending[i] != inode)
            disk.pending[kept++] = disk.pending[i];
    disk.n_pending = kept;
}

/* --- in place of libc's --- */

int fsync(int fd) {
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    struct synced *s = find(st.st_ino);
    if (s == NULL) {
        assert_true(disk.n < SEEN_MAX);
        s = &disk.seen[disk.n++];
    } else if (s->failed && s->inode == st.st_ino && S_ISREG(st.st_mode) && st.st_nlink > 0) {
        broken("is synced again after that failed", "a file");
    }
    *s = (struct synced){.inode = st.st_ino, .size = st.st_size, .written = st.st_mtim};
    if (++disk.calls == disk.fail_at) {
        s->failed = true;
        errno = EIO;
        return -1;
    }
    settle(st.st_ino);
    return 0; /* the disk itself need not turn */
}

int rename(const char *from, const char *to) {
    before_rename(from, to);
    pend(to);
    return (int)syscall(SYS_rename, from, to);
}

int mkdir(const char *path, mode_t mode) {
    int rc = (int)syscall(SYS_mkdir, path, mode);
    if (rc == 0)
        pend(path);
    return rc;
}

/* An old checkpoint may go when the new one's name is on the disk. */
int unlinkat(int dir, const char *name, int flags) {
    if (strncmp(name, "checkpoint-", 11) == 0 && disk.n_pending > 0)
        broken("is removed before what replaces it is on the disk", name);
    return (int)syscall(SYS_unlinkat, dir, name, flags);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    before_rename(from, to);
    pend(to);
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

/* --- a run --- */

static char start_folder[4096];

static int enter(void **state) {
    (void)state;
    char name[] = "test_train_durable.XXXXXX";
    if (getcwd(start_folder, sizeof start_folder) == NULL || mkdtemp(name) == NULL ||
        chdir(name) != 0)
        return -1;
    return 0;
}

static int leave(void **state) {
    (void)state;
    struct hold_error err = {0};
    char here[4096];
    if (getcwd(here, sizeof here) == NULL || chdir(start_folder) != 0)
        return -1;
    return hold_remove_tree(here, &err);
}

struct outcome {
    float *theta;
    bool resumed;
    struct hold_error err;
};

static int train(struct outcome *out) {
    struct tiny tiny;
    struct hold_set rows;
    struct hold_train_result result = {0};
    struct hold_ctx ctx = {.threads = 1};
    tiny_open(&tiny, "lora", 1);
    random_rows(&rows, 6, 31);
    struct hold_stream_input stream = {.name = "main", .set = &rows};
    struct hold_train_input in = {.model = &tiny.model,
                                  .config = plain_config(),
                                  .streams = &stream,
                                  .n_streams = 1,
                                  .work_dir = "run",
                                  .spec = "spec"};
    in.config.max_steps = STEPS;
    in.config.save_steps = 1;
    out->err = (struct hold_error){0};
    int rc = hold_train(&in, &ctx, &result, &out->err);
    out->resumed = result.resumed;
    out->theta = read_flat(&tiny, tiny.model.flat);
    set_release(&rows);
    tiny_close(&tiny);
    return rc;
}

static int64_t flat_size(void) {
    struct tiny t;
    tiny_open(&t, "lora", 1);
    int64_t n = t.model.n_flat;
    tiny_close(&t);
    return n;
}

static void nothing_is_named_before_it_is_on_the_disk(void **state) {
    (void)state;
    struct outcome out = {0};
    reset(0);
    assert_ok(train(&out), &out.err);
    free(out.theta);
    assert_true(disk.calls > 4 * STEPS);
    demand_tree("run/checkpoint-4");
    if (disk.n_pending > 0)
        broken("holds a name that the disk may not have", "a folder");
    if (disk.why[0] != '\0')
        fail_msg("%s", disk.why);
}

/* Each fsync fails once: the save has failed, an older checkpoint is there, and the next run ends
 * in the same bytes. */
static void a_failed_sync_is_a_failed_save(void **state) {
    (void)state;
    struct outcome whole = {0}, out = {0};
    struct hold_error err = {0};
    size_t bytes = (size_t)flat_size() * sizeof(float);
    reset(0);
    assert_ok(train(&whole), &whole.err);
    int64_t calls = disk.calls;
    for (int64_t at = 1; at <= calls; at++) {
        assert_ok(hold_remove_tree("run", &err), &err);
        reset(at);
        int rc = train(&out);
        free(out.theta);
        if (rc != HOLD_EIO || out.err.text[0] == '\0')
            fail_msg("fsync %lld of %lld failed, but the run gave %d \"%s\"", (long long)at,
                     (long long)calls, rc, out.err.text);
        if (disk.why[0] != '\0')
            fail_msg("fsync %lld of %lld failed: %s", (long long)at, (long long)calls, disk.why);
        reset(0);
        assert_ok(train(&out), &out.err);
        /* One for the run's folder, then as many for each save; none is of the last step. */
        assert_true(out.resumed || at <= 1 + (calls - 1) / (STEPS - 1));
        assert_memory_equal(out.theta, whole.theta, bytes);
        free(out.theta);
    }
    free(whole.theta);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_named_before_it_is_on_the_disk, enter, leave),
        cmocka_unit_test_setup_teardown(a_failed_sync_is_a_failed_save, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
