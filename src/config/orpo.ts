/** How a model is trained on pairs by odds ratio preference optimisation; docs/orpo.md has the formulas. */
import * as z from 'zod';
import { count } from './fields.ts';
import { pairs, policyLearning } from './pairs.ts';

export const orpoConfig = z.strictObject({
  epochs: count.default(1).describe('passes over the pairs'),
  ...pairs,
  beta: z.number().gt(0).default(0.1).describe('weight of the odds ratio'),
  ...policyLearning('pairs'),
});

/** The options of ORPO, apart from model and pairs. */
export type { OrpoConfigInput } from './options/orpo.ts';
/** The options of ORPO with defaults filled in. */
export type OrpoConfig = z.output<typeof orpoConfig>;
