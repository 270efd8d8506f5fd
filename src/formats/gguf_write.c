/* gguf_write.c: the GGUF writer: metadata is gathered in memory, then header, keys, tensor
 * directory and data go to a temporary name until all is on the disk. */
#include "formats/gguf_write.h"

#include <string.h>

#include "base/file.h"
#include "base/mem.h"

enum {
    VERSION = 3,
    ALIGNMENT = 32, /* the default, which needs no key */
    CHUNK = 1 << 15 /* numbers converted at a time; a multiple of every block */
};

/* Numbers of the value types that are written. */
enum { TYPE_U32 = 4, TYPE_I32 = 5, TYPE_F32 = 6, TYPE_BOOL = 7, TYPE_TEXT = 8, TYPE_ARRAY = 9 };

/* ---- metadata ---- */

void hold_gguf_keys_release(struct hold_gguf_keys *k) {
    hold_str_release(&k->bytes);
    *k = (struct hold_gguf_keys){0};
}

static void add_u32(struct hold_str *s, uint32_t x) {
    hold_str_add_bytes(s, &x, sizeof x);
}

static void add_u64(struct hold_str *s, uint64_t x) {
    hold_str_add_bytes(s, &x, sizeof x);
}

static void add_text(struct hold_str *s, const char *text) {
    size_t n = strlen(text);
    add_u64(s, n);
    hold_str_add_bytes(s, text, n);
}

static void begin(struct hold_gguf_keys *k, const char *key, uint32_t type) {
    add_text(&k->bytes, key);
    add_u32(&k->bytes, type);
    k->n++;
}

static void begin_array(struct hold_gguf_keys *k, const char *key, uint32_t item, int64_t n) {
    begin(k, key, TYPE_ARRAY);
    add_u32(&k->bytes, item);
    add_u64(&k->bytes, (uint64_t)n);
}

void hold_gguf_add_int(struct hold_gguf_keys *k, const char *key, uint32_t value) {
    begin(k, key, TYPE_U32);
    add_u32(&k->bytes, value);
}

void hold_gguf_add_bool(struct hold_gguf_keys *k, const char *key, bool value) {
    begin(k, key, TYPE_BOOL);
    hold_str_add_char(&k->bytes, value ? 1 : 0);
}

void hold_gguf_add_real(struct hold_gguf_keys *k, const char *key, double value) {
    float single = (float)value;
    begin(k, key, TYPE_F32);
    hold_str_add_bytes(&k->bytes, &single, sizeof single);
}

void hold_gguf_add_text(struct hold_gguf_keys *k, const char *key, const char *value) {
    begin(k, key, TYPE_TEXT);
    add_text(&k->bytes, value);
}

void hold_gguf_add_ints(struct hold_gguf_keys *k, const char *key, const int32_t *items,
                        int64_t n) {
    begin_array(k, key, TYPE_I32, n);
    hold_str_add_bytes(&k->bytes, items, (size_t)n * sizeof *items);
}

void hold_gguf_add_reals(struct hold_gguf_keys *k, const char *key, const float *items, int64_t n) {
    begin_array(k, key, TYPE_F32, n);
    hold_str_add_bytes(&k->bytes, items, (size_t)n * sizeof *items);
}

void hold_gguf_add_texts(struct hold_gguf_keys *k, const char *key, const char *const *items,
                         int64_t n) {
    begin_array(k, key, TYPE_TEXT, n);
    for (int64_t i = 0; i < n; i++) {
        add_text(&k->bytes, items[i]);
    }
}

void hold_gguf_add_entry(struct hold_gguf_keys *k, const struct hold_gguf_entry *entry) {
    begin(k, entry->key, entry->type);
    hold_str_add_bytes(&k->bytes, entry->bytes, entry->n);
}

/* ---- the file ---- */

struct output {
    struct hold_writer w;
    const struct hold_ctx *ctx;
    const struct hold_store_source *source;
    float *numbers; /* CHUNK */
    uint8_t *bytes; /* of CHUNK numbers in any type */
    uint64_t total; /* bytes of the whole file */
};

static uint64_t padded(uint64_t n) {
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* ggml's number of a stored type; -1: not written. */
static int ggml_type(enum hold_stored_type type) {
    switch (type) {
    case HOLD_ST_F32:
        return 0;
    case HOLD_ST_F16:
        return 1;
    case HOLD_ST_Q8_0:
        return 8;
    case HOLD_ST_BF16:
        return 30;
    default:
        return -1;
    }
}

/* A tensor's entry in the directory, its data at *at, which moves past it. */
static int add_tensor(struct hold_str *head, const struct hold_to_store *t, uint64_t *at,
                      const char *path, struct hold_error *err) {
    struct hold_stored s = {.name = t->name, .type = t->type, .n_dims = t->n_dims};
    int type = ggml_type(t->type);
    if (type < 0) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s: tensor %s: type %s cannot be written", path,
                         t->name, hold_stored_type_name(t->type));
    }
    memcpy(s.dim, t->dim, sizeof s.dim);
    int rc = hold_stored_measure(&s, path, err);
    if (rc) {
        return rc;
    }
    add_text(head, t->name);
    add_u32(head, (uint32_t)t->n_dims);
    for (int i = t->n_dims - 1; i >= 0; i--) { /* innermost first in the file */
        add_u64(head, (uint64_t)t->dim[i]);
    }
    add_u32(head, (uint32_t)type);
    add_u64(head, *at);
    *at = padded(*at + s.bytes);
    return HOLD_OK;
}

