/* test_infer_generate.c: batched decoding against the plain way, sharing, sampling, ends of rows,
 * streaming, interruption and wrong input. */
#include "test_infer_common.h"

/* Nested, equal, parting and one-token prompts. */
static const char *const TEXTS[] = {
    "<|im_start|>user\nTell me of ships.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nTell me of trees.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nTell me",
    "<|im_start|>user\nTell me of ships.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nTell me of ships.<|im_end|>\n<|im_start|>assistant\nYes",
    "q",
    "Quite another beginning, 1234567890",
    "<|im_start|>user\nT",
    "q",
    "qq",
};
enum { N_TEXTS = sizeof TEXTS / sizeof TEXTS[0] };

/* Run and expect success; the caller frees. */
static struct hold_generated *generate(struct tiny *t, const struct hold_ids *p, int64_t n,
                                       const struct hold_generate_options *o) {
    struct hold_error err = {0};
    int64_t rows = n * (o->n > 1 ? o->n : 1);
    struct hold_generated *g = calloc((size_t)rows, sizeof *g);
    assert_non_null(g);
    assert_ok(hold_generate(&t->model, p, n, o, NULL, g, &err), &err);
    return g;
}

static void drop(struct hold_generated *g, int64_t n) {
    hold_generated_free(g, n);
    free(g);
}

static void assert_same(const struct hold_generated *a, const struct hold_generated *b) {
    assert_int_equal(a->n_ids, b->n_ids);
    assert_memory_equal(a->ids, b->ids, (size_t)a->n_ids * sizeof *a->ids);
    assert_string_equal(a->text, b->text);
    assert_int_equal(a->finish, b->finish);
}

/* The next token by a pass over the whole row; asserts that the choice is clear. */
static int32_t plain_best(struct tiny *t, const int32_t *ids, int32_t n) {
    int64_t vocab = t->model.shape.vocab;
    float *logits = plain_logits(t, ids, n), *z = logits + (n - 1) * vocab;
    int32_t best = 0;
    for (int32_t i = 1; i < vocab; i++)
        best = z[i] > z[best] ? i : best;
    for (int32_t i = 0; i < vocab; i++)
        assert_true(i == best || z[best] - z[i] > 1e-4f);
    free(logits);
    return best;
}

static void greedy_equals_the_plain_way(void **state) {
    struct tiny *t = *state;
    struct hold_ids *p = prompts_of(t, TEXTS, N_TEXTS);
    enum { NEW = 12 };
    int32_t expected[N_TEXTS][NEW];
    for (int i = 0; i < N_TEXTS; i++) {
        int32_t row[256], n = (int32_t)p[i].len;
        memcpy(row, p[i].data, p[i].len * sizeof *row);
        for (int k = 0; k < NEW; k++)
            expected[i][k] = row[n + k] = plain_best(t, row, n + k);
    }
    static const int64_t BATCHES[] = {1, 2, 3, 7, 0, 1000};
    for (int64_t b = 0; b < COUNT(BATCHES); b++) {
        struct hold_generate_options o = {.max_tokens = NEW, .batch = BATCHES[b]};
        struct hold_generated *g = generate(t, p, N_TEXTS, &o);
        for (int i = 0; i < N_TEXTS; i++) {
            assert_int_equal(g[i].n_ids, NEW);
            assert_int_equal(g[i].finish, HOLD_FINISH_LENGTH);
            assert_int_equal(g[i].close_calls, 0);
            assert_memory_equal(g[i].ids, expected[i], sizeof expected[i]);
        }
        drop(g, N_TEXTS);
    }
    prompts_free(p, N_TEXTS);
}

