/** How tokens are drawn. Filters apply in the order topK, topP, minP, after the temperature; without a value they are off. */
import { z } from 'zod';
import { count, seed } from './fields.ts';

const token = z.int().min(0);

export const samplingConfig = z.strictObject({
  maxNewTokens: count.describe('longest response, in tokens'),
  temperature: z.number().min(0).default(1).describe('divides the logits; below 1e-6 the likeliest token is taken'),
  topK: count.optional().describe('keep the k likeliest tokens'),
  topP: z.number().gt(0).lte(1).optional().describe('keep the likeliest tokens that together reach probability p'),
  minP: z.number().min(0).lt(1).optional().describe('keep tokens of at least p times the highest probability'),
  eosToken: token.optional().describe('token that ends a response; none unless given'),
  stop: z.array(z.array(token).min(1)).optional().describe('token sequences any of which ends a response'),
  suppress: z.array(token).optional().describe('tokens that are never drawn'),
  padToken: token.optional().describe('token behind a response; eosToken, else 0, unless given'),
  samplesPerPrompt: count.default(1).describe('responses drawn for each prompt'),
  weights: z
    .enum(['int8'])
    .optional()
    .describe('decode on the CPU through weights rounded to 8 bits; as they are unless given'),
  seed: seed.unwrap().optional().describe('seed of the draws; a new one each time unless given'),
});

/** What generation takes besides prompts. */
export type SamplingConfigInput = z.input<typeof samplingConfig>;
