/* gguf.c: the GGUF reader: one checked pass over header, metadata and tensor directory. */
#include "formats/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "formats/magic.h"

/* Bounds of our own, far above real files, so that no count makes the pass slow. */
enum {
    MAX_KEYS = 1 << 16,
    MAX_TENSORS = 1 << 18,
    MAX_ITEMS = 1 << 26, /* array items of the whole file */
    MAX_KEY_BYTES = 65535,
    MAX_NAME_BYTES = 64,
    MAX_ALIGNMENT = 1 << 20,
    DEFAULT_ALIGNMENT = 32
};

enum gguf_type {
    GT_U8,
    GT_I8,
    GT_U16,
    GT_I16,
    GT_U32,
    GT_I32,
    GT_F32,
    GT_BOOL,
    GT_TEXT,
    GT_ARRAY,
    GT_U64,
    GT_I64,
    GT_F64,
    GT_COUNT
};

static const struct {
    const char *name;
    int bytes; /* 0: no fixed size */
} VALUE_TYPES[GT_COUNT] = {
    [GT_U8] = {"uint8", 1},    [GT_I8] = {"int8", 1},    [GT_U16] = {"uint16", 2},
    [GT_I16] = {"int16", 2},   [GT_U32] = {"uint32", 4}, [GT_I32] = {"int32", 4},
    [GT_F32] = {"float32", 4}, [GT_BOOL] = {"bool", 1},  [GT_TEXT] = {"string", 0},
    [GT_ARRAY] = {"array", 0}, [GT_U64] = {"uint64", 8}, [GT_I64] = {"int64", 8},
    [GT_F64] = {"float64", 8},
};

/* ggml's tensor type numbers. Those without a stored type are refused by their name. */
static const struct {
    const char *name;
    int type; /* enum hold_stored_type, or -1 */
} GGML_TYPES[] = {
    {"F32", HOLD_ST_F32},
    {"F16", HOLD_ST_F16},
    {"Q4_0", HOLD_ST_Q4_0},
    {"Q4_1", HOLD_ST_Q4_1},
    {"Q4_2", -1},
    {"Q4_3", -1},
    {"Q5_0", HOLD_ST_Q5_0},
    {"Q5_1", HOLD_ST_Q5_1},
    {"Q8_0", HOLD_ST_Q8_0},
    {"Q8_1", -1},
    {"Q2_K", -1},
    {"Q3_K", -1},
    {"Q4_K", HOLD_ST_Q4_K},
    {"Q5_K", HOLD_ST_Q5_K},
    {"Q6_K", HOLD_ST_Q6_K},
    {"Q8_K", -1},
    {"IQ2_XXS", -1},
    {"IQ2_XS", -1},
    {"IQ3_XXS", -1},
    {"IQ1_S", -1},
    {"IQ4_NL", -1},
    {"IQ3_S", -1},
    {"IQ2_S", -1},
    {"IQ4_XS", -1},
    {"I8", -1},
    {"I16", -1},
    {"I32", HOLD_ST_I32},
    {"I64", HOLD_ST_I64},
    {"F64", HOLD_ST_F64},
    {"IQ1_M", -1},
    {"BF16", HOLD_ST_BF16},
    {"Q4_0_4_4", -1},
    {"Q4_0_4_8", -1},
    {"Q4_0_8_8", -1},
    {"TQ1_0", -1},
    {"TQ2_0", -1},
    {"IQ4_NL_4_4", -1},
    {"IQ4_NL_4_8", -1},
    {"IQ4_NL_8_8", -1},
    {"MXFP4", -1},
};

struct value {
    const char *key;
    enum gguf_type type, item; /* item: of an array */
    const uint8_t *at;         /* a scalar's bytes in the file */
    const uint8_t *raw;        /* the whole value's, behind its type */
    size_t n_raw;
    const char *text;
    int64_t n; /* bytes of a text, items of an array */
    const char *const *texts;
    const int32_t *lengths;
    const int32_t *ints;
    const float *reals;
    int64_t wide; /* of an array of integers: 1 + the first item that does not fit in 32 bits */
};

