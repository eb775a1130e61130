"""Hugging Face transformers with PyTorch's own attention: training steps, through peft where they train adapters, and `generate`
with its cache, drawn at temperature 1 without filters. The mode is the element type of weights, `-compile` if compiled."""

import time
from itertools import cycle

import peft
import torch
import transformers

from llama import build
from worker import read_tokens, serve, trained


def mode_of(workload):
    dtype, _, compiled = workload['mode'].partition('-')
    return dtype, compiled == 'compile'


def trainable(workload, dtype):
    """The model in train mode; float32 where weights are trained, as its optimizer has no copies of its own."""
    if 'lora' not in workload:
        return build(workload, 'float32').train()
    rank = workload['lora']
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules='all-linear', task_type='CAUSAL_LM')
    return peft.get_peft_model(build(workload, dtype), config).train()


def train(workload):
    """Steps of next-token training, with autocast to bfloat16 in that mode; the facts are the losses of the first ones."""
    dtype, compiled = mode_of(workload)
    model = trainable(workload, dtype)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=workload['lr'], fused=True)
    batches = cycle(read_tokens(workload, workload['batch'], workload['length'] + 1))
    forward = torch.compile(model) if compiled else model

    def step():
        tokens = next(batches)
        with torch.autocast(workload['device'].split(':')[0], torch.bfloat16, enabled=dtype == 'bfloat16'):
            # Labels that are not shifted again: as many targets as the other systems have.
            loss = forward(input_ids=tokens[:, :-1], shift_labels=tokens[:, 1:].contiguous(), labels=tokens[:, 1:]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return trained(workload, step)


def decode(workload):
    """Tokens after a prompt; compiled, with a cache of fixed size."""
    dtype, compiled = mode_of(workload)
    model = build(workload, dtype).eval()
    prompt = read_tokens(workload, workload['batch'], workload['promptLength'])[0]
    # No token ends an answer.
    model.generation_config = transformers.GenerationConfig(pad_token_id=0)
    cache = {'cache_implementation': 'static'} if compiled else {}
    if compiled:
        model.forward = torch.compile(model.forward)

    @torch.inference_mode()
    def generate(rows, count, **drawing):
        options = {'max_new_tokens': count, 'min_new_tokens': count, **cache, **drawing}
        out = model.generate(rows, attention_mask=torch.ones_like(rows), **options)
        return out[:, rows.size(1) :]

    def run():
        return {'tokens': generate(prompt, workload['newTokens'], do_sample=True, top_k=0).numel()}

    began = time.perf_counter()
    if compiled:
        run()
    facts = {'firstSeconds': time.perf_counter() - began}
    facts['greedy'] = generate(prompt[:1], workload['greedyTokens'], do_sample=False)[0].tolist()
    if not compiled:
        generate(prompt, min(8, workload['newTokens']), do_sample=True, top_k=0)
    return {**facts, 'parameters': sum(p.numel() for p in model.parameters())}, run


def start(workload):
    """From nothing to the first token; the harness takes the time."""
    model = build(workload, mode_of(workload)[0]).eval()
    prompt = read_tokens(workload, 1, workload['promptLength'])[0]
    model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=True, top_k=0, max_new_tokens=1)
    return {}, None


serve(
    {'train': train, 'decode': decode, 'start': start},
    lambda: {'transformers': transformers.__version__, 'torch': torch.__version__, 'peft': peft.__version__},
)
