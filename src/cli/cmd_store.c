/* cmd_store.c: `holdfast store ls|gc|pin|verify`: keep the house of stages clean. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "lab/store.h"

static int open_store(struct hold_cli *cli, struct hold_store **s, struct hold_error *err) {
    return hold_store_open(s, hold_str_text(&cli->store), &cli->ctx, err);
}

/* --- ls --- */

static const char *text_of(const json_t *o, const char *key) {
    const char *text = json_string_value(json_object_get(o, key));
    return text == NULL ? "" : text;
}

static int print_list(const json_t *list, struct hold_error *err) {
    struct hold_table t = {.cols = 6};
    static const char *const HEAD[] = {"stage", "kind", "name", "size", "made", "pinned"};
    for (int i = 0; i < t.cols; i++)
        hold_table_cell(&t, "%s", HEAD[i]);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        char bytes[32];
        hold_cli_bytes(bytes, json_number_value(json_object_get(o, "bytes")));
        hold_table_cell(&t, "%.12s", text_of(o, "id"));
        hold_table_cell(&t, "%s", text_of(o, "kind"));
        hold_table_cell(&t, "%s", text_of(o, "name"));
        hold_table_cell(&t, "%s", bytes);
        hold_table_cell(&t, "%s", text_of(o, "made"));
        hold_table_cell(&t, "%s", json_is_true(json_object_get(o, "pinned")) ? "yes" : "");
    }
    return hold_table_print(&t, err);
}

static int run_ls(struct hold_cli *cli, void *opts, int n_args, char **args,
                  struct hold_error *err) {
    struct hold_store *s = NULL;
    json_t *list = NULL;
    (void)opts;
    (void)n_args;
    (void)args;
    int rc = open_store(cli, &s, err);
    if (rc == HOLD_OK)
        rc = hold_store_list(s, &list, err);
    if (rc == HOLD_OK && cli->common.json)
        rc = hold_cli_print_json(json_incref(list), err);
    else if (rc == HOLD_OK)
        rc = print_list(list, err);
    json_decref(list);
    hold_store_close(s);
    return rc;
}

/* --- gc --- */

struct gc_options {
    double days;
    bool dry_run;
};
static const struct hold_option gc_options[] = {
    HOLD_REAL(struct gc_options, days, 30, 0, 100000, "age up to which runs are kept"),
    HOLD_BOOL(struct gc_options, dry_run, false, "only say what would go"),
    {0},
};

static int run_gc(struct hold_cli *cli, void *opts, int n_args, char **args,
                  struct hold_error *err) {
    const struct gc_options *o = opts;
    struct hold_store *s = NULL;
    int64_t bytes = 0, n = 0;
    (void)n_args;
    (void)args;
    int rc = open_store(cli, &s, err);
    if (rc == HOLD_OK)
        rc = hold_store_gc(s, o->days, o->dry_run, &bytes, &n, err);
    if (rc == HOLD_OK && cli->common.json) {
        rc = hold_cli_print_json(json_pack("{s:I, s:I, s:b}", "removed", (json_int_t)n, "bytes",
                                           (json_int_t)bytes, "dry_run", (int)o->dry_run),
                                 err);
    } else if (rc == HOLD_OK) {
        char text[32];
        hold_cli_bytes(text, (double)bytes);
        printf("%lld artifacts %s, %s\n", (long long)n, o->dry_run ? "would be removed" : "removed",
               text);
    }
    hold_store_close(s);
    return rc;
}

/* --- pin --- */

struct pin_options {
    bool remove;
};
static const struct hold_option pin_options[] = {
    HOLD_BOOL(struct pin_options, remove, false, "take the pin away"),
    {0},
};

static int run_pin(struct hold_cli *cli, void *opts, int n_args, char **args,
                   struct hold_error *err) {
    const struct pin_options *o = opts;
    struct hold_store *s = NULL;
    int rc = open_store(cli, &s, err);
    for (int i = 0; rc == HOLD_OK && i < n_args; i++)
        rc = hold_store_pin(s, args[i], !o->remove, err);
    hold_store_close(s);
    return rc;
}

/* --- verify --- */

static int run_verify(struct hold_cli *cli, void *opts, int n_args, char **args,
                      struct hold_error *err) {
    struct hold_store *s = NULL;
    int64_t n = 0, bad = 0;
    (void)opts;
    (void)n_args;
    (void)args;
    int rc = open_store(cli, &s, err);
    if (rc == HOLD_OK)
        rc = hold_store_verify(s, &n, &bad, err);
    if (rc == HOLD_OK && cli->common.json)
        rc = hold_cli_print_json(
            json_pack("{s:I, s:I}", "artifacts", (json_int_t)n, "damaged", (json_int_t)bad), err);
    else if (rc == HOLD_OK)
        printf("%lld artifacts, %lld damaged\n", (long long)n, (long long)bad);
    if (rc == HOLD_OK && bad > 0)
        rc = hold_fail(err, HOLD_EFORMAT,
                       "%lld of %lld artifacts are damaged; the next run makes them again",
                       (long long)bad, (long long)n);
    hold_store_close(s);
    return rc;
}

const struct hold_command hold_cmd_store_gc = {
    .name = "store gc",
    .summary = "remove stages that no pin and no run of late needs",
    .usage = "[--days N] [--dry-run]",
    .example = "  holdfast store gc --days 7 --dry-run",
    .options = gc_options,
    .size = sizeof(struct gc_options),
    .run = run_gc,
};
const struct hold_command hold_cmd_store_ls = {
    .name = "store ls",
    .summary = "list the stages that are made",
    .usage = "",
    .example = "  holdfast store ls",
    .run = run_ls,
};
const struct hold_command hold_cmd_store_pin = {
    .name = "store pin",
    .summary = "keep stages whatever gc finds",
    .usage = "STAGE ... [--remove]",
    .example = "  holdfast store pin 3fa9c2d1",
    .options = pin_options,
    .size = sizeof(struct pin_options),
    .min_args = 1,
    .max_args = -1,
    .run = run_pin,
};
const struct hold_command hold_cmd_store_verify = {
    .name = "store verify",
    .summary = "check every artifact's bytes against its name",
    .usage = "",
    .example = "  holdfast store verify",
    .run = run_verify,
};
