/* pass.c: forward and backward over one batch, in micro-batches that change nothing.
 *
 * LAW: every term is normalised over the whole batch before the first micro-batch runs, so the sum
 * over any split is the same gradient.
 */
#include <string.h>

#include "train/run.h"

struct work {
    struct hold_run *run;
    const struct hold_pass *pass;
    struct hold_terms terms;
    double scale;
    double label_weight; /* of the whole pass */
    int64_t n_labels, row_tokens;
    int32_t *order, *first, n_parts;
    int64_t *offset; /* of each example in tap stores */
    struct hold_pass_result *result;
};

static int collect_terms(struct work *w, struct hold_error *err) {
    const struct hold_pass *p = w->pass;
    if (p->terms != NULL)
        p->terms(p->user, &w->terms);
    else
        hold_terms_cross_entropy(&w->terms, 1.0, HOLD_BY_WEIGHT);
    const struct hold_train_input *in = w->run->input;
    for (int i = 0; p->collect && i < in->n_methods; i++) {
        const struct hold_hooked *m = &in->methods[i];
        if (m->hooks->terms == NULL)
            continue;
        int rc = m->hooks->terms(w->run, m->state, &w->terms, err);
        if (rc < 0)
            return rc;
    }
    if (w->terms.overflow)
        return hold_fail(err, HOLD_EUSAGE, "more than %d loss terms in one pass", HOLD_MAX_TERMS);
    for (int i = 0; i < w->terms.n; i++) {
        if (w->terms.item[i].kind == HOLD_TERM_PROJECTION && w->run->layout != HOLD_ROWS)
            return hold_fail(err, HOLD_EINTERNAL, "projection terms are true for layout rows only");
        if (w->terms.item[i].ref == NULL)
            continue;
        int rc = hold_reference_fill(w->run, w->terms.item[i].ref, p->examples, err);
        if (rc < 0)
            return rc;
    }
    return HOLD_OK;
}

static void measure(struct work *w) {
    const struct hold_examples *e = w->pass->examples;
    for (int32_t i = 0; i < e->n; i++) {
        const struct hold_example *x = e->item[i];
        w->offset[i] = w->row_tokens;
        w->row_tokens += x->n;
        for (int32_t t = 1; t < x->n; t++)
            if (x->target_weight[t] < 0.0f || x->target_weight[t] > 0.0f) {
                w->label_weight += (double)x->target_weight[t] * (double)x->weight;
                w->n_labels++;
            }
    }
}

static void *cut(struct work *w, int64_t n, size_t size, struct hold_error *err, int *rc) {
    void *p = hold_arena_alloc(&w->run->host, (size_t)(n > 0 ? n : 1) * size);
    if (p == NULL)
        *rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for a pass");
    return p;
}

/* Labels are sorted by row, so each example's come in the order of its tokens. */
int32_t *hold_label_ordinals(const struct hold_batch *b, struct hold_arena *arena) {
    int32_t *ordinal = hold_arena_alloc(arena, (size_t)(b->n_labels + 1) * sizeof *ordinal);
    int32_t *count = hold_arena_alloc(arena, (size_t)b->n_examples * sizeof *count);
    if (ordinal == NULL || count == NULL)
        return NULL;
    for (int32_t e = 0; e < b->n_labels; e++)
        ordinal[e] = count[b->labels[e].example]++;
    return ordinal;
}

static void add_kl(struct work *w, const struct hold_term *term, struct hold_node *hidden,
                   const struct hold_batch *b, const struct hold_planned *p, const int32_t *ordinal,
                   struct hold_error *err, int *rc) {
    struct hold_run *run = w->run;
    int64_t rows = p->labels.n_rows, cols = run->model->shape.d_model;
    float *ref = cut(w, rows * cols, sizeof *ref, err, rc);
    float *weight = cut(w, rows, sizeof *weight, err, rc);
    if (*rc < 0)
        return;
    for (int64_t i = 0; i < rows; i++) {
        int32_t e = p->labels.first[i];
        /* Examples that share the row share what is before it, so any one's reference will do. */
        const struct hold_batch_example *x = &b->examples[p->label_example[e]];
        memcpy(ref + i * cols,
               hold_reference_hidden(term->ref, w->pass->examples->stream, x->row, ordinal[e]),
               (size_t)cols * sizeof *ref);
        weight[i] = 0.0f;
        for (; e < p->labels.first[i + 1]; e++)
            weight[i] += p->labels.weight[e];
    }
    double norm = hold_terms_normaliser(term->by, w->label_weight, w->pass->examples->n);
    struct hold_tensor r = {
        .data = hold_tape_upload(&run->tape, ref, rows * cols * 4), rows, cols, cols};
    double sum = 0.0, coef = w->scale * term->coef / norm;
    struct hold_param ref_head = hold_reference_head(run, term->ref);
    hold_loss_kl(&run->tape, hidden, &run->model->head, r, &ref_head, weight, term->reverse,
                 (float)coef, &sum);
    w->result->extra += coef * sum;
}

