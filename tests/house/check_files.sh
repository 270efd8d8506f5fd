#!/bin/sh
# check_files.sh ROOT: the first line of a C file says what it is, no file is too long, every source
# and test is named in a CMakeLists.txt, and nothing is left to do or tied to one machine.
house=$(cd "$(dirname "$0")" && pwd)
self=$house/check_files.sh
. "$house/common.sh"

LINES_MAX=800
METHOD_LINES_MAX=300

# Whole lines of all files, for what is said about them.
rules='
function base(path) { sub(/^.*\//, "", path); return path }
function end_file(limit) {
    if (file == "")
        return
    limit = file ~ /^src\/methods\/(attack|align|tune|repair)\// ? method_max : max
    if (lines > limit)
        print file ":" lines ": found " lines " lines, expected at most " limit
}
FNR == 1 {
    end_file()
    file = FILENAME
    start = "/* " base(file) ": "
    if (substr($0, 1, length(start)) != start || length($0) <= length(start))
        print file ":1: expected a first line \"" start "what it is\""
}
{ lines = FNR }
$0 ~ left { print FILENAME ":" FNR ": something is left to do: " $0 }
END { end_file() }'

first_lines_and_lengths() {
    c_files src tests | (cd "$root" && xargs awk -v max=$LINES_MAX -v method_max=$METHOD_LINES_MAX \
        -v left='(^|[^A-Za-z])(TO''DO|FIX''ME|X''XX)([^A-Za-z]|$)' "$rules" /dev/null)
}

# A source is named when a CMakeLists.txt of its folder or one above names its path from there; a
# method also by its line hold_method(STAGE STEM).
all_are_built() {
    c_files src tests | grep '[.]c$' | while read -r file; do
        folder=$(dirname "$file")
        while :; do
            list=$root/$folder/CMakeLists.txt
            if [ -f "$list" ] && awk -v want="${file#"$folder"/}" '
                    { sub(/#.*/, ""); gsub(/[()"]/, " ") }
                    { for (i = 1; i <= NF; i++) if ($i == want) found = 1 }
                    $1 == "hold_method" && $2 "/" $3 ".c" == want { found = 1 }
                    END { exit !found }' "$list"; then
                break
            fi
            if [ "${folder%/*}" = "$folder" ]; then # src or tests itself
                echo "$file:1: no CMakeLists.txt names it"
                break
            fi
            folder=$(dirname "$folder")
        done
    done
}

# Paths of the machine a file was written on.  Spelt in halves, so that this file is not one.
machine_paths() {
    (cd "$root" && find . \( -name .git -o -name build -o -name runs \) -prune -o -type f -print) |
        sort | (cd "$root" && xargs grep -nIE '(^|[^A-Za-z0-9_.])/(wo''rk|tm''p)(/|[^A-Za-z0-9_]|$)|[.][.]/sha''red/' \
            /dev/null) | sed 's|^\./||; s|^\([^:]*:[0-9]*\):.*|\1: names a path of one machine|'
}

self_test() {
    good() {
        new_tree
        put src/base/CMakeLists.txt 'hold_room(base # the ground\n  SOURCES a.c sub/b.c)\n'
        put src/base/a.c '/* a.c: one. */\nint x;\n'
        put src/base/sub/b.c '/* b.c: two,\n * in two lines. */\n'
        put src/base/a.h '/* a.h: three. */\n'
    }
    long() {
        awk -v n="$2" -v first="/* $(basename "$1"): long. */" \
            'BEGIN { print first; while (--n) print "" }' >"$tree/$1"
    }
    good
    long src/base/a.c 800
    expect_pass "good files" "$tree"
    long src/base/a.c 801
    expect_fail 'src/base/a.c:801: found 801 lines, expected at most 800' "$tree"
    good
    mkdir -p "$tree/src/methods/tune"
    put src/methods/tune/CMakeLists.txt 'x(m.c)\n'
    long src/methods/tune/m.c 300
    expect_pass "a method of 300 lines" "$tree"
    long src/methods/tune/m.c 301
    expect_fail 'found 301 lines, expected at most 300' "$tree"
    put src/methods/CMakeLists.txt 'hold_method(tune n)\n'
    put src/methods/tune/n.c '/* n.c: a method. */\n'
    long src/methods/tune/m.c 300
    expect_pass "a method named by its registration" "$tree"
    put src/methods/CMakeLists.txt 'hold_method(align n)\n'
    expect_fail 'src/methods/tune/n.c:1: no CMakeLists.txt names it' "$tree"
    good
    put src/base/a.h '#ifndef A\n'
    expect_fail 'src/base/a.h:1: expected a first line "/* a.h: what it is"' "$tree"
    good
    put tests/unit/t.c '/* u.c: another name. */\n'
    expect_fail 'tests/unit/t.c:1: expected a first line' "$tree"
    good
    put src/base/new.c '/* new.c: built by nobody. */\n'
    expect_fail 'src/base/new.c:1: no CMakeLists.txt names it' "$tree"
    good
    put tests/unit/CMakeLists.txt 'hold_test(test_a.c ROOMS base)\n'
    put tests/unit/test_a.c '/* test_a.c: run. */\n'
    expect_pass "a test that runs" "$tree"
    put tests/unit/test_b.c '/* test_b.c: forgotten. */\n'
    expect_fail 'tests/unit/test_b.c:1: no CMakeLists.txt names it' "$tree"
    good
    put src/base/CMakeLists.txt 'hold_room(base SOURCES a.c) # sub/b.c\n'
    expect_fail 'src/base/sub/b.c:1: no CMakeLists.txt names it' "$tree"
    good
    put src/base/a.c '/* a.c: one. */\nint x; /* TO''DO: more */\n'
    expect_fail 'src/base/a.c:2: something is left to do' "$tree"
    for path in /wo''rk/main /tm''p ../sha''red/data; do
        good
        put docs/x.md "see\\n $path\\n"
        expect_fail 'docs/x.md:2: names a path of one machine' "$tree"
    done
    good
    put src/base/a.c '/* a.c: one. */\nchar name[] = "dir.XXX''XXX";\n'
    put docs/x.md "the net/wo''rk, a/tm''p_file and fwo''rk\\n"
    expect_pass "words that only look like it" "$tree"
    new_tree
    expect_fail 'no C file in src' "$tree"
    end_self_test
}

[ "$1" = --self-test ] && self_test
root=$1
need_files src
{ first_lines_and_lengths; all_are_built; machine_paths; } | report
