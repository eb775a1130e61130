/** Cohere Command R: parallel blocks with one norm, neighbouring dimensions turn together, and scaled logits. */
import * as z from 'zod';
import { layerNorm } from './architecture.ts';
import { epsilon, factor, flag } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { attentionBias, headWidth, LLAMA_NAMES, llamaKeys, llamaLike } from './llama-like.ts';
import type { Place } from './place.ts';
import { ropeOf } from './rope.ts';

/** The norm of queries or keys has weights [heads, width] in the file, whose rows are the pairs of its heads. */
function paired(place: Place, width: number): Place {
  if (!/\.[qk]_norm\.weight$/.test(place.name)) return place;
  const order = { kind: 'pairs', width, rotary: width } as const;
  return { ...place, order, shape: [place.parts[0].length / width, width] };
}

export const cohere = hfFamily({
  modelTypes: ['cohere'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: LLAMA_NAMES,
  schema: z.strictObject({
    ...llamaKeys({ vocab: 256_000, dim: 8192, ff: 22_528, depth: 40, heads: 64, tied: true }),
    ...attentionBias,
    layer_norm_eps: epsilon(1e-5),
    logit_scale: factor(0.0625),
    use_qk_norm: flag(false),
  }),
  orders: ({ dimHead: width, ropes }) => {
    const order = { kind: 'pairs', width, rotary: 2 * (ropes[0]?.inverseFrequency.length ?? 0) } as const;
    return { 'self_attn.q_proj': order, 'self_attn.k_proj': order };
  },
  instead: (place, { dimHead }) => [paired(place, dimHead)],
  describe: (config, longest) => {
    const norm = layerNorm(config.layer_norm_eps, { bias: false });
    return llamaLike(config, {
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 500_000, longest })],
      ...{ norm, parallel: true, sharedNorm: true, logitScale: config.logit_scale },
      qkNorm: config.use_qk_norm ? { over: 'perHead', norm } : undefined,
      qkvBias: config.attention_bias,
      outputBias: config.attention_bias,
    });
  },
});
