/** Granite 3 (IBM 2024): Llama with multipliers of embeddings, scores, residual branches and logits. */
import * as z from 'zod';
import { layers } from './architecture.ts';
import { epsilon, factor, flag } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { attentionBias, headWidth, LLAMA_NAMES, llamaKeys, llamaLike } from './llama-like.ts';
import { ropeOf } from './rope.ts';

export const granite = hfFamily({
  modelTypes: ['granite'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: LLAMA_NAMES,
  schema: z.strictObject({
    ...llamaKeys({ vocab: 32_000, dim: 4096, ff: 11_008, depth: 32, heads: 32 }),
    ...attentionBias,
    rms_norm_eps: epsilon(1e-6),
    mlp_bias: flag(false),
    embedding_multiplier: factor(1),
    residual_multiplier: factor(1),
    attention_multiplier: factor(1),
    logits_scaling: factor(1),
  }),
  describe: (config, longest) =>
    llamaLike(config, {
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 10_000, longest })],
      layers: layers(config.num_hidden_layers, () => ({ window: 0, rope: 0, scale: config.attention_multiplier })),
      embeddingScale: config.embedding_multiplier,
      residualScale: config.residual_multiplier,
      logitScale: 1 / config.logits_scaling,
      qkvBias: config.attention_bias,
      outputBias: config.attention_bias,
      ffBias: config.mlp_bias,
    }),
});
