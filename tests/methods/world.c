/* world.c: what the tests of methods share, see world.h. */
#include "world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/rng.h"
#include "train/run.h"

void assert_ok(int rc, const struct hold_error *err) {
    if (rc != HOLD_OK)
        fail_msg("%s", err->text);
}

void assert_refused(int rc, int code, const struct hold_error *err, const char *part) {
    if (rc != code || strstr(err->text, part) == NULL)
        fail_msg("found %d \"%s\", expected %d \"...%s...\"", rc, err->text, code, part);
}

void world_open(struct world *w) {
    world_open_at(w, TINY);
}

void world_open_at(struct world *w, const char *path) {
    struct hold_error err = {0};
    *w = (struct world){.ctx = {.threads = 1}};
    assert_ok(hold_cpu_new(&w->device, 1, NULL, &err), &err);
    assert_ok(hold_model_load(&w->model, path, w->device, &w->ctx, &err), &err);
}

void world_close(struct world *w) {
    hold_model_release(&w->model);
    hold_device_free(w->device);
}

int world_set_up(void **state) {
    static struct world w;
    world_open(&w);
    *state = &w;
    return 0;
}

int world_tear_down(void **state) {
    world_close(*state);
    return 0;
}

/* --- rows --- */

void set_add(struct hold_set *set, const int32_t *ids, int32_t n, int32_t first, float weight) {
    set->example = hold_realloc(set->example, (size_t)(set->n + 1) * sizeof *set->example);
    assert_non_null(set->example);
    struct hold_example *x = &set->example[set->n];
    *x = (struct hold_example){.n = n,
                               .ids = hold_calloc((size_t)n, sizeof *x->ids),
                               .target_weight = hold_calloc((size_t)n, sizeof *x->target_weight),
                               .weight = 1.0f,
                               .row = set->n++};
    assert_true(x->ids != NULL && x->target_weight != NULL);
    for (int32_t t = 0; t < n; t++) {
        x->ids[t] = ids[t];
        x->target_weight[t] = t >= first ? weight : 0.0f;
    }
}

struct hold_set set_random(uint64_t seed, int n) {
    struct hold_set set = {0};
    struct hold_rng rng;
    hold_rng_init(&rng, seed, "test/rows", 0, 0);
    for (int i = 0; i < n; i++) {
        int32_t ids[16] = {1}, len = 6 + (int32_t)hold_rng_below(&rng, 6);
        for (int32_t t = 1; t < len; t++)
            ids[t] = 3 + (int32_t)hold_rng_below(&rng, 280);
        set_add(&set, ids, len, 2 + (int32_t)hold_rng_below(&rng, 3), 1.0f);
    }
    return set;
}

void set_arrange(struct hold_set *set, const char *stream, uint64_t seed) {
    uint32_t n = (uint32_t)set->n, *order = hold_calloc(n, sizeof *order);
    struct hold_example *in_order = hold_calloc(n, sizeof *in_order);
    assert_true(order != NULL && in_order != NULL);
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    char purpose[64];
    struct hold_rng rng;
    snprintf(purpose, sizeof purpose, "order/%s", stream);
    hold_rng_init(&rng, seed, purpose, 0, 0);
    hold_rng_shuffle(&rng, order, n);
    memcpy(in_order, set->example, n * sizeof *in_order);
    for (uint32_t i = 0; i < n; i++) {
        set->example[order[i]] = in_order[i];
        set->example[order[i]].row = order[i];
    }
    hold_free(order);
    hold_free(in_order);
}

/* --- adapters --- */

static float *floats(const json_t *list, int64_t *n) {
    *n = (int64_t)json_array_size(list);
    float *out = hold_calloc((size_t)*n + 1, sizeof *out);
    assert_non_null(out);
    for (int64_t i = 0; i < *n; i++)
        out[i] = (float)json_number_value(json_array_get(list, (size_t)i));
    return out;
}

void adapter_from_json(struct hold_adapter *out, const json_t *o, int64_t r, double alpha) {
    *out = (struct hold_adapter){.r = r, .alpha = alpha};
    out->pairs = hold_calloc(json_object_size(o) + 1, sizeof *out->pairs);
    assert_non_null(out->pairs);
    const char *module;
    json_t *pair;
    json_object_foreach((json_t *)o, module, pair) {
        struct hold_lora_pair *p = &out->pairs[out->n_pairs++];
        int64_t na = 0, nb = 0;
        p->module = hold_strdup(module);
        p->r = r;
        p->a = floats(json_object_get(pair, "a"), &na);
        p->b = floats(json_object_get(pair, "b"), &nb);
        p->in = na / r;
        p->out = nb / r;
    }
}

