/** A name and its value; rows without a value are left out. */
export type Row = readonly [name: string, value: string | number | undefined];

/** Formats rows as lines with aligned values. */
export function table(rows: readonly Row[]): string {
  const shown = rows.filter(([, value]) => value !== undefined);
  const width = Math.max(...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
}