struct hold_gguf {
    struct hold_map map;
    struct hold_arena arena; /* everything below */
    struct value *values;
    int64_t n_values;
    struct hold_stored *tensors;
    uint64_t *offsets; /* of each tensor, from the start of the data */
    int64_t n_tensors, items;
};

/* The pass over the file. */
struct cursor {
    struct hold_gguf *g;
    const char *path;
    const uint8_t *data;
    uint64_t size, at;
    uint32_t version;
};

static int no_memory(const struct cursor *c, struct hold_error *err) {
    return hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the metadata", c->path);
}

static int take(struct cursor *c, uint64_t n, const char *what, const uint8_t **out,
                struct hold_error *err) {
    *out = c->data + c->at;
    if (n > c->size - c->at) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: byte %llu: %s needs %llu bytes, found %llu to the end of the file",
                         c->path, (unsigned long long)c->at, what, (unsigned long long)n,
                         (unsigned long long)(c->size - c->at));
    }
    c->at += n;
    return HOLD_OK;
}

static int take_u32(struct cursor *c, const char *what, uint32_t *out, struct hold_error *err) {
    const uint8_t *p;
    *out = 0;
    int rc = take(c, sizeof *out, what, &p, err);
    if (!rc) {
        memcpy(out, p, sizeof *out);
    }
    return rc;
}

static int take_u64(struct cursor *c, const char *what, uint64_t *out, struct hold_error *err) {
    const uint8_t *p;
    *out = 0;
    int rc = take(c, sizeof *out, what, &p, err);
    if (!rc) {
        memcpy(out, p, sizeof *out);
    }
    return rc;
}

/* A count of things of at least `least` bytes each. */
static int take_count(struct cursor *c, const char *what, uint64_t most, uint64_t least,
                      int64_t *out, struct hold_error *err) {
    uint64_t at = c->at, n;
    int rc = take_u64(c, what, &n, err);
    if (rc) {
        return rc;
    }
    if (n > most || n > (c->size - c->at) / least) {
        return hold_fail(err, HOLD_EFORMAT, "%s: byte %llu: %s is %llu, expected at most %llu",
                         c->path, (unsigned long long)at, what, (unsigned long long)n,
                         (unsigned long long)(most < (c->size - c->at) / least
                                                  ? most
                                                  : (c->size - c->at) / least));
    }
    *out = (int64_t)n;
    return HOLD_OK;
}

/* A key or a tensor name: short, not empty, UTF-8 without NUL. */
static int take_name(struct cursor *c, const char *what, uint64_t most, const char **out,
                     struct hold_error *err) {
    uint64_t at = c->at, n;
    const uint8_t *p;
    int rc = take_u64(c, what, &n, err);
    if (!rc && (n == 0 || n > most)) {
        rc = hold_fail(
            err, HOLD_EFORMAT, "%s: byte %llu: %s of %llu bytes, expected 1 to %llu bytes", c->path,
            (unsigned long long)at, what, (unsigned long long)n, (unsigned long long)most);
    }
    if (!rc) {
        rc = take(c, n, what, &p, err);
    }
    if (rc) {
        return rc;
    }
    if (memchr(p, 0, (size_t)n) || hold_utf8_check(p, (size_t)n) >= 0) {
        return hold_fail(err, HOLD_EFORMAT, "%s: byte %llu: %s is not UTF-8 text", c->path,
                         (unsigned long long)at, what);
    }
    *out = hold_arena_strndup(&c->g->arena, (const char *)p, (size_t)n);
    return *out ? HOLD_OK : no_memory(c, err);
}

static int take_type(struct cursor *c, const char *key, enum gguf_type *out,
                     struct hold_error *err) {
    uint32_t type;
    int rc = take_u32(c, "a value type", &type, err);
    if (!rc && type >= GT_COUNT) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: %s: value type %u is not known", c->path, key, type);
    }
    *out = (enum gguf_type)type;
    return rc;
}

/* ---- values ---- */

