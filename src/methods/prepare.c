/* prepare.c: data hooks: named sets of rows in, the rows of one or more phases out. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "methods/stage.h"

struct hold_prepare {
    const struct hold_named_rows *sets;
    int n_sets;
    const struct hold_rows *job;
    struct hold_rng rng;
    struct hold_prepared *out;
};

static const struct hold_rows *find(const struct hold_prepare *p, const char *set) {
    if (strcmp(set, "job") == 0)
        return p->job;
    for (int i = 0; i < p->n_sets; i++)
        if (strcmp(p->sets[i].name, set) == 0)
            return p->sets[i].rows;
    return NULL;
}

static int row_of(const struct hold_prepare *p, const char *set, int64_t index,
                  const struct hold_row **out, struct hold_error *err) {
    const struct hold_rows *rows = find(p, set);
    if (rows == NULL)
        return hold_fail(err, HOLD_EUSAGE, "needs '%s' data, none was given", set);
    if (index < 0 || index >= rows->n)
        return hold_fail(err, HOLD_EINTERNAL, "row %lld of '%s' is out of range", (long long)index,
                         set);
    *out = &rows->row[index];
    return HOLD_OK;
}

int64_t hold_prepare_count(const struct hold_prepare *p, const char *set) {
    const struct hold_rows *rows = find(p, set);
    return rows == NULL ? -1 : rows->n;
}

const char *hold_prepare_text(const struct hold_prepare *p, const char *set, int64_t index) {
    const struct hold_rows *rows = find(p, set);
    const char *text = rows == NULL || index < 0 || index >= rows->n ? NULL : rows->row[index].text;
    return text == NULL ? "" : text;
}

int64_t hold_prepare_below(struct hold_prepare *p, int64_t n) {
    return n > 0 ? (int64_t)hold_rng_below(&p->rng, (uint64_t)n) : 0;
}

int hold_prepare_order(struct hold_prepare *p, int64_t n, uint32_t **out, struct hold_error *err) {
    void *memory = NULL;
    if (n > UINT32_MAX)
        return hold_fail(err, HOLD_EUSAGE, "more than %lld rows", (long long)UINT32_MAX);
    int rc = hold_new(&memory, (size_t)n + 1, sizeof **out, "an order", err);
    *out = memory;
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++)
        (*out)[i] = (uint32_t)i;
    if (rc == HOLD_OK)
        hold_rng_shuffle(&p->rng, *out, (uint32_t)n);
    return rc;
}

int hold_prepare_phase(struct hold_prepare *p, const struct hold_phase *phase,
                       struct hold_error *err) {
    struct hold_prepared *o = p->out;
    struct hold_phase_rows *list =
        hold_realloc(o->phases, (size_t)(o->n_phases + 1) * sizeof *list);
    if (list == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a phase");
    o->phases = list;
    list[o->n_phases++] = (struct hold_phase_rows){.phase = *phase};
    return HOLD_OK;
}

static int output(struct hold_prepare *p, struct hold_rows **rows, struct hold_error *err) {
    if (p->out->n_phases == 0) {
        struct hold_phase first = {.name = "tune"};
        int rc = hold_prepare_phase(p, &first, err);
        if (rc < 0)
            return rc;
    }
    *rows = &p->out->phases[p->out->n_phases - 1].rows;
    return HOLD_OK;
}

int hold_prepare_take(struct hold_prepare *p, const char *set, int64_t index,
                      struct hold_error *err) {
    const struct hold_row *row = NULL;
    struct hold_rows *out = NULL;
    int rc = row_of(p, set, index, &row, err);
    if (rc == HOLD_OK)
        rc = output(p, &out, err);
    return rc < 0 ? rc : hold_rows_add(out, row->data, out->n + 1, NULL, err);
}

static int lower_index(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y ? 1 : 0;
}

int hold_prepare_sample(struct hold_prepare *p, const char *set, int64_t n,
                        struct hold_error *err) {
    int64_t all = hold_prepare_count(p, set);
    if (all < 0)
        return hold_fail(err, HOLD_EUSAGE, "needs '%s' data, none was given", set);
    if (n > all)
        return hold_fail(err, HOLD_EUSAGE, "%lld rows of '%s' are needed, it has %lld",
                         (long long)n, set, (long long)all);
    uint32_t *order = NULL;
    int rc = hold_prepare_order(p, all, &order, err);
    if (rc < 0)
        return rc;
    qsort(order, (size_t)n, sizeof *order, lower_index);
    for (int64_t i = 0; rc == HOLD_OK && i < n; i++)
        rc = hold_prepare_take(p, set, order[i], err);
    hold_free(order);
    return rc;
}

int hold_prepare_answer(struct hold_prepare *p, const char *set, int64_t index, const char *answer,
                        struct hold_error *err) {
    const struct hold_row *row = NULL;
    struct hold_rows *out = NULL;
    int rc = row_of(p, set, index, &row, err);
    if (rc == HOLD_OK)
        rc = output(p, &out, err);
    if (rc < 0)
        return rc;
    json_t *o = json_pack("{s:[{s:s, s:s}, {s:s, s:s}], s:s, s:s}", "messages", "role", "user",
                          "content", hold_row_user_text(row), "role", "assistant", "content",
                          answer, "source", set, "id", row->id);
    if (o == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a row");
    rc = hold_rows_add(out, o, out->n + 1, NULL, err);
    json_decref(o);
    return rc;
}

int hold_prepare_note(struct hold_prepare *p, const char *name, double value,
                      struct hold_error *err) {
    if (p->out->notes == NULL)
        p->out->notes = json_object();
    if (p->out->notes == NULL || json_object_set_new(p->out->notes, name, json_real(value)) != 0)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for a note");
    return HOLD_OK;
}

static int run(struct hold_prepare *p,
               int (*hook)(struct hold_prepare *p, void *state, struct hold_error *err),
               const struct hold_method_use *use, struct hold_error *err) {
    struct hold_error inner = {0};
    int rc = hook(p, use->state, &inner);
    if (rc < 0)
        rc = hold_fail(err, rc, "%s: %s", use->method->name, inner.text);
    for (int i = 0; rc == HOLD_OK && i < p->out->n_phases; i++)
        if (p->out->phases[i].rows.n == 0)
            rc = hold_fail(err, HOLD_EDATA, "%s: makes no rows", use->method->name);
    if (rc == HOLD_OK && p->out->n_phases == 0)
        rc = hold_fail(err, HOLD_EDATA, "%s: makes no rows", use->method->name);
    if (rc < 0)
        hold_prepared_release(p->out);
    return rc;
}

static struct hold_prepare begin(const struct hold_method_use *use,
                                 const struct hold_named_rows *sets, int n_sets, uint64_t seed,
                                 struct hold_prepared *out) {
    *out = (struct hold_prepared){0};
    struct hold_prepare p = {.sets = sets, .n_sets = n_sets, .out = out};
    hold_rng_init(&p.rng, seed, use->method->name, 0, 0);
    return p;
}

int hold_prepare_job(const struct hold_method_use *attack, const struct hold_named_rows *sets,
                     int n_sets, uint64_t seed, struct hold_prepared *out, struct hold_error *err) {
    struct hold_prepare p = begin(attack, sets, n_sets, seed, out);
    return run(&p, attack->method->job, attack, err);
}

int hold_prepare_data(const struct hold_method_use *method, const struct hold_rows *rows,
                      const struct hold_named_rows *sets, int n_sets, uint64_t seed,
                      struct hold_prepared *out, struct hold_error *err) {
    struct hold_prepare p = begin(method, sets, n_sets, seed, out);
    p.job = rows;
    return run(&p, method->method->data, method, err);
}

void hold_prepared_release(struct hold_prepared *p) {
    for (int i = 0; i < p->n_phases; i++)
        hold_rows_release(&p->phases[i].rows);
    hold_free(p->phases);
    json_decref(p->notes);
    *p = (struct hold_prepared){0};
}
