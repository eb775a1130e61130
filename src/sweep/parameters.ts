/** The parameters of trials: all combinations of a grid, or random draws. */
import type { Parameter, SweepConfig } from '../config/sweep.ts';
import { Random } from '../data/random.ts';
import { seedFor } from '../seed.ts';

/** Settings of a trial by their dotted keys. */
export type Parameters = Readonly<Record<string, unknown>>;

/** Digits of a drawn number: as many as tell trials apart, and few enough to read and to copy. */
const DIGITS = 4;

/**
 * The parameters of all trials. A random draw depends on the seed, the number of the trial and the key alone, so more trials or more
 * parameters change none. In a grid the last parameter changes fastest.
 */
export function parametersOf({ search, parameters, trials = 0, seed }: SweepConfig): Parameters[] {
  if (search === 'grid') return grid(parameters as Record<string, readonly unknown[]>);
  return Array.from({ length: trials }, (_, i) => {
    const drawn = Object.entries(parameters).map(([key, values]) => [key, draw(values, seed, i + 1, key)]);
    return Object.fromEntries(drawn);
  });
}

function grid(parameters: Readonly<Record<string, readonly unknown[]>>): Parameters[] {
  return Object.entries(parameters).reduce<Parameters[]>(
    (all, [key, values]) => all.flatMap((some) => values.map((value) => ({ ...some, [key]: value }))),
    [{}],
  );
}

function draw(values: Parameter, seed: number, trial: number, key: string): unknown {
  const random = new Random(seedFor(seed, `trial ${trial} ${key}`));
  if (Array.isArray(values)) return values[random.int(values.length)];
  const share = random.next();
  const [low, high] = 'log' in values ? values.log : values.uniform;
  const value = 'log' in values ? low * (high / low) ** share : low + (high - low) * share;
  return Math.min(high, Math.max(low, Number(value.toPrecision(DIGITS))));
}
