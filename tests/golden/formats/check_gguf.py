"""check_gguf.py: GGUF files that holdfast writes, run by llama.cpp teacher-forced on other texts, give
the same next token; the `gguf` package reads them, and transformers loads them.

    python check_gguf.py HOLDFAST MODEL ROWS.jsonl [--adapter DIR] [--types f32,f16,bf16,q8_0]
                         [--positions 600] [--loads]

MODEL is a GGUF file or a Hugging Face folder, ROWS are rows of messages.  Needs llama_cpp, gguf and
numpy; torch and transformers too with --loads (only architectures that transformers reads from
GGUF).  For each type the model, with the adapter merged, is written as GGUF; llama.cpp (keys and
values in f32, no flash attention) says the next token at every position of the rendered rows, and is
compared with holdfast's logits on the same file; and once more with the file's weights as f32, for
llama.cpp rounds what it multiplies BF16 and Q8_0 weights with.  Differences are listed with holdfast's gap between its own and llama.cpp's token.  Besides:
llama.cpp must cut the texts to the same ids, the f32 file must give holdfast the logits of the model
as it was bit for bit, and llama.cpp's own quantisation of the f32 file must have the tensors of the
q8_0 file.  Exits 1 below 99.9% (f32) or 98% of same tokens in the answers, or when one of these differs.
"""

import argparse
import ctypes
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_cpp as ll
import numpy

BARS = {"f32": 0.999, "f16": 0.98, "bf16": 0.98, "q8_0": 0.98}
ROW = 128  # tokens of a row
LISTED = 50  # differences


def run(holdfast, *args):
    return subprocess.run([str(holdfast), *map(str, args)], check=True, capture_output=True,
                          text=True).stdout


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def read_rows(holdfast, model, path, folder):
    """Texts, their ids, and the number of ids before the last answer: rendered by the model's
    template, or without one the messages joined, behind the token that begins a text."""
    info = json.loads(run(holdfast, "model", "info", model, "--json", "-q"))
    rows = lines(Path(path).read_text(encoding="utf-8"))
    if info["chat_template"]:
        texts = lines(run(holdfast, "template", "-q", "-m", model, path))
    else:
        texts = [(info["bos_token"] or "") + "\n".join(m["content"] for m in row["messages"])
                 for row in rows]
    heads = [t[: t.rfind(row["messages"][-1]["content"].strip())] for t, row in zip(texts, rows)]
    source = folder / "texts.jsonl"
    source.write_text("".join(json.dumps(t) + "\n" for t in texts + heads), encoding="utf-8")
    ids = lines(run(holdfast, "tokenize", "-q", "-m", model, "--special", "--json-lines", source))
    return zip(texts, ids, map(len, ids[len(texts) :]))


