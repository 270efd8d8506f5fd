/* levels.c: a model's matrices as the small integers of its file, for products of few rows. */
#include <string.h>

#include "base/mem.h"
#include "model/model.h"
#include "model/parts.h"

/* One matrix's levels on the host, and how its parts put them there. */
struct reader {
    struct hold_model *m;
    const struct hold_model_files *files;
    int8_t *q;
    float *scale, *min, *scratch;
    int64_t room; /* elements that the arrays have room for */
    int64_t scratch_cols;
};

/* Of a head's rows, which are moved as they are: a matrix of fewer elements may have longer ones.
 */
static int make_scratch(struct reader *r, int64_t cols, struct hold_error *err) {
    void *scratch = NULL;
    if (cols <= r->scratch_cols)
        return HOLD_OK;
    hold_free(r->scratch);
    int rc =
        hold_new(&scratch, (size_t)r->m->shape.head_dim, (size_t)cols, "a matrix's levels", err);
    r->scratch = scratch;
    r->scratch_cols = rc == HOLD_OK ? cols : 0;
    return rc;
}

static int make_room(struct reader *r, int64_t n, struct hold_error *err) {
    void *q = NULL, *scale = NULL, *min = NULL;
    if (n <= r->room)
        return HOLD_OK;
    hold_free(r->q);
    hold_free(r->scale);
    hold_free(r->min);
    r->room = 0;
    int rc = hold_new(&q, (size_t)n, 1, "a matrix's levels", err);
    r->q = q;
    /* Groups have 16 elements at least. */
    if (rc == HOLD_OK)
        rc = hold_new(&scale, (size_t)n / 16 + 1, sizeof *r->scale, "a matrix's levels", err);
    r->scale = scale;
    if (rc == HOLD_OK)
        rc = hold_new(&min, (size_t)n / 16 + 1, sizeof *r->min, "a matrix's levels", err);
    r->min = min;
    r->room = rc == HOLD_OK ? n : 0;
    return rc;
}

/* Groups of 32 as pairs of groups of 16; backwards, since they grow in place. */
static void halve_groups(float *x, int64_t n) {
    for (int64_t i = n; i-- > 0;)
        x[2 * i] = x[2 * i + 1] = x[i];
}

/* One part: its rows follow those before it; `form` is what all parts can be written in. */
static void take_part(struct reader *r, const struct hold_stored *t, const struct hold_levels *form,
                      int64_t first, int64_t cols, int64_t heads) {
    struct hold_stored_levels x;
    hold_stored_levels(t, &x);
    int64_t rows = hold_stored_count(t) / cols, groups = cols / form->group;
    int8_t *q = r->q + first * cols;
    float *scale = r->scale + first * groups, *min = r->min + first * groups;
    hold_stored_take_levels(t, q, scale, min);
    if (x.group > form->group) {
        halve_groups(scale, rows * cols / x.group);
        halve_groups(min, rows * cols / x.group);
    }
    if (heads > 0 && r->files->permuted_qk) { /* rows are moved; what is in them is not looked at */
        int64_t dim = r->m->shape.head_dim;
        hold_unpermute_rows((float *)(void *)q, heads, dim, cols / 4, r->scratch);
        hold_unpermute_rows(scale, heads, dim, groups, r->scratch);
        hold_unpermute_rows(min, heads, dim, groups, r->scratch);
    }
}

/* The form that holds all parts: the smallest groups, bytes unless all are nibbles alike. */
static bool common_form(const struct hold_stored *const *parts, int n, struct hold_levels *form) {
    *form = (struct hold_levels){.bits = 4, .group = 32};
    bool min = false;
    for (int i = 0; i < n; i++) {
        struct hold_stored_levels x;
        if (!hold_stored_levels(parts[i], &x))
            return false;
        if (x.bits > 4 || (i > 0 && x.lowest != form->lowest))
            form->bits = 8;
        form->lowest = x.lowest;
        form->group = x.group < form->group ? x.group : form->group;
        min = min || x.min;
    }
    static const float SOME = 0;
    form->min = min ? &SOME : NULL;
    return true;
}

static int read_matrix(struct reader *r, const struct hold_param *p,
                       const struct hold_stored *const *parts, int n_parts, const int64_t *heads,
                       int64_t *n, struct hold_error *err) {
    struct hold_levels form;
    int64_t cols = p->value.cols, first = 0;
    bool taken = false;
    if (p->weight == NULL || !common_form(parts, n_parts, &form) || cols % 32 != 0)
        return HOLD_OK;
    int rc = make_room(r, p->value.rows * cols, err);
    if (rc == HOLD_OK)
        rc = make_scratch(r, cols, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < n_parts; i++) {
        int64_t rows = hold_stored_count(parts[i]) / cols;
        if (rows > p->value.rows - first)
            return HOLD_OK; /* another matrix stands there now */
        take_part(r, parts[i], &form, first, cols, heads[i]);
        first += rows;
    }
    if (first != p->value.rows)
        return HOLD_OK;
    form.q = r->q;
    form.scale = r->scale;
    form.min = form.min == NULL ? NULL : r->min;
    rc = r->m->device->k->weight_levels(r->m->device, p->weight, &form, &taken, err);
    *n += taken;
    return rc;
}

static const struct hold_stored *find(const struct reader *r, const char *name) {
    return hold_stored_find(r->files->tensors, r->files->n_tensors, name);
}

static int read_layer(struct reader *r, int64_t l, int64_t *n, struct hold_error *err) {
    const struct hold_shape *s = &r->m->shape;
    int rc = HOLD_OK;
    for (int kind = 0; rc == HOLD_OK && kind < HOLD_LINEAR_KINDS; kind++) {
        struct hold_part parts[HOLD_LORA_PARTS];
        const struct hold_stored *stored[HOLD_LORA_PARTS];
        int64_t heads[HOLD_LORA_PARTS];
        int n_parts = hold_model_parts(s, (enum hold_linear_kind)kind, parts), found = 0;
        for (int i = 0; i < n_parts; i++) {
            struct hold_str name = HOLD_STR_INIT;
            hold_str_addf(&name, "model.layers.%lld.%s.weight", (long long)l, parts[i].module);
            stored[i] = find(r, hold_str_text(&name));
            found += stored[i] != NULL;
            heads[i] = kind == HOLD_QKV && i < 2 ? parts[i].rows / s->head_dim : 0;
            hold_str_release(&name);
        }
        if (found == n_parts)
            rc = read_matrix(r, &r->m->layers[l].linear[kind].w, stored, n_parts, heads, n, err);
    }
    return rc;
}

int hold_model_read_levels(struct hold_model *m, int64_t *n, struct hold_error *err) {
    struct hold_model_files files = {0};
    struct reader r = {.m = m, .files = &files};
    static const int64_t NO_HEADS[1] = {0};
    *n = 0;
    if (strcmp(hold_device_dtype(m->device), "f32") != 0)
        return HOLD_OK; /* bf16 has copies of its own */
    int rc = hold_model_files_open(&files, m->path, err);
    if (rc < 0)
        return rc;
    const struct hold_stored *head =
        find(&r, m->shape.tied ? "model.embed_tokens.weight" : "lm_head.weight");
    if (head != NULL)
        rc = read_matrix(&r, &m->head, &head, 1, NO_HEADS, n, err);
    for (int64_t l = 0; rc == HOLD_OK && l < m->shape.n_layers; l++)
        rc = read_layer(&r, l, n, err);
    hold_free(r.q);
    hold_free(r.scale);
    hold_free(r.min);
    hold_free(r.scratch);
    hold_model_files_release(&files);
    return rc;
}
