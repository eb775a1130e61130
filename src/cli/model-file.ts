/** Model files as the commands write and find them: with a note of the tokenizer, which the model itself knows nothing of. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { latestCheckpoint } from '../checkpoint/checkpoint.ts';
import { MANIFEST_FILE } from '../checkpoint/manifest.ts';
import { openSafetensors } from '../checkpoint/safetensors.ts';
import type { Saveable } from '../checkpoint/tensor-files.ts';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { readMetadata } from '../palm-file.ts';
import { loadTokenizer } from '../tokenizer/load.ts';
import type { Tokenizer, TokenizerDescription } from '../tokenizer/tokenizer.ts';
import { runDirectory } from './run-directory.ts';

const KEY = 'palm-rlhf.tokenizer';
/** The model of a run in its checkpoints. */
const WEIGHTS_FILE = 'weights.safetensors';

/** `model`, whose files also say how its text became tokens. */
export function withTokenizer(model: Saveable, tokenizer: Tokenizer): Saveable {
  return {
    contents() {
      const { tensors, metadata } = model.contents();
      return { tensors, metadata: new Map([...metadata, [KEY, JSON.stringify(tokenizer.describe())]]) };
    },
  };
}

/** A file with a model in it. */
export interface ModelFile {
  path: string;
  /** PaLM, RewardModel or ActorCritic; undefined in files that are not ours. */
  kind: string | undefined;
  /** `byte` or a path; undefined where nothing is noted. */
  tokenizer: string | undefined;
}

/**
 * The model that `path` stands for: a file, a checkpoint, or a run directory with its model, or before its end its last checkpoint.
 * @throws FileError when there is none.
 */
export async function findModel(path: string): Promise<ModelFile> {
  const file = statSync(path, { throwIfNoEntry: false })?.isDirectory() ? await modelOfRun(path) : path;
  await using opened = await openSafetensors(file);
  const kind = readMetadata(opened)?.model as string | undefined;
  return { path: file, kind, tokenizer: readTokenizer(opened.metadata.get(KEY), file) };
}

/** The same, which has to be one of `kinds`, or not ours. @throws ArgumentError for another kind, and see `findModel`. */
export async function findModelOf(path: string, kinds: readonly string[]): Promise<ModelFile> {
  const found = await findModel(path);
  if (found.kind === undefined || kinds.includes(found.kind)) return found;
  throw new ArgumentError({ argument: path, received: `a ${found.kind}`, expected: `a ${kinds.join(' or ')}` });
}

/**
 * The tokenizer of a model: the one asked for, or the one noted in its file.
 * @throws ArgumentError when there is neither, FileError when the tokenizer cannot be read.
 */
export async function tokenizerOf(model: ModelFile, asked: string | undefined): Promise<Tokenizer> {
  const spec = asked ?? model.tokenizer;
  if (spec !== undefined) return await loadTokenizer(spec);
  const fix = 'Add --tokenizer byte, or --tokenizer with the path of its tokenizer.json.';
  throw new ArgumentError({ argument: model.path, received: 'a model without a note of its tokenizer', fix });
}

async function modelOfRun(directory: string): Promise<string> {
  const { model, checkpoints } = runDirectory(directory);
  if (existsSync(model)) return model;
  if (existsSync(join(directory, MANIFEST_FILE))) return join(directory, WEIGHTS_FILE);
  const checkpoint = await latestCheckpoint(checkpoints);
  if (checkpoint !== undefined) return join(checkpoint, WEIGHTS_FILE);
  throw new FileError({
    argument: directory,
    received: 'a folder without a model or a checkpoint',
    expected: 'the folder of a run, a checkpoint of it, or a model file',
    fix: 'Check the path, or wait for the first checkpoint of the run.',
  });
}

function readTokenizer(text: string | undefined, path: string): string | undefined {
  if (text === undefined) return undefined;
  try {
    const description = JSON.parse(text) as TokenizerDescription;
    if (description.type === 'byte') return 'byte';
    if (description.type === 'hugging-face' && typeof description.path === 'string') return description.path;
  } catch {
    // Not JSON: as bad as JSON of something else.
  }
  const expected = 'the description of a tokenizer';
  throw new FileError({ argument: `${path}, metadata ${KEY}`, received: printable(text), expected });
}
