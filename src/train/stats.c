/* stats.c: passes outside the loop: means of activations, and the size of a step. */
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
    if (run->sizing) { /* no values there; streams only must differ */
        for (int64_t c = 0; c < cols * layers; c++)
            out[c] = i;
        return HOLD_OK;
    }
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

/* Two steps as they are (methods do what they declare), a plain pass over the main stream's longest
 * rows (a method may choose others first) and one over the evaluation rows. */
static int dry_steps(struct hold_run *run, struct hold_error *err) {
    int rc = hold_run_prepare(run, err);
    for (int i = 0; rc == HOLD_OK && i < 2; i++)
        rc = hold_run_one_step(run, err);
    struct hold_pass pass = {.buffer = HOLD_GRAD};
    run->streams[hold_stream_index(run, "main")].position = 0;
    if (rc == HOLD_OK)
        rc = hold_run_next(run, NULL, &pass.examples, err);
    if (rc == HOLD_OK)
        rc = hold_run_pass(run, &pass, NULL, err);
    bool enough = false;
    run->step = run->steps;
    return rc == HOLD_OK ? hold_evaluation_step(run, &enough, err) : rc;
}

int hold_train_size(const struct hold_train_input *input, int64_t *step_bytes,
                    int64_t *vector_bytes, struct hold_error *err) {
    struct hold_device *dry = NULL;
    struct hold_model model = {0};
    struct hold_run run = {0};
    struct hold_train_input in = *input;
    struct hold_ctx quiet = {.threads = 1};
    in.work_dir = NULL;
    int rc = hold_dry_new(&dry, err);
    if (rc < 0)
        return rc;
    rc = hold_model_dry(&model, input->model, dry, err);
    in.model = &model;
    if (rc == HOLD_OK) {
        int64_t before = hold_device_bytes(dry, NULL), peak = 0, chunks = 0;
        rc = hold_run_init(&run, &in, &quiet, err);
        run.sizing = true;
        if (rc == HOLD_OK)
            rc = dry_steps(&run, err);
        for (int i = 0; i < run.space.n_chunks; i++)
            chunks += run.space.bytes[i];
        hold_device_bytes(dry, &peak);
        *step_bytes = run.space.high;
        *vector_bytes = peak - before - chunks + run.host_bytes;
        hold_run_finish(&run);
        hold_run_release(&run);
    }
    hold_model_release(&model);
    hold_device_free(dry);
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
