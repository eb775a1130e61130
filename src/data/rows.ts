import { DataError, FileError } from '../errors.ts';
import { isWellFormed } from '../files/json.ts';
import { checkKind, PATH } from '../checks/kinds.ts';
import { readJsonl } from './jsonl.ts';

/** An unusable row: its `file:line` and the reason. */
export interface Skipped {
  place: string;
  reason: string;
}

/** The result of reading a row: something to use, or the reason to skip it. */
export type Row<T> = { use: T } | { skip: string };
/** A row with its 1-based line number. */
export interface NumberedRow<T> {
  line: number;
  row: Row<T>;
}

/** Maximum number of unusable rows, as each is kept: a file with more has the wrong format. */
const MAX_SKIPPED = 1_000_000;

/**
 * Reads every row of a JSONL file with `read`, in order. `judge` sees all rows together and may mark more of them as
 * unusable.
 * @throws FileError if the file cannot be read or has no usable row.
 * @throws DataError if a line is not a JSON object.
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
      ? 'no rows'
      : `${skipped.length} unusable ${skipped.length === 1 ? 'row' : 'rows'}, the first because ${first.reason}`;
  const fix = 'Write rows with "prompt", or with "chosen" and "rejected"; docs/cli.md describes the formats.';
  throw new FileError({ argument: path, received, expected: 'at least one usable row', fix });
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

function tooMany(place: string, reason: string): DataError {
  const received = `more than ${MAX_SKIPPED} unusable rows, this one because ${reason}`;
  return new DataError({ argument: place, received, expected: 'a file of usable rows', fix: 'Check its format.' });
}
