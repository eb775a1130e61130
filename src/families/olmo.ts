/** OLMo (Groeneveld et al. 2024): norms without weights, and queries, keys and values that can be clamped. */
import * as z from 'zod';
import { layerNorm } from './architecture.ts';
import { hfFamily } from './hugging-face.ts';
import { attentionBias, headWidth, LLAMA_NAMES, llamaKeys, llamaLike } from './llama-like.ts';
import { ropeOf } from './rope.ts';

export const olmo = hfFamily({
  modelTypes: ['olmo'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: LLAMA_NAMES,
  schema: z.strictObject({
    ...llamaKeys({ vocab: 50_304, dim: 4096, ff: 11_008, depth: 32, heads: 32 }),
    ...attentionBias,
    clip_qkv: z.number().gt(0).nullish(),
  }),
  describe: (config, longest) =>
    llamaLike(config, {
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 10_000, longest })],
      norm: layerNorm(1e-5, { weight: false, bias: false }),
      clipQkv: config.clip_qkv ?? undefined,
      qkvBias: config.attention_bias,
      outputBias: config.attention_bias,
    }),
});
