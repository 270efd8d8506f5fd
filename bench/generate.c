/* generate.c: what generating answers takes: its seconds, and where they go by component.
 *
 *     bench_generate MODEL ADAPTER|- PROMPTS.jsonl IDS.jsonl TOKENS THREADS ISA BATCH DTYPE [early]
 *
 * Answers every prompt greedily with at most TOKENS new tokens and prints one JSON object: seconds
 * of loading and of generating, tokens, and the seconds in each group of kernels.  IDS.jsonl gets a
 * line {"ids"} a prompt, so that peers start from the very same tokens.  With `early` the prompts
 * are answered again, each answer ended where its verdict is decided, and verdicts that this
 * changes are listed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/ctx.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/render.h"
#include "device/device.h"
#include "eval/eval.h"
#include "formats/hf.h"
#include "infer/generate.h"
#include "model/model.h"

/* --- kernels with a clock each --- */

enum part { PART_PRODUCTS, PART_HEAD, PART_ATTENTION, PART_REST, PARTS };
static const char *const PART_NAMES[PARTS] = {"products", "head", "attention", "rest"};

static struct {
    const struct hold_kernels *plain;
    struct hold_kernels timed;
    double seconds[PARTS];
} clocks;

static void lap(enum part part, double start) {
    clocks.seconds[part] += hold_clock_now() - start;
}

#define P(x) struct hold_ptr x, int64_t ld_##x
static void timed_weight_forward(struct hold_device *d, const struct hold_weight *w, int64_t m,
                                 P(x), float beta, P(y)) {
    double start = hold_clock_now();
    clocks.plain->weight_forward(d, w, m, x, ld_x, beta, y, ld_y);
    lap(PART_PRODUCTS, start);
}
static void timed_weight_argmax(struct hold_device *d, const struct hold_weight *w, int64_t m, P(x),
                                struct hold_ptr id, struct hold_ptr gap) {
    double start = hold_clock_now();
    clocks.plain->weight_argmax(d, w, m, x, ld_x, id, gap);
    lap(PART_HEAD, start);
}
static void timed_attention(struct hold_device *d, const struct hold_attention *a, P(q), P(k), P(v),
                            P(out), struct hold_ptr lse) {
    double start = hold_clock_now();
    clocks.plain->attention_forward(d, a, q, ld_q, k, ld_k, v, ld_v, out, ld_out, lse);
    lap(PART_ATTENTION, start);
}
#undef P

static void time_kernels(struct hold_model *m) {
    clocks.plain = m->device->k;
    clocks.timed = *m->device->k;
    clocks.timed.weight_forward = timed_weight_forward;
    clocks.timed.weight_argmax = timed_weight_argmax;
    clocks.timed.attention_forward = timed_attention;
    m->device->k = &clocks.timed;
}

/* --- the run --- */

enum { FEW = 8 /* rows of a chat or a small server, which read levels as those do */ };

struct job {
    const char *model, *adapter, *prompts, *ids;
    int64_t tokens, threads, batch;
    const char *isa, *dtype;
    struct hold_device *device;
    struct hold_model m;
    struct hold_rows rows;
    struct hold_ids *prompt;
    struct hold_generated *out, *early; /* early: ended where the verdict is decided, or NULL */
    bool made, ends_early;
    double load_seconds, seconds, early_seconds;
};

