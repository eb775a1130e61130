/** Gemma (Mesnard et al. 2024): norms multiply by 1 + w, embeddings by √D, and "gelu" always means its tanh form. */
import * as z from 'zod';
import { rmsNorm } from './architecture.ts';
import { epsilon, optionalWidth } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { attentionBias, headWidth, LLAMA_NAMES, llamaKeys, llamaLike } from './llama-like.ts';
import { ropeOf } from './rope.ts';

export const gemma = hfFamily({
  modelTypes: ['gemma'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: LLAMA_NAMES,
  schema: z.strictObject({
    ...llamaKeys({
      vocab: 256_000,
      dim: 3072,
      ff: 24_576,
      depth: 28,
      heads: 16,
      kv: 16,
      act: 'gelu_pytorch_tanh',
      tied: true,
    }),
    ...attentionBias,
    head_dim: optionalWidth.default(256),
    rms_norm_eps: epsilon(1e-6),
  }),
  fixed: { hidden_activation: [null, 'gelu_pytorch_tanh'] },
  describe: (config, longest) =>
    llamaLike(config, {
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 10_000, longest })],
      norm: rmsNorm(config.rms_norm_eps, { offset: 1 }),
      embeddingScale: config.hidden_size ** 0.5,
      activation: config.hidden_act === 'gelu' ? 'geluTanh' : config.hidden_act,
      qkvBias: config.attention_bias,
      outputBias: config.attention_bias,
    }),
});
