/** What a training run would make of some files: the form, what is used, cut and left out, and which tokens are learned. */
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { RowOptions } from './chat-rows.ts';
import { firstForms } from './forms/read.ts';
import type { RowKind } from './forms/rows.ts';
import { unknownForm } from './forms/detect.ts';
import { loadPreferences } from './preferences.ts';
import { loadPrompts } from './prompts.ts';
import { type Format, formatOf, type Paths } from './records.ts';
import type { Skipped } from './row.ts';
import { nothingUsable } from './rows.ts';
import { type LoadedRows, loadRows, type TokenKind, type TokenLimits, type TokenRows } from './token-rows.ts';

/** Tokens of a sequence that are learned, or that are not. */
export interface TokenSpan {
  tokens: number[];
  target: boolean;
}

/** What was found in the files. */
export interface Inspection {
  files: { path: string; format: Format; form: string; because: string[] }[];
  /** The kind of rows that was looked at. */
  kind: RowKind;
  /** Rows that would be trained on. */
  used: number;
  /** Rows that would not, by reason, the most frequent first. */
  skipped: { reason: string; count: number; first: string }[];
  /** Used rows with a truncated prompt, and with a truncated response. */
  cut: { prompts: number; responses: number };
  /** Tokens of all sequences, and how many of them are learned. */
  tokens: { all: number; targets: number };
  /** Sequences by length in tokens: `count` are longer than the bucket before, up to `upTo`. */
  lengths: { upTo: number; count: number }[];
  /** Prompts, and rows that repeat the prompt of an earlier one. */
  prompts: { distinct: number; repeated: number };
  /** Pairs that contradict another about the same two responses. */
  contradicting: number;
  /** The first rows, each as its sequences. */
  examples: TokenSpan[][][];
}

const EXAMPLES = 3;
const BUCKETS = 8;

/**
 * Reads all rows of some files as a training run on rows of `kind` would; the default is what the form of the first file
 * gives first.
 * @throws as loadRows does
 */
export async function inspectData(
  paths: Paths,
  tokenizer: Tokenizer,
  limits: TokenLimits,
  { kind: asked, ...options }: RowOptions & { kind?: RowKind | undefined } = {},
): Promise<Inspection> {
  const firsts = await firstForms(paths, options);
  const [first] = firsts;
  if (first === undefined) throw nothingUsable(paths, []);
  const files: Inspection['files'] = [];
  for (const { record, form } of firsts) {
    if (form === undefined) throw unknownForm(record.place, record.value);
    const format = await formatOf(record.path, options.map);
    files.push({ path: record.path, format, form: form.name, because: Object.keys(form.needs) });
  }
  const kind = asked ?? (first.form?.gives[0] as RowKind);
  const { sequences, groups, skipped, cut } = await READERS[kind](paths, tokenizer, limits, options);
  const spans = sequences.flat();
  const distinct = new Set(groups).size;
  return {
    files,
    kind,
    used: sequences.length,
    skipped: byReason(skipped),
    cut,
    tokens: { all: countTokens(spans.flat()), targets: countTokens(spans.flat().filter(({ target }) => target)) },
    lengths: histogram(spans.map(countTokens)),
    prompts: { distinct, repeated: groups.length - distinct },
    contradicting: skipped.filter(({ reason }) => reason.endsWith('prefers the other response')).length,
    examples: sequences.slice(0, EXAMPLES),
  };
}

/** Rows as sequences: a row of a pair has two. */
interface Read {
  sequences: TokenSpan[][][];
  groups: (number | string)[];
  skipped: Skipped[];
  cut: Inspection['cut'];
}
type Reader = (paths: Paths, tokenizer: Tokenizer, limits: TokenLimits, options: RowOptions) => Promise<Read>;

const asked = (tokens: number[]): TokenSpan => ({ tokens, target: false });
const learned = (tokens: number[]): TokenSpan => ({ tokens, target: true });

