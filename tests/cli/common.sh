# common.sh: what the tests of the program share.  Sourced by `SCRIPT PROGRAM ROOT`; leaves the
# script in an empty folder with its own home, in which the tiny model has the default name.
set -u
[ -x "$1" ] || { echo "$1: no such program"; exit 2; }
program=$1
root=$2
export LC_ALL=C OMP_WAIT_POLICY=passive
unset HOLDFAST_STORE HOLDFAST_MODEL HOLDFAST_THREADS NO_COLOR
golden=$root/tests/golden/formats
tiny=$golden/tiny-llama
scratch=$(mktemp -d "$PWD/holdfast-cli.XXXXXX") || exit 2
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/home/models" "$scratch/bin" "$scratch/here"
ln -s "$tiny" "$scratch/home/models/smollm2-135m-instruct"
ln -s "$program" "$scratch/bin/holdfast"
export HOLDFAST_HOME="$scratch/home" HOLDFAST_DATA="$root/data" PATH="$scratch/bin:$PATH"
cd "$scratch/here" || exit 2
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# expect CODE COMMAND...: the exit code; stdout and stderr are left in files beside the folder.
expect() {
    code=$1
    shift
    "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
    got=$?
    [ "$got" -eq "$code" ] && return 0
    fail "'$*' gave $got, expected $code: $(head -c 300 "$scratch/err")"
    return 1
}

# says TEXT, prints TEXT: the last command's stderr or stdout holds it.
says() {
    grep -qF -- "$1" "$scratch/err" || fail "stderr lacks '$1': $(head -c 300 "$scratch/err")"
}
prints() {
    grep -qF -- "$1" "$scratch/out" || fail "stdout lacks '$1': $(head -c 300 "$scratch/out")"
}

finish() {
    [ "$failures" -eq 0 ] && exit 0
    echo "$failures failures"
    exit 1
}
