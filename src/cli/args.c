/* args.c: a command's arguments and the environment into its options, and its help text. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define T struct hold_common
const struct hold_option hold_common_options[] = {
    {"help", "show this help", HOLD_OPT_BOOL, offsetof(T, help), 0, 0, 1, NULL, NULL, 'h'},
    HOLD_BOOL(T, json, false, "stable machine output on stdout"),
    {"quiet", "errors only on stderr", HOLD_OPT_BOOL, offsetof(T, quiet), 0, 0, 1, NULL, NULL, 'q'},
    {"verbose", "more talk on stderr", HOLD_OPT_BOOL, offsetof(T, verbose), 0, 0, 1, NULL, NULL,
     'v'},
    HOLD_INT(T, threads, 0, 0, 1024, "threads; 0: every core this process may use"),
    HOLD_TEXT(T, device, "cpu", "cpu", "where to compute"),
    HOLD_TEXT(T, dtype, "auto", "auto|f32|bf16", "type to compute in; auto: f32"),
    HOLD_TEXT(T, isa, "auto", "auto|portable|avx2|avx512|avx512_bf16|amx",
              "instruction set of the CPU kernels"),
    HOLD_TEXT(T, store, "", NULL, "folder of the stage store"),
    {0},
};
#undef T

enum { TABLES = 3, NAME_TEXT = 128 };

struct table {
    const struct hold_option *rows;
    void *target;
};

static bool is_row(const struct hold_option *o) {
    return o != NULL && o->type != HOLD_OPT_END;
}

/* --- help --- */

/* A command's own option hides the common one of that name. */
static void help_common(const struct hold_command *c, struct hold_str *out) {
    struct hold_option rows[16];
    size_t n = 0;
    for (const struct hold_option *o = hold_common_options; is_row(o) && n < 15; o++)
        if (hold_options_find(c->options, o->name) == NULL)
            rows[n++] = *o;
    rows[n] = (struct hold_option){0};
    hold_options_help(rows, out);
}

void hold_cli_help(const struct hold_command *c, struct hold_str *out) {
    hold_str_addf(out, "holdfast %s: %s\n\nusage: holdfast %s %s\n", c->name, c->summary, c->name,
                  c->usage);
    hold_str_addf(out, "\nexample:\n%s\n", c->example);
    if (c->options != NULL || c->more != NULL)
        hold_str_add(out, "\noptions:\n");
    if (c->options != NULL)
        hold_options_help(c->options, out);
    if (c->more != NULL)
        hold_options_help(c->more, out);
    hold_str_add(out, "\ncommon options:\n");
    help_common(c, out);
}

/* --- arguments --- */

static const struct hold_option *by_letter(const struct hold_option *rows, char letter) {
    for (; is_row(rows); rows++)
        if (rows->letter == letter)
            return rows;
    return NULL;
}

static void replace(char *text, char from, char to) {
    for (; *text != '\0'; text++)
        *text = *text == from ? to : *text;
}

struct hold_flag hold_cli_flag(const char *name) {
    struct hold_flag flag;
    snprintf(flag.text, sizeof flag.text, "--%s", name);
    replace(flag.text, '_', '-');
    return flag;
}

static int unknown_option(const struct table tables[TABLES], const char *arg,
                          struct hold_error *err) {
    const char *names[256];
    char word[NAME_TEXT], shown[NAME_TEXT];
    size_t n = 0;
    for (int t = 0; t < TABLES; t++)
        for (const struct hold_option *o = tables[t].rows; is_row(o) && n < 256; o++)
            names[n++] = o->name;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(arg, "="), arg);
    snprintf(shown, sizeof shown, "%s", word);
    replace(word, '-', '_');
    const char *near = hold_nearest(word, names, n);
    if (near == NULL)
        return hold_fail(err, HOLD_EUSAGE, "unknown option '--%s'; see --help", shown);
    return hold_fail(err, HOLD_EUSAGE, "unknown option '--%s' (did you mean '%s'?)", shown,
                     hold_cli_flag(near).text);
}

/* "-m", "--model", "--no-json" in one of the tables; *no: it is switched off. */
static const struct hold_option *find(const struct table tables[TABLES], const char *arg,
                                      void **target, bool *no) {
    char name[NAME_TEXT] = "";
    bool is_long = arg[1] == '-';
    if (is_long)
        snprintf(name, sizeof name, "%.*s", (int)strcspn(arg + 2, "="), arg + 2);
    else if (arg[2] != '\0')
        return NULL;
    *no = false;
    for (int t = 0; t < TABLES; t++) {
        const struct hold_option *found =
            is_long ? hold_options_find(tables[t].rows, name) : by_letter(tables[t].rows, arg[1]);
        *target = tables[t].target;
        if (found != NULL)
            return found;
        if (!hold_starts(name, "no-") && !hold_starts(name, "no_"))
            continue;
        found = hold_options_find(tables[t].rows, name + 3);
        *no = found != NULL && found->type == HOLD_OPT_BOOL;
        if (*no)
            return found;
    }
    return NULL;
}

/* " data max " holds "data". */
static bool is_many(const struct hold_command *c, const char *name) {
    char word[NAME_TEXT];
    snprintf(word, sizeof word, " %s ", name);
    return c->many != NULL && strstr(c->many, word) != NULL;
}

/* An option given again adds to the first where it is a list; else only what changes nothing may be
 * said twice: the last one winning would hide the first. */
