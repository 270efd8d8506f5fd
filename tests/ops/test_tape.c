/* test_tape.c: every op of the tape against central differences of the tape's own forward, on the
 * CPU device; and on the guarded device, where any access from the host would crash, the same
 * loss and gradients. */
#include "ops.h"

#include "tape/tape.h"

enum { ROOM = 1024, MAX_PARAMS = 12, MAX_WEIGHTS = 4, MAX_CASES = 10 };

/* One graph on one device.  All numbers that a case differentiates by lie in one vector, taken from
 * the front in the order in which its build function asks for them. */
struct bench {
    struct hold_device *device;
    struct hold_space space;
    struct hold_tape tape;
    struct hold_ptr theta, grads;
    float *host, *found; /* theta and its gradient on the host, ROOM each */
    int64_t used;
    struct hold_param params[MAX_PARAMS];
    int n_params;
    struct hold_weight *weights[MAX_WEIGHTS];
    int n_weights;
    struct hold_linear linear;
    double loss;
};

struct input_grad {
    struct bench *bench;
    int64_t at;
};

static void read_input_grad(void *user, struct hold_node *node, struct hold_tensor grad) {
    const struct input_grad *g = user;
    assert_int_equal(grad.rows, node->value.rows);
    assert_int_equal(grad.ld, grad.cols);
    g->bench->device->k->read(g->bench->device, g->bench->found + g->at, grad.data,
                              grad.rows * grad.cols * 4);
}

static int64_t take(struct bench *b, int64_t n) {
    int64_t at = b->used;
    b->used += n;
    assert_true(b->used <= ROOM);
    return at;
}

/* The next rows x cols numbers as an input whose gradient is wanted. */
static struct hold_node *input(struct bench *b, int64_t rows, int64_t cols) {
    int64_t at = take(b, rows * cols);
    struct hold_node *x =
        hold_leaf(&b->tape, hold_tensor_at(hold_at_f32(b->theta, at), rows, cols), true);
    struct input_grad *g = hold_arena_alloc(&b->tape.host, sizeof *g);
    assert_non_null(g);
    *g = (struct input_grad){b, at};
    x->on_grad = read_input_grad;
    x->on_grad_user = g;
    return x;
}

/* The next rows x cols numbers as a trained parameter. */
static struct hold_param *trained(struct bench *b, int64_t rows, int64_t cols) {
    assert_true(b->n_params < MAX_PARAMS);
    struct hold_param *p = &b->params[b->n_params++];
    *p = (struct hold_param){.name = "trained", .flat = take(b, rows * cols)};
    p->value = hold_tensor_at(hold_at_f32(b->theta, p->flat), rows, cols);
    return p;
}

/* Random numbers that stay as they are. */
static struct hold_tensor constant(struct bench *b, int64_t rows, int64_t cols, uint64_t key) {
    float *x = random_floats(rows * cols, key);
    struct hold_ptr p = hold_tape_upload(&b->tape, x, rows * cols * 4);
    free(x);
    return hold_tensor_at(p, rows, cols);
}

static struct hold_param *frozen(struct bench *b, int64_t rows, int64_t cols, uint64_t key,
                                 bool prepared) {
    assert_true(b->n_params < MAX_PARAMS && b->n_weights < MAX_WEIGHTS);
    struct hold_param *p = &b->params[b->n_params++];
    *p = (struct hold_param){.name = "frozen", .flat = -1, .value = constant(b, rows, cols, key)};
    struct hold_error err = {0};
    if (prepared) {
        assert_int_equal(
            b->device->k->weight_new(b->device, p->value.data, rows, cols, &p->weight, &err), 0);
        b->weights[b->n_weights++] = p->weight;
    }
    return p;
}

static struct hold_ptr ints(struct bench *b, const int32_t *v, int64_t n) {
    return hold_tape_upload(&b->tape, v, n * (int64_t)sizeof *v);
}

/* The scalar that ends most graphs: two weighted sums of squared projections, so that the gradient
 * of y has rank two and other numbers in every row. */
