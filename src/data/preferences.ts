import { createHash } from 'node:crypto';
import { ArgumentError, printable } from '../errors.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type NumberedRow, type Row, readRows, readStrings, type Skipped } from './rows.ts';

/** A prompt with the response that was preferred and the one that was not, as tokens. Neither response has an eos. */
export interface Preference {
  prompt: number[];
  chosen: number[];
  rejected: number[];
}

/** How much of a row is kept, in tokens. */
export interface PreferenceLimits {
  /** Of prompt and response together: the prompt loses its beginning, down to one token; then the response its end. */
  maxLength: number;
  /** Of the prompt, from its end. */
  maxPromptLength?: number;
}

/**
 * Reads preferences from JSONL: `{prompt, chosen, rejected}`, or the whole dialogues `{chosen, rejected}` of hh-rlhf.
 * Rows without two different responses to a prompt are skipped, and named in `skipped`. So are rows that say again what an
 * earlier one says, and all rows about two responses of which each is preferred somewhere.
 * @throws FileError when the file cannot be read or has no usable row, DataError when a line is not a JSON object.
 */
export async function loadPreferences(
  path: string,
  tokenizer: Tokenizer,
  limits: PreferenceLimits,
): Promise<{ pairs: Preference[]; skipped: Skipped[] }> {
  const { maxLength, maxPromptLength = maxLength } = limits;
  checkLimit('maxLength', maxLength, 2);
  checkLimit('maxPromptLength', maxPromptLength, 1);
  const read = (value: Record<string, unknown>): Row<Preference> => {
    const texts = readDialogue(value);
    return 'skip' in texts ? texts : tokenize(texts.use, tokenizer, { maxLength, maxPromptLength });
  };
  const { used, skipped } = await readRows(path, read, settle);
  return { pairs: used, skipped };
}

/** The first row that prefers the one, or the other, of two responses. */
type Verdicts = { [chosen in 'smaller' | 'larger']?: number };

/** Leaves of rows that are the same only the first, and none where rows contradict each other. */
function settle(rows: NumberedRow<Preference>[]): NumberedRow<Preference>[] {
  const verdicts = new Map<string, Verdicts>();
  const ballots = rows.map(({ line, row }) => {
    if ('skip' in row) return undefined;
    const { question, chosen } = ballot(row.use);
    const found = verdicts.get(question) ?? {};
    found[chosen] ??= line;
    verdicts.set(question, found);
    return { found, chosen };
  });
  return rows.map(({ line, row }, i) => {
    const { found = {}, chosen = 'smaller' } = ballots[i] ?? {};
    const contrary = found[chosen === 'smaller' ? 'larger' : 'smaller'];
    if (contrary !== undefined) return { line, row: { skip: `line ${contrary} prefers the other response` } };
    const first = found[chosen] ?? line;
    return first === line ? { line, row } : { line, row: { skip: `line ${first} says the same` } };
  });
}

/** Which two responses to what were compared, whatever their order, as a short text; and which of them was chosen. */
function ballot(pair: Preference): { question: string; chosen: keyof Verdicts } {
  const [chosen, rejected] = [pair.chosen.join(), pair.rejected.join()];
  const texts = chosen < rejected ? [chosen, rejected] : [rejected, chosen];
  const question = createHash('sha256')
    .update([pair.prompt.join(), ...texts].join(';'))
    .digest('base64');
  return { question, chosen: chosen < rejected ? 'smaller' : 'larger' };
}

/** @throws ArgumentError unless `value` is an integer of at least `least`. */
export function checkLimit(argument: string, value: number, least: number): void {
  if (Number.isInteger(value) && value >= least) return;
  throw new ArgumentError({ argument, received: printable(value), expected: `an integer of at least ${least}` });
}

/** A preference as text. */
export interface Dialogue {
  prompt: string;
  chosen: string;
  rejected: string;
}

const ANSWER = '\n\nAssistant:';

/**
 * Splits two whole dialogues into what they share and how they go on. The prompt ends with the last `\n\nAssistant:` that
 * both share, else before the last white space of their common beginning. Undefined when that leaves no prompt or an empty
 * response, as it does for equal dialogues.
 */
export function splitDialogue(chosen: string, rejected: string): Dialogue | undefined {
  const common = commonLength(chosen, rejected);
  const answer = common < ANSWER.length ? -1 : chosen.lastIndexOf(ANSWER, common - ANSWER.length);
  const end = answer >= 0 ? answer + ANSWER.length : whiteSpaceBefore(chosen.slice(0, common));
  const split = { prompt: chosen.slice(0, end), chosen: chosen.slice(end), rejected: rejected.slice(end) };
  const usable = end > 0 && chosen !== rejected && Object.values(split).every((text) => text.trim() !== '');
  return usable ? split : undefined;
}

function commonLength(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

/** Where the last white space of `text` begins; 0 when there is none. */
function whiteSpaceBefore(text: string): number {
  let end = text.length;
  while (end > 0 && text.charAt(end - 1).trim() !== '') end--;
  return text.slice(0, end).trimEnd().length;
}

/** The texts of a row of either form, or why it has none. */
export function readDialogue(value: Record<string, unknown>): Row<Dialogue> {
  if (!Object.hasOwn(value, 'prompt')) return readWhole(value);
  const row = readStrings(value, ['prompt', 'chosen', 'rejected']);
  if ('skip' in row) return row;
  const { prompt, chosen, rejected } = row.use;
  if (chosen === rejected) return { skip: 'both responses are the same' };
  const empty = Object.entries({ prompt, chosen, rejected }).find(([, text]) => text.trim() === '');
  return empty === undefined ? row : { skip: `"${empty[0]}" is empty` };
}

function readWhole(value: Record<string, unknown>): Row<Dialogue> {
  const row = readStrings(value, ['chosen', 'rejected']);
  if ('skip' in row) return row;
  const { chosen, rejected } = row.use;
  if (chosen === rejected) return { skip: 'both dialogues are the same' };
  const split = splitDialogue(chosen, rejected);
  return split === undefined ? { skip: 'the dialogues share no prompt, or one has no response' } : { use: split };
}

function tokenize(texts: Dialogue, tokenizer: Tokenizer, limits: Required<PreferenceLimits>): Row<Preference> {
  const prompt = tokenizer.encode(texts.prompt);
  const chosen = tokenizer.encode(texts.chosen, { continues: true });
  const rejected = tokenizer.encode(texts.rejected, { continues: true });
  if (Math.min(prompt.length, chosen.length, rejected.length) === 0) return { skip: 'a part of it has no tokens' };
  const room = limits.maxLength - Math.max(chosen.length, rejected.length);
  const keptPrompt = prompt.slice(-Math.max(1, Math.min(limits.maxPromptLength, room)));
  const most = limits.maxLength - keptPrompt.length;
  const pair = { prompt: keptPrompt, chosen: chosen.slice(0, most), rejected: rejected.slice(0, most) };
  if (equal(pair.chosen, pair.rejected))
    return { skip: `the responses are the same in the ${most} tokens that are kept` };
  return { use: pair };
}

function equal(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((token, i) => token === b[i]);
}
