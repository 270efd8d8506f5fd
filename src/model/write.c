/* write.c: a model's matrices by their Hugging Face names, and the folder made of them. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "formats/gguf_write.h"
#include "model/model.h"
#include "model/parts.h"

static int name_vector(const struct hold_param *p, const char *name,
                       int (*each)(void *, const struct hold_named *, struct hold_error *),
                       void *user, struct hold_error *err) {
    struct hold_named n = {.value = p->value, .flat = p->flat, .vector = p->value.rows == 1};
    snprintf(n.name, sizeof n.name, "%s", name);
    return each(user, &n, err);
}

static int name_bias(const struct hold_param *bias, const struct hold_part *part, int64_t l,
                     int (*each)(void *, const struct hold_named *, struct hold_error *),
                     void *user, struct hold_error *err) {
    struct hold_named n = {
        .value = hold_tensor_at(hold_at_f32(bias->value.data, part->first), 1, part->rows),
        .flat = bias->flat < 0 ? -1 : bias->flat + part->first,
        .vector = true};
    snprintf(n.name, sizeof n.name, "model.layers.%lld.%s.bias", (long long)l, part->module);
    return each(user, &n, err);
}

static int name_layer(const struct hold_model *m, int64_t l,
                      int (*each)(void *, const struct hold_named *, struct hold_error *),
                      void *user, struct hold_error *err) {
    struct hold_layer *layer = &m->layers[l];
    struct hold_layer_norm norms[HOLD_LAYER_NORMS];
    char name[128];
    int rc = HOLD_OK, n_norms = hold_model_norms(&m->shape, layer, norms);
    for (int i = 0; rc == HOLD_OK && i < n_norms; i++) {
        snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)l, norms[i].leaf);
        rc = name_vector(norms[i].param, name, each, user, err);
    }
    for (int kind = 0; rc == HOLD_OK && kind < HOLD_LINEAR_KINDS; kind++) {
        const struct hold_param *w = &layer->linear[kind].w;
        struct hold_part parts[HOLD_LORA_PARTS];
        int n = hold_model_parts(&m->shape, (enum hold_linear_kind)kind, parts);
        for (int i = 0; rc == HOLD_OK && i < n; i++) {
            struct hold_named named = {
                .value = hold_tensor_rows(w->value, parts[i].first, parts[i].rows), .flat = -1};
            if (w->flat >= 0)
                named.flat = w->flat + parts[i].first * w->value.cols;
            snprintf(named.name, sizeof named.name, "model.layers.%lld.%s.weight", (long long)l,
                     parts[i].module);
            rc = each(user, &named, err);
            if (rc == HOLD_OK && layer->linear[kind].bias.value.rows > 0)
                rc = name_bias(&layer->linear[kind].bias, &parts[i], l, each, user, err);
        }
    }
    return rc;
}

int hold_model_each(const struct hold_model *m,
                    int (*each)(void *user, const struct hold_named *named, struct hold_error *err),
                    void *user, struct hold_error *err) {
    int rc = hold_model_has_numbers(m, err);
    if (rc == HOLD_OK)
        rc = name_vector(&m->embed, "model.embed_tokens.weight", each, user, err);
    for (int64_t l = 0; rc == HOLD_OK && l < m->shape.n_layers; l++)
        rc = name_layer(m, l, each, user, err);
    if (rc == HOLD_OK)
        rc = name_vector(&m->norm, "model.norm.weight", each, user, err);
    if (rc == HOLD_OK && !m->shape.tied)
        rc = name_vector(&m->head, "lm_head.weight", each, user, err);
    return rc;
}

bool hold_model_find(const struct hold_model *m, const char *module, struct hold_tensor *out) {
    char name[128];
    for (int64_t l = 0; !m->lean && l < m->shape.n_layers; l++)
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++) {
            struct hold_part parts[HOLD_LORA_PARTS];
            int n = hold_model_parts(&m->shape, (enum hold_linear_kind)kind, parts);
            for (int i = 0; i < n; i++) {
                snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)l, parts[i].module);
                if (strcmp(name, module) != 0)
                    continue;
                *out = hold_tensor_rows(m->layers[l].linear[kind].w.value, parts[i].first,
                                        parts[i].rows);
                return true;
            }
        }
    return false;
}

const char *hold_model_known_as(const struct hold_model *m) {
    return m->n_merged == 0 && m->merged_id[0] != '\0' ? m->merged_id : m->content_id;
}

struct collect {
    const struct hold_model *m;
    enum hold_stored_type type;
    struct hold_to_store *list;
    char (*names)[128];
    int64_t n, cap;
};

static int collect_one(void *user, const struct hold_named *named, struct hold_error *err) {
    struct collect *c = user;
    if (c->n == c->cap) {
        int64_t cap = c->cap == 0 ? 64 : c->cap * 2;
        struct hold_to_store *list = hold_realloc(c->list, (size_t)cap * sizeof *list);
        if (list == NULL)
            return hold_fail(err, HOLD_ENOMEMORY, "no memory for a list of tensors");
        c->list = list;
        char(*names)[128] = hold_realloc(c->names, (size_t)cap * sizeof *names);
        if (names == NULL)
            return hold_fail(err, HOLD_ENOMEMORY, "no memory for a list of tensors");
        c->names = names;
        c->cap = cap;
    }
    int64_t n = named->value.rows * named->value.cols;
    float *data = hold_malloc((size_t)n * sizeof *data);
    if (data == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for tensor '%s'", named->name);
    c->m->device->k->read(c->m->device, data, named->value.data, n * 4);
    memcpy(c->names[c->n], named->name, sizeof named->name);
    struct hold_to_store *t = &c->list[c->n++];
    *t = (struct hold_to_store){.type = c->type,
                                .n_dims = 2,
                                .data = data,
                                .dim = {named->value.rows, named->value.cols, 1, 1}};
    if (named->vector) {
        t->n_dims = 1;
        t->dim[0] = named->value.cols;
        t->dim[1] = 1;
    }
    return HOLD_OK;
}

int hold_model_write(const struct hold_model *m, const struct hold_model_files *from,
                     enum hold_stored_type type, const char *dir, struct hold_error *err) {
    struct collect c = {.m = m, .type = type};
    int rc = m->device->k->sync(m->device, err);
    if (rc == HOLD_OK)
        rc = hold_model_each(m, collect_one, &c, err);
    for (int64_t i = 0; i < c.n; i++)
        c.list[i].name = c.names[i];
    if (rc == HOLD_OK)
        rc = hold_model_folder_write(dir, from, c.list, c.n, err);
    for (int64_t i = 0; i < c.n; i++)
        hold_free((void *)c.list[i].data);
    hold_free(c.list);
    hold_free(c.names);
    return rc;
}

/* --- GGUF --- */

