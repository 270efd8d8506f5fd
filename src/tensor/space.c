/* space.c: the arena in device memory that tensors are cut from. */
#include "tensor/tensor.h"

enum { ALIGN = 64 };
static const int64_t MIN_CHUNK = (int64_t)16 << 20;

void hold_space_init(struct hold_space *s, struct hold_device *device) {
    *s = (struct hold_space){.device = device};
}

static int64_t round_up(int64_t bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static int grow(struct hold_space *s, int64_t bytes, struct hold_error *err) {
    if (s->n_chunks == HOLD_SPACE_CHUNKS)
        return hold_fail(err, HOLD_ENOMEMORY, "more than %d blocks of device memory are in use",
                         HOLD_SPACE_CHUNKS);
    int rc = s->device->k->alloc(s->device, bytes, &s->base[s->n_chunks], err);
    if (rc < 0)
        return rc;
    s->bytes[s->n_chunks++] = bytes;
    return HOLD_OK;
}

/* Bytes in use: whole chunks before the current one count as used. */
static int64_t in_use(const struct hold_space *s) {
    int64_t sum = s->used;
    for (int i = 0; i < s->chunk; i++)
        sum += s->bytes[i];
    return sum;
}

int hold_space_cut(struct hold_space *s, int64_t bytes, struct hold_ptr *out,
                   struct hold_error *err) {
    if (bytes < 0 || bytes > INT64_MAX - ALIGN)
        return hold_fail(err, HOLD_ENOMEMORY, "a tensor of %lld bytes was asked for",
                         (long long)bytes);
    int64_t need = round_up(bytes > 0 ? bytes : 1);
    while (s->chunk < s->n_chunks && s->used + need > s->bytes[s->chunk]) {
        s->chunk++;
        s->used = 0;
    }
    if (s->chunk == s->n_chunks) {
        /* Doubling keeps the number of chunks small when no reserve was made. */
        int64_t total = 0;
        for (int i = 0; i < s->n_chunks; i++)
            total += s->bytes[i];
        int64_t chunk = need > MIN_CHUNK ? need : MIN_CHUNK;
        if (chunk < total / 2)
            chunk = round_up(total / 2);
        int rc = grow(s, chunk, err);
        if (rc < 0)
            return rc;
    }
    *out = hold_at(s->base[s->chunk], s->used);
    s->used += need;
    int64_t now = in_use(s);
    if (now > s->high)
        s->high = now;
    return HOLD_OK;
}

int hold_space_reserve(struct hold_space *s, int64_t bytes, struct hold_error *err) {
    int64_t largest = 0;
    for (int i = 0; i < s->n_chunks; i++)
        largest = s->bytes[i] > largest ? s->bytes[i] : largest;
    if (largest >= bytes)
        return HOLD_OK;
    hold_space_release(s);
    return grow(s, round_up(bytes), err);
}

struct hold_space_mark hold_space_mark(const struct hold_space *s) {
    return (struct hold_space_mark){s->chunk, s->used};
}

void hold_space_rewind(struct hold_space *s, struct hold_space_mark mark) {
    s->chunk = mark.chunk;
    s->used = mark.used;
}

void hold_space_release(struct hold_space *s) {
    for (int i = 0; i < s->n_chunks; i++)
        s->device->k->release(s->device, s->base[i]);
    int64_t high = s->high;
    hold_space_init(s, s->device);
    s->high = high;
}