static void shared_prefixes_are_computed_once(void **state) {
    struct tiny *t = *state;
    struct hold_ids *p = prompts_of(t, TEXTS, N_TEXTS);
    struct hold_generate_options o = {.max_tokens = 2};
    double alone = 0.0;
    struct hold_generated *together = generate(t, p, N_TEXTS, &o);
    for (int i = 0; i < N_TEXTS; i++) {
        double before = hold_device_flop(t->device);
        struct hold_generated *g = generate(t, &p[i], 1, &o);
        alone += hold_device_flop(t->device) - before;
        assert_same(g, &together[i]);
        drop(g, 1);
    }
    double before = hold_device_flop(t->device);
    drop(together, N_TEXTS);
    together = generate(t, p, N_TEXTS, &o);
    assert_true(hold_device_flop(t->device) - before < 0.7 * alone);
    drop(together, N_TEXTS);
    /* Three times the same row costs little more than three rows of its new tokens. */
    struct hold_ids same[3] = {p[0], p[0], p[0]};
    before = hold_device_flop(t->device);
    drop(generate(t, same, 1, &o), 1);
    double once = hold_device_flop(t->device) - before;
    before = hold_device_flop(t->device);
    drop(generate(t, same, 3, &o), 3);
    assert_true(hold_device_flop(t->device) - before < 2.0 * once);
    prompts_free(p, N_TEXTS);
}

/* Rows end at different times, so slots are freed and used again in pieces. */
static void many_rows_in_a_small_batch(void **state) {
    struct tiny *t = *state;
    enum { N = 60 };
    struct hold_ids p[N] = {{0}};
    struct hold_error err = {0};
    struct hold_rng rng;
    hold_rng_init(&rng, 5, "prompts", 0, 0);
    int64_t total = 0;
    for (int i = 0; i < N; i++) {
        int64_t len = 1 + (int64_t)hold_rng_below(&rng, 100), share = 0;
        if (i > 0 && hold_rng_below(&rng, 2) == 0)
            share = (int64_t)hold_rng_below(&rng, (uint64_t)p[i - 1].len + 1);
        for (int64_t k = 0; k < len; k++)
            assert_ok(hold_ids_push(&p[i],
                                    k < share && k < (int64_t)p[i - 1].len
                                        ? p[i - 1].data[k]
                                        : 3 + (int32_t)hold_rng_below(&rng, 280),
                                    &err),
                      &err);
        total += len;
    }
    assert_true(total > 2048); /* several fills */
    t->model.n_eos_ids = 4;
    for (int i = 0; i < 4; i++)
        t->model.eos_ids[i] = 20 + 40 * i;
    static const int64_t BATCHES[] = {1, 5, 16, 60};
    struct hold_generated *g[4];
    for (int64_t b = 0; b < 4; b++) {
        struct hold_generate_options o = {
            .max_tokens = 28, .temperature = 1.0, .batch = BATCHES[b]};
        g[b] = generate(t, p, N, &o);
    }
    int ended = 0;
    for (int i = 0; i < N; i++) {
        for (int64_t b = 1; b < 4; b++)
            assert_same(&g[0][i], &g[b][i]);
        ended += g[0][i].finish == HOLD_FINISH_STOP;
    }
    assert_in_range(ended, 5, N - 5);
    for (int64_t b = 0; b < 4; b++)
        drop(g[b], N);
    for (int i = 0; i < N; i++)
        hold_ids_release(&p[i]);
    t->model.n_eos_ids = 1;
    t->model.eos_ids[0] = -1;
}

/* A prompt longer than one fill, beside a short one that shares half of it. */
static void long_prompts_are_filled_in_parts(void **state) {
    struct tiny *t = *state;
    struct hold_error err = {0};
    struct hold_ids p[2] = {{0}};
    int64_t context = t->model.shape.max_positions;
    t->model.shape.max_positions = 4096;
    for (int32_t k = 0; k < 2500; k++) {
        assert_ok(hold_ids_push(&p[0], 3 + (k * k + 7 * k) % 280, &err), &err);
        if (k < 1300)
            assert_ok(hold_ids_push(&p[1], p[0].data[k], &err), &err);
    }
    int32_t best[2] = {plain_best(t, p[0].data, 2500), plain_best(t, p[1].data, 1300)};
    for (int64_t batch = 1; batch < 3; batch++) {
        struct hold_generate_options o = {.max_tokens = 2, .batch = batch};
        struct hold_generated *g = generate(t, p, 2, &o);
        assert_int_equal(g[0].ids[0], best[0]);
        assert_int_equal(g[1].ids[0], best[1]);
        drop(g, 2);
    }
    t->model.shape.max_positions = context;
    hold_ids_release(&p[0]);
    hold_ids_release(&p[1]);
}

