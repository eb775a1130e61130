import { createHash } from 'node:crypto';
import { DataError, FileError } from '../errors.ts';
import { checkKind, checkKinds, NUMBER, TOKENIZER } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import type { Chat } from '../tokenizer/chat.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { chatAnswers, checkChat, type RowOptions } from './chat-rows.ts';
import { type Dialogue, readDialogue } from './dialogue.ts';
import { beginOf, checkLimits, fittedResponse, keptPrompt, type LengthLimits } from './fit.ts';
import { converts } from './forms/convert.ts';
import { unknownForm } from './forms/detect.ts';
import { given, numberOf } from './forms/fields.ts';
import { checkGives, checkFormOptions, firstForms, readKind } from './forms/read.ts';
import type { PairRow, Turn } from './forms/rows.ts';
import type { Form } from './forms/table.ts';
import { renderPrompt, renderResponse } from './forms/transcript.ts';
import type { FieldMap, Paths } from './records.ts';
import type { PlacedResult, Row, Skipped } from './row.ts';
import { readRows, sortRows } from './rows.ts';

/** A prompt with a preferred and a rejected response, as tokens. */
export interface Preference {
  prompt: number[];
  chosen: number[];
  rejected: number[];
  /** How much better the chosen response is, if the row says so, in the scale of whoever judged. */
  margin?: number;
}

export type PreferenceLimits = LengthLimits;

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
 * Reads preferences: `{prompt, chosen, rejected}`, the whole dialogues `{chosen, rejected}` of hh-rlhf, or any other form
 * that becomes pairs without loss (docs/data.md), from files of any format.
 * Responses end with the tokenizer's eos, if it has one, unless they are truncated.
 * Rows without two different responses to a prompt are skipped and listed in `skipped`. So are duplicates of an earlier
 * row, and all rows that contradict each other about the same two responses; untruncated rows are compared.
 * @throws FileError if a file cannot be read or no row is usable.
 * @throws DataError if a line is not a JSON object, or not of the form of the first line.
 */
export async function loadPreferences(
  paths: Paths,
  tokenizer: Tokenizer,
  limits: PreferenceLimits,
  options: RowOptions = {},
): Promise<Preferences> {
  checkKind('tokenizer', tokenizer, TOKENIZER);
  checkOptions(limits, ['maxLength', 'maxPromptLength'], 'loadPreferences');
  checkKinds('loadPreferences limits', limits, { maxLength: NUMBER });
  checkOptions(options, ['chat', 'form', 'map'], 'loadPreferences');
  const { chat, ...reading } = options;
  checkFormOptions(reading, 'loadPreferences');
  checkChat(chat, tokenizer, 'loadPreferences');
  checkLimits(limits);
  const begin = beginOf(tokenizer);
  const end = tokenizer.eosToken === undefined ? [] : [tokenizer.eosToken];
  const fitPair = (whole: Preference, ending: readonly number[] = end) => cutToFit(whole, limits, begin, ending);
  const firsts = await firstForms(paths, reading);
  if (reading.form !== undefined || firsts.some(({ form }) => form !== undefined && !ownForm(form))) {
    return await readFormPairs(paths, tokenizer, fitPair, options);
  }
  try {
    return await readPairs(
      paths,
      tokenizer,
      (whole) => fitPair(whole),
      (whole) => whole,
      reading.map,
    );
  } catch (error) {
    const [first] = firsts;
    if (error instanceof DataError || !(error instanceof FileError) || first === undefined) throw error;
    const { record, form } = first;
    if (form === undefined && Object.keys(record.value).length > 0) throw unknownForm(record.place, record.value);
    if (form !== undefined && !Object.hasOwn(record.value, 'chosen')) checkGives(form, 'pair', record.place);
    throw error;
  }
}

/** Whether rows of this form are read one by one with strings, as they always were, or not at all as pairs. */
function ownForm({ name, gives }: Form): boolean {
  const own = ['preference', 'hh-rlhf', 'implicit-preference'].includes(name);
  return own || !gives.some((kind) => converts(kind, 'pair'));
}

/**
 * Reads the pairs that `cut` makes of untruncated rows. Rows are compared by what `said` derives from the untruncated
 * row and the pair.
 */
export async function readPairs(
  paths: Paths,
  tokenizer: Pick<Tokenizer, 'encode'>,
  cut: (whole: Preference) => Row<Fitted>,
  said: (whole: Preference, pair: Preference) => Preference,
  map?: FieldMap,
): Promise<Preferences> {
  const read = (value: Record<string, unknown>): Row<Candidate> => {
    const whole = encodeRow(value, tokenizer);
    return 'skip' in whole ? whole : candidate(whole.use, cut, said);
  };
  const { used, skipped } = await readRows(paths, read, settle, map);
  return preferencesOf(used, skipped);
}

async function readFormPairs(
  paths: Paths,
  tokenizer: Pick<Tokenizer, 'encode'>,
  fitPair: (whole: Preference, ending?: readonly number[]) => Row<Fitted>,
  { chat, ...reading }: RowOptions,
): Promise<Preferences> {
  const found = await readKind('pair', paths, reading);
  const rows: PlacedResult<Candidate>[] = [];
  for (const { place, at, row } of found.rows) {
    const byTemplate = chat !== undefined && typeof row.prompt !== 'string';
    const whole = byTemplate ? await encodeByTemplate(row, chat) : encodePair(row, tokenizer);
    const cut = (pair: Preference) => (byTemplate ? fitPair(pair, []) : fitPair(pair));
    rows.push({ place, at, row: 'skip' in whole ? whole : candidate(whole.use, cut, (all) => all) });
  }
  const { used, skipped } = sortRows(paths, settle(rows));
  return preferencesOf(used, [...found.skipped, ...skipped]);
}

