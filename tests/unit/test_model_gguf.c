/* test_model_gguf.c: a tiny model of each family written as GGUF in each type and read back: logits
 * bit equal for F32 and near for the others, what stands in the file, adapters that fit it, and
 * what cannot be told. */
#include "test_train_common.h"

#include <unistd.h>

#include "formats/gguf_write.h"
#include "formats/shape.h"

#define FAMILIES ENGINE "/families/"
static const char *const NAMES[] = {"gemma3",  "llama3", "llama_linear",
                                    "mistral", "qwen2",  "qwen3"};

/* --- a folder of one's own --- */

static char start[4096];

static int enter(void **state) {
    (void)state;
    char name[] = "test_model_gguf.XXXXXX";
    return getcwd(start, sizeof start) && mkdtemp(name) && chdir(name) == 0 ? 0 : -1;
}

static int leave(void **state) {
    (void)state;
    struct hold_error err = {0};
    char here[4096];
    return getcwd(here, sizeof here) && chdir(start) == 0 ? hold_remove_tree(here, &err) : -1;
}

/* --- logits --- */

static float *logits_of(struct tiny *t, const struct hold_set *set, int64_t *n) {
    struct hold_error err = {0};
    struct hold_space space;
    struct hold_tape tape;
    struct hold_arena arena;
    struct hold_batch batch;
    struct hold_planned planned;
    const struct hold_example *list[8];
    for (int64_t i = 0; i < set->n; i++)
        list[i] = &set->example[i];
    hold_space_init(&space, t->device);
    hold_tape_init(&tape, t->device, &space);
    hold_arena_init(&arena, 0);
    assert_ok(hold_batch_build(&batch, list, (int32_t)set->n, HOLD_ROWS, &err), &err);
    assert_ok(hold_model_plan(&batch, &arena, &planned, &err), &err);
    planned.tokens.out_rows = NULL;
    *n = batch.n_tokens * t->model.shape.vocab;
    float *out = malloc((size_t)*n * sizeof *out);
    assert_non_null(out);
    struct hold_node *h = hold_model_forward(&t->model, &tape, &planned.tokens, NULL, NULL, NULL);
    assert_ok(hold_model_logits(&t->model, &tape, h, out, &err), &err);
    hold_batch_release(&batch);
    hold_tape_release(&tape);
    hold_space_release(&space);
    hold_arena_release(&arena);
    return out;
}

static int write_file(const struct tiny *t, const char *from, enum hold_stored_type type,
                      const char *path, struct hold_error *err) {
    struct hold_model_files files;
    int rc = hold_model_files_open(&files, from, err);
    if (rc == HOLD_OK)
        rc = hold_model_write_gguf(&t->model, &files, type, path, NULL, err);
    hold_model_files_release(&files);
    return rc;
}

static void family(char out[512], const char *name, const char *file) {
    snprintf(out, 512, FAMILIES "%s%s%s", name, file == NULL ? "" : "/", file == NULL ? "" : file);
}

/* --- every family, every type --- */

static void expect_near(const char *name, enum hold_stored_type type, const float *a,
                        const float *b, int64_t n) {
    static const double BARS[] = {
        [HOLD_ST_F32] = 0, [HOLD_ST_F16] = 3e-3, [HOLD_ST_BF16] = 3e-2, [HOLD_ST_Q8_0] = 3e-2};
    double off = relative_error(a, b, n);
    print_message("%s, %s: off by %.1e\n", name, hold_stored_type_name(type), off);
    if (type == HOLD_ST_F32)
        assert_memory_equal(a, b, (size_t)n * sizeof *a);
    else
        assert_true(off > 0 && off < BARS[type]);
}

static void round_trip(const char *name, const char *source, const struct hold_set *set) {
    static const enum hold_stored_type TYPES[] = {HOLD_ST_F32, HOLD_ST_F16, HOLD_ST_BF16,
                                                  HOLD_ST_Q8_0};
    struct hold_error err = {0};
    struct tiny t, u;
    char path[512], file[64];
    int64_t n = 0, m = 0;
    family(path, name, source);
    tiny_open_at(&t, path, NULL, NULL, 1);
    float *before = logits_of(&t, set, &n);
    for (int64_t k = 0; k < COUNT(TYPES); k++) {
        snprintf(file, sizeof file, "%s.gguf", hold_stored_type_name(TYPES[k]));
        assert_ok(write_file(&t, path, TYPES[k], file, &err), &err);
        tiny_open_at(&u, file, NULL, NULL, 1);
        assert_string_equal(u.model.merged_id, t.model.content_id);
        float *after = logits_of(&u, set, &m);
        assert_int_equal(n, m);
        expect_near(name, TYPES[k], before, after, n);
        free(after);
        tiny_close(&u);
    }
    free(before);
    tiny_close(&t);
}