def ours(holdfast, model, adapter, ids, folder):
    (folder / "ids.jsonl").write_text("".join(json.dumps(i) + "\n" for i in ids))
    out = folder / "logits.safetensors"
    extra = ["--adapter", adapter] if adapter else []
    run(holdfast, "logits", "-q", "-m", model, *extra, "--ids", folder / "ids.jsonl", "-o", out)
    data = out.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + n])
    tensors = []
    for i in range(len(ids)):
        entry = head[f"logits.{i}"]
        a, b = entry["data_offsets"]
        tensors.append(
            numpy.frombuffer(data, "<f4", (b - a) // 4, 8 + n + a).reshape(entry["shape"])
        )
    out.unlink()
    return tensors


class Llama:
    def __init__(self, path):
        params = ll.llama_model_default_params()
        params.use_extra_bufts = False  # AMX kernels do not run in every virtual machine
        self.model = ll.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise SystemExit(f"llama.cpp does not load {path}")
        self.vocab = ll.llama_model_get_vocab(self.model)
        self.size = ll.llama_vocab_n_tokens(self.vocab)
        params = ll.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = ROW
        params.n_threads = params.n_threads_batch = 2
        params.type_k = params.type_v = 0  # f32
        params.flash_attn_type = 0
        self.context = ll.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit("llama.cpp made no context")

    def next_tokens(self, row):
        ll.llama_memory_clear(ll.llama_get_memory(self.context), True)
        batch = ll.llama_batch_init(len(row), 0, 1)
        batch.n_tokens = len(row)
        for i, token in enumerate(row):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, i, 1
            batch.seq_id[i][0], batch.logits[i] = 0, 1
        if ll.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")
        out = []
        for i in range(len(row)):
            logits = ll.llama_get_logits_ith(self.context, i)
            out.append(int(numpy.ctypeslib.as_array(logits, (self.size,)).argmax()))
        ll.llama_batch_free(batch)
        return out

    def tokenize(self, text):
        raw = text.encode()
        room = (ll.llama_token * (len(raw) + 8))()
        n = ll.llama_tokenize(self.vocab, raw, len(raw), room, len(room), False, True)
        return list(room[:n])

    def close(self):
        ll.llama_free(self.context)
        ll.llama_model_free(self.model)


def compare(found, logits, name, first=None):
    """Share of same tokens from each row's first position on, their number, and the gaps where they
    differ."""
    same, n, gaps = 0, 0, []
    for r, (tokens, z) in enumerate(zip(found, logits)):
        best = z.argmax(axis=1)
        for i, token in enumerate(tokens):
            if first and i < first[r]:
                continue
            n += 1
            same += token == best[i]
            if token != best[i]:
                gaps.append((float(z[i, best[i]] - z[i, token]), r, i, int(best[i]), token))
    gaps.sort(reverse=True)
    for gap, r, i, mine, theirs in gaps[:LISTED] if name else []:
        print(f"  {name}: row {r} position {i}: {mine} here, {theirs} in llama.cpp, gap {gap:.2g}")
    if name and len(gaps) > LISTED:
        print(f"  {name}: and {len(gaps) - LISTED} with smaller gaps")
    return same / n, n, gaps


def widened(holdfast, path, rows, logits):
    """The share when llama.cpp does not round what it multiplies the weights with: the file's
    weights as an f32 file."""
    wide = path.with_suffix(".wide.gguf")
    run(holdfast, "model", "convert", path, "-q", "-o", wide)
    peer = Llama(wide)
    found = [peer.next_tokens(row) for row in rows]
    peer.close()
    wide.unlink()
    return compare(found, logits, None)[0]


def check_quantised(plain, path, folder):
    """llama.cpp's own quantisation of the f32 file has the same tensors as ours."""
    import gguf

    other = folder / "llama.gguf"
    params = ll.llama_model_quantize_default_params()
    params.ftype, params.nthread = 7, 2  # Q8_0
    if ll.llama_model_quantize(str(plain).encode(), str(other).encode(), params) != 0:
        raise SystemExit("llama.cpp does not quantise the file")
    ours, theirs = ({t.name: (t.tensor_type, t.data.tobytes()) for t in
                     gguf.GGUFReader(str(f)).tensors} for f in (path, other))
    other.unlink()
    odd = [n for n in set(ours) | set(theirs) if ours.get(n) != theirs.get(n)]
    print(f"q8_0: {len(odd)} of {len(ours)} tensors differ from llama.cpp's own {odd[:3]}")
    return not odd


def check_loads(path, ids, logits):
    """The gguf package reads the file, and transformers gives the same logits from it."""
    import gguf
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    reader = gguf.GGUFReader(str(path))
    print(f"gguf reads {len(reader.tensors)} tensors and {len(reader.fields)} fields")
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name,
                                                 dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    with torch.no_grad():
        off = max(float((model(torch.tensor([i])).logits[0] - torch.from_numpy(z.copy())).abs().max())
                  for i, z in zip(ids[:3], logits[:3]))
    print(f"transformers loads it, {len(tokenizer)} pieces; logits are off by {off:.1e}")
    return off < 1e-3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("holdfast")
    parser.add_argument("model")
    parser.add_argument("rows")
    parser.add_argument("--adapter")
    parser.add_argument("--types", default="f32,f16,bf16,q8_0")
    parser.add_argument("--positions", type=int, default=600)
    parser.add_argument("--loads", action="store_true")
    args = parser.parse_args()
    log = ll.llama_log_callback(lambda level, text, user: None)
    ll.llama_log_set(log, ctypes.c_void_p())
    ll.llama_backend_init()
    rows, used, first, n, good = [], [], [], 0, True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = folder / "model-f32.gguf"
        for text, ids, head in read_rows(args.holdfast, args.model, args.rows, folder):
            if n >= args.positions:
                break
            if head > ROW / 2:
                continue
            rows.append(ids[:ROW])
            used.append((text, ids))
            first.append(head - 1)  # says the answer's first token
            n += len(rows[-1]) - first[-1]
        before = ours(args.holdfast, args.model, args.adapter, rows, folder)
        for kind in args.types.split(","):
            path = folder / f"model-{kind}.gguf"
            verb = ["merge", args.model, "--adapter", args.adapter] if args.adapter else [
                "convert", args.model]
            run(args.holdfast, "model", *verb, "-q", "--dtype", kind, "-o", path)
            logits = ours(args.holdfast, path, None, rows, folder)
            if kind == "f32" and any((a != b).any() for a, b in zip(before, logits)):
                print("f32: holdfast's own logits on the file are not those on the model")
                good = False
            peer = Llama(path)
            found = [peer.next_tokens(row) for row in rows]
            ids = sum(peer.tokenize(text) != i for text, i in used)
            peer.close()
            share, n, gaps = compare(found, logits, kind, first)
            every, m, _ = compare(found, logits, None)
            own = [z.argmax(axis=1).tolist() for z in logits]
            weights = compare(own, before, None, first)[0]
            wide = share if kind == "f32" else widened(args.holdfast, path, rows, logits)
            print(f"{kind}: {path.stat().st_size} bytes: {100 * share:.2f}% same on {n} positions of "
                  f"answers (largest gap {gaps[0][0] if gaps else 0:.2g}), {100 * every:.2f}% on all "
                  f"{m}, {100 * wide:.2f}% with the weights as f32; holdfast on the file as on the "
                  f"model before: {100 * weights:.2f}%; {ids} of {len(used)} texts cut to other ids",
                  flush=True)
            good &= share >= BARS[kind] and ids == 0
            if args.loads and kind == "f32":
                good &= check_loads(path, rows, logits)
            if kind == "q8_0" and plain.exists():
                good &= check_quantised(plain, path, folder)
            if kind != "f32":
                path.unlink()
    sys.stdout.flush()
    os._exit(0 if good else 1)


main()
