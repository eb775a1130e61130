/** What the trials of a sweep came to: which is better, and which parameters go with better values. */
import type { Mode } from '../config/evaluation.ts';
import { correlation } from '../metrics/correlation.ts';
import type { Parameters } from './parameters.ts';

/** A trial and what it came to. */
export interface SweepTrial {
  /** Its number, from 1. */
  trial: number;
  /** Its settings by their dotted keys. */
  parameters: Parameters;
  /** The run folders, one per repeat. */
  folders: readonly string[];
  /** The comparisons that it took part in: 1, or more with halving. */
  rungs: number;
  /** Steps that its first run has done. */
  steps: number;
  /** The mean of the metric in the last comparison, over the repeats; undefined if the trial failed. */
  value: number | undefined;
  /** The standard deviation of the repeats; undefined without repeats. */
  spread: number | undefined;
  /** The value in the first comparison, in which all trials took part. */
  firstValue: number | undefined;
  /** Why a run of the trial failed. */
  failed: string | undefined;
}

/** The trials, the best first: those that came further, then those with the better value; failed ones are last. */
export function ranked(trials: readonly SweepTrial[], mode: Mode): SweepTrial[] {
  const sign = mode === 'min' ? 1 : -1;
  const order = (a: SweepTrial, b: SweepTrial) =>
    Number(a.failed !== undefined) - Number(b.failed !== undefined) ||
    b.rungs - a.rungs ||
    sign * ((a.value ?? 0) - (b.value ?? 0)) ||
    a.trial - b.trial;
  return [...trials].sort(order);
}

/** The best trials of a rung that go on to the next one: one in `factor`, and at least one. */
export function promoted(trials: readonly SweepTrial[], mode: Mode, factor: number): SweepTrial[] {
  const sound = ranked(trials, mode).filter(({ failed }) => failed === undefined);
  return sound.slice(0, Math.max(1, Math.floor(trials.length / factor)));
}

/**
 * Spearman's rank correlation of each parameter with the metric: 1 if higher values of the parameter always go with higher ones of the
 * metric, −1 if with lower ones. Undefined for parameters that are no numbers or switches, or never vary. With halving, the values of
 * the first comparison are used, in which all trials had done the same number of steps.
 */
export function rankCorrelations(trials: readonly SweepTrial[]): Record<string, number | undefined> {
  const sound = trials.filter(({ firstValue }) => firstValue !== undefined);
  const values = ranks(sound.map(({ firstValue }) => firstValue as number));
  const keys = Object.keys(trials[0]?.parameters ?? {});
  return Object.fromEntries(
    keys.map((key) => {
      const given = sound.map(({ parameters }) => parameters[key]);
      const ordered = given.every((value) => typeof value === 'number' || typeof value === 'boolean');
      return [key, ordered ? correlation(ranks(given.map(Number)), values) : undefined];
    }),
  );
}

/** The rank of each value, from 1; equal values share the mean of their ranks. */
export function ranks(values: readonly number[]): number[] {
  return values.map((value) => {
    const below = values.filter((other) => other < value).length;
    const equal = values.filter((other) => other === value).length;
    return below + (equal + 1) / 2;
  });
}

/** Mean and sample standard deviation of the values of repeats; no deviation for a single one. */
export function meanAndSpread(values: readonly number[]): { value: number; spread: number | undefined } {
  const value = values.reduce((sum, each) => sum + each, 0) / values.length;
  if (values.length < 2) return { value, spread: undefined };
  const squares = values.reduce((sum, each) => sum + (each - value) ** 2, 0);
  return { value, spread: Math.sqrt(squares / (values.length - 1)) };
}