static int64_t int_at(enum gguf_type type, const uint8_t *p) {
    union {
        int8_t i8;
        int16_t i16;
        uint16_t u16;
        int32_t i32;
        uint32_t u32;
        int64_t i64;
    } u = {0};
    memcpy(&u, p, (size_t)VALUE_TYPES[type].bytes);
    switch (type) {
    case GT_I8:
        return u.i8;
    case GT_I16:
        return u.i16;
    case GT_U16:
        return u.u16;
    case GT_I32:
        return u.i32;
    case GT_U32:
        return u.u32;
    case GT_I64:
    case GT_U64:
        return u.i64;
    default:
        return p[0];
    }
}

static double real_at(enum gguf_type type, const uint8_t *p) {
    float f;
    double d;
    if (type == GT_F32) {
        memcpy(&f, p, sizeof f);
        return (double)f;
    }
    memcpy(&d, p, sizeof d);
    return d;
}

static bool is_real(enum gguf_type type) {
    return type == GT_F32 || type == GT_F64;
}

static int check_bool(const struct cursor *c, const char *key, const uint8_t *p, int64_t n,
                      struct hold_error *err) {
    for (int64_t i = 0; i < n; i++) {
        if (p[i] > 1) {
            return hold_fail(err, HOLD_EFORMAT, "%s: %s: found %u for a bool, expected 0 or 1",
                             c->path, key, p[i]);
        }
    }
    return HOLD_OK;
}

/* Strings of an array: one pass to check and measure, one to copy. */
static int take_texts(struct cursor *c, struct value *v, struct hold_error *err) {
    uint64_t start = c->at, total = 0, n;
    const uint8_t *p;
    for (int64_t i = 0; i < v->n; i++) {
        int rc = take_u64(c, v->key, &n, err);
        if (!rc && n > INT32_MAX - 1) {
            rc = hold_fail(err, HOLD_EFORMAT, "%s: %s: string %lld of %llu bytes is too long",
                           c->path, v->key, (long long)i, (unsigned long long)n);
        }
        if (!rc) {
            rc = take(c, n, v->key, &p, err);
        }
        if (rc) {
            return rc;
        }
        total += n + 1;
    }
    char *bytes = hold_arena_alloc(&c->g->arena, (size_t)total);
    const char **texts = hold_arena_alloc(&c->g->arena, (size_t)v->n * sizeof *texts);
    int32_t *lengths = hold_arena_alloc(&c->g->arena, (size_t)v->n * sizeof *lengths);
    if (!bytes || !texts || !lengths) {
        return no_memory(c, err);
    }
    p = c->data + start;
    for (int64_t i = 0; i < v->n; i++) {
        memcpy(&n, p, sizeof n);
        memcpy(bytes, p + sizeof n, (size_t)n);
        texts[i] = bytes;
        lengths[i] = (int32_t)n;
        bytes += n + 1;
        p += sizeof n + n;
    }
    v->texts = texts;
    v->lengths = lengths;
    return HOLD_OK;
}

static int take_numbers(struct cursor *c, struct value *v, struct hold_error *err) {
    int size = VALUE_TYPES[v->item].bytes;
    const uint8_t *p;
    int rc = take(c, (uint64_t)v->n * (uint64_t)size, v->key, &p, err);
    if (!rc && v->item == GT_BOOL) {
        rc = check_bool(c, v->key, p, v->n, err);
    }
    if (rc) {
        return rc;
    }
    if (is_real(v->item)) {
        float *reals = hold_arena_alloc(&c->g->arena, (size_t)v->n * sizeof *reals);
        for (int64_t i = 0; reals && i < v->n; i++) {
            reals[i] = (float)real_at(v->item, p + i * size);
        }
        v->reals = reals;
        return reals ? HOLD_OK : no_memory(c, err);
    }
    int32_t *ints = hold_arena_alloc(&c->g->arena, (size_t)v->n * sizeof *ints);
    if (!ints) {
        return no_memory(c, err);
    }
    for (int64_t i = 0; i < v->n; i++) {
        int64_t x = int_at(v->item, p + i * size);
        if ((x < INT32_MIN || x > INT32_MAX) && v->wide == 0) {
            v->wide = i + 1; /* no fault of an array that nobody asks for */
        }
        ints[i] = v->wide > 0 ? 0 : (int32_t)x;
    }
    v->ints = ints;
    return HOLD_OK;
}

