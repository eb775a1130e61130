/** SmolLM 3: Llama in which some layers have no positions. */
import * as z from 'zod';
import { epsilon, flag, layerTypes, MAX_COUNT, width, window } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { attentionBias, byKind, headWidth, kindsOf, LLAMA_NAMES, llamaKeys, llamaLike } from './llama-like.ts';
import { ropeOf } from './rope.ts';

export const smollm3 = hfFamily({
  modelTypes: ['smollm3'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: LLAMA_NAMES,
  schema: z.strictObject({
    ...llamaKeys({ vocab: 128_256, dim: 2048, ff: 11_008, depth: 36, heads: 16, kv: 4, tied: true }),
    ...attentionBias,
    rms_norm_eps: epsilon(1e-6),
    mlp_bias: flag(false),
    use_sliding_window: flag(false),
    sliding_window: window(null),
    no_rope_layers: z.array(z.int().min(0).max(1)).max(MAX_COUNT).nullish(),
    no_rope_layer_interval: width(4),
    layer_types: layerTypes,
  }),
  harmless: ['max_window_layers'],
  describe: (config, longest) => {
    const turns = (layer: number) =>
      config.no_rope_layers ? config.no_rope_layers[layer] !== 0 : (layer + 1) % config.no_rope_layer_interval !== 0;
    const sliding = config.use_sliding_window ? config.sliding_window : null;
    const kinds = kindsOf(config, (layer) => sliding !== null && !turns(layer));
    return llamaLike(config, {
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 2_000_000, longest })],
      layers: byKind(config, kinds, sliding).map((layer, i) => (turns(i) ? layer : { ...layer, rope: -1 })),
      qkvBias: config.attention_bias,
      outputBias: config.attention_bias,
      ffBias: config.mlp_bias,
    });
  },
});
