/* safetensors_write.c: the safetensors writer: header first, then the tensors in the given order,
 * under a temporary name until all is on the disk. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "formats/safetensors.h"

enum { CHUNK = 1 << 15 }; /* elements converted at a time */

static int describe(const struct hold_to_store *t, uint64_t *at, const char *path, json_t *header,
                    struct hold_error *err) {
    struct hold_stored s = {.name = t->name, .type = t->type, .n_dims = t->n_dims};
    if (t->type > HOLD_ST_BF16 && t->type < HOLD_ST_F64) {
        return hold_fail(err, HOLD_EUNSUPPORTED, "%s: tensor %s: type %s cannot be written", path,
                         t->name, hold_stored_type_name(t->type));
    }
    memcpy(s.dim, t->dim, sizeof s.dim);
    int rc = hold_stored_measure(&s, path, err);
    if (rc) {
        return rc;
    }
    if (json_object_get(header, t->name)) {
        return hold_fail(err, HOLD_EINTERNAL, "%s: tensor %s is there twice", path, t->name);
    }
    json_t *shape = json_array();
    int bad = 0;
    for (int i = 0; i < t->n_dims; i++) {
        bad |= json_array_append_new(shape, json_integer(s.dim[i]));
    }
    shape = hold_json_whole(shape, bad);
    json_t *entry =
        json_pack("{s:s, s:o, s:[I,I]}", "dtype", hold_stored_type_name(t->type), "shape", shape,
                  "data_offsets", (json_int_t)*at, (json_int_t)(*at + s.bytes));
    *at += s.bytes;
    if (!entry || json_object_set_new(header, t->name, entry) != 0) {
        return hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the header", path);
    }
    return HOLD_OK;
}

static int write_header(struct hold_writer *w, const struct hold_to_store *tensors, int64_t n,
                        const json_t *metadata, struct hold_error *err) {
    struct hold_str text = HOLD_STR_INIT;
    json_t *header = json_object();
    uint64_t at = 0;
    int rc = header ? HOLD_OK : hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory", w->path);
    if (!rc && metadata &&
        json_object_set(header, "__metadata__", (json_t *)(uintptr_t)metadata) != 0) {
        rc = hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory", w->path);
    }
    for (int64_t i = 0; !rc && i < n; i++) {
        rc = describe(&tensors[i], &at, w->path, header, err);
    }
    if (!rc) {
        rc = hold_json_line(header, &text, err);
    }
    /* The data begins at a multiple of 8 bytes. */
    while (!rc && !text.out_of_memory && text.len % 8 != 0) {
        hold_str_add_char(&text, ' ');
    }
    if (!rc) {
        rc = hold_str_check(&text, err);
    }
    uint64_t bytes = text.len;
    if (!rc) {
        rc = hold_writer_put(w, &bytes, sizeof bytes, err);
    }
    if (!rc) {
        rc = hold_writer_put(w, text.data, text.len, err);
    }
    json_decref(header);
    hold_str_release(&text);
    return rc;
}

static int write_halves(struct hold_writer *w, const struct hold_to_store *t, int64_t count,
                        uint16_t *chunk, struct hold_error *err) {
    const float *data = t->data;
    for (int64_t done = 0; done < count;) {
        int64_t n = count - done < CHUNK ? count - done : CHUNK;
        int64_t bad = hold_stored_from_f32(t->type, data + done, n, chunk);
        if (bad >= 0) {
            return hold_fail(err, HOLD_EDATA,
                             "%s: tensor %s: element %lld is %g, which %s cannot hold", w->path,
                             t->name, (long long)(done + bad), (double)data[done + bad],
                             hold_stored_type_name(t->type));
        }
        int rc = hold_writer_put(w, chunk, (size_t)n * sizeof *chunk, err);
        if (rc) {
            return rc;
        }
        done += n;
    }
    return HOLD_OK;
}

static int write_fetched(struct hold_writer *w, const struct hold_store_source *source, int64_t i,
                         int64_t count, float *chunk, struct hold_error *err) {
    for (int64_t done = 0; done < count; done += CHUNK) {
        int64_t n = count - done < CHUNK ? count - done : CHUNK;
        source->fetch(source->user, i, done, n, chunk);
        int rc = hold_writer_put(w, chunk, (size_t)n * sizeof *chunk, err);
        if (rc) {
            return rc;
        }
    }
    return HOLD_OK;
}

int hold_safetensors_write(const char *path, const struct hold_to_store *tensors, int64_t n,
                           const json_t *metadata, struct hold_error *err) {
    return hold_safetensors_write_from(path, tensors, n, NULL, metadata, err);
}

int hold_safetensors_write_from(const char *path, const struct hold_to_store *tensors, int64_t n,
                                const struct hold_store_source *source, const json_t *metadata,
                                struct hold_error *err) {
    struct hold_writer w = {.fd = -1};
    void *chunk = NULL;
    int rc = hold_new(&chunk, CHUNK, sizeof(float), "a buffer to write with", err);
    if (!rc) {
        rc = hold_writer_open(&w, path, err);
    }
    if (!rc) {
        rc = write_header(&w, tensors, n, metadata, err);
    }
    for (int64_t i = 0; !rc && i < n; i++) {
        const struct hold_to_store *t = &tensors[i];
        int64_t count = 1;
        for (int d = 0; d < t->n_dims; d++) {
            count *= t->dim[d];
        }
        if (count == 0) {
            continue;
        }
        if (source != NULL) {
            rc = write_fetched(&w, source, i, count, chunk, err);
            continue;
        }
        rc = t->type == HOLD_ST_F16 || t->type == HOLD_ST_BF16
                 ? write_halves(&w, t, count, chunk, err)
                 : hold_writer_put(&w, t->data, (size_t)hold_stored_bytes(t->type, count), err);
    }
    if (!rc) {
        rc = hold_writer_commit(&w, err);
    }
    hold_writer_drop(&w);
    hold_free(chunk);
    return rc;
}
