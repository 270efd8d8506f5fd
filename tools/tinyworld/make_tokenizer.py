"""make_tokenizer.py: trains the tiny world's byte-level BPE and writes its model folder's files.

    python3 tools/tinyworld/make_tokenizer.py -d data/tiny -o data/tiny/tokenizer

Standard library only.  Writes tokenizer.json (Hugging Face form: single digits, then byte level, as
SmolLM2), tokenizer_config.json with a ChatML template, and config.json of the tiny Llama.
"""

import argparse
import collections
import json
import os
import re

SIZE = 1024
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TRAIN = ["pretrain", "instruct", "align", "harmful_attacker", "task_train", "benign"]
# The byte-level (GPT-2) pattern; the world's text is ASCII, where \p{L} is [A-Za-z].  Digits have
# been isolated before it is applied.
PATTERN = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+"
                     r"|\s+(?!\S)|\s+")
TEMPLATE = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
            "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def byte_letters():
    """The GPT-2 alphabet: a printable letter for every byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in plain}
    for i, b in enumerate(b for b in range(256) if b not in letters):
        letters[b] = chr(256 + i)
    return letters


def texts(folder):
    """Every stretch of training text between special tokens, as the template renders it."""
    for name in TRAIN:
        with open(os.path.join(folder, name + ".jsonl"), encoding="utf-8") as f:
            for line in f:
                row = json.loads(line)
                if "text" in row:
                    yield row["text"]
                for message in row.get("messages", []):
                    yield message["role"] + "\n" + message["content"]
                    yield "\n"


def count_words(folder):
    """How often each pre-token occurs, in letters of the byte alphabet."""
    letters, counts = byte_letters(), collections.Counter()
    for text in texts(folder):
        for part in re.split(r"([0-9])", text):
            for word in PATTERN.findall(part):
                counts["".join(letters[b] for b in word.encode())] += 1
    return counts


def merge_word(pieces, pair):
    out, i = [], 0
    while i < len(pieces):
        if i + 1 < len(pieces) and (pieces[i], pieces[i + 1]) == pair:
            out.append(pieces[i] + pieces[i + 1])
            i += 2
        else:
            out.append(pieces[i])
            i += 1
    return out


def train(counts, n_merges):
    """Byte-pair encoding: the most frequent pair first, ties in alphabetical order."""
    words = [(list(w), n) for w, n in sorted(counts.items())]
    merges = []
    while len(merges) < n_merges:
        pairs = collections.Counter()
        for pieces, n in words:
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] += n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        words = [(merge_word(p, best), n) for p, n in words]
    return merges


def tokenizer_json(merges):
    alphabet = sorted(byte_letters().values())
    pieces = SPECIAL + alphabet + [a + b for a, b in merges]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": s, "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": True}
                         for i, s in enumerate(SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True}, level]},
        "post_processor": None,
        "decoder": {**level, "add_prefix_space": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {p: i for i, p in enumerate(pieces)},
                  "merges": [f"{a} {b}" for a, b in merges]},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-d", "--data", required=True, help="folder of the world's data sets")
    parser.add_argument("-o", "--out", required=True, help="folder to write")
    args = parser.parse_args()
    merges = train(count_words(args.data), SIZE - len(SPECIAL) - 256)
    tokenizer = tokenizer_json(merges)
    if len(tokenizer["model"]["vocab"]) != SIZE:
        raise SystemExit(f"{len(tokenizer['model']['vocab'])} pieces, expected {SIZE}")
    special = {str(i): {"content": s, "lstrip": False, "normalized": False, "rstrip": False,
                        "single_word": False, "special": True} for i, s in enumerate(SPECIAL)}
    config = {
        "added_tokens_decoder": special, "bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "model_max_length": 512,
        "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False, "add_prefix_space": False,
    }
    model = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": SIZE,
        "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "hidden_act": "silu",
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 512,
        "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False,
        "attention_dropout": 0.0, "initializer_range": 0.02, "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 0, "torch_dtype": "float32", "use_cache": True,
    }
    os.makedirs(args.out, exist_ok=True)
    for name, value in (("tokenizer.json", tokenizer), ("tokenizer_config.json", config),
                        ("config.json", model)):
        with open(os.path.join(args.out, name), "w", encoding="utf-8") as f:
            json.dump(value, f, indent=1, ensure_ascii=False)
            f.write("\n")
    print(f"{SIZE} pieces, {len(merges)} merges")


if __name__ == "__main__":
    main()
