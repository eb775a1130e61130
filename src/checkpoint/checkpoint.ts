/** Tensors in files, one at a time through one buffer, and the checkpoints of a run: whole or not there at all. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FileError, printable } from '../errors.ts';
import { asFileError } from '../file-error.ts';
import { addon, type Dtype } from '../native.ts';
import { handleOf, run } from '../resource.ts';
import { Parameter, Tensor } from '../tensor.ts';
import {
  createSafetensors,
  openSafetensors,
  planSafetensors,
  type SafetensorsDtype,
  type SafetensorsEntry,
  type SafetensorsFile,
} from './safetensors.ts';

/** A tensor by the name that it has in a file. */
export interface NamedTensor {
  name: string;
  tensor: Tensor | Parameter;
}
/** What one file holds. */
export interface Contents {
  tensors: readonly NamedTensor[];
  metadata: ReadonlyMap<string, string>;
}
/** Anything whose tensors can be written to a file and read back into it: models and optimizers. */
export interface Saveable {
  contents(): Contents;
}

/** The most bytes of a file that are in memory at once. */
const BUFFER_BYTES = 64 * 1024 * 1024;

const FILE_DTYPES: Record<Dtype, SafetensorsDtype> = {
  float32: 'F32',
  float64: 'F64',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  uint8: 'U8',
  bool: 'BOOL',
};

/**
 * Writes `contents` to `path` as safetensors, beside it first: `path` holds the old file or all of the new one. Training
 * must pause until the promise has resolved.
 * @throws FileError when the disk refuses; `path` is then as it was.
 */
export async function saveTensors(path: string, contents: Contents): Promise<void> {
  const aside = asideName(path);
  try {
    await writeTensors(aside, contents);
    await rename(aside, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await discard(aside);
    throw asFileError(error, path, 'a file to write to');
  }
}

/**
 * Reads the file at `path` into tensors that exist, converting element type and device.
 * @throws FileError for a missing or damaged file, and for one with other names or shapes than `targets` have.
 */
export async function loadTensors(path: string, targets: readonly NamedTensor[]): Promise<void> {
  await using file = await openSafetensors(path);
  await readTensors(file, targets);
}

/**
 * Reads an open file into `targets`, each from the tensor of its name. `ignored` says which others the file may have.
 * @throws FileError naming tensors that are missing, unknown or of another shape; nothing has been changed then.
 */
export async function readTensors(
  file: SafetensorsFile,
  targets: readonly NamedTensor[],
  ignored: (name: string) => boolean = () => false,
): Promise<void> {
  checkNames(file, targets, ignored);
  for (const target of targets) checkEntry(file, target);
  const buffer = transferBuffer(targets.map(({ name }) => byteLength(file.entry(name))));
  for (const target of targets) await readTensor(file, target, buffer);
}

/** The elements of one tensor of an open file, as a new tensor on the CPU. */
export async function readNamed(file: SafetensorsFile, name: string): Promise<Tensor> {
  const entry = file.entry(name);
  return await stage(file, name, entry.shape, transferBuffer([byteLength(entry)]));
}

/** The element type of a tensor in a file. @throws FileError for those that tensors cannot have. */
export function dtypeOf(file: SafetensorsFile, name: string): Dtype {
  const { dtype } = file.entry(name);
  const found = (Object.keys(FILE_DTYPES) as Dtype[]).find((key) => FILE_DTYPES[key] === dtype);
  if (found !== undefined) return found;
  throw new FileError({
    argument: `${file.path}, tensor ${printable(name)}`,
    received: `element type ${dtype}`,
    expected: `one of ${Object.values(FILE_DTYPES).join(', ')}`,
    fix: 'Convert the file to float32 first.',
  });
}

async function writeTensors(path: string, { tensors, metadata }: Contents): Promise<void> {
  const planned = tensors.map(({ name, tensor }) => ({ name, dtype: FILE_DTYPES[tensor.dtype], shape: tensor.shape }));
  const plan = planSafetensors(planned, metadata);
  await using writer = await createSafetensors(path, plan);
  const buffer = transferBuffer([...plan.entries.values()].map(byteLength));
  for (const { name, tensor } of tensors) {
    const bytes = byteLength(plan.entries.get(name) as SafetensorsEntry);
    using source = await onCpu(tensor);
    for (let begin = 0; begin < bytes; begin += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, bytes - begin));
      await run([source], () => addon().tensorReadBytes(handleOf(source), begin, piece));
      await writer.write(name, begin, piece);
    }
  }
  await writer.finish();
}

