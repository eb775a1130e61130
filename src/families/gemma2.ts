/** Gemma 2 (Rivière et al. 2024): norms on both sides, capped scores and logits, a window in every other layer. */
import * as z from 'zod';
import { rmsNorm } from './architecture.ts';
import { activation, epsilon, factor, layerTypes, optionalWidth, window } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { attentionBias, byKind, headWidth, kindsOf, llamaKeys, llamaLike, OUTPUT_NORM_NAMES } from './llama-like.ts';
import { ropeOf } from './rope.ts';

const cap = z.number().gt(0).nullable();
/** What Gemma 2 and 3 add to Llama's keys. */
export const gemmaKeys = {
  ...llamaKeys({ vocab: 256_000, dim: 2304, ff: 9216, depth: 26, heads: 8, kv: 4, tied: true }),
  ...attentionBias,
  head_dim: optionalWidth.default(256),
  hidden_activation: activation('gelu_pytorch_tanh'),
  rms_norm_eps: epsilon(1e-6),
  query_pre_attn_scalar: factor(256),
  sliding_window: window(4096),
  layer_types: layerTypes,
};
const caps = { attn_logit_softcapping: cap.default(50), final_logit_softcapping: cap.default(30) };
const keys = z.object({ ...gemmaKeys, ...caps });

/** What Gemma 2 and 3 share. */
export function gemmaLike(config: Omit<z.output<typeof keys>, 'rope_parameters'>) {
  return {
    form: 'sandwich',
    norm: rmsNorm(config.rms_norm_eps, { offset: 1 }),
    activation: config.hidden_activation,
    embeddingScale: config.hidden_size ** 0.5,
    softcap: config.attn_logit_softcapping ?? undefined,
    finalSoftcap: config.final_logit_softcapping ?? undefined,
    qkvBias: config.attention_bias,
    outputBias: config.attention_bias,
  } as const;
}

export const gemma2 = hfFamily({
  modelTypes: ['gemma2'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: OUTPUT_NORM_NAMES,
  schema: z.strictObject({ ...gemmaKeys, ...caps }),
  describe: (config, longest) => {
    const kinds = kindsOf(config, (layer) => layer % 2 === 0);
    return llamaLike(config, {
      ...gemmaLike(config),
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 10_000, longest })],
      layers: byKind(config, kinds, config.sliding_window, config.query_pre_attn_scalar ** -0.5),
    });
  },
});
