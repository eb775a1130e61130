import { printable } from '../../errors.ts';
import { type AddedToken, TokenFinder } from './added-tokens.ts';
import { createDecoder, type Decoder } from './decoders.ts';
import type { Model } from './model.ts';
import { createModel } from './models.ts';
import { createNormalizer, type Normalizer } from './normalizers.ts';
import type { Piece, Start } from './pieces.ts';
import { type Around, NOTHING_AROUND, readPostProcessor } from './post-processors.ts';
import { createPreTokenizer, type PreTokenizer } from './pre-tokenizers.ts';
import { isObject, type Json, Step } from './step.ts';

/**
 * All steps of a tokenizer.json, in the order of the Rust library `tokenizers`: find added tokens, normalize the text
 * between them, find added tokens in the result, split the rest into pieces, and encode these with the model. Ids equal
 * those of the Rust library, or the file is rejected.
 */
export class Pipeline {
  /** The special tokens that the post-processor adds. */
  readonly around: Around;
  private readonly normalize: Normalizer;
  private readonly preTokenize: PreTokenizer;
  private readonly model: Model;
  private readonly decodeNames: Decoder | undefined;
  private readonly asWritten = new TokenFinder();
  private readonly whenNormalized = new TokenFinder();
  private readonly special: ReadonlySet<number>;
  private readonly names: ReadonlyMap<number, string>;
  private readonly added: ReadonlySet<number>;

  /** @throws Error that describes what is damaged or unsupported. */
  constructor(json: Json) {
    checkFile(json);
    this.normalize = optional(json.normalizer, createNormalizer) ?? ((piece) => piece);
    this.preTokenize = optional(json.pre_tokenizer, createPreTokenizer) ?? ((piece) => [piece]);
    this.model = createModel(json.model);
    this.around = optional(json.post_processor, readPostProcessor) ?? NOTHING_AROUND;
    this.decodeNames = optional(json.decoder, createDecoder);
    const added = readAddedTokens(json.added_tokens);
    checkNumbers(added, this.model.vocabulary);
    this.added = new Set(added.map(({ id }) => id));
    this.special = new Set(added.filter((token) => token.special).map(({ id }) => id));
    const written = (token: AddedToken) =>
      token.normalized ? this.normalize({ text: token.content, start: 'middle' }).text : token.content;
    this.names = new Map([
      ...[...this.model.vocabulary].map(([name, token]): [number, string] => [token, name]),
      ...added.map((token): [number, string] => [token.id, written(token)]),
    ]);
    // Of two tokens written the same, the special one is found.
    for (const token of [...added.filter(({ special }) => special), ...added.filter(({ special }) => !special)]) {
      (token.normalized ? this.whenNormalized : this.asWritten).add(token, written(token));
    }
  }

  /** Encodes `text`, which starts there, without special tokens around it. */
  encode(text: string, start: Start): number[] {
    const tokens: number[] = [];
    for (const section of this.asWritten.split({ text, start })) {
      if ('token' in section) tokens.push(section.token);
      else this.encodeSection(section, tokens);
    }
    return tokens;
  }

  /** Encodes the parts of a text, as the whole is encoded, but for tokens that would lie across an edge of parts. */
  encodeParts(parts: readonly string[]): number[][] {
    let start: Start = 'text';
    return parts.map((part) => {
      const tokens = this.encode(part, start);
      if (part !== '') start = this.isAdded(tokens.at(-1)) ? 'middle' : 'continued';
      return tokens;
    });
  }

  /** Whether a token is one that is found in the text before the model sees it. */
  isAdded(token: number | undefined): boolean {
    return token !== undefined && this.added.has(token);
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

  /** Decodes tokens, omitting special ones and those missing from the vocabulary. */
  decode(tokens: readonly number[]): string {
    const shown = tokens.filter((token) => !this.special.has(token)).flatMap((token) => this.names.get(token) ?? []);
    return this.decodeNames === undefined ? shown.join(' ') : this.decodeNames(shown).join('');
  }
}

const KEYS = ['added_tokens', 'normalizer', 'pre_tokenizer', 'post_processor', 'decoder', 'model'];
/** Keys that pad or truncate batches; they are ignored here. */
const BATCHES = ['truncation', 'padding'];

/** Another version, or an unknown key, may produce other tokens. */
function checkFile(json: Json): void {
  const { version = '1.0' } = json;
  if (version !== '1.0') throw new Error(`version ${printable(version)} instead of "1.0"`);
  const unknown = Object.keys(json).find((key) => !['version', ...BATCHES, ...KEYS].includes(key));
  if (unknown !== undefined) throw new Error(`the key ${printable(unknown)}, which version 1.0 does not have`);
  const wrong = BATCHES.find((key) => !isObject(json[key] ?? {}));
  if (wrong !== undefined) throw new Error(`${printable(json[wrong])} as ${wrong} instead of an object`);
}

function optional<T>(json: unknown, create: (step: Step) => T): T | undefined {
  return json === null || json === undefined ? undefined : create(new Step(json));
}

function readAddedTokens(list: unknown): AddedToken[] {
  if (list === undefined) return [];
  if (!Array.isArray(list)) throw new Error(`${printable(list)} as added_tokens instead of a list`);
  return list.map((json) => readAddedToken(new Step(json, 'added token')));
}

/** The Rust library numbers added tokens itself: the ids in the file agree with it, unless someone changed them. */
function checkNumbers(added: readonly AddedToken[], vocabulary: ReadonlyMap<string, number>): void {
  const numbers = new Map(vocabulary);
  let next = vocabulary.size;
  for (const { content, id } of added) {
    if (content === '') continue;
    const right = numbers.get(content) ?? next++;
    if (right !== id) throw new Error(`${id} as the id of the added token ${printable(content)} instead of ${right}`);
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
