/* tape.c: nodes, shared gradients, and the walk back. */
#include "tape/tape.h"

#include <string.h>

#include "tape/ops.h"

enum { HOST_CHUNK = 1 << 20 }; /* nodes of a big model: nothing grows after the first steps */

struct hold_grad {
    struct hold_tensor m;
    int refs;
    struct hold_grad *next; /* in the free list */
};

/* LAW: favour a table: one row an op, forward in its op file, backward here by name. */
static const struct op_row {
    const char *name;
    void (*backward)(struct hold_tape *t, struct hold_node *n); /* NULL: nothing flows further */
} OPS[] = {
    [HOLD_OP_LEAF] = {"leaf", NULL},
    [HOLD_OP_EMBED] = {"embed", hold_embed_backward},
    [HOLD_OP_GATHER] = {"gather", hold_gather_backward},
    [HOLD_OP_LINEAR] = {"linear", hold_linear_backward},
    [HOLD_OP_RMSNORM] = {"rmsnorm", hold_rmsnorm_backward},
    [HOLD_OP_HEADNORM] = {"headnorm", hold_headnorm_backward},
    [HOLD_OP_ROPE] = {"rope", hold_rope_backward},
    [HOLD_OP_ATTENTION] = {"attention", hold_attention_backward},
    [HOLD_OP_SWIGLU] = {"swiglu", hold_swiglu_backward},
    [HOLD_OP_GEGLU] = {"geglu", hold_geglu_backward},
    [HOLD_OP_ADD] = {"add", hold_add_backward},
    [HOLD_OP_SHIFT] = {"shift", hold_shift_backward},
    [HOLD_OP_SCALE] = {"scale", hold_scale_backward},
    [HOLD_OP_AGAIN] = {"again", hold_again_backward},
    [HOLD_OP_LOSS] = {"loss", hold_loss_backward},
};
_Static_assert(sizeof OPS / sizeof OPS[0] == HOLD_OP_COUNT, "one row for every op");

void hold_tape_init(struct hold_tape *t, struct hold_device *device, struct hold_space *space) {
    *t = (struct hold_tape){.device = device, .space = space};
    hold_arena_init(&t->host, HOST_CHUNK);
}

void hold_tape_reset(struct hold_tape *t, struct hold_space_mark mark) {
    hold_arena_rewind(&t->host, (struct hold_arena_mark){0});
    hold_space_rewind(t->space, mark);
    t->newest = NULL;
    t->free_grads = NULL;
    t->status = HOLD_OK;
}

void hold_tape_release(struct hold_tape *t) {
    hold_arena_release(&t->host);
    t->newest = NULL;
    t->free_grads = NULL;
}

int hold_tape_check(struct hold_tape *t, struct hold_error *err) {
    if (t->status < 0)
        return hold_fail(err, t->status, "%s", t->error.text);
    return hold_k(t)->sync(t->device, err);
}

struct hold_node *hold_tape_dead(struct hold_tape *t, int code, const char *what) {
    if (t->status == HOLD_OK)
        t->status = hold_fail(&t->error, code, "%s", what);
    return &t->dead;
}

struct hold_tensor hold_tape_matrix(struct hold_tape *t, int64_t rows, int64_t cols) {
    struct hold_tensor m = {.rows = rows, .cols = cols, .ld = cols};
    if (t->status < 0)
        return m;
    int rc = hold_space_cut(t->space, rows * cols * 4, &m.data, &t->error);
    if (rc < 0)
        t->status = rc;
    return m;
}

struct hold_ptr hold_tape_upload(struct hold_tape *t, const void *data, int64_t bytes) {
    struct hold_ptr p = {0};
    if (t->status < 0)
        return p;
    int rc = hold_space_cut(t->space, bytes, &p, &t->error);
    if (rc < 0)
        t->status = rc;
    else if (bytes > 0)
        hold_k(t)->write(t->device, p, data, bytes);
    return p;
}

