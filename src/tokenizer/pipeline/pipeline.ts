import { printable } from '../../errors.ts';
import { type AddedToken, TokenFinder } from './added-tokens.ts';
import { createDecoder, type Decoder } from './decoders.ts';
import type { Model } from './model.ts';
import { createModel } from './models.ts';
import { createNormalizer, type Normalizer } from './normalizers.ts';
import type { Piece } from './pieces.ts';
import { checkPostProcessor } from './post-processors.ts';
import { createPreTokenizer, type PreTokenizer } from './pre-tokenizers.ts';
import { isObject, type Json, Step } from './step.ts';

/**
 * All steps of a tokenizer.json, as the Rust library `tokenizers` takes them: added tokens are found, the texts between them
 * normalized, added tokens found in those, the rest cut into pieces and given to the model. Ids are the Rust library's, or the
 * file is refused.
 */
export class Pipeline {
  private readonly normalize: Normalizer;
  private readonly preTokenize: PreTokenizer;
  private readonly model: Model;
  private readonly decodeNames: Decoder | undefined;
  private readonly asWritten = new TokenFinder();
  private readonly whenNormalized = new TokenFinder();
  private readonly special: ReadonlySet<number>;
  private readonly names: ReadonlyMap<number, string>;

  /** @throws Error that says what is damaged or not supported. */
  constructor(json: Json) {
    checkFile(json);
    this.normalize = optional(json.normalizer, createNormalizer) ?? ((piece) => piece);
    this.preTokenize = optional(json.pre_tokenizer, createPreTokenizer) ?? ((piece) => [piece]);
    this.model = createModel(json.model);
    optional(json.post_processor, checkPostProcessor);
    this.decodeNames = optional(json.decoder, createDecoder);
    const added = readAddedTokens(json.added_tokens);
    checkNumbers(added, this.model.vocabulary);
    this.special = new Set(added.filter((token) => token.special).map(({ id }) => id));
    const written = (token: AddedToken) =>
      token.normalized ? this.normalize({ text: token.content, start: 'middle' }).text : token.content;
    this.names = new Map([
      ...[...this.model.vocabulary].map(([name, token]): [number, string] => [token, name]),
      ...added.map((token): [number, string] => [token.id, written(token)]),
    ]);
    // Of two that are written the same, the special one is found.
    for (const token of [...added.filter(({ special }) => special), ...added.filter(({ special }) => !special)]) {
      (token.normalized ? this.whenNormalized : this.asWritten).add(token, written(token));
    }
  }

  /** The tokens of `text`. One that `continues` an earlier text gets no space put before it. */
  encode(text: string, continues: boolean): number[] {
    const tokens: number[] = [];
    for (const section of this.asWritten.split({ text, start: continues ? 'continued' : 'text' })) {
      if ('token' in section) tokens.push(section.token);
      else this.encodeSection(section, tokens);
    }
    return tokens;
  }

  private encodeSection(piece: Piece, tokens: number[]): void {
    for (const section of this.whenNormalized.split(this.normalize(piece))) {
      if ('token' in section) {
        tokens.push(section.token);
        continue;
      }
      for (const { text } of this.preTokenize(section)) {
        if (text !== '') for (const token of this.model.encode(text)) tokens.push(token);
      }
    }
  }

  /** The text of tokens, without special ones and those that the vocabulary lacks. */
  decode(tokens: readonly number[]): string {
    const shown = tokens.filter((token) => !this.special.has(token)).flatMap((token) => this.names.get(token) ?? []);
    return this.decodeNames === undefined ? shown.join(' ') : this.decodeNames(shown).join('');
  }
}

const KEYS = ['added_tokens', 'normalizer', 'pre_tokenizer', 'post_processor', 'decoder', 'model'];
/** What is put around texts of a batch, or cut from them; nothing is here. */
const BATCHES = ['truncation', 'padding'];

/** Another version, or a key that this one does not have, may give other tokens. */
function checkFile(json: Json): void {
  const { version = '1.0' } = json;
  if (version !== '1.0') throw new Error(`version ${printable(version)}, not "1.0"`);
  const unknown = Object.keys(json).find((key) => !['version', ...BATCHES, ...KEYS].includes(key));
  if (unknown !== undefined) throw new Error(`the key ${printable(unknown)}, which version 1.0 does not have`);
  const wrong = BATCHES.find((key) => !isObject(json[key] ?? {}));
  if (wrong !== undefined) throw new Error(`${printable(json[wrong])} as ${wrong}, not an object`);
}

function optional<T>(json: unknown, create: (step: Step) => T): T | undefined {
  return json === null || json === undefined ? undefined : create(new Step(json));
}

function readAddedTokens(list: unknown): AddedToken[] {
  if (list === undefined) return [];
  if (!Array.isArray(list)) throw new Error(`${printable(list)} as added_tokens, not a list`);
  return list.map((json) => readAddedToken(new Step(json, 'added token')));
}

/** The Rust library numbers added tokens itself: the file's numbers are what it was saved with, unless someone changed it. */
function checkNumbers(added: readonly AddedToken[], vocabulary: ReadonlyMap<string, number>): void {
  const numbers = new Map(vocabulary);
  let next = vocabulary.size;
  for (const { content, id } of added) {
    if (content === '') continue;
    const right = numbers.get(content) ?? next++;
    if (right !== id) throw new Error(`${id} as the id of the added token ${printable(content)}, which is ${right}`);
    numbers.set(content, id);
  }
}

function readAddedToken(step: Step): AddedToken {
  return {
    id: step.count('id'),
    content: step.string('content'),
    singleWord: step.flag('single_word'),
    leftStrip: step.flag('lstrip'),
    rightStrip: step.flag('rstrip'),
    normalized: step.flag('normalized'),
    special: step.flag('special'),
  };
}
