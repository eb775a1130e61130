/** Fields of methods that answer prompts, have the answers judged and learn from that. */
import { z } from 'zod';
import { count } from './fields.ts';
import { samplingConfig } from './sampling.ts';

// Training is on the distribution that was sampled from, so there are no filters, and greedy responses teach nothing.
const sampling = z.strictObject({
  maxNewTokens: samplingConfig.shape.maxNewTokens.default(64),
  temperature: z.number().gt(0).default(1).describe('divides the logits, in sampling and in training'),
  samplesPerPrompt: samplingConfig.shape.samplesPerPrompt,
});

/** Answering. */
export const rollouts = {
  rolloutBatch: count.default(64).describe('prompts in an iteration'),
  maxPromptLength: count.default(96).describe('tokens of a prompt that are kept, from its end'),
  sampling: sampling.prefault({}).describe('how responses are drawn'),
  rolloutLogProb: z
    .enum(['recomputed', 'sampled'])
    .default('recomputed')
    .describe('log-probabilities of the rollout: by the forward pass that training uses, or as they were drawn'),
};

const score = z.strictObject({
  norm: z
    .enum(['none', 'reference', 'running'])
    .optional()
    .describe(
      'what scores are brought to mean 0 and deviation 1 by: nothing, statistics of the reward model, or those of the run; ' +
        'unless given reference where the reward model has them, else running',
    ),
});

/** Being judged. */
export const scores = {
  rewardTimeout: z.number().gt(0).max(1e6).default(600).describe('seconds that a reward function may take'),
  score: score.prefault({}).describe('the scale of scores'),
  missingEosPenalty: z
    .number()
    .min(0)
    .default(0)
    .describe('taken from the normalised score of a response that did not end'),
};

/** What a critic makes of it. */
export const critic = {
  gamma: z.number().min(0).max(1).default(1).describe('discount of later rewards'),
  lambda: z.number().min(0).max(1).default(0.95).describe('bias against variance in advantages: 1 has no bias'),
  whiten: z.boolean().default(true).describe('give advantages mean 0 and variance 1 over the iteration'),
  criticWarmup: z.int().min(0).default(2).describe('iterations at the start in which the critic learns alone'),
};

/** Learning from it. */
export const passes = {
  epochs: count.default(4).describe('passes over the responses of an iteration'),
  minibatchSize: count.default(32).describe('responses in a minibatch'),
  accumulate: count.default(1).describe('minibatches whose gradients make one optimizer step'),
};
