/* stats.c: passes outside the loop: means of activations, and the size of a step. */
#include <stdlib.h>
#include <string.h>

#include "train/run.h"

struct means {
    const struct hold_planned *planned;
    int64_t cols;
    double *sum; /* (layers, C) */
    float *row;  /* (C) */
};

static struct hold_node *add_first_row(void *user, struct hold_tape *t, enum hold_site site,
                                       int layer, int kind, struct hold_node *node) {
    (void)site;
    (void)kind;
    struct means *m = user;
    int64_t row = m->planned->tokens.out_rows[0];
    t->device->k->read(t->device, m->row, hold_at_f32(node->value.data, row * node->value.ld),
                       m->cols * 4);
    for (int64_t c = 0; c < m->cols; c++)
        m->sum[layer * m->cols + c] += (double)m->row[c];
    return node;
}

int hold_run_mean_blocks(struct hold_run *run, const char *stream, int64_t limit, double *out,
                         struct hold_error *err) {
    int i = hold_stream_index(run, stream);
    if (i < 0)
        return hold_fail(err, HOLD_EINTERNAL, "there is no stream '%s'", stream);
    const struct hold_set *set = run->streams[i].set;
    int64_t n = limit > 0 && limit < set->n ? limit : set->n;
    int64_t cols = run->model->shape.d_model, layers = run->model->shape.n_layers, used = 0;
    void *row = NULL;
    int rc = hold_new(&row, (size_t)cols, sizeof(float), "a mean", err);
    memset(out, 0, (size_t)(cols * layers) * sizeof *out);
    for (int64_t k = 0; rc == HOLD_OK && k < n; k++) {
        const struct hold_example *x = &set->example[k];
        struct hold_batch batch = {0};
        struct hold_planned planned = {0};
        hold_arena_rewind(&run->host, (struct hold_arena_mark){0});
        rc = hold_batch_build(&batch, &x, 1, HOLD_ROWS, err);
        if (rc == HOLD_OK)
            rc = hold_model_plan(&batch, &run->host, &planned, err);
        if (rc == HOLD_OK && planned.labels.n_rows > 0) {
            struct means m = {&planned, cols, out, row};
            struct hold_tapper tapper = {
                .user = &m, .at = add_first_row, .sites = 1u << HOLD_AT_BLOCK};
            struct hold_space_mark mark = hold_space_mark(&run->space);
            run->tape.recording = false;
            hold_model_forward(run->model, &run->tape, &planned.tokens, &tapper, NULL, NULL);
            rc = hold_tape_check(&run->tape, err);
            hold_tape_reset(&run->tape, mark);
            used++;
        }
        hold_batch_release(&batch);
    }
    hold_free(row);
    for (int64_t c = 0; used > 0 && c < cols * layers; c++)
        out[c] /= (double)used;
    return rc;
}

static int longest_first(const void *a, const void *b) {
    int32_t x = (*(const struct hold_example *const *)a)->n;
    int32_t y = (*(const struct hold_example *const *)b)->n;
    return x < y ? 1 : x > y ? -1 : 0;
}

int hold_train_size(const struct hold_train_input *input, int64_t *step_bytes,
                    int64_t *vector_bytes, struct hold_error *err) {
    struct hold_device *dry = NULL;
    struct hold_model model = {0};
    struct hold_run run = {0};
    struct hold_train_input in = *input;
    in.n_methods = 0;
    in.work_dir = NULL;
    struct hold_ctx quiet = {.threads = 1};
    int rc = hold_dry_new(&dry, err);
    if (rc < 0)
        return rc;
    rc = hold_model_dry(&model, input->model, dry, err);
    in.model = &model;
    const struct hold_example **items = NULL;
    if (rc == HOLD_OK) {
        rc = hold_run_init(&run, &in, &quiet, err);
        const struct hold_set *set = rc == HOLD_OK ? run.streams[0].set : NULL;
        void *p = NULL;
        if (rc == HOLD_OK)
            rc = hold_new(&p, (size_t)set->n, sizeof *items, "an estimate", err);
        items = p;
        for (int64_t i = 0; rc == HOLD_OK && i < set->n; i++)
            items[i] = &set->example[i];
        if (rc == HOLD_OK) {
            qsort(items, (size_t)set->n, sizeof *items, longest_first);
            /* The longest rows fill a micro-batch best; more rows make no larger one. */
            run.layout = HOLD_ROWS;
            int64_t batch = run.streams[0].batch;
            struct hold_examples e = {
                .stream = 0, .n = (int32_t)(set->n < batch ? set->n : batch), .item = items};
            struct hold_pass pass = {.examples = &e, .buffer = HOLD_GRAD};
            rc = hold_run_pass(&run, &pass, NULL, err);
            *step_bytes = run.space.high;
            int buffers = 3; /* gradient and moments */
            for (int i = 0; i < input->n_methods; i++)
                for (const char *const *b = input->methods[i].hooks->buffers;
                     b != NULL && *b != NULL; b++)
                    buffers++;
            *vector_bytes = model.n_flat * 4 * (1 + buffers);
        }
        hold_run_release(&run);
    }
    hold_free(items);
    hold_model_release(&model);
    hold_device_free(dry);
    return rc;
}