static void end(struct bench *b, struct hold_node *y) {
    enum { MOST_ROWS = 32 };
    float *w = random_floats(2 * MOST_ROWS, 901);
    float *r = random_floats(2 * MOST_ROWS, 902);
    double ref[2 * MOST_ROWS];
    assert_true(y->value.rows <= MOST_ROWS);
    for (int i = 0; i < 2 * MOST_ROWS; i++)
        ref[i] = (double)r[i];
    for (int i = 0; i < 2; i++) {
        double sum = 0;
        float coef = i == 0 ? 0.7f : -0.3f;
        hold_loss_projection(&b->tape, y, constant(b, 1, y->value.cols, 903 + (uint64_t)i),
                             w + i * MOST_ROWS, ref + i * MOST_ROWS, coef, NULL, &sum);
        b->loss += (double)coef * sum;
    }
    free(w);
    free(r);
}

/* --- cases --- */

static void leaf_case(struct bench *b) {
    end(b, input(b, 4, 5));
}

static void embed_case(struct bench *b) {
    static const int32_t IDS[] = {3, 0, 3, 6, 3};
    end(b, hold_embed(&b->tape, trained(b, 7, 5), ints(b, IDS, 5), 5));
}

static void gather_case(struct bench *b) {
    static const int32_t IDS[] = {2, 0, 2, 5, 2};
    end(b, hold_gather(&b->tape, input(b, 6, 4), ints(b, IDS, 5), 5));
}

/* The gathered node has a second consumer, whose gradient is there first. */
static void gather_add_case(struct bench *b) {
    static const int32_t IDS[] = {1, 1, 2};
    struct hold_node *x = input(b, 3, 4);
    struct hold_node *y = hold_gather(&b->tape, x, ints(b, IDS, 3), 3);
    end(b, hold_add(&b->tape, x, y));
}

enum { IN = 6, OUT = 9, RANK = 2 };
static struct hold_linear *linear_of(struct bench *b, const struct hold_param *w) {
    b->linear = (struct hold_linear){.w = *w, .r = RANK, .scale = 1.5f, .dropout_key = 77};
    return &b->linear;
}

/* Parts of W's rows: all A first, then all B, as the model lays them out. */
static void add_parts(struct bench *b, int n) {
    static const int64_t FIRST[][HOLD_LORA_PARTS] = {{2}, {0, 5}, {0, 4, 7}};
    static const int64_t ROWS[][HOLD_LORA_PARTS] = {{4}, {5, 4}, {4, 3, 2}};
    b->linear.n_lora = n;
    for (int i = 0; i < n; i++)
        b->linear.lora[i] = (struct hold_lora){
            .out_first = FIRST[n - 1][i], .out_n = ROWS[n - 1][i], .a = *trained(b, RANK, IN)};
    for (int i = 0; i < n; i++)
        b->linear.lora[i].b = *trained(b, ROWS[n - 1][i], RANK);
}

static void linear_case(struct bench *b, bool prepared, int parts, float dropout) {
    struct hold_node *x = input(b, 5, IN);
    struct hold_linear *l = linear_of(b, frozen(b, OUT, IN, 31, prepared));
    add_parts(b, parts > 0 ? parts : 1);
    if (parts == 0) {
        l->n_lora = 0;
        b->used = 5 * IN;
    }
    l->dropout = dropout;
    end(b, hold_linear(&b->tape, x, l));
}
static void linear_prepared(struct bench *b) {
    linear_case(b, true, 0, 0);
}
static void linear_plain(struct bench *b) {
    linear_case(b, false, 0, 0);
}
static void linear_one_part(struct bench *b) {
    linear_case(b, true, 1, 0);
}
static void linear_two_parts(struct bench *b) {
    linear_case(b, false, 2, 0);
}
static void linear_three_parts(struct bench *b) {
    linear_case(b, true, 3, 0);
}
static void linear_dropped(struct bench *b) {
    linear_case(b, true, 3, 0.4f);
}
static void linear_trained(struct bench *b) {
    struct hold_node *x = input(b, 5, IN);
    end(b, hold_linear(&b->tape, x, linear_of(b, trained(b, OUT, IN))));
}
/* As in the first layer: nothing below wants a gradient. */
static void linear_on_constant(struct bench *b) {
    struct hold_node *x = hold_leaf(&b->tape, constant(b, 5, IN, 32), false);
    struct hold_linear *l = linear_of(b, frozen(b, OUT, IN, 31, true));
    add_parts(b, 3);
    l->dropout = 0.3f;
    end(b, hold_linear(&b->tape, x, l));
}

