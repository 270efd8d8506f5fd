#!/bin/sh
# check_format.sh ROOT: clang-format would change no C file of src/ and tests/.
house=$(cd "$(dirname "$0")" && pwd)
self=$house/check_format.sh
. "$house/common.sh"

self_test() {
    new_tree
    cp "$house/../../.clang-format" "$tree/"
    put src/a.c 'int f(int x) {\n    return x;\n}\n'
    expect_pass "formatted code" "$tree"
    put tests/b.c 'int g( int x ){return x;}\n'
    expect_fail 'tests/b.c' "$tree"
    new_tree
    expect_fail 'no C file in src tests' "$tree"
    end_self_test
}

[ "$1" = --self-test ] && self_test
root=$1
need_files src tests
cd "$root" || exit 2
# Only the first line of each message: the others show the code.
c_files src tests | xargs "${CLANG_FORMAT:-clang-format}" --dry-run -Werror --style=file 2>&1 |
    grep 'error:' | awk -F: '!seen[$1]++ { print $1 ":" $2 ": not as clang-format writes it" }' | report
