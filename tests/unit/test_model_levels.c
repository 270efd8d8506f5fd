/* test_model_levels.c: matrices read as the levels of their file where only some of them are stored
 * in blocks: hidden states keep their bytes.
 */
#include "test_train_common.h"

#include <unistd.h>

#include "formats/gguf_write.h"
#include "formats/shape.h"
#include "formats/vocab.h"

#define SOURCE FORMATS "/tiny-llama"
static const char FILE_NAME[] = "test_model_levels.gguf";

static void fetch(void *user, int64_t i, int64_t first, int64_t n, float *out) {
    (void)user;
    for (int64_t k = 0; k < n; k++)
        out[k] = (float)(((first + k) * 7 + i * 13) % 29 - 14) * 0.002f;
}

/* Matrices of the file that are stored in blocks: of the first layer the last alone, which has the
 * shortest rows of all, of the second all. */
static enum hold_stored_type type_of(const struct hold_part *p) {
    bool blocks = hold_starts(p->gguf, "blk.1.") || strcmp(p->gguf, "blk.0.ffn_down.weight") == 0;
    return p->n_dims == 2 && blocks ? HOLD_ST_Q8_0 : HOLD_ST_F32;
}

/* A llama of two layers with one head and long rows, written with the tiny model's tokenizer. */
static void write_model(void) {
    enum { ROOM = 32 };
    struct hold_error err = {0};
    struct hold_model_files from;
    struct hold_gguf_keys keys = {0};
    struct hold_part parts[ROOM];
    struct hold_to_store list[ROOM] = {{0}};
    const struct hold_store_source source = {fetch, NULL};
    assert_ok(hold_model_files_open(&from, SOURCE, &err), &err);
    struct hold_shape s = {.n_layers = 2,
                           .d_model = 8192,
                           .n_heads = 1,
                           .n_kv_heads = 1,
                           .head_dim = 32,
                           .d_ff = 96,
                           .vocab = from.shape.vocab,
                           .max_positions = 64,
                           .tied = true,
                           .family = HOLD_LLAMA};
    hold_gguf_add_text(&keys, "general.architecture", "llama");
    for (int i = 0; i < HOLD_SHAPE_FIELDS; i++) {
        const struct hold_shape_field *f = &hold_shape_fields[i];
        char key[96];
        snprintf(key, sizeof key, "llama.%s", f->gguf);
        hold_gguf_add_int(&keys, key, (uint32_t)*hold_shape_field(&s, f));
    }
    hold_gguf_add_int(&keys, "llama.attention.value_length", 32);
    hold_gguf_add_real(&keys, "llama.attention.layer_norm_rms_epsilon", 1e-5);
    assert_ok(hold_vocab_to_gguf(&keys, &from, s.vocab, &err), &err);
    int64_t n = hold_part_count(&s);
    assert_true(n <= ROOM);
    for (int64_t i = 0; i < n; i++) {
        hold_part_get(&s, i, &parts[i]);
        list[i] = (struct hold_to_store){.name = parts[i].gguf,
                                         .type = type_of(&parts[i]),
                                         .n_dims = parts[i].n_dims,
                                         .dim = {parts[i].dim[0], parts[i].dim[1], 1, 1}};
    }
    assert_ok(hold_gguf_write(FILE_NAME, &keys, list, n, &source, NULL, &err), &err);
    hold_gguf_keys_release(&keys);
    hold_model_files_release(&from);
}

static void test_mixed_types(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct tiny t;
    struct hold_set set;
    int64_t n = 0;
    write_model();
    tiny_open_at(&t, FILE_NAME, NULL, NULL, 1);
    random_rows(&set, 1, 31);
    float *before = logits_of_row(&t, &set.example[0]);
    assert_ok(hold_model_read_levels(&t.model, &n, &err), &err);
    assert_int_equal(n, 1 + HOLD_LINEAR_KINDS);
    float *after = logits_of_row(&t, &set.example[0]);
    assert_memory_equal(before, after,
                        (size_t)(set.example[0].n * t.model.shape.vocab) * sizeof *before);
    free(before);
    free(after);
    set_release(&set);
    tiny_close(&t);
    assert_int_equal(unlink(FILE_NAME), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixed_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