static void linear_bias(struct bench *b) {
    struct hold_node *x = input(b, 5, IN);
    struct hold_linear *l = linear_of(b, frozen(b, OUT, IN, 33, true));
    l->bias = *trained(b, 1, OUT);
    add_parts(b, 2);
    end(b, hold_linear(&b->tape, x, l));
}
static void linear_bias_alone(struct bench *b) {
    struct hold_node *x = hold_leaf(&b->tape, constant(b, 5, IN, 34), false);
    struct hold_linear *l = linear_of(b, frozen(b, OUT, IN, 35, false));
    l->bias = *trained(b, 1, OUT);
    end(b, hold_linear(&b->tape, x, l));
}

static void rmsnorm_trained(struct bench *b) {
    struct hold_node *x = input(b, 4, 6);
    end(b, hold_rmsnorm(&b->tape, x, trained(b, 1, 6), 1e-3f));
}
static void rmsnorm_frozen(struct bench *b) {
    struct hold_node *x = input(b, 4, 6);
    end(b, hold_rmsnorm(&b->tape, x, frozen(b, 1, 6, 41, false), 1e-3f));
}
static void rmsnorm_gain_alone(struct bench *b) {
    struct hold_node *x = hold_leaf(&b->tape, constant(b, 4, 6, 42), false);
    end(b, hold_rmsnorm(&b->tape, x, trained(b, 1, 6), 1e-3f));
}

/* A gain of 1 + w. */
static void rmsnorm_offset(struct bench *b) {
    struct hold_node *x = input(b, 4, 6);
    struct hold_param *gain = trained(b, 1, 6);
    gain->offset = constant(b, 1, 6, 43).data;
    end(b, hold_rmsnorm(&b->tape, x, gain, 1e-3f));
}
/* Two heads of queries, one of keys, one of values. */
static void headnorm_trained(struct bench *b) {
    struct hold_node *x = input(b, 5, 16);
    struct hold_param *q = trained(b, 1, 4), *k = trained(b, 1, 4);
    k->offset = constant(b, 1, 4, 44).data;
    end(b, hold_headnorm(&b->tape, x, 2, 1, q, k, 1e-3f));
}
static void headnorm_frozen(struct bench *b) {
    struct hold_node *x = input(b, 5, 16);
    end(b, hold_headnorm(&b->tape, x, 2, 1, frozen(b, 1, 4, 45, false), frozen(b, 1, 4, 46, false),
                         1e-3f));
}
static void headnorm_gain_alone(struct bench *b) {
    struct hold_node *x = hold_leaf(&b->tape, constant(b, 5, 16, 47), false);
    end(b, hold_headnorm(&b->tape, x, 2, 1, trained(b, 1, 4), frozen(b, 1, 4, 48, false), 1e-3f));
}

static struct hold_node *rotated(struct bench *b, struct hold_node *x) {
    static const int32_t POSITIONS[] = {0, 1, 2, 1, 7};
    static const float INV_FREQ[] = {1.0f, 0.31f};
    struct hold_ptr inv = hold_tape_upload(&b->tape, INV_FREQ, sizeof INV_FREQ);
    return hold_rope(&b->tape, x, 2, 4, ints(b, POSITIONS, 5), inv);
}
static void rope_in_place(struct bench *b) { /* two heads of three turn */
    struct hold_node *x = hold_shift(&b->tape, input(b, 5, 12), 1.0f, constant(b, 5, 12, 51));
    end(b, rotated(b, x));
}
/* A kept source stays as it is, and the gradient that both share is turned for one of them only. */
static void rope_kept(struct bench *b) {
    struct hold_node *x = input(b, 5, 12);
    x->keep = true;
    end(b, hold_add(&b->tape, rotated(b, x), x));
}

/* Two trees; the first has runs of one, two and three spans.  Four query heads share two key
 * heads. */
static void attention_case(struct bench *b) {
    enum { HEADS = 4, KV = 2, DIM = 2, TOKENS = 15 };
    static const struct hold_query_run RUNS[] = {{0, 3, 0, 1},  {3, 2, 1, 1},  {5, 1, 2, 1},
                                                 {6, 2, 3, 2},  {8, 2, 5, 2},  {10, 1, 7, 2},
                                                 {11, 1, 9, 3}, {12, 3, 12, 1}};
    static const struct hold_span SPANS[] = {{0, 3}, {0, 5},  {0, 6}, {0, 5}, {6, 2},
                                             {0, 3}, {8, 2},  {0, 3}, {8, 3}, {0, 3},
                                             {8, 2}, {11, 1}, {12, 3}};
    static const int32_t TREES[] = {0, 7, 8};
    struct hold_attention plan = {.n_heads = HEADS,
                                  .n_kv_heads = KV,
                                  .head_dim = DIM,
                                  .scale = 0.6f,
                                  .n_runs = 8,
                                  .n_spans = 13,
                                  .n_trees = 2,
                                  .runs = hold_tape_upload(&b->tape, RUNS, sizeof RUNS),
                                  .spans = hold_tape_upload(&b->tape, SPANS, sizeof SPANS),
                                  .tree_first = ints(b, TREES, 3),
                                  .n_queries = TOKENS,
                                  .n_keys = TOKENS,
                                  .max_keys = 7};
    end(b, hold_attention(&b->tape, input(b, TOKENS, (HEADS + 2 * KV) * DIM), &plan));
}

