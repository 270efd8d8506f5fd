/* test_formats_gguf.c: the GGUF reader on a good file and on every damaged one we know of. */
#include "test_formats_common.h"

#include <time.h>

#include "formats/gguf.h"

/* What is wrong with the file; NONE: nothing. */
enum fault {
    NONE,
    VERSION_2,
    ALIGN_64,
    ARRAY_WIDE, /* no fault */
    BAD_MAGIC,
    VERSION_0,
    VERSION_1,
    VERSION_4,
    VERSION_SWAPPED,
    TENSORS_MINUS_1,
    KEYS_MINUS_1,
    TENSORS_TOO_MANY,
    KEYS_TOO_MANY,
    KEY_LENGTH_MINUS_1,
    KEY_EMPTY,
    KEY_NUL,
    KEY_NOT_UTF8,
    KEY_TYPE,
    KEY_TWICE,
    TEXT_LENGTH,
    TEXT_LENGTH_WRAP,
    BOOL_2,
    ARRAY_TYPE,
    ARRAY_OF_ARRAYS,
    ARRAY_LENGTH,
    ARRAY_WRAP,
    ARRAY_TEXT_LENGTH,
    ALIGN_13,
    ALIGN_0,
    ALIGN_2_31,
    ALIGN_TEXT,
    NAME_EMPTY,
    NAME_LONG,
    NAME_TWICE,
    DIMS_0,
    DIMS_5,
    DIMS_HUGE,
    DIM_ZERO,
    DIM_NEGATIVE,
    PRODUCT_WRAP_ZERO,
    PRODUCT_WRAP_NEGATIVE,
    BYTES_OVERFLOW,
    ROW_NOT_BLOCK,
    TYPE_UNKNOWN,
    TYPE_REFUSED,
    OFFSET_NOT_NEXT,
    OFFSET_OVERLAP,
    OFFSET_HUGE,
    DATA_SHORT,
    DATA_ZIP_BEHIND,
    FAULTS
};

static void add_text(struct hold_str *s, const char *text) {
    add_u64(s, strlen(text));
    hold_str_add(s, text);
}

static void add_key(struct hold_str *s, const char *key, uint32_t type) {
    add_text(s, key);
    add_u32(s, type);
}

/* GGUF's value types. */
enum { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, TEXT = 8, ARRAY = 9, U64 = 10 };

static void add_tensor(struct hold_str *s, const char *name, uint32_t n_dims, const uint64_t *dims,
                       uint32_t type, uint64_t offset) {
    add_text(s, name);
    add_u32(s, n_dims);
    for (uint32_t i = 0; i < n_dims && i < 5; i++) {
        add_u64(s, dims[i]);
    }
    add_u32(s, type);
    add_u64(s, offset);
}

static void add_keys(struct hold_str *s, enum fault f) {
    if (f == KEY_LENGTH_MINUS_1) {
        add_u64(s, UINT64_MAX);
        hold_str_add(s, "general.name");
        add_u32(s, TEXT);
    } else if (f == KEY_NUL) {
        add_u64(s, 12);
        hold_str_add_bytes(s, "general\0name", 12);
        add_u32(s, TEXT);
    } else {
        add_key(s,
                f == KEY_EMPTY      ? ""
                : f == KEY_NOT_UTF8 ? "general.\xC3"
                                    : "general.name",
                f == KEY_TYPE ? 13 : TEXT);
    }
    add_u64(s, f == TEXT_LENGTH ? 100000 : f == TEXT_LENGTH_WRAP ? UINT64_MAX - 3 : 4);
    hold_str_add(s, "tiny");

    if (f == ALIGN_TEXT) {
        add_key(s, "general.alignment", TEXT);
        add_text(s, "32");
    } else {
        add_key(s, "general.alignment", U32);
        add_u32(s, f == ALIGN_13     ? 13
                   : f == ALIGN_0    ? 0
                   : f == ALIGN_2_31 ? 1U << 31
                   : f == ALIGN_64   ? 64
                                     : 32);
    }
    add_key(s, f == KEY_TWICE ? "general.name" : "x.flag", BOOL);
    hold_str_add_char(s, f == BOOL_2 ? 2 : 1);

    add_key(s, "x.numbers", ARRAY);
    add_u32(s, f == ARRAY_TYPE ? 99 : f == ARRAY_OF_ARRAYS ? ARRAY : f == ARRAY_WIDE ? U64 : I32);
    add_u64(s, f == ARRAY_LENGTH ? 1000 : f == ARRAY_WRAP ? UINT64_C(0x4000000000000002) : 2);
    add_u32(s, 7);
    add_u32(s, (uint32_t)-8);
    if (f == ARRAY_WIDE) { /* two 64-bit items */
        add_u64(s, 1);
    }
    add_key(s, "x.texts", ARRAY);
    add_u32(s, TEXT);
    add_u64(s, 3);
    add_text(s, "one");
    add_text(s, "");
    add_u64(s, f == ARRAY_TEXT_LENGTH ? 1 << 20 : 5);
    hold_str_add(s, "three");
    add_key(s, "x.real", F32);
    add_u32(s, 0x3FC00000);
    add_key(s, "x.big", U64);
    add_u64(s, UINT64_MAX);
    add_key(s, "x.reals", ARRAY);
    add_u32(s, F32);
    add_u64(s, 1);
    add_u32(s, 0x40000000);
}
enum { N_KEYS = 8 };

