/** From what a user calls a model to its place on this machine. */
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ArgumentError, FileError, printable } from '../errors.ts';
import { JsonError, parseJson } from '../files/json.ts';
import { readWholeText } from '../files/regular-file.ts';
import { type ResolveOptions, resolveModel } from '../hub/resolve-model.ts';
import { isGguf } from '../models/hf-folder.ts';
import { runDirectory } from './run-directory.ts';

/** Which version of a model of the hub, and how it is fetched. */
export type PlaceOptions = Pick<ResolveOptions, 'revision' | 'offline' | 'onProgress' | 'signal'>;

/**
 * The path of a model: of a run folder, a checkpoint, a Hugging Face folder or a file on this machine, or of the snapshot of a
 * model of the hub (`org/name`, `org/name/file.gguf`), which is downloaded unless it is in the cache.
 * @throws FileError for a path in a folder of this machine at which there is nothing.
 * @throws ArgumentError for a revision or `offline` of a model that is not on the hub.
 * @throws HubError if the hub does not give it.
 */
export async function resolveModelPath(model: string, options: PlaceOptions = {}): Promise<string> {
  if (existsSync(model)) {
    checkUnused(model, options);
    return model;
  }
  const parent = dirname(model);
  if (parent !== '.' && existsSync(parent)) throw new FileError({ argument: model, problem: 'no such file or folder' });
  return await resolveModel(model, options);
}

function checkUnused(model: string, { revision, offline }: PlaceOptions): void {
  const given = Object.entries({ revision, offline }).find(([, value]) => value !== undefined);
  if (given === undefined) return;
  const [name, value] = given;
  const received = `${printable(value)} with ${printable(model)}, which is on this machine`;
  throw new ArgumentError({ argument: `--${name}`, received, expected: 'a model of the hub with it' });
}

/** Whether a path is that of a model in a format of others: a Hugging Face folder or a GGUF file. */
export function isOutsideModel(path: string): boolean {
  return isGguf(path) || (isFolder(path) && namesModelType(join(path, 'config.json')));
}

export function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Whether a config.json is that of a model, and not the configuration of a run. */
function namesModelType(path: string): boolean {
  if (!existsSync(path)) return false;
  try {
    const json = parseJson(readWholeText(path, { expected: 'a config.json', most: 2 ** 20 }), 100_000);
    return ['model_type', 'architectures'].some((key) => Object.hasOwn(Object(json), key));
  } catch (error) {
    if (error instanceof JsonError) return !existsSync(runDirectory(dirname(path)).checkpoints);
    throw error;
  }
}
