#!/bin/sh
# bad.sh: wrong invocations and wrong files: the exit code, one clear line, nothing written.
. "$(dirname "$0")/common.sh"

# bad CODE TEXT COMMAND...: one line on stderr that holds TEXT, an empty stdout, no new file.
bad() {
    code=$1
    text=$2
    shift 2
    before=$(find . | sort)
    expect "$code" "$@" || return
    says "$text"
    [ "$(grep -c . "$scratch/err")" -eq 1 ] || fail "'$*' said more than one line"
    [ ! -s "$scratch/out" ] || fail "'$*' printed to stdout"
    [ "$(find . | sort)" = "$before" ] || fail "'$*' left files"
}

i=0
while [ $i -lt 8 ]; do
    printf '{"prompt":"the fox %s","completion":"sleeps"}\n' $i
    i=$((i + 1))
done >rows.jsonl
echo '[1,2,3]' >ids.jsonl
mkdir full && echo x >full/theirs

# commands and options
bad 2 "did you mean 'train'" holdfast trian
bad 2 "did you mean 'check'" holdfast data chek
bad 2 "wants a command" holdfast data
bad 2 "did you mean '--learning-rate'" holdfast train --learning-rat 1e-4
bad 2 "did you mean '--learning-rate'" holdfast train --learning_rat 1e-4
bad 2 "unknown option '-z'" holdfast train -z
bad 2 "expected a number" holdfast train --learning-rate fast
bad 2 "out of range" holdfast train --learning-rate -1
bad 2 "out of range" holdfast train --lora_r 0
bad 2 "expected a whole number" holdfast train --max-steps 1.5
bad 2 "expected one of" holdfast train --lr-scheduler-type liner
bad 2 "expected one of" holdfast tokenize --device cuda
bad 2 "expected one of" holdfast tokenize --isa sse
bad 2 "a value is missing" holdfast train --data
bad 2 "unexpected argument" holdfast generate more
bad 2 "an argument is missing" holdfast show
bad 2 "--data FILE is missing" holdfast train -o out
bad 2 "-o DIR is missing" holdfast train --data rows.jsonl
# (before the model is looked for, whose absence would be another message)
bad 2 "--lora-target-modules: 'q_prok' is not a linear layer (did you mean 'q_proj'?)" \
    holdfast train -m missing.gguf --data rows.jsonl -o out --lora-target-modules q_prok
bad 2 "--lora-target-modules: names no module" \
    holdfast estimate -m missing.gguf --data rows.jsonl --lora-target-modules ,
# the name of a recipe that ships is found; a word after it is held against its keys
bad 2 "nonsense" holdfast estimate tiny nonsense=1
mkdir tiny # what `holdfast run tiny -o tiny` leaves, say
bad 2 "nonsense" holdfast estimate tiny nonsense=1
bad 2 "nonsense" holdfast run tiny nonsense=1
rmdir tiny
bad 2 "HOLDFAST_THREADS" env HOLDFAST_THREADS=many holdfast list
bad 2 "did you mean 'methods'" holdfast list method
bad 2 "did you mean 'vaccine'" holdfast show vacine
bad 2 "did you mean 'harmful'" holdfast eval --suite harmfull
bad 2 "--adapter DIR is missing" holdfast model merge -o out

# an option given again does not hide the first; what is a list is told apart
bad 2 "--learning-rate: given twice, '1e-4' and '1e-3'" holdfast train --data rows.jsonl \
    --learning-rate 1e-4 --learning_rate 1e-3 -o out
bad 2 "--model: given twice" holdfast generate -m one --model two --prompts rows.jsonl
bad 2 "--json: given twice" holdfast list --json --no-json
bad 2 "missing.jsonl" holdfast train --data rows.jsonl --data missing.jsonl -o out

# limits that cannot be told
bad 2 "did you mean 'harmful'" holdfast eval --suite harmful --limit 1 --max harmfull=10
bad 2 "expected SCORE=X" holdfast eval --suite harmful --limit 1 --max harmful
bad 2 "--max harmful: found 'ten'" holdfast eval --suite harmful --limit 1 --max harmful=ten
bad 2 "out of range" holdfast eval --suite harmful --limit 1 --min harmful=101
bad 2 "there is no arm 'one'" holdfast eval --suite harmful --limit 1 --max one:harmful=10

# files that are not there
bad 2 "no such model" holdfast model info ./missing
bad 2 "fetch-model" holdfast tokenize -m no-such-name
bad 2 "missing.jsonl" holdfast train --data missing.jsonl -o out
bad 2 "missing.jsonl" holdfast data check missing.jsonl
bad 2 "missing" holdfast generate --prompts rows.jsonl --adapter missing
bad 2 "names an empty folder" holdfast generate --prompts rows.jsonl --adapter ,
bad 2 "no such rows file" holdfast compare missing rows.jsonl

