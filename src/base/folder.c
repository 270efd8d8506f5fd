/* folder.c: paths, folders and what lies in them (declared in file.h). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

bool hold_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

bool hold_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int64_t hold_file_size(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (int64_t)st.st_size : -1;
}

bool hold_is_debris(const char *name) {
    return strcmp(name, ".lock") == 0 || hold_starts(name, ".tmp-");
}

uint64_t hold_disk_free(const char *path) {
    struct statvfs fs;
    char *copy = hold_strdup(path);
    uint64_t bytes = 0;
    while (copy) {
        if (statvfs(*copy ? copy : ".", &fs) == 0) {
            bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
            break;
        }
        /* Not made yet: ask the folder around it. */
        char *slash = strrchr(copy, '/');
        if (errno != ENOENT || !*copy || strcmp(copy, "/") == 0)
            break;
        *(slash == copy ? slash + 1 : slash ? slash : copy) = '\0';
    }
    hold_free(copy);
    return bytes;
}

void hold_path_join(struct hold_str *out, const char *a, const char *b) {
    hold_str_clear(out);
    hold_str_add(out, a);
    if (out->len && out->data[out->len - 1] != '/')
        hold_str_add_char(out, '/');
    hold_str_add(out, b);
}

/* What is saved below a new folder is not safe before the folder itself is. */
static int make_one(const char *path, struct hold_error *err) {
    if (mkdir(path, 0777) == 0)
        return hold_sync_parent(path, err);
    if (errno == EEXIST && hold_is_dir(path))
        return HOLD_OK;
    if (errno == EEXIST || errno == ENOTDIR)
        return hold_fail(err, HOLD_EUSAGE, "%s: found a file, expected a folder", path);
    return hold_fail_errno(err, errno, "%s: making the folder", path);
}

int hold_mkdirs(const char *path, struct hold_error *err) {
    if (!*path)
        return hold_fail(err, HOLD_EUSAGE, "the path of a folder to make is empty");
    char *copy = hold_strdup(path);
    if (!copy)
        return hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for the path", path);
    int rc = HOLD_OK;
    for (char *p = copy + 1; *p && !rc; p++) {
        if (*p != '/' || p[-1] == '/')
            continue;
        *p = '\0';
        rc = make_one(copy, err);
        *p = '/';
    }
    if (!rc)
        rc = make_one(copy, err);
    hold_free(copy);
    return rc;
}

static bool is_dots(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Empty the folder `name` in `parent` and remove it.  All work goes through descriptors opened
 * without following links, so a link swapped in meanwhile cannot lead outside. */
static int remove_folder(int parent, const char *name, const char *top, struct hold_error *err) {
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return hold_fail_errno(err, errno, "%s: removing %s", top, name);
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int failed = errno;
        close(fd);
        return hold_fail_errno(err, failed, "%s: removing %s", top, name);
    }
    int rc = HOLD_OK;
    struct dirent *entry;
    while (!rc && (errno = 0, entry = readdir(dir))) {
        if (is_dots(entry->d_name) || unlinkat(fd, entry->d_name, 0) == 0 || errno == ENOENT)
            continue;
        /* Linux says EISDIR, POSIX allows EPERM. */
        if (errno == EISDIR || errno == EPERM)
            rc = remove_folder(fd, entry->d_name, top, err);
        else
            rc = hold_fail_errno(err, errno, "%s: removing %s", top, entry->d_name);
    }
    if (!rc && errno)
        rc = hold_fail_errno(err, errno, "%s: reading the folder %s", top, name);
    closedir(dir);
    if (!rc && unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        rc = hold_fail_errno(err, errno, "%s: removing %s", top, name);
    return rc;
}

int hold_remove_tree(const char *path, struct hold_error *err) {
    if (!*path) /* what hold_str_text gives when memory is out */
        return hold_fail(err, HOLD_ENOMEMORY, "no path: memory is out, or no name was given");
    if (unlink(path) == 0 || errno == ENOENT)
        return HOLD_OK;
    if (errno == EISDIR || errno == EPERM)
        return remove_folder(AT_FDCWD, path, path, err);
    return hold_fail_errno(err, errno, "%s: removing", path);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool push_name(char ***names, size_t *n, size_t *cap, const char *name) {
    if (*n == *cap) {
        size_t bytes, more = *cap ? 2 * *cap : 16;
        if (!hold_mul_size(more, sizeof(**names), &bytes))
            return false;
        char **grown = hold_realloc(*names, bytes);
        if (!grown)
            return false;
        *names = grown;
        *cap = more;
    }
    (*names)[*n] = hold_strdup(name);
    return (*names)[*n] && ++*n;
}

int hold_dir_list(const char *path, char ***names, size_t *n, struct hold_error *err) {
    char **list = NULL;
    size_t count = 0, cap = 0;
    int rc = HOLD_OK;
    *names = NULL;
    *n = 0;
    DIR *dir = opendir(path);
    if (!dir)
        return hold_fail_errno(err, errno, "%s", path);
    struct dirent *entry;
    while (!rc && (errno = 0, entry = readdir(dir)))
        if (!is_dots(entry->d_name) && !push_name(&list, &count, &cap, entry->d_name))
            rc = hold_fail(err, HOLD_ENOMEMORY, "%s: not enough memory for its names", path);
    if (!rc && errno)
        rc = hold_fail_errno(err, errno, "%s: reading the folder", path);
    closedir(dir);
    if (rc) {
        hold_names_free(list, count);
        return rc;
    }
    if (count)
        qsort(list, count, sizeof(*list), compare_names);
    *names = list;
    *n = count;
    return HOLD_OK;
}

void hold_names_free(char **names, size_t n) {
    for (size_t i = 0; i < n; i++)
        hold_free(names[i]);
    hold_free(names);
}