static void swiglu_case(struct bench *b) {
    end(b, hold_swiglu(&b->tape, input(b, 4, 10)));
}

static void geglu_case(struct bench *b) {
    end(b, hold_geglu(&b->tape, input(b, 4, 10)));
}
static void scale_case(struct bench *b) {
    end(b, hold_scale(&b->tape, input(b, 4, 5), 1.7f));
}
/* The gradient adds to what the source already has. */
static void scale_added(struct bench *b) {
    struct hold_node *x = input(b, 4, 5);
    end(b, hold_add(&b->tape, hold_scale(&b->tape, x, -0.6f), x));
}

static void add_two(struct bench *b) {
    struct hold_node *x = input(b, 4, 5);
    end(b, hold_add(&b->tape, x, input(b, 4, 5)));
}
static void add_same(struct bench *b) {
    struct hold_node *x = input(b, 4, 5);
    end(b, hold_add(&b->tape, x, x));
}
/* In backward z, x and h hold one shared gradient when h adds to x's: that must be x's own copy, or
 * z, which comes last, receives what was meant for x alone. */
static void add_shared(struct bench *b) {
    struct hold_node *z = input(b, 3, 6), *x = input(b, 3, 6);
    struct hold_node *h = hold_rmsnorm(&b->tape, x, trained(b, 1, 6), 1e-3f);
    struct hold_node *y = hold_add(&b->tape, x, z);
    end(b, hold_add(&b->tape, y, h));
}

static void shift_case(struct bench *b) {
    end(b, hold_shift(&b->tape, input(b, 4, 5), -0.8f, constant(b, 4, 5, 61)));
}

/* A piece that is made again: its input has another consumer, and it trains something. */
static struct hold_node *again_make(const void *user, struct hold_tape *t, struct hold_node *x) {
    return hold_add(t, x, hold_rmsnorm(t, x, user, 1e-3f));
}
static void again_case(struct bench *b) {
    struct hold_node *x = input(b, 3, 6);
    const struct hold_param *gain = trained(b, 1, 6);
    struct hold_node *y = hold_again(&b->tape, x, 3, again_make, gain);
    end(b, hold_add(&b->tape, hold_again(&b->tape, y, 3, again_make, gain), x));
}

