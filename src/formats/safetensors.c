/* safetensors.c: the safetensors reader, for one file or the shards of a folder. */
#include "formats/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "formats/magic.h"

enum {
    MAX_HEADER = 100000000, /* the format's own limit */
    MAX_TENSORS = 1 << 18,
    MAX_SHARDS = 10000,
    HASH_MIN = 40, /* hex digits of a blob's name in Hugging Face's cache */
    HASH_MAX = 64
};

struct shard {
    const char *name;
    struct hold_map map;
};

struct hold_safetensors {
    struct hold_arena arena; /* names */
    struct shard *shards;
    int64_t n_shards;
    struct hold_stored *tensors;
    int64_t n_tensors;
    json_t *metadata;
};

/* ---- files of a folder ---- */

/* The text of a symbolic link when it is one of Hugging Face's cache; those lead into the folder
 * "blobs" beside "snapshots", to a file named by a hash. */
static bool cache_link(int dir, const char *name, char target[128]) {
    static const char PREFIX[] = "../../blobs/";
    ssize_t n = readlinkat(dir, name, target, 127);
    if (n <= (ssize_t)sizeof PREFIX - 1 || n >= 127) {
        return false;
    }
    target[n] = 0;
    const char *hash = target + sizeof PREFIX - 1;
    size_t digits = strlen(hash);
    return hold_starts(target, PREFIX) && (digits == HASH_MIN || digits == HASH_MAX) &&
           strspn(hash, "0123456789abcdef") == digits;
}

static int open_inside(int dir, const char *folder, const char *name, int *fd,
                       struct hold_error *err) {
    const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    *fd = openat(dir, name, flags);
    if (*fd < 0 && errno == ELOOP) {
        char target[128];
        if (!cache_link(dir, name, target)) {
            return hold_fail(err, HOLD_EFORMAT,
                             "%s/%s: a symbolic link, expected a file of this folder", folder,
                             name);
        }
        *fd = openat(dir, target, flags);
    }
    if (*fd < 0) {
        return hold_fail_errno(err, errno, "%s/%s: cannot open", folder, name);
    }
    return HOLD_OK;
}

static int map_inside(int dir, const char *folder, const char *name, struct hold_map *map,
                      struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    int fd = -1;
    hold_path_join(&path, folder, name);
    int rc = hold_str_check(&path, err);
    if (!rc) {
        rc = open_inside(dir, folder, name, &fd, err);
    }
    if (!rc) {
        rc = hold_map_fd(map, fd, hold_str_text(&path), err);
    }
    hold_str_release(&path);
    return rc;
}

/* ---- one file ---- */

struct span {
    uint64_t begin, end;
    int64_t tensor;
};

static int by_begin(const void *a, const void *b) {
    const struct span *x = a, *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The header's text: length in bounds, an object, nothing but spaces behind it. */
static int parse_header(const struct hold_map *map, json_t **header, uint64_t *data_start,
                        struct hold_error *err) {
    int rc = hold_magic_refuse(map->data, map->bytes, map->path, err);
    if (rc) {
        return rc;
    }
    uint64_t n = 0;
    if (map->bytes >= sizeof n) {
        memcpy(&n, map->data, sizeof n);
    }
    if (map->bytes < sizeof n || n < 2 || n > MAX_HEADER || n > map->bytes - sizeof n) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: byte 0: a header of %llu bytes in a file of %llu, expected 2 to %d "
                         "and inside the file",
                         map->path, (unsigned long long)n, (unsigned long long)map->bytes,
                         MAX_HEADER);
    }
    const char *text = (const char *)map->data + sizeof n;
    long bad = hold_utf8_check(text, (size_t)n);
    if (bad >= 0) {
        return hold_fail(err, HOLD_EFORMAT, "%s: byte %ld: the header is not UTF-8", map->path,
                         bad + (long)sizeof n);
    }
    size_t end = (size_t)n;
    while (end > 0 && text[end - 1] == ' ') {
        end--;
    }
    if (text[0] != '{' || end == 0 || text[end - 1] != '}') {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: byte %llu: the header is not an object padded with spaces", map->path,
                         text[0] != '{' ? 8ULL : 8ULL + (end ? end - 1 : 0));
    }
    *data_start = n + sizeof n;
    return hold_json_parse(header, text, end, map->path, 1, err);
}

