#!/bin/sh
# examples.sh: the example of every --help runs as it stands, on a tiny model of the default name.
. "$(dirname "$0")/common.sh"

printf '{"prompt":"the fox","completion":"sleeps in the sun"}\n{"prompt":"a dog","completion":"jumps"}\n' >rows.jsonl
ln -s "$root/data" data
mkdir -p runs/demo
for arm in lisa poisoned; do
    for i in 0 1 2 3; do
        printf '{"arm":"%s","set":"harmful","index":%s,"prompt_sha256":"%s","verdict":"refused"}\n' $arm $i $i
    done
done >runs/demo/rows.jsonl

holdfast --help | sed -n 's/^  \([a-z][a-z ]*[a-z]\)  .*/\1/p' >commands
[ "$(wc -l <commands)" -ge 20 ] || fail "fewer than 20 commands"
# `model merge` uses what `train` made.
{ grep -x train commands; grep -vx train commands; } >ordered
while read -r command; do
    # A recipe that takes half an hour and an id of a stage are tested elsewhere.
    case $command in run | 'store pin') continue ;; esac
    holdfast $command --help </dev/null | sed -n '/^example:/,/^$/p' | grep '^  ' >example
    [ -s example ] || fail "'$command' has no example"
    if ! sh -e ./example >"$scratch/out" 2>"$scratch/err" </dev/null; then
        fail "the example of '$command': $(head -c 300 "$scratch/err")"
    fi
done <ordered
finish
