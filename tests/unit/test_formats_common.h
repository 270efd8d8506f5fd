/* test_formats_common.h: an own folder for each test, files built byte by byte, and the check that
 * a call failed for the reason meant. */
#ifndef TEST_FORMATS_COMMON_H
#define TEST_FORMATS_COMMON_H

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
#include "base/str.h"
#include "formats/tensors.h"

#define MAYBE __attribute__((unused)) static

static char start_folder[4096];

/* Set-up and tear-down: every test runs inside an empty folder. */
MAYBE int enter(void **state) {
    (void)state;
    char name[] = "test_formats.XXXXXX";
    if (!getcwd(start_folder, sizeof start_folder) || !mkdtemp(name) || chdir(name) != 0) {
        return -1;
    }
    return 0;
}

MAYBE int leave(void **state) {
    (void)state;
    struct hold_error err = {0};
    char here[4096];
    if (!getcwd(here, sizeof here) || chdir(start_folder) != 0) {
        return -1;
    }
    return hold_remove_tree(here, &err);
}

#define GOLDEN HOLD_SOURCE_DIR "/tests/golden/formats/"

MAYBE void add_u32(struct hold_str *s, uint32_t x) {
    hold_str_add_bytes(s, &x, sizeof x);
}

MAYBE void add_u64(struct hold_str *s, uint64_t x) {
    hold_str_add_bytes(s, &x, sizeof x);
}

MAYBE void add_zeros(struct hold_str *s, size_t n) {
    while (n-- > 0) {
        hold_str_add_char(s, 0);
    }
}

MAYBE void put_bytes(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Write the bytes and empty the string. */
MAYBE void put(const char *path, struct hold_str *s) {
    assert_false(s->out_of_memory);
    put_bytes(path, s->data, s->len);
    hold_str_release(s);
}

MAYBE void put_text(const char *path, const char *text) {
    put_bytes(path, text, strlen(text));
}

MAYBE void assert_ok(int rc, const struct hold_error *err) {
    if (rc != HOLD_OK) {
        fail_msg("%s", err->text);
    }
}

/* rc is `code` and the one-line message holds `part`. */
MAYBE void assert_refused(int rc, int code, const struct hold_error *err, const char *part) {
    if (rc != code || !strstr(err->text, part) || strchr(err->text, '\n')) {
        fail_msg("found %d \"%s\", expected %d \"...%s...\"", rc, err->text, code, part);
    }
}

MAYBE json_t *load_json(const char *path) {
    struct hold_error err = {0};
    json_t *value = NULL;
    assert_ok(hold_json_load(&value, path, &err), &err);
    return value;
}

/* A tensor's shape, first value and sum as expected.json has them. */
MAYBE void assert_summary(const json_t *expected, int64_t rows, int64_t cols, const float *x) {
    const json_t *shape = json_object_get(expected, "shape");
    assert_int_equal(rows, json_integer_value(json_array_get(shape, 0)));
    if (json_array_size(shape) > 1) {
        assert_int_equal(cols, json_integer_value(json_array_get(shape, 1)));
    }
    double sum = 0;
    for (int64_t i = 0; i < rows * cols; i++) {
        sum += (double)x[i];
    }
    assert_true((double)x[0] == json_real_value(json_object_get(expected, "first")));
    double off = sum - json_real_value(json_object_get(expected, "sum"));
    assert_true(off < 1e-9 && off > -1e-9);
}

#endif
