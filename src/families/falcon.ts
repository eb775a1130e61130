/** Falcon (Almazrouei et al. 2023): parallel blocks with one norm or two; Falcon-RW is sequential and has ALiBi. */
import * as z from 'zod';
import { alibiSlopes, architecture, bfloat16, layerNorm } from './architecture.ts';
import { BLOOM_NAMES } from './bloom.ts';
import { activation, count, epsilon, flag, optionalWidth, width } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { ROPE_KEYS, ropeOf } from './rope.ts';

export const falcon = hfFamily({
  modelTypes: ['falcon'],
  prefixes: ['transformer.', ''],
  loraTargets: ['query_key_value'],
  names: BLOOM_NAMES,
  schema: z.strictObject({
    ...ROPE_KEYS,
    vocab_size: width(65_024),
    hidden_size: width(4544),
    num_hidden_layers: count(32),
    num_attention_heads: count(71),
    num_kv_heads: optionalWidth,
    ffn_hidden_size: optionalWidth,
    activation: activation('gelu'),
    layer_norm_epsilon: epsilon(1e-5),
    new_decoder_architecture: flag(false),
    multi_query: flag(true),
    parallel_attn: flag(true),
    num_ln_in_parallel_attn: z.int().min(1).max(2).nullish(),
    alibi: flag(false),
    bias: flag(false),
    tie_word_embeddings: flag(true),
  }),
  fixed: { apply_residual_connection_post_layernorm: [false] },
  orders: ({ heads, kvHeads: groups, dimHead: width }) => ({
    'self_attention.query_key_value': { kind: 'groups', groups, queries: heads / groups, width },
  }),
  instead: (place, { parallel, sharedNorm }) => {
    if (!parallel || sharedNorm) return [place];
    const name = place.name.replace('input_layernorm', 'ln_attn').replace('post_attention_layernorm', 'ln_mlp');
    return [{ ...place, name }];
  },
  describe: (config, longest) => {
    const { hidden_size: dim, num_attention_heads: heads, new_decoder_architecture: grouped, bias } = config;
    const dimHead = Math.floor(dim / heads);
    const parallel = config.parallel_attn || grouped;
    const twoNorms = grouped && (config.num_ln_in_parallel_attn ?? 2) === 2;
    return architecture({
      ...{ numTokens: config.vocab_size, dim, depth: config.num_hidden_layers, heads, dimHead },
      kvHeads: grouped ? (config.num_kv_heads ?? heads) : config.multi_query ? 1 : heads,
      ff: config.ffn_hidden_size ?? 4 * dim,
      norm: layerNorm(config.layer_norm_epsilon),
      activation: config.activation,
      tied: config.tie_word_embeddings,
      ...{ parallel, sharedNorm: parallel && !twoNorms, qkvBias: bias, outputBias: bias, ffBias: bias },
      ropes: config.alibi ? [] : [ropeOf(config, { dimHead, theta: 10_000, longest })],
      alibi: config.alibi ? alibiSlopes(heads).map(bfloat16) : [],
      alibiRounded: config.alibi,
    });
  },
});
