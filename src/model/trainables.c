/* trainables.c: what of a model is trained: low-rank parts or everything, in one flat vector. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "model/model.h"
#include "model/parts.h"

/* --- low-rank parts --- */

/* Is `leaf` named in a comma list ("all-linear": always)? */
static bool targeted(const char *list, const char *leaf) {
    if (strcmp(list, "all-linear") == 0)
        return true;
    size_t n = strlen(leaf);
    for (const char *p = list; *p != '\0';) {
        size_t len = strcspn(p, ",");
        if (len == n && strncmp(p, leaf, n) == 0)
            return true;
        p += len + (p[len] == ',');
    }
    return false;
}

int hold_model_check_targets(const char *targets, struct hold_error *err) {
    static const char *const LEAVES[] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                         "gate_proj", "up_proj", "down_proj"};
    if (strcmp(targets, "all-linear") == 0)
        return HOLD_OK;
    if (targets[strspn(targets, ",")] == '\0')
        return hold_fail(err, HOLD_EUSAGE,
                         "names no module; expected all-linear or names of linear layers");
    for (const char *p = targets; *p != '\0';) {
        size_t len = strcspn(p, ",");
        if (len == 0) {
            p++;
            continue;
        }
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)len, p);
        bool known = false;
        for (size_t i = 0; i < sizeof LEAVES / sizeof *LEAVES; i++)
            known = known || strcmp(LEAVES[i], word) == 0;
        if (!known) {
            const char *near = hold_nearest(word, LEAVES, sizeof LEAVES / sizeof *LEAVES);
            return hold_fail(err, HOLD_EUSAGE, "'%s' is not a linear layer%s%s%s", word,
                             near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
        }
        p += len + (p[len] == ',');
    }
    return HOLD_OK;
}

/* Lay out one linear layer's parts in the flat vector from *at on: all A, then all B. */
static void lay_out(struct hold_linear *lin, const struct hold_shape *s, enum hold_linear_kind kind,
                    const struct hold_lora_config *c, int64_t *at) {
    struct hold_part parts[HOLD_LORA_PARTS];
    int n = hold_model_parts(s, kind, parts);
    int64_t in = lin->w.value.cols;
    lin->n_lora = 0;
    lin->r = c->r;
    lin->scale = (float)(c->alpha / (double)c->r);
    lin->dropout = (float)c->dropout;
    for (int i = 0; i < n; i++) {
        if (!targeted(c->target_modules, parts[i].leaf))
            continue;
        struct hold_lora *p = &lin->lora[lin->n_lora++];
        *p = (struct hold_lora){.out_first = parts[i].first, .out_n = parts[i].rows};
        p->a = (struct hold_param){.name = parts[i].module, .flat = *at};
        p->a.value = hold_tensor_at((struct hold_ptr){0}, c->r, in);
        *at += c->r * in;
    }
    for (int i = 0; i < lin->n_lora; i++) {
        struct hold_lora *p = &lin->lora[i];
        p->b = (struct hold_param){.name = p->a.name, .flat = *at};
        p->b.value = hold_tensor_at((struct hold_ptr){0}, p->out_n, c->r);
        *at += p->out_n * c->r;
    }
}

static void point_into_flat(struct hold_model *m, struct hold_param *p) {
    p->value.data = hold_at_f32(m->flat, p->flat);
}

static void init_a(struct hold_model *m, int64_t l, struct hold_param *a, float *host) {
    char purpose[128];
    snprintf(purpose, sizeof purpose, "lora/model.layers.%lld.%s", (long long)l, a->name);
    struct hold_rng rng;
    hold_rng_init(&rng, m->lora_config.seed, purpose, 0, 0);
    double bound = 1.0 / sqrt((double)a->value.cols);
    int64_t n = a->value.rows * a->value.cols;
    for (int64_t i = 0; i < n; i++)
        host[i] = (float)((2.0 * hold_rng_real(&rng) - 1.0) * bound);
    m->device->k->write(m->device, a->value.data, host, n * 4);
}

static int new_flat(struct hold_model *m, int64_t n, struct hold_error *err) {
    int rc = m->device->k->alloc(m->device, n * 4, &m->flat, err);
    if (rc < 0)
        return rc;
    m->n_flat = m->n_decayed = n;
    m->device->k->zero(m->device, m->flat, n * 4);
    return HOLD_OK;
}

