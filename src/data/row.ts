/** What reading a row of data gives. */
import { isWellFormed } from '../files/json.ts';

/** An unusable row: its `file:line` and the reason. */
export interface Skipped {
  place: string;
  reason: string;
}

/** The result of reading a row: something to use, or the reason to skip it. */
export type Row<T> = { use: T } | { skip: string };
/** A row and where it is: as `file:line`, and in words, which within one file is `line 3`. */
export interface PlacedResult<T> {
  place: string;
  at: string;
  row: Row<T>;
}

/** Reads the fields of a row that must be well-formed strings, or returns the reason why one is not. */
export function readStrings<K extends string>(
  value: Record<string, unknown>,
  keys: readonly K[],
): Row<Record<K, string>> {
  for (const key of keys) {
    if (!Object.hasOwn(value, key)) return { skip: `"${key}" is missing` };
    const text = value[key];
    if (typeof text !== 'string') return { skip: `"${key}" is not a string` };
    if (!isWellFormed(text)) return { skip: `"${key}" has a lone surrogate` };
  }
  return { use: value as Record<K, string> };
}
