/** How a policy is trained by ReMax; docs/remax.md has the formulas. */
import * as z from 'zod';
import { clips, criticFree, klWeight } from './critic-free.ts';

export const remaxConfig = z.strictObject({
  ...criticFree({ samplesPerPrompt: { min: 1, default: 1 }, epochs: 1 }),
  klWeight: klWeight(0.05),
  loss: z.strictObject(clips).prefault({}).describe('the loss of the policy'),
});

/** The options of ReMax, apart from model, prompts and reward. */
export type { RemaxConfigInput } from './options/remax.ts';
/** The options of ReMax with defaults filled in. */
export type RemaxConfig = z.output<typeof remaxConfig>;
