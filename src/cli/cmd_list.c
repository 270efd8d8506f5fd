/* cmd_list.c: `holdfast list` and `holdfast show`: what there is, from descriptors and store. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "lab/lab.h"
#include "methods/method.h"

/* --- items: {"name","kind","stage","paper","title","options", ...} --- */

static int append(json_t *list, json_t *item, struct hold_error *err) {
    return item != NULL && json_array_append_new(list, item) == 0
               ? HOLD_OK
               : hold_fail(err, HOLD_ENOMEMORY, "no memory for a list");
}

static json_t *method_json(const struct hold_method *m) {
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:o, s:i, s:o, s:s}", "name", m->name, "kind",
        m->stage == HOLD_STAGE_ATTACK ? "attack" : "defense", "stage", hold_stage_name(m->stage),
        "paper", m->paper == NULL ? "" : m->paper, "title", m->title, "options",
        m->options == NULL ? json_array() : hold_options_describe(m->options), "version",
        m->version, "neutral", m->neutral == NULL ? json_null() : json_string(m->neutral), "where",
        m->where == NULL ? "" : m->where);
}

static int list_methods(json_t *list, struct hold_error *err) {
    int rc = HOLD_OK;
    for (const struct hold_method *const *m = hold_methods; rc == HOLD_OK && *m != NULL; m++)
        rc = append(list, method_json(*m), err);
    return rc;
}

static json_t *plain_json(const char *name, const char *kind, const char *title, const char *path) {
    return json_pack("{s:s, s:s, s:n, s:s, s:s, s:[], s:s}", "name", name, "kind", kind, "stage",
                     "paper", "", "title", title, "options", "path", path);
}

/* Names in a folder that `take` makes items of; a folder that is not there has none. */
static int each_in(const char *dir,
                   int (*take)(json_t *, const char *, const char *, struct hold_error *),
                   json_t *list, struct hold_error *err) {
    char **names = NULL;
    size_t n = 0;
    struct hold_str path = HOLD_STR_INIT;
    int rc = hold_is_dir(dir) ? hold_dir_list(dir, &names, &n, err) : HOLD_OK;
    for (size_t i = 0; rc == HOLD_OK && i < n; i++) {
        hold_path_join(&path, dir, names[i]);
        rc = hold_str_check(&path, err);
        if (rc == HOLD_OK)
            rc = take(list, names[i], hold_str_text(&path), err);
    }
    hold_names_free(names, n);
    hold_str_release(&path);
    return rc;
}

static int take_model(json_t *list, const char *name, const char *path, struct hold_error *err) {
    struct hold_str word = HOLD_STR_INIT, config = HOLD_STR_INIT;
    hold_path_join(&config, path, "config.json");
    bool file = hold_ends(name, ".gguf");
    int rc = HOLD_OK;
    if (file || hold_exists(hold_str_text(&config))) {
        hold_str_add_bytes(&word, name, strlen(name) - (file ? strlen(".gguf") : 0));
        rc = append(list,
                    plain_json(hold_str_text(&word), "model",
                               file ? "GGUF file" : "Hugging Face folder", path),
                    err);
    }
    hold_str_release(&word);
    hold_str_release(&config);
    return rc;
}

/* The line "title: ..." of a recipe; the file is not read as a recipe here. */
static void recipe_title(const char *path, struct hold_str *out) {
    char line[512];
    FILE *f = fopen(path, "r");
    hold_str_clear(out);
    while (f != NULL && out->len == 0 && fgets(line, sizeof line, f) != NULL) {
        if (!hold_starts(line, "title:"))
            continue;
        const char *text = line + strlen("title:");
        text += strspn(text, " '\"");
        char clean[512];
        hold_str_add_bytes(out, text, strcspn(text, "'\"\r\n"));
        hold_visible(clean, sizeof clean, hold_str_text(out));
        hold_str_clear(out);
        hold_str_add(out, clean);
    }
    if (f != NULL)
        fclose(f);
}

