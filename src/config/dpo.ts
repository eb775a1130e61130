/** How a policy is trained on pairs by direct preference optimisation; docs/dpo.md has the formulas. */
import { z } from 'zod';
import { checkpointWatchingLoss, computing, count, lora } from './fields.ts';
import { limits, lr, optimizer, schedule } from './optimisation.ts';
import { heldOutPairs, pairs } from './pairs.ts';

export const dpoConfig = z.strictObject({
  epochs: count.default(1).describe('times that every pair is seen'),
  ...pairs,
  beta: z.number().gt(0).default(0.1).describe('how strongly a log-ratio to the reference counts, per nat'),
  nllWeight: z.number().min(0).default(0).describe('weight of the loss of chosen responses, which keeps them likely'),
  lr: lr.optional().describe('highest learning rate; one that fits the width unless given'),
  ...schedule,
  ...optimizer({ betas: [0.9, 0.999], weightDecay: 0 }),
  ...limits,
  lora,
  ...heldOutPairs,
  checkpoint: checkpointWatchingLoss(100),
  ...computing,
});

/** What DPO takes besides a model and pairs. */
export type DpoConfigInput = z.input<typeof dpoConfig>;
/** The same with every default filled in. */
export type DpoConfig = z.output<typeof dpoConfig>;
