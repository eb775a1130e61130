import { printable } from '../../errors.ts';
import { fallbackTokens } from './bytes.ts';
import type { Model } from './model.ts';
import type { Step } from './step.ts';

/** The log-probability of an unknown character, relative to the least likely token. */
const UNKNOWN_PENALTY = 10;

/** The best segmentation up to a position: the start and id of its last token, and its total score. */
interface Way {
  score: number;
  begin: number;
  token: number;
}

/** SentencePiece's unigram model: finds the most likely sequence of tokens for a text. */
export class Unigram implements Model {
  readonly vocabulary: ReadonlyMap<string, number>;
  private readonly scores: readonly number[];
  private readonly unknown: number | undefined;
  private readonly unknownScore: number;
  private readonly byteFallback: boolean;
  /** All prefixes of all tokens. */
  private readonly beginnings = new Set<string>();

  constructor(step: Step) {
    const entries = step.list('vocab').map(readEntry);
    this.vocabulary = new Map(entries.map(([name], token) => [name, token]));
    this.scores = entries.map(([, score]) => asSerdeReads(score));
    this.unknown = step.has('unk_id') ? step.count('unk_id') : undefined;
    if (this.unknown !== undefined && this.unknown >= entries.length) step.refuse('unk_id', 'no such token');
    this.unknownScore =
      this.scores.reduce((min, score) => Math.min(min, score), Number.POSITIVE_INFINITY) - UNKNOWN_PENALTY;
    this.byteFallback = step.flag('byte_fallback', false);
    for (const [name] of entries) for (let end = 1; end <= name.length; end++) this.beginnings.add(name.slice(0, end));
  }

  encode(text: string): number[] {
    return this.bestParts(text).flatMap((part) => this.tokensOf(part));
  }

  private tokensOf(part: string): number[] {
    const token = this.vocabulary.get(part);
    if (token !== undefined) return [token];
    const bytes = this.byteFallback ? fallbackTokens(part, this.vocabulary) : undefined;
    return bytes ?? [this.unknown ?? noToken(part)];
  }

  /** The texts of the best tokens; a run of unknown characters is one of them. */
  private bestParts(text: string): string[] {
    const ways = this.bestWays(text);
    const parts: string[] = [];
    let unknownEnd = 0;
    for (let end = text.length; end > 0; ) {
      const { begin, token } = ways[end] as Way;
      if (token === this.unknown) unknownEnd ||= end;
      else {
        if (unknownEnd > 0) parts.push(text.slice(end, unknownEnd));
        unknownEnd = 0;
        parts.push(text.slice(begin, end));
      }
      end = begin;
    }
    if (unknownEnd > 0) parts.push(text.slice(0, unknownEnd));
    return parts.reverse();
  }

  /** The best segmentation up to each position that tokens reach. */
  private bestWays(text: string): (Way | undefined)[] {
    const ways = new Array<Way | undefined>(text.length + 1);
    const isBetter = (end: number, score: number) => !((ways[end]?.score ?? Number.NEGATIVE_INFINITY) >= score);
    for (let begin = 0; begin < text.length; ) {
      const score = ways[begin]?.score ?? 0;
      const next = begin + ((text.codePointAt(begin) as number) > 0xffff ? 2 : 1);
      let single = false;
      for (let end = begin + 1; end <= text.length; end++) {
        const name = text.slice(begin, end);
        if (!this.beginnings.has(name)) break;
        const token = this.vocabulary.get(name);
        if (token === undefined) continue;
        const reached = score + (this.scores[token] as number);
        if (isBetter(end, reached)) ways[end] = { begin, token, score: reached };
        if (end === next) single = true;
      }
      if (!single && isBetter(next, score + this.unknownScore)) {
        const token = this.unknown ?? noToken(text.slice(begin, next));
        ways[next] = { begin, token, score: score + this.unknownScore };
      }
      begin = next;
    }
    return ways;
  }
}

function noToken(text: string): never {
  throw new Error(`no token for ${printable(text)}, and no unk_id`);
}

function readEntry(entry: unknown): [string, number] {
  if (Array.isArray(entry) && entry.length === 2 && typeof entry[0] === 'string' && typeof entry[1] === 'number')
    return entry as [string, number];
  throw new Error(`${printable(entry)} in a vocabulary instead of a text and its score`);
}

/**
 * Parses a number as serde_json does, which is not always the nearest double: its last bit decides between equally good
 * segmentations.
 */
function asSerdeReads(score: number): number {
  const [digits, exponent = '0'] = String(score).split('e') as [string, string?];
  const [whole, fraction = ''] = digits.split('.') as [string, string?];
  const power = Number(exponent) - fraction.length;
  const significand = Number(whole + fraction);
  return power < 0 ? significand / Number(`1e${-power}`) : significand * Number(`1e${power}`);
}
