/* hash.c: SHA-256 by libsodium, and FNV-1a. */
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024 };

_Static_assert(sizeof(crypto_hash_sha256_state) <= sizeof(((struct hold_hash *)0)->state),
               "libsodium's state must fit into ours");

static crypto_hash_sha256_state *inner(struct hold_hash *h) {
    return (crypto_hash_sha256_state *)(void *)h->state;
}

void hold_hash_init(struct hold_hash *h) {
    crypto_hash_sha256_init(inner(h));
}

void hold_hash_add(struct hold_hash *h, const void *bytes, size_t n) {
    if (n)
        crypto_hash_sha256_update(inner(h), bytes, n);
}

void hold_hash_end(struct hold_hash *h, char hex[HOLD_HASH_HEX]) {
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final(inner(h), digest);
    sodium_bin2hex(hex, HOLD_HASH_HEX, digest, sizeof(digest));
}

void hold_hash_bytes(const void *bytes, size_t n, char hex[HOLD_HASH_HEX]) {
    struct hold_hash h;
    hold_hash_init(&h);
    hold_hash_add(&h, bytes, n);
    hold_hash_end(&h, hex);
}

static int hash_descriptor(int fd, const char *path, char hex[HOLD_HASH_HEX],
                           struct hold_error *err) {
    unsigned char buffer[READ_BYTES];
    struct hold_hash h;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return hold_fail_errno(err, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return hold_fail(err, HOLD_EUSAGE, "%s: not a regular file", path);
    hold_hash_init(&h);
    for (;;) {
        ssize_t got = read(fd, buffer, sizeof(buffer));
        if (got == 0)
            break;
        if (got < 0 && errno != EINTR)
            return hold_fail_errno(err, errno, "%s: reading", path);
        if (got > 0)
            hold_hash_add(&h, buffer, (size_t)got);
    }
    hold_hash_end(&h, hex);
    return HOLD_OK;
}

int hold_hash_file(const char *path, char hex[HOLD_HASH_HEX], struct hold_error *err) {
    /* Non-blocking, so that a pipe without a writer is refused instead of waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return hold_fail_errno(err, errno, "%s", path);
    int rc = hash_descriptor(fd, path, hex, err);
    close(fd);
    return rc;
}

bool hold_is_id(const char *text) {
    return text != NULL && strlen(text) == HOLD_HASH_HEX - 1 &&
           strspn(text, "0123456789abcdef") == HOLD_HASH_HEX - 1;
}

uint64_t hold_fnv(const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * 0x100000001B3u;
    return hash;
}
