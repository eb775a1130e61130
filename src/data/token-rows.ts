/** Rows of every kind as tokens: prompt and response encoded apart, with the eos, within the length limits. */
import { checkKind, checkKinds, NUMBER, TOKENIZER } from '../checks/kinds.ts';
import { checkOptions } from '../checks/options.ts';
import { ArgumentError, printable } from '../errors.ts';
import type { Chat } from '../tokenizer/chat.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { beginOf, checkLimits, fittedResponse, keptPrompt, type LengthLimits } from './fit.ts';
import { type Answers, chatAnswers, chatTurns, checkChat, type RowOptions, type TokenSpan } from './chat-rows.ts';
import { given } from './forms/fields.ts';
import { checkFormOptions, readKind } from './forms/read.ts';
import type { Asked, FormRow, Meta, RowOf, Turn } from './forms/rows.ts';
import type { Form } from './forms/table.ts';
import { renderPrompt, renderResponse, renderTurns, type Span } from './forms/transcript.ts';
import type { Paths } from './records.ts';
import type { PlacedResult, Row, Skipped } from './row.ts';
import { sortRows } from './rows.ts';
import type { JudgedStep } from './solutions.ts';

export type { RowOptions } from './chat-rows.ts';

/** What to do with a row whose response does not fit: drop and count it, or cut its end, which loses its eos. */
export type Overlong = 'drop' | 'cut';

export interface TokenLimits extends LengthLimits {
  /** Default: drop. */
  overlong?: Overlong | undefined;
}

interface Tokens {
  meta: Meta;
}
/** A text, with its eos. */
export interface TokenText extends Tokens {
  tokens: number[];
}
/** A dialogue; `targets` is true where the assistant speaks, the eos after each of its messages included. */
export interface TokenTurns extends Tokens {
  tokens: number[];
  targets: boolean[];
}
export interface TokenCompletion extends Tokens {
  prompt: number[];
  response: number[];
  weight?: number;
  reward?: number;
}
/** Responses in order: a smaller `rank` is better, an equal one a tie. */
export interface TokenRanking extends Tokens {
  prompt: number[];
  responses: number[][];
  rank: readonly number[];
  noneGood?: boolean;
}
export interface TokenRating extends Tokens {
  prompt: number[];
  response: number[];
  ratings: Readonly<Record<string, number>>;
  scale?: readonly [lowest: number, highest: number];
}
export interface TokenLabel extends Tokens {
  prompt: number[];
  response: number[];
  good: boolean;
}
/** A solution; the eos belongs to the last step, and a newline to the beginning of each step but the first. */
export interface TokenSteps extends Tokens {
  prompt: number[];
  steps: JudgedStep[];
}

/** Rows of tokens by kind. Pairs are read with `loadPreferences` and prompts with `loadPrompts`. */
export interface TokenRows {
  text: TokenText;
  turns: TokenTurns;
  completion: TokenCompletion;
  ranking: TokenRanking;
  rating: TokenRating;
  label: TokenLabel;
  steps: TokenSteps;
}
export type TokenKind = keyof TokenRows;
const KINDS: readonly TokenKind[] = ['text', 'turns', 'completion', 'ranking', 'rating', 'label', 'steps'];

/** The rows of some files as tokens, and statistics of them. */
export interface LoadedRows<K extends TokenKind> {
  rows: TokenRows[K][];
  /** The prompt number of each row: equal for rows with the same untruncated prompt. See `holdOutPrompts`. */
  groups: number[];
  /** The number of rows with a truncated prompt, and with a truncated response. */
  cut: { prompts: number; responses: number };
  skipped: Skipped[];
  /** Where each row is: `file:line`. */
  places: string[];
  /** The form of each file. */
  forms: { path: string; form: Form }[];
}

/**
 * Reads rows of one kind, from files of any format and of any form that becomes such rows without loss (docs/data.md).
 * A response is encoded apart from its prompt, as it is when it is sampled, and ends with the tokenizer's eos, if there is
 * one. Prompts that are too long lose their beginning; `overlong` says what happens to responses. Rows that would train on
 * nothing are skipped and listed in `skipped`.
 * @throws FileError if a file cannot be read or no row is usable.
 * @throws DataError if a line is not an object, not of the form of the first line, or of one that gives other rows.
 */
