import { createHash } from 'node:crypto';
import { ArgumentError, printable } from '../errors.ts';
import { checkKind, checkKinds, NUMBER, TOKENIZER } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type NumberedRow, type Row, readRows, readStrings, type Skipped } from './rows.ts';

/** A prompt with a preferred and a rejected response, as tokens. */
export interface Preference {
  prompt: number[];
  chosen: number[];
  rejected: number[];
}

/** Length limits of a row, in tokens. */
export interface PreferenceLimits {
  /** Maximum length of prompt plus response, including the eos. Longer rows are truncated, see `cutToFit`. */
  maxLength: number;
  /** Maximum length of the prompt, which is truncated on the left. Defaults to what the responses leave room for. */
  maxPromptLength?: number | undefined;
}

/** The pairs read from a file, and statistics of its rows. */
export interface Preferences {
  pairs: Preference[];
  /** The prompt number of each pair: equal for pairs with the same untruncated prompt. See `holdOutPrompts`. */
  groups: number[];
  /** The number of pairs with a truncated prompt, and with a truncated response. */
  cut: { prompts: number; responses: number };
  skipped: Skipped[];
}

/**
 * Reads preferences from JSONL: `{prompt, chosen, rejected}`, or the whole dialogues `{chosen, rejected}` of hh-rlhf.
 * Responses end with the tokenizer's eos, if it has one, unless they are truncated.
 * Rows without two different responses to a prompt are skipped and listed in `skipped`. So are duplicates of an earlier
 * row, and all rows that contradict each other about the same two responses; untruncated rows are compared.
 * @throws FileError if the file cannot be read or has no usable row.
 * @throws DataError if a line is not a JSON object.
 */
export async function loadPreferences(
  path: string,
  tokenizer: Tokenizer,
  limits: PreferenceLimits,
): Promise<Preferences> {
  checkKind('tokenizer', tokenizer, TOKENIZER);
  checkOptions(limits, ['maxLength', 'maxPromptLength'], 'loadPreferences');
  checkKinds('loadPreferences limits', limits, { maxLength: NUMBER });
  checkLimit('maxLength', limits.maxLength, 2);
  if (limits.maxPromptLength !== undefined) checkLimit('maxPromptLength', limits.maxPromptLength, 1);
  const end = tokenizer.eosToken === undefined ? [] : [tokenizer.eosToken];
  return await readPairs(
    path,
    tokenizer,
    (whole) => cutToFit(whole, limits, end),
    (whole) => whole,
  );
}

/**
 * Reads the pairs that `cut` makes of untruncated rows. Rows are compared by what `said` derives from the untruncated
 * row and the pair.
 */
export async function readPairs(
  path: string,
  tokenizer: Pick<Tokenizer, 'encode'>,
  cut: (whole: Preference) => Row<Fitted>,
  said: (whole: Preference, pair: Preference) => Preference,
): Promise<Preferences> {
  const read = (value: Record<string, unknown>): Row<Candidate> => {
    const whole = encodeRow(value, tokenizer);
    if ('skip' in whole) return whole;
    const row = cut(whole.use);
    if ('skip' in row) return row;
    return { use: { ...row.use, prompt: digest(whole.use.prompt), ...ballot(said(whole.use, row.use.pair)) } };
  };
  const { used, skipped } = await readRows(path, read, settle);
  const numbers = new Map<string, number>();
  for (const { prompt } of used) if (!numbers.has(prompt)) numbers.set(prompt, numbers.size);
  return {
    pairs: used.map(({ pair }) => pair),
    groups: used.map(({ prompt }) => numbers.get(prompt) as number),
    cut: { prompts: count(used, 'promptCut'), responses: count(used, 'responseCut') },
    skipped,
  };
}

function count(rows: readonly Fitted[], key: 'promptCut' | 'responseCut'): number {
  return rows.filter((row) => row[key]).length;
}

/** A row within the length limits. */
export interface Fitted {
  pair: Preference;
  promptCut: boolean;
  responseCut: boolean;
}
/** The content of an untruncated row as short hashes: which two responses were compared, and which one was chosen. */
interface Ballot {
  question: string;
  chosen: keyof FirstRows;
}
type Candidate = Fitted & Ballot & { prompt: string };

/** The first row that prefers each of two responses. */
type FirstRows = { [chosen in 'smaller' | 'larger']?: number };

/** Keeps only the first of duplicate rows, and none of rows that contradict each other. */
function settle<T extends Ballot>(rows: NumberedRow<T>[]): NumberedRow<T>[] {
  const firstRows = new Map<string, FirstRows>();
  for (const { line, row } of rows) {
    if ('skip' in row) continue;
    const found = firstRows.get(row.use.question) ?? {};
    found[row.use.chosen] ??= line;
    firstRows.set(row.use.question, found);
  }
  return rows.map(({ line, row }) => {
    if ('skip' in row) return { line, row };
    const { question, chosen } = row.use;
    const found = firstRows.get(question) as FirstRows;
    const contrary = found[chosen === 'smaller' ? 'larger' : 'smaller'];
    if (contrary !== undefined) return { line, row: { skip: `line ${contrary} prefers the other response` } };
    return found[chosen] === line ? { line, row } : { line, row: { skip: `it duplicates line ${found[chosen]}` } };
  });
}

