#!/bin/sh
# estimate.sh: foretold memory is what a training and a recipe then need, within a tenth; above the
# machine's limit they are refused before the first step.
. "$(dirname "$0")/common.sh"

expect 0 holdfast model init "$root/data/tiny/tokenizer" -o newborn
head -n 160 "$root/data/tiny/instruct.jsonl" >rows.jsonl
# Rows that share a long beginning: together they are far smaller than the sum of them.
i=0
while [ $i -lt 64 ]; do
    printf '{"prompt":"%s %s","completion":"a fox %s"}\n' \
        "$(printf 'the red fox sleeps in the sun and %.0s' 1 2 3 4 5 6 7 8 9 10 11 12)" $i $i
    i=$((i + 1))
done >shared.jsonl
tail -n 24 "$root/data/tiny/instruct.jsonl" >held.jsonl

# number NAME FILE...: the first number under this name in JSON.
number() {
    name=$1
    shift
    cat "$@" | tr -d ' \n' | sed -n "s/.*\"$name\":\([0-9.]*\).*/\1/p"
}
# within A B WHAT: A is B but for a tenth.
within() {
    echo "$3: foretold $1 of $2 bytes"
    awk -v a="$1" -v b="$2" 'BEGIN {exit !(a > 0 && a > 0.9 * b && a < 1.1 * b)}' ||
        fail "$3: foretold $1 bytes, $2 were used"
}

n=0
try() {
    n=$((n + 1))
    expect 0 holdfast estimate -m newborn "$@" --measured-steps 1 --json
    foretold=$(number peak_bytes "$scratch/out")
    expect 0 holdfast train -m newborn "$@" -o out$n
    used=$(sed -n 's/.*, peak \([0-9.]*\) GB: .*/\1/p' "$scratch/err")
    within "$foretold" "$(awk -v gb="$used" 'BEGIN {printf "%.0f", gb * 1e9}')" "$*"
}
large="--max-steps 2 --per-device-train-batch-size 64 --micro-batch-tokens 8192 --threads 1"
try --data rows.jsonl $large
try --data rows.jsonl $large --gradient-checkpointing
try --data rows.jsonl $large --layout rows --lora-r 64
try --data shared.jsonl $large
try --data rows.jsonl $large --tuning full --isa portable
try --data rows.jsonl $large --eval-data held.jsonl --eval-strategy steps --eval-steps 1 \
    --load-best-model-at-end

# A recipe: its largest stage.
cat >small.yaml <<'END'
name: small
model: ./newborn
data:
  rows: {files: rows.jsonl, owner: defender}
align:
  data: rows
  train: {per_device_train_batch_size: 64, micro_batch_tokens: 8192}
arms:
  - {name: aligned, align: {vaccine: {rho: 0.1}}}
END
expect 0 holdfast estimate small.yaml --threads 1 --measured-steps 1 --json
foretold=$(number peak_bytes "$scratch/out")
expect 0 holdfast run small.yaml --threads 1 -o small
used=$(grep -o '"peak_bytes": *[0-9]*' small/report.json | grep -o '[0-9]*$' | sort -n | tail -n 1)
within "$foretold" "$used" "a recipe"

# A recipe says what is trained: options beside it would do nothing.
expect 2 holdfast estimate small.yaml --num-train-epochs 3
says "--num-train-epochs: has no effect on a recipe"
expect 2 holdfast estimate small.yaml -m newborn
says "--model: has no effect on a recipe"

# Too large: said by estimate, refused by train, before a step and before a folder is made.
huge="--data rows.jsonl --per-device-train-batch-size 160 --micro-batch-tokens 1000000 --layout rows"
(
    ulimit -v 200000
    expect 0 holdfast estimate -m newborn $huge --threads 1 --json
    prints '"fits":false'
    expect 1 holdfast train -m newborn $huge --threads 1 -o huge
    says "training needs about"
    says "lower micro_batch_tokens"
    [ ! -e huge ] || fail "a folder was made for a training that does not fit"
    exit "$failures"
)
failures=$((failures + $?))

finish
