/** How a policy whose log-ratios are rewards is trained on labelled responses; docs/implicit-prm.md has the formulas. */
import * as z from 'zod';
import { count } from './fields.ts';
import { batching, policyLearning } from './pairs.ts';

export const implicitPrmConfig = z.strictObject({
  epochs: count.default(1).describe('passes over the labelled responses'),
  ...batching('labelled responses'),
  beta: z.number().gt(0).default(0.05).describe('scale of the rewards: per nat of log ratio to the reference'),
  ...policyLearning('labelled responses'),
});

/** The options of an implicit process reward model, apart from model and labelled responses. */
export type { ImplicitPrmConfigInput } from './options/implicit-prm.ts';
/** The options of an implicit process reward model with defaults filled in. */
export type ImplicitPrmConfig = z.output<typeof implicitPrmConfig>;
