/* test_formats_safetensors.c: safetensors files and shards, good and damaged, and the writer. */
#include "test_formats_common.h"

#include <sys/stat.h>
#include <time.h>

#include "formats/safetensors.h"

/* A file of a header text and n zero bytes of data. */
static void put_safetensors(const char *path, const char *header, size_t n_data) {
    struct hold_str s = HOLD_STR_INIT;
    add_u64(&s, strlen(header));
    hold_str_add(&s, header);
    add_zeros(&s, n_data);
    put(path, &s);
}

static int try_open(const char *path, struct hold_error *err) {
    struct hold_safetensors *file = NULL;
    int rc = hold_safetensors_open(&file, path, err);
    if (rc) {
        assert_null(file);
    }
    hold_safetensors_free(file);
    return rc;
}

static void test_round_trip(void **state) {
    (void)state;
    const float a[6] = {1, -2, 3.14159274F, 65504, 1e-8F, -0.0F}, b[2] = {0.1F, -7};
    const double d[2] = {1e-300, 3};
    const int64_t i64[3] = {INT64_MIN, 0, INT64_MAX};
    const int32_t i32[1] = {-5};
    const uint8_t u8[3] = {0, 127, 255};
    const struct hold_to_store list[] = {
        {"f32", HOLD_ST_F32, 2, {2, 3}, a},
        {"f16", HOLD_ST_F16, 2, {3, 2}, a},
        {"bf16", HOLD_ST_BF16, 1, {2}, b},
        {"i64", HOLD_ST_I64, 1, {3}, i64},
        {"f64", HOLD_ST_F64, 1, {2}, d},
        {"i32", HOLD_ST_I32, 0, {0}, i32},
        {"u8", HOLD_ST_U8, 3, {1, 3, 1}, u8},
        {"none", HOLD_ST_F32, 2, {0, 5}, NULL},
        {"name \"quoted\" \xC3\xA9", HOLD_ST_F32, 1, {2}, b},
    };
    enum { N = sizeof list / sizeof *list };
    struct hold_error err = {0};
    struct hold_safetensors *file = NULL;
    int64_t n;
    json_t *metadata = json_pack("{s:s, s:s}", "format", "pt", "note", "x");
    assert_ok(hold_safetensors_write("t.safetensors", list, N, metadata, &err), &err);
    assert_ok(hold_safetensors_open(&file, "t.safetensors", &err), &err);
    assert_true(json_equal(hold_safetensors_metadata(file), metadata));
    const struct hold_stored *t = hold_safetensors_tensors(file, &n);
    assert_int_equal(n, N);
    for (int i = 0; i < N; i++) {
        const struct hold_stored *found = hold_stored_find(t, n, list[i].name);
        assert_non_null(found);
        assert_int_equal(found->type, list[i].type);
        assert_int_equal(found->n_dims, list[i].n_dims);
        for (int k = 0; k < list[i].n_dims; k++) {
            assert_int_equal(found->dim[k], list[i].dim[k]);
        }
        if (list[i].type > HOLD_ST_BF16 || list[i].type == HOLD_ST_F32) {
            assert_int_equal(found->bytes,
                             hold_stored_bytes(found->type, hold_stored_count(found)));
            if (found->bytes) {
                assert_memory_equal(found->data, list[i].data, found->bytes);
            }
        }
    }
    float x[6];
    const struct hold_stored *half = hold_stored_find(t, n, "f16");
    assert_ok(hold_stored_to_f32(half, 0, 6, x, &err), &err);
    for (int i = 0; i < 6; i++) {
        assert_true(x[i] == hold_f16_to_f32(hold_f32_to_f16(a[i])));
    }
    /* The data begins at a multiple of 8. */
    const char *name;
    const struct hold_map *map = hold_safetensors_file(file, 0, &name);
    assert_string_equal(name, "t.safetensors");
    assert_int_equal(map->data[0] % 8, 0);
    assert_null(hold_safetensors_file(file, 1, &name));
    hold_safetensors_free(file);
    json_decref(metadata);
}

