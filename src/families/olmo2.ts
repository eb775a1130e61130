/** OLMo 2 (Walsh et al. 2025): norms follow attention and feed-forward, and one norm spans the queries of all heads. */
import * as z from 'zod';
import { rmsNorm } from './architecture.ts';
import { epsilon } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { attentionBias, headWidth, llamaKeys, llamaLike, OUTPUT_NORM_NAMES } from './llama-like.ts';
import { ropeOf } from './rope.ts';

/** The keys of OLMo 2 and 3. */
export const olmo2Keys = {
  ...llamaKeys({ vocab: 50_304, dim: 4096, ff: 11_008, depth: 32, heads: 32 }),
  ...attentionBias,
  rms_norm_eps: epsilon(1e-5),
};

/** What both share. */
export function olmo2Like(config: { rms_norm_eps: number; attention_bias: boolean }) {
  return {
    form: 'post',
    qkNorm: { over: 'all', norm: rmsNorm(config.rms_norm_eps) },
    qkvBias: config.attention_bias,
    outputBias: config.attention_bias,
  } as const;
}

export const olmo2 = hfFamily({
  modelTypes: ['olmo2'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: OUTPUT_NORM_NAMES,
  schema: z.strictObject(olmo2Keys),
  describe: (config, longest) =>
    llamaLike(config, {
      ...olmo2Like(config),
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 10_000, longest })],
    }),
});