async function readPairs(
  ...[paths, tokenizer, { overlong: _, ...limits }, options]: Parameters<Reader>
): Promise<Read> {
  const { pairs, ...rest } = await loadPreferences(paths, tokenizer, limits, options);
  const sequences = pairs.map(({ prompt, chosen, rejected }) => {
    return [chosen, rejected].map((response) => [asked(prompt), learned(response)]);
  });
  return { sequences, ...rest };
}

async function readPrompts(...[paths, tokenizer, limits, options]: Parameters<Reader>): Promise<Read> {
  const { maxLength, maxPromptLength = maxLength } = limits;
  const { prompts, skipped, cut } = await loadPrompts(paths, tokenizer, { maxPromptLength }, options);
  const groups = prompts.map((prompt) => prompt.join());
  return {
    sequences: prompts.map((prompt) => [[asked(prompt)]]),
    groups,
    skipped,
    cut: { prompts: cut, responses: 0 },
  };
}

/** A reader of rows whose sequences `spell` writes down. */
function rows<K extends TokenKind>(kind: K, spell: (row: TokenRows[K]) => TokenSpan[][]): Reader {
  return async (paths, tokenizer, limits, options) => {
    const { rows, ...rest }: LoadedRows<K> = await loadRows(kind, paths, tokenizer, limits, options);
    return { sequences: rows.map(spell), ...rest };
  };
}

const READERS: Readonly<Record<RowKind, Reader>> = {
  pair: readPairs,
  prompt: readPrompts,
  text: rows('text', ({ tokens }) => [[learned(tokens)]]),
  turns: rows('turns', ({ tokens, targets }) => [runs(tokens, targets)]),
  completion: rows('completion', ({ prompt, response }) => [[asked(prompt), learned(response)]]),
  ranking: rows('ranking', ({ prompt, responses }) => responses.map((response) => [asked(prompt), learned(response)])),
  rating: rows('rating', ({ prompt, response }) => [[asked(prompt), learned(response)]]),
  label: rows('label', ({ prompt, response }) => [[asked(prompt), learned(response)]]),
  steps: rows('steps', ({ prompt, steps }) => [[asked(prompt), ...steps.map(({ tokens }) => learned(tokens))]]),
};

/** Splits tokens where targets begin or end. */
function runs(tokens: readonly number[], targets: readonly boolean[]): TokenSpan[] {
  const spans: TokenSpan[] = [];
  for (const [i, token] of tokens.entries()) {
    const target = targets[i] as boolean;
    const last = spans.at(-1);
    if (last?.target === target) last.tokens.push(token);
    else spans.push({ tokens: [token], target });
  }
  return spans;
}

function countTokens(spans: readonly TokenSpan[]): number {
  return spans.reduce((sum, { tokens }) => sum + tokens.length, 0);
}

/** Reasons with their number, without the places in them. */
function byReason(skipped: readonly Skipped[]): Inspection['skipped'] {
  const found = new Map<string, Inspection['skipped'][number]>();
  for (const { place, reason: whole } of skipped) {
    const reason = whole
      .replace(/(line|row) \d+|\S+:(row )?\d+/, 'another row')
      .replace(/\d+ tokens/, 'too many tokens');
    const known = found.get(reason);
    if (known !== undefined) known.count++;
    else found.set(reason, { reason, count: 1, first: place });
  }
  return [...found.values()].sort((a, b) => b.count - a.count);
}

function histogram(lengths: readonly number[]): Inspection['lengths'] {
  const longest = lengths.reduce((max, length) => Math.max(max, length), 0);
  const width = Math.max(1, Math.ceil(longest / BUCKETS));
  const buckets = Array.from({ length: Math.max(1, Math.ceil(longest / width)) }, (_, i) => ({
    upTo: (i + 1) * width,
    count: 0,
  }));
  for (const length of lengths) (buckets[Math.max(0, Math.ceil(length / width) - 1)] as { count: number }).count++;
  return buckets;
}