/* Longer than the writer's buffer. */
static void test_long_halves(void **state) {
    (void)state;
    enum { N = 70001 };
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i - 35000) / 7;
    }
    struct hold_error err = {0};
    struct hold_safetensors *file = NULL;
    int64_t n;
    struct hold_to_store one = {"x", HOLD_ST_BF16, 1, {N}, x};
    assert_ok(hold_safetensors_write("l.safetensors", &one, 1, NULL, &err), &err);
    assert_ok(hold_safetensors_open(&file, "l.safetensors", &err), &err);
    assert_null(hold_safetensors_metadata(file));
    const struct hold_stored *t = hold_safetensors_tensors(file, &n);
    assert_ok(hold_stored_to_f32(t, 0, N, y, &err), &err);
    for (int i = 0; i < N; i++) {
        assert_true(y[i] == hold_bf16_to_f32(hold_f32_to_bf16(x[i])));
    }
    hold_safetensors_free(file);
    free(x);
    free(y);
}

static void test_write_refused(void **state) {
    (void)state;
    const float x[2] = {1, 2};
    struct hold_error err = {0};
    struct hold_to_store twice[2] = {{"x", HOLD_ST_F32, 1, {2}, x}, {"x", HOLD_ST_F32, 1, {2}, x}};
    assert_refused(hold_safetensors_write("w.safetensors", twice, 2, NULL, &err), HOLD_EINTERNAL,
                   &err, "tensor x is there twice");
    twice[0].type = HOLD_ST_Q4_1;
    assert_refused(hold_safetensors_write("w.safetensors", twice, 1, NULL, &err), HOLD_EUNSUPPORTED,
                   &err, "Q4_1 cannot be written");
    const float large[2] = {1, 65520};
    struct hold_to_store half = {"y", HOLD_ST_F16, 1, {2}, large};
    assert_refused(hold_safetensors_write("w.safetensors", &half, 1, NULL, &err), HOLD_EDATA, &err,
                   "w.safetensors: tensor y: element 1 is 65520, which F16 cannot hold");
    char **names;
    size_t n;
    assert_ok(hold_dir_list(".", &names, &n, &err), &err);
    assert_int_equal(n, 0); /* no file and no temporary one */
    hold_names_free(names, n);
}

#define TENSOR(name, dtype, shape, begin, end)                                                   \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end \
    "]}"
#define GOOD TENSOR("a", "F32", "[2]", "0", "8")

