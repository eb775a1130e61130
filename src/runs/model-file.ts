/**
 * Model files as runs write and find them: with a note of the tokenizer, which the model itself knows nothing about.
 */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { latestCheckpoint } from '../checkpoint/checkpoint.ts';
import { openSafetensors } from '../files/safetensors/safetensors.ts';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { checkScoresNone, isGguf, openFolder } from '../models/hf-folder.ts';
import type { DecoderDescription } from '../models/language-model.ts';
import { readMetadata, TOKENIZER_KEY } from '../models/model-file.ts';
import { adapterOf, findModelIn, type LoadedDtype } from '../models/registry.ts';
import { readWholeText } from '../files/regular-file.ts';
import type { Chat } from '../tokenizer/chat.ts';
import { HuggingFaceTokenizer } from '../tokenizer/hugging-face.ts';
import { loadTokenizer } from '../tokenizer/load.ts';
import { chatOf } from '../tokenizer/open.ts';
import { stopTokensOf } from '../tokenizer/special-tokens.ts';
import { endTokens, forModel, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { TOKENIZER_FILE } from './kept-tokenizer.ts';
import { isFolder, isOutsideModel, resolveModelPath } from './model-place.ts';
import { runDirectory } from './run-directory.ts';

/** The file of a checkpoint that holds the model. */
const WEIGHTS_FILE = 'weights.safetensors';
/** The tokenizer recorded in a model file; files of 0.1.0 have no hash. */
export type TokenizerNote = { type: 'byte' } | { type: 'hugging-face'; path: string; hash?: string };

/** A file that contains a model. */
export interface ModelFile {
  path: string;
  /** The kind of model, such as PaLM or RewardModel; undefined in files from elsewhere. */
  kind: string | undefined;
  /** Description of the language model, or of a reward model's trunk; no weight has been read. */
  decoder: DecoderDescription;
  /** Names of its adapters, for a reward model those of its trunk. */
  scopes: readonly string[];
  /** Undefined if none is recorded. */
  tokenizer: TokenizerNote | undefined;
  /** Tokens that end an answer, as the files of the model say; its tokenizer may name another. */
  stopTokens: readonly number[];
  /** Whether it is a Hugging Face folder or a GGUF file, of which all or only the first tokens are used. */
  outside: boolean;
  /** The element type that was asked for; undefined for that of the files. */
  dtype?: LoadedDtype | undefined;
}

/**
 * Finds the model at `place`: a file, a checkpoint, or a run folder with its final model or, before the run ends, its
 * latest checkpoint; a Hugging Face folder or a GGUF file; or a model of the hub, which is downloaded.
 * @throws FileError if there is none.
 * @throws ConfigError for a model that does what palm-rlhf does not know.
 * @throws HubError if it cannot be downloaded.
 * @throws ArgumentError for a `dtype` of a file of this package, which has its own.
 */
export async function findModel(
  place: string,
  { dtype }: { dtype?: LoadedDtype | undefined } = {},
): Promise<ModelFile> {
  const path = await resolveModelPath(place);
  if (isOutsideModel(path)) return await findOutside(path, dtype);
  if (dtype !== undefined) {
    const expected = 'nothing: a file of this package has its own';
    throw new ArgumentError({ argument: '--dtype', received: dtype, expected, fix: 'Leave out --dtype.' });
  }
  const file = isFolder(path) ? await modelIn(path) : path;
  await using opened = await openSafetensors(file);
  const kind = readMetadata(opened)?.model as string | undefined;
  const tokenizer = readTokenizer(opened.metadata.get(TOKENIZER_KEY), file);
  const { decoder, scopes, config } = await findModelIn(opened);
  const stopTokens = namedEnds(config, decoder);
  return { path: file, kind, decoder, scopes: scopes.map(([name]) => name), tokenizer, stopTokens, outside: false };
}

/** The model in a Hugging Face folder or a GGUF file. */
async function findOutside(path: string, dtype: LoadedDtype | undefined): Promise<ModelFile> {
  await using opened = await openFolder(path, dtype === undefined ? {} : { dtype });
  checkScoresNone(path, opened);
  const { family, config } = opened;
  const decoder = family.describe(config);
  const place = isGguf(path) ? path : join(path, TOKENIZER_FILE);
  const tokenizer = existsSync(place) ? { type: 'hugging-face' as const, path: resolve(place) } : undefined;
  const stopTokens = namedEnds(config, decoder);
  return { path, kind: family.kind, decoder, scopes: [], tokenizer, stopTokens, outside: true, dtype };
}

/** The tokens of the model that config.json and generation_config.json say end an answer. @throws FileError for other values */
function namedEnds(config: object, { numTokens }: DecoderDescription): number[] {
  const { text, generation } = config as { text?: string; generation?: string };
  const parsed = (json: string | undefined) => (json === undefined ? undefined : JSON.parse(json));
  return stopTokensOf({ config: parsed(text), generation: parsed(generation) }).filter((token) => token < numTokens);
}

/**
 * Like `findModel`, for a model of one of `kinds` or a file from elsewhere.
 * @throws FileError as `findModel` does.
 * @throws ArgumentError for a model of another kind.
 */
export async function findModelOf(
  path: string,
  kinds: readonly string[],
  options: Parameters<typeof findModel>[1] = {},
): Promise<ModelFile> {
  const found = await findModel(path, options);
  if (found.kind === undefined || kinds.includes(found.kind)) return found;
  const fix = kinds.includes('RewardModel')
    ? 'Train a reward model with palm reward or palm implicit-prm. One whose adapters are merged has no reference to judge by.'
    : 'A reward model goes to --reward, or to palm score.';
  throw new ArgumentError({ argument: path, received: `a ${found.kind}`, expected: wordsFor(kinds), fix });
}

/** Kinds of models in words; there are too many kinds of language models to name. */
function wordsFor(kinds: readonly string[]): string {
  return kinds.includes('RewardModel') ? 'a reward model' : 'a language model or a policy';
}

/** What happens to the adapters of a language model that is loaded to be trained; empty if it has none. @throws ArgumentError */
export function adapterNotices({ path, scopes }: ModelFile): string[] {
  const adapter = adapterOf(scopes, path);
  if (adapter === undefined) return [];
  const others = scopes.filter((scope) => scope !== adapter);
  const left = others.length === 0 ? '' : `; ${others.join(', ')} left out`;
  return [`${path}: adapters ${adapter} merged into the weights${left}`];
}

/**
 * The tokenizer shared by `models`: the one requested, else the first one recorded. Its eos and padding tokens are
 * dropped if the first model does not have them.
 * @throws ArgumentError if none is requested or recorded.
 * @throws ArgumentError if a model records a different one.
 * @throws FileError if it cannot be read.
 */
export async function tokenizerOf(
  asked: string | undefined,
  ...models: [ModelFile, ...ModelFile[]]
): Promise<Tokenizer> {
  return fitted(await sharedTokenizer(asked, models), models[0]);
}

async function sharedTokenizer(
  asked: string | undefined,
  models: readonly [ModelFile, ...ModelFile[]],
): Promise<Tokenizer> {
  const [first] = models;
  const noted = models.find(({ tokenizer }) => tokenizer !== undefined);
  if (asked === undefined && noted === undefined) {
    const fix = 'Add --tokenizer byte, or --tokenizer with the path of its tokenizer.json.';
    throw new ArgumentError({ argument: first.path, problem: 'does not record its tokenizer', fix });
  }
  const tokenizer = asked === undefined ? await loadNoted(noted as ModelFile) : await loadTokenizer(asked);
  for (const model of models) if (asked !== undefined || model !== noted) await checkTokenizer(model, tokenizer);
  if (first.outside) checkRows(first, tokenizer);
  return tokenizer;
}

/** The tokenizer for a model, with all tokens that end its answers. */
function fitted(tokenizer: Tokenizer, { decoder, stopTokens }: ModelFile): Tokenizer {
  const own = forModel(tokenizer, decoder.numTokens);
  return { ...own, stopTokens: [...new Set([...stopTokens, ...(endTokens(own) ?? [])])] };
}

/** A tokenizer with what else a model's files say about text. */
export interface ModelText extends Tokenizer {
  /** Undefined for a model without a chat template, or if it is not to be used. */
  chat?: Chat | undefined;
}

/** What a command is told about text. */
export interface TextConfig {
  tokenizer?: string | undefined;
  /** `none`, the path of a template, or the name of one of the model's. Default: the model's `default`. */
  chatTemplate?: string | undefined;
}

/**
 * The tokenizer shared by `models`, as `tokenizerOf` finds it, and the chat template that lies beside it.
 * @throws as `tokenizerOf` does.
 * @throws ArgumentError, FileError for a template that does not exist.
 */
export async function textOf(
  { tokenizer: asked, chatTemplate: template }: TextConfig,
  ...models: [ModelFile, ...ModelFile[]]
): Promise<ModelText> {
  const loaded = await sharedTokenizer(asked, models);
  return { ...fitted(loaded, models[0]), chat: chatBeside(loaded, template) };
}

/** The same for a conversation; its template gets `date`. @throws ArgumentError for a model that has no chat template */
export async function chatTextOf(
  { tokenizer: asked, chatTemplate }: TextConfig,
  model: ModelFile,
  date?: Date,
): Promise<ModelText & { chat: Chat }> {
  const loaded = await sharedTokenizer(asked, [model]);
  const text = fitted(loaded, model);
  const chat = chatBeside(loaded, chatTemplate, date);
  if (chat !== undefined) return { ...text, chat };
  const expected = 'a model that was tuned for conversations';
  const fix = 'Pass a template to --chatTemplate.';
  throw new ArgumentError({ argument: model.path, received: 'a model without a chat template', expected, fix });
}

/** The same for plain text, with which there are no conversations. @throws ArgumentError for a template */
export async function plainTextOf({ tokenizer, chatTemplate }: TextConfig, model: ModelFile): Promise<ModelText> {
  if (chatTemplate !== undefined) {
    const received = `${printable(chatTemplate)} without --chat`;
    throw new ArgumentError({ argument: '--chatTemplate', received, expected: '--chat with it' });
  }
  return { ...(await tokenizerOf(tokenizer, model)), chat: undefined };
}

/**
 * The chat template beside `tokenizer`, or the one that `template` names: one of the model's, or a .jinja file. Undefined if there is
 * none, and for `none`.
 * @throws ArgumentError, FileError for a template that does not exist.
 */
export function chatBeside(tokenizer: Tokenizer, template: string | undefined, date?: Date): Chat | undefined {
  if (template === 'none') return undefined;
  if (tokenizer instanceof HuggingFaceTokenizer) {
    const isFile = template?.endsWith('.jinja') === true;
    const source = isFile ? readWholeText(template, { expected: 'a chat template', most: 2 ** 22 }) : template;
    return chatOf(tokenizer, { chatTemplate: source, date });
  }
  if (template === undefined) return undefined;
  const expected = 'the tokenizer of a Hugging Face model with it';
  throw new ArgumentError({ argument: '--chatTemplate', received: printable(template), expected });
}

/** @throws ArgumentError if the tokenizer has tokens that the model does not have. */
function checkRows({ path, decoder }: ModelFile, { vocabSize }: Tokenizer): void {
  if (vocabSize <= decoder.numTokens) return;
  const received = `a tokenizer with ${vocabSize} tokens for a model with ${decoder.numTokens}`;
  const fix = 'Use the tokenizer that belongs to the model, without tokens that were added to it.';
  throw new ArgumentError({ argument: path, received, expected: `at most ${decoder.numTokens} tokens`, fix });
}

/** How the model in a file is loaded, so that it never draws rows of the vocabulary for which the tokenizer has no text. */
export function loadingOf({ outside, dtype }: ModelFile, { vocabSize }: Pick<Tokenizer, 'vocabSize'>, device: string) {
  return outside ? { device, usedTokens: vocabSize, ...(dtype !== undefined && { dtype }) } : { device };
}

/** Messages about those of `models` that record no tokenizer and are assumed to use another model's. */
export function withoutNote(asked: string | undefined, ...models: ModelFile[]): string[] {
  const noted = models.find(({ tokenizer }) => tokenizer !== undefined);
  const silent = asked === undefined ? models.filter(({ tokenizer }) => tokenizer === undefined) : [];
  return silent.map(({ path }) => `${path} records no tokenizer: assuming that of ${noted?.path}`);
}

async function loadNoted(model: ModelFile): Promise<Tokenizer> {
  const found = await findTokenizer(model);
  if (found !== undefined) return found;
  const places = placesOf(model);
  throw new FileError({
    argument: places.find((place) => existsSync(place)) ?? (places.at(-1) as string),
    received: 'no file, or a different tokenizer',
    expected: `the tokenizer of ${model.path}`,
    fix: 'Pass its path to --tokenizer.',
  });
}

/** The tokenizer recorded in a file; undefined if none is recorded or it is not found in any of its possible places. */
export async function findTokenizer(model: ModelFile): Promise<Tokenizer | undefined> {
  const { tokenizer: note } = model;
  if (note === undefined || note.type === 'byte') return note && (await loadTokenizer('byte'));
  for (const place of placesOf(model)) {
    if (!existsSync(place)) continue;
    const found = await loadTokenizer(place);
    if (note.hash === undefined || found.hash === note.hash) return found;
  }
  return undefined;
}

/** Possible places of a file's tokenizer: next to it, in the run folder of a checkpoint, and at the recorded path. */
function placesOf({ path, tokenizer: note }: ModelFile): string[] {
  if (note === undefined || note.type === 'byte') return [];
  const folder = dirname(path);
  const noted = resolve(folder, note.path);
  // Without a hash, a file next to the model cannot be recognised as the right one.
  if (note.hash === undefined) return [noted];
  return [join(folder, TOKENIZER_FILE), join(folder, '..', '..', TOKENIZER_FILE), noted];
}

/**
 * Files of 0.1.0 record only a path, which may no longer exist; then any tokenizer is accepted.
 * @throws ArgumentError if `model` records a different tokenizer.
 */
async function checkTokenizer({ path, tokenizer: note }: ModelFile, tokenizer: Tokenizer): Promise<void> {
  if (note === undefined) return;
  const isByte = tokenizer.hash === 'byte';
  if (note.type === 'byte' ? isByte : !isByte && (await notedHash(note, tokenizer)) === tokenizer.hash) return;
  throw new ArgumentError({
    argument: '--tokenizer',
    received: nameOf(tokenizer.describe()),
    expected: `the tokenizer of ${path}, ${nameOf(note)}`,
    fix: 'Token ids mean different text in different tokenizers: use models that share one, and leave out --tokenizer.',
  });
}

async function notedHash(note: TokenizerNote & { type: 'hugging-face' }, tokenizer: Tokenizer): Promise<string> {
  if (note.hash !== undefined) return note.hash;
  return existsSync(note.path) ? (await loadTokenizer(note.path)).hash : tokenizer.hash;
}

/** A short name of a tokenizer: its path and the start of its hash. */
export function nameOf(note: TokenizerNote): string {
  if (note.type === 'byte') return 'byte';
  return note.hash === undefined ? note.path : `${note.path} (${note.hash.slice(0, 12)})`;
}

async function modelIn(folder: string): Promise<string> {
  const { model, checkpoints } = runDirectory(folder);
  for (const file of [model, join(folder, WEIGHTS_FILE)]) if (existsSync(file)) return file;
  const checkpoint = await latestCheckpoint(checkpoints);
  if (checkpoint !== undefined) return join(checkpoint, WEIGHTS_FILE);
  throw new FileError({
    argument: folder,
    received: 'a folder without a model or checkpoint',
    expected: 'a run folder, a checkpoint or a model file',
    fix: "Check the path, or wait for the run's first checkpoint.",
  });
}

function readTokenizer(text: string | undefined, path: string): TokenizerNote | undefined {
  if (text === undefined) return undefined;
  try {
    const { type, path: place, hash } = JSON.parse(text) as Record<string, unknown>;
    if (type === 'byte') return { type };
    const known = hash === undefined || typeof hash === 'string';
    if (type === 'hugging-face' && typeof place === 'string' && known) return { type, path: place, hash };
  } catch {
    // Not JSON: rejected below like any other wrong value.
  }
  const expected = 'the description of a tokenizer';
  throw new FileError({ argument: `${path}, metadata ${TOKENIZER_KEY}`, received: printable(text), expected });
}
