/** What a family says of its decoder: a description without what is chosen when a model is created. */
import type { DecoderDescription, LayerDescription, NormDescription } from '../native/addon.ts';

/** What is chosen when a model is created, whatever its family. */
export type Chosen = Pick<
  DecoderDescription,
  'usedTokens' | 'ignoreIndex' | 'attnDropout' | 'ffDropout' | 'recompute' | 'dtype' | 'device'
>;
export type Architecture = Omit<DecoderDescription, keyof Chosen>;

type Sizes = Pick<
  Architecture,
  'numTokens' | 'dim' | 'depth' | 'heads' | 'dimHead' | 'ff' | 'norm' | 'activation' | 'tied'
>;

/** The decoder that most families start from: sequential blocks with norms before, no biases, every layer alike. */
export function architecture(given: Sizes & Partial<Architecture>): Architecture {
  const { heads, dim, depth, dimHead, ropes = [] } = given;
  const layer = { window: 0, rope: ropes.length > 0 ? 0 : -1, scale: dimHead ** -0.5 };
  return {
    ...{ kvHeads: heads, causal: true, form: 'pre', parallel: false, sharedNorm: false, residualFromNorm: false },
    ...{ finalNorm: true, qkvBias: false, outputBias: false, ffBias: false, gated: false, qkNorm: undefined },
    ...{
      clipQkv: undefined,
      ropes,
      layers: layers(depth, () => layer),
      alibi: [],
      alibiRounded: false,
      softcap: undefined,
    },
    ...{ positions: undefined, embeddingNorm: false, embeddingScale: 1, residualScale: 1, embeddingDim: dim },
    ...{ headBias: false, logitScale: 1, finalSoftcap: undefined },
    ...given,
  };
}

/** A description of every layer. */
export function layers(depth: number, describe: (layer: number) => LayerDescription): LayerDescription[] {
  return Array.from({ length: depth }, (_, layer) => describe(layer));
}

/** LayerNorm with weights and biases. */
export function layerNorm(eps: number, differing: Partial<NormDescription> = {}): NormDescription {
  return { kind: 'layer', eps, offset: 0, weight: true, bias: true, ...differing };
}

/** RMSNorm with weights. */
export function rmsNorm(eps: number, differing: Partial<NormDescription> = {}): NormDescription {
  return { kind: 'rms', eps, offset: 0, weight: true, bias: false, ...differing };
}

/**
 * The slopes of ALiBi (Press et al. 2021): powers of 2^(−8/p) for the largest power of two p ≤ `heads`, then every other one
 * of the slopes for 2p heads. float32.
 */
export function alibiSlopes(heads: number): number[] {
  const power = 2 ** Math.floor(Math.log2(heads));
  const base = Math.fround(2 ** (-8 / power));
  const between = Math.fround(2 ** (-4 / power));
  return Array.from({ length: heads }, (_, i) =>
    Math.fround(i < power ? base ** (i + 1) : between ** (2 * (i - power) + 1)),
  );
}

/** The nearest bfloat16 to a float32 above 0. */
export function bfloat16(value: number): number {
  const unit = 2 ** (Math.floor(Math.log2(value)) - 7);
  return Math.round(value / unit) * unit;
}
