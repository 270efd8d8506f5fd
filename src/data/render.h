/* render.h: rows to tokenised examples, and the checks that need a model's tokenizer. */
#ifndef HOLD_DATA_RENDER_H
#define HOLD_DATA_RENDER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "data/batch.h"
#include "data/rows.h"
#include "tokenizer/template.h"
#include "tokenizer/tokenizer.h"

/* How text becomes tokens: the model's tokenizer and template, and what a job or profile changes.
 * Borrowed pointers. */
struct hold_renderer {
    const struct hold_tokenizer *tokenizer;
    const struct hold_template *chat; /* NULL: chat rows are refused */
    const char *bos_token, *eos_token;
    const char *system;    /* put before rows without a system message; NULL: template's own way;
                              "" : an empty system message */
    const char *prefix;    /* put before every last user text; NULL: none */
    int32_t max_length;    /* tokens; longer rows are cut at the end (counted); 0: no limit */
    bool add_bos, add_eos; /* text rows: what the vocabulary says (hold_vocab.add_bos, add_eos) */
    int64_t now;           /* Unix time that templates see; fixed by a job, so that tokens are */
};

/* A whole row as tokens, before any cut.  `messages` are those that were rendered: with the job's
 * system text and prefix; NULL for text rows.  said[t] is the index in them of the assistant
 * message that says token t as trained text, -1 for none; empty for text rows.  inexact_calls: the
 * template writes something around the calls of tools of which it cannot be told whose it is, and
 * which is not trained. */
struct hold_row_tokens {
    json_t *messages;
    struct hold_ids ids, said;
    bool inexact_calls;
};
/* `where` ("FILE:LINE") starts the message of an error.  A pair is refused: see hold_row_side.  So
 * are a row's tools, calls of tools and answers of tools that the template leaves out. A developer
 * is the system to a template that does not know the word. */
int hold_render_row(const struct hold_renderer *r, const struct hold_row *row, const char *where,
                    struct hold_row_tokens *out, struct hold_error *err);
/* The weight of predicting token t; 0: not trained. */
float hold_row_token_weight(const struct hold_row_tokens *tokens, size_t t);
void hold_row_tokens_release(struct hold_row_tokens *tokens);

/* One row to an example.  Chat rows: trained tokens are the assistant's (see template.h), weighted
 * by the message's "weight" (default 1).  Text rows: every token after the first, with BOS/EOS as
 * the tokenizer says.  *cut tells that max_length removed tokens.  Owned by the caller. */
int hold_render_example(const struct hold_renderer *r, const struct hold_row *row, int64_t index,
                        const char *where, struct hold_example *out, bool *cut,
                        struct hold_error *err);
void hold_example_release(struct hold_example *e);

/* A prompt for generation: the messages, without the last one where the assistant says it, and the
 * generation prompt; tools: a list or NULL.  Appended to out. */
int hold_render_prompt(const struct hold_renderer *r, const json_t *messages, const json_t *tools,
                       struct hold_ids *out, struct hold_error *err);

/* All rows; out has rows->n examples.  Rows without any trained token are refused (EDATA) unless
 * recorded as issues; n_cut counts cut rows.  With issues, a row that cannot be rendered at all is
 * recorded too and its example has n = 0: who trains checks n_errors first. */
struct hold_set {
    int64_t n;
    struct hold_example *example;
    int64_t n_cut, n_tokens, n_trained;
};
int hold_render_set(const struct hold_renderer *r, const struct hold_rows *rows,
                    struct hold_set *out, struct hold_issues *issues, struct hold_error *err);
void hold_set_release(struct hold_set *s);

/* Findings about rows that could be read, in the order of the rows.  Errors: no_assistant_text,
 * no_trained_token, not_rendered, empty_file.  Warnings: duplicates, special_token_text,
 * truncated_answer (max_length), missing_end_of_turn, call_not_trained (see inexact_calls),
 * preference_rows (once, with the layout), same_answers.  Both sides of a pair are looked at.  With
 * r NULL only what needs no tokenizer is looked for: no_assistant_text, empty_file, duplicates,
 * preference_rows, same_answers. */
int hold_check_rows(const struct hold_renderer *r, const struct hold_rows *rows,
                    struct hold_issues *issues, struct hold_error *err);

#endif
