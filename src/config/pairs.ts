/** Fields of methods that learn from recorded feedback: pairs of a chosen and a rejected response, or labelled responses. */
import * as z from 'zod';
import { evaluation } from './evaluation.ts';
import { checkpointWatchingLoss, computing, count, lora } from './fields.ts';
import { limits, lr, optimizer, schedule, unfrozen } from './optimisation.ts';

/** How rows, named by `what`, are batched and truncated. */
export function batching(what: string) {
  return {
    batchSize: count.default(16).describe(`${what} per batch`),
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
}

/** Rows held out for evaluation. */
export function holdingOut(what: string) {
  return {
    validationFraction: z
      .number()
      .min(0)
      .lt(1)
      .default(0.05)
      .describe(`share of the ${what} to hold out if there is no validation file`),
    evaluateEvery: count
      .default(50)
      .describe(`steps between evaluations on held-out ${what}; the last step is always evaluated`),
  };
}

export const pairs = batching('pairs');
export const heldOutPairs = holdingOut('pairs');

const adam = z.strictObject(optimizer({ betas: [0.9, 0.999], weightDecay: 0 }));
const settings = 'the optimizer and its settings';

/** How a policy learns from recorded rows, whatever its loss. */
export function policyLearning(what: string) {
  return {
    lr: lr.optional().describe('peak learning rate (default: chosen by the width of the model)'),
    ...schedule,
    optimisation: adam.extend(unfrozen).prefault({}).describe(settings),
    ...limits,
    lora,
    ...holdingOut(what),
    evaluation,
    checkpoint: checkpointWatchingLoss(100),
    ...computing,
  };
}

/** The same for a reward model. */
export function rewardLearning(what: string) {
  return { ...policyLearning(what), optimisation: adam.prefault({}).describe(settings) };
}

/** Weight of the likelihood of chosen responses. */
export const nllWeight = z.number().min(0).describe('weight of the negative log-likelihood of chosen responses');

/** How many of the labels are assumed to be wrong. */
export const labelSmoothing = z.number().min(0).lt(0.5).default(0);
