/* main.c: the front door: finds the command, reads its options, runs it, turns errors into one line
 * and an exit code. */
#include <errno.h>
#include <locale.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/cli.h"

#ifndef HOLD_VERSION
#define HOLD_VERSION "unknown"
#endif

#define T struct hold_common
const struct hold_option hold_common_options[] = {
    {"help", "show this help", HOLD_OPT_BOOL, offsetof(T, help), 0, 0, 1, NULL, NULL, 'h'},
    HOLD_BOOL(T, json, false, "stable machine output on stdout"),
    {"quiet", "errors only on stderr", HOLD_OPT_BOOL, offsetof(T, quiet), 0, 0, 1, NULL, NULL, 'q'},
    {"verbose", "more talk on stderr", HOLD_OPT_BOOL, offsetof(T, verbose), 0, 0, 1, NULL, NULL,
     'v'},
    HOLD_INT(T, threads, 0, 0, 1024, "threads; 0: every core this process may use"),
    HOLD_TEXT(T, device, "cpu", "cpu", "where to compute"),
    HOLD_TEXT(T, dtype, "auto", "auto|f32", "type to compute in"),
    HOLD_TEXT(T, isa, "auto", "auto|portable|avx2|avx512", "instruction set of the CPU kernels"),
    HOLD_TEXT(T, store, "", NULL, "folder of the stage store"),
    {0},
};
#undef T

/* --- signals: the second one ends at once --- */

static volatile sig_atomic_t stop_signal;

static void on_signal(int sig) {
    if (stop_signal != 0)
        _exit(128 + sig);
    stop_signal = sig;
}

