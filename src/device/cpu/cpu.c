/* cpu.c: the CPU device: its memory, its instruction set, its matrix products' bookkeeping. */
#include "device/cpu/cpu.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/ctx.h"
#include "base/mem.h"
#include "device/cpu/bf16.h"

enum { ALIGN = 64, HUGE_PAGE = 2 << 20 };

/* No block is larger: sizes near the end of the address space would upset the allocator. */
static const int64_t MOST_BYTES = INT64_C(1) << 39;

/* Stands in host memory apart from the block it describes, so that a guarded block can be whole
 * pages without access. */
struct hold_cpu_block {
    struct hold_cpu_block *next, *previous;
    void *raw; /* what malloc or mmap gave */
    char *data;
    int64_t bytes, mapped; /* asked for; mapped: of mmap, 0 when malloc's */
};

static void block_free(struct hold_cpu_block *b) {
    if (b->mapped)
        munmap(b->raw, (size_t)b->mapped);
    else
        hold_free(b->raw);
    hold_free(b);
}

/* Large blocks start on a huge page and ask for them: fewer page faults and TLB misses. */
static bool block_malloc(struct hold_cpu_block *b, int64_t bytes) {
    size_t align = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGN, total;
    if (!hold_add_size((size_t)bytes, 2 * align, &total) || !(b->raw = hold_malloc(total)))
        return false;
    b->data = (char *)b->raw + (align - (uintptr_t)b->raw % align);
    if (align == HUGE_PAGE)
        madvise(b->data, (size_t)bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    return true;
}

static bool block_map(struct hold_cpu_block *b, int64_t bytes) {
    int64_t page = sysconf(_SC_PAGESIZE);
    b->mapped = (bytes / page + 1) * page;
    b->raw = mmap(NULL, (size_t)b->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    b->data = b->raw;
    return b->raw != MAP_FAILED;
}

static int cpu_alloc(struct hold_device *d, int64_t bytes, struct hold_ptr *out,
                     struct hold_error *err) {
    struct hold_cpu *cpu = hold_cpu(d);
    *out = (struct hold_ptr){0};
    if (bytes < 0)
        return hold_fail(err, HOLD_EINTERNAL, "device memory: a size of %lld bytes",
                         (long long)bytes);
    struct hold_cpu_block *b = hold_calloc(1, sizeof(*b));
    if (!b || bytes > MOST_BYTES ||
        !(cpu->guarded ? block_map(b, bytes) : block_malloc(b, bytes))) {
        hold_free(b);
        return hold_fail(err, HOLD_ENOMEMORY,
                         "not enough memory for %lld bytes on the device (%lld bytes held)",
                         (long long)bytes, (long long)cpu->state.bytes);
    }
    b->bytes = bytes;
    b->next = cpu->blocks;
    if (b->next)
        b->next->previous = b;
    cpu->blocks = b;
    hold_device_count(d, bytes);
    out->at = (uintptr_t)b->data;
    return HOLD_OK;
}

static void cpu_release(struct hold_device *d, struct hold_ptr p) {
    struct hold_cpu *cpu = hold_cpu(d);
    struct hold_cpu_block *b = cpu->blocks;
    while (b && (uintptr_t)b->data != p.at)
        b = b->next;
    if (!b)
        return;
    if (b->next)
        b->next->previous = b->previous;
    if (b->previous)
        b->previous->next = b->next;
    else
        cpu->blocks = b->next;
    hold_device_count(d, -b->bytes);
    block_free(b);
}

void hold_cpu_protect(struct hold_cpu *cpu, bool open) {
    for (struct hold_cpu_block *b = cpu->blocks; b; b = b->next)
        if (b->mapped)
            mprotect(b->raw, (size_t)b->mapped, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

void *hold_cpu_scratch(struct hold_device *d, int which, int64_t bytes) {
    struct hold_cpu_scratch *s = hold_cpu(d)->scratch + which;
    if (bytes > s->bytes || !s->raw) {
        /* A little more than asked for, so that batches that differ a little find it there. */
        const int64_t least = 1 << 16;
        bytes = bytes > least ? bytes + bytes / 8 : least;
        hold_free(s->raw);
        hold_device_count(d, -s->bytes);
        s->bytes = 0;
        size_t total;
        s->raw = hold_add_size((size_t)bytes, ALIGN, &total) ? hold_malloc(total) : NULL;
        if (!s->raw) {
            hold_device_stick(d, HOLD_ENOMEMORY, "not enough memory for %lld bytes of scratch",
                              (long long)bytes);
            return NULL;
        }
        s->bytes = bytes;
        hold_device_count(d, bytes);
    }
    return (char *)s->raw + (ALIGN - (uintptr_t)s->raw % ALIGN);
}

/* A copy by one thread reaches a fraction of the memory's bandwidth; large ones are cut in parts.
 */
static void copy_bytes(const struct hold_device *d, char *dst, const char *src, int64_t bytes) {
    const int64_t part = 1 << 18;
    if (bytes <= part) {
        memmove(dst, src, (size_t)bytes);
        return;
    }
    int64_t parts = (bytes + part - 1) / part;
#pragma omp parallel for schedule(static) num_threads(d->threads)
    for (int64_t i = 0; i < parts; i++) {
        int64_t n = bytes - i * part < part ? bytes - i * part : part;
        memcpy(dst + i * part, src + i * part, (size_t)n);
    }
}

static void cpu_write(struct hold_device *d, struct hold_ptr dst, const void *src, int64_t bytes) {
    copy_bytes(d, hold_any(dst), src, bytes);
}

static void cpu_read(struct hold_device *d, void *dst, struct hold_ptr src, int64_t bytes) {
    copy_bytes(d, dst, hold_any(src), bytes);
}

static void cpu_copy(struct hold_device *d, struct hold_ptr dst, struct hold_ptr src,
                     int64_t bytes) {
    copy_bytes(d, hold_any(dst), hold_any(src), bytes);
}

static void cpu_zero(struct hold_device *d, struct hold_ptr dst, int64_t bytes) {
    const int64_t part = 1 << 18;
    char *to = hold_any(dst);
    int64_t parts = (bytes + part - 1) / part;
#pragma omp parallel for schedule(static) num_threads(d->threads) if (parts > 1)
    for (int64_t i = 0; i < parts; i++) {
        int64_t n = bytes - i * part < part ? bytes - i * part : part;
        memset(to + i * part, 0, (size_t)n);
    }
}

/* k == 0 is a case that oneDNN leaves C alone in. */
static void product(struct hold_device *d, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                    float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                    float beta, float *c, int64_t ldc) {
    struct hold_cpu *cpu = hold_cpu(d);
    if (m <= 0 || n <= 0)
        return;
    cpu->state.flop += 2.0 * (double)m * (double)n * (double)k;
    (k ? cpu->gemm : cpu->products.gemm)(d, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

static void cpu_gemm(struct hold_device *d, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                     float alpha, struct hold_ptr a, int64_t lda, struct hold_ptr b, int64_t ldb,
                     float beta, struct hold_ptr c, int64_t ldc) {
    product(d, ta, tb, m, n, k, alpha, hold_f32(a), lda, hold_f32(b), ldb, beta, hold_f32(c), ldc);
}

static void cpu_gemm_live(struct hold_device *d, bool fine, bool ta, bool tb, int64_t m, int64_t n,
                          int64_t k, struct hold_ptr a, int64_t lda, struct hold_ptr b, int64_t ldb,
                          float beta, struct hold_ptr c, int64_t ldc) {
    struct hold_cpu *cpu = hold_cpu(d);
    if (!cpu->state.bf16 || m <= 0 || n <= 0 || k <= 0) {
        product(d, ta, tb, m, n, k, 1, hold_f32(a), lda, hold_f32(b), ldb, beta, hold_f32(c), ldc);
        return;
    }
    cpu->state.flop += 2.0 * (double)m * (double)n * (double)k;
    cpu->bf16_products.live_product(d, fine, ta, tb, m, n, k, hold_f32(a), lda, hold_f32(b), ldb,
                                    beta, hold_f32(c), ldc);
}

/* In f32 the rows stay where they are, for the backward product; the forward product reads a packed
 * copy: nothing is left to arrange in a call, so that few rows (decoding) run as fast as many.  In
 * bf16 each direction has its copy. */
struct hold_weight {
    const float *w;
    struct hold_ptr packed, packed_back;
    int64_t out, in;
    bool bf16, fine;        /* fine: packed is so */
    struct hold_ptr levels; /* packed too; null: none */
    struct hold_cpu_form form;
};

static int pack_f32(struct hold_device *d, struct hold_weight *self, struct hold_error *err) {
    const struct hold_cpu_products *products = &hold_cpu(d)->products;
    int code = cpu_alloc(d, products->packed_bytes(self->out, self->in), &self->packed, err);
    if (code)
        return code;
    hold_cpu_protect(hold_cpu(d), true); /* a guarded device's new block is closed */
    products->pack(d, self->w, self->out, self->in, hold_f32(self->packed));
    return HOLD_OK;
}

static int pack_bf16(struct hold_device *d, struct hold_weight *self, struct hold_error *err) {
    const struct hold_cpu_bf16_products *products = &hold_cpu(d)->bf16_products;
    int64_t out = self->out, in = self->in;
    int code = cpu_alloc(d, products->packed_bytes(false, out, in), &self->packed, err);
    if (!code)
        code = cpu_alloc(d, products->packed_bytes(false, in, out), &self->packed_back, err);
    if (code) {
        cpu_release(d, self->packed);
        return code;
    }
    hold_cpu_protect(hold_cpu(d), true);
    products->pack(d, false, true, out, in, self->w, in, hold_u32(self->packed));
    products->pack(d, false, false, in, out, self->w, in, hold_u32(self->packed_back));
    return HOLD_OK;
}

static int cpu_weight_new(struct hold_device *d, struct hold_ptr w, int64_t out, int64_t in,
                          struct hold_weight **handle, struct hold_error *err) {
    void *memory;
    *handle = NULL;
    if (out < 1 || in < 1 || out > MOST_BYTES / in)
        return hold_fail(err, HOLD_EINTERNAL, "a frozen weight of %lld x %lld", (long long)out,
                         (long long)in);
    int code = hold_new(&memory, 1, sizeof(**handle), "a weight's handle", err);
    if (code)
        return code;
    struct hold_weight *self = memory;
    *self = (struct hold_weight){
        .w = hold_f32(w), .out = out, .in = in, .bf16 = hold_device_state(d)->bf16};
    code = self->bf16 ? pack_bf16(d, self, err) : pack_f32(d, self, err);
    if (code) {
        hold_free(self);
        return code;
    }
    *handle = self;
    return HOLD_OK;
}

static int cpu_weight_refine(struct hold_device *d, struct hold_weight *handle, struct hold_ptr w,
                             struct hold_error *err) {
    const struct hold_cpu_bf16_products *products = &hold_cpu(d)->bf16_products;
    int64_t out = handle->out, in = handle->in;
    struct hold_ptr packed;
    if (!handle->bf16 || handle->fine)
        return HOLD_OK;
    int code = cpu_alloc(d, products->packed_bytes(true, out, in), &packed, err);
    if (code)
        return code;
    cpu_release(d, handle->packed);
    handle->packed = packed;
    handle->fine = true;
    hold_cpu_protect(hold_cpu(d), true);
    products->pack(d, true, true, out, in, hold_f32(w), in, hold_u32(packed));
    return HOLD_OK;
}

static void cpu_weight_free(struct hold_device *d, struct hold_weight *w) {
    if (w) {
        cpu_release(d, w->packed);
        cpu_release(d, w->packed_back);
        cpu_release(d, w->levels);
    }
    hold_free(w);
}

static int cpu_weight_levels(struct hold_device *d, struct hold_weight *w,
                             const struct hold_levels *x, bool *taken, struct hold_error *err) {
    const struct hold_cpu_levels *levels = &hold_cpu(d)->levels;
    struct hold_cpu_form form = {x->bits, x->lowest, x->group, x->min != NULL};
    int64_t bytes = levels->bytes(w->out, w->in, &form);
    struct hold_ptr packed;
    *taken = false;
    if (bytes == 0 || w->bf16 || !hold_ptr_null(w->levels))
        return HOLD_OK;
    int code = cpu_alloc(d, bytes, &packed, err);
    if (code)
        return code;
    hold_cpu_protect(hold_cpu(d), true); /* a guarded device's new block is closed */
    *taken = levels->pack(d, w->w, w->out, w->in, x, hold_any(packed));
    if (!*taken) {
        cpu_release(d, packed);
        return HOLD_OK;
    }
    w->levels = packed;
    w->form = form;
    /* Many rows come rarely now (a prompt): their product arranges the rows as it goes. */
    cpu_release(d, w->packed);
    w->packed = (struct hold_ptr){0};
    return HOLD_OK;
}

/* Outputs [first, first + n) of a product; whole panels come before `first`, whatever their width.
 */
static void columns(struct hold_device *d, const struct hold_weight *w, int64_t first, int64_t n,
                    int64_t m, const float *x, int64_t ldx, float beta, float *y, int64_t ldy) {
    const struct hold_cpu *cpu = hold_cpu(d);
    const struct hold_cpu_products *products = &cpu->products;
    const struct hold_cpu_levels *levels = &cpu->levels;
    if (w->bf16) {
        const char *packed = hold_any(w->packed);
        packed += cpu->bf16_products.packed_bytes(w->fine, first, w->in);
        cpu->bf16_products.packed_product(d, w->fine, (const uint32_t *)(const void *)packed, m, n,
                                          w->in, x, ldx, beta, y, ldy);
        return;
    }
    if (m <= HOLD_CPU_FEW && !hold_ptr_null(w->levels)) {
        const char *packed = hold_any(w->levels);
        packed += first > 0 ? levels->bytes(first, w->in, &w->form) : 0;
        levels->product(d, &w->form, packed, m, n, w->in, x, ldx, beta, y, ldy);
        return;
    }
    if (hold_ptr_null(w->packed)) {
        products->gemm(d, false, true, m, n, w->in, 1, x, ldx, w->w + first * w->in, w->in, beta, y,
                       ldy);
        return;
    }
    const float *packed =
        hold_f32(w->packed) + products->packed_bytes(first, w->in) / (int64_t)sizeof(float);
    products->packed_product(d, packed, m, n, w->in, x, ldx, beta, y, ldy);
}

static void cpu_weight_forward(struct hold_device *d, const struct hold_weight *w, int64_t m,
                               struct hold_ptr x, int64_t ldx, float beta, struct hold_ptr y,
                               int64_t ldy) {
    if (m <= 0)
        return;
    hold_cpu(d)->state.flop += 2.0 * (double)m * (double)w->out * (double)w->in;
    columns(d, w, 0, w->out, m, hold_f32(x), ldx, beta, hold_f32(y), ldy);
}

bool hold_cpu_columns_alone(const struct hold_weight *w) {
    return w->bf16;
}

void hold_cpu_columns(struct hold_device *d, const struct hold_weight *w, int64_t first, int64_t n,
                      int64_t m, const float *x, int64_t ldx, float *y, int64_t ldy) {
    /* Where only levels are left, a few rows at a time: gemm's scratch is not for threads that are
     * in different calls. */
    int64_t step = hold_ptr_null(w->packed) ? HOLD_CPU_FEW : m;
    for (int64_t i = 0; i < m; i += step)
        columns(d, w, first, n, m - i < step ? m - i : step, x + i * ldx, ldx, 0, y + i * ldy, ldy);
}

static void cpu_weight_argmax(struct hold_device *d, const struct hold_weight *w, int64_t m,
                              struct hold_ptr x, int64_t ldx, struct hold_ptr id,
                              struct hold_ptr gap) {
    hold_cpu(d)->state.flop += 2.0 * (double)m * (double)w->out * (double)w->in;
    hold_cpu(d)->head.argmax(d, w, w->out, m, hold_f32(x), ldx, hold_i32(id), hold_f32(gap));
}

static void cpu_weight_logp(struct hold_device *d, const struct hold_weight *w, int64_t m,
                            struct hold_ptr x, int64_t ldx, const struct hold_labels *labels,
                            struct hold_ptr logp) {
    hold_cpu(d)->state.flop += 2.0 * (double)m * (double)w->out * (double)w->in;
    hold_cpu(d)->head.logp(d, w, w->out, m, hold_f32(x), ldx, labels, hold_f64(logp));
}

static void cpu_weight_backward(struct hold_device *d, const struct hold_weight *w, int64_t m,
                                struct hold_ptr dy, int64_t lddy, float beta, struct hold_ptr dx,
                                int64_t lddx) {
    struct hold_cpu *cpu = hold_cpu(d);
    if (m <= 0)
        return;
    if (!w->bf16) {
        product(d, false, false, m, w->in, w->out, 1, hold_f32(dy), lddy, w->w, w->in, beta,
                hold_f32(dx), lddx);
        return;
    }
    cpu->state.flop += 2.0 * (double)m * (double)w->out * (double)w->in;
    cpu->bf16_products.packed_product(d, false, hold_u32(w->packed_back), m, w->in, w->out,
                                      hold_f32(dy), lddy, beta, hold_f32(dx), lddx);
}

static void cpu_destroy(struct hold_device *d) {
    struct hold_cpu *cpu = hold_cpu(d);
    while (cpu->blocks) {
        struct hold_cpu_block *next = cpu->blocks->next;
        block_free(cpu->blocks);
        cpu->blocks = next;
    }
    for (int i = 0; i < HOLD_CPU_SCRATCHES; i++)
        hold_free(cpu->scratch[i].raw);
    hold_free(cpu);
}

#define FILL(isa_name, cpu)                                  \
    do {                                                     \
        hold_cpu_rows_##isa_name(&(cpu)->kernels);           \
        hold_cpu_attention_##isa_name(&(cpu)->kernels);      \
        hold_cpu_loss_##isa_name(&(cpu)->kernels);           \
        hold_cpu_optim_##isa_name(&(cpu)->kernels);          \
        hold_cpu_vector_##isa_name(&(cpu)->kernels);         \
        hold_cpu_products_##isa_name(&(cpu)->products);      \
        hold_cpu_bf16_##isa_name(&(cpu)->bf16_products);     \
        hold_cpu_head_##isa_name(&(cpu)->head);              \
        hold_cpu_levels_##isa_name(&(cpu)->levels);          \
        (cpu)->state.peak_gflops = hold_cpu_peak_##isa_name; \
        (cpu)->gemm = (cpu)->products.gemm;                  \
        (cpu)->state.isa = #isa_name;                        \
    } while (0)

/* What multiplies bf16: the best there is, or what is named; the name of a plain instruction set
 * stands for its emulation.  Without `unit` after this, the machine has no such thing. */
static void pick_unit(struct hold_cpu *cpu, const char *name) {
    const struct hold_bf16_unit *unit = cpu->bf16_products.emulation;
#if defined(__x86_64__)
    const struct hold_bf16_unit *(*const others[])(void) = {hold_bf16_avx512, hold_bf16_amx};
    bool avx512 = strcmp(cpu->state.isa, "avx512") == 0;
    for (size_t i = 0; avx512 && i < sizeof others / sizeof *others; i++) {
        const struct hold_bf16_unit *other = others[i]();
        if (other != NULL && (!name || strcmp(name, other->name) == 0))
            unit = other;
    }
#endif
    cpu->bf16 = unit;
    cpu->state.bf16_unit = unit->name;
}

/* The best set that the machine has, or the one that is asked for by name. */
static int pick_isa(struct hold_cpu *cpu, const char *isa, struct hold_error *err) {
    const char *const units[] = {"avx512_bf16", "amx"}; /* the rest of their kernels is avx512 */
    const char *best = "portable", *name = isa && strcmp(isa, "auto") != 0 ? isa : NULL;
    bool is_unit = name && (strcmp(name, units[0]) == 0 || strcmp(name, units[1]) == 0);
    isa = is_unit ? "avx512" : name;
    if (!isa || strcmp(isa, "portable") == 0)
        FILL(portable, cpu);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        best = "avx2";
        if (!isa || strcmp(isa, "avx2") == 0)
            FILL(avx2, cpu);
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
            best = "avx512";
            if (!isa || strcmp(isa, "avx512") == 0)
                FILL(avx512, cpu);
        }
    }
#endif
    if (cpu->state.isa)
        pick_unit(cpu, name);
    if (!cpu->state.isa ? is_unit || strcmp(isa, "avx2") == 0 || strcmp(isa, "avx512") == 0
                        : is_unit && strcmp(cpu->bf16->name, name) != 0)
        return hold_fail(err, HOLD_EUSAGE, "isa: this machine has no %s", name);
    if (!cpu->state.isa)
        return hold_fail(
            err, HOLD_EUSAGE,
            "isa: found '%s', expected auto, portable, avx2, avx512, avx512_bf16 or amx", name);
#if defined(HOLD_DNNL)
    if (strcmp(best, "portable") != 0 && strcmp(cpu->state.isa, best) == 0)
        cpu->gemm = hold_cpu_gemm_dnnl;
#else
    (void)best;
#endif
    return HOLD_OK;
}

/* As hold_cpu_peak of an instruction set: each thread's best of many short runs, added. */
static double peak_bf16(struct hold_device *d) {
    const struct hold_bf16_unit *unit = hold_cpu(d)->bf16;
    const int64_t rounds = 20000;
    const double long_enough = 0.1;
    double total = 0;
    if (!unit->peak_loop)
        return hold_device_peak_gflops(d);
#pragma omp parallel reduction(+ : total) num_threads(d->threads)
    {
        double begin = hold_clock_now(), now = begin, best = INFINITY, flop = 0;
        while (now - begin < long_enough) {
            double start = now;
            flop = unit->peak_loop(rounds);
            now = hold_clock_now();
            best = now - start < best ? now - start : best;
        }
        total += 1e-9 * flop / best;
    }
    return total;
}

static int cpu_new(struct hold_device **out, int threads, const char *isa, bool guarded,
                   struct hold_error *err) {
    *out = NULL;
    if (threads < 1 || threads > 1024)
        return hold_fail(err, HOLD_EUSAGE, "threads: found %d, expected 1 to 1024", threads);
    void *memory;
    int code = hold_new(&memory, 1, sizeof(struct hold_cpu), "the device", err);
    if (code)
        return code;
    struct hold_cpu *cpu = memory;
    cpu->kernels = (struct hold_kernels){
        .alloc = cpu_alloc,
        .release = cpu_release,
        .write = cpu_write,
        .read = cpu_read,
        .copy = cpu_copy,
        .zero = cpu_zero,
        .sync = hold_device_sync,
        .gemm = cpu_gemm,
        .gemm_live = cpu_gemm_live,
        .weight_new = cpu_weight_new,
        .weight_free = cpu_weight_free,
        .weight_refine = cpu_weight_refine,
        .weight_levels = cpu_weight_levels,
        .weight_forward = cpu_weight_forward,
        .weight_argmax = cpu_weight_argmax,
        .weight_logp = cpu_weight_logp,
        .weight_backward = cpu_weight_backward,
    };
    code = pick_isa(cpu, isa, err);
    if (code) {
        hold_free(cpu);
        return code;
    }
    cpu->state.peak_bf16_gflops = peak_bf16;
    cpu->guarded = guarded;
    if (guarded)
        hold_cpu_guard(cpu);
    cpu->state.destroy = cpu_destroy;
    cpu->state.device =
        (struct hold_device){guarded ? "cpu-guarded" : "cpu", &cpu->kernels, threads};
    *out = &cpu->state.device;
    return HOLD_OK;
}

/* OpenMP keeps its threads, and they keep their mask: blocked, see gemm_dnnl.c. */
static void start_team(int threads) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
#pragma omp parallel num_threads(threads)
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

int hold_cpu_new(struct hold_device **out, int threads, const char *isa, struct hold_error *err) {
    int rc = cpu_new(out, threads, isa, false, err);
    if (rc == HOLD_OK)
        start_team(threads);
    return rc;
}

int hold_cpu_new_guarded(struct hold_device **out, int threads, struct hold_error *err) {
    int rc = cpu_new(out, threads, NULL, true, err);
    if (rc == HOLD_OK)
        start_team(threads);
    return rc;
}