static void samples_depend_on_their_key_alone(void **state) {
    struct tiny *t = *state;
    struct hold_ids *p = prompts_of(t, TEXTS, N_TEXTS);
    struct hold_generate_options o = {
        .max_tokens = 10, .temperature = 1.0, .top_p = 0.9, .top_k = 50, .seed = 7};
    struct hold_generated *all = generate(t, p, N_TEXTS, &o);
    for (o.batch = 1; o.batch < 5; o.batch++) {
        /* Fewer rows: another forest, other neighbours, the same row numbers. */
        for (int64_t n = o.batch; n <= N_TEXTS; n += 3) {
            struct hold_generated *g = generate(t, p, n, &o);
            for (int64_t i = 0; i < n; i++)
                assert_same(&g[i], &all[i]);
            drop(g, n);
        }
    }
    /* Rows 0 and 3 have one prompt, but each its own stream. */
    assert_true(memcmp(all[0].ids, all[3].ids, 10 * sizeof(int32_t)) != 0);
    o.seed = 8;
    struct hold_generated *other = generate(t, p, N_TEXTS, &o);
    assert_true(memcmp(all[0].ids, other[0].ids, 10 * sizeof(int32_t)) != 0);
    drop(other, N_TEXTS);
    drop(all, N_TEXTS);
    prompts_free(p, N_TEXTS);
}

static void several_samples_a_row(void **state) {
    struct tiny *t = *state;
    struct hold_ids *p = prompts_of(t, TEXTS, 3), *twice = calloc(6, sizeof *twice);
    assert_non_null(twice);
    for (int i = 0; i < 6; i++)
        twice[i] = p[i / 2];
    struct hold_generate_options o = {.max_tokens = 8, .temperature = 0.8, .n = 2, .batch = 3};
    struct hold_generated *pairs = generate(t, p, 3, &o);
    o.n = 0;
    struct hold_generated *rows = generate(t, twice, 6, &o);
    for (int i = 0; i < 6; i++)
        assert_same(&pairs[i], &rows[i]);
    assert_true(memcmp(pairs[0].ids, pairs[1].ids, 8 * sizeof(int32_t)) != 0);
    drop(pairs, 6);
    drop(rows, 6);
    free(twice);
    prompts_free(p, 3);
}

static void narrow_sampling_is_greedy(void **state) {
    struct tiny *t = *state;
    struct hold_ids *p = prompts_of(t, TEXTS, N_TEXTS);
    struct hold_generate_options greedy = {.max_tokens = 8};
    struct hold_generate_options narrow[] = {
        {.max_tokens = 8, .temperature = 1.0, .top_k = 1},
        {.max_tokens = 8, .temperature = 1.0, .top_p = 1e-9},
        {.max_tokens = 8, .temperature = 1e-6},
    };
    struct hold_generated *expected = generate(t, p, N_TEXTS, &greedy);
    for (int64_t k = 0; k < COUNT(narrow); k++) {
        struct hold_generated *g = generate(t, p, N_TEXTS, &narrow[k]);
        for (int i = 0; i < N_TEXTS; i++)
            assert_same(&g[i], &expected[i]);
        drop(g, N_TEXTS);
    }
    drop(expected, N_TEXTS);
    prompts_free(p, N_TEXTS);
}

static void an_end_of_turn_ends_the_row(void **state) {
    struct tiny *t = *state;
    struct hold_ids *p = prompts_of(t, TEXTS, 1);
    struct hold_generate_options o = {.max_tokens = 12};
    struct hold_generated *whole = generate(t, p, 1, &o);
    int at = 5;
    for (int i = 0; i < at; i++)
        at = whole->ids[i] == whole->ids[at] ? i : at;
    t->model.eos_ids[0] = whole->ids[at];
    struct hold_generated *g = generate(t, p, 1, &o);
    t->model.eos_ids[0] = -1;
    assert_int_equal(g->n_ids, at);
    assert_memory_equal(g->ids, whole->ids, (size_t)at * sizeof(int32_t));
    assert_int_equal(g->finish, HOLD_FINISH_STOP);
    assert_memory_equal(g->text, whole->text, strlen(g->text));
    drop(g, 1);
    drop(whole, 1);
    prompts_free(p, 1);
}

/* What the stop tests run on: a sampled row, whose text has more variety than a greedy one. */
static const struct hold_generate_options VARIED = {
    .max_tokens = 40, .temperature = 1.5, .top_k = 200, .seed = 3};

