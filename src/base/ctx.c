/* ctx.c: talk, clocks and the memory of this process. */
#include "base/ctx.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

enum { LINE_MAX_BYTES = 2048, PROC_TEXT = 8192, PATH_TEXT = 4096 };

void hold_log(const struct hold_ctx *ctx, enum hold_level level, const char *room,
              const char *format, ...) {
    if (!ctx || !ctx->log)
        return;
    char raw[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    hold_vformat(raw, sizeof(raw), format, args);
    va_end(args);
    hold_visible(line, sizeof(line), raw);
    ctx->log(ctx->user, level, room, line);
}

bool hold_stopped(const struct hold_ctx *ctx) {
    return ctx && ctx->stop && __atomic_load_n(ctx->stop, __ATOMIC_RELAXED) != 0;
}

double hold_clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void hold_clock_iso(char out[32]) {
    time_t now = time(NULL);
    struct tm t = {0};
    gmtime_r(&now, &t);
    snprintf(out, 32, "%04d-%02d-%02dT%02d:%02d:%02dZ", (t.tm_year + 1900) % 10000,
             (t.tm_mon + 1) % 100, t.tm_mday % 100, t.tm_hour % 100, t.tm_min % 100,
             t.tm_sec % 100);
}

/* Read the start of a small kernel file; false when it cannot be read. */
static bool read_small(const char *path, char text[PROC_TEXT]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t len = 0;
    ssize_t got;
    while (len < PROC_TEXT - 1 && (got = read(fd, text + len, PROC_TEXT - 1 - len)) > 0)
        len += (size_t)got;
    close(fd);
    text[len] = '\0';
    return len > 0;
}

/* The value in bytes of a line "NAME:   123 kB", 0 when there is none. */
static int64_t kilobytes_line(const char *text, const char *name) {
    const char *at = strstr(text, name);
    if (!at)
        return 0;
    return strtoll(at + strlen(name), NULL, 10) * 1024;
}

int64_t hold_peak_memory(void) {
    char text[PROC_TEXT];
    return read_small("/proc/self/status", text) ? kilobytes_line(text, "VmHWM:") : 0;
}

int64_t hold_current_memory(void) {
    char text[PROC_TEXT];
    return read_small("/proc/self/status", text) ? kilobytes_line(text, "VmRSS:") : 0;
}

/* Zero means "no limit known" on both sides. */
static int64_t smaller(int64_t a, int64_t b) {
    if (a <= 0 || b <= 0)
        return a > 0 ? a : b;
    return a < b ? a : b;
}

/* One limit file.  "max" (v2) is none, and so is what v1 writes for none, LLONG_MAX rounded down
 * to a page. */
static int64_t limit_in(const char *path) {
    char text[PROC_TEXT];
    if (!read_small(path, text))
        return 0;
    int64_t value = strtoll(text, NULL, 10);
    return value < INT64_MAX / 2 ? value : 0;
}

/* The smallest limit of a group and the groups around it: every one of them binds.  `mount` is
 * where groups are seen, `group` the path below it ("/a/b"); from inside a container the path may
 * not exist there, then the mount's own file counts. */
static int64_t group_limit(const char *mount, const char *group, const char *file) {
    char below[PATH_TEXT], path[2 * PATH_TEXT + 64];
    int64_t limit = 0;
    snprintf(below, sizeof(below), "%s", group);
    for (;;) {
        snprintf(path, sizeof(path), "%s%s/%s", mount, below, file);
        limit = smaller(limit, limit_in(path));
        char *slash = strrchr(below, '/');
        if (!slash)
            return limit;
        *slash = '\0';
    }
}

/* Is `word` one of the comma-separated names at `list` (n bytes)? */
static bool list_has(const char *list, size_t n, const char *word) {
    size_t len = strlen(word);
    for (const char *p = list, *end = list + n; p < end;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma ? comma : end;
        if ((size_t)(stop - p) == len && memcmp(p, word, len) == 0)
            return true;
        p = stop + 1;
    }
    return false;
}

/* Lines of /proc/self/cgroup are "ID:CONTROLLERS:PATH"; v2 has ID 0 and no controllers. */
static int64_t cgroup_limit(const char *root) {
    char path[PATH_TEXT], mount[PATH_TEXT], text[PROC_TEXT], *save = NULL;
    int64_t limit = 0;
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    if (!read_small(path, text))
        return 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(++controllers, ':') : NULL;
        if (!group)
            continue;
        size_t n = (size_t)(group++ - controllers);
        if (n == 0) {
            snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup", root);
            limit = smaller(limit, group_limit(mount, group, "memory.max"));
        } else if (list_has(controllers, n, "memory")) {
            snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup/memory", root);
            limit = smaller(limit, group_limit(mount, group, "memory.limit_in_bytes"));
        }
    }
    return limit;
}

int64_t hold_memory_limit_under(const char *root) {
    char path[PATH_TEXT], text[PROC_TEXT];
    int64_t limit = 0;
    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    if (read_small(path, text))
        limit = kilobytes_line(text, "MemTotal:");
    limit = smaller(limit, cgroup_limit(root));
    struct rlimit space;
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur < INT64_MAX / 2)
        limit = smaller(limit, (int64_t)space.rlim_cur);
    return limit;
}

int64_t hold_memory_limit(void) {
    return hold_memory_limit_under("");
}

int64_t hold_memory_room(void) {
    char text[PROC_TEXT];
    int64_t limit = hold_memory_limit(), left = 0, available = 0;
    if (limit > 0)
        left = limit > hold_current_memory() ? limit - hold_current_memory() : 1;
    if (read_small("/proc/meminfo", text))
        available = kilobytes_line(text, "MemAvailable:");
    return smaller(left, available);
}
