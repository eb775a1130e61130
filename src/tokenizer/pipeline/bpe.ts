import { printable } from '../../errors.ts';
import { fallbackTokens } from './bytes.ts';
import { Merges } from './merges.ts';
import type { Model } from './model.ts';
import type { Step } from './step.ts';
import { readVocabulary } from './words.ts';

/** Number of words whose tokens are cached, and the length of the longest: texts repeat their words. */
const KEPT_WORDS = 10_000;
const KEPT_LENGTH = 256;

/** Byte-pair encoding: starts with the characters of a word and merges pairs in the order of the merges. */
export class Bpe implements Model {
  readonly vocabulary: ReadonlyMap<string, number>;
  private readonly merges: Merges;
  private readonly unknown: string | undefined;
  private readonly fuseUnknown: boolean;
  private readonly prefix: string;
  private readonly suffix: string;
  private readonly byteFallback: boolean;
  private readonly ignoreMerges: boolean;
  private readonly kept = new Map<string, readonly number[]>();

  constructor(step: Step) {
    this.vocabulary = readVocabulary(step);
    if (step.has('dropout') && step.number('dropout') !== 0)
      step.refuse('dropout', 'the same text would get different tokens each time');
    this.unknown = step.maybeString('unk_token');
    this.prefix = step.maybeString('continuing_subword_prefix') ?? '';
    this.suffix = step.maybeString('end_of_word_suffix') ?? '';
    this.fuseUnknown = step.flag('fuse_unk', false);
    this.byteFallback = step.flag('byte_fallback', false);
    this.ignoreMerges = step.flag('ignore_merges', false);
    this.merges = new Merges(step.list('merges'), this.vocabulary, this.prefix.length);
  }

  encode(word: string): readonly number[] {
    const whole = this.ignoreMerges ? this.vocabulary.get(word) : undefined;
    if (whole !== undefined) return [whole];
    const known = this.kept.get(word);
    if (known !== undefined) return known;
    const tokens = this.merges.apply(this.letters(word));
    if (word.length < KEPT_LENGTH) {
      if (this.kept.size >= KEPT_WORDS) this.kept.clear();
      this.kept.set(word, tokens);
    }
    return tokens;
  }

  /**
   * The tokens of the characters. A character without one becomes the unknown token; if there is none, it is omitted,
   * and its neighbours may merge.
   */
  private letters(word: string): number[] {
    const tokens: number[] = [];
    let unknown: number | undefined;
    const flush = () => {
      if (unknown !== undefined) tokens.push(unknown);
      unknown = undefined;
    };
    const characters = Array.from(word);
    characters.forEach((character, i) => {
      const prefix = i > 0 ? this.prefix : '';
      const suffix = i === characters.length - 1 ? this.suffix : '';
      const name = prefix + character + suffix;
      const token = this.vocabulary.get(name);
      if (token !== undefined) {
        flush();
        tokens.push(token);
        return;
      }
      const bytes = this.byteFallback ? fallbackTokens(name, this.vocabulary) : undefined;
      if (bytes !== undefined) {
        tokens.push(...bytes);
      } else if (this.unknown !== undefined) {
        if (!this.fuseUnknown) flush();
        unknown = this.vocabulary.get(this.unknown) ?? noUnknown(character, this.unknown);
      }
    });
    flush();
    return tokens;
  }
}

function noUnknown(character: string, name: string): never {
  throw new Error(`no token for ${printable(character)}, and no unk_token ${printable(name)}`);
}
