/** The configuration of reward-model training on pairs of responses; the defaults suit thousands of pairs. */
import { z } from 'zod';
import { evaluation } from './evaluation.ts';
import { checkpointWatchingLoss, computing, count, lora, probability } from './fields.ts';
import { limits, lr, optimizer, schedule } from './optimisation.ts';
import { heldOutPairs, pairs } from './pairs.ts';

export const rewardConfig = z.strictObject({
  epochs: count.default(2).describe('passes over the pairs'),
  ...pairs,
  lr: lr.optional().describe('peak learning rate (default: chosen by the width of the model)'),
  ...schedule,
  ...optimizer({ betas: [0.9, 0.999], weightDecay: 0 }),
  ...limits,
  lora,
  pooling: z
    .enum(['all', 'response'])
    .default('response')
    .describe('which hidden states the score averages: those of the response, or all'),
  dropout: probability.default(0).describe('dropout in attention and feed-forward layers during training'),
  ...heldOutPairs,
  evaluation,
  checkpoint: checkpointWatchingLoss(100),
  ...computing,
});

/** The options of reward-model training, apart from pairs. */
export type { RewardConfigInput } from './options/reward.ts';
/** The same with every default filled in. */
export type RewardConfig = z.output<typeof rewardConfig>;
