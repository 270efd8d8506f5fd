/* test_lab_report_refusals.c: reports that are none, folders that are not ours, files that cannot
 * be put in place and memory that runs out. */
#include "lab_report.h"

static void test_no_report(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int code;
    } cases[] = {
        {"[]", HOLD_EDATA},
        {"{}", HOLD_EDATA},
        {"{\"arms\":{}}", HOLD_EDATA},
        {"{\"arms\":[{}]}", HOLD_EDATA},
        {"{\"arms\":[3]}", HOLD_EDATA},
        {"{\"arms\":[{\"name\":\"a\"}],\"rows\":[1]}", HOLD_EDATA},
        {"{\"schema\":2,\"arms\":[]}", HOLD_EUNSUPPORTED},
    };
    char *dir = folder("none");
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct hold_error err = {0};
        json_t *report = parse(cases[i].text);
        assert_int_equal(hold_report_write(report, dir, false, &err), cases[i].code);
        assert_true(err.text[0]);
        assert_false(hold_exists(dir));
        json_decref(report);
    }
    hold_free(dir);
}

static void test_folders(void **state) {
    (void)state;
    json_t *report = sample_report();
    struct hold_error err = {0};
    char *dir = folder("foreign");
    struct hold_str path = HOLD_STR_INIT;
    assert_int_equal(hold_mkdirs(dir, &err), HOLD_OK);
    write_report(report, dir, false); /* an empty folder is fine */
    assert_int_equal(hold_remove_tree(dir, &err), HOLD_OK);
    assert_int_equal(hold_mkdirs(dir, &err), HOLD_OK);

    hold_path_join(&path, dir, "thesis.txt");
    assert_int_equal(hold_file_write_atomic(hold_str_text(&path), "x", 1, &err), HOLD_OK);
    assert_int_equal(hold_report_write(report, dir, false, &err), HOLD_EUSAGE);
    assert_has(err.text, dir);
    assert_false(there_is(dir, "report.html"));

    /* A report.json of something else is no mark, one of ours is. */
    hold_path_join(&path, dir, "report.json");
    assert_int_equal(hold_file_write_atomic(hold_str_text(&path), "{\"a\":1}", 7, &err), HOLD_OK);
    assert_int_equal(hold_report_write(report, dir, false, &err), HOLD_EUSAGE);
    const char *ours = "{\"schema\":1,\"arms\":[]}";
    assert_int_equal(hold_file_write_atomic(hold_str_text(&path), ours, strlen(ours), &err),
                     HOLD_OK);
    write_report(report, dir, false);
    assert_true(there_is(dir, "thesis.txt"));

    hold_path_join(&path, dir, "thesis.txt");
    assert_int_equal(hold_report_write(report, hold_str_text(&path), false, &err), HOLD_EUSAGE);
    hold_str_release(&path);
    hold_free(dir);
    json_decref(report);
}

/* What cannot be put in place leaves the old files whole, and no temporary ones. */
static void test_failure_keeps_the_old(void **state) {
    (void)state;
    json_t *report = sample_report();
    struct hold_error err = {0};
    char *dir = folder("old");
    write_report(report, dir, false);
    char *before = read_text(dir, "report.html"), **names;
    size_t n, n_after;
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, dir, "report.json");
    assert_int_equal(unlink(hold_str_text(&path)), 0);
    assert_int_equal(mkdir(hold_str_text(&path), 0700), 0); /* no file can be put here */
    assert_int_equal(hold_dir_list(dir, &names, &n, &err), HOLD_OK);
    hold_names_free(names, n);
    json_object_set_new(report, "title", json_string("another"));
    assert_int_not_equal(hold_report_write(report, dir, false, &err), HOLD_OK);
    assert_true(err.text[0]);
    char *after = read_text(dir, "report.html");
    assert_string_equal(before, after);
    assert_int_equal(hold_dir_list(dir, &names, &n_after, &err), HOLD_OK);
    hold_names_free(names, n_after);
    assert_int_equal(n, n_after);
    hold_free(before);
    hold_free(after);
    hold_free(dir);
    hold_str_release(&path);
    json_decref(report);
}

static void test_no_memory(void **state) {
    (void)state;
    json_t *report = sample_report();
    struct hold_error err = {0};
    bool done = false;
    for (int64_t at = 1; !done; at++) {
        struct hold_str out = HOLD_STR_INIT;
        hold_mem_fail_at(at);
        int rc = hold_report_table(report, &out, &err);
        hold_mem_fail_at(0);
        done = rc == HOLD_OK;
        assert_true(done || rc == HOLD_ENOMEMORY);
        hold_str_release(&out);
        assert_true(at < 1000);
    }
    struct hold_report r;
    assert_int_equal(hold_report_read(&r, report, &err), HOLD_OK);
    done = false;
    for (int64_t at = 1; !done; at++) {
        struct hold_str out = HOLD_STR_INIT;
        hold_mem_fail_at(at);
        int rc = hold_report_html(&r, false, &out, &err);
        hold_mem_fail_at(0);
        done = rc == HOLD_OK;
        assert_true(done || rc == HOLD_ENOMEMORY);
        hold_str_release(&out);
        assert_true(at < 20000);
    }
    hold_report_release(&r);
    json_decref(report);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_report),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_failure_keeps_the_old),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
