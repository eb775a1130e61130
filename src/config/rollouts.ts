/** Fields of methods that answer prompts, score the answers and learn from the scores. */
import * as z from 'zod';
import { guardedEvaluation } from './evaluation.ts';
import { checkpoint, computing, count, lora } from './fields.ts';
import { limits, lr, optimizer, unfrozen } from './optimisation.ts';
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
    .enum(['none', 'reference', 'running', 'reference-scale', 'running-scale'])
    .optional()
    .describe(
      'statistics that normalise scores to mean 0 and deviation 1: none, those of the reward model, or those of the run ' +
        'so far; with -scale, scores are divided by the deviation alone (default: reference if the reward model has ' +
        'them, else running)',
    ),
  clip: z.number().gt(0).optional().describe('scores are first limited to ± this (default: unlimited)'),
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
  repetition: z
    .strictObject({
      ngram: count.default(3).describe('number of tokens that count as repeated together'),
      penalty: z.number().gt(0).default(1).describe('penalty of a response that repeats itself throughout'),
    })
    .optional()
    .describe('if set, a penalty for n-grams that a response repeats'),
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

const histogram = z
  .strictObject({
    bins: z.int().min(2).default(51).describe('number of bins'),
    min: z.number().default(-5).describe('centre of the lowest bin'),
    max: z.number().default(5).describe('centre of the highest bin'),
    sigma: z.number().gt(0).default(0.75).describe('standard deviation of a target, in steps between bins'),
  })
  .refine(({ min, max }) => max > min, { path: ['max'], message: 'a number above min' });

/** The critic, and the advantages it gives. */
export const critic = z.strictObject({
  histogram: histogram.optional().describe('if set, the critic learns bins of the return (HL-Gauss)'),
  start: z
    .enum(['zero', 'reward'])
    .default('zero')
    .describe('what the critic starts from: zero values, or the adapters and head of the reward model'),
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

/** The learning rate of the policy, and how it ends. */
export const policyRate = {
  lr: lr.optional().describe('peak learning rate of the policy (default: chosen by its width)'),
  decay: z
    .enum(['linear', 'cosine', 'constant'])
    .default('linear')
    .describe('how the learning rate falls to 0 at the last step'),
};

/** The optimizer of the policy. */
export const policyOptimizer = { ...optimizer({ betas: [0.9, 0.999], weightDecay: 0 }), ...unfrozen };

/** When the passes over a rollout end early. */
export function approxKlStop(usual: number | false) {
  return z
    .union([z.number().gt(0), z.literal(false)])
    .default(usual)
    .describe('end the epochs of an iteration early above this KL, in nats per token; false never does');
}

/** What is not specific to a method. */
export const running = {
  ...limits,
  lora,
  evaluation: guardedEvaluation,
  checkpoint: checkpoint(50),
  ...computing,
};
