/* work.c: one owner for a stage at a time: leases with heartbeats, takeover, publishing.
 *
 *     work/ID/lease.json     {"owner": TOKEN, "machine", "pid", "started", "beat"}
 *     work/ID/TOKEN/files, work/ID/TOKEN/checkpoints
 *
 * Every change of a lease happens under the store's lock of the id.  The clock of another machine
 * is never trusted: a waiter watches whether `beat` moves by its own clock.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "lab/store_parts.h"

enum { TOKEN_TEXT = 33, BEATS_A_LEASE = 6 };
static const double POLL_SECONDS = 0.1;

struct hold_work {
    struct hold_store *store;
    char id[HOLD_HASH_HEX], token[TOKEN_TEXT];
    char *files, *checkpoints;
    double begun;
    int64_t beat;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool beating, stop; /* thread runs; asked to end */
};

/* --- who we are --- */

/* Names this boot of this kernel and the process ids we can see. */
static void machine_name(char out[128]) {
    struct hold_str boot = HOLD_STR_INIT;
    struct hold_error e = {0};
    char host[64] = "", space[48] = "";
    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    if (hold_file_read("/proc/sys/kernel/random/boot_id", 256, &boot, &e) < 0)
        hold_str_clear(&boot);
    ssize_t n = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    space[n > 0 ? n : 0] = '\0';
    snprintf(out, 128, "%.40s %.36s %.47s", host, hold_str_text(&boot), space);
    hold_str_release(&boot);
}

/* Start time of a process in clock ticks since boot (field 22 of its stat), -1: it is gone. */
static int64_t started_at(int64_t pid) {
    char path[64];
    struct hold_str text = HOLD_STR_INIT;
    struct hold_error e = {0};
    int64_t at = -1;
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    if (hold_file_read(path, 4096, &text, &e) == HOLD_OK) {
        /* The name in parentheses may hold anything: fields are counted from its end. */
        const char *p = strrchr(hold_str_text(&text), ')');
        int field = 2;
        while (p != NULL && field < 22) {
            p = strchr(p + 1, ' ');
            field++;
        }
        bool zombie = false;
        const char *state = strrchr(hold_str_text(&text), ')');
        if (state != NULL && state[1] == ' ')
            zombie = state[2] == 'Z' || state[2] == 'X';
        if (p != NULL && !zombie)
            at = strtoll(p + 1, NULL, 10);
    }
    hold_str_release(&text);
    return at;
}

int hold_lease_alive(const json_t *lease) {
    char here[128];
    machine_name(here);
    const char *machine = json_string_value(json_object_get(lease, "machine"));
    if (machine == NULL || strcmp(machine, here) != 0)
        return -1;
    int64_t pid = json_integer_value(json_object_get(lease, "pid"));
    int64_t started = json_integer_value(json_object_get(lease, "started"));
    return pid > 0 && started_at(pid) == started ? 1 : 0;
}

static int new_token(char token[TOKEN_TEXT], struct hold_error *err) {
    unsigned char bytes[(TOKEN_TEXT - 1) / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return hold_fail_errno(err, errno, "random bytes for a lease");
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(token + 2 * i, 3, "%02x", bytes[i]);
    return HOLD_OK;
}

/* --- leases; all under the lock of the id --- */

static int read_lease(struct hold_store *s, const char *id, json_t **out, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    struct hold_error e = {0};
    *out = NULL;
    hold_store_at(s, "work", id, "/lease.json", &path);
    int rc = hold_json_load(out, hold_str_text(&path), &e);
    hold_str_release(&path);
    /* A lease is written atomically: one that cannot be read is nobody's. */
    if (rc == HOLD_ENOMEMORY || rc == HOLD_EIO)
        return hold_fail(err, rc, "%s", e.text);
    return HOLD_OK;
}

static int write_lease(struct hold_work *w, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    char machine[128];
    machine_name(machine);
    hold_store_at(w->store, "work", w->id, "/lease.json", &path);
    json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:I}", "owner", w->token, "machine", machine, "pid",
                          (json_int_t)getpid(), "started", (json_int_t)started_at(getpid()), "beat",
                          (json_int_t)w->beat);
    int rc = o == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a lease")
                       : hold_json_save(hold_str_text(&path), o, err);
    json_decref(o);
    hold_str_release(&path);
    return rc;
}

