/** What the many families that follow Llama share: keys of config.json, the description, and the names of tensors. */
import * as z from 'zod';
import { type Architecture, architecture, layers, rmsNorm } from './architecture.ts';
import { activation, count, epsilon, flag, type LayerType, optionalWidth, width } from './config-fields.ts';
import { ROPE_KEYS } from './rope.ts';
import type { StoredNames } from './stored-names.ts';

/** Defaults of a class in transformers. */
interface Defaults {
  vocab: number;
  dim: number;
  ff: number;
  depth: number;
  heads: number;
  kv?: number;
  act?: Parameters<typeof activation>[0];
  tied?: boolean;
}

/** The keys of config.json that Llama and the families after it have, but for the norm's. */
export function llamaKeys({ vocab, dim, ff, depth: layerCount, heads, kv, act = 'silu', tied = false }: Defaults) {
  return {
    vocab_size: width(vocab),
    hidden_size: width(dim),
    intermediate_size: width(ff),
    num_hidden_layers: count(layerCount),
    num_attention_heads: count(heads),
    num_key_value_heads: kv === undefined ? optionalWidth : optionalWidth.default(kv),
    head_dim: optionalWidth,
    hidden_act: activation(act),
    tie_word_embeddings: flag(tied),
    ...ROPE_KEYS,
  };
}
const keys = z.object({ ...llamaKeys({ vocab: 1, dim: 1, ff: 1, depth: 1, heads: 1 }), rms_norm_eps: epsilon(1e-6) });
type LlamaLike = Omit<z.output<typeof keys>, 'rms_norm_eps' | 'rope_parameters'> & { rms_norm_eps?: number };

/** Bias of the four projections of attention. */
export const attentionBias = { attention_bias: flag(false) };

/** The width of a head. */
export function headWidth({
  head_dim,
  hidden_size,
  num_attention_heads,
}: Pick<LlamaLike, 'head_dim' | 'hidden_size' | 'num_attention_heads'>): number {
  return head_dim ?? Math.floor(hidden_size / num_attention_heads);
}

/** A gated decoder with RMSNorm and heads that share keys, unless `differing` says otherwise. */
export function llamaLike(config: LlamaLike, differing: Partial<Architecture> = {}): Architecture {
  return architecture({
    numTokens: config.vocab_size,
    dim: config.hidden_size,
    depth: config.num_hidden_layers,
    heads: config.num_attention_heads,
    kvHeads: config.num_key_value_heads ?? config.num_attention_heads,
    dimHead: headWidth(config),
    ff: config.intermediate_size,
    norm: rmsNorm(config.rms_norm_eps ?? 1e-6),
    gated: true,
    activation: config.hidden_act,
    tied: config.tie_word_embeddings,
    ...differing,
  });
}

/** Every layer alike, with a window or without. */
export function windowed({ num_hidden_layers: count, ...config }: LlamaLike, window: number | null | undefined) {
  const scale = headWidth({ ...config }) ** -0.5;
  return layers(count, () => ({ window: window ?? 0, rope: 0, scale }));
}

/** Layers that differ by their kind: only sliding ones have the window. */
export function byKind(
  config: LlamaLike,
  kinds: readonly LayerType[],
  window: number | null | undefined,
  scale = headWidth(config) ** -0.5,
) {
  const one = (kind: LayerType) => ({ window: kind === 'sliding_attention' ? (window ?? 0) : 0, rope: 0, scale });
  return kinds.map(one);
}

/** The kinds of layers, where config.json does not list them. */
export function kindsOf(
  {
    num_hidden_layers: count,
    layer_types: listed,
  }: { num_hidden_layers: number; layer_types?: LayerType[] | null | undefined },
  slides: (layer: number) => boolean,
): readonly LayerType[] {
  return listed ?? Array.from({ length: count }, (_, i) => (slides(i) ? 'sliding_attention' : 'full_attention'));
}

/** Names of tensors. */
export const LLAMA_NAMES: StoredNames = {
  layers: 'layers',
  norms: {
    norm: 'input_layernorm',
    ff_norm: 'post_attention_layernorm',
    query_scale: 'self_attn.q_norm',
    key_scale: 'self_attn.k_norm',
  },
  linears: {
    'self_attn.q_proj': ['query'],
    'self_attn.k_proj': ['key'],
    'self_attn.v_proj': ['value'],
    'self_attn.o_proj': ['output'],
    'mlp.gate_proj': ['gate'],
    'mlp.up_proj': ['up'],
    'mlp.down_proj': ['down'],
  },
  outside: { token_embedding: 'embed_tokens', norm: 'norm', head: 'lm_head' },
};

/** The same where norms follow attention and feed-forward, instead of or besides preceding them. */
export const OUTPUT_NORM_NAMES: StoredNames = {
  ...LLAMA_NAMES,
  norms: {
    ...LLAMA_NAMES.norms,
    ff_norm: 'pre_feedforward_layernorm',
    attention_out_norm: 'post_attention_layernorm',
    ff_out_norm: 'post_feedforward_layernorm',
  },
};
