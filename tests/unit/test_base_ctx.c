/* test_base_ctx.c: talk, stopping, clocks and memory limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above it. */
#include <cmocka.h>

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/ctx.h"
#include "base/file.h"

struct heard {
    int lines;
    enum hold_level level;
    char room[32], line[4096];
};

static void hear(void *user, enum hold_level level, const char *room, const char *line) {
    struct heard *h = user;
    h->lines++;
    h->level = level;
    snprintf(h->room, sizeof(h->room), "%s", room);
    snprintf(h->line, sizeof(h->line), "%s", line);
}

static void talk_reaches_the_caller_as_one_line(void **state) {
    (void)state;
    struct heard h = {0};
    struct hold_ctx ctx = {.log = hear, .user = &h, .threads = 1};
    hold_log(&ctx, HOLD_WARN, "data", "row %d: %s", 7, "a\nb\x1b[2J");
    assert_int_equal(h.lines, 1);
    assert_int_equal(h.level, HOLD_WARN);
    assert_string_equal(h.room, "data");
    assert_string_equal(h.line, "row 7: a\\nb\\x1b[2J");
    char text[10000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    hold_log(&ctx, HOLD_INFO, "data", "%s", text);
    assert_int_equal(h.lines, 2);
    assert_true(strlen(h.line) > 1000);
}

static void silence_is_fine(void **state) {
    (void)state;
    struct hold_ctx ctx = {.threads = 1};
    hold_log(&ctx, HOLD_ERROR, "data", "nobody hears %d", 1);
    hold_log(NULL, HOLD_ERROR, "data", "nobody hears");
    assert_false(hold_stopped(&ctx));
    assert_false(hold_stopped(NULL));
}

static void stop_is_seen(void **state) {
    (void)state;
    volatile sig_atomic_t stop = 0;
    struct hold_ctx ctx = {.stop = &stop, .threads = 1};
    assert_false(hold_stopped(&ctx));
    stop = 1;
    assert_true(hold_stopped(&ctx));
}

static void clocks_run(void **state) {
    (void)state;
    double start = hold_clock_now();
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    double passed = hold_clock_now() - start;
    assert_true(passed >= 0.02 && passed < 10);
    char text[32];
    struct tm t = {0};
    hold_clock_iso(text);
    assert_int_equal(strlen(text), 20);
    assert_non_null(strptime(text, "%Y-%m-%dT%H:%M:%SZ", &t));
    assert_true(labs((long)(timegm(&t) - time(NULL))) <= 2);
}

/* The program's own clock_gettime stands before libc's: the wall clock may be set meanwhile. */
static time_t set_by;

int clock_gettime(clockid_t id, struct timespec *t) {
    int rc = (int)syscall(SYS_clock_gettime, id, t);
    if (id == CLOCK_REALTIME)
        t->tv_sec += set_by;
    return rc;
}

static void durations_are_not_the_wall_clocks(void **state) {
    (void)state;
    static const time_t BY[] = {3600, -7200, 86400 * 365};
    double start = hold_clock_now();
    for (size_t i = 0; i < sizeof BY / sizeof *BY; i++) {
        set_by = BY[i];
        double passed = hold_clock_now() - start;
        assert_true(passed >= 0 && passed < 10);
    }
    set_by = 0;
}

static void memory_use_is_seen(void **state) {
    (void)state;
    enum { BYTES = 64 << 20 };
    int64_t before = hold_current_memory();
    assert_true(before > 0);
    assert_true(hold_peak_memory() >= before);
    char *p = malloc(BYTES);
    assert_non_null(p);
    memset(p, 1, BYTES);
    int64_t with = hold_current_memory();
    assert_true(with - before > BYTES / 2);
    free(p);
    assert_true(hold_peak_memory() >= with - (4 << 20)); /* the peak stays */
    assert_true(hold_memory_limit() > with);
}

/* ---- limits, by folders that look like /proc and /sys ---- */

static const char ROOT[] = "test_base_ctx.root";
static const int64_t GIB = 1ll << 30;

static void put(const char *path, const char *text) {
    struct hold_error err = {0};
    struct hold_str full = HOLD_STR_INIT, folder = HOLD_STR_INIT;
    hold_path_join(&full, ROOT, path);
    hold_str_add(&folder, full.data);
    hold_str_cut(&folder, (size_t)(strrchr(folder.data, '/') - folder.data));
    assert_int_equal(hold_mkdirs(folder.data, &err), HOLD_OK);
    assert_int_equal(hold_file_write_atomic(full.data, text, strlen(text), &err), HOLD_OK);
    hold_str_release(&full);
    hold_str_release(&folder);
}

static int clean(void **state) {
    (void)state;
    struct hold_error err = {0};
    return hold_remove_tree(ROOT, &err);
}

static int machine_of_8_gib(void **state) {
    clean(state);
    put("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:         1024 kB\n");
    return 0;
}

static void no_groups_means_all_of_the_machine(void **state) {
    (void)state;
    assert_int_equal(hold_memory_limit_under(ROOT), 8 * GIB);
}

static void v2_limits_bind_at_every_level(void **state) {
    (void)state;
    put("proc/self/cgroup", "0::/user/job\n");
    put("sys/fs/cgroup/user/job/memory.max", "max\n");
    assert_int_equal(hold_memory_limit_under(ROOT), 8 * GIB);
    put("sys/fs/cgroup/user/memory.max", "3221225472\n");
    assert_int_equal(hold_memory_limit_under(ROOT), 3 * GIB);
    put("sys/fs/cgroup/user/job/memory.max", "1073741824\n");
    assert_int_equal(hold_memory_limit_under(ROOT), GIB);
}

static void v1_no_limit_is_no_memory(void **state) {
    (void)state;
    put("proc/self/cgroup", "11:cpu,cpuacct:/a\n9:hugetlb,memory:/box\n");
    put("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(hold_memory_limit_under(ROOT), 8 * GIB);
    put("proc/meminfo", "nothing known\n");
    assert_int_equal(hold_memory_limit_under(ROOT), 0);
}

/* Inside a container the path of the group is not there, its mount is. */
static void v1_falls_back_to_the_mount(void **state) {
    (void)state;
    put("proc/self/cgroup", "9:memory:/docker/0123\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n");
    assert_int_equal(hold_memory_limit_under(ROOT), 2 * GIB);
}

static void other_controllers_do_not_count(void **state) {
    (void)state;
    put("proc/self/cgroup", "9:memoryless,xmemory:/a\nrubbish\n\n:::\n");
    put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n");
    assert_int_equal(hold_memory_limit_under(ROOT), 8 * GIB);
}

static void more_than_the_machine_is_the_machine(void **state) {
    (void)state;
    put("proc/self/cgroup", "0::/\n");
    put("sys/fs/cgroup/memory.max", "99999999999999\n");
    assert_int_equal(hold_memory_limit_under(ROOT), 8 * GIB);
}

#if !defined(__SANITIZE_ADDRESS__) /* its shadow does not fit under an address limit */
static void the_address_limit_counts(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {.rlim_cur = 5 * (rlim_t)GIB, .rlim_max = RLIM_INFINITY};
        getrlimit(RLIMIT_AS, &limit);
        limit.rlim_cur = 5 * (rlim_t)GIB;
        if (setrlimit(RLIMIT_AS, &limit) != 0)
            _exit(2);
        _exit(hold_memory_limit_under(ROOT) == 5 * GIB ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(talk_reaches_the_caller_as_one_line),
        cmocka_unit_test(silence_is_fine),
        cmocka_unit_test(stop_is_seen),
        cmocka_unit_test(clocks_run),
        cmocka_unit_test(durations_are_not_the_wall_clocks),
        cmocka_unit_test(memory_use_is_seen),
#define LIMIT(name) cmocka_unit_test_setup_teardown(name, machine_of_8_gib, clean)
        LIMIT(no_groups_means_all_of_the_machine),
        LIMIT(v2_limits_bind_at_every_level),
        LIMIT(v1_no_limit_is_no_memory),
        LIMIT(v1_falls_back_to_the_mount),
        LIMIT(other_controllers_do_not_count),
        LIMIT(more_than_the_machine_is_the_machine),
#if !defined(__SANITIZE_ADDRESS__)
        LIMIT(the_address_limit_counts),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
