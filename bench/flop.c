/* flop.c: what one fine-tuning needs, counted without computing it, and the machine's peak.
 *
 *     bench_flop MODEL ROWS.jsonl IDS.jsonl THREADS [name=value ...]
 *
 * Runs the training loop itself on a device that only counts, so the batches are the ones that
 * `holdfast train` makes with the same options.  FLOP: two a multiply-add of every matrix product,
 * and four (backward: eight) a visible query-key pair and element of attention; nothing computed
 * again counts.  Prints one JSON object; IDS.jsonl gets a line {"ids","trained"} a row, so that
 * peers train on the very same tokens.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ctx.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/render.h"
#include "device/device.h"
#include "model/model.h"
#include "train/train.h"

#include "options.h"

/* --- the counting device: the dry one with memory, so that attention's plan can be read --- */

static double attention_flop;

static int counting_alloc(struct hold_device *d, int64_t bytes, struct hold_ptr *out,
                          struct hold_error *err) {
    (void)d;
    void *p = calloc(1, (size_t)bytes + 1); /* pages that no one writes cost nothing */
    out->at = (uint64_t)(uintptr_t)p;
    return p ? HOLD_OK : hold_fail(err, HOLD_ENOMEMORY, "no memory for %" PRId64 " bytes", bytes);
}
static void *host(struct hold_ptr p) {
    return (void *)(uintptr_t)p.at; // NOLINT(performance-no-int-to-ptr): what alloc made
}
static void counting_release(struct hold_device *d, struct hold_ptr p) {
    (void)d;
    free(host(p));
}
static void counting_write(struct hold_device *d, struct hold_ptr dst, const void *src,
                           int64_t bytes) {
    (void)d;
    memcpy(host(dst), src, (size_t)bytes);
}
static void counting_read(struct hold_device *d, void *dst, struct hold_ptr src, int64_t bytes) {
    (void)d;
    memcpy(dst, host(src), (size_t)bytes);
}

static void count_attention(const struct hold_attention *a, double each) {
    const struct hold_query_run *run = host(a->runs);
    const struct hold_span *span = host(a->spans);
    double pairs = 0;
    for (int64_t r = 0; r < a->n_runs; r++) {
        double keys = 0;
        for (int32_t s = 0; s < run[r].n_spans; s++)
            keys += span[run[r].first_span + s].len;
        /* The last query sees all keys, the one before it one less. */
        pairs += run[r].n * (keys - 0.5 * (run[r].n - 1));
    }
    attention_flop += each * pairs * (double)(a->n_heads * a->head_dim);
}
/* The kernels' signatures; the plan is all that is looked at. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define P(x) struct hold_ptr x, int64_t ld_##x
static void counting_attention_forward(struct hold_device *d, const struct hold_attention *a, P(q),
                                       P(k), P(v), P(out), struct hold_ptr lse) {
    count_attention(a, 4);
}
static void counting_attention_backward(struct hold_device *d, const struct hold_attention *a, P(q),
                                        P(k), P(v), P(out), struct hold_ptr lse, P(dout), P(dq),
                                        P(dk), P(dv)) {
    count_attention(a, 8);
}
#pragma GCC diagnostic pop

/* --- the run --- */

struct job {
    struct hold_train_config config;
    struct hold_device *device;
    struct hold_kernels kernels;
    struct hold_model model;
    struct hold_rows rows;
    struct hold_set set;
    struct hold_train_result result;
};

static int write_ids(const struct hold_set *set, const char *path, struct hold_error *err) {
    FILE *f = fopen(path, "w");
    if (f == NULL)
        return hold_fail_errno(err, errno, "%s: cannot be written", path);
    for (int64_t i = 0; i < set->n; i++) {
        const struct hold_example *x = &set->example[i];
        for (int32_t t = 0; t < x->n; t++)
            fprintf(f, "%s%d", t == 0 ? "{\"ids\":[" : ",", (int)x->ids[t]);
        for (int32_t t = 0; t < x->n; t++)
            fprintf(f, "%s%d", t == 0 ? "],\"trained\":[" : ",", x->target_weight[t] > 0);
        fprintf(f, "]}\n");
    }
    return fclose(f) == 0 ? HOLD_OK : hold_fail_errno(err, errno, "%s: cannot be written", path);
}

static int make_device(struct job *j, struct hold_error *err) {
    int rc = hold_dry_new(&j->device, err);
    if (rc < 0)
        return rc;
    j->kernels = *j->device->k;
    j->kernels.alloc = counting_alloc;
    j->kernels.release = counting_release;
    j->kernels.write = counting_write;
    j->kernels.read = counting_read;
    j->kernels.attention_forward = counting_attention_forward;
    j->kernels.attention_backward = counting_attention_backward;
    j->device->k = &j->kernels;
    return HOLD_OK;
}

