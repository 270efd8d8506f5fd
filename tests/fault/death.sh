#!/bin/sh
# death.sh: death at every system call of a checkpoint's save, and of what follows it to the end;
# each time the training goes on and ends in the same bytes.
#   PROGRAM ROOT TRACE [STEP]    every STEP-th call only (1)
trace=$3
step=${4:-1}
. "$(dirname "$0")/../cli/common.sh"

i=0
while [ $i -lt 8 ]; do
    printf '{"prompt":"the fox %s","completion":"sleeps %s"}\n' $i $i
    i=$((i + 1))
done >rows.jsonl
plan='train --data rows.jsonl --max-steps 3 --save-steps 1 --threads 1'
expect 0 holdfast $plan -o whole
"$trace" count 0 saving- "$program" $plan -o cut >"$scratch/out" 2>"$scratch/err"
[ $? -eq 77 ] && exit 77
calls=$(sed -n 's/^calls: //p' "$scratch/err")
cmp -s cut/adapter_model.safetensors whole/adapter_model.safetensors || fail "traced: other bytes"
[ "${calls:-0}" -gt 20 ] || fail "only '$calls' calls were seen"

# What the disk holds before a call is what it holds after the one before it.
n=1
while [ $n -le "${calls:-0}" ]; do
    rm -rf cut
    "$trace" kill $n saving- "$program" $plan -o cut >/dev/null 2>&1
    got=$?
    # The last calls may be left out when a run's threads end in another order.
    [ $got -eq 137 ] || [ $n -gt $((calls - 20)) ] || fail "kill at $n gave $got"
    expect 0 holdfast $plan -o cut || fail "going on after the kill at $n"
    cmp -s cut/adapter_model.safetensors whole/adapter_model.safetensors ||
        fail "kill at call $n: other weights"
    left=$(find cut -name 'saving-*' -o -name '.tmp-*')
    [ -z "$left" ] || fail "kill at $n left $left"
    n=$((n + step))
done
finish
