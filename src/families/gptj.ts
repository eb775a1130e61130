/** GPT-J (Wang and Komatsuzaki 2021): parallel blocks with one norm; neighbouring dimensions of a head turn together. */
import * as z from 'zod';
import { architecture } from './architecture.ts';
import { activation, count, flag, width } from './config-fields.ts';
import { GPT_MASKS, GPT_SPELLINGS, gptKeys, gptSizes } from './gpt2.ts';
import { hfFamily } from './hugging-face.ts';
import { ropeOf } from './rope.ts';
import type { StoredNames } from './stored-names.ts';

const NAMES: StoredNames = {
  layers: 'h',
  norms: { norm: 'ln_1' },
  linears: {
    'attn.q_proj': ['query'],
    'attn.k_proj': ['key'],
    'attn.v_proj': ['value'],
    'attn.out_proj': ['output'],
    'mlp.fc_in': ['up'],
    'mlp.fc_out': ['down'],
  },
  outside: { token_embedding: 'wte', norm: 'ln_f', head: 'lm_head' },
};

export const gptj = hfFamily({
  modelTypes: ['gptj'],
  prefixes: ['transformer.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: NAMES,
  ignored: GPT_MASKS,
  schema: z.strictObject({
    ...gptKeys,
    vocab_size: width(50_400),
    n_embd: width(4096),
    n_layer: count(28),
    n_head: count(16),
    rotary_dim: width(64),
    activation_function: activation('gelu_new'),
    tie_word_embeddings: flag(false),
  }),
  spellings: GPT_SPELLINGS,
  harmless: ['n_positions', 'n_ctx', 'rotary', 'scale_attn_weights'],
  orders: ({ dimHead: width, ropes }) => {
    const order = { kind: 'pairs', width, rotary: 2 * (ropes[0]?.inverseFrequency.length ?? 0) } as const;
    return { 'attn.q_proj': order, 'attn.k_proj': order };
  },
  describe: (config) => {
    const sizes = gptSizes(config);
    const partial = config.rotary_dim / sizes.dimHead;
    return architecture({
      ...{ ...sizes, activation: config.activation_function, tied: config.tie_word_embeddings },
      ...{ parallel: true, sharedNorm: true, ffBias: true, headBias: true },
      ropes: [ropeOf({}, { dimHead: sizes.dimHead, theta: 10_000, partial, longest: undefined })],
    });
  },
});
