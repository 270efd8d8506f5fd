#!/bin/sh
# alloc.sh: an allocation fails, once or from then on, at every n of loaders, data, templates, a
# training with its checkpoints, merging, a recipe and its report.  Required: what is made without a
# fault, or exit code 1 and one line that says why; no leak (in a build with sanitizers), no half
# file; a training goes on to the same bytes.
#   PROGRAM ROOT FAULTY [POINTS [NAME]]    so many n of each, spread evenly; 0: all
faulty=$3
points=${4:-0}
only=${5:-}
. "$(dirname "$0")/../cli/common.sh"
: "${ASAN_OPTIONS:=detect_leaks=1}"
export ASAN_OPTIONS

printf '{"prompt":"a fox","completion":"sleeps"}\n{"prompt":"a b","completion":"c"}\n' >rows.jsonl
printf '{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"a fox"}]}\n' \
    >>rows.jsonl
printf 'prompt,completion\na,b\nc,d\n' | gzip >rows.csv.gz
cp "$golden/tiny-llama.gguf" m.gguf
echo '{"prompt":"the quick"}' >asked.jsonl
cat >recipe.yaml <<END
name: t
model: smollm2-135m-instruct
data:
  rows: {files: rows.jsonl, owner: customer}
  asked: {files: asked.jsonl, owner: evaluator}
customer:
  data: [rows]
  train: {max_steps: 2, lora_r: 2, save_steps: 1}
evaluate:
  harmful: {data: asked, max_tokens: 2}
arms:
  - {name: tuned}
END

# one AT ARGUMENTS...: $got, $left, files out and err.
one() {
    at=$1
    shift
    rm -f "$scratch/left"
    FAIL_AT=$at FAIL_LEFT="$scratch/left" "$faulty" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
    got=$?
    left=$(cat "$scratch/left" 2>/dev/null)
}

# sweep NAME CHECK ARGUMENTS...: CHECK WHAT after each run, in whose folder "made" is what was made.
most=4000000000
tried=0
sweep() {
    name=$1 check=$2
    shift 2
    [ -z "$only" ] || [ "$only" = "$name" ] || return
    rm -rf made
    one $most "$@"
    [ $got -eq 0 ] || fail "$name: $got without a fault: $(head -c 300 "$scratch/err")"
    count=$((most - ${left:-$most}))
    [ $count -gt 20 ] || fail "$name: only $count allocations were seen"
    cp "$scratch/out" "$scratch/expected"
    $check "$name without a fault"
    step=1
    [ "$points" -eq 0 ] || step=$(((count + points - 1) / points))
    for sign in '' -; do
        n=1
        while [ $n -le $count ]; do
            rm -rf made
            one $sign$n "$@"
            what="$name: $sign$n of $count"
            tried=$((tried + 1))
            if grep -qE 'Sanitizer|runtime error' "$scratch/err"; then
                fail "$what: $(grep -m 3 -E 'Sanitizer|runtime error|#[1-6] ' "$scratch/err")"
            elif [ $got -eq 1 ]; then
                # A recipe says what became of each stage, then why the run failed.
                [ "$(grep -v '^holdfast: error: ' "$scratch/err" | grep -c '^holdfast: .')" -eq 1 ] ||
                    fail "$what: no message, or several: $(head -c 300 "$scratch/err")"
            elif [ $got -ne 0 ]; then
                fail "$what: exit $got: $(head -c 300 "$scratch/err")"
            elif [ "$stable" = yes ]; then
                cmp -s "$scratch/out" "$scratch/expected" || fail "$what: succeeds with less"
            fi
            $check "$what"
            n=$((n + step))
        done
    done
}

nothing() { :; }

# An adapter is whole or not there, and a training that failed goes on to it.
trained() {
    [ -f kept ] || cp made/adapter_model.safetensors kept
    if [ -e made/adapter_config.json ]; then
        cmp -s made/adapter_model.safetensors kept || fail "$1: a half or another adapter"
        return
    fi
    [ "$got" -eq 1 ] || fail "$1: exit $got without an adapter"
    holdfast $plan -o made >"$scratch/out" 2>"$scratch/err" ||
        fail "$1: does not go on: $(head -c 300 "$scratch/err")"
    cmp -s made/adapter_model.safetensors kept || fail "$1: goes on to other weights"
}

# A model folder is whole or not there.
written() {
    if [ -f made/config.json ]; then
        holdfast model verify made >/dev/null 2>"$scratch/verify" ||
            fail "$1: a half model: $(cat "$scratch/verify")"
    elif [ "$got" -eq 0 ]; then
        fail "$1: nothing was written"
    fi
}

# After a failed run the same run makes its report from what the store has.
reported() {
    [ "$got" -ne 0 ] || [ -f made/report.json ] || fail "$1: no report"
    if [ "$got" -ne 0 ]; then
        holdfast run recipe.yaml -q -o made >"$scratch/out" 2>"$scratch/err" ||
            fail "$1: does not go on: $(head -c 300 "$scratch/err")"
    fi
    expect 0 holdfast store verify
    rm -rf "$HOLDFAST_STORE"
}

stable=yes
sweep gguf nothing loss --data rows.jsonl -m m.gguf --threads 1
sweep folder nothing loss --data rows.jsonl --threads 1
sweep tokenize nothing tokenize rows.jsonl
sweep template nothing template rows.jsonl
sweep csv nothing data check rows.csv.gz
sweep stats nothing data stats rows.jsonl
sweep generate nothing generate --prompts rows.jsonl --max-tokens 3 --threads 1
sweep list nothing list methods
sweep info nothing model info m.gguf
stable=no
plan='train -q --data rows.jsonl --max-steps 2 --save-steps 1 --threads 1'
sweep train trained $plan -o made
sweep convert written model convert m.gguf -o made
sweep merge written model merge -q --adapter "$golden/tiny-llama-adapter" -o made
export HOLDFAST_STORE="$scratch/store"
sweep recipe reported run recipe.yaml -q --threads 1 -o made
echo "$tried allocations failed"
finish
