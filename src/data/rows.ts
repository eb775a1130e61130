import { DataError, FileError } from '../errors.ts';
import { isWellFormed } from '../files/json.ts';
import { checkKind, PATH } from '../checks/kinds.ts';
import { readJsonl } from './jsonl.ts';

/** A row that could not be used: its `file:line` and why. */
export interface Skipped {
  place: string;
  reason: string;
}

/** What a row gives: something to use, or the reason why there is nothing. */
export type Row<T> = { use: T } | { skip: string };
/** A row and its line, counted from 1. */
export interface NumberedRow<T> {
  line: number;
  row: Row<T>;
}

/** A file with more unusable rows is not what it is taken for; and each of them is kept. */
const MAX_SKIPPED = 1_000_000;

/**
 * Reads every row of a JSONL file with `read`, in order. `judge` looks at all of them together, and may make more of them unusable.
 * @throws FileError when the file cannot be read or has no usable row, DataError when a line is not a JSON object.
 */
export async function readRows<T>(
  path: string,
  read: (value: Record<string, unknown>) => Row<T>,
  judge: (rows: NumberedRow<T>[]) => NumberedRow<T>[] = (rows) => rows,
): Promise<{ used: T[]; skipped: Skipped[] }> {
  checkKind('path', path, PATH);
  const rows: NumberedRow<T>[] = [];
  let unusable = 0;
  for await (const { line, value } of readJsonl(path)) {
    const row = read(value);
    if ('skip' in row && ++unusable > MAX_SKIPPED) throw tooMany(`${path}:${line}`, row.skip);
    rows.push({ line, row });
  }
  const used: T[] = [];
  const skipped: Skipped[] = [];
  for (const { line, row } of judge(rows)) {
    if ('use' in row) used.push(row.use);
    else skipped.push({ place: `${path}:${line}`, reason: row.skip });
  }
  if (used.length > 0) return { used, skipped };
  const first = skipped[0];
  const received =
    first === undefined
      ? 'no row'
      : `${skipped.length} unusable ${skipped.length === 1 ? 'row' : 'rows'}, the first because ${first.reason}`;
  const fix = 'Write rows with "prompt", or with "chosen" and "rejected"; docs/cli.md has their forms.';
  throw new FileError({ argument: path, received, expected: 'at least one usable row', fix });
}

/** The fields of a row that must be strings of whole characters, or the reason why they are not. */
export function readStrings<K extends string>(
  value: Record<string, unknown>,
  keys: readonly K[],
): Row<Record<K, string>> {
  for (const key of keys) {
    if (!Object.hasOwn(value, key)) return { skip: `"${key}" is missing` };
    const text = value[key];
    if (typeof text !== 'string') return { skip: `"${key}" is not a string` };
    if (!isWellFormed(text)) return { skip: `"${key}" has half of a surrogate pair` };
  }
  return { use: value as Record<K, string> };
}

function tooMany(place: string, reason: string): DataError {
  const received = `more than ${MAX_SKIPPED} unusable rows, this one because ${reason}`;
  return new DataError({ argument: place, received, expected: 'a file of usable rows', fix: 'Check its format.' });
}
