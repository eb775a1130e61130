/**
 * Model files as runs write and find them: with a note of the tokenizer, which the model itself knows nothing about.
 */
import { copyFileSync, existsSync, renameSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { latestCheckpoint } from '../checkpoint/checkpoint.ts';
import { openSafetensors } from '../files/safetensors/safetensors.ts';
import type { Saveable } from '../tensor/tensor-files.ts';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import type { DecoderDescription } from '../models/language-model.ts';
import { readMetadata, TOKENIZER_KEY, withTokenizerNote } from '../models/model-file.ts';
import { adapterOf, findModelIn } from '../models/registry.ts';
import { loadTokenizer } from '../tokenizer/load.ts';
import { forModel, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { runDirectory } from './run-directory.ts';

/** The file of a checkpoint that holds the model. */
const WEIGHTS_FILE = 'weights.safetensors';
/** The files of a Hugging Face tokenizer that we read. */
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json'] as const;
const [TOKENIZER_FILE] = TOKENIZER_FILES;

/** The tokenizer recorded in a model file; files of 0.1.0 have no hash. */
export type TokenizerNote = { type: 'byte' } | { type: 'hugging-face'; path: string; hash?: string };

/** Wraps `model` so that its files also record the tokenizer: bytes, or the tokenizer file next to the model. */
export function withTokenizer(model: Saveable, tokenizer: Tokenizer): Saveable {
  const described = tokenizer.describe();
  const note = described.type === 'byte' ? described : { ...described, path: TOKENIZER_FILE };
  return { contents: () => withTokenizerNote(model.contents(), { describe: () => note }) };
}

/** Copies the files of `tokenizer`, if it has any, into `folder`. @throws FileError if they cannot be written. */
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
 * Metadata that records `tokenizer` in a model file at `out`. The tokenizer's files are copied next to it; if such
 * files exist there already, the metadata keeps the original path.
 * @throws FileError if the folder cannot be written.
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
}

/**
 * Finds the model at `path`: a file, a checkpoint, or a run folder with its final model or, before the run ends, its
 * latest checkpoint.
 * @throws FileError if there is none.
 */
export async function findModel(path: string): Promise<ModelFile> {
  const file = statSync(path, { throwIfNoEntry: false })?.isDirectory() ? await modelIn(path) : path;
  await using opened = await openSafetensors(file);
  const kind = readMetadata(opened)?.model as string | undefined;
  const tokenizer = readTokenizer(opened.metadata.get(TOKENIZER_KEY), file);
  const { decoder, scopes } = await findModelIn(opened);
  return { path: file, kind, decoder, scopes: scopes.map(([name]) => name), tokenizer };
}

/**
 * Like `findModel`, for a model of one of `kinds` or a file from elsewhere.
 * @throws FileError as `findModel` does.
 * @throws ArgumentError for a model of another kind.
 */
export async function findModelOf(path: string, kinds: readonly string[]): Promise<ModelFile> {
  const found = await findModel(path);
  if (found.kind === undefined || kinds.includes(found.kind)) return found;
  const fix = kinds.includes('RewardModel')
    ? 'Train a reward model with palm reward or palm implicit-prm. One whose adapters are merged has no reference to judge by.'
    : 'A reward model goes to --reward, or to palm score.';
  throw new ArgumentError({ argument: path, received: `a ${found.kind}`, expected: `a ${kinds.join(' or ')}`, fix });
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
  const noted = models.find(({ tokenizer }) => tokenizer !== undefined);
  if (asked === undefined && noted === undefined) {
    const fix = 'Add --tokenizer byte, or --tokenizer with the path of its tokenizer.json.';
    throw new ArgumentError({ argument: models[0].path, problem: 'does not record its tokenizer', fix });
  }
  const tokenizer = asked === undefined ? await loadNoted(noted as ModelFile) : await loadTokenizer(asked);
  for (const model of models) await checkTokenizer(model, tokenizer);
  return forModel(tokenizer, models[0].decoder.numTokens);
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