static void test_families(void **state) {
    (void)state;
    struct hold_set set;
    random_rows(&set, 6, 21);
    for (int64_t i = 0; i < COUNT(NAMES); i++) {
        round_trip(NAMES[i], NULL, &set);
        round_trip(NAMES[i], "model.gguf", &set);
    }
    set_release(&set);
}

/* The tensors that another program wrote of the same model are these, number by number. */
static void test_tensors(void **state) {
    (void)state;
    for (int64_t i = 0; i < COUNT(NAMES); i++) {
        struct hold_error err = {0};
        struct hold_gguf *a = NULL, *b = NULL;
        struct tiny t;
        char path[512], theirs[512];
        int64_t n = 0, m = 0;
        family(path, NAMES[i], NULL);
        family(theirs, NAMES[i], "model.gguf");
        tiny_open_at(&t, path, NULL, NULL, 1);
        assert_ok(write_file(&t, path, HOLD_ST_F32, "ours.gguf", &err), &err);
        tiny_close(&t);
        assert_ok(hold_gguf_open(&a, "ours.gguf", &err), &err);
        assert_ok(hold_gguf_open(&b, theirs, &err), &err);
        const struct hold_stored *ours = hold_gguf_tensors(a, &n);
        const struct hold_stored *expected = hold_gguf_tensors(b, &m);
        assert_int_equal(n, m);
        for (int64_t k = 0; k < n; k++) {
            const struct hold_stored *e = hold_stored_find(expected, m, ours[k].name);
            assert_non_null(e);
            assert_true(ours[k].type == HOLD_ST_F32 && ours[k].n_dims == e->n_dims);
            assert_memory_equal(ours[k].dim, e->dim, sizeof e->dim);
            if (strcmp(e->name, "rope_freqs.weight") != 0) { /* theirs is computed in f32 */
                assert_memory_equal(ours[k].data, e->data, (size_t)e->bytes);
                continue;
            }
            for (int64_t j = 0; j < e->dim[0]; j++)
                assert_true(fabsf(((const float *)ours[k].data)[j] / ((const float *)e->data)[j] -
                                  1) < 1e-5F);
        }
        hold_gguf_free(a);
        hold_gguf_free(b);
    }
}

/* Of a GGUF source general.* and tokenizer.* stay; the types are those of the file. */
static void test_keys(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_gguf *a = NULL, *b = NULL;
    struct hold_gguf_entry x, y;
    struct tiny t;
    int64_t value = 0, n = 0, m = 0;
    tiny_open_at(&t, FORMATS "/tiny-llama.gguf", NULL, NULL, 1);
    assert_ok(write_file(&t, FORMATS "/tiny-llama.gguf", HOLD_ST_Q8_0, "q.gguf", &err), &err);
    assert_ok(write_file(&t, FORMATS "/tiny-llama.gguf", HOLD_ST_Q8_0, "r.gguf", &err), &err);
    tiny_close(&t);
    assert_ok(hold_gguf_open(&a, FORMATS "/tiny-llama.gguf", &err), &err);
    assert_ok(hold_gguf_open(&b, "q.gguf", &err), &err);
    int copied = 0;
    for (int64_t i = 0; hold_gguf_entry(a, i, &x); i++) {
        bool same = false;
        if (strncmp(x.key, "tokenizer.", 10) != 0 && strcmp(x.key, "general.name") != 0)
            continue;
        for (int64_t k = 0; hold_gguf_entry(b, k, &y); k++)
            same = same || (strcmp(x.key, y.key) == 0 && x.type == y.type && x.n == y.n &&
                            memcmp(x.bytes, y.bytes, x.n) == 0);
        if (!same)
            fail_msg("%s was not copied", x.key);
        copied++;
    }
    assert_true(copied > 5);
    assert_ok(hold_gguf_int_or(b, "general.file_type", -1, &value, &err), &err);
    assert_int_equal(value, 7);
    const struct hold_stored *list = hold_gguf_tensors(b, &n);
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(list[i].type, list[i].n_dims == 1        ? HOLD_ST_F32
                                       : list[i].dim[1] % 32 == 0 ? HOLD_ST_Q8_0
                                                                  : HOLD_ST_F16);
    /* The same bytes a second time. */
    const struct hold_map *first = hold_gguf_map(b);
    struct hold_map second;
    assert_ok(hold_map_open(&second, "r.gguf", &err), &err);
    m = (int64_t)second.bytes;
    assert_int_equal(first->bytes, m);
    assert_memory_equal(first->data, second.data, second.bytes);
    hold_map_release(&second);
    hold_gguf_free(a);
    hold_gguf_free(b);
}

/* --- adapters --- */

