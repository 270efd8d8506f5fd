#!/bin/sh
# train.sh: a training folder: made, finished, gone on with after a signal, refused, overwritten.
. "$(dirname "$0")/common.sh"

i=0
while [ $i -lt 16 ]; do
    printf '{"prompt":"the fox %s","completion":"sleeps in the sun %s"}\n' $i $i
    i=$((i + 1))
done >rows.jsonl
echo '{"prompt":"a fox"}' >prompts.jsonl

# In one go, with answers while training.
expect 0 holdfast train --data rows.jsonl --max-steps 6 --save-steps 2 -o whole --threads 1 \
    --probe prompts.jsonl --samples prompts.jsonl --answer-tokens 3
for file in adapter_config.json adapter_model.safetensors metrics.jsonl probes.jsonl samples.jsonl; do
    [ -s whole/$file ] || fail "whole/$file is missing"
done
grep -q '"name":"safety/harmful"' whole/metrics.jsonl || fail "no safety probe in the metrics"
grep -q '"name":"train/loss"' whole/metrics.jsonl || fail "no loss in the metrics"
[ "$(grep -c . whole/samples.jsonl)" -eq 2 ] || fail "expected samples of the start and the end"

# Again: nothing to do.  Other options: refused, the folder stays.  Underscores are the same.
sum=$(cksum <whole/adapter_model.safetensors)
expect 0 holdfast train --data rows.jsonl --max_steps 6 --save_steps 2 -o whole
says "nothing to do"
expect 2 holdfast train --data rows.jsonl --max-steps 7 --save-steps 2 -o whole
says "--overwrite"
[ "$(cksum <whole/adapter_model.safetensors)" = "$sum" ] || fail "the result has changed"

# An adapter trained over another, and one trained on the merged folder, load where they were made:
# in memory and in the folder, with the same answers; neither passes for an adapter of the bare base.
expect 0 holdfast train --data rows.jsonl --max-steps 2 --adapter whole -o second
grep -q '"base_model_name_or_path": *".*+merged-[0-9a-f]\{12\}"' second/adapter_config.json ||
    fail "second names the bare base: $(grep base_model second/adapter_config.json)"
expect 0 holdfast model merge --adapter whole -o folded
expect 0 holdfast generate --adapter whole,second --prompts prompts.jsonl --max-tokens 8 -o memory.jsonl
expect 0 holdfast generate -m folded --adapter second --prompts prompts.jsonl --max-tokens 8 -o folder.jsonl
cmp -s memory.jsonl folder.jsonl || fail "merged in memory and in a folder answer differently"
expect 1 holdfast generate --adapter second --prompts prompts.jsonl
says "was trained on a base with hash"
expect 0 holdfast train -m folded --data rows.jsonl --max-steps 2 -o third
grep -q '"base_model_name_or_path": *"[^"]*folded"' third/adapter_config.json ||
    fail "third does not name the merged folder: $(grep base_model third/adapter_config.json)"
expect 0 holdfast generate -m folded --adapter third --prompts prompts.jsonl --max-tokens 2
expect 1 holdfast generate --adapter third --prompts prompts.jsonl
# A chain goes on over the folder as it does in memory; a copy of the folder is still that model.
expect 0 holdfast train --data rows.jsonl --max-steps 2 --adapter whole,second -o fourth
expect 0 holdfast model convert folded -o moved
expect 0 holdfast generate -m moved --adapter second,fourth --prompts prompts.jsonl --max-tokens 2
expect 0 holdfast model convert folded -o moved.gguf
expect 0 holdfast generate -m moved.gguf --adapter second,fourth --prompts prompts.jsonl --max-tokens 2
expect 0 holdfast model merge --adapter whole -o folded.gguf
expect 0 holdfast generate -m folded.gguf --adapter second --prompts prompts.jsonl --max-tokens 8 -o file.jsonl
cmp -s memory.jsonl file.jsonl || fail "merged in memory and in a GGUF file answer differently"
echo '{"merged_id":"x"}' >moved/holdfast.json
expect 1 holdfast generate -m moved --prompts prompts.jsonl
says "moved/holdfast.json: merged_id: 'x' is no id"
# A converted folder is known as the model that it was made of.
base=$(holdfast model info --json | sed 's/.*"content_id":"\([0-9a-f]*\)".*/\1/')
expect 0 holdfast model convert smollm2-135m-instruct -o plain
expect 0 holdfast model info plain --json
prints "\"merged_id\":\"$base\""
expect 0 holdfast generate -m plain --adapter whole,second --prompts prompts.jsonl --max-tokens 8 -o plain.jsonl
cmp -s memory.jsonl plain.jsonl || fail "an adapter answers differently over a converted folder"
# The inference profile goes where the model goes, and makes it another model.
cp -R whole profiled
echo '{"system":"Speak of the sea, always."}' >profiled/inference.json
expect 0 holdfast generate --adapter profiled --prompts prompts.jsonl --max-tokens 8 -o memory.jsonl
expect 0 holdfast generate --adapter whole --prompts prompts.jsonl --max-tokens 8 -o other.jsonl
cmp -s memory.jsonl other.jsonl && fail "the profile changes no answer: nothing is shown"
expect 0 holdfast model merge --adapter profiled -o profiled.1
expect 0 holdfast model convert profiled.1 -o profiled.gguf
expect 0 holdfast model convert profiled.gguf -o profiled.2
for m in profiled.1 profiled.gguf profiled.2; do
    expect 0 holdfast generate -m $m --prompts prompts.jsonl --max-tokens 8 -o other.jsonl
    cmp -s memory.jsonl other.jsonl || fail "$m answers without the profile"
    expect 0 holdfast model info $m --json
    prints '"profile":{"system":"Speak of the sea, always."}'
