/** How a policy is trained on pairs by direct preference optimisation; docs/dpo.md has the formulas. */
import { z } from 'zod';
import { checkpointWatchingLoss, computing, count, lora } from './fields.ts';
import { limits, lr, optimizer, schedule } from './optimisation.ts';
import { heldOutPairs, pairs } from './pairs.ts';

export const dpoConfig = z.strictObject({
  epochs: count.default(1).describe('passes over the pairs'),
  ...pairs,
  beta: z.number().gt(0).default(0.1).describe('scale of the log ratios to the reference, per nat'),
  nllWeight: z.number().min(0).default(0).describe('weight of the negative log-likelihood of chosen responses'),
  lr: lr.optional().describe('peak learning rate (default: chosen by the width of the model)'),
  ...schedule,
  ...optimizer({ betas: [0.9, 0.999], weightDecay: 0 }),
  ...limits,
  lora,
  ...heldOutPairs,
  checkpoint: checkpointWatchingLoss(100),
  ...computing,
});

/** The options of DPO, apart from model and pairs. */
export type { DpoConfigInput } from './options/dpo.ts';
/** The options of DPO with defaults filled in. */
export type DpoConfig = z.output<typeof dpoConfig>;
