/* components.c: where the seconds of one training go, kernel by kernel.
 *
 *     bench_components MODEL ROWS.jsonl THREADS ISA [name=value ...]
 *
 * Runs the training loop of `holdfast train` with the same options on a CPU device whose kernels
 * have a clock each, and prints one JSON object: seconds by the wall and of all processors together
 * (which neighbours on a busy machine disturb less), of loading, rendering, training, and of each
 * kernel in training; and the FLOP of products and attention.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/ctx.h"
#include "base/str.h"
#include "data/render.h"
#include "device/device.h"
#include "device/wrap.h"
#include "model/model.h"
#include "train/train.h"

#include "options.h"

/* --- a clock for each kernel --- */

enum clock_id {
#define NAME(name, params, args) CLOCK_##name,
#define NAME_VALUE(type, name, params, args) CLOCK_##name,
    HOLD_KERNEL_LIST(NAME, NAME_VALUE) CLOCK_head_forward,
    CLOCK_head_backward,
    CLOCKS
};

static struct {
    const struct hold_kernels *plain;
    struct hold_kernels timed;
    const struct hold_weight *head;
    double wall[CLOCKS], cpu[CLOCKS]; /* seconds */
    int64_t calls[CLOCKS];
} clocks;

struct moment {
    double wall, cpu;
};

static struct moment now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (struct moment){hold_clock_now(), (double)t.tv_sec + 1e-9 * (double)t.tv_nsec};
}

static void lap(int id, struct moment start) {
    struct moment end = now();
    clocks.wall[id] += end.wall - start.wall;
    clocks.cpu[id] += end.cpu - start.cpu;
    clocks.calls[id]++;
}

#define TIMED(name, params, args)     \
    static void timed_##name params { \
        struct moment start = now();  \
        clocks.plain->name args;      \
        lap(CLOCK_##name, start);     \
    }
#define TIMED_VALUE(type, name, params, args) \
    static type timed_##name params {         \
        struct moment start = now();          \
        type value = clocks.plain->name args; \
        lap(CLOCK_##name, start);             \
        return value;                         \
    }
HOLD_KERNEL_LIST(TIMED, TIMED_VALUE)

/* The frozen head's products have clocks of their own. */
static void timed_forward(HOLD_D, const struct hold_weight *w, int64_t m, HOLD_M(x), float beta,
                          HOLD_M(y)) {
    struct moment start = now();
    clocks.plain->weight_forward(d, w, m, x, ldx, beta, y, ldy);
    lap(w == clocks.head ? CLOCK_head_forward : CLOCK_weight_forward, start);
}
static void timed_backward(HOLD_D, const struct hold_weight *w, int64_t m, HOLD_M(dy), float beta,
                           HOLD_M(dx)) {
    struct moment start = now();
    clocks.plain->weight_backward(d, w, m, dy, lddy, beta, dx, lddx);
    lap(w == clocks.head ? CLOCK_head_backward : CLOCK_weight_backward, start);
}

static void time_kernels(struct hold_device *d) {
    clocks.plain = d->k;
    clocks.timed = *d->k;
#define SET(name, params, args) clocks.timed.name = timed_##name;
#define SET_VALUE(type, name, params, args) clocks.timed.name = timed_##name;
    HOLD_KERNEL_LIST(SET, SET_VALUE)
    clocks.timed.weight_forward = timed_forward;
    clocks.timed.weight_backward = timed_backward;
    d->k = &clocks.timed;
}

/* --- the run --- */

struct job {
    struct hold_train_config config;
    struct hold_device *device;
    struct hold_model model;
    struct hold_rows rows;
    struct hold_set set;
    struct hold_train_result result;
    struct moment load, render, train;
    double flop;
};

static int make_trainables(struct job *j, struct hold_error *err) {
    if (strcmp(j->config.tuning, "full") == 0)
        return hold_model_make_full(&j->model, err);
    struct hold_lora_config lora = {.r = j->config.lora_r,
                                    .alpha = j->config.lora_alpha,
                                    .target_modules = j->config.lora_target_modules,
                                    .seed = (uint64_t)j->config.seed};
    return hold_model_add_lora(&j->model, &lora, err);
}

static struct moment since(struct moment start) {
    struct moment end = now();
    return (struct moment){end.wall - start.wall, end.cpu - start.cpu};
}

