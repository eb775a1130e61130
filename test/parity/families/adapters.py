"""Records adapters that peft writes for the models of cases/, and what the adapted models compute.

    pip install torch==2.13.0 transformers==5.24.0 peft==0.21.2 safetensors==0.8.0
    python test/parity/families/adapters.py

A case is a folder adapters/<name>/ with adapter_config.json (`base_model_name_or_path` names the folder of the base),
adapter_model.safetensors, and expected.safetensors: input_ids, length, logits and loss as record.py has them, and grad.<stored name>
of the loss by every tensor of the adapter. refused/<name>/ has configurations alone, of kinds that are refused.
"""

import json
import shutil
from pathlib import Path

import peft
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from cases import CASES
from record import FOLDER as BASES
from record import load, logits_of, write_expected, write_json

HERE = Path(__file__).parent
LORA = dict(task_type="CAUSAL_LM", r=4, lora_alpha=8)
ADAPTERS = {
    "llama": ("llama", LoraConfig(**LORA, target_modules=["q_proj", "v_proj"])),
    "llama-all-linear": ("llama", LoraConfig(**LORA, target_modules="all-linear", use_rslora=True)),
    "llama-patterns": (
        "llama",
        LoraConfig(
            **LORA,
            target_modules=["q_proj", "v_proj", "down_proj"],
            rank_pattern={"q_proj": 2, "layers.1.mlp.down_proj": 6},
            alpha_pattern={"layers.0.self_attn.v_proj": 16},
        ),
    ),
    "llama-one-layer": ("llama", LoraConfig(**LORA, target_modules=["k_proj", "up_proj"], layers_to_transform=[1])),
    "llama-expression": ("llama", LoraConfig(**LORA, target_modules=r".*\.0\..*\.(gate|o)_proj")),
    "gpt2": ("gpt2", LoraConfig(**LORA, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)),
    "neox": ("neox", LoraConfig(**LORA, target_modules=["query_key_value"])),
    "gptj": ("gptj", LoraConfig(**LORA, target_modules=["q_proj", "v_proj"])),
    "phi3": ("phi3", LoraConfig(**LORA, target_modules="all-linear")),
    "falcon-7b": ("falcon-7b", LoraConfig(**LORA, target_modules=["query_key_value"])),
}
QV = dict(**LORA, target_modules=["q_proj", "v_proj"])
REFUSED = {
    "dora": LoraConfig(**QV, use_dora=True),
    "saved-head": LoraConfig(**QV, modules_to_save=["lm_head"]),
    "all-biases": LoraConfig(**QV, bias="all"),
    "embedding": LoraConfig(**LORA, target_modules=["embed_tokens", "q_proj"]),
    "ia3": IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
}

assert peft.__version__ == "0.21.2", peft.__version__


def tidy(folder, base):
    """Removes what the place of recording decides: the order of sets, and the path of the base."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = f"test/parity/families/cases/{base}"
    for key, value in config.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            config[key] = sorted(value)
    write_json(path, config)
    (folder / "README.md").unlink(missing_ok=True)


def write_adapter(base, config, folder):
    model = get_peft_model(load(BASES / base, CASES[base]), config)
    random = torch.Generator().manual_seed(5)
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data = (torch.randn(p.shape, generator=random) * 0.12).bfloat16().float()
    model.save_pretrained(folder)
    tidy(folder, base)


def record(base, folder):
    case, recorded = CASES[base], load_file(BASES / base / "expected.safetensors")
    model = PeftModel.from_pretrained(load(BASES / base, case), folder, is_trainable=True).eval()
    ids, length = recorded["input_ids"], recorded["length"]
    logits = logits_of(model, ids, length)
    assert (logits - recorded["logits"]).abs().mean() > 0.05, "the adapter changes nothing"
    loss = cross_entropy(model(input_ids=ids[:1]).logits[0, :-1], ids[0, 1:])
    loss.backward()
    names = load_file(folder / "adapter_model.safetensors")
    by_name = {name.replace(".default", ""): p for name, p in model.named_parameters() if p.grad is not None}
    assert by_name.keys() == names.keys()
    grads = {f"grad.{name}": p.grad for name, p in by_name.items()}
    return {"input_ids": ids, "length": length, "logits": logits, "loss": loss.detach(), **grads}


def main():
    for folder in ("adapters", "refused"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
    for name, (base, config) in ADAPTERS.items():
        folder = HERE / "adapters" / name
        write_adapter(base, config, folder)
        expected = record(base, folder)
        write_expected(expected, folder)
        change = (expected["logits"] - load_file(BASES / base / "expected.safetensors")["logits"]).abs().mean()
        print(f"{name:18s} std {expected['logits'][0].std():.2f} loss {expected['loss']:.3f} mean change {change:.2f}")
    for name, config in REFUSED.items():
        config.save_pretrained(HERE / "refused" / name)
        tidy(HERE / "refused" / name, "llama")


main()
