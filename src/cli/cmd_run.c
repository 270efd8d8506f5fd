/* cmd_run.c: `holdfast run`: a recipe made, its table printed, its report written. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/limits.h"
#include "lab/lab.h"

struct options {
    const char *output, *max, *min;
    bool force, retry_failed, with_text;
};

static const struct hold_option options[] = {
    HOLD_CLI_OUTPUT(struct options, "folder of the report; empty: runs/NAME"),
    HOLD_BOOL(struct options, force, false, "make every stage again"),
    HOLD_BOOL(struct options, retry_failed, false, "try stages again that failed for good before"),
    HOLD_BOOL(struct options, with_text, false, "show the answers to harmful prompts"),
    HOLD_CLI_LIMITS(struct options),
    {0},
};

static const char LOCK[] = ".lock";

struct job {
    struct hold_cli *cli;
    const struct options *o;
    struct hold_str recipe_path, dir;
    struct hold_recipe recipe;
    bool is_read, made_dir;
    int lock;
    struct hold_store *store;
    struct hold_device *device;
};

/* --- the recipe --- */

static int check_limits(const struct job *j, struct hold_error *err) {
    void *memory = NULL;
    size_t n = (size_t)j->recipe.n_arms;
    int rc = hold_cli_limits_check(j->o->max, j->o->min, err);
    if (rc == HOLD_OK)
        rc = hold_new(&memory, n + 1, sizeof(char *), "names of arms", err);
    const char **names = memory;
    for (size_t i = 0; rc == HOLD_OK && i < n; i++)
        names[i] = j->recipe.arms[i].name;
    if (rc == HOLD_OK)
        rc = hold_cli_limits_arms(j->o->max, j->o->min, names, n, err);
    hold_free(memory);
    return rc;
}

static int read_recipe(struct job *j, int n_args, char **args, struct hold_error *err) {
    int rc = hold_cli_recipe_path(&j->recipe_path, args[0], err);
    for (int i = 1; rc == HOLD_OK && i < n_args; i++)
        if (strchr(args[i], '=') == NULL)
            rc = hold_fail(err, HOLD_EUSAGE, "'%s': expected key=value after the recipe", args[i]);
    if (rc == HOLD_OK)
        rc = hold_recipe_read(&j->recipe, hold_str_text(&j->recipe_path),
                              (const char *const *)args + 1, n_args - 1, err);
    j->is_read = rc == HOLD_OK;
    return rc < 0 ? rc : check_limits(j, err);
}

/* --- the folder: checked and locked before any work --- */

static int take_folder(struct job *j, struct hold_error *err) {
    struct hold_str path = HOLD_STR_INIT;
    if (j->o->output[0] != '\0')
        hold_str_add(&j->dir, j->o->output);
    else
        hold_path_join(&j->dir, "runs", j->recipe.name);
    const char *dir = hold_str_text(&j->dir);
    bool there = hold_exists(dir);
    int rc = hold_report_check_folder(dir, j->recipe.name, err);
    if (rc == HOLD_OK && !there)
        rc = hold_mkdirs(dir, err);
    j->made_dir = !there && rc == HOLD_OK;
    hold_path_join(&path, dir, LOCK);
    if (rc == HOLD_OK)
        rc = hold_lock_take(hold_str_text(&path), &j->lock, err);
    if (rc == HOLD_EBUSY)
        rc = hold_fail(err, HOLD_EBUSY, "%s: another run is at work on this folder", dir);
    if (rc == HOLD_OK)
        rc = hold_report_mark_folder(dir, err);
    hold_str_release(&path);
    return rc;
}

/* A folder that this run made and wrote nothing into goes again. */
static void leave_folder(struct job *j, bool written) {
    struct hold_str path = HOLD_STR_INIT;
    if (j->lock >= 0) {
        hold_path_join(&path, hold_str_text(&j->dir), LOCK);
        unlink(hold_str_text(&path));
        hold_lock_drop(j->lock);
    }
    if (j->made_dir && !written) {
        hold_report_unmark_folder(hold_str_text(&j->dir));
        rmdir(hold_str_text(&j->dir));
    }
    hold_str_release(&path);
}

/* --- after the work --- */

static int add_commands(json_t *report, int n_args, char **args, struct hold_error *err) {
    struct hold_str line = HOLD_STR_INIT;
    hold_str_add(&line, "holdfast run");
    for (int i = 0; i < n_args; i++) {
        bool plain = strpbrk(args[i], " \t'\"$*[]{}&|;<>()") == NULL;
        hold_str_addf(&line, plain ? " %s" : " '%s'", args[i]);
    }
    int bad = json_array_append_new(json_object_get(report, "commands"),
                                    json_string(hold_str_text(&line)));
    hold_str_release(&line);
    return bad == 0 ? HOLD_OK : hold_fail(err, HOLD_ENOMEMORY, "no memory for a report");
}

static int collect_ids(const json_t *stages, char (**ids)[HOLD_HASH_HEX], int *n) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)stages, key, value) {
        void *grown = hold_realloc(*ids, (size_t)(*n + 1) * sizeof **ids);
        if (grown == NULL)
            return HOLD_ENOMEMORY;
        *ids = grown;
        if (strcmp(key, "model") != 0 && hold_is_id(json_string_value(value)))
            snprintf((*ids)[(*n)++], HOLD_HASH_HEX, "%s", json_string_value(value));
    }
    return HOLD_OK;
}

