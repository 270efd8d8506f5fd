/* template.h: chat templates: the Jinja subset that real templates use, rendered to text that
 * knows for every byte where it came from, so that no text of a message can become a control token
 * and training knows which bytes the assistant said.
 */
#ifndef HOLD_TOKENIZER_TEMPLATE_H
#define HOLD_TOKENIZER_TEMPLATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "tokenizer/tokenizer.h"

struct hold_template;

/* Compile.  Errors name the line of the template.  `name` is for messages. */
int hold_template_new(struct hold_template **out, const char *source, const char *name,
                      struct hold_error *err);
void hold_template_free(struct hold_template *t);
const char *hold_template_source(const struct hold_template *t);

/* Rendered text: bytes, and for each byte where it came from.  All strings inside message i, and
 * what string operations make of them, carry i; text of the template, bos_token and eos_token carry
 * HOLD_FROM_TEMPLATE; other variables (tools, documents ...) carry HOLD_FROM_OTHER. */
enum { HOLD_FROM_TEMPLATE = -1, HOLD_FROM_OTHER = -2 };
enum { HOLD_SAID_TEXT = 1, HOLD_SAID_CALL = 2 };
struct hold_rendered {
    struct hold_str text;
    int32_t *message;    /* text.len entries: message index, or HOLD_FROM_... */
    unsigned char *said; /* text.len entries: from a field other than role and name: tool_calls
                            HOLD_SAID_CALL, others HOLD_SAID_TEXT; 0: from none */
    unsigned char *generation; /* text.len entries: inside a {% generation %} block */
    int32_t *owner;            /* text.len entries, or NULL: see hold_template_own_calls */
    bool has_generation;       /* the template marks its generation blocks */
};
void hold_rendered_release(struct hold_rendered *r);

struct hold_render_options {
    bool add_generation_prompt;
    const char *bos_token, *eos_token; /* text, or NULL: undefined in the template */
    const json_t *extra;               /* further variables (tools, ...); object or NULL */
    int64_t now;                       /* Unix time for strftime_now, which tells UTC */
};
/* `messages`: array of {"role","content",...}.  Budgets: depth 64, 1e6 steps, 4 MiB of output. */
int hold_template_render(const struct hold_template *t, const json_t *messages,
                         const struct hold_render_options *options, struct hold_rendered *out,
                         struct hold_error *err);

/* A call of a tool is the assistant's with what the template writes around it, which the model has
 * to learn as well ("<tool_call>" ... "</tool_call>").  Fills r->owner with the index of the
 * message for all bytes of messages with tool_calls, from behind what the generation prompt gives
 * to their end, white space behind it left out; -1 elsewhere.  Where a message ends and begins is
 * found by rendering the messages up to it.  *inexact: where that differs from the whole rendering
 * only what the call itself says is marked.  Does nothing where the template has generation blocks.
 */
int hold_template_own_calls(const struct hold_template *t, const json_t *messages,
                            const struct hold_render_options *options, struct hold_rendered *r,
                            bool *inexact, struct hold_error *err);

/* Tokenise what was rendered.  Control tokens are recognised only in bytes of the template.
 * `said` (may be NULL) receives for every id the index of the assistant message it belongs to as
 * trained text, or -1.  Without generation blocks these are the tokens that begin inside what an
 * assistant message says (its fields other than role and name), what r->owner gives it, and the
 * control token that directly follows it. With generation blocks they are the tokens that begin
 * inside such a block, and no others; a block belongs to the message whose bytes it holds, one
 * without any to none. */
int hold_template_tokenize(const struct hold_tokenizer *tok, const struct hold_rendered *r,
                           const json_t *messages, struct hold_ids *ids, struct hold_ids *said,
                           struct hold_error *err);

#endif
