"""Records what transformers computes for small random models of every family, for the tests beside this file.

    pip install torch==2.13.0 transformers==5.24.0 safetensors==0.8.0
    python test/parity/families/record.py [case ...]

A case is a folder cases/<name>/ with the files of a model, as transformers (or the hub's old files) has them, and
expected.safetensors:
    input_ids [2, T], length [2]   two rows, the second one padded on the right
    logits [2, T, V] float32       0 beyond the length of a row
    loss, grad.<stored name>       row 0's mean next-token cross-entropy, and its gradient by every stored tensor
    greedy.prompt_length [2]       the prompts are the beginnings of the rows of input_ids
    greedy.ids, greedy.gap [2, 12] their greedy continuations, each row alone, and how far the second best logit lies behind
    bf16_error                     mean |logits of the model in bfloat16 - logits|
config.v4.json is the same configuration in the spelling of transformers 4; config.minimal.json has only what is not the default of
its class. Everything is float32 on one CPU thread.

Every parameter is perturbed, so that biases, norms and zeros count, and rounded to bfloat16 (or to the type it is stored in).
The last norm or the head is scaled until the logits' standard deviation is 1.
"""

import copy
import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM

from cases import CASES, VOCABULARY
from v4 import as_v4

FOLDER = Path(__file__).parent / "cases"
GREEDY = 12
LEAST_GAP = 2e-3  # below it, rounding could decide a greedy token

assert transformers.__version__ == "5.24.0", transformers.__version__
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)


def perturb(model, random, embedding=1.0):
    for name, p in model.named_parameters():
        p.data += torch.randn(p.shape, generator=random) * (0.2 if p.ndim == 1 else 0.15)
    if embedding != 1:
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight.data *= embedding


def last_norm(model):
    """The norm before the head: the last of those that are in no layer."""
    found = [(name, m) for name, m in model.base_model.named_modules() if "norm" in type(m).__name__.lower()]
    outermost = min(name.count(".") for name, _ in found)
    return [m for name, m in found if name.count(".") == outermost][-1]


def scale_head(model, factor):
    """Multiplies the logits by `factor` (before a cap)."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head.weight is not embedding.weight:
        for p in head.parameters():
            p.data *= factor
        return
    out = getattr(getattr(model.base_model, "decoder", None), "project_out", None)
    module = out if out is not None else last_norm(model)
    plus_one = 1.0 if "Gemma" in type(module).__name__ else 0.0
    module.weight.data = (module.weight.data + plus_one) * factor - plus_one
    if getattr(module, "bias", None) is not None:
        module.bias.data *= factor


def logits_of(model, ids, length):
    mask = (torch.arange(ids.shape[1]) < length[:, None]).long()
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits.float()
    return logits * mask[..., None]


def build(case, random):
    """A model of the case, with logits of standard deviation 1 and numbers that its files can hold."""
    config = AutoConfig.for_model(case.model_type, **case.options)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=case.attention).eval().float()
    if case.names == "apart":
        model.get_output_embeddings().weight = torch.nn.Parameter(torch.zeros_like(model.get_input_embeddings().weight))
    perturb(model, random, case.embedding)
    ids = torch.randint(0, VOCABULARY, (1, max(case.rows)), generator=random)
    for _ in range(3):
        scale_head(model, 1 / logits_of(model, ids, torch.tensor([ids.shape[1]])).std())
    kept = torch.float16 if case.dtype == "float16" else torch.bfloat16
    for p in model.parameters():
        p.data = p.data.to(kept).float()
    return model


def stored(model, case):
    """The model's tensors under the names of its file; with gradients in place of numbers, their names."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = load_file(f"{folder}/model.safetensors")
    prefix = model.base_model_prefix + "."
    if case.names == "bare":
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def both_names(model, case, tensors):
    if case.names in ("both", "apart"):
        tensors["lm_head.weight"] = model.get_output_embeddings().weight.data.clone()


