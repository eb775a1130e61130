/** Gemma 3 (Kamath et al. 2025), text: normed queries and keys, and slower positions in the layers without a window. */
import * as z from 'zod';
import { rmsNorm } from './architecture.ts';
import { width } from './config-fields.ts';
import { gemmaKeys, gemmaLike } from './gemma2.ts';
import { hfFamily } from './hugging-face.ts';
import { byKind, headWidth, kindsOf, llamaLike, OUTPUT_NORM_NAMES } from './llama-like.ts';
import { describeRope, ROPE_KEYS_BY_KIND } from './rope.ts';

const cap = z.number().gt(0).nullable().default(null);
const base = ROPE_KEYS_BY_KIND.rope_theta;

export const gemma3 = hfFamily({
  modelTypes: ['gemma3_text'],
  prefixes: ['model.', 'language_model.model.', 'model.language_model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: OUTPUT_NORM_NAMES,
  schema: z.strictObject({
    ...gemmaKeys,
    ...ROPE_KEYS_BY_KIND,
    vocab_size: width(262_208),
    attn_logit_softcapping: cap,
    final_logit_softcapping: cap,
    rope_local_base_freq: base,
    sliding_window_pattern: width(6),
  }),
  harmless: ['_sliding_window_pattern'],
  describe: (config, longest) => {
    const { rope_theta: theta, rope_local_base_freq: local, rope_scaling: scaling, rope_parameters: given } = config;
    const dimHead = headWidth(config);
    const rope = (parameters: typeof scaling, byDefault: number) =>
      describeRope(
        { ...parameters },
        { max_position_embeddings: config.max_position_embeddings },
        { dimHead, theta: byDefault, longest },
      );
    const kinds = kindsOf(config, (layer) => (layer + 1) % config.sliding_window_pattern !== 0);
    const layers = byKind(config, kinds, config.sliding_window, config.query_pre_attn_scalar ** -0.5);
    return llamaLike(config, {
      ...gemmaLike(config),
      ropes: [
        rope({ ...given?.full_attention, ...scaling }, theta ?? 1_000_000),
        rope(given?.sliding_attention, local ?? 10_000),
      ],
      layers: layers.map((layer, i) => ({ ...layer, rope: kinds[i] === 'sliding_attention' ? 1 : 0 })),
      qkNorm: { over: 'head', norm: rmsNorm(config.rms_norm_eps, { offset: 1 }) },
    });
  },
});
