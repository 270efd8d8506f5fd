/* hash.h: SHA-256 (libsodium) for content ids, spec ids and row ids. */
#ifndef HOLD_BASE_HASH_H
#define HOLD_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { HOLD_HASH_HEX = 65 }; /* 64 digits and a NUL */

struct hold_hash {
    _Alignas(64) unsigned char state[192]; /* crypto_hash_sha256_state */
};
void hold_hash_init(struct hold_hash *h);
void hold_hash_add(struct hold_hash *h, const void *bytes, size_t n);
void hold_hash_end(struct hold_hash *h, char hex[HOLD_HASH_HEX]);
void hold_hash_bytes(const void *bytes, size_t n, char hex[HOLD_HASH_HEX]);
int hold_hash_file(const char *path, char hex[HOLD_HASH_HEX], struct hold_error *err);
bool hold_is_id(const char *text); /* 64 digits in lower case; false for NULL */

/* 64-bit FNV-1a, for hash tables and for naming random streams; not for identity. */
uint64_t hold_fnv(const void *bytes, size_t n);

#endif