function candidate(
  whole: Preference,
  cut: (whole: Preference) => Row<Fitted>,
  said: (whole: Preference, pair: Preference) => Preference,
): Row<Candidate> {
  const row = cut(whole);
  if ('skip' in row) return row;
  return { use: { ...row.use, prompt: digest(whole.prompt), ...ballot(said(whole, row.use.pair)) } };
}

function preferencesOf(used: readonly Candidate[], skipped: Skipped[]): Preferences {
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

/** Where each of two responses is first preferred, in words. */
type FirstRows = { [chosen in 'smaller' | 'larger']?: string };

/** Keeps only the first of duplicate rows, and none of rows that contradict each other. */
function settle<T extends Ballot>(rows: PlacedResult<T>[]): PlacedResult<T>[] {
  const firstRows = new Map<string, FirstRows>();
  const kept = new Set<PlacedResult<T>>();
  for (const result of rows) {
    if ('skip' in result.row) continue;
    const { question, chosen } = result.row.use;
    const found = firstRows.get(question) ?? {};
    if (found[chosen] === undefined) kept.add(result);
    found[chosen] ??= result.at;
    firstRows.set(question, found);
  }
  return rows.map((result) => {
    if ('skip' in result.row) return result;
    const { question, chosen } = result.row.use;
    const found = firstRows.get(question) as FirstRows;
    const contrary = found[chosen === 'smaller' ? 'larger' : 'smaller'];
    if (contrary !== undefined) return { ...result, row: { skip: `${contrary} prefers the other response` } };
    return kept.has(result) ? result : { ...result, row: { skip: `it duplicates ${found[chosen]}` } };
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

/** The tokens of an untruncated row, without an eos, or the reason it has none. */
function encodeRow(value: Record<string, unknown>, tokenizer: Pick<Tokenizer, 'encode'>): Row<Preference> {
  const row = readDialogue(value);
  if ('skip' in row) return row;
  return encode(row.use, numberOf(value.margin), tokenizer);
}

/** A pair as the chat template of a model writes it: its responses have what ends them. */
async function encodeByTemplate(pair: PairRow, chat: Chat): Promise<Row<Preference>> {
  const answers = await chatAnswers(chat, pair.prompt as readonly Turn[], [pair.chosen, pair.rejected]);
  if ('skip' in answers) return answers;
  const { prompt, responses } = answers.use;
  const [chosen, rejected] = responses as [number[], number[]];
  return { use: { prompt, chosen, rejected, ...given('margin', pair.margin) } };
}

function encodePair(pair: PairRow, tokenizer: Pick<Tokenizer, 'encode'>): Row<Preference> {
  const prompt = renderPrompt(pair.prompt);
  if ('skip' in prompt) return prompt;
  const chosen = renderResponse(pair.prompt, pair.chosen);
  if ('skip' in chosen) return chosen;
  const rejected = renderResponse(pair.prompt, pair.rejected);
  if ('skip' in rejected) return rejected;
  return encode({ prompt: prompt.use, chosen: chosen.use, rejected: rejected.use }, pair.margin, tokenizer);
}

function encode(text: Dialogue, margin: number | undefined, tokenizer: Pick<Tokenizer, 'encode'>): Row<Preference> {
  const prompt = tokenizer.encode(text.prompt, { special: 'begin' });
  const chosen = tokenizer.encode(text.chosen, { continues: true });
  const rejected = tokenizer.encode(text.rejected, { continues: true });
  const empty = Math.min(prompt.length, chosen.length, rejected.length) === 0;
  if (empty) return { skip: 'one of its texts has no tokens' };
  return { use: { prompt, chosen, rejected, ...given('margin', margin) } };
}

/**
 * Truncates a pair to the limits. The longer response leaves the rest of the room to the prompt, but at least a third;
 * if that is not enough, the response is truncated on the right and loses its `end`.
 */
function cutToFit(
  whole: Preference,
  limits: PreferenceLimits,
  begin: readonly number[],
  end: readonly number[],
): Row<Fitted> {
  const { prompt, chosen, rejected } = whole;
  const longest = Math.max(chosen.length, rejected.length) + end.length;
  const kept = keptPrompt(prompt, longest, limits, begin);
  const max = limits.maxLength - kept.length;
  const fitted = (response: number[]) => fittedResponse(response, end, max);
  const pair = { ...whole, prompt: kept, chosen: fitted(chosen), rejected: fitted(rejected) };
  return unlessTied({ pair, promptCut: kept.length < prompt.length, responseCut: longest > max }, max);
}

/** The row, or the reason to skip it if its responses are equal in the `max` tokens that are kept. */
export function unlessTied(row: Fitted, max: number): Row<Fitted> {
  const { chosen, rejected } = row.pair;
  const tied = chosen.length === rejected.length && chosen.every((token, i) => token === rejected[i]);
  return tied ? { skip: `its responses are equal in the ${max} tokens that are kept` } : { use: row };
}
