"""make_golden_bf16.py: how far PyTorch's bf16 autocast is from its float64 gradients.

Usage: python make_golden_bf16.py [MODEL.gguf]    (needs torch, transformers, peft, gguf)

golden_bf16.json  for tiny-llama ("lora", "full": the rows of golden.json) and, with MODEL.gguf, the
                  default model ("real": the rows and the adapter of golden_real.json): the relative
                  error of every gradient tensor, of all of them together, and the cosine
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM
from transformers.models.llama import modeling_llama

import make_golden
import make_golden_real
from double import use_double, weighted_loss

HERE = Path(__file__).parent
PLAIN_NORM = modeling_llama.LlamaRMSNorm.forward


class Lora(torch.nn.Module):
    """As make_golden_real.Lora, in products that autocast sees, as PEFT's are."""

    def __init__(self, base, a, b):
        super().__init__()
        self.base = base
        self.a, self.b = torch.nn.Parameter(a), torch.nn.Parameter(b)

    def forward(self, x):
        scale = make_golden_real.ALPHA / make_golden_real.RANK
        return self.base(x) + scale * F.linear(F.linear(x, self.a), self.b)


def off(found, exact):
    found, exact = found.double(), exact.double()
    return float((found - exact).norm() / exact.norm())


def compare(found, exact):
    names = list(exact)
    flat = lambda grads: torch.cat([grads[n].double().flatten() for n in names])
    a, b = flat(found), flat(exact)
    return dict(whole=off(a, b), cosine=float(a @ b / a.norm() / b.norm()),
                tensors={n: off(found[n], exact[n]) for n in names})


def autocast_loss(model, rows):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return weighted_loss(model, rows)


def tiny(tuning):
    rows = make_golden.make_rows()
    use_double()
    _, exact = make_golden.gradients(make_golden.load(tuning), rows)
    modeling_llama.LlamaRMSNorm.forward = PLAIN_NORM
    model = make_golden.load(tuning).float()
    autocast_loss(model, rows).backward()
    return compare({n: p.grad for n, p in make_golden.trainables(model).items()}, exact)


def attach(model, double):
    factors, loras = make_golden_real.Factors(), {}
    for p in model.parameters():
        p.requires_grad_(False)
    for i, layer in enumerate(model.model.layers):
        for name in make_golden_real.MODULES:
            part, leaf = name.split(".")
            owner = getattr(layer, part)
            base = getattr(owner, leaf)
            a = factors.factor(make_golden_real.RANK, base.in_features, base.in_features**-0.5)
            b = factors.factor(base.out_features, make_golden_real.RANK, make_golden_real.B_SCALE)
            lora = Lora(base, a.double() if double else a, b.double() if double else b)
            loras[f"model.layers.{i}.{name}"] = lora
            setattr(owner, leaf, lora)
    return {f"{n}.{p}": getattr(lora, p) for n, lora in loras.items() for p in "ab"}


def real(path):
    rows = json.loads((HERE / "golden_real.json").read_text())["rows"]
    load = dict(gguf_file=path.name, attn_implementation="sdpa", dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(path.parent, **load).eval()
    modeling_llama.LlamaRMSNorm.forward = PLAIN_NORM
    params = attach(model, False)
    autocast_loss(model, rows).backward()
    found = {n: p.grad for n, p in params.items()}
    use_double()
    model = AutoModelForCausalLM.from_pretrained(path.parent, **load).eval().double()
    params = attach(model, True)
    weighted_loss(model, rows).backward()
    return compare(found, {n: p.grad for n, p in params.items()})


def main():
    torch.set_num_threads(1)
    out = dict(lora=tiny("lora"), full=tiny("full"))
    if len(sys.argv) > 1:
        out["real"] = real(Path(sys.argv[1]))
    (HERE / "golden_bf16.json").write_text(json.dumps(out, indent=1) + "\n")
    for name, o in out.items():
        print(name, o["whole"], o["cosine"], max(o["tensors"].values()))


if __name__ == "__main__":
    main()
