/* places.c: where models, the store, and the data and recipes that ship are. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

int hold_cli_places(struct hold_cli *cli, struct hold_error *err) {
    const char *home = variable("HOLDFAST_HOME"), *xdg = variable("XDG_DATA_HOME");
    const char *user = variable("HOME");
    if (home != NULL)
        hold_str_add(&cli->home, home);
    else if (xdg != NULL)
        hold_path_join(&cli->home, xdg, "holdfast");
    else
        hold_path_join(&cli->home, user == NULL ? "." : user, ".local/share/holdfast");
    hold_path_join(&cli->models, hold_str_text(&cli->home), "models");
    if (cli->common.store[0] != '\0')
        hold_str_add(&cli->store, cli->common.store);
    else
        hold_path_join(&cli->store, hold_str_text(&cli->home), "store");
    int rc = hold_str_check(&cli->home, err);
    if (rc == HOLD_OK)
        rc = hold_str_check(&cli->models, err);
    return rc == HOLD_OK ? hold_str_check(&cli->store, err) : rc;
}

/* *out = the folder that the program itself is in. */
static bool program_dir(struct hold_str *out) {
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0)
        return false;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    hold_str_clear(out);
    hold_str_add(out, path);
    return true;
}

/* A folder `name` of the build tree (build/release/holdfast) or of an installation
 * (bin/holdfast, share/holdfast). */
static int beside_program(const char *name, const char *proof, struct hold_str *out,
                          struct hold_error *err) {
    static const char *const PLACES[] = {"../..", "../share/holdfast"};
    struct hold_str here = HOLD_STR_INIT, root = HOLD_STR_INIT, file = HOLD_STR_INIT;
    bool found = false;
    bool known = program_dir(&here);
    for (size_t i = 0; known && !found && i < sizeof PLACES / sizeof *PLACES; i++) {
        hold_path_join(&root, hold_str_text(&here), PLACES[i]);
        hold_path_join(out, hold_str_text(&root), name);
        hold_path_join(&file, hold_str_text(out), proof);
        found = hold_exists(hold_str_text(&file));
    }
    int rc = hold_str_check(out, err);
    if (rc == HOLD_OK && !found)
        rc = hold_fail(err, HOLD_ENOTFOUND,
                       "no folder '%s' beside the program in %s; HOLDFAST_DATA can name the data "
                       "folder",
                       name, hold_str_text(&here));
    hold_str_release(&here);
    hold_str_release(&root);
    hold_str_release(&file);
    return rc;
}

int hold_cli_data_dir(struct hold_str *out, struct hold_error *err) {
    const char *given = variable("HOLDFAST_DATA");
    if (given == NULL)
        return beside_program("data", "MANIFEST.json", out, err);
    hold_str_clear(out);
    hold_str_add(out, given);
    if (!hold_is_dir(given))
        return hold_fail(err, HOLD_ENOTFOUND, "HOLDFAST_DATA: %s: no such folder", given);
    return hold_str_check(out, err);
}

int hold_cli_recipes_dir(struct hold_str *out, struct hold_error *err) {
    const char *given = variable("HOLDFAST_DATA");
    if (given == NULL)
        return beside_program("recipes", ".", out, err);
    hold_path_join(out, given, "../recipes");
    if (!hold_is_dir(hold_str_text(out)))
        return hold_fail(err, HOLD_ENOTFOUND, "%s: no such folder", hold_str_text(out));
    return hold_str_check(out, err);
}

int hold_cli_recipe_path(struct hold_str *out, const char *word, struct hold_error *err) {
    struct hold_str dir = HOLD_STR_INIT;
    struct hold_error ignored = {0};
    /* A folder of this name, say what an earlier run wrote, is no recipe. */
    bool is_name = (!hold_exists(word) || hold_is_dir(word)) && strchr(word, '/') == NULL &&
                   !hold_ends(word, ".yaml");
    hold_str_clear(out);
    if (is_name && hold_cli_recipes_dir(&dir, &ignored) == HOLD_OK) {
        hold_path_join(out, hold_str_text(&dir), word);
        hold_str_add(out, ".yaml");
    }
    hold_str_release(&dir);
    if (!is_name || !hold_exists(hold_str_text(out))) {
        hold_str_clear(out);
        hold_str_add(out, word);
    }
    return hold_str_check(out, err);
}

int64_t hold_cli_now(void) {
    const char *fixed = variable("SOURCE_DATE_EPOCH");
    int64_t t;
    return fixed != NULL && hold_parse_int(fixed, &t) ? t : (int64_t)time(NULL);
}
