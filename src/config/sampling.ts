/** How tokens are sampled. After the temperature, filters apply in the order topK, topP, minP; those not set are off. */
import * as z from 'zod';
import { count, seed } from './fields.ts';

const token = z.int().min(0);

export const samplingConfig = z.strictObject({
  maxNewTokens: count.describe('max tokens per response'),
  temperature: z
    .number()
    .min(0)
    .default(1)
    .describe('divides the logits; below 1e-6, the most likely token is always chosen'),
  topK: count.optional().describe('keep the k most likely tokens'),
  topP: z.number().gt(0).lte(1).optional().describe('keep the most likely tokens that together reach probability p'),
  minP: z.number().min(0).lt(1).optional().describe('keep tokens with at least p times the highest probability'),
  eosToken: z
    .union([token, z.array(token).min(1)])
    .optional()
    .describe('token that ends a response, or several (default: none)'),
  stop: z.array(z.array(token).min(1)).optional().describe('token sequences that each end a response'),
  suppress: z.array(token).optional().describe('tokens that are never sampled'),
  padToken: token.optional().describe('token that fills rows after a response (default: the first eosToken, else 0)'),
  samplesPerPrompt: count.default(1).describe('responses per prompt'),
  weights: z
    .enum(['int8'])
    .optional()
    .describe('on the CPU, decode with weights rounded to 8 bits (default: no rounding)'),
  seed: seed.unwrap().optional().describe('seed of sampling (default: a new one each time)'),
});

/** The options of generation, apart from prompts. */
export type { SamplingConfigInput } from './options/sampling.ts';

/** The tokens that end a response. */
export type EosToken = number | number[];

/** All of them. */
export function eosTokensOf(eosToken: EosToken | undefined): readonly number[] {
  return eosToken === undefined ? [] : [eosToken].flat();
}