void adapter_copy(struct hold_adapter *out, const struct hold_adapter *a) {
    *out = (struct hold_adapter){.r = a->r, .alpha = a->alpha, .n_pairs = a->n_pairs};
    out->pairs = hold_calloc((size_t)a->n_pairs + 1, sizeof *out->pairs);
    assert_non_null(out->pairs);
    for (int64_t i = 0; i < a->n_pairs; i++) {
        const struct hold_lora_pair *from = &a->pairs[i];
        struct hold_lora_pair *p = &out->pairs[i];
        size_t na = (size_t)(from->r * from->in), nb = (size_t)(from->out * from->r);
        *p = *from;
        p->module = hold_strdup(from->module);
        p->a = hold_malloc(na * sizeof *p->a);
        p->b = hold_malloc(nb * sizeof *p->b);
        assert_true(p->module != NULL && p->a != NULL && p->b != NULL);
        memcpy(p->a, from->a, na * sizeof *p->a);
        memcpy(p->b, from->b, nb * sizeof *p->b);
    }
}

static const struct hold_lora_pair *pair_of(const struct hold_adapter *a, const char *module) {
    for (int64_t i = 0; i < a->n_pairs; i++)
        if (strcmp(a->pairs[i].module, module) == 0)
            return &a->pairs[i];
    fail_msg("module %s is missing", module);
    return NULL;
}

static double relative(const float *a, const float *b, const float *from, int64_t n) {
    double off = 0.0, size = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i], s = (double)b[i] - (from ? (double)from[i] : 0.0);
        off += d * d;
        size += s * s;
    }
    return size > 0.0 ? sqrt(off / size) : off > 0.0 ? INFINITY : 0.0;
}

double adapter_distance(const struct hold_adapter *a, const struct hold_adapter *b,
                        const struct hold_adapter *from) {
    double most = 0.0;
    assert_int_equal(a->n_pairs, b->n_pairs);
    for (int64_t i = 0; i < a->n_pairs; i++) {
        const struct hold_lora_pair *p = &a->pairs[i], *q = pair_of(b, p->module);
        const struct hold_lora_pair *f = from == NULL ? NULL : pair_of(from, p->module);
        double da = relative(p->a, q->a, f ? f->a : NULL, p->r * p->in);
        double db = relative(p->b, q->b, f ? f->b : NULL, p->out * p->r);
        most = fmax(most, fmax(da, db));
    }
    return most;
}

bool adapter_same(const struct hold_adapter *a, const struct hold_adapter *b) {
    bool same = a->n_pairs == b->n_pairs;
    for (int64_t i = 0; same && i < a->n_pairs; i++) {
        const struct hold_lora_pair *p = &a->pairs[i], *q = &b->pairs[i];
        same = strcmp(p->module, q->module) == 0 &&
               memcmp(p->a, q->a, (size_t)(p->r * p->in) * sizeof *p->a) == 0 &&
               memcmp(p->b, q->b, (size_t)(p->out * p->r) * sizeof *p->b) == 0;
    }
    return same;
}

double adapter_norm(const struct hold_adapter *a) {
    double sum = 0.0;
    for (int64_t i = 0; i < a->n_pairs; i++) {
        const struct hold_lora_pair *p = &a->pairs[i];
        for (int64_t k = 0; k < p->r * p->in; k++)
            sum += (double)p->a[k] * (double)p->a[k];
        for (int64_t k = 0; k < p->out * p->r; k++)
            sum += (double)p->b[k] * (double)p->b[k];
    }
    return sqrt(sum);
}

/* --- methods --- */

struct hold_method_use use_made(const struct hold_method *m, const char *options) {
    struct hold_error err = {0};
    struct hold_method_use use;
    json_t *o = NULL;
    if (options != NULL) {
        char *text = hold_strdup(options);
        assert_non_null(text);
        for (char *c = text; *c != '\0'; c++)
            *c = *c == '\'' ? '"' : *c;
        assert_ok(hold_json_parse(&o, text, strlen(text), "options", 1, &err), &err);
        hold_free(text);
    }
    assert_ok(hold_method_use_new(&use, m, o, "options", &err), &err);
    if (o != NULL) { /* texts stay borrowed: the values live to the end of the program */
        static json_t *kept;
        kept = kept == NULL ? json_array() : kept;
        assert_int_equal(json_array_append_new(kept, o), 0);
    }
    return use;
}

struct hold_method_use use_of(const char *name, const char *options) {
    const struct hold_method *m = NULL;
    struct hold_error err = {0};
    assert_ok(hold_method_look_up(name, &m, &err), &err);
    return use_made(m, options);
}