def old_buffers(model, case):
    """The masks of attention that files of transformers up to 4.20 carry."""
    if not case.buffers:
        return {}
    size = model.config.max_position_embeddings
    mask = torch.ones(size, size).tril().view(1, 1, size, size)
    layers = range(model.config.num_hidden_layers)
    masks = {f"h.{i}.attn.bias": mask.clone() for i in layers}
    return masks | {f"h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in layers}


def write_model(model, case, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dtype = getattr(torch, case.dtype)
    model.config.dtype = dtype
    if case.files == "sharded":
        copy.deepcopy(model).to(dtype).save_pretrained(folder, max_shard_size="20KB")
    else:
        model.config.save_pretrained(folder)
        tensors = stored(model, case)
        both_names(model, case, tensors)
        tensors = {name: tensor.to(dtype) for name, tensor in (tensors | old_buffers(model, case)).items()}
        if case.files == "bin":
            torch.save(tensors, folder / "pytorch_model.bin")
        else:
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "generation_config.json").unlink(missing_ok=True)
    write_configs(model, case, folder)


def write_configs(model, case, folder):
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = [type(model).__name__]
    if case.v4:
        return write_json(folder / "config.json", as_v4(config))
    write_json(folder / "config.json", config)
    write_json(folder / "config.v4.json", as_v4(config))
    write_json(folder / "config.minimal.json", minimal(config))


def minimal(config):
    """What is left when every key that the class would fill in alike is left out, as people do who write configurations."""
    left = {key: value for key, value in config.items() if key not in ("dtype", "architectures", "transformers_version")}
    meaning = AutoConfig.for_model(**left).to_dict()
    for key in sorted(left.keys() - {"model_type"}):
        without = {other: value for other, value in left.items() if other != key}
        if means(without) == meaning:
            left = without
    return left


def means(config):
    """The whole configuration, or None where the class refuses what is left of it."""
    try:
        return AutoConfig.for_model(**config).to_dict()
    except Exception:  # each class raises its own
        return None


def write_json(path, content):
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def load(folder, case, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=case.attention).eval()


def gradients(model, case, row):
    loss = cross_entropy(model(input_ids=row[None]).logits[0, :-1], row[1:])
    loss.backward()
    for p in model.parameters():
        p.data = torch.zeros_like(p) if p.grad is None else p.grad
    return {"loss": loss.detach()} | {f"grad.{name}": value for name, value in stored(model, case).items()}


def continuation(model, prompt):
    """`GREEDY` greedy tokens, and by how much each beat the second best."""
    ids, gaps = prompt[None], []
    for _ in range(GREEDY):
        with torch.no_grad():
            best = model(input_ids=ids).logits[0, -1].topk(2)
        gaps.append(best.values[0] - best.values[1])
        ids = torch.cat([ids, best.indices[None, :1]], 1)
    return ids[0, len(prompt) :], torch.stack(gaps)


def record(case, folder, random):
    """None if a greedy token was too close to call: then other rows are drawn."""
    ids = torch.randint(3, VOCABULARY, (2, max(case.rows)), generator=random)
    length = torch.tensor(case.rows)
    model = load(folder, case)
    runs = [continuation(model, row[:n]) for row, n in zip(ids, case.prompts)]
    if min(gaps.min() for _, gaps in runs) < LEAST_GAP:
        return None
    logits = logits_of(model, ids, length)
    real = torch.arange(ids.shape[1]) < length[:, None]
    error = (logits_of(load(folder, case, torch.bfloat16), ids, length) - logits).abs()[real].mean()
    return {
        "input_ids": ids,
        "length": length,
        "logits": logits,
        "greedy.prompt_length": torch.tensor(case.prompts),
        "greedy.ids": torch.stack([tokens for tokens, _ in runs]),
        "greedy.gap": torch.stack([gaps for _, gaps in runs]),
        "bf16_error": error,
        **gradients(model, case, ids[0]),
    }


def first_clear(case, folder, random):
    for _ in range(20):
        expected = record(case, folder, random)
        if expected is not None:
            return expected
    raise SystemExit(f"{folder.name}: no rows whose greedy tokens are clear; its logits lie too close together")


def check_v4(case, folder, expected):
    """The old spelling of the configuration must mean the same. Version 4 gives `rope_theta` to all layers of olmo 3; 5.24 only to full attention."""
    if case.v4 or case.model_type == "olmo3":
        return
    with tempfile.TemporaryDirectory() as copied:
        shutil.copytree(folder, copied, dirs_exist_ok=True)
        shutil.copy(folder / "config.v4.json", Path(copied) / "config.json")
        logits = logits_of(load(copied, case), expected["input_ids"], expected["length"])
    assert torch.equal(logits, expected["logits"]), "config.v4.json means something else"


def write_expected(expected, folder):
    save_file({name: value.contiguous() for name, value in expected.items()}, folder / "expected.safetensors")


def main(names):
    for name in names or CASES:
        case, folder = CASES[name], FOLDER / name
        torch.manual_seed(7)
        random = torch.Generator().manual_seed(5)
        write_model(build(case, random), case, folder)
        expected = first_clear(case, folder, random)
        check_v4(case, folder, expected)
        write_expected(expected, folder)
        size = sum(file.stat().st_size for file in folder.iterdir())
        spread = expected["logits"][0].std()
        print(f"{name:24s} std {spread:.2f} loss {expected['loss']:.3f} bf16 {expected['bf16_error']:.4f} {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(sys.argv[1:])
