"""What check_export.py and check_peft.py share: the logits of a loaded model against recorded ones."""

import sys

import torch
from safetensors.torch import load_file

TOLERANCE = 1e-5  # times the standard deviation of the logits, if that is above 1


def compare(model, expected_file, tolerance=TOLERANCE):
    """Prints the largest difference; ends the process with 1 if it is above `tolerance` times that deviation."""
    expected = load_file(expected_file)
    ids, length, logits = expected["input_ids"], expected["length"], expected["logits"]
    mask = torch.arange(ids.shape[1]) < length[:, None]
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask.long()).logits.float()
    error = (found - logits).abs()[mask].max().item()
    allowed = float(tolerance) * max(1.0, logits[mask].std().item())
    print(f"{'equal' if error <= allowed else 'DIFFERENT'}: logits differ by {error:.1e} at most, {allowed:.1e} is allowed")
    sys.exit(0 if error <= allowed else 1)
