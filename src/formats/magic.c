/* magic.c: names the file kinds that are never read, so that the message can say what to do. */
#include "formats/magic.h"

#include <stdbool.h>
#include <string.h>

struct magic {
    size_t at, n;
    const char *bytes, *kind;
};

static const struct magic MAGICS[] = {
    {0, 4, "PK\003\004", "a zip archive (PyTorch checkpoint, .npz or ONNX bundle)"},
    {0, 4, "PK\005\006", "an empty zip archive"},
    {0, 4, "lmgg", "an old GGML file"},
    {0, 4, "fmgg", "an old GGML file (ggmf)"},
    {0, 4, "tjgg", "an old GGML file (ggjt)"},
    {0, 4, "algg", "a GGLA adapter"},
    {0, 8, "\211HDF\r\n\032\n", "an HDF5 file"},
    {4, 4, "TFL3", "a TensorFlow Lite file"},
    {0, 6, "\223NUMPY", "a NumPy array"},
    {0, 2, "\037\213", "a gzip file"},
    {0, 4, "\050\265\057\375", "a Zstandard file"},
    {0, 5, "<!DOC", "an HTML page"},
    {0, 5, "<html", "an HTML page"},
    {0, 19, "version https://git", "a Git LFS pointer, not the data itself"},
};

/* A pickle begins with PROTO and a protocol number 2 to 5; ONNX with its IR version as field 1 and
 * a producer name as field 2. */
static const char *binary_kind(const unsigned char *b, size_t n) {
    if (n >= 2 && b[0] == 0x80 && b[1] >= 2 && b[1] <= 5) {
        return "a Python pickle";
    }
    if (n >= 4 && b[0] == 0x08 && b[1] >= 1 && b[1] <= 20 && b[2] == 0x12 && b[3] > 0 &&
        b[3] < 64) {
        return "an ONNX model";
    }
    return NULL;
}

/* A safetensors file begins with the length of its header, any number, and the header's brace. */
static bool is_safetensors(const unsigned char *b, size_t n) {
    return n >= 9 && memcmp(b + 4, "\0\0\0\0{", 5) == 0;
}

int hold_magic_refuse(const void *bytes, size_t n, const char *path, struct hold_error *err) {
    if (is_safetensors(bytes, n)) {
        return HOLD_OK;
    }
    const char *kind = binary_kind(bytes, n);
    for (size_t i = 0; !kind && i < sizeof MAGICS / sizeof *MAGICS; i++) {
        const struct magic *m = &MAGICS[i];
        if (n >= m->at + m->n && memcmp((const char *)bytes + m->at, m->bytes, m->n) == 0) {
            kind = m->kind;
        }
    }
    if (!kind) {
        return HOLD_OK;
    }
    return hold_fail(err, HOLD_EFORMAT,
                     "%s: this is %s; expected a GGUF file or safetensors (convert it first)", path,
                     kind);
}