enum { VOCAB = 9, WIDTH = 4 };
static void cross_entropy_of(struct bench *b, struct hold_node *x, const struct hold_param *head) {
    static const int32_t FIRST[] = {0, 2, 2, 5, 6}, TARGET[] = {1, 8, 0, 3, 3, 4};
    static const float WEIGHT[] = {0.5f, 1.5f, 1.0f, 0.25f, 2.0f, 0.75f};
    struct hold_loss_labels labels = {4, 6, FIRST, TARGET, WEIGHT};
    double logp[6], sum = 0, again = 0;
    hold_loss_cross_entropy(&b->tape, x, head, &labels, 0.4f, logp, &sum);
    for (int e = 0; e < 6; e++)
        again -= (double)WEIGHT[e] * logp[e];
    expect_close("sum of logp", 0, again, sum, 1e-12);
    b->loss += (double)0.4f * sum;
}
static void cross_entropy_trained(struct bench *b) {
    struct hold_node *x = input(b, 4, WIDTH);
    cross_entropy_of(b, x, trained(b, VOCAB, WIDTH));
}
static void cross_entropy_frozen(struct bench *b) {
    struct hold_node *x = input(b, 4, WIDTH);
    cross_entropy_of(b, x, frozen(b, VOCAB, WIDTH, 71, true));
}
/* Only the head is trained. */
static void cross_entropy_head(struct bench *b) {
    cross_entropy_of(b, hold_leaf(&b->tape, constant(b, 4, WIDTH, 72), false),
                     trained(b, VOCAB, WIDTH));
}
static void kl_of(struct bench *b, bool reverse) {
    static const float WEIGHT[] = {0.5f, 1.5f, 0.0f, 1.0f};
    struct hold_node *x = input(b, 4, WIDTH);
    const struct hold_param *head = trained(b, VOCAB, WIDTH);
    double sum = 0;
    hold_loss_kl(&b->tape, x, head, constant(b, 4, WIDTH, 73), frozen(b, VOCAB, WIDTH, 74, true),
                 WEIGHT, reverse, 0.7f, &sum);
    b->loss += (double)0.7f * sum;
}
static void kl_forward(struct bench *b) {
    kl_of(b, false);
}
static void kl_reverse(struct bench *b) {
    kl_of(b, true);
}
static void projection_case(struct bench *b) {
    struct hold_node *x = input(b, 4, 5);
    static const float WEIGHT[] = {1.0f, 0.5f, 0.0f, 2.0f};
    static const double REF[] = {0.1, -0.2, 5.0, 0.3};
    double dots[4], sum = 0;
    hold_loss_projection(&b->tape, x, constant(b, 1, 5, 75), WEIGHT, REF, 0.3f, dots, &sum);
    double again = 0;
    for (int i = 0; i < 4; i++)
        again += (double)WEIGHT[i] * (dots[i] - REF[i]) * (dots[i] - REF[i]);
    expect_close("sum of projections", 0, again, sum, 1e-12);
    b->loss += (double)0.3f * sum;
}

struct tape_case {
    const char *name;
    void (*build)(struct bench *b);
};
static const struct tape_case CASES[][MAX_CASES] = {
    [HOLD_OP_LEAF] = {{"leaf", leaf_case}},
    [HOLD_OP_EMBED] = {{"embed", embed_case}},
    [HOLD_OP_GATHER] = {{"gather", gather_case}, {"gather, added", gather_add_case}},
    [HOLD_OP_LINEAR] = {{"linear, prepared", linear_prepared},
                        {"linear, frozen", linear_plain},
                        {"linear, trained", linear_trained},
                        {"linear, one part", linear_one_part},
                        {"linear, two parts", linear_two_parts},
                        {"linear, three parts", linear_three_parts},
                        {"linear, dropout", linear_dropped},
                        {"linear, on a constant", linear_on_constant},
                        {"linear, trained bias", linear_bias},
                        {"linear, bias alone", linear_bias_alone}},
    [HOLD_OP_RMSNORM] = {{"rmsnorm, trained gain", rmsnorm_trained},
                         {"rmsnorm, frozen gain", rmsnorm_frozen},
                         {"rmsnorm, gain alone", rmsnorm_gain_alone},
                         {"rmsnorm, offset gain", rmsnorm_offset}},
    [HOLD_OP_HEADNORM] = {{"headnorm, trained gains", headnorm_trained},
                          {"headnorm, frozen gains", headnorm_frozen},
                          {"headnorm, gain alone", headnorm_gain_alone}},
    [HOLD_OP_ROPE] = {{"rope, in place", rope_in_place}, {"rope, kept", rope_kept}},
    [HOLD_OP_ATTENTION] = {{"attention", attention_case}},
    [HOLD_OP_SWIGLU] = {{"swiglu", swiglu_case}},
    [HOLD_OP_GEGLU] = {{"geglu", geglu_case}},
    [HOLD_OP_ADD] = {{"add", add_two}, {"add, same", add_same}, {"add, shared", add_shared}},
    [HOLD_OP_AGAIN] = {{"made again", again_case}},
    [HOLD_OP_SHIFT] = {{"shift", shift_case}},
    [HOLD_OP_SCALE] = {{"scale", scale_case}, {"scale, added", scale_added}},
    [HOLD_OP_LOSS] = {{"cross entropy, trained head", cross_entropy_trained},
                      {"cross entropy, frozen head", cross_entropy_frozen},
                      {"cross entropy, head alone", cross_entropy_head},
                      {"kl", kl_forward},
                      {"kl, reverse", kl_reverse},
                      {"projection", projection_case}},
};
_Static_assert(sizeof CASES / sizeof CASES[0] == HOLD_OP_COUNT, "a case for every op");

/* --- running them --- */

