/* trace.c: runs a program under ptrace and does harm at the n-th of its file system calls.
 *
 *     trace KIND N FROM PROGRAM ARGUMENTS...
 *
 * KIND: count (prints the number of calls on stderr as "calls: N"), kill (SIGKILL before the call),
 * eio, enospc, eintr (the call is not made and fails),
 * short (a read or write is done by half), shrink (the file FROM loses its second half first).
 * Calls count from the first whose path contains FROM; "" is from the start.  What libc calls for
 * itself counts too, which a preloaded library would miss.  Exit: the program's; 128 + signal;
 * 77 where tracing is not allowed or the machine is no x86-64.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined __x86_64__
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

/* Each call's argument with the path, -1: none. */
static const struct call {
    long number;
    int path;
} CALLS[] = {
    {SYS_open, 0},    {SYS_openat, 1},    {SYS_read, -1},      {SYS_pread64, -1},
    {SYS_write, -1},  {SYS_pwrite64, -1}, {SYS_writev, -1},    {SYS_fsync, -1},
    {SYS_rename, 0},  {SYS_renameat, 1},  {SYS_renameat2, 1},  {SYS_mkdir, 0},
    {SYS_mkdirat, 1}, {SYS_unlink, 0},    {SYS_unlinkat, 1},   {SYS_rmdir, 0},
    {SYS_mmap, -1},   {SYS_close, -1},    {SYS_ftruncate, -1}, {SYS_getdents64, -1},
    {SYS_flock, -1},  {SYS_link, 0},      {SYS_fdatasync, -1}, {SYS_lseek, -1},
};
enum { N_CALLS = sizeof CALLS / sizeof CALLS[0] };

struct job {
    const char *kind, *from;
    long at, seen;
    bool begun, done;
    pid_t main, hit; /* hit: the thread whose call is being spoilt */
    int result;      /* what that call shall return; 0: as it is */
};

static bool reads_from(pid_t pid, unsigned long long address, const char *text) {
    char path[512] = {0};
    for (size_t i = 0; i + sizeof(long) < sizeof path; i += sizeof(long)) {
        errno = 0;
        long word = ptrace(PTRACE_PEEKDATA, pid, address + i, NULL);
        if (errno != 0)
            break;
        memcpy(path + i, &word, sizeof word);
        if (memchr(&word, 0, sizeof word) != NULL)
            break;
    }
    return strstr(path, text) != NULL;
}

/* Does this call count?  A map of no file and a write to the terminal do not. */
static bool counts(struct job *j, pid_t pid, const struct user_regs_struct *r) {
    const unsigned long long args[] = {r->rdi, r->rsi};
    for (int i = 0; i < N_CALLS; i++) {
        if (CALLS[i].number != (long)r->orig_rax)
            continue;
        if (r->orig_rax == SYS_mmap && (int)r->r8 < 0)
            return false;
        if ((r->orig_rax == SYS_write || r->orig_rax == SYS_writev) && r->rdi <= 2)
            return false;
        if (!j->begun && CALLS[i].path >= 0)
            j->begun = reads_from(pid, args[CALLS[i].path], j->from);
        return j->begun;
    }
    return false;
}

static int error_of(const char *kind) {
    return strcmp(kind, "eio") == 0      ? EIO
           : strcmp(kind, "enospc") == 0 ? ENOSPC
           : strcmp(kind, "eintr") == 0  ? EINTR
                                         : 0;
}

/* At the entry of a call. */
static void enter(struct job *j, pid_t pid) {
    struct user_regs_struct r;
    if (j->done || ptrace(PTRACE_GETREGS, pid, NULL, &r) != 0 || !counts(j, pid, &r))
        return;
    if (++j->seen != j->at)
        return;
    j->done = true;
    int error = error_of(j->kind);
    if (strcmp(j->kind, "kill") == 0) {
        kill(j->main, SIGKILL);
    } else if (strcmp(j->kind, "shrink") == 0) {
        struct stat st;
        if (stat(j->from, &st) != 0 || truncate(j->from, st.st_size / 2) != 0)
            perror(j->from);
    } else if (error != 0 && !(error == EINTR && r.orig_rax == SYS_close)) {
        /* A close that fails has closed all the same, as on Linux. */
        if (r.orig_rax != SYS_close)
            r.orig_rax = (unsigned long long)-1;
        ptrace(PTRACE_SETREGS, pid, NULL, &r);
        j->hit = pid;
        j->result = -error;
    } else if (strcmp(j->kind, "short") == 0 && r.rdx > 1 &&
               (r.orig_rax == SYS_read || r.orig_rax == SYS_write || r.orig_rax == SYS_pread64)) {
        r.rdx /= 2;
        ptrace(PTRACE_SETREGS, pid, NULL, &r);
    }
}

static void leave(struct job *j, pid_t pid) {
    struct user_regs_struct r;
    if (j->hit != pid || pid == 0)
        return;
    j->hit = 0;
    if (ptrace(PTRACE_GETREGS, pid, NULL, &r) == 0) {
        r.rax = (unsigned long long)(long long)j->result;
        ptrace(PTRACE_SETREGS, pid, NULL, &r);
    }
}

static int follow(struct job *j) {
    int status = 0;
    while (true) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0)
            return 2;
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid != j->main)
                continue;
            if (strcmp(j->kind, "count") == 0)
                fprintf(stderr, "calls: %ld\n", j->seen);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        int sig = WSTOPSIG(status);
        if (sig == (SIGTRAP | 0x80)) {
            struct __ptrace_syscall_info info = {0};
            ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
            if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
                enter(j, pid);
            else
                leave(j, pid);
            sig = 0;
        } else if (sig == SIGTRAP || (sig == SIGSTOP && pid != j->main)) {
            sig = 0; /* a new thread, or the program's start */
        }
        ptrace(PTRACE_SYSCALL, pid, NULL, sig);
    }
}

int main(int n, char **arg) {
    if (n < 5) {
        fprintf(stderr, "usage: trace KIND N FROM PROGRAM ARGUMENTS...\n");
        return 2;
    }
    struct job j = {.kind = arg[1], .from = arg[3], .at = strtol(arg[2], NULL, 10)};
    j.main = fork();
    if (j.main == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        raise(SIGSTOP);
        execv(arg[4], arg + 4);
        _exit(127);
    }
    int status = 0;
    if (j.main < 0 || waitpid(j.main, &status, 0) < 0 || !WIFSTOPPED(status))
        return 77;
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SETOPTIONS, j.main, NULL, options) != 0)
        return 77;
    ptrace(PTRACE_SYSCALL, j.main, NULL, 0);
    return follow(&j);
}
#else
int main(void) {
    return 77;
}
#endif
