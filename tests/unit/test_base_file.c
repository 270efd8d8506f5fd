/* test_base_file.c: reads, atomic writes, folders and locks, with failures on purpose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above it. */
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

/* Every test runs inside an empty folder of its own. */
static char start[4096];

static int enter(void **state) {
    (void)state;
    char name[] = "test_base_file.XXXXXX";
    if (!getcwd(start, sizeof(start)) || !mkdtemp(name) || chdir(name) != 0)
        return -1;
    return 0;
}

static int leave(void **state) {
    (void)state;
    struct hold_error err = {0};
    char here[4096];
    if (!getcwd(here, sizeof(here)) || chdir(start) != 0)
        return -1;
    return hold_remove_tree(here, &err);
}

static void put(const char *path, const char *text) {
    struct hold_error err = {0};
    assert_int_equal(hold_file_write_atomic(path, text, strlen(text), &err), HOLD_OK);
}

static void assert_holds(const char *path, const char *text) {
    struct hold_error err = {0};
    struct hold_str got = HOLD_STR_INIT;
    assert_int_equal(hold_file_read(path, 0, &got, &err), HOLD_OK);
    assert_string_equal(hold_str_text(&got), text);
    hold_str_release(&got);
}

static size_t names_here(void) {
    struct hold_error err = {0};
    char **names;
    size_t n;
    assert_int_equal(hold_dir_list(".", &names, &n, &err), HOLD_OK);
    hold_names_free(names, n);
    return n;
}

/* ---- reading ---- */

static void reading_gives_all_bytes_and_a_nul(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str got = HOLD_STR_INIT;
    hold_str_add(&got, "what was there before");
    char bytes[200000];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 31);
    assert_int_equal(hold_file_write_atomic("f", bytes, sizeof(bytes), &err), HOLD_OK);
    assert_int_equal(hold_file_read("f", 0, &got, &err), HOLD_OK);
    assert_int_equal(got.len, sizeof(bytes));
    assert_memory_equal(got.data, bytes, sizeof(bytes));
    assert_int_equal(got.data[got.len], 0);
    put("f", "");
    assert_int_equal(hold_file_read("f", 0, &got, &err), HOLD_OK);
    assert_int_equal(got.len, 0);
    assert_int_equal(hold_file_size("f"), 0);
    hold_str_release(&got);
}

static void reading_refuses_what_is_too_large(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str got = HOLD_STR_INIT;
    put("f", "12345");
    assert_int_equal(hold_file_read("f", 5, &got, &err), HOLD_OK);
    assert_int_equal(hold_file_read("f", 4, &got, &err), HOLD_EDATA);
    assert_string_equal(err.text, "f: found 5 bytes, expected at most 4");
    assert_int_equal(got.len, 0);
    hold_str_release(&got);
}

static void reading_refuses_folders_and_pipes(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str got = HOLD_STR_INIT;
    assert_int_equal(hold_file_read("none", 0, &got, &err), HOLD_ENOTFOUND);
    assert_string_equal(err.text, "none: no such file or directory");
    assert_int_equal(hold_file_read(".", 0, &got, &err), HOLD_EUSAGE);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_int_equal(hold_file_read("pipe", 0, &got, &err), HOLD_EUSAGE);
    hold_str_release(&got);
}

static void reading_survives_no_memory(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str got = HOLD_STR_INIT;
    put("f", "text");
    hold_mem_fail_at(1);
    assert_int_equal(hold_file_read("f", 0, &got, &err), HOLD_ENOMEMORY);
    hold_mem_fail_at(0);
    assert_string_equal(err.text, "f: not enough memory to read it");
    assert_int_equal(hold_file_read("f", 0, &got, &err), HOLD_OK);
    assert_string_equal(hold_str_text(&got), "text");
    hold_str_release(&got);
}

/* Files of the kernel say size 0 and hold text. */
static void reading_does_not_trust_the_size(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str got = HOLD_STR_INIT;
    assert_int_equal(hold_file_read("/proc/self/status", 0, &got, &err), HOLD_OK);
    assert_non_null(strstr(hold_str_text(&got), "VmRSS"));
    assert_int_equal(hold_file_read("/proc/self/status", 10, &got, &err), HOLD_EDATA);
    hold_str_release(&got);
}

static void standard_input_is_read_to_its_end(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str got = HOLD_STR_INIT;
    int ends[2], saved = dup(STDIN_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "from a pipe", 11), 11);
    close(ends[1]);
    dup2(ends[0], STDIN_FILENO);
    int rc = hold_file_read("-", 0, &got, &err);
    dup2(saved, STDIN_FILENO);
    close(saved);
    close(ends[0]);
    assert_int_equal(rc, HOLD_OK);
    assert_string_equal(hold_str_text(&got), "from a pipe");
    hold_str_release(&got);
}