/* The model's tensors by name; their numbers are read from the device when they are written. */
struct listed {
    const struct hold_model *m;
    struct hold_named *named;
    int64_t n, cap;
};

static int list_one(void *user, const struct hold_named *named, struct hold_error *err) {
    struct listed *l = user;
    if (l->n == l->cap) {
        int64_t cap = l->cap == 0 ? 64 : l->cap * 2;
        struct hold_named *list = hold_realloc(l->named, (size_t)cap * sizeof *list);
        if (list == NULL)
            return hold_fail(err, HOLD_ENOMEMORY, "no memory for a list of tensors");
        l->named = list;
        l->cap = cap;
    }
    l->named[l->n++] = *named;
    return HOLD_OK;
}

static void fetch_listed(void *user, int64_t i, int64_t first, int64_t n, float *out) {
    const struct listed *l = user;
    struct hold_device *d = l->m->device;
    d->k->read(d, out, hold_at_f32(l->named[i].value.data, first), n * 4);
}

int hold_model_write_gguf(const struct hold_model *m, const struct hold_model_files *from,
                          enum hold_stored_type type, const char *path, const struct hold_ctx *ctx,
                          struct hold_error *err) {
    struct listed l = {.m = m};
    void *memory = NULL;
    int rc = m->device->k->sync(m->device, err);
    if (rc == HOLD_OK)
        rc = hold_model_each(m, list_one, &l, err);
    if (rc == HOLD_OK)
        rc = hold_new(&memory, (size_t)l.n, sizeof(struct hold_to_store), "a list of tensors", err);
    struct hold_to_store *tensors = memory;
    for (int64_t i = 0; rc == HOLD_OK && i < l.n; i++)
        tensors[i] = (struct hold_to_store){.name = l.named[i].name};
    if (rc == HOLD_OK) {
        struct hold_gguf_model model = {.shape = &m->shape,
                                        .from = from,
                                        .type = type,
                                        .merged_id = hold_model_known_as(m),
                                        .profile = m->profile,
                                        .tensors = tensors,
                                        .n_tensors = l.n,
                                        .source = {fetch_listed, &l}};
        rc = hold_model_gguf_write(path, &model, ctx, err);
    }
    hold_free(memory);
    hold_free(l.named);
    return rc;
}
