import { ShapeError } from '../errors.ts';
import { COUNT, checkKind, checkKinds, TOKENIZER } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import type { Chat } from '../tokenizer/chat.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { chatPrompt, checkChat, type RowOptions } from './chat-rows.ts';
import { readDialogue } from './dialogue.ts';
import { beginOf, lastTokens } from './fit.ts';
import { metaOf } from './forms/fields.ts';
import { checkFormOptions, type FormOptions, firstForms, readKind } from './forms/read.ts';
import type { Asked, Meta, Turn } from './forms/rows.ts';
import type { Form } from './forms/table.ts';
import { renderPrompt } from './forms/transcript.ts';
import type { DataRecord, Paths } from './records.ts';
import { type PlacedResult, type Row, readStrings, type Skipped } from './row.ts';
import { readRows, sortRows } from './rows.ts';

/** The prompts read from some files. */
export interface Prompts {
  prompts: number[][];
  /** What each row has besides its prompt and the responses to it, for reward functions. */
  meta: Meta[];
  skipped: Skipped[];
  /** The number of truncated prompts. */
  cut: number;
}

/**
 * Reads prompts: `{prompt}`, `{prompt, chosen, rejected}`, the dialogues `{chosen, rejected}` of hh-rlhf, or the prompts of
 * any other form (docs/data.md), from files of any format.
 * Prompts longer than `maxPromptLength` tokens lose what is on the left, but for their bos, and are counted in `cut`; rows without a prompt
 * are skipped and listed in `skipped`.
 * @throws FileError if a file cannot be read or no row is usable.
 * @throws DataError if a line is not a JSON object, or not of the form of the first line.
 */
export async function loadPrompts(
  paths: Paths,
  tokenizer: Tokenizer,
  limits: { maxPromptLength: number },
  options: RowOptions = {},
): Promise<Prompts> {
  checkKind('tokenizer', tokenizer, TOKENIZER);
  checkOptions(limits, ['maxPromptLength'], 'loadPrompts');
  checkKinds('loadPrompts limits', limits, { maxPromptLength: COUNT });
  checkOptions(options, ['chat', 'form', 'map'], 'loadPrompts');
  const { chat, ...reading } = options;
  checkFormOptions(reading, 'loadPrompts');
  checkChat(chat, tokenizer, 'loadPrompts');
  const begin = beginOf(tokenizer);
  let cut = 0;
  const encode = (prompt: string, meta: Meta) => fitted(tokenizer.encode(prompt, { special: 'begin' }), meta);
  const fitted = (tokens: number[], meta: Meta): Row<EncodedPrompt> => {
    if (tokens.length > limits.maxPromptLength) cut++;
    if (tokens.length === 0) return { skip: '"prompt" is empty' };
    return { use: { tokens: lastTokens(tokens, limits.maxPromptLength, begin), meta } };
  };
  const byTemplate = async (turns: readonly Turn[], meta: Meta) => {
    const tokens = await chatPrompt(chat as Chat, turns);
    return 'skip' in tokens ? tokens : fitted(tokens.use, meta);
  };
  const { used, skipped } = await ((await hasOwnForm(paths, reading))
    ? readRows(paths, (value) => encodeRow(value, encode), undefined, reading.map)
    : readFormPrompts(paths, encode, chat && byTemplate, reading));
  return { prompts: used.map(({ tokens }) => tokens), meta: used.map(({ meta }) => meta), skipped, cut };
}

/** The tokens of a prompt, truncated, and what else its row has. */
interface EncodedPrompt {
  tokens: number[];
  meta: Meta;
}
type Encode = (prompt: string, meta: Meta) => Row<EncodedPrompt>;

/** Whether all files have the rows that are read one by one: a prompt that is text, or two dialogues. */
async function hasOwnForm(paths: Paths, options: FormOptions): Promise<boolean> {
  if (options.form !== undefined) return false;
  const own = ({ record: { value }, form }: { record: DataRecord; form: Form | undefined }) =>
    form === undefined || typeof value.prompt === 'string' || typeof value.chosen === 'string';
  return (await firstForms(paths, options)).every(own);
}

function encodeRow(value: Record<string, unknown>, encode: Encode): Row<EncodedPrompt> {
  const isDialogue = !Object.hasOwn(value, 'prompt') && Object.hasOwn(value, 'chosen');
  const row = isDialogue ? readDialogue(value) : readStrings(value, ['prompt']);
  return 'skip' in row ? row : encode(row.use.prompt, metaOf(value, 'prompt'));
}

async function readFormPrompts(
  paths: Paths,
  encode: Encode,
  byTemplate: ((turns: readonly Turn[], meta: Meta) => Promise<Row<EncodedPrompt>>) | undefined,
  options: FormOptions,
): Promise<{ used: EncodedPrompt[]; skipped: Skipped[] }> {
  const found = await readKind('prompt', paths, options);
  const encoded = async (prompt: Asked, meta: Meta) => {
    if (byTemplate !== undefined && typeof prompt !== 'string') return await byTemplate(prompt, meta);
    const text = renderPrompt(prompt);
    return 'skip' in text ? text : encode(text.use, meta);
  };
  const rows: PlacedResult<EncodedPrompt>[] = [];
  for (const { row, ...at } of found.rows) rows.push({ ...at, row: await encoded(row.prompt, row.meta) });
  const { used, skipped } = sortRows(paths, rows);
  return { used, skipped: [...found.skipped, ...skipped] };
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