# files of another kind in place of a model
printf '\211PNG\r\n\032\n0000IHDR' >png.gguf
printf 'PK\003\004aaaaaaaaaaaaaaaaaaaa' >zip.gguf
: >empty.gguf
head -c 2000 "$golden/tiny-llama.gguf" >cut.gguf
for file in png.gguf zip.gguf empty.gguf cut.gguf; do
    bad 1 "$file" holdfast model info $file
    bad 1 "$file" holdfast generate -m $file --prompts rows.jsonl -o out.jsonl
    bad 1 "$file" holdfast model convert $file -o out
done
mkdir nomodel && echo '{}' >nomodel/config.json
bad 2 "nomodel/tokenizer.json" holdfast model info nomodel
bad 1 "rows.jsonl" holdfast model verify rows.jsonl

# rows and ids that are wrong
echo '{"prompt":"no answer"}' >noanswer.jsonl
echo '{"prompt": ' >cut.jsonl
: >nothing.jsonl
bad 1 "noanswer.jsonl:1" holdfast train --data noanswer.jsonl -o out
bad 1 "cut.jsonl:1" holdfast train --data cut.jsonl -o out
bad 1 "nothing.jsonl" holdfast train --data nothing.jsonl -o out
bad 1 "nothing.jsonl" holdfast loss --data nothing.jsonl
bad 1 "cut.jsonl:1" holdfast tokenize --json-lines cut.jsonl
echo 5 >five.jsonl
bad 1 "five.jsonl:1" holdfast tokenize --decode five.jsonl
echo '[1,99999]' >toobig.jsonl
bad 1 "99999 is no id" holdfast logits --ids toobig.jsonl -o out.safetensors

# outputs that cannot be
bad 2 "not empty" holdfast train --data rows.jsonl -o full
bad 2 "not empty" holdfast model convert "$tiny" -o full
bad 2 "exists" holdfast model convert "$tiny" -o cut.gguf
mkdir full.gguf && bad 2 "exists" holdfast model convert "$tiny" -o full.gguf
bad 2 "does not exist" holdfast model convert "$tiny" -o nowhere/m.gguf
bad 2 "is for GGUF files" holdfast model convert "$tiny" --dtype q8_0 -o out
bad 2 "not empty" holdfast eval --suite harmful --limit 1 -o full
bad 2 "is a folder" holdfast generate --prompts rows.jsonl -o full
bad 2 "does not exist" holdfast generate --prompts rows.jsonl -o nowhere/out.jsonl
bad 2 "does not exist" holdfast logits --ids ids.jsonl -o nowhere/out.safetensors
bad 1 "no space left" holdfast generate --prompts rows.jsonl --max-tokens 1 -o /dev/full
[ -f full/theirs ] || fail "a file of others is gone"

# a full disk behind standard output
for command in '--version' '--help' 'list' 'train --help' 'tokenize rows.jsonl'; do
    # Words of the list are meant to be split.
    holdfast $command >/dev/full 2>"$scratch/err"
    got=$?
    [ $got -eq 1 ] || fail "'$command' to a full disk gave $got, expected 1"
    says "standard output"
done

# a file may not grow: a failed write, not a killed program, and nothing left
for words in 'model convert smollm2-135m-instruct -o big' \
    'model convert smollm2-135m-instruct -o big.gguf' 'logits --ids ids.jsonl -o big.safetensors' \
    'train --data rows.jsonl --max-steps 1 -o big'; do
    (
        ulimit -f 4
        expect 1 holdfast $words
        says "too large"
        exit $failures
    ) || failures=$((failures + 1))
    case $words in train*) ;; *) [ -e big ] || [ -e big.gguf ] || [ -e big.safetensors ] && fail "'$words' left files" ;; esac
done
rm -rf big big.safetensors

# data check tells every bad row
printf '{"prompt":"a","completion":"b"}\n{"messages":[{"role":"asistant","content":"x"}]}\n{\n' >mixed.jsonl
expect 1 holdfast data check mixed.jsonl
prints "mixed.jsonl:2"
prints "mixed.jsonl:3"
prints "2 errors"
printf '{\n' >one.jsonl
expect 1 holdfast data check one.jsonl
prints "0 rows, 1 error, 0 warnings"
says "one.jsonl: 1 error"

# too little memory is said before the first step
# (sanitizers reserve address space of their own)
if [ -z "${HOLDFAST_SANITIZED:-}" ]; then
    i=0
    while [ $i -lt 4000 ]; do
        printf '{"prompt":"the fox %s","completion":"sleeps in the sun and does not wake"}\n' $i
        i=$((i + 1))
    done >many.jsonl
    (
        ulimit -v 400000
        bad 1 "training needs about" holdfast train --data many.jsonl --layout rows --threads 1 \
            --per-device-train-batch-size 4096 --micro-batch-tokens 1000000 -o big
        exit $failures
    )
    failures=$((failures + $?))
fi
finish