static bool is_ours(const struct hold_work *w, const json_t *lease) {
    const char *owner = json_string_value(json_object_get(lease, "owner"));
    return owner != NULL && strcmp(owner, w->token) == 0;
}

/* --- heartbeat --- */

static void beat(struct hold_work *w) {
    struct hold_error e = {0};
    json_t *lease = NULL;
    int lock = -1;
    int rc = hold_store_lock(w->store, w->id, &lock, &e);
    if (rc == HOLD_OK)
        rc = read_lease(w->store, w->id, &lease, &e);
    if (rc == HOLD_OK && is_ours(w, lease)) {
        w->beat++;
        /* A beat that cannot be written (a full disk) is one beat less; publishing finds out. */
        (void)write_lease(w, &e);
    }
    json_decref(lease);
    hold_lock_drop(lock);
}

static void *keep_beating(void *user) {
    struct hold_work *w = user;
    double every = w->store->lease_seconds / BEATS_A_LEASE;
    pthread_mutex_lock(&w->mutex);
    while (!w->stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        double at = (double)until.tv_sec + 1e-9 * (double)until.tv_nsec + every;
        until.tv_sec = (time_t)at;
        until.tv_nsec = (long)((at - (double)until.tv_sec) * 1e9);
        pthread_cond_timedwait(&w->wake, &w->mutex, &until);
        if (w->stop)
            break;
        pthread_mutex_unlock(&w->mutex);
        beat(w);
        pthread_mutex_lock(&w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

/* Waits by the monotonic clock: one that is set back must not silence the beat. */
static void init_wake(struct hold_work *w) {
    pthread_condattr_t attr;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
}

static void start_beating(struct hold_work *w) {
    /* Signals are the caller's: this thread must not be the one that gets them. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    w->beating = pthread_create(&w->thread, NULL, keep_beating, w) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!w->beating)
        hold_log(w->store->ctx, HOLD_WARN, "store", "no thread for a heartbeat");
}

static void stop_beating(struct hold_work *w) {
    if (!w->beating)
        return;
    pthread_mutex_lock(&w->mutex);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    w->beating = false;
}

static void free_work(struct hold_work *w) {
    if (w == NULL)
        return;
    stop_beating(w);
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->wake);
    hold_free(w->files);
    hold_free(w->checkpoints);
    hold_free(w);
}

/* --- taking --- */

static char *join3(const char *a, const char *b, const char *c) {
    struct hold_str s = HOLD_STR_INIT;
    hold_str_addf(&s, "%s/%s/%s", a, b, c);
    return hold_str_take(&s);
}

/* Whole checkpoints of a former owner are moved (they never change), its log copied (it may still
 * be written to if that owner was only stopped). */
static int inherit_from(struct hold_work *w, const char *old, struct hold_error *err) {
    char **names = NULL;
    size_t n = 0;
    struct hold_str from = HOLD_STR_INIT, to = HOLD_STR_INIT;
    int rc = hold_dir_list(old, &names, &n, err);
    bool any = false;
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        if (!hold_starts(names[i], "checkpoint-"))
            continue;
        hold_path_join(&from, old, names[i]);
        hold_path_join(&to, w->checkpoints, names[i]);
        rc = hold_rename_new(hold_str_text(&from), hold_str_text(&to), err);
        any = true;
        if (rc == HOLD_EBUSY)
            rc = HOLD_OK;
    }
    for (size_t i = 0; rc == HOLD_OK && any && i < n; i++) {
        if (hold_starts(names[i], "checkpoint-") || hold_starts(names[i], "saving-"))
            continue;
        hold_path_join(&from, old, names[i]);
        hold_path_join(&to, w->checkpoints, names[i]);
        if (!hold_is_dir(hold_str_text(&from)))
            rc = hold_copy_file(hold_str_text(&from), hold_str_text(&to), err);
    }
    hold_names_free(names, n);
    hold_str_release(&from);
    hold_str_release(&to);
    return rc;
}

static int inherit(struct hold_work *w, const char *work_dir, struct hold_error *err) {
    char **names = NULL;
    size_t n = 0;
    int rc = hold_dir_list(work_dir, &names, &n, err);
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        char *old = join3(work_dir, names[i], "checkpoints");
        if (old == NULL)
            rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for a path");
        else if (strcmp(names[i], w->token) != 0 && hold_is_dir(old))
            rc = inherit_from(w, old, err);
        hold_free(old);
    }
    hold_names_free(names, n);
    return rc;
}

static int take(struct hold_store *s, const char *id, struct hold_work **out,
                struct hold_error *err) {
    void *memory = NULL;
    int rc = hold_new(&memory, 1, sizeof(struct hold_work), "work", err);
    if (rc < 0)
        return rc;
    struct hold_work *w = memory;
    w->store = s;
    w->begun = hold_clock_now();
    snprintf(w->id, sizeof w->id, "%s", id);
    init_wake(w);
    struct hold_str dir = HOLD_STR_INIT;
    hold_store_at(s, "work", id, "", &dir);
    rc = new_token(w->token, err);
    if (rc == HOLD_OK) {
        w->files = join3(hold_str_text(&dir), w->token, "files");
        w->checkpoints = join3(hold_str_text(&dir), w->token, "checkpoints");
        if (w->files == NULL || w->checkpoints == NULL)
            rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for work");
    }
    if (rc == HOLD_OK)
        rc = hold_mkdirs(w->files, err);
    if (rc == HOLD_OK)
        rc = hold_mkdirs(w->checkpoints, err);
    if (rc == HOLD_OK)
        rc = write_lease(w, err);
    if (rc == HOLD_OK)
        rc = inherit(w, hold_str_text(&dir), err);
    hold_str_release(&dir);
    if (rc < 0) {
        free_work(w);
        return rc;
    }
    start_beating(w);
    *out = w;
    return HOLD_OK;
}

/* --- waiting --- */

struct watch { /* of another owner's lease, by our clock */
    char owner[TOKEN_TEXT];
    int64_t beat;
    double since;
};

/* May the lease be taken?  Watches its beat from call to call. */
static bool is_free(struct hold_store *s, const json_t *lease, struct watch *watch) {
    const char *owner = json_string_value(json_object_get(lease, "owner"));
    int64_t beat_now = json_integer_value(json_object_get(lease, "beat"));
    if (owner == NULL || hold_lease_alive(lease) == 0)
        return true;
    double now = hold_clock_now();
    if (strcmp(watch->owner, owner) != 0 || watch->beat != beat_now) {
        snprintf(watch->owner, sizeof watch->owner, "%s", owner);
        watch->beat = beat_now;
        watch->since = now;
    }
    return now - watch->since > s->lease_seconds;
}

static int remembered_failure(struct hold_store *s, const char *id, bool retry,
                              struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    struct hold_error e = {0};
    json_t *o = NULL;
    int code = HOLD_OK;
    hold_store_at(s, "failed", id, ".json", &path);
    if (hold_json_load(&o, hold_str_text(&path), &e) == HOLD_OK) {
        if (retry)
            (void)hold_remove_tree(hold_str_text(&path), &e);
        else
            code = (int)json_integer_value(json_object_get(o, "code"));
    }
    if (code < 0) {
        const char *text = json_string_value(json_object_get(o, "text"));
        hold_fail(err, code, "%s (failed before; --retry-failed tries again)",
                  text == NULL ? hold_status_text(code) : text);
    }
    json_decref(o);
    hold_str_release(&path);
    return code;
}

static int try_once(struct hold_store *s, const char *id, unsigned flags, struct watch *watch,
                    struct hold_work **work, char content[HOLD_HASH_HEX], bool *found, bool *wait,
                    struct hold_error *err) {
    int lock = -1;
    json_t *lease = NULL;
    int rc = hold_store_lock(s, id, &lock, err);
    if (rc == HOLD_OK && (flags & HOLD_WORK_REMAKE) == 0)
        rc = hold_store_find(s, id, content, found, err);
    if (rc == HOLD_OK && !*found)
        rc = remembered_failure(s, id, (flags & HOLD_WORK_RETRY) != 0, err);
    if (rc == HOLD_OK && !*found)
        rc = read_lease(s, id, &lease, err);
    if (rc == HOLD_OK && !*found) {
        *wait = lease != NULL && !is_free(s, lease, watch);
        if (!*wait && lease != NULL)
            hold_log(s->ctx, HOLD_INFO, "store", "taking over stage %.12s from an owner that left",
                     id);
        if (!*wait)
            rc = take(s, id, work, err);
    }
    json_decref(lease);
    hold_lock_drop(lock);
    return rc;
}

int hold_store_work(struct hold_store *s, const char *id, unsigned flags, struct hold_work **work,
                    char content[HOLD_HASH_HEX], bool *found, struct hold_error *err) {
    struct watch watch = {.beat = -1};
    *work = NULL;
    *found = false;
    int rc = hold_store_writable(s, err);
    double begun = hold_clock_now();
    bool wait = true;
    while (rc == HOLD_OK && wait) {
        wait = false;
        rc = try_once(s, id, flags, &watch, work, content, found, &wait, err);
        if (rc < 0 || !wait)
            break;
        if ((flags & HOLD_WORK_TRY) != 0)
            return hold_fail(err, HOLD_EBUSY, "stage %.12s is another process's", id);
        if (hold_stopped(s->ctx))
            return hold_fail(err, HOLD_EINTERRUPTED, "stopped while another process makes a stage");
        if (s->ctx != NULL && s->ctx->progress != NULL)
            s->ctx->progress(s->ctx->user, "waiting for another process",
                             (int64_t)(hold_clock_now() - begun), 0, "", -1.0);
        usleep((useconds_t)(POLL_SECONDS * 1e6));
        /* What the other process publishes is what was asked for, also under --force. */
        flags &= ~(unsigned)HOLD_WORK_REMAKE;
    }
    return rc;
}

const char *hold_work_files(const struct hold_work *w) {
    return w->files;
}
const char *hold_work_checkpoints(const struct hold_work *w) {
    return w->checkpoints;
}

/* --- ending --- */

static void remove_work(struct hold_work *w) {
    struct hold_str dir = HOLD_STR_INIT;
    struct hold_error e = {0};
    hold_store_at(w->store, "work", w->id, "", &dir);
    if (hold_remove_tree(hold_str_text(&dir), &e) < 0)
        hold_log(w->store->ctx, HOLD_WARN, "store", "%s", e.text);
    hold_str_release(&dir);
}

/* Our own folder without its checkpoints when the lease is another's. */
static void discard(struct hold_work *w) {
    struct hold_str dir = HOLD_STR_INIT;
    struct hold_error e = {0};
    hold_store_at(w->store, "work", w->id, "/", &dir);
    hold_str_add(&dir, w->token);
    (void)hold_remove_tree(hold_str_text(&dir), &e);
    hold_str_release(&dir);
}

/* The checkpoints stay for the next owner, who finds no lease. */
static void let_go(struct hold_work *w) {
    struct hold_str path = HOLD_STR_INIT;
    struct hold_error e = {0};
    (void)hold_remove_tree(w->files, &e);
    hold_store_at(w->store, "work", w->id, "/lease.json", &path);
    (void)hold_remove_tree(hold_str_text(&path), &e);
    hold_str_release(&path);
}

static int add_provenance(struct hold_work *w, json_t *manifest, const char *content, int64_t bytes,
                          struct hold_error *err) {
    char now[32], machine[128];
    hold_clock_iso(now);
    if (gethostname(machine, sizeof machine) != 0)
        machine[0] = '\0';
    machine[sizeof machine - 1] = '\0';
    int bad = json_object_set_new(manifest, "id", json_string(w->id));
    bad |= json_object_set_new(manifest, "content", json_string(content));
    bad |= json_object_set_new(manifest, "bytes", json_integer(bytes));
    bad |= json_object_set_new(manifest, "made", json_string(now));
    bad |= json_object_set_new(manifest, "machine", json_string(machine));
    if (json_object_get(manifest, "seconds") == NULL)
        bad |= json_object_set_new(manifest, "seconds", json_real(hold_clock_now() - w->begun));
    return bad == 0 ? HOLD_OK : hold_fail(err, HOLD_ENOMEMORY, "no memory for a manifest");
}

/* One rename that never replaces; bytes that are there already are the same, unless damaged. */
static int place_artifact(struct hold_work *w, const char *content, struct hold_error *err) {
    struct hold_str to = HOLD_STR_INIT;
    char there[HOLD_HASH_HEX];
    int64_t bytes = 0;
    hold_store_artifact(w->store, content, &to);
    int rc = hold_rename_new(w->files, hold_str_text(&to), err);
    if (rc == HOLD_EBUSY) {
        rc = hold_store_content_id(hold_str_text(&to), there, &bytes, err);
        if (rc < 0 || strcmp(there, content) != 0) {
            hold_log(w->store->ctx, HOLD_WARN, "store", "%s: damaged, made again",
                     hold_str_text(&to));
            rc = hold_remove_tree(hold_str_text(&to), err);
            if (rc == HOLD_OK)
                rc = hold_rename_new(w->files, hold_str_text(&to), err);
        }
    }
    hold_str_release(&to);
    return rc;
}

static int place_pointer(struct hold_work *w, const json_t *manifest, const char *content,
                         struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    hold_store_at(w->store, "spec", w->id, ".json", &path);
    const char *kind = json_string_value(json_object_get(manifest, "kind"));
    json_t *o = json_pack("{s:s, s:s, s:O}", "content", content, "kind", kind == NULL ? "" : kind,
                          "manifest", manifest);
    int rc = o == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a pointer")
                       : hold_json_save(hold_str_text(&path), o, err);
    json_decref(o);
    hold_str_release(&path);
    return rc;
}

static int still_ours(struct hold_work *w, struct hold_error *err) {
    json_t *lease = NULL;
    int rc = read_lease(w->store, w->id, &lease, err);
    if (rc == HOLD_OK && !is_ours(w, lease))
        rc = hold_fail(err, HOLD_EBUSY,
                       "stage %.12s was taken over by another process while this one stood still; "
                       "its result is discarded",
                       w->id);
    json_decref(lease);
    return rc;
}

int hold_work_publish(struct hold_work *w, json_t *manifest, bool replace,
                      char content[HOLD_HASH_HEX], struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    char before[HOLD_HASH_HEX];
    int64_t bytes = 0;
    int lock = -1;
    bool found = false;
    stop_beating(w);
    int rc = hold_store_content_id(w->files, content, &bytes, err);
    if (rc == HOLD_OK)
        rc = add_provenance(w, manifest, content, bytes, err);
    hold_path_join(&path, w->files, "manifest.json");
    if (rc == HOLD_OK)
        rc = hold_json_save(hold_str_text(&path), manifest, err);
    hold_str_release(&path);
    if (rc == HOLD_OK)
        rc = hold_store_lock(w->store, w->id, &lock, err);
    if (rc == HOLD_OK)
        rc = still_ours(w, err);
    if (rc == HOLD_OK && !replace)
        rc = hold_store_find(w->store, w->id, before, &found, err);
    if (rc == HOLD_OK && found) {
        memcpy(content, before, sizeof before);
    } else if (rc == HOLD_OK) {
        rc = place_artifact(w, content, err);
        if (rc == HOLD_OK)
            rc = place_pointer(w, manifest, content, err);
    }
    if (rc == HOLD_OK)
        remove_work(w);
    else if (rc == HOLD_EBUSY)
        discard(w);
    else
        let_go(w);
    hold_lock_drop(lock);
    free_work(w);
    return rc;
}

static bool is_deterministic(int code) {
    return code == HOLD_EDATA || code == HOLD_EDIVERGED || code == HOLD_EFORMAT ||
           code == HOLD_EUSAGE;
}

static void remember(struct hold_work *w, int code, const char *text) {
    struct hold_str path = HOLD_STR_INIT;
    struct hold_error e = {0};
    char now[32];
    hold_clock_iso(now);
    hold_store_at(w->store, "failed", w->id, ".json", &path);
    json_t *o = json_pack("{s:i, s:s, s:s, s:s}", "code", code, "name", hold_status_name(code),
                          "text", text, "made", now);
    if (o != NULL && hold_json_save(hold_str_text(&path), o, &e) < 0)
        hold_log(w->store->ctx, HOLD_WARN, "store", "%s", e.text);
    json_decref(o);
    hold_str_release(&path);
}

void hold_work_drop(struct hold_work *w, int code, const char *text) {
    struct hold_error e = {0};
    int lock = -1;
    if (w == NULL)
        return;
    stop_beating(w);
    if (hold_store_lock(w->store, w->id, &lock, &e) == HOLD_OK) {
        if (still_ours(w, &e) < 0) {
            discard(w);
        } else if (is_deterministic(code)) {
            remember(w, code, text);
            remove_work(w);
        } else {
            let_go(w);
        }
    }
    hold_lock_drop(lock);
    free_work(w);
}
