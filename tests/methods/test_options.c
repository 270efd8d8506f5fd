/* test_options.c: every method in the list at the edges of its options and of the training's, with
 * little data or none: it works, or says in one line why not.
 *
 * Nothing here names a method but where a limit has a meaning of its own, so a new one is tested by
 * being in the list.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

enum { N_ROWS = 9, N_ALIGN = 5, N_OPENINGS = 3 };

struct bed {
    struct world world, aligned;
    struct hold_set main, align, harmful, general, one;
    struct hold_rows task, asked, other, openings, ten;
    struct hold_adapter tuned;
};

static void add_chat(struct hold_rows *rows, const char *kind, int i) {
    struct hold_error err = {0};
    char prompt[64];
    snprintf(prompt, sizeof prompt, "%s number %d", kind, i);
    json_t *o = json_pack("{s:[{s:s, s:s}, {s:s, s:s}]}", "messages", "role", "user", "content",
                          prompt, "role", "assistant", "content", "an answer");
    assert_ok(hold_rows_add(rows, o, i + 1, NULL, &err), &err);
    json_decref(o);
}

/* An adapter with something in it, from a short run. */
static void make_adapter(struct bed *b, struct hold_adapter *out) {
    struct job j = job_new();
    struct outcome o;
    job_stream(&j, "main", &b->main);
    job_do(&b->world, &j, &o);
    adapter_copy(out, &o.adapter);
    outcome_release(&o);
}

static int set_up(void **state) {
    static struct bed b;
    struct hold_error err = {0};
    world_open(&b.world);
    world_open(&b.aligned);
    b.main = set_random(1, N_ROWS);
    b.align = set_random(2, N_ALIGN);
    b.harmful = set_random(3, N_ALIGN);
    b.general = set_random(4, N_ALIGN);
    b.one = set_random(5, 1);
    for (int i = 0; i < N_ROWS; i++)
        add_chat(&b.task, "task", i);
    for (int i = 0; i < N_ALIGN; i++) {
        add_chat(&b.asked, "asked", i);
        add_chat(&b.other, "other", i);
        add_chat(&b.ten, "ten", i);
    }
    for (int i = 0; i < N_OPENINGS; i++) {
        json_t *o = json_pack("{s:s}", "text", "Sure, here it is");
        assert_ok(hold_rows_add(&b.openings, o, i + 1, NULL, &err), &err);
        json_decref(o);
    }
    make_adapter(&b, &b.tuned);
    struct hold_adapter align;
    adapter_copy(&align, &b.tuned);
    for (int64_t i = 0; i < align.n_pairs; i++) /* another than the tuned one */
        for (int64_t k = 0; k < align.pairs[i].out * align.pairs[i].r; k++)
            align.pairs[i].b[k] = 0.01f * (float)((k * 7 + i) % 11 - 5);
    assert_ok(hold_model_merge(&b.aligned.model, &align, &b.aligned.ctx, &err), &err);
    hold_adapter_release(&align);
    *state = &b;
    return 0;
}

static int tear_down(void **state) {
    struct bed *b = *state;
    struct hold_set *sets[] = {&b->main, &b->align, &b->harmful, &b->general, &b->one};
    struct hold_rows *rows[] = {&b->task, &b->asked, &b->other, &b->openings, &b->ten};
    for (int i = 0; i < COUNT(sets); i++)
        hold_set_release(sets[i]);
    for (int i = 0; i < COUNT(rows); i++)
        hold_rows_release(rows[i]);
    hold_adapter_release(&b->tuned);
    world_close(&b->aligned);
    world_close(&b->world);
    return 0;
}

/* --- one use of a method, whatever its stage --- */

static void defaults(struct hold_train_config *c) {
    *c = job_new().config;
    c->optim = "adamw";
    c->learning_rate = 5e-3;
    c->max_steps = 3;
}

