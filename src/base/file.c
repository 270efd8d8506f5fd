/* file.c: reads, maps, atomic writes and locks. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

enum { CHUNK = 64 * 1024, TEMP_TRIES = 100 };
static const size_t READ_DEFAULT_MAX = (size_t)2 << 30;

/* ---- reading ---- */

/* Open for reading and say what it is.  Non-blocking, so that a pipe is refused, not waited for. */
static int open_regular(const char *path, struct stat *st, int *fd, struct hold_error *err) {
    *fd = -1;
    if (*path == '\0') /* what hold_str_text gives when memory is out */
        return hold_fail(err, HOLD_ENOMEMORY, "no path: memory is out, or no name was given");
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return hold_fail_errno(err, errno, "%s", path);
    int rc = HOLD_OK;
    if (fstat(*fd, st) != 0)
        rc = hold_fail_errno(err, errno, "%s", path);
    else if (S_ISDIR(st->st_mode))
        rc = hold_fail(err, HOLD_EUSAGE, "%s: found a folder, expected a file", path);
    else if (!S_ISREG(st->st_mode))
        rc = hold_fail(err, HOLD_EUSAGE, "%s: not a regular file", path);
    if (rc) {
        close(*fd);
        *fd = -1;
    }
    return rc;
}

/* Append everything that can be read; `max` bounds the total, whatever fstat said before. */
static int read_to_end(int fd, const char *path, size_t max, struct hold_str *out,
                       struct hold_error *err) {
    for (;;) {
        size_t spare = out->cap > out->len ? out->cap - out->len - 1 : 0;
        if (!spare) {
            hold_str_reserve(out, CHUNK);
            if (hold_str_check(out, err))
                return hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory to read it", path);
            spare = out->cap - out->len - 1;
        }
        ssize_t got = read(fd, out->data + out->len, spare);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return hold_fail_errno(err, errno, "%s: reading", path);
        out->len += (size_t)got;
        out->data[out->len] = '\0';
        if (out->len > max)
            return hold_fail(err, HOLD_EDATA, "%s: larger than the limit of %zu bytes", path, max);
        if (got == 0)
            return HOLD_OK;
    }
}

int hold_file_read(const char *path, size_t max_bytes, struct hold_str *out,
                   struct hold_error *err) {
    size_t max = max_bytes ? max_bytes : READ_DEFAULT_MAX;
    hold_str_clear(out);
    if (strcmp(path, "-") == 0) {
        int got = read_to_end(STDIN_FILENO, "standard input", max, out, err);
        if (got)
            hold_str_clear(out);
        return got;
    }
    struct stat st = {0};
    int fd, rc = open_regular(path, &st, &fd, err);
    if (rc)
        return rc;
    if ((uintmax_t)st.st_size > max) {
        rc = hold_fail(err, HOLD_EDATA, "%s: found %jd bytes, expected at most %zu", path,
                       (intmax_t)st.st_size, max);
    } else {
        /* One byte more than the size, so that the end is met without growing. */
        hold_str_reserve(out, (size_t)st.st_size + 1);
        rc = read_to_end(fd, path, max, out, err);
    }
    close(fd);
    if (rc)
        hold_str_clear(out);
    return rc;
}

int hold_map_open(struct hold_map *map, const char *path, struct hold_error *err) {
    *map = (struct hold_map){0};
    struct stat st = {0};
    int fd, rc = open_regular(path, &st, &fd, err);
    return rc ? rc : hold_map_fd(map, fd, path, err);
}