static int note_given(struct hold_cli *cli, const struct hold_option *row, const char *where,
                      const char **value, struct hold_error *err) {
    struct hold_given *given = &cli->given;
    size_t i = 0;
    while (i < given->n && given->row[i] != row)
        i++;
    if (i == HOLD_GIVEN_MOST)
        return hold_fail(err, HOLD_EUSAGE, "more than %d options", HOLD_GIVEN_MOST);
    if (i < given->n && is_many(cli->command, row->name)) {
        struct hold_str list = HOLD_STR_INIT;
        hold_str_addf(&list, "%s\n%s", given->value[i], *value);
        *value = hold_arena_strdup(&cli->arena, hold_str_text(&list));
        hold_str_release(&list);
        if (*value == NULL)
            return hold_fail(err, HOLD_ENOMEMORY, "no memory for options");
    } else if (i < given->n && strcmp(given->value[i], *value) != 0) {
        return hold_fail(err, HOLD_EUSAGE, "%s: given twice, '%s' and '%s'; give it once", where,
                         given->value[i], *value);
    }
    given->row[i] = row;
    given->value[i] = *value;
    given->n += i == given->n;
    return HOLD_OK;
}

static int set(struct hold_cli *cli, const struct hold_option *row, void *target, const char *value,
               struct hold_error *err) {
    const struct hold_flag where = hold_cli_flag(row->name);
    int rc = note_given(cli, row, where.text, &value, err);
    if (rc < 0)
        return rc;
    const struct hold_option one[2] = {*row, {0}};
    return hold_options_set_text(one, target, row->name, value, where.text, err);
}

/* One option at args[*i]; advances *i past its value. */
static int take_option(struct hold_cli *cli, const struct table tables[TABLES], int n, char **args,
                       int *i, struct hold_error *err) {
    const char *arg = args[*i];
    void *target = NULL;
    bool no = false;
    const struct hold_option *found = find(tables, arg, &target, &no);
    if (found == NULL && arg[1] == '-')
        return unknown_option(tables, arg + 2, err);
    if (found == NULL)
        return hold_fail(err, HOLD_EUSAGE, "unknown option '%s'; see --help", arg);
    const char *equals = arg[1] == '-' ? strchr(arg, '=') : NULL;
    const char *value = equals == NULL ? NULL : equals + 1;
    if (value != NULL && no)
        return hold_fail(err, HOLD_EUSAGE, "%s: takes no value", arg);
    if (found->type == HOLD_OPT_BOOL && value == NULL)
        value = no ? "false" : "true";
    if (value == NULL && *i + 1 >= n)
        return hold_fail(err, HOLD_EUSAGE, "%s: a value is missing", arg);
    return set(cli, found, target, value == NULL ? args[++*i] : value, err);
}

/* HOLDFAST_THREADS and so on; what a shell exports as empty counts as not set. */
static int take_environment(const struct table *t, const char *only, struct hold_error *err) {
    for (const struct hold_option *o = t->rows; is_row(o); o++) {
        char name[NAME_TEXT];
        if (only == NULL ? strcmp(o->name, "help") == 0 : strcmp(o->name, only) != 0)
            continue;
        snprintf(name, sizeof name, "HOLDFAST_%s", o->name);
        for (char *p = name; *p != '\0'; p++)
            *p = (char)toupper((unsigned char)*p);
        const char *value = getenv(name);
        if (value == NULL || value[0] == '\0')
            continue;
        const struct hold_option one[2] = {*o, {0}};
        int rc = hold_options_set_text(one, t->target, o->name, value, name, err);
        if (rc < 0)
            return rc;
    }
    return HOLD_OK;
}

int hold_cli_parse(struct hold_cli *cli, void *options, int n, char **args, int *n_left,
                   struct hold_error *err) {
    const struct hold_command *c = cli->command;
    const struct table tables[TABLES] = {
        {c->options, options}, {c->more, options}, {hold_common_options, &cli->common}};
    bool only_args = false;
    *n_left = 0;
    int rc = take_environment(&tables[2], NULL, err);
    if (rc == HOLD_OK)
        rc = take_environment(&tables[0], "model", err);
    for (int i = 0; rc == HOLD_OK && i < n; i++) {
        if (!only_args && strcmp(args[i], "--") == 0)
            only_args = true;
        else if (!only_args && args[i][0] == '-' && args[i][1] != '\0')
            rc = take_option(cli, tables, n, args, &i, err);
        else
            args[(*n_left)++] = args[i];
    }
    if (rc < 0 || cli->common.help)
        return rc;
    if (*n_left < c->min_args)
        return hold_fail(err, HOLD_EUSAGE, "an argument is missing; usage: holdfast %s %s", c->name,
                         c->usage);
    if (c->max_args >= 0 && *n_left > c->max_args)
        return hold_fail(err, HOLD_EUSAGE, "unexpected argument '%s'; usage: holdfast %s %s",
                         args[c->max_args], c->name, c->usage);
    return HOLD_OK;
}

bool hold_cli_is_given(const struct hold_cli *cli, const char *name) {
    for (size_t i = 0; i < cli->given.n; i++)
        if (strcmp(cli->given.row[i]->name, name) == 0)
            return true;
    return false;
}

void hold_cli_tell_idle(struct hold_cli *cli, const char *name, const char *beside) {
    hold_log(&cli->ctx, HOLD_WARN, "options", "%s: has no effect %s", hold_cli_flag(name).text,
             beside);
}