struct hold_node *hold_node_new(struct hold_tape *t, enum hold_op_kind op, struct hold_node *a,
                                struct hold_node *b, struct hold_tensor value) {
    if (t->status < 0 || a == &t->dead || b == &t->dead)
        return hold_tape_dead(t, HOLD_EINTERNAL, "an op was built on a dead node");
    struct hold_node *n = hold_arena_alloc(&t->host, sizeof *n);
    if (n == NULL)
        return hold_tape_dead(t, HOLD_ENOMEMORY, "no memory for a node of the tape");
    *n = (struct hold_node){.op = op, .source = {a, b}, .value = value};
    if (hold_ptr_null(value.data))
        n->value = hold_tape_matrix(t, value.rows, value.cols);
    if (t->status < 0)
        return &t->dead;
    n->wants_grad = t->recording && ((a != NULL && a->wants_grad) || (b != NULL && b->wants_grad));
    n->next_older = t->newest;
    t->newest = n;
    return n;
}

struct hold_node *hold_leaf(struct hold_tape *t, struct hold_tensor value, bool wants_grad) {
    struct hold_node *n = hold_node_new(t, HOLD_OP_LEAF, NULL, NULL, value);
    if (n != &t->dead)
        n->wants_grad = wants_grad && t->recording;
    return n;
}

/* --- gradients --- */

static struct hold_grad *grad_new(struct hold_tape *t, int64_t rows, int64_t cols) {
    /* Few sizes recur in every layer, so an exact fit is nearly always there. */
    for (struct hold_grad **p = &t->free_grads; *p != NULL; p = &(*p)->next) {
        struct hold_grad *g = *p;
        if (g->m.rows * g->m.cols == rows * cols) {
            *p = g->next;
            g->m = hold_tensor_at(g->m.data, rows, cols);
            g->refs = 1;
            return g;
        }
    }
    struct hold_grad *g = hold_arena_alloc(&t->host, sizeof *g);
    if (g == NULL) {
        hold_tape_dead(t, HOLD_ENOMEMORY, "no memory for a gradient of the tape");
        return NULL;
    }
    g->m = hold_tape_matrix(t, rows, cols);
    g->refs = 1;
    return t->status < 0 ? NULL : g;
}

static void grad_drop(struct hold_tape *t, struct hold_grad *g) {
    if (g != NULL && --g->refs == 0) {
        g->next = t->free_grads;
        t->free_grads = g;
    }
}

struct hold_tensor hold_grad_tensor(const struct hold_grad *g) {
    return g->m;
}

struct hold_grad *hold_grad_target(struct hold_tape *t, struct hold_node *node, bool *fresh) {
    if (!node->wants_grad)
        return NULL;
    *fresh = node->grad == NULL;
    if (node->grad == NULL) {
        node->grad = grad_new(t, node->value.rows, node->value.cols);
        return node->grad;
    }
    if (node->grad->refs > 1) { /* shared with another node: our own copy before adding */
        struct hold_grad *own = grad_new(t, node->value.rows, node->value.cols);
        if (own == NULL)
            return NULL;
        hold_k(t)->copy(t->device, own->m.data, node->grad->m.data, own->m.rows * own->m.cols * 4);
        grad_drop(t, node->grad);
        node->grad = own;
    }
    return node->grad;
}

void hold_grad_share(struct hold_tape *t, struct hold_node *from, struct hold_node *to) {
    if (!to->wants_grad || from->grad == NULL)
        return;
    if (to->grad == NULL) {
        to->grad = from->grad;
        to->grad->refs++;
        return;
    }
    bool fresh;
    struct hold_grad *g = hold_grad_target(t, to, &fresh);
    if (g != NULL)
        hold_k(t)->axpby(t->device, g->m.rows, g->m.cols, 1.0f, from->grad->m.data,
                         from->grad->m.ld, 1.0f, g->m.data, g->m.ld);
}

struct hold_ptr hold_param_grad(const struct hold_tape *t, const struct hold_param *p) {
    if (p->flat < 0 || hold_ptr_null(t->flat_grads))
        return (struct hold_ptr){0};
    return hold_at_f32(t->flat_grads, p->flat);
}