int hold_model_add_lora(struct hold_model *m, const struct hold_lora_config *config,
                        struct hold_error *err) {
    if (m->lora || m->full)
        return hold_fail(err, HOLD_EINTERNAL, "the model already has trainable parts");
    struct hold_error inner = {0};
    int rc = hold_model_check_targets(config->target_modules, &inner);
    if (rc < 0)
        return hold_fail(err, rc, "lora_target_modules: %s", inner.text);
    int64_t n = 0, widest = 0;
    for (int64_t l = 0; l < m->shape.n_layers; l++)
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++) {
            struct hold_linear *lin = &m->layers[l].linear[kind];
            lay_out(lin, &m->shape, (enum hold_linear_kind)kind, config, &n);
            widest = lin->w.value.cols > widest ? lin->w.value.cols : widest;
        }
    void *host = NULL;
    rc = hold_new(&host, (size_t)(config->r * widest), sizeof(float), "low-rank factors", err);
    if (rc == HOLD_OK)
        rc = new_flat(m, n, err);
    if (rc == HOLD_OK) {
        m->lora = true;
        m->lora_config = *config;
        for (int64_t l = 0; l < m->shape.n_layers; l++)
            for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++) {
                struct hold_linear *lin = &m->layers[l].linear[kind];
                for (int i = 0; i < lin->n_lora; i++) {
                    point_into_flat(m, &lin->lora[i].a);
                    point_into_flat(m, &lin->lora[i].b);
                    init_a(m, l, &lin->lora[i].a, host);
                }
            }
    }
    hold_free(host);
    return rc;
}

struct module_walk {
    struct hold_adapter *adapter;
    int64_t i;
};

/* Call back for every low-rank part with its full module name. */
static int each_part(const struct hold_model *m,
                     int (*each)(void *user, const struct hold_model *m, const char *module,
                                 const struct hold_lora *part, struct hold_error *err),
                     void *user, struct hold_error *err) {
    char module[128];
    for (int64_t l = 0; l < m->shape.n_layers; l++)
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++) {
            const struct hold_linear *lin = &m->layers[l].linear[kind];
            for (int i = 0; i < lin->n_lora; i++) {
                snprintf(module, sizeof module, "model.layers.%lld.%s", (long long)l,
                         lin->lora[i].a.name);
                int rc = each(user, m, module, &lin->lora[i], err);
                if (rc < 0)
                    return rc;
            }
        }
    return HOLD_OK;
}

static int set_part(void *user, const struct hold_model *m, const char *module,
                    const struct hold_lora *part, struct hold_error *err) {
    const struct hold_adapter *a = user;
    for (int64_t i = 0; i < a->n_pairs; i++) {
        const struct hold_lora_pair *p = &a->pairs[i];
        if (strcmp(p->module, module) != 0)
            continue;
        if (p->r != part->a.value.rows || p->in != part->a.value.cols || p->out != part->out_n)
            return hold_fail(err, HOLD_EFORMAT,
                             "adapter: '%s' is %lldx%lld of rank %lld, expected "
                             "%lldx%lld of rank %lld",
                             module, (long long)p->out, (long long)p->in, (long long)p->r,
                             (long long)part->out_n, (long long)part->a.value.cols,
                             (long long)part->a.value.rows);
        m->device->k->write(m->device, part->a.value.data, p->a, p->r * p->in * 4);
        m->device->k->write(m->device, part->b.value.data, p->b, p->out * p->r * 4);
        return HOLD_OK;
    }
    return hold_fail(err, HOLD_EFORMAT, "adapter: module '%s' is missing", module);
}

static int count_part(void *user, const struct hold_model *m, const char *module,
                      const struct hold_lora *part, struct hold_error *err) {
    (void)m, (void)module, (void)part, (void)err;
    ++*(int64_t *)user;
    return HOLD_OK;
}

/* A pair that no low-rank part of the model takes, by name; there is one when there are too many.
 */
