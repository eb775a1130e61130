/** GPT-Neo (Black et al. 2021): GPT-2 with unscaled scores, and a window in every other layer. */
import * as z from 'zod';
import { architecture, layerNorm, layers } from './architecture.ts';
import { activation, count, epsilon, flag, MAX_COUNT, optionalWidth, width } from './config-fields.ts';
import { GPT_NAMES } from './gpt2.ts';
import { hfFamily } from './hugging-face.ts';
import type { StoredNames } from './stored-names.ts';

const NAMES: StoredNames = {
  ...GPT_NAMES,
  linears: {
    'attn.attention.q_proj': ['query'],
    'attn.attention.k_proj': ['key'],
    'attn.attention.v_proj': ['value'],
    'attn.attention.out_proj': ['output'],
    'mlp.c_fc': ['up'],
    'mlp.c_proj': ['down'],
  },
};
const kinds = z.array(z.enum(['global', 'local'])).max(MAX_COUNT);
const attentionTypes = z
  .array(z.tuple([kinds, z.int().min(0).max(MAX_COUNT)]))
  .max(MAX_COUNT)
  .refine(
    (all) => all.reduce((sum, [pattern, times]) => sum + pattern.length * times, 0) <= MAX_COUNT,
    'too many layers',
  );

export const gptNeo = hfFamily({
  modelTypes: ['gpt_neo'],
  prefixes: ['transformer.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: NAMES,
  ignored: /\.attn\.attention\.(bias|masked_bias)$/,
  schema: z.strictObject({
    vocab_size: width(50_257),
    hidden_size: width(2048),
    intermediate_size: optionalWidth,
    num_layers: count(24),
    num_heads: count(16),
    max_position_embeddings: width(2048),
    attention_types: attentionTypes.nullish(),
    window_size: width(256),
    activation_function: activation('gelu_new'),
    layer_norm_epsilon: epsilon(1e-5),
    tie_word_embeddings: flag(true),
  }),
  spellings: { num_hidden_layers: 'num_layers', num_attention_heads: 'num_heads' },
  harmless: ['attention_layers'],
  describe: (config) => {
    const given = config.attention_types ?? [[['global', 'local'], 12] as const];
    const kinds = given.flatMap(([pattern, times]) => Array.from({ length: times }, () => pattern).flat());
    return architecture({
      numTokens: config.vocab_size,
      dim: config.hidden_size,
      depth: config.num_layers,
      heads: config.num_heads,
      dimHead: Math.floor(config.hidden_size / config.num_heads),
      ff: config.intermediate_size ?? 4 * config.hidden_size,
      norm: layerNorm(config.layer_norm_epsilon),
      activation: config.activation_function,
      tied: config.tie_word_embeddings,
      positions: { rows: config.max_position_embeddings, offset: 0 },
      layers: layers(kinds.length, (i) => ({
        window: kinds[i] === 'local' ? config.window_size : 0,
        rope: -1,
        scale: 1,
      })),
      ...{ outputBias: true, ffBias: true },
    });
  },
});
