/** The weights in a Hugging Face folder: one file or shards with an index, safetensors or, if need be, pickles. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FileError, printable } from '../errors.ts';
import { asFileError } from '../files/file-error.ts';
import { JsonError, parseJson } from '../files/json.ts';
import { readWholeText } from '../files/regular-file.ts';
import { openStored, type StoredTensor, type StoredTensors } from '../files/stored-tensors.ts';
import { openStoredTorch } from '../import/torch/stored.ts';

type Open = (path: string) => Promise<StoredTensors>;
const KINDS: readonly (readonly [file: string, open: Open])[] = [
  ['model.safetensors', openStored],
  ['pytorch_model.bin', openStoredTorch],
];
const INDEX = '.index.json';
const MAX_JSON_BYTES = 64 * 1024 * 1024;
const MAX_JSON_VALUES = 1_000_000;
const MAX_SHARDS = 10_000;

/**
 * Opens the weights in `folder`. A pytorch_model.bin is read, without running it, only if there is nothing else or with `bin`.
 * @throws FileError if there are none, or an index does not match its files.
 */
export async function openWeights(folder: string, bin: boolean): Promise<StoredTensors> {
  const kinds = bin ? KINDS.slice(1) : KINDS;
  for (const [file, open] of kinds) {
    const path = join(folder, file);
    if (existsSync(path)) return await open(path);
    if (existsSync(path + INDEX)) return await openShards(folder, path + INDEX, open);
  }
  const names = kinds.map(([file]) => `${file} or ${file}${INDEX}`).join(', ');
  if (!existsSync(folder)) throw asFileError({ code: 'ENOENT' }, folder, 'a folder with a model');
  throw new FileError({ argument: folder, received: 'a folder without weights', expected: names });
}

async function openShards(folder: string, indexPath: string, open: Open): Promise<StoredTensors> {
  const map = readIndex(indexPath);
  const shards = new Map<string, StoredTensors>();
  const close = async () => {
    for (const shard of shards.values()) await shard[Symbol.asyncDispose]();
  };
  try {
    for (const name of new Set(map.values())) shards.set(name, await open(join(folder, name)));
    return { path: folder, tensors: merged(indexPath, map, shards), [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** @throws FileError for a tensor that lies in another file than the index says, or in two. */
function merged(
  indexPath: string,
  map: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, StoredTensors>,
): Map<string, StoredTensor> {
  const found = new Map<string, StoredTensor>();
  for (const [shard, { tensors }] of shards) {
    for (const [name, tensor] of tensors) {
      if (map.get(name) === shard) found.set(name, tensor);
      else throw wrongIndex(indexPath, `no ${printable(name)} in ${shard}, which has it`);
    }
  }
  for (const [name, shard] of map) {
    if (!found.has(name)) throw wrongIndex(indexPath, `${printable(name)} in ${shard}, which lacks it`);
  }
  return found;
}

/** The file of every tensor. @throws FileError for anything but an index of files in the same folder. */
function readIndex(path: string): Map<string, string> {
  const { weight_map: map } = readJsonObject(path, 'an index of weights');
  if (map === null || typeof map !== 'object' || Array.isArray(map)) throw wrongIndex(path, 'no weight_map');
  const files = new Map<string, string>();
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== 'string' || !/^\w[\w.-]{0,200}$/.test(file) || file.includes('..')) {
      throw wrongIndex(path, `the file ${printable(file)}`, 'names of files beside it');
    }
    files.set(name, file);
  }
  const count = new Set(files.values()).size;
  if (count === 0 || count > MAX_SHARDS) throw wrongIndex(path, `${count} files`, `1 to ${MAX_SHARDS}`);
  return files;
}

/** Reads a JSON file that holds an object. @throws FileError */
function readJsonObject(path: string, expected: string): Record<string, unknown> {
  const text = readWholeText(path, { expected, most: MAX_JSON_BYTES });
  try {
    const value = parseJson(text, MAX_JSON_VALUES);
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (cause) {
    if (!(cause instanceof JsonError)) throw cause;
    throw new FileError({ argument: path, received: cause.message, expected: `${expected}, in JSON`, cause });
  }
  throw new FileError({ argument: path, received: 'JSON that is no object', expected });
}

function wrongIndex(argument: string, received: string, expected = 'an index that matches its files'): FileError {
  return new FileError({ argument, received, expected, fix: 'Download the folder again.' });
}