static void add_tensors(struct hold_str *s, enum fault f) {
    char name[66];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    uint64_t dims[5] = {3, 2, 1, 1, 1};
    uint64_t alignment = f == ALIGN_64 ? 64 : 32;
    if (f == DIM_ZERO || f == DIM_NEGATIVE) {
        dims[0] = f == DIM_ZERO ? 0 : UINT64_MAX;
    } else if (f == PRODUCT_WRAP_ZERO) { /* 2^64 */
        dims[0] = dims[1] = UINT64_C(1) << 32;
    } else if (f == PRODUCT_WRAP_NEGATIVE) { /* 2^63 */
        dims[0] = UINT64_C(1) << 32;
        dims[1] = UINT64_C(1) << 31;
    } else if (f == BYTES_OVERFLOW) { /* 2^62 elements of 4 bytes */
        dims[0] = dims[1] = UINT64_C(1) << 31;
    } else if (f == ROW_NOT_BLOCK) {
        dims[0] = 16;
    }
    add_tensor(s,
               f == NAME_EMPTY  ? ""
               : f == NAME_LONG ? name
                                : "first",
               f == DIMS_0      ? 0
               : f == DIMS_5    ? 5
               : f == DIMS_HUGE ? UINT32_MAX
                                : 2,
               dims,
               f == TYPE_UNKNOWN    ? 12345
               : f == TYPE_REFUSED  ? 11
               : f == ROW_NOT_BLOCK ? 2
                                    : 0,
               0);
    uint64_t vector[1] = {4};
    add_tensor(s, f == NAME_TWICE ? "first" : "second", 1, vector, 1,
               f == OFFSET_NOT_NEXT  ? 64
               : f == OFFSET_OVERLAP ? 0
               : f == OFFSET_HUGE    ? UINT64_MAX - 31
                                     : alignment);
}

/* Two tensors: "first" (2, 3) of F32 1..6, "second" (4) of F16 1, 2, 3, 4. */
static void build(struct hold_str *s, enum fault f) {
    static const float FIRST[6] = {1, 2, 3, 4, 5, 6};
    static const uint16_t SECOND[4] = {0x3C00, 0x4000, 0x4200, 0x4400};
    size_t alignment = f == ALIGN_64 ? 64 : 32;
    hold_str_add(s, f == BAD_MAGIC ? "GGUX" : "GGUF");
    add_u32(s, f == VERSION_2         ? 2
               : f == VERSION_0       ? 0
               : f == VERSION_1       ? 1
               : f == VERSION_4       ? 4
               : f == VERSION_SWAPPED ? 0x03000000
                                      : 3);
    add_u64(s, f == TENSORS_MINUS_1 ? UINT64_MAX : f == TENSORS_TOO_MANY ? 1000 : 2);
    add_u64(s, f == KEYS_MINUS_1 ? UINT64_MAX : f == KEYS_TOO_MANY ? 1000 : N_KEYS);
    add_keys(s, f);
    add_tensors(s, f);
    add_zeros(s, (alignment - s->len % alignment) % alignment);
    hold_str_add_bytes(s, FIRST, sizeof FIRST);
    add_zeros(s, alignment - sizeof FIRST);
    hold_str_add_bytes(s, SECOND, f == DATA_SHORT ? 6 : 8);
    if (f == DATA_ZIP_BEHIND) {
        hold_str_add(s, "PK\003\004 and more of an archive that another reader would find");
    }
}

