/* talk.c: talk and progress on stderr. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

void hold_cli_clear(struct hold_cli *cli) {
    if (cli->terminal && cli->last_drawn > 0.0)
        fprintf(stderr, "\r\033[K");
    cli->last_drawn = 0.0;
}

bool hold_cli_colour(int fd) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) == 1 && (no == NULL || no[0] == '\0') &&
           (term == NULL || strcmp(term, "dumb") != 0);
}

void hold_cli_talk(void *user, enum hold_level level, const char *room, const char *line) {
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

/* In place on a terminal, at most ten times a second; elsewhere a line every ten seconds, so that
 * short work says nothing. */
static bool is_due(struct hold_cli *cli, bool done) {
    double now = hold_clock_now();
    if (cli->terminal) {
        if (now - cli->last_drawn < 0.1 && !done)
            return false;
        cli->last_drawn = now;
        return true;
    }
    if (cli->last_said == 0.0)
        cli->last_said = now;
    bool due = now - cli->last_said >= 10.0 || (done && cli->said);
    if (due)
        cli->last_said = now;
    if (due || done)
        cli->said = due && !done;
    return due;
}

void hold_cli_progress(void *user, const char *what, int64_t done, int64_t total,
                       const char *status, double eta) {
    struct hold_cli *cli = user;
    if (cli->common.quiet || !is_due(cli, total > 0 && done >= total))
        return;
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
