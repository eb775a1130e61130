"""Loads a folder that palm-rlhf exported with transformers, and compares logits.

    python test/parity/families/check_export.py FOLDER EXPECTED

FOLDER is the export of a model (config.json and weights), EXPECTED a safetensors file with input_ids [2, T], length [2] and
logits [2, T, V]: expected.safetensors of the case that was loaded and exported, or what palm-rlhf computed from another model.
Weights that are missing, left over or of another shape count as errors, too.
"""

import re
import sys

import torch
from transformers import AutoModelForCausalLM

from compare import compare

OLD_BUFFER = re.compile(r"\.attn\.masked_bias$")  # of GPT-2 files from before transformers 4.20


def main(folder, expected):
    model, loading = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    wrong = {kind: left for kind, names in loading.items() if (left := [name for name in names if not OLD_BUFFER.search(str(name))])}
    if wrong:
        sys.exit(f"DIFFERENT: {wrong}")
    compare(model.eval(), expected)


main(*sys.argv[1:])
