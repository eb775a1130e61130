/** Rows in memory, where methods read files. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ArgumentError, printable } from '../errors.ts';

/** Rows as a program gives them. */
export type GivenRows = readonly unknown[] | { file: string };

/**
 * Calls `use` with a file for each of `rows`. Rows in memory are written to a temporary file, so that there is one reader of
 * rows, with one set of rules for what is skipped and cut.
 */
export async function withFiles<Name extends string, T>(
  rows: Readonly<Record<Name, GivenRows | undefined>>,
  use: (files: Record<Name, string | undefined>) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'palm-rlhf-rows-'));
  try {
    const files: Record<string, string | undefined> = {};
    for (const [name, given] of Object.entries<GivenRows | undefined>(rows)) {
      files[name] = given === undefined || 'file' in given ? given?.file : await write(join(folder, name), given);
    }
    return await use(files as Record<Name, string | undefined>);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function write(path: string, rows: readonly unknown[]): Promise<string> {
  await writeFile(`${path}.jsonl`, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return `${path}.jsonl`;
}

/** @throws ArgumentError unless `rows` is `{ file }` or a list of rows whose fields `keys` are texts. */
export function checkRows(argument: string, rows: unknown, keys: readonly string[]): void {
  const expected = `{ file }, or a list of { ${keys.join(', ')} }`;
  if (!Array.isArray(rows)) {
    if (typeof (Object(rows) as { file?: unknown }).file === 'string') return;
    throw new ArgumentError({ argument, received: printable(rows), expected });
  }
  if (rows.length === 0) throw new ArgumentError({ argument, received: 'an empty list', expected });
  for (const [i, row] of rows.entries()) {
    const wrong = keys.find((key) => typeof (Object(row) as Record<string, unknown>)[key] !== 'string');
    if (wrong === undefined) continue;
    const received = printable((Object(row) as Record<string, unknown>)[wrong]);
    throw new ArgumentError({ argument: `${argument}[${i}].${wrong}`, received, expected: 'text' });
  }
}
