/** Mistral (Jiang et al. 2023): Llama with a window in every layer. */
import * as z from 'zod';
import { epsilon, window } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { headWidth, LLAMA_NAMES, llamaKeys, llamaLike, windowed } from './llama-like.ts';
import { ropeOf } from './rope.ts';

export const mistral = hfFamily({
  modelTypes: ['mistral'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: LLAMA_NAMES,
  schema: z.strictObject({
    ...llamaKeys({ vocab: 32_000, dim: 4096, ff: 14_336, depth: 32, heads: 32, kv: 8 }),
    rms_norm_eps: epsilon(1e-6),
    sliding_window: window(4096),
  }),
  fixed: { attention_bias: [false] },
  describe: (config, longest) =>
    llamaLike(config, {
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 10_000, longest })],
      layers: windowed(config, config.sliding_window),
    }),
});
