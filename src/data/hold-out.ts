import { ArgumentError, printable, ShapeError } from '../errors.ts';
import { checkKind, checkKinds, LIST, NUMBER } from '../checks/kinds.ts';
import { seedFor } from '../seed.ts';
import { Random } from './random.ts';

/** Rows to train on, and rows that are held out. */
export interface Split<T> {
  train: T[];
  validation: T[];
}

/**
 * Holds out at most `fraction` of the rows, but one prompt at least where that is a row or more: prompts in an order that
 * `seed` draws, each with all of its rows, so that nothing that is held out was trained on. `groups` has the number of each
 * row's prompt. Both parts keep the order of the rows.
 * @throws ArgumentError unless 0 <= fraction < 1, ShapeError unless there is a group for every row.
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
    throw new ShapeError({ argument: 'groups', received, expected: `${rows.length}, one for each row` });
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
  const expected = 'a number from 0 up to 1';
  throw new ArgumentError({ argument: 'fraction', received: printable(fraction), expected });
}

/** The rows of every group. */
function sizesOf(groups: readonly number[]): Map<number, number> {
  const sizes = new Map<number, number>();
  for (const group of groups) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  return sizes;
}

/** Groups of at most `most` rows together, or the smallest where none is that small; never all of them. */
function draw(sizes: ReadonlyMap<number, number>, most: number, seed: number): Set<number> {
  const held = new Set<number>();
  if (most < 1 || sizes.size < 2) return held;
  const order = new Random(seedFor(seed, 'held-out prompts')).shuffle([...sizes]);
  let left = most;
  for (const [group, size] of order) {
    if (size > left) continue;
    held.add(group);
    left -= size;
  }
  if (held.size === 0) held.add(order.reduce((least, next) => (next[1] < least[1] ? next : least))[0]);
  return held;
}
