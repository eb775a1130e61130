/** PaLM (Chowdhery et al. 2022) as palm-rlhf-pytorch builds it: one key/value head, rotary positions with xPos. */
import { type PalmConfig, type PalmConfigInput, resolvePalmConfig } from '../config/palm.ts';
import type { DecoderDescription, NormDescription } from '../native/addon.ts';
import { ATTENTION_SITES, type Family, SITES } from './family.ts';

export const palm: Family<PalmConfig> = {
  kind: 'PaLM',
  key: 'palm',
  targets: ATTENTION_SITES,
  modules: SITES,
  resolve: (config) => resolvePalmConfig(config as PalmConfigInput),
  describe,
};

/** Wider heads do not fit in any memory, which native code reports. */
const WIDEST_HEAD = 2 ** 20;

function describe(config: PalmConfig): DecoderDescription {
  const { numTokens, dim, causal, dimHead } = config;
  return {
    ...{ numTokens, usedTokens: numTokens, dim, depth: config.depth, heads: config.heads, kvHeads: 1, dimHead },
    ff: Math.min(dim * config.ffMult, Number.MAX_SAFE_INTEGER), // native code rejects larger numbers
    causal,
    norm: { kind: 'layer', eps: 1e-5, offset: 1, weight: true, bias: false },
    ...{ form: 'pre', parallel: true, sharedNorm: true, residualFromNorm: false, finalNorm: true },
    ...{ qkvBias: false, outputBias: false, ffBias: false, gated: true, activation: 'silu' },
    qkNorm: config.qkRmsnorm ? { over: 'head', norm: L2 } : undefined,
    clipQkv: undefined,
    ropes: [
      {
        inverseFrequency: dimHead > WIDEST_HEAD ? [] : inverseFrequency(dimHead),
        factor: 1,
        wide: true,
        xposScaleBase: causal ? config.rotaryXposScaleBase : undefined,
        reach: undefined,
      },
    ],
    layers: [{ window: 0, rope: 0, scale: config.qkScale }],
    ...{ alibi: [], alibiRounded: false, softcap: undefined, positions: undefined },
    ...{ embeddingNorm: false, embeddingScale: 1, residualScale: 1, embeddingDim: dim },
    ...{ tied: true, headBias: false, logitScale: 1, finalSoftcap: undefined },
    ignoreIndex: config.ignoreIndex,
    attnDropout: config.attnDropout,
    ffDropout: config.ffDropout,
    recompute: config.recompute,
    dtype: config.dtype,
    device: config.device,
  };
}

/** q / ‖q‖ · scale */
const L2: NormDescription = { kind: 'l2', eps: 1e-12, offset: 0, weight: true, bias: false };

/** 10000^(−2i/K), in float64. */
function inverseFrequency(dimHead: number): number[] {
  return Array.from({ length: Math.floor(dimHead / 2) }, (_, i) => 10000 ** ((-2 * i) / dimHead));
}