static int make_trainables(struct job *j, struct hold_error *err) {
    if (strcmp(j->config.tuning, "full") == 0)
        return hold_model_make_full(&j->model, err);
    struct hold_lora_config lora = {.r = j->config.lora_r,
                                    .alpha = j->config.lora_alpha,
                                    .target_modules = j->config.lora_target_modules,
                                    .seed = (uint64_t)j->config.seed};
    return hold_model_add_lora(&j->model, &lora, err);
}

static int count(struct job *j, const char *model, const char *rows, const char *ids,
                 struct hold_error *err) {
    struct hold_ctx quiet = {.threads = 1};
    int rc = hold_rows_read(&j->rows, rows, NULL, err);
    if (rc == HOLD_OK)
        rc = make_device(j, err);
    if (rc == HOLD_OK)
        rc = hold_model_load(&j->model, model, j->device, &quiet, err);
    if (rc < 0)
        return rc;
    struct hold_renderer r = {.tokenizer = j->model.tokenizer,
                              .chat = j->model.chat,
                              .bos_token = j->model.bos_token,
                              .eos_token = j->model.eos_token,
                              .max_length = (int32_t)j->config.max_length};
    rc = hold_render_set(&r, &j->rows, &j->set, NULL, err);
    if (rc == HOLD_OK)
        rc = write_ids(&j->set, ids, err);
    if (rc == HOLD_OK)
        rc = make_trainables(j, err);
    struct hold_stream_input stream = {.name = "main", .set = &j->set};
    struct hold_train_input input = {
        .model = &j->model, .config = j->config, .streams = &stream, .n_streams = 1};
    if (rc == HOLD_OK)
        rc = hold_train(&input, &quiet, &j->result, err);
    return rc;
}

struct peak {
    double gflops, bf16_gflops;
    char isa[32], bf16[32]; /* what computes, what multiplies bf16 */
};

static int measure_peak(int threads, struct peak *p, struct hold_error *err) {
    struct hold_device *d = NULL;
    int rc = hold_cpu_new(&d, threads, NULL, err);
    for (int i = 0; rc == HOLD_OK && i < 3; i++) {
        double now = hold_device_peak_gflops(d), bf16 = hold_device_peak_bf16_gflops(d);
        p->gflops = now > p->gflops ? now : p->gflops;
        p->bf16_gflops = bf16 > p->bf16_gflops ? bf16 : p->bf16_gflops;
    }
    if (rc == HOLD_OK) {
        snprintf(p->isa, sizeof p->isa, "%s", hold_device_isa(d));
        snprintf(p->bf16, sizeof p->bf16, "%s", hold_device_bf16_unit(d));
    }
    hold_device_free(d);
    return rc;
}

int main(int argc, char **argv) {
    static struct job j;
    struct hold_error err = {0};
    int64_t threads = 0;
    struct peak peak = {0};
    if (argc < 5 || !hold_parse_int(argv[4], &threads) || threads < 1 || threads > 1024) {
        fprintf(stderr, "usage: bench_flop MODEL ROWS.jsonl IDS.jsonl THREADS [name=value ...]\n");
        return 2;
    }
    int rc = bench_set_options(&j.config, argc - 5, argv + 5, &err);
    if (rc == HOLD_OK)
        rc = measure_peak((int)threads, &peak, &err);
    if (rc == HOLD_OK)
        rc = count(&j, argv[1], argv[2], argv[3], &err);
    if (rc == HOLD_OK)
        printf("{\"flop\":%.17g,\"tokens\":%" PRId64 ",\"trained\":%" PRId64 ",\"rows\":%" PRId64
               ",\"cut\":%" PRId64 ",\"steps\":%" PRId64 ",\"peak_gflops\":%.3f,\"isa\":\"%s\","
               "\"bf16_peak_gflops\":%.3f,\"bf16\":\"%s\"}\n",
               hold_device_flop(j.device) + attention_flop, j.result.tokens, j.set.n_trained,
               j.set.n, j.set.n_cut, j.result.steps, peak.gflops, peak.isa, peak.bf16_gflops,
               peak.bf16);
    else
        fprintf(stderr, "bench_flop: %s\n", err.text);
    hold_set_release(&j.set);
    hold_rows_release(&j.rows);
    hold_model_release(&j.model);
    hold_device_free(j.device);
    return rc == HOLD_OK ? 0 : 1;
}
