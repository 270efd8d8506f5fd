/* size.c: what a run will need, by runs of the methods' own steps on the dry device: the memory of
 * its largest batches, the work of all of its steps.
 */
#include <stdlib.h>
#include <string.h>

#include "train/run.h"

enum {
    SCANNED_ROWS = 20000, /* of each stream: enough to meet batches of every size */
    LOSS_ROWS = 256,      /* of logits at once, see op_loss.c */
    COUNTED_STEPS = 128,  /* more steps are counted by blocks of them */
    BLOCKS = 4
};

static const double ENOUGH_SECONDS = 8.0; /* of measuring */

/* --- the batches that need the most --- */

/* A micro-batch by what its memory is made of. */
struct part {
    struct hold_place place;
    int64_t tokens, labels;
};
enum { BY_TOKENS, BY_LABELS, BY_BOTH, N_ORDERS };
struct ranking {
    double token_floats, label_floats; /* of a token's activations; of a row of logits */
    struct part most[N_ORDERS][2];     /* the first two of each order */
    int32_t *order, *first;            /* of a split */
};

static double weight_of(const struct ranking *r, int by, const struct part *p) {
    double tokens = (double)p->tokens;
    double labels = (double)(p->labels < LOSS_ROWS ? p->labels : LOSS_ROWS);
    return by == BY_TOKENS   ? tokens
           : by == BY_LABELS ? labels
                             : tokens * r->token_floats + labels * r->label_floats;
}

static void rank(struct ranking *r, const struct part *p) {
    for (int by = 0; by < N_ORDERS; by++) {
        struct part *most = r->most[by];
        if (weight_of(r, by, p) > weight_of(r, by, &most[0])) {
            most[1] = most[0];
            most[0] = *p;
        } else if (weight_of(r, by, p) > weight_of(r, by, &most[1])) {
            most[1] = *p;
        }
    }
}

static int rank_batch(const struct hold_run *run, struct ranking *r, struct hold_place place,
                      const struct hold_examples *e, struct hold_error *err) {
    int32_t n_parts = 0;
    int rc = hold_batch_split(e->item, e->n, run->layout, (int32_t)run->config.micro_batch_tokens,
                              r->order, r->first, &n_parts, err);
    for (int32_t i = 0; rc == HOLD_OK && i < n_parts; i++) {
        struct part p = {.place = place};
        for (int32_t k = r->first[i]; k < r->first[i + 1]; k++) {
            const struct hold_example *x = e->item[r->order[k]];
            /* A shared prefix is computed once, and its labels are rows of logits once. */
            int32_t shared = 0;
            if (run->layout == HOLD_TREE && k > r->first[i])
                shared = hold_example_shared(e->item[r->order[k - 1]], x);
            p.tokens += x->n - shared;
            for (int32_t t = shared + 1; t < x->n; t++)
                p.labels += x->target_weight[t] < 0 || x->target_weight[t] > 0;
        }
        rank(r, &p);
    }
    return rc;
}

static void take_places(struct hold_stream *s, const struct ranking *r) {
    s->n_sized = s->next_sized = 0;
    for (int by = 0; by < N_ORDERS; by++)
        for (int i = 0; i < 2; i++) {
            struct hold_place p = r->most[by][i].place;
            bool known = r->most[by][i].tokens == 0;
            for (int k = 0; !known && k < s->n_sized; k++)
                known = s->sized[k].epoch == p.epoch && s->sized[k].position == p.position;
            if (!known)
                s->sized[s->n_sized++] = p;
        }
}

