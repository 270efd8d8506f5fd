/* main.c: the front door: finds the command, reads its options, runs it, turns errors into one line
 * and an exit code. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"

/* --- signals: the second one ends at once --- */

/* One thread writes it, others look: whole, and at once or soon. */
static volatile sig_atomic_t stop_signal;

static int stopped_by(void) {
    return __atomic_load_n(&stop_signal, __ATOMIC_RELAXED);
}

void hold_cli_forget_signal(void) {
    __atomic_store_n(&stop_signal, 0, __ATOMIC_RELAXED);
}

static void wake(int sig) {
    (void)sig;
}

/* Waits for SIGINT and SIGTERM, which every other thread has blocked: no handler may run on a
 * thread that computes (see device/cpu/gemm_dnnl.c).  SIGUSR1 only gets the main thread out of a
 * read. */
static void *wait_for_signals(void *main_thread) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    for (int sig; sigwait(&set, &sig) == 0;) {
        if (stopped_by() != 0)
            _exit(128 + sig);
        __atomic_store_n(&stop_signal, sig, __ATOMIC_RELAXED);
        pthread_kill(*(pthread_t *)main_thread, SIGUSR1);
    }
    return NULL;
}

static void catch_signals(void) {
    static pthread_t main_thread;
    pthread_t waiter;
    struct sigaction a = {.sa_handler = wake}; /* no SA_RESTART: the read returns */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaction(SIGUSR1, &a, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* the write fails and says so */
    hold_cli_catch_bus();
    main_thread = pthread_self();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (pthread_create(&waiter, NULL, wait_for_signals, &main_thread) != 0)
        pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* a signal ends us at once: better than never */
    else
        pthread_detach(waiter);
}

/* --- running --- */

static int cores(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? n : 1;
}

/* What was printed must have arrived: a full disk is an error, not a success. */
static int finish(int rc, struct hold_error *err) {
    int failed = fflush(stdout) != 0 ? errno : 0;
    if (rc < 0 || (failed == 0 && ferror(stdout) == 0))
        return rc;
    /* Who reads no further (head) has seen what they wanted, and is told by the exit code. */
    return hold_fail_errno(err, failed != 0 ? failed : EIO, "standard output: writing failed");
}

static int run_parsed(struct hold_cli *cli, void *options, int n_args, char **args,
                      struct hold_error *err) {
    if (cli->common.help) {
        struct hold_str text = HOLD_STR_INIT;
        hold_cli_help(cli->command, &text);
        int rc = hold_cli_write("", &text, err);
        hold_str_release(&text);
        return rc;
    }
    cli->ctx =
        (struct hold_ctx){.log = hold_cli_talk,
                          .progress = hold_cli_progress,
                          .user = cli,
                          .stop = &stop_signal,
                          .threads = cli->common.threads > 0 ? (int)cli->common.threads : cores()};
    int rc = hold_cli_places(cli, err);
    if (rc < 0)
        return rc;
    catch_signals();
    return cli->command->run(cli, options, n_args, args, err);
}

static int run_command(const struct hold_command *c, int n, char **args) {
    struct hold_cli cli = {.command = c, .terminal = isatty(STDERR_FILENO) == 1};
    struct hold_error err = {0};
    void *options = NULL;
    int n_left = 0;
    hold_arena_init(&cli.arena, 0);
    hold_options_defaults(hold_common_options, &cli.common);
    int rc = hold_new(&options, 1, c->size > 0 ? c->size : 1, "options", &err);
    if (rc == HOLD_OK) {
        hold_options_defaults(c->options, options);
        hold_options_defaults(c->more, options);
        rc = hold_cli_parse(&cli, options, n, args, &n_left, &err);
    }
    if (rc == HOLD_OK)
        rc = run_parsed(&cli, options, n_left, args, &err);
    rc = finish(rc, &err);
    hold_cli_clear(&cli);
    if (rc < 0)
        fprintf(stderr, "holdfast: %s\n", err.text);
    hold_free(options);
    hold_arena_release(&cli.arena);
    hold_str_release(&cli.home);
    hold_str_release(&cli.models);
    hold_str_release(&cli.store);
    if (rc == HOLD_EINTERRUPTED && stopped_by() != 0)
        return 128 + stopped_by();
    return hold_status_exit(rc);
}

/* --- finding the command --- */

/* "data" of "data check". */
static bool is_group_of(const struct hold_command *c, const char *word) {
    size_t n = strlen(word);
    return strncmp(c->name, word, n) == 0 && c->name[n] == ' ';
}

static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

/* The commands, or those of a group. */
static int print_help(const char *group) {
    struct hold_error err = {0};
    printf("holdfast: safe fine-tuning of language models\n\nusage: holdfast %s%s[options]\n\n",
           group == NULL ? "COMMAND " : group, group == NULL ? "" : " COMMAND ");
    for (const struct hold_command *const *c = hold_commands; *c != NULL; c++)
        if (group == NULL || is_group_of(*c, group))
            printf("  %-14s %s\n", (*c)->name, (*c)->summary);
    printf("\n'holdfast COMMAND --help' shows a command's options and an example.\n");
    if (group == NULL)
        printf("Exit codes: 0 done; 1 the work failed; 2 usage or configuration; 3 the gate said "
               "no;\n4 a threshold was not met; 130, 143 interrupted after saving.\n");
    int rc = finish(HOLD_OK, &err);
    if (rc < 0)
        fprintf(stderr, "holdfast: %s\n", err.text);
    return hold_status_exit(rc);
}

static int print_version(void) {
    struct hold_error err = {0};
    printf("holdfast %s\ncompiler: %s\nlicence: Apache-2.0\n", HOLD_VERSION, __VERSION__);
    int rc = finish(HOLD_OK, &err);
    if (rc < 0)
        fprintf(stderr, "holdfast: %s\n", err.text);
    return hold_status_exit(rc);
}

/* `word` is no command (of the group, when one is given). */
static int unknown_command(const char *group, const char *word) {
    const char *names[64];
    size_t n = 0;
    for (const struct hold_command *const *c = hold_commands; *c != NULL && n < 64; c++)
        if (group == NULL || is_group_of(*c, group))
            names[n++] = (*c)->name + (group == NULL ? 0 : strlen(group) + 1);
    char shown[256];
    hold_visible(shown, sizeof shown, word);
    const char *near = hold_nearest(word, names, n);
    const char *space = group == NULL ? "" : " ";
    group = group == NULL ? "" : group;
    fprintf(stderr, "holdfast: '%s%s%s' is not a command%s%s%s; see 'holdfast %s%s--help'\n", group,
            space, shown, near == NULL ? "" : " (did you mean '", near == NULL ? "" : near,
            near == NULL ? "" : "'?)", group, space);
    return hold_status_exit(HOLD_EUSAGE);
}

static int run_group(const char *group, int n, char **args) {
    if (n == 0) {
        fprintf(stderr, "holdfast: '%s' wants a command; see 'holdfast %s --help'\n", group, group);
        return hold_status_exit(HOLD_EUSAGE);
    }
    if (is_help(args[0]))
        return print_help(group);
    for (const struct hold_command *const *c = hold_commands; *c != NULL; c++)
        if (is_group_of(*c, group) && strcmp((*c)->name + strlen(group) + 1, args[0]) == 0)
            return run_command(*c, n - 1, args + 1);
    return unknown_command(group, args[0]);
}

/* args[0] is the first word of a command. */
static int run_words(int n, char **args) {
    for (const struct hold_command *const *c = hold_commands; *c != NULL; c++) {
        if (strcmp((*c)->name, args[0]) == 0)
            return run_command(*c, n - 1, args + 1);
        if (is_group_of(*c, args[0]))
            return run_group(args[0], n - 1, args + 1);
    }
    return unknown_command(NULL, args[0]);
}

int main(int argc, char **argv) {
    char *help = (char[]){"--help"};
    char *word = argc > 1 ? argv[1] : help;
    if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0)
        return print_version();
    if (!is_help(word))
        return run_words(argc - 1, argv + 1);
    /* "help train", "help data check": as if --help stood behind. */
    char *again[] = {argc > 2 ? argv[2] : help, argc > 3 ? argv[3] : help, help};
    return argc > 2 ? run_words(3, again) : print_help(NULL);
}
