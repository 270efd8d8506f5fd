"""make_golden.py: steps of every method by PyTorch autograd in float64, from the papers' formulas.

Usage: python make_golden.py [FOLDER | --check]    (needs torch, transformers, safetensors)

Writes FOLDER/steps.json and FOLDER/edits.json (default: this folder); --check makes them again and
compares them with those of this folder.  The model is
tests/golden/formats/tiny-llama; a low-rank adapter with non-zero B is drawn here and given in the
file, so are the rows, in the order in which the steps use them.  Nothing of Holdfast is called and
no code is shared with it.
"""

import json
import math
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaForCausalLM

torch.set_default_dtype(torch.float64)
HERE = Path(__file__).resolve().parent
TINY = HERE.parent.parent / "golden" / "formats" / "tiny-llama"
CONFIG = json.loads((TINY / "config.json").read_text())
WEIGHTS = {k: v.double() for k, v in load_file(TINY / "model.safetensors").items()}
LAYERS, HEADS, KV = 2, 4, 2
R, ALPHA = 2, 4.0
MODULES = [
    f"model.layers.{l}.{m}"
    for l in range(LAYERS)
    for m in (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    )
]


def f32(x):
    return x.float().double()


def new_adapter(seed, spread):
    g = torch.Generator().manual_seed(seed)
    out = {}
    for m in MODULES:
        w = WEIGHTS[m + ".weight"]
        a = (2 * torch.rand(R, w.shape[1], generator=g) - 1) / math.sqrt(w.shape[1])
        b = spread * torch.randn(w.shape[0], R, generator=g)
        out[m] = (f32(a), f32(b))
    return out


# ---- the model: a Llama written out, with places to look at and to push ----


def rms(x, gain):
    return gain * x / torch.sqrt((x * x).mean(-1, keepdim=True) + CONFIG["rms_norm_eps"])


def rope(x):
    """x: (T, heads, d); half-split pairs."""
    t, _, d = x.shape
    inv = CONFIG["rope_parameters"]["rope_theta"] ** (-torch.arange(0, d, 2) / d)
    angle = torch.arange(t)[:, None] * inv[None, :]
    cos, sin = angle.cos()[:, None, :], angle.sin()[:, None, :]
    x1, x2 = x[..., : d // 2], x[..., d // 2 :]
    return torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], -1)


def forward(ids, theta, weights=WEIGHTS, push=None, inputs=None):
    """Logits (T, V), attention outputs and block outputs of each layer.  push: what is added to the
    attention outputs; inputs: receives the inputs of every module's A and B."""

    def linear(x, m):
        a, b = theta[m]
        if inputs is not None:
            inputs.setdefault(m, []).append((x.detach(), (x @ a.T).detach()))
        return x @ weights[m + ".weight"].T + ALPHA / R * (x @ a.T) @ b.T

    h = weights["model.embed_tokens.weight"][ids]
    t, d = h.shape[0], h.shape[1] // HEADS
    mask = torch.full((t, t), -math.inf).triu(1)
    attention, blocks = [], []
    for l in range(LAYERS):
        p = f"model.layers.{l}."
        x = rms(h, weights[p + "input_layernorm.weight"])
        q = rope(linear(x, p + "self_attn.q_proj").view(t, HEADS, d))
        k = rope(linear(x, p + "self_attn.k_proj").view(t, KV, d))
        v = linear(x, p + "self_attn.v_proj").view(t, KV, d)
        k, v = (y.repeat_interleave(HEADS // KV, 1) for y in (k, v))
        s = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(d) + mask
        o = torch.einsum("hij,jhd->ihd", s.softmax(-1), v).reshape(t, -1)
        e = linear(o, p + "self_attn.o_proj")
        if push is not None:
            e = e + push[l]
        attention.append(e)
        h = h + e
        x = rms(h, weights[p + "post_attention_layernorm.weight"])
        gate, up = linear(x, p + "mlp.gate_proj"), linear(x, p + "mlp.up_proj")
        h = h + linear(gate * torch.sigmoid(gate) * up, p + "mlp.down_proj")
        blocks.append(h)
    out = rms(h, weights["model.norm.weight"])
    return out @ weights["model.embed_tokens.weight"].T, attention, blocks


def check_model():
    """The model written out above is transformers' one."""
    peer = LlamaForCausalLM.from_pretrained(TINY, dtype=torch.float64)
    ids = torch.tensor([1, 40, 77, 5, 200, 31, 8])
    none = {m: (a, 0 * b) for m, (a, b) in new_adapter(1, 0.1).items()}
    ours = forward(ids, none)[0]
    theirs = peer(ids[None]).logits[0]
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


# ---- rows: ids, first trained token, weight of the trained tokens ----


def new_rows(seed, n):
    g = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high, (1,), generator=g))

    rows = []
    for _ in range(n):
        length = draw(5, 10)
        ids = [1] + [draw(3, 288) for _ in range(length - 1)]
        rows.append({"ids": ids, "from": draw(2, length - 1), "weight": [1.0, 1.0, 0.5][draw(0, 3)]})
    return rows


