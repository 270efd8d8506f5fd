#!/bin/sh
# test_scripts.sh: what a user meets before the program: scripts/packages, scripts/demo,
# scripts/count.awk and .ci/run, with commands of our own in front of the machine's.
#
#   sh test_scripts.sh SOURCE_FOLDER
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
tree="$work/a clone"
mkdir -p "$work/bin" "$tree/recipes" "$tree/.ci"
cp -R "$1/scripts" "$tree/scripts"
cp "$1/.ci/run" "$tree/.ci/run"
for tool in sh bash dirname grep cat env mktemp rm tee awk mkdir chmod; do
    ln -s "$(command -v $tool)" "$work/bin/$tool"
done
failures=0

# command NAME LINE...: a command of our own.
command_of_ours() {
    name=$1
    shift
    rm -f "$work/bin/$name"
    { echo '#!/bin/sh' && printf '%s\n' "$@"; } >"$work/bin/$name"
    chmod +x "$work/bin/$name"
}

# run WANTED_STATUS WANTED_TEXT COMMAND...: it must end so and say so.
run() {
    status=$1
    text=$2
    shift 2
    (cd "$work" && PATH=$work/bin "$@") >"$work/out" 2>&1 </dev/null
    got=$?
    if [ $got -ne "$status" ] || { [ -n "$text" ] && ! grep -qF -- "$text" "$work/out"; }; then
        echo "FAILED: $*: status $got, expected $status and \"$text\"; found:"
        cat "$work/out"
        failures=$((failures + 1))
    fi
}

# --- packages ---
packages="$tree/scripts/packages"
run 2 'usage: scripts/packages' sh "$packages"
run 2 'unknown kind "all"' sh "$packages" all
run 0 'no dpkg here' sh "$packages" build
command_of_ours dpkg 'case $2 in libyaml-dev) exit 1 ;; esac' 'echo "Status: install ok installed"'
for tool in gcc cmake ninja pkg-config python3; do
    command_of_ours $tool 'exit 0'
done
run 0 '' sh "$packages" model
run 2 'install these packages by other means: libyaml-dev' sh "$packages" build
command_of_ours apt-get 'echo "apt-get $*"' 'case "$*" in *install*) exit "${STATUS:-0}" ;; esac'
command_of_ours id 'echo 1000'
run 2 'apt-get update && apt-get install -y --no-install-recommends libyaml-dev' sh "$packages" build
command_of_ours sudo '[ "$1" = -n ] && exit 1' 'exec "$@"'
run 2 "sudo sh -c 'apt-get update && apt-get install" sh "$packages" build
command_of_ours sudo '[ "$1" = -n ] && exit 0' 'echo "by sudo"' 'exec "$@"'
run 0 'by sudo' sh "$packages" build
command_of_ours id 'echo 0'
run 0 'install -y --no-install-recommends libyaml-dev' sh "$packages" build
run 1 'is the network up?' env STATUS=100 sh "$packages" build

# --- demo ---
demo="$tree/scripts/demo"
command_of_ours dpkg 'echo "Status: install ok installed"'
command_of_ours cmake 'echo "cmake $*"' 'exit "${BUILD:-0}"'
mkdir -p "$tree/build/release"
printf '%s\n' '#!/bin/sh' 'for a in "$@"; do echo "<$a>"; done' 'exit "${STATUS:-0}"' \
    >"$tree/build/release/holdfast"
chmod +x "$tree/build/release/holdfast"
printf '%s\n' 'echo "fetched $1"' 'exit "${FETCH:-0}"' >"$tree/scripts/fetch-model"
run 0 'usage: scripts/demo' sh "$demo" --help
run 2 'unknown option --frob' sh "$demo" --frob
run 2 '-o wants a folder' sh "$demo" -o
run 2 'expected key=value' sh "$demo" word
run 1 'recipes/demo.yaml is not there' sh "$demo"
: >"$tree/recipes/demo.yaml"
: >"$tree/recipes/tiny.yaml"
run 0 "The report: $tree/runs/demo/report.html" sh "$demo"
run 0 '<recipes/demo.yaml>' sh "$demo"
run 0 "<$work/my runs>" sh "$demo" seed=1,2 -o 'my runs' --store "$work/s" a=b
run 0 "The report: $work/my runs/report.html" sh "$demo" seed=1,2 -o 'my runs' a=b
run 0 '<seed=1,2>' sh "$demo" seed=1,2 -o x a=b
run 0 '<a=b>' sh "$demo" seed=1,2 -o x a=b
run 0 '<--store>' sh "$demo" --store s
run 0 "<$work/s>" sh "$demo" --store s
run 0 '<recipes/tiny.yaml>' env FETCH=1 sh "$demo" --tiny
run 1 '3/4 model' env FETCH=1 sh "$demo"
run 1 'cmake could not configure' env BUILD=1 sh "$demo"
run 130 'run the same command again to go on' env STATUS=130 sh "$demo"
run 1 'the run failed with status 1' env STATUS=1 sh "$demo"

# --- the count of scripts/test ---
cat >"$work/log" <<'END'
1: [  PASSED  ] 3 test(s).
1: [  SKIPPED ] 1 test(s), listed below:
1/5 Test  #1: test_a ...........................   Passed    0.01 sec
2: [  PASSED  ] 1 test(s).
2: [  FAILED  ] 2 test(s), listed below:
2/5 Test #2: test_b ...........................***Failed    0.10 sec
3/5 Test #3: house_x ..........................   Passed    0.20 sec
4/5 Test #4: test_fetch .......................***Skipped   0.20 sec
5: almost there
5/5 Test #5: test_crash .......................***Exception: SegFault  0.20 sec
END
run 0 '5 3 2' awk -f "$tree/scripts/count.awk" "$work/log"
run 0 '3 0 1' awk -v names='test_a test_none' -f "$tree/scripts/count.awk" "$work/log"
run 0 'almost there' awk -v only=failed -f "$tree/scripts/count.awk" "$work/log"

# --- continuous integration ---
ci() { # STATUS LINE: what scripts/test is made to say
    printf '%s\n' "echo '$2'" "exit $1" >"$tree/scripts/test"
}
ci 0 'real-model tier: 12 passed, 0 failed'
run 0 '12 passed' bash "$tree/.ci/run"
ci 1 'real-model tier: 12 passed, 1 failed'
run 1 '1 failed' bash "$tree/.ci/run"
ci 0 'real-model tier: skipped: the model could not be fetched'
run 1 'the real-model tier did not run' bash "$tree/.ci/run"

[ $failures -eq 0 ] && echo "all passed"
[ $failures -eq 0 ]