/* Go through a stream as the run will, and let it stand before its largest batches. */
static int size_stream(struct hold_run *run, struct hold_stream *s, struct hold_error *err) {
    const struct hold_shape *m = &run->model->shape;
    void *order = NULL, *first = NULL;
    struct ranking r = {
        /* Saved in every block: the residual stream about six times, q, k, v and heads' output, the
         * gated layer three times. */
        .token_floats = (double)m->n_layers * (double)(6 * m->d_model + 3 * m->d_ff),
        .label_floats = (double)m->vocab,
    };
    int rc = hold_new(&order, (size_t)s->batch, sizeof *r.order, "a split", err);
    if (rc == HOLD_OK)
        rc = hold_new(&first, (size_t)s->batch + 1, sizeof *r.first, "a split", err);
    r.order = order;
    r.first = first;
    int64_t scanned = 0;
    for (int64_t i = 0; rc == HOLD_OK && i < run->steps && scanned < SCANNED_ROWS; i++) {
        const struct hold_examples *e = NULL;
        bool over = s->position >= s->set->n;
        struct hold_place place = {s->epoch + over, over ? 0 : s->position};
        rc = hold_run_next(run, s->name, &e, err);
        if (rc == HOLD_OK)
            rc = rank_batch(run, &r, place, e, err);
        if (rc == HOLD_OK)
            scanned += e->n;
    }
    if (rc == HOLD_OK)
        take_places(s, &r);
    hold_free(order);
    hold_free(first);
    return rc;
}

/* Steps as they are (methods do what they declare), plain passes over the main stream's largest
 * batches (a method may choose others first) and one over the evaluation rows. */
static int dry_steps(struct hold_run *run, struct hold_error *err) {
    int rc = HOLD_OK;
    for (int i = 0; rc == HOLD_OK && i < run->n_streams; i++)
        rc = size_stream(run, &run->streams[i], err);
    if (rc == HOLD_OK)
        rc = hold_run_prepare(run, err);
    struct hold_stream *main = &run->streams[hold_stream_index(run, "main")];
    for (int i = 0; rc == HOLD_OK && i < HOLD_SIZED_BATCHES; i++)
        rc = hold_run_one_step(run, err);
    main->next_sized = 0;
    for (int i = 0; rc == HOLD_OK && i < main->n_sized; i++) {
        struct hold_pass pass = {.buffer = HOLD_GRAD};
        rc = hold_run_next(run, NULL, &pass.examples, err);
        if (rc == HOLD_OK)
            rc = hold_run_pass(run, &pass, NULL, err);
    }
    bool enough = false;
    run->step = run->steps;
    return rc == HOLD_OK ? hold_evaluation_step(run, &enough, err) : rc;
}

/* --- a run on the dry device --- */

struct dry {
    struct hold_device *device;
    struct hold_model model;
    struct hold_train_input input;
    struct hold_ctx quiet;
    struct hold_run run;
    int64_t before; /* bytes of the model */
    bool is_open;
};

/* One block of address space, as a run's that was told what it needs: nothing is lost at the ends
 * of smaller ones. */
static const int64_t ADDRESS_SPACE = INT64_C(1) << 50;

static int open_dry(struct dry *d, const struct hold_train_input *input, struct hold_error *err) {
    *d = (struct dry){.input = *input, .quiet = {.threads = 1}};
    d->input.work_dir = NULL;
    d->input.model = &d->model;
    d->input.reserve_bytes = ADDRESS_SPACE;
    int rc = hold_dry_new(&d->device, err);
    if (rc == HOLD_OK)
        rc = hold_model_dry(&d->model, input->model, d->device, err);
    if (rc < 0)
        return rc;
    d->before = hold_device_bytes(d->device, NULL);
    d->is_open = true;
    rc = hold_run_init(&d->run, &d->input, &d->quiet, err);
    d->run.sizing = true;
    return rc;
}

static void close_dry(struct dry *d) {
    if (d->is_open) {
        hold_run_finish(&d->run);
        hold_run_release(&d->run);
    }
    hold_model_release(&d->model);
    hold_device_free(d->device);
}

int hold_train_size(const struct hold_train_input *input, int64_t *step_bytes,
                    int64_t *vector_bytes, struct hold_error *err) {
    struct dry d;
    int rc = open_dry(&d, input, err);
    if (rc == HOLD_OK)
        rc = dry_steps(&d.run, err);
    if (rc == HOLD_OK) {
        int64_t peak = 0, chunks = 0;
        for (int i = 0; i < d.run.space.n_chunks; i++)
            chunks += d.run.space.bytes[i];
        hold_device_bytes(d.device, &peak);
        *step_bytes = d.run.space.high;
        *vector_bytes = peak - d.before - chunks + d.run.host_bytes;
    }
    close_dry(&d);
    return rc;
}