def labels(row):
    """Rows that predict trained tokens, and the tokens."""
    ids = torch.tensor(row["ids"])
    at = torch.arange(row["from"], len(ids))
    return ids, at - 1, ids[at]


def weight_of(batch):
    return sum(r["weight"] * (len(r["ids"]) - r["from"]) for r in batch)


def cross_entropy(theta, batch, push=None, keep=None):
    total = 0.0
    for i, row in enumerate(batch):
        ids, at, target = labels(row)
        logits, attention, _ = forward(ids, theta, push=None if push is None else push[i])
        if keep is not None:
            keep.append(attention)
        logp = logits[at].log_softmax(-1)
        total = total - row["weight"] * logp[torch.arange(len(at)), target].sum()
    return total / weight_of(batch)


def grad(loss, theta):
    flat = [p for pair in theta.values() for p in pair]
    return [g if g is not None else torch.zeros_like(p)
            for g, p in zip(torch.autograd.grad(loss, flat, allow_unused=True), flat)]


def norm(g):
    return math.sqrt(sum(float((x * x).sum()) for x in g))


def dot(a, b):
    return sum(float((x * y).sum()) for x, y in zip(a, b))


def moved(theta, g, c):
    flat = iter(g)
    return {m: tuple((p + c * next(flat)).detach().requires_grad_() for p in pair)
            for m, pair in theta.items()}


# ---- the methods: loss shown and gradient of a step ----


class Sft:
    needs = ("main",)

    def __init__(self, run):
        self.run = run

    def batch(self):
        return self.run.next("main")

    def step(self, theta):
        loss = cross_entropy(theta, self.batch())
        return float(loss), grad(loss, theta)


class Vaccine(Sft):
    """arXiv 2402.01109, alg. 1."""

    def step(self, theta):
        batch, keep = self.batch(), []
        loss = cross_entropy(theta, batch, keep=keep)
        flat = [e for row in keep for e in row]
        g = torch.autograd.grad(loss, flat)
        n = norm(g)
        rho = self.run.options["vaccine"]["rho"]
        push, at = [], iter(g)
        for row in keep:
            push.append([rho * next(at) / (n + 1e-7) for _ in row])
        loss = cross_entropy(theta, batch, push=push)
        return float(loss), grad(loss, theta)


class Booster(Sft):
    """arXiv 2409.01586, alg. 1."""

    def step(self, theta):
        o = self.run.options["booster"]
        harmful = self.run.next("harmful")
        g1 = grad(cross_entropy(theta, harmful), theta)
        there = moved(theta, g1, -o["alpha"] / (norm(g1) + 1e-7))
        g2 = grad(cross_entropy(there, harmful), there)
        loss = cross_entropy(theta, self.batch())
        g0 = grad(loss, theta)
        return float(loss), [x + o["lambda"] * (y - z) for x, y, z in zip(g0, g1, g2)]