static int take_recipe(json_t *list, const char *name, const char *path, struct hold_error *err) {
    struct hold_str word = HOLD_STR_INIT, title = HOLD_STR_INIT;
    int rc = HOLD_OK;
    if (hold_ends(name, ".yaml")) {
        recipe_title(path, &title);
        hold_str_add_bytes(&word, name, strlen(name) - strlen(".yaml"));
        rc = append(list, plain_json(hold_str_text(&word), "recipe", hold_str_text(&title), path),
                    err);
    }
    hold_str_release(&word);
    hold_str_release(&title);
    return rc;
}

/* Recipes beside the program, and of the folder here where it is another one. */
static int list_recipes(json_t *list, struct hold_error *err) {
    struct hold_str dir = HOLD_STR_INIT;
    struct hold_error none = {0};
    struct stat here, there;
    bool known = hold_cli_recipes_dir(&dir, &none) == HOLD_OK;
    int rc = known ? each_in(hold_str_text(&dir), take_recipe, list, err) : HOLD_OK;
    bool same = known && stat("recipes", &here) == 0 && stat(hold_str_text(&dir), &there) == 0 &&
                here.st_ino == there.st_ino && here.st_dev == there.st_dev;
    if (rc == HOLD_OK && !same)
        rc = each_in("recipes", take_recipe, list, err);
    hold_str_release(&dir);
    return rc;
}

/* A run's note in the store: {"dir","time","specs"}; the folder itself has the report. */
static int take_run(json_t *list, const char *name, const char *path, struct hold_error *err) {
    json_t *note = NULL;
    struct hold_error damaged = {0};
    if (!hold_ends(name, ".json") || hold_json_load(&note, path, &damaged) != HOLD_OK)
        return HOLD_OK;
    const char *dir = json_string_value(json_object_get(note, "dir"));
    struct hold_str file = HOLD_STR_INIT;
    int rc = HOLD_OK;
    hold_path_join(&file, dir == NULL ? "" : dir, "report.json");
    if (dir != NULL && hold_exists(hold_str_text(&file))) {
        const char *slash = strrchr(dir, '/');
        rc = append(list,
                    plain_json(slash == NULL ? dir : slash + 1, "run",
                               "report.html, report.json and report.md", dir),
                    err);
    }
    hold_str_release(&file);
    json_decref(note);
    return rc;
}

static int list_runs(struct hold_cli *cli, json_t *list, struct hold_error *err) {
    struct hold_str dir = HOLD_STR_INIT;
    hold_path_join(&dir, hold_str_text(&cli->store), "run");
    int rc = hold_str_check(&dir, err);
    if (rc == HOLD_OK)
        rc = each_in(hold_str_text(&dir), take_run, list, err);
    hold_str_release(&dir);
    return rc;
}

static const char *const KINDS[] = {"methods", "models", "recipes", "runs"};
enum { N_KINDS = sizeof KINDS / sizeof *KINDS };

/* kind: index into KINDS, -1: everything.  New reference. */
static int collect(struct hold_cli *cli, int kind, json_t **out, struct hold_error *err) {
    json_t *list = json_array();
    int rc = list == NULL ? hold_fail(err, HOLD_ENOMEMORY, "no memory for a list") : HOLD_OK;
    if (rc == HOLD_OK && (kind < 0 || kind == 0))
        rc = list_methods(list, err);
    if (rc == HOLD_OK && (kind < 0 || kind == 1))
        rc = each_in(hold_str_text(&cli->models), take_model, list, err);
    if (rc == HOLD_OK && (kind < 0 || kind == 2))
        rc = list_recipes(list, err);
    if (rc == HOLD_OK && (kind < 0 || kind == 3))
        rc = list_runs(cli, list, err);
    if (rc < 0) {
        json_decref(list);
        return rc;
    }
    *out = list;
    return HOLD_OK;
}

/* --- list --- */

