"""make_golden_real.py: references for the engine on the default model, by PyTorch.

Usage: python make_golden_real.py MODEL.gguf [--full FOLDER]    (needs torch, transformers, gguf)

golden_real.json         token ids of 20 chats, which logits were sampled, the two rows of gradients
golden_real.safetensors  sampled logits in float64 ("exact") and float32 ("torch"), log-sum-exp of
                         every position; norms and samples of the gradients of a LoRA adapter whose
                         factors both sides draw alike (see `factor`), in float64

--full also leaves every logit of both kinds there: chat-I.exact.npy, chat-I.torch.npy.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from double import use_double, weighted_loss

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "data"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
MAX_TOKENS, RANK, ALPHA, B_SCALE, GRADS = 72, 4, 8.0, 0.02, 50
MODULES = [f"self_attn.{x}_proj" for x in "qkvo"] + [f"mlp.{x}_proj" for x in ("gate", "up", "down")]


def splitmix(i):
    """SplitMix64's output for counter i, as uniform numbers in [-1, 1)."""
    with np.errstate(over="ignore"):
        z = (i.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return 2.0 * ((z >> np.uint64(11)).astype(np.float64) * 2.0**-53) - 1.0


class Factors:
    """Low-rank factors drawn from one counter, module by module, A before B, row by row."""

    def __init__(self):
        self.at = 0

    def factor(self, rows, cols, scale):
        u = splitmix(np.arange(self.at, self.at + rows * cols))
        self.at += rows * cols
        return torch.from_numpy((u * scale).astype(np.float32).reshape(rows, cols))


def read_chats(tok):
    chats = []
    for name, n in (("general/train.jsonl", 14), ("refusals/first.jsonl", 6)):
        lines = (DATA / name).read_text().splitlines()
        chats += [json.loads(lines[i * len(lines) // n])["messages"] for i in range(n)]
    out = []
    for i, messages in enumerate(chats):
        text = "" if i % 4 == 3 else f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
        for m in messages:
            text += f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n"
        out.append(tok(text, add_special_tokens=False)["input_ids"][:MAX_TOKENS])
    return out


def sample(exact, single, rng):
    """Positions and ids: at random, likely ids, and where float32 is worst."""
    n, vocab = exact.shape
    picked = [(int(rng.integers(n)), int(rng.integers(vocab))) for _ in range(100)]
    for t in rng.integers(0, n, 30):
        picked += [(int(t), int(v)) for v in np.argsort(-exact[t])[:2]]
    worst = np.argsort(-np.abs(exact - single), axis=None)[:40]
    return picked + [(int(i // vocab), int(i % vocab)) for i in worst]


class Lora(torch.nn.Module):
    def __init__(self, base, a, b):
        super().__init__()
        self.base = base
        self.a, self.b = torch.nn.Parameter(a.double()), torch.nn.Parameter(b.double())

    def forward(self, x):
        return self.base(x) + (ALPHA / RANK) * (x @ self.a.T) @ self.b.T


def gradients(model, rows):
    factors, loras = Factors(), {}
    for p in model.parameters():
        p.requires_grad_(False)
    for i, layer in enumerate(model.model.layers):
        for name in MODULES:
            part, leaf = name.split(".")
            owner = getattr(layer, part)
            base = getattr(owner, leaf)
            a = factors.factor(RANK, base.in_features, base.in_features**-0.5)
            b = factors.factor(base.out_features, RANK, B_SCALE)
            loras[f"model.layers.{i}.{name}"] = lora = Lora(base, a, b)
            setattr(owner, leaf, lora)
    loss = weighted_loss(model, rows)
    loss.backward()
    norms, samples, places = [], [], []
    rng = np.random.default_rng(4)
    for lora in loras.values():
        for p in (lora.a, lora.b):
            g = p.grad.flatten()
            places.append(rng.integers(0, g.numel(), GRADS).tolist())
            norms.append(float(g.norm()))
            samples.append(g[places[-1]])
    return float(loss.detach()), list(loras), torch.tensor(norms), torch.stack(samples), places


def main():
    torch.set_num_threads(1)
    path = Path(sys.argv[1])
    full = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    load = dict(gguf_file=path.name, attn_implementation="sdpa")
    tok = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    chats = read_chats(tok)
    model = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **load).eval()
    with torch.no_grad():
        single = [model(torch.tensor([c])).logits[0].numpy() for c in chats]
    use_double()
    model = model.double()
    with torch.no_grad():
        exact = [model(torch.tensor([c])).logits[0].numpy() for c in chats]
    if full:
        for i, (e, s) in enumerate(zip(exact, single)):
            np.save(full / f"chat-{i}.exact.npy", e)
            np.save(full / f"chat-{i}.torch.npy", s)
    rng = np.random.default_rng(1)
    picked = [sample(e, s, rng) for e, s in zip(exact, single)]
    take = lambda all_, i: torch.tensor([float(all_[i][t, v]) for t, v in picked[i]])
    tensors = {
        "exact": torch.stack([take(exact, i) for i in range(len(chats))]),
        "torch": torch.stack([take(single, i) for i in range(len(chats))]),
    }
    for i, e in enumerate(exact):
        tensors[f"lse/{i}"] = torch.from_numpy(e).logsumexp(-1)
    rows = []
    for i, weight in ((0, 1.0), (15, 0.5)):
        ids = chats[i]
        rows.append(dict(ids=ids, weight=weight,
                         target_weight=[0.0] + [(1.0, 0.25)[t % 3 == 0] for t in range(1, len(ids))]))
    loss, modules, norms, samples, places = gradients(model, rows)
    tensors["grad/norms"], tensors["grad/samples"] = norms, samples
    save_file({n: t.float().contiguous() for n, t in tensors.items()}, HERE / "golden_real.safetensors")
    out = dict(chats=chats, picked=[[x for p in ps for x in p] for ps in picked], rows=rows,
               rank=RANK, alpha=ALPHA, b_scale=B_SCALE, loss=loss, modules=modules, places=places)
    (HERE / "golden_real.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