int hold_train_check_room(const char *what, const struct hold_train_config *c, int64_t step_bytes,
                          int64_t vector_bytes, struct hold_error *err) {
    int64_t room = hold_memory_room(), now = hold_current_memory();
    if (room <= 0 || step_bytes <= room - vector_bytes)
        return HOLD_OK;
    const char *advice =
        vector_bytes > room || vector_bytes > step_bytes ? "lower lora_r, or train with tuning lora"
        : c->gradient_checkpointing
            ? "lower micro_batch_tokens or max_length"
            : "set gradient_checkpointing, or lower micro_batch_tokens or max_length";
    return hold_fail(err, HOLD_ENOMEMORY,
                     "%s needs about %.0f MB of memory, this process may use %.0f MB now; %s", what,
                     (double)(now + step_bytes + vector_bytes) / 1e6, (double)(now + room) / 1e6,
                     advice);
}

/* --- the work of all steps --- */

/* Let every stream stand where step `step` finds it when each step takes one batch. */
static void go_to(struct hold_run *run, int64_t step) {
    run->step = step;
    for (int i = 0; i < run->n_streams; i++) {
        struct hold_stream *s = &run->streams[i];
        int64_t an_epoch = (s->set->n + s->batch - 1) / s->batch;
        s->epoch = step / an_epoch;
        s->position = step % an_epoch * s->batch;
    }
}

/* Of steps; what references make of each row once is apart. */
static double flop_of(const struct dry *d) {
    double flop = hold_run_flop(&d->run);
    for (int i = 0; i < d->run.n_streams; i++)
        flop -= d->run.once[i].flop;
    return flop;
}

/* What references make in a run of so many steps, by the rows of them that were made: each row
 * once, whole batches of the first epoch as long as it lasts. */
static double once_flop(const struct hold_run *run, int64_t steps) {
    double flop = 0;
    for (int i = 0; i < run->n_streams; i++) {
        const struct hold_made_once *once = &run->once[i];
        const struct hold_stream *s = &run->streams[i];
        if (once->rows == 0)
            continue;
        double taken = (double)steps * (double)s->batch, n = (double)s->set->n;
        double rows = (double)once->caches * (taken < n ? taken : n);
        flop += once->flop * rows / (double)once->rows;
    }
    return flop;
}

struct counted {
    int64_t steps;
    double flop, tokens;
};

/* Steps [first, end); `each`: their FLOP, or NULL. */
static int count_steps(struct dry *d, int64_t first, int64_t end, struct counted *c, double *each,
                       struct hold_error *err) {
    struct hold_run *run = &d->run;
    int rc = HOLD_OK;
    if (run->step != first)
        go_to(run, first);
    for (int64_t i = first; rc == HOLD_OK && i < end; i++) {
        double before = flop_of(d);
        rc = hold_run_one_step(run, err);
        run->step++;
        c->steps++;
        c->tokens += (double)run->last.row_tokens;
        c->flop += flop_of(d) - before;
        if (each != NULL)
            each[i - first] = flop_of(d) - before;
    }
    return rc;
}

static int count_evaluation(struct dry *d, double *flop, struct hold_error *err) {
    double before = flop_of(d);
    bool enough = false;
    d->run.step = d->run.steps;
    int rc = hold_evaluation_step(&d->run, &enough, err);
    *flop = flop_of(d) - before;
    return rc;
}

int hold_train_count(const struct hold_train_input *input, struct hold_train_work *out,
                     struct hold_error *err) {
    struct dry d;
    struct counted c = {0};
    *out = (struct hold_train_work){0};
    int rc = open_dry(&d, input, err);
    d.run.counting = true;
    if (rc == HOLD_OK)
        rc = hold_run_prepare(&d.run, err);
    int64_t steps = d.run.steps;
    double prepared = rc == HOLD_OK ? flop_of(&d) : 0;
    if (rc == HOLD_OK && steps <= COUNTED_STEPS)
        rc = count_steps(&d, 0, steps, &c, NULL, err);
    for (int i = 0; rc == HOLD_OK && steps > COUNTED_STEPS && i < BLOCKS; i++) {
        int64_t first = (steps - COUNTED_STEPS / BLOCKS) * i / (BLOCKS - 1);
        rc = count_steps(&d, first, first + COUNTED_STEPS / BLOCKS, &c, NULL, err);
    }
    if (rc == HOLD_OK && hold_evaluations(&d.run) > 0)
        rc = count_evaluation(&d, &out->eval_flop, err);
    if (rc == HOLD_OK) {
        const struct hold_train_config *k = &d.run.config;
        double all = (double)steps / (double)c.steps;
        out->steps = steps;
        out->evaluations = hold_evaluations(&d.run);
        out->checkpoints = k->save_steps > 0 ? (steps - 1) / k->save_steps : 0;
        out->tokens = c.tokens * all;
        out->flop = prepared + c.flop * all + once_flop(&d.run, steps);
        out->eval_flop *= (double)out->evaluations;
    }
    close_dry(&d);
    return rc;
}

