/** Fields of methods that learn from pairs of a chosen and a rejected response. */
import { z } from 'zod';
import { count } from './fields.ts';

/** Pairs on their way into a step. */
export const pairs = {
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
};

/** Pairs that are not learned from. */
export const heldOutPairs = {
  validationFraction: z
    .number()
    .min(0)
    .lt(1)
    .default(0.05)
    .describe('share of the pairs held out where no other file is given'),
  evaluateEvery: count
    .default(50)
    .describe('steps between evaluations on held-out pairs; the last step always has one'),
};
