/** OPT (Zhang et al. 2022): learned positions from row 2 on; OPT-350m norms sums and has embeddings narrower than the model. */
import * as z from 'zod';
import { architecture, layerNorm } from './architecture.ts';
import { activation, count, flag, optionalWidth, width } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import type { StoredNames } from './stored-names.ts';

const NAMES: StoredNames = {
  layers: 'decoder.layers',
  norms: { norm: 'self_attn_layer_norm', ff_norm: 'final_layer_norm' },
  linears: {
    'self_attn.q_proj': ['query'],
    'self_attn.k_proj': ['key'],
    'self_attn.v_proj': ['value'],
    'self_attn.out_proj': ['output'],
    fc1: ['up'],
    fc2: ['down'],
  },
  outside: {
    token_embedding: 'decoder.embed_tokens',
    position_embedding: 'decoder.embed_positions',
    embedding_in: 'decoder.project_in',
    embedding_out: 'decoder.project_out',
    norm: 'decoder.final_layer_norm',
    head: 'lm_head',
  },
};

export const opt = hfFamily({
  modelTypes: ['opt'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: NAMES,
  schema: z.strictObject({
    vocab_size: width(50_272),
    hidden_size: width(768),
    num_hidden_layers: count(12),
    num_attention_heads: count(12),
    ffn_dim: width(3072),
    max_position_embeddings: width(2048),
    word_embed_proj_dim: optionalWidth,
    activation_function: activation('relu'),
    do_layer_norm_before: flag(true),
    _remove_final_layer_norm: flag(false),
    enable_bias: flag(true),
    layer_norm_elementwise_affine: flag(true),
    tie_word_embeddings: flag(true),
  }),
  describe: (config) => {
    const { hidden_size: dim, do_layer_norm_before: before, layer_norm_elementwise_affine: affine } = config;
    return architecture({
      numTokens: config.vocab_size,
      dim,
      depth: config.num_hidden_layers,
      heads: config.num_attention_heads,
      dimHead: Math.floor(dim / config.num_attention_heads),
      ff: config.ffn_dim,
      norm: layerNorm(1e-5, { weight: affine, bias: affine }),
      activation: config.activation_function,
      tied: config.tie_word_embeddings,
      form: before ? 'pre' : 'after',
      finalNorm: before && !config._remove_final_layer_norm,
      positions: { rows: config.max_position_embeddings + 2, offset: 2 },
      embeddingDim: config.word_embed_proj_dim ?? dim,
      ...{ qkvBias: config.enable_bias, outputBias: config.enable_bias, ffBias: config.enable_bias },
    });
  },
});
