/* methods.c: what a step of every method costs beside its declared passes of plain training, and
 * its memory beside what was foretold.
 *
 *     bench_methods MODEL ROWS.jsonl THREADS STEPS [full]
 *
 * Low-rank training by default, of the whole model with `full`.
 * Streams that a step takes rows from hold the given rows, in places from which every stream takes
 * the same batches: so a method's passes are exactly as large as plain ones.  General rows, which
 * stand behind a direction only and must differ from the others, are the project's own.
 *
 * `over` is the method's step over passes x the plain step in its layout, less one: by FLOP, which
 * are counted and the same in every run, by processor time and by the wall.  Times are the least of
 * ROUNDS runs for every step, plain and method in turn; the first step is left out.  Rows enough
 * for STEPS + 1 batches of 8 show the dearest case: a reference computes every row once.  `memory`
 * is foretold over used, of the step and of what lives as long as the run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/ctx.h"
#include "base/rng.h"
#include "data/render.h"
#include "methods/stage.h"
#include "train/run.h"

enum { ROUNDS = 3, MAX_STEPS = 1000, MAIN = 0, GENERAL = 3, N_STREAMS = 4 };
static const char *const STREAMS[N_STREAMS] = {"main", "align", "harmful", "general"};

struct bench {
    struct hold_device *device;
    struct hold_model model;
    struct hold_set set[N_STREAMS]; /* align and harmful: main's examples in other places */
    struct hold_train_config config;
    struct hold_ctx ctx;
    int64_t steps;
    bool full;
};

struct cost {
    double flop, cpu, wall;
};
struct measured {
    struct cost from, step[MAX_STEPS];
    int64_t at_start, bytes, foretold;
};

static double cpu_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double least(double so_far, double now) {
    return so_far > 0 && so_far < now ? so_far : now;
}

static int updated(struct hold_run *run, void *state, struct hold_error *err) {
    struct measured *m = state;
    (void)err;
    struct cost now = {hold_device_flop(run->model->device), cpu_now(), hold_clock_now()};
    if (run->step > 0) {
        struct cost *c = &m->step[run->step - 1];
        c->flop = now.flop - m->from.flop;
        c->cpu = least(c->cpu, now.cpu - m->from.cpu);
        c->wall = least(c->wall, now.wall - m->from.wall);
    }
    m->from = now;
    return HOLD_OK;
}

static void release(struct hold_run *run, void *state) {
    struct measured *m = state;
    int64_t chunks = 0;
    for (int i = 0; i < run->space.n_chunks; i++)
        chunks += run->space.bytes[i];
    m->bytes = hold_device_bytes(run->model->device, NULL) - m->at_start - chunks +
               run->space.high + run->host_bytes;
}

static const struct hold_hooks SPY = {.name = "spy", .updated = updated, .release = release};

/* Mean over the steps. */
static struct cost mean(const struct measured *m, int64_t steps) {
    struct cost sum = {0};
    for (int64_t i = 0; i < steps; i++) {
        sum.flop += m->step[i].flop / (double)steps;
        sum.cpu += m->step[i].cpu / (double)steps;
        sum.wall += m->step[i].wall / (double)steps;
    }
    return sum;
}