static const char *text_of(const json_t *item, const char *key) {
    const char *text = json_string_value(json_object_get(item, key));
    return text == NULL ? "" : text;
}

static int print_list(const json_t *list, struct hold_error *err) {
    struct hold_table t = {.cols = 4};
    static const char *const HEAD[] = {"name", "kind", "stage", "what it is"};
    for (int i = 0; i < 4; i++)
        hold_table_cell(&t, "%s", HEAD[i]);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *x = json_array_get(list, i);
        const char *paper = text_of(x, "paper"), *title = text_of(x, "title");
        bool run = strcmp(text_of(x, "kind"), "run") == 0;
        hold_table_cell(&t, "%s", text_of(x, "name"));
        hold_table_cell(&t, "%s", text_of(x, "kind"));
        hold_table_cell(&t, "%s", text_of(x, "stage"));
        if (run)
            hold_table_cell(&t, "%s", text_of(x, "path"));
        else
            hold_table_cell(&t, paper[0] != '\0' ? "%s (%s)" : "%s%s", title, paper);
    }
    return hold_table_print(&t, err);
}

static int list(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    int kind = -1;
    json_t *items = NULL;
    (void)opts;
    for (int i = 0; n_args > 0 && i < N_KINDS; i++)
        if (strcmp(args[0], KINDS[i]) == 0)
            kind = i;
    if (n_args > 0 && kind < 0) {
        const char *near = hold_nearest(args[0], KINDS, N_KINDS);
        return hold_fail(err, HOLD_EUSAGE,
                         "'%s' cannot be listed%s%s%s, expected methods, models, recipes or runs",
                         args[0], near == NULL ? "" : " (did you mean '", near == NULL ? "" : near,
                         near == NULL ? "" : "'?)");
    }
    int rc = collect(cli, kind, &items, err);
    if (rc == HOLD_OK)
        rc = cli->common.json ? hold_cli_print_json(json_incref(items), err)
                              : print_list(items, err);
    json_decref(items);
    return rc;
}

const struct hold_command hold_cmd_list = {
    .name = "list",
    .summary = "methods, models, recipes and runs",
    .usage = "[methods|models|recipes|runs] [--json]",
    .example = "  holdfast list methods",
    .max_args = 1,
    .run = list,
};

/* --- show --- */

static int show_method(const struct hold_method *m, struct hold_error *err) {
    struct hold_str out = HOLD_STR_INIT;
    hold_str_addf(&out, "%s: %s\n\n", m->name, m->title);
    hold_str_addf(&out, "kind      %s, stage %s, version %d\n",
                  m->stage == HOLD_STAGE_ATTACK ? "attack" : "defense", hold_stage_name(m->stage),
                  m->version);
    if (m->paper != NULL)
        hold_str_addf(&out, "paper     %s%s%s\n", m->paper, m->where == NULL ? "" : ", ",
                      m->where == NULL ? "" : m->where);
    if (m->neutral != NULL)
        hold_str_addf(&out, "neutral   %s: then it changes nothing\n", m->neutral);
    hold_str_addf(&out, "page      docs/methods/%s.md\n", m->name);
    if (m->options != NULL) {
        hold_str_addf(&out, "\noptions, in a recipe as %s: {name: value}\n", m->name);
        hold_options_help(m->options, &out);
    }
    int rc = hold_cli_write("", &out, err);
    hold_str_release(&out);
    return rc;
}

static int show_report(const char *dir, bool as_json, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT, out = HOLD_STR_INIT;
    json_t *report = NULL;
    hold_path_join(&path, dir, "report.json");
    int rc = hold_json_load(&report, hold_str_text(&path), err);
    if (rc == HOLD_OK && as_json) {
        rc = hold_cli_print_json(json_incref(report), err);
    } else if (rc == HOLD_OK) {
        rc = hold_report_table(report, &out, err);
        if (rc == HOLD_OK)
            rc = hold_cli_write("", &out, err);
    }
    json_decref(report);
    hold_str_release(&path);
    hold_str_release(&out);
    return rc;
}

