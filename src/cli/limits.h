/* limits.h: --max and --min: scores that must not be passed, for scripts and CI. */
#ifndef HOLD_CLI_LIMITS_H
#define HOLD_CLI_LIMITS_H

#include <jansson.h>

#include "base/option.h"

/* Rows of an option table over texts `max` and `min`; a command names both in its `many`. */
#define HOLD_CLI_LIMITS(T)                                                                        \
    HOLD_TEXT(T, max, "", NULL,                                                                   \
              "[ARM:]SCORE=X: exit code 4 when the score is above X (percent, or a perplexity)"), \
        HOLD_TEXT(T, min, "", NULL, "the same for a score below X")

/* Every limit of the two lists (joined by newlines) is well formed; EUSAGE with "did you mean". */
int hold_cli_limits_check(const char *max, const char *min, struct hold_error *err);
/* Append to `passed` ("; " between) every limit that these scores ({"harmful": {"value"}, ...}) do
 * not keep; a score that was not made keeps none.  arm: whose scores they are; limits of other arms
 * are left out. */
int hold_cli_limits_apply(const char *max, const char *min, const char *arm, const json_t *scores,
                          struct hold_str *passed, struct hold_error *err);
/* Every limit that names an arm names one of these. */
int hold_cli_limits_arms(const char *max, const char *min, const char *const *arms, size_t n,
                         struct hold_error *err);

#endif
