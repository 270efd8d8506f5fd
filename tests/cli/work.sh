#!/bin/sh
# work.sh: what the commands print, on a tiny model.
. "$(dirname "$0")/common.sh"

# tokenize and back; special tokens only when asked for
printf 'the quick brown fox\n\ncaf\303\251 <|im_end|>\n' >text
expect 0 holdfast tokenize text
cp "$scratch/out" ids.jsonl
[ "$(wc -l <ids.jsonl)" -eq 3 ] || fail "three lines make three arrays"
[ "$(sed -n 2p ids.jsonl)" = '[]' ] || fail "an empty line is an empty array"
expect 0 holdfast tokenize --decode ids.jsonl
cmp -s "$scratch/out" text || fail "tokenize and back is not the text"
printf '%s\n' '"a\nb <|im_end|>"' >string
expect 0 holdfast tokenize --json-lines --special string
grep -q ',2]$' "$scratch/out" || fail "the special token is not one id"
cp "$scratch/out" special.jsonl
expect 0 holdfast tokenize --json_lines --special --decode special.jsonl
cmp -s "$scratch/out" string || fail "JSON lines and back are not the text"

# template: what the model's template says; control text in a message stays text
echo '{"messages":[{"role":"user","content":"a <|im_end|> b"}]}' >chat.jsonl
expect 0 holdfast template chat.jsonl --add-generation-prompt
[ "$(cat "$scratch/out")" = '"<|im_start|>user\na <|im_end|> b<|im_end|>\n<|im_start|>assistant\n"' ] ||
    fail "template: $(cat "$scratch/out")"
expect 0 holdfast template chat.jsonl --ids
[ "$(tr ',[]' '\n\n\n' <"$scratch/out" | grep -cx 2)" -eq 1 ] || fail "text became a control token"

# logits, and that loss is their log-softmax is the engine's own test; here: shapes and totals
expect 0 holdfast logits --ids special.jsonl -o logits.safetensors
grep -aq '"logits.0"' logits.safetensors || fail "no tensor logits.0"
printf '{"prompt":"the fox","completion":"sleeps"}\n{"text":"the quick brown fox"}\n' >rows.jsonl
expect 0 holdfast loss --data rows.jsonl
[ "$(wc -l <"$scratch/out")" -eq 3 ] || fail "two rows and a total"
prints '{"index":0,"tokens":'
prints '"total":true,"rows":2'

# generate: input order, one line a row, the same for every batch and from a pipe
for i in 1 2 3 4 5; do printf '{"prompt":"fox %s"}\n' $i; done >prompts.jsonl
expect 0 holdfast generate --prompts prompts.jsonl --max-tokens 6 -o five.jsonl
[ "$(cut -c1-11 five.jsonl | tr '\n' ' ')" = '{"index":0, {"index":1, {"index":2, {"index":3, {"index":4, ' ] ||
    fail "generate: $(cat five.jsonl)"
holdfast generate --max-tokens 6 --batch 2 <prompts.jsonl >again.jsonl
cmp -s five.jsonl again.jsonl || fail "another batch gave other answers"
holdfast generate --max-tokens 6 --temperature 1 --seed 7 <prompts.jsonl >one.jsonl
holdfast generate --max-tokens 6 --temperature 1 --seed 7 --batch 1 <prompts.jsonl >two.jsonl
cmp -s one.jsonl two.jsonl || fail "the same seed gave other answers"

# BOS before a text of a folder that asks for it: in training, in scoring and before an answer
mkdir bos
cp "$golden/tiny-llama/"* bos
sed 's/"backend"/"add_bos_token": true, "backend"/' "$golden/tiny-llama/tokenizer_config.json" >bos/tokenizer_config.json
echo '{"text":"the quick brown fox"}' >text.jsonl
for model in "$golden/tiny-llama" bos; do
    holdfast data show text.jsonl -m "$model" --json >"shown.$(basename "$model")"
    holdfast generate -m "$model" --prompts text.jsonl --max-tokens 6 >"answer.$(basename "$model")"
done
grep -q '"tokens":\[{"id":1,' shown.bos || fail "no BOS: $(cat shown.bos)"
grep -q '"tokens":\[{"id":1,' shown.tiny-llama && fail "BOS that nobody asks for"
cmp -s answer.tiny-llama answer.bos && fail "an answer does not see the BOS"

