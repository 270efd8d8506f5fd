/* option.h: one option table, many faces.
 *
 * A unit (method, command, stage) describes its options once as rows over a struct of its own.
 * From the rows come CLI flags and --help, recipe keys with their bounds, the manual page, `list
 * --json` and the exact values written to a manifest.  No face holds a second copy.
 */
#ifndef HOLD_BASE_OPTION_H
#define HOLD_BASE_OPTION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

enum hold_option_type {
    HOLD_OPT_END,
    HOLD_OPT_REAL, /* double */
    HOLD_OPT_INT,  /* int64_t */
    HOLD_OPT_BOOL, /* bool */
    HOLD_OPT_TEXT, /* const char *: borrowed from the table, argv or an arena */
    HOLD_OPT_TYPE_COUNT
};

struct hold_option {
    const char *name; /* snake_case; the CLI shows and accepts kebab-case too */
    const char *help; /* lower case, no full stop, names the unit */
    enum hold_option_type type;
    size_t offset;
    double def, min, max;
    const char *text;    /* default of a TEXT */
    const char *choices; /* TEXT: "a|b|c", or NULL for any */
    char letter;         /* one-letter CLI form, or 0 */
};

/* The row's field must have the row's type: an array of size -1 does not compile. */
#define HOLD_IS(T, f, type) (0 * sizeof(char[_Generic(((T *)0)->f, type : 1, default : -1)]))
#define HOLD_REAL(T, f, def, lo, hi, help) \
    { #f, help, HOLD_OPT_REAL, offsetof(T, f) + HOLD_IS(T, f, double), def, lo, hi, NULL, NULL, 0 }
#define HOLD_INT(T, f, def, lo, hi, help) \
    { #f, help, HOLD_OPT_INT, offsetof(T, f) + HOLD_IS(T, f, int64_t), def, lo, hi, NULL, NULL, 0 }
#define HOLD_BOOL(T, f, def, help) \
    { #f, help, HOLD_OPT_BOOL, offsetof(T, f) + HOLD_IS(T, f, bool), def, 0, 1, NULL, NULL, 0 }
#define HOLD_TEXT(T, f, def, choices, help)                                                  \
    {                                                                                        \
#f, help, HOLD_OPT_TEXT, offsetof(T, f) + HOLD_IS(T, f, const char *), 0, 0, 0, def, \
            choices, 0                                                                       \
    }

/* Fill `target` with the defaults of `rows` (ended by a zero row; NULL: none). */
void hold_options_defaults(const struct hold_option *rows, void *target);
/* Set one option from text (a CLI value, an override `key=value`).  '-' and '_' are the same in
 * names.  `where` starts the message: "--learning-rate" or "recipe.yaml:12: vaccine.rho".
 * Unknown names: EUSAGE with "did you mean".  `text` is kept (borrowed) by TEXT options. */
int hold_options_set_text(const struct hold_option *rows, void *target, const char *name,
                          const char *text, const char *where, struct hold_error *err);
/* The same from a JSON value (recipe, manifest, API). Strings are borrowed from `value`. */
int hold_options_set_json(const struct hold_option *rows, void *target, const char *name,
                          const json_t *value, const char *where, struct hold_error *err);
const struct hold_option *hold_options_find(const struct hold_option *rows, const char *name);
/* All values as a JSON object in row order.  New reference. */
json_t *hold_options_to_json(const struct hold_option *rows, const void *target);
/* The rows as [{"name","type","default","min","max","choices","help"}].  New reference. */
json_t *hold_options_describe(const struct hold_option *rows);
/* One help line a row: "  --learning-rate X   help (default 2e-4)"; appended to out. */
void hold_options_help(const struct hold_option *rows, struct hold_str *out);

#endif
