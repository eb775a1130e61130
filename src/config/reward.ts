/** How a reward model is trained on pairs of a chosen and a rejected response; the defaults suit thousands of pairs. */
import { z } from 'zod';
import { checkpointWatchingLoss, computing, count, lora, probability } from './fields.ts';
import { limits, lr, optimizer, schedule } from './optimisation.ts';
import { heldOutPairs, pairs } from './pairs.ts';

export const rewardConfig = z.strictObject({
  epochs: count.default(2).describe('times that every pair is seen'),
  ...pairs,
  lr: lr.optional().describe('highest learning rate; one that fits the width unless given'),
  ...schedule,
  ...optimizer({ betas: [0.9, 0.999], weightDecay: 0 }),
  ...limits,
  lora,
  pooling: z
    .enum(['all', 'response'])
    .default('response')
    .describe('what the score is a mean over: the response, or the prompt too'),
  dropout: probability.default(0).describe('dropout of attention and feed-forward, while training'),
  ...heldOutPairs,
  checkpoint: checkpointWatchingLoss(100),
  ...computing,
});

/** What training a reward model takes besides pairs. */
export type RewardConfigInput = z.input<typeof rewardConfig>;
/** The same with every default filled in. */
export type RewardConfig = z.output<typeof rewardConfig>;