static void test_good(void **state) {
    (void)state;
    static const enum fault GOOD[] = {NONE, VERSION_2, ALIGN_64};
    for (size_t k = 0; k < sizeof GOOD / sizeof *GOOD; k++) {
        struct hold_error err = {0};
        struct hold_str s = HOLD_STR_INIT;
        struct hold_gguf *g = NULL;
        int64_t n;
        build(&s, GOOD[k]);
        put("good.gguf", &s);
        assert_ok(hold_gguf_open(&g, "good.gguf", &err), &err);
        const struct hold_stored *t = hold_gguf_tensors(g, &n);
        assert_int_equal(n, 2);
        assert_string_equal(t[0].name, "first");
        assert_int_equal(t[0].n_dims, 2);
        assert_int_equal(t[0].dim[0], 2);
        assert_int_equal(t[0].dim[1], 3);
        assert_int_equal(t[1].dim[0], 4);
        assert_int_equal(t[1].type, HOLD_ST_F16);
        float x[6];
        assert_ok(hold_stored_to_f32(&t[0], 0, 6, x, &err), &err);
        for (int i = 0; i < 6; i++) {
            assert_true(x[i] == (float)(i + 1));
        }
        assert_ok(hold_stored_to_f32(&t[1], 0, 4, x, &err), &err);
        assert_true(x[3] == 4.0F);
        hold_gguf_free(g);
    }
}

static void test_padded_end(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str s = HOLD_STR_INIT;
    struct hold_gguf *g = NULL;
    build(&s, NONE);
    add_zeros(&s, 24); /* the last tensor padded, as the gguf package writes it */
    put("padded.gguf", &s);
    assert_ok(hold_gguf_open(&g, "padded.gguf", &err), &err);
    hold_gguf_free(g);
}

