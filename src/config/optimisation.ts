/** How weights are moved: fields that methods spread into their schemas, so that a flag means the same in all of them. */
import { z } from 'zod';
import { betas, count } from './fields.ts';

/** The highest learning rate, which a method gives a default or leaves open. */
export const lr = z.number().gt(0);

/** How the learning rate begins and ends where steps are optimizer steps; trainers/schedule.ts has the rule for what is not given. */
export const schedule = {
  minLr: z.number().min(0).optional().describe('learning rate at the end; a tenth of lr unless given'),
  warmupSteps: z
    .int()
    .min(0)
    .optional()
    .describe('steps over which the learning rate rises to lr; a tenth of the steps, at most 100, unless given'),
};

/** What makes a step of a gradient. `lr` is not among it: it has another default in every method. */
export function optimizer(defaults: { betas: [number, number]; weightDecay: number }) {
  return {
    optimizer: z
      .enum(['adamw', 'adoptAtan2', 'adamAtan2'])
      .default('adamw')
      .describe('what moves weights along their gradients'),
    betas: betas(...defaults.betas),
    weightDecay: z.number().min(0).default(defaults.weightDecay).describe('weight decay of the optimizer'),
  };
}

/** How far one step may go, and what is put up with. */
export const limits = {
  maxGradNorm: z.number().gt(0).default(1).describe('gradient norm above which gradients are scaled down'),
  maxSkippedSteps: count
    .default(5)
    .describe('optimizer steps in a row with numbers that are not finite, which end the run'),
};

/** What `optimizer` makes, with the learning rate. */
export type OptimizerConfig = z.output<z.ZodObject<ReturnType<typeof optimizer>>> & { lr: number };