/** A contiguous copy, so that disposing of it leaves the original alone. */
async function onCpu(tensor: Tensor | Parameter): Promise<Tensor> {
  using value = tensor instanceof Parameter ? await tensor.value() : undefined;
  const source = value ?? (tensor as Tensor);
  const copy = new Tensor(addon().tensorEmpty(source.shape, source.dtype, 'cpu'));
  await run([source], () => addon().tensorCopy(handleOf(copy), handleOf(source)));
  return copy;
}

async function readTensor(file: SafetensorsFile, { name, tensor }: NamedTensor, buffer: Uint8Array): Promise<void> {
  using staged = await stage(file, name, tensor.shape, buffer);
  using value = tensor instanceof Parameter ? await tensor.value() : undefined;
  const target = value ?? (tensor as Tensor);
  await run([target], () => addon().tensorCopy(handleOf(target), handleOf(staged)));
}

async function stage(
  file: SafetensorsFile,
  name: string,
  shape: readonly number[],
  buffer: Uint8Array,
): Promise<Tensor> {
  const staged = new Tensor(addon().tensorEmpty([...shape], dtypeOf(file, name), 'cpu'));
  const entry = file.entry(name);
  const bytes = byteLength(entry);
  for (let begin = 0; begin < bytes; begin += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, bytes - begin));
    await file.read(entry.begin + begin, piece);
    await run([staged], () => addon().tensorWriteBytes(handleOf(staged), begin, piece));
  }
  return staged;
}

function checkNames(file: SafetensorsFile, targets: readonly NamedTensor[], ignored: (name: string) => boolean): void {
  const wanted = new Set(targets.map(({ name }) => name));
  const missing = [...wanted].filter((name) => !file.entries.has(name));
  const unknown = [...file.entries.keys()].filter((name) => !wanted.has(name) && !ignored(name));
  if (missing.length === 0 && unknown.length === 0) return;
  throw new FileError({
    argument: file.path,
    received: [list('without', missing), list('with the unknown', unknown)].filter(Boolean).join(' and '),
    expected: `exactly the ${wanted.size} tensors of this model`,
    fix: 'Check that the file and the options belong together.',
  });
}

function list(word: string, names: string[]): string {
  if (names.length === 0) return '';
  const more = names.length > 3 ? ` and ${names.length - 3} more` : '';
  return `a file ${word} ${names.slice(0, 3).map(printable).join(', ')}${more}`;
}

// Leading dimensions of 1, as [1, 1, D] for [D], are no difference.
function checkEntry(file: SafetensorsFile, { name, tensor }: NamedTensor): void {
  const { shape } = file.entry(name);
  dtypeOf(file, name);
  const significant = (sizes: readonly number[]) => sizes.slice(sizes.findIndex((size) => size !== 1)).join();
  if (significant(shape) === significant(tensor.shape)) return;
  throw new FileError({
    argument: `${file.path}, tensor ${printable(name)}`,
    received: `shape ${printable(shape)}`,
    expected: `shape ${printable(tensor.shape)}`,
    fix: 'Check that the file and the options belong together.',
  });
}

function byteLength({ begin, end }: SafetensorsEntry): number {
  return end - begin;
}

function transferBuffer(sizes: number[]): Uint8Array {
  return new Uint8Array(Math.min(BUFFER_BYTES, Math.max(1, ...sizes)));
}

