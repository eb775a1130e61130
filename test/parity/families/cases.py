"""The configurations that record.py records: name → Case. Each shows something that the others do not; README.md says what.

Widths are small and awkward on purpose: six heads on two keys (so that repeating keys in the wrong order shows), heads whose widths
do not add up to the model's, head counts that are no power of two, at least two rotary pairs (with one, both layouts agree).
"""

from dataclasses import dataclass

VOCABULARY = 71


@dataclass
class Case:
    model_type: str
    options: dict
    attention: str = "sdpa"  # 'eager' where transformers has no other
    dtype: str = "float32"  # of the stored numbers
    files: str = "one"  # 'one', 'sharded' (with an index) or 'bin' (pytorch_model.bin)
    embedding: float = 1.0  # factor on the embeddings: near zero, the eps of the norms counts
    rows: tuple = (23, 16)  # tokens of the two rows
    prompts: tuple = (7, 4)  # lengths of the prompts that greedy decoding continues
    names: str = "stored"  # 'bare': without the prefix; 'both': head and embedding, equal; 'apart': both, different
    buffers: bool = False  # adds attention masks, as files of old versions have them
    v4: bool = False  # config.json in the spelling of transformers 4


def gpt(**options):
    return {**dict(vocab_size=VOCABULARY, n_embd=24, n_layer=2, n_head=6, n_positions=64), **options}


def base(**options):
    sizes = dict(vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=2, num_attention_heads=6, max_position_embeddings=64)
    return {**sizes, **options}


def llama(**options):
    return base(**{**dict(intermediate_size=40, num_key_value_heads=2), **options})


def wide(**options):
    """Heads of 8, so that half of them can turn and the rest stay."""
    return llama(**{**dict(hidden_size=32, num_attention_heads=4), **options})


def falcon_rw(**options):
    features = dict(multi_query=False, parallel_attn=False, alibi=True, bias=True)
    return base(**{**dict(num_hidden_layers=1, ffn_hidden_size=40), **features, **options})


def rope(rope_type, rope_theta=10000.0, **options):
    return dict(rope_parameters=dict(rope_type=rope_type, rope_theta=rope_theta, **options))


SPECIAL = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
LONGROPE = dict(
    **wide(num_hidden_layers=1, **SPECIAL, original_max_position_embeddings=32),
    **rope("longrope", short_factor=[1.0, 1.5, 2.0, 3.0], long_factor=[2.0, 3.0, 5.0, 7.0]),
)
GEMMA3_ROPES = dict(
    full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
    sliding_attention=dict(rope_type="default", rope_theta=1e4),
)

