/* test_data_folder.c: folders as data: which files are found, and what is said of the others; and
 * lengths of rows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/folder.h"
#include "data/lengths.h"
#include "data_files.h"

/* A fresh folder with these files, ended by NULL; the folder's path. */
static void fill(struct hold_str *dir, const char *name, const char *const *files) {
    struct hold_error err = {0};
    hold_path_join(dir, folder, name);
    assert_int_equal(hold_mkdirs(hold_str_text(dir), &err), HOLD_OK);
    for (; *files; files++) {
        struct hold_str path = HOLD_STR_INIT, inner = HOLD_STR_INIT;
        hold_path_join(&inner, name, *files);
        put_file(&path, hold_str_text(&inner), "x", 1);
        hold_str_release(&path);
        hold_str_release(&inner);
    }
}

#define FILES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void finds(const char *name, const char *const *files, enum hold_split split,
                  const char *expected) {
    struct hold_str dir = HOLD_STR_INIT, found = HOLD_STR_INIT, path = HOLD_STR_INIT;
    struct hold_error err = {0};
    fill(&dir, name, files);
    if (hold_folder_find(hold_str_text(&dir), split, false, &found, &err))
        fail_msg("%s", err.text);
    hold_path_join(&path, hold_str_text(&dir), expected);
    assert_string_equal(hold_str_text(&found), *expected ? hold_str_text(&path) : "");
    hold_str_release(&dir);
    hold_str_release(&found);
    hold_str_release(&path);
}

static void refuses(const char *name, const char *const *files, enum hold_split split, int code,
                    const char *expected) {
    struct hold_str dir = HOLD_STR_INIT, found = HOLD_STR_INIT;
    struct hold_error err = {0};
    fill(&dir, name, files);
    assert_int_equal(hold_folder_find(hold_str_text(&dir), split, true, &found, &err), code);
    if (strncmp(err.text, hold_str_text(&dir), dir.len) || !strstr(err.text, expected))
        fail_msg("found \"%s\", expected \"%s\"", err.text, expected);
    hold_str_release(&dir);
    hold_str_release(&found);
}

static void found(void **state) {
    (void)state;
    const char *const *plain = FILES("train.jsonl", "valid.jsonl", "test.jsonl", "README.md");
    finds("a", plain, HOLD_SPLIT_TRAIN, "train.jsonl");
    finds("a", plain, HOLD_SPLIT_VALID, "valid.jsonl");
    finds("a", plain, HOLD_SPLIT_TEST, "test.jsonl");
    finds("b", FILES("train.csv.gz", "validation.tsv"), HOLD_SPLIT_TRAIN, "train.csv.gz");
    finds("b", FILES("train.csv.gz"), HOLD_SPLIT_VALID, "validation.tsv");
    finds("b", FILES("train.csv.gz"), HOLD_SPLIT_TEST, "");
    finds("c", FILES("TRAIN.JSON.ZST", "dev.ndjson"), HOLD_SPLIT_TRAIN, "TRAIN.JSON.ZST");
    finds("c", FILES("dev.ndjson"), HOLD_SPLIT_VALID, "dev.ndjson");
    finds("d", FILES("eval.jsonl", "training.jsonl", "train.txt", "train.jsonl.bak"),
          HOLD_SPLIT_TRAIN, "");
    finds("d", FILES("eval.jsonl"), HOLD_SPLIT_VALID, "eval.jsonl");
    finds("e", FILES("val.jsonl", "train"), HOLD_SPLIT_VALID, "val.jsonl");
}

/* A split in parts, in the order of their numbers, whatever order their names sort in. */
static void parts(void **state) {
    (void)state;
    struct hold_str dir = HOLD_STR_INIT, path = HOLD_STR_INIT;
    static const char *const ORDER[] = {"train-1-of-11.jsonl", "train-2-of-11.jsonl",
                                        "train-10-of-11.jsonl", "train-11-of-11.jsonl"};
    static const int AT[] = {0, 1, 9, 10};
    struct hold_error err = {0};
    finds("p", FILES("train-00000-of-00001.jsonl", "validation-00000-of-00001.csv.gz"),
          HOLD_SPLIT_TRAIN, "train-00000-of-00001.jsonl");
    finds("p", FILES("README.md"), HOLD_SPLIT_VALID, "validation-00000-of-00001.csv.gz");
    finds("q",
          FILES("train-1-of-.jsonl", "train--of-1.jsonl", "train-1-of-1-a.jsonl", "train-1.csv"),
          HOLD_SPLIT_TRAIN, "");
    fill(&dir, "r",
         FILES("train-1-of-11.jsonl", "train-2-of-11.jsonl", "train-3-of-11.jsonl",
               "train-4-of-11.jsonl", "train-5-of-11.jsonl", "train-6-of-11.jsonl",
               "train-7-of-11.jsonl", "train-8-of-11.jsonl", "train-9-of-11.jsonl",
               "train-10-of-11.jsonl", "train-11-of-11.jsonl"));
    struct hold_str found = HOLD_STR_INIT;
    assert_int_equal(hold_folder_find(hold_str_text(&dir), HOLD_SPLIT_TRAIN, true, &found, &err),
                     HOLD_OK);
    const char *files = hold_str_text(&found);
    for (int i = 0, k = 0; i < 11; i++) {
        assert_true(hold_files_next(&files, &path));
        if (i == AT[k])
            assert_string_equal(strrchr(hold_str_text(&path), '/') + 1, ORDER[k++]);
    }
    assert_false(hold_files_next(&files, &path));
    hold_str_release(&dir);
    hold_str_release(&path);
    hold_str_release(&found);
}

