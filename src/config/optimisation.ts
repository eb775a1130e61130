/** How weights are updated: fields that methods spread into their schemas, so that a flag means the same in all of them. */
import * as z from 'zod';
import { betas, count } from './fields.ts';

/** The peak learning rate. Each method gives it a default or makes it optional. */
export const lr = z.number().gt(0);

/** Warm-up and end of the learning rate, for methods whose steps are optimizer steps; trainers/schedule.ts has the defaults. */
export const schedule = {
  minLr: z.number().min(0).optional().describe('final learning rate (default: lr / 10)'),
  warmupSteps: z
    .int()
    .min(0)
    .optional()
    .describe('steps over which the learning rate rises to lr (default: steps / 10, max 100)'),
};

/** The optimizer and its settings, except `lr`, whose default differs between methods. */
export function optimizer(defaults: { betas: [number, number]; weightDecay: number }) {
  return {
    optimizer: z.enum(['adamw', 'adoptAtan2', 'adamAtan2']).default('adamw').describe('optimizer algorithm'),
    betas: betas(...defaults.betas),
    weightDecay: z.number().min(0).default(defaults.weightDecay).describe('weight decay'),
  };
}

/** Whether a policy is trained from some layer up only. */
export const unfrozen = {
  numLayersUnfrozen: count
    .optional()
    .describe(
      'train only so many of the top layers, the final norm and a head that is not tied; needs --no-lora (default: all)',
    ),
};

/** How far one step may go, and how many skipped steps are tolerated. */
export const limits = {
  maxGradNorm: z.number().gt(0).default(1).describe('max gradient norm; larger gradients are scaled down'),
  maxSkippedSteps: count.default(5).describe('stop after this many consecutive non-finite optimizer steps'),
};

/** The fields of `optimizer`, and the learning rate. */
export type OptimizerConfig = z.output<z.ZodObject<ReturnType<typeof optimizer>>> & { lr: number };