static void bench_open(struct bench *b, struct hold_device *d) {
    *b = (struct bench){.device = d};
    hold_space_init(&b->space, d);
    hold_tape_init(&b->tape, d, &b->space);
    b->host = random_floats(ROOM, 11);
    b->found = calloc(ROOM, sizeof *b->found);
    b->theta = device_floats(d, ROOM, b->host);
    b->grads = device_floats(d, ROOM, NULL);
}

static void bench_close(struct bench *b) {
    hold_tape_release(&b->tape);
    hold_space_release(&b->space);
    b->device->k->release(b->device, b->theta);
    b->device->k->release(b->device, b->grads);
    free(b->host);
    free(b->found);
}

/* Build the graph from theta as it is on the host; with `op` also run backward. */
static double run(struct bench *b, const struct tape_case *c, const enum hold_op_kind *op) {
    struct hold_error err = {0};
    struct hold_device *d = b->device;
    struct hold_space_mark mark = hold_space_mark(&b->space);
    d->k->write(d, b->theta, b->host, ROOM * 4);
    d->k->zero(d, b->grads, ROOM * 4);
    b->used = b->n_params = b->n_weights = 0;
    b->loss = 0;
    b->tape.recording = true;
    b->tape.flat_grads = b->grads;
    b->tape.seed = 5;
    b->tape.step = 3;
    c->build(b);
    if (hold_tape_check(&b->tape, &err) < 0)
        fail_msg("%s: %s", c->name, err.text);
    if (op != NULL) {
        bool there = false;
        for (const struct hold_node *n = b->tape.newest; n != NULL; n = n->next_older)
            there = there || n->op == *op;
        assert_true(there);
        memset(b->found, 0, ROOM * sizeof *b->found);
        assert_int_equal(hold_tape_backward(&b->tape, &err), 0);
        float *flat = host_floats(d, ROOM, b->grads);
        for (int i = 0; i < b->n_params; i++) {
            const struct hold_param *p = &b->params[i];
            int64_t n = p->value.rows * p->value.cols;
            if (p->flat >= 0)
                memcpy(b->found + p->flat, flat + p->flat, (size_t)n * sizeof *flat);
        }
        free(flat);
    }
    for (int i = 0; i < b->n_weights; i++)
        d->k->weight_free(d, b->weights[i]);
    hold_tape_reset(&b->tape, mark);
    return b->loss;
}

static double moved(struct bench *b, const struct tape_case *c, int64_t i, float by) {
    float keep = b->host[i];
    b->host[i] = keep + by;
    double loss = run(b, c, NULL);
    b->host[i] = keep;
    return loss;
}

/* Two central differences, the second at twice the step, cancel the error of second order: in f32
 * the step can then be wide enough for its rounding not to matter. */
static double difference(struct bench *b, const struct tape_case *c, int64_t i) {
    const float h = 0.03125f;
    double one = moved(b, c, i, h) - moved(b, c, i, -h);
    double two = moved(b, c, i, 2 * h) - moved(b, c, i, -2 * h);
    return (8 * one - two) / (12 * (double)h);
}

static void each_case(void (*body)(struct bench *b, const struct tape_case *c, enum hold_op_kind op,
                                   void *user),
                      struct bench *b, void *user) {
    for (int op = 0; op < HOLD_OP_COUNT; op++) {
        assert_non_null(CASES[op][0].build);
        for (int i = 0; i < MAX_CASES && CASES[op][i].build != NULL; i++)
            body(b, &CASES[op][i], (enum hold_op_kind)op, user);
    }
}

static void compare_with_differences(struct bench *b, const struct tape_case *c,
                                     enum hold_op_kind op, void *user) {
    double *worst = user, largest = 0;
    run(b, c, &op);
    int64_t n = b->used;
    assert_true(n > 0);
    float *found = b->found;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)found[i]));
    assert_true(largest > 1e-3);
    for (int64_t i = 0; i < n; i++) {
        double expected = difference(b, c, i);
        double off = fabs((double)found[i] - expected) / largest;
        if (off > 1e-4)
            fail_msg("%s: gradient %ld: found %.6g, expected %.6g, of at most %.3g", c->name,
                     (long)i, (double)found[i], expected, largest);
        *worst = fmax(*worst, off);
    }
}

static void test_differences(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_device *d;
    struct bench b;
    double worst = 0;
    assert_int_equal(hold_cpu_new(&d, 1, NULL, &err), 0);
    bench_open(&b, d);
    each_case(compare_with_differences, &b, &worst);
    print_message("worst gradient: off by %.1e of the largest\n", worst);
    bench_close(&b);
    hold_device_free(d);
}