/** The ballot of a pair, independent of the order of its responses. */
function ballot(pair: Preference): Ballot {
  const [chosen, rejected] = [pair.chosen.join(), pair.rejected.join()];
  const texts = chosen < rejected ? [chosen, rejected] : [rejected, chosen];
  return { question: digest([pair.prompt.join(), ...texts]), chosen: chosen < rejected ? 'smaller' : 'larger' };
}

function digest(parts: readonly (string | number)[]): string {
  return createHash('sha256').update(parts.join(';')).digest('base64');
}

/** @throws ArgumentError unless `value` is an integer of at least `min`. */
export function checkLimit(argument: string, value: number, min: number): void {
  if (Number.isInteger(value) && value >= min) return;
  throw new ArgumentError({ argument, received: printable(value), expected: `an integer of at least ${min}` });
}

/** A preference as text. */
export interface Dialogue {
  prompt: string;
  chosen: string;
  rejected: string;
}

const ANSWER = '\n\nAssistant:';

/**
 * Splits two whole dialogues into their common prompt and their responses. The prompt ends with the last
 * `\n\nAssistant:` that both share, or else before the last white space of their common prefix. Returns undefined if
 * that leaves no prompt or an empty response, as it does for equal dialogues.
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

/** The position of the last run of white space in `text`; 0 if there is none. */
function whiteSpaceBefore(text: string): number {
  let end = text.length;
  while (end > 0 && text.charAt(end - 1).trim() !== '') end--;
  return text.slice(0, end).trimEnd().length;
}

/** The texts of a row of either form, or the reason it has none. */
export function readDialogue(value: Record<string, unknown>): Row<Dialogue> {
  if (!Object.hasOwn(value, 'prompt')) return readWhole(value);
  const row = readStrings(value, ['prompt', 'chosen', 'rejected']);
  if ('skip' in row) return row;
  const { prompt, chosen, rejected } = row.use;
  if (chosen === rejected) return { skip: 'its responses are equal' };
  const empty = Object.entries({ prompt, chosen, rejected }).find(([, text]) => text.trim() === '');
  return empty === undefined ? row : { skip: `"${empty[0]}" is empty` };
}

function readWhole(value: Record<string, unknown>): Row<Dialogue> {
  const row = readStrings(value, ['chosen', 'rejected']);
  if ('skip' in row) return row;
  const { chosen, rejected } = row.use;
  if (chosen === rejected) return { skip: 'its dialogues are equal' };
  const split = splitDialogue(chosen, rejected);
  return split === undefined ? { skip: 'its dialogues share no prompt, or one has no response' } : { use: split };
}

/** The tokens of an untruncated row, without an eos, or the reason it has none. */
function encodeRow(value: Record<string, unknown>, tokenizer: Pick<Tokenizer, 'encode'>): Row<Preference> {
  const row = readDialogue(value);
  if ('skip' in row) return row;
  const prompt = tokenizer.encode(row.use.prompt);
  const chosen = tokenizer.encode(row.use.chosen, { continues: true });
  const rejected = tokenizer.encode(row.use.rejected, { continues: true });
  const empty = Math.min(prompt.length, chosen.length, rejected.length) === 0;
  return empty ? { skip: 'one of its texts has no tokens' } : { use: { prompt, chosen, rejected } };
}

/**
 * Truncates a pair to the limits. The longer response leaves the rest of the room to the prompt, but at least a third;
 * if that is not enough, the response is truncated on the right and loses its `end`.
 */
function cutToFit(
  { prompt, chosen, rejected }: Preference,
  { maxLength, maxPromptLength = maxLength }: PreferenceLimits,
  end: readonly number[],
): Row<Fitted> {
  const longest = Math.max(chosen.length, rejected.length) + end.length;
  const room = Math.max(1, Math.floor(maxLength / 3), maxLength - longest);
  const kept = prompt.slice(-Math.min(room, maxPromptLength));
  const max = maxLength - kept.length;
  const fitted = (response: number[]) => {
    return response.length + end.length <= max ? [...response, ...end] : response.slice(0, max);
  };
  const pair = { prompt: kept, chosen: fitted(chosen), rejected: fitted(rejected) };
  return unlessTied({ pair, promptCut: kept.length < prompt.length, responseCut: longest > max }, max);
}

/** The row, or the reason to skip it if its responses are equal in the `max` tokens that are kept. */
export function unlessTied(row: Fitted, max: number): Row<Fitted> {
  const { chosen, rejected } = row.pair;
  const tied = chosen.length === rejected.length && chosen.every((token, i) => token === rejected[i]);
  return tied ? { skip: `its responses are equal in the ${max} tokens that are kept` } : { use: row };
}