/* --- real steps --- */

static int compare_flop(const void *a, const void *b, void *user) {
    const double *flop = user;
    double x = flop[*(const int64_t *)a], y = flop[*(const int64_t *)b];
    return x < y ? -1 : x > y;
}

/* Of the first steps, those that stand for all: the middles of n equal parts by FLOP, and the
 * largest, which is made first. */
struct sample {
    double flop[COUNTED_STEPS];
    int64_t order[COUNTED_STEPS];
    int64_t n;
};

static int take_sample(const struct hold_train_input *input, struct sample *s,
                       struct hold_error *err) {
    struct dry d;
    struct counted c = {0};
    int rc = open_dry(&d, input, err);
    if (rc == HOLD_OK) {
        s->n = d.run.steps < COUNTED_STEPS ? d.run.steps : COUNTED_STEPS;
        rc = count_steps(&d, 0, s->n, &c, s->flop, err);
    }
    for (int64_t i = 0; i < s->n; i++)
        s->order[i] = i;
    qsort_r(s->order, (size_t)s->n, sizeof *s->order, compare_flop, s->flop);
    close_dry(&d);
    return rc;
}

/* 0 .. n - 1 in an order whose first few stand for all, too. */
static int64_t from_the_middle(int64_t i, int64_t n) {
    return n / 2 + (i % 2 == 1 ? -(i + 1) / 2 : i / 2);
}

static int time_step(struct hold_run *run, int64_t step, double *seconds, struct hold_error *err) {
    go_to(run, step);
    double begun = hold_clock_now();
    int rc = hold_run_one_step(run, err);
    *seconds = hold_clock_now() - begun;
    return rc;
}

int hold_train_measure(const struct hold_train_input *given, const struct hold_ctx *ctx,
                       int64_t n_steps, struct hold_train_speed *out, struct hold_error *err) {
    struct hold_train_input in = *given;
    const struct hold_train_input *input = &in;
    struct sample s = {.n = 0};
    struct hold_run run;
    double seconds = 0, flop = 0, first = 0;
    *out = (struct hold_train_speed){0};
    in.config.eval_strategy = "no";
    in.config.load_best_model_at_end = false;
    in.config.early_stopping_patience = 0;
    int rc = take_sample(input, &s, err);
    if (rc < 0)
        return rc;
    rc = hold_run_init(&run, input, ctx, err);
    int64_t largest = s.order[s.n - 1];
    if (rc == HOLD_OK)
        rc = time_step(&run, largest, &first, err);
    for (int64_t i = 0; rc == HOLD_OK && i < n_steps && (i < 2 || seconds < ENOUGH_SECONDS); i++) {
        double one = 0;
        int64_t part = from_the_middle(i, n_steps);
        int64_t step = s.order[(2 * part + 1) * s.n / (2 * n_steps)];
        rc = hold_stopped(ctx) ? hold_fail(err, HOLD_EINTERRUPTED, "stopped while measuring")
                               : time_step(&run, step, &one, err);
        seconds += one;
        flop += s.flop[step];
    }
    if (rc == HOLD_OK && flop > 0) {
        out->seconds_a_flop = seconds / flop;
        double more = first - s.flop[largest] * out->seconds_a_flop;
        out->first_seconds = more > 0 ? more : 0;
    }
    hold_run_finish(&run);
    hold_run_release(&run);
    return rc;
}