static void add_losses(struct work *w, struct hold_node *hidden, const struct hold_batch *b,
                       const struct hold_planned *p, const int32_t *ordinal, struct hold_error *err,
                       int *rc) {
    for (int i = 0; i < w->terms.n && *rc == HOLD_OK; i++) {
        const struct hold_term *term = &w->terms.item[i];
        if (term->kind == HOLD_TERM_CE) {
            double norm = hold_terms_normaliser(term->by, w->label_weight, w->pass->examples->n);
            double sum = 0.0;
            hold_loss_cross_entropy(&w->run->tape, hidden, &w->run->model->head, &p->labels,
                                    (float)(w->scale * term->coef / norm), NULL, &sum);
            w->result->loss += sum / norm;
        } else if (term->kind == HOLD_TERM_KL) {
            add_kl(w, term, hidden, b, p, ordinal, err, rc);
        }
    }
}

/* Four FLOP a visible query-key pair and element of the heads forward (each time), eight backward.
 */
void hold_count_attention(struct hold_run *run, const struct hold_tokens *k) {
    const struct hold_tape *t = &run->tape;
    double pairs = 0;
    if (!run->sizing)
        return;
    for (int64_t r = 0; r < k->n_runs; r++) {
        const struct hold_query_run *q = &k->runs[r];
        double keys = 0;
        for (int32_t i = 0; i < q->n_spans; i++)
            keys += k->spans[q->first_span + i].len;
        /* The last query sees all keys, the one before it one less. */
        pairs += q->n * (keys - 0.5 * (q->n - 1));
    }
    const struct hold_shape *s = &run->model->shape;
    double each = !t->recording ? 4.0 : t->recompute ? 16.0 : 12.0;
    run->attention_flop += each * pairs * (double)(s->n_layers * s->n_heads * s->head_dim);
}

double hold_run_flop(const struct hold_run *run) {
    return hold_device_flop(run->model->device) + run->attention_flop;
}

static int run_part(struct work *w, int32_t part, struct hold_error *err) {
    struct hold_run *run = w->run;
    const struct hold_examples *e = w->pass->examples;
    int32_t n = w->first[part + 1] - w->first[part];
    const int32_t *order = w->order + w->first[part];
    int rc = HOLD_OK;
    struct hold_arena_mark host = hold_arena_mark(&run->host);
    const struct hold_example **list = cut(w, n, sizeof *list, err, &rc);
    if (rc < 0)
        return rc;
    for (int32_t i = 0; i < n; i++)
        list[i] = e->item[order[i]];
    struct hold_batch batch = {0};
    struct hold_planned planned = {0};
    rc = hold_batch_build_in(&batch, list, n, run->layout, &run->host, err);
    if (rc == HOLD_OK)
        rc = hold_model_plan(&batch, &run->host, &planned, err);
    int32_t *ordinal = NULL;
    if (rc == HOLD_OK && (ordinal = hold_label_ordinals(&batch, &run->host)) == NULL)
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for a pass");
    if (rc == HOLD_OK && planned.labels.n_labels > 0) {
        struct hold_space_mark mark = hold_space_mark(&run->space);
        struct hold_tape *t = &run->tape;
        t->recording = w->pass->buffer >= 0;
        t->flat_grads = t->recording ? run->buffers[w->pass->buffer].data : (struct hold_ptr){0};
        t->seed = (uint64_t)run->config.seed;
        t->step = (uint64_t)run->step;
        t->first_row = w->offset[order[0]];
        struct hold_part_view view = {
            .run = run,
            .pass = w->pass,
            .batch = &batch,
            .planned = &planned,
            .offset = w->offset,
            .order = order,
            .terms = &w->terms,
            .term_scale = w->scale,
            .ordinal = ordinal,
            .extra = &w->result->extra,
            .label_weight = w->label_weight,
            .n_examples = e->n,
            .err = err,
        };
        t->recompute = run->config.gradient_checkpointing;
        struct hold_tapper tapper = hold_taps_tapper(&view);
        hold_count_attention(run, &planned.tokens);
        struct hold_node *hidden = hold_model_forward(
            run->model, t, &planned.tokens, tapper.sites != 0 ? &tapper : NULL, NULL, NULL);
        rc = view.status;
        if (rc == HOLD_OK)
            add_losses(w, hidden, &batch, &planned, ordinal, err, &rc);
        if (rc == HOLD_OK)
            rc = t->recording ? hold_tape_backward(t, err) : hold_tape_check(t, err);
        if (rc == HOLD_OK)
            rc = view.status;
        hold_tape_reset(t, mark);
        w->result->computed_tokens += batch.n_tokens;
    }
    hold_arena_rewind(&run->host, host);
    return rc;
}

