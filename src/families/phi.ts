/** Phi 1, 1.5 and 2 (Gunasekar et al. 2023): parallel blocks with one norm, biases everywhere, half of each head turns. */
import * as z from 'zod';
import { layerNorm } from './architecture.ts';
import { epsilon, flag } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { headWidth, LLAMA_NAMES, llamaKeys, llamaLike } from './llama-like.ts';
import { ropeOf } from './rope.ts';
import type { StoredNames } from './stored-names.ts';

const NAMES: StoredNames = {
  layers: 'layers',
  norms: { norm: 'input_layernorm', query_scale: 'self_attn.q_layernorm', key_scale: 'self_attn.k_layernorm' },
  linears: {
    'self_attn.q_proj': ['query'],
    'self_attn.k_proj': ['key'],
    'self_attn.v_proj': ['value'],
    'self_attn.dense': ['output'],
    'mlp.fc1': ['up'],
    'mlp.fc2': ['down'],
  },
  outside: { ...LLAMA_NAMES.outside, norm: 'final_layernorm' },
};

export const phi = hfFamily({
  modelTypes: ['phi'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj', 'fc1', 'fc2'],
  names: NAMES,
  schema: z.strictObject({
    ...llamaKeys({ vocab: 51_200, dim: 2048, ff: 8192, depth: 24, heads: 32, act: 'gelu_new' }),
    layer_norm_eps: epsilon(1e-5),
    qk_layernorm: flag(false),
  }),
  describe: (config, longest) =>
    llamaLike(config, {
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 10_000, partial: 0.5, longest })],
      norm: layerNorm(config.layer_norm_eps),
      qkNorm: config.qk_layernorm ? { over: 'head', norm: layerNorm(config.layer_norm_eps) } : undefined,
      ...{ gated: false, parallel: true, sharedNorm: true },
      ...{ qkvBias: true, outputBias: true, ffBias: true, headBias: true },
    }),
});