static void test_values(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str s = HOLD_STR_INIT;
    struct hold_gguf *g = NULL;
    int64_t i, n;
    double r;
    const char *text;
    const int32_t *ints, *lengths;
    const float *reals;
    const char *const *texts;
    build(&s, NONE);
    put("v.gguf", &s);
    assert_ok(hold_gguf_open(&g, "v.gguf", &err), &err);
    assert_true(hold_gguf_has(g, "x.flag"));
    assert_false(hold_gguf_has(g, "x.flags"));
    assert_ok(hold_gguf_text_or(g, "general.name", NULL, &text, &err), &err);
    assert_string_equal(text, "tiny");
    assert_ok(hold_gguf_text_or(g, "nothing", "def", &text, &err), &err);
    assert_string_equal(text, "def");
    assert_ok(hold_gguf_int_or(g, "x.flag", 0, &i, &err), &err);
    assert_int_equal(i, 1);
    assert_ok(hold_gguf_int_or(g, "nothing", 9, &i, &err), &err);
    assert_int_equal(i, 9);
    assert_ok(hold_gguf_real_or(g, "x.real", 0, &r, &err), &err);
    assert_true(r == 1.5);
    assert_ok(hold_gguf_ints(g, "x.numbers", &ints, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_int_equal(ints[1], -8);
    assert_ok(hold_gguf_reals(g, "x.reals", &reals, &n, &err), &err);
    assert_true(n == 1 && reals[0] == 2.0F);
    assert_ok(hold_gguf_texts(g, "x.texts", &texts, &lengths, &n, &err), &err);
    assert_int_equal(n, 3);
    assert_string_equal(texts[0], "one");
    assert_string_equal(texts[1], "");
    assert_string_equal(texts[2], "three");
    assert_int_equal(lengths[2], 5);

    assert_refused(hold_gguf_int_or(g, "x.big", 0, &i, &err), HOLD_EFORMAT, &err, "x.big");
    assert_refused(hold_gguf_int_or(g, "x.real", 0, &i, &err), HOLD_EFORMAT, &err,
                   "v.gguf: x.real: found float32, expected an integer");
    assert_refused(hold_gguf_int_or(g, "x.numbers", 0, &i, &err), HOLD_EFORMAT, &err,
                   "found an array of int32");
    assert_refused(hold_gguf_real_or(g, "x.flag", 0, &r, &err), HOLD_EFORMAT, &err, "found bool");
    assert_refused(hold_gguf_text_or(g, "x.real", NULL, &text, &err), HOLD_EFORMAT, &err,
                   "expected a string");
    assert_refused(hold_gguf_texts(g, "x.numbers", &texts, &lengths, &n, &err), HOLD_EFORMAT, &err,
                   "expected an array of strings");
    assert_refused(hold_gguf_ints(g, "x.texts", &ints, &n, &err), HOLD_EFORMAT, &err,
                   "expected an array of integers");
    assert_refused(hold_gguf_reals(g, "general.name", &reals, &n, &err), HOLD_EFORMAT, &err,
                   "expected an array of real");
    assert_refused(hold_gguf_ints(g, "nothing", &ints, &n, &err), HOLD_ENOTFOUND, &err,
                   "key nothing is missing");
    hold_gguf_free(g);
    /* Numbers of 64 bits do no harm until somebody asks for them. */
    hold_str_clear(&s);
    build(&s, ARRAY_WIDE);
    put("v.gguf", &s);
    assert_ok(hold_gguf_open(&g, "v.gguf", &err), &err);
    assert_refused(hold_gguf_ints(g, "x.numbers", &ints, &n, &err), HOLD_EFORMAT, &err,
                   "v.gguf: x.numbers: item 0 does not fit in 32 bits");
    assert_ok(hold_gguf_reals(g, "x.reals", &reals, &n, &err), &err);
    hold_gguf_free(g);
}

static const struct {
    enum fault fault;
    int code;
    const char *part;
} FAULT[] = {
    {BAD_MAGIC, HOLD_EFORMAT, "byte 0: found 47 47 55 58"},
    {VERSION_0, HOLD_EUNSUPPORTED, "version 0"},
    {VERSION_1, HOLD_EUNSUPPORTED, "version 1, expected 2 or 3"},
    {VERSION_4, HOLD_EUNSUPPORTED, "version 4"},
    {VERSION_SWAPPED, HOLD_EUNSUPPORTED, "(big-endian)"},
    {TENSORS_MINUS_1, HOLD_EFORMAT, "byte 8: the number of tensors is 18446744073709551615"},
    {KEYS_MINUS_1, HOLD_EFORMAT, "byte 16: the number of metadata keys"},
    {TENSORS_TOO_MANY, HOLD_EFORMAT, "the number of tensors is 1000"},
    {KEYS_TOO_MANY, HOLD_EFORMAT, "the number of metadata keys is 1000"},
    {KEY_LENGTH_MINUS_1, HOLD_EFORMAT, "a metadata key of 18446744073709551615 bytes"},
    {KEY_EMPTY, HOLD_EFORMAT, "a metadata key of 0 bytes"},
    {KEY_NUL, HOLD_EFORMAT, "a metadata key is not UTF-8 text"},
    {KEY_NOT_UTF8, HOLD_EFORMAT, "a metadata key is not UTF-8 text"},
    {KEY_TYPE, HOLD_EFORMAT, "general.name: value type 13"},
    {KEY_TWICE, HOLD_EFORMAT, "metadata key general.name is there twice"},
    {TEXT_LENGTH, HOLD_EFORMAT, "general.name is 100000"},
    {TEXT_LENGTH_WRAP, HOLD_EFORMAT, "general.name is 18446744073709551612"},
    {BOOL_2, HOLD_EFORMAT, "x.flag: found 2 for a bool"},
    {ARRAY_TYPE, HOLD_EFORMAT, "x.numbers: value type 99"},
    {ARRAY_OF_ARRAYS, HOLD_EFORMAT, "array of arrays"},
    {ARRAY_LENGTH, HOLD_EFORMAT, "x.numbers is 1000"},
    {ARRAY_WRAP, HOLD_EFORMAT, "x.numbers is 4611686018427387906"},
    {ARRAY_TEXT_LENGTH, HOLD_EFORMAT, "x.texts needs 1048576 bytes"},
    {ALIGN_13, HOLD_EFORMAT, "general.alignment: found 13"},
    {ALIGN_0, HOLD_EFORMAT, "general.alignment: found 0"},
    {ALIGN_2_31, HOLD_EFORMAT, "general.alignment: found 2147483648"},
    {ALIGN_TEXT, HOLD_EFORMAT, "general.alignment: found string"},
    {NAME_EMPTY, HOLD_EFORMAT, "a tensor name of 0 bytes"},
    {NAME_LONG, HOLD_EFORMAT, "a tensor name of 65 bytes"},
    {NAME_TWICE, HOLD_EFORMAT, "tensor first is there twice"},
    {DIMS_0, HOLD_EFORMAT, "tensor first: 0 dimensions"},
    {DIMS_5, HOLD_EFORMAT, "tensor first: 5 dimensions"},
    {DIMS_HUGE, HOLD_EFORMAT, "tensor first: 4294967295 dimensions"},
    {DIM_ZERO, HOLD_EFORMAT, "tensor first: a dimension of 0"},
    {DIM_NEGATIVE, HOLD_EFORMAT, "tensor first: a dimension of 18446744073709551615"},
    {PRODUCT_WRAP_ZERO, HOLD_EFORMAT, "tensor first: the shape's product"},
    {PRODUCT_WRAP_NEGATIVE, HOLD_EFORMAT, "tensor first: the shape's product"},
    {BYTES_OVERFLOW, HOLD_EFORMAT, "tensor first: the size in bytes"},
    {ROW_NOT_BLOCK, HOLD_EFORMAT, "tensor first: rows of 16 elements"},
    {TYPE_UNKNOWN, HOLD_EFORMAT, "tensor first: type number 12345"},
    {TYPE_REFUSED, HOLD_EUNSUPPORTED, "tensor first: type Q3_K is not supported"},
    {OFFSET_NOT_NEXT, HOLD_EFORMAT, "tensor second: offset 64, expected 32"},
    {OFFSET_OVERLAP, HOLD_EFORMAT, "tensor second: offset 0, expected 32"},
    {OFFSET_HUGE, HOLD_EFORMAT, "tensor second: offset 18446744073709551584"},
    {DATA_SHORT, HOLD_EFORMAT, "tensor second: 8 bytes at byte"},
    {DATA_ZIP_BEHIND, HOLD_EFORMAT, "bytes after the last tensor"},
};

static void test_faults(void **state) {
    (void)state;
    assert_int_equal(sizeof FAULT / sizeof *FAULT, FAULTS - BAD_MAGIC);
    for (size_t i = 0; i < sizeof FAULT / sizeof *FAULT; i++) {
        struct hold_error err = {0};
        struct hold_str s = HOLD_STR_INIT;
        struct hold_gguf *g = NULL;
        build(&s, FAULT[i].fault);
        put("bad.gguf", &s);
        assert_refused(hold_gguf_open(&g, "bad.gguf", &err), FAULT[i].code, &err, FAULT[i].part);
        assert_true(hold_starts(err.text, "bad.gguf: "));
        assert_null(g);
    }
}

/* Cut anywhere, the file is refused and nothing beyond its end is read. */
static void test_truncated(void **state) {
    (void)state;
    struct hold_str s = HOLD_STR_INIT;
    build(&s, NONE);
    for (size_t n = 1; n < s.len; n++) {
        struct hold_error err = {0};
        struct hold_gguf *g = NULL;
        put_bytes("cut.gguf", s.data, n);
        assert_int_equal(hold_gguf_open(&g, "cut.gguf", &err), HOLD_EFORMAT);
        assert_null(g);
    }
    hold_str_release(&s);
}

/* Every byte set to a few values: open or refuse, never more (the sanitizers watch). */
static void test_flipped(void **state) {
    (void)state;
    static const unsigned char VALUES[] = {0x00, 0x01, 0x7F, 0x80, 0xFF};
    struct hold_str s = HOLD_STR_INIT;
    int refused = 0;
    build(&s, NONE);
    for (size_t at = 0; at < s.len - 40; at++) {
        char old = s.data[at];
        for (size_t k = 0; k < sizeof VALUES; k++) {
            struct hold_error err = {0};
            struct hold_gguf *g = NULL;
            s.data[at] = (char)VALUES[k];
            put_bytes("flip.gguf", s.data, s.len);
            int rc = hold_gguf_open(&g, "flip.gguf", &err);
            refused += rc != HOLD_OK;
            assert_true(rc == HOLD_OK || rc == HOLD_EFORMAT || rc == HOLD_EUNSUPPORTED);
            hold_gguf_free(g);
        }
        s.data[at] = old;
    }
    assert_true(refused > 300);
    hold_str_release(&s);
}

/* As many tensors as are allowed, all with one name: found in linear-logarithmic time. */
static void test_many_names(void **state) {
    (void)state;
    enum { N = 1 << 18 };
    struct hold_error err = {0};
    struct hold_str s = HOLD_STR_INIT;
    struct hold_gguf *g = NULL;
    const uint64_t dims[1] = {1};
    char name[16];
    hold_str_add(&s, "GGUF");
    add_u32(&s, 3);
    add_u64(&s, N);
    add_u64(&s, 0);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "t%07d", i == N - 1 ? 0 : i);
        add_tensor(&s, name, 1, dims, 0, (uint64_t)i * 32);
    }
    put("many.gguf", &s);
    clock_t start = clock();
    assert_refused(hold_gguf_open(&g, "many.gguf", &err), HOLD_EFORMAT, &err,
                   "tensor t0000000 is there twice");
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 2.0);
    hold_str_add(&s, "GGUF");
    add_u32(&s, 3);
    add_u64(&s, 0);
    add_u64(&s, 10000000);
    put("many.gguf", &s);
    assert_int_equal(truncate("many.gguf", 160000000), 0);
    assert_refused(hold_gguf_open(&g, "many.gguf", &err), HOLD_EFORMAT, &err,
                   "keys is 10000000, expected at most 65536");
}

