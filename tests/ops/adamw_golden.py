"""Makes adamw_golden.inc: weights after three steps of torch.optim.AdamW, for test_vector.c.

Usage: python3 tests/ops/adamw_golden.py > tests/ops/adamw_golden.inc
"""
import math

import torch

N = 40
w = torch.nn.Parameter(torch.tensor([math.sin(i) for i in range(N)], dtype=torch.float32))
optimizer = torch.optim.AdamW(
    [w], lr=3e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, foreach=False)
for t in range(1, 4):
    w.grad = torch.tensor([math.cos(3 * i + t) for i in range(N)], dtype=torch.float32)
    optimizer.step()
print(f"/* Made by adamw_golden.py with torch {torch.__version__}. */")
print("static const float GOLDEN_W[] = {")
for value in w.detach().tolist():
    print(f"    {value:.9g}f,")
print("};")
