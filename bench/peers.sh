#!/bin/sh
# peers.sh: a Python environment with the peers that bench/run measures against.
#
#   bench/peers.sh [DIR]      default: build/peers; BENCH_VENV names one that is there already
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$root/build/peers}
case $dir in
-h | --help)
    sed -n '2,4s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
if [ ! -x "$dir/bin/python" ] && ! python3 -m venv "$dir" >&2; then
    echo "peers: python3 cannot make an environment: apt-get install -y python3-venv" >&2
    exit 1
fi
# Only torch comes from its own index: its default wheels bring gigabytes of CUDA.
"$dir/bin/pip" install --quiet torch --index-url https://download.pytorch.org/whl/cpu >&2 ||
    "$dir/bin/pip" install --quiet torch >&2
"$dir/bin/pip" install --quiet transformers peft gguf accelerate >&2
# llama.cpp is compiled from its sources for this machine: some minutes.
CMAKE_ARGS=-DGGML_NATIVE=ON "$dir/bin/pip" install --quiet --no-binary llama-cpp-python llama-cpp-python >&2
echo "$dir"