static void test_other_kinds(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *part;
    } KINDS[] = {
        {"PK\003\004xxxx", 8, "a zip archive"},     {"\x80\x02}q", 4, "a Python pickle"},
        {"\x80\x05\x95", 3, "a Python pickle"},     {"lmgg\1\0\0\0", 8, "an old GGML file"},
        {"tjgg\3\0\0\0", 8, "an old GGML file"},    {"\211HDF\r\n\032\n", 8, "an HDF5 file"},
        {"\x08\x07\x12\x07pytorch", 11, "an ONNX"}, {"\037\213\010", 3, "a gzip file"},
        {"\034\0\0\0TFL3", 8, "TensorFlow Lite"},   {"GGU", 3, "the magic needs 4 bytes"},
        {"version https://git-lfs", 23, "Git LFS"}, {"<!DOCTYPE html>", 15, "an HTML page"},
    };
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        struct hold_error err = {0};
        struct hold_str s = HOLD_STR_INIT;
        struct hold_gguf *g = NULL;
        hold_str_add_bytes(&s, KINDS[i].bytes, KINDS[i].n);
        put("other", &s);
        assert_refused(hold_gguf_open(&g, "other", &err), HOLD_EFORMAT, &err, KINDS[i].part);
    }
    struct hold_error err = {0};
    struct hold_gguf *g = NULL;
    assert_refused(hold_gguf_open(&g, "missing.gguf", &err), HOLD_ENOTFOUND, &err, "missing.gguf");
}

