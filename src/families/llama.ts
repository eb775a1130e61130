/** Llama 1 to 3 (Touvron et al. 2023), SmolLM, TinyLlama and the many models that use its code. */
import * as z from 'zod';
import { epsilon, flag } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { attentionBias, headWidth, LLAMA_NAMES, llamaKeys, llamaLike } from './llama-like.ts';
import { ropeOf } from './rope.ts';

export const llama = hfFamily({
  modelTypes: ['llama'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: LLAMA_NAMES,
  schema: z.strictObject({
    ...llamaKeys({ vocab: 32_000, dim: 4096, ff: 11_008, depth: 32, heads: 32 }),
    ...attentionBias,
    rms_norm_eps: epsilon(1e-6),
    mlp_bias: flag(false),
  }),
  harmless: ['is_llama_config'],
  fixed: { rope_interleaved: [false] },
  describe: (config, longest) =>
    llamaLike(config, {
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 10_000, longest })],
      qkvBias: config.attention_bias,
      outputBias: config.attention_bias,
      ffBias: config.mlp_bias,
    }),
});
