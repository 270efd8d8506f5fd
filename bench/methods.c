/* methods.c: what a step of every method costs beside its declared passes of plain training, and
 * its memory beside what was foretold.
 *
 *     bench_methods MODEL ROWS.jsonl THREADS STEPS
 *
 * Every stream is the same rows, so that a method's passes are as large as plain ones; plain
 * training is measured right before each method, in its layout.  `over` is the method's seconds a
 * step over passes x plain, less one: by processor time, which other processes disturb less, and by
 * the wall.  `memory` is foretold over used, of the step and of what lives as long as the run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/ctx.h"
#include "data/render.h"
#include "methods/stage.h"
#include "train/run.h"

struct bench {
    struct hold_device *device;
    struct hold_model model;
    struct hold_set set;
    struct hold_ctx ctx;
    int64_t steps;
};

struct measured {
    double cpu, wall; /* seconds a step, the first left out */
    double cpu_from, wall_from;
    int64_t at_start, bytes, foretold;
};

static double cpu_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int updated(struct hold_run *run, void *state, struct hold_error *err) {
    struct measured *m = state;
    (void)err;
    if (run->step == 0) {
        m->cpu_from = cpu_now();
        m->wall_from = hold_clock_now();
    }
    if (run->step > 0) {
        m->cpu = (cpu_now() - m->cpu_from) / (double)run->step;
        m->wall = (hold_clock_now() - m->wall_from) / (double)run->step;
    }
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

static int measure(struct bench *b, const struct hold_method *method, bool rows, struct measured *m,
                   struct hold_error *err) {
    static const char *const NAMES[] = {"main", "align", "harmful", "general"};
    struct hold_stream_input streams[4];
    struct hold_hooked hooked[2] = {{&SPY, m}};
    struct hold_method_use use = {0}, spare = {0};
    struct hold_train_input in = {
        .model = &b->model, .streams = streams, .n_streams = 4, .methods = hooked, .spec = ""};
    for (int i = 0; i < 4; i++)
        streams[i] = (struct hold_stream_input){.name = NAMES[i], .set = &b->set};
    hold_options_defaults(hold_train_options, &in.config);
    in.config.max_steps = b->steps + 1;
    in.config.layout = rows ? "rows" : "tree";
    struct hold_lora_config lora = {.r = in.config.lora_r,
                                    .alpha = in.config.lora_alpha,
                                    .target_modules = in.config.lora_target_modules,
                                    .seed = 1};
    *m = (struct measured){0};
    int64_t step = 0, life = 0;
    int rc = hold_model_add_lora(&b->model, &lora, err);
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
    hold_model_drop_lora(&b->model);
    hold_method_use_release(&use);
    hold_method_use_release(&spare);
    return rc;
}

static int run(struct bench *b, struct hold_error *err) {
    printf("%-10s %-5s %7s %9s %9s %9s %9s %8s\n", "method", "rows", "passes", "cpu s", "wall s",
           "over cpu", "over wall", "memory");
    for (const struct hold_method *const *m = hold_methods; *m != NULL; m++) {
        const struct hold_hooks *h = (*m)->hooks;
        if (h == NULL)
            continue;
        struct measured plain, own;
        int rc = measure(b, NULL, h->rows_only, &plain, err);
        if (rc == HOLD_OK)
            rc = measure(b, *m, h->rows_only, &own, err);
        if (rc < 0)
            return rc;
        printf("%-10s %-5s %7.2f %9.3f %9.3f %+8.1f%% %+8.1f%% %8.3f\n", (*m)->name,
               h->rows_only ? "rows" : "tree", h->passes, own.cpu, own.wall,
               100 * (own.cpu / (h->passes * plain.cpu) - 1),
               100 * (own.wall / (h->passes * plain.wall) - 1),
               (double)own.foretold / (double)own.bytes);
        fflush(stdout);
    }
    return HOLD_OK;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: bench_methods MODEL ROWS.jsonl THREADS STEPS\n");
        return 2;
    }
    struct hold_error err = {0};
    struct bench b = {.ctx = {.threads = (int)strtol(argv[3], NULL, 10)},
                      .steps = strtol(argv[4], NULL, 10)};
    struct hold_rows rows = {0};
    int rc = hold_rows_read(&rows, argv[2], NULL, &err);
    if (rc == HOLD_OK)
        rc = hold_cpu_new(&b.device, b.ctx.threads, NULL, &err);
    if (rc == HOLD_OK)
        rc = hold_model_load(&b.model, argv[1], b.device, &b.ctx, &err);
    if (rc == HOLD_OK) {
        struct hold_renderer r = hold_model_renderer(&b.model, 256);
        rc = hold_render_set(&r, &rows, &b.set, NULL, &err);
    }
    if (rc == HOLD_OK)
        rc = run(&b, &err);
    if (rc < 0)
        fprintf(stderr, "bench_methods: %s\n", err.text);
    hold_set_release(&b.set);
    hold_rows_release(&rows);
    hold_model_release(&b.model);
    hold_device_free(b.device);
    return rc < 0 ? 1 : 0;
}
