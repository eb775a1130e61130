/** Fields that say which step of a run is the best, and when a run that gets no better ends; docs/stopping.md. */
import { z } from 'zod';
import { count } from './fields.ts';

/** Whether a lower or a higher value of a metric is better. */
export type Mode = 'min' | 'max';

const LOWER = /loss$|ece$|brier$/i;
const HIGHER = /^score|score$|^reward$|accuracy$|margin$|tau$/i;

/** Which values of `metric` are better; undefined if its name does not tell. */
export function modeOf(metric: string): Mode | undefined {
  if (LOWER.test(metric)) return 'min';
  return HIGHER.test(metric) ? 'max' : undefined;
}

const keepBest = {
  keepBest: z
    .string()
    .min(1)
    .optional()
    .describe('keep the model of the step at which this metric was best, as best.safetensors'),
  mode: z
    .enum(['min', 'max'])
    .optional()
    .describe(
      'whether lower or higher values of keepBest are better (default: known for losses, scores and accuracies)',
    ),
  stopAfter: count
    .optional()
    .describe(
      'end the run after so many values of keepBest in a row that are not better than the best (default: never)',
    ),
};

/** The group of all methods. */
export const evaluation = z
  .strictObject(keepBest)
  .superRefine(checkEvaluation)
  .prefault({})
  .describe('which step is the best, and when to stop early');

/** The options of the group with defaults filled in. */
export type EvaluationConfig = z.output<z.ZodObject<typeof keepBest>>;

function checkEvaluation({ keepBest, mode, stopAfter }: EvaluationConfig, context: z.RefinementCtx): void {
  const refuse = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message });
  if (keepBest === undefined) {
    const expected = 'nothing without keepBest, which names the metric';
    for (const [field, value] of Object.entries({ mode, stopAfter })) if (value !== undefined) refuse(field, expected);
  } else if (mode === undefined && modeOf(keepBest) === undefined) {
    refuse('mode', `min or max, because the name ${keepBest} does not tell whether lower or higher values are better`);
  }
}