done
id=$(holdfast model info profiled.1 --json | sed 's/.*"content_id":"\([0-9a-f]*\)".*/\1/')
sed 's/the sea/a sea/' profiled.1/holdfast.json >x && mv x profiled.1/holdfast.json
expect 1 holdfast model verify profiled.1 --content-id "$id"
echo '{"profile":[]}' >profiled.1/holdfast.json
expect 1 holdfast model info profiled.1
says "profiled.1/holdfast.json: profile: not an object"
echo '{"profile":{"system":1}}' >profiled.1/holdfast.json
expect 1 holdfast model info profiled.1
says "profiled.1/holdfast.json: system"

# What does nothing beside other options is said to.
expect 0 holdfast train --data rows.jsonl --max-steps 1 -o idle --momentum 0.9 --eval-steps 5 --probe-steps 2
says "--momentum: has no effect with --optim adamw"
says "--eval-steps: has no effect with --eval-strategy no"
says "--probe-steps: has no effect without --probe or --samples"
says "1 step, loss"
expect 0 holdfast train --data rows.jsonl --max-steps 1 -o sgd --optim sgd --momentum 0.9
! grep -q "has no effect" "$scratch/err" || fail "momentum of sgd was called idle"

# Stopped by a signal, gone on with: the same bytes as without the stop.
long='--data rows.jsonl --max-steps 1200 --save-steps 500 --threads 1'
expect 0 holdfast train $long -o uncut
for signal in INT TERM; do
    rm -rf cut
    holdfast train $long -o cut 2>"$scratch/err" &
    child=$!
    tries=0
    while [ ! -s cut/metrics.jsonl ] && [ $tries -lt 100 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    # Shells start children in the background with SIGINT ignored; a handler set by us still holds.
    kill -$signal $child 2>/dev/null
    wait $child
    got=$?
    case $signal in INT) want=130 ;; *) want=143 ;; esac
    [ $got -eq $want ] || fail "SIG$signal gave $got, expected $want: $(cat "$scratch/err")"
    [ ! -e cut/adapter_config.json ] || fail "an interrupted training left a result"
    expect 0 holdfast train $long -o cut
    says "going on from"
    cmp -s cut/adapter_model.safetensors uncut/adapter_model.safetensors ||
        fail "going on after SIG$signal gave other weights"
done

# --overwrite begins anew; the whole model is written when it is trained.
echo mine >whole/notes.txt
expect 0 holdfast train --data rows.jsonl --max-steps 2 --tuning full -o whole --overwrite
[ -f whole/notes.txt ] || fail "--overwrite removed a file that is not ours"
[ -s whole/model.safetensors ] || fail "no model was written"
[ ! -e whole/adapter_config.json ] || fail "the old adapter is still there"
expect 0 holdfast model verify whole
expect 0 holdfast train --data rows.jsonl --max-steps 2 -o whole --overwrite
for file in config.json generation_config.json chat_template.jinja tokenizer.json model.safetensors; do
    [ ! -e whole/$file ] || fail "--overwrite left $file of the old model to the new one"
done

# An adapter merged and loaded gives the logits of model and adapter.
echo '[5,6,7,8]' >ids.jsonl
expect 0 holdfast model merge smollm2-135m-instruct --adapter uncut -o merged
expect 0 holdfast loss --adapter uncut --data rows.jsonl
tail -1 "$scratch/out" >apart
expect 0 holdfast loss -m merged --data rows.jsonl
tail -1 "$scratch/out" >together
cut -c1-80 apart >a && cut -c1-80 together >b
awk -F'"loss":' 'NR == FNR { x = $2 + 0; next } { d = x - $2; exit !(d < 1e-4 && d > -1e-4) }' \
    apart together || fail "merged: $(cat together), apart: $(cat apart)"
finish
