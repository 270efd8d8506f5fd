/* status.h: the one table of error codes, and the slot that carries a message to the user.
 *
 * Every function that can fail returns int: HOLD_OK (0) or a negative code of this table, and takes
 * `struct hold_error *err` as its last argument (never NULL).  The message is written once, where
 * the cause is known; callers hand the code on and add nothing.  Message grammar: where (file:line,
 * byte offset or field), what was found, what was expected; lower case, no full stop, one line.
 */
#ifndef HOLD_BASE_STATUS_H
#define HOLD_BASE_STATUS_H

/* X(name, code, short name, text, HTTP status, exit status) */
#define HOLD_STATUSES(X)                                                      \
    X(OK, 0, "ok", "done", 200, 0)                                            \
    X(EUSAGE, -1, "usage", "wrong usage or configuration", 400, 2)            \
    X(EDATA, -2, "data", "bad data", 422, 1)                                  \
    X(EFORMAT, -3, "format", "file is damaged or of another kind", 422, 1)    \
    X(ENOTFOUND, -4, "not_found", "no such thing", 404, 2)                    \
    X(EIO, -5, "io", "input or output failed", 500, 1)                        \
    X(ENOSPACE, -6, "no_space", "no space left", 507, 1)                      \
    X(ENOMEMORY, -7, "no_memory", "not enough memory", 507, 1)                \
    X(EDIVERGED, -8, "diverged", "training diverged", 422, 1)                 \
    X(EBUSY, -9, "busy", "in use by another process", 409, 1)                 \
    X(EINTERRUPTED, -10, "interrupted", "interrupted after saving", 503, 130) \
    X(EGATE, -11, "gate", "the gate said no", 403, 3)                         \
    X(ETHRESHOLD, -12, "threshold", "a threshold was not met", 422, 4)        \
    X(EUNSUPPORTED, -13, "unsupported", "not supported", 422, 1)              \
    X(EINTERNAL, -14, "internal", "internal error", 500, 1)

enum hold_status {
#define HOLD_STATUS_ENUM(name, code, short_name, text, http, exit) HOLD_##name = (code),
    HOLD_STATUSES(HOLD_STATUS_ENUM)
#undef HOLD_STATUS_ENUM
};

enum { HOLD_ERROR_TEXT = 1024 };

/* The caller owns it, usually on the stack; `struct hold_error err = {0};` is ready to use. */
struct hold_error {
    int code;
    char text[HOLD_ERROR_TEXT];
};

/* Write the message (printf form, cut at HOLD_ERROR_TEXT, control characters made visible) and
 * return `code`, so that `return hold_fail(err, HOLD_EDATA, "...")` reads as one step. */
int hold_fail(struct hold_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As hold_fail, for a failed system call: appends strerror of `sys_errno` and picks the code
 * (ENOENT -> ENOTFOUND, ENOSPC/EDQUOT/EFBIG -> ENOSPACE, ENOMEM -> ENOMEMORY, else EIO). */
int hold_fail_errno(struct hold_error *err, int sys_errno, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Short name ("data"), text, HTTP status and exit status of a code; unknown codes read as
 * EINTERNAL. */
const char *hold_status_name(int code);
const char *hold_status_text(int code);
int hold_status_http(int code);
int hold_status_exit(int code);

#endif
