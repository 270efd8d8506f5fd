"""peer_llama.py: greedy generation by llama.cpp on given prompt ids, many sequences at once.

    python peer_llama.py MODEL.gguf IDS.jsonl --parallel 32 --threads 2 --tokens 32 [--separate]

The driver is llama.cpp's own `parallel` example by its C interface: the prefix that all prompts
share is computed once and copied to every sequence, one batch a step holds every sequence's next
token and the prompts of those that enter, and a sequence that ends makes room for the next.  Loading
is not timed.  Prints one JSON object; "ids" are the generated tokens.
"""
import argparse
import ctypes
import json
import os
import platform
import time

import llama_cpp as ll
import numpy


def ask_for_tiles():
    """Linux gives AMX's tile registers to a process that asks; llama.cpp does not."""
    ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA, SYS_arch_prctl = 0x1023, 18, 158
    if platform.machine() == "x86_64":
        ctypes.CDLL(None).syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)


def common_prefix(prompts):
    n = min(len(p) for p in prompts) - 1
    for i in range(n):
        if any(p[i] != prompts[0][i] for p in prompts):
            return i
    return n


class Batch:
    def __init__(self, size):
        self.size = size
        self.batch = ll.llama_batch_init(size, 0, 1)

    def clear(self):
        self.batch.n_tokens = 0

    def add(self, token, position, sequence, wanted):
        i = self.batch.n_tokens
        self.batch.token[i] = token
        self.batch.pos[i] = position
        self.batch.n_seq_id[i] = 1
        self.batch.seq_id[i][0] = sequence
        self.batch.logits[i] = wanted
        self.batch.n_tokens = i + 1
        return i


class Sequence:
    def __init__(self, row, position, token):
        self.row, self.position, self.token = row, position, token


def decode(context, batch):
    if ll.llama_decode(context, batch.batch) != 0:
        raise RuntimeError("llama_decode failed: the cache is too small")


def generate(context, vocab, prompts, parallel, tokens):
    memory = ll.llama_get_memory(context)
    size = ll.llama_vocab_n_tokens(vocab)
    batch = Batch(4096)
    shared = common_prefix(prompts)
    for i, token in enumerate(prompts[0][:shared]):
        batch.add(token, i, 0, i == shared - 1)
    if shared > 0:
        decode(context, batch)
    answers = [[] for _ in prompts]
    free = list(range(1, parallel + 1))
    busy = {}
    waiting = list(range(len(prompts)))[::-1]
    while waiting or busy:
        batch.clear()
        asked = []
        for slot, s in busy.items():
            asked.append((slot, batch.add(s.token, s.position, slot, True)))
            s.position += 1
        while waiting and free and batch.batch.n_tokens + len(prompts[waiting[-1]]) <= batch.size:
            row, slot = waiting.pop(), free.pop()
            ll.llama_memory_seq_cp(memory, 0, slot, -1, -1)
            n = len(prompts[row])
            for i in range(shared, n):
                at = batch.add(prompts[row][i], i, slot, i == n - 1)
            busy[slot] = Sequence(row, n, 0)
            asked.append((slot, at))
        decode(context, batch)
        for slot, at in asked:
            logits = numpy.ctypeslib.as_array(ll.llama_get_logits_ith(context, at), (size,))
            token = int(logits.argmax())
            s = busy[slot]
            ended = ll.llama_vocab_is_eog(vocab, token)
            if not ended:
                answers[s.row].append(token)
                s.token = token
            if ended or len(answers[s.row]) >= tokens:
                ll.llama_memory_seq_rm(memory, slot, -1, -1)
                del busy[slot]
                free.append(slot)
    return answers


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("ids")
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--plain", action="store_true", help="without repacked weights (AMX)")
    parser.add_argument("--separate", action="store_true", help="a cache a sequence, not one for all")
    args = parser.parse_args()
    with open(args.ids, encoding="ascii") as lines:
        prompts = [json.loads(line)["ids"] for line in lines]

    log = ll.llama_log_callback(lambda level, text, user: None)
    ll.llama_log_set(log, ctypes.c_void_p())
    ask_for_tiles()
    ll.llama_backend_init()
    model_params = ll.llama_model_default_params()
    model_params.use_extra_bufts = not args.plain
    model = ll.llama_model_load_from_file(args.model.encode(), model_params)
    params = ll.llama_context_default_params()
    room = max(len(p) for p in prompts) + args.tokens
    params.n_ctx = (args.parallel + 1) * ((room + 255) // 256 * 256 if args.separate else room + 8)
    params.n_batch = 4096
    params.n_ubatch = 512
    params.n_seq_max = args.parallel + 1
    params.n_threads = params.n_threads_batch = args.threads
    params.kv_unified = not args.separate
    context = ll.llama_init_from_model(model, params)
    if not context:
        raise SystemExit("llama.cpp made no context")
    start = time.monotonic()
    answers = generate(context, ll.llama_model_get_vocab(model), prompts, args.parallel, args.tokens)
    seconds = time.monotonic() - start
    with open("/proc/self/status", encoding="ascii") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    print(
        json.dumps(
            {
                "seconds": seconds,
                "tokens": sum(len(a) for a in answers),
                "peak_bytes": peak,
                "versions": f"llama.cpp of llama-cpp-python {ll.__version__}",
                "ids": answers,
            }
        ),
        flush=True,
    )
    os._exit(0)


main()