static int take_array(struct cursor *c, struct value *v, struct hold_error *err) {
    int rc = take_type(c, v->key, &v->item, err);
    if (!rc && v->item == GT_ARRAY) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: %s: an array of arrays is not allowed", c->path,
                       v->key);
    }
    if (!rc) {
        uint64_t least = v->item == GT_TEXT ? 8 : (uint64_t)VALUE_TYPES[v->item].bytes;
        rc = take_count(c, v->key, (uint64_t)(MAX_ITEMS - c->g->items), least, &v->n, err);
    }
    if (rc) {
        return rc;
    }
    c->g->items += v->n;
    return v->item == GT_TEXT ? take_texts(c, v, err) : take_numbers(c, v, err);
}

static int take_content(struct cursor *c, struct value *v, struct hold_error *err) {
    const uint8_t *p;
    int rc = HOLD_OK;
    if (v->type == GT_ARRAY) {
        return take_array(c, v, err);
    }
    if (v->type == GT_TEXT) {
        rc = take_count(c, v->key, INT32_MAX - 1, 1, &v->n, err);
        if (!rc) {
            rc = take(c, (uint64_t)v->n, v->key, &p, err);
        }
        char *copy = rc ? NULL : hold_arena_alloc(&c->g->arena, (size_t)v->n + 1);
        if (copy) {
            memcpy(copy, p, (size_t)v->n);
        }
        v->text = copy;
        return rc ? rc : copy ? HOLD_OK : no_memory(c, err);
    }
    rc = take(c, (uint64_t)VALUE_TYPES[v->type].bytes, v->key, &v->at, err);
    return !rc && v->type == GT_BOOL ? check_bool(c, v->key, v->at, 1, err) : rc;
}

static int take_value(struct cursor *c, struct value *v, struct hold_error *err) {
    int rc = take_name(c, "a metadata key", MAX_KEY_BYTES, &v->key, err);
    if (!rc) {
        rc = take_type(c, v->key, &v->type, err);
    }
    uint64_t from = c->at;
    if (!rc) {
        rc = take_content(c, v, err);
    }
    v->raw = c->data + from;
    v->n_raw = (size_t)(c->at - from);
    return rc;
}

static int by_text(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static int refuse_twice(const struct cursor *c, struct hold_error *err) {
    void *memory = NULL;
    int64_t n = c->g->n_values;
    int rc = hold_new(&memory, (size_t)n + 1, sizeof(char *), "an index of metadata keys", err);
    const char **keys = memory;
    for (int64_t i = 0; !rc && i < n; i++) {
        keys[i] = c->g->values[i].key;
    }
    if (!rc) {
        qsort(keys, (size_t)n, sizeof *keys, by_text);
    }
    for (int64_t i = 1; !rc && i < n; i++) {
        if (strcmp(keys[i - 1], keys[i]) == 0) {
            rc = hold_fail(err, HOLD_EFORMAT, "%s: metadata key %s is there twice", c->path,
                           keys[i]);
        }
    }
    hold_free(memory);
    return rc;
}

/* ---- tensors ---- */

static int take_tensor(struct cursor *c, struct hold_stored *t, uint64_t *offset,
                       struct hold_error *err) {
    uint32_t n_dims, type;
    int rc = take_name(c, "a tensor name", MAX_NAME_BYTES, &t->name, err);
    if (!rc) {
        rc = take_u32(c, "a tensor's number of dimensions", &n_dims, err);
    }
    if (rc) {
        return rc;
    }
    if (n_dims < 1 || n_dims > 4) {
        return hold_fail(err, HOLD_EFORMAT, "%s: tensor %s: %u dimensions, expected 1 to 4",
                         c->path, t->name, n_dims);
    }
    t->n_dims = (int)n_dims;
    for (int i = t->n_dims - 1; i >= 0; i--) { /* innermost first in the file */
        uint64_t d;
        rc = take_u64(c, "a tensor's dimension", &d, err);
        if (!rc && (d == 0 || d > INT64_MAX)) {
            rc = hold_fail(err, HOLD_EFORMAT,
                           "%s: tensor %s: a dimension of %llu, expected 1 or more", c->path,
                           t->name, (unsigned long long)d);
        }
        if (rc) {
            return rc;
        }
        t->dim[i] = (int64_t)d;
    }
    rc = take_u32(c, "a tensor's type", &type, err);
    if (!rc && type >= sizeof GGML_TYPES / sizeof *GGML_TYPES) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: tensor %s: type number %u is not known", c->path,
                       t->name, type);
    } else if (!rc && GGML_TYPES[type].type < 0) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED,
                       "%s: tensor %s: type %s is not supported; expected F32, F16, BF16, Q4_0, "
                       "Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K",
                       c->path, t->name, GGML_TYPES[type].name);
    }
    if (rc) {
        return rc;
    }
    t->type = (enum hold_stored_type)GGML_TYPES[type].type;
    rc = hold_stored_measure(t, c->path, err);
    return rc ? rc : take_u64(c, "a tensor's offset", offset, err);
}