export async function loadRows<K extends TokenKind>(
  kind: K,
  paths: Paths,
  tokenizer: Tokenizer,
  limits: TokenLimits,
  options: RowOptions = {},
): Promise<LoadedRows<K>> {
  checkKind('kind', kind, { is: (value) => KINDS.includes(value as TokenKind), words: `one of ${KINDS.join(', ')}` });
  checkKind('tokenizer', tokenizer, TOKENIZER);
  checkOptions(limits, ['maxLength', 'maxPromptLength', 'overlong'], 'loadRows');
  checkKinds('loadRows limits', limits, { maxLength: NUMBER });
  checkOptions(options, ['chat', 'form', 'map'], 'loadRows');
  const { chat, ...reading } = options;
  checkFormOptions(reading, 'loadRows');
  checkChat(chat, tokenizer, 'loadRows');
  if (chat !== undefined && kind === 'steps')
    throw new ArgumentError({ argument: 'loadRows.chat', problem: 'cannot write solutions in steps' });
  checkLimits(limits);
  checkOverlong(limits.overlong);
  const encoder = new Encoder(tokenizer, limits, chat);
  const found = await readKind(kind, paths, reading);
  const encoded: PlacedResult<Encoded>[] = [];
  for (const { place, at, row } of found.rows) encoded.push({ place, at, row: await encoder.row(row) });
  const { used, skipped } = sortRows(paths, encoded);
  const numbers = new Map<string, number>();
  for (const { prompt } of used) if (!numbers.has(prompt)) numbers.set(prompt, numbers.size);
  return {
    rows: used.map(({ row }) => row as TokenRows[K]),
    groups: used.map(({ prompt }) => numbers.get(prompt) as number),
    cut: { prompts: count(used, 'promptCut'), responses: count(used, 'responseCut') },
    skipped: [...found.skipped, ...skipped],
    places: encoded.filter(({ row }) => 'use' in row).map(({ place }) => place),
    forms: found.forms,
  };
}

function checkOverlong(overlong: unknown): void {
  if (overlong === undefined || overlong === 'drop' || overlong === 'cut') return;
  throw new ArgumentError({ argument: 'overlong', received: printable(overlong), expected: 'drop or cut' });
}

/** A row as tokens, the prompt it is grouped by, and what was cut. */
interface Encoded {
  row: TokenRows[TokenKind];
  prompt: string;
  promptCut: boolean;
  responseCut: boolean;
}

function count(rows: readonly Encoded[], key: 'promptCut' | 'responseCut'): number {
  return rows.filter((row) => row[key]).length;
}

/** Prompt and responses within the limits. */
interface Parts {
  prompt: number[];
  responses: number[][];
  about: Omit<Encoded, 'row'>;
}

class Encoder {
  private readonly tokenizer: Tokenizer;
  private readonly limits: TokenLimits;
  private readonly chat: Chat | undefined;
  private readonly begin: readonly number[];
  private readonly end: readonly number[];

  constructor(tokenizer: Tokenizer, limits: TokenLimits, chat: Chat | undefined) {
    this.tokenizer = tokenizer;
    this.limits = limits;
    this.chat = chat;
    this.begin = beginOf(tokenizer);
    this.end = tokenizer.eosToken === undefined ? [] : [tokenizer.eosToken];
  }

  async row(row: FormRow): Promise<Row<Encoded>> {
    if (row.kind === 'text') return this.whole(this.spelled([{ text: row.text, target: true }]), row.meta, true);
    if (row.kind === 'turns') {
      const spans = this.chat ? await chatTurns(this.chat, row) : this.turns(row.turns);
      return 'skip' in spans ? spans : this.whole(spans.use, row.meta, false);
    }
    if (row.kind === 'steps') return this.steps(row);
    const judged = row as RowOf<'completion' | 'ranking' | 'rating' | 'label'>;
    const parts = await this.parts(judged.prompt, judged.kind === 'ranking' ? judged.responses : [judged.response]);
    if ('skip' in parts) return parts;
    const { prompt, responses, about } = parts.use;
    return { use: { ...about, row: withTokens(judged, prompt, responses) } };
  }

  /** A prompt and the responses to it, encoded apart and fitted. */
  private async parts(asked: Asked, texts: readonly string[]): Promise<Row<Parts>> {
    const byTemplate = this.chat !== undefined && typeof asked !== 'string';
    const row = byTemplate ? await chatAnswers(this.chat as Chat, asked, texts) : this.answers(asked, texts);
    if ('skip' in row) return row;
    const { text, prompt: whole, responses } = row.use;
    if (whole.length === 0 || responses.some(({ length }) => length === 0)) return NO_TOKENS;
    const end = byTemplate ? [] : this.end;
    const longest = Math.max(...responses.map(({ length }) => length)) + end.length;
    const prompt = keptPrompt(whole, longest, this.limits, this.begin);
    const max = this.limits.maxLength - prompt.length;
    if (longest > max && this.limits.overlong !== 'cut') return this.overlong(longest, max);
    const about = { prompt: text, promptCut: prompt.length < whole.length, responseCut: longest > max };
    return { use: { prompt, responses: responses.map((tokens) => fittedResponse(tokens, end, max)), about } };
  }

