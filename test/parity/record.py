"""Records what palm-rlhf-pytorch 0.7.5 computes, so that the tests beside this file can compare against it.

    pip install torch==2.13.0 palm-rlhf-pytorch==0.7.5 safetensors
    python test/parity/record.py test/parity/recorded

A case is one <name>.safetensors and one entry of index.json. Tensors are named by what they are: `w.` weights under the
library's own state_dict keys, `g.` gradients, `in.` what was given, `out.` what came back; index.json holds constructor
options and other scalars. Everything runs in float32 on one CPU thread from one seed.

The sizes are small and awkward on purpose: a width that no vector register divides, heads * dim_head different from the
width, a feed-forward of odd multiple. No weight keeps its initial value, so that a forgotten one cannot pass unseen.
"""

import json
import sys
from pathlib import Path

import torch
from adam_atan2_pytorch import AdamAtan2
from adam_atan2_pytorch.adopt_atan2 import AdoptAtan2
from palm_rlhf_pytorch import PaLM, RewardModel
from palm_rlhf_pytorch.ppo import masked_entropy, masked_normalize
from palm_rlhf_pytorch.utils import masked_mean
from safetensors.torch import save_file

SIZE = dict(num_tokens=29, dim=10, depth=2, heads=3, dim_head=8, ff_mult=3)
LENGTH = 13
ADAMW = dict(lr=2e-3, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.1, clip=1.0)

torch.set_num_threads(1)
random = torch.Generator().manual_seed(20)


def draw(module):
    """Gives every parameter new values, in an order that does not depend on how the module was built."""
    for _, p in sorted(module.named_parameters()):
        scale = 0.3 if p.ndim == 1 else 0.7 / p.shape[-1] ** 0.5
        p.data = torch.randn(p.shape, generator=random) * scale
    return module


def ids(rows, length=LENGTH, low=1):
    return torch.randint(low, SIZE["num_tokens"], (rows, length), generator=random)


def weights(module):
    return {f"w.{key}": value.clone() for key, value in module.state_dict().items()}


def gradients(module):
    return {f"g.{name}": p.grad for name, p in module.named_parameters() if p.grad is not None}


def language_model(**option):
    model = draw(PaLM(**SIZE, **option))
    x = ids(2, low=0)
    x[:, 4] = 0  # the id that the loss ignores by default
    logits, embeds = model(x, return_logits_with_embedding=True)
    loss = model(x, return_loss=True)
    loss.backward()
    return {**weights(model), **gradients(model), "in.x": x, "out.logits": logits, "out.embeds": embeds, "out.loss": loss}


def noncausal():
    """Negative ids are padding here, and only here."""
    model = draw(PaLM(**SIZE, causal=False))
    x = ids(2, low=0)
    x[0, -4:] = -1
    x[1, -1:] = -1
    logits, embeds = model(x, return_logits_with_embedding=True)
    return {**weights(model), "in.x": x, "out.logits": logits, "out.embeds": embeds}


def lora(scopes):
    model = PaLM(**SIZE)
    for scope, rank in scopes.items():
        model.add_finetune_params(scope, lora_r=rank)
    x = ids(2)
    case = {**weights(draw(model)), "in.x": x, "out.logits.none": model(x)}
    for scope in scopes:
        case[f"out.logits.{scope}"] = model(x, finetune_scope=scope)
    loss = model(x, return_loss=True, finetune_scope="actor")
    loss.backward()
    case |= {**gradients(model), "out.loss.actor": loss}
    model.merge_finetune_params("actor")
    return case | {"out.logits.merged": model(x)}


@torch.no_grad()
def greedy(prompt_length=5, length=29):
    """Temperature 0, from weights where rounding cannot decide and where no row merely repeats itself."""
    while True:
        model = draw(PaLM(**SIZE)).eval()
        model.token_emb.weight.mul_(0.1)
        prompt = ids(3, prompt_length)
        sequence = model.generate(length, prompt=prompt, temperature=0.0, return_seq_without_prompt=False)
        best = model(sequence)[:, prompt_length - 1 : -1].topk(2, dim=-1).values
        varied = all(len(set(row[prompt_length:].tolist())) >= 4 for row in sequence)
        if varied and (best[..., 0] - best[..., 1]).min() > 1e-3:
            return {**weights(model), "in.prompt": prompt, "out.sequence": sequence}


