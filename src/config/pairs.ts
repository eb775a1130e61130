/** Fields of methods that learn from pairs of a chosen and a rejected response. */
import { z } from 'zod';
import { count } from './fields.ts';

/** How pairs are batched and truncated. */
export const pairs = {
  batchSize: count.default(16).describe('pairs per batch'),
  accumulate: count.default(1).describe('batches per optimizer step (gradient accumulation)'),
  maxLength: z
    .int()
    .min(2)
    .default(256)
    .describe('max tokens of prompt plus response; cuts the start of the prompt, then the end of the response'),
  maxPromptLength: count
    .optional()
    .describe('max tokens of a prompt, kept from its end (default: what the responses leave room for)'),
};

/** Pairs held out for evaluation. */
export const heldOutPairs = {
  validationFraction: z
    .number()
    .min(0)
    .lt(1)
    .default(0.05)
    .describe('share of the pairs to hold out if there is no validation file'),
  evaluateEvery: count
    .default(50)
    .describe('steps between evaluations on held-out pairs; the last step is always evaluated'),
};
