/* store_parts.h: what the files of the store share. */
#ifndef HOLD_LAB_STORE_PARTS_H
#define HOLD_LAB_STORE_PARTS_H

#include "lab/store.h"

struct hold_store {
    char *path;
    const struct hold_ctx *ctx;
    bool read_only;
    char why[256]; /* it is read only */
    double lease_seconds;
    /* Contents whose bytes were checked by this process, sorted by nothing: few. */
    char (*checked)[HOLD_HASH_HEX];
    int n_checked;
};

/* *out (cleared) = STORE/folder/name + suffix. */
void hold_store_at(const struct hold_store *s, const char *folder, const char *name,
                   const char *suffix, struct hold_str *out);
/* Content id of a folder's files, and the bytes they have. */
int hold_store_content_id(const char *dir, char content[HOLD_HASH_HEX], int64_t *bytes,
                          struct hold_error *err);
/* Bytes of all files below a folder; 0 when it is not there. */
int64_t hold_store_tree_bytes(const char *dir);
/* EIO unless the store can be written. */
int hold_store_writable(const struct hold_store *s, struct hold_error *err);
/* The lock of an id: held for moments, so it is waited for.  fd for hold_lock_drop. */
int hold_store_lock(struct hold_store *s, const char *id, int *fd, struct hold_error *err);
/* Is a lease file's owner alive as far as this machine can tell?  -1: cannot tell. */
int hold_lease_alive(const json_t *lease);
/* The id of the published spec that begins with `prefix`. */
int hold_store_spec_named(struct hold_store *s, const char *prefix, char id[HOLD_HASH_HEX],
                          struct hold_error *err);

#endif
