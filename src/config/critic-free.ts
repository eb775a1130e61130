/** Fields of methods that learn from scores without a critic, beyond those that all methods of scores have. */
import * as z from 'zod';
import { unusedPolicyOption } from '../checks/policy-options.ts';
import { count } from './fields.ts';
import { approxKlStop, passes, policyOptimizer, policyRate, rollouts, running, scores } from './rollouts.ts';

/** What differs between the methods: least and default number of responses per prompt, passes, weight of the KL penalty. */
interface Defaults {
  samplesPerPrompt: { min: number; default: number };
  epochs: number;
}

/** The fields that all of them have. */
export function criticFree({ samplesPerPrompt, epochs }: Defaults) {
  return {
    steps: count.default(100).describe('iterations, each a rollout and its updates'),
    ...rollouts,
    sampling: samplingOf(samplesPerPrompt).prefault({}).describe('how responses are sampled'),
    ...scores,
    ...passes,
    epochs: count.default(epochs).describe('passes over the responses of each iteration'),
    ...policyRate,
    warmupSteps: z.int().min(0).default(3).describe('iterations over which the learning rate rises to lr'),
    optimisation: z.strictObject(policyOptimizer).prefault({}).describe('the optimizer and its settings'),
    approxKlStop: approxKlStop(false),
    ...running,
  };
}

/** How responses are sampled, at least `min` per prompt. */
export function samplingOf({ min, default: usual }: Defaults['samplesPerPrompt']) {
  const compared = min > 1 ? ', compared with each other' : '';
  return rollouts.sampling.unwrap().extend({
    samplesPerPrompt: z.int().min(min).default(usual).describe(`number of responses per prompt${compared}`),
  });
}

/** The weight of the KL penalty in the reward. */
export function klWeight(usual: number) {
  return z.number().min(0).default(usual).describe('cost of KL to the reference policy, per nat, in the reward');
}

/** Clips of the probability ratio; without `clip`, policyLoss has the default. */
export const clips = {
  clip: z.number().gt(0).optional().describe('lower clip of the probability ratio, at 1 − clip (default: 0.2)'),
  clipHigh: z
    .number()
    .gt(0)
    .optional()
    .describe('upper clip of the probability ratio, at 1 + clipHigh (default: clip)'),
  dualClip: z
    .number()
    .gt(1)
    .optional()
    .describe('the loss of a token with a negative advantage is at most this many times it (default: unlimited)'),
};

/** The objective of the policy, in all its variants. */
export const policyObjective = z
  .strictObject({
    kind: z
      .enum(['clip', 'cispo', 'spo'])
      .default('clip')
      .describe('clip: a clipped ratio; cispo: a capped weight of log p; spo: a quadratic penalty on the ratio'),
    level: z
      .enum(['token', 'sequence'])
      .default('token')
      .describe('one probability ratio per token, or per response (GSPO)'),
    ...clips,
    ratioMax: z.number().gt(1).optional().describe('largest ratio of a negative advantage (default: unlimited)'),
    ratioCap: z.number().gt(0).optional().describe('largest ratio of cispo (default: 5)'),
    aggregation: z
      .enum(['dapo', 'row-mean', 'dr-grpo'])
      .optional()
      .describe(
        'dapo: all response tokens count the same; row-mean: all responses do; dr-grpo: a sum over tokens, divided by ' +
          'responses and maxNewTokens (default: dapo, and row-mean with level sequence)',
      ),
    kl: z
      .enum(['unbiased', 'k3'])
      .optional()
      .describe('if set, klWeight weighs this estimate in the loss, instead of the KL in the reward'),
    entropyWeight: z.number().min(0).default(0).describe('weight of the entropy bonus'),
    offPolicyKl: z
      .number()
      .gt(0)
      .optional()
      .describe('ignore worse responses further than this from the rollout, in nats per token (default: none)'),
  })
  .superRefine((loss, context) => {
    const { aggregation, ...others } = loss;
    const unused = unusedPolicyOption(others);
    if (unused) context.addIssue({ code: 'custom', path: [unused.name], message: unused.expected });
    if (loss.level === 'sequence' && aggregation !== undefined && aggregation !== 'row-mean')
      context.addIssue({ code: 'custom', path: ['aggregation'], message: 'row-mean with level sequence' });
  });

/** The fields that all methods without a critic have, filled in. */
export type CriticFreeConfig = z.output<z.ZodObject<ReturnType<typeof criticFree>>>;
