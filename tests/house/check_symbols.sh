#!/bin/sh
# check_symbols.sh ARCHIVE: what the library exports begins with hold_, and it holds no writable
# variable.  Constant tables with pointers lie in .data.rel.ro, which is sealed after loading.
house=$(cd "$(dirname "$0")" && pwd)
self=$house/check_symbols.sh
. "$house/common.sh"

rules='
FILENAME == ARGV[1] {
    if ($1 == "writable")
        allowed[$2 " " $3] = 1
    next
}
FNR == 1 { FS = "|"; $0 = $0 }
# Such as: "Symbols from lib.a[mem.c.o]:", then rows of Name|Value|Class|Type|Size|Line|Section.
/^Symbols from / {
    file = $0
    gsub(/^.*\[|\]:.*$|[.]o\].*$/, "", file)
    next
}
NF == 7 {
    gsub(/ /, "")
    name = $1
    exported = $3 ~ /^[A-TV-Z]$/ # U is a name used, not given
    if (exported && name !~ /^hold_/)
        print file ": exports " name ", expected a name that begins with hold_"
    if ($7 ~ /^([*]COM[*]|[.](data|bss|tdata|tbss)([.].*)?)$/ && $7 !~ /^[.]data[.]rel[.]ro/) {
        sub(/[.][0-9]+$/, "", name) # a static inside a function
        if (!((name " " file) in allowed))
            print file ": " name " is writable (" $7 ")"
    }
}'

self_test() {
    compile() {
        new_tree
        put mem.c "$1"
        (cd "$tree" && ${CC:-cc} -std=gnu17 -fPIC -O1 -c mem.c -o mem.c.o && ar rc lib.a mem.c.o) ||
            exit 2
    }
    compile 'static const char *const NAMES[] = {"a", "b"};\nconst int hold_table[2] = {1, 2};\nconst char *hold_name(int i) { return NAMES[i]; }\nstatic _Thread_local int fail_countdown;\nint hold_count(void) { return ++fail_countdown; }\n'
    expect_pass "constants and the allowed countdown" "$tree/lib.a"
    compile 'int other(void) { return 1; }\n'
    expect_fail 'mem.c: exports other, expected' "$tree/lib.a"
    compile 'int hold_global = 1;\n'
    expect_fail 'mem.c: hold_global is writable (.data)' "$tree/lib.a"
    compile 'static int counter;\nint hold_f(void) { return ++counter; }\n'
    expect_fail 'counter is writable (.bss)' "$tree/lib.a"
    compile 'int hold_f(void) { static int inside = 3; return ++inside; }\n'
    expect_fail 'inside is writable (.data)' "$tree/lib.a"
    compile 'static _Thread_local int mine;\nint hold_f(void) { return ++mine; }\n'
    expect_fail 'mine is writable (.tbss)' "$tree/lib.a"
    compile 'static const char *names[] = {"a", "b"};\nvoid hold_f(int i) { names[i] = 0; }\nconst char *hold_g(int i) { return names[i]; }\n'
    expect_fail 'names is writable' "$tree/lib.a"
    expect_fail 'nm' "$tree/none.a"
    end_self_test
}

[ "$1" = --self-test ] && self_test
archive=$1
symbols=$(nm --format=sysv "$archive") || { echo "$archive: nm cannot read it"; exit 1; }
[ -n "$symbols" ] || { echo "$archive: no symbols"; exit 1; }
printf '%s\n' "$symbols" | awk "$rules" "$house/allowed.txt" - | report
