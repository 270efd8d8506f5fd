/* stream.c: endless streams of examples, reshuffled every epoch by their key. */
#include <string.h>

#include "base/rng.h"
#include "train/run.h"

int hold_stream_index(const struct hold_run *run, const char *name) {
    for (int i = 0; i < run->n_streams; i++)
        if (strcmp(run->streams[i].name, name) == 0)
            return i;
    return -1;
}

bool hold_run_has_stream(const struct hold_run *run, const char *stream) {
    return hold_stream_index(run, stream) >= 0;
}

void hold_stream_order(const struct hold_run *run, const struct hold_stream *s, int64_t epoch,
                       uint32_t *order) {
    uint32_t n = (uint32_t)s->set->n;
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    struct hold_rng rng;
    char purpose[64];
    snprintf(purpose, sizeof purpose, "order/%s", s->name);
    hold_rng_init(&rng, (uint64_t)run->config.seed, purpose, (uint64_t)epoch, 0);
    hold_rng_shuffle(&rng, order, n);
}

int hold_run_next(struct hold_run *run, const char *stream, const struct hold_examples **out,
                  struct hold_error *err) {
    int i = hold_stream_index(run, stream == NULL ? "main" : stream);
    if (i < 0)
        return hold_fail(err, HOLD_EINTERNAL, "there is no stream '%s'", stream);
    struct hold_stream *s = &run->streams[i];
    if (s->n_sized > 0) {
        const struct hold_place *p = &s->sized[s->next_sized];
        s->epoch = p->epoch;
        s->position = p->position;
        s->next_sized = (s->next_sized + 1) % s->n_sized;
    }
    if (s->position >= s->set->n) {
        s->position = 0;
        s->epoch++;
    }
    if (s->ordered_epoch != s->epoch)
        hold_stream_order(run, s, s->epoch, s->order);
    s->ordered_epoch = s->epoch;
    /* The last batch of an epoch is short, as in transformers. */
    struct hold_examples *e = &s->current;
    e->n = 0;
    while (e->n < s->batch && s->position < s->set->n)
        e->item[e->n++] = &s->set->example[s->order[s->position++]];
    *out = e;
    return HOLD_OK;
}

int hold_run_chosen(struct hold_run *run, const struct hold_examples **out,
                    struct hold_error *err) {
    int rc = HOLD_OK;
    const struct hold_examples *e = run->chosen;
    if (e == NULL) {
        for (int i = 0; rc == HOLD_OK && i < run->input->n_methods; i++) {
            const struct hold_hooked *m = &run->input->methods[i];
            if (m->hooks->choose != NULL)
                rc = m->hooks->choose(run, m->state, &e, err);
        }
        if (rc == HOLD_OK && e == NULL)
            rc = hold_run_next(run, NULL, &e, err);
        run->chosen = e;
    }
    *out = e;
    return rc;
}

int hold_stream_restore(struct hold_run *run, const char *name, int64_t epoch, int64_t position,
                        struct hold_error *err) {
    int i = hold_stream_index(run, name);
    if (i < 0 || epoch < 0 || position < 0 || position > run->streams[i].set->n)
        return hold_fail(err, HOLD_EFORMAT, "checkpoint: stream '%s' does not fit this run", name);
    run->streams[i].epoch = epoch;
    run->streams[i].position = position;
    return HOLD_OK;
}
