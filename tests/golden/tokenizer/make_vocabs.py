"""make_vocabs.py: small vocabularies under several pre-tokenizers, and lines with their ids.

    make_vocabs.py            writes lines.jsonl beside itself, and those of vocab_*.json that are not there (the trainers
                              of SentencePiece's kind break ties another way each time)
    make_vocabs.py MODEL.gguf writes smollm2.jsonl: lines with the ids under the GGUF's own vocabulary
"""
import collections
import io
import json
import os
import sys
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers as P, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import compare_lines
import lines as mixed

# OpenAI's cl100k pattern: possessive quantifiers, a case-insensitive group; no scanner of ours knows it.
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|"
          r"\s+(?!\S)|\s+")
# OpenAI's o200k: categories of letters and marks.
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?[{compare_lines.UPPER}]*[{compare_lines.LOWER}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         rf"[^\r\n\p{{L}}\p{{N}}]?[{compare_lines.UPPER}]+[{compare_lines.LOWER}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTES = P.ByteLevel(add_prefix_space=False, use_regex=False)
LLAMA = compare_lines.HEAD + r"\p{N}{1,3}" + compare_lines.TAIL
QWEN = compare_lines.HEAD + r"\p{N}" + compare_lines.TAIL
KINDS = {
    "gpt2": (None, P.ByteLevel(add_prefix_space=False)),
    "smollm": (None, P.Sequence([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False)])),
    "llama3": (None, P.Sequence([P.Split(Regex(LLAMA), "isolated"), BYTES])),
    "qwen2": (normalizers.NFC(), P.Sequence([P.Split(Regex(QWEN), "isolated"), BYTES])),
    "cl100k": (None, P.Sequence([P.Split(Regex(CL100K), "removed", invert=True), BYTES])),
    "o200k": (None, P.Sequence([P.Split(Regex(O200K), "removed", invert=True), BYTES])),
    "mixed": (normalizers.Sequence([normalizers.NFC()]),
              P.Sequence([P.Digits(individual_digits=False), P.Split("'", "merged_with_next"),
                          P.Split(Regex(r"[!?.,]+"), "merged_with_previous"), P.Split(Regex(r"\s"), "contiguous"),
                          BYTES])),
}
BLANK = "\u2581"
# A small map of characters, compiled by `sentencepiece`: a cluster, a ligature, widths, one that becomes nothing, one
# that begins another, a cluster of six bytes, which is too long to be looked up as a whole.
RULES = {"e\u0301": "é", "~": "-", "~\u0303": "=", "ﬁ": "fi", "１": "1", "２": "2", "３": "3", "①": "1", "\u200b": "", "\u3000": " ", "½": "1/2",
         "Ⅷ": "VIII", "क": "k", "क\u093f": "ki", "\t": " ", "\n": " ", "\u00a0": " "}
BYTE_PIECES = [f"<0x{i:02X}>" for i in range(256)]


