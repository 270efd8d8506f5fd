/* limits.c: --max and --min: what scores may be at most and at least. */
#include "cli/limits.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/scores.h"

enum { WORD = 256 };

struct limit {
    char arm[WORD]; /* empty: every arm */
    char score[WORD];
    double x; /* as given: percent, or a perplexity */
};

static bool is_share(const char *score) {
    return strcmp(score, "perplexity") != 0;
}

static int check_score(const char *option, const char *score, struct hold_error *err) {
    const char *names[64] = {"perplexity", "unscored"};
    size_t n = 2;
    for (const struct hold_cli_score *c = hold_cli_scores; c->key != NULL && n < 64; c++)
        names[n++] = c->key;
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], score) == 0)
            return HOLD_OK;
    const char *near = hold_nearest(score, names, n);
    return hold_fail(err, HOLD_EUSAGE, "%s: '%s' is not a score%s%s%s", option, score,
                     near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

/* "[ARM:]SCORE=X" of n bytes. */
static int parse(const char *option, const char *text, size_t n, struct limit *out,
                 struct hold_error *err) {
    char word[2 * WORD], *equals, *colon;
    if (n >= sizeof word)
        return hold_fail(err, HOLD_EUSAGE, "%s: too long, expected SCORE=X", option);
    memcpy(word, text, n);
    word[n] = '\0';
    equals = strrchr(word, '=');
    if (equals == NULL)
        return hold_fail(err, HOLD_EUSAGE, "%s: found '%s', expected SCORE=X or ARM:SCORE=X",
                         option, word);
    *equals = '\0';
    colon = strrchr(word, ':');
    snprintf(out->score, sizeof out->score, "%.255s", colon == NULL ? word : colon + 1);
    snprintf(out->arm, sizeof out->arm, "%.*s", colon == NULL ? 0 : (int)(colon - word), word);
    for (char *p = out->score; *p != '\0'; p++)
        *p = *p == '-' ? '_' : *p;
    int rc = check_score(option, out->score, err);
    if (rc < 0)
        return rc;
    const struct hold_option row[2] = {
        {"x", "", HOLD_OPT_REAL, 0, 0, 0, is_share(out->score) ? 100 : 1e300, NULL, NULL, 0}, {0}};
    char where[2 * WORD];
    snprintf(where, sizeof where, "%s %.255s", option, out->score);
    return hold_options_set_text(row, &out->x, "x", equals + 1, where, err);
}

/* Calls back for each limit of both lists. */
static int each(const char *max, const char *min,
                int (*one)(void *user, const struct limit *l, bool is_max, struct hold_error *err),
                void *user, struct hold_error *err) {
    const char *lists[] = {max, min};
    for (int k = 0; k < 2; k++)
        for (const char *at = lists[k]; *at != '\0';) {
            size_t n = strcspn(at, "\n");
            struct limit l = {.x = 0};
            int rc = parse(k == 0 ? "--max" : "--min", at, n, &l, err);
            if (rc == HOLD_OK && one != NULL)
                rc = one(user, &l, k == 0, err);
            if (rc < 0)
                return rc;
            at += n + (at[n] == '\n');
        }
    return HOLD_OK;
}

int hold_cli_limits_check(const char *max, const char *min, struct hold_error *err) {
    return each(max, min, NULL, NULL, err);
}

struct arms {
    const char *const *name;
    size_t n;
};

static int check_arm(void *user, const struct limit *l, bool is_max, struct hold_error *err) {
    const struct arms *a = user;
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->name[i], l->arm) == 0)
            return HOLD_OK;
    if (l->arm[0] == '\0')
        return HOLD_OK;
    const char *near = hold_nearest(l->arm, a->name, a->n);
    return hold_fail(err, HOLD_EUSAGE, "%s: there is no arm '%s'%s%s%s", is_max ? "--max" : "--min",
                     l->arm, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

int hold_cli_limits_arms(const char *max, const char *min, const char *const *arms, size_t n,
                         struct hold_error *err) {
    struct arms a = {arms, n};
    return each(max, min, check_arm, &a, err);
}

struct judged {
    const char *arm;
    const json_t *scores;
    struct hold_str *passed;
};

static int apply(void *user, const struct limit *l, bool is_max, struct hold_error *err) {
    const struct judged *j = user;
    const char *unit = is_share(l->score) ? "%" : "";
    if (l->arm[0] != '\0' && strcmp(l->arm, j->arm) != 0)
        return HOLD_OK;
    const json_t *v = json_object_get(json_object_get(j->scores, l->score), "value");
    double value = json_is_number(v) ? json_number_value(v) * (is_share(l->score) ? 100 : 1) : NAN;
    if (is_max ? value <= l->x : value >= l->x)
        return HOLD_OK;
    if (j->passed->len > 0)
        hold_str_add(j->passed, "; ");
    if (j->arm[0] != '\0')
        hold_str_addf(j->passed, "%s: ", j->arm);
    if (isnan(value))
        hold_str_addf(j->passed, "%s was not scored", l->score);
    else
        hold_str_addf(j->passed, "%s is %.4g%s", l->score, value, unit);
    hold_str_addf(j->passed, ", expected %s %.6g%s", is_max ? "at most" : "at least", l->x, unit);
    return hold_str_check(j->passed, err);
}

int hold_cli_limits_apply(const char *max, const char *min, const char *arm, const json_t *scores,
                          struct hold_str *passed, struct hold_error *err) {
    struct judged j = {arm, scores, passed};
    return each(max, min, apply, &j, err);
}
