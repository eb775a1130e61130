/** What a run reports about its data before it begins: lines, or none if there is nothing to report. */
import type { Skipped } from '../data/row.ts';

export function warning(message: string): string {
  return `warning: ${message}`;
}

/** What was truncated in `rows` rows, as in `truncated to fit: 12 prompts, 3 responses (of 400 rows)`. */
export function cutRows(cut: Readonly<Record<string, number>>, rows: number): string[] {
  const parts = Object.entries(cut).filter(([, count]) => count > 0);
  if (parts.length === 0) return [];
  const counts = parts.map(([what, count]) => `${count.toLocaleString('en-US')} ${what}`).join(', ');
  return [`truncated to fit: ${counts} (of ${rows.toLocaleString('en-US')} rows)`];
}

/** How many rows of a file were skipped, and where and why the first one was. */
export function skippedRows(skipped: readonly Skipped[]): string[] {
  const [first] = skipped;
  if (first === undefined) return [];
  const rows = skipped.length === 1 ? '1 row' : `${skipped.length} rows, the first`;
  return [`skipped ${rows} at ${first.place}: ${first.reason}`];
}