static const struct {
    const char *header;
    size_t data;
    int code; /* HOLD_OK: must open */
    const char *part;
} HEADERS[] = {
    {"{" GOOD "}   ", 8, HOLD_OK, ""},
    {"{}", 0, HOLD_OK, ""},
    {"{" TENSOR("b", "F32", "[1]", "8", "12") "," GOOD "}", 12, HOLD_OK, ""},
    {"{" GOOD "," TENSOR("z", "F32", "[0,7]", "8", "8") "}", 8, HOLD_OK, ""},
    {"{" GOOD ",\"__metadata__\":{\"k\":\"v\"}}", 8, HOLD_OK, ""},
    /* The text. */
    {" {" GOOD "}", 8, HOLD_EFORMAT, "byte 8: the header is not an object"},
    {"["
     "]",
     0, HOLD_EFORMAT, "byte 8: the header is not an object"},
    {"{" GOOD "}\n", 8, HOLD_EFORMAT, "padded with spaces"},
    {"{" GOOD "}x", 8, HOLD_EFORMAT, "padded with spaces"},
    {"{" GOOD "}{}", 8, HOLD_EDATA, "b:1:"},
    {"{\"a\xFF\":1}", 0, HOLD_EFORMAT, "byte 11: the header is not UTF-8"},
    {"{" GOOD "," GOOD "}", 8, HOLD_EDATA, "duplicate"},
    {"{\"a\":1,}", 0, HOLD_EDATA, "b:1:"},
    {"{" GOOD ",\"__metadata__\":{\"k\":1}}", 8, HOLD_EFORMAT, "__metadata__.k is not a string"},
    {"{" GOOD ",\"__metadata__\":[]}", 8, HOLD_EFORMAT, "__metadata__ is not an object"},
    /* Offsets. */
    {"{" TENSOR("a", "F32", "[2]", "8", "0") "}", 8, HOLD_EFORMAT,
     "tensor a: data_offsets are not a range"},
    {"{" TENSOR("a", "F32", "[2]", "0", "16") "}", 8, HOLD_EFORMAT,
     "tensor a: data_offsets are not a range"},
    {"{" TENSOR("a", "F32", "[2]", "-8", "0") "}", 8, HOLD_EFORMAT,
     "tensor a: data_offsets are not a range"},
    {"{" TENSOR("a", "F32", "[2]", "0.0", "8.0") "}", 8, HOLD_EFORMAT,
     "tensor a: data_offsets are not a range"},
    {"{" TENSOR("a", "F32", "[2]", "0", "8,8") "}", 8, HOLD_EFORMAT,
     "tensor a: data_offsets are not a range"},
    /* 2^61 - 1 of 8 bytes are 2^64 - 8, as 0 - 8 is. */
    {"{" TENSOR("a", "F64", "[2305843009213693951]", "8", "0") "}", 8, HOLD_EFORMAT,
     "tensor a: data_offsets are not a range"},
    {"{" GOOD "," TENSOR("b", "F32", "[2]", "4", "12") "}", 12, HOLD_EFORMAT,
     "tensor b: begins at 4 of the data, expected 8 (overlap)"},
    {"{" GOOD "," TENSOR("b", "F32", "[2]", "0", "8") "}", 8, HOLD_EFORMAT, "(overlap)"},
    {"{" GOOD "," TENSOR("b", "F32", "[1]", "12", "16") "}", 16, HOLD_EFORMAT,
     "tensor b: begins at 12 of the data, expected 8 (gap)"},
    {"{" GOOD "}", 9, HOLD_EFORMAT, "end at 8 of the data, expected 9"},
    {"{}", 8, HOLD_EFORMAT, "end at 0 of the data, expected 8"},
    {"{" TENSOR("a", "F32", "[3]", "0", "8") "}", 8, HOLD_EFORMAT, "hold 8 bytes, expected 12"},
    {"{" TENSOR("a", "F32", "[0]", "0", "8") "}", 8, HOLD_EFORMAT, "hold 8 bytes, expected 0"},
    /* Shapes and types. */
    {"{" TENSOR("a", "F32", "[4294967296,4294967296]", "0", "0") "}", 0, HOLD_EFORMAT,
     "tensor a: the shape's product"},
    {"{" TENSOR("a", "F32", "[4611686018427387904]", "0", "0") "}", 0, HOLD_EFORMAT,
     "tensor a: the size in bytes"},
    {"{" TENSOR("a", "F32", "[-2]", "0", "8") "}", 8, HOLD_EFORMAT, "tensor a: no shape"},
    {"{" TENSOR("a", "F32", "[1,1,1,1,2]", "0", "8") "}", 8, HOLD_EFORMAT, "up to 4"},
    {"{" TENSOR("a", "F32", "2", "0", "8") "}", 8, HOLD_EFORMAT, "tensor a: no shape"},
    {"{" TENSOR("a", "F8_E4M3", "[8]", "0", "8") "}", 8, HOLD_EUNSUPPORTED,
     "tensor a: dtype F8_E4M3 is not supported"},
    {"{" TENSOR("a", "Q4_0", "[8]", "0", "8") "}", 8, HOLD_EUNSUPPORTED, "dtype Q4_0"},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, HOLD_EFORMAT, "tensor a: no dtype"},
    {"{\"a\":5}", 8, HOLD_EFORMAT, "tensor a: no dtype"},
};

static void test_headers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof HEADERS / sizeof *HEADERS; i++) {
        struct hold_error err = {0};
        put_safetensors("b", HEADERS[i].header, HEADERS[i].data);
        int rc = try_open("b", &err);
        if (HEADERS[i].code == HOLD_OK) {
            assert_ok(rc, &err);
        } else {
            assert_refused(rc, HEADERS[i].code, &err, HEADERS[i].part);
            assert_true(hold_starts(err.text, "b:"));
        }
    }
}

static void test_header_length(void **state) {
    (void)state;
    static const uint64_t LENGTHS[] = {
        0, 1, 3, 100000001, UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof LENGTHS / sizeof *LENGTHS; i++) {
        struct hold_error err = {0};
        struct hold_str s = HOLD_STR_INIT;
        add_u64(&s, LENGTHS[i]);
        hold_str_add(&s, "{}");
        put("l", &s);
        assert_refused(try_open("l", &err), HOLD_EFORMAT, &err, "byte 0: a header of");
    }
    struct hold_error err = {0};
    put_bytes("l", "\2\0\0", 3);
    assert_refused(try_open("l", &err), HOLD_EFORMAT, &err, "in a file of 3");
    /* The limit of the format itself, though the file is long enough. */
    struct hold_str s = HOLD_STR_INIT;
    add_u64(&s, 100000001);
    put("l", &s);
    assert_int_equal(truncate("l", 200000000), 0);
    assert_refused(try_open("l", &err), HOLD_EFORMAT, &err, "expected 2 to 100000000");
}

