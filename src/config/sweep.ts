/** A search for good settings: which settings are tried, in how many runs, and which of them go on; docs/sweep.md. */
import * as z from 'zod';
import { modeOf } from './evaluation.ts';
import { count, seed } from './fields.ts';

/** More trials than this are taken for a mistake. */
const MOST = 10_000;

const range = z.tuple([z.number(), z.number()]);
const parameter = z
  .union([z.array(z.unknown()).min(1), z.strictObject({ uniform: range }), z.strictObject({ log: range })])
  .superRefine((values, context) => {
    if (Array.isArray(values)) return;
    const [low, high] = 'log' in values ? values.log : values.uniform;
    const expected = 'log' in values ? '0 < min < max' : 'min < max';
    if (low < high && !('log' in values && low <= 0)) return;
    context.addIssue({ code: 'custom', message: `a range with ${expected}, or a list of values` });
  })
  .meta({ expected: 'a list of values, or a range { uniform: [min, max] } or { log: [min, max] }' });

/** The values that a parameter may have. */
export type Parameter = z.output<typeof parameter>;

const halving = z.strictObject({
  first: count.describe('steps after which the trials are first compared'),
  factor: z.int().min(2).default(3).describe('one in so many trials goes on, for so many times the steps'),
});

export const sweepConfig = z
  .strictObject({
    run: z.string().min(1).describe('what a trial runs: a method, a shipped recipe, or a recipe file'),
    base: z
      .record(z.string(), z.unknown())
      .default({})
      .describe('settings of all trials, which override those of the recipe'),
    search: z
      .enum(['grid', 'random'])
      .default('random')
      .describe('grid tries all combinations of values; random draws them'),
    trials: z.int().min(1).max(MOST).optional().describe('number of trials of a random search'),
    seed: seed.describe('seed of the draws; a draw depends on it and the number of the trial alone'),
    metric: z.string().min(1).describe('metric of metrics.jsonl that trials are compared by'),
    mode: z
      .enum(['min', 'max'])
      .optional()
      .describe('whether lower or higher values are better (default: known for losses, scores and accuracies)'),
    parameters: z
      .record(z.string(), parameter)
      .describe('values of each setting that is searched, by its dotted key, such as loss.clip'),
    halving: halving.optional().describe('if set, only the best trials go on after some steps (successive halving)'),
    repeats: count.default(1).describe('runs of each trial, with consecutive seeds; trials are compared by their mean'),
  })
  .superRefine(({ search, trials, metric, mode, parameters }, context) => {
    const refuse = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
    const size = Object.values(parameters).reduce((n, values) => n * (Array.isArray(values) ? values.length : 1), 1);
    if (Object.keys(parameters).length === 0) refuse(['parameters'], 'at least one parameter');
    if (search === 'random' && trials === undefined) refuse(['trials'], 'the number of trials, for a random search');
    if (search === 'grid') {
      if (trials !== undefined) refuse(['trials'], 'nothing: a grid has a trial for each combination of values');
      for (const [key, values] of Object.entries(parameters))
        if (!Array.isArray(values)) refuse(['parameters', key], 'a list of values, for a grid');
      if (size > MOST) refuse(['parameters'], `at most ${MOST} combinations, not ${size}`);
    }
    if (mode === undefined && modeOf(metric) === undefined)
      refuse(
        ['mode'],
        `min or max, because the name ${metric} does not tell whether lower or higher values are better`,
      );
  });

/** The options of a sweep, apart from its folder. */
export type { SweepConfigInput } from './options/sweep.ts';
/** The options of a sweep with defaults filled in. */
export type SweepConfig = z.output<typeof sweepConfig>;
