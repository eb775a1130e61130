/** How a reward model is trained on labels of steps; docs/process-reward.md has the formulas. */
import * as z from 'zod';
import { count, probability } from './fields.ts';
import { batching, rewardLearning } from './pairs.ts';

export const processRewardConfig = z.strictObject({
  epochs: count.default(2).describe('passes over the solutions'),
  ...batching('solutions'),
  maxLength: z
    .int()
    .min(2)
    .default(512)
    .describe('max tokens of prompt plus solution; cuts the start of the prompt, then the last steps'),
  neutral: z
    .enum(['positive', 'negative', 'skip'])
    .default('positive')
    .describe(
      'what a neutral step, such as one rated 0 in PRM800K, counts as: a right step, a wrong one, or one without a label',
    ),
  dropout: probability.default(0).describe('dropout in attention and feed-forward layers during training'),
  ...rewardLearning('solutions'),
});

/** The options of process rewards, apart from model and solutions. */
export type { ProcessRewardConfigInput } from './options/process-reward.ts';
/** The options of process rewards with defaults filled in. */
export type ProcessRewardConfig = z.output<typeof processRewardConfig>;
