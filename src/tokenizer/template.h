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
struct hold_rendered {
    struct hold_str text;
    int32_t *message;          /* text.len entries: message index, or HOLD_FROM_... */
    unsigned char *said;       /* text.len entries: from a field other than role and name */
    unsigned char *generation; /* text.len entries: inside a {% generation %} block */
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

/* Tokenise what was rendered.  Control tokens are recognised only in bytes of the template.
 * `said` (may be NULL) receives for every id the index of the assistant message it belongs to as
 * trained text, or -1.  Without generation blocks these are the tokens that begin inside what an
 * assistant message says (its fields other than role and name), and the control token that directly
 * follows it. With generation blocks they are the tokens that begin inside such a block, and no
 * others; a block belongs to the message whose bytes it holds, one without any to none. */
int hold_template_tokenize(const struct hold_tokenizer *tok, const struct hold_rendered *r,
                           const json_t *messages, struct hold_ids *ids, struct hold_ids *said,
                           struct hold_error *err);

#endif
