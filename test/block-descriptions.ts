/** Descriptions of what the families of today have, at sizes that no vector divides. */
import type { DecoderDescription, NormDescription } from '../src/native/addon.ts';
import { DESCRIPTION, L2, PLAIN_ROPE } from './decoders.ts';

const RMS: NormDescription = { kind: 'rms', eps: 1e-6, offset: 0, weight: true, bias: false };
const LAYER: NormDescription = { kind: 'layer', eps: 1e-5, offset: 0, weight: true, bias: true };
const NARROW_ROPE = {
  ...PLAIN_ROPE,
  wide: false,
  factor: 1.2,
  inverseFrequency: PLAIN_ROPE.inverseFrequency.slice(0, 2),
};
const LLAMA: DecoderDescription = {
  ...DESCRIPTION,
  ...{ parallel: false, sharedNorm: false, norm: RMS, kvHeads: 2, ropes: [{ ...PLAIN_ROPE, wide: false }] },
};
const GPT2: DecoderDescription = {
  ...LLAMA,
  ...{ norm: LAYER, kvHeads: 4, gated: false, activation: 'geluTanh' },
  ...{ ropes: [], layers: [{ window: 0, rope: -1, scale: 0.3 }], positions: { rows: 40, offset: 0 } },
  ...{ qkvBias: true, outputBias: true, ffBias: true },
};

/** Sequential blocks with norms before each branch: trained by fused blocks. */
export const SEQUENTIAL: Record<string, DecoderDescription> = {
  llama: LLAMA,
  mistral: { ...LLAMA, layers: [{ window: 4, rope: 0, scale: 0.4 }], tied: false },
  qwen2: { ...LLAMA, qkvBias: true, kvHeads: 1 },
  qwen3: { ...LLAMA, qkNorm: { over: 'head', norm: RMS } },
  gpt2: GPT2,
  gemma: { ...LLAMA, norm: { ...RMS, offset: 1, eps: 1e-3 }, activation: 'geluTanh', embeddingScale: 3 },
  smollm3: {
    ...LLAMA,
    layers: [
      { window: 0, rope: -1, scale: 0.4 },
      { window: 5, rope: 0, scale: 0.3 },
    ],
  },
  'layer norm of queries, partly rotary, exact gelu': {
    ...GPT2,
    ...{ ropes: [NARROW_ROPE], layers: [{ window: 0, rope: 0, scale: 0.4 }], positions: undefined },
    ...{ qkNorm: { over: 'head', norm: LAYER }, activation: 'gelu', kvHeads: 2, usedTokens: 17 },
  },
  'no weights in norms, relu': {
    ...LLAMA,
    norm: { ...LAYER, weight: false, bias: false },
    gated: false,
    activation: 'relu',
  },
};

const HALF_ROPE = { ...NARROW_ROPE, factor: 1 };
const PARALLEL: DecoderDescription = {
  ...GPT2,
  ...{ parallel: true, sharedNorm: true, positions: undefined, ropes: [HALF_ROPE], qkvBias: false, outputBias: false },
  layers: [{ window: 0, rope: 0, scale: 0.4 }],
};

/** Other blocks that only decoding has a fast path for. */
export const DECODED: Record<string, DecoderDescription> = {
  gptj: { ...PARALLEL, tied: false, headBias: true },
  neox: { ...PARALLEL, sharedNorm: false, qkvBias: true, outputBias: true, activation: 'gelu' },
  cohere: {
    ...PARALLEL,
    ...{ norm: { ...LAYER, bias: false }, ffBias: false, gated: true, activation: 'silu', kvHeads: 2, logitScale: 0.3 },
    qkNorm: { over: 'perHead', norm: { ...LAYER, bias: false } },
  },
  granite: { ...LLAMA, embeddingScale: 4, residualScale: 0.3, logitScale: 0.2 },
  'heads of three panels, a window of more than one': {
    ...LLAMA,
    ...{ dim: 35, embeddingDim: 35, dimHead: 70, ff: 70, numTokens: 150, usedTokens: 150 },
    ropes: [{ ...PLAIN_ROPE, wide: false, inverseFrequency: Array.from({ length: 35 }, (_, i) => 10000 ** (-i / 35)) }],
    layers: [{ window: 40, rope: 0, scale: 0.1 }],
  },
  olmo: { ...LLAMA, norm: { ...LAYER, weight: false, bias: false }, clipQkv: 0.4 },
  'everything around the blocks': {
    ...GPT2,
    ...{ embeddingNorm: true, embeddingDim: 10, finalNorm: false, headBias: true, finalSoftcap: 2, usedTokens: 18 },
  },
};

const OFFSET: NormDescription = { ...RMS, offset: 1 };
const GEMMA2: DecoderDescription = {
  ...LLAMA,
  ...{ norm: OFFSET, form: 'sandwich', activation: 'geluTanh', embeddingScale: 3, softcap: 2, finalSoftcap: 3 },
  layers: [
    { window: 3, rope: 0, scale: 0.5 },
    { window: 0, rope: 0, scale: 0.5 },
  ],
};

/** Blocks that only the plain path computes, and decoding on CUDA. */
export const PLAIN: Record<string, DecoderDescription> = {
  gemma2: GEMMA2,
  gemma3: { ...GEMMA2, softcap: undefined, qkNorm: { over: 'head', norm: OFFSET } },
  olmo2: { ...LLAMA, form: 'post', qkNorm: { over: 'all', norm: RMS } },
  bloom: { ...GPT2, ropes: [], positions: undefined, alibi: [1, 0.5, 0.25, 0.125], residualFromNorm: true },
  'falcon-rw': { ...GPT2, ropes: [], positions: undefined, alibi: [1, 0.7, 0.25, 0.1], alibiRounded: true },
  'norms of sums': { ...GPT2, form: 'after', finalNorm: false },
  'palm with l2 norms of queries': { ...DESCRIPTION, qkNorm: { over: 'head', norm: L2 } },
};
