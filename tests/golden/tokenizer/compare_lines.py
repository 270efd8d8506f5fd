"""compare_lines.py: token ids and decoded text of ours against the peers', on many lines; zero differences is the bar.

    compare_lines.py [--count N] [--seed S] [--driver FILE] [--decode] [--time] [--out FILE] MODEL ... [-- TEXT FILE ...]

A MODEL is a GGUF file (one without tensors will do), a tokenizer.json or a SentencePiece .model.  Its peer:

    GGUF, byte-level BPE    `tokenizers`, from the GGUF's own pieces and merges, with the pre-tokenizer that it names
    GGUF, SentencePiece     `sentencepiece`, from a model file made of the GGUF's own pieces and scores
    tokenizer.json          `tokenizers`
    .model                  `sentencepiece`; ours reads it as GGUF, as llama.cpp's converter writes it

Lines: those of the text files (JSON files give all their strings), and generated ones up to N.  FILE is the program
tokenize_lines (build/release/tests/unit/tokenize_lines).  With --decode the peer's ids are decoded by both too.  With
--time a line tells MB/s of encoding, ours and the peer's on one thread.  With --out the lines and the ids of the one
MODEL are written as JSON lines and nothing is compared.  The one command for all that can be had:

    compare_lines.py --decode SMOLLM2.gguf GEMMA.gguf DATA/ggml-vocab-*.gguf DATA/torchtune/*tokenizer.json \\
        DATA/torchtune/m.model tests/golden/tokenizer/vocab_*.json
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lines as mixed

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
HEAD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
TEKKEN = (rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*|"
          r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def pre_tokenizer(name):
    """The pre-tokenizer that a GGUF name stands for."""
    from tokenizers import Regex, pre_tokenizers as P
    if name in ("smollm", "starcoder", "refact", "command-r"):
        return P.Sequence([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False)])
    if name in ("gpt-2", "mpt", "olmo", "phi-2", "default"):
        return P.ByteLevel(add_prefix_space=False)
    if name == "tekken":
        return P.Sequence([P.Split(Regex(TEKKEN), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)])
    digits = {"llama-bpe": r"\p{N}{1,3}", "qwen2": r"\p{N}"}[name]
    return P.Sequence([P.Split(Regex(HEAD + digits + TAIL), "isolated"),
                       P.ByteLevel(add_prefix_space=False, use_regex=False)])


class Tokenizers:
    """`tokenizers`; text never becomes a special token."""

    def __init__(self, tokenizer, decoder=None):
        self.tokenizer = tokenizer
        self.decoder = decoder or tokenizer

    def encode(self, rows):
        return [e.ids for e in self.tokenizer.encode_batch(rows, add_special_tokens=False)]

    def decode(self, ids):
        return self.decoder.decode(ids, skip_special_tokens=True)


class SentencePiece:
    """`sentencepiece`."""

    def __init__(self, proto):
        import sentencepiece
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=proto)

    def encode(self, rows):
        return self.processor.encode(rows, num_threads=1)

    def decode(self, ids):
        return self.processor.decode(ids)


def sentencepiece_model(fields):
    """A SentencePiece model of the pieces, scores and switches of a GGUF file."""
    from sentencepiece import sentencepiece_model_pb2 as pb
    model = pb.ModelProto()
    scores = fields["tokenizer.ggml.scores"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    unknown = fields["tokenizer.ggml.unknown_token_id"].contents()
    for i, (piece, score, kind) in enumerate(zip(fields["tokenizer.ggml.tokens"].contents(), scores, types)):
        if kind == 4:
            piece = piece.replace(" ", "\u2581")  # the converter writes these as plain text
        kind = 2 if i == unknown else 3 if kind == 2 else kind  # one unknown piece is the rule there
        model.pieces.add(piece=piece, score=score, type=kind)
    spec, trainer = model.normalizer_spec, model.trainer_spec
    spec.name = "identity"
    spec.add_dummy_prefix = field(fields, "tokenizer.ggml.add_space_prefix", True)
    spec.remove_extra_whitespaces = False
    spec.escape_whitespaces = True
    unigram = fields["tokenizer.ggml.model"].contents() == "t5"
    trainer.model_type = pb.TrainerSpec.UNIGRAM if unigram else pb.TrainerSpec.BPE
    trainer.byte_fallback = 6 in types
    trainer.unk_id = unknown
    trainer.bos_id = trainer.eos_id = trainer.pad_id = -1
    return model.SerializeToString()


def field(fields, name, default):
    return fields[name].contents() if name in fields else default


def gguf_of(model, path):
    """Write a SentencePiece model as GGUF, as llama.cpp's converter does."""
    import gguf
    from sentencepiece import sentencepiece_model_pb2 as pb
    proto = pb.ModelProto()
    with open(model, "rb") as f:
        proto.ParseFromString(f.read())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("t5" if proto.trainer_spec.model_type == pb.TrainerSpec.UNIGRAM else "llama")
    writer.add_token_list([p.piece for p in proto.pieces])
    writer.add_token_scores([p.score for p in proto.pieces])
    writer.add_token_types([p.type for p in proto.pieces])
    writer.add_unk_token_id(proto.trainer_spec.unk_id)
    writer.add_add_space_prefix(proto.normalizer_spec.add_dummy_prefix)
    if proto.normalizer_spec.precompiled_charsmap:
        writer.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
    if proto.normalizer_spec.remove_extra_whitespaces:
        writer.add_remove_extra_whitespaces(True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return proto.SerializeToString()


def peer(model):
    """The peer of a GGUF file or a tokenizer.json."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    if model.endswith(".json"):
        with open(model, encoding="utf-8") as f:
            spec = json.load(f)
        if spec["model"]["type"] == "Unigram":  # its special pieces could be text's: rename them
            special = {a["content"] for a in spec["added_tokens"] if a["special"]}
            spec["model"]["vocab"] = [[p + "\ufdd0" * (p in special), s] for p, s in spec["model"]["vocab"]]
            spec["added_tokens"] = [a for a in spec["added_tokens"] if not a["special"]]
        tokenizer = Tokenizer.from_str(json.dumps(spec))
        tokenizer.encode_special_tokens = True
        return Tokenizers(tokenizer, Tokenizer.from_file(model))
    import gguf
    fields = gguf.GGUFReader(model).fields
    if fields["tokenizer.ggml.model"].contents() != "gpt2":
        return SentencePiece(sentencepiece_model(fields))
    pieces = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges,
                                     ignore_merges=fields["tokenizer.ggml.pre"].contents() in ("llama-bpe", "tekken")))
    tokenizer.pre_tokenizer = pre_tokenizer(fields["tokenizer.ggml.pre"].contents())
    if fields["tokenizer.ggml.pre"].contents() in ("mpt", "qwen2"):
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(p, normalized=False) for p, t in zip(pieces, types) if t == 4])
    tokenizer.add_special_tokens([AddedToken(p, normalized=False) for p, t in zip(pieces, types) if t == 3])
    tokenizer.encode_special_tokens = True
    return Tokenizers(tokenizer)


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


def run(driver, model, mode, rows):
    """What the driver prints for each row, or the error it ends with."""
    stdin = "".join(json.dumps(r) + "\n" for r in rows).encode()
    done = subprocess.run([driver, model] + mode, input=stdin, capture_output=True)
    return done.stdout.split(b"\n"), done.stderr.decode().strip()


def compare(name, model, reference, rows, args):
    """Whether ours and the peer agree on all rows; prints the count."""
    want = []
    for i in range(0, len(rows), 2000):
        want += reference.encode(rows[i:i + 2000])
    got, error = run(args.driver, model, [], rows)
    if error:
        print(f"{name}: refused: {error}")
        return False
    wrong = 0
    for text, ids, mine in zip(rows, want, got):
        mine = json.loads(mine)
        if mine != ids:
            wrong += 1
            if wrong <= 5:
                at = next((i for i, (a, b) in enumerate(zip(ids, mine)) if a != b), min(len(ids), len(mine)))
                print(f"  differs at {at}: {text[:200]!r}\n    peer {ids[at:at + 20]}\n    ours {mine[at:at + 20]}")
    result = f"{name}: {len(rows)} lines, {sum(map(len, want))} tokens: {wrong} lines differ"
    bad = wrong > 0 or len(got) != len(rows) + 1
    if args.decode:
        got, error = run(args.driver, model, ["decode"], want)
        wrong = 0
        for ids, mine in zip(want, got):
            # What is left of a cut character is for `tokenizers` one U+FFFD, as Python's decoder has it.
            mine, text = bytes.fromhex(mine.decode()).decode("utf-8", "replace"), reference.decode(ids)
            if mine != text:
                wrong += 1
                if wrong <= 3:
                    print(f"  decodes to {mine[:120]!r}, the peer to {text[:120]!r}")
        result += f", {wrong} decode to another text" if not error else f", {error}"
        bad = bad or wrong > 0 or error != ""
    if args.time:
        out, _ = run(args.driver, model, ["time"], rows)
        size, seconds = map(float, out[0].split())
        best = 1e9
        for _ in range(3):
            start = time.perf_counter()
            for i in range(0, len(rows), 2000):
                reference.encode(rows[i:i + 2000])
            best = min(best, time.perf_counter() - start)
        result += f"; {size / seconds / 1e6:.1f} MB/s, {type(reference).__name__.lower()} {size / best / 1e6:.1f}"
    print(result, flush=True)
    return not bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--driver", default="build/release/tests/unit/tokenize_lines")
    parser.add_argument("--decode", action="store_true")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--out")
    parser.add_argument("models", nargs="+")
    before = sys.argv[1:sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    files = sys.argv[sys.argv.index("--") + 1:] if "--" in sys.argv else []
    args = parser.parse_args(before)

    rows = [t for path in files for t in texts(path) if "\0" not in t][:args.count * 3 // 4]
    rows += mixed.lines(args.count - len(rows), args.seed)
    good = True
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            name = os.path.basename(model)
            if model.endswith(".model"):
                path = os.path.join(folder, "model.gguf")
                reference, model = SentencePiece(gguf_of(model, path)), path
            else:
                reference = peer(model)
            if args.out:
                with open(args.out, "w", encoding="utf-8") as f:
                    for text, ids in zip(rows, reference.encode(rows)):
                        f.write(json.dumps({"text": text, "ids": ids}, ensure_ascii=False,
                                           separators=(",", ":")) + "\n")
            else:
                good = compare(name, model, reference, rows, args) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