  /** A prompt and its responses without a template; the eos is still missing. */
  private answers(asked: Asked, texts: readonly string[]): Row<Answers> {
    const text = renderPrompt(asked);
    if ('skip' in text) return text;
    const prompt = this.tokenizer.encode(text.use, { special: 'begin' });
    const responses: number[][] = [];
    for (const each of texts) {
      const rendered = renderResponse(asked, each);
      if ('skip' in rendered) return rendered;
      responses.push(this.tokenizer.encode(rendered.use, { continues: true }));
    }
    return { use: { text: text.use, prompt, responses } };
  }

  private overlong(tokens: number, max: number): { skip: string } {
    const words = `tokens, and maxLength ${this.limits.maxLength} leaves ${max}`;
    return { skip: `its response has ${tokens} ${words}` };
  }

  private turns(turns: readonly Turn[]): Row<TokenSpan[]> {
    const spans = renderTurns(turns);
    return 'skip' in spans ? spans : { use: this.spelled(spans.use) };
  }

  /** Spans of a text as tokens. Each target ends with the eos. */
  private spelled(spans: readonly Span[]): TokenSpan[] {
    return spans.map(({ text, target }, i) => {
      const tokens = this.tokenizer.encode(text, i === 0 ? { special: 'begin' } : { continues: true });
      return { text, tokens: target ? [...tokens, ...this.end] : tokens, target };
    });
  }

  /** A text in spans; where it is cut, only its end is lost. */
  private whole(spans: readonly TokenSpan[], meta: Meta, isText: boolean): Row<Encoded> {
    const tokens = spans.flatMap((span) => span.tokens);
    const targets = spans.flatMap((span) => span.tokens.map(() => span.target));
    const { maxLength, overlong } = this.limits;
    if (tokens.length > maxLength && overlong !== 'cut') {
      return { skip: `it has ${tokens.length} tokens, and maxLength is ${maxLength}` };
    }
    const kept = targets.slice(0, maxLength);
    if (!kept.includes(true)) return { skip: 'nothing in it is to be learned' };
    const first = spans.find(({ target }) => target);
    const about = {
      prompt: spans
        .slice(0, first && spans.indexOf(first))
        .map(({ text }) => text)
        .join(''),
      promptCut: false,
    };
    const responseCut = kept.length < tokens.length;
    const cut = tokens.slice(0, maxLength);
    return {
      use: { ...about, responseCut, row: isText ? { tokens: cut, meta } : { tokens: cut, targets: kept, meta } },
    };
  }

  /** Steps that do not fit are dropped or left out whole; a step is never cut. */
  private steps({ prompt: asked, steps, meta }: RowOf<'steps'>): Row<Encoded> {
    const text = renderPrompt(asked);
    if ('skip' in text) return text;
    const first = renderResponse(asked, steps[0]?.text ?? '');
    if ('skip' in first) return first;
    const whole = this.tokenizer.encode(text.use, { special: 'begin' });
    const encoded = steps.map(({ text, ...judged }, i) => {
      const tokens = this.tokenizer.encode(i === 0 ? first.use : `\n${text}`, { continues: true });
      return { tokens: i === steps.length - 1 ? [...tokens, ...this.end] : tokens, ...judged };
    });
    if (whole.length === 0 || encoded.some(({ tokens }) => tokens.length === 0)) return NO_TOKENS;
    const longest = encoded.reduce((sum, { tokens }) => sum + tokens.length, 0);
    const prompt = keptPrompt(whole, longest, this.limits, this.begin);
    const max = this.limits.maxLength - prompt.length;
    if (longest > max && this.limits.overlong !== 'cut') return this.overlong(longest, max);
    const kept = firstWithin(encoded, max);
    if (kept.length === 0) return { skip: 'its first step is longer than maxLength leaves room for' };
    const about = {
      prompt: text.use,
      promptCut: prompt.length < whole.length,
      responseCut: kept.length < steps.length,
    };
    return { use: { ...about, row: { prompt, steps: kept, meta } } };
  }
}

const NO_TOKENS = { skip: 'one of its texts has no tokens' };

function firstWithin<S extends { tokens: number[] }>(steps: readonly S[], max: number): S[] {
  let length = 0;
  const over = steps.findIndex(({ tokens }) => {
    length += tokens.length;
    return length > max;
  });
  return over < 0 ? [...steps] : steps.slice(0, over);
}

function withTokens(
  row: RowOf<'completion' | 'ranking' | 'rating' | 'label'>,
  prompt: number[],
  responses: number[][],
): TokenRows['completion' | 'ranking' | 'rating' | 'label'] {
  const [response] = responses as [number[]];
  const { meta } = row;
  switch (row.kind) {
    case 'completion':
      return { prompt, response, ...given('weight', row.weight), ...given('reward', row.reward), meta };
    case 'ranking':
      return { prompt, responses, rank: row.rank, ...given('noneGood', row.noneGood), meta };
    case 'rating':
      return { prompt, response, ratings: row.ratings, ...given('scale', row.scale), meta };
    case 'label':
      return { prompt, response, good: row.good, meta };
  }
}
