/* shape.h: what the readers of the shapes of rows share inside this room: faults of a row, texts,
 * messages, turns of ShareGPT, tools, preference pairs.
 */
#ifndef HOLD_DATA_SHAPE_H
#define HOLD_DATA_SHAPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "data/rows.h"

/* Room for a word of the file in a message, and for a place as "messages[12].tool_calls[3]". */
enum { HOLD_SHAPE_SHOWN = 64, HOLD_SHAPE_PLACE = 96 };

/* What is wrong with a row: the rule is a constant word; the text goes to err without its place in
 * the file. */
struct hold_fault {
    const char *rule;
    struct hold_error *err;
};
int hold_shape_bad(struct hold_fault *f, const char *rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int hold_shape_no_memory(struct hold_fault *f);
/* "an object", "a list", "text" ...; of NULL "missing". */
const char *hold_shape_kind(const json_t *value);
/* ": did you mean" for a word of the file; "" when nothing is near. */
const char *hold_shape_hint(char out[HOLD_SHAPE_PLACE], const char *word, const char *const *names,
                            size_t n);
/* The key is there and not null. */
bool hold_shape_has(const json_t *object, const char *key);
/* The value is text without NUL characters. */
int hold_shape_text(struct hold_fault *f, const char *place, const json_t *value);

/* --- messages.c: appended to `list`, checked and made alike --- */
int hold_shape_messages(struct hold_fault *f, const char *name, const json_t *from, json_t *list);
int hold_shape_message(struct hold_fault *f, const char *place, json_t *message, json_t *list);
/* {"from", "value"} of ShareGPT, and a list of them. */
int hold_shape_turn(struct hold_fault *f, const char *place, const json_t *turn, json_t *list);
int hold_shape_turns(struct hold_fault *f, const char *name, const json_t *turns, json_t *list);
int hold_shape_said(struct hold_fault *f, json_t *list, const char *role, const char *text);
/* data[key] as a system message, when it is there and not empty. */
int hold_shape_system(struct hold_fault *f, const json_t *data, json_t *list);
/* The last message with role `role`, as text; NULL: none. */
bool hold_shape_is_role(const json_t *message, const char *role);

/* --- tools.c --- */
/* A message's tool_calls, or the older function_call, as templates expect them: [{"type":
 * "function", "function": {"name", "arguments": {...}}}], in *message itself, which is the caller's
 * own copy.  Without calls both keys are taken out. */
int hold_shape_calls(struct hold_fault *f, const char *place, json_t *message);
bool hold_shape_has_calls(const json_t *message);
/* One or several {"name", "arguments"} written as text (ShareGPT's function_call). New reference.
 */
int hold_shape_calls_text(struct hold_fault *f, const char *place, const char *text, json_t **out);
/* The tools of a row: `tools` (a list, or a text that holds one) or the older `functions`; *out is
 * a new reference, NULL when there are none. */
int hold_shape_tools(struct hold_fault *f, const json_t *data, json_t **out);

/* --- preference.c --- */
/* Which layout of preference rows the keys make; HOLD_ROW_FORMAT_COUNT: none. */
enum hold_row_format hold_shape_preference(const json_t *data);
/* messages, rejected and shared of the row, whose format and data are set (or text and
 * rejected_text). */
int hold_shape_pair(struct hold_fault *f, struct hold_row *row);

#endif