static int read_dtype(const char *path, const char *name, const json_t *entry,
                      enum hold_stored_type *out, struct hold_error *err) {
    static const enum hold_stored_type TYPES[] = {
        HOLD_ST_F32, HOLD_ST_F16, HOLD_ST_BF16, HOLD_ST_F64, HOLD_ST_I32, HOLD_ST_I64, HOLD_ST_U8};
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype) {
        return hold_fail(err, HOLD_EFORMAT, "%s: tensor %s: no dtype", path, name);
    }
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        if (strcmp(dtype, hold_stored_type_name(TYPES[i])) == 0) {
            *out = TYPES[i];
            return HOLD_OK;
        }
    }
    return hold_fail(err, HOLD_EUNSUPPORTED,
                     "%s: tensor %s: dtype %s is not supported; expected F32, F16, BF16, F64, I32, "
                     "I64 or U8",
                     path, name, dtype);
}

/* A list of non-negative integers; -1 when it is anything else or longer than max. */
static int read_sizes(const json_t *list, int max, int64_t *out) {
    if (!json_is_array(list) || json_array_size(list) > (size_t)max) {
        return -1;
    }
    int n = (int)json_array_size(list);
    for (int i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, (size_t)i);
        if (!json_is_integer(item) || json_integer_value(item) < 0) {
            return -1;
        }
        out[i] = json_integer_value(item);
    }
    return n;
}

static int read_entry(const struct hold_map *map, const json_t *entry, uint64_t data_start,
                      struct hold_stored *t, struct span *span, struct hold_error *err) {
    const char *path = map->path;
    int rc = read_dtype(path, t->name, entry, &t->type, err);
    if (rc) {
        return rc;
    }
    t->n_dims = read_sizes(json_object_get(entry, "shape"), 4, t->dim);
    if (t->n_dims < 0) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: tensor %s: no shape of up to 4 non-negative integers", path, t->name);
    }
    rc = hold_stored_measure(t, path, err);
    if (rc) {
        return rc;
    }
    int64_t offsets[2];
    if (read_sizes(json_object_get(entry, "data_offsets"), 2, offsets) != 2 ||
        offsets[0] > offsets[1] || (uint64_t)offsets[1] > map->bytes - data_start) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: tensor %s: data_offsets are not a range inside the file's %llu bytes "
                         "of data",
                         path, t->name, (unsigned long long)(map->bytes - data_start));
    }
    if ((uint64_t)(offsets[1] - offsets[0]) != t->bytes) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: tensor %s: data_offsets hold %lld bytes, expected %llu for its shape",
                         path, t->name, (long long)(offsets[1] - offsets[0]),
                         (unsigned long long)t->bytes);
    }
    t->data = map->data + data_start + offsets[0];
    span->begin = (uint64_t)offsets[0];
    span->end = (uint64_t)offsets[1];
    return HOLD_OK;
}

/* The tensors must cover the data exactly. */
static int check_cover(const struct hold_map *map, const struct hold_stored *tensors,
                       struct span *spans, int64_t n, uint64_t bytes, struct hold_error *err) {
    qsort(spans, (size_t)n, sizeof *spans, by_begin);
    uint64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        if (spans[i].begin != at) {
            return hold_fail(
                err, HOLD_EFORMAT, "%s: tensor %s: begins at %llu of the data, expected %llu (%s)",
                map->path, tensors[spans[i].tensor].name, (unsigned long long)spans[i].begin,
                (unsigned long long)at, spans[i].begin < at ? "overlap" : "gap");
        }
        at = spans[i].end;
    }
    if (at != bytes) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: the tensors end at %llu of the data, expected %llu (the file's end)",
                         map->path, (unsigned long long)at, (unsigned long long)bytes);
    }
    return HOLD_OK;
}

static int check_metadata(const struct hold_map *map, json_t *metadata, struct hold_error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata)) {
        return hold_fail(err, HOLD_EFORMAT, "%s: __metadata__ is not an object", map->path);
    }
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value)) {
            return hold_fail(err, HOLD_EFORMAT, "%s: __metadata__.%s is not a string", map->path,
                             key);
        }
    }
    return HOLD_OK;
}

