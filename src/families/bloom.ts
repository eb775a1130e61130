/** BLOOM (Scao et al. 2022): ALiBi instead of positions, and a norm after the embedding. */
import * as z from 'zod';
import { alibiSlopes, architecture, layerNorm } from './architecture.ts';
import { count, epsilon, flag, width } from './config-fields.ts';
import { ALL_BIASES } from './gpt2.ts';
import { hfFamily } from './hugging-face.ts';
import type { StoredNames } from './stored-names.ts';

/** Names of BLOOM and Falcon. */
export const BLOOM_NAMES: StoredNames = {
  layers: 'h',
  norms: { norm: 'input_layernorm', ff_norm: 'post_attention_layernorm' },
  linears: {
    'self_attention.query_key_value': ['query', 'key', 'value'],
    'self_attention.dense': ['output'],
    'mlp.dense_h_to_4h': ['up'],
    'mlp.dense_4h_to_h': ['down'],
  },
  outside: {
    token_embedding: 'word_embeddings',
    embedding_norm: 'word_embeddings_layernorm',
    norm: 'ln_f',
    head: 'lm_head',
  },
};

export const bloom = hfFamily({
  modelTypes: ['bloom'],
  prefixes: ['transformer.', ''],
  loraTargets: ['query_key_value'],
  names: BLOOM_NAMES,
  schema: z.strictObject({
    vocab_size: width(250_880),
    hidden_size: width(64),
    n_layer: count(2),
    n_head: count(8),
    layer_norm_epsilon: epsilon(1e-5),
    apply_residual_connection_post_layernorm: flag(false),
    tie_word_embeddings: flag(true),
  }),
  spellings: { n_embed: 'hidden_size', num_hidden_layers: 'n_layer', num_attention_heads: 'n_head' },
  harmless: [
    ...['slow_but_exact', 'seq_length', 'attention_softmax_in_fp32', 'masked_softmax_fusion', 'offset_alibi'],
    ...['skip_bias_add', 'skip_bias_add_qkv', 'bias_dropout_fusion'],
  ],
  orders: ({ heads: groups, dimHead: width }) => ({
    'self_attention.query_key_value': { kind: 'groups', groups, queries: 1, width },
  }),
  describe: (config) =>
    architecture({
      numTokens: config.vocab_size,
      dim: config.hidden_size,
      depth: config.n_layer,
      heads: config.n_head,
      dimHead: Math.floor(config.hidden_size / config.n_head),
      ff: 4 * config.hidden_size,
      norm: layerNorm(config.layer_norm_epsilon),
      activation: 'geluTanh',
      tied: config.tie_word_embeddings,
      alibi: alibiSlopes(config.n_head),
      embeddingNorm: true,
      residualFromNorm: config.apply_residual_connection_post_layernorm,
      ...ALL_BIASES,
    }),
});
