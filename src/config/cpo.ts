/** How a model is trained on pairs by contrastive preference optimisation; docs/cpo.md has the formulas. */
import * as z from 'zod';
import { count } from './fields.ts';
import { labelSmoothing, nllWeight, pairs, policyLearning } from './pairs.ts';

export const cpoConfig = z.strictObject({
  epochs: count.default(1).describe('passes over the pairs'),
  ...pairs,
  loss: z.enum(['sigmoid', 'hinge']).default('sigmoid').describe('loss of a pair'),
  beta: z.number().gt(0).default(0.1).describe('scale of log-probabilities, per nat'),
  labelSmoothing: labelSmoothing.describe('assumed share of swapped pairs; for the loss sigmoid'),
  nllWeight: nllWeight.default(1),
  ...policyLearning('pairs'),
});

/** The options of CPO, apart from model and pairs. */
export type { CpoConfigInput } from './options/cpo.ts';
/** The options of CPO with defaults filled in. */
export type CpoConfig = z.output<typeof cpoConfig>;
