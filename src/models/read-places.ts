/** Reads stored tensors into the parameters of a model, some rows at a time through one buffer. */
import { FileError, printable } from '../errors.ts';
import type { Place } from '../families/place.ts';
import type { Shapes } from '../families/stored-names.ts';
import type { StoredTensor, StoredTensors } from '../files/stored-tensors.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { ParameterViews, type Valued } from './parameter-views.ts';
import { extentOf, gather, runsOf, storedShape, transpose } from './row-runs.ts';
import { type ReadableNumbers, storedNumbers } from './stored-numbers.ts';

/** The bytes of a file that are in memory at once, unless one row has more. */
const BUFFER_BYTES = 64 * 1024 * 1024;

/** Tensors that a file must have, by name, with their shapes there. */
export type Wanted = ReadonlyMap<string, readonly number[]>;

/**
 * Checks that `stored` has exactly the tensors that `config` describes, in their shapes and with numbers that can be read. Tensors
 * of the names that `ignored` accepts may stand beside them.
 * @throws FileError naming those that are missing, unknown or of another shape.
 */
export function checkStored(
  stored: Pick<StoredTensors, 'path' | 'tensors'>,
  wanted: Wanted,
  config: string,
  ignored: (name: string) => boolean = () => false,
): void {
  const missing = [...wanted.keys()].filter((name) => !stored.tensors.has(name));
  const unknown = [...stored.tensors.keys()].filter((name) => !wanted.has(name) && !ignored(name));
  const fix = `Check that ${config} and the weights belong together.`;
  if (missing.length > 0 || unknown.length > 0) {
    const received = [list('without', missing), list('with unknown', unknown)].filter(Boolean).join(' and ');
    const expected = `exactly the ${wanted.size} tensors that ${config} describes`;
    throw new FileError({ argument: stored.path, received, expected, fix });
  }
  for (const [name, shape] of wanted) {
    const tensor = stored.tensors.get(name) as StoredTensor;
    storedNumbers(tensor);
    if (tensor.shape.join() === shape.join()) continue;
    throw new FileError({
      argument: `${tensor.path}, tensor ${printable(name)}`,
      received: `shape ${printable(tensor.shape)}`,
      expected: `shape ${printable(shape)}, by ${config}`,
      fix,
    });
  }
}

/** What a file of `places` has. */
export function wantedBy(places: readonly Place[], shapes: Shapes): Wanted {
  return new Map(places.map((place) => [place.name, storedShape(place, shapes)]));
}

function list(word: string, names: readonly string[]): string {
  if (names.length === 0) return '';
  const more = names.length > 3 ? ` and ${names.length - 3} more` : '';
  return `weights ${word} ${names.slice(0, 3).map(printable).join(', ')}${more}`;
}

/** Fills `parameters` from the checked tensors of `places`, converting element types and devices. @throws FileError */
export async function readPlaces(
  stored: Pick<StoredTensors, 'tensors'>,
  places: readonly Place[],
  shapes: Shapes,
  parameters: readonly Valued[],
): Promise<void> {
  using views = await ParameterViews.of(parameters);
  for (const place of places) await readPlace(place, stored.tensors.get(place.name) as StoredTensor, shapes, views);
}

async function readPlace(place: Place, stored: StoredTensor, shapes: Shapes, views: ParameterViews): Promise<void> {
  const numbers = storedNumbers(stored);
  const { rows, columns, chunk } = chunks(place, shapes, numbers.bytes);
  const width = columns * numbers.bytes;
  const next = stored.reader();
  const [piece, moved] = [new Uint8Array(chunk * width), new Uint8Array(chunk * width)];
  for (let begin = 0; begin < rows; begin += chunk) {
    const count = Math.min(rows, begin + chunk) - begin;
    const bytes = piece.subarray(0, count * width);
    await next(bytes);
    if (place.order === 'transposed') {
      const turned = moved.subarray(0, bytes.length);
      transpose(bytes, { rows: count, columns }, numbers.bytes, turned);
      using target = views.columns(place.parts[0], begin, count);
      await put(numbers, turned, target);
      continue;
    }
    for (const found of runsOf(place, begin, begin + count)) {
      const gathered = moved.subarray(0, found.rows.length * width);
      gather(bytes, found.rows, begin, width, gathered);
      using target = views.rows(found);
      await put(numbers, gathered, target);
    }
  }
}

/** Rows and columns as the file has them, and how many rows are read at once. */
export function chunks(place: Place, shapes: Shapes, bytes: number) {
  const extent = extentOf(place, shapes);
  const [rows, columns] = place.order === 'transposed' ? [extent.columns, extent.rows] : [extent.rows, extent.columns];
  const chunk = Math.min(rows, Math.max(1, Math.floor(BUFFER_BYTES / (columns * bytes))));
  return { rows, columns, chunk };
}

/** Decodes `bytes` and copies them to `target`. */
export async function put(numbers: ReadableNumbers, bytes: Uint8Array, target: Tensor): Promise<void> {
  using staged = await numbers.decode(bytes, target.shape);
  await run([target, staged], () => addon().tensorCopy(handleOf(target), handleOf(staged)));
}