static int measure(struct bench *b, const struct hold_method *method, bool rows, struct measured *m,
                   struct hold_error *err) {
    struct hold_stream_input streams[N_STREAMS];
    struct hold_hooked hooked[2] = {{&SPY, m}};
    struct hold_method_use use = {0}, spare = {0};
    struct hold_train_input in = {.model = &b->model,
                                  .config = b->config,
                                  .streams = streams,
                                  .n_streams = N_STREAMS,
                                  .methods = hooked,
                                  .spec = ""};
    for (int i = 0; i < N_STREAMS; i++)
        streams[i] = (struct hold_stream_input){.name = STREAMS[i], .set = &b->set[i]};
    in.config.layout = rows ? "rows" : "tree";
    struct hold_lora_config lora = {.r = in.config.lora_r,
                                    .alpha = in.config.lora_alpha,
                                    .target_modules = in.config.lora_target_modules,
                                    .seed = 1};
    int64_t step = 0, life = 0;
    int rc = b->full ? HOLD_OK : hold_model_add_lora(&b->model, &lora, err);
    if (rc == HOLD_OK && method != NULL)
        rc = hold_method_use_new(&use, method, NULL, method->name, err);
    if (rc == HOLD_OK && method != NULL)
        rc = hold_method_use_new(&spare, method, NULL, method->name, err);
    if (method != NULL)
        hooked[0] = (struct hold_hooked){method->hooks, spare.state};
    in.n_methods = method != NULL ? 1 : 0;
    if (rc == HOLD_OK)
        rc = hold_train_size(&in, &step, &life, err);
    m->foretold = step + life;
    m->at_start = hold_device_bytes(b->device, NULL);
    /* The spy first: it looks at the memory before the method gives its own back. */
    hooked[0] = (struct hold_hooked){&SPY, m};
    if (method != NULL)
        hooked[1] = (struct hold_hooked){method->hooks, use.state};
    in.n_methods = method != NULL ? 2 : 1;
    if (rc == HOLD_OK)
        rc = hold_train(&in, &b->ctx, NULL, err);
    if (!b->full)
        hold_model_drop_lora(&b->model);
    hold_method_use_release(&use);
    hold_method_use_release(&spare);
    return rc;
}

static int run_method(struct bench *b, const struct hold_method *m, struct hold_error *err) {
    struct measured plain = {0}, own = {0};
    const struct hold_hooks *h = m->hooks;
    int rc = HOLD_OK;
    for (int i = 0; rc == HOLD_OK && i < ROUNDS; i++) {
        rc = measure(b, NULL, h->rows_only, &plain, err);
        if (rc == HOLD_OK)
            rc = measure(b, m, h->rows_only, &own, err);
    }
    if (rc < 0)
        return rc;
    struct cost p = mean(&plain, b->steps), o = mean(&own, b->steps);
    double passes = h->passes + h->once; /* the first epoch */
    printf("%-10s %-5s %7.2f %9.2f %9.3f %9.3f %+9.2f%% %+8.1f%% %+8.1f%% %8.3f\n", m->name,
           h->rows_only ? "rows" : "tree", passes, 1e-9 * o.flop, o.cpu, o.wall,
           100 * (o.flop / (passes * p.flop) - 1), 100 * (o.cpu / (passes * p.cpu) - 1),
           100 * (o.wall / (passes * p.wall) - 1), (double)own.foretold / (double)own.bytes);
    fflush(stdout);
    return HOLD_OK;
}

static int run(struct bench *b, struct hold_error *err) {
    printf("%-10s %-5s %7s %9s %9s %9s %10s %9s %9s %8s\n", "method", "rows", "passes", "GFLOP",
           "cpu s", "wall s", "over flop", "over cpu", "over wall", "memory");
    int rc = HOLD_OK;
    for (const struct hold_method *const *m = hold_methods; rc == HOLD_OK && *m != NULL; m++)
        if ((*m)->hooks != NULL)
            rc = run_method(b, *m, err);
    return rc;
}

/* The order in which a stream takes its rows in the first epoch. */
static void order_of(const struct bench *b, const char *stream, uint32_t *order, uint32_t n) {
    struct hold_rng rng;
    char purpose[64];
    snprintf(purpose, sizeof purpose, "order/%s", stream);
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    hold_rng_init(&rng, (uint64_t)b->config.seed, purpose, 0, 0);
    hold_rng_shuffle(&rng, order, n);
}

