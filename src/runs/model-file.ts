/** Model files as runs write them and as they are found: with a note of the tokenizer, which the model itself knows nothing of. */
import { copyFileSync, existsSync, renameSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { latestCheckpoint } from '../checkpoint/checkpoint.ts';
import { openSafetensors } from '../files/safetensors/safetensors.ts';
import type { Saveable } from '../tensor/tensor-files.ts';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import type { DecoderDescription } from '../models/language-model.ts';
import { readMetadata, TOKENIZER_KEY, withTokenizerNote } from '../models/model-file.ts';
import { findModelIn } from '../models/registry.ts';
import { loadTokenizer } from '../tokenizer/load.ts';
import { forModel, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { runDirectory } from './run-directory.ts';

/** The model of a run in its checkpoints. */
const WEIGHTS_FILE = 'weights.safetensors';
/** The files of a Hugging Face tokenizer that are read. */
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json'] as const;
const [TOKENIZER_FILE] = TOKENIZER_FILES;

/** How a file notes its tokenizer; files of 0.1.0 have no hash. */
export type TokenizerNote = { type: 'byte' } | { type: 'hugging-face'; path: string; hash?: string };

/** `model`, whose files also say how its text became tokens: by a tokenizer that lies beside them, unless it is bytes. */
export function withTokenizer(model: Saveable, tokenizer: Tokenizer): Saveable {
  const described = tokenizer.describe();
  const note = described.type === 'byte' ? described : { ...described, path: TOKENIZER_FILE };
  return { contents: () => withTokenizerNote(model.contents(), { describe: () => note }) };
}

/** Copies the files of `tokenizer`, if it has any, into `folder`. @throws FileError when that cannot be written. */
export function keepTokenizer(tokenizer: Tokenizer, folder: string): void {
  const described = tokenizer.describe();
  if (described.type === 'byte' || dirname(described.path) === resolve(folder)) return;
  for (const name of TOKENIZER_FILES) {
    const source = name === TOKENIZER_FILE ? described.path : join(dirname(described.path), name);
    if (!existsSync(source)) continue;
    const target = join(folder, name);
    try {
      copyFileSync(source, `${target}.tmp`);
      renameSync(`${target}.tmp`, target);
    } catch (error) {
      throw asFileError(error, target, 'a file to write to');
    }
  }
}

/**
 * The note of `tokenizer` as metadata of a model file at `out`. Its files are copied beside that; where such files lie
 * already, the note has the path of its own.
 * @throws FileError when the folder cannot be written.
 */
export function noteBeside(tokenizer: Tokenizer, out: string): ReadonlyMap<string, string> {
  const folder = dirname(resolve(out));
  const taken = TOKENIZER_FILES.some((name) => existsSync(join(folder, name)));
  const described = tokenizer.describe();
  if (described.type !== 'byte' && !taken) {
    keepTokenizer(tokenizer, folder);
    described.path = TOKENIZER_FILE;
  }
  return new Map([[TOKENIZER_KEY, JSON.stringify(described)]]);
}

/** A file with a model in it. */
export interface ModelFile {
  path: string;
  /** That of a language model, RewardModel or ActorCritic; undefined in files that are not ours. */
  kind: string | undefined;
  /** What its language model is, that of a reward model its trunk; no weight has been read. */
  decoder: DecoderDescription;
  /** Undefined where nothing is noted. */
  tokenizer: TokenizerNote | undefined;
}

/**
 * The model that `path` stands for: a file, a checkpoint, or a run directory with its model, or before its end its last
 * checkpoint.
 * @throws FileError when there is none.
 */
export async function findModel(path: string): Promise<ModelFile> {
  const file = statSync(path, { throwIfNoEntry: false })?.isDirectory() ? await modelIn(path) : path;
  await using opened = await openSafetensors(file);
  const kind = readMetadata(opened)?.model as string | undefined;
  const tokenizer = readTokenizer(opened.metadata.get(TOKENIZER_KEY), file);
  return { path: file, kind, decoder: (await findModelIn(opened)).decoder, tokenizer };
}

/** The same, which has to be one of `kinds`, or not ours. @throws ArgumentError for another kind, and see `findModel`. */
export async function findModelOf(path: string, kinds: readonly string[]): Promise<ModelFile> {
  const found = await findModel(path);
  if (found.kind === undefined || kinds.includes(found.kind)) return found;
  throw new ArgumentError({ argument: path, received: `a ${found.kind}`, expected: `a ${kinds.join(' or ')}` });
}

/**
 * The tokenizer of models that share one: the one asked for, else the first one noted. It has an eos and a padding only where
 * the first model knows these tokens.
 * @throws ArgumentError when nothing is asked for or noted, or a model notes another one, FileError when it cannot be read.
 */
export async function tokenizerOf(
  asked: string | undefined,
  ...models: [ModelFile, ...ModelFile[]]
): Promise<Tokenizer> {
  const noted = models.find(({ tokenizer }) => tokenizer !== undefined);
  if (asked === undefined && noted === undefined) {
    const fix = 'Add --tokenizer byte, or --tokenizer with the path of its tokenizer.json.';
    throw new ArgumentError({ argument: models[0].path, received: 'a model without a note of its tokenizer', fix });
  }
  const tokenizer = asked === undefined ? await loadNoted(noted as ModelFile) : await loadTokenizer(asked);
  for (const model of models) await checkTokenizer(model, tokenizer);
  return forModel(tokenizer, models[0].decoder.numTokens);
}

/** Those of `models` that note no tokenizer, in words, where one is taken for them that others note. */
export function withoutNote(asked: string | undefined, ...models: ModelFile[]): string[] {
  const noted = models.find(({ tokenizer }) => tokenizer !== undefined);
  const silent = asked === undefined ? models.filter(({ tokenizer }) => tokenizer === undefined) : [];
  return silent.map(({ path }) => `${path} notes no tokenizer: taken to have that of ${noted?.path}`);
}

async function loadNoted(model: ModelFile): Promise<Tokenizer> {
  const found = await findTokenizer(model);
  if (found !== undefined) return found;
  const places = placesOf(model);
  throw new FileError({
    argument: places.find((place) => existsSync(place)) ?? (places.at(-1) as string),
    received: 'no file, or another tokenizer',
    expected: `the tokenizer of ${model.path}`,
    fix: 'Name it with --tokenizer.',
  });
}

/** The tokenizer that a file notes; undefined where it notes none, or that lies nowhere it is looked for. */
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

/** Where the tokenizer of a file may be: beside it, in the run of a checkpoint, at the path in the note. */
function placesOf({ path, tokenizer: note }: ModelFile): string[] {
  if (note === undefined || note.type === 'byte') return [];
  const folder = dirname(path);
  const noted = resolve(folder, note.path);
  // Without a hash nobody knows what lies beside.
  if (note.hash === undefined) return [noted];
  return [join(folder, TOKENIZER_FILE), join(folder, '..', '..', TOKENIZER_FILE), noted];
}

/** @throws ArgumentError where `model` notes another tokenizer; files of 0.1.0 do so by a path, which may lead nowhere now. */
async function checkTokenizer({ path, tokenizer: note }: ModelFile, tokenizer: Tokenizer): Promise<void> {
  if (note === undefined) return;
  const isByte = tokenizer.hash === 'byte';
  if (note.type === 'byte' ? isByte : !isByte && (await notedHash(note, tokenizer)) === tokenizer.hash) return;
  throw new ArgumentError({
    argument: '--tokenizer',
    received: nameOf(tokenizer.describe()),
    expected: `the tokenizer of ${path}, ${nameOf(note)}`,
    fix: 'The same ids are other texts to another tokenizer: use models of one tokenizer, and leave out --tokenizer.',
  });
}

async function notedHash(note: TokenizerNote & { type: 'hugging-face' }, tokenizer: Tokenizer): Promise<string> {
  if (note.hash !== undefined) return note.hash;
  return existsSync(note.path) ? (await loadTokenizer(note.path)).hash : tokenizer.hash;
}

/** A tokenizer in a few words: what it is called, and the beginning of its hash. */
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
    received: 'a folder without a model or a checkpoint',
    expected: 'the folder of a run, a checkpoint of it, or a model file',
    fix: 'Check the path, or wait for the first checkpoint of the run.',
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
    // Not JSON: as bad as JSON of something else.
  }
  const expected = 'the description of a tokenizer';
  throw new FileError({ argument: `${path}, metadata ${TOKENIZER_KEY}`, received: printable(text), expected });
}