/* Nesting without end and a header of very many entries are refused soon. */
static void test_header_bombs(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str s = HOLD_STR_INIT;
    clock_t start = clock();
    hold_str_add(&s, "{\"a\":");
    for (int i = 0; i < 100000; i++) {
        hold_str_add_char(&s, '[');
    }
    hold_str_add_char(&s, '}');
    put_safetensors("n", s.data, 0);
    hold_str_clear(&s);
    assert_int_not_equal(try_open("n", &err), HOLD_OK);
    hold_str_add_char(&s, '{');
    for (int i = 0; i < 270000; i++) {
        hold_str_addf(&s, "%s\"%d\":0", i ? "," : "", i);
    }
    hold_str_add_char(&s, '}');
    put_safetensors("n", s.data, 0);
    assert_refused(try_open("n", &err), HOLD_EFORMAT, &err, "more than 262144 tensors");
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 4.0);
    hold_str_release(&s);
}

static void test_truncated(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_str s = HOLD_STR_INIT;
    put_safetensors("t", "{" GOOD "}", 8);
    assert_ok(hold_file_read("t", 0, &s, &err), &err);
    for (size_t n = 1; n < s.len; n++) {
        put_bytes("t", s.data, n);
        assert_int_not_equal(try_open("t", &err), HOLD_OK);
    }
    hold_str_release(&s);
}

static void test_other_kinds(void **state) {
    (void)state;
    struct hold_error err = {0};
    put_bytes("p", "\x80\x02}q\1X\5\0\0\0", 10);
    assert_refused(try_open("p", &err), HOLD_EFORMAT, &err, "a Python pickle");
    put_bytes("p", "PK\003\004\24\0\0\0\10\0\0\0", 12);
    assert_refused(try_open("p", &err), HOLD_EFORMAT, &err, "a zip archive");
    assert_int_equal(mkdir("folder", 0755), 0);
    assert_refused(try_open("folder", &err), HOLD_ENOTFOUND, &err,
                   "folder: neither model.safetensors nor");
    put_text("folder/pytorch_model.bin", "x");
    assert_refused(try_open("folder", &err), HOLD_EFORMAT, &err, "pickle (pytorch_model.bin)");
}

/* ---- shards ---- */

#define ONE "model-1.safetensors"
#define TWO "model-2.safetensors"

static void put_shards(void) {
    put_safetensors(ONE, "{" GOOD "}", 8);
    put_safetensors(TWO, "{" TENSOR("b", "F32", "[3]", "0", "12") "}", 12);
}

static void put_index(const char *map, const char *total) {
    struct hold_str s = HOLD_STR_INIT;
    hold_str_addf(&s, "{\"metadata\":{\"total_size\":%s},\"weight_map\":%s}", total, map);
    put("model.safetensors.index.json", &s);
}

/* The length of a header may begin with the bytes that pickles or gzip files begin with. */
static void test_not_other_kinds(void **state) {
    (void)state;
    static const size_t LENGTHS[] = {0x280, 0x380, 0x480, 0x580, 0x8b1f, 0x120508};
    for (size_t i = 0; i < sizeof LENGTHS / sizeof *LENGTHS; i++) {
        struct hold_error err = {0};
        struct hold_str s = HOLD_STR_INIT;
        const char header[] = "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
        add_u64(&s, LENGTHS[i]);
        hold_str_add(&s, header);
        for (size_t n = sizeof header - 1; n < LENGTHS[i]; n++) {
            hold_str_add_bytes(&s, " ", 1);
        }
        add_zeros(&s, 4);
        put("x.safetensors", &s);
        assert_ok(try_open("x.safetensors", &err), &err);
    }
}

static void test_shards(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_safetensors *file = NULL;
    int64_t n;
    const char *name;
    put_shards();
    put_index("{\"b\":\"" TWO "\",\"a\":\"" ONE "\"}", "20");
    assert_ok(hold_safetensors_open(&file, ".", &err), &err);
    const struct hold_stored *t = hold_safetensors_tensors(file, &n);
    assert_int_equal(n, 2);
    assert_int_equal(hold_stored_find(t, n, "b")->dim[0], 3);
    assert_non_null(hold_safetensors_file(file, 0, &name));
    assert_string_equal(name, ONE);
    assert_non_null(hold_safetensors_file(file, 1, &name));
    assert_string_equal(name, TWO);
    assert_null(hold_safetensors_file(file, 2, &name));
    hold_safetensors_free(file);
}

