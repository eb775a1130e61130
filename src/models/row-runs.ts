/** How rows of a stored tensor map to rows of native parameters, in runs that can be copied at once. */
import { type Part, type Place, partRow, type RowOrder } from '../families/place.ts';
import type { Shapes } from '../families/stored-names.ts';

/** Rows that follow one another in a part. */
export interface Run {
  part: Part;
  /** The first of them, counted from the parameter's row 0. */
  first: number;
  /** For each, its row in the stored tensor. */
  rows: Uint32Array;
}

/** Rows and columns of a stored tensor, which is a vector if it has one column. */
export interface Extent {
  rows: number;
  columns: number;
}

/** The rows and columns of the parts of `place` together, before any transposition. */
export function extentOf({ parts }: Place, shapes: Shapes): Extent {
  const [first] = parts;
  const [height = 0, width = 1] = shapes.get(first.parameter) ?? [];
  if (first.dim === 1) return { rows: height, columns: first.length };
  return { rows: parts.reduce((sum, { length }) => sum + length, 0), columns: width };
}

/** The shape of the tensor that a file has at `place`. */
export function storedShape(place: Place, shapes: Shapes): number[] {
  if (place.shape !== undefined) return [...place.shape];
  const { rows, columns } = extentOf(place, shapes);
  if (shapes.get(place.parts[0].parameter)?.length === 1) return [rows];
  return place.order === 'transposed' ? [columns, rows] : [rows, columns];
}

/** Where the stored rows [begin, end) of `place` lie, unless it is transposed. */
export function runsOf({ parts, order }: Place, begin: number, end: number): Run[] {
  const target = (row: number) => partRow(order as RowOrder | undefined, row);
  const rows = Uint32Array.from({ length: end - begin }, (_, i) => begin + i);
  if (order !== undefined) rows.sort((a, b) => target(a) - target(b));
  const runs: Run[] = [];
  for (let at = 0; at < rows.length; ) {
    const { part, before } = partAt(parts, target(rows[at] as number));
    const first = target(rows[at] as number);
    const most = part.dim === 1 ? rows.length : before + part.length - first;
    let count = 1;
    while (count < most && at + count < rows.length && target(rows[at + count] as number) === first + count) count++;
    const start = part.dim === 1 ? first : part.start + first - before;
    runs.push({ part, first: start, rows: rows.subarray(at, at + count) });
    at += count;
  }
  return runs;
}

/** The part that holds row `row` of all parts together, and the rows before it. */
function partAt(parts: Place['parts'], row: number): { part: Part; before: number } {
  let before = 0;
  for (const part of parts) {
    if (part.dim === 1 || row < before + part.length) return { part, before };
    before += part.length;
  }
  throw new RangeError(`row ${row} of ${before}`);
}

/** Copies rows of `width` bytes from where `rows` says, less `begin`, to one after the other. */
export function gather(from: Uint8Array, rows: Uint32Array, begin: number, width: number, to: Uint8Array): void {
  for (let i = 0; i < rows.length; i++) {
    const at = ((rows[i] as number) - begin) * width;
    to.set(from.subarray(at, at + width), i * width);
  }
}

/** The opposite of `gather`. */
export function scatter(from: Uint8Array, rows: Uint32Array, begin: number, width: number, to: Uint8Array): void {
  for (let i = 0; i < rows.length; i++) {
    to.set(from.subarray(i * width, (i + 1) * width), ((rows[i] as number) - begin) * width);
  }
}

/** Transposes elements of `width` bytes: [rows, columns] becomes [columns, rows]. */
export function transpose(from: Uint8Array, { rows, columns }: Extent, width: number, to: Uint8Array): void {
  const words = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array }[width];
  if (words === undefined) throw new RangeError(`elements of ${width} bytes`);
  const source = new words(from.buffer as ArrayBuffer, from.byteOffset, rows * columns);
  const target = new words(to.buffer as ArrayBuffer, to.byteOffset, rows * columns);
  const TILE = 64; // both sides of a tile stay in the cache
  for (let top = 0; top < rows; top += TILE) {
    for (let left = 0; left < columns; left += TILE) {
      const [bottom, right] = [Math.min(rows, top + TILE), Math.min(columns, left + TILE)];
      for (let row = top; row < bottom; row++) {
        for (let column = left; column < right; column++) {
          target[column * rows + row] = source[row * columns + column] as never;
        }
      }
    }
  }
}
