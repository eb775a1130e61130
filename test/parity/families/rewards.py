"""Records the scores that transformers' `*ForSequenceClassification` with one label gives, as record.py records logits.

    python test/parity/families/rewards.py

A case is a folder rewards/<name>/ with the files of a model and expected.safetensors: input_ids [2, T] (padded with the config's
pad_token_id, by which transformers finds the last token), length [2], scores [2], and grad.<stored name> of the scores' sum.
"""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from cases import VOCABULARY, Case, base, gpt, llama, rope
from record import perturb, stored, write_expected, write_model

FOLDER = Path(__file__).parent / "rewards"
LABEL = dict(num_labels=1, pad_token_id=0)
CASES = {
    "llama": Case("llama", llama(head_dim=6, num_hidden_layers=1, **LABEL)),
    "qwen2": Case("qwen2", llama(num_hidden_layers=1, **LABEL), dtype="bfloat16"),
    "gpt2": Case("gpt2", gpt(n_layer=1, n_inner=40, **LABEL)),
    "neox": Case(
        "gpt_neox",
        base(
            num_hidden_layers=1,
            num_attention_heads=3,
            intermediate_size=40,
            **LABEL,
            **rope("default", partial_rotary_factor=0.5),
        ),
        dtype="float16",
    ),
}


def build(case, random):
    config = AutoConfig.for_model(case.model_type, **case.options)
    model = AutoModelForSequenceClassification.from_config(config).eval().float()
    perturb(model, random)
    kept = torch.float16 if case.dtype == "float16" else torch.bfloat16
    for p in model.parameters():
        p.data = p.data.to(kept).float()
    return model


def record(case, folder, random):
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    length = torch.tensor(case.rows)
    mask = torch.arange(max(case.rows)) < length[:, None]
    ids = torch.randint(1, VOCABULARY, mask.shape, generator=random) * mask
    scores = model(input_ids=ids, attention_mask=mask.long()).logits[:, 0]
    scores.sum().backward()
    for p in model.parameters():
        p.data = torch.zeros_like(p) if p.grad is None else p.grad
    grads = {f"grad.{name}": value for name, value in stored(model, case).items()}
    return {"input_ids": ids, "length": length, "scores": scores.detach(), **grads}


if __name__ == "__main__":
    for name, case in CASES.items():
        torch.manual_seed(7)
        random = torch.Generator().manual_seed(5)
        write_model(build(case, random), case, FOLDER / name)
        expected = record(case, FOLDER / name, random)
        write_expected(expected, FOLDER / name)
        print(name, expected["scores"].tolist())
