import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Tokenizer as Library } from '@huggingface/tokenizers';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { asFileError } from '../file-error.ts';
import { checkTokens, type Tokenizer, type TokenizerDescription } from './tokenizer.ts';

const EOS_NAMES = ['<|endoftext|>', '</s>', '<eos>', '<|eos|>', '[EOS]', '<|end_of_text|>', '<|eot_id|>', '<|im_end|>'];
const PAD_NAMES = ['<pad>', '[PAD]', '<|pad|>', '<|padding|>', '<|finetune_right_pad_id|>'];
/** No vocabulary is larger; a damaged file with a larger token would ask for that many embeddings. */
const MAX_TOKENS = 10_000_000;

/** Special tokens that the files don't name, or name otherwise. */
export interface HuggingFaceOptions {
  eosToken?: number;
  padToken?: number;
}

interface Parts {
  path: string;
  library: Library;
  tokens: ReadonlySet<number>;
  eosToken: number | undefined;
  padToken: number | undefined;
  cleanUp: boolean;
}

/** A tokenizer of the Hugging Face libraries, read from its `tokenizer.json`. Special tokens in a text are recognised. */
export class HuggingFaceTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly eosToken: number | undefined;
  readonly padToken: number | undefined;
  private readonly parts: Parts;

  private constructor(parts: Parts, { eosToken = parts.eosToken, padToken = parts.padToken }: HuggingFaceOptions) {
    this.parts = parts;
    this.vocabSize = [...parts.tokens].reduce((most, token) => Math.max(most, token)) + 1;
    this.eosToken = checkSpecial('eosToken', eosToken, parts.tokens);
    this.padToken = checkSpecial('padToken', padToken, parts.tokens);
  }

  /**
   * Reads `tokenizer.json` at `path`. The eos and padding are those of `options`, else those that `tokenizer_config.json`
   * beside it names, else the added tokens with the usual names; a tokenizer may have neither.
   * @throws FileError when a file is missing, damaged, or of a kind that @huggingface/tokenizers does not know.
   */
  static async load(path: string, options: HuggingFaceOptions = {}): Promise<HuggingFaceTokenizer> {
    const json = await readJson(path);
    if (json === undefined) throw notTokenizer(path, 'nothing: it does not exist');
    const config = (await readJson(join(dirname(path), 'tokenizer_config.json'))) ?? {};
    return new HuggingFaceTokenizer(build(resolve(path), json, config), options);
  }

  encode(text: string): number[] {
    return this.parts.library.encode(text, { add_special_tokens: false }).ids;
  }

  decode(tokens: Iterable<number>): string {
    // A vocabulary may have gaps, which an untrained model can draw.
    const known = checkTokens(tokens, this.vocabSize).filter((token) => this.parts.tokens.has(token));
    if (known.length === 0) return '';
    const { library, cleanUp } = this.parts;
    return library.decode(known, { skip_special_tokens: true, clean_up_tokenization_spaces: cleanUp });
  }

  describe(): TokenizerDescription {
    return { type: 'hugging-face', path: this.parts.path };
  }
}

type Json = Record<string, unknown>;

/** The object in a JSON file; undefined when there is no file. */
async function readJson(path: string): Promise<Json | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw asFileError(error, path, 'a readable JSON file');
  }
  const value = parseJson(text);
  if (isObject(value)) return value;
  throw notTokenizer(path, text === '' ? 'an empty file' : `no JSON object: ${printable(text.slice(0, 40))}`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function build(path: string, json: Json, config: Json): Parts {
  const tokens = collectTokens(path, json);
  try {
    const library = new Library(json, config);
    const { ids } = library.encode('a b', { add_special_tokens: false });
    library.decode([...ids, ...tokens].slice(0, 8)); // a damaged part shows when it is first used
    const eosToken = findSpecial(json, config.eos_token, EOS_NAMES);
    const padToken = findSpecial(json, config.pad_token, PAD_NAMES);
    return { path, library, tokens, eosToken, padToken, cleanUp: config.clean_up_tokenization_spaces === true };
  } catch (error) {
    throw notTokenizer(path, `this: ${printable((error as Error).message)}`, error);
  }
}

/** Every token there is, in a model of any kind: `vocab` is an object of tokens, or (Unigram) a list. */
function collectTokens(path: string, { model, added_tokens: added }: Json): Set<number> {
  const vocab = isObject(model) ? model.vocab : undefined;
  const tokens = Array.isArray(vocab) ? vocab.keys() : isObject(vocab) ? Object.values(vocab) : [];
  const all = new Set([...tokens, ...addedTokens(added).map(({ id }) => id)]);
  for (const token of all) {
    if (!isToken(token)) throw notTokenizer(path, `the token id ${printable(token)}`);
  }
  if (all.size === 0) throw notTokenizer(path, 'no vocabulary');
  return all as Set<number>;
}

function addedTokens(added: unknown): Json[] {
  return Array.isArray(added) ? added.filter(isObject) : [];
}

/** The token that tokenizer_config.json names, as a string or an object with one; else the first added one of a usual name. */
function findSpecial(json: Json, configured: unknown, names: readonly string[]): number | undefined {
  const named = isObject(configured) ? configured.content : configured;
  const added = new Map(addedTokens(json.added_tokens).map(({ content, id }) => [content, id]));
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

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function notTokenizer(path: string, received: string, cause?: unknown): FileError {
  const fix = 'Save it again with `tokenizer.save("tokenizer.json")` or get it again from its model page.';
  return new FileError({ argument: path, received, expected: 'a Hugging Face tokenizer.json', fix, cause });
}
