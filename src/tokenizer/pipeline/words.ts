/** Models with a vocabulary of whole words or parts of words. */
import { printable } from '../../errors.ts';
import type { Model } from './model.ts';
import type { Step } from './step.ts';

/** The `vocab` of a model, an object of names and ids. */
export function readVocabulary(step: Step): Map<string, number> {
  return new Map(Object.entries(step.object('vocab')) as [string, number][]);
}

/** The token for text missing from the vocabulary. */
function unknownToken(vocabulary: ReadonlyMap<string, number>, name: string, text: string): number {
  const token = vocabulary.get(name);
  if (token !== undefined) return token;
  throw new Error(`no token for ${printable(text)}, and no unk_token ${printable(name)}`);
}

/** Each piece of text is one token, known or unknown. */
export class WordLevel implements Model {
  readonly vocabulary: ReadonlyMap<string, number>;
  private readonly unknown: string;

  constructor(step: Step) {
    this.vocabulary = readVocabulary(step);
    this.unknown = step.string('unk_token');
  }

  encode(text: string): number[] {
    return [this.vocabulary.get(text) ?? unknownToken(this.vocabulary, this.unknown, text)];
  }
}

/**
 * Encodes a piece greedily: its longest prefix in the vocabulary, then the longest prefix of the rest, and so on. If
 * that fails, the whole piece is unknown.
 */
export class WordPiece implements Model {
  readonly vocabulary: ReadonlyMap<string, number>;
  private readonly unknown: string;
  private readonly prefix: string;
  private readonly maxLength: number;

  constructor(step: Step) {
    this.vocabulary = readVocabulary(step);
    this.unknown = step.string('unk_token');
    this.prefix = step.string('continuing_subword_prefix');
    this.maxLength = step.count('max_input_chars_per_word');
  }

  encode(text: string): number[] {
    return this.parts(Array.from(text)) ?? [unknownToken(this.vocabulary, this.unknown, text)];
  }

  private parts(characters: string[]): number[] | undefined {
    if (characters.length > this.maxLength) return undefined;
    const tokens: number[] = [];
    for (let begin = 0; begin < characters.length; ) {
      let end = characters.length;
      let token: number | undefined;
      for (; end > begin && token === undefined; end--) {
        const part = characters.slice(begin, end).join('');
        token = this.vocabulary.get(begin > 0 ? this.prefix + part : part);
      }
      if (token === undefined) return undefined;
      tokens.push(token);
      begin = end + 1;
    }
    return tokens;
  }
}
