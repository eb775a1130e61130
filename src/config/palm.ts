/** The hyperparameters of a PaLM. */
import * as z from 'zod';
import type { PalmConfigInput } from './options/palm.ts';
import { count, device, dtype, probability, seed } from './fields.ts';
import { parseConfig } from './schema.ts';

export const palmConfig = z.strictObject({
  numTokens: count.describe('vocabulary size'),
  dim: count.describe('model width'),
  depth: count.describe('number of layers'),
  heads: count.default(8).describe('attention heads'),
  dimHead: z.int().min(2).multipleOf(2).default(64).describe('width of an attention head'),
  ffMult: count.default(4).describe('feed-forward width, in multiples of dim'),
  causal: z.boolean().default(true).describe('attend to earlier tokens only'),
  qkRmsnorm: z.boolean().default(false).describe('normalise queries and keys, with learned scales'),
  qkScale: z.number().gt(0).optional().describe('scale of attention scores (default: dimHead ** -0.5)'),
  rotaryXposScaleBase: z.number().gt(0).default(512).describe('scale of the xPos decay, in positions'),
  ignoreIndex: z.int().default(-100).describe('target token that the loss ignores'),
  attnDropout: probability.default(0).describe('dropout of attention probabilities'),
  ffDropout: probability.default(0).describe('dropout inside the feed-forward layer'),
  recompute: z
    .enum(['none', 'selective', 'full'])
    .default('selective')
    .describe('activations to recompute in the backward pass instead of keeping them'),
  device,
  dtype,
  seed,
});

/** The options of `new PaLM`. */
export type { PalmConfigInput } from './options/palm.ts';
/** The same with every default filled in. */
export type PalmConfig = z.output<typeof palmConfig> & { qkScale: number };

/** Checks the hyperparameters and fills in the defaults, including qkScale. @throws ConfigError */
export function resolvePalmConfig(value: PalmConfigInput): PalmConfig {
  const config = parseConfig(palmConfig, value, 'PaLM');
  return { ...config, qkScale: config.qkScale ?? config.dimHead ** -0.5 };
}
