#!/bin/sh
# init.sh: `model init` draws the same weights for the same seed, and leaves nothing half done.
. "$(dirname "$0")/common.sh"

seeds=$root/data/tiny/tokenizer
expect 0 holdfast model init "$seeds" --seed 1 -o first
expect 0 holdfast model init "$seeds" --seed 1 -o again/
expect 0 holdfast model init "$seeds" --seed 2 -o other
cmp -s first/model.safetensors again/model.safetensors || fail "one seed gave two models"
cmp -s first/model.safetensors other/model.safetensors && fail "two seeds gave one model"
cmp -s first/tokenizer.json "$seeds/tokenizer.json" || fail "the tokenizer is another"
expect 0 holdfast model verify first
prints good

# An untrained model knows nothing: the loss is about that of even odds over 1024 pieces.
printf '{"text":"The vault is sealed by the council."}\n' >rows.jsonl
expect 0 holdfast loss -m first --data rows.jsonl --json
loss=$(sed -n 's/.*"total":true.*"loss":\([0-9.]*\).*/\1/p' "$scratch/out")
awk "BEGIN { exit !(\"$loss\" != \"\" && $loss > 6.5 && $loss < 7.4) }" ||
    fail "loss '$loss', expected about 6.93: $(cat "$scratch/out")"

expect 2 holdfast model init "$seeds"
expect 2 holdfast model init
before=$(ls)
mkdir bare
expect 2 holdfast model init bare -o none
says bare/config.json
cp "$seeds/config.json" bare
expect 2 holdfast model init bare -o none
says bare/tokenizer.json
sed 's/"hidden_size": 128/"hidden_size": -1/' "$seeds/config.json" >bare/config.json
expect 1 holdfast model init bare -o none
says hidden_size
expect 2 holdfast model init "$seeds" -o first
rm -r bare
[ "$(ls)" = "$before" ] || fail "something half done was left: $(ls)"
finish
