#!/bin/sh
# shrink.sh: a model's file loses its second half at each system call of a run that reads it.  The
# run says so in one line that names the file, and never computes with what is left.
#   PROGRAM ROOT TRACE [STEP]    every STEP-th call only (1)
trace=$3
step=${4:-1}
. "$(dirname "$0")/../cli/common.sh"

printf '{"prompt":"a fox","completion":"sleeps"}\n' >rows.jsonl
cp "$golden/tiny-llama.gguf" whole.gguf
cp whole.gguf m.gguf
expect 0 holdfast loss --data rows.jsonl -m m.gguf --threads 1
cp "$scratch/out" kept

bus=0
changed=0
n=1
calls=1
while [ $n -le "$calls" ]; do
    cp whole.gguf m.gguf
    if [ $n -eq 1 ]; then
        "$trace" count 0 m.gguf "$program" loss --data rows.jsonl -m m.gguf --threads 1 \
            >"$scratch/out" 2>"$scratch/err"
        [ $? -eq 77 ] && exit 77
        calls=$(sed -n 's/^calls: //p' "$scratch/err")
        [ "${calls:-0}" -gt 3 ] || fail "only '$calls' calls were seen"
    fi
    "$trace" shrink $n m.gguf "$program" loss --data rows.jsonl -m m.gguf --threads 1 \
        >"$scratch/out" 2>"$scratch/err"
    got=$?
    lines=$(wc -l <"$scratch/err")
    case $got in
    0) cmp -s "$scratch/out" kept || fail "call $n: another result" ;;
    1 | 2)
        [ "$lines" -eq 1 ] && grep -q '^holdfast: .*m\.gguf: ' "$scratch/err" ||
            fail "call $n: $(head -c 300 "$scratch/err")"
        grep -q 'became shorter while' "$scratch/err" && bus=$((bus + 1))
        grep -q 'has been written to while' "$scratch/err" && changed=$((changed + 1))
        ;;
    *) fail "call $n: exit $got: $(head -c 300 "$scratch/err")" ;;
    esac
    n=$((n + step))
done
[ $bus -gt 0 ] || fail "no run met the end of its map"
echo "$calls calls: $bus ended at the map's end, $changed by the check"
finish
