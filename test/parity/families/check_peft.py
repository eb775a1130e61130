"""Loads an adapter that palm-rlhf exported with peft, and compares logits.

    python test/parity/families/check_peft.py BASE ADAPTER EXPECTED [TOLERANCE]

BASE is the folder of the model the adapter was made for, ADAPTER the exported folder (adapter_config.json and
adapter_model.safetensors), EXPECTED a safetensors file with input_ids [2, T], length [2] and logits [2, T, V]: expected.safetensors
of a case of adapters/ that was loaded and exported, or what palm-rlhf computed. TOLERANCE is that of compare.py if it is
not given; the float32 sums of a real model with dozens of layers need more. Tensors that peft does not find, or does not know,
count as errors, too.
"""

import sys
import warnings

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from compare import compare


def main(base, adapter, expected, *tolerance):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    # peft warns about keys of the file that it misses, and about those that it does not know
    warnings.filterwarnings("error", message=".*(missing|unexpected|[Uu]nknown).*")
    compare(PeftModel.from_pretrained(model, adapter).eval(), expected, *tolerance)


main(*sys.argv[1:])
