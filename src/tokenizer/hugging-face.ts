import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { isWellFormed, JsonError, parseJson } from '../files/json.ts';
import { checkKind, TEXT } from '../checks/kinds.ts';
import { readWholeText } from '../files/regular-file.ts';
import { DeadlineError, withDeadline } from './deadline.ts';
import { Pipeline } from './pipeline/pipeline.ts';
import { isObject, type Json } from './pipeline/step.ts';
import { checkSteps } from './pipeline-limits.ts';
import { checkTokens, type EncodeOptions, type Tokenizer, type TokenizerDescription } from './tokenizer.ts';

const EOS_NAMES = ['<|endoftext|>', '</s>', '<eos>', '<|eos|>', '[EOS]', '<|end_of_text|>', '<|eot_id|>', '<|im_end|>'];
const PAD_NAMES = ['<pad>', '[PAD]', '<|pad|>', '<|padding|>', '<|finetune_right_pad_id|>'];
/** Upper bound on token ids: a damaged file with a larger one would require that many embeddings. */
const MAX_TOKENS = 10_000_000;
/** Twice the size of the largest files in use: 260,000 tokens and 500,000 merges of two. */
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_VALUES = 4_000_000;
/** CPU time limits in milliseconds, and the extra time per character or token: many times what is usual. */
const PATIENCE = { build: 10_000, text: 1000, each: 0.02 };

/** Special tokens that the files do not name, or that should differ from those they name. */
export interface HuggingFaceOptions {
  eosToken?: number;
  padToken?: number;
}

interface Parts {
  path: string;
  /** SHA-256 of the text of tokenizer.json. */
  fileHash: string;
  pipeline: Pipeline;
  tokens: ReadonlySet<number>;
  eosToken: number | undefined;
  padToken: number | undefined;
  /** Whether encoding and decoding need a deadline, because the file contains its own regular expressions. */
  watched: { encode: boolean; decode: boolean };
}

/** A Hugging Face tokenizer, loaded from its `tokenizer.json`. Special tokens in a text are recognised. */
export class HuggingFaceTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly eosToken: number | undefined;
  readonly padToken: number | undefined;
  readonly hash: string;
  private readonly parts: Parts;

  private constructor(parts: Parts, { eosToken = parts.eosToken, padToken = parts.padToken }: HuggingFaceOptions) {
    this.parts = parts;
    this.vocabSize = [...parts.tokens].reduce((max, token) => Math.max(max, token)) + 1;
    this.eosToken = checkSpecial('eosToken', eosToken, parts.tokens);
    this.padToken = checkSpecial('padToken', padToken, parts.tokens);
    const special = `eos ${this.eosToken ?? 'none'}, pad ${this.padToken ?? 'none'}`;
    this.hash = sha256(`${parts.fileHash}, ${special}`);
  }

  /**
   * Loads the `tokenizer.json` at `path`. The eos and padding tokens come from `options`, else from the
   * `tokenizer_config.json` next to it, else from added tokens with one of the usual names; a tokenizer may have
   * neither.
   * @throws FileError if a file is missing, damaged, or uses an unsupported component or option.
   */
  static async load(path: string, options: HuggingFaceOptions = {}): Promise<HuggingFaceTokenizer> {
    const file = readObject(path);
    const beside = join(dirname(path), 'tokenizer_config.json');
    const config = existsSync(beside) ? readObject(beside).object : {};
    return new HuggingFaceTokenizer(build(resolve(path), file, config), options);
  }

  /**
   * Makes a tokenizer from what a `tokenizer.json` and a `tokenizer_config.json` would hold. Errors name `path`, which must
   * be where `loadTokenizer` finds the same tokenizer again.
   * @throws FileError as `load` does.
   */
  static of(path: string, tokenizer: Json, config: Json, options: HuggingFaceOptions = {}): HuggingFaceTokenizer {
    const file = { object: tokenizer, hash: sha256(JSON.stringify(tokenizer)) };
    return new HuggingFaceTokenizer(build(resolve(path), file, config), options);
  }

  /**
   * Encodes `text`.
   * @throws FileError if the tokenizer's own regular expressions exceed the time limit.
   * @throws FileError if a character has no token and there is no unknown token.
   */
  encode(text: string, { continues = false }: EncodeOptions = {}): number[] {
    checkKind('text', text, TEXT);
    const whole = isWellFormed(text) ? text : Buffer.from(text).toString();
    return this.run(() => this.parts.pipeline.encode(whole, continues), this.parts.watched.encode, text.length);
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

  describe(): TokenizerDescription {
    return { type: 'hugging-face', path: this.parts.path, hash: this.hash };
  }
}

interface JsonFile {
  object: Json;
  hash: string;
}

/** Reads the object in a JSON file, and the SHA-256 of its text. */
function readObject(path: string): JsonFile {
  const text = readWholeText(path, { expected: 'a readable JSON file', most: MAX_BYTES });
  let value: unknown;
  try {
    value = parseJson(text, MAX_VALUES);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw notTokenizer(path, text === '' ? 'an empty file' : error.message, error);
  }
  if (isObject(value)) return { object: value, hash: sha256(text) };
  throw notTokenizer(path, `${printable(value)}, which is not a JSON object`);
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function build(path: string, { object: json, hash: fileHash }: JsonFile, config: Json): Parts {
  const tokens = collectTokens(path, json);
  try {
    const watched = checkSteps(json);
    const patience = PATIENCE.build + PATIENCE.each * tokens.size;
    const pipeline = withDeadline(patience, () => new Pipeline(json));
    const eosToken = findSpecial(json, config.eos_token, EOS_NAMES);
    const padToken = findSpecial(json, config.pad_token, PAD_NAMES);
    return { path, fileHash, pipeline, tokens, eosToken, padToken, watched };
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

/**
 * The token named in tokenizer_config.json, as a string or an object with one; else the first added token with a usual
 * name.
 */
function findSpecial(json: Json, configured: unknown, names: readonly string[]): number | undefined {
  const named = isObject(configured) ? configured.content : configured;
  const added = new Map((json.added_tokens as Json[] | undefined)?.map(({ content, id }) => [content, id]));
  const name = [named, ...names].find((candidate) => added.has(candidate));
  return added.get(name) as number | undefined;
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

function notTokenizer(path: string, received: string, cause?: unknown): FileError {
  const fix = 'Save it again with `tokenizer.save("tokenizer.json")`, or download it again from its model page.';
  return new FileError({ argument: path, received, expected: 'a Hugging Face tokenizer.json', fix, cause });
}
