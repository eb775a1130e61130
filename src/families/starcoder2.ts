/** StarCoder 2 (Lozhkov et al. 2024): LayerNorm, a plain feed-forward, biases, and a window in every layer. */
import * as z from 'zod';
import { layerNorm } from './architecture.ts';
import { epsilon, flag, window } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { headWidth, LLAMA_NAMES, llamaKeys, llamaLike, windowed } from './llama-like.ts';
import { ropeOf } from './rope.ts';
import type { StoredNames } from './stored-names.ts';

const { 'mlp.gate_proj': _gate, 'mlp.up_proj': _up, 'mlp.down_proj': _down, ...attention } = LLAMA_NAMES.linears;
const NAMES: StoredNames = { ...LLAMA_NAMES, linears: { ...attention, 'mlp.c_fc': ['up'], 'mlp.c_proj': ['down'] } };

export const starcoder2 = hfFamily({
  modelTypes: ['starcoder2'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: NAMES,
  schema: z.strictObject({
    ...llamaKeys({
      vocab: 49_152,
      dim: 3072,
      ff: 12_288,
      depth: 30,
      heads: 24,
      kv: 2,
      act: 'gelu_pytorch_tanh',
      tied: true,
    }),
    norm_epsilon: epsilon(1e-5),
    use_bias: flag(true),
    sliding_window: window(null),
  }),
  fixed: { norm_type: ['layer_norm'], mlp_type: ['default'] },
  describe: (config, longest) =>
    llamaLike(config, {
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 10_000, longest })],
      norm: layerNorm(config.norm_epsilon),
      gated: false,
      layers: windowed(config, config.sliding_window),
      qkvBias: config.use_bias,
      outputBias: config.use_bias,
      ffBias: config.use_bias,
    }),
});