def adamw_curve():
    model = draw(PaLM(**SIZE))
    batches = torch.stack([ids(3) for _ in range(20)])
    case = {**weights(model), "in.xs": batches}
    clip, options = ADAMW["clip"], {k: v for k, v in ADAMW.items() if k != "clip"}
    optimizer = torch.optim.AdamW(model.parameters(), **options)
    curve = []
    for x in batches:
        loss = model(x, return_loss=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
        curve.append([loss.item(), norm.item()])
    return case | {f"out.w.{name}": p for name, p in model.named_parameters()}, curve


def reward_model(labels, causal=True, **options):
    model = draw(RewardModel(PaLM(**SIZE, causal=causal), dropout=0.0, **options)).eval()
    x = ids(3)
    lengths = torch.tensor([5, 7, 2])
    mask = torch.arange(LENGTH)[None] < torch.tensor([LENGTH, LENGTH - 3, LENGTH - 8])[:, None]
    if not causal:
        x[~mask] = -1
    scattered = torch.rand(3, LENGTH, generator=random) < 0.5
    case = {
        **weights(model),
        "in.x": x,
        "in.prompt_lengths": lengths,
        "in.prompt_mask": scattered,
        "in.mask": mask,
        "in.labels": labels,
        "out.plain": model(x),
        "out.lengths": model(x, prompt_lengths=lengths),
        "out.prompt_masked": model(x, prompt_mask=scattered),
        "out.masked": model(x, prompt_lengths=lengths, mask=mask),
    }
    loss = model(x, prompt_lengths=lengths, mask=mask, labels=labels)
    loss.backward()
    return case | {**gradients(model), "out.loss": loss}


def arithmetic():
    p1 = torch.randn(3, 11, 7, generator=random).softmax(-1)
    mask = torch.rand(3, 11, generator=random) > 0.3
    v = torch.randn(16, generator=random)
    return {
        "in.p1": p1,
        "in.mask": mask,
        "in.v": v,
        "out.entropy": masked_entropy(p1, mask=mask),
        "out.normalized": masked_normalize(v),
        "out.masked_mean": masked_mean(p1[..., 0], mask),
    }


def optimizer(cls, **options):
    p = torch.nn.Parameter(torch.randn(5, 7, generator=random))
    case = {"in.p": p.detach().clone()}
    rule = cls([p], **options)
    for step in range(6):
        p.grad = torch.randn(5, 7, generator=random)
        case[f"in.grad.{step}"] = p.grad.clone()
        rule.step()
        case[f"out.p.{step}"] = p.detach().clone()
    return case


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    cases = {}

    def put(name, tensors, **about):
        save_file({key: value.detach().clone().contiguous() for key, value in tensors.items()}, folder / f"{name}.safetensors")
        cases[name] = about

    put("palm-causal", language_model(), options=SIZE)
    put("palm-qk-rmsnorm", language_model(qk_rmsnorm=True), options={**SIZE, "qk_rmsnorm": True})
    put("palm-xpos-64", language_model(rotary_xpos_scale_base=64), options={**SIZE, "rotary_xpos_scale_base": 64})
    none = dict(cross_entropy_ignore_index=-100)
    put("palm-ignore-none", language_model(**none), options={**SIZE, **none})
    put("palm-noncausal", noncausal(), options={**SIZE, "causal": False})
    scopes = {"actor": 4, "critic": 2}
    put("palm-lora", lora(scopes), options={**SIZE, "scopes": scopes})
    put("palm-greedy", greedy(), options=SIZE)
    tensors, curve = adamw_curve()
    put("palm-adamw-curve", tensors, options=SIZE, optimizer=ADAMW, loss_and_grad_norm=curve)

    real, ratings = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0, 3, 4])
    binned = dict(num_binned_output=5, use_lora=True, lora_r=4)
    put("reward-scalar", reward_model(real, use_lora=False), options={**SIZE, "use_lora": False})
    put("reward-binned", reward_model(ratings, sample_from_bins=False, **binned), options={**SIZE, **binned})
    noncausal_reward = reward_model(real, causal=False, use_lora=False)
    put("reward-noncausal", noncausal_reward, options={**SIZE, "causal": False, "use_lora": False})

    put("ppo-arithmetic", arithmetic())
    for name, cls in {"adopt-atan2": AdoptAtan2, "adam-atan2": AdamAtan2}.items():
        put(f"optim-{name}", optimizer(cls, lr=1e-2), lr=1e-2)
        decay = dict(lr=1e-2, betas=(0.8, 0.95), weight_decay=0.05)
        put(f"optim-{name}-decay", optimizer(cls, **decay), **decay)

    about = {"reference": "palm-rlhf-pytorch 0.7.5", "torch": torch.__version__, "cases": cases}
    (folder / "index.json").write_text(json.dumps(about, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
