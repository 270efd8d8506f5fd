"""check_exchange.py: an adapter that holdfast trained, loaded by peft, gives the same logits; and so
does one that peft wrote, loaded by holdfast.  And a folder that holdfast merged or fine-tuned whole
gives the same logits in transformers.

Usage: python check_exchange.py HOLDFAST [MODEL ...]    (needs torch, transformers, peft, safetensors)

A MODEL is a Hugging Face folder (default: ../formats/tiny-llama and every folder of families/).  The
bar is 1e-3; exits 1 above it.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

FORMATS = Path(__file__).parent.parent / "formats"
BAR = 1e-3
ROWS = [
    ("Is it safe to swim after lunch?", "Yes, it is."),
    ("How do I pick a lock?", "No. Ask a locksmith."),
    ("Count to three.", "1 2 3"),
    ("Say hello.", "Hello!"),
]


def run(*args):
    subprocess.run([str(a) for a in args], check=True)


def ours(holdfast, model, adapter, ids, folder):
    """Our logits of each row; `adapter` may be None."""
    (folder / "ids.jsonl").write_text("".join(json.dumps(i) + "\n" for i in ids))
    out = folder / "logits.safetensors"
    run(holdfast, "logits", "-q", "-m", model, *(["--adapter", adapter] if adapter else []),
        "--ids", folder / "ids.jsonl", "-o", out)
    tensors = load_file(out)
    return [tensors[f"logits.{i}"] for i in range(len(ids))]


def theirs(model, adapter, ids):
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        plain = [base(torch.tensor([i])).logits[0] for i in ids]
        lora = PeftModel.from_pretrained(base, adapter).eval()
        return plain, [lora(torch.tensor([i])).logits[0] for i in ids]


def compare(what, holdfast, model, adapter, ids, folder):
    found = ours(holdfast, model, adapter, ids, folder)
    plain, expected = theirs(model, adapter, ids)
    off = max(float((f - e).abs().max()) for f, e in zip(found, expected))
    moved = max(float((p - e).abs().max()) for p, e in zip(plain, expected))
    print(f"  {what}: off by {off:.1e}; the adapter moves logits by up to {moved:.2g}")
    return off < BAR and moved > 100 * BAR


def compare_whole(what, holdfast, model, adapter, written, ids, folder):
    """Our model with its adapter, if any, beside transformers on the folder that we wrote."""
    found = ours(holdfast, model, adapter, ids, folder)
    peer = AutoModelForCausalLM.from_pretrained(written, dtype=torch.float32)
    with torch.no_grad():
        expected = [peer(torch.tensor([i])).logits[0] for i in ids]
    off = max(float((f - e).abs().max()) for f, e in zip(found, expected))
    print(f"  {what}: off by {off:.1e}")
    return off < BAR


def check(holdfast, model):
    g = torch.Generator().manual_seed(9)
    vocab = json.loads((model / "config.json").read_text())["vocab_size"]
    ids = [torch.randint(3, vocab, (n,), generator=g).tolist() for n in (7, 1, 19)]
    print(f"{model.name}:")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
            for q, a in ROWS
        ]
        (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        train = (holdfast, "train", "-q", "-m", model, "--data", folder / "rows.jsonl",
                 "--max-steps", 8, "--threads", 1)
        run(*train, "-o", folder / "ours", "--learning-rate", 0.02, "--lora-r", 3, "--lora-alpha", 7)
        adapter = next((folder / "ours").rglob("adapter_config.json")).parent
        good = compare("adapter trained by holdfast", holdfast, model, adapter, ids, folder)
        run(holdfast, "model", "merge", "-q", model, "--adapter", adapter, "-o", folder / "merged")
        good &= compare_whole("merged folder", holdfast, model, adapter, folder / "merged", ids,
                              folder)
        run(*train, "-o", folder / "whole", "--learning-rate", 0.001, "--tuning", "full")
        whole = next((folder / "whole").rglob("config.json")).parent
        good &= compare_whole("full fine-tuning", holdfast, whole, None, whole, ids, folder)

        torch.manual_seed(10)
        lora = get_peft_model(
            AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
            LoraConfig(r=5, lora_alpha=3, target_modules=["q_proj", "v_proj", "down_proj"]),
        )
        with torch.no_grad():
            for n, p in lora.named_parameters():
                if "lora_B" in n:
                    p.normal_(0, 0.3)
        lora.save_pretrained(folder / "theirs")
        return good & compare("adapter written by peft", holdfast, model, folder / "theirs", ids,
                              folder)


def main():
    torch.set_num_threads(1)
    holdfast = Path(sys.argv[1]).resolve()
    models = [Path(a).resolve() for a in sys.argv[2:]]
    if not models:
        families = sorted((Path(__file__).parent / "families").resolve().iterdir())
        models = [(FORMATS / "tiny-llama").resolve(), *(f for f in families if f.is_dir())]
    good = [check(holdfast, model) for model in models]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
