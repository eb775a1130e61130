/** How a policy is trained by REINFORCE with the other responses as a baseline; docs/rloo.md has the formulas. */
import * as z from 'zod';
import { clips, criticFree, klWeight } from './critic-free.ts';

const loss = z.strictObject({
  level: z
    .enum(['token', 'sequence-sum'])
    .default('token')
    .describe('one probability ratio per token, or the product of a response'),
  ...clips,
});

export const rlooConfig = z.strictObject({
  ...criticFree({ samplesPerPrompt: { min: 2, default: 4 }, epochs: 1 }),
  klWeight: klWeight(0.05),
  normalise: z.boolean().default(false).describe('divide advantages by their standard deviation over the iteration'),
  loss: loss.prefault({}).describe('the loss of the policy'),
});

/** The options of RLOO, apart from model, prompts and reward. */
export type { RlooConfigInput } from './options/rloo.ts';
/** The options of RLOO with defaults filled in. */
export type RlooConfig = z.output<typeof rlooConfig>;
