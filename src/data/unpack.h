/* unpack.h: row files that are compressed, known by their first bytes. */
#ifndef HOLD_DATA_UNPACK_H
#define HOLD_DATA_UNPACK_H

#include <stddef.h>

#include "base/status.h"
#include "base/str.h"

/* What one file may become, in bytes: HOLD_UNPACK_RATIO times its own size, but at least
 * HOLD_UNPACK_FLOOR and at most HOLD_UNPACK_MAX, so that a small file cannot fill the memory. */
#define HOLD_UNPACK_MAX ((size_t)1 << 30)
#define HOLD_UNPACK_FLOOR ((size_t)64 << 20)
enum { HOLD_UNPACK_RATIO = 200 };

/* gzip (RFC 1952) and Zstandard (RFC 8878), any number of members or frames: *bytes become what
 * they hold.  Other bytes stay as they are.  EDATA: damaged, cut off, too large, or a container
 * that is not read (Parquet, zip, xz, bzip2); the message has no path. */
int hold_data_unpack(struct hold_str *bytes, struct hold_error *err);

#endif
