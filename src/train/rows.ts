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

/** What a field of a row in memory may hold, by the words for it. */
const HOLDS = {
  'text or messages': (value: unknown) => typeof value === 'string' || Array.isArray(value),
  'true or false': (value: unknown) => typeof value === 'boolean',
  'a finite number': Number.isFinite,
  'a list': Array.isArray,
};

/** The fields of a row, and what they hold. */
export type Fields = Readonly<Record<string, keyof typeof HOLDS>>;

/**
 * @param shapes what a row may have: the first of them whose first field it has, or else the first one
 * @throws ArgumentError unless `rows` is `{ file }` or a list of such rows
 */
export function checkRows(argument: string, rows: unknown, shapes: readonly [Fields, ...Fields[]]): void {
  const fieldsOf = (fields: Fields) => `{ ${Object.keys(fields).join(', ')} }`;
  const expected = `{ file }, or a list of ${shapes.map(fieldsOf).join(' or ')}`;
  if (!Array.isArray(rows)) {
    if (typeof (Object(rows) as { file?: unknown }).file === 'string') return;
    throw new ArgumentError({ argument, received: printable(rows), expected });
  }
  if (rows.length === 0) throw new ArgumentError({ argument, received: 'an empty list', expected });
  for (const [i, row] of rows.entries()) checkRow(`${argument}[${i}]`, Object(row), shapes);
}

function checkRow(argument: string, row: Record<string, unknown>, shapes: readonly [Fields, ...Fields[]]): void {
  const fields = shapes.find((one) => (Object.keys(one)[0] as string) in row) ?? shapes[0];
  for (const [name, words] of Object.entries(fields)) {
    const value = row[name];
    if (HOLDS[words](value)) continue;
    throw new ArgumentError({ argument: `${argument}.${name}`, received: printable(value), expected: words });
  }
}
