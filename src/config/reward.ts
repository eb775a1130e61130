/** The configuration of reward-model training on pairs of responses; the defaults suit thousands of pairs. */
import * as z from 'zod';
import { evaluation } from './evaluation.ts';
import { checkpointWatchingLoss, computing, count, lora, probability } from './fields.ts';
import { limits, lr, optimizer, schedule } from './optimisation.ts';
import { heldOutPairs, pairs } from './pairs.ts';

const weight = z.number().min(0).default(0);

/** How compared responses become a loss. */
const ranking = z.strictObject({
  model: z
    .enum(['pairs', 'plackett-luce'])
    .default('pairs')
    .describe('pairs: Bradley-Terry on every pair of a prompt; plackett-luce: on whole orders without ties'),
  ties: z
    .enum(['drop', 'rao-kupper'])
    .default('drop')
    .describe('whether equally good responses teach nothing (drop) or equal scores (rao-kupper)'),
  tieWidth: z
    .number()
    .gt(0)
    .optional()
    .describe('score difference within which a tie is likeliest, for rao-kupper (default: ln 1.5)'),
  labelSmoothing: z.number().min(0).lt(0.5).default(0).describe('probability that a label is wrong'),
  centerWeight: weight.describe('weight of (better + worse)^2, which centres scores around 0'),
  l2Weight: weight.describe('weight of (better^2 + worse^2) / 2, which also keeps scores small'),
  anchorWeight: weight.describe(
    'weight of a comparison with score 0: above it is the best, below it are all if none is good',
  ),
});

/** How a rating becomes a loss. */
const rating = z.strictObject({
  as: z
    .enum(['number', 'order'])
    .default('number')
    .describe('number: a score is to equal the rating; order: responses to a prompt are compared by their ratings'),
  bins: z
    .int()
    .min(2)
    .optional()
    .describe('number of different ratings, which are then classes (default: regression on the number)'),
  lowest: z.int().optional().describe('the lowest rating, for bins (default: 1)'),
  aspect: z
    .string()
    .min(1)
    .optional()
    .describe('which of several ratings (default: their mean, without complexity and verbosity)'),
});

export const rewardConfig = z.strictObject({
  epochs: count.default(2).describe('passes over the pairs'),
  ...pairs,
  lr: lr.optional().describe('peak learning rate (default: chosen by the width of the model)'),
  ...schedule,
  ...optimizer({ betas: [0.9, 0.999], weightDecay: 0 }),
  ...limits,
  lora,
  ranking: ranking.prefault({}).describe('how compared responses become a loss'),
  rating: rating.prefault({}).describe('how rated responses become a loss'),
  pooling: z
    .enum(['all', 'response', 'last'])
    .default('response')
    .describe(
      'which hidden states the score averages: those of the response, or all; last reads only that of the last token',
    ),
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
