import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { isWellFormed } from '../files/json.ts';
import { checkKind, checkKinds, type Kind, TEXT } from '../checks/kinds.ts';
import { checkObject } from '../checks/options.ts';
import { DeadlineError, withDeadline } from './deadline.ts';
import { type JsonFile, readObject, sha256 } from './json-file.ts';
import { Pipeline } from './pipeline/pipeline.ts';
import { isObject, type Json } from './pipeline/step.ts';
import type { Around } from './pipeline/post-processors.ts';
import { checkSteps } from './pipeline-limits.ts';
import { specialToken, specialTokensAround, templateTokens } from './special-tokens.ts';
import { checkTokens, type EncodeOptions, type Tokenizer, type TokenizerDescription } from './tokenizer.ts';

/** Upper bound on token ids: a damaged file with a larger one would require that many embeddings. */
const MAX_TOKENS = 10_000_000;
/** CPU time limits in milliseconds, and the extra time per character or token: many times what is usual. */
const PATIENCE = { build: 10_000, text: 1000, each: 0.02 };

/** Special tokens that the files do not name, or that should differ from those they name. */
export interface HuggingFaceOptions {
  eosToken?: number;
  padToken?: number;
}

/** What a tokenizer is made of: the contents of its files, and a name for errors. */
export interface TokenizerFiles {
  name: string;
  /** tokenizer.json. */
  tokenizer: Readonly<Record<string, unknown>>;
  /** tokenizer_config.json. */
  config?: Readonly<Record<string, unknown>> | undefined;
}

interface Parts {
  path: string;
  /** SHA-256 of the text of tokenizer.json. */
  fileHash: string;
  pipeline: Pipeline;
  tokens: ReadonlySet<number>;
  /** The special tokens around a text. */
  around: Around;
  templateTokens: Readonly<Record<string, string>>;
  config: Json;
  bosToken: number | undefined;
  eosToken: number | undefined;
  padToken: number | undefined;
  /** Whether encoding and decoding need a deadline, because the file contains its own regular expressions. */
  watched: { encode: boolean; decode: boolean };
}

/** A Hugging Face tokenizer, loaded from its `tokenizer.json`. Special tokens in a text are recognised. */
export class HuggingFaceTokenizer implements Tokenizer {
  readonly vocabSize: number;
  /** The token that a sequence begins with, if there is one. */
  readonly bosToken: number | undefined;
  readonly eosToken: number | undefined;
  readonly padToken: number | undefined;
  readonly hash: string;
  /** The texts of special tokens by the names that chat templates have for them, such as `bos_token`. */
  readonly templateTokens: Readonly<Record<string, string>>;
  /** The content of tokenizer_config.json. */
  readonly config: Json;
  private readonly parts: Parts;

  private constructor(parts: Parts, { eosToken = parts.eosToken, padToken = parts.padToken }: HuggingFaceOptions) {
    this.parts = parts;
    this.vocabSize = [...parts.tokens].reduce((max, token) => Math.max(max, token)) + 1;
    this.eosToken = checkSpecial('eosToken', eosToken, parts.tokens);
    this.padToken = checkSpecial('padToken', padToken, parts.tokens);
    this.bosToken = parts.bosToken;
    this.templateTokens = parts.templateTokens;
    this.config = parts.config;
    const special = `eos ${this.eosToken ?? 'none'}, pad ${this.padToken ?? 'none'}`;
    this.hash = sha256(`${parts.fileHash}, ${special}${aroundNote(parts)}`);
  }

  /**
   * Loads the `tokenizer.json` at `path`. The eos and padding tokens come from `options`, else from the
   * `tokenizer_config.json` next to it, else from added tokens with one of the usual names; a tokenizer may have
   * neither.
   * @throws FileError if a file is missing, damaged, or uses an unsupported component or option.
   */
  static async load(path: string, options: HuggingFaceOptions = {}): Promise<HuggingFaceTokenizer> {
    const file = readObject(path, TOKENIZER_JSON);
    const beside = join(dirname(path), 'tokenizer_config.json');
    const config = existsSync(beside) ? readObject(beside, TOKENIZER_JSON).object : {};
    return new HuggingFaceTokenizer(build(resolve(path), file, config), options);
  }

  /** A tokenizer whose files are in memory. @throws FileError as `load` does, under the name of the files. */
  static of(files: TokenizerFiles, options: HuggingFaceOptions = {}): HuggingFaceTokenizer {
    checkKinds('files', files, { name: TEXT });
    const { name, tokenizer, config = {} } = files;
    checkObject(tokenizer, 'tokenizer', 'the object in a tokenizer.json');
    checkObject(config, 'config', 'the object in a tokenizer_config.json');
    const file = { object: tokenizer, hash: sha256(JSON.stringify(tokenizer)) };
    return new HuggingFaceTokenizer(build(name, file, config), options);
  }

  /**
   * Encodes `text`.
   * @throws FileError if the tokenizer's own regular expressions exceed the time limit.
   * @throws FileError if a character has no token and there is no unknown token.
   * @throws ArgumentError for a text that both continues another and begins a sequence.
   */
  encode(text: string, options: EncodeOptions = {}): number[] {
    checkKind('text', text, TEXT);
    checkObject(options, 'encode options');
    const { continues = false, special } = options;
    checkKind('special', special, SPECIAL);
    if (continues && special !== undefined) throw beginsAndContinues();
    const start = continues ? 'continued' : 'text';
    const { pipeline, watched, around } = this.parts;
    const tokens = this.run(() => pipeline.encode(wellFormed(text), start), watched.encode, text.length);
    if (special === undefined) return tokens;
    const begun = around.before.every((token, i) => token === tokens[i]);
    return [...(begun ? [] : around.before), ...tokens, ...(special === 'both' ? around.after : [])];
  }