/* The data must follow the directory without gap, overlap or rest: each tensor where the one
 * before it (padded) ends, and the file's end at the last one's. */
static int place_tensors(struct cursor *c, uint64_t alignment, struct hold_error *err) {
    struct hold_gguf *g = c->g;
    uint64_t start = (c->at + alignment - 1) / alignment * alignment, at = 0, end = 0;
    for (int64_t i = 0; i < g->n_tensors; i++) {
        struct hold_stored *t = &g->tensors[i];
        if (g->offsets[i] != at) {
            return hold_fail(
                err, HOLD_EFORMAT,
                "%s: tensor %s: offset %llu, expected %llu (the end of the one before)", c->path,
                t->name, (unsigned long long)g->offsets[i], (unsigned long long)at);
        }
        if (start > c->size || at > c->size - start || t->bytes > c->size - start - at) {
            return hold_fail(err, HOLD_EFORMAT,
                             "%s: tensor %s: %llu bytes at byte %llu, but the file has %llu",
                             c->path, t->name, (unsigned long long)t->bytes,
                             (unsigned long long)(start + at), (unsigned long long)c->size);
        }
        t->data = c->data + start + at;
        end = at + t->bytes;
        at = (end + alignment - 1) / alignment * alignment;
    }
    uint64_t last = g->n_tensors > 0 ? start + end : c->at;
    if (c->size - last >= alignment) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: byte %llu: %llu bytes after the last tensor, expected none", c->path,
                         (unsigned long long)last, (unsigned long long)(c->size - last));
    }
    return HOLD_OK;
}

static int read_tensors(struct cursor *c, struct hold_error *err) {
    struct hold_gguf *g = c->g;
    g->tensors = hold_arena_alloc(&g->arena, (size_t)g->n_tensors * sizeof *g->tensors);
    g->offsets = hold_arena_alloc(&g->arena, (size_t)g->n_tensors * sizeof *g->offsets);
    if (!g->tensors || !g->offsets) {
        return no_memory(c, err);
    }
    for (int64_t i = 0; i < g->n_tensors; i++) {
        int rc = take_tensor(c, &g->tensors[i], &g->offsets[i], err);
        if (rc) {
            return rc;
        }
    }
    const struct hold_stored **sorted = NULL;
    int rc = hold_stored_sort(g->tensors, g->n_tensors, c->path, &sorted, err);
    hold_free(sorted);
    int64_t alignment = 0;
    if (!rc) {
        rc = hold_gguf_int_or(g, "general.alignment", DEFAULT_ALIGNMENT, &alignment, err);
    }
    if (!rc && (alignment < 8 || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1)))) {
        rc = hold_fail(err, HOLD_EFORMAT,
                       "%s: general.alignment: found %lld, expected a power of two from 8 to %d",
                       c->path, (long long)alignment, MAX_ALIGNMENT);
    }
    return rc ? rc : place_tensors(c, (uint64_t)alignment, err);
}

