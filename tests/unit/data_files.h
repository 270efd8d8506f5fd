/* data_files.h: row files written by tests, in a folder of the test's own. */
#ifndef TEST_DATA_FILES_H
#define TEST_DATA_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "data/rows.h"
#include "pack.h"

static char folder[] = "test_data_files.XXXXXX";

static inline int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static inline int drop_folder(void **state) {
    (void)state;
    struct hold_error err = {0};
    return hold_remove_tree(folder, &err);
}

/* *path = folder/name.  Plain writes into a new file each time: some file systems flush one that is
 * overwritten. */
static inline void put_file(struct hold_str *path, const char *name, const void *bytes, size_t n) {
    hold_path_join(path, folder, name);
    unlink(hold_str_text(path));
    FILE *file = fopen(hold_str_text(path), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

/* Read bytes as a file of that name. */
static inline int read_bytes(const char *name, const void *bytes, size_t n, struct hold_rows *rows,
                             struct hold_issues *issues, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    put_file(&path, name, bytes, n);
    int status = hold_rows_read(rows, hold_str_text(&path), issues, err);
    hold_str_release(&path);
    return status;
}

#endif
