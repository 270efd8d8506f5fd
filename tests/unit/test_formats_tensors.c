/* test_formats_tensors.c: half precision, quantised blocks, sizes and look-up by name. */
#include "test_formats_common.h"

#include <math.h>

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static void test_f16_values(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        int exponent = (int)(h >> 10 & 31), mantissa = (int)(h & 1023);
        float x = hold_f16_to_f32((uint16_t)h);
        if (exponent == 31) {
            assert_true(mantissa ? isnan(x) : isinf(x));
            assert_int_equal(signbit(x) != 0, h >> 15);
            assert_true(mantissa ? isnan(hold_f16_to_f32(hold_f32_to_f16(x)))
                                 : hold_f32_to_f16(x) == h);
            continue;
        }
        double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
        assert_true((double)x == (h >> 15 ? -value : value));
        assert_int_equal(hold_f32_to_f16(x), h);
    }
}

/* Round to nearest, ties to even, against the two neighbours. */
static void test_f16_rounding(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x7BFF; h++) {
        double low = (double)hold_f16_to_f32((uint16_t)h),
               high = (double)hold_f16_to_f32((uint16_t)(h + 1));
        float middle = (float)((low + high) / 2); /* exact in f32 */
        assert_int_equal(hold_f32_to_f16(middle), h % 2 ? h + 1 : h);
        assert_int_equal(hold_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(hold_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(hold_f32_to_f16(-middle), 0x8000 | (h % 2 ? h + 1 : h));
    }
    assert_int_equal(hold_f32_to_f16(65519.996F), 0x7BFF);
    assert_int_equal(hold_f32_to_f16(65520.0F), 0x7C00);
    assert_int_equal(hold_f32_to_f16(1e30F), 0x7C00);
    assert_int_equal(hold_f32_to_f16(float_of(1)), 0);
}

static void test_bf16(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x7F80; h++) {
        float x = hold_bf16_to_f32((uint16_t)h);
        assert_int_equal(bits_of(x), h << 16);
        assert_int_equal(hold_f32_to_bf16(x), h);
        uint32_t tie = h << 16 | 0x8000;
        assert_int_equal(hold_f32_to_bf16(float_of(tie)), h % 2 ? h + 1 : h);
        assert_int_equal(hold_f32_to_bf16(float_of(tie - 1)), h);
        assert_int_equal(hold_f32_to_bf16(float_of(tie + 1)), h + 1);
    }
    assert_true(isnan(hold_bf16_to_f32(hold_f32_to_bf16(float_of(0x7F800001)))));
    assert_int_equal(hold_f32_to_bf16(-INFINITY), 0xFF80);
}

static enum hold_stored_type type_named(const char *name) {
    for (int i = 0; i < HOLD_ST_COUNT; i++) {
        if (strcmp(hold_stored_type_name((enum hold_stored_type)i), name) == 0) {
            return (enum hold_stored_type)i;
        }
    }
    fail_msg("no type %s", name);
    return HOLD_ST_COUNT;
}

/* Every quantised type equals the gguf package bit for bit, whole and block by block. */
/* The levels give the same values, and lie within what the type promises. */
static void check_levels(const struct hold_stored *t, const float *expected) {
    struct hold_stored_levels x;
    assert_true(hold_stored_levels(t, &x));
    int64_t n = hold_stored_count(t);
    int8_t *q = malloc((size_t)n);
    float *scale = malloc((size_t)n * sizeof *scale), *min = malloc((size_t)n * sizeof *min);
    hold_stored_take_levels(t, q, scale, min);
    for (int64_t i = 0; i < n; i++) {
        float product = (float)q[i] * scale[i / x.group], value = product + min[i / x.group];
        assert_int_equal(bits_of(x.min ? value : product), bits_of(expected[i]));
        assert_true(q[i] >= x.lowest && q[i] < x.lowest + (1 << x.bits));
        assert_true(x.min || min[i / x.group] == 0);
    }
    free(q);
    free(scale);
    free(min);
}

static void test_dequantize_golden(void **state) {
    (void)state;
    json_t *golden = load_json(GOLDEN "dequantize.json"), *entry;
    const char *name;
    int types = 0;
    json_object_foreach(golden, name, entry) {
        const char *blocks = json_string_value(json_object_get(entry, "blocks"));
        const char *values = json_string_value(json_object_get(entry, "values"));
        size_t n_bytes = strlen(blocks) / 2, n = strlen(values) / 8;
        uint8_t *bytes = malloc(n_bytes);
        float *out = calloc(n, sizeof *out);
        for (size_t i = 0; i < n_bytes; i++) {
            char two[3] = {blocks[2 * i], blocks[2 * i + 1], 0};
            bytes[i] = (uint8_t)strtoul(two, NULL, 16);
        }
        struct hold_stored t = {.name = name,
                                .type = type_named(name),
                                .n_dims = 1,
                                .dim = {(int64_t)n},
                                .data = bytes};
        struct hold_error err = {0};
        assert_ok(hold_stored_measure(&t, "golden", &err), &err);
        assert_int_equal(t.bytes, n_bytes);
        for (int whole = 0; whole < 2; whole++) {
            int64_t step = whole ? (int64_t)n : hold_stored_block(t.type);
            memset(out, 0, n * sizeof *out);
            for (int64_t first = 0; first < (int64_t)n; first += step) {
                assert_ok(hold_stored_to_f32(&t, first, step, out + first, &err), &err);
            }
            for (size_t i = 0; i < n; i++) {
                char eight[9] = {0};
                memcpy(eight, values + 8 * i, 8);
                assert_int_equal(bits_of(out[i]), strtoul(eight, NULL, 16));
            }
        }
        check_levels(&t, out);
        free(bytes);
        free(out);
        types++;
    }
    assert_int_equal(types, 8);
    json_decref(golden);
}

