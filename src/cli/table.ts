/** A name and what stands beside it; rows without a value are left out. */
export type Row = readonly [name: string, value: string | number | undefined];

/** Rows as lines whose values are aligned. */
export function table(rows: readonly Row[]): string {
  const shown = rows.filter(([, value]) => value !== undefined);
  const width = Math.max(...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
}
