/** Fields of methods that answer prompts, score the answers and learn from the scores. */
import { z } from 'zod';
import { count } from './fields.ts';
import { samplingConfig } from './sampling.ts';

// A policy is trained on the distribution it samples from, so there are no filters; it learns nothing from greedy responses.
const sampling = z.strictObject({
  maxNewTokens: samplingConfig.shape.maxNewTokens.default(64),
  temperature: z.number().gt(0).default(1).describe('divides the logits, both in sampling and in training'),
  samplesPerPrompt: samplingConfig.shape.samplesPerPrompt,
  logProb: z
    .enum(['recomputed', 'sampled'])
    .default('recomputed')
    .describe('log-probabilities of the rollout: recomputed by the forward pass of training, or as sampled'),
});

/** Sampling responses. */
export const rollouts = {
  rolloutBatch: count.default(64).describe('prompts per iteration'),
  maxPromptLength: count.default(96).describe('max tokens of a prompt, kept from its end'),
  sampling: sampling.prefault({}).describe('how responses are sampled'),
};

const score = z.strictObject({
  norm: z
    .enum(['none', 'reference', 'running'])
    .optional()
    .describe(
      'statistics that normalise scores to mean 0 and deviation 1: none, those of the reward model, or those of the run ' +
        'so far (default: reference if the reward model has them, else running)',
    ),
  missingEosPenalty: z
    .number()
    .min(0)
    .default(0)
    .describe('subtracted from the normalised score of a response that did not end'),
  missingEosScore: z
    .number()
    .optional()
    .describe('takes the place of the normalised score of a response that did not end (default: its own score)'),
  overlongBuffer: count
    .optional()
    .describe('the last tokens before maxNewTokens, over which a penalty rises to 1 (default: none)'),
  timeout: z.number().gt(0).max(1e6).default(600).describe('max seconds per call of a reward function'),
  combine: z
    .enum(['sum', 'mean', 'min', 'conservative'])
    .optional()
    .describe(
      'how several rewards become one: their weighted sum, their mean, the min, or the mean minus disagreement × variance ' +
        '(default: sum)',
    ),
  disagreement: z.number().gt(0).optional().describe('weight of the variance in conservative (default: 0.5)'),
});

/** Scoring responses. */
export const scores = {
  score: score.prefault({}).describe('how responses are scored'),
};

/** The critic, and the advantages it gives. */
export const critic = z.strictObject({
  gamma: z.number().min(0).max(1).default(1).describe('discount factor of rewards'),
  lambda: z.number().min(0).max(1).default(0.95).describe('GAE lambda: 1 is unbiased, lower has less variance'),
  lengthAdaptive: z
    .number()
    .gt(0)
    .optional()
    .describe(
      'if set, the lambda of the advantages of a response of n tokens is 1 − 1 / (lengthAdaptive · n), and lambda is ' +
        'that of the returns alone (VAPO: 0.05, with lambda 1)',
    ),
  whiten: z.boolean().default(true).describe('whiten advantages: mean 0 and variance 1 over each iteration'),
  warmup: z.int().min(0).default(2).describe('initial iterations that train only the critic'),
});

/** Updates from a rollout. */
export const passes = {
  epochs: count.default(4).describe('passes over the responses of each iteration'),
  minibatchSize: count.default(32).describe('responses per minibatch'),
  accumulate: count.default(1).describe('minibatches per optimizer step (gradient accumulation)'),
};