static void bad_parts(void **state) {
    (void)state;
    refuses("s", FILES("train-00000-of-00003.jsonl", "train-00002-of-00003.jsonl"),
            HOLD_SPLIT_TRAIN, HOLD_EDATA,
            ": train-00001-of-00003.jsonl is missing, a part of the rows of train as "
            "train-00000-of-00003.jsonl is");
    refuses("t", FILES("train-00001-of-00003.jsonl", "train-00002-of-00003.jsonl"),
            HOLD_SPLIT_TRAIN, HOLD_EDATA, ": train-00000-of-00003.jsonl is missing");
    refuses("u", FILES("train-00000-of-00002.jsonl", "train.jsonl"), HOLD_SPLIT_TRAIN, HOLD_EDATA,
            ": both train-00000-of-00002.jsonl and train.jsonl could be");
    refuses("v", FILES("train-0-of-2.csv", "train-1-of-2.jsonl"), HOLD_SPLIT_TRAIN, HOLD_EDATA,
            ": both train-0-of-2.csv and train-1-of-2.jsonl could be");
    refuses("w", FILES("train-0-of-2.csv", "train-1-of-2.csv", "train-01-of-2.csv"),
            HOLD_SPLIT_TRAIN, HOLD_EDATA, "-of-2.csv could be its rows of train");
    refuses("x", FILES("test-0-of-1.csv", "test-1-of-1.csv"), HOLD_SPLIT_TEST, HOLD_EDATA,
            ": test-1-of-1.csv is a part beyond the 1 that its name speaks of");
    refuses("y", FILES("train-0-of-999999999.csv"), HOLD_SPLIT_TRAIN, HOLD_EDATA,
            ": train-1-of-999999999.csv is missing");
}

static void refused(void **state) {
    (void)state;
    refuses("f", FILES("train.csv", "train.jsonl"), HOLD_SPLIT_TRAIN, HOLD_EDATA,
            ": both train.csv and train.jsonl could be its rows of train: name one of them");
    refuses("f", FILES("dev.csv", "valid.csv"), HOLD_SPLIT_VALID, HOLD_EDATA,
            ": both dev.csv and valid.csv could be");
    refuses("g", FILES("train-00000-of-00001.parquet", "a.md"), HOLD_SPLIT_TRAIN, HOLD_EDATA,
            ": train-00000-of-00001.parquet is Parquet, which is not read: write it as train.jsonl "
            "first, as with pandas: read_parquet(FILE).to_json(");
    refuses(
        "h", FILES("data.jsonl", "b\x1b[31m.md"), HOLD_SPLIT_TRAIN, HOLD_ENOTFOUND,
        ": the folder has no train.jsonl (or .json, .csv, .tsv; .gz, .zst); it has b\\x1b[31m.md, "
        "data.jsonl");
    refuses("i", FILES("1", "2", "3", "4", "5", "6", "7"), HOLD_SPLIT_TEST, HOLD_ENOTFOUND,
            "it has 1, 2, 3, 4, 5, 6 ...");
}

/* A folder is no file of rows. */
static void not_rows(void **state) {
    (void)state;
    struct hold_rows rows;
    struct hold_error err = {0};
    assert_int_equal(hold_rows_read(&rows, folder, NULL, &err), HOLD_EDATA);
    assert_non_null(strstr(err.text, ": is a folder, expected one of its files"));
}

static void lengths(void **state) {
    (void)state;
    int64_t sizes[200], bins[HOLD_LENGTH_BINS];
    for (int64_t i = 0; i < 200; i++)
        sizes[i] = 200 - i; /* 1 to 200 */
    struct hold_lengths s = hold_lengths_of(sizes, 200);
    assert_int_equal(s.min, 1);
    assert_int_equal(s.p50, 100);
    assert_int_equal(s.p90, 180);
    assert_int_equal(s.p95, 190);
    assert_int_equal(s.p99, 198);
    assert_int_equal(s.max, 200);
    assert_true(s.mean == 100.5);
    /* 198 of 200 rows are at most 198 tokens; 256 is the next multiple of 64. */
    assert_int_equal(hold_lengths_limit(sizes, 200), 256);
    hold_lengths_bins(sizes, 200, bins);
    static const int64_t EXPECTED[] = {16, 16, 32, 64, 72, 0};
    for (int k = 0; k < 6; k++)
        assert_int_equal(bins[k], EXPECTED[k]);
    assert_int_equal(hold_lengths_bin_end(4), 256);
    int64_t one = 0;
    s = hold_lengths_of(&one, 1);
    assert_int_equal(s.max, 0);
    assert_int_equal(hold_lengths_limit(&one, 1), 64);
    one = 65;
    assert_int_equal(hold_lengths_limit(&one, 1), 128);
    one = INT64_MAX;
    hold_lengths_bins(&one, 1, bins);
    assert_int_equal(bins[HOLD_LENGTH_BINS - 1], 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(found),   cmocka_unit_test(parts),    cmocka_unit_test(bad_parts),
        cmocka_unit_test(refused), cmocka_unit_test(not_rows), cmocka_unit_test(lengths),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