static int refuse_extra(const struct hold_model *m, const struct hold_adapter *a,
                        struct hold_error *err) {
    char module[128];
    for (int64_t i = 0; i < a->n_pairs; i++) {
        bool taken = false;
        for (int64_t l = 0; l < m->shape.n_layers && !taken; l++)
            for (int kind = 0; kind < HOLD_LINEAR_KINDS && !taken; kind++)
                for (int k = 0; k < m->layers[l].linear[kind].n_lora && !taken; k++) {
                    snprintf(module, sizeof module, "model.layers.%lld.%s", (long long)l,
                             m->layers[l].linear[kind].lora[k].a.name);
                    taken = strcmp(module, a->pairs[i].module) == 0;
                }
        if (!taken)
            return hold_fail(err, HOLD_EFORMAT,
                             "adapter: module '%s' is not among the lora_target_modules that are "
                             "trained",
                             a->pairs[i].module);
    }
    return hold_fail(err, HOLD_EFORMAT, "adapter: a module is there twice");
}

int hold_model_set_lora(struct hold_model *m, const struct hold_adapter *a,
                        struct hold_error *err) {
    int64_t parts = 0;
    if (a->alpha < m->lora_config.alpha || a->alpha > m->lora_config.alpha)
        return hold_fail(err, HOLD_EFORMAT,
                         "adapter: lora_alpha is %g, the training's is %g: its factors would weigh "
                         "another amount",
                         a->alpha, m->lora_config.alpha);
    int rc = each_part(m, set_part, (void *)a, err);
    if (rc == HOLD_OK)
        rc = each_part(m, count_part, &parts, err);
    return rc == HOLD_OK && a->n_pairs > parts ? refuse_extra(m, a, err) : rc;
}

static int get_part(void *user, const struct hold_model *m, const char *module,
                    const struct hold_lora *part, struct hold_error *err) {
    struct module_walk *w = user;
    struct hold_lora_pair *p = &w->adapter->pairs[w->i++];
    w->adapter->n_pairs = w->i;
    *p = (struct hold_lora_pair){
        .out = part->out_n, .in = part->a.value.cols, .r = part->a.value.rows};
    p->module = hold_strdup(module);
    p->a = hold_malloc((size_t)(p->r * p->in) * sizeof *p->a);
    p->b = hold_malloc((size_t)(p->out * p->r) * sizeof *p->b);
    if (p->module == NULL || p->a == NULL || p->b == NULL)
        return hold_fail(err, HOLD_ENOMEMORY, "no memory for an adapter");
    m->device->k->read(m->device, p->a, part->a.value.data, p->r * p->in * 4);
    m->device->k->read(m->device, p->b, part->b.value.data, p->out * p->r * 4);
    return HOLD_OK;
}

/* The path of the base; with adapters merged no path names it, and what is written must not pass
 * for the bare one's. */
static char *name_base(const struct hold_model *m) {
    struct hold_str name = HOLD_STR_INIT;
    hold_str_add(&name, m->path == NULL ? "" : m->path);
    if (m->n_merged > 0)
        hold_str_addf(&name, "+merged-%.12s", m->content_id);
    return hold_str_take(&name);
}

int hold_model_get_lora(const struct hold_model *m, struct hold_adapter *out,
                        struct hold_error *err) {
    *out = (struct hold_adapter){
        .r = m->lora_config.r, .alpha = m->lora_config.alpha, .dropout = m->lora_config.dropout};
    if (!m->lora)
        return hold_fail(err, HOLD_EINTERNAL, "the model has no adapter");
    void *pairs = NULL;
    int rc = hold_new(&pairs, (size_t)m->shape.n_layers * HOLD_LINEAR_KINDS * HOLD_LORA_PARTS,
                      sizeof *out->pairs, "an adapter", err);
    out->pairs = pairs;
    out->base_hash = hold_strdup(m->content_id);
    out->base_model = name_base(m);
    out->profile = json_incref(m->profile);
    if (rc == HOLD_OK && (out->base_hash == NULL || out->base_model == NULL))
        rc = hold_fail(err, HOLD_ENOMEMORY, "no memory for an adapter");
    struct module_walk w = {.adapter = out};
    if (rc == HOLD_OK)
        rc = each_part(m, get_part, &w, err);
    if (rc < 0)
        hold_adapter_release(out);
    return rc;
}

