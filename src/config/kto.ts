/** How a policy is trained on labelled responses by Kahneman-Tversky optimisation; docs/kto.md has the formulas. */
import * as z from 'zod';
import { count } from './fields.ts';
import { batching, policyLearning } from './pairs.ts';

const weight = z.number().min(0).default(1);

export const ktoConfig = z.strictObject({
  epochs: count.default(1).describe('passes over the labelled responses'),
  ...batching('labelled responses'),
  loss: z.enum(['kto', 'apo-zero-unpaired', 'bco']).default('kto').describe('loss of a labelled response'),
  beta: z.number().gt(0).default(0.1).describe('scale of the log ratios to the reference, per nat'),
  desirableWeight: weight.describe('weight of desirable responses'),
  undesirableWeight: weight.describe('weight of undesirable responses'),
  ...policyLearning('labelled responses'),
});

/** The options of KTO, apart from model and labelled responses. */
export type { KtoConfigInput } from './options/kto.ts';
/** The options of KTO with defaults filled in. */
export type KtoConfig = z.output<typeof ktoConfig>;
