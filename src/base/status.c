/* status.c: error codes by number and the writing of error messages. */
#include "base/status.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

struct status_row {
    int code;
    const char *name, *text;
    int http, exit;
};

static const struct status_row ROWS[] = {
#define STATUS_ROW(name, code, short_name, text, http, exit) {code, short_name, text, http, exit},
    HOLD_STATUSES(STATUS_ROW)
#undef STATUS_ROW
};

enum { ROW_COUNT = sizeof(ROWS) / sizeof(ROWS[0]) };

static const struct status_row *find_row(int code) {
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (ROWS[i].code == code)
            return &ROWS[i];
    return find_row(HOLD_EINTERNAL);
}

const char *hold_status_name(int code) {
    return find_row(code)->name;
}

const char *hold_status_text(int code) {
    return find_row(code)->text;
}

int hold_status_http(int code) {
    return find_row(code)->http;
}

int hold_status_exit(int code) {
    return find_row(code)->exit;
}

int hold_fail(struct hold_error *err, int code, const char *format, ...) {
    /* Formatted aside first: an argument may be err->text itself. */
    char raw[HOLD_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    hold_vformat(raw, sizeof(raw), format, args);
    va_end(args);
    err->code = code;
    hold_visible(err->text, sizeof(err->text), raw);
    return code;
}

static int code_of_errno(int sys_errno) {
    switch (sys_errno) {
    case ENOENT:
        return HOLD_ENOTFOUND;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return HOLD_ENOSPACE;
    case ENOMEM:
        return HOLD_ENOMEMORY;
    default:
        return HOLD_EIO;
    }
}

int hold_fail_errno(struct hold_error *err, int sys_errno, const char *format, ...) {
    char raw[HOLD_ERROR_TEXT];
    va_list args;
    va_start(args, format);
    hold_vformat(raw, sizeof(raw), format, args);
    va_end(args);
    const char *reason = strerrordesc_np(sys_errno);
    if (!reason)
        return hold_fail(err, code_of_errno(sys_errno), "%s: system error %d", raw, sys_errno);
    /* "No such file" reads as "no such file" in the middle of a line. */
    return hold_fail(err, code_of_errno(sys_errno), "%s: %c%s", raw,
                     tolower((unsigned char)reason[0]), reason + 1);
}
