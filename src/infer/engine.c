/* engine.c: the decoding loop: one forward pass a step, in which new rows' prompts are filled into
 * the cache and every row in the batch gains a token.
 *
 * Cache slots: lane i owns [i * own, (i + 1) * own) for its prompt's last token and all but the
 * last of its new ones; the slots after the lanes belong to the forest of prompts.  What a step
 * puts into the cache is seen in the same step, since keys are put before attention looks. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "infer/parts.h"

enum { FILL = 1024 /* prompt tokens a step */ };
static const float CLOSE = 1e-4f;
static const double PROGRESS_SECONDS = 0.2;

/* A place in the batch and the row that decodes there. */
struct lane {
    bool busy;
    int64_t row;
    int32_t leaf, fed; /* tokens that have gone through the model, the prompt's last included */
    int64_t position;  /* of the next token to feed */
    int32_t next;      /* that token */
    int64_t limit;     /* new tokens that this row may have */
    struct hold_ids ids;
    struct hold_span_list path;
    size_t searched; /* bytes of text in which no stop string begins */
    size_t said;     /* bytes of text given to the listener */
};

/* One forward pass, on the host; arrays for FILL + batch tokens. */
struct step {
    int64_t n, n_runs, n_out;
    int32_t *ids, *positions, *slots, *out_rows;
    struct hold_query_run *runs;
    struct hold_span_list spans;
    struct lane **lanes; /* n_out: who decodes */
};

struct engine {
    struct hold_model *m;
    const struct hold_ids *prompts;
    const struct hold_generate_options *options;
    const struct hold_piece *piece;
    const struct hold_ctx *ctx;
    struct hold_generated *out;
    int64_t each, n_rows, next_row, n_done, n_tokens;
    int64_t batch, own, longest; /* lanes; slots of one; new tokens that any row may have */
    struct hold_forest forest;
    struct hold_cache cache;
    struct hold_space space;
    struct hold_tape tape;
    struct hold_linear head; /* the output head as a layer */
    struct hold_sampler sampler;
    struct lane *lanes;
    struct step step;
    float *logits; /* sampling: (batch, V) */
    int32_t *best; /* greedy: batch */
    float *gap;
    struct hold_str raw, text;
    double start, last_progress;
};

/* --- sizes --- */

static int64_t row_limit(const struct engine *e, int64_t prompt_len) {
    int64_t context = e->m->shape.max_positions, most = e->options->max_tokens;
    /* The last new token is never fed, so it needs no position. */
    int64_t room = (context > 0 ? context : INT32_MAX - 1) - prompt_len + 1;
    return most < room ? most : room;
}

static int check_prompts(struct engine *e, int64_t n, struct hold_error *err) {
    for (int64_t i = 0; i < n; i++) {
        const struct hold_ids *p = &e->prompts[i];
        if (p->len == 0)
            return hold_fail(err, HOLD_EDATA, "prompt %lld has no tokens", (long long)i + 1);
        int64_t limit = p->len < INT32_MAX ? row_limit(e, (int64_t)p->len) : 0;
        if (limit < 1)
            return hold_fail(err, HOLD_EDATA,
                             "prompt %lld has %lld tokens, more than the model's context of %lld",
                             (long long)i + 1, (long long)p->len,
                             (long long)e->m->shape.max_positions);
        e->longest = limit > e->longest ? limit : e->longest;
        for (size_t t = 0; t < p->len; t++)
            if (p->data[t] < 0 || p->data[t] >= e->m->shape.vocab)
                return hold_fail(err, HOLD_EDATA,
                                 "prompt %lld: token %d is outside the vocabulary of %lld",
                                 (long long)i + 1, (int)p->data[t], (long long)e->m->shape.vocab);
    }
    return HOLD_OK;
}

/* Lanes and cache: fewer lanes when memory would not hold them. */
static int open_cache(struct engine *e, struct hold_error *err) {
    const struct hold_shape *s = &e->m->shape;
    int64_t limit = hold_memory_limit();
    double slot_bytes = 8.0 * (double)s->n_layers * (double)(s->n_kv_heads * s->head_dim);
    double room = limit > 0 ? 0.5 * (double)limit : 4e9, need;
    int64_t window, prompts_slots;
    e->own = e->longest;
    e->batch = e->options->batch < e->n_rows ? e->options->batch : e->n_rows;
    for (;; e->batch = e->batch / 2) {
        window = (e->batch - 1) / e->each + 2;
        prompts_slots = hold_forest_need(&e->forest, e->each == 1 ? e->batch : window);
        need = slot_bytes * ((double)e->batch * (double)e->own + (double)prompts_slots);
        if ((need <= room && need / slot_bytes < INT32_MAX) || e->batch == 1)
            break;
    }
    if (need > room || need / slot_bytes >= INT32_MAX)
        return hold_fail(err, HOLD_ENOMEMORY,
                         "the key/value cache of one row of %lld new tokens needs %.0f MB, at "
                         "most %.0f MB are used",
                         (long long)e->own, need / 1e6, room / 1e6);
    int64_t own_slots = e->batch * e->own;
    int rc = hold_forest_open(&e->forest, own_slots, prompts_slots, err);
    return rc < 0 ? rc : hold_cache_new(&e->cache, e->m, own_slots + prompts_slots, err);
}

