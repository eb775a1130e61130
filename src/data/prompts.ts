import { ShapeError } from '../errors.ts';
import { COUNT, checkKind, checkKinds, TOKENIZER } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { readDialogue } from './preferences.ts';
import { type Row, readRows, readStrings, type Skipped } from './rows.ts';

/**
 * Reads prompts from JSONL: `{prompt}`, `{prompt, chosen, rejected}`, or the dialogues `{chosen, rejected}` of hh-rlhf. A
 * prompt of more than `maxPromptLength` tokens loses its beginning, and `cut` has how many do; rows without a prompt are skipped,
 * and named in `skipped`.
 * @throws FileError when the file cannot be read or has no usable row, DataError when a line is not a JSON object.
 */
export async function loadPrompts(
  path: string,
  tokenizer: Tokenizer,
  limits: { maxPromptLength: number },
): Promise<{ prompts: number[][]; skipped: Skipped[]; cut: number }> {
  checkKind('tokenizer', tokenizer, TOKENIZER);
  checkOptions(limits, ['maxPromptLength'], 'loadPrompts');
  checkKinds('loadPrompts limits', limits, { maxPromptLength: COUNT });
  const { maxPromptLength } = limits;
  let cut = 0;
  const { used, skipped } = await readRows(path, (value): Row<number[]> => {
    const row = readPrompt(value);
    if ('skip' in row) return row;
    const tokens = tokenizer.encode(row.use.prompt);
    if (tokens.length > maxPromptLength) cut++;
    return tokens.length === 0 ? { skip: '"prompt" is empty' } : { use: tokens.slice(-maxPromptLength) };
  });
  return { prompts: used, skipped, cut };
}

function readPrompt(value: Record<string, unknown>): Row<{ prompt: string }> {
  const isDialogue = !Object.hasOwn(value, 'prompt') && Object.hasOwn(value, 'chosen');
  return isDialogue ? readDialogue(value) : readStrings(value, ['prompt']);
}

/** Rows of different lengths as one rectangle, row by row: `tokens` of `shape` [B, T], filled up on the right; lengths [B]. */
export interface PaddedRows {
  tokens: Int32Array;
  shape: [rows: number, length: number];
  lengths: Int32Array;
}

/** Fills `rows` up on the right with `padToken`, to the longest. @throws ShapeError when there is no row, or an empty one. */
export function padRight(rows: readonly (readonly number[])[], padToken: number): PaddedRows {
  const empty = rows.findIndex((row) => row.length === 0);
  if (rows.length === 0)
    throw new ShapeError({ argument: 'rows', received: 'an empty batch', expected: 'at least one row' });
  if (empty >= 0)
    throw new ShapeError({ argument: `rows[${empty}]`, received: 'no token', expected: 'at least one token' });
  const lengths = Int32Array.from(rows, (row) => row.length);
  const length = lengths.reduce((most, next) => Math.max(most, next));
  const tokens = new Int32Array(rows.length * length).fill(padToken);
  rows.forEach((row, i) => {
    tokens.set(row, i * length);
  });
  return { tokens, shape: [rows.length, length], lengths };
}
