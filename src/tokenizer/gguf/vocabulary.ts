/** What a GGUF file says of its tokenizer: tokens, their kinds, merges, special tokens. */
import { printable } from '../../errors.ts';
import { badFile } from '../../files/gguf/cursor.ts';
import type { GgufMetadata } from '../../files/gguf/metadata.ts';

/** The kinds of tokens by the number that stands for each. */
const KINDS = { 1: 'normal', 2: 'unknown', 3: 'control', 4: 'user', 5: 'unused', 6: 'byte' } as const;
type Kind = (typeof KINDS)[keyof typeof KINDS];
/** Longer than any token in use: finding merges takes time that grows with the square. */
const MAX_TOKEN_LENGTH = 1000;

export interface Vocabulary {
  readonly path: string;
  /** The architecture of the model, which some tokenizers depend on. */
  readonly architecture: string;
  readonly model: string;
  /** How texts are split before merging. */
  readonly pre: string | undefined;
  readonly tokens: readonly string[];
  readonly kinds: readonly Kind[];
  readonly scores: readonly number[] | undefined;
  readonly merges: readonly string[] | undefined;
  readonly special: Readonly<Record<'bos' | 'eos' | 'pad' | 'unknown', number | undefined>>;
  /** Tokens that end a turn or a message. */
  readonly otherEnds: readonly (number | undefined)[];
  readonly addBos: boolean | undefined;
  readonly addEos: boolean | undefined;
  /** Whether a text gets a space in front. */
  readonly addSpacePrefix: boolean | undefined;
  readonly chatTemplate: string | undefined;
}

export type Json = Record<string, unknown>;

/** What a kind of tokenizer does with a text. */
export interface Steps {
  /** Normalizer, pre-tokenizer, decoder and model of a tokenizer.json. */
  readonly json: Json;
  /** Whether texts begin with bos where the file does not say. */
  readonly addBos: boolean;
}

/** @throws GgufError if something is missing, or ids and tokens do not go together. */
export function readVocabulary(metadata: GgufMetadata): Vocabulary {
  const own = (key: string) => `tokenizer.ggml.${key}`;
  const tokens = metadata.texts(own('tokens'));
  checkTokens(metadata.path, tokens);
  const special = (key: string) => checkId(metadata, own(`${key}_token_id`), tokens.length);
  return {
    path: metadata.path,
    architecture: metadata.findText('general.architecture') ?? '',
    model: metadata.text(own('model')),
    pre: metadata.findText(own('pre')),
    tokens,
    kinds: readKinds(metadata, own('token_type'), tokens.length),
    scores: readNumbers(metadata, own('scores'), tokens.length),
    merges: metadata.findTexts(own('merges')),
    special: { bos: special('bos'), eos: special('eos'), pad: special('padding'), unknown: special('unknown') },
    otherEnds: [special('eot'), special('eom')],
    addBos: metadata.findFlag(own('add_bos_token')),
    addEos: metadata.findFlag(own('add_eos_token')),
    addSpacePrefix: metadata.findFlag(own('add_space_prefix')),
    chatTemplate: metadata.findText('tokenizer.chat_template'),
  };
}

function checkTokens(path: string, tokens: readonly string[]): void {
  const argument = `${path}, tokenizer.ggml.tokens`;
  if (tokens.length === 0) throw badFile('bad-metadata', argument, 'no tokens', 'some');
  const seen = new Set<string>();
  for (const token of tokens) {
    if (seen.has(token)) throw badFile('bad-metadata', argument, `${printable(token)} twice`, 'each token once');
    if (token.length > MAX_TOKEN_LENGTH) {
      const received = `a token of ${token.length} characters`;
      throw badFile('bad-metadata', argument, received, `at most ${MAX_TOKEN_LENGTH}`);
    }
    seen.add(token);
  }
}

function checkId(metadata: GgufMetadata, key: string, count: number): number | undefined {
  const id = metadata.findCount(key);
  // 2^32 - 1 stands for none; it is no count and refused with the others.
  if (id === undefined || id < count) return id;
  throw badFile('bad-metadata', `${metadata.path}, ${key}`, `${id}`, `one of the ${count} tokens`);
}

function readNumbers(metadata: GgufMetadata, key: string, count: number): readonly number[] | undefined {
  const numbers = metadata.findNumbers(key);
  if (numbers === undefined || numbers.length === count) return numbers;
  throw badFile(
    'bad-metadata',
    `${metadata.path}, ${key}`,
    `${numbers.length} numbers`,
    `one for each of the ${count} tokens`,
  );
}

function readKinds(metadata: GgufMetadata, key: string, count: number): readonly Kind[] {
  const numbers = readNumbers(metadata, key, count) ?? Array<number>(count).fill(1);
  return numbers.map((number) => {
    const kind = Object.hasOwn(KINDS, number) ? KINDS[number as keyof typeof KINDS] : undefined;
    if (kind !== undefined) return kind;
    throw badFile('bad-metadata', `${metadata.path}, ${key}`, `${number}`, '1 to 6');
  });
}