/* From the newest node to the one before `end`. */
static void walk_back(struct hold_tape *t, const struct hold_node *end) {
    for (struct hold_node *n = t->newest; n != end && t->status == HOLD_OK; n = n->next_older) {
        /* A node whose gradient nobody produced (dead end) passes nothing on, except losses,
         * where gradients begin. */
        if (n->grad != NULL && n->on_grad != NULL)
            n->on_grad(n->on_grad_user, n, n->grad->m);
        if (OPS[n->op].backward != NULL && (n->grad != NULL || n->op == HOLD_OP_LOSS))
            OPS[n->op].backward(t, n);
        grad_drop(t, n->grad);
        n->grad = NULL;
    }
}

int hold_tape_backward(struct hold_tape *t, struct hold_error *err) {
    walk_back(t, NULL);
    return hold_tape_check(t, err);
}

/* --- pieces made again --- */

struct piece {
    hold_make *make;
    const void *user;
};

struct hold_node *hold_again(struct hold_tape *t, struct hold_node *x, int64_t rows,
                             hold_make *make, const void *user) {
    if (x == &t->dead || !t->recording)
        return make(user, t, x);
    struct hold_tensor kept = hold_tape_matrix(t, rows, x->value.cols);
    struct hold_space_mark mark = hold_space_mark(t->space);
    struct hold_arena_mark host = hold_arena_mark(&t->host);
    struct hold_node *newest = t->newest;
    t->recording = false;
    t->rehearsing = true;
    const struct hold_node *y = make(user, t, hold_leaf(t, x->value, false));
    t->recording = true;
    t->rehearsing = false;
    if (y->value.rows != kept.rows || y->value.cols != kept.cols)
        return hold_tape_dead(t, HOLD_EINTERNAL,
                              "a piece made again has another shape than was said");
    if (t->status < 0)
        return &t->dead;
    hold_k(t)->axpby(t->device, kept.rows, kept.cols, 1.0f, y->value.data, y->value.ld, 0.0f,
                     kept.data, kept.ld);
    t->newest = newest;
    hold_arena_rewind(&t->host, host);
    hold_space_rewind(t->space, mark);
    struct piece *piece = hold_arena_alloc(&t->host, sizeof *piece);
    struct hold_node *n = hold_node_new(t, HOLD_OP_AGAIN, x, NULL, kept);
    if (piece == NULL || n == &t->dead)
        return hold_tape_dead(t, HOLD_ENOMEMORY, "no memory for a piece of the tape");
    *piece = (struct piece){make, user};
    n->plan = piece;
    n->wants_grad = true; /* what the piece trains is not known before it is made again */
    return n;
}

void hold_again_backward(struct hold_tape *t, struct hold_node *n) {
    const struct piece *piece = n->plan;
    struct hold_node *x = n->source[0], *newest = t->newest;
    bool fresh = true;
    struct hold_grad *gx = hold_grad_target(t, x, &fresh); /* below the mark: it outlives us */
    struct hold_grad *idle = t->free_grads;
    struct hold_space_mark mark = hold_space_mark(t->space);
    struct hold_arena_mark host = hold_arena_mark(&t->host);
    t->free_grads = NULL; /* what the piece frees is gone with the piece */
    struct hold_node *leaf = hold_leaf(t, x->value, x->wants_grad);
    struct hold_node *y = piece->make(piece->user, t, leaf);
    if (t->status < 0)
        return;
    y->grad = n->grad;
    y->grad->refs++;
    walk_back(t, leaf);
    if (t->status == HOLD_OK && gx != NULL && leaf->grad == NULL && fresh)
        hold_k(t)->zero(t->device, gx->m.data, gx->m.rows * gx->m.cols * 4);
    if (t->status == HOLD_OK && gx != NULL && leaf->grad != NULL) {
        struct hold_tensor to = hold_grad_tensor(gx), from = hold_grad_tensor(leaf->grad);
        hold_k(t)->axpby(t->device, to.rows, to.cols, 1.0f, from.data, from.ld, fresh ? 0.0f : 1.0f,
                         to.data, to.ld);
    }
    grad_drop(t, leaf->grad); /* it may be n's own */
    t->newest = newest;
    t->free_grads = idle;
    hold_arena_rewind(&t->host, host);
    hold_space_rewind(t->space, mark);
}
