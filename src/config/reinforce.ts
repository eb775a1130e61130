/** How a policy is trained by REINFORCE++; docs/reinforce.md has the formulas. */
import * as z from 'zod';
import { clips, criticFree, klWeight } from './critic-free.ts';

export const reinforceConfig = z.strictObject({
  ...criticFree({ samplesPerPrompt: { min: 1, default: 1 }, epochs: 1 }),
  klWeight: klWeight(0.05),
  gamma: z.number().min(0).max(1).default(1).describe('discount factor of rewards'),
  baseline: z
    .enum(['none', 'group'])
    .default('none')
    .describe('subtracted from scores: nothing, or the mean score of the responses to the prompt'),
  loss: z.strictObject(clips).prefault({}).describe('the loss of the policy'),
});

/** The options of REINFORCE++, apart from model, prompts and reward. */
export type { ReinforceConfigInput } from './options/reinforce.ts';
/** The options of REINFORCE++ with defaults filled in. */
export type ReinforceConfig = z.output<typeof reinforceConfig>;
