/** The configuration of proximal policy optimisation; docs/ppo.md has the formulas. */
import * as z from 'zod';
import { count, probability } from './fields.ts';
import { approxKlStop, critic, passes, policyOptimizer, policyRate, rollouts, running, scores } from './rollouts.ts';

const adaptiveKl = z.strictObject({
  target: z.number().gt(0).describe('target KL to the reference policy, in nats per response'),
  horizon: z.number().gt(0).default(10000).describe('responses over which klWeight adapts'),
});

const pretraining = z.strictObject({
  weight: z.number().gt(0).default(27.8).describe('weight of the next-token loss of the text, in nats per token'),
  batchSize: count.default(32).describe('rows of text per update'),
  sequenceLength: count.default(64).describe('tokens predicted in each row'),
});

const loss = z.strictObject({
  clip: z.number().gt(0).default(0.2).describe('clip range of the probability ratio: 1 ± clip'),
  valueClip: z.number().gt(0).default(0.2).describe('clip range of values around those of the rollout'),
  valueWeight: z.number().min(0).default(0.1).describe('weight of the value loss'),
  entropyWeight: z.number().min(0).default(0).describe('weight of the entropy bonus'),
  dualClip: z
    .number()
    .gt(1)
    .optional()
    .describe('the loss of a token with a negative advantage is at most this many times it (default: unlimited)'),
  pretraining: pretraining.optional().describe('if set, updates also learn to predict text (PPO-ptx)'),
});

export const ppoConfig = z.strictObject({
  steps: count.default(100).describe('iterations, each a rollout and its updates'),
  ...rollouts,
  ...scores,
  klWeight: z.number().min(0).default(0.05).describe('weight of the penalty for KL to the reference policy'),
  adaptiveKl: adaptiveKl.optional().describe('if set, adapts klWeight to reach a target KL'),
  critic: critic.prefault({}).describe('the critic, and the advantages it gives'),
  ...passes,
  ...policyRate,
  warmupSteps: z.int().min(0).default(3).describe('iterations of learning-rate warm-up, after the critic warm-up'),
  optimisation: z
    .strictObject({
      ...policyOptimizer,
      ema: probability
        .optional()
        .describe('if set, the run keeps an average of the weights, which moves by 1 − ema with every update'),
    })
    .prefault({})
    .describe('the optimizer and its settings'),
  loss: loss.prefault({}).describe('weights and clip ranges of the loss'),
  approxKlStop: approxKlStop(0.03),
  ...running,
});

/** The options of PPO, apart from models, prompts and a reward. */
export type { PpoConfigInput } from './options/ppo.ts';
/** The same with every default filled in. */
export type PpoConfig = z.output<typeof ppoConfig>;

/**
 * The configuration of a 0.1.0 run in today's form: some keys were at its top, and newer ones get the values with which the run
 * behaves as before.
 */
export function ppoBefore(saved: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { rolloutLogProb: logProb, rewardTimeout: timeout, missingEosPenalty, gamma, lambda, whiten, ...same } = saved;
  return {
    warmupSteps: 0,
    approxKlStop: false,
    ...same,
    sampling: { ...(same.sampling as object | undefined), logProb },
    score: { norm: 'none', missingEosPenalty, timeout },
    critic: { gamma, lambda, whiten, warmup: 0 },
  };
}