CASES = {
    "llama": Case("llama", llama(head_dim=6)),
    "gpt2": Case("gpt2", gpt()),
    "qwen2": Case("qwen2", llama(use_sliding_window=True, sliding_window=5, max_window_layers=1), dtype="bfloat16"),
    "qwen3": Case("qwen3", llama(head_dim=6, tie_word_embeddings=True)),
    "neox": Case("gpt_neox", base(num_attention_heads=3, intermediate_size=40, **rope("default", partial_rotary_factor=0.5))),
    "llama-biases": Case("llama", llama(num_hidden_layers=1, attention_bias=True, mlp_bias=True, head_dim=10, tie_word_embeddings=True)),
    "llama-linear": Case("llama", llama(num_hidden_layers=1, **rope("linear", factor=4.0))),
    "llama-llama3": Case(
        "llama",
        llama(
            num_hidden_layers=1,
            num_attention_heads=4,
            head_dim=16,
            **rope("llama3", 500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32),
        ),
    ),
    "llama-yarn": Case(
        "llama",
        llama(
            num_hidden_layers=1,
            head_dim=16,
            num_attention_heads=4,
            max_position_embeddings=256,
            **rope("yarn", 50.0, factor=4.0, original_max_position_embeddings=64),
        ),
    ),
    "llama-yarn-untruncated": Case(
        "llama",
        llama(
            num_hidden_layers=1,
            head_dim=16,
            num_attention_heads=4,
            max_position_embeddings=256,
            **rope("yarn", 50.0, factor=4.0, original_max_position_embeddings=64, beta_fast=4.0, truncate=False, mscale=1.0, mscale_all_dim=0.5),
        ),
    ),
    "llama-dynamic": Case("llama", llama(num_hidden_layers=1, **rope("dynamic", factor=2.0))),
    "llama-tiny-embedding": Case("llama", llama(head_dim=6, num_hidden_layers=1, rms_norm_eps=1e-5), embedding=0.01),
    "llama-v4": Case("llama", llama(num_hidden_layers=1, tie_word_embeddings=True, **rope("default", 500.0)), v4=True, dtype="float16"),
    "llama-both-names": Case("llama", llama(num_hidden_layers=1, tie_word_embeddings=True), names="both"),
    "llama-sharded": Case("llama", llama(head_dim=6, num_hidden_layers=1), files="sharded", dtype="bfloat16"),
    "mistral": Case("mistral", llama(head_dim=6, sliding_window=5), dtype="bfloat16"),
    "smollm3": Case("smollm3", llama(num_hidden_layers=3, no_rope_layer_interval=2, **SPECIAL), dtype="bfloat16"),
    "gpt2-scaled": Case("gpt2", gpt(n_inner=40, scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True)),
    "gpt2-unscaled": Case("gpt2", gpt(n_inner=40, scale_attn_weights=False, n_layer=1)),
    "gpt2-untied": Case("gpt2", gpt(n_inner=40, n_layer=1, tie_word_embeddings=False)),
    "gpt2-apart": Case("gpt2", gpt(n_inner=40, n_layer=1), names="apart"),
    "gpt2-bare-names": Case("gpt2", gpt(n_inner=40, n_layer=1, n_positions=32), names="bare", buffers=True),
    "gpt2-tiny-embedding": Case("gpt2", gpt(n_inner=40, n_layer=1), embedding=0.01),
    "gptj": Case("gptj", gpt(n_head=3, n_inner=40, rotary_dim=4)),
    "gptj-whole-heads": Case("gptj", gpt(n_head=2, n_inner=40, n_layer=1, rotary_dim=12), dtype="float16"),
    "neox-sequential": Case(
        "gpt_neox",
        base(
            num_hidden_layers=1,
            intermediate_size=40,
            use_parallel_residual=False,
            attention_bias=False,
            hidden_act="gelu_new",
            **rope("default", 5000.0, partial_rotary_factor=1.0),
        ),
    ),
    "opt": Case("opt", base(ffn_dim=40, max_position_embeddings=23), prompts=(11, 8)),
    "opt-350m": Case("opt", base(ffn_dim=40, do_layer_norm_before=False, word_embed_proj_dim=12), names="bare", files="bin", dtype="float16"),
    "bloom": Case("bloom", dict(vocab_size=VOCABULARY, hidden_size=24, n_layer=2, n_head=6), "eager", dtype="float16"),
    "bloom-residual-of-norm": Case(
        "bloom",
        dict(vocab_size=VOCABULARY, hidden_size=24, n_layer=1, n_head=8, apply_residual_connection_post_layernorm=True),
        "eager",
        names="bare",
    ),
    "gpt-neo": Case(
        "gpt_neo",
        dict(
            vocab_size=VOCABULARY,
            hidden_size=24,
            num_layers=2,
            num_heads=6,
            intermediate_size=40,
            max_position_embeddings=64,
            attention_types=[[["global", "local"], 1]],
            window_size=5,
        ),
        "eager",
    ),
    "bigcode": Case("gpt_bigcode", gpt(n_inner=40)),
    "bigcode-many-keys": Case("gpt_bigcode", gpt(n_inner=40, n_layer=1, multi_query=False)),
    "falcon-7b": Case("falcon", base(), dtype="bfloat16"),
    "falcon-40b": Case("falcon", base(ffn_hidden_size=40, new_decoder_architecture=True, num_kv_heads=2)),
    "falcon-11b": Case(
        "falcon", base(num_hidden_layers=1, ffn_hidden_size=40, new_decoder_architecture=True, num_kv_heads=3, num_ln_in_parallel_attn=1), dtype="bfloat16"
    ),
    # transformers 5.24 adds alibi twice in eager attention. It computes slope x position in bfloat16: exact for 6 heads, not for 12.
    "falcon-rw": Case("falcon", falcon_rw()),
    "falcon-rw-rounded": Case("falcon", falcon_rw(hidden_size=36, num_attention_heads=12)),
    "gemma": Case("gemma", llama(head_dim=6, num_key_value_heads=1, num_attention_heads=5)),
    "gemma2": Case(
        "gemma2",
        llama(head_dim=6, query_pre_attn_scalar=20, sliding_window=5, attn_logit_softcapping=0.5, final_logit_softcapping=2.0),
        "eager",
        dtype="bfloat16",
    ),
    "gemma3": Case(
        "gemma3_text",
        llama(
            head_dim=6,
            query_pre_attn_scalar=20,
            sliding_window=5,
            num_hidden_layers=2,
            sliding_window_pattern=2,
            rope_parameters=GEMMA3_ROPES,
        ),
        dtype="bfloat16",
    ),
    "phi": Case("phi", wide(qk_layernorm=True), dtype="float16"),
    "phi3": Case("phi3", llama(sliding_window=5, **SPECIAL), dtype="bfloat16"),
    "phi3-partial": Case(
        "phi3", wide(num_hidden_layers=1, tie_word_embeddings=True, **SPECIAL, **rope("default", partial_rotary_factor=0.75))
    ),
    "phi3-longrope-short": Case("phi3", LONGROPE, dtype="bfloat16"),
    "phi3-longrope-long": Case("phi3", LONGROPE, dtype="bfloat16", rows=(40, 34), prompts=(36, 33)),
    "olmo": Case("olmo", llama(clip_qkv=0.5, **SPECIAL)),
    "olmo2": Case("olmo2", llama(**SPECIAL), dtype="bfloat16"),
    "olmo3": Case(
        "olmo3",
        llama(
            sliding_window=5,
            num_hidden_layers=3,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            **SPECIAL,
            rope_parameters=dict(
                full_attention=dict(rope_type="yarn", rope_theta=50.0, factor=4.0, original_max_position_embeddings=16),
                sliding_attention=dict(rope_type="default", rope_theta=50.0),
            ),
        ),
        dtype="bfloat16",
    ),
    "stablelm": Case(
        "stablelm", wide(use_qkv_bias=True, **rope("default", partial_rotary_factor=0.5)), dtype="bfloat16"
    ),
    "stablelm-parallel": Case(
        "stablelm",
        wide(num_hidden_layers=1, use_parallel_residual=True, qk_layernorm=True, **rope("default", partial_rotary_factor=0.5)),
        dtype="bfloat16",
    ),
    "starcoder2": Case("starcoder2", llama(sliding_window=5), dtype="bfloat16"),
    "cohere": Case("cohere", llama(**SPECIAL)),
    "cohere-qk-norm": Case("cohere", llama(use_qk_norm=True, num_hidden_layers=1, **SPECIAL), dtype="float16"),
    "granite": Case(
        "granite",
        llama(embedding_multiplier=3.0, residual_multiplier=0.4, logits_scaling=2.0, attention_multiplier=0.2),
        dtype="bfloat16",
    ),
}