/* What this folder's report rests on is kept by store gc. */
static int note_run(struct job *j, const json_t *report, struct hold_error *err) {
    char absolute[PATH_MAX];
    char(*ids)[HOLD_HASH_HEX] = NULL;
    int n = 0, rc = HOLD_OK;
    const json_t *arms = json_object_get(report, "arms");
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(arms); i++) {
        const json_t *arm = json_array_get(arms, i), *list = json_object_get(arm, "replicates");
        rc = collect_ids(json_object_get(arm, "stages"), &ids, &n);
        for (size_t k = 0; rc == HOLD_OK && k < json_array_size(list); k++)
            rc = collect_ids(json_object_get(json_array_get(list, k), "stages"), &ids, &n);
    }
    if (rc < 0)
        hold_fail(err, rc, "no memory for a run's note");
    if (rc == HOLD_OK && realpath(hold_str_text(&j->dir), absolute) != NULL)
        rc = hold_store_note_run(j->store, absolute, (const char(*)[HOLD_HASH_HEX])ids, n, err);
    hold_free(ids);
    return rc;
}

static int print_result(struct job *j, const json_t *report, struct hold_error *err) {
    struct hold_str out = HOLD_STR_INIT;
    json_t *public = NULL;
    int rc;
    if (j->cli->common.json) {
        hold_path_join(&out, hold_str_text(&j->dir), "report.json");
        rc = hold_json_load(&public, hold_str_text(&out), err);
        if (rc == HOLD_OK)
            rc = hold_cli_print_json(public, err);
    } else {
        rc = hold_report_table(report, &out, err);
        if (rc == HOLD_OK)
            rc = hold_cli_write("", &out, err);
    }
    hold_str_release(&out);
    return rc;
}

static int keep_limits(const struct job *j, const json_t *report, struct hold_error *err) {
    struct hold_str passed = HOLD_STR_INIT;
    const json_t *arms = json_object_get(report, "arms");
    int rc = HOLD_OK;
    for (size_t i = 0; rc == HOLD_OK && i < json_array_size(arms); i++) {
        const json_t *arm = json_array_get(arms, i);
        rc = hold_cli_limits_apply(j->o->max, j->o->min,
                                   json_string_value(json_object_get(arm, "name")),
                                   json_object_get(arm, "scores"), &passed, err);
    }
    if (rc == HOLD_OK && passed.len > 0)
        rc = hold_fail(err, HOLD_ETHRESHOLD, "%s", hold_str_text(&passed));
    hold_str_release(&passed);
    return rc;
}

static int finish(struct job *j, json_t *report, int n_args, char **args, struct hold_error *err) {
    int rc = add_commands(report, n_args, args, err);
    if (rc == HOLD_OK)
        rc = hold_report_write(report, hold_str_text(&j->dir), j->o->with_text, err);
    if (rc == HOLD_OK)
        rc = note_run(j, report, err);
    hold_cli_clear(j->cli);
    if (rc == HOLD_OK)
        rc = print_result(j, report, err);
    if (rc < 0)
        return rc;
    const json_t *counts = json_object_get(report, "counts");
    int64_t failed = json_integer_value(json_object_get(counts, "failed"));
    hold_log(&j->cli->ctx, HOLD_INFO, "run", "%s made, %lld found; report in %s",
             hold_cli_count(json_integer_value(json_object_get(counts, "made")), "stage").text,
             (long long)json_integer_value(json_object_get(counts, "found")),
             hold_str_text(&j->dir));
    if (failed > 0)
        return hold_fail(err, HOLD_EDATA, "%lld of %d arms failed; the report says why",
                         (long long)failed, j->recipe.n_arms);
    return keep_limits(j, report, err);
}

static int run(struct hold_cli *cli, void *opts, int n_args, char **args, struct hold_error *err) {
    struct job j = {.cli = cli, .o = opts, .lock = -1};
    json_t *report = NULL;
    bool written = false;
    int rc = read_recipe(&j, n_args, args, err);
    if (rc == HOLD_OK)
        rc = take_folder(&j, err);
    if (rc == HOLD_OK)
        rc = hold_store_open(&j.store, hold_str_text(&cli->store), &cli->ctx, err);
    if (rc == HOLD_OK)
        rc = hold_cli_device(cli, &j.device, err);
    if (rc == HOLD_OK) {
        struct hold_lab lab = {.ctx = &cli->ctx,
                               .store = j.store,
                               .device = j.device,
                               .models_dir = hold_str_text(&cli->models),
                               .version = HOLD_VERSION,
                               .force = j.o->force,
                               .retry = j.o->retry_failed};
        rc = hold_lab_run(&lab, &j.recipe, &report, err);
    }
    if (rc == HOLD_OK) {
        written = true;
        rc = finish(&j, report, n_args, args, err);
    }
    leave_folder(&j, written);
    json_decref(report);
    hold_device_free(j.device);
    hold_store_close(j.store);
    if (j.is_read)
        hold_recipe_release(&j.recipe);
    hold_str_release(&j.recipe_path);
    hold_str_release(&j.dir);
    return rc;
}

const struct hold_command hold_cmd_run = {
    .name = "run",
    .summary = "make a recipe's stages, go on where it stopped, write its report",
    .usage = "RECIPE.yaml [key=value ...] [--max [ARM:]SCORE=X ...] [-o DIR]",
    .many = " max min ",
    .example = "  holdfast run recipes/demo.yaml seed=1,2,3 -o runs/demo\n"
               "  holdfast run recipes/demo.yaml --max lisa:harmful=40 --min lisa:task_accuracy=60",
    .options = options,
    .size = sizeof(struct options),
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
