"""make_golden_models.py: references for the engine on a real model of another family, by PyTorch.

Usage: python make_golden_models.py MODEL.gguf    (needs torch, transformers, gguf)

models/NAME.json, NAME that of the file: token ids of 10 texts and sampled logits of each in float64:
[position, token, logit], likely tokens and others, and the largest error of PyTorch's float32.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from double import use_double

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "data"
TEXTS, MAX_TOKENS, LIKELY, OTHER = 10, (12, 60), 16, 24


def read_texts(tok):
    lines = (DATA / "general/train.jsonl").read_text().splitlines()
    out = []
    for i in range(TEXTS):
        messages = json.loads(lines[i * len(lines) // TEXTS])["messages"]
        if tok.chat_template:
            ids = tok.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
        else:
            ids = tok("\n\n".join(m["content"] for m in messages))["input_ids"]
        low, high = MAX_TOKENS
        out.append(list(ids)[: low + i * (high - low) // (TEXTS - 1)])
    return out


def main():
    torch.set_num_threads(1)
    path = Path(sys.argv[1])
    load = dict(gguf_file=path.name, attn_implementation="sdpa")
    tok = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    texts = read_texts(tok)
    model = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **load).eval()
    run = lambda ids: model(torch.tensor([ids])).logits[0].double().numpy()
    with torch.no_grad():
        single = [run(ids) for ids in texts]
        use_double()
        model = model.double()
        exact = [run(ids) for ids in texts]
    rng = np.random.default_rng(1)
    rows = []
    for ids, e in zip(texts, exact):
        places = [(len(ids) - 1, int(v)) for v in np.argsort(-e[-1])[:4]]
        for t in rng.integers(0, len(ids), LIKELY - 4):
            places.append((int(t), int(np.argmax(e[t]))))
        places += [(int(rng.integers(len(ids))), int(rng.integers(e.shape[1]))) for _ in range(OTHER)]
        rows.append(dict(ids=ids, logits=[[t, v, round(float(e[t, v]), 6)] for t, v in places]))
    off = max(float(np.abs(e - s).max()) for e, s in zip(exact, single))
    (HERE / "models").mkdir(exist_ok=True)
    out = dict(rows=rows, torch_off=off)
    (HERE / "models" / f"{path.stem}.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
