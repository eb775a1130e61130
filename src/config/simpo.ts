/** How a model is trained on pairs by simple preference optimisation; docs/simpo.md has the formulas. */
import * as z from 'zod';
import { count } from './fields.ts';
import { nllWeight, pairs, policyLearning } from './pairs.ts';

export const simpoConfig = z.strictObject({
  epochs: count.default(1).describe('passes over the pairs'),
  ...pairs,
  beta: z.number().gt(0).default(2).describe('scale of mean log-probabilities'),
  gammaOverBeta: z.number().min(0).default(0.5).describe('margin of chosen responses, as a share of beta'),
  nllWeight: nllWeight.default(0),
  ...policyLearning('pairs'),
});

/** The options of SimPO, apart from model and pairs. */
export type { SimpoConfigInput } from './options/simpo.ts';
/** The options of SimPO with defaults filled in. */
export type SimpoConfig = z.output<typeof simpoConfig>;
