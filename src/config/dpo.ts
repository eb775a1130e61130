/** How a policy is trained on pairs by direct preference optimisation; docs/dpo.md has the formulas. */
import * as z from 'zod';
import { count } from './fields.ts';
import { labelSmoothing, nllWeight, pairs, policyLearning } from './pairs.ts';

const logRatio = z.strictObject({
  lengthNormalised: z
    .boolean()
    .optional()
    .describe('compare log-ratios per token instead of sums (default: only with the loss ipo)'),
  tailWeight: z
    .number()
    .min(0)
    .default(1)
    .describe("weight of tokens beyond the length of the pair's shorter response (LD-DPO)"),
  divergence: z
    .enum(['reverse-kl', 'forward-kl', 'jensen-shannon', 'alpha'])
    .default('reverse-kl')
    .describe('divergence from the reference that is limited; others than reverse-kl need the loss sigmoid'),
  alpha: z.number().optional().describe('order of the divergence alpha'),
});

const weight = z.number().min(0);
const mixture = z.strictObject({
  lossWeight: weight.default(1).describe('weight of `loss`'),
  bcoWeight: weight.default(0).describe('weight of the loss of binary classifier optimisation'),
});

export const dpoConfig = z.strictObject({
  epochs: count.default(1).describe('passes over the pairs'),
  ...pairs,
  loss: z
    .enum(['sigmoid', 'robust', 'hinge', 'ipo', 'apo-zero', 'apo-down', 'exo'])
    .default('sigmoid')
    .describe('loss of a pair'),
  beta: z.number().gt(0).default(0.1).describe('scale of the log ratios to the reference, per nat'),
  labelSmoothing: labelSmoothing.describe('assumed share of swapped pairs; for the losses sigmoid, robust and exo'),
  nllWeight: nllWeight.default(0),
  mixture: mixture.prefault({}).describe('a mixture of losses of a pair'),
  logRatio: logRatio.prefault({}).describe('how the log-ratios of two responses are compared'),
  ...policyLearning('pairs'),
});

/** The options of DPO, apart from model and pairs. */
export type { DpoConfigInput } from './options/dpo.ts';
/** The options of DPO with defaults filled in. */
export type DpoConfig = z.output<typeof dpoConfig>;