static int new_array(void *out, int64_t n, size_t size, struct hold_error *err) {
    void *p = NULL;
    int rc = hold_new(&p, (size_t)n, size, "decoding", err);
    memcpy(out, &p, sizeof p);
    return rc;
}

static int open_buffers(struct engine *e, struct hold_error *err) {
    struct step *s = &e->step;
    int64_t most = FILL + e->batch;
    int rc = new_array(&s->ids, most, sizeof *s->ids, err);
    if (rc == HOLD_OK)
        rc = new_array(&s->positions, most, sizeof *s->positions, err);
    if (rc == HOLD_OK)
        rc = new_array(&s->slots, most, sizeof *s->slots, err);
    if (rc == HOLD_OK)
        rc = new_array(&s->runs, most, sizeof *s->runs, err);
    if (rc == HOLD_OK)
        rc = new_array(&s->out_rows, e->batch, sizeof *s->out_rows, err);
    if (rc == HOLD_OK)
        rc = new_array(&s->lanes, e->batch, sizeof(struct lane *), err);
    if (rc == HOLD_OK)
        rc = new_array(&e->lanes, e->batch, sizeof *e->lanes, err);
    if (rc == HOLD_OK && e->options->temperature > 0.0)
        rc = new_array(&e->logits, e->batch * e->m->shape.vocab, sizeof *e->logits, err);
    if (rc == HOLD_OK)
        rc = new_array(&e->best, e->batch, sizeof *e->best, err);
    if (rc == HOLD_OK)
        rc = new_array(&e->gap, e->batch, sizeof *e->gap, err);
    if (rc == HOLD_OK && e->options->temperature > 0.0)
        rc = hold_sampler_init(&e->sampler, e->options, e->m->shape.vocab, err);
    return rc;
}

static void close_engine(struct engine *e) {
    struct step *s = &e->step;
    for (int64_t i = 0; e->lanes != NULL && i < e->batch; i++) {
        hold_ids_release(&e->lanes[i].ids);
        hold_free(e->lanes[i].path.item);
    }
    hold_free(e->lanes);
    hold_free(s->ids);
    hold_free(s->positions);
    hold_free(s->slots);
    hold_free(s->runs);
    hold_free(s->out_rows);
    hold_free((void *)s->lanes);
    hold_free(s->spans.item);
    hold_free(e->logits);
    hold_free(e->best);
    hold_free(e->gap);
    hold_sampler_release(&e->sampler);
    hold_str_release(&e->raw);
    hold_str_release(&e->text);
    hold_tape_release(&e->tape);
    hold_space_release(&e->space);
    hold_cache_release(&e->cache, e->m);
    hold_forest_release(&e->forest);
}

/* --- rows in and out --- */

/* Rows enter in the order of the forest, so that what they share is in the cache together. */
static int admit(struct engine *e, struct hold_error *err) {
    for (int64_t i = 0; i < e->batch && e->next_row < e->n_rows; i++) {
        struct lane *l = &e->lanes[i];
        if (l->busy)
            continue;
        int64_t prompt = e->forest.order[e->next_row / e->each];
        int32_t leaf = e->forest.leaf[prompt];
        if (e->forest.pending_tokens >= FILL || !hold_forest_place(&e->forest, leaf))
            break;
        int64_t len = (int64_t)e->prompts[prompt].len;
        l->busy = true;
        l->row = prompt * e->each + e->next_row % e->each;
        l->leaf = leaf;
        l->fed = 0;
        l->position = len - 1;
        l->next = e->prompts[prompt].data[len - 1];
        l->limit = row_limit(e, len);
        l->searched = l->said = 0;
        l->path.n = 0;
        if (leaf >= 0) {
            int rc = hold_forest_spans(&e->forest, leaf, e->forest.prefix[leaf].len, &l->path, err);
            if (rc < 0)
                return rc;
        }
        e->next_row++;
    }
    return HOLD_OK;
}

