/* unpack.c: gzip and Zstandard files as the text they hold, with a limit on what they become. */
#include "data/unpack.h"

#include <limits.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/mem.h"

enum { PIECE = 256 * 1024, WINDOW_GZIP = 15 + 16 };

/* ---- what both share ---- */

struct output {
    struct hold_str text;
    size_t limit;
    const char *name; /* of the container, for messages */
    struct hold_error *err;
};

static size_t limit_of(size_t packed) {
    size_t limit;
    if (!hold_mul_size(packed, HOLD_UNPACK_RATIO, &limit) || limit > HOLD_UNPACK_MAX)
        return HOLD_UNPACK_MAX;
    return limit < HOLD_UNPACK_FLOOR ? HOLD_UNPACK_FLOOR : limit;
}

/* Room for one more piece, whose bytes stand behind the text. */
static int make_room(struct output *o) {
    if (!hold_str_reserve(&o->text, PIECE))
        return hold_fail(o->err, HOLD_ENOMEMORY, "not enough memory to unpack a %s file", o->name);
    return HOLD_OK;
}

static int take(struct output *o, size_t n) {
    o->text.len += n;
    o->text.data[o->text.len] = '\0';
    if (o->text.len <= o->limit)
        return HOLD_OK;
    return hold_fail(o->err, HOLD_EDATA,
                     "the %s file unpacks to more than %zu MiB (the limit is %d times its size, "
                     "at least %zu MiB, at most %zu MiB); unpack it yourself if it is sound",
                     o->name, o->limit >> 20, HOLD_UNPACK_RATIO, HOLD_UNPACK_FLOOR >> 20,
                     HOLD_UNPACK_MAX >> 20);
}

static int cut_off(struct output *o) {
    return hold_fail(o->err, HOLD_EDATA, "the %s file ends too early (was it cut off?)", o->name);
}

static int damaged(struct output *o, const char *why) {
    return hold_fail(o->err, HOLD_EDATA, "the %s file is damaged: %s", o->name, why);
}

/* ---- gzip ---- */

static void *get_zlib(void *user, unsigned n, unsigned size) {
    size_t bytes;
    (void)user;
    return hold_mul_size(n, size, &bytes) ? hold_malloc(bytes) : Z_NULL;
}

static void free_zlib(void *user, void *p) {
    (void)user;
    hold_free(p);
}

static bool all_zero(const unsigned char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

/* *at moves behind one member.  zlib counts input in 32 bits, so it is given in pieces. */
static int inflate_member(struct output *o, z_stream *z, const unsigned char *bytes, size_t n,
                          size_t *at) {
    int code = Z_OK;
    while (code != Z_STREAM_END) {
        size_t given = n - *at < INT_MAX ? n - *at : INT_MAX;
        int status = make_room(o);
        if (status)
            return status;
        z->next_in = (unsigned char *)(uintptr_t)(bytes + *at); /* zlib only reads it */
        z->avail_in = (unsigned)given;
        z->next_out = (unsigned char *)o->text.data + o->text.len;
        z->avail_out = PIECE;
        code = inflate(z, Z_NO_FLUSH);
        *at += given - z->avail_in;
        status = take(o, PIECE - z->avail_out);
        if (status)
            return status;
        if (code == Z_MEM_ERROR)
            return hold_fail(o->err, HOLD_ENOMEMORY, "not enough memory to unpack a gzip file");
        if (code == Z_BUF_ERROR)
            return cut_off(o);
        if (code != Z_OK && code != Z_STREAM_END)
            return damaged(o, z->msg ? z->msg : "its bytes are not gzip's");
    }
    return HOLD_OK;
}

static int unpack_gzip(struct output *o, const unsigned char *bytes, size_t n) {
    z_stream z = {.zalloc = get_zlib, .zfree = free_zlib};
    size_t at = 0;
    int status = HOLD_OK;
    if (inflateInit2(&z, WINDOW_GZIP) != Z_OK)
        return hold_fail(o->err, HOLD_ENOMEMORY, "not enough memory to unpack a gzip file");
    /* Zeros behind the last member are a tape's padding, which gzip passes over too. */
    while (!status && at < n && !(at && all_zero(bytes + at, n - at))) {
        status = inflate_member(o, &z, bytes, n, &at);
        inflateReset(&z);
    }
    inflateEnd(&z);
    return status;
}

/* ---- Zstandard ---- */

static int unpack_zstd(struct output *o, const unsigned char *bytes, size_t n) {
    ZSTD_DStream *z = ZSTD_createDStream();
    ZSTD_inBuffer in = {bytes, n, 0};
    size_t left = 0;
    bool full = false; /* the last piece was filled: more may be waiting inside */
    int status =
        z ? HOLD_OK : hold_fail(o->err, HOLD_ENOMEMORY, "not enough memory to unpack a zstd file");
    while (!status && (in.pos < in.size || (full && left))) {
        status = make_room(o);
        if (status)
            break;
        ZSTD_outBuffer out = {o->text.data + o->text.len, PIECE, 0};
        left = ZSTD_decompressStream(z, &out, &in);
        full = out.pos == out.size;
        if (ZSTD_isError(left))
            status = damaged(o, ZSTD_getErrorName(left));
        else
            status = take(o, out.pos);
    }
    if (!status && left)
        status = cut_off(o);
    ZSTD_freeDStream(z);
    return status;
}

/* ---- interface ---- */

struct refused {
    const char *magic, *name, *advice;
};
static const struct refused REFUSED[] = {
    {"PAR1", "Parquet",
     "rows are JSON Lines, a JSON array, CSV or TSV; write it so first, as with pandas: "
     "read_parquet(FILE).to_json(\"rows.jsonl\", orient=\"records\", lines=True)"},
    {"PK\x03\x04", "zip", "unpack it first"},
    {"\xFD"
     "7zXZ",
     "xz", "unpack it first, or pack it with gzip or zstd"},
    {"BZh", "bzip2", "unpack it first, or pack it with gzip or zstd"},
};

static bool is_zstd(const unsigned char *p, size_t n) {
    if (n < 4)
        return false;
    bool skippable = (p[0] & 0xF0) == 0x50 && !memcmp(p + 1, "\x2A\x4D\x18", 3);
    return skippable || !memcmp(p, "\x28\xB5\x2F\xFD", 4);
}

int hold_data_unpack(struct hold_str *bytes, struct hold_error *err) {
    const unsigned char *p = (const unsigned char *)hold_str_text(bytes);
    struct output o = {.limit = limit_of(bytes->len), .err = err};
    int status;
    for (size_t i = 0; i < sizeof(REFUSED) / sizeof(REFUSED[0]); i++)
        if (!strncmp((const char *)p, REFUSED[i].magic, strlen(REFUSED[i].magic)))
            return hold_fail(err, HOLD_EDATA, "the file is %s, which is not read: %s",
                             REFUSED[i].name, REFUSED[i].advice);
    if (bytes->len >= 2 && !memcmp(p, "\x1F\x8B", 2)) {
        o.name = "gzip";
        status = unpack_gzip(&o, p, bytes->len);
    } else if (is_zstd(p, bytes->len)) {
        o.name = "zstd";
        status = unpack_zstd(&o, p, bytes->len);
    } else {
        return HOLD_OK;
    }
    if (status) {
        hold_str_release(&o.text);
        return status;
    }
    hold_str_release(bytes);
    *bytes = o.text;
    return HOLD_OK;
}