/* Bytes of the first n characters of text, fewer when it ends before. */
static size_t characters(const char *text, int n) {
    size_t i = 0;
    for (; n > 0 && text[i] != '\0'; n--)
        for (i++; (text[i] & 0xC0) == 0x80;)
            i++;
    return i;
}

/* Stop strings of several characters, so of several tokens, at every place of every text. */
static void stop_strings_end_the_text(void **state) {
    struct tiny *t = *state;
    struct hold_ids *p = prompts_of(t, TEXTS, 3);
    struct hold_generate_options o = VARIED;
    struct hold_generated *whole = generate(t, p, 3, &o);
    int shorter = 0;
    for (int i = 0; i < 3; i++) {
        for (const char *at = whole[i].text; *at != '\0'; at += characters(at, 3)) {
            char late[32] = {0}, early[32] = {0};
            memcpy(early, at, characters(at, 4));
            memcpy(late, at + characters(at, 1), characters(at + characters(at, 1), 5));
            const char *stops[] = {"never seen", late[0] != '\0' ? late : early, early};
            o.stop = stops;
            o.n_stop = 3;
            struct hold_generated *g = generate(t, p, 3, &o);
            const char *a = strstr(whole[i].text, stops[1]), *b = strstr(whole[i].text, early);
            size_t cut = (size_t)((a < b ? a : b) - whole[i].text);
            assert_int_equal(strlen(g[i].text), cut);
            assert_memory_equal(g[i].text, whole[i].text, cut);
            assert_int_equal(g[i].finish, HOLD_FINISH_STOP);
            assert_memory_equal(g[i].ids, whole[i].ids, (size_t)g[i].n_ids * sizeof(int32_t));
            shorter += g[i].n_ids < whole[i].n_ids;
            drop(g, 3);
        }
    }
    assert_true(shorter > 20);
    o.stop = (const char *const[]){"never seen"};
    o.n_stop = 1;
    struct hold_generated *g = generate(t, p, 3, &o);
    for (int i = 0; i < 3; i++)
        assert_same(&g[i], &whole[i]);
    drop(g, 3);
    drop(whole, 3);
    prompts_free(p, 3);
}

struct listener {
    struct hold_str heard;
    int pieces, enough; /* stops after `enough` pieces */
    volatile sig_atomic_t *stop;
};

static int listen(void *user, const char *text, size_t n) {
    struct listener *l = user;
    assert_true(n > 0);
    assert_int_equal(hold_utf8_check(text, n), -1);
    hold_str_add_bytes(&l->heard, text, n);
    l->pieces++;
    if (l->stop != NULL && l->pieces == l->enough)
        *l->stop = 1;
    return l->stop == NULL && l->pieces == l->enough;
}

static void streaming_equals_the_batch(void **state) {
    struct tiny *t = *state;
    struct hold_error err = {0};
    struct hold_ids *p = prompts_of(t, TEXTS, N_TEXTS);
    struct hold_generate_options o = VARIED;
    for (int with_stop = 0; with_stop < 2; with_stop++) {
        for (int i = 0; i < N_TEXTS; i++) {
            struct hold_generated *g = generate(t, &p[i], 1, &o);
            struct listener l = {0};
            struct hold_generated one;
            assert_ok(hold_generate_stream(&t->model, &p[i], &o, listen, &l, NULL, &one, &err),
                      &err);
            assert_same(&one, g);
            assert_string_equal(hold_str_text(&l.heard), one.text);
            assert_true(with_stop == 1 || l.pieces > 5);
            hold_generated_free(&one, 1);
            hold_str_release(&l.heard);
            drop(g, 1);
        }
        /* The second time over many stop strings that nearly match. */
        static const char *const STOPS[] = {"e e", "aab", "the", "  ", "\xEF\xBF\xBD\xEF\xBF\xBD"};
        o.stop = STOPS;
        o.n_stop = (int)COUNT(STOPS);
    }
    prompts_free(p, N_TEXTS);
}

