/** StableLM (Bellagente et al. 2024): Llama with LayerNorm and partly turning heads, sequential or parallel. */
import * as z from 'zod';
import { layerNorm } from './architecture.ts';
import { epsilon, flag } from './config-fields.ts';
import { hfFamily } from './hugging-face.ts';
import { headWidth, LLAMA_NAMES, llamaKeys, llamaLike } from './llama-like.ts';
import type { Place } from './place.ts';
import { ropeOf } from './rope.ts';

const NAMES = {
  ...LLAMA_NAMES,
  norms: { ...LLAMA_NAMES.norms, query_scale: 'self_attn.q_layernorm', key_scale: 'self_attn.k_layernorm' },
};
/** Layers and heads: every head of every layer may have tensors of its own. */
const fewer = (byDefault: number) => z.int().min(1).max(256).default(byDefault);
const OF_HEADS = /\.([qk]_layernorm)\.weight$/;

/** The file has a tensor for every head where native code has one for all. */
function byHead(place: Place, width: number): Place[] {
  const [all] = place.parts;
  if (!OF_HEADS.test(place.name)) return [place];
  return Array.from({ length: all.length / width }, (_, head) => ({
    name: place.name.replace(OF_HEADS, `.$1.norms.${head}.weight`),
    parts: [{ ...all, start: head * width, length: width }] as const,
  }));
}

export const stablelm = hfFamily({
  modelTypes: ['stablelm'],
  prefixes: ['model.', ''],
  loraTargets: ['q_proj', 'v_proj'],
  names: NAMES,
  schema: z.strictObject({
    ...llamaKeys({ vocab: 50_304, dim: 2560, ff: 6912, depth: 32, heads: 32, kv: 32 }),
    num_hidden_layers: fewer(32),
    num_attention_heads: fewer(32),
    layer_norm_eps: epsilon(1e-5),
    use_qkv_bias: flag(false),
    qk_layernorm: flag(false),
    use_parallel_residual: flag(false),
  }),
  instead: (place, { dimHead }) => byHead(place, dimHead),
  describe: (config, longest) =>
    llamaLike(config, {
      ropes: [ropeOf(config, { dimHead: headWidth(config), theta: 10_000, partial: 0.25, longest })],
      norm: layerNorm(config.layer_norm_eps),
      qkNorm: config.qk_layernorm
        ? { over: 'perHead', norm: layerNorm(config.layer_norm_eps, { bias: false }) }
        : undefined,
      parallel: config.use_parallel_residual,
      sharedNorm: config.use_parallel_residual,
      qkvBias: config.use_qkv_bias,
    }),
});
