/** OLMo 3 (Ai2 2025): OLMo 2 with a window in three of four layers; only layers without one have scaled positions. */
import * as z from 'zod';
import { layerTypes, window } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { byKind, headWidth, kindsOf, llamaLike, OUTPUT_NORM_NAMES } from './llama-like.ts';
import { olmo2Keys, olmo2Like } from './olmo2.ts';
import { describeRope, ROPE_KEYS_BY_KIND } from './rope.ts';

export const olmo3 = hfFamily({
  modelTypes: ['olmo3'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: OUTPUT_NORM_NAMES,
  schema: z.strictObject({
    ...olmo2Keys,
    ...ROPE_KEYS_BY_KIND,
    sliding_window: window(4096),
    layer_types: layerTypes,
  }),
  describe: (config, longest) => {
    const { rope_scaling: scaling, rope_parameters: given, ...rest } = config;
    const context = { dimHead: headWidth(config), theta: 500_000, longest };
    const kinds = kindsOf(config, (layer) => (layer + 1) % 4 !== 0);
    const layers = byKind(config, kinds, config.sliding_window);
    return llamaLike(config, {
      ...olmo2Like(config),
      ropes: [
        describeRope({ ...given?.full_attention, ...scaling }, rest, context),
        describeRope({ ...given?.sliding_attention }, rest, context),
      ],
      layers: layers.map((layer, i) => ({ ...layer, rope: kinds[i] === 'sliding_attention' ? 1 : 0 })),
    });
  },
});