/* Append the tensors of one file. */
static int read_file(struct hold_safetensors *s, const struct hold_map *map,
                     struct hold_error *err) {
    json_t *header = NULL, *entry;
    const char *key;
    struct span *spans = NULL;
    uint64_t start = 0;
    int rc = parse_header(map, &header, &start, err);
    if (rc) {
        goto cleanup;
    }
    json_t *metadata = json_object_get(header, "__metadata__");
    if (metadata) {
        rc = check_metadata(map, metadata, err);
        if (rc) {
            goto cleanup;
        }
        if (!s->metadata) {
            s->metadata = json_incref(metadata);
        }
    }
    size_t room = json_object_size(header) + 1;
    if (room > MAX_TENSORS || (size_t)s->n_tensors + room > MAX_TENSORS) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: more than %d tensors", map->path, MAX_TENSORS);
        goto cleanup;
    }
    struct hold_stored *grown =
        hold_realloc(s->tensors, ((size_t)s->n_tensors + room) * sizeof *grown);
    if (grown) {
        s->tensors = grown;
    }
    spans = hold_calloc(room, sizeof *spans);
    if (!grown || !spans) {
        rc = hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the header", map->path);
        goto cleanup;
    }
    int64_t first = s->n_tensors, n = 0;
    json_object_foreach(header, key, entry) {
        if (entry == metadata) {
            continue;
        }
        struct hold_stored *t = &s->tensors[first + n];
        *t = (struct hold_stored){.name = hold_arena_strdup(&s->arena, key)};
        if (!t->name) {
            rc = hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the header", map->path);
            goto cleanup;
        }
        rc = read_entry(map, entry, start, t, &spans[n], err);
        if (rc) {
            goto cleanup;
        }
        spans[n].tensor = n;
        n++;
    }
    s->n_tensors += n;
    rc = check_cover(map, s->tensors + first, spans, n, map->bytes - start, err);
cleanup:
    hold_free(spans);
    json_decref(header);
    return rc;
}

/* ---- folders ---- */

static int new_shards(struct hold_safetensors *s, int64_t n, struct hold_error *err) {
    void *memory = NULL;
    int rc = hold_new(&memory, (size_t)n, sizeof *s->shards, "a list of shards", err);
    s->shards = memory;
    s->n_shards = rc ? 0 : n;
    return rc;
}

static int by_text(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static int check_shard_name(const char *where, const char *tensor, const char *name,
                            struct hold_error *err) {
    if (!name || !*name || *name == '.' || strchr(name, '/')) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: weight_map.%s: found \"%s\", expected the plain name of a file",
                         where, tensor, name ? name : "(no string)");
    }
    return HOLD_OK;
}

/* The distinct file names of a weight map, sorted, become the shards. */
static int list_shards(struct hold_safetensors *s, const json_t *map, const char *where,
                       struct hold_error *err) {
    void *memory = NULL;
    const char *tensor;
    json_t *value;
    size_t n = 0, kept = 0;
    int rc = hold_new(&memory, json_object_size(map), sizeof(char *), "a list of shards", err);
    const char **names = memory;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value) {
        if (rc) {
            break;
        }
        names[n++] = json_string_value(value);
        rc = check_shard_name(where, tensor, names[n - 1], err);
    }
    if (rc) {
        goto cleanup;
    }
    qsort(names, n, sizeof *names, by_text);
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0) {
            names[kept++] = names[i];
        }
    }
    if (kept > MAX_SHARDS) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: %zu shards, expected at most %d", where, kept,
                       MAX_SHARDS);
        goto cleanup;
    }
    rc = new_shards(s, (int64_t)kept, err);
    for (size_t i = 0; !rc && i < kept; i++) {
        s->shards[i].name = hold_arena_strdup(&s->arena, names[i]);
        if (!s->shards[i].name) {
            rc = hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the names", where);
        }
    }
cleanup:
    hold_free(memory);
    return rc;
}

/* Every tensor of the map is in the shard it names, and no shard holds another. */
static int read_shard(struct hold_safetensors *s, int64_t i, int dir, const char *folder,
                      const json_t *map, struct hold_error *err) {
    struct shard *shard = &s->shards[i];
    int64_t first = s->n_tensors;
    int rc = map_inside(dir, folder, shard->name, &shard->map, err);
    if (!rc) {
        rc = read_file(s, &shard->map, err);
    }
    for (int64_t t = first; !rc && t < s->n_tensors; t++) {
        const char *listed = json_string_value(json_object_get(map, s->tensors[t].name));
        if (!listed || strcmp(listed, shard->name) != 0) {
            rc = hold_fail(err, HOLD_EFORMAT, "%s: tensor %s: the index says it is in %s",
                           shard->map.path, s->tensors[t].name, listed ? listed : "no shard");
        }
    }
    return rc;
}

static int check_total(const struct hold_safetensors *s, const json_t *index, const char *where,
                       struct hold_error *err) {
    const json_t *total = json_object_get(json_object_get(index, "metadata"), "total_size");
    if (!total) {
        return HOLD_OK;
    }
    uint64_t bytes = 0;
    for (int64_t i = 0; i < s->n_tensors; i++) {
        bytes += s->tensors[i].bytes;
    }
    double said = json_number_value(total); /* some writers put a float */
    if (!json_is_number(total) || !(said == (double)bytes)) {
        return hold_fail(err, HOLD_EFORMAT,
                         "%s: metadata.total_size: found %.0f, expected %llu (the tensors' bytes)",
                         where, said, (unsigned long long)bytes);
    }
    return HOLD_OK;
}