static int show_file(const char *path, struct hold_error *err) {
    struct hold_str text = HOLD_STR_INIT;
    int rc = hold_file_read(path, 0, &text, err);
    if (rc == HOLD_OK)
        rc = hold_cli_write("", &text, err);
    hold_str_release(&text);
    return rc;
}

/* An artifact of the store, by its id or the beginning of one. */
static int show_stage(struct hold_cli *cli, const char *id, struct hold_error *err) {
    struct hold_store *store = NULL;
    char content[HOLD_HASH_HEX];
    json_t *manifest = NULL;
    int rc = hold_store_open(&store, hold_str_text(&cli->store), &cli->ctx, err);
    if (rc == HOLD_OK)
        rc = hold_store_look_up(store, id, content, err);
    if (rc == HOLD_OK)
        rc = hold_store_manifest(store, content, &manifest, err);
    if (rc == HOLD_OK)
        rc = hold_cli_print_json(manifest, err);
    if (store != NULL)
        hold_store_close(store);
    return rc;
}

static bool is_hex(const char *text) {
    size_t n = strlen(text);
    return n >= 6 && n <= 64 && strspn(text, "0123456789abcdef") == n;
}

static int show_item(struct hold_cli *cli, const json_t *item, struct hold_error *err) {
    const char *kind = text_of(item, "kind"), *path = text_of(item, "path");
    if (strcmp(kind, "model") == 0)
        return hold_cli_model_info(cli, path, false, err);
    if (strcmp(kind, "run") == 0)
        return show_report(path, cli->common.json, err);
    if (strcmp(kind, "recipe") == 0 && !cli->common.json)
        return show_file(path, err);
    if (cli->common.json)
        return hold_cli_print_json(json_incref((json_t *)item), err);
    return show_method(hold_method_find(text_of(item, "name")), err);
}

static int unknown_name(const json_t *items, const char *name, struct hold_error *err) {
    const char *names[512];
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(items) && n < 512; i++)
        names[n++] = text_of(json_array_get(items, i), "name");
    const char *near = hold_nearest(name, names, n);
    return hold_fail(err, HOLD_ENOTFOUND,
                     "'%s' is no method, model, recipe, run or stage%s%s%s; 'holdfast list' names "
                     "them",
                     name, near == NULL ? "" : " (did you mean '", near == NULL ? "" : near,
                     near == NULL ? "" : "'?)");
}

static int show(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    json_t *items = NULL;
    const char *name = args[0];
    (void)opts;
    (void)n_args;
    int rc = collect(cli, -1, &items, err);
    const json_t *found = NULL;
    for (size_t i = 0; rc == HOLD_OK && found == NULL && i < json_array_size(items); i++)
        if (strcmp(text_of(json_array_get(items, i), "name"), name) == 0)
            found = json_array_get(items, i);
    struct hold_str report = HOLD_STR_INIT;
    hold_path_join(&report, name, "report.json");
    if (rc < 0)
        ;
    else if (found != NULL)
        rc = show_item(cli, found, err);
    else if (hold_exists(hold_str_text(&report)))
        rc = show_report(name, cli->common.json, err);
    else if (hold_ends(name, ".yaml"))
        rc = show_file(name, err);
    else if (hold_exists(name))
        rc = hold_cli_model_info(cli, name, false, err);
    else if (is_hex(name))
        rc = show_stage(cli, name, err);
    else
        rc = unknown_name(items, name, err);
    hold_str_release(&report);
    json_decref(items);
    return rc;
}

const struct hold_command hold_cmd_show = {
    .name = "show",
    .summary = "one method, model, recipe, run or stage",
    .usage = "NAME|FOLDER|ID [--json]",
    .example = "  holdfast show vaccine",
    .min_args = 1,
    .max_args = 1,
    .run = show,
};
