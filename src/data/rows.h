/* rows.h: training and prompt rows as users write them: messages, ShareGPT, Alpaca,
 * prompt/completion, text, preference pairs; JSONL, JSON array, CSV, TSV.  Nothing is dropped
 * silently: a bad row is an error with file:line and JSON path, and a caller that wants all of them
 * collects them as issues.
 */
#ifndef HOLD_DATA_ROWS_H
#define HOLD_DATA_ROWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

enum hold_row_format {
    HOLD_ROW_MESSAGES,
    HOLD_ROW_SHAREGPT,
    HOLD_ROW_ALPACA,
    HOLD_ROW_PROMPT_COMPLETION,
    HOLD_ROW_TEXT,
    HOLD_ROW_PROMPT,
    /* A better and a worse answer: behind a prompt, as whole conversations (or texts), as
     * transcripts of HH-RLHF, in OpenAI's lines; and KTO's single answers, each judged. */
    HOLD_ROW_PAIR_PROMPT,
    HOLD_ROW_PAIR_WHOLE,
    HOLD_ROW_PAIR_TRANSCRIPT,
    HOLD_ROW_PAIR_OPENAI,
    HOLD_ROW_JUDGED,
    HOLD_ROW_FORMAT_COUNT
};
/* A stable word, "pair/prompt", and for people "prompt, chosen, rejected". */
const char *hold_row_format_name(enum hold_row_format format);
const char *hold_row_format_about(enum hold_row_format format);

/* What a row of preferences has: both answers, or one of them.  ONLY: other rows. */
enum hold_side { HOLD_SIDE_ONLY, HOLD_SIDE_BOTH, HOLD_SIDE_CHOSEN, HOLD_SIDE_REJECTED };

/* One row, normalised.  Chat rows hold messages ([{"role","content","weight"?,"tool_calls"?}]);
 * text rows hold text.  A pair is two rows that share a prompt: messages (or text) are the chosen
 * one's, and rejected (or rejected_text) the other's; the first `shared` messages are the same.
 * `data` is the whole original object (id, label, category, source ...). */
struct hold_row {
    enum hold_row_format format;
    enum hold_side side;
    json_t *messages;          /* owned; NULL for text rows */
    json_t *rejected;          /* owned; NULL but for pairs */
    json_t *tools;             /* owned; a list that is not empty, or NULL */
    const char *text;          /* borrowed from data; NULL for chat rows */
    const char *rejected_text; /* likewise; NULL but for pairs of texts */
    int32_t shared;
    json_t *data; /* owned; CSV rows become objects of strings */
    json_t *file; /* owned; the path of the file it stands in, a text that its rows share */
    long line;    /* 1-based line where the row starts */
    char id[17];  /* first 16 hex digits of SHA-256 of the normalised prompt */
};
struct hold_rows {
    char *path; /* for messages; of rows that were joined, the first file's */
    int64_t n, cap;
    struct hold_row *row;
};

/* A finding about a file: an error makes the row unusable, a warning does not. */
struct hold_issue {
    bool error;
    long line;
    char *text;       /* "file:line[:column]: error: messages[2].role: ..."; owned */
    const char *rule; /* stable word: "syntax", "unknown_role", "no_trained_token", ... */
};
/* The counts are of all findings; the texts are kept of the first HOLD_ISSUES_KEPT errors and as
 * many warnings, so that a damaged file of many lines cannot fill the memory, and no errors stay
 * unsaid behind warnings. */
enum { HOLD_ISSUES_KEPT = 10000 };
struct hold_issues {
    int64_t n, cap, n_errors, n_warnings;
    struct hold_issue *item;
};
int hold_issues_add(struct hold_issues *s, bool error, const char *rule, long line,
                    struct hold_error *err, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
void hold_issues_release(struct hold_issues *s);

/* Read all rows of a file ("-": standard input).  With issues NULL the first bad row fails the call
 * (EDATA); otherwise bad rows are recorded, left out of `out`, and reading goes on. */
int hold_rows_read(struct hold_rows *out, const char *path, struct hold_issues *issues,
                   struct hold_error *err);
/* A pair as one row of its two: borrows all from `row` and is not released.  Other rows stay. */
struct hold_row hold_row_side(const struct hold_row *row, enum hold_side side);
/* Who trains takes one side of all rows of preferences: they become rows of messages (or text),
 * their other keys stay; rows that have the other side only are left out and counted.  With neither
 * CHOSEN nor REJECTED such rows are refused by the name of their layout.  Other rows stay as they
 * are.  Bad rows as in hold_rows_read. */
int hold_rows_take_side(struct hold_rows *rows, enum hold_side side, int64_t *left_out,
                        struct hold_issues *issues, struct hold_error *err);
/* "FILE:LINE" of a row is said with this; "rows" where there is no file. */
const char *hold_row_file(const struct hold_row *row);
/* A row of other rows behind these, with its place: all that it owns is shared.  rows->path is set
 * by the first row of rows that have none. */
int hold_rows_share(struct hold_rows *rows, const struct hold_row *row, struct hold_error *err);
/* Take one parsed object as a row (recipes, API). `data` is borrowed (a reference is added). */
int hold_rows_add(struct hold_rows *rows, json_t *data, long line, struct hold_issues *issues,
                  struct hold_error *err);
/* Keep the first n rows, if there are more. */
void hold_rows_cut(struct hold_rows *rows, int64_t n);
void hold_rows_release(struct hold_rows *rows);
int hold_rows_write(const struct hold_rows *rows, const char *path,
                    struct hold_error *err); /* JSONL of data, atomic */

/* The text that identifies a row: its last user message (or prompt, or text), NFKC lower-case, runs
 * of non-alphanumerics made one space, trimmed; without `instruction` when the text starts with it.
 * Appended to out. */
int hold_row_normalise(const char *text, const char *instruction, struct hold_str *out,
                       struct hold_error *err);
const char *hold_row_user_text(const struct hold_row *row); /* borrowed; "" when none */

/* Near duplicates between sets: pairs of rows with word Jaccard >= threshold on the normalised
 * text (row i of a, row j of b, in that order); linear-ish by an inverted index of words.  Calls
 * back for each pair until it returns non-zero.  With a == b each pair comes once, i < j.
 * 0 < threshold <= 1; rows without words have no near duplicates. */
int hold_rows_near(const struct hold_rows *a, const struct hold_rows *b, double threshold,
                   int (*found)(void *user, int64_t i, int64_t j, double jaccard), void *user,
                   struct hold_error *err);

#endif