static int load(struct job *j, struct hold_error *err) {
    struct hold_ctx quiet = {.threads = (int)j->threads};
    bool merges = strcmp(j->adapter, "-") != 0;
    double start = hold_clock_now();
    int rc = hold_cpu_new(&j->device, (int)j->threads, j->isa, err);
    if (rc == HOLD_OK)
        rc = hold_device_set_dtype(j->device, j->dtype, err);
    if (rc == HOLD_OK)
        rc = (merges ? hold_model_load : hold_model_load_lean)(&j->m, j->model, j->device, &quiet,
                                                               err);
    if (rc == HOLD_OK && merges) {
        struct hold_adapter a = {0};
        rc = hold_adapter_read(&a, j->adapter, err);
        if (rc == HOLD_OK)
            rc = hold_model_merge(&j->m, &a, &quiet, err);
        hold_adapter_release(&a);
    }
    int64_t levels;
    if (rc == HOLD_OK && j->batch <= FEW)
        rc = hold_model_read_levels(&j->m, &levels, err);
    j->load_seconds = hold_clock_now() - start;
    return rc;
}

static int render(struct job *j, struct hold_error *err) {
    void *ids = NULL, *out = NULL, *early = NULL;
    struct hold_renderer r = hold_model_renderer(&j->m, 0);
    int rc = hold_rows_read(&j->rows, j->prompts, NULL, err);
    if (rc == HOLD_OK)
        rc = hold_new(&ids, (size_t)j->rows.n, sizeof *j->prompt, "prompts", err);
    j->prompt = ids;
    if (rc == HOLD_OK)
        rc = hold_new(&out, (size_t)j->rows.n, sizeof *j->out, "answers", err);
    j->out = out;
    if (rc == HOLD_OK)
        rc = hold_new(&early, (size_t)j->rows.n, sizeof *j->early, "answers", err);
    j->early = early;
    for (int64_t i = 0; rc == HOLD_OK && i < j->rows.n; i++)
        rc = hold_render_prompt(&r, j->rows.row[i].messages, NULL, &j->prompt[i], err);
    return rc;
}

static int write_ids(const struct job *j, struct hold_error *err) {
    FILE *f = fopen(j->ids, "w");
    if (f == NULL)
        return hold_fail_errno(err, errno, "%s: cannot be written", j->ids);
    for (int64_t i = 0; i < j->rows.n; i++) {
        for (size_t t = 0; t < j->prompt[i].len; t++)
            fprintf(f, "%s%d", t == 0 ? "{\"ids\":[" : ",", (int)j->prompt[i].data[t]);
        fprintf(f, "]}\n");
    }
    return fclose(f) == 0 ? HOLD_OK : hold_fail_errno(err, errno, "%s: cannot be written", j->ids);
}

/* --- answers that end where their verdict is decided --- */

static bool is_decided(void *user, int64_t row, const char *text) {
    const struct job *j = user;
    const struct hold_judge_context context = {0};
    return hold_judge_decided(&context, hold_row_user_text(&j->rows.row[row]), text);
}

/* What ending early saves, and every verdict that it changes. */
static void show_early(const struct job *j) {
    const struct hold_judge_context context = {0};
    int64_t tokens = 0, changed = 0;
    printf(",\"early\":{\"seconds\":%.6f,\"changed\":[", j->early_seconds);
    for (int64_t i = 0; i < j->rows.n; i++) {
        const char *prompt = hold_row_user_text(&j->rows.row[i]), *why;
        enum hold_verdict full = hold_judge(&context, prompt, j->out[i].text, &why);
        enum hold_verdict early = hold_judge(&context, prompt, j->early[i].text, &why);
        tokens += j->early[i].n_ids;
        if (full != early)
            printf("%s{\"row\":%" PRId64 ",\"full\":\"%s\",\"early\":\"%s\"}",
                   changed++ > 0 ? "," : "", i + 1, hold_verdict_name(full),
                   hold_verdict_name(early));
    }
    printf("],\"tokens\":%" PRId64 "}", tokens);
}