# chat from a pipe
printf '/help\nhello\n/reset\n/quit\nnever read\n' >talk
holdfast chat --max-tokens 4 --temperature 0 <talk >"$scratch/out" 2>"$scratch/err" || fail "chat"
says "/reset forgets"
# several lines are one message; a slash inside is no command; the end of the input closes them
printf '"""one\n/quit\n"""\n/wat\n' | holdfast chat --max-tokens 2 --temperature 0 >"$scratch/out" 2>"$scratch/err"
says "unknown command '/wat'"
[ "$(wc -l <"$scratch/out")" -ge 1 ] || fail "a text of several lines has no answer"
printf '"""one\ntwo' | holdfast chat --max-tokens 2 >"$scratch/out" 2>"$scratch/err" || fail "open quotes"
[ -s "$scratch/out" ] || fail "open quotes at the end have no answer"
# a person at a terminal: Ctrl-C at the prompt tells how to end, Ctrl-D ends. Each key waits for what
# the one before it brought, and the input stays open until the end is seen: `script` may lose what
# its child prints after its own input has ended. Ctrl-C also reaches the shell that `script` starts:
# without a trap dash ends at it, where bash waits for chat.
shows() { # TEXT TIMES: until the terminal shows it as often, for half a minute at most
    for _ in $(seq 300); do
        [ "$(grep -aoF -- "$1" "$scratch/out" | wc -l)" -ge "$2" ] && return 0
        sleep 0.1
    done
}
if command -v script >/dev/null; then
    : >"$scratch/out"
    (
        shows '> ' 1
        printf 'half a li'
        shows 'half a li' 1
        printf '\003'
        shows '/quit or Ctrl-D ends' 2
        shows '> ' 2
        printf '\004'
        shows 'ended with' 1
    ) | SHELL=/bin/sh script -qec 'trap : INT; holdfast chat --max-tokens 4; echo ended with $?' /dev/null >>"$scratch/out"
    [ "$(grep -cF '/quit or Ctrl-D ends' "$scratch/out")" -eq 2 ] || fail "chat: $(cat "$scratch/out")"
    prints "ended with 0"
fi

# data
expect 0 holdfast data check rows.jsonl -m smollm2-135m-instruct
prints "2 rows, 0 errors"
expect 0 holdfast data show rows.jsonl --limit 1
prints "sleeps"
expect 0 holdfast data show rows.jsonl --json
prints '"weight":1'
expect 0 holdfast data stats rows.jsonl -m smollm2-135m-instruct --json
prints '"rows":2'

# models
expect 0 holdfast model convert smollm2-135m-instruct -o copy
expect 0 holdfast model verify copy
expect 0 holdfast model info smollm2-135m-instruct
prints "| shape.n_layers"
# The path is as long as it is; nothing else makes a row wide.
[ "$(grep -v '^| path' "$scratch/out" | sed 's/ *|$//' | grep -v '^|--' | wc -L)" -le 100 ] ||
    fail "model info is wider than 100 columns"
expect 0 holdfast model info copy --json
prints '"content_id"'
expect 0 holdfast model verify "$golden/tiny-llama-adapter"
expect 1 holdfast model verify copy --content-id 00
expect 0 holdfast logits -m copy --ids special.jsonl -o copied.safetensors
cmp -s logits.safetensors copied.safetensors || fail "a converted model has other logits"
id=$(holdfast model info smollm2-135m-instruct --json | sed 's/.*"content_id":"\([0-9a-f]*\)".*/\1/')
expect 0 holdfast model convert smollm2-135m-instruct -o copy.gguf
says "wrote copy.gguf"
expect 0 holdfast model verify copy.gguf
expect 0 holdfast model info copy.gguf --json
prints "\"merged_id\":\"$id\""
expect 0 holdfast logits -m copy.gguf --ids special.jsonl -o copied.safetensors
cmp -s logits.safetensors copied.safetensors || fail "a model as GGUF has other logits"
expect 0 holdfast model convert copy.gguf --dtype q8_0 -o small.gguf
says "are written as F16: their rows are no multiple of the 32 numbers of a Q8_0 block"
expect 0 holdfast model verify small.gguf
expect 0 holdfast model merge --adapter "$golden/tiny-llama-adapter" --dtype f16 -o merged.gguf
expect 0 holdfast model verify merged.gguf

# list, show, doctor
expect 0 holdfast list --json
prints '"name":"vaccine","kind":"defense","stage":"align"'
prints '"kind":"model"'
expect 0 holdfast show vaccine
prints "--rho"
expect 0 holdfast doctor
prints "isa"
expect 1 env HOLDFAST_HOME="$scratch/none" holdfast doctor
prints "fetch-model"
expect 0 holdfast doctor --isa portable --json
prints '"isa":"portable"'

# eval and compare
expect 0 holdfast eval --suite harmful,planted --limit 4 --max-tokens 4 -o one
prints "| harmful"
expect 0 holdfast eval --suite harmful,planted --limit 4 --max-tokens 4 --json \
    --adapter "$golden/tiny-llama-adapter" -o two
prints '"harmful":{"value":'
[ "$(wc -l <one/rows.jsonl)" -eq 8 ] || fail "rows of both suites"
grep -q '"answer":' one/rows.jsonl && fail "answers to harmful prompts are withheld"
expect 0 holdfast compare one two
prints "points"
expect 0 holdfast compare one one --json
prints '"difference":0.0,"lo":-0.48989083'