struct hold_method_use use_neutral(const struct hold_method *m) {
    struct hold_error err = {0};
    struct hold_method_use use = use_made(m, NULL);
    assert_non_null(m->neutral);
    for (const char *p = m->neutral; *p != '\0';) {
        size_t key = strcspn(p, "="), value = strcspn(p + key + 1, ",");
        const struct hold_option *row = NULL;
        for (const struct hold_option *o = m->options; o->type != HOLD_OPT_END; o++)
            if (strlen(o->name) == key && strncmp(o->name, p, key) == 0)
                row = o;
        assert_non_null(row);
        char text[64];
        snprintf(text, sizeof text, "%.*s", (int)value, p + key + 1);
        /* A text stays borrowed: the neutral ones are empty or one of the choices. */
        const char *lasting = text[0] == '\0' ? "" : p + key + 1;
        if (row->type == HOLD_OPT_TEXT && row->choices != NULL)
            assert_string_equal(row->text, text); /* the default already */
        else
            assert_ok(hold_options_set_text(m->options, use.state, row->name,
                                            row->type == HOLD_OPT_TEXT ? lasting : text, m->neutral,
                                            &err),
                      &err);
        p += key + 1 + value;
        p += *p == ',';
    }
    return use;
}

/* --- runs --- */

struct job job_new(void) {
    struct job j = {.grad_step = -1};
    hold_options_defaults(hold_train_options, &j.config);
    j.config.lora_r = 2;
    j.config.lora_alpha = 4;
    j.config.optim = "sgd";
    j.config.momentum = 0.9;
    j.config.learning_rate = 0.02;
    j.config.lr_scheduler_type = "constant";
    j.config.per_device_train_batch_size = 4;
    j.config.max_steps = 6;
    j.config.max_grad_norm = 0;
    return j;
}

void job_stream(struct job *j, const char *name, const struct hold_set *set) {
    assert_in_range(j->n_streams, 0, MAX_STREAMS - 1);
    j->streams[j->n_streams++] = (struct hold_stream_input){.name = name, .set = set};
}

void job_use(struct job *j, struct hold_method_use use) {
    assert_in_range(j->n_uses, 0, MAX_USES - 1);
    j->uses[j->n_uses++] = use;
}

void job_release(struct job *j) {
    for (int i = 0; i < j->n_uses; i++)
        hold_method_use_release(&j->uses[i]);
    j->n_uses = 0;
}

struct spy {
    struct outcome *out;
    int grad_step;
};

static int keep_gradient(struct hold_run *run, void *state, struct hold_error *err) {
    struct spy *s = state;
    (void)err;
    if (run->step != s->grad_step)
        return HOLD_OK;
    struct hold_device *d = run->model->device;
    s->out->n_flat = run->model->n_flat;
    s->out->grad = hold_calloc((size_t)run->model->n_flat, sizeof *s->out->grad);
    assert_non_null(s->out->grad);
    d->k->read(d, s->out->grad, run->buffers[HOLD_GRAD].data, run->model->n_flat * 4);
    return HOLD_OK;
}

static int keep_loss(struct hold_run *run, void *state, struct hold_error *err) {
    struct spy *s = state;
    (void)err;
    assert_in_range(s->out->steps, 0, MAX_STEPS - 1);
    s->out->loss[s->out->steps++] = run->last.loss;
    s->out->computed_tokens = run->last.computed_tokens;
    return HOLD_OK;
}

static const struct hold_hooks spy_hooks = {
    .name = "spy", .post = keep_gradient, .updated = keep_loss};

static int start_adapter(struct world *w, const struct job *j, struct hold_error *err) {
    struct hold_lora_config c = {.r = j->config.lora_r,
                                 .alpha = j->config.lora_alpha,
                                 .target_modules = j->config.lora_target_modules,
                                 .seed = (uint64_t)j->config.seed};
    int rc = hold_model_add_lora(&w->model, &c, err);
    if (rc == HOLD_OK && j->start != NULL)
        rc = hold_model_set_lora(&w->model, j->start, err);
    return rc;
}

int job_run(struct world *w, struct job *j, struct outcome *out, struct hold_error *err) {
    *out = (struct outcome){0};
    struct spy spy = {out, j->grad_step};
    struct hold_hooked hooked[MAX_USES + 1];
    struct hold_train_input input = {.model = &w->model,
                                     .config = j->config,
                                     .streams = j->streams,
                                     .n_streams = j->n_streams,
                                     .methods = hooked,
                                     .probe = j->probe,
                                     .probe_user = j->user};
    for (int i = 0; i < j->n_uses; i++)
        if (j->uses[i].method->hooks != NULL)
            hooked[input.n_methods++] =
                (struct hold_hooked){j->uses[i].method->hooks, j->uses[i].state};
    hooked[input.n_methods++] = (struct hold_hooked){&spy_hooks, &spy};
    int rc = start_adapter(w, j, err);
    if (rc == HOLD_OK)
        rc = hold_train(&input, &w->ctx, NULL, err);
    if (rc == HOLD_OK)
        rc = hold_model_get_lora(&w->model, &out->adapter, err);
    hold_model_drop_lora(&w->model);
    return rc;
}

