"""peer_common.py: what the peers by transformers share: their arguments and the model."""
import argparse
import os


def arguments():
    """MODEL IDS --batch N --threads N; the caller adds its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("ids")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    return parser


def load(path, threads):
    """The model in f32 on so many threads; torch must not have been imported before."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    folder, file = os.path.split(os.path.abspath(path))
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32, attn_implementation="sdpa"
    )