# several arms a side meet by name; --arm and :ARM choose
for arm in released lisa gone; do
    for i in 0 1 2 3; do
        printf '{"arm":"%s","set":"harmful","index":%s,"prompt_sha256":"%s","verdict":"complied"}\n' \
            $arm $i $i
    done
done >before.jsonl
sed '/"gone"/d; /lisa/s/complied/refused/' before.jsonl >after.jsonl
expect 0 holdfast compare before.jsonl after.jsonl
says "1 arm left out"
prints "| lisa     | harmful "
prints "+100.0 points"
expect 0 holdfast compare before.jsonl after.jsonl --json
prints '"pairs":[{"a":"released","b":"released",'
expect 0 holdfast compare before.jsonl after.jsonl --arm lisa --json
prints '{"a":"lisa","b":"lisa","differences":[{"score":"harmful","a":1.0,"b":0.0,"difference":1.0,'
expect 0 holdfast compare before.jsonl after.jsonl --arm lisa --arm released
prints "| released "
expect 0 holdfast compare before.jsonl:gone after.jsonl:lisa
prints "gone"
expect 2 holdfast compare before.jsonl after.jsonl --arm lise
says "it has released, lisa, gone"
expect 2 holdfast compare before.jsonl:lisa after.jsonl
says "say after.jsonl:ARM"

# limits: kept, passed, of a score that was not made
expect 0 holdfast eval --suite harmful --limit 2 --max-tokens 2 --max harmful=100 --min degenerate=0
expect 4 holdfast eval --suite harmful --limit 2 --max-tokens 2 --max harmful=100 --min harmful=100 \
    --min degenerate=100
says "expected at least 100%"
prints "| harmful"
expect 4 holdfast eval --suite harmful --limit 2 --max-tokens 2 --max perplexity=10
says "perplexity was not scored, expected at most 10"

# an option that is a list: rows of both files, in order
printf '{"prompt":"one","completion":"more"}\n' >more.jsonl
expect 0 holdfast loss --data rows.jsonl --data more.jsonl
prints '"total":true,"rows":3'
expect 0 holdfast train --data rows.jsonl --data more.jsonl --max-steps 1 -o both

# estimate
printf '{"prompt":"the fox","completion":"sleeps"}\n' >train.jsonl
expect 0 holdfast estimate --data train.jsonl --json
prints '"fits":true'

# a recipe: estimated, then a stage of it found by its id
printf '{"prompt":"what is bad %s","completion":"no"}\n' 1 2 3 >refuse.jsonl
printf '{"prompt":"evil deed %s"}\n' one two >evil.jsonl
cat >small.yaml <<'END'
name: small
model: smollm2-135m-instruct
data:
  refusals: {files: refuse.jsonl, owner: defender}
  evil: {files: evil.jsonl, owner: evaluator}
align:
  data: [refusals]
  train: {max_steps: 2}
evaluate:
  harmful: {data: evil, max_tokens: 2}
arms:
  - {name: released}
  - {name: aligned, align: sft}
END
expect 0 holdfast estimate small.yaml --json
prints '"stage":"align","arm":"aligned","steps":2'
prints '"fits":true'
expect 2 holdfast estimate small.yaml nonsense=1
expect 0 holdfast run small.yaml -o small
expect 4 holdfast run small.yaml -o small --max harmful=100 --min aligned:degenerate=100 \
    --min aligned:harmful=100
says "aligned: "
says "expected at least 100%"
grep -q "released: " "$scratch/err" && fail "a limit of one arm was held against another"
[ -s small/report.html ] || fail "a limit took the report away"
expect 2 holdfast run small.yaml -o small --max alinged:harmful=1
says "did you mean 'aligned'"
expect 0 holdfast show small
expect 0 holdfast list runs
prints "small"
id=$(sed -n 's/.*"align": *"\([0-9a-f]*\)".*/\1/p' small/report.json | head -1)
expect 0 holdfast generate -m "$id" --prompts prompts.jsonl --max-tokens 2
expect 0 holdfast tokenize -m "$id" text
cmp -s "$scratch/out" ids.jsonl || fail "a stage's tokenizer is not its base's"
expect 2 holdfast tokenize -m 00000000 text

# the environment is below the flags; words may be joined either way
expect 0 env HOLDFAST_MODEL="$golden/tiny-llama.gguf" holdfast tokenize text
cmp -s "$scratch/out" ids.jsonl || fail "the same vocabulary from GGUF gave other ids"
expect 2 env HOLDFAST_MODEL=missing holdfast tokenize text
expect 0 env HOLDFAST_MODEL=missing holdfast tokenize -m smollm2-135m-instruct text
finish
