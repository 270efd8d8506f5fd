"""compare_lines.py: token ids of ours against `tokenizers`, on many lines; zero differences is the bar.

    compare_lines.py --model MODEL [--count N] [--seed S] [--out FILE] [--command "CMD"] [TEXT FILE ...]

MODEL is a GGUF file with a byte-level BPE vocabulary, or a tokenizer.json.  The peer is built from the
GGUF's own pieces and merges with the pre-tokenizer that tokenizer.ggml.pre names.  CMD reads one JSON
string a line and writes one JSON list of ids a line; "{model}" in it is replaced by MODEL; by default
`build/release/holdfast tokenize -m {model} --json-lines`.  Lines: those of the text files (JSON files give
all their strings), and generated ones up to N.
"""
import argparse
import json
import os
import shlex
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lines as mixed

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
HEAD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def pre_tokenizer(name):
    """The pre-tokenizer that a GGUF name stands for."""
    from tokenizers import Regex, pre_tokenizers as P
    if name in ("smollm", "starcoder", "refact", "command-r"):
        return P.Sequence([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False)])
    if name in ("gpt-2", "mpt", "olmo", "phi-2", "default"):
        return P.ByteLevel(add_prefix_space=False)
    digits = {"llama-bpe": r"\p{N}{1,3}", "qwen2": r"\p{N}"}[name]
    return P.Sequence([P.Split(Regex(HEAD + digits + TAIL), "isolated"),
                       P.ByteLevel(add_prefix_space=False, use_regex=False)])


def peer(model):
    """A tokenizers.Tokenizer for a GGUF file or a tokenizer.json, special tokens off."""
    from tokenizers import AddedToken, Tokenizer, decoders, models
    if model.endswith(".json"):
        tokenizer = Tokenizer.from_file(model)
        tokenizer.encode_special_tokens = True
        return tokenizer
    import gguf
    fields = gguf.GGUFReader(model).fields
    pieces = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizer(fields["tokenizer.ggml.pre"].contents())
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(p, normalized=False) for p, t in zip(pieces, types) if t == 4])
    return tokenizer


def strings(value):
    """All strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from strings(v)
    elif isinstance(value, list):
        for v in value:
            yield from strings(v)


def texts(path):
    """Lines of a file, or the strings of a .json or .jsonl file."""
    with open(path, encoding="utf-8", errors="replace") as f:
        if path.endswith(".json"):
            yield from strings(json.load(f))
        elif path.endswith(".jsonl"):
            for row in f:
                yield from strings(json.loads(row))
        else:
            yield from f


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--count", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--command", default="build/release/holdfast tokenize -m {model} --json-lines")
    parser.add_argument("--out", help="write the lines and the peer's ids as JSON lines, compare nothing")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()

    rows = [t for path in args.files for t in texts(path) if "\0" not in t][:args.count * 3 // 4]
    rows += mixed.lines(args.count - len(rows), args.seed)
    tokenizer = peer(args.model)
    want = []
    for i in range(0, len(rows), 2000):
        want += [e.ids for e in tokenizer.encode_batch(rows[i:i + 2000], add_special_tokens=False)]
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            for text, ids in zip(rows, want):
                f.write(json.dumps({"text": text, "ids": ids}, ensure_ascii=False, separators=(",", ":")) + "\n")
        return 0
    command = [c.replace("{model}", args.model) for c in shlex.split(args.command)]
    stdin = "".join(json.dumps(t) + "\n" for t in rows)
    got = subprocess.run(command, input=stdin.encode(), stdout=subprocess.PIPE, check=True).stdout.split(b"\n")
    wrong = 0
    for text, ids, mine in zip(rows, want, got):
        mine = json.loads(mine)
        if mine != ids:
            wrong += 1
            if wrong <= 5:
                print(f"differs: {text[:200]!r}\n  peer {ids[:40]}\n  ours {mine[:40]}")
    tokens = sum(map(len, want))
    print(f"{len(rows)} lines ({len(args.files)} files), {tokens} tokens: {wrong} lines differ")
    return 1 if wrong or len(got) != len(rows) + 1 else 0


if __name__ == "__main__":
    sys.exit(main())