static int decode_text(struct engine *e, const struct lane *l, struct hold_error *err) {
    return hold_text_decode(e->m->tokenizer, l->ids.data, (int64_t)l->ids.len, &e->raw, &e->text,
                            err);
}

/* Give the listener what is certain; true: it wants no more. */
static bool tell(struct engine *e, struct lane *l, size_t end) {
    if (e->piece == NULL || end <= l->said)
        return false;
    size_t from = l->said;
    l->said = end;
    return e->piece->say(e->piece->user, e->text.data + from, end - from) != 0;
}

/* The row has ended: its text, up to `stop` when >= 0, and ids become the caller's. */
static int leave(struct engine *e, struct lane *l, enum hold_finish finish, int64_t stop,
                 struct hold_error *err) {
    struct hold_generated *g = &e->out[l->row];
    int rc = decode_text(e, l, err);
    if (rc < 0)
        return rc;
    if (stop >= 0)
        hold_str_cut(&e->text, (size_t)stop);
    if (finish != HOLD_FINISH_INTERRUPTED)
        (void)tell(e, l, e->text.len);
    else if (e->piece != NULL)
        hold_str_cut(&e->text, l->said); /* the pieces joined are the text */
    g->text = hold_strdup(hold_str_text(&e->text));
    if (g->text == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a generated text");
    g->ids = l->ids.data;
    g->n_ids = (int64_t)l->ids.len;
    g->finish = finish;
    l->ids = (struct hold_ids){0};
    l->busy = false;
    hold_forest_leave(&e->forest, l->leaf);
    e->n_done++;
    return HOLD_OK;
}

static bool ends_turn(const struct hold_model *m, int32_t id) {
    for (int i = 0; i < m->n_eos_ids; i++)
        if (m->eos_ids[i] == id)
            return true;
    return m->n_eos_ids == 0 && id == hold_tokenizer_eos(m->tokenizer);
}

/* The model said `id` after what the lane fed. */
static int take(struct engine *e, struct lane *l, int32_t id, struct hold_error *err) {
    const struct hold_generate_options *o = e->options;
    l->fed++;
    l->position++;
    l->next = id;
    e->n_tokens++;
    if (ends_turn(e->m, id))
        return leave(e, l, HOLD_FINISH_STOP, -1, err);
    int rc = hold_ids_push(&l->ids, id, err);
    if (rc < 0)
        return rc;
    if (o->n_stop > 0 || e->piece != NULL || o->decided != NULL) {
        rc = decode_text(e, l, err);
        if (rc < 0)
            return rc;
        int64_t stop = hold_text_stop(&e->text, l->searched, o);
        if (stop >= 0)
            return leave(e, l, HOLD_FINISH_STOP, stop, err);
        size_t sure = e->text.len - hold_text_held(&e->text, o);
        l->searched = sure > l->searched ? sure : l->searched;
        if (tell(e, l, sure))
            return leave(e, l, HOLD_FINISH_INTERRUPTED, -1, err);
    }
    if ((int64_t)l->ids.len >= l->limit)
        return leave(e, l, HOLD_FINISH_LENGTH, -1, err);
    if (o->decided != NULL && o->decided(o->decided_user, l->row, hold_str_text(&e->text)))
        return leave(e, l, HOLD_FINISH_DECIDED, -1, err);
    return HOLD_OK;
}

/* --- one step --- */

static void put_token(struct step *s, int32_t id, int64_t position, int32_t slot) {
    s->ids[s->n] = id;
    s->positions[s->n] = (int32_t)position;
    s->slots[s->n++] = slot;
}

/* Fill the next tokens of a prefix, those whose slots are neighbours, as one run. */
static int put_run(struct engine *e, int32_t p, int64_t room, struct hold_error *err) {
    struct step *s = &e->step;
    struct hold_forest *f = &e->forest;
    struct hold_prefix *x = &f->prefix[p];
    int32_t first = x->first + x->filled, n = 1;
    while (x->filled + n < x->len && n < room && f->slot[first + n] == f->slot[first] + n)
        n++;
    int64_t start = s->spans.n;
    int rc = hold_forest_spans(f, p, x->filled, &s->spans, err);
    if (rc == HOLD_OK)
        rc = hold_spans_add(&s->spans, start, f->slot[first], n, err);
    if (rc < 0)
        return rc;
    s->runs[s->n_runs++] =
        (struct hold_query_run){(int32_t)s->n, n, (int32_t)start, (int32_t)(s->spans.n - start)};
    for (int32_t i = 0; i < n; i++)
        put_token(s, f->batch.ids[first + i], f->batch.positions[first + i], f->slot[first + i]);
    x->filled += n;
    f->pending_tokens -= n;
    return HOLD_OK;
}

static int put_prompts(struct engine *e, struct hold_error *err) {
    struct hold_forest *f = &e->forest;
    while (f->pending_first < f->pending_end && e->step.n < FILL) {
        int32_t p = f->pending[f->pending_first];
        int rc = put_run(e, p, FILL - e->step.n, err);
        if (rc < 0)
            return rc;
        f->pending_first += f->prefix[p].filled == f->prefix[p].len;
    }
    return HOLD_OK;
}

static int put_lane(struct engine *e, struct lane *l, struct hold_error *err) {
    struct step *s = &e->step;
    int64_t start = s->spans.n;
    int32_t own = (int32_t)((l - e->lanes) * e->own);
    for (int64_t i = 0; i < l->path.n; i++) {
        int rc = hold_spans_add(&s->spans, start, l->path.item[i].first, l->path.item[i].len, err);
        if (rc < 0)
            return rc;
    }
    int rc = hold_spans_add(&s->spans, start, own, l->fed + 1, err);
    if (rc < 0)
        return rc;
    s->runs[s->n_runs++] =
        (struct hold_query_run){(int32_t)s->n, 1, (int32_t)start, (int32_t)(s->spans.n - start)};
    s->lanes[s->n_out] = l;
    s->out_rows[s->n_out++] = (int32_t)s->n;
    put_token(s, l->next, l->position, own + l->fed);
    return HOLD_OK;
}

static int plan_step(struct engine *e, struct hold_error *err) {
    struct step *s = &e->step;
    s->n = s->n_runs = s->n_out = s->spans.n = 0;
    int rc = admit(e, err);
    if (rc == HOLD_OK)
        rc = put_prompts(e, err);
    for (int64_t i = 0; rc == HOLD_OK && i < e->batch; i++)
        if (e->lanes[i].busy && hold_forest_ready(&e->forest, e->lanes[i].leaf))
            rc = put_lane(e, &e->lanes[i], err);
    if (rc == HOLD_OK && s->n == 0) /* the pool holds any one path, so some row can always go on */
        rc = hold_fail(err, HOLD_EINTERNAL, "decoding: no row can go on");
    return rc;
}

/* The best token of every row, or all its logits, on the host. */
static void read_answers(struct engine *e, struct hold_node *hidden) {
    struct hold_tape *t = &e->tape;
    const struct hold_kernels *k = t->device->k;
    int64_t n = e->step.n_out;
    struct hold_tensor h = hidden->value;
    if (e->options->temperature > 0.0) {
        struct hold_tensor z = hold_linear(t, hidden, &e->head)->value;
        if (t->status == HOLD_OK)
            k->read(t->device, e->logits, z.data, n * z.cols * (int64_t)sizeof(float));
        return;
    }
    struct hold_ptr best = hold_tape_matrix(t, n, 1).data, gap = hold_tape_matrix(t, n, 1).data;
    struct hold_tensor z = {.cols = 0};
    if (e->head.w.weight == NULL)
        z = hold_linear(t, hidden, &e->head)->value;
    if (t->status < 0)
        return;
    if (e->head.w.weight != NULL)
        k->weight_argmax(t->device, e->head.w.weight, n, h.data, h.ld, best, gap);
    else
        k->argmax(t->device, n, z.cols, z.data, z.ld, best, gap);
    k->read(t->device, e->best, best, n * (int64_t)sizeof *e->best);
    k->read(t->device, e->gap, gap, n * (int64_t)sizeof *e->gap);
}

static int forward(struct engine *e, struct hold_error *err) {
    struct step *s = &e->step;
    static const int32_t NO_ROWS[1] = {0};
    int32_t tree_first[2] = {0, (int32_t)s->n_runs};
    struct hold_tokens tokens = {
        .n = s->n,
        .ids = s->ids,
        .positions = s->positions,
        .n_runs = s->n_runs,
        .n_spans = s->spans.n,
        .n_trees = 1,
        .runs = s->runs,
        .spans = s->spans.item,
        .tree_first = tree_first,
        .n_keys = e->cache.slots,
        .out_rows = s->n_out > 0 ? s->out_rows : NO_ROWS,
        .n_out = s->n_out,
    };
    struct hold_space_mark mark = hold_space_mark(&e->space);
    struct hold_node *h = hold_model_forward(e->m, &e->tape, &tokens, NULL, &e->cache, s->slots);
    if (s->n_out > 0 && e->tape.status == HOLD_OK)
        read_answers(e, h);
    int rc = hold_tape_check(&e->tape, err);
    hold_tape_reset(&e->tape, mark);
    return rc;
}

static int pick(struct engine *e, int64_t i, int32_t *id, struct hold_error *err) {
    struct lane *l = e->step.lanes[i];
    if (e->options->temperature > 0.0) {
        *id = hold_sampler_pick(&e->sampler, e->logits + i * e->m->shape.vocab, l->row,
                                (int64_t)l->ids.len);
    } else {
        *id = isnan(e->gap[i]) ? -1 : e->best[i];
        e->out[l->row].close_calls += e->gap[i] < CLOSE;
    }
    if (*id < 0)
        return hold_fail(err, HOLD_EDIVERGED, "row %lld: the model's logits are not finite numbers",
                         (long long)(l->row / e->each) + 1);
    return HOLD_OK;
}

static void show_progress(struct engine *e) {
    double now = hold_clock_now(), spent = now - e->start;
    if (e->ctx == NULL || e->ctx->progress == NULL ||
        (e->n_done < e->n_rows && now - e->last_progress < PROGRESS_SECONDS))
        return;
    e->last_progress = now;
    /* Tokens of rows that have not ended count as their share, or the first rows look endless. */
    double share = (double)e->n_done;
    for (int64_t i = 0; i < e->batch; i++)
        if (e->lanes[i].busy)
            share += (double)e->lanes[i].ids.len / (double)e->lanes[i].limit;
    double eta = share > 0.0 ? spent * ((double)e->n_rows - share) / share : -1.0;
    struct hold_str status = HOLD_STR_INIT;
    hold_str_addf(&status, "%.0f tok/s", spent > 0.0 ? (double)e->n_tokens / spent : 0.0);
    e->ctx->progress(e->ctx->user, "generating", e->n_done, e->n_rows, hold_str_text(&status), eta);
    hold_str_release(&status);
}

static int run_step(struct engine *e, struct hold_error *err) {
    int rc = plan_step(e, err);
    if (rc == HOLD_OK)
        rc = forward(e, err);
    for (int64_t i = 0; rc == HOLD_OK && i < e->step.n_out; i++) {
        int32_t id;
        rc = pick(e, i, &id, err);
        if (rc == HOLD_OK)
            rc = take(e, e->step.lanes[i], id, err);
    }
    if (rc == HOLD_OK)
        show_progress(e);
    return rc;
}

/* What is in the batch ends as it is; what never entered has an empty text. */
static int interrupt(struct engine *e, struct hold_error *err) {
    for (int64_t i = 0; i < e->batch; i++) {
        int rc =
            e->lanes[i].busy ? leave(e, &e->lanes[i], HOLD_FINISH_INTERRUPTED, -1, err) : HOLD_OK;
        if (rc < 0)
            return rc;
    }
    for (int64_t i = 0; i < e->n_rows; i++) {
        if (e->out[i].text != NULL)
            continue;
        e->out[i].finish = HOLD_FINISH_INTERRUPTED;
        e->out[i].text = hold_strdup("");
        if (e->out[i].text == NULL)
            return hold_fail(err, HOLD_ENOMEMORY, "no memory for a generated text");
    }
    return hold_fail(err, HOLD_EINTERRUPTED, "generation stopped after %lld of %lld rows",
                     (long long)e->n_done, (long long)e->n_rows);
}

int hold_engine_run(struct hold_model *m, const struct hold_ids *prompts, int64_t n,
                    const struct hold_generate_options *options, const struct hold_piece *piece,
                    const struct hold_ctx *ctx, struct hold_generated *out,
                    struct hold_error *err) {
    struct engine e = {
        .m = m,
        .prompts = prompts,
        .options = options,
        .piece = piece,
        .ctx = ctx,
        .out = out,
        .each = options->n,
        .n_rows = n * options->n,
        .head = {.w = m->head},
        .start = hold_clock_now(),
    };
    hold_space_init(&e.space, m->device);
    hold_tape_init(&e.tape, m->device, &e.space);
    int rc = check_prompts(&e, n, err);
    if (rc == HOLD_OK)
        rc = hold_forest_build(&e.forest, prompts, n, e.each, err);
    if (rc == HOLD_OK)
        rc = open_cache(&e, err);
    if (rc == HOLD_OK)
        rc = open_buffers(&e, err);
    while (rc == HOLD_OK && e.n_done < e.n_rows)
        rc = hold_stopped(ctx) ? interrupt(&e, err) : run_step(&e, err);
    close_engine(&e);
    return rc;
}