/* ---- the file ---- */

static int read_header(struct cursor *c, struct hold_error *err) {
    const uint8_t *magic;
    int rc = hold_magic_refuse(c->data, (size_t)c->size, c->path, err);
    if (!rc) {
        rc = take(c, 4, "the magic", &magic, err);
    }
    if (!rc && memcmp(magic, "GGUF", 4) != 0) {
        rc =
            hold_fail(err, HOLD_EFORMAT, "%s: byte 0: found %02x %02x %02x %02x, expected \"GGUF\"",
                      c->path, magic[0], magic[1], magic[2], magic[3]);
    }
    if (!rc) {
        rc = take_u32(c, "the version", &c->version, err);
    }
    if (!rc && c->version != 2 && c->version != 3) {
        rc = hold_fail(err, HOLD_EUNSUPPORTED, "%s: GGUF version %u%s, expected 2 or 3", c->path,
                       c->version,
                       c->version == 0x02000000 || c->version == 0x03000000 ? " (big-endian)" : "");
    }
    /* A tensor's entry is at least a name (9 bytes), 4 + 8 of shape, type and offset. */
    if (!rc) {
        rc = take_count(c, "the number of tensors", MAX_TENSORS, 33, &c->g->n_tensors, err);
    }
    if (!rc) {
        rc = take_count(c, "the number of metadata keys", MAX_KEYS, 14, &c->g->n_values, err);
    }
    return rc;
}

static int read_all(struct cursor *c, struct hold_error *err) {
    struct hold_gguf *g = c->g;
    int rc = read_header(c, err);
    if (rc) {
        return rc;
    }
    g->values = hold_arena_alloc(&g->arena, (size_t)g->n_values * sizeof *g->values);
    if (!g->values) {
        return no_memory(c, err);
    }
    for (int64_t i = 0; !rc && i < g->n_values; i++) {
        rc = take_value(c, &g->values[i], err);
    }
    if (!rc) {
        rc = refuse_twice(c, err);
    }
    return rc ? rc : read_tensors(c, err);
}

int hold_gguf_open(struct hold_gguf **out, const char *path, struct hold_error *err) {
    *out = NULL;
    void *memory = NULL;
    int rc = hold_new(&memory, 1, sizeof(struct hold_gguf), "a GGUF file", err);
    if (rc) {
        return rc;
    }
    struct hold_gguf *g = memory;
    hold_arena_init(&g->arena, 0);
    rc = hold_map_open(&g->map, path, err);
    if (!rc) {
        struct cursor c = {.g = g, .path = g->map.path, .data = g->map.data, .size = g->map.bytes};
        rc = read_all(&c, err);
    }
    if (rc) {
        hold_gguf_free(g);
        return rc;
    }
    *out = g;
    return HOLD_OK;
}

void hold_gguf_free(struct hold_gguf *g) {
    if (g) {
        hold_map_release(&g->map);
        hold_arena_release(&g->arena);
        hold_free(g);
    }
}

const struct hold_map *hold_gguf_map(const struct hold_gguf *g) {
    return &g->map;
}

const struct hold_stored *hold_gguf_tensors(const struct hold_gguf *g, int64_t *n) {
    *n = g->n_tensors;
    return g->tensors;
}

/* ---- look-ups ---- */

static const struct value *find(const struct hold_gguf *g, const char *key) {
    for (int64_t i = 0; i < g->n_values; i++) {
        if (strcmp(g->values[i].key, key) == 0) {
            return &g->values[i];
        }
    }
    return NULL;
}

static int wrong_type(const struct hold_gguf *g, const struct value *v, const char *expected,
                      struct hold_error *err) {
    bool array = v->type == GT_ARRAY;
    return hold_fail(err, HOLD_EFORMAT, "%s: %s: found %s%s, expected %s", g->map.path, v->key,
                     array ? "an array of " : "", VALUE_TYPES[array ? v->item : v->type].name,
                     expected);
}

bool hold_gguf_has(const struct hold_gguf *g, const char *key) {
    return find(g, key) != NULL;
}