/* Everything before the data, padded. */
static int make_head(struct hold_str *head, const struct hold_gguf_keys *keys,
                     const struct hold_to_store *tensors, int64_t n, uint64_t *data,
                     const char *path, struct hold_error *err) {
    int rc = hold_str_check(&keys->bytes, err);
    hold_str_add(head, "GGUF");
    add_u32(head, VERSION);
    add_u64(head, (uint64_t)n);
    add_u64(head, keys->n);
    hold_str_add_bytes(head, hold_str_text(&keys->bytes), keys->bytes.len);
    *data = 0;
    for (int64_t i = 0; !rc && i < n; i++) {
        rc = add_tensor(head, &tensors[i], data, path, err);
    }
    while (!rc && !head->out_of_memory && head->len % ALIGNMENT != 0) {
        hold_str_add_char(head, 0);
    }
    return rc ? rc : hold_str_check(head, err);
}

static int check_room(const char *path, uint64_t bytes, struct hold_error *err) {
    uint64_t left = hold_disk_free(path);
    return left == 0 || bytes <= left
               ? HOLD_OK
               : hold_fail(err, HOLD_ENOSPACE, "%s: the file needs %.1f MB, %.1f MB are free", path,
                           (double)bytes / 1e6, (double)left / 1e6);
}

static int put_tensor(struct output *o, int64_t index, const struct hold_to_store *t,
                      struct hold_error *err) {
    static const char ZERO[ALIGNMENT] = {0};
    struct hold_stored s = {.dim = {t->dim[0], t->n_dims > 1 ? t->dim[1] : 1,
                                    t->n_dims > 2 ? t->dim[2] : 1, t->n_dims > 3 ? t->dim[3] : 1}};
    int64_t count = hold_stored_count(&s);
    for (int64_t done = 0; done < count; done += CHUNK) {
        int64_t n = count - done < CHUNK ? count - done : CHUNK;
        if (hold_stopped(o->ctx)) {
            return hold_fail(err, HOLD_EINTERRUPTED, "interrupted; nothing was written");
        }
        o->source->fetch(o->source->user, index, done, n, o->numbers);
        int64_t bad = hold_stored_from_f32(t->type, o->numbers, n, o->bytes);
        if (bad >= 0) {
            return hold_fail(err, HOLD_EDATA,
                             "%s: tensor %s: element %lld is %g, which %s cannot hold", o->w.path,
                             t->name, (long long)(done + bad), (double)o->numbers[bad],
                             hold_stored_type_name(t->type));
        }
        int rc = hold_writer_put(&o->w, o->bytes, (size_t)hold_stored_bytes(t->type, n), err);
        if (rc) {
            return rc;
        }
    }
    return hold_writer_put(&o->w, ZERO, (size_t)(padded(o->w.bytes) - o->w.bytes), err);
}

static void tell(const struct output *o) {
    if (o->ctx != NULL && o->ctx->progress != NULL) {
        o->ctx->progress(o->ctx->user, "writing", (int64_t)o->w.bytes, (int64_t)o->total, "", -1.0);
    }
}

int hold_gguf_write(const char *path, const struct hold_gguf_keys *keys,
                    const struct hold_to_store *tensors, int64_t n,
                    const struct hold_store_source *source, const struct hold_ctx *ctx,
                    struct hold_error *err) {
    struct output o = {.w = {.fd = -1}, .ctx = ctx, .source = source};
    struct hold_str head = HOLD_STR_INIT;
    void *numbers = NULL, *bytes = NULL;
    uint64_t data = 0;
    int rc = make_head(&head, keys, tensors, n, &data, path, err);
    o.total = head.len + data;
    if (!rc) {
        rc = hold_new(&numbers, CHUNK, sizeof *o.numbers, "a buffer to write with", err);
    }
    if (!rc) {
        rc = hold_new(&bytes, CHUNK, sizeof(float), "a buffer to write with", err);
    }
    if (!rc) {
        rc = check_room(path, o.total, err);
    }
    if (!rc) {
        rc = hold_writer_open(&o.w, path, err);
    }
    if (!rc) {
        rc = hold_writer_put(&o.w, head.data, head.len, err);
    }
    o.numbers = numbers;
    o.bytes = bytes;
    for (int64_t i = 0; !rc && i < n; i++) {
        rc = put_tensor(&o, i, &tensors[i], err);
        tell(&o);
    }
    if (!rc) {
        rc = hold_writer_commit(&o.w, err);
    }
    hold_writer_drop(&o.w);
    hold_str_release(&head);
    hold_free(numbers);
    hold_free(bytes);
    return rc;
}