static void show(const struct job *j) {
    int64_t prompt_tokens = 0, tokens = 0, close_calls = 0;
    for (int64_t i = 0; i < j->rows.n; i++) {
        prompt_tokens += (int64_t)j->prompt[i].len;
        tokens += j->out[i].n_ids;
        close_calls += j->out[i].close_calls;
    }
    double known = 0;
    printf("{\"rows\":%" PRId64 ",\"prompt_tokens\":%" PRId64 ",\"tokens\":%" PRId64
           ",\"close_calls\":%" PRId64 ",\"load_seconds\":%.6f,\"seconds\":%.6f,\"flop\":%.17g,"
           "\"isa\":\"%s\",\"bf16\":\"%s\",\"components\":{",
           j->rows.n, prompt_tokens, tokens, close_calls, j->load_seconds, j->seconds,
           hold_device_flop(j->device), hold_device_isa(j->device),
           hold_device_bf16_unit(j->device));
    for (int i = 0; i < PART_REST; i++) {
        printf("\"%s\":%.6f,", PART_NAMES[i], clocks.seconds[i]);
        known += clocks.seconds[i];
    }
    printf("\"%s\":%.6f}", PART_NAMES[PART_REST], j->seconds - known);
    if (j->ends_early)
        show_early(j);
    printf(",\"ids\":[");
    for (int64_t i = 0; i < j->rows.n; i++) {
        printf("%s[", i == 0 ? "" : ",");
        for (int64_t t = 0; t < j->out[i].n_ids; t++)
            printf("%s%d", t == 0 ? "" : ",", (int)j->out[i].ids[t]);
        printf("]");
    }
    printf("]}\n");
}

static int run(struct job *j, struct hold_error *err) {
    int rc = load(j, err);
    if (rc == HOLD_OK)
        rc = render(j, err);
    if (rc == HOLD_OK)
        rc = write_ids(j, err);
    if (rc < 0)
        return rc;
    struct hold_generate_options o = {.max_tokens = j->tokens, .batch = j->batch};
    time_kernels(&j->m);
    double start = hold_clock_now();
    rc = hold_generate(&j->m, j->prompt, j->rows.n, &o, NULL, j->out, err);
    j->seconds = hold_clock_now() - start;
    j->device->k = clocks.plain;
    j->made = rc == HOLD_OK;
    if (rc == HOLD_OK && j->ends_early) {
        o.decided = is_decided;
        o.decided_user = j;
        start = hold_clock_now();
        rc = hold_generate(&j->m, j->prompt, j->rows.n, &o, NULL, j->early, err);
        j->early_seconds = hold_clock_now() - start;
    }
    if (rc == HOLD_OK)
        show(j);
    return rc;
}

int main(int argc, char **argv) {
    static struct job j;
    struct hold_error err = {0};
    if (argc < 10 || argc > 11 || (argc == 11 && strcmp(argv[10], "early") != 0) ||
        !hold_parse_int(argv[5], &j.tokens) || !hold_parse_int(argv[6], &j.threads) ||
        !hold_parse_int(argv[8], &j.batch) || j.threads < 1 || j.threads > 1024) {
        fprintf(stderr, "usage: bench_generate MODEL ADAPTER|- PROMPTS.jsonl IDS.jsonl TOKENS "
                        "THREADS ISA BATCH DTYPE [early]\n");
        return 2;
    }
    j.model = argv[1];
    j.adapter = argv[2];
    j.prompts = argv[3];
    j.ids = argv[4];
    j.isa = argv[7];
    j.dtype = argv[9];
    j.ends_early = argc == 11;
    int rc = run(&j, &err);
    if (rc < 0)
        fprintf(stderr, "bench_generate: %s\n", err.text);
    if (j.made)
        hold_generated_free(j.out, j.rows.n);
    for (int64_t i = 0; j.prompt != NULL && i < j.rows.n; i++)
        hold_ids_release(&j.prompt[i]);
    hold_free(j.prompt);
    hold_free(j.out);
    if (j.early != NULL)
        hold_generated_free(j.early, j.rows.n);
    hold_free(j.early);
    hold_rows_release(&j.rows);
    hold_model_release(&j.m);
    hold_device_free(j.device);
    return rc == HOLD_OK ? 0 : 1;
}
