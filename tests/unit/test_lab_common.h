/* test_lab_common.h: a folder for each test, quiet contexts, small files. */
#ifndef HOLD_TEST_LAB_COMMON_H
#define HOLD_TEST_LAB_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above it. */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

static char start_dir[4096];

static int enter_folder(void **state) {
    (void)state;
    char name[] = "test_lab.XXXXXX";
    return getcwd(start_dir, sizeof start_dir) == NULL || mkdtemp(name) == NULL || chdir(name) != 0
               ? -1
               : 0;
}

static int leave_folder(void **state) {
    (void)state;
    struct hold_error err = {0};
    char here[4096];
    if (getcwd(here, sizeof here) == NULL || chdir(start_dir) != 0)
        return -1;
    return hold_remove_tree(here, &err);
}

static void put_file(const char *path, const char *text) {
    struct hold_error err = {0};
    assert_int_equal(hold_file_write_atomic(path, text, strlen(text), &err), HOLD_OK);
}

#define assert_ok(call)                          \
    do {                                         \
        if ((call) != HOLD_OK)                   \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

#endif
