/* pack.h: texts as gzip and Zstandard files. */
#ifndef TEST_PACK_H
#define TEST_PACK_H

#include <stdint.h>
#include <zlib.h>
#include <zstd.h>

#include "base/str.h"

enum method { GZIP, ZSTD };
#define EACH_METHOD(m) for (enum method m = GZIP; m <= ZSTD; m++)

/* Append one member or frame. */
static inline void pack(enum method m, struct hold_str *out, const void *bytes, size_t n) {
    size_t most = n + n / 100 + 256;
    assert_true(hold_str_reserve(out, most));
    char *to = out->data + out->len;
    if (m == ZSTD) {
        size_t made = ZSTD_compress(to, most, bytes, n, 3);
        assert_false(ZSTD_isError(made));
        out->len += made;
    } else {
        z_stream z = {.next_in = (unsigned char *)(uintptr_t)bytes, .avail_in = (unsigned)n};
        z.next_out = (unsigned char *)to;
        z.avail_out = (unsigned)most;
        assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        out->len += z.total_out;
        deflateEnd(&z);
    }
    out->data[out->len] = '\0';
}

#endif
