/** Models of Hugging Face families with random weights, for the checks on a GPU: with the heads that real ones have. */
import { LanguageModel } from '../dist/index.js';
import { addon, handleOf, hfEntry } from '../dist/internal.js';

const WIDTH = { hidden_size: 128, intermediate_size: 256, num_hidden_layers: 2, vocab_size: 97 };
const heads = (query, keys, width) => ({
  num_attention_heads: query,
  num_key_value_heads: keys,
  head_dim: width,
});

/** config.json of small models, by what each has that the others have not. */
export const SMALL = {
  'llama, groups of three': { model_type: 'llama', ...WIDTH, ...heads(9, 3, 64), hidden_size: 576 },
  'mistral, a window': { model_type: 'mistral', ...WIDTH, ...heads(8, 2, 128), sliding_window: 100 },
  'qwen2, biases': { model_type: 'qwen2', ...WIDTH, ...heads(14, 2, 64), hidden_size: 896 },
  'qwen3, norms of queries': { model_type: 'qwen3', ...WIDTH, ...heads(16, 8, 128) },
  'gemma, heads of 256': { model_type: 'gemma', ...WIDTH, ...heads(8, 1, 256) },
  'gemma2, soft caps and norms on both sides': {
    ...{ model_type: 'gemma2', ...WIDTH, ...heads(8, 4, 256), sliding_window: 100, query_pre_attn_scalar: 256 },
  },
  'gpt2, learned positions': { model_type: 'gpt2', n_embd: 128, n_layer: 2, n_head: 2, vocab_size: 97 },
  'phi3, heads that turn partly': {
    ...{
      model_type: 'phi3',
      ...WIDTH,
      num_attention_heads: 4,
      num_key_value_heads: 4,
      hidden_size: 384,
      pad_token_id: 0,
    },
    partial_rotary_factor: 0.75,
  },
  'bloom, alibi': { model_type: 'bloom', hidden_size: 256, n_layer: 2, n_head: 4, vocab_size: 97 },
};

/** SmolLM2-135M. */
export const SMOLLM2 = {
  ...{ model_type: 'llama', vocab_size: 49152, hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30 },
  ...{ ...heads(9, 3, 64), rope_theta: 100000, tie_word_embeddings: true, max_position_embeddings: 8192 },
};

/** A model that config.json describes. */
export async function modelOf(json, { dtype, device, seed = 3 }) {
  const { family } = hfEntry(json.model_type);
  const model = LanguageModel.of(family, family.resolve({ text: JSON.stringify(json), dtype, device }), []);
  await addon().modelInitialise(handleOf(model), seed);
  return model;
}
