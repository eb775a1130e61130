/** Reads stored tensors into the parameters of a model, some rows at a time through one buffer. */
import { FileError, printable } from '../errors.ts';
import type { Part, Place } from '../families/place.ts';
import type { Shapes } from '../families/stored-names.ts';
import type { StoredTensor, StoredTensors } from '../files/stored-tensors.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import { narrow } from '../tensor/slice.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { extentOf, gather, type Run, runsOf, storedShape, transpose } from './row-runs.ts';
import { type StoredNumbers, storedNumbers } from './stored-numbers.ts';

/** The bytes of a file that are in memory at once, unless one row has more. */
const BUFFER_BYTES = 64 * 1024 * 1024;

/** Parameters, or what stands for them, by name. */
export type Parameters = ReadonlyMap<string, { value(): Promise<Tensor> }>;

/**
 * Checks that `stored` has exactly the tensors of `places`, in their shapes and with numbers that can be read. Tensors of the
 * names that `ignored` accepts may stand beside them.
 * @throws FileError naming those that are missing, unknown or of another shape.
 */
export function checkPlaces(
  stored: StoredTensors,
  places: readonly Place[],
  shapes: Shapes,
  ignored: (name: string) => boolean,
): void {
  const wanted = new Set(places.map(({ name }) => name));
  const missing = [...wanted].filter((name) => !stored.tensors.has(name));
  const unknown = [...stored.tensors.keys()].filter((name) => !wanted.has(name) && !ignored(name));
  if (missing.length > 0 || unknown.length > 0) {
    throw new FileError({
      argument: stored.path,
      received: [list('without', missing), list('with unknown', unknown)].filter(Boolean).join(' and '),
      expected: `exactly the ${wanted.size} tensors of the model that config.json describes`,
      fix: 'Check that config.json and the weights belong together.',
    });
  }
  for (const place of places) checkPlace(stored.tensors.get(place.name) as StoredTensor, storedShape(place, shapes));
}

function checkPlace(tensor: StoredTensor, shape: readonly number[]): void {
  storedNumbers(tensor);
  if (tensor.shape.join() === shape.join()) return;
  throw new FileError({
    argument: `${tensor.path}, tensor ${printable(tensor.name)}`,
    received: `shape ${printable(tensor.shape)}`,
    expected: `shape ${printable(shape)}, by config.json`,
    fix: 'Check that config.json and the weights belong together.',
  });
}

function list(word: string, names: readonly string[]): string {
  if (names.length === 0) return '';
  const more = names.length > 3 ? ` and ${names.length - 3} more` : '';
  return `weights ${word} ${names.slice(0, 3).map(printable).join(', ')}${more}`;
}

/** Fills `parameters` from the checked tensors of `places`, converting element types and devices. @throws FileError */
export async function readPlaces(
  stored: StoredTensors,
  places: readonly Place[],
  shapes: Shapes,
  parameters: Parameters,
): Promise<void> {
  for (const place of places) {
    const tensor = stored.tensors.get(place.name) as StoredTensor;
    await readPlace(place, tensor, shapes, parameters);
  }
}

async function readPlace(place: Place, stored: StoredTensor, shapes: Shapes, parameters: Parameters): Promise<void> {
  const numbers = storedNumbers(stored);
  const { rows, columns, chunk } = chunks(place, shapes, numbers.bytes);
  const width = columns * numbers.bytes;
  const next = stored.reader();
  const [piece, moved] = [new Uint8Array(chunk * width), new Uint8Array(chunk * width)];
  for (let begin = 0; begin < rows; begin += chunk) {
    const end = Math.min(rows, begin + chunk);
    const bytes = piece.subarray(0, (end - begin) * width);
    await next(bytes);
    if (place.order === 'transposed') {
      transpose(bytes, { rows: end - begin, columns }, numbers.bytes, moved);
      const slice = { dim: 1, start: begin, length: end - begin };
      await put(numbers, moved.subarray(0, bytes.length), [columns, end - begin], (use) =>
        withPart(parameters, place.parts[0], (part) => withSlice(part, slice, use)),
      );
      continue;
    }
    for (const rowsOfPart of runsOf(place, begin, end)) {
      const gathered = moved.subarray(0, rowsOfPart.rows.length * width);
      gather(bytes, rowsOfPart.rows, begin, width, gathered);
      await put(numbers, gathered, undefined, (use) => withRun(parameters, rowsOfPart, use));
    }
  }
}

/** Rows and columns as the file has them, and how many rows are read at once. */
export function chunks(place: Place, shapes: Shapes, bytes: number) {
  const extent = extentOf(place, shapes);
  const [rows, columns] =
    place.order === 'transposed' ? [extent.columns, extent.rows] : [extent.rows, extent.columns];
  const chunk = Math.min(rows, Math.max(1, Math.floor(BUFFER_BYTES / (columns * bytes))));
  return { rows, columns, chunk };
}

/** Decodes `bytes` and copies them to the tensor that `locate` finds, which has the given shape. */
async function put(
  numbers: StoredNumbers,
  bytes: Uint8Array,
  shape: readonly number[] | undefined,
  locate: (use: (target: Tensor) => Promise<void>) => Promise<void>,
): Promise<void> {
  await locate(async (target) => {
    using staged = await numbers.decode(bytes, shape ?? target.shape);
    await run([target, staged], () => addon().tensorCopy(handleOf(target), handleOf(staged)));
  });
}

/** Runs `use` on the rows of a run, as a view of the parameter. */
export async function withRun<T>(
  parameters: Parameters,
  { part, first, rows }: Run,
  use: (rows: Tensor) => Promise<T>,
): Promise<T> {
  const slice = { dim: 0, start: first, length: rows.length };
  if (part.dim === 1) return await withPart(parameters, part, (columns) => withSlice(columns, slice, use));
  return await withPart(parameters, { ...part, ...slice, dim: 0 }, use);
}

/** Runs `use` on a part, as a view of the parameter. */
export async function withPart<T>(parameters: Parameters, part: Part, use: (part: Tensor) => Promise<T>): Promise<T> {
  using value = await parameterOf(parameters, part).value();
  return await withSlice(value, part, use);
}

/** Runs `use` on a slice, as a view. */
export async function withSlice<T>(
  tensor: Tensor,
  slice: { dim: number; start: number; length: number },
  use: (part: Tensor) => Promise<T>,
): Promise<T> {
  using part = await narrow(tensor, slice);
  return await use(part);
}

function parameterOf(parameters: Parameters, { parameter }: Part): { value(): Promise<Tensor> } {
  return parameters.get(parameter) as { value(): Promise<Tensor> };
}
