/* test_model_load.c: weights that must not reach a run: NaN or infinite ones, and a file that is
 * written to while it is being read. */
#include "test_formats_common.h"

#include <fcntl.h>
#include <math.h>

#include "device/device.h"
#include "formats/hf.h"
#include "model/model.h"

static const char *const FILES[] = {"config.json", "generation_config.json", "model.safetensors",
                                    "tokenizer.json", "tokenizer_config.json"};

static void copy_model(void) {
    struct hold_error err = {0};
    char from[512], to[64];
    assert_ok(hold_mkdirs("m", &err), &err);
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        snprintf(from, sizeof from, GOLDEN "tiny-llama/%s", FILES[i]);
        snprintf(to, sizeof to, "m/%s", FILES[i]);
        assert_ok(hold_copy_file(from, to, &err), &err);
    }
}

static int load(const char *path, const struct hold_ctx *ctx, struct hold_error *err) {
    struct hold_device *device = NULL;
    struct hold_model m = {0};
    assert_ok(hold_cpu_new(&device, 1, NULL, err), err);
    int rc = hold_model_load(&m, path, device, ctx, err);
    if (rc == HOLD_OK)
        hold_model_release(&m);
    hold_device_free(device);
    return rc;
}

/* Put a number into element `at` of a tensor of m/model.safetensors, in its own type. */
static void plant(const char *name, int64_t at, float value) {
    struct hold_error err = {0};
    struct hold_safetensors *s = NULL;
    int64_t n = 0;
    const char *file = NULL;
    assert_ok(hold_safetensors_open(&s, "m/model.safetensors", &err), &err);
    const struct hold_stored *list = hold_safetensors_tensors(s, &n);
    const struct hold_stored *t = hold_stored_find(list, n, name);
    assert_non_null(t);
    const struct hold_map *map = hold_safetensors_file(s, 0, &file);
    uint16_t half = t->type == HOLD_ST_F16 ? hold_f32_to_f16(value) : hold_f32_to_bf16(value);
    bool whole = t->type == HOLD_ST_F32;
    size_t size = whole ? sizeof value : sizeof half;
    off_t offset = (const uint8_t *)t->data - map->data + at * (off_t)size;
    hold_safetensors_free(s);
    int fd = open("m/model.safetensors", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    const void *bytes = whole ? (const void *)&value : &half;
    assert_int_equal(pwrite(fd, bytes, size, offset), size);
    close(fd);
}

static void weights_that_are_no_numbers_are_refused(void **state) {
    (void)state;
    struct hold_error err = {0};
    copy_model();
    assert_ok(load("m", NULL, &err), &err);
    plant("model.layers.1.mlp.up_proj.weight", 7, NAN);
    assert_refused(load("m", NULL, &err), HOLD_EFORMAT, &err,
                   "1 weights are NaN or infinite, the first in tensor "
                   "'model.layers.1.mlp.up_proj.weight'");
    plant("model.layers.0.input_layernorm.weight", 0, -INFINITY);
    assert_refused(load("m", NULL, &err), HOLD_EFORMAT, &err,
                   "2 weights are NaN or infinite, the first in tensor "
                   "'model.layers.0.input_layernorm.weight'");
}

/* Called when the files are open and the weights not yet read. */
static void touch(void *user, enum hold_level level, const char *room, const char *line) {
    (void)level;
    const char *path = user;
    if (strcmp(room, "model") != 0 || strncmp(line, "loading", 7) != 0)
        return;
    uint8_t last;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    off_t end = lseek(fd, -1, SEEK_END);
    assert_int_equal(pread(fd, &last, 1, end), 1);
    last ^= 1;
    /* The clock of file times may stand still for some milliseconds. */
    usleep(20000);
    assert_int_equal(pwrite(fd, &last, 1, end), 1);
    close(fd);
}

static void a_file_that_changes_while_it_is_read_is_refused(void **state) {
    (void)state;
    struct hold_error err = {0};
    copy_model();
    assert_ok(hold_copy_file(GOLDEN "tiny-llama.gguf", "m.gguf", &err), &err);
    struct hold_ctx ctx = {.log = touch, .user = (char *)"m/model.safetensors", .threads = 1};
    assert_refused(load("m", &ctx, &err), HOLD_EDATA, &err,
                   "m/model.safetensors: has been written to while it was being read");
    ctx.user = (char *)"m.gguf";
    assert_refused(load("m.gguf", &ctx, &err), HOLD_EDATA, &err,
                   "m.gguf: has been written to while it was being read");
    ctx.log = NULL;
    assert_ok(load("m.gguf", &ctx, &err), &err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(weights_that_are_no_numbers_are_refused, enter, leave),
        cmocka_unit_test_setup_teardown(a_file_that_changes_while_it_is_read_is_refused, enter,
                                        leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
