"""make_vocabs.py: small byte-level BPE vocabularies under several pre-tokenizers, and lines with their ids.

    make_vocabs.py            writes vocab_*.json and lines.jsonl beside itself
    make_vocabs.py MODEL.gguf writes smollm2.jsonl: lines with the ids under the GGUF's own vocabulary
"""
import json
import os
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers as P, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import compare_lines
import lines as mixed

# OpenAI's cl100k pattern: possessive quantifiers, a case-insensitive group; no scanner of ours knows it.
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|"
          r"\s+(?!\S)|\s+")
BYTES = P.ByteLevel(add_prefix_space=False, use_regex=False)
LLAMA = compare_lines.HEAD + r"\p{N}{1,3}" + compare_lines.TAIL
QWEN = compare_lines.HEAD + r"\p{N}" + compare_lines.TAIL
KINDS = {
    "gpt2": (None, P.ByteLevel(add_prefix_space=False)),
    "smollm": (None, P.Sequence([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False)])),
    "llama3": (None, P.Sequence([P.Split(Regex(LLAMA), "isolated"), BYTES])),
    "qwen2": (normalizers.NFC(), P.Sequence([P.Split(Regex(QWEN), "isolated"), BYTES])),
    "cl100k": (None, P.Sequence([P.Split(Regex(CL100K), "removed", invert=True), BYTES])),
    "mixed": (normalizers.Sequence([normalizers.NFC()]),
              P.Sequence([P.Digits(individual_digits=False), P.Split("'", "merged_with_next"),
                          P.Split(Regex(r"[!?.,]+"), "merged_with_previous"), P.Split(Regex(r"\s"), "contiguous"),
                          BYTES])),
}
PER_LINE = 48


def main():
    if len(sys.argv) > 1:
        tokenizer = compare_lines.peer(sys.argv[1])
        with open(os.path.join(HERE, "smollm2.jsonl"), "w", encoding="utf-8") as f:
            for text in mixed.lines(300, 3):
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                f.write(json.dumps({"text": text, "ids": ids}, ensure_ascii=False, separators=(",", ":")) + "\n")
        return
    corpus = mixed.lines(3000, 1)
    rows = [{"text": t, "ids": {}} for t in mixed.lines(PER_LINE, 2)]
    for name, (normalizer, pre) in KINDS.items():
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
        path = os.path.join(HERE, f"vocab_{name}.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(json.loads(tokenizer.to_str()), f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
        for row in rows:
            tokenizer.encode_special_tokens = True
            row["ids"][name] = tokenizer.encode(row["text"], add_special_tokens=False).ids
    specials = ["<|im_start|>user\nhi <user>!<|im_end|>\n", "a <mask> b<mask>", "x <sep> y<sep>\n\nz", "<mask><sep> <mask>",
                "Lo\u0308we und Löwe", "<|im_<|im_end|>end|>", "<|im_start|><|im_start|>"]
    for text in specials:
        row = {"text": text, "ids": {}, "special": True}
        for name in KINDS:
            tokenizer = Tokenizer.from_file(os.path.join(HERE, f"vocab_{name}.json"))
            row["ids"][name] = tokenizer.encode(text, add_special_tokens=False).ids
        rows.append(row)
    with open(os.path.join(HERE, "lines.jsonl"), "w", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
