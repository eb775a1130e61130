/** Qwen 3 (Yang et al. 2025): the queries and keys of every head are normed before they turn. */
import * as z from 'zod';
import { rmsNorm } from './architecture.ts';
import { epsilon, optionalWidth } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { attentionBias, headWidth, LLAMA_NAMES, llamaKeys, llamaLike } from './llama-like.ts';
import { qwenLayers, windowKeys } from './qwen2.ts';
import { ropeOf } from './rope.ts';

export const qwen3 = hfFamily({
  modelTypes: ['qwen3'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: LLAMA_NAMES,
  schema: z.strictObject({
    ...llamaKeys({ vocab: 151_936, dim: 4096, ff: 22_016, depth: 32, heads: 32, kv: 32 }),
    ...attentionBias,
    ...windowKeys,
    head_dim: optionalWidth.default(128),
    rms_norm_eps: epsilon(1e-6),
  }),
  describe: (config, longest) =>
    llamaLike(config, {
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 10_000, longest })],
      layers: qwenLayers(config),
      qkNorm: { over: 'head', norm: rmsNorm(config.rms_norm_eps) },
      qkvBias: config.attention_bias,
      outputBias: config.attention_bias,
    }),
});