static int load(struct job *j, const char *model, int threads, const char *isa,
                struct hold_error *err) {
    struct hold_ctx quiet = {.threads = threads};
    struct moment start = now();
    int rc = hold_cpu_new(&j->device, threads, isa, err);
    if (rc == HOLD_OK)
        rc = hold_model_load(&j->model, model, j->device, &quiet, err);
    if (rc == HOLD_OK)
        rc = make_trainables(j, err);
    j->load = since(start);
    return rc;
}

static int render(struct job *j, const char *rows, struct hold_error *err) {
    struct moment start = now();
    struct hold_renderer r = {.tokenizer = j->model.tokenizer,
                              .chat = j->model.chat,
                              .bos_token = j->model.bos_token,
                              .eos_token = j->model.eos_token,
                              .max_length = (int32_t)j->config.max_length};
    int rc = hold_rows_read(&j->rows, rows, NULL, err);
    if (rc == HOLD_OK)
        rc = hold_render_set(&r, &j->rows, &j->set, NULL, err);
    j->render = since(start);
    return rc;
}

static int train(struct job *j, struct hold_error *err) {
    struct hold_ctx quiet = {.threads = j->device->threads};
    struct hold_stream_input stream = {.name = "main", .set = &j->set};
    struct hold_train_input input = {
        .model = &j->model, .config = j->config, .streams = &stream, .n_streams = 1};
    clocks.head = j->model.head.weight;
    time_kernels(j->device);
    double flop = hold_device_flop(j->device);
    struct moment start = now();
    int rc = hold_train(&input, &quiet, &j->result, err);
    j->train = since(start);
    j->flop = hold_device_flop(j->device) - flop;
    j->device->k = clocks.plain;
    return rc;
}

static void show_clocks(const char *what, double whole, const double *seconds) {
    static const char *const names[CLOCKS] = {
#define TEXT(name, params, args) #name,
#define TEXT_VALUE(type, name, params, args) #name,
        HOLD_KERNEL_LIST(TEXT, TEXT_VALUE) "head_forward", "head_backward"};
    printf(",\"%s\":{", what);
    for (int i = 0; i < CLOCKS; i++) {
        whole -= seconds[i];
        if (clocks.calls[i] > 0)
            printf("\"%s\":%.4f,", names[i], seconds[i]);
    }
    printf("\"host\":%.4f}", whole);
}

static void show(const struct job *j) {
    printf("{\"tokens\":%" PRId64 ",\"steps\":%" PRId64 ",\"loss\":%.9g,\"flop\":%.17g,"
           "\"isa\":\"%s\",\"load\":%.4f,\"render\":%.4f,\"train\":%.4f,\"load_cpu\":%.4f,"
           "\"render_cpu\":%.4f,\"train_cpu\":%.4f",
           j->result.tokens, j->result.steps, j->result.last_loss, j->flop,
           hold_device_isa(j->device), j->load.wall, j->render.wall, j->train.wall, j->load.cpu,
           j->render.cpu, j->train.cpu);
    show_clocks("wall", j->train.wall, clocks.wall);
    show_clocks("cpu", j->train.cpu, clocks.cpu);
    printf("}\n");
}

int main(int argc, char **argv) {
    static struct job j;
    struct hold_error err = {0};
    int64_t threads = 0;
    if (argc < 5 || !hold_parse_int(argv[3], &threads) || threads < 1 || threads > 1024) {
        fprintf(stderr, "usage: bench_components MODEL ROWS.jsonl THREADS ISA [name=value ...]\n");
        return 2;
    }
    int rc = bench_set_options(&j.config, argc - 5, argv + 5, &err);
    if (rc == HOLD_OK)
        rc = load(&j, argv[1], (int)threads, argv[4], &err);
    if (rc == HOLD_OK)
        rc = render(&j, argv[2], &err);
    if (rc == HOLD_OK)
        rc = train(&j, &err);
    if (rc == HOLD_OK)
        show(&j);
    else
        fprintf(stderr, "bench_components: %s\n", err.text);
    hold_set_release(&j.set);
    hold_rows_release(&j.rows);
    hold_model_release(&j.model);
    hold_device_free(j.device);
    return rc == HOLD_OK ? 0 : 1;
}