static void maps_show_the_bytes(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_map map;
    put("f", "mapped");
    assert_int_equal(hold_map_open(&map, "f", &err), HOLD_OK);
    assert_int_equal(map.bytes, 6);
    assert_memory_equal(map.data, "mapped", 6);
    assert_string_equal(map.path, "f");
    hold_map_release(&map);
    assert_null(map.data);
    hold_map_release(&map);
    put("f", "");
    assert_int_equal(hold_map_open(&map, "f", &err), HOLD_EFORMAT);
    assert_int_equal(hold_map_open(&map, "none", &err), HOLD_ENOTFOUND);
    assert_int_equal(hold_map_open(&map, ".", &err), HOLD_EUSAGE);
    put("f", "x");
    hold_mem_fail_at(1);
    assert_int_equal(hold_map_open(&map, "f", &err), HOLD_ENOMEMORY);
    hold_mem_fail_at(0);
    assert_null(map.data);
}

/* ---- writing ---- */

static void a_write_replaces_the_whole(void **state) {
    (void)state;
    put("f", "old and long");
    put("f", "new");
    assert_holds("f", "new");
    assert_int_equal(names_here(), 1);
    struct stat st;
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(stat("f", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666 & ~mask);
}

static void a_writer_shows_nothing_before_commit(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_writer w;
    assert_int_equal(hold_writer_open(&w, "f", &err), HOLD_OK);
    assert_int_equal(hold_writer_put(&w, "one ", 4, &err), HOLD_OK);
    assert_int_equal(hold_writer_put(&w, "two", 3, &err), HOLD_OK);
    assert_true(w.bytes == 7);
    assert_false(hold_exists("f"));
    assert_int_equal(hold_writer_commit(&w, &err), HOLD_OK);
    assert_holds("f", "one two");
    hold_writer_drop(&w);
    assert_holds("f", "one two");
}

static void a_dropped_writer_leaves_nothing(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_writer w = {0};
    hold_writer_drop(&w); /* zeroed: must not touch descriptor 0 */
    assert_true(fcntl(STDIN_FILENO, F_GETFD) != -1);
    put("f", "old");
    assert_int_equal(hold_writer_open(&w, "f", &err), HOLD_OK);
    assert_int_equal(hold_writer_put(&w, "half", 4, &err), HOLD_OK);
    hold_writer_drop(&w);
    hold_writer_drop(&w);
    assert_holds("f", "old");
    assert_int_equal(names_here(), 1);
}

/* A full disk, played by a limit on the size of files. */
static void no_space_leaves_the_old_file(void **state) {
    (void)state;
    put("f", "old");
    put("big", "");
    struct hold_error err = {0};
    struct rlimit old, small;
    char bytes[10000];
    memset(bytes, 'x', sizeof(bytes));
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int wrote = hold_file_write_atomic("f", bytes, sizeof(bytes), &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(wrote, HOLD_ENOSPACE);
    assert_true(strncmp(err.text, "f: writing: ", 12) == 0);
    assert_holds("f", "old");
    assert_int_equal(names_here(), 2);
    /* The same while copying. */
    assert_int_equal(hold_file_write_atomic("big", bytes, sizeof(bytes), &err), HOLD_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int copied = hold_copy_file("big", "f", &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(copied, HOLD_ENOSPACE);
    assert_holds("f", "old");
    assert_int_equal(names_here(), 2);
}

static void no_memory_leaves_the_old_file(void **state) {
    (void)state;
    put("f", "old");
    for (int64_t at = 1;; at++) {
        struct hold_error err = {0};
        hold_mem_fail_at(at);
        int rc = hold_file_write_atomic("f", "new", 3, &err);
        hold_mem_fail_at(0);
        assert_int_equal(names_here(), 1);
        if (rc == HOLD_OK) {
            assert_true(at > 3); /* the path, the temporary name and the folder were asked for */
            break;
        }
        assert_int_equal(rc, HOLD_ENOMEMORY);
    }
    assert_holds("f", "new");
}

/* The last step fails: meanwhile the name became a folder that is not empty. */
static void a_failed_rename_leaves_nothing(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_writer w;
    assert_int_equal(hold_writer_open(&w, "f", &err), HOLD_OK);
    assert_int_equal(hold_mkdirs("f/sub", &err), HOLD_OK);
    assert_int_equal(hold_writer_commit(&w, &err), HOLD_EIO);
    assert_true(hold_is_dir("f/sub"));
    assert_int_equal(names_here(), 1);
}

static void odd_targets_are_refused(void **state) {
    (void)state;
    struct hold_error err = {0};
    assert_int_equal(mkdir("d", 0755), 0);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_int_equal(hold_file_write_atomic("d", "x", 1, &err), HOLD_EUSAGE);
    assert_int_equal(hold_file_write_atomic("new/", "x", 1, &err), HOLD_EUSAGE);
    assert_int_equal(hold_file_write_atomic("", "x", 1, &err), HOLD_EUSAGE);
    assert_int_equal(hold_file_write_atomic("pipe", "x", 1, &err), HOLD_EUSAGE);
    assert_int_equal(hold_file_write_atomic("/dev/null", "x", 1, &err), HOLD_EUSAGE);
    assert_int_equal(hold_file_write_atomic("none/f", "x", 1, &err), HOLD_ENOTFOUND);
    assert_string_equal(err.text, "none/f: no such file or directory");
    assert_int_equal(names_here(), 2);
}

static void copies_are_equal(void **state) {
    (void)state;
    struct hold_error err = {0};
    put("a", "text");
    assert_int_equal(hold_copy_file("a", "b", &err), HOLD_OK);
    assert_holds("b", "text");
    assert_int_equal(hold_copy_file("none", "b", &err), HOLD_ENOTFOUND);
    assert_int_equal(hold_copy_file("a", "none/b", &err), HOLD_ENOTFOUND);
    assert_holds("b", "text");
}

static void rename_new_never_replaces(void **state) {
    (void)state;
    struct hold_error err = {0};
    put("a", "1");
    put("b", "2");
    assert_int_equal(hold_rename_new("a", "b", &err), HOLD_EBUSY);
    assert_holds("b", "2");
    assert_int_equal(hold_rename_new("a", "c", &err), HOLD_OK);
    assert_holds("c", "1");
    assert_false(hold_exists("a"));
    assert_int_equal(mkdir("d", 0755), 0);
    assert_int_equal(mkdir("e", 0755), 0);
    assert_int_equal(hold_rename_new("d", "e", &err), HOLD_EBUSY);
    assert_int_equal(hold_rename_new("d", "f", &err), HOLD_OK);
    assert_int_equal(hold_rename_new("none", "g", &err), HOLD_ENOTFOUND);
}

/* ---- folders ---- */

static void mkdirs_makes_what_is_missing(void **state) {
    (void)state;
    struct hold_error err = {0};
    assert_int_equal(hold_mkdirs("a/b//c/", &err), HOLD_OK);
    assert_true(hold_is_dir("a/b/c"));
    assert_int_equal(hold_mkdirs("a/b/c", &err), HOLD_OK);
    assert_int_equal(hold_mkdirs("/", &err), HOLD_OK);
    put("f", "");
    assert_int_equal(hold_mkdirs("f/x", &err), HOLD_EUSAGE);
    assert_string_equal(err.text, "f: found a file, expected a folder");
    assert_int_equal(hold_mkdirs("f", &err), HOLD_EUSAGE);
    assert_int_equal(hold_mkdirs("", &err), HOLD_EUSAGE);
}

static void remove_tree_follows_no_link(void **state) {
    (void)state;
    struct hold_error err = {0};
    assert_int_equal(hold_mkdirs("keep", &err), HOLD_OK);
    put("keep/f", "precious");
    assert_int_equal(hold_mkdirs("t/a/b/c", &err), HOLD_OK);
    put("t/a/f", "1");
    put("t/a/b/f", "2");
    assert_int_equal(symlink("../../keep", "t/a/link"), 0);
    assert_int_equal(symlink("nowhere", "t/dangling"), 0);
    assert_int_equal(hold_remove_tree("t", &err), HOLD_OK);
    assert_false(hold_exists("t"));
    assert_holds("keep/f", "precious");
    assert_int_equal(symlink("keep", "link"), 0);
    assert_int_equal(hold_remove_tree("link", &err), HOLD_OK);
    assert_holds("keep/f", "precious");
    assert_int_equal(hold_remove_tree("none", &err), HOLD_OK);
    assert_int_equal(hold_remove_tree("keep/f", &err), HOLD_OK);
    assert_int_equal(names_here(), 1);
}

static void names_are_sorted(void **state) {
    (void)state;
    struct hold_error err = {0};
    char **names, name[16];
    size_t n;
    for (int i = 99; i >= 0; i--) {
        snprintf(name, sizeof(name), "n%02d", i);
        put(name, "");
    }
    assert_int_equal(hold_dir_list(".", &names, &n, &err), HOLD_OK);
    assert_int_equal(n, 100);
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "n%02d", (int)(i % 100));
        assert_string_equal(names[i], name);
    }
    hold_names_free(names, n);
    assert_int_equal(hold_dir_list("none", &names, &n, &err), HOLD_ENOTFOUND);
    assert_int_equal(hold_dir_list("n00", &names, &n, &err), HOLD_EIO);
    for (int64_t at = 1; at <= 104; at++) {
        hold_mem_fail_at(at);
        assert_int_equal(hold_dir_list(".", &names, &n, &err), HOLD_ENOMEMORY);
        hold_mem_fail_at(0);
        assert_null(names);
    }
}

static void questions_about_paths(void **state) {
    (void)state;
    struct hold_error err = {0};
    put("f", "1234");
    assert_true(hold_exists("f"));
    assert_false(hold_is_dir("f"));
    assert_true(hold_is_dir("."));
    assert_int_equal(hold_file_size("f"), 4);
    assert_int_equal(hold_file_size("none"), -1);
    assert_int_equal(hold_file_size("."), -1);
    assert_true(hold_disk_free(".") > 0);
    assert_true(hold_disk_free("not/made/yet") > 0);
    assert_true(hold_disk_free("/not/made/yet") > 0);
    assert_true(hold_disk_free("f/below") == 0);
    assert_int_equal(hold_sync_dir(".", &err), HOLD_OK);
    assert_int_equal(hold_sync_dir("none", &err), HOLD_ENOTFOUND);
}

static void paths_join_with_one_slash(void **state) {
    (void)state;
    struct hold_str s = HOLD_STR_INIT;
    hold_path_join(&s, "a", "b");
    assert_string_equal(hold_str_text(&s), "a/b");
    hold_path_join(&s, "a/", "b");
    assert_string_equal(hold_str_text(&s), "a/b");
    hold_path_join(&s, "/", "b");
    assert_string_equal(hold_str_text(&s), "/b");
    hold_path_join(&s, "", "b");
    assert_string_equal(hold_str_text(&s), "b");
    hold_str_release(&s);
}

/* ---- locks ---- */

static void a_lock_excludes(void **state) {
    (void)state;
    struct hold_error err = {0};
    int one, two;
    assert_int_equal(hold_lock_take("lock", &one, &err), HOLD_OK);
    assert_int_equal(hold_lock_take("lock", &two, &err), HOLD_EBUSY);
    assert_string_equal(err.text, "lock: locked by another process");
    assert_int_equal(two, -1);
    hold_lock_drop(two);
    hold_lock_drop(one);
    assert_int_equal(hold_lock_take("lock", &two, &err), HOLD_OK);
    hold_lock_drop(two);
    assert_int_equal(hold_lock_take("none/lock", &two, &err), HOLD_ENOTFOUND);
}

static void a_lock_dies_with_its_owner(void **state) {
    (void)state;
    struct hold_error err = {0};
    int ends[2], fd;
    char told = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t owner = fork();
    if (owner == 0) {
        char taken = hold_lock_take("lock", &fd, &err) == HOLD_OK ? 'y' : 'n';
        if (write(ends[1], &taken, 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ends[0], &told, 1), 1);
    assert_int_equal(told, 'y');
    assert_int_equal(hold_lock_take("lock", &fd, &err), HOLD_EBUSY);
    assert_int_equal(kill(owner, SIGKILL), 0);
    assert_int_equal(waitpid(owner, NULL, 0), owner);
    assert_int_equal(hold_lock_take("lock", &fd, &err), HOLD_OK);
    hold_lock_drop(fd);
    close(ends[0]);
    close(ends[1]);
}

int main(void) {
#define IN_FOLDER(name) cmocka_unit_test_setup_teardown(name, enter, leave)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(reading_gives_all_bytes_and_a_nul),
        IN_FOLDER(reading_refuses_what_is_too_large),
        IN_FOLDER(reading_refuses_folders_and_pipes),
        IN_FOLDER(reading_survives_no_memory),
        IN_FOLDER(reading_does_not_trust_the_size),
        IN_FOLDER(standard_input_is_read_to_its_end),
        IN_FOLDER(maps_show_the_bytes),
        IN_FOLDER(a_write_replaces_the_whole),
        IN_FOLDER(a_writer_shows_nothing_before_commit),
        IN_FOLDER(a_dropped_writer_leaves_nothing),
        IN_FOLDER(no_space_leaves_the_old_file),
        IN_FOLDER(no_memory_leaves_the_old_file),
        IN_FOLDER(a_failed_rename_leaves_nothing),
        IN_FOLDER(odd_targets_are_refused),
        IN_FOLDER(copies_are_equal),
        IN_FOLDER(rename_new_never_replaces),
        IN_FOLDER(mkdirs_makes_what_is_missing),
        IN_FOLDER(remove_tree_follows_no_link),
        IN_FOLDER(names_are_sorted),
        IN_FOLDER(questions_about_paths),
        IN_FOLDER(paths_join_with_one_slash),
        IN_FOLDER(a_lock_excludes),
        IN_FOLDER(a_lock_dies_with_its_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