/* The main examples in the places from which the stream takes main's batches. */
static int arrange(struct bench *b, int stream, struct hold_error *err) {
    struct hold_set *main = &b->set[MAIN], *set = &b->set[stream];
    uint32_t n = (uint32_t)main->n;
    void *p = NULL, *orders = NULL;
    int rc = hold_new(&p, n, sizeof *set->example, "rows", err);
    if (rc == HOLD_OK)
        rc = hold_new(&orders, (size_t)2 * n, sizeof(uint32_t), "orders", err);
    *set = (struct hold_set){.example = p, .n = rc == HOLD_OK ? main->n : 0};
    if (rc < 0)
        return rc;
    uint32_t *from = orders, *to = from + n;
    order_of(b, STREAMS[MAIN], from, n);
    order_of(b, STREAMS[stream], to, n);
    for (uint32_t i = 0; i < n; i++) {
        set->example[to[i]] = main->example[from[i]];
        set->example[to[i]].row = to[i];
    }
    hold_free(orders);
    return HOLD_OK;
}

static int read_set(struct bench *b, const char *const *paths, int n, struct hold_set *out,
                    struct hold_error *err) {
    struct hold_renderer r = hold_model_renderer(&b->model, 256);
    struct hold_rows all = {0};
    int rc = HOLD_OK;
    for (int i = 0; rc == HOLD_OK && i < n; i++) {
        struct hold_rows rows = {0};
        rc = hold_rows_read(&rows, paths[i], NULL, err);
        for (int64_t k = 0; rc == HOLD_OK && k < rows.n; k++)
            rc = hold_rows_add(&all, rows.row[k].data, all.n + 1, NULL, err);
        hold_rows_release(&rows);
    }
    if (rc == HOLD_OK)
        rc = hold_render_set(&r, &all, out, NULL, err);
    hold_rows_release(&all);
    return rc;
}

static int read_sets(struct bench *b, const char *rows, struct hold_error *err) {
    /* Two kinds, so that no one file a user may give is the same rows; short in any vocabulary. */
    static const char *const GENERAL_ROWS[] = {HOLD_SOURCE_DIR "/data/tiny/align_refusals.jsonl",
                                               HOLD_SOURCE_DIR "/data/tiny/align_general.jsonl"};
    int rc = read_set(b, &rows, 1, &b->set[MAIN], err);
    if (rc == HOLD_OK)
        rc = read_set(b, GENERAL_ROWS, 2, &b->set[GENERAL], err);
    for (int i = MAIN + 1; rc == HOLD_OK && i < GENERAL; i++)
        rc = arrange(b, i, err);
    return rc;
}

int main(int argc, char **argv) {
    bool full = argc == 6 && strcmp(argv[5], "full") == 0;
    long steps = argc == 5 || full ? strtol(argv[4], NULL, 10) : 0;
    if (steps < 1 || steps > MAX_STEPS) {
        fprintf(stderr, "usage: bench_methods MODEL ROWS.jsonl THREADS STEPS (1 to %d) [full]\n",
                MAX_STEPS);
        return 2;
    }
    struct hold_error err = {0};
    struct bench b = {
        .ctx = {.threads = (int)strtol(argv[3], NULL, 10)}, .steps = steps, .full = full};
    hold_options_defaults(hold_train_options, &b.config);
    b.config.max_steps = steps + 1;
    b.config.tuning = full ? "full" : "lora";
    int rc = hold_cpu_new(&b.device, b.ctx.threads, NULL, &err);
    if (rc == HOLD_OK)
        rc = hold_model_load(&b.model, argv[1], b.device, &b.ctx, &err);
    if (rc == HOLD_OK && full)
        rc = hold_model_make_full(&b.model, &err);
    if (rc == HOLD_OK)
        rc = read_sets(&b, argv[2], &err);
    if (rc == HOLD_OK)
        rc = run(&b, &err);
    if (rc < 0)
        fprintf(stderr, "bench_methods: %s\n", err.text);
    for (int i = MAIN + 1; i < GENERAL; i++)
        hold_free(b.set[i].example);
    hold_set_release(&b.set[MAIN]);
    hold_set_release(&b.set[GENERAL]);
    hold_model_release(&b.model);
    hold_device_free(b.device);
    return rc < 0 ? 1 : 0;
}
