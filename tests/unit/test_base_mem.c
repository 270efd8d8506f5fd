/* test_base_mem.c: checked allocation, fault injection and arenas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above it. */
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"

static void sizes_overflow_is_seen(void **state) {
    (void)state;
    size_t out = 0;
    assert_true(hold_mul_size(6, 7, &out));
    assert_int_equal(out, 42);
    assert_true(hold_mul_size(0, SIZE_MAX, &out));
    assert_false(hold_mul_size(SIZE_MAX / 2 + 1, 2, &out));
    assert_true(hold_add_size(SIZE_MAX - 1, 1, &out));
    assert_true(out == SIZE_MAX);
    assert_false(hold_add_size(SIZE_MAX, 1, &out));
}

static void calloc_zeroes_and_checks(void **state) {
    (void)state;
    unsigned char *p = hold_calloc(100, 3);
    assert_non_null(p);
    for (int i = 0; i < 300; i++)
        assert_int_equal(p[i], 0);
    hold_free(p);
    assert_null(hold_calloc(SIZE_MAX / 2, 3));
}

static void nothing_is_still_a_pointer(void **state) {
    (void)state;
    void *a = hold_malloc(0), *b = hold_calloc(0, 8), *c = hold_realloc(NULL, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    hold_free(a);
    hold_free(b);
    hold_free(c);
    hold_free(NULL);
}

static void strings_are_copied(void **state) {
    (void)state;
    char *a = hold_strdup("hello"), *b = hold_strndup("hello", 3), *c = hold_strndup("hi", 99);
    assert_string_equal(a, "hello");
    assert_string_equal(b, "hel");
    assert_string_equal(c, "hi");
    hold_free(a);
    hold_free(b);
    hold_free(c);
}

static void the_nth_allocation_fails_once(void **state) {
    (void)state;
    hold_mem_fail_at(3);
    void *a = hold_malloc(8), *b = hold_calloc(1, 8), *c = hold_malloc(8), *d = hold_malloc(8);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(c);
    assert_non_null(d);
    hold_mem_fail_at(1);
    assert_null(hold_realloc(a, 16)); /* and a is still ours */
    assert_int_equal(hold_mem_fail_at(5), 0);
    assert_int_equal(hold_mem_fail_at(0), 5);
    void *e = hold_malloc(8);
    assert_non_null(e);
    hold_mem_fail_at(-2); /* the second and all after it */
    void *f = hold_malloc(8);
    assert_non_null(f);
    for (int i = 0; i < 3; i++)
        assert_null(hold_malloc(8));
    assert_int_equal(hold_mem_fail_at(0), 0);
    hold_free(f);
    hold_free(a);
    hold_free(b);
    hold_free(d);
    hold_free(e);
}

static void new_reports(void **state) {
    (void)state;
    struct hold_error err = {0};
    void *p = &err;
    assert_int_equal(hold_new(&p, SIZE_MAX / 2, 4, "the table", &err), HOLD_ENOMEMORY);
    assert_null(p);
    assert_non_null(strstr(err.text, "not enough memory for the table"));
    assert_int_equal(hold_new(&p, 4, 4, "the table", &err), HOLD_OK);
    assert_memory_equal(p, ((char[16]){0}), 16);
    hold_free(p);
}

static void arena_is_aligned_zeroed_and_apart(void **state) {
    (void)state;
    struct hold_arena a;
    hold_arena_init(&a, 256);
    unsigned char *last = NULL;
    for (size_t i = 0; i < 200; i++) {
        unsigned char *p = hold_arena_alloc(&a, i);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t j = 0; j < i; j++)
            assert_int_equal(p[j], 0);
        memset(p, 0xAB, i);
        if (last)
            for (size_t j = 0; j < i - 1; j++)
                assert_int_equal(last[j], 0xAB);
        last = p;
    }
    hold_arena_release(&a);
}

static void arena_takes_what_is_larger_than_a_chunk(void **state) {
    (void)state;
    struct hold_arena a;
    hold_arena_init(&a, 64);
    char *small = hold_arena_strdup(&a, "small");
    char *big = hold_arena_alloc(&a, 100000);
    char *cut = hold_arena_strndup(&a, "abcdef", 4);
    memset(big, 1, 100000);
    assert_string_equal(small, "small");
    assert_string_equal(cut, "abcd");
    assert_null(hold_arena_alloc(&a, SIZE_MAX));
    assert_null(hold_arena_alloc(&a, SIZE_MAX - 64));
    hold_arena_release(&a);
    hold_arena_release(&a);
}

static void arena_rewinds_and_reuses(void **state) {
    (void)state;
    struct hold_arena a;
    hold_arena_init(&a, 1024);
    struct hold_arena_mark start = hold_arena_mark(&a);
    char *kept = hold_arena_strdup(&a, "kept");
    struct hold_arena_mark mark = hold_arena_mark(&a);
    for (int i = 0; i < 50; i++)
        memset(hold_arena_alloc(&a, 300), 0xFF, 300);
    hold_arena_rewind(&a, mark);
    hold_mem_fail_at(1); /* any allocation would fail: all comes from the kept chunks */
    for (int i = 0; i < 50; i++) {
        unsigned char *p = hold_arena_alloc(&a, 300);
        assert_non_null(p);
        assert_int_equal(p[0], 0);
        assert_int_equal(p[299], 0);
        memset(p, 0xEE, 300);
    }
    assert_string_equal(kept, "kept");
    hold_arena_rewind(&a, start);
    assert_ptr_equal(hold_arena_alloc(&a, 5), kept);
    hold_mem_fail_at(0);
    hold_arena_release(&a);
}

static void arena_survives_a_failure(void **state) {
    (void)state;
    struct hold_arena a;
    hold_arena_init(&a, 128);
    hold_mem_fail_at(1);
    assert_null(hold_arena_alloc(&a, 10));
    char *p = hold_arena_strdup(&a, "first");
    hold_mem_fail_at(1);
    assert_null(hold_arena_alloc(&a, 1000));
    assert_non_null(hold_arena_alloc(&a, 1000));
    assert_string_equal(p, "first");
    hold_arena_release(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_overflow_is_seen),
        cmocka_unit_test(calloc_zeroes_and_checks),
        cmocka_unit_test(nothing_is_still_a_pointer),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(the_nth_allocation_fails_once),
        cmocka_unit_test(new_reports),
        cmocka_unit_test(arena_is_aligned_zeroed_and_apart),
        cmocka_unit_test(arena_takes_what_is_larger_than_a_chunk),
        cmocka_unit_test(arena_rewinds_and_reuses),
        cmocka_unit_test(arena_survives_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
