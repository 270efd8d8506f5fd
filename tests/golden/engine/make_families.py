"""make_families.py: a tiny random model of each family with its references, in float64 by PyTorch.

Usage: python make_families.py [FOLDER]    (needs torch, transformers, peft, safetensors, gguf)

FOLDER/NAME holds, for each entry of FAMILIES,
  config.json, model.safetensors  as transformers writes them, beside ../formats/tiny-llama's tokenizer
  model.gguf                      the same model by gguf's writer, as llama.cpp's converter lays it out
  adapter/                        a random adapter on all linear layers, as peft writes it
  golden.safetensors, .json       as make_golden.py describes, and greedy continuations
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

import make_golden
from double import use_double

TOKENIZER = Path(__file__).parent.parent / "formats" / "tiny-llama"
COMMON = dict(
    vocab_size=288,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=2,
    initializer_range=0.2,
)
# Windows are shorter than the rows; scalings change several frequencies of these narrow heads.
FAMILIES = {
    "llama3": dict(
        model_type="llama",
        head_dim=8,
        tie_word_embeddings=False,
        rope_parameters=dict(
            rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0,
            high_freq_factor=4.0, original_max_position_embeddings=32,
        ),
    ),
    "llama_linear": dict(
        model_type="llama",
        tie_word_embeddings=True,
        rope_parameters=dict(rope_type="linear", rope_theta=1000.0, factor=2.5),
    ),
    "mistral": dict(
        model_type="mistral", tie_word_embeddings=False, sliding_window=6, head_dim=6,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0),
    ),
    "qwen2": dict(
        model_type="qwen2", tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=100000.0),
    ),
    "qwen3": dict(
        model_type="qwen3", tie_word_embeddings=False, head_dim=10,
        rope_parameters=dict(rope_type="default", rope_theta=100000.0),
    ),
    "gemma3": dict(
        model_type="gemma3_text",
        tie_word_embeddings=True,
        num_hidden_layers=3,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=5,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", rope_theta=100000.0, factor=4.0),
            sliding_attention=dict(rope_type="default", rope_theta=1000.0),
        ),
    ),
}
RUNS = [r for r in make_golden.RUNS if r["name"] in ("lora_adamw", "full_adamw")]
ARCHES = dict(llama="llama", mistral="llama", qwen2="qwen2", qwen3="qwen3", gemma3_text="gemma3")
NEW_TOKENS = 12


def make_model(name, folder):
    values = {**COMMON, **FAMILIES[name]}
    torch.manual_seed(11)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "norm" in key or key.endswith(".bias"):
                p.add_(0.2 * torch.randn_like(p))
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TOKENIZER / file, folder / file)
    lora = get_peft_model(model, LoraConfig(r=3, lora_alpha=5, target_modules="all-linear"))
    with torch.no_grad():
        for key, p in lora.named_parameters():
            if "lora_B" in key:
                p.normal_(0, 0.2)
    with tempfile.TemporaryDirectory() as temp:
        lora.save_pretrained(temp)
        (folder / "adapter").mkdir(exist_ok=True)
        adapter = json.loads((Path(temp) / "adapter_config.json").read_text())
        adapter["target_modules"] = sorted(adapter["target_modules"])
        text = json.dumps(adapter, indent=2, sort_keys=True) + "\n"
        (folder / "adapter" / "adapter_config.json").write_text(text)
        shutil.copy(Path(temp) / "adapter_model.safetensors", folder / "adapter")


def stored(model, key, tensor):
    """The rows and numbers that llama.cpp's converter stores for a tensor of transformers."""
    c, x = model.config, tensor.float().numpy()
    if c.model_type in ("llama", "mistral"):
        for part, heads in (("q_proj", c.num_attention_heads), ("k_proj", c.num_key_value_heads)):
            if part in key:
                half = x.shape[0] // heads // 2
                x = x.reshape(heads, 2, half, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
    if c.model_type == "gemma3_text" and key.endswith("norm.weight"):
        x = x + np.float32(1)
    return np.ascontiguousarray(x)


def rope_metadata(w, c):
    rope = c.rope_parameters
    if "full_attention" in rope:
        rope = rope["full_attention"]
    w.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "llama3":
        dim = c.head_dim
        freqs = 1.0 / rope["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
        factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
        old = rope["original_max_position_embeddings"]
        divisors = []
        for f in freqs:
            wavelength = 2 * torch.pi / f
            if wavelength < old / high:
                divisors.append(1.0)
            elif wavelength > old / low:
                divisors.append(factor)
            else:
                smooth = (old / wavelength - low) / (high - low)
                divisors.append(1 / ((1 - smooth) / factor + smooth))
        w.add_tensor("rope_freqs.weight", np.array(divisors, dtype=np.float32))


def write_gguf(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    c, tok = model.config, json.loads((TOKENIZER / "tokenizer.json").read_text())
    arch = ARCHES[c.model_type]
    dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    w = gguf.GGUFWriter(str(folder / "model.gguf"), arch)
    w.add_type("model")
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_key_length(dim)
    w.add_value_length(dim)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_vocab_size(c.vocab_size)
    if getattr(c, "sliding_window", None):
        w.add_sliding_window(c.sliding_window)
    if arch == "gemma3":
        w.add_uint32("gemma3.attention.sliding_window_pattern", 2)
        w.add_float32("gemma3.rope.freq_base_swa", c.rope_parameters["sliding_attention"]["rope_theta"])
    rope_metadata(w, c)
    pieces = sorted(tok["model"]["vocab"].items(), key=lambda x: x[1])
    special = {a["content"] for a in tok["added_tokens"]}
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list([p for p, _ in pieces])
    w.add_token_types([3 if p in special else 1 for p, _ in pieces])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tok["model"]["merges"]])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.add_pad_token_id(2)
    w.add_add_bos_token(False)
    kind = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch)
    names = gguf.get_tensor_name_map(kind, c.num_hidden_layers)
    for key, p in sorted(model.state_dict().items()):
        if key == "lm_head.weight" and c.tie_word_embeddings:
            continue
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        w.add_tensor(name, stored(model, key, p))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def greedy(model, rows):
    """Continuations token by token, each of a whole forward pass; the smallest gap is kept too."""
    out = []
    for r in rows:
        ids, gap = list(r["ids"]), 1e9
        with torch.no_grad():
            for _ in range(NEW_TOKENS):
                top = model(torch.tensor([ids]), use_cache=False).logits[0, -1].topk(2)
                gap = min(gap, float(top.values[0] - top.values[1]))
                ids.append(int(top.indices[0]))
        out.append(dict(new=ids[len(r["ids"]):], gap=gap))
    return out


def main():
    torch.set_num_threads(1)
    use_double()
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "families"
    for name in FAMILIES:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        make_model(name, folder)
        write_gguf(folder)

        def load(tuning):
            return make_golden.load(tuning, folder, folder / "adapter")

        make_golden.write(folder, RUNS, load)
        path = folder / "golden.json"
        golden = json.loads(path.read_text())
        golden["greedy"] = greedy(load("full"), golden["rows"])
        path.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
