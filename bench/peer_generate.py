"""peer_generate.py: greedy generation by transformers on given prompt ids.

    python peer_generate.py MODEL.gguf IDS.jsonl --batch 32 --threads 2 --tokens 32 [--adapter DIR]

Prompts are sorted by length and padded on the left to their batch's longest.  Loading and one warm-up
batch are not timed.  Prints one JSON object.
"""
import json
import time

from peer_common import arguments, load


def main():
    parser = arguments()
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--adapter")
    args = parser.parse_args()

    model = load(args.model, args.threads)
    import torch
    import transformers

    if args.adapter:
        import peft

        model = peft.PeftModel.from_pretrained(model, args.adapter).merge_and_unload()
    model.eval()
    end = model.config.eos_token_id
    end = end[0] if isinstance(end, list) else end
    with open(args.ids, encoding="ascii") as lines:
        prompts = [json.loads(line)["ids"] for line in lines]
    prompts.sort(key=len, reverse=True)

    def answer(batch, tokens):
        longest = len(batch[0])
        ids = torch.tensor([[end] * (longest - len(p)) + p for p in batch])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in batch])
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=end
            )
        return sum(int((row[longest:] != end).sum()) for row in out)

    answer(prompts[: args.batch], 2)
    start = time.monotonic()
    tokens = sum(
        answer(prompts[i : i + args.batch], args.tokens) for i in range(0, len(prompts), args.batch)
    )
    seconds = time.monotonic() - start
    with open("/proc/self/status", encoding="ascii") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(json.dumps({"seconds": seconds, "tokens": tokens, "peak_bytes": peak, "versions": versions}))


main()