/* coef/2 ||theta - b||^2 and its gradient, a piece that stays in the cache at a time. */
static int add_proximal(struct work *w, const struct hold_term *term, struct hold_error *err) {
    enum { PIECE = 1 << 17 };
    struct hold_run *run = w->run;
    struct hold_device *d = run->model->device;
    struct hold_ptr anchor = run->buffers[term->buffer].data, diff = run->scratch;
    if (hold_ptr_null(diff)) {
        int rc = d->k->alloc(d, PIECE * 4, &run->scratch, err);
        if (rc < 0)
            return rc;
        diff = run->scratch;
    }
    double coef = w->scale * term->coef, sum = 0.0;
    for (int64_t i = 0; i < run->model->n_flat; i += PIECE) {
        int64_t n = run->model->n_flat - i < PIECE ? run->model->n_flat - i : PIECE;
        d->k->copy(d, diff, hold_at_f32(run->model->flat, i), n * 4);
        d->k->axpby(d, 1, n, -1.0f, hold_at_f32(anchor, i), n, 1.0f, diff, n);
        if (w->pass->buffer >= 0)
            d->k->axpby(d, 1, n, (float)coef, diff, n, 1.0f,
                        hold_at_f32(run->buffers[w->pass->buffer].data, i), n);
        sum += d->k->dot(d, n, diff, diff);
    }
    w->result->extra += coef * 0.5 * sum;
    return HOLD_OK;
}

int hold_run_pass(struct hold_run *run, const struct hold_pass *pass,
                  struct hold_pass_result *result, struct hold_error *err) {
    struct hold_pass_result own;
    struct work w = {.run = run, .pass = pass, .result = result == NULL ? &own : result};
    *w.result = (struct hold_pass_result){0};
    w.scale = pass->scale == 0.0 ? 1.0 : pass->scale;
    int32_t n = pass->examples->n;
    hold_arena_rewind(&run->host, (struct hold_arena_mark){0});
    int rc = collect_terms(&w, err);
    if (rc == HOLD_OK) {
        /* Filling a reference used the arena for its own passes; now it is ours. */
        hold_arena_rewind(&run->host, (struct hold_arena_mark){0});
        w.order = cut(&w, n, sizeof *w.order, err, &rc);
        w.first = cut(&w, n + 1, sizeof *w.first, err, &rc);
        w.offset = cut(&w, n, sizeof *w.offset, err, &rc);
    }
    if (rc < 0)
        return rc;
    measure(&w);
    rc = hold_batch_split(pass->examples->item, n, run->layout,
                          (int32_t)run->config.micro_batch_tokens, w.order, w.first, &w.n_parts,
                          err);
    if (rc == HOLD_OK)
        rc = hold_taps_begin(run, pass, err);
    for (int32_t i = 0; rc == HOLD_OK && i < w.n_parts; i++)
        rc = run_part(&w, i, err);
    for (int i = 0; rc == HOLD_OK && i < w.terms.n; i++)
        if (w.terms.item[i].kind == HOLD_TERM_PROXIMAL)
            rc = add_proximal(&w, &w.terms.item[i], err);
    w.result->label_weight = w.label_weight;
    w.result->n_labels = w.n_labels;
    w.result->row_tokens = w.row_tokens;
    /* What the log shows of a step is its last pass over the chosen examples. */
    if (rc == HOLD_OK && pass->collect && pass->examples == run->chosen) {
        run->last = *w.result;
        run->have_last = true;
    }
    return rc;
}