class Lisa(Sft):
    """arXiv 2405.18641, alg. 2: state 1 aligns, state 2 tunes, each pulled to the last switch."""

    def __init__(self, run):
        super().__init__(run)
        o = run.options["lisa"]
        self.plan, self.at, self.anchor = [], 0, None
        while len(self.plan) < 1000:
            self.plan += ["align"] * o["alignment_step"] + ["main"] * o["finetune_step"]

    def step(self, theta):
        stream = self.plan[self.at]
        if self.at == 0 or stream != self.plan[self.at - 1]:
            self.anchor = [p.detach().clone() for pair in theta.values() for p in pair]
        self.at += 1
        loss = cross_entropy(theta, self.run.next(stream))
        rho = self.run.options["lisa"]["rho"]
        here = [p for pair in theta.values() for p in pair]
        return float(loss), [g + rho * (p.detach() - q)
                             for g, p, q in zip(grad(loss, theta), here, self.anchor)]


def kl_to_start(theta, start, batch):
    total = 0.0
    for row in batch:
        ids, at, _ = labels(row)
        ref = forward(ids, start)[0][at].log_softmax(-1).detach()
        now = forward(ids, theta)[0][at].log_softmax(-1)
        total = total + row["weight"] * (ref.exp() * (ref - now)).sum()
    return total / weight_of(batch)


class SafeGrad:
    """arXiv 2508.07172 around another method's gradient."""

    def __init__(self, run, inner):
        self.run, self.inner, self.start = run, inner, run.start
        self.cut = 0

    def step(self, theta):
        loss, g = self.inner.step(theta)
        o = self.run.options["safegrad"]
        ga = grad(kl_to_start(theta, self.start, self.run.next("align")), theta)
        if norm(ga) < 1e-8:
            return loss, g
        d = dot(g, ga)
        if o["surgery"] and d < 0:
            g = [x - d / norm(ga) ** 2 * y for x, y in zip(g, ga)]
            self.cut += 1
        return loss, [x + o["rho"] * y for x, y in zip(g, ga)]


class ProCon(Sft):
    """arXiv 2509.06795: the projection of block outputs on the refusal direction stays."""

    def __init__(self, run):
        super().__init__(run)

        def mean(stream):
            rows = run.rows[stream]
            return [sum(forward(torch.tensor(r["ids"]), run.start)[2][l][r["from"] - 1] for r in rows)
                    / len(rows) for l in range(LAYERS)]

        diff = [a - b for a, b in zip(mean("align"), mean("general"))]
        self.r = [(d / d.norm()).detach() for d in diff]

    def step(self, theta):
        batch = self.batch()
        loss = cross_entropy(theta, batch)
        drift = 0.0
        for row in batch:
            ids, at, _ = labels(row)
            now, was = forward(ids, theta)[2], forward(ids, self.run.start)[2]
            for l in range(LAYERS):
                z = (now[l][at] - was[l][at].detach()) @ self.r[l]
                drift = drift + row["weight"] * (z * z).sum()
        total = loss + self.run.options["procon"]["alpha"] * drift / weight_of(batch)
        return float(loss), grad(total, theta)


# ---- the optimizer and the run ----


class Run:
    def __init__(self, start, rows, batch, options):
        self.start, self.rows, self.batch, self.options = start, rows, batch, options
        self.at = {}

    def next(self, stream):
        i = self.at.get(stream, 0)
        self.at[stream] = i + self.batch
        assert i + self.batch <= len(self.rows[stream])
        return self.rows[stream][i : i + self.batch]


