/** Copies arrays into native memory: determines their shape and element type, and copies the bytes. */
import { setImmediate } from 'node:timers/promises';
import { ArgumentError, DtypeError, printable, ShapeError } from '../errors.ts';
import { addon, type Device, type Dtype, type TensorHandle } from '../native/addon.ts';
import { checkInteger, checkOptions } from '../checks/options.ts';

/** A number, a boolean, or nested arrays of them, whose lengths are equal at each depth. */
export type NestedArray = number | boolean | readonly NestedArray[];
/** The typed arrays that a tensor can be made from. */
export type TensorArray = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;
/** What a tensor can be made from. */
export type TensorData = TensorArray | NestedArray;

export interface TensorOptions {
  /** Sizes whose product is the number of values. Defaults to the sizes of nested arrays, or to one dimension. */
  shape?: readonly number[];
  /** Defaults to that of a typed array; for nested arrays to float32, or to bool if they hold booleans. */
  dtype?: Dtype;
  /** Defaults to `cpu`. */
  device?: Device;
}

/** A tensor that is being filled; `done` is defined if that continues after the call, and rejects if it fails. */
export interface Upload {
  handle: TensorHandle;
  done: Promise<void> | undefined;
}

/** Larger arrays are copied in pieces of this many bytes, one per turn of the event loop. */
const PIECE_BYTES = 4 * 1024 * 1024;

const ARRAY_DTYPES: ReadonlyMap<unknown, Dtype> = new Map<unknown, Dtype>([
  [Float32Array, 'float32'],
  [Float64Array, 'float64'],
  [Int32Array, 'int32'],
  [BigInt64Array, 'int64'],
  [Uint8Array, 'uint8'],
]);

/** Starts copying `values` into a new tensor. `argument` names them in errors. */
export function upload(values: TensorData, options: TensorOptions, argument: string): Upload {
  checkOptions(options, ['shape', 'dtype', 'device'], argument);
  const {
    array,
    shape: natural,
    dtype,
  } = isTypedArray(values)
    ? { array: values, shape: [values.length], dtype: undefined }
    : fromNested(values, options.dtype, argument);
  const stored = dtypeOf(array, argument);
  const wanted = options.dtype ?? dtype ?? stored;
  const shape = checkShape(options.shape, natural, array.length, argument);
  const device = options.device ?? 'cpu';
  return wanted === stored && device === 'cpu'
    ? copyIn(array, shape, stored)
    : convert(array, shape, stored, wanted, device);
}

function convert(array: TensorArray, shape: number[], stored: Dtype, wanted: Dtype, device: Device): Upload {
  const handle = addon().tensorEmpty(shape, wanted, device);
  const source = copyIn(array, shape, stored);
  const copied = addon().tensorCopy(handle, source.handle);
  const done = Promise.all([source.done, copied]).then(() => undefined);
  // Jobs keep what they read, but until all pieces are written, this handle is needed.
  const release = () => addon().dispose(source.handle);
  if (source.done) source.done.then(release, release);
  else release();
  return { handle, done };
}

function copyIn(array: TensorArray, shape: number[], dtype: Dtype): Upload {
  if (array.byteLength > PIECE_BYTES) {
    const handle = addon().tensorOpen(shape, dtype);
    return { handle, done: copyPieces(handle, array) };
  }
  const handle = addon().tensorEmpty(shape, dtype, 'cpu');
  addon().tensorWrite(handle, array, 0);
  return { handle, done: undefined };
}

async function copyPieces(handle: TensorHandle, array: TensorArray): Promise<void> {
  const length = array.length;
  const step = PIECE_BYTES / array.BYTES_PER_ELEMENT;
  try {
    for (let begin = 0; begin < length; begin += step) {
      if (begin > 0) await setImmediate();
      if (array.length !== length) throw changedLength(array, length);
      addon().tensorWrite(handle, array.subarray(begin, Math.min(begin + step, length)), begin);
    }
  } finally {
    // Jobs wait for this, even after an error.
    addon().tensorSeal(handle);
  }
}

function changedLength(array: TensorArray, length: number): ArgumentError {
  return new ArgumentError({
    argument: 'tensor',
    received: `${printable(array)} while it was being copied`,
    expected: `its ${length} elements, unchanged`,
    fix: 'Await a call on the tensor before you change, transfer or resize its array.',
  });
}

function isTypedArray(values: TensorData): values is TensorArray {
  return ArrayBuffer.isView(values);
}

function dtypeOf(array: TensorArray, argument: string): Dtype {
  for (const [type, dtype] of ARRAY_DTYPES) {
    if (array instanceof (type as typeof Float32Array)) return dtype;
  }
  throw new DtypeError({
    argument,
    received: printable(array),
    expected: 'a Float32Array, Float64Array, Int32Array, BigInt64Array or Uint8Array, or nested arrays',
  });
}