int hold_map_fd(struct hold_map *map, int fd, const char *path, struct hold_error *err) {
    struct stat st = {0};
    void *data = MAP_FAILED;
    int rc = HOLD_OK;
    *map = (struct hold_map){0};
    if (fstat(fd, &st) != 0)
        rc = hold_fail_errno(err, errno, "%s", path);
    else if (!S_ISREG(st.st_mode))
        rc = hold_fail(err, HOLD_EFORMAT, "%s: not a regular file", path);
    else if (st.st_size <= 0)
        rc = hold_fail(err, HOLD_EFORMAT, "%s: the file is empty", path);
    else if ((data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        rc = hold_fail_errno(err, errno, "%s: mapping", path);
    if (rc) {
        close(fd);
        return rc;
    }
    *map = (struct hold_map){data, (size_t)st.st_size, hold_strdup(path), fd, st.st_mtim};
    if (map->path)
        return HOLD_OK;
    hold_map_release(map);
    return hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the path", path);
}

int hold_map_check(const struct hold_map *map, struct hold_error *err) {
    struct stat st = {0};
    if (fstat(map->fd, &st) != 0)
        return hold_fail_errno(err, errno, "%s", map->path);
    if ((size_t)st.st_size == map->bytes && st.st_mtim.tv_sec == map->changed_at.tv_sec &&
        st.st_mtim.tv_nsec == map->changed_at.tv_nsec)
        return HOLD_OK;
    return hold_fail(err, HOLD_EDATA, "%s: has been written to while it was being read", map->path);
}

void hold_map_release(struct hold_map *map) {
    if (map->data) {
        munmap((void *)(uintptr_t)map->data, map->bytes);
        close(map->fd);
    }
    hold_free(map->path);
    *map = (struct hold_map){0};
}

/* ---- writing ---- */

/* The folder a path lies in: "a/b" -> "a", "b" -> ".", "/b" -> "/".  NULL when memory is out. */
static char *parent_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash)
        return hold_strdup(".");
    return hold_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

int hold_sync_dir(const char *path, struct hold_error *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return hold_fail_errno(err, errno, "%s", path);
    /* EINVAL: a file system that cannot sync folders; nothing more can be done there. */
    int failed = fsync(fd) != 0 && errno != EINVAL ? errno : 0;
    close(fd);
    return failed ? hold_fail_errno(err, failed, "%s: syncing the folder", path) : HOLD_OK;
}

int hold_sync_parent(const char *path, struct hold_error *err) {
    char *folder = parent_of(path);
    if (!folder)
        return hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the path", path);
    int rc = hold_sync_dir(folder, err);
    hold_free(folder);
    return rc;
}

/* A rename onto a device or a pipe would replace it: refused before anything is written. */
static int check_target(const char *path, struct hold_error *err) {
    struct stat st;
    size_t n = strlen(path);
    if (n == 0)
        return hold_fail(err, HOLD_EUSAGE, "the path of a file to write is empty");
    if (path[n - 1] == '/' || (stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
        return hold_fail(err, HOLD_EUSAGE, "%s: found a folder, expected a file", path);
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return hold_fail(err, HOLD_EUSAGE, "%s: not a regular file, so it is not replaced", path);
    return HOLD_OK;
}

/* Name and open a new file ".tmp-RANDOM" next to `path` with the permissions of a plain create. */
static int open_temp(struct hold_writer *w, const char *path, struct hold_error *err) {
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path) + 1 : 0;
    for (int tries = 0; tries < TEMP_TRIES; tries++) {
        uint64_t id;
        if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
            return hold_fail_errno(err, errno, "%s: no random name", path);
        struct hold_str name = HOLD_STR_INIT;
        hold_str_addf(&name, "%.*s.tmp-%016jx", folder, path, (uintmax_t)id);
        hold_free(w->temp);
        w->temp = hold_str_take(&name);
        if (!w->temp)
            return hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the path", path);
        w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd >= 0)
            return HOLD_OK;
        if (errno != EEXIST)
            return hold_fail_errno(err, errno, "%s", path);
    }
    return hold_fail(err, HOLD_EIO, "%s: no free temporary name after %d tries", path, TEMP_TRIES);
}

int hold_writer_open(struct hold_writer *w, const char *path, struct hold_error *err) {
    *w = (struct hold_writer){.fd = -1};
    int rc = check_target(path, err);
    if (rc)
        return rc;
    w->path = hold_strdup(path);
    rc = w->path ? open_temp(w, path, err)
                 : hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the path", path);
    if (rc)
        hold_writer_drop(w);
    return rc;
}

int hold_writer_put(struct hold_writer *w, const void *bytes, size_t n, struct hold_error *err) {
    const unsigned char *p = bytes;
    while (n) {
        ssize_t put = write(w->fd, p, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return hold_fail_errno(err, errno, "%s: writing", w->path);
        p += put;
        n -= (size_t)put;
        w->bytes += (uint64_t)put;
    }
    return HOLD_OK;
}

int hold_writer_commit(struct hold_writer *w, struct hold_error *err) {
    int rc = HOLD_OK;
    if (fsync(w->fd) != 0)
        rc = hold_fail_errno(err, errno, "%s: syncing", w->path);
    if (close(w->fd) != 0 && !rc)
        rc = hold_fail_errno(err, errno, "%s: closing", w->path);
    w->fd = -1;
    if (!rc && rename(w->temp, w->path) != 0)
        rc = hold_fail_errno(err, errno, "%s: renaming into place", w->path);
    if (!rc) {
        hold_free(w->temp); /* nothing is left to remove */
        w->temp = NULL;
        rc = hold_sync_parent(w->path, err);
    }
    hold_writer_drop(w);
    return rc;
}

void hold_writer_drop(struct hold_writer *w) {
    if (!w->path)
        return; /* zeroed, committed or dropped: fd means nothing */
    if (w->fd >= 0) {
        close(w->fd);
        unlink(w->temp);
    } else if (w->temp) {
        unlink(w->temp);
    }
    hold_free(w->temp);
    hold_free(w->path);
    *w = (struct hold_writer){.fd = -1};
}

int hold_file_write_atomic(const char *path, const void *bytes, size_t n, struct hold_error *err) {
    struct hold_writer w;
    int rc = hold_writer_open(&w, path, err);
    if (!rc)
        rc = hold_writer_put(&w, bytes, n, err);
    if (!rc)
        rc = hold_writer_commit(&w, err);
    hold_writer_drop(&w);
    return rc;
}

int hold_copy_file(const char *from, const char *to, struct hold_error *err) {
    unsigned char buffer[CHUNK];
    struct hold_writer w = {.fd = -1};
    struct stat st;
    int fd, rc = open_regular(from, &st, &fd, err);
    if (rc)
        return rc;
    rc = hold_writer_open(&w, to, err);
    while (!rc) {
        ssize_t got = read(fd, buffer, sizeof(buffer));
        if (got == 0)
            break;
        if (got > 0)
            rc = hold_writer_put(&w, buffer, (size_t)got, err);
        else if (errno != EINTR)
            rc = hold_fail_errno(err, errno, "%s: reading", from);
    }
    if (!rc)
        rc = hold_writer_commit(&w, err);
    hold_writer_drop(&w);
    close(fd);
    return rc;
}

int hold_rename_new(const char *from, const char *to, struct hold_error *err) {
    int failed = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) != 0 ? errno : 0;
    if (failed == EINVAL || failed == ENOSYS) {
        /* A file system without the flag.  A hard link never replaces; for folders a plain rename
         * replaces at most an empty one. */
        if (hold_is_dir(from))
            failed = rename(from, to) != 0 ? errno : 0;
        else
            failed = link(from, to) != 0 || unlink(from) != 0 ? errno : 0;
    }
    if (failed == EEXIST || failed == ENOTEMPTY)
        return hold_fail(err, HOLD_EBUSY, "%s: already there, not replaced", to);
    if (failed)
        return hold_fail_errno(err, failed, "%s: renaming from %s", to, from);
    return hold_sync_parent(to, err);
}

/* ---- locks ---- */

int hold_lock_take(const char *path, int *fd_out, struct hold_error *err) {
    *fd_out = -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    if (fd < 0)
        return hold_fail_errno(err, errno, "%s", path);
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int failed = errno;
        if (failed == EINTR)
            continue;
        close(fd);
        if (failed == EWOULDBLOCK)
            return hold_fail(err, HOLD_EBUSY, "%s: locked by another process", path);
        return hold_fail_errno(err, failed, "%s: locking", path);
    }
    *fd_out = fd;
    return HOLD_OK;
}

void hold_lock_drop(int fd) {
    if (fd >= 0)
        close(fd);
}