void job_do(struct world *w, struct job *j, struct outcome *out) {
    struct hold_error err = {0};
    assert_ok(job_run(w, j, out, &err), &err);
}

void outcome_release(struct outcome *o) {
    hold_free(o->grad);
    hold_adapter_release(&o->adapter);
    *o = (struct outcome){0};
}

void job_fold(struct world *w, struct job *j) {
    struct outcome out;
    job_do(w, j, &out);
    job_fold_adapter(w, j, &out.adapter);
    outcome_release(&out);
}

void job_fold_adapter(struct world *w, const struct job *j, const struct hold_adapter *adapter) {
    struct hold_error err = {0};
    struct job again = *j;
    again.start = adapter;
    assert_ok(start_adapter(w, &again, &err), &err);
    assert_ok(hold_model_fold_lora(&w->model, &err), &err);
}

double mean_loss(struct hold_run *run, const struct hold_set *set) {
    struct hold_error err = {0};
    double sum = 0.0;
    for (int64_t i = 0; i < set->n; i++) {
        const struct hold_example *x = &set->example[i];
        struct hold_examples one = {.stream = 0, .n = 1, .item = &x};
        struct hold_pass pass = {.examples = &one, .buffer = -1};
        struct hold_pass_result r;
        assert_ok(hold_run_pass(run, &pass, &r, &err), &err);
        sum += r.loss;
    }
    return sum / (double)set->n;
}

static struct hold_examples whole(struct hold_run *run, const char *stream) {
    struct hold_stream *s = &run->streams[hold_stream_index(run, stream)];
    void *items = hold_arena_alloc(&run->life, (size_t)s->set->n * sizeof(struct hold_example *));
    assert_non_null(items);
    struct hold_examples e = {.stream = (int)(s - run->streams), .item = items};
    while (e.n < s->set->n) {
        e.item[e.n] = &s->set->example[e.n];
        e.n++;
    }
    return e;
}

static double forward_loss(struct hold_run *run, const struct hold_examples *e,
                           const struct hold_tap_use *use) {
    struct hold_error err = {0};
    struct hold_pass_result r;
    struct hold_pass pass = {.examples = e, .buffer = -1, .taps = use, .n_taps = use != NULL};
    assert_ok(hold_run_pass(run, &pass, &r, &err), &err);
    return r.loss;
}

double run_drift_cost(struct hold_run *run, const char *stream, double norm) {
    struct hold_error err = {0};
    struct hold_examples e = whole(run, stream);
    struct hold_tap_store *store = NULL;
    assert_ok(hold_tap_store_new(run, HOLD_AT_ATTENTION, &store, &err), &err);
    struct hold_tap_use use = {.store = store, .mode = HOLD_TAP_READ_GRAD};
    struct hold_pass pass = {.examples = &e, .buffer = HOLD_GRAD, .taps = &use, .n_taps = 1};
    double before = forward_loss(run, &e, NULL);
    assert_ok(hold_run_pass(run, &pass, NULL, &err), &err);
    use.mode = HOLD_TAP_ADD;
    use.scale = norm / (hold_tap_store_norm(run, store) + 1e-30);
    double after = forward_loss(run, &e, &use);
    hold_tap_store_free(run, store);
    return after - before;
}

struct look {
    const struct hold_examples *e;
    double loss;
};
static int look_inside(struct hold_run *run, void *user, struct hold_error *err) {
    struct look *l = user;
    (void)err;
    l->loss = forward_loss(run, l->e, NULL);
    return HOLD_OK;
}

double run_step_gain(struct hold_run *run, const char *stream, double length) {
    struct hold_error err = {0};
    struct hold_examples e = whole(run, stream);
    struct look look = {.e = &e};
    double before = forward_loss(run, &e, NULL);
    hold_buffer_zero(run, HOLD_GRAD); /* the run is over: nothing else needs it */
    struct hold_pass pass = {.examples = &e, .buffer = HOLD_GRAD};
    assert_ok(hold_run_pass(run, &pass, NULL, &err), &err);
    assert_ok(hold_run_shifted(run, HOLD_GRAD, -length / hold_buffer_norm(run, HOLD_GRAD),
                               look_inside, &look, &err),
              &err);
    return before - look.loss;
}