static void a_listener_may_stop(void **state) {
    struct tiny *t = *state;
    struct hold_error err = {0};
    struct hold_ids p = ids_of(t, TEXTS[0]);
    struct hold_generate_options o = VARIED;
    struct listener l = {.enough = 3};
    struct hold_generated g;
    assert_ok(hold_generate_stream(&t->model, &p, &o, listen, &l, NULL, &g, &err), &err);
    assert_int_equal(l.pieces, 3);
    assert_int_equal(g.finish, HOLD_FINISH_INTERRUPTED);
    assert_string_equal(hold_str_text(&l.heard), g.text);
    hold_generated_free(&g, 1);
    hold_str_release(&l.heard);
    /* Or the process is told to. */
    volatile sig_atomic_t stop = 0;
    struct hold_ctx ctx = {.stop = &stop, .threads = 1};
    l = (struct listener){.enough = 2, .stop = &stop};
    assert_refused(hold_generate_stream(&t->model, &p, &o, listen, &l, &ctx, &g, &err),
                   HOLD_EINTERRUPTED, &err, "stopped");
    assert_int_equal(g.finish, HOLD_FINISH_INTERRUPTED);
    assert_in_range(g.n_ids, 1, 39);
    assert_string_equal(hold_str_text(&l.heard), g.text);
    hold_generated_free(&g, 1);
    hold_str_release(&l.heard);
    hold_ids_release(&p);
}

struct watcher {
    volatile sig_atomic_t stop;
    int64_t done, total;
    int calls;
    bool stops;
};

static void watch(void *user, const char *what, int64_t done, int64_t total, const char *status,
                  double eta) {
    struct watcher *w = user;
    assert_string_equal(what, "generating");
    assert_non_null(strstr(status, "tok/s"));
    assert_true(eta >= 0.0);
    w->done = done;
    w->total = total;
    w->calls++;
    w->stop = w->stops;
}

static void interruption_keeps_what_there_is(void **state) {
    struct tiny *t = *state;
    struct hold_error err = {0};
    struct hold_ids *p = prompts_of(t, TEXTS, N_TEXTS);
    struct hold_generate_options o = {.max_tokens = 12, .batch = 4};
    struct hold_generated g[N_TEXTS];
    struct watcher w = {0};
    struct hold_ctx ctx = {.progress = watch, .user = &w, .stop = &w.stop, .threads = 1};
    assert_ok(hold_generate(&t->model, p, N_TEXTS, &o, &ctx, g, &err), &err);
    assert_int_equal(w.done, N_TEXTS);
    assert_int_equal(w.total, N_TEXTS);
    hold_generated_free(g, N_TEXTS);
    w = (struct watcher){.stops = true}; /* at the first step */
    assert_refused(hold_generate(&t->model, p, N_TEXTS, &o, &ctx, g, &err), HOLD_EINTERRUPTED, &err,
                   "of 10 rows");
    int begun = 0;
    for (int i = 0; i < N_TEXTS; i++) {
        assert_int_equal(g[i].finish, HOLD_FINISH_INTERRUPTED);
        assert_non_null(g[i].text);
        assert_true(g[i].n_ids <= 1);
        begun += g[i].n_ids == 1;
    }
    assert_int_equal(begun, 4);
    assert_int_equal(w.calls, 1);
    hold_generated_free(g, N_TEXTS);
    prompts_free(p, N_TEXTS);
}

static void the_context_ends_a_row(void **state) {
    struct tiny *t = *state;
    struct hold_error err = {0};
    struct hold_ids p = {0};
    int64_t context = t->model.shape.max_positions;
    for (int64_t i = 0; i < context; i++)
        assert_ok(hold_ids_push(&p, 3 + (int32_t)(i * 31 % 280), &err), &err);
    struct hold_generate_options o = {.max_tokens = 50};
    for (int64_t room = 0; room < 9; room += 4) {
        p.len = (size_t)(context - room);
        struct hold_generated *g = generate(t, &p, 1, &o);
        assert_int_equal(g->n_ids, room + 1);
        assert_int_equal(g->finish, HOLD_FINISH_LENGTH);
        drop(g, 1);
    }
    p.len = (size_t)context;
    assert_ok(hold_ids_push(&p, 5, &err), &err);
    struct hold_generated g;
    assert_refused(hold_generate(&t->model, &p, 1, &o, NULL, &g, &err), HOLD_EDATA, &err,
                   "prompt 1 has 129 tokens");
    hold_ids_release(&p);
}