static void compare_with_open(struct bench *b, const struct tape_case *c, enum hold_op_kind op,
                              void *user) {
    struct bench *open = user;
    expect_close(c->name, -1, run(b, c, &op), run(open, c, &op), 1e-5);
    assert_int_equal(b->used, open->used);
    float largest = 0;
    for (int64_t i = 0; i < b->used; i++)
        largest = fmaxf(largest, fabsf(open->found[i]));
    for (int64_t i = 0; i < b->used; i++)
        expect_close(c->name, i, (double)(b->found[i] / largest),
                     (double)(open->found[i] / largest), 1e-5);
}

static void test_guarded(void **state) {
    (void)state;
    struct hold_error err = {0};
    struct hold_device *guarded, *open;
    struct bench b, reference;
    assert_int_equal(hold_cpu_new(&open, 1, "portable", &err), 0);
    assert_int_equal(hold_cpu_new_guarded(&guarded, 1, &err), 0);
    bench_open(&reference, open);
    bench_open(&b, guarded);
    each_case(compare_with_open, &b, &reference);
    bench_close(&b);
    bench_close(&reference);
    hold_device_free(guarded);
    hold_device_free(open);
}

/* --- what does not fit is refused, and the error sticks --- */

static void open_plain(struct bench *b) {
    struct hold_error err = {0};
    struct hold_device *d;
    assert_int_equal(hold_cpu_new(&d, 1, NULL, &err), 0);
    bench_open(b, d);
    b->tape.recording = true;
}

static void close_plain(struct bench *b) {
    struct hold_device *d = b->device;
    bench_close(b);
    hold_device_free(d);
}

static void test_misfits(void **state) {
    (void)state;
    struct bench b;
    open_plain(&b);
    struct hold_error err = {0};
    struct hold_space_mark mark = hold_space_mark(&b.space);
    struct hold_node *x = input(&b, 3, 4);
    struct hold_node *bad = hold_add(&b.tape, x, input(&b, 3, 5));
    assert_ptr_equal(bad, &b.tape.dead);
    assert_ptr_equal(hold_swiglu(&b.tape, bad), &b.tape.dead); /* later ops only pass it on */
    end(&b, x);
    assert_int_equal(hold_tape_check(&b.tape, &err), HOLD_EINTERNAL);
    assert_string_equal(err.text, "add: shapes differ");
    assert_int_equal(hold_tape_backward(&b.tape, &err), HOLD_EINTERNAL);

    hold_tape_reset(&b.tape, mark); /* and is gone with the nodes */
    assert_int_equal(hold_tape_check(&b.tape, &err), HOLD_OK);
    struct hold_node *gate = input(&b, 3, 4);
    end(&b, hold_add(&b.tape, hold_swiglu(&b.tape, gate), hold_swiglu(&b.tape, gate)));
    assert_int_equal(hold_tape_backward(&b.tape, &err), HOLD_EINTERNAL);
    assert_string_equal(err.text, "swiglu: its input has another consumer");
    close_plain(&b);
}

/* Without recording nothing wants a gradient, and dropout is off. */
static void test_not_recording(void **state) {
    (void)state;
    struct bench b;
    open_plain(&b);
    b.tape.recording = false;
    struct hold_node *x = input(&b, 5, IN);
    assert_false(x->wants_grad);
    struct hold_linear *l = linear_of(&b, frozen(&b, OUT, IN, 31, false));
    add_parts(&b, 3);
    struct hold_node *y = hold_linear(&b.tape, x, l);
    float *plain = host_floats(b.device, 5 * OUT, y->value.data);
    l->dropout = 0.5f;
    struct hold_node *z = hold_linear(&b.tape, x, l);
    float *dropped = host_floats(b.device, 5 * OUT, z->value.data);
    assert_memory_equal(plain, dropped, sizeof(float) * 5 * OUT);
    b.tape.recording = true;
    z = hold_linear(&b.tape, x, l);
    float *recorded = host_floats(b.device, 5 * OUT, z->value.data);
    assert_memory_not_equal(plain, recorded, sizeof(float) * 5 * OUT);
    free(plain);
    free(dropped);
    free(recorded);
    close_plain(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_guarded),
        cmocka_unit_test(test_misfits),
        cmocka_unit_test(test_not_recording),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