/* --- merging --- */

/* W rows += scale B A, on the device. */
static void merge_into(struct hold_model *m, struct hold_tensor w, struct hold_ptr b,
                       struct hold_ptr a, int64_t r, float scale) {
    m->device->k->gemm(m->device, false, false, w.rows, w.cols, r, scale, b, r, a, w.cols, 1.0f,
                       w.data, w.ld);
}

void hold_model_drop_lora(struct hold_model *m) {
    if (!m->lora)
        return;
    for (int64_t l = 0; l < m->shape.n_layers; l++)
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++)
            m->layers[l].linear[kind].n_lora = 0;
    m->device->k->release(m->device, m->flat);
    m->flat = (struct hold_ptr){0};
    m->n_flat = m->n_decayed = 0;
    m->lora = false;
}

int hold_model_fold_lora(struct hold_model *m, struct hold_error *err) {
    int rc = hold_model_has_numbers(m, err);
    if (rc < 0 || !m->lora)
        return rc;
    for (int64_t l = 0; l < m->shape.n_layers; l++)
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++) {
            struct hold_linear *lin = &m->layers[l].linear[kind];
            for (int i = 0; i < lin->n_lora; i++) {
                const struct hold_lora *p = &lin->lora[i];
                merge_into(m, hold_tensor_rows(lin->w.value, p->out_first, p->out_n),
                           p->b.value.data, p->a.value.data, lin->r, lin->scale);
            }
        }
    hold_model_drop_lora(m);
    return hold_model_refresh(m, err);
}

static int merge_pair(struct hold_model *m, const struct hold_adapter *a,
                      const struct hold_lora_pair *p, struct hold_error *err) {
    struct hold_tensor w;
    if (!hold_model_find(m, p->module, &w))
        return hold_fail(err, HOLD_EFORMAT, "adapter: module '%s' is not in the model", p->module);
    if (w.rows != p->out || w.cols != p->in)
        return hold_fail(err, HOLD_EFORMAT,
                         "adapter: '%s' is for a %lldx%lld matrix, the model's "
                         "is %lldx%lld",
                         p->module, (long long)p->out, (long long)p->in, (long long)w.rows,
                         (long long)w.cols);
    const struct hold_kernels *k = m->device->k;
    struct hold_ptr fa = {0}, fb = {0};
    int rc = k->alloc(m->device, p->r * p->in * 4, &fa, err);
    if (rc == HOLD_OK)
        rc = k->alloc(m->device, p->out * p->r * 4, &fb, err);
    if (rc == HOLD_OK) {
        k->write(m->device, fa, p->a, p->r * p->in * 4);
        k->write(m->device, fb, p->b, p->out * p->r * 4);
        merge_into(m, w, fb, fa, p->r, (float)(a->alpha / (double)p->r));
    }
    if (!hold_ptr_null(fa))
        k->release(m->device, fa);
    if (!hold_ptr_null(fb))
        k->release(m->device, fb);
    return rc;
}

/* A merged model is another base: what is trained on it must not be laid over the bare one. */
static void rename_merged(struct hold_model *m, const struct hold_adapter *a) {
    struct hold_hash h;
    /* A folder of a merged model goes on as that model: chains have one name in both forms. */
    const char *base = a->base_hash != NULL ? a->base_hash : m->content_id;
    hold_hash_init(&h);
    hold_hash_add(&h, base, strlen(base));
    hold_hash_add(&h, &a->alpha, sizeof a->alpha);
    for (int64_t i = 0; i < a->n_pairs; i++) {
        const struct hold_lora_pair *p = &a->pairs[i];
        hold_hash_add(&h, p->module, strlen(p->module) + 1);
        hold_hash_add(&h, p->a, (size_t)(p->r * p->in) * sizeof *p->a);
        hold_hash_add(&h, p->b, (size_t)(p->out * p->r) * sizeof *p->b);
    }
    hold_hash_end(&h, m->content_id);
    m->merged_id[0] = '\0';
    m->n_merged++;
}

