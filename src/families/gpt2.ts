/** GPT-2 (Radford et al. 2019): learned positions, biases everywhere, matrices stored as [in, out]. */
import * as z from 'zod';
import { type Architecture, architecture, layerNorm, layers } from './architecture.ts';
import { activation, count, epsilon, flag, optionalWidth, width } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import type { StoredNames } from './stored-names.ts';

/** The sizes of GPT-2, GPT-J and GPT BigCode. */
export const gptKeys = {
  vocab_size: width(50_257),
  n_embd: width(768),
  n_layer: count(12),
  n_head: count(12),
  n_inner: optionalWidth,
  layer_norm_epsilon: epsilon(1e-5),
};
/** Other spellings of these keys. */
export const GPT_SPELLINGS = {
  hidden_size: 'n_embd',
  num_hidden_layers: 'n_layer',
  num_attention_heads: 'n_head',
  max_position_embeddings: 'n_positions',
};
const sizes = z.object(gptKeys);

/** The sizes of a description. */
export function gptSizes(config: z.output<typeof sizes>) {
  return {
    numTokens: config.vocab_size,
    dim: config.n_embd,
    depth: config.n_layer,
    heads: config.n_head,
    dimHead: Math.floor(config.n_embd / config.n_head),
    ff: config.n_inner ?? 4 * config.n_embd,
    norm: layerNorm(config.layer_norm_epsilon),
  };
}

/** Biases of all matrices. */
export const ALL_BIASES = { qkvBias: true, outputBias: true, ffBias: true } satisfies Partial<Architecture>;

/** Names of GPT-2 and GPT BigCode. */
export const GPT_NAMES: StoredNames = {
  layers: 'h',
  norms: { norm: 'ln_1', ff_norm: 'ln_2' },
  linears: {
    'attn.c_attn': ['query', 'key', 'value'],
    'attn.c_proj': ['output'],
    'mlp.c_fc': ['up'],
    'mlp.c_proj': ['down'],
  },
  outside: { token_embedding: 'wte', position_embedding: 'wpe', norm: 'ln_f', head: 'lm_head' },
};
/** Masks of attention in files of old versions. */
export const GPT_MASKS = /\.attn\.(bias|masked_bias)$/;

export const gpt2 = hfFamily({
  modelTypes: ['gpt2'],
  prefixes: ['transformer.', ''],
  loraTargets: ['c_attn'],
  names: GPT_NAMES,
  ignored: GPT_MASKS,
  schema: z.strictObject({
    ...gptKeys,
    n_positions: width(1024),
    activation_function: activation('gelu_new'),
    scale_attn_weights: flag(true),
    scale_attn_by_inverse_layer_idx: flag(false),
    tie_word_embeddings: flag(true),
  }),
  spellings: GPT_SPELLINGS,
  harmless: ['n_ctx', 'reorder_and_upcast_attn', 'predict_special_tokens'],
  orders: () => Object.fromEntries(Object.keys(GPT_NAMES.linears).map((name) => [name, 'transposed'])),
  describe: (config) => {
    const sizes = gptSizes(config);
    const scale = config.scale_attn_weights ? sizes.dimHead ** -0.5 : 1;
    const share = (layer: number) => (config.scale_attn_by_inverse_layer_idx ? scale / (layer + 1) : scale);
    return architecture({
      ...{ ...sizes, ...ALL_BIASES, activation: config.activation_function, tied: config.tie_word_embeddings },
      positions: { rows: config.n_positions, offset: 0 },
      layers: layers(sizes.depth, (layer) => ({ window: 0, rope: -1, scale: share(layer) })),
    });
  },
});