static const struct {
    const char *map, *total;
    int code;
    const char *part;
} INDEXES[] = {
    {"{\"a\":\"" ONE "\",\"b\":\"../" TWO "\"}", "20", HOLD_EFORMAT, "weight_map.b: found \"../"},
    {"{\"a\":\"" ONE "\",\"b\":\"/etc/passwd\"}", "20", HOLD_EFORMAT, "weight_map.b"},
    {"{\"a\":\"" ONE "\",\"b\":\"..\"}", "20", HOLD_EFORMAT, "weight_map.b: found \"..\""},
    {"{\"a\":\"" ONE "\",\"b\":\"\"}", "20", HOLD_EFORMAT, "weight_map.b: found \"\""},
    {"{\"a\":\"" ONE "\",\"b\":7}", "20", HOLD_EFORMAT, "weight_map.b: found \"(no string)\""},
    {"{\"a\":\"" ONE "\",\"b\":\"model-3.safetensors\"}", "20", HOLD_ENOTFOUND,
     "model-3.safetensors"},
    {"{\"a\":\"" ONE "\",\"b\":\"" TWO "\",\"c\":\"" TWO "\"}", "20", HOLD_EFORMAT,
     "lists 3 tensors, but the shards hold 2"},
    {"{\"a\":\"" ONE "\",\"c\":\"" TWO "\"}", "20", HOLD_EFORMAT,
     "tensor b: the index says it is in no shard"},
    {"{\"a\":\"" TWO "\",\"b\":\"" TWO "\"}", "20", HOLD_EFORMAT, "lists 2 tensors"},
    {"{\"a\":\"" TWO "\",\"b\":\"" ONE "\"}", "20", HOLD_EFORMAT,
     "tensor a: the index says it is in " TWO},
    {"{\"a\":\"" ONE "\",\"b\":\"" TWO "\"}", "24", HOLD_EFORMAT,
     "metadata.total_size: found 24, expected 20"},
    {"{\"a\":\"" ONE "\",\"b\":\"" TWO "\"}", "\"20\"", HOLD_EFORMAT, "metadata.total_size"},
    {"{}", "20", HOLD_EFORMAT, "no weight_map"},
    {"[]", "20", HOLD_EFORMAT, "no weight_map"},
    {"{\"a\":\"link.safetensors\"}", "8", HOLD_EFORMAT,
     "link.safetensors: a symbolic link, expected a file of this folder"},
    {"{\"a\":\"pipe.safetensors\"}", "8", HOLD_EFORMAT, "not a regular file"},
    {"{\"a\":\"folder.safetensors\"}", "8", HOLD_EFORMAT, "not a regular file"},
    {"{\"a\":\"empty.safetensors\"}", "8", HOLD_EFORMAT, "the file is empty"},
};

static void test_bad_indexes(void **state) {
    (void)state;
    put_shards();
    assert_int_equal(symlink(ONE, "link.safetensors"), 0);
    assert_int_equal(mkfifo("pipe.safetensors", 0600), 0);
    assert_int_equal(mkdir("folder.safetensors", 0755), 0);
    put_text("empty.safetensors", "");
    for (size_t i = 0; i < sizeof INDEXES / sizeof *INDEXES; i++) {
        struct hold_error err = {0};
        put_index(INDEXES[i].map, INDEXES[i].total);
        assert_refused(try_open(".", &err), INDEXES[i].code, &err, INDEXES[i].part);
    }
}

/* One tensor in two shards: the index can name only one of them. */
static void test_tensor_in_two_shards(void **state) {
    (void)state;
    struct hold_error err = {0};
    put_shards();
    put_safetensors(TWO, "{" TENSOR("b", "F32", "[1]", "8", "12") "," GOOD "}", 12);
    put_index("{\"a\":\"" ONE "\",\"b\":\"" TWO "\"}", "20");
    assert_refused(try_open(".", &err), HOLD_EFORMAT, &err,
                   TWO ": tensor a: the index says it is in " ONE);
}

