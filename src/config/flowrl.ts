/** How a policy is trained by FlowRL; docs/flowrl.md has the formulas. */
import * as z from 'zod';
import { criticFree } from './critic-free.ts';

const loss = z.strictObject({
  beta: z
    .number()
    .gt(0)
    .default(15)
    .describe('how much a standard deviation of the scores of a prompt counts, in nats per token'),
  clip: z.number().gt(0).default(0.2).describe('least weight of a response, 1 − clip'),
  clipHigh: z.number().gt(0).default(0.28).describe('greatest weight of a response, 1 + clipHigh'),
});

export const flowrlConfig = z.strictObject({
  ...criticFree({ samplesPerPrompt: { min: 2, default: 8 }, epochs: 4 }),
  loss: loss.prefault({}).describe('the loss of the policy'),
});

/** The options of FlowRL, apart from model, prompts and reward. */
export type { FlowrlConfigInput } from './options/flowrl.ts';
/** The options of FlowRL with defaults filled in. */
export type FlowrlConfig = z.output<typeof flowrlConfig>;
