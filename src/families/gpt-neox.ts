/** GPT-NeoX and Pythia (Black et al. 2022): parallel blocks with two norms, or sequential ones; a quarter of each head turns. */
import * as z from 'zod';
import { architecture, layerNorm } from './architecture.ts';
import { activation, count, epsilon, flag, width } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { ROPE_KEYS, ropeOf } from './rope.ts';
import type { StoredNames } from './stored-names.ts';

const NAMES: StoredNames = {
  layers: 'layers',
  norms: { norm: 'input_layernorm', ff_norm: 'post_attention_layernorm' },
  linears: {
    'attention.query_key_value': ['query', 'key', 'value'],
    'attention.dense': ['output'],
    'mlp.dense_h_to_4h': ['up'],
    'mlp.dense_4h_to_h': ['down'],
  },
  outside: { token_embedding: 'embed_in', norm: 'final_layer_norm', head: 'embed_out' },
};

export const gptNeox = hfFamily({
  modelTypes: ['gpt_neox'],
  prefixes: ['gpt_neox.', ''],
  loraTargets: ['query_key_value'],
  names: NAMES,
  ignored: /\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/,
  schema: z.strictObject({
    ...ROPE_KEYS,
    vocab_size: width(50_432),
    hidden_size: width(6144),
    intermediate_size: width(24_576),
    num_hidden_layers: count(44),
    num_attention_heads: count(64),
    hidden_act: activation('gelu'),
    layer_norm_eps: epsilon(1e-5),
    rotary_emb_base: ROPE_KEYS.rope_theta,
    rotary_pct: ROPE_KEYS.partial_rotary_factor,
    use_parallel_residual: flag(true),
    attention_bias: flag(true),
    tie_word_embeddings: flag(false),
  }),
  orders: ({ heads: groups, dimHead: width }) => ({
    'attention.query_key_value': { kind: 'groups', groups, queries: 1, width },
  }),
  describe: (config, longest) => {
    const dimHead = Math.floor(config.hidden_size / config.num_attention_heads);
    const theta = config.rotary_emb_base ?? 10_000;
    return architecture({
      numTokens: config.vocab_size,
      dim: config.hidden_size,
      depth: config.num_hidden_layers,
      heads: config.num_attention_heads,
      dimHead,
      ff: config.intermediate_size,
      norm: layerNorm(config.layer_norm_eps),
      activation: config.hidden_act,
      tied: config.tie_word_embeddings,
      ropes: [ropeOf(config, { dimHead, theta, partial: config.rotary_pct ?? 0.25, longest })],
      parallel: config.use_parallel_residual,
      ...{ qkvBias: config.attention_bias, outputBias: config.attention_bias, ffBias: true },
    });
  },
});