  /**
   * Encodes the parts of one text. Their tokens are those of the whole text wherever the edges of parts are at added tokens;
   * elsewhere, no token lies across an edge.
   * @throws FileError as `encode` does.
   */
  encodeParts(texts: readonly string[]): number[][] {
    checkKind('texts', texts, TEXTS);
    const { pipeline, watched } = this.parts;
    const length = texts.reduce((sum, text) => sum + text.length, 0);
    return this.run(() => pipeline.encodeParts(texts.map(wellFormed)), watched.encode, length);
  }

  /** Whether a token is found in texts before the model sees them, as all special tokens are. */
  isAdded(token: number | undefined): boolean {
    return this.parts.pipeline.isAdded(token);
  }

  /** Decodes tokens; ids in the gaps of a vocabulary decode to nothing. @throws FileError as `encode` does. */
  decode(tokens: Iterable<number>): string {
    const known = checkTokens(tokens, this.vocabSize);
    return this.run(() => this.parts.pipeline.decode(known), this.parts.watched.decode, known.length);
  }

  private run<T>(work: () => T, watched: boolean, size: number): T {
    try {
      return watched ? withDeadline(PATIENCE.text + PATIENCE.each * size, work) : work();
    } catch (error) {
      throw failed(this.parts.path, error);
    }
  }

  describe(): Extract<TokenizerDescription, { type: 'hugging-face' }> {
    return { type: 'hugging-face', path: this.parts.path, hash: this.hash };
  }
}

function build(path: string, { object: json, hash: fileHash }: JsonFile, config: Json): Parts {
  const tokens = collectTokens(path, json);
  try {
    const watched = checkSteps(json);
    const patience = PATIENCE.build + PATIENCE.each * tokens.size;
    const pipeline = withDeadline(patience, () => new Pipeline(json));
    const [bosToken, eosToken, padToken] = SPECIAL_TOKENS.map((key) => specialToken(json, config, key));
    const around = specialTokensAround(pipeline.around, config, bosToken, eosToken);
    const named = { bosToken, eosToken, padToken, templateTokens: templateTokens(config) };
    return { path, fileHash, pipeline, tokens, around, config, ...named, watched };
  } catch (error) {
    throw failed(path, error);
  }
}

/** All token ids of a model of any kind: `vocab` is an object of tokens or, for Unigram, a list. */
function collectTokens(path: string, { model, added_tokens: added }: Json): Set<number> {
  const vocab = isObject(model) ? model.vocab : undefined;
  const all = new Set<number>();
  const include = (tokens: Iterable<unknown>) => {
    const own = new Set<unknown>();
    for (const token of tokens) {
      if (!isToken(token)) throw notTokenizer(path, `the token id ${printable(token)}`);
      if (own.has(token)) throw notTokenizer(path, `the token id ${token} twice`);
      own.add(token);
      all.add(token);
    }
  };
  include(Array.isArray(vocab) ? vocab.keys() : isObject(vocab) ? Object.values(vocab) : []);
  include(addedTokens(path, added).map(({ id }) => id));
  if (all.size === 0) throw notTokenizer(path, 'no vocabulary');
  return all;
}

function addedTokens(path: string, added: unknown): Json[] {
  if (!Array.isArray(added)) return [];
  const wrong = added.findIndex((token) => !isObject(token) || typeof token.content !== 'string');
  if (wrong >= 0) throw notTokenizer(path, `${printable(added[wrong])} as added_tokens[${wrong}]`);
  return added as Json[];
}

const SPECIAL_TOKENS = ['bos_token', 'eos_token', 'pad_token'] as const;
const SPECIAL: Kind = { is: (value) => [undefined, 'begin', 'both'].includes(value as string), words: 'begin or both' };
const TEXTS: Kind = { is: (value) => Array.isArray(value) && value.every(TEXT.is), words: 'an array of texts' };

/** The part of the hash for special tokens that the configuration adds or leaves out. */
function aroundNote({ around, pipeline }: Parts): string {
  const same = String([around.before, around.after]) === String([pipeline.around.before, pipeline.around.after]);
  return same ? '' : `, before ${around.before}, after ${around.after}`;
}

function wellFormed(text: string): string {
  return isWellFormed(text) ? text : Buffer.from(text).toString();
}

function beginsAndContinues(): ArgumentError {
  const received = 'continues and special';
  return new ArgumentError({
    argument: 'encode options',
    received,
    expected: 'one of them: a text begins, or continues',
  });
}

function checkSpecial(argument: string, token: number | undefined, tokens: ReadonlySet<number>): number | undefined {
  if (token === undefined || tokens.has(token)) return token;
  throw new ArgumentError({ argument, received: printable(token), expected: 'a token of this tokenizer' });
}

function isToken(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < MAX_TOKENS;
}

function failed(path: string, error: unknown): FileError {
  if (!(error instanceof DeadlineError))
    return notTokenizer(path, `unsupported or damaged content, ${printable((error as Error)?.message)}`, error);
  const received = 'a tokenizer whose regular expression timed out';
  const fix = 'The expression backtracks too much on this text. Use another tokenizer.';
  return new FileError({ argument: path, received, expected: 'one that finishes in time', fix, cause: error });
}

const TOKENIZER_JSON = {
  expected: 'a Hugging Face tokenizer.json',
  fix: 'Save it again with `tokenizer.save("tokenizer.json")`, or download it again from its model page.',
};

function notTokenizer(path: string, received: string, cause?: unknown): FileError {
  return new FileError({ argument: path, received, ...TOKENIZER_JSON, cause });
}
