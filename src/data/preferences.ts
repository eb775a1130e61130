import { createHash } from 'node:crypto';
import { ArgumentError, printable } from '../errors.ts';
import { checkKind, checkKinds, NUMBER, TOKENIZER } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { type NumberedRow, type Row, readRows, readStrings, type Skipped } from './rows.ts';

/** A prompt with the response that was preferred and the one that was not, as tokens. */
export interface Preference {
  prompt: number[];
  chosen: number[];
  rejected: number[];
}

/** How much of a row is kept, in tokens. */
export interface PreferenceLimits {
  /** Of prompt and response together, with its eos. What is longer is cut, see `cutToFit`. */
  maxLength: number;
  /** Of the prompt, from its end; all that the responses leave room for unless given. */
  maxPromptLength?: number | undefined;
}

/** Pairs, and what became of the rows. */
export interface Preferences {
  pairs: Preference[];
  /** The number of each pair's prompt, as it was before it was cut: the same for pairs of one prompt. See `holdOutPrompts`. */
  groups: number[];
  /** The pairs whose prompt lost its beginning, and those of which a response lost its end. */
  cut: { prompts: number; responses: number };
  skipped: Skipped[];
}

/**
 * Reads preferences from JSONL: `{prompt, chosen, rejected}`, or the whole dialogues `{chosen, rejected}` of hh-rlhf. Responses
 * end with the tokenizer's eos, where it has one, but for those that are cut: these go on.
 * Rows without two different responses to a prompt are skipped, and named in `skipped`. So are rows that say again what an
 * earlier one says, and all rows about two responses of which each is preferred somewhere; whole rows are compared.
 * @throws FileError when the file cannot be read or has no usable row, DataError when a line is not a JSON object.
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

/** The pairs that `cut` makes of whole rows; rows are compared by what `said` takes of the whole row and the pair. */
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

/** A row as it is used. */
export interface Fitted {
  pair: Preference;
  promptCut: boolean;
  responseCut: boolean;
}
/** What a row says, whole: which two responses were compared, and which of them was chosen; as short texts. */
interface Ballot {
  question: string;
  chosen: keyof FirstRows;
}
type Candidate = Fitted & Ballot & { prompt: string };

/** The first row that prefers the one, or the other, of two responses. */
type FirstRows = { [chosen in 'smaller' | 'larger']?: number };

/** Leaves of rows that say the same only the first, and none where rows contradict each other. */
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
    return found[chosen] === line ? { line, row } : { line, row: { skip: `line ${found[chosen]} says the same` } };
  });
}

/** What a pair says, whatever the order of its responses. */
function ballot(pair: Preference): Ballot {
  const [chosen, rejected] = [pair.chosen.join(), pair.rejected.join()];
  const texts = chosen < rejected ? [chosen, rejected] : [rejected, chosen];
  return { question: digest([pair.prompt.join(), ...texts]), chosen: chosen < rejected ? 'smaller' : 'larger' };
}

function digest(parts: readonly (string | number)[]): string {
  return createHash('sha256').update(parts.join(';')).digest('base64');
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

/** The tokens of a whole row, without an eos, or why it has none. */
function encodeRow(value: Record<string, unknown>, tokenizer: Pick<Tokenizer, 'encode'>): Row<Preference> {
  const row = readDialogue(value);
  if ('skip' in row) return row;
  const prompt = tokenizer.encode(row.use.prompt);
  const chosen = tokenizer.encode(row.use.chosen, { continues: true });
  const rejected = tokenizer.encode(row.use.rejected, { continues: true });
  const empty = Math.min(prompt.length, chosen.length, rejected.length) === 0;
  return empty ? { skip: 'a part of it has no tokens' } : { use: { prompt, chosen, rejected } };
}

/**
 * A whole pair within the limits. The longer response gives the prompt what it leaves, and a third of the room at least; then
 * it is the response that loses its end, and has no `end` as a whole one has.
 */
function cutToFit(
  { prompt, chosen, rejected }: Preference,
  { maxLength, maxPromptLength = maxLength }: PreferenceLimits,
  end: readonly number[],
): Row<Fitted> {
  const longest = Math.max(chosen.length, rejected.length) + end.length;
  const room = Math.max(1, Math.floor(maxLength / 3), maxLength - longest);
  const kept = prompt.slice(-Math.min(room, maxPromptLength));
  const most = maxLength - kept.length;
  const fitted = (response: number[]) => {
    return response.length + end.length <= most ? [...response, ...end] : response.slice(0, most);
  };
  const pair = { prompt: kept, chosen: fitted(chosen), rejected: fitted(rejected) };
  return unlessTied({ pair, promptCut: kept.length < prompt.length, responseCut: longest > most }, most);
}

/** The row, of no use where its responses do not differ in the `most` tokens that are kept of them. */
export function unlessTied(row: Fitted, most: number): Row<Fitted> {
  const { chosen, rejected } = row.pair;
  const tied = chosen.length === rejected.length && chosen.every((token, i) => token === rejected[i]);
  return tied ? { skip: `the responses are the same in the ${most} tokens that are kept` } : { use: row };
}