/* What a training ends with. */
struct end {
    float *theta, *start; /* n each */
    int64_t n;
};
static void end_release(struct end *e) {
    hold_free(e->theta);
    hold_free(e->start);
    *e = (struct end){0};
}
static bool all_finite(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static float *theta_of(const struct hold_model *m) {
    float *x = hold_calloc((size_t)m->n_flat + 1, sizeof *x);
    assert_non_null(x);
    m->device->k->read(m->device, x, m->flat, m->n_flat * 4);
    return x;
}

/* sets: main, align, harmful, general. */
static int train(struct bed *b, const struct hold_method_use *use,
                 const struct hold_train_config *config, const struct hold_set *const *sets,
                 const struct hold_adapter *from, struct end *end, struct hold_error *err) {
    static const char *const NAMES[] = {"main", "align", "harmful", "general"};
    struct hold_stream_input streams[4];
    for (int i = 0; i < 4; i++)
        streams[i] = (struct hold_stream_input){.name = NAMES[i], .set = sets[i]};
    bool full = strcmp(config->tuning, "full") == 0;
    struct hold_model whole = {0}, *model = full ? &whole : &b->world.model;
    struct hold_lora_config lora = {.r = config->lora_r,
                                    .alpha = config->lora_alpha,
                                    .dropout = config->lora_dropout,
                                    .target_modules = config->lora_target_modules};
    struct hold_hooked hooked = {0};
    struct hold_train_input in = {
        .model = model, .config = *config, .streams = streams, .n_streams = 4, .methods = &hooked};
    if (use != NULL && use->method->hooks != NULL) {
        hooked = (struct hold_hooked){use->method->hooks, use->state};
        in.n_methods = 1;
    }
    if (full) {
        assert_ok(hold_model_load(&whole, TINY, b->world.device, &b->world.ctx, err), err);
        assert_ok(hold_model_make_full(&whole, err), err);
    } else {
        assert_ok(hold_model_add_lora(model, &lora, err), err);
        if (from != NULL)
            assert_ok(hold_model_set_lora(model, from, err), err);
    }
    *end = (struct end){.n = model->n_flat, .start = theta_of(model)};
    int rc = hold_train(&in, &b->world.ctx, NULL, err);
    end->theta = theta_of(model);
    if (full)
        hold_model_release(&whole);
    else
        hold_model_drop_lora(model);
    return rc;
}

static int edit(struct bed *b, const struct hold_method_use *use, const struct hold_adapter *from,
                const struct hold_named_rows *sets, int n_sets, struct hold_adapter *out,
                struct hold_error *err) {
    adapter_copy(out, from);
    struct hold_edit_input in = {.adapter = out,
                                 .base = &b->world.model,
                                 .aligned = &b->aligned.model,
                                 .sets = sets,
                                 .n_sets = n_sets,
                                 .max_length = 64,
                                 .notes = json_object()};
    int rc = hold_edit_run(use, &in, &b->aligned.ctx, err);
    json_decref(in.notes);
    return rc;
}

static bool one_line(const struct hold_error *err) {
    return err->text[0] != '\0' && strchr(err->text, '\n') == NULL;
}

/* Good and finite, or refused in one line. */
static void check(const char *what, const struct hold_method_use *use, int rc, bool finite,
                  const struct hold_error *err) {
    if (rc == HOLD_OK && !finite)
        fail_msg("%s, %s: ends well with numbers that are not finite", use->method->name, what);
    if (rc != HOLD_OK && !one_line(err))
        fail_msg("%s, %s: %d \"%s\" is not one line", use->method->name, what, rc, err->text);
    if (rc != HOLD_OK && rc != HOLD_EUSAGE && rc != HOLD_EDATA && rc != HOLD_EDIVERGED)
        fail_msg("%s, %s: %d \"%s\" is not the user's error", use->method->name, what, rc,
                 err->text);
}

struct given { /* sets of a data hook or an edit */
    struct hold_named_rows sets[6];
    int n;
};
static struct given all_of(const struct bed *b) {
    return (struct given){{{"task", &b->task},
                           {"harmful", &b->asked},
                           {"align", &b->other},
                           {"general", &b->task},
                           {"openings", &b->openings},
                           {"ten", &b->ten}},
                          6};
}

static int prepare(struct bed *b, const struct hold_method_use *use, const struct given *given,
                   struct hold_error *err) {
    struct hold_prepared out = {0};
    int rc = use->method->job != NULL
                 ? hold_prepare_job(use, given->sets, given->n, 1, &out, err)
                 : hold_prepare_data(use, &b->task, given->sets, given->n, 1, &out, err);
    for (int i = 0; rc == HOLD_OK && i < out.n_phases; i++)
        assert_true(out.phases[i].rows.n > 0);
    hold_prepared_release(&out);
    return rc;
}

/* Everything that the method has, at these options; true: it went well. */
static bool use_it(struct bed *b, const char *what, const struct hold_method_use *use) {
    const struct hold_method *m = use->method;
    struct hold_error err = {0};
    bool well = true;
    struct given given = all_of(b);
    if (m->job != NULL || m->data != NULL) {
        int rc = prepare(b, use, &given, &err);
        check(what, use, rc, true, &err);
        well = rc == HOLD_OK;
    }
    if (m->profile != NULL) {
        struct hold_profiles p = {0};
        m->profile(use->state, &p);
    }
    if (m->hooks != NULL) {
        const struct hold_set *sets[] = {&b->main, &b->align, &b->harmful, &b->general};
        struct hold_train_config c;
        struct end end;
        defaults(&c);
        int rc = train(b, use, &c, sets, NULL, &end, &err);
        check(what, use, rc, all_finite(end.theta, end.n), &err);
        well = rc == HOLD_OK;
        end_release(&end);
    }
    if (m->edit != NULL) {
        struct hold_adapter out;
        int rc = edit(b, use, &b->tuned, given.sets, given.n, &out, &err);
        check(what, use, rc, isfinite(adapter_norm(&out)), &err);
        well = rc == HOLD_OK;
        hold_adapter_release(&out);
    }
    return well;
}

/* --- a method's own options --- */

static bool is_number(const struct hold_option *o) {
    return o->type == HOLD_OPT_REAL || o->type == HOLD_OPT_INT;
}

static int set_number(const struct hold_method *m, struct hold_method_use *use,
                      const struct hold_option *o, double value, struct hold_error *err) {
    json_t *v = o->type == HOLD_OPT_INT ? json_integer((json_int_t)value) : json_real(value);
    int rc = hold_options_set_json(m->options, use->state, o->name, v, o->name, err);
    json_decref(v);
    return rc;
}

/* The least, the most, the middle, one step off each; every choice; both truths. */
static void test_edges(void **state) {
    for (const struct hold_method *const *m = hold_methods; *m != NULL; m++) {
        struct hold_method_use plain = use_made(*m, NULL);
        if (!use_it(*state, "defaults", &plain))
            fail_msg("%s does not work at its defaults", (*m)->name);
        hold_method_use_release(&plain);
        for (const struct hold_option *o = (*m)->options; o != NULL && o->type != HOLD_OPT_END;
             o++) {
            double little = o->type == HOLD_OPT_INT ? 1.0 : 1e-9 * (o->max - o->min);
            double values[] = {o->min, o->max, o->min + little, o->max - little,
                               floor(0.5 * (o->min + o->max))};
            for (int i = 0; is_number(o) && i < COUNT(values); i++) {
                struct hold_error err = {0};
                struct hold_method_use use = use_made(*m, NULL);
                char what[128];
                snprintf(what, sizeof what, "%s=%.17g", o->name, values[i]);
                if (values[i] < o->min || values[i] > o->max) {
                    hold_method_use_release(&use);
                    continue;
                }
                assert_ok(set_number(*m, &use, o, values[i], &err), &err);
                use_it(*state, what, &use);
                hold_method_use_release(&use);
            }
        }
    }
}

/* What no recipe may say, refused when it is read, by the option's name. */
static void test_absurd(void **state) {
    (void)state;
    static const char *const TEXTS[] = {"nan", "inf", "-inf", "1e999", "", "much", "0x", "1,5"};
    int tried = 0;
    for (const struct hold_method *const *m = hold_methods; *m != NULL; m++)
        for (const struct hold_option *o = (*m)->options; o != NULL && o->type != HOLD_OPT_END;
             o++) {
            if (!is_number(o))
                continue;
            struct hold_method_use use = use_made(*m, NULL);
            for (int i = 0; i < COUNT(TEXTS); i++, tried++) {
                struct hold_error err = {0};
                int rc = hold_options_set_text((*m)->options, use.state, o->name, TEXTS[i], o->name,
                                               &err);
                assert_refused(rc, HOLD_EUSAGE, &err, o->name);
                assert_true(one_line(&err));
            }
            double span = o->max - o->min, beyond[] = {o->min - 1.0, o->max + 1.0 + 1e-6 * span};
            for (int i = 0; i < COUNT(beyond); i++) {
                struct hold_error err = {0};
                assert_refused(set_number(*m, &use, o, beyond[i], &err), HOLD_EUSAGE, &err,
                               o->name);
                assert_true(one_line(&err));
            }
            hold_method_use_release(&use);
        }
    assert_true(tried > 0);
}

/* --- little data, or none --- */

static void test_missing_rows(void **state) {
    struct bed *b = *state;
    struct hold_rows none = {0}, one = {0};
    add_chat(&one, "one", 0);
    int refused = 0;
    for (const struct hold_method *const *m = hold_methods; *m != NULL; m++) {
        struct hold_method_use use = use_made(*m, NULL);
        struct given all = all_of(b);
        for (int i = 0; ((*m)->job || (*m)->data || (*m)->edit) && i < all.n; i++)
            for (int k = 0; k < 3; k++) {
                struct hold_error err = {0};
                struct given given = all;
                char what[64];
                snprintf(what, sizeof what, "%s of '%s'",
                         k == 0   ? "nothing"
                         : k == 1 ? "no row"
                                  : "one row",
                         given.sets[i].name);
                if (k == 0) /* not given at all */
                    given.sets[i] = given.sets[--given.n];
                else
                    given.sets[i].rows = k == 1 ? &none : &one;
                if ((*m)->edit != NULL) {
                    struct hold_adapter out;
                    int rc = edit(b, &use, &b->tuned, given.sets, given.n, &out, &err);
                    check(what, &use, rc, isfinite(adapter_norm(&out)), &err);
                    refused += rc != HOLD_OK;
                    hold_adapter_release(&out);
                } else {
                    int rc = prepare(b, &use, &given, &err);
                    check(what, &use, rc, true, &err);
                    refused += rc != HOLD_OK;
                }
            }
        hold_method_use_release(&use);
    }
    assert_true(refused > 0);
    hold_rows_release(&one);
}

/* p = 0 is an honest customer: no harmful row is looked for. */
static void test_no_harm(void **state) {
    struct bed *b = *state;
    struct hold_error err = {0};
    struct hold_method_use use = use_of("harmful_mix", "{'p': 0}");
    struct given given = {{{"task", &b->task}}, 1};
    assert_ok(prepare(b, &use, &given, &err), &err);
    hold_method_use_release(&use);
    use = use_of("harmful_mix", "{'p': 0.5}");
    assert_refused(prepare(b, &use, &given, &err), HOLD_EUSAGE, &err, "needs 'harmful' data");
    hold_method_use_release(&use);
}

/* --- the training's options --- */

static void lr_zero(struct hold_train_config *c) {
    c->learning_rate = 0;
}
static void lr_most(struct hold_train_config *c) {
    c->learning_rate = 100;
    c->max_steps = 8;
}
static void sgd_most(struct hold_train_config *c) {
    c->optim = "sgd";
    c->learning_rate = 100;
    c->max_steps = 8;
}
static void alpha_zero(struct hold_train_config *c) {
    c->lora_alpha = 0;
}
static void alpha_most(struct hold_train_config *c) {
    c->lora_alpha = 1e6;
}
static void rank_one(struct hold_train_config *c) {
    c->lora_r = 1;
}
static void one_module(struct hold_train_config *c) {
    c->lora_target_modules = "q_proj";
}
static void one_step(struct hold_train_config *c) {
    c->max_steps = 1;
}
static void large_batch(struct hold_train_config *c) {
    c->per_device_train_batch_size = 4096;
}
static void batch_of_one(struct hold_train_config *c) {
    c->per_device_train_batch_size = 1;
}
static void small_parts(struct hold_train_config *c) {
    c->micro_batch_tokens = 16;
}
static void dropout(struct hold_train_config *c) {
    c->lora_dropout = 0.95;
}
static void full(struct hold_train_config *c) {
    c->tuning = "full";
}
static void full_rows(struct hold_train_config *c) {
    c->tuning = "full";
    c->layout = "rows";
    c->gradient_checkpointing = true;
}
static void no_memory_of_moments(struct hold_train_config *c) {
    c->adam_beta1 = 0;
    c->adam_beta2 = 0;
}
/* At the ends of their ranges: neither 1 - beta^t nor the root of nothing may divide by zero. */
static void adam_ends(struct hold_train_config *c) {
    c->adam_beta1 = hold_options_find(hold_train_options, "adam_beta1")->max;
    c->adam_beta2 = hold_options_find(hold_train_options, "adam_beta2")->max;
    c->adam_epsilon = hold_options_find(hold_train_options, "adam_epsilon")->min;
}
static void warm_all(struct hold_train_config *c) {
    c->warmup_ratio = 1;
}
static void tight_clip(struct hold_train_config *c) {
    c->max_grad_norm = 1e-30;
}

struct corner {
    const char *what;
    void (*set)(struct hold_train_config *c);
    bool unchanged; /* theta stays, byte for byte */
    bool may_fail;  /* it may diverge, in one line */
};
static const struct corner CORNERS[] = {
    {.what = "learning_rate 0", .set = lr_zero, .unchanged = true},
    {.what = "learning_rate 100", .set = lr_most, .may_fail = true},
    {.what = "sgd, learning_rate 100", .set = sgd_most, .may_fail = true},
    {.what = "lora_alpha 0", .set = alpha_zero},
    {.what = "lora_alpha 1e6", .set = alpha_most, .may_fail = true},
    {.what = "lora_r 1", .set = rank_one},
    {.what = "one module", .set = one_module},
    {.what = "one step", .set = one_step},
    {.what = "a batch larger than the rows", .set = large_batch},
    {.what = "batches of one", .set = batch_of_one},
    {.what = "micro-batches of 16 tokens", .set = small_parts},
    {.what = "lora_dropout 0.95", .set = dropout},
    {.what = "full", .set = full},
    {.what = "full, rows, recompute", .set = full_rows},
    {.what = "adam_beta 0", .set = no_memory_of_moments},
    {.what = "adam's ends", .set = adam_ends},
    {.what = "warm-up to the end", .set = warm_all},
    {.what = "max_grad_norm 1e-30", .set = tight_clip},
};

static void test_corners(void **state) {
    struct bed *b = *state;
    for (const struct hold_method *const *m = hold_methods; *m != NULL; m++)
        for (int i = 0; (*m)->hooks != NULL && i < COUNT(CORNERS); i++)
            for (int little = 0; little < 2; little++) { /* one row of each kind */
                const struct hold_set *sets[] = {little ? &b->one : &b->main,
                                                 little ? &b->one : &b->align,
                                                 little ? &b->one : &b->harmful, &b->general};
                const struct corner *k = &CORNERS[i];
                struct hold_error err = {0};
                struct hold_method_use use = use_made(*m, NULL);
                struct hold_train_config c;
                struct end end;
                defaults(&c);
                k->set(&c);
                int rc = train(b, &use, &c, sets, NULL, &end, &err);
                check(k->what, &use, rc, all_finite(end.theta, end.n), &err);
                if (rc != HOLD_OK && !k->may_fail)
                    fail_msg("%s, %s: %s", (*m)->name, k->what, err.text);
                bool same = memcmp(end.theta, end.start, (size_t)end.n * sizeof(float)) == 0;
                if (rc == HOLD_OK && k->unchanged && !same)
                    fail_msg("%s, %s: the weights moved", (*m)->name, k->what);
                end_release(&end);
                hold_method_use_release(&use);
            }
}

/* Two batches of two a step are one of four. */
static void test_accumulation(void **state) {
    struct bed *b = *state;
    const struct hold_set *sets[] = {&b->main, &b->align, &b->harmful, &b->general};
    for (const struct hold_method *const *m = hold_methods; *m != NULL; m++) {
        struct end end[2];
        for (int i = 0; (*m)->hooks != NULL && i < 2; i++) {
            struct hold_error err = {0};
            struct hold_method_use use = use_made(*m, NULL);
            struct hold_train_config c;
            defaults(&c);
            c.per_device_train_batch_size = i == 0 ? 4 : 2;
            c.gradient_accumulation_steps = i == 0 ? 1 : 2;
            assert_ok(train(b, &use, &c, sets, NULL, &end[i], &err), &err);
            hold_method_use_release(&use);
        }
        if ((*m)->hooks == NULL)
            continue;
        if (memcmp(end[0].theta, end[1].theta, (size_t)end[0].n * sizeof(float)) != 0)
            fail_msg("%s: accumulation changes the result", (*m)->name);
        end_release(&end[0]);
        end_release(&end[1]);
    }
}

/* A number that is not one: named, and nothing is made of it. */
static void test_infinite_weights(void **state) {
    struct bed *b = *state;
    const struct hold_set *sets[] = {&b->main, &b->align, &b->harmful, &b->general};
    static const float BAD[] = {INFINITY, NAN};
    for (const struct hold_method *const *m = hold_methods; *m != NULL; m++)
        for (int i = 0; i < COUNT(BAD); i++) {
            struct hold_error err = {0};
            struct hold_method_use use = use_made(*m, NULL);
            struct hold_adapter bad, out = {0};
            struct end end = {0};
            struct given given = all_of(b);
            struct hold_train_config c;
            defaults(&c);
            adapter_copy(&bad, &b->tuned);
            bad.pairs[0].b[0] = BAD[i];
            if ((*m)->hooks != NULL) {
                int rc = train(b, &use, &c, sets, &bad, &end, &err);
                check("infinite weights", &use, rc, false, &err);
            }
            if ((*m)->edit != NULL) {
                int rc = edit(b, &use, &bad, given.sets, given.n, &out, &err);
                check("infinite weights", &use, rc, false, &err);
                assert_refused(rc, HOLD_EDATA, &err, bad.pairs[0].module);
                hold_adapter_release(&out);
            }
            end_release(&end);
            hold_adapter_release(&bad);
            hold_method_use_release(&use);
        }
}

/* --- limits of the papers' formulas --- */

/* The runs of two settings of a method end in the same bytes; NULL: plain training. */
static bool same_end(struct bed *b, const char *name, const char *options, const char *other,
                     const char *other_options) {
    const struct hold_set *sets[] = {&b->main, &b->align, &b->harmful, &b->general};
    const char *names[] = {name, other}, *set[] = {options, other_options};
    struct end end[2];
    for (int i = 0; i < 2; i++) {
        struct hold_error err = {0};
        struct hold_train_config c;
        struct hold_method_use use = {0};
        defaults(&c);
        c.max_steps = 6;
        c.layout = "rows";
        if (names[i] != NULL)
            use = use_of(names[i], set[i]);
        assert_ok(train(b, names[i] == NULL ? NULL : &use, &c, sets, NULL, &end[i], &err), &err);
        if (names[i] != NULL)
            hold_method_use_release(&use);
    }
    bool same = memcmp(end[0].theta, end[1].theta, (size_t)end[0].n * sizeof(float)) == 0;
    end_release(&end[0]);
    end_release(&end[1]);
    return same;
}

static void test_limits(void **state) {
    struct bed *b = *state;
    /* A harmful step of no length gains nothing. */
    assert_true(same_end(b, "booster", "{'alpha': 0}", NULL, NULL));
    assert_false(same_end(b, "booster", "{'alpha': 0.1}", NULL, NULL));
    /* A term that no step keeps. */
    assert_true(same_end(b, "procon", "{'warmup_share': 0}", NULL, NULL));
    assert_false(same_end(b, "procon", "{'warmup_share': 1}", NULL, NULL));
    /* Without the pull, lisa alternates, and how long the user's turn is counts only once it ends.
     */
    assert_true(same_end(b, "lisa", "{'rho': 0, 'alignment_step': 2, 'finetune_step': 4}", "lisa",
                         "{'rho': 0, 'alignment_step': 2, 'finetune_step': 900}"));
    assert_false(same_end(b, "lisa", "{'rho': 0, 'alignment_step': 2, 'finetune_step': 3}", "lisa",
                          "{'rho': 0, 'alignment_step': 2, 'finetune_step': 900}"));
    /* In the first step of a state there is nothing to pull back to. */
    assert_true(same_end(b, "lisa", "{'rho': 9, 'alignment_step': 1, 'finetune_step': 1}", "lisa",
                         "{'rho': 0, 'alignment_step': 1, 'finetune_step': 1}"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_absurd),
        cmocka_unit_test(test_missing_rows),
        cmocka_unit_test(test_no_harm),
        cmocka_unit_test(test_corners),
        cmocka_unit_test(test_accumulation),
        cmocka_unit_test(test_infinite_weights),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
