# common.sh: what the checks share.  Each is `check_x.sh ROOT` (or as its first lines say), prints
# "FILE:LINE: reason" for every finding and fails when there is one; `check_x.sh --self-test`
# proves on small trees that it passes what is good and refuses each thing that is bad.
set -u
export LC_ALL=C

# All C files under the given folders of $root that exist, sorted, one a line, relative to $root.
c_files() {
    for folder in "$@"; do
        [ -d "$root/$folder" ] && (cd "$root" && find "$folder" -name '*.[ch]' -type f)
    done | sort
}

# Ends the script when there is nothing to check: a check of nothing must not pass.
need_files() {
    [ -n "$(c_files "$@")" ] && return
    echo "$root: no C file in $*"
    exit 1
}

# Code of those files, see strip.awk.  Usage: stripped KEEP FOLDER...
stripped() {
    keep=$1
    shift
    # /dev/null: with no file at all awk would wait for standard input.
    c_files "$@" | (cd "$root" && xargs awk -v keep="$keep" -f "$house/strip.awk" /dev/null)
}

# Ends the script: findings are on standard input.
report() {
    findings=$(cat)
    [ -z "$findings" ] && exit 0
    printf '%s\n' "$findings"
    exit 1
}

# ---- self-tests ----

failures=0

# A fresh tree in $tree; the folder is removed when the script ends.
new_tree() {
    if [ -z "${scratch:-}" ]; then
        scratch=$(mktemp -d "${PWD}/house.XXXXXX") || exit 2
        trap 'rm -rf "$scratch"' EXIT
    fi
    rm -rf "$scratch/tree"
    tree=$scratch/tree
    mkdir -p "$tree"
}

# put PATH TEXT: a file of the tree (printf escapes work).
put() {
    mkdir -p "$tree/$(dirname "$1")"
    printf "$2" >"$tree/$1"
}

# The check must accept: expect_pass NAME ARGUMENT...
expect_pass() {
    name=$1
    shift
    if ! output=$(sh "$self" "$@" 2>&1); then
        echo "self-test: $name: refused what is good: $output"
        failures=$((failures + 1))
    fi
}

# The check must refuse, saying TEXT: expect_fail TEXT ARGUMENT...
expect_fail() {
    text=$1
    shift
    if output=$(sh "$self" "$@" 2>&1); then
        echo "self-test: nothing was found, expected: $text"
        failures=$((failures + 1))
    elif ! printf '%s\n' "$output" | grep -qF -- "$text"; then
        echo "self-test: expected: $text, found: $output"
        failures=$((failures + 1))
    fi
}

end_self_test() {
    [ "$failures" -eq 0 ] || exit 1
    exit 0
}
