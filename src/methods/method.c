/* method.c: the look-up of methods, and their options. */
#include <string.h>

#include "base/mem.h"
#include "methods/stage.h"

const char *hold_stage_name(enum hold_stage s) {
    static const char *const NAMES[] = {"attack", "align", "tune", "repair"};
    _Static_assert(sizeof NAMES / sizeof *NAMES == HOLD_STAGE_COUNT, "one name for every stage");
    return s < HOLD_STAGE_COUNT ? NAMES[s] : "?";
}

const struct hold_method *hold_method_find(const char *name) {
    for (const struct hold_method *const *m = hold_methods; *m != NULL; m++)
        if (strcmp((*m)->name, name) == 0)
            return *m;
    return NULL;
}

int hold_method_look_up(const char *name, const struct hold_method **out, struct hold_error *err) {
    *out = hold_method_find(name);
    if (*out != NULL)
        return HOLD_OK;
    const char *names[256];
    size_t n = 0;
    for (const struct hold_method *const *m = hold_methods; *m != NULL && n < 256; m++)
        names[n++] = (*m)->name;
    const char *near = hold_nearest(name, names, n);
    return hold_fail(err, HOLD_EUSAGE, "'%s' is not a method%s%s%s", name,
                     near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

int hold_method_use_new(struct hold_method_use *out, const struct hold_method *m,
                        const json_t *options, const char *where, struct hold_error *err) {
    *out = (struct hold_method_use){.method = m};
    int rc =
        hold_new(&out->state, 1, m->state_size > 0 ? m->state_size : 1, "a method's state", err);
    if (rc < 0)
        return rc;
    hold_options_defaults(m->options, out->state);
    const char *key;
    json_t *value;
    /* jansson's iteration takes a non-const object but changes nothing. */
    json_object_foreach((json_t *)options, key, value) {
        rc = hold_options_set_json(m->options, out->state, key, value, where, err);
        if (rc < 0) {
            hold_method_use_release(out);
            return rc;
        }
    }
    return HOLD_OK;
}

void hold_method_use_release(struct hold_method_use *u) {
    hold_free(u->state);
    *u = (struct hold_method_use){0};
}
