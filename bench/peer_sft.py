"""peer_sft.py: LoRA or full fine-tuning by PyTorch, transformers and peft on given token ids.

    python peer_sft.py MODEL.gguf IDS.jsonl --batch 8 --threads 2 [--bf16] [--rank 16 | --full]

Rows are sorted by length, which is the peer's best; a batch is padded to its longest row.  Only
steps are timed: loading is not, and one step on the longest batch runs before the clock starts.
Prints one JSON object.
"""
import json
import time

from peer_common import arguments, load


def peak_bytes():
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def main():
    parser = arguments()
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--full", action="store_true", help="train every parameter")
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()

    model = load(args.model, args.threads)
    import peft
    import torch
    import transformers

    torch.manual_seed(42)
    model.config.use_cache = False
    if not args.full:
        model = peft.get_peft_model(
            model,
            peft.LoraConfig(
                r=args.rank, lora_alpha=2 * args.rank, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
        )
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.0)

    with open(args.ids, encoding="ascii") as lines:
        rows = [json.loads(line) for line in lines]
    rows.sort(key=lambda row: len(row["ids"]), reverse=True)
    batches = [rows[i : i + args.batch] for i in range(0, len(rows), args.batch)]

    def tensors(batch):
        longest = len(batch[0]["ids"])
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        labels = torch.full_like(ids, -100)
        for i, row in enumerate(batch):
            n = len(row["ids"])
            ids[i, :n] = torch.tensor(row["ids"])
            mask[i, :n] = 1
            wanted = torch.tensor(row["trained"], dtype=torch.bool)
            labels[i, :n][wanted] = ids[i, :n][wanted]
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def step(batch):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    step(tensors(batches[0]))
    start = time.monotonic()
    losses = [step(tensors(batch)) for batch in batches]
    seconds = time.monotonic() - start
    print(
        json.dumps(
            {
                "seconds": seconds,
                "tokens": sum(len(row["ids"]) for row in rows),
                "loss": sum(losses) / len(losses),
                "peak_bytes": peak_bytes(),
                "versions": f"torch {torch.__version__}, transformers {transformers.__version__}, "
                f"peft {peft.__version__}",
            }
        )
    )


main()
