/** PaLM (Chowdhery et al. 2022) as palm-rlhf-pytorch builds it: one key/value head, rotary positions with xPos. */
import { type PalmConfig, type PalmConfigInput, resolvePalmConfig } from '../config/palm.ts';
import { ATTENTION_SITES, type Family } from './family.ts';

export const palm: Family<PalmConfig> = {
  kind: 'PaLM',
  key: 'palm',
  targets: ATTENTION_SITES,
  resolve: (config) => resolvePalmConfig(config as PalmConfigInput),
  describe: (config) => ({
    numTokens: config.numTokens,
    dim: config.dim,
    depth: config.depth,
    heads: config.heads,
    kvHeads: 1,
    dimHead: config.dimHead,
    ff: Math.min(config.dim * config.ffMult, Number.MAX_SAFE_INTEGER), // native code rejects larger numbers
    causal: config.causal,
    qkNorm: config.qkRmsnorm,
    qkScale: config.qkScale,
    xposScaleBase: config.causal ? config.rotaryXposScaleBase : undefined,
    ignoreIndex: config.ignoreIndex,
    attnDropout: config.attnDropout,
    ffDropout: config.ffDropout,
    recompute: config.recompute,
    dtype: config.dtype,
    device: config.device,
  }),
};
