"""The Python library: as it comes (`default`), compiled in fp32 (`compile`), and with all that is known to make it faster:
bf16 autocast, fused AdamW, torch.compile, with flash attention (`tuned`) and without (`tuned-math`)."""

from importlib.metadata import version
from itertools import cycle

import torch
import torch.nn.functional as F
from palm_rlhf_pytorch import PaLM, RewardModel, RLHFTrainer
from palm_rlhf_pytorch.attention import Attention
from safetensors.torch import load_file

from worker import read_tokens, serve, trained


def flash(self, q, k, v, mask=None):
    """Attention without the library's choice of backends, which leaves out flash on all GPUs but one and breaks graphs."""
    k, v = (t.unsqueeze(1).expand_as(q) for t in (k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)


def build(workload):
    """The model with the weights that all systems start from."""
    model, mode = workload['model'], workload['mode']
    if mode in ('compile', 'tuned'):
        Attention.flash_attn = flash
    palm = PaLM(
        num_tokens=model['numTokens'],
        dim=model['dim'],
        depth=model['depth'],
        heads=model['heads'],
        dim_head=model['dimHead'],
        flash_attn=mode in ('compile', 'tuned'),
        cross_entropy_ignore_index=-100,
    )
    missing, unexpected = palm.load_state_dict(load_file(workload['weights']), strict=False)
    assert not unexpected and all(name.endswith(('beta', 'inv_freq', 'scale', 'to_logits.weight')) for name in missing)
    return palm.to(workload['device'])


def train(workload):
    """Steps of next-token training; the facts are the losses of the first ones, which compile it, and how long that took."""
    mode, device = workload['mode'], workload['device'].split(':')[0]
    palm = build(workload)
    optimizer = torch.optim.AdamW(palm.parameters(), lr=workload['lr'], fused=mode != 'default')
    batches = cycle(read_tokens(workload, workload['batch'], workload['length'] + 1))
    model = palm if mode == 'default' else torch.compile(palm)

    def step():
        with torch.autocast(device, torch.bfloat16, enabled=mode.startswith('tuned')):
            loss = model(next(batches), return_loss=True)
        loss.backward()
        if workload['optimizer']:
            torch.nn.utils.clip_grad_norm_(palm.parameters(), 1.0)
            optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return trained(workload, step)


def decode(workload):
    """Tokens after a prompt, by the library's own generate, which has no cache."""
    palm = build(workload).eval()
    prompt = read_tokens(workload, workload['batch'], workload['promptLength'])[0]

    def answer(rows, count, temperature):
        length = workload['promptLength'] + count
        return palm.generate(length, prompt=prompt[:rows], temperature=temperature, filter_logits_fn=None)

    facts = {'greedy': answer(1, workload['greedyTokens'], 0.0)[0].tolist()}
    return facts, lambda: {'tokens': answer(workload['batch'], workload['newTokens'], 1.0).numel()}


def start(workload):
    """From nothing to the first token; the harness takes the time."""
    prompt = read_tokens(workload, 1, workload['promptLength'])[0]
    build(workload).generate(workload['promptLength'] + 1, prompt=prompt)
    return {}, None


class FunctionReward(RewardModel):
    """A function where the trainer wants a reward model: share of the lower half of the vocabulary in the response."""

    def __init__(self):
        torch.nn.Module.__init__(self)

    def forward(self, sequence, prompt_mask, mask):
        return ((sequence < 128) & ~prompt_mask).sum(-1) / (~prompt_mask).sum(-1)


def ppo(workload):
    """An iteration over fewer prompts: the library answers them one at a time, so samples a second stay the same."""
    count = workload['fewPrompts']
    prompts = read_tokens(workload, count, workload['promptLength'])[0]
    device = {'cpu': workload['device'] == 'cpu'}
    size = min(count, workload['minibatch'])
    models = {'palm': build(workload), 'reward_model': FunctionReward()}
    trainer = RLHFTrainer(**models, prompt_token_ids=prompts, minibatch_size=size, accelerate_kwargs=device)

    def iterate(prompts):
        length = workload['promptLength'] + workload['newTokens']
        trainer.train(num_episodes=1, max_timesteps=prompts, update_timesteps=prompts, max_seq_len=length)
        return {'samples': prompts}

    iterate(1)
    return {}, lambda: iterate(count)


serve(
    {'train': train, 'decode': decode, 'start': start, 'ppo': ppo},
    lambda: {'palm-rlhf-pytorch': version('PaLM-rlhf-pytorch'), 'torch': torch.__version__},
)