/* An adapter of the bare model fits the file of it; one over the merged model, the merged file. */
static void test_adapters(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_adapter a;
    struct tiny t, u;
    int64_t n = 0;
    struct hold_set set;
    random_rows(&set, 4, 22);
    load_adapter(&a);
    tiny_open_at(&t, FORMATS "/tiny-llama", NULL, NULL, 1);
    hold_free(a.base_hash);
    a.base_hash = hold_strdup(t.model.content_id);
    assert_ok(write_file(&t, FORMATS "/tiny-llama", HOLD_ST_F32, "bare.gguf", &err), &err);
    assert_ok(hold_model_merge(&t.model, &a, NULL, &err), &err);
    assert_ok(write_file(&t, FORMATS "/tiny-llama", HOLD_ST_F32, "merged.gguf", &err), &err);
    float *expected = logits_of(&t, &set, &n);
    tiny_open_at(&u, "bare.gguf", NULL, NULL, 1);
    assert_ok(hold_model_merge(&u.model, &a, NULL, &err), &err);
    assert_string_equal(u.model.content_id, t.model.content_id);
    float *found = logits_of(&u, &set, &n);
    assert_memory_equal(found, expected, (size_t)n * sizeof *found);
    free(found);
    tiny_close(&u);
    tiny_open_at(&u, "merged.gguf", NULL, NULL, 1);
    found = logits_of(&u, &set, &n);
    assert_memory_equal(found, expected, (size_t)n * sizeof *found);
    assert_string_equal(u.model.merged_id, t.model.content_id);
    assert_refused(hold_model_merge(&u.model, &a, NULL, &err), HOLD_EFORMAT, &err,
                   "it was trained on a base with hash");
    /* Written once more it is still that model. */
    assert_ok(write_file(&u, "merged.gguf", HOLD_ST_F32, "again.gguf", &err), &err);
    tiny_close(&u);
    tiny_open_at(&u, "again.gguf", NULL, NULL, 1);
    assert_string_equal(u.model.merged_id, t.model.content_id);
    tiny_close(&u);
    free(found);
    free(expected);
    hold_adapter_release(&a);
    tiny_close(&t);
    set_release(&set);
}

/* A Mistral, whose window GGUF tells, with Llama 3's frequencies. */
static void test_mistral_rope(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct tiny t, u;
    char path[512];
    family(path, "mistral", NULL);
    tiny_open_at(&t, path, NULL, NULL, 1);
    t.model.shape.rope = (struct hold_rope){HOLD_ROPE_LLAMA3, 8, 1, 4, 256};
    assert_true(t.model.shape.window > 0);
    assert_ok(write_file(&t, path, HOLD_ST_F32, "m.gguf", &err), &err);
    tiny_open_at(&u, "m.gguf", NULL, NULL, 1);
    assert_int_equal(u.model.shape.rope.kind, HOLD_ROPE_LLAMA3);
    assert_true(u.model.shape.rope.original == 256 && u.model.shape.rope.factor == 8);
    tiny_close(&u);
    tiny_close(&t);
}

/* --- faults --- */

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *family;
        size_t offset;
        double value;
        const char *part;
    } CASES[] = {
        {"gemma3", offsetof(struct hold_shape, query_scalar), 7,
         "query_pre_attn_scalar 7 cannot be told in GGUF; expected 8"},
        {"llama3", offsetof(struct hold_shape, rope.low), 2, "rope scaling \"llama3\" of factor 8"},
        {"llama3", offsetof(struct hold_shape, rope.original), 33, "4 of 33 positions cannot"},
    };
    struct hold_error err = {0};
    struct tiny t;
    char path[512];
    for (int64_t i = 0; i < COUNT(CASES); i++) {
        family(path, CASES[i].family, NULL);
        tiny_open_at(&t, path, NULL, NULL, 1);
        memcpy((char *)&t.model.shape + CASES[i].offset, &CASES[i].value, sizeof(double));
        assert_refused(write_file(&t, path, HOLD_ST_F32, "no.gguf", &err), HOLD_EUNSUPPORTED, &err,
                       CASES[i].part);
        assert_false(hold_exists("no.gguf"));
        tiny_close(&t);
    }
    family(path, "qwen2", NULL);
    tiny_open_at(&t, path, NULL, NULL, 1);
    t.model.shape.rope = (struct hold_rope){HOLD_ROPE_LLAMA3, 8, 1, 4, 8192};
    assert_refused(write_file(&t, path, HOLD_ST_F32, "no.gguf", &err), HOLD_EUNSUPPORTED, &err,
                   "for architecture qwen2");
    /* A weight that f16 cannot hold: by name, and nothing is left. */
    float large = 70000;
    t.device->k->write(t.device, hold_at_f32(t.model.layers[1].linear[HOLD_O].w.value.data, 5),
                       &large, 4);
    t.model.shape.rope = (struct hold_rope){0};
    assert_refused(write_file(&t, path, HOLD_ST_F16, "no.gguf", &err), HOLD_EDATA, &err,
                   "tensor blk.1.attn_output.weight: element 5 is 70000, which F16 cannot hold");
    assert_false(hold_exists("no.gguf"));
    tiny_close(&t);
}

