/** What a run tells of its data before it begins, as lines; where there is nothing to tell, none. */
import type { Skipped } from '../data/rows.ts';

export function warning(message: string): string {
  return `warning: ${message}`;
}

/** How many of `rows` rows lost what, as in `cut to fit: prompts of 12, responses of 3 of 400 rows`. */
export function cutRows(cut: Readonly<Record<string, number>>, rows: number): string[] {
  const parts = Object.entries(cut).filter(([, count]) => count > 0);
  if (parts.length === 0) return [];
  const counts = parts.map(([what, count]) => `${what} of ${count.toLocaleString('en-US')}`).join(', ');
  return [`cut to fit: ${counts} of ${rows.toLocaleString('en-US')} rows`];
}

/** Which rows of a file are not used, the first of them by name. */
export function skippedRows(skipped: readonly Skipped[]): string[] {
  const [first] = skipped;
  if (first === undefined) return [];
  const rows = skipped.length === 1 ? '1 row is' : `${skipped.length} rows are`;
  return [`${rows} not used, the first ${first.place}: ${first.reason}`];
}