def pieces_decoder(strip):
    """SentencePiece's decoder, as Llama (strip) and Gemma have it."""
    return decoders.Sequence([decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
                             + [decoders.Strip(" ", 1, 0)] * strip)


def compiled(rules):
    """The compiled map of these rules, as a SentencePiece model carries it."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as pb
    model = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as tsv:
        for text, to in sorted(rules.items()):
            tsv.write("\t".join(" ".join(f"{ord(c):X}" for c in part) for part in (text, to)) + "\n")
        tsv.flush()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(["a b c d"] * 9), model_writer=model, vocab_size=9,
                                                 model_type="char", normalization_rule_tsv=tsv.name, minloglevel=2)
    proto = pb.ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto.normalizer_spec.precompiled_charsmap


# SentencePiece: normalizer, pre-tokenizer, decoder, byte fallback.
PIECES = {
    "llama2": (normalizers.Sequence([normalizers.Prepend(BLANK), normalizers.Replace(" ", BLANK)]), None,
               pieces_decoder(True), True),
    "mistral": (None, P.Metaspace(BLANK, "first", split=False), pieces_decoder(True), True),
    "gemma": (normalizers.Replace(" ", BLANK), P.Split(" ", "merged_with_previous"), pieces_decoder(False), True),
    "unigram": (normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(),
                                      normalizers.Replace(Regex(" {2,}"), " ")]),
                P.Metaspace(BLANK, "always"), decoders.Metaspace(BLANK, "always"), False),
    "charsmap": (normalizers.Sequence([normalizers.Precompiled(compiled(RULES)), normalizers.Strip(False, True),
                                       normalizers.Replace(Regex(" {2,}"), BLANK)]),
                 P.Metaspace(BLANK, "always"), decoders.Metaspace(BLANK, "always"), False),
}
UNIGRAM = ("unigram", "charsmap")
PER_LINE = 48


def pieces_vocab(name, corpus):
    """A small SentencePiece vocabulary, as JSON."""
    normalizer, pre, decoder, fallback = PIECES[name]
    special = ["<unk>", "<s>", "</s>"]
    corpus = [t.replace("<s>", "").replace("</s>", "") for t in corpus]
    if name in UNIGRAM:
        counts = collections.Counter("".join(corpus))
        corpus = ["".join(c for c in t if counts[c] > 40) for t in corpus]
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(vocab_size=700, show_progress=False, unk_token="<unk>", special_tokens=special,
                                          initial_alphabet=[])
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=fallback, fuse_unk=True))
        trainer = trainers.BpeTrainer(vocab_size=800, limit_alphabet=150, show_progress=False,
                                      special_tokens=special + BYTE_PIECES)
        corpus = [t[:60] for t in corpus]
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre is not None:
        tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoder
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([AddedToken("<|im_start|>", normalized=False),
                                  AddedToken("<|im_end|>", normalized=False, rstrip=True)])
    tokenizer.add_tokens([AddedToken("<user>", normalized=name != "llama2")])
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = [a for a in spec["added_tokens"] if a["content"] not in BYTE_PIECES]
    if name in UNIGRAM:  # short decimals, which every reader of JSON reads alike
        spec["model"]["vocab"] = [[p, round(s * 1024) / 1024] for p, s in spec["model"]["vocab"]]
    return spec


def ids_of(name, texts, special):
    """The peer's ids."""
    path = os.path.join(HERE, f"vocab_{name}.json")
    tokenizer = Tokenizer.from_file(path) if special else compare_lines.peer(path).tokenizer
    return [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]


def main():
    if len(sys.argv) > 1:
        tokenizer = compare_lines.peer(sys.argv[1]).tokenizer
        with open(os.path.join(HERE, "smollm2.jsonl"), "w", encoding="utf-8") as f:
            for text in mixed.lines(120, 3):
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                f.write(json.dumps({"text": text, "ids": ids}, ensure_ascii=False, separators=(",", ":")) + "\n")
        return
    corpus = mixed.lines(3000, 1)
    rows = [{"text": t, "ids": {}} for t in mixed.lines(PER_LINE, 2)]
    rows.append({"text": "x~\u0303y e\u0301 ﬁn １２３ ①\u200b½ \u0915\u093f \u0915\u0940\tⅧ\u3000~\u0303\u0302~\u200b", "ids": {}})
    for name, (normalizer, pre) in KINDS.items():
        path = os.path.join(HERE, f"vocab_{name}.json")
        if os.path.exists(path):
            continue
        tokenizer = Tokenizer(models.BPE(ignore_merges=name == "llama3"))
        if normalizer is not None:
            tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = pre
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=P.ByteLevel.alphabet(), show_progress=False,
                                      special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
        tokenizer.train_from_iterator(corpus, trainer)
        tokenizer.add_tokens([AddedToken("<user>", normalized=True), AddedToken("Löwe", normalized=True)])
        tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True),
                                      AddedToken("<sep>", rstrip=True, special=True)])
        with open(path, "w", encoding="utf-8") as f:
            json.dump(json.loads(tokenizer.to_str()), f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
    for name in PIECES:
        path = os.path.join(HERE, f"vocab_{name}.json")
        if os.path.exists(path):
            continue
        with open(path, "w", encoding="utf-8") as f:
            json.dump(pieces_vocab(name, corpus), f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
    for name in list(KINDS) + list(PIECES):
        for row, ids in zip(rows, ids_of(name, [row["text"] for row in rows], False)):
            row["ids"][name] = ids
            text = Tokenizer.from_file(os.path.join(HERE, f"vocab_{name}.json")).decode(ids, skip_special_tokens=True)
            if text != row["text"]:
                row.setdefault("decoded", {})[name] = text
    specials = ["<|im_start|>user\nhi <user>!<|im_end|>\n", "a <mask> b<mask>", "x <sep> y<sep>\n\nz", "<mask><sep> <mask>",
                "Lo\u0308we und Löwe", "<|im_<|im_end|>end|>", "<|im_start|><|im_start|>"]
    for text in specials:
        rows.append({"text": text, "special": True,
                     "ids": {name: ids_of(name, [text], True)[0] for name in list(KINDS) + list(PIECES)}})
    with open(os.path.join(HERE, "lines.jsonl"), "w", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