def train(case, start, rows, make):
    c = case["train"]
    theta = {m: tuple(p.clone().requires_grad_() for p in pair) for m, pair in start.items()}
    run = Run(start, rows, c["per_device_train_batch_size"], case["methods"])
    method = make(run)
    flat = [p for pair in theta.values() for p in pair]
    steps, lr = c["max_steps"], c["learning_rate"]
    if c["optim"] == "adamw":
        opt = torch.optim.AdamW(flat, lr=lr, weight_decay=c.get("weight_decay", 0.0))
    else:
        opt = torch.optim.SGD(flat, lr=lr, momentum=c.get("momentum", 0.0))
    losses = []
    for k in range(steps):
        loss, g = method.step(theta)
        losses.append(loss)
        clip = c.get("max_grad_norm", 0.0)
        if clip > 0 and norm(g) > clip:
            g = [x * (clip / (norm(g) + 1e-6)) for x in g]
        warm = math.ceil(c.get("warmup_ratio", 0.0) * steps)
        if k < warm:
            rate = lr * k / warm
        elif c["lr_scheduler_type"] == "linear":
            rate = lr * (1 - (k - warm) / (steps - warm))
        else:
            rate = lr
        opt.param_groups[0]["lr"] = rate
        for p, x in zip(flat, g):
            p.grad = x
        opt.step()
    return losses, {m: tuple(p.detach() for p in pair) for m, pair in theta.items()}, method


def numbers(x):
    return [float(f"{v:.7g}") for v in x.flatten().tolist()]


def pack(theta):
    return {m: {"a": numbers(a), "b": numbers(b)} for m, (a, b) in theta.items()}


SGD = {"optim": "sgd", "momentum": 0.9, "learning_rate": 0.02, "lr_scheduler_type": "constant",
       "max_grad_norm": 0.0}
ADAMW = {"optim": "adamw", "weight_decay": 0.0, "learning_rate": 0.01,
         "lr_scheduler_type": "constant", "max_grad_norm": 0.0}


def cases():
    def case(name, methods, train, steps):
        return {"name": name, "methods": methods,
                "train": {**train, "max_steps": steps, "per_device_train_batch_size": 2}}

    lisa = {"rho": 2.0, "alignment_step": 2, "finetune_step": 3}
    yield case("sft", {}, {**ADAMW, "weight_decay": 0.1, "lr_scheduler_type": "linear",
                           "warmup_ratio": 0.2, "max_grad_norm": 1.0}, 20), Sft
    yield case("vaccine", {"vaccine": {"rho": 2.0}}, SGD, 8), Vaccine
    yield case("booster", {"booster": {"lambda": 5.0, "alpha": 0.1}},
               {**SGD, "momentum": 0.0}, 8), Booster
    yield case("lisa", {"lisa": lisa}, ADAMW, 20), Lisa
    yield (case("safegrad", {"safegrad": {"rho": 1.0, "surgery": True}}, SGD, 20),
           lambda r: SafeGrad(r, Sft(r)))
    yield case("procon", {"procon": {"alpha": 0.5, "probes": 64}}, SGD, 20), ProCon
    yield (case("lisa+safegrad", {"lisa": lisa, "safegrad": {"rho": 1.0, "surgery": True}}, SGD, 10),
           lambda r: SafeGrad(r, Lisa(r)))


