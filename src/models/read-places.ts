/** Reads stored tensors into the parameters of a model, some rows at a time: the next ones while the last ones are decoded. */
import { FileError, printable } from '../errors.ts';
import type { Place } from '../families/place.ts';
import type { Shapes } from '../families/stored-names.ts';
import { bytesOf, type NumberFormat } from '../files/number-formats.ts';
import type { StoredTensor, StoredTensors } from '../files/stored-tensors.ts';
import { addon } from '../native/addon.ts';
import { handleOf, run } from '../native/resource.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { ParameterViews, type Valued } from './parameter-views.ts';
import { type Extent, extentOf, gather, runsOf, storedShape, transpose } from './row-runs.ts';
import { storedNumbers } from './stored-numbers.ts';

/** The bytes that are read at once, unless one row has more: few enough to stay in a cache until they are decoded. */
const BUFFER_BYTES = 4 * 1024 * 1024;

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
  const buffers = new BufferPair();
  let filling: Promise<void> = Promise.resolve();
  try {
    for (const place of places) {
      for (const { size, read, fill } of piecesOf(
        place,
        stored.tensors.get(place.name) as StoredTensor,
        shapes,
        views,
      )) {
        const bytes = buffers.next(size);
        await Promise.all([read(bytes), filling]); // reads while the piece before is being decoded
        filling = fill(bytes);
      }
    }
  } finally {
    await filling;
  }
}

/** Two buffers that take turns: one is read into while the other is decoded. */
class BufferPair {
  #buffers: [Uint8Array, Uint8Array] = [new Uint8Array(0), new Uint8Array(0)];

  /** The buffer of the turn before the last one, or a larger one. */
  next(size: number): Uint8Array {
    const [other, last] = this.#buffers;
    const bytes = other.length < size ? new Uint8Array(size) : other;
    this.#buffers = [last, bytes];
    return bytes.subarray(0, size);
  }
}

/** Some rows of a stored tensor. */
interface Piece {
  /** In bytes. */
  size: number;
  /** Reads the rows. Pieces are read in their order. */
  read(bytes: Uint8Array): Promise<void>;
  /** Copies them to where they belong. */
  fill(bytes: Uint8Array): Promise<void>;
}

function* piecesOf(place: Place, stored: StoredTensor, shapes: Shapes, views: ParameterViews): Generator<Piece> {
  const { format, bytes: width } = storedNumbers(stored);
  const { rows, columns, chunk } = chunks(place, shapes, width);
  const read = stored.reader();
  for (let begin = 0; begin < rows; begin += chunk) {
    const count = Math.min(rows, begin + chunk) - begin;
    const fill = (bytes: Uint8Array) =>
      place.order === 'transposed'
        ? fillColumns(place, { rows: count, columns }, begin, format, bytes, views)
        : fillRows(place, begin, count, format, bytes, views);
    yield { size: count * columns * width, read, fill };
  }
}

async function fillColumns(
  { parts }: Place,
  extent: Extent,
  begin: number,
  format: NumberFormat,
  bytes: Uint8Array,
  views: ParameterViews,
): Promise<void> {
  const turned = new Uint8Array(bytes.length);
  transpose(bytes, extent, bytesOf(format, 1), turned);
  using target = views.columns(parts[0], begin, extent.rows);
  await put(format, turned, target);
}

async function fillRows(
  place: Place,
  begin: number,
  count: number,
  format: NumberFormat,
  bytes: Uint8Array,
  views: ParameterViews,
): Promise<void> {
  const width = bytes.length / count;
  for (const found of runsOf(place, begin, begin + count)) {
    using target = views.rows(found);
    await put(format, rowsOf(bytes, found.rows, begin, width), target);
  }
}

/** The rows `rows`, less `begin`, of `width` bytes each; without a copy where they follow one another. */
function rowsOf(bytes: Uint8Array, rows: Uint32Array, begin: number, width: number): Uint8Array {
  const at = (rows[0] as number) - begin;
  if (rows.every((row, i) => row === at + begin + i)) return bytes.subarray(at * width, (at + rows.length) * width);
  const gathered = new Uint8Array(rows.length * width);
  gather(bytes, rows, begin, width, gathered);
  return gathered;
}

/** Rows and columns as the file has them, and how many rows are read at once. */
export function chunks(place: Place, shapes: Shapes, bytes: number) {
  const extent = extentOf(place, shapes);
  const [rows, columns] = place.order === 'transposed' ? [extent.columns, extent.rows] : [extent.rows, extent.columns];
  const chunk = Math.min(rows, Math.max(1, Math.floor(BUFFER_BYTES / (columns * bytes))));
  return { rows, columns, chunk };
}

/** Decodes `bytes` to the numbers of `target`. */
export async function put(format: NumberFormat, bytes: Uint8Array, target: Tensor): Promise<void> {
  await run([target], () => addon().tensorDecode(handleOf(target), format, bytes));
}
