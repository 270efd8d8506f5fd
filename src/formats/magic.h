/* magic.h: files of other kinds, recognised by their first bytes. */
#ifndef HOLD_FORMATS_MAGIC_H
#define HOLD_FORMATS_MAGIC_H

#include <stddef.h>

#include "base/status.h"

/* EFORMAT saying what `path` holds, when its first bytes are those of a kind we never read (pickle,
 * PyTorch zip, GGML, ONNX, HDF5, gzip, ...), with the advice to convert; HOLD_OK otherwise. */
int hold_magic_refuse(const void *bytes, size_t n, const char *path, struct hold_error *err);

#endif
