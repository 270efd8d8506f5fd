#!/bin/sh
# check_calls.sh ROOT: calls that are banned everywhere, calls that only the command line may make,
# and allocation that does not go through base/mem.h.  Exceptions stand in allowed.txt.
house=$(cd "$(dirname "$0")" && pwd)
self=$house/check_calls.sh
. "$house/common.sh"

rules='
function set(list, into, words, i, n) {
    n = split(list, words, " ")
    for (i = 1; i <= n; i++)
        into[words[i]] = 1
}
BEGIN {
    set("strcpy strcat sprintf vsprintf strtok gets rand srand atoi atol atoll atof", NEVER)
    set("printf vprintf fprintf vfprintf dprintf vdprintf puts fputs putchar putc fputc perror " \
        "exit _exit _Exit quick_exit abort getenv secure_getenv setenv putenv unsetenv setlocale " \
        "system popen", COMMAND_LINE)
    set("malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf aligned_alloc " \
        "posix_memalign memalign valloc getline getdelim", MEMORY)
}
FILENAME == ARGV[1] {
    if ($1 == "call")
        allowed[$2 " " $3] = 1
    next
}
FNR == 1 { FS = "\t"; $0 = $0 }
{
    code = $3
    gsub(/(->|[.])[ \t]*[A-Za-z_][A-Za-z_0-9]*/, " ", code) # members may have any name
    library = $1 ~ /^src\// && $1 !~ /^src\/cli\//
    while (match(code, /[A-Za-z_][A-Za-z_0-9]*[ \t]*\(/)) {
        name = substr(code, RSTART, RLENGTH)
        code = substr(code, RSTART + RLENGTH)
        sub(/[ \t]*\($/, "", name)
        if ((name " " $1) in allowed)
            continue
        if (name in NEVER)
            print $1 ":" $2 ": " name " is banned"
        else if (library && name in COMMAND_LINE)
            print $1 ":" $2 ": " name " is for src/cli only"
        else if ($1 ~ /^src\// && name in MEMORY && $1 != "src/base/mem.c")
            print $1 ":" $2 ": " name " found, expected base/mem.h"
    }
}'

self_test() {
    new_tree
    put src/base/a.c '/* printf("x") */ // exit(1)\nint f(void) { return snprintf(a, 1, "exit(1) \\" gets("); }\n'
    put src/base/b.c 'char c = 39; x->exit (1); t.free(p); hold_free(q); my_printf(); strtok_r(a, b, c);\n'
    put src/base/mem.c 'void *p = malloc(1);\n'
    put src/cli/main.c 'int main(void) { printf("x"); fprintf(stderr, "y"); exit(getenv("A") != NULL); }\n'
    put tests/t.c 'int main(void) { printf("x"); free(malloc(1)); }\n'
    expect_pass "clean code" "$tree"
    for call in strcpy strcat sprintf vsprintf strtok gets rand srand atoi atof; do
        new_tree
        put src/cli/main.c "\\n  $call (x);\\n"
        expect_fail "src/cli/main.c:2: $call is banned" "$tree"
    done
    for call in printf fprintf puts exit getenv abort; do
        new_tree
        put src/base/a.c "int f(void)\\n{ /* */ $call(\"x\"); }\\n"
        expect_fail "src/base/a.c:2: $call is for src/cli only" "$tree"
    done
    new_tree
    put tests/t.c 'strcpy(a, b);\n'
    expect_fail 'tests/t.c:1: strcpy is banned' "$tree"
    new_tree
    put src/serve/a.c "char q = '\"'; abort(); char r = '\"';\\n"
    expect_fail 'abort is for src/cli only' "$tree"
    for call in malloc free strdup; do
        new_tree
        put src/data/a.c "p = $call(q);\\n"
        expect_fail "$call found, expected base/mem.h" "$tree"
    done
    new_tree
    expect_fail 'no C file in src tests' "$tree"
    end_self_test
}

[ "$1" = --self-test ] && self_test
root=$1
need_files src tests
stripped 0 src tests | awk "$rules" "$house/allowed.txt" - | report
