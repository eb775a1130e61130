import { ShapeError } from '../errors.ts';
import { COUNT, checkKind, checkKinds, TOKENIZER } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { readDialogue } from './preferences.ts';
import { type Row, readRows, readStrings, type Skipped } from './rows.ts';

/**
 * Reads prompts from JSONL: `{prompt}`, `{prompt, chosen, rejected}`, or the dialogues `{chosen, rejected}` of hh-rlhf.
 * Prompts longer than `maxPromptLength` tokens are truncated on the left and counted in `cut`; rows without a prompt
 * are skipped and listed in `skipped`.
 * @throws FileError if the file cannot be read or has no usable row.
 * @throws DataError if a line is not a JSON object.
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

/**
 * Rows of different lengths, padded on the right to one rectangle: row-major `tokens` of `shape` [B, T], and lengths
 * [B].
 */
export interface PaddedRows {
  tokens: Int32Array;
  shape: [rows: number, length: number];
  lengths: Int32Array;
}

/**
 * Pads `rows` on the right with `padToken` to the longest one.
 * @throws ShapeError if there are no rows or one is empty.
 */
export function padRight(rows: readonly (readonly number[])[], padToken: number): PaddedRows {
  const empty = rows.findIndex((row) => row.length === 0);
  if (rows.length === 0)
    throw new ShapeError({ argument: 'rows', received: 'an empty batch', expected: 'at least one row' });
  if (empty >= 0)
    throw new ShapeError({ argument: `rows[${empty}]`, received: 'an empty row', expected: 'at least one token' });
  const lengths = Int32Array.from(rows, (row) => row.length);
  const length = lengths.reduce((longest, next) => Math.max(longest, next));
  const tokens = new Int32Array(rows.length * length).fill(padToken);
  rows.forEach((row, i) => {
    tokens.set(row, i * length);
  });
  return { tokens, shape: [rows.length, length], lengths };
}
