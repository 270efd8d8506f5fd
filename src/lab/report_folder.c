/* report_folder.c: the folder of a run and its report: whose it is, and the mark that says so. */
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "lab/lab.h"

static const char MARK[] = ".holdfast-run";
static const char MARK_TEXT[] = "This folder is written by `holdfast run`.\n";

/* The recipe of the report that the folder holds, "" where it does not say; JSON null for a
 * report.json that is no report, NULL when there is none.  New reference. */
static json_t *recipe_of(const char *dir) {
    struct hold_str path = HOLD_STR_INIT;
    struct hold_error ignored = {0};
    json_t *report = NULL, *name = NULL;
    hold_path_join(&path, dir, "report.json");
    if (hold_exists(hold_str_text(&path))) {
        bool is_report = hold_json_load(&report, hold_str_text(&path), &ignored) == HOLD_OK &&
                         json_is_integer(json_object_get(report, "schema")) &&
                         json_is_array(json_object_get(report, "arms"));
        const char *recipe = json_string_value(json_object_get(report, "recipe"));
        name = is_report ? json_string(recipe == NULL ? "" : recipe) : json_null();
    }
    json_decref(report);
    hold_str_release(&path);
    return name;
}

int hold_report_check_folder(const char *dir, const char *recipe, struct hold_error *err) {
    char **names = NULL;
    size_t n = 0;
    bool marked = false, others = false;
    if (!hold_exists(dir))
        return HOLD_OK;
    if (!hold_is_dir(dir))
        return hold_fail(err, HOLD_EUSAGE, "%s: exists and is not a folder", dir);
    int rc = hold_dir_list(dir, &names, &n, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        marked = marked || strcmp(names[i], MARK) == 0;
        others = others || !hold_is_debris(names[i]);
    }
    hold_names_free(names, n);
    json_t *of = recipe_of(dir);
    const char *name = json_string_value(of);
    if (others && !marked && name == NULL)
        rc = hold_fail(err, HOLD_EUSAGE,
                       "%s: the folder has other files and is no run's; give a new one", dir);
    else if (of != NULL && recipe != NULL && (name == NULL || strcmp(name, recipe) != 0))
        rc = hold_fail(err, HOLD_EUSAGE,
                       "%s: holds the report of '%s', not of '%s'; give another with -o", dir,
                       name == NULL || name[0] == '\0' ? "something else" : name, recipe);
    json_decref(of);
    return rc;
}

int hold_report_mark_folder(const char *dir, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, dir, MARK);
    int rc = hold_str_check(&path, err);
    if (rc == HOLD_OK)
        rc = hold_file_write_atomic(hold_str_text(&path), MARK_TEXT, strlen(MARK_TEXT), err);
    hold_str_release(&path);
    return rc;
}

void hold_report_unmark_folder(const char *dir) {
    struct hold_str path = HOLD_STR_INIT;
    hold_path_join(&path, dir, MARK);
    if (!path.out_of_memory)
        unlink(hold_str_text(&path));
    hold_str_release(&path);
}
