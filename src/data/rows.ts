import { DataError, FileError } from '../errors.ts';
import { type FieldMap, type Paths, pathsOf, readRecords } from './records.ts';
import type { PlacedResult, Row, Skipped } from './row.ts';

/** Maximum number of unusable rows, as each is kept: a file with more has the wrong format. */
const MAX_SKIPPED = 1_000_000;

/**
 * Reads every row of some files with `read`, in order. `judge` sees all rows together and may mark more of them as
 * unusable. `map` renames fields.
 * @throws FileError if a file cannot be read, or none has a usable row.
 * @throws DataError if a line is not a JSON object.
 */
export async function readRows<T>(
  paths: Paths,
  read: (value: Record<string, unknown>) => Row<T>,
  judge: (rows: PlacedResult<T>[]) => PlacedResult<T>[] = (rows) => rows,
  map: FieldMap = {},
): Promise<{ used: T[]; skipped: Skipped[] }> {
  const rows: PlacedResult<T>[] = [];
  let unusable = 0;
  for await (const { place, at, value } of readRecords(paths, map)) {
    const row = read(value);
    if ('skip' in row && ++unusable > MAX_SKIPPED) throw tooMany(place, row.skip);
    rows.push({ place, at, row });
  }
  return sortRows(paths, judge(rows));
}

/** Takes the usable rows from the others. @throws FileError if there are none */
export function sortRows<T>(paths: Paths, rows: readonly PlacedResult<T>[]): { used: T[]; skipped: Skipped[] } {
  const used: T[] = [];
  const skipped: Skipped[] = [];
  for (const { place, row } of rows) {
    if ('use' in row) used.push(row.use);
    else skipped.push({ place, reason: row.skip });
  }
  if (used.length === 0) throw nothingUsable(paths, skipped);
  return { used, skipped };
}

/** The error for files without a usable row. */
export function nothingUsable(paths: Paths, [first, ...others]: readonly Skipped[]): FileError {
  const received =
    first === undefined
      ? 'no rows'
      : `${others.length + 1} unusable ${others.length === 0 ? 'row' : 'rows'}, the first because ${first.reason}`;
  const fix = 'Check the names of the fields; docs/data.md describes the forms of rows.';
  return new FileError({ argument: pathsOf(paths).join(', '), received, expected: 'at least one usable row', fix });
}

function tooMany(place: string, reason: string): DataError {
  const received = `more than ${MAX_SKIPPED} unusable rows, this one because ${reason}`;
  return new DataError({ argument: place, received, expected: 'a file of usable rows', fix: 'Check its format.' });
}