static void test_no_memory(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_model_files files;
    struct tiny t;
    char path[512];
    family(path, "llama3", NULL);
    tiny_open_at(&t, path, NULL, NULL, 1);
    assert_ok(hold_model_files_open(&files, path, &err), &err);
    for (int64_t k = 1;; k++) {
        hold_mem_fail_at(k);
        int rc = hold_model_write_gguf(&t.model, &files, HOLD_ST_Q8_0, "m.gguf", NULL, &err);
        hold_mem_fail_at(0);
        if (rc == HOLD_OK) {
            assert_true(k > 20);
            break;
        }
        assert_int_equal(rc, HOLD_ENOMEMORY);
        assert_false(hold_exists("m.gguf"));
    }
    hold_model_files_release(&files);
    tiny_close(&t);
}

/* --- what is read --- */

/* Gemma's pattern of layers as a number or as a list of bools. */
static void test_pattern(void **state) {
    (void)state;
    static const char KEY[] = "gemma3.attention.sliding_window_pattern";
    static const struct {
        int number; /* -1: the list */
        int32_t list[4];
        int n;
        int64_t every;
        const char *part; /* NULL: read */
    } CASES[] = {
        {2, {0}, 0, 2, NULL},
        {0, {0}, 0, 0, NULL},
        {-1, {1, 0, 1}, 3, 2, NULL},
        {-1, {1, 1, 0, 1}, 4, 3, NULL}, /* longer than the model */
        {-1, {1, 1, 1}, 3, 0, NULL},
        {-1, {0, 0, 0}, 3, 1, NULL},
        {-1, {1, 0, 0}, 3, 0, "item 2 is not supported"},
        {-1, {0, 1, 0}, 3, 0, "item 1 is not supported"},
        {-1, {1, 0}, 2, 0, "2 items, expected 3"},
    };
    char path[512];
    family(path, "gemma3", "model.gguf");
    for (int64_t i = 0; i < COUNT(CASES); i++) {
        struct hold_error err = {0};
        struct hold_gguf *g = NULL;
        struct hold_gguf_keys keys = {0};
        struct hold_gguf_entry entry;
        struct hold_shape shape;
        assert_ok(hold_gguf_open(&g, path, &err), &err);
        for (int64_t k = 0; hold_gguf_entry(g, k, &entry); k++)
            if (strcmp(entry.key, KEY) != 0)
                hold_gguf_add_entry(&keys, &entry);
        if (CASES[i].number >= 0) {
            hold_gguf_add_int(&keys, KEY, (uint32_t)CASES[i].number);
        } else { /* an array of bools, as llama.cpp's converter may write it */
            unsigned char bytes[16] = {7};
            uint64_t n = (uint64_t)CASES[i].n;
            memcpy(bytes + 4, &n, sizeof n);
            for (int k = 0; k < CASES[i].n; k++)
                bytes[12 + k] = (unsigned char)CASES[i].list[k];
            entry = (struct hold_gguf_entry){KEY, 9, bytes, 12 + (size_t)n};
            hold_gguf_add_entry(&keys, &entry);
        }
        hold_gguf_free(g);
        assert_ok(hold_gguf_write("p.gguf", &keys, NULL, 0, NULL, NULL, &err), &err);
        hold_gguf_keys_release(&keys);
        assert_ok(hold_gguf_open(&g, "p.gguf", &err), &err);
        int rc = hold_shape_from_gguf(&shape, g, "p.gguf", &err);
        if (CASES[i].part != NULL) {
            assert_true(rc == HOLD_EUNSUPPORTED || rc == HOLD_EFORMAT);
            assert_non_null(strstr(err.text, CASES[i].part));
        } else {
            assert_ok(rc, &err);
            assert_int_equal(shape.global_every, CASES[i].every);
        }
        hold_gguf_free(g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_families, enter, leave),
        cmocka_unit_test_setup_teardown(test_tensors, enter, leave),
        cmocka_unit_test_setup_teardown(test_keys, enter, leave),
        cmocka_unit_test_setup_teardown(test_adapters, enter, leave),
        cmocka_unit_test_setup_teardown(test_mistral_rope, enter, leave),
        cmocka_unit_test_setup_teardown(test_refused, enter, leave),
        cmocka_unit_test_setup_teardown(test_no_memory, enter, leave),
        cmocka_unit_test_setup_teardown(test_pattern, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
