"""Writes a GGUF file: a Llama with random F16 weights, of as many elements as the PaLM described by argv[2] as JSON."""

import json
import sys

import gguf
import numpy


def add_vocabulary(writer, size):
    """Byte tokens: llama.cpp wants some vocabulary, though only token numbers go in and out."""
    writer.add_tokenizer_model('llama')
    writer.add_token_list([f'<0x{token:02X}>' for token in range(size)])
    writer.add_token_scores([0.0] * size)
    writer.add_token_types([gguf.TokenType.BYTE] * size)


def main(path, model):
    dim, depth, heads, head, ff = model['dim'], model['depth'], model['heads'], model['dimHead'], 4 * model['dim']
    writer = gguf.GGUFWriter(path, 'llama')
    writer.add_vocab_size(model['numTokens'])
    writer.add_context_length(4096)
    writer.add_embedding_length(dim)
    writer.add_block_count(depth)
    writer.add_feed_forward_length(ff)
    writer.add_head_count(heads)
    writer.add_head_count_kv(1)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    add_vocabulary(writer, model['numTokens'])
    random = numpy.random.default_rng(0)
    matrices = {'attn_q': (heads * head, dim), 'attn_k': (head, dim), 'attn_v': (head, dim), 'attn_output': (dim, heads * head)}
    matrices |= {'ffn_gate': (ff, dim), 'ffn_up': (ff, dim), 'ffn_down': (dim, ff)}
    tensors = {'token_embd': (model['numTokens'], dim), 'output_norm': (dim,)}
    for layer in range(depth):
        tensors |= {f'blk.{layer}.{name}': shape for name, shape in matrices.items()}
        tensors |= {f'blk.{layer}.{name}': (dim,) for name in ('attn_norm', 'ffn_norm')}
    for name, shape in tensors.items():
        if len(shape) == 1:
            values = numpy.ones(shape, 'float32')
        else:
            values = (0.02 * random.standard_normal(shape)).astype('float16')
        writer.add_tensor(f'{name}.weight', values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(sys.argv[1], json.loads(sys.argv[2]))
