#!/bin/sh
# check_includes.sh ROOT: every include of src/ follows the floors of docs/rooms.txt, method files
# see only their contract, and a library we hide behind one file stays behind one file.
house=$(cd "$(dirname "$0")" && pwd)
self=$house/check_includes.sh
. "$house/common.sh"

rules='
# The room of a path below src/: its longest prefix that has a row.
function room_of(path) {
    while (sub(/\/[^\/]*$/, "", path))
        if (path in floor)
            return path
    return ""
}
function folder_of(path) { sub(/\/[^\/]*$/, "", path); return path }
function finding(text) { print $1 ":" $2 ": " text }

FILENAME == ARGV[1] {
    if ($0 !~ /^[ \t]*(#|$)/) {
        split($0, row, " ")
        floor[row[2]] = row[1] + 0
    }
    next
}
FNR == 1 { FS = "\t"; $0 = $0 }
{
    path = $1
    sub(/^src\//, "", path)
    room = room_of(path)
    if (path != last) {
        last = path
        if (room == "")
            print $1 ":1: its folder has no row in docs/rooms.txt"
    }
}
room == "" || $3 !~ /^[ \t]*#[ \t]*include/ { next }
{
    name = $3
    sub(/^[ \t]*#[ \t]*include[ \t]*/, "", name)
    system_header = name ~ /^</
    if (!system_header && name !~ /^"/) {
        finding("an include must name its file: " name)
        next
    }
    name = substr(name, 2)
    sub(/[>"].*$/, "", name)
    method = room ~ /^methods\/(attack|align|tune|repair)$/
}
system_header {
    if (method && !(name in LIBC))
        finding("a method includes methods/method.h and libc only, found <" name ">")
    for (library in ONE)
        if (name ~ ONE[library]) {
            if (library in home && home[library] != $1)
                finding(library " is already included by " home[library] ", expected one file only")
            home[library] = $1
        }
    next
}
method {
    if (name != "methods/method.h")
        finding("a method includes methods/method.h and libc only, found " name)
    next
}
{
    other = room_of(name)
    if (other == "")
        finding(name ": found no such room, expected \"room/file.h\"")
    else if (other != room && floor[other] >= floor[room])
        finding(room " (floor " floor[room] ") includes " name " (floor " floor[other] ")")
    else if (other != room && (folder_of(name) != other || name ~ /(^|[\/_])parts[.]h$/))
        finding(name " is private to " other)
}
BEGIN {
    split("assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal " \
          "stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath " \
          "threads time uchar wchar wctype", words, " ")
    for (i in words)
        LIBC[words[i] ".h"] = 1
    ONE["oneDNN"] = "(^|/)dnnl[^/]*[.]h$"
    ONE["libyaml"] = "^yaml[.]h$"
}'

self_test() {
    good() {
        new_tree
        put docs/rooms.txt '# floors\n 3  data\n 7 methods\n 8 methods/tune\n 7 eval\n 2 device\n 2 tokenizer\n1 base\n'
        put src/base/a.c '#include "base/a.h"\n#include <stdio.h>\n'
        put src/data/d.c '/* #include "eval/e.h" */\n#include "base/a.h"\n#include "data/d.h"\n'
        put src/device/device.c '#include "device/cpu/k.h"\n#include <dnnl.h>\n#include <dnnl_types.h>\n'
        put src/device/cpu/k.c '#include "device/device.h"\n#include "device/cpu/k.h"\n'
        put src/methods/tune/m.c '#include "methods/method.h"\n#include <math.h>\n'
    }
    good
    expect_pass "floors" "$tree"
    put src/base/b.c '\n#include "data/d.h"\n'
    expect_fail 'src/base/b.c:2: base (floor 1) includes data/d.h (floor 3)' "$tree"
    good
    put src/eval/e.c '#include "methods/method.h"\n'
    expect_fail 'src/eval/e.c:1: eval (floor 7) includes methods/method.h (floor 7)' "$tree"
    good
    put src/eval/e.h '  #  include   "methods/tune/m.h" /* why */\n'
    expect_fail 'eval (floor 7) includes methods/tune/m.h (floor 8)' "$tree"
    good
    put src/tokenizer/t.c '#include "device/device.h"\n'
    expect_fail 'tokenizer (floor 2) includes device/device.h (floor 2)' "$tree"
    good
    put src/data/e.c '#include "device/cpu/k.h"\n'
    expect_fail 'device/cpu/k.h is private to device' "$tree"
    good
    put src/data/e.c '#include "base/a_parts.h"\n'
    expect_fail 'base/a_parts.h is private to base' "$tree"
    good
    put src/methods/tune/n.c '#include "methods/method.h"\n#include "base/mem.h"\n'
    expect_fail 'n.c:2: a method includes methods/method.h and libc only, found base/mem.h' "$tree"
    good
    put src/methods/tune/n.c '#include <jansson.h>\n'
    expect_fail 'a method includes methods/method.h and libc only, found <jansson.h>' "$tree"
    good
    put src/data/e.c '#include "d.h"\n'
    expect_fail 'd.h: found no such room' "$tree"
    good
    put src/data/e.c '#include HEADER\n'
    expect_fail 'an include must name its file: HEADER' "$tree"
    good
    put src/other/o.c 'int x;\n'
    expect_fail 'src/other/o.c:1: its folder has no row' "$tree"
    good
    put src/device/cpu/z.c '#include <oneapi/dnnl/dnnl.h>\n'
    expect_fail 'oneDNN is already included by' "$tree"
    good
    put src/data/x.c '#include <yaml.h>\n'
    put src/data/y.c '#include <yaml.h>\n'
    expect_fail 'libyaml is already included by src/data/x.c' "$tree"
    new_tree
    expect_fail 'rooms.txt' "$tree"
    put docs/rooms.txt '1 base\n'
    expect_fail 'no C file in src' "$tree"
    end_self_test
}

[ "$1" = --self-test ] && self_test
root=$1
[ -s "$root/docs/rooms.txt" ] || { echo "docs/rooms.txt: not there or empty"; exit 1; }
need_files src
stripped 1 src | awk "$rules" "$root/docs/rooms.txt" - | report
