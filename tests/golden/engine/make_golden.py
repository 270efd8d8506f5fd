"""make_golden.py: references for the engine on ../formats/tiny-llama, in float64 by PyTorch.

Usage: python make_golden.py [FOLDER]    (needs torch, transformers, peft, safetensors)

golden.safetensors  logits of every row without and with ../formats/tiny-llama-adapter; gradients of
                    the weighted loss for the adapter ("lora/...") and for all weights ("full/...")
golden.json         the rows, their loss, and losses and gradient norms of training runs, each step
                    over all rows
"""

import json
import math
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, get_scheduler

from double import use_double, weighted_loss

FORMATS = Path(__file__).parent.parent / "formats"
RUNS = [
    dict(name="lora_adamw", tuning="lora", optim="adamw", learning_rate=5e-3, warmup_ratio=0.2,
         lr_scheduler_type="linear", max_grad_norm=0.5, weight_decay=0.0, momentum=0.0),
    dict(name="full_adamw", tuning="full", optim="adamw", learning_rate=2e-3, warmup_ratio=0.1,
         lr_scheduler_type="linear", max_grad_norm=1.0, weight_decay=0.1, momentum=0.0),
    dict(name="lora_cosine", tuning="lora", optim="adamw", learning_rate=5e-3, warmup_ratio=0.11,
         lr_scheduler_type="cosine", max_grad_norm=0.0, weight_decay=0.0, momentum=0.0),
    dict(name="lora_sgd", tuning="lora", optim="sgd", learning_rate=0.05, warmup_ratio=0.0,
         lr_scheduler_type="constant", max_grad_norm=1.0, weight_decay=0.01, momentum=0.9),
    dict(name="full_sgd", tuning="full", optim="sgd", learning_rate=0.05, warmup_ratio=0.0,
         lr_scheduler_type="linear", max_grad_norm=0.0, weight_decay=0.0, momentum=0.0),
]
STEPS = 20


def make_rows():
    """Rows that share prefixes, a repeated row start, weights other than one, untrained tokens."""
    g = torch.Generator().manual_seed(3)
    draw = lambda n: torch.randint(3, 288, (n,), generator=g).tolist()
    shared = draw(5)
    rows = []
    for i, (own, weight) in enumerate([(6, 1.0), (9, 0.5), (1, 1.0), (14, 2.0), (4, 1.0)]):
        ids = (shared if i in (0, 1, 3) else draw(3)) + draw(own)
        trained = [0.0] * 3 + [(1.0, 0.0, 0.25, 1.5)[k % 4] for k in range(len(ids) - 3)]
        trained[-1] = 1.0
        rows.append(dict(ids=ids, weight=weight, target_weight=trained))
    return rows


def load(tuning, base=FORMATS / "tiny-llama", adapter=FORMATS / "tiny-llama-adapter"):
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float64, attn_implementation="sdpa"
    )
    if tuning == "lora":
        model = PeftModel.from_pretrained(model, adapter, is_trainable=True).double()
    return model.eval()  # no dropout


def trainables(model):
    """Parameters by the names that our files give them."""
    out = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            name = name.removeprefix("base_model.model.").replace(".default.", ".")
            out[name] = p
    return out


def gradients(model, rows):
    loss = weighted_loss(model, rows)
    loss.backward()
    return float(loss), {n: p.grad.clone() for n, p in trainables(model).items()}


def train(run, rows, model):
    # As transformers' Trainer: gains and biases do not decay.
    params = list(trainables(model).values())
    groups = [dict(params=[p for p in params if p.dim() > 1], weight_decay=run["weight_decay"]),
              dict(params=[p for p in params if p.dim() == 1], weight_decay=0.0)]
    if run["optim"] == "adamw":
        optim = torch.optim.AdamW([g for g in groups if g["params"]], run["learning_rate"])
    else:
        optim = torch.optim.SGD([g for g in groups if g["params"]], run["learning_rate"],
                                momentum=run["momentum"])
    schedule = get_scheduler(
        run["lr_scheduler_type"] if run["lr_scheduler_type"] != "constant" else "constant",
        optim,
        num_warmup_steps=math.ceil(run["warmup_ratio"] * STEPS),
        num_training_steps=STEPS,
    )
    losses, norms, rates = [], [], []
    for _ in range(STEPS):
        optim.zero_grad()
        loss = weighted_loss(model, rows)
        loss.backward()
        limit = run["max_grad_norm"] or math.inf
        norms.append(float(torch.nn.utils.clip_grad_norm_(params, limit)))
        losses.append(float(loss.detach()))
        rates.append(schedule.get_last_lr()[0])
        optim.step()
        schedule.step()
    return dict(run, steps=STEPS, losses=losses, norms=norms, rates=rates)


def logits(model, rows):
    with torch.no_grad():
        return torch.cat([model(torch.tensor([r["ids"]])).logits[0] for r in rows])


def write(folder, runs, load):
    """golden.safetensors and golden.json of the model and adapter that load(tuning) gives."""
    rows = make_rows()
    tensors, out = {}, dict(rows=rows)
    for tuning in ("lora", "full"):
        model = load(tuning)
        tensors["logits/" + tuning] = logits(model, rows)
        out["loss_" + tuning], grads = gradients(model, rows)
        tensors.update({f"{tuning}/{n}": g for n, g in grads.items()})
    out["runs"] = [train(run, rows, load(run["tuning"])) for run in runs]
    save_file({n: t.float().contiguous() for n, t in tensors.items()}, folder / "golden.safetensors")
    (folder / "golden.json").write_text(json.dumps(out, indent=1) + "\n")


def main():
    torch.set_num_threads(1)
    use_double()
    write(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent), RUNS, load)


if __name__ == "__main__":
    main()
