/* json.h: what we ask of jansson in one place: reading with a place in the message, canonical
 * text, typed look-ups.  json_t ownership follows jansson: "new" or "borrowed" is said each time.
 */
#ifndef HOLD_BASE_JSON_H
#define HOLD_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/str.h"

/* Parse n bytes; on failure the message is "NAME:LINE:COLUMN: text" (line counted from first_line).
 * Duplicate keys, trailing text and depth above jansson's limit are refused.  New reference. */
int hold_json_parse(json_t **out, const char *bytes, size_t n, const char *name, long first_line,
                    struct hold_error *err);
/* For those who make messages of their own: json_loadb that refuses duplicate keys, with jansson's
 * `flags` besides, and says json_error_out_of_memory whenever that is what it was.  New reference
 * or NULL. */
json_t *hold_json_read(const char *bytes, size_t n, size_t flags, json_error_t *at);
int hold_json_load(json_t **out, const char *path, struct hold_error *err);
/* Pretty (2 spaces, keys in insertion order) and atomic. */
int hold_json_save(const char *path, const json_t *value, struct hold_error *err);
/* Canonical text: compact, keys sorted, shortest round-trip numbers.  Appends to out. */
int hold_json_canonical(const json_t *value, struct hold_str *out, struct hold_error *err);
/* One line, compact, insertion order; appends to out. */
int hold_json_line(const json_t *value, struct hold_str *out, struct hold_error *err);

/* The value, or NULL, released, when `bad` is not 0: for lists and objects that are built item by
 * item and of which none may be missing. */
json_t *hold_json_whole(json_t *value, int bad);

/* What a value is, for messages: "an object", "text", "null"; "nothing" for NULL. */
const char *hold_json_kind(const json_t *value);

/* Typed look-ups in an object; `where` starts the message ("config.json").  A missing or null key
 * is an error unless a default form is used; a value of the wrong type always is. */
int hold_json_get_int(const json_t *o, const char *key, int64_t *out, const char *where,
                      struct hold_error *err);
int hold_json_get_real(const json_t *o, const char *key, double *out, const char *where,
                       struct hold_error *err);
int hold_json_get_text(const json_t *o, const char *key, const char **out, const char *where,
                       struct hold_error *err); /* borrowed */
int hold_json_int_or(const json_t *o, const char *key, int64_t def, int64_t *out, const char *where,
                     struct hold_error *err);
int hold_json_real_or(const json_t *o, const char *key, double def, double *out, const char *where,
                      struct hold_error *err);
int hold_json_text_or(const json_t *o, const char *key, const char *def, const char **out,
                      const char *where, struct hold_error *err); /* borrowed */
int hold_json_bool_or(const json_t *o, const char *key, bool def, bool *out, const char *where,
                      struct hold_error *err);

#endif
