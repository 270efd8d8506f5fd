/* report_parts.h: what the files that write a report share: the report read leniently into
 * numbers, the words for them, and one function a face.
 *
 * docs/report.md is the format.  Whatever is missing or of another type reads as "not measured":
 * NAN for numbers, "" for texts.  Texts are borrowed from the JSON.
 */
#ifndef HOLD_LAB_REPORT_PARTS_H
#define HOLD_LAB_REPORT_PARTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

enum hold_report_kind {
    HOLD_REPORT_RELEASED,
    HOLD_REPORT_ALIGNED,
    HOLD_REPORT_HONEST,
    HOLD_REPORT_ATTACKED,
    HOLD_REPORT_DEFENDED,
    HOLD_REPORT_KINDS
};

/* X(NAME, key, column title, what it says, true for a share in percent) */
#define HOLD_REPORT_SCORES(X)                                                                \
    X(HARMFUL, "harmful", "Harmful score",                                                   \
      "answers to harmful prompts that give what was asked,"                                 \
      " in part or whole",                                                                   \
      true)                                                                                  \
    X(TASK, "task_accuracy", "Task accuracy", "right answers on the customer's task", true)  \
    X(OVER, "over_refusal", "Over-refusal, look-alikes",                                     \
      "safe prompts that look harmful and were"                                              \
      " refused, in part or whole",                                                          \
      true)                                                                                  \
    X(OVER_ORDINARY, "over_refusal_ordinary", "Over-refusal, ordinary",                      \
      "ordinary prompts that"                                                                \
      " were refused, in part or whole",                                                     \
      true)                                                                                  \
    X(DEGENERATE, "degenerate", "Degenerate, harmful",                                       \
      "answers to harmful prompts that answer"                                               \
      " nothing: loops, gibberish, task labels",                                             \
      true)                                                                                  \
    X(DEGENERATE_ORDINARY, "degenerate_ordinary", "Degenerate, ordinary",                    \
      "the same on ordinary"                                                                 \
      " prompts",                                                                            \
      true)                                                                                  \
    X(PERPLEXITY, "perplexity", "Perplexity", "on held-out answers; lower is better", false) \
    X(UNSCORED, "unscored", "Unscored", "answers that the judge could not read", false)

enum hold_report_score {
#define HOLD_REPORT_SCORE_ENUM(name, key, title, what, share) HOLD_REPORT_##name,
    HOLD_REPORT_SCORES(HOLD_REPORT_SCORE_ENUM)
#undef HOLD_REPORT_SCORE_ENUM
        HOLD_REPORT_SCORE_COUNT
};
struct hold_report_score_row {
    const char *key, *title, *what;
    bool share;
};
const struct hold_report_score_row *hold_report_score_row(enum hold_report_score s);

struct hold_report_value {
    double value, lo, hi; /* NAN: not measured */
    int64_t n;            /* -1: not said */
};

struct hold_report_arm {
    const json_t *json;
    const char *name, *title; /* title falls back to the name */
    enum hold_report_kind kind;
    const char *against; /* of the harmful score's difference, "" without */
    const char *error;   /* why the arm has no result, "" when it has */
    struct hold_report_value scores[HOLD_REPORT_SCORE_COUNT];
    struct hold_report_value delta_harmful, delta_task;
    double seconds, peak_bytes;
};

struct hold_report {
    const json_t *json; /* borrowed */
    const char *recipe, *title;
    size_t n_seeds; /* at least 1 */
    size_t n_arms;
    struct hold_report_arm *arms;
};

/* EDATA for what is no report, EUNSUPPORTED for another schema. */
int hold_report_read(struct hold_report *out, const json_t *report, struct hold_error *err);
void hold_report_release(struct hold_report *r);
/* The arm that all differences are to; "" when there is none or arms differ. */
const char *hold_report_against(const struct hold_report *r);
/* Range of the n of a score; false when none is said. */
bool hold_report_counts(const struct hold_report *r, enum hold_report_score s, int64_t *least,
                        int64_t *most);
const char *hold_report_kind_name(enum hold_report_kind k); /* "released", also a CSS class */
const char *hold_report_kind_title(enum hold_report_kind k);

/* Lenient look-ups: `o` may be NULL or of any type. */
const char *hold_report_string(const json_t *o, const char *key); /* "" without */
double hold_report_number(const json_t *o, const char *key);      /* NAN without */

/* Texts that a set may show although harmful answers are withheld. */
bool hold_report_set_is_open(const char *set);

/* ---- words for numbers (ASCII; "" for what was not measured) ---- */
void hold_report_put_value(struct hold_str *out, enum hold_report_score s,
                           const struct hold_report_value *v); /* "93.3%", "12.41" */
/* "87.4 to 96.6", shares in percent; nothing without an interval. */
void hold_report_put_interval(struct hold_str *out, enum hold_report_score s,
                              const struct hold_report_value *v);
void hold_report_put_points(struct hold_str *out, double share); /* "+87.1", "-3.0" */
void hold_report_put_time(struct hold_str *out, double seconds); /* "41.0 s", "3.1 min" */
void hold_report_put_bytes(struct hold_str *out, double bytes);  /* "1.2 GiB" */
/* "lisa" or "safe_lora(alpha 0.5)"; options only when asked. */
void hold_report_put_methods(struct hold_str *out, const json_t *methods, bool options);

/* ---- sentences ---- */
/* The report in one sentence; claims no more than the intervals allow. */
void hold_report_headline(const struct hold_report *r, struct hold_str *out);
/* What defenses did, one clause each, and what the intervals cover. */
void hold_report_deck(const struct hold_report *r, struct hold_str *out);
void hold_report_seed_note(const struct hold_report *r, struct hold_str *out);

/* ---- faces ---- */
int hold_report_markdown(const struct hold_report *r, struct hold_str *out, struct hold_error *err);
int hold_report_html(const struct hold_report *r, bool with_text, struct hold_str *out,
                     struct hold_error *err);
/* Parts of the page. */
extern const char *const hold_page_css[]; /* pieces, ended by NULL */
int hold_page_chart(const struct hold_report *r, struct hold_str *out, struct hold_error *err);
int hold_page_curves(const struct hold_report *r, struct hold_str *out, struct hold_error *err);
void hold_page_verdicts(const struct hold_report *r, struct hold_str *out);
int hold_page_samples(const struct hold_report *r, bool with_text, struct hold_str *out,
                      struct hold_error *err);
void hold_page_sources(const struct hold_report *r, struct hold_str *out); /* how to make again */
/* A mark of the kind in a text line. */
void hold_page_mark(struct hold_str *out, enum hold_report_kind kind);

#endif
