/* ctx.h: what a caller lends to long work: where talk goes, when to stop, how many threads.
 * The library itself never prints, exits, reads the environment or keeps writable globals. */
#ifndef HOLD_BASE_CTX_H
#define HOLD_BASE_CTX_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

enum hold_level { HOLD_ERROR, HOLD_WARN, HOLD_INFO, HOLD_DEBUG };

struct hold_ctx {
    /* One line of talk, without a new line.  NULL: silence. */
    void (*log)(void *user, enum hold_level level, const char *room, const char *line);
    /* Progress of the current work: what, done of total (0: unknown), a short status such as
     * "loss 1.23  412 tok/s", and seconds remaining (< 0: unknown).  NULL: none. */
    void (*progress)(void *user, const char *what, int64_t done, int64_t total, const char *status,
                     double eta_seconds);
    void *user;
    /* Non-zero: finish the step, save, return EINTERRUPTED.  NULL: never. */
    const volatile sig_atomic_t *stop;
    int threads; /* > 0 */
};

void hold_log(const struct hold_ctx *ctx, enum hold_level level, const char *room,
              const char *format, ...) __attribute__((format(printf, 4, 5)));
bool hold_stopped(const struct hold_ctx *ctx);

double hold_clock_now(void);       /* monotonic seconds */
void hold_clock_iso(char out[32]); /* UTC wall time, "2026-11-24T07:00:00Z" */
int64_t hold_peak_memory(void);    /* bytes: this process's own VmHWM; 0 unknown */
int64_t hold_current_memory(void); /* bytes: VmRSS */
int64_t hold_memory_limit(void);   /* bytes: min(RAM, cgroup limits, RLIMIT_AS); 0 unknown */
/* Bytes that this process may still take: what its limit leaves and what the machine has available
 * (MemAvailable); 0 unknown, 1 when nothing is left. */
int64_t hold_memory_room(void);
/* The limit with `root` in front of /proc and /sys: "" is this machine, tests give a folder. */
int64_t hold_memory_limit_under(const char *root);

#endif
