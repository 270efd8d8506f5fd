/* file.h: files and folders: whole reads, read-only maps, atomic writes, locks.
 * Messages name the path first: "PATH: what happened". */
#ifndef HOLD_BASE_FILE_H
#define HOLD_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/status.h"
#include "base/str.h"

/* Read a whole regular file (or "-": standard input) into *out; refuses more than max_bytes
 * (0: 2 GiB).  The bytes are followed by a NUL that is not counted. */
int hold_file_read(const char *path, size_t max_bytes, struct hold_str *out,
                   struct hold_error *err);

/* Map a regular file read-only.  Empty files are refused. */
struct hold_map {
    const uint8_t *data;
    size_t bytes;
    char *path;                 /* for messages */
    int fd;                     /* open as long as the map */
    struct timespec changed_at; /* when its bytes had last been written */
};
int hold_map_open(struct hold_map *map, const char *path, struct hold_error *err);
/* The same of an open file, which the map takes over, also on failure. */
int hold_map_fd(struct hold_map *map, int fd, const char *path, struct hold_error *err);
/* EDATA when the file has been written to since it was mapped.  Who reads the map of one that has
 * become shorter meets SIGBUS: what must live on copies first, and a program says why it ends. */
int hold_map_check(const struct hold_map *map, struct hold_error *err);
void hold_map_release(struct hold_map *map);

/* Write bytes so that `path` shows either the old or the whole new file: temporary name in the
 * same folder, write, fsync, rename, fsync of the folder.  Nothing is left on failure.  A link at
 * `path` is replaced; anything else that is no regular file (a folder, /dev/null) is refused. */
int hold_file_write_atomic(const char *path, const void *bytes, size_t n, struct hold_error *err);

/* A file being written under a temporary name in the target's folder: write, then commit (fsync +
 * rename) or drop.  `hold_writer_drop` is safe after commit and on a zeroed struct. */
struct hold_writer {
    int fd;
    char *path, *temp;
    uint64_t bytes;
};
int hold_writer_open(struct hold_writer *w, const char *path, struct hold_error *err);
int hold_writer_put(struct hold_writer *w, const void *bytes, size_t n, struct hold_error *err);
int hold_writer_commit(struct hold_writer *w, struct hold_error *err);
void hold_writer_drop(struct hold_writer *w);

int hold_mkdirs(const char *path, struct hold_error *err); /* like mkdir -p, synced */
/* No link is followed; a path that is not there is fine. */
int hold_remove_tree(const char *path, struct hold_error *err);
int hold_sync_dir(const char *path, struct hold_error *err);    /* fsync of a folder */
int hold_sync_parent(const char *path, struct hold_error *err); /* of the folder around a path */
/* Rename and fsync of the folder; EBUSY if `to` is there. */
int hold_rename_new(const char *from, const char *to, struct hold_error *err);
int hold_copy_file(const char *from, const char *to, struct hold_error *err);
bool hold_exists(const char *path);
bool hold_is_dir(const char *path);
int64_t hold_file_size(const char *path); /* -1: no regular file there */
/* Bytes free to us on the file system where `path` is or would be made; 0 unknown. */
uint64_t hold_disk_free(const char *path);
/* *out (cleared first) = a + "/" + b. */
void hold_path_join(struct hold_str *out, const char *a, const char *b);
/* Names in a folder (no "." or ".."), sorted; free with hold_names_free. */
int hold_dir_list(const char *path, char ***names, size_t *n, struct hold_error *err);
void hold_names_free(char **names, size_t n);
/* Whether a name in a folder is of what a process that died before its first mark leaves there: a
 * lock, and at most a temporary file. */
bool hold_is_debris(const char *name);

/* Advisory exclusive lock on a file that dies with its owner; EBUSY when another holds it. */
int hold_lock_take(const char *path, int *fd_out, struct hold_error *err);
void hold_lock_drop(int fd);

#endif
