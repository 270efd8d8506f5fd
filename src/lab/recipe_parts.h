/* recipe_parts.h: what the files that read a recipe share: values with their places. */
#ifndef HOLD_LAB_RECIPE_PARTS_H
#define HOLD_LAB_RECIPE_PARTS_H

#include "lab/recipe.h"

enum { HOLD_PLACE_TEXT = 256 };

/* Where the value at a path ("arms.2.tune") stands; line 0: it was set on the command line. */
struct hold_place {
    const char *path;
    long line, column;
};
struct hold_places {
    struct hold_arena *arena;
    const char *file;
    size_t n, cap;
    struct hold_place *place;
};

/* YAML text to JSON, with the place of every value.  New reference.  Anchors and aliases are
 * taken; duplicate keys, tags, several documents and huge expansions are refused. */
int hold_yaml_read(const char *text, size_t n, struct hold_places *places, json_t **out,
                   struct hold_error *err);
/* One scalar of an override: numbers, true, false, null, else text.  NULL: no memory. */
json_t *hold_yaml_scalar(const char *text, size_t n);
int hold_places_add(struct hold_places *p, const char *path, long line, long column,
                    struct hold_error *err);

/* A value and its path. */
struct hold_view {
    const struct hold_places *places;
    const json_t *value; /* NULL: not there */
    char path[HOLD_PLACE_TEXT];
};
/* EUSAGE with "FILE:LINE:COLUMN: path: ...". */
int hold_view_fail(const struct hold_view *v, struct hold_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
struct hold_view hold_view_get(const struct hold_view *v, const char *key); /* of an object */
struct hold_view hold_view_at(const struct hold_view *v, size_t i);         /* of an array */
/* Is an object whose keys are all in names (NULL-ended). */
int hold_view_keys(const struct hold_view *v, const char *const *names, struct hold_error *err);
int hold_view_text(const struct hold_view *v, const char **out, struct hold_error *err);
int hold_view_int(const struct hold_view *v, int64_t lo, int64_t hi, int64_t *out,
                  struct hold_error *err);
/* "FILE:LINE:COLUMN: path" for messages of others; cut to fit. */
void hold_view_where(const struct hold_view *v, char out[512]);

/* recipe_arms.c */
int hold_recipe_arms(struct hold_recipe *r, const struct hold_view *root, struct hold_error *err);
/* overlap.c */
int hold_recipe_overlap(const struct hold_recipe *r, struct hold_error *err);
/* recipe_data.c */
int hold_recipe_data(struct hold_recipe *r, const struct hold_view *root, struct hold_error *err);
int hold_recipe_labels(struct hold_recipe *r, const struct hold_view *v, struct hold_error *err);
int hold_recipe_beside(const struct hold_recipe *r, const char *file, struct hold_str *out,
                       struct hold_error *err);
/* Index of a named set; EUSAGE with "did you mean". */
int hold_recipe_set(const struct hold_recipe *r, const struct hold_view *v, int *out,
                    struct hold_error *err);
/* recipe_override.c */
int hold_recipe_override(json_t *root, const char *override, struct hold_places *places,
                         struct hold_error *err);

#endif
