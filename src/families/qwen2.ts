/** Qwen 2 and 2.5 (Yang et al. 2024): Llama with biases of queries, keys and values, and a window in the upper layers. */
import * as z from 'zod';
import { epsilon, flag, layerTypes, window } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { byKind, headWidth, kindsOf, LLAMA_NAMES, llamaKeys, llamaLike } from './llama-like.ts';
import { ropeOf } from './rope.ts';

/** Where the upper layers slide. */
export const windowKeys = {
  use_sliding_window: flag(false),
  sliding_window: window(4096),
  max_window_layers: z.int().min(0).default(28),
  layer_types: layerTypes,
};
const windows = z.object({ ...llamaKeys({ vocab: 1, dim: 1, ff: 1, depth: 1, heads: 1 }), ...windowKeys });

/** The layers of a Qwen: those from `max_window_layers` on slide. */
export function qwenLayers(config: z.output<typeof windows>) {
  const sliding = config.use_sliding_window ? config.sliding_window : null;
  const kinds = kindsOf(config, (layer) => sliding !== null && layer >= config.max_window_layers);
  return byKind(config, kinds, sliding);
}

export const qwen2 = hfFamily({
  modelTypes: ['qwen2'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: LLAMA_NAMES,
  schema: z.strictObject({
    ...llamaKeys({ vocab: 151_936, dim: 4096, ff: 22_016, depth: 32, heads: 32, kv: 32 }),
    ...windowKeys,
    rms_norm_eps: epsilon(1e-6),
  }),
  fixed: { use_mrope: [false], attention_bias: [true] },
  describe: (config, longest) =>
    llamaLike(config, {
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 10_000, longest })],
      layers: qwenLayers(config),
      qkvBias: true,
    }),
});
