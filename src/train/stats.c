/* stats.c: passes outside the loop: means of activations. */
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
    if (run->sizing && !run->counting)
        n = 0;
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
            hold_count_attention(run, &planned.tokens);
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
    for (int64_t c = 0; run->sizing && c < cols * layers; c++)
        out[c] = i; /* no values there; streams only must differ */
    return rc;
}
