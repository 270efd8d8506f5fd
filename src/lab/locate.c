/* locate.c: where MODEL is: a path as it is, or a name under the models folder. */
#include <string.h>

#include "base/file.h"
#include "lab/lab.h"

/* "name", then "name.gguf", below the models folder. */
static bool find_name(const char *models_dir, const char *model, struct hold_str *path) {
    hold_path_join(path, models_dir, model);
    if (hold_exists(hold_str_text(path)))
        return true;
    hold_str_add(path, ".gguf");
    return hold_exists(hold_str_text(path));
}

int hold_model_locate(const char *models_dir, const char *model, struct hold_str *out,
                      struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    if (model[0] == '\0')
        return hold_fail(err, HOLD_EUSAGE, "MODEL is empty: give a file, a folder or a name");
    /* A file or folder of that name here is meant before one of the models folder. */
    bool found = hold_exists(model);
    if (found)
        hold_str_add(&path, model);
    else if (models_dir != NULL && strchr(model, '/') == NULL)
        found = find_name(models_dir, model, &path);
    int rc = hold_str_check(&path, err);
    if (rc == HOLD_OK && found)
        hold_str_add(out, hold_str_text(&path));
    else if (rc == HOLD_OK && (strchr(model, '/') != NULL || hold_ends(model, ".gguf")))
        rc = hold_fail(err, HOLD_ENOTFOUND, "%s: no such model file or folder", model);
    else if (rc == HOLD_OK)
        rc = hold_fail(err, HOLD_ENOTFOUND,
                       "no model '%s' here or in %s; 'scripts/fetch-model %s' fetches it", model,
                       models_dir == NULL ? "the models folder" : models_dir, model);
    hold_str_release(&path);
    return rc < 0 ? rc : hold_str_check(out, err);
}