static void test_plain_types(void **state) {
    (void)state;
    const double reals[3] = {1.5, -2.25, 1e-3};
    const float floats[3] = {1.5F, -2.25F, 1e-3F};
    float out[3] = {0};
    struct hold_error err = {0};
    struct hold_stored t = {.name = "x",
                            .type = HOLD_ST_F64,
                            .n_dims = 1,
                            .dim = {3, 1, 1, 1},
                            .data = reals,
                            .bytes = 24};
    assert_ok(hold_stored_to_f32(&t, 0, 3, out, &err), &err);
    assert_memory_equal(out, floats, sizeof out);
    t.type = HOLD_ST_F32;
    t.data = floats;
    out[0] = 0;
    assert_ok(hold_stored_to_f32(&t, 1, 2, out, &err), &err);
    assert_memory_equal(out, floats + 1, 2 * sizeof *out);
    assert_refused(hold_stored_to_f32(&t, 2, 2, out, &err), HOLD_EINTERNAL, &err, "2+2");
    assert_refused(hold_stored_to_f32(&t, -1, 1, out, &err), HOLD_EINTERNAL, &err, "-1+1");
    t.type = HOLD_ST_I32;
    assert_refused(hold_stored_to_f32(&t, 0, 1, out, &err), HOLD_EFORMAT, &err, "I32");
}

static void test_block_borders(void **state) {
    (void)state;
    uint8_t block[36] = {0};
    float out[64];
    struct hold_error err = {0};
    struct hold_stored t = {.name = "q",
                            .type = HOLD_ST_Q4_0,
                            .n_dims = 2,
                            .dim = {1, 64, 1, 1},
                            .data = block,
                            .bytes = 36};
    assert_ok(hold_stored_to_f32(&t, 32, 32, out, &err), &err);
    assert_refused(hold_stored_to_f32(&t, 16, 32, out, &err), HOLD_EINTERNAL, &err, "blocks of 32");
    assert_refused(hold_stored_to_f32(&t, 0, 16, out, &err), HOLD_EINTERNAL, &err, "blocks of 32");
}

static void test_measure(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_stored t = {.name = "w", .type = HOLD_ST_Q8_0, .n_dims = 2, .dim = {3, 64}};
    assert_ok(hold_stored_measure(&t, "f", &err), &err);
    assert_int_equal(t.bytes, 3 * 68);
    assert_int_equal(hold_stored_count(&t), 192);
    t.dim[1] = 48; /* not a multiple of the block, though 2 * 48 would be */
    t.dim[0] = 2;
    assert_refused(hold_stored_measure(&t, "f", &err), HOLD_EFORMAT, &err, "multiple of 32");
    struct hold_stored wrap = {.name = "w",
                               .type = HOLD_ST_F32,
                               .n_dims = 3,
                               .dim = {INT64_C(1) << 32, INT64_C(1) << 32, 4}};
    assert_refused(hold_stored_measure(&wrap, "f", &err), HOLD_EFORMAT, &err, "product");
    struct hold_stored wide = {.name = "w", .type = HOLD_ST_F64, .n_dims = 1, .dim = {INT64_MAX}};
    assert_refused(hold_stored_measure(&wide, "f", &err), HOLD_EFORMAT, &err, "bytes");
    struct hold_stored empty = {
        .name = "w", .type = HOLD_ST_F32, .n_dims = 2, .dim = {0, INT64_MAX}};
    assert_ok(hold_stored_measure(&empty, "f", &err), &err);
    assert_int_equal(empty.bytes, 0);
    assert_int_equal(hold_stored_bytes(HOLD_ST_Q4_K, 255), 0);
    assert_int_equal(hold_stored_bytes(HOLD_ST_Q4_K, 512), 288);
}

static void test_names(void **state) {
    (void)state;
    struct hold_error err = {0};
    const struct hold_stored **sorted = NULL;
    struct hold_stored list[5] = {
        {.name = "d"}, {.name = "a"}, {.name = "c"}, {.name = "b"}, {.name = "a.b"}};
    assert_ok(hold_stored_sort(list, 5, "f", &sorted, &err), &err);
    for (int i = 0; i < 5; i++) {
        assert_ptr_equal(hold_stored_sorted_find(sorted, 5, list[i].name), &list[i]);
        assert_ptr_equal(hold_stored_find(list, 5, list[i].name), &list[i]);
    }
    assert_null(hold_stored_sorted_find(sorted, 5, "aa"));
    assert_null(hold_stored_find(list, 5, "e"));
    hold_free(sorted);
    list[4].name = "c";
    assert_refused(hold_stored_sort(list, 5, "f", &sorted, &err), HOLD_EFORMAT, &err,
                   "f: tensor c is there twice");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_values),  cmocka_unit_test(test_f16_rounding),
        cmocka_unit_test(test_bf16),        cmocka_unit_test(test_dequantize_golden),
        cmocka_unit_test(test_plain_types), cmocka_unit_test(test_block_borders),
        cmocka_unit_test(test_measure),     cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