static void wrong_input_is_refused(void **state) {
    struct tiny *t = *state;
    struct hold_error err = {0};
    struct hold_ids *p = prompts_of(t, TEXTS, 2);
    struct hold_ids bad[2] = {p[0], {0}};
    struct hold_generated g[2];
    struct hold_generate_options fine = {.max_tokens = 4};
    assert_refused(hold_generate(&t->model, bad, 2, &fine, NULL, g, &err), HOLD_EDATA, &err,
                   "prompt 2 has no tokens");
    int32_t ids[2] = {5, (int32_t)t->model.shape.vocab};
    bad[1] = (struct hold_ids){ids, 2, 2};
    assert_refused(hold_generate(&t->model, bad, 2, &fine, NULL, g, &err), HOLD_EDATA, &err,
                   "prompt 2: token 288 is outside the vocabulary of 288");
    ids[1] = -1;
    assert_refused(hold_generate(&t->model, bad, 2, &fine, NULL, g, &err), HOLD_EDATA, &err,
                   "token -1");
    static const char *const EMPTY[] = {""};
    static const char *const BROKEN[] = {"\xC3"};
    struct {
        struct hold_generate_options o;
        const char *part;
    } wrong[] = {
        {{.max_tokens = 0}, "max_tokens: found 0"},
        {{.max_tokens = 4, .temperature = -1.0}, "temperature"},
        {{.max_tokens = 4, .temperature = NAN}, "temperature"},
        {{.max_tokens = 4, .top_p = 1.5}, "top_p"},
        {{.max_tokens = 4, .top_k = -1}, "top_k"},
        {{.max_tokens = 4, .n = -1}, "n:"},
        {{.max_tokens = 4, .n = INT64_MAX}, "too many"},
        {{.max_tokens = 4, .stop = EMPTY, .n_stop = 1}, "stop string 1"},
        {{.max_tokens = 4, .stop = BROKEN, .n_stop = 1}, "stop string 1"},
    };
    for (int64_t i = 0; i < COUNT(wrong); i++)
        assert_refused(hold_generate(&t->model, p, 2, &wrong[i].o, NULL, g, &err), HOLD_EUSAGE,
                       &err, wrong[i].part);
    assert_ok(hold_generate(&t->model, NULL, 0, &fine, NULL, NULL, &err), &err);
    prompts_free(p, 2);
}

static void a_cache_above_the_memory_is_refused(void **state) {
    struct tiny *t = *state;
    struct hold_error err = {0};
    struct hold_ids p = ids_of(t, TEXTS[0]);
    int64_t context = t->model.shape.max_positions;
    t->model.shape.max_positions = INT64_MAX / 4;
    struct hold_generated g;
    struct hold_generate_options o = {.max_tokens = INT64_MAX / 8};
    assert_refused(hold_generate(&t->model, &p, 1, &o, NULL, &g, &err), HOLD_ENOMEMORY, &err,
                   "cache of one row");
    t->model.shape.max_positions = context;
    hold_ids_release(&p);
}

/* A weight that is not finite shows in the logits. */
static void broken_weights_are_reported(void **state) {
    struct tiny *t = *state;
    struct hold_error err = {0};
    struct hold_ids p = ids_of(t, TEXTS[0]);
    struct hold_ptr gain = t->model.norm.value.data;
    float kept, nan = NAN;
    t->device->k->read(t->device, &kept, gain, 4);
    t->device->k->write(t->device, gain, &nan, 4);
    struct hold_generated g;
    for (int sampled = 0; sampled < 2; sampled++) {
        struct hold_generate_options o = {.max_tokens = 4, .temperature = sampled};
        assert_refused(hold_generate(&t->model, &p, 1, &o, NULL, &g, &err), HOLD_EDIVERGED, &err,
                       "row 1");
        assert_null(g.text);
    }
    t->device->k->write(t->device, gain, &kept, 4);
    hold_ids_release(&p);
}