/** A run as it was after a step: a folder of weights.safetensors, optimizer.safetensors and state.json. */
export interface RunCheckpoint {
  step: number;
  weights: Saveable;
  optimizer: Saveable;
  /** Everything else that continues the run, as JSON: positions, random generators, schedules. */
  state: unknown;
}

const STEP_FOLDER = /^step-(\d{6,})$/;
const ASIDE = '.tmp-';

/**
 * Saves a run to `directory/step-000123`, written aside, synced and renamed; then deletes all but the `keep` newest.
 * Returns the path. One process writes to a directory at a time.
 * @throws FileError when the disk refuses; earlier checkpoints are as they were.
 */
export async function saveCheckpoint(directory: string, checkpoint: RunCheckpoint, keep: number): Promise<string> {
  const path = join(directory, `step-${String(checkpoint.step).padStart(6, '0')}`);
  const aside = asideName(path);
  try {
    await mkdir(directory, { recursive: true });
    await removeLeftovers(directory);
    await mkdir(aside);
    await writeRun(aside, checkpoint);
    await rm(path, { recursive: true, force: true });
    await rename(aside, path);
    await syncFolder(directory);
    await removeOld(directory, keep);
  } catch (error) {
    await discard(aside);
    throw asFileError(error, path, 'a checkpoint to write');
  }
  return path;
}

/**
 * Reads the checkpoint at `path` into `weights` and `optimizer` and gives its step and state.
 * @throws FileError for missing or damaged files, and for those of another model or optimizer.
 */
export async function loadCheckpoint(
  path: string,
  { weights, optimizer }: { weights: Saveable; optimizer: Saveable },
): Promise<{ step: number; state: unknown }> {
  const { step, state } = await readState(join(path, 'state.json'));
  await loadTensors(join(path, 'weights.safetensors'), weights.contents().tensors);
  await loadTensors(join(path, 'optimizer.safetensors'), optimizer.contents().tensors);
  return { step, state };
}

/** The path of the newest checkpoint in `directory`; undefined where there is none. */
export async function latestCheckpoint(directory: string): Promise<string | undefined> {
  const newest = (await stepFolders(directory)).at(-1);
  return newest === undefined ? undefined : join(directory, newest);
}

async function writeRun(folder: string, { step, weights, optimizer, state }: RunCheckpoint): Promise<void> {
  await writeTensors(join(folder, 'weights.safetensors'), weights.contents());
  await writeTensors(join(folder, 'optimizer.safetensors'), optimizer.contents());
  await writeFile(join(folder, 'state.json'), `${JSON.stringify({ format: 1, step, state }, null, 2)}\n`, {
    flush: true,
  });
  await syncFolder(folder);
}

async function readState(path: string): Promise<{ step: number; state: unknown }> {
  try {
    const { format, step, state } = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
    if (format === 1 && Number.isSafeInteger(step)) return { step: step as number, state };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw asFileError(error, path, 'the state of a run');
  }
  throw new FileError({ argument: path, received: 'something else', expected: 'the state of a run that palm saved' });
}

/** Names of the checkpoints in `directory`, by rising step. */
async function stepFolders(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw asFileError(error, directory, 'a folder of checkpoints');
  });
  const step = (name: string) => Number(STEP_FOLDER.exec(name)?.[1]);
  return names.filter((name) => STEP_FOLDER.test(name)).sort((a, b) => step(a) - step(b));
}

async function removeOld(directory: string, keep: number): Promise<void> {
  const folders = await stepFolders(directory);
  for (const name of folders.slice(0, -keep)) await rm(join(directory, name), { recursive: true, force: true });
}

// What a killed process left behind.
async function removeLeftovers(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.startsWith(ASIDE)) await rm(join(directory, name), { recursive: true, force: true });
  }
}

function asideName(path: string): string {
  return join(dirname(path), `${ASIDE}${process.pid}-${randomBytes(4).toString('hex')}-${basename(path)}`);
}

// After a failure: what failed first is what to report.
async function discard(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch(() => undefined);
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
