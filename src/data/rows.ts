import { FileError } from '../errors.ts';
import { readJsonl } from './jsonl.ts';

/** A row that could not be used: its `file:line` and why. */
export interface Skipped {
  place: string;
  reason: string;
}

/** What a row gives: something to use, or the reason why there is nothing. */
export type Row<T> = { use: T } | { skip: string };

/**
 * Reads every row of a JSONL file with `read`, in order.
 * @throws FileError when the file cannot be read or has no usable row, DataError when a line is not a JSON object.
 */
export async function readRows<T>(
  path: string,
  read: (value: Record<string, unknown>) => Row<T>,
): Promise<{ used: T[]; skipped: Skipped[] }> {
  const used: T[] = [];
  const skipped: Skipped[] = [];
  for await (const { line, value } of readJsonl(path)) {
    const row = read(value);
    if ('use' in row) used.push(row.use);
    else skipped.push({ place: `${path}:${line}`, reason: row.skip });
  }
  if (used.length > 0) return { used, skipped };
  const first = skipped[0];
  const received =
    first === undefined ? 'no row' : `${skipped.length} unusable rows, the first because ${first.reason}`;
  throw new FileError({ argument: path, received, expected: 'at least one usable row' });
}

/** The fields of a row that must be strings, or the reason why they are not. */
export function readStrings<K extends string>(
  value: Record<string, unknown>,
  keys: readonly K[],
): Row<Record<K, string>> {
  const wrong = keys.find((key) => !Object.hasOwn(value, key) || typeof value[key] !== 'string');
  if (wrong === undefined) return { use: value as Record<K, string> };
  return { skip: Object.hasOwn(value, wrong) ? `"${wrong}" is not a string` : `"${wrong}" is missing` };
}
