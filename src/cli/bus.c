/* bus.c: the last words of a program whose mapped file became shorter, or whose disk failed, while
 * it read there: one line and exit code 1.  The kernel tells it by SIGBUS; only calls that are safe
 * in a signal handler are made. */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

enum { LINE = 4352 }; /* of /proc/self/maps: a path and what stands before it */

static void say(const char *text, size_t n) {
    while (n > 0) {
        ssize_t done = write(STDERR_FILENO, text, n);
        if (done <= 0)
            return;
        text += done;
        n -= (size_t)done;
    }
}

/* A number in hexadecimal; *at is left behind it. */
static uintptr_t number(const char *line, size_t *at) {
    static const char DIGITS[] = "0123456789abcdef";
    uintptr_t value = 0;
    for (const char *d; line[*at] != '\0' && (d = strchr(DIGITS, line[*at])) != NULL; ++*at)
        value = value * 16 + (uintptr_t)(d - DIGITS);
    return value;
}

/* "BEGIN-END rights offset device inode PATH" that holds the address: says PATH. */
static bool tell(const char *line, uintptr_t address) {
    size_t at = 0;
    uintptr_t begin = number(line, &at);
    at += line[at] == '-';
    uintptr_t end = number(line, &at);
    const char *path = strchr(line, '/');
    if (address < begin || address >= end || path == NULL)
        return false;
    say(path, strlen(path));
    return true;
}

/* The name of the file that is mapped at the address. */
static void name_file(uintptr_t address) {
    char part[512], line[LINE];
    size_t n = 0;
    bool told = false;
    ssize_t got = 0;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while (!told && fd >= 0 && (got = read(fd, part, sizeof part)) > 0)
        for (ssize_t i = 0; !told && i < got; i++) {
            if (part[i] != '\n') {
                line[n] = part[i];
                n += n + 1 < sizeof line;
                continue;
            }
            line[n] = '\0';
            n = 0;
            told = tell(line, address);
        }
    if (fd >= 0)
        close(fd);
    if (!told)
        say("a file", 6);
}

static void last_words(int sig, siginfo_t *info, void *context) {
    static const char HEAD[] = "holdfast: ";
    static const char TAIL[] =
        ": became shorter while it was being read, or its disk failed to read it\n";
    (void)sig;
    (void)context;
    say(HEAD, sizeof HEAD - 1);
    name_file((uintptr_t)info->si_addr);
    say(TAIL, sizeof TAIL - 1);
    _exit(1);
}

void hold_cli_catch_bus(void) {
    struct sigaction a = {.sa_sigaction = last_words, .sa_flags = SA_SIGINFO | (int)SA_RESETHAND};
    sigaction(SIGBUS, &a, NULL);
}