int hold_model_merge(struct hold_model *m, const struct hold_adapter *a, const struct hold_ctx *ctx,
                     struct hold_error *err) {
    int rc = hold_model_has_numbers(m, err);
    if (rc < 0)
        return rc;
    if (a->base_hash == NULL)
        hold_log(ctx, HOLD_WARN, "model", "the adapter names no base hash; accepted by its shapes");
    else if (strcmp(a->base_hash, m->content_id) != 0 && strcmp(a->base_hash, m->merged_id) != 0)
        return hold_fail(err, HOLD_EFORMAT,
                         "adapter: it was trained on a base with hash %.12s, this "
                         "model's is %.12s",
                         a->base_hash, m->content_id);
    for (int64_t i = 0; i < a->n_pairs; i++) {
        rc = merge_pair(m, a, &a->pairs[i], err);
        if (rc < 0)
            return rc;
    }
    if (a->profile != NULL) {
        json_decref(m->profile);
        m->profile = json_incref(a->profile);
    }
    rename_merged(m, a);
    return hold_model_refresh(m, err);
}

/* --- full --- */

struct mover {
    struct hold_model *m;
    int64_t at;
    bool move; /* false: only count */
};

static void take_in(struct mover *mv, struct hold_param *p) {
    int64_t n = p->value.rows * p->value.cols;
    if (mv->move) {
        struct hold_device *d = mv->m->device;
        struct hold_ptr to = hold_at_f32(mv->m->flat, mv->at);
        d->k->copy(d, to, p->value.data, n * 4);
        if (p->weight != NULL)
            d->k->weight_free(d, p->weight);
        d->k->release(d, p->value.data);
        p->weight = NULL;
        p->value.data = to;
        p->flat = mv->at;
    }
    mv->at += n;
}

static void take_matrices(struct mover *mv) {
    struct hold_model *m = mv->m;
    take_in(mv, &m->embed);
    for (int64_t l = 0; l < m->shape.n_layers; l++)
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++)
            take_in(mv, &m->layers[l].linear[kind].w);
    if (!m->shape.tied)
        take_in(mv, &m->head);
}

static void take_vectors(struct mover *mv) {
    struct hold_model *m = mv->m;
    for (int64_t l = 0; l < m->shape.n_layers; l++) {
        struct hold_layer_norm norms[HOLD_LAYER_NORMS];
        int n = hold_model_norms(&m->shape, &m->layers[l], norms);
        for (int i = 0; i < n; i++)
            take_in(mv, norms[i].param);
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++)
            if (m->layers[l].linear[kind].bias.value.rows > 0)
                take_in(mv, &m->layers[l].linear[kind].bias);
    }
    take_in(mv, &m->norm);
}

int hold_model_make_full(struct hold_model *m, struct hold_error *err) {
    if (m->lora || m->full)
        return hold_fail(err, HOLD_EINTERNAL, "the model already has trainable parts");
    struct mover mv = {.m = m};
    take_matrices(&mv);
    const int64_t n_decayed = mv.at;
    take_vectors(&mv);
    int rc = hold_model_has_numbers(m, err);
    if (rc == HOLD_OK)
        rc = new_flat(m, mv.at, err);
    if (rc < 0)
        return rc;
    if (m->shape.tied && m->head.weight != NULL) {
        m->device->k->weight_free(m->device, m->head.weight);
        m->head.weight = NULL;
    }
    mv = (struct mover){.m = m, .move = true};
    take_matrices(&mv);
    take_vectors(&mv);
    if (m->shape.tied)
        m->head = m->embed;
    m->n_decayed = n_decayed;
    m->full = true;
    return HOLD_OK;
}

int hold_model_refresh(struct hold_model *m, struct hold_error *err) {
    int rc = hold_model_has_numbers(m, err);
    if (rc < 0 || m->full)
        return rc;
    const struct hold_kernels *k = m->device->k;
    for (int64_t l = 0; l < m->shape.n_layers; l++)
        for (int kind = 0; kind < HOLD_LINEAR_KINDS; kind++) {
            struct hold_linear *lin = &m->layers[l].linear[kind];
            k->weight_free(m->device, lin->w.weight);
            lin->w.weight = NULL;
            rc = hold_model_prepare(m, &lin->w, lin->fine, err);
            if (rc < 0)
                return rc;
        }
    return k->sync(m->device, err);
}
