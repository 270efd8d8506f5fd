"""double.py: the families in float64 throughout; transformers drops to float32 inside its norms."""

import torch
from transformers.models.gemma3 import modeling_gemma3
from transformers.models.llama import modeling_llama
from transformers.models.mistral import modeling_mistral
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen3 import modeling_qwen3


def norm_forward(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def offset_norm_forward(self, x):
    return (1 + self.weight) * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def use_double():
    modeling_llama.LlamaRMSNorm.forward = norm_forward
    modeling_mistral.MistralRMSNorm.forward = norm_forward
    modeling_qwen2.Qwen2RMSNorm.forward = norm_forward
    modeling_qwen3.Qwen3RMSNorm.forward = norm_forward
    modeling_gemma3.Gemma3RMSNorm.forward = offset_norm_forward


def weighted_loss(model, rows):
    """Sum of weight * -log p(target) over all rows, over the sum of weights: float64 logits."""
    total = sum(r["weight"] * w for r in rows for w in r["target_weight"])
    loss = 0.0
    for r in rows:
        ids = torch.tensor([r["ids"]])
        logp = model(ids).logits[0].double().log_softmax(-1)
        weight = torch.tensor(r["target_weight"], dtype=torch.float64) * r["weight"]
        picked = logp[:-1].gather(1, ids[0, 1:, None])[:, 0]
        loss = loss - (weight[1:] * picked).sum()
    return loss / total
