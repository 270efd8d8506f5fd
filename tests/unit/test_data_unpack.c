/* test_data_unpack.c: gzip and zstd row files: whole, in parts, cut off, damaged, too large. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "data/unpack.h"
#include "data_files.h"

static void refused(const void *bytes, size_t n, const char *text) {
    struct hold_str s = HOLD_STR_INIT;
    struct hold_error err = {0};
    hold_str_add_bytes(&s, bytes, n);
    assert_int_equal(hold_data_unpack(&s, &err), HOLD_EDATA);
    if (!strstr(err.text, text))
        fail_msg("found \"%s\", expected \"%s\"", err.text, text);
    assert_int_equal(s.len, n);
    hold_str_release(&s);
}

static void unpacks(struct hold_str *packed, const void *bytes, size_t n) {
    struct hold_error err = {0};
    if (hold_data_unpack(packed, &err))
        fail_msg("%s", err.text);
    assert_int_equal(packed->len, n);
    assert_memory_equal(hold_str_text(packed), bytes, n);
    hold_str_release(packed);
}

static void plain_stays(void **state) {
    (void)state;
    static const char *const PLAIN[] = {"", "{", "\x1F", "{\"text\":\"a\"}\n", "BZ", "PK"};
    for (size_t i = 0; i < sizeof(PLAIN) / sizeof(PLAIN[0]); i++) {
        struct hold_str s = HOLD_STR_INIT;
        hold_str_add(&s, PLAIN[i]);
        unpacks(&s, PLAIN[i], strlen(PLAIN[i]));
    }
}

static void whole(void **state) {
    (void)state;
    /* Sizes about those of the pieces in which it is unpacked. */
    static const size_t SIZES[] = {0, 1, 262143, 262144, 262145, 524288, 1000003};
    for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++) {
        char *bytes = malloc(SIZES[i] + 1);
        for (size_t k = 0; k < SIZES[i]; k++)
            bytes[k] = (char)(k * k % 251);
        EACH_METHOD(m) {
            struct hold_str s = HOLD_STR_INIT;
            pack(m, &s, bytes, SIZES[i]);
            unpacks(&s, bytes, SIZES[i]);
        }
        free(bytes);
    }
}

static void parts(void **state) {
    (void)state;
    EACH_METHOD(m) {
        struct hold_str s = HOLD_STR_INIT;
        pack(m, &s, "one ", 4);
        pack(m, &s, "", 0);
        pack(m, &s, "two", 3);
        if (m == GZIP)
            hold_str_add_bytes(&s, "\0\0\0\0", 4);
        unpacks(&s, "one two", 7);
    }
    struct hold_str s = HOLD_STR_INIT; /* a skippable frame before, as pzstd writes */
    hold_str_add_bytes(&s, "\x50\x2A\x4D\x18\x04\0\0\0abcd", 12);
    pack(ZSTD, &s, "text", 4);
    unpacks(&s, "text", 4);
}

static void cut_off(void **state) {
    (void)state;
    EACH_METHOD(m) {
        struct hold_str s = HOLD_STR_INIT;
        pack(m, &s, "some text that is packed", 24);
        for (size_t n = 4; n < s.len; n++)
            refused(s.data, n, "ends too early (was it cut off?)");
        hold_str_release(&s);
    }
}

/* Every byte that is changed is seen, but in the bits that fill up deflate's last byte. */
static void damaged(void **state) {
    (void)state;
    struct hold_str s = HOLD_STR_INIT;
    size_t seen = 0;
    pack(GZIP, &s, "some text that is packed", 24);
    for (size_t i = 10; i < s.len; i++) {
        struct hold_str copy = HOLD_STR_INIT;
        struct hold_error err = {0};
        hold_str_add_bytes(&copy, s.data, s.len);
        copy.data[i] ^= 0x10;
        if (hold_data_unpack(&copy, &err)) {
            assert_non_null(strstr(err.text, "the gzip file"));
            seen++;
        } else {
            assert_string_equal(hold_str_text(&copy), "some text that is packed");
        }
        hold_str_release(&copy);
    }
    assert_true(seen + 1 >= s.len - 10);
    hold_str_add(&s, "rubbish");
    refused(s.data, s.len, "the gzip file is damaged: incorrect header check");
    hold_str_clear(&s);
    pack(ZSTD, &s, "some text that is packed", 24);
    hold_str_add(&s, "rubbish");
    refused(s.data, s.len, "the zstd file is damaged: Unknown frame descriptor");
    hold_str_release(&s);
}

static void bombs(void **state) {
    (void)state;
    size_t n = HOLD_UNPACK_FLOOR;
    char *zeros = calloc(1, n + 1);
    assert_non_null(zeros);
    EACH_METHOD(m) {
        struct hold_str s = HOLD_STR_INIT;
        pack(m, &s, zeros, n);
        /* What the limit allows is taken whole, one byte more is not. */
        pack(m, &s, "", 0);
        struct hold_str more = HOLD_STR_INIT;
        hold_str_add_bytes(&more, s.data, s.len);
        unpacks(&s, zeros, n);
        pack(m, &more, "x", 1);
        refused(more.data, more.len, "unpacks to more than 64 MiB");
        hold_str_release(&more);
    }
    free(zeros);
}

static void others(void **state) {
    (void)state;
    refused(
        "PAR1\x15", 5,
        "the file is Parquet, which is not read: rows are JSON Lines, a JSON array, CSV or TSV");
    refused("PK\x03\x04", 4, "the file is zip");
    refused("\xFD\x37zXZ\0", 6, "the file is xz");
    refused("BZh9", 4, "the file is bzip2");
}

/* As a row file: the name's inner suffix counts, and what is wrong names the file. */
static void rows(void **state) {
    (void)state;
    static const char *const NAMES[2][2] = {{"a.csv.gz", "a.jsonl.zst"}, {"a.csv.GZ", "a.any"}};
    static const char *const TEXTS[] = {"text\nhello\n", "{\"text\":\"hello\"}\n"};
    for (size_t i = 0; i < 4; i++) {
        struct hold_str s = HOLD_STR_INIT, path = HOLD_STR_INIT;
        struct hold_rows r;
        struct hold_error err = {0};
        pack(i % 2 ? ZSTD : GZIP, &s, TEXTS[i % 2], strlen(TEXTS[i % 2]));
        put_file(&path, NAMES[i / 2][i % 2], s.data, s.len);
        if (hold_rows_read(&r, path.data, NULL, &err))
            fail_msg("%s", err.text);
        assert_int_equal(r.n, 1);
        assert_string_equal(r.row[0].text, "hello");
        hold_rows_release(&r);
        put_file(&path, NAMES[i / 2][i % 2], s.data, s.len - 1);
        assert_int_equal(hold_rows_read(&r, path.data, NULL, &err), HOLD_EDATA);
        hold_str_addf(&path, ":1: error: the %s file ends too early (was it cut off?)",
                      i % 2 ? "zstd" : "gzip");
        assert_string_equal(err.text, path.data);
        hold_str_release(&path);
        hold_str_release(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_stays), cmocka_unit_test(whole),   cmocka_unit_test(parts),
        cmocka_unit_test(cut_off),     cmocka_unit_test(damaged), cmocka_unit_test(bombs),
        cmocka_unit_test(others),      cmocka_unit_test(rows),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
