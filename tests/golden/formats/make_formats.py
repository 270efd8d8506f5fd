"""make_formats.py: writes the small files of this folder with the peers' own writers.

Usage: python make_formats.py [FOLDER]    (needs torch, transformers, peft, tokenizers, gguf)

tiny-llama/          a random Llama with a byte-level BPE vocabulary, by transformers
tiny-llama-adapter/  a LoRA adapter on it with non-zero B, by peft
tiny-llama.gguf      the same model by gguf's writer, q and k permuted as llama.cpp's converter does
expected.json        sums and first values of the tensors, token ids
dequantize.json      random blocks of each quantised type and their values by gguf's dequantize
quantize.json        random numbers and what gguf's quantize makes of them, for the written types
"""

import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXT = [
    "the quick brown fox jumps over the lazy dog and then it sleeps in the sun",
    "a model that is safe says no when it should and yes when it can",
    "In 2024 there were 365 days, or was it 366? Don't ask me, I'll ask you!",
]
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def make_tokenizer():
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=288,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tok.train_from_iterator(TEXT, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tok,
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        unk_token=SPECIAL[0],
        pad_token=SPECIAL[2],
    )
    fast.chat_template = TEMPLATE
    return fast


def make_model(vocab):
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rope_theta=50000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=0.2,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.add_(0.1 * torch.randn_like(p))
    return model


def permute(w, heads):
    """As convert_hf_to_gguf.py does for q and k of llama models."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def write_gguf(path, model, tok):
    c = model.config
    w = gguf.GGUFWriter(str(path), "llama")
    w.add_type("model")
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_rope_freq_base(50000.0)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_vocab_size(c.vocab_size)
    w.add_rope_dimension_count(c.hidden_size // c.num_attention_heads)
    state = json.loads(tok.backend_tokenizer.to_str())
    pieces = sorted(state["model"]["vocab"].items(), key=lambda x: x[1])
    special = {a["content"] for a in state["added_tokens"]}
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list([p for p, _ in pieces])
    w.add_token_types([3 if p in special else 1 for p, _ in pieces])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in state["model"]["merges"]])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.add_pad_token_id(2)
    w.add_add_bos_token(False)
    w.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, c.num_hidden_layers)
    for name, p in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        x = p.numpy()
        if "q_proj" in name:
            x = permute(x, c.num_attention_heads)
        if "k_proj" in name:
            x = permute(x, c.num_key_value_heads)
        w.add_tensor(names.get_name(name, try_suffixes=(".weight",)), x)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def summary(tensors):
    return {
        n: {"shape": list(t.shape), "first": float(t.flatten()[0]), "sum": float(t.double().sum())}
        for n, t in tensors.items()
    }


def make_dequantize(path):
    rng = np.random.default_rng(5)
    out = {}
    for name in "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K".split():
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        n = 2 if block == 256 else 4
        blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
        halves = {"Q6_K": [208]}.get(name, [0, 2] if name in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else [0])
        for i, b in enumerate(blocks):  # finite scales: normal ones, a subnormal one
            for at in halves:
                scale = np.float16(rng.normal() * 0.05) if i else np.float16(3e-7)
                b[at : at + 2] = np.frombuffer(scale.tobytes(), dtype=np.uint8)
        values = gguf.quants.dequantize(blocks, kind).astype(np.float32)
        out[name] = {
            "blocks": blocks.tobytes().hex(),
            "values": [f"{v:08x}" for v in values.ravel().view(np.uint32)],
        }
        out[name]["values"] = "".join(out[name]["values"])
    path.write_text(json.dumps(out, indent=1) + "\n")


def make_quantize(path):
    rng = np.random.default_rng(6)
    rows = [rng.normal(size=32) * s for s in (1, 1e-3, 1e-6, 1e-35, 300, 60000)]
    rows.append(np.zeros(32))
    rows.append(np.concatenate([[127.0, -127.0], np.arange(30) - 14.5]))  # halves round away
    rows.append(np.where(np.arange(32) == 3, 9, rng.normal(size=32) * 0.01))  # one stands out
    x = np.clip(np.stack(rows), -65000, 65000).astype(np.float32)
    out = {"numbers": "".join(f"{v:08x}" for v in x.ravel().view(np.uint32))}
    for name in ("F16", "BF16", "Q8_0"):
        kind = gguf.GGMLQuantizationType[name]
        with np.errstate(all="ignore"):
            out[name] = gguf.quants.quantize(x, kind).tobytes().hex()
    path.write_text(json.dumps(out, indent=1) + "\n")


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
    tok = make_tokenizer()
    model = make_model(len(tok))
    base = folder / "tiny-llama"
    shutil.rmtree(base, ignore_errors=True)
    model.save_pretrained(base)
    tok.save_pretrained(base)
    write_gguf(folder / "tiny-llama.gguf", model, tok)
    expected = {
        "model": summary({n: p for n, p in model.state_dict().items() if n != "lm_head.weight"}),
        "text": TEXT[2],
        "ids": tok(TEXT[2], add_special_tokens=False)["input_ids"],
    }

    torch.manual_seed(8)
    lora = get_peft_model(
        model,
        LoraConfig(
            r=4,
            lora_alpha=8,
            lora_dropout=0.05,
            target_modules="q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split(),
            task_type="CAUSAL_LM",
        ),
    )
    with torch.no_grad():
        for name, p in lora.named_parameters():
            if "lora_B" in name:
                p.normal_(0, 0.1)
    adapter = folder / "tiny-llama-adapter"
    shutil.rmtree(adapter, ignore_errors=True)
    lora.base_model.model.name_or_path = "tiny-llama"
    lora.peft_config["default"].base_model_name_or_path = "tiny-llama"
    lora.save_pretrained(adapter)
    (adapter / "README.md").unlink(missing_ok=True)
    expected["adapter"] = summary(
        {
            n.replace("base_model.model.", "").replace(".default", ""): p.detach()
            for n, p in lora.named_parameters()
            if "lora_" in n
        }
    )
    ids = torch.tensor([expected["ids"][:16]])
    with torch.no_grad():
        lora.eval()
        expected["adapter_logits"] = [round(x, 6) for x in lora(ids).logits[0, -1, :8].tolist()]
        with lora.disable_adapter():
            expected["logits"] = [round(x, 6) for x in lora(ids).logits[0, -1, :8].tolist()]
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    make_dequantize(folder / "dequantize.json")
    make_quantize(folder / "quantize.json")


if __name__ == "__main__":
    main()