static void every_failed_allocation_is_reported(void **state) {
    struct tiny *t = *state;
    struct hold_ids *p = prompts_of(t, TEXTS, 3);
    struct hold_generate_options o = {
        .max_tokens = 3, .temperature = 1.0, .stop = (const char *const[]){"zz"}, .n_stop = 1};
    struct hold_generated g[3];
    int64_t n = 1;
    for (int rc = HOLD_ENOMEMORY; rc != HOLD_OK; n++) {
        struct hold_error err = {0};
        hold_mem_fail_at(n);
        rc = hold_generate(&t->model, p, 3, &o, NULL, g, &err);
        hold_mem_fail_at(0);
        if (rc != HOLD_OK)
            assert_refused(rc, HOLD_ENOMEMORY, &err, "");
        assert_true(n < 2000);
        struct hold_error after = {0};
        assert_ok(t->device->k->sync(t->device, &after), &after);
    }
    assert_true(n > 20);
    hold_generated_free(g, 3);
    prompts_free(p, 3);
}

static void device_memory_is_not_touched(void **state) {
    struct tiny *t = *state;
    struct tiny guarded;
    tiny_open(&guarded, true);
    struct hold_ids *p = prompts_of(t, TEXTS, N_TEXTS);
    struct hold_generate_options o[] = {{.max_tokens = 5, .batch = 3},
                                        {.max_tokens = 5, .batch = 3, .temperature = 1.0}};
    for (int k = 0; k < 2; k++) {
        struct hold_generated *a = generate(t, p, N_TEXTS, &o[k]);
        struct hold_generated *b = generate(&guarded, p, N_TEXTS, &o[k]);
        for (int i = 0; i < N_TEXTS; i++)
            assert_same(&a[i], &b[i]);
        drop(a, N_TEXTS);
        drop(b, N_TEXTS);
    }
    prompts_free(p, N_TEXTS);
    tiny_close(&guarded);
}

struct decider {
    int64_t row, asked;
    size_t length; /* bytes of text that decide */
};

static bool decide_one(void *user, int64_t row, const char *text) {
    struct decider *d = user;
    d->asked++;
    return row == d->row && strlen(text) >= d->length;
}

/* One row ends early with the beginning of its answer; its neighbours do not notice. */
static void a_decided_row_leaves_the_batch(void **state) {
    struct tiny *t = *state;
    struct hold_ids *p = prompts_of(t, TEXTS, N_TEXTS);
    struct hold_generate_options o = {.max_tokens = 12, .batch = 2};
    struct hold_generated *full = generate(t, p, N_TEXTS, &o);
    struct decider d = {.row = 1, .length = 3};
    o.decided = decide_one;
    o.decided_user = &d;
    struct hold_generated *g = generate(t, p, N_TEXTS, &o);
    assert_true(d.asked > 0);
    for (int i = 0; i < N_TEXTS; i++) {
        if (i != d.row) {
            assert_int_equal(g[i].finish, full[i].finish);
            assert_int_equal(g[i].n_ids, full[i].n_ids);
            assert_string_equal(g[i].text, full[i].text);
            continue;
        }
        assert_int_equal(g[i].finish, HOLD_FINISH_DECIDED);
        assert_true(g[i].n_ids > 0 && g[i].n_ids < full[i].n_ids);
        assert_memory_equal(g[i].ids, full[i].ids, (size_t)g[i].n_ids * sizeof *g[i].ids);
    }
    drop(full, N_TEXTS);
    drop(g, N_TEXTS);
    prompts_free(p, N_TEXTS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_equals_the_plain_way),
        cmocka_unit_test(shared_prefixes_are_computed_once),
        cmocka_unit_test(many_rows_in_a_small_batch),
        cmocka_unit_test(long_prompts_are_filled_in_parts),
        cmocka_unit_test(samples_depend_on_their_key_alone),
        cmocka_unit_test(several_samples_a_row),
        cmocka_unit_test(narrow_sampling_is_greedy),
        cmocka_unit_test(an_end_of_turn_ends_the_row),
        cmocka_unit_test(stop_strings_end_the_text),
        cmocka_unit_test(streaming_equals_the_batch),
        cmocka_unit_test(a_listener_may_stop),
        cmocka_unit_test(a_decided_row_leaves_the_batch),
        cmocka_unit_test(interruption_keeps_what_there_is),
        cmocka_unit_test(the_context_ends_a_row),
        cmocka_unit_test(wrong_input_is_refused),
        cmocka_unit_test(a_cache_above_the_memory_is_refused),
        cmocka_unit_test(broken_weights_are_reported),
        cmocka_unit_test(every_failed_allocation_is_reported),
        cmocka_unit_test(device_memory_is_not_touched),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