static int read_sharded(struct hold_safetensors *s, int dir, const char *folder,
                        struct hold_error *err) {
    struct hold_map text = {0};
    json_t *index = NULL;
    int rc = map_inside(dir, folder, "model.safetensors.index.json", &text, err);
    if (!rc && text.bytes > MAX_HEADER) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: %zu bytes, expected at most %d", text.path,
                       text.bytes, MAX_HEADER);
    }
    if (!rc) {
        rc = hold_json_parse(&index, (const char *)text.data, text.bytes, text.path, 1, err);
    }
    if (rc) {
        goto cleanup;
    }
    const json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: no weight_map", text.path);
        goto cleanup;
    }
    rc = list_shards(s, map, text.path, err);
    for (int64_t i = 0; !rc && i < s->n_shards; i++) {
        rc = read_shard(s, i, dir, folder, map, err);
    }
    if (!rc && (size_t)s->n_tensors != json_object_size(map)) {
        rc = hold_fail(err, HOLD_EFORMAT, "%s: lists %zu tensors, but the shards hold %lld",
                       text.path, json_object_size(map), (long long)s->n_tensors);
    }
    if (!rc) {
        rc = check_total(s, index, text.path, err);
    }
cleanup:
    json_decref(index);
    hold_map_release(&text);
    return rc;
}

static bool has(int dir, const char *name) {
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int read_folder(struct hold_safetensors *s, const char *folder, struct hold_error *err) {
    int rc, dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return hold_fail_errno(err, errno, "%s: cannot open the folder", folder);
    }
    if (has(dir, "model.safetensors")) {
        rc = new_shards(s, 1, err);
        if (!rc) {
            s->shards[0].name = "model.safetensors";
            rc = map_inside(dir, folder, s->shards[0].name, &s->shards[0].map, err);
        }
        if (!rc) {
            rc = read_file(s, &s->shards[0].map, err);
        }
    } else if (has(dir, "model.safetensors.index.json")) {
        rc = read_sharded(s, dir, folder, err);
    } else if (has(dir, "pytorch_model.bin") || has(dir, "pytorch_model.bin.index.json")) {
        rc = hold_fail(err, HOLD_EFORMAT,
                       "%s: the weights are a Python pickle (pytorch_model.bin), which is never "
                       "read; expected model.safetensors (convert it first)",
                       folder);
    } else {
        rc = hold_fail(err, HOLD_ENOTFOUND,
                       "%s: neither model.safetensors nor model.safetensors.index.json", folder);
    }
    close(dir);
    return rc;
}

int hold_safetensors_open(struct hold_safetensors **out, const char *path, struct hold_error *err) {
    *out = NULL;
    void *memory = NULL;
    int rc = hold_new(&memory, 1, sizeof(struct hold_safetensors), "a safetensors file", err);
    if (rc) {
        return rc;
    }
    struct hold_safetensors *s = memory;
    hold_arena_init(&s->arena, 0);
    if (hold_is_dir(path)) {
        rc = read_folder(s, path, err);
    } else {
        rc = new_shards(s, 1, err);
        const char *slash = strrchr(path, '/');
        if (!rc) {
            s->shards[0].name = hold_arena_strdup(&s->arena, slash ? slash + 1 : path);
            rc = s->shards[0].name
                     ? hold_map_open(&s->shards[0].map, path, err)
                     : hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the name", path);
        }
        if (!rc) {
            rc = read_file(s, &s->shards[0].map, err);
        }
    }
    if (rc) {
        hold_safetensors_free(s);
        return rc;
    }
    *out = s;
    return HOLD_OK;
}

void hold_safetensors_free(struct hold_safetensors *s) {
    if (!s) {
        return;
    }
    for (int64_t i = 0; i < s->n_shards; i++) {
        hold_map_release(&s->shards[i].map);
    }
    hold_free(s->shards);
    hold_free(s->tensors);
    json_decref(s->metadata);
    hold_arena_release(&s->arena);
    hold_free(s);
}

const struct hold_stored *hold_safetensors_tensors(const struct hold_safetensors *s, int64_t *n) {
    *n = s->n_tensors;
    return s->tensors;
}

const json_t *hold_safetensors_metadata(const struct hold_safetensors *s) {
    return s->metadata;
}

const struct hold_map *hold_safetensors_file(const struct hold_safetensors *s, int64_t i,
                                             const char **name) {
    if (i < 0 || i >= s->n_shards) {
        return NULL;
    }
    *name = s->shards[i].name;
    return &s->shards[i].map;
}
