/** The models whose vocabulary is one of whole words or their parts. */
import { printable } from '../../errors.ts';
import type { Model } from './model.ts';
import type { Step } from './step.ts';

/** The `vocab` of a model with names and numbers. */
export function readVocabulary(step: Step): Map<string, number> {
  return new Map(Object.entries(step.object('vocab')) as [string, number][]);
}

/** The token for what the vocabulary lacks. */
function unknownToken(vocabulary: ReadonlyMap<string, number>, name: string, text: string): number {
  const token = vocabulary.get(name);
  if (token !== undefined) return token;
  throw new Error(`no token for ${printable(text)}, nor the unk_token ${printable(name)}`);
}

/** Every piece of text is a token, or unknown. */
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

/** A piece of text is its longest beginning in the vocabulary, then the longest of the rest, ...; or unknown as a whole. */
export class WordPiece implements Model {
  readonly vocabulary: ReadonlyMap<string, number>;
  private readonly unknown: string;
  private readonly prefix: string;
  private readonly longest: number;

  constructor(step: Step) {
    this.vocabulary = readVocabulary(step);
    this.unknown = step.string('unk_token');
    this.prefix = step.string('continuing_subword_prefix');
    this.longest = step.count('max_input_chars_per_word');
  }

  encode(text: string): number[] {
    return this.parts(Array.from(text)) ?? [unknownToken(this.vocabulary, this.unknown, text)];
  }

  private parts(characters: string[]): number[] | undefined {
    if (characters.length > this.longest) return undefined;
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
