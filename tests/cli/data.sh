#!/bin/sh
# data.sh: rows of preferences, tools, folders, statistics and colours as the commands show them.
. "$(dirname "$0")/common.sh"
esc=$(printf '\033')

# preferences: named, both sides shown, trained on one side when told which
printf '%s\n' '{"prompt":"the fox","chosen":"sleeps","rejected":"runs away now"}' \
    '{"prompt":"the dog","chosen":"barks","rejected":"sleeps"}' >pairs.jsonl
expect 0 holdfast data check pairs.jsonl
prints "pairs.jsonl:1: warning: a row of preferences (prompt, chosen, rejected), of which one answer"
prints "2 rows, 0 errors, 1 warning (pair/prompt)"
expect 0 holdfast data check pairs.jsonl -m "$tiny" --json
prints '"formats":{"pair/prompt":2}'
prints '"rule":"preference_rows"'
expect 0 holdfast data show pairs.jsonl --limit 1
prints "row 0 (line 1, pair/prompt) chosen:"
prints "row 0 (line 1, pair/prompt) rejected:"
prints "⟦runs away now<|im_end|>⟧"
expect 0 holdfast data show pairs.jsonl --limit 1 --json
[ "$(grep -c '"side":"' "$scratch/out")" -eq 2 ] || fail "a pair is two lines with their sides"
expect 0 holdfast data stats pairs.jsonl -m "$tiny"
prints "chosen: 2 rows"
prints "rejected: 2 rows"
for command in "train --max-steps 1 -o refused" estimate loss; do
    expect 1 holdfast $command --data pairs.jsonl --threads 1
    says "pairs.jsonl:1: error: a row of preferences (prompt, chosen, rejected)"
    says "--preference chosen or rejected"
done
[ ! -e refused ] || fail "a refused training made its folder"
printf '%s\n' '{"prompt":"the fox","completion":"sleeps"}' \
    '{"prompt":"the dog","completion":"barks"}' >chosen.jsonl
expect 0 holdfast loss --data chosen.jsonl --threads 1
cp "$scratch/out" plain
expect 0 holdfast loss --data pairs.jsonl --preference chosen --threads 1
cmp -s "$scratch/out" plain || fail "the chosen side is not the plain rows"
expect 0 holdfast loss --data pairs.jsonl --preference rejected --threads 1
cmp -s "$scratch/out" plain && fail "the rejected side is the chosen one"
expect 0 holdfast train --data pairs.jsonl --preference chosen --max-steps 2 --threads 1 -o side
expect 0 holdfast train --data chosen.jsonl --max-steps 2 --threads 1 -o rows
cmp -s side/adapter_model.safetensors rows/adapter_model.safetensors ||
    fail "training on the chosen side is not training on the plain rows"
printf '%s\n' '{"prompt":"the fox","completion":"sleeps","label":true}' \
    '{"prompt":"the fox","completion":"runs","label":false}' >judged.jsonl
expect 1 holdfast loss --data judged.jsonl
says "a label that is true or false"
expect 0 holdfast loss --data judged.jsonl --preference chosen
says "1 row left out, whose answer is not the chosen one"
prints '"total":true,"rows":1'

# tools: a template without a place for them is an error, not rows without them
printf '%s\n' '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}],"tools":[{"type":"function","function":{"name":"f"}}]}' >tools.jsonl
expect 1 holdfast data check tools.jsonl -m "$tiny"
prints "tools.jsonl:1: error: the row has tools, and the model's chat template leaves them out"
expect 1 holdfast train --data tools.jsonl --max-steps 1 -o none
says "leaves them out"
expect 0 holdfast data stats tools.jsonl
prints "rows with tools: 1"

# a folder: its train rows, and its valid rows to evaluate on
mkdir set
cp chosen.jsonl set/train.jsonl
printf '%s\n' '{"prompt":"the owl","completion":"looks"}' >set/dev.jsonl
gzip -c set/dev.jsonl >set/test.jsonl.gz
expect 0 holdfast data check set
prints "set/train.jsonl: 2 rows"
prints "set/dev.jsonl: 1 row,"
prints "set/test.jsonl.gz: 1 row,"
expect 0 holdfast data stats set --split valid --json
prints '"rows":1'
expect 0 holdfast data show set --split test --limit 1
prints "the owl"
expect 0 holdfast train --data set --max-steps 2 --threads 1 -o fromset
says "training on set/train.jsonl, evaluating on set/dev.jsonl (eval_strategy epoch)"
grep -q '"name":"eval/loss"' fromset/metrics.jsonl || fail "the folder's valid rows were not used"
cp fromset/adapter_model.safetensors once
expect 0 holdfast train --data set --max-steps 2 --threads 1 -o fromset
says "finished before"
expect 0 holdfast train --data set/train.jsonl --max-steps 2 --threads 1 -o fromfile
cmp -s fromfile/adapter_model.safetensors fromset/adapter_model.safetensors ||
    fail "a folder's training is not that of its file"
expect 0 holdfast estimate --data set
mv set/dev.jsonl set/other.jsonl
expect 0 holdfast train --data set --max-steps 2 --threads 1 -o without
grep -q '"name":"eval/loss"' without/metrics.jsonl && fail "evaluated on rows that are not there"
expect 2 holdfast data show set --split valid
says "set: the folder has no valid.jsonl (or .json, .csv, .tsv; .gz, .zst); it has other.jsonl"
# A valid file that is there and not wanted stays out of it, and the log says so.
mv set/other.jsonl set/dev.jsonl
expect 0 holdfast train --data set --eval-strategy no --max-steps 2 --threads 1 -o declined
says "training on set/train.jsonl; eval_strategy no: not evaluating on set/dev.jsonl"
grep -q '"name":"eval/loss"' declined/metrics.jsonl && fail "evaluated in spite of --eval-strategy no"
# A split in parts is one split, its rows keep their places; a part that is missing is named.
mkdir parts
head -n 1 chosen.jsonl >parts/train-00000-of-00002.jsonl
tail -n 1 chosen.jsonl >parts/train-00001-of-00002.jsonl
expect 0 holdfast train --data parts --max-steps 2 --threads 1 -o fromparts
cmp -s fromparts/adapter_model.safetensors once || fail "parts give another training than the file"
expect 0 holdfast data stats parts --json
prints '"rows":2'
expect 0 holdfast data check parts
prints "parts/train-00001-of-00002.jsonl: 1 row, 0 errors"
echo '{"prompt":"alone"}' >>parts/train-00001-of-00002.jsonl
expect 1 holdfast train --data parts --max-steps 2 --threads 1 -o none
says "parts/train-00001-of-00002.jsonl:2: error: the row has no assistant text"
expect 1 holdfast train --data chosen.jsonl --data parts/train-00001-of-00002.jsonl -o none
says "parts/train-00001-of-00002.jsonl:2: error: the row has no assistant text"
rm parts/train-00000-of-00002.jsonl
expect 1 holdfast train --data parts --max-steps 2 -o none
says "parts: train-00000-of-00002.jsonl is missing"
# Scored answers are named, not taken for prompts.
echo '{"prompt":"p","completions":[{"text":"a","score":1},{"text":"b","score":0}]}' >scored.jsonl
expect 1 holdfast data check scored.jsonl
prints "scored.jsonl:1: error: completions: several scored answers are not read (found 2)"
mv set/train.jsonl set/train.parquet
expect 1 holdfast train --data set --max-steps 1 -o none
says "set: train.parquet is Parquet, which is not read"
expect 1 holdfast loss --data set
says "set: is a folder, expected one of its files"
printf 'prompt\tcompletion\nthe "fox"\tsleeps\n' >rows.tsv
expect 0 holdfast data check rows.tsv
prints "1 row, 0 errors"

# lengths: percentiles, what a limit cuts, and a limit that keeps the rows whole
i=0
while [ $i -lt 99 ]; do
    echo '{"text":"the quick brown fox"}'
    i=$((i + 1))
done >texts.jsonl
printf '{"text":"%s"}\n' "$(yes 'the quick brown fox' | head -n 100 | tr '\n' ' ')" >>texts.jsonl
expect 0 holdfast data stats texts.jsonl -m "$tiny" --max-length 64 --json
prints '"share_cut":0.01'
prints '"rows_cut":1'
prints '"suggested_max_length":64,"suggested_whole":0.99'
for key in min p50 p90 p95 p99 max mean; do prints "\"$key\":"; done
for key in characters turns tokens trained histogram trained_cut; do prints "\"$key\":"; done
expect 0 holdfast data stats texts.jsonl -m "$tiny" --max-length 64
prints "max_length 64: 1 rows are cut (1.0%)"
prints "--max-length 64 keeps 99.0% of the rows whole"
prints "########################################"

# show: colours when asked for, marks otherwise; nothing of the data steers the terminal
printf '%s\n' '{"prompt":"a \u001b[31m\u0007\u009b2J\rb\tc","completion":"the fox"}' >steers.jsonl
expect 0 holdfast data show steers.jsonl
grep -q "$esc" "$scratch/out" && fail "an escape reached the output"
prints 'a \x1b[31m\x07\x9b2J\rb	c'
prints "⟦the fox<|im_end|>⟧"
prints "user, assistant"
expect 0 holdfast data show steers.jsonl --color always
prints "${esc}[32mthe fox${esc}[0m${esc}[1;32m<|im_end|>${esc}[0m"
prints "${esc}[2m<|im_start|>${esc}[0m"
grep -qF "${esc}[31m" "$scratch/out" && fail "an escape of the data reached the output"
grep -qF '⟦' "$scratch/out" && fail "marks beside colours"
if script -qec true /dev/null >/dev/null 2>&1; then
    shown() { env "$@" script -qec "holdfast data show steers.jsonl" /dev/null </dev/null >seen 2>&1; }
    shown TERM=xterm
    grep -qF "${esc}[32m" seen || fail "no colour on a terminal"
    shown TERM=xterm NO_COLOR=1
    grep -qF "${esc}[" seen && fail "colour in spite of NO_COLOR"
    env TERM=xterm script -qec "holdfast data show steers.jsonl --color never" /dev/null </dev/null >seen 2>&1
    grep -qF "${esc}[" seen && fail "colour in spite of --color never"
fi
finish