/* Hugging Face's cache keeps files as links to ../../blobs/HASH; other links are refused. */
static void test_links(void **state) {
    (void)state;
    static const char HASH[] = "0123456789abcdef0123456789abcdef01234567";
    struct hold_error err = {0};
    char target[128];
    assert_ok(hold_mkdirs("models--x/snapshots/rev", &err), &err);
    assert_ok(hold_mkdirs("models--x/blobs", &err), &err);
    snprintf(target, sizeof target, "models--x/blobs/%s", HASH);
    put_safetensors(target, "{" GOOD "}", 8);
    static const char LINK[] = "models--x/snapshots/rev/model.safetensors";
    snprintf(target, sizeof target, "../../blobs/%s", HASH);
    assert_int_equal(symlink(target, LINK), 0);
    assert_ok(try_open("models--x/snapshots/rev", &err), &err);

    static const char *const OTHERS[] = {"../../blobs/x", "../../../etc/passwd", "/etc/passwd",
                                         "../../blobz/0123456789abcdef0123456789abcdef01234567",
                                         "../../blobs/../x/0123456789abcdef0123456789abcdef012"};
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
        assert_int_equal(unlink(LINK), 0);
        assert_int_equal(symlink(OTHERS[i], LINK), 0);
        assert_refused(try_open("models--x/snapshots/rev", &err), HOLD_EFORMAT, &err,
                       "a symbolic link");
    }
    /* A link to a link stays refused. */
    snprintf(target, sizeof target, "../../blobs/%s", HASH);
    assert_int_equal(unlink(LINK), 0);
    assert_int_equal(symlink(target, LINK), 0);
    snprintf(target, sizeof target, "models--x/blobs/%s", HASH);
    assert_int_equal(rename(target, "models--x/blobs/real"), 0);
    assert_int_equal(symlink("real", target), 0);
    assert_int_not_equal(try_open("models--x/snapshots/rev", &err), HOLD_OK);
}

static void test_no_memory(void **state) {
    (void)state;
    put_shards();
    put_index("{\"b\":\"" TWO "\",\"a\":\"" ONE "\"}", "20");
    for (int64_t k = 1;; k++) {
        struct hold_error err = {0};
        struct hold_safetensors *file = NULL;
        hold_mem_fail_at(k);
        int rc = hold_safetensors_open(&file, ".", &err);
        hold_mem_fail_at(0);
        hold_safetensors_free(file);
        if (rc == HOLD_OK) {
            assert_true(k > 8);
            break;
        }
        assert_int_equal(rc, HOLD_ENOMEMORY);
    }
}

/* A write that cannot allocate leaves no file, or the whole one (the folder's sync comes after the
 * rename), and no temporary one. */
static void test_write_no_memory(void **state) {
    (void)state;
    const float x[2] = {1, 2};
    struct hold_to_store one = {"x", HOLD_ST_F16, 1, {2}, x};
    for (int64_t k = 1;; k++) {
        struct hold_error err = {0};
        char **names;
        size_t n;
        hold_mem_fail_at(k);
        int rc = hold_safetensors_write("w.safetensors", &one, 1, NULL, &err);
        hold_mem_fail_at(0);
        if (rc == HOLD_OK) {
            assert_ok(try_open("w.safetensors", &err), &err);
            break;
        }
        assert_int_equal(rc, HOLD_ENOMEMORY);
        assert_ok(hold_dir_list(".", &names, &n, &err), &err);
        if (n > 0) {
            assert_int_equal(n, 1);
            assert_string_equal(names[0], "w.safetensors");
            assert_ok(try_open("w.safetensors", &err), &err);
            assert_int_equal(unlink("w.safetensors"), 0);
        }
        hold_names_free(names, n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, enter, leave),
        cmocka_unit_test_setup_teardown(test_long_halves, enter, leave),
        cmocka_unit_test_setup_teardown(test_write_refused, enter, leave),
        cmocka_unit_test_setup_teardown(test_headers, enter, leave),
        cmocka_unit_test_setup_teardown(test_header_length, enter, leave),
        cmocka_unit_test_setup_teardown(test_header_bombs, enter, leave),
        cmocka_unit_test_setup_teardown(test_truncated, enter, leave),
        cmocka_unit_test_setup_teardown(test_other_kinds, enter, leave),
        cmocka_unit_test_setup_teardown(test_not_other_kinds, enter, leave),
        cmocka_unit_test_setup_teardown(test_shards, enter, leave),
        cmocka_unit_test_setup_teardown(test_bad_indexes, enter, leave),
        cmocka_unit_test_setup_teardown(test_tensor_in_two_shards, enter, leave),
        cmocka_unit_test_setup_teardown(test_links, enter, leave),
        cmocka_unit_test_setup_teardown(test_no_memory, enter, leave),
        cmocka_unit_test_setup_teardown(test_write_no_memory, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
