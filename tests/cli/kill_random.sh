#!/bin/sh
# kill_random.sh: SIGKILL at random moments of a tiny training, KILLS times (200); gone on with until it
# ends, it ends in the bytes of the training that nobody killed.
#     sh kill_random.sh PROGRAM ROOT     with KILLS and SEED in the environment; the seed is printed
. "$(dirname "$0")/common.sh"
kills=${KILLS:-200}
seed=${SEED:-$(date +%s)}
echo "seed $seed, $kills kills"

i=0
while [ $i -lt 16 ]; do
    printf '{"prompt":"the fox %s","completion":"sleeps in the sun %s"}\n' $i $i
    i=$((i + 1))
done >rows.jsonl
head -n 4 rows.jsonl | sed 's/fox/hen/' >held.jsonl
options='--data rows.jsonl --eval-data held.jsonl --eval-strategy steps --eval-steps 7
    --load-best-model-at-end --max-steps 150 --save-steps 6 --threads 1 --gradient-checkpointing'
now() {
    date +%s%N
}
begun=$(now)
expect 0 holdfast train $options -o uncut
span=$((($(now) - begun) / 1000000)) # milliseconds of a whole one
# Moments from the start of the program to a third of the whole, so that every part is met.
awk -v seed="$seed" -v n="$kills" -v span="$span" \
    'BEGIN {srand(seed); for (i = 0; i < n; i++) printf "%.3f\n", 0.005 + rand() * span / 3000}' >moments

done_kills=0 finished=0
while read -r moment; do
    holdfast train $options -o cut 2>"$scratch/err" </dev/null &
    child=$!
    sleep "$moment"
    kill -KILL $child 2>/dev/null
    wait $child 2>/dev/null
    got=$?
    case $got in
    137) done_kills=$((done_kills + 1)) ;;
    0) ;;
    *) fail "kill $done_kills: ended with $got: $(tail -n 1 "$scratch/err")" ;;
    esac
    if grep -q '"finished": *true' cut/train.json 2>/dev/null; then
        cmp -s cut/adapter_model.safetensors uncut/adapter_model.safetensors ||
            fail "after $done_kills kills: other weights"
        finished=$((finished + 1))
        rm -rf cut
    fi
done <moments
expect 0 holdfast train $options -o cut
cmp -s cut/adapter_model.safetensors uncut/adapter_model.safetensors ||
    fail "the last one: other weights"
echo "$done_kills kills, $((finished + 1)) trainings ended, whole in $span ms"
[ $((done_kills * 10)) -ge $((kills * 5)) ] || fail "only $done_kills of $kills kills met a training"
finish
