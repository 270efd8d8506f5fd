#!/bin/sh
# signal.sh: a second signal ends a training at once and leaves what was saved; the run goes on from
# it to the bytes of one that was never stopped.
. "$(dirname "$0")/common.sh"

i=0
while [ $i -lt 40 ]; do
    printf '{"prompt":"the quick brown fox number %s","completion":"jumps over the lazy dog"}\n' $i
    i=$((i + 1))
done >rows.jsonl
plan='--data rows.jsonl --max-steps 400 --threads 1'
expect 0 holdfast train $plan -o whole
holdfast train $plan --save-steps 1 -o cut 2>"$scratch/err" &
child=$!
tries=0
# Any checkpoint will do: the first ones soon make room for later ones.
while ! ls -d cut/checkpoint-* >"$scratch/out" 2>&1 && [ $tries -lt 2000 ]; do
    sleep 0.01
    tries=$((tries + 1))
done
# Both wait while the program is stopped, and come in the order of their numbers.
kill -STOP $child && kill -INT $child && kill -TERM $child && kill -CONT $child
wait $child
got=$?
[ $got -eq 143 ] || fail "a second signal gave $got, expected 143: $(tail -c 300 "$scratch/err")"
! grep -q "stopped after step" "$scratch/err" || fail "a second signal waited for the step"
[ ! -e cut/adapter_config.json ] || fail "a training that was ended left a result"
expect 0 holdfast train $plan -o cut
says "going on from"
cmp -s cut/adapter_model.safetensors whole/adapter_model.safetensors ||
    fail "going on after two signals gave other weights"
finish