static void catch_signals(void) {
    struct sigaction a = {.sa_handler = on_signal};
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* --- talk and progress --- */

void hold_cli_clear(struct hold_cli *cli) {
    if (cli->terminal && cli->last_drawn > 0.0)
        fprintf(stderr, "\r\033[K");
    cli->last_drawn = 0.0;
}

static void talk(void *user, enum hold_level level, const char *room, const char *line) {
    struct hold_cli *cli = user;
    enum hold_level most = cli->common.quiet     ? HOLD_ERROR
                           : cli->common.verbose ? HOLD_DEBUG
                                                 : HOLD_INFO;
    static const char *const WORDS[] = {"error", "warning", "info", "debug"};
    if (level > most)
        return;
    hold_cli_clear(cli);
    if (level == HOLD_INFO)
        fprintf(stderr, "%s\n", line);
    else
        fprintf(stderr, "holdfast: %s: %s: %s\n", WORDS[level], room, line);
}

static void format_eta(char *out, size_t n, double s) {
    if (s < 0)
        out[0] = '\0';
    else if (s < 90)
        snprintf(out, n, "  %.0f s left", s);
    else if (s < 5400)
        snprintf(out, n, "  %.0f min left", s / 60);
    else
        snprintf(out, n, "  %.1f h left", s / 3600);
}

/* In place on a terminal, at most ten times a second; elsewhere a line every ten seconds. */
static void progress(void *user, const char *what, int64_t done, int64_t total, const char *status,
                     double eta) {
    struct hold_cli *cli = user;
    if (cli->common.quiet)
        return;
    double now = hold_clock_now(), wait = cli->terminal ? 0.1 : 10.0;
    if (now - cli->last_drawn < wait && done < total)
        return;
    cli->last_drawn = now;
    char left[48], count[64];
    format_eta(left, sizeof left, eta);
    if (total > 0)
        snprintf(count, sizeof count, "%lld/%lld", (long long)done, (long long)total);
    else
        snprintf(count, sizeof count, "%lld", (long long)done);
    fprintf(stderr, cli->terminal ? "\r\033[K%s %s  %s%s" : "%s %s  %s%s\n", what, count, status,
            left);
    if (cli->terminal && done >= total && total > 0) {
        fprintf(stderr, "\n");
        cli->last_drawn = 0.0;
    }
    fflush(stderr);
}

/* --- options --- */

static const char *const HELP_HEAD =
    "holdfast: safe fine-tuning of language models\n\nusage: holdfast COMMAND [options]\n\n";

void hold_cli_help(const struct hold_command *c, struct hold_str *out) {
    hold_str_addf(out, "holdfast %s: %s\n\nusage: holdfast %s %s\n", c->name, c->summary, c->name,
                  c->usage);
    hold_str_addf(out, "\nexample:\n%s\n", c->example);
    if (c->options != NULL) {
        hold_str_add(out, "\noptions:\n");
        hold_options_help(c->options, out);
    }
    if (c->more != NULL)
        hold_options_help(c->more, out);
    hold_str_add(out, "\ncommon options:\n");
    hold_options_help(hold_common_options, out);
}

static const struct hold_option *by_letter(const struct hold_option *rows, char letter) {
    for (; rows != NULL && rows->type != HOLD_OPT_END; rows++)
        if (rows->letter == letter)
            return rows;
    return NULL;
}

struct table {
    const struct hold_option *rows;
    void *target;
};

static int unknown_option(const struct table tables[3], const char *arg, struct hold_error *err) {
    const char *names[256];
    char word[128];
    size_t n = 0;
    for (int t = 0; t < 3; t++)
        for (const struct hold_option *o = tables[t].rows;
             o != NULL && o->type != HOLD_OPT_END && n < 256; o++)
            names[n++] = o->name;
    size_t len = strcspn(arg, "=");
    snprintf(word, sizeof word, "%.*s", (int)(len < 120 ? len : 120), arg);
    for (char *p = word; *p != '\0'; p++)
        *p = *p == '-' ? '_' : *p;
    const char *near = hold_nearest(word, names, n);
    if (near == NULL)
        return hold_fail(err, HOLD_EUSAGE, "unknown option '--%s'; see --help", arg);
    char shown[128];
    snprintf(shown, sizeof shown, "%s", near);
    for (char *p = shown; *p != '\0'; p++)
        *p = *p == '_' ? '-' : *p;
    return hold_fail(err, HOLD_EUSAGE, "unknown option '--%s' (did you mean '--%s'?)", arg, shown);
}

/* One option at args[*i]; advances *i past its value. */
static int take_option(const struct table tables[3], int n, char **args, int *i,
                       struct hold_error *err) {
    const char *arg = args[*i];
    char name[128] = "";
    const char *value = NULL;
    const struct hold_option *found = NULL;
    void *target = NULL;
    bool no = false;
    if (arg[1] == '-') {
        size_t len = strcspn(arg + 2, "=");
        snprintf(name, sizeof name, "%.*s", (int)(len < 120 ? len : 120), arg + 2);
        value = arg[2 + len] == '=' ? arg + 3 + len : NULL;
    }
    for (int t = 0; t < 3 && found == NULL; t++) {
        found = arg[1] == '-' ? hold_options_find(tables[t].rows, name)
                              : (arg[2] == '\0' ? by_letter(tables[t].rows, arg[1]) : NULL);
        target = tables[t].target;
        if (found == NULL && (hold_starts(name, "no-") || hold_starts(name, "no_"))) {
            found = hold_options_find(tables[t].rows, name + 3);
            if (found != NULL && found->type != HOLD_OPT_BOOL)
                found = NULL;
            no = found != NULL;
        }
    }
    if (found == NULL && arg[1] != '-')
        return hold_fail(err, HOLD_EUSAGE, "unknown option '%s'; see --help", arg);
    if (found == NULL)
        return unknown_option(tables, arg + 2, err);
    if (found->type == HOLD_OPT_BOOL && value == NULL) {
        value = no ? "false" : "true";
    } else if (value == NULL) {
        if (*i + 1 >= n)
            return hold_fail(err, HOLD_EUSAGE, "%s: a value is missing", arg);
        value = args[++*i];
    }
    char where[160];
    snprintf(where, sizeof where, "--%s", found->name);
    for (char *p = where; *p != '\0'; p++)
        *p = *p == '_' ? '-' : *p;
    const struct hold_option one[2] = {*found, {0}};
    return hold_options_set_text(one, target, found->name, value, where, err);
}

static int parse(struct hold_cli *cli, void *options, int n, char **args, int *n_left,
                 struct hold_error *err) {
    const struct hold_command *c = cli->command;
    struct table tables[3] = {
        {c->options, options}, {c->more, options}, {hold_common_options, &cli->common}};
    bool only_args = false;
    *n_left = 0;
    for (int i = 0; i < n; i++) {
        if (!only_args && strcmp(args[i], "--") == 0) {
            only_args = true;
        } else if (!only_args && args[i][0] == '-' && args[i][1] != '\0') {
            int rc = take_option(tables, n, args, &i, err);
            if (rc < 0)
                return rc;
        } else {
            args[(*n_left)++] = args[i];
        }
    }
    if (cli->common.help)
        return HOLD_OK;
    if (*n_left < c->min_args || (c->max_args >= 0 && *n_left > c->max_args))
        return hold_fail(err, HOLD_EUSAGE, "usage: holdfast %s %s", c->name, c->usage);
    return HOLD_OK;
}

/* --- places --- */

static int cores(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? n : 1;
}

static int find_places(struct hold_cli *cli, struct hold_error *err) {
    const char *home = getenv("HOLDFAST_HOME"), *xdg = getenv("XDG_DATA_HOME");
    const char *user = getenv("HOME");
    if (home != NULL && home[0] != '\0')
        hold_str_add(&cli->home, home);
    else if (xdg != NULL && xdg[0] != '\0')
        hold_path_join(&cli->home, xdg, "holdfast");
    else
        hold_path_join(&cli->home, user == NULL ? "." : user, ".local/share/holdfast");
    hold_path_join(&cli->models, hold_str_text(&cli->home), "models");
    const char *store = cli->common.store[0] != '\0' ? cli->common.store : getenv("HOLDFAST_STORE");
    if (store != NULL && store[0] != '\0')
        hold_str_add(&cli->store, store);
    else
        hold_path_join(&cli->store, hold_str_text(&cli->home), "store");
    int rc = hold_str_check(&cli->home, err);
    if (rc == HOLD_OK)
        rc = hold_str_check(&cli->models, err);
    return rc == HOLD_OK ? hold_str_check(&cli->store, err) : rc;
}

/* --- running --- */

static int run_command(const struct hold_command *c, int n, char **args) {
    struct hold_cli cli = {.command = c, .terminal = isatty(STDERR_FILENO) == 1};
    struct hold_error err = {0};
    void *options = NULL;
    int n_left = 0;
    hold_options_defaults(hold_common_options, &cli.common);
    int rc = hold_new(&options, 1, c->size > 0 ? c->size : 1, "options", &err);
    if (rc == HOLD_OK) {
        hold_options_defaults(c->options, options);
        hold_options_defaults(c->more, options);
        rc = parse(&cli, options, n, args, &n_left, &err);
    }
    if (rc == HOLD_OK && cli.common.help) {
        struct hold_str text = HOLD_STR_INIT;
        hold_cli_help(c, &text);
        fputs(hold_str_text(&text), stdout);
        hold_str_release(&text);
        hold_free(options);
        return 0;
    }
    cli.ctx =
        (struct hold_ctx){.log = talk, .progress = progress, .user = &cli, .stop = &stop_signal};
    cli.ctx.threads = cli.common.threads > 0 ? (int)cli.common.threads : cores();
    if (rc == HOLD_OK)
        rc = find_places(&cli, &err);
    if (rc == HOLD_OK) {
        catch_signals();
        rc = c->run(&cli, options, n_left, args, &err);
    }
    if (fflush(stdout) != 0 && rc == HOLD_OK)
        rc = hold_fail_errno(&err, errno, "stdout: writing failed");
    hold_cli_clear(&cli);
    if (rc < 0)
        fprintf(stderr, "holdfast: %s\n", err.text);
    hold_free(options);
    hold_str_release(&cli.home);
    hold_str_release(&cli.models);
    hold_str_release(&cli.store);
    if (rc == HOLD_EINTERRUPTED && stop_signal != 0)
        return 128 + stop_signal;
    return hold_status_exit(rc);
}

static int print_help(void) {
    fputs(HELP_HEAD, stdout);
    for (const struct hold_command *const *c = hold_commands; *c != NULL; c++)
        printf("  %-10s %s\n", (*c)->name, (*c)->summary);
    fputs("\n'holdfast COMMAND --help' shows a command's options and an example.\n", stdout);
    return 0;
}

int main(int argc, char **argv) {
    const char *word = argc > 1 ? argv[1] : "--help";
    if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0) {
        printf("holdfast %s\n", HOLD_VERSION);
        return 0;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)
        return print_help();
    const char *names[64];
    size_t n = 0;
    for (const struct hold_command *const *c = hold_commands; *c != NULL && n < 64; c++) {
        if (strcmp((*c)->name, word) == 0)
            return run_command(*c, argc - 2, argv + 2);
        names[n++] = (*c)->name;
    }
    const char *near = hold_nearest(word, names, n);
    fprintf(stderr, "holdfast: '%s' is not a command%s%s%s; see 'holdfast --help'\n", word,
            near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    return hold_status_exit(HOLD_EUSAGE);
}
