#!/bin/sh
# evaluate.sh: a training that evaluates: its log, early stop, best weights, warnings, recompute.
. "$(dirname "$0")/common.sh"

i=0
while [ $i -lt 24 ]; do
    printf '{"prompt":"the fox %s","completion":"sleeps in the sun %s"}\n' $i $i
    i=$((i + 1))
done >all.jsonl
head -n 16 all.jsonl >rows.jsonl
# Other answers to such prompts: what is learnt makes their loss grow, whatever the rounding.
tail -n 8 all.jsonl | sed 's/sleeps in the sun/QQ ZZ XX 99 VV/' >held.jsonl
common='--data rows.jsonl --max-steps 40 --threads 1 --learning-rate 0.05'
watched="$common --eval-data held.jsonl --eval-strategy steps --eval-steps 4"

# Rows without a strategy, a strategy without rows, and what needs both.
expect 2 holdfast train $common --eval-data held.jsonl -o none
says "--eval-data needs --eval-strategy"
expect 2 holdfast train $common --eval-strategy steps -o none
says "--eval-strategy steps needs --eval-data"
expect 2 holdfast train $common --load-best-model-at-end -o none
says "load_best_model_at_end needs eval_strategy"
expect 2 holdfast train $common --early-stopping-patience 2 -o none
says "early_stopping_patience needs eval_strategy"

# Looking changes nothing; recompute changes nothing; every evaluation is in the log.
expect 0 holdfast train $common -o plain
expect 0 holdfast train $watched -o watched
expect 0 holdfast train $common --gradient-checkpointing -o again
for other in watched again; do
    cmp -s plain/adapter_model.safetensors $other/adapter_model.safetensors ||
        fail "$other differs from plain"
done
[ "$(grep -c '"name":"eval/loss"' watched/metrics.jsonl)" -eq 10 ] || fail "expected 10 evaluations"
grep -q '"step":40,"name":"eval/loss"' watched/metrics.jsonl || fail "none at the end"

# The best weights are those of the best step, and the patience ends the training.
expect 0 holdfast train $watched --early-stopping-patience 2 --load-best-model-at-end -o early
says "early stop"
says "its weights are the result"
best=$(sed -n 's/.*the lowest [0-9.]* at step \([0-9]*\).*/\1/p' "$scratch/err")
last=$(sed -n 's/.*] *\([0-9]*\) steps, loss.*/\1/p; s/^\([0-9]*\) steps, loss.*/\1/p' "$scratch/err")
[ -n "$best" ] && [ "$last" -lt 40 ] || fail "no early stop: best '$best', last '$last'"
[ "$last" -eq $((best + 8)) ] || fail "stopped at $last, the best was $best, patience is 2 times 4"
expect 0 holdfast loss --data held.jsonl --adapter early --json
lowest=$(sed -n 's/.*"name":"eval\/loss","value":\([0-9.]*\).*/\1/p' early/metrics.jsonl |
    sort -n | head -n 1)
found=$(sed -n 's/.*"loss": *\([0-9.]*\).*/\1/p' "$scratch/out" | head -n 1)
awk -v a="$lowest" -v b="$found" 'BEGIN {exit !(a > 0 && (a - b)^2 < 1e-8)}' ||
    fail "the result's loss is '$found', the lowest seen '$lowest'"

# A recipe's stages do the same: by its own rows, in its identity, in its report.
cat >held.yaml <<'END'
name: held
model: smollm2-135m-instruct
data:
  train: {files: rows.jsonl, owner: customer, task: foxes}
  held: {files: held.jsonl, owner: customer, task: foxes}
customer:
  data: train
  eval_data: held
  train: {max_steps: 40, learning_rate: 0.05, eval_strategy: steps, eval_steps: 4,
    early_stopping_patience: 2, load_best_model_at_end: true}
arms:
  - {name: tuned, attack: benign}
END
expect 0 holdfast estimate held.yaml --json
expect 0 holdfast run held.yaml --threads 1 -o held
says "early stop"
says "2 stages made"
tr -d ' \n' <held/report.json >flat
grep -q "\"eval_loss\":\[\[4,[0-9.]*\],\[8,[0-9.]*\]" flat || fail "no evaluation curve in the report"
grep -q 'class="curve held"' held/report.html || fail "the evaluation curve is not drawn"
expect 0 holdfast run held.yaml --threads 1 -o held
says "0 stages made"
sed 's/QQ/KK/' held.jsonl >other.jsonl
sed 's/held.jsonl/other.jsonl/' held.yaml >other.yaml
expect 0 holdfast run other.yaml --threads 1 -o other
says "1 stage made"
# One fox in both: refused by name before anything runs.
head -n 1 rows.jsonl >>other.jsonl
expect 2 holdfast run other.yaml --threads 1 -o none
says "one row in two roles: 'train' (customer) rows.jsonl:1 and 'held' (customer) other.jsonl:9"

# Rows that are trained on are told.
cat held.jsonl rows.jsonl | head -n 10 >leak.jsonl
expect 0 holdfast train --data rows.jsonl --max-steps 2 --threads 1 --eval-data leak.jsonl --eval-strategy epoch -o leak
says "2 of 10 rows are training rows too, the first is row 9"

finish