bool hold_gguf_is_array(const struct hold_gguf *g, const char *key) {
    const struct value *v = find(g, key);
    return v && v->type == GT_ARRAY;
}

bool hold_gguf_entry(const struct hold_gguf *g, int64_t i, struct hold_gguf_entry *out) {
    if (i < 0 || i >= g->n_values) {
        return false;
    }
    const struct value *v = &g->values[i];
    *out = (struct hold_gguf_entry){v->key, v->type, v->raw, v->n_raw};
    return true;
}

int hold_gguf_int_or(const struct hold_gguf *g, const char *key, int64_t def, int64_t *out,
                     struct hold_error *err) {
    const struct value *v = find(g, key);
    *out = def;
    if (!v) {
        return HOLD_OK;
    }
    if (v->type == GT_TEXT || v->type == GT_ARRAY || is_real(v->type)) {
        return wrong_type(g, v, "an integer", err);
    }
    *out = int_at(v->type, v->at);
    if (v->type == GT_U64 && *out < 0) {
        return hold_fail(err, HOLD_EFORMAT, "%s: %s: the number is too large", g->map.path, key);
    }
    return HOLD_OK;
}

int hold_gguf_real_or(const struct hold_gguf *g, const char *key, double def, double *out,
                      struct hold_error *err) {
    const struct value *v = find(g, key);
    *out = def;
    if (!v) {
        return HOLD_OK;
    }
    if (!is_real(v->type)) {
        return wrong_type(g, v, "a real number", err);
    }
    *out = real_at(v->type, v->at);
    return HOLD_OK;
}

int hold_gguf_text_or(const struct hold_gguf *g, const char *key, const char *def, const char **out,
                      struct hold_error *err) {
    const struct value *v = find(g, key);
    *out = def;
    if (!v) {
        return HOLD_OK;
    }
    if (v->type != GT_TEXT) {
        return wrong_type(g, v, "a string", err);
    }
    if (strlen(v->text) != (size_t)v->n || hold_utf8_check(v->text, (size_t)v->n) >= 0) {
        return hold_fail(err, HOLD_EFORMAT, "%s: %s: the string is not UTF-8 text", g->map.path,
                         key);
    }
    *out = v->text;
    return HOLD_OK;
}

static int find_array(const struct hold_gguf *g, const char *key, const struct value **out,
                      struct hold_error *err) {
    *out = find(g, key);
    if (!*out) {
        return hold_fail(err, HOLD_ENOTFOUND, "%s: metadata key %s is missing", g->map.path, key);
    }
    return HOLD_OK;
}

int hold_gguf_texts(const struct hold_gguf *g, const char *key, const char *const **items,
                    const int32_t **lengths, int64_t *n, struct hold_error *err) {
    const struct value *v;
    int rc = find_array(g, key, &v, err);
    if (!rc && !v->texts) {
        rc = wrong_type(g, v, "an array of strings", err);
    }
    if (!rc) {
        *items = v->texts;
        *lengths = v->lengths;
        *n = v->n;
    }
    return rc;
}

int hold_gguf_ints(const struct hold_gguf *g, const char *key, const int32_t **items, int64_t *n,
                   struct hold_error *err) {
    const struct value *v;
    int rc = find_array(g, key, &v, err);
    if (!rc && !v->ints) {
        rc = wrong_type(g, v, "an array of integers", err);
    }
    if (!rc && v->wide > 0) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: %s: item %lld does not fit in 32 bits", g->map.path,
                       key, (long long)v->wide - 1);
    }
    if (!rc) {
        *items = v->ints;
        *n = v->n;
    }
    return rc;
}

int hold_gguf_reals(const struct hold_gguf *g, const char *key, const float **items, int64_t *n,
                    struct hold_error *err) {
    const struct value *v;
    int rc = find_array(g, key, &v, err);
    if (!rc && !v->reals) {
        rc = wrong_type(g, v, "an array of real numbers", err);
    }
    if (!rc) {
        *items = v->reals;
        *n = v->n;
    }
    return rc;
}
