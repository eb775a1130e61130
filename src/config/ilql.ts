/** How a policy is trained on samples with rewards by implicit language Q-learning; docs/ilql.md has the formulas. */
import * as z from 'zod';
import { evaluation } from './evaluation.ts';
import { checkpointWatchingLoss, computing, count, lora } from './fields.ts';
import { limits, lr, optimizer, schedule, unfrozen } from './optimisation.ts';
import { pairs } from './pairs.ts';

const share = z.number().min(0).max(1);

const loss = z.strictObject({
  tau: share.default(0.7).describe('expectile of the values of actions that the value of a state is'),
  gamma: share.default(0.99).describe('discount factor of rewards'),
  cqlWeight: z.number().min(0).default(0.1).describe('weight of the loss that keeps values of unseen tokens low'),
  awacWeight: z.number().min(0).default(1).describe('weight of the loss that trains the policy'),
  beta: z
    .number()
    .min(0)
    .default(0)
    .describe('how much more the policy learns from tokens above the value of their state; 0 clones all samples'),
});

const target = z.strictObject({
  alpha: z.number().gt(0).max(1).default(0.001).describe('share of the way that the targets move at a time'),
  every: count.default(5).describe('steps between moves of the targets'),
});

export const ilqlConfig = z.strictObject({
  epochs: count.default(20).describe('passes over the samples'),
  batchSize: count.default(16).describe('samples per batch'),
  accumulate: pairs.accumulate,
  maxLength: pairs.maxLength,
  maxPromptLength: pairs.maxPromptLength,
  loss: loss.prefault({}).describe('the loss of policy and values'),
  target: target.prefault({}).describe('how the targets follow the values of actions'),
  lr: lr.optional().describe('peak learning rate (default: chosen by the width of the model)'),
  ...schedule,
  ...optimizer({ betas: [0.9, 0.999], weightDecay: 0 }),
  ...unfrozen,
  ...limits,
  lora,
  evaluation,
  checkpoint: checkpointWatchingLoss(100),
  ...computing,
});

/** The options of ILQL, apart from model and samples. */
export type { IlqlConfigInput } from './options/ilql.ts';
/** The options of ILQL with defaults filled in. */
export type IlqlConfig = z.output<typeof ilqlConfig>;