/* Every allocation that fails is reported, and nothing is left behind (the sanitizers watch). */
static void test_no_memory(void **state) {
    (void)state;
    struct hold_str s = HOLD_STR_INIT;
    build(&s, NONE);
    put("m.gguf", &s);
    for (int64_t k = 1;; k++) {
        struct hold_error err = {0};
        struct hold_gguf *g = NULL;
        hold_mem_fail_at(k);
        int rc = hold_gguf_open(&g, "m.gguf", &err);
        hold_mem_fail_at(0);
        if (rc == HOLD_OK) {
            assert_true(k > 4);
            hold_gguf_free(g);
            break;
        }
        assert_int_equal(rc, HOLD_ENOMEMORY);
        assert_null(g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_good, enter, leave),
        cmocka_unit_test_setup_teardown(test_padded_end, enter, leave),
        cmocka_unit_test_setup_teardown(test_values, enter, leave),
        cmocka_unit_test_setup_teardown(test_faults, enter, leave),
        cmocka_unit_test_setup_teardown(test_truncated, enter, leave),
        cmocka_unit_test_setup_teardown(test_flipped, enter, leave),
        cmocka_unit_test_setup_teardown(test_many_names, enter, leave),
        cmocka_unit_test_setup_teardown(test_other_kinds, enter, leave),
        cmocka_unit_test_setup_teardown(test_no_memory, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
