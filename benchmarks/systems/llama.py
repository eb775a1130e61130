"""The models that systems train or run with transformers: one of others, or a Llama with as many matrix elements as a PaLM."""

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM


def build(workload, dtype):
    """The model of a workload, on its device."""
    if workload['model'].get('real'):
        return AutoModelForCausalLM.from_pretrained(workload['weights'], dtype=getattr(torch, dtype)).to(workload['device'])
    return llama(workload, dtype)


def llama(workload, dtype):
    """One key-value head and a feed-forward of 4 × dim: 14 dim² + 2 dim K elements a layer, as in a PaLM."""
    model = workload['model']
    config = LlamaConfig(
        vocab_size=model['numTokens'],
        hidden_size=model['dim'],
        num_hidden_layers=model['depth'],
        num_attention_heads=model['heads'],
        num_key_value_heads=1,
        head_dim=model['dimHead'],
        intermediate_size=4 * model['dim'],
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).to(workload['device'], getattr(torch, dtype))
