#!/bin/sh
# faults.sh: each file system call in turn fails or is cut short: in loaders, data, a training with
# its checkpoints and adapter, its resumption, the writing of a model, a store and its report.  Required: success, or a clean error; never a
# signal, a sanitizer's report, a half file under its final name, or a lost checkpoint.
#   PROGRAM ROOT TRACE [STEP]    every STEP-th call only (1)
trace=$3
step=${4:-1}
. "$(dirname "$0")/../cli/common.sh"

printf '{"prompt":"a fox","completion":"sleeps"}\n{"prompt":"a b","completion":"c"}\n' >rows.jsonl
printf 'prompt,completion\na,b\nc,d\n' >rows.csv
cp rows.jsonl rows.saved

# clean RESULT WHAT: an exit status of our table, and on failure a message.
clean() {
    case $1 in
    0) ;;
    1 | 2) grep -q '^holdfast: .' "$scratch/err" || fail "$2: failed without a message" ;;
    *) fail "$2: exit $1: $(tail -c 300 "$scratch/err")" ;;
    esac
    ! grep -qE 'Sanitizer|runtime error' "$scratch/err" || fail "$2: $(head -c 400 "$scratch/err")"
}

# sweep NAME FROM CHECK KINDS ARGUMENTS...: every call from FROM on, under each kind.
sweep() {
    name=$1 from=$2 check=$3 kinds=$4
    shift 4
    begin
    "$trace" count 0 "$from" "$program" "$@" >"$scratch/out" 2>"$scratch/err"
    got=$?
    [ $got -eq 77 ] && exit 77
    [ $got -eq 0 ] || fail "$name: $got without a fault: $(head -c 300 "$scratch/err")"
    calls=$(sed -n 's/^calls: //p' "$scratch/err")
    [ "${calls:-0}" -gt 3 ] || fail "$name: only '$calls' calls were seen"
    $check "$name without a fault" 0
    for kind in $kinds; do
        n=1
        while [ $n -le "${calls:-0}" ]; do
            begin
            "$trace" $kind $n "$from" "$program" "$@" >"$scratch/out" 2>"$scratch/err"
            got=$?
            clean $got "$name: $kind at call $n"
            $check "$name: $kind at call $n" $got
            n=$((n + step))
        done
    done
}

nothing() { :; }
begin() { rm -rf made; }

# A training that failed goes on to the same adapter; one that did not has it already.
trained() {
    [ -f kept ] || cp made/adapter_model.safetensors kept
    if [ -e made/adapter_config.json ]; then
        cmp -s made/adapter_model.safetensors kept || fail "$1: a half or another adapter"
    fi
    [ "$2" -eq 0 ] && [ -f made/adapter_config.json ] && return
    holdfast $plan -o made >"$scratch/out" 2>"$scratch/err" || fail "$1: does not go on"
    cmp -s made/adapter_model.safetensors kept || fail "$1: goes on to other weights"
}

# What a store publishes is whole, and the same run goes on to its report.
reported() {
    if [ "$2" -eq 0 ]; then
        [ -f made/report.json ] || fail "$1: no report"
    else
        rm -rf made
        holdfast run recipe.yaml -q -o made >"$scratch/out" 2>"$scratch/err" ||
            fail "$1: does not go on: $(head -c 300 "$scratch/err")"
    fi
    holdfast store verify >"$scratch/out" 2>"$scratch/err" || fail "$1: $(head -c 300 "$scratch/err")"
}

# A model folder is whole or not there.
written() {
    [ -e made ] || return
    [ -f made/config.json ] || return
    holdfast model verify made >/dev/null 2>"$scratch/verify" ||
        fail "$1: a half model: $(cat "$scratch/verify")"
}

# A file is whole or not there.
whole() {
    [ ! -e made.gguf ] || holdfast model verify made.gguf >/dev/null 2>"$scratch/verify" ||
        fail "$1: a half file: $(cat "$scratch/verify")"
    [ "$2" -eq 0 ] || [ -z "$(find . -name ".tmp-*")" ] || fail "$1: left $(ls -A)"
    rm -rf made.gguf .tmp-*
}

all='eio enospc eintr short'
sweep jsonl rows.jsonl nothing "$all" loss --data rows.jsonl --threads 1
gzip -k rows.csv
sweep gzip rows.csv.gz nothing "eio short" data check rows.csv.gz
sweep csv rows.csv nothing "$all" data check rows.csv
sweep gguf tiny-llama.gguf nothing "eio eintr short" \
    loss --data rows.jsonl -m "$golden/tiny-llama.gguf" --threads 1
sweep folder smollm2 nothing "eio short" loss --data rows.jsonl --threads 1
sweep export .tmp- whole "eio enospc short" model convert "$golden/tiny-llama" -o made.gguf
plan='train --data rows.jsonl --max-steps 2 --save-steps 1 --threads 1'
sweep train made trained "eio enospc short" $plan -o made
# A run that was killed at its second step goes on, while calls fail.
begin() {
    rm -rf made
    cp -r cut made
}
rm -rf made
"$trace" kill 60 made/checkpoint-1 "$program" $plan -o made >/dev/null 2>&1
mv made cut
[ -f cut/checkpoint-1/state.json ] || fail "there is nothing to go on from"
[ ! -e cut/adapter_config.json ] || fail "the run was not cut"
sweep resume made/checkpoint-1 trained "eio short" $plan -o made
begin() { rm -rf made; }
sweep init made written "eio enospc short" model init "$root/data/tiny/tokenizer" --seed 1 -o made
cat >recipe.yaml <<END
name: t
model: smollm2-135m-instruct
data:
  rows: {files: rows.jsonl, owner: customer}
  asked: {files: asked.jsonl, owner: evaluator}
customer:
  data: [rows]
  train: {max_steps: 1, lora_r: 2}
evaluate:
  harmful: {data: asked, max_tokens: 2}
arms:
  - {name: tuned}
END
echo '{"prompt":"the quick"}' >asked.jsonl
begin() { rm -rf made store; }
HOLDFAST_STORE=$PWD/store
export HOLDFAST_STORE
step=$((step * 8)) # it makes some hundreds of calls, and a run takes long
sweep store here/store reported "eio enospc" run recipe.yaml -q --threads 1 -o made
cmp -s rows.jsonl rows.saved || fail "the data have changed"
finish
