/** Fields that say which step of a run is the best, and when a run that gets no better ends; docs/stopping.md. */
import * as z from 'zod';
import { count, path } from './fields.ts';

/** Whether a lower or a higher value of a metric is better. */
export type Mode = 'min' | 'max';

const LOWER = /loss$|ece$|brier$|error$/i;
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

const guard = z
  .strictObject({
    reward: path
      .optional()
      .describe('scores the answers besides reward, and nothing is learned from it: a reward model, a module or a URL'),
    agreement: z
      .number()
      .min(-1)
      .max(1)
      .optional()
      .describe('least correlation of the scores with those of guard.reward (default: 0.4)'),
    drop: z.number().gt(0).optional().describe('how far the mean score of guard.reward may fall below its highest'),
    kl: z.number().gt(0).optional().describe('most KL to the reference policy, in nats per response'),
    length: z
      .number()
      .gt(1)
      .optional()
      .describe('factor by which responses may become longer or shorter than in the first iteration'),
    repetition: z
      .number()
      .gt(0)
      .max(1)
      .optional()
      .describe('how far the share of repeated trigrams may rise above that of the first iteration'),
    patience: count.default(2).describe('iterations in a row over a limit that end the run'),
  })
  .superRefine(({ patience: _, reward, ...limits }, context) => {
    const refuse = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message });
    const { agreement, drop, ...others } = limits;
    for (const [field, value] of Object.entries({ agreement, drop }))
      if (reward === undefined && value !== undefined) refuse(field, 'nothing without reward, which it is about');
    const all = Object.values({ reward, agreement, drop, ...others });
    if (all.every((value) => value === undefined)) refuse('patience', 'reward, kl, length or repetition besides');
  })
  .optional()
  .describe('limits that end a run which leaves what its reward can judge');

/** The same for methods that learn from scores of their own answers. */
export const guardedEvaluation = z
  .strictObject({ ...keepBest, guard })
  .superRefine(checkEvaluation)
  .prefault({})
  .describe('which step is the best, and when to stop early');

/** The options of the group with defaults filled in; only methods that learn from scores have `guard`. */
export type EvaluationConfig = z.output<z.ZodObject<typeof keepBest>> & { guard?: GuardConfig | undefined };
/** The limits of a run that learns from scores. */
export type GuardConfig = NonNullable<z.output<typeof guard>>;

function checkEvaluation({ keepBest, mode, stopAfter }: EvaluationConfig, context: z.RefinementCtx): void {
  const refuse = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message });
  if (keepBest === undefined) {
    const expected = 'nothing without keepBest, which names the metric';
    for (const [field, value] of Object.entries({ mode, stopAfter })) if (value !== undefined) refuse(field, expected);
  } else if (mode === undefined && modeOf(keepBest) === undefined) {
    refuse('mode', `min or max, because the name ${keepBest} does not tell whether lower or higher values are better`);
  }
}
