import { ArgumentError, printable, ShapeError } from '../errors.ts';
import { checkKind, checkKinds, LIST, NUMBER } from '../checks/kinds.ts';
import { seedFor } from '../seed.ts';
import { Random } from './random.ts';

/** Training rows and held-out rows. */
export interface Split<T> {
  train: T[];
  validation: T[];
}

/**
 * Holds out at most `fraction` of the rows, but at least one prompt if that fraction is a row or more. Prompts are
 * drawn in an order given by `seed` and held out with all their rows, so that no held-out prompt is trained on.
 * `groups` holds the prompt number of each row. Both parts keep the order of the rows.
 * @throws ArgumentError unless 0 <= fraction < 1.
 * @throws ShapeError unless there is one group per row.
 */
export function holdOutPrompts<T>(
  rows: readonly T[],
  groups: readonly number[],
  options: { fraction: number; seed: number },
): Split<T> {
  checkKind('rows', rows, LIST);
  checkKind('groups', groups, LIST);
  checkKinds('holdOutPrompts', options, { seed: NUMBER });
  const { fraction, seed } = options;
  checkFraction(fraction);
  if (groups.length !== rows.length) {
    const received = `${groups.length} groups`;
    throw new ShapeError({ argument: 'groups', received, expected: `${rows.length}, one per row` });
  }
  const held = draw(sizesOf(groups), Math.floor(rows.length * fraction), seed);
  return {
    train: rows.filter((_, i) => !held.has(groups[i] as number)),
    validation: rows.filter((_, i) => held.has(groups[i] as number)),
  };
}

/** @throws ArgumentError unless 0 <= fraction < 1. */
export function checkFraction(fraction: number): void {
  if (typeof fraction === 'number' && fraction >= 0 && fraction < 1) return;
  const expected = 'a number >= 0 and < 1';
  throw new ArgumentError({ argument: 'fraction', received: printable(fraction), expected });
}

/** The number of rows in each group. */
function sizesOf(groups: readonly number[]): Map<number, number> {
  const sizes = new Map<number, number>();
  for (const group of groups) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  return sizes;
}

/** Draws groups with at most `max` rows in total, or the smallest group if none is that small; never all groups. */
function draw(sizes: ReadonlyMap<number, number>, max: number, seed: number): Set<number> {
  const held = new Set<number>();
  if (max < 1 || sizes.size < 2) return held;
  const order = new Random(seedFor(seed, 'held-out prompts')).shuffle([...sizes]);
  let left = max;
  for (const [group, size] of order) {
    if (size > left) continue;
    held.add(group);
    left -= size;
  }
  if (held.size === 0) held.add(order.reduce((smallest, next) => (next[1] < smallest[1] ? next : smallest))[0]);
  return held;
}