function checkShape(
  wanted: readonly number[] | undefined,
  natural: number[],
  length: number,
  argument: string,
): number[] {
  if (wanted === undefined) return natural;
  if (!Array.isArray(wanted)) {
    throw new ShapeError({ argument: `${argument}.shape`, received: printable(wanted), expected: 'an array of sizes' });
  }
  for (const size of wanted) checkInteger(size, 0, `${argument}.shape`);
  if (wanted.reduce((product, size) => product * size, 1) === length) return [...wanted];
  throw new ShapeError({
    argument: `${argument}.shape`,
    received: `${printable(wanted)} for ${length} values`,
    expected: `sizes whose product is ${length}`,
  });
}

function fromNested(values: NestedArray, dtype: Dtype | undefined, argument: string) {
  const { shape, first } = nestedShape(values, argument);
  const wanted = dtype ?? (typeof first === 'boolean' ? 'bool' : 'float32');
  const leaves: number[] = [];
  const walk = { shape, exact: EXACT.get(wanted) ?? ANY, leaves };
  if (Array.isArray(values)) collect(values, walk, 0, argument);
  else leaves.push(exactNumber(values, walk.exact, () => argument));
  return { array: toArray(leaves, wanted), shape, dtype: wanted };
}

/** The size of the first array at each depth, and the first leaf. */
function nestedShape(values: NestedArray, argument: string): { shape: number[]; first: NestedArray | undefined } {
  const shape: number[] = [];
  let first: NestedArray | undefined = values;
  for (; Array.isArray(first); first = first[0]) {
    shape.push(first.length);
    if (shape.length > 64) {
      throw new ShapeError({
        argument,
        received: 'arrays nested more than 64 deep',
        expected: 'at most 64 dimensions',
      });
    }
  }
  return { shape, first };
}

/** The state of a single walk through nested arrays. */
interface Walk {
  shape: readonly number[];
  exact: Exact;
  leaves: number[];
}

/** Adds the leaves of `values`, an array at depth `depth` and position `place`, in order. */
function collect(values: NestedArray, walk: Walk, depth: number, place: string): void {
  const { shape, exact, leaves } = walk;
  if (!Array.isArray(values) || values.length !== shape[depth]) throw ragged(values, shape[depth], place);
  const last = depth + 1 === shape.length;
  for (let i = 0; i < values.length; i++) {
    if (last) leaves.push(exactNumber(values[i], exact, () => `${place}[${i}]`));
    else collect(values[i], walk, depth + 1, `${place}[${i}]`);
  }
}

/** A leaf as a number. @throws ArgumentError naming its position if it is no number, or the dtype cannot represent it. */
function exactNumber(leaf: NestedArray, { is, words }: Exact, place: () => string): number {
  const value = typeof leaf === 'boolean' ? Number(leaf) : leaf;
  if (typeof value === 'number' && is(value)) return value;
  if (Array.isArray(leaf)) throw ragged(leaf, undefined, place());
  throw new ArgumentError({ argument: place(), received: printable(leaf), expected: words });
}

function ragged(values: NestedArray, size: number | undefined, argument: string): ShapeError {
  return new ShapeError({
    argument,
    received: Array.isArray(values) ? `an array of ${values.length}` : printable(values),
    expected: size === undefined ? 'a number, like its neighbours' : `an array of ${size}, like its neighbours`,
    fix: 'Pad all rows to the same length.',
  });
}

/** Which numbers an element type represents exactly. */
interface Exact {
  is(value: number): boolean;
  words: string;
}

const EXACT: ReadonlyMap<Dtype, Exact> = new Map<Dtype, Exact>([
  ['int64', { is: Number.isSafeInteger, words: 'an integer' }],
  ['int32', { is: (value) => (value | 0) === value, words: 'a 32-bit integer' }],
  ['uint8', { is: (value) => (value & 255) === value, words: 'an integer from 0 to 255' }],
  ['bool', { is: (value) => value === 0 || value === 1, words: 'a boolean, 0 or 1' }],
]);
const ANY: Exact = { is: () => true, words: 'a number' };

/** The numbers in a typed array that represents them exactly before the conversion to `dtype`. */
function toArray(leaves: readonly number[], dtype: Dtype): TensorArray {
  switch (dtype) {
    case 'int64':
      return BigInt64Array.from(leaves, BigInt);
    case 'int32':
      return Int32Array.from(leaves);
    case 'uint8':
    case 'bool':
      return Uint8Array.from(leaves);
    case 'float64':
      return Float64Array.from(leaves);
    default:
      return Float32Array.from(leaves);
  }
}
