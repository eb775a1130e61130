/** Reads and writes tensors in files, one at a time through one buffer. A file is either complete or does not exist. */
import { FileError, printable } from '../errors.ts';
import { checkKind, checkKinds, either, instanceOf, LIST, PATH } from '../checks/kinds.ts';
import { addon, type Dtype } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { checkSlice, narrow, type Slice, slicedShape } from './slice.ts';
import { Parameter, Tensor } from './tensor.ts';
import { writeAtomically } from '../files/atomic-write.ts';
import {
  createSafetensors,
  openSafetensors,
  planSafetensors,
  type SafetensorsDtype,
  type SafetensorsEntry,
  type SafetensorsFile,
  type SafetensorsPlan,
} from '../files/safetensors/safetensors.ts';

/** A tensor and its name in a file. */
export interface NamedTensor {
  name: string;
  tensor: Tensor | Parameter;
  /** The part of it that the file stores under this name. Defaults to all of it. */
  slice?: Slice | undefined;
}
/** The contents of one file. */
export interface Contents {
  tensors: readonly NamedTensor[];
  metadata: ReadonlyMap<string, string>;
}
/** Anything whose tensors can be written to a file and read back into it: models and optimizers. */
export interface Saveable {
  contents(): Contents;
}

const NAMED_TENSOR = {
  name: { is: (value: unknown) => typeof value === 'string', words: 'a name' },
  tensor: either(instanceOf(Tensor), instanceOf(Parameter)),
};

/** The max bytes of a file that are in memory at once. */
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
 * Writes `contents` to `path` as safetensors, atomically: `path` holds either the old file or the complete new one. Training
 * must pause until the promise has resolved.
 * @throws FileError if the file cannot be written; `path` is then unchanged.
 */
export async function saveTensors(path: string, contents: Contents): Promise<void> {
  checkKind('path', path, PATH);
  checkKinds('contents', contents, { tensors: LIST, metadata: instanceOf(Map) });
  checkTensors(contents.tensors);
  await writeAtomically(path, (aside) => writeTensors(aside, contents));
}

/**
 * Reads the file at `path` into existing tensors, converting element type and device.
 * @throws FileError for a missing or damaged file.
 * @throws FileError if names or shapes in the file differ from those of `targets`.
 */
export async function loadTensors(path: string, targets: readonly NamedTensor[]): Promise<void> {
  checkKind('path', path, PATH);
  checkTensors(targets);
  await using file = await openSafetensors(path);
  await readTensors(file, targets);
}

function checkTensors(tensors: readonly NamedTensor[]): void {
  checkKind('tensors', tensors, LIST);
  for (const [i, named] of tensors.entries()) {
    checkKinds(`tensors[${i}]`, named, NAMED_TENSOR);
    if (named.slice !== undefined) checkSlice(named.tensor.shape, named.slice, `tensors[${i}].slice`);
  }
}

/**
 * Reads an open file into `targets`, each from the tensor of its name. `ignored` tells which other tensors the file may have.
 * @throws FileError naming tensors that are missing, unknown or of another shape; no target has been changed then.
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

/** The element type of a tensor in a file. @throws FileError for a type that our tensors do not support. */
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

/** The layout of `contents` in a file. */
export function planContents({ tensors, metadata }: Contents): SafetensorsPlan {
  const planned = tensors.map((named) => ({
    name: named.name,
    dtype: FILE_DTYPES[named.tensor.dtype],
    shape: shapeOf(named),
  }));
  return planSafetensors(planned, metadata);
}

async function writeTensors(path: string, contents: Contents): Promise<void> {
  const plan = planContents(contents);
  await using writer = await createSafetensors(path, plan);
  const buffer = transferBuffer([...plan.entries.values()].map(byteLength));
  for (const named of contents.tensors) {
    const { name } = named;
    const bytes = byteLength(plan.entries.get(name) as SafetensorsEntry);
    using source = await onCpu(named);
    for (let begin = 0; begin < bytes; begin += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, bytes - begin));
      await run([source], () => addon().tensorReadBytes(handleOf(source), begin, piece));
      await writer.write(name, begin, piece);
    }
  }
  await writer.finish();
}

/** A contiguous copy, so that disposing of it leaves the original alone. */
async function onCpu(named: NamedTensor): Promise<Tensor> {
  return await inPlace(named, async (source) => {
    const copy = new Tensor(addon().tensorEmpty(source.shape, source.dtype, 'cpu'));
    await run([source], () => addon().tensorCopy(handleOf(copy), handleOf(source)));
    return copy;
  });
}

async function readTensor(file: SafetensorsFile, named: NamedTensor, buffer: Uint8Array): Promise<void> {
  using staged = await stage(file, named.name, shapeOf(named), buffer);
  await inPlace(named, (target) => run([target], () => addon().tensorCopy(handleOf(target), handleOf(staged))));
}

/** Runs `use` on the part of a tensor that a file stores, as a view of the tensor's own memory. */
export async function inPlace<T>({ tensor, slice }: NamedTensor, use: (part: Tensor) => Promise<T>): Promise<T> {
  using value = tensor instanceof Parameter ? await tensor.value() : undefined;
  const all = value ?? (tensor as Tensor);
  using part = slice && (await narrow(all, slice));
  return await use(part ?? all);
}

/** The shape of the part of a tensor that a file stores. */
export function shapeOf({ tensor, slice }: NamedTensor): number[] {
  return slicedShape(tensor.shape, slice);
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
    received: [list('without', missing), list('with unknown', unknown)].filter(Boolean).join(' and '),
    expected: `exactly the ${wanted.size} tensors of this model`,
    fix: 'Check that the file and the options belong together.',
  });
}

function list(word: string, names: string[]): string {
  if (names.length === 0) return '';
  const more = names.length > 3 ? ` and ${names.length - 3} more` : '';
  return `a file ${word} ${names.slice(0, 3).map(printable).join(', ')}${more}`;
}

// Leading dimensions of 1 are ignored: [1, 1, D] matches [D].
function checkEntry(file: SafetensorsFile, named: NamedTensor): void {
  const { name } = named;
  const { shape } = file.entry(name);
  const expected = shapeOf(named);
  dtypeOf(file, name);
  const significant = (sizes: readonly number[]) => sizes.slice(sizes.findIndex((size) => size !== 1)).join();
  if (significant(shape) === significant(expected)) return;
  throw new FileError({
    argument: `${file.path}, tensor ${printable(name)}`,
    received: `shape ${printable(shape)}`,
    expected: `shape ${printable(expected)}`,
    fix: 'Check that the file and the options belong together.',
  });
}

function byteLength({ begin, end }: SafetensorsEntry): number {
  return end - begin;
}

function transferBuffer(sizes: number[]): Uint8Array {
  return new Uint8Array(Math.min(BUFFER_BYTES, Math.max(1, ...sizes)));
}
