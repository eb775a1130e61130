/** How a reward model is trained on pairs of a chosen and a rejected response; the defaults suit thousands of pairs. */
import { z } from 'zod';
import {
  betas,
  checkpointWatchingLoss,
  count,
  deterministic,
  device,
  lora,
  probability,
  seed,
  warmupSteps,
} from './fields.ts';

export const rewardConfig = z.strictObject({
  epochs: count.default(2).describe('times that every pair is seen'),
  batchSize: count.default(16).describe('pairs in a batch'),
  accumulate: count.default(1).describe('batches whose gradients make one step'),
  maxLength: z
    .int()
    .min(2)
    .default(256)
    .describe(
      'tokens of prompt and response; what is longer loses the beginning of the prompt, then the end of the response',
    ),
  maxPromptLength: count
    .optional()
    .describe('most tokens of a prompt that are kept, from its end; all that responses leave room for unless given'),
  lr: z.number().gt(0).optional().describe('highest learning rate; one that fits the width unless given'),
  minLr: z.number().min(0).optional().describe('learning rate at the end; a tenth of lr unless given'),
  warmupSteps: warmupSteps.optional(),
  betas: betas(0.9, 0.999),
  weightDecay: z.number().min(0).default(0).describe('weight decay of AdamW'),
  maxGradNorm: z.number().gt(0).default(1).describe('gradient norm above which gradients are scaled down'),
  maxSkippedSteps: count.default(5).describe('steps in a row with numbers that are not finite, which end the run'),
  lora,
  pooling: z
    .enum(['all', 'response'])
    .default('response')
    .describe('what the score is a mean over: the response, or the prompt too'),
  dropout: probability.default(0).describe('dropout of attention and feed-forward, while training'),
  validationFraction: z
    .number()
    .min(0)
    .lt(1)
    .default(0.05)
    .describe('share of the pairs held out where no other file is given'),
  evaluateEvery: count
    .default(50)
    .describe('steps between evaluations on held-out pairs; the last step always has one'),
  checkpoint: checkpointWatchingLoss(100),
  seed,
  device,
  deterministic,
});

/** What training a reward model takes besides pairs. */
export type RewardConfigInput = z.input<typeof rewardConfig>;
/** The same with every default filled in. */
export type RewardConfig = z.output<typeof rewardConfig>;
