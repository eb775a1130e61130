"""Hugging Face transformers: generate with its cache, drawn at temperature 1 without filters."""

import torch
import transformers

from llama import build
from worker import read_tokens, serve


def decode(workload):
    """Tokens after a prompt."""
    model = build(workload, workload['mode']).eval()
    prompt = read_tokens(workload, workload['batch'], workload['promptLength'])[0]

    @torch.inference_mode()
    def generate(count):
        options = {'do_sample': True, 'top_k': 0, 'max_new_tokens': count, 'min_new_tokens': count}
        out = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
        return {'tokens': out.numel() - prompt.numel()}

    generate(min(8, workload['newTokens']))
    return {'parameters': sum(p.numel() for p in model.parameters())}, lambda: generate(workload['newTokens'])


def start(workload):
    """From nothing to the first token; the harness takes the time."""
    model = build(workload, workload['mode']).eval()
    prompt = read_tokens(workload, 1, workload['promptLength'])[0]
    model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=True, top_k=0, max_new_tokens=1)
    return {}, None


serve(
    {'decode': decode, 'start': start},
    lambda: {'transformers': transformers.__version__, 'torch': torch.__version__},
)
