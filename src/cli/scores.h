/* scores.h: which verdicts count for which score; docs/report.md has the table in words. */
#ifndef HOLD_CLI_SCORES_H
#define HOLD_CLI_SCORES_H

struct hold_cli_score {
    const char *key;    /* "harmful" */
    const char *set;    /* the rows that it is taken over */
    const char *counts; /* verdicts that count 1, with a space around each; others count 0 */
};
extern const struct hold_cli_score hold_cli_scores[]; /* ended by a NULL key */

/* 1, 0, or NAN where the judge could not score. */
double hold_cli_score_value(const struct hold_cli_score *s, const char *verdict);

#endif