def make_steps(folder):
    start = new_adapter(11, 0.1)
    rows = {s: new_rows(100 + i, 40) for i, s in enumerate(("main", "align", "harmful", "general"))}
    out = {"r": R, "alpha": ALPHA, "start": pack(start), "rows": rows, "cases": []}
    for case, make in cases():
        losses, final, method = train(case, start, rows, make)
        if isinstance(method, SafeGrad):  # both branches of the surgery must occur
            assert 2 <= method.cut <= case["train"]["max_steps"] - 2, method.cut
        case["losses"] = [float(f"{x:.9g}") for x in losses]
        case["final"] = pack(final)
        out["cases"].append(case)
        print(case["name"], losses[0], losses[-1])
    (folder / "steps.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


# ---- edits ----


def merged(adapter):
    out = dict(WEIGHTS)
    for m, (a, b) in adapter.items():
        out[m + ".weight"] = out[m + ".weight"] + ALPHA / R * b @ a
    return out


def safe_lora(tuned, aligned, mode, select, n, threshold):
    """arXiv 2405.16833, eq. 2-3, with C formed as it is written."""
    found = []
    for m, (a, b) in tuned.items():
        v = aligned[m + ".weight"] - WEIGHTS[m + ".weight"]
        c = v @ v.T / v.norm()
        if mode == "unit":
            c = v @ v.T / torch.linalg.matrix_norm(v, 2) ** 2
        elif mode == "proj":
            u, s, _ = torch.linalg.svd(v)
            share = (s * s).cumsum(0) / (s * s).sum()
            k = int((share < 0.9).sum()) + 1
            assert (share - 0.9).abs().min() > 1e-3
            c = u[:, :k] @ u[:, :k].T
        x, y = (c @ b @ a).flatten(), (b @ a).flatten()
        found.append((float(x @ y / (x.norm() * y.norm())), m, c @ b))
    found.sort(key=lambda f: f[0])
    take = n if select == "number" else sum(f[0] <= threshold for f in found)
    assert 0 < take < len(found) and found[take][0] - found[take - 1][0] > 1e-4
    return {m: (tuned[m][0], cb) for _, m, cb in found[:take]}


def antidote(tuned, aligned, texts, ratio):
    """arXiv 2408.09600 with Wanda's score, on A and B."""
    tok = AutoTokenizer.from_pretrained(TINY)
    inputs = {}
    for prompt, answer in texts:
        chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        ids = tok(tok.apply_chat_template(chat, tokenize=False), add_special_tokens=False).input_ids
        forward(torch.tensor(ids), tuned, weights=aligned, inputs=inputs)

    def prune(w, x):
        score = w.abs() * (x * x).mean(0).sqrt()[None, :]
        k = max(1, int(ratio * w.shape[1]))
        return w.scatter(1, score.topk(k, 1).indices, 0.0)

    return {m: (prune(a, torch.cat([x for x, _ in inputs[m]])),
                prune(b, torch.cat([z for _, z in inputs[m]]))) for m, (a, b) in tuned.items()}


TEXTS = [("the quick fox says no", "yes it can"), ("open the lazy door", "Sure, 12 days"),
         ("is it safe", "it was 366, ask me")]


def make_edits(folder):
    align, tuned = new_adapter(21, 0.1), new_adapter(22, 0.1)
    aligned = merged(align)
    out = {"r": R, "alpha": ALPHA, "align": pack(align), "tuned": pack(tuned), "texts": TEXTS,
           "safe_lora": [], "antidote": []}
    for mode, select, n, threshold in (("paper", "number", 5, 0.5), ("unit", "threshold", 10, 0.5),
                                       ("proj", "number", 6, 0.5)):
        changed = safe_lora(tuned, aligned, mode, select, n, threshold)
        out["safe_lora"].append({
            "options": {"mode": mode, "select": select, "n": n, "threshold": threshold},
            "changed": {m: numbers(b) for m, (_, b) in changed.items()}})
    for ratio in (0.1, 0.3):
        pruned = antidote(tuned, aligned, TEXTS, ratio)
        # Only what becomes zero is kept: module -> places in A, places in B.
        zero = {m: [(a == 0).flatten().nonzero().flatten().tolist(),
                    (b == 0).flatten().nonzero().flatten().tolist()]
                for m, (a, b) in pruned.items()}
        out["antidote"].append({"options": {"dense_ratio": ratio}, "zero": zero})
    (folder / "edits.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


def same(a, b, where):
    """Equal but for the last digits of numbers, which another build of PyTorch may round apart."""
    if isinstance(a, float) or isinstance(b, float):
        assert abs(a - b) <= 1e-5 * max(abs(a), abs(b), 1e-3), (where, a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for k in a:
            same(a[k], b[k], f"{where}.{k}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b)):
            same(x, y, f"{where}[{i}]")
    else:
        assert a == b, (where, a, b)


def main():
    torch.set_num_threads(1)
    check = sys.argv[1:] == ["--check"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if check else Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
        check_model()
        make_steps(folder)
        make_edits(folder)
        for name in ("steps.json", "edits.json") if check else ():
            same(json.loads((folder / name).read_text()), json.loads((HERE / name).read_text()), name)
            print(name, "is the same")


if __name__ == "__main__":
    main()
